/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replay: the single sequences that the rules of the log answer, and I/O that fails. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crash_io.h"
#include "recovery_kit.h"
#include "recovery_view.h"

static struct recovery_kit kit;

static uint32_t parity_slot(uint32_t row)
{
    return geometry_parity_slot(&kit.geometry, member_block(row));
}

static uint64_t volume_block(uint32_t row, uint32_t slot)
{
    return geometry_block_at(&kit.geometry, member_block(row), slot).nr;
}

static int read_members(struct fs_block block, uint8_t *buffer)
{
    return array_read(kit.array, kit.queue, block, 1, buffer);
}

/* ---- sequences ---------------------------------------------------------------------------- */

static void make_array(void)
{
    crash_io_use(kit_below);
    kit_create(&kit, &KIT_USUAL);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    kit_close(&kit);
}

static void drop_array(void)
{
    crash_io_hook = NULL;
    kit_remove(&kit);
}

static struct log_block data_unit(uint64_t block, uint64_t number, uint32_t undurable)
{
    return kit_unit(&kit, &KIT_DATA(block, number), 1, undurable);
}

static void rot(uint64_t ring_block)
{
    uint8_t page[BLOCK_BYTES];

    kit_peek(&kit, kit_journal(&kit), ring_block, page);
    page[1000] ^= 0x10;
    kit_poke(&kit, kit_journal(&kit), ring_block, 0, page, sizeof(page));
}

static void replay_closed(bool accept)
{
    kit_assemble(&kit, false, KIT_NO_SLOT);
    int error = kit_replay_closed(&kit, accept, NULL);
    ck_assert_msg(error == 0, "%d: %s", error, kit.why);
    kit_close(&kit);
}

static uint64_t units_in_log(void)
{
    struct recovery_scan scan;

    kit_assemble(&kit, false, KIT_NO_SLOT);
    int error = kit_replay_closed(&kit, false, &scan);
    ck_assert_msg(error == 0, "%d: %s", error, kit.why);
    kit_close(&kit);
    return scan.units;
}

/* Sequence 7: U_S torn, U_S+1 intact; a new U_S of the same size is written; the stale U_S+1 must
 * not follow it. */
START_TEST(a_stale_successor_never_follows_a_new_unit)
{
    struct kit_images before;
    struct log_block torn = data_unit(6, 1, 0);

    data_unit(7, 666, 1);
    rot(torn.nr + 1);
    kit_save(&kit, &before);
    for (uint32_t i = 0; i < 12; i++) {
        kit_restore(&kit, &before);
        kit_assemble(&kit, false, KIT_NO_SLOT);
        crash_io_cut_after(UINT64_MAX);
        ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
        crash_io_settle(); /* what replay did not flush may be undone */
        kit_close(&kit);
        kit.head = torn;
        kit.seq -= i == 0 ? 2 : 1;
        data_unit(6, 2, 0);
        ck_assert_uint_eq(units_in_log(), 2);
    }
    kit_free(&before);
}
END_TEST

START_TEST(replay_of_a_replayed_log_changes_no_byte)
{
    struct kit_images once;

    data_unit(6, 1, 0);
    kit_unit(&kit, &KIT_PARITY(6, 1), 1, 0);
    data_unit(6, 2, 0);
    struct log_block torn = data_unit(7, 2, 0);
    data_unit(8, 2, 1);
    rot(torn.nr);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
    kit_save(&kit, &once);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
    ck_assert(kit_equals(&kit, &once));
    kit_free(&once);
}
END_TEST

START_TEST(closed_layers_reach_the_members_and_open_ones_do_not)
{
    uint32_t slot = geometry_locate(&kit.geometry, fs_block(6)).slot;
    uint64_t row = geometry_locate(&kit.geometry, fs_block(6)).row.nr;
    uint32_t parity = geometry_parity_slot(&kit.geometry, member_block(row));

    data_unit(6, 5, 0);
    kit_unit(&kit, &KIT_PARITY(row, 5), 1, 0);
    struct log_block open = data_unit(6, 9, 0);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
    ck_assert_uint_eq(array_log_tail(kit.array).nr, open.nr);
    kit_close(&kit);
    ck_assert_uint_eq(kit_read_number(&kit, slot, row), 5);
    ck_assert_uint_eq(kit_read_number(&kit, parity, row), 5);
}
END_TEST

