/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Write-out: rows to the members, and the tail behind them.
 *
 *   role taken | freeze, fill, encode, parity unit, journal flush | role given | members written |
 *                                                     finish ... later: members flushed |
 *                                                     superblock: tail
 *
 * Invariants:
 *   R1  a row's members are written only when its parity payload is durable (W2), or its parity
 *       member is missing; what is written is LOGGED, so durable (W1).
 *   R2  the role is held from freeze to the durable parity: no payload of a frozen row comes before
 *       its parity in the log (W8), and no committer ever meets such a row.
 *   R3  one batch at a time; one that is stuck on a full host, or parked behind readers, stays the
 *       batch until it is through. While it is parked the log thread takes no role: who has it may
 *       wait for a reader that stands behind a parked row.
 *   R4  pin_seq names the oldest unit of all rows frozen since the last flush of the members; the
 *       tail does not pass it (W3).
 *   R5  a batch takes no more encode buffers than there are (head_max rows); they, the role and a
 *       unit are got before a row is frozen, all or none.
 *   R6  the first batch since the members' flush has the row of the volume's first block among its
 *       own, if anything of it is logged: what judge_log compares is on the members no later than
 *       anything else that a copy of the log, made when the tail was last moved, lacks.
 *
 * Happy path: reclaim_batch until enough is free, then reclaim_move_tail.
 * Failure modes: no space on a member's host, for rows or for the record of a lost member: stuck,
 * tried again each second. A row with too much lost to be filled stays logged and is passed over,
 * until something new of it is logged (no read may be needed then), a drain wants it, or
 * RECLAIM_REFILL_NS have passed. The array failed: write-out is over. The journal failed: the batch
 * stays as it is; journal_fail.c goes on from there.
 * Thread: the log thread; the opening thread before it runs.
 */
#include "reclaim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "log_space.h"
#include "log_thread.h"
#include "logged_stripe.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/trace.h"

#define RECLAIM_BATCH_BLOCKS 64u /* 256 KiB, then the commit list is looked at */
#define RECLAIM_RETRY_NS     1000000000ull
#define RECLAIM_REFILL_NS    30000000000ull
#define RECLAIM_WINDOW_ROWS  256u /* how far around a row its stripe is searched for others */

/* A reader left, and a row of the batch that waited for it can go on. */
static void cell_granted(void *context)
{
    struct journal *j = context;

    env_mutex_lock(&j->lock);
    j->reclaim.granted++;
    env_cond_signal(&j->thread.wake);
    env_mutex_unlock(&j->lock);
}

void reclaim_init(struct journal *j, uint32_t encode_buffers)
{
    j->cache.cell_granted = cell_granted;
    j->cache.cell_context = j;
    uint64_t rows = encode_buffers / stripe_encode_need(&j->cache);

    R5_CHECK(rows >= 1);
    j->reclaim.head_max = (uint32_t)min_u64(rows, JOURNAL_BATCH_ROWS_MAX);
    j->reclaim.heads =
        arena_take_array(j->options.arena, struct stripe_head *, j->reclaim.head_max);
    env_cond_init(&j->reclaim.written);
}

void reclaim_fini(struct journal *j)
{
    env_cond_fini(&j->reclaim.written);
}

/* ---- picking -------------------------------------------------------------------------------- */

/* [lock] R4 */
static void pin(struct journal *j, const struct stripe_generation *generation)
{
    struct reclaim *reclaim = &j->reclaim;

    if (reclaim->pin_seq == 0 || generation->first_seq < reclaim->pin_seq) {
        reclaim->pin_seq = generation->first_seq;
        reclaim->pin_position = generation->first_position;
        reclaim->pin_ns = generation->first_ns;
    }
    if (reclaim->batch_seq == 0 || generation->first_seq < reclaim->batch_seq) {
        reclaim->batch_seq = generation->first_seq;
    }
}

