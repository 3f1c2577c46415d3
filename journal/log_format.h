/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of the log: md's raid5-cache ring. Only meta_block.c reads or writes these structures.
 *
 *   ring:   | meta | page | page | meta | meta | page | ...          4 KiB each, modulo the ring
 *             \__ one unit ____/     \_ an empty unit is its meta block alone
 *
 *   meta:   0 header 32 | payload | payload | ... meta_size | zeros ... | 4092 undurable
 *
 * A meta block is valid if and only if: magic and version fit; `position` is where it stands;
 * `checksum` is crc32c(seed, the 4096 bytes with `checksum` zero), seed = crc32c(~0, array uuid);
 * meta_size lies between the header and the block's end. It is the unit the reader wants when `seq`
 * is also the one expected. It can be used when, besides, its payloads fill [32, meta_size)
 * exactly, are of known types, and every page that follows has the checksum its payload names.
 *
 * All integers are little-endian. Sectors are 512 bytes. Offsets: docs/SPEC.md, "Log".
 */
#ifndef R5FS_JOURNAL_LOG_FORMAT_H
#define R5FS_JOURNAL_LOG_FORMAT_H

#include <stddef.h>

#include "r5fs/base/endian.h"
#include "r5fs/base/units.h"

#define LOG_MAGIC   0x6433c509u
#define LOG_VERSION 1u

/* Bounds of the format, not of this program: a reader relies on them. */
#define LOG_UNIT_PAYLOADS_MAX   203u /* data or parity payloads in one meta block */
#define LOG_UNIT_BLOCKS_MAX     (LOG_UNIT_PAYLOADS_MAX + 1u)
#define LOG_UNITS_IN_FLIGHT_MAX 64u
/* How far beyond the end of the log something that was in flight can stand. */
#define LOG_LOOK_ON_BLOCKS ((uint64_t)LOG_UNITS_IN_FLIGHT_MAX * LOG_UNIT_BLOCKS_MAX)

/* The first 32 bytes of a meta block. */
struct log_meta_header {
    le32 magic;      /* 0 */
    le32 checksum;   /* 4 */
    uint8_t version; /* 8 */
    uint8_t zero[3]; /* 9 */
    le32 meta_size;  /* 12: bytes used, header included; 32 = empty */
    le64 seq;        /* 16 */
    le64 position;   /* 24: own place in the ring, sectors */
};

/* What all payloads begin with. */
struct log_payload_header {
    le16 type;  /* 0 */
    le16 flags; /* 2: 0 */
    le32 size;  /* 4: data, parity: sectors, always 8; flush: bytes of the list */
};

enum log_payload_type {
    LOG_PAYLOAD_DATA = 0,
    LOG_PAYLOAD_PARITY = 1,
    LOG_PAYLOAD_FLUSH = 2, /* read from the kernel's logs, never written */
};

/* A data or parity payload; one page follows in the ring. */
struct log_payload_page {
    struct log_payload_header header; /* 0 */
    le64 location;                    /* 8: data: sector of the volume; parity: of the members */
    le32 checksum;                    /* 16: crc32c(seed, page) */
};

/* Bytes 4092 to 4095: never reached by payloads, zero in the kernel's blocks. */
struct log_meta_trailer {
    le32 undurable; /* how many seqs before this one were not durable when it was submitted */
};

#define LOG_TRAILER_OFFSET (BLOCK_BYTES - sizeof(struct log_meta_trailer))

_Static_assert(sizeof(struct log_meta_header) == 32, "header");
_Static_assert(offsetof(struct log_meta_header, checksum) == 4, "checksum");
_Static_assert(offsetof(struct log_meta_header, version) == 8, "version");
_Static_assert(offsetof(struct log_meta_header, meta_size) == 12, "meta_size");
_Static_assert(offsetof(struct log_meta_header, seq) == 16, "seq");
_Static_assert(offsetof(struct log_meta_header, position) == 24, "position");
_Static_assert(sizeof(struct log_payload_header) == 8, "payload header");
_Static_assert(offsetof(struct log_payload_header, flags) == 2, "flags");
_Static_assert(offsetof(struct log_payload_header, size) == 4, "size");
_Static_assert(sizeof(struct log_payload_page) == 20, "page payload");
_Static_assert(offsetof(struct log_payload_page, location) == 8, "location");
_Static_assert(offsetof(struct log_payload_page, checksum) == 16, "payload checksum");
_Static_assert(LOG_TRAILER_OFFSET == 4092, "trailer");
_Static_assert(sizeof(struct log_meta_header) +
                       LOG_UNIT_PAYLOADS_MAX * sizeof(struct log_payload_page) <=
                   LOG_TRAILER_OFFSET,
               "a full unit leaves the trailer free");

#endif
