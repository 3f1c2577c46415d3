/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See model.h. Here: the state, choosing operations, and what each of them has to do. */
#include "model.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "model_parts.h"

#define XATTR_NAMES 4u
#define MODEL_BLOCK ((uint64_t)BLOCK_BYTES)

static struct model_inode *inode_of(const struct model *model, uint32_t id)
{
    ck_assert_uint_lt(id, model->count);
    return &model->inodes[id];
}

static uint32_t add_inode(struct model *model, uint32_t mode, uint32_t parent)
{
    ck_assert_uint_lt(model->count, MODEL_IDS_MAX);
    uint32_t id = model->count;
    model->count++;
    struct model_inode *inode = &model->inodes[id];
    memset(inode, 0, sizeof(*inode));
    inode->alive = true;
    inode->mode = mode;
    inode->uid = 1000;
    inode->gid = 1000;
    inode->nlink = S_ISDIR(mode) ? 2 : 1;
    inode->parent = parent;
    return id;
}

static void drop_contents(struct model_inode *inode)
{
    for (uint32_t i = 0; i < inode->page_count; i++) {
        free(inode->pages[i]);
    }
    free(inode->pages);
    for (unsigned i = 0; i < XATTR_NAMES; i++) {
        free(inode->xattrs[i].value);
    }
    memset(inode, 0, sizeof(*inode));
}

void model_init(struct model *model)
{
    model->inodes = calloc(MODEL_IDS_MAX, sizeof(*model->inodes));
    ck_assert_ptr_nonnull(model->inodes);
    model->count = 0;
    uint32_t root = add_inode(model, S_IFDIR | 0755, 0);
    model->inodes[root].uid = 0;
    model->inodes[root].gid = 0;
}

void model_fini(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        drop_contents(&model->inodes[i]);
    }
    free(model->inodes);
}

/* ---- contents ------------------------------------------------------------------------------ */

const struct model_page *model_find_page(const struct model_inode *inode, uint64_t block)
{
    for (uint32_t i = 0; i < inode->page_count; i++) {
        if (inode->pages[i]->block == block) {
            return inode->pages[i];
        }
    }
    return NULL;
}

static struct model_page *make_page(struct model_inode *inode, uint64_t block)
{
    for (uint32_t i = 0; i < inode->page_count; i++) {
        if (inode->pages[i]->block == block) {
            return inode->pages[i];
        }
    }
    if (inode->page_count == inode->page_room) {
        inode->page_room = inode->page_room == 0 ? 8 : inode->page_room * 2;
        inode->pages = realloc(inode->pages, inode->page_room * sizeof(struct model_page *));
        ck_assert_ptr_nonnull(inode->pages);
    }
    struct model_page *page = calloc(1, sizeof(*page));
    ck_assert_ptr_nonnull(page);
    page->block = block;
    inode->pages[inode->page_count] = page;
    inode->page_count++;
    return page;
}

/* Zeros from `begin` to `end`. */
static void zero_range(struct model_inode *inode, uint64_t begin, uint64_t end)
{
    for (uint32_t i = 0; i < inode->page_count; i++) {
        struct model_page *page = inode->pages[i];
        uint64_t at = page->block * BLOCK_BYTES;
        uint64_t from = max_u64(at, begin);
        uint64_t to = min_u64(at + BLOCK_BYTES, end);
        if (from < to) {
            memset(page->data + (from - at), 0, to - from);
        }
    }
}

void model_fill_bytes(uint64_t seed, uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(kit_random(&seed) | 1);
    }
}

static void write_bytes(struct model_inode *inode, uint64_t offset, const uint8_t *data, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint64_t at = offset + i;
        struct model_page *page = make_page(inode, at / BLOCK_BYTES);
        uint32_t in_page = (uint32_t)(at % BLOCK_BYTES);
        uint32_t part = (uint32_t)min_u64(BLOCK_BYTES - in_page, n - i);
        memcpy(page->data + in_page, data + i, part);
        i += part;
    }
    inode->size = max_u64(inode->size, offset + n);
}

/* ---- what the operations do ---------------------------------------------------------------- */

static uint32_t named(const struct model *model, uint32_t dir, uint32_t name)
{
    return inode_of(model, dir)->names[name];
}