/* Sequence 6: half of the closed generation is on the members, open data on top, a member is
 * lost. */
START_TEST(a_lost_block_is_derived_from_the_closed_layer)
{
    struct recovery_view view;
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
    uint64_t number = 0;
    /* Blocks 0, 16, 32 of the volume share row 0: chunks of 16 blocks. */
    struct placement lost = geometry_locate(&kit.geometry, fs_block(0));
    struct placement half = geometry_locate(&kit.geometry, fs_block(16));
    uint32_t parity = geometry_parity_slot(&kit.geometry, member_block(0));

    ck_assert_uint_eq(half.row.nr, 0);
    /* On the members: 0, 16, 32 hold 1, 2, 4. */
    kit_write_number(&kit, lost.slot, 0, 1);
    kit_write_number(&kit, half.slot, 0, 2);
    kit_write_number(&kit, geometry_locate(&kit.geometry, fs_block(32)).slot, 0, 4);
    kit_write_number(&kit, parity, 0, 7);
    data_unit(16, 3, 0);
    kit_unit(&kit, &KIT_PARITY(0, 1 ^ 3 ^ 4), 1, 0);
    data_unit(16, 100, 0);
    /* The new 16 got there, the new parity did not. */
    kit_write_number(&kit, half.slot, 0, 3);
    for (uint32_t missing = 0; missing < kit.members; missing++) {
        kit_assemble(&kit, true, missing);
        ck_assert_int_eq(recovery_view_init(&view, kit.array, kit.queue, false, kit.why), 0);
        static const uint64_t expected[] = {1, 100, 4};
        for (uint32_t i = 0; i < 3; i++) {
            ck_assert_int_eq(
                recovery_view_read_blocks(&view, kit.queue, fs_block(16ull * i), 1, page), 0);
            memcpy(&number, page, sizeof(number));
            ck_assert_uint_eq(number, expected[i]);
        }
        recovery_view_fini(&view);
        kit_close(&kit);
    }
}
END_TEST

/* Sequence 8, and "never to or past the tail". */
START_TEST(live_log_is_never_overwritten)
{
    struct kit_images before;
    struct kit_images after;
    struct log_block start = log_block(200);
    uint64_t ring_offset = kit.data_offset[kit_journal(&kit)];

    kit.head = start;
    kit_set_tail(&kit, start);
    for (uint32_t i = 0; i < 100; i++) {
        data_unit(i, i + 1, 0);
    }
    struct log_block torn = data_unit(100, 1, 0);
    for (uint32_t i = 1; i < 20; i++) {
        data_unit(100 + i, 1, i);
    }
    rot(torn.nr);
    kit_save(&kit, &before);
    replay_closed(false);
    kit_save(&kit, &after);
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t at = ring_offset + (start.nr + i) % kit.ring_blocks * BLOCK_BYTES;
        ck_assert(memcmp(before.bytes[kit.members] + at,
                         after.bytes[kit.members] + at,
                         BLOCK_BYTES) == 0);
    }
    ck_assert_uint_eq(units_in_log(), 100);
    kit_free(&before);
    kit_free(&after);
}
END_TEST

START_TEST(accepted_damage_leaves_nothing_between_the_stop_and_the_tail)
{
    struct recovery_scan scan;
    uint8_t page[BLOCK_BYTES];

    data_unit(6, 1, 0);
    struct log_block rotten = data_unit(7, 1, 0);
    data_unit(8, 1, 0);
    rot(rotten.nr + 1);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), -EBADMSG);
    ck_assert_int_eq(kit_replay_closed(&kit, true, &scan), 0);
    ck_assert(scan.damaged);
    for (uint64_t i = rotten.nr; i < kit.ring_blocks; i++) {
        kit_peek(&kit, kit_journal(&kit), i, page);
        ck_assert_uint_eq(page[0] | page[BLOCK_BYTES - 1], 0);
        ck_assert(memcmp(page, page + 1, BLOCK_BYTES - 1) == 0);
    }
    kit_close(&kit);
    ck_assert_uint_eq(units_in_log(), 1); /* the tail has passed the empty one */
}
END_TEST

