/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Up and down.
 *
 *   arena -> array assembled -> workers started -> log and filesystem looked at
 *         -> writing started -> journal open (recovery)
 *         -> filesystem mounted -> arena sealed -> session mounted, INIT answered
 *   and down: session ended -> workers joined -> filesystem unmounted -> journal closed (all
 * written
 *         out, log empty) -> superblocks clean -> files closed, locks released
 *
 * The division of memory=: workers and their buffers; a sixteenth for what the kernel knows; a
 * fifth for metadata buffers; what remains is the journal's, that is the write-back cache.
 *
 * Failure modes: each step says why in words; what had come up goes down again. On the way down
 * every step is taken whatever the one before said, and the first error is what is reported: a
 * filesystem that could not be drained leaves a log for the next mount, never a lie.
 * Thread: the main one.
 */
#include "serve.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount_table.h"
#include "r5fs/base/line.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/watch.h"
#include "r5fs/raid/stripe.h"

#define LOCK_WAIT_MS         5000u
#define NS_PER_SECOND        UINT64_C(1000000000)
#define QUEUE_DEPTH          64u
#define WORKERS_DEFAULT_MIN  8u
#define WORKERS_DEFAULT_MAX  32u
#define WORKERS_MEMORY_SHARE 6u
#define NODES_MEMORY_SHARE   16u
#define NODE_BYTES           64u /* with its part of the index */
#define FS_MEMORY_SHARE      5u
/* Locks, tables and queues of the floors below, and the log thread's. */
#define RESERVE_BYTES (4ull * 1024 * 1024)
/* Longer lists of paths are shown by the array's name: options travel in one page. */
#define SOURCE_BYTES_MAX 1024u
#define FAULT_PLAN_BYTES 128

R5_PRINTF(2, 3) static void say_why(struct serve *serve, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_format_list(serve->why, sizeof(serve->why), format, args);
    va_end(args);
}

/* ---- before anything is opened --------------------------------------------------------------- */

static int check_mountpoint(struct serve *serve)
{
    struct stat stat_buffer;
    const char *path = serve->options->mountpoint;

    if (stat(path, &stat_buffer) != 0) {
        say_why(serve, "mount point %s: %s", path, strerror(errno));
        return errno == ENOENT ? 3 : 1;
    }
    if (!S_ISDIR(stat_buffer.st_mode)) {
        say_why(serve, "mount point %s: not a directory", path);
        return 3;
    }
    int err = mount_path_resolve(path, serve->mountpoint);
    if (err != 0) {
        say_why(serve, "mount point %s: %s", path, strerror(-err));
        return 1;
    }
    return 0;
}

static bool fuse_conf_allows_other(void)
{
    char line[256];
    bool allows = false;

    FILE *file = fopen("/etc/fuse.conf", "re");
    if (file == NULL) {
        return false;
    }
    while (!allows && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, " \t\r\n#")] = '\0';
        allows = strcmp(line, "user_allow_other") == 0;
    }
    (void)fclose(file); /* only read */
    return allows;
}

static void append(char *text, size_t size, const char *more)
{
    size_t used = strlen(text);

    (void)snprintf(text + used, size - used, "%s", more); /* cut: it is for show */
}

/* The mount's name in df: as given, else the paths joined. */
static void make_source(struct serve *serve)
{
    const struct fuse_serve_options *options = serve->options;

    serve->source[0] = '\0';
    if (options->mount.fsname[0] != '\0') {
        append(serve->source, sizeof(serve->source), options->mount.fsname);
        return;
    }
    if (options->source != NULL) {
        append(serve->source, sizeof(serve->source), options->source);
        return;
    }
    for (uint32_t i = 0; i < options->path_count; i++) {
        append(serve->source, sizeof(serve->source), i > 0 ? ":" : "");
        append(serve->source, sizeof(serve->source), options->paths[i]);
    }
}

