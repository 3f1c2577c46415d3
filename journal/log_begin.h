/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overwriting parts of the ring, and the first unit of a log: see log_begin.c. */
#ifndef R5FS_JOURNAL_LOG_BEGIN_H
#define R5FS_JOURNAL_LOG_BEGIN_H

#include "log_source.h"

/* Writes zeros over `count` blocks from `from` on. Not flushed. `arena`: a growing one. */
R5_MUST_CHECK int log_begin_zero(const struct log_source *source,
                                 struct io_queue *queue,
                                 struct arena *arena,
                                 struct log_block from,
                                 uint64_t count);
/* An empty log over whatever was there: zeros everywhere, one empty meta block at 0 with a random
 * 32-bit seq, then the tail names it; each durable before the next. `*out_seq` is that unit's. */
R5_MUST_CHECK int log_begin_empty(const struct log_source *source,
                                  struct array *array,
                                  struct io_queue *queue,
                                  struct arena *arena,
                                  uint64_t *out_seq);

#endif
