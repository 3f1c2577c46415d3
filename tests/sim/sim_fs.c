/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mounted filesystem under several users; see sim_fs.h.
 *
 *   open, recover -> check -> mount -> compare -> users -> compare -> unmount, check
 *
 * Invariants:
 *   SF1  a user's own files are at any time what its operations made of them.
 *   SF2  after a cut its directory is a state not before the last synced one; check finds nothing.
 *   SF3  a write of the shared file is seen whole or not at all.
 *
 * Failure modes: an error that no fault explains fails the seed.
 * Thread: fibers; a user's history is its own.
 */
#include "sim_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "r5fs/base/env.h"
#include "r5fs/fs/fs.h"
#include "sim.h"
#include "sim_tree.h"

#define MEMBERS        3u
#define MEMBER_BYTES   (6u << 20)
#define CHUNK_SECTORS  32u
#define JOURNAL_BYTES  (4u << 20)
#define ARENA_BYTES    ((size_t)48 << 20)
#define MEMORY_BYTES   (12u << 20)
#define BUFFER_BYTES   (8u << 20)
#define IMAGES         128u
#define QUEUE_DEPTH    16u
#define USERS          4u
#define SHARED_BYTES   16384u
#define WRITE_MAX      9000u
#define NAME_BYTES     16u
#define READ_BYTES     (FS_IO_BYTES_MAX + 2 * BLOCK_BYTES)
#define STALL_NS       UINT64_C(300000000)
#define SLEEP_NS_MAX   UINT64_C(3000000000)
#define CUT_STEPS_OPEN 3000u
#define CUT_STEPS_LONG 25000u
#define FAULT_STEPS    8000u
#define LIVES_MAX      4u
#define STREAM_FAULTS  UINT64_C(0x66732d6661756c74)

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1u << 1)
#endif

struct life {
    struct sim_random random;
    uint32_t operations;
    bool recovers;
    bool stops; /* the power goes after the last operation */
    bool faulty;
    struct array *array;
    struct journal *journal;
    struct fs *fs;
    struct io_queue *queue;
    struct fs_thread thread;
    struct arena arena;
};

struct user {
    struct life *life;
    struct sim_random random;
    struct fs_thread thread;
    struct env_thread *fiber;
    uint64_t dir;
    uint8_t *buffer;
    unsigned number;
    char name[NAME_BYTES];
    struct tree tree;
};

static struct user users[USERS];
static uint64_t shared_file;
static uint64_t shared_dir;
static const struct fs_caller caller = {.umask = 022};

static struct fs_name name_of(const char *text)
{
    return (struct fs_name){.bytes = text, .length = strlen(text)};
}

static const char *file_name(uint32_t file, char text[NAME_BYTES])
{
    (void)snprintf(text, NAME_BYTES, "file%u", file); /* always fits */
    return text;
}

static void must(int error, const char *what)
{
    SIM_EXPECT(error == 0, "%s: error %d", what, error);
}

/* ---- own files ------------------------------------------------------------------------------ */

static void make(struct user *user, uint32_t file)
{
    char text[NAME_BYTES];
    struct fs_attr attr;
    const struct fs_make how = {.mode = S_IFREG | 0644};
    struct tree_state *next = tree_begin(&user->tree);

    next->files[file] = (struct tree_file){.ino = TREE_ANY_INO};
    must(fs_make(user->life->fs,
                 &user->thread,
                 &caller,
                 user->dir,
                 name_of(file_name(file, text)),
                 &how,
                 &attr),
         "make");
    next->files[file].ino = attr.ino;
    tree_done(&user->tree);
}

static void evict(struct user *user, uint64_t ino)
{
    if (ino != 0) {
        must(fs_evict(user->life->fs, &user->thread, ino), "evict");
    }
}

