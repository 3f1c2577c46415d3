/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An I/O backend whose power can be cut. Requests are carried out one at a time, in an order drawn
 * at random among those submitted; writes since the last flush of their file are remembered. After
 * the cut nothing reaches the files any more, and crash_io_settle() decides for each write that no
 * flush covered whether it happened, did not, or stopped at a sector.
 */
#ifndef R5FS_TESTS_CRASH_IO_H
#define R5FS_TESTS_CRASH_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/raid/member_io.h"

/* Makes all queues opened from now on ours. `random`: as kit_below. */
void crash_io_use(uint32_t (*random)(uint32_t limit));
/* The power goes when so many writes were carried out; UINT64_MAX: never. Forgets all writes so
 * far. */
void crash_io_cut_after(uint64_t writes);
/* Writes carried out since crash_io_cut_after. */
uint64_t crash_io_writes(void);
bool crash_io_is_cut(void);
/* What the disks hold when the power is back; before the files are closed. */
void crash_io_settle(void);

/* When set, sees each request before it is carried out; true: it is over, with *out_result. */
extern bool (*crash_io_hook)(const struct io_request *request, int *out_result);

#endif
