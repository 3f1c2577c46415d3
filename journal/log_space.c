/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reservations and the no-space lists. The invariant, the classes and the liveness argument stand
 * in log_space.h.
 *
 *   journal_reserve -> collector -> log_space_serve -> granted      (at once where there is room)
 *                                   ^ every place that frees calls it, in j->lock
 *
 * The images are promised by their pool. The blocks of the log and the room in the transaction are
 * credits, whose sums are kept here: show_credits brings the two pools that stand for them up to
 * date before anybody is served.
 *
 * Happy path: reserve, write / join, release. Failure modes: see log_space.h, last part.
 * Thread: any.
 */
#include "log_space.h"

#include <errno.h>

#include "commit.h"
#include "log.h"
#include "logged_stripe.h"
#include "r5fs/base/trace.h"
#include "r5fs/base/wait_check.h"
#include "reclaim.h"

/* One request must fit into an empty journal: its own 4 each, one empty unit, FIXED. */
#define LEAST_BLOCKS                                                                              \
    (LOG_SPACE_PER_BLOCK * (LOG_SPACE_DATA_STEP_MIN + LOG_SPACE_TXN_MIN) + LOG_SPACE_EMPTY_UNIT + \
     LOG_SPACE_FIXED)

/* Above the least: one transaction, one request for data take no more than these parts of the
 * ring. */
#define TXN_SHARE  8u
#define DATA_SHARE 32u

#define NS_PER_US 1000u

/* A journal file of 4 MiB has a ring of 3 MiB. */
_Static_assert(LEAST_BLOCKS <= 768, "the smallest journal file of 4 MiB is enough");
_Static_assert(MEMBERS_MAX <= LOG_UNIT_PAYLOADS_MAX, "a row's images fit into one unit");

uint64_t journal_least_blocks(const struct geometry *geometry)
{
    (void)geometry; /* no part of it: a row has never more blocks than a unit */
    return LEAST_BLOCKS;
}

void log_space_init(struct journal *j, uint32_t images_max)
{
    struct log_space *space = &j->space;
    uint64_t ring = j->log.ring.blocks;

    R5_CHECK(ring >= LEAST_BLOCKS);
    uint64_t data_min = LOG_SPACE_DATA_STEP_MIN;
    uint64_t txn = (ring - LOG_SPACE_FIXED - LOG_SPACE_PER_BLOCK * data_min) / TXN_SHARE;
    txn = max_u64(min_u64(txn, JOURNAL_TXN_BLOCKS_MAX), LOG_SPACE_TXN_MIN);
    if (j->options.kernel_safe) {
        txn = LOG_ROWS_MAX; /* K2 */
    }
    uint64_t data = max_u64(min_u64(ring / DATA_SHARE, LOG_SPACE_DATA_STEP_MAX), data_min);

    R5_CHECK(LOG_SPACE_PER_BLOCK * (data + txn) + LOG_SPACE_EMPTY_UNIT + LOG_SPACE_FIXED <= ring);
    space->images_max = images_max;
    space->txn_max = (uint32_t)min_u64(txn, images_max / 2);
    space->data_step = (uint32_t)min_u64(data, images_max / 4);
    R5_CHECK(space->txn_max > 0 && space->data_step > 0);
    collector_init(&space->collector);
    env_cond_init(&space->granted);
    space->watch[LOG_SPACE_DATA] = watch_open("parked writers", NULL);
    space->watch[LOG_SPACE_TXN] = watch_open("parked operations", NULL);
    pool_init_credits(
        &space->log_counter, "log space", POOL_RANK_LOG_SPACE, ring - LOG_SPACE_FIXED);
    pool_init_credits(&space->txn_counter, "transaction credit", POOL_RANK_TXN, space->txn_max);
}

void log_space_fini(struct journal *j)
{
    collector_fini(&j->space.collector);
    /* Of a transaction that was joined and never closed. */
    pool_unreserve(&j->cache.images, j->space.outstanding);
    pool_fini(&j->space.txn_counter);
    pool_fini(&j->space.log_counter);
    watch_close(j->space.watch[LOG_SPACE_TXN]);
    watch_close(j->space.watch[LOG_SPACE_DATA]);
    env_cond_fini(&j->space.granted);
}

