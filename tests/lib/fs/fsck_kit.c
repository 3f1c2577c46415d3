/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fsck_kit.h. */
#include "fsck_kit.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "btree_node.h"

/* ---- the sample ------------------------------------------------------------------------------ */

static struct fs_name named(const char *text)
{
    return (struct fs_name){text, strlen(text)};
}

static uint64_t make(struct kit *kit, uint64_t parent, const char *name, uint32_t mode)
{
    static const char target[] = "some/where/else/";
    static char long_target[3000];
    const struct fs_caller caller = {.uid = 10, .gid = 20};
    struct fs_make from = {.mode = mode};
    struct fs_attr attr;
    if (S_ISLNK(mode)) {
        for (size_t i = 0; i < sizeof(long_target); i++) {
            long_target[i] = target[i % (sizeof(target) - 1)];
        }
        from.symlink_target = long_target;
        from.symlink_bytes = sizeof(long_target);
    }
    int error = fs_make(kit->fs, &kit->thread, &caller, parent, named(name), &from, &attr);
    ck_assert_msg(error == 0, "make %s: %d", name, error);
    return attr.ino;
}

static void write_at(struct kit *kit, uint64_t ino, uint64_t offset, const void *data, size_t bytes)
{
    uint32_t done = 0;
    int error = fs_write(kit->fs, &kit->thread, ino, offset, data, (uint32_t)bytes, false, &done);
    ck_assert_msg(error == 0 && done == bytes, "write: %d, %u bytes", error, done);
}

static uint64_t make_file(struct kit *kit, uint64_t parent, const char *name)
{
    uint64_t ino = make(kit, parent, name, S_IFREG | 0644);
    write_at(kit, ino, 0, SAMPLE_TEXT, sizeof(SAMPLE_TEXT));
    return ino;
}

static void link_to(struct kit *kit, uint64_t ino, uint64_t parent, const char *name)
{
    struct fs_attr attr;
    ck_assert_int_eq(fs_link(kit->fs, &kit->thread, ino, parent, named(name), &attr), 0);
}

static void
set_attribute(struct kit *kit, uint64_t ino, const char *name, const uint8_t *value, size_t bytes)
{
    int error = fs_setxattr(kit->fs, &kit->thread, ino, named(name), value, bytes, 0, false);
    ck_assert_msg(error == 0, "attribute %s: %d", name, error);
}

static void make_attributes(struct kit *kit, uint64_t ino, uint64_t dir)
{
    /* owner rwx, user 7 r--, group r--, mask r--, other --- */
    static const uint8_t list[] = {
        2,  0, 0, 0,                         /* version */
        1,  0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
        2,  0, 4, 0, 7,    0,    0,    0,    /* a user */
        4,  0, 4, 0, 0xff, 0xff, 0xff, 0xff, /* group */
        16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, /* mask */
        32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* other */
    };
    uint8_t large[9000];
    memset(large, 'v', sizeof(large));
    set_attribute(kit, ino, "user.small", large, 12);
    set_attribute(kit, ino, "user.large", large, sizeof(large));
    set_attribute(kit, ino, "trusted.larger", large, 5000);
    set_attribute(kit, ino, "system.posix_acl_access", list, sizeof(list));
    const struct fs_attr in = {.mode = 0751};
    struct fs_attr out;
    ck_assert_int_eq(fs_setattr(kit->fs, &kit->thread, ino, &in, FS_SET_MODE, &out), 0);
    set_attribute(kit, dir, "system.posix_acl_default", list, sizeof(list));
    (void)make(kit, dir, "inherits", S_IFREG | 0666); /* its number is not needed */
    (void)make(kit, dir, "inherits too", S_IFDIR | 0777);
}

/* A file whose map has several extents and a hole. */
static void fill_file(struct kit *kit, uint64_t ino, uint64_t other)
{
    const size_t block = BLOCK_BYTES;
    uint8_t *data = malloc(8 * block);
    ck_assert_ptr_nonnull(data);
    memset(data, 'd', 8 * block);
    for (uint32_t i = 0; i < 6; i++) {
        write_at(kit, ino, (uint64_t)i * 16 * BLOCK_BYTES, data, 5 * block);
        write_at(kit, other, (uint64_t)i * 8 * BLOCK_BYTES, data, 8 * block);
    }
    free(data);
}

