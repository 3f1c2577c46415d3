/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal as a whole: real arrays over temporary files, against the model of model_kit. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "model_kit.h"
#include "r5fs/base/msg.h"

#define RING_SMALLEST 654u
#define RING_USUAL    4096u
#define MEMBER_BYTES  (6u << 20)
#define THREADS       4u

static const struct journal_options usual = {0};

static struct kit_shape shape_of(uint32_t members, uint64_t ring_blocks)
{
    return (struct kit_shape){members, members == 5 ? 8 : 64, MEMBER_BYTES, ring_blocks};
}

START_TEST(what_was_written_is_read_before_and_after_every_commit)
{
    const uint32_t members = 3 + (uint32_t)_i;
    struct kit_shape shape = shape_of(members, RING_USUAL);
    struct model m;

    kit_seed("read_back");
    uint64_t random = kit_random();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &usual, KIT_NO_SLOT), 0);
    for (unsigned round = 0; round < 12; round++) {
        model_run(&m, m.files.queue, 20, &random);
        journal_verify(m.j);
        model_expect_newest(&m);
        ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        model_expect_newest(&m);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    journal_verify(m.j);
    model_expect_newest(&m);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* ---- several threads ---------------------------------------------------------------------------- */

struct worker {
    struct model *model;
    uint64_t random;
    uint32_t steps;
    struct env_thread *thread;
};

static void worker_main(void *context)
{
    struct worker *worker = context;
    struct arena arena;
    struct io_queue *queue = NULL;

    arena_init_growing(&arena);
    ck_assert_int_eq(io_queue_open(&queue, &arena, 16), 0);
    model_run(worker->model, queue, worker->steps, &worker->random);
    io_queue_close(queue);
    arena_fini(&arena);
}

static void race(struct model *m, uint32_t steps)
{
    struct worker workers[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.model = m, .random = kit_random(), .steps = steps};
        ck_assert_int_eq(env_thread_start(&workers[i].thread, "worker", worker_main, &workers[i]),
                         0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        env_thread_join(workers[i].thread);
    }
}

static const struct tight {
    uint64_t ring_blocks;
    struct journal_options options;
} tight[] = {
    {RING_SMALLEST, {.images_max = 4096, .io_units = 8}},
    {RING_SMALLEST, {.images_max = 64, .io_units = 2}},
    {RING_USUAL, {.images_max = 32, .io_units = 2}},
    {1024, {.images_max = 512, .io_units = 3, .commit_interval_ms = 5}},
    {RING_SMALLEST, {.images_max = 256, .io_units = 2, .write_through = true}},
};

START_TEST(threads_racing_for_little_space_all_get_it)
{
    const struct tight *how = &tight[_i];
    struct kit_shape shape = shape_of(4, how->ring_blocks);
    struct model m;

    kit_seed("race");
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &how->options, KIT_NO_SLOT), 0);
    for (unsigned round = 0; round < 3; round++) {
        race(&m, 150);
        journal_verify(m.j);
        model_expect_newest(&m);
    }
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

static TCase *racing(void)
{
    TCase *tcase = tcase_create("racing");

    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase,
                        threads_racing_for_little_space_all_get_it,
                        0,
                        (int)(sizeof(tight) / sizeof(tight[0])));
    return tcase;
}

/* ---- the power goes ------------------------------------------------------------------------------- */

START_TEST(after_a_power_cut_synced_contents_and_whole_transactions_are_there)
{
    struct kit_shape shape = shape_of(3 + (uint32_t)_i % 3, _i % 2 == 0 ? RING_SMALLEST : 1500);
    struct journal_options options = {.images_max = _i % 2 == 0 ? 400 : 96, .io_units = 3};
    struct model m;

    kit_seed("power_cut");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 12; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        journal_verify(m.j);
        model_cut_after(kit_below(400));
        race(&m, 60);
        model_abandon(&m);
    }
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* Recovery itself is cut off, several times; then a member is gone as well. */
START_TEST(after_a_cut_in_recovery_and_a_lost_member_everything_is_still_there)
{
    struct kit_shape shape = shape_of(3 + (uint32_t)_i % 3, 900);
    struct journal_options options = {.images_max = 300, .io_units = 4};
    struct kit_images crashed;
    struct model m;

    kit_seed("cut_in_recovery");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 5; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        model_cut_after(50 + kit_below(300));
        race(&m, 60);
        model_abandon(&m);
        for (unsigned again = 0; again < 3; again++) {
            model_open_cut(&m, &options, kit_below(40));
        }
        kit_save(&m.files, &crashed);
        uint32_t missing = kit_below(shape.members);
        ck_assert_int_eq(model_open(&m, &options, missing), 0);
        model_expect_recovered(&m, false);
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        model_expect_recovered(&m, false);
        model_forget(&m);
        kit_restore(&m.files, &crashed);
        kit_free(&crashed);
    }
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

