/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed addresses. A count is a plain integer; an address says what it addresses, so that two kinds
 * cannot be mixed. One block is 4 KiB everywhere (docs/adr/0006).
 *
 *   fs_block       block of the array's volume, from 0
 *   member_block   block of a member's data area (data_offset not included); it is also the number
 *                  of the row, the 4 KiB deep slice over all members
 *   log_block      block of the log ring, relative to the start of the ring
 */
#ifndef R5FS_BASE_UNITS_H
#define R5FS_BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR_BYTES  512u
#define BLOCK_BYTES   4096u
#define BLOCK_SHIFT   12
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)
#define MEMBERS_MIN   3u
#define MEMBERS_MAX   32u

struct fs_block {
    uint64_t nr;
};

struct member_block {
    uint64_t nr;
};

struct log_block {
    uint64_t nr;
};

_Static_assert(sizeof(struct fs_block) == 8, "a typed address costs nothing");

static inline struct fs_block fs_block(uint64_t nr)
{
    return (struct fs_block){nr};
}

static inline struct member_block member_block(uint64_t nr)
{
    return (struct member_block){nr};
}

static inline struct log_block log_block(uint64_t nr)
{
    return (struct log_block){nr};
}

static inline struct fs_block fs_block_add(struct fs_block block, uint64_t count)
{
    return fs_block(block.nr + count);
}

static inline uint64_t div_round_up(uint64_t value, uint64_t unit)
{
    return value / unit + (value % unit != 0);
}

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return div_round_up(value, unit) * unit;
}

static inline uint64_t round_down(uint64_t value, uint64_t unit)
{
    return value / unit * unit;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
