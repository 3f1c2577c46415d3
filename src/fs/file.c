/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading and writing files.
 *
 *     write step   look at map -> txn_begin -> inode lock -> look again, read edge blocks
 *                  -> op lock: take blocks, write data, [tree lock: map, size, times] -> unlock all
 *
 *        offset                                            one step: as much as one transaction's
 *     |....#####|#########|#########|####.....|            data and map changes allow
 *      head patch                    tail patch            patches: old bytes, new over them
 *
 *   I1  what lies behind the end of file in its last block is never shown: every write pads with
 *       zeros, and whoever grows the file past that block writes the block's tail as zeros first
 *       (file_patch_old_end). A truncate therefore changes no data, and is undone by a crash as a
 *       whole.
 *   I2  map, size and data of a step change in one op-lock section: a commit has all of it or
 *       nothing
 *   I3  readers hold the inode lock shared, so that they see each step as a whole
 *
 * Failure: a step fails before its first change or not at all. -ENOSPC makes the step smaller
 * until one block does not fit; what was written before is then reported. Reads of damaged maps
 * are -EUCLEAN. Any thread; between two steps nothing is held.
 */
#include "file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "attr.h"
#include "fs_internal.h"
#include "op.h"
#include "truncate.h"
#include "xattr.h"

/* ---- shared -------------------------------------------------------------------------------- */

int file_look(struct fs_reader *reader, void *context)
{
    struct file_look *look = context;
    int error = inode_read(reader, look->ino, &look->inode);
    if (error == 0) {
        error = truncate_is_pending(reader, &look->inode, &look->truncate_pending);
    }
    if (error == 0 && look->first < look->end) {
        error = extent_window_load(reader, look->ino, look->first, look->end, &look->window);
    }
    return error;
}

int file_check_regular(const struct fs_inode *inode)
{
    if (S_ISREG(inode->mode)) {
        return 0;
    }
    return S_ISDIR(inode->mode) ? -EISDIR : -EINVAL;
}

int file_patch_load(struct fs *fs,
                    struct fs_thread *thread,
                    const struct fs_inode *inode,
                    uint64_t file_block,
                    uint8_t *data,
                    struct file_patch *out_patch)
{
    struct file_look look = {.ino = inode->ino, .first = file_block, .end = file_block + 1};
    uint64_t begin = file_block * BLOCK_BYTES;
    *out_patch = (struct file_patch){.needed = true, .file_block = file_block, .data = data};
    memset(data, 0, BLOCK_BYTES);
    if (begin >= inode->size) {
        return 0;
    }
    int error = op_look(fs, thread, file_look, &look);
    if (error != 0) {
        return error;
    }
    struct extent piece = extent_window_piece(&look.window, file_block);
    if (piece.state != EXTENT_WRITTEN) {
        return 0;
    }
    out_patch->mapped = true;
    out_patch->block = piece.start;
    error = journal_read(fs->journal, thread->queue, piece.start, 1, data);
    if (error == 0 && inode->size - begin < BLOCK_BYTES) {
        uint64_t valid = inode->size - begin;
        memset(data + valid, 0, BLOCK_BYTES - valid);
    }
    return error;
}

int file_patch_old_end(struct fs *fs,
                       struct fs_thread *thread,
                       const struct fs_inode *inode,
                       uint64_t new_size,
                       uint8_t *data,
                       struct file_patch *out_patch)
{
    out_patch->needed = false;
    if (new_size <= inode->size || inode->size % BLOCK_BYTES == 0) {
        return 0;
    }
    int error = file_patch_load(fs, thread, inode, inode->size / BLOCK_BYTES, data, out_patch);
    out_patch->needed = error == 0 && out_patch->mapped;
    return error;
}

bool file_need_covers(const struct txn_need *have, const struct txn_need *want)
{
    return have->data_blocks >= want->data_blocks && have->allocate >= want->allocate &&
           have->alloc_runs >= want->alloc_runs && have->free_runs >= want->free_runs &&
           have->inserts >= want->inserts && have->removes >= want->removes &&
           have->updates >= want->updates && (have->deep || !want->deep);
}

