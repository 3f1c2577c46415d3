/* SPDX-License-Identifier: GPL-2.0-or-later */
/* geometry.c against the published tables of the md layouts, not against its own formulas. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "array_kit.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/geometry.h"

#define P          UINT32_MAX
#define TABLE_ROWS 5

/* Chunk of the volume in each slot, for the first chunk rows of four members; P = parity. */
static const uint32_t layouts_of_four[4][TABLE_ROWS][4] = {
    [LAYOUT_LEFT_ASYMMETRIC] =
        {{0, 1, 2, P}, {3, 4, P, 5}, {6, P, 7, 8}, {P, 9, 10, 11}, {12, 13, 14, P}},
    [LAYOUT_RIGHT_ASYMMETRIC] =
        {{P, 0, 1, 2}, {3, P, 4, 5}, {6, 7, P, 8}, {9, 10, 11, P}, {P, 12, 13, 14}},
    [LAYOUT_LEFT_SYMMETRIC] =
        {{0, 1, 2, P}, {4, 5, P, 3}, {8, P, 6, 7}, {P, 9, 10, 11}, {12, 13, 14, P}},
    [LAYOUT_RIGHT_SYMMETRIC] =
        {{P, 0, 1, 2}, {5, P, 3, 4}, {7, 8, P, 6}, {9, 10, 11, P}, {P, 12, 13, 14}},
};

static struct geometry
make(uint32_t slots, uint32_t chunk_sectors, enum layout layout, uint64_t sectors)
{
    struct geometry geometry;
    ck_assert_int_eq(geometry_init(&geometry, slots, chunk_sectors, layout, sectors), 0);
    return geometry;
}

START_TEST(each_layout_places_chunks_as_md_does)
{
    enum layout layout = (enum layout)_i;
    struct geometry geometry = make(4, 128, layout, 128 * TABLE_ROWS);
    for (uint32_t row = 0; row < TABLE_ROWS; row++) {
        for (uint32_t slot = 0; slot < 4; slot++) {
            uint32_t chunk = layouts_of_four[layout][row][slot];
            struct member_block at = member_block((uint64_t)row * 16 + 3);
            if (chunk == P) {
                ck_assert_uint_eq(geometry_parity_slot(&geometry, at), slot);
                continue;
            }
            struct fs_block block = fs_block((uint64_t)chunk * 16 + 3);
            struct placement place = geometry_locate(&geometry, block);
            ck_assert_uint_eq(place.slot, slot);
            ck_assert_uint_eq(place.row.nr, at.nr);
            ck_assert_uint_eq(geometry_block_at(&geometry, at, slot).nr, block.nr);
        }
    }
}
END_TEST

START_TEST(the_block_a_kernel_logged_is_where_the_kernel_put_it)
{
    /* Array sector 12960 of four members, 64 KiB chunks: parity slot 2, data slot 1, sector
     * 4256. */
    struct geometry geometry = make(4, 128, LAYOUT_LEFT_SYMMETRIC, 128 * 100);
    struct placement place = geometry_locate(&geometry, fs_block(12960 / BLOCK_SECTORS));
    ck_assert_uint_eq(place.row.nr * BLOCK_SECTORS, 4256);
    ck_assert_uint_eq(place.slot, 1);
    ck_assert_uint_eq(geometry_parity_slot(&geometry, place.row), 2);
}
END_TEST

START_TEST(finding_a_block_and_naming_it_are_inverse)
{
    uint64_t seed = env_random_u64();
    printf("seed=%llu\n", (unsigned long long)seed);
    for (uint32_t step = 0; step < 20000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t slots = MEMBERS_MIN + (uint32_t)(seed >> 33) % (MEMBERS_MAX - MEMBERS_MIN + 1);
        uint32_t chunk_sectors = BLOCK_SECTORS << (seed >> 40) % 12;
        struct geometry geometry =
            make(slots, chunk_sectors, (enum layout)(seed >> 50 & 3), UINT64_C(1) << 40);
        struct fs_block block = fs_block((seed >> 7) % geometry.volume_blocks);
        struct placement place = geometry_locate(&geometry, block);
        ck_assert_uint_lt(place.slot, slots);
        ck_assert_uint_lt(place.row.nr, geometry.rows);
        ck_assert_uint_ne(place.slot, geometry_parity_slot(&geometry, place.row));
        ck_assert_uint_eq(geometry_block_at(&geometry, place.row, place.slot).nr, block.nr);
    }
}
END_TEST

START_TEST(every_place_of_every_row_is_used_once)
{
    struct geometry geometry = make(5, 16, (enum layout)_i, 16 * 11);
    bool seen[22][5] = {{false}};
    ck_assert_uint_eq(geometry.rows, 22);
    for (uint64_t nr = 0; nr < geometry.volume_blocks; nr++) {
        struct placement place = geometry_locate(&geometry, fs_block(nr));
        ck_assert(!seen[place.row.nr][place.slot]);
        seen[place.row.nr][place.slot] = true;
    }
    for (uint32_t row = 0; row < 22; row++) {
        ck_assert(!seen[row][geometry_parity_slot(&geometry, member_block(row))]);
    }
}
END_TEST

