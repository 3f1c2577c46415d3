/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of an array in words, unit by unit, for `r5fs dump journal`. Writes nothing. */
#ifndef R5FS_JOURNAL_LOG_DUMP_H
#define R5FS_JOURNAL_LOG_DUMP_H

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

/*
 * One line per meta block from the tail on, each followed by a line per payload (two spaces before
 * it), then one line that says why the log ends there, and one for each meta block beyond the end:
 *
 *   unit seq=S block=B pages=N undurable=U
 *     data block=V row=R slot=K page=P checksum=C ok|WRONG
 *     parity row=R slot=K page=P checksum=C ok|WRONG
 *     flush row=R
 *   end block=B seq=S cause="..." units=N
 *   beyond block=B seq=S undurable=U "..."
 *
 * Blocks are numbers of 4 KiB blocks: of the ring (block, page), of the volume (data block), of the
 * members (row). A damaged log is shown as far as it goes, without an error. -ENXIO: the array has
 * no usable journal device. `arena` is a growing one, `emit` gets lines without a newline.
 */
R5_MUST_CHECK int journal_dump_entries(struct array *array,
                                       struct io_queue *queue,
                                       struct arena *arena,
                                       void (*emit)(void *context, const char *line),
                                       void *context);

#endif
