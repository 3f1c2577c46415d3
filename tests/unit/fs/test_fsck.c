/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check on damaged images: each structure is damaged in turn; the check without repair must name the
 * place, the repair must make it clean, and what is left must be usable.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "btree_node.h"
#include "fsck_kit.h"
#include "name.h"

#define MANY_FILES 700u

static struct sample sample;
static struct check_run run;

static void setup(void)
{
    sample_make(&sample, 0, MANY_FILES);
}

static void teardown(void)
{
    fake_journal_free(sample.journal);
}

static struct fs_key inode_key(uint64_t ino)
{
    return fs_key(ino, FS_ITEM_INODE, 0);
}

static struct fs_inode get_inode(struct journal *journal, uint64_t ino)
{
    struct fs_key key = inode_key(ino);
    struct fs_inode inode;
    uint32_t bytes = 0;
    const uint8_t *data = image_item(journal, &key, &bytes);
    ck_assert_ptr_null(inode_decode(&inode, ino, data, bytes));
    return inode;
}

static void put_inode(struct journal *journal, const struct fs_inode *inode)
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

static struct fs_extent_disk get_extent(struct journal *journal, const struct fs_key *key)
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

/* ---- damages ------------------------------------------------------------------------------------ */

/* Each changes the image and says what the check has to name. */
typedef void (*damage)(struct journal *journal, char want[128]);

#define WANT(...) ((void)snprintf(want, 128, __VA_ARGS__))
#define LL(x)     ((unsigned long long)(x))

static void zero_super(struct journal *journal, char want[128])
{
    image_zero(journal, fs_block(0));
    WANT("block 0");
}

static void zero_copy(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_super_copy_address(&super));
    WANT("block %llu: the copy", LL(fs_super_copy_address(&super).nr));
}

/* A super lost when the copy is only good for what never changes: as after a crash. */
static void zero_super_of_crashed(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    struct fs_super old = super;
    old.flags |= FS_SUPER_MOUNTED;
    old.tree_root = fs_block(4);
    old.tree_levels = 1;
    old.next_ino = 2;
    old.inode_count = 1;
    image_set_super(journal, &old, true);
    image_zero(journal, fs_block(0));
    WANT("block 0");
}

static void wrong_free_count(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    super.free_blocks -= 5;
    image_set_super(journal, &super, true);
    WANT("fs super: number of free blocks is %llu", LL(super.free_blocks));
}

static void wrong_inode_count(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    super.inode_count += 7;
    image_set_super(journal, &super, true);
    WANT("fs super: number of inodes is %llu", LL(super.inode_count));
}

static void low_next_ino(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    super.next_ino = sample.file;
    image_set_super(journal, &super, true);
    WANT("fs super: next inode number is %llu", LL(sample.file));
}

static void zero_root(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, super.tree_root);
    WANT("node %llu:", LL(super.tree_root.nr));
}

static void zero_leaf(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.many, FS_ITEM_DIRENT);
    struct fs_block leaf = image_leaf(journal, &key);
    image_zero(journal, leaf);
    WANT("node %llu:", LL(leaf.nr));
}

static void zero_first_leaf(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    struct fs_block leaf = image_leaf(journal, &key);
    image_zero(journal, leaf);
    WANT("node %llu:", LL(leaf.nr));
}

static void flip_leaf(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(sample.kept);
    struct fs_block leaf = image_leaf(journal, &key);
    fake_block_bytes(journal, leaf)[2000] ^= 0x10;
    fake_block_changed(journal, leaf);
    WANT("node %llu: checksum", LL(leaf.nr));
}

static void leaf_of_other_address(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(sample.kept);
    struct fs_block leaf = image_leaf(journal, &key);
    struct fs_block_header header;
    memcpy(&header, fake_block_bytes(journal, leaf), sizeof(header));
    header.address = le64_make(leaf.nr + 1);
    memcpy(fake_block_bytes(journal, leaf), &header, sizeof(header));
    image_seal(journal, leaf);
    WANT("node %llu: written for another address", LL(leaf.nr));
}

