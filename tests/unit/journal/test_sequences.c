/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sequences of events that broke earlier drafts of the log protocol, by their number in
 * docs/LOG_PROTOCOL.md. Those that need no journal at run time stand with recovery and the array:
 *   6, 7, 8  test_recovery_replay      12, 13  test_recovery_scan      24  test_array_super
 */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "model_kit.h"

#define RING_SMALLEST  UINT64_C(654)
#define MEMBER_BYTES   (6u << 20)
#define CHUNK_SECTORS  8u /* chunks of one block: a row is a stripe */
#define NO_TIMER       3600000u
#define DRAIN_CUTS     14u
#define NUMBERS_A_PAGE (BLOCK_BYTES / sizeof(uint64_t))

static const struct journal_options by_hand = {.images_max = 512, .commit_interval_ms = NO_TIMER};

static void open_array(struct model *m, uint32_t members, uint64_t ring_blocks)
{
    struct kit_shape shape = {members, CHUNK_SECTORS, MEMBER_BYTES, ring_blocks};

    kit_seed("sequences");
    model_create(m, &shape);
}

static void reopen(struct model *m, uint32_t missing)
{
    ck_assert_int_eq(model_open(m, &by_hand, missing), 0);
}

/* A block that repeats one number, written past the model. */
static void put(struct model *m, uint64_t block, uint64_t number)
{
    struct journal_reservation reservation = {0};
    uint64_t page[NUMBERS_A_PAGE];

    for (size_t i = 0; i < NUMBERS_A_PAGE; i++) {
        page[i] = number;
    }
    ck_assert_int_eq(journal_reserve(m->j, &reservation, 1, 0), 0);
    journal_write(m->j, &reservation, fs_block(block), (const uint8_t *)page);
    journal_release(m->j, &reservation);
}

static void sync_all(struct model *m)
{
    ck_assert_int_eq(journal_commit(m->j, m->files.queue, journal_running_txn(m->j)), 0);
}

static uint64_t get(struct model *m, struct io_queue *queue, uint64_t block)
{
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
    uint64_t number = 0;

    ck_assert_int_eq(journal_read(m->j, queue, fs_block(block), 1, page), 0);
    ck_assert_int_eq(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)), 0);
    memcpy(&number, page, sizeof(number));
    return number;
}

/* Blocks 0 .. count - 1 hold these, whoever is missing; the files are as before afterwards. */
static void expect_whoever_is_missing(struct model *m,
                                      uint32_t members,
                                      const uint64_t *numbers,
                                      uint32_t count)
{
    for (uint32_t missing = 0; missing <= members; missing++) {
        struct kit_images before;

        kit_save(&m->files, &before);
        reopen(m, missing < members ? missing : KIT_NO_SLOT);
        for (uint32_t block = 0; block < count; block++) {
            ck_assert_msg(get(m, m->files.queue, block) == numbers[block],
                          "block %u, slot %u missing",
                          block,
                          missing);
        }
        ck_assert_int_eq(journal_drain(m->j, m->files.queue), 0);
        for (uint32_t block = 0; block < count; block++) {
            ck_assert_uint_eq(get(m, m->files.queue, block), numbers[block]);
        }
        model_forget(m);
        kit_restore(&m->files, &before);
        kit_free(&before);
    }
}

/* ---- 1
 * ---------------------------------------------------------------------------------------- */

START_TEST(sequence_1_nothing_of_an_older_lap_is_adopted_after_the_log_was_drained)
{
    struct model m;
    uint64_t written = 0;

    open_array(&m, 3, RING_SMALLEST);
    for (uint64_t round = 1; written < 3ull * RING_SMALLEST * BLOCK_BYTES; round++) {
        reopen(&m, KIT_NO_SLOT);
        ck_assert_uint_eq(m.j->recovered.units, 1);
        for (uint64_t block = 0; block < 60; block++) {
            ck_assert_uint_eq(get(&m, m.files.queue, block), round - 1);
            put(&m, block, round);
        }
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        written += model_status(&m).log_bytes;
        model_abandon(&m); /* kill -9 */
    }
    model_remove(&m);
}
END_TEST

