/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Index: against a plain array, and the spread of the keys it will meet. */
#include <signal.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/index.h"

#define OBJECTS 512u

struct thing {
    uint32_t marker;
    struct index_node node;
    bool inside;
};

static struct arena arena;
static struct index things;
static struct thing all[OBJECTS];

static void make_index(void)
{
    memset(all, 0, sizeof(all));
    ck_assert_int_eq(arena_init(&arena, index_need(OBJECTS), false), 0);
    index_init(&things, &arena, OBJECTS);
}

static void drop_index(void)
{
    arena_fini(&arena);
}

/* Walks all buckets: each node once, and as many as counted (I1, I3). */
static void assert_walk_is_whole(uint64_t expected)
{
    uint64_t seen = 0;

    for (size_t bucket = 0; bucket < index_bucket_count(&things); bucket++) {
        for (struct index_node *node = index_bucket(&things, bucket); node != NULL;
             node = node->next) {
            ck_assert_ptr_eq(index_find(&things, node->key), node);
            seen++;
        }
    }
    ck_assert_uint_eq(seen, expected);
    ck_assert_uint_eq(things.count, expected);
}

START_TEST(find_answers_exactly_what_is_inside)
{
    uint64_t inside = 0;

    kit_seed("find_answers_exactly_what_is_inside");
    for (unsigned step = 0; step < 20000; step++) {
        uint32_t i = kit_below(OBJECTS);
        /* Keys that collide in their low half, their high half, or count. */
        uint64_t key = i % 3 == 0 ? (uint64_t)i << 32 : i % 3 == 1 ? i : (uint64_t)i << 12;
        struct index_node *found = index_find(&things, key);
        ck_assert_ptr_eq(found, all[i].inside ? &all[i].node : NULL);
        if (all[i].inside) {
            index_remove(&things, &all[i].node);
            inside--;
        } else {
            index_insert(&things, &all[i].node, key);
            inside++;
        }
        all[i].inside = !all[i].inside;
        if (step % 1000 == 0) {
            assert_walk_is_whole(inside);
        }
    }
    assert_walk_is_whole(inside);
}
END_TEST

START_TEST(extreme_keys_are_keys)
{
    index_insert(&things, &all[0].node, 0);
    index_insert(&things, &all[1].node, UINT64_MAX);
    ck_assert_ptr_eq(index_find(&things, 0), &all[0].node);
    ck_assert_ptr_eq(index_find(&things, UINT64_MAX), &all[1].node);
    ck_assert_ptr_null(index_find(&things, 1));
}
END_TEST

/* Loop: the step between keys is 1 << _i: rows, chunks, stripe groups, the inode's high bits. */
START_TEST(regular_keys_spread)
{
    size_t longest = 0;

    for (uint32_t i = 0; i < OBJECTS; i++) {
        index_insert(&things, &all[i].node, (uint64_t)i << _i);
    }
    for (size_t bucket = 0; bucket < index_bucket_count(&things); bucket++) {
        size_t length = 0;
        for (struct index_node *node = index_bucket(&things, bucket); node != NULL;
             node = node->next) {
            length++;
        }
        longest = length > longest ? length : longest;
    }
    /* 512 random keys in 512 buckets: more than 9 in one has a chance below 1 in 10000. */
    ck_assert_uint_le(longest, 9);
}
END_TEST

START_TEST(buckets_are_at_least_as_many_as_objects)
{
    static const size_t sizes[] = {0, 1, 2, 3, 511, 512, 513};
    static const size_t buckets[] = {1, 1, 2, 4, 512, 512, 1024};

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct arena tight;
        struct index index;

        ck_assert_int_eq(arena_init(&tight, 1 + index_need(sizes[i]), false), 0);
        (void)arena_take(&tight, 1, 1);
        index_init(&index, &tight, sizes[i]);
        ck_assert_uint_eq(index_bucket_count(&index), buckets[i]);
        ck_assert_ptr_null(index_find(&index, 7));
        arena_fini(&tight);
    }
}
END_TEST

START_TEST(duplicate_key_aborts)
{
    index_insert(&things, &all[0].node, 42);
    index_insert(&things, &all[1].node, 42);
}
END_TEST

START_TEST(removing_a_stranger_aborts)
{
    index_insert(&things, &all[0].node, 42);
    all[1].node.key = 42;
    index_remove(&things, &all[1].node);
}
END_TEST

START_TEST(removing_twice_aborts)
{
    index_insert(&things, &all[0].node, 42);
    index_remove(&things, &all[0].node);
    index_remove(&things, &all[0].node);
}
END_TEST

START_TEST(walking_past_the_last_bucket_aborts)
{
    ck_assert_ptr_null(index_bucket(&things, index_bucket_count(&things)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("index");
    TCase *use = tcase_create("use");
    TCase *mistakes = tcase_create("mistakes");

    tcase_add_checked_fixture(use, make_index, drop_index);
    tcase_add_checked_fixture(mistakes, make_index, drop_index);
    tcase_add_test(use, find_answers_exactly_what_is_inside);
    tcase_add_test(use, extreme_keys_are_keys);
    tcase_add_loop_test(use, regular_keys_spread, 0, 50);
    tcase_add_test(use, buckets_are_at_least_as_many_as_objects);
    tcase_add_test_raise_signal(mistakes, duplicate_key_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, removing_a_stranger_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, removing_twice_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, walking_past_the_last_bucket_aborts, SIGABRT);
    suite_add_tcase(suite, use);
    suite_add_tcase(suite, mistakes);
    return kit_run(suite);
}
