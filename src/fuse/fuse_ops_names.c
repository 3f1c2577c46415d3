/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about names: lookup, make, link, unlink, rename, readlink.
 *
 * A name that does not exist is answered as an entry without inode and a long timeout: the kernel
 * keeps that too, and asks no more. Permissions were checked by the kernel (default_permissions);
 * the owner of what is made, its group from a setgid parent, umask and inherited ACL are the
 * filesystem's work, which is why the umask is handed on (FUSE_CAP_DONT_MASK).
 *
 * Thread: any worker.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fuse_ops.h"

void fuse_ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct fs_attr attr;

    if (!fuse_ops_prepare(req, worker)) {
        return;
    }
    int err = fs_lookup(worker->server->fs, &worker->thread, parent, fuse_ops_name(name), &attr);
    if (err == 0) {
        fuse_ops_reply_entry(req, worker, parent, &attr);
        return;
    }
    if (err != -ENOENT) {
        fuse_ops_fail(req, err);
        return;
    }
    const struct fuse_entry_param none = {.entry_timeout = FUSE_TIMEOUT_LONG};
    (void)fuse_reply_entry(req, &none); /* nothing was counted */
}

/* What mknod, mkdir, create and symlink have in common. */
static int make(fuse_req_t req,
                struct fuse_worker *worker,
                fuse_ino_t parent,
                const char *name,
                const struct fs_make *what,
                struct fs_attr *out_attr)
{
    const struct fs_caller caller = fuse_ops_caller(req);
    bool tried = false;
    int err = 0;

    do {
        err = fs_make(worker->server->fs,
                      &worker->thread,
                      &caller,
                      parent,
                      fuse_ops_name(name),
                      what,
                      out_attr);
    } while (fuse_ops_retry(worker, err, &tried));
    return fuse_ops_dirsync(worker, err);
}

static void
make_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name, const struct fs_make *what)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct fs_attr attr;

    if (!fuse_ops_prepare(req, worker)) {
        return;
    }
    int err = make(req, worker, parent, name, what, &attr);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    fuse_ops_reply_entry(req, worker, parent, &attr);
}

void fuse_ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    const struct fs_make what = {
        .mode = mode, .rdev_major = major(rdev), .rdev_minor = minor(rdev)};

    make_and_reply(req, parent, name, &what);
}

void fuse_ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    const struct fs_make what = {.mode = (mode & (mode_t)~S_IFMT) | S_IFDIR};

    make_and_reply(req, parent, name, &what);
}

void fuse_ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    const struct fs_make what = {
        .mode = S_IFLNK | 0777, .symlink_target = target, .symlink_bytes = strlen(target)};

    make_and_reply(req, parent, name, &what);
}

void fuse_ops_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    const struct fs_make what = {.mode = (mode & (mode_t)~S_IFMT) | S_IFREG};
    struct fs_attr attr;

    if (!fuse_ops_prepare(req, worker)) {
        return;
    }
    int err = make(req, worker, parent, name, &what, &attr);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    info->keep_cache = 1;
    fuse_ops_reply_create(req, worker, parent, &attr, info);
}

void fuse_ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct fs_attr attr;
    bool tried = false;
    int err = 0;

    if (!fuse_ops_prepare(req, worker)) {
        return;
    }
    do {
        err = fs_link(worker->server->fs, &worker->thread, ino, parent, fuse_ops_name(name), &attr);
    } while (fuse_ops_retry(worker, err, &tried));
    err = fuse_ops_dirsync(worker, err);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    fuse_ops_reply_entry(req, worker, parent, &attr);
}

void fuse_ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint64_t gone = 0;
    int err = fs_unlink(worker->server->fs, &worker->thread, parent, fuse_ops_name(name), &gone);

    fuse_ops_gone(worker, gone);
    fuse_ops_done(req, fuse_ops_dirsync(worker, err));
}

void fuse_ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint64_t gone = 0;
    int err = fs_rmdir(worker->server->fs, &worker->thread, parent, fuse_ops_name(name), &gone);

    fuse_ops_gone(worker, gone);
    fuse_ops_done(req, fuse_ops_dirsync(worker, err));
}

void fuse_ops_rename(fuse_req_t req,
                     fuse_ino_t parent,
                     const char *name,
                     fuse_ino_t new_parent,
                     const char *new_name,
                     unsigned flags)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint64_t gone = 0;
    bool tried = false;
    int err = 0;

    do {
        err = fs_rename(worker->server->fs,
                        &worker->thread,
                        parent,
                        fuse_ops_name(name),
                        new_parent,
                        fuse_ops_name(new_name),
                        flags,
                        &gone);
    } while (fuse_ops_retry(worker, err, &tried));
    fuse_ops_gone(worker, gone);
    fuse_ops_done(req, fuse_ops_dirsync(worker, err));
}

void fuse_ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct fuse_worker *worker = fuse_worker_current();
    char *target = (char *)worker->payload;
    size_t bytes = 0;
    int err = fs_readlink(worker->server->fs, &worker->thread, ino, target, &bytes);

    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    target[bytes] = '\0';
    (void)fuse_reply_readlink(req, target); /* nothing was counted */
}
