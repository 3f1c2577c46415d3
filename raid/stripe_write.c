/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brings encoded rows to the members.
 *
 *   sort by row -> cells -> one batch of writes -> failed members are faulted -> cells back -> IDLE
 *                    |                          \-> full device: the row stays ENCODED, torn
 *                    \-> read by others: the row stays ENCODED, parked
 *
 * Invariants:
 *   W11  (log protocol) a slot is left out only when its loss is durable on all that remain, and a
 *        member that failed a write is recorded so before its rows are called written. While that
 *        waits for room on another's host, the rows stay ENCODED, to be written once more.
 *   ST8  (stripe.c) a torn row keeps its cell.
 *   ST10 nobody sleeps here for a cell: what is read by others waits in the cell's queue, and the
 *        other rows go on (row_cell.c, liveness).
 *
 * Failure modes: a failed write faults the member, the rows are whole without it; when that was one
 * member too many, the rows fail. ENOSPC and EDQUOT are nobody's fault: returned, and the member is
 * named (array_full_path) until a write-out meets room everywhere.
 * Thread: the one that writes rows out; waits for its writes, and the recording of a fault.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "r5fs/base/msg.h"
#include "stripe_internal.h"

#define MODULE    "stripe"
#define GIB_BYTES 1073741824.0

struct write_out {
    struct stripe_cache *cache;
    struct io_queue *queue;
    struct stripe_head **heads; /* ascending rows */
    uint32_t count;
    uint32_t taking;                    /* slots that are written to, one bit each */
    uint32_t failed;                    /* slots whose write failed */
    uint64_t failed_bytes[MEMBERS_MAX]; /* where, in the file */
    int failed_error[MEMBERS_MAX];
    uint32_t full;   /* 1 + the last slot without room, 0 = none */
    bool unrecorded; /* a loss is due: no row counts as written */
    int error;       /* the first that the caller hears of */
};

static bool slot_in(uint32_t slots, uint32_t slot)
{
    return (slots >> slot & 1) != 0;
}

static bool is_full_disk(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void note_error(struct write_out *out, int error)
{
    out->error = out->error != 0 ? out->error : error;
}

/* Insertion sort: the journal hands rows over almost in order. */
static void sort_by_row(struct stripe_head **heads, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct stripe_head *head = heads[i];
        uint32_t at = i;
        while (at > 0 && heads[at - 1]->row.nr > head->row.nr) {
            heads[at] = heads[at - 1];
            at--;
        }
        heads[at] = head;
    }
}

/* Whether the row's cell is held now; else it is parked. */
static bool cell_take(struct stripe_cache *cache, struct stripe_head *head)
{
    if (head->torn) {
        return true;
    }
    if (head->parked) {
        return row_cell_is_held(cache->cells, &head->cell);
    }
    head->cell.granted = cache->cell_granted;
    head->cell.context = cache->cell_context;
    return row_cell_lock_or_park(cache->cells, &head->cell, one_row(head->row), true);
}

/* Rows that are parked go to the end and are none of this round's. */
static void cells_take(struct write_out *out)
{
    uint32_t held = 0;

    for (uint32_t i = 0; i < out->count; i++) {
        struct stripe_head *head = out->heads[i];

        head->parked = !cell_take(out->cache, head);
        if (!head->parked) {
            out->heads[i] = out->heads[held];
            out->heads[held] = head;
            held++;
        }
    }
    out->count = held;
}

/* A wait for room may be long: no reader stands behind a cell meanwhile. */
static void cells_give_up(struct write_out *out)
{
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->heads[i]->parked) {
            row_cell_unlock(out->cache->cells, &out->heads[i]->cell);
            out->heads[i]->parked = false;
        }
    }
}

static uint32_t slots_taking_writes(struct array *array)
{
    uint32_t slots = 0;

    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        slots |= (uint32_t)array_slot_takes_writes(array, slot) << slot;
    }
    return slots;
}

