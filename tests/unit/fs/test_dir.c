/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about directories: names of equal hash, cookies, listings of any size. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dir.h"
#include "name.h"
#include "op.h"
#include "op_kit.h"

static struct kit kit;

static void setup(void)
{
    const struct fake_options options = {.meta_step = 100, .volume_blocks = 65536};
    kit_init(&kit, &options);
}

static void teardown(void)
{
    kit_fini(&kit);
}

#define MANY 4000u

struct list {
    uint32_t count;
    uint32_t stop_after;
    uint64_t cookie;
    bool attributes;
    uint32_t seen[MANY];
};

static bool list_entry(void *context, const struct fs_dirent *entry)
{
    struct list *list = context;
    ck_assert_uint_gt(entry->cookie, list->cookie);
    ck_assert_int_gt((int64_t)entry->cookie, 0);
    list->cookie = entry->cookie;
    list->count++;
    bool dots = entry->cookie <= DIR_COOKIE_DOT_DOT;
    ck_assert(dots || list->attributes == (entry->attr != NULL));
    if (entry->attr != NULL) {
        ck_assert_uint_eq(entry->attr->ino, entry->ino);
        ck_assert_uint_eq(entry->attr->mode & S_IFMT, entry->type);
    }
    if (entry->name.bytes[0] == 'n') {
        unsigned long number = strtoul(entry->name.bytes + 1, NULL, 10);
        ck_assert_uint_lt(number, MANY);
        list->seen[number]++;
    }
    return list->count != list->stop_after;
}

static void list_dir(struct list *list, uint64_t ino, uint64_t cookie)
{
    list->cookie = cookie;
    ck_assert_int_eq(
        fs_readdir(kit.fs, &kit.thread, ino, cookie, list->attributes, list_entry, list), 0);
}

static void make_numbered(uint64_t dir, uint32_t count)
{
    char name[32];
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "n%05u", i); /* always fits */
        (void)must_make(&kit, dir, name, S_IFREG | 0644);
    }
}

START_TEST(an_empty_directory_lists_itself_and_its_parent)
{
    static struct list list;
    memset(&list, 0, sizeof(list));
    list_dir(&list, FS_ROOT_INO, 0);
    ck_assert_uint_eq(list.count, 2);
    ck_assert_uint_eq(list.cookie, DIR_COOKIE_DOT_DOT);
}
END_TEST

START_TEST(every_name_is_listed_once_in_one_go_or_many)
{
    static struct list list;
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    make_numbered(dir, MANY);
    for (uint32_t part = 0; part < 3; part++) {
        static const uint32_t parts[] = {0, 1, 37};
        memset(&list, 0, sizeof(list));
        list.attributes = part == 2;
        uint32_t before;
        do {
            before = list.count;
            list.stop_after = parts[part] == 0 ? 0 : list.count + parts[part];
            list_dir(&list, dir, list.cookie);
        } while (list.count != before);
        ck_assert_uint_eq(list.count, MANY + 2);
        for (uint32_t i = 0; i < MANY; i++) {
            ck_assert_uint_eq(list.seen[i], 1);
        }
    }
    ck_assert_uint_eq(must_getattr(&kit, dir).size, MANY);
}
END_TEST

START_TEST(cookies_survive_changes_of_other_entries)
{
    static struct list list;
    static struct list rest;
    char name[32];
    uint64_t gone;
    make_numbered(FS_ROOT_INO, 1000);
    memset(&list, 0, sizeof(list));
    list.stop_after = 500;
    list_dir(&list, FS_ROOT_INO, 0);
    for (uint32_t i = 0; i < 1000; i += 3) {
        (void)snprintf(name, sizeof(name), "n%05u", i); /* always fits */
        ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, name, &gone), 0);
    }
    memset(&rest, 0, sizeof(rest));
    list_dir(&rest, FS_ROOT_INO, list.cookie);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t seen = list.seen[i] + rest.seen[i];
        ck_assert(i % 3 == 0 ? seen <= 1 : seen == 1);
    }
}
END_TEST

/* Entries of one hash, put there under the names' own feet: their offsets are what matters here. */
struct collide {
    uint32_t count;
    uint64_t ino;
    int result;
};

