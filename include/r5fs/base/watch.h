/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must make progress says so in a cell of its own; the watchdog looks at all cells and names
 * those that were busy at every look and did not move.
 *
 *   struct watch *watch = watch_open("log thread", NULL);
 *   watch_enter(watch, "write out", rows, 0);     busy from here
 *   watch_step(watch, "flush members", 0, 0);     still busy, and moved
 *   watch_leave(watch);                           moved; idle, unless others are inside, too
 *
 * Cells are of static memory and hold atomics only: neither side waits for the other, and whoever
 * is stuck holds nothing that the watchdog wants. All functions take NULL: nothing is watched then.
 */
#ifndef R5FS_BASE_WATCH_H
#define R5FS_BASE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"

#define WATCH_CELLS_MAX 256u
/* Looks in the time after which something counts as stuck: a stopped or suspended process, whose
 * clock runs on, is given its time again. */
#define WATCH_LOOKS 10u

struct watch;

/* A cell, or NULL when all are taken. `what` lives for ever; `name` (or NULL) until watch_close,
 * and until the watchdog was stopped. */
struct watch *watch_open(const char *what, const char *name);
void watch_close(struct watch *watch);
/* `times` the usual patience: for what takes long by its nature. */
void watch_set_patience(struct watch *watch, uint32_t times);

/* `step` is a literal. A cell may be entered several times, also by several threads. */
void watch_enter(struct watch *watch, const char *step, uint64_t a, uint64_t b);
void watch_step(struct watch *watch, const char *step, uint64_t a, uint64_t b);
void watch_leave(struct watch *watch);
/* This thread's own cell, for what is done on its behalf far below: watch_moved_here moves it. */
void watch_here(struct watch *watch);
void watch_moved_here(void);

/* One look at all cells. Returns how many were found stuck just now, each named in one message;
 * with the first of them the trace ring is written, at most once an hour. One thread at a time. */
unsigned watch_look(void);

/* The thread that looks: WATCH_LOOKS times in `limit_ns`. */
R5_MUST_CHECK int watchdog_start(uint64_t limit_ns);
void watchdog_stop(void);

#endif
