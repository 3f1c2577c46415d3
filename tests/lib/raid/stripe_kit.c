/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See stripe_kit.h. */
#include "stripe_kit.h"

#include <string.h>

void stripe_kit_open(struct stripe_kit *kit, uint32_t members, uint32_t chunk_sectors, bool hooked)
{
    volume_kit_open(&kit->volume, members, chunk_sectors, hooked);
    stripe_cache_init(&kit->cache,
                      kit->volume.array,
                      &kit->volume.files.arena,
                      STRIPE_KIT_IMAGES,
                      STRIPE_KIT_ROWS_MAX * members);
}

void stripe_kit_close(struct stripe_kit *kit)
{
    stripe_cache_fini(&kit->cache);
    volume_kit_close(&kit->volume);
}

uint32_t stripe_kit_parity_slot(const struct stripe_kit *kit, uint64_t row)
{
    return geometry_parity_slot(&kit->volume.geometry, member_block(row));
}

/* A new random image of a block, chosen for the write-out of its row. */
struct stripe_image *stripe_kit_add_target(struct stripe_kit *kit, uint64_t row, uint32_t slot)
{
    struct stripe_image *image = pool_try_get(&kit->cache.images);
    ck_assert_ptr_nonnull(image);
    struct stripe_head *head = stripe_get(&kit->cache, member_block(row));
    volume_kit_fill(image->data, BLOCK_BYTES);
    stripe_push_image(head, slot, image);
    head->slots[slot].target = image;
    if (!head->frozen) {
        head->frozen = true;
        kit->heads[kit->head_count++] = head;
    }
    return image;
}

/* The volume's truth changes when a row was written out. */
void stripe_kit_note_targets(struct stripe_kit *kit)
{
    for (uint32_t i = 0; i < kit->head_count; i++) {
        for (uint32_t slot = 0; slot < kit->volume.geometry.slots; slot++) {
            const struct stripe_image *target = kit->heads[i]->slots[slot].target;
            if (target != NULL) {
                struct fs_block block =
                    geometry_block_at(&kit->volume.geometry, kit->heads[i]->row, slot);
                memcpy(volume_kit_block(&kit->volume, block), target->data, BLOCK_BYTES);
            }
        }
    }
}

void stripe_kit_drop_heads(struct stripe_kit *kit)
{
    for (uint32_t i = 0; i < kit->head_count; i++) {
        for (uint32_t slot = 0; slot < kit->volume.geometry.slots; slot++) {
            while (kit->heads[i]->slots[slot].newest != NULL) {
                stripe_drop_image(&kit->cache, kit->heads[i]->slots[slot].newest);
            }
        }
        kit->heads[i]->frozen = false;
        stripe_release_if_empty(&kit->cache, kit->heads[i]);
    }
    kit->head_count = 0;
    stripe_cache_verify(&kit->cache);
}

static bool some_parked(const struct stripe_kit *kit)
{
    bool parked = false;

    for (uint32_t i = 0; i < kit->head_count; i++) {
        parked = parked || kit->heads[i]->parked;
    }
    return parked;
}

/* Rows that others read meanwhile are parked: until all are through. */
static void write_out_parked(struct stripe_kit *kit)
{
    while (some_parked(kit)) {
        uint32_t first = 0;

        env_sleep_ns(100000);
        while (!kit->heads[first]->parked) {
            first++; /* they stand at the end */
        }
        ck_assert_int_eq(
            stripes_write_out(
                &kit->cache, kit->volume.queue, kit->heads + first, kit->head_count - first),
            0);
    }
}

void stripe_kit_write_out_all(struct stripe_kit *kit)
{
    ck_assert_int_eq(stripes_fill(&kit->cache, kit->volume.queue, kit->heads, kit->head_count), 0);
    stripes_encode(&kit->cache, kit->heads, kit->head_count);
    ck_assert_int_eq(stripes_write_out(&kit->cache, kit->volume.queue, kit->heads, kit->head_count),
                     0);
    write_out_parked(kit);
    for (uint32_t i = 0; i < kit->head_count; i++) {
        ck_assert_int_eq(kit->heads[i]->state, STRIPE_IDLE);
    }
    stripe_kit_note_targets(kit);
    stripe_kit_drop_heads(kit);
    ck_assert_uint_eq(pool_free_count(&kit->cache.encode), kit->cache.encode.stats.size);
}

/* Random rows, some of them neighbours, with random targets. */
void stripe_kit_add_random_batch(struct stripe_kit *kit)
{
    uint32_t rows = 1 + volume_kit_below(STRIPE_KIT_ROWS_MAX);
    uint64_t row = volume_kit_random() % kit->volume.geometry.rows;
    for (uint32_t i = 0; i < rows; i++) {
        bool near = volume_kit_below(4) != 0;
        row = near ? (row + 1) % kit->volume.geometry.rows
                   : volume_kit_random() % kit->volume.geometry.rows;
        if (stripe_find(&kit->cache, member_block(row)) != NULL) {
            continue;
        }
        uint32_t chosen = (uint32_t)volume_kit_random();
        for (uint32_t slot = 0; slot < kit->volume.geometry.slots; slot++) {
            bool first =
                slot == (stripe_kit_parity_slot(kit, row) + 1) % kit->volume.geometry.slots;
            if (slot != stripe_kit_parity_slot(kit, row) && (first || (chosen >> slot & 1) != 0) &&
                pool_free_count(&kit->cache.images) > 0) {
                (void)stripe_kit_add_target(kit, row, slot);
            }
        }
    }
}

static bool watch_requests(void *context, const struct io_request *request, int *out_result)
{
    struct stripe_kit *kit = context;
    struct stripe_watch *watch = &kit->watch;
    struct array *array = kit->volume.array;
    /* Superblocks are not what is counted here. */
    uint64_t data_offset = array_slot_offset_bytes(array, 0, member_block(0));
    if (request->op == IO_FLUSH || request->offset_bytes < data_offset) {
        return false;
    }
    watch->reads += request->op == IO_READ;
    watch->writes += request->op == IO_WRITE;
    for (uint32_t slot = 0; slot < kit->volume.geometry.slots; slot++) {
        if (request->file == array_slot_file(array, slot) && request->op == watch->fail_op &&
            (watch->fail_slots >> slot & 1) != 0) {
            *out_result = watch->fail_error;
            return true;
        }
    }
    return false;
}

void stripe_kit_watch(struct stripe_kit *kit)
{
    kit->watch = (struct stripe_watch){0};
    hook_io_set(watch_requests, kit);
}

void stripe_kit_fail(struct stripe_kit *kit, enum io_op op, uint32_t slots, int error)
{
    kit->watch = (struct stripe_watch){.fail_op = op, .fail_slots = slots, .fail_error = error};
    hook_io_set(watch_requests, kit);
}

void stripe_kit_add_targets(struct stripe_kit *kit, uint64_t row, uint32_t slots)
{
    for (uint32_t slot = 0; slot < kit->volume.geometry.slots; slot++) {
        if ((slots >> slot & 1) != 0) {
            (void)stripe_kit_add_target(kit, row, slot);
        }
    }
}
