/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks on ranges of rows, first come, first served. A cell that is asked for goes to the end of
 * the queue at once; its place there says whether it holds its rows already.
 *
 *   queue -> [7-9 shared] -> [2 excl.] -> [8 shared] -> [9-12 excl.]   -> [3 shared]
 *             holds           holds        holds         waits for 7-9    holds
 *
 * Invariants:
 *   C1  a cell holds its rows when no earlier cell in the queue excludes it; two cells exclude each
 *       other when their rows overlap, unless both are shared. Nothing is stored twice: holding is
 *       derived, `waiting` says only who is still to be told.
 *   C2  places are never swapped, so a later reader cannot keep a waiting writer out.
 *   C3  nobody waits for a torn cell: it is the one kind that outlives its holder's I/O.
 *   C4  a cell that is no longer `waiting` is not looked at again by who tells: its owner may see
 *       that it holds its rows before he is told, use it, leave, and end it.
 *
 * Liveness: the event that empties the queue is row_cell_unlock. A holder waits for I/O alone, or
 * merely tries or parks further cells; the log thread does nothing but write out while one of its
 * cells is parked. So no holder waits for a cell, and all are served.
 * Cost: a look at each cell before one's own; there are as many as rows in write-out and readers'
 * rounds together, some hundreds at the most.
 * Failure modes: a torn cell in the way is -EIO.
 * Thread: any.
 */
#include "r5fs/raid/row_cell.h"

#include <errno.h>

#include "r5fs/base/wait_check.h"

void row_cells_init(struct row_cells *cells)
{
    env_mutex_init(&cells->lock);
    env_cond_init(&cells->freed);
    list_init(&cells->queue);
}

void row_cells_fini(struct row_cells *cells)
{
    R5_CHECK(list_is_empty(&cells->queue));
    env_cond_fini(&cells->freed);
    env_mutex_fini(&cells->lock);
}

/* ---- who excludes whom ---------------------------------------------------------------------- */

static bool overlap(struct row_range a, struct row_range b)
{
    return a.first.nr < b.first.nr ? b.first.nr - a.first.nr < a.count
                                   : a.first.nr - b.first.nr < b.count;
}

/* [lock] C1: the first cell before this one that excludes it; NULL when it holds its rows. */
static const struct row_cell *find_excluding(struct row_cells *cells, const struct row_cell *cell)
{
    for (struct list_node *node = cells->queue.next; node != &cell->node; node = node->next) {
        const struct row_cell *other = container_of(node, struct row_cell, node);

        if ((cell->exclusive || other->exclusive) && overlap(other->rows, cell->rows)) {
            return other;
        }
    }
    return NULL;
}

/* [lock] */
static void
enter(struct row_cells *cells, struct row_cell *cell, struct row_range rows, bool exclusive)
{
    R5_CHECK(rows.count > 0);
    cell->rows = rows;
    cell->exclusive = exclusive;
    cell->torn = false;
    cell->waiting = false;
    list_add_tail(&cells->queue, &cell->node);
}

/* [lock] The first parked cell that holds its rows and is still to be told; NULL when none. */
static struct row_cell *find_granted(struct row_cells *cells)
{
    list_for_each (node, &cells->queue) {
        struct row_cell *cell = container_of(node, struct row_cell, node);

        if (cell->waiting && find_excluding(cells, cell) == NULL) {
            return cell;
        }
    }
    return NULL;
}

/* [lock, given back] Somebody left or may wait no longer: sleepers look again, parked cells that
 * hold their rows now are told (C4). */
static void unlock_and_tell(struct row_cells *cells)
{
    env_cond_broadcast(&cells->freed);
    for (struct row_cell *cell = find_granted(cells); cell != NULL; cell = find_granted(cells)) {
        void (*granted)(void *context) = cell->granted;
        void *context = cell->context;

        cell->waiting = false;
        env_mutex_unlock(&cells->lock);
        wait_check_forbid_kinds(WAIT_FOR_ANYTHING, "granted row cell");
        granted(context);
        wait_check_allow_kinds("granted row cell");
        env_mutex_lock(&cells->lock);
    }
    env_mutex_unlock(&cells->lock);
}

/* ---- asking --------------------------------------------------------------------------------- */

static bool hold(bool held)
{
    if (held) {
        wait_check_hold(POOL_RANK_ROW_CELL, "row cell");
    }
    return held;
}

bool row_cell_try_lock(struct row_cells *cells,
                       struct row_cell *cell,
                       struct row_range rows,
                       bool exclusive)
{
    env_mutex_lock(&cells->lock);
    enter(cells, cell, rows, exclusive);
    bool held = find_excluding(cells, cell) == NULL;
    if (!held) {
        list_remove(&cell->node);
    }
    env_mutex_unlock(&cells->lock);
    return hold(held);
}

int row_cell_lock_wait(struct row_cells *cells,
                       struct row_cell *cell,
                       struct row_range rows,
                       bool exclusive)
{
    wait_check_cell("row_cell_lock_wait");
    env_mutex_lock(&cells->lock);
    enter(cells, cell, rows, exclusive);
    for (;;) {
        const struct row_cell *other = find_excluding(cells, cell);
        if (other == NULL) {
            break;
        }
        if (other->torn) {
            list_remove(&cell->node);
            unlock_and_tell(cells); /* who stood behind us looks again */
            return -EIO;            /* C3 */
        }
        env_cond_wait(&cells->freed, &cells->lock);
    }
    env_mutex_unlock(&cells->lock);
    (void)hold(true); /* for the check only */
    return 0;
}

bool row_cell_lock_or_park(struct row_cells *cells,
                           struct row_cell *cell,
                           struct row_range rows,
                           bool exclusive)
{
    R5_CHECK(cell->granted != NULL);
    env_mutex_lock(&cells->lock);
    enter(cells, cell, rows, exclusive);
    const struct row_cell *other = find_excluding(cells, cell);
    R5_CHECK(other == NULL || !other->torn);
    cell->waiting = other != NULL;
    env_mutex_unlock(&cells->lock);
    return other == NULL;
}

bool row_cell_is_held(struct row_cells *cells, const struct row_cell *cell)
{
    env_mutex_lock(&cells->lock);
    bool held = list_is_linked(&cell->node) && !cell->waiting;
    env_mutex_unlock(&cells->lock);
    return held;
}

/* ---- leaving -------------------------------------------------------------------------------- */

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
    wait_check_drop(POOL_RANK_ROW_CELL);
    env_mutex_lock(&cells->lock);
    R5_CHECK(list_is_linked(&cell->node));
    list_remove(&cell->node);
    cell->waiting = false;
    unlock_and_tell(cells);
}
