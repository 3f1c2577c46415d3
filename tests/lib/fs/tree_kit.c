/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See tree_kit.h. */
#include "tree_kit.h"

#include <errno.h>
#include <string.h>

#include "btree_node.h"
#include "r5fs/base/bitmap.h"

void tree_model_init(struct tree_model *model)
{
    for (uint32_t i = 0; i < TREE_NUMBERS; i++) {
        model->bytes[i] = TREE_ABSENT;
    }
    model->count = 0;
}

struct fs_key tree_key(uint32_t number)
{
    return fs_key(TREE_FIRST_INO + number / 16, FS_ITEM_EXTENT, (uint64_t)(number % 16) << 40);
}

uint32_t tree_number(const struct fs_key *key)
{
    return (uint32_t)((key->ino - TREE_FIRST_INO) * 16 + (key->offset >> 40));
}

static void tree_fill(uint8_t *data, uint32_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(number * 7 + i + bytes);
    }
}

struct tree_step tree_step_random(const struct tree_model *model,
                                  uint64_t *random,
                                  uint32_t range,
                                  uint32_t percent_in)
{
    struct tree_step step;
    bool in = kit_below(random, 100) < percent_in;
    step.number = (uint32_t)kit_below(random, range);
    for (uint32_t i = 0; i < 50; i++) { /* look for one that lets the model go the wanted way */
        if ((model->bytes[step.number] == TREE_ABSENT) == in) {
            break;
        }
        step.number = (step.number + 1) % range;
    }
    bool there = model->bytes[step.number] != TREE_ABSENT;
    uint32_t limit = kit_below(random, 10) == 0 ? FS_ITEM_BYTES_MAX + 1 : 120;
    step.bytes = (uint16_t)kit_below(random, limit);
    step.op = !there ? TREE_INSERT : in ? TREE_REPLACE : TREE_REMOVE;
    return step;
}

void tree_model_apply(struct tree_model *model, const struct tree_step *step)
{
    bool there = model->bytes[step->number] != TREE_ABSENT;
    ck_assert(there == (step->op != TREE_INSERT));
    model->count += step->op == TREE_INSERT ? 1u : 0u;
    model->count -= step->op == TREE_REMOVE ? 1u : 0u;
    model->bytes[step->number] = step->op == TREE_REMOVE ? TREE_ABSENT : step->bytes;
}

static int tree_try(struct kit *kit, const struct tree_step *step)
{
    const struct txn_need need = {
        .inserts = step->op == TREE_REMOVE ? 0 : 1,
        .removes = step->op == TREE_REMOVE ? 1 : 0,
        .deep = step->op == TREE_REMOVE,
    };
    struct fs_key key = tree_key(step->number);
    uint8_t data[FS_ITEM_BYTES_MAX];
    struct fs_txn txn;
    tree_fill(data, step->number, step->bytes);
    int error = txn_begin(&txn, kit->fs, &kit->thread, &need);
    if (error == 0) {
        error = txn_lock(&txn);
    }
    if (error == 0) {
        error = btree_prepare(&txn, &key);
    }
    if (error == 0) {
        txn_change(&txn);
        switch (step->op) {
        case TREE_INSERT: error = btree_insert(&txn, &key, data, step->bytes); break;
        case TREE_REPLACE: error = btree_replace(&txn, &key, data, step->bytes); break;
        case TREE_REMOVE: error = btree_remove(&txn, &key); break;
        default: ck_abort();
        }
        ck_assert_int_ne(error, -EAGAIN);
    }
    txn_end(&txn);
    return error;
}

void tree_apply(struct kit *kit, const struct tree_step *step)
{
    int error = -EAGAIN;
    for (unsigned i = 0; i < 20 && error == -EAGAIN; i++) {
        error = tree_try(kit, step);
    }
    ck_assert_msg(error == 0, "op %d number %u: %d", step->op, step->number, error);
}

struct walk {
    struct kit *kit;
    uint64_t nodes;
    uint64_t leaves;
    bool any;
    struct fs_key last;
};

