/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names: lookup, make, link, unlink, rmdir. (rename.c moves them.)
 *
 *     make     entry + inode record [+ lists] [+ symlink target]   parent: size, times, links
 *     unlink   entry gone, links - 1; the last one leaves an orphan record: DELETE
 *
 *   N1  inode.nlink is the number of entries that name it; of a directory 2 + its subdirectories,
 *       and 0 once it was removed
 *   N2  inode.parent of a directory is the directory that holds its entry; the root's is the root
 *   N3  nothing is added to a directory whose nlink is 0
 *   N4  nlink 0 and an orphan record DELETE come in the same transaction (O1)
 *
 * No inode lock is taken: directories and link counts change in one op-lock section each. Failure:
 * every error comes before the first change. Any thread.
 */
#include "namei.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "acl.h"
#include "fs_internal.h"
#include "name.h"
#include "op.h"
#include "symlink.h"
#include "xattr.h"

/* ---- shared -------------------------------------------------------------------------------- */

int namei_read_dir(struct fs_reader *reader, uint64_t ino, struct fs_inode *out_inode)
{
    int error = inode_read(reader, ino, out_inode);
    if (error == 0 && !S_ISDIR(out_inode->mode)) {
        return -ENOTDIR;
    }
    if (error == 0 && out_inode->nlink == 0) {
        return -ENOENT;
    }
    return error;
}

int namei_read_entry(struct fs_reader *reader,
                     uint64_t dir,
                     const struct dir_entry *entry,
                     struct fs_inode *out_inode)
{
    int error = inode_read(reader, entry->ino, out_inode);
    if (error == -ENOENT) {
        return fs_damage(reader->fs, dir, fs_block(0), "entry names an inode that is not there");
    }
    return error;
}

int namei_prepare_inode(struct fs_txn *txn, uint64_t ino)
{
    struct fs_key key = fs_key(ino, FS_ITEM_INODE, 0);
    return btree_prepare(txn, &key);
}

int namei_drop_prepare(struct fs_txn *txn, struct fs_inode *inode, struct namei_drop *out_drop)
{
    out_drop->inode = inode;
    int error = orphan_read(&txn->reader, inode, &out_drop->orphan);
    if (error == 0) {
        error = orphan_prepare(txn, inode->ino);
    }
    return error == 0 ? namei_prepare_inode(txn, inode->ino) : error;
}

int namei_drop_apply(struct fs_txn *txn, struct namei_drop *drop, uint64_t *out_gone)
{
    struct fs_inode *inode = drop->inode;
    int error = 0;
    inode->nlink = S_ISDIR(inode->mode) || inode->nlink == 0 ? 0 : inode->nlink - 1;
    inode->ctime = inode_now();
    if (inode->nlink == 0) {
        drop->orphan.what |= FS_ORPHAN_DELETE;
        error = orphan_write(txn, inode, &drop->orphan);
        *out_gone = inode->ino;
    }
    return error == 0 ? inode_write(txn, inode) : error;
}

static uint64_t counted(uint64_t count, int64_t change)
{
    if (change < 0 && count < (uint64_t)-change) {
        return 0;
    }
    return count + (uint64_t)change;
}

void namei_touch_dir(struct fs_inode *dir, int64_t entries, int64_t subdirectories)
{
    dir->size = counted(dir->size, entries);
    dir->nlink = (uint32_t)max_u64(counted(dir->nlink, subdirectories), 2);
    dir->mtime = inode_now();
    dir->ctime = dir->mtime;
}

/* ---- lookup -------------------------------------------------------------------------------- */

struct namei_look {
    uint64_t parent;
    struct fs_name name;
    struct fs_inode inode; /* result */
};

