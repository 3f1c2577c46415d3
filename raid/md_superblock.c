/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The md superblock: bytes to numbers, numbers to bytes, and whether r5fs can use what it says.
 *
 *   decode      magic - version - table size - checksum - pads - own address - sizes
 *   supported   level - features - layout - members - chunk      (the array)
 *   fits        data_offset + size within the device             (this file)
 *
 * Invariants: S1 encode and decode are inverse to each other. S2 nothing in a decoded superblock
 * overflows when a sector number is turned into bytes. S3 `roles` beyond max_dev are spare.
 * Happy path: decode, supported, fits. Failure: a negative errno and the reason in words; disk
 * content is input, nothing here asserts it. Thread: any, there is no state.
 */
#include "md_superblock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECTORS_MAX        (UINT64_C(1) << 53) /* 4 EiB: more than any file, and S2 holds */
#define DATA_SECTORS_MIN   10u                 /* what md itself demands */
#define TIME_SECONDS_BITS  40
#define NS_PER_SECOND      UINT64_C(1000000000)
#define NS_PER_MICROSECOND 1000u

static int refuse(char why[MD_WHY_BYTES], int error, const char *format, ...) R5_PRINTF(3, 4);

static int refuse(char why[MD_WHY_BYTES], int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vsnprintf(why, MD_WHY_BYTES, format, args);
    va_end(args);
    R5_CHECK(written >= 0);
    return error;
}

uint32_t md_super_checksum(const uint8_t block[BLOCK_BYTES], uint32_t max_dev)
{
    R5_CHECK(max_dev <= MD_ROLES_MAX);
    size_t bytes = MD_FIXED_BYTES + (size_t)max_dev * 2;
    uint64_t sum = 0;
    size_t at = 0;
    for (; at + 4 <= bytes; at += 4) {
        le32 word;
        memcpy(word.bytes, block + at, sizeof(word));
        sum += at == offsetof(struct md_format_super, sb_csum) ? 0 : le32_get(word);
    }
    if (at < bytes) {
        le16 half;
        memcpy(half.bytes, block + at, sizeof(half));
        sum += le16_get(half);
    }
    return (uint32_t)((sum & UINT32_MAX) + (sum >> 32));
}

static bool bytes_are_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static int check_envelope(const uint8_t block[BLOCK_BYTES],
                          const struct md_format_super *raw,
                          char why[MD_WHY_BYTES])
{
    if (le32_get(raw->magic) != MD_MAGIC) {
        return bytes_are_zero(block, BLOCK_BYTES)
                   ? refuse(why, -ENODATA, "no md superblock at byte 4096, only zeros")
                   : refuse(why, -ENODATA, "no md superblock at byte 4096");
    }
    if (le32_get(raw->major_version) != MD_MAJOR) {
        return refuse(why,
                      -EUCLEAN,
                      "md superblock of version %" PRIu32 ", not 1",
                      le32_get(raw->major_version));
    }
    uint32_t max_dev = le32_get(raw->max_dev);
    if (max_dev > MD_ROLES_MAX) {
        return refuse(
            why, -EUCLEAN, "md superblock damaged: a table of %" PRIu32 " roles", max_dev);
    }
    uint32_t expected = md_super_checksum(block, max_dev);
    if (le32_get(raw->sb_csum) != expected) {
        return refuse(why,
                      -EUCLEAN,
                      "md superblock damaged: checksum %08" PRIx32 ", expected %08" PRIx32,
                      le32_get(raw->sb_csum),
                      expected);
    }
    if (le32_get(raw->pad0) != 0 || !bytes_are_zero(raw->pad3, sizeof(raw->pad3))) {
        return refuse(why, -EUCLEAN, "md superblock damaged: bytes set that must be zero");
    }
    return 0;
}

