/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Io units: what is composed is what stands in the log. */
#include "io_unit.h"

#include <check.h>
#include <errno.h>
#include <string.h>

#include "crash_io.h"
#include "log_ring.h"
#include "meta_block.h"
#include "recovery_kit.h"

#define UNITS 2u

struct fixture {
    struct recovery_kit kit;
    struct arena arena;
    struct io_units units;
    struct log_ring ring;
    struct io_unit_target target;
    struct stripe_image *image; /* units only carry it */
    uint8_t *pages;
};

static void fixture_open(struct fixture *f)
{
    const struct kit_shape shape = KIT_USUAL;

    memset(f, 0, sizeof(*f));
    kit_create(&f->kit, &shape);
    kit_assemble(&f->kit, false, KIT_NO_SLOT);
    arena_init_growing(&f->arena);
    io_units_init(&f->units, &f->arena, UNITS);
    f->ring = (struct log_ring){.blocks = f->kit.ring_blocks,
                                .offset_bytes = array_journal_offset_bytes(f->kit.array)};
    f->target = (struct io_unit_target){.file = array_journal_file(f->kit.array),
                                        .ring = &f->ring,
                                        .seed = f->kit.seed,
                                        .undurable = 5};
    f->image = arena_take_array(&f->arena, struct stripe_image, 1);
    f->pages = arena_take(&f->arena, (size_t)LOG_UNIT_PAYLOADS_MAX * BLOCK_BYTES, BLOCK_BYTES);
    for (size_t i = 0; i < (size_t)LOG_UNIT_PAYLOADS_MAX * BLOCK_BYTES; i++) {
        f->pages[i] = (uint8_t)kit_random();
    }
}

static void fixture_close(struct fixture *f)
{
    io_units_fini(&f->units);
    arena_fini(&f->arena);
    kit_remove(&f->kit);
}

static const uint8_t *source(const struct fixture *f, uint32_t index)
{
    return f->pages + (size_t)index * BLOCK_BYTES;
}

/* Every third payload is parity. */
static struct io_unit *compose(struct fixture *f, struct log_block position, uint32_t count)
{
    struct io_unit *unit = io_unit_try_get(&f->units, 77, position);

    ck_assert_ptr_nonnull(unit);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(!io_unit_is_full(unit));
        if (i % 3 == 2) {
            io_unit_add_parity(unit, member_block(i), source(f, i));
        } else {
            io_unit_add_data(unit, fs_block(1000 + i), f->image, source(f, i));
        }
    }
    ck_assert_uint_eq(io_unit_blocks(unit), count + 1);
    return unit;
}

static void expect_in_log(struct fixture *f, struct log_block position, uint32_t count)
{
    uint8_t meta[BLOCK_BYTES];
    uint8_t block[BLOCK_BYTES];
    struct meta_cursor cursor;
    struct meta_payload payload;

    kit_peek(&f->kit, kit_journal(&f->kit), position.nr, meta);
    ck_assert_int_eq(meta_block_verify(meta, f->kit.seed, position), META_VALID);
    ck_assert_uint_eq(meta_block_seq(meta), 77);
    ck_assert_uint_eq(meta_block_undurable(meta), 5);
    meta_cursor_init(&cursor, meta);
    for (uint32_t i = 0; i < count; i++) {
        bool parity = i % 3 == 2;

        ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 1);
        ck_assert_int_eq(payload.type, parity ? LOG_PAYLOAD_PARITY : LOG_PAYLOAD_DATA);
        ck_assert_uint_eq(payload.location_sectors,
                          (uint64_t)(parity ? i : 1000u + i) * BLOCK_SECTORS);
        kit_peek(
            &f->kit, kit_journal(&f->kit), log_ring_advance(&f->ring, position, i + 1u).nr, block);
        ck_assert_mem_eq(block, source(f, i), BLOCK_BYTES);
        ck_assert_uint_eq(payload.checksum, meta_block_page_checksum(f->kit.seed, block));
    }
    ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 0);
}

START_TEST(units_move_as_the_table_says_and_no_other_way)
{
    static const struct {
        enum io_unit_state from;
        enum io_unit_state to;
    } allowed[] = {
        {IO_UNIT_FREE, IO_UNIT_FILLING},
        {IO_UNIT_FILLING, IO_UNIT_SUBMITTED},
        {IO_UNIT_FILLING, IO_UNIT_FREE},
        {IO_UNIT_SUBMITTED, IO_UNIT_WRITTEN},
        {IO_UNIT_WRITTEN, IO_UNIT_FREE},
    };

    for (unsigned from = 0; from < IO_UNIT_STATE_COUNT; from++) {
        for (unsigned to = 0; to < IO_UNIT_STATE_COUNT; to++) {
            bool expected = false;
            for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
                expected |= from == (unsigned)allowed[i].from && to == (unsigned)allowed[i].to;
            }
            ck_assert_int_eq(io_unit_may_move((enum io_unit_state)from, (enum io_unit_state)to),
                             expected);
        }
    }
    ck_assert_str_eq(io_unit_state_name(IO_UNIT_FILLING), "FILLING");
}
END_TEST

/* The meta block stands so many blocks before the ring's end; 0: at its start. */
static const struct place {
    uint64_t before_end;
    uint32_t count;
} places[] = {
    {0, 0},
    {0, 1},
    {100, LOG_UNIT_PAYLOADS_MAX},
    {204, LOG_UNIT_PAYLOADS_MAX}, /* ends with the ring */
    {1, 0},
    {1, 7}, /* only the meta block before the end */
    {5, 4},
    {5, 5},
    {203, LOG_UNIT_PAYLOADS_MAX},
};

