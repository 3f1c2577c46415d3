/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about attributes: getattr, setattr, statfs, and the ioctls: file flags and our own
 * control.
 *
 * Attributes are kept by the kernel for a very long time: we are the only writer, all names of a
 * file share one inode number, and each request that changes something makes the kernel ask again.
 *
 * Thread: any worker.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "control_format.h"
#include "fuse_ops.h"

/* df after rm must show the space: how long statfs waits for inodes that are being forgotten. */
#define STATFS_WAIT_NS UINT64_C(1000000000)

static void reply_attr(fuse_req_t req, const struct fs_attr *attr)
{
    struct stat stat;

    fuse_ops_attr_to_stat(attr, &stat);
    (void)fuse_reply_attr(req, &stat, fuse_ops_attr_timeout(attr)); /* nothing was counted */
}

void fuse_ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct fs_attr attr;

    (void)info; /* the inode says all */
    int err = fs_getattr(worker->server->fs, &worker->thread, ino, &attr);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    reply_attr(req, &attr);
}

static uint32_t set_mask(int to_set)
{
    static const struct {
        int from;
        uint32_t to;
    } map[] = {
        {FUSE_SET_ATTR_MODE, FS_SET_MODE},
        {FUSE_SET_ATTR_UID, FS_SET_UID},
        {FUSE_SET_ATTR_GID, FS_SET_GID},
        {FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
        {FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
        {FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
        {FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
        /* The protocol's KILL_SUIDGID has this number. */
        {FUSE_SET_ATTR_KILL_SUID, FS_SET_KILL_PRIV},
    };
    uint32_t mask = 0;

    for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
        if ((to_set & map[i].from) != 0) {
            mask |= map[i].to;
        }
    }
    /* "Now" comes together with the plain bit; one of them is enough. */
    mask &= (mask & FS_SET_ATIME_NOW) != 0 ? ~FS_SET_ATIME : UINT32_MAX;
    mask &= (mask & FS_SET_MTIME_NOW) != 0 ? ~FS_SET_MTIME : UINT32_MAX;
    return mask;
}

static struct fs_time fs_time_of(struct timespec time)
{
    return (struct fs_time){.seconds = time.tv_sec, .nanoseconds = (uint32_t)time.tv_nsec};
}

void fuse_ops_setattr(
    fuse_req_t req, fuse_ino_t ino, struct stat *stat, int to_set, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();
    const struct fs_attr wanted = {
        .mode = stat->st_mode,
        .uid = stat->st_uid,
        .gid = stat->st_gid,
        .size = (uint64_t)stat->st_size,
        .atime = fs_time_of(stat->st_atim),
        .mtime = fs_time_of(stat->st_mtim),
        .ctime = fs_time_of(stat->st_ctim),
    };
    struct fs_attr attr;
    bool tried = false;
    int err = 0;

    (void)info; /* the inode says all */
    do {
        err =
            fs_setattr(worker->server->fs, &worker->thread, ino, &wanted, set_mask(to_set), &attr);
    } while (fuse_ops_retry(worker, err, &tried));
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    reply_attr(req, &attr);
}

void fuse_ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct fs_statfs facts;

    (void)ino; /* one filesystem, one answer */
    (void)fuse_nodes_settle(&worker->server->nodes, STATFS_WAIT_NS); /* whatever came of it */
    int err = fs_statfs(worker->server->fs, &worker->thread, &facts);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    const struct statvfs stat = {
        .f_bsize = BLOCK_BYTES,
        .f_frsize = BLOCK_BYTES,
        .f_blocks = facts.blocks,
        .f_bfree = facts.free_blocks,
        .f_bavail = facts.free_blocks,
        .f_files = facts.inodes,
        .f_ffree = facts.free_inodes,
        .f_favail = facts.free_inodes,
        .f_namemax = FS_NAME_BYTES_MAX,
    };
    (void)fuse_reply_statfs(req, &stat); /* nothing was counted */
}

/* ---- ioctl ----------------------------------------------------------------------------------- */

/* What a file can be given. Immutable, append-only and synchronous are refused: nobody would keep
 * to them, as FUSE does not tell the kernel of flags, and a protection that does not protect is
 * worse than none. Access times never change by themselves. */
static const struct {
    uint32_t flag;
    uint32_t xflag;
} xflag_map[] = {
    {FS_NODUMP_FL, FS_XFLAG_NODUMP},
    {FS_NOATIME_FL, FS_XFLAG_NOATIME},
};

#define XFLAG_COUNT (sizeof(xflag_map) / sizeof(xflag_map[0]))

static uint32_t xflags_of(uint32_t flags)
{
    uint32_t xflags = 0;

    for (size_t i = 0; i < XFLAG_COUNT; i++) {
        xflags |= (flags & xflag_map[i].flag) != 0 ? xflag_map[i].xflag : 0;
    }
    return xflags;
}

/* False when there is a flag that no file of ours can have. */
static bool flags_of(uint32_t xflags, uint32_t *out_flags)
{
    uint32_t flags = 0;

    for (size_t i = 0; i < XFLAG_COUNT; i++) {
        if ((xflags & xflag_map[i].xflag) != 0) {
            flags |= xflag_map[i].flag;
            xflags &= ~xflag_map[i].xflag;
        }
    }
    *out_flags = flags;
    return xflags == 0;
}

static void get_flags(fuse_req_t req, struct fuse_worker *worker, fuse_ino_t ino, bool extended)
{
    struct fs_attr attr;
    int err = fs_getattr(worker->server->fs, &worker->thread, ino, &attr);

    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    const struct fsxattr xattr = {.fsx_xflags = xflags_of(attr.flags)};
    if (extended) {
        (void)fuse_reply_ioctl(req, 0, &xattr, sizeof(xattr)); /* nothing was counted */
    } else {
        (void)fuse_reply_ioctl(req, 0, &attr.flags, sizeof(attr.flags)); /* as above */
    }
}

static uint32_t flags_known(void)
{
    uint32_t flags = 0;

    for (size_t i = 0; i < XFLAG_COUNT; i++) {
        flags |= xflag_map[i].flag;
    }
    return flags;
}

/* Whether the caller may was checked by the kernel. */
static void set_flags(fuse_req_t req, struct fuse_worker *worker, fuse_ino_t ino, uint32_t flags)
{
    const struct fs_attr wanted = {.flags = flags};
    struct fs_attr attr;
    int err = (flags & ~flags_known()) != 0 ? -EOPNOTSUPP : 0;

    if (err == 0) {
        err = fs_setattr(worker->server->fs, &worker->thread, ino, &wanted, FS_SET_FLAGS, &attr);
    }
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    (void)fuse_reply_ioctl(req, 0, NULL, 0); /* nothing was counted */
}

static void
set_xflags(fuse_req_t req, struct fuse_worker *worker, fuse_ino_t ino, const void *in_buf)
{
    struct fsxattr xattr;
    uint32_t flags = 0;

    (void)memcpy(&xattr, in_buf, sizeof(xattr));
    if (xattr.fsx_extsize != 0 || xattr.fsx_projid != 0 || xattr.fsx_cowextsize != 0 ||
        !flags_of(xattr.fsx_xflags, &flags)) {
        fuse_ops_fail(req, -EOPNOTSUPP);
        return;
    }
    set_flags(req, worker, ino, flags);
}

static void control(fuse_req_t req, struct fuse_worker *worker, fuse_ino_t ino, const void *in_buf)
{
    struct control_page *page = (void *)(worker->payload + 4 * (size_t)BLOCK_BYTES);

    (void)memcpy(page, in_buf, sizeof(*page));
    int err =
        ino != FS_ROOT_INO ? -ENOTTY : fuse_control_answer(worker, fuse_req_ctx(req)->uid, page);
    if (err != 0) {
        fuse_ops_fail(req, err);
        return;
    }
    (void)fuse_reply_ioctl(req, 0, page, sizeof(*page)); /* nothing was counted */
}

/* NOLINTNEXTLINE(readability-function-size): libfuse's parameters */
void fuse_ops_ioctl(fuse_req_t req,
                    fuse_ino_t ino,
                    unsigned cmd,
                    void *arg,
                    struct fuse_file_info *info,
                    unsigned flags,
                    const void *in_buf,
                    size_t in_bytes,
                    size_t out_bytes)
{
    struct fuse_worker *worker = fuse_worker_current();
    uint32_t wanted = 0;

    (void)arg; /* an address of the caller's: the kernel has copied what it says */
    (void)info;
    (void)flags;
    if (cmd == FS_IOC_GETFLAGS && out_bytes >= sizeof(uint32_t)) {
        get_flags(req, worker, ino, false);
    } else if (cmd == FS_IOC_FSGETXATTR && out_bytes >= sizeof(struct fsxattr)) {
        get_flags(req, worker, ino, true);
    } else if (cmd == FS_IOC_SETFLAGS && in_bytes >= sizeof(wanted)) {
        (void)memcpy(&wanted, in_buf, sizeof(wanted));
        set_flags(req, worker, ino, wanted);
    } else if (cmd == FS_IOC_FSSETXATTR && in_bytes >= sizeof(struct fsxattr)) {
        set_xflags(req, worker, ino, in_buf);
    } else if (cmd == CONTROL_IOCTL && in_bytes >= sizeof(struct control_page)) {
        control(req, worker, ino, in_buf);
    } else {
        fuse_ops_fail(req, -ENOTTY);
    }
}
