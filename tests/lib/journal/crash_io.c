/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See crash_io.h. */
#include "crash_io.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "member_backend.h"
#include "r5fs/base/units.h"

#define WAITING_MAX 4096u

struct past_write {
    struct past_write *newer;
    struct past_write *older;
    int fd;
    uint64_t offset;
    size_t bytes;
    uint64_t done_at; /* on the clock of requests */
    uint8_t *before;
    uint8_t *after;
};

struct crash_queue {
    struct io_queue queue;
    uint32_t count;
    struct io_request *waiting[WAITING_MAX];
    uint64_t submitted_at[WAITING_MAX];
};

static uint32_t (*draw)(uint32_t limit);
static uint64_t clock_now;
static uint64_t writes_done;
static uint64_t cut_after = UINT64_MAX;
static struct past_write *oldest;
static struct past_write *newest;

bool (*crash_io_hook)(const struct io_request *request, int *out_result);

static int crash_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    (void)depth; /* nothing is in the hands of the system while the owner runs */
    struct crash_queue *queue = arena_take(arena, sizeof(*queue), _Alignof(struct crash_queue));
    *out_queue = &queue->queue;
    return 0;
}

static void crash_queue_close(struct io_queue *queue)
{
    (void)queue; /* its memory is the arena's */
}

static void crash_submit(struct io_queue *queue, struct io_request *request)
{
    struct crash_queue *own = container_of(queue, struct crash_queue, queue);

    io_request_begin(request);
    ck_assert_uint_lt(own->count, WAITING_MAX);
    own->submitted_at[own->count] = ++clock_now;
    own->waiting[own->count++] = request;
}

static void forget(struct past_write *write)
{
    *(write->older != NULL ? &write->older->newer : &oldest) = write->newer;
    *(write->newer != NULL ? &write->newer->older : &newest) = write->older;
    free(write->before);
    free(write);
}

/* Aligned, for files opened with O_DIRECT. */
static uint8_t *buffer_take(size_t bytes)
{
    void *buffer = NULL;

    ck_assert_int_eq(posix_memalign(&buffer, BLOCK_BYTES, bytes), 0);
    return buffer;
}

static void remember(const struct io_request *request)
{
    struct past_write *write = calloc(1, sizeof(*write));
    size_t at = 0;

    ck_assert_ptr_nonnull(write);
    write->fd = request->file->fd;
    write->offset = request->offset_bytes;
    write->bytes = (size_t)io_request_bytes(request);
    write->done_at = ++clock_now;
    write->before = buffer_take(2 * write->bytes);
    write->after = write->before + write->bytes;
    ck_assert_int_eq(pread(write->fd, write->before, write->bytes, (off_t)write->offset),
                     (ssize_t)write->bytes);
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        memcpy(write->after + at, request->iovecs[i].iov_base, request->iovecs[i].iov_len);
        at += request->iovecs[i].iov_len;
    }
    write->older = newest;
    *(newest != NULL ? &newest->newer : &oldest) = write;
    newest = write;
}

static void write_file(int fd, uint64_t offset, const uint8_t *bytes, size_t count)
{
    ck_assert_int_eq(pwrite(fd, bytes, count, (off_t)offset), (ssize_t)count);
}

static int carry_out(const struct io_request *request, uint64_t submitted_at)
{
    if (request->op == IO_FLUSH) {
        struct past_write *write = oldest;
        while (write != NULL && !crash_io_is_cut()) {
            struct past_write *next = write->newer;
            if (write->fd == request->file->fd && write->done_at < submitted_at) {
                forget(write);
            }
            write = next;
        }
        return 0;
    }
    if (request->op == IO_READ) {
        ssize_t got = preadv(request->file->fd,
                             request->iovecs,
                             (int)request->iovec_count,
                             (off_t)request->offset_bytes);
        return got == (ssize_t)io_request_bytes(request) ? 0 : got < 0 ? -errno : -EIO;
    }
    if (crash_io_is_cut()) {
        return 0; /* and nobody will ever know */
    }
    writes_done++;
    remember(request);
    write_file(newest->fd, newest->offset, newest->after, newest->bytes);
    return 0;
}

static unsigned crash_wait(struct io_queue *queue)
{
    struct crash_queue *own = container_of(queue, struct crash_queue, queue);

    if (own->count == 0) {
        return 0;
    }
    uint32_t chosen = draw(own->count);
    struct io_request *request = own->waiting[chosen];
    uint64_t submitted_at = own->submitted_at[chosen];
    own->count--;
    own->waiting[chosen] = own->waiting[own->count];
    own->submitted_at[chosen] = own->submitted_at[own->count];
    int result = 0;
    if (crash_io_hook == NULL || !crash_io_hook(request, &result)) {
        result = carry_out(request, submitted_at);
    }
    request->result = result;
    io_request_finish(queue, request);
    return 1;
}

static const struct io_backend_ops crash_ops = {
    .name = "crash",
    .queue_open = crash_queue_open,
    .queue_close = crash_queue_close,
    .submit = crash_submit,
    .wait = crash_wait,
};

void crash_io_use(uint32_t (*random)(uint32_t limit))
{
    draw = random;
    io_backend_use(&crash_ops);
}

void crash_io_cut_after(uint64_t writes)
{
    while (newest != NULL) {
        forget(newest);
    }
    writes_done = 0;
    cut_after = writes;
}

uint64_t crash_io_writes(void)
{
    return writes_done;
}

bool crash_io_is_cut(void)
{
    return writes_done >= cut_after;
}

void crash_io_settle(void)
{
    for (struct past_write *write = newest; write != NULL; write = write->older) {
        write_file(write->fd, write->offset, write->before, write->bytes);
    }
    while (oldest != NULL) {
        uint32_t fate = draw(4);
        uint32_t sectors = (uint32_t)(oldest->bytes / SECTOR_BYTES);
        size_t bytes = fate == 0 ? 0 : oldest->bytes;
        if (fate == 1) {
            bytes = (size_t)draw(sectors) * SECTOR_BYTES;
        }
        if (bytes > 0) {
            write_file(oldest->fd, oldest->offset, oldest->after, bytes);
        }
        forget(oldest);
    }
    cut_after = UINT64_MAX;
    writes_done = 0;
}
