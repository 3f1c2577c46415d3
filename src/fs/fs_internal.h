/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mounted filesystem as its own floor sees it.
 *
 * Who writes what: fs.c mount, unmount, statfs, info, sync. txn.c, btree.c, freespace.c, buffer.c,
 * inode.c the core. dir.c, namei.c, file.c, extent.c, attr.c, xattr.c, acl.c, symlink.c, orphan.c
 * the operations. fsck.c opens with fs_open(FS_OPEN_CHECK).
 */
#ifndef R5FS_FS_FS_INTERNAL_H
#define R5FS_FS_FS_INTERNAL_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "btree.h"
#include "buffer.h"
#include "freespace.h"
#include "fs_format.h"
#include "fs_super.h"
#include "inode.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/fs/fs.h"
#include "r5fs/journal/journal.h"
#include "reader.h"
#include "txn.h"

struct fs {
    struct journal *journal;         /* [fixed] */
    const struct geometry *geometry; /* [fixed] */
    struct env_mutex op_lock;        /* one mutator at a time, and commits */
    struct env_rwlock tree_lock; /* nodes and super.tree_*: shared to read, exclusive to change */
    struct fs_super super; /* [op_lock]; tree_*: [tree_lock to read]; free_blocks: [space.lock] */
    struct buffer *super_buffer; /* [fixed] pinned for the whole mount */
    struct buffer_pool buffers;
    struct freespace space;
    struct inode_locks inode_locks;
    struct txn_running running;   /* [op_lock] */
    uint32_t txn_max;             /* [fixed] most metadata blocks of a transaction */
    struct journal_limits limits; /* [fixed] */
    bool read_only;               /* [fixed] */
    atomic_bool stopped;          /* an operation broke off half-way, or the journal failed */
    atomic_bool damaged;          /* wrong metadata was met */
};

/* fs_mount without finishing orphans; the caller closes with fs_close. */
enum fs_open_how {
    FS_OPEN_WRITE,
    FS_OPEN_READ,
    FS_OPEN_LOOK,        /* fs_look_mount: judges as WRITE, writes nothing */
    FS_OPEN_CHECK_READ,  /* fsck -n: as READ, tolerant of a bad super where the copy is good */
    FS_OPEN_CHECK_WRITE, /* fsck -y: transactions work, nothing is finished or marked */
};

struct fs_opening {
    struct journal *journal;
    struct array *array;
    const struct fs_options *options;
    enum fs_open_how how;
};

R5_MUST_CHECK int fs_open(struct fs **out_fs,
                          const struct fs_opening *opening,
                          struct fs_thread *thread,
                          char *out_why);
/* Writes nothing. The journal gets an idle client. Also what a test does to crash. */
void fs_close(struct fs *fs);

void fs_note_damage(struct fs *fs, uint64_t ino, struct fs_block block, const char *what);

/* Says what is wrong at `block` and remembers it for fs_info.damaged. Returns -EUCLEAN. */
static inline int fs_damage(struct fs *fs, uint64_t ino, struct fs_block block, const char *what)
{
    fs_note_damage(fs, ino, block, what);
    return -EUCLEAN;
}

/* orphan.c (operations): called by fs_mount when writing is allowed. */
R5_MUST_CHECK int orphan_finish_all(struct fs *fs, struct fs_thread *thread);

#endif
