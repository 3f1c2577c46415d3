/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stripe_write.c: what is written, what a failed write costs, and readers beside the writer. */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "r5fs/base/env.h"
#include "stripe_kit.h"

/* Five members, row 0. */
#define ROW0_PARITY 4u

static struct stripe_kit kit;

/* ---- writes that fail ---- */

START_TEST(a_failed_write_faults_the_member_and_the_row_is_whole_without_it)
{
    struct member_info info;
    volume_kit_seed("a_failed_write_faults_the_member_and_the_row_is_whole_without_it");
    for (uint32_t slot = 0; slot < 5; slot++) {
        stripe_kit_open(&kit, 5, 128, true);
        for (uint64_t row = 0; row < 10; row++) {
            stripe_kit_add_targets(&kit, row, 0x5);
        }
        stripe_kit_fail(&kit, IO_WRITE, 1u << slot, -EIO);
        bool hit = slot == 0 || slot == 2 || slot == ROW0_PARITY;
        stripe_kit_write_out_all(&kit);
        hook_io_set(NULL, NULL);
        array_member_info(kit.volume.array, slot, &info);
        ck_assert_int_eq(info.state, hit ? MEMBER_FAULTY : MEMBER_IN_SYNC);
        ck_assert_uint_eq(info.write_errors, hit);
        ck_assert(!hit || strstr(info.cause, "write error EIO at 0.0 GiB") != NULL);
        volume_kit_expect_readable(&kit.volume);
        stripe_kit_close(&kit);
    }
}
END_TEST

START_TEST(a_second_failed_member_fails_the_rows_that_keep_their_images)
{
    stripe_kit_open(&kit, 5, 128, true);
    stripe_kit_add_targets(&kit, 0, 0x5);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    stripes_encode(&kit.cache, kit.heads, 1);
    stripe_kit_fail(&kit, IO_WRITE, 0x5, -EIO);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), -EIO);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_FAILED);
    ck_assert_uint_eq(kit.heads[0]->image_count, 2);
    ck_assert_int_eq(array_state(kit.volume.array), ARRAY_FAILED);
    stripe_kit_drop_heads(&kit);
    stripe_kit_close(&kit);
}
END_TEST

static void tear_row_0(uint32_t targets, uint32_t full_slot)
{
    stripe_kit_add_targets(&kit, 0, targets);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    stripes_encode(&kit.cache, kit.heads, 1);
    stripe_kit_fail(&kit, IO_WRITE, 1u << full_slot, -ENOSPC);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), -ENOSPC);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_ENCODED);
    ck_assert(kit.heads[0]->torn);
}

