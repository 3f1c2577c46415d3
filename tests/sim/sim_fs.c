/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mounted filesystem under several users; see sim_fs.h.
 *
 *   open, recover -> check -> mount -> compare -> users -> compare -> unmount, check
 *
 * Invariants:
 *   SF2  after a cut its directory is a state not before the last synced one; check finds nothing.
 *
 * Failure modes: an error that no fault explains fails the seed.
 * Thread: fibers; a user's history is its own.
 */
#include "sim_fs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "r5fs/base/env.h"
#include "sim_dry.h"
#include "sim_fs_users.h"

#define MEMBERS            3u
#define CHUNK_SECTORS      16u
#define ARENA_BYTES        ((size_t)48 << 20)
#define MEMORY_BYTES       (12u << 20)
#define BUFFER_BYTES       (8u << 20)
#define QUEUE_DEPTH        16u
#define STALL_NS           UINT64_C(300000000)
#define CUT_STEPS_OPEN     3000u
#define STEPS_PER_TRANSFER 75u /* about */
#define FAULT_STEPS        8000u
#define LIVES_MAX          4u
#define STREAM_FAULTS      UINT64_C(0x66732d6661756c74)

/* ---- open, close ---------------------------------------------------------------------------- */

static void thread_open(struct fs_life *life, struct fs_thread *thread)
{
    memset(thread, 0, sizeof(*thread));
    fs_must(io_queue_open(&thread->queue, &life->arena, QUEUE_DEPTH), "queue");
    thread->scratch = arena_take(&life->arena, FS_SCRATCH_BYTES, BLOCK_BYTES);
}

static void open_array(struct fs_life *life)
{
    const char *paths[MEMBERS + 1];
    char why[ARRAY_WHY_BYTES];
    struct array_assemble how = {
        .paths = paths,
        .path_count = MEMBERS + 1,
        .allow_degraded = true,
        .arena = &life->arena,
    };

    fs_must(arena_init(&life->arena, ARENA_BYTES, false), "memory");
    thread_open(life, &life->thread);
    life->queue = life->thread.queue;
    for (unsigned i = 0; i < MEMBERS + 1; i++) {
        paths[i] = sim_disk_path(i);
    }
    int error = array_assemble(&how, life->queue, &life->array, why);
    SIM_EXPECT(error == 0, "assemble: %d %s", error, why);
}

static void open_journal(struct fs_life *life)
{
    char why[JOURNAL_WHY_BYTES];
    const struct journal_options options = {
        .arena = &life->arena,
        .memory_bytes = MEMORY_BYTES,
        .io_units = fs_scale.io_units,
        .images_max = fs_scale.images,
        .commit_interval_ms = fs_scale.commit_interval_ms,
        .judge_log = fs_judge_log,
    };
    int error = journal_open(&life->journal, life->array, &options, life->queue, why);

    SIM_EXPECT(error == 0, "journal_open: %d %s", error, why);
}

static void report_line(void *context, const char *line)
{
    (void)context;
    (void)printf("  check: %s\n", line);
}

/* SF2 */
static void check(struct fs_life *life)
{
    struct arena arena;
    struct fs_check_result result = {0};

    arena_init_growing(&arena);
    const struct fs_check_options options = {.arena = &arena, .report = report_line};
    fs_must(fs_check(life->journal, life->array, &life->thread, &options, &result), "check");
    SIM_EXPECT(result.problems == 0, "check: %llu problems", (unsigned long long)result.problems);
    arena_fini(&arena);
}

static void mount(struct fs_life *life)
{
    char why[FS_WHY_BYTES];
    const struct fs_options options = {.arena = &life->arena, .buffer_bytes = BUFFER_BYTES};
    int error = fs_mount(&life->fs, life->journal, life->array, &options, &life->thread, why);

    SIM_EXPECT(error == 0, "mount: %d %s", error, why);
}

static void close_all(struct fs_life *life)
{
    fs_must(fs_unmount(life->fs, &life->thread), "unmount");
    fs_must(journal_close(life->journal, life->queue), "journal_close");
    fs_must(array_stop_writing(life->array, life->queue), "stop");
    array_close(life->array);
    arena_fini(&life->arena);
}

/* ---- a life --------------------------------------------------------------------------------- */

static void open_users(struct fs_life *life)
{
    for (unsigned i = 0; i < FS_USERS; i++) {
        struct fs_user *user = &fs_users[i];

        user->life = life;
        user->random.state = sim_random(&life->random);
        thread_open(life, &user->thread);
        user->buffer = arena_take(&life->arena, FS_READ_BYTES, BLOCK_BYTES);
    }
}

