/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directory entries and fs_readdir.
 *
 *     items of a directory   | hash a, 0: "x" | hash b, 0: "y" | hash b, 1: "z" | hash c, 0: ...
 *     cookie of an entry  =  its item's offset; 1 and 2 are those of "." and ".."
 *
 *   D1  a name stands once in a directory, below the offset of its hash, at any of the 256 indices
 *   D2  an entry's offset does not change while it lives; a new one takes the lowest free index
 *   D3  inode.size of a directory is the number of its entries
 *
 * readdir goes in batches: entries are copied into the thread's scratch under the tree lock, their
 * attributes are looked up, then they are given out with no lock held. Going on from a cookie is
 * one search. An entry whose inode is not there (removed between both looks, or damage) is given
 * without attributes. Failure: an item that cannot be an entry is -EUCLEAN with its block's
 * address. Any thread.
 */
#include "dir.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "name.h"
#include "op.h"

const char *
dir_decode(const uint8_t *data, uint32_t bytes, struct dir_entry *out_entry, struct fs_name *out)
{
    struct fs_dirent_disk disk;
    if (bytes <= sizeof(disk)) {
        return "directory entry too short";
    }
    memcpy(&disk, data, sizeof(disk));
    struct fs_name name = {(const char *)data + FS_DIRENT_NAME_AT, disk.name_bytes};
    if (bytes != FS_DIRENT_NAME_AT + name.length || name_check_entry(name) != 0) {
        return "directory entry with a wrong name";
    }
    if (le64_get(disk.ino) == 0 || disk.type == 0 || disk.type > (S_IFMT >> 12)) {
        return "directory entry that names nothing";
    }
    out_entry->ino = le64_get(disk.ino);
    out_entry->type = (uint32_t)disk.type << 12;
    *out = name;
    return NULL;
}

static int
path_entry(const struct btree_path *path, struct dir_entry *out_entry, struct fs_name *out_name)
{
    struct fs_key key = btree_key(path);
    uint32_t bytes;
    const uint8_t *data = btree_data(path, &bytes);
    const char *problem = dir_decode(data, bytes, out_entry, out_name);
    if (problem != NULL) {
        return fs_damage(path->reader->fs, key.ino, path->level[0].buffer->block, problem);
    }
    out_entry->offset = key.offset;
    return 0;
}

/* One item of equal hash: is it the name? Follows which index is free below it. -EAGAIN has its
 * usual meaning; -ENOENT: look at the next. */
static int find_look(const struct btree_path *path,
                     struct fs_name name,
                     struct dir_entry *out_entry,
                     uint64_t *free)
{
    struct dir_entry entry;
    struct fs_name there;
    int error = path_entry(path, &entry, &there);
    if (error != 0) {
        return error;
    }
    if (name_equal(name, there)) {
        *out_entry = entry;
        return 0;
    }
    if (entry.offset == *free) {
        (*free)++;
    }
    return -ENOENT;
}

int dir_find(struct fs_reader *reader,
             uint64_t dir,
             struct fs_name name,
             struct dir_entry *out_entry,
             uint64_t *out_free)
{
    uint64_t begin = name_offset(reader->fs, name);
    uint64_t free = begin;
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, begin);
    struct btree_path path;
    bool found = false;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0 && !found) {
        key = btree_key(&path);
        if (key.ino != dir || key.type != FS_ITEM_DIRENT ||
            key.offset > begin + FS_HASH_INDEX_MAX) {
            error = -ENOENT;
            break;
        }
        error = find_look(&path, name, out_entry, &free);
        found = error == 0;
        if (error == -ENOENT) {
            error = btree_next(&path);
        }
    }
    btree_path_release(&path);
    if (error == -ENOENT && out_free != NULL) {
        if (free > begin + FS_HASH_INDEX_MAX) {
            return -ENOSPC;
        }
        *out_free = free;
    }
    return error;
}

int dir_check_empty(struct fs_reader *reader, uint64_t dir)
{
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, 0);
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    if (error == 0) {
        key = btree_key(&path);
        error = key.ino == dir && key.type == FS_ITEM_DIRENT ? -ENOTEMPTY : 0;
    } else if (error == -ENOENT) {
        error = 0;
    }
    btree_path_release(&path);
    return error;
}

int dir_prepare(struct fs_txn *txn, uint64_t dir, uint64_t offset)
{
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, offset);
    return btree_prepare(txn, &key);
}

int dir_add(struct fs_txn *txn, uint64_t dir, struct fs_name name, const struct dir_entry *entry)
{
    uint8_t data[FS_DIRENT_NAME_AT + FS_NAME_BYTES_MAX];
    struct fs_dirent_disk disk = {
        .ino = le64_make(entry->ino),
        .type = (uint8_t)(entry->type >> 12),
        .name_bytes = (uint8_t)name.length,
    };
    R5_CHECK(name.length > 0 && name.length <= FS_NAME_BYTES_MAX);
    memcpy(data, &disk, sizeof(disk));
    memcpy(data + FS_DIRENT_NAME_AT, name.bytes, name.length);
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, entry->offset);
    return btree_insert(txn, &key, data, FS_DIRENT_NAME_AT + (uint32_t)name.length);
}

int dir_remove(struct fs_txn *txn, uint64_t dir, uint64_t offset)
{
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, offset);
    return btree_remove(txn, &key);
}

