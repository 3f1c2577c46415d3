/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a life is refused; see sim_dry.h.
 *
 *   dry_count -> life: tries of each pool -> dry_refuse: way, pool and k -> life: refused by that
 *
 *   HALF    every pool refuses half of its tries       EVERY  each n-th try
 *   MOST    one of them refuses nearly all             ONCE   one try, of all that there were
 *   UNTIL   one or two from the k-th try on, until something is given back; possibly over and over
 *   SHARED  another one holds all io units, all encode buffers, or room in the log and the
 *           transaction for a while, and gives them back
 *
 * Invariant: SD1 a k is one that the counting life reached.
 * Happy path: begin, steps, end. Failure modes: somebody on a list at the end fails the seed.
 * Thread: fibers.
 */
#include "sim_dry.h"

#include <stdio.h>
#include <string.h>

#include "journal_internal.h"
#include "log_space.h"
#include "pool_internal.h"
#include "r5fs/base/env.h"
#include "sim.h"

#define POOLS_MAX     16u
#define PLANS_MAX     2u
#define PERCENT_HALF  50u
#define PERCENT_MOST  95u
#define EVERY_MIN     3u /* with 2, a try and the try of the wait behind it alternate for ever */
#define EVERY_MAX     8u
#define NAP_PARTS     50u
#define ROUNDS_MAX    24u
#define HOLD_NS_MAX   UINT64_C(20000000)
#define STREAM_SHARED UINT64_C(0x736861726564)

enum way {
    WAY_HALF,
    WAY_MOST,
    WAY_EVERY,
    WAY_ONCE,
    WAY_UNTIL,
    WAY_SHARED,
    WAYS,
};

static struct {
    enum { OFF, COUNTS, REFUSES } mode;
    struct sim_random random;
    enum way way;
    bool again;      /* a plan that is over begins anew */
    bool to_the_end; /* the close meets it, too */
    struct {
        const char *name; /* literals */
        uint64_t tries;
    } pools[POOLS_MAX];
    unsigned pool_count;
    unsigned victims[PLANS_MAX];
    unsigned victim_count;
    struct pool_fault plans[PLANS_MAX];
    struct journal *journal;
    struct env_thread *sharer;
} dry;

/* ---- the pools ------------------------------------------------------------------------------ */

/* None comes or goes meanwhile. */
static void set_all(const struct pool_fault *plan)
{
    struct pool_fault each = plan != NULL ? *plan : (struct pool_fault){0};

    pool_registry_acquire();
    struct pool *pool = pool_registry_next(NULL);
    pool_registry_release();
    while (pool != NULL) {
        each.seed++;
        pool_fault_set(pool, plan != NULL ? &each : NULL);
        pool_registry_acquire();
        pool = pool_registry_next(pool);
        pool_registry_release();
    }
}

static void set_by_name(const char *name, const struct pool_fault *plan)
{
    pool_registry_acquire();
    struct pool *pool = pool_registry_next(NULL);
    while (pool != NULL && strcmp(pool->stats.name, name) != 0) {
        pool = pool_registry_next(pool);
    }
    pool_registry_release();
    SIM_EXPECT(pool != NULL, "no pool \"%s\"", name);
    pool_fault_set(pool, plan);
}

/* Those that are asked at all. */
static void note_tries(void)
{
    dry.pool_count = 0;
    pool_registry_acquire();
    for (struct pool *pool = pool_registry_next(NULL); pool != NULL;
         pool = pool_registry_next(pool)) {
        if (pool->tries > 0) {
            SIM_EXPECT(dry.pool_count < POOLS_MAX, "more than %u pools", POOLS_MAX);
            dry.pools[dry.pool_count].name = pool->stats.name;
            dry.pools[dry.pool_count].tries = pool->tries;
            dry.pool_count++;
        }
    }
    pool_registry_release();
}

static void expect_nobody_parked(void)
{
    struct pool_stats stats[POOLS_MAX];
    /* A life that was cut left its pools, and who stood there. */
    unsigned count = dry.way == WAY_SHARED ? 0 : pool_collect_stats(stats, POOLS_MAX);

    for (unsigned i = 0; i < count; i++) {
        SIM_EXPECT(stats[i].parked == 0,
                   "%llu still wait for \"%s\"",
                   (unsigned long long)stats[i].parked,
                   stats[i].name);
    }
    SIM_EXPECT(dry.journal->space.collector.parked == 0, "somebody is on the no-space list");
}

/* ---- by the seed ---------------------------------------------------------------------------- */

void dry_count(void)
{
    dry.mode = COUNTS;
    sim_disk_hurry();
}

static struct pool_fault draw_plan(unsigned victim)
{
    uint64_t tries = dry.pools[victim].tries;
    uint64_t at = 1 + sim_random(&dry.random) % tries; /* SD1 */
    uint64_t seed = sim_random(&dry.random);

    switch (dry.way) {
    case WAY_HALF:
        return (struct pool_fault){.kind = POOL_FAULT_PERCENT, .k = PERCENT_HALF, .seed = seed};
    case WAY_MOST:
        return (struct pool_fault){.kind = POOL_FAULT_PERCENT, .k = PERCENT_MOST, .seed = seed};
    case WAY_EVERY:
        return (struct pool_fault){.kind = POOL_FAULT_EVERY,
                                   .k = EVERY_MIN + sim_below(&dry.random, EVERY_MAX)};
    case WAY_ONCE: return (struct pool_fault){.kind = POOL_FAULT_ONCE, .k = at};
    case WAY_UNTIL:
    case WAY_SHARED:
    case WAYS: break;
    }
    return (struct pool_fault){.kind = POOL_FAULT_UNTIL_FREE, .k = at};
}

