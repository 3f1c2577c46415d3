/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images, generations and the two lists they stand on.
 *
 *   j->dirty:  image -> image -> ...                    oldest first: the order of the next commit
 *   j->live:   row 7 (seq 40) -> row 3 (seq 41) -> ...  what the tail may not pass; reclaim's order
 *
 *   a slot's chain:  newest -> [DIRTY] -> [PLACED...] -> [LOGGED] -> [FROZEN]
 *
 * Invariants: L1 to L6 of logged_stripe.h; here they are kept, logged_stripe_verify checks them
 * all. The sums of log_space (dirty, unplaced, images_used) are moved here, at the same places as
 * states, so that they cannot drift.
 *
 * Happy path: write, place, unit_durable, freeze, parity_placed, finish.
 * Failure modes: none of its own; a move outside the table is our own mistake.
 * Thread: any, with j->lock.
 */
#include "logged_stripe.h"

#include <errno.h>
#include <string.h>

#include "journal_internal.h"
#include "reclaim.h"

static const bool moves[LOGGED_STATE_COUNT][LOGGED_STATE_COUNT] = {
    [LOGGED_DIRTY] = {[LOGGED_PLACED] = true},
    [LOGGED_PLACED] = {[LOGGED_LOGGED] = true, [LOGGED_DIRTY] = true},
    [LOGGED_LOGGED] = {[LOGGED_FROZEN] = true},
    [LOGGED_FROZEN] = {[LOGGED_LOGGED] = true},
};

#define LOGGED_NAME(name) #name,
static const char *const state_names[LOGGED_STATE_COUNT] = {LOGGED_STATES(LOGGED_NAME)};
#undef LOGGED_NAME

const char *logged_state_name(enum logged_state state)
{
    R5_CHECK((unsigned)state < LOGGED_STATE_COUNT);
    return state_names[state];
}

bool logged_state_may_move(enum logged_state from, enum logged_state to)
{
    R5_CHECK((unsigned)from < LOGGED_STATE_COUNT);
    R5_CHECK((unsigned)to < LOGGED_STATE_COUNT);
    return moves[from][to];
}

/* ---- images --------------------------------------------------------------------------------- */

static void image_move(struct stripe_image *image, enum logged_state to)
{
    R5_CHECK(logged_state_may_move((enum logged_state)image->state, to));
    image->state = (uint8_t)to;
}

static struct stripe_image *
image_begin(struct journal *j, struct stripe_image *image, enum logged_state state)
{
    list_init(&image->link);
    image->state = (uint8_t)state;
    image->seq = 0;
    j->space.images_used++;
    return image;
}

/* One of those that a reservation promised. */
static struct stripe_image *image_take(struct journal *j, enum logged_state state)
{
    return image_begin(j, pool_get_reserved(&j->cache.images), state);
}

static void image_drop(struct journal *j, struct stripe_image *image)
{
    R5_CHECK(!list_is_linked(&image->link)); /* L2 */
    R5_CHECK(j->space.images_used > 0);
    stripe_drop_image(&j->cache, image);
    j->space.images_used--;
}

static bool head_has_dirty(const struct journal *j, const struct stripe_head *head)
{
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        const struct stripe_image *newest = head->slots[slot].newest;

        if (newest != NULL && newest->state == LOGGED_DIRTY) {
            return true;
        }
    }
    return false;
}

/* The first image of a slot's chain that is in `state`. */
static struct stripe_image *slot_find(const struct stripe_slot *slot, enum logged_state state)
{
    struct stripe_image *image = slot->newest;

    while (image != NULL && image->state != state) {
        image = image->older;
    }
    return image;
}

static bool
head_has_state(const struct journal *j, const struct stripe_head *head, enum logged_state state)
{
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        if (slot_find(&head->slots[slot], state) != NULL) {
            return true;
        }
    }
    return false;
}

struct stripe_image *logged_stripe_newest(struct journal *j, struct fs_block block)
{
    struct placement place = geometry_locate(j->geometry, block);
    struct stripe_head *head = stripe_find(&j->cache, place.row);

