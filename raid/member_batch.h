/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many blocks of many members in few requests: adjacent rows of one member travel together, each
 * block from or to its own buffer. Used by reads of the volume, by the filling of rows and by
 * write-out. A batch belongs to one thread at a time.
 */
#ifndef R5FS_RAID_MEMBER_BATCH_H
#define R5FS_RAID_MEMBER_BATCH_H

#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/units.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

struct member_batch;

struct batch_request {
    struct io_request io;
    struct member_batch *batch;
    uint32_t slot;
    uint32_t row_count;
    struct member_block row; /* the first */
    struct iovec iovecs[IO_IOVECS_MAX];
};

/* Told of each request that failed, after all of its round are done; may wait for I/O of its own on
 * the queue, may not add to the batch. */
typedef void batch_failed(void *context, const struct batch_request *request);

struct member_batch {
    struct array *array;            /* [fixed] */
    struct batch_request *requests; /* [fixed] */
    uint32_t capacity;              /* [fixed] at least one request for each slot */
    uint32_t used;
    uint32_t outstanding; /* submitted and not done */
    struct io_queue *queue;
    enum io_op op;
    batch_failed *failed;
    void *context;
    struct batch_request *growing[MEMBERS_MAX]; /* by slot: not submitted yet, or NULL */
};

size_t member_batch_need(uint32_t capacity);
void member_batch_init(struct member_batch *batch,
                       struct array *array,
                       struct arena *arena,
                       uint32_t capacity);

void member_batch_start(struct member_batch *batch,
                        struct io_queue *queue,
                        enum io_op op,
                        batch_failed *failed,
                        void *context);
/* One block of a member. May wait for earlier ones of the batch when requests run out. */
void member_batch_add(struct member_batch *batch,
                      uint32_t slot,
                      struct member_block row,
                      uint8_t *buffer);
/* Submits the rest and waits for all. Failures were told and counted; nothing is in flight. */
void member_batch_finish(struct member_batch *batch);

#endif
