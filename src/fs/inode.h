/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inode records and inode locks. There is no inode cache: the item in the tree is the truth.
 *
 * Locks are striped by inode number: read shared; write, truncate, fallocate, attributes exclusive.
 * A thread holds at most one of them (rename and link rely on the op lock instead).
 */
#ifndef R5FS_FS_INODE_H
#define R5FS_FS_INODE_H

#include <stdbool.h>
#include <stdint.h>

#include "fs_format.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/fs/fs.h"

#define INODE_LOCKS 1024u

struct fs_reader;
struct fs_txn;

struct fs_inode {
    uint64_t ino;
    uint64_t generation;
    uint64_t size;
    uint64_t blocks; /* of BLOCK_BYTES */
    uint64_t parent; /* directories */
    uint32_t mode;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t flags;
    uint32_t presence; /* FS_INODE_HAS_* */
    uint32_t xattr_next;
    struct fs_time atime;
    struct fs_time mtime;
    struct fs_time ctime;
    struct fs_time btime;
};

struct inode_locks {
    struct env_rwlock *locks; /* [fixed] INODE_LOCKS */
};

size_t inode_locks_need(void);
void inode_locks_init(struct inode_locks *locks, struct arena *arena);
void inode_locks_fini(struct inode_locks *locks);
void inode_lock_read(struct fs *fs, uint64_t ino);
void inode_lock_write(struct fs *fs, uint64_t ino);
void inode_unlock(struct fs *fs, uint64_t ino);

/* -ENOENT: no such inode; -EAGAIN as btree_find; -EUCLEAN for a record that cannot be. */
R5_MUST_CHECK int inode_read(struct fs_reader *reader, uint64_t ino, struct fs_inode *out_inode);
/* In the change phase. One update. */
R5_MUST_CHECK int inode_write(struct fs_txn *txn, const struct fs_inode *inode);
/* A new number, never used before; the super is dirtied. The transaction is locked. */
uint64_t inode_allocate_number(struct fs_txn *txn);
/* In the change phase: inserts or removes the record, keeps the count in the super. */
R5_MUST_CHECK int inode_insert(struct fs_txn *txn, const struct fs_inode *inode);
R5_MUST_CHECK int inode_remove(struct fs_txn *txn, uint64_t ino);

/* Record <-> struct. Decode: NULL when right, else what is wrong. */
const char *
inode_decode(struct fs_inode *out_inode, uint64_t ino, const uint8_t *data, uint32_t bytes);
void inode_encode(const struct fs_inode *inode, struct fs_inode_disk *out_disk);
void inode_to_attr(const struct fs_inode *inode, struct fs_attr *out_attr);
struct fs_time inode_now(void);

#endif
