/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting and giving back: reservations, shadows (F1 to F4 in freespace.h), groups coming into
 * use. Searching is in freespace_search.c.
 *
 * Free space has two faces: counts, under the space lock, from which an operation reserves before
 * it takes any lock of the filesystem's, and bits, under the op lock. A reservation that was
 * granted can be taken: plain operations leave super.reserve_blocks over, and what they leave lies
 * in the meta group as far as there is choice (freespace_search.c), where tree nodes are taken.
 *
 * Operations reserve for the worst case and give back most of it. So whoever deletes waits for what
 * others hold before it says that the disk is full: any number of deleters gets through, if need be
 * one after the other. The holders need nothing of those who wait.
 *
 * A damaged count can only make an allocation fail with -ENOSPC before anything was changed, never
 * hand out a block whose bit is set.
 */
#include "freespace.h"

#include <errno.h>
#include <string.h>

#include "freespace_group.h"
#include "fs_internal.h"
#include "r5fs/base/bitmap.h"
#include "r5fs/base/msg.h"

size_t freespace_memory_need(void)
{
    return FREESPACE_SHADOWS * sizeof(struct freespace_shadow) + (size_t)3 * BLOCK_BYTES;
}

void freespace_init(struct fs *fs, struct arena *arena)
{
    struct freespace *space = &fs->space;
    memset(space, 0, sizeof(*space));
    env_mutex_init(&space->lock);
    env_cond_init(&space->unreserved);
    list_init(&space->shadows);
    list_init(&space->shadows_free);
    struct freespace_shadow *shadows =
        arena_take_array(arena, struct freespace_shadow, FREESPACE_SHADOWS);
    for (uint32_t i = 0; i < FREESPACE_SHADOWS; i++) {
        list_add_tail(&space->shadows_free, &shadows[i].link);
    }
    space->combined = arena_take(arena, BLOCK_BYTES, BLOCK_BYTES);
}

void freespace_fini(struct fs *fs)
{
    env_cond_fini(&fs->space.unreserved);
    env_mutex_fini(&fs->space.lock);
}

static struct freespace_shadow *shadow_from_link(struct list_node *node)
{
    return container_of(node, struct freespace_shadow, link);
}

/* ---- counts ---------------------------------------------------------------------------------- */

/* [space lock] */
static bool reserve_fits(const struct fs *fs, uint64_t blocks, bool deep)
{
    const struct freespace *space = &fs->space;
    uint64_t taken = space->shadowed + space->reserved + (deep ? 0 : fs->super.reserve_blocks);
    return blocks == 0 ||
           (taken <= fs->super.free_blocks && blocks <= fs->super.free_blocks - taken);
}

int freespace_reserve(struct fs *fs, uint64_t blocks, bool deep)
{
    struct freespace *space = &fs->space;
    env_mutex_lock(&space->lock);
    while (deep && space->reserved > 0 && !reserve_fits(fs, blocks, deep)) {
        env_cond_wait(&space->unreserved, &space->lock);
    }
    bool fits = reserve_fits(fs, blocks, deep);
    if (fits) {
        space->reserved += blocks;
    }
    env_mutex_unlock(&space->lock);
    return fits ? 0 : -ENOSPC;
}

void freespace_unreserve(struct fs *fs, uint64_t blocks)
{
    env_mutex_lock(&fs->space.lock);
    R5_CHECK(fs->space.reserved >= blocks);
    fs->space.reserved -= blocks;
    env_cond_broadcast(&fs->space.unreserved);
    env_mutex_unlock(&fs->space.lock);
}

bool freespace_has_shadowed(struct fs *fs)
{
    env_mutex_lock(&fs->space.lock);
    bool has = fs->space.shadowed > 0;
    env_mutex_unlock(&fs->space.lock);
    return has;
}

uint64_t freespace_available(struct fs *fs)
{
    env_mutex_lock(&fs->space.lock);
    uint64_t free_blocks = fs->super.free_blocks;
    env_mutex_unlock(&fs->space.lock);
    uint64_t reserve = fs->super.reserve_blocks;
    return free_blocks > reserve ? free_blocks - reserve : 0;
}

/* ---- groups ---------------------------------------------------------------------------------- */

