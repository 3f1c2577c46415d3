/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Read sections (reader.h). A section ends: each round that ends with -EAGAIN adds the node it
 * lacked to the pinned ones, a path is at most FS_TREE_LEVELS_MAX nodes, and a round that lacks
 * nothing is the last. A mutator that changes the path between two rounds can cost another round,
 * no more. Any thread.
 */
#include "reader.h"

#include <errno.h>
#include <string.h>

#include "fs_internal.h"

_Static_assert(FS_READER_HELD_MAX >= 2 * FS_TREE_LEVELS_MAX,
               "a path and its neighbour stay pinned");

void fs_reader_init(struct fs_reader *reader, struct fs *fs, struct fs_thread *thread)
{
    memset(reader, 0, sizeof(*reader));
    reader->fs = fs;
    reader->thread = thread;
}

void fs_reader_lock(struct fs_reader *reader)
{
    R5_CHECK(!reader->locked);
    env_rwlock_read(&reader->fs->tree_lock);
    reader->locked = true;
}

static void reader_keep(struct fs_reader *reader, struct buffer *buffer)
{
    uint32_t at = reader->held_next % FS_READER_HELD_MAX;
    buffer_put(&reader->fs->buffers, reader->held[at]);
    reader->held[at] = buffer;
    reader->held_next++;
}

/* The missing node, read without a lock. */
static int reader_load(struct fs_reader *reader)
{
    struct buffer *buffer = NULL;
    int error = buffer_get(&reader->fs->buffers,
                           reader->thread->queue,
                           reader->missing,
                           BUFFER_NODE,
                           BUFFER_LOAD_QUIET,
                           &buffer);
    if (error == 0) {
        reader_keep(reader, buffer);
    } else if (error == -EUCLEAN && !reader->may_load) {
        reader->may_load =
            true; /* it may have been freed meanwhile: look once more, under the lock */
        error = 0;
    }
    return error;
}

bool fs_reader_again(struct fs_reader *reader, int *error)
{
    if (reader->locked) {
        env_rwlock_unlock(&reader->fs->tree_lock);
        reader->locked = false;
    }
    if (*error == -EAGAIN) {
        *error = reader_load(reader);
        if (*error == 0) {
            return true;
        }
    }
    for (uint32_t i = 0; i < FS_READER_HELD_MAX; i++) {
        buffer_put(&reader->fs->buffers, reader->held[i]);
        reader->held[i] = NULL;
    }
    reader->held_next = 0;
    reader->may_load = false;
    return false;
}

int fs_reader_get(struct fs_reader *reader, struct fs_block block, struct buffer **out_buffer)
{
    struct fs *fs = reader->fs;
    if (fs_block_is_fixed(&fs->super, block)) {
        return fs_damage(fs, 0, block, "a tree node cannot be here");
    }
    enum buffer_how how = reader->may_load ? BUFFER_LOAD : BUFFER_CACHED;
    int error =
        buffer_get(&fs->buffers, reader->thread->queue, block, BUFFER_NODE, how, out_buffer);
    if (error == -EAGAIN) {
        reader->missing = block;
    } else if (error == -EUCLEAN) {
        fs->damaged = true;
    }
    return error;
}
