/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real world: the kernel's clocks and randomness, POSIX threads and locks. The one home of
 * pthread_*, clock_gettime and getrandom.
 *
 *   threads   slots[THREADS_MAX]: FREE -> thread_start -> TAKEN -> thread_join -> FREE
 *
 * Choices that callers rely on:
 *   E1  waits with a deadline run on the monotonic clock, the one now_ns() reads.
 *   E2  a waiting writer goes before new readers, or steady readers would starve it; so one thread
 *       must not take the same lock for reading twice.
 *   E3  a mutex knows its owner: locking it twice or unlocking another's is a CHECK failure.
 *   E4  new threads block the signals that are sent from outside; the thread that called main
 *       receives them.
 *   E5  nothing here allocates from an arena or with malloc; thread slots are a fixed table.
 *
 * Failure modes: thread_start answers -errno (-EAGAIN also when the table is full); an error of a
 * lock or clock call can only be our own mistake.
 * Thread: any.
 */
#include "r5fs/base/env.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_SECOND     UINT64_C(1000000000)
#define THREADS_MAX       256
#define THREAD_NAME_BYTES 16
/* Deep enough for every path of ours; the default of 8 MiB is only address space we do not need. */
#define THREAD_STACK_BYTES ((size_t)1 << 20)

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct env_mutex), "room for the lock");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(struct env_cond), "room for the condition");
_Static_assert(sizeof(pthread_rwlock_t) <= sizeof(struct env_rwlock), "room for the lock");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct env_mutex), "aligned");
_Static_assert(_Alignof(pthread_cond_t) <= _Alignof(struct env_cond), "aligned");
_Static_assert(_Alignof(pthread_rwlock_t) <= _Alignof(struct env_rwlock), "aligned");

struct env_thread {
    bool taken; /* [threads_lock] */
    pthread_t handle;
    char name[THREAD_NAME_BYTES];
    void (*run)(void *context);
    void *context;
};

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct env_thread threads[THREADS_MAX];

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    R5_CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){
        .tv_sec = (time_t)(ns / NS_PER_SECOND),
        .tv_nsec = (long)(ns % NS_PER_SECOND),
    };
}

static uint64_t posix_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

static void posix_random_bytes(void *out, size_t bytes)
{
    uint8_t *at = out;

    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0) {
            R5_CHECK(errno == EINTR);
            continue;
        }
        at += got;
        bytes -= (size_t)got;
    }
}

static pthread_mutex_t *mutex_of(struct env_mutex *mutex)
{
    return (pthread_mutex_t *)(void *)mutex->words;
}

static void posix_mutex_init(struct env_mutex *mutex)
{
    pthread_mutexattr_t attributes;

    R5_CHECK(pthread_mutexattr_init(&attributes) == 0);
    R5_CHECK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0);
    R5_CHECK(pthread_mutex_init(mutex_of(mutex), &attributes) == 0);
    R5_CHECK(pthread_mutexattr_destroy(&attributes) == 0);
}

static void posix_mutex_fini(struct env_mutex *mutex)
{
    R5_CHECK(pthread_mutex_destroy(mutex_of(mutex)) == 0);
}

static void posix_mutex_lock(struct env_mutex *mutex)
{
    R5_CHECK(pthread_mutex_lock(mutex_of(mutex)) == 0);
}

static bool posix_mutex_try_lock(struct env_mutex *mutex)
{
    int error = pthread_mutex_trylock(mutex_of(mutex));

    R5_CHECK(error == 0 || error == EBUSY);
    return error == 0;
}

static void posix_mutex_unlock(struct env_mutex *mutex)
{
    R5_CHECK(pthread_mutex_unlock(mutex_of(mutex)) == 0);
}

static pthread_cond_t *cond_of(struct env_cond *cond)
{
    return (pthread_cond_t *)(void *)cond->words;
}

static void posix_cond_init(struct env_cond *cond)
{
    pthread_condattr_t attributes;

    R5_CHECK(pthread_condattr_init(&attributes) == 0);
    R5_CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0); /* E1 */
    R5_CHECK(pthread_cond_init(cond_of(cond), &attributes) == 0);
    R5_CHECK(pthread_condattr_destroy(&attributes) == 0);
}

static void posix_cond_fini(struct env_cond *cond)
{
    R5_CHECK(pthread_cond_destroy(cond_of(cond)) == 0);
}

static void posix_cond_wait(struct env_cond *cond, struct env_mutex *mutex)
{
    R5_CHECK(pthread_cond_wait(cond_of(cond), mutex_of(mutex)) == 0);
}

static bool
posix_cond_wait_until(struct env_cond *cond, struct env_mutex *mutex, uint64_t deadline_ns)
{
    struct timespec deadline = timespec_of(deadline_ns);
    int error = pthread_cond_timedwait(cond_of(cond), mutex_of(mutex), &deadline);

    R5_CHECK(error == 0 || error == ETIMEDOUT);
    return error == 0;
}

static void posix_cond_signal(struct env_cond *cond)
{
    R5_CHECK(pthread_cond_signal(cond_of(cond)) == 0);
}

static void posix_cond_broadcast(struct env_cond *cond)
{
    R5_CHECK(pthread_cond_broadcast(cond_of(cond)) == 0);
}

static pthread_rwlock_t *rwlock_of(struct env_rwlock *rwlock)
{
    return (pthread_rwlock_t *)(void *)rwlock->words;
}

