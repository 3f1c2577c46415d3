/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of the superblocks of a running array, each durable before it counts.
 *
 *   round:   events + 1 -> write all that remain -> all flushed -> next round
 *   fault:   state FAULTY (readers avoid it) -> round -> round -> loss_recorded (writers skip it)
 *   tail:    the journal's superblock alone, events unchanged -> flushed
 *
 * Invariants:
 *   A1 (W11) a loss counts as recorded only after two rounds, each durable on all that remain.
 *   A2 devices in use differ in events by one at the most, at any instant.
 *   A3 a tail is believed only when the superblock that says so is durable.
 * Happy path: one or two rounds, writes to all devices in parallel, then flushes in parallel.
 * Failure: a member whose superblock write or flush fails is lost too; the loop starts over with
 * two rounds, or ends with -EIO when parity covers no more. A journal whose superblock fails is
 * left one round behind, where it still assembles and replays: whoever logs hears of it from the
 * next tail.
 * Thread: any, one at a time (super_lock), on the caller's queue.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_internal.h"
#include "r5fs/base/msg.h"

#define FAULT_ROUNDS 2u
#define DEVICES_MAX  (MEMBERS_MAX + 1u)

/* The devices of one round: members first, the journal last. */
struct round {
    struct md_device *devices[DEVICES_MAX];
    uint32_t slots[DEVICES_MAX]; /* ARRAY_NO_SLOT: the journal */
    int results[DEVICES_MAX];
    unsigned count;
};

static bool journal_takes_supers(const struct array *array)
{
    return array->journal.state == JOURNAL_DEVICE_OK && !array->journal.super_failed;
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
    if (journal_takes_supers(array)) {
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
    for (unsigned i = 0; i < round->count; i++) {
        fill_common(array, round->devices[i]);
        md_device_prepare_write(round->devices[i]);
        io_submit(queue, &round->devices[i]->request);
    }
    io_drain(queue);
    for (unsigned i = 0; i < round->count; i++) {
        struct io_request *request = &round->devices[i]->request;
        round->results[i] = request->result;
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

/* A full host disk is no member's fault. 0 when no write of the round met one. */
static int round_find_full_disk(const struct round *round)
{
    for (unsigned i = 0; i < round->count; i++) {
        int error = round->results[i];
        if (round->slots[i] != ARRAY_NO_SLOT && (error == -ENOSPC || error == -EDQUOT)) {
            return error;
        }
    }
    return 0;
}

/* What the results of a round mean. True when a member was lost: two more rounds are due. */
static bool round_judge(struct array *array, const struct round *round)
{
    bool member_lost = false;
    for (unsigned i = 0; i < round->count; i++) {
        int error = round->results[i];
        if (error == 0) {
            continue;
        }
        if (round->slots[i] == ARRAY_NO_SLOT) {
            note_journal_super_failed(array, error);
            continue;
        }
        char cause[MEMBER_CAUSE_BYTES];
        int written =
            snprintf(cause, sizeof(cause), "superblock write error: %s", strerror(-error));
        R5_CHECK(written > 0);
        env_mutex_lock(&array->lock);
        atomic_fetch_add(&array->members[round->slots[i]].write_errors, 1);
        env_mutex_unlock(&array->lock);
        if (lose_member(array, round->slots[i], cause) == ARRAY_FAILED) {
            return true;
        }
        member_lost = true;
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
}

static void add_to_events(struct array *array, int difference)
{
    env_mutex_lock(&array->lock);
    array->events += (uint64_t)(int64_t)difference;
    env_mutex_unlock(&array->lock);
}

/* Runs `rounds` rounds of events + 1, starting over with two when a member is lost on the way. The
 * super lock is held. An update that records no loss is given up when a host disk is full; its last
 * round is then as if torn, and the next update begins with the same number (A2). */
static int
update_supers(struct array *array, struct io_queue *queue, unsigned rounds, bool records_loss)
{
    R5_CHECK(!array->read_only);
    while (rounds > 0) {
        struct round round;
        bool journal_was_written = journal_takes_supers(array);
        add_to_events(array, 1);
        round_collect(array, &round);
        round_run(array, &round, queue);
        int full = round_find_full_disk(&round);
        if (full != 0 && !records_loss) {
            add_to_events(array, -1);
            return full;
        }
        bool member_lost = round_judge(array, &round);
        if (array_state(array) == ARRAY_FAILED) {
            return -EIO;
        }
        rounds = member_lost ? FAULT_ROUNDS : rounds - 1;
        records_loss = records_loss || member_lost;
        if (!member_lost && journal_was_written && !journal_takes_supers(array)) {
            rounds = 0; /* one more and the log, live as it may be, would be stale */
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
    round_run(array, &round, queue);
    int full = round_find_full_disk(&round);
    if (full != 0) {
        return full;
    }
    (void)round_judge(array, &round); /* the losses are recorded by the rounds that follow */
    return array_state(array) == ARRAY_FAILED ? -EIO : 0;
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
        error = update_supers(array, queue, FAULT_ROUNDS, false);
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
    int error = array_state(array) == ARRAY_FAILED ? -EIO : update_supers(array, queue, 1, false);
    if (error == 0 && array->journal.super_failed) {
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
    if (journal_takes_supers(array)) {
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
        if (!failed && array->writing) {
            error = update_supers(array, queue, FAULT_ROUNDS, true);
        }
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
        error = update_supers(array, queue, 1, false);
    }
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
    enum array_state state = array_state(array);
    int error = 0;
    if (array_slot_is_readable(array, slot)) {
        state = lose_member(array, slot, cause);
        /* Before array_start_writing() nothing is written; it will record this loss as well. */
        if (state != ARRAY_FAILED && array->writing) {
            error = update_supers(array, queue, FAULT_ROUNDS, true);
        }
    }
    if (state == ARRAY_FAILED) {
        error = -EIO;
    }
    env_mutex_unlock(&array->super_lock);
    return error;
}
