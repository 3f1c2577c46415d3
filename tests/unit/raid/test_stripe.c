/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stripe.c and stripe_fill.c: every case of the table, against a naive model and the members. */
#include <check.h>
#include <errno.h>
#include <string.h>

#include "stripe_kit.h"

#define STEPS 60u

static struct stripe_kit kit;

static const struct {
    uint32_t members;
    uint32_t chunk_sectors;
} shapes[] = {
    {3, 8},
    {3, 128},
    {3, 1024},
    {4, 8},
    {4, 128},
    {4, 1024},
    {5, 8},
    {5, 128},
    {5, 1024},
    {8, 8},
    {8, 128},
    {8, 1024},
};
#define SHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

START_TEST(random_write_outs_keep_data_and_parity)
{
    volume_kit_seed("random_write_outs_keep_data_and_parity");
    stripe_kit_open(&kit, shapes[_i].members, shapes[_i].chunk_sectors, false);
    for (uint32_t step = 0; step < STEPS; step++) {
        stripe_kit_add_random_batch(&kit);
        stripe_kit_write_out_all(&kit);
    }
    volume_kit_expect_on_members(&kit.volume);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(random_write_outs_without_any_one_member_keep_the_data)
{
    volume_kit_seed("random_write_outs_without_any_one_member_keep_the_data");
    for (uint32_t lost = 0; lost < shapes[_i].members; lost++) {
        stripe_kit_open(&kit, shapes[_i].members, shapes[_i].chunk_sectors, false);
        volume_kit_lose(&kit.volume, lost);
        for (uint32_t step = 0; step < STEPS / 2; step++) {
            stripe_kit_add_random_batch(&kit);
            stripe_kit_write_out_all(&kit);
        }
        volume_kit_expect_readable(&kit.volume);
        stripe_kit_close(&kit);
    }
}
END_TEST

/* The data slots of row 0 in order: with five members, parity is in slot 4. */
#define ROW0_PARITY 4u

struct fill_case {
    const char *what;
    uint32_t lost;    /* a slot, or ARRAY_NO_SLOT */
    uint32_t targets; /* data slots 0 to 3, one bit each */
    bool reconstruct;
    bool parity_missing;
    uint32_t reads;
};

static const struct fill_case fill_cases[] = {
    {"healthy, one target", ARRAY_NO_SLOT, 0x1, false, false, 2},
    {"healthy, two targets", ARRAY_NO_SLOT, 0x3, true, false, 2},
    {"healthy, three targets", ARRAY_NO_SLOT, 0x7, true, false, 1},
    {"healthy, all", ARRAY_NO_SLOT, 0xf, true, false, 0},
    {"parity lost, one target", ROW0_PARITY, 0x2, false, true, 0},
    {"parity lost, all", ROW0_PARITY, 0xf, false, true, 0},
    {"a target lost, alone", 0, 0x1, true, false, 3},
    {"a target lost, of two", 1, 0x3, true, false, 2},
    {"a target lost, of all", 3, 0xf, true, false, 0},
    {"another lost, one target", 2, 0x1, false, false, 2},
    {"another lost, three targets", 3, 0x7, false, false, 4},
};
#define FILL_CASES ((int)(sizeof(fill_cases) / sizeof(fill_cases[0])))

START_TEST(each_case_reads_what_the_table_says_and_loses_nothing)
{
    const struct fill_case *fill = &fill_cases[_i];
    volume_kit_seed(fill->what);
    stripe_kit_open(&kit, 5, 128, true);
    if (fill->lost != ARRAY_NO_SLOT) {
        volume_kit_lose(&kit.volume, fill->lost);
    }
    stripe_kit_add_targets(&kit, 0, fill->targets);
    stripe_kit_watch(&kit);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_FILLED);
    ck_assert_uint_eq(kit.watch.reads, fill->reads);
    ck_assert_int_eq(kit.heads[0]->parity_missing, fill->parity_missing);
    ck_assert(fill->parity_missing || kit.heads[0]->reconstruct == fill->reconstruct);
    stripes_encode(&kit.cache, kit.heads, 1);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_ENCODED);
    ck_assert_int_eq(kit.heads[0]->parity == NULL, fill->parity_missing);
    ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1), 0);
    uint32_t places = (uint32_t)__builtin_popcount(fill->targets | 1u << ROW0_PARITY);
    bool skipped =
        fill->lost != ARRAY_NO_SLOT && ((fill->targets | 1u << ROW0_PARITY) >> fill->lost & 1) != 0;
    ck_assert_uint_eq(kit.watch.writes, places - skipped);
    stripe_kit_note_targets(&kit);
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_readable(&kit.volume);
    if (fill->lost == ARRAY_NO_SLOT) {
        volume_kit_expect_on_members(&kit.volume);
    }
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(with_two_members_lost_a_row_fails_and_keeps_its_images)
{
    stripe_kit_open(&kit, 5, 128, true);
    volume_kit_lose(&kit.volume, 0);
    ck_assert_int_eq(array_member_fault(kit.volume.array, kit.volume.queue, 1, "test"), -EIO);
    stripe_kit_add_targets(&kit, 0, 0xf);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), -EIO);
    ck_assert_int_eq(kit.heads[0]->state, STRIPE_FAILED);
    ck_assert_uint_eq(kit.heads[0]->image_count, 4);
    ck_assert_uint_eq(pool_free_count(&kit.cache.encode), kit.cache.encode.stats.size);
    stripe_kit_drop_heads(&kit);
    stripe_kit_close(&kit);
}
END_TEST

