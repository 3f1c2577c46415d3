/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about attributes: times to the nanosecond, modes and lists, privileges that go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "op_kit.h"

static struct kit kit;
static uint64_t ino;

static void setup(void)
{
    const struct fake_options options = {.trace = true};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static bool same_time(struct fs_time a, struct fs_time b)
{
    return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds;
}

/* What it answers is what is there afterwards. */
static struct fs_attr set(const struct fs_attr *in, uint32_t mask)
{
    struct fs_attr out;
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, ino, in, mask, &out), 0);
    struct fs_attr again = must_getattr(&kit, ino);
    ck_assert_uint_eq(out.size, again.size);
    ck_assert_uint_eq(out.blocks, again.blocks);
    ck_assert_uint_eq(out.mode, again.mode);
    ck_assert_uint_eq(out.uid, again.uid);
    ck_assert_uint_eq(out.gid, again.gid);
    ck_assert(same_time(out.atime, again.atime) && same_time(out.mtime, again.mtime));
    ck_assert(same_time(out.ctime, again.ctime) && same_time(out.btime, again.btime));
    return out;
}

static bool later(struct fs_time a, struct fs_time b)
{
    return a.seconds != b.seconds ? a.seconds > b.seconds : a.nanoseconds > b.nanoseconds;
}

START_TEST(times_are_kept_to_the_nanosecond_also_before_1970)
{
    const struct fs_attr in = {.atime = {-5, 999999999}, .mtime = {4102444800, 1}};
    (void)set(&in, FS_SET_ATIME | FS_SET_MTIME);
    must_sync(&kit);
    kit_crash_and_mount(&kit);
    struct fs_attr attr = must_getattr(&kit, ino);
    ck_assert_int_eq(attr.atime.seconds, -5);
    ck_assert_uint_eq(attr.atime.nanoseconds, 999999999);
    ck_assert_int_eq(attr.mtime.seconds, 4102444800);
    ck_assert_uint_eq(attr.mtime.nanoseconds, 1);
}
END_TEST

START_TEST(only_what_the_mask_names_changes)
{
    struct fs_attr before = must_getattr(&kit, ino);
    const struct fs_attr in = {.uid = 5, .gid = 6, .mode = 0777, .flags = 0x10};
    env_sleep_ns(2000000);
    struct fs_attr after = set(&in, FS_SET_GID);
    ck_assert_uint_eq(after.gid, 6);
    ck_assert_uint_eq(after.uid, before.uid);
    ck_assert_uint_eq(after.mode, before.mode);
    ck_assert_uint_eq(after.flags, before.flags);
    ck_assert(later(after.ctime, before.ctime));
    ck_assert(!later(after.mtime, before.mtime));
    after = set(&in, FS_SET_FLAGS);
    ck_assert_uint_eq(after.flags, 0x10);
    after = set(&in, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW);
    ck_assert(later(after.mtime, before.mtime));
    ck_assert(later(after.atime, before.atime));
}
END_TEST

START_TEST(a_mode_keeps_the_type)
{
    const struct fs_attr in = {.mode = S_IFDIR | 07123};
    ck_assert_uint_eq(set(&in, FS_SET_MODE).mode, S_IFREG | 07123);
}
END_TEST

START_TEST(a_new_owner_takes_suid_and_sgid_from_files_and_not_from_directories)
{
    const struct fs_attr in = {.uid = 5};
    struct fs_attr out;
    ck_assert_int_eq(op_set_mode(&kit, ino, 06755), 0);
    ck_assert_uint_eq(set(&in, FS_SET_UID).mode & 07777, 0755);
    ck_assert_int_eq(op_set_mode(&kit, ino, 06644), 0);
    ck_assert_uint_eq(set(&in, FS_SET_UID).mode & 07777, 02644);
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    ck_assert_int_eq(op_set_mode(&kit, dir, 06755), 0);
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, dir, &in, FS_SET_UID, &out), 0);
    ck_assert_uint_eq(out.mode & 07777, 06755);
}
END_TEST

START_TEST(a_truncate_drops_privileges_only_when_told)
{
    const struct fs_attr in = {.size = 10};
    ck_assert_int_eq(op_set_mode(&kit, ino, 06755), 0);
    ck_assert_uint_eq(set(&in, FS_SET_SIZE).mode & 07777, 06755);
    ck_assert_uint_eq(set(&in, FS_SET_SIZE | FS_SET_KILL_PRIV).mode & 07777, 0755);
}
END_TEST

