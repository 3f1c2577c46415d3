/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequences that broke earlier drafts of the log protocol (docs/LOG_PROTOCOL.md), by their number
 * in docs/TESTING.md: those in which something comes between two steps that belong together. A hook
 * sees each request before it is submitted and lets the other party act just then, as far as the
 * rule under test lets it.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "array_internal.h"
#include "log.h"
#include "sequence_kit.h"

/* What happens in between, and when the power goes. */
static struct intruder {
    struct model *m;
    enum moment {
        AT_FILL,         /* the first read of what parity needs: the row is frozen */
        AT_PARITY,       /* the parity's unit is written: encoded and placed */
        AT_PARITY_FLUSH, /* and flushed */
        AT_WRITE_OUT,    /* the first write to a member: the parity is durable */
        MOMENTS,
    } moment;
    void (*act)(void);
    bool acted;
    bool synced;        /* what it wrote was committed at once */
    uint64_t cut_after; /* writes from the first to a member on; UINT64_MAX: no cut */
    uint64_t block;
    uint64_t number;
} intruder;

static bool is_moment(const struct io_request *request)
{
    const struct model *m = intruder.m;

    switch (intruder.moment) {
    case AT_FILL: return sequence_is_member(m, request, IO_READ);
    case AT_PARITY: return sequence_is_ring(m, request, IO_WRITE);
    case AT_PARITY_FLUSH: return sequence_is_ring(m, request, IO_FLUSH);
    case AT_WRITE_OUT: return sequence_is_member(m, request, IO_WRITE);
    case MOMENTS: break;
    }
    return false;
}

static void intrude(const struct io_request *request)
{
    if (!intruder.acted && is_moment(request)) {
        intruder.acted = true; /* before it acts: its own requests come here as well */
        sequence_act_as_another(intruder.act);
    }
    if (intruder.cut_after != UINT64_MAX && sequence_is_member(intruder.m, request, IO_WRITE)) {
        model_cut_after(intruder.cut_after);
        intruder.cut_after = UINT64_MAX;
    }
}

/* One write-out of what is logged, disturbed. */
static void drain_disturbed(struct model *m)
{
    intruder.m = m;
    model_submit_hook = intrude;
    sequence_drain(m);
    model_submit_hook = NULL;
    ck_assert(intruder.acted);
}

/* ---- 4 -------------------------------------------------------------------------------------- */

static void put_and_try_sync(void)
{
    sequence_put(intruder.m, intruder.block, intruder.number);
    intruder.synced = sequence_try_sync(intruder.m);
}

/*
 * Parity is encoded from D0' and the old D1. Before it is placed, D1' (even: another block of the
 * row) or D0'' (odd: the same one) enters the log. Replay pairs the parity with all data before it,
 * which is not what it was made from: a lost block is derived wrong.
 */
START_TEST(sequence_4_no_data_of_a_row_enters_the_log_between_its_encoding_and_its_parity)
{
    uint64_t numbers[3] = {10, 11, 12};
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 3; block++) {
        sequence_put(&m, block, numbers[block]);
    }
    sequence_drain(&m);
    numbers[0] = 20;
    sequence_put(&m, 0, numbers[0]);
    sequence_sync(&m);
    intruder = (struct intruder){
        .moment = (enum moment)(_i / 2),
        .act = put_and_try_sync,
        .block = _i % 2 == 0 ? 1 : 0,
        .number = 30,
    };
    drain_disturbed(&m);
    ck_assert(model_is_cut());
    if (intruder.synced) {
        numbers[intruder.block] = intruder.number;
    }
    model_abandon(&m);
    sequence_expect(&m, numbers, 3);
    model_remove(&m);
}
END_TEST

/* ---- 5 -------------------------------------------------------------------------------------- */

#define MEMBERS_5 7u /* so many that old parity is read and modified: what is wrong stays wrong */
#define CUTS_5    4u /* after so many writes of the write-out; the last: no cut */

/* The node is block 1, a file's block is block 0: one row. */
static void change_node(struct model *m)
{
    ck_assert_int_eq(model_change_meta(m, 0, 1, 0), 0);
}