    return head == NULL ? NULL : head->slots[place.slot].newest;
}

struct fs_block logged_stripe_block_of(struct journal *j, const struct stripe_image *image)
{
    return geometry_block_at(j->geometry, image->head->row, image->slot);
}

/* ---- generations ---------------------------------------------------------------------------- */

/* L6. Nearly always the row goes to the end. */
static void live_insert(struct journal *j, struct stripe_generation *generation)
{
    struct list_node *after = j->live.prev;

    while (after != &j->live &&
           container_of(after, struct stripe_generation, live)->first_seq > generation->first_seq) {
        after = after->prev;
    }
    list_insert_between(&generation->live, after, after->next);
    j->live_rows++;
}

static void live_remove(struct journal *j, struct stripe_generation *generation)
{
    R5_CHECK(j->live_rows > 0);
    list_remove(&generation->live);
    j->live_rows--;
}

static void generation_start(struct journal *j,
                             struct stripe_generation *generation,
                             uint64_t seq,
                             struct log_block position)
{
    generation->first_seq = seq;
    generation->first_position = position;
    generation->first_ns = env_now_ns();
    live_insert(j, generation);
    j->space.unplaced++;
}

static void generation_end(struct journal *j, struct stripe_generation *generation)
{
    R5_CHECK(j->space.unplaced > 0);
    live_remove(j, generation);
    generation->first_seq = 0;
    j->space.unplaced--;
}

/* ---- dirty, placed, logged ------------------------------------------------------------------ */

static void dirty_add(struct journal *j, struct stripe_image *image)
{
    list_add_tail(&j->dirty, &image->link);
    j->space.dirty++;
}

/* The image is DIRTY no more, whatever it is now. */
static void dirty_remove(struct journal *j, struct stripe_image *image)
{
    R5_CHECK(j->space.dirty > 0);
    list_remove(&image->link);
    j->space.dirty--;
}

static void dirty_row_ended(struct journal *j, const struct stripe_head *head)
{
    if (!head_has_dirty(j, head)) {
        R5_CHECK(j->space.unplaced > 0);
        j->space.unplaced--;
    }
}

bool logged_stripe_write(struct journal *j, struct fs_block block, const uint8_t *data)
{
    struct placement place = geometry_locate(j->geometry, block);
    struct stripe_image *image = logged_stripe_newest(j, block);

    if (image != NULL && image->state == LOGGED_DIRTY) {
        memcpy(image->data, data, BLOCK_BYTES);
        return false;
    }
    image = image_take(j, LOGGED_DIRTY);
    memcpy(image->data, data, BLOCK_BYTES);
    struct stripe_head *head = stripe_get(&j->cache, place.row);
    R5_CHECK(head != NULL);
    if (!head_has_dirty(j, head)) {
        j->space.unplaced++;
    }
    stripe_push_image(head, place.slot, image);
    dirty_add(j, image);
    return true;
}

/* W8: a row that is frozen without its parity in the log gives no payload. The writer role sees to
 * it. */
static void
place(struct journal *j, struct stripe_image *image, uint64_t seq, struct log_block position)
{
    struct stripe_head *head = image->head;

    R5_CHECK(!head->frozen || head->parity_placed);
    image->seq = seq;
    if (head->open.first_seq == 0) {
        generation_start(j, &head->open, seq, position);
    }
    R5_CHECK(head->open.first_seq <= seq);
    j->space.placed++;
}

void logged_stripe_place(struct journal *j,
                         struct stripe_image *image,
                         uint64_t seq,
                         struct log_block position)
{
    image_move(image, LOGGED_PLACED);
    dirty_remove(j, image);
    dirty_row_ended(j, image->head);
    place(j, image, seq, position);
}

struct stripe_image *logged_stripe_place_new(struct journal *j,
                                             struct fs_block block,
                                             const uint8_t *data,
                                             uint64_t seq,
                                             struct log_block position)
{
    struct placement where = geometry_locate(j->geometry, block);
    struct stripe_image *image = image_take(j, LOGGED_PLACED);

