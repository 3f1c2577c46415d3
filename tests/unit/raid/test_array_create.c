/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creating arrays: sizes, superblocks, and what mdadm says of them. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "array_kit.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct array_kit_shape shapes[] = {
    {3, 8 * MIB, 0, 8, LAYOUT_LEFT_SYMMETRIC},
    {3, 8 * MIB, 4 * MIB, 128, LAYOUT_LEFT_SYMMETRIC},
    {4, 18 * MIB, 9 * MIB + 12345, 1024, LAYOUT_LEFT_ASYMMETRIC},
    {5, 6 * MIB + 777, 4 * MIB, 8, LAYOUT_RIGHT_SYMMETRIC},
    {8, 8 * MIB, 64 * MIB, 256, LAYOUT_RIGHT_ASYMMETRIC},
    {32, 8 * MIB, 4 * MIB, 128, LAYOUT_LEFT_SYMMETRIC},
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static const char *const layout_names[] = {
    "left-asymmetric",
    "right-asymmetric",
    "left-symmetric",
    "right-symmetric",
};

struct plan_case {
    uint64_t member_bytes;
    uint32_t chunk_sectors;
    uint64_t offset_bytes;
    uint64_t data_bytes;
};

/* At least 1 MiB + the checksum region (1/1024 in whole MiB, and one more). */
static const struct plan_case plan_cases[] = {
    {8 * MIB, 8, 3 * MIB, 5 * MIB},
    {8 * MIB + 5000, 8, 3 * MIB, 5 * MIB + 4096},
    {18 * MIB, 128, 3 * MIB, 15 * MIB},
    {GIB, 128, 3 * MIB, 1021 * MIB},
    {GIB + 1024, 128, 4 * MIB, 1020 * MIB},
    {10 * GIB, 1024, 12 * MIB, 10228 * MIB},
    /* Huge chunks: mdadm's headroom never goes below 4 of them. */
    {64 * MIB, 16384, 17 * MIB, 40 * MIB},
};

static struct array_create usual_create(void)
{
    static const char *const paths[MEMBERS_MAX + 1] = {"a", "b", "c", "d", "e"};
    struct array_create create = {
        .member_paths = paths,
        .member_count = 4,
        .chunk_sectors = 128,
        .layout = LAYOUT_LEFT_SYMMETRIC,
        .name = "x",
    };
    return create;
}

START_TEST(the_plan_leaves_room_for_checksums_and_rounds_to_chunks)
{
    const struct plan_case *row = &plan_cases[_i];
    struct array_create create = usual_create();
    struct array_plan plan;
    char why[ARRAY_WHY_BYTES] = "";
    uint64_t sizes[4] = {
        row->member_bytes + GIB, row->member_bytes, row->member_bytes + 1, UINT64_C(1) << 40};
    create.chunk_sectors = row->chunk_sectors;
    create.journal_path = "j";
    ck_assert_int_eq(array_plan(&create, sizes, 4 * MIB + 4095, &plan, why), 0);
    ck_assert_uint_eq(plan.data_offset_bytes, row->offset_bytes);
    ck_assert_uint_eq(plan.member_data_bytes, row->data_bytes);
    ck_assert_uint_eq(plan.volume_bytes, row->data_bytes * 3);
    ck_assert_uint_eq(plan.checksum_region_bytes, row->offset_bytes - MIB);
    ck_assert_uint_ge(plan.checksum_region_bytes, row->data_bytes / 1024 + MIB);
    ck_assert_uint_eq(plan.journal_offset_bytes, MIB);
    ck_assert_uint_eq(plan.journal_bytes, 3 * MIB);
}
END_TEST

static void expect_no_plan(const struct array_create *create,
                           uint64_t member_bytes,
                           uint64_t journal_bytes,
                           const char *part)
{
    struct array_plan plan;
    char why[ARRAY_WHY_BYTES] = "";
    uint64_t sizes[MEMBERS_MAX + 1];
    for (uint32_t i = 0; i <= MEMBERS_MAX; i++) {
        sizes[i] = member_bytes;
    }
    ck_assert_int_eq(array_plan(create, sizes, journal_bytes, &plan, why), -EINVAL);
    ck_assert_msg(strstr(why, part) != NULL, "\"%s\" is not in: %s", part, why);
    ck_assert_msg(strstr(why, "(hint: ") != NULL, "no hint in: %s", why);
}

START_TEST(impossible_arrays_are_not_planned)
{
    struct array_create create = usual_create();
    create.member_count = 2;
    expect_no_plan(&create, GIB, 0, "2 members");
    create.member_count = 33;
    expect_no_plan(&create, GIB, 0, "33 members");
    create = usual_create();
    create.chunk_sectors = 4;
    expect_no_plan(&create, GIB, 0, "chunk of 2048");
    create.chunk_sectors = 24;
    expect_no_plan(&create, GIB, 0, "chunk of 12288");
    create.chunk_sectors = 0;
    expect_no_plan(&create, GIB, 0, "chunk of 0");
    create.chunk_sectors = 1u << 31;
    expect_no_plan(&create, GIB, 0, "chunk of");
    create = usual_create();
    create.name = "123456789012345678901234567890123";
    expect_no_plan(&create, GIB, 0, "longer than 32");
    create = usual_create();
    expect_no_plan(&create, 3 * MIB, 0, "too small for a member");
    expect_no_plan(&create, 0, 0, "too small for a member");
    create.journal_path = "j";
    expect_no_plan(&create, GIB, 2 * MIB - 1, "j: 2097151 bytes are too small for a journal");
}
END_TEST

