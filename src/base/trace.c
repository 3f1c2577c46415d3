/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The trace ring.
 *
 *   next --fetch_add--> own number n -> slot n % TRACE_ENTRIES: number=0 | fields | number=n+1
 *
 * Invariants:
 *   TR1  a slot whose `number` is n + 1 before and after its fields were read holds entry n, whole.
 *   TR2  nobody waits for anybody. Two writers a whole ring apart on one slot, one of them stopped
 *        in between, can leave a slot that mixes the two: the price of TR2, and only of that entry.
 *
 * Happy path: trace_add. Failure modes: none; what was overwritten is gone.
 * Thread: any.
 */
#include "r5fs/base/trace.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

#define LINE_BYTES    160
#define NS_PER_SECOND UINT64_C(1000000000)

struct trace_slot {
    _Atomic uint64_t number; /* of the entry, plus one; 0 = being written, or never used */
    _Atomic uint64_t time_ns;
    _Atomic(const char *) site;
    _Atomic uint64_t a;
    _Atomic uint64_t b;
    _Atomic uint32_t thread;
};

static struct trace_slot ring[TRACE_ENTRIES];
static _Atomic uint64_t next;
static _Thread_local uint32_t thread_number;

void trace_add(const char *site, uint64_t a, uint64_t b)
{
    uint64_t number = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    struct trace_slot *slot = &ring[number % TRACE_ENTRIES];

    if (thread_number == 0) {
        thread_number = (uint32_t)gettid();
    }
    /* Each store may be seen no earlier than the one before it, and 0 before all of them: TR1. */
    atomic_store_explicit(&slot->number, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->time_ns, env_now_ns(), memory_order_release);
    atomic_store_explicit(&slot->site, site, memory_order_release);
    atomic_store_explicit(&slot->a, a, memory_order_release);
    atomic_store_explicit(&slot->b, b, memory_order_release);
    atomic_store_explicit(&slot->thread, thread_number, memory_order_release);
    atomic_store_explicit(&slot->number, number + 1, memory_order_release);
}

uint64_t trace_count(void)
{
    return atomic_load(&next);
}

bool trace_get(uint64_t index, struct trace_entry *out_entry)
{
    struct trace_slot *slot = &ring[index % TRACE_ENTRIES];

    if (atomic_load_explicit(&slot->number, memory_order_acquire) != index + 1) {
        return false;
    }
    *out_entry = (struct trace_entry){
        .time_ns = atomic_load_explicit(&slot->time_ns, memory_order_acquire),
        .site = atomic_load_explicit(&slot->site, memory_order_acquire),
        .a = atomic_load_explicit(&slot->a, memory_order_acquire),
        .b = atomic_load_explicit(&slot->b, memory_order_acquire),
        .thread = atomic_load_explicit(&slot->thread, memory_order_acquire),
    };
    return atomic_load_explicit(&slot->number, memory_order_relaxed) == index + 1;
}

void trace_dump(void)
{
    uint64_t end = trace_count();
    uint64_t first = end > TRACE_ENTRIES ? end - TRACE_ENTRIES : 0;
    struct trace_entry entry;
    char line[LINE_BYTES];

    msg_line("r5fs: trace: begin");
    for (uint64_t i = first; i < end; i++) {
        if (trace_get(i, &entry)) {
            (void)snprintf(line,
                           sizeof(line),
                           "[%" PRIu64 ".%06" PRIu64 "] thread=%" PRIu32 " %s %" PRIu64 " %" PRIu64,
                           entry.time_ns / NS_PER_SECOND,
                           entry.time_ns % NS_PER_SECOND / 1000,
                           entry.thread,
                           entry.site,
                           entry.a,
                           entry.b); /* cut when longer */
            msg_line(line);
        }
    }
    msg_line("r5fs: trace: end");
}
