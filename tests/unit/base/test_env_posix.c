/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real environment: clocks go on, locks exclude, waits end, threads start and are joined. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "kit.h"
#include "r5fs/base/env.h"

#define MS            UINT64_C(1000000)
#define THREADS_LIMIT 256

static struct env_mutex mutex;
static struct env_cond cond;
static struct env_rwlock rwlock;
static uint64_t counter;
static atomic_int phase;

static void make_locks(void)
{
    env_mutex_init(&mutex);
    env_cond_init(&cond);
    env_rwlock_init(&rwlock);
}

static void drop_locks(void)
{
    env_rwlock_fini(&rwlock);
    env_cond_fini(&cond);
    env_mutex_fini(&mutex);
}

static struct env_thread *start(void (*run)(void *), void *context)
{
    struct env_thread *thread = NULL;

    ck_assert_int_eq(env_thread_start(&thread, "test", run, context), 0);
    return thread;
}

static void wait_for_phase(int wanted)
{
    while (atomic_load(&phase) < wanted) {
        env_sleep_ns(MS / 10);
    }
}

START_TEST(clocks_tell_the_time)
{
    uint64_t before = env_now_ns();
    env_sleep_ns(5 * MS);
    uint64_t after = env_now_ns();

    ck_assert_uint_ge(after - before, 5 * MS);
    /* After 2020, and near what time() says. */
    uint64_t now_s = env_realtime_ns() / 1000000000;
    ck_assert_uint_gt(now_s, 1577836800);
    ck_assert_uint_le((uint64_t)time(NULL) - now_s, 1);
}
END_TEST

START_TEST(random_bytes_fill_exactly_what_is_asked)
{
    static uint8_t first[100000];
    static uint8_t second[100000];
    unsigned seen[256] = {0};

    env_random_bytes(first, sizeof(first) - 1);
    env_random_bytes(second, sizeof(second) - 1);
    ck_assert_mem_ne(first, second, sizeof(first) - 1);
    ck_assert_uint_eq(first[sizeof(first) - 1], 0);
    for (size_t i = 0; i < sizeof(first) - 1; i++) {
        seen[first[i]]++;
    }
    for (unsigned i = 0; i < 256; i++) {
        ck_assert_uint_gt(seen[i], 0);
    }
    env_random_bytes(first, 0);
    ck_assert_uint_ne(env_random_u64(), env_random_u64());
}
END_TEST

static void count_up(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 100000; i++) {
        env_mutex_lock(&mutex);
        counter++;
        env_mutex_unlock(&mutex);
    }
}

