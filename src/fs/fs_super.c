/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The super block: bytes <-> struct, every field checked against the others, and the arithmetic of
 * groups that follows from it (picture in fs_format.h).
 *
 * The super is a metadata block like any other, and in every transaction. Its copy in the last
 * block of the volume is written at format, and in the same transaction as the super whenever the
 * flag FS_SUPER_MOUNTED changes. So a copy without that flag is as good as the super itself; one
 * with it tells only what never changes, and an old tree root.
 *
 * Pure functions; any thread.
 */
#include "fs_super.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "r5fs/base/crc32c.h"

#define GROUP_BLOCKS_MIN   16u /* a shorter last group is not used */
#define RESERVE_BLOCKS_MAX 4096u
#define RESERVE_BLOCKS_MIN 24u
#define HUGE_CHUNK_UNIT    16384u
#define INO_MAX            ((UINT64_C(1) << 62) - 1)

void fs_header_fill(struct fs_block_header *header,
                    uint32_t magic,
                    struct fs_block address,
                    const struct uuid *fs_uuid,
                    uint64_t generation)
{
    header->magic = le32_make(magic);
    header->crc32c = le32_make(0);
    header->address = le64_make(address.nr);
    memcpy(header->fs_uuid, fs_uuid->bytes, sizeof(header->fs_uuid));
    header->generation = le64_make(generation);
}

static uint32_t header_crc(const uint8_t *block)
{
    uint32_t crc = crc32c(~0u, block, offsetof(struct fs_block_header, crc32c));
    size_t rest = offsetof(struct fs_block_header, address);
    return crc32c(crc, block + rest, BLOCK_BYTES - rest);
}

void fs_header_seal(uint8_t *block)
{
    le32 crc = le32_make(header_crc(block));
    memcpy(block + offsetof(struct fs_block_header, crc32c), &crc, sizeof(crc));
}

const char *fs_header_problem(const uint8_t *block,
                              uint32_t magic,
                              struct fs_block address,
                              const struct uuid *fs_uuid)
{
    struct fs_block_header header;
    memcpy(&header, block, sizeof(header));
    if (le32_get(header.magic) != magic) {
        return "wrong magic";
    }
    if (le32_get(header.crc32c) != header_crc(block)) {
        return "checksum mismatch";
    }
    if (le64_get(header.address) != address.nr) {
        return "written for another address";
    }
    if (fs_uuid != NULL && memcmp(header.fs_uuid, fs_uuid->bytes, sizeof(header.fs_uuid)) != 0) {
        return "belongs to another filesystem";
    }
    return NULL;
}

struct fs_block fs_group_start(const struct fs_super *super, uint32_t group)
{
    return fs_block((uint64_t)group * super->group_blocks);
}

uint32_t fs_group_of(const struct fs_super *super, struct fs_block block)
{
    return (uint32_t)min_u64(block.nr / super->group_blocks, UINT32_MAX);
}

uint32_t fs_group_blocks(const struct fs_super *super, uint32_t group)
{
    uint64_t start = fs_group_start(super, group).nr;
    return (uint32_t)min_u64(super->group_blocks, super->volume_blocks - start);
}

struct fs_block fs_group_bitmap(const struct fs_super *super, uint32_t group)
{
    return fs_block(fs_group_start(super, group).nr + (group == 0 ? 1 : 0));
}

struct fs_block fs_group_summary(const struct fs_super *super, uint32_t group)
{
    uint32_t first = group - group % FS_SUMMARY_GROUPS;
    return fs_block_add(fs_group_bitmap(super, first), 1);
}

struct fs_block fs_super_copy_address(const struct fs_super *super)
{
    return fs_block(super->volume_blocks - 1);
}

/* Fixed blocks at the start of a group. */
static uint32_t group_head_blocks(uint32_t group)
{
    return 1u + (group == 0 ? 1u : 0u) + (group % FS_SUMMARY_GROUPS == 0 ? 1u : 0u);
}

static bool group_holds_copy(const struct fs_super *super, uint32_t group)
{
    return fs_group_of(super, fs_super_copy_address(super)) == group;
}

uint32_t fs_group_room(const struct fs_super *super, uint32_t group)
{
    uint32_t fixed = group_head_blocks(group) + (group_holds_copy(super, group) ? 1u : 0u);
    return fs_group_blocks(super, group) - fixed;
}

bool fs_block_is_fixed(const struct fs_super *super, struct fs_block block)
{
    uint32_t group = fs_group_of(super, block);
    if (group >= super->group_count || block.nr >= fs_super_copy_address(super).nr) {
        return true; /* behind the last group nothing is ever allocated */
    }
    return block.nr - fs_group_start(super, group).nr < group_head_blocks(group);
}