void sample_make(struct sample *sample, uint64_t volume_blocks, uint32_t many_files)
{
    const struct fake_options options = {.volume_blocks = volume_blocks, .trace = true};
    struct kit kit;
    kit_init(&kit, &options);
    sample->many_files = many_files;
    sample->dir = make(&kit, FS_ROOT_INO, "dir", S_IFDIR | 0755);
    sample->sub = make(&kit, sample->dir, "sub", S_IFDIR | 0755);
    sample->deep = make(&kit, sample->sub, "deep", S_IFDIR | 0755);
    (void)make_file(&kit, sample->deep, "bottom"); /* its number is not needed */
    sample->file = make_file(&kit, sample->dir, "file");
    sample->other = make_file(&kit, sample->dir, "other");
    fill_file(&kit, sample->file, sample->other);
    sample->twice = make_file(&kit, sample->dir, "twice");
    link_to(&kit, sample->twice, sample->sub, "twice");
    sample->symlink = make(&kit, sample->dir, "symlink", S_IFLNK | 0777);
    (void)make(&kit, sample->dir, "pipe", S_IFIFO | 0600); /* likewise */
    sample->attributes = make_file(&kit, sample->dir, "attributes");
    make_attributes(&kit, sample->attributes, make(&kit, sample->dir, "listed", S_IFDIR | 0770));
    sample->many = make(&kit, FS_ROOT_INO, "many", S_IFDIR | 0755);
    for (uint32_t i = 0; i < many_files; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "a file with number %u and a longer name", i);
        (void)make_file(&kit, sample->many, name);
    }
    sample->kept = make_file(&kit, FS_ROOT_INO, "kept");
    uint64_t half = fake_volume_blocks(kit.journal) / 2 * BLOCK_BYTES;
    ck_assert_int_eq(fs_fallocate(kit.fs, &kit.thread, sample->kept, FALLOC_FL_KEEP_SIZE, 0, half),
                     0);
    kit_unmount(&kit);
    sample->journal = kit.journal;
    kit_thread_fini(&kit.thread);
}

struct journal *sample_image(const struct sample *sample)
{
    return fake_journal_at(sample->journal, fake_units(sample->journal), false);
}

/* ---- the check ------------------------------------------------------------------------------- */

static void keep_line(void *context, const char *line)
{
    struct check_run *run = context;
    int length = snprintf(run->text + run->used, sizeof(run->text) - run->used, "%s\n", line);
    if (length > 0 && run->used + (size_t)length < sizeof(run->text)) {
        run->used += (size_t)length;
    }
}

int check_run(struct journal *journal, bool repair, struct check_run *out_run)
{
    struct fs_thread thread;
    struct arena arena;
    memset(out_run, 0, sizeof(*out_run));
    arena_init_growing(&arena);
    kit_thread_init(&thread);
    const struct fs_check_options options = {
        .repair = repair,
        .arena = &arena,
        .report = keep_line,
        .context = out_run,
    };
    int error = fs_check(journal, fake_array(journal), &thread, &options, &out_run->result);
    kit_thread_fini(&thread);
    arena_fini(&arena);
    return error;
}

void check_repairs(struct journal *journal, struct check_run *out_run)
{
    static struct check_run again;
    int error = check_run(journal, true, out_run);
    ck_assert_msg(error == 0, "repair: error %d\n%.3000s", error, out_run->text);
    error = check_run(journal, false, &again);
    ck_assert_msg(error == 0 && again.result.problems == 0,
                  "after the repair: error %d, %llu problems\n%.3000s---- it had said\n%.3000s",
                  error,
                  (unsigned long long)again.result.problems,
                  again.text,
                  out_run->text);
    ck_assert_msg(out_run->result.problems == out_run->result.repaired,
                  "%llu problems, %llu repaired\n%.3000s",
                  (unsigned long long)out_run->result.problems,
                  (unsigned long long)out_run->result.repaired,
                  out_run->text);
}

/* ---- walking --------------------------------------------------------------------------------- */

struct walk {
    uint64_t *inos; /* found, still to be looked at */
    size_t count;
    size_t room;
};

static bool walk_entry(void *context, const struct fs_dirent *entry)
{
    struct walk *walk = context;
    bool dots =
        entry->name.bytes[0] == '.' &&
        (entry->name.length == 1 || (entry->name.length == 2 && entry->name.bytes[1] == '.'));
    if (dots) {
        return true;
    }
    if (walk->count == walk->room) {
        walk->room = walk->room == 0 ? 64 : 2 * walk->room;
        walk->inos = realloc(walk->inos, walk->room * sizeof(*walk->inos));
        ck_assert_ptr_nonnull(walk->inos);
    }
    walk->inos[walk->count++] = entry->ino;
    return true;
}

