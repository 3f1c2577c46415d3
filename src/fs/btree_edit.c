/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing the tree (phases in btree.h; T1 to T4 in btree.c).
 *
 *   prepare   on the way down: an internal node that could overflow from this transaction's inserts
 *   is
 *             split, a thin one is joined with its neighbour, a root with one child gives way to it
 *   insert    the leaf has room, or it is split in two and its parent, which has room, gets one
 *   child remove    an empty leaf is freed; a thin one is joined with a neighbour that is in memory
 *
 *   E1  a change touches at most the leaf, a second leaf and their parent (TXN_CREDITS_INSERT,
 *   _REMOVE) E2  whatever can fail (reading, taking a block) comes before the first byte is changed
 *   E3  when a node's first child goes, its successor takes over its key, so that T2 and T3 hold
 *
 * Splits and joins mean nothing to readers between two calls, so they need not be in the same
 * transaction as what they were made for. Under the op lock; nodes change under the tree lock.
 */
#include <errno.h>
#include <string.h>

#include "btree.h"
#include "btree_node.h"
#include "fs_internal.h"

#define NODE_THIN_CHILDREN (FS_CHILDREN_MAX / 4)
#define LEAF_THIN_BYTES    (FS_NODE_ROOM / 3)
#define LEAF_JOINED_BYTES \
    (FS_NODE_ROOM * 3 / 4) /* not so full that the next insert splits it again */

static uint8_t *path_node(const struct btree_path *path, uint32_t level)
{
    return path->level[level].buffer->data;
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* Puts a root above the present one. */
static int root_raise(struct fs_txn *txn, struct btree_path *path)
{
    struct fs *fs = txn->fs;
    uint32_t top = path->levels;
    if (top >= FS_TREE_LEVELS_MAX) {
        return -ENOSPC;
    }
    struct buffer *root = NULL;
    int error = freespace_alloc_node(txn, &root);
    if (error != 0) {
        return error;
    }
    struct fs_key lowest = {0, 0, 0};
    btree_node_init(root->data, top);
    btree_child_insert(root->data, 0, &lowest, path->level[top - 1].buffer->block);
    fs->super.tree_root = root->block;
    fs->super.tree_levels = top + 1;
    txn_dirty_super(txn);
    path->level[top].buffer = root;
    path->level[top].slot = 0;
    path->levels = top + 1;
    return 0;
}

/* Hangs `right` behind path level `level`, whose parent has room. */
static void path_add_sibling(struct fs_txn *txn,
                             struct btree_path *path,
                             uint32_t level,
                             struct buffer *right,
                             const struct fs_key *key)
{
    struct buffer *parent = path->level[level + 1].buffer;
    txn_dirty(txn, parent);
    btree_child_insert(parent->data, path->level[level + 1].slot + 1, key, right->block);
}

/* Children that stay when a node is split: half, but most where the path goes through the last one,
 * as keys that only grow come there. */
static uint32_t split_point(const uint8_t *node, uint32_t slot)
{
    uint32_t count = btree_node_count(node);
    return slot + 1 == count ? count - count / 8 - 1 : count / 2;
}

/* Splits the internal node at path level `level`. The path is not valid afterwards. */
static int node_split(struct fs_txn *txn, struct btree_path *path, uint32_t level)
{
    struct buffer *right = NULL;
    int error = freespace_alloc_node(txn, &right);
    if (error == 0 && level + 1 == path->levels) {
        error = root_raise(txn, path);
        if (error != 0) {
            freespace_free_node(txn, right);
        }
    }
    if (error == 0) {
        struct buffer *left = path->level[level].buffer;
        uint32_t stay = split_point(left->data, path->level[level].slot);
        txn_dirty(txn, left);
        btree_node_init(right->data, level);
        btree_child_move_tail(left->data, stay, right->data);
        struct fs_key key = btree_node_key(right->data, 0);
        path_add_sibling(txn, path, level, right, &key);
    }
    buffer_put(&txn->fs->buffers, right);
    return error;
}

/* Bytes that an item takes, its header included. */
static uint32_t leaf_item_bytes(const uint8_t *leaf, uint32_t slot)
{
    uint32_t bytes = 0;
    (void)btree_leaf_data(leaf, slot, &bytes); /* only the length is wanted */
    return bytes + (uint32_t)sizeof(struct fs_item_disk);
}

struct leaf_split {
    uint32_t left_items; /* of the old ones that stay */
    bool new_goes_left;
};

/* Where to split a leaf that gets one more item at `slot`: as even as possible, but behind the last
 * item when that is where the new one goes (keys that only grow leave full leaves). */
static struct leaf_split leaf_split_choose(const uint8_t *leaf, uint32_t slot, uint32_t new_bytes)
{
    uint32_t count = btree_node_count(leaf);
    struct leaf_split best = {.left_items = count, .new_goes_left = false};
    if (slot == count) {
        return best;
    }
    uint32_t size = new_bytes + (uint32_t)sizeof(struct fs_item_disk);
    uint32_t total = btree_node_used(leaf) + size;
    uint32_t left = 0;
    uint32_t best_gap = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        /* Here the boundary is before old item i; at `slot` the new item may stand on either
         * side. */
        if (i == slot) {
            uint32_t gap = left > total - left ? 2 * left - total : total - 2 * left;
            if (left > 0 && gap < best_gap) {
                best_gap = gap;
                best = (struct leaf_split){i, false};
            }
            left += size;
        }
        uint32_t gap = left > total - left ? 2 * left - total : total - 2 * left;
        if (left > 0 && gap < best_gap) {
            best_gap = gap;
            best = (struct leaf_split){i, i >= slot};
        }
        left += leaf_item_bytes(leaf, i);
    }
    return best;
}