void freespace_fresh_bits(const struct fs *fs, uint32_t group, uint8_t *bits)
{
    const struct fs_super *super = &fs->super;
    uint32_t blocks = fs_group_blocks(super, group);
    memset(bits, 0, FS_BITMAP_BITS / 8);
    for (uint32_t i = 0; i < 3 && i < blocks; i++) { /* head blocks: three at most */
        if (fs_block_is_fixed(super, fs_block_add(fs_group_start(super, group), i))) {
            bitmap_set_run(bits, i, 1);
        }
    }
    if (fs_block_is_fixed(super, fs_block_add(fs_group_start(super, group), blocks - 1))) {
        bitmap_set_run(bits, blocks - 1, 1);
    }
    bitmap_set_run(bits, blocks, FS_BITMAP_BITS - blocks);
}

/* Whether the bits that are set in every bitmap of the group are set in this one. */
static bool bits_are_possible(const struct fs *fs, uint32_t group, const uint8_t *bits)
{
    const struct fs_super *super = &fs->super;
    uint32_t blocks = fs_group_blocks(super, group);
    struct fs_block start = fs_group_start(super, group);
    bool right = bitmap_run_is_set(bits, blocks, FS_BITMAP_BITS - blocks);
    for (uint32_t i = 0; i < 3 && i < blocks; i++) {
        right = right && (!fs_block_is_fixed(super, fs_block_add(start, i)) || bitmap_get(bits, i));
    }
    struct fs_block last = fs_block_add(start, blocks - 1);
    return right && (!fs_block_is_fixed(super, last) || bitmap_get(bits, blocks - 1));
}

int freespace_bitmap(struct fs *fs,
                     struct fs_thread *thread,
                     uint32_t group,
                     struct buffer **out_buffer)
{
    if (group >= fs->super.groups_used) {
        return -ENOENT;
    }
    struct fs_block block = fs_group_bitmap(&fs->super, group);
    struct buffer *buffer = NULL;
    int error = buffer_get(&fs->buffers, thread->queue, block, BUFFER_BITMAP, BUFFER_LOAD, &buffer);
    if (error == -EUCLEAN) {
        fs->damaged = true;
    }
    if (error == 0 && !bits_are_possible(fs, group, group_bits(buffer))) {
        error = fs_damage(fs, 0, block, "bitmap does not cover the fixed blocks");
        buffer_put(&fs->buffers, buffer);
    }
    if (error == 0) {
        *out_buffer = buffer;
    }
    return error;
}

int freespace_summary(struct fs *fs,
                      struct fs_thread *thread,
                      uint32_t group,
                      struct buffer **out_buffer)
{
    struct fs_block block = fs_group_summary(&fs->super, group);
    int error =
        buffer_get(&fs->buffers, thread->queue, block, BUFFER_SUMMARY, BUFFER_LOAD, out_buffer);
    if (error == -EUCLEAN) {
        fs->damaged = true;
    }
    return error;
}

int group_open(struct fs_txn *txn, uint32_t group, struct group *out_group)
{
    struct fs *fs = txn->fs;
    struct group opened = {.number = group, .start = fs_group_start(&fs->super, group)};
    int error = freespace_bitmap(fs, txn->thread, group, &opened.bitmap);
    if (error != 0) {
        return error;
    }
    error = freespace_summary(fs, txn->thread, group, &opened.summary);
    if (error != 0) {
        buffer_put(&fs->buffers, opened.bitmap);
        return error;
    }
    opened.blocks = fs_group_blocks(&fs->super, group);
    *out_group = opened;
    return 0;
}

void group_close(struct fs_txn *txn, struct group *group)
{
    buffer_put(&txn->fs->buffers, group->bitmap);
    buffer_put(&txn->fs->buffers, group->summary);
}

struct group_counts group_counts_get(const struct group *group)
{
    const struct fs_summary_disk *disk = (const void *)group->summary->data;
    const struct fs_group_disk *entry = &disk->groups[group->number % FS_SUMMARY_GROUPS];
    return (struct group_counts){le32_get(entry->free_blocks), le32_get(entry->longest_run)};
}

void group_counts_set(const struct group *group, struct group_counts counts)
{
    struct fs_summary_disk *disk = (void *)group->summary->data;
    struct fs_group_disk *entry = &disk->groups[group->number % FS_SUMMARY_GROUPS];
    entry->free_blocks = le32_make(counts.free_blocks);
    entry->longest_run = le32_make(counts.longest_run);
}

