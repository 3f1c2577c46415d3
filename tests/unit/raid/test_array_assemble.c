/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From files to an array: arrays of the kernel, our own, and everything that can be wrong with one. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
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

static void lose_journal(struct md_superblock *super)
{
    super->roles[3] = MD_ROLE_FAULTY;
}

static void make_dirty(struct md_superblock *super)
{
    super->resync_offset = 0;
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

/* ---- arrays of the kernel ------------------------------------------------------------------ */

struct golden {
    const char *name;
    uint32_t members;
    bool journal;
    uint32_t missing;
    bool needs_degraded;
    uint32_t chunk_blocks;
};

static const struct golden goldens[] = {
    {"f1", 3, false, ARRAY_NO_SLOT, false, 16},
    {"f2", 4, true, ARRAY_NO_SLOT, false, 128},
    {"f3", 4, true, ARRAY_NO_SLOT, false, 16},
    {"f5", 5, false, 2, false, 32}, /* the kernel recorded the loss */
    {"f7", 4, true, 2, true, 16},   /* the file went away afterwards */
    {"f12", 4, true, ARRAY_NO_SLOT, false, 16},
};

#define GOLDENS (sizeof(goldens) / sizeof(goldens[0]))

START_TEST(an_array_of_the_kernel_assembles)
{
    const struct golden *golden = &goldens[_i];
    array_kit_unpack(&kit, golden->name, golden->members, golden->journal);
    if (golden->needs_degraded) {
        array_kit_expect_refusal(&kit, plain, -EPERM, "slot 2 is missing");
    }
    struct array *array = assemble(golden->needs_degraded ? degraded : plain);
    ck_assert_uint_eq(array_missing_slot(array), golden->missing);
    ck_assert_int_eq(array_state(array),
                     golden->missing == ARRAY_NO_SLOT ? ARRAY_CLEAN : ARRAY_DEGRADED);
    ck_assert_int_eq(array_journal_state(array),
                     golden->journal ? JOURNAL_DEVICE_OK : JOURNAL_DEVICE_NONE);
    ck_assert_uint_eq(array_geometry(array)->slots, golden->members);
    ck_assert_uint_eq(array_geometry(array)->chunk_blocks, golden->chunk_blocks);
    ck_assert_int_eq(array_geometry(array)->layout, LAYOUT_LEFT_SYMMETRIC);
    ck_assert_uint_eq(array_resync_offset(array), UINT64_MAX);
    ck_assert(!array_is_read_only(array));
    ck_assert_uint_eq(array_problem_count(array), 0);
    for (uint32_t slot = 0; slot < golden->members; slot++) {
        struct member_info info;
        array_member_info(array, slot, &info);
        /* Device numbers are not slots in these; the file's name says which slot it is. */
        ck_assert_str_eq(info.path, kit.paths[slot]);
        ck_assert_int_eq(info.state, slot == golden->missing ? MEMBER_MISSING : MEMBER_IN_SYNC);
    }
    array_close(array);
    array_kit_close(&kit);
}
END_TEST

static void expect_manifest_names(const char *golden, const char *file, const char *hex)
{
    char path[512];
    char text[65536];
    ck_assert_int_gt(
        snprintf(path, sizeof(path), "%s/golden/%s/manifest.json", R5_TEST_DIR, golden), 0);
    FILE *manifest = fopen(path, "r");
    ck_assert_ptr_nonnull(manifest);
    size_t got = fread(text, 1, sizeof(text) - 1, manifest);
    text[got] = '\0';
    ck_assert_int_eq(fclose(manifest), 0);
    ck_assert_msg(strstr(text, hex) != NULL, "%s of %s has changed", file, golden);
}

START_TEST(assembling_changes_no_byte)
{
    const struct golden *golden = &goldens[_i];
    array_kit_unpack(&kit, golden->name, golden->members, golden->journal);
    array_close(assemble(degraded));
    array_close(assemble(looking));
    for (uint32_t i = 0; i < kit.path_count; i++) {
        char hex[65];
        if (kit.paths[i][0] != '\0') {
            array_kit_sha256(kit.paths[i], hex);
            expect_manifest_names(golden->name, kit.paths[i], hex);
        }
    }
    array_kit_close(&kit);
}
END_TEST

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
    bool reachable = access(kit.paths[0], F_OK) == 0;
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

/* ---- arrays we cannot use ------------------------------------------------------------------ */

static void level_6(struct md_superblock *super)
{
    super->level = 6;
}

static void parity_last(struct md_superblock *super)
{
    super->layout = 5;
}

static void with_bitmap(struct md_superblock *super)
{
    super->features = MD_FEATURE_BITMAP;
}

static void with_ppl(struct md_superblock *super)
{
    super->features = MD_FEATURE_PPL;
}

static void with_reshape(struct md_superblock *super)
{
    super->features |= MD_FEATURE_RESHAPE;
}

static void with_bad_blocks(struct md_superblock *super)
{
    super->features |= MD_FEATURE_BAD_BLOCKS;
}

static void with_future(struct md_superblock *super)
{
    super->features |= 0x10000;
}

struct foreign_kind {
    void (*edit)(struct md_superblock *super);
    const char *part;
    bool readable;
};

static const struct foreign_kind kinds[] = {
    {level_6, "level 6", false},
    {parity_last, "layout 5", false},
    {with_bitmap, "internal bitmap", true},
    {with_ppl, "partial parity log", false},
    {with_reshape, "reshape", false},
    {with_bad_blocks, "bad-block list", false},
    {with_future, "unknown feature", false},
};

START_TEST(an_array_we_cannot_handle_is_refused_by_name)
{
    const struct foreign_kind *kind = &kinds[_i];
    edit_all(kind->edit);
    array_kit_expect_refusal(&kit, degraded, -EINVAL, kind->part);
    if (kind->readable) {
        array_close(assemble(looking));
    } else {
        array_kit_expect_refusal(&kit, looking, -EINVAL, kind->part);
    }
}
END_TEST

START_TEST(a_bad_block_list_on_one_member_is_enough)
{
    array_kit_edit(kit.paths[2], with_bad_blocks);
    array_kit_expect_refusal(&kit, degraded, -EINVAL, "bad-block list");
    ck_assert_ptr_nonnull(strstr(kit.why, kit.paths[2]));
}
END_TEST

START_TEST(an_array_out_of_sync_is_only_read)
{
    edit_all(make_dirty);
    array_kit_expect_refusal(&kit, plain, -EUCLEAN, "not in sync");
    struct array_assemble how = {.read_only = true};
    struct array *array = assemble(how);
    ck_assert_uint_eq(array_resync_offset(array), 0);
    array_close(array);
    kit.paths[1][0] = '\0';
    how.allow_degraded = true;
    array_kit_expect_refusal(&kit, how, -EUCLEAN, "degraded, and its parity is not in sync");
    how.allow_dirty = true;
    array_close(assemble(how));
}
END_TEST

/* ---- the journal --------------------------------------------------------------------------- */

static void expect_read_only_without_journal(enum journal_state state)
{
    struct array_assemble how = {.allow_no_journal = true};
    struct array *array = assemble(how);
    ck_assert_int_eq(array_journal_state(array), state);
    ck_assert_ptr_null(array_journal_file(array));
    ck_assert(array_is_read_only(array));
    ck_assert_int_eq(array_state(array), ARRAY_CLEAN);
    array_close(array);
}

START_TEST(a_missing_journal_is_refused_or_leaves_a_read_only_array)
{
    ck_assert_int_eq(unlink(journal_path()), 0);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "journal is missing");
    ck_assert_ptr_nonnull(strstr(kit.why, journal_path()));
    expect_read_only_without_journal(JOURNAL_DEVICE_MISSING);
    kit.paths[3][0] = '\0';
    array_kit_expect_refusal(&kit, degraded, -ENXIO, "journal is missing");
}
END_TEST