/* [lock] */
static bool pick_row(struct journal *j, struct stripe_head *head, uint64_t *blocks)
{
    if (head->unfillable || !logged_stripe_freeze(j, head)) {
        return false;
    }
    pin(j, &head->closing);
    j->reclaim.heads[j->reclaim.head_count] = head;
    j->reclaim.head_count++;
    *blocks += head->image_count;
    return true;
}

/* [lock] */
static void pick_at(struct journal *j, struct member_block row, uint64_t *blocks)
{
    struct stripe_head *head =
        j->reclaim.head_count < j->reclaim.head_max ? stripe_find(&j->cache, row) : NULL;

    if (head != NULL) {
        (void)pick_row(j, head, blocks); /* false: nothing to write out there */
    }
}

/* [lock] Other rows of the same stripe: the members are written in longer pieces. */
static void pick_neighbours(struct journal *j, struct member_block row, uint64_t *blocks)
{
    uint64_t window = min_u64(j->geometry->chunk_blocks, RECLAIM_WINDOW_ROWS);
    uint64_t first = round_down(row.nr, window);

    for (uint64_t nr = first; nr < first + window; nr++) {
        pick_at(j, member_block(nr), blocks);
    }
}

/* [lock, role] */
static void pick(struct journal *j, uint64_t blocks_max)
{
    struct list_node *node = list_first(&j->live);
    uint64_t blocks = 0;

    R5_CHECK(j->reclaim.head_count == 0);
    if (j->reclaim.pin_seq == 0) { /* R6 */
        pick_at(j, geometry_locate(j->geometry, fs_block(0)).row, &blocks);
        node = list_first(&j->live);
    }
    while (node != NULL && blocks < blocks_max && j->reclaim.head_count < j->reclaim.head_max) {
        struct stripe_head *head = container_of(node, struct stripe_head, open.live);
        struct member_block row = head->row;

        if (pick_row(j, head, &blocks)) {
            pick_neighbours(j, row, &blocks);
            node = list_first(&j->live);
        } else {
            node = node->next == &j->live ? NULL : node->next;
        }
    }
}

/* ---- fill, encode, log ---------------------------------------------------------------------- */

void reclaim_try_row(struct journal *j, struct stripe_head *head)
{
    if (head->unfillable) {
        R5_CHECK(j->reclaim.failed_rows > 0);
        head->unfillable = false;
        j->reclaim.failed_rows--;
    }
}

void reclaim_try_unfillable(struct journal *j)
{
    if (j->reclaim.failed_rows > 0) {
        list_for_each (node, &j->live) {
            reclaim_try_row(j, container_of(node, struct stripe_head, open.live));
        }
    }
    R5_CHECK(j->reclaim.failed_rows == 0); /* such a row is live: its images are LOGGED */
}

/* Rows that could not be filled leave the batch; their images stay LOGGED. */
static void drop_failed(struct journal *j)
{
    struct reclaim *reclaim = &j->reclaim;
    uint32_t kept = 0;

    env_mutex_lock(&j->lock);
    for (uint32_t i = 0; i < reclaim->head_count; i++) {
        struct stripe_head *head = reclaim->heads[i];

        if (head->state == STRIPE_FAILED) {
            logged_stripe_unfreeze(j, head);
            head->unfillable = true;
            reclaim->failed_rows++;
            reclaim->refill_ns = env_now_ns() + RECLAIM_REFILL_NS;
        } else {
            reclaim->heads[kept] = head;
            kept++;
        }
    }
    reclaim->head_count = kept;
    env_mutex_unlock(&j->lock);
}

/* [lock, role] One parity payload for each row that has a parity member. */
static void place_parity(struct journal *j)
{
    struct reclaim *reclaim = &j->reclaim;

    for (uint32_t i = 0; i < reclaim->head_count; i++) {
        struct stripe_head *head = reclaim->heads[i];

        if (!head->parity_missing) {
            struct io_unit *unit = log_unit_with_room(j, 1);
            R5_CHECK(unit != NULL);
            io_unit_add_parity(unit, head->row, head->parity);
            log_rows_note(j, head->row, unit->seq);
            log_head_advance(j);
        }
        logged_stripe_parity_placed(j, head);
    }
}

