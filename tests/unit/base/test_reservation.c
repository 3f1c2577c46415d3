/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reservations: all or none, first in, first out, one collector, nobody starved. */
#include <signal.h>

#include "kit.h"
#include "r5fs/base/reservation.h"

enum { FIRST, SECOND, THIRD };

static struct pool a;
static struct pool b;
static struct collector collector;

static void make(void)
{
    pool_init_credits(&a, "a", POOL_RANK_IMAGE, 10);
    pool_init_credits(&b, "b", POOL_RANK_LOG_SPACE, 10);
    collector_init(&collector);
}

static void drop(void)
{
    collector_fini(&collector);
    pool_fini(&b);
    pool_fini(&a);
}

struct guest {
    struct reservation r;
    unsigned granted;
    unsigned turn;
};

static unsigned turns;

static void guest_granted(struct reservation *r)
{
    struct guest *guest = container_of(r, struct guest, r);

    guest->granted++;
    guest->turn = turns++;
}

static struct guest guest_of(unsigned class, uint64_t of_a, uint64_t of_b)
{
    return (struct guest){
        .r = {.class = class, .wants = {{&a, of_a}, {&b, of_b}}, .granted = guest_granted}};
}

static bool arrives(struct guest *guest)
{
    return collector_reserve_or_park(&collector, &guest->r);
}

static void gives_back(struct guest *guest)
{
    reservation_cancel(guest->r.wants);
    collector_serve(&collector);
}

/* Linux dm's alloc_multiple_bios, btrfs' extent_state: thread 1 holds A and wants B, thread 2 holds
 * B and wants A. */
START_TEST(two_who_want_the_same_two_things_never_hold_one_each)
{
    struct guest one = guest_of(FIRST, 6, 6);
    struct guest two = guest_of(FIRST, 6, 6);

    ck_assert(arrives(&one));
    ck_assert(!arrives(&two));
    ck_assert_uint_eq(a.stats.in_use, 6); /* who waits holds nothing */
    ck_assert_uint_eq(b.stats.in_use, 6);
    ck_assert_ptr_eq(two.r.lacks, &a);
    gives_back(&one);
    ck_assert_uint_eq(two.granted, 1);
    gives_back(&two);
}
END_TEST

START_TEST(a_refusal_of_the_second_thing_gives_the_first_back)
{
    struct guest holder = guest_of(FIRST, 0, 8);
    struct guest other = guest_of(FIRST, 5, 5);

    ck_assert(arrives(&holder));
    ck_assert(!arrives(&other));
    ck_assert_ptr_eq(other.r.lacks, &b);
    ck_assert_uint_eq(a.stats.in_use, 0);
    ck_assert_uint_eq(b.stats.parked, 1);
    collector_remove(&collector, &other.r);
    ck_assert_uint_eq(b.stats.parked, 0);
    gives_back(&holder);
}
END_TEST

START_TEST(within_a_class_first_come_is_first_served)
{
    struct guest holder = guest_of(FIRST, 10, 0);
    struct guest large = guest_of(FIRST, 9, 0);
    struct guest small = guest_of(FIRST, 1, 0);

    turns = 0;
    ck_assert(arrives(&holder));
    ck_assert(!arrives(&large));
    ck_assert(!arrives(&small));
    reservation_cancel((struct reservation_want[RESERVATION_WANTS_MAX]){{&a, 4}});
    collector_serve(&collector);
    ck_assert_uint_eq(small.granted, 0); /* it would fit: it stands behind the large one */
    reservation_cancel((struct reservation_want[RESERVATION_WANTS_MAX]){{&a, 6}});
    collector_serve(&collector);
    ck_assert_uint_eq(large.granted, 1);
    ck_assert_uint_eq(small.granted, 1);
    ck_assert_uint_lt(large.turn, small.turn);
    gives_back(&large);
    gives_back(&small);
}
END_TEST

