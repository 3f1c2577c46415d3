/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading the tree.
 *
 *                 root: level super.tree_levels - 1
 *        [ -inf | key | key ]
 *          |       |      \
 *        leaf    leaf    leaf
 *
 *   T1  a node's level is one below its parent's
 *   T2  a child's keys lie in [its key in the parent, the next key there or above); an internal
 *   child's
 *       first key equals the lower bound
 *   T3  the first key of the root, when internal, is the lowest of all: {0, 0, 0}
 *   T4  a leaf may be empty when it is its parent's only child, or the root
 *
 * T1 and T2 are checked at every step down, so that what hangs wrong in a damaged tree is an error
 * at its address and a walk always ends. Any thread (see reader.h).
 */
#include "btree.h"

#include <errno.h>
#include <string.h>

#include "btree_node.h"
#include "fs_internal.h"

void btree_path_init(struct btree_path *path, struct fs_reader *reader)
{
    memset(path, 0, sizeof(*path));
    path->reader = reader;
}

void btree_path_release(struct btree_path *path)
{
    for (uint32_t i = 0; i < FS_TREE_LEVELS_MAX; i++) {
        if (path->level[i].buffer != NULL) {
            buffer_put(&path->reader->fs->buffers, path->level[i].buffer);
            path->level[i].buffer = NULL;
        }
    }
    path->levels = 0;
}

/* Whether the keys of `node` lie within what its parents say (T2). */
static bool keys_are_within(const struct btree_path *path, uint32_t level, const uint8_t *node)
{
    uint32_t count = btree_node_count(node);
    if (count == 0) {
        return true; /* a leaf (N3) */
    }
    struct fs_key first = btree_node_key(node, 0);
    struct fs_key last = btree_node_key(node, count - 1);
    const uint8_t *parent = path->level[level + 1].buffer->data;
    struct fs_key low = btree_node_key(parent, path->level[level + 1].slot);
    int order = fs_key_compare(&low, &first);
    if (level == 0 ? order > 0 : order != 0) {
        return false;
    }
    for (uint32_t i = level + 1; i < path->levels; i++) {
        const uint8_t *above = path->level[i].buffer->data;
        if (path->level[i].slot + 1 < btree_node_count(above)) {
            struct fs_key high = btree_node_key(above, path->level[i].slot + 1);
            return fs_key_compare(&last, &high) < 0;
        }
    }
    return true;
}

bool btree_node_hangs_right(const struct btree_path *path, uint32_t level, const uint8_t *node)
{
    return btree_node_level(node) == level && keys_are_within(path, level, node);
}

/* Pins the child on which level + 1 of the path stands, as path level `level`, checked. */
static int path_step_down(struct btree_path *path, uint32_t level)
{
    struct fs *fs = path->reader->fs;
    R5_CHECK(path->level[level + 1].buffer != NULL);
    const uint8_t *parent = path->level[level + 1].buffer->data;
    struct fs_block block = btree_child(parent, path->level[level + 1].slot);
    struct buffer *buffer = NULL;
    int error = fs_reader_get(path->reader, block, &buffer);
    if (error != 0) {
        return error;
    }
    if (!btree_node_hangs_right(path, level, buffer->data)) {
        buffer_put(&fs->buffers, buffer);
        return fs_damage(fs, 0, block, "tree node hangs at the wrong place");
    }
    path->level[level].buffer = buffer;
    path->level[level].slot = 0;
    return 0;
}

static int path_root(struct btree_path *path)
{
    struct fs *fs = path->reader->fs;
    btree_path_release(path);
    uint32_t top = fs->super.tree_levels - 1;
    struct fs_block root = fs->super.tree_root;
    int error = fs_reader_get(path->reader, root, &path->level[top].buffer);
    if (error != 0) {
        return error;
    }
    path->levels = top + 1;
    path->level[top].slot = 0;
    const uint8_t *node = path->level[top].buffer->data;
    struct fs_key lowest = {0, 0, 0};
    bool right = btree_node_level(node) == top;
    if (right && top > 0) {
        struct fs_key first = btree_node_key(node, 0);
        right = fs_key_compare(&first, &lowest) == 0;
    }
    return right ? 0 : fs_damage(fs, 0, root, "the tree root is not one");
}

/* Down to the leaf where `key` is or would be. The leaf's slot: the first not below `key`. */
static int path_descend(struct btree_path *path, const struct fs_key *key, bool *out_equal)
{
    int error = path_root(path);
    for (uint32_t level = path->levels; error == 0 && level-- > 0;) {
        bool equal = false;
        uint32_t slot = btree_node_search(path->level[level].buffer->data, key, &equal);
        if (level == 0) {
            path->level[0].slot = slot;
            *out_equal = equal;
            break;
        }
        path->level[level].slot = equal || slot == 0 ? slot : slot - 1;
        error = path_step_down(path, level - 1);
    }
    if (error != 0) {
        btree_path_release(path);
    }
    return error;
}

