/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The md version-1 superblock, byte by byte (docs/SPEC.md, "md superblock"). The only place with
 * raw disk types of md; md_superblock.c turns them into numbers and back.
 *
 *   device start      4 KiB          8 KiB ...      16 KiB       1 MiB ...           data_offset
 *   | 0: not ours     | superblock   |              | bad blocks | (r5fs: checksums) | data ...
 *
 * All integers are little-endian, all sectors are 512 bytes. Version 1.2 lies at byte 4096.
 */
#ifndef R5FS_RAID_MD_FORMAT_H
#define R5FS_RAID_MD_FORMAT_H

#include <stddef.h>

#include "r5fs/base/endian.h"
#include "r5fs/base/units.h"

#define MD_MAGIC              0xa92b4efcu
#define MD_MAJOR              1u
#define MD_SUPER_SECTOR       8u /* version 1.2 */
#define MD_SUPER_OFFSET_BYTES ((uint64_t)MD_SUPER_SECTOR * SECTOR_BYTES)
#define MD_NAME_BYTES         32u
#define MD_FIXED_BYTES        256u
#define MD_ROLES_MAX          ((BLOCK_BYTES - MD_FIXED_BYTES) / 2u)
/* As many as fill one sector: such a superblock cannot tear. */
#define MD_ROLES_ONE_SECTOR ((SECTOR_BYTES - MD_FIXED_BYTES) / 2u)

#define MD_LEVEL_RAID5 5
#define MD_CLEAN       UINT64_MAX /* resync_offset of an array in sync */

#define MD_ROLE_SLOT_MAX 0xfeffu
#define MD_ROLE_JOURNAL  0xfffdu
#define MD_ROLE_FAULTY   0xfffeu
#define MD_ROLE_SPARE    0xffffu

#define MD_FEATURE_BITMAP            0x1u
#define MD_FEATURE_RECOVERY_OFFSET   0x2u
#define MD_FEATURE_RESHAPE           0x4u
#define MD_FEATURE_BAD_BLOCKS        0x8u
#define MD_FEATURE_REPLACEMENT       0x10u
#define MD_FEATURE_RESHAPE_BACKWARDS 0x20u
#define MD_FEATURE_NEW_OFFSET        0x40u
#define MD_FEATURE_RECOVERY_BITMAP   0x80u
#define MD_FEATURE_CLUSTERED         0x100u
#define MD_FEATURE_JOURNAL           0x200u
#define MD_FEATURE_PPL               0x400u
#define MD_FEATURE_MULTIPLE_PPLS     0x800u
#define MD_FEATURE_RAID0_LAYOUT      0x1000u

/* Where mdadm puts the bad-block list: sectors from the superblock. */
#define MD_BAD_BLOCKS_OFFSET  16u
#define MD_BAD_BLOCKS_SECTORS 8u

/* Other things of md that array_recognise and assemble name without reading them. */
#define MD_V0_SUPER_BYTES 65536u /* 0.90: last 64 KiB-aligned 64 KiB of the device */

struct md_format_super {
    le32 magic;
    le32 major_version;
    le32 feature_map;
    le32 pad0;
    uint8_t set_uuid[16]; /* in printed order; also the seed of the log's checksums */
    uint8_t set_name[MD_NAME_BYTES];
    le64 ctime; /* low 40 bits seconds, high 24 bits microseconds */
    le32 level;
    le32 layout;
    le64 size; /* sectors used of each member */
    le32 chunksize;
    le32 raid_disks;
    le32 bitmap_offset;

    le32 new_level; /* reshape only, up to new_offset */
    le64 reshape_position;
    le32 delta_disks;
    le32 new_layout;
    le32 new_chunk;
    le32 new_offset;

    le64 data_offset;
    le64 data_size; /* of a journal device: the ring */
    le64 super_offset;
    le64 recovery_offset; /* of a journal device: the tail, sectors from data_offset */
    le32 dev_number;
    le32 cnt_corrected_read;
    uint8_t device_uuid[16];
    uint8_t devflags;
    uint8_t bblog_shift;
    le16 bblog_size;
    le32 bblog_offset;

