/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree against a model: growing, churning, shrinking; positions; crashes; damage. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btree_node.h"
#include "fs_super.h"
#include "r5fs/base/msg.h"
#include "tree_kit.h"

static struct tree_model model;

struct phase {
    uint32_t steps;
    uint32_t percent_in;
};

static void
run_phases(struct kit *kit, const struct phase *phases, uint32_t range, uint64_t *random)
{
    for (; phases->steps > 0; phases++) {
        for (uint32_t i = 0; i < phases->steps; i++) {
            struct tree_step step = tree_step_random(&model, random, range, phases->percent_in);
            tree_apply(kit, &step);
            tree_model_apply(&model, &step);
            if (kit_below(random, 1500) == 0) {
                ck_assert_int_eq(fs_sync(kit->fs, &kit->thread), 0);
            }
        }
        tree_verify(kit, &model);
    }
}

START_TEST(tree_is_its_model_while_it_grows_churns_and_shrinks)
{
    static const struct phase phases[] = {
        {12000, 80}, {6000, 50}, {14000, 15}, {3000, 90}, {9000, 2}, {0, 0}};
    uint64_t random = kit_seed("tree");
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536});
    tree_model_init(&model);
    run_phases(&kit, phases, 20000, &random);
    kit_unmount(&kit);
    char why[FS_WHY_BYTES];
    ck_assert_int_eq(kit_mount(&kit, false, why), 0);
    tree_verify(&kit, &model);
    kit_fini(&kit);
}
END_TEST

START_TEST(tree_that_lost_all_its_items_gives_its_blocks_back)
{
    uint64_t random = kit_seed("empty");
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536});
    tree_model_init(&model);
    static const struct phase grow[] = {{15000, 100}, {0, 0}};
    run_phases(&kit, grow, TREE_NUMBERS, &random);
    ck_assert_uint_ge(kit.fs->super.tree_levels, 3);
    for (uint32_t i = 0; i < TREE_NUMBERS; i++) {
        struct tree_step step = {.op = TREE_REMOVE, .number = i};
        if (model.bytes[i] != TREE_ABSENT) {
            tree_apply(&kit, &step);
            tree_model_apply(&model, &step);
        }
    }
    tree_verify(&kit, &model);
    ck_assert_uint_le(tree_node_count(&kit), 8);
    kit_fini(&kit);
}
END_TEST

START_TEST(growing_keys_leave_full_leaves)
{
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536});
    tree_model_init(&model);
    for (uint32_t i = 0; i < 20000; i++) {
        struct tree_step step = {TREE_INSERT, i, 16};
        tree_apply(&kit, &step);
        tree_model_apply(&model, &step);
    }
    tree_verify(&kit, &model);
    uint64_t least = 20000 * (16 + 21) / FS_NODE_ROOM;
    ck_assert_uint_le(tree_node_count(&kit), least * 11 / 10 + 4);
    kit_fini(&kit);
}
END_TEST

static uint32_t model_at_or_above(uint32_t number)
{
    while (number < TREE_NUMBERS && model.bytes[number] == TREE_ABSENT) {
        number++;
    }
    return number;
}

static uint32_t model_at_or_below(uint32_t number)
{
    while (number != UINT32_MAX && model.bytes[number] == TREE_ABSENT) {
        number--;
    }
    return number;
}

static void check_position(struct btree_path *path, int error, uint32_t expected)
{
    if (expected >= TREE_NUMBERS) {
        /* On the left the filesystem's own items may come, on the right nothing. */
        ck_assert(error == -ENOENT || btree_key(path).ino < TREE_FIRST_INO);
        return;
    }
    ck_assert_int_eq(error, 0);
    struct fs_key key = btree_key(path);
    ck_assert_uint_eq(tree_number(&key), expected);
}

