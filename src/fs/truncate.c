/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The size of files.
 *
 *     shrink   | kept ......... size |///// freed /////|   one transaction: size, times, what of
 *                                    ^ rounded up to a block   the map fits; then steps, by a
 *                                    record
 *     grow     | kept ... old size |000| hole ...... size |   the old last block's tail is zeroed
 *     (I1)
 *
 *   T1  size and record change together: after a crash the size is the old or the new one, and
 *       mount frees the rest (orphan.c)
 *   T2  while a record TRUNCATE exists nothing is added to the map and the size does not change:
 *       writers call truncate_finish first
 *
 * Shrinking frees blocks from the cut towards the end and needs no free space. Failure: all errors
 * come before the first change; what a later step could not free stays named by the record. Any
 * thread.
 */
#include "truncate.h"

#include <errno.h>
#include <string.h>

#include "attr.h"
#include "file.h"
#include "fs_internal.h"
#include "op.h"
#include "orphan.h"
#include "r5fs/base/msg.h"

int truncate_is_pending(struct fs_reader *reader, const struct fs_inode *inode, bool *out_pending)
{
    struct orphan orphan;
    int error = orphan_read(reader, inode, &orphan);
    if (error == 0) {
        *out_pending = (orphan.what & FS_ORPHAN_TRUNCATE) != 0;
    }
    return error;
}

static uint64_t first_block_beyond(uint64_t size)
{
    return div_round_up(size, BLOCK_BYTES);
}

/* ---- setting the size ---------------------------------------------------------------------- */

struct truncate {
    uint64_t new_size;
    struct attr_change attr;
    struct txn_need need;
    bool frees; /* the edit has something to free */
    uint32_t changes;
    bool record;  /* the need allows for a record */
    bool partial; /* result: more is left to free */
    struct file_look look;
    struct file_patch old_end;
    struct fs_inode inode; /* result */
};

static void set_need(struct fs *fs, struct truncate *set, struct txn_need *need)
{
    bool grows = set->new_size > set->look.inode.size;
    *need = (struct txn_need){
        .data_blocks = grows ? 1 : 0,
        .inserts = set->record ? 1 : 0,
        .removes = set->attr.rewrites,
        .updates = 2,
        .deep = true,
    };
    set->changes = 0;
    if (set->frees) {
        uint32_t most = extent_changes_max(fs, EXTENT_PUNCH, need);
        set->changes = extent_need(&set->look.window, EXTENT_PUNCH, most, need);
        set->frees = set->changes > 0;
    }
}

/* With the inode lock held. The first call, without it, only estimates. */
static int set_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct truncate *set = context;
    struct txn_need need;
    set->look.first = first_block_beyond(set->new_size);
    set->look.end = EXTENT_FILE_BLOCKS_MAX;
    int error = op_look(fs, thread, file_look, &set->look);
    if (error == 0) {
        error = file_check_regular(&set->look.inode);
    }
    if (error == 0 && set->look.truncate_pending) {
        error = -ECANCELED;
    }
    if (error != 0) {
        return error;
    }
    set->frees = set->new_size <= set->look.inode.size && set->look.first < EXTENT_FILE_BLOCKS_MAX;
    set_need(fs, set, &need);
    if (!file_need_covers(&set->need, &need)) {
        set->need = need;
        return -EAGAIN;
    }
    return file_patch_old_end(
        fs, thread, &set->look.inode, set->new_size, thread->scratch, &set->old_end);
}

/* Prepares the record when the edit does not reach the end of the map. */
static int
set_prepare_record(struct fs_txn *txn, struct truncate *set, const struct extent_edit *edit)
{
    set->partial = set->frees && edit->end < EXTENT_FILE_BLOCKS_MAX;
    if (!set->partial) {
        return 0;
    }
    if (!set->record) {
        set->record = true;
        return -EAGAIN;
    }
    return orphan_prepare(txn, set->look.ino);
}

static int
set_apply(struct fs_txn *txn, struct truncate *set, struct extent_edit *edit, struct orphan *orphan)
{
    int error = attr_apply(txn, &set->inode, &set->attr);
    set->inode.size = set->new_size;
    if (error == 0 && set->frees) {
        error = extent_edit_apply(edit, txn);
        set->inode.blocks -= min_u64(set->inode.blocks, edit->blocks_less);
    }
    if (error == 0 && set->partial) {
        orphan->what |= FS_ORPHAN_TRUNCATE;
        orphan->size = set->new_size;
        error = orphan_write(txn, &set->inode, orphan);
    }
    return error == 0 ? inode_write(txn, &set->inode) : error;
}

static int set_body(struct fs_txn *txn, void *context)
{
    struct truncate *set = context;
    struct extent_edit edit;
    struct orphan orphan;
    int error = inode_read(&txn->reader, set->look.ino, &set->inode);
    if (error == 0) {
        error = attr_prepare(txn, &set->inode, &set->attr, &set->need);
    }
    if (error == 0) {
        error = orphan_read(&txn->reader, &set->inode, &orphan);
    }
    if (error == 0 && set->frees) {
        error = extent_edit_begin(&edit, txn, &set->look.window, EXTENT_PUNCH, set->changes);
    }
    if (error == 0) {
        error = set_prepare_record(txn, set, &edit);
    }
    if (error != 0) {
        return error;
    }
    if (set->old_end.needed) {
        txn_write_data(txn, set->old_end.block, set->old_end.data);
    }
    txn_change(txn);
    error = set_apply(txn, set, &edit, &orphan);
    return error == 0 ? 0 : txn_broken(txn, error);
}

