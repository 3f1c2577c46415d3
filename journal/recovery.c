/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery from end to end, for the journal that is being opened (docs/LOG_PROTOCOL.md,
 * "Recovery").
 *
 *   flush log -> scan -> look beyond -> judge -> start writing, flush members
 *                  |         |            |     -> closed layers, flush -> leftovers, flush -> tail
 *                  |         |            |     -> open rows
 *                  |         |            \__ older than the members: refused, or dropped if
 *                  accepted |         \_______________ damaged: refused, unless accepted
 *                  \__ read-only: the view keeps the scan, nothing is written
 *
 * Invariants:
 *   R1  what is read counts as durable, because everything was flushed before (sequence 23).
 *   R2  the log goes on contiguously: at the stop, with the seq after the newest unit; open rows
 *       are again what they were, logged and not yet written out.
 *   R3  a log that is refused leaves every file as it was, superblocks included.
 *   R4  what an accepted damaged log still has is on the members before the log goes on: they might
 *       hold more than it, and the next open would take it for an older copy.
 *
 * Happy path: after a clean stop the scan finds one empty unit, and nothing is written.
 * Failure modes: see journal_open; whatever step fails, the next open starts from the same log.
 * Thread: the opening one.
 */
#include "recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "journal_internal.h"
#include "logged_stripe.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "reclaim.h"
#include "recovery_layers.h"
#include "recovery_replay.h"
#include "recovery_scan.h"
#include "recovery_view.h"

#define MODULE   "journal"
#define NS_PER_S UINT64_C(1000000000)

/* ---- the journal as a sink ---------------------------------------------------------------- */

static uint32_t sink_room(void *context)
{
    struct journal *j = context;

    return (uint32_t)min_u64(pool_free_count(&j->cache.images), UINT32_MAX);
}

static int sink_add(void *context,
                    struct fs_block block,
                    const struct recovered_page *page,
                    const uint8_t *data)
{
    struct journal *j = context;

    env_mutex_lock(&j->lock);
    int error = logged_stripe_add_recovered(j, block, page->seq, page->meta, data);
    env_mutex_unlock(&j->lock);
    return error;
}

static int sink_write_out(void *context, struct io_queue *queue)
{
    return reclaim_write_out_recovered(context, queue);
}

/* ---- the judge ---------------------------------------------------------------------------- */

/* The newest image of the volume's first block in the log, or NULL. */
static const struct recovered_page *find_first_block(const struct recovery_scan *scan)
{
    struct placement at = geometry_locate(scan->geometry, fs_block(0));
    const struct recovered_row *row = recovery_scan_find(scan, at.row);

    if (row == NULL) {
        return NULL;
    }
    const struct recovered_page *page = recovered_page_find(row->open, at.slot);
    return page != NULL ? page : recovered_page_find(row->closed, at.slot);
}

static int read_page(struct recovery_scan *scan,
                     const struct recovered_page *found,
                     struct io_queue *queue,
                     uint8_t *buffer,
                     char *out_why)
{
    const struct log_page page = {
        .position = recovered_page_position(scan, found),
        .checksum = found->checksum,
        .buffer = buffer,
    };
    struct io_request request;
    int error = log_source_read_pages(&scan->source, queue, &page, 1, &request, 1);

    if (error != 0) {
        line_format(out_why,
                    JOURNAL_WHY_BYTES,
                    "a page of the log that was just verified cannot be read: %s",
                    strerror(-error));
    }
    return error;
}

static int
ask_judge(struct journal *j, struct recovery_scan *scan, struct io_queue *queue, char *out_why)
{
    const struct recovered_page *first = find_first_block(scan);
    const struct journal_mark end = {array_journal_device(j->array), scan->last_seq};
    uint8_t *in_log = arena_try_take(scan->arena, BLOCK_BYTES, BLOCK_BYTES);
    uint8_t *on_members = arena_try_take(scan->arena, BLOCK_BYTES, BLOCK_BYTES);

    if (in_log == NULL || on_members == NULL) {
        line_format(out_why, JOURNAL_WHY_BYTES, "does not fit into memory");
        return -ENOMEM;
    }
    int error = first != NULL ? read_page(scan, first, queue, in_log, out_why) : 0;
    if (error != 0) {
        return error;
    }
    if (array_read(j->array, queue, fs_block(0), 1, on_members) != 0) {
        return 0; /* counted by raid; nothing to compare with */
    }
    return j->options.judge_log(
        j->options.judge_context, on_members, first != NULL ? in_log : NULL, &end, out_why);
}

/* R3. A damaged log that was accepted may well end before what the members hold. */
static int
judge_log(struct journal *j, struct recovery_scan *scan, struct io_queue *queue, char *out_why)
{
    char why[JOURNAL_WHY_BYTES] = "";

    if (j->options.judge_log == NULL || scan->damaged || scan->head_damaged) {
        return 0;
    }
    int error = ask_judge(j, scan, queue, why);
    if (error == -ESTALE && j->options.accept_damaged_log) {
        msg_warn(MODULE,
                 "%s %s: accepted, none of it is replayed units=%" PRIu64,
                 scan->source.file->path,
                 why,
                 scan->units);
        recovery_layers_drop(scan);
        return 0;
    }
    if (error != 0) {
        line_format(out_why, JOURNAL_WHY_BYTES, "journal %s: %s", scan->source.file->path, why);
    }
    return error;
}

