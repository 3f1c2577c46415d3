/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions: what they reserve and give back, what becomes durable, what stops them; many
 * threads. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fs_kit.h"
#include "r5fs/base/msg.h"

static struct fs_key item_key(uint64_t number)
{
    return fs_key(100 + number, FS_ITEM_EXTENT, 0);
}

static int
item_put(struct fs *fs, struct fs_thread *thread, uint64_t number, uint64_t value, bool replace)
{
    const struct txn_need need = {.inserts = replace ? 0 : 1, .updates = replace ? 1 : 0};
    struct fs_key key = item_key(number);
    int error = -EAGAIN;
    while (error == -EAGAIN) {
        struct fs_txn txn;
        error = txn_begin(&txn, fs, thread, &need);
        if (error != 0) {
            return error;
        }
        error = txn_lock(&txn);
        error = error == 0 ? btree_prepare(&txn, &key) : error;
        if (error == 0) {
            txn_change(&txn);
            error = replace ? btree_replace(&txn, &key, &value, sizeof(value))
                            : btree_insert(&txn, &key, &value, sizeof(value));
        }
        txn_end(&txn);
    }
    return error;
}

static int item_get(struct fs *fs, struct fs_thread *thread, uint64_t number, uint64_t *out_value)
{
    struct fs_reader reader;
    struct fs_key key = item_key(number);
    uint32_t bytes = 0;
    int error = 0;
    fs_reader_init(&reader, fs, thread);
    do {
        fs_reader_lock(&reader);
        error = btree_get(&reader, &key, out_value, sizeof(*out_value), &bytes);
    } while (fs_reader_again(&reader, &error));
    return error;
}

static bool nothing_is_reserved(const struct kit *kit)
{
    return kit->fs->space.reserved == 0 && kit->thread.reservation.meta_blocks == 0 &&
           kit->thread.reservation.data_blocks == 0;
}

START_TEST(operations_of_every_shape_fit_into_the_smallest_journal)
{
    /* The least that any journal allows: with kernel_safe. Without, and 4 MiB: 48. */
    const uint32_t least = 32;
    const struct txn_need make_with_acls = {.inserts = 4, .updates = 1};
    const struct txn_need rename_over = {.inserts = 2, .removes = 1, .updates = 6};
    const struct txn_need xattr_over = {.inserts = 2, .removes = 2, .updates = 3};
    const struct txn_need write_step = {.inserts = 4, .alloc_runs = 4, .updates = 1};
    ck_assert_uint_le(txn_credits(&make_with_acls), least);
    ck_assert_uint_le(txn_credits(&rename_over), least);
    ck_assert_uint_le(txn_credits(&xattr_over), least);
    ck_assert_uint_le(txn_credits(&write_step), least);
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.meta_step = least});
    const struct txn_need fixed = {.updates = 1};
    const struct txn_need each = {.inserts = 1, .alloc_runs = 1, .free_runs = 1};
    uint32_t steps = txn_steps_max(kit.fs, &fixed, &each);
    ck_assert_uint_ge(steps, 3);
    const struct txn_need all = {
        .inserts = steps, .alloc_runs = steps, .free_runs = steps, .updates = 1};
    ck_assert_uint_le(txn_credits(&all), least);
    kit_fini(&kit);
}
END_TEST

