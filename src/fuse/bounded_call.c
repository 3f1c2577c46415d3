/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls with an end.
 *
 *   command --fork--> child: work(context) --> pipe: result, context --> command
 *      '-- poll(pipe) up to the deadline --> SIGKILL, and no wait for the child
 *
 * A system call into a mount whose daemon is stopped or hangs cannot be broken off from within, and
 * not always by a signal: the kernel waits for the answer to a request that the daemon has taken.
 * Only another process can be left behind.
 *
 * Invariant: the child has none of the command's standard streams, so that whoever reads the
 * command's output does not wait for a child that was left behind.
 *
 * Happy path: fork, the result through the pipe, the child is reaped.
 * Failure modes: no fork (-EAGAIN), the child died (-EIO), the deadline (-ETIMEDOUT).
 * Thread: the command's only one.
 */
#include "bounded_call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "r5fs/base/env.h"
#include "r5fs/base/units.h"

#define POLL_MS_MAX 1000000u

/* ---- the child ------------------------------------------------------------------------------- */

static void leave_streams(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (null < 0 || dup2(null, fd) < 0) {
            (void)close(fd); /* nothing is as good as the null device */
        }
    }
}

static bool put(int fd, const void *data, size_t bytes)
{
    const char *at = data;

    while (bytes > 0) {
        ssize_t wrote = write(fd, at, bytes);
        if (wrote < 0 && errno == EINTR) {
            continue;
        }
        if (wrote <= 0) {
            return false;
        }
        at += wrote;
        bytes -= (size_t)wrote;
    }
    return true;
}

static void run_child(const struct bounded_call *call, int pipe_fd)
{
    /* The command may have been started without standard streams: the pipe is then one of them. */
    int fd = fcntl(pipe_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (fd < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        _exit(1);
    }
    leave_streams();
    int result = call->work(call->context);
    bool told = put(fd, &result, sizeof(result)) && put(fd, call->context, call->bytes);
    _exit(told ? 0 : 1);
}

/* ---- the command ----------------------------------------------------------------------------- */

/* -ETIMEDOUT, or 0: there is something to read, perhaps the end. */
static int wait_readable(int fd, uint64_t deadline_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    for (;;) {
        uint64_t now = env_now_ns();
        uint64_t left_ms = deadline_ns > now ? (deadline_ns - now) / 1000000u + 1 : 0;
        int ready = poll(&poll_fd, 1, (int)min_u64(left_ms, POLL_MS_MAX));
        if (ready > 0) {
            return 0;
        }
        if (ready < 0 && errno != EINTR) {
            return -errno;
        }
        if (env_now_ns() >= deadline_ns) {
            return -ETIMEDOUT;
        }
    }
}

static int get(int fd, void *data, size_t bytes, uint64_t deadline_ns)
{
    char *at = data;

    while (bytes > 0) {
        int err = wait_readable(fd, deadline_ns);
        if (err != 0) {
            return err;
        }
        ssize_t have = read(fd, at, bytes);
        if (have < 0 && errno == EINTR) {
            continue;
        }
        if (have <= 0) {
            return -EIO;
        }
        at += have;
        bytes -= (size_t)have;
    }
    return 0;
}

static int hear(const struct bounded_call *call, int fd, uint64_t deadline_ns)
{
    int result = 0;
    int err = get(fd, &result, sizeof(result), deadline_ns);

    if (err == 0) {
        err = get(fd, call->context, call->bytes, deadline_ns);
    }
    return err != 0 ? err : result;
}

int bounded_call_run(const struct bounded_call *call, uint64_t deadline_ns)
{
    int ends[2];
    int status = 0;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        run_child(call, ends[1]);
    }
    (void)close(ends[1]); /* the child's end */
    int err = pid < 0 ? -EAGAIN : hear(call, ends[0], deadline_ns);
    (void)close(ends[0]); /* read as far as it goes */
    if (err == -ETIMEDOUT) {
        (void)kill(pid, SIGKILL); /* it may be where no signal reaches it: not waited for */
        (void)waitpid(pid, &status, WNOHANG);
    } else if (pid > 0) {
        (void)waitpid(pid, &status, 0); /* it has told, or died */
    }
    return err;
}