static void read_numbers(const struct md_format_super *raw, struct md_superblock *out)
{
    memset(out, 0, sizeof(*out));
    out->features = le32_get(raw->feature_map);
    memcpy(out->set_uuid.bytes, raw->set_uuid, sizeof(raw->set_uuid));
    memcpy(out->name, raw->set_name, MD_NAME_BYTES);
    out->ctime = le64_get(raw->ctime);
    out->level = (int32_t)le32_get(raw->level);
    out->layout = le32_get(raw->layout);
    out->size_sectors = le64_get(raw->size);
    out->chunk_sectors = le32_get(raw->chunksize);
    out->raid_disks = le32_get(raw->raid_disks);
    out->bitmap_offset_sectors = (int32_t)le32_get(raw->bitmap_offset);
    out->new_level = le32_get(raw->new_level);
    out->reshape_position = le64_get(raw->reshape_position);
    out->delta_disks = le32_get(raw->delta_disks);
    out->new_layout = le32_get(raw->new_layout);
    out->new_chunk = le32_get(raw->new_chunk);
    out->new_offset = le32_get(raw->new_offset);
    out->data_offset_sectors = le64_get(raw->data_offset);
    out->data_size_sectors = le64_get(raw->data_size);
    out->super_sector = le64_get(raw->super_offset);
    out->recovery_offset = le64_get(raw->recovery_offset);
    out->dev_number = le32_get(raw->dev_number);
    out->corrected_reads = le32_get(raw->cnt_corrected_read);
    memcpy(out->device_uuid.bytes, raw->device_uuid, sizeof(raw->device_uuid));
    out->devflags = raw->devflags;
    out->bblog_shift = raw->bblog_shift;
    out->bblog_sectors = le16_get(raw->bblog_size);
    out->bblog_offset_sectors = (int32_t)le32_get(raw->bblog_offset);
    out->utime = le64_get(raw->utime);
    out->events = le64_get(raw->events);
    out->resync_offset = le64_get(raw->resync_offset);
    out->max_dev = le32_get(raw->max_dev);
    for (uint32_t i = 0; i < MD_ROLES_MAX; i++) {
        out->roles[i] = MD_ROLE_SPARE;
    }
}

static int check_addresses(const struct md_superblock *super, char why[MD_WHY_BYTES])
{
    if (super->super_sector != MD_SUPER_SECTOR) {
        return refuse(why,
                      -EUCLEAN,
                      "md superblock says it lies at sector %" PRIu64 ", but lies at %u",
                      super->super_sector,
                      MD_SUPER_SECTOR);
    }
    if (super->data_offset_sectors > SECTORS_MAX || super->data_size_sectors > SECTORS_MAX ||
        super->size_sectors > SECTORS_MAX) {
        return refuse(why, -EUCLEAN, "md superblock damaged: sizes beyond any device");
    }
    uint64_t super_end =
        MD_SUPER_SECTOR + div_round_up(MD_FIXED_BYTES + (uint64_t)super->max_dev * 2, SECTOR_BYTES);
    if (super->data_offset_sectors < super_end || super->data_size_sectors < DATA_SECTORS_MIN) {
        return refuse(why,
                      -EUCLEAN,
                      "md superblock damaged: data at sector %" PRIu64 ", %" PRIu64 " sectors",
                      super->data_offset_sectors,
                      super->data_size_sectors);
    }
    return 0;
}

int md_super_decode(const uint8_t block[BLOCK_BYTES],
                    struct md_superblock *out_super,
                    char why[MD_WHY_BYTES])
{
    const struct md_format_super *raw = (const struct md_format_super *)(const void *)block;
    int error = check_envelope(block, raw, why);
    if (error != 0) {
        return error;
    }
    read_numbers(raw, out_super);
    for (uint32_t i = 0; i < out_super->max_dev; i++) {
        out_super->roles[i] = le16_get(raw->dev_roles[i]);
    }
    return check_addresses(out_super, why);
}

