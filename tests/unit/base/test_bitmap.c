/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bitmap: every function against an array of bools, inside guard bytes that must not change. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "kit.h"
#include "r5fs/base/bitmap.h"

#define BITS  700u
#define BYTES ((BITS + 7) / 8)
#define GUARD 16u

static uint8_t guarded[BYTES + 2 * GUARD];
static uint8_t *const bits = guarded + GUARD;
static bool model[BITS];

static void make_random(void)
{
    uint32_t density = kit_below(9);

    memset(guarded, 0xc3, sizeof(guarded));
    for (uint32_t i = 0; i < BITS; i++) {
        model[i] = kit_below(8) < density;
        if (model[i]) {
            bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << i % 8);
        } else {
            bits[i / 8] = (uint8_t)(bits[i / 8] & ~(1u << i % 8));
        }
    }
}

static void assert_equals_model(void)
{
    for (uint32_t i = 0; i < BITS; i++) {
        ck_assert_msg(bitmap_get(bits, i) == model[i], "bit %u", i);
        ck_assert_uint_eq((bits[i / 8] >> i % 8) & 1, model[i]);
    }
    for (uint32_t i = 0; i < GUARD; i++) {
        ck_assert_uint_eq(guarded[i], 0xc3);
        ck_assert_uint_eq(bits[BYTES + i], 0xc3);
    }
    /* BITS is no multiple of 8: the last byte has bits of nobody. */
    for (uint32_t i = BITS; i < BYTES * 8; i++) {
        ck_assert_uint_eq((bits[i / 8] >> i % 8) & 1, (0xc3 >> i % 8) & 1);
    }
}

static uint32_t model_next(uint32_t first, uint32_t end, bool value)
{
    while (first < end && model[first] != value) {
        first++;
    }
    return first;
}

static void assert_queries_match(uint32_t first, uint32_t end)
{
    uint32_t set = 0;

    for (uint32_t i = first; i < end; i++) {
        set += model[i];
    }
    ck_assert_uint_eq(bitmap_count_set(bits, first, end - first), set);
    ck_assert_uint_eq(bitmap_next_set(bits, first, end), model_next(first, end, true));
    ck_assert_uint_eq(bitmap_next_clear(bits, first, end), model_next(first, end, false));
    ck_assert_int_eq(bitmap_run_is_set(bits, first, end - first), set == end - first);
    ck_assert_int_eq(bitmap_run_is_clear(bits, first, end - first), set == 0);
}

START_TEST(queries_equal_a_naive_model)
{
    kit_seed("queries_equal_a_naive_model");
    for (unsigned round = 0; round < 300; round++) {
        make_random();
        for (unsigned i = 0; i < 200; i++) {
            uint32_t first = kit_below(BITS + 1);
            assert_queries_match(first, first + kit_below(BITS - first + 1));
        }
    }
}
END_TEST

START_TEST(changes_equal_a_naive_model)
{
    kit_seed("changes_equal_a_naive_model");
    make_random();
    for (unsigned round = 0; round < 3000; round++) {
        bool value = kit_below(2) != 0;
        uint32_t first = kit_below(BITS + 1);
        uint32_t left = BITS - first;
        uint32_t count = kit_below((kit_below(2) != 0 || left < 20 ? left : 20) + 1);
        if (value) {
            bitmap_set_run(bits, first, count);
        } else {
            bitmap_clear_run(bits, first, count);
        }
        for (uint32_t i = first; i < first + count; i++) {
            model[i] = value;
        }
        assert_equals_model();
        assert_queries_match(first, first + count);
    }
}
END_TEST

