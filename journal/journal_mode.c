/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Modes of the journal.
 *
 *   WRITE_BACK <--> WRITE_THROUGH     by order of the user, at any time
 *        \              /
 *         '--> FAILED <-'             an error of the journal device: no way back in this mount
 *   READ_ONLY                         from open to close
 *
 * Invariant M1: the mode moves in journal_mode_move alone, by the table.
 * Thread: any, with j->lock.
 */
#include "journal_mode.h"

#include "journal_internal.h"
#include "r5fs/base/msg.h"

#define JOURNAL_MODE_COUNT 4

static const bool moves[JOURNAL_MODE_COUNT][JOURNAL_MODE_COUNT] = {
    [JOURNAL_WRITE_BACK] = {[JOURNAL_WRITE_THROUGH] = true, [JOURNAL_FAILED] = true},
    [JOURNAL_WRITE_THROUGH] = {[JOURNAL_WRITE_BACK] = true, [JOURNAL_FAILED] = true},
};

static const char *const names[JOURNAL_MODE_COUNT] = {
    [JOURNAL_WRITE_BACK] = "write-back",
    [JOURNAL_WRITE_THROUGH] = "write-through",
    [JOURNAL_READ_ONLY] = "read-only",
    [JOURNAL_FAILED] = "failed",
};

const char *journal_mode_name(enum journal_mode mode)
{
    R5_CHECK((unsigned)mode < JOURNAL_MODE_COUNT);
    return names[mode];
}

bool journal_mode_may_move(enum journal_mode from, enum journal_mode to)
{
    R5_CHECK((unsigned)from < JOURNAL_MODE_COUNT);
    R5_CHECK((unsigned)to < JOURNAL_MODE_COUNT);
    return moves[from][to];
}

void journal_mode_move(struct journal *j, enum journal_mode to)
{
    R5_CHECK(journal_mode_may_move(j->mode, to)); /* M1 */
    msg_info("journal", "mode from=%s to=%s", journal_mode_name(j->mode), journal_mode_name(to));
    j->mode = to;
    env_cond_signal(&j->thread.wake);
}
