/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What of each row is in the log: states of images, the dirty list, generations and the live list.
 *
 *   DIRTY   written by the filesystem, in no unit; at most one per block, always the newest;
 *           overwritten in place by a later write                                  [on j->dirty]
 *   PLACED  in unit `seq`, which is not durable yet
 *   LOGGED  its unit is durable
 *   FROZEN  what the running write-out brings to the member (was LOGGED)
 *
 *      (new) --> DIRTY --> PLACED --> LOGGED --> FROZEN --> (dropped)
 *      (new) -------------^            |
 *                 metadata             '--> (dropped: superseded by a newer LOGGED image)
 *      DIRTY --> (dropped: the block was freed)    (new) --> LOGGED  recovered
 *      PLACED --> DIRTY  the journal failed        FROZEN --> LOGGED  the row cannot be filled
 *
 * Invariants (j->lock), checked by journal_verify:
 *   L1  a slot's chain, newest first, is  [DIRTY] [PLACED...] [LOGGED] [FROZEN], but for PLACED
 *       each at most once;
 *   L2  an image is on the dirty list if and only if it is DIRTY;
 *   L3  the open generation has a first_seq, and is on the live list, if and only if an image of
 *       the row is PLACED or LOGGED; the closing one has a first_seq from freeze to finish;
 *   L4  FROZEN images exist only while head->frozen;
 *   L5  an image that is not DIRTY never changes in memory (W8's second buffer);
 *   L6  the live list ascends by first_seq.
 * All functions: j->lock held, any thread, no waiting.
 */
#ifndef R5FS_JOURNAL_LOGGED_STRIPE_H
#define R5FS_JOURNAL_LOGGED_STRIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/raid/stripe.h"

#define LOGGED_STATES(X)                          \
    X(DIRTY)  /* volatile */                      \
    X(PLACED) /* in a unit that is not durable */ \
    X(LOGGED) /* durable in the log */            \
    X(FROZEN) /* being written out */

#define LOGGED_ENUM(name) LOGGED_##name,
enum logged_state { LOGGED_STATES(LOGGED_ENUM) LOGGED_STATE_COUNT };
#undef LOGGED_ENUM

struct journal;

const char *logged_state_name(enum logged_state state);
/* Whether the table has this move. */
bool logged_state_may_move(enum logged_state from, enum logged_state to);

/* The newest image of a block, or NULL: the members hold it. */
struct stripe_image *logged_stripe_newest(struct journal *j, struct fs_block block);
/* The volume block of an image. */
struct fs_block logged_stripe_block_of(struct journal *j, const struct stripe_image *image);
/* New contents. True when an image was taken from the pool (the caller's reservation pays for it),
 * false when a DIRTY one was overwritten. */
bool logged_stripe_write(struct journal *j, struct fs_block block, const uint8_t *data);
/* A metadata block of the closing transaction: a new image, PLACED in the unit `seq` at
 * `position`. */
struct stripe_image *logged_stripe_place_new(struct journal *j,
                                             struct fs_block block,
                                             const uint8_t *data,
                                             uint64_t seq,
                                             struct log_block position);
/* A DIRTY image goes into a unit. */
void logged_stripe_place(struct journal *j,
                         struct stripe_image *image,
                         uint64_t seq,
                         struct log_block position);
/* The unit that carries it is durable: PLACED -> LOGGED; an older LOGGED one is dropped. */
void logged_stripe_unit_durable(struct journal *j, struct stripe_image *image);
/* Forgets a DIRTY image. */
void logged_stripe_discard(struct journal *j, struct fs_block block);

/* LOGGED images become FROZEN and the targets of a write-out; the open generation becomes the
 * closing one. False, and nothing changed, when the row has no LOGGED image, a PLACED one, or is
 * frozen. */
bool logged_stripe_freeze(struct journal *j, struct stripe_head *head);
/* The row's parity is in a unit. */
void logged_stripe_parity_placed(struct journal *j, struct stripe_head *head);
/* The write-out completed: FROZEN images and the closing generation go; the head may go as well. */
void logged_stripe_finish(struct journal *j, struct stripe_head *head);
/* Before any member write: the row's generations are one open generation again. */
void logged_stripe_unfreeze(struct journal *j, struct stripe_head *head);
/* The journal failed: what is in no durable unit is volatile again. All rows. */
void logged_stripe_unplace_all(struct journal *j);
/* Drops everything: the journal is being closed. Write-outs are given up. */
void logged_stripe_forget_all(struct journal *j);

/* Recovery: an open image, LOGGED, in the unit `seq` whose meta block stands at `position`. Images
 * of a row may come in any order of seq; of one block only the newest, once. -ENOBUFS: no image is
 * free; the caller looks first whether a whole row fits (pool_free_count of cache.images). */
R5_MUST_CHECK int logged_stripe_add_recovered(struct journal *j,
                                              struct fs_block block,
                                              uint64_t seq,
                                              struct log_block position,
                                              const uint8_t *data);

/* CHECKs L1 to L6 and the sums of log_space over the whole cache. */
void logged_stripe_verify(struct journal *j);

#endif
