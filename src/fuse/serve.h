/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One filesystem being served: everything from the arena to the session, up and down again. */
#ifndef R5FS_FUSE_SERVE_H
#define R5FS_FUSE_SERVE_H

#include <stdbool.h>

#include "fuse_server.h"
#include "r5fs/base/arena.h"
#include "r5fs/fuse/fuse.h"

/* How far it came up; the way down starts from there. */
enum serve_stage {
    SERVE_NOTHING,
    SERVE_MEMORY,    /* arena and this thread's queue */
    SERVE_ASSEMBLED, /* array */
    SERVE_WORKERS,   /* threads wait */
    SERVE_JOURNAL,   /* recovered, superblocks say that it is written to, log thread runs */
    SERVE_FS,
    SERVE_MOUNTED,
};

struct serve {
    const struct fuse_serve_options *options;
    char mountpoint[FUSE_SERVE_MNT_BYTES]; /* absolute */
    char source[FUSE_SERVE_MNT_BYTES];     /* what df shows */
    enum serve_stage stage;
    struct arena arena;
    struct fs_thread thread; /* of the main thread */
    struct array *array;
    struct journal *journal;
    struct fs *fs;
    struct fuse_server server;
    dev_t device; /* of the mount; 0: not known */
    struct memory_care care;
    bool read_only;
    char why[FUSE_SERVE_WHY_BYTES];
};

/* What can be said before anything is opened: the mount point, allow_other, absolute paths.
 * Returns an exit code and fills serve->why. */
R5_MUST_CHECK int serve_prepare(struct serve *serve, const struct fuse_serve_options *options);
/* Everything up to a filesystem that answers. 0 or -errno with serve->why; what had come up is down
 * again then. */
R5_MUST_CHECK int serve_start(struct serve *serve);
/* The session has ended or is to end: everything down in order. The first error. The control's
 * result file is still there for the last word. */
R5_MUST_CHECK int serve_stop(struct serve *serve);
/* Asks the kernel to unmount; when somebody is in it, takes it out of sight and goes on. What
 * somebody else mounted over it is left alone: then only our end of it goes. */
void serve_unmount(struct serve *serve);

#endif
