/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Applies what a round noted, each through a transaction of its own (a copied extent: a chain), in
 * the order of enum fsck_fix_kind: first what has to go, then records, extents, entries, counts,
 * and at last new names for what has none.
 *
 * Here the tree hangs together and the bitmaps cover all that is in use, so the filesystem's own
 * operations can be trusted. Blocks of dropped extents stay marked as used until the next round's
 * comparison. Every fix can be cut off anywhere and done again: what is gone already is no error.
 *
 * Failure: a fix that lacks space or meets damage is told and left; the next round will find its
 * cause again. Anything else ends the check. Caller's thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "dir.h"
#include "extent.h"
#include "fsck.h"
#include "op.h"
#include "orphan.h"

#define REPAIR_BUFFER_BYTES ((uint64_t)16 * 1024 * 1024)
#define CLONE_BLOCKS_MAX    (FS_SCRATCH_BYTES / BLOCK_BYTES)

struct repair {
    struct fsck *ck;
    struct fs *fs;
    const struct fsck_fix *fix;
    struct txn_need need;
    uint64_t at; /* a copy goes on at this file block */
    bool done;
    bool changed; /* something was there to change */
};

/* Ends a change phase: an error after which the tree is not as it was stops the filesystem. */
static int change_result(struct fs_txn *txn, struct repair *repair, int error)
{
    if (error == 0) {
        repair->changed = true;
        return 0;
    }
    return error == -ENOENT ? 0 : txn_broken(txn, error); /* nothing was there, nothing changed */
}

/* ---- items ----------------------------------------------------------------------------------- */

static int remove_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_key key = repair->fix->key;
    int error = btree_prepare(txn, &key);
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    if (key.type == FS_ITEM_INODE && key.offset == 0) {
        error = inode_remove(txn, key.ino);
    } else {
        error = btree_remove(txn, &key);
    }
    return change_result(txn, repair, error);
}

static int remake_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_key key = repair->fix->key;
    struct fs_inode inode = {
        .ino = key.ino,
        .generation = env_random_u64(),
        .parent = FS_ROOT_INO,
        .mode = S_IFDIR | 0700,
        .nlink = 2,
        .atime = inode_now(),
    };
    inode.mtime = inode.atime;
    inode.ctime = inode.atime;
    inode.btime = inode.atime;
    struct fs_inode_disk disk;
    uint32_t bytes = 0;
    int error = btree_get(&txn->reader, &key, &disk, 0, &bytes);
    bool there = error == 0;
    error = error == -ENOENT ? 0 : error;
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error != 0) {
        return error;
    }
    inode_encode(&inode, &disk);
    txn_change(txn);
    error = there ? btree_replace(txn, &key, &disk, sizeof(disk)) : inode_insert(txn, &inode);
    return change_result(txn, repair, error);
}

static void set_field(struct fs_inode *inode, enum fsck_field field, uint64_t value)
{
    switch (field) {
    case FSCK_FIELD_SIZE: inode->size = value; break;
    case FSCK_FIELD_BLOCKS: inode->blocks = value; break;
    case FSCK_FIELD_PARENT: inode->parent = value; break;
    case FSCK_FIELD_NLINK: inode->nlink = (uint32_t)value; break;
    case FSCK_FIELD_PRESENCE: inode->presence = (uint32_t)value; break;
    case FSCK_FIELD_XATTR_NEXT: inode->xattr_next = (uint32_t)value; break;
    case FSCK_FIELD_MODE: inode->mode = (uint32_t)value; break;
    case FSCK_FIELD_PLAIN:
    default: break; /* writing it is enough */
    }
}

static int field_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_inode inode;
    int error = inode_read(&txn->reader, repair->fix->key.ino, &inode);
    if (error == -ENOENT) {
        return 0;
    }
    if (error == 0) {
        error = btree_prepare(txn, &repair->fix->key);
    }
    if (error != 0) {
        return error;
    }
    set_field(&inode, repair->fix->field, repair->fix->value);
    txn_change(txn);
    return change_result(txn, repair, inode_write(txn, &inode));
}