START_TEST(a_degraded_array_survives_power_cuts_too)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.images_max = 200, .io_units = 4};
    uint32_t missing = (uint32_t)_i;
    struct model m;

    kit_seed("degraded_cut");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 8; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, missing), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        model_cut_after(kit_below(300));
        race(&m, 60);
        model_abandon(&m);
    }
    ck_assert_int_eq(model_open(&m, &options, missing), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

static TCase *power(void)
{
    TCase *tcase = tcase_create("power");

    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(
        tcase, after_a_power_cut_synced_contents_and_whole_transactions_are_there, 0, 6);
    tcase_add_loop_test(
        tcase, after_a_cut_in_recovery_and_a_lost_member_everything_is_still_there, 0, 3);
    tcase_add_loop_test(tcase, a_degraded_array_survives_power_cuts_too, 0, 2);
    return tcase;
}

static TCase *reading(void)
{
    TCase *tcase = tcase_create("reading");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, what_was_written_is_read_before_and_after_every_commit, 0, 3);
    return tcase;
}

/* ---- what commits and the log thread promise ------------------------------------------------------ */

static struct journal_status status_of(struct model *m)
{
    struct journal_status status;

    journal_get_status(m->j, &status);
    return status;
}

static void open_usual(struct model *m, const struct journal_options *options)
{
    struct kit_shape shape = shape_of(4, RING_USUAL);

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, options, KIT_NO_SLOT), 0);
}

static void close_and_compare(struct model *m)
{
    model_close(m);
    model_expect_on_members(m);
    model_remove(m);
}

/* Waits for something that the log thread does by itself. */
static bool comes_true(struct model *m, bool (*is_true)(struct model *m))
{
    uint64_t end = env_now_ns() + UINT64_C(20000000000);

    while (!is_true(m) && env_now_ns() < end) {
        env_sleep_ns(5000000);
    }
    return is_true(m);
}

static bool something_was_committed(struct model *m)
{
    return status_of(m).commits > 0;
}

static bool all_is_written(struct model *m)
{
    return status_of(m).unwritten_rows == 0;
}

START_TEST(a_commit_of_nothing_writes_nothing)
{
    struct model m;

    open_usual(&m, &usual);
    uint64_t bytes = status_of(&m).log_bytes;
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 5), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(status_of(&m).log_bytes, bytes + 6 * BLOCK_BYTES);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(status_of(&m).log_bytes, bytes + 6 * BLOCK_BYTES);
    ck_assert_uint_eq(status_of(&m).commits, 1);
    close_and_compare(&m);
}
END_TEST

START_TEST(data_and_metadata_of_a_small_commit_share_one_unit)
{
    struct model m;

    open_usual(&m, &usual);
    uint64_t seq = status_of(&m).seq;
    ck_assert_int_eq(model_change_meta(&m, 3, 5, 40), 0);
    ck_assert_int_eq(model_write_data(&m, 100, 20), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(status_of(&m).seq, seq + 1);
    ck_assert_uint_eq(m.told_durable, 1);
    ck_assert_int_eq(m.told_result, 0);
    close_and_compare(&m);
}
END_TEST

START_TEST(the_timer_commits_what_nobody_syncs)
{
    const struct journal_options options = {.commit_interval_ms = 50};
    struct model m;

    open_usual(&m, &options);
    ck_assert_int_eq(model_change_meta(&m, 0, 3, 7), 0);
    ck_assert_uint_gt(status_of(&m).dirty_blocks, 0);
    ck_assert(comes_true(&m, something_was_committed));
    ck_assert_uint_eq(status_of(&m).dirty_blocks, 0);
    ck_assert_uint_eq(status_of(&m).commits, 1);
    close_and_compare(&m);
}
END_TEST

START_TEST(an_idle_journal_brings_its_rows_to_the_members)
{
    struct model m;

    open_usual(&m, &usual);
    ck_assert_int_eq(model_write_data(&m, 0, 32), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_gt(status_of(&m).unwritten_rows, 0);
    ck_assert(comes_true(&m, all_is_written));
    model_abandon(&m);
    kit_assemble(&m.files, false, KIT_NO_SLOT);
    model_expect_newest(&m); /* from the members alone */
    model_remove(&m);
}
END_TEST

START_TEST(a_write_through_commit_leaves_no_row_unwritten)
{
    const struct journal_options options = {.write_through = true};
    struct model m;

    open_usual(&m, &options);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_int_eq(model_change_meta(&m, i, 3, i * 17), 0);
        ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        ck_assert_uint_eq(status_of(&m).unwritten_rows, 0);
    }
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_BACK), 0);
    ck_assert_int_eq(model_change_meta(&m, 0, 3, 1), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_gt(status_of(&m).unwritten_rows, 0);
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_FAILED), -EINVAL);
    close_and_compare(&m);
}
END_TEST

