/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One group at hand, for freespace.c and freespace_search.c. Under the op lock. */
#ifndef R5FS_FS_FREESPACE_GROUP_H
#define R5FS_FS_FREESPACE_GROUP_H

#include <stdint.h>

#include "buffer.h"
#include "fs_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"

struct fs;
struct fs_txn;

struct group {
    uint32_t number;
    uint32_t blocks;
    struct fs_block start;
    struct buffer *bitmap;  /* pinned */
    struct buffer *summary; /* pinned */
};

struct group_counts {
    uint32_t free_blocks;
    uint32_t longest_run;
};

static inline const uint8_t *group_bits(const struct buffer *bitmap)
{
    return bitmap->data + sizeof(struct fs_block_header);
}

static inline uint8_t *group_bits_mutable(const struct group *group)
{
    return group->bitmap->data + sizeof(struct fs_block_header);
}

/* A group in use, its bitmap and summary pinned. */
R5_MUST_CHECK int group_open(struct fs_txn *txn, uint32_t group, struct group *out_group);
void group_close(struct fs_txn *txn, struct group *group);
/* Brings the next untouched group into use. */
R5_MUST_CHECK int group_begin(struct fs_txn *txn);
struct group_counts group_counts_get(const struct group *group);
void group_counts_set(const struct group *group, struct group_counts counts);
/* The group's bits with those of blocks freed lately set as well (F2). Valid until the next
 * call. */
const uint8_t *group_combined(struct fs *fs, const struct group *group);
/* Marks blocks of a reservation as used; they are free. */
void group_take(struct fs_txn *txn, const struct group *group, uint32_t first, uint32_t count);

#endif
