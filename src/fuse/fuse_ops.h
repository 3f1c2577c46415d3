/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answering requests: what the fuse_ops_*.c files share. One short function for each request, run
 * on the worker that read it; every one ends in exactly one reply.
 */
#ifndef R5FS_FUSE_FUSE_OPS_H
#define R5FS_FUSE_FUSE_OPS_H

#define FUSE_USE_VERSION 35

#include <fuse3/fuse_lowlevel.h>

#include "fuse_server.h"

/* The worker whose thread this is. */
struct fuse_worker *fuse_worker_current(void);

extern const struct fuse_lowlevel_ops fuse_ops_table;

/* ---- shared helpers (fuse_ops.c) ------------------------------------------------------------- */

struct fs_name fuse_ops_name(const char *name);
void fuse_ops_attr_to_stat(const struct fs_attr *attr, struct stat *out_stat);
/* How long the kernel may keep these attributes. */
double fuse_ops_attr_timeout(const struct fs_attr *attr);
void fuse_ops_fill_entry(const struct fs_attr *attr, struct fuse_entry_param *out_entry);
/* Error reply; `err` is a negative errno. */
void fuse_ops_fail(fuse_req_t req, int err);
/* 0 or an error as the whole reply. */
void fuse_ops_done(fuse_req_t req, int err);
/* Counts the lookup, replies with the entry, takes the count back when nobody received it. Needs
 * the worker's spare node. */
void fuse_ops_reply_entry(fuse_req_t req,
                          struct fuse_worker *worker,
                          uint64_t parent,
                          const struct fs_attr *attr);
void fuse_ops_reply_create(fuse_req_t req,
                           struct fuse_worker *worker,
                           uint64_t parent,
                           const struct fs_attr *attr,
                           const struct fuse_file_info *info);
/* To be asked after each try of an operation that may run out of space: true (once) when what was
 * unlinked before has given space back meanwhile. Begin with *tried false. */
bool fuse_ops_retry(struct fuse_worker *worker, int err, bool *tried);
/* The worker has a spare node, or the reply was sent and false. */
bool fuse_ops_prepare(fuse_req_t req, struct fuse_worker *worker);
/* An inode has lost its last name (0: none has). */
void fuse_ops_gone(struct fuse_worker *worker, uint64_t ino);
/* With the mount options sync or dirsync a name operation that succeeded is made durable. */
int fuse_ops_dirsync(struct fuse_worker *worker, int err);
struct fs_caller fuse_ops_caller(fuse_req_t req);

/* ---- the requests ---------------------------------------------------------------------------- */

void fuse_ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fuse_ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fuse_ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fuse_ops_create(
    fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info);
void fuse_ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fuse_ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void fuse_ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fuse_ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fuse_ops_rename(fuse_req_t req,
                     fuse_ino_t parent,
                     const char *name,
                     fuse_ino_t new_parent,
                     const char *new_name,
                     unsigned flags);
void fuse_ops_readlink(fuse_req_t req, fuse_ino_t ino);

void fuse_ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void fuse_ops_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void fuse_ops_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void fuse_ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info);

void fuse_ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void fuse_ops_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *stat, int to_set, struct fuse_file_info *info);
void fuse_ops_statfs(fuse_req_t req, fuse_ino_t ino);
void fuse_ops_ioctl(fuse_req_t req,
                    fuse_ino_t ino,
                    unsigned cmd,
                    void *arg,
                    struct fuse_file_info *info,
                    unsigned flags,
                    const void *in_buf,
                    size_t in_bytes,
                    size_t out_bytes);

void fuse_ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void fuse_ops_read(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void fuse_ops_write(fuse_req_t req,
                    fuse_ino_t ino,
                    const char *data,
                    size_t size,
                    off_t offset,
                    struct fuse_file_info *info);
void fuse_ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info);
void fuse_ops_fallocate(fuse_req_t req,
                        fuse_ino_t ino,
                        int mode,
                        off_t offset,
                        off_t length,
                        struct fuse_file_info *info);
void fuse_ops_lseek(
    fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info);

void fuse_ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fuse_ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fuse_ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
