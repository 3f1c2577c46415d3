/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening of backing files, choice of the backend, and the steps of a request that all backends
 * share (member_backend.h).
 *
 *   io_file_open:  stat -> open -> lock (waits, then names the holder) -> probe O_DIRECT
 *   request:       io_submit -> backend -> io_request_absorb ... -> io_request_finish -> done
 *
 * Invariants:
 *   IO1  `result` of a submitted request is IO_RESULT_PENDING until its `done` runs, then 0 or
 *        -errno.
 *   IO2  in_flight counts the requests between io_submit and the start of `done`.
 *   IO3  the lock of a file is held from io_file_open to io_file_close, and not a moment longer;
 *        one that the caller holds (held_fd) is left to it.
 *   IO4  an O_DIRECT transfer goes on at a whole sector; a buffered one at the very byte.
 *
 * Happy path: one request, one system call, `done`.
 * Failure modes: an end of file inside a request is -EIO; O_DIRECT refused by the probe leaves the
 * file buffered and says so; a step that is put off again and again is -EIO (IO_TRIES_MAX); other
 * errors are the caller's to judge.
 * Thread: io_file_* and io_backend_* at start; the rest on the queue's owner.
 */
#include "r5fs/raid/member_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "member_backend.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/units.h"
#include "r5fs/base/wait_check.h"

#define MODULE            "member_io"
#define IO_RESULT_PENDING 1
#define LOCK_RETRY_NS     UINT64_C(20000000)
#define NS_PER_MS         UINT64_C(1000000)
#define LOCKS_PATH        "/proc/locks"
#define LOCK_LINE_BYTES   256u
#define LOCK_SCANS        8u

static const struct io_backend_ops *backend; /* chosen at start */
static bool may_fall_back;                   /* AUTO: threads will do */

/* ---- backend ------------------------------------------------------------------------------- */

int io_backend_choose(enum io_backend wanted)
{
    const char *why = "";
    int error = 0;

    may_fall_back = wanted == IO_BACKEND_AUTO;
    if (wanted == IO_BACKEND_THREADS) {
        backend = &member_threads_ops;
        return 0;
    }
    error = member_uring_probe(&why);
    if (error == 0) {
        backend = &member_uring_ops;
        return 0;
    }
    if (wanted == IO_BACKEND_URING) {
        msg_err(MODULE, "io_uring refused: %s (%s)", why, strerror(-error));
        return error;
    }
    msg_warn(MODULE, "io_uring refused, using threads: %s (%s)", why, strerror(-error));
    backend = &member_threads_ops;
    return 0;
}

void io_backend_use(const struct io_backend_ops *ops)
{
    backend = ops;
    may_fall_back = false;
}

const char *io_backend_name(void)
{
    return backend != NULL ? backend->name : "none";
}

int io_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    R5_CHECK(depth > 0);
    if (backend == NULL) {
        int error = io_backend_choose(IO_BACKEND_AUTO);
        if (error != 0) {
            return error;
        }
    }
    struct io_queue *queue = NULL;
    int error = backend->queue_open(&queue, arena, depth);
    if (error == -ENOMEM && may_fall_back && backend == &member_uring_ops) {
        /* The probe's ring was smaller: rings count against RLIMIT_MEMLOCK. */
        msg_warn(MODULE, "io_uring refused, using threads: RLIMIT_MEMLOCK is too small for rings");
        backend = &member_threads_ops;
        error = backend->queue_open(&queue, arena, depth);
    }
    if (error != 0) {
        return error;
    }
    queue->ops = backend;
    queue->in_flight = 0;
    *out_queue = queue;
    return 0;
}

void io_queue_close(struct io_queue *queue)
{
    R5_CHECK(queue->in_flight == 0);
    queue->ops->queue_close(queue);
}

/* ---- requests ------------------------------------------------------------------------------ */

uint64_t io_request_bytes(const struct io_request *request)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < request->iovec_count; i++) {
        bytes += request->iovecs[i].iov_len;
    }
    return bytes;
}

