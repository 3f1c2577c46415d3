/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Supers, tree nodes, bitmaps and summaries damaged (fsck_damage.h). */
#include <stdio.h>
#include <string.h>

#include "btree_node.h"
#include "fsck_damage.h"

struct sample sample;

static void zero_super(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    image_zero(journal, fs_block(0));
    WANT("block 0");
}

static void zero_copy(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_super_copy_address(&super));
    WANT("block %llu: the copy", LL(fs_super_copy_address(&super).nr));
}

/* A super lost when the copy is only good for what never changes: as after a crash. */
static void zero_super_of_crashed(struct journal *journal, char want[DAMAGE_WANT_BYTES])
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

static void wrong_free_count(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    super.free_blocks -= 5;
    image_set_super(journal, &super, true);
    WANT("fs super: number of free blocks is %llu", LL(super.free_blocks));
}

static void wrong_inode_count(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    super.inode_count += 7;
    image_set_super(journal, &super, true);
    WANT("fs super: number of inodes is %llu", LL(super.inode_count));
}

static void low_next_ino(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    super.next_ino = sample.file;
    image_set_super(journal, &super, true);
    WANT("fs super: next inode number is %llu", LL(sample.file));
}

static void zero_root(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, super.tree_root);
    WANT("node %llu:", LL(super.tree_root.nr));
}

static void zero_leaf(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = image_first(journal, sample.many, FS_ITEM_DIRENT);
    struct fs_block leaf = image_leaf(journal, &key);
    image_zero(journal, leaf);
    WANT("node %llu:", LL(leaf.nr));
}

static void zero_first_leaf(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(FS_ROOT_INO);
    struct fs_block leaf = image_leaf(journal, &key);
    image_zero(journal, leaf);
    WANT("node %llu:", LL(leaf.nr));
}

static void flip_leaf(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_key key = inode_key(sample.kept);
    struct fs_block leaf = image_leaf(journal, &key);
    fake_block_bytes(journal, leaf)[2000] ^= 0x10;
    fake_block_changed(journal, leaf);
    WANT("node %llu: checksum", LL(leaf.nr));
}

static void leaf_of_other_address(struct journal *journal, char want[DAMAGE_WANT_BYTES])
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

static void child_twice(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_block child = btree_child(root_node(journal), 1);
    set_root_child(journal, 3, child);
    WANT("node %llu: is reached twice", LL(child.nr));
}

static void child_is_root(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    set_root_child(journal, 2, super.tree_root);
    WANT("node %llu: is reached twice", LL(super.tree_root.nr));
}

static void child_outside(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    set_root_child(journal, 2, fs_block(UINT64_C(1) << 60));
    WANT("node %llu: no node can be there", LL(UINT64_C(1) << 60));
}

static void child_is_bitmap(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    set_root_child(journal, 2, fs_group_bitmap(&super, 0));
    WANT("node %llu: no node can be there", LL(fs_group_bitmap(&super, 0).nr));
}

static void wrong_bound(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    uint8_t *root = root_node(journal);
    struct fs_key key = btree_node_key(root, 2);
    key.offset++;
    btree_child_set_key(root, 2, &key);
    image_seal(journal, super.tree_root);
    WANT("node %llu: keys begin", LL(btree_child(root, 2).nr));
}

static void wrong_levels(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    super.tree_levels++;
    image_set_super(journal, &super, true);
    WANT("node %llu: wrong level", LL(super.tree_root.nr));
}
static void zero_bitmap(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_group_bitmap(&super, 0));
    WANT("block %llu: of group 0", LL(fs_group_bitmap(&super, 0).nr));
}

static void zero_summary(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    image_zero(journal, fs_group_summary(&super, 0));
    WANT("block %llu: of group 0", LL(fs_group_summary(&super, 0).nr));
}

static void wrong_summary(struct journal *journal, char want[DAMAGE_WANT_BYTES])
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

static void used_marked_free(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    flip_bits(journal, super.tree_root, (uint8_t)(1u << super.tree_root.nr % 8));
    WANT("group 0: bitmap in block 1: 1 blocks in use are marked as free, the first is %llu",
         LL(super.tree_root.nr));
}

static void free_marked_used(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    struct fs_block last = fs_block(super.volume_blocks - 16);
    flip_bits(journal, last, 0xff);
    WANT("group 0: bitmap in block 1: 8 blocks are marked as used, but nothing uses them");
}

static void everything_free(struct journal *journal, char want[DAMAGE_WANT_BYTES])
{
    struct fs_super super = image_super(journal);
    struct fs_block bitmap = fs_group_bitmap(&super, 0);
    memset(
        fake_block_bytes(journal, bitmap) + sizeof(struct fs_block_header), 0, FS_BITMAP_BITS / 8);
    image_seal(journal, bitmap);
    WANT("blocks in use are marked as free, the first is 0");
}
const struct damage_case damage_blocks[] = {
    DAMAGE(zero_super, false),
    DAMAGE(zero_copy, false),
    DAMAGE(zero_super_of_crashed, false),
    DAMAGE(wrong_free_count, false),
    DAMAGE(wrong_inode_count, false),
    DAMAGE(low_next_ino, false),
    DAMAGE(zero_root, false),
    DAMAGE(zero_leaf, false), /* of entries only: lost+found has the files */
    DAMAGE(zero_first_leaf, true),
    DAMAGE(flip_leaf, true),
    DAMAGE(leaf_of_other_address, true),
    DAMAGE(child_twice, false),
    DAMAGE(child_is_root, false),
    DAMAGE(child_outside, false),
    DAMAGE(child_is_bitmap, false),
    DAMAGE(wrong_bound, false),
    DAMAGE(wrong_levels, false),
    DAMAGE(zero_bitmap, false),
    DAMAGE(zero_summary, false),
    DAMAGE(wrong_summary, false),
    DAMAGE(used_marked_free, false),
    DAMAGE(free_marked_used, false),
    DAMAGE(everything_free, false),
};

const size_t damage_block_count = sizeof(damage_blocks) / sizeof(damage_blocks[0]);

static const struct damage_case *
find_named(const struct damage_case *cases, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return &cases[i];
        }
    }
    return NULL;
}

const struct damage_case *damage_named(const char *name)
{
    const struct damage_case *found = find_named(damage_blocks, damage_block_count, name);
    if (found == NULL) {
        found = find_named(damage_items, damage_item_count, name);
    }
    ck_assert_msg(found != NULL, "no damage \"%s\"", name);
    return found;
}
