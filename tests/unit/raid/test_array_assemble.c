/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From files to an array: those of the kernel, out of sync, of other kinds, without journal. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
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

static void events_eight(struct md_superblock *super)
{
    super->events = 8;
}

static void lose_journal(struct md_superblock *super)
{
    super->roles[3] = MD_ROLE_FAULTY;
}

static void make_dirty(struct md_superblock *super)
{
    super->resync_offset = 0;
}

/* ---- arrays of the kernel ------------------------------------------------------------------ */

struct golden {
    const char *name;
    uint32_t members;
    uint32_t missing;
    uint32_t chunk_blocks;
    bool journal;
    bool needs_degraded;
};

static const struct golden goldens[] = {
    {"f1", 3, ARRAY_NO_SLOT, 16, false, false},
    {"f2", 4, ARRAY_NO_SLOT, 128, true, false},
    {"f3", 4, ARRAY_NO_SLOT, 16, true, false},
    {"f5", 5, 2, 32, false, false}, /* the kernel recorded the loss */
    {"f7", 4, 2, 16, true, true},   /* the file went away afterwards */
    {"f12", 4, ARRAY_NO_SLOT, 16, true, false},
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

START_TEST(the_tail_is_read_and_a_damaged_one_names_no_block)
{
    static void (*const edits[])(struct md_superblock *) = {tail_at_5, tail_odd, tail_beyond};
    static const uint64_t tails[] = {5, UINT64_MAX, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        array_kit_edit(journal_path(), edits[i]);
        struct array *array = assemble(plain);
        ck_assert_uint_eq(array_log_tail(array).nr, tails[i]);
        array_close(array);
    }
}
END_TEST

/* ---- anything ------------------------------------------------------------------------------ */

/* One to three bytes anywhere in the first 300, the checksum made right again. */
static void spoil(const char *path)
{
    uint8_t block[BLOCK_BYTES];
    array_kit_read(path, MD_SUPER_OFFSET_BYTES, block, sizeof(block));
    for (uint64_t n = array_kit_random() % 3 + 1; n > 0; n--) {
        block[array_kit_random() % 300] =
            (uint8_t)(array_kit_random() % 4 == 0 ? 0xff : array_kit_random());
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
    array_kit_seed("no_superblock_however_wrong_does_harm");
    unsigned assembled = 0;
    uint8_t saved[4][BLOCK_BYTES];
    for (uint32_t i = 0; i < 4; i++) {
        array_kit_read(kit.paths[i], MD_SUPER_OFFSET_BYTES, saved[i], BLOCK_BYTES);
    }
    for (int round = 0; round < 400; round++) {
        spoil(kit.paths[array_kit_random() % 4]);
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

int main(void)
{
    Suite *suite = suite_create("array_assemble");
    TCase *golden = tcase_create("golden");
    tcase_set_timeout(golden, 120);
    tcase_add_loop_test(golden, an_array_of_the_kernel_assembles, 0, (int)GOLDENS);
    tcase_add_loop_test(golden, assembling_changes_no_byte, 0, (int)GOLDENS);
    suite_add_tcase(suite, golden);

    TCase *arrays = array_kit_case(suite, "arrays", setup, teardown);
    tcase_add_loop_test(arrays,
                        an_array_we_cannot_handle_is_refused_by_name,
                        0,
                        (int)(sizeof(kinds) / sizeof(kinds[0])));
    tcase_add_test(arrays, a_bad_block_list_on_one_member_is_enough);
    tcase_add_test(arrays, an_array_out_of_sync_is_only_read);

    TCase *journal = array_kit_case(suite, "journal", setup, teardown);
    tcase_add_test(journal, a_missing_journal_is_refused_or_leaves_a_read_only_array);
    tcase_add_test(journal, an_old_copy_of_the_journal_is_refused);
    tcase_add_test(journal, a_journal_recorded_as_failed_is_not_used);
    tcase_add_test(journal, a_damaged_or_truncated_journal_counts_as_missing);
    tcase_add_test(journal, a_journal_too_small_for_any_log_is_not_used);
    tcase_add_test(journal, the_tail_is_read_and_a_damaged_one_names_no_block);

    TCase *anything = array_kit_case(suite, "anything", setup, teardown);
    tcase_add_test(anything, no_superblock_however_wrong_does_harm);
    return array_kit_run(suite);
}
