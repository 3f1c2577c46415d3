/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Free space against a model: nothing twice, nothing too early (W6), nothing lost, exact to the
 * last. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs_kit.h"
#include "r5fs/base/bitmap.h"
#include "r5fs/base/msg.h"

#define MODEL_BLOCKS 131072u

enum block_state {
    BLOCK_FREE,
    BLOCK_USED,
    BLOCK_FREED, /* not yet durable */
};

struct run {
    struct fs_block start;
    uint32_t count;
};

static uint8_t states[MODEL_BLOCKS];
static struct run runs[MODEL_BLOCKS];
static uint32_t run_count;

static void model_reset(void)
{
    memset(states, BLOCK_FREE, sizeof(states));
    run_count = 0;
}

static void model_durable(void)
{
    for (uint32_t i = 0; i < MODEL_BLOCKS; i++) {
        states[i] = states[i] == BLOCK_FREED ? BLOCK_FREE : states[i];
    }
}

static uint64_t model_commits;

/* A commit may have happened inside txn_begin: what was freed before it is free. */
static void model_follow(struct kit *kit)
{
    if (fake_commit_count(kit->journal) != model_commits) {
        model_commits = fake_commit_count(kit->journal);
        model_durable();
    }
}

static void model_add(struct kit *kit, struct run run)
{
    ck_assert(fs_run_is_plausible(&kit->fs->super, run.start, run.count));
    for (uint64_t i = run.start.nr; i < run.start.nr + run.count; i++) {
        ck_assert_msg(states[i] == BLOCK_FREE,
                      "block %llu is given out in state %d",
                      (unsigned long long)i,
                      states[i]);
        states[i] = BLOCK_USED;
    }
    runs[run_count++] = run;
}

/* One run of at most `want`. */
static int take(struct kit *kit, uint32_t want, struct fs_block goal, struct run *out_run)
{
    const struct txn_need need = {.allocate = want, .alloc_runs = 1};
    struct fs_txn txn;
    int error = txn_begin(&txn, kit->fs, &kit->thread, &need);
    model_follow(kit);
    if (error != 0) {
        return error;
    }
    ck_assert_int_eq(txn_lock(&txn), 0);
    error = freespace_alloc(&txn, goal, want, &out_run->start, &out_run->count);
    ck_assert_msg(error == 0, "a granted reservation was not served: %d", error);
    ck_assert_uint_ge(out_run->count, 1);
    ck_assert_uint_le(out_run->count, want);
    txn_end(&txn);
    model_add(kit, *out_run);
    return 0;
}

static void give(struct kit *kit, struct run run)
{
    const struct txn_need need = {.free_runs = 1, .deep = true};
    struct fs_txn txn;
    ck_assert_int_eq(txn_begin(&txn, kit->fs, &kit->thread, &need), 0);
    model_follow(kit);
    ck_assert_int_eq(txn_lock(&txn), 0);
    ck_assert_int_eq(freespace_prepare_free(&txn, run.start, run.count), 0);
    txn_change(&txn);
    ck_assert_int_eq(freespace_free(&txn, run.start, run.count), 0);
    txn_end(&txn);
    for (uint64_t i = run.start.nr; i < run.start.nr + run.count; i++) {
        ck_assert_uint_eq(states[i], BLOCK_USED);
        states[i] = BLOCK_FREED;
    }
}

/* A run, or a piece of one, that the model holds. */
static void give_random(struct kit *kit, uint64_t *random)
{
    uint32_t at = (uint32_t)kit_below(random, run_count);
    struct run *run = &runs[at];
    struct run piece = *run;
    if (run->count > 1 && kit_below(random, 3) == 0) {
        piece.count = 1 + (uint32_t)kit_below(random, run->count - 1);
        run->start = fs_block_add(run->start, piece.count);
        run->count -= piece.count;
    } else {
        *run = runs[--run_count];
    }
    give(kit, piece);
}

