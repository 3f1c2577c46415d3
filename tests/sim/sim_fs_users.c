/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What users of a simulated filesystem do.
 *
 * Invariants:
 *   SF1  a user's own files are at any time what its operations made of them.
 *   SF3  a write of the shared file is seen whole or not at all.
 *
 * Happy path: begin the next state, the operation, done. Failure modes: an error that no fault
 * explains fails the seed.
 * Thread: fibers; a user's history is its own.
 */
#include "sim_fs_users.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "r5fs/base/env.h"
#include "sim_dry.h"

#define SLEEP_NS_MAX UINT64_C(3000000000)

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1u << 1)
#endif

struct fs_scale fs_scale;
struct fs_user fs_users[FS_USERS];
uint64_t fs_shared_file;
uint64_t fs_shared_dir;
const struct fs_caller fs_user_caller = {.umask = 022};

struct fs_name fs_user_name(const char *text)
{
    return (struct fs_name){.bytes = text, .length = strlen(text)};
}

static const char *file_name(uint32_t file, char text[FS_NAME_ROOM])
{
    (void)snprintf(text, FS_NAME_ROOM, "file%u", file); /* always fits */
    return text;
}

void fs_must(int error, const char *what)
{
    SIM_EXPECT(error == 0, "%s: error %d", what, error);
}

/* ---- own files ------------------------------------------------------------------------------ */

static void make(struct fs_user *user, uint32_t file)
{
    char text[FS_NAME_ROOM];
    struct fs_attr attr;
    const struct fs_make how = {.mode = S_IFREG | 0644};
    struct tree_state *next = tree_begin(&user->tree);

    next->files[file] = (struct tree_file){.ino = TREE_ANY_INO};
    fs_must(fs_make(user->life->fs,
                    &user->thread,
                    &fs_user_caller,
                    user->dir,
                    fs_user_name(file_name(file, text)),
                    &how,
                    &attr),
            "make");
    next->files[file].ino = attr.ino;
    tree_done(&user->tree);
}

static void evict(struct fs_user *user, uint64_t ino)
{
    if (ino != 0) {
        fs_must(fs_evict(user->life->fs, &user->thread, ino), "evict");
    }
}

static void drop(struct fs_user *user, uint32_t file)
{
    char text[FS_NAME_ROOM];
    uint64_t gone = 0;
    struct tree_state *next = tree_begin(&user->tree);
    uint64_t ino = next->files[file].ino;

    next->files[file] = (struct tree_file){0};
    fs_must(
        fs_unlink(
            user->life->fs, &user->thread, user->dir, fs_user_name(file_name(file, text)), &gone),
        "unlink");
    SIM_EXPECT(gone == ino, "unlink: inode %llu is gone", (unsigned long long)gone);
    tree_done(&user->tree);
    evict(user, gone);
}

static void move(struct fs_user *user, uint32_t file)
{
    char from[FS_NAME_ROOM];
    char to[FS_NAME_ROOM];
    uint64_t gone = 0;
    uint32_t other = (file + 1 + sim_below(&user->random, TREE_FILES - 1)) % TREE_FILES;
    struct tree_state *next = tree_begin(&user->tree);
    struct tree_file moved = next->files[file];
    bool exchange = next->files[other].ino != 0 && sim_one_in(&user->random, 2);

    next->files[file] = exchange ? next->files[other] : (struct tree_file){0};
    next->files[other] = moved;
    fs_must(fs_rename(user->life->fs,
                      &user->thread,
                      user->dir,
                      fs_user_name(file_name(file, from)),
                      user->dir,
                      fs_user_name(file_name(other, to)),
                      exchange ? RENAME_EXCHANGE : 0,
                      &gone),
            "rename");
    tree_done(&user->tree);
    evict(user, gone);
}

static void write_file(struct fs_user *user, uint32_t file)
{
    struct tree_state *next = tree_begin(&user->tree);
    struct tree_file *own = &next->files[file];
    uint32_t size = own->size;
    uint32_t offset =
        sim_one_in(&user->random, 3) ? size : sim_below(&user->random, fs_scale.file_bytes);
    uint32_t left = fs_scale.file_bytes - offset;
    uint32_t most = left < fs_scale.write_bytes ? left : fs_scale.write_bytes;
    uint32_t written = 0;

    if (most == 0) {
        tree_undo(&user->tree);
        return;
    }
    uint32_t bytes = 1 + sim_below(&user->random, most);
    if (sim_one_in(&user->random, 2)) { /* whole blocks */
        offset = (uint32_t)round_down(offset, BLOCK_BYTES);
        bytes = (uint32_t)min_u64(round_up(bytes, BLOCK_BYTES), fs_scale.file_bytes - offset);
    }
    uint64_t number = sim_random(&user->random) | 1;
    for (uint32_t i = 0; i + sizeof(number) <= bytes + sizeof(number); i += sizeof(number)) {
        memcpy(user->buffer + i, &number, sizeof(number));
    }
    tree_write(own, offset, user->buffer, bytes);
    fs_must(
        fs_write(
            user->life->fs, &user->thread, own->ino, offset, user->buffer, bytes, false, &written),
        "write");
    SIM_EXPECT(written == bytes, "write: %u of %u bytes", written, bytes);
    tree_done(&user->tree);
}

