/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes: items, names, reading. Setting and removing: xattr_set.c.
 *
 *     XATTR item        | lengths, flags | name | value, at most FS_XATTR_INLINE_MAX bytes, of
 *                         special attributes (X4) FS_XATTR_SPECIAL_MAX |
 *     larger values     | lengths, flags, value id | name | and XATTR_CHUNK items of 1900 bytes
 *                         (value id << 8 | 0), (value id << 8 | 1), ...
 *
 *   X1  a name stands once, below the offset of its hash, at any of the 256 indices
 *   X2  chunks that no attribute names are named by the inode's orphan record, or it says DELETE
 *   X3  presence bits of the inode say which of the special attributes exist, and whether any does
 *   X4  access lists, default lists and security.capability are never chunked
 *
 * Readers of a value hold the inode lock shared, which keeps the chunks in place between read
 * sections. An item that cannot be is -EUCLEAN with its block's address. Any thread.
 */
#include "xattr.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "name.h"
#include "op.h"

/* ---- names --------------------------------------------------------------------------------- */

#define NAME(text)               \
    {                            \
        (text), sizeof(text) - 1 \
    }

const struct fs_name xattr_name_acl = NAME("system.posix_acl_access");
const struct fs_name xattr_name_default_acl = NAME("system.posix_acl_default");
const struct fs_name xattr_name_caps = NAME("security.capability");

struct xattr_namespace {
    struct fs_name prefix;
    bool whole; /* the prefix is the name */
    enum xattr_kind kind;
};

static const struct xattr_namespace xattr_namespaces[] = {
    {NAME("system.posix_acl_access"), true, XATTR_ACL},
    {NAME("system.posix_acl_default"), true, XATTR_DEFAULT_ACL},
    {NAME("security.capability"), true, XATTR_CAPS},
    {NAME("security."), false, XATTR_SECURITY},
    {NAME("user."), false, XATTR_USER},
    {NAME("trusted."), false, XATTR_TRUSTED},
};

#define NAMESPACE_COUNT (sizeof(xattr_namespaces) / sizeof(xattr_namespaces[0]))

int xattr_kind_of(struct fs_name name, enum xattr_kind *out_kind)
{
    if (name.length > FS_XATTR_NAME_BYTES_MAX) {
        return -ERANGE;
    }
    for (size_t i = 0; i < NAMESPACE_COUNT; i++) {
        const struct xattr_namespace *space = &xattr_namespaces[i];
        if (space->whole ? name_equal(name, space->prefix)
                         : name.length >= space->prefix.length &&
                               memcmp(name.bytes, space->prefix.bytes, space->prefix.length) == 0) {
            *out_kind = space->kind;
            return !space->whole && name.length == space->prefix.length ? -EINVAL : 0;
        }
    }
    return -EOPNOTSUPP;
}

static uint32_t presence_of(struct fs_name name)
{
    if (name_equal(name, xattr_name_acl)) {
        return FS_INODE_HAS_ACL;
    }
    if (name_equal(name, xattr_name_default_acl)) {
        return FS_INODE_HAS_DEFAULT_ACL;
    }
    return name_equal(name, xattr_name_caps) ? FS_INODE_HAS_CAPS : 0;
}

/* Of a value that is kept with its name. */
static uint32_t inline_max(struct fs_name name)
{
    return presence_of(name) != 0 ? FS_XATTR_SPECIAL_MAX : FS_XATTR_INLINE_MAX;
}

/* ---- items --------------------------------------------------------------------------------- */