/* The bitmaps, the summaries and the counts say what the model says. */
static void verify(struct kit *kit)
{
    const struct fs_super *super = &kit->fs->super;
    uint64_t free_blocks = 0;
    for (uint32_t group = 0; group < super->groups_used; group++) {
        struct buffer *bitmap = NULL;
        struct buffer *summary = NULL;
        uint32_t blocks = fs_group_blocks(super, group);
        ck_assert_int_eq(freespace_bitmap(kit->fs, &kit->thread, group, &bitmap), 0);
        ck_assert_int_eq(freespace_summary(kit->fs, &kit->thread, group, &summary), 0);
        const uint8_t *bits = bitmap->data + sizeof(struct fs_block_header);
        for (uint32_t i = 0; i < blocks; i++) {
            struct fs_block block = fs_block_add(fs_group_start(super, group), i);
            bool node = block.nr == super->tree_root.nr;
            bool used = states[block.nr] == BLOCK_USED || node || fs_block_is_fixed(super, block);
            ck_assert(bitmap_get(bits, i) == used);
        }
        const struct fs_summary_disk *disk = (const void *)summary->data;
        uint32_t set = bitmap_count_set(bits, 0, blocks);
        ck_assert_uint_eq(le32_get(disk->groups[group].free_blocks), blocks - set);
        free_blocks += blocks - set;
        buffer_put(&kit->fs->buffers, bitmap);
        buffer_put(&kit->fs->buffers, summary);
    }
    for (uint32_t group = super->groups_used; group < super->group_count; group++) {
        free_blocks += fs_group_room(super, group);
    }
    ck_assert_uint_eq(free_blocks, super->free_blocks);
    ck_assert_uint_eq(kit->fs->space.reserved, 0);
}

static void start(struct kit *kit, uint64_t volume_blocks, uint32_t slots, uint32_t chunk_sectors)
{
    model_reset();
    kit_init(kit,
             &(struct fake_options){.volume_blocks = volume_blocks,
                                    .slots = slots,
                                    .chunk_sectors = chunk_sectors,
                                    .trace = true});
    ck_assert_uint_le(fake_volume_blocks(kit->journal), MODEL_BLOCKS);
    model_commits = fake_commit_count(kit->journal);
}

static void sync_all(struct kit *kit)
{
    ck_assert_int_eq(fs_sync(kit->fs, &kit->thread), 0);
    model_follow(kit);
}

START_TEST(random_taking_and_giving_follows_the_model)
{
    static const struct {
        uint64_t blocks;
        uint32_t slots;
        uint32_t chunk_sectors;
    } shapes[] = {{2000, 3, 8}, {100000, 4, 128}, {70000, 8, 1024}, {66000, 5, 128}};
    uint64_t random = kit_seed("space");
    struct kit kit;
    start(&kit, shapes[_i].blocks, shapes[_i].slots, shapes[_i].chunk_sectors);
    for (uint32_t step = 0; step < 15000; step++) {
        /* Swings between nearly empty and full. */
        bool taking = kit_below(&random, 100) < (step / 2500 % 2 == 0 ? 75u : 25u);
        struct fs_block goal = fs_block(0);
        if (run_count > 0 && kit_below(&random, 2) == 0) {
            const struct run *near = &runs[kit_below(&random, run_count)];
            goal = fs_block_add(near->start, near->count);
        }
        if (taking || run_count == 0) {
            struct run run;
            uint32_t limit = kit_below(&random, 4) == 0 ? 3000 : 60;
            int error = take(&kit, 1 + (uint32_t)kit_below(&random, limit), goal, &run);
            ck_assert(error == 0 || error == -ENOSPC);
        } else {
            give_random(&kit, &random);
        }
        if (kit_below(&random, 100) == 0) {
            sync_all(&kit);
        }
        if (step % 3000 == 0) {
            verify(&kit);
        }
    }
    verify(&kit);
    sync_all(&kit);
    kit_crash_and_mount(&kit);
    model_commits = fake_commit_count(kit.journal);
    verify(&kit);
    kit_fini(&kit);
}
END_TEST

START_TEST(statfs_tells_exactly_how_many_blocks_can_be_taken)
{
    struct kit kit;
    start(&kit, 70000, 4, 128);
    struct fs_statfs before;
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &before), 0);
    ck_assert_uint_eq(before.free_blocks, before.blocks);
    uint64_t taken = 0;
    struct run run;
    uint32_t want = 2048;
    while (want > 0) {
        int error = take(&kit, want, fs_block(0), &run);
        if (error == 0) {
            taken += run.count;
        } else {
            ck_assert_int_eq(error, -ENOSPC);
            want /= 2;
        }
    }
    ck_assert_uint_eq(taken, before.free_blocks);
    struct fs_statfs after;
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &after), 0);
    ck_assert_uint_eq(after.free_blocks, 0);
    ck_assert_uint_eq(after.blocks, before.blocks);
    kit_fini(&kit);
}
END_TEST

static void fill_completely(struct kit *kit)
{
    struct run run;
    for (uint32_t want = 2048; want > 0;) {
        if (take(kit, want, fs_block(0), &run) != 0) {
            want /= 2;
        }
    }
}

