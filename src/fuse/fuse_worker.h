/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker's life: open its queue, wait for the start, receive and answer until the end. */
#ifndef R5FS_FUSE_FUSE_WORKER_H
#define R5FS_FUSE_FUSE_WORKER_H

#include "fuse_server.h"

/* Wakes a worker out of read(2); does nothing else. */
#define FUSE_WORKER_SIGNAL SIGUSR2

enum fuse_received {
    FUSE_RECEIVED_REQUEST, /* one request was answered */
    FUSE_RECEIVED_NOTHING, /* woken up */
    FUSE_RECEIVED_END,     /* the connection has ended */
};

/* The worker's memory and lock; before its thread starts. */
size_t fuse_worker_need(void);
void fuse_worker_init(struct fuse_worker *worker, struct fuse_server *server, struct arena *arena);
/* Opens the queue on the calling thread, tells the starter, waits until the session is served.
 * False: there will be nothing to do. */
bool fuse_worker_enter(struct fuse_worker *worker, struct arena *arena);
void fuse_worker_leave(struct fuse_worker *worker);
/* Receives one request and answers it. */
enum fuse_received fuse_worker_receive(struct fuse_worker *worker);
/* Thread body: enter, receive until the end, leave. Context: struct fuse_worker_start. */
struct fuse_worker_start {
    struct fuse_worker *worker;
    struct arena *arena;
};
void fuse_worker_run(void *context);

#endif