/* The later generation is on the members, and its data in the log is rotten: replay brings back a
 * parity that does not know it. */
START_TEST(after_accepted_damage_parity_fits_what_the_members_hold)
{
    const uint32_t row = 6;
    uint32_t slots[2] = {(parity_slot(row) + 1) % 4, (parity_slot(row) + 2) % 4};

    data_unit(volume_block(row, slots[0]), 5, 0);
    kit_unit(&kit, &KIT_PARITY(row, 5), 1, 0);
    struct log_block rotten = data_unit(volume_block(row, slots[1]), 9, 0);
    kit_unit(&kit, &KIT_PARITY(row, 5 ^ 9), 1, 0);
    data_unit(volume_block(row + 1, parity_slot(row + 1) == 0 ? 1 : 0), 1, 0);
    kit_write_number(&kit, slots[0], row, 5);
    kit_write_number(&kit, slots[1], row, 9);
    kit_write_number(&kit, parity_slot(row), row, 5 ^ 9);
    rot(rotten.nr + 1);
    replay_closed(true);
    ck_assert_uint_eq(kit_read_number(&kit, slots[0], row), 5);
    ck_assert_uint_eq(kit_read_number(&kit, slots[1], row), 9);
    ck_assert_uint_eq(kit_bad_rows(&kit), 0);
}
END_TEST

START_TEST(an_accepted_damaged_head_becomes_an_empty_log)
{
    struct recovery_scan scan;
    struct log_block unit = data_unit(6, 1, 0);

    data_unit(7, 1, 0);
    kit_set_tail(&kit, unit);
    rot(unit.nr);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), -EBADMSG);
    ck_assert_int_eq(kit_replay_closed(&kit, true, &scan), 0);
    ck_assert_uint_eq(array_log_tail(kit.array).nr, 0);
    kit_close(&kit);
    ck_assert_uint_eq(units_in_log(), 1);
}
END_TEST

/* ---- I/O that fails ----------------------------------------------------------------------- */

static int fail_result;
static uint32_t fail_file;
static enum io_op fail_op;
static uint64_t fail_from; /* offset in the file */

static bool fail_file_op(const struct io_request *request, int *out_result)
{
    *out_result = fail_result;
    return request->op == fail_op && request->offset_bytes >= fail_from &&
           strcmp(request->file->path, kit.paths[fail_file]) == 0;
}

static void closed_rows_in_log(uint32_t rows)
{
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t slot = (parity_slot(row) + 1) % kit.members;
        uint64_t block = volume_block(row, slot);
        kit_unit(&kit, &KIT_DATA(block, row + 1), 1, 0);
        kit_unit(&kit, &KIT_PARITY(row, row + 1), 1, 0);
    }
}

START_TEST(a_member_that_fails_its_write_is_faulted_and_replay_goes_on)
{
    struct recovery_scan scan;

    closed_rows_in_log(20);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    fail_result = -EIO;
    fail_file = 3;
    fail_op = IO_WRITE;
    fail_from = kit.data_offset[3];
    crash_io_hook = fail_file_op;
    int error = kit_replay(&kit, false, &scan);
    ck_assert_msg(error == 0, "%d: %s", error, kit.why);
    ck_assert_int_eq(array_state(kit.array), ARRAY_DEGRADED);
    ck_assert_uint_eq(array_missing_slot(kit.array), 3);
    crash_io_hook = NULL;
    for (uint32_t row = 0; row < 20; row++) {
        _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
        uint64_t number = 0;
        uint32_t slot = (parity_slot(row) + 1) % kit.members;
        ck_assert_int_eq(read_members(fs_block(volume_block(row, slot)), page), 0);
        memcpy(&number, page, sizeof(number));
        ck_assert_uint_eq(number, row + 1);
    }
}
END_TEST

