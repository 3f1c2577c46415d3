/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the journal shows of itself: who waits for what, units by state, how old the oldest is. */
#include <check.h>
#include <stdatomic.h>
#include <string.h>

#include "model_kit.h"
#include "r5fs/base/trace.h"
#include "r5fs/base/wait_check.h"
#include "r5fs/base/watch.h"

#define RING_USUAL   4096u
#define MEMBER_BYTES (6u << 20)
#define TICK_NS      1000000u
#define UNITS        8u

static const struct journal_options no_timer = {
    .images_max = 128, .io_units = UNITS, .commit_interval_ms = 3600000};

static void open_ring(struct model *m)
{
    const struct kit_shape shape = {4, 64, MEMBER_BYTES, RING_USUAL};

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, &no_timer, KIT_NO_SLOT), 0);
}

static void close_all(struct model *m)
{
    journal_verify(m->j);
    model_close(m);
    model_remove(m);
}

/* ---- waiting --------------------------------------------------------------------------------- */

struct waiter {
    struct model *model;
    struct journal_reservation reservation;
    uint32_t data;
    uint32_t meta;
    struct env_thread *thread;
};

static void waiter_main(void *context)
{
    struct waiter *waiter = context;

    ck_assert_int_eq(
        journal_reserve(waiter->model->j, &waiter->reservation, waiter->data, waiter->meta), 0);
    journal_release(waiter->model->j, &waiter->reservation);
}

/* Started, and parked when it returns. */
static void park(struct model *m, struct waiter *waiter, uint32_t data, uint32_t meta)
{
    uint64_t before = model_status(m).parked;

    *waiter = (struct waiter){.model = m, .data = data, .meta = meta};
    ck_assert_int_eq(env_thread_start(&waiter->thread, "waiter", waiter_main, waiter), 0);
    while (model_status(m).parked == before) {
        env_sleep_ns(TICK_NS);
    }
}

/* All images but `left`, in steps of the limit. */
static uint32_t take_all_images(struct model *m, struct journal_reservation *held, uint32_t left)
{
    uint32_t step = journal_limits(m->j).data_step;
    uint32_t rest = m->j->space.images_max - left;
    uint32_t count = 0;

    while (rest > 0) {
        uint32_t take = rest < step ? rest : step;

        held[count] = (struct journal_reservation){0};
        ck_assert_int_eq(journal_reserve(m->j, &held[count], take, 0), 0);
        wait_check_drop(POOL_RANK_TXN); /* the test's thread stands for many */
        rest -= take;
        count++;
    }
    return count;
}

START_TEST(who_waits_is_counted_by_class_and_by_what_is_lacking)
{
    struct journal_reservation held[16];
    struct waiter waiters[4];
    struct model m;

    open_ring(&m);
    uint32_t count = take_all_images(&m, held, 4);
    park(&m, &waiters[0], 20, 0);
    park(&m, &waiters[1], 1, 0); /* would fit, stands behind the first */
    park(&m, &waiters[2], 1, 2); /* would fit, came later than the first of the other class */
    park(&m, &waiters[3], 5, 2);
    struct journal_status status = model_status(&m);
    ck_assert_uint_eq(status.parked, 4);
    ck_assert_uint_eq(status.parked_by[JOURNAL_LACKS_IMAGE][JOURNAL_CLASS_DATA], 2);
    ck_assert_uint_eq(status.parked_by[JOURNAL_LACKS_IMAGE][JOURNAL_CLASS_TXN], 2);
    ck_assert_uint_eq(status.parked_by[JOURNAL_LACKS_LOG][JOURNAL_CLASS_DATA], 0);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        env_thread_join(waiters[i].thread);
    }
    status = model_status(&m);
    ck_assert_uint_eq(status.parked_by[JOURNAL_LACKS_IMAGE][JOURNAL_CLASS_DATA], 0);
    ck_assert_uint_eq(m.j->cache.images.stats.parked_ever +
                          m.j->space.log_counter.stats.parked_ever +
                          m.j->space.txn_counter.stats.parked_ever,
                      4);
    close_all(&m);
}
END_TEST

START_TEST(who_waits_for_room_in_the_transaction_is_counted_there)
{
    struct journal_reservation all = {0};
    struct waiter waiter;
    struct model m;

    open_ring(&m);
    ck_assert_int_eq(journal_reserve(m.j, &all, 0, journal_limits(m.j).meta_step), 0);
    wait_check_drop(POOL_RANK_TXN);
    park(&m, &waiter, 0, 1);
    struct journal_status status = model_status(&m);
    ck_assert_uint_eq(status.parked_by[JOURNAL_LACKS_TXN_ROOM][JOURNAL_CLASS_TXN], 1);
    journal_release(m.j, &all);
    env_thread_join(waiter.thread);
    close_all(&m);
}
END_TEST

