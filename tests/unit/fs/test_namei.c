/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about names: making, finding, linking, removing; owners, modes and inherited lists. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "op_kit.h"

static struct kit kit;

static void setup(void)
{
    const struct fake_options options = {.trace = true};
    kit_init(&kit, &options);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static char long_name[257];

static const char *name_of(size_t bytes)
{
    memset(long_name, 'n', bytes);
    long_name[bytes] = '\0';
    return long_name;
}

static bool later(struct fs_time a, struct fs_time b)
{
    return a.seconds != b.seconds ? a.seconds > b.seconds : a.nanoseconds > b.nanoseconds;
}

START_TEST(names_may_have_255_bytes_and_no_more)
{
    uint64_t ino = 0;
    uint64_t gone;
    const char *fits = name_of(255);
    uint64_t made = must_make(&kit, FS_ROOT_INO, fits, S_IFREG | 0644);
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, fits, &ino), 0);
    ck_assert_uint_eq(ino, made);
    const char *more = name_of(256);
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, more, &ino), -ENAMETOOLONG);
    ck_assert_int_eq(op_make(&kit, FS_ROOT_INO, more, S_IFREG | 0644, &ino), -ENAMETOOLONG);
    ck_assert_int_eq(op_link(&kit, made, FS_ROOT_INO, more), -ENAMETOOLONG);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, more, &gone), -ENAMETOOLONG);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, more, &gone), -ENAMETOOLONG);
    ck_assert_int_eq(op_rename(&kit, FS_ROOT_INO, more, FS_ROOT_INO, "x", 0), -ENAMETOOLONG);
    ck_assert_int_eq(op_rename(&kit, FS_ROOT_INO, "x", FS_ROOT_INO, more, 0), -ENAMETOOLONG);
}
END_TEST

START_TEST(dot_and_dot_dot_are_found_and_never_made)
{
    uint64_t ino = 0;
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    uint64_t sub = must_make(&kit, dir, "s", S_IFDIR | 0755);
    uint64_t file = must_make(&kit, dir, "f", S_IFREG | 0644);
    ck_assert_int_eq(op_lookup(&kit, sub, ".", &ino), 0);
    ck_assert_uint_eq(ino, sub);
    ck_assert_int_eq(op_lookup(&kit, sub, "..", &ino), 0);
    ck_assert_uint_eq(ino, dir);
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, "..", &ino), 0);
    ck_assert_uint_eq(ino, FS_ROOT_INO);
    ck_assert_int_eq(op_lookup(&kit, file, ".", &ino), 0);
    ck_assert_uint_eq(ino, file);
    ck_assert_int_eq(op_lookup(&kit, file, "..", &ino), -ENOTDIR);
    ck_assert_int_eq(op_lookup(&kit, file, "x", &ino), -ENOTDIR);
    ck_assert_int_eq(op_make(&kit, dir, "..", S_IFREG | 0644, &ino), -EINVAL);
}
END_TEST

START_TEST(every_type_can_be_made_and_keeps_its_numbers)
{
    static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
    const struct fs_caller caller = {.uid = 7, .gid = 8, .umask = 027};
    for (unsigned i = 0; i < 6; i++) {
        struct fs_attr attr;
        char name[] = {(char)('a' + i), '\0'};
        const struct fs_make make = {
            .mode = types[i] | 0777, .rdev_major = 300, .rdev_minor = 70000};
        ck_assert_int_eq(
            fs_make(kit.fs, &kit.thread, &caller, FS_ROOT_INO, op_name(name), &make, &attr), 0);
        kit_crash_and_mount(&kit);
        ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, name, &attr.ino), -ENOENT);
        ck_assert_int_eq(
            fs_make(kit.fs, &kit.thread, &caller, FS_ROOT_INO, op_name(name), &make, &attr), 0);
        must_sync(&kit);
        kit_crash_and_mount(&kit);
        attr = must_getattr(&kit, attr.ino);
        bool device = types[i] == S_IFCHR || types[i] == S_IFBLK;
        ck_assert_uint_eq(attr.mode, types[i] | 0750);
        ck_assert_uint_eq(attr.uid, 7);
        ck_assert_uint_eq(attr.gid, 8);
        ck_assert_uint_eq(attr.nlink, types[i] == S_IFDIR ? 2 : 1);
        ck_assert_uint_eq(attr.rdev_major, device ? 300 : 0);
        ck_assert_uint_eq(attr.rdev_minor, device ? 70000 : 0);
    }
    ck_assert_uint_eq(must_getattr(&kit, FS_ROOT_INO).nlink, 3);
}
END_TEST

