/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One tree node: pure functions on 4 KiB. A node that passed btree_node_problem() may be
 * trusted. */
#ifndef R5FS_FS_BTREE_NODE_H
#define R5FS_FS_BTREE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "btree.h"
#include "fs_format.h"

/* What is wrong (the common header apart), or NULL. */
const char *btree_node_problem(const uint8_t *node);

void btree_node_init(uint8_t *node, uint32_t level); /* the common header is there already */
uint32_t btree_node_level(const uint8_t *node);
uint32_t btree_node_count(const uint8_t *node);
struct fs_key btree_node_key(const uint8_t *node, uint32_t slot);
/* First slot whose key is not below `key` (may be count). *out_equal: it is equal. */
uint32_t btree_node_search(const uint8_t *node, const struct fs_key *key, bool *out_equal);
/* Bytes that headers and data of the node use; at most FS_NODE_ROOM. */
uint32_t btree_node_used(const uint8_t *node);

/* Leaf. */
const uint8_t *btree_leaf_data(const uint8_t *leaf, uint32_t slot, uint32_t *out_bytes);
uint8_t *btree_leaf_data_mutable(uint8_t *leaf, uint32_t slot);
bool btree_leaf_fits(const uint8_t *leaf, uint32_t bytes);
/* The item fits. */
void btree_leaf_insert(
    uint8_t *leaf, uint32_t slot, const struct fs_key *key, const void *data, uint32_t bytes);
void btree_leaf_remove(uint8_t *leaf, uint32_t slot);
/* Moves the items from `slot` on to the end of `to`; they fit. */
void btree_leaf_move_tail(uint8_t *leaf, uint32_t slot, uint8_t *to);

/* Whether `node` may stand at path level `level`, below where level + 1 of the path stands (T1,
 * T2). */
bool btree_node_hangs_right(const struct btree_path *path, uint32_t level, const uint8_t *node);

/* Internal node. */
struct fs_block btree_child(const uint8_t *node, uint32_t slot);
void btree_child_insert(uint8_t *node,
                        uint32_t slot,
                        const struct fs_key *key,
                        struct fs_block child);
void btree_child_remove(uint8_t *node, uint32_t slot);
void btree_child_set_key(uint8_t *node, uint32_t slot, const struct fs_key *key);
void btree_child_move_tail(uint8_t *node, uint32_t slot, uint8_t *to);

#endif