static uint8_t *root_node(struct journal *journal)
{
    struct fs_super super = image_super(journal);
    uint8_t *root = fake_block_bytes(journal, super.tree_root);
    ck_assert_uint_gt(btree_node_level(root), 0);
    ck_assert_uint_gt(btree_node_count(root), 4);
    return root;
}

static void set_root_child(struct journal *journal, uint32_t slot, struct fs_block child)
{
    struct fs_super super = image_super(journal);
    uint8_t *root = root_node(journal);
    struct fs_key key = btree_node_key(root, slot);
    btree_child_remove(root, slot);
    btree_child_insert(root, slot, &key, child);
    image_seal(journal, super.tree_root);
}

static void child_twice(struct journal *journal, char want[128])
{
    struct fs_block child = btree_child(root_node(journal), 1);
    set_root_child(journal, 3, child);
    WANT("node %llu: is reached twice", LL(child.nr));
}

static void child_is_root(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    set_root_child(journal, 2, super.tree_root);
    WANT("node %llu: is reached twice", LL(super.tree_root.nr));
}

static void child_outside(struct journal *journal, char want[128])
{
    set_root_child(journal, 2, fs_block(UINT64_C(1) << 60));
    WANT("node %llu: no node can be there", LL(UINT64_C(1) << 60));
}

static void child_is_bitmap(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    set_root_child(journal, 2, fs_group_bitmap(&super, 0));
    WANT("node %llu: no node can be there", LL(fs_group_bitmap(&super, 0).nr));
}

static void wrong_bound(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    uint8_t *root = root_node(journal);
    struct fs_key key = btree_node_key(root, 2);
    key.offset++;
    btree_child_set_key(root, 2, &key);
    image_seal(journal, super.tree_root);
    WANT("node %llu: keys begin", LL(btree_child(root, 2).nr));
}

static void wrong_levels(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    super.tree_levels++;
    image_set_super(journal, &super, true);
    WANT("node %llu: wrong level", LL(super.tree_root.nr));
}

static void record_of_no_type(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.other);
    inode.mode = 0644;
    put_inode(journal, &inode);
    WANT("inode %llu: inode record", LL(sample.other));
}

static void no_root(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    image_remove_item(journal, &key);
    WANT("inode 1: ");
}

static void root_is_file(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, FS_ROOT_INO);
    inode.mode = S_IFREG | 0644;
    put_inode(journal, &inode);
    WANT("inode 1: the root is no directory");
}

static void no_directory_record(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(sample.sub);
    image_remove_item(journal, &key);
    WANT("inode %llu: has entries, but no record", LL(sample.sub));
}

static void no_file_record(struct journal *journal, char want[128])
{
    struct fs_key key = inode_key(sample.file);
    image_remove_item(journal, &key);
    WANT("inode %llu: extent", LL(sample.file));
}

static void wrong_nlink(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.twice);
    inode.nlink = 1;
    put_inode(journal, &inode);
    WANT("inode %llu: link count is 1, should be 2", LL(sample.twice));
}

static void wrong_directory_nlink(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.dir);
    inode.nlink = 9;
    put_inode(journal, &inode);
    WANT("inode %llu: link count is 9, should be 3", LL(sample.dir));
}

static void wrong_directory_size(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.many);
    inode.size = 1;
    put_inode(journal, &inode);
    WANT("inode %llu: number of entries is 1, should be %u", LL(sample.many), MANY_FILES);
}

static void wrong_parent(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.deep);
    inode.parent = sample.many;
    put_inode(journal, &inode);
    WANT("inode %llu: parent is %llu, should be %llu",
         LL(sample.deep),
         LL(sample.many),
         LL(sample.sub));
}

static void wrong_blocks(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.file);
    inode.blocks += 3;
    put_inode(journal, &inode);
    WANT("inode %llu: block count is %llu", LL(sample.file), LL(inode.blocks));
}

static void wrong_presence(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.attributes);
    inode.presence = 0x80;
    put_inode(journal, &inode);
    WANT("inode %llu: presence", LL(sample.attributes));
}