void md_super_encode(const struct md_superblock *super, uint8_t block[BLOCK_BYTES])
{
    R5_CHECK(super->max_dev <= MD_ROLES_MAX);
    struct md_format_super *raw = (struct md_format_super *)(void *)block;
    memset(block, 0, BLOCK_BYTES);
    raw->magic = le32_make(MD_MAGIC);
    raw->major_version = le32_make(MD_MAJOR);
    raw->feature_map = le32_make(super->features);
    memcpy(raw->set_uuid, super->set_uuid.bytes, sizeof(raw->set_uuid));
    memcpy(raw->set_name, super->name, MD_NAME_BYTES);
    raw->ctime = le64_make(super->ctime);
    raw->level = le32_make((uint32_t)super->level);
    raw->layout = le32_make(super->layout);
    raw->size = le64_make(super->size_sectors);
    raw->chunksize = le32_make(super->chunk_sectors);
    raw->raid_disks = le32_make(super->raid_disks);
    raw->bitmap_offset = le32_make((uint32_t)super->bitmap_offset_sectors);
    raw->new_level = le32_make(super->new_level);
    raw->reshape_position = le64_make(super->reshape_position);
    raw->delta_disks = le32_make(super->delta_disks);
    raw->new_layout = le32_make(super->new_layout);
    raw->new_chunk = le32_make(super->new_chunk);
    raw->new_offset = le32_make(super->new_offset);
    raw->data_offset = le64_make(super->data_offset_sectors);
    raw->data_size = le64_make(super->data_size_sectors);
    raw->super_offset = le64_make(super->super_sector);
    raw->recovery_offset = le64_make(super->recovery_offset);
    raw->dev_number = le32_make(super->dev_number);
    raw->cnt_corrected_read = le32_make(super->corrected_reads);
    memcpy(raw->device_uuid, super->device_uuid.bytes, sizeof(raw->device_uuid));
    raw->devflags = super->devflags;
    raw->bblog_shift = super->bblog_shift;
    raw->bblog_size = le16_make(super->bblog_sectors);
    raw->bblog_offset = le32_make((uint32_t)super->bblog_offset_sectors);
    raw->utime = le64_make(super->utime);
    raw->events = le64_make(super->events);
    raw->resync_offset = le64_make(super->resync_offset);
    raw->max_dev = le32_make(super->max_dev);
    for (uint32_t i = 0; i < super->max_dev; i++) {
        raw->dev_roles[i] = le16_make(super->roles[i]);
    }
    raw->sb_csum = le32_make(md_super_checksum(block, super->max_dev));
}

struct feature_name {
    uint32_t bit;
    const char *name;
};

static const struct feature_name feature_names[] = {
    {MD_FEATURE_BITMAP, "an internal bitmap"},
    {MD_FEATURE_RECOVERY_OFFSET, "a rebuild under way"},
    {MD_FEATURE_RESHAPE, "a reshape under way"},
    {MD_FEATURE_BAD_BLOCKS, "a bad-block list in use"},
    {MD_FEATURE_REPLACEMENT, "a replacement under way"},
    {MD_FEATURE_RESHAPE_BACKWARDS, "a reshape backwards"},
    {MD_FEATURE_NEW_OFFSET, "a change of data offset under way"},
    {MD_FEATURE_RECOVERY_BITMAP, "a rebuild by bitmap"},
    {MD_FEATURE_CLUSTERED, "clustered use"},
    {MD_FEATURE_JOURNAL, "a journal"},
    {MD_FEATURE_PPL, "a partial parity log"},
    {MD_FEATURE_MULTIPLE_PPLS, "several partial parity logs"},
    {MD_FEATURE_RAID0_LAYOUT, "a RAID0 layout"},
};

const char *md_feature_name(uint32_t bit)
{
    for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
        if (feature_names[i].bit == bit) {
            return feature_names[i].name;
        }
    }
    return "an unknown feature";
}

static int check_features(const struct md_superblock *super, bool read_only, char why[MD_WHY_BYTES])
{
    uint32_t usable = MD_FEATURE_JOURNAL | MD_FEATURE_RECOVERY_OFFSET;
    usable |= read_only ? MD_FEATURE_BITMAP : 0;
    uint32_t unusable = super->features & ~usable;
    if (unusable != 0) {
        uint32_t lowest = unusable & (~unusable + 1);
        return refuse(why,
                      -ENOTSUP,
                      "the array has %s (feature bit 0x%" PRIx32 "), which r5fs cannot handle",
                      md_feature_name(lowest),
                      lowest);
    }
    return 0;
}

