/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that are said to be an array: which they are, and what a file can suffer. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "array_kit.h"

#define MIB (UINT64_C(1) << 20)

static struct array_kit kit;

static const struct array_assemble plain;
static const struct array_assemble degraded = {.allow_degraded = true};
static const struct array_assemble looking = {
    .read_only = true,
    .allow_degraded = true,
    .allow_no_journal = true,
    .allow_dirty = true,
};

static void setup(void)
{
    array_kit_create(&kit, &ARRAY_KIT_USUAL);
}

static void teardown(void)
{
    array_kit_close(&kit);
}

static struct array *assemble(struct array_assemble how)
{
    struct array *array = NULL;
    int error = array_kit_assemble(&kit, how, &array);
    ck_assert_msg(error == 0, "%s", kit.why);
    ck_assert_ptr_nonnull(array);
    return array;
}

static const char *journal_path(void)
{
    return kit.paths[kit.member_count];
}

static void edit_all(void (*edit)(struct md_superblock *super))
{
    for (uint32_t i = 0; i < kit.path_count; i++) {
        array_kit_edit(kit.paths[i], edit);
    }
}

static void events_ten(struct md_superblock *super)
{
    super->events = 10;
}

static void events_nine(struct md_superblock *super)
{
    super->events = 9;
}

static void events_eight(struct md_superblock *super)
{
    super->events = 8;
}

static void lose_slot_1(struct md_superblock *super)
{
    super->roles[1] = MD_ROLE_FAULTY;
}

static void expect_problem(struct array *array, const char *path, const char *part)
{
    for (unsigned i = 0; i < array_problem_count(array); i++) {
        const char *line = array_problem(array, i);
        if (strncmp(line, path, strlen(path)) == 0 && strstr(line, part) != NULL) {
            return;
        }
    }
    ck_abort_msg("no problem of %s with \"%s\"", path, part);
}

static void expect_lost(const struct array_assemble *how, uint32_t slot, enum member_state state)
{
    struct member_info info;
    struct array *array = assemble(*how);
    ck_assert_int_eq(array_state(array), ARRAY_DEGRADED);
    ck_assert_uint_eq(array_missing_slot(array), slot);
    array_member_info(array, slot, &info);
    ck_assert_int_eq(info.state, state);
    array_close(array);
}

/* ---- which files --------------------------------------------------------------------------- */

START_TEST(the_order_of_the_files_does_not_matter)
{
    struct member_info info;
    char first[ARRAY_KIT_PATH_BYTES];
    memcpy(first, kit.paths[0], sizeof(first));
    memcpy(kit.paths[0], kit.paths[3], sizeof(first));
    memcpy(kit.paths[3], kit.paths[2], sizeof(first));
    memcpy(kit.paths[2], first, sizeof(first));
    struct array *array = assemble(plain);
    array_member_info(array, 0, &info);
    ck_assert_str_eq(info.path, kit.paths[2]);
    array_member_info(array, 2, &info);
    ck_assert_str_eq(info.path, kit.paths[3]);
    ck_assert_str_eq(array_journal_path(array), kit.paths[0]);
    array_close(array);
}
END_TEST

START_TEST(no_files_and_too_many_are_refused)
{
    struct array *array = NULL;
    const char *paths[ARRAY_FILES_MAX + 1];
    struct array_assemble how = {.paths = paths, .arena = &kit.arena};
    ck_assert_int_eq(array_assemble(&how, kit.queue, &array, kit.why), -EINVAL);
    how.path_count = ARRAY_FILES_MAX + 1;
    ck_assert_int_eq(array_assemble(&how, kit.queue, &array, kit.why), -EINVAL);
}
END_TEST

START_TEST(a_missing_member_is_named_and_needs_the_option)
{
    ck_assert_int_eq(unlink(kit.paths[1]), 0);
    array_kit_expect_refusal(&kit, plain, -EPERM, "slot 1 is missing");
    ck_assert_ptr_nonnull(strstr(kit.why, kit.paths[1]));
    ck_assert_ptr_nonnull(strstr(kit.why, "-o degraded"));
    expect_lost(&degraded, 1, MEMBER_MISSING);
    kit.paths[1][0] = '\0'; /* not named at all */
    array_kit_expect_refusal(&kit, plain, -EPERM, "slot 1 is missing");
    expect_lost(&degraded, 1, MEMBER_MISSING);
}
END_TEST

