/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attributes of inodes: fs_getattr, fs_setattr.
 *
 *   mode    bits follow; an access list is rewritten in the same transaction (A2 in acl.c)
 *   owner   suid, sgid and security.capability go, as Linux does it, except for directories
 *   size    truncate.c, which comes back here for the rest
 *   times   as given; ctime is now. Reading never changes atime: the filesystem is always
 *           "noatime", access times change only by utimensat(2)
 *   flags   FS_IOC_SETFLAGS bits are kept as they are
 *
 * Nothing here checks permissions. Failure: all errors come before the first change. Any thread;
 * the inode lock is held exclusively, so that mode and data changes of one file have an order.
 */
#include "attr.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "op.h"
#include "truncate.h"

/* ---- reading ------------------------------------------------------------------------------- */

struct attr_look {
    uint64_t ino;
    struct fs_inode inode;
};

static int look_inode(struct fs_reader *reader, void *context)
{
    struct attr_look *look = context;
    return inode_read(reader, look->ino, &look->inode);
}

int fs_getattr(struct fs *fs, struct fs_thread *thread, uint64_t ino, struct fs_attr *out)
{
    struct attr_look look = {.ino = ino};
    int error = op_look(fs, thread, look_inode, &look);
    if (error == 0) {
        inode_to_attr(&look.inode, out);
    }
    return error;
}

/* ---- changing ------------------------------------------------------------------------------ */

uint32_t attr_mode_without_privilege(uint32_t mode)
{
    uint32_t gone = S_ISUID;
    if ((mode & S_IXGRP) != 0) {
        gone |= S_ISGID;
    }
    return mode & ~gone;
}

/* Whether this change takes privileges from the file, and the capability attribute. */
static bool drops_privilege(const struct fs_inode *inode, uint32_t mask)
{
    return !S_ISDIR(inode->mode) && (mask & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_PRIV)) != 0;
}

static bool drops_caps(const struct fs_inode *inode, uint32_t mask)
{
    return drops_privilege(inode, mask) || (mask & FS_SET_SIZE) != 0;
}

static int prepare_acl(struct fs_txn *txn, const struct fs_inode *inode, struct attr_change *change)
{
    change->has_acl =
        (change->mask & FS_SET_MODE) != 0 && (inode->presence & FS_INODE_HAS_ACL) != 0;
    if (!change->has_acl) {
        return 0;
    }
    int error = xattr_find(&txn->reader, inode->ino, xattr_name_acl, &change->acl);
    if (error == 0 && !change->acl.found) {
        return fs_damage(txn->fs, inode->ino, fs_block(0), "access list is missing");
    }
    if (error == 0) {
        error =
            xattr_copy(&txn->reader, inode->ino, &change->acl, change->list, sizeof(change->list));
    }
    if (error == 0 && (acl_check(change->list, change->acl.value_bytes) != 0 ||
                       acl_is_empty(change->acl.value_bytes))) {
        return fs_damage(txn->fs, inode->ino, fs_block(0), "access list is wrong");
    }
    if (error == 0) {
        error = xattr_prepare(txn, inode->ino, &change->acl);
    }
    return error;
}

int attr_prepare(struct fs_txn *txn,
                 const struct fs_inode *inode,
                 struct attr_change *change,
                 struct txn_need *need)
{
    struct fs_key key = fs_key(inode->ino, FS_ITEM_INODE, 0);
    memset(&change->caps, 0, sizeof(change->caps));
    if (drops_caps(inode, change->mask) && (inode->presence & FS_INODE_HAS_CAPS) != 0) {
        if (change->rewrites == 0) {
            change->rewrites = 1;
            need->removes++;
            return -EAGAIN;
        }
        int error = xattr_caps_prepare(txn, inode, &change->caps);
        if (error != 0) {
            return error;
        }
    }
    int error = prepare_acl(txn, inode, change);
    return error == 0 ? btree_prepare(txn, &key) : error;
}

static void apply_times(struct fs_inode *inode, const struct attr_change *change)
{
    const struct fs_attr *in = change->in;
    uint32_t mask = change->mask;
    struct fs_time now = inode_now();
    if ((mask & (FS_SET_ATIME | FS_SET_ATIME_NOW)) != 0) {
        inode->atime = (mask & FS_SET_ATIME_NOW) != 0 ? now : in->atime;
    }
    if ((mask & (FS_SET_MTIME | FS_SET_MTIME_NOW)) != 0) {
        inode->mtime = (mask & FS_SET_MTIME_NOW) != 0 ? now : in->mtime;
    } else if ((mask & FS_SET_SIZE) != 0) {
        inode->mtime = now;
    }
    inode->ctime = (mask & FS_SET_CTIME) != 0 ? in->ctime : now;
}

static void apply_mode(struct fs_inode *inode, const struct attr_change *change)
{
    const struct fs_attr *in = change->in;
    bool drop = drops_privilege(inode, change->mask);
    if ((change->mask & FS_SET_MODE) != 0) {
        inode->mode = (inode->mode & (uint32_t)S_IFMT) | (in->mode & (uint32_t)ALLPERMS);
    } else if (drop) {
        inode->mode = attr_mode_without_privilege(inode->mode);
    }
}

int attr_apply(struct fs_txn *txn, struct fs_inode *inode, const struct attr_change *change)
{
    const struct fs_attr *in = change->in;
    int error = xattr_caps_drop(txn, inode, &change->caps);
    if (error != 0) {
        return error;
    }
    apply_mode(inode, change);
    if ((change->mask & FS_SET_UID) != 0) {
        inode->uid = in->uid;
    }
    if ((change->mask & FS_SET_GID) != 0) {
        inode->gid = in->gid;
    }
    if ((change->mask & FS_SET_FLAGS) != 0) {
        inode->flags = in->flags;
    }
    apply_times(inode, change);
    if (!change->has_acl) {
        return 0;
    }
    uint8_t list[FS_XATTR_SPECIAL_MAX];
    memcpy(list, change->list, change->acl.value_bytes);
    acl_apply_mode(list, change->acl.value_bytes, inode->mode);
    const struct xattr_value value = {.bytes = list, .count = change->acl.value_bytes};
    return xattr_put(txn, inode, xattr_name_acl, &change->acl, &value);
}

struct attr_set {
    uint64_t ino;
    struct attr_change change;
    struct txn_need need;
    struct fs_inode inode; /* the result */
};

static int set_body(struct fs_txn *txn, void *context)
{
    struct attr_set *set = context;
    int error = inode_read(&txn->reader, set->ino, &set->inode);
    if (error == 0) {
        error = attr_prepare(txn, &set->inode, &set->change, &set->need);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = attr_apply(txn, &set->inode, &set->change);
    if (error == 0) {
        error = inode_write(txn, &set->inode);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

int fs_setattr(struct fs *fs,
               struct fs_thread *thread,
               uint64_t ino,
               const struct fs_attr *in,
               uint32_t mask,
               struct fs_attr *out)
{
    struct attr_set set = {
        .ino = ino,
        .change = {.in = in, .mask = mask},
        .need = {.updates = 2, .deep = true},
    };
    const struct op_change change = {
        .need = &set.need,
        .lock_ino = ino,
        .body = set_body,
        .context = &set,
    };
    if ((mask & FS_SET_SIZE) != 0) {
        return truncate_set(fs, thread, ino, in, mask, out);
    }
    int error = op_change(fs, thread, &change);
    if (error == 0) {
        inode_to_attr(&set.inode, out);
    }
    return error;
}
