/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The md superblock as numbers. Pure functions on one 4 KiB block: no I/O, no messages, any thread.
 */
#ifndef R5FS_RAID_MD_SUPERBLOCK_H
#define R5FS_RAID_MD_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "md_format.h"
#include "r5fs/base/check.h"
#include "r5fs/base/units.h"
#include "r5fs/base/uuid.h"
#include "r5fs/raid/geometry.h"

#define MD_WHY_BYTES 192

/* Field names and meanings are md's (md_format.h); sectors of 512 bytes. */
struct md_superblock {
    uint32_t features;
    struct uuid set_uuid;
    char name[MD_NAME_BYTES + 1]; /* NUL ended */
    uint64_t ctime;
    int32_t level;
    uint32_t layout;
    uint64_t size_sectors;
    uint32_t chunk_sectors;
    uint32_t raid_disks;
    int32_t bitmap_offset_sectors;
    uint32_t new_level; /* reshape fields: kept, never used */
    uint64_t reshape_position;
    uint32_t delta_disks;
    uint32_t new_layout;
    uint32_t new_chunk;
    uint32_t new_offset;
    uint64_t data_offset_sectors;
    uint64_t data_size_sectors;
    uint64_t super_sector;
    uint64_t recovery_offset; /* a member's rebuild progress, or the journal's tail: sectors */
    uint32_t dev_number;
    uint32_t corrected_reads;
    struct uuid device_uuid;
    uint8_t devflags;
    uint8_t bblog_shift;
    uint16_t bblog_sectors;
    int32_t bblog_offset_sectors;
    uint64_t utime;
    uint64_t events;
    uint64_t resync_offset;
    uint32_t max_dev;
    uint16_t roles[MD_ROLES_MAX]; /* by dev_number; from max_dev on MD_ROLE_SPARE */
};

/* One fold of the 64-bit sum of all words of the first 256 + 2 * max_dev bytes, sb_csum taken as 0.
 * */
uint32_t md_super_checksum(const uint8_t block[BLOCK_BYTES], uint32_t max_dev);

/* Bytes to numbers, checking only what makes the numbers believable: -ENODATA no magic there (`why`
 * says so, and whether all is zero), -EUCLEAN damaged (checksum, pads, own address, sizes). */
R5_MUST_CHECK int md_super_decode(const uint8_t block[BLOCK_BYTES],
                                  struct md_superblock *out_super,
                                  char why[MD_WHY_BYTES]);
/* Numbers to bytes, checksum included; the rest of the block is zero. decode(encode(x)) == x, and
 * encode(decode(b)) == b for every block that decodes and is zero behind its roles. */
void md_super_encode(const struct md_superblock *super, uint8_t block[BLOCK_BYTES]);

/* Whether this is an array that r5fs can use: -ENOTSUP names what is not (level, layout, feature,
 * reshape, number of members), -EUCLEAN numbers that contradict each other. `read_only` lets pass
 * what only matters to a writer (an internal bitmap). */
R5_MUST_CHECK int
md_super_supported(const struct md_superblock *super, bool read_only, char why[MD_WHY_BYTES]);
/* Whether what the superblock claims lies within a device of that size; -EUCLEAN: truncated. */
R5_MUST_CHECK int
md_super_fits(const struct md_superblock *super, uint64_t device_bytes, char why[MD_WHY_BYTES]);

/* The role of a device number: a slot, or MD_ROLE_*; beyond the table: MD_ROLE_SPARE. */
uint32_t md_super_role_of(const struct md_superblock *super, uint32_t dev_number);
/* Its own role. */
uint32_t md_super_role(const struct md_superblock *super);
/* The device number that has `role`, or UINT32_MAX. */
uint32_t md_super_find_role(const struct md_superblock *super, uint32_t role);
bool md_role_is_slot(uint32_t role);
bool md_super_is_clean(const struct md_superblock *super);
/* A member that a rebuild has not finished with. */
bool md_super_is_rebuilding(const struct md_superblock *super);

/* The name fit to be printed: anything but plain ASCII becomes '?'. */
void md_super_print_name(const struct md_superblock *super, char out_name[MD_NAME_BYTES + 1]);

/* Seconds since 1970 of md's packed time, and back. */
uint64_t md_time_seconds(uint64_t packed);
uint64_t md_time_pack(uint64_t realtime_ns);
const char *md_feature_name(uint32_t bit);

#endif
