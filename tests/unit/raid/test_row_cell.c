/* SPDX-License-Identifier: GPL-2.0-or-later */
/* row_cell.c: who may hold a row together, who waits, in which order. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "array_kit.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/row_cell.h"

#define MS          UINT64_C(1000000)
#define THREADS     8
#define HAMMER_ROWS 3
#define ROUNDS      20000

static struct row_cells cells;

static void set_up(void)
{
    row_cells_init(&cells);
}

static void tear_down(void)
{
    row_cells_fini(&cells);
}

START_TEST(shared_cells_of_a_row_go_together_an_exclusive_one_does_not)
{
    struct row_cell a;
    struct row_cell b;
    struct row_cell c;
    ck_assert(row_cell_try_lock(&cells, &a, one_row(member_block(7)), false));
    ck_assert(row_cell_try_lock(&cells, &b, one_row(member_block(7)), false));
    ck_assert(!row_cell_try_lock(&cells, &c, one_row(member_block(7)), true));
    row_cell_unlock(&cells, &a);
    ck_assert(!row_cell_try_lock(&cells, &c, one_row(member_block(7)), true));
    row_cell_unlock(&cells, &b);
    ck_assert(row_cell_try_lock(&cells, &c, one_row(member_block(7)), true));
    ck_assert(!row_cell_try_lock(&cells, &a, one_row(member_block(7)), false));
    row_cell_unlock(&cells, &c);
}
END_TEST

START_TEST(different_rows_do_not_meet)
{
    struct row_cell a;
    struct row_cell b;
    ck_assert(row_cell_try_lock(&cells, &a, one_row(member_block(7)), true));
    ck_assert(row_cell_try_lock(&cells, &b, one_row(member_block(7 + 256)), true));
    row_cell_unlock(&cells, &a);
    row_cell_unlock(&cells, &b);
}
END_TEST

struct waiter {
    struct row_cell cell;
    bool exclusive;
    atomic_bool has_it;
    int error;
};

static void wait_for_row(void *context)
{
    struct waiter *waiter = context;
    waiter->error =
        row_cell_lock_wait(&cells, &waiter->cell, one_row(member_block(7)), waiter->exclusive);
    atomic_store(&waiter->has_it, waiter->error == 0);
}

static struct env_thread *start(struct waiter *waiter)
{
    struct env_thread *thread = NULL;
    ck_assert_int_eq(env_thread_start(&thread, "waiter", wait_for_row, waiter), 0);
    env_sleep_ns(30 * MS); /* until it stands in the queue */
    return thread;
}

START_TEST(a_waiter_gets_the_row_when_its_holder_is_done)
{
    struct row_cell holder;
    struct waiter waiter = {.exclusive = false};
    ck_assert(row_cell_try_lock(&cells, &holder, one_row(member_block(7)), true));
    struct env_thread *thread = start(&waiter);
    ck_assert(!atomic_load(&waiter.has_it));
    row_cell_unlock(&cells, &holder);
    env_thread_join(thread);
    ck_assert(atomic_load(&waiter.has_it));
    row_cell_unlock(&cells, &waiter.cell);
}
END_TEST

START_TEST(later_readers_do_not_overtake_a_waiting_writer)
{
    struct row_cell reader;
    struct row_cell later;
    struct waiter writer = {.exclusive = true};
    ck_assert(row_cell_try_lock(&cells, &reader, one_row(member_block(7)), false));
    struct env_thread *thread = start(&writer);
    ck_assert(!row_cell_try_lock(&cells, &later, one_row(member_block(7)), false));
    row_cell_unlock(&cells, &reader);
    env_thread_join(thread);
    ck_assert(atomic_load(&writer.has_it));
    row_cell_unlock(&cells, &writer.cell);
    ck_assert(row_cell_try_lock(&cells, &later, one_row(member_block(7)), false));
    row_cell_unlock(&cells, &later);
}
END_TEST

START_TEST(nobody_waits_for_a_torn_row)
{
    struct row_cell writer;
    struct waiter before = {.exclusive = false};
    struct row_cell after;
    ck_assert(row_cell_try_lock(&cells, &writer, one_row(member_block(7)), true));
    struct env_thread *thread = start(&before);
    row_cell_mark_torn(&cells, &writer);
    env_thread_join(thread);
    ck_assert_int_eq(before.error, -EIO);
    struct waiter second = {.exclusive = false};
    env_thread_join(start(&second));
    ck_assert_int_eq(second.error, -EIO);
    row_cell_unlock(&cells, &writer);
    ck_assert_int_eq(row_cell_lock_wait(&cells, &after, one_row(member_block(7)), false), 0);
    row_cell_unlock(&cells, &after);
}
END_TEST

