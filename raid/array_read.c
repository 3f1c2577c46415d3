/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads from the members, and the flush of all members.
 *
 *   array_read -> one run on a healthy member ------------------------------> done
 *              \-> steps: direct, all members at once -> todo -> reconstruct -> done
 *
 * The direct part needs no cell: a block that has an image is served from memory by the journal,
 * and one that has none is not being written. A reconstruction uses blocks that may be: it holds
 * the rows' cells (array_reconstruct.c).
 *
 * Invariant:
 *   R3  a block whose member was lost while it was being read is taken by reconstruction instead.
 *
 * Liveness: an empty pool of read sets is waited for; the event is waiting_pool_put, and it comes
 * because a holder waits only for I/O, and for cells whose holders wait only for I/O.
 * Failure modes: a read error is counted, the block reconstructed; where that is impossible:
 * -EIO. A member that fails a flush is faulted. An address beyond the volume comes from a disk:
 * -EINVAL.
 * Thread: any, with its own queue.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "array_read_job.h"
#include "r5fs/base/wait_check.h"

#define READ_SETS           8u
#define SCRATCH_BLOCKS_MIN  64u
#define READ_BATCH_REQUESTS MEMBERS_MAX

/* ---- memory -------------------------------------------------------------------------------- */

static uint32_t scratch_blocks(const struct array *array)
{
    /* All but the lost member's and the one read straight into the caller's buffer. */
    return (uint32_t)max_u64(SCRATCH_BLOCKS_MIN, array->geometry.slots - 2);
}

void array_read_init(struct array *array)
{
    struct arena *arena = array->arena;
    struct read_sets *sets = arena_take_array(arena, struct read_sets, 1);
    struct read_set *taken[READ_SETS];
    uint32_t rows = scratch_blocks(array) / (array->geometry.slots - 2);

    sets->round_rows = (uint32_t)min_u64(rows, ROUND_ROWS_MAX);
    env_mutex_init(&sets->flushing);
    waiting_pool_init(&sets->pool,
                      arena,
                      &(struct pool_shape){.name = "read set",
                                           .rank = POOL_RANK_MEMBER_READ,
                                           .object_bytes = sizeof(struct read_set),
                                           .align = _Alignof(struct read_set),
                                           .count = READ_SETS});
    for (uint32_t i = 0; i < READ_SETS; i++) {
        taken[i] = pool_get_sure(&sets->pool.pool);
        member_batch_init(&taken[i]->batch, array, arena, READ_BATCH_REQUESTS);
        taken[i]->scratch =
            arena_take(arena, (size_t)scratch_blocks(array) * BLOCK_BYTES, BLOCK_BYTES);
    }
    for (uint32_t i = 0; i < READ_SETS; i++) {
        pool_put(&sets->pool.pool, taken[i]);
    }
    pool_reset_high_water(&sets->pool.pool);
    array->read_sets = sets;
}

void array_read_fini(struct array *array)
{
    struct read_sets *sets = array->read_sets;

    if (sets == NULL) {
        return;
    }
    waiting_pool_fini(&sets->pool);
    env_mutex_fini(&sets->flushing);
    array->read_sets = NULL;
}

/* ---- a job --------------------------------------------------------------------------------- */

struct fs_block job_block(const struct read_job *job, uint32_t index)
{
    uint32_t i = job->base + index;

    return job->blocks != NULL ? job->blocks[i] : fs_block_add(job->first, i);
}

uint8_t *job_buffer(const struct read_job *job, uint32_t index)
{
    uint32_t i = job->base + index;

    return job->buffers != NULL ? job->buffers[i] : job->buffer + (size_t)i * BLOCK_BYTES;
}

struct placement job_place(const struct read_job *job, uint32_t index)
{
    return geometry_locate(&job->array->geometry, job_block(job, index));
}

uint32_t array_readable_slots(struct array *array)
{
    uint32_t slots = 0;

    env_mutex_lock(&array->lock);
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        slots |= (uint32_t)(array->members[slot].state == MEMBER_IN_SYNC) << slot;
    }
    env_mutex_unlock(&array->lock);
    return slots;
}

bool batch_request_covers(const struct batch_request *request,
                          uint32_t slot,
                          struct member_block row)
{
    return request->slot == slot && row.nr >= request->row.nr &&
           row.nr < request->row.nr + request->row_count;
}

int array_read_single(struct array *array,
                      struct io_queue *queue,
                      struct placement place,
                      uint8_t *buffer)
{
    int error = io_read(queue,
                        array_slot_file(array, place.slot),
                        array_slot_offset_bytes(array, place.slot, place.row),
                        buffer,
                        BLOCK_BYTES);

    if (error != 0) {
        array_count_error(array, place.slot, false);
    }
    return error;
}

static void job_direct_failed(void *context, const struct batch_request *request)
{
    struct read_job *job = context;

    for (uint32_t i = 0; i < job->count; i++) {
        struct placement place = job_place(job, i);
        if (batch_request_covers(request, place.slot, place.row)) {
            job->todo[i] = true;
        }
    }
}

/* Reads what the members that are there have; marks the rest. */
static void job_read_direct(struct read_job *job)
{
    struct member_batch *batch = &job->set->batch;

    job->readable = array_readable_slots(job->array);
    for (uint32_t i = 0; i < job->count; i++) {
        job->todo[i] = !slot_in(job->readable, job_place(job, i).slot);
    }
    member_batch_start(batch, job->queue, IO_READ, job_direct_failed, job);
    for (uint32_t i = 0; i < job->count; i++) {
        struct placement place = job_place(job, i);
        if (slot_in(job->readable, place.slot)) {
            member_batch_add(batch, place.slot, place.row, job_buffer(job, i));
        }
    }
    member_batch_finish(batch);
    uint32_t lost = job->readable & ~array_readable_slots(job->array);
    for (uint32_t i = 0; i < job->count && lost != 0; i++) {
        if (slot_in(lost, job_place(job, i).slot)) {
            job->todo[i] = true; /* R3 */
        }
    }
}

