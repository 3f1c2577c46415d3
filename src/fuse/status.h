/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of an array and its mount: facts gathered in one place, written as JSON or for people.
 * Both say the same; JSON has the same keys in every state.
 */
#ifndef R5FS_FUSE_STATUS_H
#define R5FS_FUSE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuse_server.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/units.h"
#include "r5fs/fs/fs.h"
#include "r5fs/fuse/fuse.h"

#define STATUS_POOLS_MAX 64u

struct fuse_worker;

/* What the pool as a whole is, worst first; see status_check_code for the exit code of each. */
enum status_state {
    STATUS_FAILED,          /* more members lost than parity covers */
    STATUS_JOURNAL_FAILED,  /* failed at run time: read-only from then on */
    STATUS_JOURNAL_MISSING, /* the array has a journal that was not given, or none at all */
    STATUS_READ_ONLY,
    STATUS_DEGRADED,
    STATUS_ERRORS, /* whole, but errors were counted */
    STATUS_HEALTHY,
};

struct status_facts {
    uint64_t time_s;
    int32_t utc_offset_s; /* of local time, where the text is read */
    const char *mounted;  /* mount point, or NULL */
    uint64_t pid;         /* of the daemon */
    struct fs_info fs;
    struct fs_statfs space;
    struct geometry geometry;
    char uuid[UUID_TEXT_BYTES];
    const char *label;
    enum array_state array_state;
    uint32_t missing_slot;
    uint64_t events;
    uint64_t volume_bytes;
    enum journal_state journal_device;
    const char *journal_path;
    const char *full_path; /* member whose host has no room, or NULL */
    struct journal_status journal;
    struct member_info members[MEMBERS_MAX];
    struct pool_stats pools[STATUS_POOLS_MAX];
    unsigned pool_count;
    uint64_t requests;   /* taken up since the mount */
    uint32_t fuse_flags; /* as agreed with the kernel */
    uint32_t threads;
    struct memory_care care;
    struct io_registered registered; /* with io_uring */
    bool have_fs;
    bool have_journal;
    bool read_only;
    bool write_through; /* as the filesystem keeps it */
};

/* Of this process's local time now. Libc allocates for that: not for the daemon. */
int32_t status_utc_offset_s(void);
/* On a worker: its fs_thread is used. */
R5_MUST_CHECK int status_gather_mounted(struct fuse_worker *worker, struct status_facts *facts);
enum status_state status_state(const struct status_facts *facts);
int status_check_code(const struct status_facts *facts);
/* Bytes written, without the NUL. */
size_t
status_write(const struct status_facts *facts, enum status_format format, char *text, size_t size);

#endif