static void write_failed(void *context, const struct batch_request *request)
{
    struct write_out *out = context;
    int error = request->io.result;

    if (!is_full_disk(error)) {
        if (!slot_in(out->failed, request->slot)) {
            out->failed |= UINT32_C(1) << request->slot;
            out->failed_error[request->slot] = error;
            out->failed_bytes[request->slot] = request->io.offset_bytes;
        }
        return;
    }
    note_error(out, error);
    out->full = request->slot + 1;
    for (uint32_t i = 0; i < out->count; i++) {
        if (stripe_in_request(out->heads[i], request)) {
            out->heads[i]->restart = true;
        }
    }
}

static void write_row(struct write_out *out, struct stripe_head *head)
{
    struct array *array = out->cache->array;
    uint32_t parity_slot = geometry_parity_slot(&array->geometry, head->row);

    head->restart = false;
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        const struct stripe_image *target = head->slots[slot].target;
        uint8_t *data = target != NULL ? target->data : NULL;
        if (slot == parity_slot) {
            data = head->parity;
        }
        if (data != NULL && slot_in(out->taking, slot)) {
            member_batch_add(out->cache->batch, slot, head->row, data);
        }
    }
}

/* W11: before a row is called written. False when the array has failed. */
static bool fault_failed_members(struct write_out *out)
{
    char cause[sizeof(((struct member_info *)NULL)->cause)];
    struct array *array = out->cache->array;
    bool alive = true;

    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        if (!slot_in(out->failed, slot)) {
            continue;
        }
        int length = snprintf(cause,
                              sizeof(cause),
                              "write error %s at %.1f GiB",
                              strerrorname_np(-out->failed_error[slot]),
                              (double)out->failed_bytes[slot] / GIB_BYTES);
        R5_CHECK(length > 0); /* a long cause is cut */
        int error = array_member_fault(array, out->queue, slot, cause);
        if (error != 0) {
            note_error(out, error);
            out->unrecorded = is_full_disk(error);
            alive = out->unrecorded;
        }
    }
    return alive;
}

static void finish_row(struct write_out *out, struct stripe_head *head, bool alive)
{
    struct stripe_cache *cache = out->cache;

    if (alive && head->restart) {
        head->restart = false;
        head->torn = true;
        row_cell_mark_torn(cache->cells, &head->cell); /* ST8 */
        return;
    }
    head->torn = false;
    if (!alive) {
        stripe_fail(cache, head);
    } else if (!out->unrecorded) {
        stripe_free_buffers(cache, head);
        stripe_move(head, STRIPE_IDLE);
    }
    row_cell_unlock(cache->cells, &head->cell);
}

/* Before anything makes them whole again, as far as can be seen. */
static int fault_cut_members(struct array *array, struct io_queue *queue)
{
    uint64_t data_bytes = array->geometry.rows * BLOCK_BYTES;
    int error = 0;

    for (uint32_t slot = 0; slot < array->geometry.slots && error == 0; slot++) {
        if (array_slot_takes_writes(array, slot) &&
            md_device_is_cut(&array->members[slot].device, data_bytes)) {
            array_count_error(array, slot, true);
            error = array_member_fault(array, queue, slot, "its file was cut short");
        }
    }
    return error;
}

int stripes_write_out(struct stripe_cache *cache,
                      struct io_queue *queue,
                      struct stripe_head **heads,
                      uint32_t count)
{
    struct write_out out = {.cache = cache, .queue = queue, .heads = heads, .count = count};
    int due = fault_cut_members(cache->array, queue);
    if (due == 0) {
        due = array_record_losses(cache->array, queue);
    }
    bool alive = due == 0;

    if (is_full_disk(due)) {
        cells_give_up(&out);
        return due; /* the rows are as they were */
    }
    sort_by_row(heads, count);
    for (uint32_t i = 0; i < count; i++) {
        R5_CHECK(heads[i]->state == STRIPE_ENCODED);
    }
    cells_take(&out);
    if (alive) {
        out.taking = slots_taking_writes(cache->array);
        member_batch_start(cache->batch, queue, IO_WRITE, write_failed, &out);
        for (uint32_t i = 0; i < out.count; i++) {
            write_row(&out, heads[i]);
        }
        member_batch_finish(cache->batch);
        array_note_full(cache->array, out.full);
        alive = fault_failed_members(&out);
    } else {
        note_error(&out, due);
    }
    for (uint32_t i = 0; i < out.count; i++) {
        finish_row(&out, heads[i], alive);
    }
    return out.error;
}