static void drop(struct user *user, uint32_t file)
{
    char text[NAME_BYTES];
    uint64_t gone = 0;
    struct tree_state *next = tree_begin(&user->tree);
    uint64_t ino = next->files[file].ino;

    next->files[file] = (struct tree_file){0};
    must(fs_unlink(user->life->fs, &user->thread, user->dir, name_of(file_name(file, text)), &gone),
         "unlink");
    SIM_EXPECT(gone == ino, "unlink: inode %llu is gone", (unsigned long long)gone);
    tree_done(&user->tree);
    evict(user, gone);
}

static void move(struct user *user, uint32_t file)
{
    char from[NAME_BYTES];
    char to[NAME_BYTES];
    uint64_t gone = 0;
    uint32_t other = (file + 1 + sim_below(&user->random, TREE_FILES - 1)) % TREE_FILES;
    struct tree_state *next = tree_begin(&user->tree);
    struct tree_file moved = next->files[file];
    bool exchange = next->files[other].ino != 0 && sim_one_in(&user->random, 2);

    next->files[file] = exchange ? next->files[other] : (struct tree_file){0};
    next->files[other] = moved;
    must(fs_rename(user->life->fs,
                   &user->thread,
                   user->dir,
                   name_of(file_name(file, from)),
                   user->dir,
                   name_of(file_name(other, to)),
                   exchange ? RENAME_EXCHANGE : 0,
                   &gone),
         "rename");
    tree_done(&user->tree);
    evict(user, gone);
}

static void write_file(struct user *user, uint32_t file)
{
    struct tree_state *next = tree_begin(&user->tree);
    struct tree_file *own = &next->files[file];
    uint32_t size = own->size;
    uint32_t offset = sim_one_in(&user->random, 3) ? size : sim_below(&user->random, TREE_BYTES);
    uint32_t most = TREE_BYTES - offset < WRITE_MAX ? TREE_BYTES - offset : WRITE_MAX;
    uint32_t written = 0;

    if (most == 0) {
        tree_undo(&user->tree);
        return;
    }
    uint32_t bytes = 1 + sim_below(&user->random, most);
    if (sim_one_in(&user->random, 2)) { /* whole blocks */
        offset = (uint32_t)round_down(offset, BLOCK_BYTES);
        bytes = (uint32_t)min_u64(round_up(bytes, BLOCK_BYTES), TREE_BYTES - offset);
    }
    uint64_t number = sim_random(&user->random) | 1;
    for (uint32_t i = 0; i + sizeof(number) <= bytes + sizeof(number); i += sizeof(number)) {
        memcpy(user->buffer + i, &number, sizeof(number));
    }
    tree_write(own, offset, user->buffer, bytes);
    must(fs_write(
             user->life->fs, &user->thread, own->ino, offset, user->buffer, bytes, false, &written),
         "write");
    SIM_EXPECT(written == bytes, "write: %u of %u bytes", written, bytes);
    tree_done(&user->tree);
}

static void truncate_file(struct user *user, uint32_t file)
{
    struct tree_file *own = &tree_begin(&user->tree)->files[file];
    struct fs_attr attr = {.size = sim_below(&user->random, TREE_BYTES + 1)};
    struct fs_attr after;

    tree_truncate(own, (uint32_t)attr.size);
    must(fs_setattr(user->life->fs, &user->thread, own->ino, &attr, FS_SET_SIZE, &after),
         "truncate");
    tree_done(&user->tree);
}

static void punch(struct user *user, uint32_t file)
{
    struct tree_file *own = &tree_begin(&user->tree)->files[file];
    uint32_t offset = sim_below(&user->random, TREE_BYTES);
    uint32_t bytes = 1 + sim_below(&user->random, TREE_BYTES - offset);
    uint32_t kind = sim_below(&user->random, 3);
    int mode = kind == 0   ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
               : kind == 1 ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
                           : 0;

    if (mode != 0) {
        tree_zero(own, offset, bytes);
    } else if (own->size < offset + bytes) {
        tree_truncate(own, offset + bytes);
    }
    must(fs_fallocate(user->life->fs, &user->thread, own->ino, mode, offset, bytes), "fallocate");
    tree_done(&user->tree);
}

