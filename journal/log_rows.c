/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The distinct rows that the log names, for the option kernel_safe (docs/adr/0017).
 *
 *         durable tail                                   head
 *   ......| unit seq 7: rows 3, 11 | seq 8: rows 3, 4 | .....       live: 3 (8), 11 (7) in bucket 3
 *                                                                         4 (8)         in bucket 4
 *   commit:  all that is dirty, and the transaction, fit beside `live`?
 *     yes    everything is placed, the transaction closes
 *     no     client unlocked, what fits is logged, role given; the log gets emptied; again
 *
 * Invariants (j->lock):
 *   K1  when `limited`, and outside the exception below, `live` holds every row that a payload from
 *       the durable tail to the head names: the limit holds at each moment at which power can go.
 *       A row leaves only when the superblock with a tail behind its newest payload is durable.
 *   K2  a transaction has at most LOG_ROWS_MAX blocks (log_space_init), so in an empty log it fits.
 *   K3  a parity payload never adds a row: its data payloads are not before the tail.
 *
 * Why a commit comes to its end (beside log_space.h):
 *   - Who waits for an empty log holds nothing: no role, no lock of the client's, no reservation,
 *     and does not lead; the log thread does not wait for it but empties the log, which takes
 *     nothing but the role. So it can be waited for.
 *   - The log gets empty: until then no commit begins, so what is logged only shrinks.
 *   - Each try places at least one row of what is dirty in an empty log. What comes meanwhile comes
 *     on a reservation; after tries_max tries none is granted (gate), the operations that have one
 *     end by themselves, and what is dirty only shrinks. When nothing is, the transaction fits
 *     (K2).
 *   - The gate opens when the transaction closed, when nothing is volatile any more, and does not
 *     matter when the journal failed. While it is shut the log thread commits.
 * The exception: while write-out has halted (a member's host is full, rows that cannot be derived,
 * the array or the journal failed) the log cannot be emptied, and no replay would get further. Then
 * durability goes before the limit: what has no place in `live` is noted in beyond_seq alone. As
 * soon as write-out goes on nothing is placed until the log was emptied.
 *
 * Happy path: fit_all, note ..., pass. Failure modes: the exception.
 * Thread: any, with the lock; the opening one.
 */
#include "log_rows.h"

#include <string.h>

#include "commit.h"
#include "log.h"
#include "logged_stripe.h"
#include "reclaim.h"

#define TRIES_LEAST  3u   /* beyond what was dirty at first */
#define ROWS_PER_TRY 128u /* about what an empty log takes */

/* ---- sets ----------------------------------------------------------------------------------- */

static struct log_row *set_find(struct log_rows_set *set, uint64_t row)
{
    uint32_t bucket = (uint32_t)(row % LOG_ROWS_BUCKETS);

    for (uint32_t i = 0; i < set->count[bucket]; i++) {
        if (set->rows[bucket][i].row == row) {
            return &set->rows[bucket][i];
        }
    }
    return NULL;
}

/* False when its bucket is full. */
static bool set_add(struct log_rows_set *set, uint64_t row, uint64_t seq)
{
    uint32_t bucket = (uint32_t)(row % LOG_ROWS_BUCKETS);
    struct log_row *known = set_find(set, row);

    if (known == NULL && set->count[bucket] == LOG_ROWS_MAX) {
        return false;
    }
    if (known == NULL) {
        known = &set->rows[bucket][set->count[bucket]];
        known->row = row;
        set->count[bucket]++;
    }
    known->seq = seq;
    return true;
}

static bool set_is_empty(const struct log_rows_set *set)
{
    uint32_t rows = 0;

    for (uint32_t bucket = 0; bucket < LOG_ROWS_BUCKETS; bucket++) {
        rows += set->count[bucket];
    }
    return rows == 0;
}

/* Without the rows that no unit from `seq` on names. */
static void set_drop_before(struct log_rows_set *set, uint64_t seq)
{
    for (uint32_t bucket = 0; bucket < LOG_ROWS_BUCKETS; bucket++) {
        uint32_t kept = 0;

        for (uint32_t i = 0; i < set->count[bucket]; i++) {
            if (set->rows[bucket][i].seq >= seq) {
                set->rows[bucket][kept] = set->rows[bucket][i];
                kept++;
            }
        }
        set->count[bucket] = kept;
    }
}

