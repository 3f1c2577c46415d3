/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Setting and removing extended attributes.
 *
 *     small value    one transaction
 *     large value    1. record XATTR(new id)      2. chunks, in steps
 *                    3. item names the new id, record XATTR(old id) or gone   4. old chunks
 *     removing       item gone, record XATTR(old id) where it had chunks; then those, in steps
 *
 *   S1  chunks are named by the item or by the record at every commit (X2): a crash or an error
 *       between the steps leaves the old value whole, and mount or the next call frees the rest
 *   S2  permission bits and access list change in one transaction (A2 in acl.c)
 *
 * Locks are dropped between the steps. A writer that finds the record to name another value than
 * its own begins again; one that finds a record at its beginning finishes that first. Failure:
 * errors before the first change leave nothing; -ENOSPC in the midst of the chunks gives them
 * back. Any thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "acl.h"
#include "fs_internal.h"
#include "name.h"
#include "op.h"
#include "orphan.h"
#include "r5fs/base/msg.h"
#include "xattr.h"

#define CHUNKS_STEP_MAX 16u

struct xattr_set {
    uint64_t ino;
    struct fs_name name;
    enum xattr_kind kind;
    const uint8_t *value; /* NULL: remove */
    uint32_t bytes;
    int flags;
    bool kill_sgid;
    struct txn_need need;
    bool old_chunks;    /* the need allows for a record of the old value */
    uint32_t value_id;  /* of the chunks written; large values only */
    uint32_t chunk;     /* next to write */
    uint32_t chunk_end; /* of the step */
    bool finish_first;  /* the record names chunks of somebody else */
    bool finish_after;  /* the record names the old value's chunks */
};

/* ---- what is allowed ----------------------------------------------------------------------- */

static int check_type(const struct xattr_set *set, const struct fs_inode *inode)
{
    bool plain = S_ISREG(inode->mode) || S_ISDIR(inode->mode);
    switch (set->kind) {
    case XATTR_USER: return plain ? 0 : -EPERM;
    case XATTR_ACL: return S_ISLNK(inode->mode) ? -EOPNOTSUPP : 0;
    case XATTR_DEFAULT_ACL:
        if (S_ISLNK(inode->mode)) {
            return -EOPNOTSUPP;
        }
        return S_ISDIR(inode->mode) || set->value == NULL ? 0 : -EACCES;
    case XATTR_TRUSTED:
    case XATTR_SECURITY:
    case XATTR_CAPS:
    default: return 0;
    }
}

static bool is_acl(enum xattr_kind kind)
{
    return kind == XATTR_ACL || kind == XATTR_DEFAULT_ACL;
}

/* Kept in one item, whatever its size: read and changed within other operations' transactions. */
static bool is_special(enum xattr_kind kind)
{
    return is_acl(kind) || kind == XATTR_CAPS;
}

static int check_existing(const struct xattr_set *set, const struct xattr_place *place)
{
    if (set->value == NULL) {
        return place->found || is_acl(set->kind) ? 0 : -ENODATA;
    }
    if (place->found && (set->flags & XATTR_CREATE) != 0) {
        return -EEXIST;
    }
    if (!place->found && (set->flags & XATTR_REPLACE) != 0) {
        return -ENODATA;
    }
    return 0;
}

