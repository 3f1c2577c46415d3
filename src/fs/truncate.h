/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing a file's size, and finishing a truncation that takes many transactions. */
#ifndef R5FS_FS_TRUNCATE_H
#define R5FS_FS_TRUNCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"
#include "r5fs/base/check.h"

struct fs;
struct fs_attr;
struct fs_reader;
struct fs_thread;

/* fs_setattr with FS_SET_SIZE: size and all else that `mask` names in one transaction. */
R5_MUST_CHECK int truncate_set(struct fs *fs,
                               struct fs_thread *thread,
                               uint64_t ino,
                               const struct fs_attr *in,
                               uint32_t mask,
                               struct fs_attr *out);
/* Frees what an unfinished truncation left beyond the end, in steps. Harmless without one. */
R5_MUST_CHECK int truncate_finish(struct fs *fs, struct fs_thread *thread, uint64_t ino);
/* Whether one is unfinished: nothing may be added to the file's map before truncate_finish. */
R5_MUST_CHECK int
truncate_is_pending(struct fs_reader *reader, const struct fs_inode *inode, bool *out_pending);

#endif
