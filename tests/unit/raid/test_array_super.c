/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of superblocks: their order, their durability, and every way a power cut can tear them.
 * */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "array_internal.h"
#include "array_kit.h"
#include "hook_io.h"
#include "r5fs/base/env.h"

#define DEVICES   4u /* three members and the journal, ARRAY_KIT_USUAL */
#define JOURNAL   3u
#define STEPS_MAX 256u
#define NOBODY    UINT32_MAX

/* One request that array_super.c made. */
struct step {
    uint32_t device;
    enum io_op op;
    uint64_t events; /* of a write */
};

/* What the hook does to requests. Power is cut in the round of `cut_events`: of its writes only
 * those to devices in `cut_mask` arrive, later ones never. */
struct plan {
    uint32_t fail_device;
    enum io_op fail_op;
    uint32_t fail_after; /* this many of them pass first */
    int fail_error;      /* 0 = -EIO */
    uint64_t cut_events;
    uint32_t cut_mask;
    bool cut;
    uint64_t sleep_ns; /* before each flush */
};

static struct array_kit kit;
static struct step steps[STEPS_MAX];
static unsigned step_count;
static struct plan plan;

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
    return NOBODY;
}

static uint64_t events_of(const struct io_request *request)
{
    struct md_superblock super;
    char why[MD_WHY_BYTES] = "";
    ck_assert_uint_eq(request->offset_bytes, MD_SUPER_OFFSET_BYTES);
    ck_assert_uint_eq(request->iovecs[0].iov_len, BLOCK_BYTES);
    ck_assert_int_eq(md_super_decode(request->iovecs[0].iov_base, &super, why), 0);
    return super.events;
}

static bool on_request(void *context, const struct io_request *request, int *out_result)
{
    (void)context; /* one plan for all */
    if (request->op == IO_READ) {
        return false;
    }
    struct step step = {.device = device_of(request), .op = request->op};
    if (step.op == IO_WRITE) {
        step.events = events_of(request);
    } else if (plan.sleep_ns != 0) {
        env_sleep_ns(plan.sleep_ns);
    }
    ck_assert_uint_lt(step_count, STEPS_MAX);
    steps[step_count++] = step;
    if (step.device == plan.fail_device && step.op == plan.fail_op) {
        if (plan.fail_after == 0) {
            *out_result = plan.fail_error != 0 ? plan.fail_error : -EIO;
            return true;
        }
        plan.fail_after--;
    }
    bool late = step.op == IO_WRITE && plan.cut && step.events >= plan.cut_events;
    bool arrives = step.events == plan.cut_events && (plan.cut_mask >> step.device & 1) != 0;
    *out_result = 0;
    return late && !arrives;
}

static void no_plan(void)
{
    plan = (struct plan){.fail_device = NOBODY};
    step_count = 0;
}

static void setup(void)
{
    hook_io_use();
    array_kit_create(&kit, &ARRAY_KIT_USUAL);
    no_plan();
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

/* Assembled, writing, nothing recorded of how it got there. Its events are 2. */
static struct array *start(void)
{
    struct array *array = assemble(plain);
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    ck_assert_uint_eq(array_events(array), 2);
    no_plan();
    return array;
}

static uint64_t events_on(uint32_t device)
{
    struct md_superblock super;
    array_kit_super(kit.paths[device], &super);
    return super.events;
}

/* The steps from `*at` on are: a write of `events` to each device of `mask`, then a flush of each.
 * */
static void expect_round(unsigned *at, uint32_t mask, uint64_t events)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        uint32_t seen = 0;
        while (seen != mask) {
            ck_assert_uint_lt(*at, step_count);
            const struct step *step = &steps[(*at)++];
            ck_assert_int_eq(step->op, pass == 0 ? IO_WRITE : IO_FLUSH);
            ck_assert(pass == 1 || step->events == events);
            ck_assert_msg((seen >> step->device & 1) == 0, "device %u twice", step->device);
            seen |= 1u << step->device;
            ck_assert_msg((mask | seen) == mask, "device %u", step->device);
        }
    }
}

static void expect_rounds(uint32_t mask, uint64_t first_events, unsigned count)
{
    unsigned at = 0;
    for (unsigned i = 0; i < count; i++) {
        expect_round(&at, mask, first_events + i);
    }
    ck_assert_uint_eq(at, step_count);
}

/* ---- order --------------------------------------------------------------------------------- */

