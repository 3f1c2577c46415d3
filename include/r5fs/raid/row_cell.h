/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on ranges of rows, first come, first served. A cell is embedded in the request or stripe
 * head that wants it; none is ever allocated.
 *
 *   write-out        exclusive, from its first member write to the last completion
 *   reconstruction   shared, while it reads the other members and derives
 *
 * Who writes into memory or discards from it needs no cell: images have an owner and states under
 * the journal's order lock, and what is being written out is frozen (journal/logged_stripe.h).
 *
 * A cell is the last lock taken: its holder waits for nothing but I/O already submitted, so every
 * waiter is served. Who may not sleep (the log thread) parks its cell and is told.
 */
#ifndef R5FS_RAID_ROW_CELL_H
#define R5FS_RAID_ROW_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/list.h"
#include "r5fs/base/units.h"

struct row_range {
    struct member_block first;
    uint64_t count; /* at least 1 */
};

struct row_cell {
    struct list_node node; /* [lock] */
    struct row_range rows; /* [lock] fixed from asking to unlock */
    bool exclusive;        /* [lock] likewise */
    bool torn;             /* [lock] the members hold half of a write-out */
    bool waiting;          /* [lock] parked: not told yet that it holds its rows */
    /* Parked: told once, by whoever frees the rows and with no lock of the cells held, that the
     * cell holds them now; it may be gone by then. May not wait. */
    void (*granted)(void *context);
    void *context; /* its owner's */
};

static inline struct row_range one_row(struct member_block row)
{
    return (struct row_range){row, 1};
}

struct row_cells {
    struct env_mutex lock;
    struct env_cond freed;  /* [lock] */
    struct list_node queue; /* [lock] in order of asking, holders among them */
};

void row_cells_init(struct row_cells *cells);
void row_cells_fini(struct row_cells *cells);
/* False when another cell that stands there excludes it. */
bool row_cell_try_lock(struct row_cells *cells,
                       struct row_cell *cell,
                       struct row_range rows,
                       bool exclusive);
/* -EIO when a torn cell is in the way: it may stay for long, so nobody waits for it. */
R5_MUST_CHECK int row_cell_lock_wait(struct row_cells *cells,
                                     struct row_cell *cell,
                                     struct row_range rows,
                                     bool exclusive);
/* True: the rows are held. False: the cell has its place in the queue, and `granted` will be told.
 * For cells that no torn one can exclude. */
bool row_cell_lock_or_park(struct row_cells *cells,
                           struct row_cell *cell,
                           struct row_range rows,
                           bool exclusive);
/* Whether a parked cell holds its rows by now. */
bool row_cell_is_held(struct row_cells *cells, const struct row_cell *cell);
/* The holder of an exclusive cell keeps it while it waits for room on a full device: its row's
 * blocks do not fit together, so nothing may be derived from them. Ends with the unlock. */
void row_cell_mark_torn(struct row_cells *cells, struct row_cell *cell);
/* Of a held cell, or of a parked one that gives up before it was told. */
void row_cell_unlock(struct row_cells *cells, struct row_cell *cell);

#endif
