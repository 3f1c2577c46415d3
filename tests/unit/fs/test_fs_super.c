/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The super, the layout of groups, making and mounting a filesystem, and every way that may
 * fail. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_kit.h"
#include "r5fs/base/msg.h"
#include "r5fs/fs/fs_dump.h"

/* ---- layout ---------------------------------------------------------------------------------- */

static const struct shape {
    uint32_t slots;
    uint32_t chunk_sectors;
    uint64_t volume_blocks;
} shapes[] = {
    {3, 8, 256},
    {3, 8, 32512 + 14},
    {3, 8, 32512 + 16},
    {4, 128, 16384},
    {5, 128, 500000},
    {8, 1024, 300000},
    {32, 128, 1u << 20},
    {32, 1024, 1u << 20},
    {32, 16384, 400000},
    {3, 1u << 21, 1u << 20},
    {4, 128, 1ull << 36},
};
#define SHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

static struct geometry shape_geometry(const struct shape *shape)
{
    struct geometry geometry;
    uint64_t sectors = div_round_up(shape->volume_blocks, shape->slots - 1) * BLOCK_SECTORS;
    ck_assert_int_eq(geometry_init(&geometry,
                                   shape->slots,
                                   shape->chunk_sectors,
                                   LAYOUT_LEFT_SYMMETRIC,
                                   round_up(sectors, shape->chunk_sectors)),
                     0);
    return geometry;
}

START_TEST(groups_cover_the_volume_with_fixed_blocks_apart)
{
    struct fs_super super = {0};
    struct geometry geometry = shape_geometry(&shapes[_i]);
    ck_assert_int_eq(fs_super_plan(&super, &geometry), 0);
    uint64_t stripe = geometry_stripe_blocks(&geometry);
    ck_assert(stripe > FS_BITMAP_BITS || super.group_blocks % stripe == 0);
    ck_assert_uint_le(super.group_blocks, FS_BITMAP_BITS);
    uint64_t covered = 0;
    uint64_t room = 0;
    uint32_t step = super.group_count > 5000 ? super.group_count / 5000 : 1;
    for (uint32_t group = 0; group < super.group_count; group++) {
        uint32_t blocks = fs_group_blocks(&super, group);
        covered += blocks;
        room += fs_group_room(&super, group);
        if (group % step != 0 && group + 2 < super.group_count) {
            continue;
        }
        uint32_t fixed = 0;
        for (uint32_t i = 0; i < blocks; i += i == 5 && blocks > 20 ? blocks - 10 : 1) {
            struct fs_block block = fs_block_add(fs_group_start(&super, group), i);
            ck_assert_uint_eq(fs_group_of(&super, block), group);
            fixed += fs_block_is_fixed(&super, block) ? 1u : 0u;
        }
        ck_assert_uint_eq(fixed, blocks - fs_group_room(&super, group));
        ck_assert(fs_block_is_fixed(&super, fs_group_bitmap(&super, group)));
        ck_assert(fs_block_is_fixed(&super, fs_group_summary(&super, group)));
        ck_assert_uint_ne(fs_group_bitmap(&super, group).nr, fs_group_summary(&super, group).nr);
    }
    ck_assert_uint_eq(room, super.free_blocks);
    ck_assert_uint_le(covered, super.volume_blocks);
    ck_assert_uint_lt(super.volume_blocks - covered, 16);
    ck_assert(fs_block_is_fixed(&super, fs_super_copy_address(&super)));
    ck_assert(fs_block_is_fixed(&super, fs_block(super.volume_blocks)));
    ck_assert(fs_block_is_fixed(&super, fs_block(UINT64_MAX)));
}
END_TEST

START_TEST(filesystem_of_any_shape_is_made_mounted_and_mounted_again)
{
    struct kit kit;
    const struct shape *shape = &shapes[_i];
    if (shape->volume_blocks > 1u << 20) {
        return; /* more address space than the memory journal maps */
    }
    kit_init(&kit,
             &(struct fake_options){.slots = shape->slots,
                                    .chunk_sectors = shape->chunk_sectors,
                                    .volume_blocks = shape->volume_blocks});
    struct fs_statfs stat;
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &stat), 0);
    ck_assert_uint_eq(stat.blocks, stat.free_blocks);
    ck_assert_uint_lt(stat.blocks, fake_volume_blocks(kit.journal));
    ck_assert_uint_eq(stat.inodes, 1 + stat.free_inodes);
    kit_unmount(&kit);
    char why[FS_WHY_BYTES];
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    ck_assert_int_eq(fs_statfs(kit.fs, &kit.thread, &stat), 0);
    ck_assert_uint_eq(stat.blocks, stat.free_blocks);
    kit_fini(&kit);
}
END_TEST