static void io_request_check(const struct io_request *request)
{
    if (request->op == IO_FLUSH) {
        return;
    }
    R5_CHECK(request->iovec_count >= 1);
    R5_CHECK(request->iovec_count <= IO_IOVECS_MAX);
    R5_CHECK(request->offset_bytes % SECTOR_BYTES == 0);
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        R5_CHECK((uintptr_t)request->iovecs[i].iov_base % SECTOR_BYTES == 0);
        R5_CHECK(request->iovecs[i].iov_len % SECTOR_BYTES == 0);
        R5_CHECK(request->iovecs[i].iov_len > 0);
    }
}

static const char *op_name(enum io_op op)
{
    switch (op) {
    case IO_READ: return "read";
    case IO_WRITE: return "write";
    case IO_FLUSH: return "flush";
    }
    return "?";
}

void io_submit(struct io_queue *queue, struct io_request *request)
{
    io_request_check(request);
    request->result = IO_RESULT_PENDING; /* IO1 */
    queue->in_flight++;                  /* IO2 */
    watch_enter(request->file->watch, op_name(request->op), request->offset_bytes, 0);
    wait_check_queued(1);
    wait_check_submit(true);
    queue->ops->submit(queue, request);
    wait_check_submit(false);
}

unsigned io_wait(struct io_queue *queue)
{
    if (queue->in_flight == 0) {
        return 0;
    }
    wait_check_kind(WAIT_FOR_IO, "io_wait");
    wait_check_io_wait(true);
    unsigned done = queue->ops->wait(queue);
    wait_check_io_wait(false);
    return done;
}

void io_drain(struct io_queue *queue)
{
    while (queue->in_flight > 0) {
        (void)io_wait(queue); /* only a count; results are in the requests */
    }
}

void io_request_begin(struct io_request *request)
{
    request->backend.transferred_bytes = 0;
    request->backend.tries = 0;
}

void io_request_finish(struct io_queue *queue, struct io_request *request)
{
    R5_CHECK(request->result != IO_RESULT_PENDING);
    R5_CHECK(queue->in_flight > 0);
    queue->in_flight--;
    watch_leave(request->file->watch);
    watch_moved_here();
    wait_check_queued(-1);
    wait_check_done();
    if (request->done != NULL) {
        request->done(request);
    }
}

/* Lays out the pieces behind the bytes already transferred. */
static void io_request_cut_rest(struct io_request *request)
{
    uint64_t skip = request->backend.transferred_bytes;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < request->iovec_count; i++) {
        const struct iovec *piece = &request->iovecs[i];
        if (skip >= piece->iov_len) {
            skip -= piece->iov_len;
            continue;
        }
        request->backend.rest[kept++] = (struct iovec){
            .iov_base = (uint8_t *)piece->iov_base + skip,
            .iov_len = piece->iov_len - skip,
        };
        skip = 0;
    }
    for (uint32_t i = kept; i < IO_IOVECS_MAX; i++) {
        request->backend.rest[i] = (struct iovec){0};
    }
}

const struct iovec *
io_request_rest(const struct io_request *request, uint32_t *out_count, uint64_t *out_offset_bytes)
{
    *out_offset_bytes = request->offset_bytes + request->backend.transferred_bytes;
    *out_count = request->iovec_count;
    if (request->backend.transferred_bytes == 0) {
        return request->iovecs;
    }
    uint32_t count = 0;
    while (count < IO_IOVECS_MAX && request->backend.rest[count].iov_len > 0) {
        count++;
    }
    *out_count = count;
    return request->backend.rest;
}

static enum io_step io_request_end(struct io_request *request, int result)
{
    request->result = result;
    return IO_STEP_DONE;
}

static enum io_step io_request_absorb_bytes(struct io_request *request, uint64_t bytes)
{
    uint64_t total = io_request_bytes(request);
    uint64_t reached = request->backend.transferred_bytes + bytes;

