/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reservations: limits, sums, and who waits for what in which order. */
#include "log_space.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#include "model_kit.h"
#include "r5fs/base/wait_check.h"

#define RING_LEAST   654u
#define RING_USUAL   4096u
#define MEMBER_BYTES (6u << 20)

static const struct journal_options no_timer = {.images_max = 128, .commit_interval_ms = 3600000};

static void open_ring(struct model *m, uint64_t ring_blocks, const struct journal_options *options)
{
    const struct kit_shape shape = {4, 64, MEMBER_BYTES, ring_blocks};

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, options, KIT_NO_SLOT), 0);
}

static void close_all(struct model *m)
{
    journal_verify(m->j);
    model_close(m);
    model_remove(m);
}

static uint64_t parked(struct model *m)
{
    struct journal_status status;

    journal_get_status(m->j, &status);
    return status.parked;
}

START_TEST(the_least_ring_follows_from_the_reserves_and_less_is_refused)
{
    const struct kit_shape shape = {3, 64, MEMBER_BYTES, RING_LEAST - 1};
    struct model m;

    ck_assert_uint_eq(journal_least_blocks(NULL), RING_LEAST);
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &no_timer, KIT_NO_SLOT), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(m.files.why, "2616 KiB"));
    model_remove(&m);
    open_ring(&m, RING_LEAST, &no_timer);
    close_all(&m);
}
END_TEST

START_TEST(too_little_memory_is_refused_with_what_is_needed)
{
    const struct journal_options options = {.memory_bytes = 2u << 20};
    const struct kit_shape shape = {3, 64, MEMBER_BYTES, RING_USUAL};
    struct model m;

    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(m.files.why, "memory="));
    model_remove(&m);
}
END_TEST

/* What is asked for is no reason to take more than there is. */
START_TEST(a_wanted_number_of_images_does_not_exceed_the_memory)
{
    const struct journal_options none = {.memory_bytes = 2u << 20, .images_max = 256};
    const struct journal_options fewer = {.memory_bytes = 16u << 20, .images_max = 4096};
    const struct kit_shape shape = {3, 64, MEMBER_BYTES, RING_USUAL};
    struct model m;

    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &none, KIT_NO_SLOT), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(m.files.why, "memory"));
    ck_assert_int_eq(model_open(&m, &fewer, KIT_NO_SLOT), 0);
    ck_assert_uint_lt(m.j->space.images_max, 4096);
    ck_assert_uint_le(m.arena.used_bytes, 16u << 20);
    close_all(&m);
}
END_TEST

START_TEST(whatever_the_ring_one_request_of_the_limits_fits_into_an_empty_journal)
{
    struct arena arena;

    arena_init_growing(&arena);
    struct journal *j = arena_take_array(&arena, struct journal, 1);
    for (uint64_t ring = RING_LEAST; ring < 20000; ring += 1 + ring / 64) {
        for (uint32_t images = 16; images < 2000; images *= 3) {
            memset(j, 0, sizeof(*j));
            j->log.ring.blocks = ring;
            log_space_init(j, images);
            struct journal_limits limits = journal_limits(j);
            uint64_t step = (uint64_t)limits.data_step + limits.meta_step;
            /* One empty unit, the tail on it. */
            ck_assert_uint_le(1 + 4 * step + 205, ring);
            ck_assert_uint_le(step, images);
            ck_assert_uint_le(limits.meta_step, JOURNAL_TXN_BLOCKS_MAX);
            ck_assert_uint_gt(limits.data_step, 0);
            ck_assert_uint_gt(limits.meta_step, 0);
            log_space_fini(j);
        }
    }
    arena_fini(&arena);
}
END_TEST

START_TEST(with_128_images_a_transaction_holds_the_largest_operation)
{
    struct arena arena;

    arena_init_growing(&arena);
    struct journal *j = arena_take_array(&arena, struct journal, 1);
    j->log.ring.blocks = RING_LEAST;
    log_space_init(j, 128); /* the least that the mount option stripes= takes */
    ck_assert_uint_ge(journal_limits(j).meta_step, 48);
    ck_assert_uint_ge(journal_limits(j).meta_step, LOG_SPACE_TXN_MIN);
    log_space_fini(j);
    arena_fini(&arena);
}
END_TEST

