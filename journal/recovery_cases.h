/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What recovery decides, as truth tables: facts in, one labelled case out. Pure; any thread.
 *
 * A table answers every combination of its facts with exactly one case; tests walk them all. Facts
 * are bits; a case names those it needs set and those it needs clear, the others do not matter to
 * it.
 */
#ifndef R5FS_JOURNAL_RECOVERY_CASES_H
#define R5FS_JOURNAL_RECOVERY_CASES_H

#include <stdbool.h>
#include <stdint.h>

struct recovery_case {
    const char *label;
    unsigned decision; /* of the table's own enum */
    uint32_t set;
    uint32_t clear;
};

struct recovery_table {
    const char *name;
    const struct recovery_case *cases;
    uint32_t case_count;
    uint32_t fact_count; /* facts are bits 0 .. fact_count - 1 */
};

/* The one case that fits. */
const struct recovery_case *recovery_table_find(const struct recovery_table *table, uint32_t facts);

/* ---- the place where the next unit of the log should stand -------------------------------- */

enum {
    UNIT_FIRST = 1u << 0,  /* it is the place the tail names: any seq will do */
    UNIT_META = 1u << 1,   /* a valid meta block of this place (META_VALID) */
    UNIT_SEQ = 1u << 2,    /* with the expected seq */
    UNIT_FORMED = 1u << 3, /* payloads known, addresses on the array, room before the tail */
    UNIT_PAGES = 1u << 4,  /* every page has the checksum its payload names */
};

enum unit_decision {
    UNIT_TAKE,         /* part of the log */
    UNIT_STOP,         /* the log ends before it: nothing, an older lap, or a torn unit */
    UNIT_HEAD_DAMAGED, /* the tail names what was durable once: this cannot be a torn unit */
};

extern const struct recovery_table recovery_unit_table;

/* ---- a block beyond the end of the log ---------------------------------------------------- */

enum {
    BEYOND_VALID = 1u << 0,    /* META_VALID for its place */
    BEYOND_NEW = 1u << 1,      /* its seq is not before the stop's */
    BEYOND_AHEAD = 1u << 2,    /* behind the stop's, by no more than the blocks between allow */
    BEYOND_FOREIGN = 1u << 3,  /* the log is another writer's (recovery_beyond.c) */
    BEYOND_ANSWERED = 1u << 4, /* seq - undurable > stop seq: the stop's unit was durable by then */
    BEYOND_TOO_FAR = 1u << 5,  /* seq >= stop seq + LOG_UNITS_IN_FLIGHT_MAX */
};

enum beyond_decision {
    BEYOND_IGNORE,
    BEYOND_LEFTOVER, /* to be overwritten before the log goes on */
    BEYOND_DAMAGE,   /* proves that durable log before it is gone; also a leftover */
};

extern const struct recovery_table recovery_beyond_table;

/* ---- a row, after the whole scan ---------------------------------------------------------- */

enum {
    ROW_CLOSED_DATA = 1u << 0,   /* data of generations whose parity is in the log */
    ROW_CLOSED_PARITY = 1u << 1, /* the last of those parities */
    ROW_OPEN_DATA = 1u << 2,     /* data logged after it */
};

enum row_decision { /* bits: write the closed layer to the members, keep the open one in the log */
                    ROW_NOTHING = 0,
                    ROW_WRITE_CLOSED = 1,
                    ROW_KEEP_OPEN = 2,
                    ROW_WRITE_CLOSED_KEEP_OPEN = 3,
                    ROW_IMPOSSIBLE = 4, /* closed data without parity: the scan cannot make it */
};

extern const struct recovery_table recovery_row_table;

/* ---- where a block of the volume stands, read without replaying --------------------------- */

enum {
    BLOCK_OPEN = 1u << 0,       /* it is in its row's open layer */
    BLOCK_CLOSED = 1u << 1,     /* it is in its row's closed layer */
    BLOCK_ROW_CLOSED = 1u << 2, /* its row has closed data */
    BLOCK_READABLE = 1u << 3,   /* its member can be read */
};

enum block_source {
    BLOCK_FROM_OPEN,   /* the log page of the open layer */
    BLOCK_FROM_CLOSED, /* the log page of the closed layer */
    BLOCK_FROM_MEMBER, /* as it stands on its member */
    BLOCK_DERIVED,     /* XOR of the row's others, members overlaid with the closed layer */
    BLOCK_FROM_ARRAY,  /* an ordinary read, reconstructed by raid where needed */
};

extern const struct recovery_table recovery_block_table;

#endif
