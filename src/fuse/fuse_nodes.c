/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lookup counts: the table of inodes that the kernel holds.
 *
 *   (pool) --prepare--> spare --hold--> known, count 1..n --forget--> (pool)
 *                                          | mark_gone
 *                                          v
 *                                   known and gone --forget--> evict list --evicted--> (pool)
 *
 * Invariants:
 *   N1  a node in the index has count > 0; no number is there twice.
 *   N2  gone_count is the number of gone nodes in the index.
 *   N3  evict_count is the length of the evict list plus the nodes handed out by next_evict.
 *   N4  the kernel is never told of a number before its count was raised here: a FORGET that runs
 *       ahead of the reply cannot be missed.
 *
 * Happy path: a worker holds one spare node, so that an operation that has made something can
 * always tell the kernel; lookups of known numbers only count.
 * Failure modes: full. readdirplus stops handing out counts at 3/4, the reaper asks the kernel to
 * forget; when the last node is gone, fuse_nodes_prepare parks on `freed`. What wakes it: a node
 * given back, by a FORGET or an eviction; FORGETs are read because at most `waiters_max` workers
 * may park; and the wait has an end. A FORGET of more than was counted is the kernel's (or a
 * test's) mistake: named once per message limit, taken as all there was.
 * Thread: any worker, the reaper.
 */
#include "fuse_nodes.h"

#include <errno.h>

#include "r5fs/base/msg.h"
#include "r5fs/base/units.h"

/* A gone inode that the kernel still knows is simply open, or its FORGET has been handed out by the
 * kernel and waits for its worker's turn. So long it is given: after the last unlink, and after an
 * old file may just have been closed. */
#define UNLINK_IN_FLIGHT_NS UINT64_C(50000000)
#define FORGET_IN_FLIGHT_NS UINT64_C(20000000)

_Static_assert(sizeof(struct fuse_node) <= 40, "a few tens of bytes for each inode");

size_t fuse_nodes_need(uint64_t count)
{
    return pool_need(sizeof(struct fuse_node), _Alignof(struct fuse_node), count) +
           index_need(count);
}

void fuse_nodes_init(struct fuse_nodes *nodes,
                     struct arena *arena,
                     uint64_t count,
                     uint32_t waiters_max)
{
    *nodes = (struct fuse_nodes){.size = count, .waiters_max = waiters_max};
    env_mutex_init(&nodes->lock);
    env_cond_init(&nodes->freed);
    env_cond_init(&nodes->work);
    list_init(&nodes->evict);
    pool_init(&nodes->pool,
              arena,
              &(struct pool_shape){.name = "fuse node",
                                   .rank = POOL_RANK_FUSE_NODE,
                                   .object_bytes = sizeof(struct fuse_node),
                                   .align = _Alignof(struct fuse_node),
                                   .count = count});
    index_init(&nodes->index, arena, count);
}

static struct fuse_node *node_of(struct index_node *node)
{
    return container_of(node, struct fuse_node, node);
}

static struct fuse_node *find(const struct fuse_nodes *nodes, uint64_t ino)
{
    struct index_node *found = index_find(&nodes->index, ino);

    return found == NULL ? NULL : node_of(found);
}

void fuse_nodes_fini(struct fuse_nodes *nodes)
{
    R5_CHECK(nodes->waiters == 0);
    for (size_t bucket = 0; bucket < index_bucket_count(&nodes->index); bucket++) {
        struct index_node *node = index_bucket(&nodes->index, bucket);
        while (node != NULL) {
            index_remove(&nodes->index, node);
            pool_put(&nodes->pool, node_of(node));
            node = index_bucket(&nodes->index, bucket);
        }
    }
    for (struct list_node *node = list_pop(&nodes->evict); node != NULL;
         node = list_pop(&nodes->evict)) {
        pool_put(&nodes->pool, container_of(node, struct fuse_node, waiting));
    }
    pool_fini(&nodes->pool);
    env_cond_fini(&nodes->work);
    env_cond_fini(&nodes->freed);
    env_mutex_fini(&nodes->lock);
}

