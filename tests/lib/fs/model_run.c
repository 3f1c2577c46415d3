/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See model.h. Here: doing operations to a filesystem, and comparing it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model_parts.h"

const char *model_name(uint32_t name, char text[256])
{
    if (name % 5 == 4) {
        memset(text, 'a' + (int)(name % 26), 255);
        text[255] = '\0';
    } else {
        (void)snprintf(text, 256, "name-%u", name); /* always fits */
    }
    return text;
}

const char *model_xattr_name(uint32_t name)
{
    static const char *const names[] = {"user.a", "user.b", "trusted.c", "security.d"};
    return names[name];
}

bool model_xattr_is_user(uint32_t name)
{
    return name < 2;
}

static void target_of(uint32_t bytes, char text[FS_SYMLINK_BYTES_MAX + 1])
{
    for (uint32_t i = 0; i < bytes; i++) {
        text[i] = (char)('a' + (i * 7 + bytes) % 26);
    }
    text[bytes] = '\0';
}

/* ---- doing --------------------------------------------------------------------------------- */

static int run_make(struct kit *kit,
                    const struct model *before,
                    const struct model_op *op,
                    uint64_t inos[MODEL_IDS_MAX])
{
    static char target[FS_SYMLINK_BYTES_MAX + 1];
    char name[256];
    const struct fs_caller caller = {1000, 1000, 022};
    struct fs_make make = {.mode = op->mode};
    struct fs_attr attr;
    if (S_ISLNK(op->mode)) {
        target_of(op->bytes, target);
        make.symlink_target = target;
        make.symlink_bytes = op->bytes;
    }
    int error = fs_make(kit->fs,
                        &kit->thread,
                        &caller,
                        inos[op->dir],
                        op_name(model_name(op->name, name)),
                        &make,
                        &attr);
    if (error == 0) {
        inos[before->count] = attr.ino;
    }
    return error;
}

static int run_rename(struct kit *kit, const struct model_op *op, const uint64_t *inos)
{
    char name[256];
    char name2[256];
    uint64_t gone;
    return fs_rename(kit->fs,
                     &kit->thread,
                     inos[op->dir],
                     op_name(model_name(op->name, name)),
                     inos[op->dir2],
                     op_name(model_name(op->name2, name2)),
                     (unsigned)op->flags,
                     &gone);
}

static int run_write(struct kit *kit, const struct model_op *op, uint64_t ino)
{
    uint8_t *data = malloc(op->bytes);
    uint32_t done = 0;
    ck_assert_ptr_nonnull(data);
    model_fill_bytes(op->seed, data, op->bytes);
    int error = fs_write(kit->fs, &kit->thread, ino, op->offset, data, op->bytes, false, &done);
    ck_assert(error != 0 || done == op->bytes);
    free(data);
    return error;
}

static int run_attr(struct kit *kit, const struct model_op *op, uint64_t ino)
{
    const struct fs_attr in = {.mode = op->mode, .uid = op->mode, .gid = op->bytes};
    struct fs_attr out;
    uint32_t mask = op->kind == MODEL_CHMOD ? FS_SET_MODE : FS_SET_UID | FS_SET_GID;
    return fs_setattr(kit->fs, &kit->thread, ino, &in, mask, &out);
}

static int run_xattr(struct kit *kit, const struct model_op *op, uint64_t ino)
{
    struct fs_name name = op_name(model_xattr_name(op->name));
    if (op->kind == MODEL_REMOVE_XATTR) {
        return fs_removexattr(kit->fs, &kit->thread, ino, name);
    }
    uint8_t *value = malloc(op->bytes + 1);
    ck_assert_ptr_nonnull(value);
    model_fill_bytes(op->seed, value, op->bytes);
    int error = fs_setxattr(kit->fs, &kit->thread, ino, name, value, op->bytes, op->flags, false);
    free(value);
    return error;
}

static int run_remount(struct kit *kit)
{
    char why[FS_WHY_BYTES] = "";
    kit_unmount(kit);
    int error = kit_mount(kit, false, why);
    ck_assert_msg(error == 0, "remount: %d %s", error, why);
    return 0;
}

int model_run(struct kit *kit,
              const struct model *before,
              const struct model_op *op,
              uint64_t inos[MODEL_IDS_MAX])
{
    char name[256];
    uint64_t gone;
    uint64_t ino = inos[op->id];
    switch (op->kind) {
    case MODEL_MAKE: return run_make(kit, before, op, inos);
    case MODEL_LINK: return op_link(kit, ino, inos[op->dir], model_name(op->name, name));
    case MODEL_UNLINK: return op_unlink(kit, inos[op->dir], model_name(op->name, name), &gone);
    case MODEL_RMDIR: return op_rmdir(kit, inos[op->dir], model_name(op->name, name), &gone);
    case MODEL_RENAME: return run_rename(kit, op, inos);
    case MODEL_WRITE: return run_write(kit, op, ino);
    case MODEL_TRUNCATE: return op_truncate(kit, ino, op->offset);
    case MODEL_FALLOCATE:
        return fs_fallocate(kit->fs, &kit->thread, ino, op->flags, op->offset, op->bytes);
    case MODEL_CHMOD:
    case MODEL_CHOWN: return run_attr(kit, op, ino);
    case MODEL_SET_XATTR:
    case MODEL_REMOVE_XATTR: return run_xattr(kit, op, ino);
    case MODEL_EVICT: return fs_evict(kit->fs, &kit->thread, ino);
    case MODEL_SYNC: return fs_sync(kit->fs, &kit->thread);
    case MODEL_REMOUNT: return run_remount(kit);
    case MODEL_KINDS:
    default: return 0;
    }
}