START_TEST(more_than_the_limits_is_refused_not_parked)
{
    struct journal_reservation reservation = {0};
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    struct journal_limits limits = journal_limits(m.j);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, limits.data_step + 1, 0), -EINVAL);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 0, limits.meta_step + 1), -EINVAL);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, limits.data_step, limits.meta_step), 0);
    journal_release(m.j, &reservation);
    close_all(&m);
}
END_TEST

START_TEST(what_is_not_used_comes_back)
{
    struct journal_reservation reservation = {0};
    uint8_t page[BLOCK_BYTES] = {0};
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 10, 4), 0);
    ck_assert_uint_eq(m.j->space.outstanding, 14);
    ck_assert_uint_eq(m.j->space.txn_outstanding, 4);
    journal_write(m.j, &reservation, fs_block(5), page);
    journal_write(m.j, &reservation, fs_block(5), page); /* in place: costs nothing */
    ck_assert_uint_eq(reservation.data_blocks, 9);
    journal_txn_join(m.j, &reservation);
    journal_txn_join(m.j, &reservation);
    journal_txn_leave(m.j, &reservation);
    ck_assert_uint_eq(reservation.meta_blocks, 3);
    ck_assert_uint_eq(m.j->space.txn_used, 1);
    journal_verify(m.j);
    journal_release(m.j, &reservation);
    ck_assert_uint_eq(m.j->space.outstanding, 1); /* what is joined */
    ck_assert_uint_eq(m.j->space.txn_outstanding, 0);
    ck_assert_uint_eq(m.j->space.dirty, 1);
    journal_release(m.j, &reservation); /* harmless */
    journal_verify(m.j);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, journal_running_txn(m.j)), 0);
    ck_assert_uint_eq(m.j->space.outstanding, 0);
    close_all(&m);
}
END_TEST

START_TEST(a_read_only_journal_refuses_reservations)
{
    const struct journal_options options = {.read_only = true};
    struct journal_reservation reservation = {0};
    struct model m;

    open_ring(&m, RING_USUAL, &options);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 1, 0), -EROFS);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, 1), -EROFS);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EROFS);
    model_expect_newest(&m);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), 0);
    arena_fini(&m.arena);
    model_remove(&m);
}
END_TEST

/* ---- waiting ----------------------------------------------------------------------------- */

struct waiter {
    struct model *model;
    struct journal_reservation reservation;
    uint32_t data;
    uint32_t meta;
    int result;
    struct env_thread *thread;
};

static void waiter_main(void *context)
{
    struct waiter *waiter = context;

    waiter->result =
        journal_reserve(waiter->model->j, &waiter->reservation, waiter->data, waiter->meta);
    journal_release(waiter->model->j, &waiter->reservation);
}

/* Started, and parked when it returns. */
static void park(struct model *m, struct waiter *waiter, uint32_t data, uint32_t meta)
{
    uint64_t before = parked(m);

    *waiter = (struct waiter){.model = m, .data = data, .meta = meta};
    ck_assert_int_eq(env_thread_start(&waiter->thread, "waiter", waiter_main, waiter), 0);
    while (parked(m) == before) {
        env_sleep_ns(1000000);
    }
}

/* The test's own thread stands for many: what it holds is another's, as far as the checks of who
 * may wait go. */
static int reserve_for_another(struct model *m,
                               struct journal_reservation *reservation,
                               uint32_t data,
                               uint32_t meta)
{
    int error = journal_reserve(m->j, reservation, data, meta);

    wait_check_drop(POOL_RANK_TXN);
    return error;
}

