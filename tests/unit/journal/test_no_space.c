/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running dry, in every way there is: fault plans on each pool of the write path, one io unit in
 * all, the smallest ring and cache. Each run must end (no stripe parked for ever), with every byte
 * right and nobody left on the no-space list.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "journal_internal.h"
#include "log_space.h"
#include "log_thread.h"
#include "model_kit.h"
#include "r5fs/base/wait_check.h"

#define RING_SMALLEST 768u
#define IMAGES_FEW    200u
#define STEPS         120u

static const struct journal_options scarce = {.images_max = IMAGES_FEW, .io_units = 1};

static const char *const pools[] = {
    "stripe image", "log space", "transaction credit", "io unit", "encode buffer", "all"};

#define POOLS (sizeof(pools) / sizeof(pools[0]))

static struct kit_shape shape_of(uint32_t members, uint64_t ring_blocks)
{
    return (struct kit_shape){members, 64, 8u << 20, ring_blocks};
}

static void plan(const char *pool, const char *how)
{
    char text[100];
    int length = snprintf(text, sizeof(text), "%s:%s", pool, how);

    ck_assert_int_lt(length, (int)sizeof(text));
    ck_assert_int_eq(pool_fault_parse(text), 0);
}

static void end_plans(struct model *m)
{
    struct pool *all[] = {&m->j->cache.images,
                          &m->j->cache.heads,
                          &m->j->cache.encode,
                          &m->j->units.pool,
                          &m->j->space.log_counter,
                          &m->j->space.txn_counter};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        pool_fault_set(all[i], NULL);
    }
    env_mutex_lock(&m->j->lock);
    env_cond_signal(&m->j->thread.wake); /* as the end of a plan frees nothing */
    log_space_serve(m->j);
    env_mutex_unlock(&m->j->lock);
}

static void open_scarce(struct model *m)
{
    struct kit_shape shape = shape_of(4, RING_SMALLEST);

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, &scarce, KIT_NO_SLOT), 0);
}

static void expect_all_right(struct model *m)
{
    model_expect_newest(m);
    ck_assert_uint_eq(m->j->space.collector.parked, 0);
    journal_verify(m->j);
    model_close(m);
    model_expect_on_members(m);
    model_remove(m);
}

/* ---- every pool, every plan ----------------------------------------------------------------- */

START_TEST(with_half_of_all_tries_refused_every_byte_arrives)
{
    char how[60];
    struct model m;

    kit_seed("no_space_half");
    (void)snprintf(how, sizeof(how), "percent:50:%u", kit_below(1000000));
    open_scarce(&m);
    plan(pools[_i], how);
    model_race(&m, STEPS);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    end_plans(&m);
    expect_all_right(&m);
}
END_TEST

/* Each site that takes, failing from its k-th try on until something is given back; all k that
 * matter are met in one run because the plan is set anew behind each step. */
START_TEST(a_pool_that_is_dry_from_any_try_on_until_something_is_freed_stops_nobody)
{
    uint64_t random = 0;
    struct model m;

    kit_seed("no_space_until_free");
    random = kit_random();
    open_scarce(&m);
    for (uint32_t k = 1; k <= 40; k++) {
        char how[40];

        (void)snprintf(how, sizeof(how), "until-free:%u", 1 + k % 13);
        plan(pools[_i], how);
        model_run(&m, m.files.queue, 6, &random);
        if (k % 4 == 0) {
            ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        }
        end_plans(&m);
    }
    expect_all_right(&m);
}
END_TEST

START_TEST(one_io_unit_is_enough_for_all)
{
    struct model m;

    kit_seed("no_space_one_unit");
    open_scarce(&m);
    model_race(&m, STEPS * 3);
    struct journal_status status = model_status(&m);
    ck_assert_uint_eq(status.units.free + status.units.filling + status.units.submitted +
                          status.units.written,
                      1);
    expect_all_right(&m);
}
END_TEST

START_TEST(one_io_unit_is_enough_while_a_member_is_missing)
{
    struct kit_shape shape = shape_of(4, RING_SMALLEST);
    struct model m;

    kit_seed("no_space_one_unit_degraded");
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &scarce, 1), 0);
    plan("io unit", "percent:50:11");
    model_race(&m, STEPS);
    end_plans(&m);
    model_expect_newest(&m);
    ck_assert_uint_eq(m.j->space.collector.parked, 0);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* ---- raid5d and the io unit ------------------------------------------------------------------ */

static uint64_t parked_by(struct model *m, enum journal_lack lack)
{
    return model_status(m).parked_by[lack][JOURNAL_CLASS_WRITE_OUT];
}

static void ask_for_write_out(struct model *m)
{
    env_mutex_lock(&m->j->lock);
    m->j->thread.want_written_seq = m->j->log.durable_seq;
    env_cond_signal(&m->j->thread.wake);
    env_mutex_unlock(&m->j->lock);
}

static void wait_until_parked(struct model *m, enum journal_lack lack)
{
    while (parked_by(m, lack) == 0) {
        env_sleep_ns(1000000);
    }
}

/* raid5-cache, December 2015: raid5d slept in the io unit's allocation, and raid5d alone could
 * retire the stripes that held the units. The log thread stands on the list instead, awake: it goes
 * on serving others. */
