/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See op_kit.h. */
#include "op_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct fs_caller op_caller = {.uid = 1000, .gid = 1000, .umask = 022};

struct fs_name op_name(const char *text)
{
    return (struct fs_name){text, strlen(text)};
}

int op_make(struct kit *kit, uint64_t parent, const char *name, uint32_t mode, uint64_t *out_ino)
{
    struct fs_attr attr;
    const struct fs_make make = {.mode = mode};
    int error = fs_make(kit->fs, &kit->thread, &op_caller, parent, op_name(name), &make, &attr);
    if (error == 0) {
        *out_ino = attr.ino;
    }
    return error;
}

uint64_t must_make(struct kit *kit, uint64_t parent, const char *name, uint32_t mode)
{
    uint64_t ino = 0;
    ck_assert_int_eq(op_make(kit, parent, name, mode, &ino), 0);
    return ino;
}

uint64_t must_symlink(struct kit *kit, uint64_t parent, const char *name, const char *target)
{
    struct fs_attr attr;
    const struct fs_make make = {
        .mode = S_IFLNK | 0777,
        .symlink_target = target,
        .symlink_bytes = strlen(target),
    };
    ck_assert_int_eq(
        fs_make(kit->fs, &kit->thread, &op_caller, parent, op_name(name), &make, &attr), 0);
    return attr.ino;
}

int op_lookup(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_ino)
{
    struct fs_attr attr;
    int error = fs_lookup(kit->fs, &kit->thread, parent, op_name(name), &attr);
    if (error == 0) {
        *out_ino = attr.ino;
    }
    return error;
}

struct fs_attr must_getattr(struct kit *kit, uint64_t ino)
{
    struct fs_attr attr;
    ck_assert_int_eq(fs_getattr(kit->fs, &kit->thread, ino, &attr), 0);
    return attr;
}

int op_unlink(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_gone)
{
    return fs_unlink(kit->fs, &kit->thread, parent, op_name(name), out_gone);
}

int op_rmdir(struct kit *kit, uint64_t parent, const char *name, uint64_t *out_gone)
{
    return fs_rmdir(kit->fs, &kit->thread, parent, op_name(name), out_gone);
}

int op_link(struct kit *kit, uint64_t ino, uint64_t parent, const char *name)
{
    struct fs_attr attr;
    return fs_link(kit->fs, &kit->thread, ino, parent, op_name(name), &attr);
}

int op_rename(struct kit *kit,
              uint64_t old_parent,
              const char *old_name,
              uint64_t new_parent,
              const char *new_name,
              unsigned flags)
{
    uint64_t gone = 0;
    int error = fs_rename(kit->fs,
                          &kit->thread,
                          old_parent,
                          op_name(old_name),
                          new_parent,
                          op_name(new_name),
                          flags,
                          &gone);
    if (error == 0 && gone != 0) {
        error = fs_evict(kit->fs, &kit->thread, gone);
    }
    return error;
}

void must_write(struct kit *kit, uint64_t ino, uint64_t offset, const void *data, uint32_t bytes)
{
    uint32_t done = 0;
    ck_assert_int_eq(fs_write(kit->fs, &kit->thread, ino, offset, data, bytes, false, &done), 0);
    ck_assert_uint_eq(done, bytes);
}

void must_fill(struct kit *kit, uint64_t ino, uint64_t offset, uint8_t fill, uint32_t bytes)
{
    uint8_t *data = malloc(bytes);
    ck_assert_ptr_nonnull(data);
    memset(data, fill, bytes);
    must_write(kit, ino, offset, data, bytes);
    free(data);
}

uint32_t must_read(struct kit *kit, uint64_t ino, uint64_t offset, void *data, uint32_t bytes)
{
    uint8_t *buffer = aligned_alloc(BLOCK_BYTES, FS_IO_BYTES_MAX + 2 * BLOCK_BYTES);
    uint32_t done = 0;
    ck_assert_ptr_nonnull(buffer);
    while (done < bytes) {
        uint32_t skip = 0;
        uint32_t got = 0;
        memset(buffer, 0xee, FS_IO_BYTES_MAX + 2 * BLOCK_BYTES);
        int error =
            fs_read(kit->fs, &kit->thread, ino, offset + done, bytes - done, buffer, &skip, &got);
        ck_assert_int_eq(error, 0);
        if (got == 0) {
            break;
        }
        memcpy((uint8_t *)data + done, buffer + skip, got);
        done += got;
    }
    free(buffer);
    return done;
}

void must_be_filled(struct kit *kit, uint64_t ino, uint64_t offset, uint8_t fill, uint32_t bytes)
{
    uint8_t *data = malloc(bytes);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(must_read(kit, ino, offset, data, bytes), bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        ck_assert_msg(data[i] == fill,
                      "byte %llu is %02x, not %02x",
                      (unsigned long long)(offset + i),
                      data[i],
                      fill);
    }
    free(data);
}

int op_truncate(struct kit *kit, uint64_t ino, uint64_t size)
{
    struct fs_attr out;
    const struct fs_attr in = {.size = size};
    return fs_setattr(kit->fs, &kit->thread, ino, &in, FS_SET_SIZE, &out);
}

int op_set_mode(struct kit *kit, uint64_t ino, uint32_t mode)
{
    struct fs_attr out;
    const struct fs_attr in = {.mode = mode};
    return fs_setattr(kit->fs, &kit->thread, ino, &in, FS_SET_MODE, &out);
}

int op_set_xattr(struct kit *kit, uint64_t ino, const char *name, const void *value, size_t bytes)
{
    return fs_setxattr(kit->fs, &kit->thread, ino, op_name(name), value, bytes, 0, false);
}

int64_t op_get_xattr(struct kit *kit, uint64_t ino, const char *name, void *value, size_t size)
{
    size_t bytes = 0;
    int error = fs_getxattr(kit->fs, &kit->thread, ino, op_name(name), value, size, &bytes);
    return error == 0 ? (int64_t)bytes : error;
}

void must_sync(struct kit *kit)
{
    ck_assert_int_eq(fs_sync(kit->fs, &kit->thread), 0);
}

uint64_t must_free_blocks(struct kit *kit)
{
    struct fs_statfs statfs;
    ck_assert_int_eq(fs_statfs(kit->fs, &kit->thread, &statfs), 0);
    return statfs.free_blocks;
}
