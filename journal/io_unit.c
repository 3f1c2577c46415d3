/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Io units: composing, sealing and sending off.
 *
 *   buffer:  | meta block | payload 0 | payload 1 | ...      one write, or two where the ring ends
 *
 * Invariants:
 *   U1  states move by the table `moves` only, each unit by itself.
 *   U2  from FILLING on, seq and position are fixed; payloads are only added.
 *   U3  the buffer does not change from SUBMITTED to WRITTEN.
 *   U4  no page is split: the two pieces of a unit that wraps end at a block (log_ring_split).
 *
 * Happy path: io_unit_try_get, io_unit_add_*, io_unit_submit, (io_wait) WRITTEN, io_unit_put.
 * Failure modes: a write error stays in `result`; the batch in log.c decides. An empty pool is
 * NULL: the holder of the writer role writes what it has and goes on.
 * Thread: whoever holds the writer role; completions run on its queue.
 */
#include "io_unit.h"

#include <string.h>

#include "meta_block.h"
#include "r5fs/journal/journal.h"

static const bool moves[IO_UNIT_STATE_COUNT][IO_UNIT_STATE_COUNT] = {
    [IO_UNIT_FREE] = {[IO_UNIT_FILLING] = true},
    [IO_UNIT_FILLING] = {[IO_UNIT_SUBMITTED] = true, [IO_UNIT_FREE] = true},
    [IO_UNIT_SUBMITTED] = {[IO_UNIT_WRITTEN] = true},
    [IO_UNIT_WRITTEN] = {[IO_UNIT_FREE] = true},
};

#define IO_UNIT_NAME(name) #name,
static const char *const state_names[IO_UNIT_STATE_COUNT] = {IO_UNIT_STATES(IO_UNIT_NAME)};
#undef IO_UNIT_NAME

const char *io_unit_state_name(enum io_unit_state state)
{
    R5_CHECK((unsigned)state < IO_UNIT_STATE_COUNT);
    return state_names[state];
}

bool io_unit_may_move(enum io_unit_state from, enum io_unit_state to)
{
    R5_CHECK((unsigned)from < IO_UNIT_STATE_COUNT);
    R5_CHECK((unsigned)to < IO_UNIT_STATE_COUNT);
    return moves[from][to];
}

static void io_unit_move(struct io_unit *unit, enum io_unit_state to)
{
    R5_CHECK(io_unit_may_move(unit->state, to)); /* U1 */
    atomic_fetch_sub_explicit(&unit->home->in_state[unit->state], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&unit->home->in_state[to], 1, memory_order_relaxed);
    unit->state = to;
}

static uint64_t count_in(const struct io_units *units, enum io_unit_state state)
{
    return atomic_load_explicit(&units->in_state[state], memory_order_relaxed);
}

void io_units_count(const struct io_units *units, struct journal_units *out_count)
{
    *out_count = (struct journal_units){
        .free = count_in(units, IO_UNIT_FREE),
        .filling = count_in(units, IO_UNIT_FILLING),
        .submitted = count_in(units, IO_UNIT_SUBMITTED),
        .written = count_in(units, IO_UNIT_WRITTEN),
    };
}

size_t io_units_need(uint32_t count)
{
    return pool_need(sizeof(struct io_unit), _Alignof(struct io_unit), count) +
           (size_t)count * IO_UNIT_BYTES + BLOCK_BYTES;
}

void io_units_init(struct io_units *units, struct arena *arena, uint32_t count)
{
    struct list_node all;

    pool_init(&units->pool,
              arena,
              &(struct pool_shape){.name = "io unit",
                                   .rank = POOL_RANK_IO_UNIT,
                                   .object_bytes = sizeof(struct io_unit),
                                   .align = _Alignof(struct io_unit),
                                   .count = count});
    units->count = count;
    for (unsigned state = 0; state < IO_UNIT_STATE_COUNT; state++) {
        atomic_store(&units->in_state[state], state == IO_UNIT_FREE ? count : 0);
    }
    units->buffers = arena_take(arena, count * IO_UNIT_BYTES, BLOCK_BYTES);
    io_buffers_announce(units->buffers, IO_UNIT_BYTES, count);
    list_init(&all);
    for (uint32_t i = 0; i < count; i++) {
        struct io_unit *unit = pool_get_sure(&units->pool);
        unit->buffer = units->buffers + i * IO_UNIT_BYTES;
        unit->home = units;
        unit->state = IO_UNIT_FREE;
        list_add_tail(&all, &unit->free);
    }
    for (uint32_t i = 0; i < count; i++) {
        pool_put(&units->pool, container_of(list_pop(&all), struct io_unit, free));
    }
    /* Dressing the units was no use of them. */
    pool_reset_high_water(&units->pool);
}