/* [lock] */
static bool is_tight(const struct fuse_nodes *nodes)
{
    return nodes->index.count > nodes->size / 4 * 3;
}

/* [lock] */
static void give_back(struct fuse_nodes *nodes, struct fuse_node *node)
{
    pool_put(&nodes->pool, node);
    env_cond_broadcast(&nodes->freed);
}

/* [lock] Parks for a node; NULL when the time is over or too many are parked already. */
static struct fuse_node *wait_for_node(struct fuse_nodes *nodes, uint64_t wait_ns)
{
    uint64_t begin = env_now_ns();
    struct fuse_node *node = NULL;
    bool in_time = true;

    /* A refusal that was made up ends without a forget. */
    if (nodes->waiters >= nodes->waiters_max && !pool_faults_active()) {
        return NULL;
    }
    nodes->waiters++;
    pool_note_parked(&nodes->pool);
    env_cond_signal(&nodes->work);
    while (node == NULL && in_time && !nodes->stopping) {
        /* Sooner while a fault plan refuses nodes that are there. */
        (void)env_cond_wait_until(
            &nodes->freed, &nodes->lock, pool_faults_deadline(begin + wait_ns));
        in_time = env_now_ns() < begin + wait_ns;
        node = pool_try_get(&nodes->pool);
    }
    nodes->waiters--;
    pool_note_served(&nodes->pool, (env_now_ns() - begin) / 1000);
    return node;
}

int fuse_nodes_prepare(struct fuse_nodes *nodes, struct fuse_node **spare, uint64_t wait_ns)
{
    if (*spare != NULL) {
        return 0;
    }
    struct fuse_node *node = pool_try_get(&nodes->pool);
    if (node == NULL) {
        env_mutex_lock(&nodes->lock);
        node = wait_for_node(nodes, wait_ns);
        env_mutex_unlock(&nodes->lock);
    }
    if (node == NULL) {
        return -ENOMEM;
    }
    *spare = node;
    return 0;
}

void fuse_nodes_unprepare(struct fuse_nodes *nodes, struct fuse_node **spare)
{
    if (*spare != NULL) {
        pool_put(&nodes->pool, *spare);
        *spare = NULL;
    }
}

/* [lock] */
static void insert(struct fuse_nodes *nodes, struct fuse_node *node, uint64_t ino, uint64_t parent)
{
    node->known.count = 1;
    node->known.parent = parent;
    node->gone = false;
    index_insert(&nodes->index, &node->node, ino);
    if (is_tight(nodes)) {
        env_cond_signal(&nodes->work);
    }
}

void fuse_nodes_hold(struct fuse_nodes *nodes,
                     struct fuse_node **spare,
                     uint64_t ino,
                     uint64_t parent)
{
    env_mutex_lock(&nodes->lock);
    struct fuse_node *node = find(nodes, ino);
    if (node != NULL) {
        node->known.count++;
        node->known.parent = parent;
    } else {
        R5_CHECK(*spare != NULL);
        insert(nodes, *spare, ino, parent);
        *spare = NULL;
    }
    env_mutex_unlock(&nodes->lock);
}

bool fuse_nodes_try_hold(struct fuse_nodes *nodes, uint64_t ino, uint64_t parent)
{
    bool held = true;

    env_mutex_lock(&nodes->lock);
    struct fuse_node *node = find(nodes, ino);
    if (node != NULL) {
        node->known.count++;
        node->known.parent = parent;
    } else {
        node = is_tight(nodes) ? NULL : pool_try_get(&nodes->pool);
        held = node != NULL;
        if (held) {
            insert(nodes, node, ino, parent);
        }
    }
    env_mutex_unlock(&nodes->lock);
    return held;
}

