/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cells of what must make progress, and the watchdog that looks at them.
 *
 *   look 1     look 2    ...   look 10          busy at each, `moved` the same: stuck, named
 *   moved=7    moved=7         moved=7
 *
 * Invariants:
 *   WA1  `moved` changes whenever something ends or goes a step further. So two looks that find the
 *        same number and find the cell busy saw one and the same thing.
 *   WA2  a cell is named once for each time that it is stuck; when it moves, that is said, too.
 *   WA3  time is counted in looks, not read from a clock.
 *   WA4  cells are never freed, only marked as free: a look may come at any moment.
 *
 * Happy path: nothing is ever said. Failure modes: all cells taken: what comes later is unwatched.
 * Thread: cells any; watch_look and what it remembers of a cell one thread, the watchdog's.
 */
#include "r5fs/base/watch.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/trace.h"

#define LINE_BYTES    400
#define CELL_ALIGN    64 /* a cell's threads do not slow down those of the next one */
#define NS_PER_SECOND UINT64_C(1000000000)
#define DUMP_EVERY_NS (UINT64_C(3600) * NS_PER_SECOND)

struct watch {
    _Alignas(CELL_ALIGN) _Atomic(const char *) what; /* NULL: being opened, or free */
    _Atomic(const char *) name;
    _Atomic(const char *) step;
    _Atomic uint64_t a;
    _Atomic uint64_t b;
    _Atomic uint64_t moved;
    uint64_t seen; /* `moved` at the last look [watchdog] */
    _Atomic uint32_t busy;
    _Atomic uint32_t patience;
    uint32_t looks; /* that found it busy there, in a row [watchdog] */
    _Atomic bool taken;
    bool stuck; /* was named [watchdog] */
};

static struct watch cells[WATCH_CELLS_MAX];
static _Thread_local struct watch *here;
static uint64_t look_ns;     /* between two looks, for the messages [watchdog] */
static uint64_t dumped_ns;   /* [watchdog] */
static bool dumped_ever;     /* [watchdog] */
static bool watchdog_is_set; /* [starter] */

static struct {
    struct env_mutex lock;
    struct env_cond wake;
    struct env_thread *thread; /* [starter] */
    bool stop;                 /* [lock] */
} dog;

/* ---- cells ----------------------------------------------------------------------------------- */

struct watch *watch_open(const char *what, const char *name)
{
    for (unsigned i = 0; i < WATCH_CELLS_MAX; i++) {
        struct watch *watch = &cells[i];
        bool free = false;

        if (atomic_compare_exchange_strong(&watch->taken, &free, true)) {
            atomic_store(&watch->busy, 0);
            atomic_store(&watch->patience, 1);
            atomic_store(&watch->step, NULL);
            atomic_store(&watch->name, name);
            atomic_fetch_add(&watch->moved, 1); /* not what was here before */
            atomic_store(&watch->what, what);
            return watch;
        }
    }
    return NULL;
}

void watch_close(struct watch *watch)
{
    if (watch == NULL) {
        return;
    }
    atomic_store(&watch->what, NULL);
    atomic_store(&watch->busy, 0);
    atomic_store(&watch->taken, false); /* WA4 */
}

void watch_set_patience(struct watch *watch, uint32_t times)
{
    if (watch != NULL) {
        atomic_store(&watch->patience, times);
    }
}

static void say_step(struct watch *watch, const char *step, uint64_t a, uint64_t b)
{
    atomic_store_explicit(&watch->step, step, memory_order_relaxed);
    atomic_store_explicit(&watch->a, a, memory_order_relaxed);
    atomic_store_explicit(&watch->b, b, memory_order_relaxed);
}

void watch_enter(struct watch *watch, const char *step, uint64_t a, uint64_t b)
{
    if (watch != NULL) {
        say_step(watch, step, a, b);
        atomic_fetch_add_explicit(&watch->busy, 1, memory_order_relaxed);
    }
}

void watch_step(struct watch *watch, const char *step, uint64_t a, uint64_t b)
{
    if (watch != NULL) {
        say_step(watch, step, a, b);
        atomic_fetch_add_explicit(&watch->moved, 1, memory_order_relaxed); /* WA1 */
    }
}

void watch_leave(struct watch *watch)
{
    if (watch != NULL) {
        atomic_fetch_add_explicit(&watch->moved, 1, memory_order_relaxed); /* WA1 */
        atomic_fetch_sub_explicit(&watch->busy, 1, memory_order_release);
    }
}

