/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commits: everything written so far becomes durable, the running transaction in one unit.
 *
 *   leader:    role | data units, flush ... | client locked: rest of the data, the transaction |
 *                   | client unlocked: write, flush, durable | role given, client told
 *   followers:       '-- wait for `ended`; the next leader is one of those that came too late
 *
 * Invariants:
 *   C1  one commit at a time (`leading`), from before the role to after the client was told.
 *   C2  a transaction's blocks are in one unit, behind all data written before it closed (W5, W10).
 *   C3  while the client is locked nothing is dirtied: the second half is bounded by what was
 *       dirty.
 *   C4  the unit in which a transaction closes has its images before the client is unlocked: the
 *       client's buffers may change at once (second buffers, W5).
 *   C5  kernel_safe: a leader who lacks room for rows (log_rows.c) gives back the client, the role
 *       and the lead before he waits for an empty log.
 *
 * Happy path: above. Nothing volatile: returns at once, no flush.
 * Failure modes: the journal failed: -EIO for the leader and all who wait; a transaction that had
 * closed is reported by client->durable(-EIO), one that had not goes on running, in memory.
 * Thread: any caller of journal_commit, or the log thread for the timer and for those on the
 * no-space lists. Order: role -> client's lock -> j->lock.
 */
#include "commit.h"

#include <errno.h>

#include "log.h"
#include "log_space.h"
#include "log_thread.h"
#include "logged_stripe.h"
#include "r5fs/base/trace.h"
#include "r5fs/base/wait_check.h"
#include "reclaim.h"

#define COMMIT_EXTRA_ROUNDS \
    3u /* beyond what was dirty at first, before the client is locked anyway */

void commit_init(struct journal *j)
{
    j->commit.running_txn = 1;
    env_cond_init(&j->commit.ended);
    j->commit.watch = watch_open("commit", NULL);
}

void commit_fini(struct journal *j)
{
    R5_CHECK(!j->commit.leading);
    watch_close(j->commit.watch);
    env_cond_fini(&j->commit.ended);
}

bool commit_is_needed(const struct journal *j)
{
    return j->space.dirty > 0 || j->space.txn_used > 0;
}

/* ---- the leader ----------------------------------------------------------------------------- */

/* Whether the rest, and the transaction, go into the units at once. */
static bool dirty_fits(const struct journal *j)
{
    uint64_t units = min_u64(j->units.count, LOG_UNITS_IN_FLIGHT_MAX);

    return j->space.dirty <= (units - 1) * (LOG_UNIT_PAYLOADS_MAX - MEMBERS_MAX);
}

/* [lock] As many rounds as what is dirty now needs, and some for what comes meanwhile. */
static uint64_t rounds_max(const struct journal *j)
{
    return COMMIT_EXTRA_ROUNDS + j->space.dirty / LOG_UNIT_PAYLOADS_MAX / j->units.count;
}

/* Data units while the client goes on writing. */
static int write_data_rounds(struct journal *j, struct io_queue *queue)
{
    int error = 0;

    env_mutex_lock(&j->lock);
    uint64_t rounds = dirty_fits(j) ? 0 : rounds_max(j);
    env_mutex_unlock(&j->lock);
    while (error == 0 && rounds > 0) {
        env_mutex_lock(&j->lock);
        log_place_dirty(j);
        env_mutex_unlock(&j->lock);
        watch_step(j->commit.watch, "data", rounds, 0);
        error = log_batch_write(j, queue);
        env_mutex_lock(&j->lock);
        rounds = dirty_fits(j) ? 0 : rounds - 1;
        env_mutex_unlock(&j->lock);
    }
    return error;
}

/* The client is locked: all that is left of the data. Units may be composed and unwritten
 * afterwards. */
static int place_rest_of_data(struct journal *j, struct io_queue *queue)
{
    int error = 0;
    bool left = true;

    while (left && error == 0) {
        env_mutex_lock(&j->lock);
        log_place_dirty(j);
        left = j->space.dirty > 0;
        env_mutex_unlock(&j->lock);
        if (left) {
            watch_step(j->commit.watch, "rest of the data", 0, 0);
            error = log_batch_write(j, queue);
        }
    }
    return error;
}

/* [lock] All blocks of the transaction into one unit. False when no unit is free. */
static bool place_txn(struct journal *j, uint32_t count)
{
    struct io_unit *unit = log_unit_with_room(j, count);

    if (unit == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct stripe_image *image = logged_stripe_place_new(
            j, j->commit.address[i], j->commit.data[i], unit->seq, unit->position);

        log_rows_note(j, image->head->row, unit->seq);
        io_unit_add_data(unit, j->commit.address[i], image, image->data);
        log_head_advance(j);
    }
    return true;
}

