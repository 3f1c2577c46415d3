/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery against a model: logs written at random by one writer that keeps the protocol, the power
 * cut at random, again in recovery, a member lost at random.
 *
 * The model: rows of small numbers. A row's blocks are logged, its parity is logged over them, then
 * targets and parity reach the members in any order; only then may the row be closed again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_io.h"
#include "log_ring.h"
#include "recovery_kit.h"
#include "recovery_view.h"

#define ROWS_MAX    8u
#define SLOTS_MAX   5u
#define BATCH_MAX   3u
#define RING_BLOCKS 96u
#define ROUNDS      60u
#define NO_UNIT     UINT64_MAX

static struct recovery_kit kit;

/* ---- model -------------------------------------------------------------------------------- */

struct model_block {
    uint64_t acked;   /* what must be read */
    uint64_t open;    /* unit that carries it in the open generation, NO_UNIT: none */
    uint64_t target;  /* value on its way to the member */
    uint64_t closing; /* unit that carries it in the closing generation, NO_UNIT: none */
    bool written;     /* it has reached the member */
};

struct model_row {
    struct model_block blocks[SLOTS_MAX]; /* by slot; the parity slot's is the parity */
    bool closing;
    uint64_t parity_unit;
};

struct model_unit {
    struct log_block at;
    uint64_t blocks;
};

static struct model {
    uint32_t rows;
    struct model_row row[ROWS_MAX];
    struct model_unit *units; /* all so far, from number 0 */
    uint64_t unit_count;
    uint64_t tail_unit;
    uint64_t number; /* the last page number given out */
} model;

static uint32_t parity_slot(uint32_t row)
{
    return geometry_parity_slot(&kit.geometry, member_block(row));
}

static uint64_t volume_block(uint32_t row, uint32_t slot)
{
    return geometry_block_at(&kit.geometry, member_block(row), slot).nr;
}

static uint64_t note_unit(const struct kit_payload *payloads, uint32_t count, uint32_t undurable)
{
    struct model_unit *unit = &model.units[model.unit_count];

    unit->at = kit_unit(&kit, payloads, count, undurable);
    unit->blocks = (uint64_t)count + 1;
    return model.unit_count++;
}

static uint64_t used_blocks(void)
{
    uint64_t used = 0;

    for (uint64_t i = model.tail_unit; i < model.unit_count; i++) {
        used += model.units[i].blocks;
    }
    return used;
}

/* ---- what a writer does ------------------------------------------------------------------- */

static void
log_data(uint32_t undurable, bool acknowledge, struct kit_payload *out, uint32_t *out_count)
{
    struct kit_payload payloads[4];
    uint32_t slots[4];
    uint32_t rows[4];
    uint32_t count = 1 + kit_below(4);

    for (uint32_t i = 0; i < count; i++) {
        rows[i] = kit_below(model.rows);
        do {
            slots[i] = kit_below(kit.geometry.slots);
        } while (slots[i] == parity_slot(rows[i]));
        payloads[i] = KIT_DATA(volume_block(rows[i], slots[i]), ++model.number);
    }
    uint64_t unit = note_unit(payloads, count, undurable);
    for (uint32_t i = 0; i < count && acknowledge; i++) {
        model.row[rows[i]].blocks[slots[i]].acked = payloads[i].number;
        model.row[rows[i]].blocks[slots[i]].open = unit;
    }
    if (out != NULL) {
        memcpy(out, payloads, sizeof(payloads));
        *out_count = count;
    }
}

static bool row_is_open(uint32_t row)
{
    bool open = false;

    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        open = open || model.row[row].blocks[slot].open != NO_UNIT;
    }
    return open;
}

static uint64_t row_parity(uint32_t row)
{
    uint64_t sum = 0;

    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        sum ^= slot == parity_slot(row) ? 0 : model.row[row].blocks[slot].acked;
    }
    return sum;
}

/* Its parity is durable: everything open is on its way to the members now. */
static void start_write_out(uint32_t row, uint64_t parity_unit)
{
    struct model_row *one = &model.row[row];

    one->closing = true;
    one->parity_unit = parity_unit;
    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        struct model_block *block = &one->blocks[slot];
        bool parity = slot == parity_slot(row);
        block->closing = parity ? parity_unit : block->open;
        block->target = parity ? row_parity(row) : block->acked;
        block->written = block->closing == NO_UNIT;
        block->open = NO_UNIT;
    }
}

