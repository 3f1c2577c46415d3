/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recovery as journal_open calls it: see recovery.c. */
#ifndef R5FS_JOURNAL_RECOVERY_H
#define R5FS_JOURNAL_RECOVERY_H

#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/raid/member_io.h"

struct journal;

/* On the opening thread, before any other runs; `cache`, `log.file`, `log.ring`, `log.seed`,
 * `space` and `units` of the journal are ready, writing was started on the array. Brings closed
 * layers to the members, clears leftovers, sets the log's tail, head, next_seq and newest durable
 * unit, hands open rows over, fills `recovered`. `out_why` (JOURNAL_WHY_BYTES) names what went
 * wrong; see journal_open for the errors. After one, images that were handed over stay in the
 * cache: the caller drops them. */
R5_MUST_CHECK int recovery_run(struct journal *j, struct io_queue *queue, char *out_why);

/* Read-only: sets the journal's `view` and `recovered`, writes nothing. The journal device is
 * OK. */
R5_MUST_CHECK int recovery_view_open(struct journal *j, struct io_queue *queue, char *out_why);
/* Any thread, its own queue. */
R5_MUST_CHECK int recovery_view_read(struct journal *j,
                                     struct io_queue *queue,
                                     struct fs_block first,
                                     uint32_t count,
                                     uint8_t *buffer);
/* Harmless when there is no view. */
void recovery_view_close(struct journal *j);

#endif
