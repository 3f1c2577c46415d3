/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells an older copy of the journal from the newest.
 *
 *   members ... super of transaction N       log ... super of transaction M
 *   N > M:   N was in a log once and was written out; this log ends before it
 *   members ... super, unit S was durable    log without a super, its newest unit is T
 *   S >= T:  the super was in a unit behind S; this log ends before it
 *
 * Invariants: a super reaches the members only through the log, and the log keeps, from its tail
 * on, everything up to its end. So the newest log holds no super, or one at least as new as the
 * members', and it ends behind the unit that any super on the members was in. super.txn never goes
 * back, over mounts and repairs.
 * seq does: a log begun anew over damage, or by mdadm, starts with a random one. A replaced journal
 * is another device, so that S and T are not compared; on the same device the first transaction
 * puts a super into the log, and from then on N and M are what counts.
 * Failure modes: what does not decode, or belongs to another filesystem, says nothing: 0. A copy is
 * not noticed while no super from behind its end is on the members; until then they hold what
 * they held when it was made, or only part of the first write-out after it (journal/reclaim.c).
 * Pure; any thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs_super.h"

bool fs_super_is_past(const struct fs_super *super, const struct journal_mark *log_end)
{
    return uuid_equal(&super->log.device, &log_end->device) && super->log.seq >= log_end->seq;
}

static int say_older(char *out_why, const char *what, uint64_t members, uint64_t log)
{
    (void)snprintf(out_why,
                   JOURNAL_WHY_BYTES,
                   "is an older copy: the members hold %s %" PRIu64 ", the log ends at %" PRIu64
                   " (hint: put the newest journal back; --accept-damaged-log, "
                   "-o accept_damaged_log goes on without it)",
                   what,
                   members,
                   log); /* fits */
    return -ESTALE;
}

int fs_judge_log(void *context,
                 const uint8_t *on_members,
                 const uint8_t *in_log,
                 const struct journal_mark *log_end,
                 char *out_why)
{
    struct fs_super members;
    struct fs_super log;
    char why[FS_WHY_BYTES]; /* judged elsewhere */

    (void)context;
    if (fs_super_decode(&members, on_members, fs_block(0), UINT64_MAX, why) != 0) {
        return 0;
    }
    if (in_log == NULL) {
        return fs_super_is_past(&members, log_end)
                   ? say_older(out_why, "what follows unit", members.log.seq, log_end->seq)
                   : 0;
    }
    if (fs_super_decode(&log, in_log, fs_block(0), UINT64_MAX, why) != 0 ||
        !uuid_equal(&members.fs_uuid, &log.fs_uuid) || members.txn <= log.txn) {
        return 0;
    }
    return say_older(out_why, "transaction", members.txn, log.txn);
}