static void change_node_and_try_commit(void)
{
    struct model *m = intruder.m;

    change_node(m);
    env_mutex_lock(&m->j->lock);
    bool is_free = m->j->log.role_next == m->j->log.role_serving && !m->j->commit.leading;
    env_mutex_unlock(&m->j->lock);
    if (is_free) {
        ck_assert_int_eq(model_commit(m, m->files.queue), 0);
        intruder.synced = true;
    }
}

static void expect_recovered_whoever_is_missing(struct model *m)
{
    struct model_state newest = m->now;

    for (uint32_t missing = 0; missing <= m->files.members; missing++) {
        struct kit_images before;
        struct model_state *lost = m->lost;
        struct model_state *states = m->states;

        kit_save(&m->files, &before);
        sequence_open(m, missing < m->files.members ? missing : KIT_NO_SLOT);
        model_expect_recovered(m, false);
        ck_assert_int_eq(journal_drain(m->j, m->files.queue), 0);
        model_expect_recovered(m, false);
        model_forget(m);
        ck_assert(m->lost == lost && m->states == states);
        m->now = newest;
        kit_restore(&m->files, &before);
        kit_free(&before);
    }
}

/*
 * A tree node (and a block of a file) is changed for the next transaction while its row is being
 * written out. What parity was made from, what is logged and what reaches the member must be one
 * and the same.
 */
START_TEST(sequence_5_a_hot_node_changes_while_its_row_is_written_out)
{
    uint32_t cut = (uint32_t)_i % CUTS_5;
    struct model m;

    model_crash_io_use();
    sequence_create(&m, MEMBERS_5, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    change_node(&m);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    sequence_drain(&m);
    change_node(&m);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    intruder = (struct intruder){
        .moment = (enum moment)((uint32_t)_i / CUTS_5),
        .act = change_node_and_try_commit,
        .cut_after = cut + 1 < CUTS_5 ? cut : UINT64_MAX,
    };
    drain_disturbed(&m);
    ck_assert(intruder.moment != AT_WRITE_OUT || intruder.synced); /* nothing is in its way then */
    if (cut + 1 < CUTS_5) {
        ck_assert(model_is_cut());
        model_abandon(&m);
        expect_recovered_whoever_is_missing(&m);
    } else {
        model_expect_newest(&m);
        ck_assert_uint_eq(kit_bad_rows(&m.files), 0); /* what was frozen fits its parity */
        model_close(&m);
        model_expect_on_members(&m);
    }
    model_remove(&m);
}
END_TEST

/* ---- 9 -------------------------------------------------------------------------------------- */

static bool ring_fails(const struct io_request *request, int *out_result)
{
    *out_result = -EIO;
    return sequence_is_ring(intruder.m, request, IO_WRITE);
}

/* For writing, all files named. */
static int try_to_assemble(struct recovery_kit *kit)
{
    const char *paths[KIT_FILES_MAX];
    struct array_assemble how = {
        .paths = paths, .path_count = kit->members + 1, .arena = &kit->array_arena};

    for (uint32_t i = 0; i <= kit->members; i++) {
        paths[i] = kit->paths[i];
    }
    arena_init_growing(&kit->array_arena);
    int error = array_assemble(&how, kit->queue, &kit->array, kit->why);
    if (error != 0) {
        arena_fini(&kit->array_arena);
        kit->array = NULL;
    }
    kit_close(kit);
    return error;
}

/*
 * Rows are written without their parity in the log (the journal failed; fresh rows round the log
 * are not written yet), and the power goes in between. Much later a block there is written by
 * read-modify-write over parity that does not fit, then a member dies. So the array is marked from
 * before the first such write to after the last, and a marked one is not opened for writing.
 */
START_TEST(sequence_9_rows_half_written_round_the_log_are_never_written_over)
{
    uint64_t numbers[4] = {10, 11, 12, 13};
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 5, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 4; block++) {
        sequence_put(&m, block, numbers[block]);
    }
    sequence_drain(&m);
    numbers[0] = 20;
    sequence_put(&m, 0, numbers[0]);
    sequence_sync(&m);
    sequence_put(&m, 3, 33);
    intruder = (struct intruder){.m = &m};
    crash_io_hook = ring_fails;
    model_cut_after((uint64_t)_i);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, journal_running_txn(m.j)), -EIO);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    bool is_cut = model_is_cut();
    crash_io_hook = NULL;
    model_after_failed_close(&m);
    int error = try_to_assemble(&m.files);
    if (error == 0) { /* no member was written to: the log says what is right */
        ck_assert(is_cut);
        sequence_expect(&m, numbers, 4);
    } else if (error != -EUCLEAN) {
        ck_assert_int_eq(error, -ENXIO); /* the journal is recorded as failed */
        ck_assert_uint_eq(kit_read_number(&m.files, 0, 0) ^ kit_read_number(&m.files, 1, 0) ^
                              kit_read_number(&m.files, 2, 0) ^ kit_read_number(&m.files, 3, 0) ^
                              kit_read_number(&m.files, 4, 0),
                          0);
    }
    ck_assert(is_cut || error == -ENXIO);
    model_remove(&m);
}
END_TEST

