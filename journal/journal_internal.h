/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal's inside: one structure, one lock, and the few doors between the files of this floor.
 *
 *   journal.c            the door: open, close, read, write
 *   log_space.c          who may dirty how much; the no-space lists
 *   logged_stripe.c      states of images, dirty list, live list
 *   io_unit.c            buffers of units
 *   log.c                writer role, batches of units, durability, the tail
 *   log_rows.c           kernel_safe: how many rows the log names
 *   commit.c             leader and followers
 *   reclaim.c            rows to the members
 *   log_thread.c         when to do which of these
 *   journal_mode.c       write-back, write-through, read-only, failed
 *   journal_fail.c       the journal device fails
 *   recovery*.c          what a crash left
 *
 * Locks, outermost first: client's lock is taken while the writer role is held; `lock` (the order
 * lock) inside both; pools' own locks inside `lock`. No I/O and no callback of the client but
 * `block` under `lock`. [lock] below means this one; [role] belongs to whoever holds the writer
 * role; [log thread] to that thread; [fixed] does not change after open.
 */
#ifndef R5FS_JOURNAL_JOURNAL_INTERNAL_H
#define R5FS_JOURNAL_JOURNAL_INTERNAL_H

#include "io_unit.h"
#include "log_ring.h"
#include "log_rows.h"
#include "meta_block.h"
#include "r5fs/base/env.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/reservation.h"
#include "r5fs/base/watch.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/stripe.h"

#define JOURNAL_IO_UNITS_DEFAULT   8u
#define JOURNAL_IO_UNITS_MIN       1u
#define JOURNAL_COMMIT_INTERVAL_MS 5000u
#define JOURNAL_BATCH_ROWS_MAX     LOG_UNIT_PAYLOADS_MAX /* parity payloads of one unit */

/* Where the log stands. Positions are of meta blocks; the head is where the next one goes. */
struct log {
    struct io_file *file;  /* [fixed] */
    struct log_ring ring;  /* [fixed] */
    uint32_t seed;         /* [fixed] of all checksums */
    struct log_block head; /* [lock], moved by the role's holder only */
    uint64_t next_seq;     /* [lock], likewise */
    uint64_t durable_seq;  /* [lock] newest durable unit; recovery: the last valid one */
    struct log_block durable_position; /* [lock] its meta block */
    struct log_block tail;             /* [lock] the durable tail, as in the superblock */
    uint64_t role_next;                /* [lock] tickets of the writer role */
    uint64_t role_serving;             /* [lock] */
    struct env_cond role_moved;
    struct io_unit *batch[LOG_UNITS_IN_FLIGHT_MAX]; /* [role] units composed, not yet durable */
    uint32_t batch_count;                           /* [role] */
    bool unit_promised;                             /* [role] the next unit is there for sure */
    uint64_t bytes_written;                         /* [lock] */
};

/* In the order of serving; first in, first out within each. */
enum log_space_class {
    LOG_SPACE_WRITE_OUT, /* who retires writes: the log thread, the leader of a commit */
    LOG_SPACE_TXN,
    LOG_SPACE_DATA,
    LOG_SPACE_CLASSES,
};

/* Why a request waits, in the order tested. */
enum log_space_cause {
    LOG_SPACE_NONE,
    LOG_SPACE_NO_TXN_ROOM, /* a commit makes room, or another's unused credits come back */
    LOG_SPACE_NO_IMAGE,    /* a row written out frees images */
    LOG_SPACE_NO_LOG,      /* the tail moves */
    LOG_SPACE_NO_UNIT,     /* a unit is durable */
    LOG_SPACE_NO_BUFFER,   /* encode buffers: rows are on the members */
    LOG_SPACE_CAUSES,
};

/* All [lock]. See log_space.h for the invariant. */
struct log_space {
    uint64_t outstanding; /* blocks reserved that are no image yet: data, metadata joined or not */
    uint64_t txn_used;    /* of them: joined to the running transaction */
    uint64_t txn_outstanding;      /* of them: metadata not joined */
    uint64_t dirty;                /* images DIRTY */
    uint64_t placed;               /* images PLACED */
    uint64_t unplaced;             /* parities that will be logged: see log_space.h */
    uint64_t images_used;          /* in all states */
    uint32_t images_max;           /* [fixed] */
    uint32_t txn_max;              /* [fixed] */
    uint32_t data_step;            /* [fixed] */
    struct collector collector;    /* the no-space list */
    bool wanted[LOG_SPACE_CAUSES]; /* causes of the first waiters now */
    uint64_t wanted_log;           /* blocks that the first waiter for log space asks for */
    struct env_cond granted;
    struct watch *watch[LOG_SPACE_CLASSES]; /* [fixed] who is parked */
    struct pool log_counter;                /* "log space": counters only */
    struct pool txn_counter;                /* "transaction credit": counters only */
};

