/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Metadata blocks in memory: a fixed pool of private 4 KiB copies, found by block number.
 *
 *   (free) -> LOADING -> READY clean, pinned or on the LRU list -> READY dirty (running
 *   transaction)
 *                                     ^------------------------------------- closed
 *   forgotten: out of the index, back to (free) with its last pin
 *
 * Contents are read under the tree lock (shared) or the op lock, changed under both locks (bitmaps
 * and summaries: under the op lock alone). What READY holds was verified when it was read.
 */
#ifndef R5FS_FS_BUFFER_H
#define R5FS_FS_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/index.h"
#include "r5fs/base/list.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"

struct io_queue;
struct journal;

enum buffer_kind {
    BUFFER_SUPER,
    BUFFER_NODE,
    BUFFER_BITMAP,
    BUFFER_SUMMARY,
};

enum buffer_state {
    BUFFER_FREE,
    BUFFER_LOADING, /* its loader reads into it, without a lock */
    BUFFER_READY,
};

struct buffer {
    struct index_node by_block;  /* [pool lock] */
    struct list_node link;       /* [pool lock] free list, or LRU when clean and without pins */
    struct list_node dirty_link; /* [op_lock] dirty list of the running transaction */
    uint8_t *data;               /* [fixed] block-aligned; contents: see above */
    struct fs_block block;       /* [fixed while in the index] */
    enum buffer_kind kind;       /* [fixed while in the index] */
    enum buffer_state state;     /* [pool lock] */
    uint32_t pins;               /* [pool lock] */
    bool dirty;                  /* [op_lock and pool lock] */
    bool forgotten;              /* [pool lock] out of the index */
};

struct buffer_stats {
    uint64_t count;
    uint64_t in_use; /* not on the free list */
    uint64_t dirty;
    uint64_t pinned;
    uint64_t hits;
    uint64_t misses;
};

struct buffer_pool {
    struct env_mutex lock;
    struct env_cond loaded;    /* [lock] some load ended */
    struct index index;        /* [lock] */
    struct list_node free;     /* [lock] */
    struct list_node lru;      /* [lock] clean, no pins; oldest first */
    struct buffer *buffers;    /* [fixed] */
    uint32_t count;            /* [fixed] */
    struct journal *journal;   /* [fixed] where blocks are read from */
    struct uuid fs_uuid;       /* [fixed] for verification */
    struct buffer_stats stats; /* [lock] */
};

enum buffer_how {
    BUFFER_CACHED,     /* -EAGAIN when it is not in memory (or still loading) */
    BUFFER_LOAD,       /* read when needed: waits for I/O */
    BUFFER_LOAD_QUIET, /* as LOAD, without the message when its contents are wrong */
};

/* Arena bytes for `count` buffers. */
size_t buffer_pool_need(uint32_t count);
void buffer_pool_init(struct buffer_pool *pool,
                      struct arena *arena,
                      uint32_t count,
                      struct journal *journal);
void buffer_pool_fini(struct buffer_pool *pool);

/* A verified buffer, pinned. -EUCLEAN wrong contents (one msg_warn with the address unless quiet);
 * -EIO; -ENOMEM every buffer is pinned or dirty (the pool is sized so that it cannot happen). */
R5_MUST_CHECK int buffer_get(struct buffer_pool *pool,
                             struct io_queue *queue,
                             struct fs_block block,
                             enum buffer_kind kind,
                             enum buffer_how how,
                             struct buffer **out_buffer);
/* A buffer for a block that is to be written as new: zeroed but for the header, pinned, clean.
 * -EEXIST: the block is in memory already (freed lately, or the bitmap is wrong): take another. */
R5_MUST_CHECK int buffer_make(struct buffer_pool *pool,
                              struct fs_block block,
                              enum buffer_kind kind,
                              uint64_t generation,
                              struct buffer **out_buffer);
void buffer_hold(struct buffer_pool *pool, struct buffer *buffer);
/* NULL is allowed. */
void buffer_put(struct buffer_pool *pool, struct buffer *buffer);
/* The block was freed: takes the buffer out of the index; it lives until its last pin is put. Not
 * dirty any more (txn_forget). */
void buffer_forget(struct buffer_pool *pool, struct buffer *buffer);
/* For txn.c: dirty buffers stay off the LRU list. */
void buffer_set_dirty(struct buffer_pool *pool, struct buffer *buffer, bool dirty);
void buffer_pool_stats(struct buffer_pool *pool, struct buffer_stats *out);
/* Checks lists and counts (tests). */
void buffer_pool_verify(struct buffer_pool *pool);

/* What is wrong with a metadata block as read, or NULL. */
const char *buffer_problem(enum buffer_kind kind,
                           const uint8_t *data,
                           struct fs_block block,
                           const struct uuid *fs_uuid);

#endif