    memcpy(image->data, data, BLOCK_BYTES);
    struct stripe_head *head = stripe_get(&j->cache, where.row);
    R5_CHECK(head != NULL);
    const struct stripe_image *newest = head->slots[where.slot].newest;
    R5_CHECK(newest == NULL || newest->state != LOGGED_DIRTY); /* L1: all dirty data went before */
    stripe_push_image(head, where.slot, image);
    place(j, image, seq, position);
    return image;
}

static void placed_end(struct journal *j)
{
    R5_CHECK(j->space.placed > 0);
    j->space.placed--;
}

void logged_stripe_unit_durable(struct journal *j, struct stripe_image *image)
{
    struct stripe_image *older = image->older;

    image_move(image, LOGGED_LOGGED);
    placed_end(j);
    if (older != NULL && older->state == LOGGED_LOGGED) {
        image_drop(j, older); /* W3: superseded by a durable payload of the same generation */
    }
    R5_CHECK(image->older == NULL || image->older->state == LOGGED_FROZEN); /* L1 */
    reclaim_try_row(j, image->head);
}

void logged_stripe_discard(struct journal *j, struct fs_block block)
{
    struct stripe_image *image = logged_stripe_newest(j, block);

    if (image == NULL || image->state != LOGGED_DIRTY) {
        return;
    }
    struct stripe_head *head = image->head;
    dirty_remove(j, image);
    image_drop(j, image);
    dirty_row_ended(j, head);
    stripe_release_if_empty(&j->cache, head);
}

/* ---- freeze to finish ----------------------------------------------------------------------- */

bool logged_stripe_freeze(struct journal *j, struct stripe_head *head)
{
    if (head->frozen || !head_has_state(j, head, LOGGED_LOGGED) ||
        head_has_state(j, head, LOGGED_PLACED)) {
        return false;
    }
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        struct stripe_image *image = slot_find(&head->slots[slot], LOGGED_LOGGED);

        if (image != NULL) {
            image_move(image, LOGGED_FROZEN);
        }
        head->slots[slot].target = image;
    }
    head->closing.first_seq = head->open.first_seq;
    head->closing.first_position = head->open.first_position;
    head->closing.first_ns = head->open.first_ns;
    live_remove(j, &head->open);
    head->open.first_seq = 0;
    head->frozen = true;
    head->parity_placed = false;
    return true; /* the parity it owes is the same one: unplaced stays */
}

void logged_stripe_parity_placed(struct journal *j, struct stripe_head *head)
{
    R5_CHECK(head->frozen && !head->parity_placed);
    R5_CHECK(j->space.unplaced > 0);
    head->parity_placed = true;
    j->space.unplaced--;
}

void logged_stripe_finish(struct journal *j, struct stripe_head *head)
{
    R5_CHECK(head->frozen);
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        struct stripe_image *image = slot_find(&head->slots[slot], LOGGED_FROZEN);

        head->slots[slot].target = NULL;
        if (image != NULL) {
            image_drop(j, image);
        }
    }
    if (!head->parity_placed) { /* only after the journal failed: nothing is logged any more */
        logged_stripe_parity_placed(j, head);
    }
    head->frozen = false;
    head->parity_placed = false;
    head->closing.first_seq = 0;
    stripe_release_if_empty(&j->cache, head);
}

void logged_stripe_unfreeze(struct journal *j, struct stripe_head *head)
{
    R5_CHECK(head->frozen && !head->parity_placed);
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        struct stripe_image *image = slot_find(&head->slots[slot], LOGGED_FROZEN);

        head->slots[slot].target = NULL;
        if (image != NULL && slot_find(&head->slots[slot], LOGGED_LOGGED) != NULL) {
            image_drop(j, image); /* superseded meanwhile, and of one generation again */
        } else if (image != NULL) {
            image_move(image, LOGGED_LOGGED);
        }
    }
    if (head->open.first_seq != 0) {
        generation_end(j, &head->open);
    }
    head->frozen = false;
    R5_CHECK(j->space.unplaced > 0);
    j->space.unplaced--; /* the closing generation's, which generation_start counts again */
    generation_start(j, &head->open, head->closing.first_seq, head->closing.first_position);
    head->open.first_ns = head->closing.first_ns;
    head->closing.first_seq = 0;
}

