/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single items damaged (fsck_damage.h). */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "btree_node.h"
#include "fsck_damage.h"

struct fs_key inode_key(uint64_t ino)
{
    return fs_key(ino, FS_ITEM_INODE, 0);
}

struct fs_inode get_inode(struct journal *journal, uint64_t ino)
{
    struct fs_key key = inode_key(ino);
    struct fs_inode inode;
    uint32_t bytes = 0;
    const uint8_t *data = image_item(journal, &key, &bytes);
    ck_assert_ptr_null(inode_decode(&inode, ino, data, bytes));
    return inode;
}

void put_inode(struct journal *journal, const struct fs_inode *inode)
{
    struct fs_key key = inode_key(inode->ino);
    uint32_t bytes = 0;
    uint8_t *data = image_item(journal, &key, &bytes);
    inode_encode(inode, (struct fs_inode_disk *)(void *)data);
    image_seal(journal, image_leaf(journal, &key));
}

/* The entry of `dir` that names `ino`. */
static struct fs_key entry_of(struct journal *journal, uint64_t dir, uint64_t ino)
{
    struct fs_key key = image_first(journal, dir, FS_ITEM_DIRENT);
    for (;;) {
        uint32_t bytes = 0;
        struct fs_dirent_disk disk;
        memcpy(&disk, image_item(journal, &key, &bytes), sizeof(disk));
        if (le64_get(disk.ino) == ino) {
            return key;
        }
        ck_assert(image_next(journal, &key));
    }
}

struct fs_extent_disk get_extent(struct journal *journal, const struct fs_key *key)
{
    struct fs_extent_disk disk;
    uint32_t bytes = 0;
    memcpy(&disk, image_item(journal, key, &bytes), sizeof(disk));
    return disk;
}

static void
put_extent(struct journal *journal, const struct fs_key *key, const struct fs_extent_disk *disk)
{
    uint32_t bytes = 0;
    memcpy(image_item(journal, key, &bytes), disk, sizeof(*disk));
    image_seal(journal, image_leaf(journal, key));
}
static void record_of_no_type(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.other);
    inode.mode = 0644;
    put_inode(journal, &inode);
    WANT("inode %llu: inode record", LL(sample.other));
}

static void no_root(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    image_remove_item(journal, &key);
    WANT("inode 1: ");
}

static void root_is_file(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, FS_ROOT_INO);
    inode.mode = S_IFREG | 0644;
    put_inode(journal, &inode);
    WANT("inode 1: the root is no directory");
}

static void no_directory_record(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(sample.sub);
    image_remove_item(journal, &key);
    WANT("inode %llu: has entries, but no record", LL(sample.sub));
}

static void no_file_record(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(sample.file);
    image_remove_item(journal, &key);
    WANT("inode %llu: extent", LL(sample.file));
}

static void wrong_nlink(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.twice);
    inode.nlink = 1;
    put_inode(journal, &inode);
    WANT("inode %llu: link count is 1, should be 2", LL(sample.twice));
}

static void wrong_directory_nlink(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.dir);
    inode.nlink = 9;
    put_inode(journal, &inode);
    WANT("inode %llu: link count is 9, should be 4", LL(sample.dir));
}

static void wrong_directory_size(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.many);
    inode.size = 1;
    put_inode(journal, &inode);
    WANT("inode %llu: number of entries is 1, should be %u", LL(sample.many), sample.many_files);
}

static void wrong_parent(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.deep);
    inode.parent = sample.many;
    put_inode(journal, &inode);
    WANT("inode %llu: parent is %llu, should be %llu",
         LL(sample.deep),
         LL(sample.many),
         LL(sample.sub));
}

static void wrong_blocks(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.file);
    inode.blocks += 3;
    put_inode(journal, &inode);
    WANT("inode %llu: block count is %llu", LL(sample.file), LL(inode.blocks));
}

static void wrong_presence(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.attributes);
    inode.presence = 0x80;
    put_inode(journal, &inode);
    WANT("inode %llu: presence", LL(sample.attributes));
}

static void wrong_time(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.other);
    inode.mtime.nanoseconds = 2000000000u;
    put_inode(journal, &inode);
    WANT("inode %llu: its record has impossible times", LL(sample.other));
}

static void entry_dropped(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    image_remove_item(journal, &key);
    WANT("inode %llu: no name leads to it", LL(sample.file));
}

static void directory_entry_dropped(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.sub);
    image_remove_item(journal, &key);
    WANT("inode %llu: no name leads to it", LL(sample.sub));
}

