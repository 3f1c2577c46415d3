/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the log ring.
 *
 *   ring, unrolled from `start`:  ....|======= window =======|....
 *                                     first      first + count        slides forward only as asked
 *
 * Invariant LS1: buffer[i] holds the ring's block at offset first + i, or the pattern when it could
 * not be read.
 * Happy path: log_window_get finds its blocks in the buffer, or keeps those it has, reads the rest
 * of a full window in a few parallel pieces.
 * Failure modes: a piece that fails is read again block by block; blocks that fail are pattern.
 * Thread: the queue's owner.
 */
#include "log_source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "meta_block.h"
#include "r5fs/base/msg.h"

#define MODULE "journal"
/* Neither a magic nor, except for pages that hold just this, anything with a fitting checksum. */
#define UNREADABLE_PATTERN 0xa5

_Static_assert(LOG_WINDOW_BLOCKS >= LOG_UNIT_BLOCKS_MAX, "a unit fits into the window");

void log_source_init(struct log_source *source, struct array *array)
{
    struct uuid uuid = array_uuid(array);

    *source = (struct log_source){
        .file = array_journal_file(array),
        .ring = {.blocks = array_journal_blocks(array),
                 .offset_bytes = array_journal_offset_bytes(array)},
        .seed = meta_block_seed(&uuid),
    };
    R5_CHECK(source->file != NULL);
}

struct log_window *log_window_make(struct arena *arena,
                                   const struct log_source *source,
                                   struct io_queue *queue,
                                   struct log_block start)
{
    struct log_window *window = arena_take_array(arena, struct log_window, 1);

    *window = (struct log_window){.source = source, .queue = queue, .start = start};
    window->buffer = arena_take(arena, (size_t)LOG_WINDOW_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
    return window;
}

struct log_block log_window_position(const struct log_window *window, uint64_t offset)
{
    return log_ring_advance(&window->source->ring, window->start, offset);
}

/* What a failed piece still gives, block by block. */
static void salvage_piece(struct log_window *window, const struct io_request *piece)
{
    uint64_t blocks = piece->single.iov_len / BLOCK_BYTES;

    for (uint64_t i = 0; i < blocks; i++) {
        uint8_t *block = (uint8_t *)piece->single.iov_base + i * BLOCK_BYTES;
        uint64_t offset_bytes = piece->offset_bytes + i * BLOCK_BYTES;
        int error = io_read(window->queue, window->source->file, offset_bytes, block, BLOCK_BYTES);
        if (error == 0) {
            continue;
        }
        if (window->unreadable == 0) {
            window->error = error;
            msg_warn(MODULE,
                     "log unreadable path=%s byte=%" PRIu64 " error=%s",
                     window->source->file->path,
                     offset_bytes,
                     strerror(-error));
        }
        window->unreadable++;
        memset(block, UNREADABLE_PATTERN, BLOCK_BYTES);
    }
}

/* Adds the pieces of one run to the requests; returns their number. */
static uint32_t
submit_run(struct log_window *window, const struct log_run *run, uint8_t *buffer, uint32_t used)
{
    uint32_t made = 0;

    for (uint64_t done = 0; done < run->count; done += LOG_WINDOW_PIECE_BLOCKS) {
        uint64_t blocks = min_u64(run->count - done, LOG_WINDOW_PIECE_BLOCKS);
        R5_CHECK(used + made < LOG_WINDOW_REQUESTS);
        struct io_request *request = &window->requests[used + made];
        io_prepare(request,
                   window->source->file,
                   IO_READ,
                   run->offset_bytes + done * BLOCK_BYTES,
                   buffer + done * BLOCK_BYTES,
                   (size_t)blocks * BLOCK_BYTES);
        io_submit(window->queue, request);
        made++;
    }
    return made;
}

/* Reads `count` blocks from `offset` on to the end of what the window holds. */
static void window_read(struct log_window *window, uint64_t offset, uint32_t count)
{
    struct log_run runs[2];
    uint8_t *buffer = window->buffer + (size_t)window->count * BLOCK_BYTES;
    uint32_t used = 0;
    unsigned run_count =
        log_ring_split(&window->source->ring, log_window_position(window, offset), count, runs);

    for (unsigned i = 0; i < run_count; i++) {
        used += submit_run(window, &runs[i], buffer, used);
        buffer += runs[i].count * BLOCK_BYTES;
    }
    io_drain(window->queue);
    for (uint32_t i = 0; i < used; i++) {
        if (window->requests[i].result != 0) {
            /* A copy: salvage uses the queue again, not this request. */
            salvage_piece(window, &window->requests[i]);
        }
    }
    window->count += count;
}

const uint8_t *log_window_get(struct log_window *window, uint64_t offset, uint32_t count)
{
    uint64_t ring_blocks = window->source->ring.blocks;
    uint64_t end = window->first + window->count;

    R5_CHECK(count <= LOG_UNIT_BLOCKS_MAX);
    R5_CHECK(offset <= ring_blocks && count <= ring_blocks - offset);
    if (offset < window->first || offset > end) {
        window->first = offset;
        window->count = 0;
        end = offset;
    }
    if (offset + count > end) {
        uint32_t kept = (uint32_t)(end - offset);
        size_t skip = (size_t)(offset - window->first) * BLOCK_BYTES;
        memmove(window->buffer, window->buffer + skip, (size_t)kept * BLOCK_BYTES);
        window->first = offset;
        window->count = kept;
        window_read(window, end, (uint32_t)min_u64(LOG_WINDOW_BLOCKS - kept, ring_blocks - end));
    }
    return window->buffer + (size_t)(offset - window->first) * BLOCK_BYTES;
}

static int check_page(const struct log_source *source,
                      const struct log_page *page,
                      const struct io_request *request)
{
    if (request->result != 0) {
        msg_warn(MODULE,
                 "log unreadable path=%s block=%" PRIu64 " error=%s",
                 source->file->path,
                 page->position.nr,
                 strerror(-request->result));
        return -EIO;
    }
    if (meta_block_page_checksum(source->seed, page->buffer) != page->checksum) {
        msg_warn(MODULE,
                 "log page changed since it was scanned path=%s block=%" PRIu64,
                 source->file->path,
                 page->position.nr);
        return -EIO;
    }
    return 0;
}

int log_source_read_pages(const struct log_source *source,
                          struct io_queue *queue,
                          const struct log_page *pages,
                          uint32_t count,
                          struct io_request *requests,
                          uint32_t request_count)
{
    int first_error = 0;

    for (uint32_t done = 0; done < count; done += request_count) {
        uint32_t batch = (uint32_t)min_u64(count - done, request_count);
        for (uint32_t i = 0; i < batch; i++) {
            io_prepare(&requests[i],
                       source->file,
                       IO_READ,
                       log_ring_offset_bytes(&source->ring, pages[done + i].position),
                       pages[done + i].buffer,
                       BLOCK_BYTES);
            io_submit(queue, &requests[i]);
        }
        io_drain(queue);
        for (uint32_t i = 0; i < batch; i++) {
            int error = check_page(source, &pages[done + i], &requests[i]);
            first_error = first_error != 0 ? first_error : error;
        }
    }
    return first_error;
}
