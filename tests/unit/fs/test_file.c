/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about file contents: reading, writing, sizes, holes, fallocate, seeking. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "op_kit.h"

#define KIB 1024u
#define BLK ((uint64_t)BLOCK_BYTES)

static struct kit kit;
static uint64_t ino;

static void setup(void)
{
    const struct fake_options options = {.trace = true};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
}

static void setup_small(void)
{
    const struct fake_options options = {.volume_blocks = 1024, .data_step = 16};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
}

static void teardown(void)
{
    kit_fini(&kit);
}

static int allocate(int mode, uint64_t offset, uint64_t bytes)
{
    return fs_fallocate(kit.fs, &kit.thread, ino, mode, offset, bytes);
}

static int64_t seek(uint64_t offset, int whence)
{
    uint64_t found = 0;
    int error = fs_seek(kit.fs, &kit.thread, ino, offset, whence, &found);
    return error == 0 ? (int64_t)found : error;
}

static uint64_t size_of(void)
{
    return must_getattr(&kit, ino).size;
}

static uint64_t blocks_of(void)
{
    return must_getattr(&kit, ino).blocks / BLOCK_SECTORS;
}

/* ---- reading and writing ------------------------------------------------------------------- */

START_TEST(bytes_come_back_at_any_offset_and_length)
{
    static const uint32_t lengths[] = {1, 7, 4095, 4096, 4097, 12288, 70000};
    static const uint32_t offsets[] = {0, 1, 4000, 4095, 4096, 5000, 100000};
    for (unsigned l = 0; l < 7; l++) {
        for (unsigned o = 0; o < 7; o++) {
            uint8_t fill = (uint8_t)(1 + l * 7 + o);
            must_fill(&kit, ino, offsets[o], fill, lengths[l]);
            must_be_filled(&kit, ino, offsets[o], fill, lengths[l]);
        }
    }
}
END_TEST

START_TEST(a_write_keeps_its_neighbours_bytes)
{
    must_fill(&kit, ino, 0, 'a', 3 * BLK);
    must_fill(&kit, ino, BLK + 100, 'b', 50);
    must_be_filled(&kit, ino, 0, 'a', BLK + 100);
    must_be_filled(&kit, ino, BLK + 100, 'b', 50);
    must_be_filled(&kit, ino, BLK + 150, 'a', 2 * BLK - 150);
}
END_TEST

START_TEST(reading_ends_at_the_end_of_file)
{
    uint8_t data[100];
    must_fill(&kit, ino, 0, 'x', 50);
    ck_assert_uint_eq(must_read(&kit, ino, 0, data, 100), 50);
    ck_assert_uint_eq(must_read(&kit, ino, 49, data, 100), 1);
    ck_assert_uint_eq(must_read(&kit, ino, 50, data, 100), 0);
    ck_assert_uint_eq(must_read(&kit, ino, UINT64_MAX, data, 100), 0);
}
END_TEST

START_TEST(a_hole_reads_as_zeros_and_takes_no_blocks)
{
    must_fill(&kit, ino, 100 * BLK, 'x', BLK);
    ck_assert_uint_eq(blocks_of(), 1);
    must_be_filled(&kit, ino, 0, 0, 100 * BLK);
    must_be_filled(&kit, ino, 100 * BLK, 'x', BLK);
}
END_TEST

START_TEST(the_largest_offset_works_and_beyond_is_efbig)
{
    uint32_t done = 0;
    const uint64_t last = (uint64_t)INT64_MAX - 1;
    must_write(&kit, ino, last, "z", 1);
    ck_assert_uint_eq(size_of(), INT64_MAX);
    must_be_filled(&kit, ino, last, 'z', 1);
    ck_assert_int_eq(
        fs_write(kit.fs, &kit.thread, ino, INT64_MAX, (const uint8_t *)"z", 1, false, &done),
        -EFBIG);
    ck_assert_int_eq(
        fs_write(kit.fs, &kit.thread, ino, last, (const uint8_t *)"zz", 2, false, &done), 0);
    ck_assert_uint_eq(done, 1);
    ck_assert_int_eq(op_truncate(&kit, ino, (uint64_t)INT64_MAX + 1), -EFBIG);
    ck_assert_int_eq(op_truncate(&kit, ino, INT64_MAX), 0);
}
END_TEST

