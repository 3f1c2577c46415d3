/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pool of metadata blocks (states in buffer.h).
 *
 *   B1  a buffer is in the index exactly while it stands for its block: LOADING, or READY and not
 *       forgotten
 *   B2  a READY buffer that is clean and without pins is on the LRU list; a FREE one on the free
 *   list;
 *       all others are on neither
 *   B3  one thread loads a block; others that want it wait for that load, not for another
 *   B4  taking a buffer never waits for one: the pool has room for every pin and every dirty block
 *       that can exist at once (fs_open checks), so the LRU or the free list has one
 *
 * Happy path: buffer_get finds READY, pins, returns. Failure: what does not read or verify leaves
 * the index before the waiters are woken; each of them looks again.
 * Any thread; the pool's lock is the innermost but for the journal's own and is never held over
 * I/O.
 */
#include "buffer.h"

#include <errno.h>
#include <string.h>

#include "btree_node.h"
#include "fs_format.h"
#include "fs_super.h"
#include "r5fs/base/msg.h"
#include "r5fs/journal/journal.h"

static const uint32_t kind_magic[] = {
    [BUFFER_SUPER] = FS_MAGIC_SUPER,
    [BUFFER_NODE] = FS_MAGIC_NODE,
    [BUFFER_BITMAP] = FS_MAGIC_BITMAP,
    [BUFFER_SUMMARY] = FS_MAGIC_SUMMARY,
};

static const char *const kind_name[] = {
    [BUFFER_SUPER] = "fs super",
    [BUFFER_NODE] = "tree node",
    [BUFFER_BITMAP] = "bitmap",
    [BUFFER_SUMMARY] = "group summary",
};

static struct buffer *buffer_from_index(struct index_node *node)
{
    return container_of(node, struct buffer, by_block);
}

static struct buffer *buffer_from_link(struct list_node *node)
{
    return container_of(node, struct buffer, link);
}

size_t buffer_pool_need(uint32_t count)
{
    size_t each = sizeof(struct buffer) + BLOCK_BYTES;
    return (size_t)count * each + index_need(count) + (size_t)2 * BLOCK_BYTES;
}

void buffer_pool_init(struct buffer_pool *pool,
                      struct arena *arena,
                      uint32_t count,
                      struct journal *journal)
{
    memset(pool, 0, sizeof(*pool));
    env_mutex_init(&pool->lock);
    env_cond_init(&pool->loaded);
    index_init(&pool->index, arena, count);
    list_init(&pool->free);
    list_init(&pool->lru);
    pool->buffers = arena_take_array(arena, struct buffer, count);
    uint8_t *data = arena_take(arena, (size_t)count * BLOCK_BYTES, BLOCK_BYTES);
    pool->count = count;
    pool->journal = journal;
    pool->stats.count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct buffer *buffer = &pool->buffers[i];
        buffer->data = data + (size_t)i * BLOCK_BYTES;
        list_init(&buffer->dirty_link);
        list_add_tail(&pool->free, &buffer->link);
    }
}

void buffer_pool_fini(struct buffer_pool *pool)
{
    env_cond_fini(&pool->loaded);
    env_mutex_fini(&pool->lock);
}

const char *buffer_problem(enum buffer_kind kind,
                           const uint8_t *data,
                           struct fs_block block,
                           const struct uuid *fs_uuid)
{
    const char *problem = fs_header_problem(data, kind_magic[kind], block, fs_uuid);
    if (problem == NULL && kind == BUFFER_NODE) {
        problem = btree_node_problem(data);
    }
    return problem;
}

/* [lock] One for a new block, out of the index and off all lists; NULL when all are taken (B4). */
static struct buffer *buffer_take(struct buffer_pool *pool)
{
    struct list_node *link = list_pop(&pool->free);
    if (link != NULL) {
        pool->stats.in_use++;
        return buffer_from_link(link);
    }
    link = list_pop(&pool->lru);
    if (link == NULL) {
        return NULL;
    }
    struct buffer *buffer = buffer_from_link(link);
    index_remove(&pool->index, &buffer->by_block);
    return buffer;
}

/* [lock] */
static void buffer_enter(struct buffer_pool *pool,
                         struct buffer *buffer,
                         struct fs_block block,
                         enum buffer_kind kind,
                         enum buffer_state state)
{
    buffer->block = block;
    buffer->kind = kind;
    buffer->state = state;
    buffer->pins = 1;
    buffer->dirty = false;
    buffer->forgotten = false;
    pool->stats.pinned++;
    index_insert(&pool->index, &buffer->by_block, block.nr);
}

