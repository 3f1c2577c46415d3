/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows to the members, the tail behind them: see reclaim.c. */
#ifndef R5FS_JOURNAL_RECLAIM_H
#define R5FS_JOURNAL_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/raid/member_io.h"

struct journal;

/* Recovery, when the open rows exceed the cache: writes out every row handed over so far, under W1 and
 * W2 (parity units are appended at log.head), flushes the members, leaves the tail alone. Afterwards all
 * images are free again. On the opening thread, before the log thread runs. */
R5_MUST_CHECK int reclaim_write_out_recovered(struct journal *j, struct io_queue *queue);

#endif
