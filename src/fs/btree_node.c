/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of a tree node.
 *
 *   leaf:      | header | item item item -> ....... <- data data (hole) data |
 *                                           ^data_begin                      ^ end of block
 *   internal:  | header | child child child ->                               |
 *
 *   N1  keys ascend strictly
 *   N2  leaf: the items' data lie in [data_begin, end), do not overlap, and what they leave there
 *   is
 *       data_hole bytes
 *   N3  an internal node has at least one child
 *
 * btree_node_problem proves all of this for bytes from the disk; the other functions keep it and
 * check only what their callers promise. Pure functions.
 */
#include "btree_node.h"

#include <string.h>

#include "r5fs/base/bitmap.h"

#define HEADER_BYTES ((uint32_t)sizeof(struct fs_node_disk))
#define ITEM_BYTES   ((uint32_t)sizeof(struct fs_item_disk))
#define CHILD_BYTES  ((uint32_t)sizeof(struct fs_child_disk))

static struct fs_node_disk *node_header(uint8_t *node)
{
    return (struct fs_node_disk *)(void *)node; /* all members have alignment 1 */
}

static const struct fs_node_disk *node_header_const(const uint8_t *node)
{
    return (const struct fs_node_disk *)(const void *)node;
}

static uint32_t entry_bytes(const uint8_t *node)
{
    return node_header_const(node)->level == 0 ? ITEM_BYTES : CHILD_BYTES;
}

/* The entry of a slot; both kinds begin with the key. */
static uint8_t *entry_at(uint8_t *node, uint32_t slot)
{
    return node + HEADER_BYTES + (size_t)slot * entry_bytes(node);
}

static const uint8_t *entry_at_const(const uint8_t *node, uint32_t slot)
{
    return node + HEADER_BYTES + (size_t)slot * entry_bytes(node);
}

static struct fs_key key_from_disk(const uint8_t *raw)
{
    struct fs_key_disk disk;
    memcpy(&disk, raw, sizeof(disk));
    return (struct fs_key){le64_get(disk.ino), disk.type, le64_get(disk.offset)};
}

static struct fs_key_disk key_to_disk(const struct fs_key *key)
{
    return (struct fs_key_disk){le64_make(key->ino), key->type, le64_make(key->offset)};
}

static struct fs_item_disk item_at(const uint8_t *leaf, uint32_t slot)
{
    struct fs_item_disk item;
    memcpy(&item, leaf + HEADER_BYTES + (size_t)slot * ITEM_BYTES, sizeof(item));
    return item;
}

uint32_t btree_node_level(const uint8_t *node)
{
    return node_header_const(node)->level;
}

uint32_t btree_node_count(const uint8_t *node)
{
    return le16_get(node_header_const(node)->count);
}

static void set_count(uint8_t *node, uint32_t count)
{
    node_header(node)->count = le16_make((uint16_t)count);
}

static uint32_t data_begin(const uint8_t *leaf)
{
    return le16_get(node_header_const(leaf)->data_begin);
}

static uint32_t data_hole(const uint8_t *leaf)
{
    return le16_get(node_header_const(leaf)->data_hole);
}

static void set_data(uint8_t *leaf, uint32_t begin, uint32_t hole)
{
    node_header(leaf)->data_begin = le16_make((uint16_t)begin);
    node_header(leaf)->data_hole = le16_make((uint16_t)hole);
}

struct fs_key btree_node_key(const uint8_t *node, uint32_t slot)
{
    R5_CHECK(slot < btree_node_count(node));
    return key_from_disk(entry_at_const(node, slot));
}

uint32_t btree_node_used(const uint8_t *node)
{
    uint32_t entries = btree_node_count(node) * entry_bytes(node);
    if (btree_node_level(node) > 0) {
        return entries;
    }
    return entries + BLOCK_BYTES - data_begin(node) - data_hole(node);
}