START_TEST(inode_numbers_are_never_used_again)
{
    uint64_t last = 0;
    uint64_t gone;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
        ck_assert_uint_gt(ino, last);
        last = ino;
        ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
        ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
        if (i % 5 == 4) {
            must_sync(&kit);
            kit_crash_and_mount(&kit);
        }
    }
}
END_TEST

START_TEST(a_symlink_target_may_have_4095_bytes)
{
    static char target[4097];
    static char back[4096];
    size_t bytes = 0;
    memset(target, 't', 4095);
    target[1900] = '1';
    target[3800] = '2';
    uint64_t ino = must_symlink(&kit, FS_ROOT_INO, "l", target);
    ck_assert_int_eq(fs_readlink(kit.fs, &kit.thread, ino, back, &bytes), 0);
    ck_assert_uint_eq(bytes, 4095);
    ck_assert_int_eq(memcmp(back, target, 4095), 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode, S_IFLNK | 0777);
    ck_assert_uint_eq(must_getattr(&kit, ino).size, 4095);
    const struct fs_caller caller = {0};
    const struct fs_make make = {
        .mode = S_IFLNK | 0777, .symlink_target = target, .symlink_bytes = 4096};
    struct fs_attr attr;
    ck_assert_int_eq(fs_make(kit.fs, &kit.thread, &caller, FS_ROOT_INO, op_name("m"), &make, &attr),
                     -ENAMETOOLONG);
    ck_assert_int_eq(fs_readlink(kit.fs, &kit.thread, FS_ROOT_INO, back, &bytes), -EINVAL);
}
END_TEST

START_TEST(a_setgid_directory_hands_down_its_group)
{
    struct fs_attr out;
    const struct fs_attr in = {.mode = 02775, .gid = 55};
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0775);
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, dir, &in, FS_SET_GID | FS_SET_MODE, &out), 0);
    struct fs_attr file = must_getattr(&kit, must_make(&kit, dir, "f", S_IFREG | 0644));
    struct fs_attr sub = must_getattr(&kit, must_make(&kit, dir, "s", S_IFDIR | 0755));
    ck_assert_uint_eq(file.gid, 55);
    ck_assert_uint_eq(file.mode, S_IFREG | 0644);
    ck_assert_uint_eq(sub.gid, 55);
    ck_assert_uint_eq(sub.mode, S_IFDIR | 02755);
}
END_TEST

static const uint8_t default_list[] = {
    2,    0, 0, 0,                         /* version */
    1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner rwx */
    2,    0, 6, 0, 0xe8, 3,    0,    0,    /* user 1000 rw- */
    4,    0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* group r-x */
    0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* mask rwx */
    0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* other --- */
};

START_TEST(a_default_list_is_handed_down_in_place_of_the_umask)
{
    uint8_t list[256];
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    ck_assert_int_eq(
        op_set_xattr(&kit, dir, "system.posix_acl_default", default_list, sizeof(default_list)), 0);
    uint64_t file = must_make(&kit, dir, "f", S_IFREG | 0666);
    uint64_t sub = must_make(&kit, dir, "s", S_IFDIR | 0777);
    uint64_t link = must_symlink(&kit, dir, "l", "target");
    ck_assert_uint_eq(must_getattr(&kit, file).mode, S_IFREG | 0660);
    ck_assert_int_eq(op_get_xattr(&kit, file, "system.posix_acl_access", list, sizeof(list)),
                     sizeof(default_list));
    ck_assert_uint_eq(list[4 + 3 * 8 + 2], 6); /* the mask, cut down by the mode */
    ck_assert_int_eq(op_get_xattr(&kit, file, "system.posix_acl_default", list, sizeof(list)),
                     -ENODATA);
    ck_assert_uint_eq(must_getattr(&kit, sub).mode, S_IFDIR | 0770);
    ck_assert_int_eq(op_get_xattr(&kit, sub, "system.posix_acl_default", list, sizeof(list)),
                     sizeof(default_list));
    ck_assert_int_eq(memcmp(list, default_list, sizeof(default_list)), 0);
    ck_assert_uint_eq(must_getattr(&kit, link).mode, S_IFLNK | 0777);
    ck_assert_int_eq(op_get_xattr(&kit, link, "system.posix_acl_access", list, sizeof(list)),
                     -ENODATA);
    uint64_t gone;
    ck_assert_int_eq(op_rmdir(&kit, dir, "s", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
}
END_TEST

START_TEST(a_plain_default_list_leaves_only_its_mode)
{
    uint8_t list[256];
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    static const uint8_t plain[] = {
        2,    0, 0, 0,                         /* version */
        1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
        4,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* group */
        0x20, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* other */
    };
    ck_assert_int_eq(op_set_xattr(&kit, dir, "system.posix_acl_default", plain, sizeof(plain)), 0);
    uint64_t file = must_make(&kit, dir, "f", S_IFREG | 0666);
    ck_assert_uint_eq(must_getattr(&kit, file).mode, S_IFREG | 0666);
    ck_assert_int_eq(op_get_xattr(&kit, file, "system.posix_acl_access", list, sizeof(list)),
                     -ENODATA);
}
END_TEST

START_TEST(links_count_and_change_ctime_only)
{
    uint64_t gone = 99;
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "a", S_IFREG | 0644);
    struct fs_attr before = must_getattr(&kit, ino);
    env_sleep_ns(2000000);
    ck_assert_int_eq(op_link(&kit, ino, FS_ROOT_INO, "b"), 0);
    struct fs_attr after = must_getattr(&kit, ino);
    ck_assert_uint_eq(after.nlink, 2);
    ck_assert(later(after.ctime, before.ctime));
    ck_assert(!later(after.mtime, before.mtime));
    ck_assert_int_eq(op_link(&kit, ino, FS_ROOT_INO, "b"), -EEXIST);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "a", &gone), 0);
    ck_assert_uint_eq(gone, 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).nlink, 1);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "b", &gone), 0);
    ck_assert_uint_eq(gone, ino);
    ck_assert_int_eq(op_link(&kit, ino, FS_ROOT_INO, "c"), -ENOENT);
    ck_assert_int_eq(op_link(&kit, FS_ROOT_INO, FS_ROOT_INO, "r"), -EPERM);
}
END_TEST

