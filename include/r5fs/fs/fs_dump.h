/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Filesystem structures in words, line by line, for `r5fs dump` and `r5fs examine`. Changes
 * nothing. */
#ifndef R5FS_FS_FS_DUMP_H
#define R5FS_FS_FS_DUMP_H

#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/fs/fs.h"

struct fs_print {
    void (*line)(void *context, const char *line); /* "key: value", without a newline */
    void *context;
};

/* The fs super from its raw 4 KiB: block 0 of the volume, or the copy in its last block.
 * -EMEDIUMTYPE when it is none, -EUCLEAN when it is damaged (a line says what is wrong). Needs no
 * mount. `volume_blocks` 0: not known. */
R5_MUST_CHECK int fs_dump_super(const uint8_t *block,
                                struct fs_block address,
                                uint64_t volume_blocks,
                                const struct fs_print *print);
/* An inode's record and all its items: extents, attributes, symlink target. -ENOENT. */
R5_MUST_CHECK int
fs_dump_inode(struct fs *fs, struct fs_thread *thread, uint64_t ino, const struct fs_print *print);
/* A directory's entries in tree order, with their keys. -ENOTDIR, -ENOENT. */
R5_MUST_CHECK int
fs_dump_dir(struct fs *fs, struct fs_thread *thread, uint64_t ino, const struct fs_print *print);
/* Every node, and every item with its key and length; bad nodes are named and passed over. */
R5_MUST_CHECK int
fs_dump_tree(struct fs *fs, struct fs_thread *thread, const struct fs_print *print);

#endif
