/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about rename: what may replace what, exchange, ancestors, link counts and times. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "op_kit.h"

static struct kit kit;
static uint64_t dir_a;
static uint64_t dir_b;

static void setup(void)
{
    const struct fake_options options = {.trace = true};
    kit_init(&kit, &options);
    dir_a = must_make(&kit, FS_ROOT_INO, "a", S_IFDIR | 0755);
    dir_b = must_make(&kit, FS_ROOT_INO, "b", S_IFDIR | 0755);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static uint64_t find(uint64_t parent, const char *name)
{
    uint64_t ino = 0;
    int error = op_lookup(&kit, parent, name, &ino);
    ck_assert(error == 0 || error == -ENOENT);
    return ino;
}

static uint32_t links(uint64_t ino)
{
    return must_getattr(&kit, ino).nlink;
}

static bool later(struct fs_time a, struct fs_time b)
{
    return a.seconds != b.seconds ? a.seconds > b.seconds : a.nanoseconds > b.nanoseconds;
}

START_TEST(a_file_moves_between_directories)
{
    uint64_t ino = must_make(&kit, dir_a, "f", S_IFREG | 0644);
    struct fs_attr a = must_getattr(&kit, dir_a);
    struct fs_attr b = must_getattr(&kit, dir_b);
    struct fs_attr f = must_getattr(&kit, ino);
    env_sleep_ns(2000000);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "g", 0), 0);
    ck_assert_uint_eq(find(dir_a, "f"), 0);
    ck_assert_uint_eq(find(dir_b, "g"), ino);
    ck_assert_uint_eq(must_getattr(&kit, dir_a).size, 0);
    ck_assert_uint_eq(must_getattr(&kit, dir_b).size, 1);
    ck_assert(later(must_getattr(&kit, dir_a).mtime, a.mtime));
    ck_assert(later(must_getattr(&kit, dir_b).ctime, b.ctime));
    ck_assert(later(must_getattr(&kit, ino).ctime, f.ctime));
    ck_assert(!later(must_getattr(&kit, ino).mtime, f.mtime));
}
END_TEST

START_TEST(a_directory_moves_with_its_parent_and_both_link_counts)
{
    uint64_t dir = must_make(&kit, dir_a, "d", S_IFDIR | 0755);
    ck_assert_uint_eq(links(dir_a), 3);
    ck_assert_int_eq(op_rename(&kit, dir_a, "d", dir_b, "d", 0), 0);
    ck_assert_uint_eq(links(dir_a), 2);
    ck_assert_uint_eq(links(dir_b), 3);
    ck_assert_uint_eq(find(dir, ".."), dir_b);
    ck_assert_int_eq(op_rename(&kit, dir_b, "d", dir_b, "e", 0), 0);
    ck_assert_uint_eq(links(dir_b), 3);
}
END_TEST

START_TEST(a_replaced_file_is_gone_with_its_last_name)
{
    uint64_t gone = 0;
    uint64_t one = must_make(&kit, dir_a, "one", S_IFREG | 0644);
    uint64_t two = must_make(&kit, dir_a, "two", S_IFREG | 0644);
    ck_assert_int_eq(op_link(&kit, two, dir_b, "other"), 0);
    ck_assert_int_eq(
        fs_rename(kit.fs, &kit.thread, dir_a, op_name("one"), dir_a, op_name("two"), 0, &gone), 0);
    ck_assert_uint_eq(gone, 0);
    ck_assert_uint_eq(links(two), 1);
    ck_assert_int_eq(
        fs_rename(kit.fs, &kit.thread, dir_a, op_name("two"), dir_b, op_name("other"), 0, &gone),
        0);
    ck_assert_uint_eq(gone, two);
    ck_assert_uint_eq(links(two), 0);
    ck_assert_uint_eq(find(dir_b, "other"), one);
    ck_assert_uint_eq(must_getattr(&kit, dir_a).size, 0);
    ck_assert_uint_eq(must_getattr(&kit, dir_b).size, 1);
}
END_TEST

START_TEST(only_like_replaces_like_and_only_empty_directories)
{
    (void)must_make(&kit, dir_a, "f", S_IFREG | 0644);
    (void)must_make(&kit, dir_a, "d", S_IFDIR | 0755);
    uint64_t full = must_make(&kit, dir_b, "full", S_IFDIR | 0755);
    (void)must_make(&kit, full, "x", S_IFREG | 0644);
    uint64_t empty = must_make(&kit, dir_b, "empty", S_IFDIR | 0755);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_a, "d", 0), -EISDIR);
    ck_assert_int_eq(op_rename(&kit, dir_a, "d", dir_a, "f", 0), -ENOTDIR);
    ck_assert_int_eq(op_rename(&kit, dir_a, "d", dir_b, "full", 0), -ENOTEMPTY);
    ck_assert_uint_eq(links(dir_b), 4);
    ck_assert_int_eq(op_rename(&kit, dir_a, "d", dir_b, "empty", 0), 0);
    ck_assert_uint_eq(links(dir_a), 2);
    ck_assert_uint_eq(links(dir_b), 4);
    struct fs_attr attr;
    ck_assert_int_eq(fs_getattr(kit.fs, &kit.thread, empty, &attr), -ENOENT);
}
END_TEST

