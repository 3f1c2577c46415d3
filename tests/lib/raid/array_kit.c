/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See array_kit.h. */
#include "array_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define COMMAND_BYTES        1024
#define CASE_TIMEOUT_SECONDS 120

static uint64_t seed;

static void shell(const char *format, ...) R5_PRINTF(1, 2);

static void shell(const char *format, ...)
{
    char command[COMMAND_BYTES];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    ck_assert(length > 0 && length < (int)sizeof(command));
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static void set_path(char out_path[ARRAY_KIT_PATH_BYTES], const char *dir, const char *name)
{
    int length = snprintf(out_path, ARRAY_KIT_PATH_BYTES, "%s/%s", dir, name);
    ck_assert(length > 0 && length < ARRAY_KIT_PATH_BYTES);
}

void array_kit_open(struct array_kit *kit)
{
    memset(kit, 0, sizeof(*kit));
    set_path(kit->dir, R5_TEST_TMP, "raid.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(kit->dir));
    arena_init_growing(&kit->arena);
    ck_assert_int_eq(io_queue_open(&kit->queue, &kit->arena, 64), 0);
}

void array_kit_close(struct array_kit *kit)
{
    io_queue_close(kit->queue);
    arena_fini(&kit->arena);
    shell("rm -rf '%s'", kit->dir);
}

static void make_file(const char *path, uint64_t bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq(close(fd), 0);
}

const char *array_kit_file(struct array_kit *kit, const char *name, uint64_t bytes)
{
    char *path = arena_take(&kit->arena, ARRAY_KIT_PATH_BYTES, 1);
    set_path(path, kit->dir, name);
    make_file(path, bytes);
    return path;
}

void array_kit_copy(const char *from, const char *to)
{
    shell("cp --sparse=always '%s' '%s'", from, to);
}

static void name_files(struct array_kit *kit, uint32_t members, bool journal)
{
    kit->member_count = members;
    kit->path_count = members + (journal ? 1 : 0);
    for (uint32_t i = 0; i < members; i++) {
        char name[16];
        ck_assert_int_gt(snprintf(name, sizeof(name), "m%u.img", i), 0);
        set_path(kit->paths[i], kit->dir, name);
    }
    if (journal) {
        set_path(kit->paths[members], kit->dir, "journal.img");
    }
}

void array_kit_create(struct array_kit *kit, const struct array_kit_shape *shape)
{
    const char *members[MEMBERS_MAX];
    array_kit_open(kit);
    name_files(kit, shape->members, shape->journal_bytes != 0);
    for (uint32_t i = 0; i < shape->members; i++) {
        make_file(kit->paths[i], shape->member_bytes);
        members[i] = kit->paths[i];
    }
    if (shape->journal_bytes != 0) {
        make_file(kit->paths[shape->members], shape->journal_bytes);
    }
    struct array_create create = {
        .member_paths = members,
        .member_count = shape->members,
        .journal_path = shape->journal_bytes != 0 ? kit->paths[shape->members] : NULL,
        .chunk_sectors = shape->chunk_sectors,
        .layout = shape->layout,
        .name = "test",
        .uuid = uuid_make_random(),
    };
    int error = array_create(&create, kit->why);
    ck_assert_msg(error == 0, "%s", kit->why);
}

void array_kit_unpack(struct array_kit *kit, const char *golden, uint32_t members, bool journal)
{
    array_kit_open(kit);
    name_files(kit, members, journal);
    shell("zstd -qdc '%s/golden/%s/images.tar.zst' | tar -C '%s' -xSf -",
          R5_TEST_DIR,
          golden,
          kit->dir);
    for (uint32_t i = 0; i < kit->path_count; i++) {
        if (access(kit->paths[i], F_OK) != 0) {
            kit->paths[i][0] = '\0';
        }
    }
}

int array_kit_assemble(struct array_kit *kit, struct array_assemble how, struct array **out_array)
{
    const char *paths[ARRAY_FILES_MAX];
    how.path_count = 0;
    for (uint32_t i = 0; i < kit->path_count; i++) {
        if (kit->paths[i][0] != '\0') {
            paths[how.path_count++] = kit->paths[i];
        }
    }
    how.paths = paths;
    how.arena = &kit->arena;
    memset(kit->why, 0, sizeof(kit->why));
    return array_assemble(&how, kit->queue, out_array, kit->why);
}

void array_kit_expect_refusal(struct array_kit *kit,
                              struct array_assemble how,
                              int error,
                              const char *part)
{
    struct array *array = NULL;
    int got = array_kit_assemble(kit, how, &array);
    ck_assert_msg(got == error, "got %d, expected %d: %s", got, error, kit->why);
    ck_assert_ptr_null(array);
    ck_assert_msg(strstr(kit->why, part) != NULL, "\"%s\" is not in: %s", part, kit->why);
    ck_assert_msg(strstr(kit->why, ": ") != NULL, "no WHAT: WHY in: %s", kit->why);
    ck_assert_msg(strstr(kit->why, " (hint: ") != NULL, "no hint in: %s", kit->why);
    ck_assert_msg(kit->why[strlen(kit->why) - 1] == ')', "cut: %s", kit->why);
    ck_assert_msg(strchr(kit->why, '\n') == NULL, "more than one line: %s", kit->why);
}

void array_kit_read(const char *path, uint64_t offset, void *bytes, size_t count)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, bytes, count, (off_t)offset), (ssize_t)count);
    ck_assert_int_eq(close(fd), 0);
}

