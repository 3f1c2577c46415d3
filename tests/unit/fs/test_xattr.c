/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about extended attributes: names, sizes, flags, access lists, crashes between steps. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "op_kit.h"
#include "xattr.h"

static struct kit kit;
static uint64_t ino;
static uint8_t value[FS_XATTR_VALUE_BYTES_MAX + 1];
static uint8_t back[FS_XATTR_VALUE_BYTES_MAX + 1];

static void setup(void)
{
    const struct fake_options options = {.trace = true};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    uint64_t state = 99;
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] = (uint8_t)kit_random(&state);
    }
}

static void teardown(void)
{
    kit_fini(&kit);
}

static int set_flags(const char *name, size_t bytes, int flags)
{
    return fs_setxattr(kit.fs, &kit.thread, ino, op_name(name), value, bytes, flags, false);
}

static int64_t get(const char *name)
{
    int64_t bytes = op_get_xattr(&kit, ino, name, back, sizeof(back));
    if (bytes > 0) {
        ck_assert_int_eq(memcmp(back, value, (size_t)bytes), 0);
    }
    return bytes;
}

static int drop(const char *name)
{
    return fs_removexattr(kit.fs, &kit.thread, ino, op_name(name));
}

static size_t listed(void)
{
    static char list[65536];
    size_t bytes = 0;
    ck_assert_int_eq(fs_listxattr(kit.fs, &kit.thread, ino, true, list, sizeof(list), &bytes), 0);
    return bytes;
}

START_TEST(values_of_any_size_come_back)
{
    static const size_t sizes[] = {0, 1, 1023, 1024, 1025, 1900, 1901, 3800, 40000, 65536};
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(set_flags("user.x", sizes[i], 0), 0);
        ck_assert_int_eq(get("user.x"), (int64_t)sizes[i]);
        ck_assert_int_eq(op_get_xattr(&kit, ino, "user.x", NULL, 0), (int64_t)sizes[i]);
        if (sizes[i] > 1) {
            ck_assert_int_eq(op_get_xattr(&kit, ino, "user.x", back, sizes[i] - 1), -ERANGE);
        }
    }
    for (unsigned i = 10; i-- > 0;) {
        ck_assert_int_eq(set_flags("user.x", sizes[i], 0), 0);
        ck_assert_int_eq(get("user.x"), (int64_t)sizes[i]);
    }
    ck_assert_int_eq(set_flags("user.x", 65537, 0), -E2BIG);
    ck_assert_int_eq(drop("user.x"), 0);
    ck_assert_int_eq(get("user.x"), -ENODATA);
}
END_TEST

START_TEST(create_and_replace_mean_what_they_say)
{
    ck_assert_int_eq(set_flags("user.x", 5, XATTR_REPLACE), -ENODATA);
    ck_assert_int_eq(set_flags("user.x", 5, XATTR_CREATE), 0);
    ck_assert_int_eq(set_flags("user.x", 6, XATTR_CREATE), -EEXIST);
    ck_assert_int_eq(set_flags("user.x", 6000, XATTR_CREATE), -EEXIST);
    ck_assert_int_eq(set_flags("user.x", 7, XATTR_REPLACE), 0);
    ck_assert_int_eq(set_flags("user.y", 6000, XATTR_REPLACE), -ENODATA);
    ck_assert_int_eq(set_flags("user.x", 7, 8), -EINVAL);
    ck_assert_int_eq(get("user.x"), 7);
}
END_TEST

START_TEST(namespaces_have_their_rules)
{
    static char name[258];
    uint64_t file = ino;
    ck_assert_int_eq(set_flags("user.", 1, 0), -EINVAL);
    ck_assert_int_eq(set_flags("other.x", 1, 0), -EOPNOTSUPP);
    ck_assert_int_eq(set_flags("system.x", 1, 0), -EOPNOTSUPP);
    ck_assert_int_eq(set_flags("nothing", 1, 0), -EOPNOTSUPP);
    ck_assert_int_eq(set_flags("trusted.x", 1, 0), 0);
    ck_assert_int_eq(set_flags("security.x", 1, 0), 0);
    memset(name, 'n', sizeof(name) - 1);
    memcpy(name, "user.", 5);
    ck_assert_int_eq(set_flags(name, 1, 0), -ERANGE);
    name[255] = '\0';
    ck_assert_int_eq(set_flags(name, 1, 0), 0);
    ck_assert_int_eq(get(name), 1);
    ino = must_symlink(&kit, FS_ROOT_INO, "l", "target");
    ck_assert_int_eq(set_flags("user.x", 1, 0), -EPERM);
    ck_assert_int_eq(set_flags("trusted.x", 1, 0), 0);
    ino = must_make(&kit, FS_ROOT_INO, "fifo", S_IFIFO | 0644);
    ck_assert_int_eq(set_flags("user.x", 1, 0), -EPERM);
    ino = file;
}
END_TEST

