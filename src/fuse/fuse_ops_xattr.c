/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about extended attributes. setxattr is answered in fuse_raw.c.
 *
 * GETXATTR(security.capability) comes once for each inode that is written (with KILLPRIV_V2 the
 * kernel remembers "none"); the answer ENODATA is a lookup in memory. Never ENOSYS: that would
 * switch off all attributes of the mount.
 *
 * trusted.* is for CAP_SYS_ADMIN. Reading and changing those attributes the kernel has checked
 * before it asks; the list it takes as it comes, and of capabilities a request says nothing: names
 * are shown to uid 0.
 *
 * Thread: any worker.
 */
#include <errno.h>

#include "fuse_ops.h"

/* The request, its name included, lies up to here in the buffer: answers are made behind it. */
#define VALUE_OFFSET BLOCK_BYTES

static void reply_value(fuse_req_t req, const struct fuse_worker *worker, size_t size, size_t bytes)
{
    if (size == 0) {
        (void)fuse_reply_xattr(req, bytes); /* nothing was counted */
    } else {
        const char *value = (const char *)worker->payload + VALUE_OFFSET;
        (void)fuse_reply_buf(req, value, bytes); /* nothing was counted */
    }
}

static size_t clamp(size_t size)
{
    return size < FS_XATTR_VALUE_BYTES_MAX ? size : FS_XATTR_VALUE_BYTES_MAX;
}

void fuse_ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct fuse_worker *worker = fuse_worker_current();
    size_t bytes = 0;
    int err = fs_getxattr(worker->server->fs,
                          &worker->thread,
                          ino,
                          fuse_ops_name(name),
                          worker->payload + VALUE_OFFSET,
                          clamp(size),
                          &bytes);

    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    reply_value(req, worker, size, bytes);
}

void fuse_ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct fuse_worker *worker = fuse_worker_current();
    size_t bytes = 0;
    int err = fs_listxattr(worker->server->fs,
                           &worker->thread,
                           ino,
                           fuse_req_ctx(req)->uid == 0,
                           (char *)worker->payload + VALUE_OFFSET,
                           clamp(size),
                           &bytes);

    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    reply_value(req, worker, size, bytes);
}

void fuse_ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct fuse_worker *worker = fuse_worker_current();

    fuse_ops_done(req,
                  fs_removexattr(worker->server->fs, &worker->thread, ino, fuse_ops_name(name)));
}
