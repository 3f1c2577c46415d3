/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages: one tidy line each, levels, rate limit, ring, observer, a log daemon that is stuck. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kit.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

#define SECOND UINT64_C(1000000000)

static _Atomic uint64_t clock_ns = 1000 * SECOND;
static struct env_ops ops;

static uint64_t fake_now_ns(void)
{
    return atomic_load(&clock_ns);
}

/* Each test is a process of its own, so the clock and stderr are its own too. */
static void capture(void)
{
    ops = env_posix;
    ops.now_ns = fake_now_ns;
    env_use(&ops);
    kit_capture_stderr();
}

START_TEST(line_names_program_and_module)
{
    msg_warn("journal", "tail_moved from=%d to=%s", 1, "x");
    ck_assert_str_eq(kit_captured(), "r5fs: journal: tail_moved from=1 to=x\n");
}
END_TEST

START_TEST(lines_above_the_level_are_not_printed)
{
    msg_err("m", "e1");
    msg_warn("m", "w1");
    msg_info("m", "i1");
    msg_debug("m", "d1");
    ck_assert_str_eq(kit_captured(), "r5fs: m: e1\nr5fs: m: w1\n");
    msg_set_level(MSG_INFO);
    msg_info("m", "i2");
    msg_debug("m", "d2");
    msg_set_level(MSG_ERR);
    msg_warn("m", "w3");
    ck_assert_str_eq(kit_captured(), "r5fs: m: e1\nr5fs: m: w1\nr5fs: m: i2\n");
}
END_TEST

START_TEST(ring_keeps_every_level)
{
    msg_debug("m", "d1 value=%d", 7);
    msg_err("m", "e1");
    msg_dump_ring();
    const char *text = kit_captured();
    ck_assert_uint_eq(kit_count(text, "debug r5fs: m: d1 value=7\n"), 1);
    ck_assert_uint_eq(kit_count(text, "err r5fs: m: e1\n"), 1);
    ck_assert_uint_eq(kit_count(text, "[1000.000000] "), 2);
}
END_TEST

START_TEST(ring_keeps_the_latest_in_order)
{
    for (int i = 0; i < 2000; i++) {
        msg_debug("m", "line number=%d.", i);
    }
    msg_dump_ring();
    const char *text = kit_captured();
    ck_assert_uint_eq(kit_count(text, "line number="), 512);
    const char *at = text;
    for (int i = 2000 - 512; i < 2000; i++) {
        char wanted[40];
        ck_assert_int_gt(snprintf(wanted, sizeof(wanted), "number=%d.", i), 0);
        at = strstr(at, wanted);
        ck_assert_ptr_nonnull(at);
    }
}
END_TEST

START_TEST(name_with_control_characters_stays_one_line)
{
    msg_err("fs", "bad_name name=%s", "a\nb\x1b[31m\x7f\xc3\xa4");
    ck_assert_str_eq(kit_captured(), "r5fs: fs: bad_name name=a?b?[31m?\xc3\xa4\n");
}
END_TEST

START_TEST(long_line_is_cut_and_says_so)
{
    static char longer[2000];

    memset(longer, 'x', sizeof(longer) - 1);
    msg_err("m", "%s", longer);
    const char *text = kit_captured();
    ck_assert_uint_eq(strlen(text), 512);
    ck_assert_str_eq(text + 508, "...\n");
    msg_err(longer, "%s", longer);
    ck_assert_uint_eq(strlen(kit_captured()), 1024);
}
END_TEST

/* The longest that fits, and one more. */
START_TEST(line_that_just_fits_is_whole)
{
    static char fits[600];
    size_t room = 511 - strlen("r5fs: m: ");

    memset(fits, 'x', room);
    msg_err("m", "%s", fits);
    ck_assert_uint_eq(kit_count(kit_captured(), "..."), 0);
    ck_assert_uint_eq(strlen(kit_captured()), 512);
    fits[room] = 'x';
    msg_err("m", "%s", fits);
    ck_assert_uint_eq(kit_count(kit_captured(), "x...\n"), 1);
}
END_TEST

START_TEST(twenty_lines_a_second_then_a_count)
{
    for (int i = 0; i < 50; i++) {
        msg_warn("flood", "line");
        msg_warn(i % 2 == 0 ? "other" : "third", "quiet");
    }
    ck_assert_uint_eq(kit_count(kit_captured(), "r5fs: flood: line\n"), 20);
    ck_assert_uint_eq(kit_count(kit_captured(), "quiet\n"), 40);
    ck_assert_uint_eq(kit_count(kit_captured(), "lines_dropped"), 0);
    atomic_fetch_add(&clock_ns, SECOND);
    msg_warn("flood", "again");
    const char *text = kit_captured();
    const char *dropped = strstr(text, "r5fs: flood: lines_dropped count=30\n");
    ck_assert_ptr_nonnull(dropped);
    ck_assert_ptr_nonnull(strstr(dropped, "r5fs: flood: again\n"));
    ck_assert_uint_eq(kit_count(text, "r5fs: other: lines_dropped count=5\n"), 1);
}
END_TEST

