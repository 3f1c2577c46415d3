/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of the superblocks of a running array, each durable before it counts.
 *
 *   round:   events + 1 -> write all that remain -> all flushed -> next round
 *   held:    the journal is one behind and cannot be written -> the same number again
 *   fault:   state FAULTY (readers avoid it) -> round -> round -> loss_recorded (writers skip it)
 *   tail:    the journal's superblock alone, events unchanged -> flushed
 *
 * Invariants:
 *   A1 (W11) a loss counts as recorded only after two rounds, each durable on all that remain and
 *      (but for A4) with a number that no device had before: what was lost is two behind, stale for
 *      every reader of superblocks.
 *   A2 devices in use differ in events by one at the most, at any instant.
 *   A3 a tail is believed only when the superblock that says so is durable.
 *   A4 a journal in use is never left more than one behind, or its log, live as it may be, would
 *      be taken for an old copy. So while its superblock cannot be written events stay where they
 *      are, and what changes is written with the same number. That goes one way only: fewer devices
 *      in use, clean to dirty; assembly takes the later one (array_files.c, AF3).
 * Happy path: one or two rounds, writes to all devices in parallel, then flushes in parallel.
 * Failure: a member whose superblock write or flush fails is lost too; the loop starts over with
 * two rounds, or ends with -EIO when parity covers no more. A write that finds no room on the
 * member's host is no loss: -ENOSPC, the round is as if torn, and the next update begins with its
 * number (A2); a loss that was to be recorded stays due (`loss_due`), and no writer may count on it
 * before. A journal whose superblock fails: A4; whoever logs hears of it from the next tail.
 * Thread: any, one at a time (super_lock), on the caller's queue.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_internal.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/wait_check.h"

#define FAULT_ROUNDS 2u
#define DEVICES_MAX  (MEMBERS_MAX + 1u)

/* The devices of one round: members first, the journal last. */
struct round {
    struct md_device *devices[DEVICES_MAX];
    uint32_t slots[DEVICES_MAX]; /* ARRAY_NO_SLOT: the journal */
    int results[DEVICES_MAX];
    bool flushed[DEVICES_MAX]; /* the result is that of the flush */
    unsigned count;
};

static bool journal_is_in_use(const struct array *array)
{
    return array->journal.state == JOURNAL_DEVICE_OK;
}

/* A4 */
static bool journal_is_behind(const struct array *array)
{
    return journal_is_in_use(array) && array->journal.events < array->events;
}

static bool is_full_disk(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void round_collect(struct array *array, struct round *round)
{
    round->count = 0;
    env_mutex_lock(&array->lock);
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        if (array->members[slot].state == MEMBER_IN_SYNC) {
            round->devices[round->count] = &array->members[slot].device;
            round->slots[round->count++] = slot;
        }
    }
    if (journal_is_in_use(array)) { /* also when it failed before: it may be level again */
        round->devices[round->count] = &array->journal.device;
        round->slots[round->count++] = ARRAY_NO_SLOT;
    }
    env_mutex_unlock(&array->lock);
}

static void fill_common(const struct array *array, struct md_device *device)
{
    struct md_superblock *super = &device->super;
    super->features = array->features;
    super->events = array->events; /* changed under the super lock alone */
    super->resync_offset = array->resync_offset;
    super->utime = md_time_pack(env_realtime_ns());
    super->max_dev = array->max_dev;
    memcpy(super->roles, array->roles, sizeof(super->roles));
}

/* Writes, then flushes; every device whose write failed is not flushed. */
static void round_run(struct array *array, struct round *round, struct io_queue *queue)
{
    /* A fan-out cannot be half allocated: the requests and pages are the devices' own. */
    wait_check_forbid_kinds(WAIT_FOR_MEMORY | WAIT_FOR_CELL, "round of superblocks");
    for (unsigned i = 0; i < round->count; i++) {
        fill_common(array, round->devices[i]);
        md_device_prepare_write(round->devices[i]);
        io_submit(queue, &round->devices[i]->request);
    }
    io_drain(queue);
    for (unsigned i = 0; i < round->count; i++) {
        struct io_request *request = &round->devices[i]->request;
        round->results[i] = request->result;
        round->flushed[i] = request->result == 0;
        if (request->result == 0) {
            io_prepare(request, &round->devices[i]->file, IO_FLUSH, 0, NULL, 0);
            io_submit(queue, request);
        }
    }
    io_drain(queue);
    for (unsigned i = 0; i < round->count; i++) {
        if (round->results[i] == 0) {
            round->results[i] = round->devices[i]->request.result;
        }
    }
    wait_check_allow_kinds("round of superblocks");
}

/* Marks the slot's device faulty in the roles to be written. */
static void role_lose(struct array *array, uint32_t role)
{
    for (uint32_t dev = 0; dev < array->max_dev; dev++) {
        if (array->roles[dev] == role) {
            array->roles[dev] = MD_ROLE_FAULTY;
        }
    }
}

