/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One device of an array: the move of its state, and its superblock to and from its file.
 *
 * Invariants: M1 a state moves in member_move() alone, along the table of member_state.c. M2 the
 * superblock is written as one whole block of which only the first sectors can differ from before.
 * Failure: read errors and damage are returned; what a failed write means is array_super.c's to
 * say. Thread: whoever holds the lock named in member.h.
 */
#include "member.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "member_state.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/trace.h"

void member_move(struct member *member, uint32_t slot, enum member_state to, const char *cause)
{
    R5_CHECK(member_state_may_move(member->state, to));
    bool at_start = member->state == MEMBER_MISSING;
    member->state = to;
    trace_add("member.state", slot, (uint64_t)to);
    member->since_ns = at_start ? 0 : env_realtime_ns();
    int written = snprintf(member->cause, sizeof(member->cause), "%s", cause);
    R5_CHECK(written >= 0); /* a long cause is cut */
    if (at_start) {
        msg_info("member",
                 "assembled slot=%" PRIu32 " state=%s path=%s",
                 slot,
                 member_state_name(to),
                 member->device.path);
    } else {
        msg_err("member",
                "failed slot=%" PRIu32 " state=%s path=%s cause=\"%s\"",
                slot,
                member_state_name(to),
                member->device.path,
                cause);
    }
}

bool md_device_is_cut(const struct md_device *device, uint64_t data_bytes)
{
    struct stat st;

    if (device->file.fd < 0 || device->file.block_device || fstat(device->file.fd, &st) != 0) {
        return false; /* what cannot be asked shows when it is written */
    }
    return (uint64_t)st.st_size < device->data_offset_bytes + data_bytes;
}

void md_device_prepare_write(struct md_device *device)
{
    R5_CHECK(device->open);
    R5_CHECK(!device->file.read_only);
    R5_CHECK(device->super.super_sector == MD_SUPER_SECTOR);
    md_super_encode(&device->super, device->block);
    io_prepare(&device->request,
               &device->file,
               IO_WRITE,
               MD_SUPER_OFFSET_BYTES,
               device->block,
               BLOCK_BYTES);
}

int md_device_read_super(struct md_device *device, struct io_queue *queue, char why[MD_WHY_BYTES])
{
    if (device->file.size_bytes < MD_SUPER_OFFSET_BYTES + BLOCK_BYTES) {
        int written = snprintf(why,
                               MD_WHY_BYTES,
                               "no md superblock: only %" PRIu64 " bytes long",
                               device->file.size_bytes);
        R5_CHECK(written >= 0);
        return -ENODATA;
    }
    int error = io_read(queue, &device->file, MD_SUPER_OFFSET_BYTES, device->block, BLOCK_BYTES);
    if (error != 0) {
        int written =
            snprintf(why, MD_WHY_BYTES, "md superblock not readable: %s", strerror(-error));
        R5_CHECK(written >= 0);
        return error;
    }
    return md_super_decode(device->block, &device->super, why);
}