/* ---- all rows ------------------------------------------------------------------------------- */

typedef void (*head_visitor)(struct journal *j, struct stripe_head *head);

/* The visitor may release the head. */
static void heads_visit(struct journal *j, head_visitor visit)
{
    size_t buckets = index_bucket_count(&j->cache.index);

    for (size_t bucket = 0; bucket < buckets; bucket++) {
        struct index_node *node = index_bucket(&j->cache.index, bucket);

        while (node != NULL) {
            struct index_node *next = node->next;
            visit(j, container_of(node, struct stripe_head, node));
            node = next;
        }
    }
}

/* PLACED becomes DIRTY, or goes where something newer is DIRTY already. */
static void slot_unplace(struct journal *j, struct stripe_slot *slot)
{
    struct stripe_image *image = slot->newest;

    while (image != NULL) {
        struct stripe_image *older = image->older;

        if (image->state == LOGGED_PLACED) {
            placed_end(j);
        }
        if (image->state == LOGGED_PLACED && slot->newest != image) {
            image_drop(j, image);
        } else if (image->state == LOGGED_PLACED) {
            image_move(image, LOGGED_DIRTY);
            dirty_add(j, image);
        }
        image = older;
    }
}

static void head_unplace(struct journal *j, struct stripe_head *head)
{
    if (!head_has_state(j, head, LOGGED_PLACED)) {
        return;
    }
    bool had_dirty = head_has_dirty(j, head);
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        slot_unplace(j, &head->slots[slot]);
    }
    if (!had_dirty) {
        j->space.unplaced++;
    }
    if (!head_has_state(j, head, LOGGED_LOGGED)) {
        generation_end(j, &head->open); /* L3 */
    }
}

void logged_stripe_unplace_all(struct journal *j)
{
    heads_visit(j, head_unplace);
}

static void head_forget(struct journal *j, struct stripe_head *head)
{
    if (head->state != STRIPE_IDLE) {
        stripes_abandon(&j->cache, &head, 1);
    }
    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        head->slots[slot].target = NULL;
        while (head->slots[slot].newest != NULL) {
            struct stripe_image *image = head->slots[slot].newest;

            list_remove(&image->link);
            image_drop(j, image);
        }
    }
    if (head->open.first_seq != 0) {
        live_remove(j, &head->open);
        head->open.first_seq = 0;
    }
    reclaim_try_row(j, head);
    head->closing.first_seq = 0;
    head->frozen = false;
    head->parity_placed = false;
    stripe_release_if_empty(&j->cache, head);
}

void logged_stripe_forget_all(struct journal *j)
{
    heads_visit(j, head_forget);
    j->space.dirty = 0;
    j->space.placed = 0;
    j->space.unplaced = 0;
    R5_CHECK(list_is_empty(&j->dirty));
    R5_CHECK(list_is_empty(&j->live));
}

/* ---- recovery ------------------------------------------------------------------------------- */

int logged_stripe_add_recovered(struct journal *j,
                                struct fs_block block,
                                uint64_t seq,
                                struct log_block position,
                                const uint8_t *data)
{
    struct placement where = geometry_locate(j->geometry, block);

    if (seq == 0) { /* a log may begin there; for us it means "none", and 1 orders the same */
        seq = 1;
    }
    if (pool_free_count(&j->cache.images) == 0) {
        return -ENOBUFS;
    }
    struct stripe_image *image = image_begin(j, pool_get_sure(&j->cache.images), LOGGED_LOGGED);
    memcpy(image->data, data, BLOCK_BYTES);
    image->seq = seq;
    struct stripe_head *head = stripe_get(&j->cache, where.row);
    R5_CHECK(head != NULL);
    R5_CHECK(!head->frozen && head->slots[where.slot].newest == NULL);
    stripe_push_image(head, where.slot, image);
    if (head->open.first_seq != 0 && head->open.first_seq <= seq) {
        return 0;
    }
    if (head->open.first_seq != 0) {
        generation_end(j, &head->open);
    }
    generation_start(j, &head->open, seq, position);
    return 0;
}

