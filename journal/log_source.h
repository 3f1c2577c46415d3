/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the log ring: a window that slides forward over it in large pieces, and single pages,
 * many at a time. Used by recovery, the read-only view and the dump; each on its own thread and
 * queue.
 */
#ifndef R5FS_JOURNAL_LOG_SOURCE_H
#define R5FS_JOURNAL_LOG_SOURCE_H

#include <stdint.h>

#include "log_format.h"
#include "log_ring.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

struct log_source {
    struct io_file *file; /* lives as long as the array */
    struct log_ring ring;
    uint32_t seed; /* of all checksums */
};

/* The array's journal device is JOURNAL_DEVICE_OK. */
void log_source_init(struct log_source *source, struct array *array);

/* ---- window ---------------------------------------------------------------------------------- */

#define LOG_WINDOW_BLOCKS       512u /* 2 MiB: a whole unit and something to read ahead */
#define LOG_WINDOW_PIECE_BLOCKS 128u
#define LOG_WINDOW_REQUESTS     (LOG_WINDOW_BLOCKS / LOG_WINDOW_PIECE_BLOCKS + 2u)

/* Offsets are blocks from `start` on, below the ring's size. */
struct log_window {
    const struct log_source *source;
    struct io_queue *queue;
    struct log_block start;
    uint64_t first; /* offset of what `buffer` begins with */
    uint32_t count; /* blocks in it */
    uint8_t *buffer;
    uint64_t unreadable; /* blocks that could not be read so far; they read as a pattern */
    int error;           /* of the first of them */
    struct io_request requests[LOG_WINDOW_REQUESTS];
};

/* Takes the buffer from `arena`. */
struct log_window *log_window_make(struct arena *arena,
                                   const struct log_source *source,
                                   struct io_queue *queue,
                                   struct log_block start);
/* `count` <= LOG_UNIT_BLOCKS_MAX blocks from `offset` on, in memory until the next call. A block
 * that the device does not give up is filled with a pattern, which no checksum fits, and counted:
 * so bad sectors are judged where rotten bytes are. The range lies within the ring. */
const uint8_t *log_window_get(struct log_window *window, uint64_t offset, uint32_t count);
struct log_block log_window_position(const struct log_window *window, uint64_t offset);

/* ---- pages ----------------------------------------------------------------------------------- */

struct log_page {
    struct log_block position;
    uint32_t checksum;
    uint8_t *buffer; /* block-aligned */
};

/* Reads all of them, at most `request_count` in flight, and compares the checksums. -EIO, with one
 * message naming the place, when one cannot be read or is no longer what it was. */
R5_MUST_CHECK int log_source_read_pages(const struct log_source *source,
                                        struct io_queue *queue,
                                        const struct log_page *pages,
                                        uint32_t count,
                                        struct io_request *requests,
                                        uint32_t request_count);

#endif
