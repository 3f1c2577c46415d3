/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The map of a file, read and changed in windows.
 *
 *     items    |--- written ---|      |-- unwritten --|  |- written -|
 *     window             [ first                    end )
 *     edit     |--- written ---|+++++++++|-- unwr. ---|  (FILL up to edit->end)
 *
 * One mechanism for write, fallocate, punch, zero and truncate: build the new list of extents for
 * what the window's items cover, merge neighbours, compare it with the old list by key, and apply
 * the difference (removes, then changes in place, then inserts).
 *
 *   E1  extents of a file do not overlap; none is longer than FS_EXTENT_BLOCKS_MAX or leaves its
 *       group
 *   E2  inode.blocks is the sum of the lengths of its extents
 *   E3  a block becomes part of a written extent in the transaction whose op-lock section wrote
 *       its data (W10)
 *   E4  what an edit costs never exceeds what extent_need said: pieces beyond that are left for the
 *       next step, a merge that would remove one key too many is left out
 *
 * Failure: a map read from disk that breaks E1 is -EUCLEAN; everything else that can fail (space,
 * reads, a full tree) comes in extent_edit_begin, which gives back what it took. Caller's thread,
 * the inode lock held exclusively for edits and at least shared for windows that must stay true.
 */
#include "extent.h"

#include <errno.h>
#include <string.h>

#include "fs_internal.h"

/* ---- reading ------------------------------------------------------------------------------- */

const char *extent_decode(
    struct fs *fs, uint64_t file_block, const uint8_t *data, uint32_t bytes, struct extent *out)
{
    struct fs_extent_disk disk;
    if (bytes != sizeof(disk)) {
        return "extent of wrong size";
    }
    memcpy(&disk, data, sizeof(disk));
    uint32_t length = le32_get(disk.length);
    uint32_t flags = le32_get(disk.flags);
    struct fs_block start = fs_block(le64_get(disk.start));
    if (length == 0 || length > FS_EXTENT_BLOCKS_MAX || (flags & ~FS_EXTENT_UNWRITTEN) != 0) {
        return "extent with impossible length or flags";
    }
    if (file_block >= EXTENT_FILE_BLOCKS_MAX || length > EXTENT_FILE_BLOCKS_MAX - file_block) {
        return "extent beyond the largest file";
    }
    if (!fs_run_is_plausible(&fs->super, start, length)) {
        return "extent outside of the blocks for files";
    }
    out->first = file_block;
    out->count = length;
    out->start = start;
    out->state = (flags & FS_EXTENT_UNWRITTEN) != 0 ? EXTENT_UNWRITTEN : EXTENT_WRITTEN;
    return NULL;
}

static bool path_on_extent(const struct btree_path *path, uint64_t ino)
{
    struct fs_key key = btree_key(path);
    return key.ino == ino && key.type == FS_ITEM_EXTENT;
}

static int path_extent(const struct btree_path *path, struct extent *out)
{
    struct fs *fs = path->reader->fs;
    struct fs_key key = btree_key(path);
    uint32_t bytes;
    const uint8_t *data = btree_data(path, &bytes);
    const char *problem = extent_decode(fs, key.offset, data, bytes, out);
    if (problem != NULL) {
        return fs_damage(fs, key.ino, path->level[0].buffer->block, problem);
    }
    return 0;
}

/* Takes the extent under the path into the window. *out_more: go on with the next. */
static int window_take(struct extent_window *window, const struct btree_path *path, bool *out_more)
{
    struct extent extent;
    *out_more = false;
    if (!path_on_extent(path, window->ino) || btree_key(path).offset > window->end) {
        return 0;
    }
    int error = path_extent(path, &extent);
    if (error != 0) {
        return error;
    }
    if (window->count > 0 && extent.first < extent_end(&window->items[window->count - 1])) {
        return fs_damage(
            path->reader->fs, window->ino, path->level[0].buffer->block, "extents overlap");
    }
    if (window->count == EXTENT_WINDOW_MAX) {
        window->end = extent.first;
        return 0;
    }
    window->items[window->count] = extent;
    window->count++;
    *out_more = true;
    return 0;
}

