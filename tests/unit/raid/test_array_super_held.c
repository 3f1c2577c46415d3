/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Superblocks that cannot be written when they should say something: the journal's stays within
 * reach of the members', and a member's host without room is waited for. */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_internal.h"
#include "array_kit.h"
#include "hook_io.h"

#define DEVICES 4u /* three members and the journal, ARRAY_KIT_USUAL */
#define JOURNAL 3u

/* Requests of one kind to the devices of a mask end with an error, after so many rounds. */
struct failing {
    uint32_t mask;
    uint32_t after; /* this many to each pass first */
    int error;
};

static struct array_kit kit;
static struct failing on_write;
static struct failing on_flush;
static uint32_t seen_writes[DEVICES];
static uint32_t seen_flushes[DEVICES];
static bool cut;          /* the power goes in the next round: */
static uint32_t cut_mask; /* of its writes these arrive, */
static uint64_t cut_at;   /* if they have these events; later ones never */

static const struct array_assemble plain;
static const struct array_assemble degraded = {.allow_degraded = true};

static uint32_t device_of(const struct io_request *request)
{
    for (uint32_t i = 0; i < kit.path_count; i++) {
        if (strcmp(kit.paths[i], request->file->path) == 0) {
            return i;
        }
    }
    ck_abort_msg("an unknown file");
    return 0;
}

static bool fails(const struct failing *how, uint32_t device, uint32_t *seen, int *out_result)
{
    if ((how->mask >> device & 1) == 0 || (*seen)++ < how->after) {
        return false;
    }
    *out_result = how->error;
    return true;
}

static bool is_cut_off(const struct io_request *request, uint32_t device, int *out_result)
{
    struct md_superblock super;
    char why[MD_WHY_BYTES] = "";
    if (!cut || request->op != IO_WRITE) {
        return false;
    }
    ck_assert_int_eq(md_super_decode(request->iovecs[0].iov_base, &super, why), 0);
    *out_result = 0;
    return super.events != cut_at || (cut_mask >> device & 1) == 0;
}

static bool on_request(void *context, const struct io_request *request, int *out_result)
{
    (void)context; /* one plan for all */
    if (request->op == IO_READ) {
        return false;
    }
    uint32_t device = device_of(request);
    if (request->op == IO_WRITE && fails(&on_write, device, &seen_writes[device], out_result)) {
        return true;
    }
    if (request->op == IO_FLUSH && fails(&on_flush, device, &seen_flushes[device], out_result)) {
        return true;
    }
    return is_cut_off(request, device, out_result);
}

static void nothing_fails(void)
{
    on_write = (struct failing){0};
    on_flush = (struct failing){0};
    memset(seen_writes, 0, sizeof(seen_writes));
    memset(seen_flushes, 0, sizeof(seen_flushes));
    cut = false;
}

static void setup(void)
{
    hook_io_use();
    array_kit_create(&kit, &ARRAY_KIT_USUAL);
    nothing_fails();
    hook_io_set(on_request, NULL);
}

static void teardown(void)
{
    hook_io_set(NULL, NULL);
    array_kit_close(&kit);
}

static struct array *assemble(struct array_assemble how)
{
    struct array *array = NULL;
    int error = array_kit_assemble(&kit, how, &array);
    ck_assert_msg(error == 0, "%s", kit.why);
    return array;
}

static struct array *start(void)
{
    struct array *array = assemble(plain);
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    ck_assert_uint_eq(array_events(array), 2);
    nothing_fails();
    return array;
}

static uint64_t events_on(uint32_t device)
{
    struct md_superblock super;
    array_kit_super(kit.paths[device], &super);
    return super.events;
}

static void expect_member(struct array *array, uint32_t slot, enum member_state state)
{
    struct member_info info;
    array_member_info(array, slot, &info);
    ck_assert_int_eq(info.state, state);
}

/* Whatever was left there assembles with its journal and without the lost member, in any order of
 * the files, and the next mount brings it level. */
static void expect_usable_without(uint32_t slot)
{
    nothing_fails();
    for (uint32_t turn = 0; turn < DEVICES; turn++) {
        char first[ARRAY_KIT_PATH_BYTES];
        struct array *array = assemble(plain);
        ck_assert_int_eq(array_journal_state(array), JOURNAL_DEVICE_OK);
        ck_assert_uint_eq(array_missing_slot(array), slot);
        array_close(array);
        memcpy(first, kit.paths[0], sizeof(first));
        memmove(kit.paths[0], kit.paths[1], sizeof(first) * (DEVICES - 1));
        memcpy(kit.paths[DEVICES - 1], first, sizeof(first));
    }
    struct array *array = assemble(plain);
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    for (uint32_t i = 0; i < DEVICES; i++) {
        ck_assert(i == slot || events_on(i) == array_events(array));
    }
    array_close(array);
}

/* ---- the journal ---------------------------------------------------------------------------- */