/* ---- verify --------------------------------------------------------------------------------- */

struct tally {
    uint64_t images;
    uint64_t unfillable;
    uint64_t states[LOGGED_STATE_COUNT];
};

/* L1, L2 for one slot. The states' numbers ascend from newest to oldest. */
static void slot_verify(const struct stripe_head *head, uint32_t slot, struct tally *tally)
{
    const struct stripe_image *newer = NULL;

    for (const struct stripe_image *image = head->slots[slot].newest; image != NULL;
         image = image->older) {
        R5_CHECK(image->head == head && image->slot == slot);
        R5_CHECK(image->state < LOGGED_STATE_COUNT);
        R5_CHECK(newer == NULL || newer->state < image->state ||
                 (newer->state == LOGGED_PLACED && image->state == LOGGED_PLACED));
        R5_CHECK(list_is_linked(&image->link) == (image->state == LOGGED_DIRTY));
        tally->images++;
        tally->states[image->state]++;
        newer = image;
    }
}

/* Returns how many parities the row will log: log_space's `unplaced`. */
static uint64_t
head_verify(const struct journal *j, const struct stripe_head *head, struct tally *sum)
{
    struct tally tally = {0};

    for (uint32_t slot = 0; slot < j->geometry->slots; slot++) {
        slot_verify(head, slot, &tally);
    }
    bool logged = tally.states[LOGGED_PLACED] + tally.states[LOGGED_LOGGED] > 0;
    bool dirty = tally.states[LOGGED_DIRTY] > 0;
    R5_CHECK(tally.images == head->image_count);
    R5_CHECK(logged == (head->open.first_seq != 0)); /* L3 */
    R5_CHECK(head->frozen == (head->closing.first_seq != 0));
    R5_CHECK(head->frozen || tally.states[LOGGED_FROZEN] == 0); /* L4 */
    R5_CHECK(head->frozen || !head->parity_placed);
    R5_CHECK(logged || dirty || head->frozen);
    R5_CHECK(!head->unfillable || (tally.states[LOGGED_LOGGED] > 0 && !head->frozen));
    sum->images += tally.images;
    sum->unfillable += head->unfillable;
    for (unsigned state = 0; state < LOGGED_STATE_COUNT; state++) {
        sum->states[state] += tally.states[state];
    }
    return (uint64_t)logged + (uint64_t)dirty + (uint64_t)(head->frozen && !head->parity_placed);
}

static void lists_verify(struct journal *j, const struct tally *sum)
{
    uint64_t count = 0;
    uint64_t last_seq = 0;

    list_for_each (node, &j->dirty) {
        R5_CHECK(container_of(node, struct stripe_image, link)->state == LOGGED_DIRTY);
        count++;
    }
    R5_CHECK(count == sum->states[LOGGED_DIRTY]); /* L2 */
    count = 0;
    list_for_each (node, &j->live) {
        const struct stripe_generation *generation =
            container_of(node, struct stripe_generation, live);

        R5_CHECK(generation->first_seq >= last_seq); /* L6 */
        last_seq = generation->first_seq;
        count++;
    }
    R5_CHECK(count == j->live_rows);
}

void logged_stripe_verify(struct journal *j)
{
    struct tally sum = {0};
    uint64_t unplaced = 0;
    size_t buckets = index_bucket_count(&j->cache.index);

    for (size_t bucket = 0; bucket < buckets; bucket++) {
        for (struct index_node *node = index_bucket(&j->cache.index, bucket); node != NULL;
             node = node->next) {
            unplaced += head_verify(j, container_of(node, struct stripe_head, node), &sum);
        }
    }
    lists_verify(j, &sum);
    R5_CHECK(sum.images == j->space.images_used);
    R5_CHECK(sum.states[LOGGED_DIRTY] == j->space.dirty);
    R5_CHECK(sum.states[LOGGED_PLACED] == j->space.placed);
    R5_CHECK(unplaced == j->space.unplaced);
    R5_CHECK(sum.unfillable == j->reclaim.failed_rows);
}
