/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An empty filesystem: five blocks in one io unit, so it is there whole or not at all.
 *
 *   | super | bitmap 0 | summary 0 | root leaf | ...                        | super copy |
 *
 * Everything else is made when it is first used, so the time does not depend on the size. Runs on
 * the caller's thread, before anything is mounted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "btree_node.h"
#include "fs_internal.h"
#include "r5fs/base/bitmap.h"

#define FORMAT_BLOCKS 5u
_Static_assert(FORMAT_BLOCKS *BLOCK_BYTES <= FS_SCRATCH_BYTES, "built in the scratch buffer");

enum format_block {
    FORMAT_SUPER,
    FORMAT_BITMAP,
    FORMAT_SUMMARY,
    FORMAT_ROOT,
    FORMAT_COPY,
};

struct format {
    struct fs_super super;
    struct fs_block addresses[FORMAT_BLOCKS];
    uint8_t *blocks; /* FORMAT_BLOCKS of them */
};

static uint8_t *format_at(struct format *format, enum format_block which)
{
    return format->blocks + (size_t)which * BLOCK_BYTES;
}

static void format_header(struct format *format, enum format_block which, uint32_t magic)
{
    struct fs_block_header header;
    fs_header_fill(
        &header, magic, format->addresses[which], &format->super.fs_uuid, format->super.txn);
    memcpy(format_at(format, which), &header, sizeof(header));
}

static void build_groups(struct format *format)
{
    struct fs_super *super = &format->super;
    uint32_t blocks = fs_group_blocks(super, 0);
    struct fs_bitmap_disk *bitmap = (void *)format_at(format, FORMAT_BITMAP);
    format_header(format, FORMAT_BITMAP, FS_MAGIC_BITMAP);
    bitmap_set_run(
        bitmap->bits, 0, (uint32_t)super->tree_root.nr + 1); /* fixed ones and the root */
    if (fs_block_is_fixed(super, fs_block(blocks - 1))) {
        bitmap_set_run(bitmap->bits, blocks - 1, 1);
    }
    bitmap_set_run(bitmap->bits, blocks, FS_BITMAP_BITS - blocks);
    uint32_t free_blocks = fs_group_room(super, 0) - 1;
    struct fs_summary_disk *summary = (void *)format_at(format, FORMAT_SUMMARY);
    format_header(format, FORMAT_SUMMARY, FS_MAGIC_SUMMARY);
    summary->groups[0].free_blocks = le32_make(free_blocks);
    summary->groups[0].longest_run = le32_make(free_blocks);
}

static void build_root(struct format *format, const struct fs_format_options *options)
{
    struct fs_inode inode = {
        .ino = FS_ROOT_INO,
        .generation = env_random_u64(),
        .parent = FS_ROOT_INO,
        .mode = S_IFDIR | (options->root_mode & 07777u),
        .nlink = 2,
        .uid = options->root_uid,
        .gid = options->root_gid,
        .atime = inode_now(),
    };
    inode.mtime = inode.atime;
    inode.ctime = inode.atime;
    inode.btime = inode.atime;
    struct fs_inode_disk disk;
    inode_encode(&inode, &disk);
    const struct fs_key key = fs_key(FS_ROOT_INO, FS_ITEM_INODE, 0);
    uint8_t *leaf = format_at(format, FORMAT_ROOT);
    format_header(format, FORMAT_ROOT, FS_MAGIC_NODE);
    btree_node_init(leaf, 0);
    btree_leaf_insert(leaf, 0, &key, &disk, sizeof(disk));
}

static int
format_build(struct format *format, struct array *array, const struct fs_format_options *options)
{
    struct fs_super *super = &format->super;
    int error = fs_super_plan(super, array_geometry(array));
    if (error != 0) {
        return error;
    }
    super->fs_uuid = options->uuid;
    super->array_uuid = array_uuid(array);
    memcpy(super->label, options->label, sizeof(super->label));
    super->flags = options->write_through ? FS_SUPER_WRITE_THROUGH : 0;
    super->tree_root = fs_block_add(fs_group_summary(super, 0), 1);
    super->tree_levels = 1;
    super->next_ino = FS_ROOT_INO + 1;
    super->free_blocks--;
    super->inode_count = 1;
    super->txn = 1;
    super->name_seed = env_random_u64();
    super->made_seconds = (uint64_t)inode_now().seconds;
    format->addresses[FORMAT_SUPER] = fs_block(0);
    format->addresses[FORMAT_BITMAP] = fs_group_bitmap(super, 0);
    format->addresses[FORMAT_SUMMARY] = fs_group_summary(super, 0);
    format->addresses[FORMAT_ROOT] = super->tree_root;
    format->addresses[FORMAT_COPY] = fs_super_copy_address(super);
    memset(format->blocks, 0, (size_t)FORMAT_BLOCKS * BLOCK_BYTES);
    fs_super_encode(super, fs_block(0), format_at(format, FORMAT_SUPER));
    fs_super_encode(super, fs_super_copy_address(super), format_at(format, FORMAT_COPY));
    build_groups(format);
    build_root(format, options);
    for (uint32_t i = 0; i < FORMAT_BLOCKS; i++) {
        fs_header_seal(format->blocks + (size_t)i * BLOCK_BYTES);
    }
    return 0;
}

static uint32_t format_seal(void *context)
{
    (void)context; /* the blocks are sealed already */
    return FORMAT_BLOCKS;
}

static void
format_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    struct format *format = context;
    *out_address = format->addresses[index];
    *out_data = format->blocks + (size_t)index * BLOCK_BYTES;
}

/* One transaction of the five blocks; the journal has an idle client again afterwards. */
static int format_commit(struct format *format, struct journal *journal, struct fs_thread *thread)
{
    const struct journal_client idle = txn_idle_client();
    struct journal_client client = idle;
    client.seal = format_seal;
    client.block = format_block;
    client.context = format;
    int error = journal_reserve(journal, &thread->reservation, 0, FORMAT_BLOCKS);
    if (error != 0) {
        return error;
    }
    journal_set_client(journal, &client);
    for (uint32_t i = 0; i < FORMAT_BLOCKS; i++) {
        journal_txn_join(journal, &thread->reservation);
    }
    journal_release(journal, &thread->reservation);
    error = journal_commit(journal, thread->queue, journal_running_txn(journal));
    journal_set_client(journal, &idle);
    return error;
}

int fs_format(struct journal *journal,
              struct array *array,
              struct fs_thread *thread,
              const struct fs_format_options *options,
              char *out_why)
{
    struct format format = {.blocks = thread->scratch};
    int error = format_build(&format, array, options);
    if (error == -ENOSPC) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "the volume has %llu blocks, a filesystem needs at least %u",
                       (unsigned long long)array_geometry(array)->volume_blocks,
                       FS_VOLUME_BLOCKS_MIN); /* cut short at worst */
        return error;
    }
    if (error == 0) {
        error = format_commit(&format, journal, thread);
    }
    if (error != 0) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "cannot write the empty filesystem: %s",
                       strerror(-error)); /* cut short at worst */
    }
    return error;
}
