/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Range locks over rows. A cell is embedded in the request or stripe head that wants it; nothing is
 * ever allocated. Write-out takes its rows exclusively from the first member write to the last
 * completion; reconstruction takes them shared. Order: a cell is the last lock taken; its holder
 * waits for nothing but I/O already submitted, so every waiter is served.
 */
#ifndef R5FS_RAID_ROW_CELL_H
#define R5FS_RAID_ROW_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"
#include "r5fs/base/units.h"

#define ROW_CELL_BUCKETS 256u

struct row_cells {
    struct env_mutex lock;
    struct env_cond freed;
    struct list_node held[ROW_CELL_BUCKETS];
};

struct row_cell {
    struct list_node node;
    struct member_block row;
    bool exclusive;
    bool torn; /* the members hold half of a write-out [lock] */
};

void row_cells_init(struct row_cells *cells);
void row_cells_fini(struct row_cells *cells);
/* False when another holder is in the way. */
bool row_cell_try_lock(struct row_cells *cells,
                       struct row_cell *cell,
                       struct member_block row,
                       bool exclusive);
/* -EIO when a torn cell is in the way: it may stay for long, so nobody waits for it. */
R5_MUST_CHECK int row_cell_lock_wait(struct row_cells *cells,
                                     struct row_cell *cell,
                                     struct member_block row,
                                     bool exclusive);
/* The holder of an exclusive cell keeps it while it waits for room on a full device: its row's
 * blocks do not fit together, so nothing may be derived from them. Ends with the unlock. */
void row_cell_mark_torn(struct row_cells *cells, struct row_cell *cell);
void row_cell_unlock(struct row_cells *cells, struct row_cell *cell);

#endif