/* ---- 11, 12 --------------------------------------------------------------------------------- */

#define MANY_BLOCKS UINT32_C(450) /* with the node behind them, three units */
#define MANY_UNITS  3u
#define MANY_STEP   50u
#define UNIT_SLACK  16u
#define MANY_RING   UINT64_C(4096)

static const struct journal_options many_images = {.images_max = 4096,
                                                   .commit_interval_ms = NO_TIMER};

/* A large file's data, and the node that names it. */
static void write_many(struct model *m)
{
    sequence_create(m, 4, MANY_RING);
    ck_assert_int_eq(model_open(m, &many_images, KIT_NO_SLOT), 0);
    for (uint32_t at = 0; at < MANY_BLOCKS; at += MANY_STEP) {
        ck_assert_int_eq(model_write_data(m, at, MANY_STEP), 0);
    }
    ck_assert_int_eq(model_change_meta(m, 0, 1, 0), 0);
}

static struct lost_units {
    struct model *m;
    uint32_t mask; /* these never arrive */
    bool torn;     /* but for their meta blocks */
    uint32_t seen;
    bool flushed;
} lost_units;

/* The power goes when the flush is asked for. */
static bool lose_units(const struct io_request *request, int *out_result)
{
    struct model *m = lost_units.m;

    if (sequence_is_ring(m, request, IO_FLUSH) && !lost_units.flushed) {
        lost_units.flushed = true;
        crash_io_cut_after(0);
    }
    if (lost_units.flushed || !sequence_is_ring(m, request, IO_WRITE)) {
        return false;
    }
    uint64_t offset = request->offset_bytes - m->files.data_offset[kit_journal(&m->files)];
    /* The first begins behind one empty unit, a full one ends it or not quite. */
    uint64_t unit = (offset / BLOCK_BYTES + UNIT_SLACK) / LOG_UNIT_BLOCKS_MAX;

    lost_units.seen |= UINT32_C(1) << unit;
    bool is_lost = (lost_units.mask >> unit & 1) != 0;
    if (is_lost && lost_units.torn) {
        ck_assert_int_eq(pwrite(request->file->fd,
                                request->iovecs[0].iov_base,
                                BLOCK_BYTES,
                                (off_t)request->offset_bytes),
                         BLOCK_BYTES);
    }
    *out_result = 0;
    return is_lost;
}

/*
 * A write of 1 MiB does not fit into one unit. When the unit with the extents arrives and one with
 * the data does not, the extents name what was there before. Whichever units the power cut leaves,
 * the node is seen only with all of its data.
 */
START_TEST(sequence_11_extents_are_never_there_without_the_data_they_name)
{
    struct model m;

    model_crash_io_use();
    write_many(&m);
    lost_units = (struct lost_units){.m = &m, .mask = (uint32_t)_i / 2, .torn = _i % 2 != 0};
    crash_io_hook = lose_units;
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0); /* nobody knows of the cut */
    crash_io_hook = NULL;
    ck_assert_uint_eq(lost_units.seen, (1u << MANY_UNITS) - 1);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &many_images, KIT_NO_SLOT), 0);
    if (lost_units.mask == 0) {
        model_expect_newest(&m);
    } else {
        model_expect_recovered(&m, true);
        ck_assert_uint_eq(m.now.meta[0], 0);
    }
    model_forget(&m);
    model_remove(&m);
}
END_TEST

