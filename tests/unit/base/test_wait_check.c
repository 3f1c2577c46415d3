/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each rule of who may wait for what: kept, it says nothing; broken, it aborts and shows both ends.
 * Only builds with R5FS_DEBUG_CHECKS check. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit.h"
#include "r5fs/base/env.h"
#include "r5fs/base/wait_check.h"

#ifdef R5FS_DEBUG_CHECKS

START_TEST(higher_ranks_may_be_waited_for)
{
    wait_check_hold(POOL_RANK_IMAGE, "image");
    wait_check_memory(POOL_RANK_IO_UNIT, "unit");
    wait_check_drop(POOL_RANK_IMAGE);
    wait_check_memory(POOL_RANK_IMAGE, "image");
}
END_TEST

/* A shared pool below, a waiter above: the lower layer starves behind the upper one's objects. */
START_TEST(waiting_for_a_lower_rank_than_one_holds_aborts)
{
    wait_check_hold(POOL_RANK_IO_UNIT, "unit");
    wait_check_memory(POOL_RANK_IMAGE, "image");
}
END_TEST

START_TEST(waiting_for_a_second_one_of_the_same_rank_aborts)
{
    wait_check_hold(POOL_RANK_MEMBER_READ, "read set");
    wait_check_memory(POOL_RANK_MEMBER_READ, "read set");
}
END_TEST

START_TEST(a_section_forbids_only_what_it_names_and_only_until_its_end)
{
    wait_check_forbid_kinds(WAIT_FOR_MEMORY, "section");
    wait_check_kind(WAIT_FOR_IO, "read");
    env_sleep_ns(1);
    wait_check_allow_kinds("section");
    wait_check_kind(WAIT_FOR_MEMORY, "image");
}
END_TEST

START_TEST(waiting_in_a_section_that_forbids_it_aborts)
{
    wait_check_forbid_kinds(WAIT_FOR_MEMORY | WAIT_FOR_CELL, "log thread");
    wait_check_kind(WAIT_FOR_CELL, "row cell");
}
END_TEST

START_TEST(sleeping_where_nothing_may_be_waited_for_aborts)
{
    wait_check_forbid_kinds(WAIT_FOR_ANYTHING, "callback");
    env_sleep_ns(1);
}
END_TEST

/* The dm rescuer: requests stood on the list of the worker that waited for them. */
START_TEST(sleeping_with_requests_on_the_own_queue_aborts)
{
    wait_check_queued(1);
    env_sleep_ns(1);
}
END_TEST

START_TEST(waiting_for_the_own_queue_is_what_runs_it)
{
    wait_check_queued(1);
    wait_check_kind(WAIT_FOR_IO, "io_wait");
    wait_check_io_wait(true);
    env_sleep_ns(1); /* the backend's */
    wait_check_done();
    wait_check_queued(-1);
    wait_check_io_wait(false);
    env_sleep_ns(1);
}
END_TEST

START_TEST(done_inside_submit_aborts)
{
    wait_check_submit(true);
    wait_check_done();
}
END_TEST

START_TEST(waiting_inside_submit_aborts)
{
    wait_check_submit(true);
    wait_check_kind(WAIT_FOR_IO, "io_wait");
}
END_TEST

/* A reader of the report needs both ends: it is written before the abort. */
START_TEST(the_report_names_the_duty_and_what_broke_it)
{
    int ends[2];
    char said[8192] = {0};
    size_t length = 0;
    int status = 0;

    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        wait_check_forbid_kinds(WAIT_FOR_MEMORY, "holder of a row cell");
        wait_check_memory(POOL_RANK_TXN, "credits");
        _exit(0);
    }
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && length < sizeof(said) - 1;) {
        got = read(ends[0], said + length, sizeof(said) - 1 - length);
        length += got > 0 ? (size_t)got : 0;
    }
    (void)close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_ptr_nonnull(strstr(said, "holder of a row cell"));
    ck_assert_ptr_nonnull(strstr(said, "credits"));
    ck_assert_ptr_nonnull(strstr(said, "taken on here"));
    ck_assert_ptr_nonnull(strstr(said, "broken here"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wait_check");
    TCase *use = tcase_create("use");

    tcase_add_test(use, higher_ranks_may_be_waited_for);
    tcase_add_test_raise_signal(use, waiting_for_a_lower_rank_than_one_holds_aborts, SIGABRT);
    tcase_add_test_raise_signal(use, waiting_for_a_second_one_of_the_same_rank_aborts, SIGABRT);
    tcase_add_test(use, a_section_forbids_only_what_it_names_and_only_until_its_end);
    tcase_add_test_raise_signal(use, waiting_in_a_section_that_forbids_it_aborts, SIGABRT);
    tcase_add_test_raise_signal(use, sleeping_where_nothing_may_be_waited_for_aborts, SIGABRT);
    tcase_add_test_raise_signal(use, sleeping_with_requests_on_the_own_queue_aborts, SIGABRT);
    tcase_add_test(use, waiting_for_the_own_queue_is_what_runs_it);
    tcase_add_test_raise_signal(use, done_inside_submit_aborts, SIGABRT);
    tcase_add_test_raise_signal(use, waiting_inside_submit_aborts, SIGABRT);
    tcase_add_test(use, the_report_names_the_duty_and_what_broke_it);
    suite_add_tcase(suite, use);
    return kit_run(suite);
}

#else

int main(void)
{
    return 77; /* nothing is checked in this build, so there is nothing to test */
}

#endif
