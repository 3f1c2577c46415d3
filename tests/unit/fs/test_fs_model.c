/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operations against a model: each answer is as expected, the whole tree is the same from
 * time to time, after remounts and after crashes.
 *
 * Crashes: the journal in memory keeps every unit; for chosen units the filesystem is mounted as
 * it was durable then, and must be the model after the last operation that had ended, or after the
 * one that was under way. An operation that is a chain of steps may be seen between two of them:
 * then only the contents of the inode it was about may differ.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fsck_kit.h"
#include "model.h"
#include "op.h"

#define UNITS_MAX 65536u

struct run {
    struct kit kit;
    struct model model;
    uint64_t seed;
    uint64_t index; /* of the operation under way */
    uint64_t inos[MODEL_IDS_MAX];
    uint64_t unit_index[UNITS_MAX]; /* operation that was under way when the unit became durable */
};

static struct run run;

static void note_unit(void *context, uint64_t unit)
{
    struct run *noted = context;
    ck_assert_uint_lt(unit, UNITS_MAX);
    noted->unit_index[unit] = noted->index;
}

static struct fake_options choose_options(uint64_t seed)
{
    static const uint32_t meta[] = {32, 44, 48, 64, 100, 203};
    static const uint32_t data[] = {8, 16, 64, 256};
    uint64_t state = seed ^ 0x5eed;
    return (struct fake_options){
        .slots = 3 + (uint32_t)kit_below(&state, 4),
        .chunk_sectors = 8u << kit_below(&state, 5),
        .volume_blocks = 32768,
        .meta_step = meta[kit_below(&state, 6)],
        .data_step = data[kit_below(&state, 4)],
        .trace = true,
    };
}

static void run_begin(uint64_t seed)
{
    const struct fake_options options = choose_options(seed);
    memset(&run, 0, sizeof(run));
    run.seed = seed;
    run.inos[MODEL_ROOT] = FS_ROOT_INO;
    kit_init(&run.kit, &options);
    model_init(&run.model);
    fake_on_unit(run.kit.journal, note_unit, &run);
}

static void check_same(const char *when)
{
    char why[256] = "";
    bool same = model_equals(&run.kit, &run.model, UINT32_MAX, why);
    ck_assert_msg(same,
                  "seed=%llu step=%llu %s: %s",
                  (unsigned long long)run.seed,
                  (unsigned long long)run.index,
                  when,
                  why);
}

static void step(void)
{
    char text[256];
    struct model_op op = model_next(&run.model, run.seed, run.index);
    int got = model_run(&run.kit, &run.model, &op, run.inos);
    int expected = model_apply(&run.model, &op);
    ck_assert_msg(got == expected,
                  "seed=%llu step=%llu %s: %d, not %d",
                  (unsigned long long)run.seed,
                  (unsigned long long)run.index,
                  model_describe(&op, text),
                  got,
                  expected);
}

static void run_steps(uint64_t steps, uint64_t look_every)
{
    for (uint64_t end = run.index + steps; run.index < end; run.index++) {
        step();
        if (run.index % look_every == look_every - 1) {
            check_same("compared");
        }
    }
}

/* Tries to remove every name of a directory. What is not there, or not empty yet, stays as it
 * is. */
static void empty_dir(uint32_t id)
{
    for (uint32_t name = 0; name < MODEL_NAMES_MAX; name++) {
        struct model_op op = {.kind = MODEL_UNLINK, .dir = id, .name = name};
        int expected = model_apply(&run.model, &op);
        if (expected == -EISDIR) {
            op.kind = MODEL_RMDIR;
            expected = model_apply(&run.model, &op);
        }
        ck_assert_int_eq(model_run(&run.kit, &run.model, &op, run.inos), expected);
    }
}

/* Deletes everything; the unmount frees what is left of it. */
static void empty_all(void)
{
    char why[FS_WHY_BYTES] = "";
    for (uint32_t rounds = 0; rounds < 64; rounds++) {
        for (uint32_t id = 0; id < run.model.count; id++) {
            const struct model_inode *dir = &run.model.inodes[id];
            if (dir->alive && dir->nlink > 0 && S_ISDIR(dir->mode)) {
                empty_dir(id);
            }
        }
    }
    kit_unmount(&run.kit);
    ck_assert_int_eq(kit_mount(&run.kit, false, why), 0);
}

static int count_node(void *context, const struct btree_visit *visit)
{
    uint64_t *nodes = context;
    (*nodes)++;
    return visit->error;
}

static int count_nodes(struct fs_reader *reader, void *context)
{
    uint64_t *nodes = context;
    *nodes = 0;
    return btree_walk(reader, count_node, nodes);
}

