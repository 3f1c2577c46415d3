/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of lookup counts: counts, eviction, what happens when it is full. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "fuse_nodes.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

#define SIZE         64u
#define NO_WAIT_NS   1u
#define LONG_WAIT_NS UINT64_C(5000000000)

static struct arena arena;
static struct fuse_nodes nodes;
static struct fuse_node *spare;

static void make_nodes(void)
{
    msg_set_level(MSG_ERR);
    spare = NULL;
    ck_assert_int_eq(arena_init(&arena, fuse_nodes_need(SIZE), false), 0);
    fuse_nodes_init(&nodes, &arena, SIZE, 2);
}

static void drop_nodes(void)
{
    fuse_nodes_verify(&nodes);
    fuse_nodes_unprepare(&nodes, &spare);
    fuse_nodes_fini(&nodes);
    arena_fini(&arena);
}

static void hold(uint64_t ino)
{
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, NO_WAIT_NS), 0);
    fuse_nodes_hold(&nodes, &spare, ino, 1);
}

START_TEST(a_count_is_what_was_held_less_what_was_forgotten)
{
    hold(10);
    hold(10);
    hold(10);
    hold(11);
    ck_assert_uint_eq(fuse_nodes_count(&nodes, 10), 3);
    fuse_nodes_forget(&nodes, 10, 2);
    ck_assert_uint_eq(fuse_nodes_count(&nodes, 10), 1);
    fuse_nodes_forget(&nodes, 10, 1);
    ck_assert_uint_eq(fuse_nodes_count(&nodes, 10), 0);
    ck_assert_uint_eq(fuse_nodes_count(&nodes, 11), 1);
}
END_TEST

START_TEST(a_spare_is_used_for_a_new_number_only)
{
    hold(10);
    ck_assert_ptr_null(spare);
    hold(10);
    ck_assert_ptr_nonnull(spare);
}
END_TEST

START_TEST(forgetting_too_much_is_survived)
{
    hold(10);
    fuse_nodes_forget(&nodes, 10, 100);
    fuse_nodes_forget(&nodes, 77, 1);
    fuse_nodes_forget(&nodes, 1, 1);
    ck_assert_uint_eq(fuse_nodes_count(&nodes, 10), 0);
}
END_TEST

START_TEST(an_unlinked_inode_is_evicted_with_its_last_lookup_not_before)
{
    hold(10);
    hold(10);
    ck_assert(!fuse_nodes_mark_gone(&nodes, 10));
    ck_assert_ptr_null(fuse_nodes_next_evict(&nodes));
    fuse_nodes_forget(&nodes, 10, 1);
    ck_assert_ptr_null(fuse_nodes_next_evict(&nodes));
    fuse_nodes_forget(&nodes, 10, 1);

    struct fuse_node *node = fuse_nodes_next_evict(&nodes);
    ck_assert_ptr_nonnull(node);
    ck_assert_uint_eq(node->node.key, 10);
    ck_assert_uint_eq(fuse_nodes_evict_count(&nodes), 1);
    fuse_nodes_evicted(&nodes, node);
    ck_assert_uint_eq(fuse_nodes_evict_count(&nodes), 0);
    ck_assert_ptr_null(fuse_nodes_next_evict(&nodes));
}
END_TEST

START_TEST(an_inode_with_a_name_is_not_evicted)
{
    hold(10);
    fuse_nodes_forget(&nodes, 10, 1);
    ck_assert_ptr_null(fuse_nodes_next_evict(&nodes));
}
END_TEST

START_TEST(an_unlinked_inode_that_the_kernel_does_not_know_is_the_callers_to_evict)
{
    ck_assert(fuse_nodes_mark_gone(&nodes, 10));
}
END_TEST

static void fill_up(void)
{
    for (uint64_t ino = 100; fuse_nodes_prepare(&nodes, &spare, NO_WAIT_NS) == 0; ino++) {
        fuse_nodes_hold(&nodes, &spare, ino, 1);
    }
}

