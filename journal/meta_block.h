/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Meta blocks of the log: encode, verify, walk. Pure functions on 4 KiB; no I/O, no state, any
 * thread. What is decoded may be hostile: no field is trusted before it was compared with the
 * block's bounds.
 */
#ifndef R5FS_JOURNAL_META_BLOCK_H
#define R5FS_JOURNAL_META_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "log_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"

/* Start value of every checksum in the log of the array with this uuid. */
uint32_t meta_block_seed(const struct uuid *array_uuid);
/* Of a payload's page. */
uint32_t meta_block_page_checksum(uint32_t seed, const uint8_t *page);

/* ---- writing: start, add up to LOG_UNIT_PAYLOADS_MAX payloads, finish --------------------- */

/* `meta`: 4096 bytes, cleared here. */
void meta_block_start(uint8_t *meta, uint64_t seq, struct log_block position);
/* Payloads in the order of the pages that follow. `checksum` is the page's. */
void meta_block_add_data(uint8_t *meta, struct fs_block block, uint32_t checksum);
void meta_block_add_parity(uint8_t *meta, struct member_block row, uint32_t checksum);
/* How many payloads were added so far, between start and finish. */
uint32_t meta_block_payload_count(const uint8_t *meta);
/* `undurable`: see log_meta_trailer; below LOG_UNITS_IN_FLIGHT_MAX. Nothing may change
 * afterwards. */
void meta_block_finish(uint8_t *meta, uint32_t seed, uint32_t undurable);

/* ---- reading --------------------------------------------------------------------------------- */

/* Why a block is not a meta block that can stand at this place; META_VALID when it is. */
enum meta_verdict {
    META_VALID,
    META_NO_MAGIC,
    META_BAD_VERSION,
    META_BAD_POSITION,
    META_BAD_CHECKSUM,
    META_BAD_SIZE,
};

/* Everything but `seq`, which meta_block_seq gives for a META_VALID block. */
enum meta_verdict meta_block_verify(const uint8_t *meta, uint32_t seed, struct log_block position);
const char *meta_verdict_text(enum meta_verdict verdict);

bool meta_block_has_magic(const uint8_t *block);
uint64_t meta_block_seq(const uint8_t *meta);
uint32_t meta_block_undurable(const uint8_t *meta);

/* One payload as read. Locations are sectors as they stand, not yet compared with any geometry. */
struct meta_payload {
    enum log_payload_type type;
    uint64_t location_sectors; /* data, parity; of flush: see meta_flush_row_sectors */
    uint32_t checksum;         /* data, parity */
    uint32_t flush_count;      /* flush: rows in its list */
    const uint8_t *flush_list; /* flush: within the block */
};

struct meta_cursor {
    const uint8_t *meta;
    uint32_t offset;
    uint32_t end;
};

/* `meta` is META_VALID and stays while the cursor is used. */
void meta_cursor_init(struct meta_cursor *cursor, const uint8_t *meta);
/* 1: *out_payload is the next one; 0: there is none; -EBADMSG: what stands there is no payload we
 * know (type, flags, size, or it does not fit into the block); the walk is over. */
R5_MUST_CHECK int meta_cursor_next(struct meta_cursor *cursor, struct meta_payload *out_payload);
uint64_t meta_flush_row_sectors(const struct meta_payload *payload, uint32_t index);

/* Pages that follow the block, or -EBADMSG when a payload is malformed. */
R5_MUST_CHECK int meta_block_count_pages(const uint8_t *meta, uint32_t *out_pages);

#endif