static uint32_t fetch_txn(struct journal *j)
{
    uint32_t count = j->client.seal == NULL ? 0 : j->client.seal(j->client.context);

    R5_CHECK(count <= JOURNAL_TXN_BLOCKS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        j->client.block(j->client.context, i, &j->commit.address[i], &j->commit.data[i]);
        R5_CHECK(j->commit.address[i].nr < j->geometry->volume_blocks);
    }
    return count;
}

/* The client is locked. Sets the number of the transaction that closed. -EAGAIN, and nothing was
 * placed: the log may not name all the rows (C5). */
static int close_txn(struct journal *j, struct io_queue *queue, uint64_t *out_txn)
{
    uint32_t count = fetch_txn(j);

    env_mutex_lock(&j->lock);
    R5_CHECK(count <= j->space.txn_used);
    bool fit = log_rows_fit_all(j, count);
    env_mutex_unlock(&j->lock);
    int error = fit ? place_rest_of_data(j, queue) : -EAGAIN; /* C2 */
    if (error != 0) {
        return error;
    }
    env_mutex_lock(&j->lock);
    bool placed = count == 0 || place_txn(j, count);
    env_mutex_unlock(&j->lock);
    if (!placed) {
        error = log_batch_write(j, queue);
        if (error != 0) {
            return error;
        }
        env_mutex_lock(&j->lock);
        placed = place_txn(j, count);
        R5_CHECK(placed);
        env_mutex_unlock(&j->lock);
    }
    env_mutex_lock(&j->lock);
    log_space_close_txn(j);
    log_rows_closed(j);
    j->oldest_dirty_ns = 0;
    *out_txn = j->commit.running_txn;
    j->commit.running_txn++;
    log_space_serve(j); /* the next transaction has room */
    env_mutex_unlock(&j->lock);
    if (j->client.closed != NULL) {
        j->client.closed(j->client.context, *out_txn);
    }
    return 0;
}

static void client_lock(struct journal *j)
{
    if (j->client.lock != NULL) {
        j->client.lock(j->client.context);
    }
}

static void client_unlock(struct journal *j)
{
    if (j->client.unlock != NULL) {
        j->client.unlock(j->client.context);
    }
}

/* The journal may have failed while the role was waited for: what is placed then would never be
 * unplaced (journal_fail.c, F2). With the role in hand nothing of that can happen any more. */
static int role_take(struct journal *j)
{
    if (!log_writer_begin(j)) {
        return -ENOBUFS;
    }
    env_mutex_lock(&j->lock);
    int error = j->failing != 0 ? -EIO : 0;
    log_rows_enforce(j, true);
    env_mutex_unlock(&j->lock);
    return error;
}

static void role_give(struct journal *j)
{
    env_mutex_lock(&j->lock);
    log_rows_enforce(j, false);
    env_mutex_unlock(&j->lock);
    log_role_give(j);
}

/* kernel_safe, the client is unlocked: as many rows as the log may name. A row that is in the log
 * fits again each time it is dirtied, so not until nothing is left. */
static int write_data_that_fits(struct journal *j, struct io_queue *queue)
{
    int error = 0;

    env_mutex_lock(&j->lock);
    uint64_t rounds = rounds_max(j);
    env_mutex_unlock(&j->lock);
    while (rounds > 0 && error == 0) {
        env_mutex_lock(&j->lock);
        log_place_dirty(j);
        rounds = j->log.batch_count > 0 ? rounds - 1 : 0;
        env_mutex_unlock(&j->lock);
        error = log_batch_write(j, queue);
    }
    return error == 0 ? -EAGAIN : error;
}

/* -EAGAIN: the log must be emptied first. -ENOBUFS: there is no io unit. */
static int commit_lead(struct journal *j, struct io_queue *queue)
{
    uint64_t txn = 0;

    trace_add("commit.begin", 0, 0);
    watch_enter(j->commit.watch, "the writer role", 0, 0);
    int error = role_take(j);
    if (error == -ENOBUFS) {
        watch_leave(j->commit.watch);
        return error;
    }
    if (error == 0) {
        error = write_data_rounds(j, queue);
    }
    if (error == 0) {
        watch_step(j->commit.watch, "the filesystem's lock", 0, 0);
        client_lock(j);
        error = close_txn(j, queue, &txn);
        client_unlock(j);
    }
    if (error == -EAGAIN) {
        error = write_data_that_fits(j, queue);
    } else if (error == 0) {
        watch_step(j->commit.watch, "the transaction", txn, 0);
        error = log_batch_write(j, queue);
    }
    R5_CHECK(error != 0 || txn != 0);
    role_give(j);
    env_mutex_lock(&j->lock);
    if (error == 0) {
        j->commit.durable_txn = txn;
        j->commit.count++;
    }
    env_mutex_unlock(&j->lock);
    if (txn != 0 && j->client.durable != NULL) {
        j->client.durable(j->client.context, txn, error);
    }
    watch_leave(j->commit.watch);
    trace_add("commit.end", txn, (uint64_t)-error);
    return error;
}

/* ---- leader or follower --------------------------------------------------------------------- */

