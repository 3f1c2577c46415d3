/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one tree of typed items, 4 KiB nodes changed in place (the journal makes a transaction's
 * blocks appear together).
 *
 * Reading goes through a reader (reader.h): shared by many threads under the tree lock, or, with
 * the reader of a transaction, alone under the op lock. A path pins its nodes; what btree_data
 * returns is valid until the path is moved or released, the tree lock is dropped, or (in a
 * transaction) the tree is changed.
 *
 * Changing happens in two phases, so that an operation never stops half-way:
 *   before txn_change: btree_prepare(key) for every item that will be inserted, replaced or
 *   removed.
 *     It reads and pins what is needed (all errors come here) and splits full internal nodes.
 *   after txn_change:  btree_insert, btree_replace, btree_remove, btree_change.
 */
#ifndef R5FS_FS_BTREE_H
#define R5FS_FS_BTREE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "fs_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"

struct fs;
struct fs_reader;
struct fs_txn;

struct fs_key {
    uint64_t ino;
    uint8_t type;
    uint64_t offset;
};

static inline struct fs_key fs_key(uint64_t ino, enum fs_item_type type, uint64_t offset)
{
    return (struct fs_key){ino, (uint8_t)type, offset};
}

/* < 0, 0, > 0 */
static inline int fs_key_compare(const struct fs_key *a, const struct fs_key *b)
{
    if (a->ino != b->ino) {
        return a->ino < b->ino ? -1 : 1;
    }
    if (a->type != b->type) {
        return a->type < b->type ? -1 : 1;
    }
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* A position in the tree. Zero it (or btree_path_init) before use; release it after. */
struct btree_path {
    struct fs_reader *reader;
    uint32_t levels; /* pinned below; 0 = empty */
    struct {
        struct buffer *buffer;
        uint32_t slot;
    } level[FS_TREE_LEVELS_MAX]; /* [0] is the leaf */
};

void btree_path_init(struct btree_path *path, struct fs_reader *reader);
/* Puts all pins; the path may be used again. */
void btree_path_release(struct btree_path *path);

/* All of these: -EAGAIN in a shared reader when a node is not in memory (fs_reader_again loads it);
 * -EUCLEAN; -EIO. On any error but -ENOENT the path is released. */

/* The item with this key, or -ENOENT. */
R5_MUST_CHECK int btree_find(struct btree_path *path, const struct fs_key *key);
/* The first item whose key is not below `key`; -ENOENT: there is none. */
R5_MUST_CHECK int btree_seek(struct btree_path *path, const struct fs_key *key);
/* The last item whose key is not above `key`; -ENOENT: there is none. */
R5_MUST_CHECK int btree_seek_last(struct btree_path *path, const struct fs_key *key);
/* From an item to its neighbour; -ENOENT at the end (the path is then released). */
R5_MUST_CHECK int btree_next(struct btree_path *path);
R5_MUST_CHECK int btree_prev(struct btree_path *path);

/* The path stands on an item. */
struct fs_key btree_key(const struct btree_path *path);
const uint8_t *btree_data(const struct btree_path *path, uint32_t *out_bytes);

/* Find and copy at most `max` bytes in one go; *out_bytes is the item's whole length. */
R5_MUST_CHECK int btree_get(struct fs_reader *reader,
                            const struct fs_key *key,
                            void *out,
                            uint32_t max,
                            uint32_t *out_bytes);

/* ---- changing: the transaction is locked
 * -------------------------------------------------------- */

/* Before txn_change. May be called for a key that exists or not. -EAGAIN: too many full nodes for
 * one transaction, some were split: end this transaction and begin again. */
R5_MUST_CHECK int btree_prepare(struct fs_txn *txn, const struct fs_key *key);

/* After txn_change. -EEXIST. */
R5_MUST_CHECK int
btree_insert(struct fs_txn *txn, const struct fs_key *key, const void *data, uint32_t bytes);
/* The item's new data, of any length. -ENOENT. Counts as an insert unless it got no longer. */
R5_MUST_CHECK int
btree_replace(struct fs_txn *txn, const struct fs_key *key, const void *data, uint32_t bytes);
/* -ENOENT. */
R5_MUST_CHECK int btree_remove(struct fs_txn *txn, const struct fs_key *key);
/* In place, same length: a writable pointer into the item, valid until the next change. -ENOENT. */
R5_MUST_CHECK int
btree_change(struct fs_txn *txn, const struct fs_key *key, uint8_t **out_data, uint32_t *out_bytes);

/* Walks every node, parents before children, in key order; for fsck, dump and tests. `node` returns
 * 0 to go on, 1 to skip what hangs below, or an error that ends the walk. Bad nodes are reported
 * with data NULL and their error. */
struct btree_visit {
    struct fs_block block;
    uint32_t level;
    const uint8_t *data;
    int error;
    struct fs_block parent; /* 0 for the root */
};
R5_MUST_CHECK int btree_walk(struct fs_reader *reader,
                             int (*node)(void *context, const struct btree_visit *visit),
                             void *context);

#endif
