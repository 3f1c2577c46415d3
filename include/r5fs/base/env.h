/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The outside world of the core: clock, randomness, threads, locks, waits. Production uses
 * env_posix (env_posix.c); a simulator installs its own table before anything else runs, and the
 * floors above cannot tell. Nothing outside env_posix.c calls pthread_*, clock_gettime, getrandom
 * or sleeps.
 */
#ifndef R5FS_BASE_ENV_H
#define R5FS_BASE_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

#define ENV_MUTEX_WORDS  8
#define ENV_COND_WORDS   8
#define ENV_RWLOCK_WORDS 8

#define ENV_SCRATCH_BYTES 4096

/* Room for the implementation's own lock; never copied, never looked into. */
struct env_mutex {
    uint64_t words[ENV_MUTEX_WORDS];
};

struct env_cond {
    uint64_t words[ENV_COND_WORDS];
};

struct env_rwlock {
    uint64_t words[ENV_RWLOCK_WORDS];
};

struct env_thread;

struct env_ops {
    uint64_t (*now_ns)(void);      /* monotonic */
    uint64_t (*realtime_ns)(void); /* since 1970, for time stamps */
    void (*random_bytes)(void *out, size_t bytes);

    void (*mutex_init)(struct env_mutex *mutex);
    void (*mutex_fini)(struct env_mutex *mutex);
    void (*mutex_lock)(struct env_mutex *mutex);
    bool (*mutex_try_lock)(struct env_mutex *mutex);
    void (*mutex_unlock)(struct env_mutex *mutex);

    void (*cond_init)(struct env_cond *cond);
    void (*cond_fini)(struct env_cond *cond);
    void (*cond_wait)(struct env_cond *cond, struct env_mutex *mutex);
    /* False when `deadline_ns` of now_ns() passed first. */
    bool (*cond_wait_until)(struct env_cond *cond, struct env_mutex *mutex, uint64_t deadline_ns);
    void (*cond_signal)(struct env_cond *cond);
    void (*cond_broadcast)(struct env_cond *cond);

    void (*rwlock_init)(struct env_rwlock *rwlock);
    void (*rwlock_fini)(struct env_rwlock *rwlock);
    void (*rwlock_read)(struct env_rwlock *rwlock);
    void (*rwlock_write)(struct env_rwlock *rwlock);
    void (*rwlock_unlock)(struct env_rwlock *rwlock);

    /* 0 or -errno. `name` is at most 15 bytes. Every thread is joined exactly once. */
    int (*thread_start)(struct env_thread **out_thread,
                        const char *name,
                        void (*run)(void *),
                        void *context);
    void (*thread_join)(struct env_thread *thread);
    /* ENV_SCRATCH_BYTES of the calling thread's own, aligned for anything, zero at first. */
    void *(*thread_scratch)(void);
    void (*sleep_ns)(uint64_t ns);
};

extern const struct env_ops env_posix;

/* Installs a table (default: env_posix). Before the first lock is made. */
void env_use(const struct env_ops *ops);

uint64_t env_now_ns(void);
uint64_t env_realtime_ns(void);
void env_random_bytes(void *out, size_t bytes);
uint64_t env_random_u64(void);

void env_mutex_init(struct env_mutex *mutex);
void env_mutex_fini(struct env_mutex *mutex);
void env_mutex_lock(struct env_mutex *mutex);
bool env_mutex_try_lock(struct env_mutex *mutex);
void env_mutex_unlock(struct env_mutex *mutex);

void env_cond_init(struct env_cond *cond);
void env_cond_fini(struct env_cond *cond);
void env_cond_wait(struct env_cond *cond, struct env_mutex *mutex);
bool env_cond_wait_until(struct env_cond *cond, struct env_mutex *mutex, uint64_t deadline_ns);
void env_cond_signal(struct env_cond *cond);
void env_cond_broadcast(struct env_cond *cond);

void env_rwlock_init(struct env_rwlock *rwlock);
void env_rwlock_fini(struct env_rwlock *rwlock);
void env_rwlock_read(struct env_rwlock *rwlock);
void env_rwlock_write(struct env_rwlock *rwlock);
void env_rwlock_unlock(struct env_rwlock *rwlock);

R5_MUST_CHECK int env_thread_start(struct env_thread **out_thread,
                                   const char *name,
                                   void (*run)(void *),
                                   void *context);
void env_thread_join(struct env_thread *thread);
/* Memory of the calling thread's own, for checks (wait_check.h); zero at first. */
void *env_thread_scratch(void);
void env_sleep_ns(uint64_t ns);

#endif