/* What tells an older copy of the log from the newest (fs_judge.c). */
START_TEST(super_is_in_every_transaction)
{
    struct kit kit;
    struct fs_super super;
    char why[FS_WHY_BYTES];
    kit_init(&kit, &(struct fake_options){0});
    ck_assert_int_eq(item_put(kit.fs, &kit.thread, 1, 0, false), 0);
    for (uint64_t i = 1; i < 4; i++) {
        struct journal_mark before;
        journal_get_mark(kit.journal, &before);
        ck_assert_int_eq(item_put(kit.fs, &kit.thread, 1, i, true), 0); /* a leaf, no more */
        ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
        const uint8_t *block = fake_block_bytes(kit.journal, fs_block(0));
        ck_assert_int_eq(fs_super_decode(&super, block, fs_block(0), UINT64_MAX, why), 0);
        ck_assert_uint_eq(super.txn, kit.fs->super.txn);
        ck_assert_uint_ge(super.log.seq, before.seq);
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(transaction_that_is_given_up_leaves_nothing_behind)
{
    struct kit kit;
    kit_init(&kit, &(struct fake_options){0});
    const struct txn_need need = {.inserts = 3, .allocate = 50, .alloc_runs = 2, .data_blocks = 8};
    uint64_t free_blocks = kit.fs->super.free_blocks;
    for (unsigned i = 0; i < 1000; i++) {
        struct fs_txn txn;
        ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
        if (i % 3 > 0) {
            ck_assert_int_eq(txn_lock(&txn), 0);
        }
        if (i % 3 > 1) {
            txn_change(&txn);
        }
        txn_end(&txn);
        ck_assert(nothing_is_reserved(&kit));
    }
    ck_assert_uint_eq(kit.fs->super.free_blocks, free_blocks);
    ck_assert_uint_eq(kit.fs->running.dirty_count, 0);
    kit_fini(&kit);
}
END_TEST

START_TEST(space_is_granted_to_one_of_two_that_ask_for_all)
{
    struct kit kit;
    struct fs_thread other;
    kit_init(&kit, &(struct fake_options){0});
    kit_thread_init(&other);
    struct fs_statfs stat;
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &stat), 0);
    const struct txn_need all = {.allocate = (uint32_t)stat.free_blocks, .alloc_runs = 1};
    const struct txn_need one = {.allocate = 1, .alloc_runs = 1};
    struct fs_txn first;
    struct fs_txn second;
    ck_assert_int_eq(txn_begin(&first, kit.fs, &kit.thread, &all), 0);
    ck_assert_int_eq(txn_begin(&second, kit.fs, &other, &one), -ENOSPC);
    txn_end(&second);
    txn_end(&first);
    ck_assert_int_eq(txn_begin(&second, kit.fs, &other, &one), 0);
    txn_end(&second);
    kit_thread_fini(&other);
    kit_fini(&kit);
}
END_TEST

struct deleter {
    struct fs *fs;
    struct fs_thread thread;
    atomic_bool begun;
    int result;
};

static void begin_deleting(void *context)
{
    struct deleter *deleter = context;
    const struct txn_need need = {.inserts = 1, .removes = 1, .deep = true};
    struct fs_txn txn;
    deleter->result = txn_begin(&txn, deleter->fs, &deleter->thread, &need);
    atomic_store(&deleter->begun, true);
    txn_end(&txn);
}

START_TEST(deleting_waits_for_what_others_only_reserved)
{
    struct kit kit;
    struct fs_txn all_of_it;
    struct env_thread *thread = NULL;
    kit_init(&kit, &(struct fake_options){0});
    struct deleter deleter = {.fs = kit.fs};
    kit_thread_init(&deleter.thread);
    const struct txn_need need = {
        .allocate = (uint32_t)kit.fs->super.free_blocks, .alloc_runs = 1, .deep = true};
    ck_assert_int_eq(txn_begin(&all_of_it, kit.fs, &kit.thread, &need), 0);
    ck_assert_int_eq(env_thread_start(&thread, "deleter", begin_deleting, &deleter), 0);
    env_sleep_ns(UINT64_C(50000000));
    bool too_early = atomic_load(&deleter.begun);
    txn_end(&all_of_it);
    env_thread_join(thread);
    ck_assert(!too_early);
    ck_assert_int_eq(deleter.result, 0);
    kit_thread_fini(&deleter.thread);
    kit_fini(&kit);
}
END_TEST

