/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether an array may hold an r5fs filesystem at all, asked before its log is replayed and its
 * superblocks are written: an array that is somebody else's is left exactly as it was.
 *
 *   block 0 (super)   last block (copy)
 *   magic             any                    go on
 *   any               magic                  go on
 *   not readable here, in one of the two     go on: only replay knows
 *   other             other                  no r5fs filesystem
 *
 * Invariant: only what a member itself holds is judged. Before the replay the parity of a row may
 * not match its data, so nothing is reconstructed.
 * Failure modes: both supers of an r5fs destroyed looks like somebody else's array; accepting a
 * damaged log skips the question. Thread: any that owns a queue.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs_format.h"
#include "r5fs/base/endian.h"
#include "r5fs/fs/fs.h"
#include "r5fs/raid/array.h"

static bool may_be_super(struct array *array, struct fs_thread *thread, struct fs_block block)
{
    struct placement at = geometry_locate(array_geometry(array), block);
    struct fs_block_header header;
    if (array_read_raw(array, thread->queue, at.slot, at.row, 1, thread->scratch) != 0) {
        return true; /* a lost member, or an error that raid counted */
    }
    memcpy(&header, thread->scratch, sizeof(header));
    return le32_get(header.magic) == FS_MAGIC_SUPER;
}

int fs_look(struct array *array, struct fs_thread *thread, char *out_why)
{
    uint64_t blocks = array_geometry(array)->volume_blocks;
    if (blocks == 0 || may_be_super(array, thread, fs_block(0)) ||
        may_be_super(array, thread, fs_block(blocks - 1))) {
        return 0;
    }
    (void)snprintf(
        out_why,
        FS_WHY_BYTES,
        "the array holds no r5fs filesystem; nothing was changed (hint: r5fs dump volume "
        "copies it out)"); /* fits */
    return -EMEDIUMTYPE;
}