void io_units_fini(struct io_units *units)
{
    io_buffers_withdraw(units->buffers);
    pool_fini(&units->pool);
}

static struct io_unit *unit_begin(struct io_unit *unit, uint64_t seq, struct log_block position)
{
    io_unit_move(unit, IO_UNIT_FILLING);
    unit->seq = seq;
    unit->position = position;
    unit->count = 0;
    unit->pending = 0;
    unit->result = 0;
    return unit;
}

struct io_unit *io_unit_try_get(struct io_units *units, uint64_t seq, struct log_block position)
{
    struct io_unit *unit = pool_try_get(&units->pool);

    return unit == NULL ? NULL : unit_begin(unit, seq, position);
}

struct io_unit *
io_unit_get_promised(struct io_units *units, uint64_t seq, struct log_block position)
{
    return unit_begin(pool_get_reserved(&units->pool), seq, position);
}

bool io_unit_is_full(const struct io_unit *unit)
{
    return unit->count == LOG_UNIT_PAYLOADS_MAX;
}

uint32_t io_unit_blocks(const struct io_unit *unit)
{
    return 1 + unit->count;
}

static void add_payload(struct io_unit *unit, struct io_unit_payload payload)
{
    R5_CHECK(unit->state == IO_UNIT_FILLING); /* U2 */
    R5_CHECK(!io_unit_is_full(unit));
    R5_CHECK(payload.source != NULL);
    unit->payloads[unit->count] = payload;
    unit->count++;
}

void io_unit_add_data(struct io_unit *unit,
                      struct fs_block block,
                      struct stripe_image *image,
                      const uint8_t *source)
{
    R5_CHECK(image != NULL);
    add_payload(unit,
                (struct io_unit_payload){.source = source, .image = image, .location = block.nr});
}

void io_unit_add_parity(struct io_unit *unit, struct member_block row, const uint8_t *parity)
{
    add_payload(unit, (struct io_unit_payload){.source = parity, .location = row.nr});
}

/* Copies and seals: afterwards nothing of the unit depends on its sources. */
static void io_unit_seal(struct io_unit *unit, uint32_t seed, uint32_t undurable)
{
    meta_block_start(unit->buffer, unit->seq, unit->position);
    for (uint32_t i = 0; i < unit->count; i++) {
        const struct io_unit_payload *payload = &unit->payloads[i];
        uint8_t *page = unit->buffer + (size_t)(1 + i) * BLOCK_BYTES;

        memcpy(page, payload->source, BLOCK_BYTES);
        uint32_t checksum = meta_block_page_checksum(seed, page);
        if (payload->image != NULL) {
            meta_block_add_data(unit->buffer, fs_block(payload->location), checksum);
        } else {
            meta_block_add_parity(unit->buffer, member_block(payload->location), checksum);
        }
    }
    meta_block_finish(unit->buffer, seed, undurable);
}

static void io_unit_done(struct io_request *request)
{
    struct io_unit *unit = request->context;

    R5_CHECK(unit->pending > 0);
    unit->pending--;
    if (request->result != 0 && unit->result == 0) {
        unit->result = request->result;
    }
    if (unit->pending == 0) {
        io_unit_move(unit, IO_UNIT_WRITTEN);
    }
}

void io_unit_submit(struct io_unit *unit,
                    struct io_queue *queue,
                    const struct io_unit_target *target)
{
    struct log_run runs[2];
    uint8_t *piece = unit->buffer;

    io_unit_seal(unit, target->seed, target->undurable);
    io_unit_move(unit, IO_UNIT_SUBMITTED); /* U3 from here */
    unit->pending =
        log_ring_split(target->ring, unit->position, io_unit_blocks(unit), runs); /* U4 */
    uint32_t pieces = unit->pending;
    for (uint32_t i = 0; i < pieces; i++) {
        size_t bytes = (size_t)runs[i].count * BLOCK_BYTES;

        io_prepare(&unit->requests[i], target->file, IO_WRITE, runs[i].offset_bytes, piece, bytes);
        unit->requests[i].done = io_unit_done;
        unit->requests[i].context = unit;
        io_submit(queue, &unit->requests[i]);
        piece += bytes;
    }
}

void io_unit_put(struct io_units *units, struct io_unit *unit, bool promise)
{
    R5_CHECK(unit->state == IO_UNIT_WRITTEN || unit->state == IO_UNIT_FILLING);
    io_unit_move(unit, IO_UNIT_FREE);
    if (promise) {
        pool_put_reserved(&units->pool, unit);
    } else {
        pool_put(&units->pool, unit);
    }
}
