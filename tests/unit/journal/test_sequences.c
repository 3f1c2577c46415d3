/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequences of events that broke earlier drafts of the log protocol, by their number in
 * docs/TESTING.md, which says also where the others are.
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "log.h"
#include "log_space.h"
#include "sequence_kit.h"

#define DRAIN_CUTS 14u

/* ---- 1 -------------------------------------------------------------------------------------- */

START_TEST(sequence_1_nothing_of_an_older_lap_is_adopted_after_the_log_was_drained)
{
    struct model m;
    uint64_t written = 0;

    sequence_create(&m, 3, SEQUENCE_RING);
    for (uint64_t round = 1; written < 3ull * SEQUENCE_RING * BLOCK_BYTES; round++) {
        sequence_open(&m, KIT_NO_SLOT);
        ck_assert_uint_eq(m.j->recovered.units, 1);
        for (uint64_t block = 0; block < 60; block++) {
            ck_assert_uint_eq(sequence_get(&m, m.files.queue, block), round - 1);
            sequence_put(&m, block, round);
        }
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        written += model_status(&m).log_bytes;
        model_abandon(&m); /* kill -9 */
    }
    model_remove(&m);
}
END_TEST

/* ---- 2 -------------------------------------------------------------------------------------- */

static const char *dead_path; /* writes to the file with this in its name fail */

static bool dead_member(const struct io_request *request, int *out_result)
{
    if (request->op != IO_WRITE || strstr(request->file->path, dead_path) == NULL) {
        return false;
    }
    *out_result = -EIO;
    return true;
}

START_TEST(sequence_2_a_member_that_missed_a_write_never_returns_as_fresh)
{
    static const char *const members[] = {"m0.img", "m1.img", "m2.img"};
    uint64_t numbers[12];
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 3, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 12; block++) {
        numbers[block] = 100 + block;
        sequence_put(&m, block, numbers[block]);
    }
    sequence_sync(&m);
    dead_path = members[_i % 3];
    crash_io_hook = dead_member;
    model_cut_after((uint64_t)_i / 3);
    sequence_drain(&m);
    model_abandon(&m);
    crash_io_hook = NULL;
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 12; block++) {
        ck_assert_uint_eq(sequence_get(&m, m.files.queue, block), numbers[block]);
    }
    bool whole = array_state(m.files.array) == ARRAY_CLEAN;
    model_close(&m);
    if (whole) {
        ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    }
    model_remove(&m);
}
END_TEST

/* ---- 3 -------------------------------------------------------------------------------------- */

/* d = 7, and the last block of a row comes by itself: its parity goes through the log all the
 * same. */
START_TEST(sequence_3_a_row_whose_blocks_are_all_in_the_log_still_logs_its_parity)
{
    uint64_t numbers[7];
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 8, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 7; block++) {
        numbers[block] = 7000 + block;
    }
    for (uint64_t block = 0; block < 6; block++) {
        sequence_put(&m, block, numbers[block]);
    }
    sequence_sync(&m);
    if (_i % 2 != 0) {
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    }
    sequence_put(&m, 6, numbers[6]);
    sequence_sync(&m);
    model_cut_after((uint64_t)_i / 2);
    sequence_drain(&m);
    model_abandon(&m);
    sequence_expect(&m, numbers, 7);
    model_remove(&m);
}
END_TEST

/* ---- 10 ------------------------------------------------------------------------------------- */

#define RACE_BLOCKS UINT64_C(64)
#define RACE_ROUNDS 150u

struct racing_reader {
    struct model *m;
    struct env_thread *thread;
    _Atomic bool stop;
    uint64_t reads;
};

static bool is_lost(struct model *m, uint64_t block)
{
    return geometry_locate(array_geometry(m->files.array), fs_block(block)).slot == 0;
}

static void read_lost(struct racing_reader *reader, struct io_queue *queue)
{
    for (uint64_t block = 0; block < RACE_BLOCKS; block++) {
        if (is_lost(reader->m, block)) {
            ck_assert_uint_eq(sequence_get(reader->m, queue, block), 1);
            reader->reads++;
        }
    }
}