/* With the role: rows frozen, filled, encoded, their parity durable. */
static int prepare(struct journal *j, struct io_queue *queue, uint64_t blocks_max)
{
    struct reclaim *reclaim = &j->reclaim;

    env_mutex_lock(&j->lock);
    int failing = j->failing;
    if (failing == 0) {
        pick(j, blocks_max);
    }
    env_mutex_unlock(&j->lock);
    if (failing != 0) {
        return -EIO;
    }
    if (reclaim->head_count == 0) {
        return 0;
    }
    trace_add("writeout.begin", reclaim->head_count, reclaim->heads[0]->row.nr);
    watch_step(j->thread.watch, "write-out: fill", reclaim->head_count, 0);
    int error = stripes_fill(&j->cache, queue, reclaim->heads, reclaim->head_count);
    if (error != 0) {
        drop_failed(j);
    }
    stripes_encode(&j->cache, reclaim->heads, reclaim->head_count);
    env_mutex_lock(&j->lock);
    place_parity(j);
    env_mutex_unlock(&j->lock);
    watch_step(j->thread.watch, "write-out: log parity", reclaim->head_count, 0);
    return log_batch_write(j, queue);
}

/* ---- to the members ------------------------------------------------------------------------- */

/* [lock] What write_out left of the batch: nothing, or rows that met a full host or readers.
 * Returns how many met readers. */
static uint32_t batch_settle(struct journal *j)
{
    struct reclaim *reclaim = &j->reclaim;
    uint32_t parked = 0;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < reclaim->head_count; i++) {
        struct stripe_head *head = reclaim->heads[i];

        switch (head->state) {
        case STRIPE_IDLE:
            logged_stripe_finish(j, head);
            reclaim->rows_written++;
            break;
        case STRIPE_ENCODED:
            reclaim->heads[kept] = head;
            kept++;
            parked += head->parked;
            break;
        case STRIPE_FAILED: /* frozen for ever: its images go on answering reads */
            reclaim->error = -EIO;
            break;
        case STRIPE_FILLED: R5_CHECK(head->state != STRIPE_FILLED); break;
        }
    }
    reclaim->head_count = kept;
    if (kept == 0 && reclaim->error == 0) {
        reclaim->batch_seq = 0;
    }
    return parked;
}

static void write_out(struct journal *j, struct io_queue *queue)
{
    struct reclaim *reclaim = &j->reclaim;
    int error = 0;

    env_mutex_lock(&j->lock);
    reclaim->granted = 0; /* what is granted from here on is looked at again */
    env_mutex_unlock(&j->lock);
    if (reclaim->head_count > 0) {
        watch_step(j->thread.watch, "write-out: members", reclaim->head_count, 0);
        error = stripes_write_out(&j->cache, queue, reclaim->heads, reclaim->head_count);
    }
    env_mutex_lock(&j->lock);
    bool was_stuck = reclaim->stuck;
    uint32_t parked = batch_settle(j);
    reclaim->parked = parked > 0;
    reclaim->stuck = reclaim->head_count > parked;
    trace_add("writeout.end", reclaim->head_count, parked);
    reclaim->retry_ns = env_now_ns() + RECLAIM_RETRY_NS;
    bool said = was_stuck == reclaim->stuck && reclaim->error == 0;
    log_space_serve(j);
    env_cond_broadcast(&reclaim->written);
    env_mutex_unlock(&j->lock);
    if (!said && reclaim->error != 0) {
        msg_err("reclaim", "write-out ended: the array failed error=%d", error);
    } else if (!said) {
        msg_warn("reclaim",
                 "write-out %s error=%d rows=%u",
                 reclaim->stuck ? "waits for space on a member's host" : "goes on",
                 error,
                 reclaim->head_count);
    }
}

/* Encode buffers for a batch are promised as a whole, before a row is frozen. False: there are none
 * now, and the log thread stands on the no-space list. */