START_TEST(a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room)
{
    struct member_info info;
    uint8_t *buffer = NULL;
    volume_kit_seed("a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room");
    stripe_kit_open(&kit, 5, 128, true);
    buffer = volume_kit_take(&kit.volume, 1);
    tear_row_0(0x5, ROW0_PARITY);
    array_member_info(kit.volume.array, ROW0_PARITY, &info);
    ck_assert_int_eq(info.state, MEMBER_IN_SYNC);
    ck_assert_uint_eq(info.write_errors, 0);
    ck_assert_ptr_eq(array_full_path(kit.volume.array), info.path);
    /* Slot 1 is no target: it must not be derived from a row that is half new. */
    volume_kit_lose(&kit.volume, 1);
    struct fs_block other = geometry_block_at(&kit.volume.geometry, member_block(0), 1);
    ck_assert_int_eq(array_read(kit.volume.array, kit.volume.queue, other, 1, buffer), -EIO);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), -ENOSPC);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    ck_assert_ptr_null(array_full_path(kit.volume.array));
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_IDLE);
    ck_assert(!kit.heads[0]->torn);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_full_device_spoils_only_the_rows_it_refused)
{
    volume_kit_seed("a_full_device_spoils_only_the_rows_it_refused");
    stripe_kit_open(&kit, 5, 128, true);
    for (uint64_t row = 0; row < 6; row++) {
        stripe_kit_add_targets(&kit, row < 3 ? row : row + 20, 0x1);
    }
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 6), 0);
    stripes_encode(&kit.cache, kit.heads, 6);
    /* Rows from 23 on have their parity in slot 3. */
    stripe_kit_fail(&kit, IO_WRITE, 1u << ROW0_PARITY, -EDQUOT);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 6), -EDQUOT);
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_int_eq(kit.heads[i]->state, i < 3 ? STRIPE_ENCODED : STRIPE_IDLE);
    }
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 3), 0);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_on_members(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

static unsigned data_writes;

/* Slot 2 refuses data, and no superblock fits onto the host of slot 1. */
static bool loss_without_room(void *context, const struct io_request *request, int *out_result)
{
    const bool *full = context;
    bool data =
        request->offset_bytes >= array_slot_offset_bytes(kit.volume.array, 2, member_block(0));
    if (request->op != IO_WRITE) {
        return false;
    }
    data_writes += data;
    if (data && request->file == array_slot_file(kit.volume.array, 2)) {
        *out_result = -EIO;
        return true;
    }
    *out_result = -ENOSPC;
    return *full && !data && request->file == array_slot_file(kit.volume.array, 1);
}

START_TEST(rows_are_written_only_when_the_loss_of_their_member_is_recorded)
{
    struct member_info info;
    bool full = true;
    volume_kit_seed("rows_are_written_only_when_the_loss_of_their_member_is_recorded");
    stripe_kit_open(&kit, 5, 128, true);
    stripe_kit_add_targets(&kit, 0, 0x5);
    stripe_kit_add_targets(&kit, 1, 0x1);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
    stripes_encode(&kit.cache, kit.heads, 2);
    hook_io_set(loss_without_room, &full);
    for (unsigned i = 0; i < 3; i++) { /* the first meets the error, the others do not try */
        ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), -ENOSPC);
        ck_assert(i == 0 || data_writes == 0);
        data_writes = 0;
        ck_assert_int_eq(kit.heads[0]->state, STRIPE_ENCODED);
        ck_assert_int_eq(kit.heads[1]->state, STRIPE_ENCODED);
        ck_assert_int_eq(array_state(kit.volume.array), ARRAY_DEGRADED);
        array_member_info(kit.volume.array, 1, &info);
        ck_assert_ptr_eq(array_full_path(kit.volume.array), info.path);
    }
    full = false;
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
    ck_assert_ptr_null(array_full_path(kit.volume.array));
    ck_assert(!array_slot_takes_writes(kit.volume.array, 2));
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_IDLE);
    ck_assert_int_eq(kit.heads[1]->state, STRIPE_IDLE);
    hook_io_set(NULL, NULL);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_torn_row_that_was_abandoned_is_never_read_modified)
{
    volume_kit_seed("a_torn_row_that_was_abandoned_is_never_read_modified");
    stripe_kit_open(&kit, 5, 128, true);
    tear_row_0(0x1, ROW0_PARITY);
    stripes_abandon(&kit.cache, kit.heads, 1);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_IDLE);
    ck_assert(kit.heads[0]->torn);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    ck_assert(kit.heads[0]->reconstruct);
    stripes_encode(&kit.cache, kit.heads, 1);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_on_members(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_torn_row_with_another_member_lost_fails_rather_than_guess)
{
    stripe_kit_open(&kit, 5, 128, true);
    tear_row_0(0x1, ROW0_PARITY);
    stripes_abandon(&kit.cache, kit.heads, 1);
    hook_io_set(NULL, NULL);
    volume_kit_lose(&kit.volume, 2);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), -EIO);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_FAILED);
    stripe_kit_drop_heads(&kit); /* releases the cell, or the array could not be closed */
    stripe_kit_close(&kit);
}
END_TEST

/* ---- write-out ---- */

static unsigned cells_granted;

static void count_granted(void *context)
{
    ck_assert_ptr_eq(context, &kit);
    cells_granted++;
}

