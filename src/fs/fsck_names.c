/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Directory entries and what follows from them: links, parents, what cannot be reached.
 *
 *     entries, directory after directory  -> links, subdirectories, found_parent in ck->inodes
 *     directories, each up its parents    -> loops, which are cut at one of them
 *     ck->inodes                          -> stored counts against found; no name: lost+found
 *
 * A directory has one name. Of several the one counts that its own parent field speaks for, else
 * the first; the others are dropped. Entries of one hash follow each other, so that a name that
 * stands twice is found among at most 256.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "dir.h"
#include "fsck.h"
#include "name.h"

/* ---- entries --------------------------------------------------------------------------------- */

static struct fsck_inode *inode_at(struct fsck *ck, size_t index)
{
    return (struct fsck_inode *)(void *)ck->inodes.data + index;
}

/* Whether the entry stands where its name belongs, once; else notes what becomes of it. */
static bool check_place(struct fsck *ck, const struct fsck_item *item, struct fs_name name)
{
    uint64_t base = item->key.offset & ~(uint64_t)FS_HASH_INDEX_MAX;
    char quoted[FSCK_QUOTED_BYTES];
    if (base != name_offset(ck->shell, name)) {
        fsck_say(ck,
                 FSCK_ENTRY,
                 true,
                 "inode %llu: entry %s at %llu is not where its hash says",
                 (unsigned long long)item->key.ino,
                 fsck_quote(name, quoted),
                 (unsigned long long)item->key.offset);
        fsck_add_fix(ck, FSCK_FIX_ENTRY_MOVE, item->key, 0);
        return true; /* it stays an entry */
    }
    if (ck->now->inode.ino != item->key.ino || base != ck->now->name_base) {
        ck->now->inode.ino = item->key.ino;
        ck->now->name_base = base;
        fsck_forget_names(ck);
    }
    if (fsck_name_is_known(ck, name)) {
        fsck_drop_item(ck, item, FSCK_ENTRY, "the name stands there twice");
        return false;
    }
    return true;
}

/* The entry loses the directory that it names to another one. */
static void drop_second_name(struct fsck *ck, uint64_t dir, uint64_t offset, uint64_t ino)
{
    fsck_say(ck,
             FSCK_ENTRY,
             true,
             "inode %llu: entry at %llu is a second name of directory %llu: it is removed",
             (unsigned long long)dir,
             (unsigned long long)offset,
             (unsigned long long)ino);
    fsck_add_fix(ck, FSCK_FIX_REMOVE, fs_key(dir, FS_ITEM_DIRENT, offset), 0);
}

/* A directory's name. False: it has another. */
static bool name_directory(struct fsck *ck,
                           const struct fsck_item *item,
                           struct fsck_inode *dir,
                           struct fsck_inode *target)
{
    if (target->links > 0) {
        bool better = target->parent == dir->ino && target->found_parent != dir->ino;
        if (!better) {
            drop_second_name(ck, dir->ino, item->key.offset, target->ino);
            return false;
        }
        struct fsck_inode *other = fsck_find_inode(ck, target->found_parent);
        drop_second_name(ck, target->found_parent, target->entry_offset, target->ino);
        if (other != NULL) {
            other->entries--;
            other->subdirs--;
        }
        target->links = 0;
    }
    target->found_parent = dir->ino;
    target->entry_offset = item->key.offset;
    dir->subdirs++;
    return true;
}

static const char *
target_problem(const struct fsck_inode *dir, const struct fsck_inode *target, uint64_t ino)
{
    if (target == NULL) {
        return "names an inode that does not exist";
    }
    if (ino == FS_ROOT_INO || ino == dir->ino) {
        return "names the root or its own directory";
    }
    if ((target->flags & FSCK_INODE_DELETE) != 0 && S_ISDIR(target->mode) && target->nlink == 0) {
        return "names a directory that was removed";
    }
    return NULL;
}