START_TEST(readdirplus_gets_no_new_counts_above_three_quarters)
{
    uint64_t given = 0;

    for (uint64_t ino = 100; ino < 100 + SIZE; ino++) {
        given += fuse_nodes_try_hold(&nodes, ino, 1) ? 1 : 0;
    }
    ck_assert_uint_eq(given, SIZE / 4 * 3 + 1);
    ck_assert(fuse_nodes_is_tight(&nodes));
    /* A number that is known already costs nothing. */
    ck_assert(fuse_nodes_try_hold(&nodes, 100, 1));
    /* And a lookup by name still finds room. */
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, NO_WAIT_NS), 0);
}
END_TEST

START_TEST(a_full_table_refuses_after_its_time)
{
    fill_up();
    uint64_t begin = env_now_ns();
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, 50000000), -ENOMEM);
    ck_assert_uint_ge(env_now_ns() - begin, 50000000);
}
END_TEST

/* However many park: a fault plan alone keeps nobody from reading the forgets. */
START_TEST(a_refusal_that_a_plan_made_up_is_looked_at_again)
{
    nodes.waiters_max = 0;
    uint64_t begin = env_now_ns();
    ck_assert_int_eq(pool_fault_parse("fuse node:once:1"), 0);
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, LONG_WAIT_NS), 0);
    ck_assert_uint_lt(env_now_ns() - begin, LONG_WAIT_NS / 2);
    ck_assert_uint_eq(nodes.pool.stats.injected, 1);
    pool_fault_set(&nodes.pool, NULL);
}
END_TEST

static void forget_later(void *context)
{
    (void)context;
    env_sleep_ns(50000000);
    fuse_nodes_forget(&nodes, 100, 1);
}

START_TEST(a_forget_serves_who_waits_for_a_node)
{
    struct env_thread *thread = NULL;

    fill_up();
    ck_assert_int_eq(env_thread_start(&thread, "forgetter", forget_later, NULL), 0);
    uint64_t begin = env_now_ns();
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, LONG_WAIT_NS), 0);
    ck_assert_uint_lt(env_now_ns() - begin, LONG_WAIT_NS / 2);
    env_thread_join(thread);
}
END_TEST

static void wait_in_vain(void *context)
{
    struct fuse_node *mine = NULL;
    int *result = context;

    *result = fuse_nodes_prepare(&nodes, &mine, 300000000);
    fuse_nodes_unprepare(&nodes, &mine);
}

START_TEST(no_more_may_park_than_leaves_readers_for_the_forgets)
{
    struct env_thread *threads[2];
    int results[2] = {0, 0};

    fill_up();
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "waiter", wait_in_vain, &results[i]), 0);
    }
    while (!fuse_nodes_is_parked(&nodes)) {
        env_sleep_ns(1000000);
    }
    env_sleep_ns(50000000);
    uint64_t begin = env_now_ns();
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, LONG_WAIT_NS), -ENOMEM);
    ck_assert_uint_lt(env_now_ns() - begin, 100000000);
    for (int i = 0; i < 2; i++) {
        env_thread_join(threads[i]);
        ck_assert_int_eq(results[i], -ENOMEM);
    }
}
END_TEST

static void evict_later(void *context)
{
    (void)context;
    env_sleep_ns(50000000);
    struct fuse_node *node = fuse_nodes_next_evict(&nodes);
    ck_assert_ptr_nonnull(node);
    fuse_nodes_evicted(&nodes, node);
}

START_TEST(settling_waits_for_evictions_and_says_that_there_was_one)
{
    struct env_thread *thread = NULL;

    hold(10);
    ck_assert(!fuse_nodes_mark_gone(&nodes, 10));
    fuse_nodes_forget(&nodes, 10, 1);
    ck_assert_int_eq(env_thread_start(&thread, "evicter", evict_later, NULL), 0);
    ck_assert(fuse_nodes_settle(&nodes, LONG_WAIT_NS));
    ck_assert_uint_eq(fuse_nodes_evict_count(&nodes), 0);
    env_thread_join(thread);
}
END_TEST

