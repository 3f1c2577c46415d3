/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intent records, and freeing what they name in steps.
 *
 *     unlink of the last name   one transaction: entry gone, nlink 0, record DELETE
 *     large truncate            one transaction: new size, record TRUNCATE; then steps of extents
 *     large attribute value     record XATTR while its chunks are written or freed
 *     evict                     steps of items; the last one frees the inode and the record
 *
 *   O1  an inode has a record exactly when its presence says so; nlink 0 means DELETE
 *   O2  each step leaves a state that a mount can go on from: records are removed in the
 *       transaction that frees the last of what they name
 *   O3  freeing needs no free space: steps may use the reserve (txn_need.deep)
 *
 * Happy path: fs_evict on a small file is one transaction. After a crash fs_mount calls
 * orphan_finish_all; a record that cannot be finished because metadata is damaged stays, with a
 * message, and does not stop the mount. Any thread; the inode lock is held within a step only.
 */
#include "orphan.h"

#include <errno.h>
#include <string.h>

#include "extent.h"
#include "fs_internal.h"
#include "op.h"
#include "r5fs/base/msg.h"
#include "truncate.h"
#include "xattr.h"

/* ---- the record ---------------------------------------------------------------------------- */

#define ORPHAN_KNOWN (FS_ORPHAN_DELETE | FS_ORPHAN_TRUNCATE | FS_ORPHAN_XATTR)

const char *orphan_decode(const uint8_t *data, uint32_t bytes, struct orphan *out_orphan)
{
    struct fs_orphan_disk disk;
    if (bytes != sizeof(disk)) {
        return "orphan record of wrong size";
    }
    memcpy(&disk, data, sizeof(disk));
    uint32_t what = le32_get(disk.what);
    if (what == 0 || (what & ~ORPHAN_KNOWN) != 0 || le64_get(disk.size) > FS_FILE_BYTES_MAX) {
        return "orphan record that says nothing sensible";
    }
    out_orphan->what = what;
    out_orphan->value_id = le32_get(disk.value_id);
    out_orphan->size = le64_get(disk.size);
    out_orphan->stored = true;
    return NULL;
}

static struct fs_key orphan_key(uint64_t ino)
{
    return fs_key(0, FS_ITEM_ORPHAN, ino);
}

int orphan_read(struct fs_reader *reader, const struct fs_inode *inode, struct orphan *out_orphan)
{
    struct fs_key key = orphan_key(inode->ino);
    struct fs_orphan_disk disk;
    uint32_t bytes;
    memset(out_orphan, 0, sizeof(*out_orphan));
    if ((inode->presence & FS_INODE_HAS_ORPHAN) == 0) {
        return 0;
    }
    int error = btree_get(reader, &key, &disk, sizeof(disk), &bytes);
    if (error == -ENOENT) {
        return fs_damage(reader->fs, inode->ino, fs_block(0), "orphan record is missing");
    }
    if (error != 0) {
        return error;
    }
    const char *problem = orphan_decode((const uint8_t *)&disk, bytes, out_orphan);
    return problem == NULL ? 0 : fs_damage(reader->fs, inode->ino, fs_block(0), problem);
}

int orphan_prepare(struct fs_txn *txn, uint64_t ino)
{
    struct fs_key key = orphan_key(ino);
    return btree_prepare(txn, &key);
}

int orphan_write(struct fs_txn *txn, struct fs_inode *inode, const struct orphan *orphan)
{
    struct fs_key key = orphan_key(inode->ino);
    struct fs_orphan_disk disk = {
        .what = le32_make(orphan->what),
        .value_id = le32_make((orphan->what & FS_ORPHAN_XATTR) != 0 ? orphan->value_id : 0),
        .size = le64_make((orphan->what & FS_ORPHAN_TRUNCATE) != 0 ? orphan->size : 0),
    };
    if (orphan->what == 0) {
        inode->presence &= ~FS_INODE_HAS_ORPHAN;
        return orphan->stored ? btree_remove(txn, &key) : 0;
    }
    inode->presence |= FS_INODE_HAS_ORPHAN;
    if (!orphan->stored) {
        return btree_insert(txn, &key, &disk, sizeof(disk));
    }
    return btree_replace(txn, &key, &disk, sizeof(disk));
}

