/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol of /dev/fuse where libfuse 3.14 falls short.
 *
 *   request in memory     ... | in_header 40 | write_in 40 | payload (block-aligned) ...
 *                             | in_header 40 | setxattr_in 8 or 16 | name NUL value
 *
 * - INIT: PARALLEL_DIROPS is wanted but never sent before libfuse 3.17, HANDLE_KILLPRIV_V2 is not
 *   known at all: both are put into the reply when the kernel offered them. Without the first, all
 *   lookups in one directory wait for each other; without the second, each write(2) costs a
 *   GETXATTR(security.capability).
 * - With KILLPRIV_V2 it is our duty to clear suid, sgid and capabilities; the flag in WRITE that
 * says
 *   so is dropped by libfuse and read here.
 * - SETXATTR: the long header brings ACL_KILL_SGID. It is answered here, so that no libfuse with
 * one
 *   idea of the header or another stands in between.
 * - FORGET: libfuse allocates for each, and where it cannot, the counts would be lost and with them
 *   the inodes: never freed while mounted. Nobody waits for an answer, so nobody would be told.
 * - INTERRUPT: libfuse allocates for each and needs a registered function in each request. Here a
 *   worker's number of the request in hand is compared, nothing else.
 *
 * A task that is interrupted by a signal that it handles goes on afterwards, and no other disk
 * filesystem answers it EINTR. So only a request of a task that is being killed is interrupted.
 *
 * Thread: any worker.
 */
#include "fuse_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse_ops.h"
#include "fuse_reaper.h"
#include "r5fs/base/msg.h"

#define STATUS_FILE_BYTES 4096

_Static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) ==
                   FUSE_RAW_WRITE_HEAD_BYTES,
               "the payload lands on the block boundary");

uint64_t fuse_raw_unique(const void *request)
{
    return ((const struct fuse_in_header *)request)->unique;
}

bool fuse_raw_may_park(const void *request)
{
    switch (((const struct fuse_in_header *)request)->opcode) {
    case FUSE_SETATTR:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_WRITE:
    case FUSE_SETXATTR:
    case FUSE_REMOVEXATTR:
    case FUSE_CREATE:
    case FUSE_FALLOCATE: return true;
    default: return false;
    }
}

static void reply(const struct fuse_server *server, uint64_t unique, int err)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = err, .unique = unique};

    /* ENOENT: the request is gone. Anything else: so is the connection, which read(2) will tell. */
    ssize_t wrote = write(server->fd, &out, sizeof(out));
    if (wrote < 0 && errno != ENOENT && errno != ENODEV) {
        msg_warn("fuse", "reply failed errno=%d", errno);
    }
}

/* ---- INTERRUPT ------------------------------------------------------------------------------- */

/* Whether SIGKILL is pending for the task, as it is for every thread of a process that a signal
 * ends. A task that cannot be looked at (another pid namespace) counts as killed. */
static bool task_is_killed(uint32_t tid)
{
    char path[32];
    char text[STATUS_FILE_BYTES];

    (void)snprintf(path, sizeof(path), "/proc/%u/status", tid); /* fits */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return true;
    }
    ssize_t bytes = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read */
    if (bytes <= 0) {
        return true;
    }
    text[bytes] = '\0';
    const char *pending = strstr(text, "\nSigPnd:");
    if (pending == NULL) {
        return true;
    }
    return (strtoull(pending + strlen("\nSigPnd:"), NULL, 16) & (1ull << (SIGKILL - 1))) != 0;
}

/* The reservation is looked at again by whoever parks it: journal_interrupt and the flag together
 * reach the request wherever it is, and end with it. */
static bool interrupt_worker(struct fuse_worker *worker, uint64_t unique)
{
    env_mutex_lock(&worker->lock);
    bool found = worker->unique == unique;
    if (found) {
        const struct fuse_in_header *in = worker->request;
        if (task_is_killed(in->pid)) {
            worker->thread.interrupted = true;
            journal_interrupt(worker->server->journal, &worker->thread.reservation);
        }
    }
    env_mutex_unlock(&worker->lock);
    return found;
}

static bool requester_is_killed(const void *request)
{
    return task_is_killed(((const struct fuse_in_header *)request)->pid);
}

/* EAGAIN makes the kernel send it again: the request is between read(2) and its worker, or it has
 * been answered and the kernel drops the interrupt by itself. */
static void handle_interrupt(struct fuse_worker *worker, const struct fuse_in_header *in)
{
    struct fuse_server *server = worker->server;
    const struct fuse_interrupt_in *arg = (const void *)(in + 1);

    bool found = false;
    if (fuse_inbox_drop(&server->inbox, arg->unique, requester_is_killed, &found)) {
        reply(server, arg->unique, -EINTR);
    }
    for (uint32_t i = 0; i < server->worker_count && !found; i++) {
        found = interrupt_worker(&server->workers[i], arg->unique);
    }
    if (!found) {
        reply(server, in->unique, -EAGAIN);
    }
}