START_TEST(a_clean_stop_leaves_one_empty_unit)
{
    uint64_t random = 0;
    struct model m;

    kit_seed("clean_stop");
    random = kit_random();
    open_usual(&m, &usual);
    model_run(&m, m.files.queue, 100, &random);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(status_of(&m).used_blocks, 1);
    model_run(&m, m.files.queue, 100, &random);
    model_close(&m);
    ck_assert_int_eq(model_open(&m, &usual, KIT_NO_SLOT), 0);
    ck_assert_uint_eq(status_of(&m).recovered.units, 1);
    ck_assert_uint_eq(status_of(&m).recovered.open_rows, 0);
    ck_assert_uint_eq(status_of(&m).recovered.closed_rows, 0);
    ck_assert_uint_eq(status_of(&m).used_blocks, 1);
    model_expect_newest(&m);
    close_and_compare(&m);
}
END_TEST

START_TEST(freed_blocks_are_forgotten_unless_logged)
{
    struct journal_reservation reservation = {0};
    uint8_t page[BLOCK_BYTES] = {1};
    struct model m;

    open_usual(&m, &usual);
    uint64_t seq = status_of(&m).seq;
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 40, 0), 0);
    for (uint32_t i = 0; i < 40; i++) {
        journal_write(m.j, &reservation, fs_block(2 + 3 * (uint64_t)i), page);
    }
    journal_discard(m.j, fs_block(0), 60);
    journal_verify(m.j);
    ck_assert_uint_eq(status_of(&m).dirty_blocks, 20);
    journal_discard(m.j, fs_block(60), m.files.geometry.volume_blocks - 60);
    journal_verify(m.j);
    ck_assert_uint_eq(status_of(&m).dirty_blocks, 0);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, journal_running_txn(m.j)), 0);
    ck_assert_uint_eq(status_of(&m).seq, seq);
    close_and_compare(&m);
}
END_TEST

static TCase *promises(void)
{
    TCase *tcase = tcase_create("promises");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_commit_of_nothing_writes_nothing);
    tcase_add_test(tcase, data_and_metadata_of_a_small_commit_share_one_unit);
    tcase_add_test(tcase, the_timer_commits_what_nobody_syncs);
    tcase_add_test(tcase, an_idle_journal_brings_its_rows_to_the_members);
    tcase_add_test(tcase, a_write_through_commit_leaves_no_row_unwritten);
    tcase_add_test(tcase, a_clean_stop_leaves_one_empty_unit);
    tcase_add_test(tcase, freed_blocks_are_forgotten_unless_logged);
    return tcase;
}

/* ---- devices fail --------------------------------------------------------------------------------- */

/* Writes to files whose name has this in it, from the `fail_from`th on, end with `fail_with`. */
static const char *fail_path;
static enum io_op fail_op;
static _Atomic int64_t fail_from;
static _Atomic int fail_with;

static bool fail_hook(const struct io_request *request, int *out_result)
{
    if (fail_with == 0 || request->op != fail_op ||
        strstr(request->file->path, fail_path) == NULL) {
        return false;
    }
    fail_from--;
    if (fail_from >= 0) {
        return false;
    }
    *out_result = fail_with;
    return true;
}

static void fail_writes(const char *path, int64_t from, int error)
{
    fail_path = path;
    fail_op = IO_WRITE;
    fail_from = from;
    fail_with = error;
    crash_io_hook = fail_hook;
}

START_TEST(a_member_that_fails_in_a_write_out_costs_nothing)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.images_max = 200, .io_units = 4};
    uint64_t random = 0;
    struct model m;

    kit_seed("member_fails");
    random = kit_random();
    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    fail_writes("m1.img", kit_below(60), -EIO);
    race(&m, 100);
    model_expect_newest(&m);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    model_run(&m, m.files.queue, 50, &random);
    model_abandon(&m);
    fail_with = 0;
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0); /* it is back: and not used */
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

