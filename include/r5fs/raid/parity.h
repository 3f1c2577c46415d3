/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XOR of 4 KiB blocks through ISA-L. All buffers are block-aligned. Threads: any; no state.
 */
#ifndef R5FS_RAID_PARITY_H
#define R5FS_RAID_PARITY_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/units.h"

/* out = XOR of the `count` >= 1 sources. `out` may be one of them. */
void parity_xor(uint8_t *out, const uint8_t *const sources[], uint32_t count);
/* inout ^= source */
void parity_add(uint8_t *inout, const uint8_t *source);
bool block_is_zero(const uint8_t *block);

#endif