struct commit {
    uint64_t running_txn; /* [lock] */
    uint64_t durable_txn; /* [lock] newest transaction that is durable */
    bool leading;         /* [lock] one commit at a time */
    uint64_t count;       /* [lock] */
    struct env_cond ended;
    struct watch *watch; /* [fixed] the commit in flight */
    struct fs_block
        address[JOURNAL_TXN_BLOCKS_MAX];         /* [role] of the closing transaction's blocks */
    const uint8_t *data[JOURNAL_TXN_BLOCKS_MAX]; /* [role] */
};

struct reclaim {
    struct stripe_head **heads; /* [log thread] the batch */
    uint32_t head_count;        /* [log thread] */
    uint32_t head_max;          /* [fixed] encode buffers for so many rows */
    uint64_t batch_seq;         /* [lock] oldest unit of the rows in the batch, 0 = no batch */
    bool stuck;                 /* [lock] write-out waits for space on a member's host */
    uint64_t retry_ns;          /* [lock] when it is tried again */
    bool parked;                /* [lock] rows of the batch wait for readers under their cells */
    uint32_t granted;           /* [lock] of these, told since to hold their rows */
    uint64_t failed_rows;       /* [lock] live rows marked unfillable: too much of them is lost */
    uint64_t refill_ns;         /* [lock] when they are tried again anyway */
    int error;                  /* [lock] write-out has ended for good: the array failed; 0 = no */
    bool draining;              /* [lock] went above the high mark, not yet below the low one */
    uint64_t pin_seq; /* [lock] oldest unit of rows frozen since the members' flush, 0 = none */
    struct log_block pin_position; /* [lock] its meta block */
    uint64_t pin_ns;               /* [lock] since when it is in the log */
    uint64_t rows_written;         /* [lock] since open */
    struct env_cond written; /* rows got to the members, the tail moved, or neither will happen */
};

struct log_thread {
    struct env_thread *thread; /* [fixed] NULL: none */
    struct io_queue *queue;    /* [log thread] */
    struct env_cond wake;
    struct watch *watch;       /* [fixed] its current step */
    bool ready;                /* [lock] its queue is open, or `error` says why not */
    bool lacks;                /* [lock] it stands on the no-space list with `lack` */
    struct reservation lack;   /* [lock] */
    int error;                 /* [lock] */
    bool stop;                 /* [lock] */
    bool fail_started;         /* [lock] journal_fail_finish is under way */
    bool fail_done;            /* [lock] and over */
    bool fail_resync;          /* [log thread] resync_offset 0 was asked for, for its time */
    bool fail_marked;          /* [log thread] and is durable */
    uint64_t want_written_seq; /* [lock] write out rows first logged up to here */
    uint64_t want_empty;       /* [lock] callers that wait for an empty log */
    uint64_t last_use_ns;      /* [lock] of a foreground operation */
};

struct journal {
    struct array *array;             /* [fixed] */
    const struct geometry *geometry; /* [fixed] */
    struct journal_options options;  /* [fixed] defaults filled in */
    struct env_mutex lock;           /* the order lock */
    enum journal_mode mode;          /* [lock] moved by journal_mode_move */
    int failing;                     /* [lock] first error of the journal device, 0 = none */
    const char *fail_what;           /* [lock] what met it */
    struct log log;
    struct log_space space;
    struct log_rows rows;
    struct io_units units;
    struct stripe_cache cache; /* [lock] as its [cache] */
    struct list_node dirty;    /* [lock] images DIRTY, by stripe_image.link, oldest first */
    struct list_node live;     /* [lock] open generations, stripe_generation.live, by first_seq */
    uint64_t live_rows;        /* [lock] on it */
    uint64_t oldest_dirty_ns;  /* [lock] 0 = nothing is dirty */
    struct commit commit;
    struct reclaim reclaim;
    struct log_thread thread;
    struct journal_client client;       /* [fixed] before the first write */
    struct journal_recovered recovered; /* [fixed] */
    struct recovery_view *view;         /* [fixed] read_only: the log over the members; else NULL */
};

/* Invariants of the images, the lists and the sums; CHECKs. Takes the lock. For tests. */
void journal_verify(struct journal *j);

/*
 * Recovery's side. recovery_run(j, queue, out_why) (recovery.h) is called by journal_open on the
 * opening thread, no other thread runs yet, `cache`, `log.file/ring/seed`, `space`, `units` are
 * ready. It
 *   1. brings the closed layers to the members, zeroes leftovers,
 *   2. sets log.tail (as in the superblock), log.head, log.next_seq, log.durable_seq and
 *      log.durable_position (the last valid unit),
 *   3. hands the open images over, rows in order of their first_seq, each row whole, with
 *      logged_stripe_add_recovered() (logged_stripe.h). Where the cache has no room for a whole row
 *      more: reclaim_write_out_recovered() (reclaim.h), then on; a row is never handed over in
 *      parts,
 *   4. fills j->recovered.
 * With options.read_only: recovery_view_open(j, queue, out_why) sets j->view and j->recovered
 * instead, recovery_view_read(j, queue, first, count, buffer) reads, recovery_view_close(j) ends.
 * With no_replay or without a journal device the view is never opened and the members are read as
 * they are.
 */

#endif