/* All images but `left` in one's hands, in steps of the limit. */
static uint32_t take_all_images(struct model *m, struct journal_reservation *held, uint32_t left)
{
    uint32_t step = journal_limits(m->j).data_step;
    uint32_t rest = m->j->space.images_max - left;
    uint32_t count = 0;

    while (rest > 0) {
        uint32_t take = rest < step ? rest : step;

        held[count] = (struct journal_reservation){0};
        ck_assert_int_eq(reserve_for_another(m, &held[count], take, 0), 0);
        rest -= take;
        count++;
    }
    return count;
}

START_TEST(an_interrupted_waiter_leaves_and_the_next_is_served)
{
    struct journal_reservation held[16];
    struct waiter large;
    struct waiter small;
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t count = take_all_images(&m, held, 2);
    park(&m, &large, 8, 0);
    park(&m, &small, 1, 0); /* would fit, but came later */
    journal_interrupt(m.j, &large.reservation);
    env_thread_join(large.thread);
    env_thread_join(small.thread);
    ck_assert_int_eq(large.result, -EINTR);
    ck_assert_int_eq(small.result, 0);
    journal_interrupt(m.j, &large.reservation); /* harmless */
    ck_assert_int_eq(journal_reserve(m.j, &large.reservation, 1, 0), 0);
    journal_release(m.j, &large.reservation);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    close_all(&m);
}
END_TEST

START_TEST(when_the_only_waiter_leaves_nothing_is_wanted)
{
    struct journal_reservation held[16];
    struct waiter only;
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t count = take_all_images(&m, held, 2);
    park(&m, &only, 8, 0);
    journal_interrupt(m.j, &only.reservation);
    env_thread_join(only.thread);
    env_mutex_lock(&m.j->lock);
    ck_assert(!log_space_wants_room(m.j)); /* or every write would be committed at once */
    env_mutex_unlock(&m.j->lock);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    close_all(&m);
}
END_TEST

START_TEST(who_came_first_is_served_first_though_a_later_one_would_fit)
{
    struct journal_reservation held[16];
    struct waiter waiters[3];
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t count = take_all_images(&m, held, 4);
    park(&m, &waiters[0], 20, 0);
    park(&m, &waiters[1], 1, 2); /* another class: does not overtake at images either */
    park(&m, &waiters[2], 1, 0);
    env_sleep_ns(20000000);
    ck_assert_uint_eq(parked(&m), 3);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        env_thread_join(waiters[i].thread);
        ck_assert_int_eq(waiters[i].result, 0);
    }
    ck_assert_uint_eq(m.j->cache.images.stats.parked, 0);
    close_all(&m);
}
END_TEST

START_TEST(a_waiter_for_room_in_the_transaction_stands_before_nobody_else)
{
    struct journal_reservation meta = {0};
    struct journal_reservation data = {0};
    struct waiter waiter;
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t most = journal_limits(m.j).meta_step;
    ck_assert_int_eq(reserve_for_another(&m, &meta, 0, most), 0);
    park(&m, &waiter, 0, 1);
    ck_assert_int_eq(journal_reserve(m.j, &data, 4, 0), 0);
    journal_release(m.j, &data);
    ck_assert_uint_eq(parked(&m), 1);
    journal_release(m.j, &meta);
    env_thread_join(waiter.thread);
    ck_assert_int_eq(waiter.result, 0);
    close_all(&m);
}
END_TEST

START_TEST(a_full_transaction_is_committed_for_who_waits)
{
    struct waiter waiter;
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t most = journal_limits(m.j).meta_step;
    ck_assert_uint_le(most, MODEL_META_BLOCKS);
    ck_assert_int_eq(model_change_meta(&m, 0, most, 3), 0);
    waiter = (struct waiter){.model = &m, .meta = most};
    waiter_main(&waiter);
    ck_assert_int_eq(waiter.result, 0);
    ck_assert_uint_eq(m.told_durable, 1);
    close_all(&m);
}
END_TEST

