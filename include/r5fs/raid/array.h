/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An md RAID5 array over backing files: create, assemble, read, member states, superblocks.
 * It knows no journal beyond the device that has the journal role: where its ring lies and the tail
 * kept in its superblock.
 *
 * Locking: the array has its own lock for states and superblocks; reads may run on any thread with
 * its own queue, superblock updates are serialized inside.
 */
#ifndef R5FS_RAID_ARRAY_H
#define R5FS_RAID_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"
#include "r5fs/raid/geometry.h"
#include "r5fs/raid/member_io.h"

#define ARRAY_NAME_BYTES 33
#define ARRAY_WHY_BYTES  512
#define ARRAY_NO_SLOT    UINT32_MAX
#define ARRAY_CHUNK_MAX  (UINT32_C(64) << 20)    /* bytes, of an array that is made */
#define ARRAY_FILES_MAX  (MEMBERS_MAX + 1u + 8u) /* members, journal, a few that turn out foreign */

/* See member_state.c for the table of moves. */
enum member_state {
    MEMBER_MISSING, /* no file was given, or it was not usable */
    MEMBER_IN_SYNC,
    MEMBER_FAULTY, /* failed while in use; its role is, or is about to be, faulty everywhere */
    MEMBER_STALE,  /* given, but events behind: not used */
};

enum array_state { /* derived from the members, never stored */
                   ARRAY_CLEAN,
                   ARRAY_DEGRADED, /* one slot lost: everything is readable */
                   ARRAY_FAILED,   /* more lost than parity covers */
};

enum journal_state {
    JOURNAL_DEVICE_NONE, /* the array has no journal role at all */
    JOURNAL_DEVICE_OK,
    JOURNAL_DEVICE_MISSING, /* the array has one, but it was not given, is stale or foreign */
    JOURNAL_DEVICE_FAULTY,  /* failed at run time, recorded */
};

struct member_info {
    enum member_state state;
    const char *path; /* "" when never seen */
    uint64_t size_bytes;
    uint64_t read_errors;
    uint64_t write_errors;
    uint64_t since_ns; /* realtime of the last change of state, 0 = at start */
    bool direct;
    char cause[96]; /* of a failure: "write error EIO at 3.1 GiB" */
};

/* ---- create ------------------------------------------------------------------------------- */

struct array_create {
    const char *const *member_paths; /* slot order; existing files or devices, sized already */
    uint32_t member_count;
    const char *journal_path; /* or NULL: an array without journal */
    uint32_t chunk_sectors;
    enum layout layout;
    const char *name; /* set_name, "host:label" or "label" */
    struct uuid uuid;
    /* Descriptors of the members, then of the journal, open and locked by the caller; or NULL. */
    const int *held_fds;
};

/* Sizes a create would choose, in bytes, for --dry-run and for the message. */
struct array_plan {
    uint64_t data_offset_bytes;
    uint64_t member_data_bytes; /* used of each member */
    uint64_t volume_bytes;
    uint64_t journal_offset_bytes;
    uint64_t journal_bytes;
    uint64_t checksum_region_bytes; /* kept free before data_offset, see docs/SPEC.md */
};

R5_MUST_CHECK int array_plan(const struct array_create *create,
                             const uint64_t *member_sizes,
                             uint64_t journal_size,
                             struct array_plan *out_plan,
                             char *out_why);
/* Writes superblocks; the journal gets one empty meta block from the journal floor afterwards, its
 * tail is 0. The members' data areas must read as zeros (the caller made them so): parity is then
 * consistent and the array starts clean. Superblocks are written last, members before the journal,
 * all flushed. `out_why` (ARRAY_WHY_BYTES) says in words what failed, with the path. */
R5_MUST_CHECK int array_create(const struct array_create *create, char *out_why);

/* What is on a file, for refusing to overwrite it: "" when nothing recognisable, else e.g.
 * "md member of array 2c0e...", "ext4 filesystem", "data (not all zeros)". Reads the first and last
 * 1 MiB. */
R5_MUST_CHECK int array_recognise(const char *path, char out_what[ARRAY_WHY_BYTES]);

/* ---- examine ------------------------------------------------------------------------------ */

struct md_superblock; /* raid/md_superblock.h */

/* ---- assemble ----------------------------------------------------------------------------- */

struct array_assemble {
    const char *const *paths; /* any order; members, journal, strangers are refused by name */
    uint32_t path_count;
    bool read_only;        /* files opened read-only; nothing is ever written */
    bool allow_degraded;   /* else a missing member is refused unless it was faulty before */
    bool allow_no_journal; /* else a missing journal is refused; with it: read-only use only */
    bool allow_dirty;      /* resync needed: accepted (dump, check) */
    uint32_t lock_wait_ms;
    const int *held_fds; /* of `paths`, open and locked by the caller; or NULL: opened here */
    struct arena *arena; /* everything the array keeps */
};

struct array;

/* Opens, locks and validates; picks the freshest events; refuses duplicates, foreign, stale,
 * truncated, swapped files by name (log-protocol.md W11, md-format.md 1 and 2). Writes nothing.
 * -ENODEV too many members missing; -ENXIO journal missing; -ESTALE; -EBUSY; -EINVAL; -EUCLEAN;
 * -EPERM degraded and not allowed. `out_why` says it in one line with the hint. */
