/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pools of equal objects and the register of all of them.
 *
 *   registry -> pool "stripe image" -> pool "io unit" -> "log space" (credits: counters only)
 *                 | free: object -> object -> ...        last given back, first taken: in cache
 *                 | waiting: waiter -> waiter -> ...     first come, first served
 *
 * Invariants:
 *   P1  in_use + objects on the free list == size (a carved pool).
 *   P2  reserved <= objects on the free list; in_use <= high_water.
 *   P3  lock order: registry before pool; nothing else is taken while either is held, and nobody is
 *       told anything.
 *   P4  nobody waits while there is an object that is not promised, unless a fault plan refused
 *       it: what comes back goes to the first waiter, and a newcomer finds nothing.
 *
 * Happy path: pool_init at start, pool_try_get / pool_put for ever, pool_fini at the stop.
 * The event that empties the wait list: pool_put or pool_unreserve; it comes because the holder of
 * an object waits for higher ranks only, and the highest wait for I/O.
 * Failure modes: an empty pool answers NULL and counts it; giving back more than was taken and
 * stopping with objects out are our own mistakes.
 * Thread: any; init and fini on the one that starts up and stops.
 */
#include "r5fs/base/pool.h"

#include <stdatomic.h>

#include "pool_internal.h"
#include "r5fs/base/wait_check.h"

#define REGISTRY_IDLE     0
#define REGISTRY_STARTING 1
#define REGISTRY_READY    2
#define REGISTRY_POLL_NS  1000
#define NS_PER_US         1000u

static struct env_mutex registry_lock;
static struct list_node registry = {&registry, &registry}; /* [registry_lock] */
static _Atomic int registry_state = REGISTRY_IDLE;

/* ---- the register --------------------------------------------------------------------------- */

/* The environment's locks cannot be made by an initializer: whoever comes first makes it. */
void pool_registry_acquire(void)
{
    int idle = REGISTRY_IDLE;

    if (atomic_compare_exchange_strong(&registry_state, &idle, REGISTRY_STARTING)) {
        env_mutex_init(&registry_lock);
        atomic_store(&registry_state, REGISTRY_READY);
    }
    while (atomic_load(&registry_state) != REGISTRY_READY) {
        env_sleep_ns(REGISTRY_POLL_NS);
    }
    env_mutex_lock(&registry_lock);
}

void pool_registry_release(void)
{
    env_mutex_unlock(&registry_lock);
}

struct pool *pool_registry_next(const struct pool *pool)
{
    const struct list_node *node = pool == NULL ? &registry : &pool->registered;

    return node->next == &registry ? NULL : container_of(node->next, struct pool, registered);
}

static void registry_add(struct pool *pool)
{
    pool_registry_acquire();
    list_add_tail(&registry, &pool->registered);
    pool_registry_release();
}

unsigned pool_collect_stats(struct pool_stats *out, unsigned max)
{
    unsigned count = 0;

    pool_registry_acquire();
    for (struct pool *pool = pool_registry_next(NULL); pool != NULL && count < max;
         pool = pool_registry_next(pool)) {
        env_mutex_lock(&pool->lock);
        out[count] = pool->stats;
        env_mutex_unlock(&pool->lock);
        count++;
    }
    pool_registry_release();
    return count;
}

/* ---- making --------------------------------------------------------------------------------- */

static size_t object_align(size_t align)
{
    return align > _Alignof(struct list_node) ? align : _Alignof(struct list_node);
}

static size_t object_stride(size_t object_bytes, size_t align)
{
    R5_CHECK(align > 0 && (align & (align - 1)) == 0);
    size_t mask = object_align(align) - 1;

    R5_CHECK(object_bytes >= sizeof(struct list_node));
    R5_CHECK(object_bytes <= SIZE_MAX - mask);
    return (object_bytes + mask) & ~mask;
}

size_t pool_need(size_t object_bytes, size_t align, size_t count)
{
    size_t stride = object_stride(object_bytes, align);
    size_t total = 0;

    R5_CHECK(!__builtin_mul_overflow(stride, count, &total));
    /* Whatever was taken before may end anywhere. */
    R5_CHECK(!__builtin_add_overflow(total, object_align(align) - 1, &total));
    return total;
}

static void init_counters(struct pool *pool, const char *name, enum pool_rank rank, uint64_t size)
{
    *pool = (struct pool){.stats = {.name = name, .rank = rank, .size = size}};
    env_mutex_init(&pool->lock);
    list_init(&pool->free);
    list_init(&pool->waiting);
    list_init(&pool->registered);
}