uint64_t log_space_reserved(const struct log_space *space)
{
    return LOG_SPACE_PER_BLOCK * space->outstanding + LOG_SPACE_PER_DIRTY * space->dirty +
           LOG_SPACE_PER_UNPLACED * space->unplaced;
}

void log_space_verify(const struct journal *j)
{
    const struct log_space *space = &j->space;

    /* The empty unit may be in the log already while the tail is on its way to it. */
    R5_CHECK(log_used(j) + log_space_reserved(space) + LOG_UNIT_BLOCKS_MAX <= j->log.ring.blocks);
    R5_CHECK(space->images_used + space->outstanding <= space->images_max);
    R5_CHECK(space->txn_used + space->txn_outstanding <= space->txn_max);
    R5_CHECK(space->txn_used + space->txn_outstanding <= space->outstanding);
    R5_CHECK(j->cache.images.stats.reserved == space->outstanding);
    R5_CHECK(j->cache.images.stats.in_use == space->images_used);
}

static void show_credits(struct journal *j)
{
    struct log_space *space = &j->space;

    pool_credits_set(&space->log_counter, log_used(j) + log_space_reserved(space));
    pool_credits_set(&space->txn_counter, space->txn_used + space->txn_outstanding);
}

bool log_space_wants_room(const struct journal *j)
{
    return j->space.wanted[LOG_SPACE_NO_IMAGE] || j->space.wanted[LOG_SPACE_NO_LOG];
}

bool log_space_fits_if_used(const struct journal *j, uint64_t used)
{
    return used + log_space_reserved(&j->space) + j->space.wanted_log + LOG_SPACE_FIXED <=
           j->log.ring.blocks;
}

/* ---- granting ------------------------------------------------------------------------------- */

static struct journal_reservation *of_waiter(struct reservation *reservation)
{
    return container_of(reservation, struct journal_reservation, wait);
}

static enum log_space_cause cause_of(const struct journal *j, const struct pool *lacks)
{
    if (lacks == &j->cache.images) {
        return LOG_SPACE_NO_IMAGE;
    }
    if (lacks == &j->units.pool) {
        return LOG_SPACE_NO_UNIT;
    }
    if (lacks == &j->cache.encode) {
        return LOG_SPACE_NO_BUFFER;
    }
    return lacks == &j->space.log_counter ? LOG_SPACE_NO_LOG : LOG_SPACE_NO_TXN_ROOM;
}

/* What the first of a class lacks: room in the transaction also when none is let in. */
static enum log_space_cause cause_of_class(const struct journal *j, unsigned class)
{
    const struct reservation *first = collector_first(&j->space.collector, class);
    bool shut = (j->space.collector.shut >> class & 1) != 0;

    if (first == NULL) {
        return LOG_SPACE_NONE;
    }
    return shut ? LOG_SPACE_NO_TXN_ROOM : cause_of(j, first->lacks);
}

static void grant(struct reservation *reservation)
{
    struct journal_reservation *r = of_waiter(reservation);
    struct log_space *space = &r->journal->space;

    r->data_blocks = r->want_data;
    r->meta_blocks = r->want_meta;
    r->granted = true;
    space->outstanding += (uint64_t)r->want_data + r->want_meta;
    space->txn_outstanding += r->want_meta;
    env_cond_broadcast(&space->granted);
}

static void refuse(struct journal *j, struct reservation *reservation, int error)
{
    of_waiter(reservation)->error = error;
    collector_remove(&j->space.collector, reservation);
    env_cond_broadcast(&j->space.granted);
}

/* Why no wait for images or log space would end now, or 0. */
static int dead_end(const struct journal *j)
{
    if (commit_is_needed(j) || j->commit.leading || j->space.outstanding > 0) {
        return 0;
    }
    if (j->reclaim.stuck) {
        return -ENOSPC; /* a member's host is full: better said than waited for */
    }
    return reclaim_is_hopeless(j) ? -EIO : 0;
}

/* Of the first waiters who lack images or log space, the older one: is its wait at a dead end? True
 * when it was refused. */