START_TEST(a_member_and_the_journal_that_fail_in_one_round_leave_the_log_usable)
{
    struct array *array = start();
    struct failing *how = _i == 0 ? &on_write : &on_flush; /* of a flush: the write is there */
    *how = (struct failing){1u << 2 | 1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    ck_assert_uint_eq(array_missing_slot(array), 2);
    ck_assert(!array_slot_takes_writes(array, 2));
    ck_assert_uint_le(events_on(0), events_on(JOURNAL) + 1);
    array_close(array); /* killed */
    expect_usable_without(2);
}
END_TEST

START_TEST(a_journal_that_takes_no_superblock_is_never_left_behind)
{
    struct array *array = start();
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "later"), 0);
    ck_assert(!array_slot_takes_writes(array, 1));
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    ck_assert_int_eq(array_stop_writing(array, kit.queue), -EIO);
    ck_assert_uint_eq(events_on(JOURNAL), 2);
    ck_assert_uint_eq(events_on(0), 3);
    array_close(array);
    expect_usable_without(1);
}
END_TEST

START_TEST(a_stop_after_the_journal_came_back_leaves_all_level)
{
    struct array *array = start();
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    nothing_fails();
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(1)), -EIO); /* not trusted */
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    for (uint32_t i = 0; i < DEVICES; i++) {
        ck_assert_uint_eq(events_on(i), 3);
    }
    array_close(array);
}
END_TEST

/* A kernel believes each superblock's own role while it is at most one behind. */
START_TEST(a_loss_after_the_journal_came_back_leaves_the_lost_member_two_behind)
{
    struct array *array = start();
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    nothing_fails();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "write error"), 0);
    ck_assert_uint_eq(events_on(0), events_on(1) + 2);
    ck_assert_uint_eq(events_on(JOURNAL), events_on(0));
    array_close(array); /* killed */
    expect_usable_without(1);
}
END_TEST

START_TEST(a_tail_that_failed_is_in_no_later_superblock)
{
    struct md_superblock super;
    struct array *array = start();
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(5)), 0);
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(6)), -EIO);
    nothing_fails();
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    array_kit_super(kit.paths[JOURNAL], &super);
    ck_assert_uint_eq(super.recovery_offset, UINT64_C(5) * 8);
    array_close(array);
}
END_TEST

START_TEST(a_journal_recorded_as_faulty_holds_nothing_up)
{
    struct array *array = start();
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, 0), 0);
    ck_assert_int_eq(array_journal_fault(array, kit.queue, "write error EIO"), 0);
    ck_assert_uint_eq(events_on(0), 5);
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    array_close(array);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "its journal has failed");
}
END_TEST

START_TEST(a_loss_written_with_the_same_number_may_be_torn_anywhere)
{
    for (uint32_t mask = 0; mask < 1u << JOURNAL; mask++) {
        if ((mask & 2) != 0) {
            continue; /* the lost member is not written */
        }
        teardown();
        setup();
        struct array *array = start();
        on_write = (struct failing){1u << JOURNAL, 0, -EIO};
        ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
        cut = true;
        cut_at = 3;
        cut_mask = mask;
        ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "later"), 0);
        array_close(array);
        nothing_fails();
        array = assemble(degraded);
        ck_assert_int_eq(array_journal_state(array), JOURNAL_DEVICE_OK);
        ck_assert_uint_eq(array_missing_slot(array), mask != 0 ? 1 : ARRAY_NO_SLOT);
        array_close(array);
    }
}
END_TEST

START_TEST(of_equal_events_the_superblock_that_says_dirty_is_taken)
{
    struct array *array = start();
    on_flush = (struct failing){1u << JOURNAL, 0, -EIO}; /* it says clean, with the same number */
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    on_write = (struct failing){1u << JOURNAL, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, 0), 0);
    ck_assert_uint_eq(events_on(JOURNAL), 3);
    ck_assert_uint_eq(events_on(0), 3);
    array_close(array);
    nothing_fails();
    array_kit_expect_refusal(&kit, plain, -EUCLEAN, "not in sync");
    char first[ARRAY_KIT_PATH_BYTES];
    memcpy(first, kit.paths[0], sizeof(first));
    memcpy(kit.paths[0], kit.paths[JOURNAL], sizeof(first));
    memcpy(kit.paths[JOURNAL], first, sizeof(first));
    array_kit_expect_refusal(&kit, plain, -EUCLEAN, "not in sync");
}
END_TEST

/* ---- no room -------------------------------------------------------------------------------- */