START_TEST(a_mount_moves_events_by_two_durable_rounds)
{
    struct array *array = assemble(plain);
    no_plan();
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    expect_rounds(0xf, 1, 2);
    for (uint32_t i = 0; i < DEVICES; i++) {
        ck_assert_uint_eq(events_on(i), 2);
    }
    no_plan();
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    expect_rounds(0xf, 3, 1);
    array_close(array);
    array_close(assemble(plain));
}
END_TEST

START_TEST(a_copy_taken_before_a_mount_is_stale_after_it)
{
    uint32_t device = _i == 0 ? 1 : JOURNAL;
    const char *copy = array_kit_file(&kit, "copy.img", 0);
    array_kit_copy(kit.paths[device], copy);
    array_close(start()); /* and killed */
    array_kit_copy(copy, kit.paths[device]);
    array_kit_expect_refusal(
        &kit, plain, _i == 0 ? -EPERM : -ESTALE, "stale: events 0, the array is at 2");
}
END_TEST

START_TEST(a_fault_is_recorded_by_two_durable_rounds_on_all_that_remain)
{
    struct array *array = start();
    struct md_superblock super;
    struct member_info info;
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "write error EIO"), 0);
    expect_rounds(0xd, 3, 2);
    ck_assert_uint_eq(events_on(1), 2);
    array_kit_super(kit.paths[JOURNAL], &super);
    ck_assert_uint_eq(super.roles[1], MD_ROLE_FAULTY);
    ck_assert_uint_eq(super.roles[0], 0);
    array_member_info(array, 1, &info);
    ck_assert_int_eq(info.state, MEMBER_FAULTY);
    ck_assert_str_eq(info.cause, "write error EIO");
    ck_assert_uint_ne(info.since_ns, 0);
    ck_assert_int_eq(array_state(array), ARRAY_DEGRADED);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    ck_assert(!array_slot_is_readable(array, 1));
    ck_assert(!array_slot_takes_writes(array, 1));
    ck_assert(array_slot_takes_writes(array, 0));
    no_plan();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "again"), 0);
    ck_assert_uint_eq(step_count, 0);
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    array_close(array);
    /* Recorded: the next mount needs no option, and the old file is of no use. */
    array = assemble(plain);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    array_close(array);
}
END_TEST

START_TEST(a_second_fault_fails_the_array_and_writes_nothing)
{
    struct array *array = start();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), 0);
    no_plan();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 0, "second"), -EIO);
    ck_assert_uint_eq(step_count, 0);
    ck_assert_int_eq(array_state(array), ARRAY_FAILED);
    ck_assert_int_eq(array_member_fault(array, kit.queue, 2, "third"), -EIO);
    ck_assert(!array_slot_takes_writes(array, 0));
    ck_assert_int_eq(array_stop_writing(array, kit.queue), -EIO);
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, 0), -EIO);
    array_close(array);
    /* The second loss was not recorded: with its file back, the array is only degraded. */
    array_close(assemble(plain));
}
END_TEST

START_TEST(a_mount_records_a_member_it_found_missing)
{
    kit.paths[2][0] = '\0';
    struct array *array = assemble(degraded);
    no_plan();
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    expect_rounds(0xb, 1, 2);
    ck_assert(!array_slot_takes_writes(array, 2));
    array_close(array); /* killed */
    ck_assert_int_gt(snprintf(kit.paths[2], sizeof(kit.paths[2]), "%s/m2.img", kit.dir), 0);
    array = assemble(plain);
    ck_assert_uint_eq(array_missing_slot(array), 2);
    ck_assert_uint_eq(array_problem_count(array), 1);
    array_close(array);
}
END_TEST

START_TEST(a_fault_before_the_first_write_is_recorded_by_the_start)
{
    struct array *array = assemble(plain);
    no_plan();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 0, "read error"), 0);
    ck_assert_uint_eq(step_count, 0);
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    expect_rounds(0xe, 1, 2);
    ck_assert(!array_slot_takes_writes(array, 0));
    array_close(array);
}
END_TEST

static void events_one(struct md_superblock *super)
{
    super->events = 1;
}

START_TEST(a_device_one_round_behind_is_brought_level_first)
{
    for (uint32_t i = 0; i < DEVICES; i += 2) {
        array_kit_edit(kit.paths[i], events_one);
    }
    struct array *array = assemble(plain);
    no_plan();
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    expect_rounds(0xf, 1, 3);
    array_close(array);
}
END_TEST

/* ---- tail, resync, journal ----------------------------------------------------------------- */

