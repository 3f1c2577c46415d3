/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two shapes that nearly all operations have: one read section, or one transaction that is
 * begun again when the tree asks for it (-EAGAIN) or when the operation finds that it needs more
 * than it reserved (it raises *need and answers -EAGAIN itself).
 */
#ifndef R5FS_FS_OP_H
#define R5FS_FS_OP_H

#include <stdint.h>

#include "r5fs/base/check.h"
#include "txn.h"

struct fs;
struct fs_reader;
struct fs_thread;

/* Runs `body` in a read section until it got through. `body` is repeatable. */
R5_MUST_CHECK int op_look(struct fs *fs,
                          struct fs_thread *thread,
                          int (*body)(struct fs_reader *reader, void *context),
                          void *context);

struct op_change {
    const struct txn_need *need; /* read anew for each try */
    uint64_t lock_ino;           /* inode lock to hold exclusively; 0: none */
    /* With the inode lock held, before the op lock: may read. NULL: nothing to do. */
    int (*before)(struct fs *fs, struct fs_thread *thread, void *context);
    /* With the op lock held; ends in the look or in the change phase. */
    int (*body)(struct fs_txn *txn, void *context);
    void *context;
};

R5_MUST_CHECK int
op_change(struct fs *fs, struct fs_thread *thread, const struct op_change *change);

#endif