/* The summary block of the group about to come into use: there, or made with its first group. */
static int fresh_summary(struct fs_txn *txn, uint32_t group, struct buffer **out_buffer)
{
    struct fs *fs = txn->fs;
    if (group % FS_SUMMARY_GROUPS != 0) {
        return freespace_summary(fs, txn->thread, group, out_buffer);
    }
    return buffer_make(&fs->buffers,
                       fs_group_summary(&fs->super, group),
                       BUFFER_SUMMARY,
                       fs->running.txn,
                       out_buffer);
}

int group_begin(struct fs_txn *txn)
{
    struct fs *fs = txn->fs;
    uint32_t number = fs->super.groups_used;
    R5_CHECK(number < fs->super.group_count);
    struct group group = {.number = number};
    int error = fresh_summary(txn, number, &group.summary);
    if (error != 0) {
        return error == -EEXIST ? -EUCLEAN : error;
    }
    error = buffer_make(&fs->buffers,
                        fs_group_bitmap(&fs->super, number),
                        BUFFER_BITMAP,
                        fs->running.txn,
                        &group.bitmap);
    if (error != 0) {
        buffer_put(&fs->buffers, group.summary);
        return error == -EEXIST ? -EUCLEAN : error;
    }
    uint32_t room = fs_group_room(&fs->super, number);
    freespace_fresh_bits(fs, number, group_bits_mutable(&group));
    group_counts_set(&group, (struct group_counts){room, room});
    fs->super.groups_used = number + 1;
    txn_dirty(txn, group.bitmap);
    txn_dirty(txn, group.summary);
    txn_dirty_super(txn);
    group_close(txn, &group);
    return 0;
}

/* ---- shadows --------------------------------------------------------------------------------- */

const uint8_t *group_combined(struct fs *fs, const struct group *group)
{
    const uint8_t *bits = group_bits(group->bitmap);
    bool copied = false;
    list_for_each (node, &fs->space.shadows) {
        const struct freespace_shadow *shadow = shadow_from_link(node);
        if (shadow->group != group->number) {
            continue;
        }
        if (!copied) {
            memcpy(fs->space.combined, bits, FS_BITMAP_BITS / 8);
            copied = true;
        }
        for (uint32_t i = 0; i < FS_BITMAP_BITS / 8; i++) {
            fs->space.combined[i] |= shadow->bits[i];
        }
    }
    return copied ? fs->space.combined : bits;
}

static struct freespace_shadow *shadow_of(struct fs *fs, uint32_t group)
{
    list_for_each (node, &fs->space.shadows) {
        struct freespace_shadow *shadow = shadow_from_link(node);
        if (shadow->txn != fs->running.txn) {
            break; /* newest first */
        }
        if (shadow->group == group) {
            return shadow;
        }
    }
    struct list_node *link = list_pop(&fs->space.shadows_free);
    R5_CHECK(link != NULL); /* FREESPACE_SHADOWS */
    struct freespace_shadow *shadow = shadow_from_link(link);
    shadow->txn = fs->running.txn;
    shadow->group = group;
    shadow->count = 0;
    memset(shadow->bits, 0, sizeof(shadow->bits));
    list_add_head(&fs->space.shadows, &shadow->link);
    return shadow;
}

void freespace_durable(struct fs *fs, uint64_t txn)
{
    uint64_t given_back = 0;
    env_mutex_lock(&fs->op_lock);
    list_for_each_safe (node, after, &fs->space.shadows) {
        struct freespace_shadow *shadow = shadow_from_link(node);
        if (shadow->txn <= txn) {
            given_back += shadow->count;
            list_remove(&shadow->link);
            list_add_head(&fs->space.shadows_free, &shadow->link);
        }
    }
    env_mutex_lock(&fs->space.lock);
    fs->space.shadowed -= given_back;
    env_mutex_unlock(&fs->space.lock);
    env_mutex_unlock(&fs->op_lock);
}

/* ---- changing bits --------------------------------------------------------------------------- */

