/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Targets of symbolic links as items. */
#ifndef R5FS_FS_SYMLINK_H
#define R5FS_FS_SYMLINK_H

#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

struct fs_txn;

#define SYMLINK_CHUNKS_MAX 3u

/* Inserts that a target takes. */
uint32_t symlink_chunks(size_t bytes);
R5_MUST_CHECK int symlink_prepare(struct fs_txn *txn, uint64_t ino, size_t bytes);
R5_MUST_CHECK int
symlink_insert(struct fs_txn *txn, uint64_t ino, const char *target, size_t bytes);

#endif