static int apply_make(struct model *model, const struct model_op *op)
{
    if (named(model, op->dir, op->name) != 0) {
        return -EEXIST;
    }
    uint32_t mode = op->mode & ~(S_ISLNK(op->mode) ? 0u : 022u);
    uint32_t id = add_inode(model, mode, op->dir);
    struct model_inode *dir = inode_of(model, op->dir);
    struct model_inode *inode = inode_of(model, id);
    if ((dir->mode & S_ISGID) != 0) {
        inode->gid = dir->gid;
        inode->mode |= S_ISDIR(mode) ? S_ISGID : 0u;
    }
    if (S_ISLNK(mode)) {
        inode->target_bytes = op->bytes;
        inode->size = op->bytes;
    }
    dir->names[op->name] = id + 1;
    dir->nlink += S_ISDIR(mode) ? 1 : 0;
    return 0;
}

static void lose_name(struct model *model, uint32_t id)
{
    struct model_inode *inode = inode_of(model, id);
    inode->nlink = S_ISDIR(inode->mode) ? 0 : inode->nlink - 1;
    inode->open = inode->nlink == 0;
}

static bool is_empty(const struct model_inode *dir)
{
    for (unsigned i = 0; i < MODEL_NAMES_MAX; i++) {
        if (dir->names[i] != 0) {
            return false;
        }
    }
    return true;
}

static int apply_link(struct model *model, const struct model_op *op)
{
    struct model_inode *inode = inode_of(model, op->id);
    if (S_ISDIR(inode->mode)) {
        return -EPERM;
    }
    if (inode->nlink == 0) {
        return -ENOENT;
    }
    if (named(model, op->dir, op->name) != 0) {
        return -EEXIST;
    }
    inode->nlink++;
    inode_of(model, op->dir)->names[op->name] = op->id + 1;
    return 0;
}

static int apply_unlink(struct model *model, const struct model_op *op)
{
    uint32_t there = named(model, op->dir, op->name);
    struct model_inode *dir = inode_of(model, op->dir);
    if (there == 0) {
        return -ENOENT;
    }
    struct model_inode *inode = inode_of(model, there - 1);
    if (op->kind == MODEL_UNLINK && S_ISDIR(inode->mode)) {
        return -EISDIR;
    }
    if (op->kind == MODEL_RMDIR) {
        if (!S_ISDIR(inode->mode)) {
            return -ENOTDIR;
        }
        if (!is_empty(inode)) {
            return -ENOTEMPTY;
        }
        dir->nlink--;
    }
    dir->names[op->name] = 0;
    lose_name(model, there - 1);
    return 0;
}

/* Whether `id` is `inside` or above it. */
static bool is_above(const struct model *model, uint32_t id, uint32_t inside)
{
    for (uint32_t at = inside;; at = inode_of(model, at)->parent) {
        if (at == id) {
            return true;
        }
        if (at == MODEL_ROOT) {
            return false;
        }
    }
}

static int rename_problem(const struct model *model, const struct model_op *op)
{
    uint32_t from = named(model, op->dir, op->name);
    uint32_t to = named(model, op->dir2, op->name2);
    bool exchange = (op->flags & RENAME_EXCHANGE) != 0;
    if (from == 0 || (exchange && to == 0)) {
        return -ENOENT;
    }
    if (to != 0 && (op->flags & RENAME_NOREPLACE) != 0) {
        return -EEXIST;
    }
    if (from == to) {
        return 0;
    }
    bool from_dir = S_ISDIR(inode_of(model, from - 1)->mode);
    bool to_dir = to != 0 && S_ISDIR(inode_of(model, to - 1)->mode);
    if (from_dir && is_above(model, from - 1, op->dir2)) {
        return -EINVAL;
    }
    if (exchange) {
        return to_dir && is_above(model, to - 1, op->dir) ? -EINVAL : 0;
    }
    if (to == 0) {
        return 0;
    }
    if (from_dir && !to_dir) {
        return -ENOTDIR;
    }
    if (!from_dir && to_dir) {
        return -EISDIR;
    }
    return to_dir && !is_empty(inode_of(model, to - 1)) ? -ENOTEMPTY : 0;
}

