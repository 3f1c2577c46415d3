/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a user's directory should hold: a history of its states, one for each operation, the one
 * under way included. After a power cut the directory must be one of them, not before the last that
 * was synced; single blocks of data may be newer, as data goes to the log ahead of its metadata.
 */
#ifndef R5FS_TESTS_SIM_TREE_H
#define R5FS_TESTS_SIM_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/units.h"

#define TREE_FILES      4u
#define TREE_BLOCKS     32u
#define TREE_BYTES      131072u
#define TREE_STATES_MAX 400u
#define TREE_ANY_INO    UINT64_MAX /* being made: not known yet */

_Static_assert(TREE_BYTES == TREE_BLOCKS * BLOCK_BYTES, "whole blocks");

struct tree_file {
    uint64_t ino; /* 0: not there */
    uint32_t size;
    const uint8_t *pages[TREE_BLOCKS]; /* NULL: zeros; never changed once made */
};

struct tree_state {
    struct tree_file files[TREE_FILES];
};

struct tree {
    struct tree_state states[TREE_STATES_MAX];
    uint32_t count;  /* of states */
    uint32_t done;   /* the last state whose operation returned */
    uint32_t synced; /* the last that is durable for sure */
};

/* Nothing was ever made. */
void tree_init(struct tree *tree);
/* The state that the next operation leads to: a copy of the last one, to be changed. */
struct tree_state *tree_begin(struct tree *tree);
/* The operation returned. */
void tree_done(struct tree *tree);
/* The operation changed nothing. */
void tree_undo(struct tree *tree);
struct tree_state *tree_now(struct tree *tree);
bool tree_has_room(const struct tree *tree);

/* Changes of a file. `data` NULL: zeros. */
void tree_write(struct tree_file *file, uint32_t offset, const uint8_t *data, uint32_t bytes);
void tree_zero(struct tree_file *file, uint32_t offset, uint32_t bytes);
void tree_truncate(struct tree_file *file, uint32_t size);
/* A page of zeros, or a copy of `data`. */
const uint8_t *tree_page(const uint8_t *data);

/* Exactly the same; says the difference. */
bool tree_file_equals(const struct tree_file *file, const struct tree_file *found);
/* After a cut: `found` becomes the first state. `who` is for the message. */
void tree_recover(struct tree *tree, const struct tree_state *found, const char *who);

#endif
