/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiters, promises, fault plans and the pool that sleeps. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/waiting_pool.h"

#define COUNT   4u
#define THREADS 6u
#define ROUNDS  3000u

static struct arena arena;
static struct pool pool;

static const struct pool_shape shape = {
    .name = "p", .rank = POOL_RANK_IMAGE, .object_bytes = 64, .align = 8, .count = COUNT};

static void make_pool(void)
{
    arena_init_growing(&arena);
    pool_init(&pool, &arena, &shape);
}

static void drop_pool(void)
{
    pool_fini(&pool);
    arena_fini(&arena);
}

static void take_all(void **objects)
{
    for (unsigned i = 0; i < COUNT; i++) {
        objects[i] = pool_try_get(&pool);
        ck_assert_ptr_nonnull(objects[i]);
    }
}

static void put_all(void *const *objects)
{
    for (unsigned i = 0; i < COUNT; i++) {
        pool_put(&pool, objects[i]);
    }
}

struct guest {
    struct pool_waiter waiter;
    unsigned served;
    void *object;
    unsigned turn;
};

static unsigned turns;

static void guest_served(struct pool_waiter *waiter, void *object)
{
    struct guest *guest = container_of(waiter, struct guest, waiter);

    guest->served++;
    guest->object = object;
    guest->turn = turns++;
}

/* ---- waiters -------------------------------------------------------------------------------- */

/* The mempool trap: a waiter woke up and asked the slow allocator first, while what had come back
 * went to whoever passed by. */
START_TEST(what_comes_back_is_handed_to_the_first_waiter_and_to_no_newcomer)
{
    struct guest guests[3] = {0};
    void *objects[COUNT];

    turns = 0;
    take_all(objects);
    for (unsigned i = 0; i < 3; i++) {
        guests[i].waiter.served = guest_served;
        ck_assert_ptr_null(pool_get_or_park(&pool, &guests[i].waiter));
    }
    ck_assert_uint_eq(pool.stats.parked, 3);
    for (unsigned i = 0; i < 3; i++) {
        pool_put(&pool, objects[i]);
        ck_assert_uint_eq(guests[i].served, 1);
        ck_assert_ptr_eq(guests[i].object, objects[i]);
        ck_assert_uint_eq(guests[i].turn, i);
        ck_assert_ptr_null(pool_try_get(&pool)); /* nothing is left for who did not wait */
    }
    ck_assert_uint_eq(pool.stats.parked, 0);
    ck_assert_uint_eq(pool.stats.parked_ever, 3);
    put_all(objects);
}
END_TEST

START_TEST(a_waiter_that_leaves_is_not_served_and_the_next_one_is)
{
    struct guest guests[2] = {{.waiter.served = guest_served}, {.waiter.served = guest_served}};
    void *objects[COUNT];

    take_all(objects);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_ptr_null(pool_get_or_park(&pool, &guests[i].waiter));
    }
    ck_assert(pool_unpark(&pool, &guests[0].waiter));
    pool_put(&pool, objects[0]);
    ck_assert_uint_eq(guests[0].served, 0);
    ck_assert_uint_eq(guests[1].served, 1);
    ck_assert(!pool_unpark(&pool, &guests[1].waiter)); /* it owns an object */
    put_all(objects);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------------- */

START_TEST(a_promise_is_kept_against_everybody_else)
{
    ck_assert(pool_reserve(&pool, 3));
    ck_assert(!pool_reserve(&pool, 2));
    void *other = pool_try_get(&pool);
    ck_assert_ptr_nonnull(other);
    ck_assert_ptr_null(pool_try_get(&pool));
    void *mine = pool_get_reserved(&pool);
    pool_put_reserved(&pool, mine); /* promised again at once */
    ck_assert_ptr_null(pool_try_get(&pool));
    mine = pool_get_reserved(&pool);
    ck_assert_uint_eq(pool.stats.reserved, 2);
    pool_unreserve(&pool, 2);
    pool_put(&pool, mine);
    pool_put(&pool, other);
    ck_assert_uint_eq(pool_free_count(&pool), COUNT);
}
END_TEST

