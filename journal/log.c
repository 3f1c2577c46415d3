/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log's two ends.
 *
 *        tail                 durable_position         head
 *   ......| unit | unit | ... | newest durable unit | batch: unit unit ... |.......  (ring)
 *         '-- live rows' first units                  '-- composed, in flight
 *
 * Invariants:
 *   G1  only the holder of the writer role moves head and next_seq; seqs and positions are
 *       contiguous.
 *   G2  a unit is durable when the writes of its whole batch completed, and then one flush; the
 *       role stays where it is until then, so durability advances in order of seq (W1).
 *   G3  the tail is a durable unit's meta block: the first unit of the oldest live row, or the
 *       newest durable unit (W3, W3b). The log thread alone moves it, and `tail` follows the
 *       superblock.
 *   G4  at most LOG_UNITS_IN_FLIGHT_MAX units are in a batch; each says how many stood before it.
 *
 * Happy path: take the role; [lock] units, payloads [unlock]; log_batch_write; give the role.
 * Failure modes: any error of the journal device ends logging for good: journal_fail.c.
 * Thread: the leader of a commit, or the log thread.
 */
#include "log.h"

#include <errno.h>

#include "journal_fail.h"
#include "log_space.h"
#include "logged_stripe.h"
#include "r5fs/base/trace.h"

void log_init(struct journal *j)
{
    env_cond_init(&j->log.role_moved);
}

void log_fini(struct journal *j)
{
    R5_CHECK(j->log.role_next == j->log.role_serving);
    env_cond_fini(&j->log.role_moved);
}

/* ---- the writer role ------------------------------------------------------------------------ */

void log_role_take_wait(struct journal *j)
{
    env_mutex_lock(&j->lock);
    uint64_t ticket = j->log.role_next;

    j->log.role_next++;
    while (j->log.role_serving != ticket) {
        env_cond_wait(&j->log.role_moved, &j->lock);
    }
    env_mutex_unlock(&j->lock);
}

void log_role_give(struct journal *j)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(j->log.batch_count == 0);
    j->log.role_serving++;
    R5_CHECK(j->log.role_serving <= j->log.role_next);
    if (j->log.unit_promised) {
        j->log.unit_promised = false;
        pool_unreserve(&j->units.pool, 1);
        log_space_serve(j); /* who lacks a unit was refused this one while it was promised */
    }
    env_cond_broadcast(&j->log.role_moved);
    env_mutex_unlock(&j->lock);
}

bool log_writer_begin(struct journal *j)
{
    bool promised = true;

    log_role_take_wait(j);
    env_mutex_lock(&j->lock);
    if (j->thread.ready) {
        promised = pool_reserve(&j->units.pool, 1);
    } else {
        pool_reserve_sure(&j->units.pool, 1); /* before the log thread runs one is alone */
    }
    j->log.unit_promised = promised;
    env_mutex_unlock(&j->lock);
    if (!promised) {
        log_role_give(j);
    }
    return promised;
}

/* ---- space in the ring ---------------------------------------------------------------------- */

uint64_t log_used(const struct journal *j)
{
    return log_ring_distance(&j->log.ring, j->log.tail, j->log.head);
}

/* The oldest unit that must stay, by rows alone: 0 when none. */
static uint64_t oldest_live(const struct journal *j, struct log_block *out_position)
{
    struct list_node *first = list_first(&j->live);

    if (first == NULL) {
        return 0;
    }
    const struct stripe_generation *generation =
        container_of(first, struct stripe_generation, live);
    *out_position = generation->first_position;
    return generation->first_seq;
}

uint64_t log_used_by_live(const struct journal *j)
{
    struct log_block position = j->log.durable_position;
    uint64_t seq = oldest_live(j, &position);

    if (seq == 0 || seq > j->log.durable_seq) {
        position = j->log.durable_position;
    }
    return log_ring_distance(&j->log.ring, position, j->log.head);
}