/* Readers that derive blocks of a row hold its cell: the writer does not sleep for them. */
START_TEST(a_row_that_is_read_waits_and_the_other_rows_are_written)
{
    struct row_cells *cells = NULL;
    struct row_cell reader;
    volume_kit_seed("a_row_that_is_read_waits_and_the_other_rows_are_written");
    stripe_kit_open(&kit, 5, 128, true);
    cells = array_row_cells(kit.volume.array);
    kit.cache.cell_granted = count_granted;
    kit.cache.cell_context = &kit;
    cells_granted = 0;
    for (uint64_t row = 0; row < 6; row++) {
        stripe_kit_add_targets(&kit, row, 0x5);
    }
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 6), 0);
    stripes_encode(&kit.cache, kit.heads, 6);
    ck_assert(row_cell_try_lock(cells, &reader, (struct row_range){member_block(1), 2}, false));
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 6), 0);
    for (uint32_t i = 0; i < 6; i++) {
        bool read = kit.heads[i]->row.nr == 1 || kit.heads[i]->row.nr == 2;
        ck_assert_int_eq(kit.heads[i]->state, read ? STRIPE_ENCODED : STRIPE_IDLE);
        ck_assert_int_eq(kit.heads[i]->parked, read);
        ck_assert(i < 4 || read); /* they stand at the end */
    }
    ck_assert_uint_eq(cells_granted, 0);
    row_cell_unlock(cells, &reader);
    ck_assert_uint_eq(cells_granted, 2);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads + 4, 2), 0);
    ck_assert_int_eq(kit.heads[4]->state, STRIPE_IDLE);
    ck_assert_int_eq(kit.heads[5]->state, STRIPE_IDLE);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_on_members(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

/* The wait for room may be long, and nobody would be told of a place that is kept. */
START_TEST(a_row_that_waits_for_readers_gives_its_place_up_while_a_loss_cannot_be_recorded)
{
    struct row_cells *cells = NULL;
    struct row_cell reader;
    struct row_cell later;
    bool full = true;
    volume_kit_seed("a_row_that_waits_for_readers_gives_its_place_up");
    stripe_kit_open(&kit, 5, 128, true);
    cells = array_row_cells(kit.volume.array);
    stripe_kit_add_targets(&kit, 0, 0x5);
    stripe_kit_add_targets(&kit, 1, 0x1);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
    stripes_encode(&kit.cache, kit.heads, 2);
    ck_assert(row_cell_try_lock(cells, &reader, one_row(member_block(1)), false));
    hook_io_set(loss_without_room, &full);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), -ENOSPC);
    ck_assert(kit.heads[1]->parked);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), -ENOSPC);
    ck_assert(!kit.heads[1]->parked);
    ck_assert(row_cell_try_lock(cells, &later, one_row(member_block(1)), false));
    row_cell_unlock(cells, &later);
    row_cell_unlock(cells, &reader);
    full = false;
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_IDLE);
    ck_assert_int_eq(kit.heads[1]->state, STRIPE_IDLE);
    hook_io_set(NULL, NULL);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(adjacent_rows_of_a_member_are_written_in_one_request)
{
    volume_kit_seed("adjacent_rows_of_a_member_are_written_in_one_request");
    stripe_kit_open(&kit, 3, 128, true);
    /* Backwards: write-out sorts. Rows 0 to 15 are one chunk, parity in slot 2. */
    for (uint64_t row = 16; row-- > 0;) {
        stripe_kit_add_targets(&kit, row, 0x3);
    }
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 16), 0);
    stripes_encode(&kit.cache, kit.heads, 16);
    stripe_kit_watch(&kit);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 16), 0);
    ck_assert_uint_eq(kit.watch.writes, 3);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_on_members(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(logged_parity_is_written_as_it_stands)
{
    uint8_t on_member[BLOCK_BYTES];
    volume_kit_seed("logged_parity_is_written_as_it_stands");
    stripe_kit_open(&kit, 4, 128, true);
    (void)stripe_kit_add_target(&kit, 0, 1);
    uint8_t *parity = stripe_take_encode_buffer(&kit.cache);
    volume_kit_fill(parity, BLOCK_BYTES);
    uint8_t *expected = volume_kit_take(&kit.volume, 1);
    memcpy(expected, parity, BLOCK_BYTES);
    stripe_set_logged_parity(kit.heads[0], parity);
    stripe_kit_watch(&kit);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    ck_assert_uint_eq(kit.watch.reads, 0);
    ck_assert_uint_eq(kit.watch.writes, 2);
    volume_kit_on_member(&kit.volume, stripe_kit_parity_slot(&kit, 0), member_block(0), on_member);
    ck_assert_mem_eq(on_member, expected, BLOCK_BYTES);
    volume_kit_on_member(&kit.volume, 1, member_block(0), on_member);
    ck_assert_mem_eq(on_member, kit.heads[0]->slots[1].target->data, BLOCK_BYTES);
    stripe_kit_drop_heads(&kit);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_member_lost_between_encode_and_write_out_is_left_out)
{
    volume_kit_seed("a_member_lost_between_encode_and_write_out_is_left_out");
    for (uint32_t lost = 0; lost < 4; lost++) {
        stripe_kit_open(&kit, 4, 128, true);
        stripe_kit_add_targets(&kit, 0, 0x3);
        ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
        stripes_encode(&kit.cache, kit.heads, 1);
        volume_kit_lose(&kit.volume, lost);
        ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
        stripe_kit_note_targets(&kit);
        stripe_kit_drop_heads(&kit);
        volume_kit_expect_readable(&kit.volume);
        stripe_kit_close(&kit);
    }
}
END_TEST

START_TEST(abandoned_rows_give_everything_back)
{
    stripe_kit_open(&kit, 4, 128, true);
    stripe_kit_add_targets(&kit, 0, 0x1);
    stripe_kit_add_targets(&kit, 1, 0x3);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
    stripes_encode(&kit.cache, kit.heads, 1);
    stripes_abandon(&kit.cache, kit.heads, 2);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_IDLE);
    ck_assert_int_eq(kit.heads[1]->state, STRIPE_IDLE);
    ck_assert_uint_eq(pool_free_count(&kit.cache.encode), kit.cache.encode.stats.size);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_on_members(&kit.volume); /* nothing was written */
    stripe_kit_close(&kit);
}
END_TEST