static enum array_state lose_member(struct array *array, uint32_t slot, const char *cause)
{
    env_mutex_lock(&array->lock);
    member_move(&array->members[slot], slot, MEMBER_FAULTY, cause);
    enum array_state state = array_state_locked(array);
    env_mutex_unlock(&array->lock);
    role_lose(array, slot);
    array->loss_due = true;
    if (state == ARRAY_FAILED) {
        msg_err("array", "failed name=%s: more members lost than parity covers", array->name);
    }
    return state;
}

static void note_journal_super_failed(struct array *array, int error)
{
    array->journal.super_failed = true;
    msg_err("array",
            "journal superblock not written path=%s error=\"%s\"",
            array->journal.device.path,
            strerror(-error));
}

/* What the results of a round mean. `*out_full`: a member's host had no room, the round counts for
 * nothing; only of a write, for a flush that fails may have lost more than the superblock. True
 * when a member was lost: two more rounds are due. */
static bool round_judge(struct array *array, const struct round *round, int *out_full)
{
    bool member_lost = false;
    *out_full = 0;
    for (unsigned i = 0; i < round->count; i++) {
        uint32_t slot = round->slots[i];
        int error = round->results[i];
        if (slot == ARRAY_NO_SLOT && error == 0) {
            array->journal.events = array->events;
        } else if (slot == ARRAY_NO_SLOT) {
            note_journal_super_failed(array, error);
        } else if (error != 0 && !round->flushed[i] && is_full_disk(error)) {
            array_note_full(array, slot + 1);
            *out_full = error;
        } else if (error != 0) {
            char cause[MEMBER_CAUSE_BYTES];
            int written =
                snprintf(cause, sizeof(cause), "superblock write error: %s", strerror(-error));
            R5_CHECK(written > 0);
            array_count_error(array, slot, true);
            member_lost = true;
            if (lose_member(array, slot, cause) == ARRAY_FAILED) {
                return true;
            }
        }
    }
    return member_lost;
}

static void mark_losses_recorded(struct array *array)
{
    env_mutex_lock(&array->lock);
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        struct member *member = &array->members[slot];
        member->loss_recorded = member->state != MEMBER_IN_SYNC;
    }
    env_mutex_unlock(&array->lock);
    array->loss_due = false;
}

static void add_to_events(struct array *array, int difference)
{
    env_mutex_lock(&array->lock);
    array->events += (uint64_t)(int64_t)difference;
    env_mutex_unlock(&array->lock);
}

/* Runs `rounds` rounds, starting over with two when a member is lost on the way. The super lock is
 * held. */
static int update_supers(struct array *array, struct io_queue *queue, unsigned rounds)
{
    R5_CHECK(!array->read_only);
    while (rounds > 0) {
        struct round round;
        int full = 0;
        int step = journal_is_behind(array) ? 0 : 1; /* A4 */
        add_to_events(array, step);
        bool fresh = array->events > array->events_tried;
        array->events_tried = array->events;
        round_collect(array, &round);
        round_run(array, &round, queue);
        bool member_lost = round_judge(array, &round, &full);
        if (array_state(array) == ARRAY_FAILED) {
            return -EIO;
        }
        if (full != 0) {
            add_to_events(array, -step);
            return full;
        }
        if (member_lost) {
            rounds = FAULT_ROUNDS;
        } else if (fresh || !array->loss_due || journal_is_behind(array)) {
            rounds--; /* A1 */
        }
    }
    mark_losses_recorded(array);
    return 0;
}

/* Devices one round behind, from a round that was torn, get the present superblock (A2). */
static int level_events(struct array *array, struct io_queue *queue)
{
    struct round round;
    round_collect(array, &round);
    bool level = true;
    for (unsigned i = 0; i < round.count; i++) {
        level = level && round.devices[i]->super.events == array->events;
    }
    if (level) {
        return 0;
    }
    int full = 0;
    round_run(array, &round, queue);
    (void)round_judge(array, &round, &full); /* the losses are recorded by the rounds that follow */
    return array_state(array) == ARRAY_FAILED ? -EIO : full;
}

int array_start_writing(struct array *array, struct io_queue *queue)
{
    R5_CHECK(!array->read_only);
    env_mutex_lock(&array->super_lock);
    R5_CHECK(!array->writing);
    int error = level_events(array, queue);
    if (error == 0) {
        for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
            if (!array_slot_is_readable(array, slot)) {
                role_lose(array, slot);
            }
        }
        error = update_supers(array, queue, FAULT_ROUNDS);
    }
    if (error == 0 && array->journal.super_failed) {
        error = -EIO;
    }
    array->writing = error == 0;
    env_mutex_unlock(&array->super_lock);
    return error;
}

