/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All memory is taken at start from an arena and then sealed. Only arena.c calls malloc or mmap.
 *
 * Two kinds: the main arena has a fixed size (the option memory=) and is one mapping, locked with
 * mlock where allowed; a growing arena (arena_init_growing) serves start-up work whose size is not
 * known beforehand (scanning a log, checking a filesystem) and the short-lived commands; it is
 * freed as a whole. Nothing is freed singly.
 */
#ifndef R5FS_BASE_ARENA_H
#define R5FS_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

struct arena {
    uint8_t *base;     /* [fixed] the mapping, NULL for a growing arena */
    size_t size_bytes; /* [fixed] of the mapping */
    size_t used_bytes; /* handed out so far, padding included */
    bool growing;      /* [fixed] */
    bool sealed;       /* after this a request is our own mistake */
    bool locked;       /* mlock succeeded */
    int lock_error;    /* else why not, as errno; 0 = not tried */
    void *chunks;      /* growing: chain of what was taken */
};

/* Maps `size_bytes`; -ENOMEM. `try_lock`: mlock it, a refusal only leaves `locked` false. */
R5_MUST_CHECK int arena_init(struct arena *arena, size_t size_bytes, bool try_lock);
void arena_init_growing(struct arena *arena);
/* Gives everything back, also what was sealed. */
void arena_fini(struct arena *arena);

/* Zeroed memory aligned to `align` (a power of two, at most BLOCK_BYTES). A main arena that is
 * exhausted or sealed is a CHECK failure: sizes are computed beforehand with the *_need()
 * functions; a growing arena aborts when the system has no memory. Never NULL. Not thread-safe. */
void *arena_take(struct arena *arena, size_t bytes, size_t align);
/* As arena_take, but NULL where memory is lacking (growing: also the system's). */
void *arena_try_take(struct arena *arena, size_t bytes, size_t align);
size_t arena_left(const struct arena *arena);
void arena_seal(struct arena *arena);

#define arena_take_array(arena, type, count) \
    ((type *)arena_take((arena), sizeof(type) * (size_t)(count), _Alignof(type)))

#endif
