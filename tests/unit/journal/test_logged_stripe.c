/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images and generations: states, lists, and the sums that log space is reserved by. */
#include "logged_stripe.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#include "journal_internal.h"
#include "log_space.h"
#include "recovery_kit.h"

#define IMAGES 64u
#define ROWS   6u

/* A journal without log and threads: just what images need. */
struct fixture {
    struct recovery_kit kit;
    struct arena arena;
    struct journal *j;
    uint64_t seq;
};

static uint8_t page[BLOCK_BYTES];

static void fixture_open(struct fixture *f)
{
    const struct kit_shape shape = KIT_USUAL;

    memset(f, 0, sizeof(*f));
    kit_create(&f->kit, &shape);
    kit_assemble(&f->kit, false, KIT_NO_SLOT);
    arena_init_growing(&f->arena);
    f->j = arena_take_array(&f->arena, struct journal, 1);
    f->j->array = f->kit.array;
    f->j->geometry = &f->kit.geometry;
    list_init(&f->j->dirty);
    list_init(&f->j->live);
    stripe_cache_init(&f->j->cache, f->kit.array, &f->arena, IMAGES, 2 * shape.members);
    f->seq = 1;
}

static void verify(struct fixture *f)
{
    logged_stripe_verify(f->j);
    stripe_cache_verify(&f->j->cache);
}

static void fixture_close(struct fixture *f)
{
    logged_stripe_forget_all(f->j);
    ck_assert_uint_eq(f->j->space.images_used, 0);
    stripe_cache_fini(&f->j->cache);
    arena_fini(&f->arena);
    kit_remove(&f->kit);
}

/* The block in the `index`'th data slot of a row. */
static struct fs_block block_of(const struct fixture *f, uint64_t row, uint32_t index)
{
    const struct geometry *geometry = &f->kit.geometry;
    uint32_t parity = geometry_parity_slot(geometry, member_block(row));
    uint32_t slot = index < parity ? index : index + 1;

    return geometry_block_at(geometry, member_block(row), slot);
}

static void write_one(struct fixture *f, struct fs_block block, uint8_t byte)
{
    memset(page, byte, sizeof(page));
    pool_reserve_sure(&f->j->cache.images, 1); /* as journal_reserve promises them */
    if (!logged_stripe_write(f->j, block, page)) {
        pool_unreserve(&f->j->cache.images, 1);
    }
}

static void place_one(struct fixture *f, struct fs_block block)
{
    logged_stripe_place(f->j, logged_stripe_newest(f->j, block), f->seq, log_block(f->seq * 10));
    f->seq++;
}

/* Written, placed, durable. */
static void log_one(struct fixture *f, struct fs_block block, uint8_t byte)
{
    write_one(f, block, byte);
    place_one(f, block);
    logged_stripe_unit_durable(f->j, logged_stripe_newest(f->j, block));
}

static uint8_t newest_byte(struct fixture *f, struct fs_block block)
{
    return logged_stripe_newest(f->j, block)->data[17];
}

static struct stripe_head *head_of(struct fixture *f, uint64_t row)
{
    return stripe_find(&f->j->cache, member_block(row));
}

START_TEST(states_move_as_the_table_says_and_no_other_way)
{
    static const struct {
        enum logged_state from;
        enum logged_state to;
    } allowed[] = {
        {LOGGED_DIRTY, LOGGED_PLACED},
        {LOGGED_PLACED, LOGGED_LOGGED},
        {LOGGED_PLACED, LOGGED_DIRTY},
        {LOGGED_LOGGED, LOGGED_FROZEN},
        {LOGGED_FROZEN, LOGGED_LOGGED},
    };

    for (unsigned from = 0; from < LOGGED_STATE_COUNT; from++) {
        for (unsigned to = 0; to < LOGGED_STATE_COUNT; to++) {
            bool expected = false;
            for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
                expected |= from == (unsigned)allowed[i].from && to == (unsigned)allowed[i].to;
            }
            ck_assert_int_eq(logged_state_may_move((enum logged_state)from, (enum logged_state)to),
                             expected);
        }
    }
    ck_assert_str_eq(logged_state_name(LOGGED_FROZEN), "FROZEN");
}
END_TEST

