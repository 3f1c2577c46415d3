/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stripe_cache.c: heads, chains of images, memory; and the table of moves. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "stripe_kit.h"

#define IMAGES STRIPE_KIT_IMAGES

static struct stripe_kit kit;

/* ---- the cache ---- */

START_TEST(an_image_leaves_its_chain_from_any_place)
{
    struct stripe_image *images[3];
    stripe_kit_open(&kit, 3, 128, true);
    for (uint32_t gone = 0; gone < 3; gone++) {
        for (uint32_t i = 0; i < 3; i++) {
            images[i] = stripe_kit_add_target(&kit, 5, 0);
        }
        struct stripe_head *head = stripe_find(&kit.cache, member_block(5));
        ck_assert_ptr_eq(head->slots[0].newest, images[2]);
        stripe_drop_image(&kit.cache, images[gone]);
        stripe_cache_verify(&kit.cache);
        ck_assert_uint_eq(head->image_count, 2);
        ck_assert_ptr_eq(head->slots[0].newest, images[gone == 2 ? 1 : 2]);
        ck_assert_ptr_eq(head->slots[0].target, gone == 2 ? NULL : images[2]);
        stripe_kit_drop_heads(&kit);
    }
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(images_keep_their_own_data_for_ever)
{
    static struct stripe_image *taken[IMAGES];
    static uint8_t *data[IMAGES];
    stripe_kit_open(&kit, 3, 128, true);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < IMAGES; i++) {
            taken[i] = pool_try_get(&kit.cache.images);
            ck_assert_ptr_nonnull(taken[i]);
            ck_assert_uint_eq((uintptr_t)taken[i]->data % BLOCK_BYTES, 0);
            memset(taken[i]->data, (int)i, BLOCK_BYTES);
            data[i] = taken[i]->data;
        }
        ck_assert_ptr_null(pool_try_get(&kit.cache.images));
        for (uint32_t i = 0; i < IMAGES; i++) {
            ck_assert_ptr_eq(taken[i]->data, data[i]);
            ck_assert_uint_eq(taken[i]->data[BLOCK_BYTES - 1], i);
            pool_put(&kit.cache.images, taken[i]);
        }
    }
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_cache_that_was_never_used_has_no_high_water)
{
    stripe_kit_open(&kit, 3, 128, true);
    ck_assert_uint_eq(kit.cache.images.stats.high_water, 0);
    ck_assert_uint_eq(kit.cache.heads.stats.high_water, 0);
    ck_assert_uint_eq(kit.cache.encode.stats.high_water, 0);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_head_goes_only_when_nothing_holds_it)
{
    stripe_kit_open(&kit, 3, 128, true);
    struct stripe_head *head = stripe_get(&kit.cache, member_block(9));
    ck_assert_ptr_eq(stripe_get(&kit.cache, member_block(9)), head);
    head->frozen = true;
    stripe_release_if_empty(&kit.cache, head);
    ck_assert_ptr_eq(stripe_find(&kit.cache, member_block(9)), head);
    head->frozen = false;
    head->open.first_seq = 4;
    stripe_release_if_empty(&kit.cache, head);
    ck_assert_ptr_eq(stripe_find(&kit.cache, member_block(9)), head);
    head->open.first_seq = 0;
    head->closing.first_seq = 3;
    stripe_release_if_empty(&kit.cache, head);
    ck_assert_ptr_eq(stripe_find(&kit.cache, member_block(9)), head);
    head->closing.first_seq = 0;
    stripe_release_if_empty(&kit.cache, head);
    ck_assert_ptr_null(stripe_find(&kit.cache, member_block(9)));
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(the_memory_needed_is_enough)
{
    struct arena exact;
    struct stripe_cache own;
    stripe_kit_open(&kit, 4, 128, true);
    ck_assert_int_eq(arena_init(&exact, stripe_cache_need(4, 100, 40) + BLOCK_BYTES, false), 0);
    stripe_cache_init(&own, kit.volume.array, &exact, 100, 40);
    stripe_cache_fini(&own);
    arena_fini(&exact);
    stripe_kit_close(&kit);
}
END_TEST

START_TEST(a_row_moves_only_along_the_table)
{
    static const char allowed[STRIPE_STATE_COUNT][STRIPE_STATE_COUNT + 1] = {
        [STRIPE_IDLE] = ".yyy",
        [STRIPE_FILLED] = "y.y.",
        [STRIPE_ENCODED] = "y..y",
        [STRIPE_FAILED] = "y...",
    };
    for (uint32_t from = 0; from < STRIPE_STATE_COUNT; from++) {
        for (uint32_t to = 0; to < STRIPE_STATE_COUNT; to++) {
            ck_assert_int_eq(stripe_state_may_move((enum stripe_state)from, (enum stripe_state)to),
                             allowed[from][to] == 'y');
        }
    }
}
END_TEST

START_TEST(writing_out_an_unencoded_row_is_our_own_mistake)
{
    stripe_kit_open(&kit, 3, 128, true);
    stripe_kit_add_targets(&kit, 0, 0x1);
    int error = stripes_write_out(&kit.cache, kit.volume.queue, kit.heads, 1);
    ck_abort_msg("came back with %d", error);
}
END_TEST

static Suite *stripe_cache_suite(void)
{
    Suite *suite = suite_create("stripe_cache");
    TCase *memory = tcase_create("memory");

    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, an_image_leaves_its_chain_from_any_place);
    tcase_add_test(memory, images_keep_their_own_data_for_ever);
    tcase_add_test(memory, a_cache_that_was_never_used_has_no_high_water);
    tcase_add_test(memory, a_head_goes_only_when_nothing_holds_it);
    tcase_add_test(memory, the_memory_needed_is_enough);
    tcase_add_test(memory, a_row_moves_only_along_the_table);
    tcase_add_test_raise_signal(memory, writing_out_an_unencoded_row_is_our_own_mistake, SIGABRT);
    suite_add_tcase(suite, memory);
    return suite;
}

int main(void)
{
    return array_kit_run(stripe_cache_suite());
}