    R5_CHECK(reached <= total);
    if (reached < total && request->file->direct) {
        reached = round_down(reached, SECTOR_BYTES); /* IO4 */
    }
    if (reached == request->backend.transferred_bytes) {
        return io_request_end(request, -EIO); /* the file ends here */
    }
    request->backend.transferred_bytes = reached;
    if (reached < total) {
        io_request_cut_rest(request);
        return IO_STEP_TRANSFER;
    }
    if (request->op == IO_WRITE && !request->file->direct) {
        return IO_STEP_WRITE_BACK;
    }
    return io_request_end(request, 0);
}

static enum io_step io_request_absorb_write_back(struct io_request *request, int error)
{
    /* A filesystem or sandbox that does not know the call does not make the write fail. */
    if (error != 0 && error != -ENOSYS && error != -EINVAL && error != -ESPIPE) {
        return io_request_end(request, error);
    }
    /* Advice only; a page that stays is clean. */
    (void)posix_fadvise(request->file->fd,
                        (off_t)request->offset_bytes,
                        (off_t)request->backend.transferred_bytes,
                        POSIX_FADV_DONTNEED);
    return io_request_end(request, 0);
}

enum io_step io_request_step(const struct io_request *request)
{
    bool transferred =
        request->op == IO_WRITE && request->backend.transferred_bytes == io_request_bytes(request);

    return transferred ? IO_STEP_WRITE_BACK : IO_STEP_TRANSFER;
}

enum io_step io_request_absorb(struct io_request *request, int64_t result)
{
    enum io_step step = io_request_step(request);

    if (result == -EINTR || result == -EAGAIN) {
        if (++request->backend.tries > IO_TRIES_MAX) {
            return io_request_end(request, -EIO);
        }
        return result == -EAGAIN || request->backend.tries > IO_TRIES_AT_ONCE ? IO_STEP_PAUSE
                                                                              : step;
    }
    request->backend.tries = 0;
    if (step == IO_STEP_WRITE_BACK) {
        return io_request_absorb_write_back(request, (int)result);
    }
    if (result < 0 || request->op == IO_FLUSH) {
        return io_request_end(request, (int)result);
    }
    return io_request_absorb_bytes(request, (uint64_t)result);
}

void io_prepare(struct io_request *request,
                struct io_file *file,
                enum io_op op,
                uint64_t offset_bytes,
                void *buffer,
                size_t bytes)
{
    request->file = file;
    request->op = op;
    request->offset_bytes = offset_bytes;
    request->single = (struct iovec){.iov_base = buffer, .iov_len = bytes};
    request->iovecs = &request->single;
    request->iovec_count = op == IO_FLUSH ? 0 : 1;
    request->done = NULL;
    request->context = NULL;
    request->result = 0;
}

int io_run(struct io_queue *queue, struct io_request *request)
{
    io_submit(queue, request);
    while (request->result == IO_RESULT_PENDING) {
        (void)io_wait(queue); /* only a count */
    }
    return request->result;
}

int io_read(
    struct io_queue *queue, struct io_file *file, uint64_t offset_bytes, void *buffer, size_t bytes)
{
    struct io_request request;

    io_prepare(&request, file, IO_READ, offset_bytes, buffer, bytes);
    return io_run(queue, &request);
}

int io_write(struct io_queue *queue,
             struct io_file *file,
             uint64_t offset_bytes,
             const void *buffer,
             size_t bytes)
{
    struct io_request request;

    /* An iovec knows no const; a write only reads the buffer. */
    io_prepare(&request, file, IO_WRITE, offset_bytes, (void *)(uintptr_t)buffer, bytes);
    return io_run(queue, &request);
}

int io_flush(struct io_queue *queue, struct io_file *file)
{
    struct io_request request;

    io_prepare(&request, file, IO_FLUSH, 0, NULL, 0);
    return io_run(queue, &request);
}

