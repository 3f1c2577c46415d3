/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door of the filesystem: the calls that the FUSE floor makes. Inodes are named by number; a
 * number is never used again. Permissions are the kernel's business (default_permissions); nothing
 * here checks them. All calls return 0 or a negative errno, run on the caller's thread with that
 * thread's fs_thread, and may wait (for a reservation, locks, reads, a commit).
 */
#ifndef R5FS_FS_FS_H
#define R5FS_FS_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/uuid.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/array.h"

#define FS_ROOT_INO              1u
#define FS_NAME_BYTES_MAX        255u
#define FS_SYMLINK_BYTES_MAX     4095u
#define FS_XATTR_NAME_BYTES_MAX  255u
#define FS_XATTR_VALUE_BYTES_MAX 65536u
#define FS_LINKS_MAX             65000u
#define FS_FILE_BYTES_MAX        INT64_MAX
#define FS_LABEL_BYTES           33
#define FS_IO_BYTES_MAX          1048576u /* one read or write call */
#define FS_WHY_BYTES             512

struct fs;

/* What a thread that calls the filesystem owns. `scratch`: FS_SCRATCH_BYTES, block-aligned. */
#define FS_SCRATCH_BYTES 262144u
struct fs_thread {
    struct io_queue *queue;
    uint8_t *scratch;
    struct journal_reservation
        reservation; /* the one that an operation holds; may be interrupted */
    /* Set by whoever got an INTERRUPT for this thread. Writes and fallocate look at it between
     * their steps and begin no other (-EINTR, or a short write). What frees space does not: it goes
     * to its end, as nobody would come back for the rest. */
    atomic_bool interrupted;
};

struct fs_time {
    int64_t seconds;
    uint32_t nanoseconds;
};

struct fs_attr {
    uint64_t ino;
    uint64_t generation;
    uint64_t size;
    uint64_t blocks; /* 512-byte units allocated */
    uint32_t mode;   /* with the type */
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t flags; /* FS_IOC_GETFLAGS bits */
    struct fs_time atime;
    struct fs_time mtime;
    struct fs_time ctime;
    struct fs_time btime;
};

struct fs_caller {
    uint32_t uid;
    uint32_t gid;
    uint32_t umask;
};

struct fs_name {
    const char *bytes; /* any but '/' and NUL; not ended */
    size_t length;
};

/* ---- format, mount -------------------------------------------------------------------------- */

struct fs_format_options {
    char label[FS_LABEL_BYTES];
    struct uuid uuid;
    bool write_through; /* the journal mode kept in the super */
    uint32_t root_uid;
    uint32_t root_gid;
    uint32_t root_mode; /* permission bits */
};

/* Lays out an empty filesystem through the (formatted, open) journal; constant time. */
R5_MUST_CHECK int fs_format(struct journal *journal,
                            struct array *array,
                            struct fs_thread *thread,
                            const struct fs_format_options *options,
                            char *out_why);

struct fs_options {
    struct arena *arena;
    uint64_t buffer_bytes; /* metadata buffers */
    bool read_only;
};

/* journal_options.judge_log (`context` is not used): the members hold a newer super than the log
 * ends with, or one from behind its end, so that what was logged in between is in another, newer
 * copy of the journal. -ESTALE. */
R5_MUST_CHECK int fs_judge_log(void *context,
                               const uint8_t *on_members,
                               const uint8_t *in_log,
                               const struct journal_mark *log_end,
                               char *out_why);

/* Before journal_open() for writing, which changes the array: -EMEDIUMTYPE when it holds no r5fs
 * filesystem for sure. `out_why` (FS_WHY_BYTES) says so. */
R5_MUST_CHECK int fs_look(struct array *array, struct fs_thread *thread, char *out_why);
/* As fs_look, before a mount for writing: also what journal_open() and fs_mount() would refuse
 * because of the log, the super or the root directory, with their errors. Takes and gives back
 * memory of its own, for metadata `buffer_bytes` at most. */
R5_MUST_CHECK int
fs_look_mount(struct array *array, struct fs_thread *thread, uint64_t buffer_bytes, char *out_why);

/* The journal is open (recovered). Finishes orphans unless read_only. -EUCLEAN with the address in
 * `out_why`; -EMEDIUMTYPE when the volume holds no r5fs filesystem. Registers as journal client. */
R5_MUST_CHECK int fs_mount(struct fs **out_fs,
                           struct journal *journal,
                           struct array *array,
                           const struct fs_options *options,
                           struct fs_thread *thread,
                           char *out_why);
/* Frees what only open files held, marks the super clean; the journal is closed by the caller
 * after. */
