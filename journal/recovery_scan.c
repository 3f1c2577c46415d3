/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the tail to the end of the log, unit by unit.
 *
 *   tail -> verify meta, form, pages -> recovery_unit_table -> TAKE: apply payloads, go on
 *                                                           -> STOP: look beyond
 *                                                           (recovery_beyond.c) -> HEAD_DAMAGED:
 *                                                           refuse, or begin anew
 *
 * Invariants:
 *   RS1  a unit's payloads count only after all its pages were verified (W4).
 *   RS2  the log taken is shorter than the ring: the stop is never the tail.
 *   RS3  a location from the log is used only after it was found to lie on the array.
 *
 * Happy path: the units are read through a window of 2 MiB, each page once; the first place that
 * holds no next unit ends the log; nothing beyond it was ever durable.
 * Failure modes: durable log damaged, -EBADMSG unless accepted; no memory for the index, -ENOMEM.
 * Thread: the opening one.
 */
#include "recovery_scan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "meta_block.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "r5fs/journal/journal.h"
#include "recovery_beyond.h"
#include "recovery_cases.h"
#include "recovery_layers.h"

#define MODULE     "journal"
#define PATH_SHOWN 88u
#define HINT                                                                                       \
    "(hint: --accept-damaged-log, -o accept_damaged_log, goes on without it; -o norecovery shows " \
    "the members as they are)"

struct log_block recovered_page_position(const struct recovery_scan *scan,
                                         const struct recovered_page *page)
{
    return log_ring_advance(&scan->source.ring, page->meta, (uint64_t)page->index + 1);
}

/* The end of a path, so that the line has room for the rest. */
static const char *path_end(const char *path)
{
    size_t length = strlen(path);

    return length > PATH_SHOWN ? path + length - PATH_SHOWN : path;
}

/* RS3 */
static bool location_is_block(uint64_t sectors, uint64_t blocks)
{
    return sectors % BLOCK_SECTORS == 0 && sectors / BLOCK_SECTORS < blocks;
}

static bool payload_is_on_array(const struct geometry *geometry, const struct meta_payload *payload)
{
    bool fits = true;

    switch (payload->type) {
    case LOG_PAYLOAD_DATA:
        return location_is_block(payload->location_sectors, geometry->volume_blocks);
    case LOG_PAYLOAD_PARITY: return location_is_block(payload->location_sectors, geometry->rows);
    case LOG_PAYLOAD_FLUSH:
        for (uint32_t i = 0; i < payload->flush_count && fits; i++) {
            fits = location_is_block(meta_flush_row_sectors(payload, i), geometry->rows);
        }
        return fits;
    }
    return false;
}

/* Whether the payloads are known and on the array, and the unit ends before the tail (RS2). */
static bool
unit_is_formed(const struct recovery_scan *scan, const uint8_t *meta, uint32_t *out_pages)
{
    struct meta_cursor cursor;
    struct meta_payload payload;

    if (meta_block_count_pages(meta, out_pages) != 0 ||
        *out_pages + 1 >= scan->source.ring.blocks - scan->used_blocks) {
        return false;
    }
    meta_cursor_init(&cursor, meta);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        if (!payload_is_on_array(scan->geometry, &payload)) {
            return false;
        }
    }
    return true;
}

static bool unit_pages_are_right(const struct recovery_scan *scan, const uint8_t *unit)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    const uint8_t *page = unit + BLOCK_BYTES;

    meta_cursor_init(&cursor, unit);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        if (payload.type == LOG_PAYLOAD_FLUSH) {
            continue;
        }
        if (meta_block_page_checksum(scan->source.seed, page) != payload.checksum) {
            return false;
        }
        page += BLOCK_BYTES;
    }
    return true;
}

/* What stands at scan->stop. *out_unit: its blocks, when the facts say that it is whole. */
static uint32_t
unit_facts(struct recovery_scan *scan, const uint8_t **out_unit, uint32_t *out_pages)
{
    uint32_t facts = scan->units == 0 ? UNIT_FIRST : 0;
    const uint8_t *meta = log_window_get(scan->window, scan->used_blocks, 1);

    if (meta_block_verify(meta, scan->source.seed, scan->stop) != META_VALID) {
        return facts;
    }
    facts |= UNIT_META;
    if (scan->units != 0 && meta_block_seq(meta) != scan->stop_seq) {
        return facts;
    }
    facts |= UNIT_SEQ;
    scan->stop_seq = meta_block_seq(meta); /* of the first unit: whatever it says */
    if (!unit_is_formed(scan, meta, out_pages)) {
        return facts;
    }
    facts |= UNIT_FORMED;
    *out_unit = log_window_get(scan->window, scan->used_blocks, *out_pages + 1);
    return unit_pages_are_right(scan, *out_unit) ? facts | UNIT_PAGES : facts;
}

static int
apply_page(struct recovery_scan *scan, const struct meta_payload *payload, uint32_t index)
{
    struct recovered_page page = {
        .seq = scan->stop_seq,
        .meta = scan->stop,
        .checksum = payload->checksum,
        .index = (uint8_t)index,
    };
    uint64_t block = payload->location_sectors / BLOCK_SECTORS;

    if (payload->type == LOG_PAYLOAD_DATA) {
        struct placement at = geometry_locate(scan->geometry, fs_block(block));
        page.slot = (uint8_t)at.slot;
        return recovery_layers_add_data(scan, at.row, &page);
    }
    page.slot = (uint8_t)geometry_parity_slot(scan->geometry, member_block(block));
    return recovery_layers_add_parity(scan, member_block(block), &page);
}

