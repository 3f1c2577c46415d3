/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the simulator know of each other. */
#ifndef R5FS_TESTS_SIM_INTERNAL_H
#define R5FS_TESTS_SIM_INTERNAL_H

#include <stddef.h>
#include <ucontext.h>

#include "r5fs/base/env.h"
#include "r5fs/raid/member_io.h"
#include "sim.h"

#define SIM_FIBERS_MAX  64u
#define SIM_NEVER       UINT64_MAX
#define SIM_HELD_MAX    8u
#define SIM_NAME_BYTES  16u
#define SIM_TRACE_STEPS 256u

enum fiber_state {
    FIBER_FREE,
    FIBER_RUNNABLE,
    FIBER_BLOCKED,
    FIBER_ENDED, /* not joined yet */
};

/* A thread of the real code is one of these. */
struct env_thread {
    ucontext_t context;
    enum fiber_state state;
    unsigned id;
    char name[SIM_NAME_BYTES];
    void (*run)(void *context_of_run);
    void *run_context;
    void *stack;                    /* kept when the slot is free */
    void *fake_stack;               /* a sanitizer's */
    bool started;                   /* it has a stack to look at */
    const char *wait_what;          /* blocked: in which call */
    const void *wait_on;            /* blocked: by what */
    const void *wait_mutex;         /* blocked in a condition: the mutex to be taken again */
    uint64_t deadline_ns;           /* blocked: goes on then at the latest */
    bool timed_out;                 /* it went on because of that */
    uint32_t priority;              /* the seed's; more is first */
    uint64_t runnable_since;        /* step */
    const void *held[SIM_HELD_MAX]; /* reader locks */
    unsigned held_count;
};

struct sim_trace {
    uint64_t step;
    uint64_t now_ns;
    unsigned fiber;
    const char *what;
    const void *on;
};

/* What the report looks at. */
struct sim_state {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t steps;
    uint64_t hash; /* of every choice so far */
    struct env_thread fibers[SIM_FIBERS_MAX];
    _Alignas(max_align_t) uint8_t scratch[SIM_FIBERS_MAX][ENV_SCRATCH_BYTES];
    unsigned fiber_count;       /* used so far */
    struct env_thread *current; /* NULL outside of a life */
    struct sim_trace trace[SIM_TRACE_STEPS];
};

extern struct sim_state sim_state;

/* ---- sim_sched.c ---- */

/* A point where another fiber may go on. */
void sim_point(const char *what, const void *on);
/* The current fiber waits for sim_wake(on). False when the deadline passed first. */
bool sim_block(const char *what, const void *on, uint64_t deadline_ns);
/* One of those that wait for `on`, chosen by the seed; or all. Returns how many. */
unsigned sim_wake_one(const void *on);
unsigned sim_wake_all(const void *on);
/* By the seed: this wait for a condition returns for no reason. */
bool sim_is_spurious(void);
int sim_fiber_start(struct env_thread **out_fiber,
                    const char *name,
                    void (*run)(void *),
                    void *context);
void sim_fiber_join(struct env_thread *fiber);
/* Each fiber that has a stack calls `print` on it. For the report; nothing goes on afterwards. */
void sim_visit_fibers(void (*print)(const struct env_thread *fiber));

/* ---- sim_env.c ---- */

extern const struct env_ops sim_env;
void sim_env_begin(uint64_t seed);
/* "held by NAME" or "". */
const char *sim_env_holder(const struct env_thread *fiber);

/* ---- sim_disk.c ---- */

extern const struct io_backend_ops sim_disk_ops;
void sim_disk_begin(uint64_t seed);
/* When the next transfer completes. */
uint64_t sim_disk_due_ns(void);
/* Completes what is due; wakes who waits for it. */
void sim_disk_complete(uint64_t now_ns);
/* The power goes: each un-flushed write is kept, lost or torn. */
void sim_disk_settle(void);
void sim_disk_print(void);

/* ---- sim_report.c ---- */

void sim_report_install(void);
void sim_report_all(void);

/* ---- sim_main.c ---- */

/* Seen by the parent, whatever becomes of the seed's process. */
struct sim_figures {
    uint64_t steps;
    uint64_t transfers;
    uint64_t lives;
    uint64_t hash;
};

extern struct sim_figures *sim_figures;

#endif