static void compare_users(const struct fs_life *life)
{
    for (unsigned i = 0; i < FS_USERS; i++) {
        struct fs_user *user = &fs_users[i];
        struct tree_state found;

        if (life->recovers) {
            fs_user_find_state(user, &found);
            tree_recover(&user->tree, &found, user->name);
        } else { /* a clean end: what there was last */
            user->tree.synced = user->tree.count - 1;
            fs_user_find_state(user, &found);
            tree_recover(&user->tree, &found, user->name);
        }
        fs_user_list(user);
    }
}

static void run_users(struct fs_life *life)
{
    arena_seal(&life->arena);
    sim_seal_memory(true);
    if (!life->faulty) {
        sim_expect_no_stall(STALL_NS, "user");
    }
    dry_begin(life->journal);
    for (unsigned i = 0; i < FS_USERS; i++) {
        fs_must(env_thread_start(&fs_users[i].fiber, "user", fs_user_main, &fs_users[i]), "thread");
    }
    for (unsigned i = 0; i < FS_USERS; i++) {
        env_thread_join(fs_users[i].fiber);
    }
    dry_end();
    sim_allow_stall();
    sim_seal_memory(false);
    for (unsigned i = 0; i < FS_USERS; i++) {
        fs_user_compare(&fs_users[i]);
    }
}

static void life_main(void *context)
{
    struct fs_life *life = context;

    open_array(life);
    open_journal(life);
    if (life->recovers) {
        check(life);
    }
    mount(life);
    open_users(life);
    compare_users(life);
    run_users(life);
    if (life->stops) {
        sim_cut_now();
    }
    close_all(life);
}

/* After a clean end. */
static void check_main(void *context)
{
    struct fs_life *life = context;

    open_array(life);
    open_journal(life);
    check(life);
    fs_must(journal_close(life->journal, life->queue), "journal_close");
    fs_must(array_stop_writing(life->array, life->queue), "stop");
    array_close(life->array);
    arena_fini(&life->arena);
}

/* ---- the filesystem that all seeds start from ----------------------------------------------- */

static uint64_t make_in_root(struct fs_life *life, const char *name, uint32_t mode)
{
    const struct fs_make how = {.mode = mode};
    struct fs_attr attr;

    fs_must(
        fs_make(
            life->fs, &life->thread, &fs_user_caller, FS_ROOT_INO, fs_user_name(name), &how, &attr),
        "make");
    return attr.ino;
}

static void make_tree(struct fs_life *life)
{
    uint32_t written = 0;
    uint8_t *data = arena_take(&life->arena, FS_SHARED_BYTES, BLOCK_BYTES);

    memset(data, 'a', FS_SHARED_BYTES);
    fs_shared_file = make_in_root(life, "shared", S_IFREG | 0644);
    fs_shared_dir = make_in_root(life, "meeting", S_IFDIR | 0755);
    fs_must(fs_write(
                life->fs, &life->thread, fs_shared_file, 0, data, FS_SHARED_BYTES, false, &written),
            "write");
    for (unsigned i = 0; i < FS_USERS; i++) {
        (void)snprintf(fs_users[i].name, FS_NAME_ROOM, "user%u", i); /* always fits */
        fs_users[i].number = i;
        fs_users[i].dir = make_in_root(life, fs_users[i].name, S_IFDIR | 0755);
        tree_init(&fs_users[i].tree);
    }
}

static void prepare_main(void *context)
{
    const char *paths[MEMBERS];
    char why[ARRAY_WHY_BYTES];
    struct fs_life *life = context;
    const struct fs_format_options format = {.label = "simulated", .root_mode = 0755};

    for (unsigned i = 0; i < MEMBERS; i++) {
        paths[i] = sim_disk_make(i, fs_scale.member_bytes);
    }
    struct array_create create = {
        .member_paths = paths,
        .member_count = MEMBERS,
        .journal_path = sim_disk_make(MEMBERS, fs_scale.journal_bytes),
        .chunk_sectors = CHUNK_SECTORS,
        .layout = LAYOUT_LEFT_SYMMETRIC,
        .name = "simulated",
        .uuid = uuid_make_random(),
    };
    fs_must(array_create(&create, why), why);
    open_array(life);
    fs_must(array_start_writing(life->array, life->queue), "start");
    fs_must(journal_format(life->array, life->queue), "journal_format");
    open_journal(life);
    fs_must(fs_format(life->journal, life->array, &life->thread, &format, why), why);
    mount(life);
    make_tree(life);
    close_all(life);
}

/* All that is dirty goes into one unit of the log; the volume has hardly room for it. */
static const struct fs_scale scale_small = {
    .file_bytes = 8 * BLOCK_BYTES,
    .write_bytes = 9000,
    .sync_one_in = 1,
    .other_one_in = 1,
    .operations = 30,
    .cut_steps = 25000,
    .images = 128,
    .io_units = 2,
    .member_bytes = (3u << 20) + (544u << 10),
    .journal_bytes = 4u << 20,
};

