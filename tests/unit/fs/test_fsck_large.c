/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check on a filesystem of several groups and a tree of three levels: losing inner nodes loses
 * nothing. And the check on random damage: it ends, does not crash, and what it repairs stays
 * repaired.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btree_node.h"
#include "fsck_kit.h"

#define MANY_FILES    3500u
#define SAMPLE_INODES (SAMPLE_OTHERS + MANY_FILES)
#define SAMPLE_NAMES  (SAMPLE_INODES + 1u)
#define SMALL_FILES   120u
#define FUZZ_ROUNDS   300u
#define BLOCKS_MAX    1024u
#define LL(x)         ((unsigned long long)(x))

static struct sample sample;
static struct check_run run;

static void setup_large(void)
{
    sample_make(&sample, 90000, MANY_FILES);
}

static void setup_small(void)
{
    sample_make(&sample, 4096, SMALL_FILES);
}

static void teardown(void)
{
    fake_journal_free(sample.journal);
}

START_TEST(several_groups_and_levels_are_clean)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    ck_assert_uint_ge(super.groups_used, 2);
    ck_assert_uint_ge(super.tree_levels, 3);
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    ck_assert_uint_eq(run.result.files + run.result.directories, SAMPLE_INODES);
    fake_journal_free(journal);
}
END_TEST

static void expect_all_back(struct journal *journal)
{
    check_repairs(journal, &run);
    ck_assert_uint_eq(check_walk(journal), SAMPLE_NAMES);
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    fake_journal_free(journal);
}

START_TEST(a_lost_root_loses_nothing)
{
    struct journal *journal = sample_image(&sample);
    image_zero(journal, image_super(journal).tree_root);
    expect_all_back(journal);
}
END_TEST

START_TEST(a_lost_inner_node_loses_nothing)
{
    struct journal *journal = sample_image(&sample);
    const uint8_t *root = fake_block_bytes(journal, image_super(journal).tree_root);
    image_zero(journal, btree_child(root, btree_node_count(root) - 1));
    expect_all_back(journal);
}
END_TEST

START_TEST(a_lost_super_of_a_crashed_mount_loses_nothing)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    struct fs_super old = super;
    old.flags |= FS_SUPER_MOUNTED;
    old.tree_root = fs_block(3);
    old.tree_levels = 1;
    old.groups_used = 1;
    old.meta_group = 0;
    old.next_ino = 2;
    image_set_super(journal, &old, true);
    image_zero(journal, fs_block(0));
    expect_all_back(journal);
}
END_TEST

START_TEST(lost_bitmaps_and_summary_are_made_again)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    for (uint32_t i = 0; i < super.groups_used; i++) {
        image_zero(journal, fs_group_bitmap(&super, i));
    }
    image_zero(journal, fs_group_summary(&super, 0));
    expect_all_back(journal);
}
END_TEST

/* Nothing says what is in use any more: everything is searched. */
START_TEST(a_lost_root_with_lost_bitmaps_loses_nothing)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    for (uint32_t i = 0; i < super.groups_used; i++) {
        image_zero(journal, fs_group_bitmap(&super, i));
    }
    image_zero(journal, super.tree_root);
    check_repairs(journal, &run);
    ck_assert_uint_ge(check_walk(journal), SAMPLE_NAMES);
    fake_journal_free(journal);
}
END_TEST

/* ---- random damage --------------------------------------------------------------------------- */

enum fuzz_kind {
    FUZZ_RAW,    /* as a disk damages blocks: checksums tell */
    FUZZ_SEALED, /* as a bug or an enemy does: checksums are right */
};

static void flip_bytes(struct journal *journal, uint64_t *state, enum fuzz_kind kind)
{
    static struct fs_block blocks[BLOCKS_MAX];
    uint32_t count = image_metadata(journal, blocks, BLOCKS_MAX);
    uint64_t hits = 1 + kit_below(state, 3);
    for (uint64_t i = 0; i < hits; i++) {
        struct fs_block block = blocks[kit_below(state, count)];
        uint8_t *bytes = fake_block_bytes(journal, block);
        uint64_t flips = 1 + kit_below(state, 6);
        for (uint64_t k = 0; k < flips; k++) {
            /* Half of them where the structure is, not the contents. */
            uint64_t limit = kit_below(state, 2) == 0 ? 300 : BLOCK_BYTES;
            uint64_t at =
                kind == FUZZ_SEALED ? 32 + kit_below(state, limit - 32) : kit_below(state, limit);
            bytes[at] ^= (uint8_t)(1u << kit_below(state, 8));
        }
        if (kind == FUZZ_SEALED) {
            fs_header_seal(bytes);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        fake_block_changed(journal, blocks[i]);
    }
}

/* One image: checked, repaired, checked again, mounted. */
static void fuzz_one(uint64_t seed, enum fuzz_kind kind)
{
    static struct check_run again;
    uint64_t state = seed;
    struct journal *journal = sample_image(&sample);
    flip_bytes(journal, &state, kind);
    int error = check_run(journal, false, &run);
    ck_assert_msg(fake_commit_count(journal) == 0, "seed=%llu: it wrote", LL(seed));
    if (error == 0) {
        error = check_run(journal, true, &run);
        ck_assert_msg(error == 0, "seed=%llu: repair: %d\n%.3000s", LL(seed), error, run.text);
    }
    if (strstr(run.text, "made by a newer r5fs") != NULL) {
        ck_assert_uint_eq(fake_commit_count(journal), 0);
    } else if (error == 0) {
        error = check_run(journal, false, &again);
        bool told = strstr(run.text, "not repaired: No space left") != NULL;
        ck_assert_msg(error == 0 && (again.result.problems == 0 || told),
                      "seed=%llu: still %llu problems\n%.3000s---- it had said\n%.3000s",
                      LL(seed),
                      LL(again.result.problems),
                      again.text,
                      run.text);
        (void)check_walk(journal); /* whatever is left can be used */
    } else {
        /* Both supers hit, or a super of another version. */
        ck_assert_msg(error == -EUCLEAN || error == -EMEDIUMTYPE || error == -EOPNOTSUPP,
                      "seed=%llu: %d\n%s",
                      LL(seed),
                      error,
                      run.text);
    }
    fake_journal_free(journal);
}

START_TEST(random_damage_is_survived)
{
    enum fuzz_kind kind = _i == 0 ? FUZZ_RAW : FUZZ_SEALED;
    uint64_t seed = kit_seed(kind == FUZZ_RAW ? "fsck raw" : "fsck sealed");
    for (uint32_t i = 0; i < FUZZ_ROUNDS; i++) {
        fuzz_one(seed + i, kind);
    }
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("fsck_large");
    TCase *large = tcase_create("large");
    tcase_set_timeout(large, 120);
    tcase_add_unchecked_fixture(large, setup_large, teardown);
    tcase_add_test(large, several_groups_and_levels_are_clean);
    tcase_add_test(large, a_lost_root_loses_nothing);
    tcase_add_test(large, a_lost_inner_node_loses_nothing);
    tcase_add_test(large, a_lost_super_of_a_crashed_mount_loses_nothing);
    tcase_add_test(large, lost_bitmaps_and_summary_are_made_again);
    tcase_add_test(large, a_lost_root_with_lost_bitmaps_loses_nothing);
    suite_add_tcase(suite, large);
    TCase *fuzz = tcase_create("fuzz");
    tcase_set_timeout(fuzz, 280);
    tcase_add_unchecked_fixture(fuzz, setup_small, teardown);
    tcase_add_loop_test(fuzz, random_damage_is_survived, 0, 2);
    suite_add_tcase(suite, fuzz);
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