static const char *leaf_data_problem(const uint8_t *leaf)
{
    uint8_t taken[BLOCK_BYTES / 8] = {0};
    uint32_t begin = data_begin(leaf);
    uint32_t total = 0;
    for (uint32_t i = 0; i < btree_node_count(leaf); i++) {
        struct fs_item_disk item = item_at(leaf, i);
        uint32_t offset = le16_get(item.data_offset);
        uint32_t bytes = le16_get(item.data_bytes);
        if (bytes > FS_ITEM_BYTES_MAX || offset < begin || offset + bytes > BLOCK_BYTES) {
            return "item data out of bounds";
        }
        if (bytes == 0 && offset != BLOCK_BYTES) {
            return "place of no data";
        }
        if (!bitmap_run_is_clear(taken, offset, bytes)) {
            return "item data overlap";
        }
        bitmap_set_run(taken, offset, bytes);
        total += bytes;
    }
    return total + data_hole(leaf) == BLOCK_BYTES - begin ? NULL : "wrong free space";
}

const char *btree_node_problem(const uint8_t *node)
{
    uint32_t count = btree_node_count(node);
    uint32_t level = btree_node_level(node);
    uint32_t begin = data_begin(node);
    if (level >= FS_TREE_LEVELS_MAX) {
        return "impossible level";
    }
    if (level > 0 &&
        (count == 0 || count > FS_CHILDREN_MAX || begin != 0 || data_hole(node) != 0)) {
        return "impossible number of children";
    }
    if (level == 0 && (begin > BLOCK_BYTES || HEADER_BYTES + count * ITEM_BYTES > begin)) {
        return "impossible number of items";
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        struct fs_key here = btree_node_key(node, i);
        struct fs_key next = btree_node_key(node, i + 1);
        if (fs_key_compare(&here, &next) >= 0) {
            return "keys out of order";
        }
    }
    return level == 0 ? leaf_data_problem(node) : NULL;
}

void btree_node_init(uint8_t *node, uint32_t level)
{
    memset(node + sizeof(struct fs_block_header), 0, BLOCK_BYTES - sizeof(struct fs_block_header));
    node_header(node)->level = (uint8_t)level;
    if (level == 0) {
        set_data(node, BLOCK_BYTES, 0);
    }
}

