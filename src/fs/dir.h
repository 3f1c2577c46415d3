/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directory entries as items of the tree. An entry's item offset is its readdir cookie: it never
 * changes while the entry lives, and the order of entries is the order of offsets.
 */
#ifndef R5FS_FS_DIR_H
#define R5FS_FS_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/fs/fs.h"

struct fs;
struct fs_reader;
struct fs_txn;
struct btree_path;

#define DIR_COOKIE_DOT     1u
#define DIR_COOKIE_DOT_DOT 2u

struct dir_entry {
    uint64_t ino;
    uint64_t offset; /* of the item */
    uint32_t type;   /* S_IFMT bits */
};

/* -ENOENT, and *out_free says where the name could be added (-ENOSPC: 256 names have its hash). */
R5_MUST_CHECK int dir_find(struct fs_reader *reader,
                           uint64_t dir,
                           struct fs_name name,
                           struct dir_entry *out_entry,
                           uint64_t *out_free);
/* -ENOTEMPTY, or 0. */
R5_MUST_CHECK int dir_check_empty(struct fs_reader *reader, uint64_t dir);

/* Look phase: the entry at `offset` will be added, removed or changed. */
R5_MUST_CHECK int dir_prepare(struct fs_txn *txn, uint64_t dir, uint64_t offset);
/* Change phase: one insert, one remove, one update. */
R5_MUST_CHECK int
dir_add(struct fs_txn *txn, uint64_t dir, struct fs_name name, const struct dir_entry *entry);
R5_MUST_CHECK int dir_remove(struct fs_txn *txn, uint64_t dir, uint64_t offset);
/* The name keeps its place and names another inode. */
R5_MUST_CHECK int dir_point(struct fs_txn *txn, uint64_t dir, const struct dir_entry *entry);

/* Item bytes: NULL when right (the name points into `data`), else what is wrong. */
const char *
dir_decode(const uint8_t *data, uint32_t bytes, struct dir_entry *out_entry, struct fs_name *out);

#endif