static int lookup_body(struct fs_reader *reader, void *context)
{
    struct namei_look *look = context;
    struct fs_inode dir;
    struct dir_entry entry;
    if (name_is_dot(look->name)) {
        return inode_read(reader, look->parent, &look->inode);
    }
    int error = inode_read(reader, look->parent, &dir);
    if (error == 0 && !S_ISDIR(dir.mode)) {
        error = -ENOTDIR;
    }
    if (error == 0 && name_is_dot_dot(look->name)) {
        return inode_read(reader, dir.parent, &look->inode);
    }
    if (error == 0) {
        error = dir_find(reader, look->parent, look->name, &entry, NULL);
    }
    return error == 0 ? namei_read_entry(reader, look->parent, &entry, &look->inode) : error;
}

int fs_lookup(struct fs *fs,
              struct fs_thread *thread,
              uint64_t parent,
              struct fs_name name,
              struct fs_attr *out)
{
    struct namei_look look = {.parent = parent, .name = name};
    int error = name_check(name);
    if (error == 0) {
        error = op_look(fs, thread, lookup_body, &look);
    }
    if (error == 0) {
        inode_to_attr(&look.inode, out);
    }
    return error;
}

/* ---- make ---------------------------------------------------------------------------------- */

struct namei_make {
    const struct fs_caller *caller;
    uint64_t parent;
    struct fs_name name;
    const struct fs_make *make;
    struct txn_need need;
    uint32_t lists_allowed; /* inserts of the need that are for lists */
    struct fs_inode dir;
    struct fs_inode inode; /* the new one */
    struct dir_entry entry;
    bool store_access;
    bool store_default;
    uint32_t list_bytes;
    uint8_t default_list[FS_XATTR_SPECIAL_MAX];
    uint8_t access_list[FS_XATTR_SPECIAL_MAX];
};

static bool is_type(const struct namei_make *make, uint32_t type)
{
    return (make->make->mode & (uint32_t)S_IFMT) == type;
}

/* The parent's default list, if it has one, checked. */
static int make_read_default(struct fs_reader *reader, struct namei_make *make)
{
    struct xattr_place place;
    make->list_bytes = 0;
    if ((make->dir.presence & FS_INODE_HAS_DEFAULT_ACL) == 0 || is_type(make, S_IFLNK)) {
        return 0;
    }
    int error = xattr_find(reader, make->parent, xattr_name_default_acl, &place);
    if (error == 0 && place.found) {
        error = xattr_copy(
            reader, make->parent, &place, make->default_list, sizeof(make->default_list));
    }
    if (error != 0) {
        return error;
    }
    if (!place.found || acl_check(make->default_list, place.value_bytes) != 0 ||
        acl_is_empty(place.value_bytes)) {
        return fs_damage(reader->fs, make->parent, fs_block(0), "default access list is wrong");
    }
    make->list_bytes = place.value_bytes;
    return 0;
}

/* Permissions: what the default list leaves of them, or else the umask. */
static uint32_t make_mode(struct namei_make *make)
{
    uint32_t mode = make->make->mode & (uint32_t)(S_IFMT | ALLPERMS);
    make->store_access = false;
    make->store_default = false;
    if (is_type(make, S_IFLNK)) {
        return (uint32_t)(S_IFLNK | ACCESSPERMS);
    }
    if (make->list_bytes == 0) {
        mode &= ~(make->caller->umask & (uint32_t)ACCESSPERMS);
    } else {
        bool plain;
        memcpy(make->access_list, make->default_list, make->list_bytes);
        mode = acl_inherit(make->access_list, make->list_bytes, mode, &plain);
        make->store_access = !plain;
        make->store_default = is_type(make, S_IFDIR);
    }
    if (is_type(make, S_IFDIR)) {
        mode |= make->dir.mode & (uint32_t)S_ISGID;
    }
    return mode;
}

