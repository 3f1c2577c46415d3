/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sleeping get: a waiter on the caller's stack, a condition.
 *
 *   get_wait -> pool_get_or_park -> object
 *                     \-> asleep until pool_put hands one over -> object
 *
 * Liveness: as pool.c; the object that came back is the sleeper's own, nobody takes it in between.
 * Failure modes: none.
 * Thread: any.
 */
#include "r5fs/base/waiting_pool.h"

#include "r5fs/base/wait_check.h"

struct sleeper {
    struct pool_waiter waiter;
    struct waiting_pool *pool;
    void *object; /* [pool->lock] */
};

void waiting_pool_init(struct waiting_pool *pool,
                       struct arena *arena,
                       const struct pool_shape *shape)
{
    pool_init(&pool->pool, arena, shape);
    env_mutex_init(&pool->lock);
    env_cond_init(&pool->served);
}

void waiting_pool_fini(struct waiting_pool *pool)
{
    pool_fini(&pool->pool);
    env_cond_fini(&pool->served);
    env_mutex_fini(&pool->lock);
}

/* [lock] What a fault plan refused is given back by nobody: then it looks again. */
static void sleep_once(struct waiting_pool *pool)
{
    if (!pool_faults_active()) {
        env_cond_wait(&pool->served, &pool->lock);
        return;
    }
    (void)env_cond_wait_until(&pool->served, &pool->lock, pool_faults_deadline(UINT64_MAX));
    env_mutex_unlock(&pool->lock);
    pool_faults_tick();
    env_mutex_lock(&pool->lock);
}

static void wake_sleeper(struct pool_waiter *waiter, void *object)
{
    struct sleeper *sleeper = container_of(waiter, struct sleeper, waiter);
    struct waiting_pool *pool = sleeper->pool;

    env_mutex_lock(&pool->lock);
    sleeper->object = object; /* the sleeper may be gone once the lock is */
    env_cond_broadcast(&pool->served);
    env_mutex_unlock(&pool->lock);
}

void *waiting_pool_get_wait(struct waiting_pool *pool)
{
    struct sleeper sleeper = {.waiter = {.served = wake_sleeper}, .pool = pool};
    void *object = NULL;

    wait_check_memory(pool->pool.stats.rank, pool->pool.stats.name);
    object = pool_get_or_park(&pool->pool, &sleeper.waiter);
    if (object == NULL) {
        env_mutex_lock(&pool->lock);
        while (sleeper.object == NULL) {
            sleep_once(pool);
        }
        object = sleeper.object;
        env_mutex_unlock(&pool->lock);
    }
    wait_check_hold(pool->pool.stats.rank, pool->pool.stats.name);
    return object;
}

void waiting_pool_put(struct waiting_pool *pool, void *object)
{
    wait_check_drop(pool->pool.stats.rank);
    pool_put(&pool->pool, object);
}
