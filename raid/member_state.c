/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A member's states and moves, as a table.
 *
 *   MISSING --assembled--> IN_SYNC --failed in use--> FAULTY
 *      \-----given, but its events are behind-------> STALE
 *
 * There is no way back within one assembly: a lost member returns as a rebuild of a later one.
 */
#include "member_state.h"

#include "r5fs/base/check.h"

static const char *const names[MEMBER_STATE_COUNT] = {
    [MEMBER_MISSING] = "missing",
    [MEMBER_IN_SYNC] = "active",
    [MEMBER_FAULTY] = "faulty",
    [MEMBER_STALE] = "stale",
};

static const bool moves[MEMBER_STATE_COUNT][MEMBER_STATE_COUNT] = {
    [MEMBER_MISSING] = {[MEMBER_IN_SYNC] = true, [MEMBER_STALE] = true},
    [MEMBER_IN_SYNC] = {[MEMBER_FAULTY] = true},
};

const char *member_state_name(enum member_state state)
{
    R5_CHECK((unsigned)state < MEMBER_STATE_COUNT);
    return names[state];
}

bool member_state_may_move(enum member_state from, enum member_state to)
{
    R5_CHECK((unsigned)from < MEMBER_STATE_COUNT);
    R5_CHECK((unsigned)to < MEMBER_STATE_COUNT);
    return moves[from][to];
}