static void check_seeks(struct fs_reader *reader, uint64_t *random)
{
    struct btree_path path;
    btree_path_init(&path, reader);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t number = (uint32_t)kit_below(random, TREE_NUMBERS);
        struct fs_key key = tree_key(number);
        uint32_t expected = model_at_or_above(number);
        int error = btree_seek(&path, &key);
        check_position(&path, error, expected);
        if (error == 0) {
            error = btree_prev(&path);
            check_position(&path, error, number == 0 ? UINT32_MAX : model_at_or_below(number - 1));
        }
        btree_path_release(&path);
        expected = model_at_or_below(number);
        error = btree_seek_last(&path, &key);
        check_position(&path, error, expected);
        if (error == 0 && expected != UINT32_MAX) {
            error = btree_next(&path);
            check_position(&path, error, model_at_or_above(expected + 1));
        }
        btree_path_release(&path);
    }
}

START_TEST(seeks_find_the_neighbours_also_in_a_sparse_tree)
{
    static const struct phase phases[] = {{12000, 100}, {9000, 5}, {0, 0}};
    uint64_t random = kit_seed("seek");
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536});
    tree_model_init(&model);
    run_phases(&kit, phases, 30000, &random);
    struct fs_reader reader;
    fs_reader_init(&reader, kit.fs, &kit.thread);
    reader.may_load = true; /* nobody changes anything */
    check_seeks(&reader, &random);
    kit_fini(&kit);
}
END_TEST

START_TEST(insert_of_what_is_there_and_removal_of_what_is_not_change_nothing)
{
    struct kit kit;
    kit_init(&kit, &(struct fake_options){0});
    const struct txn_need need = {.inserts = 2, .removes = 1};
    struct fs_txn txn;
    struct fs_key key = tree_key(5);
    struct fs_key other = tree_key(6);
    ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
    ck_assert_int_eq(txn_lock(&txn), 0);
    txn_change(&txn);
    ck_assert_int_eq(btree_insert(&txn, &key, "abc", 3), 0);
    ck_assert_int_eq(btree_insert(&txn, &key, "xyz", 3), -EEXIST);
    ck_assert_int_eq(btree_replace(&txn, &other, "xyz", 3), -ENOENT);
    ck_assert_int_eq(btree_remove(&txn, &other), -ENOENT);
    char data[4] = "";
    uint32_t bytes = 0;
    ck_assert_int_eq(btree_get(&txn.reader, &key, data, sizeof(data), &bytes), 0);
    ck_assert_uint_eq(bytes, 3);
    ck_assert_str_eq(data, "abc");
    txn_end(&txn);
    kit_fini(&kit);
}
END_TEST