/* ---- 2
 * ---------------------------------------------------------------------------------------- */

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
    open_array(&m, 3, RING_SMALLEST);
    reopen(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 12; block++) {
        numbers[block] = 100 + block;
        put(&m, block, numbers[block]);
    }
    sync_all(&m);
    dead_path = members[_i % 3];
    crash_io_hook = dead_member;
    model_cut_after((uint64_t)_i / 3);
    int error = journal_drain(m.j, m.files.queue);
    ck_assert(error == 0 || model_is_cut());
    model_abandon(&m);
    crash_io_hook = NULL;
    reopen(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 12; block++) {
        ck_assert_uint_eq(get(&m, m.files.queue, block), numbers[block]);
    }
    bool whole = array_state(m.files.array) == ARRAY_CLEAN;
    model_close(&m);
    if (whole) {
        ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    }
    model_remove(&m);
}
END_TEST

/* ---- 3
 * ---------------------------------------------------------------------------------------- */

/* d = 7, and the last block of a row comes by itself: its parity goes through the log all the
 * same. */
START_TEST(sequence_3_a_row_whose_blocks_are_all_in_the_log_still_logs_its_parity)
{
    uint64_t numbers[7];
    struct model m;

    model_crash_io_use();
    open_array(&m, 8, RING_SMALLEST);
    reopen(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 7; block++) {
        numbers[block] = 7000 + block;
    }
    for (uint64_t block = 0; block < 6; block++) {
        put(&m, block, numbers[block]);
    }
    sync_all(&m);
    if (_i % 2 != 0) {
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    }
    put(&m, 6, numbers[6]);
    sync_all(&m);
    model_cut_after((uint64_t)_i / 2);
    int error = journal_drain(m.j, m.files.queue);
    ck_assert(error == 0 || model_is_cut());
    model_abandon(&m);
    expect_whoever_is_missing(&m, 8, numbers, 7);
    model_remove(&m);
}
END_TEST

/* ---- 10
 * --------------------------------------------------------------------------------------- */

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
            ck_assert_uint_eq(get(reader->m, queue, block), 1);
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

    open_array(&m, 3, RING_SMALLEST);
    reopen(&m, 0);
    for (uint64_t block = 0; block < RACE_BLOCKS; block++) {
        put(&m, block, 1);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    reader.m = &m;
    ck_assert_int_eq(env_thread_start(&reader.thread, "reader", race_main, &reader), 0);
    for (uint64_t round = 0; round < RACE_ROUNDS; round++) {
        for (uint64_t block = 0; block < RACE_BLOCKS; block++) {
            if (!is_lost(&m, block)) {
                put(&m, block, round << 32 | block);
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

/* ---- 15, 16, 19
 * -------------------------------------------------------------------------------- */

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

    open_array(&m, place->members, RING_SMALLEST);
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

/* ---- 20
 * --------------------------------------------------------------------------------------- */

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
    open_array(&m, 3, RING_SMALLEST);
    reopen(&m, KIT_NO_SLOT);
    journal_room = 5;
    crash_io_hook = full_journal;
    for (uint64_t number = 1; error == 0; number++) {
        put(&m, 4, number);
        error = journal_commit(m.j, m.files.queue, journal_running_txn(m.j));
        synced = error == 0 ? number : synced;
    }
    ck_assert_int_eq(error, -EIO);
    ck_assert_uint_gt(synced, 0);
    ck_assert_uint_eq(get(&m, m.files.queue, 4), synced + 1);
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

/* ---- 22
 * --------------------------------------------------------------------------------------- */

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
    open_array(&m, 4, RING_SMALLEST);
    reopen(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 6; block++) {
        numbers[block] = 10 + block;
        put(&m, block, numbers[block]);
    }
    sync_all(&m);
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_THROUGH), 0);
    numbers[0] = 20;
    put(&m, 0, numbers[0]);
    sync_all(&m);
    ck_assert(rows_are_written(&m)); /* on the members, flushed nowhere */
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_BACK), 0);
    numbers[0] = 30;
    put(&m, 0, numbers[0]);
    sync_all(&m);
    model_cut_after((uint64_t)_i % DRAIN_CUTS);
    int error = journal_drain(m.j, m.files.queue);
    ck_assert(error == 0 || model_is_cut());
    model_abandon(&m);
    expect_whoever_is_missing(&m, 4, numbers, 6);
    model_remove(&m);
}
END_TEST