static void walk_attributes(struct kit *kit, uint64_t ino)
{
    static char list[65536];
    static uint8_t value[FS_XATTR_VALUE_BYTES_MAX];
    size_t bytes = 0;
    ck_assert_int_eq(fs_listxattr(kit->fs, &kit->thread, ino, true, list, sizeof(list), &bytes), 0);
    for (size_t at = 0; at < bytes; at += strlen(list + at) + 1) {
        size_t value_bytes = 0;
        int error = fs_getxattr(
            kit->fs, &kit->thread, ino, named(list + at), value, sizeof(value), &value_bytes);
        ck_assert_msg(error == 0, "attribute %s: %d", list + at, error);
    }
}

static void walk_contents(struct kit *kit, const struct fs_attr *attr, struct walk *walk)
{
    static _Alignas(BLOCK_BYTES) uint8_t buffer[FS_IO_BYTES_MAX + 2 * BLOCK_BYTES];
    static char target[FS_SYMLINK_BYTES_MAX];
    int error = 0;
    size_t bytes = 0;
    if (S_ISDIR(attr->mode)) {
        error = fs_readdir(kit->fs, &kit->thread, attr->ino, 0, true, walk_entry, walk);
    } else if (S_ISLNK(attr->mode)) {
        error = fs_readlink(kit->fs, &kit->thread, attr->ino, target, &bytes);
    } else if (S_ISREG(attr->mode)) {
        uint32_t skip = 0;
        uint32_t done = 0;
        error = fs_read(kit->fs, &kit->thread, attr->ino, 0, FS_IO_BYTES_MAX, buffer, &skip, &done);
    }
    ck_assert_msg(error == 0, "inode %llu: %d", (unsigned long long)attr->ino, error);
}

uint64_t check_walk(struct journal *journal)
{
    struct kit kit;
    struct walk walk = {.inos = NULL};
    uint64_t seen = 0;
    char why[FS_WHY_BYTES] = "";
    memset(&kit, 0, sizeof(kit));
    kit.journal = journal;
    kit_thread_init(&kit.thread);
    int error = kit_mount(&kit, false, why);
    ck_assert_msg(error == 0, "mount: %d %s", error, why);
    uint64_t ino = FS_ROOT_INO;
    for (;;) {
        struct fs_attr attr;
        error = fs_getattr(kit.fs, &kit.thread, ino, &attr);
        ck_assert_msg(error == 0, "inode %llu: %d", (unsigned long long)ino, error);
        walk_contents(&kit, &attr, &walk);
        walk_attributes(&kit, ino);
        seen++;
        if (walk.count == 0) {
            break;
        }
        ino = walk.inos[--walk.count];
    }
    kit_unmount(&kit);
    kit_thread_fini(&kit.thread);
    free(walk.inos);
    return seen;
}

/* ---- images ---------------------------------------------------------------------------------- */

struct fs_super image_super(struct journal *journal)
{
    struct fs_super super;
    char why[FS_WHY_BYTES] = "";
    int error = fs_super_decode(&super,
                                fake_block_bytes(journal, fs_block(0)),
                                fs_block(0),
                                fake_volume_blocks(journal),
                                why);
    ck_assert_msg(error == 0, "super: %s", why);
    return super;
}

void image_seal(struct journal *journal, struct fs_block block)
{
    fs_header_seal(fake_block_bytes(journal, block));
    fake_block_changed(journal, block);
}

void image_zero(struct journal *journal, struct fs_block block)
{
    memset(fake_block_bytes(journal, block), 0, BLOCK_BYTES);
    fake_block_changed(journal, block);
}

void image_set_super(struct journal *journal, const struct fs_super *super, bool copy_too)
{
    const struct fs_block copy = fs_super_copy_address(super);
    fs_super_encode(super, fs_block(0), fake_block_bytes(journal, fs_block(0)));
    image_seal(journal, fs_block(0));
    if (copy_too) {
        fs_super_encode(super, copy, fake_block_bytes(journal, copy));
        image_seal(journal, copy);
    }
}

