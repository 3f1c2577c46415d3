/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who waits for the journal holds no lock of the filesystem's: sequence 17 of docs/TESTING.md, and
 * the rule behind it for operations of every kind. The locks that this thread holds are counted in
 * the table of env.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "op_kit.h"

#define PIECES    150u /* extents of the file: more than one step can free */
#define STEPS_MIN 4u

static struct kit kit;
static struct kit other; /* the same filesystem, another operation */
static _Thread_local int held;
static struct env_ops counting;

static void count_mutex_lock(struct env_mutex *mutex)
{
    env_posix.mutex_lock(mutex);
    held++;
}

static bool count_mutex_try_lock(struct env_mutex *mutex)
{
    bool got = env_posix.mutex_try_lock(mutex);

    held += got;
    return got;
}

static void count_mutex_unlock(struct env_mutex *mutex)
{
    held--;
    env_posix.mutex_unlock(mutex);
}

static void count_rwlock_read(struct env_rwlock *rwlock)
{
    env_posix.rwlock_read(rwlock);
    held++;
}

static void count_rwlock_write(struct env_rwlock *rwlock)
{
    env_posix.rwlock_write(rwlock);
    held++;
}

static void count_rwlock_unlock(struct env_rwlock *rwlock)
{
    held--;
    env_posix.rwlock_unlock(rwlock);
}

static void count_locks(void)
{
    counting = env_posix;
    counting.mutex_lock = count_mutex_lock;
    counting.mutex_try_lock = count_mutex_try_lock;
    counting.mutex_unlock = count_mutex_unlock;
    counting.rwlock_read = count_rwlock_read;
    counting.rwlock_write = count_rwlock_write;
    counting.rwlock_unlock = count_rwlock_unlock;
    env_use(&counting);
}

static void setup(void)
{
    const struct fake_options options = {.data_step = 64, .meta_step = 48, .trace = true};

    count_locks();
    kit_init(&kit, &options);
}

static void teardown(void)
{
    kit_fini(&kit);
}

/* Every other block of the file has one. */
static uint64_t make_file_of_pieces(void)
{
    uint64_t ino = must_make(&kit, FS_ROOT_INO, "pieces", S_IFREG | 0644);

    for (uint64_t i = 0; i < PIECES; i++) {
        must_fill(&kit, ino, 2 * i * BLOCK_BYTES, 7, BLOCK_BYTES);
    }
    must_sync(&kit);
    return ino;
}

/* ---- 17 ------------------------------------------------------------------------------------- */

static struct between {
    uint64_t ino;
    uint32_t waits; /* of the truncate */
    bool inside;    /* what the other operation waits for is its own matter */
} between;

/* The truncate is about to ask for its next transaction: another operation takes the file's lock,
 * joins the running transaction and has it committed. */
static void let_another_through(void *context)
{
    (void)context; /* there is one */
    if (between.inside) {
        return;
    }
    between.waits++;
    ck_assert_msg(held == 0, "wait %u: %d locks are held", between.waits, held);
    between.inside = true;
    ck_assert_int_eq(op_set_mode(&other, between.ino, 0600 + between.waits % 8), 0);
    must_fill(&other, between.ino, 0, (uint8_t)between.waits, BLOCK_BYTES);
    must_sync(&other);
    between.inside = false;
}

/*
 * A truncate between two steps holds the inode lock and waits for the next transaction; an
 * operation in the open one waits for that lock, so the open one never closes. A truncate of many
 * steps holds nothing while it waits: others come through, each time.
 */
START_TEST(sequence_17_between_two_steps_of_a_truncate_others_get_the_file)
{
    between = (struct between){.ino = make_file_of_pieces()};
    other.fs = kit.fs;
    kit_thread_init(&other.thread);
    fake_on_wait(kit.journal, let_another_through, NULL);
    ck_assert_int_eq(op_truncate(&kit, between.ino, BLOCK_BYTES), 0);
    fake_on_wait(kit.journal, NULL, NULL);
    ck_assert_uint_ge(between.waits, STEPS_MIN);
    kit_thread_fini(&other.thread);
    kit_crash_and_mount(&kit);
    ck_assert_uint_eq(must_getattr(&kit, between.ino).size, BLOCK_BYTES);
    must_be_filled(&kit, between.ino, 0, (uint8_t)between.waits, BLOCK_BYTES);
}
END_TEST

/* ---- the rule ------------------------------------------------------------------------------- */

static uint32_t waits;

static void expect_no_lock(void *context)
{
    (void)context; /* none */
    waits++;
    ck_assert_msg(held == 0, "wait %u: %d locks are held", waits, held);
}

static void operations_of_every_kind(uint64_t ino)
{
    static uint8_t value[900];
    uint64_t gone = 0;
    uint64_t dir = must_make(&kit, FS_ROOT_INO, "dir", S_IFDIR | 0755);

    (void)must_symlink(&kit, dir, "link", "somewhere");
    must_fill(&kit, ino, 5 * BLOCK_BYTES - 100, 9, 3 * BLOCK_BYTES);
    ck_assert_int_eq(op_set_xattr(&kit, ino, "user.a", value, sizeof(value)), 0);
    ck_assert_int_eq(op_set_xattr(&kit, ino, "user.a", value, 1), 0);
    ck_assert_int_eq(op_link(&kit, ino, dir, "second"), 0);
    ck_assert_int_eq(op_rename(&kit, dir, "second", FS_ROOT_INO, "third", 0), 0);
    ck_assert_int_eq(op_set_mode(&kit, ino, 0600), 0);
    ck_assert_int_eq(op_truncate(&kit, ino, 11 * BLOCK_BYTES + 1), 0);
    ck_assert_int_eq(op_truncate(&kit, ino, 40 * BLOCK_BYTES), 0);
    ck_assert_int_eq(op_unlink(&kit, dir, "link", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    ck_assert_int_eq(op_rmdir(&kit, FS_ROOT_INO, "dir", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "third", &gone), 0);
    ck_assert_int_eq(op_unlink(&kit, FS_ROOT_INO, "pieces", &gone), 0);
    ck_assert_int_eq(fs_evict(kit.fs, &kit.thread, gone), 0);
    must_sync(&kit);
}

START_TEST(no_operation_waits_for_the_journal_with_a_lock_held)
{
    uint64_t ino = make_file_of_pieces();

    fake_on_wait(kit.journal, expect_no_lock, NULL);
    operations_of_every_kind(ino);
    fake_on_wait(kit.journal, NULL, NULL);
    ck_assert_uint_gt(waits, 20);
    ck_assert_int_eq(held, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_waits");
    TCase *tcase = tcase_create("waits");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, sequence_17_between_two_steps_of_a_truncate_others_get_the_file);
    tcase_add_test(tcase, no_operation_waits_for_the_journal_with_a_lock_held);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
