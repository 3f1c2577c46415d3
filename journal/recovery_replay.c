/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a scanned log to members and a log that can go on.
 *
 *   closed rows:  log pages -> images and logged parity -> stripes_write_out -> flush
 *   leftovers:    zeros over meta blocks beyond the stop -> flush
 *   tail:         to the oldest open page, or the newest unit
 *   open rows:    log pages -> the sink, oldest first; a full sink writes out in between
 *
 * Invariants:
 *   RR1  closed data and the parity that covers it go to the members together (W2), as logged.
 *   RR2  nothing from the tail to the stop is overwritten, and the tail passes only what was
 *   flushed to
 *        the members, so that every step can be cut off and done again (W4).
 *   RR3  the sink writes nothing to the log before the leftovers are durably gone (sequence 7).
 *   RR4  rows are handed over whole: a row written out has all its open pages in memory.
 *   RR5  when damage was accepted, parity is made anew for each row that the log still names: the
 *        members may hold more of it than the log does. Before the damage is overwritten, so that a
 *        crash in between is asked about again.
 *
 * Happy path: rows in ascending order, a few dozen at a time, pages read in parallel.
 * Failure modes: a member that fails its write is faulted by raid and replay goes on; when the
 * array has failed, or a page changed since the scan, or a member's host is full, replay ends: the
 * log is as it was, and the next open starts over.
 * Thread: the opening one.
 */
#include "recovery_replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "log_begin.h"
#include "logged_stripe.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/parity.h"
#include "reclaim.h"

#define MODULE      "journal"
#define BATCH_ROWS  64u
#define BATCH_PAGES 256u
#define IN_FLIGHT   64u

_Static_assert(BATCH_PAGES >= MEMBERS_MAX, "one row always fits into a batch");

void recovery_replay_init(struct recovery_replay *replay,
                          struct recovery_scan *scan,
                          struct array *array,
                          struct stripe_cache *cache,
                          struct io_queue *queue,
                          char *out_why)
{
    *replay = (struct recovery_replay){
        .scan = scan,
        .array = array,
        .cache = cache,
        .queue = queue,
        .pages = arena_take_array(scan->arena, struct log_page, BATCH_PAGES),
        .requests = arena_take_array(scan->arena, struct io_request, IN_FLIGHT),
        .heads = arena_take_array(scan->arena, struct stripe_head *, BATCH_ROWS),
        .buffers = arena_take(scan->arena, (size_t)BATCH_PAGES * BLOCK_BYTES, BLOCK_BYTES),
    };
    replay->out_why = out_why;
}

static uint32_t layer_count(const struct recovered_page *layer)
{
    uint32_t count = 0;

    for (; layer != NULL; layer = layer->next) {
        count++;
    }
    return count;
}

static struct log_page log_page_of(const struct recovery_replay *replay,
                                   const struct recovered_page *page,
                                   uint8_t *buffer)
{
    return (struct log_page){
        .position = recovered_page_position(replay->scan, page),
        .checksum = page->checksum,
        .buffer = buffer,
    };
}

static int read_pages(struct recovery_replay *replay, uint32_t count)
{
    int error = log_source_read_pages(
        &replay->scan->source, replay->queue, replay->pages, count, replay->requests, IN_FLIGHT);

    if (error != 0) {
        line_format(replay->out_why,
                    JOURNAL_WHY_BYTES,
                    "journal %s: a page of the log that was just verified cannot be read: %s",
                    replay->scan->source.file->path,
                    strerror(-error));
    }
    return error;
}

static void say_no_memory(struct recovery_replay *replay, uint32_t blocks)
{
    line_format(replay->out_why,
                JOURNAL_WHY_BYTES,
                "journal %s: one row of its log needs %" PRIu32
                " blocks of memory, more than there are (hint: a larger -o memory=)",
                replay->scan->source.file->path,
                blocks);
}

/* ---- closed layers --------------------------------------------------------------------------- */

/* How many of the rows from `first` on fit into one batch. */
static uint32_t closed_batch(const struct recovery_replay *replay, uint64_t first)
{
    const struct recovery_scan *scan = replay->scan;
    uint64_t images = pool_free_count(&replay->cache->images);
    uint64_t parities = pool_free_count(&replay->cache->encode);
    uint32_t limit = (uint32_t)min_u64(min_u64(BATCH_ROWS, parities), scan->closed_count - first);
    uint32_t pages = 0;
    uint32_t rows = 0;

    while (rows < limit) {
        uint32_t more = layer_count(scan->closed[first + rows]->closed);
        if (pages + more > BATCH_PAGES || pages + more > images) {
            break;
        }
        pages += more;
        rows++;
    }
    return rows;
}

