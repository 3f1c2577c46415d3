/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A journal over real files with a small client on top and a model beside it. Every block holds its
 * number and a version, repeated; the model knows which versions each transaction closed with, so
 * that after a crash it can say whether what is read is a state that the journal promised.
 *
 *   data blocks   written at any time                       may be newer than the last commit's
 *   meta blocks   changed in transactions, fetched at close all of one transaction, or none
 */
#ifndef R5FS_TESTS_MODEL_KIT_H
#define R5FS_TESTS_MODEL_KIT_H

#include "crash_io.h"
#include "journal_internal.h"
#include "recovery_kit.h"

#define MODEL_DATA_BLOCKS 480u
#define MODEL_META_BLOCKS 64u
#define MODEL_TXNS_MAX    20000u
#define MODEL_THREADS     4u

struct model_state {
    uint32_t data[MODEL_DATA_BLOCKS];
    uint32_t meta[MODEL_META_BLOCKS];
};

struct model {
    struct recovery_kit files;
    struct kit_shape shape;
    struct journal *j;
    struct arena arena;             /* of the journal */
    struct env_mutex op;            /* the client's lock */
    struct model_state now;         /* [op] */
    bool joined[MODEL_META_BLOCKS]; /* [op] */
    uint32_t fetch[MODEL_META_BLOCKS];
    uint8_t *pages;             /* of the closing transaction */
    struct model_state *states; /* [op] after each transaction that closed; 0: when opened */
    uint32_t state_count;
    struct model_state *lost; /* the same of the journal abandoned last */
    uint32_t lost_count;
    uint64_t lost_durable;
    uint64_t durable_txn;  /* [op] told to a caller of commit before the power was cut */
    uint64_t told_durable; /* [op] by client->durable */
    int told_result;
};

/* Files, array, empty log; nothing open. */
void model_create(struct model *m, const struct kit_shape *shape);
void model_remove(struct model *m);
/* Assembles and opens. Small `options` fields of 0 get the usual values. Returns journal_open's. */
int model_open(struct model *m, const struct journal_options *options, uint32_t missing);
/* A clean stop: close, stop writing, closed array. */
void model_close(struct model *m);
/* As a crash: nothing more is written. With model_crash_io_use the power is off, then on again. */
void model_abandon(struct model *m);

/* The same for an open that only looked: what a crash before it left is what counts. */
void model_forget(struct model *m);
/* The power goes after so many writes of an open; the journal is abandoned then. */
void model_open_cut(struct model *m, const struct journal_options *options, uint64_t writes);
/* journal_close was called and failed. */
void model_after_failed_close(struct model *m);

/* One operation; `queue` is the caller's. Returns the reservation's error. */
int model_write_data(struct model *m, uint32_t first, uint32_t count);
int model_change_meta(struct model *m, uint32_t first, uint32_t count, uint32_t data_block);
int model_commit(struct model *m, struct io_queue *queue);
/* Any of these at random, `steps` of them. `random` is the caller's state. */
void model_run(struct model *m, struct io_queue *queue, uint32_t steps, uint64_t *random);

/* model_run on MODEL_THREADS threads at once, each with a queue of its own. */
void model_race(struct model *m, uint32_t steps);
struct journal_status model_status(struct model *m);

/* Every block read through the journal is the newest. */
void model_expect_newest(struct model *m);
/* After a crash and an open: what is read is the state of one transaction not before the last
 * durable one, with data as new or newer. `adopt`: the model goes on from there. */
void model_expect_recovered(struct model *m, bool adopt);
/* Closed, reassembled without a journal in between: the members hold the newest, parity fits. */
void model_expect_on_members(struct model *m);

/* The journal failed and was retired: the members alone hold what it had made durable,
 * consistently. */
void model_expect_members_recovered(struct model *m);

/* A power that can be cut under several threads: crash_io with a lock. */
void model_crash_io_use(void);
bool model_is_cut(void);
void model_cut_after(uint64_t writes);
/* From model_crash_io_use on: every write that no flush covered is lost when the power goes. */
void model_lose_all_unflushed(void);
/* When set, sees each request of model_crash_io before it is submitted, on the submitting thread
 * and with no lock of the kit's held: it may call the journal, and do I/O itself. */
extern void (*model_submit_hook)(const struct io_request *request);

uint32_t model_random(uint64_t *state, uint32_t limit);

#endif