static int orphan_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    uint64_t ino = repair->fix->key.ino;
    struct fs_inode inode;
    struct orphan orphan;
    int error = inode_read(&txn->reader, ino, &inode);
    if (error == -ENOENT) {
        return 0;
    }
    inode.presence |= FS_INODE_HAS_ORPHAN; /* the round found the record */
    if (error == 0) {
        error = orphan_read(&txn->reader, &inode, &orphan);
    }
    if (error == 0) {
        error = orphan_prepare(txn, ino);
    }
    if (error == 0) {
        error = btree_prepare(txn, &repair->fix->key);
    }
    if (error != 0) {
        return error;
    }
    orphan.what &= (uint32_t)repair->fix->value;
    txn_change(txn);
    error = orphan_write(txn, &inode, &orphan);
    if (error == 0) {
        error = inode_write(txn, &inode);
    }
    return change_result(txn, repair, error);
}

/* ---- entries --------------------------------------------------------------------------------- */

/* The entry at the fix's key; its name points into `data`. -ENOENT: it is gone. */
static int read_entry(struct fs_txn *txn,
                      const struct fs_key *key,
                      uint8_t data[FS_ITEM_BYTES_MAX],
                      struct dir_entry *out_entry,
                      struct fs_name *out_name)
{
    uint32_t bytes = 0;
    int error = btree_get(&txn->reader, key, data, FS_ITEM_BYTES_MAX, &bytes);
    if (error == 0 && dir_decode(data, bytes, out_entry, out_name) != NULL) {
        error = -ENOENT;
    }
    out_entry->offset = key->offset;
    return error;
}

static int entry_type_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_key key = repair->fix->key;
    uint8_t data[FS_ITEM_BYTES_MAX];
    struct dir_entry entry;
    struct fs_name name;
    int error = read_entry(txn, &key, data, &entry, &name);
    if (error == -ENOENT) {
        return 0;
    }
    if (error == 0) {
        error = dir_prepare(txn, key.ino, key.offset);
    }
    if (error != 0) {
        return error;
    }
    entry.type = (uint32_t)repair->fix->value;
    txn_change(txn);
    return change_result(txn, repair, dir_point(txn, key.ino, &entry));
}

static int entry_move_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_key key = repair->fix->key;
    uint8_t data[FS_ITEM_BYTES_MAX];
    struct dir_entry entry;
    struct dir_entry there;
    struct fs_name name;
    uint64_t offset = 0;
    int error = read_entry(txn, &key, data, &entry, &name);
    if (error == -ENOENT) {
        return 0;
    }
    if (error == 0) {
        error = dir_find(&txn->reader, key.ino, name, &there, &offset);
    }
    bool twice = error == 0;
    error = error == -ENOENT ? 0 : error;
    if (error == 0) {
        error = dir_prepare(txn, key.ino, key.offset);
    }
    if (error == 0 && !twice) {
        error = dir_prepare(txn, key.ino, offset);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = dir_remove(txn, key.ino, key.offset);
    if (error == 0 && !twice) {
        entry.offset = offset;
        error = dir_add(txn, key.ino, name, &entry);
    }
    return change_result(txn, repair, error);
}

/* ---- extents --------------------------------------------------------------------------------- */

/* The extent at file block `at`; -ENOENT: it is gone, or no extent. */
static int
read_extent(struct fs_reader *reader, const struct fs_key *key, struct extent *out_extent)
{
    struct fs_extent_disk disk;
    uint32_t bytes = 0;
    int error = btree_get(reader, key, &disk, sizeof(disk), &bytes);
    if (error == 0 &&
        extent_decode(reader->fs, key->offset, (const uint8_t *)&disk, bytes, out_extent) != NULL) {
        error = -ENOENT;
    }
    return error;
}