/* ---- reading ------------------------------------------------------------------------------- */

struct file_read {
    struct file_look look;
    uint64_t end; /* file block */
    uint8_t *buffer;
};

static int
read_piece(struct fs *fs, struct fs_thread *thread, const struct extent *piece, uint8_t *to)
{
    if (piece->state == EXTENT_WRITTEN) {
        return journal_read(fs->journal, thread->queue, piece->start, (uint32_t)piece->count, to);
    }
    memset(to, 0, piece->count * BLOCK_BYTES);
    return 0;
}

/* The window is loaded for the first part; goes on until `end`. */
static int read_blocks(struct fs *fs, struct fs_thread *thread, struct file_read *read)
{
    uint64_t first = read->look.first;
    uint64_t at = first;
    int error = 0;
    while (error == 0 && at < read->end) {
        if (at == read->look.window.end) {
            read->look.first = at;
            error = op_look(fs, thread, file_look, &read->look);
            continue;
        }
        struct extent piece = extent_window_piece(&read->look.window, at);
        piece.count = min_u64(piece.count, read->end - at);
        error = read_piece(fs, thread, &piece, read->buffer + (at - first) * BLOCK_BYTES);
        at += piece.count;
    }
    return error;
}

static int read_locked(struct fs *fs,
                       struct fs_thread *thread,
                       struct file_read *read,
                       uint64_t offset,
                       uint32_t *bytes)
{
    int error = op_look(fs, thread, file_look, &read->look);
    if (error == 0) {
        error = file_check_regular(&read->look.inode);
    }
    if (error != 0) {
        return error;
    }
    uint64_t size = read->look.inode.size;
    *bytes = offset < size ? (uint32_t)min_u64(*bytes, size - offset) : 0;
    if (*bytes == 0) {
        return 0;
    }
    read->end = div_round_up(offset + *bytes, BLOCK_BYTES);
    return read_blocks(fs, thread, read);
}

