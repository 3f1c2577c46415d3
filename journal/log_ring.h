/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Positions in the log ring: the only place that wraps. Pure arithmetic, any thread.
 *
 * Positions are below `blocks`. A distance is taken forward and lies in [0, blocks): from a
 * position to itself it is 0, never the whole ring; who must tell empty from full counts for
 * himself.
 */
#ifndef R5FS_JOURNAL_LOG_RING_H
#define R5FS_JOURNAL_LOG_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/units.h"

struct log_ring {
    uint64_t blocks;       /* of the ring */
    uint64_t offset_bytes; /* of its first block, within the journal file */
};

/* A stretch of the ring that does not wrap. */
struct log_run {
    uint64_t offset_bytes; /* within the journal file */
    uint64_t count;        /* blocks; 0 = none */
};

bool log_ring_contains(const struct log_ring *ring, struct log_block position);
/* The position `count` <= blocks further on. */
struct log_block
log_ring_advance(const struct log_ring *ring, struct log_block from, uint64_t count);
/* Blocks from `from` forward to `to`. */
uint64_t log_ring_distance(const struct log_ring *ring, struct log_block from, struct log_block to);
uint64_t log_ring_offset_bytes(const struct log_ring *ring, struct log_block position);
/* The one or two stretches of `count` <= blocks blocks from `from` on; returns how many. */
unsigned log_ring_split(const struct log_ring *ring,
                        struct log_block from,
                        uint64_t count,
                        struct log_run out_runs[2]);

#endif
