/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rounding at its edges, and the bytes of little-endian integers. */
#include <string.h>

#include "kit.h"
#include "r5fs/base/endian.h"
#include "r5fs/base/units.h"

START_TEST(rounding_is_exact_at_the_edges)
{
    ck_assert_uint_eq(div_round_up(0, 7), 0);
    ck_assert_uint_eq(div_round_up(1, 7), 1);
    ck_assert_uint_eq(div_round_up(7, 7), 1);
    ck_assert_uint_eq(div_round_up(8, 7), 2);
    ck_assert_uint_eq(div_round_up(UINT64_MAX, 2), UINT64_MAX / 2 + 1);
    ck_assert_uint_eq(div_round_up(UINT64_MAX, 1), UINT64_MAX);
    ck_assert_uint_eq(round_up(4095, 4096), 4096);
    ck_assert_uint_eq(round_up(4096, 4096), 4096);
    ck_assert_uint_eq(round_down(4095, 4096), 0);
    ck_assert_uint_eq(round_down(8191, 4096), 4096);
    ck_assert_uint_eq(min_u64(UINT64_MAX, 1), 1);
    ck_assert_uint_eq(max_u64(UINT64_MAX, 1), UINT64_MAX);
}
END_TEST

START_TEST(block_sizes_agree)
{
    ck_assert_uint_eq(1u << BLOCK_SHIFT, BLOCK_BYTES);
    ck_assert_uint_eq(BLOCK_SECTORS * SECTOR_BYTES, BLOCK_BYTES);
    ck_assert_uint_eq(fs_block_add(fs_block(40), 2).nr, 42);
}
END_TEST

START_TEST(disk_integers_are_little_endian)
{
    static const uint8_t expected[] = {0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
    le16 two = le16_make(0x0708);
    le32 four = le32_make(0x05060708);
    le64 eight = le64_make(0x0102030405060708);

    ck_assert_mem_eq(two.bytes, expected, 2);
    ck_assert_mem_eq(four.bytes, expected, 4);
    ck_assert_mem_eq(eight.bytes, expected, 8);
    ck_assert_uint_eq(le16_get(two), 0x0708);
    ck_assert_uint_eq(le32_get(four), 0x05060708);
    ck_assert_uint_eq(le64_get(eight), 0x0102030405060708);
    ck_assert_uint_eq(_Alignof(le64), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("units");
    TCase *numbers = tcase_create("numbers");

    tcase_add_test(numbers, rounding_is_exact_at_the_edges);
    tcase_add_test(numbers, block_sizes_agree);
    tcase_add_test(numbers, disk_integers_are_little_endian);
    suite_add_tcase(suite, numbers);
    return kit_run(suite);
}