static int walk_node(void *context, const struct btree_visit *visit)
{
    struct walk *walk = context;
    ck_assert_msg(
        visit->error == 0, "block %llu: %d", (unsigned long long)visit->block.nr, visit->error);
    ck_assert_ptr_null(btree_node_problem(visit->data));
    ck_assert_uint_eq(btree_node_level(visit->data), visit->level);
    walk->nodes++;
    if (visit->level > 0) {
        return 0;
    }
    walk->leaves++;
    for (uint32_t i = 0; i < btree_node_count(visit->data); i++) {
        struct fs_key key = btree_node_key(visit->data, i);
        ck_assert(!walk->any || fs_key_compare(&walk->last, &key) < 0);
        walk->last = key;
        walk->any = true;
    }
    return 0;
}

static struct walk tree_walk(struct kit *kit)
{
    struct walk walk = {.kit = kit};
    struct fs_reader reader;
    fs_reader_init(&reader, kit->fs, &kit->thread);
    reader.may_load = true; /* nobody changes anything */
    ck_assert_int_eq(btree_walk(&reader, walk_node, &walk), 0);
    return walk;
}

uint64_t tree_node_count(struct kit *kit)
{
    return tree_walk(kit).nodes;
}

/* All items of the model by iterating, in one section. */
static int verify_items(struct fs_reader *reader, const struct tree_model *model)
{
    struct btree_path path;
    uint8_t want[FS_ITEM_BYTES_MAX];
    uint32_t expected = 0;
    struct fs_key key = tree_key(0);
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0) {
        uint32_t bytes = 0;
        key = btree_key(&path);
        const uint8_t *data = btree_data(&path, &bytes);
        uint32_t number = tree_number(&key);
        for (; expected < number; expected++) {
            ck_assert_msg(model->bytes[expected] == TREE_ABSENT, "%u is missing", expected);
        }
        ck_assert_msg(model->bytes[number] == bytes,
                      "%u has %u bytes, not %u",
                      number,
                      bytes,
                      model->bytes[number]);
        tree_fill(want, number, bytes);
        ck_assert_int_eq(memcmp(data, want, bytes), 0);
        expected = number + 1;
        error = btree_next(&path);
    }
    if (error == -ENOENT) {
        for (; expected < TREE_NUMBERS; expected++) {
            ck_assert_msg(model->bytes[expected] == TREE_ABSENT, "%u is missing", expected);
        }
        error = 0;
    }
    btree_path_release(&path);
    return error;
}

static uint64_t used_blocks(struct kit *kit)
{
    const struct fs_super *super = &kit->fs->super;
    uint64_t used = 0;
    uint64_t free_blocks = 0;
    for (uint32_t group = 0; group < super->group_count; group++) {
        struct buffer *bitmap = NULL;
        uint32_t blocks = fs_group_blocks(super, group);
        int error = freespace_bitmap(kit->fs, &kit->thread, group, &bitmap);
        if (error == -ENOENT) {
            free_blocks += fs_group_room(super, group);
            continue;
        }
        ck_assert_int_eq(error, 0);
        uint32_t set = bitmap_count_set(bitmap->data + 32, 0, blocks);
        used += set - (blocks - fs_group_room(super, group));
        free_blocks += blocks - set;
        buffer_put(&kit->fs->buffers, bitmap);
    }
    ck_assert_uint_eq(free_blocks, super->free_blocks); /* F1 */
    return used;
}

void tree_verify(struct kit *kit, const struct tree_model *model)
{
    struct fs_reader reader;
    int error = 0;
    fs_reader_init(&reader, kit->fs, &kit->thread);
    do {
        fs_reader_lock(&reader);
        error = verify_items(&reader, model);
    } while (fs_reader_again(&reader, &error));
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(tree_walk(kit).nodes, used_blocks(kit));
    buffer_pool_verify(&kit->fs->buffers);
    ck_assert(!kit->fs->damaged);
}