START_TEST(a_promise_given_back_serves_a_waiter)
{
    struct guest guest = {.waiter.served = guest_served};

    ck_assert(pool_reserve(&pool, COUNT));
    ck_assert_ptr_null(pool_get_or_park(&pool, &guest.waiter));
    pool_unreserve(&pool, COUNT);
    ck_assert_uint_eq(guest.served, 1);
    pool_put(&pool, guest.object);
}
END_TEST

START_TEST(credits_are_taken_and_given_back_without_objects)
{
    struct pool credits;

    pool_init_credits(&credits, "c", POOL_RANK_TXN, 10);
    ck_assert(pool_reserve(&credits, 6));
    ck_assert(!pool_reserve(&credits, 5));
    ck_assert(pool_reserve(&credits, 4));
    pool_unreserve(&credits, 10);
    ck_assert_uint_eq(pool_free_count(&credits), 10);
    ck_assert_uint_eq(credits.stats.high_water, 10);
    ck_assert_uint_eq(credits.stats.failures, 1);
    pool_fini(&credits);
}
END_TEST

START_TEST(taking_what_was_not_promised_aborts)
{
    (void)pool_get_reserved(&pool);
}
END_TEST

START_TEST(a_sure_get_from_an_empty_pool_aborts)
{
    void *objects[COUNT];

    take_all(objects);
    (void)pool_get_sure(&pool);
}
END_TEST

/* ---- fault plans ---------------------------------------------------------------------------- */

static const struct plan_case {
    const char *text;
    const char *refused; /* by try: x refused, . given and put back */
} plan_cases[] = {
    {"p:once:3", "..x..."},
    {"p:every:2", ".x.x.x"},
    {"p:from:4", "...xxx"},
    {"all:once:1", "x....."},
};

START_TEST(a_plan_refuses_just_the_tries_it_names)
{
    const struct plan_case *how = &plan_cases[_i];

    ck_assert_int_eq(pool_fault_parse(how->text), 0);
    ck_assert(pool_faults_active());
    for (unsigned i = 0; how->refused[i] != '\0'; i++) {
        void *object = pool_try_get(&pool);

        ck_assert_msg((object == NULL) == (how->refused[i] == 'x'), "%s try %u", how->text, i);
        if (object != NULL) {
            pool_put(&pool, object);
        }
    }
    ck_assert_uint_eq(pool.stats.injected, pool.stats.failures);
    pool_fault_set(&pool, NULL);
    ck_assert(!pool_faults_active());
    ck_assert_uint_eq(pool_free_count(&pool), COUNT);
}
END_TEST

START_TEST(a_plan_until_free_ends_when_something_is_given_back)
{
    void *object = pool_try_get(&pool);

    ck_assert_int_eq(pool_fault_parse("p:until-free:1"), 0);
    ck_assert_ptr_null(pool_try_get(&pool));
    ck_assert(!pool_reserve(&pool, 1));
    pool_put(&pool, object);
    ck_assert(!pool_faults_active());
    object = pool_try_get(&pool);
    ck_assert_ptr_nonnull(object);
    pool_put(&pool, object);
}
END_TEST

START_TEST(a_plan_by_percent_refuses_the_same_tries_for_the_same_seed)
{
    bool first[200];
    unsigned refused = 0;

    for (unsigned round = 0; round < 2; round++) {
        ck_assert_int_eq(pool_fault_parse("p:percent:50:7"), 0);
        for (unsigned i = 0; i < 200; i++) {
            void *object = pool_try_get(&pool);
            bool none = object == NULL;

            if (!none) {
                pool_put(&pool, object);
            }
            ck_assert(round == 0 || first[i] == none);
            first[i] = none;
            refused += none;
        }
    }
    ck_assert_uint_gt(refused, 100);
    ck_assert_uint_lt(refused, 300);
    pool_fault_set(&pool, NULL);
}
END_TEST

START_TEST(whom_a_plan_left_waiting_the_tick_serves)
{
    struct guest guest = {.waiter.served = guest_served};

    ck_assert_int_eq(pool_fault_parse("p:once:1"), 0);
    ck_assert_ptr_null(pool_get_or_park(&pool, &guest.waiter));
    ck_assert_uint_eq(guest.served, 0);
    pool_faults_tick();
    ck_assert_uint_eq(guest.served, 1);
    pool_put(&pool, guest.object);
    pool_fault_set(&pool, NULL);
}
END_TEST

