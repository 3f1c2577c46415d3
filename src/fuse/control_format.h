/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What travels over the control ioctl on the root directory of a mount. One page each way; a longer
 * answer is fetched page by page from a snapshot that the first page made.
 *
 *   command --- ioctl(root, CONTROL_IOCTL, page{request, snapshot, offset}) ---> daemon
 *           <-- page{snapshot, total_bytes, text_bytes, text} -----------------
 *
 * Both ends are the same program; `version` catches a daemon that is older or newer than the
 * command.
 */
#ifndef R5FS_FUSE_CONTROL_FORMAT_H
#define R5FS_FUSE_CONTROL_FORMAT_H

#include <stdint.h>
#include <sys/ioctl.h>

#define CONTROL_MAGIC      0x35736672u /* "rfs5" */
#define CONTROL_VERSION    2u
#define CONTROL_TEXT_BYTES 12288u

enum control_request {
    CONTROL_INFO = 1, /* who serves: pid and the result file; no text */
    CONTROL_STATUS_JSON,
    CONTROL_STATUS_TEXT,
    CONTROL_STATUS_VERBOSE,
};

struct control_page {
    uint32_t magic;
    uint16_t version;
    uint16_t request;     /* enum control_request */
    uint64_t snapshot;    /* 0 in the request for a new one; else the one to go on with */
    uint32_t offset;      /* of this page's text in the whole */
    uint32_t total_bytes; /* of the whole text */
    uint32_t text_bytes;  /* in this page */
    int32_t check_code;   /* what `status --check` says */
    int32_t pid;          /* the daemon's */
    int32_t result_fd;    /* its memory file with struct control_result, under /proc/PID/fd */
    int32_t utc_offset_s; /* in the request: local time where it is read, east positive */
    int32_t reserved;
    char text[CONTROL_TEXT_BYTES];
};

_Static_assert(sizeof(struct control_page) == 48 + CONTROL_TEXT_BYTES, "no padding");
_Static_assert(sizeof(struct control_page) < (1u << _IOC_SIZEBITS),
               "an ioctl says its size in 14 bits");

#define CONTROL_IOCTL _IOWR(0xb5, 0x35, struct control_page)

/* How the daemon ended: written before it exits, read by the one who waits for its end. */
#define CONTROL_RESULT_TEXT_BYTES 1024u
struct control_result {
    uint32_t magic;
    int32_t finished;  /* 0 until the orderly stop is over; stays 0 when the daemon is killed */
    int32_t exit_code; /* of the command line */
    int32_t reserved;
    char text[CONTROL_RESULT_TEXT_BYTES];
};

#endif