/*
 * W5: the transaction would begin in the unit that has the data, and end in the next one. It waits
 * for the next as a whole.
 */
START_TEST(a_transaction_that_does_not_fit_behind_the_data_is_in_one_unit_all_the_same)
{
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 4, MANY_RING);
    ck_assert_int_eq(model_open(&m, &many_images, KIT_NO_SLOT), 0);
    for (uint32_t at = 0; at < 4 * MANY_STEP; at += MANY_STEP) {
        ck_assert_int_eq(model_write_data(&m, at, MANY_STEP), 0);
    }
    ck_assert_int_eq(model_change_meta(&m, 0, 10, 0), 0);
    lost_units = (struct lost_units){.m = &m, .mask = (uint32_t)_i / 2, .torn = _i % 2 != 0};
    crash_io_hook = lose_units;
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    crash_io_hook = NULL;
    ck_assert_uint_eq(lost_units.seen, 3);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &many_images, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, false);
    model_forget(&m);
    model_remove(&m);
}
END_TEST

/*
 * U2 is written, flushed, and its fsync answered, while U1 is still in the queue: what U2 rests on
 * is lost. An answered commit loses nothing, even of a disk that forgets whatever was not complete
 * when the flush was submitted.
 */
START_TEST(sequence_12_a_flush_answers_only_what_was_complete_when_it_was_submitted)
{
    struct model m;

    model_crash_io_use();
    write_many(&m);
    model_lose_all_unflushed();
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &many_images, KIT_NO_SLOT), 0);
    model_expect_newest(&m);
    model_forget(&m);
    model_remove(&m);
}
END_TEST

/* ---- 18 ------------------------------------------------------------------------------------- */

static void look_who_waits_for_whom(void)
{
    struct row_cells *cells = &intruder.m->files.array->cells;
    struct log *log = &intruder.m->j->log;
    struct row_cell cell;
    /* Shared, as who derives a lost block would (sequence 10). */
    bool is_free = row_cell_try_lock(cells, &cell, one_row(member_block(0)), false);

    if (is_free) {
        row_cell_unlock(cells, &cell);
    }
    env_mutex_lock(&intruder.m->j->lock);
    bool role_is_free = log->role_next == log->role_serving;
    env_mutex_unlock(&intruder.m->j->lock);
    ck_assert(is_free == (intruder.moment != AT_WRITE_OUT));
    ck_assert(role_is_free || is_free);
}

/*
 * Scrub holds a row's cell and waits for a transaction to record its result; the log is full, and
 * space comes only from writing out that row. (There is no scrub yet.) Write-out, who holds cells
 * too, has them for its member writes alone: not while it fills, logs or flushes, and it keeps
 * nobody from logging meanwhile.
 */
START_TEST(sequence_18_who_holds_a_row_waits_for_member_writes_alone)
{
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    sequence_put(&m, 0, 10);
    sequence_sync(&m);
    intruder = (struct intruder){
        .moment = (enum moment)_i, .act = look_who_waits_for_whom, .cut_after = UINT64_MAX};
    drain_disturbed(&m);
    model_close(&m);
    model_remove(&m);
}
END_TEST

#ifdef R5FS_DEBUG_CHECKS
START_TEST(sequence_18_asking_for_log_space_with_a_row_held_is_our_own_mistake)
{
    struct journal_reservation reservation = {0};
    struct row_cell cell;
    struct model m;

    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    ck_assert(row_cell_try_lock(&m.files.array->cells, &cell, one_row(member_block(0)), false));
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 1, 0), 0); /* there is room */
}
END_TEST
#endif

/* ---- 21 ------------------------------------------------------------------------------------- */

#define POLL_NS 1000000u

static void keep_the_log(struct model *m)
{
    ck_assert_int_eq(journal_set_mode(m->j, m->files.queue, JOURNAL_WRITE_THROUGH), 0);
    sequence_sync(m);
    while (model_status(m).unwritten_rows != 0) {
        env_sleep_ns(POLL_NS);
    }
    ck_assert_int_eq(journal_set_mode(m->j, m->files.queue, JOURNAL_WRITE_BACK), 0);
}