static void read_file(struct user *user, uint64_t ino, uint32_t size, struct tree_file *out_found)
{
    uint32_t skip = 0;
    uint32_t bytes = 0;
    uint8_t page[BLOCK_BYTES];

    *out_found = (struct tree_file){.ino = ino, .size = size};
    for (uint32_t at = 0; at < size; at += BLOCK_BYTES) {
        uint32_t want = size - at < BLOCK_BYTES ? size - at : BLOCK_BYTES;
        must(fs_read(
                 user->life->fs, &user->thread, ino, at, BLOCK_BYTES, user->buffer, &skip, &bytes),
             "read");
        SIM_EXPECT(bytes == want, "read at %u of %u: %u bytes", at, size, bytes);
        memset(page, 0, sizeof(page));
        memcpy(page, user->buffer + skip, bytes);
        out_found->pages[at / BLOCK_BYTES] = tree_page(page);
    }
}

/* SF1 */
static void compare(struct user *user, uint32_t file)
{
    const struct tree_file *own = &tree_now(&user->tree)->files[file];
    struct tree_file found = {0};
    struct fs_attr attr;

    must(fs_getattr(user->life->fs, &user->thread, own->ino, &attr), "getattr");
    SIM_EXPECT(attr.size <= TREE_BYTES, "a size of %llu", (unsigned long long)attr.size);
    read_file(user, attr.ino, (uint32_t)attr.size, &found);
    SIM_EXPECT(tree_file_equals(own, &found), "%s: file %u differs", user->name, file);
}

struct listing {
    unsigned names;
    unsigned others;
};

static bool count_name(void *context, const struct fs_dirent *entry)
{
    struct listing *listing = context;

    if (entry->name.bytes[0] != '.') {
        listing->names++;
    }
    return true;
}

static void list(struct user *user)
{
    const struct tree_state *now = tree_now(&user->tree);
    struct listing listing = {0};
    unsigned expected = 0;

    for (uint32_t file = 0; file < TREE_FILES; file++) {
        expected += now->files[file].ino != 0;
    }
    must(fs_readdir(user->life->fs, &user->thread, user->dir, 0, false, count_name, &listing),
         "readdir");
    SIM_EXPECT(
        listing.names == expected, "%s: %u names, not %u", user->name, listing.names, expected);
}

/* ---- what is shared ------------------------------------------------------------------------- */

static void use_shared_file(struct user *user)
{
    uint32_t written = 0;
    uint32_t skip = 0;
    uint32_t bytes = 0;

    if (sim_one_in(&user->random, 2)) {
        memset(user->buffer, 1 + (int)sim_below(&user->random, 255), SHARED_BYTES);
        must(fs_write(user->life->fs,
                      &user->thread,
                      shared_file,
                      0,
                      user->buffer,
                      SHARED_BYTES,
                      false,
                      &written),
             "shared write");
        return;
    }
    must(fs_read(user->life->fs,
                 &user->thread,
                 shared_file,
                 0,
                 SHARED_BYTES,
                 user->buffer,
                 &skip,
                 &bytes),
         "shared read");
    SIM_EXPECT(bytes == SHARED_BYTES, "the shared file has %u bytes", bytes);
    for (uint32_t i = BLOCK_BYTES; !user->life->recovers && i < bytes; i += BLOCK_BYTES) {
        SIM_EXPECT(user->buffer[skip + i] == user->buffer[skip],
                   "a shared write is torn"); /* SF3 */
    }
}

