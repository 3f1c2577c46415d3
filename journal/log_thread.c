/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log thread: decides what is due, does one piece of it, decides again.
 *
 *   what                 when
 *   fail                 the journal device failed
 *   commit               the oldest volatile write is commit_interval old; a waiter lacks room in
 *                        the transaction; a quarter of the images is dirty; a waiter lacks images
 *                        or log space and committing is what helps
 *   write out            rows parked behind readers hold their cells now; a waiter lacks images
 *                        or log space; more than half of either is used, until 3/8;
 *                        write-through, drain; nothing was asked for IDLE_NS; kernel_safe: a
 *                        commit lacks room for rows
 *   tail                 an eighth of the ring would come free; a waiter needs just that, or
 *                        nothing else is left to try for one; idle; drain
 *   empty unit, tail     drain; a waiter for log space, and nothing is left to write out;
 *                        kernel_safe: a commit lacks room for rows
 *
 * Invariants:
 *   T1  it waits for nothing but its own I/O, the writer role, the client's lock inside a commit,
 *       and to be woken: never for memory, nor for somebody else's commit. What lacks a unit or
 *       buffers stands on the no-space list (log_thread_park).
 *   T2  every condition above wakes it when it becomes true, or has a deadline.
 *   T3  each piece takes at most one batch of rows, or one commit, so it comes back here soon; a
 *       commit that asks for the role in between gets it first (the role is first come, first
 *       served).
 *
 * Happy path: wait, commit each 5 s, write out when idle. Failure modes: each piece notes its own.
 */
#include "log_thread.h"

#include <errno.h>
#include <inttypes.h>

#include "commit.h"
#include "journal_fail.h"
#include "log.h"
#include "log_space.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/trace.h"
#include "r5fs/base/wait_check.h"
#include "reclaim.h"

#define QUEUE_DEPTH   256u
#define IDLE_NS       1000000000ull
#define NS_PER_MS     1000000ull
#define NO_DEADLINE   UINT64_MAX
#define HIGH_EIGHTHS  4u
#define LOW_EIGHTHS   3u
#define TAIL_FRACTION 8u /* of the ring: so much freed is worth a superblock write */
#define DIRTY_QUARTER 4u /* of the images: so much dirty is worth a commit */

/* ---- deciding ------------------------------------------------------------------------------- */

/* Images that only a write-out frees. */
static uint64_t images_logged(const struct journal *j)
{
    return j->space.images_used - j->space.dirty;
}

static bool above_eighths(const struct journal *j, uint64_t eighths)
{
    return log_used_by_live(j) * 8 > j->log.ring.blocks * eighths ||
           images_logged(j) * 8 > (uint64_t)j->space.images_max * eighths;
}

/* Somebody drains, or commits cannot go on otherwise. */
static bool log_is_to_be_empty(const struct journal *j)
{
    return j->thread.want_empty > 0 || j->rows.wanted;
}

static bool is_idle(const struct journal *j, uint64_t now_ns)
{
    return now_ns >= j->thread.last_use_ns + IDLE_NS;
}

static uint64_t commit_due_ns(const struct journal *j)
{
    return j->oldest_dirty_ns + j->options.commit_interval_ms * NS_PER_MS;
}

static bool commit_is_due(const struct journal *j, uint64_t now_ns)
{
    const struct log_space *space = &j->space;

    if (!commit_is_needed(j) || j->commit.leading) {
        return false; /* the end of the commit in flight wakes us */
    }
    if (log_rows_is_waited_for(j)) {
        return false; /* it would lack room */
    }
    if (now_ns >= commit_due_ns(j)) {
        return true;
    }
    if (space->wanted[LOG_SPACE_NO_TXN_ROOM] && (space->txn_used > 0 || log_rows_gate_is_shut(j))) {
        return true;
    }
    if (space->dirty * DIRTY_QUARTER >= space->images_max) {
        return true;
    }
    /* What is dirty must be logged before it can be written out. When nothing can be, logging it
     * gives back what was reserved for the worst case. */
    return log_space_wants_room(j) && (j->reclaim.stuck || j->live_rows <= j->reclaim.failed_rows ||
                                       space->dirty * 2 > space->images_used);
}

static uint64_t rows_to_write(const struct journal *j)
{
    return j->live_rows > j->reclaim.failed_rows ? j->live_rows - j->reclaim.failed_rows : 0;
}

/* Log space that moving the tail would give at once. */
static uint64_t tail_gain(const struct journal *j)
{
    return log_used(j) - log_used_by_live(j);
}

static bool tail_is_due(const struct journal *j, uint64_t now_ns)
{
    uint64_t gain = tail_gain(j);

    if (gain == 0) {
        return false;
    }
    if (log_space_wants_room(j) && rows_to_write(j) == 0) {
        return true; /* it helps, or shows that nothing will: log_space.c's dead_end */
    }
    if (j->space.wanted[LOG_SPACE_NO_LOG] && log_space_fits_if_used(j, log_used(j) - gain)) {
        return true;
    }
    if (gain * TAIL_FRACTION >= j->log.ring.blocks) {
        return true;
    }
    return rows_to_write(j) == 0 && (j->thread.want_empty > 0 || is_idle(j, now_ns));
}