START_TEST(promised_and_sure_ones_are_reached_by_no_plan)
{
    ck_assert(pool_reserve(&pool, 1));
    ck_assert_int_eq(pool_fault_parse("p:from:1"), 0);
    void *promised = pool_get_reserved(&pool);
    void *sure = pool_get_sure(&pool);
    pool_put(&pool, promised);
    pool_put(&pool, sure);
    pool_fault_set(&pool, NULL);
}
END_TEST

static const char *const not_plans[] = {
    "", "p", "p:once", "p:once:0", "p:sometimes:3", "q:once:1", ":once:1", "p:none:1", "p:once:x"};

START_TEST(what_is_no_plan_is_refused_and_changes_nothing)
{
    ck_assert_int_eq(pool_fault_parse(not_plans[_i]), -EINVAL);
    ck_assert(!pool_faults_active());
}
END_TEST

/* ---- the pool that sleeps ------------------------------------------------------------------- */

static struct waiting_pool sleepy;
static _Atomic unsigned holders;

static void hold_now_and_then(void *context)
{
    (void)context;
    for (unsigned i = 0; i < ROUNDS; i++) {
        void *object = waiting_pool_get_wait(&sleepy);

        ck_assert_uint_le(atomic_fetch_add(&holders, 1), COUNT - 1);
        memset(object, (int)i, 64);
        atomic_fetch_sub(&holders, 1);
        waiting_pool_put(&sleepy, object);
    }
}

START_TEST(sleepers_are_all_served_and_never_more_than_there_are_objects)
{
    struct env_thread *threads[THREADS];

    waiting_pool_init(&sleepy, &arena, &shape);
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "sleeper", hold_now_and_then, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_uint_eq(pool_free_count(&sleepy.pool), COUNT);
    ck_assert_uint_eq(sleepy.pool.stats.parked, 0);
    waiting_pool_fini(&sleepy);
}
END_TEST

/* The log thread ticks, too, but it may be waiting for a lock that the sleeper holds. */
START_TEST(a_sleeper_that_a_plan_refused_looks_again_by_itself)
{
    waiting_pool_init(&sleepy, &arena, &shape);
    ck_assert_int_eq(pool_fault_parse("p:once:1"), 0);
    void *object = waiting_pool_get_wait(&sleepy);

    ck_assert_uint_eq(sleepy.pool.stats.injected, 1);
    waiting_pool_put(&sleepy, object);
    waiting_pool_fini(&sleepy);
    pool_fault_set(&pool, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool_waiters");
    TCase *use = tcase_create("use");

    tcase_add_checked_fixture(use, make_pool, drop_pool);
    tcase_set_timeout(use, 60);
    tcase_add_test(use, what_comes_back_is_handed_to_the_first_waiter_and_to_no_newcomer);
    tcase_add_test(use, a_waiter_that_leaves_is_not_served_and_the_next_one_is);
    tcase_add_test(use, a_promise_is_kept_against_everybody_else);
    tcase_add_test(use, a_promise_given_back_serves_a_waiter);
    tcase_add_test(use, credits_are_taken_and_given_back_without_objects);
    tcase_add_test_raise_signal(use, taking_what_was_not_promised_aborts, SIGABRT);
    tcase_add_test_raise_signal(use, a_sure_get_from_an_empty_pool_aborts, SIGABRT);
    tcase_add_loop_test(use,
                        a_plan_refuses_just_the_tries_it_names,
                        0,
                        (int)(sizeof(plan_cases) / sizeof(plan_cases[0])));
    tcase_add_test(use, a_plan_until_free_ends_when_something_is_given_back);
    tcase_add_test(use, a_plan_by_percent_refuses_the_same_tries_for_the_same_seed);
    tcase_add_test(use, whom_a_plan_left_waiting_the_tick_serves);
    tcase_add_test(use, promised_and_sure_ones_are_reached_by_no_plan);
    tcase_add_loop_test(use,
                        what_is_no_plan_is_refused_and_changes_nothing,
                        0,
                        (int)(sizeof(not_plans) / sizeof(not_plans[0])));
    tcase_add_test(use, sleepers_are_all_served_and_never_more_than_there_are_objects);
    tcase_add_test(use, a_sleeper_that_a_plan_refused_looks_again_by_itself);
    suite_add_tcase(suite, use);
    return kit_run(suite);
}