static void race_main(void *context)
{
    struct racing_reader *reader = context;
    struct arena arena;
    struct io_queue *queue = NULL;

    arena_init_growing(&arena);
    ck_assert_int_eq(io_queue_open(&queue, &arena, 8), 0);
    while (!reader->stop) {
        read_lost(reader, queue);
    }
    io_queue_close(queue);
    arena_fini(&arena);
}

/* The lost blocks never change; the others of their rows do, all the time. */
START_TEST(sequence_10_what_is_derived_while_its_row_is_written_out_is_right)
{
    struct racing_reader reader = {0};
    struct model m;

    sequence_create(&m, 3, SEQUENCE_RING);
    sequence_open(&m, 0);
    for (uint64_t block = 0; block < RACE_BLOCKS; block++) {
        sequence_put(&m, block, 1);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    reader.m = &m;
    ck_assert_int_eq(env_thread_start(&reader.thread, "reader", race_main, &reader), 0);
    for (uint64_t round = 0; round < RACE_ROUNDS; round++) {
        for (uint64_t block = 0; block < RACE_BLOCKS; block++) {
            if (!is_lost(&m, block)) {
                sequence_put(&m, block, round << 32 | block);
            }
        }
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    }
    reader.stop = true;
    env_thread_join(reader.thread);
    ck_assert_uint_gt(reader.reads, RACE_BLOCKS / 6);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* ---- 13 ------------------------------------------------------------------------------------- */

#define UNITS_13 3u

/*
 * A rotten payload among the last acknowledged units passes for a torn one, and the log ends there.
 * The units behind it say that it was durable when they were submitted. Of the last unit nothing
 * can say so.
 */
START_TEST(sequence_13_rot_among_the_last_acknowledged_units_is_no_torn_unit)
{
    uint8_t page[BLOCK_BYTES];
    struct model m;

    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    uint64_t position[UNITS_13];
    for (uint64_t block = 0; block < UNITS_13; block++) {
        position[block] = m.j->log.head.nr;
        sequence_put(&m, block, 100 + block);
        sequence_sync(&m);
    }
    model_abandon(&m);
    kit_peek(&m.files, kit_journal(&m.files), position[_i] + 1, page);
    page[1000] ^= 0x10;
    kit_poke(&m.files, kit_journal(&m.files), position[_i] + 1, 0, page, sizeof(page));
    int error = model_open(&m, &sequence_by_hand, KIT_NO_SLOT);
    ck_assert_int_eq(error, (unsigned)_i + 1 < UNITS_13 ? -EBADMSG : 0);
    if (error == 0) {
        model_forget(&m);
    }
    model_remove(&m);
}
END_TEST

/* ---- 14 ------------------------------------------------------------------------------------- */

#define MEMBERS_14 8u
#define WRITERS_14 4u
#define STEPS_14   2u
#define ROWS_14    600u
#define POLL_NS    1000000u

/* Encode buffers for two dozen rows at a time: the tail stands still for several write-outs. */
static const struct journal_options little_memory = {
    .images_max = 4096, .commit_interval_ms = NO_TIMER, .io_units = 2, .memory_bytes = 7u << 20};

static uint64_t expected_14[ROWS_14]; /* of the first block of each row */

static uint64_t first_block(uint32_t row)
{
    return (uint64_t)row * (MEMBERS_14 - 1);
}

static struct model *crowded;
static bool crowd_was_waited_for;

static void wait_for_the_parked(void)
{
    while (model_status(crowded).parked < WRITERS_14) {
        env_sleep_ns(POLL_NS);
    }
}

/* The first write to a member waits until all writers are parked. */
static void hold_write_out(const struct io_request *request)
{
    if (!crowd_was_waited_for && sequence_is_member(crowded, request, IO_WRITE)) {
        crowd_was_waited_for = true;
        sequence_act_as_another(wait_for_the_parked);
    }
}

static bool one_more_fits(struct model *m)
{
    env_mutex_lock(&m->j->lock);
    bool fits = log_space_fits_if_used(m->j, log_used(m->j) + LOG_SPACE_PER_BLOCK);
    env_mutex_unlock(&m->j->lock);
    return fits;
}

/* To the last block that a reservation may have, each block in a row of its own. */
static void fill_log(struct model *m)
{
    uint32_t row = 0;

    while (one_more_fits(m)) {
        for (; one_more_fits(m); row++) {
            ck_assert_uint_lt(row, ROWS_14);
            expected_14[row] = row + 1;
            sequence_put(m, first_block(row), expected_14[row]);
        }
        sequence_sync(m);
    }
}

struct writer {
    struct model *m;
    struct env_thread *thread;
    uint32_t first_row;
    uint32_t step;
};

static void writer_main(void *context)
{
    static _Alignas(BLOCK_BYTES) const uint8_t zeros[BLOCK_BYTES];
    struct writer *writer = context;

    for (uint32_t i = 0; i < STEPS_14; i++) {
        struct journal_reservation reservation = {0};

        ck_assert_int_eq(journal_reserve(writer->m->j, &reservation, writer->step, 0), 0);
        for (uint32_t k = 0; k < writer->step; k++) {
            uint32_t row = writer->first_row + i * writer->step + k;

            expected_14[row] = 0;
            journal_write(writer->m->j, &reservation, fs_block(first_block(row)), zeros);
        }
        journal_release(writer->m->j, &reservation);
    }
}

/*
 * The log is full and writers of data are parked; what frees space is a write-out, which must log
 * parity first. It has its own units and its own log space and never stands behind the parked.
 */
START_TEST(sequence_14_the_write_out_that_frees_space_is_not_parked_behind_data)
{
    struct writer writers[WRITERS_14];
    struct model m;

    model_crash_io_use();
    sequence_create(&m, MEMBERS_14, SEQUENCE_RING);
    ck_assert_int_eq(model_open(&m, &little_memory, KIT_NO_SLOT), 0);
    uint32_t step = journal_limits(m.j).data_step;
    ck_assert_uint_le(WRITERS_14 * STEPS_14 * step, ROWS_14);
    crowded = &m;
    model_submit_hook = hold_write_out;
    fill_log(&m);
    for (uint32_t i = 0; i < WRITERS_14; i++) {
        writers[i] = (struct writer){.m = &m, .first_row = i * STEPS_14 * step, .step = step};
        ck_assert_int_eq(env_thread_start(&writers[i].thread, "writer", writer_main, &writers[i]),
                         0);
    }
    for (uint32_t i = 0; i < WRITERS_14; i++) {
        env_thread_join(writers[i].thread);
    }
    ck_assert(crowd_was_waited_for);
    model_submit_hook = NULL;
    journal_verify(m.j);
    for (uint32_t row = 0; row < ROWS_14; row++) {
        ck_assert_uint_eq(sequence_get(&m, m.files.queue, first_block(row)), expected_14[row]);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* ---- 15, 16, 19 ----------------------------------------------------------------------------- */

static const struct tight_place {
    uint32_t members;
    struct journal_options options;
} tight_places[] = {
    /* 15: every logged row dirty again, in the smallest ring */
    {3, {.images_max = 4096, .commit_interval_ms = NO_TIMER}},
    /* 16: all images dirty, each in a row of its own, and hardly an encode buffer */
    {8, {.images_max = 64, .io_units = 2, .memory_bytes = 3u << 20}},
    /* 19: no unit to spare */
    {4, {.images_max = 512, .io_units = 2, .commit_interval_ms = NO_TIMER}},
};

START_TEST(sequences_15_16_19_writing_goes_on_in_the_tightest_place)
{
    const struct tight_place *place = &tight_places[_i];
    struct model m;

    sequence_create(&m, place->members, SEQUENCE_RING);
    ck_assert_int_eq(model_open(&m, &place->options, KIT_NO_SLOT), 0);
    uint32_t step = journal_limits(m.j).data_step;
    for (unsigned round = 0; round < 8; round++) {
        for (uint32_t at = 0; at < MODEL_DATA_BLOCKS; at += step) {
            ck_assert_int_eq(model_write_data(&m, at, step), 0);
            journal_verify(m.j);
        }
        ck_assert_int_eq(model_change_meta(&m, round, journal_limits(m.j).meta_step / 2, round), 0);
        if (round % 2 == 1) {
            ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        }
        model_expect_newest(&m);
    }
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* ---- 20 ------------------------------------------------------------------------------------- */

static _Atomic int64_t journal_room; /* so many writes to the journal still find room */

static bool full_journal(const struct io_request *request, int *out_result)
{
    if (request->op != IO_WRITE || strstr(request->file->path, "journal.img") == NULL) {
        return false;
    }
    journal_room--;
    if (journal_room >= 0) {
        return false;
    }
    *out_result = -ENOSPC;
    return true;
}

/* All files named, the journal too. */
static void assemble_all(struct recovery_kit *kit)
{
    const char *paths[KIT_FILES_MAX];
    struct array_assemble how = {
        .paths = paths,
        .path_count = kit->members + 1,
        .read_only = true,
        .allow_no_journal = true,
        .arena = &kit->array_arena,
    };

    for (uint32_t i = 0; i <= kit->members; i++) {
        paths[i] = kit->paths[i];
    }
    arena_init_growing(&kit->array_arena);
    ck_assert_int_eq(array_assemble(&how, kit->queue, &kit->array, kit->why), 0);
}

START_TEST(sequence_20_a_journal_that_was_full_once_is_not_replayed_later)
{
    uint64_t synced = 0;
    struct model m;
    int error = 0;

    model_crash_io_use();
    sequence_create(&m, 3, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    journal_room = 5;
    crash_io_hook = full_journal;
    for (uint64_t number = 1; error == 0; number++) {
        sequence_put(&m, 4, number);
        error = journal_commit(m.j, m.files.queue, journal_running_txn(m.j));
        synced = error == 0 ? number : synced;
    }
    ck_assert_int_eq(error, -EIO);
    ck_assert_uint_gt(synced, 0);
    ck_assert_uint_eq(sequence_get(&m, m.files.queue, 4), synced + 1);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO);
    model_after_failed_close(&m);
    crash_io_hook = NULL; /* readable again, and it fits */
    assemble_all(&m.files);
    ck_assert_int_eq(array_journal_state(m.files.array), JOURNAL_DEVICE_FAULTY);
    m.j = NULL;
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
    uint64_t number = 0;
    ck_assert_int_eq(array_read(m.files.array, m.files.queue, fs_block(4), 1, page), 0);
    memcpy(&number, page, sizeof(number));
    ck_assert_uint_eq(number, synced);
    kit_close(&m.files);
    ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    model_remove(&m);
}
END_TEST

/* ---- 22 ------------------------------------------------------------------------------------- */

static bool rows_are_written(struct model *m)
{
    for (unsigned tries = 0; tries < 4000; tries++) {
        if (model_status(m).unwritten_rows == 0) {
            return true;
        }
        env_sleep_ns(5000000);
    }
    return false;
}

/* Written out and not flushed: what supersedes it lets the tail pass only behind a flush. */
START_TEST(sequence_22_the_tail_passes_no_row_that_is_not_durably_on_the_members)
{
    uint64_t numbers[6];
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 4, SEQUENCE_RING);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 6; block++) {
        numbers[block] = 10 + block;
        sequence_put(&m, block, numbers[block]);
    }
    sequence_sync(&m);
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_THROUGH), 0);
    numbers[0] = 20;
    sequence_put(&m, 0, numbers[0]);
    sequence_sync(&m);
    ck_assert(rows_are_written(&m)); /* on the members, flushed nowhere */
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_BACK), 0);
    numbers[0] = 30;
    sequence_put(&m, 0, numbers[0]);
    sequence_sync(&m);
    model_cut_after((uint64_t)_i % DRAIN_CUTS);
    sequence_drain(&m);
    model_abandon(&m);
    sequence_expect(&m, numbers, 6);
    model_remove(&m);
}
END_TEST