/* ---- placing -------------------------------------------------------------------------------- */

void log_rows_enforce(struct journal *j, bool commit_runs)
{
    j->rows.enforced = commit_runs && j->rows.limited && !reclaim_is_halted(j);
}

bool log_rows_fit(const struct journal *j, struct member_block row)
{
    const struct log_rows *rows = &j->rows;
    uint32_t bucket = (uint32_t)(row.nr % LOG_ROWS_BUCKETS);

    if (!rows->enforced) {
        return true;
    }
    for (uint32_t i = 0; i < rows->live.count[bucket]; i++) {
        if (rows->live.rows[bucket][i].row == row.nr) {
            return true;
        }
    }
    return rows->beyond_seq == 0 && rows->live.count[bucket] < LOG_ROWS_MAX;
}

bool log_rows_fit_all(struct journal *j, uint32_t txn_count)
{
    struct log_rows *rows = &j->rows;
    bool fit = rows->beyond_seq == 0;

    if (!rows->enforced) {
        return true;
    }
    rows->needed = rows->live;
    for (struct list_node *node = j->dirty.next; fit && node != &j->dirty; node = node->next) {
        const struct stripe_image *image = container_of(node, struct stripe_image, link);

        fit = set_add(&rows->needed, image->head->row.nr, 0);
    }
    for (uint32_t i = 0; fit && i < txn_count; i++) {
        struct placement place = geometry_locate(j->geometry, j->commit.address[i]);

        fit = set_add(&rows->needed, place.row.nr, 0);
    }
    return fit;
}

void log_rows_note(struct journal *j, struct member_block row, uint64_t seq)
{
    struct log_rows *rows = &j->rows;

    if (rows->limited && !set_add(&rows->live, row.nr, seq)) {
        R5_CHECK(!rows->enforced); /* K1 */
        rows->beyond_seq = seq;
    }
}

/* ---- room ----------------------------------------------------------------------------------- */

void log_rows_pass(struct journal *j, uint64_t seq)
{
    struct log_rows *rows = &j->rows;

    set_drop_before(&rows->live, seq);
    if (rows->beyond_seq < seq) {
        rows->beyond_seq = 0;
    }
    if (rows->beyond_seq == 0 && set_is_empty(&rows->live)) {
        rows->wanted = false;
    }
}

void log_rows_want(struct journal *j)
{
    struct log_rows *rows = &j->rows;

    if (rows->tries == 0) {
        rows->tries_max = TRIES_LEAST + (uint32_t)(j->space.dirty / ROWS_PER_TRY);
    }
    rows->tries++;
    rows->gate = rows->tries > rows->tries_max;
    /* Nothing in the log: what was dirty was freed again meanwhile, or will fit next time. */
    rows->wanted = rows->beyond_seq != 0 || !set_is_empty(&rows->live);
}

bool log_rows_is_waited_for(const struct journal *j)
{
    return j->rows.wanted && !reclaim_is_halted(j);
}

void log_rows_closed(struct journal *j)
{
    j->rows.tries = 0;
    j->rows.gate = false;
}

bool log_rows_gate_is_shut(const struct journal *j)
{
    return j->rows.gate && commit_is_needed(j);
}

uint32_t log_rows_fullest(const struct journal *j)
{
    uint32_t most = 0;

    for (uint32_t bucket = 0; bucket < LOG_ROWS_BUCKETS; bucket++) {
        most = j->rows.live.count[bucket] > most ? j->rows.live.count[bucket] : most;
    }
    return most;
}

/* ---- open ----------------------------------------------------------------------------------- */

int log_rows_begin(struct journal *j, struct io_queue *queue)
{
    if (!j->options.kernel_safe) {
        return 0;
    }
    int error = j->live_rows > 0 ? reclaim_write_out_recovered(j, queue) : 0;
    if (error == 0) {
        error = reclaim_make_empty(j, queue);
    }
    j->rows.limited = true;
    return error;
}
