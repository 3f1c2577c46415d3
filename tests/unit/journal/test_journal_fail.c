/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members, hosts and the journal device fail while the journal is in use. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "journal_fail.h"
#include "log_thread.h"
#include "model_kit.h"

#define RING_SMALLEST     654u
#define RING_USUAL        4096u
#define MEMBER_BYTES      (6u << 20)
#define NEW_BLOCKS        192u       /* in whole rows: those of the first data blocks, and more */
#define MEMBER_DATA_BYTES (1u << 20) /* superblocks lie before, data does not */

static const struct journal_options usual = {0};

static struct kit_shape shape_of(uint32_t members, uint64_t ring_blocks)
{
    return (struct kit_shape){members, 64, MEMBER_BYTES, ring_blocks};
}

/* Requests to files whose name begins so, from the `fail_from`th on, end with `fail_with`. */
static const char *fail_name;
static enum io_op fail_op;
static _Atomic int64_t fail_from;
static _Atomic int fail_with;

/* The directories above are the machine's: their names must not match. */
static bool name_begins(const struct io_request *request, const char *start)
{
    const char *slash = strrchr(request->file->path, '/');
    const char *name = slash == NULL ? request->file->path : slash + 1;

    return strncmp(name, start, strlen(start)) == 0;
}

static bool fail_hook(const struct io_request *request, int *out_result)
{
    if (fail_with == 0 || request->op != fail_op || !name_begins(request, fail_name)) {
        return false;
    }
    fail_from--;
    if (fail_from >= 0) {
        return false;
    }
    *out_result = fail_with;
    return true;
}

static void fail_writes(const char *name, int64_t from, int error)
{
    fail_name = name;
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
    model_race(&m, 100);
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
    /* A try that was under way may have brought some rows through, not all. */
    for (uint32_t i = 0; i < 100 && (error == -ENOSPC || model_status(&m).waiting_for_space); i++) {
        env_sleep_ns(100000000);
        error = model_write_data(&m, i * 16, 16);
    }
    ck_assert_int_eq(error, 0);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
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
    ck_assert_int_eq(model_status(&m).mode, JOURNAL_FAILED);
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
    fail_writes("m", 20, -EIO); /* all members */
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
    uint64_t rows = model_status(&m).unwritten_rows;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EIO);
    ck_assert_uint_lt(model_status(&m).unwritten_rows,
                      rows); /* those whose parity is what is lost */
    ck_assert_uint_gt(model_status(&m).unwritten_rows, 0);
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

/* Slot 0 is missing, blocks of slot 2 cannot be read: rows written in part wait in the log. */
static void open_with_unfillable_rows(struct model *m)
{
    struct kit_shape shape = shape_of(4, RING_USUAL);

    model_crash_io_use();
    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, &usual, 0), 0);
    ck_assert_int_eq(model_write_data(m, 0, 32), 0);
    ck_assert_int_eq(model_commit(m, m->files.queue), 0);
    fail_writes("m2.img", 0, -EIO);
    fail_op = IO_READ;
    ck_assert_int_eq(journal_drain(m->j, m->files.queue), -EIO);
    ck_assert_uint_gt(model_status(m).unfillable_rows, 0);
    ck_assert_uint_eq(model_status(m).unfillable_rows, model_status(m).unwritten_rows);
    journal_verify(m->j);
}

START_TEST(a_drain_tries_rows_again_that_could_not_be_filled)
{
    struct model m;

    open_with_unfillable_rows(&m);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EIO);
    fail_with = 0;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).unfillable_rows, 0);
    journal_verify(m.j);
    model_expect_newest(&m);
    model_close(&m);
    model_remove(&m);
}
END_TEST

