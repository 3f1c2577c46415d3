/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A broken tree is repaired as a whole: all good leaves stay where they are and get new internal
 * nodes.
 *
 *     leaves that the walk reached + leaves found by searching     sorted; the newer of two that
 *                 |                                                overlap stays
 *                 v
 *     new internal nodes in free blocks, level by level  ->  super.tree_root, written last
 *
 *   B1  searched are the blocks that the bitmaps call used and nothing reachable uses: what hung
 *       below a lost internal node is there, and what was freed lately is not
 *   B2  nothing that is in use, reachable or found, is overwritten, so a crash before the super is
 *       written leaves the tree as it was, and the next check does the same again
 *   B3  a found "leaf" inside of a file's extent is a file's contents, not a leaf
 *
 * The cost is that of reading what was lost: one bad leaf means that the blocks of the extents it
 * held are read, a lost root means the whole used space. Bitmaps and counts are the next round's
 * business.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btree_node.h"
#include "extent.h"
#include "fsck.h"
#include "r5fs/base/bitmap.h"

#define CHILDREN_PER_NODE (FS_CHILDREN_MAX * 3 / 4)

/* One child of the level that is being built. */
struct fsck_child {
    struct fs_key key;
    struct fs_block block;
};

static struct fsck_leaf *leaf_at(struct fsck *ck, size_t index)
{
    return (struct fsck_leaf *)(void *)ck->leaves.data + index;
}

static struct fsck_child *child_at(struct fsck *ck, size_t index)
{
    return (struct fsck_child *)(void *)ck->parents.data + index;
}

/* ---- what is in use -------------------------------------------------------------------------- */

static void use_extents(struct fsck *ck, const uint8_t *leaf)
{
    for (uint32_t i = 0; i < btree_node_count(leaf); i++) {
        struct fs_key key = btree_node_key(leaf, i);
        struct extent extent;
        uint32_t bytes = 0;
        const uint8_t *data = btree_leaf_data(leaf, i, &bytes);
        if (key.type == FS_ITEM_EXTENT &&
            extent_decode(ck->shell, key.offset, data, bytes, &extent) == NULL) {
            (void)fsck_use(ck, extent.start, (uint32_t)extent.count); /* shared or not */
        }
    }
}

/* The extents of the leaves from `first` on. */
static int use_extents_of_leaves(struct fsck *ck, size_t first)
{
    int error = 0;
    for (size_t i = first; error == 0 && i < ck->leaves.count; i++) {
        struct fs_block block = leaf_at(ck, i)->block;
        error = fsck_read(ck, block, ck->block);
        if (error == 0 &&
            buffer_problem(BUFFER_NODE, ck->block, block, &ck->super.fs_uuid) != NULL) {
            error = -EIO; /* it was good a moment ago */
        }
        if (error == 0 && btree_node_level(ck->block) == 0) {
            use_extents(ck, ck->block);
        }
    }
    return error;
}

/* The group's bitmap as it is; all `otherwise` when it cannot be trusted. */
static int load_bits(struct fsck *ck, uint32_t group, int otherwise)
{
    struct fs_block block = fs_group_bitmap(&ck->super, group);
    int error = fsck_read(ck, block, ck->bits);
    if (error == 0 && buffer_problem(BUFFER_BITMAP, ck->bits, block, &ck->super.fs_uuid) != NULL) {
        memset(ck->bits, otherwise, BLOCK_BYTES);
    }
    return error;
}

static const uint8_t *loaded_bits(const struct fsck *ck)
{
    return ck->bits + sizeof(struct fs_block_header);
}

/* ---- searching ------------------------------------------------------------------------------- */

static int search_block(struct fsck *ck, struct fs_block block)
{
    const uint8_t *data = NULL;
    int error = fsck_peek(ck, block, &data);
    if (error == 0 && buffer_problem(BUFFER_NODE, data, block, &ck->super.fs_uuid) == NULL &&
        btree_node_level(data) == 0 && btree_node_count(data) > 0) {
        fsck_add_leaf(ck, block, data, true);
    }
    return error;
}