static void wrong_time(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.other);
    inode.mtime.nanoseconds = 2000000000u;
    put_inode(journal, &inode);
    WANT("inode %llu: its record has impossible times", LL(sample.other));
}

static void entry_dropped(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    image_remove_item(journal, &key);
    WANT("inode %llu: no name leads to it", LL(sample.file));
}

static void directory_entry_dropped(struct journal *journal, char want[128])
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

static void entry_to_nothing(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, 999999, S_IFREG);
    WANT("entry \"file\" (inode 999999) names an inode that does not exist");
}

static void entry_to_root(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, FS_ROOT_INO, S_IFDIR);
    WANT("entry \"file\" (inode 1) names the root");
}

static void entry_of_wrong_type(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, sample.file, S_IFLNK);
    WANT("entry \"file\" has type 120000, inode %llu has 100000", LL(sample.file));
}

static void second_name_of_directory(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    put_entry(journal, &key, sample.deep, S_IFDIR);
    WANT("is a second name of directory %llu", LL(sample.deep));
}

static void entry_with_slash(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    uint32_t bytes = 0;
    image_item(journal, &key, &bytes)[FS_DIRENT_NAME_AT + 1] = '/';
    image_seal(journal, image_leaf(journal, &key));
    WANT("inode %llu: directory entry at %llu", LL(sample.dir), LL(key.offset));
}

static void entry_of_other_name(struct journal *journal, char want[128])
{
    struct fs_key key = entry_of(journal, sample.dir, sample.file);
    uint32_t bytes = 0;
    image_item(journal, &key, &bytes)[FS_DIRENT_NAME_AT] = 'F';
    image_seal(journal, image_leaf(journal, &key));
    WANT("entry \"File\" at %llu is not where its hash says", LL(key.offset));
}

/* /dir/sub becomes an entry of /dir/sub/deep. */
static void loop_of_directories(struct journal *journal, char want[128])
{
    struct fs_key from = entry_of(journal, sample.dir, sample.sub);
    struct fs_key key = image_first(journal, sample.deep, FS_ITEM_DIRENT);
    put_entry(journal, &key, sample.sub, S_IFDIR);
    image_remove_item(journal, &from);
    WANT("directory is below itself");
}

static void extent_shared(struct journal *journal, char want[128])
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

static void extent_over_node(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(super.tree_root.nr);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_outside(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(fake_volume_blocks(journal) - 1);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_over_super(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.start = le64_make(0);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extents_overlap(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    struct fs_key next = key;
    ck_assert(image_next(journal, &next));
    disk.length = le32_make((uint32_t)next.offset + 1);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at %llu", LL(sample.file), LL(next.offset));
}

static void extent_of_no_length(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.file, FS_ITEM_EXTENT);
    struct fs_extent_disk disk = get_extent(journal, &key);
    disk.length = le32_make(0);
    put_extent(journal, &key, &disk);
    WANT("inode %llu: extent at 0", LL(sample.file));
}

static void extent_behind_end(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.file);
    inode.size = 2 * BLOCK_BYTES + 5;
    put_inode(journal, &inode);
    WANT("inode %llu: extent at file block 1 has contents behind the end", LL(sample.file));
}

static void symlink_of_wrong_size(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.symlink);
    inode.size = 17;
    put_inode(journal, &inode);
    WANT("inode %llu: symlink of size 17", LL(sample.symlink));
}

static void symlink_without_start(struct journal *journal, char want[128])
{
    struct fs_key key = fs_key(sample.symlink, FS_ITEM_SYMLINK, 0);
    image_remove_item(journal, &key);
    WANT("inode %llu: symlink's target is lost", LL(sample.symlink));
}

static void attribute_piece_missing(struct journal *journal, char want[128])
{
    struct fs_key key = image_first(journal, sample.attributes, FS_ITEM_XATTR_CHUNK);
    key.offset++;
    image_remove_item(journal, &key);
    WANT("inode %llu: attribute at", LL(sample.attributes));
}

