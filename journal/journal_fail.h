/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal device fails at run time: see journal_fail.c. */
#ifndef R5FS_JOURNAL_JOURNAL_FAIL_H
#define R5FS_JOURNAL_JOURNAL_FAIL_H

struct journal;
struct io_queue;

/* [lock] No more logging, no more answers; the log thread does the rest. `what` failed with
 * `error`. Only the first call counts. */
void journal_fail_begin(struct journal *j, int error, const char *what);
/* The log thread: brings what is durable to the members and retires the device. */
void journal_fail_finish(struct journal *j, struct io_queue *queue);

#endif
