/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inode records and the striped inode locks (inode.h). Numbers come from super.next_ino and are
 * never used again. Any thread; a record is changed in a transaction.
 */
#include "inode.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "r5fs/base/wait_check.h"

#define NANOSECONDS 1000000000u

size_t inode_locks_need(void)
{
    return INODE_LOCKS * sizeof(struct env_rwlock) + BLOCK_BYTES;
}

void inode_locks_init(struct inode_locks *locks, struct arena *arena)
{
    locks->locks = arena_take_array(arena, struct env_rwlock, INODE_LOCKS);
    for (uint32_t i = 0; i < INODE_LOCKS; i++) {
        env_rwlock_init(&locks->locks[i]);
    }
}

void inode_locks_fini(struct inode_locks *locks)
{
    for (uint32_t i = 0; i < INODE_LOCKS; i++) {
        env_rwlock_fini(&locks->locks[i]);
    }
}

static struct env_rwlock *lock_of(struct fs *fs, uint64_t ino)
{
    return &fs->inode_locks.locks[ino % INODE_LOCKS];
}

void inode_lock_read(struct fs *fs, uint64_t ino)
{
    env_rwlock_read(lock_of(fs, ino));
    wait_check_hold(POOL_RANK_FS_LOCK, "inode lock");
}

void inode_lock_write(struct fs *fs, uint64_t ino)
{
    env_rwlock_write(lock_of(fs, ino));
    wait_check_hold(POOL_RANK_FS_LOCK, "inode lock");
}

void inode_unlock(struct fs *fs, uint64_t ino)
{
    wait_check_drop(POOL_RANK_FS_LOCK);
    env_rwlock_unlock(lock_of(fs, ino));
}

static struct fs_time time_decode(struct fs_time_disk disk)
{
    uint32_t nanoseconds = le32_get(disk.nanoseconds);
    return (struct fs_time){(int64_t)le64_get(disk.seconds),
                            nanoseconds < NANOSECONDS ? nanoseconds : 0};
}

static struct fs_time_disk time_encode(struct fs_time time)
{
    return (struct fs_time_disk){le64_make((uint64_t)time.seconds), le32_make(time.nanoseconds)};
}

static bool mode_has_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK: return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
    default: return false;
    }
}

const char *
inode_decode(struct fs_inode *out_inode, uint64_t ino, const uint8_t *data, uint32_t bytes)
{
    struct fs_inode_disk disk;
    if (bytes != sizeof(disk)) {
        return "inode record of the wrong length";
    }
    memcpy(&disk, data, sizeof(disk));
    struct fs_inode inode = {
        .ino = ino,
        .generation = le64_get(disk.generation),
        .size = le64_get(disk.size),
        .blocks = le64_get(disk.blocks),
        .parent = le64_get(disk.parent),
        .mode = le32_get(disk.mode),
        .nlink = le32_get(disk.nlink),
        .uid = le32_get(disk.uid),
        .gid = le32_get(disk.gid),
        .rdev_major = le32_get(disk.rdev_major),
        .rdev_minor = le32_get(disk.rdev_minor),
        .flags = le32_get(disk.flags),
        .presence = le32_get(disk.presence),
        .xattr_next = le32_get(disk.xattr_next),
        .atime = time_decode(disk.atime),
        .mtime = time_decode(disk.mtime),
        .ctime = time_decode(disk.ctime),
        .btime = time_decode(disk.btime),
    };
    if (!mode_has_type(inode.mode)) {
        return "inode of an impossible type";
    }
    if (inode.size > (uint64_t)FS_FILE_BYTES_MAX) {
        return "inode of an impossible size";
    }
    *out_inode = inode;
    return NULL;
}

void inode_encode(const struct fs_inode *inode, struct fs_inode_disk *out_disk)
{
    memset(out_disk, 0, sizeof(*out_disk));
    out_disk->generation = le64_make(inode->generation);
    out_disk->size = le64_make(inode->size);
    out_disk->blocks = le64_make(inode->blocks);
    out_disk->parent = le64_make(inode->parent);
    out_disk->mode = le32_make(inode->mode);
    out_disk->nlink = le32_make(inode->nlink);
    out_disk->uid = le32_make(inode->uid);
    out_disk->gid = le32_make(inode->gid);
    out_disk->rdev_major = le32_make(inode->rdev_major);
    out_disk->rdev_minor = le32_make(inode->rdev_minor);
    out_disk->flags = le32_make(inode->flags);
    out_disk->presence = le32_make(inode->presence);
    out_disk->xattr_next = le32_make(inode->xattr_next);
    out_disk->atime = time_encode(inode->atime);
    out_disk->mtime = time_encode(inode->mtime);
    out_disk->ctime = time_encode(inode->ctime);
    out_disk->btime = time_encode(inode->btime);
}

void inode_to_attr(const struct fs_inode *inode, struct fs_attr *out_attr)
{
    *out_attr = (struct fs_attr){
        .ino = inode->ino,
        .generation = inode->generation,
        .size = inode->size,
        .blocks = inode->blocks * BLOCK_SECTORS,
        .mode = inode->mode,
        .nlink = inode->nlink,
        .uid = inode->uid,
        .gid = inode->gid,
        .rdev_major = inode->rdev_major,
        .rdev_minor = inode->rdev_minor,
        .flags = inode->flags,
        .atime = inode->atime,
        .mtime = inode->mtime,
        .ctime = inode->ctime,
        .btime = inode->btime,
    };
}

struct fs_time inode_now(void)
{
    uint64_t now = env_realtime_ns();
    return (struct fs_time){(int64_t)(now / NANOSECONDS), (uint32_t)(now % NANOSECONDS)};
}

int inode_read(struct fs_reader *reader, uint64_t ino, struct fs_inode *out_inode)
{
    struct btree_path path;
    btree_path_init(&path, reader);
    const struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    int error = btree_find(&path, &key);
    if (error == 0) {
        uint32_t bytes = 0;
        const uint8_t *data = btree_data(&path, &bytes);
        const char *problem = inode_decode(out_inode, ino, data, bytes);
        if (problem != NULL) {
            error = fs_damage(reader->fs, ino, path.level[0].buffer->block, problem);
        }
    }
    btree_path_release(&path);
    return error;
}

int inode_write(struct fs_txn *txn, const struct fs_inode *inode)
{
    const struct fs_key key = fs_key(inode->ino, FS_ITEM_INODE, 0);
    struct fs_inode_disk disk;
    inode_encode(inode, &disk);
    return btree_replace(txn, &key, &disk, sizeof(disk));
}

uint64_t inode_allocate_number(struct fs_txn *txn)
{
    R5_CHECK(txn->locked);
    txn_dirty_super(txn);
    return txn->fs->super.next_ino++;
}

int inode_insert(struct fs_txn *txn, const struct fs_inode *inode)
{
    const struct fs_key key = fs_key(inode->ino, FS_ITEM_INODE, 0);
    struct fs_inode_disk disk;
    inode_encode(inode, &disk);
    int error = btree_insert(txn, &key, &disk, sizeof(disk));
    if (error == 0) {
        txn_dirty_super(txn);
        txn->fs->super.inode_count++;
    }
    return error;
}

int inode_remove(struct fs_txn *txn, uint64_t ino)
{
    const struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    int error = btree_remove(txn, &key);
    if (error == 0) {
        txn_dirty_super(txn);
        if (txn->fs->super.inode_count > 0) {
            txn->fs->super.inode_count--;
        }
    }
    return error;
}