/* Stores two extents where one was: `first` at its key, `second` unless it is empty. */
static int put_extents(struct fs_txn *txn,
                       uint64_t ino,
                       const struct extent *first,
                       const struct extent *second)
{
    const struct extent *both[2] = {first, second};
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < 2 && both[i]->count > 0; i++) {
        const struct fs_key key = fs_key(ino, FS_ITEM_EXTENT, both[i]->first);
        const struct fs_extent_disk disk = {
            .start = le64_make(both[i]->start.nr),
            .length = le32_make((uint32_t)both[i]->count),
            .flags = le32_make(both[i]->state == EXTENT_UNWRITTEN ? FS_EXTENT_UNWRITTEN : 0),
        };
        error = i == 0 ? btree_replace(txn, &key, &disk, sizeof(disk))
                       : btree_insert(txn, &key, &disk, sizeof(disk));
    }
    return error;
}

/* What is behind the first `count` blocks of the extent. */
static struct extent extent_rest(const struct extent *extent, uint64_t count)
{
    struct extent rest = *extent;
    rest.first += count;
    rest.start = fs_block_add(rest.start, count);
    rest.count -= count;
    return rest;
}

static int prepare_extents(struct fs_txn *txn, uint64_t ino, uint64_t first, uint64_t second)
{
    const struct fs_key first_key = fs_key(ino, FS_ITEM_EXTENT, first);
    const struct fs_key second_key = fs_key(ino, FS_ITEM_EXTENT, second);
    int error = btree_prepare(txn, &first_key);
    return error == 0 ? btree_prepare(txn, &second_key) : error;
}

static int unwritten_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    struct fs_key key = repair->fix->key;
    struct extent extent;
    int error = read_extent(&txn->reader, &key, &extent);
    if (error == -ENOENT || (error == 0 && repair->fix->value >= extent_end(&extent))) {
        return 0;
    }
    if (error == 0) {
        error = prepare_extents(txn, key.ino, key.offset, repair->fix->value);
    }
    if (error != 0) {
        return error;
    }
    uint64_t keep = repair->fix->value > extent.first ? repair->fix->value - extent.first : 0;
    struct extent rest = extent_rest(&extent, keep);
    rest.state = EXTENT_UNWRITTEN;
    extent.count = keep;
    txn_change(txn);
    if (keep == 0) {
        const struct extent nothing = {.count = 0};
        error = put_extents(txn, key.ino, &rest, &nothing);
    } else {
        error = put_extents(txn, key.ino, &extent, &rest);
    }
    return change_result(txn, repair, error);
}

/* New blocks for the first part of an extent, with a copy of the old ones' contents. */
static int clone_take(struct fs_txn *txn, struct extent *extent)
{
    struct fs_block start;
    uint32_t count = 0;
    uint32_t want = (uint32_t)min_u64(extent->count, txn->need.allocate);
    uint8_t *copy = txn->thread->scratch;
    int error = freespace_alloc(txn, fs_block(0), want, &start, &count);
    if (error == 0 && extent->state == EXTENT_WRITTEN) {
        error = journal_read(txn->fs->journal, txn->thread->queue, extent->start, count, copy);
    }
    if (error != 0) {
        return error; /* what was taken is leaked until the next round */
    }
    for (uint32_t i = 0; i < count && extent->state == EXTENT_WRITTEN; i++) {
        txn_write_data(txn, fs_block_add(start, i), copy + (size_t)i * BLOCK_BYTES);
    }
    extent->start = start;
    extent->count = count;
    return 0;
}

static int clone_body(struct fs_txn *txn, void *context)
{
    struct repair *repair = context;
    const struct fs_key key = fs_key(repair->fix->key.ino, FS_ITEM_EXTENT, repair->at);
    struct extent old;
    int error = read_extent(&txn->reader, &key, &old);
    if (error == -ENOENT) {
        repair->done = true;
        return 0;
    }
    struct extent taken = old;
    if (error == 0) {
        error = clone_take(txn, &taken);
    }
    if (error == 0) {
        error = prepare_extents(txn, key.ino, taken.first, extent_end(&taken));
    }
    if (error != 0) {
        return error;
    }
    const struct extent rest = extent_rest(&old, taken.count);
    txn_change(txn);
    error = put_extents(txn, key.ino, &taken, &rest);
    repair->at = rest.first;
    repair->done = rest.count == 0;
    return change_result(txn, repair, error);
}

