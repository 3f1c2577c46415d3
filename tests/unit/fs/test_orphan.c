/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about what outlives its name: open files, unfinished truncates, and mounts that clean
 * up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "op.h"
#include "op_kit.h"
#include "orphan.h"
#include "truncate.h"

#define BLK ((uint64_t)BLOCK_BYTES)

static struct kit kit;

/* A step of a chain nearly fills such a transaction, so that each is committed by itself. */
static void setup(void)
{
    const struct fake_options options = {
        .trace = true,
        .volume_blocks = 32768,
        .meta_step = 44,
    };
    kit_init(&kit, &options);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static bool exists(struct kit *in, uint64_t ino)
{
    struct fs_attr attr;
    int error = fs_getattr(in->fs, &in->thread, ino, &attr);
    ck_assert(error == 0 || error == -ENOENT);
    return error == 0;
}

static void scatter(uint64_t ino, uint32_t extents)
{
    for (uint32_t i = 0; i < extents; i++) {
        must_fill(&kit, ino, 2 * (uint64_t)i * BLK, 'x', BLK);
    }
}

START_TEST(an_open_file_lives_on_without_a_name)
{
    uint64_t gone = 0;
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    must_fill(&kit, ino, 0, 'a', 3 * BLK);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    ck_assert_uint_eq(gone, ino);
    ck_assert_uint_eq(must_getattr(&kit, ino).nlink, 0);
    must_be_filled(&kit, ino, 0, 'a', 3 * BLK);
    must_fill(&kit, ino, BLK, 'b', 5 * BLK);
    must_be_filled(&kit, ino, BLK, 'b', 5 * BLK);
    ck_assert_int_eq(op_truncate(&kit, ino, 10), 0);
    ck_assert_int_eq(op_set_xattr(&kit, ino, "user.x", "v", 1), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, ino), 0);
    ck_assert(!exists(&kit, ino));
}
END_TEST

START_TEST(evicting_what_has_a_name_or_is_not_there_does_nothing)
{
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, ino), 0);
    ck_assert(exists(&kit, ino));
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, 4711), 0);
}
END_TEST

START_TEST(an_inode_with_many_items_is_evicted_in_steps)
{
    static uint8_t value[65536];
    uint64_t gone = 0;
    must_sync(&kit);
    uint64_t before = must_free_blocks(&kit);
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    scatter(ino, 500);
    ck_assert_int_eq(op_set_xattr(&kit, ino, "user.x", value, sizeof(value)), 0);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    ck_assert(!exists(&kit, ino));
    must_sync(&kit);
    ck_assert_uint_ge(must_free_blocks(&kit) + 20, before);
}
END_TEST

START_TEST(mount_evicts_what_a_crash_left_at_any_step)
{
    uint64_t gone = 0;
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    scatter(ino, 150);
    must_sync(&kit);
    uint64_t first = fake_units(kit.journal);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    must_sync(&kit);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    must_sync(&kit);
    uint64_t last = fake_units(kit.journal);
    uint64_t free_blocks = must_free_blocks(&kit);
    ck_assert_uint_gt(last, first + 4);
    for (uint64_t at = first + 1; at <= last; at++) {
        struct kit crashed;
        kit_init_at(&crashed, fake_journal_at(kit.journal, at, true));
        ck_assert(!exists(&crashed, ino));
        must_sync(&crashed);
        ck_assert_uint_ge(must_free_blocks(&crashed) + 8, free_blocks);
        /* And again when the mount itself is cut short. */
        kit_crash_and_mount(&crashed);
        ck_assert(!exists(&crashed, ino));
        kit_fini(&crashed);
    }
}
END_TEST

START_TEST(mount_finishes_a_truncate_that_a_crash_cut_short)
{
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    scatter(ino, 150);
    must_sync(&kit);
    uint64_t first = fake_units(kit.journal);
    ck_assert_int_eq(op_truncate(&kit, ino, 4 * BLK + 7), 0);
    must_sync(&kit);
    uint64_t last = fake_units(kit.journal);
    ck_assert_uint_gt(last, first + 3);
    for (uint64_t at = first; at <= last; at++) {
        struct kit crashed;
        kit_init_at(&crashed, fake_journal_at(kit.journal, at, false));
        struct fs_attr attr = must_getattr(&crashed, ino);
        bool old = attr.size == 299 * BLK && attr.blocks == (uint64_t)150 * BLOCK_SECTORS;
        bool new = attr.size == 4 * BLK + 7 && attr.blocks == (uint64_t)3 * BLOCK_SECTORS;
        ck_assert(old != new);
        ck_assert(old || at > first);
        must_be_filled(&crashed, ino, 4 * BLK, 'x', 7);
        ck_assert_int_eq(op_truncate(&crashed, ino, 299 * BLK), 0);
        must_be_filled(&crashed, ino, 5 * BLK, 0, new ? 100 * BLK : BLK);
        kit_fini(&crashed);
    }
}
END_TEST