/* The waiter parks while nothing could be committed yet, and the log thread has looked. */
START_TEST(what_a_running_operation_uses_is_committed_for_who_waits)
{
    struct journal_reservation running = {0};
    struct waiter waiter;
    struct model m;

    open_ring(&m, RING_USUAL, &no_timer);
    uint32_t most = journal_limits(m.j).meta_step;
    ck_assert_int_eq(model_write_data(&m, 0, 1), 0); /* the commit timer runs already */
    ck_assert_int_eq(reserve_for_another(&m, &running, 0, most), 0);
    park(&m, &waiter, 0, 1);
    env_sleep_ns(50000000);
    env_mutex_lock(&m.op);
    for (uint32_t i = 0; i < most; i++) {
        m.joined[i] = true;
        m.now.meta[i]++;
        journal_txn_join(m.j, &running);
    }
    env_mutex_unlock(&m.op);
    journal_release(m.j, &running);
    env_thread_join(waiter.thread);
    ck_assert_int_eq(waiter.result, 0);
    close_all(&m);
}
END_TEST

/* ---- refusing ------------------------------------------------------------------------------- */

/* Requests of one kind to one member end so. */
static const char *bad_file;
static enum io_op bad_op;
static _Atomic int bad_result;

static bool bad_hook(const struct io_request *request, int *out_result)
{
    const char *slash = strrchr(request->file->path, '/');

    *out_result = bad_result;
    return bad_result != 0 && request->op == bad_op && slash != NULL &&
           strcmp(slash + 1, bad_file) == 0;
}

/* Write-out waits for room on the host of slot 2, with rows of blocks 0 to 15. */
static void open_stuck(struct model *m, uint64_t ring, const struct journal_options *options)
{
    model_crash_io_use();
    open_ring(m, ring, options);
    bad_file = "m2.img";
    bad_op = IO_WRITE;
    bad_result = -ENOSPC;
    crash_io_hook = bad_hook;
    ck_assert_int_eq(model_write_data(m, 0, 16), 0);
    ck_assert_int_eq(journal_drain(m->j, m->files.queue), -ENOSPC);
    ck_assert(model_status(m).waiting_for_space);
}

static void close_after_hook(struct model *m)
{
    bad_result = 0;
    while (model_status(m).waiting_for_space) {
        env_sleep_ns(20000000);
    }
    close_all(m);
}

START_TEST(a_full_host_refuses_only_when_logging_what_is_dirty_gives_no_room)
{
    const struct journal_options options = {.images_max = 4096, .commit_interval_ms = 3600000};
    struct model m;
    int error = 0;

    open_stuck(&m, RING_LEAST, &options);
    for (uint32_t i = 16; i < MODEL_DATA_BLOCKS && error == 0; i++) {
        error = model_write_data(&m, i, 1);
    }
    ck_assert_int_eq(error, -ENOSPC);
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 0);
    ck_assert(model_status(&m).waiting_for_space);
    model_expect_newest(&m);
    close_after_hook(&m);
}
END_TEST

START_TEST(a_full_host_refuses_nobody_while_reservations_may_come_back)
{
    struct journal_reservation held[16];
    struct waiter waiter;
    struct model m;

    open_stuck(&m, RING_USUAL, &no_timer);
    uint32_t count = take_all_images(&m, held, 2 + (uint32_t)m.j->space.images_used);
    park(&m, &waiter, 8, 0);
    env_sleep_ns(100000000);
    ck_assert_uint_eq(parked(&m), 1);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    env_thread_join(waiter.thread);
    ck_assert_int_eq(waiter.result, 0);
    close_after_hook(&m);
}
END_TEST

START_TEST(a_full_host_does_not_refuse_whom_a_commit_serves)
{
    struct journal_reservation held[16];
    struct waiter meta;
    struct waiter data;
    struct model m;

    open_stuck(&m, RING_USUAL, &no_timer);
    uint32_t most = journal_limits(m.j).meta_step;
    ck_assert_int_eq(model_change_meta(&m, 0, most, 3), 0);
    uint32_t used = (uint32_t)(m.j->space.images_used + m.j->space.outstanding);
    uint32_t count = take_all_images(&m, held, 2 + used);
    env_mutex_lock(&m.op); /* the commit that is asked for does not come through yet */
    park(&m, &meta, 0, 1);
    park(&m, &data, 8, 0);
    env_sleep_ns(100000000);
    ck_assert_uint_eq(parked(&m), 2);
    env_mutex_unlock(&m.op);
    env_thread_join(meta.thread);
    ck_assert_int_eq(meta.result, 0);
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    env_thread_join(data.thread);
    close_after_hook(&m);
}
END_TEST

