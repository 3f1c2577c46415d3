/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reservations of several things, and the list of those who wait for them.
 *
 *   reserve_or_park -> waiting[class] -> serve -> granted      (at once where there is enough)
 *                                          ^ every place that frees calls it
 *
 * Invariants:
 *   RV1 who waits holds nothing of what it waits for.
 *   RV2 only the first of a class is granted; classes do not stand before each other, but for RV3.
 *   RV3 nobody is granted from a pool that the oldest of all waiters lacks.
 *
 * Liveness: the event that empties the list is collector_serve after something was freed, and by
 * RV1 and the ranks (pool.h) those who hold what is wanted do not wait for anybody on the list. By
 * RV3 the oldest is granted when enough has come back.
 * Failure modes: none; refusing for ever is the owner's decision (collector_remove).
 * Thread: any, with the owner's lock.
 */
#include "r5fs/base/reservation.h"

#include "r5fs/base/wait_check.h"

#define NS_PER_US 1000u

static void cancel_first(const struct reservation_want *wants, unsigned count)
{
    for (unsigned i = count; i > 0; i--) {
        if (wants[i - 1].count > 0) {
            pool_unreserve(wants[i - 1].pool, wants[i - 1].count);
        }
    }
}

struct pool *reservation_try(const struct reservation_want *wants)
{
    for (unsigned i = 0; i < RESERVATION_WANTS_MAX; i++) {
        if (wants[i].count > 0 && !pool_reserve(wants[i].pool, wants[i].count)) {
            cancel_first(wants, i); /* RV1 */
            return wants[i].pool;
        }
    }
    return NULL;
}

void reservation_cancel(const struct reservation_want *wants)
{
    cancel_first(wants, RESERVATION_WANTS_MAX);
}

/* ---- the list ------------------------------------------------------------------------------- */

void collector_init(struct collector *collector)
{
    *collector = (struct collector){0};
    for (unsigned i = 0; i < COLLECTOR_CLASSES; i++) {
        list_init(&collector->waiting[i]);
    }
}

void collector_fini(struct collector *collector)
{
    R5_CHECK(collector->parked == 0);
}

struct reservation *collector_first(const struct collector *collector, unsigned class)
{
    struct list_node *node = list_first(&collector->waiting[class]);

    return node == NULL ? NULL : container_of(node, struct reservation, node);
}

/* The first that may be served. */
static struct reservation *open_first(const struct collector *collector, unsigned class)
{
    return (collector->shut >> class & 1) != 0 ? NULL : collector_first(collector, class);
}

static struct reservation *oldest_waiter(const struct collector *collector)
{
    struct reservation *oldest = NULL;

    for (unsigned i = 0; i < COLLECTOR_CLASSES; i++) {
        struct reservation *first = open_first(collector, i);

        if (first != NULL && (oldest == NULL || first->order < oldest->order)) {
            oldest = first;
        }
    }
    return oldest;
}

void collector_remove(struct collector *collector, struct reservation *r)
{
    R5_CHECK(collector->parked > 0);
    list_remove(&r->node);
    collector->parked--;
    if (r->counted != NULL) {
        pool_note_served(r->counted, (env_now_ns() - r->parked_ns) / NS_PER_US);
        r->counted = NULL;
    }
}

static void grant(struct collector *collector, struct reservation *r)
{
    collector_remove(collector, r);
    wait_check_forbid_kinds(WAIT_FOR_ANYTHING, "granted reservation");
    r->granted(r);
    wait_check_allow_kinds("granted reservation");
}

/* RV3: a pool of the collecting one's that has not what it wants. */
static struct pool *kept_from(const struct reservation *collecting, const struct reservation *r)
{
    for (unsigned i = 0; i < RESERVATION_WANTS_MAX; i++) {
        const struct reservation_want *kept = &collecting->wants[i];
        bool lacks = kept->count > 0 &&
                     (kept->pool == collecting->lacks || pool_free_count(kept->pool) < kept->count);

        for (unsigned k = 0; k < RESERVATION_WANTS_MAX && lacks; k++) {
            if (r->wants[k].count > 0 && r->wants[k].pool == kept->pool) {
                return kept->pool;
            }
        }
    }
    return NULL;
}

/* One grant, of the oldest or else of the first class that can be served. */
static bool serve_one(struct collector *collector)
{
    struct reservation *oldest = oldest_waiter(collector);

    if (oldest == NULL) {
        return false;
    }
    oldest->lacks = reservation_try(oldest->wants);
    if (oldest->lacks == NULL) {
        grant(collector, oldest);
        return true;
    }
    for (unsigned i = 0; i < COLLECTOR_CLASSES; i++) {
        struct reservation *first = open_first(collector, i); /* RV2 */

        if (first == NULL || first == oldest) {
            continue;
        }
        first->lacks = kept_from(oldest, first);
        if (first->lacks == NULL) {
            first->lacks = reservation_try(first->wants);
        }
        if (first->lacks == NULL) {
            grant(collector, first);
            return true;
        }
    }
    return false;
}

void collector_serve(struct collector *collector)
{
    bool granted = true;

    while (granted) {
        granted = serve_one(collector);
    }
}

/* What the counters show it under; behind others, what the first of its class lacks. */
static struct pool *waited_for(const struct collector *collector, const struct reservation *r)
{
    const struct reservation *first = collector_first(collector, r->class);

    return r->lacks != NULL ? r->lacks : first->lacks;
}

bool collector_reserve_or_park(struct collector *collector, struct reservation *r)
{
    R5_CHECK(r->class < COLLECTOR_CLASSES);
    if (collector->parked == 0 && (collector->shut >> r->class & 1) == 0) {
        r->lacks = reservation_try(r->wants);
        if (r->lacks == NULL) {
            r->granted(r);
            return true;
        }
    }
    r->lacks = NULL;
    r->parked_ns = env_now_ns();
    r->order = collector->arrivals++;
    list_add_tail(&collector->waiting[r->class], &r->node);
    collector->parked++;
    r->counted = NULL;
    collector_serve(collector);
    if (!list_is_linked(&r->node)) {
        return true;
    }
    r->counted = waited_for(collector, r);
    if (r->counted != NULL) {
        pool_note_parked(r->counted);
    }
    return false;
}