START_TEST(ranges_exclude_each_other_where_they_overlap)
{
    static const struct {
        uint64_t first;
        uint64_t count;
        bool free;
    } others[] = {{0, 10, true},
                  {0, 11, false},
                  {10, 1, false},
                  {14, 1, false},
                  {15, 5, true},
                  {5, 100, false},
                  {12, 2, false}};
    struct row_cell holder;
    struct row_cell other;

    ck_assert(row_cell_try_lock(&cells, &holder, (struct row_range){member_block(10), 5}, true));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct row_range rows = {member_block(others[i].first), others[i].count};
        bool free = row_cell_try_lock(&cells, &other, rows, false);

        ck_assert_msg(free == others[i].free, "range %zu", i);
        if (free) {
            row_cell_unlock(&cells, &other);
        }
    }
    row_cell_unlock(&cells, &holder);
}
END_TEST

static unsigned told;
static struct row_cell *last_told;

static void count_told(void *context)
{
    told++;
    last_told = context;
}

/* dm-thin's second cell from the same pool: here none is allocated, and the writer does not sleep
 * for one either. */
START_TEST(a_parked_cell_is_told_once_when_the_last_before_it_leaves)
{
    struct row_cell readers_before[2];
    struct row_cell writer = {.granted = count_told, .context = &writer};
    struct row_cell later;

    told = 0;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(row_cell_try_lock(&cells, &readers_before[i], one_row(member_block(7)), false));
    }
    ck_assert(!row_cell_lock_or_park(&cells, &writer, one_row(member_block(7)), true));
    ck_assert(!row_cell_is_held(&cells, &writer));
    ck_assert(!row_cell_try_lock(&cells, &later, one_row(member_block(7)), false)); /* C2 */
    row_cell_unlock(&cells, &readers_before[0]);
    ck_assert_uint_eq(told, 0);
    row_cell_unlock(&cells, &readers_before[1]);
    ck_assert_uint_eq(told, 1);
    ck_assert_ptr_eq(last_told, &writer);
    ck_assert(row_cell_is_held(&cells, &writer));
    ck_assert(row_cell_try_lock(&cells, &later, one_row(member_block(8)), false));
    row_cell_unlock(&cells, &later);
    ck_assert_uint_eq(told, 1);
    row_cell_unlock(&cells, &writer);
}
END_TEST

START_TEST(parked_cells_are_told_in_order)
{
    struct row_cell holder;
    struct row_cell parked[2] = {{.granted = count_told, .context = &parked[0]},
                                 {.granted = count_told, .context = &parked[1]}};

    told = 0;
    ck_assert(row_cell_try_lock(&cells, &holder, one_row(member_block(7)), true));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(!row_cell_lock_or_park(&cells, &parked[i], one_row(member_block(7)), true));
    }
    row_cell_unlock(&cells, &holder);
    ck_assert_uint_eq(told, 1);
    ck_assert_ptr_eq(last_told, &parked[0]);
    row_cell_unlock(&cells, &parked[0]);
    ck_assert_uint_eq(told, 2);
    ck_assert_ptr_eq(last_told, &parked[1]);
    row_cell_unlock(&cells, &parked[1]);
}
END_TEST

START_TEST(a_parked_cell_that_gives_up_lets_those_behind_it_go_on)
{
    struct row_cell reader;
    struct row_cell writer = {.granted = count_told};
    struct row_cell later;

    told = 0;
    ck_assert(row_cell_try_lock(&cells, &reader, one_row(member_block(7)), false));
    ck_assert(!row_cell_lock_or_park(&cells, &writer, one_row(member_block(7)), true));
    row_cell_unlock(&cells, &writer);
    ck_assert(row_cell_try_lock(&cells, &later, one_row(member_block(7)), false));
    row_cell_unlock(&cells, &later);
    row_cell_unlock(&cells, &reader);
    ck_assert_uint_eq(told, 0);
}
END_TEST

static struct row_cell parked_pair[2];
static bool pair_ended[2];