/* A head with a target for each closed data page, its parity in an encode buffer (RR1). Adds the
 * pages to be read, from `*pages` on. */
static struct stripe_head *
prepare_row(struct recovery_replay *replay, const struct recovered_row *row, uint32_t *pages)
{
    struct stripe_cache *cache = replay->cache;
    struct member_block at = member_block(row->node.key);
    uint32_t parity_slot = geometry_parity_slot(replay->scan->geometry, at);
    struct stripe_head *head = stripe_get(cache, at);

    head->frozen = true;
    for (const struct recovered_page *page = row->closed; page != NULL; page = page->next) {
        if (page->slot == parity_slot) {
            uint8_t *parity = stripe_take_encode_buffer(cache);
            replay->pages[(*pages)++] = log_page_of(replay, page, parity);
            stripe_set_logged_parity(head, parity);
            continue;
        }
        struct stripe_image *image = pool_try_get(&cache->images);
        R5_CHECK(image != NULL); /* closed_batch counted them */
        image->seq = page->seq;
        image->state = LOGGED_FROZEN;
        stripe_push_image(head, page->slot, image);
        head->slots[page->slot].target = image;
        replay->pages[(*pages)++] = log_page_of(replay, page, image->data);
    }
    head->parity_placed = true;
    return head;
}

static void drop_row(struct recovery_replay *replay, struct stripe_head *head)
{
    for (uint32_t slot = 0; slot < replay->scan->geometry->slots; slot++) {
        if (head->slots[slot].newest != NULL) {
            stripe_drop_image(replay->cache, head->slots[slot].newest);
        }
    }
    head->frozen = false;
    head->parity_placed = false;
    stripe_release_if_empty(replay->cache, head);
}

static int write_batch(struct recovery_replay *replay, uint64_t first, uint32_t rows)
{
    uint32_t pages = 0;

    for (uint32_t i = 0; i < rows; i++) {
        replay->heads[i] = prepare_row(replay, replay->scan->closed[first + i], &pages);
    }
    int error = read_pages(replay, pages);
    if (error == 0) {
        error = stripes_write_out(replay->cache, replay->queue, replay->heads, rows);
        if (error != 0) {
            reclaim_say_why(replay->array, error, replay->out_why);
        }
    }
    /* What was written out has nothing left to abandon. */
    stripes_abandon(replay->cache, replay->heads, rows);
    for (uint32_t i = 0; i < rows; i++) {
        drop_row(replay, replay->heads[i]);
    }
    return error;
}

/* ---- rows of a damaged log ------------------------------------------------------------------- */

/* XOR of a row's data as the members hold it. False when not all of it can be read. */
static bool
read_parity(struct recovery_replay *replay, struct member_block row, uint8_t *out_parity)
{
    uint32_t parity_slot = geometry_parity_slot(replay->scan->geometry, row);

    memset(out_parity, 0, BLOCK_BYTES);
    for (uint32_t slot = 0; slot < replay->scan->geometry->slots; slot++) {
        if (slot == parity_slot) {
            continue;
        }
        if (array_read_raw(replay->array, replay->queue, slot, row, 1, replay->buffers) != 0) {
            msg_warn(
                MODULE, "parity cannot be made anew row=%" PRIu64 " slot=%" PRIu32, row.nr, slot);
            return false;
        }
        parity_add(out_parity, replay->buffers);
    }
    return true;
}

static int encode_row_anew(struct recovery_replay *replay, struct member_block row)
{
    struct stripe_head *head = stripe_get(replay->cache, row);
    uint8_t *parity = stripe_take_encode_buffer(replay->cache);
    int error = 0;

    head->frozen = true;
    head->parity_placed = true;
    stripe_set_logged_parity(head, parity);
    if (read_parity(replay, row, parity)) {
        error = stripes_write_out(replay->cache, replay->queue, &head, 1);
        if (error != 0) {
            reclaim_say_why(replay->array, error, replay->out_why);
        }
    }
    stripes_abandon(replay->cache, &head, 1);
    drop_row(replay, head);
    return error;
}