struct log_tail log_tail_candidate(const struct journal *j)
{
    struct log_block position = j->log.durable_position;
    uint64_t seq = oldest_live(j, &position);

    if (j->reclaim.pin_seq != 0 && (seq == 0 || j->reclaim.pin_seq < seq)) {
        return (struct log_tail){j->reclaim.pin_position, j->reclaim.pin_seq};
    }
    if (seq == 0 || seq > j->log.durable_seq) {
        return (struct log_tail){j->log.durable_position, j->log.durable_seq}; /* W3b */
    }
    return (struct log_tail){position, seq};
}

/* ---- composing ------------------------------------------------------------------------------ */

static struct io_unit *last_unit(const struct log *log)
{
    return log->batch_count == 0 ? NULL : log->batch[log->batch_count - 1];
}

void log_head_advance(struct journal *j)
{
    /* JR says that there is room; a full ring would look empty. */
    R5_CHECK(log_used(j) + 1 < j->log.ring.blocks);
    j->log.head = log_ring_advance(&j->log.ring, j->log.head, 1);
}

static struct io_unit *unit_start(struct journal *j)
{
    struct log *log = &j->log;

    if (log->batch_count == LOG_UNITS_IN_FLIGHT_MAX) { /* G4 */
        return NULL;
    }
    struct io_unit *unit = log->unit_promised
                               ? io_unit_get_promised(&j->units, log->next_seq, log->head)
                               : io_unit_try_get(&j->units, log->next_seq, log->head);
    if (unit == NULL) {
        return NULL;
    }
    log->unit_promised = false;
    log->batch[log->batch_count] = unit;
    log->batch_count++;
    log->next_seq++;
    log_head_advance(j);
    return unit;
}

struct io_unit *log_unit_with_room(struct journal *j, uint32_t payloads)
{
    struct io_unit *unit = last_unit(&j->log);

    R5_CHECK(payloads <= LOG_UNIT_PAYLOADS_MAX);
    if (unit != NULL && unit->count + payloads <= LOG_UNIT_PAYLOADS_MAX) {
        return unit;
    }
    return unit_start(j);
}

static uint32_t dirty_of_row(const struct journal *j, const struct stripe_head *head)
{
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        const struct stripe_image *image = head->slots[slot].newest;
        count += image != NULL && image->state == LOGGED_DIRTY;
    }
    return count;
}

/* A row's dirty images go together: parted, they could need one parity more than was reserved
 * (JR). */
static void place_row(struct journal *j, struct io_unit *unit, struct stripe_head *head)
{
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        struct stripe_image *image = head->slots[slot].newest;

        if (image != NULL && image->state == LOGGED_DIRTY) {
            logged_stripe_place(j, image, unit->seq, unit->position);
            log_rows_note(j, head->row, unit->seq);
            io_unit_add_data(unit, logged_stripe_block_of(j, image), image, image->data);
            log_head_advance(j);
        }
    }
}