START_TEST(volume_that_is_too_small_is_refused)
{
    struct fs_thread thread;
    char why[FS_WHY_BYTES] = "";
    const struct fs_format_options options = {.root_mode = 0755};
    kit_thread_init(&thread);
    struct journal *journal = fake_journal_make(
        &(struct fake_options){.slots = 3, .chunk_sectors = 8, .volume_blocks = 200});
    ck_assert_int_eq(fs_format(journal, fake_array(journal), &thread, &options, why), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(why, "256"));
    fake_journal_free(journal);
    kit_thread_fini(&thread);
}
END_TEST

/* ---- mounting -------------------------------------------------------------------------------- */

START_TEST(generation_grows_with_each_mount_for_writing_only)
{
    struct kit kit;
    char why[FS_WHY_BYTES];
    kit_init(&kit, &(struct fake_options){0});
    uint64_t generation = kit.fs->super.journal_generation;
    kit_unmount(&kit);
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    ck_assert_uint_eq(kit.fs->super.journal_generation, generation);
    kit_unmount(&kit);
    ck_assert_int_eq(kit_mount(&kit, false, why), 0);
    ck_assert_uint_eq(kit.fs->super.journal_generation, generation + 1);
    ck_assert(kit.fs->super.flags & FS_SUPER_MOUNTED);
    kit_fini(&kit);
}
END_TEST

START_TEST(read_only_mount_writes_nothing_and_refuses_changes)
{
    struct kit kit;
    char why[FS_WHY_BYTES];
    kit_init(&kit, &(struct fake_options){.trace = true});
    kit_unmount(&kit);
    uint64_t units = fake_units(kit.journal);
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    const struct txn_need need = {.inserts = 1};
    struct fs_txn txn;
    ck_assert_int_eq(txn_begin(&txn, kit.fs, &kit.thread, &need), -EROFS);
    txn_end(&txn);
    ck_assert_int_eq(fs_sync(kit.fs, &kit.thread), 0);
    kit_unmount(&kit);
    ck_assert_uint_eq(fake_units(kit.journal), units);
    kit_fini(&kit);
}
END_TEST

START_TEST(label_and_uuids_come_back)
{
    struct kit kit;
    struct fs_info info;
    kit_init(&kit, &(struct fake_options){0});
    fs_get_info(kit.fs, &info);
    ck_assert_str_eq(info.label, "kit");
    ck_assert_uint_eq(info.uuid.bytes[3], 0x5c);
    ck_assert(!info.read_only && !info.damaged && !info.write_through);
    kit_fini(&kit);
}
END_TEST

START_TEST(empty_volume_holds_no_filesystem)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    memset(&kit, 0, sizeof(kit));
    kit_thread_init(&kit.thread);
    kit.journal = fake_journal_make(&(struct fake_options){0});
    ck_assert_int_eq(kit_mount(&kit, false, why), -EMEDIUMTYPE);
    ck_assert_str_ne(why, "");
    kit_fini(&kit);
}
END_TEST

START_TEST(too_little_memory_is_named)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    struct fs *fs = NULL;
    struct arena arena;
    kit_init(&kit, &(struct fake_options){0});
    kit_unmount(&kit);
    arena_init_growing(&arena);
    const struct fs_options options = {.arena = &arena, .buffer_bytes = 1 << 20};
    ck_assert_int_eq(
        fs_mount(&fs, kit.journal, fake_array(kit.journal), &options, &kit.thread, why), -ENOMEM);
    ck_assert_ptr_nonnull(strstr(why, "memory="));
    arena_fini(&arena);
    kit_fini(&kit);
}
END_TEST

