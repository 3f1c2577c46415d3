/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of /proc/self/mountinfo, paths, and the names that are mount points. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_table.h"

START_TEST(a_line_is_taken_apart)
{
    char text[] = "2186 1799 0:52 / /mnt/a\\040b rw,nosuid,nodev shared:1 master:2 - fuse.r5fs "
                  "/srv/a:/srv/b\\134c rw,user_id=1000,group_id=100,allow_other\n";
    struct mount_line line;

    ck_assert(mount_line_parse(text, &line));
    ck_assert_str_eq(line.mountpoint, "/mnt/a b");
    ck_assert_str_eq(line.type, "fuse.r5fs");
    ck_assert_str_eq(line.source, "/srv/a:/srv/b\\c");
    ck_assert_str_eq(line.mount_options, "rw,nosuid,nodev");
    ck_assert_str_eq(line.super_options, "rw,user_id=1000,group_id=100,allow_other");
    ck_assert_uint_eq(line.device_minor, 52);
}
END_TEST

START_TEST(a_line_without_the_known_form_is_passed_over)
{
    const char *const wrong[] = {"",
                                 "\n",
                                 "36 35 0:52 / /mnt",
                                 "36 35 0:52 / /mnt rw,x fuse s o",
                                 "36 35 052 / /mnt rw - fuse s o\n"};
    struct mount_line line;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "%s", wrong[i]);
        ck_assert_msg(!mount_line_parse(text, &line), "'%s'", wrong[i]);
    }
}
END_TEST

START_TEST(a_path_is_resolved_by_its_parent_and_symlinks_followed)
{
    char directory[] = "/tmp/test_mount_table.XXXXXX";
    char path[256];
    char expected[256];
    char resolved[FUSE_SERVE_MNT_BYTES];

    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(chdir(directory), 0);
    ck_assert_int_eq(mkdir("real", 0700), 0);
    ck_assert_int_eq(symlink("real", "link"), 0);
    (void)snprintf(expected, sizeof(expected), "%s/real", directory);
    const char *const forms[] = {
        "real", "./real", "real/", "real/.", "link", "link/", "real/../real"};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        ck_assert_int_eq(mount_path_resolve(forms[i], resolved), 0);
        ck_assert_msg(strcmp(resolved, expected) == 0, "%s: %s", forms[i], resolved);
    }
    (void)snprintf(path, sizeof(path), "%s//link///", directory);
    ck_assert_int_eq(mount_path_resolve(path, resolved), 0);
    ck_assert_str_eq(resolved, expected);
    ck_assert_int_eq(mount_path_resolve("/", resolved), 0);
    ck_assert_str_eq(resolved, "/");
    ck_assert_int_eq(mount_path_resolve("/proc", resolved), 0);
    ck_assert_str_eq(resolved, "/proc");
    ck_assert_int_eq(mount_path_resolve("nowhere/x", resolved), -ENOENT);
    ck_assert_int_eq(mount_path_resolve("", resolved), -ENOENT);
    ck_assert_int_eq(unlink("link"), 0);
    ck_assert_int_eq(rmdir("real"), 0);
    ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

START_TEST(what_is_not_ours_is_not_found)
{
    struct mount_entry entry;

    ck_assert_int_eq(mount_table_find("/proc", &entry), -ENOENT);
    ck_assert_int_eq(mount_table_find("/proc/self", &entry), -ENOENT);
    ck_assert_int_eq(mount_table_get(100000, &entry), -ENOENT);
}
END_TEST

START_TEST(names_of_mount_points_below_are_known)
{
    struct mount_names names;

    /* /proc and /sys are mounted below / wherever a test runs. */
    mount_names_load(&names, "");
    ck_assert(names.count > 0);
    ck_assert(mount_names_has(&names, "proc", 4));
    ck_assert(names.all || !mount_names_has(&names, "no-such-mount-point", 19));
    mount_names_load(&names, "/no/such/mount");
    ck_assert_uint_eq(names.count, 0);
    ck_assert(!mount_names_has(&names, "proc", 4));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mount_table");
    TCase *table = tcase_create("table");

    tcase_add_test(table, a_line_is_taken_apart);
    tcase_add_test(table, a_line_without_the_known_form_is_passed_over);
    tcase_add_test(table, a_path_is_resolved_by_its_parent_and_symlinks_followed);
    tcase_add_test(table, what_is_not_ours_is_not_found);
    tcase_add_test(table, names_of_mount_points_below_are_known);
    suite_add_tcase(suite, table);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
