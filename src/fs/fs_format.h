/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filesystem's bytes on the volume (docs/spec_filesystem.md). Little-endian, no alignment.
 *
 *   group 0                                group 1                        last group
 *   | super | bitmap | summary | blocks .. | bitmap | blocks ........ |  | bitmap | .. | super copy
 *   |
 *
 * A group has exactly one bitmap block, at its start (group 0: behind the super). The group whose
 * number is a multiple of FS_SUMMARY_GROUPS holds, right behind its bitmap, the summary block of
 * the FS_SUMMARY_GROUPS groups from it on. Groups from super.groups_used on were never touched:
 * their bitmaps and summaries are not read, everything but those fixed blocks is free there.
 */
#ifndef R5FS_FS_FS_FORMAT_H
#define R5FS_FS_FS_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/endian.h"
#include "r5fs/base/units.h"

#define FS_FORMAT_VERSION 1u
#define FS_MAGIC_SUPER    0x53463552u /* "R5FS" */
#define FS_MAGIC_NODE     0x4e463552u /* "R5FN" */
#define FS_MAGIC_BITMAP   0x42463552u /* "R5FB" */
#define FS_MAGIC_SUMMARY  0x47463552u /* "R5FG" */

/* First in every metadata block. */
struct fs_block_header {
    le32 magic;
    le32 crc32c;        /* crc32c(~0, ...) of the block without these four bytes, not inverted */
    le64 address;       /* the block's own */
    uint8_t fs_uuid[8]; /* first half of the filesystem's uuid */
    le64 generation;    /* transaction that wrote it last */
};
_Static_assert(sizeof(struct fs_block_header) == 32, "pinned by the format");

/* ---- super: block 0, copy in the last block of the volume
 * -------------------------------------- */

#define FS_SUPER_WRITE_THROUGH 0x1u /* flags: the journal mode this filesystem was made for */
#define FS_SUPER_MOUNTED       0x2u /* flags: mounted for writing, no clean unmount since */

struct fs_super_disk {
    struct fs_block_header header;
    le32 version;
    le32 flags;
    le64 features_compat;   /* unknown bits: harmless */
    le64 features_ro;       /* unknown bits: read-only */
    le64 features_incompat; /* unknown bits: refused */
    uint8_t fs_uuid[16];
    uint8_t array_uuid[16];
    uint8_t label[32]; /* UTF-8, filled with NUL */
    le64 volume_blocks;
    le32 group_blocks;
    le32 group_count;
    le32 groups_used;    /* groups whose bitmap exists */
    le32 meta_group;     /* tree nodes are allocated there */
    le32 reserve_blocks; /* not for files */
    le32 tree_levels;    /* of the root: level + 1 */
    le64 tree_root;
    le64 next_ino;
    le64 free_blocks; /* clear bits of all groups, untouched ones counted as they would begin */
    le64 inode_count;
    le64 txn;
    le64 journal_generation; /* + 1 at each mount for writing */
    le64 name_seed;          /* of directory name hashes */
    le64 made_seconds;
    le64 log_seq;           /* newest durable unit of the log when this was sealed; 0: not known */
    uint8_t log_device[16]; /* device_uuid of the journal that log_seq counts in */
    uint8_t zero[4096 - 248];
};
_Static_assert(sizeof(struct fs_super_disk) == BLOCK_BYTES, "pinned by the format");
_Static_assert(offsetof(struct fs_super_disk, fs_uuid) == 64, "pinned by the format");
_Static_assert(offsetof(struct fs_super_disk, volume_blocks) == 128, "pinned by the format");
_Static_assert(offsetof(struct fs_super_disk, tree_root) == 160, "pinned by the format");
_Static_assert(offsetof(struct fs_super_disk, made_seconds) == 216, "pinned by the format");
_Static_assert(offsetof(struct fs_super_disk, log_device) == 232, "pinned by the format");

/* ---- groups
 * ------------------------------------------------------------------------------------ */

#define FS_BITMAP_BITS 32512u /* most blocks of a group */

struct fs_bitmap_disk {
    struct fs_block_header header;
    uint8_t bits[BLOCK_BYTES - 32]; /* bit i: block i of the group is in use; beyond its end: set */
};
_Static_assert(sizeof(struct fs_bitmap_disk) == BLOCK_BYTES, "pinned by the format");
_Static_assert(sizeof(((struct fs_bitmap_disk *)0)->bits) * 8 == FS_BITMAP_BITS, "all of its bits");

struct fs_group_disk {
    le32 free_blocks;
    le32 longest_run; /* no free run is longer (a bound, not exact) */
};

#define FS_SUMMARY_GROUPS 508u

struct fs_summary_disk {
    struct fs_block_header header;
    struct fs_group_disk groups[FS_SUMMARY_GROUPS];
};
_Static_assert(sizeof(struct fs_summary_disk) == BLOCK_BYTES, "pinned by the format");

/* ---- tree
 * -------------------------------------------------------------------------------------- */

#define FS_TREE_LEVELS_MAX 8u

struct fs_key_disk {
    le64 ino;
    uint8_t type;
    le64 offset;
};
_Static_assert(sizeof(struct fs_key_disk) == 17, "pinned by the format");

struct fs_node_disk {
    struct fs_block_header header;
    uint8_t level; /* 0 = leaf */
    uint8_t zero;
    le16 count;
    le16 data_begin; /* leaf: lowest byte of the data area; else 0 */
    le16 data_hole;  /* leaf: bytes of the data area that no item uses; else 0 */
};
_Static_assert(sizeof(struct fs_node_disk) == 40, "pinned by the format");

/* Leaf: headers follow the node header in key order; data lies from data_begin to the block's
 * end. */