/* Commits of several units. */
static const struct fs_scale scale_wide = {
    .file_bytes = TREE_BYTES,
    .write_bytes = TREE_BYTES,
    .sync_one_in = 20,
    .other_one_in = 6,
    .commit_interval_ms = 3600000,
    .operations = 160,
    .cut_steps = 120000,
    .images = 1200,
    .io_units = 2,
    .member_bytes = 7u << 20,
    .journal_bytes = 9u << 20,
};

/* The least of everything that an operation can be done with. */
static const struct fs_scale scale_least = {
    .file_bytes = 8 * BLOCK_BYTES,
    .write_bytes = 9000,
    .sync_one_in = 1,
    .other_one_in = 1,
    .operations = 30,
    .cut_steps = 25000,
    .images = 64, /* a rename needs that */
    .io_units = 1,
    .member_bytes = (3u << 20) + (544u << 10),
    .journal_bytes = 4u << 20,
};

static void prepare(const struct fs_scale *scale)
{
    struct fs_life life = {0};

    fs_scale = *scale;
    (void)sim_world(prepare_main, &life); /* nobody cuts it */
}

void fs_prepare_small(void)
{
    prepare(&scale_small);
}

void fs_prepare_least(void)
{
    prepare(&scale_least);
}

void fs_prepare_wide(void)
{
    prepare(&scale_wide);
}

/* ---- scenarios ------------------------------------------------------------------------------ */

static void draw(struct fs_life *life, uint64_t seed)
{
    *life = (struct fs_life){.random = {seed}};
    life->operations = 5 + sim_below(&life->random, fs_scale.operations);
    life->stops = sim_one_in(&life->random, 2);
}

void fs_run_plain(uint64_t seed)
{
    struct fs_life life;

    draw(&life, seed);
    life.stops = false;
    (void)sim_world(life_main, &life); /* nobody cuts it */
    draw(&life, ~seed);
    life.operations = 2;
    life.stops = false;
    (void)sim_world(life_main, &life);  /* as before */
    (void)sim_world(check_main, &life); /* as before */
}

static void kill_disk(void *context)
{
    sim_disk_kill(*(const unsigned *)context);
}

static unsigned victim;

static void plan_member(struct fs_life *life, struct sim_random *faults, bool *chosen)
{
    life->faulty = true;
    if (*chosen && sim_one_in(faults, 3)) {
        sim_disk_revive(victim); /* if it was missed, it is stale now */
    }
    if (*chosen || sim_one_in(faults, 3)) {
        return;
    }
    *chosen = true;
    victim = sim_below(faults, MEMBERS);
    if (sim_one_in(faults, 2)) {
        sim_disk_set_absent(victim, true);
    } else {
        sim_call_after(1 + sim_below(faults, FAULT_STEPS), kill_disk, &victim);
    }
}

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

static void live_and_cut(uint64_t seed, bool lose_member)
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct fs_life life;
    bool recovers = false;
    bool chosen = !lose_member;
    unsigned lives = 2 + sim_below(&faults, LIVES_MAX - 1);

    for (unsigned i = 0; i < lives; i++) {
        bool last = i + 1 == lives;
        uint32_t most = i > 0 && sim_one_in(&faults, 3) ? CUT_STEPS_OPEN : fs_scale.cut_steps;

        draw(&life, sim_random(&faults));
        life.recovers = recovers;
        life.faulty = lose_member;
        life.stops = life.stops && !last;
        if (lose_member) {
            plan_member(&life, &faults, &chosen);
        }
        plan_cut(&faults, last, most);
        recovers = sim_world(life_main, &life) == SIM_CUT;
    }
    (void)sim_world(check_main, &life); /* nobody cuts it */
}

void fs_run_cut(uint64_t seed)
{
    live_and_cut(seed, false);
}

void fs_run_cut_member(uint64_t seed)
{
    live_and_cut(seed, true);
}

/* ---- running dry ---------------------------------------------------------------------------- */

static void dry_life(uint64_t seed, uint32_t operations_max, bool faulty)
{
    struct fs_life life;

    draw(&life, seed);
    life.operations = (uint32_t)min_u64(life.operations, operations_max);
    life.stops = false;
    life.faulty = faulty;
    (void)sim_world(life_main, &life); /* nobody cuts it */
}

static void run_dry(uint64_t seed, bool lose_member)
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct fs_life life;
    bool chosen = false;

    dry_count();
    dry_life(seed, UINT32_MAX, false);
    dry_refuse(seed);
    if (lose_member) {
        plan_member(&life, &faults, &chosen);
    }
    dry_life(~seed, UINT32_MAX, lose_member);
    dry_life(seed, 2, lose_member);
    draw(&life, seed);
    (void)sim_world(check_main, &life); /* as before */
}

void fs_run_dry(uint64_t seed)
{
    run_dry(seed, false);
}

void fs_run_dry_member(uint64_t seed)
{
    run_dry(seed, true);
}
