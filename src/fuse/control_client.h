/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command's end of the control ioctl. */
#ifndef R5FS_FUSE_CONTROL_CLIENT_H
#define R5FS_FUSE_CONTROL_CLIENT_H

#include "control_format.h"
#include "r5fs/fuse/fuse.h"

/* One page, asked of the daemon behind `entry`. As root for another user's private mount too.
 * Negative errno: -ENOTCONN the daemon is dead, -EACCES not ours to ask, -ENOTTY not a mount of
 * ours, -ETIMEDOUT no answer by `deadline_ns` (env_now_ns; BOUNDED_CALL_FOREVER). */
R5_MUST_CHECK int control_client_ask(const struct mount_entry *entry,
                                     struct control_page *page,
                                     uint64_t deadline_ns);
/* Words for such an error. */
const char *control_client_why(int error);

#endif