static int check_value(struct xattr_set *set)
{
    if ((set->flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0 ||
        set->flags == (XATTR_CREATE | XATTR_REPLACE)) {
        return -EINVAL;
    }
    if (set->bytes > FS_XATTR_VALUE_BYTES_MAX) {
        return -E2BIG;
    }
    if (is_acl(set->kind)) {
        int error = acl_check(set->value, set->bytes);
        if (error != 0) {
            return error;
        }
        if (acl_is_empty(set->bytes)) {
            set->value = NULL;
        }
    }
    if (set->bytes > FS_XATTR_SPECIAL_MAX && is_special(set->kind)) {
        return -ENOSPC;
    }
    return 0;
}

/* ---- the item ------------------------------------------------------------------------------ */

/* Everything that the last (or only) transaction looks at. */
struct set_look {
    struct fs_inode inode;
    struct xattr_place place;
    struct orphan orphan;
    bool remove;
};

static bool is_large(const struct xattr_set *set)
{
    return set->value != NULL && set->bytes > FS_XATTR_INLINE_MAX && !is_special(set->kind);
}

/* The record is free for this operation: unused, or naming the chunks that it has just written. */
static int check_record(struct xattr_set *set, const struct orphan *orphan)
{
    bool used = (orphan->what & FS_ORPHAN_XATTR) != 0;
    if (is_large(set)) {
        if (used && orphan->value_id == set->value_id) {
            return 0;
        }
        return -ECANCELED;
    }
    set->finish_first = used;
    return used ? -ECANCELED : 0;
}

static int set_look(struct fs_txn *txn, const struct xattr_set *set, struct set_look *look)
{
    int error = inode_read(&txn->reader, set->ino, &look->inode);
    if (error == 0) {
        error = check_type(set, &look->inode);
    }
    if (error == 0) {
        error = xattr_find(&txn->reader, set->ino, set->name, &look->place);
    }
    if (error == 0) {
        error = check_existing(set, &look->place);
    }
    if (error == 0) {
        error = orphan_read(&txn->reader, &look->inode, &look->orphan);
    }
    return error;
}

/* The record is needed for the chunks of the new value, of the old one, or both in turn. */
static int set_look_record(struct xattr_set *set, const struct set_look *look)
{
    if (!look->place.chunked && !is_large(set)) {
        return 0;
    }
    int error = check_record(set, &look->orphan);
    if (error == 0 && look->place.chunked && !set->old_chunks) {
        set->old_chunks = true;
        set->need.inserts++;
        error = -EAGAIN;
    }
    return error;
}

static int set_prepare(struct fs_txn *txn, struct xattr_set *set, const struct set_look *look)
{
    struct fs_key key = fs_key(set->ino, FS_ITEM_INODE, 0);
    int error = btree_prepare(txn, &key);
    if (error == 0) {
        error = xattr_prepare(txn, set->ino, &look->place);
    }
    if (error == 0 && (look->place.chunked || is_large(set))) {
        error = orphan_prepare(txn, set->ino);
    }
    return error;
}

/* The access list and the permission bits follow each other; a list that says no more is
 * dropped. */
static void set_mode(const struct xattr_set *set, struct set_look *look)
{
    look->remove = set->value == NULL;
    if (set->kind == XATTR_ACL && set->value != NULL) {
        bool plain;
        look->inode.mode = acl_to_mode(set->value, set->bytes, look->inode.mode, &plain);
        look->remove = plain;
        if (set->kill_sgid) {
            look->inode.mode &= ~(uint32_t)S_ISGID;
        }
    }
}

static int set_apply(struct fs_txn *txn, struct xattr_set *set, struct set_look *look)
{
    const struct xattr_value value = {
        .bytes = is_large(set) ? NULL : set->value,
        .count = set->bytes,
        .id = set->value_id,
    };
    int error = 0;
    if (!look->remove) {
        error = xattr_put(txn, &look->inode, set->name, &look->place, &value);
    } else if (look->place.found) {
        error = xattr_drop(txn, &look->inode, set->name, &look->place);
    }
    if (error == 0 && (look->place.chunked || is_large(set))) {
        struct orphan orphan = look->orphan;
        orphan.what &= ~FS_ORPHAN_XATTR;
        orphan.what |= look->place.chunked ? FS_ORPHAN_XATTR : 0;
        orphan.value_id = look->place.value_id;
        error = orphan_write(txn, &look->inode, &orphan);
        set->finish_after = look->place.chunked;
    }
    look->inode.ctime = inode_now();
    return error == 0 ? inode_write(txn, &look->inode) : error;
}

static int set_body(struct fs_txn *txn, void *context)
{
    struct xattr_set *set = context;
    struct set_look look;
    int error = set_look(txn, set, &look);
    if (error == 0) {
        error = set_look_record(set, &look);
    }
    if (error == 0) {
        error = set_prepare(txn, set, &look);
    }
    if (error != 0) {
        return error;
    }
    set_mode(set, &look);
    txn_change(txn);
    error = set_apply(txn, set, &look);
    return error == 0 ? 0 : txn_broken(txn, error);
}

static int set_item(struct fs *fs, struct fs_thread *thread, struct xattr_set *set)
{
    const struct op_change change = {
        .need = &set->need,
        .lock_ino = set->ino,
        .body = set_body,
        .context = set,
    };
    bool shrinks = set->value == NULL;
    set->need = (struct txn_need){
        .inserts = shrinks ? 0 : 1,
        .removes = (shrinks || is_acl(set->kind) ? 1u : 0u) + (is_large(set) ? 1u : 0u),
        .updates = 3,
        .deep = shrinks,
    };
    set->old_chunks = false;
    return op_change(fs, thread, &change);
}

/* ---- chunks -------------------------------------------------------------------------------- */

/* Step 1: the record names the chunks before there are any. */
static int chunks_begin(struct fs_txn *txn, void *context)
{
    struct xattr_set *set = context;
    struct set_look look;
    struct fs_key key = fs_key(set->ino, FS_ITEM_INODE, 0);
    int error = set_look(txn, set, &look);
    if (error == 0 && (look.orphan.what & FS_ORPHAN_XATTR) != 0) {
        set->finish_first = true;
        error = -ECANCELED;
    }
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0) {
        error = orphan_prepare(txn, set->ino);
    }
    if (error != 0) {
        return error;
    }
    set->value_id = look.inode.xattr_next;
    look.inode.xattr_next++;
    look.orphan.what |= FS_ORPHAN_XATTR;
    look.orphan.value_id = set->value_id;
    txn_change(txn);
    error = orphan_write(txn, &look.inode, &look.orphan);
    if (error == 0) {
        error = inode_write(txn, &look.inode);
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

static struct fs_key chunk_key(uint64_t ino, uint32_t value_id, uint32_t chunk)
{
    return fs_key(ino, FS_ITEM_XATTR_CHUNK, (uint64_t)value_id << 8 | chunk);
}

/* Step 2. */
static int chunks_write(struct fs_txn *txn, void *context)
{
    struct xattr_set *set = context;
    struct fs_inode inode;
    struct orphan orphan;
    int error = inode_read(&txn->reader, set->ino, &inode);
    if (error == 0) {
        error = orphan_read(&txn->reader, &inode, &orphan);
    }
    if (error == 0) {
        error = check_record(set, &orphan);
    }
    for (uint32_t i = set->chunk; error == 0 && i < set->chunk_end; i++) {
        struct fs_key key = chunk_key(set->ino, set->value_id, i);
        error = btree_prepare(txn, &key);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    for (uint32_t i = set->chunk; error == 0 && i < set->chunk_end; i++) {
        struct fs_key key = chunk_key(set->ino, set->value_id, i);
        uint32_t at = i * FS_CHUNK_BYTES;
        error = btree_insert(txn,
                             &key,
                             set->value + at,
                             (uint32_t)min_u64(FS_CHUNK_BYTES, (uint64_t)set->bytes - at));
    }
    return error == 0 ? 0 : txn_broken(txn, error);
}

static int set_chunks(struct fs *fs, struct fs_thread *thread, struct xattr_set *set)
{
    struct op_change change = {
        .need = &set->need,
        .lock_ino = set->ino,
        .body = chunks_begin,
        .context = set,
    };
    uint32_t chunks = (uint32_t)div_round_up(set->bytes, FS_CHUNK_BYTES);
    set->need = (struct txn_need){.inserts = 1, .updates = 2};
    int error = op_change(fs, thread, &change);
    set->chunk = 0;
    change.body = chunks_write;
    while (error == 0 && set->chunk < chunks) {
        const struct txn_need each = {.inserts = 1};
        set->need = (struct txn_need){.updates = 0};
        uint64_t step = min_u64(txn_steps_max(fs, &set->need, &each), CHUNKS_STEP_MAX);
        set->chunk_end = (uint32_t)min_u64(set->chunk + step, chunks);
        set->need.inserts = set->chunk_end - set->chunk;
        error = op_change(fs, thread, &change);
        set->chunk = set->chunk_end;
    }
    return error;
}

/* ---- finishing ----------------------------------------------------------------------------- */

struct chunk_finish {
    uint64_t ino;
    struct txn_need need;
    uint32_t step;
    bool done;
    uint32_t count;
    bool more;
    struct fs_key keys[CHUNKS_STEP_MAX];
};

static int finish_collect(struct fs_reader *reader, struct chunk_finish *finish, uint32_t value_id)
{
    struct fs_key key = chunk_key(finish->ino, value_id, 0);
    uint64_t last = key.offset | 0xff;
    struct btree_path path;
    finish->count = 0;
    finish->more = false;
    btree_path_init(&path, reader);
    int error = btree_seek(&path, &key);
    while (error == 0) {
        key = btree_key(&path);
        if (key.ino != finish->ino || key.type != FS_ITEM_XATTR_CHUNK || key.offset > last) {
            break;
        }
        if (finish->count == finish->step) {
            finish->more = true;
            break;
        }
        finish->keys[finish->count] = key;
        finish->count++;
        error = btree_next(&path);
    }
    btree_path_release(&path);
    return error == -ENOENT ? 0 : error;
}

static int finish_apply(struct fs_txn *txn,
                        const struct chunk_finish *finish,
                        struct fs_inode *inode,
                        struct orphan *orphan)
{
    int error = 0;
    for (uint32_t i = 0; error == 0 && i < finish->count; i++) {
        error = btree_remove(txn, &finish->keys[i]);
    }
    if (error == 0 && !finish->more) {
        orphan->what &= ~FS_ORPHAN_XATTR;
        error = orphan_write(txn, inode, orphan);
        if (error == 0) {
            error = inode_write(txn, inode);
        }
    }
    return error;
}

static int finish_body(struct fs_txn *txn, void *context)
{
    struct chunk_finish *finish = context;
    struct fs_inode inode;
    struct orphan orphan;
    struct fs_key key = fs_key(finish->ino, FS_ITEM_INODE, 0);
    int error = inode_read(&txn->reader, finish->ino, &inode);
    if (error == 0) {
        error = orphan_read(&txn->reader, &inode, &orphan);
    }
    if (error == 0 && (orphan.what & FS_ORPHAN_XATTR) == 0) {
        finish->done = true;
        return 0;
    }
    if (error == 0) {
        error = finish_collect(&txn->reader, finish, orphan.value_id);
    }
    if (error == 0) {
        error = btree_prepare(txn, &key);
    }
    if (error == 0) {
        error = orphan_prepare(txn, finish->ino);
    }
    for (uint32_t i = 0; error == 0 && i < finish->count; i++) {
        error = btree_prepare(txn, &finish->keys[i]);
    }
    if (error != 0) {
        return error;
    }
    txn_change(txn);
    error = finish_apply(txn, finish, &inode, &orphan);
    finish->done = !finish->more;
    return error == 0 ? 0 : txn_broken(txn, error);
}

int xattr_finish(struct fs *fs, struct fs_thread *thread, uint64_t ino)
{
    struct chunk_finish finish = {
        .ino = ino,
        .need = {.removes = 1, .updates = 2, .deep = true},
    };
    const struct op_change change = {
        .need = &finish.need,
        .lock_ino = ino,
        .body = finish_body,
        .context = &finish,
    };
    int error = 0;
    const struct txn_need each = {.removes = 1};
    finish.step = (uint32_t)min_u64(txn_steps_max(fs, &finish.need, &each), CHUNKS_STEP_MAX);
    finish.need.removes += finish.step;
    while (error == 0 && !finish.done) {
        error = op_change(fs, thread, &change);
    }
    return error;
}

/* ---- the door ------------------------------------------------------------------------------ */

static int set_once(struct fs *fs, struct fs_thread *thread, struct xattr_set *set)
{
    int error = 0;
    set->finish_first = false;
    set->finish_after = false;
    if (is_large(set)) {
        error = set_chunks(fs, thread, set);
    }
    if (error == 0) {
        error = set_item(fs, thread, set);
    }
    return error;
}

static int set_all(struct fs *fs, struct fs_thread *thread, struct xattr_set *set)
{
    int error;
    for (;;) {
        error = set_once(fs, thread, set);
        if (error != -ECANCELED) {
            break;
        }
        if (set->finish_first) {
            error = xattr_finish(fs, thread, set->ino);
            if (error != 0) {
                return error;
            }
        }
    }
    bool leftover = set->finish_after || (error != 0 && is_large(set));
    if (leftover && xattr_finish(fs, thread, set->ino) != 0) {
        /* The record goes on naming the chunks, for the next call or mount. */
        msg_debug("xattr", "unfinished ino=%llu", (unsigned long long)set->ino);
    }
    return error;
}

int fs_setxattr(struct fs *fs,
                struct fs_thread *thread,
                uint64_t ino,
                struct fs_name name,
                const uint8_t *value,
                size_t size,
                int flags,
                bool kill_sgid)
{
    static const uint8_t nothing[1];
    struct xattr_set set = {
        .ino = ino,
        .name = name,
        .value = size > 0 ? value : nothing,
        .bytes = (uint32_t)min_u64(size, UINT32_MAX),
        .flags = flags,
        .kill_sgid = kill_sgid,
    };
    int error = xattr_kind_of(name, &set.kind);
    if (error == 0) {
        error = check_value(&set);
    }
    return error == 0 ? set_all(fs, thread, &set) : error;
}

int fs_removexattr(struct fs *fs, struct fs_thread *thread, uint64_t ino, struct fs_name name)
{
    struct xattr_set set = {.ino = ino, .name = name};
    int error = xattr_kind_of(name, &set.kind);
    return error == 0 ? set_all(fs, thread, &set) : error;
}