/* RS1: the unit is whole. */
static int apply_unit(struct recovery_scan *scan, const uint8_t *meta)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t index = 0;
    int error = 0;

    meta_cursor_init(&cursor, meta);
    while (error == 0 && meta_cursor_next(&cursor, &payload) == 1) {
        if (payload.type != LOG_PAYLOAD_FLUSH) {
            error = apply_page(scan, &payload, index++);
            continue;
        }
        for (uint32_t i = 0; i < payload.flush_count; i++) {
            uint64_t sectors = meta_flush_row_sectors(&payload, i);
            recovery_layers_forget(scan, member_block(sectors / BLOCK_SECTORS));
        }
    }
    scan->foreign = scan->foreign || recovery_unit_is_foreign(meta);
    return error;
}

/* Goes as far as the log does. The decision that ended it is `*out_decision`. */
static int scan_units(struct recovery_scan *scan, unsigned *out_decision)
{
    for (;;) {
        const uint8_t *unit = NULL;
        uint32_t pages = 0;
        const struct recovery_case *fits =
            recovery_table_find(&recovery_unit_table, unit_facts(scan, &unit, &pages));

        scan->stop_label = fits->label;
        *out_decision = fits->decision;
        if (fits->decision != UNIT_TAKE) {
            return 0;
        }
        int error = apply_unit(scan, unit);
        if (error != 0) {
            return error;
        }
        scan->last = scan->stop;
        scan->last_seq = scan->stop_seq;
        scan->units++;
        scan->used_blocks += (uint64_t)pages + 1;
        scan->stop = log_window_position(scan->window, scan->used_blocks);
        scan->stop_seq++;
    }
}

static int refuse_head(struct recovery_scan *scan, bool accept, char *out_why)
{
    const char *path = scan->source.file->path;

    line_format(out_why,
                JOURNAL_WHY_BYTES,
                "journal %s: journal head damaged: %s (ring block %" PRIu64
                "%s); writes that were acknowledged and not yet on the members would be lost " HINT,
                path_end(path),
                scan->stop_label,
                scan->tail.nr,
                scan->window != NULL && scan->window->unreadable > 0 ? ", unreadable" : "");
    msg_warn(MODULE,
             "journal head damaged path=%s block=%" PRIu64 " cause=\"%s\" accepted=%d",
             path,
             scan->tail.nr,
             scan->stop_label,
             accept);
    if (!accept) {
        return -EBADMSG;
    }
    scan->head_damaged = true;
    scan->damaged = true;
    scan->units = 0;
    scan->used_blocks = 0;
    return 0;
}

static int refuse_damaged(const struct recovery_scan *scan, bool accept, char *out_why)
{
    const struct recovered_loss *loss = &scan->loss;
    const char *path = scan->source.file->path;

    line_format(out_why,
                JOURNAL_WHY_BYTES,
                "journal %s: log damaged at seq %" PRIu64 " (ring block %" PRIu64
                ", %s%s): %" PRIu64 " later units (seq %" PRIu64 " to %" PRIu64 "), %" PRIu64
                " blocks in %" PRIu64 " rows, were acknowledged and would be lost " HINT,
                path_end(path),
                scan->stop_seq,
                scan->stop.nr,
                scan->stop_label,
                scan->window->unreadable > 0 ? ", unreadable" : "",
                loss->units,
                loss->seq_first,
                loss->seq_last,
                loss->blocks,
                loss->rows);
    msg_warn(MODULE,
             "log damaged path=%s seq=%" PRIu64 " block=%" PRIu64 " units_lost=%" PRIu64
             " accepted=%d",
             path,
             scan->stop_seq,
             scan->stop.nr,
             loss->units,
             accept);
    return accept ? 0 : -EBADMSG;
}

static void scan_init(struct recovery_scan *scan,
                      struct array *array,
                      struct io_queue *queue,
                      struct arena *arena)
{
    *scan = (struct recovery_scan){
        .geometry = array_geometry(array),
        .queue = queue,
        .arena = arena,
        .tail = array_log_tail(array),
        .stop_label = "the tail lies outside the ring",
    };
    log_source_init(&scan->source, array);
    scan->stop = scan->tail;
    scan->last = scan->tail;
}

static int scan_log(struct recovery_scan *scan, bool accept, char *out_why)
{
    unsigned decision = UNIT_STOP;
    int error = recovery_layers_init(scan);

    if (error != 0) {
        return error;
    }
    if (!log_ring_contains(&scan->source.ring, scan->tail)) {
        return refuse_head(scan, accept, out_why);
    }
    scan->window = log_window_make(scan->arena, &scan->source, scan->queue, scan->tail);
    error = scan_units(scan, &decision);
    if (error != 0) {
        return error;
    }
    if (decision == UNIT_HEAD_DAMAGED) {
        return refuse_head(scan, accept, out_why);
    }
    error = recovery_beyond_look(scan);
    if (error != 0) {
        return error;
    }
    return scan->damaged ? refuse_damaged(scan, accept, out_why) : 0;
}

int recovery_scan_run(struct recovery_scan *scan,
                      struct array *array,
                      struct io_queue *queue,
                      struct arena *arena,
                      bool accept_damaged,
                      char *out_why)
{
    scan_init(scan, array, queue, arena);
    int error = scan_log(scan, accept_damaged, out_why);
    if (error == 0) {
        error = recovery_layers_collect(scan);
    }
    if (error == -ENOMEM) {
        line_format(out_why,
                    JOURNAL_WHY_BYTES,
                    "journal %s: no memory to read a log of %" PRIu64 " units so far",
                    scan->source.file->path,
                    scan->units);
    }
    return error;
}