START_TEST(a_directory_never_becomes_its_own_ancestor)
{
    uint64_t sub = must_make(&kit, dir_a, "s", S_IFDIR | 0755);
    uint64_t deep = must_make(&kit, sub, "t", S_IFDIR | 0755);
    ck_assert_int_eq(op_rename(&kit, FS_ROOT_INO, "a", dir_a, "x", 0), -EINVAL);
    ck_assert_int_eq(op_rename(&kit, FS_ROOT_INO, "a", deep, "x", 0), -EINVAL);
    ck_assert_int_eq(op_rename(&kit, FS_ROOT_INO, "a", sub, "t", RENAME_EXCHANGE), -EINVAL);
    ck_assert_int_eq(op_rename(&kit, sub, "t", FS_ROOT_INO, "a", RENAME_EXCHANGE), -EINVAL);
    ck_assert_int_eq(op_rename(&kit, sub, "t", FS_ROOT_INO, "a", 0), -ENOTEMPTY);
    ck_assert_int_eq(op_rename(&kit, sub, "t", FS_ROOT_INO, "t", 0), 0);
    ck_assert_uint_eq(find(deep, ".."), FS_ROOT_INO);
}
END_TEST

START_TEST(no_replace_refuses_what_is_there)
{
    uint64_t ino = must_make(&kit, dir_a, "f", S_IFREG | 0644);
    (void)must_make(&kit, dir_a, "g", S_IFREG | 0644);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_a, "g", RENAME_NOREPLACE), -EEXIST);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_a, "h", RENAME_NOREPLACE), 0);
    ck_assert_uint_eq(find(dir_a, "h"), ino);
}
END_TEST

START_TEST(exchange_swaps_files_and_directories)
{
    uint64_t file = must_make(&kit, dir_a, "f", S_IFREG | 0644);
    uint64_t dir = must_make(&kit, dir_b, "d", S_IFDIR | 0755);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "no", RENAME_EXCHANGE), -ENOENT);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "d", RENAME_EXCHANGE), 0);
    ck_assert_uint_eq(find(dir_a, "f"), dir);
    ck_assert_uint_eq(find(dir_b, "d"), file);
    ck_assert_uint_eq(find(dir, ".."), dir_a);
    ck_assert_uint_eq(links(dir_a), 3);
    ck_assert_uint_eq(links(dir_b), 2);
    ck_assert_uint_eq(must_getattr(&kit, dir_a).size, 1);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "d", RENAME_EXCHANGE | RENAME_NOREPLACE),
                     -EINVAL);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "d", 4), -EINVAL);
}
END_TEST

START_TEST(two_names_of_one_inode_stay_as_they_are)
{
    uint64_t ino = must_make(&kit, dir_a, "f", S_IFREG | 0644);
    ck_assert_int_eq(op_link(&kit, ino, dir_b, "g"), 0);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "g", 0), 0);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_a, "f", 0), 0);
    ck_assert_uint_eq(find(dir_a, "f"), ino);
    ck_assert_uint_eq(find(dir_b, "g"), ino);
    ck_assert_uint_eq(links(ino), 2);
}
END_TEST

START_TEST(a_crash_leaves_the_old_name_or_the_new_one)
{
    uint64_t one = must_make(&kit, dir_a, "f", S_IFREG | 0644);
    uint64_t two = must_make(&kit, dir_b, "f", S_IFREG | 0644);
    must_sync(&kit);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "f", 0), 0);
    kit_crash_and_mount(&kit);
    ck_assert_uint_eq(find(dir_a, "f"), one);
    ck_assert_uint_eq(find(dir_b, "f"), two);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "f", 0), 0);
    must_sync(&kit);
    kit_crash_and_mount(&kit);
    ck_assert_uint_eq(find(dir_a, "f"), 0);
    ck_assert_uint_eq(find(dir_b, "f"), one);
}
END_TEST

START_TEST(nothing_is_renamed_into_a_removed_directory)
{
    uint64_t gone;
    (void)must_make(&kit, dir_a, "f", S_IFREG | 0644);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "b", &gone), 0);
    ck_assert_int_eq(op_rename(&kit, dir_a, "f", dir_b, "f", 0), -ENOENT);
    ck_assert_int_eq(op_rename(&kit, dir_a, "no", dir_a, "f", 0), -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rename");
    TCase *moves = tcase_create("moves");
    tcase_add_checked_fixture(moves, setup, teardown);
    tcase_add_test(moves, a_file_moves_between_directories);
    tcase_add_test(moves, a_directory_moves_with_its_parent_and_both_link_counts);
    tcase_add_test(moves, a_replaced_file_is_gone_with_its_last_name);
    tcase_add_test(moves, only_like_replaces_like_and_only_empty_directories);
    tcase_add_test(moves, a_directory_never_becomes_its_own_ancestor);
    tcase_add_test(moves, no_replace_refuses_what_is_there);
    tcase_add_test(moves, exchange_swaps_files_and_directories);
    tcase_add_test(moves, two_names_of_one_inode_stay_as_they_are);
    tcase_add_test(moves, a_crash_leaves_the_old_name_or_the_new_one);
    tcase_add_test(moves, nothing_is_renamed_into_a_removed_directory);
    suite_add_tcase(suite, moves);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
