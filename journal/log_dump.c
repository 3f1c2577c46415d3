/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log in words. Walks as recovery does, with the same decisions, but shows what it finds
 * instead of collecting it, the unit that ends the log included.
 *
 * Happy path: one pass over the live log, then over the bound beyond it.
 * Failure modes: none of the log's own; what is damaged is shown.
 * Thread: the command's.
 */
#include "r5fs/journal/log_dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log_source.h"
#include "meta_block.h"
#include "r5fs/raid/geometry.h"

#define DUMP_LINE_BYTES 192

struct dump {
    struct log_source source;
    const struct geometry *geometry;
    struct log_window *window;
    void (*emit)(void *context, const char *line);
    void *context;
    uint64_t offset; /* of the next unit, from the tail */
    uint64_t units;
    uint64_t seq; /* expected */
};

static void dump_data(const struct dump *dump,
                      const struct meta_payload *payload,
                      uint64_t page,
                      const char *verdict)
{
    char line[DUMP_LINE_BYTES];
    struct fs_block block = fs_block(payload->location_sectors / BLOCK_SECTORS);

    if (payload->location_sectors % BLOCK_SECTORS != 0 ||
        block.nr >= dump->geometry->volume_blocks) {
        (void)snprintf(line,
                       sizeof(line),
                       "  data sector=%" PRIu64 " outside the volume page=%" PRIu64,
                       payload->location_sectors,
                       page);
    } else {
        struct placement at = geometry_locate(dump->geometry, block);
        (void)snprintf(line,
                       sizeof(line),
                       "  data block=%" PRIu64 " row=%" PRIu64 " slot=%" PRIu32 " page=%" PRIu64
                       " checksum=%08" PRIx32 " %s",
                       block.nr,
                       at.row.nr,
                       at.slot,
                       page,
                       payload->checksum,
                       verdict);
    }
    dump->emit(dump->context, line);
}

static void dump_parity(const struct dump *dump,
                        const struct meta_payload *payload,
                        uint64_t page,
                        const char *verdict)
{
    char line[DUMP_LINE_BYTES];
    struct member_block row = member_block(payload->location_sectors / BLOCK_SECTORS);

    if (payload->location_sectors % BLOCK_SECTORS != 0 || row.nr >= dump->geometry->rows) {
        (void)snprintf(line,
                       sizeof(line),
                       "  parity sector=%" PRIu64 " outside the members page=%" PRIu64,
                       payload->location_sectors,
                       page);
    } else {
        (void)snprintf(line,
                       sizeof(line),
                       "  parity row=%" PRIu64 " slot=%" PRIu32 " page=%" PRIu64
                       " checksum=%08" PRIx32 " %s",
                       row.nr,
                       geometry_parity_slot(dump->geometry, row),
                       page,
                       payload->checksum,
                       verdict);
    }
    dump->emit(dump->context, line);
}

static void dump_flush(const struct dump *dump, const struct meta_payload *payload)
{
    char line[DUMP_LINE_BYTES];

    for (uint32_t i = 0; i < payload->flush_count; i++) {
        (void)snprintf(line,
                       sizeof(line),
                       "  flush row=%" PRIu64,
                       meta_flush_row_sectors(payload, i) / BLOCK_SECTORS);
        dump->emit(dump->context, line);
    }
}

/* All payloads of the unit in memory at `unit`. False when a page's checksum is wrong. */
static bool dump_payloads(const struct dump *dump, const uint8_t *unit)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t index = 0;
    bool right = true;

    meta_cursor_init(&cursor, unit);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        if (payload.type == LOG_PAYLOAD_FLUSH) {
            dump_flush(dump, &payload);
            continue;
        }
        const uint8_t *page = unit + (size_t)(++index) * BLOCK_BYTES;
        bool fits = meta_block_page_checksum(dump->source.seed, page) == payload.checksum;
        uint64_t position = log_window_position(dump->window, dump->offset + index).nr;
        right = right && fits;
        if (payload.type == LOG_PAYLOAD_DATA) {
            dump_data(dump, &payload, position, fits ? "ok" : "WRONG");
        } else {
            dump_parity(dump, &payload, position, fits ? "ok" : "WRONG");
        }
    }
    return right;
}

