/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See fs_kit.h. */
#include "fs_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kit_thread_init(struct fs_thread *thread)
{
    memset(thread, 0, sizeof(*thread));
    thread->scratch = aligned_alloc(BLOCK_BYTES, FS_SCRATCH_BYTES);
    ck_assert_ptr_nonnull(thread->scratch);
}

void kit_thread_fini(struct fs_thread *thread)
{
    free(thread->scratch);
    thread->scratch = NULL;
}

static void mount_or_fail(struct kit *kit)
{
    char why[FS_WHY_BYTES] = "";
    int error = kit_mount(kit, false, why);
    ck_assert_msg(error == 0, "mount: %d %s", error, why);
}

void kit_init(struct kit *kit, const struct fake_options *options)
{
    char why[FS_WHY_BYTES] = "";
    memset(kit, 0, sizeof(*kit));
    kit_thread_init(&kit->thread);
    kit->journal = fake_journal_make(options);
    struct fs_format_options format = {.label = "kit", .root_mode = 0755};
    memset(format.uuid.bytes, 0x5c, sizeof(format.uuid.bytes));
    int error = fs_format(kit->journal, fake_array(kit->journal), &kit->thread, &format, why);
    ck_assert_msg(error == 0, "format: %d %s", error, why);
    mount_or_fail(kit);
}

void kit_init_at(struct kit *kit, struct journal *journal)
{
    memset(kit, 0, sizeof(*kit));
    kit_thread_init(&kit->thread);
    kit->journal = journal;
    mount_or_fail(kit);
}

int kit_mount(struct kit *kit, bool read_only, char why[FS_WHY_BYTES])
{
    arena_init_growing(&kit->arena);
    const struct fs_options options = {
        .arena = &kit->arena,
        .buffer_bytes = KIT_BUFFER_BYTES,
        .read_only = read_only,
    };
    int error =
        fs_mount(&kit->fs, kit->journal, fake_array(kit->journal), &options, &kit->thread, why);
    if (error != 0) {
        kit->fs = NULL;
        arena_fini(&kit->arena);
    }
    return error;
}

void kit_unmount(struct kit *kit)
{
    ck_assert_int_eq(fs_unmount(kit->fs, &kit->thread), 0);
    kit->fs = NULL;
    arena_fini(&kit->arena);
}

void kit_crash_and_mount(struct kit *kit)
{
    struct journal *left = fake_journal_crash(kit->journal);
    fs_close(kit->fs);
    kit->fs = NULL;
    arena_fini(&kit->arena);
    fake_journal_free(kit->journal);
    kit->journal = left;
    mount_or_fail(kit);
}

void kit_fini(struct kit *kit)
{
    if (kit->fs != NULL) {
        fs_close(kit->fs);
        arena_fini(&kit->arena);
    }
    fake_journal_free(kit->journal);
    kit_thread_fini(&kit->thread);
}

uint64_t kit_seed(const char *what)
{
    const char *given = getenv("R5_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : env_random_u64() % 1000000007u;
    printf("%s: replay with R5_SEED=%llu\n", what, (unsigned long long)seed);
    (void)fflush(stdout); /* only so that the line is there before a crash */
    return seed;
}

uint64_t kit_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

uint64_t kit_below(uint64_t *state, uint64_t limit)
{
    return kit_random(state) % limit;
}
