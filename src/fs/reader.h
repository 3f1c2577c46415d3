/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A read section: the tree lock held shared, never across a device read. A node that is missing
 * ends the body with -EAGAIN; the section drops the lock, loads the node, and the body runs again:
 *
 *     struct fs_reader reader;
 *     fs_reader_init(&reader, fs, thread);
 *     do {
 *         fs_reader_lock(&reader);
 *         error = body(&reader, ...);             releases its paths, copies out what it needs
 *     } while (fs_reader_again(&reader, &error));
 *
 * The body must be repeatable. Loaded nodes stay pinned until the section ends, so it comes to an
 * end. A node that reads wrong outside the lock may have been freed meanwhile: it is read once more
 * under the lock, and only that counts.
 */
#ifndef R5FS_FS_READER_H
#define R5FS_FS_READER_H

#include <stdbool.h>

#include "buffer.h"
#include "r5fs/base/units.h"
#include "r5fs/fs/fs.h"

#define FS_READER_HELD_MAX 16u

struct fs;

struct fs_reader {
    struct fs *fs;
    struct fs_thread *thread;
    bool locked;   /* the tree lock is held shared */
    bool may_load; /* a missing node is read at once: in a transaction, or the strict round */
    struct fs_block missing;                 /* with -EAGAIN */
    struct buffer *held[FS_READER_HELD_MAX]; /* pinned until the section ends */
    uint32_t held_next;
};

void fs_reader_init(struct fs_reader *reader, struct fs *fs, struct fs_thread *thread);
void fs_reader_lock(struct fs_reader *reader);
/* Ends the round. True: the body has to run again. False: *error is the result, nothing is held. */
bool fs_reader_again(struct fs_reader *reader, int *error);

/* For btree.c: the node, pinned; -EAGAIN with `missing` set. */
R5_MUST_CHECK int
fs_reader_get(struct fs_reader *reader, struct fs_block block, struct buffer **out_buffer);

#endif
