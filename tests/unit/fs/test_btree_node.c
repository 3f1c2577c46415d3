/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One tree node: it keeps items in order and whole, and bytes from a disk are proved before use. */
#include <stdlib.h>
#include <string.h>

#include "btree_node.h"
#include "fs_kit.h"

#define MODEL_ITEMS 200u

static uint8_t node[BLOCK_BYTES];

static struct fs_key key_of(uint64_t number)
{
    return fs_key(number / 4, FS_ITEM_EXTENT, number % 4);
}

static void fill(uint8_t *bytes, uint32_t count, uint64_t number)
{
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(number * 31 + i);
    }
}

static void leaf_add(uint64_t number, uint32_t bytes)
{
    uint8_t data[FS_ITEM_BYTES_MAX];
    bool equal = false;
    struct fs_key key = key_of(number);
    fill(data, bytes, number);
    uint32_t slot = btree_node_search(node, &key, &equal);
    ck_assert(!equal);
    btree_leaf_insert(node, slot, &key, data, bytes);
}

START_TEST(leaf_gives_back_what_was_put_in_whatever_the_order)
{
    uint64_t random = kit_seed("leaf");
    uint32_t sizes[MODEL_ITEMS] = {0};
    bool present[MODEL_ITEMS] = {false};
    btree_node_init(node, 0);
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t number = kit_below(&random, MODEL_ITEMS);
        struct fs_key key = key_of(number);
        bool equal = false;
        uint32_t slot = btree_node_search(node, &key, &equal);
        ck_assert(equal == present[number]);
        if (equal) {
            uint32_t bytes = 0;
            uint8_t want[FS_ITEM_BYTES_MAX];
            const uint8_t *data = btree_leaf_data(node, slot, &bytes);
            fill(want, sizes[number], number);
            ck_assert_uint_eq(bytes, sizes[number]);
            ck_assert_int_eq(memcmp(data, want, bytes), 0);
            btree_leaf_remove(node, slot);
            present[number] = false;
        } else {
            uint32_t limit = kit_below(&random, 8) == 0 ? FS_ITEM_BYTES_MAX + 1 : 60;
            uint32_t bytes = (uint32_t)kit_below(&random, limit);
            if (btree_leaf_fits(node, bytes)) {
                leaf_add(number, bytes);
                present[number] = true;
                sizes[number] = bytes;
            }
        }
        ck_assert_ptr_null(btree_node_problem(node));
    }
}
END_TEST

START_TEST(moving_the_tail_keeps_both_leaves_right)
{
    static uint8_t right[BLOCK_BYTES];
    for (uint32_t slot = 0; slot <= 30; slot++) {
        btree_node_init(node, 0);
        btree_node_init(right, 0);
        for (uint64_t i = 0; i < 30; i++) {
            leaf_add((i * 7) % 30, (uint32_t)(i * 4));
        }
        btree_leaf_move_tail(node, slot, right);
        ck_assert_uint_eq(btree_node_count(node), slot);
        ck_assert_uint_eq(btree_node_count(right), 30 - slot);
        ck_assert_ptr_null(btree_node_problem(node));
        ck_assert_ptr_null(btree_node_problem(right));
    }
}
END_TEST

START_TEST(two_of_the_largest_items_fit_into_one_leaf)
{
    btree_node_init(node, 0);
    leaf_add(1, FS_ITEM_BYTES_MAX);
    ck_assert(btree_leaf_fits(node, FS_ITEM_BYTES_MAX));
    leaf_add(2, FS_ITEM_BYTES_MAX);
    ck_assert_ptr_null(btree_node_problem(node));
}
END_TEST

START_TEST(internal_node_holds_its_most_children)
{
    btree_node_init(node, 3);
    for (uint32_t i = 0; i < FS_CHILDREN_MAX; i++) {
        struct fs_key key = key_of(i);
        btree_child_insert(node, i, &key, fs_block(1000 + i));
    }
    ck_assert_ptr_null(btree_node_problem(node));
    for (uint32_t i = 0; i < FS_CHILDREN_MAX; i++) {
        ck_assert_uint_eq(btree_child(node, i).nr, 1000 + i);
    }
}
END_TEST

/* A node as a damaged disk might give it, built by hand. */
struct hostile {
    const char *what;
    void (*spoil)(struct fs_node_disk *header, struct fs_item_disk *items);
};