static void use_shared_dir(struct user *user)
{
    char text[NAME_BYTES];
    const struct fs_make how = {.mode = S_IFREG | 0644};
    struct fs_attr attr;
    uint64_t gone = 0;
    struct fs_name name = name_of(file_name(sim_below(&user->random, 3), text));
    struct fs *fs = user->life->fs;
    int error = fs_make(fs, &user->thread, &caller, shared_dir, name, &how, &attr);

    SIM_EXPECT(error == 0 || error == -EEXIST, "shared make: error %d", error);
    error = fs_rename(fs, &user->thread, shared_dir, name, shared_dir, name_of("moved"), 0, &gone);
    SIM_EXPECT(error == 0 || error == -ENOENT, "shared rename: error %d", error);
    evict(user, error == 0 ? gone : 0);
    error = fs_unlink(fs, &user->thread, shared_dir, name_of("moved"), &gone);
    SIM_EXPECT(error == 0 || error == -ENOENT, "shared unlink: error %d", error);
    evict(user, error == 0 ? gone : 0);
}

/* ---- durability ----------------------------------------------------------------------------- */

static void note_synced(struct tree *tree, uint32_t done)
{
    tree->synced = done > tree->synced ? done : tree->synced;
}

static void sync_own(struct user *user, uint64_t ino)
{
    uint32_t done = user->tree.done;

    must(fs_fsync(user->life->fs, &user->thread, ino, sim_one_in(&user->random, 2)), "fsync");
    note_synced(&user->tree, done);
}

static void sync_all(struct life *life, struct fs_thread *thread)
{
    uint32_t done[USERS];

    for (unsigned i = 0; i < USERS; i++) {
        done[i] = users[i].tree.done;
    }
    must(fs_sync(life->fs, thread), "sync");
    for (unsigned i = 0; i < USERS; i++) {
        note_synced(&users[i].tree, done[i]);
    }
}

/* ---- users ---------------------------------------------------------------------------------- */

static void operate_on(struct user *user, uint32_t file)
{
    uint64_t ino = tree_now(&user->tree)->files[file].ino;
    uint32_t kind = sim_below(&user->random, 20);

    if (ino == 0) {
        make(user, file);
    } else if (kind < 8) {
        write_file(user, file);
    } else if (kind < 10) {
        truncate_file(user, file);
    } else if (kind < 12) {
        punch(user, file);
    } else if (kind < 14) {
        move(user, file);
    } else if (kind < 15) {
        drop(user, file);
    } else if (kind < 18) {
        compare(user, file);
    } else {
        sync_own(user, ino);
    }
}

static void user_main(void *context)
{
    struct user *user = context;

    for (uint32_t i = 0; i < user->life->operations && tree_has_room(&user->tree); i++) {
        uint32_t kind = sim_below(&user->random, 20);

        if (kind == 0) {
            list(user);
        } else if (kind == 1) {
            sync_all(user->life, &user->thread);
        } else if (kind == 2) {
            use_shared_dir(user);
        } else if (kind < 5) {
            use_shared_file(user);
        } else if (kind == 5 && sim_one_in(&user->random, 4)) {
            env_sleep_ns(sim_random(&user->random) % SLEEP_NS_MAX);
        } else {
            operate_on(user, sim_below(&user->random, TREE_FILES));
        }
    }
}

/* ---- open, close ---------------------------------------------------------------------------- */

static void thread_open(struct life *life, struct fs_thread *thread)
{
    memset(thread, 0, sizeof(*thread));
    must(io_queue_open(&thread->queue, &life->arena, QUEUE_DEPTH), "queue");
    thread->scratch = arena_take(&life->arena, FS_SCRATCH_BYTES, BLOCK_BYTES);
}

static void open_array(struct life *life)
{
    const char *paths[MEMBERS + 1];
    char why[ARRAY_WHY_BYTES];
    struct array_assemble how = {
        .paths = paths,
        .path_count = MEMBERS + 1,
        .allow_degraded = true,
        .arena = &life->arena,
    };

    must(arena_init(&life->arena, ARENA_BYTES, false), "memory");
    thread_open(life, &life->thread);
    life->queue = life->thread.queue;
    for (unsigned i = 0; i < MEMBERS + 1; i++) {
        paths[i] = sim_disk_path(i);
    }
    int error = array_assemble(&how, life->queue, &life->array, why);
    SIM_EXPECT(error == 0, "assemble: %d %s", error, why);
}