R5_MUST_CHECK int fs_unmount(struct fs *fs, struct fs_thread *thread);

struct fs_info {
    char label[FS_LABEL_BYTES];
    struct uuid uuid;
    bool write_through;
    bool read_only;
    bool damaged; /* metadata damage was met while mounted */
};

void fs_get_info(struct fs *fs, struct fs_info *out_info);

struct fs_statfs {
    uint64_t blocks; /* of BLOCK_BYTES, what files could use in an empty filesystem */
    uint64_t free_blocks;
    uint64_t inodes;
    uint64_t free_inodes;
};

R5_MUST_CHECK int fs_statfs(struct fs *fs, struct fs_thread *thread, struct fs_statfs *out);

/* ---- names ---------------------------------------------------------------------------------- */

/* "." and ".." are understood (NFS export). -ENAMETOOLONG above 255 bytes, in every call with a
 * name. */
R5_MUST_CHECK int fs_lookup(struct fs *fs,
                            struct fs_thread *thread,
                            uint64_t parent,
                            struct fs_name name,
                            struct fs_attr *out);

struct fs_make {
    uint32_t mode; /* type and permissions, umask not yet applied (a default ACL replaces it) */
    uint32_t rdev_major;
    uint32_t rdev_minor;
    const char *symlink_target; /* for S_IFLNK */
    size_t symlink_bytes;
};

/* Files, directories, symlinks, special files. Owner from the caller, group from a setgid parent,
 * ACL inheritance and umask done here. */
R5_MUST_CHECK int fs_make(struct fs *fs,
                          struct fs_thread *thread,
                          const struct fs_caller *caller,
                          uint64_t parent,
                          struct fs_name name,
                          const struct fs_make *make,
                          struct fs_attr *out);
R5_MUST_CHECK int fs_link(struct fs *fs,
                          struct fs_thread *thread,
                          uint64_t ino,
                          uint64_t parent,
                          struct fs_name name,
                          struct fs_attr *out);
/* The inode lives on while it is in use; *out_gone is its number when no name is left, else 0: the
 * caller calls fs_evict once the kernel has forgotten it. */
R5_MUST_CHECK int fs_unlink(struct fs *fs,
                            struct fs_thread *thread,
                            uint64_t parent,
                            struct fs_name name,
                            uint64_t *out_gone);
R5_MUST_CHECK int fs_rmdir(struct fs *fs,
                           struct fs_thread *thread,
                           uint64_t parent,
                           struct fs_name name,
                           uint64_t *out_gone);
/* `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE; others -EINVAL. *out_gone as in fs_unlink. */
R5_MUST_CHECK int fs_rename(struct fs *fs,
                            struct fs_thread *thread,
                            uint64_t old_parent,
                            struct fs_name old_name,
                            uint64_t new_parent,
                            struct fs_name new_name,
                            unsigned flags,
                            uint64_t *out_gone);
/* `buffer` holds FS_SYMLINK_BYTES_MAX. */
R5_MUST_CHECK int
fs_readlink(struct fs *fs, struct fs_thread *thread, uint64_t ino, char *buffer, size_t *out_bytes);

struct fs_dirent {
    uint64_t ino;
    uint64_t cookie; /* where to go on after this entry; stable for the entry's life; < 2^63 */
    uint32_t type;   /* S_IFMT bits */
    struct fs_name name;
    const struct fs_attr *attr; /* only with attributes asked for; NULL for "." and ".." */
};

/* Entries after `cookie` (0: from the start, "." and ".." first) until `emit` returns false. Emit
 * runs without any filesystem lock held that another call could need. */
R5_MUST_CHECK int fs_readdir(struct fs *fs,
                             struct fs_thread *thread,
                             uint64_t ino,
                             uint64_t cookie,
                             bool with_attributes,
                             bool (*emit)(void *context, const struct fs_dirent *entry),
                             void *context);

/* ---- inodes --------------------------------------------------------------------------------- */

R5_MUST_CHECK int
fs_getattr(struct fs *fs, struct fs_thread *thread, uint64_t ino, struct fs_attr *out);

#define FS_SET_MODE      0x001u
#define FS_SET_UID       0x002u
#define FS_SET_GID       0x004u
#define FS_SET_SIZE      0x008u
#define FS_SET_ATIME     0x010u
#define FS_SET_MTIME     0x020u
#define FS_SET_ATIME_NOW 0x040u
#define FS_SET_MTIME_NOW 0x080u
#define FS_SET_CTIME     0x100u
#define FS_SET_FLAGS     0x200u
#define FS_SET_KILL_PRIV 0x400u /* drop suid, sgid and security.capability as a write would */