START_TEST(a_tail_is_written_to_the_journal_alone_and_leaves_events)
{
    struct array *array = start();
    struct md_superblock before;
    struct md_superblock after;
    array_kit_super(kit.paths[JOURNAL], &before);
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(77)), 0);
    ck_assert_uint_eq(array_log_tail(array).nr, 77);
    ck_assert_uint_eq(step_count, 2);
    ck_assert_uint_eq(steps[0].device, JOURNAL);
    ck_assert_int_eq(steps[0].op, IO_WRITE);
    ck_assert_uint_eq(steps[1].device, JOURNAL);
    ck_assert_int_eq(steps[1].op, IO_FLUSH);
    array_kit_super(kit.paths[JOURNAL], &after);
    ck_assert_uint_eq(after.recovery_offset, UINT64_C(77) * 8);
    after.recovery_offset = before.recovery_offset;
    ck_assert_mem_eq(&after, &before, sizeof(after));
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    array_close(array);
    array = assemble(plain); /* the stop kept the tail */
    ck_assert_uint_eq(array_log_tail(array).nr, 77);
    array_close(array);
}
END_TEST

START_TEST(a_tail_that_is_not_durable_does_not_count)
{
    for (int i = 0; i < 2; i++) {
        struct array *array = assemble(plain);
        ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
        ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(5)), 0);
        no_plan();
        plan.fail_device = JOURNAL;
        plan.fail_op = i == 0 ? IO_WRITE : IO_FLUSH;
        ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(6)), -EIO);
        ck_assert_uint_eq(array_log_tail(array).nr, 5);
        no_plan();
        ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(7)), -EIO);
        ck_assert_uint_eq(step_count, 0);
        array_close(array);
    }
}
END_TEST

START_TEST(a_journal_fault_is_recorded_by_two_rounds_on_the_members)
{
    struct array *array = start();
    ck_assert_int_eq(array_journal_fault(array, kit.queue, "write error EIO"), 0);
    expect_rounds(0x7, 3, 2);
    ck_assert_int_eq(array_journal_state(array), JOURNAL_DEVICE_FAULTY);
    ck_assert_ptr_null(array_journal_file(array));
    no_plan();
    ck_assert_int_eq(array_journal_fault(array, kit.queue, "again"), 0);
    ck_assert_uint_eq(step_count, 0);
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(1)), -EIO);
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    array_close(array);
    array_kit_expect_refusal(&kit, plain, -ENXIO, "its journal has failed");
}
END_TEST

START_TEST(the_resync_offset_goes_to_all_devices_in_one_round)
{
    struct array *array = start();
    struct md_superblock super;
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, 0), 0);
    expect_rounds(0xf, 3, 1);
    array_kit_super(kit.paths[2], &super);
    ck_assert_uint_eq(super.resync_offset, 0);
    ck_assert_uint_eq(array_resync_offset(array), 0);
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    array_kit_super(kit.paths[2], &super);
    ck_assert(md_super_is_clean(&super));
    array_close(array);
}
END_TEST

START_TEST(a_degraded_array_is_never_marked_dirty)
{
    struct array *array = start();
    ck_assert_int_eq(array_member_fault(array, kit.queue, 2, "gone"), 0);
    no_plan();
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, 0), 0);
    ck_assert_uint_eq(step_count, 0);
    ck_assert_uint_eq(array_resync_offset(array), UINT64_MAX);
    array_close(array);
    array_close(assemble(plain));
}
END_TEST

/* ---- failures on the way ------------------------------------------------------------------- */

START_TEST(a_member_that_fails_while_a_fault_is_recorded_fails_the_array)
{
    static const enum io_op ops[] = {IO_WRITE, IO_FLUSH};
    struct array *array = start();
    plan.fail_device = 0;
    plan.fail_op = ops[_i % 2];
    plan.fail_after = (uint32_t)_i / 2;
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), -EIO);
    ck_assert_int_eq(array_state(array), ARRAY_FAILED);
    ck_assert(!array_slot_takes_writes(array, 1));
    no_plan();
    array_close(array);
    /* Nothing that was acknowledged depends on the loss of slot 0: it still assembles. */
    array_close(assemble(degraded));
}
END_TEST

START_TEST(a_member_that_fails_an_update_is_recorded_by_two_more_rounds)
{
    struct array *array = start();
    plan.fail_device = 2;
    plan.fail_op = IO_FLUSH;
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), 0);
    ck_assert_uint_eq(array_missing_slot(array), 2);
    ck_assert(!array_slot_takes_writes(array, 2));
    unsigned at = 0;
    expect_round(&at, 0xf, 3);
    expect_round(&at, 0xb, 4);
    expect_round(&at, 0xb, 5);
    ck_assert_uint_eq(at, step_count);
    array_close(array);
    array = assemble(plain);
    ck_assert_uint_eq(array_missing_slot(array), 2);
    array_close(array);
}
END_TEST