static void attribute_missing(struct journal *journal, char want[128])
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

static void attribute_list_wrong(struct journal *journal, char want[128])
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

static void attribute_number_low(struct journal *journal, char want[128])
{
    struct fs_inode inode = get_inode(journal, sample.attributes);
    inode.xattr_next = 0;
    put_inode(journal, &inode);
    WANT("inode %llu: number of the next large attribute is 0", LL(sample.attributes));
}

static void item_of_unknown_kind(struct journal *journal, char want[128])
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

static void orphan_of_nobody(struct journal *journal, char want[128])
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

static void orphan_in_use(struct journal *journal, char want[128])
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

static void zero_bitmap(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_group_bitmap(&super, 0));
    WANT("block %llu: of group 0", LL(fs_group_bitmap(&super, 0).nr));
}

static void zero_summary(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_group_summary(&super, 0));
    WANT("block %llu: of group 0", LL(fs_group_summary(&super, 0).nr));
}

static void wrong_summary(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    struct fs_block block = fs_group_summary(&super, 0);
    fake_block_bytes(journal, block)[offsetof(struct fs_summary_disk, groups)] ^= 1;
    image_seal(journal, block);
    WANT("group 0: summary in block %llu", LL(block.nr));
}

static void flip_bits(struct journal *journal, struct fs_block block, uint8_t mask)
{
    struct fs_super super = image_super(journal);
    struct fs_block bitmap = fs_group_bitmap(&super, 0);
    uint8_t *bits = fake_block_bytes(journal, bitmap) + sizeof(struct fs_block_header);
    bits[block.nr / 8] ^= mask;
    image_seal(journal, bitmap);
}

static void used_marked_free(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    flip_bits(journal, super.tree_root, (uint8_t)(1u << super.tree_root.nr % 8));
    WANT("group 0: bitmap in block 1: 1 blocks in use are marked as free, the first is %llu",
         LL(super.tree_root.nr));
}

static void free_marked_used(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    struct fs_block last = fs_block(super.volume_blocks - 16);
    flip_bits(journal, last, 0xff);
    WANT("group 0: bitmap in block 1: 8 blocks are marked as used, but nothing uses them");
}

static void everything_free(struct journal *journal, char want[128])
{
    struct fs_super super = image_super(journal);
    struct fs_block bitmap = fs_group_bitmap(&super, 0);
    memset(
        fake_block_bytes(journal, bitmap) + sizeof(struct fs_block_header), 0, FS_BITMAP_BITS / 8);
    image_seal(journal, bitmap);
    WANT("blocks in use are marked as free, the first is 0");
}

struct damage_case {
    const char *name;
    damage apply;
    bool loses; /* inodes may be gone afterwards */
};

#define CASE(function, loses)          \
    {                                  \
#function, (function), (loses) \
    }

