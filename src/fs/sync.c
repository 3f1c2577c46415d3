/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fsync. A commit covers everything written before it, whatever the inode: the running transaction
 * holds all metadata, and data units go before it (W5, W10). fdatasync is the same commit: size
 * and map are in that transaction anyway. Many callers share one commit (journal.h). The caller
 * holds nothing.
 */
#include "fs_internal.h"

int fs_fsync(struct fs *fs, struct fs_thread *thread, uint64_t ino, bool data_only)
{
    (void)ino; /* see above */
    (void)data_only;
    return fs_sync(fs, thread);
}