START_TEST(rows_that_cannot_be_filled_refuse_nobody_for_good)
{
    const struct kit_shape shape = {4, 64, MEMBER_BYTES, RING_USUAL};
    struct journal_reservation held[16];
    struct waiter waiter;
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &no_timer, 0), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 24), 0);
    bad_file = "m2.img";
    bad_op = IO_READ;
    bad_result = -EIO;
    crash_io_hook = bad_hook;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -EIO);
    uint32_t kept = (uint32_t)m.j->space.images_used;
    ck_assert_uint_gt(kept, 0);
    uint32_t count = take_all_images(&m, held, kept + 2);
    park(&m, &waiter, 8, 0);
    env_sleep_ns(100000000);
    ck_assert_uint_eq(parked(&m), 1); /* what is held may come back */
    for (uint32_t i = 0; i < count; i++) {
        journal_release(m.j, &held[i]);
    }
    env_thread_join(waiter.thread);
    ck_assert_int_eq(waiter.result, 0);
    /* All that is left, in images of rows that cannot be filled either. */
    int error = 0;
    for (uint32_t i = 24; i < MODEL_DATA_BLOCKS && error == 0; i += 8) {
        error = model_write_data(&m, i, 8);
    }
    ck_assert_int_eq(error, -EIO);
    bad_result = 0;
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 16), 0);
    model_expect_newest(&m);
    close_all(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_space");
    TCase *limits = tcase_create("limits");
    TCase *waiting = tcase_create("waiting");
    TCase *refusing = tcase_create("refusing");

    tcase_add_test(limits, the_least_ring_follows_from_the_reserves_and_less_is_refused);
    tcase_add_test(limits, too_little_memory_is_refused_with_what_is_needed);
    tcase_add_test(limits, a_wanted_number_of_images_does_not_exceed_the_memory);
    tcase_add_test(limits, whatever_the_ring_one_request_of_the_limits_fits_into_an_empty_journal);
    tcase_add_test(limits, with_128_images_a_transaction_holds_the_largest_operation);
    tcase_add_test(limits, more_than_the_limits_is_refused_not_parked);
    tcase_add_test(limits, what_is_not_used_comes_back);
    tcase_add_test(limits, a_read_only_journal_refuses_reservations);
    tcase_set_timeout(limits, 60);
    tcase_add_test(waiting, an_interrupted_waiter_leaves_and_the_next_is_served);
    tcase_add_test(waiting, when_the_only_waiter_leaves_nothing_is_wanted);
    tcase_add_test(waiting, who_came_first_is_served_first_though_a_later_one_would_fit);
    tcase_add_test(waiting, a_waiter_for_room_in_the_transaction_stands_before_nobody_else);
    tcase_add_test(waiting, a_full_transaction_is_committed_for_who_waits);
    tcase_add_test(waiting, what_a_running_operation_uses_is_committed_for_who_waits);
    tcase_set_timeout(waiting, 60);
    tcase_add_test(refusing, a_full_host_refuses_only_when_logging_what_is_dirty_gives_no_room);
    tcase_add_test(refusing, a_full_host_refuses_nobody_while_reservations_may_come_back);
    tcase_add_test(refusing, a_full_host_does_not_refuse_whom_a_commit_serves);
    tcase_add_test(refusing, rows_that_cannot_be_filled_refuse_nobody_for_good);
    tcase_set_timeout(refusing, 60);
    suite_add_tcase(suite, refusing);
    suite_add_tcase(suite, limits);
    suite_add_tcase(suite, waiting);
    return kit_run(suite);
}