START_TEST(appends_make_one_extent)
{
    for (unsigned i = 0; i < 40; i++) {
        must_fill(&kit, ino, (uint64_t)i * 3000, (uint8_t)i, 3000);
    }
    for (unsigned i = 0; i < 40; i++) {
        must_be_filled(&kit, ino, (uint64_t)i * 3000, (uint8_t)i, 3000);
    }
    ck_assert_uint_eq(blocks_of(), 30);
    ck_assert_int_eq(seek(0, SEEK_HOLE), 120000);
}
END_TEST

START_TEST(a_write_of_many_steps_is_whole)
{
    uint8_t *data = malloc(FS_IO_BYTES_MAX);
    uint8_t *back = malloc(FS_IO_BYTES_MAX);
    uint64_t state = 5;
    for (size_t i = 0; i < FS_IO_BYTES_MAX; i++) {
        data[i] = (uint8_t)kit_random(&state);
    }
    must_write(&kit, ino, 1234, data, FS_IO_BYTES_MAX);
    ck_assert_uint_eq(must_read(&kit, ino, 1234, back, FS_IO_BYTES_MAX), FS_IO_BYTES_MAX);
    ck_assert_int_eq(memcmp(data, back, FS_IO_BYTES_MAX), 0);
    free(data);
    free(back);
}
END_TEST

START_TEST(writing_a_directory_is_refused)
{
    uint32_t done = 0;
    uint8_t byte = 0;
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, FS_ROOT_INO, 0, &byte, 1, false, &done),
                     -EISDIR);
}
END_TEST

START_TEST(a_write_drops_privileges_only_when_told)
{
    uint32_t done = 0;
    ck_assert_int_eq(op_set_mode(&kit, ino, 06755), 0);
    must_fill(&kit, ino, 0, 'a', 1);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 06755);
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, ino, 0, (const uint8_t *)"b", 1, true, &done),
                     0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 0755);
    ck_assert_int_eq(op_set_mode(&kit, ino, 02644), 0);
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, ino, 0, (const uint8_t *)"b", 1, true, &done),
                     0);
    ck_assert_uint_eq(must_getattr(&kit, ino).mode & 07777, 02644);
}
END_TEST

START_TEST(a_write_changes_mtime_and_ctime_and_not_atime)
{
    struct fs_attr before = must_getattr(&kit, ino);
    env_sleep_ns(2000000);
    must_fill(&kit, ino, 0, 'a', 1);
    struct fs_attr after = must_getattr(&kit, ino);
    ck_assert(after.mtime.seconds > before.mtime.seconds ||
              after.mtime.nanoseconds > before.mtime.nanoseconds);
    ck_assert_uint_eq(after.mtime.nanoseconds, after.ctime.nanoseconds);
    ck_assert_uint_eq(after.atime.nanoseconds, before.atime.nanoseconds);
}
END_TEST

/* ---- size ---------------------------------------------------------------------------------- */

START_TEST(growing_after_shrinking_shows_zeros)
{
    must_fill(&kit, ino, 0, 'a', 3 * BLK);
    ck_assert_int_eq(op_truncate(&kit, ino, BLK + 10), 0);
    ck_assert_uint_eq(blocks_of(), 2);
    ck_assert_int_eq(op_truncate(&kit, ino, 3 * BLK), 0);
    must_be_filled(&kit, ino, 0, 'a', BLK + 10);
    must_be_filled(&kit, ino, BLK + 10, 0, 2 * BLK - 10);
}
END_TEST

START_TEST(a_write_beyond_the_end_shows_zeros_between)
{
    must_fill(&kit, ino, 0, 'a', BLK);
    ck_assert_int_eq(op_truncate(&kit, ino, 10), 0);
    must_fill(&kit, ino, 5 * BLK, 'b', 1);
    must_be_filled(&kit, ino, 0, 'a', 10);
    must_be_filled(&kit, ino, 10, 0, 5 * BLK - 10);
    ck_assert_int_eq(op_truncate(&kit, ino, 10), 0);
    must_fill(&kit, ino, 100, 'c', 1);
    must_be_filled(&kit, ino, 10, 0, 90);
    ck_assert_int_eq(op_truncate(&kit, ino, 10), 0);
    ck_assert_int_eq(allocate(0, 0, 2 * BLK), 0);
    must_be_filled(&kit, ino, 10, 0, 2 * BLK - 10);
}
END_TEST

