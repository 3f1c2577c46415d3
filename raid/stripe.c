/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A row on its way to the members: states, buffers, and the parity itself. What is read before is
 * decided in stripe_fill.c, what is written in stripe_write.c.
 *
 *   what is lost           parity comes from                      the fill reads
 *   nothing                old parity, olds and news of targets   targets and parity  (read-modify)
 *                          or news of targets and the others      the others          (reconstruct)
 *   the parity member      nothing: the row has none              nothing
 *   a target's member      news of targets and the others         the others
 *   another data member    old parity, olds and news of targets   targets and parity
 *   two members            the row fails
 *
 * A lost target's old content is never needed: the parity is made from what replaces it. A lost
 * block that is no target cannot be read, but it also does not change: it stays in the old
 * parity. A block that cannot be read counts as lost while the row is filled, but is written like
 * any other.
 *
 * Invariants:
 *   ST5  FILLED, ENCODED: targets are fixed, their data does not change.
 *   ST6  ENCODED: XOR of parity, targets, and what the members hold in the other data slots is
 *        zero.
 *   ST7  a torn row is never read-modified: its members do not fit together.
 *   ST8  a torn row's cell is held, exclusive, until it was written out or its head is released.
 *
 * Moves (stripe_state_may_move):
 *   IDLE    -> FILLED stripes_fill      IDLE    -> ENCODED stripe_set_logged_parity
 *   FILLED  -> ENCODED stripes_encode   ENCODED -> IDLE    stripes_write_out, stripes_abandon
 *   FILLED  -> IDLE   stripes_abandon   FAILED  -> IDLE    stripes_fill, stripes_abandon
 *   IDLE    -> FAILED stripes_fill      ENCODED -> FAILED  stripes_write_out
 *
 * Failure modes: FAILED rows keep their images; what they hold is also in the log.
 * Thread: the one that writes rows out.
 */
#include "r5fs/raid/stripe.h"

#include "r5fs/raid/parity.h"
#include "stripe_internal.h"

/* A read-modify of every data block: the old parity, and old and new of each. */
#define SOURCES_MAX (1 + 2 * (MEMBERS_MAX - 1))

const char *stripe_state_name(enum stripe_state state)
{
    static const char *const names[STRIPE_STATE_COUNT] = {
        [STRIPE_IDLE] = "idle",
        [STRIPE_FILLED] = "filled",
        [STRIPE_ENCODED] = "encoded",
        [STRIPE_FAILED] = "failed",
    };

    return names[state];
}

bool stripe_state_may_move(enum stripe_state from, enum stripe_state to)
{
    static const bool moves[STRIPE_STATE_COUNT][STRIPE_STATE_COUNT] = {
        [STRIPE_IDLE] = {[STRIPE_FILLED] = true, [STRIPE_ENCODED] = true, [STRIPE_FAILED] = true},
        [STRIPE_FILLED] = {[STRIPE_ENCODED] = true, [STRIPE_IDLE] = true},
        [STRIPE_ENCODED] = {[STRIPE_IDLE] = true, [STRIPE_FAILED] = true},
        [STRIPE_FAILED] = {[STRIPE_IDLE] = true},
    };

    return moves[from][to];
}

void stripe_move(struct stripe_head *head, enum stripe_state to)
{
    R5_CHECK(stripe_state_may_move(head->state, to));
    head->state = to;
}

static void buffer_free(struct stripe_cache *cache, uint8_t **buffer)
{
    if (*buffer != NULL) {
        pool_put(&cache->encode, *buffer);
        *buffer = NULL;
    }
}

void stripe_free_old(struct stripe_cache *cache, struct stripe_head *head)
{
    for (uint32_t slot = 0; slot < cache->array->geometry.slots; slot++) {
        buffer_free(cache, &head->slots[slot].old);
    }
}

void stripe_free_buffers(struct stripe_cache *cache, struct stripe_head *head)
{
    stripe_free_old(cache, head);
    buffer_free(cache, &head->parity);
}

void stripe_fail(struct stripe_cache *cache, struct stripe_head *head)
{
    stripe_free_buffers(cache, head);
    stripe_move(head, STRIPE_FAILED);
}

/* What the new parity is the XOR of. */
static uint32_t encode_sources(const struct stripe_cache *cache,
                               const struct stripe_head *head,
                               const uint8_t **out_sources)
{
    uint32_t parity_slot = geometry_parity_slot(&cache->array->geometry, head->row);
    uint32_t count = 0;

    if (!head->reconstruct) {
        out_sources[count++] = head->parity;
    }
    for (uint32_t slot = 0; slot < cache->array->geometry.slots; slot++) {
        const struct stripe_slot *place = &head->slots[slot];
        if (slot == parity_slot) {
            continue;
        }
        if (place->old != NULL) {
            out_sources[count++] = place->old;
        }
        if (place->target != NULL) {
            out_sources[count++] = place->target->data;
        }
    }
    return count;
}

void stripes_encode(struct stripe_cache *cache, struct stripe_head **heads, uint32_t count)
{
    const uint8_t *sources[SOURCES_MAX];

    for (uint32_t i = 0; i < count; i++) {
        struct stripe_head *head = heads[i];
        if (head->state != STRIPE_FILLED) {
            R5_CHECK(head->state == STRIPE_FAILED);
            continue;
        }
        if (!head->parity_missing) {
            uint32_t source_count = encode_sources(cache, head, sources);
            parity_xor(head->parity, sources, source_count);
        }
        stripe_free_old(cache, head);
        stripe_move(head, STRIPE_ENCODED); /* ST6 */
    }
}

void stripes_abandon(struct stripe_cache *cache, struct stripe_head **heads, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        stripe_free_buffers(cache, heads[i]);
        if (heads[i]->state != STRIPE_IDLE) {
            stripe_move(heads[i], STRIPE_IDLE);
        }
    }
}

void stripe_set_logged_parity(struct stripe_head *head, uint8_t *parity)
{
    R5_CHECK(head->parity == NULL);
    head->parity = parity;
    head->parity_missing = parity == NULL;
    stripe_move(head, STRIPE_ENCODED);
}
