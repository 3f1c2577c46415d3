/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of the journal: open and close, reading, drain, status. The rest of the door stands
 * where its subject is: reservations and writing in log_space.c, commits in commit.c.
 *
 *   read:   image in memory?  --yes-->  copied, with j->lock
 *                  '--no-->  array_read, in runs      read-only: the log's view over the members
 *
 * Invariants:
 *   J1  a block is looked for in memory first, then on the members: an image is dropped only after
 *       its contents are on the member, so nothing stale is read. An image that appears in between
 *       is a write at the same time as the read; the caller excludes those, or takes either
 *       contents.
 *   J2  every block of the arena that is not a unit, an encode buffer or a table is an image.
 *
 * Happy path: open (recovery, thread) ... close (drain, thread stopped, everything given back).
 * Failure modes: open names what is wrong in out_why; close answers the first error, the log is
 * then left as it is, and the next open recovers from it.
 * Thread: any; open and close one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "commit.h"
#include "journal_mode.h"
#include "log.h"
#include "log_space.h"
#include "log_thread.h"
#include "logged_stripe.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "reclaim.h"
#include "recovery.h"

#define READ_STEP       64u  /* blocks looked up at a time with the lock held */
#define IMAGES_MIN      256u /* unless a test asks for less */
#define IMAGES_TEST_MIN 16u
#define ENCODE_SHARE    8u               /* 1/8 of the memory, within its bounds */
#define SEQ_MAX         (UINT64_MAX / 2) /* a log cannot get there; a forged one may say so */

/* ---- open ----------------------------------------------------------------------------------- */

struct memory_plan {
    uint32_t images;
    uint32_t encode_buffers;
};

static void why(char *out_why, const char *format, ...) R5_PRINTF(2, 3);
static void why(char *out_why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_format_list(out_why, JOURNAL_WHY_BYTES, format, args);
    va_end(args);
}

/* Everything but images: units, encode buffers, small tables. */
static uint64_t fixed_need(const struct journal *j, uint32_t encode_buffers)
{
    return io_units_need(j->options.io_units) +
           stripe_cache_need(j->geometry->slots, 1, encode_buffers) + sizeof(struct journal) +
           sizeof(struct stripe_head *) * JOURNAL_BATCH_ROWS_MAX + BLOCK_BYTES;
}

/* J2: what is left after the rest. The index makes need a step function: come down to it. */
static int plan_memory(const struct journal *j, struct memory_plan *plan, char *out_why)
{
    uint32_t slots = j->geometry->slots;
    uint64_t memory = j->options.memory_bytes;
    uint64_t encode = memory / ENCODE_SHARE / BLOCK_BYTES;

    encode = max_u64(min_u64(encode, (uint64_t)slots * JOURNAL_BATCH_ROWS_MAX), 2ull * slots);
    plan->encode_buffers = (uint32_t)encode;
    uint64_t images_min = IMAGES_MIN;
    uint64_t images_max = UINT32_MAX / 2;
    if (j->options.images_max != 0) {
        images_max = max_u64(j->options.images_max, IMAGES_TEST_MIN);
        images_min = min_u64(images_max, IMAGES_MIN);
    }
    uint64_t fixed = fixed_need(j, plan->encode_buffers);
    uint64_t images = memory > fixed ? min_u64((memory - fixed) / BLOCK_BYTES, images_max) : 0;
    while (images >= images_min && fixed + stripe_cache_need(slots, (uint32_t)images, 0) > memory) {
        images -= images / 64 + 1;
    }
    if (images < images_min) {
        uint64_t least = fixed + stripe_cache_need(slots, (uint32_t)images_min, 0);

        why(out_why,
            "the memory given does not suffice: the journal's share is %" PRIu64
            " KiB, it needs %" PRIu64 " KiB (hint: a larger memory=)",
            memory / 1024,
            least / 1024 + 1);
        return -ENOSPC;
    }
    plan->images = (uint32_t)images;
    return 0;
}

static int take_options(struct journal *j, const struct journal_options *options, char *out_why)
{
    j->options = *options;
    if (j->options.io_units == 0) {
        j->options.io_units = JOURNAL_IO_UNITS_DEFAULT;
    }
    if (j->options.commit_interval_ms == 0) {
        j->options.commit_interval_ms = JOURNAL_COMMIT_INTERVAL_MS;
    }
    if (j->options.io_units < JOURNAL_IO_UNITS_MIN ||
        j->options.io_units > LOG_UNITS_IN_FLIGHT_MAX) {
        why(out_why,
            "io_units=%" PRIu32 " is not between %u and %u",
            j->options.io_units,
            JOURNAL_IO_UNITS_MIN,
            LOG_UNITS_IN_FLIGHT_MAX);
        return -EINVAL;
    }
    return 0;
}