START_TEST(a_loss_recorded_before_needs_no_option)
{
    edit_all(lose_slot_1);
    struct array *array = assemble(plain);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    /* The file is there and says the same: it is not a member any more. */
    expect_problem(array, kit.paths[1], "recorded as faulty");
    array_close(array);
    kit.paths[1][0] = '\0';
    expect_lost(&plain, 1, MEMBER_MISSING);
}
END_TEST

START_TEST(a_member_that_does_not_know_of_its_loss_is_not_used)
{
    edit_all(events_nine);
    for (uint32_t i = 0; i < kit.path_count; i++) {
        if (i != 1) {
            array_kit_edit(kit.paths[i], lose_slot_1);
            array_kit_edit(kit.paths[i], events_ten);
        }
    }
    struct array *array = assemble(plain);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    expect_problem(array, kit.paths[1], "recorded as faulty");
    array_close(array);
}
END_TEST

START_TEST(two_missing_members_are_too_many)
{
    ck_assert_int_eq(unlink(kit.paths[0]), 0);
    ck_assert_int_eq(unlink(kit.paths[2]), 0);
    array_kit_expect_refusal(&kit, looking, -ENODEV, "only one: 0 2");
}
END_TEST

START_TEST(a_file_of_another_array_is_refused_by_name)
{
    struct array_kit other;
    array_kit_create(&other, &ARRAY_KIT_USUAL);
    array_kit_copy(other.paths[1], kit.paths[1]);
    array_kit_expect_refusal(&kit, looking, -EINVAL, "member of another array");
    ck_assert_ptr_nonnull(strstr(kit.why, kit.paths[1]));
    array_kit_close(&other);
}
END_TEST

START_TEST(the_journal_of_another_array_is_refused_by_name)
{
    struct array_kit other;
    array_kit_create(&other, &ARRAY_KIT_USUAL);
    array_kit_copy(other.paths[3], journal_path());
    array_kit_expect_refusal(&kit, looking, -EINVAL, "journal of another array");
    ck_assert_ptr_nonnull(strstr(kit.why, journal_path()));
    array_kit_close(&other);
}
END_TEST

static void expect_both_named(const char *a, const char *b)
{
    ck_assert_msg(strstr(kit.why, a) != NULL && strstr(kit.why, b) != NULL, "%s", kit.why);
}

START_TEST(one_file_given_twice_is_refused_with_both_names)
{
    memcpy(kit.paths[4], kit.paths[1], sizeof(kit.paths[1]));
    kit.path_count = 5;
    array_kit_expect_refusal(&kit, looking, -EINVAL, "the same file twice");
    const char *other_name = array_kit_file(&kit, "link.img", 0);
    ck_assert_int_eq(unlink(other_name), 0);
    ck_assert_int_eq(link(kit.paths[1], other_name), 0);
    memcpy(kit.paths[4], other_name, ARRAY_KIT_PATH_BYTES);
    array_kit_expect_refusal(&kit, looking, -EINVAL, "the same file twice");
    expect_both_named(kit.paths[1], other_name);
}
END_TEST

START_TEST(a_copy_beside_its_original_is_refused_with_both_names)
{
    for (uint32_t i = 1; i < 4; i += 2) { /* a member, the journal */
        const char *copy = array_kit_file(&kit, "copy.img", 0);
        array_kit_copy(kit.paths[i], copy);
        memcpy(kit.paths[4], copy, ARRAY_KIT_PATH_BYTES);
        kit.path_count = 5;
        array_kit_expect_refusal(&kit, looking, -EINVAL, "copies of one member");
        expect_both_named(kit.paths[i], copy);
        array_kit_edit(copy, events_eight); /* an old copy all the same */
        array_kit_expect_refusal(&kit, looking, -EINVAL, "copies of one member");
    }
}
END_TEST

static void other_device(struct md_superblock *super)
{
    super->device_uuid = uuid_make_random();
}

START_TEST(two_devices_with_one_role_are_refused_with_both_names)
{
    for (uint32_t i = 1; i < 4; i += 2) {
        const char *copy = array_kit_file(&kit, "copy.img", 0);
        array_kit_copy(kit.paths[i], copy);
        array_kit_edit(copy, other_device);
        memcpy(kit.paths[4], copy, ARRAY_KIT_PATH_BYTES);
        kit.path_count = 5;
        array_kit_expect_refusal(
            &kit, looking, -EINVAL, i == 3 ? "both are the array's journal" : "of slot 1");
        expect_both_named(kit.paths[i], copy);
    }
}
END_TEST

