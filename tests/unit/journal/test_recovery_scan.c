/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scan: layers, the end of the log, the look beyond it, and logs that mean harm. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crash_io.h"
#include "meta_block.h"
#include "r5fs/base/crc32c.h"
#include "recovery_cases.h"
#include "recovery_kit.h"

static struct recovery_kit kit;
static struct recovery_scan scan;
static struct arena scan_arena;
static bool scanned;

static void forget_scan(void)
{
    if (scanned) {
        arena_fini(&scan_arena);
        scanned = false;
    }
}

static int scan_again(bool accept)
{
    forget_scan();
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&scan_arena);
    scanned = true;
    memset(kit.why, 0, sizeof(kit.why));
    return recovery_scan_run(&scan, kit.array, kit.queue, &scan_arena, accept, kit.why);
}

static void expect_log_of(uint64_t units)
{
    int error = scan_again(false);

    ck_assert_msg(error == 0, "%d: %s", error, kit.why);
    ck_assert_uint_eq(scan.units, units);
    ck_assert(!scan.damaged);
}

static void expect_refusal(const char *part)
{
    int error = scan_again(false);

    ck_assert_int_eq(error, -EBADMSG);
    ck_assert_msg(strstr(kit.why, part) != NULL, "\"%s\" is not in: %s", part, kit.why);
    ck_assert_msg(strstr(kit.why, "--accept-damaged-log") != NULL, "%s", kit.why);
    ck_assert_msg(kit.why[strlen(kit.why) - 1] == ')', "cut: %s", kit.why);
}

static void make_array(void)
{
    crash_io_use(kit_below);
    kit_create(&kit, &KIT_USUAL);
}

static void make_small_ring(void)
{
    struct kit_shape shape = KIT_USUAL;

    shape.ring_blocks = 64;
    crash_io_use(kit_below);
    kit_create(&kit, &shape);
}

static void drop_array(void)
{
    crash_io_hook = NULL;
    forget_scan();
    kit_remove(&kit);
}

static struct log_block data_unit(uint64_t block, uint64_t number, uint32_t undurable)
{
    return kit_unit(&kit, &KIT_DATA(block, number), 1, undurable);
}

static void rot(uint64_t ring_block)
{
    uint8_t page[BLOCK_BYTES];

    kit_peek(&kit, kit_journal(&kit), ring_block, page);
    page[1000] ^= 0x10;
    kit_poke(&kit, kit_journal(&kit), ring_block, 0, page, sizeof(page));
}

static uint64_t row_of(uint64_t block)
{
    return geometry_locate(&kit.geometry, fs_block(block)).row.nr;
}

static const struct recovered_row *find_row(uint64_t block)
{
    return recovery_scan_find(&scan, member_block(row_of(block)));
}

static const struct recovered_page *find_page(uint64_t block, bool open)
{
    const struct recovered_row *row = find_row(block);

    ck_assert_ptr_nonnull(row);
    return recovered_page_find(open ? row->open : row->closed,
                               geometry_locate(&kit.geometry, fs_block(block)).slot);
}

/* ---- layers ---------------------------------------------------------------------------------- */

START_TEST(a_new_log_is_one_empty_unit)
{
    expect_log_of(1);
    ck_assert_uint_eq(scan.stop.nr, 1);
    ck_assert_uint_eq(scan.last.nr, 0);
    ck_assert_uint_eq(scan.rows.count, 0);
    ck_assert_uint_eq(scan.leftover_count, 0);
}
END_TEST

START_TEST(parity_closes_what_came_before_it_and_nothing_else)
{
    uint64_t row = row_of(5);

    data_unit(5, 100, 0);
    data_unit(5, 101, 0);
    struct log_block closing = kit_unit(&kit, &KIT_PARITY(row, 7), 1, 0);
    struct log_block open = data_unit(5, 102, 0);
    expect_log_of(5);
    ck_assert_uint_eq(find_page(5, false)->meta.nr, closing.nr - 2);
    ck_assert_uint_eq(find_page(5, true)->meta.nr, open.nr);
    ck_assert_uint_eq(recovered_page_position(&scan, find_page(5, true)).nr, open.nr + 1);
    ck_assert_uint_eq(scan.closed_count, 1);
    ck_assert_uint_eq(scan.open_count, 1);
    ck_assert_uint_eq(recovery_row_facts(&scan, find_row(5)),
                      ROW_CLOSED_DATA | ROW_CLOSED_PARITY | ROW_OPEN_DATA);
    kit_unit(&kit, &KIT_PARITY(row, 8), 1, 0);
    expect_log_of(6);
    ck_assert_uint_eq(find_page(5, false)->meta.nr, open.nr);
    ck_assert_ptr_null(find_page(5, true));
}
END_TEST

