/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread backend, for machines that forbid io_uring: each queue has a few worker threads that
 * carry out requests with preadv, pwritev and fdatasync.
 *
 *   io_submit -> [submitted] -> io_wait: [pending] -> owner or worker carries out -> [finished]
 *                 owner only                 shared, [lock]                              |
 *                                                          io_wait: done, on the owner <-+
 *
 * The owner works too while it waits, so that a lone request needs no hop to another thread.
 *
 * Invariants:
 *   TH1  a request is on exactly one list, or in the hands of the one thread that carries it out.
 *   TH2  `done` runs on the owner, without the lock: it may submit.
 *
 * Liveness: a worker waits only for `pending` (event: io_wait, queue_close) and for system calls;
 * the owner waits for `finished` only while a worker has a request in its hands.
 * Failure modes: a thread that cannot be started makes queue_open fail.
 * Thread: the queue's owner and its workers.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "member_backend.h"
#include "r5fs/base/env.h"
#include "r5fs/base/units.h"

#define WORKERS_MAX 4u

struct threads_queue {
    struct io_queue queue;      /* first */
    struct list_node submitted; /* [owner] */
    struct env_mutex lock;
    struct env_cond work;      /* `pending` or `stopping` changed */
    struct env_cond progress;  /* `finished` changed */
    struct list_node pending;  /* [lock] */
    struct list_node finished; /* [lock] */
    bool stopping;             /* [lock] */
    uint32_t worker_count;     /* [fixed after open] */
    struct env_thread *workers[WORKERS_MAX];
};

_Static_assert(offsetof(struct threads_queue, queue) == 0, "an io_queue is its threads_queue");

static struct threads_queue *threads_of(struct io_queue *queue)
{
    return container_of(queue, struct threads_queue, queue);
}

static int64_t request_transfer(const struct io_request *request)
{
    uint32_t count = 0;
    uint64_t offset_bytes = 0;
    ssize_t result = 0;

    if (request->op == IO_FLUSH) {
        result = fdatasync(request->file->fd);
    } else {
        const struct iovec *rest = io_request_rest(request, &count, &offset_bytes);
        result = request->op == IO_READ
                     ? preadv(request->file->fd, rest, (int)count, (off_t)offset_bytes)
                     : pwritev(request->file->fd, rest, (int)count, (off_t)offset_bytes);
    }
    return result < 0 ? -errno : result;
}

static int64_t request_write_back(const struct io_request *request)
{
    int result = sync_file_range(request->file->fd,
                                 (off_t)request->offset_bytes,
                                 (off_t)io_request_bytes(request),
                                 IO_WRITE_BACK_FLAGS);

    return result < 0 ? -errno : 0;
}

/* Carries a request out to its end. */
static void request_carry_out(struct io_request *request)
{
    enum io_step step = IO_STEP_TRANSFER;

    while (step != IO_STEP_DONE) {
        if (step == IO_STEP_PAUSE) {
            env_sleep_ns(IO_PAUSE_NS);
            step = io_request_step(request);
        }
        int64_t result =
            step == IO_STEP_TRANSFER ? request_transfer(request) : request_write_back(request);
        step = io_request_absorb(request, result);
    }
}

/* [lock] Takes one pending request and carries it out without the lock. */
static void threads_work_off_one(struct threads_queue *threads)
{
    struct io_request *request = container_of(list_pop(&threads->pending), struct io_request, node);

    env_mutex_unlock(&threads->lock);
    request_carry_out(request);
    env_mutex_lock(&threads->lock);
    list_add_tail(&threads->finished, &request->node);
}

static void worker_run(void *context)
{
    struct threads_queue *threads = context;

    env_mutex_lock(&threads->lock);
    while (!threads->stopping) {
        if (list_is_empty(&threads->pending)) {
            env_cond_wait(&threads->work, &threads->lock);
            continue;
        }
        threads_work_off_one(threads);
        env_cond_signal(&threads->progress);
    }
    env_mutex_unlock(&threads->lock);
}

static void threads_queue_close(struct io_queue *queue)
{
    struct threads_queue *threads = threads_of(queue);

    env_mutex_lock(&threads->lock);
    threads->stopping = true;
    env_cond_broadcast(&threads->work);
    env_mutex_unlock(&threads->lock);
    for (uint32_t i = 0; i < threads->worker_count; i++) {
        env_thread_join(threads->workers[i]);
    }
    env_cond_fini(&threads->progress);
    env_cond_fini(&threads->work);
    env_mutex_fini(&threads->lock);
}

static int threads_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    struct threads_queue *threads = arena_take_array(arena, struct threads_queue, 1);
    /* The owner is one worker itself. */
    uint32_t wanted = (uint32_t)min_u64(depth - 1, WORKERS_MAX);

    list_init(&threads->submitted);
    list_init(&threads->pending);
    list_init(&threads->finished);
    env_mutex_init(&threads->lock);
    env_cond_init(&threads->work);
    env_cond_init(&threads->progress);
    for (uint32_t i = 0; i < wanted; i++) {
        int error = env_thread_start(&threads->workers[i], "r5fs-io", worker_run, threads);
        if (error != 0) {
            threads_queue_close(&threads->queue);
            return error;
        }
        threads->worker_count++;
    }
    *out_queue = &threads->queue;
    return 0;
}

static void threads_submit(struct io_queue *queue, struct io_request *request)
{
    io_request_begin(request);
    list_add_tail(&threads_of(queue)->submitted, &request->node);
}

static unsigned threads_wait(struct io_queue *queue)
{
    struct threads_queue *threads = threads_of(queue);
    struct list_node finished;
    unsigned done = 0;

    list_init(&finished);
    env_mutex_lock(&threads->lock);
    list_splice_tail(&threads->pending, &threads->submitted);
    if (threads->pending.next != threads->pending.prev) {
        env_cond_broadcast(&threads->work); /* more than the owner can take at once */
    }
    while (list_is_empty(&threads->finished)) {
        if (list_is_empty(&threads->pending)) {
            env_cond_wait(&threads->progress, &threads->lock);
        } else {
            threads_work_off_one(threads);
        }
    }
    list_splice_tail(&finished, &threads->finished);
    env_mutex_unlock(&threads->lock);
    for (struct list_node *node = list_pop(&finished); node != NULL; node = list_pop(&finished)) {
        io_request_finish(queue, container_of(node, struct io_request, node));
        done++;
    }
    return done;
}

const struct io_backend_ops member_threads_ops = {
    .name = "threads",
    .queue_open = threads_queue_open,
    .queue_close = threads_queue_close,
    .submit = threads_submit,
    .wait = threads_wait,
};
