/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Extended attributes as items, for the operations that keep them in step with an inode's mode. */
#ifndef R5FS_FS_XATTR_H
#define R5FS_FS_XATTR_H

#include <stdbool.h>
#include <stdint.h>

#include "fs_format.h"
#include "inode.h"
#include "r5fs/base/check.h"
#include "r5fs/fs/fs.h"

struct fs;
struct fs_reader;
struct fs_thread;
struct fs_txn;

/* Why a name is special; what every kind may do is in xattr_kinds (xattr.c). */
enum xattr_kind {
    XATTR_USER,
    XATTR_TRUSTED,
    XATTR_SECURITY,
    XATTR_CAPS, /* security.capability */
    XATTR_ACL,
    XATTR_DEFAULT_ACL,
};

extern const struct fs_name xattr_name_acl;
extern const struct fs_name xattr_name_default_acl;
extern const struct fs_name xattr_name_caps;

/* -EOPNOTSUPP for any other namespace, -EINVAL for a namespace without a name, -ERANGE too long. */
R5_MUST_CHECK int xattr_kind_of(struct fs_name name, enum xattr_kind *out_kind);

/* Where an attribute is, or could be put. */
struct xattr_place {
    uint64_t offset; /* of its item, or a free one */
    bool found;
    bool chunked;
    bool only; /* the inode has no other attribute */
    uint32_t value_bytes;
    uint32_t value_id; /* of a chunked one */
};

/* Without the attribute: 0 and out->found false. -ENOSPC: 256 names of its hash. */
R5_MUST_CHECK int xattr_find(struct fs_reader *reader,
                             uint64_t ino,
                             struct fs_name name,
                             struct xattr_place *out_place);
/* Copies a value that is kept in the item. -ERANGE: it has more than `max` bytes. */
R5_MUST_CHECK int xattr_copy(struct fs_reader *reader,
                             uint64_t ino,
                             const struct xattr_place *place,
                             uint8_t *value,
                             uint32_t max);
R5_MUST_CHECK int xattr_prepare(struct fs_txn *txn, uint64_t ino, const struct xattr_place *place);

struct xattr_value {
    const uint8_t *bytes; /* NULL: in the chunks of `id` */
    uint32_t count;
    uint32_t id;
};

/* Change phase: inserts or replaces (one insert; an update where it gets no longer). Sets presence
 * bits in *inode; the caller writes it. */
R5_MUST_CHECK int xattr_put(struct fs_txn *txn,
                            struct fs_inode *inode,
                            struct fs_name name,
                            const struct xattr_place *place,
                            const struct xattr_value *value);
/* Change phase: one remove. A chunked value's chunks are the caller's business. */
R5_MUST_CHECK int xattr_drop(struct fs_txn *txn,
                             struct fs_inode *inode,
                             struct fs_name name,
                             const struct xattr_place *place);

/* Dropping security.capability where a write, truncate or chown has to: look phase (fills *place,
 * not found when there is none), then change phase. One remove where inode.presence has
 * FS_INODE_HAS_CAPS. */
R5_MUST_CHECK int
xattr_caps_prepare(struct fs_txn *txn, const struct fs_inode *inode, struct xattr_place *out_place);
R5_MUST_CHECK int
xattr_caps_drop(struct fs_txn *txn, struct fs_inode *inode, const struct xattr_place *place);

/* Frees the chunks that the inode's orphan record names, in steps. Harmless without. */
R5_MUST_CHECK int xattr_finish(struct fs *fs, struct fs_thread *thread, uint64_t ino);

/* Item bytes: NULL when right (name and value point into `data`), else what is wrong. */
struct xattr_item {
    struct fs_name name;
    const uint8_t *value; /* NULL when chunked */
    uint32_t value_bytes;
    uint32_t value_id;
    bool chunked;
};
const char *xattr_decode(const uint8_t *data, uint32_t bytes, struct xattr_item *out_item);

#endif
