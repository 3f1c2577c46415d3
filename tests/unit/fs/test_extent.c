/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about the map of a file: windows, merging, splitting, costs. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extent.h"
#include "op.h"
#include "op_kit.h"

#define BLK ((uint64_t)BLOCK_BYTES)

static struct kit kit;
static uint64_t ino;

static void setup(void)
{
    const struct fake_options options = {.meta_step = 203};
    kit_init(&kit, &options);
    ino = must_make(&kit, FS_ROOT_INO, "f", S_IFREG | 0644);
}

static void teardown(void)
{
    kit_fini(&kit);
}

struct load {
    uint64_t first;
    uint64_t end;
    struct extent_window window;
};

static int load_body(struct fs_reader *reader, void *context)
{
    struct load *load = context;
    return extent_window_load(reader, ino, load->first, load->end, &load->window);
}

static struct extent_window window_of(uint64_t first, uint64_t end)
{
    struct load load = {.first = first, .end = end};
    ck_assert_int_eq(op_look(kit.fs, &kit.thread, load_body, &load), 0);
    return load.window;
}

static struct extent_window map(void)
{
    return window_of(0, EXTENT_FILE_BLOCKS_MAX);
}

static void write_blocks(uint64_t first, uint32_t count)
{
    must_fill(&kit, ino, first * BLK, 'x', count * BLK);
}

static void allocate(int mode, uint64_t first, uint64_t count)
{
    ck_assert_int_eq(fs_fallocate(kit.fs, &kit.thread, ino, mode, first * BLK, count * BLK), 0);
}

static void must_have(const struct extent_window *window,
                      uint32_t index,
                      uint64_t first,
                      uint64_t count,
                      enum extent_state state)
{
    ck_assert_uint_lt(index, window->count);
    ck_assert_uint_eq(window->items[index].first, first);
    ck_assert_uint_eq(window->items[index].count, count);
    ck_assert_int_eq(window->items[index].state, state);
}

START_TEST(neighbours_written_one_after_the_other_become_one_extent)
{
    write_blocks(0, 3);
    write_blocks(3, 4);
    write_blocks(7, 1);
    struct extent_window window = map();
    ck_assert_uint_eq(window.count, 1);
    must_have(&window, 0, 0, 8, EXTENT_WRITTEN);
}
END_TEST

START_TEST(a_hole_between_two_extents_is_a_piece)
{
    write_blocks(2, 2);
    write_blocks(10, 1);
    struct extent_window window = window_of(0, 12);
    struct extent hole = extent_window_piece(&window, 0);
    ck_assert_int_eq(hole.state, EXTENT_HOLE);
    ck_assert_uint_eq(hole.count, 2);
    struct extent written = extent_window_piece(&window, 3);
    ck_assert_int_eq(written.state, EXTENT_WRITTEN);
    ck_assert_uint_eq(written.count, 1);
    ck_assert_uint_eq(written.start.nr, window.items[0].start.nr + 1);
    ck_assert_uint_eq(extent_window_piece(&window, 4).count, 6);
    ck_assert_uint_eq(extent_window_piece(&window, 11).count, 1);
}
END_TEST

START_TEST(writing_inside_of_an_unwritten_extent_splits_it_in_three)
{
    allocate(0, 0, 30);
    write_blocks(10, 5);
    struct extent_window window = map();
    ck_assert_uint_eq(window.count, 3);
    must_have(&window, 0, 0, 10, EXTENT_UNWRITTEN);
    must_have(&window, 1, 10, 5, EXTENT_WRITTEN);
    must_have(&window, 2, 15, 15, EXTENT_UNWRITTEN);
    ck_assert_uint_eq(window.items[1].start.nr, window.items[0].start.nr + 10);
    write_blocks(15, 15);
    write_blocks(0, 10);
    window = map();
    ck_assert_uint_eq(window.count, 1);
    must_have(&window, 0, 0, 30, EXTENT_WRITTEN);
}
END_TEST

START_TEST(a_write_over_both_ends_of_an_unwritten_extent_converts_it)
{
    allocate(FALLOC_FL_KEEP_SIZE, 5, 3);
    struct fs_block start = map().items[0].start;
    write_blocks(3, 8);
    struct extent_window window = map();
    ck_assert_uint_eq(must_getattr(&kit, ino).blocks, (uint64_t)8 * BLOCK_SECTORS);
    for (uint32_t i = 0; i < window.count; i++) {
        ck_assert_int_eq(window.items[i].state, EXTENT_WRITTEN);
    }
    struct extent piece = extent_window_piece(&window, 5);
    ck_assert_uint_eq(piece.start.nr, start.nr);
}
END_TEST