START_TEST(all_devices_say_the_same_of_the_array_and_each_its_own)
{
    const struct array_kit_shape *shape = &shapes[_i];
    struct array_kit kit;
    struct md_superblock first;
    array_kit_create(&kit, shape);
    array_kit_super(kit.paths[0], &first);
    for (uint32_t i = 0; i < kit.path_count; i++) {
        struct md_superblock super;
        array_kit_super(kit.paths[i], &super);
        ck_assert_uint_eq(super.dev_number, i);
        ck_assert_uint_eq(md_super_role(&super), i < shape->members ? i : MD_ROLE_JOURNAL);
        ck_assert(i == 0 || !uuid_equal(&super.device_uuid, &first.device_uuid));
        ck_assert_uint_eq(super.max_dev, 128);
        ck_assert_uint_eq(super.recovery_offset, 0);
        /* What may differ put aside, all is equal. */
        super.dev_number = first.dev_number;
        super.device_uuid = first.device_uuid;
        super.data_offset_sectors = first.data_offset_sectors;
        super.data_size_sectors = first.data_size_sectors;
        ck_assert_mem_eq(&super, &first, sizeof(super));
    }
    ck_assert_uint_eq(first.features, shape->journal_bytes != 0 ? MD_FEATURE_JOURNAL : 0);
    ck_assert(md_super_is_clean(&first));
    array_kit_close(&kit);
}
END_TEST

START_TEST(what_was_created_assembles_clean)
{
    const struct array_kit_shape *shape = &shapes[_i];
    struct array_kit kit;
    struct array *array = NULL;
    array_kit_create(&kit, shape);
    int error = array_kit_assemble(&kit, (struct array_assemble){0}, &array);
    ck_assert_msg(error == 0, "%s", kit.why);
    ck_assert_int_eq(array_state(array), ARRAY_CLEAN);
    ck_assert_uint_eq(array_missing_slot(array), ARRAY_NO_SLOT);
    ck_assert_uint_eq(array_problem_count(array), 0);
    ck_assert_str_eq(array_name(array), "test");
    ck_assert_uint_eq(array_geometry(array)->slots, shape->members);
    ck_assert_uint_eq(array_geometry(array)->chunk_blocks, shape->chunk_sectors / 8);
    ck_assert_int_eq(array_geometry(array)->layout, shape->layout);
    bool journal = shape->journal_bytes != 0;
    ck_assert_int_eq(array_journal_state(array), journal ? JOURNAL_DEVICE_OK : JOURNAL_DEVICE_NONE);
    if (journal) {
        ck_assert_uint_eq(array_journal_offset_bytes(array), MIB);
        ck_assert_uint_eq(array_journal_blocks(array), (shape->journal_bytes - MIB) / 4096);
        ck_assert_uint_eq(array_log_tail(array).nr, 0);
    } else {
        ck_assert_ptr_null(array_journal_file(array));
    }
    array_close(array);
    array_kit_close(&kit);
}
END_TEST

START_TEST(nothing_but_the_first_64_kib_is_written)
{
    struct array_kit kit;
    struct array_create create;
    const char *members[3];
    uint8_t block[BLOCK_BYTES];
    uint8_t got[BLOCK_BYTES];
    memset(block, 0x5a, sizeof(block));
    array_kit_open(&kit);
    const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        members[i] = array_kit_file(&kit, names[i], 8 * MIB);
        for (uint64_t at = 0; at < 8 * MIB; at += BLOCK_BYTES) {
            array_kit_write(members[i], at, block, sizeof(block));
        }
    }
    create = usual_create();
    create.member_paths = members;
    create.member_count = 3;
    create.uuid = uuid_make_random();
    ck_assert_int_eq(array_create(&create, kit.why), 0);
    for (uint64_t at = 0; at < 8 * MIB; at += BLOCK_BYTES) {
        array_kit_read(members[1], at, got, sizeof(got));
        bool is_super = at == MD_SUPER_OFFSET_BYTES;
        memset(block, at < 65536 ? 0 : 0x5a, sizeof(block));
        ck_assert(is_super || memcmp(got, block, sizeof(got)) == 0);
    }
    array_kit_close(&kit);
}
END_TEST

