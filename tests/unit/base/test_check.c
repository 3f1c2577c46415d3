/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A failed check says where, shows what went before, and ends the process whatever happens. */
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

static void fail_check(void *context)
{
    (void)context;
    R5_CHECK(1 + 1 == 3);
}

/* Runs `body` in a child and answers how it ended. */
static int status_of(void (*body)(void *))
{
    int status = 0;
    pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        body(NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void assert_aborted(int status)
{
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}

START_TEST(true_condition_does_nothing)
{
    kit_capture_stderr();
    R5_CHECK(1 + 1 == 2);
    ck_assert_str_eq(kit_captured(), "");
}
END_TEST

START_TEST(false_condition_says_where_and_dumps_the_ring)
{
    kit_capture_stderr();
    msg_debug("m", "what went before");
    assert_aborted(status_of(fail_check));
    const char *text = kit_captured();
    ck_assert_uint_ge(kit_count(text, "r5fs: check: failed at=test_check.c:"), 1);
    ck_assert_uint_ge(kit_count(text, "condition=1 + 1 == 3"), 1);
    ck_assert_uint_eq(kit_count(text, "debug r5fs: m: what went before\n"), 1);
}
END_TEST

static uint64_t failing_now_ns(void)
{
    R5_CHECK(false && "the clock");
    return 0;
}

static void fail_while_failing(void *context)
{
    static struct env_ops ops;

    (void)context;
    ops = env_posix;
    ops.now_ns = failing_now_ns;
    env_use(&ops);
    R5_CHECK(false);
}

START_TEST(failure_while_reporting_a_failure_still_ends)
{
    kit_capture_stderr();
    assert_aborted(status_of(fail_while_failing));
}
END_TEST

static void fail_with_observer_failing(void *context, enum msg_level level, const char *line)
{
    (void)level;
    (void)line;
    fail_check(context);
}

static void fail_observed(void *context)
{
    msg_set_observer(fail_with_observer_failing, NULL);
    fail_check(context);
}

START_TEST(failing_observer_does_not_hide_the_first_failure)
{
    kit_capture_stderr();
    assert_aborted(status_of(fail_observed));
    ck_assert_uint_ge(kit_count(kit_captured(), "r5fs: check: failed at=test_check.c:"), 1);
}
END_TEST

static void fail_on_many_threads(void *context)
{
    struct env_thread *threads[8];

    for (unsigned i = 0; i < 8; i++) {
        if (env_thread_start(&threads[i], "failing", fail_check, context) != 0) {
            _exit(2);
        }
    }
    env_sleep_ns(UINT64_C(10000000000));
}

START_TEST(failing_on_many_threads_gives_one_whole_report)
{
    kit_capture_stderr();
    for (unsigned i = 0; i < 1000; i++) {
        msg_debug("m", "fills the ring, so that the report takes its time");
    }
    for (unsigned round = 1; round <= 10; round++) {
        assert_aborted(status_of(fail_on_many_threads));
        ck_assert_uint_eq(kit_count(kit_captured(), "r5fs: msg: ring_begin\n"), round);
        ck_assert_uint_eq(kit_count(kit_captured(), "r5fs: msg: ring_end\n"), round);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("check");
    TCase *failure = tcase_create("failure");

    tcase_add_test(failure, true_condition_does_nothing);
    tcase_add_test(failure, false_condition_says_where_and_dumps_the_ring);
    tcase_add_test(failure, failure_while_reporting_a_failure_still_ends);
    tcase_add_test(failure, failing_observer_does_not_hide_the_first_failure);
    tcase_add_test(failure, failing_on_many_threads_gives_one_whole_report);
    suite_add_tcase(suite, failure);
    return kit_run(suite);
}
