/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Choosing blocks.
 *
 *   group:  | fixed | zone: tree nodes first | files first ...                          |
 *           0                     blocks/32                                          blocks
 *
 * File blocks: right behind the goal; else in the goal's group; else in a group that has a long
 * run; else in an untouched group; else whatever run there is; at last also in the zones. So a
 * stream stays in one piece, metadata stays together, and the disk is still used to the last block.
 * In the meta group file blocks leave super.reserve_blocks over.
 *
 * Tree nodes: from the lowest free block of the meta group, which is changed, between transactions
 * only, when it cannot serve a whole transaction. So one transaction's nodes dirty one bitmap.
 *
 * A group whose bitmap cannot be read is passed over. Under the op lock.
 */
#include <errno.h>

#include "freespace.h"
#include "freespace_group.h"
#include "fs_internal.h"
#include "r5fs/base/bitmap.h"

#define ZONE_SHARE      32u
#define RUN_GOOD_BLOCKS 64u /* a run at least so long is worth another group */

struct run {
    uint32_t first;
    uint32_t count;
};

/* What a search is content with. */
struct search {
    uint32_t want;
    uint32_t least;
    bool zones; /* look there too */
};

/* The first run of `want` free blocks in [from, end), or the longest there is. */
static struct run run_find(const uint8_t *bits, uint32_t from, uint32_t end, uint32_t want)
{
    struct run best = {0, 0};
    while (from < end && best.count < want) {
        uint32_t first = bitmap_next_clear(bits, from, end);
        uint32_t limit = (uint32_t)min_u64(end, (uint64_t)first + want);
        uint32_t after = bitmap_next_set(bits, first, limit);
        if (after - first > best.count) {
            best = (struct run){first, after - first};
        }
        from = after + 1;
    }
    return best;
}

/* Free blocks of the group that files may take. */
static uint32_t
group_allowance(const struct fs_txn *txn, const struct group *group, const uint8_t *bits)
{
    const struct fs_super *super = &txn->fs->super;
    if (group->number != super->meta_group || txn->need.deep) {
        return UINT32_MAX;
    }
    uint32_t free_blocks = group->blocks - bitmap_count_set(bits, 0, group->blocks);
    return free_blocks > super->reserve_blocks ? free_blocks - super->reserve_blocks : 0;
}

/* Lowers the bound on the group's longest run to what a whole search found. Only in memory: a hint
 * that is lost costs a search. */
static void group_learn(const struct fs_txn *txn,
                        const struct group *group,
                        const uint8_t *bits,
                        uint32_t longest)
{
    if (bits == txn->fs->space.combined) {
        return; /* longer ones will come back with the next commit */
    }
    struct group_counts counts = group_counts_get(group);
    if (counts.longest_run > longest) {
        counts.longest_run = longest;
        group_counts_set(group, counts);
    }
}

/* Looks through one group, from block `from` of it on and round. */
static struct run group_search(struct fs_txn *txn,
                               const struct group *group,
                               uint32_t from,
                               const struct search *search)
{
    const uint8_t *bits = group_combined(txn->fs, group);
    uint32_t allowance = group_allowance(txn, group, bits);
    uint32_t want = search->want < allowance ? search->want : allowance;
    uint32_t begin = search->zones ? 0 : group->blocks / ZONE_SHARE;
    from = from < begin ? begin : from;
    if (want == 0) {
        return (struct run){0, 0};
    }
    struct run best = run_find(bits, from, group->blocks, want);
    if (best.count < want) {
        struct run before = run_find(bits, begin, from, want);
        best = before.count > best.count ? before : best;
        /* A run across `from` was seen in two pieces. */
        if (best.count < want && !search->zones) {
            group_learn(txn, group, bits, 2 * best.count);
        }
    }
    best.count = best.count < search->least && best.count < want ? 0 : best.count;
    return best;
}

/* The run right at the goal, as long as it goes. */
static struct run
group_at_goal(struct fs_txn *txn, const struct group *group, uint32_t goal, uint32_t want)
{
    const uint8_t *bits = group_combined(txn->fs, group);
    uint32_t allowance = group_allowance(txn, group, bits);
    want = want < allowance ? want : allowance;
    if (want == 0 || goal >= group->blocks || bitmap_get(bits, goal)) {
        return (struct run){0, 0};
    }
    uint32_t limit = (uint32_t)min_u64(group->blocks, (uint64_t)goal + want);
    return (struct run){goal, bitmap_next_set(bits, goal, limit) - goal};
}

