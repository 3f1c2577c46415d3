/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an inode still has to be freed of: its intent record. One item per inode in the list of ino
 * 0, so that mount finds it; inode.presence says whether there is one.
 */
#ifndef R5FS_FS_ORPHAN_H
#define R5FS_FS_ORPHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "inode.h"
#include "r5fs/base/check.h"

struct fs;
struct fs_reader;
struct fs_thread;
struct fs_txn;

struct orphan {
    uint32_t what; /* FS_ORPHAN_*; 0: no record */
    uint32_t value_id;
    uint64_t size;
    bool stored; /* there is an item */
};

/* The inode's record; all zero without one. */
R5_MUST_CHECK int
orphan_read(struct fs_reader *reader, const struct fs_inode *inode, struct orphan *out_orphan);
/* Look phase, before orphan_write. */
R5_MUST_CHECK int orphan_prepare(struct fs_txn *txn, uint64_t ino);
/* Change phase: inserts, updates or removes the record as `what` says, and sets the bit in *inode,
 * which the caller then writes. One insert or remove or update. */
R5_MUST_CHECK int
orphan_write(struct fs_txn *txn, struct fs_inode *inode, const struct orphan *orphan);

const char *orphan_decode(const uint8_t *data, uint32_t bytes, struct orphan *out_orphan);

#endif
