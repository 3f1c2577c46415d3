/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The check on what a crash leaves while inodes are deleted in steps: mount goes on from each of
 * those states, so none of them is a problem.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fsck_kit.h"
#include "op_kit.h"

static struct check_run run;

/* What each crash after the first `from` units would leave. */
static void check_each_cut(struct journal *journal, uint64_t from)
{
    for (uint64_t units = from; units <= fake_units(journal); units++) {
        struct journal *left = fake_journal_at(journal, units, false);
        ck_assert_int_eq(check_run(left, false, &run), 0);
        ck_assert_msg(
            run.result.problems == 0, "unit %llu: %s", (unsigned long long)units, run.text);
        ck_assert_uint_eq(check_walk(left), 1);
        fake_journal_free(left);
    }
}

/* Small transactions, so that the steps do not all end up in one unit. */
static const struct fake_options options = {.trace = true, .meta_step = 48};

/* An inode with a large attribute and no name is deleted. */
static void delete_and_check(struct kit *kit, uint64_t ino, const char *name, const char *attribute)
{
    static uint8_t value[60000];
    uint64_t gone = 0;
    ck_assert_int_eq(op_set_xattr(kit, ino, attribute, value, sizeof(value)), 0);
    ck_assert_int_eq(op_unlink(kit, 1, name, &gone), 0);
    ck_assert_uint_eq(gone, ino);
    must_sync(kit);
    uint64_t from = fake_units(kit->journal);
    ck_assert_int_eq(fs_evict(kit->fs, &kit->thread, ino), 0);
    must_sync(kit);
    ck_assert_uint_ge(fake_units(kit->journal), from + 2);
    check_each_cut(kit->journal, from);
}

START_TEST(a_half_deleted_file_is_no_problem)
{
    struct kit kit;
    kit_init(&kit, &options);
    uint64_t ino = must_make(&kit, 1, "file", S_IFREG | 0600);
    must_fill(&kit, ino, 0, 0x55, 3 * BLOCK_BYTES);
    delete_and_check(&kit, ino, "file", "user.large");
    kit_fini(&kit);
}
END_TEST

START_TEST(a_half_deleted_symlink_is_no_problem)
{
    static char target[3000];
    struct kit kit;
    kit_init(&kit, &options);
    memset(target, 't', sizeof(target) - 1);
    uint64_t ino = must_symlink(&kit, 1, "symlink", target);
    delete_and_check(&kit, ino, "symlink", "trusted.large");
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fsck_deleting");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, a_half_deleted_file_is_no_problem);
    tcase_add_test(all, a_half_deleted_symlink_is_no_problem);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
