/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The codec of meta blocks.
 *
 *   0        32                      meta_size            4092  4096
 *   | header | payload | payload | ... |  zeros             | u32 |
 *
 * Invariants:
 *   M1  meta_size is kept in the block itself from start to finish, so a half-built block always
 *   says
 *       how much of it is used.
 *   M2  a reader touches [0, 4096) only: sizes are compared with what is left before they are used.
 *
 * Happy path: start, add ..., finish; or verify, cursor_init, cursor_next until 0.
 * Failure modes: a malformed payload ends the walk with -EBADMSG; adding beyond the bound is our
 * own mistake.
 * Thread: any.
 */
#include "meta_block.h"

#include <errno.h>
#include <string.h>

#include "r5fs/base/crc32c.h"

#define HEADER_BYTES       ((uint32_t)sizeof(struct log_meta_header))
#define PAGE_PAYLOAD_BYTES ((uint32_t)sizeof(struct log_payload_page))
#define CHECKSUM_OFFSET    offsetof(struct log_meta_header, checksum)

uint32_t meta_block_seed(const struct uuid *array_uuid)
{
    return crc32c(UINT32_MAX, array_uuid->bytes, sizeof(array_uuid->bytes));
}

uint32_t meta_block_page_checksum(uint32_t seed, const uint8_t *page)
{
    return crc32c(seed, page, BLOCK_BYTES);
}

static struct log_meta_header header_get(const uint8_t *meta)
{
    struct log_meta_header header;

    memcpy(&header, meta, sizeof(header));
    return header;
}

static void header_put(uint8_t *meta, const struct log_meta_header *header)
{
    memcpy(meta, header, sizeof(*header));
}

/* As if the checksum's own four bytes were zero, without copying the block. */
static uint32_t meta_checksum(const uint8_t *meta, uint32_t seed)
{
    static const uint8_t zero[sizeof(le32)];
    size_t after = CHECKSUM_OFFSET + sizeof(zero);
    uint32_t sum = crc32c(seed, meta, CHECKSUM_OFFSET);

    sum = crc32c(sum, zero, sizeof(zero));
    return crc32c(sum, meta + after, BLOCK_BYTES - after);
}

void meta_block_start(uint8_t *meta, uint64_t seq, struct log_block position)
{
    struct log_meta_header header = {
        .magic = le32_make(LOG_MAGIC),
        .version = LOG_VERSION,
        .meta_size = le32_make(HEADER_BYTES),
        .seq = le64_make(seq),
        .position = le64_make(position.nr * BLOCK_SECTORS),
    };

    memset(meta, 0, BLOCK_BYTES);
    header_put(meta, &header);
}

static void
add_page(uint8_t *meta, enum log_payload_type type, uint64_t location, uint32_t checksum)
{
    struct log_meta_header header = header_get(meta);
    uint32_t used = le32_get(header.meta_size);
    struct log_payload_page payload = {
        .header = {.type = le16_make((uint16_t)type), .size = le32_make(BLOCK_SECTORS)},
        .location = le64_make(location),
        .checksum = le32_make(checksum),
    };

    R5_CHECK(meta_block_payload_count(meta) < LOG_UNIT_PAYLOADS_MAX);
    memcpy(meta + used, &payload, sizeof(payload));
    header.meta_size = le32_make(used + PAGE_PAYLOAD_BYTES); /* M1 */
    header_put(meta, &header);
}

void meta_block_add_data(uint8_t *meta, struct fs_block block, uint32_t checksum)
{
    add_page(meta, LOG_PAYLOAD_DATA, block.nr * BLOCK_SECTORS, checksum);
}

void meta_block_add_parity(uint8_t *meta, struct member_block row, uint32_t checksum)
{
    add_page(meta, LOG_PAYLOAD_PARITY, row.nr * BLOCK_SECTORS, checksum);
}

uint32_t meta_block_payload_count(const uint8_t *meta)
{
    struct log_meta_header header = header_get(meta);
    uint32_t used = le32_get(header.meta_size);

    R5_CHECK(used >= HEADER_BYTES && used <= LOG_TRAILER_OFFSET);
    return (used - HEADER_BYTES) / PAGE_PAYLOAD_BYTES;
}

void meta_block_finish(uint8_t *meta, uint32_t seed, uint32_t undurable)
{
    struct log_meta_trailer trailer = {.undurable = le32_make(undurable)};
    struct log_meta_header header;

    R5_CHECK(undurable < LOG_UNITS_IN_FLIGHT_MAX);
    memcpy(meta + LOG_TRAILER_OFFSET, &trailer, sizeof(trailer));
    header = header_get(meta);
    header.checksum = le32_make(meta_checksum(meta, seed));
    header_put(meta, &header);
}

enum meta_verdict meta_block_verify(const uint8_t *meta, uint32_t seed, struct log_block position)
{
    struct log_meta_header header = header_get(meta);
    uint32_t used = le32_get(header.meta_size);