uint32_t btree_node_search(const uint8_t *node, const struct fs_key *key, bool *out_equal)
{
    uint32_t low = 0;
    uint32_t high = btree_node_count(node);
    *out_equal = false;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct fs_key here = key_from_disk(entry_at_const(node, middle));
        int order = fs_key_compare(&here, key);
        if (order == 0) {
            *out_equal = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const uint8_t *btree_leaf_data(const uint8_t *leaf, uint32_t slot, uint32_t *out_bytes)
{
    R5_CHECK(slot < btree_node_count(leaf));
    struct fs_item_disk item = item_at(leaf, slot);
    *out_bytes = le16_get(item.data_bytes);
    return leaf + le16_get(item.data_offset);
}

uint8_t *btree_leaf_data_mutable(uint8_t *leaf, uint32_t slot)
{
    R5_CHECK(slot < btree_node_count(leaf));
    return leaf + le16_get(item_at(leaf, slot).data_offset);
}

bool btree_leaf_fits(const uint8_t *leaf, uint32_t bytes)
{
    return btree_node_used(leaf) + ITEM_BYTES + bytes <= FS_NODE_ROOM;
}

/* Lays the data out again without holes. */
static void leaf_compact(uint8_t *leaf)
{
    uint8_t packed[BLOCK_BYTES];
    uint32_t begin = BLOCK_BYTES;
    for (uint32_t i = 0; i < btree_node_count(leaf); i++) {
        struct fs_item_disk item = item_at(leaf, i);
        uint32_t bytes = le16_get(item.data_bytes);
        begin -= bytes;
        memcpy(packed + begin, leaf + le16_get(item.data_offset), bytes);
        item.data_offset = le16_make((uint16_t)(bytes > 0 ? begin : BLOCK_BYTES));
        memcpy(entry_at(leaf, i), &item, sizeof(item));
    }
    memcpy(leaf + begin, packed + begin, BLOCK_BYTES - begin);
    set_data(leaf, begin, 0);
}

/* Opens an entry at `slot`; the room is there. */
static uint8_t *entry_open(uint8_t *node, uint32_t slot)
{
    uint32_t count = btree_node_count(node);
    R5_CHECK(slot <= count);
    uint8_t *entry = entry_at(node, slot);
    memmove(entry + entry_bytes(node), entry, (size_t)(count - slot) * entry_bytes(node));
    set_count(node, count + 1);
    return entry;
}

static void entry_close(uint8_t *node, uint32_t slot)
{
    uint32_t count = btree_node_count(node);
    R5_CHECK(slot < count);
    uint8_t *entry = entry_at(node, slot);
    memmove(entry, entry + entry_bytes(node), (size_t)(count - slot - 1) * entry_bytes(node));
    set_count(node, count - 1);
}

void btree_leaf_insert(
    uint8_t *leaf, uint32_t slot, const struct fs_key *key, const void *data, uint32_t bytes)
{
    R5_CHECK(bytes <= FS_ITEM_BYTES_MAX && btree_leaf_fits(leaf, bytes));
    uint32_t headers_end = HEADER_BYTES + (btree_node_count(leaf) + 1) * ITEM_BYTES;
    if (data_begin(leaf) < headers_end + bytes) {
        leaf_compact(leaf);
    }
    /* No data has its place at the end, where no data comes or goes. */
    uint32_t offset = bytes > 0 ? data_begin(leaf) - bytes : BLOCK_BYTES;
    struct fs_item_disk item = {
        key_to_disk(key), le16_make((uint16_t)offset), le16_make((uint16_t)bytes)};
    memcpy(entry_open(leaf, slot), &item, sizeof(item));
    if (bytes > 0) {
        memcpy(leaf + offset, data, bytes);
        set_data(leaf, offset, data_hole(leaf));
    }
}

void btree_leaf_remove(uint8_t *leaf, uint32_t slot)
{
    struct fs_item_disk item = item_at(leaf, slot);
    uint32_t bytes = le16_get(item.data_bytes);
    uint32_t begin = data_begin(leaf);
    uint32_t hole = data_hole(leaf);
    entry_close(leaf, slot);
    if (btree_node_count(leaf) == 0) {
        set_data(leaf, BLOCK_BYTES, 0);
    } else if (le16_get(item.data_offset) == begin) {
        set_data(leaf, begin + bytes, hole);
    } else {
        set_data(leaf, begin, hole + bytes);
    }
}

void btree_leaf_move_tail(uint8_t *leaf, uint32_t slot, uint8_t *to)
{
    uint32_t count = btree_node_count(leaf);
    for (uint32_t i = slot; i < count; i++) {
        uint32_t bytes = 0;
        struct fs_key key = btree_node_key(leaf, i);
        const uint8_t *data = btree_leaf_data(leaf, i, &bytes);
        btree_leaf_insert(to, btree_node_count(to), &key, data, bytes);
    }
    for (uint32_t i = count; i > slot; i--) {
        btree_leaf_remove(leaf, i - 1);
    }
}

struct fs_block btree_child(const uint8_t *node, uint32_t slot)
{
    R5_CHECK(slot < btree_node_count(node) && btree_node_level(node) > 0);
    struct fs_child_disk child;
    memcpy(&child, entry_at_const(node, slot), sizeof(child));
    return fs_block(le64_get(child.address));
}

void btree_child_insert(uint8_t *node,
                        uint32_t slot,
                        const struct fs_key *key,
                        struct fs_block child)
{
    R5_CHECK(btree_node_level(node) > 0 && btree_node_count(node) < FS_CHILDREN_MAX);
    struct fs_child_disk entry = {key_to_disk(key), le64_make(child.nr)};
    memcpy(entry_open(node, slot), &entry, sizeof(entry));
}

void btree_child_remove(uint8_t *node, uint32_t slot)
{
    R5_CHECK(btree_node_level(node) > 0);
    entry_close(node, slot);
}

void btree_child_set_key(uint8_t *node, uint32_t slot, const struct fs_key *key)
{
    R5_CHECK(slot < btree_node_count(node) && btree_node_level(node) > 0);
    struct fs_key_disk disk = key_to_disk(key);
    memcpy(entry_at(node, slot), &disk, sizeof(disk));
}

void btree_child_move_tail(uint8_t *node, uint32_t slot, uint8_t *to)
{
    uint32_t count = btree_node_count(node);
    for (uint32_t i = slot; i < count; i++) {
        struct fs_key key = btree_node_key(node, i);
        btree_child_insert(to, btree_node_count(to), &key, btree_child(node, i));
    }
    set_count(node, slot);
}
