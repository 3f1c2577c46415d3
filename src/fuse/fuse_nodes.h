/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel knows: for each inode number it holds, how many lookups it was answered. A table
 * of fixed size; FUSE has no upper limit of its own on how many inodes a kernel may hold.
 *
 * A number that the kernel knows and that has no name left ("gone") is evicted from the filesystem
 * when its count drops to zero: an unlinked file lives as long as somebody has it open.
 */
#ifndef R5FS_FUSE_FUSE_NODES_H
#define R5FS_FUSE_FUSE_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/index.h"
#include "r5fs/base/list.h"
#include "r5fs/base/pool.h"

struct fuse_node {
    struct index_node node; /* by inode number, while count > 0 [lock] */
    union {
        struct {
            uint64_t count;  /* lookups answered and not yet forgotten [lock] */
            uint64_t parent; /* the directory it was last found in: where to ask to forget [lock] */
        } known;
        struct list_node
            waiting; /* gone and forgotten: on the list of who is to be evicted [lock] */
    };
    bool gone; /* no name left [lock] */
};

struct fuse_nodes {
    struct env_mutex lock;
    struct env_cond freed;  /* a node came back, or a gone one was evicted */
    struct env_cond work;   /* something to evict, or the table is getting full */
    struct pool pool;       /* "fuse node" */
    struct index index;     /* [lock] */
    struct list_node evict; /* gone and forgotten [lock] */
    uint64_t size;          /* [fixed] */
    uint64_t gone_count;    /* in the index and gone [lock] */
    uint64_t evict_count;   /* on the list or being evicted [lock] */
    uint64_t gone_at_ns;    /* when the last one went [lock] */
    uint64_t cursor;      /* bucket where the next search for a directory to shrink begins [lock] */
    uint32_t waiters;     /* parked for a node [lock] */
    uint32_t waiters_max; /* [fixed] the rest must stay free to read the forgets */
    bool stopping;        /* [lock] */
};

size_t fuse_nodes_need(uint64_t count);
void fuse_nodes_init(struct fuse_nodes *nodes,
                     struct arena *arena,
                     uint64_t count,
                     uint32_t waiters_max);
/* Whatever the kernel still knows is forgotten with it. */
void fuse_nodes_fini(struct fuse_nodes *nodes);

/* Makes sure that *spare is a node, before anything is done that the kernel must be told of. Waits
 * for a forget at most `wait_ns` when the table is full; then -ENOMEM. */
R5_MUST_CHECK int
fuse_nodes_prepare(struct fuse_nodes *nodes, struct fuse_node **spare, uint64_t wait_ns);
/* Gives a spare node back. */
void fuse_nodes_unprepare(struct fuse_nodes *nodes, struct fuse_node **spare);
/* One lookup more of `ino`. Uses up *spare (then NULL) when the number is new. */
void fuse_nodes_hold(struct fuse_nodes *nodes,
                     struct fuse_node **spare,
                     uint64_t ino,
                     uint64_t parent);
/* As hold, for what nobody asked for by name (readdirplus): false when the number is new and the
 * table is more than three quarters full. */
bool fuse_nodes_try_hold(struct fuse_nodes *nodes, uint64_t ino, uint64_t parent);
/* `count` lookups less. */
void fuse_nodes_forget(struct fuse_nodes *nodes, uint64_t ino, uint64_t count);
/* The last name of `ino` went. True: the kernel does not know it, the caller evicts it now. */
bool fuse_nodes_mark_gone(struct fuse_nodes *nodes, uint64_t ino);
/* Lookups the kernel holds of `ino`; 0 = unknown to it. */
uint64_t fuse_nodes_count(struct fuse_nodes *nodes, uint64_t ino);

/* ---- eviction -------------------------------------------------------------------------------- */

/* The next to be evicted, or NULL; fuse_nodes_evicted() when that is done. */
struct fuse_node *fuse_nodes_next_evict(struct fuse_nodes *nodes);
void fuse_nodes_evicted(struct fuse_nodes *nodes, struct fuse_node *node);
uint64_t fuse_nodes_evict_count(struct fuse_nodes *nodes);
/* Waits until what was unlinked a moment ago and is being forgotten has been evicted: its space is
 * then free. At most `wait_ns`. True when something was evicted meanwhile. */
bool fuse_nodes_settle(struct fuse_nodes *nodes, uint64_t wait_ns);

/* ---- shrinking ------------------------------------------------------------------------------- */

/* Above three quarters, or a lookup is parked for a node. */
bool fuse_nodes_is_tight(struct fuse_nodes *nodes);
/* How many stand above five eighths, at least one when a lookup is parked. */
uint64_t fuse_nodes_excess(struct fuse_nodes *nodes);
/* Up to `max` numbers that the kernel knows, other ones each time. */
uint32_t fuse_nodes_pick(struct fuse_nodes *nodes, uint64_t *out_inos, uint32_t max);
/* A directory in which the kernel knows names, another one each time; false when there is none. */
bool fuse_nodes_pick_directory(struct fuse_nodes *nodes, uint64_t *out_parent);
/* Whether a lookup is parked for a node. */
bool fuse_nodes_is_parked(struct fuse_nodes *nodes);
/* Sleeps until there is something to evict or (if `shrink`) the table is tight, at most until
 * `deadline_ns`. False: stop. */
bool fuse_nodes_wait_work(struct fuse_nodes *nodes, bool shrink, uint64_t deadline_ns);
void fuse_nodes_stop(struct fuse_nodes *nodes);

/* Invariants N1 to N4; CHECKs. */
void fuse_nodes_verify(struct fuse_nodes *nodes);

#endif
