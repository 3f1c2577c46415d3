/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gathers blocks into requests.
 *
 *   add(slot 1, row 5)  add(slot 1, row 6)  add(slot 2, row 5)  add(slot 1, row 9)  finish
 *   growing[1]: 5       growing[1]: 5-6     growing[2]: 5       5-6 submitted       9 and 5
 *   submitted,
 *                                                               growing[1]: 9       all waited for
 *
 * Invariants:
 *   MB1 a growing request is not submitted; each slot has at most one; so with `capacity` >=
 *       slots a full batch always has a request to wait for.
 *   MB2 `failed` is told between two rounds, when nothing of the batch is in flight.
 *
 * Liveness: waits for requests already submitted, nothing else.
 * Failure modes: told to `failed` and counted with the member, once for each request; a full device
 * (ENOSPC, EDQUOT) is not counted, it is not the member's fault.
 * Thread: the one that started the batch.
 */
#include "member_batch.h"

#include <errno.h>
#include <string.h>

#include "array_internal.h"

size_t member_batch_need(uint32_t capacity)
{
    return sizeof(struct batch_request) * capacity + _Alignof(struct batch_request);
}

void member_batch_init(struct member_batch *batch,
                       struct array *array,
                       struct arena *arena,
                       uint32_t capacity)
{
    R5_CHECK(capacity >= array->geometry.slots); /* MB1 */
    *batch = (struct member_batch){
        .array = array,
        .requests = arena_take_array(arena, struct batch_request, capacity),
        .capacity = capacity,
    };
}

void member_batch_start(struct member_batch *batch,
                        struct io_queue *queue,
                        enum io_op op,
                        batch_failed *failed,
                        void *context)
{
    R5_CHECK(batch->used == 0);
    batch->queue = queue;
    batch->op = op;
    batch->failed = failed;
    batch->context = context;
}

static void batch_request_done(struct io_request *io)
{
    struct batch_request *request = io->context;

    R5_CHECK(request->batch->outstanding > 0);
    request->batch->outstanding--;
}

static void batch_submit(struct member_batch *batch, uint32_t slot)
{
    struct batch_request *request = batch->growing[slot];

    batch->growing[slot] = NULL;
    batch->outstanding++;
    io_submit(batch->queue, &request->io);
}

static void batch_report(struct member_batch *batch, const struct batch_request *request)
{
    int error = request->io.result;

    if (error == 0) {
        return;
    }
    if (error != -ENOSPC && error != -EDQUOT) {
        array_count_error(batch->array, request->slot, batch->op == IO_WRITE);
    }
    batch->failed(batch->context, request);
}

void member_batch_finish(struct member_batch *batch)
{
    for (uint32_t slot = 0; slot < batch->array->geometry.slots; slot++) {
        if (batch->growing[slot] != NULL) {
            batch_submit(batch, slot);
        }
    }
    while (batch->outstanding > 0) {
        (void)io_wait(batch->queue); /* only a count; results are in the requests */
    }
    for (uint32_t i = 0; i < batch->used; i++) {
        batch_report(batch, &batch->requests[i]); /* MB2 */
    }
    batch->used = 0;
}

/* Whether the block fits behind the request's last one; then it is there. */
static bool
batch_request_grow(struct batch_request *request, struct member_block row, uint8_t *buffer)
{
    struct io_request *io = &request->io;
    struct iovec *last = &request->iovecs[io->iovec_count - 1];

    if (row.nr != request->row.nr + request->row_count) {
        return false;
    }
    if ((uint8_t *)last->iov_base + last->iov_len == buffer) {
        last->iov_len += BLOCK_BYTES;
    } else if (io->iovec_count < IO_IOVECS_MAX) {
        struct iovec *next = &request->iovecs[io->iovec_count++];
        next->iov_base = buffer;
        next->iov_len = BLOCK_BYTES;
    } else {
        return false;
    }
    request->row_count++;
    return true;
}

static struct batch_request *batch_request_make(struct member_batch *batch,
                                                uint32_t slot,
                                                struct member_block row,
                                                uint8_t *buffer)
{
    struct batch_request *request = &batch->requests[batch->used++];

    request->batch = batch;
    request->slot = slot;
    request->row = row;
    request->row_count = 1;
    request->iovecs[0] = (struct iovec){.iov_base = buffer, .iov_len = BLOCK_BYTES};
    io_prepare(&request->io,
               array_slot_file(batch->array, slot),
               batch->op,
               array_slot_offset_bytes(batch->array, slot, row),
               buffer,
               BLOCK_BYTES);
    request->io.iovecs = request->iovecs;
    request->io.done = batch_request_done;
    request->io.context = request;
    return request;
}

void member_batch_add(struct member_batch *batch,
                      uint32_t slot,
                      struct member_block row,
                      uint8_t *buffer)
{
    if (batch->growing[slot] != NULL) {
        if (batch_request_grow(batch->growing[slot], row, buffer)) {
            return;
        }
        batch_submit(batch, slot);
    }
    if (batch->used == batch->capacity) {
        member_batch_finish(batch);
    }
    batch->growing[slot] = batch_request_make(batch, slot, row, buffer);
}