START_TEST(mount_takes_no_more_memory_than_it_was_given)
{
    struct kit kit;
    kit_init(&kit, &(struct fake_options){0});
    kit_unmount(&kit);
    for (size_t bytes = 9u << 20; bytes < 64u << 20; bytes += (3u << 20) + 12345) {
        struct arena arena;
        struct fs *fs = NULL;
        char why[FS_WHY_BYTES] = "";
        ck_assert_int_eq(arena_init(&arena, bytes + 2 * sizeof(struct fs) + BLOCK_BYTES, false), 0);
        const struct fs_options options = {.arena = &arena, .buffer_bytes = bytes};
        int error = fs_mount(&fs, kit.journal, fake_array(kit.journal), &options, &kit.thread, why);
        ck_assert_msg(error == 0, "%s", why);
        ck_assert_uint_ge((size_t)fs->buffers.count * BLOCK_BYTES, bytes / 2);
        ck_assert_int_eq(fs_unmount(fs, &kit.thread), 0);
        arena_fini(&arena);
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(crash_in_format_or_first_mount_leaves_nothing_or_a_whole_filesystem)
{
    struct kit kit;
    kit_init(&kit, &(struct fake_options){.trace = true});
    kit_unmount(&kit);
    for (uint64_t unit = 0; unit <= fake_units(kit.journal); unit++) {
        struct kit at = {.journal = fake_journal_at(kit.journal, unit, false)};
        char why[FS_WHY_BYTES] = "";
        kit_thread_init(&at.thread);
        ck_assert_int_eq(kit_mount(&at, false, why), unit == 0 ? -EMEDIUMTYPE : 0);
        kit_fini(&at);
    }
    kit_fini(&kit);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------- */

static void spoil_block(struct journal *journal, struct fs_block block)
{
    memset(fake_block_bytes(journal, block), 0, BLOCK_BYTES);
    fake_block_changed(journal, block);
}

START_TEST(zeroed_super_after_a_clean_stop_is_replaced_by_its_copy)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    kit_unmount(&kit);
    spoil_block(kit.journal, fs_block(0));
    ck_assert_int_eq(kit_mount(&kit, false, why), 0);
    ck_assert(kit.fs->damaged);
    kit_crash_and_mount(&kit); /* the mount wrote a new one */
    ck_assert(!kit.fs->damaged);
    kit_fini(&kit);
}
END_TEST

START_TEST(zeroed_super_after_a_crash_is_refused_for_writing)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){.trace = true});
    struct journal *left = fake_journal_crash(kit.journal);
    kit_fini(&kit);
    spoil_block(left, fs_block(0));
    memset(&kit, 0, sizeof(kit));
    kit.journal = left;
    kit_thread_init(&kit.thread);
    ck_assert_int_eq(kit_mount(&kit, false, why), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(why, "r5fs check"));
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    ck_assert(kit.fs->damaged);
    kit_fini(&kit);
}
END_TEST

START_TEST(super_and_copy_lost_is_no_filesystem_or_a_damaged_one)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    kit_init(&kit, &(struct fake_options){0});
    struct fs_block copy = fs_super_copy_address(&kit.fs->super);
    kit_unmount(&kit);
    spoil_block(kit.journal, fs_block(0));
    fake_block_bytes(kit.journal, copy)[200] ^= 1;
    fake_block_changed(kit.journal, copy);
    ck_assert_int_eq(kit_mount(&kit, false, why), -EUCLEAN);
    spoil_block(kit.journal, copy);
    ck_assert_int_eq(kit_mount(&kit, true, why), -EMEDIUMTYPE);
    kit_fini(&kit);
}
END_TEST

START_TEST(damaged_tree_root_is_a_clear_error)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    msg_set_level(MSG_ERR);
    kit_init(&kit, &(struct fake_options){0});
    struct fs_block root = kit.fs->super.tree_root;
    kit_unmount(&kit);
    if (_i == 0) {
        spoil_block(kit.journal, root);
    } else {
        fake_block_bytes(kit.journal, root)[3000] ^= 0x10;
        fake_block_changed(kit.journal, root);
    }
    ck_assert_int_eq(kit_mount(&kit, false, why), -EUCLEAN);
    char number[32];
    (void)snprintf(number, sizeof(number), "block %llu", (unsigned long long)root.nr); /* fits */
    ck_assert_ptr_nonnull(strstr(why, number));
    kit_fini(&kit);
}
END_TEST

