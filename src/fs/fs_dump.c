/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Printing what is on the volume (fs_dump.h), one item per read section, so that a live filesystem
 * goes on. What an item says is printed as it is: a dump is for looking at damage too.
 * Any thread.
 */
#include "r5fs/fs/fs_dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "btree_node.h"
#include "fs_internal.h"

#define LINE_BYTES 512
#define NAME_BYTES (4 * FS_NAME_BYTES_MAX + 1) /* escaped */

R5_PRINTF(2, 3) static void print(const struct fs_print *out, const char *format, ...)
{
    char line[LINE_BYTES + NAME_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments); /* cut short at worst */
    va_end(arguments);
    out->line(out->context, line);
}

/* Bytes that are no plain ASCII as \xNN. */
static void escape(char out[NAME_BYTES], const uint8_t *bytes, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count && at + 5 <= NAME_BYTES; i++) {
        bool plain = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\';
        int length = plain ? snprintf(out + at, NAME_BYTES - at, "%c", bytes[i])
                           : snprintf(out + at, NAME_BYTES - at, "\\x%02x", bytes[i]);
        at += length > 0 ? (size_t)length : 0;
    }
    out[at] = '\0';
}

/* ---- super ----------------------------------------------------------------------------------- */

static void print_super(const struct fs_super *super, const struct fs_print *out)
{
    char uuid[UUID_TEXT_BYTES];
    char label[NAME_BYTES];
    uuid_print(&super->fs_uuid, uuid);
    print(out, "fs uuid: %s", uuid);
    uuid_print_md(&super->array_uuid, uuid);
    print(out, "array uuid: %s", uuid);
    escape(label, (const uint8_t *)super->label, strnlen(super->label, sizeof(super->label)));
    print(out, "label: %s", label);
    print(out, "format version: %u", FS_FORMAT_VERSION);
    print(out,
          "flags: 0x%" PRIx32 "%s%s",
          super->flags,
          (super->flags & FS_SUPER_WRITE_THROUGH) != 0 ? " write-through" : " write-back",
          (super->flags & FS_SUPER_MOUNTED) != 0 ? " mounted" : " clean");
    print(out,
          "features: compat 0x%" PRIx64 " ro 0x%" PRIx64 " incompat 0x%" PRIx64,
          super->features_compat,
          super->features_ro,
          super->features_incompat);
    print(out, "volume blocks: %" PRIu64, super->volume_blocks);
    print(out, "group blocks: %" PRIu32, super->group_blocks);
    print(out, "groups: %" PRIu32 " (%" PRIu32 " in use)", super->group_count, super->groups_used);
    print(out, "meta group: %" PRIu32, super->meta_group);
    print(out, "reserve blocks: %" PRIu32, super->reserve_blocks);
    print(out,
          "tree root: block %" PRIu64 ", %" PRIu32 " level(s)",
          super->tree_root.nr,
          super->tree_levels);
    print(out, "next inode: %" PRIu64, super->next_ino);
    print(out, "inodes: %" PRIu64, super->inode_count);
    print(out, "free blocks: %" PRIu64, super->free_blocks);
    print(out, "transaction: %" PRIu64, super->txn);
    print(out, "journal generation: %" PRIu64, super->journal_generation);
    print(out, "name seed: 0x%016" PRIx64, super->name_seed);
    print(out, "made: %" PRIu64, super->made_seconds);
    char device[UUID_TEXT_BYTES];
    uuid_print(&super->log.device, device);
    print(out, "sealed: behind unit %" PRIu64 " of journal %s", super->log.seq, device);
}

int fs_dump_super(const uint8_t *block,
                  struct fs_block address,
                  uint64_t volume_blocks,
                  const struct fs_print *out)
{
    struct fs_super super;
    char why[FS_WHY_BYTES];
    uint64_t limit = volume_blocks == 0 ? UINT64_MAX : volume_blocks;
    int error = fs_super_decode(&super, block, address, limit, why);
    if (error == 0) {
        print_super(&super, out);
    } else {
        print(out, "fs super: %s", why);
    }
    return error;
}

/* ---- items ----------------------------------------------------------------------------------- */

struct item {
    struct fs_key key;
    uint32_t bytes;
    uint8_t data[FS_ITEM_BYTES_MAX];
};

/* The first item from `key` on; -ENOENT. */
static int
item_from(struct fs *fs, struct fs_thread *thread, const struct fs_key *key, struct item *out_item)
{
    struct fs_reader reader;
    struct btree_path path;
    int error = 0;
    fs_reader_init(&reader, fs, thread);
    do {
        fs_reader_lock(&reader);
        btree_path_init(&path, &reader);
        error = btree_seek(&path, key);
        if (error == 0) {
            const uint8_t *data = btree_data(&path, &out_item->bytes);
            out_item->key = btree_key(&path);
            memcpy(out_item->data, data, out_item->bytes);
        }
        btree_path_release(&path);
    } while (fs_reader_again(&reader, &error));
    return error;
}