START_TEST(parity_without_data_needs_nothing)
{
    kit_unit(&kit, &KIT_PARITY(3, 7), 1, 0);
    expect_log_of(2);
    ck_assert_uint_eq(scan.closed_count, 0);
    ck_assert_uint_eq(scan.open_count, 0);
}
END_TEST

/* A unit of the kernel's: one flush payload for each row. */
static void flush_unit(uint64_t row)
{
    uint8_t meta[BLOCK_BYTES];
    le64 sectors = le64_make(row * BLOCK_SECTORS);

    meta_block_start(meta, kit.seq, kit.head);
    memcpy(meta + 32, "\2\0\0\0\10\0\0\0", 8);
    memcpy(meta + 40, &sectors, sizeof(sectors));
    meta[12] = 48;
    meta_block_finish(meta, kit.seed, 0);
    kit_poke(&kit, kit_journal(&kit), kit.head.nr, 0, meta, sizeof(meta));
    kit.head = log_block(kit.head.nr + 1);
    kit.seq++;
}

START_TEST(a_flush_payload_forgets_both_layers_of_its_row_alone)
{
    data_unit(5, 100, 0);
    kit_unit(&kit, &KIT_PARITY(row_of(5), 7), 1, 0);
    data_unit(5, 101, 0);
    data_unit(6, 200, 0);
    flush_unit(row_of(5));
    expect_log_of(6);
    ck_assert(scan.foreign);
    ck_assert_uint_ne(row_of(5), row_of(6));
    ck_assert_uint_eq(recovery_row_facts(&scan, find_row(5)), 0);
    ck_assert_uint_eq(scan.closed_count, 0);
    ck_assert_uint_eq(scan.open_count, 1);
    ck_assert_uint_eq(scan.open[0]->node.key, row_of(6));
}
END_TEST

START_TEST(open_rows_come_in_order_of_their_oldest_page_that_counts)
{
    data_unit(6, 1, 0);
    data_unit(7, 2, 0);
    data_unit(8, 3, 0);
    data_unit(6, 4, 0); /* supersedes the first */
    expect_log_of(5);
    ck_assert_uint_eq(scan.open_count, 3);
    ck_assert_uint_eq(scan.open[0]->node.key, row_of(7));
    ck_assert_uint_eq(scan.open[1]->node.key, row_of(8));
    ck_assert_uint_eq(scan.open[2]->node.key, row_of(6));
}
END_TEST

START_TEST(a_log_may_begin_just_before_the_last_seq)
{
    kit.seq = UINT64_MAX - 1;
    kit_set_tail(&kit, kit.head);
    data_unit(6, 1, 0);
    data_unit(7, 1, 0);
    data_unit(8, 1, 0);
    expect_log_of(3);
    ck_assert_uint_eq(scan.stop_seq, 1);
    ck_assert_uint_eq(scan.open[0]->node.key, row_of(6));
}
END_TEST

/* ---- the end of the log ---------------------------------------------------------------------- */

START_TEST(a_torn_last_unit_ends_the_log_and_is_left_over)
{
    data_unit(6, 1, 0);
    struct log_block torn = data_unit(7, 1, 0);
    rot(torn.nr + 1);
    expect_log_of(2);
    ck_assert_uint_eq(scan.stop.nr, torn.nr);
    ck_assert_uint_eq(scan.leftover_count, 1);
}
END_TEST

/* Sequence 7: the torn one and its intact successor were in flight together. */
START_TEST(units_in_flight_beside_a_torn_one_are_no_damage)
{
    data_unit(6, 1, 0);
    struct log_block torn = data_unit(7, 1, 0);
    data_unit(8, 1, 1);
    data_unit(9, 1, 2);
    rot(torn.nr);
    expect_log_of(2);
    ck_assert_uint_eq(scan.stop.nr, torn.nr);
    ck_assert_uint_eq(scan.leftover_count, 2);
}
END_TEST

