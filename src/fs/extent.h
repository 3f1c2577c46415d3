/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The map of a file: which blocks of the volume hold which blocks of the file. One item per extent,
 * keyed by its first file block; what no extent covers is a hole.
 *
 * A window is a part of the map in memory. An edit changes the map inside a window in one
 * transaction:
 *
 *     extent_window_load()      before the transaction, the inode lock held: it stays true
 *     extent_need()             what the edit may cost
 *     extent_edit_begin()       look phase: takes blocks, prepares the tree; may stop short
 *     extent_edit_apply()       change phase
 */
#ifndef R5FS_FS_EXTENT_H
#define R5FS_FS_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "txn.h"

struct fs;
struct fs_reader;

#define EXTENT_FILE_BLOCKS_MAX ((uint64_t)1 << 51) /* 2^63 bytes */
#define EXTENT_WINDOW_MAX      64u
#define EXTENT_CHANGES_MAX     16u

enum extent_state {
    EXTENT_HOLE,
    EXTENT_WRITTEN,
    EXTENT_UNWRITTEN, /* has blocks, reads as zeros */
};

struct extent {
    uint64_t first; /* file block */
    uint64_t count;
    struct fs_block start; /* not of a hole */
    enum extent_state state;
};

static inline uint64_t extent_end(const struct extent *extent)
{
    return extent->first + extent->count;
}

struct extent_window {
    uint64_t ino;
    uint64_t first;
    uint64_t end;         /* may be less than was asked for: the map is too fragmented */
    struct fs_block goal; /* behind the last extent before the window; 0: there is none */
    uint32_t count;       /* of extents that overlap or touch the window, whole */
    struct extent items[EXTENT_WINDOW_MAX];
};

/* The map of [first, end); end > first. Repeatable. -EAGAIN; -EUCLEAN for a map that cannot be. */
R5_MUST_CHECK int extent_window_load(struct fs_reader *reader,
                                     uint64_t ino,
                                     uint64_t first,
                                     uint64_t end,
                                     struct extent_window *out_window);
/* The piece of the window that begins at file block `at`: an extent's part, or a hole. */
struct extent extent_window_piece(const struct extent_window *window, uint64_t at);

enum extent_change {
    EXTENT_FILL,    /* everything becomes written; the caller writes the data */
    EXTENT_RESERVE, /* holes become unwritten */
    EXTENT_ZERO,    /* everything becomes unwritten */
    EXTENT_PUNCH,   /* everything becomes a hole */
};

/* Most changed pieces of one edit in a transaction that also does what `need` says. */
uint32_t
extent_changes_max(const struct fs *fs, enum extent_change change, const struct txn_need *need);
/* Adds to `need` what an edit of the window with at most `changes_max` changed pieces costs.
 * Returns how many pieces the need allows for (0: the edit changes nothing). `need->allocate`
 * grows by the blocks that would have to be allocated, at most those of that many pieces. */
uint32_t extent_need(const struct extent_window *window,
                     enum extent_change change,
                     uint32_t changes_max,
                     struct txn_need *need);

struct extent_edit {
    const struct extent_window *window;
    enum extent_change change;
    uint64_t end;         /* the edit covers [window->first, end) */
    uint64_t blocks_more; /* taken from free space */
    uint64_t blocks_less; /* given back */
    uint32_t changes_left;
    uint32_t removes_left; /* keys that may vanish */
    uint32_t run_count;
    struct extent runs[EXTENT_CHANGES_MAX]; /* taken, or to be given back (PUNCH) */
    uint32_t count;                         /* the new map of what the window's items covered */
    struct extent items[EXTENT_WINDOW_MAX + 2 * EXTENT_CHANGES_MAX + 2];
};

/* `changes`: what extent_need returned for this window and change. On error nothing was taken. */
R5_MUST_CHECK int extent_edit_begin(struct extent_edit *edit,
                                    struct fs_txn *txn,
                                    const struct extent_window *window,
                                    enum extent_change change,
                                    uint32_t changes);
/* What covers file block `block` in the new map; NULL: nothing. */
const struct extent *extent_edit_at(const struct extent_edit *edit, uint64_t block);
/* An error stops the filesystem (txn_broken). */
R5_MUST_CHECK int extent_edit_apply(struct extent_edit *edit, struct fs_txn *txn);

/* Item bytes. `out` is untouched and the answer says what is wrong, or NULL. */
const char *extent_decode(
    struct fs *fs, uint64_t file_block, const uint8_t *data, uint32_t bytes, struct extent *out);

#endif