static int apply_rename(struct model *model, const struct model_op *op)
{
    uint32_t from = named(model, op->dir, op->name);
    uint32_t to = named(model, op->dir2, op->name2);
    int error = rename_problem(model, op);
    if (error != 0 || from == to) {
        return error;
    }
    struct model_inode *dir = inode_of(model, op->dir);
    struct model_inode *dir2 = inode_of(model, op->dir2);
    struct model_inode *moved = inode_of(model, from - 1);
    bool from_dir = S_ISDIR(moved->mode);
    bool to_dir = to != 0 && S_ISDIR(inode_of(model, to - 1)->mode);
    dir->nlink -= from_dir ? 1 : 0;
    dir2->nlink += from_dir ? 1 : 0;
    dir2->nlink -= to_dir ? 1 : 0;
    dir->names[op->name] = 0;
    dir2->names[op->name2] = from;
    moved->parent = op->dir2;
    if ((op->flags & RENAME_EXCHANGE) != 0) {
        dir->names[op->name] = to;
        dir->nlink += to_dir ? 1 : 0;
        inode_of(model, to - 1)->parent = op->dir;
    } else if (to != 0) {
        lose_name(model, to - 1);
    }
    return 0;
}

static int data_problem(const struct model_inode *inode)
{
    if (S_ISREG(inode->mode)) {
        return 0;
    }
    return S_ISDIR(inode->mode) ? -EISDIR : -EINVAL;
}

static int apply_data(struct model *model, const struct model_op *op)
{
    struct model_inode *inode = inode_of(model, op->id);
    int error = data_problem(inode);
    if (error != 0) {
        return error;
    }
    uint64_t end = op->offset + op->bytes;
    if (op->kind == MODEL_WRITE) {
        uint8_t *data = malloc(op->bytes);
        ck_assert_ptr_nonnull(data);
        model_fill_bytes(op->seed, data, op->bytes);
        write_bytes(inode, op->offset, data, op->bytes);
        free(data);
        return 0;
    }
    if (op->kind == MODEL_TRUNCATE) {
        zero_range(inode, op->offset, UINT64_MAX);
        inode->size = op->offset;
        return 0;
    }
    if ((op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
        zero_range(inode, op->offset, end);
    }
    if ((op->flags & FALLOC_FL_KEEP_SIZE) == 0) {
        inode->size = max_u64(inode->size, end);
    }
    return 0;
}

static int apply_attr(struct model *model, const struct model_op *op)
{
    struct model_inode *inode = inode_of(model, op->id);
    if (op->kind == MODEL_CHMOD) {
        inode->mode = (inode->mode & S_IFMT) | (op->mode & 07777);
        return 0;
    }
    inode->uid = op->mode;
    inode->gid = op->bytes;
    if (!S_ISDIR(inode->mode)) {
        inode->mode &= ~(uint32_t)S_ISUID;
        inode->mode &= (inode->mode & S_IXGRP) != 0 ? ~(uint32_t)S_ISGID : ~0u;
    }
    return 0;
}

static int apply_xattr(struct model *model, const struct model_op *op)
{
    struct model_inode *inode = inode_of(model, op->id);
    struct model_xattr *xattr = &inode->xattrs[op->name];
    if (model_xattr_is_user(op->name) && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode)) {
        return -EPERM;
    }
    if (op->kind == MODEL_REMOVE_XATTR) {
        if (xattr->value == NULL) {
            return -ENODATA;
        }
        free(xattr->value);
        xattr->value = NULL;
        return 0;
    }
    if (xattr->value != NULL && (op->flags & XATTR_CREATE) != 0) {
        return -EEXIST;
    }
    if (xattr->value == NULL && (op->flags & XATTR_REPLACE) != 0) {
        return -ENODATA;
    }
    free(xattr->value);
    xattr->bytes = op->bytes;
    xattr->value = malloc(op->bytes + 1);
    ck_assert_ptr_nonnull(xattr->value);
    model_fill_bytes(op->seed, xattr->value, op->bytes);
    return 0;
}

static void evict_open(struct model *model)
{
    for (uint32_t i = 0; i < model->count; i++) {
        if (model->inodes[i].alive && model->inodes[i].open) {
            drop_contents(&model->inodes[i]);
        }
    }
}

