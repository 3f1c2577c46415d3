/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line for the user: whole when it fits, without its middle when not, never two lines. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "r5fs/base/line.h"

#define VALUE_BYTES 9000u
#define ROOM_BYTES  512u

static char value[VALUE_BYTES + 1];
static char line[ROOM_BYTES];

static void fill_value(const char *with)
{
    size_t length = strlen(with);

    for (size_t i = 0; i < VALUE_BYTES; i++) {
        value[i] = with[i % length];
    }
    value[VALUE_BYTES] = '\0';
}

START_TEST(what_fits_is_said_as_it_is)
{
    line_format(line, sizeof(line), "%s: is %u bytes (hint: \xc3\xa4)", "path", 7u);
    ck_assert_str_eq(line, "path: is 7 bytes (hint: \xc3\xa4)");
}
END_TEST

START_TEST(control_characters_are_written_out)
{
    line_format(line, sizeof(line), "label 'a\nb\t\x1b[2J\x7f': no");
    ck_assert_str_eq(line, "label 'a\\x0ab\\x09\\x1b[2J\\x7f': no");
    line_format(line, sizeof(line), "%s", "label 'a\\x0ab'");
    ck_assert_str_eq(line, "label 'a\\x0ab'");
}
END_TEST

START_TEST(a_long_value_loses_its_middle_and_the_reason_stays)
{
    static const char *const fillings[] = {"x", "\n", "\xc3\xa4", "\n\xe2\x82\xac"};

    fill_value(fillings[_i]);
    line_format(line, sizeof(line), "label '%s': too long (hint: --label)", value);
    size_t length = strlen(line);
    const char *end = "': too long (hint: --label)";
    ck_assert_uint_gt(length, ROOM_BYTES - 16);
    ck_assert_uint_lt(length, ROOM_BYTES);
    ck_assert_int_eq(strncmp(line, "label '", strlen("label '")), 0);
    ck_assert_str_eq(line + length - strlen(end), end);
    const char *gap = strstr(line, "...");
    ck_assert_ptr_nonnull(gap);
    ck_assert_int_ne((unsigned char)gap[3] & 0xc0, 0x80); /* a whole character follows */
    ck_assert_ptr_null(strpbrk(line, "\n\t"));
    if (_i >= 2) {
        ck_assert_int_eq((unsigned char)gap[-1] & 0xc0, gap[-1] == 'a' ? 0x40 : 0x80);
    }
}
END_TEST

START_TEST(every_length_around_the_room_fits_and_is_whole_or_cut)
{
    fill_value("x");
    for (unsigned bytes = ROOM_BYTES - 20; bytes < ROOM_BYTES + 20; bytes++) {
        line_format(line, sizeof(line), "%.*s!", (int)bytes, value);
        size_t length = strlen(line);
        ck_assert_uint_eq(length, bytes + 1 < ROOM_BYTES ? bytes + 1 : ROOM_BYTES - 1);
        ck_assert_int_eq(line[length - 1], '!');
        ck_assert_int_eq(strstr(line, "...") != NULL, bytes + 1 >= ROOM_BYTES);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("line");
    TCase *lines = tcase_create("lines");

    tcase_add_test(lines, what_fits_is_said_as_it_is);
    tcase_add_test(lines, control_characters_are_written_out);
    tcase_add_loop_test(lines, a_long_value_loses_its_middle_and_the_reason_stays, 0, 4);
    tcase_add_test(lines, every_length_around_the_room_fits_and_is_whole_or_cut);
    suite_add_tcase(suite, lines);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
