/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fs_setattr changes besides the size, for truncate to do in the same transaction. */
#ifndef R5FS_FS_ATTR_H
#define R5FS_FS_ATTR_H

#include <stdbool.h>
#include <stdint.h>

#include "acl.h"
#include "fs_format.h"
#include "inode.h"
#include "r5fs/base/check.h"
#include "r5fs/fs/fs.h"
#include "txn.h"
#include "xattr.h"

struct fs_txn;

struct attr_change {
    const struct fs_attr *in;
    uint32_t mask;     /* FS_SET_* */
    uint32_t rewrites; /* the need allows for the list and security.capability */
    bool has_acl;      /* the access list follows the mode */
    struct xattr_place acl;
    struct xattr_place caps;
    uint8_t list[FS_XATTR_SPECIAL_MAX];
};

/* Updates: 2. Look phase, with the inode as it is; raises need->removes and answers -EAGAIN when
 * attributes have to go that the need does not allow for. */
R5_MUST_CHECK int attr_prepare(struct fs_txn *txn,
                               const struct fs_inode *inode,
                               struct attr_change *change,
                               struct txn_need *need);
/* Change phase. The caller writes the inode. */
R5_MUST_CHECK int
attr_apply(struct fs_txn *txn, struct fs_inode *inode, const struct attr_change *change);

/* Linux' rule for whom privileges are taken from: suid goes, sgid goes where the group may
 * execute. */
uint32_t attr_mode_without_privilege(uint32_t mode);

#endif
