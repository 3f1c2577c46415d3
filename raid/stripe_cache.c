/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of the stripe cache: heads by row, images in chains, buffers for write-out.
 *
 *   index: row -> head -> slots[0].newest -> image -> older image -> NULL
 *                         slots[1].newest -> NULL
 *                         slots[2].newest -> image -> NULL
 *
 * Invariants:
 *   ST1  a head is in the index from stripe_get to stripe_release_if_empty.
 *   ST2  image_count is the number of images in the head's chains; each knows its head and slot.
 *   ST3  heads are as many as images: who has an image in hand finds a head.
 *   ST4  an image's data never moves, and does not change hands while the image is in a chain.
 *
 * Happy path: stripe_get, stripe_push_image ... stripe_drop_image, stripe_release_if_empty.
 * Failure modes: an empty pool of images is the policy's to park on (journal); the others cannot
 * lack. Thread: any that holds the cache's lock; init and fini at start and stop.
 */
#include <string.h>

#include "stripe_internal.h"

/* Enough for a batch of rows on many members without a pause in between. */
#define WRITER_REQUESTS 64u

_Static_assert(WRITER_REQUESTS >= MEMBERS_MAX, "member_batch needs one for each slot");

struct row_cells *array_row_cells(struct array *array)
{
    return &array->cells;
}

static size_t head_bytes(uint32_t slots)
{
    return sizeof(struct stripe_head) + slots * sizeof(struct stripe_slot);
}

size_t stripe_cache_need(uint32_t slots, uint32_t images, uint32_t encode_buffers)
{
    return pool_need(head_bytes(slots), _Alignof(struct stripe_head), images) +
           pool_need(sizeof(struct stripe_image), _Alignof(struct stripe_image), images) +
           pool_need(BLOCK_BYTES, BLOCK_BYTES, images) +
           pool_need(BLOCK_BYTES, BLOCK_BYTES, encode_buffers) + index_need(images) +
           sizeof(struct member_batch) + _Alignof(struct member_batch) +
           member_batch_need(WRITER_REQUESTS);
}

/* Gives every image its data, once and for ever (ST4). */
static void images_init(struct stripe_cache *cache, struct arena *arena, uint32_t images)
{
    struct list_node taken;
    uint8_t *data = arena_take(arena, (size_t)images * BLOCK_BYTES, BLOCK_BYTES);

    pool_init(&cache->images,
              arena,
              &(struct pool_shape){.name = "stripe image",
                                   .rank = POOL_RANK_IMAGE,
                                   .object_bytes = sizeof(struct stripe_image),
                                   .align = _Alignof(struct stripe_image),
                                   .count = images});
    list_init(&taken);
    for (uint32_t i = 0; i < images; i++) {
        struct stripe_image *image = pool_get_sure(&cache->images);
        image->data = data + (size_t)i * BLOCK_BYTES;
        list_add_head(&taken, &image->link);
    }
    for (struct list_node *node = list_pop(&taken); node != NULL; node = list_pop(&taken)) {
        pool_put(&cache->images, container_of(node, struct stripe_image, link));
    }
    pool_reset_high_water(&cache->images);
}

/* For a writer that has the array for itself, or looks by itself. */
static void nobody_is_told(void *context)
{
    (void)context;
}

void stripe_cache_init(struct stripe_cache *cache,
                       struct array *array,
                       struct arena *arena,
                       uint32_t images,
                       uint32_t encode_buffers)
{
    uint32_t slots = array->geometry.slots;

    R5_CHECK(images > 0);
    R5_CHECK(encode_buffers >= 2 * slots);
    *cache = (struct stripe_cache){
        .array = array, .cells = array_row_cells(array), .cell_granted = nobody_is_told};
    pool_init(&cache->heads,
              arena,
              &(struct pool_shape){.name = "stripe head",
                                   .rank = POOL_RANK_IMAGE,
                                   .object_bytes = head_bytes(slots),
                                   .align = _Alignof(struct stripe_head),
                                   .count = images});
    images_init(cache, arena, images);
    pool_init(&cache->encode,
              arena,
              &(struct pool_shape){.name = "encode buffer",
                                   .rank = POOL_RANK_WRITE_OUT,
                                   .object_bytes = BLOCK_BYTES,
                                   .align = BLOCK_BYTES,
                                   .count = encode_buffers});
    index_init(&cache->index, arena, images);
    cache->batch = arena_take_array(arena, struct member_batch, 1);
    member_batch_init(cache->batch, array, arena, WRITER_REQUESTS);
}