static void make_fill_inode(struct namei_make *make)
{
    const struct fs_make *from = make->make;
    const bool setgid = (make->dir.mode & (uint32_t)S_ISGID) != 0;
    const bool device = is_type(make, S_IFCHR) || is_type(make, S_IFBLK);
    const struct fs_time now = inode_now();
    make->inode = (struct fs_inode){
        .generation = env_random_u64(),
        .size = is_type(make, S_IFLNK) ? from->symlink_bytes : 0,
        .parent = is_type(make, S_IFDIR) ? make->parent : 0,
        .mode = make_mode(make),
        .nlink = is_type(make, S_IFDIR) ? 2 : 1,
        .uid = make->caller->uid,
        .gid = setgid ? make->dir.gid : make->caller->gid,
        .rdev_major = device ? from->rdev_major : 0,
        .rdev_minor = device ? from->rdev_minor : 0,
        .atime = now,
        .mtime = now,
        .ctime = now,
        .btime = now,
    };
}

static struct xattr_place make_place(const struct fs *fs, struct fs_name name)
{
    return (struct xattr_place){.offset = name_offset(fs, name)};
}

static int make_look(struct fs_txn *txn, struct namei_make *make)
{
    int error = namei_read_dir(&txn->reader, make->parent, &make->dir);
    if (error == 0) {
        error = dir_find(&txn->reader, make->parent, make->name, &make->entry, &make->entry.offset);
        error = error == 0 ? -EEXIST : error;
        error = error == -ENOENT ? 0 : error;
    }
    if (error == 0 && is_type(make, S_IFDIR) && make->dir.nlink == UINT32_MAX) {
        error = -EMLINK;
    }
    if (error == 0) {
        error = make_read_default(&txn->reader, make);
    }
    if (error != 0) {
        return error;
    }
    make_fill_inode(make);
    uint32_t lists = (make->store_access ? 1u : 0u) + (make->store_default ? 1u : 0u);
    if (lists > make->lists_allowed) {
        make->need.inserts += lists - make->lists_allowed;
        make->lists_allowed = lists;
        return -EAGAIN;
    }
    return 0;
}

static int make_prepare(struct fs_txn *txn, struct namei_make *make)
{
    uint64_t ino = make->inode.ino;
    int error = namei_prepare_inode(txn, make->parent);
    if (error == 0) {
        error = namei_prepare_inode(txn, ino);
    }
    if (error == 0) {
        error = dir_prepare(txn, make->parent, make->entry.offset);
    }
    if (error == 0 && make->store_access) {
        struct xattr_place place = make_place(txn->fs, xattr_name_acl);
        error = xattr_prepare(txn, ino, &place);
    }
    if (error == 0 && make->store_default) {
        struct xattr_place place = make_place(txn->fs, xattr_name_default_acl);
        error = xattr_prepare(txn, ino, &place);
    }
    if (error == 0 && is_type(make, S_IFLNK)) {
        error = symlink_prepare(txn, ino, make->make->symlink_bytes);
    }
    return error;
}

static int
make_put_list(struct fs_txn *txn, struct namei_make *make, struct fs_name name, const uint8_t *list)
{
    struct xattr_place place = make_place(txn->fs, name);
    const struct xattr_value value = {.bytes = list, .count = make->list_bytes};
    return xattr_put(txn, &make->inode, name, &place, &value);
}

static int make_apply(struct fs_txn *txn, struct namei_make *make)
{
    int error = 0;
    if (make->store_access) {
        error = make_put_list(txn, make, xattr_name_acl, make->access_list);
    }
    if (error == 0 && make->store_default) {
        error = make_put_list(txn, make, xattr_name_default_acl, make->default_list);
    }
    if (error == 0 && is_type(make, S_IFLNK)) {
        error = symlink_insert(
            txn, make->inode.ino, make->make->symlink_target, make->make->symlink_bytes);
    }
    if (error == 0) {
        error = inode_insert(txn, &make->inode);
    }
    if (error == 0) {
        make->entry.ino = make->inode.ino;
        make->entry.type = make->inode.mode & (uint32_t)S_IFMT;
        error = dir_add(txn, make->parent, make->name, &make->entry);
    }
    if (error == 0) {
        namei_touch_dir(&make->dir, 1, is_type(make, S_IFDIR) ? 1 : 0);
        error = inode_write(txn, &make->dir);
    }
    return error;
}

