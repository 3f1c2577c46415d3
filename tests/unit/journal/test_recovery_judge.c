/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the judge of older copies is shown, what becomes of a log that it refuses, and that what it
 * compares comes to the members first. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "journal_internal.h"
#include "log_thread.h"
#include "reclaim.h"
#include "recovery_kit.h"

#define RING_BLOCKS UINT64_C(4096)
#define MEMORY      (UINT64_C(16) << 20)
#define ON_MEMBERS  UINT64_C(77)
#define IN_LOG      UINT64_C(88)
#define OTHER_BLOCK UINT64_C(200)

static struct recovery_kit kit;

/* What it was asked, and what it answers. */
static struct judged {
    unsigned count;
    uint64_t on_members;
    uint64_t in_log; /* 0: was NULL */
    struct journal_mark log_end;
    int answer;
} judged;

static uint64_t first_number(const uint8_t *page)
{
    uint64_t number = 0;

    memcpy(&number, page, sizeof(number));
    return number;
}

static int judge(void *context,
                 const uint8_t *on_members,
                 const uint8_t *in_log,
                 const struct journal_mark *log_end,
                 char *out_why)
{
    struct judged *to = context;

    to->count++;
    to->on_members = first_number(on_members);
    to->in_log = in_log != NULL ? first_number(in_log) : 0;
    to->log_end = *log_end;
    (void)snprintf(out_why, JOURNAL_WHY_BYTES, "is refused by the test"); /* fits */
    return to->answer;
}

/* An idle log; block 0 of the volume holds ON_MEMBERS, with parity. */
static void set_up(void)
{
    struct placement at;

    kit_create(&kit, &(struct kit_shape){4, 128, 6u << 20, RING_BLOCKS});
    kit_assemble(&kit, true, KIT_NO_SLOT);
    kit_close(&kit);
    at = geometry_locate(&kit.geometry, fs_block(0));
    kit_write_number(&kit, at.slot, at.row.nr, ON_MEMBERS);
    kit_write_number(&kit, geometry_parity_slot(&kit.geometry, at.row), at.row.nr, ON_MEMBERS);
    judged = (struct judged){0};
}

static void tear_down(void)
{
    kit_remove(&kit);
}

struct opened {
    struct arena arena;
    struct journal *journal;
};

static int open_journal(struct opened *opened, bool read_only, bool accept)
{
    const struct journal_options options = {
        .arena = &opened->arena,
        .memory_bytes = MEMORY,
        .commit_interval_ms = 3600000,
        .read_only = read_only,
        .accept_damaged_log = accept,
        .judge_log = judge,
        .judge_context = &judged,
    };

    arena_init_growing(&opened->arena);
    int error = journal_open(&opened->journal, kit.array, &options, kit.queue, kit.why);
    if (error != 0) {
        arena_fini(&opened->arena);
    }
    return error;
}

static void close_journal(struct opened *opened)
{
    ck_assert_int_eq(journal_close(opened->journal, kit.queue), 0);
    arena_fini(&opened->arena);
    kit_close(&kit);
}

static void expect_end(uint64_t seq)
{
    const struct uuid device = array_journal_device(kit.array);
    const struct uuid none = {0};

    ck_assert(!uuid_equal(&device, &none));
    ck_assert(uuid_equal(&judged.log_end.device, &device));
    ck_assert_uint_eq(judged.log_end.seq, seq);
}

/* ---- what it is shown ----------------------------------------------------------------------- */

START_TEST(an_idle_log_is_judged_by_its_last_unit)
{
    struct opened opened;

    kit_assemble(&kit, _i != 0, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, _i != 0, false), 0);
    ck_assert_uint_eq(judged.count, 1);
    ck_assert_uint_eq(judged.on_members, ON_MEMBERS);
    ck_assert_uint_eq(judged.in_log, 0);
    expect_end(kit.seq - 1);
    close_journal(&opened);
}
END_TEST

START_TEST(a_log_without_the_first_block_is_judged_by_its_last_unit)
{
    struct opened opened;

    kit_unit(&kit, &KIT_DATA(OTHER_BLOCK, 5), 1, 0);
    kit_unit(&kit, &KIT_DATA(OTHER_BLOCK + 1, 6), 1, 0);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, false, false), 0);
    ck_assert_uint_eq(judged.count, 1);
    ck_assert_uint_eq(judged.in_log, 0);
    expect_end(kit.seq - 1);
    close_journal(&opened);
}
END_TEST

START_TEST(the_newest_first_block_of_the_log_is_shown)
{
    struct opened opened;

    kit_unit(&kit, &KIT_DATA(0, IN_LOG - 1), 1, 0);
    kit_unit(&kit, &KIT_DATA(0, IN_LOG), 1, 0);
    kit_unit(&kit, &KIT_DATA(OTHER_BLOCK, 5), 1, 0);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, false, false), 0);
    ck_assert_uint_eq(judged.on_members, ON_MEMBERS);
    ck_assert_uint_eq(judged.in_log, IN_LOG);
    expect_end(kit.seq - 1);
    close_journal(&opened);
}
END_TEST

/* ---- what it refuses ------------------------------------------------------------------------ */

START_TEST(a_refused_idle_log_is_named_and_nothing_is_changed)
{
    struct kit_images before;
    struct opened opened;

    judged.answer = -ESTALE;
    kit_assemble(&kit, _i != 0, KIT_NO_SLOT);
    kit_save(&kit, &before);
    ck_assert_int_eq(open_journal(&opened, _i != 0, false), -ESTALE);
    ck_assert(kit_equals(&kit, &before));
    ck_assert_msg(strstr(kit.why, kit.paths[kit_journal(&kit)]) != NULL, "%s", kit.why);
    ck_assert_msg(strstr(kit.why, "is refused by the test") != NULL, "%s", kit.why);
    kit_free(&before);
    kit_close(&kit);
}
END_TEST