bool fs_run_is_plausible(const struct fs_super *super, struct fs_block first, uint64_t count)
{
    uint32_t group = fs_group_of(super, first);
    if (group >= super->groups_used || count == 0 || count > super->group_blocks) {
        return false;
    }
    struct fs_block last = fs_block_add(first, count - 1);
    return fs_group_of(super, last) == group && !fs_block_is_fixed(super, first) &&
           !fs_block_is_fixed(super, last);
}

static uint32_t group_count_for(uint64_t volume_blocks, uint32_t group_blocks)
{
    uint64_t count = volume_blocks / group_blocks;
    if (volume_blocks % group_blocks >= GROUP_BLOCKS_MIN) {
        count++;
    }
    return count > UINT32_MAX ? 0 : (uint32_t)count;
}

static uint64_t total_room(const struct fs_super *super)
{
    uint64_t summaries = div_round_up(super->group_count, FS_SUMMARY_GROUPS);
    uint32_t last = super->group_count - 1;
    uint64_t covered = fs_group_start(super, last).nr + fs_group_blocks(super, last);
    uint64_t copy = group_holds_copy(super, last) ? 1 : 0;
    return covered - 1 - super->group_count - summaries - copy;
}

int fs_super_plan(struct fs_super *super, const struct geometry *geometry)
{
    uint64_t stripe = geometry_stripe_blocks(geometry);
    uint64_t unit = stripe <= FS_BITMAP_BITS ? stripe : geometry->chunk_blocks;
    if (unit > FS_BITMAP_BITS) {
        unit = HUGE_CHUNK_UNIT; /* a chunk is a power of two: groups do not straddle chunks oddly */
    }
    if (geometry->volume_blocks < FS_VOLUME_BLOCKS_MIN) {
        return -ENOSPC;
    }
    super->volume_blocks = geometry->volume_blocks;
    super->group_blocks = (uint32_t)round_down(FS_BITMAP_BITS, unit);
    super->group_count = group_count_for(super->volume_blocks, super->group_blocks);
    if (super->group_count == 0) {
        return -ENOSPC;
    }
    super->groups_used = 1;
    super->meta_group = 0;
    uint64_t reserve = min_u64(64 + super->volume_blocks / 512, super->volume_blocks / 8);
    super->reserve_blocks =
        (uint32_t)max_u64(RESERVE_BLOCKS_MIN, min_u64(reserve, RESERVE_BLOCKS_MAX));
    super->free_blocks = total_room(super);
    return 0;
}

static void super_from_disk(struct fs_super *super, const struct fs_super_disk *disk)
{
    memset(super, 0, sizeof(*super));
    memcpy(super->fs_uuid.bytes, disk->fs_uuid, sizeof(disk->fs_uuid));
    memcpy(super->array_uuid.bytes, disk->array_uuid, sizeof(disk->array_uuid));
    memcpy(super->label, disk->label, sizeof(disk->label));
    super->flags = le32_get(disk->flags);
    super->features_compat = le64_get(disk->features_compat);
    super->features_ro = le64_get(disk->features_ro);
    super->features_incompat = le64_get(disk->features_incompat);
    super->volume_blocks = le64_get(disk->volume_blocks);
    super->group_blocks = le32_get(disk->group_blocks);
    super->group_count = le32_get(disk->group_count);
    super->groups_used = le32_get(disk->groups_used);
    super->meta_group = le32_get(disk->meta_group);
    super->reserve_blocks = le32_get(disk->reserve_blocks);
    super->tree_levels = le32_get(disk->tree_levels);
    super->tree_root = fs_block(le64_get(disk->tree_root));
    super->next_ino = le64_get(disk->next_ino);
    super->free_blocks = le64_get(disk->free_blocks);
    super->inode_count = le64_get(disk->inode_count);
    super->txn = le64_get(disk->txn);
    super->journal_generation = le64_get(disk->journal_generation);
    super->name_seed = le64_get(disk->name_seed);
    super->made_seconds = le64_get(disk->made_seconds);
    super->log.seq = le64_get(disk->log_seq);
    memcpy(super->log.device.bytes, disk->log_device, sizeof(disk->log_device));
}