typedef void (*spoil_super)(struct fs_super_disk *disk);

static void too_large(struct fs_super_disk *disk)
{
    disk->volume_blocks = le64_make(UINT64_MAX);
}

static void too_small(struct fs_super_disk *disk)
{
    disk->volume_blocks = le64_make(1);
}

static void no_group(struct fs_super_disk *disk)
{
    disk->group_blocks = le32_make(0);
}

static void group_too_large(struct fs_super_disk *disk)
{
    disk->group_blocks = le32_make(40000);
}

static void wrong_count(struct fs_super_disk *disk)
{
    disk->group_count = le32_make(77);
}

static void no_group_used(struct fs_super_disk *disk)
{
    disk->groups_used = le32_make(0);
}

static void meta_beyond(struct fs_super_disk *disk)
{
    disk->meta_group = le32_make(1);
}

static void no_level(struct fs_super_disk *disk)
{
    disk->tree_levels = le32_make(0);
}

static void levels(struct fs_super_disk *disk)
{
    disk->tree_levels = le32_make(FS_TREE_LEVELS_MAX + 1);
}

static void root_fixed(struct fs_super_disk *disk)
{
    disk->tree_root = le64_make(1);
}

static void root_beyond(struct fs_super_disk *disk)
{
    disk->tree_root = le64_make(UINT64_MAX);
}

static void ino_zero(struct fs_super_disk *disk)
{
    disk->next_ino = le64_make(0);
}

static void free_too_many(struct fs_super_disk *disk)
{
    disk->free_blocks = le64_make(UINT64_MAX);
}

static void reserve(struct fs_super_disk *disk)
{
    disk->reserve_blocks = le32_make(UINT32_MAX);
}

static void address(struct fs_super_disk *disk)
{
    disk->header.address = le64_make(5);
}

static const spoil_super spoilers[] = {too_large,
                                       too_small,
                                       no_group,
                                       group_too_large,
                                       wrong_count,
                                       no_group_used,
                                       meta_beyond,
                                       no_level,
                                       levels,
                                       root_fixed,
                                       root_beyond,
                                       ino_zero,
                                       free_too_many,
                                       reserve,
                                       address};

START_TEST(impossible_super_is_refused_field_by_field)
{
    struct kit kit;
    struct fs_super super;
    char why[FS_WHY_BYTES] = "";
    kit_init(&kit, &(struct fake_options){0});
    uint8_t *bytes = fake_block_bytes(kit.journal, fs_block(0));
    uint64_t blocks = fake_volume_blocks(kit.journal);
    ck_assert_int_eq(fs_super_decode(&super, bytes, fs_block(0), blocks, why), 0);
    spoilers[_i]((void *)bytes);
    fs_header_seal(bytes);
    ck_assert_int_eq(fs_super_decode(&super, bytes, fs_block(0), blocks, why), -EUCLEAN);
    ck_assert_str_ne(why, "");
    kit_fini(&kit);
}
END_TEST

START_TEST(any_flipped_byte_of_the_super_is_noticed)
{
    struct kit kit;
    struct fs_super super;
    char why[FS_WHY_BYTES] = "";
    kit_init(&kit, &(struct fake_options){0});
    uint8_t *bytes = fake_block_bytes(kit.journal, fs_block(0));
    for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
        bytes[i] ^= 0x40;
        ck_assert_int_lt(
            fs_super_decode(&super, bytes, fs_block(0), fake_volume_blocks(kit.journal), why), 0);
        bytes[i] ^= 0x40;
    }
    kit_fini(&kit);
}
END_TEST

START_TEST(filesystem_of_a_newer_version_is_refused_or_read_only)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    kit_init(&kit, &(struct fake_options){0});
    kit_unmount(&kit);
    struct fs_super_disk *disk = (void *)fake_block_bytes(kit.journal, fs_block(0));
    disk->features_ro = le64_make(8);
    fs_header_seal((uint8_t *)disk);
    fake_block_changed(kit.journal, fs_block(0));
    ck_assert_int_eq(kit_mount(&kit, false, why), -EROFS);
    ck_assert_int_eq(kit_mount(&kit, true, why), 0);
    kit_unmount(&kit);
    disk->features_incompat = le64_make(1);
    fs_header_seal((uint8_t *)disk);
    fake_block_changed(kit.journal, fs_block(0));
    ck_assert_int_eq(kit_mount(&kit, true, why), -EOPNOTSUPP);
    kit_fini(&kit);
}
END_TEST

