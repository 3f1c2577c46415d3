/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault plans: a pool that refuses although it has objects, so that every way of running dry can be
 * made to happen, at every place and as often as wished.
 *
 *   "io unit:percent:50:7"  ->  each try is refused with 50 %, the same ones for the same seed
 *
 * A made-up refusal frees nothing, so nothing would ever wake who was refused: owners of wait lists
 * look again while pool_faults_active(), the pools' own waiters are served by
 * pool_faults_tick(). The log thread calls it when it has nothing to do; who sleeps for a pool
 * calls it, too: the log thread may be waiting for a lock that the sleeper holds, and a read-only
 * mount has no log thread.
 * What was promised or is sure by the sizes (pool_get_reserved, pool_get_sure) is never refused.
 *
 * Invariant: PF1 plans is the number of pools whose plan is not NONE.
 * Failure modes: text that is no plan: -EINVAL.
 * Thread: any.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "pool_internal.h"
#include "r5fs/base/units.h"

#define PERCENT    100u
#define NAME_BYTES 64
#define KIND_BYTES 16
#define FIELDS_MIN 3

#define TICKS_UNTIL_FREE 5u
#define LOOK_AGAIN_NS    UINT64_C(1000000)
#define SPLITMIX_STEP    UINT64_C(0x9e3779b97f4a7c15)

static _Atomic unsigned plans;

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state)
{
    *state += SPLITMIX_STEP;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool pool_fault_strikes(struct pool *pool)
{
    struct pool_fault *fault = &pool->fault;

    pool->tries++;
    switch (fault->kind) {
    case POOL_FAULT_NONE: return false;
    case POOL_FAULT_ONCE: return pool->tries == fault->k;
    case POOL_FAULT_EVERY: return pool->tries % fault->k == 0;
    case POOL_FAULT_PERCENT: return next_random(&fault->seed) % PERCENT < fault->k;
    case POOL_FAULT_FROM:
    case POOL_FAULT_UNTIL_FREE: return pool->tries >= fault->k;
    }
    return false;
}

/* [lock] PF1 */
static void plan_set(struct pool *pool, const struct pool_fault *plan)
{
    bool had = pool->fault.kind != POOL_FAULT_NONE;

    pool->fault = plan != NULL ? *plan : (struct pool_fault){.kind = POOL_FAULT_NONE};
    pool->tries = 0;
    bool has = pool->fault.kind != POOL_FAULT_NONE;
    if (has && !had) {
        atomic_fetch_add(&plans, 1);
    } else if (!has && had) {
        atomic_fetch_sub(&plans, 1);
    }
}

/* Whoever made the shortage up gives back at last, or an owner with nothing to free would wait for
 * ever. */
static void plan_ages(struct pool *pool)
{
    env_mutex_lock(&pool->lock);
    pool->fault.ticks++;
    if (pool->fault.ticks >= TICKS_UNTIL_FREE) {
        pool_fault_freed(pool);
    }
    env_mutex_unlock(&pool->lock);
}

void pool_fault_freed(struct pool *pool)
{
    if (pool->fault.kind == POOL_FAULT_UNTIL_FREE && pool->tries >= pool->fault.k) {
        plan_set(pool, NULL);
    }
}

void pool_fault_set(struct pool *pool, const struct pool_fault *plan)
{
    R5_CHECK(plan == NULL || plan->k > 0);
    env_mutex_lock(&pool->lock);
    plan_set(pool, plan);
    env_mutex_unlock(&pool->lock);
    if (plan == NULL) {
        pool_serve(pool);
    }
}

bool pool_faults_active(void)
{
    return atomic_load(&plans) > 0;
}

uint64_t pool_faults_deadline(uint64_t deadline_ns)
{
    return pool_faults_active() ? min_u64(deadline_ns, env_now_ns() + LOOK_AGAIN_NS) : deadline_ns;
}

/* Waiters are told without the registry's lock: they may do what they like. So one pool after the
 * other, by its number; a pool that goes away meanwhile is not one that has a plan. */
void pool_faults_tick(void)
{
    unsigned index = 0;
    struct pool *pool = NULL;

    do {
        pool_registry_acquire();
        pool = pool_registry_next(NULL);
        for (unsigned i = 0; i < index && pool != NULL; i++) {
            pool = pool_registry_next(pool);
        }
        pool_registry_release();
        index++;
        if (pool != NULL) {
            plan_ages(pool);
            pool_serve(pool);
        }
    } while (pool != NULL);
}

/* ---- by name -------------------------------------------------------------------------------- */

static enum pool_fault_kind kind_of(const char *word)
{
    static const char *const words[] = {
        [POOL_FAULT_NONE] = "none",
        [POOL_FAULT_ONCE] = "once",
        [POOL_FAULT_EVERY] = "every",
        [POOL_FAULT_PERCENT] = "percent",
        [POOL_FAULT_FROM] = "from",
        [POOL_FAULT_UNTIL_FREE] = "until-free",
    };

    for (unsigned i = 1; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i], word) == 0) {
            return (enum pool_fault_kind)i;
        }
    }
    return POOL_FAULT_NONE;
}

int pool_fault_parse(const char *text)
{
    char name[NAME_BYTES];
    char word[KIND_BYTES];
    unsigned long long k = 0;
    unsigned long long seed = 0;
    bool found = false;

    if (sscanf(text, "%63[^:]:%15[^:]:%llu:%llu", name, word, &k, &seed) < FIELDS_MIN || k == 0) {
        return -EINVAL;
    }
    struct pool_fault plan = {.kind = kind_of(word), .k = k, .seed = seed};
    if (plan.kind == POOL_FAULT_NONE) {
        return -EINVAL;
    }
    pool_registry_acquire();
    for (struct pool *pool = pool_registry_next(NULL); pool != NULL;
         pool = pool_registry_next(pool)) {
        if (strcmp(name, "all") == 0 || strcmp(name, pool->stats.name) == 0) {
            env_mutex_lock(&pool->lock);
            plan_set(pool, &plan);
            env_mutex_unlock(&pool->lock);
            found = true;
        }
    }
    pool_registry_release();
    return found ? 0 : -EINVAL;
}
