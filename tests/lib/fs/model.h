/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a filesystem should be, in plain memory, and random operations on it. The model knows the
 * answer of each operation beforehand, errors included, and the same seed gives the same
 * operations, so that its state after any operation can be made again without a filesystem.
 */
#ifndef R5FS_TESTS_MODEL_H
#define R5FS_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "op_kit.h"

#define MODEL_ROOT      0u /* id of the root */
#define MODEL_NAMES_MAX 14u
#define MODEL_IDS_MAX   8192u

struct model_page {
    uint64_t block;
    uint8_t data[BLOCK_BYTES];
};

struct model_xattr {
    uint32_t name; /* number */
    uint32_t bytes;
    uint8_t *value;
};

struct model_inode {
    bool alive;
    bool open; /* nobody names it; not evicted yet */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint64_t size;
    uint32_t parent;
    uint32_t names[MODEL_NAMES_MAX]; /* directories: id + 1 of what each name names; 0: nothing */
    struct model_page **pages;
    uint32_t page_count;
    uint32_t page_room;
    struct model_xattr xattrs[4];
    uint32_t target_bytes;
};

struct model {
    struct model_inode *inodes; /* by id */
    uint32_t count;
};

enum model_kind {
    MODEL_MAKE,
    MODEL_LINK,
    MODEL_UNLINK,
    MODEL_RMDIR,
    MODEL_RENAME,
    MODEL_WRITE,
    MODEL_TRUNCATE,
    MODEL_FALLOCATE,
    MODEL_CHMOD,
    MODEL_CHOWN,
    MODEL_SET_XATTR,
    MODEL_REMOVE_XATTR,
    MODEL_EVICT,
    MODEL_SYNC,
    MODEL_REMOUNT,
    MODEL_KINDS,
};

struct model_op {
    enum model_kind kind;
    uint32_t id;  /* of the inode it is about */
    uint32_t dir; /* where its name is */
    uint32_t name;
    uint32_t dir2;
    uint32_t name2;
    uint64_t offset;
    uint32_t bytes;
    uint32_t mode;
    int flags;
    uint64_t seed; /* of contents */
};

void model_init(struct model *model);
void model_fini(struct model *model);
/* Operation number `index` of the run with this seed, on the model as it is. */
struct model_op model_next(const struct model *model, uint64_t seed, uint64_t index);
/* Does it and returns what the filesystem has to answer. */
int model_apply(struct model *model, const struct model_op *op);
/* Does it to the filesystem. `inos`: inode numbers by id, filled in for new ones. `before`: the
 * model without the operation. */
int model_run(struct kit *kit,
              const struct model *before,
              const struct model_op *op,
              uint64_t inos[MODEL_IDS_MAX]);
/* Everything that can be reached from the root is the same. Contents of `loose` (an id;
 * UINT32_MAX: none) are not looked at. Says where the first difference is. */
bool model_equals(struct kit *kit, const struct model *model, uint32_t loose, char why[256]);
const char *model_describe(const struct model_op *op, char text[256]);

#endif
