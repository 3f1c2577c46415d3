/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text into fixed memory: cut whole, JSON strings that every reader takes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "text_out.h"

static char memory[64];
static struct text_out out;

static const char *json_of(const char *string)
{
    text_out_init(&out, memory, sizeof(memory));
    text_out_json(&out, string);
    return memory;
}

START_TEST(pieces_are_joined)
{
    text_out_init(&out, memory, sizeof(memory));
    text_out_put(&out, "%d-", 1);
    text_out_put(&out, "%s", "two");
    ck_assert_str_eq(memory, "1-two");
    ck_assert_uint_eq(out.used, 5);
}
END_TEST

START_TEST(what_does_not_fit_is_left_out_whole_and_so_is_all_after_it)
{
    text_out_init(&out, memory, 8);
    text_out_put(&out, "1234");
    text_out_put(&out, "56789");
    ck_assert_str_eq(memory, "1234");
    ck_assert(out.cut);
    text_out_put(&out, "5");
    ck_assert_str_eq(memory, "1234");
}
END_TEST

START_TEST(json_strings_are_escaped)
{
    ck_assert_str_eq(json_of("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    ck_assert_str_eq(json_of(""), "\"\"");
    ck_assert_str_eq(json_of(NULL), "null");
}
END_TEST

START_TEST(utf8_stays_and_other_bytes_are_written_as_numbers)
{
    ck_assert_str_eq(json_of("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
                     "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    ck_assert_str_eq(json_of("\xff"), "\"\\u00ff\"");
    ck_assert_str_eq(json_of("\xc3"), "\"\\u00c3\"");
    ck_assert_str_eq(json_of("\xc0\x80"), "\"\\u00c0\\u0080\"");            /* overlong */
    ck_assert_str_eq(json_of("\xed\xa0\x80"), "\"\\u00ed\\u00a0\\u0080\""); /* a surrogate */
}
END_TEST

START_TEST(sizes_read_well)
{
    char text[TEXT_SIZE_BYTES];

    ck_assert_str_eq(text_size(0, text), "0 B");
    ck_assert_str_eq(text_size(1023, text), "1023 B");
    ck_assert_str_eq(text_size(1536, text), "1.5 KiB");
    ck_assert_str_eq(text_size(UINT64_C(10) << 30, text), "10.0 GiB");
    ck_assert_str_eq(text_size(UINT64_MAX, text), "16.0 EiB");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text_out");
    TCase *text = tcase_create("text");

    tcase_add_test(text, pieces_are_joined);
    tcase_add_test(text, what_does_not_fit_is_left_out_whole_and_so_is_all_after_it);
    tcase_add_test(text, json_strings_are_escaped);
    tcase_add_test(text, utf8_stays_and_other_bytes_are_written_as_numbers);
    tcase_add_test(text, sizes_read_well);
    suite_add_tcase(suite, text);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
