/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The session: start, mount, stop.
 *
 *   fuse_server_start   memory, workers and reaper started; each opens its ring and waits  STARTING
 *   fuse_server_mount   libfuse session made and mounted, INIT answered here               SERVING
 *   (unmounted: read(2) of every worker says ENODEV; or the stop wakes them)               STOPPING
 *   fuse_server_stop    all joined
 *   fuse_server_fini    descriptor closed
 *
 * All memory is taken in start; libfuse's session and its small request structures are its own.
 *
 * fuse_session_mount() does the mounting (as root by mount(2), as anybody by fusermount3), then
 * fuse_session_custom_io() on the same descriptor gives us the replies on their way out, for what
 * libfuse forgets to put into INIT's.
 *
 * Failure modes: a worker that cannot open its queue fails the start; a refused mount leaves
 * nothing behind. The stop after a lazy unmount must wake workers that sit in read(2): a signal,
 * sent again until they are gone, because one that comes just before read(2) wakes nobody.
 * Thread: the main one.
 */
#include "fuse_server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuse_ops.h"
#include "fuse_raw.h"
#include "fuse_reaper.h"
#include "fuse_worker.h"
#include "r5fs/base/msg.h"

#define WAKE_EVERY_NS        UINT64_C(10000000)
#define MAX_BACKGROUND       64u
#define CONGESTION_THRESHOLD 48u
#define SESSION_OPTION_BYTES 2048

size_t fuse_server_need(uint32_t worker_count, uint64_t node_count)
{
    return (sizeof(struct fuse_worker) + fuse_worker_need()) * worker_count +
           fuse_nodes_need(node_count) + fuse_control_need() + fuse_inbox_need(worker_count) +
           fuse_worker_need() + BLOCK_BYTES;
}

/* ---- start ----------------------------------------------------------------------------------- */

static void on_wake_signal(int number)
{
    (void)number; /* its coming is all there is to it */
}

static void install_wake_signal(void)
{
    struct sigaction action = {.sa_handler = on_wake_signal}; /* no SA_RESTART: read(2) must end */

    R5_CHECK(sigaction(FUSE_WORKER_SIGNAL, &action, NULL) == 0);
}

/* The arena has no lock: one thread after the other takes its memory. */
static int start_one(struct fuse_server *server,
                     struct fuse_worker *worker,
                     struct arena *arena,
                     const char *name,
                     void (*run)(void *))
{
    struct fuse_worker_start start = {.worker = worker, .arena = arena};

    fuse_worker_init(worker, server, arena);
    int err = env_thread_start(&worker->handle, name, run, &start);
    if (err != 0) {
        worker->handle = NULL;
        return err;
    }
    env_mutex_lock(&server->lock);
    while (!worker->ready) {
        env_cond_wait(&server->changed, &server->lock);
    }
    env_mutex_unlock(&server->lock);
    return worker->start_error;
}

int fuse_server_start(struct fuse_server *server,
                      struct arena *arena,
                      uint32_t worker_count,
                      uint64_t node_count)
{
    char name[16];

    env_mutex_init(&server->lock);
    env_cond_init(&server->changed);
    server->phase = FUSE_STARTING;
    server->fd = -1;
    install_wake_signal();
    fuse_nodes_init(&server->nodes, arena, node_count, worker_count / 2);
    fuse_inbox_init(&server->inbox, arena, worker_count);
    server->workers = arena_take_array(arena, struct fuse_worker, worker_count);
    server->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int err = server->ended_fd < 0 ? -errno : fuse_control_init(&server->control, arena);
    for (uint32_t i = 0; i < worker_count && err == 0; i++) {
        (void)snprintf(name, sizeof(name), "r5fs-fuse-%u", i % 1000); /* fits */
        err = start_one(server, &server->workers[i], arena, name, fuse_worker_run);
        server->worker_count = i + 1;
    }
    if (err == 0) {
        err = start_one(server, &server->reaper, arena, "r5fs-reaper", fuse_reaper_run);
    }
    return err;
}

/* ---- mount ----------------------------------------------------------------------------------- */

/* libfuse says why something failed in its log; the last line is the best reason there is. */
static char last_log[256];

R5_PRINTF(2, 0)
static void on_libfuse_log(enum fuse_log_level level, const char *format, va_list args)
{
    char line[sizeof(last_log)];

    (void)vsnprintf(line, sizeof(line), format, args); /* a cut line will do */
    line[strcspn(line, "\n")] = '\0';
    if (level <= FUSE_LOG_ERR) {
        (void)snprintf(last_log, sizeof(last_log), "%s", line);
    }
    msg_debug("libfuse", "%s", line);
}

static ssize_t hook_read(int fd, void *buffer, size_t bytes, void *context)
{
    (void)context;
    return read(fd, buffer, bytes); /* libfuse wants one; the workers read by themselves */
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *context)
{
    fuse_raw_patch_reply(context, iov, count);
    return writev(fd, iov, count);
}

struct option_text {
    char *text;
    size_t used;
    bool fits;
};