START_TEST(count_of_a_module_that_fell_silent_comes_with_anyones_next_line)
{
    for (int i = 0; i < 21; i++) {
        msg_warn("flood", "line");
    }
    atomic_fetch_add(&clock_ns, 3 * SECOND);
    msg_warn("other", "hello");
    msg_warn("other", "hello");
    ck_assert_uint_eq(kit_count(kit_captured(), "r5fs: flood: lines_dropped count=1\n"), 1);
}
END_TEST

START_TEST(dropped_lines_are_in_the_ring)
{
    for (int i = 0; i < 30; i++) {
        msg_warn("flood", "line number=%d.", i);
    }
    msg_dump_ring();
    ck_assert_uint_eq(kit_count(kit_captured(), "warn r5fs: flood: line number=29."), 1);
}
END_TEST

START_TEST(modules_without_number_do_no_harm)
{
    for (int i = 0; i < 500; i++) {
        char module[40];
        ck_assert_int_gt(snprintf(module, sizeof(module), "module-with-a-name-%d", i), 0);
        msg_err(module, "line");
    }
    ck_assert_uint_ge(kit_count(kit_captured(), ": line\n"), 64);
}
END_TEST

struct seen {
    unsigned count;
    enum msg_level level;
    char line[600];
};

static void note(void *context, enum msg_level level, const char *line)
{
    struct seen *seen = context;
    size_t bytes = strnlen(line, sizeof(seen->line) - 1);

    seen->count++;
    seen->level = level;
    memcpy(seen->line, line, bytes);
    seen->line[bytes] = '\0';
    msg_err("observer", "its own line does not come back");
}

START_TEST(observer_sees_lines_up_to_the_level_also_the_dropped)
{
    struct seen seen = {0};

    msg_set_level(MSG_INFO);
    msg_set_observer(note, &seen);
    msg_info("m", "i1");
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(seen.level, MSG_INFO);
    ck_assert_str_eq(seen.line, "r5fs: m: i1");
    msg_debug("m", "d1");
    ck_assert_uint_eq(seen.count, 1);
    for (int i = 0; i < 100; i++) {
        msg_warn("m", "w");
    }
    ck_assert_uint_eq(seen.count, 101);
    msg_set_observer(NULL, NULL);
    msg_warn("m", "w");
    ck_assert_uint_eq(seen.count, 101);
}
END_TEST

static atomic_bool observed;
static atomic_bool gone;

static void observe_slowly(void *context, enum msg_level level, const char *line)
{
    (void)context;
    (void)level;
    (void)line;
    atomic_store(&observed, true);
    env_sleep_ns(50000000);
    ck_assert(!atomic_load(&gone));
}

static void say_something(void *context)
{
    (void)context;
    msg_err("m", "x");
}

START_TEST(observer_is_not_running_any_more_once_taken_away)
{
    struct env_thread *thread = NULL;

    msg_set_observer(observe_slowly, NULL);
    ck_assert_int_eq(env_thread_start(&thread, "speaker", say_something, NULL), 0);
    while (!atomic_load(&observed)) {
        env_sleep_ns(10000);
    }
    msg_set_observer(NULL, NULL);
    atomic_store(&gone, true);
    env_thread_join(thread);
}
END_TEST

START_TEST(errno_survives)
{
    ck_assert_int_eq(close(STDERR_FILENO), 0);
    errno = 1234;
    msg_err("m", "nobody hears this");
    ck_assert_int_eq(errno, 1234);
}
END_TEST

static void chatter(void *context)
{
    for (int i = 0; i < 5000; i++) {
        msg_debug("chatter", "speaker=%d line=%d end", *(const int *)context, i);
    }
}

START_TEST(lines_of_several_threads_do_not_mix)
{
    static int speakers[4] = {0, 1, 2, 3};
    struct env_thread *threads[4];

    msg_set_level(MSG_DEBUG);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "chatter", chatter, &speakers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_uint_eq(kit_count(kit_captured(), "r5fs: chatter: speaker="), 20);
    msg_dump_ring();
    const char *text = kit_captured();
    ck_assert_uint_eq(kit_count(text, "debug r5fs: chatter: speaker="), 512);
    ck_assert_uint_eq(kit_count(text, " end\n"), 532);
}
END_TEST