START_TEST(punching_the_middle_leaves_both_ends_in_place)
{
    write_blocks(0, 20);
    struct fs_block start = map().items[0].start;
    allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5, 10);
    struct extent_window window = map();
    ck_assert_uint_eq(window.count, 2);
    must_have(&window, 0, 0, 5, EXTENT_WRITTEN);
    must_have(&window, 1, 15, 5, EXTENT_WRITTEN);
    ck_assert_uint_eq(window.items[1].start.nr, start.nr + 15);
}
END_TEST

START_TEST(zeroing_keeps_the_blocks_where_they_are)
{
    write_blocks(0, 20);
    struct fs_block start = map().items[0].start;
    allocate(FALLOC_FL_ZERO_RANGE, 5, 10);
    struct extent_window window = map();
    ck_assert_uint_eq(window.count, 3);
    must_have(&window, 1, 5, 10, EXTENT_UNWRITTEN);
    ck_assert_uint_eq(window.items[1].start.nr, start.nr + 5);
}
END_TEST

START_TEST(a_fragmented_map_is_seen_in_several_windows)
{
    for (uint32_t i = 0; i < 200; i++) {
        write_blocks(2 * (uint64_t)i, 1);
    }
    uint64_t at = 0;
    uint32_t seen = 0;
    uint32_t windows = 0;
    while (at < 400) {
        struct extent_window window = window_of(at, 400);
        ck_assert_uint_gt(window.end, at);
        while (at < window.end) {
            struct extent piece = extent_window_piece(&window, at);
            seen += piece.state == EXTENT_WRITTEN ? 1 : 0;
            at = extent_end(&piece);
        }
        windows++;
    }
    ck_assert_uint_eq(seen, 200);
    ck_assert_uint_ge(windows, 3);
    must_be_filled(&kit, ino, 0, 'x', BLK);
    write_blocks(0, 400);
    must_be_filled(&kit, ino, 0, 'x', 400 * BLK);
    ck_assert_uint_eq(must_getattr(&kit, ino).blocks, (uint64_t)400 * BLOCK_SECTORS);
}
END_TEST

START_TEST(an_append_asks_for_no_more_than_it_can_cost)
{
    write_blocks(0, 4);
    struct extent_window window = window_of(4, 8);
    struct txn_need need = {.updates = 1};
    ck_assert_uint_eq(extent_need(&window, EXTENT_FILL, 16, &need), 1);
    ck_assert_uint_eq(need.allocate, 4);
    ck_assert_uint_eq(need.removes, 0);
    ck_assert_uint_eq(need.inserts, 1);
    struct txn_need over = {.updates = 1};
    window = window_of(0, 4);
    ck_assert_uint_eq(extent_need(&window, EXTENT_FILL, 16, &over), 0);
    ck_assert_uint_eq(over.inserts + over.removes + over.allocate, 0);
}
END_TEST

START_TEST(new_blocks_follow_the_extent_before)
{
    write_blocks(0, 4);
    struct extent_window window = window_of(100, 101);
    ck_assert_uint_eq(window.goal.nr, map().items[0].start.nr + 4);
    ck_assert_uint_eq(window.count, 0);
}
END_TEST

START_TEST(extents_that_cannot_be_are_refused)
{
    struct extent extent;
    struct fs_extent_disk disk = {.start = le64_make(100), .length = le32_make(4)};
    const uint8_t *data = (const uint8_t *)&disk;
    struct fs *fs = kit.fs;
    write_blocks(0, 4);
    disk.start = le64_make(map().items[0].start.nr);
    ck_assert_ptr_null(extent_decode(fs, 0, data, sizeof(disk), &extent));
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk) - 1, &extent));
    ck_assert_ptr_nonnull(
        extent_decode(fs, EXTENT_FILE_BLOCKS_MAX - 3, data, sizeof(disk), &extent));
    disk.length = le32_make(0);
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk), &extent));
    disk.length = le32_make(FS_EXTENT_BLOCKS_MAX + 1);
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk), &extent));
    disk.length = le32_make(4);
    disk.flags = le32_make(2);
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk), &extent));
    disk.flags = le32_make(0);
    disk.start = le64_make(0);
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk), &extent));
    disk.start = le64_make(UINT64_MAX - 1);
    ck_assert_ptr_nonnull(extent_decode(fs, 0, data, sizeof(disk), &extent));
}
END_TEST

/* Changes the file's only extent item behind the filesystem's back. */
static int break_extent(struct fs_txn *txn, void *context)
{
    struct fs_key key = fs_key(ino, FS_ITEM_EXTENT, 0);
    uint8_t *data;
    uint32_t bytes;
    int error = btree_prepare(txn, &key);
    if (error == 0) {
        txn_change(txn);
        error = btree_change(txn, &key, &data, &bytes);
        memcpy(data, context, bytes);
    }
    return error;
}

