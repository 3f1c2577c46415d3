/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arrays over real files for the tests of recovery, and a writer of logs that is none of the
 * project's: it lays out units byte by byte through the codec alone. Pages repeat one 64-bit
 * number, so that the XOR of pages is the XOR of numbers.
 */
#ifndef R5FS_TESTS_RECOVERY_KIT_H
#define R5FS_TESTS_RECOVERY_KIT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "log_format.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/stripe.h"
#include "recovery_scan.h"

#define KIT_PATH_BYTES 256
#define KIT_FILES_MAX  9u
#define KIT_NO_SLOT    UINT32_MAX

struct recovery_kit {
    char dir[KIT_PATH_BYTES];
    char paths[KIT_FILES_MAX][KIT_PATH_BYTES]; /* members by slot, then the journal */
    uint32_t members;
    bool journal;
    struct arena arena; /* of the queue */
    struct io_queue *queue;
    struct array *array; /* while assembled */
    struct arena array_arena;
    struct geometry geometry; /* of the last assembled */
    struct uuid uuid;
    uint32_t seed;
    uint64_t data_offset[KIT_FILES_MAX]; /* bytes, by file */
    uint64_t ring_blocks;
    struct log_block head; /* where kit_unit puts the next one */
    uint64_t seq;          /* its seq */
    char why[JOURNAL_WHY_BYTES];
};

struct kit_payload {
    enum log_payload_type type;
    uint64_t at;     /* data: block of the volume; parity, flush: row */
    uint64_t number; /* what its page repeats */
};

#define KIT_DATA(block, value) ((struct kit_payload){LOG_PAYLOAD_DATA, (block), (value)})
#define KIT_PARITY(row, value) ((struct kit_payload){LOG_PAYLOAD_PARITY, (row), (value)})

struct kit_shape {
    uint32_t members;
    uint32_t chunk_sectors;
    uint64_t member_bytes;
    uint64_t ring_blocks;
};

#define KIT_USUAL ((struct kit_shape){4, 128, 6u << 20, 256})

/* Files, array_create, journal_format; closed again. The log's head is behind its empty unit. */
void kit_create(struct recovery_kit *kit, const struct kit_shape *shape);
/* The files of tests/golden/`name`. */
void kit_unpack(struct recovery_kit *kit, const char *name, uint32_t members, bool journal);
void kit_remove(struct recovery_kit *kit);

/* `missing`: a slot whose file is left out, or KIT_NO_SLOT. Writable arrays have writing
 * started. */
void kit_assemble(struct recovery_kit *kit, bool read_only, uint32_t missing);
void kit_close(struct recovery_kit *kit);

/* Block of a file, as one number; a page that is not one number fails the test. */
uint64_t kit_read_number(struct recovery_kit *kit, uint32_t file, uint64_t block);
void kit_write_number(struct recovery_kit *kit, uint32_t file, uint64_t block, uint64_t number);
/* Bytes at `offset` within a block of the data area (members) or the ring (the journal). */
void kit_poke(struct recovery_kit *kit,
              uint32_t file,
              uint64_t block,
              uint32_t offset,
              const void *bytes,
              size_t count);
void kit_peek(struct recovery_kit *kit, uint32_t file, uint64_t block, uint8_t *out);
uint32_t kit_journal(const struct recovery_kit *kit);

/* Writes a unit at the head and moves on. Returns where its meta block stands. */
struct log_block kit_unit(struct recovery_kit *kit,
                          const struct kit_payload *payloads,
                          uint32_t count,
                          uint32_t undurable);
/* Moves the tail in the superblock; the array is closed. */
void kit_set_tail(struct recovery_kit *kit, struct log_block tail);

/* All files in memory, and back. */
struct kit_images {
    uint8_t *bytes[KIT_FILES_MAX];
    uint64_t sizes[KIT_FILES_MAX];
};
void kit_save(struct recovery_kit *kit, struct kit_images *out_images);
void kit_restore(struct recovery_kit *kit, const struct kit_images *images);
bool kit_equals(struct recovery_kit *kit, const struct kit_images *images);
void kit_free(struct kit_images *images);

/* A stripe cache over the assembled array, in the array's arena. */
struct stripe_cache *kit_cache(struct recovery_kit *kit, uint32_t images);

/* Scan and full replay of the assembled array, the open rows written out by the kit itself (parity
 * computed, not logged). 0 or the error. `scan_out`, when not NULL, gets the counts. */
int kit_replay(struct recovery_kit *kit, bool accept, struct recovery_scan *scan_out);
/* Only the closed layers and the leftovers. */
int kit_replay_closed(struct recovery_kit *kit, bool accept, struct recovery_scan *scan_out);

/* sha256 of the volume, read through `read` in pieces. */
void kit_volume_sha256(struct recovery_kit *kit,
                       int (*read)(struct recovery_kit *kit,
                                   void *context,
                                   struct fs_block first,
                                   uint32_t count,
                                   uint8_t *buffer),
                       void *context,
                       char out_hex[65]);
/* Rows whose XOR over all members is not zero; no member is missing. */
uint64_t kit_bad_rows(struct recovery_kit *kit);

/* Seeds from R5_SEED or anew, prints the line that replays the test. */
void kit_seed(const char *test);
uint64_t kit_random(void);
uint32_t kit_below(uint32_t limit);

int kit_run(Suite *suite);

#endif
