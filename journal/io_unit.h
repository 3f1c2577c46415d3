/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Io units: one meta block and up to 203 payload blocks in one contiguous, block-aligned buffer.
 *
 *   FREE -> FILLING -> SUBMITTED -> WRITTEN -> FREE
 *             ^ choosing payloads,   ^ its writes  ^ durable (or the journal failed)
 *             |  seq, position       |  completed
 *
 * A payload is remembered by its source while the order lock is held and copied when the unit is
 * finished, without the lock: an image in a unit and parity that is being logged never change.
 * States move in io_unit_move alone. A unit belongs to whoever holds the writer role.
 */
#ifndef R5FS_JOURNAL_IO_UNIT_H
#define R5FS_JOURNAL_IO_UNIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "log_format.h"
#include "log_ring.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/units.h"
#include "r5fs/raid/member_io.h"

#define IO_UNIT_BYTES ((size_t)LOG_UNIT_BLOCKS_MAX * BLOCK_BYTES)

#define IO_UNIT_STATES(X)                                                    \
    X(FREE)      /* in the pool */                                           \
    X(FILLING)   /* payloads are being chosen; has its seq and position */   \
    X(SUBMITTED) /* copied, sealed by its checksum, on its way to the log */ \
    X(WRITTEN)   /* all its bytes completed, or failed; not known to be durable */

#define IO_UNIT_ENUM(name) IO_UNIT_##name,
enum io_unit_state { IO_UNIT_STATES(IO_UNIT_ENUM) IO_UNIT_STATE_COUNT };
#undef IO_UNIT_ENUM

struct stripe_image;
struct journal_units;

struct io_unit_payload {
    const uint8_t *source;      /* copied at finish; must not change until then */
    struct stripe_image *image; /* NULL for parity */
    uint64_t location;          /* fs block of data, row of parity */
};

struct io_unit {
    struct list_node free; /* the pool's */
    struct io_units *home; /* [fixed] */
    uint8_t *buffer;       /* [fixed] IO_UNIT_BYTES, block-aligned */
    enum io_unit_state state;
    uint64_t seq;
    struct log_block position;     /* of the meta block */
    uint32_t count;                /* payloads */
    uint32_t pending;              /* requests not done */
    int result;                    /* first error of them */
    struct io_request requests[2]; /* two where the unit wraps */
    struct io_unit_payload payloads[LOG_UNIT_PAYLOADS_MAX];
};

struct io_units {
    struct pool pool;
    uint8_t *buffers; /* [fixed] of all units, one behind the other */
    uint32_t count;   /* [fixed] */
    /* Of the units, for status: the role's holder moves them, anybody looks. */
    _Atomic uint32_t in_state[IO_UNIT_STATE_COUNT];
};

/* Where a unit goes. */
struct io_unit_target {
    struct io_file *file;
    const struct log_ring *ring;
    uint32_t seed;
    uint32_t undurable; /* units before it that are not durable */
};

size_t io_units_need(uint32_t count);
void io_units_init(struct io_units *units, struct arena *arena, uint32_t count);
void io_units_fini(struct io_units *units);

/* NULL when none is free. FREE -> FILLING. */
struct io_unit *io_unit_try_get(struct io_units *units, uint64_t seq, struct log_block position);
/* One that was promised (pool_reserve): never NULL. */
struct io_unit *
io_unit_get_promised(struct io_units *units, uint64_t seq, struct log_block position);
bool io_unit_is_full(const struct io_unit *unit);
/* Blocks it takes in the ring. */
uint32_t io_unit_blocks(const struct io_unit *unit);
/* `image` and its data stay until the unit is durable. */
void io_unit_add_data(struct io_unit *unit,
                      struct fs_block block,
                      struct stripe_image *image,
                      const uint8_t *source);
/* `parity` does not change until the unit is submitted. */
void io_unit_add_parity(struct io_unit *unit, struct member_block row, const uint8_t *parity);
/* Copies the payloads, makes the meta block and sends the unit off. FILLING -> SUBMITTED; SUBMITTED
 * -> WRITTEN inside io_wait(queue). */
void io_unit_submit(struct io_unit *unit,
                    struct io_queue *queue,
                    const struct io_unit_target *target);
/* Gives back a unit that is written, or that is not to be written because the journal failed;
 * `promise`: it is promised to the caller again. WRITTEN, FILLING -> FREE. */
void io_unit_put(struct io_units *units, struct io_unit *unit, bool promise);
/* How many are in which state now. Any thread. */
void io_units_count(const struct io_units *units, struct journal_units *out_count);
const char *io_unit_state_name(enum io_unit_state state);
bool io_unit_may_move(enum io_unit_state from, enum io_unit_state to);

#endif