/* ---- files --------------------------------------------------------------------------------- */

/* The holder's pid when `line` is a lock held on this file, else 0. Lines look like
 * "1: FLOCK  ADVISORY  WRITE 4711 08:02:131077 0 EOF"; those that wait have "->" as second word. */
static int lock_line_holder(const char *line, const struct stat *status)
{
    char kind[16];
    char mode[16];
    char access[16];
    long pid = 0;
    unsigned device_major = 0;
    unsigned device_minor = 0;
    unsigned long long inode = 0;

    /* NOLINTNEXTLINE(cert-err34-c): a number out of range only fails to match */
    if (sscanf(line,
               "%*[0-9]: %15s %15s %15s %ld %x:%x:%llu",
               kind,
               mode,
               access,
               &pid,
               &device_major,
               &device_minor,
               &inode) != 7 ||
        strcmp(kind, "FLOCK") != 0) {
        return 0;
    }
    bool same = device_major == major(status->st_dev) && device_minor == minor(status->st_dev) &&
                inode == status->st_ino;
    return same && pid > 0 ? (int)pid : 0;
}

/* Reads the kernel's table of locks line by line through a small buffer. 0 = not found there. */
static int lock_table_scan(const struct stat *status)
{
    char line[LOCK_LINE_BYTES];
    size_t filled = 0;
    int holder = 0;
    int fd = open(LOCKS_PATH, O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && holder == 0) {
        ssize_t got = read(fd, line + filled, sizeof(line) - 1 - filled);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        filled += got > 0 ? (size_t)got : 0;
        line[filled] = '\0';
        char *end = strchr(line, '\n');
        if (end == NULL) {
            break; /* the end, or no table of locks at all */
        }
        while (end != NULL && holder == 0) {
            *end = '\0';
            holder = lock_line_holder(line, status);
            filled -= (size_t)(end + 1 - line);
            memmove(line, end + 1, filled + 1);
            end = strchr(line, '\n');
        }
    }
    if (fd >= 0) {
        (void)close(fd); /* was only read */
    }
    return holder;
}

/* The table is read in pieces: a line is passed over when others lock and unlock meanwhile. */
static int lock_find_holder(const struct stat *status)
{
    int holder = 0;

    for (unsigned i = 0; i < LOCK_SCANS && holder == 0; i++) {
        holder = lock_table_scan(status);
    }
    return holder;
}

/* One try: opens and locks. -EBUSY when another holds it. */
static int file_try_open(const char *path,
                         int flags,
                         const struct io_open_options *options,
                         const struct stat *expected,
                         int *out_fd)
{
    struct stat status;
    int error = 0;
    int fd = open(path, flags);

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &status) != 0) {
        error = -errno;
        goto out_close;
    }
    if ((status.st_mode & S_IFMT) != (expected->st_mode & S_IFMT)) {
        error = -ENOTBLK; /* replaced since we looked */
        goto out_close;
    }
    if (options->lock && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error = errno == EWOULDBLOCK ? -EBUSY : -errno;
        goto out_close;
    }
    *out_fd = fd;
    return 0;

out_close:
    (void)close(fd); /* nothing was written */
    return error;
}

static int file_open_and_lock(const char *path,
                              const struct io_open_options *options,
                              const struct stat *status,
                              int *out_fd)
{
    uint64_t deadline_ns = env_now_ns() + options->lock_wait_ms * NS_PER_MS;
    /* O_NONBLOCK: should the path have become a pipe, opening it must not hang. */
    int flags = O_CLOEXEC | O_NONBLOCK | (options->read_only ? O_RDONLY : O_RDWR);

    if (S_ISBLK(status->st_mode) && options->lock) {
        flags |= O_EXCL; /* keeps mounts and the kernel's md away; flock keeps us away */
    }
    for (;;) {
        int error = file_try_open(path, flags, options, status, out_fd);
        if (error != -EBUSY || env_now_ns() >= deadline_ns) {
            return error;
        }
        env_sleep_ns(LOCK_RETRY_NS);
    }
}

