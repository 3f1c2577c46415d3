/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims about access control lists: which are accepted, and how they and the mode move
 * together. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "acl.h"

#define NOBODY 0xffffffffu

struct entry {
    uint16_t tag;
    uint16_t perm;
    uint32_t id;
};

static uint8_t bytes[4096];

static size_t build(const struct entry *entries, size_t count)
{
    bytes[0] = 2;
    bytes[1] = bytes[2] = bytes[3] = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = bytes + 4 + i * 8;
        at[0] = (uint8_t)entries[i].tag;
        at[1] = (uint8_t)(entries[i].tag >> 8);
        at[2] = (uint8_t)entries[i].perm;
        at[3] = (uint8_t)(entries[i].perm >> 8);
        for (unsigned k = 0; k < 4; k++) {
            at[4 + k] = (uint8_t)(entries[i].id >> (8 * k));
        }
    }
    return 4 + count * 8;
}

#define BUILD(...)                             \
    build((const struct entry[]){__VA_ARGS__}, \
          sizeof((const struct entry[]){__VA_ARGS__}) / sizeof(struct entry))

static const struct entry owner = {1, 7, NOBODY};
static const struct entry group = {4, 5, NOBODY};
static const struct entry other = {32, 1, NOBODY};

START_TEST(a_minimal_list_is_accepted_and_plain)
{
    bool plain = false;
    size_t size = BUILD(owner, group, other);
    ck_assert_int_eq(acl_check(bytes, size), 0);
    ck_assert_uint_eq(acl_to_mode(bytes, size, S_IFREG | S_ISUID, &plain), S_IFREG | 04751);
    ck_assert(plain);
}
END_TEST

START_TEST(named_entries_need_a_mask)
{
    size_t size = BUILD(owner, {2, 7, 1000}, group, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, group, {8, 7, 1000}, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, {2, 7, 1000}, group, {8, 4, 5}, {16, 3, NOBODY}, other);
    ck_assert_int_eq(acl_check(bytes, size), 0);
}
END_TEST

START_TEST(lists_that_break_the_rules_are_refused)
{
    ck_assert_int_eq(acl_check(bytes, 0), -EINVAL);
    ck_assert_int_eq(acl_check(bytes, 3), -EINVAL);
    size_t size = BUILD(owner, group, other);
    ck_assert_int_eq(acl_check(bytes, size - 1), -EINVAL);
    bytes[0] = 1;
    ck_assert_int_eq(acl_check(bytes, size), -EOPNOTSUPP);
    size = BUILD(owner, group);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(group, owner, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, owner, group, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, {2, 7, NOBODY}, group, {16, 7, NOBODY}, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, group, {32, 8, NOBODY});
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, group, {3, 7, NOBODY}, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
    size = BUILD(owner, group, {16, 7, NOBODY}, {16, 7, NOBODY}, other);
    ck_assert_int_eq(acl_check(bytes, size), -EINVAL);
}
END_TEST

START_TEST(an_empty_list_is_valid_and_means_none)
{
    size_t size = build(NULL, 0);
    ck_assert_int_eq(acl_check(bytes, size), 0);
    ck_assert(acl_is_empty(size));
}
END_TEST

START_TEST(the_mask_is_what_the_group_bits_show)
{
    bool plain = true;
    size_t size = BUILD(owner, {2, 7, 1000}, group, {16, 2, NOBODY}, other);
    ck_assert_uint_eq(acl_to_mode(bytes, size, S_IFREG, &plain), S_IFREG | 0721);
    ck_assert(!plain);
}
END_TEST

START_TEST(chmod_changes_the_mask_and_not_the_owning_group)
{
    bool plain;
    size_t size = BUILD(owner, {2, 7, 1000}, group, {16, 7, NOBODY}, other);
    acl_apply_mode(bytes, size, S_IFREG | 0640);
    ck_assert_int_eq(acl_check(bytes, size), 0);
    ck_assert_uint_eq(acl_to_mode(bytes, size, 0, &plain), 0640);
    ck_assert_uint_eq(bytes[4 + 2 * 8 + 2], 5); /* the owning group's own entry */
    ck_assert_uint_eq(bytes[4 + 3 * 8 + 2], 4); /* the mask */
}
END_TEST

START_TEST(chmod_without_a_mask_changes_the_owning_group)
{
    size_t size = BUILD(owner, group, other);
    acl_apply_mode(bytes, size, 0624);
    ck_assert_uint_eq(bytes[4 + 1 * 8 + 2], 2);
}
END_TEST

START_TEST(a_new_inode_gets_what_both_mode_and_default_list_grant)
{
    bool plain = true;
    size_t size = BUILD(owner, {2, 7, 1000}, {4, 7, NOBODY}, {16, 6, NOBODY}, {32, 4, NOBODY});
    uint32_t mode = acl_inherit(bytes, size, S_IFREG | 0666, &plain);
    ck_assert_uint_eq(mode, S_IFREG | 0664);
    ck_assert(!plain);
    ck_assert_uint_eq(acl_to_mode(bytes, size, S_IFREG, &plain), S_IFREG | 0664);
    ck_assert_uint_eq(bytes[4 + 1 * 8 + 2], 7); /* named user untouched */
    ck_assert_uint_eq(bytes[4 + 2 * 8 + 2], 7); /* owning group untouched: the mask limits it */
}
END_TEST

START_TEST(a_minimal_default_list_replaces_the_umask_and_leaves_no_list)
{
    bool plain = false;
    size_t size = BUILD({1, 7, NOBODY}, {4, 7, NOBODY}, {32, 5, NOBODY});
    ck_assert_uint_eq(acl_inherit(bytes, size, S_IFDIR | S_ISGID | 0777, &plain),
                      S_IFDIR | S_ISGID | 0775);
    ck_assert(plain);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acl");
    TCase *rules = tcase_create("rules");
    TCase *mode = tcase_create("mode");
    tcase_add_test(rules, a_minimal_list_is_accepted_and_plain);
    tcase_add_test(rules, named_entries_need_a_mask);
    tcase_add_test(rules, lists_that_break_the_rules_are_refused);
    tcase_add_test(rules, an_empty_list_is_valid_and_means_none);
    tcase_add_test(mode, the_mask_is_what_the_group_bits_show);
    tcase_add_test(mode, chmod_changes_the_mask_and_not_the_owning_group);
    tcase_add_test(mode, chmod_without_a_mask_changes_the_owning_group);
    tcase_add_test(mode, a_new_inode_gets_what_both_mode_and_default_list_grant);
    tcase_add_test(mode, a_minimal_default_list_replaces_the_umask_and_leaves_no_list);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, mode);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
