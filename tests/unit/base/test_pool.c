/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools: never more objects than were carved, counters that add up, mistakes that abort. */
#include <signal.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/units.h"

#define COUNT 32u

static struct arena arena;

static void make_arena(void)
{
    arena_init_growing(&arena);
}

static void drop_arena(void)
{
    arena_fini(&arena);
}

static void make_pool(struct pool *pool,
                      struct arena *from,
                      const char *name,
                      size_t bytes,
                      size_t align,
                      size_t count)
{
    pool_init(pool,
              from,
              &(struct pool_shape){.name = name,
                                   .rank = POOL_RANK_IMAGE,
                                   .object_bytes = bytes,
                                   .align = align,
                                   .count = count});
}

static struct pool_stats stats_of(const char *name)
{
    struct pool_stats all[16];
    unsigned count = pool_collect_stats(all, 16);

    for (unsigned i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return all[i];
        }
    }
    ck_abort_msg("pool %s is not registered", name);
}

START_TEST(empty_pool_answers_null_and_counts_it)
{
    struct pool pool;
    void *objects[COUNT];

    make_pool(&pool, &arena, "p", 100, 8, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(pool_free_count(&pool), COUNT - i);
        objects[i] = pool_try_get(&pool);
        ck_assert_ptr_nonnull(objects[i]);
        memset(objects[i], (int)i, 100);
    }
    ck_assert_ptr_null(pool_try_get(&pool));
    ck_assert_ptr_null(pool_try_get(&pool));
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(*((uint8_t *)objects[i] + 99), i);
        pool_put(&pool, objects[i]);
    }
    struct pool_stats stats = stats_of("p");
    ck_assert_uint_eq(stats.size, COUNT);
    ck_assert_uint_eq(stats.in_use, 0);
    ck_assert_uint_eq(stats.high_water, COUNT);
    ck_assert_uint_eq(stats.failures, 2);
    ck_assert_uint_eq(pool_free_count(&pool), COUNT);
    pool_fini(&pool);
}
END_TEST

START_TEST(high_water_begins_anew_at_what_is_in_use)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 64, 8, COUNT);
    void *first = pool_try_get(&pool);
    void *second = pool_try_get(&pool);
    pool_put(&pool, second);
    ck_assert_uint_eq(stats_of("p").high_water, 2);
    pool_reset_high_water(&pool);
    ck_assert_uint_eq(stats_of("p").high_water, 1);
    pool_put(&pool, first);
    pool_fini(&pool);
}
END_TEST

START_TEST(pool_of_no_objects_is_always_empty)
{
    struct pool pool;

    make_pool(&pool, &arena, "none", 16, 8, 0);
    ck_assert_ptr_null(pool_try_get(&pool));
    ck_assert_uint_eq(pool_free_count(&pool), 0);
    pool_fini(&pool);
}
END_TEST

START_TEST(last_put_is_first_got)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 64, 8, COUNT);
    void *a = pool_try_get(&pool);
    void *b = pool_try_get(&pool);
    pool_put(&pool, a);
    pool_put(&pool, b);
    ck_assert_ptr_eq(pool_try_get(&pool), b);
    ck_assert_ptr_eq(pool_try_get(&pool), a);
    pool_put(&pool, a);
    pool_put(&pool, b);
    pool_fini(&pool);
}
END_TEST

static const struct {
    size_t bytes;
    size_t align;
} shapes[] = {{16, 1}, {17, 1}, {24, 8}, {100, 64}, {4096, 4096}, {4097, 512}, {16, 4096}};

START_TEST(need_is_enough_wherever_the_arena_stands)
{
    size_t need = pool_need(shapes[_i].bytes, shapes[_i].align, COUNT);

    for (size_t before = 0; before < 70; before++) {
        struct arena tight;
        struct pool pool;
        void *objects[COUNT];

        ck_assert_int_eq(arena_init(&tight, before + need, false), 0);
        (void)arena_take(&tight, before, 1);
        make_pool(&pool, &tight, "tight", shapes[_i].bytes, shapes[_i].align, COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            objects[i] = pool_try_get(&pool);
            ck_assert_uint_eq((uintptr_t)objects[i] % shapes[_i].align, 0);
            memset(objects[i], 0xff, shapes[_i].bytes);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            pool_put(&pool, objects[i]);
        }
        pool_fini(&pool);
        arena_fini(&tight);
    }
}
END_TEST

START_TEST(stats_come_in_order_of_registration_and_no_more_than_asked)
{
    struct pool first;
    struct pool second;
    struct pool external;
    struct pool_stats stats[4];

    make_pool(&first, &arena, "first", 16, 8, 1);
    make_pool(&second, &arena, "second", 16, 8, 2);
    pool_init_credits(&external, "external", POOL_RANK_TXN, 1000);
    ck_assert_uint_eq(pool_collect_stats(stats, 4), 3);
    ck_assert_str_eq(stats[0].name, "first");
    ck_assert_str_eq(stats[1].name, "second");
    ck_assert_str_eq(stats[2].name, "external");
    ck_assert_uint_eq(pool_collect_stats(stats, 2), 2);
    ck_assert_uint_eq(pool_collect_stats(stats, 0), 0);
    pool_fini(&second);
    ck_assert_uint_eq(pool_collect_stats(stats, 4), 2);
    ck_assert_str_eq(stats[1].name, "external");
    pool_fini(&first);
    pool_fini(&external);
    ck_assert_uint_eq(pool_collect_stats(stats, 4), 0);
}
END_TEST

