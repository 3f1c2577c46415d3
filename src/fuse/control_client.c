/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking a daemon.
 *
 * A mount without allow_other may be entered by its owner alone: the kernel refuses even root. Root
 * then asks through a child that has become that user.
 *
 * Thread: the command's only one.
 */
#include "control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SNAPSHOT_TRIES 20

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

/* What the child found out, through a pipe that holds all of it. */
struct told {
    int err;
    struct control_page page;
};

static void tell(const struct mount_entry *entry, struct told *told, int fd)
{
    int err = become(entry);

    told->err = err != 0 ? err : ask_here(entry->mountpoint, &told->page);
    ssize_t wrote = write(fd, told, sizeof(*told));
    _exit(wrote == (ssize_t)sizeof(*told) ? 0 : 1);
}

static int hear(struct told *told, int fd)
{
    size_t have = 0;
    ssize_t bytes = 0;

    do {
        bytes = read(fd, (char *)told + have, sizeof(*told) - have);
        have += bytes > 0 ? (size_t)bytes : 0;
    } while (bytes > 0 || (bytes < 0 && errno == EINTR));
    return have == sizeof(*told) ? told->err : -EIO;
}

static int ask_as_owner(const struct mount_entry *entry, struct control_page *page)
{
    static struct told told;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    told.page = *page;
    pid_t pid = fork();
    if (pid == 0) {
        tell(entry, &told, ends[1]);
    }
    (void)close(ends[1]); /* the child's end */
    int err = pid < 0 ? -EAGAIN : hear(&told, ends[0]);
    (void)close(ends[0]); /* read to its end */
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0); /* it has told */
    }
    if (err == 0) {
        *page = told.page;
    }
    return err;
}

int control_client_ask(const struct mount_entry *entry, struct control_page *page)
{
    page->magic = CONTROL_MAGIC;
    page->version = CONTROL_VERSION;
    int err = ask_here(entry->mountpoint, page);
    if (err == -EACCES && geteuid() == 0 && entry->user_id != 0) {
        err = ask_as_owner(entry, page);
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
                       char **out_text)
{
    int err = control_client_ask(entry, page);
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
        err = page->text_bytes == 0 ? -EPROTO : control_client_ask(entry, page);
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
    if (err != 0) {
        (void)snprintf(out_why, FUSE_SERVE_WHY_BYTES, "nothing of type fuse.r5fs is mounted there");
        return -ENOENT;
    }
    err = -ESTALE;
    for (int i = 0; i < SNAPSHOT_TRIES && err == -ESTALE; i++) {
        (void)memset(&page, 0, sizeof(page));
        page.request = request_for(format);
        err = fetch_pages(&entry, &page, arena, &text);
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
