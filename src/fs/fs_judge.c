/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells an older copy of the journal from the newest.
 *
 *   members ... super of transaction N     log ... super of transaction M
 *   N > M:  N was in a log once and was written out; this log ends before it
 *
 * Invariant: a super reaches the members only through the log, and the log keeps, from its tail on,
 * everything up to its end. So the newest log holds no super, or one at least as new as the
 * members'. super.txn never goes back, over mounts and repairs.
 * Failure modes: what does not decode, or belongs to another filesystem, says nothing: 0. An older
 * copy without any super in it is not noticed.
 * Pure; any thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "fs_super.h"

int fs_judge_log(void *context, const uint8_t *on_members, const uint8_t *in_log, char *out_why)
{
    struct fs_super members;
    struct fs_super log;
    char why[FS_WHY_BYTES]; /* judged elsewhere */

    (void)context;
    if (fs_super_decode(&members, on_members, fs_block(0), UINT64_MAX, why) != 0 ||
        fs_super_decode(&log, in_log, fs_block(0), UINT64_MAX, why) != 0 ||
        !uuid_equal(&members.fs_uuid, &log.fs_uuid) || members.txn <= log.txn) {
        return 0;
    }
    (void)snprintf(out_why,
                   JOURNAL_WHY_BYTES,
                   "is an older copy: the members hold transaction %" PRIu64
                   ", the log ends at %" PRIu64
                   " (hint: put the newest journal back; --accept-damaged-log, "
                   "-o accept_damaged_log goes on without it)",
                   members.txn,
                   log.txn); /* fits */
    return -ESTALE;
}