START_TEST(what_was_synced_survives_and_what_was_not_is_gone_as_a_whole)
{
    struct kit kit;
    uint64_t value = 0;
    kit_init(&kit, &(struct fake_options){.trace = true, .meta_step = 100});
    for (uint64_t i = 0; i < 20; i++) {
        ck_assert_int_eq(item_put(kit.fs, &kit.thread, i, i, false), 0);
    }
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    for (uint64_t i = 20; i < 40; i++) {
        ck_assert_int_eq(item_put(kit.fs, &kit.thread, i, i, false), 0);
    }
    kit_crash_and_mount(&kit);
    for (uint64_t i = 0; i < 40; i++) {
        int error = item_get(kit.fs, &kit.thread, i, &value);
        ck_assert_int_eq(error, i < 20 ? 0 : -ENOENT);
        ck_assert(error != 0 || value == i);
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(data_is_never_later_than_the_metadata_that_names_it)
{
    /* W10: in any crash state, an item that names a block finds the block's new contents. */
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.trace = true, .volume_blocks = 32768});
    uint64_t random = kit_seed("data");
    uint64_t first = fake_units(kit.journal);
    uint8_t data[BLOCK_BYTES];
    for (uint64_t i = 0; i < 300; i++) {
        const struct txn_need need = {
            .data_blocks = 1, .allocate = 1, .alloc_runs = 1, .inserts = 1};
        struct fs_key key = item_key(i);
        struct fs_txn txn;
        struct fs_block block;
        uint32_t count = 0;
        ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
        ck_assert_int_eq(txn_lock(&txn), 0);
        ck_assert_int_eq(btree_prepare(&txn, &key), 0);
        ck_assert_int_eq(freespace_alloc(&txn, fs_block(0), 1, &block, &count), 0);
        memset(data, (int)(i % 251), sizeof(data));
        txn_write_data(&txn, block, data);
        txn_change(&txn);
        ck_assert_int_eq(btree_insert(&txn, &key, &block.nr, sizeof(block.nr)), 0);
        txn_end(&txn);
        if (kit_below(&random, 20) == 0) {
            ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
        }
    }
    for (uint64_t unit = first + 1; unit <= fake_units(kit.journal); unit++) {
        struct kit at;
        uint64_t nr = 0;
        kit_init_at(&at, fake_journal_at(kit.journal, unit, false));
        for (uint64_t i = 0; i < 300; i++) {
            if (item_get(at.fs, &at.thread, i, &nr) == 0) {
                ck_assert_uint_eq(fake_block_bytes(at.journal, fs_block(nr))[17], i % 251);
            }
        }
        kit_fini(&at);
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(broken_operation_stops_everything_and_leaves_the_last_whole_state)
{
    struct kit kit;
    uint64_t value = 0;
    const struct txn_need need = {.inserts = 1};
    struct fs_txn txn;
    struct fs_key key = item_key(2);
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    ck_assert_int_eq(item_put(kit.fs, &kit.thread, 1, 1, false), 0);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
    ck_assert_int_eq(txn_lock(&txn), 0);
    txn_change(&txn);
    ck_assert_int_eq(btree_insert(&txn, &key, &value, sizeof(value)), 0);
    ck_assert_int_eq(txn_broken(&txn, -EUCLEAN), -EUCLEAN);
    txn_end(&txn);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), -EIO);
    ck_assert_int_eq(item_put(kit.fs, &kit.thread, 3, 3, false), -EIO);
    /* The log thread's timer goes on, and must not write the half. */
    int committed = journal_commit(kit.journal, NULL, journal_running_txn(kit.journal));
    ck_assert_int_eq(committed, 0);
    ck_assert_int_eq(fs_unmount(kit.fs, &kit.thread), -EIO);
    arena_fini(&kit.arena);
    struct journal *left = fake_journal_crash(kit.journal);
    fake_journal_free(kit.journal);
    kit_thread_fini(&kit.thread);
    kit_init_at(&kit, left);
    ck_assert_int_eq(item_get(kit.fs, &kit.thread, 1, &value), 0);
    ck_assert_int_eq(item_get(kit.fs, &kit.thread, 2, &value), -ENOENT);
    kit_fini(&kit);
}
END_TEST

START_TEST(failed_journal_stops_changes_but_not_reads)
{
    struct kit kit;
    uint64_t value = 0;
    kit_init(&kit, &(struct fake_options){0});
    ck_assert_int_eq(item_put(kit.fs, &kit.thread, 1, 7, false), 0);
    fake_fail_commits(kit.journal);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), -EIO);
    ck_assert_int_lt(item_put(kit.fs, &kit.thread, 2, 2, false), 0);
    ck_assert_int_eq(item_get(kit.fs, &kit.thread, 1, &value), 0);
    ck_assert_uint_eq(value, 7);
    struct fs_info info;
    fs_get_info(kit.fs, &info);
    ck_assert(info.read_only);
    kit_fini(&kit);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

#define WRITERS 3u
#define READERS 3u
#define ITEMS   1500u /* per writer */

