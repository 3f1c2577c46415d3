/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Maps blocks of the volume to members and back: the four rotating RAID5 layouts that md knows.
 *
 *   chunk row:    0    1    2    3      n = 4, left-symmetric: parity moves left one slot per
 *   slot 0        0    4    8    P      chunk row, data starts behind it and wraps
 *   slot 1        1    5    P    9
 *   slot 2        2    P    6   10      (numbers: chunks of the volume)
 *   slot 3        P    3    7   11
 *
 * Invariants:
 *   G1  geometry_block_at is the inverse of geometry_locate.
 *   G2  every block of the volume lies in one data slot of one row below `rows`.
 *   G3  no sum or product overflows: a member is at most 2^63 - 1 bytes long.
 *
 * Failure modes: geometry_init refuses what no array can have (its numbers come from a disk); an
 * address beyond the volume is our own mistake.
 * Thread: any; no state.
 */
#include "r5fs/raid/geometry.h"

#include <errno.h>
#include <string.h>

#define CHUNK_SECTORS_MAX  (UINT32_C(1) << 30)
#define MEMBER_SECTORS_MAX ((uint64_t)INT64_MAX / SECTOR_BYTES)
#define LAYOUTS            4u

struct layout_words {
    const char *name;
    const char *abbreviation;
    const char *number;
};

/* Indexed by the number md stores. */
static const struct layout_words layout_words[LAYOUTS] = {
    [LAYOUT_LEFT_ASYMMETRIC] = {"left-asymmetric", "la", "0"},
    [LAYOUT_RIGHT_ASYMMETRIC] = {"right-asymmetric", "ra", "1"},
    [LAYOUT_LEFT_SYMMETRIC] = {"left-symmetric", "ls", "2"},
    [LAYOUT_RIGHT_SYMMETRIC] = {"right-symmetric", "rs", "3"},
};

int geometry_init(struct geometry *geometry,
                  uint32_t slots,
                  uint32_t chunk_sectors,
                  enum layout layout,
                  uint64_t member_sectors)
{
    if (slots < MEMBERS_MIN || slots > MEMBERS_MAX || (uint32_t)layout >= LAYOUTS) {
        return -EINVAL;
    }
    if (chunk_sectors < BLOCK_SECTORS || chunk_sectors > CHUNK_SECTORS_MAX ||
        (chunk_sectors & (chunk_sectors - 1)) != 0) {
        return -EINVAL;
    }
    if (member_sectors < chunk_sectors || member_sectors > MEMBER_SECTORS_MAX) {
        return -EINVAL; /* G3 */
    }
    uint64_t rows = round_down(member_sectors, chunk_sectors) / BLOCK_SECTORS;

    *geometry = (struct geometry){
        .slots = slots,
        .data_slots = slots - 1,
        .chunk_blocks = chunk_sectors / BLOCK_SECTORS,
        .layout = layout,
        .rows = rows,
        .volume_blocks = rows * (slots - 1),
    };
    return 0;
}

static bool parity_moves_left(enum layout layout)
{
    return layout == LAYOUT_LEFT_ASYMMETRIC || layout == LAYOUT_LEFT_SYMMETRIC;
}

/* Symmetric: data follows the parity slot and wraps. Asymmetric: data keeps its place, parity is
 * pushed in between. */
static bool data_follows_parity(enum layout layout)
{
    return layout == LAYOUT_LEFT_SYMMETRIC || layout == LAYOUT_RIGHT_SYMMETRIC;
}

static uint32_t chunk_row_parity_slot(const struct geometry *geometry, uint64_t chunk_row)
{
    uint32_t turn = (uint32_t)(chunk_row % geometry->slots);

    return parity_moves_left(geometry->layout) ? geometry->data_slots - turn : turn;
}

struct placement geometry_locate(const struct geometry *geometry, struct fs_block block)
{
    R5_CHECK(block.nr < geometry->volume_blocks); /* G2 */
    uint64_t chunk = block.nr / geometry->chunk_blocks;
    uint64_t within = block.nr % geometry->chunk_blocks;
    uint64_t chunk_row = chunk / geometry->data_slots;
    uint32_t data_index = (uint32_t)(chunk % geometry->data_slots);
    uint32_t parity = chunk_row_parity_slot(geometry, chunk_row);
    uint32_t slot = 0;

    if (data_follows_parity(geometry->layout)) {
        slot = (parity + 1 + data_index) % geometry->slots;
    } else {
        slot = data_index >= parity ? data_index + 1 : data_index;
    }
    return (struct placement){
        .row = member_block(chunk_row * geometry->chunk_blocks + within),
        .slot = slot,
    };
}

uint32_t geometry_parity_slot(const struct geometry *geometry, struct member_block row)
{
    R5_CHECK(row.nr < geometry->rows);
    return chunk_row_parity_slot(geometry, row.nr / geometry->chunk_blocks);
}

struct fs_block
geometry_block_at(const struct geometry *geometry, struct member_block row, uint32_t slot)
{
    uint32_t parity = geometry_parity_slot(geometry, row);
    uint64_t chunk_row = row.nr / geometry->chunk_blocks;
    uint32_t data_index = 0;

    R5_CHECK(slot < geometry->slots);
    R5_CHECK(slot != parity);
    if (data_follows_parity(geometry->layout)) {
        data_index = (slot + geometry->slots - parity - 1) % geometry->slots;
    } else {
        data_index = slot > parity ? slot - 1 : slot;
    }
    uint64_t chunk = chunk_row * geometry->data_slots + data_index;
    return fs_block(chunk * geometry->chunk_blocks + row.nr % geometry->chunk_blocks);
}

uint32_t geometry_run(const struct geometry *geometry, struct fs_block block, uint32_t count)
{
    uint64_t left_in_chunk = geometry->chunk_blocks - block.nr % geometry->chunk_blocks;

    R5_CHECK(count > 0);
    return (uint32_t)min_u64(left_in_chunk, count);
}

uint32_t geometry_stripe_blocks(const struct geometry *geometry)
{
    return geometry->chunk_blocks * geometry->data_slots;
}

const char *layout_name(enum layout layout)
{
    return (uint32_t)layout < LAYOUTS ? layout_words[layout].name : "unknown";
}

int layout_parse(const char *name, enum layout *out_layout)
{
    for (uint32_t i = 0; i < LAYOUTS; i++) {
        const struct layout_words *words = &layout_words[i];
        if (strcmp(name, words->name) == 0 || strcmp(name, words->abbreviation) == 0 ||
            strcmp(name, words->number) == 0) {
            *out_layout = (enum layout)i;
            return 0;
        }
    }
    return -EINVAL;
}