static void add_option(struct option_text *options, const char *name, const char *value)
{
    size_t used = options->used;
    const char *comma = used > 0 ? "," : "";

    used +=
        (size_t)snprintf(options->text + used, SESSION_OPTION_BYTES - used, "%s%s", comma, name);
    for (; used < SESSION_OPTION_BYTES && value != NULL && *value != '\0'; value++) {
        bool escape = *value == ',' || *value == '\\';
        used += (size_t)snprintf(
            options->text + used, SESSION_OPTION_BYTES - used, "%s%c", escape ? "\\" : "", *value);
    }
    options->fits = used < SESSION_OPTION_BYTES;
    options->used = options->fits ? used : SESSION_OPTION_BYTES - 1;
}

static void add_flags(struct option_text *options, unsigned long flags)
{
    static const struct {
        unsigned long flag;
        const char *on;
        const char *off;
    } words[] = {
        {MS_NOSUID, "nosuid", "suid"},
        {MS_NODEV, "nodev", "dev"},
        {MS_NOEXEC, "noexec", NULL},
        {MS_SYNCHRONOUS, "sync", NULL},
        {MS_DIRSYNC, "dirsync", NULL},
        {MS_NOATIME, "noatime", NULL},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const char *word = (flags & words[i].flag) != 0 ? words[i].on : words[i].off;
        if (word != NULL) {
            add_option(options, word, NULL);
        }
    }
}

/* The same max_read must be in the mount option and in init's answer, or libfuse gives up. */
static void
make_options(const struct mount_options *options, const char *source, struct option_text *out)
{
    add_option(out, options->read_only ? "ro" : "rw", NULL);
    add_option(out, "subtype=r5fs,default_permissions,max_read=1048576", NULL);
    add_flags(out, options->kernel_flags);
    if (options->allow_other) {
        add_option(out, "allow_other", NULL);
    }
    if (options->kernel_options[0] != '\0') {
        add_option(out, options->kernel_options, NULL);
    }
    add_option(out, "fsname=", source);
}

static int make_session(struct fuse_server *server, const char *source, char *out_why)
{
    char options[SESSION_OPTION_BYTES];
    char program[] = "r5fs";
    char dash_o[] = "-o";
    char *argv[] = {program, dash_o, options, NULL};
    struct fuse_args args = {.argc = 3, .argv = argv};
    struct option_text out = {.text = options, .fits = true};

    make_options(&server->options, source, &out);
    if (!out.fits) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "the mount options are too long");
        return -E2BIG;
    }
    server->session = fuse_session_new(&args, &fuse_ops_table, sizeof(fuse_ops_table), server);
    fuse_opt_free_args(&args); /* libfuse copied them when it took options out */
    if (server->session == NULL) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "libfuse refused: %s", last_log);
        return -EINVAL;
    }
    return 0;
}

static int mount_session(struct fuse_server *server, char *out_why)
{
    const struct fuse_custom_io hooks = {.writev = hook_writev, .read = hook_read};

    if (fuse_session_mount(server->session, server->mountpoint) != 0) {
        (void)snprintf(out_why,
                       FUSE_SERVE_WHY_BYTES,
                       "mounting was refused%s%s",
                       last_log[0] != '\0' ? ": " : "",
                       last_log);
        return -EPERM;
    }
    server->fd = fuse_session_fd(server->session);
    int err = fuse_session_custom_io(server->session, &hooks, server->fd);
    if (err != 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "libfuse refused our input and output");
    }
    return err < 0 ? err : 0;
}

/* On this thread, with a borrowed worker: the others read requests when it is agreed how. */
static int answer_init(struct fuse_server *server, char *out_why)
{
    struct fuse_worker *worker = &server->workers[0];

    while (!server->init_answered) {
        if (fuse_worker_receive(worker) == FUSE_RECEIVED_END ||
            fuse_session_exited(server->session)) {
            (void)snprintf(out_why,
                           FUSE_SERVE_WHY_BYTES,
                           "the kernel and libfuse did not agree%s%s",
                           last_log[0] != '\0' ? ": " : "",
                           last_log);
            return -EPROTO;
        }
    }
    return 0;
}

static void set_phase(struct fuse_server *server, enum fuse_phase phase)
{
    env_mutex_lock(&server->lock);
    server->phase = phase;
    atomic_store(&server->stopping, phase == FUSE_STOPPING);
    env_cond_broadcast(&server->changed);
    env_mutex_unlock(&server->lock);
}

int fuse_server_mount(struct fuse_server *server, const char *source, char *out_why)
{
    last_log[0] = '\0';
    fuse_set_log_func(on_libfuse_log);
    int err = make_session(server, source, out_why);
    if (err != 0) {
        return err;
    }
    err = mount_session(server, out_why);
    if (err == 0) {
        err = answer_init(server, out_why);
        if (err != 0) {
            fuse_session_unmount(server->session);
            server->fd = -1;
        }
    }
    if (err == 0) {
        set_phase(server, FUSE_SERVING);
    }
    return err;
}

/* ---- stop ------------------------------------------------------------------------------------ */