/* ---- SETXATTR -------------------------------------------------------------------------------- */

static int run_setxattr(struct fuse_worker *worker, const struct fuse_in_header *in, size_t bytes)
{
    size_t head = worker->server->setxattr_ext ? sizeof(struct fuse_setxattr_in)
                                               : FUSE_COMPAT_SETXATTR_IN_SIZE;
    struct fuse_setxattr_in arg = {0};

    if (bytes < sizeof(*in) + head) {
        return -EINVAL;
    }
    (void)memcpy(&arg, in + 1, head);
    const char *name = (const char *)(in + 1) + head;
    size_t left = bytes - sizeof(*in) - head;
    size_t length = strnlen(name, left);
    if (length == left || left - length - 1 < arg.size) {
        return -EINVAL;
    }
    const uint8_t *value = (const uint8_t *)name + length + 1;
    bool tried = false;
    int err = 0;
    do {
        err = fs_setxattr(worker->server->fs,
                          &worker->thread,
                          in->nodeid,
                          (struct fs_name){name, length},
                          value,
                          arg.size,
                          (int)arg.flags,
                          (arg.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0);
    } while (fuse_ops_retry(worker, err, &tried));
    return err;
}

/* ---- FORGET ---------------------------------------------------------------------------------- */

static void handle_forget(struct fuse_worker *worker, const struct fuse_in_header *in, size_t bytes)
{
    const struct fuse_forget_in *arg = (const void *)(in + 1);

    if (bytes >= sizeof(*in) + sizeof(*arg)) {
        fuse_nodes_forget(&worker->server->nodes, in->nodeid, arg->nlookup);
        fuse_reaper_help(worker);
    }
}

static void
handle_batch_forget(struct fuse_worker *worker, const struct fuse_in_header *in, size_t bytes)
{
    const struct fuse_batch_forget_in *arg = (const void *)(in + 1);
    const struct fuse_forget_one *forgets = (const void *)(arg + 1);
    size_t head = sizeof(*in) + sizeof(*arg);

    for (size_t i = 0; bytes >= head && i < arg->count && i < (bytes - head) / sizeof(forgets[0]);
         i++) {
        fuse_nodes_forget(&worker->server->nodes, forgets[i].nodeid, forgets[i].nlookup);
    }
    fuse_reaper_help(worker);
}

/* ---- the door of this file ------------------------------------------------------------------- */

static void note_init(struct fuse_server *server, const struct fuse_in_header *in)
{
    const struct fuse_init_in *arg = (const void *)(in + 1);

    server->init_unique = in->unique;
    server->offered = arg->major == FUSE_KERNEL_VERSION ? arg->flags : 0;
}

bool fuse_raw_handle(struct fuse_worker *worker, const void *request, size_t bytes)
{
    const struct fuse_in_header *in = request;
    struct fuse_server *server = worker->server;

    R5_CHECK(bytes >= sizeof(*in));
    switch (in->opcode) {
    case FUSE_INIT: note_init(server, in); return false;
    case FUSE_INTERRUPT: handle_interrupt(worker, in); return true;
    case FUSE_FORGET: handle_forget(worker, in, bytes); return true;
    case FUSE_BATCH_FORGET: handle_batch_forget(worker, in, bytes); return true;
    case FUSE_SETXATTR: reply(server, in->unique, run_setxattr(worker, in, bytes)); return true;
    case FUSE_SYNCFS: reply(server, in->unique, fs_sync(server->fs, &worker->thread)); return true;
    default: return false;
    }
}

bool fuse_raw_write_kills_priv(const struct fuse_worker *worker)
{
    const struct fuse_in_header *in = worker->request;
    const struct fuse_write_in *arg = (const void *)(in + 1);

    R5_CHECK(in->opcode == FUSE_WRITE);
    return (arg->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
}

void fuse_raw_patch_reply(struct fuse_server *server, const struct iovec *iov, int count)
{
    const uint32_t wanted = FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;

    if (server->init_answered || count < 2) {
        return;
    }
    const struct fuse_out_header *header = iov[0].iov_base;
    if (header->unique != server->init_unique || header->error != 0 ||
        iov[1].iov_len < FUSE_COMPAT_22_INIT_OUT_SIZE) {
        return;
    }
    struct fuse_init_out *out = iov[1].iov_base;
    if (out->major != FUSE_KERNEL_VERSION) {
        return;
    }
    out->flags |= server->offered & wanted;
    server->agreed = out->flags;
    server->setxattr_ext = (out->flags & FUSE_SETXATTR_EXT) != 0;
    server->init_answered = true;
}