static bool promise_buffers(struct journal *j)
{
    struct pool *pool = &j->cache.encode;
    uint64_t count = (uint64_t)j->reclaim.head_max * stripe_encode_need(&j->cache);
    bool promised = true;

    env_mutex_lock(&j->lock);
    if (j->thread.ready) {
        promised = pool_reserve(pool, count);
    } else {
        pool_reserve_sure(pool, count);
    }
    if (promised) {
        j->cache.encode_promised = count;
    } else {
        log_thread_park(j, pool, count);
    }
    env_mutex_unlock(&j->lock);
    return promised;
}

static void drop_promise(struct journal *j)
{
    uint64_t left = j->cache.encode_promised;

    j->cache.encode_promised = 0;
    pool_unreserve(&j->cache.encode, left);
}

/* Buffers, the role, a unit: all or none. */
static bool begin(struct journal *j)
{
    if (!promise_buffers(j)) {
        return false;
    }
    if (!log_writer_begin(j)) {
        drop_promise(j);
        env_mutex_lock(&j->lock);
        log_thread_park(j, &j->units.pool, 1);
        env_mutex_unlock(&j->lock);
        return false;
    }
    return true;
}

static void end(struct journal *j)
{
    drop_promise(j);
    log_role_give(j);
}

int reclaim_batch(struct journal *j, struct io_queue *queue, bool all)
{
    uint64_t blocks_max =
        all ? UINT64_MAX : max_u64(RECLAIM_BATCH_BLOCKS, geometry_stripe_blocks(j->geometry));

    if (j->reclaim.head_count == 0) { /* R3 */
        if (!begin(j)) {
            return 0; /* on the no-space list */
        }
        int error = prepare(j, queue, blocks_max);
        end(j);
        if (error != 0) {
            return error;
        }
    }
    write_out(j, queue);
    return 0;
}

bool reclaim_batch_unlogged(struct journal *j, struct io_queue *queue)
{
    struct reclaim *reclaim = &j->reclaim;

    if (reclaim->head_count == 0) {
        if (!promise_buffers(j)) {
            return false;
        }
        env_mutex_lock(&j->lock);
        pick(j, UINT64_MAX);
        env_mutex_unlock(&j->lock);
        if (reclaim->head_count > 0 &&
            stripes_fill(&j->cache, queue, reclaim->heads, reclaim->head_count) != 0) {
            drop_failed(j);
        }
        stripes_encode(&j->cache, reclaim->heads, reclaim->head_count);
        drop_promise(j);
    }
    write_out(j, queue);
    return true;
}

