/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The md superblock codec, against superblocks that the kernel wrote and against damage. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_kit.h"
#include "member_state.h"

struct golden {
    const char *name;
    uint32_t members;
    bool journal;
};

static const struct golden goldens[] = {
    {"f1", 3, false},
    {"f2", 4, true},
    {"f3", 4, true},
    {"f5", 5, false},
    {"f7", 4, true},
    {"f12", 4, true},
};

#define GOLDENS (sizeof(goldens) / sizeof(goldens[0]))

static void fill_usual(struct md_superblock *super)
{
    memset(super, 0, sizeof(*super));
    super->features = MD_FEATURE_JOURNAL;
    super->set_uuid = uuid_make_random();
    super->device_uuid = uuid_make_random();
    memcpy(super->name, "any:thing", 9);
    super->level = MD_LEVEL_RAID5;
    super->layout = LAYOUT_LEFT_SYMMETRIC;
    super->size_sectors = 4096;
    super->chunk_sectors = 128;
    super->raid_disks = 4;
    super->data_offset_sectors = 2048;
    super->data_size_sectors = 4096;
    super->super_sector = MD_SUPER_SECTOR;
    super->dev_number = 2;
    super->events = 17;
    super->resync_offset = MD_CLEAN;
    super->max_dev = MD_ROLES_ONE_SECTOR;
    for (uint32_t i = 0; i < MD_ROLES_MAX; i++) {
        super->roles[i] = i < 4 ? (uint16_t)i : (uint16_t)MD_ROLE_SPARE;
    }
    super->roles[4] = MD_ROLE_JOURNAL;
}

static void decode_ok(const uint8_t block[BLOCK_BYTES], struct md_superblock *out_super)
{
    char why[MD_WHY_BYTES] = "";
    int error = md_super_decode(block, out_super, why);
    ck_assert_msg(error == 0, "%s", why);
}

static void expect_damage(const uint8_t block[BLOCK_BYTES], int error, const char *part)
{
    struct md_superblock super;
    char why[MD_WHY_BYTES] = "";
    ck_assert_int_eq(md_super_decode(block, &super, why), error);
    ck_assert_msg(strstr(why, part) != NULL, "\"%s\" is not in: %s", part, why);
}

START_TEST(what_the_kernel_wrote_decodes_and_encodes_to_the_same_bytes)
{
    const struct golden *golden = &goldens[_i];
    struct array_kit kit;
    unsigned seen = 0;
    array_kit_unpack(&kit, golden->name, golden->members, golden->journal);
    for (uint32_t i = 0; i < kit.path_count; i++) {
        if (kit.paths[i][0] == '\0') {
            continue;
        }
        uint8_t before[BLOCK_BYTES];
        uint8_t after[BLOCK_BYTES];
        struct md_superblock super;
        char why[MD_WHY_BYTES] = "";
        array_kit_read(kit.paths[i], MD_SUPER_OFFSET_BYTES, before, sizeof(before));
        decode_ok(before, &super);
        ck_assert_uint_eq(super.raid_disks, golden->members);
        ck_assert_int_eq(md_super_supported(&super, false, why), 0);
        ck_assert_int_eq(md_super_fits(&super, 18874368, why), 0);
        uint32_t role = i < golden->members ? i : MD_ROLE_JOURNAL;
        ck_assert_uint_eq(md_super_role(&super), role);
        md_super_encode(&super, after);
        ck_assert_mem_eq(before, after, BLOCK_BYTES);
        seen++;
    }
    ck_assert_uint_ge(seen, 3);
    array_kit_close(&kit);
}
END_TEST

START_TEST(the_kernel_numbers_devices_otherwise_than_slots)
{
    struct array_kit kit;
    struct md_superblock super;
    array_kit_unpack(&kit, "f2", 4, true);
    array_kit_super(kit.paths[0], &super);
    ck_assert_uint_eq(super.dev_number, 1);
    ck_assert_uint_eq(md_super_role(&super), 0);
    ck_assert_uint_eq(md_super_find_role(&super, MD_ROLE_JOURNAL), 0);
    ck_assert_uint_eq(md_super_find_role(&super, 3), 4);
    ck_assert_uint_eq(md_super_find_role(&super, 7), UINT32_MAX);
    array_kit_close(&kit);
}
END_TEST