void watch_here(struct watch *watch)
{
    here = watch;
}

void watch_moved_here(void)
{
    if (here != NULL) {
        atomic_fetch_add_explicit(&here->moved, 1, memory_order_relaxed);
    }
}

/* ---- looking --------------------------------------------------------------------------------- */

static void describe(struct watch *watch, const char *what, char line[LINE_BYTES])
{
    const char *name = atomic_load(&watch->name);
    const char *step = atomic_load(&watch->step);

    (void)snprintf(line,
                   LINE_BYTES,
                   "seconds=%" PRIu64 " what=\"%s\"%s%s step=\"%s\" a=%" PRIu64 " b=%" PRIu64
                   " inside=%" PRIu32,
                   watch->looks * look_ns / NS_PER_SECOND,
                   what,
                   name != NULL ? " name=" : "",
                   name != NULL ? name : "",
                   step != NULL ? step : "",
                   atomic_load(&watch->a),
                   atomic_load(&watch->b),
                   atomic_load(&watch->busy)); /* cut when longer */
}

/* True when it was found stuck just now. */
static bool look_at(struct watch *watch)
{
    const char *what = atomic_load(&watch->what);
    uint32_t busy = atomic_load_explicit(&watch->busy, memory_order_acquire);
    uint64_t moved = atomic_load(&watch->moved);
    char line[LINE_BYTES];

    if (what == NULL || busy == 0 || moved != watch->seen) {
        if (watch->stuck && what != NULL) {
            describe(watch, what, line);
            msg_warn("watchdog", "progress_again %s", line);
        }
        watch->seen = moved;
        watch->looks = 0;
        watch->stuck = false;
        return false;
    }
    watch->looks++;
    if (watch->stuck || watch->looks < WATCH_LOOKS * atomic_load(&watch->patience)) {
        return false;
    }
    describe(watch, what, line);
    msg_err("watchdog", "no_progress %s", line);
    watch->stuck = true; /* WA2 */
    return true;
}

/* What else is under way may be what the stuck one waits for. */
static void say_busy(void)
{
    for (unsigned i = 0; i < WATCH_CELLS_MAX; i++) {
        const char *what = atomic_load(&cells[i].what);

        if (what != NULL && !cells[i].stuck && atomic_load(&cells[i].busy) > 0) {
            char line[LINE_BYTES];
            char text[LINE_BYTES + 32];
            describe(&cells[i], what, line);
            (void)snprintf(text, sizeof(text), "r5fs: watchdog: busy %s", line); /* fits */
            msg_line(text);
        }
    }
}

unsigned watch_look(void)
{
    unsigned stuck = 0;

    for (unsigned i = 0; i < WATCH_CELLS_MAX; i++) {
        stuck += look_at(&cells[i]) ? 1 : 0;
    }
    if (stuck > 0) {
        uint64_t now_ns = env_now_ns();
        if (!dumped_ever || now_ns - dumped_ns >= DUMP_EVERY_NS) {
            dumped_ever = true;
            dumped_ns = now_ns;
            say_busy();
            trace_dump();
        }
    }
    return stuck;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void run(void *context)
{
    (void)context;
    env_mutex_lock(&dog.lock);
    while (!dog.stop) {
        if (!env_cond_wait_until(&dog.wake, &dog.lock, env_now_ns() + look_ns) && !dog.stop) {
            env_mutex_unlock(&dog.lock);
            (void)watch_look(); /* it has said what there is to say */
            env_mutex_lock(&dog.lock);
        }
    }
    env_mutex_unlock(&dog.lock);
}

int watchdog_start(uint64_t limit_ns)
{
    R5_CHECK(!watchdog_is_set);
    env_mutex_init(&dog.lock);
    env_cond_init(&dog.wake);
    dog.stop = false;
    look_ns = limit_ns / WATCH_LOOKS;
    int error = env_thread_start(&dog.thread, "r5fs-watchdog", run, NULL);
    if (error != 0) {
        env_cond_fini(&dog.wake);
        env_mutex_fini(&dog.lock);
        return error;
    }
    watchdog_is_set = true;
    return 0;
}

void watchdog_stop(void)
{
    if (!watchdog_is_set) {
        return;
    }
    env_mutex_lock(&dog.lock);
    dog.stop = true;
    env_cond_signal(&dog.wake);
    env_mutex_unlock(&dog.lock);
    env_thread_join(dog.thread);
    env_cond_fini(&dog.wake);
    env_mutex_fini(&dog.lock);
    watchdog_is_set = false;
}