START_TEST(the_list_names_all_and_is_measured_first)
{
    char name[32];
    char small[8];
    size_t expected = 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "user.name-%u", i); /* always fits */
        ck_assert_int_eq(set_flags(name, 900, 0), 0);
        expected += strlen(name) + 1;
    }
    ck_assert_uint_eq(listed(), expected);
    ck_assert_int_eq(fs_listxattr(kit.fs, &kit.thread, ino, true, NULL, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, expected);
    ck_assert_int_eq(fs_listxattr(kit.fs, &kit.thread, ino, true, small, sizeof(small), &bytes),
                     -ERANGE);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "user.name-%u", i); /* always fits */
        ck_assert_int_eq(drop(name), 0);
    }
    ck_assert_uint_eq(listed(), 0);
    ck_assert_int_eq(drop("user.name-1"), -ENODATA);
}
END_TEST

START_TEST(removed_values_give_their_blocks_back)
{
    must_sync(&kit);
    uint64_t before = must_free_blocks(&kit);
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "user.%u", i); /* always fits */
        ck_assert_int_eq(set_flags(name, 65536, 0), 0);
        ck_assert_int_eq(set_flags(name, 30000, 0), 0);
    }
    ck_assert_uint_lt(must_free_blocks(&kit), before - 100);
    for (unsigned i = 0; i < 20; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "user.%u", i); /* always fits */
        ck_assert_int_eq(drop(name), 0);
    }
    must_sync(&kit);
    ck_assert_uint_ge(must_free_blocks(&kit) + 10, before);
}
END_TEST

/* Crash after each transaction of replacing one large value by another. */
START_TEST(a_crash_between_steps_leaves_the_old_value_or_the_new_one)
{
    ck_assert_int_eq(set_flags("user.x", 50000, 0), 0);
    must_sync(&kit);
    uint64_t first = fake_units(kit.journal);
    ck_assert_int_eq(set_flags("user.x", 60000, 0), 0);
    must_sync(&kit);
    uint64_t last = fake_units(kit.journal);
    unsigned olds = 0;
    unsigned news = 0;
    ck_assert_uint_gt(last, first + 2);
    for (uint64_t at = first; at <= last; at++) {
        struct kit crashed;
        kit_init_at(&crashed, fake_journal_at(kit.journal, at, false));
        int64_t bytes = op_get_xattr(&crashed, ino, "user.x", back, sizeof(back));
        ck_assert(bytes == 50000 || bytes == 60000);
        ck_assert_int_eq(memcmp(back, value, (size_t)bytes), 0);
        olds += bytes == 50000 ? 1 : 0;
        news += bytes == 60000 ? 1 : 0;
        ck_assert_uint_eq(must_getattr(&crashed, ino).nlink, 1);
        ck_assert_int_eq(op_set_xattr(&crashed, ino, "user.x", value, 20000), 0);
        kit_fini(&crashed);
    }
    ck_assert_uint_gt(olds, 1);
    ck_assert_uint_gt(news, 0);
}
END_TEST

START_TEST(no_room_for_a_value_leaves_the_old_one)
{
    kit_fini(&kit);
    const struct fake_options options = {.volume_blocks = 512};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    ck_assert_int_eq(set_flags("user.x", 3000, 0), 0);
    uint64_t full = must_make(&kit, FS_ROOT_INO, "full", S_IFREG | 0644);
    uint64_t left = must_free_blocks(&kit);
    ck_assert_int_eq(fs_fallocate(kit.fs, &kit.thread, full, 0, 0, (left - 12) * BLOCK_BYTES), 0);
    ck_assert_int_eq(set_flags("user.x", 65536, 0), -ENOSPC);
    ck_assert_int_eq(get("user.x"), 3000);
    ck_assert_int_eq(set_flags("user.x", 10, 0), 0);
    ck_assert_int_eq(get("user.x"), 10);
    ck_assert_int_eq(drop("user.x"), 0);
}
END_TEST

