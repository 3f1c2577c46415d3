/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rename: one transaction, whatever it replaces.
 *
 *     move      entry added (or pointed anew) in the new directory, the old one removed
 *     replace   the inode that loses its name: links - 1, orphan record when it was the last
 *     exchange  both entries pointed at each other's inode
 *
 *   R1  a directory never becomes its own ancestor: the way from the new parent up to the root
 *       does not meet it (both ways round for an exchange)
 *   R2  parents' link counts and the moved directory's parent follow in the same transaction (N1,
 *       N2)
 *   R3  two names of one inode: nothing is done, 0 is answered (POSIX)
 *
 * Everything is looked at and changed in one op-lock section; no inode lock. Failure: every error
 * comes before the first change. Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "name.h"
#include "namei.h"
#include "op.h"

struct rename_side {
    uint64_t parent;
    struct fs_name name;
    struct fs_inode *dir; /* of both sides the same when the parents are */
    struct fs_inode dir_space;
    bool found;
    struct dir_entry entry;
    struct fs_inode inode;
};

struct rename {
    struct rename_side from;
    struct rename_side to;
    bool no_replace;
    bool exchange;
    bool nothing; /* R3 */
    struct namei_drop drop;
    uint64_t gone; /* result */
};

static int look_side(struct fs_reader *reader, struct rename_side *side)
{
    int error = dir_find(reader, side->parent, side->name, &side->entry, &side->entry.offset);
    side->found = error == 0;
    if (side->found) {
        error = namei_read_entry(reader, side->parent, &side->entry, &side->inode);
    }
    return error == -ENOENT ? 0 : error;
}

/* -EINVAL when `ino` is `inside` or above it. */
static int check_not_above(struct fs_reader *reader, uint64_t ino, uint64_t inside)
{
    uint64_t steps = reader->fs->super.inode_count + 1;
    uint64_t at = inside;
    for (; steps > 0; steps--) {
        struct fs_inode dir;
        if (at == ino) {
            return -EINVAL;
        }
        if (at == FS_ROOT_INO) {
            return 0;
        }
        int error = inode_read(reader, at, &dir);
        if (error == -ENOENT) {
            break;
        }
        if (error != 0) {
            return error;
        }
        at = dir.parent;
    }
    return fs_damage(reader->fs, inside, fs_block(0), "directory does not lead to the root");
}

static bool is_dir(const struct rename_side *side)
{
    return side->found && S_ISDIR(side->inode.mode);
}

static int check_ancestors(struct fs_reader *reader, const struct rename *rename)
{
    const struct rename_side *from = &rename->from;
    const struct rename_side *to = &rename->to;
    int error = 0;
    if (is_dir(from) && (from->parent != to->parent || from->inode.ino == to->parent)) {
        error = check_not_above(reader, from->inode.ino, to->parent);
    }
    if (error == 0 && rename->exchange && is_dir(to) && from->parent != to->parent) {
        error = check_not_above(reader, to->inode.ino, from->parent);
    }
    return error;
}

static int check_replaced(struct fs_reader *reader, const struct rename *rename)
{
    const struct rename_side *to = &rename->to;
    if (!to->found || rename->exchange) {
        return 0;
    }
    if (!is_dir(&rename->from)) {
        return is_dir(to) ? -EISDIR : 0;
    }
    return is_dir(to) ? dir_check_empty(reader, to->inode.ino) : -ENOTDIR;
}

static int look_dirs(struct fs_reader *reader, struct rename *rename)
{
    struct rename_side *from = &rename->from;
    struct rename_side *to = &rename->to;
    int error = namei_read_dir(reader, from->parent, &from->dir_space);
    from->dir = &from->dir_space;
    to->dir = from->dir;
    if (error == 0 && from->parent != to->parent) {
        to->dir = &to->dir_space;
        error = namei_read_dir(reader, to->parent, to->dir);
    }
    return error;
}

static int rename_look(struct fs_reader *reader, struct rename *rename)
{
    struct rename_side *from = &rename->from;
    struct rename_side *to = &rename->to;
    int error = look_dirs(reader, rename);
    if (error == 0) {
        error = look_side(reader, from);
    }
    if (error == 0) {
        error = look_side(reader, to);
    }
    if (error != 0) {
        return error;
    }
    if (!from->found || (rename->exchange && !to->found)) {
        return -ENOENT;
    }
    if (rename->no_replace && to->found) {
        return -EEXIST;
    }
    rename->nothing = to->found && from->inode.ino == to->inode.ino;
    if (rename->nothing) {
        return 0;
    }
    error = check_ancestors(reader, rename);
    if (error == 0) {
        error = check_replaced(reader, rename);
    }
    if (error == 0 && is_dir(from) && !is_dir(to) && to->dir->nlink == UINT32_MAX) {
        error = -EMLINK;
    }
    return error;
}

