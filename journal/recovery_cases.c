/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decisions of recovery (docs/LOG_PROTOCOL.md, "Recovery").
 *
 *   log:  tail                          stop            bound, or the tail again
 *          | unit | unit | unit | unit | ?? | block | block | block |
 *            unit table, one by one ....^    beyond table, each block
 *
 * Invariants:
 *   RC1  every combination of facts fits exactly one case of its table.
 *   RC2  no case takes a unit with anything wrong about it, and none but UNIT_FIRST may ignore seq.
 *   RC3  closed data is written only together with the parity that covers it (W2).
 *   RC4  an open page is returned as itself and never goes into deriving another block.
 *
 * Happy path: recovery_table_find.
 * Failure modes: a combination without a case breaks RC1, our own mistake.
 * Thread: any.
 */
#include "recovery_cases.h"

#include <stddef.h>

#include "r5fs/base/check.h"

#define TABLE(table_name, table_cases, facts)                                               \
    {                                                                                       \
        .name = (table_name), .cases = (table_cases),                                       \
        .case_count = sizeof(table_cases) / sizeof((table_cases)[0]), .fact_count = (facts) \
    }

const struct recovery_case *recovery_table_find(const struct recovery_table *table, uint32_t facts)
{
    const struct recovery_case *found = NULL;

    for (uint32_t i = 0; i < table->case_count; i++) {
        const struct recovery_case *candidate = &table->cases[i];
        if ((facts & candidate->set) == candidate->set && (facts & candidate->clear) == 0) {
            R5_CHECK(found == NULL); /* RC1 */
            found = candidate;
        }
    }
    R5_CHECK(found != NULL); /* RC1 */
    return found;
}

static const struct recovery_case unit_cases[] = {
    {"the tail names no meta block", UNIT_HEAD_DAMAGED, UNIT_FIRST, UNIT_META},
    {"the tail's unit has malformed payloads",
     UNIT_HEAD_DAMAGED,
     UNIT_FIRST | UNIT_META,
     UNIT_FORMED},
    {"the tail's unit has a wrong page",
     UNIT_HEAD_DAMAGED,
     UNIT_FIRST | UNIT_META | UNIT_FORMED,
     UNIT_PAGES},
    {"the tail's unit", UNIT_TAKE, UNIT_FIRST | UNIT_META | UNIT_FORMED | UNIT_PAGES, 0},
    {"no meta block", UNIT_STOP, 0, UNIT_FIRST | UNIT_META},
    {"a unit of another lap", UNIT_STOP, UNIT_META, UNIT_FIRST | UNIT_SEQ},
    {"malformed payloads", UNIT_STOP, UNIT_META | UNIT_SEQ, UNIT_FIRST | UNIT_FORMED},
    {"a torn unit", UNIT_STOP, UNIT_META | UNIT_SEQ | UNIT_FORMED, UNIT_FIRST | UNIT_PAGES},
    {"the next unit", UNIT_TAKE, UNIT_META | UNIT_SEQ | UNIT_FORMED | UNIT_PAGES, UNIT_FIRST},
};

const struct recovery_table recovery_unit_table = TABLE("unit", unit_cases, 5);

/* What the log could reach again goes: a stop at the same place in a later crash must not find it.
 * Seqs only grow, so an older lap's unit is none of that. In a foreign log the trailer says
 * nothing: the bound on units in flight has to do. */
static const struct recovery_case beyond_cases[] = {
    {"no meta block", BEYOND_IGNORE, 0, BEYOND_VALID},
    {"a unit of an older lap", BEYOND_IGNORE, BEYOND_VALID, BEYOND_NEW},
    {"the torn unit itself, or one of another numbering",
     BEYOND_LEFTOVER,
     BEYOND_VALID | BEYOND_NEW,
     BEYOND_AHEAD},
    {"ours, in flight beside the torn one",
     BEYOND_LEFTOVER,
     BEYOND_VALID | BEYOND_NEW | BEYOND_AHEAD,
     BEYOND_FOREIGN | BEYOND_ANSWERED},
    {"ours, submitted when the lost one was durable",
     BEYOND_DAMAGE,
     BEYOND_VALID | BEYOND_NEW | BEYOND_AHEAD | BEYOND_ANSWERED,
     BEYOND_FOREIGN},
    {"foreign, may have been in flight",
     BEYOND_LEFTOVER,
     BEYOND_VALID | BEYOND_NEW | BEYOND_AHEAD | BEYOND_FOREIGN,
     BEYOND_TOO_FAR},
    {"foreign, too far ahead to have been in flight",
     BEYOND_DAMAGE,
     BEYOND_VALID | BEYOND_NEW | BEYOND_AHEAD | BEYOND_FOREIGN | BEYOND_TOO_FAR,
     0},
};

const struct recovery_table recovery_beyond_table = TABLE("beyond", beyond_cases, 6);

static const struct recovery_case row_cases[] = {
    {"forgotten, or never here",
     ROW_NOTHING,
     0,
     ROW_CLOSED_DATA | ROW_CLOSED_PARITY | ROW_OPEN_DATA},
    {"parity whose data the tail has passed: both are on the members",
     ROW_NOTHING,
     ROW_CLOSED_PARITY,
     ROW_CLOSED_DATA | ROW_OPEN_DATA},
    {"closed", ROW_WRITE_CLOSED, ROW_CLOSED_DATA | ROW_CLOSED_PARITY, ROW_OPEN_DATA},
    {"open", ROW_KEEP_OPEN, ROW_OPEN_DATA, ROW_CLOSED_DATA | ROW_CLOSED_PARITY},
    {"open over parity that is on the members",
     ROW_KEEP_OPEN,
     ROW_CLOSED_PARITY | ROW_OPEN_DATA,
     ROW_CLOSED_DATA},
    {"open over closed",
     ROW_WRITE_CLOSED_KEEP_OPEN,
     ROW_CLOSED_DATA | ROW_CLOSED_PARITY | ROW_OPEN_DATA,
     0},
    {"closed without parity", ROW_IMPOSSIBLE, ROW_CLOSED_DATA, ROW_CLOSED_PARITY},
};

const struct recovery_table recovery_row_table = TABLE("row", row_cases, 3);

static const struct recovery_case block_cases[] = {
    {"open page", BLOCK_FROM_OPEN, BLOCK_OPEN, 0},
    {"closed page", BLOCK_FROM_CLOSED, BLOCK_CLOSED, BLOCK_OPEN},
    {"untouched by the closed layer",
     BLOCK_FROM_MEMBER,
     BLOCK_ROW_CLOSED | BLOCK_READABLE,
     BLOCK_OPEN | BLOCK_CLOSED},
    {"lost, its row closed in the log",
     BLOCK_DERIVED,
     BLOCK_ROW_CLOSED,
     BLOCK_OPEN | BLOCK_CLOSED | BLOCK_READABLE},
    {"its row is as the members say",
     BLOCK_FROM_ARRAY,
     0,
     BLOCK_OPEN | BLOCK_CLOSED | BLOCK_ROW_CLOSED},
};

const struct recovery_table recovery_block_table = TABLE("block", block_cases, 4);
