/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a failed seed prints: the last steps, what each thread does and waits for, the transfers
 * under way. Each fiber prints its own stack: it is entered once more, for that alone.
 *
 * Happy path: never entered. Failure modes: without addr2line the stacks are bare addresses.
 * Thread: the one there is; also in signal handlers, as the process ends there.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "r5fs/base/msg.h"
#include "sim_internal.h"

#define FRAMES_MAX    40
#define COMMAND_BYTES 2048
#define TRACE_PRINTED 40u
#define SIGNAL_STACK  65536
#define SECONDS_MAX   300u /* of a seed: a loop without a single step */

static bool reporting;

static const char *fiber_state_name(enum fiber_state state)
{
    switch (state) {
    case FIBER_FREE: return "free";
    case FIBER_RUNNABLE: return "can run";
    case FIBER_BLOCKED: return "waits";
    case FIBER_ENDED: return "ended";
    }
    return "?";
}

/* ---- stacks --------------------------------------------------------------------------------- */

static void print_frames(void *const *frames, int count)
{
    char command[COMMAND_BYTES];
    Dl_info info;
    int used = snprintf(command, sizeof(command), "addr2line -e /proc/%d/exe -f -s -p", getpid());

    for (int i = 0; i < count && used < (int)sizeof(command) - 24; i++) {
        uintptr_t base = dladdr(frames[i], &info) != 0 ? (uintptr_t)info.dli_fbase : 0;
        used += snprintf(command + used,
                         sizeof(command) - (size_t)used,
                         " %lx",
                         (unsigned long)((uintptr_t)frames[i] - base - 1));
    }
    (void)snprintf(
        command + used, sizeof(command) - (size_t)used, " 2>/dev/null | sed 's/^/      /'");
    (void)fflush(stdout);
    if (system(command) != 0) { /* NOLINT(cert-env33-c): a tool of developers, words of our own */
        (void)printf("      (no addr2line)\n");
    }
}

static void print_own_stack(void)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);

    print_frames(frames, count);
}

static void print_fiber(const struct env_thread *fiber)
{
    const char *holder = sim_env_holder(fiber);

    (void)printf("  thread %u %s: %s %s%s%s%s\n",
                 fiber->id,
                 fiber->name,
                 fiber == sim_state.current && fiber->state == FIBER_RUNNABLE
                     ? "runs"
                     : fiber_state_name(fiber->state),
                 fiber->wait_what != NULL ? "in " : "",
                 fiber->wait_what != NULL ? fiber->wait_what : "",
                 holder[0] != '\0' ? ", held by " : "",
                 holder);
    print_own_stack();
}

/* ---- the report ----------------------------------------------------------------------------- */

static void print_trace(void)
{
    uint64_t from = sim_state.steps > TRACE_PRINTED ? sim_state.steps - TRACE_PRINTED : 0;

    for (uint64_t step = from; step < sim_state.steps; step++) {
        const struct sim_trace *trace = &sim_state.trace[step % SIM_TRACE_STEPS];
        (void)printf("  step %llu at %llu us: %s %s\n",
                     (unsigned long long)trace->step,
                     (unsigned long long)(trace->now_ns / 1000),
                     sim_state.fibers[trace->fiber].name,
                     trace->what);
    }
}

void sim_report_all(void)
{
    if (reporting) {
        return;
    }
    reporting = true;
    (void)printf("seed %llu, step %llu, choices %016llx\n",
                 (unsigned long long)sim_state.seed,
                 (unsigned long long)sim_state.steps,
                 (unsigned long long)sim_state.hash);
    print_trace();
    if (sim_state.current != NULL) {
        sim_visit_fibers(print_fiber);
    } else {
        print_own_stack();
    }
    sim_disk_print();
    (void)fflush(stdout);
}

noreturn void sim_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)printf("FAILED: ");
    (void)vprintf(format, args);
    (void)printf("\n");
    va_end(args);
    sim_report_all();
    msg_dump_ring();
    _exit(EXIT_FAILURE);
}

static void on_signal(int number)
{
    (void)printf("FAILED: signal %d (%s)%s\n",
                 number,
                 strsignal(number),
                 number == SIGALRM ? ": a loop without a step" : "");
    sim_report_all();
    _exit(EXIT_FAILURE);
}

void sim_report_install(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    static uint8_t stack[SIGNAL_STACK];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    void *frame = NULL;

    (void)backtrace(&frame, 1); /* loads what it needs, while memory is sound */
    R5_CHECK(sigaltstack(&own, NULL) == 0);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        R5_CHECK(sigaction(numbers[i], &action, NULL) == 0);
    }
    (void)alarm(SECONDS_MAX);
}