    le64 utime;
    le64 events;
    le64 resync_offset;
    le32 sb_csum;
    le32 max_dev;
    uint8_t pad3[32];
    le16 dev_roles[];
};

_Static_assert(offsetof(struct md_format_super, feature_map) == 8, "md superblock");
_Static_assert(offsetof(struct md_format_super, pad0) == 12, "md superblock");
_Static_assert(offsetof(struct md_format_super, set_uuid) == 16, "md superblock");
_Static_assert(offsetof(struct md_format_super, set_name) == 32, "md superblock");
_Static_assert(offsetof(struct md_format_super, ctime) == 64, "md superblock");
_Static_assert(offsetof(struct md_format_super, level) == 72, "md superblock");
_Static_assert(offsetof(struct md_format_super, layout) == 76, "md superblock");
_Static_assert(offsetof(struct md_format_super, size) == 80, "md superblock");
_Static_assert(offsetof(struct md_format_super, chunksize) == 88, "md superblock");
_Static_assert(offsetof(struct md_format_super, raid_disks) == 92, "md superblock");
_Static_assert(offsetof(struct md_format_super, bitmap_offset) == 96, "md superblock");
_Static_assert(offsetof(struct md_format_super, new_level) == 100, "md superblock");
_Static_assert(offsetof(struct md_format_super, reshape_position) == 104, "md superblock");
_Static_assert(offsetof(struct md_format_super, delta_disks) == 112, "md superblock");
_Static_assert(offsetof(struct md_format_super, new_layout) == 116, "md superblock");
_Static_assert(offsetof(struct md_format_super, new_chunk) == 120, "md superblock");
_Static_assert(offsetof(struct md_format_super, new_offset) == 124, "md superblock");
_Static_assert(offsetof(struct md_format_super, data_offset) == 128, "md superblock");
_Static_assert(offsetof(struct md_format_super, data_size) == 136, "md superblock");
_Static_assert(offsetof(struct md_format_super, super_offset) == 144, "md superblock");
_Static_assert(offsetof(struct md_format_super, recovery_offset) == 152, "md superblock");
_Static_assert(offsetof(struct md_format_super, dev_number) == 160, "md superblock");
_Static_assert(offsetof(struct md_format_super, cnt_corrected_read) == 164, "md superblock");
_Static_assert(offsetof(struct md_format_super, device_uuid) == 168, "md superblock");
_Static_assert(offsetof(struct md_format_super, devflags) == 184, "md superblock");
_Static_assert(offsetof(struct md_format_super, bblog_shift) == 185, "md superblock");
_Static_assert(offsetof(struct md_format_super, bblog_size) == 186, "md superblock");
_Static_assert(offsetof(struct md_format_super, bblog_offset) == 188, "md superblock");
_Static_assert(offsetof(struct md_format_super, utime) == 192, "md superblock");
_Static_assert(offsetof(struct md_format_super, events) == 200, "md superblock");
_Static_assert(offsetof(struct md_format_super, resync_offset) == 208, "md superblock");
_Static_assert(offsetof(struct md_format_super, sb_csum) == 216, "md superblock");
_Static_assert(offsetof(struct md_format_super, max_dev) == 220, "md superblock");
_Static_assert(offsetof(struct md_format_super, pad3) == 224, "md superblock");
_Static_assert(offsetof(struct md_format_super, dev_roles) == MD_FIXED_BYTES, "md superblock");
_Static_assert(sizeof(struct md_format_super) == MD_FIXED_BYTES, "no padding");
_Static_assert(_Alignof(struct md_format_super) == 1, "may lie anywhere");
_Static_assert(MD_ROLES_ONE_SECTOR == 128 && MD_ROLES_MAX == 1920, "as md counts them");

#endif