START_TEST(access_lists_are_checked_and_dropped_when_plain)
{
    static const uint8_t plain[] = {
        2,    0, 0, 0,                         /* version */
        1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
        4,    0, 4, 0, 0xff, 0xff, 0xff, 0xff, /* group */
        0x20, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, /* other */
    };
    static const char access[] = "system.posix_acl_access";
    static const char inherited[] = "system.posix_acl_default";
    static const uint8_t none[] = {2, 0, 0, 0};
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, plain, sizeof(plain)), 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 0741);
    ck_assert_int_eq(get(access), -ENODATA);
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, plain, sizeof(plain) - 8), -EINVAL);
    ck_assert_int_eq(op_set_xattr(&kit, ino, inherited, plain, sizeof(plain)), -EACCES);
    ck_assert_int_eq(drop(access), 0);
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    ck_assert_int_eq(op_set_xattr(&kit, dir, inherited, plain, sizeof(plain)), 0);
    ck_assert_int_eq(op_get_xattr(&kit, dir, inherited, back, sizeof(back)), sizeof(plain));
    ck_assert_uint_eq(must_getattr(&kit, dir).mode & 07777, 0755);
    ck_assert_int_eq(op_set_xattr(&kit, dir, inherited, none, sizeof(none)), 0);
    ck_assert_int_eq(op_get_xattr(&kit, dir, inherited, back, sizeof(back)), -ENODATA);
    uint64_t link = must_symlink(&kit, FS_ROOT_INO, "l", "target");
    ck_assert_int_eq(op_set_xattr(&kit, link, access, plain, sizeof(plain)), -EOPNOTSUPP);
}
END_TEST

START_TEST(setting_a_list_takes_sgid_when_told)
{
    static const uint8_t plain[] = {
        2,    0, 0, 0,                         /* version */
        1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
        4,    0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* group */
        0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* other */
    };
    struct fs_name name = op_name("system.posix_acl_access");
    ck_assert_int_eq(op_set_mode(&kit, ino, 02755), 0);
    ck_assert_int_eq(fs_setxattr(kit.fs, &kit.thread, ino, name, plain, sizeof(plain), 0, false),
                     0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 02755);
    ck_assert_int_eq(fs_setxattr(kit.fs, &kit.thread, ino, name, plain, sizeof(plain), 0, true), 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 0755);
}
END_TEST

/* A list of owner, `count` - 4 users, group, mask and other. Its size. */
static size_t fill_list(uint8_t *list, unsigned count, unsigned mask)
{
    static const uint8_t version[] = {2, 0, 0, 0};
    uint8_t *at = list + sizeof(version);

    memcpy(list, version, sizeof(version));
    for (unsigned i = 0; i < count; i++, at += 8) {
        bool user = i > 0 && i < count - 3;
        uint8_t tag = user ? 2 : i == 0 ? 1 : i == count - 3 ? 4 : i == count - 2 ? 0x10 : 0x20;
        uint8_t perm = i == count - 2 ? (uint8_t)mask : 6;
        const uint8_t entry[8] = {tag, 0, perm, 0, (uint8_t)i, 4, 0, 0};
        const uint8_t nobody[4] = {0xff, 0xff, 0xff, 0xff};
        memcpy(at, entry, sizeof(entry));
        if (!user) {
            memcpy(at + 4, nobody, sizeof(nobody));
        }
    }
    return (size_t)(at - list);
}

START_TEST(access_lists_hold_235_entries_and_are_inherited_whole)
{
    static const char access[] = "system.posix_acl_access";
    static const char inherited[] = "system.posix_acl_default";
    static uint8_t list[4096];
    size_t most = fill_list(list, 235, 6);
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, list, most), 0);
    ck_assert_int_eq(op_get_xattr(&kit, ino, access, back, sizeof(back)), (int64_t)most);
    ck_assert_mem_eq(back, list, most);
    ck_assert_int_eq(op_set_xattr(&kit, dir, access, list, most), 0);
    ck_assert_int_eq(op_set_xattr(&kit, dir, inherited, list, most), 0);
    for (unsigned i = 0; i < 40; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "sub-%u", i); /* fits */
        uint64_t sub = must_make(&kit, dir, name, S_IFDIR | 0777);
        ck_assert_int_eq(op_get_xattr(&kit, sub, inherited, back, sizeof(back)), (int64_t)most);
        ck_assert_mem_eq(back, list, most);
        ck_assert_int_eq(op_get_xattr(&kit, sub, access, back, sizeof(back)), (int64_t)most);
        ck_assert_int_eq(op_set_mode(&kit, sub, 0740), 0);
        ck_assert_int_eq(op_get_xattr(&kit, sub, access, back, sizeof(back)), (int64_t)most);
        ck_assert_uint_eq(back[most - 16 + 2], 4); /* the mask follows */
    }
    fill_list(list, 236, 5);
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, list, most + 8), -ENOSPC);
    ck_assert_int_eq(op_get_xattr(&kit, ino, access, back, sizeof(back)), (int64_t)most);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 0777, 0666);
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, list, fill_list(list, 5, 6)), 0);
    ck_assert_int_eq(op_set_xattr(&kit, ino, access, list, fill_list(list, 235, 6)), 0);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    kit_crash_and_mount(&kit);
    ck_assert_int_eq(op_get_xattr(&kit, ino, access, back, sizeof(back)), (int64_t)most);
}
END_TEST