int truncate_set(struct fs *fs,
                 struct fs_thread *thread,
                 uint64_t ino,
                 const struct fs_attr *in,
                 uint32_t mask,
                 struct fs_attr *out)
{
    struct truncate set = {
        .new_size = in->size,
        .attr = {.in = in, .mask = mask},
        .look = {.ino = ino},
    };
    const struct op_change change = {
        .need = &set.need,
        .lock_ino = ino,
        .before = set_before,
        .body = set_body,
        .context = &set,
    };
    int error;
    if (in->size > FS_FILE_BYTES_MAX) {
        return -EFBIG;
    }
    do {
        error = set_before(fs, thread, &set);
        if (error == 0 || error == -EAGAIN) {
            error = op_change(fs, thread, &change);
        }
        if (error == -ECANCELED) {
            error = truncate_finish(fs, thread, ino);
            error = error == 0 ? -ECANCELED : error;
        }
    } while (error == -ECANCELED);
    if (error != 0) {
        return error;
    }
    inode_to_attr(&set.inode, out);
    if (set.partial && truncate_finish(fs, thread, ino) != 0) {
        /* The size is set; the record goes on naming the rest, for the next writer or mount. */
        msg_debug("truncate", "unfinished ino=%llu", (unsigned long long)ino);
    }
    return 0;
}

/* ---- finishing ----------------------------------------------------------------------------- */

struct finish {
    struct file_look look;
    struct orphan orphan;
    struct txn_need need;
    uint32_t changes;
    bool done;
};

static int finish_look(struct fs_reader *reader, void *context)
{
    struct finish *finish = context;
    int error = inode_read(reader, finish->look.ino, &finish->look.inode);
    if (error == 0) {
        error = orphan_read(reader, &finish->look.inode, &finish->orphan);
    }
    finish->done = error == 0 && (finish->orphan.what & FS_ORPHAN_TRUNCATE) == 0;
    if (error != 0 || finish->done) {
        return error;
    }
    finish->look.first = first_block_beyond(finish->orphan.size);
    finish->look.end = EXTENT_FILE_BLOCKS_MAX;
    if (finish->look.first == finish->look.end) {
        finish->look.window = (struct extent_window){.first = finish->look.end};
        return 0;
    }
    return file_look(reader, &finish->look);
}

static int finish_before(struct fs *fs, struct fs_thread *thread, void *context)
{
    struct finish *finish = context;
    struct txn_need need = {.removes = 1, .updates = 2, .deep = true};
    int error = op_look(fs, thread, finish_look, finish);
    if (error != 0 || finish->done) {
        return error;
    }
    uint32_t most = extent_changes_max(fs, EXTENT_PUNCH, &need);
    finish->changes = extent_need(&finish->look.window, EXTENT_PUNCH, most, &need);
    if (!file_need_covers(&finish->need, &need)) {
        finish->need = need;
        return -EAGAIN;
    }
    return 0;
}

static int finish_apply(struct fs_txn *txn, struct finish *finish, struct extent_edit *edit)
{
    struct fs_inode *inode = &finish->look.inode;
    int error = extent_edit_apply(edit, txn);
    inode->blocks -= min_u64(inode->blocks, edit->blocks_less);
    if (error == 0 && edit->end == EXTENT_FILE_BLOCKS_MAX) {
        finish->orphan.what &= ~FS_ORPHAN_TRUNCATE;
        error = orphan_write(txn, inode, &finish->orphan);
        finish->done = true;
    }
    return error == 0 ? inode_write(txn, inode) : error;
}

static int finish_body(struct fs_txn *txn, void *context)
{
    struct finish *finish = context;
    struct extent_edit edit;
    struct fs_key key = fs_key(finish->look.ino, FS_ITEM_INODE, 0);
    if (finish->done) {
        return 0;
    }
    /* Links may have changed the record since finish_before; its map and intent have not. */
    int error = inode_read(&txn->reader, finish->look.ino, &finish->look.inode);
    if (error == 0) {
        error = orphan_read(&txn->reader, &finish->look.inode, &finish->orphan);
    }
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0) {
        error = orphan_prepare(txn, finish->look.ino);
    }
    if (error == 0) {
        error = extent_edit_begin(&edit, txn, &finish->look.window, EXTENT_PUNCH, finish->changes);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = finish_apply(txn, finish, &edit);
    return error == 0 ? 0 : txn_broken(txn, error);
}

int truncate_finish(struct fs *fs, struct fs_thread *thread, uint64_t ino)
{
    struct finish finish = {
        .look = {.ino = ino},
        .need = {.removes = 1, .updates = 2, .deep = true},
    };
    const struct op_change change = {
        .need = &finish.need,
        .lock_ino = ino,
        .before = finish_before,
        .body = finish_body,
        .context = &finish,
    };
    int error = 0;
    while (error == 0 && !finish.done) {
        error = op_change(fs, thread, &change);
    }
    return error;
}
