/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * env_ops over fibers: the locks, conditions and clock that the real code sees.
 *
 * Invariants:
 *   SE1  a lock is what its words say: MAGIC, the owner's number + 1, readers; who waits is known
 *        to the scheduler alone.
 *   SE2  misuse is a failure of the seed: no init, locking twice, unlocking another's, ending a
 *        lock that is held or waited for.
 *   SE3  a waiting writer goes before new readers, as in env_posix (E2 there).
 *
 * Happy path: lock -> point -> owner set. Failure modes: SE2.
 * Thread: the one there is.
 */
#include <string.h>

#include "sim_internal.h"

#define MUTEX_MAGIC  UINT64_C(0x6d75746578)
#define COND_MAGIC   UINT64_C(0x636f6e64)
#define RWLOCK_MAGIC UINT64_C(0x72776c6f636b)
#define REALTIME_NS  UINT64_C(1700000000000000000)

struct sim_mutex {
    uint64_t magic;
    uint64_t owner; /* id + 1; 0: free */
    uint64_t waiting;
};

struct sim_cond {
    uint64_t magic;
    uint64_t waiting;
};

struct sim_rwlock {
    uint64_t magic;
    uint64_t writer; /* id + 1; 0: none */
    uint64_t readers;
    uint64_t waiting_writers;
    uint64_t waiting_readers;
};

_Static_assert(sizeof(struct sim_mutex) <= sizeof(struct env_mutex), "room for the lock");
_Static_assert(sizeof(struct sim_cond) <= sizeof(struct env_cond), "room for the condition");
_Static_assert(sizeof(struct sim_rwlock) <= sizeof(struct env_rwlock), "room for the lock");

static struct sim_random env_random;

void sim_env_begin(uint64_t seed)
{
    env_random.state = seed;
}

static uint64_t own_number(void)
{
    return (uint64_t)sim_state.current->id + 1;
}

static const char *name_of(uint64_t number)
{
    return sim_state.fibers[number - 1].name;
}

/* ---- clock, randomness ---------------------------------------------------------------------- */

static uint64_t clock_now(void)
{
    return sim_state.now_ns;
}

static uint64_t clock_realtime(void)
{
    return REALTIME_NS + sim_state.now_ns;
}

static void random_bytes(void *out, size_t bytes)
{
    uint8_t *at = out;

    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)sim_below(&env_random, 256);
    }
}

/* ---- mutex ---------------------------------------------------------------------------------- */

static struct sim_mutex *mutex_of(struct env_mutex *mutex)
{
    struct sim_mutex *own = (struct sim_mutex *)(void *)mutex->words;

    SIM_EXPECT(own->magic == MUTEX_MAGIC, "mutex %p was not made, or is gone", (void *)mutex);
    return own;
}

static void mutex_init(struct env_mutex *mutex)
{
    *(struct sim_mutex *)(void *)mutex->words = (struct sim_mutex){.magic = MUTEX_MAGIC};
}

static void mutex_fini(struct env_mutex *mutex)
{
    struct sim_mutex *own = mutex_of(mutex);

    SIM_EXPECT(own->owner == 0, "a mutex ends that %s holds", name_of(own->owner));
    SIM_EXPECT(own->waiting == 0, "a mutex ends that is waited for");
    own->magic = 0;
}

static void mutex_acquire(struct sim_mutex *own)
{
    while (own->owner != 0) {
        SIM_EXPECT(own->owner != own_number(), "a mutex is locked twice");
        own->waiting++;
        (void)sim_block("mutex_lock", own, SIM_NEVER);
        own->waiting--;
    }
    own->owner = own_number();
}

static void mutex_give(struct sim_mutex *own)
{
    SIM_EXPECT(own->owner == own_number(),
               "a mutex is unlocked that %s holds",
               own->owner == 0 ? "nobody" : name_of(own->owner));
    own->owner = 0;
    if (own->waiting > 0) {
        (void)sim_wake_all(own);
    }
}

static void mutex_lock(struct env_mutex *mutex)
{
    sim_point("mutex_lock", mutex);
    mutex_acquire(mutex_of(mutex));
}

