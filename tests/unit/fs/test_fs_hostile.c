/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claims about metadata that lies although its checksums are right: whatever is done with such a
 * filesystem ends, with an error at worst, and never brings the process down.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsck_kit.h"
#include "op_kit.h"

#define FILES      60u
#define ROUNDS     60u
#define OPERATIONS 300u
#define BLOCKS_MAX 1024u
#define NAMES_MAX  64u
/* No directory of the sample has so many names, whatever was changed in one of its leaves. */
#define LISTED_MAX 20000u

static struct sample sample;
static uint64_t random_state;

static void setup(void)
{
    sample_make(&sample, 4096, FILES);
}

static void teardown(void)
{
    fake_journal_free(sample.journal);
}

static uint64_t below(uint64_t limit)
{
    return kit_below(&random_state, limit);
}

/* ---- the lies -------------------------------------------------------------------------------- */

static uint64_t interesting(void)
{
    static const uint64_t values[] = {0,
                                      1,
                                      2,
                                      FS_EXTENT_BLOCKS_MAX,
                                      FS_EXTENT_BLOCKS_MAX + 1,
                                      0xff,
                                      0xffff,
                                      UINT32_MAX,
                                      (uint64_t)UINT32_MAX + 1,
                                      INT64_MAX,
                                      (uint64_t)INT64_MAX + 1,
                                      UINT64_MAX - 4095,
                                      UINT64_MAX};
    const size_t count = sizeof(values) / sizeof(values[0]);
    uint64_t which = below(2 * count);
    return which < count ? values[which] : below(300); /* an inode's number, or a block's */
}

static void lie_in_block(uint8_t *bytes)
{
    uint64_t lies = 1 + below(4);
    for (uint64_t i = 0; i < lies; i++) {
        if (below(2) == 0) {
            bytes[32 + below(BLOCK_BYTES - 32)] ^= (uint8_t)(1u << below(8));
        } else {
            static const uint32_t widths[] = {1, 2, 4, 8};
            uint32_t width = widths[below(4)];
            uint64_t value = interesting();
            memcpy(bytes + 32 + below(BLOCK_BYTES - 32 - width), &value, width);
        }
    }
    fs_header_seal(bytes);
}

/* Item data only, so that nodes stay right and the items lie. */
static void lie_in_item(struct journal *journal)
{
    static const enum fs_item_type types[] = {FS_ITEM_INODE,
                                              FS_ITEM_XATTR,
                                              FS_ITEM_SYMLINK,
                                              FS_ITEM_DIRENT,
                                              FS_ITEM_DIRENT,
                                              FS_ITEM_EXTENT,
                                              FS_ITEM_EXTENT};
    const uint64_t inos[] = {FS_ROOT_INO,
                             sample.dir,
                             sample.sub,
                             sample.file,
                             sample.other,
                             sample.symlink,
                             sample.attributes,
                             sample.many,
                             sample.kept};
    for (uint32_t tries = 0; tries < 20; tries++) {
        uint64_t ino = inos[below(sizeof(inos) / sizeof(inos[0]))];
        enum fs_item_type type = types[below(sizeof(types) / sizeof(types[0]))];
        bool has = type == FS_ITEM_INODE ||
                   (type == FS_ITEM_DIRENT && (ino == FS_ROOT_INO || ino == sample.dir ||
                                               ino == sample.sub || ino == sample.many)) ||
                   (type == FS_ITEM_EXTENT &&
                    (ino == sample.file || ino == sample.other || ino == sample.kept)) ||
                   (type == FS_ITEM_XATTR && ino == sample.attributes) ||
                   (type == FS_ITEM_SYMLINK && ino == sample.symlink);
        if (!has) {
            continue;
        }
        struct fs_key key = image_first(journal, ino, type);
        for (uint64_t skip = below(8); skip > 0; skip--) {
            struct fs_key next = key;
            if (!image_next(journal, &next) || next.ino != ino || next.type != type) {
                break;
            }
            key = next;
        }
        uint32_t bytes = 0;
        uint8_t *data = image_item(journal, &key, &bytes);
        uint32_t width = type == FS_ITEM_INODE || below(2) == 0 ? 8 : 4;
        if (bytes < width) {
            continue;
        }
        uint64_t value = interesting();
        uint64_t fields = (bytes < 64 ? bytes : 64) / width;
        memcpy(data + below(fields) * width, &value, width);
        image_seal(journal, image_leaf(journal, &key));
        return;
    }
}