/* ---- readers beside a writer ---- */

static atomic_bool stop_reading;
static atomic_int wrong;
static atomic_int reads_done;

/* Reads lost blocks that never change, out of rows that do. */
static void read_lost_blocks(void *context)
{
    const uint32_t *lost = context;
    struct arena own;
    struct io_queue *queue = NULL;
    arena_init_growing(&own);
    int errors = io_queue_open(&queue, &own, 32) != 0;
    uint8_t *buffer = arena_take(&own, BLOCK_BYTES, BLOCK_BYTES);
    for (uint64_t row = 0; !atomic_load(&stop_reading) && errors == 0; row = (row + 1) % 16) {
        struct fs_block block = geometry_block_at(&kit.volume.geometry, member_block(row), *lost);
        errors += array_read(kit.volume.array, queue, block, 1, buffer) != 0;
        errors += memcmp(buffer, volume_kit_block(&kit.volume, block), BLOCK_BYTES) != 0;
        atomic_fetch_add(&reads_done, 1);
    }
    io_queue_close(queue);
    arena_fini(&own);
    atomic_fetch_add(&wrong, errors);
}

START_TEST(a_lost_block_reads_right_while_its_row_is_written)
{
    struct env_thread *threads[3];
    uint32_t lost = 1;
    volume_kit_seed("a_lost_block_reads_right_while_its_row_is_written");
    stripe_kit_open(&kit, 4, 128, false);
    volume_kit_lose(&kit.volume, lost);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "reader", read_lost_blocks, &lost), 0);
    }
    for (uint32_t step = 0; step < 300 || atomic_load(&reads_done) < 300; step++) {
        for (uint64_t row = 0; row < 16; row++) {
            stripe_kit_add_targets(&kit, row, 0x5);
        }
        stripe_kit_write_out_all(&kit);
    }
    atomic_store(&stop_reading, true);
    for (uint32_t i = 0; i < 3; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_int_eq(atomic_load(&wrong), 0);
    stripe_kit_close(&kit);
}
END_TEST

static Suite *stripe_write_suite(void)
{
    Suite *suite = suite_create("stripe_write");
    TCase *writing = tcase_create("writing");

    tcase_set_timeout(writing, 120);
    tcase_add_test(writing, a_lost_block_reads_right_while_its_row_is_written);
    tcase_add_test(writing, a_failed_write_faults_the_member_and_the_row_is_whole_without_it);
    tcase_add_test(writing, a_second_failed_member_fails_the_rows_that_keep_their_images);
    tcase_add_test(writing, a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room);
    tcase_add_test(writing, a_full_device_spoils_only_the_rows_it_refused);
    tcase_add_test(writing, rows_are_written_only_when_the_loss_of_their_member_is_recorded);
    tcase_add_test(writing, a_torn_row_that_was_abandoned_is_never_read_modified);
    tcase_add_test(writing, a_torn_row_with_another_member_lost_fails_rather_than_guess);
    tcase_add_test(writing, a_row_that_is_read_waits_and_the_other_rows_are_written);
    tcase_add_test(writing,
                   a_row_that_waits_for_readers_gives_its_place_up_while_a_loss_cannot_be_recorded);
    tcase_add_test(writing, adjacent_rows_of_a_member_are_written_in_one_request);
    tcase_add_test(writing, logged_parity_is_written_as_it_stands);
    tcase_add_test(writing, a_member_lost_between_encode_and_write_out_is_left_out);
    tcase_add_test(writing, abandoned_rows_give_everything_back);
    suite_add_tcase(suite, writing);
    return suite;
}

int main(void)
{
    return array_kit_run(stripe_write_suite());
}