static bool refuse_at_dead_end(struct journal *j)
{
    struct reservation *oldest = NULL;

    for (unsigned class = LOG_SPACE_TXN; class < LOG_SPACE_CLASSES; class ++) {
        struct reservation *first = collector_first(&j->space.collector, class);
        enum log_space_cause cause = cause_of_class(j, class);

        if ((cause == LOG_SPACE_NO_IMAGE || cause == LOG_SPACE_NO_LOG) &&
            (oldest == NULL || first->order < oldest->order)) {
            oldest = first;
        }
    }
    int error = oldest == NULL || pool_faults_active() ? 0 : dead_end(j);
    if (error != 0) {
        refuse(j, oldest, error);
    }
    return error != 0;
}

/* What the first waiters want, for the log thread to decide by. */
static void note_wanted(struct journal *j)
{
    struct log_space *space = &j->space;

    for (unsigned i = 0; i < LOG_SPACE_CAUSES; i++) {
        space->wanted[i] = false;
    }
    space->wanted_log = 0;
    for (unsigned class = LOG_SPACE_TXN; class < LOG_SPACE_CLASSES; class ++) {
        enum log_space_cause cause = cause_of_class(j, class);

        space->wanted[cause] = true;
        if (cause == LOG_SPACE_NO_LOG) {
            const struct journal_reservation *r =
                of_waiter(collector_first(&space->collector, class));
            uint64_t want = LOG_SPACE_PER_BLOCK * ((uint64_t)r->want_data + r->want_meta);

            space->wanted_log = max_u64(space->wanted_log, want);
        }
    }
}

/* Why no request can ever be served, or 0. */
static int refusal(const struct journal *j)
{
    if (j->mode == JOURNAL_READ_ONLY || j->mode == JOURNAL_FAILED) {
        return -EROFS;
    }
    return j->reclaim.error != 0 ? -EIO : 0;
}

static void fail_waiters(struct journal *j, int error)
{
    for (unsigned class = LOG_SPACE_TXN; class < LOG_SPACE_CLASSES; class ++) {
        struct reservation *first = collector_first(&j->space.collector, class);

        while (first != NULL) {
            refuse(j, first, error);
            first = collector_first(&j->space.collector, class);
        }
    }
}

/* Brings up to date what is served from, and whom. */
static void refresh(struct journal *j)
{
    unsigned all = 1u << LOG_SPACE_TXN | 1u << LOG_SPACE_DATA;

    show_credits(j);
    j->space.collector.shut = log_rows_gate_is_shut(j) ? all : 0;
}

void log_space_serve(struct journal *j)
{
    int error = refusal(j);
    bool refused = true;

    refresh(j);
    if (error != 0) {
        fail_waiters(j, error);
    }
    while (refused) {
        collector_serve(&j->space.collector);
        refused = refuse_at_dead_end(j);
    }
    note_wanted(j);
    for (unsigned i = LOG_SPACE_NO_TXN_ROOM; i < LOG_SPACE_CAUSES; i++) {
        if (j->space.wanted[i]) {
            env_cond_signal(&j->thread.wake);
        }
    }
}

/* ---- showing -------------------------------------------------------------------------------- */

void log_space_count_parked(const struct journal *j, struct journal_status *status)
{
    static const enum journal_lack lacks[LOG_SPACE_CAUSES] = {
        [LOG_SPACE_NO_TXN_ROOM] = JOURNAL_LACKS_TXN_ROOM,
        [LOG_SPACE_NO_IMAGE] = JOURNAL_LACKS_IMAGE,
        [LOG_SPACE_NO_LOG] = JOURNAL_LACKS_LOG,
        [LOG_SPACE_NO_UNIT] = JOURNAL_LACKS_UNIT,
        [LOG_SPACE_NO_BUFFER] = JOURNAL_LACKS_BUFFER,
    };
    static const enum journal_class classes[LOG_SPACE_CLASSES] = {
        [LOG_SPACE_WRITE_OUT] = JOURNAL_CLASS_WRITE_OUT,
        [LOG_SPACE_TXN] = JOURNAL_CLASS_TXN,
        [LOG_SPACE_DATA] = JOURNAL_CLASS_DATA,
    };

    /* Who stands behind another of its class waits for what that one lacks. */
    for (unsigned class = 0; class < LOG_SPACE_CLASSES; class ++) {
        enum log_space_cause cause = cause_of_class(j, class);

        list_for_each (node, &j->space.collector.waiting[class]) {
            status->parked_by[lacks[cause]][classes[class]]++;
        }
    }
}