/* ---- recovery_run ------------------------------------------------------------------------- */

static void note_recovered(struct journal *j, const struct recovery_scan *scan, bool written)
{
    bool something = scan->closed_count + scan->open_count + scan->leftover_count > 0;

    j->recovered = (struct journal_recovered){
        .units = scan->units,
        .closed_rows = scan->closed_count,
        .open_rows = scan->open_count,
        .leftovers = written ? scan->leftover_count : 0,
        .at_s = something ? env_realtime_ns() / NS_PER_S : 0,
    };
    if (something) {
        msg_info(MODULE,
                 "log read units=%" PRIu64 " closed_rows=%" PRIu64 " open_rows=%" PRIu64
                 " leftovers=%" PRIu64 " end=\"%s\"",
                 scan->units,
                 scan->closed_count,
                 scan->open_count,
                 scan->leftover_count,
                 scan->stop_label);
    }
}

/* R1 */
static int flush_log(struct journal *j, struct io_queue *queue, char *out_why)
{
    int error = io_flush(queue, j->log.file);

    if (error != 0) {
        line_format(out_why,
                    JOURNAL_WHY_BYTES,
                    "journal %s: cannot be flushed: %s",
                    j->log.file->path,
                    strerror(-error));
    }
    return error;
}

/* R1, R3: the log is good, so that writing may begin. A missing member is recorded first (W11). */
static int start_members(struct journal *j, struct io_queue *queue, char *out_why)
{
    int error = array_is_writing(j->array) ? 0 : array_start_writing(j->array, queue);

    if (error != 0) {
        line_format(out_why,
                    JOURNAL_WHY_BYTES,
                    "array: the superblocks cannot be written: %s",
                    strerror(-error));
        return error;
    }
    error = array_flush_members(j->array, queue);
    if (error != 0) {
        line_format(out_why,
                    JOURNAL_WHY_BYTES,
                    "array: the members cannot be flushed: %s",
                    strerror(-error));
    }
    return error;
}

/* R2 */
static void continue_log(struct journal *j, const struct recovery_scan *scan)
{
    env_mutex_lock(&j->lock);
    j->log.tail = scan->tail;
    j->log.head = scan->stop;
    j->log.next_seq = scan->stop_seq;
    j->log.durable_seq = scan->last_seq;
    j->log.durable_position = scan->last;
    env_mutex_unlock(&j->lock);
}

static int
replay(struct journal *j, struct recovery_scan *scan, struct io_queue *queue, char *out_why)
{
    const struct recovery_sink sink = {
        .room = sink_room,
        .add = sink_add,
        .write_out = sink_write_out,
        .context = j,
    };
    struct recovery_replay job;

    recovery_replay_init(&job, scan, j->array, &j->cache, queue, out_why);
    int error = recovery_replay_closed(&job);
    if (error == 0) {
        error = recovery_replay_clean(&job);
    }
    if (error == 0) {
        error = recovery_replay_tail(&job);
    }
    if (error != 0) {
        return error;
    }
    continue_log(j, scan);
    note_recovered(j, scan, true);
    error = recovery_replay_open(&job, &sink);
    if (error == 0 && scan->damaged) { /* R4 */
        error = reclaim_write_out_recovered(j, queue);
        if (error != 0) {
            reclaim_say_why(j->array, error, out_why);
        }
    }
    return error;
}

int recovery_run(struct journal *j, struct io_queue *queue, char *out_why)
{
    struct recovery_scan scan;
    struct arena arena;
    int error = flush_log(j, queue, out_why);

    if (error != 0) {
        return error;
    }
    arena_init_growing(&arena);
    error =
        recovery_scan_run(&scan, j->array, queue, &arena, j->options.accept_damaged_log, out_why);
    if (error == 0) {
        error = judge_log(j, &scan, queue, out_why);
    }
    if (error == 0) {
        error = start_members(j, queue, out_why);
    }
    if (error == 0) {
        error = replay(j, &scan, queue, out_why);
    }
    arena_fini(&arena);
    return error;
}

/* ---- the view ----------------------------------------------------------------------------- */

int recovery_view_open(struct journal *j, struct io_queue *queue, char *out_why)
{
    struct recovery_view *view = arena_take_array(j->options.arena, struct recovery_view, 1);
    int error = recovery_view_init(view, j->array, queue, j->options.accept_damaged_log, out_why);

    if (error == 0) {
        error = judge_log(j, &view->scan, queue, out_why);
        if (error != 0) {
            recovery_view_fini(view);
        }
    }
    if (error == 0) {
        j->view = view;
        note_recovered(j, &view->scan, false);
    }
    return error;
}

int recovery_view_read(struct journal *j,
                       struct io_queue *queue,
                       struct fs_block first,
                       uint32_t count,
                       uint8_t *buffer)
{
    return recovery_view_read_blocks(j->view, queue, first, count, buffer);
}

void recovery_view_close(struct journal *j)
{
    if (j->view != NULL) {
        recovery_view_fini(j->view);
        j->view = NULL;
    }
}
