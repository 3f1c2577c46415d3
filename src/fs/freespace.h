/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Free space: one bitmap per group, a summary of all groups, exact counts in the super.
 *
 *   F1  free = clear bits of all groups (untouched groups as they would begin) = super.free_blocks
 *   F2  a block freed in a transaction is not given out before that transaction is durable (W6):
 *   its
 *       bit is clear already, and set in a shadow bitmap of that transaction
 *   F3  free - shadowed >= reserved by open transactions; plain ones leave super.reserve_blocks
 *   over F4  a run that is given out lies within one group
 *
 * Shadows: a transaction dirties at most JOURNAL_TXN_BLOCKS_MAX bitmaps, and at most three
 * transactions are running or closed but not yet reported durable, so that FREESPACE_SHADOWS are
 * always enough.
 */
#ifndef R5FS_FS_FREESPACE_H
#define R5FS_FS_FREESPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"
#include "fs_format.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"
#include "r5fs/base/units.h"
#include "r5fs/journal/journal.h"

struct fs;
struct fs_thread;
struct fs_txn;

#define FREESPACE_SHADOWS 609u
_Static_assert(FREESPACE_SHADOWS == 3u * JOURNAL_TXN_BLOCKS_MAX, "see above");

struct freespace_shadow {
    struct list_node link;
    uint64_t txn; /* that freed the blocks */
    uint32_t group;
    uint32_t count; /* bits set */
    uint8_t bits[BLOCK_BYTES - 32];
};

struct freespace {
    struct env_mutex lock;         /* the counts */
    uint64_t shadowed;             /* [lock] freed, not durable */
    uint64_t reserved;             /* [lock] by open transactions */
    struct env_cond unreserved;    /* a transaction ended */
    struct list_node shadows;      /* [op_lock] in use, newest transaction first */
    struct list_node shadows_free; /* [op_lock] */
    struct fs_block cursor;        /* [op_lock] where the last file allocation ended */
    uint8_t *combined;             /* [op_lock] bits and shadows laid over each other */
};

size_t freespace_memory_need(void);
void freespace_init(struct fs *fs, struct arena *arena);
void freespace_fini(struct fs *fs);

/* For txn.c. Reserves blocks; -ENOSPC. `deep` waits for other transactions to end before it says
 * so: the caller holds no reservation and no lock. */
R5_MUST_CHECK int freespace_reserve(struct fs *fs, uint64_t blocks, bool deep);
void freespace_unreserve(struct fs *fs, uint64_t blocks);
/* Whether a commit would give something back. */
bool freespace_has_shadowed(struct fs *fs);
/* Loads the bitmap that this transaction's tree nodes come from, changing the meta group if it has
 * too little. -ENOSPC, -EIO, -EUCLEAN. */
R5_MUST_CHECK int freespace_prepare_nodes(struct fs_txn *txn, uint32_t nodes);
/* Everything freed in `txn` and before may be given out again. Takes the op lock. */
void freespace_durable(struct fs *fs, uint64_t txn);

/* Up to `want` blocks in one run, taken out of the transaction's space: behind `goal` when that is
 * free (a file's last block + 1), else near it. goal 0: anywhere. Before txn_change (reads
 * bitmaps). -ENOSPC (not while the need was stated rightly), -EIO, -EUCLEAN. */
R5_MUST_CHECK int freespace_alloc(struct fs_txn *txn,
                                  struct fs_block goal,
                                  uint32_t want,
                                  struct fs_block *out_start,
                                  uint32_t *out_count);
/* File blocks, a run within one group. Before txn_change or after. Forgets their unlogged images.
 * -EUCLEAN when (part of) the run is not in use or not plausible: nothing is changed. */
R5_MUST_CHECK int freespace_free(struct fs_txn *txn, struct fs_block start, uint32_t count);
/* Loads the bitmap that freespace_free will need, so that it cannot fail after txn_change. -EUCLEAN
 * when the run is not in use. */
R5_MUST_CHECK int freespace_prepare_free(struct fs_txn *txn, struct fs_block start, uint32_t count);

/* Tree nodes, for btree.c. The new buffer is pinned and dirty. */
R5_MUST_CHECK int freespace_alloc_node(struct fs_txn *txn, struct buffer **out_buffer);
/* Forgets the buffer; the caller keeps its pin. A node whose bit is not set is leaked with a
 * message. */
void freespace_free_node(struct fs_txn *txn, struct buffer *buffer);

/* Blocks files can still get / could get in the empty filesystem. */
uint64_t freespace_available(struct fs *fs);
/* A group's bitmap as in memory (a first one for an untouched group is not made): for fsck and
 * dump. -ENOENT for an untouched group. */
R5_MUST_CHECK int freespace_bitmap(struct fs *fs,
                                   struct fs_thread *thread,
                                   uint32_t group,
                                   struct buffer **out_buffer);
R5_MUST_CHECK int freespace_summary(struct fs *fs,
                                    struct fs_thread *thread,
                                    uint32_t group,
                                    struct buffer **out_buffer);
/* The bits an untouched group begins with. */
void freespace_fresh_bits(const struct fs *fs, uint32_t group, uint8_t *bits);

#endif