/* ---- reads that fail ---- */

static const struct {
    const char *what;
    uint32_t unreadable; /* slots, one bit each */
    uint32_t lost;
    uint32_t targets;
    bool possible;
} read_cases[] = {
    {"parity unreadable", 0x10, ARRAY_NO_SLOT, 0x1, true},
    {"the target unreadable", 0x1, ARRAY_NO_SLOT, 0x1, true},
    {"another unreadable", 0x4, ARRAY_NO_SLOT, 0x3, true},
    {"another unreadable, all but it written", 0x8, ARRAY_NO_SLOT, 0x7, true},
    {"two others unreadable", 0x6, ARRAY_NO_SLOT, 0x9, true},
    {"parity and the target unreadable", 0x11, ARRAY_NO_SLOT, 0x1, true},
    {"parity and another unreadable", 0x14, ARRAY_NO_SLOT, 0x1, false},
    {"parity lost, a target unreadable", 0x1, ROW0_PARITY, 0x1, true},
    {"a target lost, another unreadable", 0x2, 0, 0x1, false},
    {"a target lost, parity unreadable", 0x10, 0, 0x1, true},
    {"another lost, the target unreadable", 0x1, 3, 0x1, false},
    {"another lost, one more unreadable", 0x4, 3, 0x1, true},
};
#define READ_CASES ((int)(sizeof(read_cases) / sizeof(read_cases[0])))

START_TEST(a_read_error_is_avoided_where_the_row_allows)
{
    volume_kit_seed(read_cases[_i].what);
    stripe_kit_open(&kit, 5, 128, true);
    if (read_cases[_i].lost != ARRAY_NO_SLOT) {
        volume_kit_lose(&kit.volume, read_cases[_i].lost);
    }
    stripe_kit_add_targets(&kit, 0, read_cases[_i].targets);
    stripe_kit_add_targets(&kit, 1, read_cases[_i].targets);
    stripe_kit_fail(&kit, IO_READ, read_cases[_i].unreadable, -EIO);
    int error = stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 2);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(error, read_cases[_i].possible ? 0 : -EIO);
    if (read_cases[_i].possible) {
        stripes_encode(&kit.cache, kit.heads, 2);
        ck_assert_int_eq(stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 2), 0);
        stripe_kit_note_targets(&kit);
    } else {
        ck_assert_int_eq(kit.heads[0]->state, STRIPE_FAILED);
        ck_assert_int_eq(kit.heads[1]->state, STRIPE_FAILED);
        ck_assert_uint_eq(pool_free_count(&kit.cache.encode), kit.cache.encode.stats.size);
    }
    stripe_kit_drop_heads(&kit);
    volume_kit_expect_readable(&kit.volume);
    if (read_cases[_i].lost == ARRAY_NO_SLOT) {
        volume_kit_expect_on_members(&kit.volume);
        ck_assert_int_eq(array_state(kit.volume.array), ARRAY_CLEAN);
    }
    stripe_kit_close(&kit);
}
END_TEST