/* RR5. Without a member nothing can be made anew: what is derived there is what the parity says. */
static int encode_rows_anew(struct recovery_replay *replay)
{
    const struct recovery_scan *scan = replay->scan;
    int error = 0;

    if (array_missing_slot(replay->array) != ARRAY_NO_SLOT) {
        msg_warn(MODULE,
                 "parity of the rows in the damaged log is left as it is: a member is missing");
        return 0;
    }
    for (size_t i = 0; i < index_bucket_count(&scan->rows) && error == 0; i++) {
        for (struct index_node *node = index_bucket(&scan->rows, i); node != NULL && error == 0;
             node = node->next) {
            error = encode_row_anew(replay, member_block(node->key));
        }
    }
    return error;
}

static int write_closed(struct recovery_replay *replay)
{
    uint64_t done = 0;

    while (done < replay->scan->closed_count) {
        uint32_t rows = closed_batch(replay, done);
        if (rows == 0) {
            say_no_memory(replay, layer_count(replay->scan->closed[done]->closed));
            return -ENOSPC;
        }
        int error = write_batch(replay, done, rows);
        if (error != 0) {
            return error;
        }
        done += rows;
    }
    return 0;
}

int recovery_replay_closed(struct recovery_replay *replay)
{
    int error = write_closed(replay);

    if (error == 0 && replay->scan->damaged) {
        error = encode_rows_anew(replay);
    }
    if (error != 0 || (replay->scan->closed_count == 0 && !replay->scan->damaged)) {
        return error;
    }
    error = array_flush_members(replay->array, replay->queue);
    if (error != 0) {
        line_format(replay->out_why,
                    JOURNAL_WHY_BYTES,
                    "array: the members cannot be flushed: %s",
                    strerror(-error));
    }
    return error;
}

/* ---- leftovers ------------------------------------------------------------------------------- */

/* Zeros over the leftovers that show a foreign writer, or over those that do not. */
static int zero_leftovers(struct recovery_replay *replay, bool foreign)
{
    const struct recovery_scan *scan = replay->scan;
    struct recovered_leftover *leftover = recovery_leftover_next(scan, NULL);
    int error = 0;

    memset(replay->buffers, 0, BLOCK_BYTES);
    while (leftover != NULL && error == 0) {
        uint32_t used = 0;
        for (; leftover != NULL && used < IN_FLIGHT;
             leftover = recovery_leftover_next(scan, leftover)) {
            if (recovery_leftover_is_foreign(leftover) != foreign) {
                continue;
            }
            uint64_t offset =
                log_ring_offset_bytes(&scan->source.ring, recovery_leftover_position(leftover));
            io_prepare(&replay->requests[used],
                       scan->source.file,
                       IO_WRITE,
                       offset,
                       replay->buffers,
                       BLOCK_BYTES);
            io_submit(replay->queue, &replay->requests[used++]);
        }
        io_drain(replay->queue);
        for (uint32_t i = 0; i < used; i++) {
            error = error != 0 ? error : replay->requests[i].result;
        }
    }
    return error != 0 ? error : io_flush(replay->queue, scan->source.file);
}

/* All that is not live log. */
static int zero_free(struct recovery_replay *replay)
{
    const struct recovery_scan *scan = replay->scan;
    int error = log_begin_zero(&scan->source,
                               replay->queue,
                               scan->arena,
                               scan->stop,
                               scan->source.ring.blocks - scan->used_blocks); /* RR2 */

    return error != 0 ? error : io_flush(replay->queue, scan->source.file);
}

static int begin_anew(struct recovery_replay *replay)
{
    struct recovery_scan *scan = replay->scan;
    uint64_t seq = 0;
    int error = log_begin_empty(&scan->source, replay->array, replay->queue, scan->arena, &seq);

    if (error == 0) {
        scan->tail = log_block(0);
        scan->last = scan->tail;
        scan->last_seq = seq;
        scan->stop = log_ring_advance(&scan->source.ring, scan->tail, 1);
        scan->stop_seq = seq + 1;
        scan->used_blocks = 1;
    }
    return error;
}