/* Free blocks and tree nodes: constant as long as files have no blocks. */
static uint64_t free_and_nodes(void)
{
    uint64_t nodes = 0;
    ck_assert_int_eq(op_look(run.kit.fs, &run.kit.thread, count_nodes, &nodes), 0);
    return must_free_blocks(&run.kit) + nodes;
}

/* The check finds nothing to complain about in what is durable now. */
static void check_clean(struct journal *journal, const char *when)
{
    static struct check_run check;
    ck_assert_int_eq(check_run(journal, false, &check), 0);
    ck_assert_msg(check.result.problems == 0,
                  "seed=%llu step=%llu %s: %s",
                  (unsigned long long)run.seed,
                  (unsigned long long)run.index,
                  when,
                  check.text);
}

static void run_end(void)
{
    kit_fini(&run.kit);
    model_fini(&run.model);
}

START_TEST(random_operations_do_what_the_model_says)
{
    uint64_t seed = kit_seed("test_fs_model");
    for (uint64_t round = 0; round < 6; round++) {
        run_begin(seed + round);
        uint64_t free_blocks = free_and_nodes();
        run_steps(1200, 300);
        kit_unmount(&run.kit);
        check_clean(run.kit.journal, "unmounted");
        char why[FS_WHY_BYTES] = "";
        ck_assert_int_eq(kit_mount(&run.kit, false, why), 0);
        empty_all();
        struct fs_attr root = must_getattr(&run.kit, FS_ROOT_INO);
        ck_assert_uint_eq(root.size, 0);
        ck_assert_uint_eq(root.nlink, 2);
        ck_assert_uint_eq(run.kit.fs->super.inode_count, 1);
        ck_assert_uint_eq(free_and_nodes(), free_blocks);
        run_end();
    }
}
END_TEST

/* The model after `count` operations. */
static void replay(struct model *model, uint64_t seed, uint64_t count)
{
    model_init(model);
    for (uint64_t i = 0; i < count; i++) {
        struct model_op op = model_next(model, seed, i);
        (void)model_apply(model, &op); /* its answer was compared when the operation ran */
    }
}

/* Names that only open files had are gone after a crash. */
static bool same_as(struct kit *kit, uint64_t count, uint32_t loose, char why[256])
{
    struct model model;
    replay(&model, run.seed, count);
    bool same = model_equals(kit, &model, loose, why);
    model_fini(&model);
    return same;
}

static void check_crash(uint64_t units)
{
    struct kit kit;
    char why[3][256] = {"", "", ""};
    char text[256];
    uint64_t index = run.unit_index[units - 1];
    struct model before;
    replay(&before, run.seed, index);
    struct model_op op = model_next(&before, run.seed, index);
    model_fini(&before);
    struct journal *left = fake_journal_at(run.kit.journal, units, true);
    check_clean(left, "after a crash");
    kit_init_at(&kit, left);
    bool same = same_as(&kit, index, UINT32_MAX, why[0]) ||
                same_as(&kit, index + 1, UINT32_MAX, why[1]) || same_as(&kit, index, op.id, why[2]);
    ck_assert_msg(same,
                  "seed=%llu step=%llu (%s) unit=%llu: before: %s; after: %s; between: %s",
                  (unsigned long long)run.seed,
                  (unsigned long long)index,
                  model_describe(&op, text),
                  (unsigned long long)units,
                  why[0],
                  why[1],
                  why[2]);
    /* It works on: something new, and again after a remount. */
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "after the crash", S_IFREG | 0600);
    must_fill(&kit, ino, 3, 'x', 10000);
    kit_unmount(&kit);
    char mount_why[FS_WHY_BYTES] = "";
    ck_assert_int_eq(kit_mount(&kit, false, mount_why), 0);
    must_be_filled(&kit, ino, 3, 'x', 10000);
    kit_unmount(&kit);
    check_clean(kit.journal, "after a crash and more work");
    kit_fini(&kit);
}

START_TEST(a_crash_leaves_what_the_last_durable_transaction_says)
{
    uint64_t seed = kit_seed("test_fs_model");
    for (uint64_t round = 0; round < 4; round++) {
        uint64_t state = seed + round;
        run_begin(seed + round);
        uint64_t first = fake_units(run.kit.journal);
        run_steps(400, 400);
        must_sync(&run.kit);
        uint64_t units = fake_units(run.kit.journal) - first;
        for (unsigned crash = 0; crash < 40 && units > 0; crash++) {
            uint64_t at = first + kit_below(&state, units);
            if (fake_unit_has_txn(run.kit.journal, at)) {
                check_crash(at + 1);
            }
        }
        run_end();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_model");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 240);
    tcase_add_test(model, random_operations_do_what_the_model_says);
    tcase_add_test(model, a_crash_leaves_what_the_last_durable_transaction_says);
    suite_add_tcase(suite, model);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
