/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every item, in key order: the orphan list first, then inode after inode, each judged by itself.
 *
 *     orphans | record, attributes, pieces, target, (entries), extents | record, ...
 *               ------------------ one inode: ck->now -----------------
 *
 * Records make the table of inodes (ck->inodes) that fsck_names.c then joins with the entries.
 * Items without a record are dropped; only directory entries earn their number a new record, as a
 * directory, so that what it holds keeps its names. The root always gets one.
 *
 * Extents take their blocks in the map of used blocks, in key order, after the tree's nodes. What
 * was taken already belongs to two: with a file, the later one gets a copy of its own (without
 * contents: it is dropped); with a node, the extent is wrong and dropped.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "extent.h"
#include "fsck.h"
#include "orphan.h"

void fsck_drop_item(struct fsck *ck,
                    const struct fsck_item *item,
                    enum fsck_kind kind,
                    const char *what)
{
    fsck_say(ck,
             kind,
             true,
             "inode %llu: %s at %llu in node %llu: %s",
             (unsigned long long)item->key.ino,
             fsck_item_name(item->key.type),
             (unsigned long long)item->key.offset,
             (unsigned long long)item->leaf.nr,
             what);
    fsck_add_fix(ck, FSCK_FIX_REMOVE, item->key, 0);
}

/* ---- orphans --------------------------------------------------------------------------------- */

static void look_at_orphan(struct fsck *ck, const struct fsck_item *item)
{
    struct orphan record = {0};
    const char *problem = NULL;
    if (item->key.type != FS_ITEM_ORPHAN) {
        fsck_drop_item(ck, item, FSCK_ITEM, "is of an unknown kind");
        return;
    }
    problem = orphan_decode(item->data, item->bytes, &record);
    if (problem != NULL) {
        fsck_drop_item(ck, item, FSCK_ITEM, problem);
        return;
    }
    struct fsck_orphan *orphan = fsck_push(ck, &ck->orphans, sizeof(*orphan));
    orphan->ino = item->key.offset;
    orphan->what = record.what;
    orphan->value_id = record.value_id;
    orphan->size = record.size;
}