/* [lock] */
static void buffer_pin(struct buffer_pool *pool, struct buffer *buffer)
{
    if (buffer->pins == 0) {
        pool->stats.pinned++;
        if (!buffer->dirty) {
            list_remove(&buffer->link);
        }
    }
    buffer->pins++;
}

/* [lock] */
static void buffer_unpin(struct buffer_pool *pool, struct buffer *buffer)
{
    R5_CHECK(buffer->pins > 0);
    buffer->pins--;
    if (buffer->pins > 0) {
        return;
    }
    pool->stats.pinned--;
    if (buffer->forgotten) {
        buffer->state = BUFFER_FREE;
        pool->stats.in_use--;
        list_add_head(&pool->free, &buffer->link);
    } else if (!buffer->dirty) {
        list_add_tail(&pool->lru, &buffer->link);
    }
}

/* [lock] Takes it out of the index; the caller has a pin. */
static void buffer_leave(struct buffer_pool *pool, struct buffer *buffer)
{
    index_remove(&pool->index, &buffer->by_block);
    buffer->forgotten = true;
}

/* [lock, dropped meanwhile] The buffer is LOADING and pinned by this thread. */
static int
buffer_load(struct buffer_pool *pool, struct io_queue *queue, struct buffer *buffer, bool quiet)
{
    env_mutex_unlock(&pool->lock);
    int error = journal_read(pool->journal, queue, buffer->block, 1, buffer->data);
    if (error == 0) {
        const char *problem =
            buffer_problem(buffer->kind, buffer->data, buffer->block, &pool->fs_uuid);
        if (problem != NULL && !quiet) {
            msg_warn("fs",
                     "bad %s block=%llu: %s",
                     kind_name[buffer->kind],
                     (unsigned long long)buffer->block.nr,
                     problem);
        }
        error = problem == NULL ? 0 : -EUCLEAN;
    }
    env_mutex_lock(&pool->lock);
    if (error == 0) {
        buffer->state = BUFFER_READY;
    } else {
        buffer_leave(pool, buffer);
    }
    env_cond_broadcast(&pool->loaded);
    if (error != 0) {
        buffer_unpin(pool, buffer);
    }
    return error;
}

/* [lock] The buffer is in the index. 0: *out_buffer is pinned; 1: it is gone, look again. */
static int buffer_get_found(struct buffer_pool *pool,
                            struct buffer *buffer,
                            enum buffer_kind kind,
                            enum buffer_how how)
{
    if (buffer->kind != kind) {
        if (how == BUFFER_LOAD) {
            msg_warn("fs",
                     "block=%llu is used as a %s and as a %s",
                     (unsigned long long)buffer->block.nr,
                     kind_name[buffer->kind],
                     kind_name[kind]);
        }
        return -EUCLEAN;
    }
    if (buffer->state == BUFFER_LOADING && how == BUFFER_CACHED) {
        return -EAGAIN;
    }
    buffer_pin(pool, buffer);
    while (buffer->state == BUFFER_LOADING && !buffer->forgotten) {
        env_cond_wait(&pool->loaded, &pool->lock);
    }
    if (buffer->forgotten) {
        buffer_unpin(pool, buffer);
        return 1;
    }
    pool->stats.hits++;
    return 0;
}

int buffer_get(struct buffer_pool *pool,
               struct io_queue *queue,
               struct fs_block block,
               enum buffer_kind kind,
               enum buffer_how how,
               struct buffer **out_buffer)
{
    int error = 1;
    struct buffer *buffer = NULL;
    env_mutex_lock(&pool->lock);
    while (error == 1) {
        struct index_node *found = index_find(&pool->index, block.nr);
        if (found != NULL) {
            buffer = buffer_from_index(found);
            error = buffer_get_found(pool, buffer, kind, how);
            continue;
        }
        if (how == BUFFER_CACHED) {
            error = -EAGAIN;
            break;
        }
        buffer = buffer_take(pool);
        if (buffer == NULL) {
            error = -ENOMEM;
            break;
        }
        pool->stats.misses++;
        buffer_enter(pool, buffer, block, kind, BUFFER_LOADING);
        error = buffer_load(pool, queue, buffer, how == BUFFER_LOAD_QUIET);
    }
    env_mutex_unlock(&pool->lock);
    if (error == 0) {
        *out_buffer = buffer;
    }
    return error;
}