    if (le32_get(header.magic) != LOG_MAGIC) {
        return META_NO_MAGIC;
    }
    if (header.version != LOG_VERSION) {
        return META_BAD_VERSION;
    }
    if (le64_get(header.position) != position.nr * BLOCK_SECTORS) {
        return META_BAD_POSITION;
    }
    if (le32_get(header.checksum) != meta_checksum(meta, seed)) {
        return META_BAD_CHECKSUM;
    }
    if (used < HEADER_BYTES || used > BLOCK_BYTES) {
        return META_BAD_SIZE;
    }
    return META_VALID;
}

const char *meta_verdict_text(enum meta_verdict verdict)
{
    switch (verdict) {
    case META_VALID: return "valid";
    case META_NO_MAGIC: return "no meta block";
    case META_BAD_VERSION: return "unknown version";
    case META_BAD_POSITION: return "meta block of another place";
    case META_BAD_CHECKSUM: return "meta block checksum wrong";
    case META_BAD_SIZE: return "meta block size impossible";
    }
    return "unknown";
}

bool meta_block_has_magic(const uint8_t *block)
{
    struct log_meta_header header = header_get(block);

    return le32_get(header.magic) == LOG_MAGIC;
}

uint64_t meta_block_seq(const uint8_t *meta)
{
    struct log_meta_header header = header_get(meta);

    return le64_get(header.seq);
}

uint32_t meta_block_undurable(const uint8_t *meta)
{
    struct log_meta_header header = header_get(meta);
    struct log_meta_trailer trailer;

    if (le32_get(header.meta_size) > LOG_TRAILER_OFFSET) {
        return 0; /* the kernel's flush lists may use the block to its last byte */
    }
    memcpy(&trailer, meta + LOG_TRAILER_OFFSET, sizeof(trailer));
    return le32_get(trailer.undurable);
}

void meta_cursor_init(struct meta_cursor *cursor, const uint8_t *meta)
{
    struct log_meta_header header = header_get(meta);
    uint32_t used = le32_get(header.meta_size);

    R5_CHECK(used >= HEADER_BYTES && used <= BLOCK_BYTES);
    *cursor = (struct meta_cursor){.meta = meta, .offset = HEADER_BYTES, .end = used};
}

/* A page payload at the cursor; its header was read already. */
static int next_page(struct meta_cursor *cursor, uint32_t size, struct meta_payload *out_payload)
{
    struct log_payload_page page;

    if (size != BLOCK_SECTORS || cursor->end - cursor->offset < sizeof(page)) {
        return -EBADMSG;
    }
    memcpy(&page, cursor->meta + cursor->offset, sizeof(page));
    out_payload->location_sectors = le64_get(page.location);
    out_payload->checksum = le32_get(page.checksum);
    cursor->offset += PAGE_PAYLOAD_BYTES;
    return 1;
}

static int next_flush(struct meta_cursor *cursor, uint32_t size, struct meta_payload *out_payload)
{
    uint32_t header_bytes = (uint32_t)sizeof(struct log_payload_header);
    uint32_t left = cursor->end - cursor->offset - header_bytes;

    if (size % sizeof(le64) != 0 || size > left) {
        return -EBADMSG;
    }
    out_payload->flush_count = size / (uint32_t)sizeof(le64);
    out_payload->flush_list = cursor->meta + cursor->offset + header_bytes;
    cursor->offset += header_bytes + size;
    return 1;
}

int meta_cursor_next(struct meta_cursor *cursor, struct meta_payload *out_payload)
{
    struct log_payload_header header;

    if (cursor->offset == cursor->end) {
        return 0;
    }
    if (cursor->end - cursor->offset < sizeof(header)) {
        return -EBADMSG;
    }
    memcpy(&header, cursor->meta + cursor->offset, sizeof(header));
    *out_payload = (struct meta_payload){.type = (enum log_payload_type)le16_get(header.type)};
    if (le16_get(header.flags) != 0) {
        return -EBADMSG; /* discard and reshape marks: reserved, and not what they seem to be */
    }
    switch (le16_get(header.type)) {
    case LOG_PAYLOAD_DATA:
    case LOG_PAYLOAD_PARITY: return next_page(cursor, le32_get(header.size), out_payload);
    case LOG_PAYLOAD_FLUSH: return next_flush(cursor, le32_get(header.size), out_payload);
    default: return -EBADMSG;
    }
}

uint64_t meta_flush_row_sectors(const struct meta_payload *payload, uint32_t index)
{
    le64 sectors;

    R5_CHECK(payload->type == LOG_PAYLOAD_FLUSH && index < payload->flush_count);
    memcpy(&sectors, payload->flush_list + (size_t)index * sizeof(sectors), sizeof(sectors));
    return le64_get(sectors);
}

int meta_block_count_pages(const uint8_t *meta, uint32_t *out_pages)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t pages = 0;
    int got = 0;

    meta_cursor_init(&cursor, meta);
    while ((got = meta_cursor_next(&cursor, &payload)) == 1) {
        pages += payload.type != LOG_PAYLOAD_FLUSH;
    }
    if (got == 0) {
        *out_pages = pages;
    }
    return got;
}
