/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Range locks over rows. A cell is embedded in the request or stripe head that wants it; nothing is
 * ever allocated. Write-out takes its rows exclusively from the first member write to the last
 * completion; reconstruction takes them shared. Order: a cell is the last lock taken; its holder waits
 * for nothing but I/O already submitted, so every waiter is served.
 */
#ifndef R5FS_RAID_ROW_CELL_H
#define R5FS_RAID_ROW_CELL_H

#include <stdbool.h>
#include <stdint.h>

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
};

void row_cells_init(struct row_cells *cells);
void row_cells_fini(struct row_cells *cells);
/* False when another holder is in the way. */
bool row_cell_try_lock(struct row_cells *cells, struct row_cell *cell, struct member_block row,
                       bool exclusive);
void row_cell_lock_wait(struct row_cells *cells, struct row_cell *cell, struct member_block row,
                        bool exclusive);
void row_cell_unlock(struct row_cells *cells, struct row_cell *cell);

#endif
