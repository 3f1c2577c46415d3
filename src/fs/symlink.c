/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Targets of symbolic links: items of FS_CHUNK_BYTES each, written once when the link is made
 * (namei.c) and freed with the inode (orphan.c). A target that does not fit the inode's size is
 * -EUCLEAN.
 */
#include "symlink.h"

#include <errno.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "op.h"

_Static_assert(FS_SYMLINK_BYTES_MAX <= SYMLINK_CHUNKS_MAX * FS_CHUNK_BYTES, "three hold it");

uint32_t symlink_chunks(size_t bytes)
{
    return (uint32_t)div_round_up(bytes, FS_CHUNK_BYTES);
}

int symlink_prepare(struct fs_txn *txn, uint64_t ino, size_t bytes)
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < symlink_chunks(bytes); i++) {
        struct fs_key key = fs_key(ino, FS_ITEM_SYMLINK, i);
        error = btree_prepare(txn, &key);
    }
    return error;
}

int symlink_insert(struct fs_txn *txn, uint64_t ino, const char *target, size_t bytes)
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < symlink_chunks(bytes); i++) {
        struct fs_key key = fs_key(ino, FS_ITEM_SYMLINK, i);
        size_t at = (size_t)i * FS_CHUNK_BYTES;
        error = btree_insert(txn, &key, target + at, (uint32_t)min_u64(FS_CHUNK_BYTES, bytes - at));
    }
    return error;
}

struct symlink_look {
    uint64_t ino;
    uint8_t *buffer;
    size_t bytes;
};

static int read_target(struct fs_reader *reader, void *context)
{
    struct symlink_look *look = context;
    struct fs_inode inode;
    int error = inode_read(reader, look->ino, &inode);
    if (error != 0) {
        return error;
    }
    if (!S_ISLNK(inode.mode)) {
        return -EINVAL;
    }
    if (inode.size == 0 || inode.size > FS_SYMLINK_BYTES_MAX) {
        return fs_damage(reader->fs, look->ino, fs_block(0), "symlink of impossible length");
    }
    for (uint32_t i = 0; error == 0 && i < symlink_chunks(inode.size); i++) {
        struct fs_key key = fs_key(look->ino, FS_ITEM_SYMLINK, i);
        size_t at = (size_t)i * FS_CHUNK_BYTES;
        uint32_t want = (uint32_t)min_u64(FS_CHUNK_BYTES, inode.size - at);
        uint32_t bytes;
        error = btree_get(reader, &key, look->buffer + at, want, &bytes);
        if (error == -ENOENT || (error == 0 && bytes != want)) {
            return fs_damage(reader->fs, look->ino, fs_block(0), "symlink's target is incomplete");
        }
    }
    look->bytes = inode.size;
    return error;
}

int fs_readlink(
    struct fs *fs, struct fs_thread *thread, uint64_t ino, char *buffer, size_t *out_bytes)
{
    struct symlink_look look = {.ino = ino, .buffer = (uint8_t *)buffer};
    int error = op_look(fs, thread, read_target, &look);
    if (error == 0) {
        *out_bytes = look.bytes;
    }
    return error;
}