/* Log full, data parked first, and what would free space parked behind it. */
START_TEST(a_class_does_not_stand_before_another_that_wants_other_things)
{
    struct guest holder = guest_of(THIRD, 10, 0);
    struct guest data = guest_of(THIRD, 5, 5);
    struct guest write_out = guest_of(FIRST, 0, 2);

    ck_assert(arrives(&holder));
    ck_assert(!arrives(&data));
    ck_assert(arrives(&write_out));
    gives_back(&write_out);
    gives_back(&holder);
    ck_assert_uint_eq(data.granted, 1);
    gives_back(&data);
}
END_TEST

START_TEST(a_stream_of_small_ones_does_not_starve_a_large_one_of_another_class)
{
    struct guest smalls[40];
    struct guest large = guest_of(THIRD, 8, 0);
    unsigned first = 0;

    for (unsigned i = 0; i < 40; i++) {
        smalls[i] = guest_of(FIRST, 4, 0);
    }
    ck_assert(arrives(&smalls[0]));
    ck_assert(arrives(&smalls[1]));
    ck_assert(!arrives(&large));
    for (unsigned i = 2; i < 40 && large.granted == 0; i++) {
        (void)arrives(&smalls[i]); /* some stand, some go */
        while (smalls[first].granted == 0) {
            first++;
        }
        gives_back(&smalls[first]);
        first++;
    }
    ck_assert_uint_eq(large.granted, 1);
    ck_assert_uint_le(first, 3);
    gives_back(&large);
    for (unsigned i = first; i < 40; i++) {
        if (smalls[i].granted != 0) {
            gives_back(&smalls[i]);
        }
    }
}
END_TEST

START_TEST(who_leaves_lets_those_behind_go_on)
{
    struct guest holder = guest_of(FIRST, 5, 0);
    struct guest large = guest_of(FIRST, 9, 0);
    struct guest small = guest_of(FIRST, 2, 0);

    ck_assert(arrives(&holder));
    ck_assert(!arrives(&large));
    ck_assert(!arrives(&small));
    collector_remove(&collector, &large.r);
    collector_serve(&collector);
    ck_assert_uint_eq(small.granted, 1);
    ck_assert_uint_eq(large.granted, 0);
    gives_back(&small);
    gives_back(&holder);
}
END_TEST

START_TEST(with_every_other_try_refused_all_are_granted_in_the_end)
{
    struct guest guests[20];
    unsigned done = 0;

    ck_assert_int_eq(pool_fault_parse("all:percent:50:3"), 0);
    for (unsigned i = 0; i < 20; i++) {
        guests[i] = guest_of(i % COLLECTOR_CLASSES, 1 + i % 9, 1 + i * 7 % 9);
        (void)arrives(&guests[i]); /* told by `granted` in either case */
    }
    for (unsigned round = 0; round < 2000 && done < 20; round++) {
        for (unsigned i = 0; i < 20; i++) {
            if (guests[i].granted == 1) {
                guests[i].granted = 2;
                done++;
                gives_back(&guests[i]);
            }
        }
        collector_serve(&collector); /* a made-up refusal frees nothing: the owner looks again */
    }
    ck_assert_uint_eq(done, 20);
    ck_assert_uint_eq(a.stats.in_use + b.stats.in_use, 0);
    ck_assert_uint_eq(a.stats.parked + b.stats.parked, 0);
}
END_TEST

START_TEST(stopping_with_a_waiter_aborts)
{
    struct guest large = guest_of(FIRST, 11, 0);

    ck_assert(!arrives(&large));
    collector_fini(&collector);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reservation");
    TCase *use = tcase_create("use");

    tcase_add_checked_fixture(use, make, drop);
    tcase_add_test(use, two_who_want_the_same_two_things_never_hold_one_each);
    tcase_add_test(use, a_refusal_of_the_second_thing_gives_the_first_back);
    tcase_add_test(use, within_a_class_first_come_is_first_served);
    tcase_add_test(use, a_class_does_not_stand_before_another_that_wants_other_things);
    tcase_add_test(use, a_stream_of_small_ones_does_not_starve_a_large_one_of_another_class);
    tcase_add_test(use, who_leaves_lets_those_behind_go_on);
    tcase_add_test(use, with_every_other_try_refused_all_are_granted_in_the_end);
    tcase_add_test_raise_signal(use, stopping_with_a_waiter_aborts, SIGABRT);
    suite_add_tcase(suite, use);
    return kit_run(suite);
}