START_TEST(mutex_excludes)
{
    struct env_thread *threads[4];

    for (unsigned i = 0; i < 4; i++) {
        threads[i] = start(count_up, NULL);
    }
    for (unsigned i = 0; i < 4; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_uint_eq(counter, 400000);
}
END_TEST

static void hold_mutex(void *context)
{
    (void)context;
    env_mutex_lock(&mutex);
    atomic_store(&phase, 1);
    wait_for_phase(2);
    env_mutex_unlock(&mutex);
}

START_TEST(try_lock_does_not_wait)
{
    struct env_thread *thread = start(hold_mutex, NULL);

    wait_for_phase(1);
    ck_assert(!env_mutex_try_lock(&mutex));
    atomic_store(&phase, 2);
    env_thread_join(thread);
    ck_assert(env_mutex_try_lock(&mutex));
    env_mutex_unlock(&mutex);
}
END_TEST

START_TEST(wait_ends_at_the_deadline_of_the_monotonic_clock)
{
    env_mutex_lock(&mutex);
    uint64_t deadline = env_now_ns() + 20 * MS;
    while (env_cond_wait_until(&cond, &mutex, deadline)) {
        continue; /* woken by nobody: allowed, but not before the deadline for ever */
    }
    ck_assert_uint_ge(env_now_ns(), deadline);
    ck_assert(!env_cond_wait_until(&cond, &mutex, 0));
    env_mutex_unlock(&mutex);
}
END_TEST

static void signal_once(void *context)
{
    (void)context;
    env_mutex_lock(&mutex);
    counter = 1;
    env_cond_signal(&cond);
    env_mutex_unlock(&mutex);
}

START_TEST(signal_ends_a_wait_before_a_far_deadline)
{
    env_mutex_lock(&mutex);
    struct env_thread *thread = start(signal_once, NULL);
    while (counter == 0) {
        /* As far as a deadline can be: it must not wrap into the past. */
        ck_assert(env_cond_wait_until(&cond, &mutex, UINT64_MAX));
    }
    env_mutex_unlock(&mutex);
    env_thread_join(thread);
}
END_TEST

static void wait_for_gate(void *context)
{
    (void)context;
    env_mutex_lock(&mutex);
    atomic_fetch_add(&phase, 1);
    while (counter == 0) {
        env_cond_wait(&cond, &mutex);
    }
    env_mutex_unlock(&mutex);
}

START_TEST(broadcast_wakes_all)
{
    struct env_thread *threads[5];

    for (unsigned i = 0; i < 5; i++) {
        threads[i] = start(wait_for_gate, NULL);
    }
    wait_for_phase(5);
    env_mutex_lock(&mutex);
    counter = 1;
    env_cond_broadcast(&cond);
    env_mutex_unlock(&mutex);
    for (unsigned i = 0; i < 5; i++) {
        env_thread_join(threads[i]);
    }
}
END_TEST

static void write_once(void *context)
{
    (void)context;
    atomic_store(&phase, 1);
    env_rwlock_write(&rwlock);
    counter = 1;
    env_rwlock_unlock(&rwlock);
}

static void read_once(void *context)
{
    uint64_t *out_seen = context;

    env_rwlock_read(&rwlock);
    *out_seen = counter;
    env_rwlock_unlock(&rwlock);
}

START_TEST(waiting_writer_goes_before_a_new_reader)
{
    uint64_t seen = 99;

    env_rwlock_read(&rwlock);
    struct env_thread *writer = start(write_once, NULL);
    wait_for_phase(1);
    env_sleep_ns(50 * MS); /* the writer now waits for this reader */
    struct env_thread *reader = start(read_once, &seen);
    env_sleep_ns(50 * MS);
    env_rwlock_unlock(&rwlock);
    env_thread_join(writer);
    env_thread_join(reader);
    ck_assert_uint_eq(seen, 1);
}
END_TEST

static void meet_inside(void *context)
{
    (void)context;
    env_rwlock_read(&rwlock);
    atomic_fetch_add(&phase, 1);
    wait_for_phase(3);
    env_rwlock_unlock(&rwlock);
}

START_TEST(readers_share)
{
    struct env_thread *threads[3];

    for (unsigned i = 0; i < 3; i++) {
        threads[i] = start(meet_inside, NULL);
    }
    for (unsigned i = 0; i < 3; i++) {
        env_thread_join(threads[i]);
    }
}
END_TEST

static void note_name_and_signals(void *context)
{
    char *out_name = context;
    sigset_t blocked;

    ck_assert_int_eq(pthread_getname_np(pthread_self(), out_name, 16), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &blocked), 0);
    counter =
        (uint64_t)(sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGINT) == 1 &&
                   sigismember(&blocked, SIGHUP) == 1 && sigismember(&blocked, SIGSEGV) == 0 &&
                   sigismember(&blocked, SIGABRT) == 0);
}

START_TEST(thread_has_its_name_and_leaves_signals_to_main)
{
    char name[16] = "";
    struct env_thread *thread = NULL;
    sigset_t blocked;

    ck_assert_int_eq(env_thread_start(&thread, "fifteen-letters", note_name_and_signals, name), 0);
    env_thread_join(thread);
    ck_assert_str_eq(name, "fifteen-letters");
    ck_assert_uint_eq(counter, 1);
    ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, NULL, &blocked), 0);
    ck_assert_int_eq(sigismember(&blocked, SIGTERM), 0);
}
END_TEST

static void wait_for_release(void *context)
{
    (void)context;
    wait_for_phase(1);
}