/* ---- comparing ----------------------------------------------------------------------------- */

struct compare {
    struct kit *kit;
    const struct model *model;
    uint32_t loose;
    char *why;
    uint64_t *inos;  /* by id, as met on the way; 0: not yet */
    uint32_t *queue; /* directories to look into */
    uint32_t queued;
    bool same;
};

static R5_PRINTF(3, 4) void differ(struct compare *compare, uint32_t id, const char *format, ...)
{
    va_list arguments;
    if (compare->same) {
        compare->same = false;
        int used = snprintf(compare->why, 256, "id %u: ", id);
        va_start(arguments, format);
        (void)vsnprintf(compare->why + used, 256 - (size_t)used, format, arguments); /* cut */
        va_end(arguments);
    }
}

static bool all_zero(const uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        if (data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Looks at block `block`, which both have to agree on. */
static void compare_block(struct compare *compare, uint32_t id, uint64_t block)
{
    const struct model_inode *inode = &compare->model->inodes[id];
    const struct model_page *page = model_find_page(inode, block);
    uint8_t data[BLOCK_BYTES];
    uint64_t at = block * BLOCK_BYTES;
    if (at >= inode->size) {
        return;
    }
    uint32_t want = (uint32_t)min_u64(BLOCK_BYTES, inode->size - at);
    uint32_t got = must_read(compare->kit, compare->inos[id], at, data, BLOCK_BYTES);
    if (got != want) {
        differ(
            compare, id, "block %llu has %u bytes, not %u", (unsigned long long)block, got, want);
    } else if (page != NULL ? memcmp(page->data, data, want) != 0 : !all_zero(data, want)) {
        differ(compare, id, "contents of block %llu", (unsigned long long)block);
    }
}

/* All blocks of the model and all that the filesystem says hold data. */
static void compare_data(struct compare *compare, uint32_t id)
{
    const struct model_inode *inode = &compare->model->inodes[id];
    uint64_t at = 0;
    for (uint32_t i = 0; i < inode->page_count; i++) {
        compare_block(compare, id, inode->pages[i]->block);
    }
    while (at < inode->size && compare->same) {
        uint64_t data = 0;
        uint64_t hole = 0;
        struct kit *kit = compare->kit;
        int error = fs_seek(kit->fs, &kit->thread, compare->inos[id], at, SEEK_DATA, &data);
        if (error == -ENXIO) {
            break;
        }
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(fs_seek(kit->fs, &kit->thread, compare->inos[id], data, SEEK_HOLE, &hole),
                         0);
        for (uint64_t b = data / BLOCK_BYTES; b * BLOCK_BYTES < hole; b++) {
            compare_block(compare, id, b);
        }
        at = hole;
    }
}

static void compare_xattrs(struct compare *compare, uint32_t id)
{
    const struct model_inode *inode = &compare->model->inodes[id];
    static uint8_t value[FS_XATTR_VALUE_BYTES_MAX];
    static char list[1024];
    size_t listed = 0;
    size_t expected = 0;
    struct kit *kit = compare->kit;
    for (uint32_t i = 0; i < 4; i++) {
        const char *name = model_xattr_name(i);
        int64_t got = op_get_xattr(kit, compare->inos[id], name, value, sizeof(value));
        const struct model_xattr *xattr = &inode->xattrs[i];
        if (xattr->value == NULL) {
            if (got != -ENODATA) {
                differ(compare, id, "%s is there: %lld", name, (long long)got);
            }
            continue;
        }
        expected += strlen(name) + 1;
        if (got != (int64_t)xattr->bytes || memcmp(value, xattr->value, xattr->bytes) != 0) {
            differ(compare, id, "%s: %lld bytes, not %u", name, (long long)got, xattr->bytes);
        }
    }
    ck_assert_int_eq(
        fs_listxattr(kit->fs, &kit->thread, compare->inos[id], true, list, sizeof(list), &listed),
        0);
    if (listed != expected) {
        differ(compare, id, "attribute list of %zu bytes, not %zu", listed, expected);
    }
}

static void compare_target(struct compare *compare, uint32_t id)
{
    static char expected[FS_SYMLINK_BYTES_MAX + 1];
    static char got[FS_SYMLINK_BYTES_MAX];
    size_t bytes = 0;
    const struct model_inode *inode = &compare->model->inodes[id];
    struct kit *kit = compare->kit;
    target_of(inode->target_bytes, expected);
    ck_assert_int_eq(fs_readlink(kit->fs, &kit->thread, compare->inos[id], got, &bytes), 0);
    if (bytes != inode->target_bytes || memcmp(got, expected, bytes) != 0) {
        differ(compare, id, "symlink target");
    }
}

static void compare_inode(struct compare *compare, uint32_t id)
{
    const struct model_inode *inode = &compare->model->inodes[id];
    struct fs_attr attr = must_getattr(compare->kit, compare->inos[id]);
    if (attr.mode != inode->mode || attr.nlink != inode->nlink || attr.uid != inode->uid ||
        attr.gid != inode->gid) {
        differ(compare,
               id,
               "mode %o/%o links %u/%u owner %u/%u group %u/%u",
               attr.mode,
               inode->mode,
               attr.nlink,
               inode->nlink,
               attr.uid,
               inode->uid,
               attr.gid,
               inode->gid);
        return;
    }
    if (id == compare->loose) {
        return;
    }
    if (!S_ISDIR(inode->mode) && attr.size != inode->size) {
        differ(compare,
               id,
               "size %llu, not %llu",
               (unsigned long long)attr.size,
               (unsigned long long)inode->size);
        return;
    }
    compare_xattrs(compare, id);
    if (S_ISREG(inode->mode)) {
        compare_data(compare, id);
    } else if (S_ISLNK(inode->mode)) {
        compare_target(compare, id);
    }
}

struct listing {
    uint32_t count;
    uint64_t last_cookie;
    bool sorted;
};

static bool list_entry(void *context, const struct fs_dirent *entry)
{
    struct listing *listing = context;
    listing->count++;
    listing->sorted = listing->sorted && entry->cookie > listing->last_cookie;
    listing->last_cookie = entry->cookie;
    return true;
}

static void compare_listing(struct compare *compare, uint32_t id, uint32_t names)
{
    struct listing listing = {.sorted = true};
    struct kit *kit = compare->kit;
    ck_assert_int_eq(
        fs_readdir(kit->fs, &kit->thread, compare->inos[id], 0, true, list_entry, &listing), 0);
    if (listing.count != names + 2 || !listing.sorted) {
        differ(compare, id, "readdir gives %u names, not %u", listing.count, names + 2);
    }
    if (must_getattr(kit, compare->inos[id]).size != names) {
        differ(compare, id, "directory does not count %u entries", names);
    }
}

static void compare_entry(struct compare *compare, uint32_t dir, uint32_t name)
{
    char text[256];
    uint64_t ino = 0;
    uint32_t there = compare->model->inodes[dir].names[name];
    int error = op_lookup(compare->kit, compare->inos[dir], model_name(name, text), &ino);
    if (there == 0) {
        if (error != -ENOENT) {
            differ(compare, dir, "name %u is there: %d", name, error);
        }
        return;
    }
    uint32_t id = there - 1;
    if (error != 0) {
        differ(compare, dir, "name %u is not there: %d", name, error);
        return;
    }
    if (compare->inos[id] != 0 && compare->inos[id] != ino) {
        differ(compare, id, "two inodes for one");
        return;
    }
    if (compare->inos[id] == 0) {
        compare->inos[id] = ino;
        compare_inode(compare, id);
        if (S_ISDIR(compare->model->inodes[id].mode)) {
            compare->queue[compare->queued] = id;
            compare->queued++;
        }
    }
}

static void compare_dir(struct compare *compare, uint32_t id)
{
    uint32_t names = 0;
    uint64_t parent = 0;
    const struct model_inode *dir = &compare->model->inodes[id];
    for (uint32_t i = 0; i < MODEL_NAMES_MAX && compare->same; i++) {
        compare_entry(compare, id, i);
        names += dir->names[i] != 0 ? 1 : 0;
    }
    if (!compare->same) {
        return;
    }
    ck_assert_int_eq(op_lookup(compare->kit, compare->inos[id], "..", &parent), 0);
    if (parent != compare->inos[dir->parent]) {
        differ(compare, id, "wrong parent");
    }
    compare_listing(compare, id, names);
}

bool model_equals(struct kit *kit, const struct model *model, uint32_t loose, char why[256])
{
    struct compare compare = {
        .kit = kit,
        .model = model,
        .loose = loose,
        .why = why,
        .inos = calloc(model->count, sizeof(uint64_t)),
        .queue = calloc(model->count + 1, sizeof(uint32_t)),
        .same = true,
    };
    ck_assert(compare.inos != NULL && compare.queue != NULL);
    compare.inos[MODEL_ROOT] = FS_ROOT_INO;
    compare.queue[0] = MODEL_ROOT;
    compare.queued = 1;
    compare_inode(&compare, MODEL_ROOT);
    for (uint32_t i = 0; i < compare.queued && compare.same; i++) {
        compare_dir(&compare, compare.queue[i]);
    }
    free(compare.inos);
    free(compare.queue);
    return compare.same;
}
