/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Short ways to call the filesystem in tests. Names are C strings; `must_` fails the test on
 * error. */
#ifndef R5FS_TESTS_OP_KIT_H
#define R5FS_TESTS_OP_KIT_H

#include "fs_kit.h"

struct fs_name op_name(const char *text);
/* All but the type may be 0: as 1000:1000, umask 022. */
int op_make(struct kit *kit, uint64_t parent, const char *name, uint32_t mode, uint64_t *out_ino);
uint64_t must_make(struct kit *kit, uint64_t parent, const char *name, uint32_t mode);
uint64_t must_symlink(struct kit *kit, uint64_t parent, const char *name, const char *target);
int op_lookup(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_ino);
struct fs_attr must_getattr(struct kit *kit, uint64_t ino);
int op_unlink(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_gone);
int op_rmdir(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_gone);
int op_link(struct kit *kit, uint64_t ino, uint64_t parent, const char *name);
int op_rename(struct kit *kit,
              uint64_t old_parent,
              const char *old_name,
              uint64_t new_parent,
              const char *new_name,
              unsigned flags);
void must_write(struct kit *kit, uint64_t ino, uint64_t offset, const void *data, uint32_t bytes);
/* Bytes `fill`. */
void must_fill(struct kit *kit, uint64_t ino, uint64_t offset, uint8_t fill, uint32_t bytes);
/* Reads any length; returns how many bytes there were. */
uint32_t must_read(struct kit *kit, uint64_t ino, uint64_t offset, void *data, uint32_t bytes);
/* All of [offset, offset + bytes) is there and equals `fill`. */
void must_be_filled(struct kit *kit, uint64_t ino, uint64_t offset, uint8_t fill, uint32_t bytes);
int op_truncate(struct kit *kit, uint64_t ino, uint64_t size);
int op_set_mode(struct kit *kit, uint64_t ino, uint32_t mode);
int op_set_xattr(struct kit *kit, uint64_t ino, const char *name, const void *value, size_t bytes);
/* Bytes, or a negative errno. */
int64_t op_get_xattr(struct kit *kit, uint64_t ino, const char *name, void *value, size_t size);
void must_sync(struct kit *kit);
uint64_t must_free_blocks(struct kit *kit);
#endif
