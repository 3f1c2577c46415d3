/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Free space against what is used, and what the super counts.
 *
 *     bitmap    should be: fixed blocks, what nodes and extents took, all beyond the group's end
 *     summary   the clear bits of that
 *     super     the sum of those and of untouched groups; inodes; numbers
 *
 * Looked at only when the whole tree was: what hangs below a lost node would look free. Repair
 * writes whole bitmaps and summaries anew, as raw blocks, so that transactions can be trusted with
 * them.
 */
#include <errno.h>
#include <string.h>

#include "fsck.h"
#include "r5fs/base/bitmap.h"

/* The bits of a group as they should be, into ck->bits. */
static const uint8_t *right_bits(struct fsck *ck, uint32_t group)
{
    const uint8_t *used = ck->groups[group].used;
    freespace_fresh_bits(ck->shell, group, ck->bits);
    for (uint32_t i = 0; used != NULL && i < FS_BITMAP_BITS / 8; i++) {
        ck->bits[i] |= used[i];
    }
    return ck->bits;
}

static uint32_t free_of(struct fsck *ck, uint32_t group, const uint8_t *bits)
{
    uint32_t blocks = fs_group_blocks(&ck->super, group);
    return blocks - bitmap_count_set(bits, 0, blocks);
}

/* ---- comparing ------------------------------------------------------------------------------- */

struct difference {
    uint32_t count;
    uint32_t first;
};

/* Bits that `a` has and `b` has not. */
static struct difference bits_beyond(const uint8_t *a, const uint8_t *b)
{
    struct difference difference = {0, 0};
    for (uint32_t i = 0; i < FS_BITMAP_BITS / 8; i++) {
        uint8_t byte = (uint8_t)(a[i] & ~b[i]);
        for (uint32_t bit = 0; byte != 0 && bit < 8; bit++) {
            if ((byte >> bit & 1) != 0) {
                difference.first = difference.count == 0 ? i * 8 + bit : difference.first;
                difference.count++;
            }
        }
    }
    return difference;
}

static void
say_difference(struct fsck *ck, uint32_t group, struct difference difference, const char *what)
{
    if (difference.count == 0) {
        return;
    }
    struct fs_block first = fs_block_add(fs_group_start(&ck->super, group), difference.first);
    ck->space_wrong = true;
    ck->groups[group].wrong = true;
    fsck_say(ck,
             FSCK_SPACE,
             true,
             "group %u: bitmap in block %llu: %u blocks %s, the first is %llu",
             group,
             (unsigned long long)fs_group_bitmap(&ck->super, group).nr,
             difference.count,
             what,
             (unsigned long long)first.nr);
}

static void
say_group_block(struct fsck *ck, uint32_t group, struct fs_block block, const char *what)
{
    ck->space_wrong = true;
    ck->groups[group].wrong = true;
    fsck_say(ck,
             FSCK_SPACE,
             true,
             "block %llu: of group %u: %s",
             (unsigned long long)block.nr,
             group,
             what);
}

static int check_bitmap(struct fsck *ck, uint32_t group, const uint8_t *right)
{
    struct fs_block block = fs_group_bitmap(&ck->super, group);
    const uint8_t *data = NULL;
    int error = fsck_peek(ck, block, &data);
    if (error != 0) {
        return error == -EIO ? 0 : error; /* said */
    }
    const char *problem = buffer_problem(BUFFER_BITMAP, data, block, &ck->super.fs_uuid);
    if (problem != NULL) {
        say_group_block(ck, group, block, problem);
        return 0;
    }
    const uint8_t *bits = data + sizeof(struct fs_block_header);
    say_difference(ck, group, bits_beyond(right, bits), "in use are marked as free");
    say_difference(
        ck, group, bits_beyond(bits, right), "are marked as used, but nothing uses them");
    return 0;
}

static int check_summary(struct fsck *ck, uint32_t group, uint32_t right_free)
{
    struct fs_block block = fs_group_summary(&ck->super, group);
    const uint8_t *data = NULL;
    struct fs_group_disk entry;
    int error = fsck_peek(ck, block, &data);
    if (error != 0) {
        return error == -EIO ? 0 : error; /* said */
    }
    const char *problem = buffer_problem(BUFFER_SUMMARY, data, block, &ck->super.fs_uuid);
    if (problem != NULL) {
        if (group % FS_SUMMARY_GROUPS == 0) {
            say_group_block(ck, group, block, problem);
        }
        return 0;
    }
    size_t at = offsetof(struct fs_summary_disk, groups) +
                (size_t)(group % FS_SUMMARY_GROUPS) * sizeof(entry);
    memcpy(&entry, data + at, sizeof(entry));
    if (le32_get(entry.free_blocks) != right_free ||
        le32_get(entry.longest_run) > fs_group_blocks(&ck->super, group)) {
        ck->space_wrong = true;
        ck->groups[group].wrong = true;
        fsck_say(ck,
                 FSCK_SPACE,
                 true,
                 "group %u: summary in block %llu says %u free blocks, at most %u in a run; %u are",
                 group,
                 (unsigned long long)block.nr,
                 le32_get(entry.free_blocks),
                 le32_get(entry.longest_run),
                 right_free);
    }
    return 0;
}

