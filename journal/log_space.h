/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may dirty how much: memory for images, log space, room in the running transaction; and the
 * no-space lists of those who must wait.
 *
 * Invariant JR (blocks of the ring, j->lock):
 *
 *   used + 4 * outstanding + 2 * dirty + 2 * unplaced + LOG_SPACE_FIXED  <=  ring
 *
 *   used         from the durable tail to the head
 *   outstanding  blocks reserved that are no image yet. Of the 4: the payload and a meta block for
 *                it, the parity of its row and a meta block for that
 *   dirty        images DIRTY: payload and meta block still to be written
 *   unplaced     parities still to be logged, each with a meta block: for each row, one if it has
 *                PLACED or LOGGED images, one if it has DIRTY ones (they may have to follow in a
 *                generation of their own), one while it is frozen and its parity is in no unit
 *   FIXED        1 for the empty meta block that empties the log (W3b), 204 for the newest durable
 *                unit, which the tail cannot pass
 *
 * Each step keeps it: a grant is made only if JR holds afterwards; a write turns 4 into at most 2 +
 * 2; placing k images turns 2k into at most 1 + k of `used` and can only merge a row's two parities
 * into one, because all dirty images of a row are placed together; freezing turns the logged one
 * into the frozen one; k parities placed turn 2k into at most 1 + k. So whatever was dirtied can be
 * logged, and whatever was logged can be written out, without any grant.
 *
 * Images: images_used + outstanding <= images_max: a write always finds one.
 * Transaction: txn_used + txn_outstanding <= txn_max <= 203: it closes in one unit (W5).
 *
 * Why every waiter is served (liveness). The first of a class waits
 *   - for transaction room: the log thread commits while txn_used > 0, afterwards txn_used = 0;
 *     what else is taken are credits of operations that run, which wait for no reservation and so
 *     end;
 *   - for images or log space: the log thread commits what is dirty and writes out what is logged
 *     until the waiter is served; when nothing is dirty or live an empty unit is appended and the
 *     tail moved to it, so used = 1; again only running operations hold the rest. One request fits
 *     into an empty journal: 4 * (data_step + meta_step) + 1 + FIXED <= ring (asserted), and
 *     data_step + meta_step <= images_max.
 * With kernel_safe all wait, as if for transaction room, while the gate of log_rows.c is shut.
 * Classes (who retires writes; with metadata; data) are first in, first out each, and served in
 * this order. Between the last two, who parked first goes first to the images or the log space
 * that it lacks (base/reservation.h: one collects), so a large request is not starved by small
 * ones; one that waits for transaction room stands before nobody. Write-out takes none of these:
 * its log space is in JR, and its unit and buffers no user can have. It stands in the first class
 * only when a fault plan refuses them, or a unit of one pool is in another's hands for a moment.
 * When write-out cannot go on, waiting would have no end: the array failed -> -EIO, the journal
 * failed -> -EROFS, for all and from then on. No space on a member's host -> -ENOSPC, only rows
 * that cannot be filled hold what is used -> -EIO: for who stands first and lacks images or log
 * space, and not before everything else that gives some back is over: commits, and operations that
 * run.
 * Who lacks room in the transaction waits on: a commit needs no write-out.
 *
 * After the journal failed JR is not kept any more: what the failed batch took stays counted, and
 * nothing is granted.
 *
 * Who frees, serves: log_space_serve is called with j->lock held wherever one of the sums went
 * down.
 */
#ifndef R5FS_JOURNAL_LOG_SPACE_H
#define R5FS_JOURNAL_LOG_SPACE_H

#include "journal_internal.h"

#define LOG_SPACE_EMPTY_UNIT   1u
#define LOG_SPACE_FIXED        (LOG_SPACE_EMPTY_UNIT + LOG_UNIT_BLOCKS_MAX)
#define LOG_SPACE_PER_BLOCK    4u /* reserved */
#define LOG_SPACE_PER_DIRTY    2u
#define LOG_SPACE_PER_UNPLACED 2u

/* What the smallest ring must allow one operation to ask for. */
#define LOG_SPACE_DATA_STEP_MIN 64u
#define LOG_SPACE_TXN_MIN       48u /* kernel_safe: LOG_ROWS_MAX, see log_rows.h */
#define LOG_SPACE_DATA_STEP_MAX 256u

/* `images_max`: images of the cache. The ring is not below journal_least_blocks. */
void log_space_init(struct journal *j, uint32_t images_max);
void log_space_fini(struct journal *j);

/* [lock], all of the rest. Left side of JR without `used`. */
uint64_t log_space_reserved(const struct log_space *space);
/* One block of `reservation` became an image. */
void log_space_use_data(struct journal *j, struct journal_reservation *reservation);
/* The running transaction closed with what was joined. */
void log_space_close_txn(struct journal *j);
/* Something was freed, or will never be. */
void log_space_serve(struct journal *j);
/* Whether the first waiter lacks images or log space. */
bool log_space_wants_room(const struct journal *j);
/* Whether the first waiter for log space could have it if so many blocks were used. */
bool log_space_fits_if_used(const struct journal *j, uint64_t used);
/* Fills in parked_by. */
void log_space_count_parked(const struct journal *j, struct journal_status *status);
/* JR, and the sums' own relations. */
void log_space_verify(const struct journal *j);

#endif
