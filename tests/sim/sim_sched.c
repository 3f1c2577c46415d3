/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scheduler: threads are fibers of one real thread; at each point the seed says who goes on.
 *
 *   sim_point -> step + 1 -> transfers and timers that are due -> pick one of those that can run
 *                                    ^                                 | nobody can
 *                                    '---- time jumps to the next <----'  nothing to come: deadlock
 *
 * How the seed picks (one way for the whole run):
 *   UNIFORM   any, each time
 *   PRIORITY  the highest of random priorities; now and then the running one becomes the lowest
 *   STICKY    the running one goes on until it blocks or, rarely, anyway
 *
 * Invariants:
 *   SS1  nothing but the seed decides: no address, no real time, no order of a hash.
 *   SS2  who can run goes on within FAIR_STEPS, so that a spin of one fiber is no deadlock of ours.
 *   SS3  time moves by a fixed piece for each step (possibly 0), and to the next transfer or
 *        deadline when nobody can run.
 *
 * Failure modes: deadlock, a life without end (STEPS_MAX), a wake-up that only a timer replaced.
 * Thread: the one there is.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "sim_internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define STACK_BYTES     ((size_t)1 << 20)
#define GUARD_BYTES     ((size_t)4096)
#define STEPS_MAX       UINT64_C(3000000)
#define FAIR_STEPS      UINT64_C(3000)
#define PRIORITY_CHANGE 200u /* one in so many steps */
#define WARP_NS_MAX     UINT64_C(2000000000)
#define HASH_FACTOR     UINT64_C(0x100000001b3)
#define START_NS        UINT64_C(1000000000)

enum strategy {
    UNIFORM,
    PRIORITY,
    STICKY,
    STRATEGIES,
};

struct planned_call {
    uint64_t at; /* step, SIM_NEVER: free */
    void (*call)(void *context);
    void *context;
};

struct sim_state sim_state;

static struct {
    struct sim_random random;
    enum strategy strategy;
    uint32_t sticky_one_in;
    uint32_t spurious_one_in; /* 0: never */
    uint32_t warp_one_in;     /* 0: never */
    uint64_t step_ns;
    uint32_t lowest_priority;
    uint64_t cut_at; /* step */
    uint64_t cut_at_transfer;
    uint64_t stall_limit_ns;
    const char *foreground;
    struct planned_call calls[SIM_CALLS_MAX];
    enum sim_end end;
    ucontext_t outside;
    void *outside_fake_stack;
    const void *outside_stack;
    size_t outside_stack_bytes;
    void (*visit)(const struct env_thread *fiber);
    ucontext_t visitor;
} sched;

/* ---- randomness ----------------------------------------------------------------------------- */

uint64_t sim_random(struct sim_random *random)
{
    /* splitmix64 */
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random->state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

uint32_t sim_below(struct sim_random *random, uint32_t limit)
{
    return (uint32_t)((sim_random(random) >> 32) % limit);
}

bool sim_one_in(struct sim_random *random, uint32_t n)
{
    return n != 0 && sim_below(random, n) == 0;
}

/* ---- begin ---------------------------------------------------------------------------------- */

void sim_begin(uint64_t seed)
{
    static const uint64_t steps_ns[] = {0, 100, 1000, 10000, 100000};
    struct sim_random *random = &sched.random;

    random->state = seed;
    sim_state.seed = seed;
    sim_state.now_ns = START_NS;
    sim_state.steps = 0;
    sim_state.hash = seed;
    sched.strategy = (enum strategy)sim_below(random, STRATEGIES);
    sched.sticky_one_in = UINT32_C(1) << (2 + sim_below(random, 6));
    /* In half of the seeds nothing wakes without reason, or a lost wake-up would be found by
     * nobody. */
    sched.spurious_one_in = sim_one_in(random, 2) ? 4 + sim_below(random, 60) : 0;
    sched.warp_one_in = sim_one_in(random, 4) ? 100 + sim_below(random, 2000) : 0;
    sched.step_ns = steps_ns[sim_below(random, sizeof(steps_ns) / sizeof(steps_ns[0]))];
    sched.lowest_priority = UINT32_C(1) << 24;
    sim_cut_after(SIM_NEVER, SIM_NEVER);
    sched.stall_limit_ns = 0;
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        sched.calls[i].at = SIM_NEVER;
    }
    sim_env_begin(sim_random(random));
    sim_disk_begin(sim_random(random));
}

