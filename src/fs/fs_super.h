/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filesystem's super block: decode, validate, encode; the layout of groups that follows from
 * it. */
#ifndef R5FS_FS_FS_SUPER_H
#define R5FS_FS_FS_SUPER_H

#include <stdbool.h>
#include <stdint.h>

#include "fs_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"
#include "r5fs/fs/fs.h"
#include "r5fs/raid/geometry.h"

#define FS_VOLUME_BLOCKS_MIN 256u

struct fs_super {
    struct uuid fs_uuid;
    struct uuid array_uuid;
    char label[FS_LABEL_BYTES];
    uint32_t flags;
    uint64_t features_compat;
    uint64_t features_ro;
    uint64_t features_incompat;
    uint64_t volume_blocks;
    uint32_t group_blocks;
    uint32_t group_count;
    _Atomic uint32_t groups_used; /* grows while readers compare extents with it */
    uint32_t meta_group;
    uint32_t reserve_blocks;
    uint32_t tree_levels;
    struct fs_block tree_root;
    uint64_t next_ino;
    uint64_t free_blocks;
    uint64_t inode_count;
    uint64_t txn;
    uint64_t journal_generation;
    uint64_t name_seed;
    uint64_t made_seconds;
    struct journal_mark log; /* its newest durable unit when the super was sealed */
};

/* Checks the header (magic, own address, crc) and every field against the others and the volume.
 * -EMEDIUMTYPE: no super at all; -EUCLEAN: damaged, `out_why` says what; -EOPNOTSUPP: made by a
 * newer version. */
R5_MUST_CHECK int fs_super_decode(struct fs_super *out_super,
                                  const uint8_t *block,
                                  struct fs_block address,
                                  uint64_t volume_blocks,
                                  char out_why[FS_WHY_BYTES]);
/* Everything but the crc. */
void fs_super_encode(const struct fs_super *super, struct fs_block address, uint8_t *block);

/* Whether the super was sealed behind the end of that log, so that it never was in it. A log begun
 * anew on the same device may count from lower on: to be asked only where the log has no super. */
bool fs_super_is_past(const struct fs_super *super, const struct journal_mark *log_end);

/* Fills in the layout fields for an empty volume. -ENOSPC when it is too small. */
R5_MUST_CHECK int fs_super_plan(struct fs_super *super, const struct geometry *geometry);

/* The blocks of a group and which of them are never allocated. */
uint32_t fs_group_of(const struct fs_super *super,
                     struct fs_block block); /* < group_count, or not */
struct fs_block fs_group_start(const struct fs_super *super, uint32_t group);
uint32_t fs_group_blocks(const struct fs_super *super, uint32_t group);
struct fs_block fs_group_bitmap(const struct fs_super *super, uint32_t group);
struct fs_block fs_group_summary(const struct fs_super *super, uint32_t group);
/* Whether the block is super, bitmap, summary or the super's copy. */
bool fs_block_is_fixed(const struct fs_super *super, struct fs_block block);
/* Blocks of the group that are not fixed. */
uint32_t fs_group_room(const struct fs_super *super, uint32_t group);
struct fs_block fs_super_copy_address(const struct fs_super *super);
/* Whether files or tree nodes may lie in [first, first + count): inside the groups, not fixed, in
 * one group, not in an untouched one. For checking what comes from the disk. */
bool fs_run_is_plausible(const struct fs_super *super, struct fs_block first, uint64_t count);

/* Common header: fill in (not the crc), set the crc, check all. */
void fs_header_fill(struct fs_block_header *header,
                    uint32_t magic,
                    struct fs_block address,
                    const struct uuid *fs_uuid,
                    uint64_t generation);
void fs_header_seal(uint8_t *block);
/* NULL when right, else what is wrong in words. */
const char *fs_header_problem(const uint8_t *block,
                              uint32_t magic,
                              struct fs_block address,
                              const struct uuid *fs_uuid);

#endif
