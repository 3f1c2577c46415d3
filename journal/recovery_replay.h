/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bringing a scanned log into effect: closed layers to the members, leftovers out of the way, open
 * rows to whoever runs the log on. Any step may be cut off by a crash; scanning and replaying again
 * gives the same result.
 */
#ifndef R5FS_JOURNAL_RECOVERY_REPLAY_H
#define R5FS_JOURNAL_RECOVERY_REPLAY_H

#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/raid/stripe.h"
#include "recovery_scan.h"

/* Who runs the log on: journal1's structures, or a test's. */
struct recovery_sink {
    /* Pages that add can still take. */
    uint32_t (*room)(void *context);
    /* One page of an open row: logged in the unit `seq` whose meta block stands at `meta`, and not
     * yet written out. Pages of a row come one after another, rows by their oldest seq. `data` is
     * lent for the call. */
    int (*add)(void *context,
               struct fs_block block,
               const struct recovered_page *page,
               const uint8_t *data);
    /* Brings all rows added so far to the members, parity logged first, so that there is room
     * again. The tail stays. The log was made continuable before. */
    int (*write_out)(void *context, struct io_queue *queue);
    void *context;
};

struct recovery_replay {
    struct recovery_scan *scan; /* done */
    struct array *array;        /* writing was started */
    struct stripe_cache *cache; /* empty; nobody else uses it */
    struct io_queue *queue;
    char *out_why; /* JOURNAL_WHY_BYTES */
    /* Working space, from the scan's arena. */
    struct log_page *pages;
    struct io_request *requests;
    struct stripe_head **heads;
    uint8_t *buffers;
};

void recovery_replay_init(struct recovery_replay *replay,
                          struct recovery_scan *scan,
                          struct array *array,
                          struct stripe_cache *cache,
                          struct io_queue *queue,
                          char *out_why);
/* Writes the closed layers to the members that exist, and flushes these. -EIO: the array failed, or
 * a page of the log changed; -EDQUOT, -ENOSPC: no room below a member; -ENOSPC also when the cache
 * holds not even one row. */
R5_MUST_CHECK int recovery_replay_closed(struct recovery_replay *replay);
/* Overwrites what stands beyond the stop and could be taken for part of the log, all of it up to
 * the tail where damage was accepted; or begins a new log where there is no head. Durable when it
 * returns: from then on the log may go on at scan->stop with scan->stop_seq. */
R5_MUST_CHECK int recovery_replay_clean(struct recovery_replay *replay);
/* After both: lets the durable tail pass what is on the members now (W3): it goes to the oldest
 * page that is still open, or to the newest unit (W3b). Changes scan->tail and scan->used_blocks.
 * */
R5_MUST_CHECK int recovery_replay_tail(struct recovery_replay *replay);
/* Hands the open rows over. -ENOSPC: the sink has no room for one row even after a write-out. */
R5_MUST_CHECK int recovery_replay_open(struct recovery_replay *replay,
                                       const struct recovery_sink *sink);

#endif