static int search_group(struct fsck *ck, uint32_t group)
{
    uint32_t blocks = fs_group_blocks(&ck->super, group);
    struct fs_block start = fs_group_start(&ck->super, group);
    int error = load_bits(ck, group, 0xff);
    uint32_t bit = error == 0 ? bitmap_next_set(loaded_bits(ck), 0, blocks) : blocks;
    while (error == 0 && bit < blocks) {
        struct fs_block block = fs_block_add(start, bit);
        if (!fs_block_is_fixed(&ck->super, block) && !fsck_is_used(ck, block, 1)) {
            error = search_block(ck, block);
        }
        bit = bitmap_next_set(loaded_bits(ck), bit + 1, blocks);
    }
    return error;
}

/* Leaves that nothing leads to any more; they and their extents are in use afterwards. */
static int search_leaves(struct fsck *ck)
{
    size_t first = ck->leaves.count;
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < ck->super.groups_used; i++) {
        error = search_group(ck, i);
    }
    if (error == 0) {
        error = use_extents_of_leaves(ck, first);
    }
    size_t kept = first;
    for (size_t i = first; error == 0 && i < ck->leaves.count; i++) {
        struct fsck_leaf leaf = *leaf_at(ck, i);
        if (!fsck_is_used(ck, leaf.block, 1)) { /* B3 */
            *leaf_at(ck, kept) = leaf;
            kept++;
        }
    }
    ck->leaves.count = error == 0 ? kept : first;
    for (size_t i = first; i < ck->leaves.count; i++) {
        (void)fsck_use_node(ck, leaf_at(ck, i)->block); /* it was free */
    }
    return error;
}

/* ---- sorting --------------------------------------------------------------------------------- */

static int compare_leaves(const void *a, const void *b)
{
    const struct fsck_leaf *left = a;
    const struct fsck_leaf *right = b;
    int order = fs_key_compare(&left->first, &right->first);
    if (order == 0) {
        order = left->block.nr < right->block.nr ? -1 : left->block.nr > right->block.nr;
    }
    return order;
}

static void leave_out(struct fsck *ck, const struct fsck_leaf *leaf, const struct fsck_leaf *other)
{
    fsck_say(ck,
             FSCK_NODE,
             true,
             "node %llu: overlaps the newer node %llu and is left out with its %u items",
             (unsigned long long)leaf->block.nr,
             (unsigned long long)other->block.nr,
             leaf->count);
}

/* Leaves in key order, none empty, none overlapping. */
static void sort_leaves(struct fsck *ck)
{
    size_t kept = 0;
    if (ck->leaves.count > 0) {
        qsort(ck->leaves.data, ck->leaves.count, sizeof(struct fsck_leaf), compare_leaves);
    }
    for (size_t i = 0; i < ck->leaves.count; i++) {
        struct fsck_leaf leaf = *leaf_at(ck, i);
        if (leaf.count == 0) {
            continue;
        }
        struct fsck_leaf *before = kept > 0 ? leaf_at(ck, kept - 1) : NULL;
        if (before == NULL || fs_key_compare(&before->last, &leaf.first) < 0) {
            *leaf_at(ck, kept) = leaf;
            kept++;
        } else if (before->generation < leaf.generation) {
            leave_out(ck, before, &leaf);
            *before = leaf; /* what was before it ends before it begins */
        } else {
            leave_out(ck, &leaf, before);
        }
    }
    ck->leaves.count = kept;
}

/* ---- building -------------------------------------------------------------------------------- */

/* Goes through all blocks once. */
struct free_search {
    uint32_t group;
    uint32_t bit;
    bool loaded;
};