START_TEST(a_loss_is_recorded_when_there_is_room_again)
{
    struct array *array = start();
    on_write = (struct failing){1u << 2, (uint32_t)_i, _i == 0 ? -ENOSPC : -EDQUOT};
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "write error"), on_write.error);
    ck_assert_int_eq(array_state(array), ARRAY_DEGRADED);
    expect_member(array, 1, MEMBER_FAULTY);
    expect_member(array, 2, MEMBER_IN_SYNC);
    ck_assert_str_eq(array_full_path(array), kit.paths[2]);
    ck_assert(!array_slot_is_readable(array, 1));
    ck_assert(array_slot_takes_writes(array, 1)); /* W11: nobody may leave it out yet */
    /* And nothing that it missed may count as written. */
    ck_assert_int_eq(array_flush_members(array, kit.queue), on_write.error);
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "again"), on_write.error);
    nothing_fails();
    ck_assert_int_eq(array_flush_members(array, kit.queue), 0);
    ck_assert(!array_slot_takes_writes(array, 1));
    ck_assert_int_eq(array_state(array), ARRAY_DEGRADED);
    array_close(array); /* killed */
    expect_usable_without(1);
}
END_TEST

START_TEST(a_loss_still_due_at_the_stop_is_recorded_by_it)
{
    struct array *array = start();
    on_write = (struct failing){1u << 2, 0, -ENOSPC};
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "write error"), -ENOSPC);
    nothing_fails();
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    ck_assert_uint_le(events_on(1) + 2, events_on(0));
    array_close(array);
    expect_usable_without(1);
}
END_TEST

START_TEST(a_member_lost_while_another_lacks_room_is_recorded_later)
{
    struct array *array = start();
    on_write = (struct failing){1u << 2, 0, -ENOSPC};
    on_flush = (struct failing){1u << 0, 0, -EIO};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), -ENOSPC);
    expect_member(array, 0, MEMBER_FAULTY); /* what its flush said is not forgotten */
    nothing_fails();
    ck_assert_int_eq(array_flush_members(array, kit.queue), 0);
    ck_assert(!array_slot_takes_writes(array, 0));
    array_close(array);
    expect_usable_without(0);
}
END_TEST

/* As after the journal came back: the round without room gave its number to the others. */
START_TEST(a_loss_after_a_torn_round_leaves_the_lost_member_two_behind)
{
    struct array *array = start();
    on_write = (struct failing){1u << 2, 0, -ENOSPC};
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), -ENOSPC);
    nothing_fails();
    ck_assert_uint_eq(events_on(1), 3);
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "write error"), 0);
    ck_assert_uint_eq(events_on(0), events_on(1) + 2);
    array_close(array); /* killed */
    expect_usable_without(1);
}
END_TEST

START_TEST(a_flush_that_finds_no_room_is_a_loss)
{
    struct array *array = start();
    on_flush = (struct failing){1u << 2, 0, -ENOSPC}; /* who knows what else did not get there */
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    expect_member(array, 2, MEMBER_FAULTY);
    array_close(array);
    expect_usable_without(2);
}
END_TEST

START_TEST(a_journal_fault_without_room_is_recorded_later)
{
    struct array *array = start();
    on_write = (struct failing){1u << 2, 0, -ENOSPC};
    ck_assert_int_eq(array_journal_fault(array, kit.queue, "write error EIO"), -ENOSPC);
    ck_assert_int_eq(array_state(array), ARRAY_CLEAN);
    nothing_fails();
    ck_assert_int_eq(array_journal_fault(array, kit.queue, "write error EIO"), 0);
    ck_assert_int_eq(array_state(array), ARRAY_CLEAN);
    array_close(array);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "its journal has failed");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("array_super_held");
    TCase *journal = array_kit_case(suite, "journal", setup, teardown);
    tcase_add_loop_test(
        journal, a_member_and_the_journal_that_fail_in_one_round_leave_the_log_usable, 0, 2);
    tcase_add_test(journal, a_journal_that_takes_no_superblock_is_never_left_behind);
    tcase_add_test(journal, a_stop_after_the_journal_came_back_leaves_all_level);
    tcase_add_test(journal, a_loss_after_the_journal_came_back_leaves_the_lost_member_two_behind);
    tcase_add_test(journal, a_tail_that_failed_is_in_no_later_superblock);
    tcase_add_test(journal, a_journal_recorded_as_faulty_holds_nothing_up);
    tcase_add_test(journal, a_loss_written_with_the_same_number_may_be_torn_anywhere);
    tcase_add_test(journal, of_equal_events_the_superblock_that_says_dirty_is_taken);

    TCase *room = array_kit_case(suite, "no room", setup, teardown);
    tcase_add_loop_test(room, a_loss_is_recorded_when_there_is_room_again, 0, 2);
    tcase_add_test(room, a_loss_still_due_at_the_stop_is_recorded_by_it);
    tcase_add_test(room, a_member_lost_while_another_lacks_room_is_recorded_later);
    tcase_add_test(room, a_loss_after_a_torn_round_leaves_the_lost_member_two_behind);
    tcase_add_test(room, a_flush_that_finds_no_room_is_a_loss);
    tcase_add_test(room, a_journal_fault_without_room_is_recorded_later);
    return array_kit_run(suite);
}