static bool mutex_try_lock(struct env_mutex *mutex)
{
    struct sim_mutex *own = mutex_of(mutex);

    sim_point("mutex_try_lock", mutex);
    if (own->owner != 0) {
        return false;
    }
    own->owner = own_number();
    return true;
}

static void mutex_unlock(struct env_mutex *mutex)
{
    mutex_give(mutex_of(mutex));
    sim_point("mutex_unlock", mutex);
}

/* ---- condition ------------------------------------------------------------------------------ */

static struct sim_cond *cond_of(struct env_cond *cond)
{
    struct sim_cond *own = (struct sim_cond *)(void *)cond->words;

    SIM_EXPECT(own->magic == COND_MAGIC, "condition %p was not made, or is gone", (void *)cond);
    return own;
}

static void cond_init(struct env_cond *cond)
{
    *(struct sim_cond *)(void *)cond->words = (struct sim_cond){.magic = COND_MAGIC};
}

static void cond_fini(struct env_cond *cond)
{
    struct sim_cond *own = cond_of(cond);

    SIM_EXPECT(own->waiting == 0, "a condition ends that is waited for");
    own->magic = 0;
}

static bool cond_wait_until(struct env_cond *cond, struct env_mutex *mutex, uint64_t deadline_ns)
{
    struct sim_cond *own = cond_of(cond);
    struct sim_mutex *lock = mutex_of(mutex);
    bool in_time = true;

    mutex_give(lock);
    own->waiting++;
    if (sim_is_spurious()) {
        sim_point("cond_wait (spurious)", own);
    } else {
        sim_state.current->wait_mutex = lock;
        in_time = sim_block("cond_wait", own, deadline_ns);
    }
    own->waiting--;
    mutex_acquire(lock);
    return in_time;
}

static void cond_wait(struct env_cond *cond, struct env_mutex *mutex)
{
    (void)cond_wait_until(cond, mutex, SIM_NEVER); /* there is no deadline */
}

static void cond_signal(struct env_cond *cond)
{
    if (cond_of(cond)->waiting > 0) {
        (void)sim_wake_one(cond);
    }
    sim_point("cond_signal", cond);
}

static void cond_broadcast(struct env_cond *cond)
{
    if (cond_of(cond)->waiting > 0) {
        (void)sim_wake_all(cond);
    }
    sim_point("cond_broadcast", cond);
}

/* ---- readers and writers -------------------------------------------------------------------- */

static struct sim_rwlock *rwlock_of(struct env_rwlock *rwlock)
{
    struct sim_rwlock *own = (struct sim_rwlock *)(void *)rwlock->words;

    SIM_EXPECT(own->magic == RWLOCK_MAGIC, "rwlock %p was not made, or is gone", (void *)rwlock);
    return own;
}

static void rwlock_init(struct env_rwlock *rwlock)
{
    *(struct sim_rwlock *)(void *)rwlock->words = (struct sim_rwlock){.magic = RWLOCK_MAGIC};
}

static void rwlock_fini(struct env_rwlock *rwlock)
{
    struct sim_rwlock *own = rwlock_of(rwlock);

    SIM_EXPECT(own->writer == 0 && own->readers == 0, "a rwlock ends that is held");
    SIM_EXPECT(own->waiting_readers + own->waiting_writers == 0,
               "a rwlock ends that is waited for");
    own->magic = 0;
}

static bool is_held_for_reading(const struct sim_rwlock *own)
{
    const struct env_thread *fiber = sim_state.current;
    bool held = false;

    for (unsigned i = 0; i < fiber->held_count; i++) {
        held = held || fiber->held[i] == own;
    }
    return held;
}

static void rwlock_read(struct env_rwlock *rwlock)
{
    struct sim_rwlock *own = rwlock_of(rwlock);
    struct env_thread *fiber = sim_state.current;

    sim_point("rwlock_read", rwlock);
    SIM_EXPECT(!is_held_for_reading(own), "a rwlock is taken for reading twice");
    SIM_EXPECT(own->writer != own_number(), "a rwlock is taken for reading by its writer");
    while (own->writer != 0 || own->waiting_writers > 0) { /* SE3 */
        own->waiting_readers++;
        (void)sim_block("rwlock_read", own, SIM_NEVER);
        own->waiting_readers--;
    }
    own->readers++;
    SIM_EXPECT(fiber->held_count < SIM_HELD_MAX, "more than %u reader locks", SIM_HELD_MAX);
    fiber->held[fiber->held_count++] = own;
}