static bool write_out_is_due(struct journal *j, uint64_t now_ns)
{
    if (rows_to_write(j) == 0) {
        j->reclaim.draining = false;
        return false;
    }
    if (above_eighths(j, HIGH_EIGHTHS)) {
        j->reclaim.draining = true;
    } else if (!above_eighths(j, LOW_EIGHTHS)) {
        j->reclaim.draining = false;
    }
    return j->reclaim.draining || log_space_wants_room(j) || log_is_to_be_empty(j) ||
           j->mode == JOURNAL_WRITE_THROUGH || reclaim_is_behind(j, j->thread.want_written_seq) ||
           is_idle(j, now_ns);
}

static bool empty_is_due(const struct journal *j)
{
    if (j->live_rows > 0 || log_used(j) <= 1) {
        return false;
    }
    return log_is_to_be_empty(j) || (j->space.wanted[LOG_SPACE_NO_LOG] && !commit_is_needed(j));
}

static uint64_t next_deadline(const struct journal *j)
{
    uint64_t deadline = NO_DEADLINE;

    if (commit_is_needed(j) && !j->commit.leading) {
        deadline = commit_due_ns(j);
    }
    if (j->reclaim.stuck) {
        deadline = min_u64(deadline, j->reclaim.retry_ns);
    } else if (j->reclaim.error == 0 && (rows_to_write(j) > 0 || tail_gain(j) > 0)) {
        deadline = min_u64(deadline, j->thread.last_use_ns + IDLE_NS);
    }
    if (j->reclaim.failed_rows > 0 && !j->reclaim.stuck && j->reclaim.error == 0) {
        deadline = min_u64(deadline, j->reclaim.refill_ns); /* else nothing would be tried */
    }
    return deadline;
}

static enum log_work choose_reclaim(struct journal *j, uint64_t now_ns)
{
    if (j->reclaim.error != 0) {
        return LOG_WORK_WAIT;
    }
    if (j->reclaim.stuck && now_ns < j->reclaim.retry_ns) {
        return LOG_WORK_WAIT;
    }
    if (j->reclaim.stuck) {
        return j->reclaim.batch_seq != 0 ? LOG_WORK_WRITE_OUT : LOG_WORK_TAIL;
    }
    if (j->reclaim.failed_rows > 0 && now_ns >= j->reclaim.refill_ns) {
        reclaim_try_unfillable(j);
    }
    if (tail_is_due(j, now_ns)) {
        return LOG_WORK_TAIL;
    }
    if (write_out_is_due(j, now_ns)) {
        return LOG_WORK_WRITE_OUT;
    }
    if (empty_is_due(j)) {
        return LOG_WORK_EMPTY;
    }
    return LOG_WORK_WAIT;
}

enum log_work log_thread_choose(struct journal *j, uint64_t now_ns, uint64_t *out_deadline_ns)
{
    enum log_work work = LOG_WORK_WAIT;

    *out_deadline_ns = NO_DEADLINE;
    if (j->reclaim.parked) { /* nothing else (R3): the readers' I/O ends, and cell_granted wakes */
        return j->reclaim.granted > 0 ? LOG_WORK_WRITE_OUT : LOG_WORK_WAIT;
    }
    if (j->thread.stop) {
        return LOG_WORK_STOP;
    }
    if (j->thread.lacks) { /* lack_is_over wakes */
        return tail_is_due(j, now_ns) && j->failing == 0 ? LOG_WORK_TAIL : LOG_WORK_WAIT;
    }
    if (j->failing != 0) {
        bool wait = j->thread.fail_done || (j->reclaim.stuck && now_ns < j->reclaim.retry_ns);

        *out_deadline_ns = j->thread.fail_done ? NO_DEADLINE : j->reclaim.retry_ns;
        return wait ? LOG_WORK_WAIT : LOG_WORK_FAIL;
    }
    if (log_space_wants_room(j)) {
        log_space_serve(j); /* what was under way is over: some may have to be refused */
    }
    if (commit_is_due(j, now_ns)) {
        return LOG_WORK_COMMIT;
    }
    work = choose_reclaim(j, now_ns);
    if (work == LOG_WORK_WAIT) {
        *out_deadline_ns = next_deadline(j);
    }
    return work;
}

/* ---- the no-space list, for itself ---------------------------------------------------------- */

/* It is taken with the role, never before it: only that it is there is told. */
static void lack_is_over(struct reservation *reservation)
{
    struct journal *j = container_of(reservation, struct journal, thread.lack);

    reservation_cancel(reservation->wants);
    j->thread.lacks = false;
    env_cond_signal(&j->thread.wake);
}

void log_thread_park(struct journal *j, struct pool *pool, uint64_t count)
{
    j->thread.lacks = true;
    j->thread.lack = (struct reservation){
        .class = LOG_SPACE_WRITE_OUT, .wants = {{pool, count}}, .granted = lack_is_over};
    trace_add("log_thread.park", count, 0);
    /* Granted at once: told already. */
    (void)collector_reserve_or_park(&j->space.collector, &j->thread.lack);
}

