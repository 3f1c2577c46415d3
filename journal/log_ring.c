/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arithmetic of the log ring. */
#include "log_ring.h"

#include "r5fs/base/check.h"

bool log_ring_contains(const struct log_ring *ring, struct log_block position)
{
    return position.nr < ring->blocks;
}

struct log_block
log_ring_advance(const struct log_ring *ring, struct log_block from, uint64_t count)
{
    R5_CHECK(log_ring_contains(ring, from));
    R5_CHECK(count <= ring->blocks);
    uint64_t to_end = ring->blocks - from.nr;
    return log_block(count < to_end ? from.nr + count : count - to_end);
}

uint64_t log_ring_distance(const struct log_ring *ring, struct log_block from, struct log_block to)
{
    R5_CHECK(log_ring_contains(ring, from));
    R5_CHECK(log_ring_contains(ring, to));
    return to.nr >= from.nr ? to.nr - from.nr : ring->blocks - from.nr + to.nr;
}

uint64_t log_ring_offset_bytes(const struct log_ring *ring, struct log_block position)
{
    R5_CHECK(log_ring_contains(ring, position));
    return ring->offset_bytes + position.nr * BLOCK_BYTES;
}

unsigned log_ring_split(const struct log_ring *ring,
                        struct log_block from,
                        uint64_t count,
                        struct log_run out_runs[2])
{
    R5_CHECK(log_ring_contains(ring, from));
    R5_CHECK(count <= ring->blocks);
    uint64_t first = min_u64(count, ring->blocks - from.nr);
    out_runs[0] = (struct log_run){log_ring_offset_bytes(ring, from), first};
    out_runs[1] = (struct log_run){ring->offset_bytes, count - first};
    return count == 0 ? 0 : first < count ? 2 : 1;
}
