/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The look beyond the end of a scanned log: see recovery_beyond.c. */
#ifndef R5FS_JOURNAL_RECOVERY_BEYOND_H
#define R5FS_JOURNAL_RECOVERY_BEYOND_H

#include "recovery_scan.h"

/* Fills leftovers, `damaged` and `loss`, from scan->used_blocks on. May set `foreign`: what stands
 * beyond tells as well who wrote the log. -ENOMEM. */
R5_MUST_CHECK int recovery_beyond_look(struct recovery_scan *scan);
/* Whether this unit is none that r5fs writes: it flushes, or mixes data with parity. */
bool recovery_unit_is_foreign(const uint8_t *meta);

#endif
