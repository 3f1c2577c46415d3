/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking a daemon.
 *
 * A mount without allow_other may be entered by its owner alone: the kernel refuses even root. Root
 * then becomes that user. It is a child that asks (bounded_call.c): a daemon that is stopped or
 * hangs does not answer, and must not hold the command.
 *
 * Thread: the command's only one.
 */
#include "control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bounded_call.h"
#include "r5fs/base/env.h"
#include "status.h"

#define SNAPSHOT_TRIES 20
#define STATUS_WAIT_NS UINT64_C(10000000000) /* for all pages together */

static int ask_here(const char *mountpoint, struct control_page *page)
{
    int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    int result = ioctl(fd, CONTROL_IOCTL, page);
    int err = result < 0 ? -errno : 0;
    (void)close(fd); /* only read */
    return err;
}

static int become(const struct mount_entry *entry)
{
    if (setgid(entry->group_id) != 0 || setuid(entry->user_id) != 0) {
        return -errno;
    }
    return 0;
}

struct question {
    const struct mount_entry *entry;
    struct control_page page;
};

static int ask(void *context)
{
    struct question *question = context;
    const struct mount_entry *entry = question->entry;

    int err = ask_here(entry->mountpoint, &question->page);
    if (err == -EACCES && geteuid() == 0 && entry->user_id != 0) {
        err = become(entry);
        err = err != 0 ? err : ask_here(entry->mountpoint, &question->page);
    }
    return err;
}

int control_client_ask(const struct mount_entry *entry,
                       struct control_page *page,
                       uint64_t deadline_ns)
{
    static struct question question;
    const struct bounded_call call = {ask, &question, sizeof(question)};

    page->magic = CONTROL_MAGIC;
    page->version = CONTROL_VERSION;
    question.entry = entry;
    question.page = *page;
    int err = bounded_call_run(&call, deadline_ns);
    if (err == 0) {
        *page = question.page;
    }
    return err;
}

const char *control_client_why(int error)
{
    switch (-error) {
    case ENOTCONN:
    case ECONNABORTED:
        return "its daemon has died (hint: r5fs unmount, then mount again: the log is replayed)";
    case EACCES:
    case EPERM: return "only the user who mounted it and root may ask (hint: sudo)";
    case ETIMEDOUT:
        return "its daemon does not answer (hint: ps -C r5fs -o pid,stat,args; one with T is "
               "stopped: kill -CONT PID)";
    case EBUSY: return "something else is mounted over it (hint: umount that first)";
    case ENOTTY:
    case EPROTO: return "served by another version of r5fs (hint: use that one, or mount again)";
    default: return strerror(-error);
    }
}

static uint16_t request_for(enum status_format format)
{
    switch (format) {
    case STATUS_FORMAT_JSON: return CONTROL_STATUS_JSON;
    case STATUS_FORMAT_TEXT: return CONTROL_STATUS_TEXT;
    case STATUS_FORMAT_VERBOSE: return CONTROL_STATUS_VERBOSE;
    }
    return CONTROL_STATUS_TEXT;
}

/* All pages of one snapshot; -ESTALE when somebody else made a newer one. */
static int fetch_pages(const struct mount_entry *entry,
                       struct control_page *page,
                       struct arena *arena,
                       uint64_t deadline_ns,
                       char **out_text)
{
    int err = control_client_ask(entry, page, deadline_ns);
    if (err != 0) {
        return err;
    }
    uint32_t total = page->total_bytes;
    char *text = arena_take(arena, (size_t)total + 1, 1);
    uint32_t have = 0;
    while (err == 0) {
        if (page->text_bytes > CONTROL_TEXT_BYTES || page->text_bytes > total - have) {
            return -EPROTO;
        }
        (void)memcpy(text + have, page->text, page->text_bytes);
        have += page->text_bytes;
        if (have == total) {
            break;
        }
        page->offset = have;
        err = page->text_bytes == 0 ? -EPROTO : control_client_ask(entry, page, deadline_ns);
    }
    *out_text = text;
    return err;
}

int fuse_serve_status(const char *mountpoint,
                      enum status_format format,
                      struct arena *arena,
                      struct status_reply *out_reply,
                      char out_why[FUSE_SERVE_WHY_BYTES])
{
    static struct mount_entry entry;
    static struct control_page page;
    char *text = NULL;

    out_why[0] = '\0';
    int err = mount_table_find(mountpoint, &entry);
    if (err == -EBUSY) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "%s", control_client_why(err));
        return err;
    }
    if (err != 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "nothing of type fuse.r5fs is mounted there");
        return -ENOENT;
    }
    uint64_t deadline_ns = env_now_ns() + STATUS_WAIT_NS;
    err = -ESTALE;
    for (int i = 0; i < SNAPSHOT_TRIES && err == -ESTALE; i++) {
        (void)memset(&page, 0, sizeof(page));
        page.request = request_for(format);
        page.utc_offset_s = status_utc_offset_s();
        err = fetch_pages(&entry, &page, arena, deadline_ns, &text);
    }
    if (err != 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "%s", control_client_why(err));
        return err;
    }
    out_reply->text = text;
    out_reply->text_bytes = page.total_bytes;
    out_reply->check_code = page.check_code;
    return 0;
}
