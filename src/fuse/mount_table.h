/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's list of mounts: ours (see r5fs/fuse/fuse.h), and what is mounted on top of one of
 * them. */
#ifndef R5FS_FUSE_MOUNT_TABLE_H
#define R5FS_FUSE_MOUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "r5fs/fuse/fuse.h"

#define MOUNT_NAMES_MAX 256u

/* Last components of the mount points below a mount, as hashes. */
struct mount_names {
    uint64_t hashes[MOUNT_NAMES_MAX];
    uint32_t count;
    bool all; /* too many, or the list cannot be read: every name counts as one */
};

void mount_names_load(struct mount_names *names, const char *mountpoint);
bool mount_names_has(const struct mount_names *names, const char *name, size_t bytes);

/* One line of /proc/self/mountinfo. Strings point into the line. */
struct mount_line {
    char *mountpoint;
    char *type;
    char *source;
    char *mount_options;
    char *super_options;
    uint32_t device_minor;
};

/* Takes `line` apart in place, escapes undone; false when it is not of the known form. */
bool mount_line_parse(char *line, struct mount_line *out_line);
/* The device of what a path leads to, without a request to any daemon; 0: cannot be known. */
R5_MUST_CHECK dev_t mount_device_at(const char *path);
/* A path as the kernel would show it: absolute, symlinks resolved. `out` has
 * FUSE_SERVE_MNT_BYTES. */
R5_MUST_CHECK int mount_path_resolve(const char *path, char *out);

#endif