START_TEST(a_row_that_could_not_be_filled_goes_out_when_all_of_it_is_new)
{
    static _Alignas(BLOCK_BYTES) uint8_t aligned[BLOCK_BYTES];
    static uint8_t page[BLOCK_BYTES];
    struct journal_reservation reservation = {0};
    struct model m;

    open_with_unfillable_rows(&m);
    env_mutex_lock(&m.j->lock);
    m.j->reclaim.refill_ns = UINT64_MAX; /* not for that reason */
    env_mutex_unlock(&m.j->lock);
    for (uint64_t nr = 0; nr < NEW_BLOCKS; nr++) { /* whole rows: nothing is to be read */
        memset(page, (int)(nr % 251) + 1, sizeof(page));
        ck_assert_int_eq(journal_reserve(m.j, &reservation, 1, 0), 0);
        journal_write(m.j, &reservation, fs_block(nr), page);
        journal_release(m.j, &reservation);
    }
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    while (model_status(&m).unwritten_rows > 0) {
        env_sleep_ns(50000000);
    }
    ck_assert_uint_eq(model_status(&m).unfillable_rows, 0);
    ck_assert_int_eq(fail_with, -EIO);
    journal_verify(m.j);
    fail_with = 0;
    for (uint64_t nr = 0; nr < NEW_BLOCKS; nr++) {
        memset(page, (int)(nr % 251) + 1, sizeof(page));
        ck_assert_int_eq(journal_read(m.j, m.files.queue, fs_block(nr), 1, aligned), 0);
        ck_assert_mem_eq(aligned, page, BLOCK_BYTES);
    }
    model_abandon(&m);
    model_remove(&m);
}
END_TEST

START_TEST(rows_that_could_not_be_filled_are_tried_again_in_time)
{
    uint64_t deadline = 0;
    struct model m;

    open_with_unfillable_rows(&m);
    env_mutex_lock(&m.j->lock);
    uint64_t then = m.j->reclaim.refill_ns;
    while (log_thread_choose(m.j, then - 1, &deadline) != LOG_WORK_WAIT) { /* the tail */
        env_mutex_unlock(&m.j->lock);
        env_sleep_ns(20000000);
        env_mutex_lock(&m.j->lock);
        then = m.j->reclaim.refill_ns;
    }
    ck_assert_uint_le(deadline, then);
    ck_assert_uint_gt(m.j->reclaim.failed_rows, 0);
    ck_assert_int_ne(log_thread_choose(m.j, then, &deadline), LOG_WORK_WAIT);
    ck_assert_uint_eq(m.j->reclaim.failed_rows, 0);
    env_mutex_unlock(&m.j->lock);
    fail_with = 0;
    model_abandon(&m);
    model_remove(&m);
}
END_TEST

/* ---- no room for superblocks ---------------------------------------------------------------- */

/* Superblocks of slot 2, and flushes of slot 1. */
static _Atomic int super_error;
static _Atomic int flush_error;

static bool unrecorded_hook(const struct io_request *request, int *out_result)
{
    bool is_super = request->op == IO_WRITE && request->offset_bytes < MEMBER_DATA_BYTES;

    if (is_super && super_error != 0 && name_begins(request, "m2.img")) {
        *out_result = super_error;
        return true;
    }
    if (request->op == IO_FLUSH && flush_error != 0 && name_begins(request, "m1.img")) {
        *out_result = flush_error;
        return true;
    }
    return false;
}

/* Slot 1 loses a flush; that this cannot be recorded is no second loss. */
START_TEST(a_lost_flush_that_cannot_be_recorded_holds_the_tail)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    uint64_t tail = array_log_tail(m.files.array).nr;
    super_error = -ENOSPC;
    flush_error = -EIO;
    crash_io_hook = unrecorded_hook;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -ENOSPC);
    ck_assert(model_status(&m).waiting_for_space);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    ck_assert_uint_eq(array_log_tail(m.files.array).nr, tail);
    journal_verify(m.j);
    if (_i == 0) {
        super_error = 0;
        while (model_status(&m).waiting_for_space) {
            env_sleep_ns(50000000);
        }
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        model_expect_newest(&m);
    }
    model_abandon(&m); /* 1: without the record, and with the log */
    crash_io_hook = NULL;
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert(_i == 1 || array_state(m.files.array) == ARRAY_DEGRADED);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* One member fails, and the journal takes no superblock any more: what is logged counts. */
static bool no_journal_super(const struct io_request *request, int *out_result)
{
    *out_result = -EIO;
    if (request->op != IO_WRITE) {
        return false;
    }
    return request->offset_bytes < MEMBER_DATA_BYTES
               ? name_begins(request, "journal.img") || name_begins(request, "m1.img")
               : name_begins(request, "m2.img");
}