/* Sequence 13: the next one was submitted when the rotten one was durable. */
START_TEST(a_rotten_unit_among_the_last_acknowledged_is_refused)
{
    data_unit(6, 1, 0);
    struct log_block rotten = data_unit(7, 1, 0);
    kit_unit(&kit, (struct kit_payload[]){KIT_DATA(8, 1), KIT_DATA(200, 1)}, 2, 0);
    rot(rotten.nr + 1);
    expect_refusal("log damaged at seq ");
    ck_assert_uint_eq(scan.loss.units, 1);
    ck_assert_uint_eq(scan.loss.seq_first, kit.seq - 1);
    ck_assert_uint_eq(scan.loss.blocks, 3); /* the rotten unit's meta block still names one */
    ck_assert_uint_eq(scan.loss.rows, 3);
    ck_assert_int_eq(scan_again(true), 0);
    ck_assert(scan.damaged);
    ck_assert_uint_eq(scan.units, 2);
}
END_TEST

START_TEST(what_was_not_durable_at_submission_decides)
{
    for (uint32_t behind = 1; behind <= 5; behind++) {
        for (uint32_t undurable = 0; undurable <= 5; undurable++) {
            struct kit_images before;
            kit_close(&kit);
            kit_save(&kit, &before);
            struct log_block head = kit.head;
            uint64_t seq = kit.seq;
            struct log_block gone = data_unit(6, 1, 0);
            for (uint32_t i = 1; i < behind; i++) {
                rot(data_unit(6 + i, 1, 0).nr); /* their own meta blocks say nothing any more */
            }
            data_unit(20, 1, undurable);
            rot(gone.nr);
            ck_assert_int_eq(scan_again(false), behind > undurable ? -EBADMSG : 0);
            kit_close(&kit);
            kit_restore(&kit, &before);
            kit_free(&before);
            kit.head = head;
            kit.seq = seq;
        }
    }
}
END_TEST

START_TEST(in_a_foreign_log_only_what_is_64_ahead_proves_damage)
{
    flush_unit(1);
    struct log_block gone = data_unit(6, 1, 0);
    for (uint32_t i = 1; i < LOG_UNITS_IN_FLIGHT_MAX; i++) {
        data_unit(6, 1 + i, 0);
    }
    rot(gone.nr);
    expect_log_of(2);
    data_unit(6, 100, 0);
    expect_refusal("log damaged");
}
END_TEST

START_TEST(data_and_parity_in_one_unit_show_a_foreign_writer)
{
    struct log_block gone = data_unit(6, 1, 0);

    /* Also where it is only seen beyond the end. */
    kit_unit(&kit, (struct kit_payload[]){KIT_DATA(7, 1), KIT_PARITY(row_of(7), 1)}, 2, 0);
    rot(gone.nr);
    expect_log_of(1);
    ck_assert(scan.foreign);
}
END_TEST

/* Sequence 1: a unit of the lap before stands just where the next one would. */
START_TEST(a_unit_of_an_older_lap_is_not_adopted)
{
    uint64_t old_seq = kit.seq;

    kit.head = log_block(20);
    data_unit(9, 66, 0);
    kit.head = log_block(10);
    kit.seq = old_seq + 1000;
    kit_set_tail(&kit, kit.head);
    for (uint32_t i = 0; i < 5; i++) {
        data_unit(5, i, 0);
    }
    expect_log_of(5);
    ck_assert_uint_eq(scan.stop.nr, 20);
    ck_assert_uint_eq(scan.leftover_count, 0);
    ck_assert_ptr_null(find_row(9));
}
END_TEST

START_TEST(a_seq_that_its_place_does_not_allow_proves_nothing)
{
    struct log_block gone = data_unit(6, 1, 0);

    kit.seq += 10000; /* the kernel's jump when its own replay was cut off */
    data_unit(7, 1, 0);
    data_unit(8, 1, 0);
    rot(gone.nr);
    expect_log_of(1);
    ck_assert_uint_eq(scan.leftover_count, 2);
}
END_TEST

/* Sequence 8: the bound on leftovers is larger than the ring. */
START_TEST(the_look_beyond_ends_at_the_tail)
{
    struct log_block at = log_block(40);

    kit.head = at;
    kit_set_tail(&kit, at);
    for (uint32_t i = 0; i < 31; i++) {
        data_unit(i, i + 1, 0);
    }
    ck_assert_uint_eq(kit.head.nr, (40 + 62) % 64);
    expect_log_of(31);
    ck_assert_uint_eq(scan.used_blocks, 62);
    ck_assert_uint_eq(scan.leftover_count, 0);
    ck_assert_uint_eq(scan.open_count, 16);
}
END_TEST

START_TEST(a_unit_that_would_fill_the_ring_is_not_taken)
{
    for (uint32_t i = 0; i < 31; i++) {
        data_unit(i, i + 1, 0);
    }
    expect_log_of(32); /* one empty, 31 of two: 63 blocks, one left */
    ck_assert_uint_eq(scan.used_blocks, 63);
    kit_unit(&kit, NULL, 0, 0);
    expect_log_of(32);
    ck_assert_uint_eq(scan.stop.nr, 63);
}
END_TEST