/* ---- 23
 * --------------------------------------------------------------------------------------- */

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
    open_array(&m, 3, RING_SMALLEST);
    uint64_t row = 0;
    (void)kit_unit(&m.files, &data, 1, 0);
    const struct kit_payload parity = KIT_PARITY(row, 5);
    (void)kit_unit(&m.files, &parity, 1, 0);
    kit_assemble(&m.files, false, KIT_NO_SLOT); /* its own flushes do not count */
    memset(&watch, 0, sizeof(watch));
    watch.m = &m;
    crash_io_hook = watch_flushes;
    struct journal_options options = by_hand;
    arena_init_growing(&m.arena);
    options.arena = &m.arena;
    options.memory_bytes = 64u << 20;
    ck_assert_int_eq(journal_open(&m.j, m.files.array, &options, m.files.queue, m.files.why), 0);
    ck_assert_uint_gt(watch.reads, 0);
    ck_assert_uint_gt(watch.writes, 0);
    ck_assert_uint_eq(watch.early, 0);
    crash_io_hook = NULL;
    ck_assert_uint_eq(get(&m, m.files.queue, 0), 5);
    model_forget(&m);
    model_remove(&m);
}
END_TEST

/* ---- 25
 * --------------------------------------------------------------------------------------- */

START_TEST(sequence_25_more_open_rows_than_the_next_mount_holds)
{
    struct journal_options less = {.images_max = 16};
    struct model m;

    open_array(&m, 3, RING_SMALLEST * 4);
    reopen(&m, KIT_NO_SLOT);
    for (uint64_t block = 0; block < 200; block++) {
        put(&m, block, 1000 + block);
    }
    sync_all(&m);
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &less, KIT_NO_SLOT), 0);
    ck_assert_uint_gt(m.j->recovered.open_rows, 16);
    for (uint64_t block = 0; block < 200; block++) {
        ck_assert_uint_eq(get(&m, m.files.queue, block), 1000 + block);
    }
    model_close(&m);
    ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    model_remove(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sequences");
    TCase *tcase = tcase_create("sequences");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, sequence_1_nothing_of_an_older_lap_is_adopted_after_the_log_was_drained);
    tcase_add_loop_test(
        tcase, sequence_2_a_member_that_missed_a_write_never_returns_as_fresh, 0, 36);
    tcase_add_loop_test(
        tcase, sequence_3_a_row_whose_blocks_are_all_in_the_log_still_logs_its_parity, 0, 16);
    tcase_add_test(tcase, sequence_10_what_is_derived_while_its_row_is_written_out_is_right);
    tcase_add_loop_test(tcase,
                        sequences_15_16_19_writing_goes_on_in_the_tightest_place,
                        0,
                        (int)(sizeof(tight_places) / sizeof(tight_places[0])));
    tcase_add_test(tcase, sequence_20_a_journal_that_was_full_once_is_not_replayed_later);
    tcase_add_loop_test(tcase,
                        sequence_22_the_tail_passes_no_row_that_is_not_durably_on_the_members,
                        0,
                        2 * (int)DRAIN_CUTS);
    tcase_add_test(tcase, sequence_23_recovery_flushes_before_it_believes_what_it_reads);
    tcase_add_test(tcase, sequence_25_more_open_rows_than_the_next_mount_holds);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