START_TEST(a_live_log_outlasts_superblocks_that_fail_together)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    crash_io_hook = no_journal_super;
    /* The mark before and after: two rounds in which slot 1 and the journal fail. */
    ck_assert_int_eq(array_set_resync_offset(m.files.array, m.files.queue, UINT64_MAX), 0);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    if (_i == 1) {
        ck_assert_int_eq(array_stop_writing(m.files.array, m.files.queue), -EIO);
    }
    model_abandon(&m);
    crash_io_hook = NULL;
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* The journal fails between a leader's decision to commit and its turn at the log, and all is over
 * before that turn comes. */
static struct env_ops late_ops;
static struct journal *late_journal;
static _Thread_local unsigned late_locks; /* so many more locks of the journal's until it fails */

static bool fail_is_over(struct journal *j)
{
    env_posix.mutex_lock(&j->lock);
    bool over = j->thread.fail_done;
    env_posix.mutex_unlock(&j->lock);
    return over;
}

static void late_lock(struct env_mutex *mutex)
{
    if (late_locks > 0 && mutex == &late_journal->lock && --late_locks == 0) {
        env_posix.mutex_lock(mutex);
        journal_fail_begin(late_journal, -EIO, "test");
        env_posix.mutex_unlock(mutex);
        while (!fail_is_over(late_journal)) {
            env_sleep_ns(1000000);
        }
    }
    env_posix.mutex_lock(mutex);
}

START_TEST(a_commit_that_comes_too_late_leaves_nothing_in_a_unit)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    uint64_t txn = journal_running_txn(m.j);
    late_ops = env_posix;
    late_ops.mutex_lock = late_lock;
    late_journal = m.j;
    late_locks = 2; /* journal_commit's own, then the one before the role */
    env_use(&late_ops);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, txn), -EIO);
    env_use(NULL);
    ck_assert_uint_eq(m.j->space.placed, 0); /* or the log thread would wait for it for ever */
    ck_assert_uint_eq(m.j->space.dirty, 8);
    journal_verify(m.j);
    model_expect_newest(&m);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    model_after_failed_close(&m);
    model_expect_members_recovered(&m);
    model_remove(&m);
}
END_TEST

static _Atomic unsigned member_data_writes;

/* The journal is dead, and no superblock fits onto a member's host any more. */
static bool unmarkable_hook(const struct io_request *request, int *out_result)
{
    bool journal = name_begins(request, "journal.img");

    if (request->op != IO_WRITE) {
        return false;
    }
    if (!journal && request->offset_bytes >= MEMBER_DATA_BYTES) {
        member_data_writes++;
        return false;
    }
    *out_result = journal ? -EIO : -ENOSPC;
    return true;
}

START_TEST(without_the_resync_mark_no_row_goes_out_unlogged)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    member_data_writes = 0;
    crash_io_hook = unmarkable_hook;
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), -EIO);
    model_expect_newest(&m);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    ck_assert_uint_eq(member_data_writes, 0);
    model_after_failed_close(&m);
    crash_io_hook = NULL;
    model_remove(&m);
}
END_TEST

static _Atomic bool retire_full; /* once the rows are written out */

static bool full_later_hook(const struct io_request *request, int *out_result)
{
    if (request->op != IO_WRITE) {
        return false;
    }
    if (name_begins(request, "journal.img")) {
        *out_result = -EIO;
        return true;
    }
    bool data = request->offset_bytes >= MEMBER_DATA_BYTES;
    member_data_writes += data;
    *out_result = -ENOSPC;
    return retire_full && !data && member_data_writes > 0;
}