static int make_body(struct fs_txn *txn, void *context)
{
    struct namei_make *make = context;
    int error = make_look(txn, make);
    if (error != 0) {
        return error;
    }
    make->inode.ino = inode_allocate_number(txn);
    error = make_prepare(txn, make);
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = make_apply(txn, make);
    return error == 0 ? 0 : txn_broken(txn, error);
}

static int make_check(const struct fs_make *make)
{
    switch (make->mode & (uint32_t)S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK: return 0;
    case S_IFLNK:
        if (make->symlink_bytes > FS_SYMLINK_BYTES_MAX) {
            return -ENAMETOOLONG;
        }
        return make->symlink_bytes > 0 ? 0 : -ENOENT;
    default: return -EINVAL;
    }
}

int fs_make(struct fs *fs,
            struct fs_thread *thread,
            const struct fs_caller *caller,
            uint64_t parent,
            struct fs_name name,
            const struct fs_make *make,
            struct fs_attr *out)
{
    struct namei_make context = {
        .caller = caller,
        .parent = parent,
        .name = name,
        .make = make,
        .need = {.inserts = 2, .updates = 1},
    };
    const struct op_change change = {
        .need = &context.need,
        .body = make_body,
        .context = &context,
    };
    int error = name_check_entry(name);
    if (error == 0) {
        error = make_check(make);
    }
    if (error != 0) {
        return error;
    }
    if (is_type(&context, S_IFLNK)) {
        context.need.inserts += symlink_chunks(make->symlink_bytes);
    }
    error = op_change(fs, thread, &change);
    if (error == 0) {
        inode_to_attr(&context.inode, out);
    }
    return error;
}

/* ---- link ---------------------------------------------------------------------------------- */

struct namei_link {
    uint64_t ino;
    uint64_t parent;
    struct fs_name name;
    struct fs_inode inode; /* result */
};

static int link_look(struct fs_reader *reader,
                     struct namei_link *link,
                     struct fs_inode *dir,
                     struct dir_entry *entry)
{
    int error = inode_read(reader, link->ino, &link->inode);
    if (error == 0 && S_ISDIR(link->inode.mode)) {
        error = -EPERM;
    }
    if (error == 0 && link->inode.nlink == 0) {
        error = -ENOENT;
    }
    if (error == 0 && link->inode.nlink >= FS_LINKS_MAX) {
        error = -EMLINK;
    }
    if (error == 0) {
        error = namei_read_dir(reader, link->parent, dir);
    }
    if (error == 0) {
        error = dir_find(reader, link->parent, link->name, entry, &entry->offset);
        error = error == 0 ? -EEXIST : error;
        error = error == -ENOENT ? 0 : error;
    }
    return error;
}