static void rwlock_write(struct env_rwlock *rwlock)
{
    struct sim_rwlock *own = rwlock_of(rwlock);

    sim_point("rwlock_write", rwlock);
    SIM_EXPECT(!is_held_for_reading(own), "a rwlock is taken for writing by its reader");
    SIM_EXPECT(own->writer != own_number(), "a rwlock is taken for writing twice");
    while (own->writer != 0 || own->readers > 0) {
        own->waiting_writers++;
        (void)sim_block("rwlock_write", own, SIM_NEVER);
        own->waiting_writers--;
    }
    own->writer = own_number();
}

static void reader_leaves(struct sim_rwlock *own)
{
    struct env_thread *fiber = sim_state.current;
    unsigned at = 0;

    while (at < fiber->held_count && fiber->held[at] != own) {
        at++;
    }
    SIM_EXPECT(at < fiber->held_count, "a rwlock is unlocked that is not held");
    fiber->held[at] = fiber->held[--fiber->held_count];
    own->readers--;
}

static void rwlock_unlock(struct env_rwlock *rwlock)
{
    struct sim_rwlock *own = rwlock_of(rwlock);

    if (own->writer == own_number()) {
        own->writer = 0;
    } else {
        reader_leaves(own);
    }
    if (own->waiting_readers + own->waiting_writers > 0) {
        (void)sim_wake_all(own);
    }
    sim_point("rwlock_unlock", rwlock);
}

/* ---- threads -------------------------------------------------------------------------------- */

static int
thread_start(struct env_thread **out_thread, const char *name, void (*run)(void *), void *context)
{
    int error = sim_fiber_start(out_thread, name, run, context);

    sim_point("thread_start", *out_thread);
    return error;
}

static void *thread_scratch(void)
{
    static _Alignas(max_align_t) uint8_t outside[ENV_SCRATCH_BYTES]; /* of whoever is no fiber */

    return sim_state.current != NULL ? sim_state.scratch[sim_state.current->id] : outside;
}

static void sleep_ns(uint64_t ns)
{
    (void)sim_block("sleep", NULL, sim_state.now_ns + ns); /* only the deadline wakes it */
}

const char *sim_env_holder(const struct env_thread *fiber)
{
    if (fiber->wait_what == NULL) {
        return "";
    }
    if (strcmp(fiber->wait_what, "mutex_lock") == 0) {
        const struct sim_mutex *mutex = fiber->wait_on;
        return mutex->owner != 0 ? name_of(mutex->owner) : "nobody";
    }
    if (strncmp(fiber->wait_what, "rwlock", strlen("rwlock")) == 0) {
        const struct sim_rwlock *rwlock = fiber->wait_on;
        return rwlock->writer != 0 ? name_of(rwlock->writer) : "readers";
    }
    return "";
}

const struct env_ops sim_env = {
    .now_ns = clock_now,
    .realtime_ns = clock_realtime,
    .random_bytes = random_bytes,
    .mutex_init = mutex_init,
    .mutex_fini = mutex_fini,
    .mutex_lock = mutex_lock,
    .mutex_try_lock = mutex_try_lock,
    .mutex_unlock = mutex_unlock,
    .cond_init = cond_init,
    .cond_fini = cond_fini,
    .cond_wait = cond_wait,
    .cond_wait_until = cond_wait_until,
    .cond_signal = cond_signal,
    .cond_broadcast = cond_broadcast,
    .rwlock_init = rwlock_init,
    .rwlock_fini = rwlock_fini,
    .rwlock_read = rwlock_read,
    .rwlock_write = rwlock_write,
    .rwlock_unlock = rwlock_unlock,
    .thread_start = thread_start,
    .thread_join = sim_fiber_join,
    .thread_scratch = thread_scratch,
    .sleep_ns = sleep_ns,
};