/* Only the fields named by `mask` of `in` count. chown and size changes drop suid/sgid and
 * security.capability where POSIX and Linux do; a mode change keeps the ACL in step. */
R5_MUST_CHECK int fs_setattr(struct fs *fs,
                             struct fs_thread *thread,
                             uint64_t ino,
                             const struct fs_attr *in,
                             uint32_t mask,
                             struct fs_attr *out);
/* No name and no user is left: frees the inode and its blocks, in steps. Harmless when nlink >
 * 0. */
R5_MUST_CHECK int fs_evict(struct fs *fs, struct fs_thread *thread, uint64_t ino);

/* ---- data ----------------------------------------------------------------------------------- */

/* `buffer` is block-aligned with room for FS_IO_BYTES_MAX + 2 blocks; the bytes asked for start at
 * *out_skip into it. Short at the end of file. */
R5_MUST_CHECK int fs_read(struct fs *fs,
                          struct fs_thread *thread,
                          uint64_t ino,
                          uint64_t offset,
                          uint32_t bytes,
                          uint8_t *buffer,
                          uint32_t *out_skip,
                          uint32_t *out_bytes);
/* All or an error before anything; a write that runs out of space midway returns what was
 * written. */
R5_MUST_CHECK int fs_write(struct fs *fs,
                           struct fs_thread *thread,
                           uint64_t ino,
                           uint64_t offset,
                           const uint8_t *data,
                           uint32_t bytes,
                           bool kill_priv,
                           uint32_t *out_bytes);
/* `mode`: FALLOC_FL_* of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE,
 * ZERO_RANGE[|KEEP_SIZE]. */
R5_MUST_CHECK int fs_fallocate(struct fs *fs,
                               struct fs_thread *thread,
                               uint64_t ino,
                               int mode,
                               uint64_t offset,
                               uint64_t bytes);
/* `whence`: SEEK_DATA or SEEK_HOLE. */
R5_MUST_CHECK int fs_seek(struct fs *fs,
                          struct fs_thread *thread,
                          uint64_t ino,
                          uint64_t offset,
                          int whence,
                          uint64_t *out_offset);
/* Everything this inode has been given is durable when it returns 0. */
R5_MUST_CHECK int fs_fsync(struct fs *fs, struct fs_thread *thread, uint64_t ino, bool data_only);
R5_MUST_CHECK int fs_sync(struct fs *fs, struct fs_thread *thread);

/* ---- extended attributes -------------------------------------------------------------------- */

/* Full names ("user.x"). `size` 0: only *out_bytes is set. -ENODATA, -ERANGE, -EEXIST, -E2BIG. */
R5_MUST_CHECK int fs_getxattr(struct fs *fs,
                              struct fs_thread *thread,
                              uint64_t ino,
                              struct fs_name name,
                              uint8_t *value,
                              size_t size,
                              size_t *out_bytes);
/* `flags`: XATTR_CREATE, XATTR_REPLACE. system.posix_acl_* are checked and keep the mode in
 * step; with more than 235 entries they are refused: -ENOSPC. */
R5_MUST_CHECK int fs_setxattr(struct fs *fs,
                              struct fs_thread *thread,
                              uint64_t ino,
                              struct fs_name name,
                              const uint8_t *value,
                              size_t size,
                              int flags,
                              bool kill_sgid);
R5_MUST_CHECK int
fs_removexattr(struct fs *fs, struct fs_thread *thread, uint64_t ino, struct fs_name name);
/* Names, each ended by NUL. As with the kernel's own filesystems, those of trusted.* are not for
 * everybody. */
R5_MUST_CHECK int fs_listxattr(struct fs *fs,
                               struct fs_thread *thread,
                               uint64_t ino,
                               bool trusted_too,
                               char *list,
                               size_t size,
                               size_t *out_bytes);

/* ---- check ---------------------------------------------------------------------------------- */

struct fs_check_options {
    bool repair;
    struct arena *arena; /* growing; memory for the cross-reference */
    void (*report)(void *context, const char *line);
    void *context;
};

struct fs_check_result {
    uint64_t problems;
    uint64_t repaired;
    uint64_t files;
    uint64_t directories;
    uint64_t used_blocks;
};

/* Verifies every structure and cross-reference of an unmounted filesystem; with `repair` through
 * the journal (open for writing). 0 whether or not problems were found; an errno when it could not
 * go on. */
R5_MUST_CHECK int fs_check(struct journal *journal,
                           struct array *array,
                           struct fs_thread *thread,
                           const struct fs_check_options *options,
                           struct fs_check_result *out);

#endif