START_TEST(a_refused_log_that_was_accepted_goes_on_behind_its_end)
{
    struct journal_mark mark;
    struct opened opened;
    uint8_t *page;

    judged.answer = -ESTALE;
    kit_unit(&kit, &KIT_DATA(OTHER_BLOCK, 5), 1, 0);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, false, true), 0);
    page = arena_take(&opened.arena, BLOCK_BYTES, BLOCK_BYTES);
    ck_assert_int_eq(journal_read(opened.journal, kit.queue, fs_block(OTHER_BLOCK), 1, page), 0);
    ck_assert_uint_eq(first_number(page), 0);
    journal_get_mark(opened.journal, &mark);
    ck_assert_uint_eq(mark.seq, kit.seq - 1);
    close_journal(&opened);
}
END_TEST

/* ---- what it compares ----------------------------------------------------------------------- */

#define MANY_FIRST UINT64_C(96) /* not in the stripe of block 0 */
#define MANY       UINT64_C(600)

static void put(struct journal *j, uint64_t block, uint64_t number)
{
    struct journal_reservation reservation = {0};
    uint64_t page[BLOCK_BYTES / sizeof(number)];

    for (size_t i = 0; i < BLOCK_BYTES / sizeof(number); i++) {
        page[i] = number;
    }
    ck_assert_int_eq(journal_reserve(j, &reservation, 1, 0), 0);
    journal_write(j, &reservation, fs_block(block), (const uint8_t *)page);
    journal_release(j, &reservation);
}

static void put_first(struct journal *j, uint64_t number)
{
    put(j, 0, number);
    ck_assert_int_eq(journal_commit(j, kit.queue, journal_running_txn(j)), 0);
}

static uint64_t first_on_members(void)
{
    struct placement at = geometry_locate(&kit.geometry, fs_block(0));

    return kit_read_number(&kit, at.slot, at.row.nr);
}

/* By hand, without the log thread. The first block is always the newest in the log. */
START_TEST(the_first_batch_after_a_flush_takes_the_first_block_along)
{
    struct opened opened;

    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, false, false), 0);
    struct journal *j = opened.journal;
    log_thread_stop(j);
    for (uint64_t i = 0; i < MANY; i++) {
        put(j, MANY_FIRST + i, i);
    }
    put_first(j, 1);
    ck_assert_int_eq(reclaim_batch(j, kit.queue, false), 0);
    ck_assert_uint_eq(first_on_members(), 1);
    put_first(j, 2);
    ck_assert_int_eq(reclaim_batch(j, kit.queue, false), 0);
    ck_assert_uint_eq(first_on_members(), 1); /* once is enough */
    ck_assert_int_eq(reclaim_move_tail(j, kit.queue), 0);
    ck_assert_int_eq(reclaim_batch(j, kit.queue, false), 0);
    ck_assert_uint_eq(first_on_members(), 2);
    ck_assert_uint_gt(j->live_rows, 0); /* of those that are older */
    journal_verify(j);
    journal_abandon(j);
    arena_fini(&opened.arena);
    kit_close(&kit);
}
END_TEST

/* ---- the mark ------------------------------------------------------------------------------- */

START_TEST(the_mark_names_the_newest_durable_unit)
{
    const uint8_t page[BLOCK_BYTES] = {1};
    struct journal_reservation reservation = {0};
    struct journal_mark mark;
    struct opened opened;

    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, false, false), 0);
    journal_get_mark(opened.journal, &mark);
    expect_end(mark.seq);
    ck_assert(uuid_equal(&mark.device, &judged.log_end.device));
    ck_assert_int_eq(journal_reserve(opened.journal, &reservation, 1, 0), 0);
    journal_write(opened.journal, &reservation, fs_block(OTHER_BLOCK), page);
    journal_release(opened.journal, &reservation);
    journal_get_mark(opened.journal, &mark);
    ck_assert_uint_eq(mark.seq, judged.log_end.seq);
    ck_assert_int_eq(journal_commit(opened.journal, kit.queue, journal_running_txn(opened.journal)),
                     0);
    journal_get_mark(opened.journal, &mark);
    ck_assert_uint_gt(mark.seq, judged.log_end.seq);
    close_journal(&opened);
}
END_TEST

START_TEST(a_journal_that_is_only_read_has_no_mark)
{
    const struct uuid none = {0};
    struct journal_mark mark;
    struct opened opened;

    kit_assemble(&kit, true, KIT_NO_SLOT);
    ck_assert_int_eq(open_journal(&opened, true, false), 0);
    journal_get_mark(opened.journal, &mark);
    ck_assert_uint_eq(mark.seq, 0);
    ck_assert(uuid_equal(&mark.device, &none));
    close_journal(&opened);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery_judge");
    TCase *tcase = tcase_create("judge");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, an_idle_log_is_judged_by_its_last_unit, 0, 2);
    tcase_add_test(tcase, a_log_without_the_first_block_is_judged_by_its_last_unit);
    tcase_add_test(tcase, the_newest_first_block_of_the_log_is_shown);
    tcase_add_loop_test(tcase, a_refused_idle_log_is_named_and_nothing_is_changed, 0, 2);
    tcase_add_test(tcase, a_refused_log_that_was_accepted_goes_on_behind_its_end);
    tcase_add_test(tcase, the_first_batch_after_a_flush_takes_the_first_block_along);
    tcase_add_test(tcase, the_mark_names_the_newest_durable_unit);
    tcase_add_test(tcase, a_journal_that_is_only_read_has_no_mark);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