/* Every run within two words, in a field of the opposite: all corners of the masks. */
START_TEST(every_short_run_is_set_found_and_cleared)
{
    for (uint32_t first = 0; first < 80; first++) {
        for (uint32_t end = first; end <= 144; end++) {
            memset(guarded, 0, sizeof(guarded));
            bitmap_set_run(bits, first, end - first);
            ck_assert_uint_eq(bitmap_count_set(bits, 0, 160), end - first);
            ck_assert_uint_eq(bitmap_next_set(bits, 0, 160), end == first ? 160 : first);
            ck_assert_uint_eq(bitmap_next_clear(bits, first, 160), end);
            ck_assert(bitmap_run_is_set(bits, first, end - first));
            ck_assert(!bitmap_run_is_set(bits, first, end - first + 1));
            bitmap_clear_run(bits, first, end - first);
            ck_assert(bitmap_run_is_clear(bits, 0, 160));
        }
    }
}
END_TEST

START_TEST(empty_run_is_both_set_and_clear)
{
    memset(guarded, 0x55, sizeof(guarded));
    for (uint32_t first = 0; first < 20; first++) {
        ck_assert(bitmap_run_is_set(bits, first, 0));
        ck_assert(bitmap_run_is_clear(bits, first, 0));
        ck_assert_uint_eq(bitmap_next_set(bits, first, first), first);
        ck_assert_uint_eq(bitmap_next_clear(bits, first, first), first);
    }
}
END_TEST

START_TEST(bits_past_the_end_do_not_matter)
{
    uint8_t one[1] = {0x80};

    ck_assert_uint_eq(bitmap_next_set(one, 0, 7), 7);
    ck_assert_uint_eq(bitmap_next_set(one, 0, 8), 7);
    ck_assert_uint_eq(bitmap_count_set(one, 0, 7), 0);
    one[0] = 0x7f;
    ck_assert(bitmap_run_is_set(one, 0, 7));
    ck_assert_uint_eq(bitmap_next_clear(one, 0, 7), 7);
    ck_assert_uint_eq(bitmap_next_clear(one, 0, 8), 7);
}
END_TEST

/* The page before the bytes and the one after cannot be touched. */
START_TEST(bytes_outside_the_run_are_not_read)
{
    size_t page = 4096;
    uint8_t *fence = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(fence, MAP_FAILED);
    ck_assert_int_eq(mprotect(fence + page, page, PROT_READ | PROT_WRITE), 0);
    for (uint32_t bit_count = 1; bit_count <= 200; bit_count++) {
        uint8_t *field = fence + 2 * page - (bit_count + 7) / 8;
        ck_assert_uint_eq(bitmap_count_set(field, 0, bit_count), 0);
        ck_assert(bitmap_run_is_clear(field, 0, bit_count));
        bitmap_set_run(field, 0, bit_count);
        ck_assert(bitmap_run_is_set(field, bit_count / 2, bit_count - bit_count / 2));
        ck_assert_uint_eq(bitmap_count_set(field, 0, bit_count), bit_count);
        bitmap_clear_run(field, 0, bit_count);
    }
    bitmap_set_run(fence + page, 0, 1);
    ck_assert_uint_eq(bitmap_next_clear(fence + page, 0, 8), 1);
    ck_assert_int_eq(munmap(fence, 3 * page), 0);
}
END_TEST

START_TEST(run_beyond_the_last_address_aborts)
{
    bitmap_set_run(bits, 2, UINT32_MAX - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bitmap");
    TCase *runs = tcase_create("runs");

    tcase_set_timeout(runs, 120);
    tcase_add_test(runs, queries_equal_a_naive_model);
    tcase_add_test(runs, changes_equal_a_naive_model);
    tcase_add_test(runs, every_short_run_is_set_found_and_cleared);
    tcase_add_test(runs, empty_run_is_both_set_and_clear);
    tcase_add_test(runs, bits_past_the_end_do_not_matter);
    tcase_add_test(runs, bytes_outside_the_run_are_not_read);
    tcase_add_test_raise_signal(runs, run_beyond_the_last_address_aborts, SIGABRT);
    suite_add_tcase(suite, runs);
    return kit_run(suite);
}