uint64_t sim_steps(void)
{
    return sim_state.steps;
}

uint64_t sim_now_ns(void)
{
    return sim_state.now_ns;
}

void sim_cut_after(uint64_t steps, uint64_t transfers)
{
    sched.cut_at = steps == SIM_NEVER ? SIM_NEVER : sim_state.steps + steps;
    sched.cut_at_transfer = transfers == SIM_NEVER ? SIM_NEVER : sim_disk_transfers() + transfers;
}

void sim_call_after(uint64_t steps, void (*call)(void *context), void *context)
{
    unsigned at = 0;

    while (at < SIM_CALLS_MAX && sched.calls[at].at != SIM_NEVER) {
        at++;
    }
    SIM_EXPECT(at < SIM_CALLS_MAX, "more than %u calls are planned", SIM_CALLS_MAX);
    sched.calls[at] = (struct planned_call){sim_state.steps + steps, call, context};
}

static void make_calls(void)
{
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        if (sched.calls[i].at <= sim_state.steps) {
            sched.calls[i].at = SIM_NEVER;
            sched.calls[i].call(sched.calls[i].context);
        }
    }
}

void sim_expect_no_stall(uint64_t limit_ns, const char *foreground)
{
    /* Where time jumps while others can run, or waits return without reason, late is normal. */
    bool exact = sched.warp_one_in == 0 && sched.spurious_one_in == 0;

    sched.stall_limit_ns = exact ? limit_ns : 0;
    sched.foreground = foreground;
}

void sim_allow_stall(void)
{
    sched.stall_limit_ns = 0;
}

bool sim_is_spurious(void)
{
    return sim_one_in(&sched.random, sched.spurious_one_in);
}

/* ---- switching ------------------------------------------------------------------------------ */

static void switch_begin(void **save, const void *stack, size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, bytes);
#else
    (void)save;
    (void)stack;
    (void)bytes;
#endif
}

static void switch_end(void *save)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *from = NULL;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(save, &from, &bytes);
    if (sched.outside_stack == NULL) {
        sched.outside_stack = from; /* the first fiber is entered from outside */
        sched.outside_stack_bytes = bytes;
    }
#else
    (void)save;
#endif
}

/* The report looks at this fiber's stack; nobody comes back. */
static void show_if_visited(void)
{
    if (sched.visit != NULL) {
        sched.visit(sim_state.current);
        R5_CHECK(setcontext(&sched.visitor) == 0);
    }
}

static void switch_to(struct env_thread *next)
{
    struct env_thread *from = sim_state.current;

    sim_state.current = next;
    next->started = true;
    if (from == NULL) {
        switch_begin(&sched.outside_fake_stack, next->stack, STACK_BYTES);
        R5_CHECK(swapcontext(&sched.outside, &next->context) == 0);
        switch_end(sched.outside_fake_stack);
        return;
    }
    switch_begin(from->state == FIBER_ENDED ? NULL : &from->fake_stack, next->stack, STACK_BYTES);
    R5_CHECK(swapcontext(&from->context, &next->context) == 0);
    switch_end(from->fake_stack);
    show_if_visited();
}

static noreturn void leave_life(enum sim_end end)
{
    struct env_thread *from = sim_state.current;

    sched.end = end;
    sim_state.current = NULL;
    switch_begin(&from->fake_stack, sched.outside_stack, sched.outside_stack_bytes);
    (void)swapcontext(&from->context, &sched.outside); /* never comes back */
    sim_fail("a fiber of an ended life went on");
}