START_TEST(a_failed_journal_is_retired_when_there_is_room_for_it)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    member_data_writes = _i == 0 ? 1 : 0; /* 0: no room for the mark; 1: none for the record */
    retire_full = true;
    crash_io_hook = full_later_hook;
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), -EIO);
    while (!model_status(&m).waiting_for_space) {
        env_sleep_ns(20000000);
    }
    ck_assert(_i == 1 || member_data_writes == 1); /* F4 */
    ck_assert_int_eq(array_state(m.files.array), ARRAY_CLEAN);
    retire_full = false;
    while (model_status(&m).waiting_for_space) {
        env_sleep_ns(20000000);
    }
    model_expect_newest(&m);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    ck_assert_int_eq(array_journal_state(m.files.array), JOURNAL_DEVICE_FAULTY);
    ck_assert_uint_eq(array_resync_offset(m.files.array), UINT64_MAX);
    model_after_failed_close(&m);
    crash_io_hook = NULL;
    model_expect_members_recovered(&m);
    model_remove(&m);
}
END_TEST

/* In the round of the mark one member is lost, and another's host has no room. */
static bool lost_in_mark_hook(const struct io_request *request, int *out_result)
{
    if (request->op != IO_WRITE ||
        (request->offset_bytes >= MEMBER_DATA_BYTES && !name_begins(request, "journal.img"))) {
        return false;
    }
    *out_result =
        name_begins(request, "m1.img") || name_begins(request, "journal.img") ? -EIO : -ENOSPC;
    return *out_result == -EIO || (retire_full && name_begins(request, "m2.img"));
}

START_TEST(a_mark_that_was_asked_for_and_never_durable_does_not_stay)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.commit_interval_ms = 3600000};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    retire_full = true;
    crash_io_hook = lost_in_mark_hook;
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), -EIO);
    while (!model_status(&m).waiting_for_space) {
        env_sleep_ns(20000000);
    }
    ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
    retire_full = false;
    while (model_status(&m).waiting_for_space) {
        env_sleep_ns(20000000);
    }
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    ck_assert_int_eq(array_journal_state(m.files.array), JOURNAL_DEVICE_FAULTY);
    ck_assert_uint_eq(array_resync_offset(m.files.array), UINT64_MAX);
    model_after_failed_close(&m);
    crash_io_hook = NULL;
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
    tcase_add_test(tcase, a_commit_that_comes_too_late_leaves_nothing_in_a_unit);
    tcase_add_test(tcase, without_the_resync_mark_no_row_goes_out_unlogged);
    tcase_add_test(tcase, a_mark_that_was_asked_for_and_never_durable_does_not_stay);
    tcase_add_loop_test(tcase, a_failed_journal_is_retired_when_there_is_room_for_it, 0, 2);
    tcase_add_loop_test(tcase, a_lost_flush_that_cannot_be_recorded_holds_the_tail, 0, 2);
    tcase_add_loop_test(tcase, a_live_log_outlasts_superblocks_that_fail_together, 0, 2);
    tcase_add_test(tcase, a_drain_tries_rows_again_that_could_not_be_filled);
    tcase_add_test(tcase, a_row_that_could_not_be_filled_goes_out_when_all_of_it_is_new);
    tcase_add_test(tcase, rows_that_could_not_be_filled_are_tried_again_in_time);
    tcase_add_test(tcase, rows_that_cannot_be_filled_stay_logged_and_the_others_go_on);
    tcase_add_loop_test(tcase,
                        when_the_journal_fails_what_was_synced_reaches_the_members,
                        0,
                        (int)(sizeof(journal_failures) / sizeof(journal_failures[0])));
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("journal_fail");

    suite_add_tcase(suite, failures());
    return kit_run(suite);
}
