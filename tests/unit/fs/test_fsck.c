/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check on damaged images: each structure is damaged in turn; the check without repair must
 * name the place, the repair must make it clean, and what is left must be usable.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fsck_damage.h"

#define MANY_FILES 700u

static struct check_run run;

static void setup(void)
{
    sample_make(&sample, 0, MANY_FILES);
}

static void teardown(void)
{
    fake_journal_free(sample.journal);
}

#define SAMPLE_INODES (SAMPLE_OTHERS + MANY_FILES)
#define SAMPLE_NAMES  (SAMPLE_INODES + 1u) /* one file has two */

/* Both tables as one. */
static size_t case_count(void)
{
    return damage_block_count + damage_item_count;
}

static const struct damage_case *case_at(size_t index)
{
    return index < damage_block_count ? &damage_blocks[index]
                                      : &damage_items[index - damage_block_count];
}

START_TEST(a_sound_filesystem_is_clean)
{
    struct journal *journal = sample_image(&sample);
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    ck_assert_str_eq(run.text, "");
    ck_assert_uint_eq(run.result.directories, 7);
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
    char want[DAMAGE_WANT_BYTES] = "";
    const struct damage_case *now = case_at((size_t)_i);
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
    char want[DAMAGE_WANT_BYTES] = "";
    const struct damage_case *now = case_at((size_t)_i);
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

/* ---- what cannot be repaired ----------------------------------------------------------------- */

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
    char want[DAMAGE_WANT_BYTES];
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

/* As after an older copy of the journal was accepted: its end is behind the super's log. */
START_TEST(a_log_that_ends_before_the_super_is_settled_without_problems)
{
    struct journal *journal = sample_image(&sample);
    struct fs_super super = image_super(journal);
    struct journal_mark end;

    journal_get_mark(journal, &end);
    super.log = end;
    super.log.seq += 5;
    image_set_super(journal, &super, true);
    ck_assert_int_eq(check_run(journal, false, &run), 0);
    ck_assert_uint_eq(image_super(journal).txn, super.txn);
    ck_assert_int_eq(check_run(journal, true, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    journal_get_mark(journal, &end);
    ck_assert_uint_eq(image_super(journal).log.seq + 1, end.seq);
    ck_assert_uint_eq(image_super(journal).txn, super.txn + 1);
    ck_assert_int_eq(check_run(journal, true, &run), 0);
    ck_assert_msg(run.result.problems == 0, "%s", run.text);
    ck_assert_uint_eq(image_super(journal).txn, super.txn + 1);
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

/* ---- what repair must keep ------------------------------------------------------------------- */

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
    char want[DAMAGE_WANT_BYTES];
    struct journal *journal = sample_image(&sample);
    damage_named("extent_shared")->apply(journal, want);
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
    static const char *const damages[] = {"zero_leaf",
                                          "zero_root",
                                          "zero_super_of_crashed",
                                          "extent_shared",
                                          "no_root",
                                          "zero_bitmap"};
    char want[DAMAGE_WANT_BYTES];
    struct cut cut = {.journal = sample_image(&sample)};
    damage_named(damages[_i])->apply(cut.journal, want);
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
    tcase_add_loop_test(named, damage_is_named_without_writing, 0, (int)case_count());
    tcase_add_loop_test(named, damage_is_repaired, 0, (int)case_count());
    suite_add_tcase(suite, named);
    TCase *rest = tcase_create("limits");
    tcase_set_timeout(rest, 120);
    tcase_add_unchecked_fixture(rest, setup, teardown);
    tcase_add_test(rest, a_volume_without_filesystem_is_said_to_be_one);
    tcase_add_test(rest, two_bad_supers_are_named_and_left);
    tcase_add_test(rest, an_unreadable_node_stops_all_repair);
    tcase_add_test(rest, a_log_that_ends_before_the_super_is_settled_without_problems);
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
