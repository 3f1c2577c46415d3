/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of bits in a byte array.
 *
 *   byte      0                1                2
 *   bit    0 1 2 3 4 5 6 7  8 9 . . . . . 15  16 ...      least significant first
 *
 * Searches go 64 bits at a time. Bytes that hold no bit of the run are never read or written.
 * Happy path and failure modes: pure functions; a run that leaves the 32-bit range is our mistake.
 * Thread: any; the caller holds what protects the bytes.
 */
#include "r5fs/base/bitmap.h"

#include <endian.h>
#include <string.h>

#include "r5fs/base/check.h"

#define WORD_BITS 64u

bool bitmap_get(const uint8_t *bits, uint32_t bit)
{
    return ((unsigned)bits[bit / 8] >> (bit % 8) & 1u) != 0;
}

/* The bits [from, to) of one byte, from < to <= 8. */
static uint8_t byte_mask(uint32_t from, uint32_t to)
{
    return (uint8_t)((0xffu << from) & (0xffu >> (8 - to)));
}

static void put_masked(uint8_t *byte, uint8_t mask, uint8_t fill)
{
    *byte = (uint8_t)((*byte & ~mask) | (fill & mask));
}

/* Sets the run to `fill`, which is 0x00 or 0xff. */
static void fill_run(uint8_t *bits, uint32_t first, uint32_t count, uint8_t fill)
{
    R5_CHECK(count <= UINT32_MAX - first);
    if (count == 0) {
        return;
    }
    uint32_t end = first + count;
    uint32_t first_byte = first / 8;
    uint32_t last_byte = (end - 1) / 8;
    uint32_t last_to = (end - 1) % 8 + 1;

    if (first_byte == last_byte) {
        put_masked(&bits[first_byte], byte_mask(first % 8, last_to), fill);
        return;
    }
    put_masked(&bits[first_byte], byte_mask(first % 8, 8), fill);
    memset(&bits[first_byte + 1], fill, last_byte - first_byte - 1);
    put_masked(&bits[last_byte], byte_mask(0, last_to), fill);
}

void bitmap_set_run(uint8_t *bits, uint32_t first, uint32_t count)
{
    fill_run(bits, first, count, 0xff);
}

void bitmap_clear_run(uint8_t *bits, uint32_t first, uint32_t count)
{
    fill_run(bits, first, count, 0x00);
}

/* Up to 64 bits from the start of the byte of `bit`; bytes past the end of the run read as 0. */
static uint64_t load_word(const uint8_t *bits, uint64_t bit, uint32_t end)
{
    uint64_t byte = bit / 8;
    uint64_t end_byte = ((uint64_t)end + 7) / 8;
    uint64_t raw = 0;

    if (end_byte - byte >= sizeof(raw)) {
        memcpy(&raw, bits + byte, sizeof(raw));
    } else {
        memcpy(&raw, bits + byte, (size_t)(end_byte - byte));
    }
    return le64toh(raw);
}

/* First bit that is 1 after `flip` was applied, or `end`. */
static uint32_t next_bit(const uint8_t *bits, uint32_t first, uint32_t end, uint64_t flip)
{
    uint64_t at =
        first; /* wider than the bits are: it may step past a run that ends at the limit */

    while (at < end) {
        uint32_t skip = (uint32_t)(at % 8);
        uint64_t word = (load_word(bits, at, end) ^ flip) >> skip;
        if (word != 0) {
            uint64_t found = at + (uint64_t)__builtin_ctzll(word);
            return found < end ? (uint32_t)found : end;
        }
        at += WORD_BITS - skip;
    }
    return end;
}

bool bitmap_run_is_set(const uint8_t *bits, uint32_t first, uint32_t count)
{
    R5_CHECK(count <= UINT32_MAX - first);
    return count == 0 || bitmap_next_clear(bits, first, first + count) == first + count;
}

bool bitmap_run_is_clear(const uint8_t *bits, uint32_t first, uint32_t count)
{
    R5_CHECK(count <= UINT32_MAX - first);
    return count == 0 || bitmap_next_set(bits, first, first + count) == first + count;
}

uint32_t bitmap_next_clear(const uint8_t *bits, uint32_t first, uint32_t end)
{
    return next_bit(bits, first, end, UINT64_MAX);
}

uint32_t bitmap_next_set(const uint8_t *bits, uint32_t first, uint32_t end)
{
    return next_bit(bits, first, end, 0);
}

uint32_t bitmap_count_set(const uint8_t *bits, uint32_t first, uint32_t count)
{
    R5_CHECK(count <= UINT32_MAX - first);
    uint32_t end = first + count;
    uint64_t at = first;
    uint32_t set = 0;

    while (at < end) {
        uint32_t skip = (uint32_t)(at % 8);
        uint64_t word = load_word(bits, at, end) >> skip;
        uint64_t left = end - at;
        if (left < WORD_BITS) {
            word &= ((uint64_t)1 << left) - 1;
        }
        set += (uint32_t)__builtin_popcountll(word);
        at += WORD_BITS - skip;
    }
    return set;
}
