/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every node of the tree, parents before children, in key order; then every item, leaf by leaf.
 *
 *     levels[3]  root            one block in memory for each level of the path that is being
 *     levels[2]   | . . * . |    walked; `slot` is the child that comes next
 *     levels[1]       | * . |
 *     (leaf)            ----  -> ck->leaves
 *
 * A node counts when its address may hold one, nothing else is there, it verifies, has the level
 * that its parent expects, and its keys lie where its parents say (T1, T2 in btree.c). What does
 * not count breaks the tree; a good leaf in a wrong place stays in the list, marked so by its keys
 * alone. Each node takes its block in the map of used blocks, so a second way to it is found and
 * never walked.
 */
#include <errno.h>
#include <string.h>

#include "btree_node.h"
#include "fsck.h"

struct walk_level {
    uint8_t *node;
    struct fs_block block;
    struct fs_key high; /* keys are below, when bounded */
    uint32_t slot;
    bool bounded;
};

/* Where a node hangs. */
struct place {
    struct fs_block block;
    struct fs_block parent; /* 0: the super */
    uint32_t level;
    struct fs_key low;
    struct fs_key high;
    bool bounded;
};

static void say_node(struct fsck *ck, const struct place *place, const char *what)
{
    ck->tree_broken = true;
    fsck_say(ck,
             FSCK_NODE,
             true,
             "node %llu: %s (level %u, below block %llu)",
             (unsigned long long)place->block.nr,
             what,
             place->level,
             (unsigned long long)place->parent.nr);
}

static const char *place_problem(const struct place *place, const uint8_t *node)
{
    uint32_t count = btree_node_count(node);
    if (btree_node_level(node) != place->level) {
        return "wrong level";
    }
    if (count == 0) {
        return NULL; /* an empty leaf */
    }
    struct fs_key first = btree_node_key(node, 0);
    struct fs_key last = btree_node_key(node, count - 1);
    int order = fs_key_compare(&place->low, &first);
    if (place->level == 0 ? order > 0 : order != 0) {
        return "keys begin where its parent does not expect it";
    }
    if (place->bounded && fs_key_compare(&last, &place->high) >= 0) {
        return "keys reach into its neighbour's";
    }
    return NULL;
}

static bool leaf_has_entries(const uint8_t *leaf)
{
    for (uint32_t i = 0; i < btree_node_count(leaf); i++) {
        if (btree_node_key(leaf, i).type == FS_ITEM_DIRENT) {
            return true;
        }
    }
    return false;
}

void fsck_add_leaf(struct fsck *ck, struct fs_block block, const uint8_t *node, bool found)
{
    struct fs_block_header header;
    struct fsck_leaf *leaf = fsck_push(ck, &ck->leaves, sizeof(*leaf));
    memcpy(&header, node, sizeof(header));
    leaf->block = block;
    leaf->generation = le64_get(header.generation);
    leaf->count = btree_node_count(node);
    leaf->has_entries = leaf_has_entries(node);
    leaf->found = found;
    if (leaf->count > 0) {
        leaf->first = btree_node_key(node, 0);
        leaf->last = btree_node_key(node, leaf->count - 1);
    }
}

/* Reads and judges one node into `node`. *out_down: an internal node whose children come next. */
static int walk_visit(struct fsck *ck, const struct place *place, uint8_t *node, bool *out_down)
{
    *out_down = false;
    if (!fs_run_is_plausible(&ck->super, place->block, 1)) {
        say_node(ck, place, "no node can be there");
        return 0;
    }
    if (fsck_is_used(ck, place->block, 1)) {
        say_node(ck, place, "is reached twice");
        return 0;
    }
    int error = fsck_read(ck, place->block, node);
    if (error == -EIO) {
        return 0; /* said, and nothing will be repaired */
    }
    if (error != 0) {
        return error;
    }
    const char *problem = buffer_problem(BUFFER_NODE, node, place->block, &ck->super.fs_uuid);
    if (problem != NULL) {
        say_node(ck, place, problem);
        return 0;
    }
    (void)fsck_use_node(ck, place->block); /* it was free */
    problem = place_problem(place, node);
    if (problem != NULL) {
        say_node(ck, place, problem);
    }
    if (btree_node_level(node) == 0) {
        fsck_add_leaf(ck, place->block, node, false);
    }
    *out_down = place->level > 0 && btree_node_level(node) == place->level;
    return 0;
}