/* ---- dump ------------------------------------------------------------------------------------ */

struct lines {
    char text[20000];
    size_t length;
};

static void keep_line(void *context, const char *line)
{
    struct lines *lines = context;
    int length =
        snprintf(lines->text + lines->length, sizeof(lines->text) - lines->length, "%s\n", line);
    ck_assert(length > 0 && lines->length + (size_t)length < sizeof(lines->text));
    lines->length += (size_t)length;
}

START_TEST(dump_shows_super_root_inode_and_tree)
{
    struct kit kit;
    static struct lines lines;
    const struct fs_print print = {keep_line, &lines};
    kit_init(&kit, &(struct fake_options){0});
    const uint8_t *bytes = fake_block_bytes(kit.journal, fs_block(0));
    ck_assert_int_eq(fs_dump_super(bytes, fs_block(0), 0, &print), 0);
    ck_assert_ptr_nonnull(strstr(lines.text, "label: kit"));
    ck_assert_int_eq(fs_dump_super(bytes + 4096, fs_block(1), 0, &print), -EMEDIUMTYPE);
    ck_assert_int_eq(fs_dump_inode(kit.fs, &kit.thread, FS_ROOT_INO, &print), 0);
    ck_assert_ptr_nonnull(strstr(lines.text, "mode: 040755"));
    ck_assert_int_eq(fs_dump_inode(kit.fs, &kit.thread, 99, &print), -ENOENT);
    ck_assert_int_eq(fs_dump_dir(kit.fs, &kit.thread, FS_ROOT_INO, &print), 0);
    ck_assert_int_eq(fs_dump_tree(kit.fs, &kit.thread, &print), 0);
    ck_assert_ptr_nonnull(strstr(lines.text, "item 1 inode 0x0: 160 byte(s)"));
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_super");
    TCase *layout = tcase_create("layout");
    tcase_set_timeout(layout, 120);
    tcase_add_loop_test(layout, groups_cover_the_volume_with_fixed_blocks_apart, 0, SHAPES);
    tcase_add_loop_test(
        layout, filesystem_of_any_shape_is_made_mounted_and_mounted_again, 0, SHAPES);
    tcase_add_test(layout, volume_that_is_too_small_is_refused);
    suite_add_tcase(suite, layout);
    TCase *mount = tcase_create("mount");
    tcase_add_test(mount, generation_grows_with_each_mount_for_writing_only);
    tcase_add_test(mount, read_only_mount_writes_nothing_and_refuses_changes);
    tcase_add_test(mount, label_and_uuids_come_back);
    tcase_add_test(mount, empty_volume_holds_no_filesystem);
    tcase_add_test(mount, too_little_memory_is_named);
    tcase_add_test(mount, mount_takes_no_more_memory_than_it_was_given);
    tcase_add_test(mount, crash_in_format_or_first_mount_leaves_nothing_or_a_whole_filesystem);
    tcase_add_test(mount, dump_shows_super_root_inode_and_tree);
    suite_add_tcase(suite, mount);
    TCase *damage = tcase_create("damage");
    tcase_add_test(damage, zeroed_super_after_a_clean_stop_is_replaced_by_its_copy);
    tcase_add_test(damage, zeroed_super_after_a_crash_is_refused_for_writing);
    tcase_add_test(damage, super_and_copy_lost_is_no_filesystem_or_a_damaged_one);
    tcase_add_loop_test(damage, damaged_tree_root_is_a_clear_error, 0, 2);
    tcase_add_loop_test(damage,
                        impossible_super_is_refused_field_by_field,
                        0,
                        (int)(sizeof(spoilers) / sizeof(spoilers[0])));
    tcase_add_test(damage, any_flipped_byte_of_the_super_is_noticed);
    tcase_add_test(damage, filesystem_of_a_newer_version_is_refused_or_read_only);
    suite_add_tcase(suite, damage);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