/* Inserts into a leaf that has no room. */
static int leaf_split_insert(struct fs_txn *txn,
                             struct btree_path *path,
                             const struct fs_key *key,
                             const void *data,
                             uint32_t bytes)
{
    struct buffer *right = NULL;
    int error = freespace_alloc_node(txn, &right);
    if (error == 0 && path->levels == 1) {
        error = root_raise(txn, path);
        if (error != 0) {
            freespace_free_node(txn, right);
        }
    }
    if (error == 0) {
        struct buffer *left = path->level[0].buffer;
        uint32_t slot = path->level[0].slot;
        struct leaf_split split = leaf_split_choose(left->data, slot, bytes);
        txn_dirty(txn, left);
        btree_node_init(right->data, 0);
        btree_leaf_move_tail(left->data, split.left_items, right->data);
        if (split.new_goes_left) {
            btree_leaf_insert(left->data, slot, key, data, bytes);
        } else {
            btree_leaf_insert(right->data, slot - split.left_items, key, data, bytes);
        }
        struct fs_key first = btree_node_key(right->data, 0);
        path_add_sibling(txn, path, 0, right, &first);
    }
    buffer_put(&txn->fs->buffers, right);
    return error;
}

/* ---- joining --------------------------------------------------------------------------------- */

/* Takes the child at `slot` out of its parent. */
static void child_drop(struct fs_txn *txn, struct buffer *parent, uint32_t slot)
{
    txn_dirty(txn, parent);
    struct fs_key bound = btree_node_key(parent->data, slot);
    btree_child_remove(parent->data, slot);
    if (slot == 0) {
        btree_child_set_key(parent->data, 0, &bound); /* E3 */
    }
}

/* The node at `slot` of the parent of path level `level`, when it is in memory and hangs
 * rightly. */
static struct buffer *
sibling_cached(struct fs_txn *txn, struct btree_path *path, uint32_t level, uint32_t slot)
{
    struct buffer *buffer = NULL;
    const uint8_t *parent = path_node(path, level + 1);
    if (slot >= btree_node_count(parent)) {
        return NULL;
    }
    struct fs_block block = btree_child(parent, slot);
    if (fs_block_is_fixed(&txn->fs->super, block) ||
        buffer_get(
            &txn->fs->buffers, txn->thread->queue, block, BUFFER_NODE, BUFFER_CACHED, &buffer) !=
            0) {
        return NULL; /* not worth a read */
    }
    uint32_t own_slot = path->level[level + 1].slot;
    path->level[level + 1].slot = slot;
    bool right = btree_node_hangs_right(path, level, buffer->data);
    path->level[level + 1].slot = own_slot;
    if (!right || buffer == path->level[level].buffer) {
        buffer_put(&txn->fs->buffers, buffer);
        return NULL;
    }
    return buffer;
}

static bool nodes_join_well(const uint8_t *left, const uint8_t *right)
{
    if (btree_node_level(left) == 0) {
        return btree_node_used(left) + btree_node_used(right) <= LEAF_JOINED_BYTES;
    }
    return btree_node_count(left) + btree_node_count(right) <= FS_CHILDREN_MAX / 2;
}

/* Moves everything of `right` into `left`, its neighbour, and frees it. `right_slot`: in the
 * parent. */
static void nodes_join(struct fs_txn *txn,
                       struct buffer *parent,
                       struct buffer *left,
                       struct buffer *right,
                       uint32_t right_slot)
{
    txn_dirty(txn, left);
    if (btree_node_level(left->data) == 0) {
        btree_leaf_move_tail(right->data, 0, left->data);
    } else {
        btree_child_move_tail(right->data, 0, left->data);
    }
    child_drop(txn, parent, right_slot);
    freespace_free_node(txn, right);
}