/* The owner is another thread and may be quick: what it does once it is told of one cell. */
static void end_both(void *context)
{
    (void)context;
    told++;
    for (unsigned i = 0; i < 2; i++) {
        if (!pair_ended[i] && row_cell_is_held(&cells, &parked_pair[i])) {
            pair_ended[i] = true;
            row_cell_unlock(&cells, &parked_pair[i]);
            memset(&parked_pair[i], 0, sizeof(parked_pair[i]));
        }
    }
}

START_TEST(a_cell_that_ended_before_it_was_told_is_not_touched_any_more)
{
    struct row_cell reader;

    told = 0;
    ck_assert(row_cell_try_lock(&cells, &reader, (struct row_range){member_block(7), 2}, false));
    for (unsigned i = 0; i < 2; i++) {
        parked_pair[i] = (struct row_cell){.granted = end_both};
        ck_assert(
            !row_cell_lock_or_park(&cells, &parked_pair[i], one_row(member_block(7 + i)), true));
    }
    row_cell_unlock(&cells, &reader);
    ck_assert(pair_ended[0] && pair_ended[1]);
    ck_assert(list_is_empty(&cells.queue));
}
END_TEST

/* Per row: readers inside, writers inside. */
static atomic_int readers[HAMMER_ROWS];
static atomic_int writers[HAMMER_ROWS];
static atomic_int violations;

static void hammer(void *context)
{
    uint64_t state = (uint64_t)(uintptr_t)context | 1;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct row_cell cell;
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t row = (state >> 33) % HAMMER_ROWS;
        bool exclusive = (state >> 40) % 4 == 0;
        if ((state >> 45) % 2 == 0) {
            if (row_cell_lock_wait(&cells, &cell, one_row(member_block(row)), exclusive) != 0) {
                atomic_fetch_add(&violations, 1);
                continue;
            }
        } else if (!row_cell_try_lock(&cells, &cell, one_row(member_block(row)), exclusive)) {
            continue;
        }
        atomic_fetch_add(exclusive ? &writers[row] : &readers[row], 1);
        int most = exclusive ? 1 : 0;
        if (atomic_load(&writers[row]) > most || (exclusive && atomic_load(&readers[row]) > 0)) {
            atomic_fetch_add(&violations, 1);
        }
        atomic_fetch_sub(exclusive ? &writers[row] : &readers[row], 1);
        row_cell_unlock(&cells, &cell);
    }
}

START_TEST(many_threads_never_share_what_is_exclusive)
{
    struct env_thread *threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "hammer", hammer, (void *)(i + 1)), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_int_eq(atomic_load(&violations), 0);
}
END_TEST

START_TEST(a_cell_left_behind_is_our_own_mistake)
{
    struct row_cell cell;
    struct row_cells own;
    row_cells_init(&own);
    ck_assert(row_cell_try_lock(&own, &cell, one_row(member_block(1)), true));
    row_cells_fini(&own);
}
END_TEST

static Suite *row_cell_suite(void)
{
    Suite *suite = suite_create("row_cell");
    TCase *holding = tcase_create("holding");

    tcase_add_checked_fixture(holding, set_up, tear_down);
    tcase_set_timeout(holding, 60);
    tcase_add_test(holding, ranges_exclude_each_other_where_they_overlap);
    tcase_add_test(holding, a_parked_cell_is_told_once_when_the_last_before_it_leaves);
    tcase_add_test(holding, parked_cells_are_told_in_order);
    tcase_add_test(holding, a_cell_that_ended_before_it_was_told_is_not_touched_any_more);
    tcase_add_test(holding, a_parked_cell_that_gives_up_lets_those_behind_it_go_on);
    tcase_add_test(holding, shared_cells_of_a_row_go_together_an_exclusive_one_does_not);
    tcase_add_test(holding, different_rows_do_not_meet);
    tcase_add_test(holding, a_waiter_gets_the_row_when_its_holder_is_done);
    tcase_add_test(holding, later_readers_do_not_overtake_a_waiting_writer);
    tcase_add_test(holding, nobody_waits_for_a_torn_row);
    tcase_add_test(holding, many_threads_never_share_what_is_exclusive);
    tcase_add_test_raise_signal(holding, a_cell_left_behind_is_our_own_mistake, SIGABRT);
    suite_add_tcase(suite, holding);
    return suite;
}

int main(void)
{
    return array_kit_run(row_cell_suite());
}
