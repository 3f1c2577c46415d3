/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The watchdog: what is busy and does not move is named once, with the trace; all else is not. */
#include <stdatomic.h>
#include <string.h>

#include "kit.h"
#include "r5fs/base/env.h"
#include "r5fs/base/trace.h"
#include "r5fs/base/watch.h"

#define SECOND UINT64_C(1000000000)
#define HOUR   (3600 * SECOND)

static _Atomic uint64_t clock_ns = 1000 * SECOND;
static struct env_ops ops;

static uint64_t fake_now_ns(void)
{
    return atomic_load(&clock_ns);
}

/* Each test is a process of its own, so the clock, stderr and the cells are its own too. */
static void capture(void)
{
    ops = env_posix;
    ops.now_ns = fake_now_ns;
    env_use(&ops);
    kit_capture_stderr();
}

static unsigned look(unsigned times)
{
    unsigned stuck = 0;

    for (unsigned i = 0; i < times; i++) {
        stuck += watch_look();
    }
    return stuck;
}

START_TEST(what_does_not_move_is_named_once_with_the_trace)
{
    struct watch *watch = watch_open("log thread", "/srv/d2");

    capture();
    trace_add("m.before", 1, 2);
    watch_enter(watch, "write out", 5, 6);
    ck_assert_uint_eq(look(WATCH_LOOKS), 0); /* the first look only learns where it stands */
    ck_assert_uint_eq(look(1), 1);
    ck_assert_uint_eq(look(5 * WATCH_LOOKS), 0);
    const char *text = kit_captured();
    ck_assert_uint_eq(kit_count(text, "no_progress"), 1);
    ck_assert_ptr_nonnull(
        strstr(text, "what=\"log thread\" name=/srv/d2 step=\"write out\" a=5 b=6"));
    ck_assert_uint_eq(kit_count(text, "trace: begin"), 1);
    ck_assert_uint_eq(kit_count(text, " m.before 1 2\n"), 1);
}
END_TEST

START_TEST(what_moves_now_and_then_is_never_named)
{
    struct watch *stepping = watch_open("stepping", NULL);
    struct watch *shared = watch_open("shared", NULL);
    struct watch *idle = watch_open("idle", NULL);

    capture();
    watch_enter(stepping, "one", 0, 0);
    watch_enter(shared, "first", 0, 0);
    watch_enter(idle, "for a moment", 0, 0);
    watch_leave(idle);
    for (unsigned i = 0; i < 50; i++) {
        ck_assert_uint_eq(look(WATCH_LOOKS - 1), 0);
        watch_step(stepping, "next", i, 0);
        watch_enter(shared, "next", i, 0); /* one is always inside, but never the same */
        watch_leave(shared);
    }
    ck_assert_str_eq(kit_captured(), "");
}
END_TEST

START_TEST(new_work_behind_what_is_stuck_is_no_progress)
{
    struct watch *watch = watch_open("I/O", "/srv/d1");

    capture();
    for (unsigned i = 0; i <= WATCH_LOOKS; i++) {
        watch_enter(watch, "write", i, 0);
        (void)look(1);
    }
    ck_assert_uint_eq(kit_count(kit_captured(), "no_progress"), 1);
}
END_TEST

START_TEST(progress_is_said_and_the_next_stop_is_named_again_without_the_trace)
{
    struct watch *watch = watch_open("commit", NULL);

    capture();
    watch_enter(watch, "flush", 0, 0);
    (void)look(WATCH_LOOKS + 1);
    watch_leave(watch);
    (void)look(1);
    ck_assert_uint_eq(kit_count(kit_captured(), "progress_again"), 1);
    watch_enter(watch, "flush", 0, 0);
    ck_assert_uint_eq(look(WATCH_LOOKS + 1), 1);
    ck_assert_uint_eq(kit_count(kit_captured(), "no_progress"), 2);
    ck_assert_uint_eq(kit_count(kit_captured(), "trace: begin"), 1);
    watch_leave(watch);
    (void)look(1);
    atomic_fetch_add(&clock_ns, HOUR);
    watch_enter(watch, "flush", 0, 0);
    ck_assert_uint_eq(look(WATCH_LOOKS + 1), 1);
    ck_assert_uint_eq(kit_count(kit_captured(), "trace: begin"), 2);
}
END_TEST