static int link_body(struct fs_txn *txn, void *context)
{
    struct namei_link *link = context;
    struct fs_inode dir;
    struct dir_entry entry;
    int error = link_look(&txn->reader, link, &dir, &entry);
    if (error == 0) {
        error = namei_prepare_inode(txn, link->ino);
    }
    if (error == 0) {
        error = namei_prepare_inode(txn, link->parent);
    }
    if (error == 0) {
        error = dir_prepare(txn, link->parent, entry.offset);
    }
    if (error != 0) {
        return error;
    }
    entry.ino = link->ino;
    entry.type = link->inode.mode & (uint32_t)S_IFMT;
    link->inode.nlink++;
    link->inode.ctime = inode_now();
    namei_touch_dir(&dir, 1, 0);
    txn_change(txn);
    error = dir_add(txn, link->parent, link->name, &entry);
    if (error == 0) {
        error = inode_write(txn, &link->inode);
    }
    if (error == 0) {
        error = inode_write(txn, &dir);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

int fs_link(struct fs *fs,
            struct fs_thread *thread,
            uint64_t ino,
            uint64_t parent,
            struct fs_name name,
            struct fs_attr *out)
{
    struct namei_link link = {.ino = ino, .parent = parent, .name = name};
    const struct txn_need need = {.inserts = 1, .updates = 2};
    const struct op_change change = {.need = &need, .body = link_body, .context = &link};
    int error = name_check_entry(name);
    if (error == 0) {
        error = op_change(fs, thread, &change);
    }
    if (error == 0) {
        inode_to_attr(&link.inode, out);
    }
    return error;
}

/* ---- unlink, rmdir ------------------------------------------------------------------------- */

struct namei_unlink {
    uint64_t parent;
    struct fs_name name;
    bool directory; /* rmdir */
    uint64_t gone;  /* result */
};

static int unlink_look(struct fs_reader *reader,
                       const struct namei_unlink *unlink,
                       struct fs_inode *dir,
                       struct dir_entry *entry,
                       struct fs_inode *inode)
{
    int error = namei_read_dir(reader, unlink->parent, dir);
    if (error == 0) {
        error = dir_find(reader, unlink->parent, unlink->name, entry, NULL);
    }
    if (error == 0) {
        error = namei_read_entry(reader, unlink->parent, entry, inode);
    }
    if (error != 0) {
        return error;
    }
    if (!unlink->directory) {
        return S_ISDIR(inode->mode) ? -EISDIR : 0;
    }
    return S_ISDIR(inode->mode) ? dir_check_empty(reader, inode->ino) : -ENOTDIR;
}

static int unlink_body(struct fs_txn *txn, void *context)
{
    struct namei_unlink *unlink = context;
    struct fs_inode dir;
    struct fs_inode inode;
    struct dir_entry entry;
    struct namei_drop drop;
    unlink->gone = 0;
    int error = unlink_look(&txn->reader, unlink, &dir, &entry, &inode);
    if (error == 0) {
        error = namei_drop_prepare(txn, &inode, &drop);
    }
    if (error == 0) {
        error = namei_prepare_inode(txn, unlink->parent);
    }
    if (error == 0) {
        error = dir_prepare(txn, unlink->parent, entry.offset);
    }
    if (error != 0) {
        return error;
    }
    namei_touch_dir(&dir, -1, unlink->directory ? -1 : 0);
    txn_change(txn);
    error = dir_remove(txn, unlink->parent, entry.offset);
    if (error == 0) {
        error = namei_drop_apply(txn, &drop, &unlink->gone);
    }
    if (error == 0) {
        error = inode_write(txn, &dir);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

static int remove_name(struct fs *fs,
                       struct fs_thread *thread,
                       struct namei_unlink *unlink,
                       uint64_t *out_gone)
{
    const struct txn_need need = {.inserts = 1, .removes = 1, .updates = 3, .deep = true};
    const struct op_change change = {.need = &need, .body = unlink_body, .context = unlink};
    int error = name_check_entry(unlink->name);
    if (error == 0) {
        error = op_change(fs, thread, &change);
    }
    if (error == 0) {
        *out_gone = unlink->gone;
    }
    return error;
}

int fs_unlink(struct fs *fs,
              struct fs_thread *thread,
              uint64_t parent,
              struct fs_name name,
              uint64_t *out_gone)
{
    struct namei_unlink unlink = {.parent = parent, .name = name};
    return remove_name(fs, thread, &unlink, out_gone);
}

int fs_rmdir(struct fs *fs,
             struct fs_thread *thread,
             uint64_t parent,
             struct fs_name name,
             uint64_t *out_gone)
{
    struct namei_unlink unlink = {.parent = parent, .name = name, .directory = true};
    return remove_name(fs, thread, &unlink, out_gone);
}