START_TEST(a_dirty_image_is_overwritten_in_place_any_other_never_changes)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block block = block_of(&f, 5, 1);
    write_one(&f, block, 1);
    write_one(&f, block, 2);
    ck_assert_uint_eq(f.j->space.images_used, 1);
    struct stripe_image *first = logged_stripe_newest(f.j, block);
    place_one(&f, block);
    write_one(&f, block, 3);
    ck_assert_uint_eq(f.j->space.images_used, 2);
    ck_assert_uint_eq(first->data[0], 2);
    ck_assert_uint_eq(newest_byte(&f, block), 3);
    verify(&f);
    logged_stripe_unit_durable(f.j, first);
    write_one(&f, block, 4);
    ck_assert_uint_eq(first->data[0], 2);
    ck_assert_uint_eq(f.j->space.images_used, 2);
    verify(&f);
    fixture_close(&f);
}
END_TEST

START_TEST(a_durable_image_takes_the_place_of_the_older_durable_one)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block block = block_of(&f, 9, 0);
    log_one(&f, block, 1);
    write_one(&f, block, 2);
    place_one(&f, block);
    ck_assert_uint_eq(f.j->space.images_used, 2); /* not before it is durable itself */
    logged_stripe_unit_durable(f.j, logged_stripe_newest(f.j, block));
    ck_assert_uint_eq(f.j->space.images_used, 1);
    ck_assert_uint_eq(newest_byte(&f, block), 2);
    ck_assert_uint_eq(head_of(&f, 9)->open.first_seq, 1); /* the tail still stands before both */
    ck_assert_uint_eq(head_of(&f, 9)->open.first_position.nr, 10);
    verify(&f);
    fixture_close(&f);
}
END_TEST

START_TEST(only_durable_images_are_frozen)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block logged = block_of(&f, 3, 0);
    struct fs_block dirty = block_of(&f, 3, 1);
    write_one(&f, dirty, 7);
    ck_assert(!logged_stripe_freeze(f.j, head_of(&f, 3)));
    place_one(&f, dirty);
    ck_assert(!logged_stripe_freeze(f.j, head_of(&f, 3))); /* W8: its unit is on its way */
    log_one(&f, logged, 1);
    ck_assert(!logged_stripe_freeze(f.j, head_of(&f, 3)));
    logged_stripe_unit_durable(f.j, logged_stripe_newest(f.j, dirty));
    write_one(&f, dirty, 8);
    ck_assert(logged_stripe_freeze(f.j, head_of(&f, 3)));
    verify(&f);
    struct stripe_head *head = head_of(&f, 3);
    uint32_t targets = 0;
    for (uint32_t slot = 0; slot < f.kit.geometry.slots; slot++) {
        targets += head->slots[slot].target != NULL;
    }
    ck_assert_uint_eq(targets, 2);
    ck_assert_uint_eq(logged_stripe_newest(f.j, dirty)->state, LOGGED_DIRTY);
    ck_assert_uint_eq(logged_stripe_newest(f.j, dirty)->older->data[0], 7);
    ck_assert_uint_eq(head->closing.first_seq, 1);
    ck_assert_uint_eq(head->open.first_seq, 0);
    ck_assert(list_is_empty(&f.j->live));
    ck_assert(!logged_stripe_freeze(f.j, head)); /* one generation at a time */
    fixture_close(&f);
}
END_TEST

START_TEST(finish_drops_what_was_written_out_and_nothing_else)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block block = block_of(&f, 3, 2);
    struct fs_block other = block_of(&f, 3, 0);
    log_one(&f, block, 1);
    ck_assert(logged_stripe_freeze(f.j, head_of(&f, 3)));
    logged_stripe_parity_placed(f.j, head_of(&f, 3));
    log_one(&f, block, 2); /* after the parity, in the next generation */
    write_one(&f, block, 3);
    write_one(&f, other, 4);
    verify(&f);
    logged_stripe_finish(f.j, head_of(&f, 3));
    verify(&f);
    ck_assert_uint_eq(f.j->space.images_used, 3);
    ck_assert_uint_eq(newest_byte(&f, block), 3);
    ck_assert_uint_eq(logged_stripe_newest(f.j, block)->older->data[0], 2);
    ck_assert_uint_eq(head_of(&f, 3)->open.first_seq, 2);
    logged_stripe_discard(f.j, block);
    logged_stripe_discard(f.j, other);
    logged_stripe_discard(f.j, block); /* what is logged stays */
    ck_assert_uint_eq(newest_byte(&f, block), 2);
    ck_assert(logged_stripe_freeze(f.j, head_of(&f, 3)));
    logged_stripe_parity_placed(f.j, head_of(&f, 3));
    logged_stripe_finish(f.j, head_of(&f, 3));
    ck_assert_ptr_null(head_of(&f, 3));
    ck_assert_uint_eq(f.j->space.unplaced, 0);
    fixture_close(&f);
}
END_TEST

