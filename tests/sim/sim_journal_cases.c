/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scenarios on a journalled volume: lives strung together, with faults and power cuts by the seed.
 *
 * Happy path: draw, plan, live, compare. Failure modes: sim_journal.h.
 * Thread: outside of any fiber, but for planned calls.
 */
#include "sim_journal_cases.h"

#include <stdlib.h>
#include <string.h>

#include "sim_dry.h"
#include "sim_journal.h"

#define LIVES_MAX          4u
#define IMAGES_LEAST       16u
#define CUT_STEPS_SHORT    600u /* within an open */
#define CUT_STEPS_LONG     20000u
#define WIDE_RING          2048u
#define OPEN_STEPS         2000u /* more than an open takes */
#define STEPS_PER_TRANSFER 14u   /* about */
#define FAULT_STEPS        6000u
#define STALL_NS           UINT64_C(30000000000)
#define STREAM_FAULTS      UINT64_C(0x6661756c7473)
#define STREAM_WORK        UINT64_C(0x776f726b)

static struct sim_model model;

/* The smallest everything: least ring, three members. */
void journal_prepare_least(void)
{
    sim_model_init(&model, MODEL_DATA_FEW);
    life_prepare(3, 0);
}

void journal_prepare_four(void)
{
    sim_model_init(&model, MODEL_DATA_FEW);
    life_prepare(4, 0);
}

void journal_prepare_wide(void)
{
    sim_model_init(&model, MODEL_DATA);
    life_prepare(3, WIDE_RING);
}

static void after(const struct life *life, enum sim_end end)
{
    if (end == SIM_ENDED && life->end == LIFE_CLOSES && life->faults == FAULTS_NONE) {
        life_check_parity();
    }
}

/* ---- no fault ------------------------------------------------------------------------------- */

void journal_run_plain(uint64_t seed)
{
    struct life life;

    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.end = LIFE_CLOSES;
    after(&life, sim_world(life_main, &life));
    /* And once more, to see it on the members. */
    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.operations = 1;
    life.end = LIFE_CLOSES;
    after(&life, sim_world(life_main, &life));
}

/* ---- power cuts ----------------------------------------------------------------------------- */

static void plan_cut(struct sim_random *faults, bool never, uint32_t steps_most)
{
    uint32_t most = 1 + sim_below(faults, steps_most);

    if (never) {
        return;
    }
    if (sim_one_in(faults, 2)) {
        sim_cut_after(UINT64_MAX, 1 + sim_below(faults, 1 + most / STEPS_PER_TRANSFER));
    } else {
        sim_cut_after(1 + sim_below(faults, most), UINT64_MAX);
    }
}

static void live_and_cut(uint64_t seed, void (*plan)(struct life *life, struct sim_random *faults))
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    bool recovers = false;
    unsigned lives = 2 + sim_below(&faults, LIVES_MAX - 1);

    for (unsigned i = 0; i < lives; i++) {
        struct life life;
        bool last = i + 1 == lives;
        bool is_short = i > 0 && sim_one_in(&faults, 3);
        uint32_t most = is_short ? CUT_STEPS_SHORT : CUT_STEPS_LONG;

        life_draw(&life, &model, sim_random(&faults) ^ STREAM_WORK);
        life.recovers = recovers;
        life.end = last ? LIFE_CLOSES : life.end;
        if (plan != NULL) {
            plan(&life, &faults);
        }
        plan_cut(&faults, last, most);
        enum sim_end end = sim_world(life_main, &life);
        after(&life, end);
        recovers = end == SIM_CUT;
    }
}

void journal_run_cut(uint64_t seed)
{
    live_and_cut(seed, NULL);
}

/* ---- one member ----------------------------------------------------------------------------- */

static void kill_disk(void *context)
{
    sim_disk_kill(*(const unsigned *)context);
}

static void stall_disk(void *context)
{
    sim_disk_set_stall(*(const unsigned *)context, STALL_NS);
}

static void unstall_disk(void *context)
{
    sim_disk_set_stall(*(const unsigned *)context, 0);
}

static unsigned victim;
static bool victim_chosen;

static void plan_member(struct life *life, struct sim_random *faults)
{
    life->faults = FAULTS_MEMBER;
    if (victim_chosen && sim_one_in(faults, 3)) {
        sim_disk_revive(victim); /* if it was missed, it is stale now */
    }
    if (victim_chosen || sim_one_in(faults, 3)) {
        return;
    }
    victim_chosen = true;
    victim = sim_below(faults, life_members());
    switch (sim_below(faults, 5)) {
    case 0: sim_disk_set_absent(victim, true); break; /* lost while the power was off */
    case 1: sim_disk_set_error_rate(victim, 20000, 0); break;
    case 2: sim_disk_set_error_rate(victim, 5000, 5000); break;
    case 3:
        sim_call_after(1 + sim_below(faults, FAULT_STEPS), stall_disk, &victim);
        sim_call_after(FAULT_STEPS, unstall_disk, &victim);
        break;
    default: sim_call_after(1 + sim_below(faults, FAULT_STEPS), kill_disk, &victim); break;
    }
}