/* Where the ring lies; -ENXIO without a usable journal device. */
static int find_ring(struct journal *j, char *out_why)
{
    struct uuid uuid = array_uuid(j->array);

    if (array_journal_state(j->array) != JOURNAL_DEVICE_OK) {
        why(out_why, "the array's journal is missing or faulty: only read-only use is possible");
        return -ENXIO;
    }
    j->log.file = array_journal_file(j->array);
    j->log.ring = (struct log_ring){.blocks = array_journal_blocks(j->array),
                                    .offset_bytes = array_journal_offset_bytes(j->array)};
    j->log.seed = meta_block_seed(&uuid);
    return 0;
}

static int check_ring(const struct journal *j, char *out_why)
{
    uint64_t least = journal_least_blocks(j->geometry);

    if (j->log.ring.blocks >= least) {
        return 0;
    }
    why(out_why,
        "the journal is too small: its ring has %" PRIu64 " KiB, at least %" PRIu64
        " KiB are needed",
        j->log.ring.blocks * (BLOCK_BYTES / 1024),
        least * (BLOCK_BYTES / 1024));
    return -ENOSPC;
}

/* What every kind of open has. */
static void init_common(struct journal *j)
{
    env_mutex_init(&j->lock);
    list_init(&j->dirty);
    list_init(&j->live);
    log_init(j);
    commit_init(j);
    log_thread_init(j);
}

static void fini_common(struct journal *j)
{
    log_thread_fini(j);
    commit_fini(j);
    log_fini(j);
    env_mutex_fini(&j->lock);
}

static void init_writing(struct journal *j, const struct memory_plan *plan)
{
    struct arena *arena = j->options.arena;

    stripe_cache_init(&j->cache, j->array, arena, plan->images, plan->encode_buffers);
    io_units_init(&j->units, arena, j->options.io_units);
    log_space_init(j, plan->images);
    reclaim_init(j, plan->encode_buffers);
}

static void fini_writing(struct journal *j)
{
    logged_stripe_forget_all(j);
    reclaim_fini(j);
    log_space_fini(j);
    io_units_fini(&j->units);
    stripe_cache_fini(&j->cache);
}

static int refuse_full_log(const struct journal *j, char *out_why)
{
    why(out_why,
        "the journal has no room for the parity of its %" PRIu64 " unwritten rows: %" PRIu64
        " KiB are needed, it has %" PRIu64 " KiB",
        j->live_rows,
        reclaim_log_need(j) * (BLOCK_BYTES / 1024),
        j->log.ring.blocks * (BLOCK_BYTES / 1024));
    return -ENOSPC;
}

/* Recovery's result must be something that the log can go on from (JR); what it read was a
 * disk's. */
static int accept_recovered(struct journal *j, struct io_queue *queue, char *out_why)
{
    if (j->log.next_seq > SEQ_MAX) {
        why(out_why, "the log's sequence number %" PRIu64 " is out of bounds", j->log.next_seq);
        return -EBADMSG;
    }
    R5_CHECK(j->log.next_seq == j->log.durable_seq + 1);
    if (log_used(j) + log_space_reserved(&j->space) + LOG_SPACE_FIXED <= j->log.ring.blocks) {
        return 0;
    }
    if (reclaim_log_need(j) > j->log.ring.blocks) {
        return refuse_full_log(j, out_why);
    }
    int error = reclaim_write_out_recovered(j, queue);
    if (error == 0) {
        error = log_tail_move(j, queue);
    }
    if (error != 0) {
        reclaim_say_why(j->array, error, out_why);
    }
    return error;
}

static int open_writing(struct journal *j, struct io_queue *queue, char *out_why)
{
    struct memory_plan plan = {0};
    int error = find_ring(j, out_why);

    if (error == 0) {
        error = check_ring(j, out_why);
    }
    if (error == 0) {
        error = plan_memory(j, &plan, out_why);
    }
    if (error != 0) {
        return error;
    }
    j->mode = j->options.write_through ? JOURNAL_WRITE_THROUGH : JOURNAL_WRITE_BACK;
    init_writing(j, &plan);
    error = recovery_run(j, queue, out_why);
    if (error == 0) {
        error = accept_recovered(j, queue, out_why);
    }
    if (error == 0) {
        error = log_rows_begin(j, queue);
        if (error != 0) {
            reclaim_say_why(j->array, error, out_why);
        }
    }
    if (error == 0) {
        error = log_thread_start(j);
        if (error != 0) {
            why(out_why, "the log thread cannot be started: %s", strerror(-error));
        }
    }
    if (error != 0) {
        fini_writing(j);
    }
    return error;
}