/* ---- 23 ------------------------------------------------------------------------------------- */

static struct flush_watch {
    struct model *m;
    bool flushed[KIT_FILES_MAX];
    uint32_t reads;  /* of the ring */
    uint32_t writes; /* to the members' data */
    uint32_t early;  /* of both: before the file was flushed */
} watch;

static bool watch_flushes(const struct io_request *request, int *out_result)
{
    const struct recovery_kit *kit = &watch.m->files;

    (void)out_result;
    for (uint32_t file = 0; file <= kit->members; file++) {
        if (strcmp(request->file->path, kit->paths[file]) != 0) {
            continue;
        }
        bool is_journal = file == kit->members;
        bool in_data = request->offset_bytes >= kit->data_offset[file];
        if (request->op == IO_FLUSH) {
            watch.flushed[file] = true;
        } else if (in_data && is_journal && request->op == IO_READ) {
            watch.reads++;
            watch.early += !watch.flushed[file];
        } else if (in_data && !is_journal && request->op == IO_WRITE) {
            watch.writes++;
            watch.early += !watch.flushed[file];
        }
    }
    return false;
}

START_TEST(sequence_23_recovery_flushes_before_it_believes_what_it_reads)
{
    const struct kit_payload data = KIT_DATA(0, 5);
    struct model m;

    model_crash_io_use();
    sequence_create(&m, 3, SEQUENCE_RING);
    uint64_t row = 0;
    (void)kit_unit(&m.files, &data, 1, 0);
    const struct kit_payload parity = KIT_PARITY(row, 5);
    (void)kit_unit(&m.files, &parity, 1, 0);
    kit_assemble(&m.files, false, KIT_NO_SLOT); /* its own flushes do not count */
    memset(&watch, 0, sizeof(watch));
    watch.m = &m;
    crash_io_hook = watch_flushes;
    struct journal_options options = sequence_by_hand;
    arena_init_growing(&m.arena);
    options.arena = &m.arena;
    options.memory_bytes = 64u << 20;
    ck_assert_int_eq(journal_open(&m.j, m.files.array, &options, m.files.queue, m.files.why), 0);
    ck_assert_uint_gt(watch.reads, 0);
    ck_assert_uint_gt(watch.writes, 0);
    ck_assert_uint_eq(watch.early, 0);
    crash_io_hook = NULL;
    ck_assert_uint_eq(sequence_get(&m, m.files.queue, 0), 5);
    model_forget(&m);
    model_remove(&m);
}
END_TEST