/* The last extent that begins before the window: it may reach into it, touch it, or only name the
 * place behind which new blocks are wanted. Leaves the path on the item after it. */
static int window_begin(struct extent_window *window, struct btree_path *path)
{
    struct fs_key key = fs_key(window->ino, FS_ITEM_EXTENT, window->first);
    struct extent extent;
    if (window->first == 0) {
        return btree_seek(path, &key);
    }
    key.offset--;
    int error = btree_seek_last(path, &key);
    if (error == -ENOENT || (error == 0 && !path_on_extent(path, window->ino))) {
        btree_path_release(path);
        return btree_seek(path, &key);
    }
    if (error == 0) {
        error = path_extent(path, &extent);
    }
    if (error != 0) {
        return error;
    }
    window->goal = fs_block_add(extent.start, extent.count);
    if (extent_end(&extent) >= window->first) {
        window->items[0] = extent;
        window->count = 1;
    }
    return btree_next(path);
}

int extent_window_load(struct fs_reader *reader,
                       uint64_t ino,
                       uint64_t first,
                       uint64_t end,
                       struct extent_window *out_window)
{
    struct btree_path path;
    bool more = true;
    R5_CHECK(first < end && end <= EXTENT_FILE_BLOCKS_MAX);
    out_window->ino = ino;
    out_window->first = first;
    out_window->end = end;
    out_window->goal = fs_block(0);
    out_window->count = 0;
    btree_path_init(&path, reader);
    int error = window_begin(out_window, &path);
    while (error == 0 && more) {
        error = window_take(out_window, &path, &more);
        if (error == 0 && more) {
            error = btree_next(&path);
        }
    }
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

struct extent extent_window_piece(const struct extent_window *window, uint64_t at)
{
    struct extent piece = {.first = at, .state = EXTENT_HOLE};
    uint64_t end = window->end;
    for (uint32_t i = 0; i < window->count; i++) {
        const struct extent *item = &window->items[i];
        if (item->first > at) {
            end = min_u64(end, item->first);
            break;
        }
        if (at < extent_end(item)) {
            end = min_u64(end, extent_end(item));
            piece.start = fs_block_add(item->start, at - item->first);
            piece.state = item->state;
            break;
        }
    }
    piece.count = end - at;
    return piece;
}

/* ---- cost ---------------------------------------------------------------------------------- */

static bool piece_changes(enum extent_state state, enum extent_change change)
{
    switch (change) {
    case EXTENT_FILL: return state != EXTENT_WRITTEN;
    case EXTENT_RESERVE: return state == EXTENT_HOLE;
    case EXTENT_ZERO: return state != EXTENT_UNWRITTEN;
    case EXTENT_PUNCH:
    default: return state != EXTENT_HOLE;
    }
}

/* Keys that an edit could make vanish: all but that of an extent that begins before the window. */
static uint32_t removable(const struct extent_window *window)
{
    bool first_stays = window->count > 0 && window->items[0].first < window->first;
    return window->count - (first_stays ? 1 : 0);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t
extent_changes_max(const struct fs *fs, enum extent_change change, const struct txn_need *need)
{
    const bool punch = change == EXTENT_PUNCH;
    struct txn_need fixed = *need;
    const struct txn_need each = {
        .inserts = punch ? 0 : 1,
        .removes = 1,
        .updates = punch ? 0 : 1,
        .alloc_runs = punch ? 0 : 1,
        .free_runs = 1,
    };
    fixed.inserts += 1;
    fixed.updates += 2;
    return min_u32((uint32_t)max_u64(txn_steps_max(fs, &fixed, &each), 1), EXTENT_CHANGES_MAX);
}

uint32_t extent_need(const struct extent_window *window,
                     enum extent_change change,
                     uint32_t changes_max,
                     struct txn_need *need)
{
    uint32_t changes = 0;
    uint32_t holes = 0;
    changes_max = min_u32(changes_max, EXTENT_CHANGES_MAX);
    for (uint64_t at = window->first; at < window->end && changes < changes_max;) {
        struct extent piece = extent_window_piece(window, at);
        at = extent_end(&piece);
        if (!piece_changes(piece.state, change)) {
            continue;
        }
        changes++;
        if (piece.state == EXTENT_HOLE) {
            holes++;
            need->allocate += (uint32_t)min_u64(piece.count, FS_EXTENT_BLOCKS_MAX);
        }
    }
    if (changes == 0) {
        return 0;
    }
    if (change == EXTENT_PUNCH) {
        /* What is left of an extent before the window, and of one behind it. */
        need->inserts += 1;
        need->updates += 2;
    } else {
        need->inserts += changes + (changes > holes ? 1 : 0);
        need->updates += changes + 2;
    }
    need->removes += min_u32(changes, removable(window));
    need->alloc_runs += holes > 0 ? changes : 0;
    need->free_runs += changes;
    return changes;
}

/* ---- editing: the new list ----------------------------------------------------------------- */

static bool is_old_key(const struct extent_window *window, uint64_t first)
{
    for (uint32_t i = 0; i < window->count; i++) {
        if (window->items[i].first == first) {
            return true;
        }
    }
    return false;
}

static bool may_merge(struct fs *fs, const struct extent *left, const struct extent *right)
{
    return left->state == right->state && extent_end(left) == right->first &&
           left->start.nr + left->count == right->start.nr &&
           left->count + right->count <= FS_EXTENT_BLOCKS_MAX &&
           fs_group_of(&fs->super, left->start) == fs_group_of(&fs->super, right->start);
}

static void edit_push(struct extent_edit *edit, struct fs *fs, const struct extent *extent)
{
    if (extent->count == 0 || extent->state == EXTENT_HOLE) {
        return;
    }
    struct extent *last = edit->count > 0 ? &edit->items[edit->count - 1] : NULL;
    if (last != NULL && may_merge(fs, last, extent)) {
        bool key_goes = is_old_key(edit->window, extent->first);
        if (!key_goes || (edit->removes_left > 0 && edit->change != EXTENT_PUNCH)) {
            edit->removes_left -= key_goes ? 1 : 0;
            last->count += extent->count;
            return;
        }
    }
    R5_CHECK(edit->count < sizeof(edit->items) / sizeof(edit->items[0]));
    edit->items[edit->count] = *extent;
    edit->count++;
}

/* Takes blocks for (the beginning of) a hole. */
static int edit_allocate(struct extent_edit *edit, struct fs_txn *txn, struct extent *hole)
{
    struct extent *run = &edit->runs[edit->run_count];
    uint32_t count;
    uint32_t want = (uint32_t)min_u64(hole->count, FS_EXTENT_BLOCKS_MAX);
    struct fs_block goal = edit->window->goal;
    if (edit->count > 0) {
        const struct extent *last = &edit->items[edit->count - 1];
        goal = fs_block_add(last->start, last->count);
    }
    int error = freespace_alloc(txn, goal, want, &run->start, &count);
    if (error != 0) {
        return error;
    }
    run->first = hole->first;
    run->count = count;
    run->state = edit->change == EXTENT_FILL ? EXTENT_WRITTEN : EXTENT_UNWRITTEN;
    edit->run_count++;
    edit->blocks_more += count;
    *hole = *run;
    return 0;
}

/* Turns one old piece into what the change makes of it. */
static int edit_piece(struct extent_edit *edit, struct fs_txn *txn, struct extent *piece)
{
    switch (edit->change) {
    case EXTENT_FILL:
        if (piece->state == EXTENT_UNWRITTEN) {
            piece->state = EXTENT_WRITTEN;
            return 0;
        }
        return edit_allocate(edit, txn, piece);
    case EXTENT_ZERO:
        if (piece->state == EXTENT_WRITTEN) {
            piece->state = EXTENT_UNWRITTEN;
            return 0;
        }
        return edit_allocate(edit, txn, piece);
    case EXTENT_RESERVE: return edit_allocate(edit, txn, piece);
    case EXTENT_PUNCH:
    default: {
        int error = freespace_prepare_free(txn, piece->start, (uint32_t)piece->count);
        if (error != 0) {
            return error;
        }
        edit->runs[edit->run_count] = *piece;
        edit->run_count++;
        edit->blocks_less += piece->count;
        piece->state = EXTENT_HOLE;
        return 0;
    }
    }
}

/* What the window's items cover outside of the edited part stays as it is. */
static void edit_push_left(struct extent_edit *edit, struct fs *fs)
{
    const struct extent_window *window = edit->window;
    if (window->count > 0 && window->items[0].first < window->first) {
        struct extent left = window->items[0];
        left.count = min_u64(left.count, window->first - left.first);
        edit_push(edit, fs, &left);
    }
}

static void edit_push_right(struct extent_edit *edit, struct fs *fs)
{
    const struct extent_window *window = edit->window;
    for (uint32_t i = 0; i < window->count; i++) {
        struct extent right = window->items[i];
        if (extent_end(&right) <= edit->end) {
            continue;
        }
        if (right.first < edit->end) {
            uint64_t cut = edit->end - right.first;
            right.first += cut;
            right.count -= cut;
            right.start = fs_block_add(right.start, cut);
        }
        edit_push(edit, fs, &right);
    }
}

static int edit_build(struct extent_edit *edit, struct fs_txn *txn)
{
    const struct extent_window *window = edit->window;
    edit_push_left(edit, txn->fs);
    while (edit->end < window->end) {
        struct extent piece = extent_window_piece(window, edit->end);
        if (piece_changes(piece.state, edit->change)) {
            if (edit->changes_left == 0) {
                break;
            }
            edit->changes_left--;
            int error = edit_piece(edit, txn, &piece);
            if (error != 0) {
                return error;
            }
        }
        edit->end = extent_end(&piece);
        edit_push(edit, txn->fs, &piece);
    }
    edit_push_right(edit, txn->fs);
    return 0;
}

/* ---- editing: the difference --------------------------------------------------------------- */

static bool extent_same(const struct extent *a, const struct extent *b)
{
    return a->count == b->count && a->start.nr == b->start.nr && a->state == b->state;
}

struct edit_difference {
    uint32_t old_index;
    uint32_t new_index;
};

enum edit_step {
    EDIT_DONE,
    EDIT_SAME,
    EDIT_REMOVE,
    EDIT_UPDATE,
    EDIT_INSERT,
};

/* Walks both lists by key. Afterwards the indices point behind what the step is about. */
static enum edit_step edit_next(const struct extent_edit *edit, struct edit_difference *at)
{
    const struct extent_window *window = edit->window;
    bool old_left = at->old_index < window->count;
    bool new_left = at->new_index < edit->count;
    if (!old_left && !new_left) {
        return EDIT_DONE;
    }
    const struct extent *old = &window->items[old_left ? at->old_index : 0];
    const struct extent *new = &edit->items[new_left ? at->new_index : 0];
    if (!new_left || (old_left && old->first < new->first)) {
        at->old_index++;
        return EDIT_REMOVE;
    }
    at->new_index++;
    if (!old_left || new->first < old->first) {
        return EDIT_INSERT;
    }
    at->old_index++;
    return extent_same(old, new) ? EDIT_SAME : EDIT_UPDATE;
}

static struct fs_key
edit_key(const struct extent_edit *edit, const struct edit_difference *at, enum edit_step step)
{
    uint64_t first = step == EDIT_REMOVE ? edit->window->items[at->old_index - 1].first
                                         : edit->items[at->new_index - 1].first;
    return fs_key(edit->window->ino, FS_ITEM_EXTENT, first);
}

static int edit_prepare(struct extent_edit *edit, struct fs_txn *txn)
{
    struct edit_difference at = {0, 0};
    for (;;) {
        enum edit_step step = edit_next(edit, &at);
        if (step == EDIT_DONE) {
            return 0;
        }
        if (step != EDIT_SAME) {
            struct fs_key key = edit_key(edit, &at, step);
            int error = btree_prepare(txn, &key);
            if (error != 0) {
                return error;
            }
        }
    }
}

static int edit_apply_one(struct extent_edit *edit,
                          struct fs_txn *txn,
                          const struct edit_difference *at,
                          enum edit_step step)
{
    struct fs_key key = edit_key(edit, at, step);
    if (step == EDIT_REMOVE) {
        return btree_remove(txn, &key);
    }
    const struct extent *extent = &edit->items[at->new_index - 1];
    struct fs_extent_disk disk = {
        .start = le64_make(extent->start.nr),
        .length = le32_make((uint32_t)extent->count),
        .flags = le32_make(extent->state == EXTENT_UNWRITTEN ? FS_EXTENT_UNWRITTEN : 0),
    };
    if (step == EDIT_INSERT) {
        return btree_insert(txn, &key, &disk, sizeof(disk));
    }
    uint8_t *data;
    uint32_t bytes;
    int error = btree_change(txn, &key, &data, &bytes);
    if (error == 0) {
        R5_CHECK(bytes == sizeof(disk));
        memcpy(data, &disk, sizeof(disk));
    }
    return error;
}

static int edit_apply_all(struct extent_edit *edit, struct fs_txn *txn, enum edit_step which)
{
    struct edit_difference at = {0, 0};
    for (;;) {
        enum edit_step step = edit_next(edit, &at);
        if (step == EDIT_DONE) {
            return 0;
        }
        if (step == which) {
            int error = edit_apply_one(edit, txn, &at, step);
            if (error != 0) {
                return error;
            }
        }
    }
}

static void edit_undo(struct extent_edit *edit, struct fs_txn *txn)
{
    if (edit->change == EXTENT_PUNCH) {
        return;
    }
    for (uint32_t i = 0; i < edit->run_count; i++) {
        const struct extent *run = &edit->runs[i];
        if (freespace_free(txn, run->start, (uint32_t)run->count) != 0) {
            (void)fs_damage(txn->fs, edit->window->ino, run->start, "blocks taken and lost again");
        }
    }
}

int extent_edit_begin(struct extent_edit *edit,
                      struct fs_txn *txn,
                      const struct extent_window *window,
                      enum extent_change change,
                      uint32_t changes)
{
    R5_CHECK(changes <= EXTENT_CHANGES_MAX);
    edit->window = window;
    edit->change = change;
    edit->end = window->first;
    edit->blocks_more = 0;
    edit->blocks_less = 0;
    edit->changes_left = changes;
    edit->removes_left = min_u32(changes, removable(window));
    edit->run_count = 0;
    edit->count = 0;
    int error = edit_build(edit, txn);
    if (error == 0) {
        error = edit_prepare(edit, txn);
    }
    if (error != 0) {
        edit_undo(edit, txn);
    }
    return error;
}

const struct extent *extent_edit_at(const struct extent_edit *edit, uint64_t block)
{
    for (uint32_t i = 0; i < edit->count; i++) {
        const struct extent *item = &edit->items[i];
        if (item->first <= block && block < extent_end(item)) {
            return item;
        }
    }
    return NULL;
}

int extent_edit_apply(struct extent_edit *edit, struct fs_txn *txn)
{
    int error = edit_apply_all(edit, txn, EDIT_REMOVE);
    if (error == 0) {
        error = edit_apply_all(edit, txn, EDIT_UPDATE);
    }
    if (error == 0) {
        error = edit_apply_all(edit, txn, EDIT_INSERT);
    }
    for (uint32_t i = 0; error == 0 && edit->change == EXTENT_PUNCH && i < edit->run_count; i++) {
        error = freespace_free(txn, edit->runs[i].start, (uint32_t)edit->runs[i].count);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}