void sim_visit_fibers(void (*print)(const struct env_thread *fiber))
{
    struct env_thread *own = sim_state.current;

    sched.visit = print;
    for (unsigned i = 0; i < SIM_FIBERS_MAX; i++) {
        struct env_thread *fiber = &sim_state.fibers[i];
        if (fiber == own) {
            print(fiber);
        } else if (fiber->started &&
                   (fiber->state == FIBER_RUNNABLE || fiber->state == FIBER_BLOCKED)) {
            sim_state.current = fiber;
            (void)swapcontext(&sched.visitor, &fiber->context);
        }
    }
    sched.visit = NULL;
    sim_state.current = own;
}

/* ---- choosing ------------------------------------------------------------------------------- */

static void make_runnable(struct env_thread *fiber)
{
    fiber->state = FIBER_RUNNABLE;
    fiber->runnable_since = sim_state.steps;
}

/* Fires timers that are due; fills in who can run; returns the next deadline. */
static uint64_t
survey(struct env_thread *runnable[SIM_FIBERS_MAX], unsigned *out_count, bool *out_parked)
{
    uint64_t next_ns = SIM_NEVER;

    *out_count = 0;
    *out_parked = false;
    for (unsigned i = 0; i < sim_state.fiber_count; i++) {
        struct env_thread *fiber = &sim_state.fibers[i];
        if (fiber->state == FIBER_BLOCKED && fiber->deadline_ns <= sim_state.now_ns) {
            fiber->timed_out = true;
            make_runnable(fiber);
        }
        if (fiber->state == FIBER_BLOCKED && fiber->deadline_ns < next_ns) {
            next_ns = fiber->deadline_ns;
        }
        if (fiber->state == FIBER_BLOCKED && fiber->deadline_ns == SIM_NEVER &&
            sched.stall_limit_ns != 0 && strcmp(fiber->name, sched.foreground) == 0) {
            *out_parked = true;
        }
        if (fiber->state == FIBER_RUNNABLE) {
            runnable[(*out_count)++] = fiber;
        }
    }
    return next_ns;
}

static struct env_thread *pick_waiting_longest(struct env_thread *const *runnable, unsigned count)
{
    struct env_thread *oldest = runnable[0];

    for (unsigned i = 1; i < count; i++) {
        oldest = runnable[i]->runnable_since < oldest->runnable_since ? runnable[i] : oldest;
    }
    return sim_state.steps - oldest->runnable_since > FAIR_STEPS ? oldest : NULL;
}

static struct env_thread *pick_highest(struct env_thread *const *runnable, unsigned count)
{
    struct env_thread *highest = runnable[0];

    for (unsigned i = 1; i < count; i++) {
        highest = runnable[i]->priority > highest->priority ? runnable[i] : highest;
    }
    return highest;
}

static struct env_thread *pick(struct env_thread *const *runnable, unsigned count)
{
    struct env_thread *current = sim_state.current;
    struct env_thread *late = pick_waiting_longest(runnable, count);

    if (late != NULL) {
        return late; /* SS2 */
    }
    if (sched.strategy == PRIORITY) {
        if (current != NULL && sim_one_in(&sched.random, PRIORITY_CHANGE)) {
            current->priority = --sched.lowest_priority;
        }
        return pick_highest(runnable, count);
    }
    if (sched.strategy == STICKY && current != NULL && current->state == FIBER_RUNNABLE &&
        !sim_one_in(&sched.random, sched.sticky_one_in)) {
        return current;
    }
    return runnable[count == 1 ? 0 : sim_below(&sched.random, count)];
}

static void jump(uint64_t deadline_ns, bool parked)
{
    uint64_t due_ns = sim_disk_due_ns();

    if (due_ns == SIM_NEVER && deadline_ns == SIM_NEVER) {
        sim_fail("deadlock: nobody can run, no transfer is under way, no timer runs");
    }
    if (due_ns == SIM_NEVER && parked && deadline_ns - sim_state.now_ns > sched.stall_limit_ns) {
        sim_fail("stall: a worker waits, and only a timer %llu ms ahead would go on",
                 (unsigned long long)((deadline_ns - sim_state.now_ns) / 1000000));
    }
    sim_state.now_ns = due_ns < deadline_ns ? due_ns : deadline_ns; /* SS3 */
}

