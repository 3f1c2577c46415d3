/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lost+found: an inode that no name leads to gets the name "#NUMBER" there. The directory is made
 * when it is missing; where something else has its name, "lost+found.1" and so on are tried.
 *
 * A file that had no name has one link then; a directory's links were counted by its subdirectories
 * and stay. Caller's thread, the filesystem open for repair.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "dir.h"
#include "fsck.h"
#include "namei.h"
#include "op.h"

#define NAMES_TRIED 10u
#define NAME_ROOM   40

struct adoption {
    uint64_t ino;
    uint64_t home; /* lost+found */
    struct txn_need need;
    bool done;
};

/* Attempt 0 is the plain name. */
static struct fs_name try_name(char room[NAME_ROOM], const char *plain, uint32_t attempt)
{
    int length = attempt == 0 ? snprintf(room, NAME_ROOM, "%s", plain)
                              : snprintf(room, NAME_ROOM, "%s.%u", plain, attempt);
    R5_CHECK(length > 0 && length < NAME_ROOM);
    return (struct fs_name){room, (size_t)length};
}

static int find_home(struct fs *fs, struct fs_thread *thread, uint64_t *out_home)
{
    const struct fs_caller root = {0};
    const struct fs_make make = {.mode = S_IFDIR | 0700};
    for (uint32_t i = 0; i < NAMES_TRIED; i++) {
        char room[NAME_ROOM];
        struct fs_attr attr;
        struct fs_name name = try_name(room, "lost+found", i);
        int error = fs_lookup(fs, thread, FS_ROOT_INO, name, &attr);
        if (error == -ENOENT) {
            error = fs_make(fs, thread, &root, FS_ROOT_INO, name, &make, &attr);
        }
        if (error != 0) {
            return error;
        }
        if (S_ISDIR(attr.mode)) {
            *out_home = attr.ino;
            return 0;
        }
    }
    return -EMLINK;
}

/* A name that is free in lost+found, and its place. */
static int find_name(struct fs_txn *txn,
                     const struct adoption *adoption,
                     char room[NAME_ROOM],
                     struct fs_name *out_name,
                     uint64_t *out_offset)
{
    char plain[NAME_ROOM - 8];
    struct dir_entry there;
    int length = snprintf(plain, sizeof(plain), "#%llu", (unsigned long long)adoption->ino);
    R5_CHECK(length > 0 && length < (int)sizeof(plain));
    for (uint32_t i = 0; i < NAMES_TRIED; i++) {
        *out_name = try_name(room, plain, i);
        int error = dir_find(&txn->reader, adoption->home, *out_name, &there, out_offset);
        if (error != 0) {
            return error == -ENOENT ? 0 : error;
        }
    }
    return -EMLINK;
}

static int adopt_prepare(struct fs_txn *txn, const struct adoption *adoption, uint64_t offset)
{
    int error = dir_prepare(txn, adoption->home, offset);
    if (error == 0) {
        error = namei_prepare_inode(txn, adoption->home);
    }
    return error == 0 ? namei_prepare_inode(txn, adoption->ino) : error;
}

static int adopt_body(struct fs_txn *txn, void *context)
{
    struct adoption *adoption = context;
    struct fs_inode inode;
    struct fs_inode home;
    char room[NAME_ROOM];
    struct fs_name name;
    uint64_t offset = 0;
    int error = inode_read(&txn->reader, adoption->ino, &inode);
    if (error == -ENOENT) {
        return 0; /* it was removed */
    }
    if (error == 0) {
        error = namei_read_dir(&txn->reader, adoption->home, &home);
    }
    if (error == 0) {
        error = find_name(txn, adoption, room, &name, &offset);
    }
    if (error == 0) {
        error = adopt_prepare(txn, adoption, offset);
    }
    if (error != 0) {
        return error;
    }
    bool directory = S_ISDIR(inode.mode);
    const struct dir_entry entry = {inode.ino, offset, inode.mode & (uint32_t)S_IFMT};
    inode.nlink = directory ? inode.nlink : 1;
    inode.parent = directory ? adoption->home : 0;
    namei_touch_dir(&home, 1, directory ? 1 : 0);
    txn_change(txn);
    error = dir_add(txn, adoption->home, name, &entry);
    if (error == 0) {
        error = inode_write(txn, &inode);
    }
    if (error == 0) {
        error = inode_write(txn, &home);
    }
    adoption->done = error == 0;
    return error == 0 ? 0 : txn_broken(txn, error);
}

int fsck_adopt(struct fsck *ck, struct fs *fs, uint64_t ino, bool *out_done)
{
    struct adoption adoption = {
        .ino = ino,
        .need = {.inserts = 1, .updates = 2, .deep = true},
    };
    const struct op_change change = {
        .need = &adoption.need,
        .body = adopt_body,
        .context = &adoption,
    };
    int error = find_home(fs, ck->thread, &adoption.home);
    if (error == 0) {
        error = op_change(fs, ck->thread, &change);
    }
    *out_done = adoption.done;
    return error;
}