/* ---- evict --------------------------------------------------------------------------------- */

#define EVICT_ITEMS_MAX 24u

struct evict_item {
    struct fs_key key;
    struct fs_block start; /* an extent's run; count 0: none */
    uint32_t count;
};

struct evict {
    uint64_t ino;
    struct txn_need need;
    uint32_t items_max; /* that the need allows for */
    bool done;
    uint32_t count;
    bool more; /* there are items beyond those */
    struct evict_item items[EVICT_ITEMS_MAX];
};

static int evict_take(struct evict *evict, const struct btree_path *path)
{
    struct fs *fs = path->reader->fs;
    struct evict_item *item = &evict->items[evict->count];
    item->key = btree_key(path);
    item->count = 0;
    if (item->key.type == FS_ITEM_DIRENT) {
        return fs_damage(
            fs, evict->ino, path->level[0].buffer->block, "deleted directory has names");
    }
    if (item->key.type == FS_ITEM_EXTENT) {
        struct extent extent;
        uint32_t bytes;
        const uint8_t *data = btree_data(path, &bytes);
        const char *problem = extent_decode(fs, item->key.offset, data, bytes, &extent);
        if (problem != NULL) {
            return fs_damage(fs, evict->ino, path->level[0].buffer->block, problem);
        }
        item->start = extent.start;
        item->count = (uint32_t)extent.count;
    }
    evict->count++;
    return 0;
}

/* The first items of the inode behind its record, at most `max`. */
static int evict_collect(struct fs_reader *reader, struct evict *evict, uint32_t max)
{
    struct fs_key key = fs_key(evict->ino, FS_ITEM_XATTR, 0);
    struct btree_path path;
    evict->count = 0;
    evict->more = false;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0 && btree_key(&path).ino == evict->ino) {
        if (evict->count == max) {
            evict->more = true;
            break;
        }
        error = evict_take(evict, &path);
        if (error == 0) {
            error = btree_next(&path);
        }
    }
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

static int evict_plan(struct fs_reader *reader, void *context)
{
    struct evict *evict = context;
    struct fs_inode inode;
    int error = inode_read(reader, evict->ino, &inode);
    if (error == 0 && inode.nlink > 0) {
        error = -ENOENT;
    }
    if (error == 0) {
        error = evict_collect(reader, evict, EVICT_ITEMS_MAX);
    }
    return error;
}

/* Two more removes: the inode's record and the orphan's. */
static void evict_set_need(struct evict *evict, struct fs *fs)
{
    memset(&evict->need, 0, sizeof(evict->need));
    evict->need.deep = true;
    evict->need.removes = 2;
    const struct txn_need each = {.removes = 1, .free_runs = 1};
    evict->items_max = (uint32_t)min_u64(evict->count, txn_steps_max(fs, &evict->need, &each));
    evict->need.removes += evict->items_max;
    evict->need.free_runs = evict->items_max;
}

static int evict_prepare(struct fs_txn *txn, const struct evict *evict)
{
    struct fs_key key = fs_key(evict->ino, FS_ITEM_INODE, 0);
    int error = btree_prepare(txn, &key);
    if (error == 0) {
        error = orphan_prepare(txn, evict->ino);
    }
    for (uint32_t i = 0; error == 0 && i < evict->count; i++) {
        const struct evict_item *item = &evict->items[i];
        error = btree_prepare(txn, &item->key);
        if (error == 0 && item->count > 0) {
            error = freespace_prepare_free(txn, item->start, item->count);
        }
    }
    return error;
}

