/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fallocate and looking for data and holes.
 *
 *                offset                      offset + bytes
 *     |......####|##########|###...###|######........|
 *      edge block  inner blocks ...... ->  edge block        (outer = inner and both edges)
 *
 *     allocate     outer: holes become unwritten                              then the size
 *     punch        edges: zeros over their part; inner: freed
 *     zero range   edges: zeros; outer: holes become unwritten; inner: unwritten; then the size
 *
 * Each of these is a chain of transactions, and each state in between is one that the caller could
 * have asked for; the last transaction sets size and times. Blocks beyond the end of file are kept
 * until a truncate. Failure: -ENOSPC before anything when the range obviously does not fit; else
 * what was done so far stays. Any thread; between two steps nothing is held.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "attr.h"
#include "file.h"
#include "fs_internal.h"
#include "op.h"
#include "truncate.h"
#include "xattr.h"

struct file_alloc {
    uint64_t offset;
    uint64_t end;
    bool keep_size;
    enum extent_change change; /* of the step */
    uint64_t map_first;        /* blocks of the step's range */
    uint64_t map_end;
    struct txn_need need;
    uint32_t changes;
    struct file_look look;
    struct file_patch patches[2]; /* edges, or the old end */
};

/* ---- the map ------------------------------------------------------------------------------- */

static int look_checked(struct fs *fs, struct fs_thread *thread, struct file_look *look)
{
    int error = op_look(fs, thread, file_look, look);
    if (error == 0) {
        error = file_check_regular(&look->inode);
    }
    if (error == 0 && look->truncate_pending) {
        error = -ECANCELED;
    }
    return error;
}

static int map_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct file_alloc *alloc = context;
    struct txn_need need = {.updates = 1};
    alloc->look.first = alloc->map_first;
    alloc->look.end = alloc->map_end;
    int error = look_checked(fs, thread, &alloc->look);
    if (error != 0) {
        return error;
    }
    uint32_t most = extent_changes_max(fs, alloc->change, &need);
    alloc->changes = extent_need(&alloc->look.window, alloc->change, most, &need);
    need.deep = need.allocate == 0;
    if (!file_need_covers(&alloc->need, &need)) {
        alloc->need = need;
        return -EAGAIN;
    }
    return 0;
}

static int map_body(struct fs_txn *txn, void *context)
{
    struct file_alloc *alloc = context;
    struct extent_edit edit;
    struct fs_inode inode;
    struct fs_key key = fs_key(alloc->look.ino, FS_ITEM_INODE, 0);
    int error = inode_read(&txn->reader, alloc->look.ino, &inode);
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0) {
        error = extent_edit_begin(&edit, txn, &alloc->look.window, alloc->change, alloc->changes);
    }
    if (error != 0) {
        return error;
    }
    alloc->map_first = edit.end;
    inode.blocks += edit.blocks_more;
    inode.blocks -= min_u64(inode.blocks, edit.blocks_less);
    txn_change(txn);
    error = extent_edit_apply(&edit, txn);
    if (error == 0) {
        error = inode_write(txn, &inode);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

/* Skips what needs no change without a transaction. */
static int map_skip(struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc)
{
    alloc->need = (struct txn_need){.updates = 1, .deep = true};
    int error = map_before(fs, thread, alloc);
    if (error == 0 && alloc->changes == 0) {
        alloc->map_first = alloc->look.window.end;
    }
    return error == -EAGAIN ? 0 : error;
}

static int change_map(
    struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc, uint64_t first, uint64_t end)
{
    const struct op_change change = {
        .need = &alloc->need,
        .lock_ino = alloc->look.ino,
        .before = map_before,
        .body = map_body,
        .context = alloc,
    };
    alloc->map_first = first;
    alloc->map_end = end;
    while (alloc->map_first < end) {
        int error = thread->interrupted ? -EINTR : map_skip(fs, thread, alloc);
        if (error == 0 && alloc->changes > 0) {
            error = op_change(fs, thread, &change);
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ---- edges --------------------------------------------------------------------------------- */

/* Zeros over the range's part of the block, where it has contents at all. */
static int load_edge(struct fs *fs,
                     struct fs_thread *thread,
                     struct file_alloc *alloc,
                     uint64_t block,
                     struct file_patch *patch)
{
    uint8_t *data = thread->scratch + (size_t)(patch - alloc->patches) * BLOCK_BYTES;
    uint64_t begin = block * BLOCK_BYTES;
    uint64_t from = max_u64(begin, alloc->offset);
    uint64_t to = min_u64(begin + BLOCK_BYTES, alloc->end);
    int error = file_patch_load(fs, thread, &alloc->look.inode, block, data, patch);
    memset(data + (from - begin), 0, to - from);
    patch->needed = patch->mapped;
    return error;
}

static int edges_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct file_alloc *alloc = context;
    uint64_t first = alloc->offset / BLOCK_BYTES;
    uint64_t last = (alloc->end - 1) / BLOCK_BYTES;
    alloc->look.end = alloc->look.first;
    alloc->patches[0].needed = false;
    alloc->patches[1].needed = false;
    int error = look_checked(fs, thread, &alloc->look);
    if (error == 0 &&
        (alloc->offset % BLOCK_BYTES != 0 || (first == last && alloc->end % BLOCK_BYTES != 0))) {
        error = load_edge(fs, thread, alloc, first, &alloc->patches[0]);
    }
    if (error == 0 && first != last && alloc->end % BLOCK_BYTES != 0) {
        error = load_edge(fs, thread, alloc, last, &alloc->patches[1]);
    }
    return error;
}

static void write_patches(struct fs_txn *txn, const struct file_alloc *alloc)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct file_patch *patch = &alloc->patches[i];
        if (patch->needed) {
            txn_write_data(txn, patch->block, patch->data);
        }
    }
}

static int edges_body(struct fs_txn *txn, void *context)
{
    struct file_alloc *alloc = context;
    struct fs_inode inode;
    int error = inode_read(&txn->reader, alloc->look.ino, &inode);
    if (error == 0) {
        write_patches(txn, alloc);
    }
    return error;
}

static int zero_edges(struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc)
{
    const struct op_change change = {
        .need = &alloc->need,
        .lock_ino = alloc->look.ino,
        .before = edges_before,
        .body = edges_body,
        .context = alloc,
    };
    if (alloc->offset % BLOCK_BYTES == 0 && alloc->end % BLOCK_BYTES == 0) {
        return 0;
    }
    alloc->need = (struct txn_need){.data_blocks = 2, .deep = true};
    return op_change(fs, thread, &change);
}

/* ---- size and times ------------------------------------------------------------------------ */

static int end_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct file_alloc *alloc = context;
    alloc->look.end = alloc->look.first;
    alloc->patches[0].needed = false;
    alloc->patches[1].needed = false;
    int error = look_checked(fs, thread, &alloc->look);
    if (error == 0 && !alloc->keep_size) {
        error = file_patch_old_end(
            fs, thread, &alloc->look.inode, alloc->end, thread->scratch, &alloc->patches[0]);
    }
    return error;
}