static int collide_body(struct fs_txn *txn, void *context)
{
    struct collide *collide = context;
    char text[32];
    uint64_t begin = name_offset(txn->fs, op_name("wanted"));
    (void)snprintf(text, sizeof(text), "other %u", collide->count); /* always fits */
    struct dir_entry entry = {
        .ino = collide->ino,
        .offset = begin + collide->count,
        .type = S_IFREG,
    };
    int error = dir_prepare(txn, FS_ROOT_INO, entry.offset);
    if (error == 0) {
        txn_change(txn);
        error = dir_add(txn, FS_ROOT_INO, op_name(text), &entry);
    }
    return error;
}

START_TEST(names_of_equal_hash_live_side_by_side)
{
    const struct txn_need need = {.inserts = 1};
    struct collide collide = {.ino = must_make(&kit, FS_ROOT_INO, "x", S_IFREG | 0644)};
    const struct op_change change = {.need = &need, .body = collide_body, .context = &collide};
    uint64_t ino = 0;
    uint64_t found = 0;
    for (; collide.count < FS_HASH_INDEX_MAX; collide.count++) {
        ck_assert_int_eq(op_change(kit.fs, &kit.thread, &change), 0);
    }
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, "wanted", &found), -ENOENT);
    ck_assert_int_eq(op_make(&kit, FS_ROOT_INO, "wanted", S_IFREG | 0644, &ino), 0);
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, "wanted", &found), 0);
    ck_assert_uint_eq(found, ino);
    uint64_t gone;
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "wanted", &gone), 0);
    ck_assert_int_eq(op_change(kit.fs, &kit.thread, &change), 0);
    ck_assert_int_eq(op_make(&kit, FS_ROOT_INO, "wanted", S_IFREG | 0644, &ino), -ENOSPC);
    ck_assert_int_eq(op_lookup(&kit, FS_ROOT_INO, "wanted", &found), -ENOENT);
}
END_TEST

START_TEST(entries_that_cannot_be_are_refused)
{
    struct dir_entry entry;
    struct fs_name name;
    uint8_t data[32] = {0};
    struct fs_dirent_disk disk = {.ino = le64_make(5), .type = S_IFREG >> 12, .name_bytes = 3};
    memcpy(data, &disk, sizeof(disk));
    memcpy(data + sizeof(disk), "abc", 3);
    ck_assert_ptr_null(dir_decode(data, 13, &entry, &name));
    ck_assert_uint_eq(name.length, 3);
    ck_assert_ptr_nonnull(dir_decode(data, 12, &entry, &name));
    ck_assert_ptr_nonnull(dir_decode(data, 14, &entry, &name));
    data[11] = '/';
    ck_assert_ptr_nonnull(dir_decode(data, 13, &entry, &name));
    data[11] = '\0';
    ck_assert_ptr_nonnull(dir_decode(data, 13, &entry, &name));
    data[11] = 'b';
    data[8] = 0;
    ck_assert_ptr_nonnull(dir_decode(data, 13, &entry, &name));
    data[8] = S_IFREG >> 12;
    data[0] = 0;
    ck_assert_ptr_nonnull(dir_decode(data, 13, &entry, &name));
    ck_assert_ptr_nonnull(dir_decode(data, 10, &entry, &name));
}
END_TEST

START_TEST(listing_what_is_no_directory_is_refused)
{
    static struct list list;
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    ck_assert_int_eq(fs_readdir(kit.fs, &kit.thread, ino, 0, false, list_entry, &list), -ENOTDIR);
    ck_assert_int_eq(fs_readdir(kit.fs, &kit.thread, 12345, 0, false, list_entry, &list), -ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dir");
    TCase *listing = tcase_create("listing");
    tcase_set_timeout(listing, 60);
    tcase_add_checked_fixture(listing, setup, teardown);
    tcase_add_test(listing, an_empty_directory_lists_itself_and_its_parent);
    tcase_add_test(listing, every_name_is_listed_once_in_one_go_or_many);
    tcase_add_test(listing, cookies_survive_changes_of_other_entries);
    tcase_add_test(listing, names_of_equal_hash_live_side_by_side);
    tcase_add_test(listing, entries_that_cannot_be_are_refused);
    tcase_add_test(listing, listing_what_is_no_directory_is_refused);
    suite_add_tcase(suite, listing);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