/* ---- the door ------------------------------------------------------------------------------- */

static const char *cause_name(enum log_space_cause cause)
{
    switch (cause) {
    case LOG_SPACE_NO_TXN_ROOM: return "no room in the transaction";
    case LOG_SPACE_NO_IMAGE: return "no image";
    case LOG_SPACE_NO_LOG: return "no log space";
    case LOG_SPACE_NO_UNIT: return "no io unit";
    case LOG_SPACE_NO_BUFFER: return "no encode buffer";
    case LOG_SPACE_NONE:
    case LOG_SPACE_CAUSES: break;
    }
    return "behind others";
}

/* Waits on the no-space list until granted or refused. */
static void park_wait(struct journal *j, struct journal_reservation *r)
{
    enum log_space_cause cause = cause_of_class(j, r->wait.class);
    struct watch *watch = j->space.watch[r->wait.class];

    trace_add("reserve.park", cause, (uint64_t)r->want_data + r->want_meta);
    watch_enter(watch, cause_name(cause), r->want_data, r->want_meta);
    while (list_is_linked(&r->wait.node)) {
        env_cond_wait(&j->space.granted, &j->lock);
    }
    watch_leave(watch);
    watch_moved_here();
    trace_add("reserve.served", r->granted, (env_now_ns() - r->wait.parked_ns) / NS_PER_US);
}

static void
ask(struct journal *j, struct journal_reservation *r, uint32_t data_blocks, uint32_t meta_blocks)
{
    uint64_t blocks = (uint64_t)data_blocks + meta_blocks;

    r->journal = j;
    r->want_data = data_blocks;
    r->want_meta = meta_blocks;
    r->granted = false;
    r->interrupted = false;
    r->error = 0;
    r->wait = (struct reservation){
        .class = meta_blocks > 0 ? LOG_SPACE_TXN : LOG_SPACE_DATA,
        .wants = {{&j->cache.images, blocks},
                  {&j->space.log_counter, LOG_SPACE_PER_BLOCK * blocks},
                  {&j->space.txn_counter, meta_blocks}},
        .granted = grant,
    };
    list_init(&r->wait.node);
}

int journal_reserve(struct journal *j,
                    struct journal_reservation *r,
                    uint32_t data_blocks,
                    uint32_t meta_blocks)
{
    R5_CHECK(r->data_blocks == 0 && r->meta_blocks == 0);
    wait_check_memory(POOL_RANK_IMAGE, "journal_reserve");
    env_mutex_lock(&j->lock);
    ask(j, r, data_blocks, meta_blocks);
    r->error = refusal(j);
    if (r->error == 0 && (data_blocks > j->space.data_step || meta_blocks > j->space.txn_max)) {
        r->error = -EINVAL;
    }
    if (r->error == 0) {
        j->thread.last_use_ns = env_now_ns();
        refresh(j);
        if (!collector_reserve_or_park(&j->space.collector, &r->wait)) {
            log_space_serve(j); /* it may be refused, and the log thread is to know what it lacks */
            park_wait(j, r);
        }
    }
    int error = r->granted ? 0 : r->error;
    env_mutex_unlock(&j->lock);
    if (error == 0) {
        wait_check_hold(POOL_RANK_TXN, "journal reservation");
    }
    return error;
}

void journal_interrupt(struct journal *j, struct journal_reservation *r)
{
    env_mutex_lock(&j->lock);
    if (r->wait.node.next != NULL && list_is_linked(&r->wait.node)) {
        r->interrupted = true;
        refuse(j, &r->wait, -EINTR);
        log_space_serve(j); /* it may have stood before others */
    }
    env_mutex_unlock(&j->lock);
}

