/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on rows, first come, first served. A cell that is asked for goes to the end of its bucket's
 * list at once; its place in the list says whether it holds the row already.
 *
 *   bucket -> [row 7 shared] -> [row 263 excl.] -> [row 7 shared] -> [row 7 excl.]
 *                holds              holds              holds         waits for both cells of row 7
 *
 * Invariants:
 *   C1  a cell holds its row when no earlier cell of the same row in the list excludes it; two
 *       cells exclude each other unless both are shared. Nothing is stored twice: holding is
 *       derived.
 *   C2  places are never swapped, so a later reader cannot keep a waiting writer out.
 *   C3  nobody waits for a torn cell: it is the one kind that outlives its holder's I/O.
 *
 * Liveness: the event that empties the list is row_cell_unlock. A holder waits for I/O only, or for
 * a cell of a higher row (write-out takes its rows in ascending order), or it merely tries
 * (row_cell_try_lock): so the holder of the highest row never waits for a cell, and all are served.
 * Failure modes: a torn cell in the way is -EIO.
 * Thread: any.
 */
#include "r5fs/raid/row_cell.h"

#include <errno.h>

#include "r5fs/base/check.h"

_Static_assert((ROW_CELL_BUCKETS & (ROW_CELL_BUCKETS - 1)) == 0, "bucket = low bits of the row");

void row_cells_init(struct row_cells *cells)
{
    env_mutex_init(&cells->lock);
    env_cond_init(&cells->freed);
    for (unsigned i = 0; i < ROW_CELL_BUCKETS; i++) {
        list_init(&cells->held[i]);
    }
}

void row_cells_fini(struct row_cells *cells)
{
    for (unsigned i = 0; i < ROW_CELL_BUCKETS; i++) {
        R5_CHECK(list_is_empty(&cells->held[i]));
    }
    env_cond_fini(&cells->freed);
    env_mutex_fini(&cells->lock);
}

static struct list_node *cell_bucket(struct row_cells *cells, struct member_block row)
{
    return &cells->held[row.nr & (ROW_CELL_BUCKETS - 1)];
}

/* [lock] C1: the first cell that stands before `end` and excludes one of this row and kind. */
static const struct row_cell *cell_find_excluding(struct list_node *bucket,
                                                  const struct list_node *end,
                                                  struct member_block row,
                                                  bool exclusive)
{
    for (struct list_node *node = bucket->next; node != end; node = node->next) {
        const struct row_cell *other = container_of(node, struct row_cell, node);
        if (other->row.nr == row.nr && (exclusive || other->exclusive)) {
            return other;
        }
    }
    return NULL;
}

static void
cell_enter(struct list_node *bucket, struct row_cell *cell, struct member_block row, bool exclusive)
{
    cell->row = row;
    cell->exclusive = exclusive;
    cell->torn = false;
    list_add_tail(bucket, &cell->node);
}

bool row_cell_try_lock(struct row_cells *cells,
                       struct row_cell *cell,
                       struct member_block row,
                       bool exclusive)
{
    struct list_node *bucket = cell_bucket(cells, row);

    env_mutex_lock(&cells->lock);
    bool free = cell_find_excluding(bucket, bucket, row, exclusive) == NULL;
    if (free) {
        cell_enter(bucket, cell, row, exclusive);
    }
    env_mutex_unlock(&cells->lock);
    return free;
}

int row_cell_lock_wait(struct row_cells *cells,
                       struct row_cell *cell,
                       struct member_block row,
                       bool exclusive)
{
    struct list_node *bucket = cell_bucket(cells, row);
    int error = 0;

    env_mutex_lock(&cells->lock);
    cell_enter(bucket, cell, row, exclusive);
    for (;;) {
        const struct row_cell *other = cell_find_excluding(bucket, &cell->node, row, exclusive);
        if (other == NULL) {
            break;
        }
        if (other->torn) {
            list_remove(&cell->node);
            env_cond_broadcast(&cells->freed); /* who stood behind us looks again */
            error = -EIO;                      /* C3 */
            break;
        }
        env_cond_wait(&cells->freed, &cells->lock);
    }
    env_mutex_unlock(&cells->lock);
    return error;
}

void row_cell_mark_torn(struct row_cells *cells, struct row_cell *cell)
{
    env_mutex_lock(&cells->lock);
    R5_CHECK(cell->exclusive);
    cell->torn = true;
    env_cond_broadcast(&cells->freed);
    env_mutex_unlock(&cells->lock);
}

void row_cell_unlock(struct row_cells *cells, struct row_cell *cell)
{
    env_mutex_lock(&cells->lock);
    R5_CHECK(list_is_linked(&cell->node));
    list_remove(&cell->node);
    env_cond_broadcast(&cells->freed);
    env_mutex_unlock(&cells->lock);
}