static int end_body(struct fs_txn *txn, void *context)
{
    struct file_alloc *alloc = context;
    struct fs_inode inode;
    struct xattr_place caps;
    struct fs_key key = fs_key(alloc->look.ino, FS_ITEM_INODE, 0);
    int error = inode_read(&txn->reader, alloc->look.ino, &inode);
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0 && (inode.presence & FS_INODE_HAS_CAPS) != 0 && alloc->need.removes == 0) {
        alloc->need.removes = 1;
        error = -EAGAIN;
    }
    if (error == 0) {
        error = xattr_caps_prepare(txn, &inode, &caps);
    }
    if (error != 0) {
        return error;
    }
    write_patches(txn, alloc);
    inode.mtime = inode_now();
    inode.ctime = inode.mtime;
    if (!alloc->keep_size) {
        inode.size = max_u64(inode.size, alloc->end);
    }
    txn_change(txn);
    error = xattr_caps_drop(txn, &inode, &caps);
    if (error == 0) {
        error = inode_write(txn, &inode);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

static int set_end(struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc)
{
    const struct op_change change = {
        .need = &alloc->need,
        .lock_ino = alloc->look.ino,
        .before = end_before,
        .body = end_body,
        .context = alloc,
    };
    alloc->need = (struct txn_need){.data_blocks = 1, .updates = 1, .deep = true};
    return op_change(fs, thread, &change);
}

/* ---- fallocate ----------------------------------------------------------------------------- */

/* Blocks that holes of the range would take; stops counting beyond `enough`. */
static int count_holes(struct fs *fs,
                       struct fs_thread *thread,
                       struct file_alloc *alloc,
                       uint64_t enough,
                       uint64_t *out_blocks)
{
    uint64_t blocks = 0;
    alloc->look.first = alloc->offset / BLOCK_BYTES;
    uint64_t end = div_round_up(alloc->end, BLOCK_BYTES);
    while (alloc->look.first < end && blocks <= enough) {
        alloc->look.end = end;
        int error = thread->interrupted ? -EINTR : look_checked(fs, thread, &alloc->look);
        if (error != 0) {
            return error;
        }
        const struct extent_window *window = &alloc->look.window;
        for (uint64_t at = window->first; at < window->end;) {
            struct extent piece = extent_window_piece(window, at);
            blocks += piece.state == EXTENT_HOLE ? piece.count : 0;
            at = extent_end(&piece);
        }
        alloc->look.first = window->end;
    }
    *out_blocks = blocks;
    return 0;
}

static int reserve_outer(struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc)
{
    uint64_t available = freespace_available(fs);
    uint64_t blocks;
    int error = count_holes(fs, thread, alloc, available, &blocks);
    if (error == 0 && blocks > available) {
        error = -ENOSPC;
    }
    if (error != 0) {
        return error;
    }
    alloc->change = EXTENT_RESERVE;
    return change_map(
        fs, thread, alloc, alloc->offset / BLOCK_BYTES, div_round_up(alloc->end, BLOCK_BYTES));
}

static int change_inner(struct fs *fs,
                        struct fs_thread *thread,
                        struct file_alloc *alloc,
                        enum extent_change change)
{
    alloc->change = change;
    return change_map(
        fs, thread, alloc, div_round_up(alloc->offset, BLOCK_BYTES), alloc->end / BLOCK_BYTES);
}

static int alloc_mode(struct fs *fs, struct fs_thread *thread, struct file_alloc *alloc, int mode)
{
    int error = 0;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
        error = zero_edges(fs, thread, alloc);
    }
    if (error == 0 && (mode & FALLOC_FL_PUNCH_HOLE) == 0) {
        error = reserve_outer(fs, thread, alloc);
    }
    if (error == 0 && (mode & FALLOC_FL_PUNCH_HOLE) != 0) {
        error = change_inner(fs, thread, alloc, EXTENT_PUNCH);
    }
    if (error == 0 && (mode & FALLOC_FL_ZERO_RANGE) != 0) {
        error = change_inner(fs, thread, alloc, EXTENT_ZERO);
    }
    return error == 0 ? set_end(fs, thread, alloc) : error;
}

