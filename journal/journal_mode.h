/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's modes: the table and its one mover. */
#ifndef R5FS_JOURNAL_JOURNAL_MODE_H
#define R5FS_JOURNAL_JOURNAL_MODE_H

#include <stdbool.h>

#include "r5fs/journal/journal.h"

const char *journal_mode_name(enum journal_mode mode);
bool journal_mode_may_move(enum journal_mode from, enum journal_mode to);
/* [lock] CHECKs the table, says it once, wakes the log thread. */
void journal_mode_move(struct journal *j, enum journal_mode to);

#endif