int recovery_replay_clean(struct recovery_replay *replay)
{
    const struct recovery_scan *scan = replay->scan;
    int error = 0;

    if (scan->head_damaged) {
        error = begin_anew(replay);
    } else if (scan->damaged) {
        error = zero_free(replay);
    } else if (scan->leftover_count > 0) {
        /* Should this be cut off, the sign of a foreign writer must outlive what it excuses. */
        error = zero_leftovers(replay, false);
        error = error != 0 ? error : zero_leftovers(replay, true);
    }
    if (error != 0) {
        line_format(replay->out_why,
                    JOURNAL_WHY_BYTES,
                    "journal %s: the log cannot be written: %s",
                    scan->source.file->path,
                    strerror(-error));
    }
    return error;
}

/* ---- tail ------------------------------------------------------------------------------------ */

static struct log_block tail_wanted(const struct recovery_scan *scan)
{
    struct log_block tail = scan->last;
    uint64_t age = 0; /* of the oldest open page, in units before the newest */

    if (scan->open_count == 0) {
        return tail;
    }
    for (const struct recovered_page *page = scan->open[0]->open; page != NULL; page = page->next) {
        if (scan->last_seq - page->seq >= age) {
            age = scan->last_seq - page->seq;
            tail = page->meta;
        }
    }
    return tail;
}

int recovery_replay_tail(struct recovery_replay *replay)
{
    struct recovery_scan *scan = replay->scan;
    struct log_block tail = tail_wanted(scan);

    if (tail.nr == scan->tail.nr) {
        return 0;
    }
    int error = array_set_log_tail(replay->array, replay->queue, tail);
    if (error != 0) {
        line_format(replay->out_why,
                    JOURNAL_WHY_BYTES,
                    "journal %s: its superblock cannot be written: %s",
                    scan->source.file->path,
                    strerror(-error));
        return error;
    }
    scan->used_blocks -= log_ring_distance(&scan->source.ring, scan->tail, tail);
    scan->tail = tail;
    return 0;
}

/* ---- open rows ------------------------------------------------------------------------------- */

static uint32_t open_batch(const struct recovery_replay *replay, uint64_t first, uint32_t room)
{
    uint32_t limit = room < BATCH_PAGES ? room : BATCH_PAGES;
    uint32_t pages = 0;
    uint32_t rows = 0;

    while (first + rows < replay->scan->open_count) {
        uint32_t more = layer_count(replay->scan->open[first + rows]->open);
        if (pages + more > limit) {
            break;
        }
        pages += more;
        rows++;
    }
    return rows;
}

static int hand_over_batch(struct recovery_replay *replay,
                           const struct recovery_sink *sink,
                           uint64_t first,
                           uint32_t rows)
{
    const struct recovery_scan *scan = replay->scan;
    uint32_t pages = 0;
    uint32_t given = 0;

    for (uint32_t i = 0; i < rows; i++) {
        for (const struct recovered_page *page = scan->open[first + i]->open; page != NULL;
             page = page->next) {
            uint8_t *buffer = replay->buffers + (size_t)pages * BLOCK_BYTES;
            replay->pages[pages++] = log_page_of(replay, page, buffer);
        }
    }
    int error = read_pages(replay, pages);
    for (uint32_t i = 0; i < rows && error == 0; i++) {
        struct member_block row = member_block(scan->open[first + i]->node.key);
        for (const struct recovered_page *page = scan->open[first + i]->open;
             page != NULL && error == 0;
             page = page->next) {
            struct fs_block block = geometry_block_at(scan->geometry, row, page->slot);
            error = sink->add(sink->context, block, page, replay->pages[given++].buffer);
        }
    }
    return error;
}

int recovery_replay_open(struct recovery_replay *replay, const struct recovery_sink *sink)
{
    const struct recovery_scan *scan = replay->scan;
    uint64_t done = 0;

    while (done < scan->open_count) {
        uint32_t rows = open_batch(replay, done, sink->room(sink->context));
        if (rows == 0) { /* RR4 */
            msg_info(MODULE,
                     "more open rows than memory holds handed_over=%" PRIu64 " of=%" PRIu64,
                     done,
                     scan->open_count);
            int error = sink->write_out(sink->context, replay->queue);
            if (error != 0) {
                return error;
            }
            rows = open_batch(replay, done, sink->room(sink->context));
        }
        if (rows == 0) {
            say_no_memory(replay, layer_count(scan->open[done]->open));
            return -ENOSPC;
        }
        int error = hand_over_batch(replay, sink, done, rows);
        if (error != 0) {
            return error;
        }
        done += rows;
    }
    return 0;
}