int buffer_make(struct buffer_pool *pool,
                struct fs_block block,
                enum buffer_kind kind,
                uint64_t generation,
                struct buffer **out_buffer)
{
    env_mutex_lock(&pool->lock);
    int error = 0;
    struct buffer *buffer = NULL;
    if (index_find(&pool->index, block.nr) != NULL) {
        error = -EEXIST;
    } else {
        buffer = buffer_take(pool);
        error = buffer == NULL ? -ENOMEM : 0;
    }
    if (error == 0) {
        struct fs_block_header header;
        fs_header_fill(&header, kind_magic[kind], block, &pool->fs_uuid, generation);
        memset(buffer->data, 0, BLOCK_BYTES);
        memcpy(buffer->data, &header, sizeof(header));
        buffer_enter(pool, buffer, block, kind, BUFFER_READY);
        *out_buffer = buffer;
    }
    env_mutex_unlock(&pool->lock);
    return error;
}

void buffer_hold(struct buffer_pool *pool, struct buffer *buffer)
{
    env_mutex_lock(&pool->lock);
    R5_CHECK(buffer->pins > 0);
    buffer->pins++;
    env_mutex_unlock(&pool->lock);
}

void buffer_put(struct buffer_pool *pool, struct buffer *buffer)
{
    if (buffer != NULL) {
        env_mutex_lock(&pool->lock);
        buffer_unpin(pool, buffer);
        env_mutex_unlock(&pool->lock);
    }
}

void buffer_forget(struct buffer_pool *pool, struct buffer *buffer)
{
    env_mutex_lock(&pool->lock);
    R5_CHECK(buffer->pins > 0 && !buffer->dirty && !buffer->forgotten);
    buffer_leave(pool, buffer);
    env_mutex_unlock(&pool->lock);
}

void buffer_set_dirty(struct buffer_pool *pool, struct buffer *buffer, bool dirty)
{
    env_mutex_lock(&pool->lock);
    R5_CHECK(buffer->dirty != dirty && buffer->state == BUFFER_READY);
    R5_CHECK(buffer->pins > 0 || !dirty);
    buffer->dirty = dirty;
    if (dirty) {
        pool->stats.dirty++;
    } else {
        pool->stats.dirty--;
        if (buffer->pins == 0) {
            list_add_tail(&pool->lru, &buffer->link);
        }
    }
    env_mutex_unlock(&pool->lock);
}

void buffer_pool_stats(struct buffer_pool *pool, struct buffer_stats *out)
{
    env_mutex_lock(&pool->lock);
    *out = pool->stats;
    env_mutex_unlock(&pool->lock);
}

void buffer_pool_verify(struct buffer_pool *pool)
{
    env_mutex_lock(&pool->lock);
    uint64_t listed_free = 0;
    uint64_t listed_lru = 0;
    list_for_each (node, &pool->free) {
        struct buffer *buffer = buffer_from_link(node);
        R5_CHECK(buffer->state == BUFFER_FREE && buffer->pins == 0);
        listed_free++;
    }
    list_for_each (node, &pool->lru) {
        struct buffer *buffer = buffer_from_link(node);
        R5_CHECK(buffer->state == BUFFER_READY && buffer->pins == 0 && !buffer->dirty);
        R5_CHECK(index_find(&pool->index, buffer->block.nr) == &buffer->by_block);
        listed_lru++;
    }
    uint64_t free_count = 0;
    uint64_t idle_count = 0;
    uint64_t dirty_count = 0;
    for (uint32_t i = 0; i < pool->count; i++) {
        const struct buffer *buffer = &pool->buffers[i];
        free_count += buffer->state == BUFFER_FREE;
        idle_count += buffer->state == BUFFER_READY && buffer->pins == 0 && !buffer->dirty;
        dirty_count += buffer->state != BUFFER_FREE && buffer->dirty;
    }
    R5_CHECK(free_count == listed_free);
    R5_CHECK(idle_count == listed_lru);
    R5_CHECK(dirty_count == pool->stats.dirty);
    R5_CHECK(pool->stats.in_use == pool->count - free_count);
    env_mutex_unlock(&pool->lock);
}