static void
put_entry(struct journal *journal, const struct fs_key *key, uint64_t ino, uint32_t mode)
{
    struct fs_dirent_disk disk;
    uint32_t bytes = 0;
    uint8_t *data = image_item(journal, key, &bytes);
    memcpy(&disk, data, sizeof(disk));
    disk.ino = le64_make(ino);
    disk.type = (uint8_t)(mode >> 12);
    memcpy(data, &disk, sizeof(disk));
    image_seal(journal, image_leaf(journal, key));
}

static void entry_to_nothing(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, 999999, S_IFREG);
    WANT("entry \"file\" (inode 999999) names an inode that does not exist");
}

static void entry_to_root(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, FS_ROOT_INO, S_IFDIR);
    WANT("entry \"file\" (inode 1) names the root");
}

static void entry_of_wrong_type(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, sample.file, S_IFLNK);
    WANT("entry \"file\" has type 120000, inode %llu has 100000", LL(sample.file));
}

static void second_name_of_directory(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, sample.deep, S_IFDIR);
    WANT("is a second name of directory %llu", LL(sample.deep));
}

static void entry_with_slash(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    uint32_t bytes = 0;
    image_item(journal, &key, &bytes)[FS_DIRENT_NAME_AT + 1] = '/';
    image_seal(journal, image_leaf(journal, &key));
    WANT("inode %llu: directory entry at %llu", LL(sample.dir), LL(key.offset));
}

static void entry_of_other_name(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    uint32_t bytes = 0;
    image_item(journal, &key, &bytes)[FS_DIRENT_NAME_AT] = 'F';
    image_seal(journal, image_leaf(journal, &key));
    WANT("entry \"File\" at %llu is not where its hash says", LL(key.offset));
}

/* /dir/sub becomes an entry of /dir/sub/deep. */
static void loop_of_directories(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key from = entry_of(journal, sample.dir, sample.sub);
    struct fs_key key = image_first(journal, sample.deep, FS_ITEM_DIRENT);
    put_entry(journal, &key, sample.sub, S_IFDIR);
    image_remove_item(journal, &from);
    WANT("directory is below itself");
}

static void extent_shared(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key victim = image_first(journal, sample.other, FS_ITEM_EXTENT);
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk first = get_extent(journal, &key);
    struct fs_extent_disk disk = get_extent(journal, &victim);
    disk.start = first.start;
    put_extent(journal, &victim, &disk);
    WANT("inode %llu: extent at file block 0 (blocks %llu",
         LL(sample.other),
         LL(le64_get(first.start)));
}

static void extent_over_node(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(super.tree_root.nr);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_outside(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(fake_volume_blocks(journal) - 1);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_over_super(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(0);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extents_overlap(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    struct fs_key next = key;
    ck_assert(image_next(journal, &next));
    disk.length = le32_make((uint32_t)next.offset + 1);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at %llu", LL(sample.file), LL(next.offset));
}

static void extent_of_no_length(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.length = le32_make(0);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_behind_end(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.file);
    inode.size = 2 * BLOCK_BYTES + 5;
    put_inode(journal, &inode);
    WANT("inode %llu: extent at file block 1 has contents behind the end", LL(sample.file));
}

static void symlink_of_wrong_size(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.symlink);
    inode.size = 17;
    put_inode(journal, &inode);
    WANT("inode %llu: symlink of size 17", LL(sample.symlink));
}

static void symlink_without_start(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = fs_key(sample.symlink, FS_ITEM_SYMLINK, 0);
    image_remove_item(journal, &key);
    WANT("inode %llu: symlink's target is lost", LL(sample.symlink));
}

static void attribute_piece_missing(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.attributes, FS_ITEM_XATTR_CHUNK);
    key.offset++;
    image_remove_item(journal, &key);
    WANT("inode %llu: attribute at", LL(sample.attributes));
}

static void attribute_missing(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.attributes, FS_ITEM_XATTR);
    do {
        uint32_t bytes = 0;
        struct fs_xattr_disk disk;
        memcpy(&disk, image_item(journal, &key, &bytes), sizeof(disk));
        if (disk.flags == FS_XATTR_CHUNKED) {
            break;
        }
        ck_assert(image_next(journal, &key));
    } while (true);
    image_remove_item(journal, &key);
    WANT("inode %llu: piece of an attribute", LL(sample.attributes));
}