/* ---- the head ----------------------------------------------------------------------------- */

START_TEST(a_rotten_head_is_refused_and_can_be_given_up)
{
    data_unit(6, 1, 0);
    rot(0);
    expect_refusal("journal head damaged");
    ck_assert_int_eq(scan_again(true), 0);
    ck_assert(scan.head_damaged);
    ck_assert_uint_eq(scan.open_count, 0);
}
END_TEST

START_TEST(a_rotten_page_of_the_heads_unit_is_a_damaged_head)
{
    struct log_block head = data_unit(6, 1, 0);

    kit_set_tail(&kit, head);
    rot(head.nr + 1);
    expect_refusal("journal head damaged");
}
END_TEST

START_TEST(a_tail_on_a_page_is_a_damaged_head)
{
    struct log_block unit = data_unit(6, 1, 0);

    kit_set_tail(&kit, log_block(unit.nr + 1));
    expect_refusal("journal head damaged");
}
END_TEST

START_TEST(a_tail_outside_the_ring_is_a_damaged_head)
{
    data_unit(6, 1, 0);
    kit_set_tail(&kit, log_block(kit.ring_blocks));
    expect_refusal("the tail lies outside the ring");
    ck_assert_int_eq(scan_again(true), 0);
    ck_assert(scan.head_damaged);
}
END_TEST

static bool fail_reads_of_block(const struct io_request *request, int *out_result)
{
    uint64_t bad = kit.data_offset[kit_journal(&kit)] + UINT64_C(3) * BLOCK_BYTES;
    bool journal = strcmp(request->file->path, kit.paths[kit_journal(&kit)]) == 0;

    *out_result = -EIO;
    return journal && request->op == IO_READ && request->offset_bytes <= bad &&
           bad < request->offset_bytes + request->iovecs[0].iov_len;
}

START_TEST(a_sector_that_cannot_be_read_is_judged_like_rot)
{
    data_unit(6, 1, 0);
    data_unit(7, 1, 0); /* its meta block is block 3 */
    data_unit(8, 1, 0);
    expect_log_of(4);
    crash_io_hook = fail_reads_of_block;
    expect_refusal("unreadable");
    ck_assert_uint_eq(scan.loss.units, 1);
}
END_TEST

/* ---- hostile logs ------------------------------------------------------------------------- */

/* A unit with right checksums whose one payload says something impossible. */
static void hostile_unit(uint32_t offset, uint64_t value, size_t bytes)
{
    struct log_block at = data_unit(6, 1, 0);
    uint8_t meta[BLOCK_BYTES];
    le32 sum = le32_make(0);

    kit_peek(&kit, kit_journal(&kit), at.nr, meta);
    memcpy(meta + offset, &value, bytes);
    memcpy(meta + 4, &sum, sizeof(sum));
    sum = le32_make(crc32c(kit.seed, meta, sizeof(meta)));
    memcpy(meta + 4, &sum, sizeof(sum));
    kit_poke(&kit, kit_journal(&kit), at.nr, 0, meta, sizeof(meta));
}

static const struct {
    uint32_t offset;
    uint64_t value;
    size_t bytes;
} hostile[] = {
    {40, UINT64_MAX, 8},        /* location */
    {40, UINT64_MAX - 7, 8},    /* aligned */
    {40, 4, 8},                 /* misaligned */
    {40, UINT64_C(1) << 40, 8}, /* beyond the volume */
    {32, 1, 2},                 /* parity, and its row ...  */
    {36, 0xffffffff, 4},        /* size */
    {36, 0, 4},
    {12, 4096, 4}, /* meta_size: the rest of the block is no payload */
    {12, 33, 4},
    {32, 2, 2}, /* flush, size 8: rows from the checksum on */
    {32, 0xffff, 2},
};

START_TEST(impossible_payloads_end_the_log)
{
    hostile_unit(hostile[_i].offset, hostile[_i].value, hostile[_i].bytes);
    int error = scan_again(false);
    /* Some are possible after all; none may be followed, and none may be trusted blindly. */
    ck_assert(error == 0);
    ck_assert_uint_le(scan.units, 2);
    if (_i < 4) {
        ck_assert_uint_eq(scan.units, 1);
    }
}
END_TEST