START_TEST(a_full_host_disk_ends_replay_and_the_next_one_finishes_it)
{
    closed_rows_in_log(20);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    fail_result = -ENOSPC;
    fail_file = 3;
    fail_op = IO_WRITE;
    fail_from = kit.data_offset[3];
    crash_io_hook = fail_file_op;
    ck_assert_int_eq(kit_replay(&kit, false, NULL), -ENOSPC);
    ck_assert_int_eq(array_state(kit.array), ARRAY_CLEAN);
    crash_io_hook = NULL;
    ck_assert_int_eq(kit_replay(&kit, false, NULL), 0);
    ck_assert_uint_eq(kit_bad_rows(&kit), 0);
}
END_TEST

START_TEST(a_journal_that_cannot_be_written_ends_replay)
{
    struct log_block torn = data_unit(6, 1, 0);

    data_unit(7, 1, 1);
    rot(torn.nr);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    fail_result = -EIO;
    fail_file = kit_journal(&kit);
    fail_op = IO_WRITE;
    fail_from = kit.data_offset[kit_journal(&kit)];
    crash_io_hook = fail_file_op;
    ck_assert_int_eq(kit_replay(&kit, false, NULL), -EIO);
    ck_assert_msg(strstr(kit.why, "cannot be written") != NULL, "%s", kit.why);
}
END_TEST

/* Sequence 25: 24 images in the kit's cache, 150 open rows in the log. */
START_TEST(more_open_rows_than_memory_are_written_out_in_batches)
{
    struct recovery_scan scan;

    kit_remove(&kit);
    struct kit_shape shape = KIT_USUAL;
    shape.ring_blocks = 1024;
    kit_create(&kit, &shape);
    for (uint32_t row = 0; row < 150; row++) {
        data_unit(volume_block(row, (parity_slot(row) + 1) % kit.members), row + 1, 0);
    }
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay(&kit, false, &scan), 0);
    ck_assert_uint_eq(scan.open_count, 150);
    for (uint32_t row = 0; row < 150; row++) {
        ck_assert_uint_eq(kit_read_number(&kit, (parity_slot(row) + 1) % kit.members, row),
                          row + 1);
    }
    ck_assert_uint_eq(kit_bad_rows(&kit), 0);
}
END_TEST

static TCase *new_case(Suite *suite, const char *name)
{
    TCase *made = tcase_create(name);

    tcase_add_checked_fixture(made, make_array, drop_array);
    tcase_set_timeout(made, 120);
    suite_add_tcase(suite, made);
    return made;
}

int main(void)
{
    Suite *suite = suite_create("recovery_replay");
    TCase *sequences = new_case(suite, "sequences");
    TCase *failures = new_case(suite, "failures");

    tcase_add_test(sequences, a_stale_successor_never_follows_a_new_unit);
    tcase_add_test(sequences, replay_of_a_replayed_log_changes_no_byte);
    tcase_add_test(sequences, closed_layers_reach_the_members_and_open_ones_do_not);
    tcase_add_test(sequences, a_lost_block_is_derived_from_the_closed_layer);
    tcase_add_test(sequences, live_log_is_never_overwritten);
    tcase_add_test(sequences, accepted_damage_leaves_nothing_between_the_stop_and_the_tail);
    tcase_add_test(sequences, after_accepted_damage_parity_fits_what_the_members_hold);
    tcase_add_test(sequences, an_accepted_damaged_head_becomes_an_empty_log);
    tcase_add_test(failures, a_member_that_fails_its_write_is_faulted_and_replay_goes_on);
    tcase_add_test(failures, a_full_host_disk_ends_replay_and_the_next_one_finishes_it);
    tcase_add_test(failures, a_journal_that_cannot_be_written_ends_replay);
    tcase_add_test(failures, more_open_rows_than_memory_are_written_out_in_batches);
    return kit_run(suite);
}