int md_super_supported(const struct md_superblock *super, bool read_only, char why[MD_WHY_BYTES])
{
    if (super->level != MD_LEVEL_RAID5) {
        return refuse(
            why, -ENOTSUP, "the array has level %" PRId32 ", r5fs needs RAID5", super->level);
    }
    int error = check_features(super, read_only, why);
    if (error != 0) {
        return error;
    }
    if (super->layout > LAYOUT_RIGHT_SYMMETRIC) {
        return refuse(
            why, -ENOTSUP, "the array has layout %" PRIu32 ", r5fs knows 0 to 3", super->layout);
    }
    if (super->raid_disks < MEMBERS_MIN || super->raid_disks > MEMBERS_MAX) {
        return refuse(why,
                      -ENOTSUP,
                      "the array has %" PRIu32 " members, r5fs handles %u to %u",
                      super->raid_disks,
                      MEMBERS_MIN,
                      MEMBERS_MAX);
    }
    uint32_t chunk = super->chunk_sectors;
    if (chunk < BLOCK_SECTORS || (chunk & (chunk - 1)) != 0) {
        return refuse(why, -EUCLEAN, "the array has chunks of %" PRIu32 " sectors", chunk);
    }
    if (super->size_sectors < chunk) {
        return refuse(why,
                      -EUCLEAN,
                      "the array uses only %" PRIu64 " sectors of each member",
                      super->size_sectors);
    }
    return 0;
}

int md_super_fits(const struct md_superblock *super, uint64_t device_bytes, char why[MD_WHY_BYTES])
{
    bool is_journal = md_super_role(super) == MD_ROLE_JOURNAL;
    if (!is_journal && super->data_size_sectors < super->size_sectors) {
        return refuse(why, -EUCLEAN, "md superblock damaged: more data used than it has");
    }
    uint64_t used = is_journal ? super->data_size_sectors : super->size_sectors;
    uint64_t need_bytes = (super->data_offset_sectors + used) * SECTOR_BYTES;
    if (need_bytes > device_bytes) {
        return refuse(why,
                      -EUCLEAN,
                      "truncated: %" PRIu64 " bytes long, the array needs %" PRIu64,
                      device_bytes,
                      need_bytes);
    }
    return 0;
}

uint32_t md_super_role_of(const struct md_superblock *super, uint32_t dev_number)
{
    return dev_number < super->max_dev ? super->roles[dev_number] : MD_ROLE_SPARE;
}

uint32_t md_super_role(const struct md_superblock *super)
{
    return md_super_role_of(super, super->dev_number);
}

uint32_t md_super_find_role(const struct md_superblock *super, uint32_t role)
{
    for (uint32_t dev = 0; dev < super->max_dev; dev++) {
        if (super->roles[dev] == role) {
            return dev;
        }
    }
    return UINT32_MAX;
}

bool md_role_is_slot(uint32_t role)
{
    return role <= MD_ROLE_SLOT_MAX;
}

bool md_super_is_clean(const struct md_superblock *super)
{
    return super->resync_offset == MD_CLEAN;
}

bool md_super_is_rebuilding(const struct md_superblock *super)
{
    return (super->features & MD_FEATURE_RECOVERY_OFFSET) != 0 &&
           md_super_role(super) != MD_ROLE_JOURNAL && super->recovery_offset != UINT64_MAX;
}

void md_super_print_name(const struct md_superblock *super, char out_name[MD_NAME_BYTES + 1])
{
    size_t at = 0;
    for (; at < MD_NAME_BYTES && super->name[at] != '\0'; at++) {
        bool plain = super->name[at] >= ' ' && super->name[at] <= '~';
        if (plain) {
            out_name[at] = super->name[at];
        } else {
            out_name[at] = '?';
        }
    }
    out_name[at] = '\0';
}

uint64_t md_time_seconds(uint64_t packed)
{
    return packed & ((UINT64_C(1) << TIME_SECONDS_BITS) - 1);
}

uint64_t md_time_pack(uint64_t realtime_ns)
{
    uint64_t seconds = realtime_ns / NS_PER_SECOND;
    uint64_t microseconds = realtime_ns % NS_PER_SECOND / NS_PER_MICROSECOND;
    return (seconds & ((UINT64_C(1) << TIME_SECONDS_BITS) - 1)) | microseconds << TIME_SECONDS_BITS;
}