int model_apply(struct model *model, const struct model_op *op)
{
    switch (op->kind) {
    case MODEL_MAKE: return apply_make(model, op);
    case MODEL_LINK: return apply_link(model, op);
    case MODEL_UNLINK:
    case MODEL_RMDIR: return apply_unlink(model, op);
    case MODEL_RENAME: return apply_rename(model, op);
    case MODEL_WRITE:
    case MODEL_TRUNCATE:
    case MODEL_FALLOCATE: return apply_data(model, op);
    case MODEL_CHMOD:
    case MODEL_CHOWN: return apply_attr(model, op);
    case MODEL_SET_XATTR:
    case MODEL_REMOVE_XATTR: return apply_xattr(model, op);
    case MODEL_EVICT:
        if (inode_of(model, op->id)->open) {
            drop_contents(inode_of(model, op->id));
        }
        return 0;
    case MODEL_REMOUNT: evict_open(model); return 0;
    case MODEL_SYNC:
    case MODEL_KINDS:
    default: return 0;
    }
}

/* ---- choosing ------------------------------------------------------------------------------ */

static uint32_t
pick_id(const struct model *model, uint64_t *state, bool (*fits)(const struct model_inode *))
{
    for (unsigned tries = 0; tries < 64; tries++) {
        /* the young ones more often */
        uint64_t back = kit_below(state, kit_below(state, 2) == 0 ? 12 : model->count);
        uint32_t id = (uint32_t)(back < model->count ? model->count - 1 - back : 0);
        if (model->inodes[id].alive && fits(&model->inodes[id])) {
            return id;
        }
    }
    return MODEL_ROOT;
}

static bool is_live_dir(const struct model_inode *inode)
{
    return S_ISDIR(inode->mode) && inode->nlink > 0;
}

static bool is_any(const struct model_inode *inode)
{
    (void)inode; /* every one */
    return true;
}

static bool is_file(const struct model_inode *inode)
{
    return S_ISREG(inode->mode);
}

static bool is_open(const struct model_inode *inode)
{
    return inode->open;
}

static void choose_make(struct model_op *op, uint64_t *state)
{
    static const uint32_t types[] = {
        S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO};
    uint32_t type = types[kit_below(state, 8)];
    op->mode = type | (type == S_IFLNK ? 0777 : (uint32_t)kit_below(state, 01000));
    if (type == S_IFDIR && kit_below(state, 4) == 0) {
        op->mode |= S_ISGID;
    }
    op->bytes =
        1 + (uint32_t)kit_below(state, kit_below(state, 4) == 0 ? FS_SYMLINK_BYTES_MAX : 60);
}

static uint64_t choose_offset(uint64_t *state)
{
    switch (kit_below(state, 10)) {
    case 0: return (UINT64_C(1) << 41) + kit_below(state, MODEL_BLOCK * 3);
    case 1:
    case 2: return kit_below(state, 200) * MODEL_BLOCK;
    case 3: return 0;
    case 4:
    case 5: return kit_below(state, MODEL_BLOCK * 3);
    default: return kit_below(state, MODEL_BLOCK * 120);
    }
}

static void choose_data(struct model_op *op, const struct model *model, uint64_t *state)
{
    static const int modes[] = {0,
                                FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    op->id = pick_id(model, state, is_file);
    op->offset = choose_offset(state);
    if (kit_below(state, 4) == 0) {
        op->offset = inode_of(model, op->id)->size; /* append, or to the same size */
    }
    switch (kit_below(state, 5)) {
    case 0: op->bytes = 1 + (uint32_t)kit_below(state, 100); break;
    case 1: op->bytes = (1 + (uint32_t)kit_below(state, 40)) * BLOCK_BYTES; break;
    case 2: op->bytes = 1 + (uint32_t)kit_below(state, MODEL_BLOCK * 90); break;
    default: op->bytes = 1 + (uint32_t)kit_below(state, MODEL_BLOCK * 3); break;
    }
    op->flags = modes[kit_below(state, 6)];
}

static void choose_xattr(struct model_op *op, const struct model *model, uint64_t *state)
{
    static const int flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE};
    op->id = pick_id(model, state, is_any);
    op->name = (uint32_t)kit_below(state, XATTR_NAMES);
    op->flags = flags[kit_below(state, 5)];
    switch (kit_below(state, 4)) {
    case 0: op->bytes = (uint32_t)kit_below(state, FS_XATTR_VALUE_BYTES_MAX + 1); break;
    case 1: op->bytes = (uint32_t)kit_below(state, FS_XATTR_INLINE_MAX + 100); break;
    default: op->bytes = (uint32_t)kit_below(state, 60); break;
    }
}

