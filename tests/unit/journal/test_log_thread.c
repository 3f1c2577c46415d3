/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the log thread decides to do next, and until when it waits; states are made by hand. */
#include "log_thread.h"

#include <check.h>
#include <errno.h>

#include "log_space.h"
#include "model_kit.h"

#define RING_USUAL   4096u
#define MEMBER_BYTES (6u << 20)

static const struct journal_options no_timer = {.images_max = 128, .commit_interval_ms = 3600000};

/* Returns with the lock held, nothing dirty, and all rows in the log marked as past filling. */
static void open_with_rows_past_filling(struct model *m)
{
    const struct kit_shape shape = {4, 64, MEMBER_BYTES, RING_USUAL};
    bool logged = false;

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, &no_timer, KIT_NO_SLOT), 0);
    while (!logged) { /* the log thread may be faster, and write them out */
        ck_assert_int_eq(model_write_data(m, 0, 8), 0);
        ck_assert_int_eq(model_commit(m, m->files.queue), 0);
        env_mutex_lock(&m->j->lock);
        logged = m->j->live_rows > 0 && m->j->reclaim.batch_seq == 0;
        if (!logged) {
            env_mutex_unlock(&m->j->lock);
        }
    }
    m->j->reclaim.failed_rows = m->j->live_rows;
    m->j->reclaim.refill_ns = UINT64_MAX;
}

static void close_and_unlock(struct model *m)
{
    m->j->reclaim.failed_rows = 0;
    env_mutex_unlock(&m->j->lock);
    model_close(m);
    model_remove(m);
}

/* It would look again and again, and find nothing to do. */
START_TEST(while_write_out_cannot_go_on_the_time_to_fill_rows_again_wakes_nobody)
{
    uint64_t deadline = 0;
    struct model m;

    open_with_rows_past_filling(&m);
    uint64_t now = m.j->thread.last_use_ns;
    m.j->reclaim.refill_ns = now - 1;
    m.j->reclaim.stuck = true;
    m.j->reclaim.retry_ns = now + 1;
    ck_assert_int_eq(log_thread_choose(m.j, now, &deadline), LOG_WORK_WAIT);
    ck_assert_uint_gt(deadline, now);
    m.j->reclaim.stuck = false;
    m.j->reclaim.error = -EIO;
    ck_assert_int_eq(log_thread_choose(m.j, now, &deadline), LOG_WORK_WAIT);
    ck_assert_uint_gt(deadline, now);
    m.j->reclaim.error = 0;
    close_and_unlock(&m);
}
END_TEST

static void nobody_is_granted(struct reservation *reservation)
{
    ck_abort_msg("granted %p", (void *)reservation);
}

/* Readers, who keep the log thread from being idle, do not put that off. */
START_TEST(who_waits_for_images_is_refused_without_an_idle_moment_when_no_row_can_be_filled)
{
    struct journal_reservation waiter = {.want_data = 1};
    uint64_t deadline = 0;
    struct model m;

    open_with_rows_past_filling(&m);
    struct log_space *space = &m.j->space;
    /* A block before the rows' first unit: moving the tail gives something. */
    struct log_block tail = m.j->log.tail;
    m.j->log.tail = log_ring_advance(&m.j->log.ring, tail, m.j->log.ring.blocks - 1);
    waiter.wait =
        (struct reservation){.class = LOG_SPACE_DATA,
                             .wants = {{&m.j->cache.images, m.j->cache.images.stats.size}},
                             .granted = nobody_is_granted};
    ck_assert(!collector_reserve_or_park(&space->collector, &waiter.wait));
    log_space_serve(m.j);
    ck_assert_int_eq(log_thread_choose(m.j, m.j->thread.last_use_ns, &deadline), LOG_WORK_TAIL);
    ck_assert_uint_eq(space->collector.parked, 1);
    m.j->log.tail = tail;
    collector_remove(&space->collector, &waiter.wait);
    space->wanted[LOG_SPACE_NO_IMAGE] = false;
    close_and_unlock(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_thread");
    TCase *tcase = tcase_create("log_thread");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, while_write_out_cannot_go_on_the_time_to_fill_rows_again_wakes_nobody);
    tcase_add_test(
        tcase, who_waits_for_images_is_refused_without_an_idle_moment_when_no_row_can_be_filled);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
