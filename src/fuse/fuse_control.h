/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's end of the control ioctl: who may ask, and the pages of an answer. */
#ifndef R5FS_FUSE_FUSE_CONTROL_H
#define R5FS_FUSE_FUSE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"

struct control_page;
struct fuse_server;
struct fuse_worker;

struct fuse_control {
    struct env_mutex lock;
    char *text;        /* [fixed] the snapshot */
    size_t text_bytes; /* [lock] */
    uint64_t snapshot; /* [lock] counts up */
    int check_code;    /* [lock] */
    int result_fd;     /* [fixed] */
};

size_t fuse_control_need(void);
/* Makes the memory file for the result too; -errno when it cannot. */
R5_MUST_CHECK int fuse_control_init(struct fuse_control *control, struct arena *arena);
void fuse_control_fini(struct fuse_control *control);

/* Answers `page` in place, for a caller with this uid. -EPERM, -EPROTO, -EINVAL, -ESTALE (the
 * snapshot is gone: begin again). */
R5_MUST_CHECK int
fuse_control_answer(struct fuse_worker *worker, uint32_t uid, struct control_page *page);
/* The daemon's last word. */
void fuse_control_set_result(struct fuse_control *control, int exit_code, const char *text);

#endif