START_TEST(a_run_ends_with_its_chunk)
{
    struct geometry geometry = make(3, 128, LAYOUT_LEFT_SYMMETRIC, 1280);
    ck_assert_uint_eq(geometry_run(&geometry, fs_block(0), 100), 16);
    ck_assert_uint_eq(geometry_run(&geometry, fs_block(5), 100), 11);
    ck_assert_uint_eq(geometry_run(&geometry, fs_block(5), 3), 3);
    ck_assert_uint_eq(geometry_run(&geometry, fs_block(15), 100), 1);
    ck_assert_uint_eq(geometry_stripe_blocks(&geometry), 32);
}
END_TEST

START_TEST(a_part_of_a_chunk_at_the_end_is_not_used)
{
    struct geometry geometry = make(3, 128, LAYOUT_LEFT_SYMMETRIC, 128 * 7 + 127);
    ck_assert_uint_eq(geometry.rows, 7 * 16);
    ck_assert_uint_eq(geometry.volume_blocks, 7 * 16 * 2);
}
END_TEST

START_TEST(what_no_array_can_have_is_refused)
{
    struct geometry geometry;
    static const struct {
        uint32_t slots;
        uint32_t chunk_sectors;
        uint32_t layout;
        uint64_t sectors;
    } wrong[] = {
        {2, 128, 2, 1280},
        {33, 128, 2, 1280},
        {0, 128, 2, 1280},
        {4, 0, 2, 1280},
        {4, 4, 2, 1280},
        {4, 24, 2, 1280},
        {4, 128, 4, 1280},
        {4, 128, 5, 1280},
        {4, 128, UINT32_MAX, 1280},
        {4, 128, 2, 127},
        {4, 128, 2, 0},
        {4, UINT32_C(1) << 31, 2, UINT64_C(1) << 40},
        {4, 128, 2, UINT64_MAX},
        {4, 128, 2, UINT64_C(1) << 60},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_int_eq(geometry_init(&geometry,
                                       wrong[i].slots,
                                       wrong[i].chunk_sectors,
                                       (enum layout)wrong[i].layout,
                                       wrong[i].sectors),
                         -EINVAL);
    }
}
END_TEST

START_TEST(the_largest_array_does_not_overflow)
{
    struct geometry geometry =
        make(MEMBERS_MAX, 8, LAYOUT_LEFT_SYMMETRIC, (uint64_t)INT64_MAX / SECTOR_BYTES);
    struct fs_block last = fs_block(geometry.volume_blocks - 1);
    struct placement place = geometry_locate(&geometry, last);
    ck_assert_uint_eq(place.row.nr, geometry.rows - 1);
    ck_assert_uint_eq(geometry_block_at(&geometry, place.row, place.slot).nr, last.nr);
}
END_TEST

START_TEST(a_block_beyond_the_volume_is_our_own_mistake)
{
    struct geometry geometry = make(3, 8, LAYOUT_LEFT_SYMMETRIC, 80);
    (void)geometry_locate(&geometry, fs_block(geometry.volume_blocks)); /* must not return */
}
END_TEST

START_TEST(layouts_are_known_by_name_short_name_and_number)
{
    static const char *const given[] = {"left-asymmetric", "la", "0", "right-symmetric", "rs", "3"};
    for (size_t i = 0; i < 6; i++) {
        enum layout layout = LAYOUT_LEFT_SYMMETRIC;
        ck_assert_int_eq(layout_parse(given[i], &layout), 0);
        ck_assert_int_eq(layout, i < 3 ? LAYOUT_LEFT_ASYMMETRIC : LAYOUT_RIGHT_SYMMETRIC);
        ck_assert_str_eq(layout_name(layout), given[i < 3 ? 0 : 3]);
    }
}
END_TEST

START_TEST(an_unknown_layout_is_refused_and_leaves_the_answer_alone)
{
    enum layout layout = LAYOUT_LEFT_SYMMETRIC;
    ck_assert_int_eq(layout_parse("parity-last", &layout), -EINVAL);
    ck_assert_int_eq(layout_parse("4", &layout), -EINVAL);
    ck_assert_int_eq(layout_parse("", &layout), -EINVAL);
    ck_assert_int_eq(layout, LAYOUT_LEFT_SYMMETRIC);
}
END_TEST

static Suite *geometry_suite(void)
{
    Suite *suite = suite_create("geometry");
    TCase *mapping = tcase_create("mapping");
    TCase *names = tcase_create("names");

    tcase_add_loop_test(mapping, each_layout_places_chunks_as_md_does, 0, 4);
    tcase_add_test(mapping, the_block_a_kernel_logged_is_where_the_kernel_put_it);
    tcase_add_test(mapping, finding_a_block_and_naming_it_are_inverse);
    tcase_add_loop_test(mapping, every_place_of_every_row_is_used_once, 0, 4);
    tcase_add_test(mapping, a_run_ends_with_its_chunk);
    tcase_add_test(mapping, a_part_of_a_chunk_at_the_end_is_not_used);
    tcase_add_test(mapping, what_no_array_can_have_is_refused);
    tcase_add_test(mapping, the_largest_array_does_not_overflow);
    tcase_add_test_raise_signal(mapping, a_block_beyond_the_volume_is_our_own_mistake, SIGABRT);
    tcase_add_test(names, layouts_are_known_by_name_short_name_and_number);
    tcase_add_test(names, an_unknown_layout_is_refused_and_leaves_the_answer_alone);
    suite_add_tcase(suite, mapping);
    suite_add_tcase(suite, names);
    return suite;
}

int main(void)
{
    return array_kit_run(geometry_suite());
}
