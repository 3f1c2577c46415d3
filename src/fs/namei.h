/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What making, removing and moving names share. */
#ifndef R5FS_FS_NAMEI_H
#define R5FS_FS_NAMEI_H

#include <stdbool.h>
#include <stdint.h>

#include "dir.h"
#include "inode.h"
#include "orphan.h"
#include "r5fs/base/check.h"

struct fs_reader;
struct fs_txn;

/* A directory that names may be put into or taken from: -ENOTDIR, -ENOENT when it was removed
 * itself. */
R5_MUST_CHECK int
namei_read_dir(struct fs_reader *reader, uint64_t ino, struct fs_inode *out_inode);
/* The inode that an entry names; a missing one is damage. */
R5_MUST_CHECK int namei_read_entry(struct fs_reader *reader,
                                   uint64_t dir,
                                   const struct dir_entry *entry,
                                   struct fs_inode *out_inode);
R5_MUST_CHECK int namei_prepare_inode(struct fs_txn *txn, uint64_t ino);

/* An inode that loses a name (a directory: its only one). Look phase, then change phase: one
 * insert and two updates; writes the inode. *out_gone: its number when no name is left. */
struct namei_drop {
    struct fs_inode *inode;
    struct orphan orphan;
};
R5_MUST_CHECK int
namei_drop_prepare(struct fs_txn *txn, struct fs_inode *inode, struct namei_drop *out_drop);
R5_MUST_CHECK int namei_drop_apply(struct fs_txn *txn, struct namei_drop *drop, uint64_t *out_gone);

/* The directory got or lost an entry. */
void namei_touch_dir(struct fs_inode *dir, int64_t entries, int64_t subdirectories);

#endif
