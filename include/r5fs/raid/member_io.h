/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O to backing files: the interface behind which io_uring, a thread backend or a simulator
 * stands.
 *
 * A thread that does I/O owns one queue. It submits requests that it owns, and waits; the
 * completion callback of a request runs exactly once, on the owning thread, inside io_wait() and
 * never inside io_submit(). A backend completes short transfers and EINTR/EAGAIN itself: `result`
 * is 0 when every byte is done, else -errno (-EIO with nothing more said for an unexpected end of
 * file).
 */
#ifndef R5FS_RAID_MEMBER_IO_H
#define R5FS_RAID_MEMBER_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/list.h"
#include "r5fs/base/watch.h"

#define IO_IOVECS_MAX 64u /* pieces of one request */

enum io_op {
    IO_READ,
    IO_WRITE,
    IO_FLUSH, /* what completed before the submission is durable when this completes with 0 */
};

enum io_backend {
    IO_BACKEND_AUTO, /* io_uring, or threads where it is refused (one message says why) */
    IO_BACKEND_URING,
    IO_BACKEND_THREADS,
};

/* An open backing file. [fixed after open] but for the counters. */
struct io_file {
    int fd;      /* -1 where a simulator stands behind it */
    bool direct; /* O_DIRECT: else buffered, with sync_file_range and DONTNEED */
    bool block_device;
    bool read_only;
    bool held; /* the lock is the caller's and stays */
    uint64_t size_bytes;
    const char *path;    /* as given; lives as long as the file */
    void *backend_data;  /* a simulator's */
    struct watch *watch; /* what is in flight to it */
};

struct io_request {
    struct list_node node; /* the queue's, from submit to done */
    struct io_file *file;
    enum io_op op;
    uint64_t offset_bytes;      /* from the start of the file; a multiple of 512 */
    const struct iovec *iovecs; /* lent until done; block-aligned addresses, whole sectors */
    uint32_t iovec_count;       /* at most IO_IOVECS_MAX */
    void (*done)(struct io_request *request);
    void *context;
    int result;          /* set before done */
    struct iovec single; /* room for the usual one piece */
    struct {             /* the backend's own */
        uint64_t transferred_bytes;
        uint64_t started_ns;
        uint32_t tries;                   /* put off so often in a row */
        struct iovec rest[IO_IOVECS_MAX]; /* after a short transfer */
    } backend;
};

struct io_queue;
struct io_open_options;

struct io_backend_ops {
    const char *name;
    int (*queue_open)(struct io_queue **out_queue, struct arena *arena, uint32_t depth);
    void (*queue_close)(struct io_queue *queue);
    void (*submit)(struct io_queue *queue, struct io_request *request);
    unsigned (*wait)(struct io_queue *queue);
    /* NULL: files of the system. Else what io_file_open and io_file_close are. */
    int (*file_open)(struct io_file *file,
                     const char *path,
                     const struct io_open_options *options,
                     int *out_holder_pid);
    void (*file_close)(struct io_file *file);
};

/* Embedded first in each backend's own queue structure. */
struct io_queue {
    const struct io_backend_ops *ops;
    uint32_t in_flight; /* submitted, done not yet run [owner thread] */
};

/* Chooses the backend for queues opened from now on; says in one message when AUTO falls back.
 * -ENOSYS etc. when URING was demanded and is refused. Once, at start. */
R5_MUST_CHECK int io_backend_choose(enum io_backend wanted);
/* A simulator's backend. */
void io_backend_use(const struct io_backend_ops *ops);
const char *io_backend_name(void);

/* Called by the thread that will own the queue, before the arena is sealed or with its own growing
 * arena. `depth`: requests in flight at most before submit begins to wait for completions inside
 * io_wait (it queues the rest; submit itself never waits and never fails). */
R5_MUST_CHECK int io_queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth);
/* Nothing may be in flight. */
void io_queue_close(struct io_queue *queue);

void io_submit(struct io_queue *queue, struct io_request *request);
/* Pushes out what was submitted and waits until at least one request is done; runs the `done` of
 * all that are. Returns how many; 0 at once when nothing is in flight. */
unsigned io_wait(struct io_queue *queue);
/* Waits until nothing is in flight. */
void io_drain(struct io_queue *queue);

/* Fill in a request of one piece. `done` may be NULL: only the result is wanted. */
void io_prepare(struct io_request *request,
                struct io_file *file,
                enum io_op op,
                uint64_t offset_bytes,
                void *buffer,
                size_t bytes);
/* Submits one request and drains until it is done; returns its result. */
R5_MUST_CHECK int io_run(struct io_queue *queue, struct io_request *request);
/* The three usual ones, waiting. */
R5_MUST_CHECK int io_read(struct io_queue *queue,
                          struct io_file *file,
                          uint64_t offset_bytes,
                          void *buffer,
                          size_t bytes);
R5_MUST_CHECK int io_write(struct io_queue *queue,
                           struct io_file *file,
                           uint64_t offset_bytes,
                           const void *buffer,
                           size_t bytes);
R5_MUST_CHECK int io_flush(struct io_queue *queue, struct io_file *file);

/* Memory that transfers often go to or come from, `pieces` of `piece_bytes` one behind the other. A
 * queue of io_uring registers a piece with the kernel when it first meets a transfer within it, as
 * far as half of RLIMIT_MEMLOCK allows; that changes what a transfer costs, and nothing else. The
 * memory stays where it is until withdrawn, with nothing in flight. Few ranges: what finds no place
 * is not announced. */
void io_buffers_announce(void *address, size_t piece_bytes, uint32_t pieces);
/* By its address; nothing where it was not announced. */
void io_buffers_withdraw(const void *address);

struct io_registered {
    uint64_t bytes;     /* now, of all queues together: memory that two registered counts twice */
    uint64_t refused;   /* pieces that a queue could not register */
    uint64_t transfers; /* handed to the kernel from registered memory */
};
/* Any thread. */
void io_registered_get(struct io_registered *out_registered);

struct io_open_options {
    bool read_only;
    bool lock;         /* exclusive flock (O_EXCL for block devices), until closed */
    bool probe_direct; /* by an aligned read, and a write back of the same bytes when writable */
    uint32_t lock_wait_ms; /* how long a second opener waits before it says who holds it */
    /* The file's descriptor at the caller, open for writing and locked: used instead of opening the
     * path, and as it was after the close. NULL: opened here. */
    const int *held_fd;
};

/* Opens, locks, probes. Errors: -ENOENT, -EACCES, -EBUSY (locked; *out_holder_pid is the holder
 * or 0), -EROFS, -ENOTBLK (neither a regular file nor a block device). `path` must outlive the
 * file. */
R5_MUST_CHECK int io_file_open(struct io_file *file,
                               const char *path,
                               const struct io_open_options *options,
                               int *out_holder_pid);
/* Releases the lock last. */
void io_file_close(struct io_file *file);

#endif
