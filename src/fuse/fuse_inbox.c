/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inbox.
 *
 *   the last reader reads a request that may park      --put--> waiting --take--> the first worker
 *                                                                  |               that is free
 *                                                                  +--drop--> its task was killed
 *
 * Invariants:
 *   B1  a buffer belongs to one worker or one slot; put and take exchange them.
 *   B2  what waits is taken by whoever comes to receive while somebody else reads. Whoever sets a
 *       request aside becomes that reader, so the next worker that finishes takes it.
 *
 * Failure modes: no slot free: the request is run where it is, and may park the last reader; it is
 * served when the journal has room, which needs no request of ours; until then no task can be
 * killed.
 * Thread: workers.
 */
#include "fuse_inbox.h"

#include "fuse_raw.h"
#include "fuse_server.h"

size_t fuse_inbox_need(uint32_t slots)
{
    return slots * (FUSE_BUFFER_BYTES + BLOCK_BYTES + sizeof(struct fuse_inbox_slot));
}

void fuse_inbox_init(struct fuse_inbox *inbox, struct arena *arena, uint32_t slots)
{
    struct fuse_inbox_slot *all = arena_take_array(arena, struct fuse_inbox_slot, slots);

    env_mutex_init(&inbox->lock);
    list_init(&inbox->waiting);
    list_init(&inbox->free);
    for (uint32_t i = 0; i < slots; i++) {
        uint8_t *buffer = arena_take(arena, FUSE_BUFFER_BYTES, BLOCK_BYTES);
        all[i].payload = buffer + BLOCK_BYTES;
        list_add_tail(&inbox->free, &all[i].node);
    }
}

void fuse_inbox_fini(struct fuse_inbox *inbox)
{
    env_mutex_fini(&inbox->lock);
}

static struct fuse_inbox_slot *slot_of(struct list_node *node)
{
    return container_of(node, struct fuse_inbox_slot, node);
}

/* B1 */
static void exchange(struct fuse_inbox_slot *slot, struct fuse_worker *worker)
{
    uint8_t *payload = slot->payload;

    slot->payload = worker->payload;
    worker->payload = payload;
}

bool fuse_inbox_put(struct fuse_inbox *inbox, struct fuse_worker *worker, size_t bytes)
{
    env_mutex_lock(&inbox->lock);
    struct list_node *node = list_pop(&inbox->free);
    if (node != NULL) {
        exchange(slot_of(node), worker);
        slot_of(node)->bytes = bytes;
        list_add_tail(&inbox->waiting, node);
    }
    env_mutex_unlock(&inbox->lock);
    return node != NULL;
}

size_t fuse_inbox_take(struct fuse_inbox *inbox, struct fuse_worker *worker)
{
    size_t bytes = 0;

    env_mutex_lock(&inbox->lock);
    struct list_node *node = list_pop(&inbox->waiting);
    if (node != NULL) {
        exchange(slot_of(node), worker);
        bytes = slot_of(node)->bytes;
        list_add_tail(&inbox->free, node);
    }
    env_mutex_unlock(&inbox->lock);
    return bytes;
}

bool fuse_inbox_drop(struct fuse_inbox *inbox,
                     uint64_t unique,
                     bool (*may_drop)(const void *request),
                     bool *out_found)
{
    bool dropped = false;

    *out_found = false;
    env_mutex_lock(&inbox->lock);
    list_for_each_safe (node, after, &inbox->waiting) {
        const void *request = slot_of(node)->payload - FUSE_RAW_WRITE_HEAD_BYTES;
        if (fuse_raw_unique(request) == unique) {
            *out_found = true;
            dropped = may_drop(request);
            if (dropped) {
                list_remove(node);
                list_add_tail(&inbox->free, node);
            }
        }
    }
    env_mutex_unlock(&inbox->lock);
    return dropped;
}