/* A truncate that stopped after its first transaction, as an interrupted one would. */
static int leave_record(struct fs_txn *txn, void *context)
{
    uint64_t ino = *(const uint64_t *)context;
    struct fs_inode inode;
    struct orphan orphan;
    struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    int error = inode_read(&txn->reader, ino, &inode);
    if (error == 0) {
        error = orphan_read(&txn->reader, &inode, &orphan);
    }
    if (error == 0) {
        error = orphan_prepare(txn, ino);
    }
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error != 0) {
        return error;
    }
    orphan.what |= FS_ORPHAN_TRUNCATE;
    orphan.size = BLK;
    inode.size = BLK;
    txn_change(txn);
    error = orphan_write(txn, &inode, &orphan);
    return error == 0 ? inode_write(txn, &inode) : error;
}

START_TEST(writers_finish_a_truncate_before_they_add_anything)
{
    const struct txn_need need = {.inserts = 1, .updates = 2};
    for (unsigned way = 0; way < 3; way++) {
        char name[] = {(char)('a' + way), '\0'};
        uint64_t ino = must_make(&kit, FS_ROOT_INO, name, S_IFREG | 0644);
        const struct op_change change = {.need = &need, .body = leave_record, .context = &ino};
        must_fill(&kit, ino, 0, 'x', 10 * BLK);
        ck_assert_int_eq(op_change(kit.fs, &kit.thread, &change), 0);
        if (way == 0) {
            must_fill(&kit, ino, 5 * BLK, 'y', BLK);
            must_be_filled(&kit, ino, 5 * BLK, 'y', BLK);
        } else if (way == 1) {
            ck_assert_int_eq(op_truncate(&kit, ino, 6 * BLK), 0);
        } else {
            ck_assert_int_eq(fs_fallocate(kit.fs, &kit.thread, ino, 0, 0, 6 * BLK), 0);
        }
        must_be_filled(&kit, ino, 0, 'x', BLK);
        must_be_filled(&kit, ino, BLK, 0, 4 * BLK);
        ck_assert_uint_eq(must_getattr(&kit, ino).blocks / BLOCK_SECTORS,
                          way == 0 ? 2 : (way == 1 ? 1 : 6));
        kit_unmount(&kit);
        char why[FS_WHY_BYTES];
        ck_assert_int_eq(kit_mount(&kit, false, why), 0);
        ck_assert_uint_eq(must_getattr(&kit, ino).size, 6 * BLK);
    }
}
END_TEST

START_TEST(unmount_frees_what_only_open_files_held)
{
    uint64_t gone = 0;
    char why[FS_WHY_BYTES];
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "d", S_IFDIR | 0755);
    uint64_t ino = must_make(&kit, dir, "f", S_IFREG | 0644);
    scatter(ino, 20);
    ck_assert_int_eq(op_unlink(&kit, dir, "f", &gone), 0);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "d", &gone), 0);
    kit_unmount(&kit);
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    ck_assert(!exists(&kit, ino));
    ck_assert(!exists(&kit, dir));
}
END_TEST

START_TEST(a_read_only_mount_leaves_orphans_alone)
{
    uint64_t gone = 0;
    char why[FS_WHY_BYTES];
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    must_sync(&kit);
    struct journal *left = fake_journal_crash(kit.journal);
    fs_close(kit.fs);
    kit.fs = NULL;
    arena_fini(&kit.arena);
    fake_journal_free(kit.journal);
    kit.journal = left;
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    ck_assert(exists(&kit, ino));
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, ino), -EROFS);
    ck_assert_int_eq(op_make(&kit, FS_ROOT_INO, "g", S_IFREG | 0644, &gone), -EROFS);
}
END_TEST

START_TEST(records_that_cannot_be_are_refused)
{
    struct orphan orphan;
    struct fs_orphan_disk disk = {.what = le32_make(FS_ORPHAN_DELETE)};
    const uint8_t *data = (const uint8_t *)&disk;
    ck_assert_ptr_null(orphan_decode(data, sizeof(disk), &orphan));
    ck_assert_ptr_nonnull(orphan_decode(data, sizeof(disk) - 1, &orphan));
    disk.what = le32_make(0);
    ck_assert_ptr_nonnull(orphan_decode(data, sizeof(disk), &orphan));
    disk.what = le32_make(8);
    ck_assert_ptr_nonnull(orphan_decode(data, sizeof(disk), &orphan));
    disk.what = le32_make(FS_ORPHAN_TRUNCATE);
    disk.size = le64_make((uint64_t)INT64_MAX + 1);
    ck_assert_ptr_nonnull(orphan_decode(data, sizeof(disk), &orphan));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("orphan");
    TCase *orphans = tcase_create("orphans");
    tcase_set_timeout(orphans, 60);
    tcase_add_checked_fixture(orphans, setup, teardown);
    tcase_add_test(orphans, an_open_file_lives_on_without_a_name);
    tcase_add_test(orphans, evicting_what_has_a_name_or_is_not_there_does_nothing);
    tcase_add_test(orphans, an_inode_with_many_items_is_evicted_in_steps);
    tcase_add_test(orphans, mount_evicts_what_a_crash_left_at_any_step);
    tcase_add_test(orphans, mount_finishes_a_truncate_that_a_crash_cut_short);
    tcase_add_test(orphans, writers_finish_a_truncate_before_they_add_anything);
    tcase_add_test(orphans, unmount_frees_what_only_open_files_held);
    tcase_add_test(orphans, a_read_only_mount_leaves_orphans_alone);
    tcase_add_test(orphans, records_that_cannot_be_are_refused);
    suite_add_tcase(suite, orphans);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