/* ---- 25 ------------------------------------------------------------------------------------- */

START_TEST(sequence_25_more_open_rows_than_the_next_mount_holds)
{
    struct journal_options less = {.images_max = 16};
    struct model m;

    sequence_create(&m, 3, SEQUENCE_RING * 4);
    sequence_open(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 200; block++) {
        sequence_put(&m, block, 1000 + block);
    }
    sequence_sync(&m);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &less, KIT_NO_SLOT), 0);
    ck_assert_uint_gt(m.j->recovered.open_rows, 16);
    for (uint64_t block = 0; block < 200; block++) {
        ck_assert_uint_eq(sequence_get(&m, m.files.queue, block), 1000 + block);
    }
    model_close(&m);
    ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
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
    Suite *suite = suite_create("sequences");

    tcase_add_test(new_case(suite, "1"),
                   sequence_1_nothing_of_an_older_lap_is_adopted_after_the_log_was_drained);
    tcase_add_loop_test(new_case(suite, "2"),
                        sequence_2_a_member_that_missed_a_write_never_returns_as_fresh,
                        0,
                        36);
    tcase_add_loop_test(new_case(suite, "3"),
                        sequence_3_a_row_whose_blocks_are_all_in_the_log_still_logs_its_parity,
                        0,
                        16);
    tcase_add_test(new_case(suite, "10"),
                   sequence_10_what_is_derived_while_its_row_is_written_out_is_right);
    tcase_add_loop_test(new_case(suite, "13"),
                        sequence_13_rot_among_the_last_acknowledged_units_is_no_torn_unit,
                        0,
                        (int)UNITS_13);
    tcase_add_test(new_case(suite, "14"),
                   sequence_14_the_write_out_that_frees_space_is_not_parked_behind_data);
    tcase_add_loop_test(new_case(suite, "15_16_19"),
                        sequences_15_16_19_writing_goes_on_in_the_tightest_place,
                        0,
                        (int)(sizeof(tight_places) / sizeof(tight_places[0])));
    tcase_add_test(new_case(suite, "20"),
                   sequence_20_a_journal_that_was_full_once_is_not_replayed_later);
    tcase_add_loop_test(new_case(suite, "22"),
                        sequence_22_the_tail_passes_no_row_that_is_not_durably_on_the_members,
                        0,
                        2 * (int)DRAIN_CUTS);
    tcase_add_test(new_case(suite, "23"),
                   sequence_23_recovery_flushes_before_it_believes_what_it_reads);
    tcase_add_test(new_case(suite, "25"), sequence_25_more_open_rows_than_the_next_mount_holds);
    return kit_run(suite);
}