static int open_read_only(struct journal *j, struct io_queue *queue, char *out_why)
{
    j->mode = JOURNAL_READ_ONLY;
    if (j->options.no_replay || array_journal_state(j->array) != JOURNAL_DEVICE_OK) {
        return 0;
    }
    int error = find_ring(j, out_why);
    return error != 0 ? error : recovery_view_open(j, queue, out_why);
}

int journal_open(struct journal **out_journal,
                 struct array *array,
                 const struct journal_options *options,
                 struct io_queue *queue,
                 char *out_why)
{
    struct journal *j = arena_take_array(options->arena, struct journal, 1);

    out_why[0] = '\0';
    j->array = array;
    j->geometry = array_geometry(array);
    int error = take_options(j, options, out_why);
    if (error != 0) {
        return error;
    }
    init_common(j);
    error =
        options->read_only ? open_read_only(j, queue, out_why) : open_writing(j, queue, out_why);
    if (error != 0) {
        fini_common(j);
        return error;
    }
    *out_journal = j;
    return 0;
}

void journal_set_client(struct journal *j, const struct journal_client *client)
{
    j->client = *client;
}

/* ---- close ---------------------------------------------------------------------------------- */

void journal_abandon(struct journal *j)
{
    log_thread_stop(j);
    if (j->options.read_only) {
        recovery_view_close(j);
    } else {
        fini_writing(j);
    }
    fini_common(j);
}

/* If the journal failed: until what is durable is on the members, or will not get there. */
static void wait_failed(struct journal *j)
{
    env_mutex_lock(&j->lock);
    while (j->failing != 0 && !j->thread.fail_done && !j->reclaim.stuck) {
        env_cond_wait(&j->reclaim.written, &j->lock);
    }
    env_mutex_unlock(&j->lock);
}

int journal_close(struct journal *j, struct io_queue *queue)
{
    int error = 0;

    if (!j->options.read_only) {
        error = journal_drain(j, queue);
        wait_failed(j);
    }
    if (error != 0) {
        msg_warn("journal", "closed without emptying the log error=%d", error);
    }
    journal_abandon(j);
    return error;
}

/* ---- drain ---------------------------------------------------------------------------------- */

/* [lock] All that was logged up to `seq` is on the members, and the log is as empty as it can
 * be. */
static bool is_drained(const struct journal *j, uint64_t seq)
{
    if (reclaim_is_behind(j, seq) || j->reclaim.pin_seq != 0) {
        return false;
    }
    if (j->live_rows > 0 || commit_is_needed(j)) {
        return j->log.tail.nr == log_tail_candidate(j).position.nr; /* others go on writing */
    }
    return log_used(j) == 1;
}

int journal_drain(struct journal *j, struct io_queue *queue)
{
    if (j->options.read_only) {
        return -EROFS;
    }
    int error = commit_running(j, queue);
    if (error != 0) {
        return error;
    }
    env_mutex_lock(&j->lock);
    uint64_t seq = j->log.durable_seq;
    j->thread.want_empty++;
    reclaim_try_unfillable(j);
    env_cond_signal(&j->thread.wake);
    while (!is_drained(j, seq) && !reclaim_is_halted(j)) {
        env_cond_wait(&j->reclaim.written, &j->lock);
    }
    j->thread.want_empty--;
    if (!is_drained(j, seq)) {
        error = j->reclaim.stuck && j->failing == 0 ? -ENOSPC : -EIO;
    }
    env_mutex_unlock(&j->lock);
    return error;
}

/* ---- mode, status --------------------------------------------------------------------------- */

int journal_set_mode(struct journal *j, struct io_queue *queue, enum journal_mode mode)
{
    int error = 0;

    (void)queue; /* rows that are logged already are written out by the log thread */
    env_mutex_lock(&j->lock);
    if (j->mode == JOURNAL_READ_ONLY || j->mode == JOURNAL_FAILED) {
        error = -EROFS;
    } else if (mode != JOURNAL_WRITE_BACK && mode != JOURNAL_WRITE_THROUGH) {
        error = -EINVAL;
    } else if (mode != j->mode) {
        journal_mode_move(j, mode);
    }
    env_mutex_unlock(&j->lock);
    return error;
}