static void reschedule(void)
{
    struct env_thread *runnable[SIM_FIBERS_MAX];
    unsigned count = 0;
    bool parked = false;

    for (;;) {
        if (sim_disk_due_ns() <= sim_state.now_ns) {
            sim_disk_complete(sim_state.now_ns);
        }
        uint64_t deadline_ns = survey(runnable, &count, &parked);
        if (count > 0) {
            break;
        }
        jump(deadline_ns, parked);
    }
    struct env_thread *next = pick(runnable, count);
    next->runnable_since = sim_state.steps;
    sim_state.hash = (sim_state.hash ^ next->id) * HASH_FACTOR;
    if (next != sim_state.current) {
        switch_to(next);
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void step(const char *what, const void *on)
{
    struct sim_trace *trace = &sim_state.trace[sim_state.steps % SIM_TRACE_STEPS];

    SIM_EXPECT(sim_state.current != NULL, "%s outside of a life", what);
    *trace = (struct sim_trace){
        .step = sim_state.steps,
        .now_ns = sim_state.now_ns,
        .fiber = sim_state.current->id,
        .what = what,
        .on = on,
    };
    sim_state.hash = (sim_state.hash ^ (uint8_t)what[0]) * HASH_FACTOR;
    sim_state.steps++;
    sim_state.now_ns += sched.step_ns;
    sim_figures->steps = sim_state.steps;
    sim_figures->hash = sim_state.hash;
    make_calls();
    if (sim_state.steps >= sched.cut_at || sim_disk_transfers() >= sched.cut_at_transfer) {
        leave_life(SIM_CUT);
    }
    SIM_EXPECT(
        sim_state.steps < STEPS_MAX, "no end after %llu steps", (unsigned long long)STEPS_MAX);
    if (sim_one_in(&sched.random, sched.warp_one_in)) {
        sim_state.now_ns += sim_random(&sched.random) % WARP_NS_MAX;
    }
}

void sim_point(const char *what, const void *on)
{
    step(what, on);
    reschedule();
}

bool sim_block(const char *what, const void *on, uint64_t deadline_ns)
{
    struct env_thread *own = sim_state.current;

    own->wait_what = what;
    own->wait_on = on;
    own->deadline_ns = deadline_ns;
    own->timed_out = false;
    own->state = FIBER_BLOCKED;
    step(what, on);
    reschedule();
    own->wait_what = NULL;
    own->wait_on = NULL;
    own->wait_mutex = NULL;
    return !own->timed_out;
}

static unsigned waiters_of(const void *on, struct env_thread *waiters[SIM_FIBERS_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; i < sim_state.fiber_count; i++) {
        struct env_thread *fiber = &sim_state.fibers[i];
        if (fiber->state == FIBER_BLOCKED && fiber->wait_on == on) {
            waiters[count++] = fiber;
        }
    }
    return count;
}

unsigned sim_wake_one(const void *on)
{
    struct env_thread *waiters[SIM_FIBERS_MAX];
    unsigned count = waiters_of(on, waiters);

    if (count == 0) {
        return 0;
    }
    make_runnable(waiters[count == 1 ? 0 : sim_below(&sched.random, count)]);
    return 1;
}

unsigned sim_wake_all(const void *on)
{
    struct env_thread *waiters[SIM_FIBERS_MAX];
    unsigned count = waiters_of(on, waiters);

    for (unsigned i = 0; i < count; i++) {
        make_runnable(waiters[i]);
    }
    return count;
}

/* ---- fibers --------------------------------------------------------------------------------- */

static void fiber_main(void)
{
    switch_end(NULL);
    show_if_visited();
    struct env_thread *own = sim_state.current;
    own->run(own->run_context);
    SIM_EXPECT(own->held_count == 0, "thread %s ended with a lock for reading", own->name);
    own->state = FIBER_ENDED;
    if (own == &sim_state.fibers[0]) {
        for (unsigned i = 1; i < SIM_FIBERS_MAX; i++) {
            SIM_EXPECT(sim_state.fibers[i].state == FIBER_FREE,
                       "thread %s was not joined",
                       sim_state.fibers[i].name);
        }
        leave_life(SIM_ENDED);
    }
    (void)sim_wake_all(own);
    step("end", own);
    reschedule();
    sim_fail("an ended thread went on");
}

/* What a cut life left on it is nobody's any more. */
static void stack_clean(void *stack)
{
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, STACK_BYTES);
#else
    (void)stack;
#endif
}

static void *stack_make(void)
{
    uint8_t *stack = mmap(NULL,
                          STACK_BYTES + GUARD_BYTES,
                          PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                          -1,
                          0);

    R5_CHECK(stack != MAP_FAILED);
    R5_CHECK(mprotect(stack, GUARD_BYTES, PROT_NONE) == 0);
    return stack + GUARD_BYTES;
}

int sim_fiber_start(struct env_thread **out_fiber,
                    const char *name,
                    void (*run)(void *),
                    void *context)
{
    struct env_thread *fiber = NULL;

    for (unsigned i = 0; i < SIM_FIBERS_MAX && fiber == NULL; i++) {
        if (sim_state.fibers[i].state == FIBER_FREE) {
            fiber = &sim_state.fibers[i];
            fiber->id = i;
        }
    }
    if (fiber != NULL && fiber->id >= sim_state.fiber_count) {
        sim_state.fiber_count = fiber->id + 1;
    }
    SIM_EXPECT(fiber != NULL, "more than %u threads", SIM_FIBERS_MAX);
    SIM_EXPECT(strlen(name) < SIM_NAME_BYTES, "thread name %s is too long", name);
    if (fiber->stack == NULL) {
        fiber->stack = stack_make();
    }
    stack_clean(fiber->stack);
    memcpy(fiber->name, name, strlen(name) + 1);
    fiber->run = run;
    fiber->run_context = context;
    fiber->started = false;
    fiber->held_count = 0;
    memset(sim_state.scratch[fiber->id], 0, sizeof(sim_state.scratch[0]));
    fiber->wait_what = NULL;
    fiber->wait_on = NULL;
    fiber->deadline_ns = SIM_NEVER;
    fiber->priority = sched.lowest_priority + sim_below(&sched.random, UINT32_C(1) << 30);
    R5_CHECK(getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, fiber_main, 0);
    make_runnable(fiber);
    *out_fiber = fiber;
    return 0;
}

void sim_fiber_join(struct env_thread *fiber)
{
    SIM_EXPECT(fiber->state != FIBER_FREE, "a thread is joined twice");
    sim_point("join", fiber);
    while (fiber->state != FIBER_ENDED) {
        (void)sim_block("join", fiber, SIM_NEVER);
    }
    fiber->state = FIBER_FREE;
}

/* ---- a life --------------------------------------------------------------------------------- */

noreturn void sim_cut_now(void)
{
    leave_life(SIM_CUT);
}

enum sim_end sim_world(void (*main)(void *context), void *context)
{
    struct env_thread *first = NULL;

    env_use(&sim_env);
    io_backend_use(&sim_disk_ops);
    for (unsigned i = 0; i < SIM_FIBERS_MAX; i++) {
        sim_state.fibers[i].state = FIBER_FREE;
    }
    sim_seal_memory(false);
    sim_figures->lives++;
    R5_CHECK(sim_fiber_start(&first, "main", main, context) == 0);
    first->runnable_since = sim_state.steps;
    switch_to(first);
    sim_cut_after(SIM_NEVER, SIM_NEVER);
    if (sched.end == SIM_CUT) {
        sim_disk_settle();
    }
    first->state = FIBER_FREE;
    return sched.end;
}