/* Reads of slot 1 that touch row 3 fail. */
static bool fail_row_3(void *context, const struct io_request *request, int *out_result)
{
    uint32_t *hits = context;
    uint64_t at = array_slot_offset_bytes(kit.volume.array, 1, member_block(3));
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        bytes += request->iovecs[i].iov_len;
    }
    if (request->op != IO_READ || request->file != array_slot_file(kit.volume.array, 1) ||
        request->offset_bytes > at || request->offset_bytes + bytes <= at) {
        return false;
    }
    (*hits)++;
    *out_result = -EIO;
    return true;
}

START_TEST(one_bad_block_costs_only_its_row)
{
    uint32_t hits = 0;
    volume_kit_seed("one_bad_block_costs_only_its_row");
    stripe_kit_open(&kit, 5, 128, true);
    volume_kit_lose(&kit.volume, 0);
    for (uint64_t row = 0; row < 8; row++) {
        stripe_kit_add_targets(&kit, row, 0x1);
    }
    hook_io_set(fail_row_3, &hits);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 8), -EIO);
    ck_assert_uint_eq(hits, 2); /* together, and alone */
    for (uint32_t i = 0; i < 8; i++) {
        ck_assert_int_eq(kit.heads[i]->state, i == 3 ? STRIPE_FAILED : STRIPE_FILLED);
    }
    hook_io_set(NULL, NULL);
    stripes_abandon(&kit.cache, kit.heads, 8);
    stripe_kit_write_out_all(&kit);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_failed_row_can_be_filled_when_the_read_works_again)
{
    volume_kit_seed("a_failed_row_can_be_filled_when_the_read_works_again");
    stripe_kit_open(&kit, 5, 128, true);
    volume_kit_lose(&kit.volume, 3);
    stripe_kit_add_targets(&kit, 0, 0x1);
    stripe_kit_fail(&kit, IO_READ, 0x1, -EIO);
    ck_assert_int_eq(stripes_fill(&kit.cache, kit.volume.queue, kit.heads, 1), -EIO);
    hook_io_set(NULL, NULL);
    stripe_kit_write_out_all(&kit);
    volume_kit_expect_readable(&kit.volume);
    stripe_kit_close(&kit);
}
END_TEST

static Suite *stripe_suite(void)
{
    Suite *suite = suite_create("stripe");
    TCase *random = tcase_create("random");
    TCase *cases = tcase_create("cases");

    tcase_set_timeout(random, 250);
    tcase_add_loop_test(random, random_write_outs_keep_data_and_parity, 0, SHAPES);
    tcase_add_loop_test(random, random_write_outs_without_any_one_member_keep_the_data, 0, SHAPES);
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(
        cases, each_case_reads_what_the_table_says_and_loses_nothing, 0, FILL_CASES);
    tcase_add_test(cases, with_two_members_lost_a_row_fails_and_keeps_its_images);
    tcase_add_loop_test(cases, a_read_error_is_avoided_where_the_row_allows, 0, READ_CASES);
    tcase_add_test(cases, one_bad_block_costs_only_its_row);
    tcase_add_test(cases, a_failed_row_can_be_filled_when_the_read_works_again);
    suite_add_tcase(suite, random);
    suite_add_tcase(suite, cases);
    return suite;
}

int main(void)
{
    return array_kit_run(stripe_suite());
}