static void open_journal(struct life *life)
{
    char why[JOURNAL_WHY_BYTES];
    const struct journal_options options = {
        .arena = &life->arena,
        .memory_bytes = MEMORY_BYTES,
        .io_units = 2,
        .images_max = IMAGES,
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
static void check(struct life *life)
{
    struct arena arena;
    struct fs_check_result result = {0};

    arena_init_growing(&arena);
    const struct fs_check_options options = {.arena = &arena, .report = report_line};
    must(fs_check(life->journal, life->array, &life->thread, &options, &result), "check");
    SIM_EXPECT(result.problems == 0, "check: %llu problems", (unsigned long long)result.problems);
    arena_fini(&arena);
}

static void mount(struct life *life)
{
    char why[FS_WHY_BYTES];
    const struct fs_options options = {.arena = &life->arena, .buffer_bytes = BUFFER_BYTES};
    int error = fs_mount(&life->fs, life->journal, life->array, &options, &life->thread, why);

    SIM_EXPECT(error == 0, "mount: %d %s", error, why);
}

static void close_all(struct life *life)
{
    must(fs_unmount(life->fs, &life->thread), "unmount");
    must(journal_close(life->journal, life->queue), "journal_close");
    must(array_stop_writing(life->array, life->queue), "stop");
    array_close(life->array);
    arena_fini(&life->arena);
}

/* ---- a life --------------------------------------------------------------------------------- */

static void find_state(struct user *user, struct tree_state *out_found)
{
    for (uint32_t file = 0; file < TREE_FILES; file++) {
        char text[NAME_BYTES];
        struct fs_attr attr;
        int error = fs_lookup(
            user->life->fs, &user->thread, user->dir, name_of(file_name(file, text)), &attr);
        out_found->files[file] = (struct tree_file){0};
        if (error == -ENOENT) {
            continue;
        }
        must(error, "lookup");
        SIM_EXPECT(attr.size <= TREE_BYTES, "a size of %llu", (unsigned long long)attr.size);
        read_file(user, attr.ino, (uint32_t)attr.size, &out_found->files[file]);
    }
}

static void open_users(struct life *life)
{
    for (unsigned i = 0; i < USERS; i++) {
        struct user *user = &users[i];

        user->life = life;
        user->random.state = sim_random(&life->random);
        thread_open(life, &user->thread);
        user->buffer = arena_take(&life->arena, READ_BYTES, BLOCK_BYTES);
    }
}

static void compare_users(const struct life *life)
{
    for (unsigned i = 0; i < USERS; i++) {
        struct user *user = &users[i];
        struct tree_state found;

        if (life->recovers) {
            find_state(user, &found);
            tree_recover(&user->tree, &found, user->name);
        } else { /* a clean end: what there was last */
            user->tree.synced = user->tree.count - 1;
            find_state(user, &found);
            tree_recover(&user->tree, &found, user->name);
        }
        list(user);
    }
}

static void run_users(struct life *life)
{
    arena_seal(&life->arena);
    sim_seal_memory(true);
    if (!life->faulty) {
        sim_expect_no_stall(STALL_NS, "user");
    }
    for (unsigned i = 0; i < USERS; i++) {
        must(env_thread_start(&users[i].fiber, "user", user_main, &users[i]), "thread");
    }
    for (unsigned i = 0; i < USERS; i++) {
        env_thread_join(users[i].fiber);
    }
    sim_allow_stall();
    sim_seal_memory(false);
    for (unsigned i = 0; i < USERS; i++) {
        for (uint32_t file = 0; file < TREE_FILES; file++) {
            if (tree_now(&users[i].tree)->files[file].ino != 0) {
                compare(&users[i], file);
            }
        }
    }
}

static void life_main(void *context)
{
    struct life *life = context;

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
    struct life *life = context;

    open_array(life);
    open_journal(life);
    check(life);
    must(journal_close(life->journal, life->queue), "journal_close");
    must(array_stop_writing(life->array, life->queue), "stop");
    array_close(life->array);
    arena_fini(&life->arena);
}

/* ---- the filesystem that all seeds start from ----------------------------------------------- */

static uint64_t make_in_root(struct life *life, const char *name, uint32_t mode)
{
    const struct fs_make how = {.mode = mode};
    struct fs_attr attr;

    must(fs_make(life->fs, &life->thread, &caller, FS_ROOT_INO, name_of(name), &how, &attr),
         "make");
    return attr.ino;
}

static void make_tree(struct life *life)
{
    uint32_t written = 0;
    uint8_t *data = arena_take(&life->arena, SHARED_BYTES, BLOCK_BYTES);

    memset(data, 'a', SHARED_BYTES);
    shared_file = make_in_root(life, "shared", S_IFREG | 0644);
    shared_dir = make_in_root(life, "meeting", S_IFDIR | 0755);
    must(fs_write(life->fs, &life->thread, shared_file, 0, data, SHARED_BYTES, false, &written),
         "write");
    for (unsigned i = 0; i < USERS; i++) {
        (void)snprintf(users[i].name, NAME_BYTES, "user%u", i); /* always fits */
        users[i].number = i;
        users[i].dir = make_in_root(life, users[i].name, S_IFDIR | 0755);
        tree_init(&users[i].tree);
    }
}

static void prepare_main(void *context)
{
    const char *paths[MEMBERS];
    char why[ARRAY_WHY_BYTES];
    struct life *life = context;
    const struct fs_format_options format = {.label = "simulated", .root_mode = 0755};

    for (unsigned i = 0; i < MEMBERS; i++) {
        paths[i] = sim_disk_make(i, MEMBER_BYTES);
    }
    struct array_create create = {
        .member_paths = paths,
        .member_count = MEMBERS,
        .journal_path = sim_disk_make(MEMBERS, JOURNAL_BYTES),
        .chunk_sectors = CHUNK_SECTORS,
        .layout = LAYOUT_LEFT_SYMMETRIC,
        .name = "simulated",
        .uuid = uuid_make_random(),
    };
    must(array_create(&create, why), why);
    open_array(life);
    must(array_start_writing(life->array, life->queue), "start");
    must(journal_format(life->array, life->queue), "journal_format");
    open_journal(life);
    must(fs_format(life->journal, life->array, &life->thread, &format, why), why);
    mount(life);
    make_tree(life);
    close_all(life);
}

void fs_prepare(void)
{
    struct life life = {0};

    (void)sim_world(prepare_main, &life); /* nobody cuts it */
}

/* ---- scenarios ------------------------------------------------------------------------------ */

static void draw(struct life *life, uint64_t seed)
{
    *life = (struct life){.random = {seed}};
    life->operations = 5 + sim_below(&life->random, 30);
    life->stops = sim_one_in(&life->random, 2);
}

void fs_run_plain(uint64_t seed)
{
    struct life life;

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

static void plan_member(struct life *life, struct sim_random *faults, bool *chosen)
{
    life->faulty = true;
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

static void live_and_cut(uint64_t seed, bool lose_member)
{
    struct sim_random faults = {seed ^ STREAM_FAULTS};
    struct life life;
    bool recovers = false;
    bool chosen = !lose_member;
    unsigned lives = 2 + sim_below(&faults, LIVES_MAX - 1);

    for (unsigned i = 0; i < lives; i++) {
        bool last = i + 1 == lives;
        uint32_t most = i > 0 && sim_one_in(&faults, 3) ? CUT_STEPS_OPEN : CUT_STEPS_LONG;

        draw(&life, sim_random(&faults));
        life.recovers = recovers;
        life.faulty = lose_member;
        life.stops = life.stops && !last;
        if (lose_member) {
            plan_member(&life, &faults, &chosen);
        }
        sim_cut_after(last ? UINT64_MAX : 1 + sim_below(&faults, 1 + sim_below(&faults, most)));
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
