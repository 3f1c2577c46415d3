/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single steps for the tests of sequences: blocks that repeat one number, written past the model
 * of model_kit.h and looked for again after a crash. Every step must work. */
#ifndef R5FS_TESTS_SEQUENCE_KIT_H
#define R5FS_TESTS_SEQUENCE_KIT_H

#include "model_kit.h"

#define SEQUENCE_RING UINT64_C(654) /* the smallest */
#define NO_TIMER      3600000u

/* 512 images, commits only when asked for. */
extern const struct journal_options sequence_by_hand;

/* Chunks of one block: a row is a stripe. Seeds. */
void sequence_create(struct model *m, uint32_t members, uint64_t ring_blocks);
void sequence_open(struct model *m, uint32_t missing);
void sequence_put(struct model *m, uint64_t block, uint64_t number);
void sequence_sync(struct model *m);
uint64_t sequence_get(struct model *m, struct io_queue *queue, uint64_t block);
/* Drained, or the power went meanwhile. */
void sequence_drain(struct model *m);
/* Blocks 0 .. count - 1 hold these, whoever is missing, and also when all is on the members; the
 * files are as before afterwards. */
void sequence_expect(struct model *m, const uint64_t *numbers, uint32_t count);

/* Whether the request is for the data of a member, or for the ring. */
bool sequence_is_member(const struct model *m, const struct io_request *request, enum io_op op);
bool sequence_is_ring(const struct model *m, const struct io_request *request, enum io_op op);
/* Runs `act` as another party would: on a thread of its own, which is waited for. For hooks, whose
 * own thread is in the midst of something. */
void sequence_act_as_another(void (*act)(void));
/* A commit, if nobody is in its way: for those that a hook waits for. False: somebody is. */
bool sequence_try_sync(struct model *m);

#endif