START_TEST(other_attributes_are_not_kept_in_items_so_large)
{
    static uint8_t data[10 + 6 + 1025] = {0};
    static const char name[6] = "user.x";
    struct xattr_item item;
    struct fs_xattr_disk disk = {.value_bytes = le32_make(1025), .name_bytes = 6};
    memcpy(data, &disk, sizeof(disk));
    memcpy(data + sizeof(disk), name, sizeof(name));
    ck_assert_ptr_nonnull(xattr_decode(data, sizeof(data), &item));
}
END_TEST

START_TEST(trusted_names_are_listed_to_the_trusted)
{
    char list[64];
    size_t bytes = 0;
    ck_assert_int_eq(set_flags("trusted.x", 5, 0), 0);
    ck_assert_int_eq(set_flags("user.x", 5, 0), 0);
    ck_assert_uint_eq(listed(), sizeof("trusted.x") + sizeof("user.x"));
    ck_assert_int_eq(fs_listxattr(kit.fs, &kit.thread, ino, false, NULL, 0, &bytes), 0);
    ck_assert_uint_eq(bytes, sizeof("user.x"));
    /* A buffer that has just room for what is shown. */
    ck_assert_int_eq(fs_listxattr(kit.fs, &kit.thread, ino, false, list, bytes, &bytes), 0);
    ck_assert_uint_eq(bytes, sizeof("user.x"));
    ck_assert_str_eq(list, "user.x");
}
END_TEST

START_TEST(items_that_cannot_be_are_refused)
{
    static const char text[10] = "user.xABCD";
    uint8_t data[64] = {0};
    struct xattr_item item;
    struct fs_xattr_disk disk = {.value_bytes = le32_make(4), .name_bytes = 6};
    memcpy(data, &disk, sizeof(disk));
    memcpy(data + sizeof(disk), text, sizeof(text));
    ck_assert_ptr_null(xattr_decode(data, 20, &item));
    ck_assert_uint_eq(item.value_bytes, 4);
    ck_assert_ptr_nonnull(xattr_decode(data, 19, &item));
    ck_assert_ptr_nonnull(xattr_decode(data, 21, &item));
    ck_assert_ptr_nonnull(xattr_decode(data, 9, &item));
    /* Nothing behind the item is looked at: the sanitizer would say so. */
    uint8_t *cut = malloc(sizeof(disk) + 1);
    ck_assert_ptr_nonnull(cut);
    disk.name_bytes = 23;
    memcpy(cut, &disk, sizeof(disk));
    ck_assert_ptr_nonnull(xattr_decode(cut, sizeof(disk) + 1, &item));
    free(cut);
    disk.name_bytes = 6;
    disk.flags = 2;
    memcpy(data, &disk, sizeof(disk));
    ck_assert_ptr_nonnull(xattr_decode(data, 20, &item));
    disk.flags = FS_XATTR_CHUNKED;
    memcpy(data, &disk, sizeof(disk));
    ck_assert_ptr_null(xattr_decode(data, 16, &item));
    ck_assert_ptr_nonnull(xattr_decode(data, 20, &item));
    disk.value_bytes = le32_make(FS_XATTR_VALUE_BYTES_MAX + 1);
    memcpy(data, &disk, sizeof(disk));
    ck_assert_ptr_nonnull(xattr_decode(data, 16, &item));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("xattr");
    TCase *values = tcase_create("values");
    tcase_set_timeout(values, 60);
    tcase_add_checked_fixture(values, setup, teardown);
    tcase_add_test(values, values_of_any_size_come_back);
    tcase_add_test(values, create_and_replace_mean_what_they_say);
    tcase_add_test(values, namespaces_have_their_rules);
    tcase_add_test(values, the_list_names_all_and_is_measured_first);
    tcase_add_test(values, removed_values_give_their_blocks_back);
    tcase_add_test(values, a_crash_between_steps_leaves_the_old_value_or_the_new_one);
    tcase_add_test(values, no_room_for_a_value_leaves_the_old_one);
    tcase_add_test(values, access_lists_are_checked_and_dropped_when_plain);
    tcase_add_test(values, setting_a_list_takes_sgid_when_told);
    tcase_add_test(values, access_lists_hold_235_entries_and_are_inherited_whole);
    tcase_add_test(values, other_attributes_are_not_kept_in_items_so_large);
    tcase_add_test(values, trusted_names_are_listed_to_the_trusted);
    tcase_add_test(values, items_that_cannot_be_are_refused);
    suite_add_tcase(suite, values);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