START_TEST(an_old_copy_of_the_journal_is_refused)
{
    edit_all(events_ten);
    array_kit_edit(journal_path(), events_eight);
    array_kit_expect_refusal(&kit, degraded, -ESTALE, "old copy");
    ck_assert_ptr_nonnull(strstr(kit.why, journal_path()));
    expect_read_only_without_journal(JOURNAL_DEVICE_MISSING);
}
END_TEST

START_TEST(a_journal_recorded_as_failed_is_not_used)
{
    edit_all(lose_journal);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "its journal has failed");
    expect_read_only_without_journal(JOURNAL_DEVICE_FAULTY);
}
END_TEST

START_TEST(a_damaged_or_truncated_journal_counts_as_missing)
{
    ck_assert_int_eq(truncate(journal_path(), (off_t)(4 * MIB) - 4096), 0);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "truncated");
    uint8_t byte = 0xff;
    array_kit_write(journal_path(), MD_SUPER_OFFSET_BYTES + 100, &byte, 1);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "checksum");
}
END_TEST

static void tiny_ring(struct md_superblock *super)
{
    super->data_size_sectors = 15;
}

START_TEST(a_journal_too_small_for_any_log_is_not_used)
{
    array_kit_edit(journal_path(), tiny_ring);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "only 1 blocks");
}
END_TEST

static void tail_at_5(struct md_superblock *super)
{
    super->recovery_offset = 40;
}

static void tail_odd(struct md_superblock *super)
{
    super->recovery_offset = 41;
}