START_TEST(many_inserts_in_one_transaction_stay_within_its_credits)
{
    /* Large items at growing and falling keys: nearly every insert splits a leaf. The fake fails a
     * CHECK when one credit too many is taken. */
    uint64_t random = kit_seed("credits");
    struct kit kit;
    static uint8_t data[FS_ITEM_BYTES_MAX];
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536, .meta_step = 100});
    for (unsigned round = 0; round < 300; round++) {
        const struct txn_need need = {.inserts = 30};
        struct fs_txn txn;
        uint64_t ino = 5000 + kit_below(&random, 100000);
        int error = -EAGAIN;
        while (error == -EAGAIN) {
            ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
            ck_assert_int_eq(txn_lock(&txn), 0);
            error = 0;
            for (uint64_t i = 0; i < 30 && error == 0; i++) {
                struct fs_key key = fs_key(ino, FS_ITEM_EXTENT, round * 100 + i);
                error = btree_prepare(&txn, &key);
            }
            if (error != 0) {
                txn_end(&txn);
            }
        }
        ck_assert_int_eq(error, 0);
        txn_change(&txn);
        for (uint64_t i = 0; i < 30; i++) {
            struct fs_key key = fs_key(ino, FS_ITEM_EXTENT, round * 100 + i);
            ck_assert_int_eq(btree_insert(&txn, &key, data, FS_ITEM_BYTES_MAX), 0);
        }
        txn_end(&txn);
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(transaction_that_would_split_too_much_begins_again_and_gets_through)
{
    uint64_t random = kit_seed("again");
    struct kit kit;
    unsigned again = 0;
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536, .meta_step = 203});
    tree_model_init(&model);
    static const struct phase grow[] = {{30000, 100}, {0, 0}};
    run_phases(&kit, grow, TREE_NUMBERS, &random);
    for (unsigned round = 0; round < 40; round++) {
        const struct txn_need need = {.inserts = TXN_INSERTS_MAX};
        uint32_t numbers[TXN_INSERTS_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < 100000 && count < TXN_INSERTS_MAX; i++) {
            uint32_t number = (uint32_t)kit_below(&random, TREE_NUMBERS);
            if (model.bytes[number] == TREE_ABSENT) {
                struct tree_step step = {TREE_INSERT, number, 0};
                tree_model_apply(&model, &step);
                numbers[count++] = number;
            }
        }
        int error = -EAGAIN;
        for (unsigned tries = 0; tries < 40 && error == -EAGAIN; tries++) {
            struct fs_txn txn;
            ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
            ck_assert_int_eq(txn_lock(&txn), 0);
            error = 0;
            for (uint32_t i = 0; i < count && error == 0; i++) {
                struct fs_key key = tree_key(numbers[i]);
                error = btree_prepare(&txn, &key);
            }
            if (error == 0) {
                txn_change(&txn);
            }
            for (uint32_t i = 0; i < count && error == 0; i++) {
                struct fs_key key = tree_key(numbers[i]);
                error = btree_insert(&txn, &key, "", 0);
            }
            again += error == -EAGAIN ? 1u : 0u;
            txn_end(&txn);
        }
        ck_assert_int_eq(error, 0);
    }
    ck_assert_uint_gt(again, 0);
    tree_verify(&kit, &model);
    kit_fini(&kit);
}
END_TEST

/* ---- crashes --------------------------------------------------------------------------------- */

#define CRASH_STEPS 2500u
#define CRASH_UNITS 4000u

static struct tree_step crash_steps[CRASH_STEPS];
static uint32_t crash_done;
static uint32_t crash_done_at[CRASH_UNITS]; /* steps that were done when the unit was made */

static void crash_on_unit(void *context, uint64_t unit)
{
    (void)context;
    ck_assert_uint_lt(unit, CRASH_UNITS);
    crash_done_at[unit] = crash_done;
}

static void crash_check_at(struct journal *journal, uint64_t units)
{
    struct kit kit;
    tree_model_init(&model);
    for (uint32_t i = 0; i < crash_done_at[units - 1]; i++) {
        tree_model_apply(&model, &crash_steps[i]);
    }
    kit_init_at(&kit, fake_journal_at(journal, units, false));
    tree_verify(&kit, &model);
    kit_fini(&kit);
}

START_TEST(after_a_crash_the_tree_is_that_of_the_last_whole_transaction)
{
    uint64_t random = kit_seed("crash");
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.trace = true});
    uint64_t first = fake_units(kit.journal);
    fake_on_unit(kit.journal, crash_on_unit, NULL);
    tree_model_init(&model);
    for (crash_done = 0; crash_done < CRASH_STEPS; crash_done++) {
        struct tree_step step = tree_step_random(&model, &random, 3000, 60);
        tree_apply(&kit, &step);
        tree_model_apply(&model, &step);
        crash_steps[crash_done] = step;
        if (kit_below(&random, 50) == 0) {
            crash_done++;
            ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
            crash_done--;
        }
    }
    uint64_t units = fake_units(kit.journal);
    ck_assert_uint_gt(units, first + 20);
    for (uint64_t unit = first + 1; unit <= units; unit++) {
        crash_check_at(kit.journal, unit);
    }
    kit_fini(&kit);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

