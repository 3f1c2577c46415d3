/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests as bytes, where libfuse 3.14 knows too little: flags it drops, the long SETXATTR header,
 * INTERRUPT without allocation, INIT flags it never sends.
 */
#ifndef R5FS_FUSE_FUSE_RAW_H
#define R5FS_FUSE_FUSE_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "fuse_server.h"

/* Bytes of headers before a WRITE's payload. */
#define FUSE_RAW_WRITE_HEAD_BYTES 80u

/* Notes what is in the request for later, and answers it when it is one that libfuse must not see:
 * true. `request` has `bytes` bytes and is 8-byte aligned. */
bool fuse_raw_handle(struct fuse_worker *worker, const void *request, size_t bytes);
uint64_t fuse_raw_unique(const void *request);
/* Whether its handler may wait for a reservation. */
bool fuse_raw_may_park(const void *request);
/* Of the WRITE being answered: the writer is not allowed to keep suid, sgid. */
bool fuse_raw_write_kills_priv(const struct fuse_worker *worker);
/* A reply on its way out: adds the flags to INIT's that libfuse leaves out. */
void fuse_raw_patch_reply(struct fuse_server *server, const struct iovec *iov, int count);

#endif