static void tail_beyond(struct md_superblock *super)
{
    super->recovery_offset = super->data_size_sectors;
}

START_TEST(the_tail_is_read_and_a_damaged_one_is_zero)
{
    static void (*const edits[])(struct md_superblock *) = {tail_at_5, tail_odd, tail_beyond};
    static const uint64_t tails[] = {5, 0, 0};
    for (int i = 0; i < 3; i++) {
        array_kit_edit(journal_path(), edits[i]);
        struct array *array = assemble(plain);
        ck_assert_uint_eq(array_log_tail(array).nr, tails[i]);
        array_close(array);
    }
}
END_TEST

/* ---- anything ------------------------------------------------------------------------------ */

static uint64_t seed;

static uint64_t next_random(void)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = (seed ^ (seed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

/* One to three bytes anywhere in the first 300, the checksum made right again. */
static void spoil(const char *path)
{
    uint8_t block[BLOCK_BYTES];
    array_kit_read(path, MD_SUPER_OFFSET_BYTES, block, sizeof(block));
    for (uint64_t n = next_random() % 3 + 1; n > 0; n--) {
        block[next_random() % 300] = (uint8_t)(next_random() % 4 == 0 ? 0xff : next_random());
    }
    struct md_format_super *raw = (struct md_format_super *)(void *)block;
    uint32_t max_dev = le32_get(raw->max_dev);
    if (max_dev <= MD_ROLES_MAX) {
        raw->sb_csum = le32_make(md_super_checksum(block, max_dev));
    }
    array_kit_write(path, MD_SUPER_OFFSET_BYTES, block, sizeof(block));
}

START_TEST(no_superblock_however_wrong_does_harm)
{
    const char *given = getenv("R5_SEED");
    if (given != NULL) {
        seed = strtoull(given, NULL, 0);
    } else {
        ck_assert_int_eq(getrandom(&seed, sizeof(seed), 0), 8);
    }
    printf("no_superblock_however_wrong_does_harm: seed=%" PRIu64 " (replay: R5_SEED=%" PRIu64
           ")\n",
           seed,
           seed);
    unsigned assembled = 0;
    uint8_t saved[4][BLOCK_BYTES];
    for (uint32_t i = 0; i < 4; i++) {
        array_kit_read(kit.paths[i], MD_SUPER_OFFSET_BYTES, saved[i], BLOCK_BYTES);
    }
    for (int round = 0; round < 400; round++) {
        spoil(kit.paths[next_random() % 4]);
        struct array *array = NULL;
        int error = array_kit_assemble(&kit, round % 2 == 0 ? degraded : looking, &array);
        if (error == 0) {
            assembled++;
            ck_assert_int_ne(array_state(array), ARRAY_FAILED);
            array_close(array);
        } else {
            ck_assert_msg(strstr(kit.why, "(hint: ") != NULL, "%s", kit.why);
        }
        for (uint32_t i = 0; i < 4; i++) {
            array_kit_write(kit.paths[i], MD_SUPER_OFFSET_BYTES, saved[i], BLOCK_BYTES);
        }
    }
    ck_assert_uint_gt(assembled, 0);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("array_assemble");
    TCase *golden = tcase_create("golden");
    tcase_set_timeout(golden, 120);
    tcase_add_loop_test(golden, an_array_of_the_kernel_assembles, 0, (int)GOLDENS);
    tcase_add_loop_test(golden, assembling_changes_no_byte, 0, (int)GOLDENS);
    suite_add_tcase(suite, golden);

    TCase *which = add_case(suite, "which");
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

    TCase *files = add_case(suite, "files");
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

    TCase *arrays = add_case(suite, "arrays");
    tcase_add_loop_test(arrays,
                        an_array_we_cannot_handle_is_refused_by_name,
                        0,
                        (int)(sizeof(kinds) / sizeof(kinds[0])));
    tcase_add_test(arrays, a_bad_block_list_on_one_member_is_enough);
    tcase_add_test(arrays, an_array_out_of_sync_is_only_read);

    TCase *journal = add_case(suite, "journal");
    tcase_add_test(journal, a_missing_journal_is_refused_or_leaves_a_read_only_array);
    tcase_add_test(journal, an_old_copy_of_the_journal_is_refused);
    tcase_add_test(journal, a_journal_recorded_as_failed_is_not_used);
    tcase_add_test(journal, a_damaged_or_truncated_journal_counts_as_missing);
    tcase_add_test(journal, a_journal_too_small_for_any_log_is_not_used);
    tcase_add_test(journal, the_tail_is_read_and_a_damaged_one_is_zero);

    TCase *anything = add_case(suite, "anything");
    tcase_add_test(anything, no_superblock_however_wrong_does_harm);
    return array_kit_run(suite);
}