static const char *type_name(uint8_t type)
{
    switch (type) {
    case FS_ITEM_INODE: return "inode";
    case FS_ITEM_XATTR: return "xattr";
    case FS_ITEM_XATTR_CHUNK: return "xattr-chunk";
    case FS_ITEM_SYMLINK: return "symlink";
    case FS_ITEM_DIRENT: return "dirent";
    case FS_ITEM_EXTENT: return "extent";
    case FS_ITEM_ORPHAN: return "orphan";
    case FS_ITEM_INFLIGHT: return "inflight";
    default: return "unknown";
    }
}

static void print_time(const struct fs_print *out, const char *name, struct fs_time time)
{
    print(out, "%s: %" PRId64 ".%09" PRIu32, name, time.seconds, time.nanoseconds);
}

static void print_inode(const struct item *item, const struct fs_print *out)
{
    struct fs_inode inode;
    const char *problem = inode_decode(&inode, item->key.ino, item->data, item->bytes);
    if (problem != NULL) {
        print(out, "inode %" PRIu64 ": %s", item->key.ino, problem);
        return;
    }
    print(out, "inode: %" PRIu64, inode.ino);
    print(out, "generation: %" PRIu64, inode.generation);
    print(out, "mode: 0%" PRIo32, inode.mode);
    print(out, "links: %" PRIu32, inode.nlink);
    print(out, "owner: %" PRIu32 ":%" PRIu32, inode.uid, inode.gid);
    print(out, "size: %" PRIu64, inode.size);
    print(out, "blocks: %" PRIu64, inode.blocks);
    print(out, "parent: %" PRIu64, inode.parent);
    print(out, "device: %" PRIu32 ":%" PRIu32, inode.rdev_major, inode.rdev_minor);
    print(out, "flags: 0x%" PRIx32 " presence: 0x%" PRIx32, inode.flags, inode.presence);
    print_time(out, "atime", inode.atime);
    print_time(out, "mtime", inode.mtime);
    print_time(out, "ctime", inode.ctime);
    print_time(out, "btime", inode.btime);
}

static void print_dirent(const struct item *item, const struct fs_print *out)
{
    struct fs_dirent_disk disk;
    char name[NAME_BYTES];
    if (item->bytes < sizeof(disk)) {
        print(out, "entry: key 0x%016" PRIx64 " too short", item->key.offset);
        return;
    }
    memcpy(&disk, item->data, sizeof(disk));
    escape(name, item->data + sizeof(disk), item->bytes - sizeof(disk));
    print(out,
          "entry: key 0x%016" PRIx64 " inode %" PRIu64 " type 0%o name %s",
          item->key.offset,
          le64_get(disk.ino),
          (unsigned)disk.type << 12,
          name);
}

static void print_extent(const struct item *item, const struct fs_print *out)
{
    struct fs_extent_disk disk;
    if (item->bytes != sizeof(disk)) {
        print(out, "extent: file block %" PRIu64 " of wrong length", item->key.offset);
        return;
    }
    memcpy(&disk, item->data, sizeof(disk));
    print(out,
          "extent: file block %" PRIu64 " at block %" PRIu64 ", %" PRIu32 " block(s)%s",
          item->key.offset,
          le64_get(disk.start),
          le32_get(disk.length),
          (le32_get(disk.flags) & FS_EXTENT_UNWRITTEN) != 0 ? ", unwritten" : "");
}

static void print_xattr(const struct item *item, const struct fs_print *out)
{
    struct fs_xattr_disk disk;
    char name[NAME_BYTES];
    memset(&disk, 0, sizeof(disk));
    if (item->bytes < sizeof(disk)) {
        print(out, "xattr: key 0x%016" PRIx64 " too short", item->key.offset);
        return;
    }
    memcpy(&disk, item->data, sizeof(disk));
    size_t rest = item->bytes - sizeof(disk);
    escape(name, item->data + sizeof(disk), rest < disk.name_bytes ? rest : disk.name_bytes);
    bool chunked = (disk.flags & FS_XATTR_CHUNKED) != 0;
    print(out,
          "xattr: %s, %" PRIu32 " byte(s)%s",
          name,
          le32_get(disk.value_bytes),
          chunked ? ", in chunks" : "");
}