/* [lock] */
static bool any_is_alive(const struct fuse_server *server)
{
    for (uint32_t i = 0; i < server->worker_count; i++) {
        if (server->workers[i].ready) {
            return true;
        }
    }
    return false;
}

static void wake(const struct fuse_worker *worker)
{
    int tid = atomic_load(&worker->tid);

    if (tid != 0 && atomic_load(&worker->reading)) {
        /* ESRCH: it has just ended. */
        (void)syscall(SYS_tgkill, getpid(), tid, FUSE_WORKER_SIGNAL);
    }
}

static void join_workers(struct fuse_server *server)
{
    env_mutex_lock(&server->lock);
    while (any_is_alive(server)) {
        env_mutex_unlock(&server->lock);
        for (uint32_t i = 0; i < server->worker_count; i++) {
            wake(&server->workers[i]);
        }
        env_mutex_lock(&server->lock);
        if (any_is_alive(server)) {
            /* Either way the loop looks again. */
            (void)env_cond_wait_until(
                &server->changed, &server->lock, env_now_ns() + WAKE_EVERY_NS);
        }
    }
    env_mutex_unlock(&server->lock);
    for (uint32_t i = 0; i < server->worker_count; i++) {
        if (server->workers[i].handle != NULL) {
            env_thread_join(server->workers[i].handle);
            server->workers[i].handle = NULL;
        }
    }
}

void fuse_server_stop(struct fuse_server *server)
{
    set_phase(server, FUSE_STOPPING);
    join_workers(server);
    fuse_nodes_stop(&server->nodes);
    if (server->reaper.handle != NULL) {
        env_thread_join(server->reaper.handle);
        server->reaper.handle = NULL;
    }
}

void fuse_server_fini(struct fuse_server *server)
{
    if (server->session != NULL) {
        fuse_session_destroy(server->session);
        server->session = NULL;
        server->fd = -1;
    }
    fuse_inbox_fini(&server->inbox);
    fuse_nodes_fini(&server->nodes);
    if (server->ended_fd >= 0) {
        (void)close(server->ended_fd); /* an eventfd has nothing to lose */
        server->ended_fd = -1;
    }
    env_cond_fini(&server->changed);
    env_mutex_fini(&server->lock);
}

/* ---- what INIT agrees on --------------------------------------------------------------------- */

static void want_if_offered(struct fuse_conn_info *conn, unsigned flags)
{
    conn->want |= conn->capable & flags;
}

static void on_init(void *context, struct fuse_conn_info *conn)
{
    struct fuse_server *server = context;

    conn->max_write = FS_IO_BYTES_MAX;
    conn->max_read = FS_IO_BYTES_MAX;
    conn->max_background = MAX_BACKGROUND;
    conn->congestion_threshold = CONGESTION_THRESHOLD;
    conn->time_gran = 1;
    want_if_offered(conn,
                    FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL |
                        FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA |
                        FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_IOCTL_DIR |
                        FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                        FUSE_CAP_PARALLEL_DIROPS);
    /* O_TRUNC comes as SETATTR: with open answered ENOSYS it would not come at all. Cached pages
     * are only dropped when we say so: we are the only writer. Write-back stays with the daemon. */
    conn->want &=
        ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE |
                    FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                    FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
    server->zero_message_open = (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT) != 0;
}

const struct fuse_lowlevel_ops fuse_ops_table = {
    .init = on_init,
    .lookup = fuse_ops_lookup,
    .getattr = fuse_ops_getattr,
    .setattr = fuse_ops_setattr,
    .readlink = fuse_ops_readlink,
    .mknod = fuse_ops_mknod,
    .mkdir = fuse_ops_mkdir,
    .unlink = fuse_ops_unlink,
    .rmdir = fuse_ops_rmdir,
    .symlink = fuse_ops_symlink,
    .rename = fuse_ops_rename,
    .link = fuse_ops_link,
    .open = fuse_ops_open,
    .read = fuse_ops_read,
    .write = fuse_ops_write,
    .fsync = fuse_ops_fsync,
    .opendir = fuse_ops_opendir,
    .readdir = fuse_ops_readdir,
    .readdirplus = fuse_ops_readdirplus,
    .fsyncdir = fuse_ops_fsyncdir,
    .statfs = fuse_ops_statfs,
    .getxattr = fuse_ops_getxattr,
    .listxattr = fuse_ops_listxattr,
    .removexattr = fuse_ops_removexattr,
    .create = fuse_ops_create,
    .ioctl = fuse_ops_ioctl,
    .fallocate = fuse_ops_fallocate,
    .lseek = fuse_ops_lseek,
    /* Left out, each for its reason: setxattr, forget (fuse_raw.c answers them), flush (ENOSYS ends
     * it for good; data is ours when write returns), access (default_permissions), getlk, setlk,
     * flock (the kernel does locks by itself and a waiting worker would be lost), copy_file_range
     * (ENOSYS: the kernel copies), bmap, poll, release, releasedir (nothing is kept for an open
     * file). */
};