START_TEST(too_many_links_are_refused)
{
    char name[32];
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "a", S_IFREG | 0644);
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    int error = 0;
    uint32_t made = 1;
    for (; error == 0; made++) {
        (void)snprintf(name, sizeof(name), "%u", made); /* always fits */
        error = op_link(&kit, ino, dir, name);
    }
    ck_assert_int_eq(error, -EMLINK);
    ck_assert_uint_eq(must_getattr(&kit, ino).nlink, FS_LINKS_MAX);
}
END_TEST

START_TEST(directories_change_their_times_with_their_names)
{
    uint64_t gone;
    struct fs_attr before = must_getattr(&kit, FS_ROOT_INO);
    env_sleep_ns(2000000);
    (void)must_make(&kit, FS_ROOT_INO, "a", S_IFREG | 0644);
    struct fs_attr made = must_getattr(&kit, FS_ROOT_INO);
    ck_assert(later(made.mtime, before.mtime) && later(made.ctime, before.ctime));
    env_sleep_ns(2000000);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "a", &gone), 0);
    struct fs_attr removed = must_getattr(&kit, FS_ROOT_INO);
    ck_assert(later(removed.mtime, made.mtime) && later(removed.ctime, made.ctime));
}
END_TEST

START_TEST(only_empty_directories_are_removed)
{
    uint64_t gone = 0;
    uint64_t ino;
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    uint64_t file = must_make(&kit, dir, "f", S_IFREG | 0644);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "d", &gone), -ENOTEMPTY);
    ck_assert_int_eq(op_rmdir(&kit, dir, "f", &gone), -ENOTDIR);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "d", &gone), -EISDIR);
    ck_assert_int_eq(op_unlink(&kit, dir, "f", &gone), 0);
    ck_assert_uint_eq(gone, file);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "d", &gone), 0);
    ck_assert_uint_eq(gone, dir);
    ck_assert_uint_eq(must_getattr(&kit, FS_ROOT_INO).nlink, 2);
    ck_assert_uint_eq(must_getattr(&kit, dir).nlink, 0);
    ck_assert_int_eq(op_make(&kit, dir, "late", S_IFREG | 0644, &ino), -ENOENT);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "d", &gone), -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("namei");
    TCase *names = tcase_create("names");
    tcase_set_timeout(names, 60);
    tcase_add_checked_fixture(names, setup, teardown);
    tcase_add_test(names, names_may_have_255_bytes_and_no_more);
    tcase_add_test(names, dot_and_dot_dot_are_found_and_never_made);
    tcase_add_test(names, every_type_can_be_made_and_keeps_its_numbers);
    tcase_add_test(names, inode_numbers_are_never_used_again);
    tcase_add_test(names, a_symlink_target_may_have_4095_bytes);
    tcase_add_test(names, a_setgid_directory_hands_down_its_group);
    tcase_add_test(names, a_default_list_is_handed_down_in_place_of_the_umask);
    tcase_add_test(names, a_plain_default_list_leaves_only_its_mode);
    tcase_add_test(names, links_count_and_change_ctime_only);
    tcase_add_test(names, too_many_links_are_refused);
    tcase_add_test(names, directories_change_their_times_with_their_names);
    tcase_add_test(names, only_empty_directories_are_removed);
    suite_add_tcase(suite, names);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