/* Joins path level `level` with a neighbour if one is in memory and both fit. */
static bool path_join(struct fs_txn *txn, struct btree_path *path, uint32_t level)
{
    struct buffer *node = path->level[level].buffer;
    struct buffer *parent = path->level[level + 1].buffer;
    uint32_t slot = path->level[level + 1].slot;
    struct buffer *other = slot > 0 ? sibling_cached(txn, path, level, slot - 1) : NULL;
    bool joined = false;
    if (other != NULL && nodes_join_well(other->data, node->data)) {
        nodes_join(txn, parent, other, node, slot);
        joined = true;
    }
    buffer_put(&txn->fs->buffers, other);
    if (joined) {
        return true;
    }
    other = sibling_cached(txn, path, level, slot + 1);
    if (other != NULL && nodes_join_well(node->data, other->data)) {
        nodes_join(txn, parent, node, other, slot + 1);
        joined = true;
    }
    buffer_put(&txn->fs->buffers, other);
    return joined;
}

/* ---- preparing ------------------------------------------------------------------------------- */

/* Children that may still be added under one node in this transaction. */
static uint32_t children_expected(const struct fs_txn *txn)
{
    return txn->need.inserts + TXN_SPLITS_MAX;
}

enum shaping {
    SHAPE_GOOD,
    SHAPE_CHANGED, /* look again */
};

/* A root with one child gives way. */
static enum shaping shape_root(struct fs_txn *txn, struct btree_path *path)
{
    uint32_t top = path->levels - 1;
    if (top == 0 || btree_node_count(path_node(path, top)) > 1 || txn->splits_left == 0) {
        return SHAPE_GOOD;
    }
    txn->splits_left--;
    txn_dirty_super(txn);
    txn->fs->super.tree_root = btree_child(path_node(path, top), 0);
    txn->fs->super.tree_levels = top;
    freespace_free_node(txn, path->level[top].buffer);
    return SHAPE_CHANGED;
}

/* One step at the highest internal node of the path that needs it. The tree lock is held
 * exclusive. */
static int shape_path(struct fs_txn *txn, struct btree_path *path, enum shaping *out_shaping)
{
    *out_shaping = shape_root(txn, path);
    for (uint32_t level = path->levels; *out_shaping == SHAPE_GOOD && level-- > 1;) {
        uint32_t count = btree_node_count(path_node(path, level));
        bool is_root = level + 1 == path->levels;
        if (txn->need.inserts > 0 && count + children_expected(txn) > FS_CHILDREN_MAX) {
            if (txn->splits_left == 0) {
                return -EAGAIN;
            }
            txn->splits_left--;
            *out_shaping = SHAPE_CHANGED;
            return node_split(txn, path, level);
        }
        if (count < NODE_THIN_CHILDREN && !is_root && txn->splits_left == TXN_SPLITS_MAX &&
            path_join(txn, path, level)) {
            txn->splits_left = 0; /* it cost as much as two splits */
            *out_shaping = SHAPE_CHANGED;
        }
    }
    return 0;
}

static bool path_needs_shaping(const struct fs_txn *txn, const struct btree_path *path)
{
    for (uint32_t level = path->levels; level-- > 1;) {
        uint32_t count = btree_node_count(path_node(path, level));
        bool is_root = level + 1 == path->levels;
        bool full = txn->need.inserts > 0 && count + children_expected(txn) > FS_CHILDREN_MAX;
        bool thin = count < NODE_THIN_CHILDREN && !is_root;
        if (full || (txn->splits_left > 0 && (thin || (is_root && count == 1)))) {
            return true;
        }
    }
    return false;
}

static void path_pin(struct fs_txn *txn, const struct btree_path *path)
{
    for (uint32_t i = 0; i < path->levels; i++) {
        txn_pin(txn, path->level[i].buffer);
    }
}

int btree_prepare(struct fs_txn *txn, const struct fs_key *key)
{
    R5_CHECK(txn->locked && !txn->changing);
    struct btree_path path;
    btree_path_init(&path, &txn->reader);
    enum shaping shaping = SHAPE_CHANGED;
    int error = 0;
    while (error == 0 && shaping == SHAPE_CHANGED) {
        error = btree_find(&path, key);
        error = error == -ENOENT ? 0 : error;
        shaping = SHAPE_GOOD;
        if (error == 0 && path_needs_shaping(txn, &path)) {
            txn_change(txn);
            error = shape_path(txn, &path, &shaping);
            txn_change_done(txn);
        }
        if (error == 0 && shaping == SHAPE_GOOD) {
            path_pin(txn, &path);
        }
    }
    btree_path_release(&path);
    return error;
}

/* ---- items ----------------------------------------------------------------------------------- */