static const struct damage_case cases[] = {
    CASE(zero_super, false),
    CASE(zero_copy, false),
    CASE(zero_super_of_crashed, false),
    CASE(wrong_free_count, false),
    CASE(wrong_inode_count, false),
    CASE(low_next_ino, false),
    CASE(zero_root, false),
    CASE(zero_leaf, false), /* of entries only: lost+found has the files */
    CASE(zero_first_leaf, true),
    CASE(flip_leaf, true),
    CASE(leaf_of_other_address, true),
    CASE(child_twice, false),
    CASE(child_is_root, false),
    CASE(child_outside, false),
    CASE(child_is_bitmap, false),
    CASE(wrong_bound, false),
    CASE(wrong_levels, false),
    CASE(record_of_no_type, true),
    CASE(no_root, false),
    CASE(root_is_file, false),
    CASE(no_directory_record, false),
    CASE(no_file_record, true),
    CASE(wrong_nlink, false),
    CASE(wrong_directory_nlink, false),
    CASE(wrong_directory_size, false),
    CASE(wrong_parent, false),
    CASE(wrong_blocks, false),
    CASE(wrong_presence, false),
    CASE(wrong_time, false),
    CASE(entry_dropped, false),
    CASE(directory_entry_dropped, false),
    CASE(entry_to_nothing, false),
    CASE(entry_to_root, false),
    CASE(entry_of_wrong_type, false),
    CASE(second_name_of_directory, false),
    CASE(entry_with_slash, false),
    CASE(entry_of_other_name, false),
    CASE(loop_of_directories, false),
    CASE(extent_shared, false),
    CASE(extent_over_node, false),
    CASE(extent_outside, false),
    CASE(extent_over_super, false),
    CASE(extents_overlap, false),
    CASE(extent_of_no_length, false),
    CASE(extent_behind_end, false),
    CASE(symlink_of_wrong_size, false),
    CASE(symlink_without_start, true),
    CASE(attribute_piece_missing, false),
    CASE(attribute_missing, false),
    CASE(attribute_list_wrong, false),
    CASE(attribute_number_low, false),
    CASE(item_of_unknown_kind, false),
    CASE(orphan_of_nobody, false),
    CASE(orphan_in_use, false),
    CASE(zero_bitmap, false),
    CASE(zero_summary, false),
    CASE(wrong_summary, false),
    CASE(used_marked_free, false),
    CASE(free_marked_used, false),
    CASE(everything_free, false),
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

#define SAMPLE_INODES (SAMPLE_OTHERS + MANY_FILES)
#define SAMPLE_NAMES  (SAMPLE_INODES + 1u) /* one file has two */

START_TEST(a_sound_filesystem_is_clean)
{
    struct journal *journal = sample_image(&sample);
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    ck_assert_str_eq(run.text, "");
    ck_assert_uint_eq(run.result.directories, 5);
    ck_assert_uint_eq(run.result.files + run.result.directories, SAMPLE_INODES);
    uint64_t commits = fake_commit_count(journal);
    ck_assert_int_eq(check_run(journal, true, &run), 0);
    ck_assert_uint_eq(run.result.problems, 0);
    ck_assert_uint_eq(fake_commit_count(journal), commits);
    ck_assert_uint_eq(check_walk(journal), SAMPLE_NAMES);
    fake_journal_free(journal);
}
END_TEST

START_TEST(damage_is_named_without_writing)
{
    char want[128] = "";
    const struct damage_case *now = &cases[_i];
    struct journal *journal = sample_image(&sample);
    now->apply(journal, want);
    int error = check_run(journal, false, &run);
    ck_assert_msg(error == 0, "%s: error %d\n%s", now->name, error, run.text);
    ck_assert_msg(run.result.problems > 0, "%s: not found", now->name);
    ck_assert_uint_eq(run.result.repaired, 0);
    ck_assert_msg(
        strstr(run.text, want) != NULL, "%s: no \"%s\" in\n%s", now->name, want, run.text);
    ck_assert_uint_eq(fake_commit_count(journal), 0);
    fake_journal_free(journal);
}
END_TEST

START_TEST(damage_is_repaired)
{
    char want[128] = "";
    const struct damage_case *now = &cases[_i];
    struct journal *journal = sample_image(&sample);
    now->apply(journal, want);
    check_repairs(journal, &run);
    ck_assert_msg(
        strstr(run.text, want) != NULL, "%s: no \"%s\" in\n%s", now->name, want, run.text);
    uint64_t inodes = check_walk(journal);
    if (now->loses) {
        ck_assert_uint_gt(inodes, SAMPLE_INODES / 2);
    } else {
        ck_assert_msg(
            inodes >= SAMPLE_INODES, "%s: %llu names left\n%s", now->name, LL(inodes), run.text);
    }
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s: after a mount\n%s", now->name, run.text);
    fake_journal_free(journal);
}
END_TEST

/* ---- what cannot be repaired -------------------------------------------------------------------- */

START_TEST(a_volume_without_filesystem_is_said_to_be_one)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_super_copy_address(&super));
    image_zero(journal, fs_block(0));
    ck_assert_int_eq(check_run(journal, true, &run), -EMEDIUMTYPE);
    ck_assert_uint_eq(fake_commit_count(journal), 0);
    fake_journal_free(journal);
}
END_TEST