static void write_some(uint32_t row, bool all)
{
    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        struct model_block *block = &model.row[row].blocks[slot];
        if (!block->written && (all || kit_below(2) == 0)) {
            kit_write_number(&kit, slot, row, block->target);
            block->written = true;
        }
    }
    if (all) {
        model.row[row].closing = false;
    }
}

static void close_rows(void)
{
    struct kit_payload payloads[ROWS_MAX];
    uint32_t rows[ROWS_MAX];
    uint32_t count = 0;

    for (uint32_t row = 0; row < model.rows; row++) {
        if (row_is_open(row) && !model.row[row].closing && kit_below(2) == 0) {
            rows[count] = row;
            payloads[count++] = KIT_PARITY(row, row_parity(row));
        }
    }
    if (count == 0) {
        return;
    }
    uint64_t unit = note_unit(payloads, count, 0);
    for (uint32_t i = 0; i < count; i++) {
        start_write_out(rows[i], unit);
        write_some(rows[i], false);
    }
}

static void move_tail(void)
{
    uint64_t oldest = model.unit_count - 1; /* W3b */

    for (uint32_t row = 0; row < model.rows; row++) {
        for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
            const struct model_block *block = &model.row[row].blocks[slot];
            if (block->open != NO_UNIT) {
                oldest = min_u64(oldest, block->open);
            }
            if (model.row[row].closing && block->closing != NO_UNIT) {
                oldest = min_u64(oldest, block->closing);
            }
        }
    }
    model.tail_unit = oldest;
    kit_set_tail(&kit, model.units[oldest].at);
}

static void make_room(void)
{
    for (uint32_t row = 0; row < model.rows; row++) {
        if (model.row[row].closing) {
            write_some(row, true);
        }
    }
    close_rows();
    for (uint32_t row = 0; row < model.rows; row++) {
        if (model.row[row].closing) {
            write_some(row, true);
        }
    }
    move_tail();
}

static void writer_step(void)
{
    if (used_blocks() + 2 * ROWS_MAX + 24 >= RING_BLOCKS) {
        make_room();
        return;
    }
    uint32_t what = kit_below(10);
    if (what < 5) {
        log_data(0, true, NULL, NULL);
    } else if (what < 7) {
        close_rows();
    } else if (what < 9) {
        uint32_t row = kit_below(model.rows);
        if (model.row[row].closing) {
            write_some(row, kit_below(2) == 0);
        }
    } else {
        move_tail();
    }
}

/* ---- the crash ---------------------------------------------------------------------------- */

static void tear_block(uint64_t block)
{
    uint8_t page[BLOCK_BYTES];

    kit_peek(&kit, kit_journal(&kit), block, page);
    page[kit_below(BLOCK_BYTES)] ^= 1;
    kit_poke(&kit, kit_journal(&kit), block, 0, page, sizeof(page));
}

/* A batch that was in flight: each unit is there or torn; what counts is the prefix that is
 * there. */
static void leave_batch_in_flight(void)
{
    uint32_t count = kit_below(BATCH_MAX + 1);
    bool whole = true;

    for (uint32_t i = 0; i < count; i++) {
        struct kit_payload payloads[4];
        uint32_t payload_count = 0;
        uint64_t unit = model.unit_count;
        log_data(i, false, payloads, &payload_count);
        if (kit_below(2) == 0) {
            struct log_ring ring = {.blocks = kit.ring_blocks};
            tear_block(
                log_ring_advance(&ring, model.units[unit].at, kit_below(payload_count + 1)).nr);
            whole = false;
        }
        for (uint32_t k = 0; k < payload_count && whole; k++) {
            struct placement at = geometry_locate(&kit.geometry, fs_block(payloads[k].at));
            model.row[at.row.nr].blocks[at.slot].acked = payloads[k].number;
        }
    }
}

static void expect_model(int (*read)(void *context, struct fs_block block, uint8_t *buffer),
                         void *context,
                         const char *when)
{
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];

    for (uint32_t row = 0; row < model.rows; row++) {
        for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
            if (slot == parity_slot(row)) {
                continue;
            }
            uint64_t number = 0;
            struct fs_block block = fs_block(volume_block(row, slot));
            ck_assert_int_eq(read(context, block, page), 0);
            memcpy(&number, page, sizeof(number));
            ck_assert_msg(number == model.row[row].blocks[slot].acked &&
                              memcmp(page, page + 8, BLOCK_BYTES - 8) == 0,
                          "%s: row %u slot %u holds %llu, acknowledged %llu",
                          when,
                          row,
                          slot,
                          (unsigned long long)number,
                          (unsigned long long)model.row[row].blocks[slot].acked);
        }
    }
}

