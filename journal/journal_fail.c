/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal device failed while in use: end without it, losing nothing that was acknowledged.
 *
 *   begin:   mode FAILED, no more units, reservations and fsyncs refused       (who met the error)
 *   finish:  resync_offset 0 on the members | durable images of all rows to the members, parity
 *            with them, none logged | members flushed | journal recorded as faulty |
 *            resync_offset clean
 *
 * Invariants:
 *   F1  from begin on, no image becomes durable but by a batch whose writes and flush succeeded.
 *   F2  only images that were durable reach the members; what was PLACED is DIRTY again and stays
 *       in memory, readable, until the end of the mount.
 *   F3  until the journal is recorded as faulty it can still be replayed: every durable unit is in
 *       it, and from the first member write on the members are marked as needing a resync. A
 *       degraded array cannot be so marked; a crash in that window leaves what recovery makes of
 *       the log.
 *   F4  when that mark cannot be written no member is: an unlogged parity in an array that says it
 *       is clean would be a write hole (W2).
 *   F5  once the mark was asked for superblocks may have it, whatever became of that round; so it
 *       is taken back at the end, also in an array that was degraded meanwhile. One that stood
 *       there before is not ours: it stays.
 *
 * Failure modes: no space on a member's host, for the mark, for rows or for a record: goes on when
 * there is; the array fails too: given up, the journal is left as it was, so the next assembly may
 * read it.
 * Thread: begin any, with j->lock; finish the log thread.
 */
#include "journal_fail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "journal_internal.h"
#include "journal_mode.h"
#include "log.h"
#include "log_space.h"
#include "logged_stripe.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/trace.h"
#include "reclaim.h"

#define CAUSE_BYTES 96

void journal_fail_begin(struct journal *j, int error, const char *what)
{
    R5_CHECK(error < 0);
    if (j->failing != 0) {
        return;
    }
    trace_add("journal.fail", (uint64_t)-error, 0);
    j->failing = error;
    j->fail_what = what;
    msg_err(
        "journal",
        "journal failed: %s error=%d (%s), the filesystem is read-only from now on, what was not "
        "synced stays in memory (hint: r5fs journal add)",
        what,
        error,
        strerror(-error));
    journal_mode_move(j, JOURNAL_FAILED);
    log_space_serve(j);
    env_cond_broadcast(&j->commit.ended);
    env_cond_broadcast(&j->reclaim.written);
}

/* With the role, so that no batch is under way. An error: no row may be written out (F4). */
static int fail_start(struct journal *j, struct io_queue *queue)
{
    if (!j->thread.fail_started) {
        log_role_take_wait(j);
        env_mutex_lock(&j->lock);
        logged_stripe_unplace_all(j); /* F2 */
        reclaim_try_unfillable(j);
        j->thread.fail_started = true;
        env_mutex_unlock(&j->lock);
        log_role_give(j);
    }
    if (j->thread.fail_marked || array_state(j->array) != ARRAY_CLEAN) {
        return 0; /* F3: a dirty degraded array would not assemble */
    }
    if (!j->thread.fail_resync && array_resync_offset(j->array) != UINT64_MAX) {
        j->thread.fail_marked = true; /* it was dirty before: the mark is not ours to take back */
        return 0;
    }
    j->thread.fail_resync = true; /* also when it fails: F5 */
    int error = array_set_resync_offset(j->array, queue, 0);
    if (reclaim_is_full_host(error)) {
        return error;
    }
    if (error != 0) {
        msg_err("journal",
                "resync mark cannot be written error=%d: nothing is written out, the log stays",
                error);
        return error;
    }
    j->thread.fail_marked = true;
    return 0;
}

/* F4: what is logged stays in memory for reads, and in the log for the next mount. */
static void give_up(struct journal *j)
{
    env_mutex_lock(&j->lock);
    j->reclaim.error = -EIO;
    j->thread.fail_done = true;
    env_cond_broadcast(&j->reclaim.written);
    env_mutex_unlock(&j->lock);
}

static int retire_journal(struct journal *j, struct io_queue *queue)
{
    char cause[CAUSE_BYTES];

    (void)snprintf(cause, sizeof(cause), "journal %s: %s", j->fail_what, strerror(-j->failing));
    int error = array_flush_members(j->array, queue);
    if (error == 0) {
        error = array_journal_fault(j->array, queue, cause);
    }
    if (error == 0 && j->thread.fail_resync) {
        error = array_set_resync_offset(j->array, queue, UINT64_MAX);
    }
    if (reclaim_is_full_host(error)) {
        return error;
    }
    env_mutex_lock(&j->lock);
    uint64_t unsynced = j->space.dirty;
    env_mutex_unlock(&j->lock);
    if (error != 0) {
        msg_err("journal", "the failed journal cannot be recorded as faulty error=%d", error);
    } else {
        msg_info("journal", "journal retired unsynced_blocks=%" PRIu64, unsynced);
    }
    return error;
}

/* Rows that are not on the members yet, as far as they can get there. -ENOSPC: a host is full;
 * -EAGAIN: somebody reads a row, or there are no buffers now. */
static int write_out_unlogged(struct journal *j, struct io_queue *queue)
{
    struct reclaim *reclaim = &j->reclaim;

    while (reclaim->error == 0 &&
           (reclaim->head_count > 0 || j->live_rows > reclaim->failed_rows)) {
        if (!reclaim_batch_unlogged(j, queue)) {
            return -EAGAIN;
        }
        if (reclaim->error == 0 && (reclaim->stuck || reclaim->parked)) {
            return reclaim->stuck ? -ENOSPC : -EAGAIN;
        }
    }
    return 0;
}

/* Called again while a member's host lacks room, for readers, and for buffers. */
void journal_fail_finish(struct journal *j, struct io_queue *queue)
{
    struct reclaim *reclaim = &j->reclaim;
    int error = fail_start(j, queue);

    if (error != 0 && !reclaim_is_full_host(error)) {
        give_up(j);
        return;
    }
    if (error == 0) {
        error = write_out_unlogged(j, queue);
    }
    if (error == 0 && reclaim->error == 0 && reclaim->failed_rows == 0) {
        error = retire_journal(j, queue);
    }
    if (reclaim_is_full_host(error)) {
        reclaim_set_stuck(j, true);
        return;
    }
    if (error == -EAGAIN) {
        return;
    }
    env_mutex_lock(&j->lock);
    reclaim->stuck = false;
    j->thread.fail_done = true;
    env_cond_broadcast(&reclaim->written);
    env_mutex_unlock(&j->lock);
}