/* [lock] -EAGAIN: the log thread was asked for an empty log. -ENOBUFS: no io unit. */
static int lead(struct journal *j, struct io_queue *queue)
{
    j->commit.leading = true; /* C1 */
    env_mutex_unlock(&j->lock);
    int error = commit_lead(j, queue);
    env_mutex_lock(&j->lock);
    j->commit.leading = false;
    if (error == -EAGAIN) {
        log_rows_want(j);
    }
    env_cond_broadcast(&j->commit.ended);
    env_cond_signal(&j->thread.wake);
    return error;
}

/* [lock] Until the log thread has emptied the log. C5: nothing is held. */
static int empty_log_wait(struct journal *j)
{
    while (log_rows_is_waited_for(j) && !j->thread.stop) {
        env_cond_wait(&j->reclaim.written, &j->lock);
    }
    return j->thread.stop ? -EIO : 0;
}

struct unit_wait {
    struct reservation reservation;
    struct journal *journal;
    bool over;
};

static void unit_is_there(struct reservation *reservation)
{
    struct unit_wait *wait = container_of(reservation, struct unit_wait, reservation);

    wait->over = true;
    reservation_cancel(reservation->wants); /* it is taken with the role, never before it */
    env_cond_broadcast(&wait->journal->space.granted);
}

/* [lock] Until there is an io unit. Nothing is held: not the lead, nor the role. */
static void unit_wait(struct journal *j)
{
    struct unit_wait wait = {.reservation = {.class = LOG_SPACE_WRITE_OUT,
                                             .wants = {{&j->units.pool, 1}},
                                             .granted = unit_is_there},
                             .journal = j};

    if (!collector_reserve_or_park(&j->space.collector, &wait.reservation)) {
        env_cond_signal(&j->thread.wake);
    }
    while (!wait.over) {
        env_cond_wait(&j->space.granted, &j->lock);
    }
}

/* [lock] Returns when `txn` is durable. */
static int commit_wait(struct journal *j, struct io_queue *queue, uint64_t txn)
{
    int error = 0;

    while (error == 0 && j->commit.durable_txn < txn) {
        if (j->failing != 0) {
            error = -EIO;
        } else if (j->commit.leading) {
            env_cond_wait(&j->commit.ended, &j->lock);
        } else if (!commit_is_needed(j) && txn == j->commit.running_txn) {
            return 0; /* nothing is volatile: what was written is durable, or was freed again */
        } else if (log_rows_is_waited_for(j)) {
            error = empty_log_wait(j);
        } else {
            error = lead(j, queue);
            if (error == -ENOBUFS) {
                unit_wait(j);
            }
            error = error == -EAGAIN || error == -ENOBUFS ? 0 : error;
        }
    }
    return error;
}

int commit_try(struct journal *j, struct io_queue *queue)
{
    int error = 0;

    env_mutex_lock(&j->lock);
    if (!j->commit.leading && j->failing == 0 && commit_is_needed(j)) {
        error = lead(j, queue);
        if (error == -ENOBUFS) {
            log_thread_park(j, &j->units.pool, 1);
        }
    }
    env_mutex_unlock(&j->lock);
    return error == -EAGAIN || error == -ENOBUFS ? 0 : error;
}

int commit_running(struct journal *j, struct io_queue *queue)
{
    env_mutex_lock(&j->lock);
    int error = commit_wait(j, queue, j->commit.running_txn);
    env_mutex_unlock(&j->lock);
    return error;
}

/* [lock] Write-through: until the rows are on the members, or will not get there: they are durable
 * in the log all the same. */
static void wait_written(struct journal *j)
{
    uint64_t seq = j->log.durable_seq;

    if (j->thread.want_written_seq < seq) {
        j->thread.want_written_seq = seq;
    }
    env_cond_signal(&j->thread.wake);
    while (reclaim_is_behind(j, seq) && !reclaim_is_halted(j) && !j->thread.stop) {
        env_cond_wait(&j->reclaim.written, &j->lock);
    }
}

int journal_commit(struct journal *j, struct io_queue *queue, uint64_t txn)
{
    wait_check_memory(POOL_RANK_IMAGE, "journal_commit");
    env_mutex_lock(&j->lock);
    R5_CHECK(txn <= j->commit.running_txn);
    if (j->mode == JOURNAL_READ_ONLY) {
        env_mutex_unlock(&j->lock);
        return -EROFS;
    }
    j->thread.last_use_ns = env_now_ns();
    int error = commit_wait(j, queue, txn);
    if (error == 0 && j->mode == JOURNAL_WRITE_THROUGH) {
        wait_written(j);
    }
    env_mutex_unlock(&j->lock);
    return error;
}

uint64_t journal_running_txn(struct journal *j)
{
    env_mutex_lock(&j->lock);
    uint64_t txn = j->commit.running_txn;
    env_mutex_unlock(&j->lock);
    return txn;
}
