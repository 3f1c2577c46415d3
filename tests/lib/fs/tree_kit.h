/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree of made-up items beside a model of it: numbers stand for keys (in the same order) and for
 * contents, so that the model only remembers which numbers are there and how long.
 */
#ifndef R5FS_TESTS_TREE_KIT_H
#define R5FS_TESTS_TREE_KIT_H

#include <stdint.h>

#include "fs_kit.h"

#define TREE_NUMBERS   60000u
#define TREE_ABSENT    UINT16_MAX
#define TREE_FIRST_INO 1000u /* all keys of the model lie at or above it */

struct tree_model {
    uint16_t bytes[TREE_NUMBERS]; /* TREE_ABSENT: not there */
    uint32_t count;
};

void tree_model_init(struct tree_model *model);
struct fs_key tree_key(uint32_t number);
uint32_t tree_number(const struct fs_key *key);

enum tree_op {
    TREE_INSERT,
    TREE_REPLACE,
    TREE_REMOVE,
};

struct tree_step {
    enum tree_op op;
    uint32_t number;
    uint16_t bytes;
};

/* A step that fits the model: grows it with `percent_in` per cent. */
struct tree_step tree_step_random(const struct tree_model *model,
                                  uint64_t *random,
                                  uint32_t range,
                                  uint32_t percent_in);
void tree_model_apply(struct tree_model *model, const struct tree_step *step);
/* In a transaction of its own. */
void tree_apply(struct kit *kit, const struct tree_step *step);

/* Every node is right, the items are the model's, and as many blocks are in use as there are
 * nodes. */
void tree_verify(struct kit *kit, const struct tree_model *model);
uint64_t tree_node_count(struct kit *kit);

#endif