struct worker {
    struct fs *fs;
    struct fs_thread thread;
    uint64_t random;
    uint64_t base;
    atomic_uint *running;
    uint64_t wrong;
};

/* Inserts its own items, then raises their values one by one. */
static void writer_run(void *context)
{
    struct worker *worker = context;
    for (uint64_t i = 0; i < ITEMS; i++) {
        worker->wrong +=
            item_put(worker->fs, &worker->thread, worker->base + i, 1, false) != 0 ? 1 : 0;
    }
    for (uint64_t i = 0; i < 2 * ITEMS; i++) {
        uint64_t number = worker->base + kit_below(&worker->random, ITEMS);
        uint64_t value = 0;
        int error = item_get(worker->fs, &worker->thread, number, &value);
        value++;
        error = error == 0 ? item_put(worker->fs, &worker->thread, number, value, true) : error;
        worker->wrong += error != 0 ? 1 : 0;
        if (kit_below(&worker->random, 200) == 0) {
            worker->wrong += fs_sync(worker->fs, &worker->thread) != 0 ? 1 : 0;
        }
    }
    atomic_fetch_sub(worker->running, 1);
}

/* Any item that it finds never gets a smaller value. */
static void reader_run(void *context)
{
    struct worker *worker = context;
    while (atomic_load(worker->running) > 0) {
        uint64_t number =
            kit_below(&worker->random, WRITERS) * 100000 + kit_below(&worker->random, ITEMS);
        uint64_t before = 0;
        uint64_t after = 0;
        int error = item_get(worker->fs, &worker->thread, number, &before);
        if (error == 0) {
            error = item_get(worker->fs, &worker->thread, number, &after);
            worker->wrong += error != 0 || after < before ? 1 : 0;
        } else {
            worker->wrong += error != -ENOENT ? 1 : 0;
        }
    }
}

START_TEST(readers_and_writers_of_many_threads_see_whole_states)
{
    struct kit kit;
    struct worker workers[WRITERS + READERS];
    struct env_thread *threads[WRITERS + READERS];
    atomic_uint running = WRITERS;
    uint64_t seed = kit_seed("threads");
    kit_init(&kit, &(struct fake_options){.volume_blocks = 65536, .meta_step = 64});
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        workers[i] = (struct worker){
            .fs = kit.fs, .random = seed + i, .base = i * 100000, .running = &running};
        kit_thread_init(&workers[i].thread);
        ck_assert_int_eq(
            env_thread_start(
                &threads[i], "worker", i < WRITERS ? writer_run : reader_run, &workers[i]),
            0);
    }
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        env_thread_join(threads[i]);
        ck_assert_uint_eq(workers[i].wrong, 0);
        kit_thread_fini(&workers[i].thread);
    }
    uint64_t value = 0;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < WRITERS * ITEMS; i++) {
        uint64_t number = i / ITEMS * 100000 + i % ITEMS;
        ck_assert_int_eq(item_get(kit.fs, &kit.thread, number, &value), 0);
        sum += value;
    }
    ck_assert_uint_eq(sum, WRITERS * ITEMS * 3);
    buffer_pool_verify(&kit.fs->buffers);
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("txn");
    TCase *reserve = tcase_create("reserve");
    tcase_add_test(reserve, operations_of_every_shape_fit_into_the_smallest_journal);
    tcase_add_test(reserve, super_is_in_every_transaction);
    tcase_add_test(reserve, transaction_that_is_given_up_leaves_nothing_behind);
    tcase_add_test(reserve, space_is_granted_to_one_of_two_that_ask_for_all);
    tcase_add_test(reserve, deleting_waits_for_what_others_only_reserved);
    suite_add_tcase(suite, reserve);
    TCase *durable = tcase_create("durable");
    tcase_set_timeout(durable, 120);
    tcase_add_test(durable, what_was_synced_survives_and_what_was_not_is_gone_as_a_whole);
    tcase_add_test(durable, data_is_never_later_than_the_metadata_that_names_it);
    tcase_add_test(durable, broken_operation_stops_everything_and_leaves_the_last_whole_state);
    tcase_add_test(durable, failed_journal_stops_changes_but_not_reads);
    suite_add_tcase(suite, durable);
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 250);
    tcase_add_test(threads, readers_and_writers_of_many_threads_see_whole_states);
    suite_add_tcase(suite, threads);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
