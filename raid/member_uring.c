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
 *   UR4  a transfer names a registered buffer only if that was registered under the serial that its
 *        memory has now: the kernel holds on to pages, not to addresses.
 *
 * Buffers: a piece of announced memory is registered when the first transfer within it comes by. So
 * a ring that writes no log holds none of its buffers. Files are not registered: that saved nothing
 * measurable (docs/PERFORMANCE.md), and a ring's reference would outlive io_file_close.
 *
 * Happy path: k requests submitted, one io_uring_enter, k completions.
 * Failure modes: the kernel short of memory (-EAGAIN, -EBUSY) is a pause and another try; a ring
 * that cannot be made is reported by member_uring_probe with who refuses it; a piece that cannot be
 * registered (half of RLIMIT_MEMLOCK used up, a kernel before 5.19) is not tried again and goes
 * unregistered.
 * Thread: the queue's owner; it becomes the ring's only submitter with its first io_wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "member_backend.h"
#include "member_buffers.h"
#include "r5fs/base/env.h"
#include "r5fs/base/units.h"

#define PROBE_DEPTH    2u
#define LIMIT_PAUSE_NS UINT64_C(10000)
#define DEPTH_MAX      4096u
/* io_uring counts the bytes of one piece in 32 bits; longer ones go in steps. */
#define PIECE_BYTES_MAX (UINT64_C(1) << 30)
#define DISABLED_PATH   "/proc/sys/kernel/io_uring_disabled"

/* What this ring registered of one place in the table of announced memory. */
struct uring_range {
    uint64_t serial; /* of the announcement; 0 = none yet */
    uint64_t tried;  /* a bit for each piece */
    uint64_t held;   /* registered, a subset of `tried` */
    uint64_t bytes;  /* of what is held */
};

enum uring_buffers {
    BUFFERS_UNASKED, /* no transfer within announced memory came by */
    BUFFERS_TABLE,   /* the ring has a table with a slot for each piece */
    BUFFERS_NONE,    /* it was refused one */
};

struct uring_queue {
    struct io_queue queue; /* first */
    struct io_uring ring;
    struct list_node waiting; /* not yet in the ring */
    uint32_t depth;           /* [fixed] */
    uint32_t in_ring;
    bool enabled; /* the owner has shown up */
    enum uring_buffers buffers;
    struct uring_range ranges[IO_BUFFERS_RANGES];
};

_Static_assert(offsetof(struct uring_queue, queue) == 0, "an io_queue is its uring_queue");

/* Best first. Kernels before 6.1 and 5.19 do not know the newer ones. */
static const unsigned ring_flags[] = {
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN,
    IORING_SETUP_R_DISABLED,
};

/* Holds off ring_open while RLIMIT_MEMLOCK is lowered. */
static atomic_flag limit_in_use = ATOMIC_FLAG_INIT;

static void limit_enter(void)
{
    while (atomic_flag_test_and_set(&limit_in_use)) {
        env_sleep_ns(LIMIT_PAUSE_NS);
    }
}

static void limit_leave(void)
{
    atomic_flag_clear(&limit_in_use);
}

static int ring_open(struct io_uring *ring, uint32_t depth)
{
    int error = -EINVAL;

    limit_enter();
    for (size_t i = 0; i < sizeof(ring_flags) / sizeof(ring_flags[0]) && error == -EINVAL; i++) {
        error = io_uring_queue_init(depth, ring, ring_flags[i]);
    }
    limit_leave();
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
    struct uring_queue *uring = uring_of(queue);

    io_uring_queue_exit(&uring->ring);
    for (uint32_t i = 0; i < IO_BUFFERS_RANGES; i++) {
        io_registered_remove(uring->ranges[i].bytes);
    }
}

static void uring_submit(struct io_queue *queue, struct io_request *request)
{
    io_request_begin(request);
    list_add_tail(&uring_of(queue)->waiting, &request->node);
}

static uint32_t buffer_slot(uint32_t range, uint32_t piece)
{
    return range * IO_BUFFERS_PIECES + piece;
}

/* Another announcement took the place: lets go of the memory of the last one. */
static void range_renew(struct uring_queue *uring, uint32_t index, uint64_t serial)
{
    struct uring_range *range = &uring->ranges[index];

    for (uint32_t piece = 0; piece < IO_BUFFERS_PIECES; piece++) {
        if ((range->held >> piece & 1) != 0) {
            struct iovec none = {0};
            /* Refused, it is replaced by the next one, or ends with the ring; nobody names it. */
            (void)io_uring_register_buffers_update_tag(
                &uring->ring, buffer_slot(index, piece), &none, NULL, 1);
        }
    }
    io_registered_remove(range->bytes);
    *range = (struct uring_range){.serial = serial};
}