/* [lock] The kernel does not know the number any more. */
static void drop(struct fuse_nodes *nodes, struct fuse_node *node)
{
    index_remove(&nodes->index, &node->node);
    if (!node->gone) {
        give_back(nodes, node);
        return;
    }
    nodes->gone_count--;
    nodes->evict_count++;
    list_add_tail(&nodes->evict, &node->waiting);
    env_cond_signal(&nodes->work);
}

void fuse_nodes_forget(struct fuse_nodes *nodes, uint64_t ino, uint64_t count)
{
    env_mutex_lock(&nodes->lock);
    struct fuse_node *node = find(nodes, ino);
    uint64_t known = node == NULL ? 0 : node->known.count;
    if (node != NULL && count < known) {
        node->known.count -= count;
    } else if (node != NULL) {
        drop(nodes, node);
    }
    env_mutex_unlock(&nodes->lock);
    /* The root is known from the start without a lookup. */
    if (count > known && ino != 1) {
        msg_warn("fuse",
                 "forget of more than was looked up ino=%llu count=%llu known=%llu",
                 (unsigned long long)ino,
                 (unsigned long long)count,
                 (unsigned long long)known);
    }
}

bool fuse_nodes_mark_gone(struct fuse_nodes *nodes, uint64_t ino)
{
    env_mutex_lock(&nodes->lock);
    struct fuse_node *node = find(nodes, ino);
    if (node != NULL && !node->gone) {
        node->gone = true;
        nodes->gone_count++;
        nodes->gone_at_ns = env_now_ns();
    }
    env_mutex_unlock(&nodes->lock);
    return node == NULL;
}

uint64_t fuse_nodes_count(struct fuse_nodes *nodes, uint64_t ino)
{
    env_mutex_lock(&nodes->lock);
    const struct fuse_node *node = find(nodes, ino);
    uint64_t count = node == NULL ? 0 : node->known.count;
    env_mutex_unlock(&nodes->lock);
    return count;
}

struct fuse_node *fuse_nodes_next_evict(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    struct list_node *first = list_pop(&nodes->evict);
    env_mutex_unlock(&nodes->lock);
    return first == NULL ? NULL : container_of(first, struct fuse_node, waiting);
}

void fuse_nodes_evicted(struct fuse_nodes *nodes, struct fuse_node *node)
{
    env_mutex_lock(&nodes->lock);
    R5_CHECK(nodes->evict_count > 0);
    nodes->evict_count--;
    give_back(nodes, node);
    env_mutex_unlock(&nodes->lock);
}

uint64_t fuse_nodes_evict_count(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    uint64_t count = nodes->evict_count;
    env_mutex_unlock(&nodes->lock);
    return count;
}

/* [lock] Whether space may still come back: something is being evicted, or is gone and its
 * FORGET may be on its way until `gone_until_ns`. */
static bool is_unsettled(const struct fuse_nodes *nodes, uint64_t gone_until_ns)
{
    return nodes->evict_count > 0 || (nodes->gone_count > 0 && env_now_ns() < gone_until_ns);
}

bool fuse_nodes_settle(struct fuse_nodes *nodes, uint64_t wait_ns)
{
    uint64_t begin = env_now_ns();

    env_mutex_lock(&nodes->lock);
    uint64_t before = nodes->gone_count + nodes->evict_count;
    uint64_t gone_until =
        max_u64(begin + FORGET_IN_FLIGHT_NS, nodes->gone_at_ns + UNLINK_IN_FLIGHT_NS);
    while (!nodes->stopping && is_unsettled(nodes, gone_until) && env_now_ns() < begin + wait_ns) {
        /* Gone but open inodes wake nobody: look again when their time is over. */
        uint64_t until = nodes->evict_count > 0 ? begin + wait_ns : gone_until;
        (void)env_cond_wait_until(
            &nodes->freed, &nodes->lock, min_u64(until, begin + wait_ns)); /* the loop looks */
    }
    bool evicted = nodes->gone_count + nodes->evict_count < before;
    env_mutex_unlock(&nodes->lock);
    return evicted;
}