START_TEST(a_waiter_that_nobody_serves_is_named_by_the_watchdog)
{
    struct journal_reservation held[16];
    struct waiter waiter;
    struct model m;

    open_ring(&m);
    uint32_t count = take_all_images(&m, held, 0);
    park(&m, &waiter, 1, 0);
    unsigned stuck = 0;
    for (unsigned i = 0; i <= WATCH_LOOKS; i++) {
        stuck += watch_look();
    }
    ck_assert_uint_eq(stuck, 1);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    env_thread_join(waiter.thread);
    ck_assert_uint_eq(watch_look(), 0);
    close_all(&m);
}
END_TEST

/* ---- units ----------------------------------------------------------------------------------- */

static _Atomic bool disks_stopped;

static bool wait_while_stopped(const struct io_request *request, int *out_result)
{
    (void)request;
    (void)out_result;
    while (atomic_load(&disks_stopped)) {
        env_sleep_ns(TICK_NS);
    }
    return false;
}

static void committer_main(void *context)
{
    struct model *m = context;
    struct io_queue *queue = NULL;
    struct arena arena;

    arena_init_growing(&arena);
    ck_assert_int_eq(io_queue_open(&queue, &arena, 16), 0);
    ck_assert_int_eq(model_commit(m, queue), 0);
    io_queue_close(queue);
    arena_fini(&arena);
}

START_TEST(units_are_counted_by_state_and_a_commit_that_hangs_is_named)
{
    struct env_thread *committer = NULL;
    struct model m;

    model_crash_io_use();
    crash_io_hook = wait_while_stopped;
    open_ring(&m);
    struct journal_status status = model_status(&m);
    ck_assert_uint_eq(status.units.free, UNITS);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    atomic_store(&disks_stopped, true);
    ck_assert_int_eq(env_thread_start(&committer, "committer", committer_main, &m), 0);
    do {
        env_sleep_ns(TICK_NS);
        status = model_status(&m);
    } while (status.units.submitted == 0);
    ck_assert_uint_eq(status.units.submitted + status.units.free, UNITS);
    unsigned stuck = 0;
    for (unsigned i = 0; i <= WATCH_LOOKS; i++) {
        stuck += watch_look();
    }
    ck_assert_uint_ge(stuck, 2); /* the commit, and the file it waits for */
    atomic_store(&disks_stopped, false);
    env_thread_join(committer);
    status = model_status(&m);
    ck_assert_uint_eq(status.units.free, UNITS);
    close_all(&m);
    crash_io_hook = NULL;
}
END_TEST

START_TEST(the_oldest_unit_ages_until_its_rows_are_on_the_members)
{
    struct model m;

    open_ring(&m);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_uint_eq(model_status(&m).oldest_unit_ns, 0); /* not in the log yet */
    uint64_t before = env_now_ns();
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    struct journal_status status = model_status(&m);
    /* On a slow machine the idle journal has written it out by now. */
    ck_assert(status.unwritten_rows == 0 || status.oldest_unit_ns > 0);
    ck_assert_uint_le(status.oldest_unit_ns, env_now_ns() - before);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).oldest_unit_ns, 0);
    close_all(&m);
}
END_TEST

START_TEST(the_trace_has_the_steps_of_a_commit_and_a_write_out_in_their_order)
{
    static const char *const steps[] = {"commit.begin",
                                        "unit.submit",
                                        "unit.done",
                                        "log.flushed",
                                        "commit.end",
                                        "writeout.begin",
                                        "writeout.end",
                                        "tail.move",
                                        "tail.moved"};
    struct trace_entry entry;
    struct model m;
    size_t seen = 0;

    open_ring(&m);
    uint64_t from = trace_count();
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    for (uint64_t i = from; i < trace_count(); i++) {
        ck_assert(trace_get(i, &entry));
        if (seen < sizeof(steps) / sizeof(steps[0]) && strcmp(entry.site, steps[seen]) == 0) {
            seen++;
        }
    }
    ck_assert_msg(seen == sizeof(steps) / sizeof(steps[0]), "not seen: %s", steps[seen]);
    close_all(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_status");
    TCase *all = tcase_create("status");

    tcase_set_timeout(all, 120);
    tcase_add_test(all, who_waits_is_counted_by_class_and_by_what_is_lacking);
    tcase_add_test(all, who_waits_for_room_in_the_transaction_is_counted_there);
    tcase_add_test(all, a_waiter_that_nobody_serves_is_named_by_the_watchdog);
    tcase_add_test(all, units_are_counted_by_state_and_a_commit_that_hangs_is_named);
    tcase_add_test(all, the_oldest_unit_ages_until_its_rows_are_on_the_members);
    tcase_add_test(all, the_trace_has_the_steps_of_a_commit_and_a_write_out_in_their_order);
    suite_add_tcase(suite, all);
    return kit_run(suite);
}
