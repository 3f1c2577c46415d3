/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stripe cache over a volume kit: rows with random targets on their way to the members, and a
 * hook that counts requests and makes them fail. */
#ifndef R5FS_TESTS_STRIPE_KIT_H
#define R5FS_TESTS_STRIPE_KIT_H

#include "stripe_internal.h"
#include "volume_kit.h"

#define STRIPE_KIT_IMAGES   256u
#define STRIPE_KIT_ROWS_MAX 24u

struct stripe_watch {
    uint32_t reads; /* requests to the data areas */
    uint32_t writes;
    uint32_t fail_slots; /* requests of these slots fail, one bit each */
    enum io_op fail_op;
    int fail_error;
};

struct stripe_kit {
    struct volume_kit volume;
    struct stripe_cache cache;
    struct stripe_head *heads[STRIPE_KIT_ROWS_MAX]; /* the batch */
    uint32_t head_count;
    struct stripe_watch watch;
};

void stripe_kit_open(struct stripe_kit *kit, uint32_t members, uint32_t chunk_sectors, bool hooked);
void stripe_kit_close(struct stripe_kit *kit);
uint32_t stripe_kit_parity_slot(const struct stripe_kit *kit, uint64_t row);

/* A new random image of a block, chosen for the write-out of its row, which joins the batch. */
struct stripe_image *stripe_kit_add_target(struct stripe_kit *kit, uint64_t row, uint32_t slot);
/* One bit for each slot. */
void stripe_kit_add_targets(struct stripe_kit *kit, uint64_t row, uint32_t slots);
/* Random rows, some of them neighbours, with random targets. */
void stripe_kit_add_random_batch(struct stripe_kit *kit);
/* The model learns what the batch wrote. */
void stripe_kit_note_targets(struct stripe_kit *kit);
/* Images and heads go back; the batch is empty. */
void stripe_kit_drop_heads(struct stripe_kit *kit);
/* Fill, encode, write out, note, drop; all must succeed. */
void stripe_kit_write_out_all(struct stripe_kit *kit);

/* Counts from zero / and makes requests fail, from now on. */
void stripe_kit_watch(struct stripe_kit *kit);
void stripe_kit_fail(struct stripe_kit *kit, enum io_op op, uint32_t slots, int error);

#endif
