/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker: one thread, one ring, one request at a time.
 *
 *      page before            payload, 1 MiB                      two blocks
 *   [...| 80 bytes of headers ][ WRITE data, or READ's reply ...][........]
 *                              ^ block boundary
 *
 * read(2) goes to 80 bytes before the boundary, so that the data of a WRITE is aligned in memory
 * whatever its file offset; replies are made in the same memory once the request has been parsed.
 *
 * Happy path: read a request, let libfuse take it apart and call a fuse_ops_* function, which runs
 * the filesystem on this thread and replies. A cached write or clean read crosses no thread.
 * Failure modes: ENODEV is the end of the mount. ENOENT: the request was taken back. A signal wakes
 * the worker for the stop.
 * Waits: read(2) for requests; inside the filesystem for a reservation, locks, I/O, a commit; for a
 * node of the lookup table, bounded.
 * Thread: its own; the main thread answers INIT with a worker's functions before the others go.
 */
#include "fuse_worker.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fuse_ops.h"
#include "fuse_raw.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/watch.h"

/* A request may be large; what it waits for is watched by itself. */
#define REQUEST_PATIENCE  4u
#define REQUEST_BYTES_MAX (FUSE_RAW_WRITE_HEAD_BYTES + FUSE_IO_BYTES)

static _Thread_local struct fuse_worker *current;

struct fuse_worker *fuse_worker_current(void)
{
    return current;
}

size_t fuse_worker_need(void)
{
    return FUSE_BUFFER_BYTES + FUSE_SCRATCH_BYTES + (size_t)2 * BLOCK_BYTES;
}

void fuse_worker_init(struct fuse_worker *worker, struct fuse_server *server, struct arena *arena)
{
    *worker = (struct fuse_worker){.server = server};
    env_mutex_init(&worker->lock);
    worker->payload = (uint8_t *)arena_take(arena, FUSE_BUFFER_BYTES, BLOCK_BYTES) + BLOCK_BYTES;
    worker->thread.scratch = arena_take(arena, FUSE_SCRATCH_BYTES, BLOCK_BYTES);
}

/* The stop's signal must reach this thread; threads of ours block what comes from outside. On Linux
 * sigprocmask(2) is the calling thread's own. */
static void let_signal_in(void)
{
    sigset_t set;

    (void)sigemptyset(&set);                   /* cannot fail */
    (void)sigaddset(&set, FUSE_WORKER_SIGNAL); /* a valid signal */
    R5_CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

bool fuse_worker_enter(struct fuse_worker *worker, struct arena *arena)
{
    struct fuse_server *server = worker->server;

    current = worker;
    worker->watch = watch_open("request", NULL);
    watch_set_patience(worker->watch, REQUEST_PATIENCE);
    watch_here(worker->watch);
    worker->start_error = io_queue_open(&worker->thread.queue, arena, FUSE_QUEUE_DEPTH);
    let_signal_in();

    env_mutex_lock(&server->lock);
    worker->ready = true;
    env_cond_broadcast(&server->changed);
    while (server->phase == FUSE_STARTING) {
        env_cond_wait(&server->changed, &server->lock);
    }
    bool serving = server->phase == FUSE_SERVING && worker->start_error == 0;
    env_mutex_unlock(&server->lock);
    atomic_store(&worker->tid, (int)gettid());
    return serving;
}

void fuse_worker_leave(struct fuse_worker *worker)
{
    struct fuse_server *server = worker->server;
    uint64_t one = 1;

    atomic_store(&worker->tid, 0);
    fuse_nodes_unprepare(&server->nodes, &worker->spare);
    if (worker->start_error == 0) {
        io_queue_close(worker->thread.queue);
    }
    env_mutex_lock(&server->lock);
    worker->ready = false;
    env_cond_broadcast(&server->changed);
    env_mutex_unlock(&server->lock);
    R5_CHECK(write(server->ended_fd, &one, sizeof(one)) == sizeof(one));
    watch_here(NULL);
    watch_close(worker->watch);
    current = NULL;
}

static uint8_t *request_of(const struct fuse_worker *worker)
{
    return worker->payload - FUSE_RAW_WRITE_HEAD_BYTES;
}

static void answer(struct fuse_worker *worker, uint8_t *request, size_t bytes)
{
    const struct fuse_in_header *in = (const void *)request;
    struct fuse_buf buffer = {.size = bytes, .mem = request, .fd = -1};

    /* Before the reply: whoever got one finds its request counted. */
    atomic_fetch_add_explicit(&worker->handled, 1, memory_order_relaxed);
    env_mutex_lock(&worker->lock);
    worker->unique = fuse_raw_unique(request);
    worker->request = request;
    worker->thread.interrupted = false;
    env_mutex_unlock(&worker->lock);
    watch_enter(worker->watch, "opcode, inode", in->opcode, in->nodeid);

    if (!fuse_raw_handle(worker, request, bytes)) {
        fuse_session_process_buf(worker->server->session, &buffer);
    }

    watch_leave(worker->watch);
    env_mutex_lock(&worker->lock);
    worker->unique = 0;
    worker->request = NULL;
    env_mutex_unlock(&worker->lock);
}

/* Whether to keep reading rather than to answer: nobody else reads, and the handler may park. What
 * would unpark the others or end their tasks must be read by somebody. */
static bool must_read_on(const struct fuse_worker *worker, const void *request)
{
    const struct fuse_server *server = worker->server;

    return server->worker_count > 1 && fuse_raw_may_park(request) &&
           atomic_load(&server->readers) == 0;
}

/* The next request in the worker's buffer: one that was set aside, if somebody else goes on
 * reading, else one from the kernel. In this order: whoever sets one aside counts itself as a
 * reader after that, so of two workers that come here at the same time one sees the other or the
 * request. */
static ssize_t receive(struct fuse_worker *worker, bool *out_aside, int *out_error)
{
    struct fuse_server *server = worker->server;
    ssize_t bytes = -1;

    *out_error = EINTR;
    bool others = atomic_fetch_add(&server->readers, 1) > 0;
    size_t aside = others ? fuse_inbox_take(&server->inbox, worker) : 0;
    *out_aside = aside > 0;
    if (aside > 0) {
        bytes = (ssize_t)aside;
    } else {
        atomic_store(&worker->reading, true);
        if (!atomic_load(&server->stopping)) {
            bytes = read(server->fd, request_of(worker), REQUEST_BYTES_MAX);
            *out_error = errno;
        }
        atomic_store(&worker->reading, false);
    }
    atomic_fetch_sub(&server->readers, 1);
    return bytes;
}

enum fuse_received fuse_worker_receive(struct fuse_worker *worker)
{
    int error = 0;
    bool aside = false;
    ssize_t bytes = receive(worker, &aside, &error);

    if (bytes > 0) {
        if (aside || !must_read_on(worker, request_of(worker)) ||
            !fuse_inbox_put(&worker->server->inbox, worker, (size_t)bytes)) {
            answer(worker, request_of(worker), (size_t)bytes);
        }
        return FUSE_RECEIVED_REQUEST;
    }
    if (bytes < 0 && (error == EINTR || error == EAGAIN || error == ENOENT)) {
        return FUSE_RECEIVED_NOTHING;
    }
    if (bytes < 0 && error != ENODEV) {
        msg_err("fuse", "receiving requests failed errno=%d", error);
    }
    return FUSE_RECEIVED_END;
}

void fuse_worker_run(void *context)
{
    struct fuse_worker_start *start = context;
    struct fuse_worker *worker = start->worker;
    struct fuse_server *server = worker->server;
    bool go_on = fuse_worker_enter(worker, start->arena);

    while (go_on && !atomic_load(&server->stopping)) {
        go_on = fuse_worker_receive(worker) != FUSE_RECEIVED_END;
    }
    fuse_worker_leave(worker);
}