static const char *super_layout_problem(const struct fs_super *super, uint64_t volume_blocks)
{
    if (super->volume_blocks < FS_VOLUME_BLOCKS_MIN || super->volume_blocks > volume_blocks) {
        return "its size does not fit the array";
    }
    if (super->group_blocks < GROUP_BLOCKS_MIN || super->group_blocks > FS_BITMAP_BITS ||
        super->group_count == 0 ||
        super->group_count != group_count_for(super->volume_blocks, super->group_blocks)) {
        return "impossible groups";
    }
    if (super->groups_used == 0 || super->groups_used > super->group_count ||
        super->meta_group >= super->groups_used) {
        return "impossible number of groups in use";
    }
    if (super->reserve_blocks > super->volume_blocks / 2) {
        return "impossible reserve";
    }
    return NULL;
}

static const char *super_problem(const struct fs_super *super, uint64_t volume_blocks)
{
    const char *problem = super_layout_problem(super, volume_blocks);
    if (problem != NULL) {
        return problem;
    }
    if (super->tree_levels == 0 || super->tree_levels > FS_TREE_LEVELS_MAX ||
        !fs_run_is_plausible(super, super->tree_root, 1)) {
        return "impossible tree root";
    }
    if (super->next_ino <= FS_ROOT_INO || super->next_ino > INO_MAX) {
        return "impossible next inode number";
    }
    if (super->free_blocks > total_room(super)) {
        return "more free blocks than blocks";
    }
    return NULL;
}

int fs_super_decode(struct fs_super *out_super,
                    const uint8_t *block,
                    struct fs_block address,
                    uint64_t volume_blocks,
                    char out_why[FS_WHY_BYTES])
{
    struct fs_super_disk disk;
    memcpy(&disk, block, sizeof(disk));
    if (le32_get(disk.header.magic) != FS_MAGIC_SUPER) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "no r5fs filesystem (block %llu)",
                       (unsigned long long)address.nr); /* cut short at worst */
        return -EMEDIUMTYPE;
    }
    const char *problem = fs_header_problem(block, FS_MAGIC_SUPER, address, NULL);
    struct fs_super super;
    super_from_disk(&super, &disk);
    if (problem == NULL &&
        (le32_get(disk.version) != FS_FORMAT_VERSION || super.features_incompat != 0)) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "the filesystem was made by a newer r5fs (version "
                       "%u, features 0x%llx)",
                       le32_get(disk.version),
                       (unsigned long long)super.features_incompat); /* cut short at worst */
        return -EOPNOTSUPP;
    }
    if (problem == NULL) {
        problem = super_problem(&super, volume_blocks);
    }
    if (problem != NULL) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "the fs super in block %llu is damaged: %s",
                       (unsigned long long)address.nr,
                       problem); /* cut short at worst */
        return -EUCLEAN;
    }
    *out_super = super;
    return 0;
}

void fs_super_encode(const struct fs_super *super, struct fs_block address, uint8_t *block)
{
    struct fs_super_disk disk;
    memset(&disk, 0, sizeof(disk));
    fs_header_fill(&disk.header, FS_MAGIC_SUPER, address, &super->fs_uuid, super->txn);
    disk.version = le32_make(FS_FORMAT_VERSION);
    disk.flags = le32_make(super->flags);
    disk.features_compat = le64_make(super->features_compat);
    disk.features_ro = le64_make(super->features_ro);
    disk.features_incompat = le64_make(super->features_incompat);
    memcpy(disk.fs_uuid, super->fs_uuid.bytes, sizeof(disk.fs_uuid));
    memcpy(disk.array_uuid, super->array_uuid.bytes, sizeof(disk.array_uuid));
    memcpy(disk.label, super->label, sizeof(disk.label));
    disk.volume_blocks = le64_make(super->volume_blocks);
    disk.group_blocks = le32_make(super->group_blocks);
    disk.group_count = le32_make(super->group_count);
    disk.groups_used = le32_make(super->groups_used);
    disk.meta_group = le32_make(super->meta_group);
    disk.reserve_blocks = le32_make(super->reserve_blocks);
    disk.tree_levels = le32_make(super->tree_levels);
    disk.tree_root = le64_make(super->tree_root.nr);
    disk.next_ino = le64_make(super->next_ino);
    disk.free_blocks = le64_make(super->free_blocks);
    disk.inode_count = le64_make(super->inode_count);
    disk.txn = le64_make(super->txn);
    disk.journal_generation = le64_make(super->journal_generation);
    disk.name_seed = le64_make(super->name_seed);
    disk.made_seconds = le64_make(super->made_seconds);
    disk.log_seq = le64_make(super->log.seq);
    memcpy(disk.log_device, super->log.device.bytes, sizeof(disk.log_device));
    memcpy(block, &disk, sizeof(disk));
}