START_TEST(a_row_that_cannot_be_filled_is_as_before_the_freeze)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block block = block_of(&f, 4, 0);
    log_one(&f, block, 1);
    log_one(&f, block_of(&f, 8, 0), 9);
    uint64_t unplaced = f.j->space.unplaced;
    ck_assert(logged_stripe_freeze(f.j, head_of(&f, 4)));
    write_one(&f, block, 2);
    logged_stripe_unfreeze(f.j, head_of(&f, 4));
    verify(&f);
    ck_assert_uint_eq(head_of(&f, 4)->open.first_seq, 1);
    ck_assert_uint_eq(f.j->space.unplaced, unplaced + 1);         /* the dirty image's own */
    ck_assert_ptr_eq(f.j->live.next, &head_of(&f, 4)->open.live); /* oldest first again */
    fixture_close(&f);
}
END_TEST

START_TEST(what_was_placed_is_dirty_again_when_the_journal_fails)
{
    struct fixture f;

    fixture_open(&f);
    struct fs_block logged = block_of(&f, 2, 0);
    struct fs_block placed = block_of(&f, 2, 1);
    struct fs_block both = block_of(&f, 7, 1);
    log_one(&f, logged, 1);
    write_one(&f, placed, 2);
    place_one(&f, placed);
    write_one(&f, both, 3);
    place_one(&f, both);
    write_one(&f, both, 4);
    logged_stripe_unplace_all(f.j);
    verify(&f);
    ck_assert_uint_eq(f.j->space.placed, 0);
    ck_assert_uint_eq(f.j->space.dirty, 2);
    ck_assert_uint_eq(newest_byte(&f, placed), 2);
    ck_assert_uint_eq(newest_byte(&f, both), 4);
    ck_assert_uint_eq(f.j->live_rows, 1);
    ck_assert(logged_stripe_freeze(f.j, head_of(&f, 2)));
    fixture_close(&f);
}
END_TEST

START_TEST(recovered_rows_stand_in_order_of_their_oldest_unit)
{
    static const uint64_t seqs[] = {40, 7, 19, 7, 0, 33};
    struct fixture f;
    uint64_t last = 0;

    fixture_open(&f);
    memset(page, 5, sizeof(page));
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_int_eq(
            logged_stripe_add_recovered(f.j, block_of(&f, i, 0), seqs[i], log_block(seqs[i]), page),
            0);
    }
    /* A row's second block may be the older one. */
    ck_assert_int_eq(logged_stripe_add_recovered(f.j, block_of(&f, 0, 1), 2, log_block(2), page),
                     0);
    ck_assert_int_eq(logged_stripe_add_recovered(f.j, block_of(&f, 1, 1), 50, log_block(50), page),
                     0);
    verify(&f);
    list_for_each (node, &f.j->live) {
        const struct stripe_generation *generation =
            container_of(node, struct stripe_generation, live);
        ck_assert_uint_ge(generation->first_seq, last);
        last = generation->first_seq;
    }
    ck_assert_uint_eq(last, 33);
    ck_assert_uint_eq(head_of(&f, 0)->open.first_position.nr, 2);
    ck_assert_uint_eq(f.j->space.unplaced, 6);
    for (uint32_t i = 8; i < IMAGES; i++) {
        ck_assert_int_eq(
            logged_stripe_add_recovered(f.j, block_of(&f, i, 0), 60, log_block(60), page), 0);
    }
    ck_assert_int_eq(
        logged_stripe_add_recovered(f.j, block_of(&f, IMAGES, 0), 60, log_block(60), page),
        -ENOBUFS);
    fixture_close(&f);
}
END_TEST