static void truncate_file(struct fs_user *user, uint32_t file)
{
    struct tree_file *own = &tree_begin(&user->tree)->files[file];
    struct fs_attr attr = {.size = sim_below(&user->random, fs_scale.file_bytes + 1)};
    struct fs_attr after;

    tree_truncate(own, (uint32_t)attr.size);
    fs_must(fs_setattr(user->life->fs, &user->thread, own->ino, &attr, FS_SET_SIZE, &after),
            "truncate");
    tree_done(&user->tree);
}

static void punch(struct fs_user *user, uint32_t file)
{
    struct tree_file *own = &tree_begin(&user->tree)->files[file];
    uint32_t offset = sim_below(&user->random, fs_scale.file_bytes);
    uint32_t bytes = 1 + sim_below(&user->random, fs_scale.file_bytes - offset);
    uint32_t kind = sim_below(&user->random, 3);
    int mode = kind == 0   ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
               : kind == 1 ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
                           : 0;

    if (mode != 0) {
        tree_zero(own, offset, bytes);
    } else if (own->size < offset + bytes) {
        tree_truncate(own, offset + bytes);
    }
    fs_must(fs_fallocate(user->life->fs, &user->thread, own->ino, mode, offset, bytes),
            "fallocate");
    tree_done(&user->tree);
}

static void
read_file(struct fs_user *user, uint64_t ino, uint32_t size, struct tree_file *out_found)
{
    uint32_t skip = 0;
    uint32_t bytes = 0;
    uint8_t page[BLOCK_BYTES];

    *out_found = (struct tree_file){.ino = ino, .size = size};
    for (uint32_t at = 0; at < size; at += BLOCK_BYTES) {
        uint32_t want = size - at < BLOCK_BYTES ? size - at : BLOCK_BYTES;
        fs_must(
            fs_read(
                user->life->fs, &user->thread, ino, at, BLOCK_BYTES, user->buffer, &skip, &bytes),
            "read");
        SIM_EXPECT(bytes == want, "read at %u of %u: %u bytes", at, size, bytes);
        memset(page, 0, sizeof(page));
        memcpy(page, user->buffer + skip, bytes);
        out_found->pages[at / BLOCK_BYTES] = tree_page(page);
    }
}

/* SF1 */
static void compare(struct fs_user *user, uint32_t file)
{
    const struct tree_file *own = &tree_now(&user->tree)->files[file];
    struct tree_file found = {0};
    struct fs_attr attr;

    fs_must(fs_getattr(user->life->fs, &user->thread, own->ino, &attr), "getattr");
    SIM_EXPECT(attr.size <= TREE_BYTES, "a size of %llu", (unsigned long long)attr.size);
    read_file(user, attr.ino, (uint32_t)attr.size, &found);
    SIM_EXPECT(tree_file_equals(own, &found), "%s: file %u differs", user->name, file);
}

struct listing {
    unsigned names;
    unsigned others;
};

static bool count_name(void *context, const struct fs_dirent *entry)
{
    struct listing *listing = context;

    if (entry->name.bytes[0] != '.') {
        listing->names++;
    }
    return true;
}

void fs_user_list(struct fs_user *user)
{
    const struct tree_state *now = tree_now(&user->tree);
    struct listing listing = {0};
    unsigned expected = 0;

    for (uint32_t file = 0; file < TREE_FILES; file++) {
        expected += now->files[file].ino != 0;
    }
    fs_must(fs_readdir(user->life->fs, &user->thread, user->dir, 0, false, count_name, &listing),
            "readdir");
    SIM_EXPECT(
        listing.names == expected, "%s: %u names, not %u", user->name, listing.names, expected);
}

/* ---- what is shared ------------------------------------------------------------------------- */

static void use_shared_file(struct fs_user *user)
{
    uint32_t written = 0;
    uint32_t skip = 0;
    uint32_t bytes = 0;

    if (sim_one_in(&user->random, 2)) {
        memset(user->buffer, 1 + (int)sim_below(&user->random, 255), FS_SHARED_BYTES);
        fs_must(fs_write(user->life->fs,
                         &user->thread,
                         fs_shared_file,
                         0,
                         user->buffer,
                         FS_SHARED_BYTES,
                         false,
                         &written),
                "shared write");
        return;
    }
    fs_must(fs_read(user->life->fs,
                    &user->thread,
                    fs_shared_file,
                    0,
                    FS_SHARED_BYTES,
                    user->buffer,
                    &skip,
                    &bytes),
            "shared read");
    SIM_EXPECT(bytes == FS_SHARED_BYTES, "the shared file has %u bytes", bytes);
    for (uint32_t i = BLOCK_BYTES; !user->life->recovers && i < bytes; i += BLOCK_BYTES) {
        SIM_EXPECT(user->buffer[skip + i] == user->buffer[skip],
                   "a shared write is torn"); /* SF3 */
    }
}

