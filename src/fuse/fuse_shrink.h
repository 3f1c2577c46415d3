/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking the kernel to forget inodes, when the lookup table is getting full. */
#ifndef R5FS_FUSE_FUSE_SHRINK_H
#define R5FS_FUSE_FUSE_SHRINK_H

#include <stdbool.h>

#include "fuse_server.h"

/* Which ways this kernel knows; found out by trying. One for each reaper. */
struct fuse_shrink {
    bool no_prune; /* the kernel does not take a list of inode numbers (before 6.18) */
};

/* Asks for as many as stand above five eighths of the table. On the reaper's thread, which holds
 * nothing and handles no request. False: nothing was found to ask for. */
bool fuse_shrink_ask(struct fuse_shrink *shrink, struct fuse_worker *reaper);

#endif
