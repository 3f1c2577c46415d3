/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring backend: one ring for each queue, used by the queue's owner alone.
 *
 *   io_submit -> [waiting] -> io_wait: ring (at most `depth`) -> completion -> absorb -> done
 *                    ^                                               |
 *                    +------ short transfer, EINTR, write-back ------+
 *
 * io_submit only links the request; io_wait hands everything that waits to the kernel in one system
 * call and sleeps in that same call.
 *
 * Invariants:
 *   UR1  in_ring <= depth <= the ring's entries, so neither side of the ring can overflow.
 *   UR2  a request is on `waiting` or in the ring, never both.
 *   UR3  `done` runs after its completion was taken off the ring: it may submit.
 *
 * Happy path: k requests submitted, one io_uring_enter, k completions.
 * Failure modes: the kernel short of memory (-EAGAIN, -EBUSY) is a pause and another try; a ring
 * that cannot be made is reported by member_uring_probe with who refuses it.
 * Thread: the queue's owner; it becomes the ring's only submitter with its first io_wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include "member_backend.h"
#include "r5fs/base/env.h"
#include "r5fs/base/units.h"

#define PROBE_DEPTH 2u
#define DEPTH_MAX   4096u
/* io_uring counts the bytes of one piece in 32 bits; longer ones go in steps. */
#define PIECE_BYTES_MAX (UINT64_C(1) << 30)
#define DISABLED_PATH   "/proc/sys/kernel/io_uring_disabled"

struct uring_queue {
    struct io_queue queue; /* first */
    struct io_uring ring;
    struct list_node waiting; /* not yet in the ring */
    uint32_t depth;           /* [fixed] */
    uint32_t in_ring;
    bool enabled; /* the owner has shown up */
};

_Static_assert(offsetof(struct uring_queue, queue) == 0, "an io_queue is its uring_queue");

/* Best first. Kernels before 6.1 and 5.19 do not know the newer ones. */
static const unsigned ring_flags[] = {
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_R_DISABLED,
};

static int ring_open(struct io_uring *ring, uint32_t depth)
{
    int error = -EINVAL;

    for (size_t i = 0; i < sizeof(ring_flags) / sizeof(ring_flags[0]) && error == -EINVAL; i++) {
        error = io_uring_queue_init(depth, ring, ring_flags[i]);
    }
    return error;
}

/* The sysctl of kernel 6.6 and later; 0 where it is absent. */
static char uring_disabled_level(void)
{
    char level = '0';
    int fd = open(DISABLED_PATH, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (read(fd, &level, 1) != 1) {
            level = '0';
        }
        (void)close(fd); /* was only read */
    }
    return level;
}

static const char *uring_refusal(int error)
{
    char level = uring_disabled_level();

    if (error == -EPERM && level == '2') {
        return "sysctl kernel.io_uring_disabled=2 forbids it to everyone";
    }
    if (error == -EPERM && level == '1') {
        return "sysctl kernel.io_uring_disabled=1 forbids it to processes without CAP_SYS_ADMIN";
    }
    if (error == -EPERM || error == -EACCES) {
        return "a seccomp filter or security policy forbids it";
    }
    if (error == -ENOSYS) {
        return "this kernel, or the sandbox around it, does not know it";
    }
    if (error == -ENOMEM) {
        return "no memory for a ring; RLIMIT_MEMLOCK may be too small";
    }
    return "no ring could be made";
}

int member_uring_probe(const char **out_why)
{
    struct io_uring ring;
    int error = ring_open(&ring, PROBE_DEPTH);

    if (error != 0) {
        *out_why = uring_refusal(error);
        return error;
    }
    io_uring_queue_exit(&ring);
    return 0;
}

static struct uring_queue *uring_of(struct io_queue *queue)
{
    return container_of(queue, struct uring_queue, queue);
}

static int uring_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    struct uring_queue *uring = arena_take_array(arena, struct uring_queue, 1);
    int error = 0;

    uring->depth = (uint32_t)min_u64(depth, DEPTH_MAX);
    list_init(&uring->waiting);
    error = ring_open(&uring->ring, uring->depth);
    if (error != 0) {
        return error;
    }
    *out_queue = &uring->queue;
    return 0;
}

static void uring_queue_close(struct io_queue *queue)
{
    io_uring_queue_exit(&uring_of(queue)->ring);
}

