/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arena: what is handed out is zeroed, aligned, inside and disjoint; the seal holds. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "kit.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/units.h"

static bool all_are(uint8_t value, const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

START_TEST(main_arena_hands_out_every_byte_and_then_none)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, 10 * BLOCK_BYTES, false), 0);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(arena_left(&arena), (10 - i) * BLOCK_BYTES);
        uint8_t *block = arena_take(&arena, BLOCK_BYTES, BLOCK_BYTES);
        ck_assert_ptr_eq(block, arena.base + i * BLOCK_BYTES);
        ck_assert(all_are(0, block, BLOCK_BYTES));
        memset(block, 0xa5, BLOCK_BYTES);
    }
    ck_assert_uint_eq(arena_left(&arena), 0);
    ck_assert_ptr_null(arena_try_take(&arena, 1, 1));
    ck_assert_ptr_nonnull(arena_try_take(&arena, 0, 1));
    arena_fini(&arena);
}
END_TEST

START_TEST(refused_request_takes_nothing)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, false), 0);
    (void)arena_take(&arena, 1, 1);
    ck_assert_ptr_null(arena_try_take(&arena, BLOCK_BYTES, 1));
    ck_assert_ptr_null(arena_try_take(&arena, 1, BLOCK_BYTES)); /* only the padding would fit */
    ck_assert_ptr_null(arena_try_take(&arena, SIZE_MAX, 1));
    ck_assert_ptr_null(arena_try_take(&arena, SIZE_MAX, 64));
    ck_assert_uint_eq(arena_left(&arena), BLOCK_BYTES - 1);
    arena_fini(&arena);
}
END_TEST

/* Loop: 0 a main arena, 1 a growing one. */
START_TEST(random_objects_are_aligned_zeroed_and_disjoint)
{
    enum { OBJECTS = 400 };
    static uint8_t *objects[OBJECTS];
    static size_t sizes[OBJECTS];
    struct arena arena;

    kit_seed("random_objects");
    if (_i == 0) {
        ck_assert_int_eq(arena_init(&arena, (size_t)256 << 20, false), 0);
    } else {
        arena_init_growing(&arena);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        size_t align = (size_t)1 << kit_below(13);
        sizes[i] = kit_below(8) == 0 ? kit_below(600000) : kit_below(5000);
        objects[i] = arena_take(&arena, sizes[i], align);
        ck_assert_uint_eq((uintptr_t)objects[i] % align, 0);
        ck_assert(all_are(0, objects[i], sizes[i]));
        memset(objects[i], (int)(i % 255 + 1), sizes[i]);
    }
    /* Had two overlapped, the later would have written over the earlier. */
    for (unsigned i = 0; i < OBJECTS; i++) {
        ck_assert(all_are((uint8_t)(i % 255 + 1), objects[i], sizes[i]));
    }
    arena_fini(&arena);
}
END_TEST

START_TEST(growing_arena_serves_small_requests_from_one_chunk_around_a_large_one)
{
    struct arena arena;

    arena_init_growing(&arena);
    uint8_t *first = arena_take(&arena, 64, 64);
    uint8_t *large = arena_take(&arena, (size_t)8 << 20, BLOCK_BYTES);
    uint8_t *second = arena_take(&arena, 64, 64);
    large[((size_t)8 << 20) - 1] = 1;
    ck_assert_ptr_eq(second, first + 64);
    ck_assert_uint_eq(arena_left(&arena), SIZE_MAX);
    ck_assert_uint_eq(arena.used_bytes, ((size_t)8 << 20) + 128);
    arena_fini(&arena);
}
END_TEST

/* A sanitizer's own allocator would end the process instead. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
START_TEST(growing_arena_answers_null_where_the_system_has_no_memory)
{
    struct arena arena;

    arena_init_growing(&arena);
    ck_assert_ptr_null(arena_try_take(&arena, SIZE_MAX, 1));
    ck_assert_ptr_null(arena_try_take(&arena, SIZE_MAX - 64, 16));
    ck_assert_ptr_null(arena_try_take(&arena, (size_t)1 << 60, BLOCK_BYTES));
    ck_assert_uint_eq(arena.used_bytes, 0);
    ck_assert_ptr_nonnull(arena_try_take(&arena, 1, 1));
    arena_fini(&arena);
}
END_TEST
#endif

START_TEST(mapping_too_large_is_an_error)
{
    struct arena arena;

    ck_assert_int_lt(arena_init(&arena, (size_t)1 << 60, false), 0);
}
END_TEST

START_TEST(lock_is_tried_and_its_refusal_is_no_error)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, true), 0);
    uint8_t *block = arena_take(&arena, BLOCK_BYTES, BLOCK_BYTES);
    block[0] = 1;
    arena_fini(&arena);
    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, false), 0);
    ck_assert(!arena.locked);
    arena_fini(&arena);
}
END_TEST

START_TEST(fini_twice_is_harmless)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, false), 0);
    arena_seal(&arena);
    arena_fini(&arena);
    arena_fini(&arena);
    arena_init_growing(&arena);
    (void)arena_take(&arena, 1, 1);
    arena_fini(&arena);
    arena_fini(&arena);
}
END_TEST

START_TEST(exhausted_main_arena_aborts)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, false), 0);
    (void)arena_take(&arena, BLOCK_BYTES + 1, 1);
}
END_TEST

START_TEST(request_after_the_seal_aborts)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, BLOCK_BYTES, false), 0);
    arena_seal(&arena);
    (void)arena_take(&arena, 1, 1);
}
END_TEST

START_TEST(try_take_after_the_seal_aborts_also_when_growing)
{
    struct arena arena;

    arena_init_growing(&arena);
    arena_seal(&arena);
    (void)arena_try_take(&arena, 1, 1);
}
END_TEST

/* Loop: alignments that are none. */
static const size_t bad_aligns[] = {0, 3, 48, 8192};

START_TEST(bad_alignment_aborts)
{
    struct arena arena;

    ck_assert_int_eq(arena_init(&arena, 10 * BLOCK_BYTES, false), 0);
    (void)arena_try_take(&arena, 1, bad_aligns[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *take = tcase_create("take");
    TCase *mistakes = tcase_create("mistakes");

    tcase_add_test(take, main_arena_hands_out_every_byte_and_then_none);
    tcase_add_test(take, refused_request_takes_nothing);
    tcase_add_loop_test(take, random_objects_are_aligned_zeroed_and_disjoint, 0, 2);
    tcase_add_test(take, growing_arena_serves_small_requests_from_one_chunk_around_a_large_one);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(take, growing_arena_answers_null_where_the_system_has_no_memory);
#endif
    tcase_add_test(take, mapping_too_large_is_an_error);
    tcase_add_test(take, lock_is_tried_and_its_refusal_is_no_error);
    tcase_add_test(take, fini_twice_is_harmless);
    tcase_add_test_raise_signal(mistakes, exhausted_main_arena_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, request_after_the_seal_aborts, SIGABRT);
    tcase_add_test_raise_signal(
        mistakes, try_take_after_the_seal_aborts_also_when_growing, SIGABRT);
    tcase_add_loop_test_raise_signal(mistakes, bad_alignment_aborts, SIGABRT, 0, 4);
    suite_add_tcase(suite, take);
    suite_add_tcase(suite, mistakes);
    return kit_run(suite);
}
