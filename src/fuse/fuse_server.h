/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mounted session: the descriptor of /dev/fuse, the workers that read requests from it, and what
 * they share. fuse_server.c makes, mounts and stops it; fuse_worker.c is a worker's life;
 * fuse_ops_*.c answer the requests.
 */
#ifndef R5FS_FUSE_FUSE_SERVER_H
#define R5FS_FUSE_FUSE_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fuse_control.h"
#include "fuse_inbox.h"
#include "fuse_nodes.h"
#include "r5fs/base/env.h"
#include "r5fs/fs/fs.h"
#include "r5fs/fuse/fuse.h"

#define FUSE_IO_BYTES      ((size_t)FS_IO_BYTES_MAX)
#define FUSE_SCRATCH_BYTES ((size_t)FS_SCRATCH_BYTES)
#define FUSE_WORKERS_MAX   64u
/* The page before holds a request's headers, so that a WRITE's payload lands on a block
 * boundary; the two blocks after are what fs_read wants beyond the largest read. */
#define FUSE_BUFFER_BYTES (FUSE_IO_BYTES + (size_t)3 * BLOCK_BYTES)
#define FUSE_QUEUE_DEPTH  64u
/* Attributes and names change through us alone: the kernel may keep them for ever. In seconds. */
#define FUSE_TIMEOUT_LONG 31536000.0

struct fuse_session;
struct fuse_server;

/* What was asked of the kernel so that we get on when memory is short: 0, or why it was refused, as
 * errno. None is needed. */
struct memory_care {
    int lock_error;    /* mlock of all data memory */
    int flusher_error; /* PR_SET_IO_FLUSHER */
    int oom_error;     /* the least likely to be killed */
};

/* One thread that receives and answers requests. [its own] but for what is marked. */
struct fuse_worker {
    struct fuse_server *server; /* [fixed] */
    struct env_thread *handle;  /* [starter] */
    struct fs_thread thread;
    uint8_t *payload;        /* block-aligned; a page before it, two blocks after 1 MiB */
    struct fuse_node *spare; /* for the next inode that the kernel is told of */
    const void *request;     /* raw bytes of the request that is being answered */
    struct env_mutex lock;
    uint64_t unique;          /* of that request, 0 = none [lock] */
    _Atomic int tid;          /* 0 before and after its life [any] */
    struct watch *watch;      /* the request in hand [fixed] */
    atomic_bool reading;      /* in read(2) of the descriptor [any] */
    _Atomic uint64_t handled; /* requests, for status [any] */
    int start_error;          /* of opening its queue [starter, after ready] */
    bool ready;               /* [server lock] */
};

/* Where the session stands; moved by fuse_server.c under `lock`. */
enum fuse_phase {
    FUSE_STARTING, /* workers open their queues and wait */
    FUSE_SERVING,  /* INIT was answered, workers read requests */
    FUSE_STOPPING, /* no new requests are read */
};

struct fuse_server {
    struct fs *fs;                /* [fixed before serving] */
    struct journal *journal;      /* [fixed before serving] */
    struct array *array;          /* [fixed before serving] */
    struct mount_options options; /* [fixed before serving] */
    const char *mountpoint;       /* [fixed] */
    uid_t owner;                  /* [fixed] who mounted */
    struct memory_care care;      /* [fixed] */
    struct fuse_session *session; /* [fixed before serving] libfuse's */
    int fd;                       /* [fixed before serving] /dev/fuse */
    int ended_fd;                 /* [fixed] eventfd: a worker has ended */

    struct fuse_nodes nodes;
    struct fuse_control control;
    struct fuse_inbox inbox;
    atomic_uint readers;         /* workers in read(2) [any] */
    struct fuse_worker *workers; /* [fixed] */
    uint32_t worker_count;       /* [fixed] */
    struct fuse_worker reaper;   /* a worker's memory, but it reads no requests */

    struct env_mutex lock;
    struct env_cond changed; /* phase, or a worker became ready */
    enum fuse_phase phase;   /* [lock] */
    atomic_bool stopping;    /* phase is FUSE_STOPPING, to be seen without the lock */

    /* What INIT agreed on. [fixed before serving] */
    uint64_t init_unique;
    uint32_t offered; /* flags the kernel offered */
    uint32_t agreed;  /* flags of our answer */
    bool init_answered;
    bool setxattr_ext;      /* SETXATTR has its long header */
    bool zero_message_open; /* ENOSYS to open means: never ask again */
};

/* Arena bytes that a server with so many workers and nodes takes. */
size_t fuse_server_need(uint32_t worker_count, uint64_t node_count);
/* Starts the workers and the reaper, which open their queues and wait. All memory is taken here. */
R5_MUST_CHECK int fuse_server_start(struct fuse_server *server,
                                    struct arena *arena,
                                    uint32_t worker_count,
                                    uint64_t node_count);
/* Mounts, answers INIT, lets the workers go. fs, journal and array are set. On failure nothing is
 * mounted and `out_why` says why. */
R5_MUST_CHECK int fuse_server_mount(struct fuse_server *server, const char *source, char *out_why);
/* Waits for all workers; to be called when the connection has ended, or to end it. */
void fuse_server_stop(struct fuse_server *server);
/* Ends libfuse's session (closes the descriptor: whoever still uses the mount gets ENOTCONN). The
 * control's result file stays; fuse_control_fini is the caller's. */
void fuse_server_fini(struct fuse_server *server);

#endif