/* From the leaf to the one on its right (or left); -ENOENT: there is none. */
static int path_to_neighbour(struct btree_path *path, bool right)
{
    struct buffer_pool *pool = &path->reader->fs->buffers;
    uint32_t level = 1;
    while (level < path->levels) {
        uint32_t slot = path->level[level].slot;
        if (right ? slot + 1 < btree_node_count(path->level[level].buffer->data) : slot > 0) {
            break;
        }
        level++;
    }
    if (level >= path->levels) {
        return -ENOENT;
    }
    path->level[level].slot += right ? 1u : UINT32_MAX; /* + 1 or - 1 */
    for (uint32_t i = 0; i < level; i++) {
        buffer_put(pool, path->level[i].buffer);
        path->level[i].buffer = NULL;
    }
    while (level-- > 0) {
        int error = path_step_down(path, level);
        if (error != 0) {
            return error;
        }
        uint32_t count = btree_node_count(path->level[level].buffer->data);
        path->level[level].slot = right || count == 0 ? 0 : count - 1;
    }
    return 0;
}

/* The leaf's slot may be behind its last item: on to the next item, over empty leaves. */
static int path_settle_right(struct btree_path *path)
{
    while (path->level[0].slot >= btree_node_count(path->level[0].buffer->data)) {
        int error = path_to_neighbour(path, true);
        if (error != 0) {
            btree_path_release(path);
            return error;
        }
    }
    return 0;
}

/* To the last item left of the leaf, over empty leaves. */
static int path_settle_left(struct btree_path *path)
{
    do {
        int error = path_to_neighbour(path, false);
        if (error != 0) {
            btree_path_release(path);
            return error;
        }
    } while (btree_node_count(path->level[0].buffer->data) == 0);
    return 0;
}

int btree_find(struct btree_path *path, const struct fs_key *key)
{
    bool equal = false;
    int error = path_descend(path, key, &equal);
    if (error == 0 && !equal) {
        error = -ENOENT;
    }
    return error;
}

int btree_seek(struct btree_path *path, const struct fs_key *key)
{
    bool equal = false;
    int error = path_descend(path, key, &equal);
    return error == 0 ? path_settle_right(path) : error;
}

int btree_seek_last(struct btree_path *path, const struct fs_key *key)
{
    bool equal = false;
    int error = path_descend(path, key, &equal);
    if (error != 0 || equal) {
        return error;
    }
    if (path->level[0].slot > 0) {
        path->level[0].slot--;
        return 0;
    }
    return path_settle_left(path);
}

int btree_next(struct btree_path *path)
{
    R5_CHECK(path->levels > 0);
    path->level[0].slot++;
    return path_settle_right(path);
}

int btree_prev(struct btree_path *path)
{
    R5_CHECK(path->levels > 0);
    if (path->level[0].slot > 0) {
        path->level[0].slot--;
        return 0;
    }
    return path_settle_left(path);
}

struct fs_key btree_key(const struct btree_path *path)
{
    R5_CHECK(path->levels > 0);
    return btree_node_key(path->level[0].buffer->data, path->level[0].slot);
}

const uint8_t *btree_data(const struct btree_path *path, uint32_t *out_bytes)
{
    R5_CHECK(path->levels > 0);
    return btree_leaf_data(path->level[0].buffer->data, path->level[0].slot, out_bytes);
}

int btree_get(struct fs_reader *reader,
              const struct fs_key *key,
              void *out,
              uint32_t max,
              uint32_t *out_bytes)
{
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_find(&path, key);
    if (error == 0) {
        const uint8_t *data = btree_data(&path, out_bytes);
        memcpy(out, data, *out_bytes < max ? *out_bytes : max);
    }
    btree_path_release(&path);
    return error;
}

/* Shows one node; -ECANCELED: do not go below it. */
static int walk_visit(struct btree_path *path,
                      uint32_t level,
                      struct fs_block block,
                      int error,
                      int (*node)(void *context, const struct btree_visit *visit),
                      void *context)
{
    struct btree_visit visit = {
        .block = block,
        .level = level,
        .data = error == 0 ? path->level[level].buffer->data : NULL,
        .error = error,
        .parent = fs_block(0),
    };
    if (level + 1 < path->reader->fs->super.tree_levels) {
        visit.parent = path->level[level + 1].buffer->block;
    }
    int answer = node(context, &visit);
    if (answer < 0) {
        return answer;
    }
    return error != 0 || answer > 0 || level == 0 ? -ECANCELED : 0;
}

int btree_walk(struct fs_reader *reader,
               int (*node)(void *context, const struct btree_visit *visit),
               void *context)
{
    struct btree_path path;
    btree_path_init(&path, reader);
    uint32_t level = reader->fs->super.tree_levels - 1;
    int error = path_root(&path);
    error = walk_visit(&path, level, reader->fs->super.tree_root, error, node, context);
    /* `level` is the node whose child at its slot comes next; -ECANCELED: on to the next
     * sibling. */
    while (error == 0 || error == -ECANCELED) {
        if (error == -ECANCELED) {
            buffer_put(&reader->fs->buffers, path.level[level].buffer);
            path.level[level].buffer = NULL;
            level++;
            if (level >= reader->fs->super.tree_levels) {
                error = 0;
                break;
            }
            path.level[level].slot++;
        }
        const uint8_t *data = path.level[level].buffer->data;
        if (path.level[level].slot >= btree_node_count(data)) {
            error = -ECANCELED;
            continue;
        }
        struct fs_block child = btree_child(data, path.level[level].slot);
        level--;
        error = path_step_down(&path, level);
        error = walk_visit(&path, level, child, error, node, context);
    }
    btree_path_release(&path);
    return error;
}
