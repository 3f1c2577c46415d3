/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unmounting, and waiting for what comes after it.
 *
 *   ask the daemon who it is -> open its pidfd and its result file -> umount -> wait for the pidfd
 *   -> read the result: finished? with which code?
 *
 * umount(2) returns long before a FUSE daemon has written everything; its end is what counts. The
 * pidfd names the process even if its number is used again. The result file is a memory file of the
 * daemon's, opened through /proc before it ends. One deadline holds for all of it: what the daemon
 * could hold up, asking it and umount(2), is left to a child (bounded_call.c).
 *
 * Failure modes: in use, or something else is mounted over it (4); the daemon does not answer in
 * time (4; still mounted), or does not end in time (4; it goes on); it died before, or ended
 * without saying that all is well (6).
 * Thread: the command's only one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bounded_call.h"
#include "control_client.h"
#include "r5fs/base/env.h"
#include "r5fs/base/line.h"
#include "r5fs/base/units.h"

#define EXIT_CODE_FAILED      1
#define EXIT_CODE_NOT_MOUNTED 3
#define EXIT_CODE_BUSY        4
#define EXIT_CODE_REFUSED     5
#define EXIT_CODE_IO          6
#define BUSY_TRIES            10
#define BUSY_PAUSE_NS         UINT64_C(100000000)
#define SECOND_NS             UINT64_C(1000000000)

/* What is held of a daemon while it ends. */
struct ending {
    int pidfd;     /* -1: not known */
    int result_fd; /* -1: not known */
    pid_t pid;
    bool dead; /* it had died before */
};

R5_PRINTF(3, 4) static int fail(int code, char *out_why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_format_list(out_why, FUSE_SERVE_WHY_BYTES, format, args);
    va_end(args);
    return code;
}

/* The memory file is what makes sure that the number is the daemon's, seen from here. */
static int open_result(const struct control_page *page)
{
    char path[64];
    struct control_result result;

    (void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", page->pid, page->result_fd); /* fits */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (pread(fd, &result, sizeof(result), 0) != sizeof(result) || result.magic != CONTROL_MAGIC) {
        (void)close(fd); /* not the file it should be */
        return -1;
    }
    return fd;
}

/* By when: the command as a whole, and what stands before the waiting, which gets a second even if
 * the wait for the end gets none. */
struct deadlines {
    uint32_t timeout_s;
    uint64_t call_ns;
    uint64_t end_ns;
};

static struct deadlines deadlines_from_now(uint32_t timeout_s)
{
    uint64_t now = env_now_ns();

    if (timeout_s == UNMOUNT_WAIT_FOREVER) {
        return (struct deadlines){timeout_s, BOUNDED_CALL_FOREVER, BOUNDED_CALL_FOREVER};
    }
    uint64_t end_ns = now + timeout_s * SECOND_NS;
    return (struct deadlines){timeout_s, max_u64(end_ns, now + SECOND_NS), end_ns};
}

/* 0, or why the daemon is not known. */
static int find_daemon(const struct mount_entry *entry,
                       const struct deadlines *deadlines,
                       struct ending *out_ending)
{
    static struct control_page page;

    *out_ending = (struct ending){.pidfd = -1, .result_fd = -1};
    (void)memset(&page, 0, sizeof(page));
    page.request = CONTROL_INFO;
    int err = control_client_ask(entry, &page, deadlines->call_ns);
    out_ending->dead = err == -ENOTCONN || err == -ECONNABORTED;
    if (err != 0) {
        return err;
    }
    out_ending->pid = page.pid;
    out_ending->pidfd = (int)syscall(SYS_pidfd_open, page.pid, 0);
    out_ending->result_fd = open_result(&page);
    if (out_ending->result_fd < 0 && out_ending->pidfd >= 0) {
        (void)close(out_ending->pidfd); /* perhaps another process */
        out_ending->pidfd = -1;
    }
    return 0;
}

static void close_ending(struct ending *ending)
{
    if (ending->pidfd >= 0) {
        (void)close(ending->pidfd); /* only waited for */
    }
    if (ending->result_fd >= 0) {
        (void)close(ending->result_fd); /* only read */
    }
}

/* ---- umount ---------------------------------------------------------------------------------- */

