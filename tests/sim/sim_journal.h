/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lives of an array with a journal: files opened, recovery, workers that write, commit, read and
 * discard at once, an end. The scenarios in sim_journal_cases.c string lives together.
 */
#ifndef R5FS_TESTS_SIM_JOURNAL_H
#define R5FS_TESTS_SIM_JOURNAL_H

#include "r5fs/journal/journal.h"
#include "sim.h"
#include "sim_model.h"

#define LIFE_WORKERS   4u
#define LIFE_DISKS_MAX 6u

/* How a life may end when no cut comes before. */
enum life_end {
    LIFE_CLOSES, /* journal, array, files: everything on the members */
    LIFE_STOPS,  /* the power goes after the last operation */
};

/* What the seed's faults allow. */
enum life_faults {
    FAULTS_NONE,
    FAULTS_MEMBER,  /* one member may fail: nothing is lost, nobody is told */
    FAULTS_JOURNAL, /* -EROFS and -EIO to writers; what was durable is kept */
    FAULTS_ROOM,    /* -ENOSPC while a host is full */
    FAULTS_BEYOND,  /* more than is survived: errors, but no wrong bytes and no wait without end */
};

struct life {
    struct sim_model *model;
    struct sim_random random;
    uint32_t operations; /* of each worker */
    uint32_t images_max;
    uint32_t io_units;
    uint32_t run_max;            /* data blocks of one write */
    uint32_t commit_share;       /* of a hundred operations */
    uint32_t commit_interval_ms; /* 0: the usual */
    bool write_through;
    bool kernel_safe;
    bool recovers; /* the life before ended with a cut */
    bool degraded_start;
    enum life_end end;
    enum life_faults faults;
    /* while it lives */
    struct array *array;
    struct journal *journal;
    struct io_queue *queue;
    struct arena arena;
    struct env_mutex *op;
    uint32_t discards; /* twice so many so far, odd: one is under way; a read meanwhile says nothing
                        * of the least version */
    bool failed;       /* a worker was told so */
    bool closed_badly; /* the log was left as it was */
};

/* The disks, the array and an empty log, for all seeds. */
void life_prepare(unsigned members, uint64_t ring_blocks);
unsigned life_members(void);
/* Draws what is not about the faults. */
void life_draw(struct life *life, struct sim_model *model, uint64_t seed);
/* One life, in sim_world(). */
void life_main(void *context);
/* After FAULTS_JOURNAL and an orderly end: the members alone hold what was durable. */
void life_check_members(void *context);
/* No member is missing and the array was stopped: all rows XOR to zero. */
void life_check_parity(void);

#endif