/* The leaf where the key is or would be. */
static struct fs_block leaf_of(struct journal *journal, const struct fs_key *key)
{
    struct fs_super super = image_super(journal);
    struct fs_block block = super.tree_root;
    for (uint32_t level = super.tree_levels - 1; level > 0; level--) {
        bool equal = false;
        const uint8_t *node = fake_block_bytes(journal, block);
        uint32_t slot = btree_node_search(node, key, &equal);
        block = btree_child(node, equal || slot == 0 ? slot : slot - 1);
    }
    return block;
}

struct fs_block image_leaf(struct journal *journal, const struct fs_key *key)
{
    bool equal = false;
    struct fs_block leaf = leaf_of(journal, key);
    (void)btree_node_search(fake_block_bytes(journal, leaf), key, &equal); /* only `equal` counts */
    ck_assert_msg(equal,
                  "no item %llu/%u/%llu",
                  (unsigned long long)key->ino,
                  key->type,
                  (unsigned long long)key->offset);
    return leaf;
}

uint8_t *image_item(struct journal *journal, const struct fs_key *key, uint32_t *out_bytes)
{
    bool equal = false;
    uint8_t *leaf = fake_block_bytes(journal, image_leaf(journal, key));
    uint32_t slot = btree_node_search(leaf, key, &equal);
    (void)btree_leaf_data(leaf, slot, out_bytes); /* only the length is wanted */
    return btree_leaf_data_mutable(leaf, slot);
}

void image_remove_item(struct journal *journal, const struct fs_key *key)
{
    bool equal = false;
    struct fs_block block = image_leaf(journal, key);
    uint8_t *leaf = fake_block_bytes(journal, block);
    btree_leaf_remove(leaf, btree_node_search(leaf, key, &equal));
    image_seal(journal, block);
}

void image_rekey(struct journal *journal, const struct fs_key *key, const struct fs_key *to)
{
    bool equal = false;
    struct fs_block block = image_leaf(journal, key);
    uint8_t *leaf = fake_block_bytes(journal, block);
    uint32_t slot = btree_node_search(leaf, key, &equal);
    const struct fs_key_disk disk = {le64_make(to->ino), to->type, le64_make(to->offset)};
    memcpy(leaf + sizeof(struct fs_node_disk) + (size_t)slot * sizeof(struct fs_item_disk),
           &disk,
           sizeof(disk));
    image_seal(journal, block);
}

bool image_next(struct journal *journal, struct fs_key *key)
{
    bool equal = false;
    uint8_t *leaf = fake_block_bytes(journal, leaf_of(journal, key));
    uint32_t slot = btree_node_search(leaf, key, &equal);
    slot += equal ? 1 : 0;
    if (slot >= btree_node_count(leaf)) {
        return false; /* tests choose items within a leaf */
    }
    *key = btree_node_key(leaf, slot);
    return true;
}

struct fs_key image_first(struct journal *journal, uint64_t ino, enum fs_item_type type)
{
    struct fs_key key = fs_key(ino, type, 0);
    struct fs_key found = key;
    bool equal = false;
    const uint8_t *leaf = fake_block_bytes(journal, leaf_of(journal, &key));
    (void)btree_node_search(leaf, &key, &equal); /* only `equal` counts */
    ck_assert(equal || image_next(journal, &found));
    ck_assert_msg(found.ino == ino && found.type == type,
                  "inode %llu has no item %u where it is looked for",
                  (unsigned long long)ino,
                  (unsigned)type);
    return found;
}

uint32_t image_metadata(struct journal *journal, struct fs_block *out_blocks, uint32_t max)
{
    struct fs_super super = image_super(journal);
    uint32_t count = 0;
    ck_assert_uint_gt(max, 8);
    out_blocks[count++] = fs_block(0);
    out_blocks[count++] = fs_super_copy_address(&super);
    out_blocks[count++] = fs_group_bitmap(&super, 0);
    out_blocks[count++] = fs_group_summary(&super, 0);
    uint32_t first = count;
    out_blocks[count++] = super.tree_root;
    for (uint32_t i = first; i < count; i++) {
        const uint8_t *node = fake_block_bytes(journal, out_blocks[i]);
        for (uint32_t k = 0; btree_node_level(node) > 0 && k < btree_node_count(node); k++) {
            ck_assert_uint_lt(count, max);
            out_blocks[count++] = btree_child(node, k);
        }
    }
    return count;
}
