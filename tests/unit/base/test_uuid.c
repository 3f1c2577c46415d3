/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Identifiers: both text forms, and everything that is neither. */
#include <errno.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/uuid.h"

static const struct uuid known = {{0x00,
                                   0x11,
                                   0x22,
                                   0x33,
                                   0x44,
                                   0x55,
                                   0x66,
                                   0x77,
                                   0x88,
                                   0x99,
                                   0xaa,
                                   0xbb,
                                   0xcc,
                                   0xdd,
                                   0xee,
                                   0xff}};

START_TEST(both_forms_print_the_bytes_in_order)
{
    char text[UUID_TEXT_BYTES];

    uuid_print(&known, text);
    ck_assert_str_eq(text, "00112233-4455-6677-8899-aabbccddeeff");
    uuid_print_md(&known, text);
    ck_assert_str_eq(text, "00112233:44556677:8899aabb:ccddeeff");
}
END_TEST

START_TEST(either_form_and_letter_case_parses)
{
    static const char *const good[] = {
        "00112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        "00112233:44556677:8899aabb:ccddeeff",
        "00112233:44556677:8899aAbB:cCdDeEfF",
    };
    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct uuid uuid = {{0}};
        ck_assert_int_eq(uuid_parse(good[i], &uuid), 0);
        ck_assert(uuid_equal(&uuid, &known));
    }
}
END_TEST

static const char *const bad[] = {
    "",
    "0",
    "-",
    ":",
    "00112233445566778899aabbccddeeff",
    "00112233-4455-6677-8899-aabbccddeef",
    "00112233-4455-6677-8899-aabbccddee",
    "00112233-4455-6677-8899-aabbccddeeff0",
    "00112233-4455-6677-8899-aabbccddeeff ",
    " 00112233-4455-6677-8899-aabbccddeeff",
    "0011223g-4455-6677-8899-aabbccddeeff",
    "00112233-4455-6677-8899-aabbccddee0x",
    "00112233:4455:6677:8899:aabbccddeeff",
    "00112233-44556677-8899aabb-ccddeeff",
    "00112233:44556677:8899aabb-ccddeeff",
    "00112233:44556677:8899aabb:ccddeeff:",
    "00112233:44556677:8899aabb:",
    "00112233:44556677:8899aabb",
    "{0112233-4455-6677-8899-aabbccddeeff}",
    "+0112233-4455-6677-8899-aabbccddeeff",
};

START_TEST(anything_else_is_refused_and_changes_nothing)
{
    struct uuid uuid = known;

    ck_assert_int_eq(uuid_parse(bad[_i], &uuid), -EINVAL);
    ck_assert(uuid_equal(&uuid, &known));
}
END_TEST

START_TEST(every_prefix_is_refused)
{
    char text[UUID_TEXT_BYTES];
    struct uuid uuid = known;

    uuid_print(&known, text);
    for (size_t length = strlen(text); length-- > 0;) {
        text[length] = '\0';
        ck_assert_int_eq(uuid_parse(text, &uuid), -EINVAL);
    }
}
END_TEST

START_TEST(random_ones_differ_and_survive_both_forms)
{
    struct uuid before = known;

    for (unsigned i = 0; i < 1000; i++) {
        char text[UUID_TEXT_BYTES];
        struct uuid parsed;
        struct uuid made = uuid_make_random();

        ck_assert(!uuid_equal(&made, &before));
        ck_assert_uint_eq(made.bytes[6] >> 4, 4);
        ck_assert_uint_eq(made.bytes[8] >> 6, 2);
        uuid_print(&made, text);
        ck_assert_int_eq(uuid_parse(text, &parsed), 0);
        ck_assert(uuid_equal(&made, &parsed));
        uuid_print_md(&made, text);
        ck_assert_int_eq(uuid_parse(text, &parsed), 0);
        ck_assert(uuid_equal(&made, &parsed));
        before = made;
    }
}
END_TEST

START_TEST(equality_looks_at_every_byte)
{
    for (unsigned i = 0; i < 16; i++) {
        struct uuid other = known;
        other.bytes[i] ^= 1;
        ck_assert(!uuid_equal(&other, &known));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uuid");
    TCase *text = tcase_create("text");

    tcase_add_test(text, both_forms_print_the_bytes_in_order);
    tcase_add_test(text, either_form_and_letter_case_parses);
    tcase_add_loop_test(
        text, anything_else_is_refused_and_changes_nothing, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(text, every_prefix_is_refused);
    tcase_add_test(text, random_ones_differ_and_survive_both_forms);
    tcase_add_test(text, equality_looks_at_every_byte);
    suite_add_tcase(suite, text);
    return kit_run(suite);
}