START_TEST(the_log_thread_without_a_unit_stands_on_the_list_and_stays_awake)
{
    struct journal_reservation reservation = {0};
    struct model m;

    open_scarce(&m);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    plan("io unit", "from:1");
    ask_for_write_out(&m);
    wait_until_parked(&m, JOURNAL_LACKS_UNIT);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 4, 0), 0); /* others are not behind it */
    journal_release(m.j, &reservation);
    ck_assert_uint_eq(parked_by(&m, JOURNAL_LACKS_UNIT), 1);
    end_plans(&m);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    expect_all_right(&m);
}
END_TEST

START_TEST(the_log_thread_without_encode_buffers_freezes_no_row)
{
    struct model m;

    open_scarce(&m);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    plan("encode buffer", "from:1");
    ask_for_write_out(&m);
    wait_until_parked(&m, JOURNAL_LACKS_BUFFER);
    ck_assert_uint_eq(m.j->cache.encode.stats.in_use + m.j->cache.encode.stats.reserved, 0);
    ck_assert_uint_eq(m.j->units.pool.stats.in_use + m.j->units.pool.stats.reserved, 0);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0); /* the same rows: not frozen */
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    end_plans(&m);
    expect_all_right(&m);
}
END_TEST

struct committer {
    struct model *m;
    struct io_queue *queue;
    struct arena arena;
    int result;
};

static void commit_main(void *context)
{
    struct committer *committer = context;

    ck_assert_int_eq(io_queue_open(&committer->queue, &committer->arena, 16), 0);
    committer->result = model_commit(committer->m, committer->queue);
    io_queue_close(committer->queue);
}

/* The rescuer that waits for itself: who leads a commit and finds no unit holds neither the lead
 * nor the role while it waits. */
START_TEST(a_leader_without_a_unit_waits_holding_nothing)
{
    struct committer committer = {.result = 1};
    struct env_thread *thread = NULL;
    struct model m;

    open_scarce(&m);
    committer.m = &m;
    arena_init_growing(&committer.arena);
    ck_assert_int_eq(model_write_data(&m, 0, 8), 0);
    plan("io unit", "from:1");
    ck_assert_int_eq(env_thread_start(&thread, "committer", commit_main, &committer), 0);
    wait_until_parked(&m, JOURNAL_LACKS_UNIT);
    env_mutex_lock(&m.j->lock);
    ck_assert(!m.j->commit.leading);
    ck_assert_uint_eq(m.j->log.role_next, m.j->log.role_serving);
    env_mutex_unlock(&m.j->lock);
    end_plans(&m);
    env_thread_join(thread);
    ck_assert_int_eq(committer.result, 0);
    arena_fini(&committer.arena);
    expect_all_right(&m);
}
END_TEST

START_TEST(a_stop_takes_the_log_thread_off_the_list)
{
    struct model m;

    open_scarce(&m);
    ck_assert_int_eq(model_write_data(&m, 0, 40), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    plan("io unit", "from:1");
    ask_for_write_out(&m);
    wait_until_parked(&m, JOURNAL_LACKS_UNIT);
    model_abandon(&m); /* collector_fini checks that nobody is left */
    ck_assert_int_eq(model_open(&m, &scarce, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* ---- the smallest ring ----------------------------------------------------------------------- */

START_TEST(the_least_ring_is_what_one_request_its_parities_and_the_fixed_blocks_need)
{
    struct kit_shape shape = shape_of(4, RING_SMALLEST);
    struct model m;

    model_create(&m, &shape);
    uint64_t least = journal_least_blocks(&m.files.geometry);
    ck_assert_uint_eq(least,
                      LOG_SPACE_PER_BLOCK * (LOG_SPACE_DATA_STEP_MIN + LOG_SPACE_TXN_MIN) +
                          LOG_SPACE_EMPTY_UNIT + LOG_SPACE_FIXED);
    ck_assert_uint_le(least, RING_SMALLEST);
    model_remove(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("no_space");
    TCase *plans = tcase_create("plans");
    TCase *stories = tcase_create("stories");

    tcase_set_timeout(plans, 120);
    tcase_add_loop_test(plans, with_half_of_all_tries_refused_every_byte_arrives, 0, (int)POOLS);
    tcase_add_loop_test(plans,
                        a_pool_that_is_dry_from_any_try_on_until_something_is_freed_stops_nobody,
                        0,
                        (int)POOLS);
    tcase_add_test(plans, one_io_unit_is_enough_for_all);
    tcase_add_test(plans, one_io_unit_is_enough_while_a_member_is_missing);
    tcase_set_timeout(stories, 60);
    tcase_add_test(stories, the_log_thread_without_a_unit_stands_on_the_list_and_stays_awake);
    tcase_add_test(stories, the_log_thread_without_encode_buffers_freezes_no_row);
    tcase_add_test(stories, a_leader_without_a_unit_waits_holding_nothing);
    tcase_add_test(stories, a_stop_takes_the_log_thread_off_the_list);
    tcase_add_test(stories,
                   the_least_ring_is_what_one_request_its_parities_and_the_fixed_blocks_need);
    suite_add_tcase(suite, plans);
    suite_add_tcase(suite, stories);
    return kit_run(suite);
}