static enum model_kind choose_kind(uint64_t *state)
{
    static const struct {
        enum model_kind kind;
        uint32_t weight;
    } table[] = {
        {MODEL_MAKE, 16},
        {MODEL_LINK, 5},
        {MODEL_UNLINK, 9},
        {MODEL_RMDIR, 4},
        {MODEL_RENAME, 12},
        {MODEL_WRITE, 24},
        {MODEL_TRUNCATE, 7},
        {MODEL_FALLOCATE, 8},
        {MODEL_CHMOD, 2},
        {MODEL_CHOWN, 2},
        {MODEL_SET_XATTR, 7},
        {MODEL_REMOVE_XATTR, 3},
        {MODEL_EVICT, 6},
        {MODEL_SYNC, 4},
        {MODEL_REMOUNT, 1},
    };
    uint64_t at = kit_below(state, 110);
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (at < table[i].weight) {
            return table[i].kind;
        }
        at -= table[i].weight;
    }
    return MODEL_WRITE;
}

struct model_op model_next(const struct model *model, uint64_t seed, uint64_t index)
{
    uint64_t state = seed * 1000003 + index;
    (void)kit_random(&state); /* neighbouring seeds begin alike */
    struct model_op op = {.kind = choose_kind(&state), .seed = kit_random(&state)};
    op.dir = pick_id(model, &state, is_live_dir);
    op.name = (uint32_t)kit_below(&state, MODEL_NAMES_MAX);
    op.dir2 = pick_id(model, &state, is_live_dir);
    op.name2 = (uint32_t)kit_below(&state, MODEL_NAMES_MAX);
    op.id = pick_id(model, &state, is_any);
    switch (op.kind) {
    case MODEL_MAKE: choose_make(&op, &state); break;
    case MODEL_RENAME:
        op.flags = (int)(kit_below(&state, 2) == 0 ? 0 : kit_below(&state, 3));
        break;
    case MODEL_WRITE:
    case MODEL_TRUNCATE:
    case MODEL_FALLOCATE: choose_data(&op, model, &state); break;
    case MODEL_CHMOD: op.mode = (uint32_t)kit_below(&state, 010000); break;
    case MODEL_CHOWN:
        op.mode = (uint32_t)kit_below(&state, 100000);
        op.bytes = (uint32_t)kit_below(&state, 100000);
        break;
    case MODEL_SET_XATTR:
    case MODEL_REMOVE_XATTR: choose_xattr(&op, model, &state); break;
    case MODEL_EVICT: op.id = pick_id(model, &state, is_open); break;
    case MODEL_LINK:
    case MODEL_UNLINK:
    case MODEL_RMDIR:
    case MODEL_SYNC:
    case MODEL_REMOUNT:
    case MODEL_KINDS:
    default: break;
    }
    return op;
}

const char *model_describe(const struct model_op *op, char text[256])
{
    static const char *const names[MODEL_KINDS] = {"make",
                                                   "link",
                                                   "unlink",
                                                   "rmdir",
                                                   "rename",
                                                   "write",
                                                   "truncate",
                                                   "fallocate",
                                                   "chmod",
                                                   "chown",
                                                   "setx",
                                                   "remove",
                                                   "evict",
                                                   "sync",
                                                   "remount"};
    (void)snprintf(text,
                   256,
                   "%s id=%u dir=%u name=%u dir2=%u name2=%u offset=%llu bytes=%u mode=%o flags=%x",
                   names[op->kind],
                   op->id,
                   op->dir,
                   op->name,
                   op->dir2,
                   op->name2,
                   (unsigned long long)op->offset,
                   op->bytes,
                   op->mode,
                   (unsigned)op->flags); /* cut short at worst */
    return text;
}
