/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of directory entries and of extended attributes: what is allowed, where they are kept. */
#ifndef R5FS_FS_NAME_H
#define R5FS_FS_NAME_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/fs/fs.h"

struct fs;

/* -ENAMETOOLONG above 255 bytes; -EINVAL for an empty one or one with '/' or NUL in it. */
R5_MUST_CHECK int name_check(struct fs_name name);
/* As name_check, and -EINVAL for "." and "..", which are never entries. */
R5_MUST_CHECK int name_check_entry(struct fs_name name);
bool name_is_dot(struct fs_name name);
bool name_is_dot_dot(struct fs_name name);
bool name_equal(struct fs_name a, struct fs_name b);

/* Item offset of the first name with this one's hash: hash << 8, at least 256 and below 2^63. */
uint64_t name_offset(const struct fs *fs, struct fs_name name);

#endif
