/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transactions. Many operations join the running transaction; it becomes one io unit of the journal
 * (at most 203 metadata blocks), there whole or not at all. There is no abort: everything that can
 * fail comes before txn_change.
 *
 *     error = txn_begin(&txn, fs, thread, &need);   parks for journal and space; holds no lock
 *     [inode lock]
 *     error = txn_lock(&txn);                       op lock: the only mutator, commits stay out
 *     look at the tree through &txn.reader, btree_prepare() every key, freespace_alloc(),
 *     txn_write_data() txn_change(&txn);                             tree lock exclusive
 *     btree_insert ... inode_write ...
 *     txn_end(&txn);                                at any stage, on success and on error
 *     [inode unlock]
 *
 * An operation that got -EAGAIN from txn_lock or btree_prepare ends its transaction and starts
 * again. Order of locks: (txn_begin) -> inode lock -> op lock -> tree lock -> the journal's.
 */
#ifndef R5FS_FS_TXN_H
#define R5FS_FS_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "fs_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/list.h"
#include "r5fs/journal/journal.h"
#include "reader.h"

#define TXN_PINS_MAX 128u

/* The most an operation may do in one transaction; txn_begin computes credits and space from it. */
struct txn_need {
    uint32_t data_blocks; /* calls of txn_write_data for different blocks */
    uint32_t allocate;    /* blocks taken with freespace_alloc */
    uint32_t alloc_runs;  /* calls of freespace_alloc that succeed */
    uint32_t free_runs;   /* calls of freespace_free */
    uint32_t inserts;     /* btree_insert, and btree_replace by something longer */
    uint32_t removes;     /* btree_remove */
    uint32_t updates;     /* btree_change, btree_replace by something not longer, inode_write */
    bool deep;            /* may use the reserve: deleting, orphans, unwritten conversion */
};

/* Metadata blocks that one of each may dirty. Independent of the tree's depth: full internal nodes
 * are split beforehand (btree_prepare), at most TXN_SPLITS_MAX of them in one transaction. */
#define TXN_CREDITS_INSERT    3u /* the leaf, its new half, their parent */
#define TXN_CREDITS_REMOVE    5u /* the leaf, a sibling, their parent; bitmap and summary */
#define TXN_CREDITS_UPDATE    1u /* the leaf */
#define TXN_CREDITS_ALLOC_RUN 2u /* bitmap, summary */
#define TXN_CREDITS_FREE_RUN  2u /* bitmap, summary: a run lies within one group */
#define TXN_CREDITS_SUPER     1u
#define TXN_SPLITS_MAX        2u
/* Bitmap and summary of the group new nodes come from; each split: node, new node, parent; a new
 * root. */
#define TXN_CREDITS_STRUCTURE (2u + 3u * TXN_SPLITS_MAX + 1u)
#define TXN_INSERTS_MAX       64u

struct fs;

struct fs_txn {
    struct fs *fs;
    struct fs_thread *thread;
    struct fs_reader reader; /* for looking while the transaction is locked */
    struct txn_need need;
    uint32_t allocate_left; /* blocks reserved in the filesystem for files, not yet taken */
    uint32_t nodes_left;    /* blocks reserved for tree nodes, not yet taken */
    uint32_t splits_left;   /* internal nodes that btree_prepare may still split or merge */
    bool locked;            /* op lock */
    bool changing;          /* tree lock exclusive */
    uint32_t pin_count;
    struct buffer *pins[TXN_PINS_MAX]; /* kept in memory until txn_end */
};

/* What a transaction with this need reserves; at most journal_limits().meta_step. */
uint32_t txn_credits(const struct txn_need *need);
/* How many times `each` fits into one transaction beside `fixed` on this journal, at most
 * TXN_INSERTS_MAX inserts: a step of a chain handles that many extents. At least 1 where the
 * journal is no smaller than allowed. */
uint32_t
txn_steps_max(const struct fs *fs, const struct txn_need *fixed, const struct txn_need *each);
/* Most data_blocks of one transaction. */
uint32_t txn_data_blocks_max(const struct fs *fs);

/* -ENOSPC only after a forced commit gave back what was freed lately; -EINTR; -EROFS read-only or
 * journal failed; -EIO after an inconsistency stopped the filesystem. On error nothing is held. The
 * caller holds no lock and no other transaction. */
R5_MUST_CHECK int
txn_begin(struct fs_txn *txn, struct fs *fs, struct fs_thread *thread, const struct txn_need *need);
/* On error the op lock is not held; the caller still calls txn_end. May read bitmaps. */
R5_MUST_CHECK int txn_lock(struct fs_txn *txn);
void txn_change(struct fs_txn *txn);
/* Back from the change phase to looking (another round of prepare and change may follow). */
void txn_change_done(struct fs_txn *txn);
/* Gives everything back. `txn` may be begun again. */
void txn_end(struct fs_txn *txn);
/* An operation failed after its first change: stops the filesystem (nothing of this transaction
 * will be committed). Returns `error`. */
int txn_broken(struct fs_txn *txn, int error);

/* The buffer's contents were or will be changed in this transaction. Takes one credit the first
 * time. */
void txn_dirty(struct fs_txn *txn, struct buffer *buffer);
/* A metadata block that was freed: drops it from the transaction and from memory. The caller keeps
 * its pin. */
void txn_forget(struct fs_txn *txn, struct buffer *buffer);
/* Keeps the buffer in memory until txn_end. */
void txn_pin(struct fs_txn *txn, struct buffer *buffer);
/* The super's fields (fs->super) change in this transaction. */
void txn_dirty_super(struct fs_txn *txn);
/* A file block's new contents; visible in the journal at once, durable with this transaction. */
void txn_write_data(struct fs_txn *txn, struct fs_block block, const uint8_t *data);

/* The running transaction's side, and what the journal calls back. */
struct txn_running {
    struct list_node dirty;                        /* [op_lock] */
    uint32_t dirty_count;                          /* [op_lock] */
    struct buffer *sealed[JOURNAL_TXN_BLOCKS_MAX]; /* [op_lock] between seal and closed */
    uint32_t sealed_count;
    uint64_t txn; /* [op_lock] number of the running transaction */
};

void txn_running_init(struct fs *fs);
void txn_register(struct fs *fs);   /* as the journal's client */
void txn_unregister(struct fs *fs); /* a client that has nothing takes its place */
struct journal_client txn_idle_client(void);

#endif
