/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a block of the volume lives. Pure arithmetic; the only place that turns volume addresses
 * into member addresses. Formulas: the md RAID5 algorithms (docs/SPEC.md, "Mapping").
 */
#ifndef R5FS_RAID_GEOMETRY_H
#define R5FS_RAID_GEOMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"

/* The numbers md stores. 4 and 5 (parity first, last) are refused. */
enum layout {
    LAYOUT_LEFT_ASYMMETRIC = 0,
    LAYOUT_RIGHT_ASYMMETRIC = 1,
    LAYOUT_LEFT_SYMMETRIC = 2,
    LAYOUT_RIGHT_SYMMETRIC = 3,
};

struct geometry {
    uint32_t slots;        /* members, n */
    uint32_t data_slots;   /* n - 1 */
    uint32_t chunk_blocks; /* a power of two */
    enum layout layout;
    uint64_t rows;          /* blocks used of each member: a multiple of chunk_blocks */
    uint64_t volume_blocks; /* rows * data_slots */
};

struct placement {
    struct member_block row;
    uint32_t slot;
};

/* -EINVAL for what no array can have. `member_sectors` is rounded down to whole chunks. */
R5_MUST_CHECK int geometry_init(struct geometry *geometry,
                                uint32_t slots,
                                uint32_t chunk_sectors,
                                enum layout layout,
                                uint64_t member_sectors);
struct placement geometry_locate(const struct geometry *geometry, struct fs_block block);
uint32_t geometry_parity_slot(const struct geometry *geometry, struct member_block row);
/* The volume block in a data slot of a row; `slot` is not the row's parity slot. */
struct fs_block
geometry_block_at(const struct geometry *geometry, struct member_block row, uint32_t slot);
/* How many blocks from `block` on (at most `count`) are contiguous on one member. At least 1. */
uint32_t geometry_run(const struct geometry *geometry, struct fs_block block, uint32_t count);
/* Blocks of the volume in one stripe (one chunk of every data slot). */
uint32_t geometry_stripe_blocks(const struct geometry *geometry);
const char *layout_name(enum layout layout);
/* -EINVAL for an unknown name or number. */
R5_MUST_CHECK int layout_parse(const char *name, enum layout *out_layout);

#endif