static void look_at_entry(struct fsck *ck, const struct fsck_item *item, struct fsck_inode *dir)
{
    struct dir_entry entry;
    struct fs_name name;
    char quoted[FSCK_QUOTED_BYTES];
    const char *problem = dir_decode(item->data, item->bytes, &entry, &name);
    if (problem != NULL) {
        fsck_drop_item(ck, item, FSCK_ENTRY, problem);
        return;
    }
    struct fsck_inode *target = fsck_find_inode(ck, entry.ino);
    problem = target_problem(dir, target, entry.ino);
    if (problem != NULL) {
        fsck_say(ck,
                 FSCK_ENTRY,
                 true,
                 "inode %llu: entry %s (inode %llu) %s: it is removed",
                 (unsigned long long)dir->ino,
                 fsck_quote(name, quoted),
                 (unsigned long long)entry.ino,
                 problem);
        fsck_add_fix(ck, FSCK_FIX_REMOVE, item->key, 0);
        return;
    }
    if (!check_place(ck, item, name) ||
        (S_ISDIR(target->mode) && !name_directory(ck, item, dir, target))) {
        return;
    }
    if (entry.type != (target->mode & (uint32_t)S_IFMT)) {
        fsck_say(ck,
                 FSCK_ENTRY,
                 true,
                 "inode %llu: entry %s has type %o, inode %llu has %o",
                 (unsigned long long)dir->ino,
                 fsck_quote(name, quoted),
                 entry.type,
                 (unsigned long long)entry.ino,
                 target->mode & (uint32_t)S_IFMT);
        fsck_add_fix(ck, FSCK_FIX_ENTRY_TYPE, item->key, target->mode & (uint32_t)S_IFMT);
    }
    dir->entries++;
    target->links += target->links < UINT32_MAX ? 1 : 0;
}

static int look_at_item(struct fsck *ck, const struct fsck_item *item)
{
    if (item->key.type != FS_ITEM_DIRENT) {
        return 0;
    }
    struct fsck_inode *dir = fsck_find_inode(ck, item->key.ino);
    if (dir != NULL && S_ISDIR(dir->mode)) {
        look_at_entry(ck, item, dir);
    } /* else fsck_inodes.c has dropped it */
    return ck->out_of_memory ? -ENOMEM : 0;
}

/* ---- loops ----------------------------------------------------------------------------------- */

static struct fsck_inode *parent_of(struct fsck *ck, const struct fsck_inode *inode)
{
    return inode->links > 0 ? fsck_find_inode(ck, inode->found_parent) : NULL;
}

/* The directory's name is taken away; it will get one in lost+found. */
static void cut_loop(struct fsck *ck, struct fsck_inode *inode)
{
    struct fsck_inode *parent = parent_of(ck, inode);
    fsck_say(ck,
             FSCK_LINK,
             true,
             "inode %llu: directory is below itself (its entry is in inode %llu)",
             (unsigned long long)inode->ino,
             (unsigned long long)inode->found_parent);
    fsck_add_fix(
        ck, FSCK_FIX_REMOVE, fs_key(inode->found_parent, FS_ITEM_DIRENT, inode->entry_offset), 0);
    inode->links = 0;
    if (parent != NULL) {
        parent->entries--;
        parent->subdirs--;
    }
}

/* Goes up from each directory until it meets the track of an earlier one, or its own. */
static void find_loops(struct fsck *ck)
{
    for (size_t i = 0; i < ck->inodes.count; i++) {
        uint32_t mark = (uint32_t)i + 1;
        struct fsck_inode *up = inode_at(ck, i);
        if (!S_ISDIR(up->mode)) {
            continue;
        }
        while (up != NULL && up->mark == 0) {
            up->mark = mark;
            up = parent_of(ck, up);
        }
        if (up != NULL && up->mark == mark) {
            cut_loop(ck, up);
        }
    }
}

/* ---- links ----------------------------------------------------------------------------------- */