int fs_read(struct fs *fs,
            struct fs_thread *thread,
            uint64_t ino,
            uint64_t offset,
            uint32_t bytes,
            uint8_t *buffer,
            uint32_t *out_skip,
            uint32_t *out_bytes)
{
    if (offset >= FS_FILE_BYTES_MAX) {
        bytes = 0;
        offset = 0;
    }
    bytes = (uint32_t)min_u64(min_u64(bytes, FS_IO_BYTES_MAX), FS_FILE_BYTES_MAX - offset);
    struct file_read read = {
        .look = {.ino = ino,
                 .first = offset / BLOCK_BYTES,
                 .end = div_round_up(offset + bytes, BLOCK_BYTES)},
        .buffer = buffer,
    };
    inode_lock_read(fs, ino);
    int error = read_locked(fs, thread, &read, offset, &bytes);
    inode_unlock(fs, ino);
    if (error == 0) {
        *out_skip = offset % BLOCK_BYTES;
        *out_bytes = bytes;
    }
    return error;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* One step. Scratch: blocks 0 and 1 edges, 2 the old end. */
struct file_write {
    uint64_t offset;
    const uint8_t *data;
    uint32_t bytes;
    bool kill_priv;
    uint32_t done; /* bytes, of this step */
    struct txn_need need;
    uint32_t changes;       /* of the map, that the need allows for */
    struct file_look look;  /* map under the step, loaded with the inode lock held */
    struct file_patch head; /* first block */
    struct file_patch tail; /* last block, when it is another one */
    struct file_patch old_end;
};

static void write_set_need(struct fs *fs, struct file_write *write, struct txn_need *need)
{
    const struct file_look *look = &write->look;
    bool caps = (look->inode.presence & FS_INODE_HAS_CAPS) != 0;
    bool grows = write->offset > look->inode.size && look->inode.size % BLOCK_BYTES != 0;
    *need = (struct txn_need){
        .data_blocks = (uint32_t)(look->window.end - look->window.first) + (grows ? 1 : 0),
        .removes = caps ? 1 : 0,
        .updates = 1,
    };
    uint32_t most = extent_changes_max(fs, EXTENT_FILL, need);
    write->changes = extent_need(&look->window, EXTENT_FILL, most, need);
    need->deep = need->allocate == 0;
}

static int
write_look(struct fs *fs, struct fs_thread *thread, struct file_write *write, struct txn_need *need)
{
    int error = op_look(fs, thread, file_look, &write->look);
    if (error == 0) {
        error = file_check_regular(&write->look.inode);
    }
    if (error == 0 && write->look.truncate_pending) {
        error = -ECANCELED;
    }
    if (error == 0) {
        write_set_need(fs, write, need);
    }
    return error;
}

/* Lays the part of the new bytes that falls into the block over its old contents. */
static void patch_overlay(const struct file_write *write, struct file_patch *patch)
{
    uint64_t begin = patch->file_block * BLOCK_BYTES;
    uint64_t from = max_u64(begin, write->offset);
    uint64_t to = min_u64(begin + BLOCK_BYTES, write->offset + write->bytes);
    memcpy(patch->data + (from - begin), write->data + (from - write->offset), to - from);
}

static int write_load_edges(struct fs *fs, struct fs_thread *thread, struct file_write *write)
{
    const struct fs_inode *inode = &write->look.inode;
    uint64_t end = write->offset + write->bytes;
    uint64_t first = write->offset / BLOCK_BYTES;
    uint64_t last = (end - 1) / BLOCK_BYTES;
    bool head_partial =
        write->offset % BLOCK_BYTES != 0 || (first == last && end % BLOCK_BYTES != 0);
    bool tail_partial = first != last && end % BLOCK_BYTES != 0;
    int error = 0;
    write->head.needed = false;
    write->tail.needed = false;
    if (head_partial) {
        error = file_patch_load(fs, thread, inode, first, thread->scratch, &write->head);
    }
    if (error == 0 && tail_partial) {
        error =
            file_patch_load(fs, thread, inode, last, thread->scratch + BLOCK_BYTES, &write->tail);
    }
    if (error != 0) {
        return error;
    }
    if (head_partial) {
        patch_overlay(write, &write->head);
    }
    if (tail_partial) {
        patch_overlay(write, &write->tail);
    }
    write->old_end.needed = false;
    if (first == inode->size / BLOCK_BYTES) {
        return 0; /* the head patch is that block, padded already */
    }
    return file_patch_old_end(fs,
                              thread,
                              inode,
                              write->offset,
                              thread->scratch + (size_t)2 * BLOCK_BYTES,
                              &write->old_end);
}

/* With the inode lock held: the map as it will stay until the step is done. */
static int write_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct file_write *write = context;
    struct txn_need need;
    int error = write_look(fs, thread, write, &need);
    if (error != 0) {
        return error;
    }
    if (!file_need_covers(&write->need, &need)) {
        write->need = need;
        return -EAGAIN;
    }
    return write_load_edges(fs, thread, write);
}

static const uint8_t *write_block_data(const struct file_write *write, uint64_t block)
{
    if (write->head.needed && write->head.file_block == block) {
        return write->head.data;
    }
    if (write->tail.needed && write->tail.file_block == block) {
        return write->tail.data;
    }
    return write->data + (block * BLOCK_BYTES - write->offset);
}

static void
write_data(struct fs_txn *txn, const struct file_write *write, const struct extent_edit *edit)
{
    uint64_t block = edit->window->first;
    if (write->old_end.needed) {
        txn_write_data(txn, write->old_end.block, write->old_end.data);
    }
    while (block < edit->end) {
        const struct extent *item = extent_edit_at(edit, block);
        R5_CHECK(item != NULL && item->state == EXTENT_WRITTEN);
        for (; block < edit->end && block < extent_end(item); block++) {
            struct fs_block to = fs_block_add(item->start, block - item->first);
            txn_write_data(txn, to, write_block_data(write, block));
        }
    }
}

