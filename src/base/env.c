/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door to the outside world: each call goes to the installed table.
 *
 * Happy path: nobody calls env_use and everything reaches env_posix; a simulator installs its table
 * first thing in main. Failure modes: none of its own.
 * Thread: any; env_use before there is a second one.
 */
#include "r5fs/base/env.h"

#include "r5fs/base/wait_check.h"

static const struct env_ops *env_ops = &env_posix;

void env_use(const struct env_ops *ops)
{
    env_ops = ops != NULL ? ops : &env_posix;
}

uint64_t env_now_ns(void)
{
    return env_ops->now_ns();
}

uint64_t env_realtime_ns(void)
{
    return env_ops->realtime_ns();
}

void env_random_bytes(void *out, size_t bytes)
{
    env_ops->random_bytes(out, bytes);
}

uint64_t env_random_u64(void)
{
    uint64_t value = 0;

    env_ops->random_bytes(&value, sizeof(value));
    return value;
}

void env_mutex_init(struct env_mutex *mutex)
{
    env_ops->mutex_init(mutex);
}

void env_mutex_fini(struct env_mutex *mutex)
{
    env_ops->mutex_fini(mutex);
}

void env_mutex_lock(struct env_mutex *mutex)
{
    env_ops->mutex_lock(mutex);
}

bool env_mutex_try_lock(struct env_mutex *mutex)
{
    return env_ops->mutex_try_lock(mutex);
}

void env_mutex_unlock(struct env_mutex *mutex)
{
    env_ops->mutex_unlock(mutex);
}

void env_cond_init(struct env_cond *cond)
{
    env_ops->cond_init(cond);
}

void env_cond_fini(struct env_cond *cond)
{
    env_ops->cond_fini(cond);
}

void env_cond_wait(struct env_cond *cond, struct env_mutex *mutex)
{
    wait_check_kind(WAIT_FOR_WAKE, "env_cond_wait");
    env_ops->cond_wait(cond, mutex);
}

bool env_cond_wait_until(struct env_cond *cond, struct env_mutex *mutex, uint64_t deadline_ns)
{
    wait_check_kind(WAIT_FOR_WAKE, "env_cond_wait_until");
    return env_ops->cond_wait_until(cond, mutex, deadline_ns);
}

void env_cond_signal(struct env_cond *cond)
{
    env_ops->cond_signal(cond);
}

void env_cond_broadcast(struct env_cond *cond)
{
    env_ops->cond_broadcast(cond);
}

void env_rwlock_init(struct env_rwlock *rwlock)
{
    env_ops->rwlock_init(rwlock);
}

void env_rwlock_fini(struct env_rwlock *rwlock)
{
    env_ops->rwlock_fini(rwlock);
}

void env_rwlock_read(struct env_rwlock *rwlock)
{
    env_ops->rwlock_read(rwlock);
}

void env_rwlock_write(struct env_rwlock *rwlock)
{
    env_ops->rwlock_write(rwlock);
}

void env_rwlock_unlock(struct env_rwlock *rwlock)
{
    env_ops->rwlock_unlock(rwlock);
}

int env_thread_start(struct env_thread **out_thread,
                     const char *name,
                     void (*run)(void *),
                     void *context)
{
    return env_ops->thread_start(out_thread, name, run, context);
}

void env_thread_join(struct env_thread *thread)
{
    wait_check_kind(WAIT_FOR_WAKE, "env_thread_join");
    env_ops->thread_join(thread);
}

/* A table without its own has real threads. */
void *env_thread_scratch(void)
{
    return env_ops->thread_scratch != NULL ? env_ops->thread_scratch() : env_posix.thread_scratch();
}

void env_sleep_ns(uint64_t ns)
{
    wait_check_kind(WAIT_FOR_WAKE, "env_sleep_ns");
    env_ops->sleep_ns(ns);
}