bool array_is_writing(struct array *array)
{
    env_mutex_lock(&array->super_lock);
    bool writing = array->writing;
    env_mutex_unlock(&array->super_lock);
    return writing;
}

int array_stop_writing(struct array *array, struct io_queue *queue)
{
    R5_CHECK(!array->read_only);
    env_mutex_lock(&array->super_lock);
    R5_CHECK(array->writing);
    int error = array_state(array) == ARRAY_FAILED
                    ? -EIO
                    : update_supers(array, queue, array->loss_due ? FAULT_ROUNDS : 1);
    if (error == 0 && journal_is_behind(array)) {
        error = -EIO;
    }
    array->writing = false;
    env_mutex_unlock(&array->super_lock);
    return error;
}

int array_set_log_tail(struct array *array, struct io_queue *queue, struct log_block tail)
{
    struct array_journal *journal = &array->journal;
    R5_CHECK(!array->read_only);
    R5_CHECK(tail.nr < journal->ring_blocks);
    env_mutex_lock(&array->super_lock);
    int error = -EIO;
    if (journal_is_in_use(array) && !journal->super_failed) {
        uint64_t before = journal->device.super.recovery_offset;
        journal->device.super.recovery_offset = tail.nr * BLOCK_SECTORS;
        md_device_prepare_write(&journal->device);
        error = io_run(queue, &journal->device.request);
        if (error == 0) {
            error = io_flush(queue, &journal->device.file);
        }
        if (error == 0) {
            env_mutex_lock(&array->lock);
            journal->tail = tail;
            env_mutex_unlock(&array->lock);
        } else {
            journal->device.super.recovery_offset = before; /* what counts is what is written */
            note_journal_super_failed(array, error);
        }
    }
    env_mutex_unlock(&array->super_lock);
    return error;
}

int array_journal_fault(struct array *array, struct io_queue *queue, const char *cause)
{
    struct array_journal *journal = &array->journal;
    env_mutex_lock(&array->super_lock);
    env_mutex_lock(&array->lock);
    bool fresh = journal->state == JOURNAL_DEVICE_OK;
    if (fresh) {
        journal->state = JOURNAL_DEVICE_FAULTY;
        journal->since_ns = env_realtime_ns();
        int written = snprintf(journal->cause, sizeof(journal->cause), "%s", cause);
        R5_CHECK(written >= 0); /* a long cause is cut */
    }
    bool failed = array_state_locked(array) == ARRAY_FAILED;
    env_mutex_unlock(&array->lock);
    int error = failed ? -EIO : 0;
    if (fresh) {
        msg_err("array", "journal failed path=%s cause=\"%s\"", journal->device.path, cause);
        role_lose(array, MD_ROLE_JOURNAL);
        array->loss_due = true;
    }
    if (!failed && array->writing && array->loss_due) {
        error = update_supers(array, queue, FAULT_ROUNDS);
    }
    env_mutex_unlock(&array->super_lock);
    return error;
}

int array_set_resync_offset(struct array *array, struct io_queue *queue, uint64_t resync_offset)
{
    env_mutex_lock(&array->super_lock);
    enum array_state state = array_state(array);
    int error = 0;
    if (state == ARRAY_FAILED) {
        error = -EIO;
    } else if (state == ARRAY_CLEAN || resync_offset == MD_CLEAN) {
        /* A degraded array is never marked dirty: nothing would assemble it again, and there is
         * no full parity that a resync could restore. */
        env_mutex_lock(&array->lock);
        array->resync_offset = resync_offset;
        env_mutex_unlock(&array->lock);
        error = update_supers(array, queue, array->loss_due ? FAULT_ROUNDS : 1);
    }
    env_mutex_unlock(&array->super_lock);
    return error;
}

/* The super lock is held. Before array_start_writing() nothing is written; it will record. */
static int record_losses(struct array *array, struct io_queue *queue)
{
    if (array_state(array) == ARRAY_FAILED) {
        return -EIO;
    }
    return array->writing && array->loss_due ? update_supers(array, queue, FAULT_ROUNDS) : 0;
}

int array_record_losses(struct array *array, struct io_queue *queue)
{
    env_mutex_lock(&array->super_lock);
    int error = record_losses(array, queue);
    env_mutex_unlock(&array->super_lock);
    return error;
}

int array_member_fault(struct array *array,
                       struct io_queue *queue,
                       uint32_t slot,
                       const char *cause)
{
    R5_CHECK(slot < array->geometry.slots);
    env_mutex_lock(&array->super_lock);
    if (array_state(array) != ARRAY_FAILED && array_slot_is_readable(array, slot)) {
        (void)lose_member(array, slot, cause); /* asked for again in a moment */
    }
    int error = record_losses(array, queue);
    env_mutex_unlock(&array->super_lock);
    return error;
}