void pool_init(struct pool *pool, struct arena *arena, const struct pool_shape *shape)
{
    size_t stride = object_stride(shape->object_bytes, shape->align);
    size_t total = 0;

    R5_CHECK(!__builtin_mul_overflow(stride, shape->count, &total));
    uint8_t *objects = arena_take(arena, total, object_align(shape->align));
    init_counters(pool, shape->name, shape->rank, shape->count);
    pool->object_bytes = shape->object_bytes;
    for (size_t i = 0; i < shape->count; i++) {
        list_add_tail(&pool->free, (struct list_node *)(void *)(objects + i * stride));
    }
    registry_add(pool);
}

void pool_init_credits(struct pool *pool, const char *name, enum pool_rank rank, uint64_t size)
{
    init_counters(pool, name, rank, size);
    registry_add(pool);
}

void pool_fini(struct pool *pool)
{
    pool_fault_set(pool, NULL);
    pool_registry_acquire();
    list_remove(&pool->registered);
    pool_registry_release();
    /* Credits stand for something that is not ours to give back. */
    R5_CHECK(pool->object_bytes == 0 || pool->stats.in_use + pool->stats.reserved == 0);
    R5_CHECK(pool->stats.parked == 0);
    R5_CHECK(list_is_empty(&pool->waiting));
    list_init(&pool->free);
    env_mutex_fini(&pool->lock);
}

/* ---- counters ------------------------------------------------------------------------------- */

/* [lock] */
static uint64_t free_count(const struct pool *pool)
{
    uint64_t taken = pool->stats.in_use + pool->stats.reserved;

    return taken < pool->stats.size ? pool->stats.size - taken : 0;
}

/* [lock] */
static void set_in_use(struct pool *pool, uint64_t in_use)
{
    pool->stats.in_use = in_use;
    if (in_use > pool->stats.high_water) {
        pool->stats.high_water = in_use; /* P2 */
    }
}

/* [lock] Whether a try for `count` is refused; counts it then. */
static bool refuses(struct pool *pool, uint64_t count)
{
    bool injected = pool->fault.kind != POOL_FAULT_NONE && pool_fault_strikes(pool);

    if (!injected && free_count(pool) >= count) {
        return false;
    }
    pool->stats.failures++;
    pool->stats.injected += injected;
    return true;
}

uint64_t pool_free_count(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    uint64_t count = free_count(pool);
    env_mutex_unlock(&pool->lock);
    return count;
}

void pool_credits_set(struct pool *pool, uint64_t in_use)
{
    R5_CHECK(pool->object_bytes == 0);
    env_mutex_lock(&pool->lock);
    if (in_use < pool->stats.in_use) {
        pool_fault_freed(pool);
    }
    set_in_use(pool, in_use);
    env_mutex_unlock(&pool->lock);
}

void pool_reset_high_water(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    pool->stats.high_water = pool->stats.in_use;
    env_mutex_unlock(&pool->lock);
}

/* [lock] */
static void count_parked(struct pool *pool)
{
    pool->stats.parked++;
    pool->stats.parked_ever++;
}

/* [lock] */
static void count_served(struct pool *pool, uint64_t waited_us)
{
    R5_CHECK(pool->stats.parked > 0);
    pool->stats.parked--;
    if (waited_us > pool->stats.longest_wait_us) {
        pool->stats.longest_wait_us = waited_us;
    }
}

void pool_note_parked(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    count_parked(pool);
    env_mutex_unlock(&pool->lock);
}

void pool_note_served(struct pool *pool, uint64_t waited_us)
{
    env_mutex_lock(&pool->lock);
    count_served(pool, waited_us);
    env_mutex_unlock(&pool->lock);
}

/* ---- taking --------------------------------------------------------------------------------- */

/* [lock] */
static void *take_free(struct pool *pool)
{
    struct list_node *object = list_pop(&pool->free);

    R5_CHECK(object != NULL); /* P1, P2 */
    set_in_use(pool, pool->stats.in_use + 1);
    return object;
}

void *pool_try_get(struct pool *pool)
{
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    void *object = refuses(pool, 1) ? NULL : take_free(pool);
    env_mutex_unlock(&pool->lock);
    return object;
}

void *pool_get_sure(struct pool *pool)
{
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    R5_CHECK(free_count(pool) > 0);
    void *object = take_free(pool);
    env_mutex_unlock(&pool->lock);
    return object;
}

