/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The checks of wait_check.h.
 *
 *   duty of a thread            broken by
 *   holds rank r                wait_check_memory(rank <= r)
 *   section forbids kinds k     a wait of one of them
 *   requests on its own queue   a wait that is not io_wait
 *   inside io_submit            a `done` that runs, or a wait
 *
 * Invariants:
 *   WC1 the duties are the thread's own: no lock, no memory but its scratch.
 *   WC2 what is taken on is recorded with its call stack; so a report shows both ends.
 *
 * Happy path: nothing is broken, nothing is said. Failure: a report and abort(). More duties at
 * once than there is room for are not recorded: then less is checked, nothing wrongly.
 * Thread: any, for itself.
 */
#include "r5fs/base/wait_check.h"

#ifdef R5FS_DEBUG_CHECKS

#include <execinfo.h>
#include <string.h>
#include <unistd.h>

#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

#define FRAMES     10
#define DUTIES_MAX 24u

struct duty {
    const char *name; /* NULL: free */
    unsigned kinds;   /* forbidden ones; 0 for a rank that is held */
    enum pool_rank rank;
    int frames;
    void *stack[FRAMES];
};

struct wait_check_thread {
    struct duty duties[DUTIES_MAX];
    struct duty queue; /* the last request that went onto the queue */
    long queued;
    int in_submit;
    int in_io_wait;
};

_Static_assert(sizeof(struct wait_check_thread) <= ENV_SCRATCH_BYTES, "room in a thread's scratch");

static struct wait_check_thread *me(void)
{
    return env_thread_scratch();
}

static void record(struct duty *duty, const char *name)
{
    duty->name = name;
    duty->frames = backtrace(duty->stack, FRAMES);
}

static void print_stack(const char *title, void *const *stack, int frames)
{
    msg_err("wait_check", "%s", title);
    backtrace_symbols_fd(stack, frames, STDERR_FILENO);
}

static noreturn void report(const struct duty *duty, const char *broken_by)
{
    void *now[FRAMES];
    int frames = backtrace(now, FRAMES);

    msg_err("wait_check", "duty=\"%s\" broken_by=\"%s\"", duty->name, broken_by);
    print_stack("taken on here:", duty->stack, duty->frames);
    print_stack("broken here:", now, frames);
    check_failed(__FILE__, __LINE__, "a thread may wait for this here");
}

static struct duty *free_duty(struct wait_check_thread *thread)
{
    for (unsigned i = 0; i < DUTIES_MAX; i++) {
        if (thread->duties[i].name == NULL) {
            return &thread->duties[i];
        }
    }
    return NULL;
}

void wait_check_forbid_kinds(unsigned kinds, const char *name)
{
    struct duty *duty = free_duty(me());

    if (duty != NULL) {
        duty->kinds = kinds;
        record(duty, name);
    }
}

void wait_check_allow_kinds(const char *name)
{
    struct wait_check_thread *thread = me();

    for (unsigned i = 0; i < DUTIES_MAX; i++) {
        struct duty *duty = &thread->duties[i];

        if (duty->name != NULL && duty->kinds != 0 && strcmp(duty->name, name) == 0) {
            duty->name = NULL;
            return;
        }
    }
}

void wait_check_hold(enum pool_rank rank, const char *name)
{
    struct duty *duty = free_duty(me());

    if (duty != NULL) {
        duty->kinds = 0;
        duty->rank = rank;
        record(duty, name);
    }
}

void wait_check_drop(enum pool_rank rank)
{
    struct wait_check_thread *thread = me();

    for (unsigned i = 0; i < DUTIES_MAX; i++) {
        struct duty *duty = &thread->duties[i];

        if (duty->name != NULL && duty->kinds == 0 && duty->rank == rank) {
            duty->name = NULL;
            return;
        }
    }
}

void wait_check_kind(enum wait_kind kind, const char *name)
{
    const struct wait_check_thread *thread = me();

    for (unsigned i = 0; i < DUTIES_MAX; i++) {
        const struct duty *duty = &thread->duties[i];

        if (duty->name != NULL && (duty->kinds & kind) != 0) {
            report(duty, name);
        }
    }
    if (thread->in_submit > 0) {
        report(&thread->queue, name);
    }
    if (kind != WAIT_FOR_IO && thread->in_io_wait == 0 && thread->queued > 0) {
        report(&thread->queue, name);
    }
}

static void check_rank(enum pool_rank rank, const char *name)
{
    const struct wait_check_thread *thread = me();

    for (unsigned i = 0; i < DUTIES_MAX; i++) {
        const struct duty *duty = &thread->duties[i];

        if (duty->name != NULL && duty->kinds == 0 && duty->rank >= rank) {
            report(duty, name);
        }
    }
}

void wait_check_memory(enum pool_rank rank, const char *name)
{
    check_rank(rank, name);
    wait_check_kind(WAIT_FOR_MEMORY, name);
}

void wait_check_cell(const char *name)
{
    check_rank(POOL_RANK_ROW_CELL, name);
    wait_check_kind(WAIT_FOR_CELL, name);
}

void wait_check_queued(int difference)
{
    struct wait_check_thread *thread = me();

    thread->queued += difference;
    R5_CHECK(thread->queued >= 0);
    if (difference > 0) {
        record(&thread->queue, "requests on the thread's own queue");
    }
}

void wait_check_submit(bool begins)
{
    struct wait_check_thread *thread = me();

    thread->in_submit += begins ? 1 : -1;
    if (begins) {
        record(&thread->queue, "io_submit");
    }
}

void wait_check_done(void)
{
    const struct wait_check_thread *thread = me();

    if (thread->in_submit > 0) {
        report(&thread->queue, "done runs inside submit");
    }
}

void wait_check_io_wait(bool begins)
{
    me()->in_io_wait += begins ? 1 : -1;
}

#else

/* ISO C wants something in a file. */
typedef int wait_check_is_off;

#endif