START_TEST(full_thread_table_is_an_error_and_joined_slots_are_used_again)
{
    static struct env_thread *threads[THREADS_LIMIT];
    struct env_thread *extra = NULL;

    for (unsigned round = 0; round < 2; round++) {
        atomic_store(&phase, 0);
        for (unsigned i = 0; i < THREADS_LIMIT; i++) {
            threads[i] = start(wait_for_release, NULL);
        }
        ck_assert_int_eq(env_thread_start(&extra, "extra", wait_for_release, NULL), -EAGAIN);
        ck_assert_ptr_null(extra);
        atomic_store(&phase, 1);
        for (unsigned i = 0; i < THREADS_LIMIT; i++) {
            env_thread_join(threads[i]);
        }
    }
}
END_TEST

static uint64_t frozen_now_ns(void)
{
    return 42;
}

START_TEST(installed_table_is_the_one_that_is_asked)
{
    struct env_ops ops = env_posix;

    ops.now_ns = frozen_now_ns;
    env_use(&ops);
    ck_assert_uint_eq(env_now_ns(), 42);
    env_use(NULL);
    ck_assert_uint_ne(env_now_ns(), 42);
}
END_TEST

START_TEST(locking_twice_aborts)
{
    env_mutex_lock(&mutex);
    env_mutex_lock(&mutex);
}
END_TEST

START_TEST(unlocking_what_is_not_locked_aborts)
{
    env_mutex_unlock(&mutex);
}
END_TEST

START_TEST(unlocking_for_another_thread_aborts)
{
    (void)start(hold_mutex, NULL);
    wait_for_phase(1);
    env_mutex_unlock(&mutex);
}
END_TEST

START_TEST(destroying_a_held_mutex_aborts)
{
    env_mutex_lock(&mutex);
    env_mutex_fini(&mutex);
}
END_TEST

START_TEST(thread_name_too_long_aborts)
{
    struct env_thread *thread = NULL;

    ck_assert_int_eq(env_thread_start(&thread, "sixteen-letters-", wait_for_release, NULL), 0);
}
END_TEST

START_TEST(joining_twice_aborts)
{
    atomic_store(&phase, 1);
    struct env_thread *thread = start(wait_for_release, NULL);

    env_thread_join(thread);
    env_thread_join(thread);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("env_posix");
    TCase *world = tcase_create("world");
    TCase *locks = tcase_create("locks");
    TCase *threads = tcase_create("threads");
    TCase *mistakes = tcase_create("mistakes");

    tcase_add_test(world, clocks_tell_the_time);
    tcase_add_test(world, random_bytes_fill_exactly_what_is_asked);
    tcase_add_test(world, installed_table_is_the_one_that_is_asked);
    tcase_add_checked_fixture(locks, make_locks, drop_locks);
    tcase_set_timeout(locks, 60);
    tcase_add_test(locks, mutex_excludes);
    tcase_add_test(locks, try_lock_does_not_wait);
    tcase_add_test(locks, wait_ends_at_the_deadline_of_the_monotonic_clock);
    tcase_add_test(locks, signal_ends_a_wait_before_a_far_deadline);
    tcase_add_test(locks, broadcast_wakes_all);
    tcase_add_test(locks, waiting_writer_goes_before_a_new_reader);
    tcase_add_test(locks, readers_share);
    tcase_set_timeout(threads, 60);
    tcase_add_test(threads, thread_has_its_name_and_leaves_signals_to_main);
    tcase_add_test(threads, full_thread_table_is_an_error_and_joined_slots_are_used_again);
    tcase_add_checked_fixture(mistakes, make_locks, NULL);
    tcase_add_test_raise_signal(mistakes, locking_twice_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, unlocking_what_is_not_locked_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, unlocking_for_another_thread_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, destroying_a_held_mutex_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, thread_name_too_long_aborts, SIGABRT);
    tcase_add_test_raise_signal(mistakes, joining_twice_aborts, SIGABRT);
    suite_add_tcase(suite, world);
    suite_add_tcase(suite, locks);
    suite_add_tcase(suite, threads);
    suite_add_tcase(suite, mistakes);
    return kit_run(suite);
}
