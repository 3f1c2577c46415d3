/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A formatted, mounted filesystem over the fake journal, and a thread to call it with. */
#ifndef R5FS_TESTS_FS_KIT_H
#define R5FS_TESTS_FS_KIT_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#include "fake_journal.h"
#include "fs_internal.h"

struct kit {
    struct journal *journal;
    struct arena arena; /* growing; what the mount takes */
    struct fs *fs;      /* NULL when not mounted */
    struct fs_thread thread;
};

#define KIT_BUFFER_BYTES (16u * 1024u * 1024u)

void kit_thread_init(struct fs_thread *thread);
void kit_thread_fini(struct fs_thread *thread);

/* Formats and mounts; every step must work. */
void kit_init(struct kit *kit, const struct fake_options *options);
/* The same over a journal that is there already (owned by the kit from now on), only mounted. */
void kit_init_at(struct kit *kit, struct journal *journal);
/* What fs_mount answers. On success kit->fs is set. */
int kit_mount(struct kit *kit, bool read_only, char why[FS_WHY_BYTES]);
void kit_unmount(struct kit *kit);
/* Forgets what is in memory, as a killed daemon would, and mounts what is durable. */
void kit_crash_and_mount(struct kit *kit);
/* Unmounts without writing, frees everything. */
void kit_fini(struct kit *kit);

/* A seed from R5_SEED or the clock, printed. */
uint64_t kit_seed(const char *what);
/* splitmix64 */
uint64_t kit_random(uint64_t *state);
uint64_t kit_below(uint64_t *state, uint64_t limit);

#endif
