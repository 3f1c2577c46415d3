/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intrusive hash index from a 64-bit key to an object that embeds an index_node. The bucket array
 * is taken from the arena and never grows. The caller holds the lock. Keys are mixed, so that
 * counting keys spread. Duplicate keys are the caller's mistake (CHECK).
 */
#ifndef R5FS_BASE_INDEX_H
#define R5FS_BASE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"

struct index_node {
    struct index_node *next;
    uint64_t key;
};

struct index {
    struct index_node **buckets; /* [fixed] */
    uint64_t mask;               /* [fixed] bucket count - 1 */
    uint64_t count;
};

size_t index_need(size_t objects_max);
void index_init(struct index *index, struct arena *arena, size_t objects_max);
struct index_node *index_find(const struct index *index, uint64_t key);
void index_insert(struct index *index, struct index_node *node, uint64_t key);
/* The node must be in the index. */
void index_remove(struct index *index, struct index_node *node);
/* Walk: first node of bucket `b` and on (for x_verify and dumps). */
size_t index_bucket_count(const struct index *index);
struct index_node *index_bucket(const struct index *index, size_t bucket);

#endif