bool fuse_nodes_is_tight(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    bool tight = is_tight(nodes) || nodes->waiters > 0;
    env_mutex_unlock(&nodes->lock);
    return tight;
}

uint64_t fuse_nodes_excess(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    uint64_t relaxed = nodes->size / 8 * 5;
    uint64_t excess = nodes->index.count > relaxed ? nodes->index.count - relaxed : 0;
    excess = excess == 0 && nodes->waiters > 0 ? 1 : excess;
    env_mutex_unlock(&nodes->lock);
    return excess;
}

uint32_t fuse_nodes_pick(struct fuse_nodes *nodes, uint64_t *out_inos, uint32_t max)
{
    size_t buckets = index_bucket_count(&nodes->index);
    uint32_t picked = 0;

    env_mutex_lock(&nodes->lock);
    for (size_t i = 0; i < buckets && picked < max; i++) {
        for (const struct index_node *node = index_bucket(&nodes->index, nodes->cursor % buckets);
             node != NULL && picked < max;
             node = node->next) {
            out_inos[picked++] = node->key;
        }
        nodes->cursor++;
    }
    env_mutex_unlock(&nodes->lock);
    return picked;
}

bool fuse_nodes_pick_directory(struct fuse_nodes *nodes, uint64_t *out_parent)
{
    size_t buckets = index_bucket_count(&nodes->index);
    bool found = false;

    env_mutex_lock(&nodes->lock);
    for (size_t i = 0; i < buckets && !found; i++) {
        struct index_node *node = index_bucket(&nodes->index, nodes->cursor % buckets);
        nodes->cursor++;
        if (node != NULL && !node_of(node)->gone) {
            *out_parent = node_of(node)->known.parent;
            found = true;
        }
    }
    env_mutex_unlock(&nodes->lock);
    return found;
}

bool fuse_nodes_is_parked(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    bool parked = nodes->waiters > 0;
    env_mutex_unlock(&nodes->lock);
    return parked;
}

bool fuse_nodes_wait_work(struct fuse_nodes *nodes, bool shrink, uint64_t deadline_ns)
{
    bool in_time = true;

    env_mutex_lock(&nodes->lock);
    while (!nodes->stopping && list_is_empty(&nodes->evict) &&
           !(shrink && (is_tight(nodes) || nodes->waiters > 0)) && in_time) {
        in_time = env_cond_wait_until(&nodes->work, &nodes->lock, deadline_ns);
    }
    bool go_on = !nodes->stopping;
    env_mutex_unlock(&nodes->lock);
    return go_on;
}

void fuse_nodes_stop(struct fuse_nodes *nodes)
{
    env_mutex_lock(&nodes->lock);
    nodes->stopping = true;
    env_cond_broadcast(&nodes->work);
    env_cond_broadcast(&nodes->freed);
    env_mutex_unlock(&nodes->lock);
}

void fuse_nodes_verify(struct fuse_nodes *nodes)
{
    uint64_t known = 0;
    uint64_t gone = 0;
    uint64_t listed = 0;

    env_mutex_lock(&nodes->lock);
    for (size_t bucket = 0; bucket < index_bucket_count(&nodes->index); bucket++) {
        for (struct index_node *node = index_bucket(&nodes->index, bucket); node != NULL;
             node = node->next) {
            R5_CHECK(node_of(node)->known.count > 0); /* N1 */
            known++;
            gone += node_of(node)->gone ? 1 : 0;
        }
    }
    list_for_each (node, &nodes->evict) {
        listed++;
    }
    R5_CHECK(known == nodes->index.count);
    R5_CHECK(gone == nodes->gone_count);    /* N2 */
    R5_CHECK(listed <= nodes->evict_count); /* N3 */
    env_mutex_unlock(&nodes->lock);
}
