/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intrusive hash index of 64-bit keys, chained.
 *
 *   buckets [0] -> node -> node -> NULL
 *           [1] -> NULL
 *           [2] -> node -> NULL         bucket = mixed key & mask, about one node per bucket
 *
 * Invariants: I1 a node stands in the bucket of its key; I2 no key stands twice; I3 count is the
 * number of nodes.
 * Happy path: index_init at start, then insert, find, remove.
 * Failure modes: I2 broken by an insert, or removing a stranger, is our own mistake.
 * Thread: any; the caller holds the lock.
 */
#include "r5fs/base/index.h"

#include "r5fs/base/check.h"

/* Odd, bits without pattern: the golden ratio's fraction. */
#define MIX_FACTOR  UINT64_C(0x9e3779b97f4a7c15)
#define OBJECTS_MAX ((size_t)1 << 48)

static size_t bucket_count_for(size_t objects_max)
{
    size_t count = 1;

    R5_CHECK(objects_max <= OBJECTS_MAX);
    while (count < objects_max) {
        count *= 2;
    }
    return count;
}

size_t index_need(size_t objects_max)
{
    size_t slot_bytes = sizeof(struct index_node *);

    /* Whatever was taken before may end anywhere. */
    return bucket_count_for(objects_max) * slot_bytes + slot_bytes - 1;
}

void index_init(struct index *index, struct arena *arena, size_t objects_max)
{
    size_t count = bucket_count_for(objects_max);

    *index = (struct index){
        .buckets = arena_take_array(arena, struct index_node *, count),
        .mask = count - 1,
    };
}

/* Counting keys, keys that step by a power of two and keys that differ only high up all spread. */
static struct index_node **bucket_of(const struct index *index, uint64_t key)
{
    uint64_t mixed = (key ^ (key >> 32)) * MIX_FACTOR;

    mixed = (mixed ^ (mixed >> 29)) * MIX_FACTOR;
    return &index->buckets[(mixed >> 32 ^ mixed) & index->mask];
}

struct index_node *index_find(const struct index *index, uint64_t key)
{
    struct index_node *node = *bucket_of(index, key);

    while (node != NULL && node->key != key) {
        node = node->next;
    }
    return node;
}

void index_insert(struct index *index, struct index_node *node, uint64_t key)
{
    struct index_node **bucket = bucket_of(index, key);

    R5_CHECK(index_find(index, key) == NULL); /* I2 */
    node->key = key;
    node->next = *bucket;
    *bucket = node;
    index->count++;
}

void index_remove(struct index *index, struct index_node *node)
{
    struct index_node **link = bucket_of(index, node->key);

    while (*link != NULL && *link != node) {
        link = &(*link)->next;
    }
    R5_CHECK(*link == node);
    *link = node->next;
    node->next = NULL;
    index->count--;
}

size_t index_bucket_count(const struct index *index)
{
    return (size_t)index->mask + 1;
}

struct index_node *index_bucket(const struct index *index, size_t bucket)
{
    R5_CHECK(bucket <= index->mask);
    return index->buckets[bucket];
}