START_TEST(a_journal_whose_superblock_fails_stays_one_round_behind)
{
    struct array *array = start();
    plan.fail_device = JOURNAL;
    plan.fail_op = IO_WRITE;
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), 0);
    ck_assert_uint_eq(events_on(JOURNAL), 2);
    ck_assert_uint_eq(events_on(0), 3);
    no_plan();
    /* Whoever logs hears of it. */
    ck_assert_int_eq(array_set_log_tail(array, kit.queue, log_block(1)), -EIO);
    array_close(array);
    /* The log can still be replayed, and the lost member is not taken for a good one. */
    array = assemble(degraded);
    ck_assert_int_eq(array_journal_state(array), JOURNAL_DEVICE_OK);
    ck_assert_uint_eq(array_missing_slot(array), 1);
    array_close(array);
}
END_TEST

START_TEST(a_full_host_disk_is_no_fault_of_the_member)
{
    struct array *array = start();
    plan.fail_device = 2;
    plan.fail_op = IO_WRITE;
    plan.fail_error = -ENOSPC;
    ck_assert_int_eq(array_set_resync_offset(array, kit.queue, UINT64_MAX), -ENOSPC);
    ck_assert_int_eq(array_state(array), ARRAY_CLEAN);
    ck_assert_uint_eq(events_on(0), 3);
    ck_assert_uint_eq(events_on(2), 2);
    no_plan();
    /* There is room again: the same round once more, so that nobody is ever two behind. */
    ck_assert_int_eq(array_stop_writing(array, kit.queue), 0);
    expect_rounds(0xf, 3, 1);
    array_close(array);
    array_close(assemble(plain));
}
END_TEST

START_TEST(a_start_without_a_writable_journal_superblock_fails)
{
    struct array *array = assemble(plain);
    plan.fail_device = JOURNAL;
    plan.fail_op = IO_WRITE;
    ck_assert_int_eq(array_start_writing(array, kit.queue), -EIO);
    no_plan();
    array_close(array);
    array_close(assemble(plain));
}
END_TEST

/* ---- power cuts ---------------------------------------------------------------------------- */

/* After a power cut everything that is there must assemble, and a mount must bring it level. */
static uint32_t expect_recovers(const char *what)
{
    no_plan();
    struct array *array = NULL;
    int error = array_kit_assemble(&kit, degraded, &array);
    ck_assert_msg(error == 0, "%s: %s", what, kit.why);
    ck_assert_msg(array_journal_state(array) == JOURNAL_DEVICE_OK, "%s: journal", what);
    uint32_t missing = array_missing_slot(array);
    ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
    uint64_t events = array_events(array);
    array_close(array);
    for (uint32_t i = 0; i < DEVICES; i++) {
        ck_assert_msg(i == missing || events_on(i) == events, "%s: device %u", what, i);
    }
    return missing;
}

START_TEST(a_fault_torn_anywhere_leaves_an_array_without_that_member_or_as_before)
{
    for (uint64_t round = 1; round <= 2; round++) {
        for (uint32_t mask = 0; mask < 1u << DEVICES; mask++) {
            if ((mask & 2) != 0) {
                continue; /* the lost member is not written */
            }
            char what[64];
            teardown();
            setup();
            struct array *array = start();
            plan.cut = true;
            plan.cut_events = 2 + round;
            plan.cut_mask = mask;
            ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), 0);
            array_close(array);
            ck_assert_int_gt(snprintf(what, sizeof(what), "round %" PRIu64 " mask %x", round, mask),
                             0);
            uint32_t missing = expect_recovers(what);
            bool known = round == 2 || mask != 0;
            ck_assert_msg(missing == (known ? 1 : ARRAY_NO_SLOT), "%s: %u", what, missing);
        }
    }
}
END_TEST

START_TEST(a_start_torn_anywhere_leaves_an_array)
{
    for (uint64_t round = 1; round <= 2; round++) {
        for (uint32_t mask = 0; mask < 1u << DEVICES; mask++) {
            char what[64];
            teardown();
            setup();
            struct array *array = assemble(plain);
            plan.cut = true;
            plan.cut_events = round;
            plan.cut_mask = mask;
            ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
            array_close(array);
            ck_assert_int_gt(snprintf(what, sizeof(what), "round %" PRIu64 " mask %x", round, mask),
                             0);
            ck_assert_uint_eq(expect_recovers(what), ARRAY_NO_SLOT);
        }
    }
}
END_TEST