/* What is still open when a group was looked through. */
struct found {
    struct fs_block start;
    uint32_t count;
    int error; /* the first that stood in the way */
};

static void
found_take(struct fs_txn *txn, const struct group *group, struct run run, struct found *found)
{
    if (run.count > 0) {
        group_take(txn, group, run.first, run.count);
        found->start = fs_block_add(group->start, run.first);
        found->count = run.count;
    }
}

static bool
found_open(struct fs_txn *txn, uint32_t number, struct group *group, struct found *found)
{
    int error = group_open(txn, number, group);
    if (error != 0 && found->error == 0) {
        found->error = error;
    }
    return error == 0;
}

static void search_goal(struct fs_txn *txn,
                        struct fs_block goal,
                        const struct search *search,
                        struct found *found)
{
    struct group group;
    if (!found_open(txn, fs_group_of(&txn->fs->super, goal), &group, found)) {
        return;
    }
    uint32_t at = (uint32_t)(goal.nr - group.start.nr);
    struct run run = group_at_goal(txn, &group, at, search->want);
    if (run.count == 0) {
        run = group_search(txn, &group, at, search);
    }
    found_take(txn, &group, run, found);
    group_close(txn, &group);
}

/* Whether the summary promises the group to be worth a look. */
static bool group_is_promising(struct fs_txn *txn,
                               uint32_t number,
                               const struct search *search,
                               struct found *found)
{
    struct group group = {.number = number};
    int error = freespace_summary(txn->fs, txn->thread, number, &group.summary);
    if (error != 0) {
        found->error = found->error == 0 ? error : found->error;
        return false;
    }
    struct group_counts counts = group_counts_get(&group);
    buffer_put(&txn->fs->buffers, group.summary);
    return search->zones ? counts.free_blocks > 0 : counts.longest_run >= search->least;
}

/* All groups in use, the goal's first. */
static void search_all(struct fs_txn *txn,
                       struct fs_block goal,
                       const struct search *search,
                       struct found *found)
{
    uint32_t used = txn->fs->super.groups_used;
    uint32_t first = fs_group_of(&txn->fs->super, goal);
    for (uint32_t i = 0; i < used && found->count == 0; i++) {
        uint32_t number = (uint32_t)(((uint64_t)first + i) % used);
        struct group group;
        if (group_is_promising(txn, number, search, found) &&
            found_open(txn, number, &group, found)) {
            found_take(txn, &group, group_search(txn, &group, 0, search), found);
            group_close(txn, &group);
        }
    }
}

static void search_fresh(struct fs_txn *txn, const struct search *search, struct found *found)
{
    struct fs *fs = txn->fs;
    uint32_t number = fs->super.groups_used;
    struct group group;
    if (number >= fs->super.group_count) {
        return;
    }
    int error = group_begin(txn);
    if (error != 0) {
        found->error = found->error == 0 ? error : found->error;
        return;
    }
    if (found_open(txn, number, &group, found)) {
        struct search any = {search->want, 1, false};
        found_take(txn, &group, group_search(txn, &group, 0, &any), found);
        group_close(txn, &group);
    }
}

int freespace_alloc(struct fs_txn *txn,
                    struct fs_block goal,
                    uint32_t want,
                    struct fs_block *out_start,
                    uint32_t *out_count)
{
    struct fs *fs = txn->fs;
    R5_CHECK(txn->locked && want > 0);
    want = want < txn->allocate_left ? want : txn->allocate_left;
    if (want == 0) {
        return -ENOSPC;
    }
    if (goal.nr == 0 || fs_group_of(&fs->super, goal) >= fs->super.groups_used) {
        goal = fs->space.cursor;
    }
    uint32_t good = want < RUN_GOOD_BLOCKS ? want : RUN_GOOD_BLOCKS;
    const struct search worth = {want, good, false};
    const struct search any = {want, 1, false};
    const struct search last = {want, 1, true};
    struct found found = {.count = 0};
    search_goal(txn, goal, &worth, &found);
    if (found.count == 0) {
        search_all(txn, goal, &worth, &found);
    }
    if (found.count == 0) {
        search_fresh(txn, &worth, &found);
    }
    if (found.count == 0) {
        search_all(txn, goal, &any, &found);
    }
    if (found.count == 0) {
        search_all(txn, goal, &last, &found);
    }
    if (found.count == 0) {
        return found.error != 0 ? found.error : -ENOSPC;
    }
    txn->allocate_left -= found.count;
    struct fs_block after = fs_block_add(found.start, found.count);
    if (fs_group_of(&fs->super, after) < fs->super.groups_used) {
        fs->space.cursor = after;
    }
    *out_start = found.start;
    *out_count = found.count;
    return 0;
}