START_TEST(a_full_host_stops_new_writes_until_there_is_room)
{
    struct kit_shape shape = shape_of(3, RING_SMALLEST);
    struct journal_options options = {.images_max = 128, .io_units = 4};
    struct model m;
    int error = 0;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    fail_writes("m2.img", 3, -ENOSPC);
    for (uint32_t i = 0; i < 100 && error == 0; i++) {
        error = model_write_data(&m, i * 16, 16);
    }
    ck_assert_int_eq(error, -ENOSPC);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    model_expect_newest(&m);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -ENOSPC);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_CLEAN);
    fail_with = 0;
    error = -ENOSPC;
    for (uint32_t i = 0; i < 100 && error == -ENOSPC; i++) {
        env_sleep_ns(100000000);
        error = model_write_data(&m, i * 16, 16);
    }
    ck_assert_int_eq(error, 0);
    close_and_compare(&m);
}
END_TEST

static const struct journal_failure {
    enum io_op op;
    int64_t from;
} journal_failures[] = {
    {IO_WRITE, 0},
    {IO_WRITE, 7},
    {IO_WRITE, 40},
    {IO_FLUSH, 0},
    {IO_FLUSH, 9},
    {IO_FLUSH, 30},
};

START_TEST(when_the_journal_fails_what_was_synced_reaches_the_members)
{
    const struct journal_failure *how = &journal_failures[_i];
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.images_max = 200, .io_units = 4};
    struct journal_reservation reservation = {0};
    uint64_t random = 0;
    struct model m;
    int error = 0;

    kit_seed("journal_fails");
    random = kit_random();
    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    fail_writes("journal.img", how->from, -EIO);
    fail_op = how->op;
    for (uint32_t i = 0; i < 1000 && error == 0; i++) {
        error = model_change_meta(&m, model_random(&random, 60), 4, model_random(&random, 480));
        if (error == 0 && i % 3 == 0) {
            error = model_commit(&m, m.files.queue);
        }
    }
    ck_assert(error == -EIO || error == -EROFS);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 1, 0), -EROFS);
    ck_assert_int_eq(model_commit(&m, m.files.queue), -EIO);
    ck_assert_int_eq(status_of(&m).mode, JOURNAL_FAILED);
    model_expect_newest(&m); /* what was not synced stays in memory */
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    model_after_failed_close(&m);
    fail_with = 0;
    model_expect_members_recovered(&m);
    model_remove(&m);
}
END_TEST

START_TEST(an_array_that_failed_refuses_writes_and_keeps_what_was_synced)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.images_max = 200, .io_units = 4};
    struct model m;
    int error = 0;

    kit_seed("array_fails");
    uint64_t random = kit_random();
    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    fail_writes("/m", 20, -EIO); /* all members */
    for (uint32_t i = 0; i < 2000 && error == 0; i++) {
        error = model_write_data(&m, model_random(&random, 480), 8);
    }
    ck_assert_int_eq(error, -EIO);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_FAILED);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EIO);
    fail_with = 0;
    model_abandon(&m);
    model_remove(&m);
}
END_TEST

/* One member is lost, another cannot be read: parity cannot be made for rows written in part. */
START_TEST(rows_that_cannot_be_filled_stay_logged_and_the_others_go_on)
{
    struct kit_shape shape = shape_of(4, RING_USUAL);
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &usual, 0), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 32), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    fail_writes("m2.img", 0, -EIO);
    fail_op = IO_READ;
    uint64_t rows = status_of(&m).unwritten_rows;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EIO);
    ck_assert_uint_lt(status_of(&m).unwritten_rows, rows); /* those whose parity is what is lost */
    ck_assert_uint_gt(status_of(&m).unwritten_rows, 0);
    journal_verify(m.j);
    ck_assert_int_eq(model_write_data(&m, 8, 32), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    fail_with = 0;
    model_expect_newest(&m);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &usual, 0), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

static TCase *failures(void)
{
    TCase *tcase = tcase_create("failures");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, a_member_that_fails_in_a_write_out_costs_nothing, 0, 3);
    tcase_add_test(tcase, a_full_host_stops_new_writes_until_there_is_room);
    tcase_add_test(tcase, an_array_that_failed_refuses_writes_and_keeps_what_was_synced);
    tcase_add_test(tcase, rows_that_cannot_be_filled_stay_logged_and_the_others_go_on);
    tcase_add_loop_test(tcase,
                        when_the_journal_fails_what_was_synced_reaches_the_members,
                        0,
                        (int)(sizeof(journal_failures) / sizeof(journal_failures[0])));
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("journal");

    if (getenv("R5_VERBOSE") != NULL) {
        msg_set_level(MSG_INFO);
    }
    suite_add_tcase(suite, reading());
    suite_add_tcase(suite, racing());
    suite_add_tcase(suite, power());
    suite_add_tcase(suite, promises());
    suite_add_tcase(suite, failures());
    return kit_run(suite);
}
