/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the stripe files share: the moves of a row, its buffers, and failures mapped to rows. */
#ifndef R5FS_RAID_STRIPE_INTERNAL_H
#define R5FS_RAID_STRIPE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "array_internal.h"
#include "member_batch.h"
#include "r5fs/raid/stripe.h"

#define STRIPE_STATE_COUNT 4u

const char *stripe_state_name(enum stripe_state state);
bool stripe_state_may_move(enum stripe_state from, enum stripe_state to);
/* The only mover; CHECKs the table. */
void stripe_move(struct stripe_head *head, enum stripe_state to);

/* Gives back the old contents / those and the parity. */
void stripe_free_old(struct stripe_cache *cache, struct stripe_head *head);
void stripe_free_buffers(struct stripe_cache *cache, struct stripe_head *head);
/* Gives the buffers back; the images stay. */
void stripe_fail(struct stripe_cache *cache, struct stripe_head *head);

static inline bool stripe_in_request(const struct stripe_head *head,
                                     const struct batch_request *request)
{
    return head->row.nr >= request->row.nr && head->row.nr < request->row.nr + request->row_count;
}

#endif
