/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Announced memory as a backend sees it: ranges of equal pieces, each piece registered as a whole.
 *
 * A range stands in one of IO_BUFFERS_RANGES places and carries a serial that is never used again.
 * Who keeps something about a place keeps the serial with it: another one, and what was kept is
 * about memory that may be gone.
 */
#ifndef R5FS_RAID_MEMBER_BUFFERS_H
#define R5FS_RAID_MEMBER_BUFFERS_H

#include "r5fs/raid/member_io.h"

#define IO_BUFFERS_RANGES 4u
#define IO_BUFFERS_PIECES 64u /* of one range: bits of a word */

struct io_piece {
    uint32_t range; /* the place */
    uint32_t piece; /* within the range */
    uint64_t serial;
    struct iovec memory;
};

/* Whether these bytes lie within one announced piece, and which. Any thread. */
R5_MUST_CHECK bool io_buffers_find(const void *address, size_t bytes, struct io_piece *out_piece);

/* For io_registered_get. Any thread. */
void io_registered_add(uint64_t bytes);
void io_registered_remove(uint64_t bytes);
void io_registered_refused(int error);
void io_registered_used(void);

#endif
