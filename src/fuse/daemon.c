/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that serves: made, told to stop, ended.
 *
 *   r5fs mount -- fork --> daemon: assemble ... INIT answered --- report: ok, or what is wrong --->
 *        |                   |  then a session of its own, stdio to /dev/null, messages to syslog
 *        | waits for the report, exits with its code
 *                            v
 *        signalfd (TERM, INT) and the workers' end --> unmount, drain, result file, exit
 *
 * The fork comes before threads, rings and locked memory, none of which would survive it. The
 * daemon stays in the terminal's process group until it serves, so that Ctrl-C stops a mount that
 * is still replaying a long log: it is seen when the filesystem is up, and unmounts it again in
 * order.
 *
 * Failure modes: the daemon dies before its report: the pipe ends, that is said. The last drain
 * fails: in syslog, in the result file, in the exit code.
 * Thread: the only one of the command; the main one of the daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "r5fs/base/msg.h"
#include "serve.h"

#define EXIT_CODE_FAILED 1
#define EXIT_CODE_IO     6
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* What the daemon tells its parent, once: fits into a pipe in one piece. */
struct serve_report {
    int32_t exit_code;
    char why[FUSE_SERVE_WHY_BYTES];
};

_Static_assert(sizeof(struct serve_report) <= PIPE_BUF, "written in one piece");

int fuse_serve_exit_code(int error)
{
    switch (error < 0 ? -error : error) {
    case 0: return 0;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ENOTCONN:
    case EMEDIUMTYPE: return 3;
    case EBUSY: return 4;
    case EPERM:
    case EEXIST: return 5;
    case EIO:
    case EBADMSG:
    case EUCLEAN:
    case ESTALE: return EXIT_CODE_IO;
    default: return EXIT_CODE_FAILED;
    }
}

/* ---- the process ----------------------------------------------------------------------------- */

/* Writing for others' memory: the kernel then lets us use the last of it, instead of waiting for
 * us. Both want privileges; without them all works, only less certain when memory is short. What
 * was refused is in the status. */
static void ask_for_memory_care(struct memory_care *care)
{
    static const char least_likely[] = "-1000";

    care->flusher_error = prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0 ? 0 : errno;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    care->oom_error = fd < 0 ? errno : 0;
    if (fd >= 0) {
        if (write(fd, least_likely, sizeof(least_likely) - 1) < 0) {
            care->oom_error = errno;
        }
        (void)close(fd); /* a file of /proc */
    }
}

static int open_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);        /* cannot fail */
    (void)sigaddset(&set, SIGTERM); /* valid signals */
    (void)sigaddset(&set, SIGINT);  /* " */
    R5_CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    (void)signal(SIGHUP, SIG_IGN);  /* a terminal's end is none of ours; cannot fail */
    (void)signal(SIGPIPE, SIG_IGN); /* cannot fail */
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Leaves the terminal and whatever directory it was started in. */
static void detach(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (setsid() < 0) {
        msg_debug("mount", "already a session of its own errno=%d", errno);
    }
    if (chdir("/") != 0) {
        msg_warn("mount", "stays in its working directory errno=%d", errno);
    }
    msg_to_syslog(true);
    for (int i = 0; i <= 2 && fd >= 0; i++) {
        if (dup2(fd, i) < 0) {
            msg_warn("mount", "keeps descriptor %d errno=%d", i, errno);
        }
    }
    if (fd > 2) {
        (void)close(fd); /* /dev/null */
    }
}

/* ---- serving --------------------------------------------------------------------------------- */

static bool connection_has_ended(const struct serve *serve)
{
    struct pollfd poll_fd = {.fd = serve->server.fd};

    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLERR) != 0;
}

/* Until the mount is gone, or must go. */
static void wait_for_end(struct serve *serve, int signal_fd)
{
    struct pollfd fds[2] = {
        {.fd = signal_fd, .events = POLLIN},
        {.fd = serve->server.ended_fd, .events = POLLIN},
    };

    while (poll(fds, 2, -1) < 0) {
        R5_CHECK(errno == EINTR || errno == EAGAIN || errno == ENOMEM);
    }
    if ((fds[0].revents & POLLIN) != 0) {
        msg_info("mount", "told to stop: unmounting %s", serve->mountpoint);
    }
    if (!connection_has_ended(serve)) {
        serve_unmount(serve);
    }
}

static int serve_to_the_end(struct serve *serve, int signal_fd)
{
    wait_for_end(serve, signal_fd);
    serve->why[0] = '\0';
    int err = serve_stop(serve);
    int code = err == 0 ? 0 : EXIT_CODE_IO;
    if (err != 0) {
        msg_err("mount",
                "%s: stopped, but not everything is on the members: %s",
                serve->mountpoint,
                serve->why);
    }
    fuse_control_set_result(&serve->server.control, code, serve->why);
    fuse_control_fini(&serve->server.control);
    return code;
}

