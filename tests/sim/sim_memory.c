/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watches over the seal: growing arenas take their memory with calloc, which the linker leads here
 * (--wrap). A fixed arena checks itself.
 *
 * Failure modes: memory taken by a thread of the real code after sim_seal_memory(true) fails the
 * seed.
 * Thread: the one there is.
 */
#include <stdlib.h>

#include "sim_internal.h"

static bool is_sealed;

/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's names */
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);

void *__wrap_calloc(size_t count, size_t bytes)
{
    SIM_EXPECT(!is_sealed || sim_state.current == NULL,
               "%zu bytes are taken after the seal",
               count * bytes);
    return __real_calloc(count, bytes);
}
/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

void sim_seal_memory(bool sealed)
{
    is_sealed = sealed;
}