const char *xattr_decode(const uint8_t *data, uint32_t bytes, struct xattr_item *out_item)
{
    struct fs_xattr_disk disk;
    if (bytes <= sizeof(disk)) {
        return "attribute too short";
    }
    memcpy(&disk, data, sizeof(disk));
    struct xattr_item item = {
        .name = {(const char *)data + sizeof(disk), disk.name_bytes},
        .value = data + sizeof(disk) + disk.name_bytes,
        .value_bytes = le32_get(disk.value_bytes),
        .value_id = le32_get(disk.value_id),
        .chunked = disk.flags == FS_XATTR_CHUNKED,
    };
    if ((disk.flags & ~FS_XATTR_CHUNKED) != 0 || disk.name_bytes == 0 ||
        item.value_bytes > FS_XATTR_VALUE_BYTES_MAX) {
        return "attribute with impossible lengths or flags";
    }
    uint32_t inside = item.chunked ? 0 : item.value_bytes;
    /* The length first: then the name lies within the item. */
    if (bytes != sizeof(disk) + disk.name_bytes + inside || inside > inline_max(item.name)) {
        return "attribute of wrong length";
    }
    if (item.chunked) {
        item.value = NULL;
    }
    *out_item = item;
    return NULL;
}

static int path_item(const struct btree_path *path, struct xattr_item *out_item)
{
    uint32_t bytes;
    const uint8_t *data = btree_data(path, &bytes);
    const char *problem = xattr_decode(data, bytes, out_item);
    if (problem != NULL) {
        return fs_damage(
            path->reader->fs, btree_key(path).ino, path->level[0].buffer->block, problem);
    }
    return 0;
}

static bool on_xattr_of(const struct btree_path *path, uint64_t ino)
{
    struct fs_key key = btree_key(path);
    return key.ino == ino && key.type == FS_ITEM_XATTR;
}

/* Looks at the items of the name's hash. place->offset follows the lowest free index. */
static int
find_in_hash(struct btree_path *path, uint64_t ino, struct fs_name name, struct xattr_place *place)
{
    uint64_t last = place->offset + FS_HASH_INDEX_MAX;
    struct fs_key key = fs_key(ino, FS_ITEM_XATTR, place->offset);
    int error = btree_seek(path, &key);
    while (error == 0) {
        struct xattr_item item;
        uint64_t offset = btree_key(path).offset;
        if (!on_xattr_of(path, ino) || offset > last) {
            return -ENOENT;
        }
        error = path_item(path, &item);
        if (error == 0 && name_equal(item.name, name)) {
            place->found = true;
            place->offset = offset;
            place->chunked = item.chunked;
            place->value_bytes = item.value_bytes;
            place->value_id = item.value_id;
            return 0;
        }
        if (error == 0) {
            place->offset += offset == place->offset ? 1 : 0;
            error = btree_next(path);
        }
    }
    return error;
}

