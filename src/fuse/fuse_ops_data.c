/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about contents: read, write, fsync, fallocate, lseek.
 *
 * Writes come through: the kernel keeps pages for reading only, so size, times and ENOSPC are
 * decided here, before write(2) returns. The payload of a WRITE lies block-aligned in memory; a
 * READ's answer is read straight into the worker's buffer and handed to the kernel from there.
 *
 * open is answered ENOSYS once, which means: do not ask, keep the cache. Nothing is kept for an
 * open file; a READ or WRITE through any handle is about the inode.
 *
 * Thread: any worker.
 */
#include <errno.h>
#include <fcntl.h>

#include "fuse_ops.h"
#include "fuse_raw.h"

void fuse_ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    (void)ino;
    if (fuse_worker_current()->server->zero_message_open) {
        fuse_ops_fail(req, -ENOSYS);
        return;
    }
    info->keep_cache = 1;
    (void)fuse_reply_open(req, info); /* nothing is kept for it */
}

void fuse_ops_read(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint32_t wanted = (uint32_t)min_u64(size, FUSE_IO_BYTES);
    uint32_t skip = 0;
    uint32_t bytes = 0;

    (void)info; /* a READ may come through a handle opened for writing */
    int err = fs_read(worker->server->fs,
                      &worker->thread,
                      ino,
                      (uint64_t)offset,
                      wanted,
                      worker->payload,
                      &skip,
                      &bytes);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    (void)fuse_reply_buf(
        req, (const char *)worker->payload + skip, bytes); /* nothing was counted */
}

/* The kernel sends no FSYNC after a direct write through an O_DSYNC handle. */
static int sync_if_asked(struct fuse_worker *worker, fuse_ino_t ino, int flags)
{
    if ((flags & O_DSYNC) == 0 || (flags & O_DIRECT) == 0) {
        return 0;
    }
    bool data_only = (flags & O_SYNC) != O_SYNC;
    return fs_fsync(worker->server->fs, &worker->thread, ino, data_only);
}

void fuse_ops_write(fuse_req_t req,
                    fuse_ino_t ino,
                    const char *data,
                    size_t size,
                    off_t offset,
                    struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    bool kill_priv = fuse_raw_write_kills_priv(worker);
    uint32_t bytes = 0;
    bool tried = false;
    int err = 0;

    R5_CHECK(size <= FUSE_IO_BYTES);
    do {
        err = fs_write(worker->server->fs,
                       &worker->thread,
                       ino,
                       (uint64_t)offset,
                       (const uint8_t *)data,
                       (uint32_t)size,
                       kill_priv,
                       &bytes);
    } while (fuse_ops_retry(worker, err, &tried));
    if (err == 0) {
        err = sync_if_asked(worker, ino, info->flags);
    }
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    (void)fuse_reply_write(req, bytes); /* nothing was counted */
}

void fuse_ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();

    (void)info; /* the inode says all */
    fuse_ops_done(req, fs_fsync(worker->server->fs, &worker->thread, ino, datasync != 0));
}

/* FALLOCATE says nothing of suid and sgid, though they must go as by a write: root keeps them,
 * as the one who may (CAP_FSETID) in all but strange cases. */
static int kill_priv_for(fuse_req_t req, struct fuse_worker *worker, fuse_ino_t ino)
{
    const struct fs_attr nothing = {0};
    struct fs_attr attr;

    if (fuse_req_ctx(req)->uid == 0) {
        return 0;
    }
    int err = fs_getattr(worker->server->fs, &worker->thread, ino, &attr);
    if (err != 0 || (attr.mode & (S_ISUID | S_ISGID)) == 0) {
        return err;
    }
    return fs_setattr(worker->server->fs, &worker->thread, ino, &nothing, FS_SET_KILL_PRIV, &attr);
}

void fuse_ops_fallocate(fuse_req_t req,
                        fuse_ino_t ino,
                        int mode,
                        off_t offset,
                        off_t length,
                        struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    bool tried = false;
    int err = 0;

    (void)info; /* the inode says all */
    do {
        err = fs_fallocate(
            worker->server->fs, &worker->thread, ino, mode, (uint64_t)offset, (uint64_t)length);
    } while (fuse_ops_retry(worker, err, &tried));
    if (err == 0) {
        err = kill_priv_for(req, worker, ino);
    }
    fuse_ops_done(req, err);
}

void fuse_ops_lseek(
    fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint64_t found = 0;

    (void)info; /* the inode says all */
    int err = fs_seek(worker->server->fs, &worker->thread, ino, (uint64_t)offset, whence, &found);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    (void)fuse_reply_lseek(req, (off_t)found); /* nothing was counted */
}
