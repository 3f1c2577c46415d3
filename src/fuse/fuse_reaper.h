/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reaper: a thread that evicts inodes nobody knows any more, and asks the kernel to forget some
 * when the lookup table is getting full.
 */
#ifndef R5FS_FUSE_FUSE_REAPER_H
#define R5FS_FUSE_FUSE_REAPER_H

#include "fuse_server.h"

/* Thread body. Context: struct fuse_worker_start of the server's reaper. */
void fuse_reaper_run(void *context);
/* A worker's share: when the list has grown long, evicts one here and now. */
void fuse_reaper_help(struct fuse_worker *worker);
/* Frees an inode that has no name and that the kernel does not know. */
void fuse_reaper_evict(struct fuse_worker *worker, uint64_t ino);

#endif
