/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool whose get may sleep: for those who serve one request of a user and hold nothing that
 * another's progress needs. Nothing that retires writes has one; it is another type so that this
 * shows where the pool is declared.
 */
#ifndef R5FS_BASE_WAITING_POOL_H
#define R5FS_BASE_WAITING_POOL_H

#include "r5fs/base/env.h"
#include "r5fs/base/pool.h"

struct waiting_pool {
    struct pool pool;
    struct env_mutex lock;  /* of the waiters' answers */
    struct env_cond served; /* [lock] */
};

void waiting_pool_init(struct waiting_pool *pool,
                       struct arena *arena,
                       const struct pool_shape *shape);
void waiting_pool_fini(struct waiting_pool *pool);
/* An object, at once or when one came back; in order. May wait: the caller holds nothing of the
 * pool's rank or above, and no lock. */
void *waiting_pool_get_wait(struct waiting_pool *pool);
void waiting_pool_put(struct waiting_pool *pool, void *object);

#endif