static void lie(struct journal *journal)
{
    static struct fs_block blocks[BLOCKS_MAX];
    uint64_t lies = 1 + below(3);
    if (below(3) > 0) {
        lie_in_item(journal); /* one: the next might not be found through it */
        return;
    }
    uint32_t count = image_metadata(journal, blocks, BLOCKS_MAX);
    for (uint64_t i = 0; i < lies; i++) {
        struct fs_block block = blocks[below(count)];
        lie_in_block(fake_block_bytes(journal, block));
        fake_block_changed(journal, block);
    }
}

/* An error, success or a number of bytes: all are right as long as there is an answer. */
static void any_answer(int64_t answer)
{
    ck_assert_int_ge(answer, -4095);
}

/* ---- what is done with it -------------------------------------------------------------------- */

struct listing {
    uint32_t count;
    uint32_t name_count;
    uint64_t last_cookie;
    char names[NAMES_MAX][FS_NAME_BYTES_MAX + 1];
};

static bool list_entry(void *context, const struct fs_dirent *entry)
{
    struct listing *listing = context;
    ck_assert_uint_le(entry->name.length, FS_NAME_BYTES_MAX);
    if (listing->count >= 2 && listing->name_count < NAMES_MAX) {
        char *to = listing->names[listing->name_count++];
        memcpy(to, entry->name.bytes, entry->name.length);
        to[entry->name.length] = '\0';
    }
    listing->last_cookie = entry->cookie;
    ck_assert_uint_lt(listing->count, LISTED_MAX);
    listing->count++;
    return true;
}

static const char *any_name(const struct listing *listing)
{
    return listing->name_count == 0 ? "nothing" : listing->names[below(listing->name_count)];
}

static void note_gone(struct kit *kit, int error, uint64_t gone)
{
    if (error == 0 && gone != 0) {
        any_answer(fs_evict(kit->fs, &kit->thread, gone));
    }
}

static void do_with_names(struct kit *kit, uint64_t ino, const struct listing *listing)
{
    static const char *const dirs[] = {"dir", "many", "sub"};
    uint64_t other = FS_ROOT_INO;
    uint64_t made = 0;
    uint64_t gone = 0;
    int error = 0;
    any_answer(op_lookup(kit, FS_ROOT_INO, dirs[below(3)], &other));
    switch (below(7)) {
    case 0:
        error = op_unlink(kit, ino, any_name(listing), &gone);
        note_gone(kit, error, gone);
        break;
    case 1:
        error = op_rmdir(kit, ino, any_name(listing), &gone);
        note_gone(kit, error, gone);
        break;
    case 2:
        any_answer(op_rename(kit, ino, any_name(listing), other, "moved", (unsigned)below(3)));
        break;
    case 3:
        any_answer(op_rename(kit, other, "moved", ino, any_name(listing), (unsigned)below(3)));
        break;
    case 4:
        any_answer(
            op_make(kit, ino, "made", below(2) == 0 ? S_IFDIR | 0777 : S_IFREG | 0666, &made));
        break;
    case 5: any_answer(op_link(kit, 1 + below(100), ino, "linked")); break;
    default:
        any_answer(op_lookup(kit, ino, any_name(listing), &made));
        any_answer(op_lookup(kit, ino, "..", &made));
        break;
    }
}

static uint64_t any_offset(void)
{
    return below(8) == 0 ? interesting() : below(UINT64_C(700000));
}

