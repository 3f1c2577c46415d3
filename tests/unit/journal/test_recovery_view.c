/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The read-only view: single blocks and long reads, and what cannot be read any more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crash_io.h"
#include "recovery_kit.h"
#include "recovery_view.h"

#define LONG_BLOCKS 96u

static struct recovery_kit kit;
static struct recovery_view view;
static uint8_t *buffer;

/* Chunks of 16 blocks on 4 members: blocks 0, 16, 32 of the volume share row 0, and so on. Rows 0
 * to 5 hold 1, 2, 4 times 100 plus the row; row 1 is closed over its first block, row 2 open, row 3
 * both. */
static void make_array(void)
{
    crash_io_use(kit_below);
    kit_seed("view");
    kit_create(&kit, &KIT_USUAL);
    for (uint64_t row = 0; row < 6; row++) {
        uint64_t sum = 0;
        for (uint64_t i = 0; i < 3; i++) {
            uint64_t number = (UINT64_C(100) << i) + row;
            struct placement at = geometry_locate(&kit.geometry, fs_block(16 * i + row));
            kit_write_number(&kit, at.slot, row, number);
            sum ^= number;
        }
        kit_write_number(&kit, geometry_parity_slot(&kit.geometry, member_block(row)), row, sum);
    }
    kit_unit(&kit, &KIT_DATA(1, 1001), 1, 0);
    kit_unit(&kit, &KIT_PARITY(1, 1001 ^ 201 ^ 401), 1, 0);
    kit_unit(&kit, &KIT_DATA(2, 1002), 1, 0);
    kit_unit(&kit, &KIT_DATA(3, 1003), 1, 0);
    kit_unit(&kit, &KIT_PARITY(3, 1003 ^ 203 ^ 403), 1, 0);
    kit_unit(&kit, &KIT_DATA(19, 2003), 1, 0);
    buffer = aligned_alloc(BLOCK_BYTES, (size_t)LONG_BLOCKS * BLOCK_BYTES);
    ck_assert_ptr_nonnull(buffer);
}

static void drop_array(void)
{
    crash_io_hook = NULL;
    free(buffer);
    kit_remove(&kit);
}

static void open_view(uint32_t missing)
{
    kit_assemble(&kit, true, missing);
    ck_assert_int_eq(recovery_view_init(&view, kit.array, kit.queue, false, kit.why), 0);
}

static uint64_t expected_number(uint64_t block)
{
    uint64_t row = block % 16;

    if (block >= 48 || row >= 6) {
        return 0;
    }
    if (block == 1 || block == 2 || block == 3) {
        return 1000 + block;
    }
    return block == 19 ? 2003 : (UINT64_C(100) << block / 16) + row;
}

static void expect_blocks(uint64_t first, uint32_t count)
{
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(first), count, buffer),
                     0);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = 0;
        const uint8_t *page = buffer + (size_t)i * BLOCK_BYTES;
        memcpy(&number, page, sizeof(number));
        ck_assert_uint_eq(number, expected_number(first + i));
        ck_assert(memcmp(page, page + 8, BLOCK_BYTES - 8) == 0);
    }
}

START_TEST(every_block_comes_from_its_newest_layer_whatever_is_missing)
{
    for (uint32_t missing = 0; missing <= kit.members; missing++) {
        open_view(missing == kit.members ? KIT_NO_SLOT : missing);
        for (uint64_t block = 0; block < 64; block++) {
            expect_blocks(block, 1);
        }
        recovery_view_fini(&view);
        kit_close(&kit);
    }
}
END_TEST

START_TEST(a_long_read_is_the_sum_of_its_blocks)
{
    open_view(KIT_NO_SLOT);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t first = kit_below(64);
        expect_blocks(first, 1 + kit_below(LONG_BLOCKS - first));
    }
    recovery_view_fini(&view);
}
END_TEST

START_TEST(beyond_the_volume_there_is_nothing_to_read)
{
    uint64_t end = kit.geometry.volume_blocks;

    open_view(KIT_NO_SLOT);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(end), 1, buffer),
                     -EINVAL);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(UINT64_MAX), 2, buffer),
                     -EINVAL);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(end - 1), 2, buffer),
                     -EINVAL);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(end), 0, buffer), 0);
    recovery_view_fini(&view);
}
END_TEST

START_TEST(a_page_that_changed_since_the_scan_is_an_error)
{
    open_view(KIT_NO_SLOT);
    /* Block 2 of the volume: the page behind the third unit, which begins at block 5. */
    kit_write_number(&kit, kit_journal(&kit), 6, 666);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(2), 1, buffer), -EIO);
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(0), 8, buffer), -EIO);
    expect_blocks(3, 5);
    recovery_view_fini(&view);
}
END_TEST

static uint32_t bad_slots;

/* Row 1 of those members cannot be read. */
static bool fail_row_1(const struct io_request *request, int *out_result)
{
    *out_result = -EIO;
    for (uint32_t slot = 0; slot < kit.members; slot++) {
        uint64_t bad = kit.data_offset[slot] + BLOCK_BYTES;
        if ((bad_slots >> slot & 1) != 0 && strcmp(request->file->path, kit.paths[slot]) == 0 &&
            request->op == IO_READ && request->offset_bytes <= bad &&
            bad < request->offset_bytes + request->iovecs[0].iov_len) {
            return true;
        }
    }
    return false;
}

START_TEST(a_bad_sector_in_a_closed_row_is_derived_from_the_closed_layer)
{
    /* Block 17 is in row 1, not in the log; raid would derive it from what the members hold. */
    open_view(KIT_NO_SLOT);
    bad_slots = 1u << geometry_locate(&kit.geometry, fs_block(17)).slot;
    crash_io_hook = fail_row_1;
    expect_blocks(17, 1);
    expect_blocks(0, 48);
    /* A second one in the same row is one too many. */
    bad_slots |= 1u << geometry_locate(&kit.geometry, fs_block(33)).slot;
    ck_assert_int_eq(recovery_view_read_blocks(&view, kit.queue, fs_block(17), 1, buffer), -EIO);
    /* What the log holds does not need the members. */
    expect_blocks(1, 1);
    recovery_view_fini(&view);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery_view");
    TCase *view_case = tcase_create("view");

    tcase_add_checked_fixture(view_case, make_array, drop_array);
    tcase_set_timeout(view_case, 60);
    tcase_add_test(view_case, every_block_comes_from_its_newest_layer_whatever_is_missing);
    tcase_add_test(view_case, a_long_read_is_the_sum_of_its_blocks);
    tcase_add_test(view_case, beyond_the_volume_there_is_nothing_to_read);
    tcase_add_test(view_case, a_page_that_changed_since_the_scan_is_an_error);
    tcase_add_test(view_case, a_bad_sector_in_a_closed_row_is_derived_from_the_closed_layer);
    suite_add_tcase(suite, view_case);
    return kit_run(suite);
}
