/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start-up memory: handed out once, never singly freed, then sealed. The one home of malloc and
 * mmap.
 *
 *   main     |used|pad|used|........ left ........|    one mapping of a fixed size
 *   growing  chunks -> |used|pad|used|...| -> |used| -> |used|...| -> NULL
 *                      the chunk that is being filled, then full and oversized ones
 *
 * Invariants:
 *   A1  main: used_bytes <= size_bytes, and every object lies within the mapping.
 *   A2  what is handed out is zeroed: mapping and calloc start as zeros, and nothing is reused.
 *   A3  a sealed arena hands out nothing.
 *
 * Happy path: arena_init, arena_take for all that the *_need() functions counted, arena_seal.
 * Failure modes: a mapping that is refused is -ENOMEM; mlock refused leaves `locked` false and the
 * pages are at least populated; A3 broken or a main arena exhausted is our own mistake.
 * Thread: the one that starts up; nothing here is locked.
 */
#include "r5fs/base/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "r5fs/base/units.h"

#define CHUNK_BYTES ((size_t)1 << 20)
/* A request beyond this gets its own chunk, so that the rest of the current one is not lost. */
#define CHUNK_SHARE_BYTES (CHUNK_BYTES / 4)

struct arena_chunk {
    struct arena_chunk *next;
    uint8_t *bytes;
    size_t size_bytes;
    size_t used_bytes;
};

int arena_init(struct arena *arena, size_t size_bytes, bool try_lock)
{
    R5_CHECK(size_bytes > 0);
    void *base = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return -ENOMEM;
    }
    *arena = (struct arena){.base = base, .size_bytes = size_bytes};
    if (try_lock) {
        arena->locked = mlock(base, size_bytes) == 0;
        arena->lock_error = arena->locked ? 0 : errno;
    }
#ifdef MADV_POPULATE_WRITE
    if (try_lock && !arena->locked && madvise(base, size_bytes, MADV_POPULATE_WRITE) != 0 &&
        errno == ENOMEM) {
        /* Better refused at start than killed in the middle of a write. */
        arena_fini(arena);
        return -ENOMEM;
    }
#endif
    return 0;
}

void arena_init_growing(struct arena *arena)
{
    *arena = (struct arena){.growing = true};
}

void arena_fini(struct arena *arena)
{
    if (arena->base != NULL) {
        R5_CHECK(munmap(arena->base, arena->size_bytes) == 0);
    }
    struct arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    *arena = (struct arena){.growing = arena->growing};
}

/* Bytes to skip from `base + used` to reach the alignment. */
static size_t pad_bytes(const uint8_t *base, size_t used, size_t align)
{
    uintptr_t at = (uintptr_t)base + used;

    return (size_t)(-at & (align - 1));
}

/* The object of `bytes` within base[used .. size), or NULL; `*used` moves past it. */
static void *carve(uint8_t *base, size_t size, size_t *used, size_t bytes, size_t align)
{
    size_t pad = pad_bytes(base, *used, align);

    if (pad > size - *used || bytes > size - *used - pad) {
        return NULL;
    }
    uint8_t *object = base + *used + pad;
    *used += pad + bytes;
    return object;
}

static struct arena_chunk *chunk_new(size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(struct arena_chunk)) {
        return NULL;
    }
    /* calloc, so that untouched pages of a large chunk cost nothing (A2). */
    struct arena_chunk *chunk = calloc(1, sizeof(*chunk) + bytes);
    if (chunk != NULL) {
        chunk->bytes = (uint8_t *)(chunk + 1);
        chunk->size_bytes = bytes;
    }
    return chunk;
}

static void *grow_and_take(struct arena *arena, size_t bytes, size_t align)
{
    struct arena_chunk *head = arena->chunks;

    if (head != NULL) {
        void *object = carve(head->bytes, head->size_bytes, &head->used_bytes, bytes, align);
        if (object != NULL) {
            return object;
        }
    }
    if (bytes > SIZE_MAX - align) {
        return NULL;
    }
    bool oversized = bytes + align > CHUNK_SHARE_BYTES;
    struct arena_chunk *chunk = chunk_new(oversized ? bytes + align : CHUNK_BYTES);
    if (chunk == NULL) {
        return NULL;
    }
    if (oversized && head != NULL) {
        chunk->next = head->next;
        head->next = chunk;
    } else {
        chunk->next = head;
        arena->chunks = chunk;
    }
    return carve(chunk->bytes, chunk->size_bytes, &chunk->used_bytes, bytes, align);
}

void *arena_take(struct arena *arena, size_t bytes, size_t align)
{
    void *object = arena_try_take(arena, bytes, align);

    R5_CHECK(object != NULL);
    return object;
}

void *arena_try_take(struct arena *arena, size_t bytes, size_t align)
{
    R5_CHECK(align > 0 && (align & (align - 1)) == 0);
    R5_CHECK(align <= BLOCK_BYTES);
    R5_CHECK(!arena->sealed);
    if (!arena->growing) {
        return carve(arena->base, arena->size_bytes, &arena->used_bytes, bytes, align);
    }
    void *object = grow_and_take(arena, bytes, align);
    if (object != NULL) {
        arena->used_bytes += bytes;
    }
    return object;
}

size_t arena_left(const struct arena *arena)
{
    return arena->growing ? SIZE_MAX : arena->size_bytes - arena->used_bytes;
}

void arena_seal(struct arena *arena)
{
    arena->sealed = true;
}
