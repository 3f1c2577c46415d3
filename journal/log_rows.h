/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option kernel_safe: how many rows the log names. See log_rows.c.
 *
 * A kernel replays a log exactly while the distinct rows of all payloads from the tail on are at
 * most LOG_ROWS_MAX in each of its LOG_ROWS_BUCKETS buckets, a row's bucket being its number modulo
 * these. Beyond, it may wait for ever when it assembles.
 */
#ifndef R5FS_JOURNAL_LOG_ROWS_H
#define R5FS_JOURNAL_LOG_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"

#define LOG_ROWS_BUCKETS 8u
#define LOG_ROWS_MAX     32u

struct journal;
struct io_queue;

/* The distinct rows of a piece of log. */
struct log_rows_set {
    uint32_t count[LOG_ROWS_BUCKETS];
    struct log_row {
        uint64_t row;
        uint64_t seq; /* of the newest unit that names it */
    } rows[LOG_ROWS_BUCKETS][LOG_ROWS_MAX];
};

struct log_rows {
    bool limited;               /* [fixed after open] the option */
    bool enforced;              /* [lock, role] in the commit under way */
    bool wanted;                /* [lock] a commit needs an empty log */
    bool gate;                  /* [lock] nothing is granted until a transaction closed */
    uint32_t tries;             /* [lock] commits since then that lacked room */
    uint32_t tries_max;         /* [lock] before the gate closes */
    uint64_t beyond_seq;        /* [lock] newest unit with a row that `live` lacks, 0 = none */
    struct log_rows_set live;   /* [lock] from the durable tail to the head */
    struct log_rows_set needed; /* [lock, role] the same with what is to be placed: scratch */
};

/* The opening thread, after recovery: an empty log, from now on within the limit. Nothing without
 * the option. Errors as reclaim_write_out_recovered and log_append_empty. */
R5_MUST_CHECK int log_rows_begin(struct journal *j, struct io_queue *queue);

/* [lock, role], all four. A commit begins, or ends without having lacked room. */
void log_rows_enforce(struct journal *j, bool commit_runs);
/* Whether a payload of the row may be placed now. */
bool log_rows_fit(const struct journal *j, struct member_block row);
/* Whether all that is dirty fits, and `txn_count` blocks of j->commit.address behind it. */
bool log_rows_fit_all(struct journal *j, uint32_t txn_count);
/* A payload of the row is in the unit `seq`. */
void log_rows_note(struct journal *j, struct member_block row, uint64_t seq);

/* [lock] The durable tail names the unit `seq`. */
void log_rows_pass(struct journal *j, uint64_t seq);
/* [lock] A commit lacked room: the log thread is to empty the log. */
void log_rows_want(struct journal *j);
/* [lock] Whether a commit would lack room until the log thread has done so. */
bool log_rows_is_waited_for(const struct journal *j);
/* [lock] A transaction closed. */
void log_rows_closed(struct journal *j);
/* [lock] Whether reservations are to wait for a commit that is being kept from its end. */
bool log_rows_gate_is_shut(const struct journal *j);
/* [lock] Rows in the fullest bucket. */
uint32_t log_rows_fullest(const struct journal *j);

#endif