/* A /dev of our own, in a mount namespace of our own. False where the kernel refuses that. */
static bool private_dev(void)
{
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/dev", "tmpfs", 0, NULL) == 0;
}

static int open_log_daemon(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)), 0);
    return fd;
}

START_TEST(syslog_gets_the_line_and_stderr_does_not)
{
    char packet[700];
    char wanted[100];

    if (!private_dev()) {
        printf("syslog: not tested, mount namespaces are refused here\n");
        return;
    }
    int daemon = open_log_daemon();
    msg_to_syslog(true);
    msg_err("m", "hello daemon");
    ssize_t bytes = recv(daemon, packet, sizeof(packet) - 1, 0);
    ck_assert_int_gt(bytes, 0);
    packet[bytes] = '\0';
    ck_assert_int_gt(
        snprintf(wanted, sizeof(wanted), "<27>r5fs[%d]: r5fs: m: hello daemon", (int)getpid()), 0);
    ck_assert_str_eq(packet, wanted);
    ck_assert_str_eq(kit_captured(), "");
    msg_to_syslog(false);
    msg_err("m", "hello terminal");
    ck_assert_str_eq(kit_captured(), "r5fs: m: hello terminal\n");
}
END_TEST

START_TEST(log_daemon_that_came_later_or_again_is_found)
{
    char packet[700];

    if (!private_dev()) {
        printf("syslog: not tested, mount namespaces are refused here\n");
        return;
    }
    msg_to_syslog(true);
    msg_err("m", "nobody there");
    ck_assert_str_eq(kit_captured(), "r5fs: m: nobody there\n");
    for (int i = 0; i < 2; i++) {
        int daemon = open_log_daemon();
        msg_err("m", "there");
        ck_assert_int_gt(recv(daemon, packet, sizeof(packet), 0), 0);
        ck_assert_int_eq(close(daemon), 0);
        ck_assert_int_eq(unlink("/dev/log"), 0);
    }
}
END_TEST

/* M1: would syslog(3) be used, this test would wait for ever. */
START_TEST(log_daemon_that_does_not_read_holds_up_nobody)
{
    if (!private_dev()) {
        printf("syslog: not tested, mount namespaces are refused here\n");
        return;
    }
    (void)open_log_daemon();
    msg_to_syslog(true);
    for (int i = 0; i < 5000; i++) {
        atomic_fetch_add(&clock_ns, SECOND);
        msg_err("m", "line");
    }
    ck_assert_uint_gt(kit_count(kit_captured(), "r5fs: m: line\n"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("msg");
    TCase *lines = tcase_create("lines");
    TCase *rate = tcase_create("rate");
    TCase *watch = tcase_create("observer");
    TCase *syslog = tcase_create("syslog");

    tcase_add_checked_fixture(lines, capture, NULL);
    tcase_add_test(lines, line_names_program_and_module);
    tcase_add_test(lines, lines_above_the_level_are_not_printed);
    tcase_add_test(lines, ring_keeps_every_level);
    tcase_add_test(lines, ring_keeps_the_latest_in_order);
    tcase_add_test(lines, name_with_control_characters_stays_one_line);
    tcase_add_test(lines, long_line_is_cut_and_says_so);
    tcase_add_test(lines, line_that_just_fits_is_whole);
    tcase_add_test(lines, errno_survives);
    tcase_add_test(lines, lines_of_several_threads_do_not_mix);
    tcase_add_checked_fixture(rate, capture, NULL);
    tcase_add_test(rate, twenty_lines_a_second_then_a_count);
    tcase_add_test(rate, count_of_a_module_that_fell_silent_comes_with_anyones_next_line);
    tcase_add_test(rate, dropped_lines_are_in_the_ring);
    tcase_add_test(rate, modules_without_number_do_no_harm);
    tcase_add_checked_fixture(watch, capture, NULL);
    tcase_add_test(watch, observer_sees_lines_up_to_the_level_also_the_dropped);
    tcase_add_test(watch, observer_is_not_running_any_more_once_taken_away);
    tcase_add_checked_fixture(syslog, capture, NULL);
    tcase_add_test(syslog, syslog_gets_the_line_and_stderr_does_not);
    tcase_add_test(syslog, log_daemon_that_came_later_or_again_is_found);
    tcase_add_test(syslog, log_daemon_that_does_not_read_holds_up_nobody);
    suite_add_tcase(suite, lines);
    suite_add_tcase(suite, rate);
    suite_add_tcase(suite, watch);
    suite_add_tcase(suite, syslog);
    return kit_run(suite);
}
