/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which log is taken for an older copy. */
#include <errno.h>
#include <string.h>

#include "fs_kit.h"

static struct kit kit;
static char why[FS_WHY_BYTES];
static _Alignas(BLOCK_BYTES) uint8_t older[BLOCK_BYTES];
static _Alignas(BLOCK_BYTES) uint8_t newer[BLOCK_BYTES];
static const struct journal_mark far = {.seq = UINT64_MAX};

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
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, &far, why), -ESTALE);
    ck_assert_msg(strstr(why, "older copy") != NULL, "%s", why);
    ck_assert_msg(strstr(why, "accept_damaged_log") != NULL, "%s", why);
}
END_TEST

START_TEST(log_as_new_as_the_members_or_newer_is_good)
{
    ck_assert_int_eq(fs_judge_log(NULL, older, newer, &far, why), 0);
    ck_assert_int_eq(fs_judge_log(NULL, newer, newer, &far, why), 0);
}
END_TEST

static struct journal_mark mark_in(const uint8_t *block)
{
    struct fs_super super;
    ck_assert_int_eq(fs_super_decode(&super, block, fs_block(0), UINT64_MAX, why), 0);
    return super.log;
}

/* The unit that held the super, or an earlier one that was not durable when it was sealed. */
static struct journal_mark unit_of(const uint8_t *block)
{
    struct journal_mark mark = mark_in(block);
    mark.seq++;
    return mark;
}

START_TEST(log_without_super_that_ends_before_the_members_super_is_an_older_copy)
{
    const struct journal_mark idle = unit_of(older);
    const struct journal_mark whole = unit_of(newer);
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &idle, why), -ESTALE);
    ck_assert_msg(strstr(why, "older copy") != NULL, "%s", why);
    ck_assert_msg(strstr(why, "accept_damaged_log") != NULL, "%s", why);
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &whole, why), 0);
    ck_assert_int_eq(fs_judge_log(NULL, older, NULL, &idle, why), 0);
}
END_TEST

START_TEST(log_that_ends_where_the_members_super_was_sealed_is_an_older_copy)
{
    const struct journal_mark end = mark_in(newer);
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &end, why), -ESTALE);
}
END_TEST

START_TEST(log_of_another_journal_device_is_not_compared_by_seq)
{
    struct journal_mark end = {.seq = 1};
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &end, why), 0);
    end.device = mark_in(newer).device;
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &end, why), -ESTALE);
}
END_TEST

/* Accepted damage, or mdadm: the log began anew from a lower seq. */
START_TEST(log_begun_anew_is_judged_by_the_super_in_it)
{
    struct journal_mark end = mark_in(older);
    end.seq = 0;
    ck_assert_int_eq(fs_judge_log(NULL, older, newer, &end, why), 0);
}
END_TEST

START_TEST(super_from_before_there_were_marks_refuses_no_log)
{
    const struct journal_mark none = {0};
    const struct journal_mark end = {.device = mark_in(newer).device};
    memcpy(newer + offsetof(struct fs_super_disk, log_seq), &none.seq, sizeof(none.seq));
    memcpy(newer + offsetof(struct fs_super_disk, log_device), &none.device, sizeof(none.device));
    fs_header_seal(newer);
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &end, why), 0);
}
END_TEST

START_TEST(sealed_super_names_the_newest_unit_that_was_durable)
{
    const struct journal_mark sealed = mark_in(newer);
    struct journal_mark now;
    journal_get_mark(kit.journal, &now);
    ck_assert(uuid_equal(&sealed.device, &now.device));
    ck_assert_uint_eq(sealed.seq + 1, now.seq);
}
END_TEST

START_TEST(torn_super_on_the_members_says_nothing)
{
    memcpy(newer + BLOCK_BYTES / 2, "torn", 4);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, &far, why), 0);
    ck_assert_int_eq(fs_judge_log(NULL, newer, NULL, &far, why), 0);
    memset(newer, 0, BLOCK_BYTES);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, &far, why), 0);
}
END_TEST

START_TEST(super_of_another_filesystem_says_nothing)
{
    older[offsetof(struct fs_super_disk, fs_uuid)] ^= 1;
    fs_header_seal(older);
    ck_assert_int_eq(fs_judge_log(NULL, newer, older, &far, why), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fs_judge");
    TCase *judge = tcase_create("judge");
    tcase_add_checked_fixture(judge, set_up, tear_down);
    tcase_add_test(judge, log_that_ends_before_the_members_is_an_older_copy);
    tcase_add_test(judge, log_as_new_as_the_members_or_newer_is_good);
    tcase_add_test(judge, log_without_super_that_ends_before_the_members_super_is_an_older_copy);
    tcase_add_test(judge, log_that_ends_where_the_members_super_was_sealed_is_an_older_copy);
    tcase_add_test(judge, log_of_another_journal_device_is_not_compared_by_seq);
    tcase_add_test(judge, log_begun_anew_is_judged_by_the_super_in_it);
    tcase_add_test(judge, super_from_before_there_were_marks_refuses_no_log);
    tcase_add_test(judge, sealed_super_names_the_newest_unit_that_was_durable);
    tcase_add_test(judge, torn_super_on_the_members_says_nothing);
    tcase_add_test(judge, super_of_another_filesystem_says_nothing);
    suite_add_tcase(suite, judge);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