void journal_get_status(struct journal *j, struct journal_status *out_status)
{
    struct journal_status status = {.ring_blocks = j->log.ring.blocks, .recovered = j->recovered};

    env_mutex_lock(&j->lock);
    status.mode = j->mode;
    if (j->mode != JOURNAL_READ_ONLY) {
        status.used_blocks = log_used(j);
        status.dirty_blocks = j->space.dirty + j->space.placed + j->space.txn_used;
        status.unwritten_rows = j->live_rows + j->reclaim.head_count;
        status.unfillable_rows = j->reclaim.failed_rows;
        status.seq = j->log.durable_seq;
        status.commits = j->commit.count;
        status.log_bytes = j->log.bytes_written;
        status.parked = j->space.collector.parked;
        log_space_count_parked(j, &status);
        io_units_count(&j->units, &status.units);
        status.oldest_unit_ns = reclaim_oldest_ns(j);
        status.waiting_for_space = j->reclaim.stuck;
        status.kernel_safe = j->rows.limited;
        status.bucket_rows = log_rows_fullest(j);
        status.bucket_max = LOG_ROWS_MAX;
    }
    if (status.dirty_blocks > 0 && j->oldest_dirty_ns != 0) {
        status.oldest_dirty_ns = env_now_ns() - j->oldest_dirty_ns;
    }
    env_mutex_unlock(&j->lock);
    *out_status = status;
}

void journal_get_mark(struct journal *j, struct journal_mark *out_mark)
{
    *out_mark = (struct journal_mark){0};
    if (j->options.read_only) {
        return;
    }
    out_mark->device = array_journal_device(j->array);
    env_mutex_lock(&j->lock);
    out_mark->seq = j->log.durable_seq;
    env_mutex_unlock(&j->lock);
}

/* ---- read ----------------------------------------------------------------------------------- */

/* Copies what is in memory; one bit of the result for each block that was. */
static uint64_t
read_images(struct journal *j, struct fs_block first, uint32_t count, uint8_t *buffer)
{
    uint64_t found = 0;

    env_mutex_lock(&j->lock);
    j->thread.last_use_ns = env_now_ns();
    for (uint32_t i = 0; i < count && j->space.images_used > 0; i++) {
        const struct stripe_image *image = logged_stripe_newest(j, fs_block_add(first, i));

        if (image != NULL) {
            memcpy(buffer + (size_t)i * BLOCK_BYTES, image->data, BLOCK_BYTES);
            found |= UINT64_C(1) << i;
        }
    }
    env_mutex_unlock(&j->lock);
    return found;
}

/* The blocks whose bit is clear. */
static int read_members(struct journal *j,
                        struct io_queue *queue,
                        struct fs_block first,
                        uint32_t count,
                        uint64_t found,
                        uint8_t *buffer)
{
    uint32_t i = 0;
    int error = 0;

    while (i < count && error == 0) {
        uint32_t run = 0;

        while (i + run < count && (found >> (i + run) & 1) == 0) {
            run++;
        }
        if (run > 0) {
            error = array_read(
                j->array, queue, fs_block_add(first, i), run, buffer + (size_t)i * BLOCK_BYTES);
        }
        i += run + 1;
    }
    return error;
}

static int read_step(struct journal *j,
                     struct io_queue *queue,
                     struct fs_block first,
                     uint32_t count,
                     uint8_t *buffer)
{
    uint64_t found = read_images(j, first, count, buffer); /* J1: before the members */

    return read_members(j, queue, first, count, found, buffer);
}

int journal_read(struct journal *j,
                 struct io_queue *queue,
                 struct fs_block first,
                 uint32_t count,
                 uint8_t *buffer)
{
    int error = 0;

    R5_CHECK(count <= j->geometry->volume_blocks);
    R5_CHECK(first.nr <= j->geometry->volume_blocks - count);
    if (j->view != NULL) {
        return recovery_view_read(j, queue, first, count, buffer);
    }
    if (j->options.read_only) {
        return array_read(j->array, queue, first, count, buffer);
    }
    for (uint32_t at = 0; at < count && error == 0; at += READ_STEP) {
        uint32_t step = (uint32_t)min_u64(READ_STEP, count - at);

        error =
            read_step(j, queue, fs_block_add(first, at), step, buffer + (size_t)at * BLOCK_BYTES);
    }
    return error;
}

/* ---- verify --------------------------------------------------------------------------------- */

void journal_verify(struct journal *j)
{
    env_mutex_lock(&j->lock);
    logged_stripe_verify(j);
    log_space_verify(j);
    env_mutex_unlock(&j->lock);
}