START_TEST(one_file_for_two_members_is_refused)
{
    struct array_kit kit;
    array_kit_open(&kit);
    const char *a = array_kit_file(&kit, "a", 8 * MIB);
    const char *b = array_kit_file(&kit, "b", 8 * MIB);
    const char *members[3] = {a, b, a};
    struct array_create create = usual_create();
    create.member_paths = members;
    create.member_count = 3;
    ck_assert_int_eq(array_create(&create, kit.why), -EBUSY);
    ck_assert_ptr_nonnull(strstr(kit.why, "named twice"));
    members[2] = "/nonexistent/file";
    ck_assert_int_eq(array_create(&create, kit.why), -ENOENT);
    ck_assert_ptr_nonnull(strstr(kit.why, "/nonexistent/file: "));
    char what[ARRAY_WHY_BYTES];
    ck_assert_int_eq(array_recognise(a, what), 0);
    ck_assert_str_eq(what, ""); /* nothing was written by then */
    array_kit_close(&kit);
}
END_TEST

/* ---- mdadm --------------------------------------------------------------------------------- */

static void examine(const char *path, char *out_text, size_t size)
{
    char command[512];
    ck_assert_int_gt(
        snprintf(
            command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin mdadm --examine '%s' 2>&1", path),
        0);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    size_t got = fread(out_text, 1, size - 1, pipe);
    out_text[got] = '\0';
    ck_assert_msg(pclose(pipe) == 0, "%s", out_text);
}

static void expect_line(const char *text, const char *format, ...) R5_PRINTF(2, 3);

static void expect_line(const char *text, const char *format, ...)
{
    char line[128];
    va_list args;
    va_start(args, format);
    ck_assert_int_gt(vsnprintf(line, sizeof(line), format, args), 0);
    va_end(args);
    ck_assert_msg(strstr(text, line) != NULL, "\"%s\" is not in:\n%s", line, text);
}

static void
expect_examined(const struct array_kit *kit, const struct array_kit_shape *shape, uint32_t index)
{
    char text[8192];
    char uuid[UUID_TEXT_BYTES];
    char states[MEMBERS_MAX + 1];
    struct md_superblock super;
    bool is_journal = index == shape->members;
    array_kit_super(kit->paths[index], &super);
    examine(kit->paths[index], text, sizeof(text));
    uuid_print_md(&super.set_uuid, uuid);
    memset(states, 'A', sizeof(states));
    states[shape->members] = '\0';
    uint64_t volume_kib = super.size_sectors / 2 * (shape->members - 1);
    expect_line(text, "Version : 1.2\n");
    expect_line(text, "Feature Map : 0x%x\n", super.features);
    expect_line(text, "Array UUID : %s\n", uuid);
    expect_line(text, "Name : test\n");
    expect_line(text, "Raid Level : raid5\n");
    expect_line(text, "Raid Devices : %" PRIu32 "\n", shape->members);
    expect_line(text, "Avail Dev Size : %" PRIu64 " sectors", super.data_size_sectors);
    expect_line(text, "Array Size : %" PRIu64 " KiB", volume_kib);
    expect_line(text, "Data Offset : %" PRIu64 " sectors\n", super.data_offset_sectors);
    expect_line(text, "Super Offset : 8 sectors\n");
    expect_line(text, "State : clean\n");
    expect_line(text, "512 entries available at offset 16 sectors\n");
    expect_line(text, " - correct\n");
    expect_line(text, "Events : 0\n");
    expect_line(text, "Layout : %s\n", layout_names[shape->layout]);
    expect_line(text, "Chunk Size : %" PRIu32 "K\n", shape->chunk_sectors / 2);
    expect_line(text, "Array State : %s (", states);
    if (is_journal) {
        expect_line(text, "Device Role : Journal\n");
    } else {
        expect_line(text, "Device Role : Active device %" PRIu32 "\n", index);
    }
}

START_TEST(mdadm_accepts_every_device_and_shows_what_we_meant)
{
    struct array_kit kit;
    if (!array_kit_has_program("mdadm")) {
        printf("skipped: mdadm is not installed\n");
        return;
    }
    array_kit_create(&kit, &shapes[_i]);
    for (uint32_t i = 0; i < kit.path_count; i++) {
        expect_examined(&kit, &shapes[_i], i);
    }
    array_kit_close(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("array_create");
    TCase *plan = tcase_create("plan");
    tcase_add_loop_test(plan,
                        the_plan_leaves_room_for_checksums_and_rounds_to_chunks,
                        0,
                        (int)(sizeof(plan_cases) / sizeof(plan_cases[0])));
    tcase_add_test(plan, impossible_arrays_are_not_planned);
    suite_add_tcase(suite, plan);
    TCase *create = tcase_create("create");
    tcase_set_timeout(create, 60);
    tcase_add_loop_test(
        create, all_devices_say_the_same_of_the_array_and_each_its_own, 0, (int)SHAPES);
    tcase_add_loop_test(create, what_was_created_assembles_clean, 0, (int)SHAPES);
    tcase_add_test(create, nothing_but_the_first_64_kib_is_written);
    tcase_add_test(create, one_file_for_two_members_is_refused);
    suite_add_tcase(suite, create);
    TCase *mdadm = tcase_create("mdadm");
    tcase_set_timeout(mdadm, 60);
    tcase_add_loop_test(mdadm, mdadm_accepts_every_device_and_shows_what_we_meant, 0, (int)SHAPES);
    suite_add_tcase(suite, mdadm);
    return array_kit_run(suite);
}
