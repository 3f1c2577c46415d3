/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XOR of blocks, done by ISA-L. Together with crc32c.c the only caller of that library.
 *
 * ISA-L wants at least two sources and 32-byte alignment; one source is a copy, and every buffer of
 * ours is block-aligned. It reads each piece of all sources before it writes that piece, so the
 * result may stand in the place of a source (test: the_result_may_replace_a_source).
 * Failure modes: none; a refusal of the library is our own mistake.
 * Thread: any; no state.
 */
#include "r5fs/raid/parity.h"

#include <isa-l/mem_routines.h>
#include <isa-l/raid.h>
#include <string.h>

#include "r5fs/base/check.h"

#define ISAL_ALIGN 32u
/* A read-modify of a whole row: parity, and old and new of each data block. */
#define SOURCES_MAX (2u * MEMBERS_MAX)

/* The library's prototypes know no const; it does not write to sources. */
static void *isal_pointer(const uint8_t *block)
{
    uintptr_t address = (uintptr_t)block;

    R5_CHECK(address % ISAL_ALIGN == 0);
    return (void *)address;
}

void parity_xor(uint8_t *out, const uint8_t *const sources[], uint32_t count)
{
    void *vectors[SOURCES_MAX + 1];

    R5_CHECK(count >= 1);
    R5_CHECK(count <= SOURCES_MAX);
    if (count == 1) {
        memmove(out, sources[0], BLOCK_BYTES);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        vectors[i] = isal_pointer(sources[i]);
    }
    vectors[count] = isal_pointer(out);
    R5_CHECK(xor_gen((int)count + 1, (int)BLOCK_BYTES, vectors) == 0);
}

void parity_add(uint8_t *inout, const uint8_t *source)
{
    const uint8_t *sources[] = {inout, source};

    parity_xor(inout, sources, 2);
}

bool block_is_zero(const uint8_t *block)
{
    return isal_zero_detect(isal_pointer(block), BLOCK_BYTES) == 0;
}