static void uring_submit(struct io_queue *queue, struct io_request *request)
{
    io_request_begin(request);
    list_add_tail(&uring_of(queue)->waiting, &request->node);
}

static void uring_prepare_transfer(struct io_uring_sqe *sqe, const struct io_request *request)
{
    uint32_t count = 0;
    uint64_t offset_bytes = 0;
    int fd = request->file->fd;

    if (request->op == IO_FLUSH) {
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        return;
    }
    const struct iovec *rest = io_request_rest(request, &count, &offset_bytes);
    unsigned first_bytes = (unsigned)min_u64(rest[0].iov_len, PIECE_BYTES_MAX);
    bool is_read = request->op == IO_READ;

    if (count == 1 && is_read) {
        io_uring_prep_read(sqe, fd, rest[0].iov_base, first_bytes, offset_bytes);
    } else if (count == 1) {
        io_uring_prep_write(sqe, fd, rest[0].iov_base, first_bytes, offset_bytes);
    } else if (is_read) {
        io_uring_prep_readv(sqe, fd, rest, count, offset_bytes);
    } else {
        io_uring_prep_writev(sqe, fd, rest, count, offset_bytes);
    }
}

static void uring_prepare(struct io_uring_sqe *sqe, struct io_request *request)
{
    if (io_request_step(request) == IO_STEP_WRITE_BACK) {
        /* Beyond 32 bits 0 stands for "to the end of the file". */
        uint64_t bytes = io_request_bytes(request);
        io_uring_prep_sync_file_range(sqe,
                                      request->file->fd,
                                      bytes > UINT32_MAX ? 0 : (unsigned)bytes,
                                      request->offset_bytes,
                                      IO_WRITE_BACK_FLAGS);
    } else {
        uring_prepare_transfer(sqe, request);
    }
    io_uring_sqe_set_data(sqe, request);
}

static void uring_fill(struct uring_queue *uring)
{
    while (uring->in_ring < uring->depth && !list_is_empty(&uring->waiting)) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
        R5_CHECK(sqe != NULL); /* UR1 */
        struct io_request *request =
            container_of(list_pop(&uring->waiting), struct io_request, node);
        uring_prepare(sqe, request);
        uring->in_ring++;
    }
}

/* Hands over what was prepared and sleeps until a completion is there. */
static void uring_enter(struct uring_queue *uring)
{
    for (;;) {
        int result = io_uring_submit_and_wait(&uring->ring, 1);
        if (result >= 0 || io_uring_cq_ready(&uring->ring) > 0) {
            return;
        }
        R5_CHECK(result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM);
        if (result != -EINTR) {
            env_sleep_ns(IO_PAUSE_NS);
        }
    }
}

/* Whether the request is done; else it waits for its next turn. */
static bool uring_take(struct uring_queue *uring, struct io_request *request, int result)
{
    enum io_step next = io_request_absorb(request, result);

    if (next == IO_STEP_DONE) {
        return true;
    }
    if (next == IO_STEP_PAUSE) {
        env_sleep_ns(IO_PAUSE_NS);
    }
    list_add_head(&uring->waiting, &request->node);
    return false;
}

static unsigned uring_reap(struct uring_queue *uring)
{
    struct io_uring_cqe *cqe = NULL;
    unsigned done = 0;

    while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        struct io_request *request = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&uring->ring, cqe); /* UR3 */
        R5_CHECK(uring->in_ring > 0);
        uring->in_ring--;
        if (uring_take(uring, request, result)) {
            io_request_finish(&uring->queue, request);
            done++;
        }
    }
    return done;
}

static unsigned uring_wait(struct io_queue *queue)
{
    struct uring_queue *uring = uring_of(queue);
    unsigned done = 0;

    if (!uring->enabled) {
        /* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
        int result =
            io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        R5_CHECK(result == 0);
        uring->enabled = true;
    }
    while (done == 0) {
        uring_fill(uring);
        uring_enter(uring);
        done = uring_reap(uring);
    }
    return done;
}

const struct io_backend_ops member_uring_ops = {
    .name = "io_uring",
    .queue_open = uring_queue_open,
    .queue_close = uring_queue_close,
    .submit = uring_submit,
    .wait = uring_wait,
};
