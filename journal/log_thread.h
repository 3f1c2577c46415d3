/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one thread of the journal: see log_thread.c. */
#ifndef R5FS_JOURNAL_LOG_THREAD_H
#define R5FS_JOURNAL_LOG_THREAD_H

#include "journal_internal.h"

/* Locks of the thread; before anything may wake it. */
void log_thread_init(struct journal *j);
void log_thread_fini(struct journal *j);
/* Returns when its queue is open. Its memory comes from options.arena. */
R5_MUST_CHECK int log_thread_start(struct journal *j);
/* After what it does at the moment; joined when it returns. Harmless when it does not run. */
void log_thread_stop(struct journal *j);

enum log_work {
    LOG_WORK_WAIT,
    LOG_WORK_STOP,
    LOG_WORK_FAIL,
    LOG_WORK_COMMIT,
    LOG_WORK_WRITE_OUT,
    LOG_WORK_TAIL,
    LOG_WORK_EMPTY,
};

/* [lock] What is to be done now; for WAIT, until when (UINT64_MAX: until woken). */
enum log_work log_thread_choose(struct journal *j, uint64_t now_ns, uint64_t *out_deadline_ns);

/* [lock] The log thread never sleeps for memory: with what it lacks it goes onto the no-space list,
 * in the first class, and does only what needs none until that was freed. */
void log_thread_park(struct journal *j, struct pool *pool, uint64_t count);

#endif