static int read_view(void *context, struct fs_block block, uint8_t *buffer)
{
    return recovery_view_read_blocks(context, kit.queue, block, 1, buffer);
}

static int read_members(void *context, struct fs_block block, uint8_t *buffer)
{
    (void)context; /* nothing lies over the members */
    return array_read(kit.array, kit.queue, block, 1, buffer);
}

static void expect_view(uint32_t missing, const char *when)
{
    struct recovery_view view;

    kit_assemble(&kit, true, missing);
    int error = recovery_view_init(&view, kit.array, kit.queue, false, kit.why);
    ck_assert_msg(error == 0, "%s: %s", when, kit.why);
    expect_model(read_view, &view, when);
    recovery_view_fini(&view);
    kit_close(&kit);
}

static void model_begin(uint32_t members)
{
    struct kit_shape shape = {
        .members = members,
        .chunk_sectors = 8, /* the parity moves from row to row */
        .member_bytes = 4u << 20,
        .ring_blocks = RING_BLOCKS,
    };

    kit_create(&kit, &shape);
    memset(&model, 0, sizeof(model));
    model.rows = 1 + kit_below(ROWS_MAX);
    model.units = calloc(4096, sizeof(*model.units));
    ck_assert_ptr_nonnull(model.units);
    model.units[model.unit_count++] = (struct model_unit){log_block(0), 1};
    for (uint32_t row = 0; row < model.rows; row++) {
        for (uint32_t slot = 0; slot < members; slot++) {
            model.row[row].blocks[slot].open = NO_UNIT;
            model.row[row].blocks[slot].closing = NO_UNIT;
        }
    }
}

static void model_end(void)
{
    free(model.units);
    kit_remove(&kit);
}

/* The power goes inside replay, at any write, or after it; what was not flushed is there, or not,
 * or in part. */
static void crash_in_replay(uint32_t missing)
{
    kit_assemble(&kit, false, missing);
    crash_io_cut_after(kit_below(12));
    int error = kit_replay_closed(&kit, false, NULL);
    ck_assert_msg(error == 0, "%s", kit.why); /* it never learns of the cut */
    crash_io_settle();
    kit_close(&kit);
}

static void one_round(void)
{
    uint32_t lost = KIT_NO_SLOT;

    model_begin(3 + kit_below(3));
    for (uint32_t steps = kit_below(60); steps > 0; steps--) {
        writer_step();
    }
    leave_batch_in_flight();
    expect_view(KIT_NO_SLOT, "view");
    expect_view(kit_below(kit.members), "degraded view");
    for (uint32_t crashes = kit_below(4); crashes > 0; crashes--) {
        if (lost == KIT_NO_SLOT && kit_below(4) == 0) {
            lost = kit_below(kit.members);
        }
        crash_in_replay(lost);
        expect_view(lost == KIT_NO_SLOT ? kit_below(kit.members) : lost, "view after a crash");
    }
    kit_assemble(&kit, false, lost);
    ck_assert_msg(kit_replay(&kit, false, NULL) == 0, "%s", kit.why);
    expect_model(read_members, NULL, "after replay");
    if (lost == KIT_NO_SLOT) {
        ck_assert_uint_eq(kit_bad_rows(&kit), 0);
    }
    model_end();
}

START_TEST(no_crash_no_loss_of_a_member_loses_what_was_acknowledged)
{
    const char *rounds = getenv("R5_ROUNDS");
    uint32_t count = rounds != NULL ? (uint32_t)strtoul(rounds, NULL, 10) : ROUNDS;

    kit_seed("no_crash_no_loss_of_a_member_loses_what_was_acknowledged");
    crash_io_use(kit_below);
    for (uint32_t i = 0; i < count; i++) {
        one_round();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery_model");
    TCase *random = tcase_create("model");

    tcase_set_timeout(random, 280);
    tcase_add_test(random, no_crash_no_loss_of_a_member_loses_what_was_acknowledged);
    suite_add_tcase(suite, random);
    return kit_run(suite);
}