static int prepare_side(struct fs_txn *txn, const struct rename_side *side)
{
    int error = namei_prepare_inode(txn, side->parent);
    if (error == 0) {
        error = dir_prepare(txn, side->parent, side->entry.offset);
    }
    if (error == 0 && side->found) {
        error = namei_prepare_inode(txn, side->inode.ino);
    }
    return error;
}

static int rename_prepare(struct fs_txn *txn, struct rename *rename)
{
    int error = prepare_side(txn, &rename->from);
    if (error == 0) {
        error = prepare_side(txn, &rename->to);
    }
    if (error == 0 && rename->to.found && !rename->exchange) {
        error = namei_drop_prepare(txn, &rename->to.inode, &rename->drop);
    }
    return error;
}

/* The entry of `side` names `inode` from now on. */
static int point(struct fs_txn *txn, struct rename_side *side, const struct fs_inode *inode)
{
    struct dir_entry entry = side->entry;
    entry.ino = inode->ino;
    entry.type = inode->mode & (uint32_t)S_IFMT;
    if (side->found) {
        return dir_point(txn, side->parent, &entry);
    }
    return dir_add(txn, side->parent, side->name, &entry);
}

static int write_moved(struct fs_txn *txn, struct fs_inode *inode, uint64_t parent)
{
    inode->ctime = inode_now();
    if (S_ISDIR(inode->mode)) {
        inode->parent = parent;
    }
    return inode_write(txn, inode);
}

static int apply_exchange(struct fs_txn *txn, struct rename *rename)
{
    struct rename_side *from = &rename->from;
    struct rename_side *to = &rename->to;
    int64_t comes = (is_dir(from) ? 1 : 0) - (is_dir(to) ? 1 : 0);
    namei_touch_dir(to->dir, 0, comes);
    namei_touch_dir(from->dir, 0, -comes);
    int error = point(txn, from, &to->inode);
    if (error == 0) {
        error = point(txn, to, &from->inode);
    }
    if (error == 0) {
        error = write_moved(txn, &to->inode, from->parent);
    }
    return error;
}

static int apply_move(struct fs_txn *txn, struct rename *rename)
{
    struct rename_side *from = &rename->from;
    struct rename_side *to = &rename->to;
    int64_t moves = is_dir(from) ? 1 : 0;
    namei_touch_dir(to->dir, to->found ? 0 : 1, is_dir(to) ? moves - 1 : moves);
    namei_touch_dir(from->dir, -1, -moves);
    int error = point(txn, to, &from->inode);
    if (error == 0) {
        error = dir_remove(txn, from->parent, from->entry.offset);
    }
    if (error == 0 && to->found) {
        error = namei_drop_apply(txn, &rename->drop, &rename->gone);
    }
    return error;
}

static int rename_apply(struct fs_txn *txn, struct rename *rename)
{
    int error = rename->exchange ? apply_exchange(txn, rename) : apply_move(txn, rename);
    if (error == 0) {
        error = write_moved(txn, &rename->from.inode, rename->to.parent);
    }
    if (error == 0) {
        error = inode_write(txn, rename->from.dir);
    }
    if (error == 0 && rename->to.dir != rename->from.dir) {
        error = inode_write(txn, rename->to.dir);
    }
    return error;
}

static int rename_body(struct fs_txn *txn, void *context)
{
    struct rename *rename = context;
    rename->gone = 0;
    int error = rename_look(&txn->reader, rename);
    if (error != 0 || rename->nothing) {
        return error;
    }
    error = rename_prepare(txn, rename);
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = rename_apply(txn, rename);
    return error == 0 ? 0 : txn_broken(txn, error);
}

int fs_rename(struct fs *fs,
              struct fs_thread *thread,
              uint64_t old_parent,
              struct fs_name old_name,
              uint64_t new_parent,
              struct fs_name new_name,
              unsigned flags,
              uint64_t *out_gone)
{
    struct rename rename = {
        .from = {.parent = old_parent, .name = old_name},
        .to = {.parent = new_parent, .name = new_name},
        .no_replace = (flags & RENAME_NOREPLACE) != 0,
        .exchange = (flags & RENAME_EXCHANGE) != 0,
    };
    const struct txn_need need = {.inserts = 2, .removes = 1, .updates = 6, .deep = true};
    const struct op_change change = {.need = &need, .body = rename_body, .context = &rename};
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
        (rename.no_replace && rename.exchange)) {
        return -EINVAL;
    }
    int error = name_check_entry(old_name);
    if (error == 0) {
        error = name_check_entry(new_name);
    }
    if (error == 0) {
        error = op_change(fs, thread, &change);
    }
    if (error == 0) {
        *out_gone = rename.gone;
    }
    return error;
}
