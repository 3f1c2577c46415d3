/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal as a whole: real arrays over temporary files, against the model of model_kit. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "model_kit.h"
#include "r5fs/base/msg.h"

#define RING_SMALLEST 654u
#define RING_USUAL    4096u
#define MEMBER_BYTES  (6u << 20)

static const struct journal_options usual = {0};

static struct kit_shape shape_of(uint32_t members, uint64_t ring_blocks)
{
    return (struct kit_shape){members, members == 5 ? 8 : 64, MEMBER_BYTES, ring_blocks};
}

START_TEST(what_was_written_is_read_before_and_after_every_commit)
{
    const uint32_t members = 3 + (uint32_t)_i;
    struct kit_shape shape = shape_of(members, RING_USUAL);
    struct model m;

    kit_seed("read_back");
    uint64_t random = kit_random();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &usual, KIT_NO_SLOT), 0);
    for (unsigned round = 0; round < 12; round++) {
        model_run(&m, m.files.queue, 20, &random);
        journal_verify(m.j);
        model_expect_newest(&m);
        ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        model_expect_newest(&m);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    journal_verify(m.j);
    model_expect_newest(&m);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* ---- several threads ----------------------------------------------------------------------- */

static const struct tight {
    uint64_t ring_blocks;
    struct journal_options options;
} tight[] = {
    {RING_SMALLEST, {.images_max = 4096, .io_units = 8}},
    {RING_SMALLEST, {.images_max = 64, .io_units = 2}},
    {RING_USUAL, {.images_max = 32, .io_units = 2}},
    {1024, {.images_max = 512, .io_units = 3, .commit_interval_ms = 5}},
    {RING_SMALLEST, {.images_max = 256, .io_units = 2, .write_through = true}},
};

START_TEST(threads_racing_for_little_space_all_get_it)
{
    const struct tight *how = &tight[_i];
    struct kit_shape shape = shape_of(4, how->ring_blocks);
    struct model m;

    kit_seed("race");
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &how->options, KIT_NO_SLOT), 0);
    for (unsigned round = 0; round < 3; round++) {
        model_race(&m, 150);
        journal_verify(m.j);
        model_expect_newest(&m);
    }
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

static TCase *racing(void)
{
    TCase *tcase = tcase_create("racing");

    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase,
                        threads_racing_for_little_space_all_get_it,
                        0,
                        (int)(sizeof(tight) / sizeof(tight[0])));
    return tcase;
}

/* ---- the power goes
 * ------------------------------------------------------------------------------- */

START_TEST(after_a_power_cut_synced_contents_and_whole_transactions_are_there)
{
    struct kit_shape shape = shape_of(3 + (uint32_t)_i % 3, _i % 2 == 0 ? RING_SMALLEST : 1500);
    struct journal_options options = {.images_max = _i % 2 == 0 ? 400 : 96, .io_units = 3};
    struct model m;

    kit_seed("power_cut");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 12; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        journal_verify(m.j);
        model_cut_after(kit_below(400));
        model_race(&m, 60);
        model_abandon(&m);
    }
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* Recovery itself is cut off, several times; then a member is gone as well. */
START_TEST(after_a_cut_in_recovery_and_a_lost_member_everything_is_still_there)
{
    struct kit_shape shape = shape_of(3 + (uint32_t)_i % 3, 900);
    struct journal_options options = {.images_max = 300, .io_units = 4};
    struct kit_images crashed;
    struct model m;

    kit_seed("cut_in_recovery");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 5; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        model_cut_after(50 + kit_below(300));
        model_race(&m, 60);
        model_abandon(&m);
        for (unsigned again = 0; again < 3; again++) {
            model_open_cut(&m, &options, kit_below(40));
        }
        kit_save(&m.files, &crashed);
        uint32_t missing = kit_below(shape.members);
        ck_assert_int_eq(model_open(&m, &options, missing), 0);
        model_expect_recovered(&m, false);
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
        model_expect_recovered(&m, false);
        model_forget(&m);
        kit_restore(&m.files, &crashed);
        kit_free(&crashed);
    }
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