START_TEST(random_rot_never_adds_anything)
{
    uint64_t true_units[40];

    kit_seed("random_rot_never_adds_anything");
    for (uint32_t i = 0; i < 12; i++) {
        true_units[i] = kit.head.nr;
        kit_unit(&kit,
                 (struct kit_payload[]){KIT_DATA(i, i + 1), KIT_DATA(300 + i, i + 1)},
                 1 + kit_below(2),
                 0);
    }
    kit_assemble(&kit, true, KIT_NO_SLOT);
    kit_close(&kit);
    struct kit_images before;
    kit_save(&kit, &before);
    for (uint32_t round = 0; round < 200; round++) {
        uint64_t first_hit = UINT64_MAX;
        for (uint32_t hits = 1 + kit_below(4); hits > 0; hits--) {
            uint8_t junk[64];
            uint64_t block = 1 + kit_below((uint32_t)kit.head.nr - 1);
            for (size_t i = 0; i < sizeof(junk); i++) {
                junk[i] = (uint8_t)kit_below(256);
            }
            kit_poke(&kit,
                     kit_journal(&kit),
                     block,
                     kit_below(BLOCK_BYTES - sizeof(junk)),
                     junk,
                     8 + kit_below(sizeof(junk) - 8)); /* one byte could be the one that is there */
            first_hit = min_u64(first_hit, block);
        }
        int error = scan_again(false);
        uint64_t intact = 1;
        for (uint32_t i = 0; i < 12; i++) {
            uint64_t next = i + 1 < 12 ? true_units[i + 1] : kit.head.nr;
            intact += next <= first_hit;
        }
        ck_assert_uint_eq(scan.units, intact);
        ck_assert(error == 0 || error == -EBADMSG);
        kit_close(&kit);
        kit_restore(&kit, &before);
    }
    kit_free(&before);
}
END_TEST

static TCase *new_case(Suite *suite, const char *name, void (*setup)(void))
{
    TCase *made = tcase_create(name);

    tcase_add_checked_fixture(made, setup, drop_array);
    tcase_set_timeout(made, 120);
    suite_add_tcase(suite, made);
    return made;
}

int main(void)
{
    Suite *suite = suite_create("recovery_scan");
    TCase *layers = new_case(suite, "layers", make_array);
    TCase *end = new_case(suite, "end", make_array);
    TCase *small = new_case(suite, "small ring", make_small_ring);
    TCase *head = new_case(suite, "head", make_array);
    TCase *harm = new_case(suite, "hostile", make_array);

    tcase_add_test(layers, a_new_log_is_one_empty_unit);
    tcase_add_test(layers, parity_closes_what_came_before_it_and_nothing_else);
    tcase_add_test(layers, parity_without_data_needs_nothing);
    tcase_add_test(layers, a_flush_payload_forgets_both_layers_of_its_row_alone);
    tcase_add_test(layers, open_rows_come_in_order_of_their_oldest_page_that_counts);
    tcase_add_test(layers, a_log_may_begin_just_before_the_last_seq);
    tcase_add_test(end, a_torn_last_unit_ends_the_log_and_is_left_over);
    tcase_add_test(end, units_in_flight_beside_a_torn_one_are_no_damage);
    tcase_add_test(end, a_rotten_unit_among_the_last_acknowledged_is_refused);
    tcase_add_test(end, what_was_not_durable_at_submission_decides);
    tcase_add_test(end, in_a_foreign_log_only_what_is_64_ahead_proves_damage);
    tcase_add_test(end, data_and_parity_in_one_unit_show_a_foreign_writer);
    tcase_add_test(end, a_unit_of_an_older_lap_is_not_adopted);
    tcase_add_test(end, a_seq_that_its_place_does_not_allow_proves_nothing);
    tcase_add_test(small, the_look_beyond_ends_at_the_tail);
    tcase_add_test(small, a_unit_that_would_fill_the_ring_is_not_taken);
    tcase_add_test(head, a_rotten_head_is_refused_and_can_be_given_up);
    tcase_add_test(head, a_rotten_page_of_the_heads_unit_is_a_damaged_head);
    tcase_add_test(head, a_tail_on_a_page_is_a_damaged_head);
    tcase_add_test(head, a_tail_outside_the_ring_is_a_damaged_head);
    tcase_add_test(head, a_sector_that_cannot_be_read_is_judged_like_rot);
    tcase_add_loop_test(
        harm, impossible_payloads_end_the_log, 0, (int)(sizeof(hostile) / sizeof(hostile[0])));
    tcase_add_test(harm, random_rot_never_adds_anything);
    return kit_run(suite);
}