/* ---- any order of events --------------------------------------------------------------------- */

struct placed {
    struct stripe_image *images[IMAGES];
    uint32_t count;
};

/* Left side of JR that these steps may move, `used` apart. */
static uint64_t owed(const struct fixture *f)
{
    return log_space_reserved(&f->j->space);
}

/* As log.c does: all dirty images of a row in one unit. */
static void place_row(struct fixture *f, struct stripe_head *head, struct placed *placed)
{
    uint64_t before = owed(f);
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < f->kit.geometry.slots; slot++) {
        struct stripe_image *image = head->slots[slot].newest;
        if (image != NULL && image->state == LOGGED_DIRTY) {
            logged_stripe_place(f->j, image, f->seq, log_block(f->seq));
            placed->images[placed->count++] = image;
            count++;
        }
    }
    f->seq++;
    ck_assert_uint_le(owed(f) + (count > 0 ? 1 + count : 0), before); /* the unit is paid for */
}

static void random_step(struct fixture *f, struct placed *placed)
{
    uint64_t row = kit_below(ROWS);
    struct fs_block block = block_of(f, row, kit_below(f->kit.geometry.data_slots));
    struct stripe_head *head = head_of(f, row);
    uint64_t before = owed(f);

    switch (kit_below(8)) {
    case 0:
    case 1:
    case 2:
        if (pool_free_count(&f->j->cache.images) > 0) {
            write_one(f, block, (uint8_t)kit_below(256));
            ck_assert_uint_le(owed(f), before + LOG_SPACE_PER_BLOCK);
        }
        break;
    case 3:
        if (head != NULL && (!head->frozen || head->parity_placed)) {
            place_row(f, head, placed);
        }
        break;
    case 4:
        for (uint32_t i = 0; i < placed->count; i++) {
            logged_stripe_unit_durable(f->j, placed->images[i]);
        }
        placed->count = 0;
        ck_assert_uint_eq(owed(f), before);
        break;
    case 5:
        if (head != NULL && logged_stripe_freeze(f->j, head)) {
            ck_assert_uint_eq(owed(f), before);
        }
        break;
    case 6:
        if (head != NULL && head->frozen && !head->parity_placed && kit_below(4) == 0) {
            logged_stripe_unfreeze(f->j, head);
            ck_assert_uint_le(owed(f), before);
        } else if (head != NULL && head->frozen && !head->parity_placed) {
            logged_stripe_parity_placed(f->j, head);
            ck_assert_uint_eq(owed(f) + LOG_SPACE_PER_UNPLACED, before);
        } else if (head != NULL && head->frozen) {
            logged_stripe_finish(f->j, head);
            ck_assert_uint_eq(owed(f), before);
        }
        break;
    default:
        logged_stripe_discard(f->j, block);
        ck_assert_uint_le(owed(f), before);
        break;
    }
}

START_TEST(no_order_of_events_breaks_an_invariant_or_the_reserve)
{
    struct placed placed = {.count = 0};
    struct fixture f;

    kit_seed("logged_stripe");
    fixture_open(&f);
    for (unsigned step = 0; step < 40000; step++) {
        random_step(&f, &placed);
        verify(&f);
    }
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("logged_stripe");
    TCase *tcase = tcase_create("images");

    tcase_add_test(tcase, states_move_as_the_table_says_and_no_other_way);
    tcase_add_test(tcase, a_dirty_image_is_overwritten_in_place_any_other_never_changes);
    tcase_add_test(tcase, a_durable_image_takes_the_place_of_the_older_durable_one);
    tcase_add_test(tcase, only_durable_images_are_frozen);
    tcase_add_test(tcase, finish_drops_what_was_written_out_and_nothing_else);
    tcase_add_test(tcase, a_row_that_cannot_be_filled_is_as_before_the_freeze);
    tcase_add_test(tcase, what_was_placed_is_dirty_again_when_the_journal_fails);
    tcase_add_test(tcase, recovered_rows_stand_in_order_of_their_oldest_unit);
    tcase_add_test(tcase, no_order_of_events_breaks_an_invariant_or_the_reserve);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