/* Rings count against RLIMIT_MEMLOCK as well, and all processes of a user share it: without rings
 * a mount is refused or falls back to threads, without registered memory it is as before. So
 * buffers may use up half of the limit, which the kernel itself sees to. */
static int register_within_limit(struct io_uring *ring, uint32_t slot, const struct iovec *memory)
{
    struct rlimit limit;
    int result = -EPERM;

    limit_enter();
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        struct rlimit lowered = limit;
        if (limit.rlim_cur != RLIM_INFINITY) {
            lowered.rlim_cur = limit.rlim_cur / 2;
        }
        if (setrlimit(RLIMIT_MEMLOCK, &lowered) == 0) {
            result = io_uring_register_buffers_update_tag(ring, slot, memory, NULL, 1);
            /* Refused only when another process took the hard limit below it just now. */
            (void)setrlimit(RLIMIT_MEMLOCK, &limit);
        }
    }
    limit_leave();
    return result;
}

static void piece_register(struct uring_queue *uring, const struct io_piece *piece)
{
    struct uring_range *range = &uring->ranges[piece->range];
    uint64_t bit = UINT64_C(1) << piece->piece;

    range->tried |= bit;
    int result = register_within_limit(
        &uring->ring, buffer_slot(piece->range, piece->piece), &piece->memory);
    if (result != 1) {
        io_registered_refused(result < 0 ? result : -EINVAL);
        return;
    }
    range->held |= bit;
    range->bytes += piece->memory.iov_len;
    io_registered_add(piece->memory.iov_len);
}

/* Whether the bytes lie in a registered buffer, and its number; registers what is met first. */
static bool
uring_find_buffer(struct uring_queue *uring, const void *address, size_t bytes, int *out_buffer)
{
    struct io_piece piece;

    if (uring->buffers == BUFFERS_NONE || !io_buffers_find(address, bytes, &piece)) {
        return false;
    }
    if (uring->buffers == BUFFERS_UNASKED) {
        int error =
            io_uring_register_buffers_sparse(&uring->ring, IO_BUFFERS_RANGES * IO_BUFFERS_PIECES);
        uring->buffers = error == 0 ? BUFFERS_TABLE : BUFFERS_NONE;
        if (error != 0) {
            io_registered_refused(error);
            return false;
        }
    }
    struct uring_range *range = &uring->ranges[piece.range];
    uint64_t bit = UINT64_C(1) << piece.piece;
    if (range->serial != piece.serial) {
        range_renew(uring, piece.range, piece.serial); /* UR4 */
    }
    if ((range->tried & bit) == 0) {
        piece_register(uring, &piece);
    }
    *out_buffer = (int)buffer_slot(piece.range, piece.piece);
    return (range->held & bit) != 0;
}

/* One piece of memory; false: it is in no registered buffer, nothing was prepared. */
static bool uring_prepare_fixed(struct uring_queue *uring,
                                struct io_uring_sqe *sqe,
                                const struct io_request *request,
                                const struct iovec *piece,
                                uint64_t offset_bytes)
{
    unsigned bytes = (unsigned)piece->iov_len;
    int fd = request->file->fd;
    int buffer = 0;

    if (piece->iov_len > PIECE_BYTES_MAX ||
        !uring_find_buffer(uring, piece->iov_base, piece->iov_len, &buffer)) {
        return false;
    }
    if (request->op == IO_READ) {
        io_uring_prep_read_fixed(sqe, fd, piece->iov_base, bytes, offset_bytes, buffer);
    } else {
        io_uring_prep_write_fixed(sqe, fd, piece->iov_base, bytes, offset_bytes, buffer);
    }
    io_registered_used();
    return true;
}

static void uring_prepare_transfer(struct uring_queue *uring,
                                   struct io_uring_sqe *sqe,
                                   const struct io_request *request)
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

    if (count == 1 && uring_prepare_fixed(uring, sqe, request, rest, offset_bytes)) {
        return;
    }
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

static void
uring_prepare(struct uring_queue *uring, struct io_uring_sqe *sqe, struct io_request *request)
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
        uring_prepare_transfer(uring, sqe, request);
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
        uring_prepare(uring, sqe, request);
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