int serve_prepare(struct serve *serve, const struct fuse_serve_options *options)
{
    *serve = (struct serve){.options = options, .read_only = options->mount.read_only};
    int code = check_mountpoint(serve);
    if (code != 0) {
        return code;
    }
    if (options->mount.allow_other && geteuid() != 0 && !fuse_conf_allows_other()) {
        say_why(serve,
                "option allow_other: a user needs the line 'user_allow_other' in "
                "/etc/fuse.conf (hint: add it, or mount as root)");
        return 5;
    }
    make_source(serve);
    return 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t worker_count(const struct mount_options *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t count = options->threads;

    if (count == 0) {
        count = 2 * (uint64_t)(processors > 0 ? processors : 1) + 4;
        count = max_u64(WORKERS_DEFAULT_MIN, min_u64(count, WORKERS_DEFAULT_MAX));
    }
    uint64_t each = 2 * FUSE_BUFFER_BYTES + FUSE_SCRATCH_BYTES; /* with a slot of the inbox */
    uint64_t most = max_u64(2, options->memory_bytes / WORKERS_MEMORY_SHARE / each);
    return (uint32_t)min_u64(min_u64(count, most), FUSE_WORKERS_MAX);
}

static uint64_t node_count(const struct mount_options *options)
{
    return options->memory_bytes / NODES_MEMORY_SHARE / NODE_BYTES;
}

static int take_memory(struct serve *serve)
{
    const struct mount_options *options = &serve->options->mount;

    int err = arena_init(&serve->arena, options->memory_bytes, true);
    if (err != 0) {
        say_why(serve,
                "memory=%llu MiB: %s",
                (unsigned long long)options->memory_bytes >> 20,
                strerror(-err));
        return err;
    }
    serve->care.lock_error = serve->arena.lock_error;
    if (!serve->arena.locked) {
        msg_info("mount",
                 "memory is not locked: under memory pressure it may be swapped out "
                 "(hint: raise RLIMIT_MEMLOCK)");
    }
    err = io_backend_choose(options->backend);
    if (err == 0) {
        err = io_queue_open(&serve->thread.queue, &serve->arena, QUEUE_DEPTH);
    }
    if (err != 0) {
        say_why(serve,
                "backend %s: %s",
                options->backend == IO_BACKEND_URING ? "uring" : "threads",
                strerror(-err));
        arena_fini(&serve->arena);
        return err;
    }
    serve->thread.scratch = arena_take(&serve->arena, FUSE_SCRATCH_BYTES, BLOCK_BYTES);
    serve->stage = SERVE_MEMORY;
    return 0;
}

/* ---- the floors below ------------------------------------------------------------------------ */

static int try_assemble(struct serve *serve, bool without_journal)
{
    const struct array_assemble how = {
        .paths = serve->options->paths,
        .path_count = serve->options->path_count,
        .read_only = serve->read_only,
        .allow_degraded = serve->options->mount.degraded,
        .allow_no_journal = without_journal,
        .lock_wait_ms = LOCK_WAIT_MS,
        .arena = &serve->arena,
    };

    return array_assemble(&how, serve->thread.queue, &serve->array, serve->why);
}

/* Without its journal a filesystem can only be read; that is said, and done. */
static int assemble(struct serve *serve)
{
    int err = try_assemble(serve, serve->options->mount.norecovery);

    if (err == -ENXIO) {
        char why[FUSE_SERVE_WHY_BYTES];
        (void)snprintf(why, sizeof(why), "%s", serve->why);
        serve->read_only = true;
        err = try_assemble(serve, true);
        if (err == 0) {
            msg_warn("mount", "%s: mounted read-only, without what only the journal has", why);
        }
    }
    if (err == 0) {
        serve->stage = SERVE_ASSEMBLED;
    }
    return err;
}

static int start_workers(struct serve *serve)
{
    const struct mount_options *options = &serve->options->mount;
    struct fuse_server *server = &serve->server;

    server->array = serve->array;
    server->options = *options;
    server->mountpoint = serve->mountpoint;
    server->owner = getuid();
    server->care = serve->care;
    serve->stage = SERVE_WORKERS;
    int err = fuse_server_start(server, &serve->arena, worker_count(options), node_count(options));
    if (err != 0) {
        say_why(serve, "cannot start the workers: %s", strerror(-err));
    }
    return err;
}

static uint64_t fs_memory(const struct serve *serve)
{
    return serve->options->mount.memory_bytes / FS_MEMORY_SHARE;
}

/* stripes=N asks for fewer images than the memory would hold, never for more. */
static uint32_t images_max(const struct serve *serve, uint64_t memory)
{
    uint32_t slots = array_geometry(serve->array)->slots;
    uint32_t wanted = serve->options->mount.stripes;

    if (wanted == 0 || stripe_cache_need(slots, wanted, 0) > memory / 2) {
        return 0;
    }
    return wanted;
}

static int open_journal(struct serve *serve)
{
    const struct mount_options *options = &serve->options->mount;
    size_t left = arena_left(&serve->arena);
    uint64_t others = fs_memory(serve) + RESERVE_BYTES;

    if (left <= others) {
        say_why(serve,
                "memory=%llu MiB is too small (hint: a larger memory=, or fewer threads=)",
                (unsigned long long)options->memory_bytes >> 20);
        return -ENOSPC;
    }
    const struct journal_options how = {
        .arena = &serve->arena,
        .memory_bytes = left - others,
        .io_units = options->io_units,
        .images_max = images_max(serve, left - others),
        .commit_interval_ms = options->commit_interval_ms,
        .write_through = options->journal_mode == MOUNT_JOURNAL_WRITE_THROUGH,
        .kernel_safe = options->kernel_safe,
        .read_only = serve->read_only,
        .no_replay = options->norecovery,
        .accept_damaged_log = options->accept_damaged_log,
        .judge_log = fs_judge_log,
    };
    int err = 0;
    if (!serve->read_only && !options->accept_damaged_log) {
        err = fs_look_mount(serve->array, &serve->thread, fs_memory(serve), serve->why);
    }
    if (err != 0) {
        return err;
    }
    err = journal_open(&serve->journal, serve->array, &how, serve->thread.queue, serve->why);
    if (err == 0) {
        serve->stage = SERVE_JOURNAL;
    }
    return err;
}

static enum journal_mode wanted_mode(const struct serve *serve)
{
    struct fs_info info;

    switch (serve->options->mount.journal_mode) {
    case MOUNT_JOURNAL_WRITE_BACK: return JOURNAL_WRITE_BACK;
    case MOUNT_JOURNAL_WRITE_THROUGH: return JOURNAL_WRITE_THROUGH;
    case MOUNT_JOURNAL_AS_KEPT: break;
    }
    fs_get_info(serve->fs, &info);
    return info.write_through ? JOURNAL_WRITE_THROUGH : JOURNAL_WRITE_BACK;
}

static int mount_fs(struct serve *serve)
{
    const struct fs_options how = {
        .arena = &serve->arena,
        .buffer_bytes = fs_memory(serve),
        .read_only = serve->read_only,
    };

    int err = fs_mount(&serve->fs, serve->journal, serve->array, &how, &serve->thread, serve->why);
    if (err != 0) {
        return err;
    }
    serve->stage = SERVE_FS;
    if (serve->read_only) {
        return 0;
    }
    err = journal_set_mode(serve->journal, serve->thread.queue, wanted_mode(serve));
    if (err != 0) {
        say_why(serve, "cannot set the journal's mode: %s", strerror(-err));
    }
    return err;
}

static int mount_session(struct serve *serve)
{
    struct fuse_server *server = &serve->server;

    /* Read-only may have been our own decision; the kernel must know. */
    server->options.read_only = serve->read_only;
    server->fs = serve->fs;
    server->journal = serve->journal;
    if (strlen(serve->source) > SOURCE_BYTES_MAX) {
        char uuid[UUID_TEXT_BYTES];
        struct uuid array = array_uuid(serve->array);
        uuid_print(&array, uuid);
        (void)snprintf(serve->source, sizeof(serve->source), "UUID=%s", uuid); /* fits */
    }
    int err = fuse_server_mount(server, serve->source, serve->why);
    if (err == 0) {
        serve->stage = SERVE_MOUNTED;
        serve->device = mount_device_at(serve->mountpoint);
    }
    return err;
}

#ifdef R5FS_DEBUG_CHECKS
/* For tests (docs/TESTING.md, "Fault plans"): each pool is there by now. */
static int set_pool_faults(struct serve *serve)
{
    char plan[FAULT_PLAN_BYTES];
    const char *text = getenv("R5FS_POOL_FAULTS");
    const char *next = text == NULL || text[0] == '\0' ? NULL : text;

    while (next != NULL) {
        size_t length = strcspn(next, ",");
        int written = snprintf(plan, sizeof(plan), "%.*s", (int)min_u64(length, INT_MAX), next);
        if (written < 0 || (size_t)written >= sizeof(plan) || pool_fault_parse(plan) != 0) {
            say_why(serve,
                    "R5FS_POOL_FAULTS: '%s' is no plan for a pool (hint: NAME:KIND:K[:SEED])",
                    plan);
            return -EINVAL;
        }
        msg_info("mount", "fault plan '%s'", plan);
        next = next[length] == ',' ? next + length + 1 : NULL;
    }
    return 0;
}
#else
static int set_pool_faults(struct serve *serve)
{
    (void)serve;
    return 0;
}
#endif

/* Before there is anything to watch: a recovery that stands still is to be seen, too. */
static void start_watchdog(const struct serve *serve)
{
    uint32_t seconds = serve->options->mount.watchdog_s;
    int err = seconds == 0 ? 0 : watchdog_start(seconds * NS_PER_SECOND);

    if (err != 0) {
        msg_warn("mount", "no watchdog: its thread cannot be started err=%d", err);
    }
}

static int start_all(struct serve *serve)
{
    int err = take_memory(serve);

    if (err == 0) {
        start_watchdog(serve);
        err = assemble(serve);
    }
    if (err == 0) {
        err = start_workers(serve);
    }
    if (err == 0) {
        err = open_journal(serve);
    }
    if (err == 0) {
        err = mount_fs(serve);
    }
    if (err == 0) {
        arena_seal(&serve->arena);
        err = set_pool_faults(serve);
    }
    if (err == 0) {
        err = mount_session(serve);
    }
    return err;
}

int serve_start(struct serve *serve)
{
    char why[FUSE_SERVE_WHY_BYTES];
    int err = start_all(serve);

    if (err == 0) {
        return 0;
    }
    if (serve->why[0] == '\0') {
        say_why(serve, "%s", strerror(-err));
    }
    (void)snprintf(why, sizeof(why), "%s", serve->why);
    int stopped = serve_stop(serve);
    if (stopped != 0) {
        msg_warn("mount", "after the failure, stopping failed too: %s", serve->why);
    }
    (void)snprintf(serve->why, sizeof(serve->why), "%s", why);
    return err;
}

/* ---- down ------------------------------------------------------------------------------------ */

static int first_error(struct serve *serve, int first, int next, const char *what)
{
    if (next == 0) {
        return first;
    }
    msg_err("mount", "%s failed: %s", what, strerror(-next));
    if (first != 0) {
        return first;
    }
    say_why(serve, "%s failed: %s", what, strerror(-next));
    return next;
}

/* What is not on the members is in the log, unless that is what failed. */
static void say_way_out(struct serve *serve)
{
    size_t length = strlen(serve->why);
    bool failed = array_journal_state(serve->array) == JOURNAL_DEVICE_FAULTY;

    (void)snprintf(serve->why + length,
                   sizeof(serve->why) - length,
                   "%s",
                   failed
                       ? " (the journal has failed: what only it had to hold is lost; hint: mount "
                         "with -o ro)"
                       : " (hint: mount again: the log still has it)"); /* cut short at worst */
}

int serve_stop(struct serve *serve)
{
    int err = 0;

    if (serve->stage >= SERVE_WORKERS) {
        fuse_server_stop(&serve->server);
        fuse_server_fini(&serve->server);
    }
    if (serve->stage >= SERVE_FS) {
        err = first_error(
            serve, err, fs_unmount(serve->fs, &serve->thread), "unmounting the filesystem");
    }
    if (serve->stage >= SERVE_JOURNAL) {
        err = first_error(
            serve, err, journal_close(serve->journal, serve->thread.queue), "emptying the log");
    }
    if (serve->stage >= SERVE_ASSEMBLED && array_is_writing(serve->array)) {
        err = first_error(serve,
                          err,
                          array_stop_writing(serve->array, serve->thread.queue),
                          "writing the last superblocks");
    }
    watchdog_stop(); /* the last writes were watched, too; names of files go now */
    if (serve->stage >= SERVE_ASSEMBLED) {
        if (err != 0) {
            say_way_out(serve);
        }
        array_close(serve->array);
    }
    if (serve->stage >= SERVE_MEMORY) {
        io_queue_close(serve->thread.queue);
        arena_fini(&serve->arena);
    }
    return err;
}

/* As anybody but root: the helper does it for us. */
static int run_fusermount(const char *mountpoint, const char *flags)
{
    char program[] = "fusermount3";
    char dashes[] = "--";
    char words[16];
    char path[FUSE_SERVE_MNT_BYTES];
    char *argv[] = {program, words, dashes, path, NULL};
    pid_t pid = -1;
    int status = 0;

    (void)snprintf(words, sizeof(words), "%s", flags);    /* fits */
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

void serve_unmount(struct serve *serve)
{
    bool root = geteuid() == 0;

    /* umount(2) knows paths only, and would take whatever lies on top there. */
    if (serve->device != 0 && mount_device_at(serve->mountpoint) != serve->device) {
        msg_warn("mount",
                 "%s: something else is mounted over it and stays; what lies below is a dead mount "
                 "from now on (hint: umount both)",
                 serve->mountpoint);
        return;
    }
    int err = root ? umount2(serve->mountpoint, 0) : run_fusermount(serve->mountpoint, "-u");

    if (err == 0) {
        return;
    }
    msg_warn("mount", "still in use: it is taken out of sight now, what is open gets ENOTCONN");
    err = root ? umount2(serve->mountpoint, MNT_DETACH) : run_fusermount(serve->mountpoint, "-uz");
    if (err != 0) {
        msg_warn("mount", "the kernel does not let go of the mount errno=%d", errno);
    }
}
