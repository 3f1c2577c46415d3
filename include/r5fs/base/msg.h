/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages. One line each: "r5fs: MODULE: event key=value ...". Errors for a person at a terminal
 * follow "WHAT: WHY (hint: COMMAND)". They go to stderr, and to syslog once the daemon has detached
 * (msg_to_syslog). Lines of the same module beyond 20 a second are counted, not printed; the count
 * is printed afterwards. Debug lines only go to a ring in memory, dumped when a CHECK fails.
 * Any thread; never allocates, never fails.
 */
#ifndef R5FS_BASE_MSG_H
#define R5FS_BASE_MSG_H

#include <stdbool.h>

#include "r5fs/base/check.h"

enum msg_level {
    MSG_ERR,
    MSG_WARN,
    MSG_INFO,
    MSG_DEBUG,
};

void msg_err(const char *module, const char *format, ...) R5_PRINTF(2, 3);
void msg_warn(const char *module, const char *format, ...) R5_PRINTF(2, 3);
void msg_info(const char *module, const char *format, ...) R5_PRINTF(2, 3);
void msg_debug(const char *module, const char *format, ...) R5_PRINTF(2, 3);

/* Lines above this level are kept for the ring only. Default MSG_WARN. */
void msg_set_level(enum msg_level level);
void msg_to_syslog(bool on);
/* Sees every line up to the set level, e.g. to keep the event history. NULL takes it away. */
void msg_set_observer(void (*observer)(void *context, enum msg_level level, const char *line),
                      void *context);
/* Writes one line as it is, where messages go, whatever the level and however many; for reports of
 * many lines. Waits a moment for a log daemon that is behind: on a thread that has time only. */
void msg_line(const char *line);
/* Writes the ring to stderr. */
void msg_dump_ring(void);

#endif