void stripe_cache_fini(struct stripe_cache *cache)
{
    R5_CHECK(cache->index.count == 0);
    pool_fini(&cache->encode);
    pool_fini(&cache->images);
    pool_fini(&cache->heads);
}

struct stripe_head *stripe_find(struct stripe_cache *cache, struct member_block row)
{
    struct index_node *node = index_find(&cache->index, row.nr);

    return node != NULL ? container_of(node, struct stripe_head, node) : NULL;
}

struct stripe_head *stripe_get(struct stripe_cache *cache, struct member_block row)
{
    struct stripe_head *head = stripe_find(cache, row);

    if (head != NULL) {
        return head;
    }
    R5_CHECK(row.nr < cache->array->geometry.rows);
    head = pool_get_sure(&cache->heads); /* ST3 */
    memset(head, 0, head_bytes(cache->array->geometry.slots));
    head->row = row;
    list_init(&head->batch);
    list_init(&head->open.live);
    list_init(&head->closing.live);
    index_insert(&cache->index, &head->node, row.nr);
    return head;
}

static bool generation_is_empty(const struct stripe_generation *generation)
{
    return generation->first_seq == 0 && !list_is_linked(&generation->live);
}

void stripe_release_if_empty(struct stripe_cache *cache, struct stripe_head *head)
{
    if (head->image_count != 0 || head->frozen || !generation_is_empty(&head->open) ||
        !generation_is_empty(&head->closing)) {
        return;
    }
    R5_CHECK(head->state == STRIPE_IDLE || head->state == STRIPE_FAILED);
    if (head->torn) {
        row_cell_unlock(cache->cells, &head->cell);
    }
    index_remove(&cache->index, &head->node);
    pool_put(&cache->heads, head);
}

void stripe_push_image(struct stripe_head *head, uint32_t slot, struct stripe_image *image)
{
    image->head = head;
    image->slot = slot;
    image->older = head->slots[slot].newest;
    head->slots[slot].newest = image;
    head->image_count++;
}

void stripe_drop_image(struct stripe_cache *cache, struct stripe_image *image)
{
    struct stripe_slot *slot = &image->head->slots[image->slot];
    struct stripe_image **place = &slot->newest;

    while (*place != image) {
        R5_CHECK(*place != NULL); /* ST2 */
        place = &(*place)->older;
    }
    *place = image->older;
    if (slot->target == image) {
        slot->target = NULL;
    }
    R5_CHECK(image->head->image_count > 0);
    image->head->image_count--;
    image->head = NULL;
    image->older = NULL;
    pool_put(&cache->images, image);
}

uint32_t stripe_encode_need(const struct stripe_cache *cache)
{
    return cache->array->geometry.slots;
}

uint8_t *stripe_take_encode_buffer(struct stripe_cache *cache)
{
    if (cache->encode_promised > 0) {
        cache->encode_promised--;
        return pool_get_reserved(&cache->encode);
    }
    return pool_get_sure(&cache->encode); /* whoever plans a batch has counted them */
}

static void head_verify(const struct stripe_cache *cache, const struct stripe_head *head)
{
    uint32_t images = 0;

    R5_CHECK(head->row.nr == head->node.key); /* ST1 */
    R5_CHECK(head->row.nr < cache->array->geometry.rows);
    for (uint32_t slot = 0; slot < cache->array->geometry.slots; slot++) {
        const struct stripe_slot *place = &head->slots[slot];
        for (const struct stripe_image *image = place->newest; image != NULL;
             image = image->older) {
            R5_CHECK(image->head == head); /* ST2 */
            R5_CHECK(image->slot == slot);
            images++;
        }
        if (!head->frozen) {
            R5_CHECK(place->old == NULL);
        }
    }
    R5_CHECK(images == head->image_count);
    if (!head->frozen) {
        R5_CHECK(head->state == STRIPE_IDLE || head->state == STRIPE_FAILED);
        R5_CHECK(head->parity == NULL);
        R5_CHECK(!head->parity_placed);
    }
}

void stripe_cache_verify(struct stripe_cache *cache)
{
    uint64_t heads = 0;

    for (size_t bucket = 0; bucket < index_bucket_count(&cache->index); bucket++) {
        struct index_node *node = index_bucket(&cache->index, bucket);
        for (; node != NULL; node = node->next) {
            head_verify(cache, container_of(node, struct stripe_head, node));
            heads++;
        }
    }
    R5_CHECK(heads == cache->index.count);
    R5_CHECK(heads == cache->heads.stats.size - pool_free_count(&cache->heads));
}
