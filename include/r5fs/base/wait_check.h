/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may wait for what, checked at run time in debug builds (R5FS_DEBUG_CHECKS); nothing at all in
 * others. Each check aborts with both sites: where the thread took on the duty that it breaks, and
 * where it is now.
 *
 *   rank order      who holds something of a rank waits for memory of higher ranks only (pool.h)
 *   no-wait places  a section says what may not be waited for in it
 *   own queue       a thread does not go to sleep while requests on its own queue wait for it
 *   submit          `done` never runs inside io_submit
 *
 * The state is the calling thread's own (env_thread_scratch), so nothing here takes a lock. Names
 * live for ever.
 */
#ifndef R5FS_BASE_WAIT_CHECK_H
#define R5FS_BASE_WAIT_CHECK_H

#include "r5fs/base/pool.h"

enum wait_kind {
    WAIT_FOR_MEMORY = 1, /* objects of a pool, credits, a reservation */
    WAIT_FOR_CELL = 2,   /* a row cell */
    WAIT_FOR_IO = 4,     /* completions of the own queue */
    WAIT_FOR_WAKE = 8,   /* a condition, a sleep, another thread's end */
    WAIT_FOR_ANYTHING = 15,
};

#ifdef R5FS_DEBUG_CHECKS

/* From here to the call with the same name, the thread does not wait for any of `kinds`. */
void wait_check_forbid_kinds(unsigned kinds, const char *name);
void wait_check_allow_kinds(const char *name);
/* The thread holds one more thing, or one less, of this rank. */
void wait_check_hold(enum pool_rank rank, const char *name);
void wait_check_drop(enum pool_rank rank);
/* The thread may be about to wait for memory of this rank. Called also where it turns out that
 * nothing need be waited for, so that the fault shows without the shortage. */
void wait_check_memory(enum pool_rank rank, const char *name);
void wait_check_cell(const char *name); /* likewise, for a row cell */
void wait_check_kind(enum wait_kind kind, const char *name);
/* A request went onto the thread's queue, or its `done` ran. */
void wait_check_queued(int difference);
/* Around io_submit, and where `done` runs. */
void wait_check_submit(bool begins);
void wait_check_done(void);
/* Around io_wait: the backend's own sleep is what runs the queue. */
void wait_check_io_wait(bool begins);

#else

static inline void wait_check_forbid_kinds(unsigned kinds, const char *name)
{
    (void)kinds;
    (void)name;
}

static inline void wait_check_allow_kinds(const char *name)
{
    (void)name;
}

static inline void wait_check_hold(enum pool_rank rank, const char *name)
{
    (void)rank;
    (void)name;
}

static inline void wait_check_drop(enum pool_rank rank)
{
    (void)rank;
}

static inline void wait_check_memory(enum pool_rank rank, const char *name)
{
    (void)rank;
    (void)name;
}

static inline void wait_check_cell(const char *name)
{
    (void)name;
}

static inline void wait_check_kind(enum wait_kind kind, const char *name)
{
    (void)kind;
    (void)name;
}

static inline void wait_check_queued(int difference)
{
    (void)difference;
}

static inline void wait_check_submit(bool begins)
{
    (void)begins;
}

static inline void wait_check_done(void)
{
}

static inline void wait_check_io_wait(bool begins)
{
    (void)begins;
}

#endif

#endif