START_TEST(random_numbers_survive_encode_and_decode)
{
    array_kit_seed("random_numbers_survive_encode_and_decode");
    for (int round = 0; round < 500; round++) {
        struct md_superblock in;
        struct md_superblock out;
        uint8_t block[BLOCK_BYTES];
        fill_usual(&in);
        in.features = (uint32_t)array_kit_random();
        in.level = (int32_t)array_kit_random();
        in.layout = (uint32_t)array_kit_random();
        in.ctime = array_kit_random();
        in.size_sectors = array_kit_random() >> 12;
        in.chunk_sectors = (uint32_t)array_kit_random();
        in.raid_disks = (uint32_t)array_kit_random();
        in.bitmap_offset_sectors = (int32_t)array_kit_random();
        in.reshape_position = array_kit_random();
        in.new_offset = (uint32_t)array_kit_random();
        in.data_size_sectors = 10 + (array_kit_random() >> 12);
        in.data_offset_sectors = 24 + (array_kit_random() >> 12);
        in.recovery_offset = array_kit_random();
        in.dev_number = (uint32_t)array_kit_random();
        in.bblog_offset_sectors = (int32_t)array_kit_random();
        in.events = array_kit_random();
        in.utime = array_kit_random();
        in.resync_offset = array_kit_random();
        in.max_dev = (uint32_t)(array_kit_random() % (MD_ROLES_MAX + 1));
        for (uint32_t i = 0; i < MD_ROLES_MAX; i++) {
            in.roles[i] = i < in.max_dev ? (uint16_t)array_kit_random() : (uint16_t)MD_ROLE_SPARE;
        }
        md_super_encode(&in, block);
        decode_ok(block, &out);
        ck_assert_mem_eq(&in, &out, sizeof(in));
    }
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
    struct md_superblock super;
    uint8_t block[BLOCK_BYTES];
    char why[MD_WHY_BYTES];
    fill_usual(&super);
    md_super_encode(&super, block);
    for (uint32_t bit = 0; bit < SECTOR_BYTES * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int error = md_super_decode(block, &super, why);
        ck_assert_msg(error != 0, "bit %" PRIu32, bit);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    decode_ok(block, &super);
}
END_TEST

START_TEST(random_bytes_never_pass_and_never_crash)
{
    array_kit_seed("random_bytes_never_pass_and_never_crash");
    uint8_t block[BLOCK_BYTES];
    struct md_superblock super;
    char why[MD_WHY_BYTES];
    for (int round = 0; round < 2000; round++) {
        for (size_t at = 0; at < BLOCK_BYTES; at += 8) {
            uint64_t word = array_kit_random();
            memcpy(block + at, &word, sizeof(word));
        }
        struct md_format_super *raw = (struct md_format_super *)(void *)block;
        raw->magic = le32_make(MD_MAGIC);
        raw->major_version = le32_make(MD_MAJOR);
        ck_assert_int_eq(md_super_decode(block, &super, why), -EUCLEAN);
    }
}
END_TEST

/* A valid checksum over numbers that nobody could mean. */
START_TEST(nonsense_with_a_right_checksum_is_refused)
{
    struct md_superblock super;
    uint8_t block[BLOCK_BYTES];
    fill_usual(&super);
    md_super_encode(&super, block);
    struct md_format_super *raw = (struct md_format_super *)(void *)block;

    raw->max_dev = le32_make(MD_ROLES_MAX + 1);
    expect_damage(block, -EUCLEAN, "roles");
    raw->max_dev = le32_make(UINT32_MAX);
    expect_damage(block, -EUCLEAN, "roles");
    md_super_encode(&super, block);
    raw->pad3[31] = 1;
    raw->sb_csum = le32_make(md_super_checksum(block, super.max_dev));
    expect_damage(block, -EUCLEAN, "zero");
    super.super_sector = 0;
    md_super_encode(&super, block);
    expect_damage(block, -EUCLEAN, "sector 0");
    super.super_sector = MD_SUPER_SECTOR;
    super.data_offset_sectors = UINT64_MAX;
    md_super_encode(&super, block);
    expect_damage(block, -EUCLEAN, "beyond");
    super.data_offset_sectors = 8;
    md_super_encode(&super, block);
    expect_damage(block, -EUCLEAN, "sector 8");
    super.data_offset_sectors = 2048;
    super.data_size_sectors = 9;
    md_super_encode(&super, block);
    expect_damage(block, -EUCLEAN, "9 sectors");
    memset(block, 0, sizeof(block));
    expect_damage(block, -ENODATA, "only zeros");
    block[77] = 1;
    expect_damage(block, -ENODATA, "no md superblock");
}
END_TEST

struct unsupported {
    const char *part;
    uint32_t features;
    int32_t level;
    uint32_t layout;
    uint32_t raid_disks;
    uint32_t chunk_sectors;
    int error;
};

static const struct unsupported unsupported[] = {
    {"level 4", 0, 4, 2, 4, 128, -ENOTSUP},
    {"level 6", 0, 6, 2, 4, 128, -ENOTSUP},
    {"level 0", 0, 0, 2, 4, 128, -ENOTSUP},
    {"level -1", 0, -1, 2, 4, 128, -ENOTSUP},
    {"layout 4", 0, 5, 4, 4, 128, -ENOTSUP},
    {"layout 5", 0, 5, 5, 4, 128, -ENOTSUP},
    {"layout 16", 0, 5, 16, 4, 128, -ENOTSUP},
    {"2 members", 0, 5, 2, 2, 128, -ENOTSUP},
    {"33 members", 0, 5, 2, 33, 128, -ENOTSUP},
    {"chunks of 0", 0, 5, 2, 4, 0, -EUCLEAN},
    {"chunks of 4", 0, 5, 2, 4, 4, -EUCLEAN},
    {"chunks of 96", 0, 5, 2, 4, 96, -EUCLEAN},
    {"only 4096 sectors", 0, 5, 2, 4, 8192, -EUCLEAN},
    {"internal bitmap", MD_FEATURE_BITMAP, 5, 2, 4, 128, -ENOTSUP},
    {"reshape", MD_FEATURE_RESHAPE, 5, 2, 4, 128, -ENOTSUP},
    {"bad-block list", MD_FEATURE_BAD_BLOCKS, 5, 2, 4, 128, -ENOTSUP},
    {"replacement", MD_FEATURE_REPLACEMENT, 5, 2, 4, 128, -ENOTSUP},
    {"reshape backwards", MD_FEATURE_RESHAPE_BACKWARDS, 5, 2, 4, 128, -ENOTSUP},
    {"data offset", MD_FEATURE_NEW_OFFSET, 5, 2, 4, 128, -ENOTSUP},
    {"rebuild by bitmap", MD_FEATURE_RECOVERY_BITMAP, 5, 2, 4, 128, -ENOTSUP},
    {"clustered", MD_FEATURE_CLUSTERED, 5, 2, 4, 128, -ENOTSUP},
    {"partial parity log", MD_FEATURE_PPL, 5, 2, 4, 128, -ENOTSUP},
    {"several partial", MD_FEATURE_MULTIPLE_PPLS, 5, 2, 4, 128, -ENOTSUP},
    {"RAID0", MD_FEATURE_RAID0_LAYOUT, 5, 2, 4, 128, -ENOTSUP},
    {"unknown feature (feature bit 0x2000)", 0x2000, 5, 2, 4, 128, -ENOTSUP},
    {"unknown feature (feature bit 0x80000000)", 0x80000000, 5, 2, 4, 128, -ENOTSUP},
};

START_TEST(an_array_we_cannot_use_is_refused_by_name)
{
    const struct unsupported *row = &unsupported[_i];
    struct md_superblock super;
    char why[MD_WHY_BYTES] = "";
    fill_usual(&super);
    ck_assert_int_eq(md_super_supported(&super, false, why), 0);
    super.features = row->features;
    super.level = row->level;
    super.layout = row->layout;
    super.raid_disks = row->raid_disks;
    super.chunk_sectors = row->chunk_sectors;
    ck_assert_int_eq(md_super_supported(&super, false, why), row->error);
    ck_assert_msg(strstr(why, row->part) != NULL, "\"%s\" is not in: %s", row->part, why);
    bool readable = row->features == MD_FEATURE_BITMAP;
    ck_assert_int_eq(md_super_supported(&super, true, why), readable ? 0 : row->error);
}
END_TEST

START_TEST(a_device_one_byte_too_short_is_truncated)
{
    struct md_superblock super;
    char why[MD_WHY_BYTES] = "";
    fill_usual(&super);
    super.data_size_sectors = 5000; /* more than used: only `size` must be there */
    uint64_t member_end = UINT64_C(512) * (2048 + 4096);
    ck_assert_int_eq(md_super_fits(&super, member_end, why), 0);
    ck_assert_int_eq(md_super_fits(&super, member_end - 1, why), -EUCLEAN);
    super.dev_number = 4; /* the journal: its whole ring */
    uint64_t ring_end = UINT64_C(512) * (2048 + 5000);
    ck_assert_int_eq(md_super_fits(&super, ring_end, why), 0);
    ck_assert_int_eq(md_super_fits(&super, ring_end - 1, why), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(why, "truncated"));
}
END_TEST

START_TEST(a_member_is_rebuilding_only_while_the_feature_says_so)
{
    struct md_superblock super;
    fill_usual(&super);
    super.recovery_offset = 100;
    ck_assert(!md_super_is_rebuilding(&super));
    super.features |= MD_FEATURE_RECOVERY_OFFSET;
    ck_assert(md_super_is_rebuilding(&super));
    super.dev_number = 4; /* of a journal it is the tail */
    ck_assert(!md_super_is_rebuilding(&super));
}
END_TEST

START_TEST(the_time_is_seconds_below_microseconds)
{
    uint64_t packed = md_time_pack(UINT64_C(1700000000) * 1000000000 + 123456789);
    ck_assert_uint_eq(packed & ((UINT64_C(1) << 40) - 1), 1700000000);
    ck_assert_uint_eq(packed >> 40, 123456);
    ck_assert_uint_eq(md_time_seconds(packed), 1700000000);
}
END_TEST

START_TEST(a_member_moves_only_along_the_table)
{
    static const enum member_state allowed[][2] = {
        {MEMBER_MISSING, MEMBER_IN_SYNC},
        {MEMBER_MISSING, MEMBER_STALE},
        {MEMBER_IN_SYNC, MEMBER_FAULTY},
    };
    for (unsigned from = 0; from < MEMBER_STATE_COUNT; from++) {
        ck_assert_uint_gt(strlen(member_state_name((enum member_state)from)), 0);
        for (unsigned to = 0; to < MEMBER_STATE_COUNT; to++) {
            bool expected = false;
            for (unsigned i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
                expected = expected || (allowed[i][0] == from && allowed[i][1] == to);
            }
            ck_assert_int_eq(member_state_may_move((enum member_state)from, (enum member_state)to),
                             expected);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("md_superblock");
    TCase *codec = tcase_create("codec");
    tcase_set_timeout(codec, 60);
    tcase_add_loop_test(
        codec, what_the_kernel_wrote_decodes_and_encodes_to_the_same_bytes, 0, (int)GOLDENS);
    tcase_add_test(codec, the_kernel_numbers_devices_otherwise_than_slots);
    tcase_add_test(codec, random_numbers_survive_encode_and_decode);
    tcase_add_test(codec, the_time_is_seconds_below_microseconds);
    suite_add_tcase(suite, codec);
    TCase *damage = tcase_create("damage");
    tcase_add_test(damage, every_flipped_bit_is_noticed);
    tcase_add_test(damage, random_bytes_never_pass_and_never_crash);
    tcase_add_test(damage, nonsense_with_a_right_checksum_is_refused);
    suite_add_tcase(suite, damage);
    TCase *use = tcase_create("use");
    tcase_add_loop_test(use,
                        an_array_we_cannot_use_is_refused_by_name,
                        0,
                        (int)(sizeof(unsupported) / sizeof(unsupported[0])));
    tcase_add_test(use, a_device_one_byte_too_short_is_truncated);
    tcase_add_test(use, a_member_is_rebuilding_only_while_the_feature_says_so);
    tcase_add_test(use, a_member_moves_only_along_the_table);
    suite_add_tcase(suite, use);
    return array_kit_run(suite);
}