START_TEST(a_map_damaged_on_disk_is_reported_and_not_followed)
{
    uint8_t buffer[3 * BLK];
    uint32_t skip;
    uint32_t got;
    struct fs_info info;
    struct fs_extent_disk disk = {.start = le64_make(0), .length = le32_make(4)};
    const struct txn_need need = {.updates = 1};
    const struct op_change change = {.need = &need, .body = break_extent, .context = &disk};
    write_blocks(0, 1);
    ck_assert_int_eq(op_change(kit.fs, &kit.thread, &change), 0);
    ck_assert_int_eq(fs_read(kit.fs, &kit.thread, ino, 0, 100, buffer, &skip, &got), -EUCLEAN);
    ck_assert_int_eq(fs_write(kit.fs, &kit.thread, ino, 0, buffer, 100, false, &got), -EUCLEAN);
    ck_assert_int_eq(op_truncate(&kit, ino, 0), -EUCLEAN);
    fs_get_info(kit.fs, &info);
    ck_assert(info.damaged);
    (void)must_make(&kit, FS_ROOT_INO, "others go on", S_IFREG | 0644);
}
END_TEST

#define WINDOWS 3000u

/* Extents and holes of all kinds from before the window to behind it. */
static struct extent_window random_window(uint64_t *state)
{
    struct extent_window window = {.ino = ino, .first = 100};
    uint64_t at = 80 + kit_below(state, 30);

    window.end = window.first + 1 + kit_below(state, 60);
    while (window.count < EXTENT_WINDOW_MAX && at < window.end) {
        window.items[window.count++] = (struct extent){
            .first = at,
            .count = 1 + kit_below(state, 12),
            .start = fs_block(1000 + at),
            .state = kit_below(state, 2) == 0 ? EXTENT_WRITTEN : EXTENT_UNWRITTEN,
        };
        at = extent_end(&window.items[window.count - 1]) + kit_below(state, 3);
    }
    while (window.count > 0 && extent_end(&window.items[0]) < window.first) {
        window.count--;
        memmove(&window.items[0], &window.items[1], window.count * sizeof(window.items[0]));
    }
    return window;
}

/* 32 blocks: what a journal with kernel_safe allows. */
START_TEST(an_edit_fits_into_the_smallest_transaction_with_all_else_that_its_operation_does)
{
    static const struct {
        enum extent_change change;
        struct txn_need beside;
    } operations[] = {
        {EXTENT_FILL, {.removes = 1, .updates = 1}}, /* a file with capabilities is written */
        {EXTENT_PUNCH, {.inserts = 1, .removes = 1, .updates = 2}}, /* or cut, in several steps */
        {EXTENT_PUNCH, {.removes = 1, .updates = 2}},               /* the last of these */
        {EXTENT_RESERVE, {.updates = 1}},
        {EXTENT_ZERO, {.updates = 1}},
        {EXTENT_PUNCH, {.updates = 1}},
    };
    const uint32_t least = 32;
    uint64_t state = kit_seed("edit_fits");
    uint32_t most = 0;

    kit.fs->limits.meta_step = least;
    for (uint32_t i = 0; i < WINDOWS; i++) {
        struct extent_window window = random_window(&state);

        for (size_t op = 0; op < sizeof(operations) / sizeof(operations[0]); op++) {
            struct txn_need need = operations[op].beside;
            uint32_t changes = extent_changes_max(kit.fs, operations[op].change, &need);

            (void)extent_need(&window, operations[op].change, changes, &need); /* 0: no change */
            ck_assert_msg(txn_credits(&need) <= least, "operation %zu, window %u", op, i);
            most = txn_credits(&need) > most ? txn_credits(&need) : most;
        }
    }
    ck_assert_uint_eq(most, least); /* so that nobody takes the bound for a loose one */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("extent");
    TCase *maps = tcase_create("map");
    tcase_add_checked_fixture(maps, setup, teardown);
    tcase_add_test(maps, neighbours_written_one_after_the_other_become_one_extent);
    tcase_add_test(maps, a_hole_between_two_extents_is_a_piece);
    tcase_add_test(maps, writing_inside_of_an_unwritten_extent_splits_it_in_three);
    tcase_add_test(maps, a_write_over_both_ends_of_an_unwritten_extent_converts_it);
    tcase_add_test(maps, punching_the_middle_leaves_both_ends_in_place);
    tcase_add_test(maps, zeroing_keeps_the_blocks_where_they_are);
    tcase_add_test(maps, a_fragmented_map_is_seen_in_several_windows);
    tcase_add_test(maps, an_append_asks_for_no_more_than_it_can_cost);
    tcase_add_test(maps, new_blocks_follow_the_extent_before);
    tcase_add_test(maps, extents_that_cannot_be_are_refused);
    tcase_add_test(
        maps, an_edit_fits_into_the_smallest_transaction_with_all_else_that_its_operation_does);
    tcase_add_test(maps, a_map_damaged_on_disk_is_reported_and_not_followed);
    suite_add_tcase(suite, maps);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
