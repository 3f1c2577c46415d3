/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An assembled array whose volume holds known random bytes, with a naive model beside it. */
#ifndef R5FS_TESTS_VOLUME_KIT_H
#define R5FS_TESTS_VOLUME_KIT_H

#include "array_internal.h"
#include "array_kit.h"
#include "hook_io.h"

#define VOLUME_KIT_SEED_TEXT "R5_SEED"

struct volume_kit {
    struct array_kit files;
    struct array *array;
    struct geometry geometry;
    struct io_queue *queue; /* of `files` */
    uint8_t *model;         /* what the volume should hold */
    bool hooked;
};

/* From R5_SEED or anew; prints the line that replays the test. */
void volume_kit_seed(const char *test);
uint64_t volume_kit_random(void);
/* In [0, limit). */
uint32_t volume_kit_below(uint32_t limit);
void volume_kit_fill(uint8_t *bytes, size_t count);

/* Creates, writes random data and matching parity, assembles, starts writing. `hooked`: on the hook
 * backend, else on io_uring. */
void volume_kit_open(struct volume_kit *kit, uint32_t members, uint32_t chunk_sectors, bool hooked);
/* Stops writing (unless the array has failed), closes, removes everything. */
void volume_kit_close(struct volume_kit *kit);

uint8_t *volume_kit_block(const struct volume_kit *kit, struct fs_block block);
/* What is on the member's file, whatever its state. */
void volume_kit_on_member(const struct volume_kit *kit,
                          uint32_t slot,
                          struct member_block row,
                          uint8_t *out_block);
uint8_t *volume_kit_take(struct volume_kit *kit, size_t blocks);

/* XOR over all members is zero on every row, and data blocks are those of the model. */
void volume_kit_expect_on_members(struct volume_kit *kit);
/* The whole volume, read through array_read in steps of all sizes, is the model's. */
void volume_kit_expect_readable(struct volume_kit *kit);
/* Faults a slot, as a failed write does. */
void volume_kit_lose(struct volume_kit *kit, uint32_t slot);

#endif