static int job_run(struct read_job *job, uint32_t count)
{
    struct read_sets *sets = job->array->read_sets;
    int error = 0;

    job->set = waiting_pool_get_wait(&sets->pool);
    for (uint32_t done = 0; done < count && error == 0; done += job->count) {
        job->base = done;
        job->count = (uint32_t)min_u64(READ_STEP_BLOCKS, count - done);
        job_read_direct(job);
        error = job_reconstruct(job);
    }
    waiting_pool_put(&sets->pool, job->set);
    return error;
}

/* ---- the door ------------------------------------------------------------------------------ */

/* Everything on one member, and the member is there: one request, no read set. */
static bool read_one_run(struct array *array,
                         struct io_queue *queue,
                         struct fs_block first,
                         uint32_t count,
                         uint8_t *buffer)
{
    struct placement place = geometry_locate(&array->geometry, first);

    if (geometry_run(&array->geometry, first, count) < count ||
        !array_slot_is_readable(array, place.slot)) {
        return false;
    }
    int error = io_read(queue,
                        array_slot_file(array, place.slot),
                        array_slot_offset_bytes(array, place.slot, place.row),
                        buffer,
                        (size_t)count * BLOCK_BYTES);
    if (error != 0) {
        array_count_error(array, place.slot, false);
        return false;
    }
    return array_slot_is_readable(array, place.slot); /* R3 */
}

int array_read(struct array *array,
               struct io_queue *queue,
               struct fs_block first,
               uint32_t count,
               uint8_t *buffer)
{
    uint64_t end = array->geometry.volume_blocks;

    if (first.nr > end || count > end - first.nr) {
        return -EINVAL;
    }
    if (count == 0 || read_one_run(array, queue, first, count, buffer)) {
        return 0;
    }
    struct read_job job = {.array = array, .queue = queue, .first = first, .buffer = buffer};
    return job_run(&job, count);
}

int array_read_scattered(struct array *array,
                         struct io_queue *queue,
                         const struct fs_block *blocks,
                         uint8_t *const *buffers,
                         uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (blocks[i].nr >= array->geometry.volume_blocks) {
            return -EINVAL;
        }
    }
    if (count == 0 || (count == 1 && read_one_run(array, queue, blocks[0], 1, buffers[0]))) {
        return 0;
    }
    struct read_job job = {.array = array, .queue = queue, .blocks = blocks, .buffers = buffers};
    return job_run(&job, count);
}

int array_read_raw(struct array *array,
                   struct io_queue *queue,
                   uint32_t slot,
                   struct member_block row,
                   uint32_t count,
                   uint8_t *buffer)
{
    uint64_t end = array->geometry.rows;

    if (slot >= array->geometry.slots || row.nr > end || count > end - row.nr) {
        return -EINVAL;
    }
    if (count == 0) {
        return 0;
    }
    if (!array_slot_is_readable(array, slot)) {
        return -EIO;
    }
    int error = io_read(queue,
                        array_slot_file(array, slot),
                        array_slot_offset_bytes(array, slot, row),
                        buffer,
                        (size_t)count * BLOCK_BYTES);
    if (error != 0) {
        array_count_error(array, slot, false);
    }
    return error;
}

static void flush_done(struct io_request *request)
{
    struct read_sets *sets = request->context;

    sets->unflushed--;
}

/* [flushing] Returns the slots that were asked. */
static uint32_t flush_all(struct array *array, struct io_queue *queue)
{
    struct read_sets *sets = array->read_sets;
    uint32_t asked = array_readable_slots(array);

    /* A fan-out cannot be half allocated: its requests are the array's own, one for each device. */
    wait_check_forbid_kinds(WAIT_FOR_MEMORY | WAIT_FOR_CELL, "flush of all members");
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        struct io_request *request = &sets->flushes[slot];
        if (slot_in(asked, slot)) {
            io_prepare(request, array_slot_file(array, slot), IO_FLUSH, 0, NULL, 0);
            request->done = flush_done;
            request->context = sets;
            sets->unflushed++;
            io_submit(queue, request);
        }
    }
    while (sets->unflushed > 0) {
        (void)io_wait(queue); /* only a count; results are in the requests */
    }
    wait_check_allow_kinds("flush of all members");
    return asked;
}

/* What became of one member's flush. */
static int flush_judge(struct array *array, struct io_queue *queue, uint32_t slot, int result)
{
    char cause[sizeof(((struct member_info *)NULL)->cause)];

    if (result == 0) {
        return 0;
    }
    array_count_error(array, slot, true);
    if (array->read_only) {
        return result; /* nothing of ours is at stake, and nothing may be recorded */
    }
    int length = snprintf(cause, sizeof(cause), "flush error %s", strerrorname_np(-result));
    R5_CHECK(length > 0); /* a long cause is cut */
    return array_member_fault(array, queue, slot, cause);
}

int array_flush_members(struct array *array, struct io_queue *queue)
{
    struct read_sets *sets = array->read_sets;
    int error = 0;

    env_mutex_lock(&sets->flushing);
    uint32_t asked = flush_all(array, queue);
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        if (slot_in(asked, slot)) {
            int judged = flush_judge(array, queue, slot, sets->flushes[slot].result);
            error = error != 0 ? error : judged;
        }
    }
    env_mutex_unlock(&sets->flushing);
    if (error == 0 && !array->read_only) {
        error = array_record_losses(array, queue); /* else what a lost member missed seems done */
    }
    return error;
}
