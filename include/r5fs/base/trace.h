/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring of what happened last, for whoever asks why nothing happens now. Fixed memory, no lock: a
 * thread that is stopped in the middle of an entry loses that one and holds up nobody. An entry
 * costs a clock reading and a few stores, so it goes where something begins, ends or waits, not
 * where bytes are copied; reads are left out, they would push all else out of the ring.
 */
#ifndef R5FS_BASE_TRACE_H
#define R5FS_BASE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#define TRACE_ENTRIES 512u

struct trace_entry {
    uint64_t time_ns; /* of env_now_ns */
    const char *site;
    uint64_t a;
    uint64_t b;
    uint32_t thread; /* kernel's number of it */
};

/* `site` is a literal, "module.event"; a and b are its own. Any thread. */
void trace_add(const char *site, uint64_t a, uint64_t b);
/* Entries ever made; the last TRACE_ENTRIES of them may still be there. */
uint64_t trace_count(void);
/* Entry number `index` of all; false when it was overwritten or is being written. */
bool trace_get(uint64_t index, struct trace_entry *out_entry);
/* Writes the ring where messages go, oldest first. Waits for a log daemon that is slow. */
void trace_dump(void);

#endif