static int clone_steps(struct repair *repair, const struct op_change *change)
{
    uint32_t step = txn_data_blocks_max(repair->fs);
    step = step < CLONE_BLOCKS_MAX ? step : CLONE_BLOCKS_MAX;
    repair->at = repair->fix->key.offset;
    repair->need = (struct txn_need){
        .data_blocks = step,
        .allocate = step,
        .alloc_runs = 1,
        .inserts = 1,
        .updates = 1,
        .deep = true,
    };
    int error = 0;
    while (error == 0 && !repair->done) {
        error = op_change(repair->fs, repair->ck->thread, change);
    }
    return error;
}

/* ---- all ------------------------------------------------------------------------------------- */

typedef int (*repair_body)(struct fs_txn *txn, void *context);

static const repair_body bodies[FSCK_FIX_KINDS] = {
    [FSCK_FIX_REMOVE] = remove_body,
    [FSCK_FIX_REMAKE] = remake_body,
    [FSCK_FIX_CLONE] = clone_body,
    [FSCK_FIX_UNWRITTEN] = unwritten_body,
    [FSCK_FIX_ENTRY_TYPE] = entry_type_body,
    [FSCK_FIX_ENTRY_MOVE] = entry_move_body,
    [FSCK_FIX_ORPHAN] = orphan_body,
    [FSCK_FIX_FIELD] = field_body,
    [FSCK_FIX_ADOPT] = NULL, /* fsck_lost.c */
};

static int apply_one(struct repair *repair)
{
    struct op_change change = {
        .need = &repair->need,
        .body = bodies[repair->fix->kind],
        .context = repair,
    };
    repair->done = false;
    repair->changed = false;
    repair->need =
        (struct txn_need){.inserts = 1, .removes = 1, .updates = 2, .deep = true}; /* of any */
    if (repair->fix->kind == FSCK_FIX_ADOPT) {
        return fsck_adopt(repair->ck, repair->fs, repair->fix->key.ino, &repair->changed);
    }
    if (repair->fix->kind == FSCK_FIX_CLONE) {
        return clone_steps(repair, &change);
    }
    return op_change(repair->fs, repair->ck->thread, &change);
}

/* Whether the check goes on without this fix. */
static bool may_leave(struct fsck *ck, const struct fsck_fix *fix, int error)
{
    if (error != -ENOSPC && error != -EUCLEAN && error != -EMLINK) {
        return false;
    }
    fsck_note(
        ck, "inode %llu: not repaired: %s", (unsigned long long)fix->key.ino, strerror(-error));
    return true;
}

static int apply_all(struct fsck *ck, struct fs *fs, uint64_t *out_done)
{
    const struct fsck_fix *fixes = (const struct fsck_fix *)(const void *)ck->fixes.data;
    struct repair repair = {.ck = ck, .fs = fs};
    for (uint32_t kind = 0; kind < FSCK_FIX_KINDS; kind++) {
        for (size_t i = 0; i < ck->fixes.count; i++) {
            if ((uint32_t)fixes[i].kind != kind) {
                continue;
            }
            repair.fix = &fixes[i];
            int error = apply_one(&repair);
            if (error != 0 && !may_leave(ck, &fixes[i], error)) {
                return error;
            }
            *out_done += repair.changed ? 1 : 0;
        }
    }
    return 0;
}

int fsck_repair_items(struct fsck *ck, uint64_t *out_done)
{
    struct arena arena;
    char why[FS_WHY_BYTES];
    struct fs *fs = NULL;
    arena_init_growing(&arena);
    const struct fs_options options = {.arena = &arena, .buffer_bytes = REPAIR_BUFFER_BYTES};
    const struct fs_opening opening = {ck->journal, ck->array, &options, FS_OPEN_CHECK_WRITE};
    int error = fs_open(&fs, &opening, ck->thread, why);
    if (error != 0) {
        fsck_note(ck, "%s", why);
        arena_fini(&arena);
        return error;
    }
    ck->wrote = true;
    error = apply_all(ck, fs, out_done);
    int sync_error = fs_sync(fs, ck->thread);
    error = error == 0 ? sync_error : error;
    fs_close(fs);
    arena_fini(&arena);
    return error;
}
