/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Derives blocks from the other members of their rows, many rows at a time.
 *
 *   row 4   slot 0: lost      slot 1 ---> the caller's buffer <--- XOR of all three
 *                             slot 2 ---> scratch 0                    ^
 *                             slot 3 ---> scratch 1 -------------------+
 *
 * Invariants:
 *   R1  what is derived comes from all other members of the row, read under its cell.
 *   R2  a thread waits for a cell only while it holds none; further cells of a round are tried.
 *   R4  no block of a row is derived when another one is unreadable: -EIO.
 *
 * Happy path: a round locks as many rows as scratch allows, reads the others of all of them in
 * merged requests, XORs, unlocks.
 * Failure modes: a request for many rows that fails is read again row by row; a block that stays
 * unreadable then makes its row underivable.
 * Thread: any, with its own queue.
 */
#include <errno.h>
#include <inttypes.h>

#include "array_read_job.h"
#include "r5fs/base/msg.h"
#include "r5fs/raid/parity.h"

#define MODULE "array_read"

/* Locks rows for a round; none left to do leaves it empty. */
static int round_gather(struct read_job *job)
{
    struct read_set *set = job->set;
    struct row_cells *cells = &job->array->cells;

    set->item_count = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        if (set->item_count == job->array->read_sets->round_rows) {
            break;
        }
        if (!job->todo[i]) {
            continue;
        }
        struct read_item *item = &set->items[set->item_count];
        item->index = i;
        item->place = job_place(job, i);
        item->settled = false;
        item->again = false;
        if (set->item_count == 0) {
            int error =
                row_cell_lock_wait(cells, &item->cell, one_row(item->place.row), false); /* R2 */
            if (error != 0) {
                return error;
            }
        } else if (!row_cell_try_lock(cells, &item->cell, one_row(item->place.row), false)) {
            continue;
        }
        set->item_count++;
    }
    return 0;
}

static void round_release(struct read_job *job)
{
    for (uint32_t k = 0; k < job->set->item_count; k++) {
        row_cell_unlock(&job->array->cells, &job->set->items[k].cell);
    }
}

/* Where the block of the `rank`-th other member goes: the first one straight to the caller. */
static uint8_t *round_buffer(const struct read_job *job, uint32_t k, uint32_t rank)
{
    if (rank == 0) {
        return job_buffer(job, job->set->items[k].index);
    }
    size_t at = (size_t)(rank - 1) * job->array->read_sets->round_rows + k;
    return job->set->scratch + at * BLOCK_BYTES;
}

static void round_failed(void *context, const struct batch_request *request)
{
    struct read_job *job = context;

    for (uint32_t k = 0; k < job->set->item_count; k++) {
        struct read_item *item = &job->set->items[k];
        if (item->place.slot != request->slot &&
            batch_request_covers(request, request->slot, item->place.row)) {
            item->again = true;
        }
    }
}

/* A block whose member is there failed as part of a request for many: it gets one more chance. */
static void round_retry_own(struct read_job *job)
{
    for (uint32_t k = 0; k < job->set->item_count; k++) {
        struct read_item *item = &job->set->items[k];
        if (slot_in(job->readable, item->place.slot)) {
            item->settled =
                array_read_single(
                    job->array, job->queue, item->place, job_buffer(job, item->index)) == 0;
        }
    }
}

/* Whether every other member of the item's row is there. */
static bool item_is_derivable(const struct read_job *job, const struct read_item *item)
{
    uint32_t all = (uint32_t)((UINT64_C(1) << job->array->geometry.slots) - 1);
    uint32_t others = all & ~(UINT32_C(1) << item->place.slot);

    return (job->readable & others) == others;
}

static void round_read_others(struct read_job *job)
{
    struct read_set *set = job->set;

    member_batch_start(&set->batch, job->queue, IO_READ, round_failed, job);
    for (uint32_t k = 0; k < set->item_count; k++) {
        const struct read_item *item = &set->items[k];
        uint32_t rank = 0;
        if (item->settled || !item_is_derivable(job, item)) {
            continue;
        }
        for (uint32_t slot = 0; slot < job->array->geometry.slots; slot++) {
            if (slot != item->place.slot) {
                member_batch_add(&set->batch, slot, item->place.row, round_buffer(job, k, rank));
                rank++;
            }
        }
    }
    member_batch_finish(&set->batch);
}

/* The others of one row, one by one. */
static int item_read_again(const struct read_job *job, uint32_t k)
{
    struct placement place = job->set->items[k].place;
    uint32_t rank = 0;

    for (place.slot = 0; place.slot < job->array->geometry.slots; place.slot++) {
        if (place.slot == job->set->items[k].place.slot) {
            continue;
        }
        int error = array_read_single(job->array, job->queue, place, round_buffer(job, k, rank));
        if (error != 0) {
            return error;
        }
        rank++;
    }
    return 0;
}

static int item_derive(const struct read_job *job, uint32_t k)
{
    const struct read_item *item = &job->set->items[k];
    const uint8_t *sources[MEMBERS_MAX];
    uint32_t count = job->array->geometry.slots - 1;

    if (!item_is_derivable(job, item) || (item->again && item_read_again(job, k) != 0)) {
        msg_warn(MODULE,
                 "unreadable block=%" PRIu64 " slot=%" PRIu32 " row=%" PRIu64,
                 job_block(job, item->index).nr,
                 item->place.slot,
                 item->place.row.nr);
        return -EIO; /* R4 */
    }
    for (uint32_t rank = 0; rank < count; rank++) {
        sources[rank] = round_buffer(job, k, rank);
    }
    parity_xor(job_buffer(job, item->index), sources, count);
    return 0;
}

static int round_run(struct read_job *job)
{
    /* Looked at under the cells: a member lost earlier may hold an older row (R1). */
    job->readable = array_readable_slots(job->array);
    round_retry_own(job);
    round_read_others(job);
    for (uint32_t k = 0; k < job->set->item_count; k++) {
        struct read_item *item = &job->set->items[k];
        int error = item->settled ? 0 : item_derive(job, k);
        if (error != 0) {
            return error;
        }
        job->todo[item->index] = false;
    }
    return 0;
}

int job_reconstruct(struct read_job *job)
{
    for (;;) {
        int error = round_gather(job);
        if (error != 0 || job->set->item_count == 0) {
            return error;
        }
        error = round_run(job);
        round_release(job);
        if (error != 0) {
            return error;
        }
    }
}