START_TEST(what_files_do_not_get_lies_where_tree_nodes_are_taken)
{
    struct kit kit;
    start(&kit, 100000, 4, 128);
    fill_completely(&kit);
    const struct fs_super *super = &kit.fs->super;
    struct buffer *bitmap = NULL;
    uint32_t blocks = fs_group_blocks(super, super->meta_group);
    ck_assert_int_eq(freespace_bitmap(kit.fs, &kit.thread, super->meta_group, &bitmap), 0);
    uint32_t set = bitmap_count_set(bitmap->data + sizeof(struct fs_block_header), 0, blocks);
    ck_assert_uint_eq(blocks - set, super->reserve_blocks);
    ck_assert_uint_eq(super->free_blocks, super->reserve_blocks);
    buffer_put(&kit.fs->buffers, bitmap);
    kit_fini(&kit);
}
END_TEST

START_TEST(freed_blocks_come_back_only_with_the_commit_and_then_at_once)
{
    struct kit kit;
    start(&kit, 4096, 3, 128);
    fill_completely(&kit);
    sync_all(&kit);
    struct run victim = runs[0];
    give(&kit, victim);
    struct fs_statfs stat;
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &stat), 0);
    ck_assert_uint_eq(stat.free_blocks, victim.count);
    /* The only free blocks are shadowed: taking them forces a commit first (model_add would see
     * it). */
    uint64_t commits = fake_commit_count(kit.journal);
    struct run run;
    ck_assert_int_eq(take(&kit, victim.count, victim.start, &run), 0);
    ck_assert_uint_eq(fake_commit_count(kit.journal), commits + 1);
    ck_assert_uint_eq(run.start.nr, victim.start.nr);
    ck_assert_int_eq(take(&kit, 1, fs_block(0), &run), -ENOSPC);
    kit_fini(&kit);
}
END_TEST

START_TEST(full_filesystem_still_makes_tree_nodes_for_deleting)
{
    struct kit kit;
    start(&kit, 4096, 3, 128);
    fill_completely(&kit);
    static uint8_t data[FS_ITEM_BYTES_MAX];
    const struct txn_need plain = {.inserts = 1};
    struct fs_txn txn;
    ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &plain), -ENOSPC);
    txn_end(&txn);
    for (uint64_t i = 0; i < 8; i++) {
        const struct txn_need deep = {.inserts = 1, .deep = true};
        struct fs_key key = fs_key(0, FS_ITEM_ORPHAN, i);
        ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &deep), 0);
        ck_assert_int_eq(txn_lock(&txn), 0);
        ck_assert_int_eq(btree_prepare(&txn, &key), 0);
        txn_change(&txn);
        ck_assert_int_eq(btree_insert(&txn, &key, data, sizeof(data)), 0);
        txn_end(&txn);
    }
    ck_assert_uint_gt(kit.fs->super.tree_levels, 1);
    kit_fini(&kit);
}
END_TEST

/* Runs where a commit has closed a transaction and waits for its unit. */
struct between {
    struct kit *kit;
    struct run freed_before;
    struct run freed_between;
    bool ran;
};

static void between_closed_and_durable(void *context, uint64_t unit)
{
    (void)unit;
    struct between *between = context;
    struct run run;
    if (between->ran) {
        return;
    }
    between->ran = true;
    give(between->kit, between->freed_between);
    /* The goal is what was freed in the closed transaction, but it is not durable: model_add
     * looks. */
    ck_assert_int_eq(take(between->kit, 8, between->freed_before.start, &run), 0);
    ck_assert_int_eq(take(between->kit, 8, between->freed_between.start, &run), 0);
}

START_TEST(blocks_of_the_running_transaction_stay_back_when_the_closed_one_is_durable)
{
    struct kit kit;
    struct run run;
    start(&kit, 70000, 4, 128);
    struct between between = {.kit = &kit};
    ck_assert_int_eq(take(&kit, 100, fs_block(0), &between.freed_before), 0);
    ck_assert_int_eq(take(&kit, 100, fs_block(0), &between.freed_between), 0);
    sync_all(&kit);
    give(&kit, between.freed_before);
    fake_on_unit(kit.journal, between_closed_and_durable, &between);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    ck_assert(between.ran);
    model_commits = fake_commit_count(kit.journal);
    for (uint64_t i = 0; i < between.freed_before.count; i++) {
        states[between.freed_before.start.nr + i] = BLOCK_FREE;
    }
    ck_assert_int_eq(take(&kit, 100, between.freed_before.start, &run), 0);
    ck_assert_uint_eq(run.start.nr, between.freed_before.start.nr);
    ck_assert_int_eq(take(&kit, 100, between.freed_between.start, &run), 0);
    ck_assert_uint_ne(run.start.nr, between.freed_between.start.nr);
    sync_all(&kit);
    ck_assert_int_eq(take(&kit, 100, between.freed_between.start, &run), 0);
    ck_assert_uint_eq(run.start.nr, between.freed_between.start.nr);
    kit_fini(&kit);
}
END_TEST

