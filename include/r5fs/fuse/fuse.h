/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of the FUSE floor: serve a filesystem at a mount point, and talk to the daemon that
 * serves one. Used by the commands. Everything here runs on the command's own thread, before any
 * other.
 *
 * Texts of failure follow "WHY (hint: COMMAND)"; the caller puts "r5fs: WHAT: " before them.
 */
#ifndef R5FS_FUSE_FUSE_H
#define R5FS_FUSE_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

#define FUSE_SERVE_WHY_BYTES 1024
#define FUSE_SERVE_MNT_BYTES 4096

/* ---- mount options --------------------------------------------------------------------------- */

enum mount_journal_mode {
    MOUNT_JOURNAL_AS_KEPT, /* what the filesystem's super says */
    MOUNT_JOURNAL_WRITE_BACK,
    MOUNT_JOURNAL_WRITE_THROUGH,
};

/* What -o says, merged over all -o in order (the last word wins). */
struct mount_options {
    bool read_only;
    bool degraded;
    bool norecovery;         /* with read_only: the members as they are, the log is not looked at */
    bool accept_damaged_log; /* go on with what is before the damage in acknowledged log */
    bool kernel_safe;        /* the log stays such that a kernel can replay it at any moment */
    bool allow_other;
    bool dirsync; /* sync or dirsync: a name operation is durable when it returns */
    uint64_t memory_bytes;
    uint32_t io_units;
    uint32_t stripes; /* images at most, 0 = as memory allows */
    uint32_t threads; /* 0 = by the number of processors */
    uint32_t commit_interval_ms;
    uint32_t watchdog_s; /* without progress for so long is said; 0 = never */
    enum io_backend backend;
    enum mount_journal_mode journal_mode;
    unsigned long kernel_flags; /* MS_NOSUID and the like, as the last word left them */
    unsigned long forced_flags; /* of these, the ones a normal user cannot take back */
    char kernel_options[512];   /* context= and the like, comma-joined */
    char fsname[512];           /* fsname=, or "" */
};

#define MOUNT_MEMORY_BYTES_DEFAULT (256ull * 1024 * 1024)
#define MOUNT_MEMORY_BYTES_MIN     (48ull * 1024 * 1024)
/* A transaction may take half of the images; the largest operation needs 48 (LOG_SPACE_TXN_MIN). */
#define MOUNT_STRIPES_MIN 128u

/* The defaults: root gets suid and dev, everybody else nosuid,nodev for good. */
void mount_options_init(struct mount_options *options, bool is_root);
/* One -o argument: a,b=c. Options that only mount(8) and fstab care about are swallowed.
 * -EINVAL: an option that is unknown or has a wrong value, named in `out_why`
 * (FUSE_SERVE_WHY_BYTES). */
R5_MUST_CHECK int
mount_options_parse(struct mount_options *options, const char *text, char *out_why);
/* What options forbid each other, after all of them were read; -EINVAL. */
R5_MUST_CHECK int mount_options_finish(const struct mount_options *options, char *out_why);

/* ---- serve ----------------------------------------------------------------------------------- */

struct fuse_serve_options {
    const char *const *paths; /* all members and the journal, any order */
    uint32_t path_count;
    const char *source; /* what df and mount show; NULL: the paths joined by colons */
    const char *mountpoint;
    bool foreground; /* stay, and return when it was unmounted */
    struct mount_options mount;
};

/* Assembles the array, opens the journal (recovery), mounts the filesystem, mounts the FUSE
 * session, serves. Not foreground: forks before anything else; returns in the parent when the
 * filesystem answers or the daemon gave up, never returns in the daemon. Foreground: returns
 * after the orderly stop. Returns an exit code of the command line (0 = good) and fills
 * `out_why` otherwise. Must be called while the process has one thread. */
R5_MUST_CHECK int fuse_serve(const struct fuse_serve_options *options,
                             char out_why[FUSE_SERVE_WHY_BYTES]);
/* The exit code for an errno of a lower floor, as the command line's contract has them. */
int fuse_serve_exit_code(int error);

/* ---- mounts of ours -------------------------------------------------------------------------- */

struct mount_entry {
    char mountpoint[FUSE_SERVE_MNT_BYTES];
    char source[FUSE_SERVE_MNT_BYTES];
    uid_t user_id; /* who mounted it */
    gid_t group_id;
    bool read_only;
    uint32_t device_minor; /* st_dev */
};

/* The topmost mount of type fuse.r5fs at exactly `path` (made absolute). -ENOENT: there is none;
 * -EBUSY: there is one, but the path leads to something else that is mounted over it. */
R5_MUST_CHECK int mount_table_find(const char *path, struct mount_entry *out_entry);
/* The `index`th mount of ours, in mount order; -ENOENT past the last. */
R5_MUST_CHECK int mount_table_get(unsigned index, struct mount_entry *out_entry);

/* ---- status ---------------------------------------------------------------------------------- */

enum status_format {
    STATUS_FORMAT_JSON,
    STATUS_FORMAT_TEXT,
    STATUS_FORMAT_VERBOSE, /* text with the pools and counters */
};

struct status_reply {
    const char *text; /* NUL-terminated, in the caller's arena */
    size_t text_bytes;
    int check_code; /* what `status --check` exits with */
};

/* Asks the daemon of a live mount. -ENOENT: nothing of ours is mounted there; -EACCES, -EIO: it
 * does not answer, `out_why` says so; -ETIMEDOUT: not within ten seconds. */
R5_MUST_CHECK int fuse_serve_status(const char *mountpoint,
                                    enum status_format format,
                                    struct arena *arena,
                                    struct status_reply *out_reply,
                                    char out_why[FUSE_SERVE_WHY_BYTES]);
/* The same facts of an array that is not mounted; `journal` may be NULL (not opened). */
R5_MUST_CHECK int status_offline(struct array *array,
                                 struct journal *journal,
                                 enum status_format format,
                                 struct arena *arena,
                                 struct status_reply *out_reply);

/* ---- unmount --------------------------------------------------------------------------------- */

#define UNMOUNT_WAIT_FOREVER UINT32_MAX

/* Unmounts and waits until the daemon has ended, so that everything is on the members and their
 * locks are free. Returns an exit code: 3 not mounted, 4 busy, or not answered or ended within
 * `timeout_s` seconds (in all; a second at least is given to a daemon to answer), 6 when the last
 * drain failed or the daemon died. */
R5_MUST_CHECK int
fuse_serve_unmount(const char *mountpoint, uint32_t timeout_s, char out_why[FUSE_SERVE_WHY_BYTES]);

#endif