static void dump_unit_line(const struct dump *dump, const uint8_t *meta, uint32_t pages)
{
    char line[DUMP_LINE_BYTES];

    (void)snprintf(line,
                   sizeof(line),
                   "unit seq=%" PRIu64 " block=%" PRIu64 " pages=%" PRIu32 " undurable=%" PRIu32,
                   meta_block_seq(meta),
                   log_window_position(dump->window, dump->offset).nr,
                   pages,
                   meta_block_undurable(meta));
    dump->emit(dump->context, line);
}

/* The unit at the offset, moving past it; otherwise why the log ends here. */
static const char *dump_unit(struct dump *dump)
{
    struct log_block position = log_window_position(dump->window, dump->offset);
    const uint8_t *meta = log_window_get(dump->window, dump->offset, 1);
    enum meta_verdict verdict = meta_block_verify(meta, dump->source.seed, position);
    uint32_t pages = 0;

    if (verdict != META_VALID) {
        return meta_verdict_text(verdict);
    }
    if (dump->units > 0 && meta_block_seq(meta) != dump->seq) {
        return "a unit of another lap";
    }
    dump->seq = meta_block_seq(meta);
    if (meta_block_count_pages(meta, &pages) != 0) {
        return "malformed payloads";
    }
    if (pages + 1 >= dump->source.ring.blocks - dump->offset) {
        return "the unit reaches the tail";
    }
    meta = log_window_get(dump->window, dump->offset, pages + 1);
    dump_unit_line(dump, meta, pages);
    if (!dump_payloads(dump, meta)) {
        return "a wrong page";
    }
    dump->offset += (uint64_t)pages + 1;
    dump->units++;
    dump->seq++;
    return NULL;
}

static void dump_beyond(const struct dump *dump)
{
    uint64_t bound = min_u64(dump->source.ring.blocks - dump->offset, LOG_LOOK_ON_BLOCKS);
    char line[DUMP_LINE_BYTES];

    for (uint64_t i = 0; i < bound; i++) {
        struct log_block position = log_window_position(dump->window, dump->offset + i);
        const uint8_t *meta = log_window_get(dump->window, dump->offset + i, 1);
        if (!meta_block_has_magic(meta)) {
            continue;
        }
        (void)snprintf(line,
                       sizeof(line),
                       "beyond block=%" PRIu64 " seq=%" PRIu64 " undurable=%" PRIu32 " \"%s\"",
                       position.nr,
                       meta_block_seq(meta),
                       meta_block_undurable(meta),
                       meta_verdict_text(meta_block_verify(meta, dump->source.seed, position)));
        dump->emit(dump->context, line);
    }
}

static void dump_end(const struct dump *dump, uint64_t block, const char *cause)
{
    char line[DUMP_LINE_BYTES];

    (void)snprintf(line,
                   sizeof(line),
                   "end block=%" PRIu64 " seq=%" PRIu64 " cause=\"%s\" units=%" PRIu64,
                   block,
                   dump->seq,
                   cause,
                   dump->units);
    dump->emit(dump->context, line);
}

int journal_dump_entries(struct array *array,
                         struct io_queue *queue,
                         struct arena *arena,
                         void (*emit)(void *context, const char *line),
                         void *context)
{
    struct dump dump = {.geometry = array_geometry(array), .emit = emit, .context = context};
    const char *cause = NULL;

    if (array_journal_state(array) != JOURNAL_DEVICE_OK) {
        return -ENXIO;
    }
    log_source_init(&dump.source, array);
    struct log_block tail = array_log_tail(array);
    if (!log_ring_contains(&dump.source.ring, tail)) {
        dump_end(&dump, tail.nr, "the tail lies outside the ring");
        return 0;
    }
    dump.window = log_window_make(arena, &dump.source, queue, tail);
    while (cause == NULL) {
        cause = dump_unit(&dump);
    }
    dump_end(&dump, log_window_position(dump.window, dump.offset).nr, cause);
    dump_beyond(&dump);
    return 0;
}
