/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allocation layer, part 1: pools of equal objects, carved out of the arena at start, and
 * credits, which are the same without objects (blocks of the log, room in a transaction). Part 2,
 * several things from several pools, is reservation.h.
 *
 * No function of this type waits, so no pool can be made to sleep: an empty one answers NULL, and
 * who wants more than a try leaves a waiter, embedded in its own request, that is handed the next
 * object that comes back. Nothing falls through to another allocator. The one type whose get may
 * sleep is a type of its own (waiting_pool.h), and nothing that retires writes uses it.
 *
 * A pool is its own small lock; it may be used from any thread. Every pool registers itself, so
 * that `r5fs status -v` can show all counters.
 */
#ifndef R5FS_BASE_POOL_H
#define R5FS_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"

/*
 * The order of taking: who holds something of a rank may wait for higher ranks only, as with the
 * order of locks. Debug builds abort on the other direction (wait_check.h).
 */
enum pool_rank {
    POOL_RANK_FUSE_NODE = 1, /* floor 4: before any filesystem lock */
    POOL_RANK_IMAGE,         /* floors 1 and 2: images, log space and transaction credits */
    POOL_RANK_LOG_SPACE,     /* are taken together, before any filesystem lock */
    POOL_RANK_TXN,
    POOL_RANK_FS_LOCK,     /* no pool: the locks of an operation on floor 3 */
    POOL_RANK_IO_UNIT,     /* by who has the writer role */
    POOL_RANK_WRITE_OUT,   /* encode buffers: the log thread's */
    POOL_RANK_MEMBER_READ, /* read sets: their holder waits for I/O and row cells */
    POOL_RANK_ROW_CELL,    /* no pool: cells are embedded. Their holder waits for I/O alone */
};

struct pool_stats {
    const char *name;
    enum pool_rank rank;
    uint64_t size; /* objects, or credits, in all */
    uint64_t in_use;
    uint64_t reserved; /* free objects that are promised */
    uint64_t high_water;
    uint64_t failures;        /* gets and reservations that were refused */
    uint64_t injected;        /* of these, by a fault plan */
    uint64_t parked;          /* waiters parked now */
    uint64_t parked_ever;     /* waiters that parked so far */
    uint64_t longest_wait_us; /* of all waiters that were served so far */
};

/* Refuse gets although there are objects: for tests (docs/TESTING.md, "Fault plans"). */
enum pool_fault_kind {
    POOL_FAULT_NONE,
    POOL_FAULT_ONCE,       /* the k-th try from now */
    POOL_FAULT_EVERY,      /* every k-th */
    POOL_FAULT_PERCENT,    /* each with k % probability, by seed */
    POOL_FAULT_FROM,       /* the k-th and all later ones, until told */
    POOL_FAULT_UNTIL_FREE, /* the k-th and all later ones, until something is given back, if only by
                              whoever would have it: some ticks later */
};

struct pool_fault {
    enum pool_fault_kind kind;
    uint64_t k;
    uint64_t seed;
    uint64_t ticks; /* how often it was looked at since */
};

/* In the caller's own request. `served` is told once, on the thread that gave the object back, with
 * no lock of the pool held; it owns the object then. It may not wait. */
struct pool_waiter {
    struct list_node node; /* [pool's lock] */
    uint64_t parked_ns;    /* [pool's lock] */
    void (*served)(struct pool_waiter *waiter, void *object);
};

struct pool {
    struct env_mutex lock;
    struct list_node free;       /* [lock] the first bytes of a free object are its list node */
    struct list_node waiting;    /* [lock] first in, first out */
    struct pool_stats stats;     /* [lock] */
    struct pool_fault fault;     /* [lock] */
    uint64_t tries;              /* [lock] since the fault plan was set */
    size_t object_bytes;         /* [fixed] 0: credits */
    struct list_node registered; /* [registry lock] */
};

/* What a pool is made of. `object_bytes` is at least sizeof(struct list_node); `name` lives for
 * ever. */
struct pool_shape {
    const char *name;
    enum pool_rank rank;
    size_t object_bytes;
    size_t align;
    size_t count;
};

/* Bytes of arena that pool_init will take. */
size_t pool_need(size_t object_bytes, size_t align, size_t count);
void pool_init(struct pool *pool, struct arena *arena, const struct pool_shape *shape);
/* Credits: `in_use` is the sum that the owner keeps. Never more than `size` by pool_reserve. */
void pool_init_credits(struct pool *pool, const char *name, enum pool_rank rank, uint64_t size);
void pool_credits_set(struct pool *pool, uint64_t in_use);
/* All objects are back, nobody waits. */
void pool_fini(struct pool *pool);

/* An object whose first sizeof(struct list_node) bytes are undefined, or NULL. */
void *pool_try_get(struct pool *pool);
/* For a pool whose size makes lack impossible (the reason stands at the call): never NULL, and no
 * fault plan reaches it. */
void *pool_get_sure(struct pool *pool);
/* An object; or NULL, and the waiter stands at the end of the list until it is served. */
void *pool_get_or_park(struct pool *pool, struct pool_waiter *waiter);
/* Takes a waiter off the list. False when it was served already: it owns an object. */
bool pool_unpark(struct pool *pool, struct pool_waiter *waiter);
/* The object goes to the first waiter, or is free. */
void pool_put(struct pool *pool, void *object);

/* Promises `count` of the free objects (or takes so many credits), or none: false. */
bool pool_reserve(struct pool *pool, uint64_t count);
/* For who is alone with the pool, or knows its size to be enough: as pool_get_sure. */
void pool_reserve_sure(struct pool *pool, uint64_t count);
/* Gives back what was promised and not taken. */
void pool_unreserve(struct pool *pool, uint64_t count);
/* One that was promised: never NULL. */
void *pool_get_reserved(struct pool *pool);
/* The object is free, and promised to the caller again. */
void pool_put_reserved(struct pool *pool, void *object);

/* Neither in use nor promised. */
uint64_t pool_free_count(struct pool *pool);
/* What was taken and given back while objects were prepared is no use: the high water begins anew
 * at what is in use now. */
void pool_reset_high_water(struct pool *pool);

/* A wait list of the owner's own stands for this pool: it counts its waiters here. */
void pool_note_parked(struct pool *pool);
void pool_note_served(struct pool *pool, uint64_t waited_us);

/* Copies up to `max` pools' counters, in order of registration; returns how many. */
unsigned pool_collect_stats(struct pool_stats *out, unsigned max);

/* Fault plans. `plan` NULL: none any more, and who is parked although there is enough is served. */
void pool_fault_set(struct pool *pool, const struct pool_fault *plan);
/* The same by name, "NAME:KIND:K[:SEED]" with KIND once, every, percent, from, until-free; NAME
 * "all" is each pool there is. -EINVAL for what it does not understand. */
R5_MUST_CHECK int pool_fault_parse(const char *text);
/* Whether some pool has a plan: then owners of wait lists must look again now and then, because a
 * refusal that was made up frees nothing. */
bool pool_faults_active(void);
/* The deadline of such an owner: as given, sooner while some pool has a plan. */
uint64_t pool_faults_deadline(uint64_t deadline_ns);
/* Serves those whom a plan left waiting beside free objects. */
void pool_faults_tick(void);

#endif