void group_take(struct fs_txn *txn, const struct group *group, uint32_t first, uint32_t count)
{
    struct fs *fs = txn->fs;
    R5_CHECK(bitmap_run_is_clear(group_bits(group->bitmap), first, count));
    txn_dirty(txn, group->bitmap);
    txn_dirty(txn, group->summary);
    txn_dirty_super(txn);
    bitmap_set_run(group_bits_mutable(group), first, count);
    struct group_counts counts = group_counts_get(group);
    counts.free_blocks -= counts.free_blocks < count ? counts.free_blocks : count;
    group_counts_set(group, counts);
    env_mutex_lock(&fs->space.lock);
    fs->super.free_blocks -= min_u64(fs->super.free_blocks, count);
    R5_CHECK(fs->space.reserved >= count);
    fs->space.reserved -= count;
    env_mutex_unlock(&fs->space.lock);
}

/* Length of the free run around [first, first + count), which is free. */
static uint32_t run_around(const uint8_t *bits, uint32_t first, uint32_t count, uint32_t end)
{
    uint32_t begin = first;
    while (begin > 0 && !bitmap_get(bits, begin - 1)) {
        bool byte_is_clear = begin % 8 == 0 && bits[begin / 8 - 1] == 0;
        begin -= byte_is_clear ? 8 : 1;
    }
    return bitmap_next_set(bits, first + count, end) - begin;
}

static void
group_give(struct fs_txn *txn, const struct group *group, uint32_t first, uint32_t count)
{
    struct fs *fs = txn->fs;
    txn_dirty(txn, group->bitmap);
    txn_dirty(txn, group->summary);
    txn_dirty_super(txn);
    bitmap_clear_run(group_bits_mutable(group), first, count);
    struct group_counts counts = group_counts_get(group);
    uint32_t run = run_around(group_bits(group->bitmap), first, count, group->blocks);
    counts.free_blocks = (uint32_t)min_u64((uint64_t)counts.free_blocks + count, group->blocks);
    counts.longest_run = counts.longest_run > run ? counts.longest_run : run;
    group_counts_set(group, counts);
    struct freespace_shadow *shadow = shadow_of(fs, group->number);
    bitmap_set_run(shadow->bits, first, count);
    shadow->count += count;
    env_mutex_lock(&fs->space.lock);
    fs->super.free_blocks += count;
    fs->space.shadowed += count;
    env_mutex_unlock(&fs->space.lock);
}

/* Opens the group of a run that is in use. */
static int
run_open(struct fs_txn *txn, struct fs_block start, uint32_t count, struct group *out_group)
{
    struct fs *fs = txn->fs;
    R5_CHECK(txn->locked);
    if (!fs_run_is_plausible(&fs->super, start, count)) {
        return fs_damage(fs, 0, start, "blocks to free cannot be in use");
    }
    int error = group_open(txn, fs_group_of(&fs->super, start), out_group);
    if (error != 0) {
        return error;
    }
    uint32_t first = (uint32_t)(start.nr - out_group->start.nr);
    if (!bitmap_run_is_set(group_bits(out_group->bitmap), first, count)) {
        group_close(txn, out_group);
        return fs_damage(fs, 0, start, "blocks to free are free already");
    }
    return 0;
}

int freespace_prepare_free(struct fs_txn *txn, struct fs_block start, uint32_t count)
{
    struct group group;
    int error = run_open(txn, start, count, &group);
    if (error == 0) {
        txn_pin(txn, group.bitmap);
        txn_pin(txn, group.summary);
        group_close(txn, &group);
    }
    return error;
}

int freespace_free(struct fs_txn *txn, struct fs_block start, uint32_t count)
{
    struct group group;
    int error = run_open(txn, start, count, &group);
    if (error == 0) {
        group_give(txn, &group, (uint32_t)(start.nr - group.start.nr), count);
        group_close(txn, &group);
        journal_discard(txn->fs->journal, start, count);
    }
    return error;
}

void freespace_free_node(struct fs_txn *txn, struct buffer *buffer)
{
    struct group group;
    struct fs_block block = buffer->block;
    int error = run_open(txn, block, 1, &group);
    if (error == 0) {
        group_give(txn, &group, (uint32_t)(block.nr - group.start.nr), 1);
        group_close(txn, &group);
    } else {
        msg_warn("fs",
                 "tree node block=%llu stays marked as used (error %d)",
                 (unsigned long long)block.nr,
                 error);
    }
    txn_forget(txn, buffer);
}