void dry_refuse(uint64_t seed)
{
    SIM_EXPECT(dry.mode == COUNTS && dry.pool_count > 0, "nothing was counted");
    dry.mode = REFUSES;
    dry.random.state = seed;
    dry.way = sim_one_in(&dry.random, 3) ? WAY_UNTIL : (enum way)sim_below(&dry.random, WAYS);
    dry.again = sim_one_in(&dry.random, 2);
    dry.to_the_end = sim_one_in(&dry.random, 2);
    dry.victim_count = dry.way == WAY_UNTIL && sim_one_in(&dry.random, 4) ? PLANS_MAX : 1;
    for (unsigned i = 0; i < dry.victim_count; i++) {
        dry.victims[i] = sim_below(&dry.random, dry.pool_count);
        dry.plans[i] = draw_plan(dry.victims[i]);
        if (sim_is_verbose()) {
            (void)printf("dry: way %u \"%s\" k %llu of %llu\n",
                         (unsigned)dry.way,
                         dry.pools[dry.victims[i]].name,
                         (unsigned long long)dry.plans[i].k,
                         (unsigned long long)dry.pools[dry.victims[i]].tries);
        }
    }
}

void dry_share(uint64_t seed)
{
    dry.mode = REFUSES;
    dry.way = WAY_SHARED;
    dry.random.state = seed ^ STREAM_SHARED;
}

/* ---- the one who shares --------------------------------------------------------------------- */

static void nap(void)
{
    env_sleep_ns(sim_random(&dry.random) % HOLD_NS_MAX);
}

/* As whoever frees: what is given back is served to the list. */
static void hold_all(struct journal *j, struct pool *pool)
{
    env_mutex_lock(&j->lock);
    uint64_t count = pool_free_count(pool);
    bool took = count > 0 && pool_reserve(pool, count);
    env_mutex_unlock(&j->lock);
    if (took) {
        nap();
        env_mutex_lock(&j->lock);
        pool_unreserve(pool, count);
        log_space_serve(j);
        env_mutex_unlock(&j->lock);
    }
}

static void hold_reservation(struct journal *j)
{
    struct journal_limits limits = journal_limits(j);
    struct journal_reservation reservation = {0};

    int error = journal_reserve(j, &reservation, limits.data_step, limits.meta_step);
    SIM_EXPECT(error == 0, "reserve: error %d", error);
    nap();
    journal_release(j, &reservation);
}

static void share_main(void *context)
{
    struct journal *j = context;
    uint32_t rounds = 1 + sim_below(&dry.random, ROUNDS_MAX);

    for (uint32_t i = 0; i < rounds; i++) {
        nap();
        switch (sim_below(&dry.random, 4)) {
        case 0: hold_reservation(j); break;
        case 1: hold_all(j, &j->cache.encode); break;
        default: hold_all(j, &j->units.pool); break;
        }
    }
}

/* ---- in the life ---------------------------------------------------------------------------- */

static void set_plans(void)
{
    for (unsigned i = 0; i < dry.victim_count; i++) {
        set_by_name(dry.pools[dry.victims[i]].name, &dry.plans[i]);
    }
}

void dry_begin(struct journal *journal)
{
    static const struct pool_fault counts = {.kind = POOL_FAULT_FROM, .k = UINT64_MAX};

    dry.journal = journal;
    if (dry.mode == COUNTS) {
        set_all(&counts);
    } else if (dry.mode == REFUSES && dry.way == WAY_SHARED) {
        int error = env_thread_start(&dry.sharer, "sharer", share_main, journal);
        SIM_EXPECT(error == 0, "thread");
    } else if (dry.mode == REFUSES && dry.way == WAY_HALF) {
        set_all(&dry.plans[0]);
    } else if (dry.mode == REFUSES) {
        set_plans();
    }
}

/* What is left is shorter than the whole. */
static void come_soon(void)
{
    for (unsigned i = 0; i < dry.victim_count && (dry.way == WAY_UNTIL || dry.way == WAY_ONCE);
         i++) {
        dry.plans[i].k = 1 + sim_below(&dry.random, EVERY_MAX);
    }
}

void dry_step(void)
{
    if (dry.mode == REFUSES && dry.way == WAY_UNTIL && dry.again && !pool_faults_active()) {
        come_soon();
        set_plans();
    }
}

uint64_t dry_nap_ns(uint64_t ns)
{
    return pool_faults_active() ? ns / NAP_PARTS : ns;
}

/* Who ends a plan has those look again who stood there because of it: nothing was given back. */
static void end_plans(void)
{
    struct journal *j = dry.journal;

    set_all(NULL);
    env_mutex_lock(&j->lock);
    env_cond_signal(&j->thread.wake);
    log_space_serve(j);
    env_mutex_unlock(&j->lock);
}

void dry_end(void)
{
    if (dry.mode == OFF) {
        return;
    }
    if (dry.sharer != NULL) {
        env_thread_join(dry.sharer);
        dry.sharer = NULL;
        expect_nobody_parked();
        return;
    }
    if (dry.mode == COUNTS) {
        note_tries();
    }
    end_plans();
    expect_nobody_parked();
    if (dry.mode == REFUSES && dry.to_the_end) {
        come_soon();
        dry_begin(dry.journal);
    }
}
