/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of bits in a byte array. Bit i is byte i/8, value 1 << i%8, the order used on disk. Plain
 * functions; the caller holds whatever lock protects the bytes.
 */
#ifndef R5FS_BASE_BITMAP_H
#define R5FS_BASE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

bool bitmap_get(const uint8_t *bits, uint32_t bit);
void bitmap_set_run(uint8_t *bits, uint32_t first, uint32_t count);
void bitmap_clear_run(uint8_t *bits, uint32_t first, uint32_t count);
/* Whether all bits of the run are set / clear. An empty run is both. */
bool bitmap_run_is_set(const uint8_t *bits, uint32_t first, uint32_t count);
bool bitmap_run_is_clear(const uint8_t *bits, uint32_t first, uint32_t count);
/* First clear / set bit in [first, end), or `end`. */
uint32_t bitmap_next_clear(const uint8_t *bits, uint32_t first, uint32_t end);
uint32_t bitmap_next_set(const uint8_t *bits, uint32_t first, uint32_t end);
uint32_t bitmap_count_set(const uint8_t *bits, uint32_t first, uint32_t count);

#endif