void array_kit_write(const char *path, uint64_t offset, const void *bytes, size_t count)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, count, (off_t)offset), (ssize_t)count);
    ck_assert_int_eq(close(fd), 0);
}

void array_kit_super(const char *path, struct md_superblock *out_super)
{
    uint8_t block[BLOCK_BYTES];
    char why[MD_WHY_BYTES] = "";
    array_kit_read(path, MD_SUPER_OFFSET_BYTES, block, sizeof(block));
    int error = md_super_decode(block, out_super, why);
    ck_assert_msg(error == 0, "%s: %s", path, why);
}

void array_kit_edit(const char *path, void (*edit)(struct md_superblock *super))
{
    struct md_superblock super;
    uint8_t block[BLOCK_BYTES];
    array_kit_super(path, &super);
    edit(&super);
    md_super_encode(&super, block);
    array_kit_write(path, MD_SUPER_OFFSET_BYTES, block, sizeof(block));
}

void array_kit_sha256(const char *path, char out_hex[65])
{
    char command[COMMAND_BYTES];
    int length = snprintf(command, sizeof(command), "sha256sum '%s'", path);
    ck_assert(length > 0 && length < (int)sizeof(command));
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    ck_assert_uint_eq(fread(out_hex, 1, 64, pipe), 64);
    out_hex[64] = '\0';
    ck_assert_int_eq(pclose(pipe), 0);
}

bool array_kit_has_program(const char *name)
{
    char command[COMMAND_BYTES];
    int length = snprintf(
        command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin command -v %s >/dev/null", name);
    ck_assert(length > 0 && length < (int)sizeof(command));
    return system(command) == 0;
}

void array_kit_seed(const char *test)
{
    const char *given = getenv("R5_SEED");
    if (given != NULL) {
        seed = strtoull(given, NULL, 0);
    } else {
        ck_assert_int_eq(getrandom(&seed, sizeof(seed), 0), 8);
    }
    printf("%s: seed=%" PRIu64 " (replay: R5_SEED=%" PRIu64 ")\n", test, seed, seed);
    ck_assert_int_eq(fflush(stdout), 0);
}

uint64_t array_kit_random(void)
{
    /* A counter through a mixer: every seed is good. */
    seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = (seed ^ (seed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

TCase *array_kit_case(Suite *suite, const char *name, void (*setup)(void), void (*teardown)(void))
{
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, CASE_TIMEOUT_SECONDS);
    tcase_add_checked_fixture(tcase, setup, teardown);
    suite_add_tcase(suite, tcase);
    return tcase;
}

int array_kit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