void journal_run_member(uint64_t seed)
{
    struct sim_random faults = {~seed ^ STREAM_FAULTS};
    struct life life;

    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.end = LIFE_CLOSES;
    plan_member(&life, &faults);
    (void)sim_world(life_main, &life); /* nobody cuts it */
    life_draw(&life, &model, ~seed ^ STREAM_WORK);
    life.faults = FAULTS_MEMBER;
    life.end = LIFE_CLOSES;
    (void)sim_world(life_main, &life); /* as before */
}

void journal_run_cut_member(uint64_t seed)
{
    live_and_cut(seed, plan_member);
}

/* ---- the journal device --------------------------------------------------------------------- */

void journal_run_no_journal(uint64_t seed)
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct life life;
    unsigned journal = life_members();

    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.end = LIFE_CLOSES;
    life.faults = FAULTS_JOURNAL;
    sim_call_after(2000 + sim_below(&faults, FAULT_STEPS), kill_disk, &journal);
    (void)sim_world(life_main, &life); /* nobody cuts it */
    if (life.failed) {
        (void)sim_world(life_check_members, &life); /* as before */
        life_check_parity();
    }
}

/* ---- beyond what is promised ---------------------------------------------------------------- */

void journal_run_beyond(uint64_t seed)
{
    static unsigned victims[2];
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct life life;

    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.end = LIFE_CLOSES;
    life.faults = FAULTS_BEYOND;
    victims[0] = sim_below(&faults, life_members() + 1);
    victims[1] = (victims[0] + 1 + sim_below(&faults, life_members())) % (life_members() + 1);
    for (unsigned i = 0; i < 2; i++) {
        sim_call_after(2 * OPEN_STEPS + sim_below(&faults, FAULT_STEPS), kill_disk, &victims[i]);
    }
    (void)sim_world(life_main, &life); /* nobody cuts it */
}

/* ---- a full host ---------------------------------------------------------------------------- */

static bool room_is_over;

static void fill_host(void *context)
{
    const unsigned *disk = context;

    sim_disk_set_full(*disk, !room_is_over);
}

static void free_host(void *context)
{
    sim_disk_set_full(*(const unsigned *)context, false);
}

static void plan_room(struct life *life, struct sim_random *faults)
{
    uint32_t from = OPEN_STEPS + sim_below(faults, FAULT_STEPS);

    life->faults = FAULTS_ROOM;
    victim = sim_below(faults, life_members());
    sim_call_after(from, fill_host, &victim);
    sim_call_after(from + 1 + sim_below(faults, FAULT_STEPS), free_host, &victim);
}

void journal_run_room(uint64_t seed)
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct life life;

    life_draw(&life, &model, seed ^ STREAM_WORK);
    life.end = LIFE_CLOSES;
    life.operations *= 2;
    plan_room(&life, &faults);
    (void)sim_world(life_main, &life); /* nobody cuts it */
    sim_disk_set_full(victim, false);
    room_is_over = true;
    bool recovers = life.closed_badly;
    life_draw(&life, &model, ~seed ^ STREAM_WORK);
    life.recovers = recovers;
    life.end = LIFE_CLOSES;
    after(&life, sim_world(life_main, &life));
}

/* ---- running dry ---------------------------------------------------------------------------- */

static void plan_least(struct life *life)
{
    life->io_units = 1;
    life->images_max = IMAGES_LEAST;
}

static void dry_life(uint64_t seed, enum life_faults faults)
{
    struct life life;

    life_draw(&life, &model, seed ^ STREAM_WORK);
    plan_least(&life);
    life.faults = faults;
    life.end = LIFE_CLOSES;
    after(&life, sim_world(life_main, &life));
}

/* Count, refuse, and once more, to see it on the members. */
void journal_run_dry(uint64_t seed)
{
    dry_count();
    dry_life(seed, FAULTS_NONE);
    dry_refuse(seed);
    dry_life(seed, FAULTS_NONE);
    dry_life(~seed, FAULTS_NONE);
}

void journal_run_dry_member(uint64_t seed)
{
    struct sim_random faults = {~seed ^ STREAM_FAULTS};

    dry_count();
    dry_life(seed, FAULTS_NONE);
    dry_refuse(seed);
    victim = sim_below(&faults, life_members());
    if (sim_one_in(&faults, 2)) {
        sim_disk_set_absent(victim, true);
    } else {
        sim_call_after(1 + sim_below(&faults, FAULT_STEPS), kill_disk, &victim);
    }
    dry_life(seed, FAULTS_MEMBER);
    dry_life(~seed, FAULTS_MEMBER);
}

static void plan_shared(struct life *life, struct sim_random *faults)
{
    plan_least(life);
    dry_share(sim_random(faults));
}

void journal_run_dry_cut(uint64_t seed)
{
    live_and_cut(seed, plan_shared);
}
