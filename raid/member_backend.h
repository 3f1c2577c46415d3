/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the I/O backends share: the steps of one request. A backend carries out io_request_step(),
 * hands the system call's result to io_request_absorb() and goes on until that says IO_STEP_DONE.
 *
 *   read, flush      TRANSFER* -> DONE
 *   write, direct    TRANSFER* -> DONE
 *   write, buffered  TRANSFER* -> WRITE_BACK -> DONE
 *
 * TRANSFER repeats after a short transfer. Any step does after EINTR or EAGAIN, but IO_TRIES_MAX
 * times in a row at most: then it is -EIO. WRITE_BACK waits until the pages of the request are on
 * their way out of the page cache and drops them: so the dirty pages of a buffered file never
 * exceed what is in flight.
 */
#ifndef R5FS_RAID_MEMBER_BACKEND_H
#define R5FS_RAID_MEMBER_BACKEND_H

#include <fcntl.h>

#include "r5fs/raid/member_io.h"

enum io_step {
    IO_STEP_TRANSFER,
    IO_STEP_WRITE_BACK,
    IO_STEP_PAUSE, /* the same step again, after the system had a moment to recover */
    IO_STEP_DONE,  /* request->result is set */
};

#define IO_WRITE_BACK_FLAGS \
    (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)
/* How long IO_STEP_PAUSE waits. */
#define IO_PAUSE_NS UINT64_C(1000000)
/* How often EINTR and EAGAIN may answer one step in a row, and how often EINTR without a pause. */
#define IO_TRIES_MAX     5000u
#define IO_TRIES_AT_ONCE 16u

/* Called once by a backend when it takes the request. */
void io_request_begin(struct io_request *request);
uint64_t io_request_bytes(const struct io_request *request);
/* The pieces still to be transferred and where they begin in the file. */
const struct iovec *
io_request_rest(const struct io_request *request, uint32_t *out_count, uint64_t *out_offset_bytes);
/* The step to carry out: TRANSFER or WRITE_BACK. */
enum io_step io_request_step(const struct io_request *request);
/* `result` of the step just carried out: bytes or -errno. Says what comes next. */
enum io_step io_request_absorb(struct io_request *request, int64_t result);
/* On the owner's thread, inside wait: counts the request out and runs its `done`. */
void io_request_finish(struct io_queue *queue, struct io_request *request);

extern const struct io_backend_ops member_uring_ops;
extern const struct io_backend_ops member_threads_ops;

/* 0 when a ring can be made; else -errno and, in words, who refuses it. */
R5_MUST_CHECK int member_uring_probe(const char **out_why);

#endif