static int path_insert(struct fs_txn *txn,
                       struct btree_path *path,
                       const struct fs_key *key,
                       const void *data,
                       uint32_t bytes)
{
    struct buffer *leaf = path->level[0].buffer;
    if (!btree_leaf_fits(leaf->data, bytes)) {
        return leaf_split_insert(txn, path, key, data, bytes);
    }
    txn_dirty(txn, leaf);
    btree_leaf_insert(leaf->data, path->level[0].slot, key, data, bytes);
    return 0;
}

int btree_insert(struct fs_txn *txn, const struct fs_key *key, const void *data, uint32_t bytes)
{
    R5_CHECK(txn->changing && bytes <= FS_ITEM_BYTES_MAX);
    struct btree_path path;
    btree_path_init(&path, &txn->reader);
    int error = btree_find(&path, key);
    if (error == 0) {
        error = -EEXIST;
    } else if (error == -ENOENT) {
        error = path_insert(txn, &path, key, data, bytes);
    }
    btree_path_release(&path);
    return error;
}

/* The item grows beyond what its leaf can take: out and in again. The new half is taken first
 * (E2). */
static int replace_longer(struct fs_txn *txn,
                          struct btree_path *path,
                          const struct fs_key *key,
                          const void *data,
                          uint32_t bytes)
{
    struct buffer *leaf = path->level[0].buffer;
    uint8_t old_data[FS_ITEM_BYTES_MAX];
    uint32_t old_bytes = 0;
    memcpy(old_data, btree_data(path, &old_bytes), FS_ITEM_BYTES_MAX < old_bytes ? 0 : old_bytes);
    txn_dirty(txn, leaf);
    btree_leaf_remove(leaf->data, path->level[0].slot);
    int error = leaf_split_insert(txn, path, key, data, bytes);
    if (error != 0) {
        btree_leaf_insert(leaf->data, path->level[0].slot, key, old_data, old_bytes);
    }
    return error;
}

int btree_replace(struct fs_txn *txn, const struct fs_key *key, const void *data, uint32_t bytes)
{
    R5_CHECK(txn->changing && bytes <= FS_ITEM_BYTES_MAX);
    struct btree_path path;
    btree_path_init(&path, &txn->reader);
    int error = btree_find(&path, key);
    if (error == 0) {
        struct buffer *leaf = path.level[0].buffer;
        uint32_t slot = path.level[0].slot;
        uint32_t old_bytes = 0;
        (void)btree_data(&path, &old_bytes); /* only the length is wanted */
        uint32_t used = btree_node_used(leaf->data) - old_bytes + bytes;
        if (old_bytes == bytes) {
            txn_dirty(txn, leaf);
            memcpy(btree_leaf_data_mutable(leaf->data, slot), data, bytes);
        } else if (used <= FS_NODE_ROOM) {
            txn_dirty(txn, leaf);
            btree_leaf_remove(leaf->data, slot);
            btree_leaf_insert(leaf->data, slot, key, data, bytes);
        } else {
            error = replace_longer(txn, &path, key, data, bytes);
        }
    }
    btree_path_release(&path);
    return error;
}

/* After an item left: frees the leaf when it is empty, joins it when it is thin (E1). */
static void leaf_shrink(struct fs_txn *txn, struct btree_path *path)
{
    struct buffer *leaf = path->level[0].buffer;
    if (path->levels == 1) {
        return;
    }
    struct buffer *parent = path->level[1].buffer;
    if (btree_node_count(leaf->data) == 0) {
        if (btree_node_count(parent->data) > 1) {
            child_drop(txn, parent, path->level[1].slot);
            freespace_free_node(txn, leaf);
        }
    } else if (btree_node_used(leaf->data) < LEAF_THIN_BYTES) {
        (void)path_join(txn, path, 0); /* a thin leaf may stay */
    }
}

int btree_remove(struct fs_txn *txn, const struct fs_key *key)
{
    R5_CHECK(txn->changing);
    struct btree_path path;
    btree_path_init(&path, &txn->reader);
    int error = btree_find(&path, key);
    if (error == 0) {
        txn_dirty(txn, path.level[0].buffer);
        btree_leaf_remove(path_node(&path, 0), path.level[0].slot);
        leaf_shrink(txn, &path);
    }
    btree_path_release(&path);
    return error;
}

int btree_change(struct fs_txn *txn,
                 const struct fs_key *key,
                 uint8_t **out_data,
                 uint32_t *out_bytes)
{
    R5_CHECK(txn->changing);
    struct btree_path path;
    btree_path_init(&path, &txn->reader);
    int error = btree_find(&path, key);
    if (error == 0) {
        struct buffer *leaf = path.level[0].buffer;
        txn_dirty(txn, leaf);
        (void)btree_data(&path, out_bytes); /* only the length is wanted */
        *out_data = btree_leaf_data_mutable(leaf->data, path.level[0].slot);
    }
    btree_path_release(&path);
    return error; /* a dirty leaf stays in memory without the path's pin */
}