START_TEST(two_bad_supers_are_named_and_left)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    struct fs_block copy = fs_super_copy_address(&super);
    fake_block_bytes(journal, fs_block(0))[100] ^= 1;
    fake_block_changed(journal, fs_block(0));
    fake_block_bytes(journal, copy)[100] ^= 1;
    fake_block_changed(journal, copy);
    ck_assert_int_eq(check_run(journal, true, &run), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(run.text, "block 0"));
    ck_assert_uint_eq(fake_commit_count(journal), 0);
    fake_journal_free(journal);
}
END_TEST

START_TEST(an_unreadable_node_stops_all_repair)
{
    struct journal *journal = sample_image(&sample);
    struct fs_key key = inode_key(sample.kept);
    struct fs_block leaf = image_leaf(journal, &key);
    char want[128];
    struct fs_inode inode = get_inode(journal, sample.dir);
    inode.nlink = 9;
    put_inode(journal, &inode);
    WANT("block %llu: cannot be read", LL(leaf.nr));
    fake_fail_reads_of(journal, leaf);
    ck_assert_int_eq(check_run(journal, true, &run), 0);
    ck_assert_msg(strstr(run.text, want) != NULL, "%s", run.text);
    ck_assert_uint_gt(run.result.problems, 0);
    ck_assert_uint_eq(run.result.repaired, 0);
    ck_assert_uint_eq(fake_commit_count(journal), 0);
    fake_journal_free(journal);
}
END_TEST

START_TEST(a_failed_journal_is_not_written)
{
    struct journal *journal = sample_image(&sample);
    struct fs_inode inode = get_inode(journal, sample.dir);
    inode.nlink = 9;
    put_inode(journal, &inode);
    fake_fail_commits(journal);
    ck_assert_int_eq(check_run(journal, true, &run), 0);
    ck_assert_uint_eq(run.result.problems, 1);
    ck_assert_uint_eq(run.result.repaired, 0);
    ck_assert_ptr_nonnull(strstr(run.text, "nothing is repaired"));
    fake_journal_free(journal);
}
END_TEST

/* ---- what repair must keep ---------------------------------------------------------------------- */

/* The file's bytes, whoever claims its blocks. */
static void expect_byte(struct journal *journal, uint64_t ino, uint64_t offset, uint8_t byte)
{
    static _Alignas(BLOCK_BYTES) uint8_t buffer[FS_IO_BYTES_MAX + 2 * BLOCK_BYTES];
    struct kit kit;
    uint32_t skip = 0;
    uint32_t done = 0;
    kit_init_at(&kit, journal);
    ck_assert_int_eq(fs_read(kit.fs, &kit.thread, ino, offset, 1, buffer, &skip, &done), 0);
    ck_assert_uint_eq(done, 1);
    ck_assert_uint_eq(buffer[skip], byte);
    kit_unmount(&kit);
    kit_thread_fini(&kit.thread);
}

START_TEST(files_that_shared_blocks_have_the_same_contents_apart)
{
    char want[128];
    struct journal *journal = sample_image(&sample);
    extent_shared(journal, want);
    struct fs_key key = image_first(journal, sample.other, FS_ITEM_EXTENT);
    struct fs_block block = fs_block(le64_get(get_extent(journal, &key).start));
    fake_block_bytes(journal, block)[100] = 'X';
    fake_block_changed(journal, block);
    check_repairs(journal, &run);
    expect_byte(journal, sample.file, 100, 'X');
    expect_byte(journal, sample.other, 100, 'X');
    key = image_first(journal, sample.other, FS_ITEM_EXTENT);
    ck_assert_uint_ne(le64_get(get_extent(journal, &key).start), block.nr);
    fake_journal_free(journal);
}
END_TEST

