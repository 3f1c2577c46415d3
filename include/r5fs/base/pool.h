/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pools of equal objects, carved out of the arena at start. Taking from a pool never sleeps and
 * never falls through to another allocator: an empty pool answers NULL, and whoever got NULL parks
 * on a named wait list of its own floor (journal/log_space.c holds the list for the write path).
 *
 * A pool is its own small lock; it may be used from any thread. Every pool registers itself, so
 * that `r5fs status -v` can show all counters.
 */
#ifndef R5FS_BASE_POOL_H
#define R5FS_BASE_POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"

struct pool_stats {
    const char *name;
    uint64_t size; /* objects in all */
    uint64_t in_use;
    uint64_t high_water;
    uint64_t failures;        /* tries that found the pool empty */
    uint64_t parked;          /* waiters parked now (pool_note_parked) */
    uint64_t parked_ever;     /* waiters that parked so far */
    uint64_t longest_wait_us; /* of all waiters so far */
};

struct pool {
    struct env_mutex lock;
    struct list_node free;       /* [lock] the first bytes of a free object are its list node */
    struct pool_stats stats;     /* [lock] */
    size_t object_bytes;         /* [fixed] */
    struct list_node registered; /* [registry lock] */
};

/* Bytes of arena that pool_init will take. */
size_t pool_need(size_t object_bytes, size_t align, size_t count);
/* `object_bytes` is at least sizeof(struct list_node). `name` lives for ever. */
void pool_init(struct pool *pool,
               struct arena *arena,
               const char *name,
               size_t object_bytes,
               size_t align,
               size_t count);
/* All objects must be back. */
void pool_fini(struct pool *pool);

/* An object whose first sizeof(struct list_node) bytes are undefined, or NULL. Never waits. */
void *pool_try_get(struct pool *pool);
void pool_put(struct pool *pool, void *object);
uint64_t pool_free_count(struct pool *pool);
/* What was taken and given back while objects were prepared is no use: the high water begins anew
 * at what is in use now. */
void pool_reset_high_water(struct pool *pool);

/* A wait list that stands for this pool counts its waiters here. */
void pool_note_parked(struct pool *pool);
void pool_note_served(struct pool *pool, uint64_t waited_us);

/* Copies up to `max` pools' counters, in order of registration; returns how many. */
unsigned pool_collect_stats(struct pool_stats *out, unsigned max);

/* Counters of something that is not carved from an arena (log space, credits) in the same list. */
void pool_register_external(struct pool *pool, const char *name, uint64_t size);
void pool_external_set(struct pool *pool, uint64_t in_use);
void pool_external_failed(struct pool *pool);

#endif