START_TEST(a_degraded_array_survives_power_cuts_too)
{
    struct kit_shape shape = shape_of(4, 900);
    struct journal_options options = {.images_max = 200, .io_units = 4};
    uint32_t missing = (uint32_t)_i;
    struct model m;

    kit_seed("degraded_cut");
    model_crash_io_use();
    model_create(&m, &shape);
    for (unsigned cycle = 0; cycle < 8; cycle++) {
        ck_assert_int_eq(model_open(&m, &options, missing), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        model_cut_after(kit_below(300));
        model_race(&m, 60);
        model_abandon(&m);
    }
    ck_assert_int_eq(model_open(&m, &options, missing), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_remove(&m);
}
END_TEST

static TCase *power(void)
{
    TCase *tcase = tcase_create("power");

    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(
        tcase, after_a_power_cut_synced_contents_and_whole_transactions_are_there, 0, 6);
    tcase_add_loop_test(
        tcase, after_a_cut_in_recovery_and_a_lost_member_everything_is_still_there, 0, 3);
    tcase_add_loop_test(tcase, a_degraded_array_survives_power_cuts_too, 0, 2);
    return tcase;
}

static TCase *reading(void)
{
    TCase *tcase = tcase_create("reading");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, what_was_written_is_read_before_and_after_every_commit, 0, 3);
    return tcase;
}

/* ---- what commits and the log thread promise
 * ------------------------------------------------------ */

static void open_usual(struct model *m, const struct journal_options *options)
{
    struct kit_shape shape = shape_of(4, RING_USUAL);

    model_create(m, &shape);
    ck_assert_int_eq(model_open(m, options, KIT_NO_SLOT), 0);
}

static void close_and_compare(struct model *m)
{
    model_close(m);
    model_expect_on_members(m);
    model_remove(m);
}

/* Waits for something that the log thread does by itself. */
static bool comes_true(struct model *m, bool (*is_true)(struct model *m))
{
    uint64_t end = env_now_ns() + UINT64_C(20000000000);

    while (!is_true(m) && env_now_ns() < end) {
        env_sleep_ns(5000000);
    }
    return is_true(m);
}

static bool something_was_committed(struct model *m)
{
    return model_status(m).commits > 0;
}

static bool all_is_written(struct model *m)
{
    return model_status(m).unwritten_rows == 0;
}

START_TEST(a_commit_of_nothing_writes_nothing)
{
    struct model m;

    open_usual(&m, &usual);
    uint64_t bytes = model_status(&m).log_bytes;
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 5), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).log_bytes, bytes + UINT64_C(6) * BLOCK_BYTES);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).log_bytes, bytes + UINT64_C(6) * BLOCK_BYTES);
    ck_assert_uint_eq(model_status(&m).commits, 1);
    close_and_compare(&m);
}
END_TEST

START_TEST(data_and_metadata_of_a_small_commit_share_one_unit)
{
    struct model m;

    open_usual(&m, &usual);
    uint64_t seq = model_status(&m).seq;
    ck_assert_int_eq(model_change_meta(&m, 3, 5, 40), 0);
    ck_assert_int_eq(model_write_data(&m, 100, 20), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).seq, seq + 1);
    ck_assert_uint_eq(m.told_durable, 1);
    ck_assert_int_eq(m.told_result, 0);
    close_and_compare(&m);
}
END_TEST

START_TEST(the_timer_commits_what_nobody_syncs)
{
    const struct journal_options options = {.commit_interval_ms = 50};
    struct model m;

    open_usual(&m, &options);
    ck_assert_int_eq(model_change_meta(&m, 0, 3, 7), 0);
    ck_assert_uint_gt(model_status(&m).dirty_blocks, 0);
    ck_assert(comes_true(&m, something_was_committed));
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 0);
    ck_assert_uint_eq(model_status(&m).commits, 1);
    close_and_compare(&m);
}
END_TEST

