/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arrays over real files for the tests of floor 1: made, unpacked, edited, assembled. */
#ifndef R5FS_TESTS_ARRAY_KIT_H
#define R5FS_TESTS_ARRAY_KIT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "md_superblock.h"
#include "r5fs/raid/array.h"

#define ARRAY_KIT_PATH_BYTES 256

/* Members by slot; the journal, if there is one, behind them. */
struct array_kit {
    char dir[ARRAY_KIT_PATH_BYTES];
    char paths[ARRAY_FILES_MAX][ARRAY_KIT_PATH_BYTES];
    uint32_t member_count;
    uint32_t path_count;
    struct arena arena; /* of the queue and of what is assembled */
    struct io_queue *queue;
    char why[ARRAY_WHY_BYTES]; /* of the last assemble or create */
};

struct array_kit_shape {
    uint32_t members;
    uint64_t member_bytes;
    uint64_t journal_bytes; /* 0 = no journal */
    uint32_t chunk_sectors;
    enum layout layout;
};

#define ARRAY_KIT_USUAL \
    ((struct array_kit_shape){3, 8u << 20, 4u << 20, 128, LAYOUT_LEFT_SYMMETRIC})

/* A directory, a queue, no files yet. */
void array_kit_open(struct array_kit *kit);
/* Removes the directory. */
void array_kit_close(struct array_kit *kit);
/* open + files + array_create. */
void array_kit_create(struct array_kit *kit, const struct array_kit_shape *shape);
/* open + a directory of tests/golden. A missing member's path is "". */
void array_kit_unpack(struct array_kit *kit, const char *golden, uint32_t members, bool journal);
/* The path of a further file in the directory, its old content gone; not in `paths`. */
const char *array_kit_file(struct array_kit *kit, const char *name, uint64_t bytes);
void array_kit_copy(const char *from, const char *to);

/* Assembles what is in `paths` (the empty ones left out) with `how`; its paths and arena are set.
 * */
int array_kit_assemble(struct array_kit *kit, struct array_assemble how, struct array **out_array);
/* Expects the error and that the line names `part`; and that the line has the usual form. */
void array_kit_expect_refusal(struct array_kit *kit,
                              struct array_assemble how,
                              int error,
                              const char *part);

void array_kit_super(const char *path, struct md_superblock *out_super);
/* Changes the superblock, checksum and all. */
void array_kit_edit(const char *path, void (*edit)(struct md_superblock *super));
void array_kit_write(const char *path, uint64_t offset, const void *bytes, size_t count);
void array_kit_read(const char *path, uint64_t offset, void *bytes, size_t count);
/* sha256sum of the whole file. */
void array_kit_sha256(const char *path, char out_hex[65]);
/* True when the program is there. */
bool array_kit_has_program(const char *name);

/* Seeds from R5_SEED or anew, and prints the line that replays the test. */
void array_kit_seed(const char *test);
uint64_t array_kit_random(void);

/* A case with its fixture, added to the suite. */
TCase *array_kit_case(Suite *suite, const char *name, void (*setup)(void), void (*teardown)(void));
int array_kit_run(Suite *suite);

#endif