/* ---- doing ---------------------------------------------------------------------------------- */

static const char *work_name(enum log_work work)
{
    switch (work) {
    case LOG_WORK_FAIL: return "after the journal's failure";
    case LOG_WORK_COMMIT: return "commit";
    case LOG_WORK_WRITE_OUT: return "write-out: the writer role";
    case LOG_WORK_TAIL: return "tail";
    case LOG_WORK_EMPTY: return "empty the log";
    case LOG_WORK_WAIT:
    case LOG_WORK_STOP: break;
    }
    return "?";
}

/* Errors are not lost: each piece has noted its own in the journal, and `choose` looks there. */
static void work_do(struct journal *j, enum log_work work, bool all)
{
    struct io_queue *queue = j->thread.queue;
    int error = 0;

    trace_add("log_thread.work", work, all);
    watch_enter(j->thread.watch, work_name(work), 0, 0);
    switch (work) {
    case LOG_WORK_FAIL: journal_fail_finish(j, queue); break;
    case LOG_WORK_COMMIT: error = commit_try(j, queue); break;
    case LOG_WORK_WRITE_OUT: error = reclaim_batch(j, queue, all); break;
    case LOG_WORK_TAIL: error = reclaim_move_tail(j, queue); break;
    case LOG_WORK_EMPTY: error = reclaim_make_empty(j, queue); break;
    case LOG_WORK_WAIT:
    case LOG_WORK_STOP: break;
    }
    watch_leave(j->thread.watch);
    if (error != 0) {
        msg_debug("log_thread", "work=%u error=%d", (unsigned)work, error);
    }
}

/* [lock] What a fault plan refused was freed by nobody, so nobody tells. */
static void look_again(struct journal *j)
{
    if (pool_faults_active()) {
        env_mutex_unlock(&j->lock);
        pool_faults_tick();
        env_mutex_lock(&j->lock);
        log_space_serve(j); /* behind the tick: it may have ended the last plan */
    }
}

static void run(struct journal *j)
{
    enum log_work work = LOG_WORK_WAIT;

    wait_check_forbid_kinds(WAIT_FOR_MEMORY | WAIT_FOR_CELL, "log thread"); /* T1 */
    env_mutex_lock(&j->lock);
    while (work != LOG_WORK_STOP) {
        uint64_t deadline = NO_DEADLINE;
        bool all = log_space_wants_room(j) || log_is_to_be_empty(j);

        work = log_thread_choose(j, env_now_ns(), &deadline);
        deadline = pool_faults_deadline(deadline);
        if (work == LOG_WORK_WAIT && deadline == NO_DEADLINE) {
            env_cond_wait(&j->thread.wake, &j->lock);
        } else if (work == LOG_WORK_WAIT) {
            (void)env_cond_wait_until(
                &j->thread.wake, &j->lock, deadline); /* either way: look again */
            look_again(j);
        } else {
            env_mutex_unlock(&j->lock);
            work_do(j, work, all);
            env_mutex_lock(&j->lock);
        }
    }
    if (j->thread.lacks) {
        collector_remove(&j->space.collector, &j->thread.lack);
        j->thread.lacks = false;
    }
    env_cond_broadcast(&j->reclaim.written);
    env_mutex_unlock(&j->lock);
}

static void thread_main(void *context)
{
    struct journal *j = context;
    int error = io_queue_open(&j->thread.queue, j->options.arena, QUEUE_DEPTH);

    env_mutex_lock(&j->lock);
    j->thread.error = error;
    j->thread.ready = true;
    env_cond_broadcast(&j->reclaim.written);
    env_mutex_unlock(&j->lock);
    if (error != 0) {
        return;
    }
    watch_here(j->thread.watch); /* whatever I/O of it ends is progress, too */
    run(j);
    watch_here(NULL);
    io_queue_close(j->thread.queue);
}

void log_thread_init(struct journal *j)
{
    env_cond_init(&j->thread.wake);
    j->thread.watch = watch_open("log thread", NULL);
}

void log_thread_fini(struct journal *j)
{
    watch_close(j->thread.watch);
    env_cond_fini(&j->thread.wake);
}

int log_thread_start(struct journal *j)
{
    j->thread.last_use_ns = env_now_ns();
    int error = env_thread_start(&j->thread.thread, "r5fs-log", thread_main, j);
    if (error != 0) {
        return error;
    }
    env_mutex_lock(&j->lock);
    while (!j->thread.ready) {
        env_cond_wait(&j->reclaim.written, &j->lock);
    }
    error = j->thread.error;
    env_mutex_unlock(&j->lock);
    if (error != 0) {
        env_thread_join(j->thread.thread);
        j->thread.thread = NULL;
    }
    return error;
}

void log_thread_stop(struct journal *j)
{
    if (j->thread.thread == NULL) {
        return;
    }
    env_mutex_lock(&j->lock);
    j->thread.stop = true;
    env_cond_signal(&j->thread.wake);
    env_mutex_unlock(&j->lock);
    env_thread_join(j->thread.thread);
    j->thread.thread = NULL;
}