START_TEST(waiters_are_counted_and_the_longest_is_kept)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 16, 8, 1);
    pool_note_parked(&pool);
    pool_note_parked(&pool);
    ck_assert_uint_eq(stats_of("p").parked, 2);
    pool_note_served(&pool, 700);
    pool_note_served(&pool, 30);
    ck_assert_uint_eq(stats_of("p").parked, 0);
    ck_assert_uint_eq(stats_of("p").parked_ever, 2);
    ck_assert_uint_eq(stats_of("p").longest_wait_us, 700);
    pool_fini(&pool);
}
END_TEST

START_TEST(external_counters_follow_what_they_are_told)
{
    struct pool pool;

    pool_init_credits(&pool, "log space", POOL_RANK_LOG_SPACE, 1000);
    pool_credits_set(&pool, 900);
    pool_credits_set(&pool, 200);
    ck_assert(!pool_reserve(&pool, 801));
    struct pool_stats stats = stats_of("log space");
    ck_assert_uint_eq(stats.size, 1000);
    ck_assert_uint_eq(stats.in_use, 200);
    ck_assert_uint_eq(stats.high_water, 900);
    ck_assert_uint_eq(stats.failures, 1);
    ck_assert_uint_eq(pool_free_count(&pool), 800);
    pool_credits_set(&pool, 1001);
    ck_assert_uint_eq(pool_free_count(&pool), 0);
    pool_fini(&pool);
}
END_TEST

static struct pool shared;

/* Takes a few, signs them, looks whether someone else signed too, gives them back. */
static void hammer(void *context)
{
    uint64_t signature = (uint64_t)(uintptr_t)context;

    for (unsigned round = 0; round < 20000; round++) {
        uint64_t *objects[3];
        for (unsigned i = 0; i < 3; i++) {
            objects[i] = pool_try_get(&shared);
            if (objects[i] != NULL) {
                objects[i][2] = signature;
            }
        }
        for (unsigned i = 0; i < 3; i++) {
            if (objects[i] != NULL) {
                ck_assert_uint_eq(objects[i][2], signature);
                pool_put(&shared, objects[i]);
            }
        }
    }
}

START_TEST(no_object_has_two_owners_among_threads)
{
    struct env_thread *threads[4];

    make_pool(&shared, &arena, "shared", 24, 8, 7);
    for (uintptr_t i = 0; i < 4; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "hammer", hammer, (void *)(i + 1)), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_uint_eq(pool_free_count(&shared), 7);
    pool_fini(&shared);
}
END_TEST

START_TEST(giving_back_more_than_was_taken_aborts)
{
    struct pool pool;
    uint64_t stranger[4];

    make_pool(&pool, &arena, "p", 32, 8, 4);
    pool_put(&pool, stranger);
}
END_TEST

START_TEST(stopping_with_an_object_out_aborts)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 32, 8, 4);
    (void)pool_try_get(&pool);
    pool_fini(&pool);
}
END_TEST

START_TEST(stopping_with_a_waiter_aborts)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 32, 8, 4);
    pool_note_parked(&pool);
    pool_fini(&pool);
}
END_TEST

START_TEST(serving_nobody_aborts)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", 32, 8, 4);
    pool_note_served(&pool, 1);
}
END_TEST

START_TEST(object_smaller_than_its_link_aborts)
{
    struct pool pool;

    make_pool(&pool, &arena, "p", sizeof(struct list_node) - 1, 8, 4);
}
END_TEST

START_TEST(taking_from_external_counters_aborts)
{
    struct pool pool;

    pool_init_credits(&pool, "x", POOL_RANK_TXN, 10);
    (void)pool_try_get(&pool);
}
END_TEST

START_TEST(need_beyond_the_address_space_aborts)
{
    ck_assert_uint_eq(pool_need(4096, 4096, SIZE_MAX / 4096 + 1), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *use = tcase_create("use");
    TCase *mistakes = tcase_create("mistakes");

    tcase_add_checked_fixture(use, make_arena, drop_arena);
    tcase_add_checked_fixture(mistakes, make_arena, drop_arena);
    tcase_set_timeout(use, 60);
    tcase_add_test(use, empty_pool_answers_null_and_counts_it);
    tcase_add_test(use, high_water_begins_anew_at_what_is_in_use);
    tcase_add_test(use, pool_of_no_objects_is_always_empty);
    tcase_add_test(use, last_put_is_first_got);
    tcase_add_loop_test(use,
                        need_is_enough_wherever_the_arena_stands,
                        0,
                        (int)(sizeof(shapes) / sizeof(shapes[0])));
    tcase_add_test(use, stats_come_in_order_of_registration_and_no_more_than_asked);
    tcase_add_test(use, waiters_are_counted_and_the_longest_is_kept);
    tcase_add_test(use, external_counters_follow_what_they_are_told);
    tcase_add_test(use, no_object_has_two_owners_among_threads);
    tcase_add_test_raise_signal(mistakes, giving_back_more_than_was_taken_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, stopping_with_an_object_out_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, stopping_with_a_waiter_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, serving_nobody_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, object_smaller_than_its_link_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, taking_from_external_counters_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, need_beyond_the_address_space_aborts, SIGABRT);
    suite_add_tcase(suite, use);
    suite_add_tcase(suite, mistakes);
    return kit_run(suite);
}
