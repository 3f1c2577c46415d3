/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which log is taken for an older copy. */
#include <errno.h>
#include <string.h>

#include "fs_kit.h"

static struct kit kit;
static char why[FS_WHY_BYTES];
static _Alignas(BLOCK_BYTES) uint8_t older[BLOCK_BYTES];
static _Alignas(BLOCK_BYTES) uint8_t newer[BLOCK_BYTES];

/* A super as it was, and as it is some transactions later. */
static void set_up(void)
{
    kit_init(&kit, &(struct fake_options){0});
    memcpy(older, fake_block_bytes(kit.journal, fs_block(0)), BLOCK_BYTES);
    kit_unmount(&kit);
    memcpy(newer, fake_block_bytes(kit.journal, fs_block(0)), BLOCK_BYTES);
    ck_assert_int_ne(memcmp(older, newer, BLOCK_BYTES), 0);
    why[0] = '\0';
}

static void tear_down(void)
{
    kit_fini(&kit);
}

START_TEST(log_that_ends_before_the_members_is_an_older_copy)
{
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, why), -ESTALE);
    ck_assert_msg(strstr(why, "older copy") != NULL, "%s", why);
    ck_assert_msg(strstr(why, "accept_damaged_log") != NULL, "%s", why);
}
END_TEST

START_TEST(log_as_new_as_the_members_or_newer_is_good)
{
    ck_assert_int_eq(fs_judge_log(NULL, older, newer, why), 0);
    ck_assert_int_eq(fs_judge_log(NULL, newer, newer, why), 0);
}
END_TEST

START_TEST(torn_super_on_the_members_says_nothing)
{
    memcpy(newer + BLOCK_BYTES / 2, "torn", 4);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, why), 0);
    memset(newer, 0, BLOCK_BYTES);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, why), 0);
}
END_TEST

START_TEST(super_of_another_filesystem_says_nothing)
{
    older[offsetof(struct fs_super_disk, fs_uuid)] ^= 1;
    fs_header_seal(older);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, why), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_judge");
    TCase *judge = tcase_create("judge");
    tcase_add_checked_fixture(judge, set_up, tear_down);
    tcase_add_test(judge, log_that_ends_before_the_members_is_an_older_copy);
    tcase_add_test(judge, log_as_new_as_the_members_or_newer_is_good);
    tcase_add_test(judge, torn_super_on_the_members_says_nothing);
    tcase_add_test(judge, super_of_another_filesystem_says_nothing);
    suite_add_tcase(suite, judge);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