static void compare_count(struct fsck *ck, const char *name, uint64_t *stored, uint64_t right)
{
    if (*stored != right) {
        ck->super_wrong = true;
        fsck_say(ck,
                 FSCK_SUPER,
                 true,
                 "fs super: %s is %llu, should be %llu",
                 name,
                 (unsigned long long)*stored,
                 (unsigned long long)right);
        *stored = right;
    }
}

static void check_counts(struct fsck *ck, uint64_t free_blocks)
{
    struct fs_super *super = &ck->super;
    for (uint32_t i = super->groups_used; i < super->group_count; i++) {
        free_blocks += fs_group_room(super, i);
    }
    compare_count(ck, "number of free blocks", &super->free_blocks, free_blocks);
    compare_count(ck, "number of inodes", &super->inode_count, ck->records);
    if (super->next_ino <= ck->ino_max) {
        compare_count(ck, "next inode number", &super->next_ino, ck->ino_max + 1);
    }
}

int fsck_check_space(struct fsck *ck)
{
    uint64_t free_blocks = 0;
    uint64_t used_blocks = 0;
    int error = 0;
    if (ck->tree_broken || ck->unreadable) {
        fsck_note(ck, "space: not compared, since not all of the tree was seen");
        return 0;
    }
    for (uint32_t i = 0; error == 0 && i < ck->super.groups_used; i++) {
        const uint8_t *right = right_bits(ck, i);
        uint32_t group_free = free_of(ck, i, right);
        ck->groups[i].wrong = false;
        free_blocks += group_free;
        used_blocks += fs_group_room(&ck->super, i) - group_free;
        error = check_bitmap(ck, i, right);
        if (error == 0) {
            error = check_summary(ck, i, group_free);
        }
    }
    ck->result.used_blocks = used_blocks;
    if (error == 0) {
        check_counts(ck, free_blocks);
    }
    return error;
}

/* ---- writing --------------------------------------------------------------------------------- */

static uint32_t longest_free_run(struct fsck *ck, uint32_t group, const uint8_t *bits)
{
    uint32_t blocks = fs_group_blocks(&ck->super, group);
    uint32_t longest = 0;
    uint32_t at = bitmap_next_clear(bits, 0, blocks);
    while (at < blocks) {
        uint32_t end = bitmap_next_set(bits, at, blocks);
        longest = end - at > longest ? end - at : longest;
        at = bitmap_next_clear(bits, end, blocks);
    }
    return longest;
}

static int write_bitmap(struct fsck *ck, uint32_t group)
{
    uint8_t *data = NULL;
    int error = fsck_raw_add(ck, FS_MAGIC_BITMAP, fs_group_bitmap(&ck->super, group), &data);
    if (error == 0) {
        memcpy(data + sizeof(struct fs_block_header), right_bits(ck, group), FS_BITMAP_BITS / 8);
    }
    return error;
}

/* The summary of the groups from `first` on, all of them anew. */
static int write_summary(struct fsck *ck, uint32_t first)
{
    uint8_t *data = NULL;
    int error = fsck_raw_add(ck, FS_MAGIC_SUMMARY, fs_group_summary(&ck->super, first), &data);
    if (error != 0) {
        return error;
    }
    for (uint32_t i = 0; i < FS_SUMMARY_GROUPS && first + i < ck->super.groups_used; i++) {
        const uint8_t *bits = right_bits(ck, first + i);
        struct fs_group_disk entry = {
            .free_blocks = le32_make(free_of(ck, first + i, bits)),
            .longest_run = le32_make(longest_free_run(ck, first + i, bits)),
        };
        memcpy(data + offsetof(struct fs_summary_disk, groups) + (size_t)i * sizeof(entry),
               &entry,
               sizeof(entry));
    }
    return 0;
}

int fsck_repair_space(struct fsck *ck)
{
    int error = 0;
    for (uint32_t first = 0; error == 0 && first < ck->super.groups_used;
         first += FS_SUMMARY_GROUPS) {
        uint32_t end =
            (uint32_t)min_u64((uint64_t)first + FS_SUMMARY_GROUPS, ck->super.groups_used);
        bool wrong = false;
        for (uint32_t i = first; error == 0 && i < end; i++) {
            if (ck->groups[i].wrong) {
                wrong = true;
                error = write_bitmap(ck, i);
            }
        }
        if (error == 0 && wrong) {
            error = write_summary(ck, first);
        }
    }
    if (error == 0) {
        ck->super.flags |= FS_SUPER_MOUNTED; /* C3 */
        error = fsck_raw_super(ck);
    }
    return error == 0 ? fsck_raw_commit(ck) : error;
}
