/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Claims about many threads at once: each has a directory of its own, where everything must be as
 * if it were alone, and they share a file, a directory and the journal.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "op_kit.h"

#define THREADS     4u
#define FILES       6u
#define STEPS       400u
#define SHARED_SIZE 32768u
#define FILE_BYTES  (3u * BLOCK_BYTES)

static struct kit kit;
static uint64_t shared_file;
static uint64_t shared_dir;

struct worker {
    struct kit kit; /* the same filesystem, with a thread of its own */
    struct env_thread *thread;
    uint32_t number;
    uint64_t random;
    uint64_t dir;
    uint64_t files[FILES]; /* 0: not there */
    uint8_t fill[FILES];
};

static struct worker workers[THREADS];

static const char *file_name(uint32_t file, char text[16])
{
    (void)snprintf(text, 16, "file-%u", file); /* always fits */
    return text;
}

static void work_on_own(struct worker *worker)
{
    char name[16];
    uint32_t file = (uint32_t)kit_below(&worker->random, FILES);
    uint64_t gone = 0;
    file_name(file, name);
    if (worker->files[file] == 0) {
        worker->files[file] = must_make(&worker->kit, worker->dir, name, S_IFREG | 0644);
        worker->fill[file] = 0;
        return;
    }
    uint64_t ino = worker->files[file];
    switch (kit_below(&worker->random, 5)) {
    case 0:
        ck_assert_int_eq(op_unlink(&worker->kit, worker->dir, name, &gone), 0);
        ck_assert_uint_eq(gone, ino);
        ck_assert_int_eq(fs_evict(kit.fs, &worker->kit.thread, gone), 0);
        worker->files[file] = 0;
        break;
    case 1:
        if (worker->fill[file] != 0) {
            must_be_filled(&worker->kit, ino, 0, worker->fill[file], FILE_BYTES);
        }
        break;
    case 2:
        ck_assert_int_eq(op_truncate(&worker->kit, ino, 0), 0);
        worker->fill[file] = 0;
        break;
    default:
        worker->fill[file] = (uint8_t)(1 + kit_below(&worker->random, 255));
        must_fill(&worker->kit, ino, 0, worker->fill[file], FILE_BYTES);
        break;
    }
}

/* A write of one step is seen whole or not at all. */
static void work_on_shared(struct worker *worker)
{
    static _Thread_local uint8_t data[SHARED_SIZE];
    if (kit_below(&worker->random, 2) == 0) {
        must_fill(&worker->kit, shared_file, 0, (uint8_t)(1 + worker->number), SHARED_SIZE);
        return;
    }
    ck_assert_uint_eq(must_read(&worker->kit, shared_file, 0, data, SHARED_SIZE), SHARED_SIZE);
    for (uint32_t i = 1; i < SHARED_SIZE; i++) {
        ck_assert_uint_eq(data[i], data[0]);
    }
}

/* Whoever comes first makes it, whoever comes first removes it. */
static void work_on_shared_dir(struct worker *worker)
{
    uint64_t ino = 0;
    char name[16];
    file_name((uint32_t)kit_below(&worker->random, 3), name);
    int error = op_make(&worker->kit, shared_dir, name, S_IFREG | 0644, &ino);
    ck_assert(error == 0 || error == -EEXIST);
    error = op_rename(&worker->kit, shared_dir, name, shared_dir, "renamed", 0);
    ck_assert(error == 0 || error == -ENOENT);
    error = op_unlink(&worker->kit, shared_dir, "renamed", &ino);
    ck_assert(error == 0 || error == -ENOENT);
    if (error == 0 && ino != 0) {
        ck_assert_int_eq(fs_evict(kit.fs, &worker->kit.thread, ino), 0);
    }
}

static void work(void *context)
{
    struct worker *worker = context;
    for (uint32_t step = 0; step < STEPS; step++) {
        switch (kit_below(&worker->random, 8)) {
        case 0: work_on_shared(worker); break;
        case 1: work_on_shared_dir(worker); break;
        case 2:
            if (kit_below(&worker->random, 4) == 0) {
                must_sync(&worker->kit);
            }
            break;
        default: work_on_own(worker); break;
        }
    }
}

static void workers_start(uint64_t seed)
{
    for (uint32_t i = 0; i < THREADS; i++) {
        struct worker *worker = &workers[i];
        char name[16];
        (void)snprintf(name, sizeof(name), "dir-%u", i); /* always fits */
        worker->kit.fs = kit.fs;
        kit_thread_init(&worker->kit.thread);
        worker->number = i;
        worker->random = seed + i;
        worker->dir = must_make(&kit, FS_ROOT_INO, name, S_IFDIR | 0755);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(env_thread_start(&workers[i].thread, "worker", work, &workers[i]), 0);
    }
}

static void check_worker(const struct worker *worker)
{
    char name[16];
    uint32_t files = 0;
    for (uint32_t i = 0; i < FILES; i++) {
        uint64_t ino = 0;
        int error = op_lookup(&kit, worker->dir, file_name(i, name), &ino);
        ck_assert_int_eq(error, worker->files[i] != 0 ? 0 : -ENOENT);
        files += error == 0 ? 1 : 0;
        if (error == 0) {
            ck_assert_uint_eq(ino, worker->files[i]);
            if (worker->fill[i] != 0) {
                must_be_filled(&kit, ino, 0, worker->fill[i], FILE_BYTES);
            }
        }
    }
    ck_assert_uint_eq(must_getattr(&kit, worker->dir).size, files);
}

START_TEST(threads_do_not_disturb_each_other)
{
    uint64_t seed = kit_seed("test_fs_threads");
    const struct fake_options options = {.data_step = 64, .meta_step = 120};
    char why[FS_WHY_BYTES];
    kit_init(&kit, &options);
    shared_file = must_make(&kit, FS_ROOT_INO, "shared", S_IFREG | 0644);
    shared_dir = must_make(&kit, FS_ROOT_INO, "shared dir", S_IFDIR | 0755);
    must_fill(&kit, shared_file, 0, 77, SHARED_SIZE);
    workers_start(seed);
    for (uint32_t i = 0; i < THREADS; i++) {
        env_thread_join(workers[i].thread);
        kit_thread_fini(&workers[i].kit.thread);
    }
    kit_unmount(&kit);
    ck_assert_int_eq(kit_mount(&kit, false, why), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        check_worker(&workers[i]);
    }
    ck_assert_uint_eq(must_getattr(&kit, shared_dir).nlink, 2);
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_threads");
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 120);
    tcase_add_test(threads, threads_do_not_disturb_each_other);
    suite_add_tcase(suite, threads);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