START_TEST(a_clock_that_jumps_names_nobody)
{
    struct watch *watch = watch_open("commit", NULL);

    capture();
    watch_enter(watch, "flush", 0, 0);
    (void)look(2);
    atomic_fetch_add(&clock_ns, 24 * HOUR); /* the process was stopped, the machine asleep */
    ck_assert_uint_eq(look(2), 0);
    ck_assert_str_eq(kit_captured(), "");
}
END_TEST

START_TEST(more_patience_is_kept)
{
    struct watch *watch = watch_open("request", NULL);

    capture();
    watch_set_patience(watch, 4);
    watch_enter(watch, "", 0, 0);
    ck_assert_uint_eq(look(4 * WATCH_LOOKS), 0);
    ck_assert_uint_eq(look(1), 1);
}
END_TEST

START_TEST(what_is_done_far_below_moves_the_threads_own_cell)
{
    struct watch *watch = watch_open("request", NULL);

    capture();
    watch_here(watch);
    watch_enter(watch, "", 0, 0);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(look(WATCH_LOOKS), 0);
        watch_moved_here();
    }
    watch_here(NULL);
    watch_moved_here();
    ck_assert_uint_eq(look(WATCH_LOOKS + 1), 1);
}
END_TEST

START_TEST(a_cell_given_back_is_not_looked_at_and_serves_again)
{
    struct watch *first = watch_open("I/O", "/gone");

    capture();
    watch_enter(first, "write", 0, 0);
    (void)look(WATCH_LOOKS);
    watch_close(first);
    ck_assert_uint_eq(look(2 * WATCH_LOOKS), 0);
    for (unsigned i = 0; i < WATCH_CELLS_MAX; i++) {
        ck_assert_ptr_nonnull(watch_open("I/O", NULL));
    }
    ck_assert_ptr_null(watch_open("one more", NULL));
    ck_assert_uint_eq(look(2 * WATCH_LOOKS), 0);
    watch_enter(NULL, "nobody watches", 0, 0);
    watch_step(NULL, "", 0, 0);
    watch_leave(NULL);
    watch_set_patience(NULL, 2);
    watch_close(NULL);
}
END_TEST

START_TEST(the_thread_looks_by_itself)
{
    struct watch *watch = watch_open("I/O", "/srv/d1");

    kit_capture_stderr();
    watch_enter(watch, "write", 0, 0);
    ck_assert_int_eq(watchdog_start(SECOND / 20), 0);
    /* Until it has: the test's own time limit ends the wait otherwise. */
    while (strstr(kit_captured(), "trace: end") == NULL) {
        env_sleep_ns(SECOND / 100);
    }
    watchdog_stop();
    ck_assert_uint_eq(kit_count(kit_captured(), "no_progress"), 1);
    watchdog_stop(); /* harmless */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *looks = tcase_create("looks");

    tcase_add_test(looks, what_does_not_move_is_named_once_with_the_trace);
    tcase_add_test(looks, what_moves_now_and_then_is_never_named);
    tcase_add_test(looks, new_work_behind_what_is_stuck_is_no_progress);
    tcase_add_test(looks, progress_is_said_and_the_next_stop_is_named_again_without_the_trace);
    tcase_add_test(looks, a_clock_that_jumps_names_nobody);
    tcase_add_test(looks, more_patience_is_kept);
    tcase_add_test(looks, what_is_done_far_below_moves_the_threads_own_cell);
    tcase_add_test(looks, a_cell_given_back_is_not_looked_at_and_serves_again);
    tcase_add_test(looks, the_thread_looks_by_itself);
    suite_add_tcase(suite, looks);
    return kit_run(suite);
}