START_TEST(a_file_of_many_extents_is_truncated_in_steps)
{
    uint64_t before = must_free_blocks(&kit);
    for (unsigned i = 0; i < 300; i++) {
        must_fill(&kit, ino, (uint64_t)i * 2 * BLK, 'x', BLK);
    }
    ck_assert_uint_eq(blocks_of(), 300);
    ck_assert_int_eq(op_truncate(&kit, ino, 5), 0);
    ck_assert_uint_eq(blocks_of(), 1);
    ck_assert_uint_eq(size_of(), 5);
    ck_assert_int_eq(op_truncate(&kit, ino, 0), 0);
    must_sync(&kit);
    ck_assert_uint_ge(must_free_blocks(&kit) + 8, before);
}
END_TEST

START_TEST(truncate_is_undone_or_kept_as_a_whole_by_a_crash)
{
    must_fill(&kit, ino, 0, 'a', 10 * BLK);
    must_sync(&kit);
    ck_assert_int_eq(op_truncate(&kit, ino, 100), 0);
    kit_crash_and_mount(&kit);
    ck_assert_uint_eq(size_of(), 10 * BLK);
    must_be_filled(&kit, ino, 0, 'a', 10 * BLK);
    ck_assert_int_eq(op_truncate(&kit, ino, 100), 0);
    must_sync(&kit);
    kit_crash_and_mount(&kit);
    ck_assert_uint_eq(size_of(), 100);
    ck_assert_uint_eq(blocks_of(), 1);
}
END_TEST

/* ---- fallocate ----------------------------------------------------------------------------- */

START_TEST(allocated_blocks_read_as_zeros_and_are_then_written_in_place)
{
    ck_assert_int_eq(allocate(0, 0, 100 * BLK), 0);
    ck_assert_uint_eq(size_of(), 100 * BLK);
    ck_assert_uint_eq(blocks_of(), 100);
    must_be_filled(&kit, ino, 0, 0, 100 * BLK);
    must_fill(&kit, ino, 50 * BLK + 10, 'x', 100);
    ck_assert_uint_eq(blocks_of(), 100);
    must_be_filled(&kit, ino, 0, 0, 50 * BLK + 10);
    must_be_filled(&kit, ino, 50 * BLK + 10, 'x', 100);
    must_be_filled(&kit, ino, 50 * BLK + 110, 0, 50 * BLK - 110);
    for (unsigned i = 0; i < 100; i++) {
        must_fill(&kit, ino, (uint64_t)i * BLK, (uint8_t)(i + 1), BLK);
    }
    for (unsigned i = 0; i < 100; i++) {
        must_be_filled(&kit, ino, (uint64_t)i * BLK, (uint8_t)(i + 1), BLK);
    }
    ck_assert_uint_eq(blocks_of(), 100);
}
END_TEST

START_TEST(keep_size_allocates_beyond_the_end)
{
    must_fill(&kit, ino, 0, 'a', 10);
    ck_assert_int_eq(allocate(FALLOC_FL_KEEP_SIZE, 0, 20 * BLK), 0);
    ck_assert_uint_eq(size_of(), 10);
    ck_assert_uint_eq(blocks_of(), 20);
    ck_assert_int_eq(op_truncate(&kit, ino, 10 * BLK), 0);
    must_be_filled(&kit, ino, 10, 0, 10 * BLK - 10);
    ck_assert_int_eq(op_truncate(&kit, ino, 10 * BLK), 0);
    ck_assert_uint_eq(blocks_of(), 10);
}
END_TEST

START_TEST(a_punched_range_is_zero_and_its_whole_blocks_are_free)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    must_fill(&kit, ino, 0, 'a', 10 * BLK);
    ck_assert_int_eq(allocate(punch, BLK + 100, 3 * BLK), 0);
    ck_assert_uint_eq(blocks_of(), 8);
    must_be_filled(&kit, ino, 0, 'a', BLK + 100);
    must_be_filled(&kit, ino, BLK + 100, 0, 3 * BLK);
    must_be_filled(&kit, ino, 4 * BLK + 100, 'a', 6 * BLK - 100);
    ck_assert_int_eq(allocate(punch, 5 * BLK + 10, 20), 0);
    must_be_filled(&kit, ino, 5 * BLK + 10, 0, 20);
    must_be_filled(&kit, ino, 5 * BLK + 30, 'a', BLK);
    ck_assert_int_eq(allocate(punch, 0, INT64_MAX), 0);
    ck_assert_uint_eq(blocks_of(), 0);
    ck_assert_uint_eq(size_of(), 10 * BLK);
}
END_TEST