/* ---- what a file can suffer ---------------------------------------------------------------- */

START_TEST(a_stale_member_is_not_used)
{
    edit_all(events_ten);
    array_kit_edit(kit.paths[2], events_eight);
    array_kit_expect_refusal(&kit, plain, -EPERM, "stale: events 8, the array is at 10");
    struct array *array = assemble(degraded);
    expect_problem(array, kit.paths[2], "stale");
    array_close(array);
    expect_lost(&degraded, 2, MEMBER_STALE);
}
END_TEST

START_TEST(a_member_one_event_behind_is_used)
{
    edit_all(events_ten);
    array_kit_edit(kit.paths[2], events_nine);
    array_kit_edit(journal_path(), events_nine);
    struct array *array = assemble(plain);
    ck_assert_uint_eq(array_events(array), 10);
    ck_assert_int_eq(array_journal_state(array), JOURNAL_DEVICE_OK);
    array_close(array);
}
END_TEST

START_TEST(a_truncated_member_is_not_used)
{
    struct md_superblock super;
    array_kit_super(kit.paths[0], &super);
    uint64_t end = (super.data_offset_sectors + super.size_sectors) * SECTOR_BYTES;
    ck_assert_int_eq(truncate(kit.paths[0], (off_t)end), 0);
    array_close(assemble(plain));
    ck_assert_int_eq(truncate(kit.paths[0], (off_t)end - 1), 0);
    array_kit_expect_refusal(&kit, plain, -EPERM, "truncated: ");
    expect_lost(&degraded, 0, MEMBER_MISSING);
    ck_assert_int_eq(truncate(kit.paths[0], 8191), 0);
    array_kit_expect_refusal(&kit, plain, -EPERM, "only 8191 bytes long");
    ck_assert_int_eq(truncate(kit.paths[0], 0), 0);
    expect_lost(&degraded, 0, MEMBER_MISSING);
}
END_TEST

START_TEST(a_zeroed_or_flipped_superblock_makes_a_missing_member)
{
    static const uint8_t zeros[BLOCK_BYTES];
    uint8_t byte = 0;
    array_kit_read(kit.paths[1], MD_SUPER_OFFSET_BYTES + 200, &byte, 1);
    byte ^= 0x10;
    array_kit_write(kit.paths[1], MD_SUPER_OFFSET_BYTES + 200, &byte, 1);
    array_kit_expect_refusal(&kit, plain, -EPERM, "checksum");
    expect_lost(&degraded, 1, MEMBER_MISSING);
    array_kit_write(kit.paths[1], MD_SUPER_OFFSET_BYTES, zeros, sizeof(zeros));
    array_kit_expect_refusal(&kit, plain, -EPERM, "only zeros");
    expect_lost(&degraded, 1, MEMBER_MISSING);
}
END_TEST

START_TEST(files_without_any_superblock_are_no_array)
{
    static const uint8_t zeros[BLOCK_BYTES];
    for (uint32_t i = 0; i < kit.path_count; i++) {
        array_kit_write(kit.paths[i], MD_SUPER_OFFSET_BYTES, zeros, sizeof(zeros));
    }
    array_kit_expect_refusal(&kit, looking, -ENODEV, "no md superblock");
}
END_TEST