/* Where the child at the level's slot hangs. */
static struct place child_place(const struct walk_level *level, uint32_t number)
{
    struct place place = {
        .block = btree_child(level->node, level->slot),
        .parent = level->block,
        .level = number - 1,
        .low = btree_node_key(level->node, level->slot),
        .high = level->high,
        .bounded = level->bounded,
    };
    if (level->slot + 1 < btree_node_count(level->node)) {
        place.high = btree_node_key(level->node, level->slot + 1);
        place.bounded = true;
    }
    return place;
}

static void level_enter(struct walk_level *level, const struct place *place)
{
    level->block = place->block;
    level->slot = 0;
    level->high = place->high;
    level->bounded = place->bounded;
}

int fsck_walk_tree(struct fsck *ck)
{
    struct walk_level levels[FS_TREE_LEVELS_MAX] = {0};
    uint32_t top = ck->super.tree_levels - 1;
    struct place place = {.block = ck->super.tree_root, .level = top};
    bool down = false;
    for (uint32_t i = 0; i < FS_TREE_LEVELS_MAX; i++) {
        levels[i].node = ck->levels + (size_t)i * BLOCK_BYTES;
    }
    int error = walk_visit(ck, &place, levels[top].node, &down);
    if (!down) {
        return error;
    }
    uint32_t at = top;
    level_enter(&levels[top], &place);
    while (error == 0 && at <= top) {
        if (levels[at].slot >= btree_node_count(levels[at].node)) {
            at++; /* done; the level above stands on the next child already */
            continue;
        }
        place = child_place(&levels[at], at);
        levels[at].slot++;
        error = walk_visit(ck, &place, levels[at - 1].node, &down);
        if (down) {
            at--;
            level_enter(&levels[at], &place);
        }
    }
    return error;
}

/* ---- items ----------------------------------------------------------------------------------- */

/* The last key seen, once there was one. */
struct cursor {
    bool started;
    struct fs_key last;
};

static int each_of_leaf(struct fsck *ck,
                        const struct fsck_leaf *leaf,
                        struct cursor *cursor,
                        int (*item)(struct fsck *ck, const struct fsck_item *item))
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < btree_node_count(ck->block); i++) {
        struct fsck_item now = {.key = btree_node_key(ck->block, i), .leaf = leaf->block};
        if (cursor->started && fs_key_compare(&now.key, &cursor->last) <= 0) {
            continue; /* of a leaf in a wrong place */
        }
        cursor->started = true;
        cursor->last = now.key;
        now.data = btree_leaf_data(ck->block, i, &now.bytes);
        error = item(ck, &now);
    }
    return error;
}

int fsck_each_item(struct fsck *ck,
                   bool entries,
                   int (*item)(struct fsck *ck, const struct fsck_item *item))
{
    const struct fsck_leaf *leaves = (const struct fsck_leaf *)(const void *)ck->leaves.data;
    struct cursor cursor = {.started = false};
    int error = 0;
    for (size_t i = 0; error == 0 && i < ck->leaves.count; i++) {
        if (entries && !leaves[i].has_entries) {
            continue;
        }
        error = fsck_read(ck, leaves[i].block, ck->block);
        if (error != 0) {
            break;
        }
        if (buffer_problem(BUFFER_NODE, ck->block, leaves[i].block, &ck->super.fs_uuid) != NULL ||
            btree_node_level(ck->block) != 0) {
            return -EIO; /* it was good a moment ago */
        }
        error = each_of_leaf(ck, &leaves[i], &cursor, item);
    }
    return error;
}
