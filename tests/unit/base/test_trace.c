/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The trace ring: what is read from it is whole, whoever writes meanwhile. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/env.h"
#include "r5fs/base/trace.h"

#define WRITERS         4
#define WRITER_ENTRIES  200000u
#define OLDEST          4u
#define CHECKSUM(a)     ((a)*UINT64_C(0x9e3779b97f4a7c15))
#define DUMP_LINES_MORE 2u /* begin and end */

START_TEST(entries_are_kept_in_their_order)
{
    struct trace_entry entry;

    trace_add("m.first", 1, 2);
    trace_add("m.second", 3, 4);
    ck_assert_uint_eq(trace_count(), 2);
    ck_assert(trace_get(0, &entry));
    ck_assert_str_eq(entry.site, "m.first");
    ck_assert_uint_eq(entry.a, 1);
    ck_assert_uint_eq(entry.b, 2);
    uint64_t time_ns = entry.time_ns;
    ck_assert(trace_get(1, &entry));
    ck_assert_str_eq(entry.site, "m.second");
    ck_assert_uint_ge(entry.time_ns, time_ns);
    ck_assert(!trace_get(2, &entry));
}
END_TEST

START_TEST(the_newest_stay)
{
    struct trace_entry entry;

    for (uint64_t i = 0; i < TRACE_ENTRIES + 10; i++) {
        trace_add("m.e", i, 0);
    }
    ck_assert(!trace_get(9, &entry));
    ck_assert(trace_get(10, &entry));
    ck_assert_uint_eq(entry.a, 10);
    ck_assert(trace_get(TRACE_ENTRIES + 9, &entry));
}
END_TEST

static _Atomic int writers_left = WRITERS;

static void write_entries(void *context)
{
    (void)context;
    for (uint64_t i = 0; i < WRITER_ENTRIES; i++) {
        trace_add("m.racing", i, CHECKSUM(i));
    }
    atomic_fetch_sub(&writers_left, 1);
}

START_TEST(an_entry_that_is_read_is_whole_while_others_write)
{
    struct env_thread *threads[WRITERS];
    struct trace_entry entry;
    uint64_t read = 0;

    for (int i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "writer", write_entries, NULL), 0);
    }
    while (atomic_load(&writers_left) > 0) {
        /* The oldest, which are written over while they are read. */
        uint64_t end = trace_count();
        uint64_t first = end > TRACE_ENTRIES ? end - TRACE_ENTRIES : 0;
        for (uint64_t i = first; i < first + OLDEST && i < end; i++) {
            if (trace_get(i, &entry)) {
                read++;
                ck_assert_uint_eq(entry.b, CHECKSUM(entry.a));
            }
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        env_thread_join(threads[i]);
    }
    for (uint64_t i = trace_count() - TRACE_ENTRIES; i < trace_count(); i++) {
        read += trace_get(i, &entry) ? 1 : 0;
    }
    /* Where two writers met a ring apart, an entry may be lost; here nobody writes any more. */
    ck_assert_uint_ge(read, TRACE_ENTRIES - WRITERS);
}
END_TEST

START_TEST(the_dump_is_not_limited_as_messages_are)
{
    kit_capture_stderr();
    for (uint64_t i = 0; i < TRACE_ENTRIES; i++) {
        trace_add("m.dumped", i, 7);
    }
    trace_dump();
    ck_assert_uint_eq(kit_count(kit_captured(), " m.dumped "), TRACE_ENTRIES);
    ck_assert_uint_eq(kit_count(kit_captured(), "\n"), TRACE_ENTRIES + DUMP_LINES_MORE);
    ck_assert_ptr_nonnull(strstr(kit_captured(), " m.dumped 511 7\n"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trace");
    TCase *ring = tcase_create("ring");

    tcase_add_test(ring, entries_are_kept_in_their_order);
    tcase_add_test(ring, the_newest_stay);
    tcase_add_test(ring, an_entry_that_is_read_is_whole_while_others_write);
    tcase_add_test(ring, the_dump_is_not_limited_as_messages_are);
    suite_add_tcase(suite, ring);
    return kit_run(suite);
}
