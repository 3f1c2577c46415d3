/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of the journal: a volume of 4 KiB blocks whose writes are volatile until a commit, then
 * durable, then at some later time on the members. Order of writes: docs/LOG_PROTOCOL.md.
 *
 * Life of a block:  journal_write / txn block  ->  DIRTY  -> (commit) PLACED in an io unit
 *                   -> (journal flushed) LOGGED -> (row frozen, parity logged) FROZEN -> on the
 *                   members
 *
 * Who may wait: journal_reserve parks (before any lock of the caller's); journal_commit* wait for
 * log I/O; journal_read waits for member I/O. journal_write, journal_txn_join, journal_release
 * never wait.
 */
#ifndef R5FS_JOURNAL_JOURNAL_H
#define R5FS_JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/list.h"
#include "r5fs/base/reservation.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"
#include "r5fs/raid/array.h"

#define JOURNAL_TXN_BLOCKS_MAX 203u
#define JOURNAL_WHY_BYTES      512

struct journal;

/* See journal_mode.c for the moves. */
enum journal_mode {
    JOURNAL_WRITE_BACK,
    JOURNAL_WRITE_THROUGH, /* a commit is answered when its rows are on the members */
    JOURNAL_READ_ONLY,     /* opened read-only, or without a journal device */
    JOURNAL_FAILED,        /* failed at run time: logged rows were written out, no new writes */
};

/* What the floor above registers. All run on the committing thread (a caller of journal_commit or
 * the log thread). None may call back into journal_reserve or journal_commit. */
struct journal_client {
    /* From lock to unlock no transaction handle is open and nothing is written. Waits for handles
     * to end; a holder of one waits for nothing but I/O. */
    void (*lock)(void *context);
    /* The closing transaction's metadata blocks, each once; at most JOURNAL_TXN_BLOCKS_MAX. `seal`
     * is called first, once, so that checksums can be made. kernel_safe: when the log has no room
     * for them the client is unlocked without `closed`, and all of it comes again. */
    uint32_t (*seal)(void *context);
    void (*block)(void *context,
                  uint32_t index,
                  struct fs_block *out_address,
                  const uint8_t **out_data);
    /* The blocks were copied: the transaction `txn` is closed, the next one (txn + 1) is
     * running. */
    void (*closed)(void *context, uint64_t txn);
    void (*unlock)(void *context);
    /* `txn` and all before it are durable (result 0), or will not become so (-EIO: journal
     * failed). */
    void (*durable)(void *context, uint64_t txn, int result);
    void *context;
};

/* A unit of a log, over mounts: device_uuid of the journal, seq of the unit. All 0: none. */
struct journal_mark {
    struct uuid device;
    uint64_t seq;
};

struct journal_options {
    struct arena *arena;         /* everything that lives as long as the journal */
    uint64_t memory_bytes;       /* share of memory= for images, encode buffers and io units */
    uint32_t io_units;           /* 0: default 8; 1 to 64 */
    uint32_t images_max;         /* 0: as memory allows; tests make it small */
    uint32_t commit_interval_ms; /* default 5000 */
    bool write_through;
    bool kernel_safe;        /* at each moment a kernel can replay the log: docs/adr/0017 */
    bool read_only;          /* nothing is written; the log is laid over the members in memory */
    bool no_replay;          /* with read_only: the members as they are */
    bool accept_damaged_log; /* go on although acknowledged log was damaged, or is an older copy */
    /* NULL: none. Tells an older copy of the log from the newest, before anything is written.
     * Block 0 of the volume, twice: as the members alone have it, and the newest in the log, NULL
     * when the log has none; and the newest unit of the log. What the members have may be torn. 0,
     * or -ESTALE: what the log is, in JOURNAL_WHY_BYTES of `out_why`; recovery puts the journal's
     * path in front. */
    int (*judge_log)(void *context,
                     const uint8_t *on_members,
                     const uint8_t *in_log,
                     const struct journal_mark *log_end,
                     char *out_why);
    void *judge_context;
};

/* What recovery found and did; for status and messages. */
struct journal_recovered {
    uint64_t units;       /* valid units from the tail on */
    uint64_t closed_rows; /* rows whose closed layer was written to the members (or would be) */
    uint64_t open_rows;   /* rows that continue as logged and not yet written out */
    uint64_t leftovers;   /* blocks beyond the stop that were overwritten */
    uint64_t at_s;        /* realtime, 0 = nothing to recover */
};

struct journal_limits {
    uint32_t data_step; /* blocks one reservation may ask for as data */
    uint32_t meta_step; /* metadata blocks one reservation may ask for */
};

/* What a parked reservation lacks. */
enum journal_lack {
    JOURNAL_LACKS_TXN_ROOM,
    JOURNAL_LACKS_IMAGE,
    JOURNAL_LACKS_LOG,
    JOURNAL_LACKS_UNIT,
    JOURNAL_LACKS_BUFFER,
    JOURNAL_LACKS,
};

/* With what it stands in line: first in, first out within each. */
enum journal_class {
    JOURNAL_CLASS_DATA,
    JOURNAL_CLASS_TXN,
    JOURNAL_CLASS_WRITE_OUT, /* what retires writes: the log thread, the leader of a commit */
    JOURNAL_CLASSES,
};

/* Io units, by state. */
struct journal_units {
    uint64_t free;
    uint64_t filling;
    uint64_t submitted;
    uint64_t written; /* not known to be durable */
};

struct journal_status {
    enum journal_mode mode;
    uint64_t ring_blocks;
    uint64_t used_blocks;     /* from the durable tail to the head */
    uint64_t dirty_blocks;    /* written, in no durable unit */
    uint64_t unwritten_rows;  /* logged, not on the members */
    uint64_t unfillable_rows; /* of them: parity needs a block that cannot be read */
    uint64_t oldest_dirty_ns; /* age of the oldest volatile write, 0 = none */
    uint64_t seq;             /* of the newest durable unit */
    uint64_t commits;
    uint64_t log_bytes; /* written to the log since open */
    uint64_t parked;    /* requests on the no-space list now */
    uint64_t parked_by[JOURNAL_LACKS][JOURNAL_CLASSES];
    struct journal_units units;
    uint64_t oldest_unit_ns; /* age of the oldest unit with rows not all on the members, 0 = none */
    bool kernel_safe;        /* the option */
    uint32_t bucket_rows;    /* kernel_safe: rows in the fullest bucket of a kernel's replay */
    uint32_t bucket_max;     /* and how many it may hold */
    bool waiting_for_space;  /* write-out waits for room on a member's host: array_full_path */
    struct journal_recovered recovered;
};

/* Zeroes the ring and writes the one empty meta block that starts a log. The array was just
 * created. */
R5_MUST_CHECK int journal_format(struct array *array, struct io_queue *queue);
/* Least ring, in blocks, that the reserves allow for this array (docs/LOG_PROTOCOL.md,
 * "Reserves"). */
uint64_t journal_least_blocks(const struct geometry *geometry);

/* Runs recovery and starts the log thread (none when read_only). The array is assembled; writing to
 * it is started here (unless read_only, or it was already) once the log was found good, and stopped
 * by the caller after journal_close (array_is_writing). -EBADMSG: acknowledged log is damaged,
 * `out_why` names the loss and the way out; -ESTALE: judge_log refused it; -ENOSPC: the ring or the
 * memory is too small, with the size needed. */
R5_MUST_CHECK int journal_open(struct journal **out_journal,
                               struct array *array,
                               const struct journal_options *options,
                               struct io_queue *queue,
                               char *out_why);
/* Before the first write. */
void journal_set_client(struct journal *journal, const struct journal_client *client);
/* Commits, writes every row out, leaves an empty log, stops the log thread. The first error. */
R5_MUST_CHECK int journal_close(struct journal *journal, struct io_queue *queue);
/* Stops the thread and forgets everything unwritten, as a crash would (tests, fatal errors). */
void journal_abandon(struct journal *journal);

struct journal_limits journal_limits(const struct journal *journal);
void journal_get_status(struct journal *journal, struct journal_status *out_status);
/* The newest durable unit; none when read-only. The client's seal may ask. Any thread. */
void journal_get_mark(struct journal *journal, struct journal_mark *out_mark);
R5_MUST_CHECK int
journal_set_mode(struct journal *journal, struct io_queue *queue, enum journal_mode mode);

/* Newest images: memory over log over members. `buffer` block-aligned. Any thread. */
R5_MUST_CHECK int journal_read(struct journal *journal,
                               struct io_queue *queue,
                               struct fs_block first,
                               uint32_t count,
                               uint8_t *buffer);

/* ---- reservations --------------------------------------------------------------------------- */

/* Embedded by the caller; zeroed before the first use. Everything an operation will need: memory
 * for the images, log space for data, parity and meta blocks, room in the running transaction. */
struct journal_reservation {
    uint32_t data_blocks;    /* still unused [caller] */
    uint32_t meta_blocks;    /* still unused [caller] */
    struct reservation wait; /* its place on the no-space list [journal] */
    struct journal *journal;
    bool granted;
    bool interrupted;
    int error;
    uint32_t want_data;
    uint32_t want_meta;
};

/* All or none, first in first out. Waits until granted; the caller holds no lock and no other
 * reservation. -EINTR after journal_interrupt; -EROFS read-only or failed; -EINVAL above the
 * limits. */
R5_MUST_CHECK int journal_reserve(struct journal *journal,
                                  struct journal_reservation *reservation,
                                  uint32_t data_blocks,
                                  uint32_t meta_blocks);
/* Makes a parked reservation return -EINTR; harmless when it is not parked. Any thread. */
void journal_interrupt(struct journal *journal, struct journal_reservation *reservation);
/* Gives back what was not used. */
void journal_release(struct journal *journal, struct journal_reservation *reservation);

/* ---- writing (under the client's lock against commit, see journal_client)
 * --------------------- */

/* The block's new contents, volatile until the next commit. Takes one data block of the reservation
 * when the block has no dirty image yet. Copies `data`. */
void journal_write(struct journal *journal,
                   struct journal_reservation *reservation,
                   struct fs_block block,
                   const uint8_t *data);
/* A metadata block was dirtied for the first time in the running transaction: moves one metadata
 * block of the reservation to the transaction. The contents are fetched when it closes. */
void journal_txn_join(struct journal *journal, struct journal_reservation *reservation);
/* A metadata block left the running transaction (freed again before it closed): the reverse. */
void journal_txn_leave(struct journal *journal, struct journal_reservation *reservation);
/* Forgets dirty, unlogged images of blocks that were freed; logged ones stay. */
void journal_discard(struct journal *journal, struct fs_block first, uint64_t count);

/* ---- commit --------------------------------------------------------------------------------- */

/* Number of the running transaction; a commit of it covers everything written so far. */
uint64_t journal_running_txn(struct journal *journal);
/* Returns when transaction `txn` and all data written before it closed are durable. The caller
 * leads the commit itself when none is in flight, else it follows. No lock and no reservation held.
 * -EIO when the journal failed. */
R5_MUST_CHECK int journal_commit(struct journal *journal, struct io_queue *queue, uint64_t txn);
/* Commit, then everything on the members and the log empty; stays open. */
R5_MUST_CHECK int journal_drain(struct journal *journal, struct io_queue *queue);

#endif