static void use_shared_dir(struct fs_user *user)
{
    char text[FS_NAME_ROOM];
    const struct fs_make how = {.mode = S_IFREG | 0644};
    struct fs_attr attr;
    uint64_t gone = 0;
    struct fs_name name = fs_user_name(file_name(sim_below(&user->random, 3), text));
    struct fs *fs = user->life->fs;
    int error = fs_make(fs, &user->thread, &fs_user_caller, fs_shared_dir, name, &how, &attr);

    SIM_EXPECT(error == 0 || error == -EEXIST, "shared make: error %d", error);
    error = fs_rename(
        fs, &user->thread, fs_shared_dir, name, fs_shared_dir, fs_user_name("moved"), 0, &gone);
    SIM_EXPECT(error == 0 || error == -ENOENT, "shared rename: error %d", error);
    evict(user, error == 0 ? gone : 0);
    error = fs_unlink(fs, &user->thread, fs_shared_dir, fs_user_name("moved"), &gone);
    SIM_EXPECT(error == 0 || error == -ENOENT, "shared unlink: error %d", error);
    evict(user, error == 0 ? gone : 0);
}

/* ---- durability ----------------------------------------------------------------------------- */

static void note_synced(struct tree *tree, uint32_t done)
{
    tree->synced = done > tree->synced ? done : tree->synced;
}

static void sync_own(struct fs_user *user, uint64_t ino)
{
    uint32_t done = user->tree.done;

    fs_must(fs_fsync(user->life->fs, &user->thread, ino, sim_one_in(&user->random, 2)), "fsync");
    note_synced(&user->tree, done);
}

static void sync_all(struct fs_life *life, struct fs_thread *thread)
{
    uint32_t done[FS_USERS];

    for (unsigned i = 0; i < FS_USERS; i++) {
        done[i] = fs_users[i].tree.done;
    }
    fs_must(fs_sync(life->fs, thread), "sync");
    for (unsigned i = 0; i < FS_USERS; i++) {
        note_synced(&fs_users[i].tree, done[i]);
    }
}

/* ---- users ---------------------------------------------------------------------------------- */

static void operate_on(struct fs_user *user, uint32_t file)
{
    uint64_t ino = tree_now(&user->tree)->files[file].ino;
    uint32_t kind = sim_below(&user->random, 20);

    if (ino == 0) {
        make(user, file);
    } else if (kind < 7 || (kind < 16 && !sim_one_in(&user->random, fs_scale.other_one_in))) {
        write_file(user, file);
    } else if (kind < 9) {
        truncate_file(user, file);
    } else if (kind < 12) {
        punch(user, file);
    } else if (kind < 14) {
        move(user, file);
    } else if (kind < 16) {
        drop(user, file);
    } else if (kind < 18) {
        compare(user, file);
    } else if (sim_one_in(&user->random, fs_scale.sync_one_in)) {
        sync_own(user, ino);
    }
}

void fs_user_main(void *context)
{
    struct fs_user *user = context;

    for (uint32_t i = 0; i < user->life->operations && tree_has_room(&user->tree); i++) {
        uint32_t kind = sim_below(&user->random, 20);

        if (kind == 0) {
            fs_user_list(user);
        } else if (kind == 1 && sim_one_in(&user->random, fs_scale.sync_one_in)) {
            sync_all(user->life, &user->thread);
        } else if (kind == 2) {
            use_shared_dir(user);
        } else if (kind < 5) {
            use_shared_file(user);
        } else if (kind == 5 && sim_one_in(&user->random, 4)) {
            env_sleep_ns(dry_nap_ns(sim_random(&user->random) % SLEEP_NS_MAX));
        } else {
            operate_on(user, sim_below(&user->random, TREE_FILES));
        }
        dry_step();
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

void fs_user_find_state(struct fs_user *user, struct tree_state *out_found)
{
    for (uint32_t file = 0; file < TREE_FILES; file++) {
        char text[FS_NAME_ROOM];
        struct fs_attr attr;
        int error = fs_lookup(
            user->life->fs, &user->thread, user->dir, fs_user_name(file_name(file, text)), &attr);
        out_found->files[file] = (struct tree_file){0};
        if (error == -ENOENT) {
            continue;
        }
        fs_must(error, "lookup");
        SIM_EXPECT(attr.size <= TREE_BYTES, "a size of %llu", (unsigned long long)attr.size);
        read_file(user, attr.ino, (uint32_t)attr.size, &out_found->files[file]);
    }
}

void fs_user_compare(struct fs_user *user)
{
    for (uint32_t file = 0; file < TREE_FILES; file++) {
        if (tree_now(&user->tree)->files[file].ino != 0) {
            compare(user, file);
        }
    }
}