START_TEST(a_zeroed_range_is_zero_and_keeps_blocks)
{
    must_fill(&kit, ino, 0, 'a', 10 * BLK);
    ck_assert_int_eq(allocate(FALLOC_FL_ZERO_RANGE, BLK + 100, 3 * BLK), 0);
    ck_assert_uint_eq(blocks_of(), 10);
    must_be_filled(&kit, ino, 0, 'a', BLK + 100);
    must_be_filled(&kit, ino, BLK + 100, 0, 3 * BLK);
    must_be_filled(&kit, ino, 4 * BLK + 100, 'a', 6 * BLK - 100);
    ck_assert_int_eq(allocate(FALLOC_FL_ZERO_RANGE, 9 * BLK, 10 * BLK), 0);
    ck_assert_uint_eq(size_of(), 19 * BLK);
    must_be_filled(&kit, ino, 9 * BLK, 0, 10 * BLK);
    ck_assert_uint_eq(blocks_of(), 19);
}
END_TEST

START_TEST(odd_modes_and_ranges_are_refused)
{
    ck_assert_int_eq(allocate(FALLOC_FL_COLLAPSE_RANGE, 0, BLK), -EOPNOTSUPP);
    ck_assert_int_eq(allocate(FALLOC_FL_PUNCH_HOLE, 0, BLK), -EOPNOTSUPP);
    ck_assert_int_eq(allocate(0, 0, 0), -EINVAL);
    ck_assert_int_eq(allocate(0, INT64_MAX, 1), -EFBIG);
}
END_TEST

START_TEST(allocating_more_than_there_is_takes_nothing)
{
    uint64_t before = must_free_blocks(&kit);
    ck_assert_int_eq(allocate(0, 0, (before + 1) * BLK), -ENOSPC);
    ck_assert_uint_eq(must_free_blocks(&kit), before);
    ck_assert_uint_eq(size_of(), 0);
}
END_TEST

/* ---- seeking ------------------------------------------------------------------------------- */

START_TEST(data_and_holes_are_found)
{
    must_fill(&kit, ino, 2 * BLK, 'a', BLK);
    must_fill(&kit, ino, 200 * BLK, 'b', 10);
    ck_assert_int_eq(seek(0, SEEK_DATA), 2 * BLK);
    ck_assert_int_eq(seek(2 * BLK + 7, SEEK_DATA), 2 * BLK + 7);
    ck_assert_int_eq(seek(3 * BLK, SEEK_DATA), 200 * BLK);
    ck_assert_int_eq(seek(0, SEEK_HOLE), 0);
    ck_assert_int_eq(seek(2 * BLK + 7, SEEK_HOLE), 3 * BLK);
    ck_assert_int_eq(seek(200 * BLK, SEEK_HOLE), 200 * BLK + 10);
    ck_assert_int_eq(seek(200 * BLK + 10, SEEK_DATA), -ENXIO);
    ck_assert_int_eq(seek(200 * BLK + 10, SEEK_HOLE), -ENXIO);
    ck_assert_int_eq(op_truncate(&kit, ino, 300 * BLK), 0);
    ck_assert_int_eq(seek(201 * BLK, SEEK_DATA), -ENXIO);
}
END_TEST

/* ---- full ---------------------------------------------------------------------------------- */

START_TEST(a_full_filesystem_takes_what_fits_and_can_be_emptied)
{
    uint8_t data[16 * BLK];
    uint32_t done = 0;
    uint64_t offset = 0;
    uint64_t gone = 0;
    int error = 0;
    memset(data, 'x', sizeof(data));
    uint64_t before = must_free_blocks(&kit);
    while ((error = fs_write(kit.fs, &kit.thread, ino, offset, data, sizeof(data), false, &done)) ==
           0) {
        offset += done;
        ck_assert_uint_lt(offset, 2048 * BLK);
    }
    ck_assert_int_eq(error, -ENOSPC);
    ck_assert_uint_ge(blocks_of() + 16, before);
    must_fill(&kit, ino, 0, 'y', 5 * BLK + 3);
    must_be_filled(&kit, ino, 0, 'y', 5 * BLK + 3);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    ck_assert_uint_eq(gone, ino);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    must_sync(&kit);
    ck_assert_uint_ge(must_free_blocks(&kit), before);
}
END_TEST

START_TEST(space_freed_but_not_committed_is_found_before_enospc)
{
    uint64_t gone = 0;
    uint64_t bytes = (must_free_blocks(&kit) - 20) * BLK;
    ck_assert_int_eq(allocate(0, 0, bytes), 0);
    must_sync(&kit);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "f", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    ino = must_make(&kit, FS_ROOT_INO, "g", S_IFREG | 0644);
    ck_assert_int_eq(allocate(0, 0, bytes), 0);
}
END_TEST