bool reclaim_is_full_host(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

void reclaim_set_stuck(struct journal *j, bool stuck)
{
    env_mutex_lock(&j->lock);
    j->reclaim.stuck = stuck;
    j->reclaim.retry_ns = env_now_ns() + RECLAIM_RETRY_NS;
    log_space_serve(j);
    env_cond_broadcast(&j->reclaim.written);
    env_mutex_unlock(&j->lock);
}

/* ---- the tail ------------------------------------------------------------------------------- */

/* A loss that cannot be recorded for want of room is waited for like room for rows. */
static int flush_members(struct journal *j, struct io_queue *queue)
{
    R5_CHECK(j->reclaim.head_count == 0);
    watch_step(j->thread.watch, "flush members", 0, 0);
    int error = array_flush_members(j->array, queue);

    if (reclaim_is_full_host(error)) {
        reclaim_set_stuck(j, true);
        return error;
    }
    env_mutex_lock(&j->lock);
    j->reclaim.stuck = false;
    if (error != 0) {
        msg_err("reclaim", "members cannot be flushed: write-out ended error=%d", error);
        j->reclaim.error = -EIO;
        log_space_serve(j);
        env_cond_broadcast(&j->reclaim.written);
    } else {
        j->reclaim.pin_seq = 0; /* R4: all that was frozen is on the members */
    }
    env_mutex_unlock(&j->lock);
    return error;
}

int reclaim_move_tail(struct journal *j, struct io_queue *queue)
{
    env_mutex_lock(&j->lock);
    bool pinned = j->reclaim.pin_seq != 0;
    j->reclaim.stuck = j->reclaim.stuck && pinned;
    env_mutex_unlock(&j->lock);
    if (pinned && flush_members(j, queue) != 0) {
        return 0; /* said and noted: write-out is over or waits, the log is not */
    }
    watch_step(j->thread.watch, "move the tail", 0, 0);
    int error = log_tail_move(j, queue);
    env_mutex_lock(&j->lock);
    env_cond_broadcast(&j->reclaim.written);
    env_mutex_unlock(&j->lock);
    return error;
}

int reclaim_make_empty(struct journal *j, struct io_queue *queue)
{
    if (!log_writer_begin(j)) {
        env_mutex_lock(&j->lock);
        log_thread_park(j, &j->units.pool, 1);
        env_mutex_unlock(&j->lock);
        return 0;
    }
    env_mutex_lock(&j->lock);
    bool worth = j->live_rows == 0 && log_used(j) > 1;
    env_mutex_unlock(&j->lock);
    int error = worth ? log_append_empty(j, queue) : 0; /* W3b */
    log_role_give(j);
    return error != 0 ? error : reclaim_move_tail(j, queue);
}

/* ---- questions ------------------------------------------------------------------------------ */

uint64_t reclaim_oldest_ns(const struct journal *j)
{
    struct list_node *first = list_first(&j->live);
    uint64_t since = j->reclaim.pin_seq != 0 ? j->reclaim.pin_ns : UINT64_MAX;

    if (first != NULL) {
        since = min_u64(since, container_of(first, struct stripe_generation, live)->first_ns);
    }
    return since == UINT64_MAX ? 0 : env_now_ns() - since;
}

bool reclaim_is_behind(const struct journal *j, uint64_t seq)
{
    struct list_node *first = list_first(&j->live);

    if (j->reclaim.batch_seq != 0 && j->reclaim.batch_seq <= seq) {
        return true;
    }
    return first != NULL && container_of(first, struct stripe_generation, live)->first_seq <= seq;
}

bool reclaim_is_halted(const struct journal *j)
{
    const struct reclaim *reclaim = &j->reclaim;

    return reclaim->error != 0 || reclaim->stuck || j->failing != 0 ||
           (reclaim->failed_rows > 0 && reclaim->batch_seq == 0 &&
            j->live_rows <= reclaim->failed_rows);
}

bool reclaim_is_hopeless(const struct journal *j)
{
    return j->reclaim.failed_rows > 0 && j->live_rows <= j->reclaim.failed_rows &&
           j->reclaim.batch_seq == 0 && log_used(j) == log_used_by_live(j);
}

/* ---- recovery ------------------------------------------------------------------------------- */

uint64_t reclaim_log_need(const struct journal *j)
{
    uint32_t missing = array_missing_slot(j->array);
    uint64_t parities = 0;

    list_for_each (node, &j->live) {
        const struct stripe_head *head = container_of(node, struct stripe_head, open.live);

        parities += geometry_parity_slot(j->geometry, head->row) != missing;
    }
    return log_used(j) + LOG_SPACE_PER_UNPLACED * parities + LOG_SPACE_FIXED;
}

void reclaim_say_why(struct array *array, int error, char *out_why)
{
    const char *full = array_full_path(array);

    line_format(out_why,
                JOURNAL_WHY_BYTES,
                "array: the log cannot be brought to the members: %s%s%s%s",
                strerror(-error),
                full != NULL ? ": " : "",
                full != NULL ? full : "",
                full != NULL ? " (hint: make room on its host)" : "");
}

int reclaim_write_out_recovered(struct journal *j, struct io_queue *queue)
{
    if (reclaim_log_need(j) > j->log.ring.blocks) {
        return -ENOSPC; /* another writer's log: no room for the parities */
    }
    while (j->live_rows > 0) {
        int error = reclaim_batch(j, queue, true);

        if (error == 0 && j->reclaim.stuck) {
            error = -ENOSPC;
        }
        if (error == 0 && (j->reclaim.error != 0 || j->reclaim.failed_rows > 0)) {
            error = -EIO;
        }
        if (error != 0) {
            return error;
        }
    }
    return flush_members(j, queue);
}
