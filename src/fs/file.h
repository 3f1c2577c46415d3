/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What writing, fallocate and truncate share: old contents of blocks that are changed in part. */
#ifndef R5FS_FS_FILE_H
#define R5FS_FS_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "extent.h"
#include "inode.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"

struct fs;
struct fs_thread;

/* A block of a file whose contents are made in memory and written in the next transaction. */
struct file_patch {
    bool needed;
    uint64_t file_block;
    struct fs_block block; /* where it lies; of a hole or an unwritten extent: not set */
    bool mapped;           /* it lies in a written extent */
    uint8_t *data;         /* BLOCK_BYTES */
};

/* The block as a reader sees it, in `data`: zeros where it has no contents, and beyond `size`. The
 * inode lock is held. */
R5_MUST_CHECK int file_patch_load(struct fs *fs,
                                  struct fs_thread *thread,
                                  const struct fs_inode *inode,
                                  uint64_t file_block,
                                  uint8_t *data,
                                  struct file_patch *out_patch);
/* The block that holds the old end of the file, when growing to `new_size` would uncover what lies
 * behind the end in it. Not needed (patch->needed false) when nothing is uncovered. */
R5_MUST_CHECK int file_patch_old_end(struct fs *fs,
                                     struct fs_thread *thread,
                                     const struct fs_inode *inode,
                                     uint64_t new_size,
                                     uint8_t *data,
                                     struct file_patch *out_patch);

/* A whole inode, and whether a truncation is unfinished, in one look. */
struct file_look {
    uint64_t ino;
    struct fs_inode inode;
    bool truncate_pending;
    uint64_t first; /* map of [first, end) when end > first */
    uint64_t end;
    struct extent_window window;
};
R5_MUST_CHECK int file_look(struct fs_reader *reader, void *context);

/* -EISDIR or -EINVAL for what has no data. */
R5_MUST_CHECK int file_check_regular(const struct fs_inode *inode);
/* Whether a transaction begun for `have` may do what `want` says. */
bool file_need_covers(const struct txn_need *have, const struct txn_need *want);

#endif