static bool transfer_was_refused(ssize_t result)
{
    return result < 0 && (errno == EINVAL || errno == EOPNOTSUPP);
}

/* O_DIRECT is promised by the open and refused by the transfer on some filesystems: so try one. The
 * bytes written are those just read, under the lock. Errors of the medium are not a refusal; they
 * come again where they can be judged. */
static bool file_takes_direct(int fd, bool writable)
{
    _Alignas(BLOCK_BYTES) uint8_t block[BLOCK_BYTES];
    ssize_t got = pread(fd, block, sizeof(block), 0);

    if (transfer_was_refused(got)) {
        return false;
    }
    return !writable || got != (ssize_t)sizeof(block) ||
           !transfer_was_refused(pwrite(fd, block, sizeof(block), 0));
}

static int file_set_direct(int fd, bool direct)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return -errno;
    }
    flags &= ~O_NONBLOCK;
    flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
    return fcntl(fd, F_SETFL, flags) == 0 ? 0 : -errno;
}

static bool file_probe_direct(struct io_file *file)
{
    if (file->size_bytes >= BLOCK_BYTES && file_set_direct(file->fd, true) == 0 &&
        file_takes_direct(file->fd, !file->read_only)) {
        return true;
    }
    msg_info(MODULE, "buffered path=%s cause=O_DIRECT refused", file->path);
    return false;
}

/* The system's own: file or block device. */
static int file_open(struct io_file *file,
                     const char *path,
                     const struct io_open_options *options,
                     int *out_holder_pid)
{
    struct stat status;
    int fd = -1;
    int error = 0;

    *out_holder_pid = 0;
    bool held = options->held_fd != NULL;
    if ((held ? fstat(*options->held_fd, &status) : stat(path, &status)) != 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
        return -ENOTBLK;
    }
    if (held) {
        fd = fcntl(*options->held_fd, F_DUPFD_CLOEXEC, 0);
        error = fd < 0 ? -errno : 0;
    } else {
        error = file_open_and_lock(path, options, &status, &fd);
    }
    if (error == -EBUSY) {
        *out_holder_pid = lock_find_holder(&status);
    }
    if (error != 0) {
        return error;
    }
    /* Also the size of a block device. */
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) {
        error = -errno;
        goto out_close;
    }
    struct io_file opened = {
        .fd = fd,
        .block_device = S_ISBLK(status.st_mode),
        .read_only = options->read_only,
        .held = held,
        .size_bytes = (uint64_t)end,
        .path = path,
    };
    opened.direct = options->probe_direct && file_probe_direct(&opened);
    if (!opened.direct) {
        error = file_set_direct(fd, false);
        if (error != 0) {
            goto out_close;
        }
    }
    *file = opened;
    file->watch = watch_open("I/O", path);
    return 0;

out_close:
    (void)close(fd); /* nothing was written */
    return error;
}

int io_file_open(struct io_file *file,
                 const char *path,
                 const struct io_open_options *options,
                 int *out_holder_pid)
{
    bool simulated = backend != NULL && backend->file_open != NULL;

    return simulated ? backend->file_open(file, path, options, out_holder_pid)
                     : file_open(file, path, options, out_holder_pid);
}

void io_file_close(struct io_file *file)
{
    if (backend != NULL && backend->file_close != NULL) {
        backend->file_close(file);
        return;
    }
    if (file->fd >= 0 && !file->held) {
        /* A kernel worker of the ring may still hold the open file for a moment after the last
         * completion; a lock left to close() would outlive us by that. Fails only where none
         * was. */
        (void)flock(file->fd, LOCK_UN); /* IO3 */
    }
    if (file->fd >= 0) {
        (void)close(file->fd); /* what had to be durable was flushed before */
    }
    watch_close(file->watch);
    file->watch = NULL;
    file->fd = -1;
}
