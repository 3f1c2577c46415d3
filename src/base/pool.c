/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pools of equal objects and the register of all of them.
 *
 *   registry -> pool "stripe" -> pool "io unit" -> "log space" (external: counters only)
 *                 | free: object -> object -> ...     last given back, first taken: it is in cache
 *
 * Invariants:
 *   P1  in_use + objects on the free list == size (a carved pool).
 *   P2  in_use <= high_water.
 *   P3  lock order: registry before pool; nothing else is taken while either is held.
 *
 * Happy path: pool_init at start, pool_try_get / pool_put for ever, pool_fini at the stop.
 * Failure modes: an empty pool answers NULL and counts it; giving back more than was taken and
 * stopping with objects out are our own mistakes.
 * Thread: any; init and fini on the one that starts up and stops.
 */
#include "r5fs/base/pool.h"

#include <stdbool.h>

#define REGISTRY_IDLE     0
#define REGISTRY_STARTING 1
#define REGISTRY_READY    2
#define REGISTRY_POLL_NS  1000

static struct env_mutex registry_lock;
static struct list_node registry = {&registry, &registry}; /* [registry_lock] */
static _Atomic int registry_state = REGISTRY_IDLE;

/* The environment's locks cannot be made by an initializer: whoever comes first makes it. */
static void registry_acquire(void)
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

static void registry_add(struct pool *pool)
{
    registry_acquire();
    list_add_tail(&registry, &pool->registered);
    env_mutex_unlock(&registry_lock);
}

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

static void pool_init_counters(struct pool *pool, const char *name, uint64_t size)
{
    *pool = (struct pool){.stats = {.name = name, .size = size}};
    env_mutex_init(&pool->lock);
    list_init(&pool->free);
    list_init(&pool->registered);
}

void pool_init(struct pool *pool,
               struct arena *arena,
               const char *name,
               size_t object_bytes,
               size_t align,
               size_t count)
{
    size_t stride = object_stride(object_bytes, align);
    size_t total = 0;

    R5_CHECK(!__builtin_mul_overflow(stride, count, &total));
    uint8_t *objects = arena_take(arena, total, object_align(align));
    pool_init_counters(pool, name, count);
    pool->object_bytes = object_bytes;
    for (size_t i = 0; i < count; i++) {
        list_add_tail(&pool->free, (struct list_node *)(void *)(objects + i * stride));
    }
    registry_add(pool);
}

void pool_fini(struct pool *pool)
{
    registry_acquire();
    list_remove(&pool->registered);
    env_mutex_unlock(&registry_lock);
    /* External counters stand for something that is not ours to give back. */
    R5_CHECK(pool->object_bytes == 0 || pool->stats.in_use == 0);
    R5_CHECK(pool->stats.parked == 0);
    list_init(&pool->free);
    env_mutex_fini(&pool->lock);
}

/* [lock] */
static void set_in_use(struct pool *pool, uint64_t in_use)
{
    pool->stats.in_use = in_use;
    if (in_use > pool->stats.high_water) {
        pool->stats.high_water = in_use; /* P2 */
    }
}

void *pool_try_get(struct pool *pool)
{
    R5_CHECK(pool->object_bytes != 0);
    env_mutex_lock(&pool->lock);
    struct list_node *object = list_pop(&pool->free);
    if (object != NULL) {
        set_in_use(pool, pool->stats.in_use + 1);
    } else {
        pool->stats.failures++;
    }
    env_mutex_unlock(&pool->lock);
    return object;
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
    env_mutex_unlock(&pool->lock);
}

uint64_t pool_free_count(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    uint64_t size = pool->stats.size;
    uint64_t in_use = pool->stats.in_use;
    env_mutex_unlock(&pool->lock);
    return in_use < size ? size - in_use : 0;
}

void pool_reset_high_water(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    pool->stats.high_water = pool->stats.in_use;
    env_mutex_unlock(&pool->lock);
}

void pool_note_parked(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    pool->stats.parked++;
    pool->stats.parked_ever++;
    env_mutex_unlock(&pool->lock);
}

void pool_note_served(struct pool *pool, uint64_t waited_us)
{
    env_mutex_lock(&pool->lock);
    R5_CHECK(pool->stats.parked > 0);
    pool->stats.parked--;
    if (waited_us > pool->stats.longest_wait_us) {
        pool->stats.longest_wait_us = waited_us;
    }
    env_mutex_unlock(&pool->lock);
}

unsigned pool_collect_stats(struct pool_stats *out, unsigned max)
{
    unsigned count = 0;

    registry_acquire();
    list_for_each (node, &registry) {
        if (count == max) {
            break;
        }
        struct pool *pool = container_of(node, struct pool, registered);
        env_mutex_lock(&pool->lock);
        out[count] = pool->stats;
        env_mutex_unlock(&pool->lock);
        count++;
    }
    env_mutex_unlock(&registry_lock);
    return count;
}

void pool_register_external(struct pool *pool, const char *name, uint64_t size)
{
    pool_init_counters(pool, name, size);
    registry_add(pool);
}

void pool_external_set(struct pool *pool, uint64_t in_use)
{
    R5_CHECK(pool->object_bytes == 0);
    env_mutex_lock(&pool->lock);
    set_in_use(pool, in_use);
    env_mutex_unlock(&pool->lock);
}

void pool_external_failed(struct pool *pool)
{
    R5_CHECK(pool->object_bytes == 0);
    env_mutex_lock(&pool->lock);
    pool->stats.failures++;
    env_mutex_unlock(&pool->lock);
}
