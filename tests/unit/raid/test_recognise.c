/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What array_recognise() sees on a file before it is overwritten. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "array_kit.h"

#define MIB        (UINT64_C(1) << 20)
#define FILE_BYTES (3 * MIB)
#define FROM_END   0x80000000u /* the offset counts back from the end */

static struct array_kit kit;

struct sign {
    const char *what; /* the whole answer */
    uint32_t offset;
    uint32_t count;
    const char *bytes;
};

static const struct sign signs[] = {
    {"ext2/3/4 filesystem", 1080, 2, "\x53\xef"},
    {"XFS filesystem", 0, 4, "XFSB"},
    {"btrfs filesystem", 65600, 8, "_BHRfS_M"},
    {"swap space", 4086, 10, "SWAPSPACE2"},
    {"LUKS encrypted volume", 0, 6, "LUKS\xba\xbe"},
    {"LVM physical volume", 512, 8, "LABELONE"},
    {"ZFS device", 131072 + 5 * 1024, 8, "\x0c\xb1\xba\0\0\0\0\0"},
    {"GPT partition table", 512, 8, "EFI PART"},
    {"gzip archive", 0, 3, "\x1f\x8b\x08"},
    {"zip archive", 0, 4, "PK\x03\x04"},
    {"tar archive", 257, 5, "ustar"},
    {"zstd archive", 0, 4, "\x28\xb5\x2f\xfd"},
    {"SQLite database", 0, 16, "SQLite format 3\0"},
    {"qcow2 disk image", 0, 4, "QFI\xfb"},
    {"ISO 9660 filesystem", 32769, 5, "CD001"},
    {"md member (superblock 1.1)", 0, 4, "\xfc\x4e\x2b\xa9"},
    {"md member (superblock 1.0)", FROM_END | 8192, 4, "\xfc\x4e\x2b\xa9"},
    {"md member (superblock 0.90)", FROM_END | 65536, 4, "\xfc\x4e\x2b\xa9"},
    {"md member with a damaged superblock", 4096, 8, "\xfc\x4e\x2b\xa9\x01\0\0\0"},
    {"data (not all zeros)", 0, 1, "x"},
    {"data (not all zeros)", 1048575, 1, "x"},
    {"data (not all zeros)", FROM_END | 1, 1, "x"},
    {"data (not all zeros)", FROM_END | 1048576, 1, "x"},
    {"", 1048576, 4, "XFSB"}, /* outside both windows */
    {"", 0, 0, ""},
};

static void setup(void)
{
    array_kit_open(&kit);
}

static void teardown(void)
{
    array_kit_close(&kit);
}

static void expect(const char *path, const char *what)
{
    char got[ARRAY_WHY_BYTES];
    memset(got, 'z', sizeof(got));
    ck_assert_int_eq(array_recognise(path, got), 0);
    ck_assert_str_eq(got, what);
}

START_TEST(a_sign_is_recognised)
{
    const struct sign *sign = &signs[_i];
    const char *path = array_kit_file(&kit, "f", FILE_BYTES);
    uint64_t offset = sign->offset;
    if ((sign->offset & FROM_END) != 0) {
        offset = FILE_BYTES - (sign->offset & ~FROM_END);
    }
    array_kit_write(path, offset, sign->bytes, sign->count);
    expect(path, sign->what);
}
END_TEST

START_TEST(a_partition_table_is_more_than_a_boot_signature)
{
    const char *path = array_kit_file(&kit, "f", FILE_BYTES);
    array_kit_write(path, 510, "\x55\xaa", 2);
    expect(path, "data (not all zeros)");
    array_kit_write(path, 446 + 16 + 4, "\x83", 1);
    expect(path, "partition table");
}
END_TEST

START_TEST(files_of_any_length_are_looked_at_to_the_last_byte)
{
    static const uint64_t sizes[] = {0, 1, 511, 512, 4095, 8191, 8192, 65537, 1048577, 2097153};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const char *path = array_kit_file(&kit, "f", sizes[i]);
        expect(path, "");
        if (sizes[i] > 0) {
            array_kit_write(path, sizes[i] - 1, "x", 1);
            expect(path, "data (not all zeros)");
        }
    }
}
END_TEST

START_TEST(members_and_journals_are_named_with_their_array)
{
    struct array_kit made;
    struct md_superblock super;
    char uuid[UUID_TEXT_BYTES];
    char what[ARRAY_WHY_BYTES];
    array_kit_create(&made, &ARRAY_KIT_USUAL);
    array_kit_super(made.paths[0], &super);
    uuid_print(&super.set_uuid, uuid);
    ck_assert_int_gt(snprintf(what, sizeof(what), "md member of array %s (test)", uuid), 0);
    expect(made.paths[1], what);
    ck_assert_int_gt(snprintf(what, sizeof(what), "md journal of array %s (test)", uuid), 0);
    expect(made.paths[3], what);
    array_kit_close(&made);
}
END_TEST

START_TEST(what_cannot_be_looked_at_is_an_error)
{
    char what[ARRAY_WHY_BYTES];
    ck_assert_int_eq(array_recognise("/nonexistent/file", what), -ENOENT);
    ck_assert_int_eq(array_recognise(kit.dir, what), -ENOTBLK);
    ck_assert_int_eq(array_recognise("/dev/null", what), -ENOTBLK);
}
END_TEST

START_TEST(looking_needs_no_lock_and_changes_nothing)
{
    struct array_kit made;
    struct array *array = NULL;
    char before[65];
    char after[65];
    char what[ARRAY_WHY_BYTES];
    array_kit_create(&made, &ARRAY_KIT_USUAL);
    ck_assert_int_eq(array_kit_assemble(&made, (struct array_assemble){0}, &array), 0);
    array_kit_sha256(made.paths[0], before);
    ck_assert_int_eq(array_recognise(made.paths[0], what), 0);
    array_kit_sha256(made.paths[0], after);
    ck_assert_str_eq(before, after);
    array_close(array);
    array_kit_close(&made);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recognise");
    TCase *tcase = tcase_create("recognise");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_sign_is_recognised, 0, (int)(sizeof(signs) / sizeof(signs[0])));
    tcase_add_test(tcase, a_partition_table_is_more_than_a_boot_signature);
    tcase_add_test(tcase, files_of_any_length_are_looked_at_to_the_last_byte);
    tcase_add_test(tcase, members_and_journals_are_named_with_their_array);
    tcase_add_test(tcase, what_cannot_be_looked_at_is_an_error);
    tcase_add_test(tcase, looking_needs_no_lock_and_changes_nothing);
    suite_add_tcase(suite, tcase);
    return array_kit_run(suite);
}
