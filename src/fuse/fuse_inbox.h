/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests set aside, so that the last worker that is not parked goes on reading: what would unpark
 * the others, or end their tasks, comes over the same descriptor.
 */
#ifndef R5FS_FUSE_FUSE_INBOX_H
#define R5FS_FUSE_FUSE_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"

struct fuse_worker;

struct fuse_inbox_slot {
    struct list_node node; /* waiting or free [lock] */
    uint8_t *payload;      /* a buffer like a worker's [owner of the slot] */
    size_t bytes;          /* of the request in it */
};

struct fuse_inbox {
    struct env_mutex lock;
    struct list_node waiting; /* oldest first [lock] */
    struct list_node free;    /* [lock] */
};

size_t fuse_inbox_need(uint32_t slots);
void fuse_inbox_init(struct fuse_inbox *inbox, struct arena *arena, uint32_t slots);
void fuse_inbox_fini(struct fuse_inbox *inbox);

/* Puts the request of `bytes` bytes in the worker's buffer aside; the worker has another buffer
 * then. False: no slot is free, nothing was done. */
bool fuse_inbox_put(struct fuse_inbox *inbox, struct fuse_worker *worker, size_t bytes);
/* The oldest waiting request is in the worker's buffer: its bytes; 0 when there is none. */
size_t fuse_inbox_take(struct fuse_inbox *inbox, struct fuse_worker *worker);
/* Takes out the request with this number; false when it is not here. `may_drop` decides, with the
 * request, under the lock. */
bool fuse_inbox_drop(struct fuse_inbox *inbox,
                     uint64_t unique,
                     bool (*may_drop)(const void *request),
                     bool *out_found);

#endif