/* The record of this inode, which now counts as matched. */
static struct fsck_orphan *match_orphan(struct fsck *ck, uint64_t ino)
{
    struct fsck_orphan *orphans = (struct fsck_orphan *)(void *)ck->orphans.data;
    size_t low = 0;
    size_t high = ck->orphans.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (orphans[middle].ino == ino) {
            orphans[middle].matched = true;
            return &orphans[middle];
        }
        if (orphans[middle].ino < ino) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static void check_orphans_matched(struct fsck *ck)
{
    const struct fsck_orphan *orphans = (const struct fsck_orphan *)(const void *)ck->orphans.data;
    for (size_t i = 0; i < ck->orphans.count; i++) {
        if (!orphans[i].matched) {
            fsck_say(ck,
                     FSCK_INODE,
                     true,
                     "inode %llu: has an orphan record, but does not exist",
                     (unsigned long long)orphans[i].ino);
            fsck_add_fix(ck, FSCK_FIX_REMOVE, fs_key(0, FS_ITEM_ORPHAN, orphans[i].ino), 0);
        }
    }
}

/* ---- records --------------------------------------------------------------------------------- */

bool fsck_is_deleting(const struct fsck *ck)
{
    const struct fsck_now *now = ck->now;
    return now->orphan != NULL && (now->orphan->what & FS_ORPHAN_DELETE) != 0;
}

static struct fsck_inode *add_inode(struct fsck *ck, uint64_t ino, uint32_t mode)
{
    struct fsck_inode *inode = fsck_push(ck, &ck->inodes, sizeof(*inode));
    inode->ino = ino;
    inode->mode = mode;
    ck->result.directories += S_ISDIR(mode) ? 1 : 0;
    ck->result.files += S_ISDIR(mode) ? 0 : 1;
    return inode;
}

/* This number gets a new record, as a directory. */
static void remake(struct fsck *ck, uint64_t ino, const char *why)
{
    fsck_say(ck,
             FSCK_INODE,
             true,
             "inode %llu: %s: it becomes a directory of root's, mode 0700",
             (unsigned long long)ino,
             why);
    add_inode(ck, ino, S_IFDIR | 0700)->flags = FSCK_INODE_REMADE;
    fsck_add_fix(ck, FSCK_FIX_REMAKE, fs_key(ino, FS_ITEM_INODE, 0), 0);
}

static void set_remade(struct fsck *ck, const char *why)
{
    ck->now->remade = true;
    remake(ck, ck->now->inode.ino, why);
}

/* What of a record can be wrong beside its counts, which are compared when they are known. */
static const char *record_problem(const struct fs_inode *inode)
{
    if (inode->ino > FSCK_INO_MAX) {
        return "has an impossible number";
    }
    if (inode->ino == FS_ROOT_INO && !S_ISDIR(inode->mode)) {
        return "the root is no directory";
    }
    return NULL;
}

static void take_record(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    struct fs_inode inode;
    const char *problem = inode_decode(&inode, item->key.ino, item->data, item->bytes);
    if (problem == NULL) {
        problem = record_problem(&inode);
    }
    if (problem == NULL && item->key.offset != 0) {
        problem = "is at a wrong place";
    }
    if (problem != NULL) {
        if (item->key.ino == FS_ROOT_INO && item->key.offset == 0) {
            set_remade(ck, problem);
        } else {
            fsck_drop_item(ck, item, FSCK_INODE, problem);
        }
        return;
    }
    struct fs_inode_disk disk;
    inode_encode(&inode, &disk);
    if (memcmp(&disk, item->data, sizeof(disk)) != 0) {
        fsck_say(ck,
                 FSCK_INODE,
                 true,
                 "inode %llu: its record has impossible times or unused bytes set",
                 (unsigned long long)inode.ino);
        fsck_set_field(ck, inode.ino, FSCK_FIELD_PLAIN, 0);
    }
    now->inode = inode;
    now->recorded = true;
    struct fsck_inode *entry = add_inode(ck, inode.ino, inode.mode);
    entry->size = inode.size;
    entry->parent = inode.parent;
    entry->nlink = inode.nlink;
    now->orphan = match_orphan(ck, inode.ino);
    if (now->orphan != NULL) {
        now->presence |= FS_INODE_HAS_ORPHAN;
        entry->flags |= fsck_is_deleting(ck) ? FSCK_INODE_DELETE : 0;
    }
}

/* ---- symlinks -------------------------------------------------------------------------------- */

static void look_at_target(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    bool right = item->key.offset == now->chunks && item->bytes > 0 &&
                 item->bytes <= FS_CHUNK_BYTES &&
                 now->target_bytes == (uint64_t)now->chunks * FS_CHUNK_BYTES &&
                 now->target_bytes + item->bytes <= FS_SYMLINK_BYTES_MAX &&
                 memchr(item->data, 0, item->bytes) == NULL;
    if (!right) {
        now->target_wrong = true;
        return;
    }
    now->chunks++;
    now->target_bytes += item->bytes;
}

/* A link whose target is not known is worth nothing. */
static void finish_target(struct fsck *ck)
{
    struct fsck_now *now = ck->now;
    if (now->target_bytes == now->inode.size && !now->target_wrong && now->target_bytes > 0) {
        return;
    }
    if (now->target_bytes > 0 && !now->target_wrong) {
        fsck_say(ck,
                 FSCK_INODE,
                 true,
                 "inode %llu: symlink of size %llu has a target of %llu bytes",
                 (unsigned long long)now->inode.ino,
                 (unsigned long long)now->inode.size,
                 (unsigned long long)now->target_bytes);
        fsck_set_field(ck, now->inode.ino, FSCK_FIELD_SIZE, now->target_bytes);
        return;
    }
    fsck_say(ck,
             FSCK_INODE,
             true,
             "inode %llu: symlink's target is lost: it is removed",
             (unsigned long long)now->inode.ino);
    fsck_add_fix(ck, FSCK_FIX_REMOVE, fs_key(now->inode.ino, FS_ITEM_INODE, 0), 0);
}

/* ---- extents --------------------------------------------------------------------------------- */

static void share_extent(struct fsck *ck, const struct fsck_item *item, const struct extent *extent)
{
    struct fsck_shared *shared = fsck_push(ck, &ck->shared, sizeof(*shared));
    shared->start = extent->start;
    shared->count = (uint32_t)extent->count;
    shared->ino = item->key.ino;
    shared->file_block = extent->first;
    fsck_say(ck,
             FSCK_EXTENT,
             true,
             "inode %llu: extent at file block %llu (blocks %llu to %llu): another extent uses "
             "some of them too",
             (unsigned long long)item->key.ino,
             (unsigned long long)extent->first,
             (unsigned long long)extent->start.nr,
             (unsigned long long)(extent->start.nr + extent->count - 1));
    fsck_add_fix(ck, FSCK_FIX_CLONE, item->key, 0);
}

/* Nothing but preallocated blocks lies behind the end of a file. */
static void
check_extent_end(struct fsck *ck, const struct fsck_item *item, const struct extent *extent)
{
    const struct fsck_now *now = ck->now;
    uint64_t end = div_round_up(now->inode.size, BLOCK_BYTES);
    bool truncating = now->orphan != NULL && (now->orphan->what & ~FS_ORPHAN_XATTR) != 0;
    if (extent->state == EXTENT_UNWRITTEN || extent_end(extent) <= end || truncating) {
        return;
    }
    fsck_say(ck,
             FSCK_EXTENT,
             true,
             "inode %llu: extent at file block %llu has contents behind the end of the file "
             "(size %llu)",
             (unsigned long long)item->key.ino,
             (unsigned long long)extent->first,
             (unsigned long long)now->inode.size);
    fsck_add_fix(ck, FSCK_FIX_UNWRITTEN, item->key, max_u64(end, extent->first));
}

static void look_at_extent(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    struct extent extent;
    const char *problem =
        extent_decode(ck->shell, item->key.offset, item->data, item->bytes, &extent);
    if (problem != NULL) {
        fsck_drop_item(ck, item, FSCK_EXTENT, problem);
        return;
    }
    uint32_t count = (uint32_t)extent.count;
    if (fsck_is_node(ck, extent.start, count)) {
        fsck_drop_item(ck, item, FSCK_EXTENT, "its blocks hold tree nodes");
        return;
    }
    if (extent.first < now->file_end) {
        (void)fsck_use(ck, extent.start, count); /* shared or not, until it is gone */
        fsck_drop_item(ck, item, FSCK_EXTENT, "overlaps the extent before it");
        return;
    }
    now->file_end = extent_end(&extent);
    bool own = fsck_use(ck, extent.start, count);
    if (!own && extent.state == EXTENT_UNWRITTEN) {
        fsck_drop_item(ck, item, FSCK_EXTENT, "preallocates blocks of another extent");
        return;
    }
    now->blocks += extent.count;
    if (!own) {
        share_extent(ck, item, &extent);
    }
    check_extent_end(ck, item, &extent);
}

/* ---- one inode ------------------------------------------------------------------------------- */

static void compare_field(
    struct fsck *ck, enum fsck_field field, const char *name, uint64_t stored, uint64_t right)
{
    uint64_t ino = ck->now->inode.ino;
    if (stored != right) {
        fsck_say(ck,
                 FSCK_INODE,
                 true,
                 "inode %llu: %s is %llu, should be %llu",
                 (unsigned long long)ino,
                 name,
                 (unsigned long long)stored,
                 (unsigned long long)right);
        fsck_set_field(ck, ino, field, right);
    }
}

static void finish_inode(struct fsck *ck)
{
    struct fsck_now *now = ck->now;
    if (!now->started) {
        return;
    }
    fsck_xattr_finish(ck);
    if (!now->recorded) {
        return;
    }
    if (fsck_is_deleting(ck)) {
        /* Its items go step by step, its bits with the record. */
        now->presence |= now->inode.presence & ~FS_INODE_HAS_ORPHAN;
    } else if (S_ISLNK(now->inode.mode)) {
        finish_target(ck);
    }
    compare_field(ck, FSCK_FIELD_BLOCKS, "block count", now->inode.blocks, now->blocks);
    compare_field(ck, FSCK_FIELD_PRESENCE, "presence bits", now->inode.presence, now->presence);
    if (now->inode.xattr_next <= now->value_id_max && now->value_id_max > 0 &&
        now->value_id_max < UINT32_MAX) {
        compare_field(ck,
                      FSCK_FIELD_XATTR_NEXT,
                      "number of the next large attribute",
                      now->inode.xattr_next,
                      now->value_id_max + 1);
    }
}

static void begin_inode(struct fsck *ck, uint64_t ino)
{
    finish_inode(ck);
    memset(ck->now, 0, sizeof(*ck->now));
    ck->now->started = true;
    ck->now->inode.ino = ino;
    ck->ino_max = ino <= FSCK_INO_MAX ? max_u64(ck->ino_max, ino) : ck->ino_max;
    fsck_xattr_begin(ck);
    if (ck->inodes.count == 0 && ino > FS_ROOT_INO) {
        remake(ck, FS_ROOT_INO, "the root directory has no record");
    }
}

/* An entry whose directory has no record. */
static void entry_without_record(struct fsck *ck, const struct fsck_item *item)
{
    if (item->key.ino > FSCK_INO_MAX) {
        fsck_drop_item(ck, item, FSCK_ITEM, "no inode has this number");
    } else if (!ck->now->remade) {
        set_remade(ck, "has entries, but no record");
    }
}

static const char *wrong_type(const struct fsck_now *now, uint8_t type)
{
    switch (type) {
    case FS_ITEM_XATTR:
    case FS_ITEM_XATTR_CHUNK: return NULL;
    case FS_ITEM_SYMLINK: return S_ISLNK(now->inode.mode) ? NULL : "but it is no symlink";
    case FS_ITEM_DIRENT: return S_ISDIR(now->inode.mode) ? NULL : "but it is no directory";
    case FS_ITEM_EXTENT: return S_ISREG(now->inode.mode) ? NULL : "but it is no regular file";
    default: return "is of an unknown kind";
    }
}

static void look_at_inode_item(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    if (item->key.type == FS_ITEM_INODE && !now->recorded && !now->remade) {
        take_record(ck, item);
        return;
    }
    if (!now->recorded) {
        if (item->key.type == FS_ITEM_DIRENT) {
            entry_without_record(ck, item);
        } else {
            fsck_drop_item(ck, item, FSCK_ITEM, "the inode has no record");
        }
        return;
    }
    const char *problem = wrong_type(now, item->key.type);
    if (problem != NULL) {
        fsck_drop_item(ck, item, FSCK_ITEM, problem);
        return;
    }
    switch (item->key.type) {
    case FS_ITEM_XATTR: fsck_xattr_item(ck, item); break;
    case FS_ITEM_XATTR_CHUNK: fsck_xattr_chunk(ck, item); break;
    case FS_ITEM_SYMLINK: look_at_target(ck, item); break;
    case FS_ITEM_EXTENT: look_at_extent(ck, item); break;
    default: break; /* entries: fsck_names.c */
    }
}

static int look_at_item(struct fsck *ck, const struct fsck_item *item)
{
    if (item->key.ino == 0) {
        look_at_orphan(ck, item);
        return 0;
    }
    if (!ck->now->started || ck->now->inode.ino != item->key.ino) {
        begin_inode(ck, item->key.ino);
    }
    ck->records += item->key.type == FS_ITEM_INODE && item->key.offset == 0 ? 1 : 0;
    look_at_inode_item(ck, item);
    return ck->out_of_memory ? -ENOMEM : 0;
}

int fsck_check_items(struct fsck *ck)
{
    memset(ck->now, 0, sizeof(*ck->now));
    ck->records = 0;
    int error = fsck_each_item(ck, false, look_at_item);
    if (error != 0) {
        return error;
    }
    finish_inode(ck);
    if (ck->inodes.count == 0) {
        remake(ck, FS_ROOT_INO, "the root directory has no record");
    }
    check_orphans_matched(ck);
    return 0;
}
