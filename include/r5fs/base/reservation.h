/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allocation layer, part 2: several things from several pools, all or none, and the list of
 * those who must wait for them.
 *
 * First try: everything at once, or nothing is held. Whoever fails stands on the collector's list
 * of its class. One at a time collects: the oldest of all waiters; what comes back to a pool that
 * it lacks is kept for it, nobody else is granted from there. The others are tried in order of
 * their classes, first in, first out within each, and pass the collector only where it lacks
 * nothing. So a large request is not starved by small ones, and a waiter holds nothing, ever.
 *
 * Lock: the owner's own, one for the whole collector; "[owner]".
 */
#ifndef R5FS_BASE_RESERVATION_H
#define R5FS_BASE_RESERVATION_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/list.h"
#include "r5fs/base/pool.h"

#define RESERVATION_WANTS_MAX 3u
#define COLLECTOR_CLASSES     3u

struct reservation_want {
    struct pool *pool;
    uint64_t count; /* 0: nothing of this one */
};

/* In the caller's own request. */
struct reservation {
    struct list_node node; /* [owner] */
    struct reservation_want wants[RESERVATION_WANTS_MAX];
    unsigned class;       /* lower ones are tried first */
    struct pool *lacks;   /* [owner] parked: what it waits for; NULL: it stands behind others */
    uint64_t parked_ns;   /* [owner] */
    uint64_t order;       /* [owner] when it came, among all */
    struct pool *counted; /* [owner] the pool whose counters show it as parked, or NULL */
    /* Told once, under the owner's lock, by whoever frees, or at once; may not wait. */
    void (*granted)(struct reservation *reservation);
};

struct collector {
    struct list_node waiting[COLLECTOR_CLASSES]; /* [owner] */
    unsigned shut;                               /* [owner] classes not served now, a bit each */
    uint64_t arrivals;                           /* [owner] */
    uint32_t parked;                             /* [owner] */
};

/* Promises all wants, in order: NULL. Else the first pool that refused, and nothing is held. */
struct pool *reservation_try(const struct reservation_want *wants);
void reservation_cancel(const struct reservation_want *wants);

void collector_init(struct collector *collector);
/* Nobody waits. */
void collector_fini(struct collector *collector);

/* [owner] True: granted already, and told so. False: it stands on the list. */
bool collector_reserve_or_park(struct collector *collector, struct reservation *reservation);
/* [owner] Takes a waiter off the list. Serve afterwards: it may have stood before others. */
void collector_remove(struct collector *collector, struct reservation *reservation);
/* [owner] Something was freed: grants in order what can be granted. */
void collector_serve(struct collector *collector);
/* [owner] The first waiter of a class, or NULL. */
struct reservation *collector_first(const struct collector *collector, unsigned class);

#endif