static void
write_inode(struct fs_inode *inode, const struct file_write *write, const struct extent_edit *edit)
{
    inode->blocks += edit->blocks_more;
    inode->size = max_u64(inode->size, write->offset + write->done);
    inode->mtime = inode_now();
    inode->ctime = inode->mtime;
    if (write->kill_priv) {
        inode->mode = attr_mode_without_privilege(inode->mode);
    }
}

static int write_body(struct fs_txn *txn, void *context)
{
    struct file_write *write = context;
    struct fs_inode inode;
    struct xattr_place caps;
    struct extent_edit edit;
    struct fs_key key = fs_key(write->look.ino, FS_ITEM_INODE, 0);
    int error = inode_read(&txn->reader, write->look.ino, &inode);
    if (error == 0 && (inode.presence & ~write->look.inode.presence & FS_INODE_HAS_CAPS) != 0) {
        error = -EAGAIN;
    }
    if (error == 0) {
        error = xattr_caps_prepare(txn, &inode, &caps);
    }
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0) {
        error = extent_edit_begin(&edit, txn, &write->look.window, EXTENT_FILL, write->changes);
    }
    if (error != 0) {
        return error;
    }
    R5_CHECK(edit.end > edit.window->first);
    write->done = (uint32_t)min_u64(write->bytes, edit.end * BLOCK_BYTES - write->offset);
    write_data(txn, write, &edit);
    write_inode(&inode, write, &edit);
    txn_change(txn);
    error = extent_edit_apply(&edit, txn);
    if (error == 0) {
        error = xattr_caps_drop(txn, &inode, &caps);
    }
    if (error == 0) {
        error = inode_write(txn, &inode);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

/* Writes some of [offset, offset + bytes), at most `blocks` blocks. */
static int
write_step(struct fs *fs, struct fs_thread *thread, struct file_write *write, uint64_t blocks)
{
    const struct op_change change = {
        .need = &write->need,
        .lock_ino = write->look.ino,
        .before = write_before,
        .body = write_body,
        .context = write,
    };
    write->look.first = write->offset / BLOCK_BYTES;
    write->look.end = min_u64(div_round_up(write->offset + write->bytes, BLOCK_BYTES),
                              write->look.first + blocks);
    int error = write_look(fs, thread, write, &write->need);
    if (error == 0) {
        error = op_change(fs, thread, &change);
    }
    return error;
}

static int
write_all(struct fs *fs, struct fs_thread *thread, struct file_write *write, uint32_t *out_bytes)
{
    uint64_t blocks = max_u64(txn_data_blocks_max(fs), 2) - 1;
    uint32_t written = 0;
    int error = 0;
    while (write->bytes > 0) {
        if (thread->interrupted) {
            error = -EINTR;
            break;
        }
        error = write_step(fs, thread, write, blocks);
        if (error == -ENOSPC && blocks > 1) {
            blocks /= 2;
            continue;
        }
        if (error == -ECANCELED) {
            error = truncate_finish(fs, thread, write->look.ino);
            if (error == 0) {
                continue;
            }
        }
        if (error != 0) {
            break;
        }
        written += write->done;
        write->offset += write->done;
        write->data += write->done;
        write->bytes -= write->done;
    }
    if (written > 0) {
        *out_bytes = written;
        return 0;
    }
    return error;
}

int fs_write(struct fs *fs,
             struct fs_thread *thread,
             uint64_t ino,
             uint64_t offset,
             const uint8_t *data,
             uint32_t bytes,
             bool kill_priv,
             uint32_t *out_bytes)
{
    if (bytes == 0) {
        *out_bytes = 0;
        return 0;
    }
    if (offset >= FS_FILE_BYTES_MAX) {
        return -EFBIG;
    }
    struct file_write write = {
        .offset = offset,
        .data = data,
        .bytes = (uint32_t)min_u64(bytes, FS_FILE_BYTES_MAX - offset),
        .kill_priv = kill_priv,
        .look = {.ino = ino},
    };
    return write_all(fs, thread, &write, out_bytes);
}
