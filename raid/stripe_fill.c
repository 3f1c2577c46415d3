/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads what the parity of rows still needs; the table of cases is in stripe.c.
 *
 *   plan each row -> read all rows at once -> rows with a failed read plan anew -> FILLED
 *                                          \-> no plan without what failed -> FAILED
 *
 * The members' rows are read without their cells: write-out is their only writer, and this is its
 * thread.
 *
 * Invariant:
 *   ST9  a block that could not be read is avoided when the row is planned anew. There are two
 *        plans that read, so a row is planned three times at most.
 *
 * Failure modes: a failed request for many rows is read again row by row first. A lost member and
 * an unreadable block in one row: the row fails with -EIO, the array goes on.
 * Thread: the one that writes rows out; waits for its reads only.
 */
#include <errno.h>
#include <inttypes.h>

#include "r5fs/base/msg.h"
#include "stripe_internal.h"

#define MODULE "stripe"

struct fill {
    struct stripe_cache *cache;
    struct io_queue *queue;
    struct stripe_head **heads;
    uint32_t count;
    uint32_t lost; /* the array's lost slot as a bit, or 0 */
    bool array_failed;
    int error; /* the first */
};

enum plan {
    PLAN_NOTHING,     /* no parity to be made */
    PLAN_READ_MODIFY, /* old parity and old targets */
    PLAN_RECONSTRUCT, /* the data slots that are no targets */
    PLAN_IMPOSSIBLE,
};

static uint32_t target_slots(const struct fill *fill, const struct stripe_head *head)
{
    uint32_t slots = 0;

    for (uint32_t slot = 0; slot < fill->cache->array->geometry.slots; slot++) {
        slots |= (uint32_t)(head->slots[slot].target != NULL) << slot;
    }
    return slots;
}

static uint32_t slots_count(uint32_t slots)
{
    uint32_t count = 0;

    for (; slots != 0; slots &= slots - 1) {
        count++;
    }
    return count;
}

static enum plan plan_row(const struct fill *fill, const struct stripe_head *head)
{
    const struct geometry *geometry = &fill->cache->array->geometry;
    uint32_t parity = UINT32_C(1) << geometry_parity_slot(geometry, head->row);
    uint32_t all = (uint32_t)((UINT64_C(1) << geometry->slots) - 1);
    uint32_t targets = target_slots(fill, head);
    uint32_t others = all & ~(targets | parity);
    uint32_t bad = head->unreadable | fill->lost;
    bool may_modify = (bad & (targets | parity)) == 0 && !head->torn; /* ST7 */
    bool may_reconstruct = (bad & others) == 0;

    R5_CHECK(targets != 0);
    R5_CHECK((targets & parity) == 0);
    if (fill->array_failed) {
        return PLAN_IMPOSSIBLE;
    }
    if (fill->lost == parity) {
        return PLAN_NOTHING;
    }
    if (may_modify && may_reconstruct) {
        bool fewer = slots_count(others) <= slots_count(targets) + 1;
        return fewer ? PLAN_RECONSTRUCT : PLAN_READ_MODIFY;
    }
    if (may_reconstruct) {
        return PLAN_RECONSTRUCT;
    }
    return may_modify ? PLAN_READ_MODIFY : PLAN_IMPOSSIBLE;
}

static bool plan_reads_slot(enum plan plan, const struct stripe_slot *place, bool is_parity)
{
    if (plan == PLAN_RECONSTRUCT) {
        return !is_parity && place->target == NULL;
    }
    return plan == PLAN_READ_MODIFY && (is_parity || place->target != NULL);
}