static void print_item(const struct item *item, const struct fs_print *out)
{
    switch (item->key.type) {
    case FS_ITEM_INODE: print_inode(item, out); break;
    case FS_ITEM_DIRENT: print_dirent(item, out); break;
    case FS_ITEM_EXTENT: print_extent(item, out); break;
    case FS_ITEM_XATTR: print_xattr(item, out); break;
    default:
        print(out,
              "%s: key 0x%" PRIx64 ", %" PRIu32 " byte(s)",
              type_name(item->key.type),
              item->key.offset,
              item->bytes);
        break;
    }
}

/* The key that follows; false at the end of all keys. */
static bool key_advance(struct fs_key *key)
{
    if (key->offset < UINT64_MAX) {
        key->offset++;
        return true;
    }
    key->offset = 0;
    key->type++;
    return key->type != 0;
}

/* All items of an inode from a type on up to another. */
static int dump_items(struct fs *fs,
                      struct fs_thread *thread,
                      struct fs_key key,
                      uint8_t last,
                      const struct fs_print *out)
{
    struct item item = {.bytes = 0};
    uint64_t ino = key.ino;
    int error = item_from(fs, thread, &key, &item);
    while (error == 0 && item.key.ino == ino && item.key.type <= last) {
        print_item(&item, out);
        key = item.key;
        if (!key_advance(&key)) {
            break;
        }
        error = item_from(fs, thread, &key, &item);
    }
    return error == -ENOENT ? 0 : error;
}

int fs_dump_inode(struct fs *fs, struct fs_thread *thread, uint64_t ino, const struct fs_print *out)
{
    struct item item = {.bytes = 0};
    const struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    int error = item_from(fs, thread, &key, &item);
    if (error == 0 && fs_key_compare(&item.key, &key) != 0) {
        error = -ENOENT;
    }
    return error == 0 ? dump_items(fs, thread, key, UINT8_MAX, out) : error;
}

int fs_dump_dir(struct fs *fs, struct fs_thread *thread, uint64_t ino, const struct fs_print *out)
{
    struct item item = {.bytes = 0};
    struct fs_inode inode;
    const struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    int error = item_from(fs, thread, &key, &item);
    if (error == 0 && fs_key_compare(&item.key, &key) != 0) {
        error = -ENOENT;
    }
    if (error == 0 && inode_decode(&inode, ino, item.data, item.bytes) != NULL) {
        error = -EUCLEAN;
    }
    if (error == 0 && !S_ISDIR(inode.mode)) {
        error = -ENOTDIR;
    }
    if (error != 0) {
        return error;
    }
    return dump_items(fs, thread, fs_key(ino, FS_ITEM_DIRENT, 0), FS_ITEM_DIRENT, out);
}

/* ---- tree ------------------------------------------------------------------------------------ */

static int dump_node(void *context, const struct btree_visit *visit)
{
    const struct fs_print *out = context;
    if (visit->data == NULL) {
        print(out,
              "node: block %" PRIu64 " level %" PRIu32 " below block %" PRIu64 ": %s",
              visit->block.nr,
              visit->level,
              visit->parent.nr,
              strerror(-visit->error));
        return 0;
    }
    uint32_t count = btree_node_count(visit->data);
    print(out,
          "node: block %" PRIu64 " level %" PRIu32 " count %" PRIu32 " used %" PRIu32,
          visit->block.nr,
          visit->level,
          count,
          btree_node_used(visit->data));
    for (uint32_t i = 0; i < count; i++) {
        struct fs_key key = btree_node_key(visit->data, i);
        if (visit->level > 0) {
            print(out,
                  "  child %" PRIu64 ": %" PRIu64 " %s 0x%" PRIx64,
                  btree_child(visit->data, i).nr,
                  key.ino,
                  type_name(key.type),
                  key.offset);
        } else {
            uint32_t bytes = 0;
            const uint8_t *data = btree_leaf_data(visit->data, i, &bytes);
            (void)data; /* only the length is shown */
            print(out,
                  "  item %" PRIu64 " %s 0x%" PRIx64 ": %" PRIu32 " byte(s)",
                  key.ino,
                  type_name(key.type),
                  key.offset,
                  bytes);
        }
    }
    return 0;
}

int fs_dump_tree(struct fs *fs, struct fs_thread *thread, const struct fs_print *out)
{
    struct fs_reader reader;
    struct fs_print copy = *out;
    fs_reader_init(&reader, fs, thread);
    fs_reader_lock(&reader);
    reader.may_load = true; /* one picture: changes wait until it is printed */
    int error = btree_walk(&reader, dump_node, &copy);
    bool again = fs_reader_again(&reader, &error);
    R5_CHECK(!again);
    return error;
}