static int evict_apply(struct fs_txn *txn, struct evict *evict, struct fs_inode *inode)
{
    struct orphan none = {.stored = (inode->presence & FS_INODE_HAS_ORPHAN) != 0};
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < evict->count; i++) {
        const struct evict_item *item = &evict->items[i];
        error = btree_remove(txn, &item->key);
        if (error == 0 && item->count > 0) {
            error = freespace_free(txn, item->start, item->count);
            inode->blocks -= min_u64(inode->blocks, item->count);
        }
    }
    if (error != 0) {
        return error;
    }
    if (evict->more) {
        return inode_write(txn, inode);
    }
    error = orphan_write(txn, inode, &none);
    if (error == 0) {
        error = inode_remove(txn, evict->ino);
    }
    evict->done = error == 0;
    return error;
}

static int evict_step(struct fs_txn *txn, void *context)
{
    struct evict *evict = context;
    struct fs_inode inode;
    int error = inode_read(&txn->reader, evict->ino, &inode);
    if (error == 0 && inode.nlink > 0) {
        error = -ENOENT;
    }
    if (error == 0) {
        error = evict_collect(&txn->reader, evict, evict->items_max);
    }
    if (error == 0) {
        error = evict_prepare(txn, evict);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = evict_apply(txn, evict, &inode);
    return error == 0 ? 0 : txn_broken(txn, error);
}

int fs_evict(struct fs *fs, struct fs_thread *thread, uint64_t ino)
{
    struct evict evict = {.ino = ino};
    const struct op_change change = {
        .need = &evict.need,
        .lock_ino = ino,
        .body = evict_step,
        .context = &evict,
    };
    while (!evict.done) {
        int error = op_look(fs, thread, evict_plan, &evict);
        if (error == 0) {
            evict_set_need(&evict, fs);
            error = op_change(fs, thread, &change);
        }
        if (error != 0) {
            return error == -ENOENT ? 0 : error;
        }
    }
    return 0;
}

/* ---- mount --------------------------------------------------------------------------------- */

struct orphan_next {
    uint64_t ino; /* look from here on; then the one found */
    bool found;
    struct orphan orphan;
};

static int next_look(struct fs_reader *reader, void *context)
{
    struct orphan_next *next = context;
    struct fs_key key = orphan_key(next->ino);
    struct btree_path path;
    next->found = false;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    if (error == 0) {
        key = btree_key(&path);
    }
    if (error == 0 && key.ino == 0 && key.type == FS_ITEM_ORPHAN) {
        uint32_t bytes;
        const uint8_t *data = btree_data(&path, &bytes);
        const char *problem = orphan_decode(data, bytes, &next->orphan);
        next->ino = key.offset;
        next->found = true;
        if (problem != NULL) {
            next->orphan.what = 0;
            (void)fs_damage(reader->fs, key.offset, path.level[0].buffer->block, problem);
        }
    }
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

static int finish_one(struct fs *fs, struct fs_thread *thread, const struct orphan_next *next)
{
    int error = 0;
    if ((next->orphan.what & FS_ORPHAN_DELETE) != 0) {
        return fs_evict(fs, thread, next->ino);
    }
    if ((next->orphan.what & FS_ORPHAN_TRUNCATE) != 0) {
        error = truncate_finish(fs, thread, next->ino);
    }
    if (error == 0 && (next->orphan.what & FS_ORPHAN_XATTR) != 0) {
        error = xattr_finish(fs, thread, next->ino);
    }
    return error;
}

int orphan_finish_all(struct fs *fs, struct fs_thread *thread)
{
    struct orphan_next next = {.ino = 0};
    for (;;) {
        int error = op_look(fs, thread, next_look, &next);
        if (error != 0 || !next.found) {
            return error;
        }
        error = finish_one(fs, thread, &next);
        if (error == -EUCLEAN || error == -ENOENT) {
            msg_warn("orphan", "left unfinished ino=%llu", (unsigned long long)next.ino);
        } else if (error != 0) {
            return error;
        }
        if (next.ino == UINT64_MAX) {
            return 0;
        }
        next.ino++;
    }
}
