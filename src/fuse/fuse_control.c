/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's end of the control ioctl.
 *
 * A first page makes a snapshot of the answer in memory taken at start; the pages after it are cut
 * from that. A newer first page replaces the snapshot: who was still reading gets ESTALE and begins
 * again. How the daemon ended is written to a memory file that the waiting command has opened
 * through /proc: it outlives the daemon, leaves nothing behind, and needs no name.
 *
 * Allowed: root, and the user who mounted. Others may be able to reach the root directory
 * (allow_other), and have no business here.
 * Thread: workers; the result by the main thread.
 */
#include "fuse_control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control_format.h"
#include "fuse_server.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/units.h"
#include "status.h"

#define SNAPSHOT_BYTES ((size_t)256 * 1024)

size_t fuse_control_need(void)
{
    return SNAPSHOT_BYTES + BLOCK_BYTES;
}

int fuse_control_init(struct fuse_control *control, struct arena *arena)
{
    const struct control_result result = {.magic = CONTROL_MAGIC};

    *control = (struct fuse_control){.result_fd = -1};
    env_mutex_init(&control->lock);
    control->text = arena_take(arena, SNAPSHOT_BYTES, BLOCK_BYTES);
    int fd = memfd_create("r5fs-result", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    control->result_fd = fd;
    return pwrite(fd, &result, sizeof(result), 0) == sizeof(result) ? 0 : -EIO;
}

void fuse_control_fini(struct fuse_control *control)
{
    if (control->result_fd >= 0) {
        (void)close(control->result_fd); /* memory; what was written to it is there */
        control->result_fd = -1;
    }
    env_mutex_fini(&control->lock);
}

void fuse_control_set_result(struct fuse_control *control, int exit_code, const char *text)
{
    struct control_result result = {.magic = CONTROL_MAGIC, .finished = 1, .exit_code = exit_code};

    (void)snprintf(result.text, sizeof(result.text), "%s", text); /* a cut text will do */
    if (control->result_fd >= 0 &&
        pwrite(control->result_fd, &result, sizeof(result), 0) != sizeof(result)) {
        msg_warn("fuse", "cannot leave the result for who waits errno=%d", errno);
    }
}

/* [lock] */
static int
make_snapshot(struct fuse_worker *worker, enum status_format format, int32_t utc_offset_s)
{
    struct fuse_control *control = &worker->server->control;
    struct status_facts *facts = (void *)(worker->payload + 16 * (size_t)BLOCK_BYTES);

    int err = status_gather_mounted(worker, facts);
    if (err != 0) {
        return err;
    }
    facts->utc_offset_s = utc_offset_s;
    control->text_bytes = status_write(facts, format, control->text, SNAPSHOT_BYTES);
    control->check_code = status_check_code(facts);
    control->snapshot++;
    return 0;
}

/* [lock] */
static int cut_page(const struct fuse_control *control, struct control_page *page)
{
    if (page->offset > control->text_bytes) {
        return -EINVAL;
    }
    size_t left = control->text_bytes - page->offset;
    size_t bytes = left < CONTROL_TEXT_BYTES ? left : CONTROL_TEXT_BYTES;
    (void)memcpy(page->text, control->text + page->offset, bytes);
    page->text_bytes = (uint32_t)bytes;
    page->total_bytes = (uint32_t)control->text_bytes;
    page->snapshot = control->snapshot;
    page->check_code = control->check_code;
    return 0;
}

static int answer_status(struct fuse_worker *worker, struct control_page *page)
{
    struct fuse_control *control = &worker->server->control;
    enum status_format format = page->request == CONTROL_STATUS_JSON   ? STATUS_FORMAT_JSON
                                : page->request == CONTROL_STATUS_TEXT ? STATUS_FORMAT_TEXT
                                                                       : STATUS_FORMAT_VERBOSE;
    int err = 0;

    env_mutex_lock(&control->lock);
    if (page->snapshot == 0) {
        page->offset = 0;
        err = make_snapshot(worker, format, page->utc_offset_s);
    } else if (page->snapshot != control->snapshot) {
        err = -ESTALE;
    }
    if (err == 0) {
        err = cut_page(control, page);
    }
    env_mutex_unlock(&control->lock);
    return err;
}

int fuse_control_answer(struct fuse_worker *worker, uint32_t uid, struct control_page *page)
{
    const struct fuse_server *server = worker->server;

    if (uid != 0 && uid != server->owner) {
        return -EPERM;
    }
    if (page->magic != CONTROL_MAGIC || page->version != CONTROL_VERSION) {
        return -EPROTO;
    }
    page->pid = (int32_t)getpid();
    page->result_fd = server->control.result_fd;
    page->text_bytes = 0;
    page->total_bytes = 0;
    switch (page->request) {
    case CONTROL_INFO: return 0;
    case CONTROL_STATUS_JSON:
    case CONTROL_STATUS_TEXT:
    case CONTROL_STATUS_VERBOSE: return answer_status(worker, page);
    default: return -EINVAL;
    }
}