START_TEST(an_unlinked_file_in_use_is_no_problem)
{
    const struct fake_options options = {.trace = true};
    struct kit kit;
    struct fs_attr attr;
    uint64_t gone = 0;
    uint32_t done = 0;
    const struct fs_caller caller = {0};
    const struct fs_make make = {.mode = S_IFREG | 0600};
    const struct fs_name name = {"x", 1};
    kit_init(&kit, &options);
    ck_assert_int_eq(fs_make(kit.fs, &kit.thread, &caller, 1, name, &make, &attr), 0);
    ck_assert_int_eq(
        fs_write(kit.fs, &kit.thread, attr.ino, 0, (const uint8_t *)"x", 1, false, &done), 0);
    ck_assert_int_eq(fs_unlink(kit.fs, &kit.thread, 1, name, &gone), 0);
    ck_assert_uint_eq(gone, attr.ino);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    struct journal *left = fake_journal_crash(kit.journal);
    ck_assert_int_eq(check_run(left, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    ck_assert_uint_eq(check_walk(left), 1);
    ck_assert_int_eq(check_run(left, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    fake_journal_free(left);
    kit_fini(&kit);
}
END_TEST

struct cut {
    struct journal *journal; /* under repair */
    uint64_t units;
};

/* What is durable now, in a journal of its own. */
static struct journal *snapshot(struct journal *journal)
{
    struct journal *copy = sample_image(&sample);
    for (uint64_t i = 0; i < fake_volume_blocks(journal); i++) {
        const uint8_t *bytes = fake_block_bytes(journal, fs_block(i));
        if (memcmp(fake_block_bytes(copy, fs_block(i)), bytes, BLOCK_BYTES) != 0) {
            memcpy(fake_block_bytes(copy, fs_block(i)), bytes, BLOCK_BYTES);
            fake_block_changed(copy, fs_block(i));
        }
    }
    return copy;
}

static void repair_snapshot(void *context, uint64_t unit)
{
    static struct check_run again;
    struct cut *cut = context;
    (void)unit; /* counted here, the journal keeps no trace */
    if (cut->units++ % 7 == 0) {
        struct journal *left = snapshot(cut->journal);
        check_repairs(left, &again);
        ck_assert_uint_ge(check_walk(left), SAMPLE_INODES);
        fake_journal_free(left);
    }
}

START_TEST(a_repair_that_crashes_can_be_done_again)
{
    static const damage damages[] = {
        zero_leaf, zero_root, zero_super_of_crashed, extent_shared, no_root, zero_bitmap};
    char want[128];
    struct cut cut = {.journal = sample_image(&sample)};
    damages[_i](cut.journal, want);
    fake_on_unit(cut.journal, repair_snapshot, &cut);
    check_repairs(cut.journal, &run);
    ck_assert_uint_gt(cut.units, 0);
    fake_journal_free(cut.journal);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("fsck");
    TCase *named = tcase_create("damage");
    tcase_set_timeout(named, 60);
    tcase_add_unchecked_fixture(named, setup, teardown);
    tcase_add_test(named, a_sound_filesystem_is_clean);
    tcase_add_loop_test(named, damage_is_named_without_writing, 0, (int)CASES);
    tcase_add_loop_test(named, damage_is_repaired, 0, (int)CASES);
    suite_add_tcase(suite, named);
    TCase *rest = tcase_create("limits");
    tcase_set_timeout(rest, 120);
    tcase_add_unchecked_fixture(rest, setup, teardown);
    tcase_add_test(rest, a_volume_without_filesystem_is_said_to_be_one);
    tcase_add_test(rest, two_bad_supers_are_named_and_left);
    tcase_add_test(rest, an_unreadable_node_stops_all_repair);
    tcase_add_test(rest, a_failed_journal_is_not_written);
    tcase_add_test(rest, files_that_shared_blocks_have_the_same_contents_apart);
    tcase_add_test(rest, an_unlinked_file_in_use_is_no_problem);
    tcase_add_loop_test(rest, a_repair_that_crashes_can_be_done_again, 0, 6);
    suite_add_tcase(suite, rest);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(make_suite());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