static int count_errors(void *context, const struct btree_visit *visit)
{
    unsigned *errors = context;
    *errors += visit->error != 0 ? 1u : 0u;
    return 0;
}

/* Reads and changes all over; whatever the answers, nothing may crash or hang. */
static void use_damaged(struct kit *kit, uint64_t *random)
{
    struct fs_reader reader;
    unsigned errors = 0;
    fs_reader_init(&reader, kit->fs, &kit->thread);
    reader.may_load = true; /* nobody else is there */
    int walked = btree_walk(&reader, count_errors, &errors);
    ck_assert(walked <= 0);
    for (unsigned i = 0; i < 200; i++) {
        const struct txn_need need = {.inserts = 1, .removes = 1};
        struct fs_key key = tree_key((uint32_t)kit_below(random, 5000));
        struct fs_txn txn;
        int error = txn_begin(&txn, kit->fs, &kit->thread, &need);
        if (error != 0) {
            txn_end(&txn);
            continue;
        }
        error = txn_lock(&txn);
        error = error == 0 ? btree_prepare(&txn, &key) : error;
        if (error == 0) {
            txn_change(&txn);
            error = kit_below(random, 2) == 0 ? btree_remove(&txn, &key)
                                              : btree_insert(&txn, &key, "data", 4);
        }
        (void)error; /* any is right, as long as it comes back */
        txn_end(&txn);
    }
}

START_TEST(damaged_nodes_are_errors_never_crashes)
{
    uint64_t random = kit_seed("damage");
    struct kit kit;
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    tree_model_init(&model);
    static const struct phase grow[] = {{4000, 100}, {0, 0}};
    run_phases(&kit, grow, 5000, &random);
    kit_unmount(&kit);
    for (unsigned round = 0; round < 300; round++) {
        struct kit hurt = {.journal = fake_journal_crash(kit.journal)};
        kit_thread_init(&hurt.thread);
        for (unsigned i = 0; i < 4; i++) {
            /* Nodes and bitmaps lie at the start; with a right crc the validation has to find
             * it. */
            struct fs_block block = fs_block(1 + kit_below(&random, 150));
            uint8_t *bytes = fake_block_bytes(hurt.journal, block);
            unsigned changes = 1 + (unsigned)kit_below(&random, 3);
            for (unsigned k = 0; k < changes; k++) {
                bytes[32 + kit_below(&random, k == 0 ? 8 : 600)] = (uint8_t)kit_random(&random);
            }
            if (kit_below(&random, 4) == 0) {
                struct fs_block from = fs_block(1 + kit_below(&random, 150));
                memcpy(bytes + 32, fake_block_bytes(hurt.journal, from) + 32, BLOCK_BYTES - 32);
            }
            fs_header_seal(bytes);
            fake_block_changed(hurt.journal, block);
        }
        char why[FS_WHY_BYTES];
        if (kit_mount(&hurt, false, why) == 0) {
            use_damaged(&hurt, &random);
        }
        kit_fini(&hurt);
    }
    kit_fini(&kit);
}
END_TEST

/* Changes a key of the leaf that holds number 0, keeping the leaf itself right. */
static void misplace_key(struct fs_item_disk *items, uint32_t count, int how)
{
    if (how == 0) {
        items[count - 1].key.ino = le64_make(TREE_FIRST_INO + TREE_NUMBERS); /* above the bound */
    } else {
        items[0].key.ino = le64_make(0); /* below it */
        items[0].key.type = 1;
    }
}