void log_place_dirty(struct journal *j)
{
    struct list_node *node = list_first(&j->dirty);

    while (node != NULL) {
        struct stripe_head *head = container_of(node, struct stripe_image, link)->head;
        struct io_unit *unit =
            log_rows_fit(j, head->row) ? log_unit_with_room(j, dirty_of_row(j, head)) : NULL;

        if (unit == NULL) {
            return;
        }
        place_row(j, unit, head);
        node = list_first(&j->dirty);
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Every unit ends WRITTEN; the first error. */
static int batch_transfer(struct journal *j, struct io_queue *queue)
{
    struct log *log = &j->log;
    struct io_unit_target target = {.file = log->file, .ring = &log->ring, .seed = log->seed};
    int error = 0;

    for (uint32_t i = 0; i < log->batch_count; i++) {
        target.undurable = i;
        trace_add("unit.submit", log->batch[i]->seq, log->batch[i]->count);
        io_unit_submit(log->batch[i], queue, &target);
    }
    io_drain(queue);
    for (uint32_t i = 0; i < log->batch_count; i++) {
        R5_CHECK(log->batch[i]->state == IO_UNIT_WRITTEN);
        trace_add("unit.done", log->batch[i]->seq, (uint64_t)-log->batch[i]->result);
        if (error == 0) {
            error = log->batch[i]->result;
        }
    }
    return error;
}

static void unit_durable(struct journal *j, struct io_unit *unit)
{
    for (uint32_t i = 0; i < unit->count; i++) {
        if (unit->payloads[i].image != NULL) {
            logged_stripe_unit_durable(j, unit->payloads[i].image);
        }
    }
    R5_CHECK(unit->seq == j->log.durable_seq + 1); /* G2 */
    j->log.durable_seq = unit->seq;
    j->log.durable_position = unit->position;
    j->log.bytes_written += (uint64_t)io_unit_blocks(unit) * BLOCK_BYTES;
}

/* Units back to their pool, the first one promised again. What failed leaves its images PLACED:
 * journal_fail_begin saw to them. */
static void batch_end(struct journal *j)
{
    struct log *log = &j->log;

    for (uint32_t i = 0; i < log->batch_count; i++) {
        io_unit_put(&j->units, log->batch[i], !log->unit_promised);
        log->unit_promised = true;
        log->batch[i] = NULL;
    }
    log->batch_count = 0;
}

int log_batch_write(struct journal *j, struct io_queue *queue)
{
    struct log *log = &j->log;

    env_mutex_lock(&j->lock);
    int failing = j->failing;
    env_mutex_unlock(&j->lock);
    if (failing != 0) {
        batch_end(j);
        return -EIO;
    }
    if (log->batch_count == 0) {
        return 0;
    }
    const char *what = "write";
    int error = batch_transfer(j, queue);
    if (error == 0) {
        what = "flush";
        error = io_flush(queue, log->file);
        trace_add("log.flushed", log->batch[log->batch_count - 1]->seq, (uint64_t)-error);
    }
    env_mutex_lock(&j->lock);
    for (uint32_t i = 0; i < log->batch_count && error == 0; i++) {
        unit_durable(j, log->batch[i]);
    }
    batch_end(j);
    if (error == 0) {
        log_space_serve(j);
    } else {
        journal_fail_begin(j, error, what);
    }
    env_mutex_unlock(&j->lock);
    return error == 0 ? 0 : -EIO;
}

int log_append_empty(struct journal *j, struct io_queue *queue)
{
    R5_CHECK(j->log.batch_count == 0);
    env_mutex_lock(&j->lock);
    struct io_unit *unit = unit_start(j);
    env_mutex_unlock(&j->lock);
    R5_CHECK(unit != NULL); /* the role's holder has all units */
    return log_batch_write(j, queue);
}

/* ---- the tail ------------------------------------------------------------------------------- */

int log_tail_move(struct journal *j, struct io_queue *queue)
{
    env_mutex_lock(&j->lock);
    struct log_tail to = log_tail_candidate(j);
    struct log_block from = j->log.tail;
    int failing = j->failing;
    env_mutex_unlock(&j->lock);
    if (failing != 0) {
        return -EIO;
    }
    if (to.position.nr == from.nr) {
        return 0;
    }
    trace_add("tail.move", from.nr, to.position.nr);
    int error = array_set_log_tail(j->array, queue, to.position); /* W3: before the space is used */
    env_mutex_lock(&j->lock);
    if (error == 0) {
        j->log.tail = to.position;
        log_rows_pass(j, to.seq); /* K1 */
        log_space_serve(j);
        trace_add("tail.moved", from.nr, to.position.nr);
    } else {
        journal_fail_begin(j, error, "superblock write");
    }
    env_mutex_unlock(&j->lock);
    return error == 0 ? 0 : -EIO;
}
