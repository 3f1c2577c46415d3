/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring's arithmetic against counting step by step. */
#include <signal.h>

#include "log_ring.h"
#include "recovery_kit.h"

static const uint64_t sizes[] = {2, 3, 7, 64, 1000};

START_TEST(advance_and_distance_agree_with_single_steps)
{
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct log_ring ring = {.blocks = sizes[s], .offset_bytes = 1 << 20};
        for (uint64_t from = 0; from < ring.blocks; from += 1 + ring.blocks / 40) {
            struct log_block at = log_block(from);
            for (uint64_t steps = 0; steps < ring.blocks; steps++) {
                ck_assert_uint_eq(log_ring_advance(&ring, log_block(from), steps).nr, at.nr);
                ck_assert_uint_eq(log_ring_distance(&ring, log_block(from), at), steps);
                at = log_block(at.nr + 1 == ring.blocks ? 0 : at.nr + 1);
            }
            ck_assert_uint_eq(log_ring_advance(&ring, log_block(from), ring.blocks).nr, from);
        }
    }
}
END_TEST

START_TEST(a_range_splits_where_the_ring_ends)
{
    struct log_ring ring = {.blocks = 100, .offset_bytes = 8192};
    struct log_run runs[2];

    ck_assert_uint_eq(log_ring_split(&ring, log_block(10), 90, runs), 1);
    ck_assert_uint_eq(runs[0].offset_bytes, 8192 + 10 * BLOCK_BYTES);
    ck_assert_uint_eq(runs[0].count, 90);
    ck_assert_uint_eq(log_ring_split(&ring, log_block(10), 91, runs), 2);
    ck_assert_uint_eq(runs[0].count, 90);
    ck_assert_uint_eq(runs[1].offset_bytes, 8192);
    ck_assert_uint_eq(runs[1].count, 1);
    ck_assert_uint_eq(log_ring_split(&ring, log_block(99), 100, runs), 2);
    ck_assert_uint_eq(runs[0].count, 1);
    ck_assert_uint_eq(runs[1].count, 99);
    ck_assert_uint_eq(log_ring_split(&ring, log_block(5), 0, runs), 0);
}
END_TEST

START_TEST(a_position_outside_is_our_mistake)
{
    struct log_ring ring = {.blocks = 100};

    ck_assert(!log_ring_contains(&ring, log_block(100)));
    (void)log_ring_advance(&ring, log_block(100), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_ring");
    TCase *ring = tcase_create("arithmetic");

    tcase_add_test(ring, advance_and_distance_agree_with_single_steps);
    tcase_add_test(ring, a_range_splits_where_the_ring_ends);
    tcase_add_test_raise_signal(ring, a_position_outside_is_our_mistake, SIGABRT);
    suite_add_tcase(suite, ring);
    return kit_run(suite);
}
