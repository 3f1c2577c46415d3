/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See hook_io.h. */
#include "hook_io.h"

#include <errno.h>
#include <unistd.h>

#include "member_backend.h"

struct hook_queue {
    struct io_queue queue;
    struct list_node waiting;
};

static hook_io_fn current_hook;
static void *current_context;

static int hook_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    (void)depth; /* nothing is ever in the hands of the system while the owner runs */
    struct hook_queue *queue = arena_take(arena, sizeof(*queue), _Alignof(struct hook_queue));
    list_init(&queue->waiting);
    *out_queue = &queue->queue;
    return 0;
}

static void hook_queue_close(struct io_queue *queue)
{
    (void)queue; /* its memory is the arena's */
}

static void hook_submit(struct io_queue *queue, struct io_request *request)
{
    struct hook_queue *own = container_of(queue, struct hook_queue, queue);
    io_request_begin(request);
    list_add_tail(&own->waiting, &request->node);
}

static int64_t transfer(const struct io_request *request)
{
    uint32_t count = 0;
    uint64_t offset = 0;
    const struct iovec *rest = io_request_rest(request, &count, &offset);
    int64_t got = 0;
    if (request->op == IO_READ) {
        got = preadv(request->file->fd, rest, (int)count, (off_t)offset);
    } else if (request->op == IO_WRITE) {
        got = pwritev(request->file->fd, rest, (int)count, (off_t)offset);
    } else {
        got = fdatasync(request->file->fd);
    }
    return got < 0 ? -errno : got;
}

static void carry_out(struct io_request *request)
{
    enum io_step step = IO_STEP_TRANSFER;
    while (step != IO_STEP_DONE) {
        step = io_request_step(request);
        step = io_request_absorb(request, step == IO_STEP_WRITE_BACK ? 0 : transfer(request));
    }
}

static unsigned hook_wait(struct io_queue *queue)
{
    struct hook_queue *own = container_of(queue, struct hook_queue, queue);
    struct list_node *node = list_pop(&own->waiting);
    if (node == NULL) {
        return 0;
    }
    struct io_request *request = container_of(node, struct io_request, node);
    int result = 0;
    if (current_hook != NULL && current_hook(current_context, request, &result)) {
        request->result = result;
    } else {
        carry_out(request);
    }
    io_request_finish(queue, request);
    return 1;
}

static const struct io_backend_ops hook_ops = {
    .name = "hook",
    .queue_open = hook_queue_open,
    .queue_close = hook_queue_close,
    .submit = hook_submit,
    .wait = hook_wait,
};

void hook_io_use(void)
{
    io_backend_use(&hook_ops);
}

void hook_io_set(hook_io_fn hook, void *context)
{
    current_hook = hook;
    current_context = context;
}