static void attribute_list_wrong(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.attributes, FS_ITEM_XATTR);
    for (;;) {
        uint32_t bytes = 0;
        uint8_t *data = image_item(journal, &key, &bytes);
        const char name[] = "system.posix_acl_access";
        size_t at = sizeof(struct fs_xattr_disk);
        if (bytes > at + sizeof(name) && memcmp(data + at, name, sizeof(name) - 1) == 0) {
            data[at + sizeof(name) - 1 + 4] = 0x77;
            break;
        }
        ck_assert(image_next(journal, &key));
    }
    image_seal(journal, image_leaf(journal, &key));
    WANT("inode %llu: attribute at %llu", LL(sample.attributes), LL(key.offset));
}

static void mode_against_list(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.attributes);
    inode.mode ^= 0070;
    put_inode(journal, &inode);
    WANT("inode %llu: mode is 100721, but its access list says 100751", LL(sample.attributes));
}

static void attribute_number_low(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_inode inode = get_inode(journal, sample.attributes);
    inode.xattr_next = 0;
    put_inode(journal, &inode);
    WANT("inode %llu: number of the next large attribute is 0", LL(sample.attributes));
}

static void item_of_unknown_kind(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.kept, FS_ITEM_EXTENT);
    struct fs_key last = key;
    struct fs_key to = {sample.kept, 200, 5};
    while (image_next(journal, &last) && last.type == FS_ITEM_EXTENT) {
        key = last; /* behind it comes nothing: the keys stay in order */
    }
    image_rekey(journal, &key, &to);
    WANT("inode %llu: unknown item", LL(sample.kept));
}

static void orphan_of_nobody(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    struct fs_key orphan = fs_key(0, FS_ITEM_ORPHAN, 888888);
    const struct fs_orphan_disk disk = {.what = le32_make(FS_ORPHAN_DELETE)};
    struct fs_block leaf = image_leaf(journal, &key);
    ck_assert(btree_leaf_fits(fake_block_bytes(journal, leaf), sizeof(disk)));
    btree_leaf_insert(fake_block_bytes(journal, leaf), 0, &orphan, &disk, sizeof(disk));
    image_seal(journal, leaf);
    WANT("inode 888888: has an orphan record, but does not exist");
}

static void orphan_in_use(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    struct fs_key orphan = fs_key(0, FS_ITEM_ORPHAN, sample.file);
    const struct fs_orphan_disk disk = {.what = le32_make(FS_ORPHAN_DELETE)};
    struct fs_block leaf = image_leaf(journal, &key);
    ck_assert(btree_leaf_fits(fake_block_bytes(journal, leaf), sizeof(disk)));
    btree_leaf_insert(fake_block_bytes(journal, leaf), 0, &orphan, &disk, sizeof(disk));
    image_seal(journal, leaf);
    WANT("inode %llu: is in use, but its orphan record says to delete it", LL(sample.file));
}
const struct damage_case damage_items[] = {
    DAMAGE(record_of_no_type, true),
    DAMAGE(no_root, false),
    DAMAGE(root_is_file, false),
    DAMAGE(no_directory_record, false),
    DAMAGE(no_file_record, true),
    DAMAGE(wrong_nlink, false),
    DAMAGE(wrong_directory_nlink, false),
    DAMAGE(wrong_directory_size, false),
    DAMAGE(wrong_parent, false),
    DAMAGE(wrong_blocks, false),
    DAMAGE(wrong_presence, false),
    DAMAGE(wrong_time, false),
    DAMAGE(entry_dropped, false),
    DAMAGE(directory_entry_dropped, false),
    DAMAGE(entry_to_nothing, false),
    DAMAGE(entry_to_root, false),
    DAMAGE(entry_of_wrong_type, false),
    DAMAGE(second_name_of_directory, false),
    DAMAGE(entry_with_slash, false),
    DAMAGE(entry_of_other_name, false),
    DAMAGE(loop_of_directories, false),
    DAMAGE(extent_shared, false),
    DAMAGE(extent_over_node, false),
    DAMAGE(extent_outside, false),
    DAMAGE(extent_over_super, false),
    DAMAGE(extents_overlap, false),
    DAMAGE(extent_of_no_length, false),
    DAMAGE(extent_behind_end, false),
    DAMAGE(symlink_of_wrong_size, false),
    DAMAGE(symlink_without_start, true),
    DAMAGE(attribute_piece_missing, false),
    DAMAGE(attribute_missing, false),
    DAMAGE(attribute_list_wrong, false),
    DAMAGE(mode_against_list, false),
    DAMAGE(attribute_number_low, false),
    DAMAGE(item_of_unknown_kind, false),
    DAMAGE(orphan_of_nobody, false),
    DAMAGE(orphan_in_use, false),
};

const size_t damage_item_count = sizeof(damage_items) / sizeof(damage_items[0]);