/* Takes the row's buffers and adds its reads. */
static void fill_row_begin(struct fill *fill, struct stripe_head *head)
{
    struct stripe_cache *cache = fill->cache;
    uint32_t parity_slot = geometry_parity_slot(&cache->array->geometry, head->row);
    enum plan plan = plan_row(fill, head);

    head->restart = false;
    head->reconstruct = plan == PLAN_RECONSTRUCT;
    head->parity_missing = plan == PLAN_NOTHING;
    if (plan == PLAN_IMPOSSIBLE) {
        msg_warn(MODULE, "failed row=%" PRIu64 " cause=\"too much is lost\"", head->row.nr);
        stripe_fail(cache, head);
        fill->error = fill->error != 0 ? fill->error : -EIO;
        return;
    }
    if (plan != PLAN_NOTHING) {
        head->parity = stripe_take_encode_buffer(cache);
    }
    for (uint32_t slot = 0; slot < cache->array->geometry.slots; slot++) {
        struct stripe_slot *place = &head->slots[slot];
        bool is_parity = slot == parity_slot;
        if (!plan_reads_slot(plan, place, is_parity)) {
            continue;
        }
        uint8_t *buffer = is_parity ? head->parity : stripe_take_encode_buffer(cache);
        if (!is_parity) {
            place->old = buffer;
        }
        member_batch_add(cache->batch, slot, head->row, buffer);
    }
}

/* A request failed: which of its rows cannot be read even by themselves? */
static void fill_read_failed(void *context, const struct batch_request *request)
{
    struct fill *fill = context;
    struct array *array = fill->cache->array;

    for (uint32_t i = 0; i < fill->count; i++) {
        struct stripe_head *head = fill->heads[i];
        if (head->state != STRIPE_IDLE || !stripe_in_request(head, request)) {
            continue;
        }
        bool is_parity = request->slot == geometry_parity_slot(&array->geometry, head->row);
        uint8_t *buffer = is_parity ? head->parity : head->slots[request->slot].old;
        int error = io_read(fill->queue,
                            array_slot_file(array, request->slot),
                            array_slot_offset_bytes(array, request->slot, head->row),
                            buffer,
                            BLOCK_BYTES);
        if (error == 0) {
            continue;
        }
        msg_warn(MODULE,
                 "unreadable slot=%" PRIu32 " row=%" PRIu64 " error=%d",
                 request->slot,
                 head->row.nr,
                 error);
        head->unreadable |= UINT32_C(1) << request->slot;
        head->restart = true;
    }
}

/* Plans and reads all rows that are still IDLE; returns whether some must plan anew. */
static bool fill_round(struct fill *fill)
{
    bool again = false;

    env_mutex_lock(&fill->cache->array->lock);
    fill->array_failed = array_state_locked(fill->cache->array) == ARRAY_FAILED;
    uint32_t lost_slot = array_missing_slot_locked(fill->cache->array);
    fill->lost = lost_slot == ARRAY_NO_SLOT ? 0 : UINT32_C(1) << lost_slot;
    env_mutex_unlock(&fill->cache->array->lock);
    member_batch_start(fill->cache->batch, fill->queue, IO_READ, fill_read_failed, fill);
    for (uint32_t i = 0; i < fill->count; i++) {
        if (fill->heads[i]->state == STRIPE_IDLE) {
            fill_row_begin(fill, fill->heads[i]);
        }
    }
    member_batch_finish(fill->cache->batch);
    for (uint32_t i = 0; i < fill->count; i++) {
        struct stripe_head *head = fill->heads[i];
        if (head->state != STRIPE_IDLE) {
            continue;
        }
        if (head->restart) {
            stripe_free_buffers(fill->cache, head);
            again = true;
        } else {
            stripe_move(head, STRIPE_FILLED);
        }
    }
    return again;
}

int stripes_fill(struct stripe_cache *cache,
                 struct io_queue *queue,
                 struct stripe_head **heads,
                 uint32_t count)
{
    struct fill fill = {.cache = cache, .queue = queue, .heads = heads, .count = count};

    for (uint32_t i = 0; i < count; i++) {
        if (heads[i]->state == STRIPE_FAILED) {
            stripe_move(heads[i], STRIPE_IDLE); /* members may have come back, or a read succeed */
        }
        R5_CHECK(heads[i]->state == STRIPE_IDLE);
        heads[i]->unreadable = 0;
    }
    while (fill_round(&fill)) {
        /* ST9: at most twice more */
    }
    return fill.error;
}
