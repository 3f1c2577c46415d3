/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a journalled volume of blocks should hold. Every block holds its number and a version; the
 * model knows which versions each transaction closed with, and so which states a power cut may
 * leave.
 *
 *   data blocks   written at any time                        as new as at the last commit, or newer
 *   meta blocks   changed in transactions, fetched at close  all of one transaction
 */
#ifndef R5FS_TESTS_SIM_MODEL_H
#define R5FS_TESTS_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/units.h"

#define MODEL_DATA     384u /* at most; data_count of them are used */
#define MODEL_DATA_FEW 96u
#define MODEL_META     24u
#define MODEL_TXNS_MAX 4096u
#define MODEL_META_GAP 4u /* the meta blocks lie among the data blocks */

struct sim_closed {
    uint32_t data[MODEL_DATA]; /* least version */
    uint32_t meta[MODEL_META]; /* exact version */
};

struct sim_model {
    uint32_t data_count;
    uint32_t top[MODEL_DATA];   /* highest version ever written */
    uint32_t least[MODEL_DATA]; /* what a read gives at least; 0 after a discard */
    uint32_t base[MODEL_DATA];  /* version at the beginning of this life */
    uint32_t fresh[MODEL_DATA]; /* first version of this life */
    uint32_t meta_top[MODEL_META];
    uint32_t meta_now[MODEL_META];
    uint32_t meta_closed[MODEL_META]; /* of the last closed transaction: what a read gives */
    bool joined[MODEL_META];
    uint64_t closed_count; /* transactions of this life, the one before it included (index 0) */
    uint64_t durable;      /* the newest that a caller of commit was told of */
    uint64_t told;         /* the newest that the client was told of */
    struct sim_closed closed[MODEL_TXNS_MAX];
};

struct fs_block sim_model_data_at(uint32_t index);
struct fs_block sim_model_meta_at(uint32_t index);
void sim_model_fill(uint8_t *page, struct fs_block block, uint32_t version);
/* The version on a page; a page that is none of this block's fails the seed. */
uint32_t sim_model_version(const uint8_t *page, struct fs_block block);

/* Nothing was ever written. */
void sim_model_init(struct sim_model *model, uint32_t data_count);
/* The next version of a data block is about to be written; fills in the page. Until
 * sim_model_written() a read may give either. */
void sim_model_write(struct sim_model *model, uint32_t index, uint8_t *page);
void sim_model_written(struct sim_model *model, uint32_t index);
void sim_model_discard(struct sim_model *model, uint32_t index);
void sim_model_close_txn(struct sim_model *model);
/* The client was told that `txn` is durable. */
void sim_model_told(struct sim_model *model, uint64_t txn);
/* A commit of `txn` was answered. `closed`: the last one that had closed when it was asked for. If
 * nothing was volatile by then, `txn` itself may have closed since, for somebody else, and not be
 * durable yet. */
void sim_model_commit(struct sim_model *model, uint64_t closed, uint64_t txn);
/* What was read of a data block, between `least` before the read and now. */
void sim_model_check_data(const struct sim_model *model,
                          uint32_t index,
                          uint32_t least,
                          uint32_t found);

/* Everything as it was read after a life ended with a cut: some transaction not before the last
 * durable one left it. A new life begins with it. */
void sim_model_recover(struct sim_model *model, const struct sim_closed *found);
/* A new life begins; the old one lost nothing. */
void sim_model_continue(struct sim_model *model, const struct sim_closed *found);

#endif
