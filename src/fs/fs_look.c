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
 * An r5fs that a mount would refuse is left as it was, too: what fs_open asks is asked first of
 * the log laid over the members in memory. The log is read twice for it; a clean one is short.
 *
 * Failure modes: both supers of an r5fs destroyed looks like somebody else's array; accepting a
 * damaged log skips both questions. Thread: any that owns a queue.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs_internal.h"
#include "r5fs/base/endian.h"
#include "r5fs/fs/fs.h"
#include "r5fs/raid/array.h"

#define LOOK_BUFFER_BYTES (UINT64_C(16) << 20) /* far more than one path of the tree */

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

static int look_opened(struct array *array,
                       struct journal *journal,
                       struct fs_thread *thread,
                       const struct fs_options *options,
                       char *out_why)
{
    const struct fs_opening opening = {
        .journal = journal,
        .array = array,
        .options = options,
        .how = FS_OPEN_LOOK,
    };
    struct fs *fs = NULL;
    int error = fs_open(&fs, &opening, thread, out_why);
    if (error == 0) {
        fs_close(fs);
    }
    return error;
}

int fs_look_mount(struct array *array,
                  struct fs_thread *thread,
                  uint64_t buffer_bytes,
                  char *out_why)
{
    int error = fs_look(array, thread, out_why);
    if (error != 0) {
        return error;
    }
    struct arena arena;
    arena_init_growing(&arena);
    const struct journal_options how = {
        .arena = &arena,
        .read_only = true,
        .judge_log = fs_judge_log,
    };
    const struct fs_options options = {
        .arena = &arena,
        .buffer_bytes = min_u64(buffer_bytes, LOOK_BUFFER_BYTES),
        .read_only = true,
    };
    struct journal *journal = NULL;
    error = journal_open(&journal, array, &how, thread->queue, out_why);
    if (error == 0) {
        error = look_opened(array, journal, thread, &options, out_why);
        int close_error = journal_close(journal, thread->queue);
        error = error != 0 ? error : close_error;
    }
    arena_fini(&arena);
    return error;
}