int dir_point(struct fs_txn *txn, uint64_t dir, const struct dir_entry *entry)
{
    struct fs_key key = fs_key(dir, FS_ITEM_DIRENT, entry->offset);
    struct fs_dirent_disk disk;
    uint8_t *data;
    uint32_t bytes;
    int error = btree_change(txn, &key, &data, &bytes);
    if (error == 0) {
        R5_CHECK(bytes > sizeof(disk));
        memcpy(&disk, data, sizeof(disk));
        disk.ino = le64_make(entry->ino);
        disk.type = (uint8_t)(entry->type >> 12);
        memcpy(data, &disk, sizeof(disk));
    }
    return error;
}

/* ---- readdir ------------------------------------------------------------------------------- */

#define DIR_BATCH 128u

struct dir_batch_entry {
    struct dir_entry entry;
    uint32_t name_bytes;
    char name[FS_NAME_BYTES_MAX];
};
_Static_assert(DIR_BATCH * sizeof(struct dir_batch_entry) <= FS_SCRATCH_BYTES, "fits the scratch");

struct dir_batch {
    uint64_t dir;
    uint64_t cookie; /* entries behind it */
    uint32_t count;
    bool end; /* the directory has no more */
    struct dir_batch_entry *entries;
};

static int batch_take(struct dir_batch *batch, const struct btree_path *path)
{
    struct dir_batch_entry *to = &batch->entries[batch->count];
    struct fs_name name;
    int error = path_entry(path, &to->entry, &name);
    if (error == 0) {
        to->name_bytes = (uint32_t)name.length;
        memcpy(to->name, name.bytes, name.length);
        batch->count++;
    }
    return error;
}

/* Fills the batch from one leaf or a few: what was taken before a missing node stays taken, so
 * that the next round begins behind it. */
static int batch_fill(struct fs_reader *reader, void *context)
{
    struct dir_batch *batch = context;
    uint64_t from =
        batch->count > 0 ? batch->entries[batch->count - 1].entry.offset : batch->cookie;
    struct fs_key key = fs_key(batch->dir, FS_ITEM_DIRENT, from + 1);
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0 && batch->count < DIR_BATCH) {
        key = btree_key(&path);
        if (key.ino != batch->dir || key.type != FS_ITEM_DIRENT) {
            error = -ENOENT;
            break;
        }
        error = batch_take(batch, &path);
        if (error == 0) {
            error = btree_next(&path);
        }
    }
    btree_path_release(&path);
    if (error == -ENOENT) {
        batch->end = true;
        error = 0;
    }
    return error;
}

struct dir_inode_look {
    uint64_t ino;
    struct fs_inode inode;
};

static int look_inode(struct fs_reader *reader, void *context)
{
    struct dir_inode_look *look = context;
    return inode_read(reader, look->ino, &look->inode);
}

struct dir_emitter {
    bool with_attributes;
    bool (*emit)(void *context, const struct fs_dirent *entry);
    void *context;
    bool full;
};

static int emit_batch(struct fs *fs,
                      struct fs_thread *thread,
                      const struct dir_batch *batch,
                      struct dir_emitter *to)
{
    for (uint32_t i = 0; i < batch->count && !to->full; i++) {
        const struct dir_batch_entry *from = &batch->entries[i];
        struct fs_attr attr;
        struct fs_dirent entry = {
            .ino = from->entry.ino,
            .cookie = from->entry.offset,
            .type = from->entry.type,
            .name = {from->name, from->name_bytes},
        };
        if (to->with_attributes) {
            struct dir_inode_look look = {.ino = entry.ino};
            int error = op_look(fs, thread, look_inode, &look);
            if (error != 0 && error != -ENOENT) {
                return error;
            }
            if (error == 0) {
                inode_to_attr(&look.inode, &attr);
                entry.attr = &attr;
            }
        }
        to->full = !to->emit(to->context, &entry);
    }
    return 0;
}

static void emit_dots(const struct fs_inode *dir, uint64_t cookie, struct dir_emitter *to)
{
    struct fs_dirent entry = {
        .ino = dir->ino,
        .cookie = DIR_COOKIE_DOT,
        .type = S_IFDIR,
        .name = {".", 1},
    };
    if (cookie < DIR_COOKIE_DOT) {
        to->full = !to->emit(to->context, &entry);
    }
    if (cookie < DIR_COOKIE_DOT_DOT && !to->full) {
        entry.ino = dir->parent;
        entry.cookie = DIR_COOKIE_DOT_DOT;
        entry.name = (struct fs_name){"..", 2};
        to->full = !to->emit(to->context, &entry);
    }
}

int fs_readdir(struct fs *fs,
               struct fs_thread *thread,
               uint64_t ino,
               uint64_t cookie,
               bool with_attributes,
               bool (*emit)(void *context, const struct fs_dirent *entry),
               void *context)
{
    struct dir_inode_look look = {.ino = ino};
    struct dir_emitter to = {with_attributes, emit, context, false};
    struct dir_batch batch = {.dir = ino, .cookie = cookie};
    int error = op_look(fs, thread, look_inode, &look);
    if (error != 0) {
        return error;
    }
    if (!S_ISDIR(look.inode.mode)) {
        return -ENOTDIR;
    }
    emit_dots(&look.inode, cookie, &to);
    batch.cookie = max_u64(cookie, DIR_COOKIE_DOT_DOT);
    batch.entries = (struct dir_batch_entry *)(void *)thread->scratch;
    while (!to.full && !batch.end && batch.cookie < INT64_MAX) {
        batch.count = 0;
        error = op_look(fs, thread, batch_fill, &batch);
        if (error == 0) {
            error = emit_batch(fs, thread, &batch, &to);
        }
        if (error != 0) {
            return error;
        }
        if (batch.count > 0) {
            batch.cookie = batch.entries[batch.count - 1].entry.offset;
        }
    }
    return 0;
}