struct fs_item_disk {
    struct fs_key_disk key;
    le16 data_offset; /* from the start of the block */
    le16 data_bytes;
};
_Static_assert(sizeof(struct fs_item_disk) == 21, "pinned by the format");

/* Internal node: the child holds keys from `key` to the next child's (exclusive). */
struct fs_child_disk {
    struct fs_key_disk key;
    le64 address;
};
_Static_assert(sizeof(struct fs_child_disk) == 25, "pinned by the format");

#define FS_NODE_ROOM      (BLOCK_BYTES - 40u)
#define FS_CHILDREN_MAX   (FS_NODE_ROOM / 25u)
#define FS_ITEM_BYTES_MAX 1920u /* of data: two of the largest always fit into one leaf */
_Static_assert(2 * (FS_ITEM_BYTES_MAX + 21u) <= FS_NODE_ROOM, "a split always works");

/* ---- items
 * ------------------------------------------------------------------------------------- */

enum fs_item_type {
    FS_ITEM_INODE = 1,       /* offset 0 */
    FS_ITEM_XATTR = 2,       /* offset: name hash << 8 | index among equal hashes */
    FS_ITEM_XATTR_CHUNK = 3, /* offset: value id << 8 | chunk */
    FS_ITEM_SYMLINK = 4,     /* offset: chunk */
    FS_ITEM_DIRENT = 8,      /* offset: name hash << 8 | index among equal hashes; below 2^63 */
    FS_ITEM_EXTENT = 16,     /* offset: first file block */
    FS_ITEM_ORPHAN = 32,     /* ino 0; offset: inode number */
    FS_ITEM_INFLIGHT = 33,   /* ino 0; reserved for rows-in-flight records */
};

#define FS_HASH_BITS      55u
#define FS_HASH_INDEX_MAX 255u

#define FS_INODE_HAS_XATTR       0x1u  /* presence: any extended attribute */
#define FS_INODE_HAS_ACL         0x2u  /* system.posix_acl_access */
#define FS_INODE_HAS_DEFAULT_ACL 0x4u  /* system.posix_acl_default */
#define FS_INODE_HAS_CAPS        0x8u  /* security.capability */
#define FS_INODE_HAS_ORPHAN      0x10u /* an orphan item of this number exists */

struct fs_time_disk {
    le64 seconds; /* signed */
    le32 nanoseconds;
};

struct fs_inode_disk {
    le64 generation; /* random, for NFS handles */
    le64 size;       /* bytes; directories: entries */
    le64 blocks;     /* allocated to its extents */
    le64 parent;     /* directories: the parent's number; else 0 */
    le32 mode;
    le32 nlink;
    le32 uid;
    le32 gid;
    le32 rdev_major;
    le32 rdev_minor;
    le32 flags;    /* FS_IOC_GETFLAGS bits */
    le32 presence; /* FS_INODE_HAS_* */
    struct fs_time_disk atime;
    struct fs_time_disk mtime;
    struct fs_time_disk ctime;
    struct fs_time_disk btime;
    le32 xattr_next; /* id of the next value that is kept in chunks */
    uint8_t zero[44];
};
_Static_assert(sizeof(struct fs_inode_disk) == 160, "pinned by the format");
_Static_assert(offsetof(struct fs_inode_disk, atime) == 64, "pinned by the format");

#define FS_DIRENT_NAME_AT 10u
struct fs_dirent_disk {
    le64 ino;
    uint8_t type; /* S_IFMT >> 12 */
    uint8_t name_bytes;
    /* the name */
};
_Static_assert(sizeof(struct fs_dirent_disk) == FS_DIRENT_NAME_AT, "pinned by the format");

#define FS_EXTENT_UNWRITTEN  0x1u
#define FS_EXTENT_BLOCKS_MAX 32512u

struct fs_extent_disk {
    le64 start;  /* volume block */
    le32 length; /* blocks, 1 to FS_EXTENT_BLOCKS_MAX; within one group */
    le32 flags;
};
_Static_assert(sizeof(struct fs_extent_disk) == 16, "pinned by the format");

#define FS_XATTR_CHUNKED    0x1u
#define FS_XATTR_INLINE_MAX 1024u
/* Access lists and security.capability are never in chunks: what an item holds beside the longest
 * of their names. 235 entries of a list. */
#define FS_XATTR_SPECIAL_MAX 1884u
#define FS_CHUNK_BYTES       1900u /* of a symlink or chunked value; the last may be shorter */

struct fs_xattr_disk {
    le32 value_bytes;
    le32 value_id; /* with FS_XATTR_CHUNKED */
    uint8_t flags;
    uint8_t name_bytes; /* of the full name, "user.x" */
    /* the name, then the value unless chunked */
};
_Static_assert(sizeof(struct fs_xattr_disk) == 10, "pinned by the format");
_Static_assert(10 + 255 + FS_XATTR_INLINE_MAX <= FS_ITEM_BYTES_MAX, "an item holds it");
_Static_assert(10 + 24 + FS_XATTR_SPECIAL_MAX <= FS_ITEM_BYTES_MAX, "an item holds it");
_Static_assert(FS_CHUNK_BYTES <= FS_ITEM_BYTES_MAX, "an item holds it");

#define FS_ORPHAN_DELETE   0x1u /* no name is left: free everything */
#define FS_ORPHAN_TRUNCATE 0x2u /* free what lies from `size` on, rounded up to a block */
#define FS_ORPHAN_XATTR    0x4u /* free the chunks of value_id unless an attribute names them */

struct fs_orphan_disk {
    le32 what; /* bits */
    le32 value_id;
    le64 size;
};
_Static_assert(sizeof(struct fs_orphan_disk) == 16, "pinned by the format");

#endif
