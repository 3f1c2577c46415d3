/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The deterministic simulator: the real code of floors 0 to 3 over simulated threads, clock,
 * randomness and disks. One seed is one run: whoever runs next, when a transfer completes, what a
 * power cut leaves, all of it is drawn from the seed.
 *
 *   sim_main.c    seeds, one process each; prints the line that replays a failure
 *   sim_sched.c   threads are fibers; every lock, wait and transfer is a point where the seed picks
 *   sim_env.c     env_ops over the fibers: mutexes, conditions, readers and writers, time
 *   sim_disk.c    io_backend_ops over memory: volatile until flushed, faults, power cuts
 *   sim_report.c  what a failure prints
 *   sim_*_*.c     scenarios
 *
 * A scenario calls sim_world() for each life between two power cuts. What a cut life left in memory
 * is never looked at again; the process of the seed ends soon.
 */
#ifndef R5FS_TESTS_SIM_H
#define R5FS_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "r5fs/base/check.h"

/* ---- randomness ----------------------------------------------------------------------------- */

struct sim_random {
    uint64_t state;
};

uint64_t sim_random(struct sim_random *random);
uint32_t sim_below(struct sim_random *random, uint32_t limit);
bool sim_one_in(struct sim_random *random, uint32_t n);

/* ---- failures ------------------------------------------------------------------------------- */

/* Says what, the last steps, what each fiber does, and ends the seed's process. */
noreturn void sim_fail(const char *format, ...) R5_PRINTF(1, 2);

#define SIM_EXPECT(condition, ...) ((condition) ? (void)0 : sim_fail(__VA_ARGS__))

/* ---- a life --------------------------------------------------------------------------------- */

enum sim_end {
    SIM_ENDED, /* main returned, all threads were joined */
    SIM_CUT,   /* the power went; the disks are settled */
};

/* Everything is drawn from `seed` from now on; time starts anew. */
void sim_begin(uint64_t seed);
/* Runs `main` as the first fiber. Nothing of the real code is called outside of it. */
enum sim_end sim_world(void (*main)(void *context), void *context);
/* The power goes after so many more steps, or transfers, of the next life; UINT64_MAX: never. The
 * second finds the moments between two transfers of one commit, which few steps are. */
void sim_cut_after(uint64_t steps, uint64_t transfers);
/* The power goes here and now. Does not return. */
noreturn void sim_cut_now(void);
/* `call` runs after so many more steps, within whatever thread is at a point then. At most
 * SIM_CALLS_MAX are planned at a time. */
#define SIM_CALLS_MAX 4u
void sim_call_after(uint64_t steps, void (*call)(void *context), void *context);
uint64_t sim_steps(void);
uint64_t sim_now_ns(void);

/* The stall check: with everybody waiting and no transfer under way, only a timer further ahead
 * than this would go on; a wake-up was lost and the timer would hide it. 0: no check. Only while
 * at least one of the threads that wait without a deadline is called by `foreground`. */
void sim_expect_no_stall(uint64_t limit_ns, const char *foreground);
/* Workers may wait for timers from now on. */
void sim_allow_stall(void);

/* After this, memory taken by the real code is a failure. */
void sim_seal_memory(bool sealed);

/* ---- disks ---------------------------------------------------------------------------------- */

#define SIM_DISKS_MAX 9u

/* An empty disk; all made so far stay. Returns its path. */
const char *sim_disk_make(unsigned number, uint64_t bytes);
const char *sim_disk_path(unsigned disk);
/* No transfer of this seed takes long: for who polls meanwhile. */
void sim_disk_hurry(void);
/* Nothing answers any more: every transfer is -EIO, and so is an open (or it is not there). */
void sim_disk_kill(unsigned disk);
/* It answers again, with what it had. */
void sim_disk_revive(unsigned disk);
void sim_disk_set_absent(unsigned disk, bool absent);
/* Writes answer -ENOSPC. */
void sim_disk_set_full(unsigned disk, bool full);
/* So many transfers in a million fail with -EIO, a whole request at a time. */
void sim_disk_set_error_rate(unsigned disk, uint32_t reads_ppm, uint32_t writes_ppm);
/* Transfers take so much longer from now on. */
void sim_disk_set_stall(unsigned disk, uint64_t ns);
/* Looks past the real code, at what a read would give. */
void sim_disk_peek(unsigned disk, uint64_t offset, void *out, size_t bytes);
uint64_t sim_disk_transfers(void);

/* ---- scenarios ------------------------------------------------------------------------------ */

struct sim_scenario {
    const char *name;
    const char *what;
    /* Makes the disks that every seed starts from; once, before the first seed. */
    void (*prepare)(void);
    void (*run)(uint64_t seed);
};

extern const struct sim_scenario sim_scenarios[];
extern const unsigned sim_scenario_count;

/* `-v` was given. */
bool sim_is_verbose(void);

#endif