static void do_with_contents(struct kit *kit, uint64_t ino)
{
    static _Alignas(BLOCK_BYTES) uint8_t buffer[FS_IO_BYTES_MAX + 2 * BLOCK_BYTES];
    static const int modes[] = {
        0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
    uint32_t done = 0;
    uint32_t skip = 0;
    uint64_t at = 0;
    size_t bytes = 0;
    switch (below(6)) {
    case 0:
        any_answer(fs_read(
            kit->fs, &kit->thread, ino, any_offset(), FS_IO_BYTES_MAX, buffer, &skip, &done));
        break;
    case 1:
        any_answer(fs_write(kit->fs,
                            &kit->thread,
                            ino,
                            any_offset(),
                            buffer,
                            1 + (uint32_t)below(60000),
                            true,
                            &done));
        break;
    case 2: any_answer(op_truncate(kit, ino, any_offset())); break;
    case 3:
        any_answer(fs_fallocate(kit->fs,
                                &kit->thread,
                                ino,
                                modes[below(4)],
                                any_offset(),
                                1 + below(UINT64_C(500000))));
        break;
    case 4:
        any_answer(fs_seek(
            kit->fs, &kit->thread, ino, any_offset(), below(2) == 0 ? SEEK_DATA : SEEK_HOLE, &at));
        break;
    default: any_answer(fs_readlink(kit->fs, &kit->thread, ino, (char *)buffer, &bytes)); break;
    }
}

static void do_with_attributes(struct kit *kit, uint64_t ino)
{
    static const char *const names[] = {"user.small",
                                        "user.large",
                                        "trusted.larger",
                                        "system.posix_acl_access",
                                        "system.posix_acl_default"};
    static uint8_t value[FS_XATTR_VALUE_BYTES_MAX];
    const char *name = names[below(5)];
    size_t bytes = 0;
    switch (below(6)) {
    case 0: any_answer(op_set_xattr(kit, ino, name, value, 1 + below(9000))); break;
    case 1: any_answer(op_get_xattr(kit, ino, name, value, sizeof(value))); break;
    case 2: any_answer(fs_removexattr(kit->fs, &kit->thread, ino, op_name(name))); break;
    case 3: any_answer(op_set_mode(kit, ino, (uint32_t)below(07777))); break;
    case 4: any_answer(fs_evict(kit->fs, &kit->thread, ino)); break;
    default:
        any_answer(
            fs_listxattr(kit->fs, &kit->thread, ino, true, (char *)value, sizeof(value), &bytes));
        break;
    }
}

static void use(struct kit *kit)
{
    static struct listing listing;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        const uint64_t dirs[] = {FS_ROOT_INO, sample.dir, sample.sub, sample.deep, sample.many};
        const uint64_t files[] = {
            sample.file, sample.other, sample.attributes, sample.kept, sample.symlink};
        uint64_t ino = below(4) == 0 ? 1 + below(100) : files[below(5)];
        switch (below(4)) {
        case 0:
        case 1:
            ino = dirs[below(5)];
            listing.count = 0;
            listing.name_count = 0;
            any_answer(fs_readdir(kit->fs,
                                  &kit->thread,
                                  ino,
                                  below(4) == 0 ? interesting() & INT64_MAX : 0,
                                  below(2) == 0,
                                  list_entry,
                                  &listing));
            do_with_names(kit, ino, &listing);
            break;
        case 2: do_with_contents(kit, ino); break;
        default: do_with_attributes(kit, ino); break;
        }
        if (below(40) == 0) {
            any_answer(fs_sync(kit->fs, &kit->thread));
        }
    }
}

static void use_one(uint64_t seed)
{
    struct kit kit;
    char why[FS_WHY_BYTES] = "";
    random_state = seed;
    memset(&kit, 0, sizeof(kit));
    kit.journal = sample_image(&sample);
    fake_allow_overlaps(kit.journal);
    lie(kit.journal);
    kit_thread_init(&kit.thread);
    if (kit_mount(&kit, below(8) == 0, why) == 0) {
        use(&kit);
        buffer_pool_verify(&kit.fs->buffers);
        any_answer(fs_unmount(kit.fs, &kit.thread));
        kit.fs = NULL;
        arena_fini(&kit.arena);
    }
    kit_fini(&kit);
}

START_TEST(whatever_is_done_with_lies_ends)
{
    uint64_t seed = kit_seed("hostile");
    const char *rounds = getenv("R5_ROUNDS");
    uint64_t count = rounds != NULL ? strtoull(rounds, NULL, 10) : ROUNDS;
    for (uint64_t i = 0; i < count; i++) {
        if (rounds != NULL) {
            (void)fprintf(stderr, "seed %llu\n", (unsigned long long)(seed + i));
        }
        use_one(seed + i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_hostile");
    TCase *lies = tcase_create("lies");
    tcase_set_timeout(lies, 280);
    tcase_add_unchecked_fixture(lies, setup, teardown);
    tcase_add_test(lies, whatever_is_done_with_lies_ends);
    suite_add_tcase(suite, lies);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
