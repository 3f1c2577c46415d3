/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A call that a daemon which does not answer may hold for ever, with an end to the waiting. */
#ifndef R5FS_FUSE_BOUNDED_CALL_H
#define R5FS_FUSE_BOUNDED_CALL_H

#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

#define BOUNDED_CALL_FOREVER UINT64_MAX

struct bounded_call {
    int (*work)(void *context); /* 0 or negative errno; runs in a child */
    void *context;
    size_t bytes; /* of the context, brought back when the work is done */
};

/* What `work` returned. -ETIMEDOUT: not by `deadline_ns` (env_now_ns); the child was killed, or is
 * beyond that and left alone. -EIO: the child died. */
R5_MUST_CHECK int bounded_call_run(const struct bounded_call *call, uint64_t deadline_ns);

#endif