START_TEST(a_torn_level_and_a_torn_start_after_a_torn_fault_leave_an_array)
{
    /* Crash, then crash again in the recovery from it: every pair of masks. */
    for (uint32_t first = 0; first < 1u << DEVICES; first++) {
        for (uint32_t second = 0; second < 1u << DEVICES; second++) {
            char what[64];
            if ((first & 2) != 0 || (second & 2) != 0) {
                continue;
            }
            teardown();
            setup();
            struct array *array = start();
            plan.cut = true;
            plan.cut_events = 3;
            plan.cut_mask = first;
            ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), 0);
            array_close(array);
            no_plan();
            array = assemble(degraded);
            plan.cut = true;
            plan.cut_events = array_events(array);
            plan.cut_mask = second;
            ck_assert_int_eq(array_start_writing(array, kit.queue), 0);
            array_close(array);
            ck_assert_int_gt(snprintf(what, sizeof(what), "masks %x %x", first, second), 0);
            bool known = first != 0;
            ck_assert_uint_eq(expect_recovers(what), known ? 1 : ARRAY_NO_SLOT);
        }
    }
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------- */

static atomic_bool fault_returned;

static void fault_slot_1(void *context)
{
    struct array *array = context;
    ck_assert_int_eq(array_member_fault(array, kit.queue, 1, "first"), 0);
    atomic_store(&fault_returned, true);
}

START_TEST(a_writer_treats_a_member_as_lost_only_when_that_is_durable)
{
    struct array *array = start();
    struct env_thread *thread = NULL;
    plan.sleep_ns = UINT64_C(20000000);
    ck_assert_int_eq(env_thread_start(&thread, "fault", fault_slot_1, array), 0);
    while (array_slot_is_readable(array, 1)) {
        env_sleep_ns(100000);
    }
    /* Readers avoid it already; the superblocks are on their way. */
    ck_assert(!atomic_load(&fault_returned));
    ck_assert(!array_slot_takes_writes(array, 1));
    for (uint32_t i = 0; i < DEVICES; i++) {
        ck_assert_uint_eq(events_on(i), i == 1 ? 2 : 4);
    }
    ck_assert_uint_eq(step_count, 12);
    env_thread_join(thread);
    array_close(array);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("array_super");
    TCase *order = array_kit_case(suite, "order", setup, teardown);
    tcase_add_test(order, a_mount_moves_events_by_two_durable_rounds);
    tcase_add_loop_test(order, a_copy_taken_before_a_mount_is_stale_after_it, 0, 2);
    tcase_add_test(order, a_fault_is_recorded_by_two_durable_rounds_on_all_that_remain);
    tcase_add_test(order, a_second_fault_fails_the_array_and_writes_nothing);
    tcase_add_test(order, a_mount_records_a_member_it_found_missing);
    tcase_add_test(order, a_fault_before_the_first_write_is_recorded_by_the_start);
    tcase_add_test(order, a_device_one_round_behind_is_brought_level_first);

    TCase *journal = array_kit_case(suite, "journal", setup, teardown);
    tcase_add_test(journal, a_tail_is_written_to_the_journal_alone_and_leaves_events);
    tcase_add_test(journal, a_tail_that_is_not_durable_does_not_count);
    tcase_add_test(journal, a_journal_fault_is_recorded_by_two_rounds_on_the_members);
    tcase_add_test(journal, the_resync_offset_goes_to_all_devices_in_one_round);
    tcase_add_test(journal, a_degraded_array_is_never_marked_dirty);

    TCase *failures = array_kit_case(suite, "failures", setup, teardown);
    tcase_add_loop_test(
        failures, a_member_that_fails_while_a_fault_is_recorded_fails_the_array, 0, 4);
    tcase_add_test(failures, a_member_that_fails_an_update_is_recorded_by_two_more_rounds);
    tcase_add_test(failures, a_journal_whose_superblock_fails_stays_one_round_behind);
    tcase_add_test(failures, a_full_host_disk_is_no_fault_of_the_member);
    tcase_add_test(failures, a_start_without_a_writable_journal_superblock_fails);

    TCase *cuts = array_kit_case(suite, "power cuts", setup, teardown);
    tcase_add_test(cuts, a_fault_torn_anywhere_leaves_an_array_without_that_member_or_as_before);
    tcase_add_test(cuts, a_start_torn_anywhere_leaves_an_array);
    tcase_add_test(cuts, a_torn_level_and_a_torn_start_after_a_torn_fault_leave_an_array);

    TCase *threads = array_kit_case(suite, "threads", setup, teardown);
    tcase_add_test(threads, a_writer_treats_a_member_as_lost_only_when_that_is_durable);
    return array_kit_run(suite);
}
