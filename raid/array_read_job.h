/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A read of many blocks, or of a lost one, under way: array_read.c begins it, array_reconstruct.c
 * derives what the members did not give. */
#ifndef R5FS_RAID_ARRAY_READ_JOB_H
#define R5FS_RAID_ARRAY_READ_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "array_internal.h"
#include "member_batch.h"
#include "r5fs/base/waiting_pool.h"

#define READ_STEP_BLOCKS 256u /* blocks looked after at a time */
#define ROUND_ROWS_MAX   32u  /* rows reconstructed at a time */

/* One block to be derived in this round; its row's cell is held. */
struct read_item {
    struct row_cell cell;
    struct placement place;
    uint32_t index; /* in the step */
    bool settled;   /* its own member gave it after all */
    bool again;     /* a request for several rows failed: read its row by itself */
};

/* What one reader works with. */
struct read_set {
    struct list_node node; /* the pool's; first */
    struct member_batch batch;
    uint8_t *scratch; /* [fixed] */
    uint32_t item_count;
    struct read_item items[ROUND_ROWS_MAX];
};

struct read_sets {
    struct waiting_pool pool;               /* never the log thread's */
    uint32_t round_rows;                    /* [fixed] rows that the scratch is enough for */
    struct env_mutex flushing;              /* one flush of all members at a time */
    uint32_t unflushed;                     /* [flushing] */
    struct io_request flushes[MEMBERS_MAX]; /* [flushing] */
};

/* One call: where its blocks are and where they go. */
struct read_job {
    struct array *array;
    struct io_queue *queue;
    struct read_set *set;
    const struct fs_block *blocks; /* one by one; NULL: contiguous from `first` */
    uint8_t *const *buffers;       /* one by one; NULL: contiguous from `buffer` */
    struct fs_block first;
    uint8_t *buffer;
    uint32_t base;               /* the step under way: index of its first block */
    uint32_t count;              /* and its blocks */
    uint32_t readable;           /* slots, one bit each, when last looked */
    bool todo[READ_STEP_BLOCKS]; /* to be derived; by index in the step */
};

_Static_assert(MEMBERS_MAX <= 32, "slots fit into one word");

struct fs_block job_block(const struct read_job *job, uint32_t index);
uint8_t *job_buffer(const struct read_job *job, uint32_t index);
struct placement job_place(const struct read_job *job, uint32_t index);

uint32_t array_readable_slots(struct array *array);
static inline bool slot_in(uint32_t slots, uint32_t slot)
{
    return (slots >> slot & 1) != 0;
}

bool batch_request_covers(const struct batch_request *request,
                          uint32_t slot,
                          struct member_block row);
/* One block of one member, by itself; counts an error. */
R5_MUST_CHECK int array_read_single(struct array *array,
                                    struct io_queue *queue,
                                    struct placement place,
                                    uint8_t *buffer);
/* Derives every block of the step that is `todo`. -EIO for the first one that cannot be known. */
R5_MUST_CHECK int job_reconstruct(struct read_job *job);

#endif
