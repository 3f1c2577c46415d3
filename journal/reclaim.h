/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows to the members, the tail behind them: see reclaim.c. */
#ifndef R5FS_JOURNAL_RECLAIM_H
#define R5FS_JOURNAL_RECLAIM_H

#include "journal_internal.h"

void reclaim_init(struct journal *j, uint32_t encode_buffers);
void reclaim_fini(struct journal *j);

/* The log thread: one batch of rows, oldest first, or the stuck one again. `all`: as many as fit,
 * else about one stripe. -EIO: the journal failed; anything else that went wrong is in
 * j->reclaim. */
R5_MUST_CHECK int reclaim_batch(struct journal *j, struct io_queue *queue, bool all);
/* The log thread, after the journal failed: the same without logging parity. False: it stands on
 * the no-space list now, nothing was done. */
R5_MUST_CHECK bool reclaim_batch_unlogged(struct journal *j, struct io_queue *queue);
/* The log thread, no batch in hand: flushes the members, then moves the tail. */
R5_MUST_CHECK int reclaim_move_tail(struct journal *j, struct io_queue *queue);
/* The same, behind an empty unit: the log is empty afterwards if nothing was logged meanwhile. */
R5_MUST_CHECK int reclaim_make_empty(struct journal *j, struct io_queue *queue);

/* [lock] The row got something new, or all rows whose fill failed: to be tried once more. */
void reclaim_try_row(struct journal *j, struct stripe_head *head);
void reclaim_try_unfillable(struct journal *j);
/* [lock] Nothing but rows that cannot be filled holds what is used of images and log. */
bool reclaim_is_hopeless(const struct journal *j);
/* The log thread: write-out waits for room on a member's host, or no more. */
void reclaim_set_stuck(struct journal *j, bool stuck);
/* ENOSPC or EDQUOT: of a member's host, not of the log. */
bool reclaim_is_full_host(int error);

/* Recovery and open: that rows cannot be brought to the members, and where room is lacking, in
 * `out_why`. */
void reclaim_say_why(struct array *array, int error, char *out_why);
/* [lock] Age of the oldest unit with rows that are not all on the members and flushed there; 0 =
 * none. */
uint64_t reclaim_oldest_ns(const struct journal *j);
/* [lock] Whether a row first logged in unit `seq` or before is not on the members. */
bool reclaim_is_behind(const struct journal *j, uint64_t seq);
/* [lock] Whether waiting for rows has no end that can be foreseen. */
bool reclaim_is_halted(const struct journal *j);

/* Recovery: blocks of the ring that writing out all live rows needs at the most, what is used
 * included. Fewer than JR counts when a member is missing: rows whose parity was on it log none,
 * and so they also did not while they were written out the last time. */
uint64_t reclaim_log_need(const struct journal *j);
/* Recovery, when the open rows exceed the cache: writes out every row handed over so far, under W1
 * and W2 (parity units are appended at log.head), flushes the members, leaves the tail alone.
 * Afterwards all images are free again. On the opening thread, before the log thread runs. */
R5_MUST_CHECK int reclaim_write_out_recovered(struct journal *j, struct io_queue *queue);

#endif