/*
 * {D0', P1} is in the live log, the parity member dies, D1'' is logged and written out without
 * parity, crash. The old P1 must not come back over it: neither from the log, nor with the member's
 * file, which does not know D1''. (A rebuild of the parity, where this sequence goes on, does not
 * exist yet.)
 */
START_TEST(sequence_21_old_parity_does_not_come_back_over_data_written_without_it)
{
    uint64_t numbers[3] = {10, 11, 12};
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    uint32_t parity = geometry_parity_slot(array_geometry(m.files.array), member_block(0));
    for (uint64_t block = 0; block < 3; block++) {
        sequence_put(&m, block, numbers[block]);
    }
    sequence_drain(&m);
    numbers[0] = 20;
    sequence_put(&m, 0, numbers[0]);
    keep_the_log(&m); /* written out, flushed nowhere: D0' and P1 stay in the log */
    ck_assert_int_eq(array_member_fault(m.files.array, m.files.queue, parity, "test"), 0);
    numbers[1] = 31;
    sequence_put(&m, 1, numbers[1]);
    sequence_sync(&m);
    model_cut_after((uint64_t)_i);
    sequence_drain(&m);
    model_abandon(&m);
    for (unsigned crashes = 0; crashes < 2; crashes++) {
        sequence_open(&m, KIT_NO_SLOT); /* all files are given */
        ck_assert_int_eq(array_state(m.files.array), ARRAY_DEGRADED);
        ck_assert_uint_eq(array_missing_slot(m.files.array), parity);
        for (uint32_t block = 0; block < 3; block++) {
            ck_assert_uint_eq(sequence_get(&m, m.files.queue, block), numbers[block]);
        }
        if (crashes == 1) {
            sequence_drain(&m);
        }
        model_forget(&m);
    }
    for (uint32_t block = 0; block < 3; block++) {
        struct placement at = geometry_locate(&m.files.geometry, fs_block(block));

        ck_assert_uint_eq(kit_read_number(&m.files, at.slot, at.row.nr), numbers[block]);
    }
    model_remove(&m);
}
END_TEST

/* One for each: CK_RUN_CASE=4 runs sequence 4. */
static TCase *new_case(Suite *suite, const char *number)
{
    TCase *made = tcase_create(number);

    tcase_set_timeout(made, 120);
    suite_add_tcase(suite, made);
    return made;
}

int main(void)
{
    Suite *suite = suite_create("sequences_order");

    tcase_add_loop_test(
        new_case(suite, "4"),
        sequence_4_no_data_of_a_row_enters_the_log_between_its_encoding_and_its_parity,
        0,
        2 * (int)MOMENTS);
    tcase_add_loop_test(new_case(suite, "5"),
                        sequence_5_a_hot_node_changes_while_its_row_is_written_out,
                        0,
                        (int)(CUTS_5 * MOMENTS));
    tcase_add_loop_test(new_case(suite, "9"),
                        sequence_9_rows_half_written_round_the_log_are_never_written_over,
                        0,
                        32);
    tcase_add_loop_test(new_case(suite, "11"),
                        sequence_11_extents_are_never_there_without_the_data_they_name,
                        0,
                        2 << MANY_UNITS);
    tcase_add_loop_test(new_case(suite, "W5"),
                        a_transaction_that_does_not_fit_behind_the_data_is_in_one_unit_all_the_same,
                        0,
                        2 << 2);
    tcase_add_loop_test(new_case(suite, "12"),
                        sequence_12_a_flush_answers_only_what_was_complete_when_it_was_submitted,
                        0,
                        4);
    tcase_add_loop_test(new_case(suite, "18"),
                        sequence_18_who_holds_a_row_waits_for_member_writes_alone,
                        0,
                        (int)MOMENTS);
#ifdef R5FS_DEBUG_CHECKS
    tcase_add_test_raise_signal(new_case(suite, "18"),
                                sequence_18_asking_for_log_space_with_a_row_held_is_our_own_mistake,
                                SIGABRT);
#endif
    tcase_add_loop_test(new_case(suite, "21"),
                        sequence_21_old_parity_does_not_come_back_over_data_written_without_it,
                        0,
                        8);
    return kit_run(suite);
}
