/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Appending to the log: the writer role, batches of units, the durable end, the tail. See log.c.
 */
#ifndef R5FS_JOURNAL_LOG_H
#define R5FS_JOURNAL_LOG_H

#include "journal_internal.h"

void log_init(struct journal *j);
void log_fini(struct journal *j);

/* The writer role, first come first served. Its holder alone appends; it may do I/O, and takes the
 * client's lock and j->lock inside. Not with j->lock or a lock of the client's held. */
void log_role_take_wait(struct journal *j);
void log_role_give(struct journal *j);
/* The role, and one unit promised for its time: so whoever writes never waits for one. False: there
 * is none, and the role is given back already. The promise is renewed by each log_batch_write, and
 * ends with the role. */
bool log_writer_begin(struct journal *j);

/* [lock] From the durable tail to the head. */
uint64_t log_used(const struct journal *j);
/* [lock] What would be left of it if the tail moved as far as rows still to be written out
 * allow. */
uint64_t log_used_by_live(const struct journal *j);

/* [lock, role] A unit of the batch with room for `payloads` more: the last one, or a new one at the
 * head. NULL when all units are in the batch: it must be written first. */
struct io_unit *log_unit_with_room(struct journal *j, uint32_t payloads);
/* [lock, role] The head after a payload was added to the last unit. */
void log_head_advance(struct journal *j);
/* [lock, role] Places dirty images, the row of the oldest first, until units or images run out, or
 * the log may name no more rows (log_rows.h). */
void log_place_dirty(struct journal *j);

/* [role] Writes all units of the batch, flushes once, marks them durable. Nothing to do: 0 at once.
 * -EIO: the journal failed; the batch is empty and its images are as they were. */
R5_MUST_CHECK int log_batch_write(struct journal *j, struct io_queue *queue);
/* [role] An empty unit, durable. */
R5_MUST_CHECK int log_append_empty(struct journal *j, struct io_queue *queue);

/* Moves the durable tail as far as W3 and W3b allow, then counts the space free. The members are
 * flushed by the caller before (reclaim.c). The log thread alone. -EIO: the journal failed. */
R5_MUST_CHECK int log_tail_move(struct journal *j, struct io_queue *queue);
/* [lock] Where it would go, and to which unit. */
struct log_tail {
    struct log_block position;
    uint64_t seq;
};
struct log_tail log_tail_candidate(const struct journal *j);

#endif
