/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of a member's states and moves. The states themselves: r5fs/raid/array.h. */
#ifndef R5FS_RAID_MEMBER_STATE_H
#define R5FS_RAID_MEMBER_STATE_H

#include <stdbool.h>

#include "r5fs/raid/array.h"

#define MEMBER_STATE_COUNT 4u

/* As status prints it: "missing", "active", "faulty", "stale". */
const char *member_state_name(enum member_state state);
bool member_state_may_move(enum member_state from, enum member_state to);

#endif