START_TEST(a_file_in_use_is_named_with_its_holder)
{
    char part[64];
    int fd = open(kit.paths[1], O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    ck_assert_int_gt(snprintf(part, sizeof(part), "in use by process %d", (int)getpid()), 0);
    array_kit_expect_refusal(&kit, plain, -EBUSY, part);
    ck_assert_ptr_nonnull(strstr(kit.why, kit.paths[1]));
    array_kit_expect_refusal(&kit, looking, -EBUSY, part);
    ck_assert_int_eq(close(fd), 0);
    struct array *array = assemble(plain); /* the refusals left no lock behind */
    array_kit_expect_refusal(&kit, plain, -EBUSY, part);
    array_close(array);
    array_close(assemble(plain));
}
END_TEST

START_TEST(a_file_that_may_not_be_written_is_refused_unless_only_read)
{
    bool root = geteuid() == 0;
    ck_assert_int_eq(chmod(kit.dir, 0755), 0);
    for (uint32_t i = 0; i < kit.path_count; i++) {
        ck_assert_int_eq(chmod(kit.paths[i], i == 2 ? 0444 : 0666), 0);
    }
    ck_assert(!root || seteuid(65534) == 0);
    bool reachable = faccessat(AT_FDCWD, kit.paths[0], F_OK, AT_EACCESS) == 0;
    if (reachable) {
        array_kit_expect_refusal(&kit, degraded, -EACCES, kit.paths[2]);
        array_close(assemble(looking));
    }
    ck_assert(!root || seteuid(0) == 0);
    if (!reachable) {
        printf("skipped: the build directory is closed to other users\n");
    }
}
END_TEST

START_TEST(what_is_neither_file_nor_device_is_refused)
{
    memcpy(kit.paths[1], kit.dir, sizeof(kit.paths[1]));
    array_kit_expect_refusal(&kit, looking, -ENOTBLK, "neither a regular file nor");
}
END_TEST

static void half_rebuilt(struct md_superblock *super)
{
    super->features |= MD_FEATURE_RECOVERY_OFFSET;
    super->recovery_offset = 1000;
}

START_TEST(a_member_whose_rebuild_is_unfinished_is_not_in_sync)
{
    array_kit_edit(kit.paths[1], half_rebuilt);
    array_kit_expect_refusal(&kit, plain, -EPERM, "rebuild is not finished");
    expect_lost(&degraded, 1, MEMBER_MISSING);
}
END_TEST

static void other_chunk(struct md_superblock *super)
{
    super->chunk_sectors *= 2;
}

static void other_ctime(struct md_superblock *super)
{
    super->ctime++;
}

START_TEST(a_member_that_contradicts_the_others_is_not_used)
{
    array_kit_edit(kit.paths[1], other_chunk);
    array_kit_expect_refusal(&kit, plain, -EPERM, "does not match");
    array_kit_edit(kit.paths[2], other_ctime);
    array_kit_expect_refusal(&kit, degraded, -ENODEV, "only one: 1 2");
}
END_TEST

static void slot_nine(struct md_superblock *super)
{
    super->roles[1] = 9;
}

START_TEST(a_role_beyond_the_members_is_damage)
{
    edit_all(slot_nine);
    struct array *array = assemble(degraded);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    expect_problem(array, kit.paths[1], "role 9");
    array_close(array);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("array_files");
    TCase *which = array_kit_case(suite, "which", setup, teardown);
    tcase_add_test(which, the_order_of_the_files_does_not_matter);
    tcase_add_test(which, no_files_and_too_many_are_refused);
    tcase_add_test(which, a_missing_member_is_named_and_needs_the_option);
    tcase_add_test(which, a_loss_recorded_before_needs_no_option);
    tcase_add_test(which, a_member_that_does_not_know_of_its_loss_is_not_used);
    tcase_add_test(which, two_missing_members_are_too_many);
    tcase_add_test(which, a_file_of_another_array_is_refused_by_name);
    tcase_add_test(which, the_journal_of_another_array_is_refused_by_name);
    tcase_add_test(which, one_file_given_twice_is_refused_with_both_names);
    tcase_add_test(which, a_copy_beside_its_original_is_refused_with_both_names);
    tcase_add_test(which, two_devices_with_one_role_are_refused_with_both_names);

    TCase *files = array_kit_case(suite, "files", setup, teardown);
    tcase_add_test(files, a_stale_member_is_not_used);
    tcase_add_test(files, a_member_one_event_behind_is_used);
    tcase_add_test(files, a_truncated_member_is_not_used);
    tcase_add_test(files, a_zeroed_or_flipped_superblock_makes_a_missing_member);
    tcase_add_test(files, files_without_any_superblock_are_no_array);
    tcase_add_test(files, a_file_in_use_is_named_with_its_holder);
    tcase_add_test(files, a_file_that_may_not_be_written_is_refused_unless_only_read);
    tcase_add_test(files, what_is_neither_file_nor_device_is_refused);
    tcase_add_test(files, a_member_whose_rebuild_is_unfinished_is_not_in_sync);
    tcase_add_test(files, a_member_that_contradicts_the_others_is_not_used);
    tcase_add_test(files, a_role_beyond_the_members_is_damage);
    return array_kit_run(suite);
}