/* Large items in front of all others until the tree takes its nodes from another group. */
static void grow_tree_until_group_moves(struct kit *kit, uint32_t from)
{
    static uint8_t data[FS_ITEM_BYTES_MAX];
    for (uint64_t i = 0; i < 3000 && kit->fs->super.meta_group == from; i++) {
        const struct txn_need deep = {.inserts = 1, .deep = true};
        struct fs_key key = fs_key(0, FS_ITEM_ORPHAN, i);
        struct fs_txn txn;
        int error = txn_begin(&txn, kit->fs, &kit->thread, &deep);
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(txn_lock(&txn), 0);
        ck_assert_int_eq(btree_prepare(&txn, &key), 0);
        txn_change(&txn);
        ck_assert_int_eq(btree_insert(&txn, &key, data, sizeof(data)), 0);
        txn_end(&txn);
    }
}

START_TEST(tree_goes_to_an_untouched_group_when_its_own_is_full)
{
    struct kit kit;
    struct run run = {fs_block(0), 0};
    start(&kit, 100000, 4, 128);
    while (fs_group_of(&kit.fs->super, run.start) == 0) {
        ck_assert_int_eq(take(&kit, 1000, fs_block(10), &run), 0);
    }
    uint32_t used = kit.fs->super.groups_used;
    grow_tree_until_group_moves(&kit, 0);
    ck_assert_uint_eq(kit.fs->super.meta_group, used);
    ck_assert_uint_eq(kit.fs->super.groups_used, used + 1);
    ck_assert(!kit.fs->damaged);
    kit_fini(&kit);
}
END_TEST

START_TEST(tree_goes_to_the_emptiest_group_when_all_are_in_use)
{
    struct kit kit;
    start(&kit, 100000, 4, 128);
    fill_completely(&kit);
    ck_assert_uint_eq(kit.fs->super.groups_used, kit.fs->super.group_count);
    for (uint32_t i = 0; i < run_count; i++) {
        if (fs_group_of(&kit.fs->super, runs[i].start) == 2 && runs[i].count > 500) {
            give(&kit, runs[i]);
            runs[i] = runs[--run_count];
            break;
        }
    }
    sync_all(&kit);
    grow_tree_until_group_moves(&kit, 0);
    ck_assert_uint_eq(kit.fs->super.meta_group, 2);
    kit_fini(&kit);
}
END_TEST

