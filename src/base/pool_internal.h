/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pool.c and its fault plans (pool_fault.c) share. */
#ifndef R5FS_BASE_POOL_INTERNAL_H
#define R5FS_BASE_POOL_INTERNAL_H

#include "r5fs/base/pool.h"

void pool_registry_acquire(void);
void pool_registry_release(void);
/* [registry lock] The one after `pool`, the first after NULL; NULL at the end. */
struct pool *pool_registry_next(const struct pool *pool);

/* Hands free objects to waiters, in order, as long as there are both. */
void pool_serve(struct pool *pool);

/* [pool's lock] Whether this try is one that the plan refuses. */
bool pool_fault_strikes(struct pool *pool);
/* [pool's lock] Something was given back. */
void pool_fault_freed(struct pool *pool);

#endif