START_TEST(an_interrupted_write_begins_no_step)
{
    static uint8_t data[200 * BLOCK_BYTES];
    uint32_t written = 0;
    kit.thread.interrupted = true;
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, ino, 0, data, sizeof(data), false, &written),
                     -EINTR);
    ck_assert_uint_eq(size_of(), 0);
    kit.thread.interrupted = false;
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, ino, 0, data, sizeof(data), false, &written), 0);
    ck_assert_uint_eq(written, sizeof(data));
}
END_TEST

START_TEST(an_interrupted_fallocate_begins_no_step)
{
    kit.thread.interrupted = true;
    ck_assert_int_eq(allocate(0, 0, 64 * BLK), -EINTR);
    ck_assert_uint_eq(size_of(), 0);
    kit.thread.interrupted = false;
    ck_assert_int_eq(allocate(0, 0, 64 * BLK), 0);
    kit.thread.interrupted = true;
    ck_assert_int_eq(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 64 * BLK), -EINTR);
    ck_assert_uint_eq(blocks_of(), 64);
    kit.thread.interrupted = false;
}
END_TEST

/* What frees space goes to its end: nobody would come back for it. */
START_TEST(an_interrupted_truncate_frees_everything)
{
    struct fs_attr attr = {.size = 0};
    struct fs_attr out;
    ck_assert_int_eq(allocate(0, 0, 64 * BLK), 0);
    kit.thread.interrupted = true;
    ck_assert_int_eq(fs_setattr(kit.fs, &kit.thread, ino, &attr, FS_SET_SIZE, &out), 0);
    kit.thread.interrupted = false;
    ck_assert_uint_eq(blocks_of(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *data = tcase_create("data");
    tcase_add_checked_fixture(data, setup, teardown);
    tcase_add_test(data, bytes_come_back_at_any_offset_and_length);
    tcase_add_test(data, a_write_keeps_its_neighbours_bytes);
    tcase_add_test(data, reading_ends_at_the_end_of_file);
    tcase_add_test(data, a_hole_reads_as_zeros_and_takes_no_blocks);
    tcase_add_test(data, the_largest_offset_works_and_beyond_is_efbig);
    tcase_add_test(data, appends_make_one_extent);
    tcase_add_test(data, a_write_of_many_steps_is_whole);
    tcase_add_test(data, an_interrupted_write_begins_no_step);
    tcase_add_test(data, writing_a_directory_is_refused);
    tcase_add_test(data, a_write_drops_privileges_only_when_told);
    tcase_add_test(data, a_write_changes_mtime_and_ctime_and_not_atime);
    suite_add_tcase(suite, data);
    TCase *size = tcase_create("size");
    tcase_add_checked_fixture(size, setup, teardown);
    tcase_add_test(size, growing_after_shrinking_shows_zeros);
    tcase_add_test(size, a_write_beyond_the_end_shows_zeros_between);
    tcase_add_test(size, a_file_of_many_extents_is_truncated_in_steps);
    tcase_add_test(size, truncate_is_undone_or_kept_as_a_whole_by_a_crash);
    tcase_add_test(size, an_interrupted_truncate_frees_everything);
    suite_add_tcase(suite, size);
    TCase *alloc = tcase_create("fallocate");
    tcase_add_checked_fixture(alloc, setup, teardown);
    tcase_add_test(alloc, allocated_blocks_read_as_zeros_and_are_then_written_in_place);
    tcase_add_test(alloc, keep_size_allocates_beyond_the_end);
    tcase_add_test(alloc, a_punched_range_is_zero_and_its_whole_blocks_are_free);
    tcase_add_test(alloc, a_zeroed_range_is_zero_and_keeps_blocks);
    tcase_add_test(alloc, odd_modes_and_ranges_are_refused);
    tcase_add_test(alloc, allocating_more_than_there_is_takes_nothing);
    tcase_add_test(alloc, data_and_holes_are_found);
    tcase_add_test(alloc, an_interrupted_fallocate_begins_no_step);
    suite_add_tcase(suite, alloc);
    TCase *full = tcase_create("full");
    tcase_add_checked_fixture(full, setup_small, teardown);
    tcase_add_test(full, a_full_filesystem_takes_what_fits_and_can_be_emptied);
    tcase_add_test(full, space_freed_but_not_committed_is_found_before_enospc);
    suite_add_tcase(suite, full);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