static void spoil_level(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->level = FS_TREE_LEVELS_MAX;
}

static void spoil_count(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->count = le16_make(65535);
}

static void spoil_one_more(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->count = le16_make((uint16_t)(le16_get(header->count) + 1));
}

static void spoil_begin(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->data_begin = le16_make(65535);
}

static void spoil_begin_low(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->data_begin = le16_make(41);
}

static void spoil_hole(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->data_hole = le16_make(7);
}

static void spoil_order(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    struct fs_key_disk key = items[0].key;
    items[0].key = items[1].key;
    items[1].key = key;
}

static void spoil_same(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    items[1].key = items[0].key;
}

static void spoil_offset(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    items[2].data_offset = le16_make(4095);
}

static void spoil_offset_low(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    items[2].data_offset = le16_make(50);
}

static void spoil_length(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    items[2].data_bytes = le16_make(FS_ITEM_BYTES_MAX + 1);
}

static void spoil_overlap(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)header;
    items[2].data_offset = items[1].data_offset;
}

static void spoil_internal_empty(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->level = 1;
    header->count = le16_make(0);
    header->data_begin = le16_make(0);
}

static void spoil_internal_count(struct fs_node_disk *header, struct fs_item_disk *items)
{
    (void)items;
    header->level = 1;
    header->count = le16_make(FS_CHILDREN_MAX + 1);
    header->data_begin = le16_make(0);
}

static const struct hostile hostile_nodes[] = {
    {"level", spoil_level},
    {"count", spoil_count},
    {"one item too many", spoil_one_more},
    {"data beyond the end", spoil_begin},
    {"data over the headers", spoil_begin_low},
    {"free space", spoil_hole},
    {"keys out of order", spoil_order},
    {"two equal keys", spoil_same},
    {"item beyond the end", spoil_offset},
    {"item in the headers", spoil_offset_low},
    {"item too long", spoil_length},
    {"items that overlap", spoil_overlap},
    {"no child", spoil_internal_empty},
    {"too many children", spoil_internal_count},
};

START_TEST(node_that_cannot_be_is_told_apart)
{
    btree_node_init(node, 0);
    for (uint64_t i = 0; i < 5; i++) {
        leaf_add(i, 40);
    }
    ck_assert_ptr_null(btree_node_problem(node));
    hostile_nodes[_i].spoil((void *)node, (void *)(node + sizeof(struct fs_node_disk)));
    ck_assert_msg(btree_node_problem(node) != NULL, "%s", hostile_nodes[_i].what);
}
END_TEST

START_TEST(random_bytes_never_pass_and_never_crash)
{
    uint64_t random = kit_seed("hostile");
    for (unsigned round = 0; round < 20000; round++) {
        btree_node_init(node, 0);
        for (uint64_t i = 0; i < 20; i++) {
            leaf_add(i, 30);
        }
        for (unsigned i = 0; i < 3; i++) {
            node[32 + kit_below(&random, 500)] = (uint8_t)kit_random(&random);
        }
        if (btree_node_problem(node) == NULL && btree_node_level(node) == 0) {
            /* It is a possible leaf: using it stays within bounds (the sanitizers look). */
            struct fs_key key = key_of(21);
            bool equal = false;
            uint32_t slot = btree_node_search(node, &key, &equal);
            if (!equal && btree_leaf_fits(node, 100)) {
                leaf_add(21, 100);
                btree_leaf_remove(node, slot);
            }
            ck_assert_ptr_null(btree_node_problem(node));
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("btree_node");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 120);
    tcase_add_test(model, leaf_gives_back_what_was_put_in_whatever_the_order);
    tcase_add_test(model, moving_the_tail_keeps_both_leaves_right);
    tcase_add_test(model, two_of_the_largest_items_fit_into_one_leaf);
    tcase_add_test(model, internal_node_holds_its_most_children);
    suite_add_tcase(suite, model);
    TCase *hostile = tcase_create("hostile");
    tcase_set_timeout(hostile, 120);
    tcase_add_loop_test(hostile,
                        node_that_cannot_be_is_told_apart,
                        0,
                        (int)(sizeof(hostile_nodes) / sizeof(hostile_nodes[0])));
    tcase_add_test(hostile, random_bytes_never_pass_and_never_crash);
    suite_add_tcase(suite, hostile);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
