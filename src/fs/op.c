/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame of an operation.
 *
 *     txn_begin -> [inode lock -> before] -> txn_lock -> body -> txn_end -> [inode unlock]
 *         ^                                                          |
 *         +------------------------ -EAGAIN -------------------------+
 *
 * Whatever the body returns, nothing is held afterwards. Runs on the caller's thread.
 */
#include "op.h"

#include <errno.h>

#include "fs_internal.h"

int op_look(struct fs *fs,
            struct fs_thread *thread,
            int (*body)(struct fs_reader *reader, void *context),
            void *context)
{
    struct fs_reader reader;
    int error;
    fs_reader_init(&reader, fs, thread);
    do {
        fs_reader_lock(&reader);
        error = body(&reader, context);
    } while (fs_reader_again(&reader, &error));
    return error;
}

static int change_locked(struct fs_txn *txn, const struct op_change *change)
{
    int error = 0;
    if (change->before != NULL) {
        error = change->before(txn->fs, txn->thread, change->context);
    }
    if (error == 0) {
        error = txn_lock(txn);
    }
    if (error == 0) {
        error = change->body(txn, change->context);
    }
    txn_end(txn);
    return error;
}

int op_change(struct fs *fs, struct fs_thread *thread, const struct op_change *change)
{
    int error;
    do {
        struct fs_txn txn;
        error = txn_begin(&txn, fs, thread, change->need);
        if (error != 0) {
            return error;
        }
        if (change->lock_ino != 0) {
            inode_lock_write(fs, change->lock_ino);
        }
        error = change_locked(&txn, change);
        if (change->lock_ino != 0) {
            inode_unlock(fs, change->lock_ino);
        }
    } while (error == -EAGAIN);
    return error;
}