START_TEST(appending_to_the_goal_stays_in_one_piece)
{
    struct kit kit;
    start(&kit, 100000, 4, 128);
    struct run run;
    ck_assert_int_eq(take(&kit, 64, fs_block(0), &run), 0);
    for (unsigned i = 0; i < 200; i++) {
        struct run next;
        ck_assert_int_eq(take(&kit, 64, fs_block_add(run.start, run.count), &next), 0);
        ck_assert_uint_eq(next.start.nr, run.start.nr + run.count);
        run = next;
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(wrong_frees_are_refused_and_change_nothing)
{
    struct kit kit;
    msg_set_level(MSG_ERR);
    start(&kit, 70000, 4, 128);
    struct run run;
    ck_assert_int_eq(take(&kit, 10, fs_block(0), &run), 0);
    const struct run wrong[] = {
        {fs_block(0), 1},                               /* the super */
        {fs_block(1), 1},                               /* a bitmap */
        {fs_block_add(run.start, 5), 6},                /* one too far */
        {fs_block_add(run.start, 5), 0},                /* nothing */
        {fs_block_add(run.start, 11), 1},               /* free already */
        {fs_block(fake_volume_blocks(kit.journal)), 1}, /* no block */
        {fs_block(UINT64_MAX - 2), 9},                  /* wraps */
        {fs_block(40000), 3},                           /* in an untouched group */
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct txn_need need = {.free_runs = 1};
        struct fs_txn txn;
        ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
        ck_assert_int_eq(txn_lock(&txn), 0);
        ck_assert_int_eq(freespace_free(&txn, wrong[i].start, wrong[i].count), -EUCLEAN);
        ck_assert_int_eq(freespace_prepare_free(&txn, wrong[i].start, wrong[i].count), -EUCLEAN);
        txn_end(&txn);
    }
    ck_assert(kit.fs->damaged);
    verify(&kit);
    kit_fini(&kit);
}
END_TEST

START_TEST(damaged_bitmap_is_passed_over_and_its_fixed_blocks_are_never_given_out)
{
    struct kit kit;
    msg_set_level(MSG_ERR);
    start(&kit, 70000, 4, 128);
    fill_completely(&kit);
    sync_all(&kit);
    /* Group 1 claims that its own bitmap is free; group 2 is unreadable garbage. */
    struct fs_block first = fs_group_bitmap(&kit.fs->super, 1);
    struct fs_block second = fs_group_bitmap(&kit.fs->super, 2);
    struct run in_zero = {fs_block(0), 0};
    for (uint32_t i = 0; i < run_count && in_zero.count == 0; i++) {
        if (fs_group_of(&kit.fs->super, runs[i].start) == 0 && runs[i].count >= 100) {
            in_zero = runs[i];
        }
    }
    ck_assert_uint_gt(in_zero.count, 0);
    ck_assert_uint_ne(kit.fs->super.meta_group, 1);
    give(&kit, in_zero);
    sync_all(&kit);
    struct journal *hurt = fake_journal_crash(kit.journal);
    bitmap_clear_run(fake_block_bytes(hurt, first) + 32, 0, 1);
    fs_header_seal(fake_block_bytes(hurt, first));
    fake_block_changed(hurt, first);
    memset(fake_block_bytes(hurt, second), 0x33, BLOCK_BYTES);
    fake_block_changed(hurt, second);
    kit_fini(&kit);
    kit_init_at(&kit, hurt);
    model_commits = fake_commit_count(kit.journal);
    struct run run;
    ck_assert_int_eq(take(&kit, in_zero.count, second, &run), 0);
    ck_assert_uint_eq(run.start.nr, in_zero.start.nr);
    ck_assert(kit.fs->damaged);
    kit_fini(&kit);
}
END_TEST

#ifndef __SANITIZE_THREAD__
START_TEST(huge_volume_is_formatted_and_used_in_constant_memory)
{
    struct kit kit;
    model_reset();
    /* 16 TiB: only what is touched exists. */
    kit_init(&kit, &(struct fake_options){.volume_blocks = UINT64_C(1) << 32});
    ck_assert_uint_eq(kit.fs->super.groups_used, 1);
    const struct txn_need need = {.allocate = 20000, .alloc_runs = 1};
    for (unsigned i = 0; i < 1200; i++) {
        struct fs_txn txn;
        struct run run;
        ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), 0);
        ck_assert_int_eq(txn_lock(&txn), 0);
        ck_assert_int_eq(freespace_alloc(&txn, fs_block(0), 20000, &run.start, &run.count), 0);
        txn_end(&txn);
    }
    /* Past the first summary block. */
    ck_assert_uint_gt(kit.fs->super.groups_used, FS_SUMMARY_GROUPS);
    kit_unmount(&kit);
    char why[FS_WHY_BYTES];
    ck_assert_int_eq(kit_mount(&kit, false, why), 0);
    kit_fini(&kit);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("freespace");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 250);
    tcase_add_loop_test(model, random_taking_and_giving_follows_the_model, 0, 4);
    tcase_add_test(model, statfs_tells_exactly_how_many_blocks_can_be_taken);
    tcase_add_test(model, what_files_do_not_get_lies_where_tree_nodes_are_taken);
    tcase_add_test(model, freed_blocks_come_back_only_with_the_commit_and_then_at_once);
    tcase_add_test(model, full_filesystem_still_makes_tree_nodes_for_deleting);
    tcase_add_test(model, appending_to_the_goal_stays_in_one_piece);
    tcase_add_test(model,
                   blocks_of_the_running_transaction_stay_back_when_the_closed_one_is_durable);
    tcase_add_test(model, tree_goes_to_an_untouched_group_when_its_own_is_full);
    tcase_add_test(model, tree_goes_to_the_emptiest_group_when_all_are_in_use);
#ifndef __SANITIZE_THREAD__ /* which leaves no 16 TiB of addresses to map the volume into */
    tcase_add_test(model, huge_volume_is_formatted_and_used_in_constant_memory);
#endif
    suite_add_tcase(suite, model);
    TCase *damage = tcase_create("damage");
    tcase_set_timeout(damage, 250);
    tcase_add_test(damage, wrong_frees_are_refused_and_change_nothing);
    tcase_add_test(damage, damaged_bitmap_is_passed_over_and_its_fixed_blocks_are_never_given_out);
    suite_add_tcase(suite, damage);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