static void posix_rwlock_init(struct env_rwlock *rwlock)
{
    pthread_rwlockattr_t attributes;

    R5_CHECK(pthread_rwlockattr_init(&attributes) == 0);
    R5_CHECK(pthread_rwlockattr_setkind_np(&attributes,
                                           PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    R5_CHECK(pthread_rwlock_init(rwlock_of(rwlock), &attributes) == 0);
    R5_CHECK(pthread_rwlockattr_destroy(&attributes) == 0);
}

static void posix_rwlock_fini(struct env_rwlock *rwlock)
{
    R5_CHECK(pthread_rwlock_destroy(rwlock_of(rwlock)) == 0);
}

static void posix_rwlock_read(struct env_rwlock *rwlock)
{
    R5_CHECK(pthread_rwlock_rdlock(rwlock_of(rwlock)) == 0);
}

static void posix_rwlock_write(struct env_rwlock *rwlock)
{
    R5_CHECK(pthread_rwlock_wrlock(rwlock_of(rwlock)) == 0);
}

static void posix_rwlock_unlock(struct env_rwlock *rwlock)
{
    R5_CHECK(pthread_rwlock_unlock(rwlock_of(rwlock)) == 0);
}

static struct env_thread *slot_take(void)
{
    struct env_thread *slot = NULL;

    R5_CHECK(pthread_mutex_lock(&threads_lock) == 0);
    for (unsigned i = 0; i < THREADS_MAX && slot == NULL; i++) {
        if (!threads[i].taken) {
            slot = &threads[i];
            slot->taken = true;
        }
    }
    R5_CHECK(pthread_mutex_unlock(&threads_lock) == 0);
    return slot;
}

static void slot_give(struct env_thread *slot)
{
    R5_CHECK(pthread_mutex_lock(&threads_lock) == 0);
    R5_CHECK(slot->taken);
    slot->taken = false;
    R5_CHECK(pthread_mutex_unlock(&threads_lock) == 0);
}

static void *thread_main(void *argument)
{
    struct env_thread *thread = argument;

    /* A name is a courtesy to whoever looks with top; its refusal changes nothing. */
    (void)pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->context);
    return NULL;
}

/* E4: what is left open is raised by the thread itself, or is a profiler's. */
static void outside_signals(sigset_t *out_set)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF};

    R5_CHECK(sigfillset(out_set) == 0);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        R5_CHECK(sigdelset(out_set, own[i]) == 0);
    }
}

static int thread_create(struct env_thread *thread)
{
    pthread_attr_t attributes;
    sigset_t block;
    sigset_t before;

    outside_signals(&block);
    R5_CHECK(pthread_attr_init(&attributes) == 0);
    R5_CHECK(pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES) == 0);
    R5_CHECK(pthread_sigmask(SIG_BLOCK, &block, &before) == 0);
    int error = pthread_create(&thread->handle, &attributes, thread_main, thread);
    R5_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    R5_CHECK(pthread_attr_destroy(&attributes) == 0);
    return -error;
}

static int posix_thread_start(struct env_thread **out_thread,
                              const char *name,
                              void (*run)(void *),
                              void *context)
{
    size_t name_bytes = strlen(name);
    R5_CHECK(name_bytes < THREAD_NAME_BYTES);

    struct env_thread *thread = slot_take();
    if (thread == NULL) {
        return -EAGAIN;
    }
    memcpy(thread->name, name, name_bytes + 1);
    thread->run = run;
    thread->context = context;
    int error = thread_create(thread);
    if (error != 0) {
        slot_give(thread);
        return error;
    }
    *out_thread = thread;
    return 0;
}

static void posix_thread_join(struct env_thread *thread)
{
    R5_CHECK(thread->taken);
    R5_CHECK(pthread_join(thread->handle, NULL) == 0);
    slot_give(thread);
}

static void *posix_thread_scratch(void)
{
    static _Thread_local _Alignas(max_align_t) uint8_t scratch[ENV_SCRATCH_BYTES];

    return scratch;
}

static void posix_sleep_ns(uint64_t ns)
{
    struct timespec deadline = timespec_of(posix_now_ns() + ns);
    int error = EINTR;

    while (error == EINTR) {
        error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL);
    }
    R5_CHECK(error == 0);
}

const struct env_ops env_posix = {
    .now_ns = posix_now_ns,
    .realtime_ns = posix_realtime_ns,
    .random_bytes = posix_random_bytes,
    .mutex_init = posix_mutex_init,
    .mutex_fini = posix_mutex_fini,
    .mutex_lock = posix_mutex_lock,
    .mutex_try_lock = posix_mutex_try_lock,
    .mutex_unlock = posix_mutex_unlock,
    .cond_init = posix_cond_init,
    .cond_fini = posix_cond_fini,
    .cond_wait = posix_cond_wait,
    .cond_wait_until = posix_cond_wait_until,
    .cond_signal = posix_cond_signal,
    .cond_broadcast = posix_cond_broadcast,
    .rwlock_init = posix_rwlock_init,
    .rwlock_fini = posix_rwlock_fini,
    .rwlock_read = posix_rwlock_read,
    .rwlock_write = posix_rwlock_write,
    .rwlock_unlock = posix_rwlock_unlock,
    .thread_start = posix_thread_start,
    .thread_join = posix_thread_join,
    .thread_scratch = posix_thread_scratch,
    .sleep_ns = posix_sleep_ns,
};