static void compare_link(struct fsck *ck,
                         const struct fsck_inode *inode,
                         enum fsck_field field,
                         uint64_t stored,
                         uint64_t right)
{
    static const char *const names[] = {
        [FSCK_FIELD_SIZE] = "number of entries",
        [FSCK_FIELD_PARENT] = "parent",
        [FSCK_FIELD_NLINK] = "link count",
    };
    if (stored == right) {
        return;
    }
    if ((inode->flags & FSCK_INODE_REMADE) == 0) {
        fsck_say(ck,
                 FSCK_LINK,
                 true,
                 "inode %llu: %s is %llu, should be %llu",
                 (unsigned long long)inode->ino,
                 names[field],
                 (unsigned long long)stored,
                 (unsigned long long)right);
    }
    fsck_set_field(ck, inode->ino, field, right);
}

/* No name leads to it, and it is not on its way out either. */
static void adopt(struct fsck *ck, const struct fsck_inode *inode)
{
    fsck_say(ck,
             FSCK_LINK,
             true,
             "inode %llu: no name leads to it%s",
             (unsigned long long)inode->ino,
             ck->repair ? ": it gets one in lost+found" : "");
    fsck_add_fix(ck, FSCK_FIX_ADOPT, fs_key(inode->ino, FS_ITEM_INODE, 0), 0);
}

static void check_directory(struct fsck *ck, const struct fsck_inode *inode)
{
    bool root = inode->ino == FS_ROOT_INO;
    bool named = root || inode->links > 0;
    if (!named && (inode->flags & FSCK_INODE_DELETE) != 0 && inode->entries == 0) {
        compare_link(ck, inode, FSCK_FIELD_NLINK, inode->nlink, 0);
        return;
    }
    compare_link(ck, inode, FSCK_FIELD_SIZE, inode->size, inode->entries);
    compare_link(ck, inode, FSCK_FIELD_NLINK, inode->nlink, (uint64_t)inode->subdirs + 2);
    if (named) {
        uint64_t parent = root ? FS_ROOT_INO : inode->found_parent;
        compare_link(ck, inode, FSCK_FIELD_PARENT, inode->parent, parent);
    } else {
        adopt(ck, inode);
    }
}

static void check_other(struct fsck *ck, const struct fsck_inode *inode)
{
    if (inode->parent != 0) {
        compare_link(ck, inode, FSCK_FIELD_PARENT, inode->parent, 0);
    }
    if (inode->links > 0 || (inode->flags & FSCK_INODE_DELETE) != 0) {
        compare_link(ck, inode, FSCK_FIELD_NLINK, inode->nlink, inode->links);
    } else {
        adopt(ck, inode);
    }
}

/* A name and a record that says to delete: the name wins. */
static void check_delete(struct fsck *ck, const struct fsck_inode *inode)
{
    bool kept = inode->links > 0 || inode->ino == FS_ROOT_INO ||
                (S_ISDIR(inode->mode) && inode->entries > 0);
    if ((inode->flags & FSCK_INODE_DELETE) != 0 && kept) {
        fsck_say(ck,
                 FSCK_LINK,
                 true,
                 "inode %llu: is in use, but its orphan record says to delete it",
                 (unsigned long long)inode->ino);
        fsck_add_fix(ck,
                     FSCK_FIX_ORPHAN,
                     fs_key(inode->ino, FS_ITEM_INODE, 0),
                     FS_ORPHAN_TRUNCATE | FS_ORPHAN_XATTR);
    }
}

int fsck_check_names(struct fsck *ck)
{
    memset(ck->now, 0, sizeof(*ck->now));
    fsck_forget_names(ck);
    int error = fsck_each_item(ck, true, look_at_item);
    if (error != 0) {
        return error;
    }
    find_loops(ck);
    for (size_t i = 0; i < ck->inodes.count; i++) {
        const struct fsck_inode *inode = inode_at(ck, i);
        check_delete(ck, inode);
        if (S_ISDIR(inode->mode)) {
            check_directory(ck, inode);
        } else {
            check_other(ck, inode);
        }
    }
    return ck->out_of_memory ? -ENOMEM : 0;
}