START_TEST(an_idle_journal_brings_its_rows_to_the_members)
{
    struct model m;

    open_usual(&m, &usual);
    ck_assert_int_eq(model_write_data(&m, 0, 32), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_gt(model_status(&m).unwritten_rows, 0);
    ck_assert(comes_true(&m, all_is_written));
    model_abandon(&m);
    kit_assemble(&m.files, false, KIT_NO_SLOT);
    model_expect_newest(&m); /* from the members alone */
    model_remove(&m);
}
END_TEST

START_TEST(a_write_through_commit_leaves_no_row_unwritten)
{
    const struct journal_options options = {.write_through = true};
    struct model m;

    open_usual(&m, &options);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_int_eq(model_change_meta(&m, i, 3, i * 17), 0);
        ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        ck_assert_uint_eq(model_status(&m).unwritten_rows, 0);
    }
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_WRITE_BACK), 0);
    ck_assert_int_eq(model_change_meta(&m, 0, 3, 1), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_uint_gt(model_status(&m).unwritten_rows, 0);
    ck_assert_int_eq(journal_set_mode(m.j, m.files.queue, JOURNAL_FAILED), -EINVAL);
    close_and_compare(&m);
}
END_TEST

START_TEST(a_clean_stop_leaves_one_empty_unit)
{
    uint64_t random = 0;
    struct model m;

    kit_seed("clean_stop");
    random = kit_random();
    open_usual(&m, &usual);
    model_run(&m, m.files.queue, 100, &random);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(model_status(&m).used_blocks, 1);
    model_run(&m, m.files.queue, 100, &random);
    model_close(&m);
    ck_assert_int_eq(model_open(&m, &usual, KIT_NO_SLOT), 0);
    ck_assert_uint_eq(model_status(&m).recovered.units, 1);
    ck_assert_uint_eq(model_status(&m).recovered.open_rows, 0);
    ck_assert_uint_eq(model_status(&m).recovered.closed_rows, 0);
    ck_assert_uint_eq(model_status(&m).used_blocks, 1);
    model_expect_newest(&m);
    close_and_compare(&m);
}
END_TEST

START_TEST(freed_blocks_are_forgotten_unless_logged)
{
    struct journal_reservation reservation = {0};
    uint8_t page[BLOCK_BYTES] = {1};
    struct model m;

    open_usual(&m, &usual);
    uint64_t seq = model_status(&m).seq;
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 40, 0), 0);
    for (uint32_t i = 0; i < 40; i++) {
        journal_write(m.j, &reservation, fs_block(2 + 3 * (uint64_t)i), page);
    }
    journal_release(m.j, &reservation);
    journal_discard(m.j, fs_block(0), 60);
    journal_verify(m.j);
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 20);
    journal_discard(m.j, fs_block(60), m.files.geometry.volume_blocks - 60);
    journal_verify(m.j);
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 0);
    ck_assert_int_eq(journal_commit(m.j, m.files.queue, journal_running_txn(m.j)), 0);
    ck_assert_uint_eq(model_status(&m).seq, seq);
    close_and_compare(&m);
}
END_TEST

static TCase *promises(void)
{
    TCase *tcase = tcase_create("promises");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_commit_of_nothing_writes_nothing);
    tcase_add_test(tcase, data_and_metadata_of_a_small_commit_share_one_unit);
    tcase_add_test(tcase, the_timer_commits_what_nobody_syncs);
    tcase_add_test(tcase, an_idle_journal_brings_its_rows_to_the_members);
    tcase_add_test(tcase, a_write_through_commit_leaves_no_row_unwritten);
    tcase_add_test(tcase, a_clean_stop_leaves_one_empty_unit);
    tcase_add_test(tcase, freed_blocks_are_forgotten_unless_logged);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("journal");

    if (getenv("R5_VERBOSE") != NULL) {
        msg_set_level(MSG_INFO);
    }
    suite_add_tcase(suite, reading());
    suite_add_tcase(suite, racing());
    suite_add_tcase(suite, power());
    suite_add_tcase(suite, promises());
    return kit_run(suite);
}