START_TEST(a_unit_stands_in_the_log_as_composed_wherever_it_lies)
{
    struct fixture f;

    kit_seed("io_unit");
    fixture_open(&f);
    struct log_block position =
        log_block(places[_i].before_end == 0 ? 0 : f.ring.blocks - places[_i].before_end);
    struct io_unit *unit = compose(&f, position, places[_i].count);
    io_unit_submit(unit, f.kit.queue, &f.target);
    /* The unit has its own copy: what it was made from may change. */
    uint8_t *first = f.pages;
    uint8_t kept = first[0];
    first[0] = (uint8_t)~kept;
    io_drain(f.kit.queue);
    first[0] = kept;
    ck_assert_int_eq(unit->state, IO_UNIT_WRITTEN);
    ck_assert_int_eq(unit->result, 0);
    io_unit_put(&f.units, unit, false);
    expect_in_log(&f, position, places[_i].count);
    fixture_close(&f);
}
END_TEST

START_TEST(units_are_written_from_registered_memory)
{
    struct fixture f;
    struct io_registered registered;

    kit_seed("io_unit");
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_URING), 0);
    fixture_open(&f);
    struct io_unit *units[UNITS];
    for (uint32_t i = 0; i < UNITS; i++) {
        /* The first wraps: two writes. */
        units[i] = compose(&f, log_block(i == 0 ? f.ring.blocks - 3 : 20), 9);
        io_unit_submit(units[i], f.kit.queue, &f.target);
    }
    io_drain(f.kit.queue);
    for (uint32_t i = 0; i < UNITS; i++) {
        ck_assert_int_eq(units[i]->result, 0);
        io_unit_put(&f.units, units[i], false);
    }
    expect_in_log(&f, log_block(f.ring.blocks - 3), 9);
    expect_in_log(&f, log_block(20), 9);
    io_registered_get(&registered);
    ck_assert_uint_eq(registered.transfers, UNITS + 1);
    ck_assert_uint_eq(registered.bytes, UNITS * IO_UNIT_BYTES);
    fixture_close(&f);
}
END_TEST

START_TEST(units_that_are_gone_leave_their_place_to_others)
{
    struct fixture f;
    struct io_registered registered;
    struct arena arena;
    struct io_units gone;

    kit_seed("io_unit");
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_URING), 0);
    arena_init_growing(&arena);
    for (uint32_t i = 0; i < 20; i++) {
        io_units_init(&gone, &arena, 1);
        io_units_fini(&gone);
    }
    fixture_open(&f);
    struct io_unit *unit = compose(&f, log_block(20), 9);
    io_unit_submit(unit, f.kit.queue, &f.target);
    io_drain(f.kit.queue);
    io_unit_put(&f.units, unit, false);
    expect_in_log(&f, log_block(20), 9);
    io_registered_get(&registered);
    ck_assert_uint_eq(registered.transfers, 1);
    fixture_close(&f);
    arena_fini(&arena);
}
END_TEST

START_TEST(an_empty_pool_answers_null_and_shows_it)
{
    struct fixture f;

    fixture_open(&f);
    struct io_unit *one = io_unit_try_get(&f.units, 1, log_block(0));
    ck_assert_uint_eq(f.units.pool.stats.high_water, 1);
    struct io_unit *two = io_unit_try_get(&f.units, 2, log_block(1));
    ck_assert_ptr_null(io_unit_try_get(&f.units, 3, log_block(2)));
    ck_assert_uint_eq(f.units.pool.stats.failures, 1);
    io_unit_put(&f.units, two, false);
    ck_assert_ptr_nonnull(two = io_unit_try_get(&f.units, 3, log_block(2)));
    io_unit_put(&f.units, one, false);
    io_unit_put(&f.units, two, false);
    ck_assert_uint_eq(f.units.pool.stats.in_use, 0);
    fixture_close(&f);
}
END_TEST

static int failing;

/* The `failing`th of the unit's writes fails. */
static bool fail_one(const struct io_request *request, int *out_result)
{
    *out_result = -ENOSPC;
    if (request->op != IO_WRITE) {
        return false;
    }
    failing--;
    return failing == 0;
}

START_TEST(an_error_of_either_piece_is_the_units)
{
    struct fixture f;

    kit_seed("io_unit");
    crash_io_use(kit_below);
    fixture_open(&f);
    for (int piece = 1; piece <= 3; piece++) {
        struct io_unit *unit = compose(&f, log_block(f.ring.blocks - 3), 9);

        failing = piece;
        crash_io_hook = fail_one;
        io_unit_submit(unit, f.kit.queue, &f.target);
        io_drain(f.kit.queue);
        crash_io_hook = NULL;
        ck_assert_int_eq(unit->state, IO_UNIT_WRITTEN);
        ck_assert_int_eq(unit->result, piece <= 2 ? -ENOSPC : 0);
        io_unit_put(&f.units, unit, false);
    }
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_unit");
    TCase *tcase = tcase_create("units");

    tcase_add_test(tcase, units_move_as_the_table_says_and_no_other_way);
    tcase_add_loop_test(tcase,
                        a_unit_stands_in_the_log_as_composed_wherever_it_lies,
                        0,
                        (int)(sizeof(places) / sizeof(places[0])));
    tcase_add_test(tcase, units_are_written_from_registered_memory);
    tcase_add_test(tcase, units_that_are_gone_leave_their_place_to_others);
    tcase_add_test(tcase, an_empty_pool_answers_null_and_shows_it);
    tcase_add_test(tcase, an_error_of_either_piece_is_the_units);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