void journal_release(struct journal *j, struct journal_reservation *r)
{
    struct log_space *space = &j->space;

    wait_check_drop(POOL_RANK_TXN);
    if (r->data_blocks == 0 && r->meta_blocks == 0) {
        return;
    }
    env_mutex_lock(&j->lock);
    uint64_t unused = (uint64_t)r->data_blocks + r->meta_blocks;
    R5_CHECK(space->outstanding >= unused && space->txn_outstanding >= r->meta_blocks);
    space->outstanding -= unused;
    space->txn_outstanding -= r->meta_blocks;
    pool_unreserve(&j->cache.images, unused);
    r->data_blocks = 0;
    r->meta_blocks = 0;
    log_space_serve(j);
    env_mutex_unlock(&j->lock);
}

struct journal_limits journal_limits(const struct journal *j)
{
    return (struct journal_limits){.data_step = j->space.data_step, .meta_step = j->space.txn_max};
}

/* ---- what was reserved is used ----------------------------------------------------------- */

void log_space_use_data(struct journal *j, struct journal_reservation *r)
{
    R5_CHECK(r->data_blocks > 0);
    R5_CHECK(j->space.outstanding > 0);
    r->data_blocks--;
    j->space.outstanding--;
}

void log_space_close_txn(struct journal *j)
{
    uint64_t unused = j->cache.images.stats.reserved - (j->space.outstanding - j->space.txn_used);

    R5_CHECK(j->space.outstanding >= j->space.txn_used);
    j->space.outstanding -= j->space.txn_used;
    j->space.txn_used = 0;
    pool_unreserve(&j->cache.images, unused); /* joined, and not in the transaction at its end */
}

/* Something volatile exists from now on: the commit timer runs. */
static void note_dirty(struct journal *j)
{
    bool first = j->oldest_dirty_ns == 0;

    if (first) {
        j->oldest_dirty_ns = env_now_ns();
    }
    /* Whoever waits may wait for just this to be committed: nothing could be, when it parked. */
    if (first || j->space.collector.parked > 0) {
        env_cond_signal(&j->thread.wake);
    }
}

/* And nothing any more. */
static void note_clean(struct journal *j)
{
    if (!commit_is_needed(j)) {
        j->oldest_dirty_ns = 0;
    }
}

void journal_txn_join(struct journal *j, struct journal_reservation *r)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(r->meta_blocks > 0);
    R5_CHECK(j->space.txn_outstanding > 0);
    r->meta_blocks--;
    j->space.txn_outstanding--;
    j->space.txn_used++;
    note_dirty(j);
    env_mutex_unlock(&j->lock);
}

void journal_txn_leave(struct journal *j, struct journal_reservation *r)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(j->space.txn_used > 0);
    j->space.txn_used--;
    j->space.txn_outstanding++;
    r->meta_blocks++;
    note_clean(j);
    env_mutex_unlock(&j->lock);
}

void journal_write(struct journal *j,
                   struct journal_reservation *r,
                   struct fs_block block,
                   const uint8_t *data)
{
    R5_CHECK(block.nr < j->geometry->volume_blocks);
    env_mutex_lock(&j->lock);
    if (logged_stripe_write(j, block, data)) {
        log_space_use_data(j, r);
    }
    note_dirty(j);
    env_mutex_unlock(&j->lock);
}

/* Whichever is less: looking each block up, or walking all that is dirty. */
void journal_discard(struct journal *j, struct fs_block first, uint64_t count)
{
    env_mutex_lock(&j->lock);
    if (count <= j->space.dirty) {
        for (uint64_t i = 0; i < count; i++) {
            logged_stripe_discard(j, fs_block_add(first, i));
        }
    } else {
        list_for_each_safe (node, after, &j->dirty) {
            struct fs_block block =
                logged_stripe_block_of(j, container_of(node, struct stripe_image, link));

            if (block.nr >= first.nr && block.nr - first.nr < count) {
                logged_stripe_discard(j, block);
            }
        }
    }
    note_clean(j);
    log_space_serve(j);
    env_mutex_unlock(&j->lock);
}