/* ---- tree nodes ------------------------------------------------------------------------------ */

/* Whether the group has room for `nodes`; then its bitmap stays in memory for the transaction. */
static int group_serves(struct fs_txn *txn, uint32_t number, uint32_t nodes, bool *out_serves)
{
    struct group group;
    *out_serves = false;
    int error = group_open(txn, number, &group);
    if (error != 0) {
        return error;
    }
    const uint8_t *bits = group_combined(txn->fs, &group);
    uint32_t free_blocks = group.blocks - bitmap_count_set(bits, 0, group.blocks);
    if (free_blocks >= nodes) {
        txn_pin(txn, group.bitmap);
        txn_pin(txn, group.summary);
        *out_serves = true;
    }
    group_close(txn, &group);
    return 0;
}

static void meta_group_set(struct fs_txn *txn, uint32_t number)
{
    txn->fs->super.meta_group = number;
    txn_dirty_super(txn);
}

/* Another group for tree nodes among those in use: the one that says it has most room. */
static int meta_group_search(struct fs_txn *txn, uint32_t nodes)
{
    struct fs *fs = txn->fs;
    uint32_t best_free = 0;
    uint32_t best = fs->super.meta_group;
    for (uint32_t i = 0; i < fs->super.groups_used; i++) {
        struct group group = {.number = i};
        if (freespace_summary(fs, txn->thread, i, &group.summary) != 0) {
            continue; /* it said so; another group may do */
        }
        struct group_counts counts = group_counts_get(&group);
        buffer_put(&fs->buffers, group.summary);
        if (counts.free_blocks > best_free && i != fs->super.meta_group) {
            best_free = counts.free_blocks;
            best = i;
        }
    }
    bool serves = false;
    int error = best_free == 0 ? 0 : group_serves(txn, best, nodes, &serves);
    if (serves) {
        meta_group_set(txn, best);
    }
    return error == 0 && !serves ? -ENOSPC : error;
}

int freespace_prepare_nodes(struct fs_txn *txn, uint32_t nodes)
{
    struct fs *fs = txn->fs;
    bool serves = false;
    int error = group_serves(txn, fs->super.meta_group, nodes, &serves);
    if (error != 0 || serves) {
        return error;
    }
    if (fs->super.groups_used < fs->super.group_count &&
        fs_group_room(&fs->super, fs->super.groups_used) >= nodes) {
        error = group_begin(txn);
        if (error == 0) {
            meta_group_set(txn, fs->super.groups_used - 1);
        }
        return error;
    }
    return meta_group_search(txn, nodes);
}

int freespace_alloc_node(struct fs_txn *txn, struct buffer **out_buffer)
{
    struct fs *fs = txn->fs;
    struct group group;
    if (txn->nodes_left == 0) {
        return -ENOSPC;
    }
    int error = group_open(txn, fs->super.meta_group, &group);
    if (error != 0) {
        return error;
    }
    const uint8_t *bits = group_combined(fs, &group);
    uint32_t at = bitmap_next_clear(bits, 0, group.blocks);
    struct buffer *buffer = NULL;
    error = -ENOSPC;
    while (at < group.blocks) {
        struct fs_block block = fs_block_add(group.start, at);
        error = buffer_make(&fs->buffers, block, BUFFER_NODE, fs->running.txn, &buffer);
        if (error != -EEXIST) {
            break;
        }
        /* Freed and durable, but still in memory because a reader loaded it late. */
        error = -ENOSPC;
        at = bitmap_next_clear(bits, at + 1, group.blocks);
    }
    if (error == 0) {
        group_take(txn, &group, at, 1);
        txn->nodes_left--;
        txn_dirty(txn, buffer);
        *out_buffer = buffer;
    }
    group_close(txn, &group);
    return error;
}