START_TEST(size_and_other_attributes_change_together)
{
    const struct fs_attr in = {.size = 5000, .mode = 0600, .mtime = {77, 8}};
    struct fs_attr out = set(&in, FS_SET_SIZE | FS_SET_MODE | FS_SET_MTIME);
    ck_assert_uint_eq(out.size, 5000);
    ck_assert_uint_eq(out.mode & 07777, 0600);
    ck_assert_int_eq(out.mtime.seconds, 77);
}
END_TEST

static bool has_caps(void)
{
    uint8_t value[64];
    return op_get_xattr(&kit, ino, "security.capability", value, sizeof(value)) > 0;
}

static void give_caps(void)
{
    ck_assert_int_eq(op_set_xattr(&kit, ino, "security.capability", "0123456789", 10), 0);
    ck_assert(has_caps());
}

START_TEST(capabilities_go_with_a_write_a_truncate_an_allocation_or_a_new_owner)
{
    struct fs_attr out;
    const struct fs_attr in = {.uid = 5, .size = 10};
    give_caps();
    must_fill(&kit, ino, 0, 'x', 10);
    ck_assert(!has_caps());
    give_caps();
    ck_assert_int_eq(op_truncate(&kit, ino, 5), 0);
    ck_assert(!has_caps());
    give_caps();
    ck_assert_int_eq(fs_fallocate(kit.fs, &kit.thread, ino, 0, 0, 10000), 0);
    ck_assert(!has_caps());
    give_caps();
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, ino, &in, FS_SET_UID, &out), 0);
    ck_assert(!has_caps());
    give_caps();
    ck_assert_int_eq(op_set_mode(&kit, ino, 0755), 0);
    ck_assert(has_caps());
}
END_TEST

static const uint8_t access_list[] = {
    2,    0, 0, 0,                         /* version */
    1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner rwx */
    2,    0, 6, 0, 0xe8, 3,    0,    0,    /* user 1000 rw- */
    4,    0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* group r-x */
    0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* mask rw- */
    0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, /* other r-- */
};

START_TEST(mode_and_access_list_follow_each_other)
{
    static const char name[] = "system.posix_acl_access";
    uint8_t list[64];
    ck_assert_int_eq(op_set_xattr(&kit, ino, name, access_list, sizeof(access_list)), 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 0764);
    ck_assert_int_eq(op_set_mode(&kit, ino, 0600), 0);
    ck_assert_int_eq(op_get_xattr(&kit, ino, name, list, sizeof(list)), sizeof(access_list));
    ck_assert_uint_eq(list[4 + 0 * 8 + 2], 6);
    ck_assert_uint_eq(list[4 + 2 * 8 + 2], 5);
    ck_assert_uint_eq(list[4 + 3 * 8 + 2], 0);
    ck_assert_uint_eq(list[4 + 4 * 8 + 2], 0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 0600);
}
END_TEST

START_TEST(what_is_not_there_has_no_attributes)
{
    struct fs_attr attr;
    ck_assert_int_eq(fs_getattr(kit.fs, &kit.thread, 999, &attr), -ENOENT);
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, 999, &attr, FS_SET_MODE, &attr), -ENOENT);
    const struct fs_attr in = {.size = 0};
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, FS_ROOT_INO, &in, FS_SET_SIZE, &attr),
                     -EISDIR);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attr");
    TCase *attributes = tcase_create("attributes");
    tcase_add_checked_fixture(attributes, setup, teardown);
    tcase_add_test(attributes, times_are_kept_to_the_nanosecond_also_before_1970);
    tcase_add_test(attributes, only_what_the_mask_names_changes);
    tcase_add_test(attributes, a_mode_keeps_the_type);
    tcase_add_test(attributes, a_new_owner_takes_suid_and_sgid_from_files_and_not_from_directories);
    tcase_add_test(attributes, a_truncate_drops_privileges_only_when_told);
    tcase_add_test(attributes, size_and_other_attributes_change_together);
    tcase_add_test(attributes,
                   capabilities_go_with_a_write_a_truncate_an_allocation_or_a_new_owner);
    tcase_add_test(attributes, mode_and_access_list_follow_each_other);
    tcase_add_test(attributes, what_is_not_there_has_no_attributes);
    suite_add_tcase(suite, attributes);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
