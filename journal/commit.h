/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commits: see commit.c. */
#ifndef R5FS_JOURNAL_COMMIT_H
#define R5FS_JOURNAL_COMMIT_H

#include "journal_internal.h"

void commit_init(struct journal *j);
void commit_fini(struct journal *j);
/* [lock] Whether anything is volatile. */
bool commit_is_needed(const struct journal *j);
/* Commits what is running now, or follows a commit in flight. */
R5_MUST_CHECK int commit_running(struct journal *j, struct io_queue *queue);
/* The same for the log thread: it follows nobody, and when the log may name no more rows it comes
 * back, so that it can make room. */
R5_MUST_CHECK int commit_try(struct journal *j, struct io_queue *queue);

#endif