/* The next block that neither the bitmaps nor anything reachable or found uses. */
static int take_free(struct fsck *ck, struct free_search *search, struct fs_block *out)
{
    while (search->group < ck->super.groups_used) {
        uint32_t blocks = fs_group_blocks(&ck->super, search->group);
        struct fs_block start = fs_group_start(&ck->super, search->group);
        int error = search->loaded ? 0 : load_bits(ck, search->group, 0);
        if (error != 0) {
            return error;
        }
        search->loaded = true;
        search->bit = bitmap_next_clear(loaded_bits(ck), search->bit, blocks);
        struct fs_block block = fs_block_add(start, search->bit);
        if (search->bit >= blocks) {
            *search = (struct free_search){.group = search->group + 1};
            continue;
        }
        search->bit++;
        if (!fs_block_is_fixed(&ck->super, block) && !fsck_is_used(ck, block, 1)) {
            *out = block;
            return 0;
        }
    }
    fsck_note(ck, "tree: not repaired, there is no free block for new nodes");
    return -ENOSPC;
}

static int make_node(struct fsck *ck,
                     struct free_search *search,
                     uint32_t level,
                     uint8_t **out_node,
                     struct fs_block *out_block)
{
    int error = take_free(ck, search, out_block);
    if (error == 0) {
        error = fsck_raw_add(ck, FS_MAGIC_NODE, *out_block, out_node);
    }
    if (error == 0) {
        (void)fsck_use_node(ck, *out_block); /* it was free */
        btree_node_init(*out_node, level);
    }
    return error;
}

/* Puts parents over the children in ck->parents; they take the children's place there. */
static int build_level(struct fsck *ck, struct free_search *search, uint32_t level)
{
    size_t parents = 0;
    for (size_t first = 0; first < ck->parents.count; first += CHILDREN_PER_NODE) {
        uint8_t *node = NULL;
        struct fs_block block;
        int error = make_node(ck, search, level, &node, &block);
        if (error != 0) {
            return error;
        }
        size_t end = min_u64(first + CHILDREN_PER_NODE, ck->parents.count);
        struct fs_key low = child_at(ck, first)->key;
        for (size_t i = first; i < end; i++) {
            const struct fsck_child *child = child_at(ck, i);
            btree_child_insert(node, (uint32_t)(i - first), &child->key, child->block);
        }
        *child_at(ck, parents) = (struct fsck_child){low, block};
        parents++;
    }
    ck->parents.count = parents;
    return 0;
}

static int build_tree(struct fsck *ck)
{
    struct free_search search = {.group = 0};
    uint32_t level = 1;
    int error = 0;
    ck->parents.count = 0;
    for (size_t i = 0; i < ck->leaves.count; i++) {
        struct fsck_child *child = fsck_push(ck, &ck->parents, sizeof(*child));
        *child = (struct fsck_child){leaf_at(ck, i)->first, leaf_at(ck, i)->block};
    }
    if (ck->leaves.count == 0) {
        struct fsck_child *child = fsck_push(ck, &ck->parents, sizeof(*child));
        uint8_t *node = NULL;
        error = make_node(ck, &search, 0, &node, &child->block);
    }
    if (ck->out_of_memory) {
        return -ENOMEM;
    }
    child_at(ck, 0)->key = (struct fs_key){0, 0, 0}; /* T3 */
    while (error == 0 && ck->parents.count > 1 && level < FS_TREE_LEVELS_MAX) {
        error = build_level(ck, &search, level);
        level++;
    }
    if (error == 0) {
        ck->super.tree_root = child_at(ck, 0)->block;
        ck->super.tree_levels = level;
    }
    return error;
}

int fsck_rebuild_tree(struct fsck *ck)
{
    size_t reached = ck->leaves.count;
    int error = use_extents_of_leaves(ck, 0);
    if (error == 0) {
        error = search_leaves(ck);
    }
    if (error == 0 && ck->out_of_memory) {
        error = -ENOMEM;
    }
    if (error != 0) {
        return error;
    }
    size_t found = ck->leaves.count - reached;
    sort_leaves(ck);
    error = build_tree(ck);
    if (error == 0) {
        ck->super.flags |= FS_SUPER_MOUNTED;
        error = fsck_raw_super(ck);
    }
    if (error == 0) {
        error = fsck_raw_commit(ck);
    }
    if (error == 0) {
        fsck_note(ck,
                  "tree: put together again from %llu leaves, %llu of them searched for",
                  (unsigned long long)ck->leaves.count,
                  (unsigned long long)found);
    }
    return error;
}