START_TEST(leaf_with_keys_that_belong_elsewhere_is_refused)
{
    struct kit kit;
    struct fs_reader reader;
    struct btree_path path;
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    tree_model_init(&model);
    for (uint32_t i = 0; i < 1000; i++) {
        struct tree_step step = {TREE_INSERT, i, 100};
        tree_apply(&kit, &step);
    }
    struct fs_key key = tree_key(500);
    fs_reader_init(&reader, kit.fs, &kit.thread);
    reader.may_load = true; /* alone */
    btree_path_init(&path, &reader);
    ck_assert_int_eq(btree_find(&path, &key), 0);
    struct fs_block leaf = path.level[0].buffer->block;
    uint32_t count = btree_node_count(path.level[0].buffer->data);
    btree_path_release(&path);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    struct journal *hurt = fake_journal_crash(kit.journal);
    kit_fini(&kit);
    uint8_t *bytes = fake_block_bytes(hurt, leaf);
    misplace_key((void *)(bytes + sizeof(struct fs_node_disk)), count, _i);
    ck_assert_ptr_null(btree_node_problem(bytes));
    fs_header_seal(bytes);
    fake_block_changed(hurt, leaf);
    kit_init_at(&kit, hurt);
    fs_reader_init(&reader, kit.fs, &kit.thread);
    reader.may_load = true; /* alone */
    btree_path_init(&path, &reader);
    ck_assert_int_eq(btree_find(&path, &key), -EUCLEAN);
    ck_assert(kit.fs->damaged);
    kit_fini(&kit);
}
END_TEST

START_TEST(block_that_cannot_be_read_is_an_error_with_nothing_changed)
{
    uint64_t random = kit_seed("unreadable");
    struct kit kit;
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    tree_model_init(&model);
    static const struct phase grow[] = {{4000, 100}, {0, 0}};
    run_phases(&kit, grow, 5000, &random);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    kit_crash_and_mount(&kit);
    /* The leaf of the first item: the only node that nobody has read yet but this test needs. */
    struct fs_reader reader;
    struct btree_path path;
    fs_reader_init(&reader, kit.fs, &kit.thread);
    reader.may_load = true; /* alone */
    btree_path_init(&path, &reader);
    struct fs_key key = tree_key(4999);
    ck_assert_int_eq(btree_seek_last(&path, &key), 0);
    struct fs_block leaf = path.level[0].buffer->block;
    btree_path_release(&path);
    kit_crash_and_mount(&kit);
    fake_fail_reads_of(kit.journal, leaf);
    const struct txn_need need = {.inserts = 1};
    struct fs_txn txn;
    ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
    ck_assert_int_eq(txn_lock(&txn), 0);
    ck_assert_int_eq(btree_prepare(&txn, &key), -EIO);
    txn_end(&txn);
    fake_fail_reads_of(kit.journal, fs_block(0));
    tree_verify(&kit, &model);
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("btree");
    TCase *shape = tcase_create("model");
    tcase_set_timeout(shape, 250);
    tcase_add_test(shape, tree_is_its_model_while_it_grows_churns_and_shrinks);
    tcase_add_test(shape, tree_that_lost_all_its_items_gives_its_blocks_back);
    tcase_add_test(shape, growing_keys_leave_full_leaves);
    tcase_add_test(shape, seeks_find_the_neighbours_also_in_a_sparse_tree);
    tcase_add_test(shape, insert_of_what_is_there_and_removal_of_what_is_not_change_nothing);
    tcase_add_test(shape, many_inserts_in_one_transaction_stay_within_its_credits);
    tcase_add_test(shape, transaction_that_would_split_too_much_begins_again_and_gets_through);
    suite_add_tcase(suite, shape);
    TCase *crash = tcase_create("crash");
    tcase_set_timeout(crash, 250);
    tcase_add_test(crash, after_a_crash_the_tree_is_that_of_the_last_whole_transaction);
    suite_add_tcase(suite, crash);
    TCase *damage = tcase_create("damage");
    tcase_set_timeout(damage, 250);
    tcase_add_test(damage, damaged_nodes_are_errors_never_crashes);
    tcase_add_loop_test(damage, leaf_with_keys_that_belong_elsewhere_is_refused, 0, 2);
    tcase_add_test(damage, block_that_cannot_be_read_is_an_error_with_nothing_changed);
    suite_add_tcase(suite, damage);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
