/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running dry: what is refused to a life by the seed, by fault plans on its pools or by somebody
 * else who holds what there is. First a life that is refused nothing counts how often each pool is
 * asked; so each pool, and each time that it is asked, is met by some seed.
 */
#ifndef R5FS_TESTS_SIM_DRY_H
#define R5FS_TESTS_SIM_DRY_H

#include <stdint.h>

struct journal;

/* The next life is refused nothing, and counts. */
void dry_count(void);
/* The next life is refused what the seed says; behind one that counted, in any way. */
void dry_refuse(uint64_t seed);
/* The next life shares its io units and encode buffers with somebody who takes all now and then. No
 * plan, so nobody looks again: every wake-up counts, and the power may go. */
void dry_share(uint64_t seed);

/* Of the life; nothing happens where it was not asked for. The workers start. */
void dry_begin(struct journal *journal);
/* Between two operations of any worker. */
void dry_step(void);
/* How long a worker that would sleep `ns` does: under a plan the log thread looks again each
 * millisecond. */
uint64_t dry_nap_ns(uint64_t ns);
/* The workers ended: nobody stands on a list. */
void dry_end(void);

#endif
