/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names and their hashes. Pure functions.
 *
 *     bit 63  62 ............ 8  7 .. 0
 *          0 |  hash, 55 bits  | index |     offset of the item that holds a name
 *
 * The hash is the upper 55 bits of XXH64 over the name, seeded with the filesystem's own number so
 * that nobody can make names collide who does not know it; 0 becomes 1, which leaves the offsets
 * below 256 for readdir's cookies of "." and "..". Names of equal hash take different indices.
 */
#include "name.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fs_format.h"
#include "fs_internal.h"

_Static_assert(FS_HASH_BITS + 8 == 63, "offsets are cookies: below 2^63");

int name_check(struct fs_name name)
{
    if (name.length > FS_NAME_BYTES_MAX) {
        return -ENAMETOOLONG;
    }
    if (name.length == 0 || memchr(name.bytes, '/', name.length) != NULL ||
        memchr(name.bytes, '\0', name.length) != NULL) {
        return -EINVAL;
    }
    return 0;
}

bool name_is_dot(struct fs_name name)
{
    return name.length == 1 && name.bytes[0] == '.';
}

bool name_is_dot_dot(struct fs_name name)
{
    return name.length == 2 && name.bytes[0] == '.' && name.bytes[1] == '.';
}

int name_check_entry(struct fs_name name)
{
    int error = name_check(name);
    if (error == 0 && (name_is_dot(name) || name_is_dot_dot(name))) {
        error = -EINVAL;
    }
    return error;
}

bool name_equal(struct fs_name a, struct fs_name b)
{
    return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

uint64_t name_offset(const struct fs *fs, struct fs_name name)
{
    uint64_t hash = XXH64(name.bytes, name.length, fs->super.name_seed) >> (64 - FS_HASH_BITS);
    return max_u64(hash, 1) << 8;
}
