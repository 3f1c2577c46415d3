/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The start of a log, and the log in words. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crash_io.h"
#include "meta_block.h"
#include "r5fs/journal/log_dump.h"
#include "recovery_kit.h"

static struct recovery_kit kit;
static char text[16384];

static void collect(void *context, const char *line)
{
    (void)context; /* one text */
    size_t used = strlen(text);
    int length = snprintf(text + used, sizeof(text) - used, "%s\n", line);

    ck_assert_ptr_null(strchr(line, '\n'));
    ck_assert(length > 0 && (size_t)length < sizeof(text) - used);
}

static const char *dump(void)
{
    struct arena arena;

    ck_assert_int_eq(snprintf(text, sizeof(text), "\n"), 1);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&arena);
    ck_assert_int_eq(journal_dump_entries(kit.array, kit.queue, &arena, collect, NULL), 0);
    arena_fini(&arena);
    kit_close(&kit);
    return text;
}

static void make_array(void)
{
    crash_io_use(kit_below);
    kit_create(&kit, &KIT_USUAL);
}

static void drop_array(void)
{
    kit_remove(&kit);
}

/* What the dump has to say about the array at hand. */
static void expect_line(const char *format, ...) R5_PRINTF(1, 2);

static void expect_line(const char *format, ...)
{
    char line[256];
    va_list args;

    line[0] = '\n';
    va_start(args, format);
    ck_assert_int_gt(vsnprintf(line + 1, sizeof(line) - 1, format, args), 0);
    va_end(args);
    ck_assert_msg(strstr(text, line) != NULL, "no line \"%s\" in:\n%s", line + 1, text);
}

START_TEST(format_leaves_one_empty_unit_and_zeros)
{
    uint8_t page[BLOCK_BYTES];

    for (uint64_t i = 1; i < kit.ring_blocks; i++) {
        kit_write_number(&kit, kit_journal(&kit), i, 77);
    }
    kit_set_tail(&kit, log_block(9));
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(journal_format(kit.array, kit.queue), 0);
    ck_assert_uint_eq(array_log_tail(kit.array).nr, 0);
    kit_close(&kit);
    for (uint64_t i = 1; i < kit.ring_blocks; i++) {
        ck_assert_uint_eq(kit_read_number(&kit, kit_journal(&kit), i), 0);
    }
    kit_peek(&kit, kit_journal(&kit), 0, page);
    ck_assert_int_eq(meta_block_verify(page, kit.seed, log_block(0)), META_VALID);
    ck_assert_uint_eq(meta_block_payload_count(page), 0);
    ck_assert_uint_le(meta_block_seq(page), UINT32_MAX);
    kit.head = log_block(1);
    kit.seq = meta_block_seq(page) + 1;
    kit_unit(&kit, &KIT_DATA(6, 1), 1, 0);
    dump();
    expect_line("end block=3 seq=%llu cause=\"no meta block\" units=2\n",
                (unsigned long long)kit.seq);
}
END_TEST

START_TEST(every_unit_payload_and_the_end_are_shown)
{
    struct placement at = geometry_locate(&kit.geometry, fs_block(20));
    unsigned long long seq = kit.seq;

    kit_unit(&kit, (struct kit_payload[]){KIT_DATA(20, 1), KIT_DATA(21, 2)}, 2, 0);
    kit_unit(&kit, &KIT_PARITY(at.row.nr, 3), 1, 0);
    kit_unit(&kit, &KIT_DATA(22, 1), 1, 0);
    kit_unit(&kit, &KIT_DATA(23, 1), 1, 1);
    kit_write_number(&kit, kit_journal(&kit), 7, 99); /* the page of the third */
    dump();
    expect_line("unit seq=%llu block=0 pages=0 undurable=0\n", seq - 1);
    expect_line("unit seq=%llu block=1 pages=2 undurable=0\n", seq);
    expect_line("  data block=20 row=%llu slot=%u page=2 checksum=",
                (unsigned long long)at.row.nr,
                at.slot);
    expect_line("  parity row=%llu slot=%u page=5 checksum=",
                (unsigned long long)at.row.nr,
                geometry_parity_slot(&kit.geometry, at.row));
    ck_assert_ptr_nonnull(strstr(text, " page=7 checksum="));
    ck_assert_ptr_nonnull(strstr(text, " WRONG\n"));
    expect_line("end block=6 seq=%llu cause=\"a wrong page\" units=3\n", seq + 2);
    expect_line("beyond block=6 seq=%llu undurable=0 \"valid\"\n", seq + 2);
    expect_line("beyond block=8 seq=%llu undurable=1 \"valid\"\n", seq + 3);
}
END_TEST

START_TEST(a_log_without_head_is_shown_as_such)
{
    kit_write_number(&kit, kit_journal(&kit), 0, 0);
    dump();
    expect_line("end block=0 seq=0 cause=\"no meta block\" units=0\n");
}
END_TEST

START_TEST(an_array_without_journal_has_no_log)
{
    struct arena arena;

    kit_remove(&kit);
    kit_unpack(&kit, "f1", 3, false);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&arena);
    ck_assert_int_eq(journal_dump_entries(kit.array, kit.queue, &arena, collect, NULL), -ENXIO);
    arena_fini(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_dump");
    TCase *log = tcase_create("log");

    tcase_add_checked_fixture(log, make_array, drop_array);
    tcase_set_timeout(log, 60);
    tcase_add_test(log, format_leaves_one_empty_unit_and_zeros);
    tcase_add_test(log, every_unit_payload_and_the_end_are_shown);
    tcase_add_test(log, a_log_without_head_is_shown_as_such);
    tcase_add_test(log, an_array_without_journal_has_no_log);
    suite_add_tcase(suite, log);
    return kit_run(suite);
}