/* Whether the attribute found is the inode's only one. */
static int find_others(struct fs_reader *reader, uint64_t ino, struct xattr_place *place)
{
    struct fs_key key = fs_key(ino, FS_ITEM_XATTR, 0);
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    if (error == 0 && place->found && btree_key(&path).offset == place->offset &&
        on_xattr_of(&path, ino)) {
        error = btree_next(&path);
    }
    place->only = error == -ENOENT || (error == 0 && !on_xattr_of(&path, ino));
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

int xattr_find(struct fs_reader *reader,
               uint64_t ino,
               struct fs_name name,
               struct xattr_place *out_place)
{
    struct btree_path path;
    uint64_t begin = name_offset(reader->fs, name);
    memset(out_place, 0, sizeof(*out_place));
    out_place->offset = begin;
    btree_path_init(&path, reader);
    int error = find_in_hash(&path, ino, name, out_place);
    btree_path_release(&path);
    if (error == -ENOENT) {
        error = out_place->offset > begin + FS_HASH_INDEX_MAX ? -ENOSPC : 0;
    }
    if (error == 0) {
        error = find_others(reader, ino, out_place);
    }
    return error;
}

int xattr_copy(struct fs_reader *reader,
               uint64_t ino,
               const struct xattr_place *place,
               uint8_t *value,
               uint32_t max)
{
    struct fs_key key = fs_key(ino, FS_ITEM_XATTR, place->offset);
    struct xattr_item item = {0};
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_find(&path, &key);
    if (error == 0) {
        error = path_item(&path, &item);
    }
    if (error == 0 && item.value == NULL) {
        error = fs_damage(
            reader->fs, ino, path.level[0].buffer->block, "special attribute is kept in chunks");
    }
    if (error == 0 && item.value_bytes > max) {
        error = -ERANGE;
    }
    if (error == 0) {
        memcpy(value, item.value, item.value_bytes);
    }
    btree_path_release(&path);
    return error;
}

int xattr_prepare(struct fs_txn *txn, uint64_t ino, const struct xattr_place *place)
{
    struct fs_key key = fs_key(ino, FS_ITEM_XATTR, place->offset);
    return btree_prepare(txn, &key);
}

int xattr_put(struct fs_txn *txn,
              struct fs_inode *inode,
              struct fs_name name,
              const struct xattr_place *place,
              const struct xattr_value *value)
{
    uint8_t data[FS_ITEM_BYTES_MAX];
    uint32_t inside = value->bytes != NULL ? value->count : 0;
    struct fs_xattr_disk disk = {
        .value_bytes = le32_make(value->count),
        .value_id = le32_make(value->bytes != NULL ? 0 : value->id),
        .flags = (uint8_t)(value->bytes != NULL ? 0 : FS_XATTR_CHUNKED),
        .name_bytes = (uint8_t)name.length,
    };
    R5_CHECK(name.length <= FS_XATTR_NAME_BYTES_MAX && inside <= inline_max(name));
    memcpy(data, &disk, sizeof(disk));
    memcpy(data + sizeof(disk), name.bytes, name.length);
    if (inside > 0) {
        memcpy(data + sizeof(disk) + name.length, value->bytes, inside);
    }
    uint32_t bytes = (uint32_t)(sizeof(disk) + name.length) + inside;
    struct fs_key key = fs_key(inode->ino, FS_ITEM_XATTR, place->offset);
    inode->presence |= FS_INODE_HAS_XATTR | presence_of(name);
    return place->found ? btree_replace(txn, &key, data, bytes)
                        : btree_insert(txn, &key, data, bytes);
}

int xattr_drop(struct fs_txn *txn,
               struct fs_inode *inode,
               struct fs_name name,
               const struct xattr_place *place)
{
    struct fs_key key = fs_key(inode->ino, FS_ITEM_XATTR, place->offset);
    inode->presence &= ~presence_of(name);
    if (place->only) {
        inode->presence &= ~FS_INODE_HAS_XATTR;
    }
    return btree_remove(txn, &key);
}

int xattr_caps_prepare(struct fs_txn *txn,
                       const struct fs_inode *inode,
                       struct xattr_place *out_place)
{
    memset(out_place, 0, sizeof(*out_place));
    if ((inode->presence & FS_INODE_HAS_CAPS) == 0) {
        return 0;
    }
    int error = xattr_find(&txn->reader, inode->ino, xattr_name_caps, out_place);
    if (error == 0 && out_place->found) {
        error = xattr_prepare(txn, inode->ino, out_place);
    }
    return error;
}

int xattr_caps_drop(struct fs_txn *txn, struct fs_inode *inode, const struct xattr_place *place)
{
    return place->found ? xattr_drop(txn, inode, xattr_name_caps, place) : 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

struct xattr_get {
    uint64_t ino;
    struct fs_name name;
    uint8_t *value;
    size_t size;
    struct xattr_place place;
    uint32_t done; /* bytes of a chunked value copied so far */
};

static int get_find(struct fs_reader *reader, void *context)
{
    struct xattr_get *get = context;
    struct fs_inode inode;
    int error = inode_read(reader, get->ino, &inode);
    if (error != 0) {
        return error;
    }
    if ((inode.presence & FS_INODE_HAS_XATTR) == 0) {
        return -ENODATA;
    }
    error = xattr_find(reader, get->ino, get->name, &get->place);
    if (error == -ENOSPC || (error == 0 && !get->place.found)) {
        return -ENODATA;
    }
    if (error != 0 || get->size == 0) {
        return error;
    }
    if (get->place.value_bytes > get->size) {
        return -ERANGE;
    }
    if (!get->place.chunked) {
        error = xattr_copy(reader, get->ino, &get->place, get->value, get->place.value_bytes);
    }
    return error;
}

static int get_chunk(struct fs_reader *reader, void *context)
{
    struct xattr_get *get = context;
    uint64_t chunk = get->done / FS_CHUNK_BYTES;
    struct fs_key key =
        fs_key(get->ino, FS_ITEM_XATTR_CHUNK, (uint64_t)get->place.value_id << 8 | chunk);
    uint32_t want = (uint32_t)min_u64(FS_CHUNK_BYTES, get->place.value_bytes - (uint64_t)get->done);
    uint32_t bytes;
    int error = btree_get(reader, &key, get->value + get->done, want, &bytes);
    if (error == -ENOENT || (error == 0 && bytes != want)) {
        return fs_damage(reader->fs, get->ino, fs_block(0), "attribute's chunk missing or wrong");
    }
    if (error == 0) {
        get->done += want;
    }
    return error;
}

int fs_getxattr(struct fs *fs,
                struct fs_thread *thread,
                uint64_t ino,
                struct fs_name name,
                uint8_t *value,
                size_t size,
                size_t *out_bytes)
{
    struct xattr_get get = {.ino = ino, .name = name, .value = value, .size = size};
    enum xattr_kind kind;
    int error = xattr_kind_of(name, &kind);
    if (error != 0) {
        return error;
    }
    inode_lock_read(fs, ino);
    error = op_look(fs, thread, get_find, &get);
    while (error == 0 && size > 0 && get.place.chunked && get.done < get.place.value_bytes) {
        error = op_look(fs, thread, get_chunk, &get);
    }
    inode_unlock(fs, ino);
    if (error == 0) {
        *out_bytes = get.place.value_bytes;
    }
    return error;
}

struct xattr_list {
    uint64_t ino;
    bool trusted_too;
    uint64_t from; /* offset of the next item */
    char *list;
    size_t size;
    size_t bytes;
};

static bool is_listed(const struct xattr_list *list, struct fs_name name)
{
    enum xattr_kind kind;
    return list->trusted_too || xattr_kind_of(name, &kind) != 0 || kind != XATTR_TRUSTED;
}

static int list_add(struct xattr_list *list, struct fs_name name)
{
    size_t more = name.length + 1;
    if (list->size > 0) {
        if (list->bytes + more > list->size) {
            return -ERANGE;
        }
        memcpy(list->list + list->bytes, name.bytes, name.length);
        list->list[list->bytes + name.length] = '\0';
    }
    list->bytes += more;
    return 0;
}

/* Goes on where the last round stopped, so that any number of items is read in the end. */
static int list_look(struct fs_reader *reader, void *context)
{
    struct xattr_list *list = context;
    struct fs_key key = fs_key(list->ino, FS_ITEM_XATTR, list->from);
    struct btree_path path;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0 && on_xattr_of(&path, list->ino)) {
        struct xattr_item item;
        error = path_item(&path, &item);
        if (error == 0 && is_listed(list, item.name)) {
            error = list_add(list, item.name);
        }
        if (error != 0) {
            break;
        }
        list->from = btree_key(&path).offset + 1;
        error = btree_next(&path);
    }
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

static int list_inode(struct fs_reader *reader, void *context)
{
    struct xattr_list *list = context;
    struct fs_inode inode;
    return inode_read(reader, list->ino, &inode);
}

int fs_listxattr(struct fs *fs,
                 struct fs_thread *thread,
                 uint64_t ino,
                 bool trusted_too,
                 char *list,
                 size_t size,
                 size_t *out_bytes)
{
    struct xattr_list look = {.ino = ino, .trusted_too = trusted_too, .list = list, .size = size};
    inode_lock_read(fs, ino);
    int error = op_look(fs, thread, list_inode, &look);
    if (error == 0) {
        error = op_look(fs, thread, list_look, &look);
    }
    inode_unlock(fs, ino);
    if (error == 0) {
        *out_bytes = look.bytes;
    }
    return error;
}