static int start(struct serve *serve, int *out_signal_fd)
{
    *out_signal_fd = open_signals();
    ask_for_memory_care(&serve->care);
    int err = *out_signal_fd < 0 ? -errno : serve_start(serve);
    return fuse_serve_exit_code(err);
}

static int run_foreground(struct serve *serve)
{
    int signal_fd = -1;

    msg_set_level(MSG_INFO);
    int code = start(serve, &signal_fd);
    if (code == 0) {
        code = serve_to_the_end(serve, signal_fd);
    }
    if (signal_fd >= 0) {
        (void)close(signal_fd); /* holds nothing */
    }
    return code;
}

/* ---- the daemon ------------------------------------------------------------------------------ */

static void send_report(int fd, int code, const char *why)
{
    struct serve_report report = {.exit_code = code};

    (void)snprintf(report.why, sizeof(report.why), "%s", why); /* same size */
    if (write(fd, &report, sizeof(report)) != sizeof(report)) {
        msg_warn("mount", "whoever started the mount did not wait for it");
    }
    (void)close(fd); /* written, or nobody reads it */
}

/* Descriptors of whoever called us are not ours to keep for weeks. */
static void close_inherited(int keep)
{
    if (keep > 3) {
        (void)close_range(3, (unsigned)keep - 1, 0); /* best effort */
    }
    (void)close_range((unsigned)keep + 1, UINT_MAX, 0); /* best effort */
}

static int run_daemon(struct serve *serve, int report_fd)
{
    int signal_fd = -1;

    close_inherited(report_fd);
    int code = start(serve, &signal_fd);
    if (code != 0) {
        send_report(report_fd, code, serve->why);
        return code;
    }
    /* Out of the terminal first: whoever waits for the mount may then count on it. */
    detach();
    send_report(report_fd, 0, "");
    return serve_to_the_end(serve, signal_fd);
}

static int wait_for_report(int fd, pid_t pid, char *out_why)
{
    struct serve_report report = {0};
    ssize_t bytes = 0;

    do {
        bytes = read(fd, &report, sizeof(report));
    } while (bytes < 0 && errno == EINTR);
    if (bytes != sizeof(report)) {
        (void)snprintf(
            out_why, FUSE_SERVE_WHY_BYTES, "the daemon died before the filesystem was up");
        report.exit_code = EXIT_CODE_FAILED;
    } else {
        report.why[sizeof(report.why) - 1] = '\0';
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "%s", report.why);
    }
    if (report.exit_code != 0) {
        (void)waitpid(pid, NULL, 0); /* its locks are free when we say that it failed */
    }
    return report.exit_code;
}

static int run_in_background(struct serve *serve, char *out_why)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "pipe: %s", strerror(errno));
        return EXIT_CODE_FAILED;
    }
    if (fflush(NULL) != 0) {
        msg_debug("mount", "flushing output failed errno=%d", errno);
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(run_daemon(serve, ends[1]));
    }
    (void)close(ends[1]); /* the daemon's end */
    int code = EXIT_CODE_FAILED;
    if (pid < 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "fork: %s", strerror(errno));
    } else {
        code = wait_for_report(ends[0], pid, out_why);
    }
    (void)close(ends[0]); /* read */
    return code;
}

/* The daemon leaves the working directory. A path that cannot be resolved is left to be refused by
 * whoever opens it, under the name that was given. */
static const char **make_absolute(const struct fuse_serve_options *options, struct arena *arena)
{
    const char **paths = arena_take_array(arena, const char *, options->path_count + 1);
    char resolved[PATH_MAX];

    for (uint32_t i = 0; i < options->path_count; i++) {
        const char *path = realpath(options->paths[i], resolved);
        path = path == NULL ? options->paths[i] : path;
        char *copy = arena_take(arena, strlen(path) + 1, 1);
        (void)memcpy(copy, path, strlen(path) + 1);
        paths[i] = copy;
    }
    return paths;
}

int fuse_serve(const struct fuse_serve_options *options, char out_why[FUSE_SERVE_WHY_BYTES])
{
    static struct serve serve; /* large; one a process */
    static struct fuse_serve_options absolute;
    struct arena arena;

    out_why[0] = '\0';
    int code = serve_prepare(&serve, options);
    if (code == 0) {
        arena_init_growing(&arena);
        absolute = *options;
        absolute.paths = make_absolute(options, &arena);
        serve.options = &absolute;
        code = options->foreground ? run_foreground(&serve) : run_in_background(&serve, out_why);
        arena_fini(&arena);
    }
    if (out_why[0] == '\0') {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "%s", serve.why);
    }
    return code;
}