void *pool_get_or_park(struct pool *pool, struct pool_waiter *waiter)
{
    void *object = NULL;

    R5_CHECK(pool->object_bytes != 0);
    R5_CHECK(waiter->served != NULL);
    env_mutex_lock(&pool->lock);
    if (!refuses(pool, 1)) {
        object = take_free(pool);
    } else {
        waiter->parked_ns = env_now_ns();
        list_add_tail(&pool->waiting, &waiter->node);
        count_parked(pool);
    }
    env_mutex_unlock(&pool->lock);
    return object;
}

bool pool_unpark(struct pool *pool, struct pool_waiter *waiter)
{
    env_mutex_lock(&pool->lock);
    bool parked = list_is_linked(&waiter->node);
    if (parked) {
        list_remove(&waiter->node);
        count_served(pool, 0);
    }
    env_mutex_unlock(&pool->lock);
    return parked;
}

/* ---- giving back ---------------------------------------------------------------------------- */

/* [lock] The first waiter, and an object for it; NULL when there is not both. */
static struct pool_waiter *next_served(struct pool *pool, void **out_object)
{
    struct list_node *node = free_count(pool) > 0 ? list_pop(&pool->waiting) : NULL;

    if (node == NULL) {
        return NULL;
    }
    struct pool_waiter *waiter = container_of(node, struct pool_waiter, node);
    *out_object = take_free(pool);
    count_served(pool, (env_now_ns() - waiter->parked_ns) / NS_PER_US);
    return waiter;
}

void pool_serve(struct pool *pool)
{
    void *object = NULL;
    struct pool_waiter *waiter = NULL;

    do {
        env_mutex_lock(&pool->lock);
        waiter = next_served(pool, &object);
        env_mutex_unlock(&pool->lock);
        if (waiter != NULL) {
            wait_check_forbid_kinds(WAIT_FOR_ANYTHING, "served waiter");
            waiter->served(waiter, object);
            wait_check_allow_kinds("served waiter");
        }
    } while (waiter != NULL);
}

/* [lock] Something is free that was not. */
static bool note_freed(struct pool *pool)
{
    pool_fault_freed(pool);
    return !list_is_empty(&pool->waiting);
}

void pool_put(struct pool *pool, void *object)
{
    struct list_node *node = object;

    R5_CHECK(object != NULL);
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    R5_CHECK(pool->stats.in_use > 0);
    list_add_head(&pool->free, node);
    pool->stats.in_use--;
    bool wanted = note_freed(pool);
    env_mutex_unlock(&pool->lock);
    if (wanted) {
        pool_serve(pool);
    }
}

/* ---- promises ------------------------------------------------------------------------------- */

bool pool_reserve(struct pool *pool, uint64_t count)
{
    if (count == 0) {
        return true;
    }
    env_mutex_lock(&pool->lock);
    bool refused = refuses(pool, count);
    if (!refused && pool->object_bytes == 0) {
        set_in_use(pool, pool->stats.in_use + count);
    } else if (!refused) {
        pool->stats.reserved += count;
    }
    env_mutex_unlock(&pool->lock);
    return !refused;
}

void pool_reserve_sure(struct pool *pool, uint64_t count)
{
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    R5_CHECK(free_count(pool) >= count);
    pool->stats.reserved += count;
    env_mutex_unlock(&pool->lock);
}

void pool_unreserve(struct pool *pool, uint64_t count)
{
    uint64_t *from = pool->object_bytes == 0 ? &pool->stats.in_use : &pool->stats.reserved;

    if (count == 0) {
        return;
    }
    env_mutex_lock(&pool->lock);
    R5_CHECK(*from >= count);
    *from -= count;
    bool wanted = note_freed(pool);
    env_mutex_unlock(&pool->lock);
    if (wanted) {
        pool_serve(pool);
    }
}

void *pool_get_reserved(struct pool *pool)
{
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    R5_CHECK(pool->stats.reserved > 0);
    pool->stats.reserved--;
    void *object = take_free(pool);
    env_mutex_unlock(&pool->lock);
    return object;
}

void pool_put_reserved(struct pool *pool, void *object)
{
    struct list_node *node = object;

    R5_CHECK(object != NULL);
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    R5_CHECK(pool->stats.in_use > 0);
    list_add_head(&pool->free, node);
    pool->stats.in_use--;
    pool->stats.reserved++;
    env_mutex_unlock(&pool->lock);
}
