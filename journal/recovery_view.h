/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The volume as recovery would make it, without writing anything: the log is laid over the members
 * when a block is read. For read-only opens (mount ro, check, dump volume).
 */
#ifndef R5FS_JOURNAL_RECOVERY_VIEW_H
#define R5FS_JOURNAL_RECOVERY_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "recovery_scan.h"

struct recovery_view {
    struct array *array;
    struct arena arena; /* of the scan */
    struct recovery_scan scan;
};

/* Scans the log; the array's journal device is JOURNAL_DEVICE_OK and stays open. Errors as
 * recovery_scan_run; nothing to undo after one. */
R5_MUST_CHECK int recovery_view_init(struct recovery_view *view,
                                     struct array *array,
                                     struct io_queue *queue,
                                     bool accept_damaged,
                                     char *out_why);
void recovery_view_fini(struct recovery_view *view);

/* As array_read, with the log over the members. Every page taken from the log is verified. Waits
 * for I/O; any thread with its own queue. */
R5_MUST_CHECK int recovery_view_read_blocks(const struct recovery_view *view,
                                            struct io_queue *queue,
                                            struct fs_block first,
                                            uint32_t count,
                                            uint8_t *buffer);

#endif