int fs_fallocate(struct fs *fs,
                 struct fs_thread *thread,
                 uint64_t ino,
                 int mode,
                 uint64_t offset,
                 uint64_t bytes)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if ((mode & ~(punch | FALLOC_FL_ZERO_RANGE)) != 0 ||
        ((mode & FALLOC_FL_PUNCH_HOLE) != 0 && mode != punch)) {
        return -EOPNOTSUPP;
    }
    if (bytes == 0) {
        return -EINVAL;
    }
    if (offset > FS_FILE_BYTES_MAX || bytes > FS_FILE_BYTES_MAX - offset) {
        return -EFBIG;
    }
    struct file_alloc alloc = {
        .offset = offset,
        .end = offset + bytes,
        .keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0,
        .look = {.ino = ino},
    };
    int error;
    do {
        error = alloc_mode(fs, thread, &alloc, mode);
        if (error == -ECANCELED) {
            error = truncate_finish(fs, thread, ino);
            error = error == 0 ? -ECANCELED : error;
        }
    } while (error == -ECANCELED);
    return error;
}

/* ---- seek ---------------------------------------------------------------------------------- */

/* First file block from look->first on, below `end`, that is (not) written; `end` when there is
 * none. */
static int seek_block(struct fs *fs,
                      struct fs_thread *thread,
                      struct file_look *look,
                      bool want_data,
                      uint64_t *out_block)
{
    uint64_t end = look->end;
    while (look->first < end) {
        look->end = end;
        int error = op_look(fs, thread, file_look, look);
        if (error != 0) {
            return error;
        }
        for (uint64_t at = look->window.first; at < look->window.end;) {
            struct extent piece = extent_window_piece(&look->window, at);
            if ((piece.state == EXTENT_WRITTEN) == want_data) {
                *out_block = at;
                return 0;
            }
            at = extent_end(&piece);
        }
        look->first = look->window.end;
    }
    *out_block = end;
    return 0;
}

static int seek_locked(struct fs *fs,
                       struct fs_thread *thread,
                       struct file_look *look,
                       bool want_data,
                       uint64_t *offset)
{
    uint64_t block;
    int error = op_look(fs, thread, file_look, look);
    if (error == 0) {
        error = file_check_regular(&look->inode);
    }
    if (error != 0) {
        return error;
    }
    uint64_t size = look->inode.size;
    if (*offset >= size) {
        return -ENXIO;
    }
    look->first = *offset / BLOCK_BYTES;
    look->end = div_round_up(size, BLOCK_BYTES);
    error = seek_block(fs, thread, look, want_data, &block);
    if (error != 0) {
        return error;
    }
    *offset = max_u64(*offset, block * BLOCK_BYTES);
    if (*offset >= size) {
        *offset = size;
        return want_data ? -ENXIO : 0;
    }
    return 0;
}

int fs_seek(struct fs *fs,
            struct fs_thread *thread,
            uint64_t ino,
            uint64_t offset,
            int whence,
            uint64_t *out_offset)
{
    struct file_look look = {.ino = ino};
    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        return -EINVAL;
    }
    inode_lock_read(fs, ino);
    int error = seek_locked(fs, thread, &look, whence == SEEK_DATA, &offset);
    inode_unlock(fs, ino);
    if (error == 0) {
        *out_offset = offset;
    }
    return error;
}
