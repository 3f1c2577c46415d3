/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The start of a log, and the overwriting of what must not be read as one.
 *
 *   zeros over the ring -> flush -> empty meta block at 0 -> flush -> tail 0 in the superblock
 *
 * Invariant LB1: a meta block is written only when nothing of an older log can follow it.
 * Happy path: a few large writes in flight, all from the same page of zeros.
 * Failure modes: the first error of the journal device; a crash in between leaves a log without
 * head, which is refused and can be begun again.
 * Thread: the opening one.
 */
#include "log_begin.h"

#include "meta_block.h"
#include "r5fs/base/env.h"

#define ZERO_BYTES     ((size_t)1 << 20)
#define ZERO_BLOCKS    (ZERO_BYTES / BLOCK_BYTES)
#define ZERO_IN_FLIGHT 8u

struct zero_job {
    const struct log_source *source;
    struct io_queue *queue;
    uint8_t *zeros;
    struct io_request *requests;
};

/* Up to ZERO_IN_FLIGHT pieces of one run, waited for. `*done` blocks are behind us. */
static int zero_some(struct zero_job *job, const struct log_run *run, uint64_t *done)
{
    uint32_t used = 0;
    int error = 0;

    while (used < ZERO_IN_FLIGHT && *done < run->count) {
        uint64_t blocks = min_u64(run->count - *done, ZERO_BLOCKS);
        io_prepare(&job->requests[used],
                   job->source->file,
                   IO_WRITE,
                   run->offset_bytes + *done * BLOCK_BYTES,
                   job->zeros,
                   (size_t)blocks * BLOCK_BYTES);
        io_submit(job->queue, &job->requests[used++]);
        *done += blocks;
    }
    io_drain(job->queue);
    for (uint32_t i = 0; i < used; i++) {
        error = error != 0 ? error : job->requests[i].result;
    }
    return error;
}

int log_begin_zero(const struct log_source *source,
                   struct io_queue *queue,
                   struct arena *arena,
                   struct log_block from,
                   uint64_t count)
{
    struct log_run runs[2];
    unsigned run_count = log_ring_split(&source->ring, from, count, runs);
    struct zero_job job = {
        .source = source,
        .queue = queue,
        .zeros = arena_take(arena, ZERO_BYTES, BLOCK_BYTES),
        .requests = arena_take_array(arena, struct io_request, ZERO_IN_FLIGHT),
    };
    int error = 0;

    for (unsigned i = 0; i < run_count; i++) {
        uint64_t done = 0;
        while (done < runs[i].count && error == 0) {
            error = zero_some(&job, &runs[i], &done);
        }
    }
    return error;
}

int log_begin_empty(const struct log_source *source,
                    struct array *array,
                    struct io_queue *queue,
                    struct arena *arena,
                    uint64_t *out_seq)
{
    uint8_t *meta = arena_take(arena, BLOCK_BYTES, BLOCK_BYTES);
    uint64_t seq = env_random_u64() & UINT32_MAX;
    struct log_block start = log_block(0);

    meta_block_start(meta, seq, start);
    meta_block_finish(meta, source->seed, 0);
    int error = log_begin_zero(source, queue, arena, start, source->ring.blocks);
    if (error == 0) {
        error = io_flush(queue, source->file); /* LB1 */
    }
    if (error == 0) {
        error = io_write(
            queue, source->file, log_ring_offset_bytes(&source->ring, start), meta, BLOCK_BYTES);
    }
    if (error == 0) {
        error = io_flush(queue, source->file);
    }
    if (error == 0 && array_log_tail(array).nr != start.nr) {
        error = array_set_log_tail(array, queue, start);
    }
    if (error == 0) {
        *out_seq = seq;
    }
    return error;
}