R5_MUST_CHECK int array_assemble(const struct array_assemble *how,
                                 struct io_queue *queue,
                                 struct array **out_array,
                                 char *out_why);
/* Before the first member or log write of a mount: brings devices whose events are one behind (a
 * torn round) level, then two rounds of events + 1, each durable, in which missing members become
 * faulty (W11). The rounds happen in any case: a copy of a file taken before this mount is then
 * stale. */
R5_MUST_CHECK int array_start_writing(struct array *array, struct io_queue *queue);
/* Whether array_start_writing() succeeded and array_stop_writing() did not follow. */
bool array_is_writing(struct array *array);
/* Clean stop: superblocks clean, flushed, events moved once. -EIO: the journal's is one behind, and
 * still usable. */
R5_MUST_CHECK int array_stop_writing(struct array *array, struct io_queue *queue);
/* Closes files and releases locks. */
void array_close(struct array *array);

const struct geometry *array_geometry(const struct array *array);
struct uuid array_uuid(const struct array *array);
const char *array_name(const struct array *array);
uint64_t array_events(struct array *array);
bool array_is_read_only(const struct array *array);
/* resync_offset of the freshest superblock: UINT64_MAX = clean. */
uint64_t array_resync_offset(struct array *array);
enum array_state array_state(struct array *array);
/* The one slot that cannot be used (the lowest, when the array has failed), or ARRAY_NO_SLOT. */
uint32_t array_missing_slot(struct array *array);
void array_member_info(struct array *array, uint32_t slot, struct member_info *out_info);
/* The member whose host refused the last write-out, or a superblock, for lack of room, or NULL. Any
 * thread. */
const char *array_full_path(struct array *array);

/* One line for each file that was given and not used, and why. */
unsigned array_problem_count(const struct array *array);
const char *array_problem(const struct array *array, unsigned index);

/* ---- journal device ----------------------------------------------------------------------- */

enum journal_state array_journal_state(struct array *array);
/* NULL unless the state is JOURNAL_DEVICE_OK. Offsets in bytes of the file; the ring in blocks. */
struct io_file *array_journal_file(struct array *array);
uint64_t array_journal_offset_bytes(struct array *array);
uint64_t array_journal_blocks(struct array *array);
const char *array_journal_path(struct array *array);
/* Of the journal's superblock: a copy of the file has the same one, a replacement another. */
struct uuid array_journal_device(const struct array *array);
struct log_block array_log_tail(struct array *array);
/* Writes the journal's superblock alone, with FUA semantics (write, then flush), leaving `events`.
 * When it returns 0 the new tail is durable. */
R5_MUST_CHECK int
array_set_log_tail(struct array *array, struct io_queue *queue, struct log_block tail);
/* W11 for the journal: two rounds of events + 1 on the members. Errors as array_member_fault(); to
 * be called again when it was for want of room. */
R5_MUST_CHECK int
array_journal_fault(struct array *array, struct io_queue *queue, const char *cause);
/* Sets resync_offset (0 = dirty, UINT64_MAX = clean) on all members, durable. */
R5_MUST_CHECK int
array_set_resync_offset(struct array *array, struct io_queue *queue, uint64_t resync_offset);

/* ---- faults ------------------------------------------------------------------------------- */

/* The one door for a member's failure. Marks it faulty and records that on all remaining devices in
 * two rounds of events + 1, each durable everywhere (W11) before it returns. Idempotent. Returns 0
 * when the array can go on (degraded), -EIO when it has failed, -ENOSPC or -EDQUOT when another
 * member's host has no room for the superblock: the loss is due then, whoever writes or flushes the
 * members tries again, and until that succeeds nothing may count on it. */
R5_MUST_CHECK int
array_member_fault(struct array *array, struct io_queue *queue, uint32_t slot, const char *cause);

/* ---- data --------------------------------------------------------------------------------- */

/* Reads volume blocks from the members; a missing or unreadable member's blocks are reconstructed
 * from the others, under the row's cell (raid/row_cell.h). Waits for I/O and for a row that is
 * being written out. `buffer` is block-aligned. -EIO: cannot be known. Counts read errors. */
R5_MUST_CHECK int array_read(struct array *array,
                             struct io_queue *queue,
                             struct fs_block first,
                             uint32_t count,
                             uint8_t *buffer);
/* As array_read, into separate block-aligned buffers of one block each. */
R5_MUST_CHECK int array_read_scattered(struct array *array,
                                       struct io_queue *queue,
                                       const struct fs_block *blocks,
                                       uint8_t *const *buffers,
                                       uint32_t count);
/* One block of one member, parity included, not reconstructed: for scrub and recovery. */
R5_MUST_CHECK int array_read_raw(struct array *array,
                                 struct io_queue *queue,
                                 uint32_t slot,
                                 struct member_block row,
                                 uint32_t count,
                                 uint8_t *buffer);
/* Makes everything written to the members so far durable. Faults members that fail it. Also an
 * error: a loss, this one or an earlier one, that cannot be recorded. */
R5_MUST_CHECK int array_flush_members(struct array *array, struct io_queue *queue);

#endif
