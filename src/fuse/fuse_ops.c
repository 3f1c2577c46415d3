/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all requests share: entries and attributes in libfuse's form, replies, the second try after
 * an ENOSPC, the care for lookup counts.
 *
 * Invariants:
 *   O1  each request ends in exactly one reply.
 *   O2  a count is raised before the reply that tells the kernel (fuse_nodes N4), and taken back
 * when
 *       the reply reached nobody.
 *   O3  a node is in hand before the filesystem makes something that the kernel must be told of.
 *
 * Thread: any worker.
 */
#include "fuse_ops.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fuse_reaper.h"
#include "r5fs/base/msg.h"

/* How long a lookup may wait for the kernel to forget something, and a full write for space. */
#define NODE_WAIT_NS   UINT64_C(1000000000)
#define SETTLE_WAIT_NS UINT64_C(2000000000)

struct fs_name fuse_ops_name(const char *name)
{
    return (struct fs_name){name, strlen(name)};
}

static struct timespec timespec_of(struct fs_time time)
{
    return (struct timespec){.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
}

void fuse_ops_attr_to_stat(const struct fs_attr *attr, struct stat *out_stat)
{
    *out_stat = (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = makedev(attr->rdev_major, attr->rdev_minor),
        .st_size = (off_t)attr->size,
        .st_blksize = BLOCK_BYTES,
        .st_blocks = (blkcnt_t)attr->blocks,
        .st_atim = timespec_of(attr->atime),
        .st_mtim = timespec_of(attr->mtime),
        .st_ctim = timespec_of(attr->ctime),
    };
}

/* A write clears suid and sgid here without the kernel's knowledge of the mode: such a file is
 * asked for each time. Everything else changes with the kernel's knowledge only. */
double fuse_ops_attr_timeout(const struct fs_attr *attr)
{
    return S_ISREG(attr->mode) && (attr->mode & (S_ISUID | S_ISGID)) != 0 ? 0.0 : FUSE_TIMEOUT_LONG;
}

void fuse_ops_fill_entry(const struct fs_attr *attr, struct fuse_entry_param *out_entry)
{
    *out_entry = (struct fuse_entry_param){
        .ino = attr->ino,
        .generation = attr->generation,
        .attr_timeout = fuse_ops_attr_timeout(attr),
        .entry_timeout = FUSE_TIMEOUT_LONG,
    };
    fuse_ops_attr_to_stat(attr, &out_entry->attr);
}

/* A reply that cannot be delivered is the kernel's decision: the request or the mount is gone. */
void fuse_ops_fail(fuse_req_t req, int err)
{
    R5_CHECK(err < 0);
    (void)fuse_reply_err(req, -err); /* see above */
}

void fuse_ops_done(fuse_req_t req, int err)
{
    (void)fuse_reply_err(req, -err); /* see above */
}

static void take_back(struct fuse_worker *worker, uint64_t ino)
{
    fuse_nodes_forget(&worker->server->nodes, ino, 1);
    fuse_reaper_help(worker);
}

void fuse_ops_reply_entry(fuse_req_t req,
                          struct fuse_worker *worker,
                          uint64_t parent,
                          const struct fs_attr *attr)
{
    struct fuse_entry_param entry;

    fuse_ops_fill_entry(attr, &entry);
    fuse_nodes_hold(&worker->server->nodes, &worker->spare, attr->ino, parent);
    if (fuse_reply_entry(req, &entry) != 0) {
        take_back(worker, attr->ino);
    }
}

void fuse_ops_reply_create(fuse_req_t req,
                           struct fuse_worker *worker,
                           uint64_t parent,
                           const struct fs_attr *attr,
                           const struct fuse_file_info *info)
{
    struct fuse_entry_param entry;

    fuse_ops_fill_entry(attr, &entry);
    fuse_nodes_hold(&worker->server->nodes, &worker->spare, attr->ino, parent);
    if (fuse_reply_create(req, &entry, info) != 0) {
        take_back(worker, attr->ino);
    }
}

bool fuse_ops_retry(struct fuse_worker *worker, int err, bool *tried)
{
    if (err != -ENOSPC || *tried) {
        return false;
    }
    *tried = true;
    return fuse_nodes_settle(&worker->server->nodes, SETTLE_WAIT_NS);
}

bool fuse_ops_prepare(fuse_req_t req, struct fuse_worker *worker)
{
    int err = fuse_nodes_prepare(&worker->server->nodes, &worker->spare, NODE_WAIT_NS);

    if (err != 0) {
        msg_warn("fuse",
                 "the table of known inodes is full size=%llu (hint: -o memory=)",
                 (unsigned long long)worker->server->nodes.size);
        fuse_ops_fail(req, err);
    }
    return err == 0;
}

void fuse_ops_gone(struct fuse_worker *worker, uint64_t ino)
{
    if (ino != 0 && fuse_nodes_mark_gone(&worker->server->nodes, ino)) {
        fuse_reaper_evict(worker, ino);
    }
}

int fuse_ops_dirsync(struct fuse_worker *worker, int err)
{
    if (err != 0 || !worker->server->options.dirsync) {
        return err;
    }
    return fs_sync(worker->server->fs, &worker->thread);
}

struct fs_caller fuse_ops_caller(fuse_req_t req)
{
    const struct fuse_ctx *context = fuse_req_ctx(req);

    return (struct fs_caller){context->uid, context->gid, context->umask};
}