START_TEST(settling_does_not_wait_for_a_file_that_is_merely_open)
{
    hold(10);
    ck_assert(!fuse_nodes_mark_gone(&nodes, 10));
    env_sleep_ns(60000000);
    uint64_t begin = env_now_ns();
    ck_assert(!fuse_nodes_settle(&nodes, LONG_WAIT_NS));
    ck_assert_uint_lt(env_now_ns() - begin, 40000000);
}
END_TEST

START_TEST(a_directory_to_shrink_is_one_in_which_names_are_known)
{
    uint64_t parent = 0;

    ck_assert(!fuse_nodes_pick_directory(&nodes, &parent));
    ck_assert_int_eq(fuse_nodes_prepare(&nodes, &spare, NO_WAIT_NS), 0);
    fuse_nodes_hold(&nodes, &spare, 10, 7);
    for (int i = 0; i < 5; i++) {
        parent = 0;
        ck_assert(fuse_nodes_pick_directory(&nodes, &parent));
        ck_assert_uint_eq(parent, 7);
    }
}
END_TEST

/* Against a plain array. */
START_TEST(random_work_agrees_with_a_model)
{
    uint64_t counts[SIZE] = {0};
    bool gone[SIZE] = {0};
    unsigned seed = 0;

    ck_assert_int_eq(getrandom(&seed, sizeof(seed), 0), sizeof(seed));
    (void)printf("seed=%u\n", seed);
    srand(seed);
    for (int step = 0; step < 20000; step++) {
        unsigned at = (unsigned)rand() % (SIZE / 2);
        uint64_t ino = at + 2;
        switch (rand() % 4) {
        case 0:
        case 1:
            if (!gone[at]) {
                hold(ino);
                counts[at]++;
            }
            break;
        case 2:
            if (counts[at] > 0) {
                uint64_t many = 1 + (uint64_t)rand() % counts[at];
                fuse_nodes_forget(&nodes, ino, many);
                counts[at] -= many;
            }
            break;
        default:
            if (counts[at] > 0) {
                ck_assert(!fuse_nodes_mark_gone(&nodes, ino));
                gone[at] = true;
            }
            break;
        }
        ck_assert_uint_eq(fuse_nodes_count(&nodes, ino), counts[at]);
        struct fuse_node *node = fuse_nodes_next_evict(&nodes);
        if (node != NULL) {
            ck_assert_uint_eq(node->node.key, ino);
            ck_assert(gone[at] && counts[at] == 0);
            gone[at] = false;
            fuse_nodes_evicted(&nodes, node);
        }
        ck_assert(!(gone[at] && counts[at] == 0));
        if (step % 1000 == 0) {
            fuse_nodes_verify(&nodes);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fuse_nodes");
    TCase *table = tcase_create("table");

    tcase_add_checked_fixture(table, make_nodes, drop_nodes);
    tcase_set_timeout(table, 60);
    tcase_add_test(table, a_count_is_what_was_held_less_what_was_forgotten);
    tcase_add_test(table, a_spare_is_used_for_a_new_number_only);
    tcase_add_test(table, forgetting_too_much_is_survived);
    tcase_add_test(table, an_unlinked_inode_is_evicted_with_its_last_lookup_not_before);
    tcase_add_test(table, an_inode_with_a_name_is_not_evicted);
    tcase_add_test(table, an_unlinked_inode_that_the_kernel_does_not_know_is_the_callers_to_evict);
    tcase_add_test(table, readdirplus_gets_no_new_counts_above_three_quarters);
    tcase_add_test(table, a_full_table_refuses_after_its_time);
    tcase_add_test(table, a_refusal_that_a_plan_made_up_is_looked_at_again);
    tcase_add_test(table, a_forget_serves_who_waits_for_a_node);
    tcase_add_test(table, no_more_may_park_than_leaves_readers_for_the_forgets);
    tcase_add_test(table, settling_waits_for_evictions_and_says_that_there_was_one);
    tcase_add_test(table, settling_does_not_wait_for_a_file_that_is_merely_open);
    tcase_add_test(table, a_directory_to_shrink_is_one_in_which_names_are_known);
    tcase_add_test(table, random_work_agrees_with_a_model);
    suite_add_tcase(suite, table);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
