/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the allocation layer costs where nobody waits: ns for each get and put, in one thread and in
 * several that share the pool. Prints one JSON object; scripts/bench --pools runs it.
 *
 * Beside it, in the same run, what a bare lock and unlock cost and what malloc and free do: the one
 * is the floor under a pool that is shared, the other what the pool stands for.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "r5fs/base/env.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/reservation.h"

#define ROUNDS      2000000u
#define OBJECTS     1024u
#define BYTES       256u
#define THREADS_MAX 2u

static struct arena arena;
static struct pool pool;
static struct pool credits;
static struct env_mutex lock;

static void get_and_put(void)
{
    pool_put(&pool, pool_try_get(&pool));
}

static void reserve_and_give_back(void)
{
    const struct reservation_want wants[RESERVATION_WANTS_MAX] = {{&pool, 4}, {&credits, 16}};

    R5_CHECK(reservation_try(wants) == NULL);
    reservation_cancel(wants);
}

static void lock_and_unlock(void)
{
    env_mutex_lock(&lock);
    env_mutex_unlock(&lock);
}

static void malloc_and_free(void)
{
    void *volatile object = malloc(BYTES); /* or the compiler leaves both out */

    free(object);
}

static const struct measured {
    const char *name;
    void (*once)(void);
} all[] = {
    {"pool_get_put", get_and_put},
    {"reservation_of_two", reserve_and_give_back},
    {"lock_unlock", lock_and_unlock},
    {"malloc_free", malloc_and_free},
};

static void many(void *context)
{
    const struct measured *measured = context;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        measured->once();
    }
}

/* ns of one round in each thread. */
static double measure(const struct measured *measured, uint32_t threads)
{
    struct env_thread *running[THREADS_MAX];
    uint64_t begin = env_now_ns();

    for (uint32_t i = 0; i < threads; i++) {
        R5_CHECK(env_thread_start(&running[i], "bench", many, (void *)(uintptr_t)measured) == 0);
    }
    for (uint32_t i = 0; i < threads; i++) {
        env_thread_join(running[i]);
    }
    return (double)(env_now_ns() - begin) / ROUNDS;
}

int main(void)
{
    arena_init_growing(&arena);
    pool_init(&pool,
              &arena,
              &(struct pool_shape){.name = "bench",
                                   .rank = POOL_RANK_IMAGE,
                                   .object_bytes = BYTES,
                                   .align = 64,
                                   .count = OBJECTS});
    pool_init_credits(&credits, "credits", POOL_RANK_LOG_SPACE, OBJECTS);
    env_mutex_init(&lock);
    printf("{");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        printf("%s\"%s_ns\": %.1f, \"%s_ns_2_threads\": %.1f",
               i == 0 ? "" : ", ",
               all[i].name,
               measure(&all[i], 1),
               all[i].name,
               measure(&all[i], 2));
    }
    printf("}\n");
    env_mutex_fini(&lock);
    pool_fini(&credits);
    pool_fini(&pool);
    arena_fini(&arena);
    return 0;
}