static int run_fusermount(const char *mountpoint)
{
    char program[] = "fusermount3";
    char unmount[] = "-u";
    char quiet[] = "-q";
    char dashes[] = "--";
    char path[FUSE_SERVE_MNT_BYTES];
    char *argv[] = {program, unmount, quiet, dashes, path, NULL};
    pid_t pid = -1;
    int status = 0;

    (void)snprintf(path, sizeof(path), "%s", mountpoint); /* fits */
    if (posix_spawnp(&pid, program, NULL, NULL, argv, environ) != 0) {
        return -ENOENT;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

struct umount_call {
    char mountpoint[FUSE_SERVE_MNT_BYTES];
    uint64_t deadline_ns;
};

/* Something may be looking at it for a moment only. */
static int unmount_patiently(void *context)
{
    const struct umount_call *call = context;
    int err = 0;

    for (int i = 0; i < BUSY_TRIES; i++) {
        if (geteuid() == 0) {
            err = umount2(call->mountpoint, UMOUNT_NOFOLLOW) == 0 ? 0 : -errno;
        } else {
            err = run_fusermount(call->mountpoint);
        }
        if (err != -EBUSY || env_now_ns() + 2 * BUSY_PAUSE_NS >= call->deadline_ns) {
            return err;
        }
        env_sleep_ns(BUSY_PAUSE_NS);
    }
    return err;
}

/* -ETIMEDOUT: it may have been taken away all the same, and be held by what is still to be written.
 */
static int unmount_by(const struct mount_entry *entry, const struct deadlines *deadlines)
{
    static struct umount_call umount;
    static struct mount_entry still;
    const struct bounded_call call = {unmount_patiently, &umount, 0};

    (void)memcpy(umount.mountpoint, entry->mountpoint, sizeof(umount.mountpoint));
    umount.deadline_ns = deadlines->call_ns;
    int err = bounded_call_run(&call, deadlines->call_ns);
    if (err == -ETIMEDOUT && mount_table_find(entry->mountpoint, &still) == -ENOENT) {
        return 0;
    }
    return err;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* False: not within the time. */
static bool wait_for_end(const struct ending *ending, uint64_t deadline)
{
    struct pollfd poll_fd = {.fd = ending->pidfd, .events = POLLIN};

    for (;;) {
        uint64_t now = env_now_ns();
        uint64_t left_ms = deadline > now ? (deadline - now) / 1000000u : 0;
        int ready = poll(&poll_fd, 1, (int)min_u64(left_ms, 1000000));
        if (ready > 0) {
            return true;
        }
        if (ready == 0 && env_now_ns() >= deadline) {
            return false;
        }
    }
}

static int read_result(const struct ending *ending, char *out_why)
{
    struct control_result result = {0};

    if (pread(ending->result_fd, &result, sizeof(result), 0) != sizeof(result) ||
        result.finished == 0) {
        return fail(EXIT_CODE_IO,
                    out_why,
                    "unmounted, but its daemon died before everything was on the members (hint: "
                    "mount again: the log is replayed)");
    }
    result.text[sizeof(result.text) - 1] = '\0';
    if (result.exit_code != 0) {
        return fail(EXIT_CODE_IO,
                    out_why,
                    "unmounted, but not everything is on the members: %s",
                    result.text);
    }
    return 0;
}

static int finish(const struct ending *ending, const struct deadlines *deadlines, char *out_why)
{
    if (ending->dead) {
        return fail(EXIT_CODE_IO,
                    out_why,
                    "unmounted; its daemon had died before (hint: mount again: the log is "
                    "replayed)");
    }
    if (ending->pidfd < 0) {
        return fail(EXIT_CODE_FAILED,
                    out_why,
                    "unmounted, but its daemon cannot be seen from here: it may still be writing");
    }
    if (!wait_for_end(ending, deadlines->end_ns)) {
        return fail(EXIT_CODE_BUSY,
                    out_why,
                    "unmounted, but its daemon (pid %d) is still writing after %u s (hint: wait "
                    "for it; do not mount or copy the members before)",
                    ending->pid,
                    deadlines->timeout_s);
    }
    return read_result(ending, out_why);
}

int fuse_serve_unmount(const char *mountpoint,
                       uint32_t timeout_s,
                       char out_why[FUSE_SERVE_WHY_BYTES])
{
    static struct mount_entry entry;
    struct ending ending;

    out_why[0] = '\0';
    int found = mount_table_find(mountpoint, &entry);
    if (found == -EBUSY) {
        return fail(EXIT_CODE_BUSY, out_why, "%s", control_client_why(found));
    }
    if (found != 0) {
        return fail(EXIT_CODE_NOT_MOUNTED, out_why, "nothing of type fuse.r5fs is mounted there");
    }
    const struct deadlines deadlines = deadlines_from_now(timeout_s);
    int asked = find_daemon(&entry, &deadlines, &ending);
    if (asked == -ETIMEDOUT) {
        return fail(EXIT_CODE_BUSY, out_why, "still mounted: %s", control_client_why(asked));
    }
    if (asked == -EPERM || asked == -EACCES) {
        return fail(EXIT_CODE_REFUSED, out_why, "%s", control_client_why(asked));
    }
    int err = unmount_by(&entry, &deadlines);
    int code = 0;
    if (err == -EBUSY) {
        code = fail(EXIT_CODE_BUSY, out_why, "in use (hint: fuser -vm %s)", entry.mountpoint);
    } else if (err == -ETIMEDOUT) {
        code = fail(EXIT_CODE_BUSY, out_why, "still mounted: umount(2) does not come to its end");
    } else if (err != 0) {
        code = fail(EXIT_CODE_FAILED, out_why, "umount: %s", strerror(-err));
    } else {
        code = finish(&ending, &deadlines, out_why);
    }
    close_ending(&ending);
    return code;
}
