/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stripe*.c: every case of the table in stripe.c, against a naive model and the bytes on members. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "r5fs/base/env.h"
#include "r5fs/raid/parity.h"
#include "stripe_internal.h"
#include "volume_kit.h"

#define IMAGES    256u
#define ROWS_MAX  24u
#define STEPS     60u
#define ALL_SLOTS UINT32_MAX

static struct volume_kit kit;
static struct stripe_cache cache;
static struct stripe_head *heads[ROWS_MAX];
static uint32_t head_count;

static const struct {
    uint32_t members;
    uint32_t chunk_sectors;
} shapes[] = {
    {3, 8},
    {3, 128},
    {3, 1024},
    {4, 8},
    {4, 128},
    {4, 1024},
    {5, 8},
    {5, 128},
    {5, 1024},
    {8, 8},
    {8, 128},
    {8, 1024},
};
#define SHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

static void open_cache(uint32_t members, uint32_t chunk_sectors, bool hooked)
{
    volume_kit_open(&kit, members, chunk_sectors, hooked);
    stripe_cache_init(&cache, kit.array, &kit.files.arena, IMAGES, ROWS_MAX * members);
}

static void close_cache(void)
{
    stripe_cache_fini(&cache);
    volume_kit_close(&kit);
}

static uint32_t parity_slot_of(uint64_t row)
{
    return geometry_parity_slot(&kit.geometry, member_block(row));
}

/* A new random image of a block, chosen for the write-out of its row. */
static struct stripe_image *add_target(uint64_t row, uint32_t slot)
{
    struct stripe_image *image = pool_try_get(&cache.images);
    ck_assert_ptr_nonnull(image);
    struct stripe_head *head = stripe_get(&cache, member_block(row));
    volume_kit_fill(image->data, BLOCK_BYTES);
    stripe_push_image(head, slot, image);
    head->slots[slot].target = image;
    if (!head->frozen) {
        head->frozen = true;
        heads[head_count++] = head;
    }
    return image;
}

/* The volume's truth changes when a row was written out. */
static void note_targets(void)
{
    for (uint32_t i = 0; i < head_count; i++) {
        for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
            const struct stripe_image *target = heads[i]->slots[slot].target;
            if (target != NULL) {
                struct fs_block block = geometry_block_at(&kit.geometry, heads[i]->row, slot);
                memcpy(volume_kit_block(&kit, block), target->data, BLOCK_BYTES);
            }
        }
    }
}

static void drop_heads(void)
{
    for (uint32_t i = 0; i < head_count; i++) {
        for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
            while (heads[i]->slots[slot].newest != NULL) {
                stripe_drop_image(&cache, heads[i]->slots[slot].newest);
            }
        }
        heads[i]->frozen = false;
        stripe_release_if_empty(&cache, heads[i]);
    }
    head_count = 0;
    stripe_cache_verify(&cache);
}

static void write_out_all(void)
{
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, head_count), 0);
    stripes_encode(&cache, heads, head_count);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, head_count), 0);
    for (uint32_t i = 0; i < head_count; i++) {
        ck_assert_int_eq(heads[i]->state, STRIPE_IDLE);
    }
    note_targets();
    drop_heads();
    ck_assert_uint_eq(pool_free_count(&cache.encode), cache.encode.stats.size);
}

/* Random rows, some of them neighbours, with random targets. */
static void add_random_batch(void)
{
    uint32_t rows = 1 + volume_kit_below(ROWS_MAX);
    uint64_t row = volume_kit_random() % kit.geometry.rows;
    for (uint32_t i = 0; i < rows; i++) {
        bool near = volume_kit_below(4) != 0;
        row = near ? (row + 1) % kit.geometry.rows : volume_kit_random() % kit.geometry.rows;
        if (stripe_find(&cache, member_block(row)) != NULL) {
            continue;
        }
        uint32_t chosen = (uint32_t)volume_kit_random();
        for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
            bool first = slot == (parity_slot_of(row) + 1) % kit.geometry.slots;
            if (slot != parity_slot_of(row) && (first || (chosen >> slot & 1) != 0) &&
                pool_free_count(&cache.images) > 0) {
                (void)add_target(row, slot);
            }
        }
    }
}

START_TEST(random_write_outs_keep_data_and_parity)
{
    volume_kit_seed("random_write_outs_keep_data_and_parity");
    open_cache(shapes[_i].members, shapes[_i].chunk_sectors, false);
    for (uint32_t step = 0; step < STEPS; step++) {
        add_random_batch();
        write_out_all();
    }
    volume_kit_expect_on_members(&kit);
    volume_kit_expect_readable(&kit);
    close_cache();
}
END_TEST

START_TEST(random_write_outs_without_any_one_member_keep_the_data)
{
    volume_kit_seed("random_write_outs_without_any_one_member_keep_the_data");
    for (uint32_t lost = 0; lost < shapes[_i].members; lost++) {
        open_cache(shapes[_i].members, shapes[_i].chunk_sectors, false);
        volume_kit_lose(&kit, lost);
        for (uint32_t step = 0; step < STEPS / 2; step++) {
            add_random_batch();
            write_out_all();
        }
        volume_kit_expect_readable(&kit);
        close_cache();
    }
}
END_TEST

/* ---- what the hook does ---- */

struct watch {
    uint32_t reads;
    uint32_t writes;
    uint32_t fail_slots; /* requests of these slots fail, one bit each */
    enum io_op fail_op;
    int fail_error;
};

static bool watch_requests(void *context, const struct io_request *request, int *out_result)
{
    struct watch *watch = context;
    /* Superblocks are not what is counted here. */
    uint64_t data_offset = array_slot_offset_bytes(kit.array, 0, member_block(0));
    if (request->op == IO_FLUSH || request->offset_bytes < data_offset) {
        return false;
    }
    watch->reads += request->op == IO_READ;
    watch->writes += request->op == IO_WRITE;
    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        if (request->file == array_slot_file(kit.array, slot) && request->op == watch->fail_op &&
            (watch->fail_slots >> slot & 1) != 0) {
            *out_result = watch->fail_error;
            return true;
        }
    }
    return false;
}

static struct watch watch;

static void watch_from_now(void)
{
    watch = (struct watch){0};
    hook_io_set(watch_requests, &watch);
}

static void fail_from_now(enum io_op op, uint32_t slots, int error)
{
    watch = (struct watch){.fail_op = op, .fail_slots = slots, .fail_error = error};
    hook_io_set(watch_requests, &watch);
}

/* The data slots of row 0 in order: with five members, parity is in slot 4. */
#define ROW0_PARITY 4u

struct fill_case {
    const char *what;
    uint32_t lost;    /* a slot, or ARRAY_NO_SLOT */
    uint32_t targets; /* data slots 0 to 3, one bit each */
    bool reconstruct;
    bool parity_missing;
    uint32_t reads;
};

static const struct fill_case fill_cases[] = {
    {"healthy, one target", ARRAY_NO_SLOT, 0x1, false, false, 2},
    {"healthy, two targets", ARRAY_NO_SLOT, 0x3, true, false, 2},
    {"healthy, three targets", ARRAY_NO_SLOT, 0x7, true, false, 1},
    {"healthy, all", ARRAY_NO_SLOT, 0xf, true, false, 0},
    {"parity lost, one target", ROW0_PARITY, 0x2, false, true, 0},
    {"parity lost, all", ROW0_PARITY, 0xf, false, true, 0},
    {"a target lost, alone", 0, 0x1, true, false, 3},
    {"a target lost, of two", 1, 0x3, true, false, 2},
    {"a target lost, of all", 3, 0xf, true, false, 0},
    {"another lost, one target", 2, 0x1, false, false, 2},
    {"another lost, three targets", 3, 0x7, false, false, 4},
};
#define FILL_CASES ((int)(sizeof(fill_cases) / sizeof(fill_cases[0])))

static void add_targets(uint64_t row, uint32_t slots)
{
    for (uint32_t slot = 0; slot < kit.geometry.slots; slot++) {
        if ((slots >> slot & 1) != 0) {
            (void)add_target(row, slot);
        }
    }
}

START_TEST(each_case_reads_what_the_table_says_and_loses_nothing)
{
    const struct fill_case *fill = &fill_cases[_i];
    volume_kit_seed(fill->what);
    open_cache(5, 128, true);
    if (fill->lost != ARRAY_NO_SLOT) {
        volume_kit_lose(&kit, fill->lost);
    }
    add_targets(0, fill->targets);
    watch_from_now();
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), 0);
    ck_assert_int_eq(heads[0]->state, STRIPE_FILLED);
    ck_assert_uint_eq(watch.reads, fill->reads);
    ck_assert_int_eq(heads[0]->parity_missing, fill->parity_missing);
    ck_assert(fill->parity_missing || heads[0]->reconstruct == fill->reconstruct);
    stripes_encode(&cache, heads, 1);
    ck_assert_int_eq(heads[0]->state, STRIPE_ENCODED);
    ck_assert_int_eq(heads[0]->parity == NULL, fill->parity_missing);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), 0);
    uint32_t places = (uint32_t)__builtin_popcount(fill->targets | 1u << ROW0_PARITY);
    bool skipped =
        fill->lost != ARRAY_NO_SLOT && ((fill->targets | 1u << ROW0_PARITY) >> fill->lost & 1) != 0;
    ck_assert_uint_eq(watch.writes, places - skipped);
    note_targets();
    drop_heads();
    volume_kit_expect_readable(&kit);
    if (fill->lost == ARRAY_NO_SLOT) {
        volume_kit_expect_on_members(&kit);
    }
    close_cache();
}
END_TEST

START_TEST(with_two_members_lost_a_row_fails_and_keeps_its_images)
{
    open_cache(5, 128, true);
    volume_kit_lose(&kit, 0);
    ck_assert_int_eq(array_member_fault(kit.array, kit.queue, 1, "test"), -EIO);
    add_targets(0, 0xf);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), -EIO);
    ck_assert_int_eq(heads[0]->state, STRIPE_FAILED);
    ck_assert_uint_eq(heads[0]->image_count, 4);
    ck_assert_uint_eq(pool_free_count(&cache.encode), cache.encode.stats.size);
    drop_heads();
    close_cache();
}
END_TEST

/* ---- reads that fail ---- */

static const struct {
    const char *what;
    uint32_t unreadable; /* slots, one bit each */
    uint32_t lost;
    uint32_t targets;
    bool possible;
} read_cases[] = {
    {"parity unreadable", 0x10, ARRAY_NO_SLOT, 0x1, true},
    {"the target unreadable", 0x1, ARRAY_NO_SLOT, 0x1, true},
    {"another unreadable", 0x4, ARRAY_NO_SLOT, 0x3, true},
    {"another unreadable, all but it written", 0x8, ARRAY_NO_SLOT, 0x7, true},
    {"two others unreadable", 0x6, ARRAY_NO_SLOT, 0x9, true},
    {"parity and the target unreadable", 0x11, ARRAY_NO_SLOT, 0x1, true},
    {"parity and another unreadable", 0x14, ARRAY_NO_SLOT, 0x1, false},
    {"parity lost, a target unreadable", 0x1, ROW0_PARITY, 0x1, true},
    {"a target lost, another unreadable", 0x2, 0, 0x1, false},
    {"a target lost, parity unreadable", 0x10, 0, 0x1, true},
    {"another lost, the target unreadable", 0x1, 3, 0x1, false},
    {"another lost, one more unreadable", 0x4, 3, 0x1, true},
};
#define READ_CASES ((int)(sizeof(read_cases) / sizeof(read_cases[0])))

START_TEST(a_read_error_is_avoided_where_the_row_allows)
{
    volume_kit_seed(read_cases[_i].what);
    open_cache(5, 128, true);
    if (read_cases[_i].lost != ARRAY_NO_SLOT) {
        volume_kit_lose(&kit, read_cases[_i].lost);
    }
    add_targets(0, read_cases[_i].targets);
    add_targets(1, read_cases[_i].targets);
    fail_from_now(IO_READ, read_cases[_i].unreadable, -EIO);
    int error = stripes_fill(&cache, kit.queue, heads, 2);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(error, read_cases[_i].possible ? 0 : -EIO);
    if (read_cases[_i].possible) {
        stripes_encode(&cache, heads, 2);
        ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 2), 0);
        note_targets();
    } else {
        ck_assert_int_eq(heads[0]->state, STRIPE_FAILED);
        ck_assert_int_eq(heads[1]->state, STRIPE_FAILED);
        ck_assert_uint_eq(pool_free_count(&cache.encode), cache.encode.stats.size);
    }
    drop_heads();
    volume_kit_expect_readable(&kit);
    if (read_cases[_i].lost == ARRAY_NO_SLOT) {
        volume_kit_expect_on_members(&kit);
        ck_assert_int_eq(array_state(kit.array), ARRAY_CLEAN);
    }
    close_cache();
}
END_TEST

/* Reads of slot 1 that touch row 3 fail. */
static bool fail_row_3(void *context, const struct io_request *request, int *out_result)
{
    uint32_t *hits = context;
    uint64_t at = array_slot_offset_bytes(kit.array, 1, member_block(3));
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        bytes += request->iovecs[i].iov_len;
    }
    if (request->op != IO_READ || request->file != array_slot_file(kit.array, 1) ||
        request->offset_bytes > at || request->offset_bytes + bytes <= at) {
        return false;
    }
    (*hits)++;
    *out_result = -EIO;
    return true;
}

START_TEST(one_bad_block_costs_only_its_row)
{
    uint32_t hits = 0;
    volume_kit_seed("one_bad_block_costs_only_its_row");
    open_cache(5, 128, true);
    volume_kit_lose(&kit, 0);
    for (uint64_t row = 0; row < 8; row++) {
        add_targets(row, 0x1);
    }
    hook_io_set(fail_row_3, &hits);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 8), -EIO);
    ck_assert_uint_eq(hits, 2); /* together, and alone */
    for (uint32_t i = 0; i < 8; i++) {
        ck_assert_int_eq(heads[i]->state, i == 3 ? STRIPE_FAILED : STRIPE_FILLED);
    }
    hook_io_set(NULL, NULL);
    stripes_abandon(&cache, heads, 8);
    write_out_all();
    volume_kit_expect_readable(&kit);
    close_cache();
}
END_TEST

START_TEST(a_failed_row_can_be_filled_when_the_read_works_again)
{
    volume_kit_seed("a_failed_row_can_be_filled_when_the_read_works_again");
    open_cache(5, 128, true);
    volume_kit_lose(&kit, 3);
    add_targets(0, 0x1);
    fail_from_now(IO_READ, 0x1, -EIO);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), -EIO);
    hook_io_set(NULL, NULL);
    write_out_all();
    volume_kit_expect_readable(&kit);
    close_cache();
}
END_TEST

/* ---- writes that fail ---- */

START_TEST(a_failed_write_faults_the_member_and_the_row_is_whole_without_it)
{
    struct member_info info;
    volume_kit_seed("a_failed_write_faults_the_member_and_the_row_is_whole_without_it");
    for (uint32_t slot = 0; slot < 5; slot++) {
        open_cache(5, 128, true);
        for (uint64_t row = 0; row < 10; row++) {
            add_targets(row, 0x5);
        }
        fail_from_now(IO_WRITE, 1u << slot, -EIO);
        bool hit = slot == 0 || slot == 2 || slot == ROW0_PARITY;
        write_out_all();
        hook_io_set(NULL, NULL);
        array_member_info(kit.array, slot, &info);
        ck_assert_int_eq(info.state, hit ? MEMBER_FAULTY : MEMBER_IN_SYNC);
        ck_assert_uint_eq(info.write_errors, hit);
        ck_assert(!hit || strstr(info.cause, "write error EIO at 0.0 GiB") != NULL);
        volume_kit_expect_readable(&kit);
        close_cache();
    }
}
END_TEST

START_TEST(a_second_failed_member_fails_the_rows_that_keep_their_images)
{
    open_cache(5, 128, true);
    add_targets(0, 0x5);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), 0);
    stripes_encode(&cache, heads, 1);
    fail_from_now(IO_WRITE, 0x5, -EIO);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), -EIO);
    ck_assert_int_eq(heads[0]->state, STRIPE_FAILED);
    ck_assert_uint_eq(heads[0]->image_count, 2);
    ck_assert_int_eq(array_state(kit.array), ARRAY_FAILED);
    drop_heads();
    close_cache();
}
END_TEST

static void tear_row_0(uint32_t targets, uint32_t full_slot)
{
    add_targets(0, targets);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), 0);
    stripes_encode(&cache, heads, 1);
    fail_from_now(IO_WRITE, 1u << full_slot, -ENOSPC);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), -ENOSPC);
    ck_assert_int_eq(heads[0]->state, STRIPE_ENCODED);
    ck_assert(heads[0]->torn);
}

START_TEST(a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room)
{
    struct member_info info;
    uint8_t *buffer = NULL;
    volume_kit_seed("a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room");
    open_cache(5, 128, true);
    buffer = volume_kit_take(&kit, 1);
    tear_row_0(0x5, ROW0_PARITY);
    array_member_info(kit.array, ROW0_PARITY, &info);
    ck_assert_int_eq(info.state, MEMBER_IN_SYNC);
    ck_assert_uint_eq(info.write_errors, 0);
    /* Slot 1 is no target: it must not be derived from a row that is half new. */
    volume_kit_lose(&kit, 1);
    struct fs_block other = geometry_block_at(&kit.geometry, member_block(0), 1);
    ck_assert_int_eq(array_read(kit.array, kit.queue, other, 1, buffer), -EIO);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), -ENOSPC);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), 0);
    ck_assert_int_eq(heads[0]->state, STRIPE_IDLE);
    ck_assert(!heads[0]->torn);
    note_targets();
    drop_heads();
    volume_kit_expect_readable(&kit);
    close_cache();
}
END_TEST

START_TEST(a_full_device_spoils_only_the_rows_it_refused)
{
    volume_kit_seed("a_full_device_spoils_only_the_rows_it_refused");
    open_cache(5, 128, true);
    for (uint64_t row = 0; row < 6; row++) {
        add_targets(row < 3 ? row : row + 20, 0x1);
    }
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 6), 0);
    stripes_encode(&cache, heads, 6);
    /* Rows from 23 on have their parity in slot 3. */
    fail_from_now(IO_WRITE, 1u << ROW0_PARITY, -EDQUOT);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 6), -EDQUOT);
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_int_eq(heads[i]->state, i < 3 ? STRIPE_ENCODED : STRIPE_IDLE);
    }
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 3), 0);
    note_targets();
    drop_heads();
    volume_kit_expect_on_members(&kit);
    close_cache();
}
END_TEST

START_TEST(a_torn_row_that_was_abandoned_is_never_read_modified)
{
    volume_kit_seed("a_torn_row_that_was_abandoned_is_never_read_modified");
    open_cache(5, 128, true);
    tear_row_0(0x1, ROW0_PARITY);
    stripes_abandon(&cache, heads, 1);
    ck_assert_int_eq(heads[0]->state, STRIPE_IDLE);
    ck_assert(heads[0]->torn);
    hook_io_set(NULL, NULL);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), 0);
    ck_assert(heads[0]->reconstruct);
    stripes_encode(&cache, heads, 1);
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), 0);
    note_targets();
    drop_heads();
    volume_kit_expect_on_members(&kit);
    close_cache();
}
END_TEST

START_TEST(a_torn_row_with_another_member_lost_fails_rather_than_guess)
{
    open_cache(5, 128, true);
    tear_row_0(0x1, ROW0_PARITY);
    stripes_abandon(&cache, heads, 1);
    hook_io_set(NULL, NULL);
    volume_kit_lose(&kit, 2);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), -EIO);
    ck_assert_int_eq(heads[0]->state, STRIPE_FAILED);
    drop_heads(); /* releases the cell, or the array could not be closed */
    close_cache();
}
END_TEST

/* ---- write-out ---- */

START_TEST(adjacent_rows_of_a_member_are_written_in_one_request)
{
    volume_kit_seed("adjacent_rows_of_a_member_are_written_in_one_request");
    open_cache(3, 128, true);
    /* Backwards: write-out sorts. Rows 0 to 15 are one chunk, parity in slot 2. */
    for (uint64_t row = 16; row-- > 0;) {
        add_targets(row, 0x3);
    }
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 16), 0);
    stripes_encode(&cache, heads, 16);
    watch_from_now();
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 16), 0);
    ck_assert_uint_eq(watch.writes, 3);
    note_targets();
    drop_heads();
    volume_kit_expect_on_members(&kit);
    close_cache();
}
END_TEST

START_TEST(logged_parity_is_written_as_it_stands)
{
    uint8_t on_member[BLOCK_BYTES];
    volume_kit_seed("logged_parity_is_written_as_it_stands");
    open_cache(4, 128, true);
    (void)add_target(0, 1);
    uint8_t *parity = stripe_take_encode_buffer(&cache);
    volume_kit_fill(parity, BLOCK_BYTES);
    uint8_t *expected = volume_kit_take(&kit, 1);
    memcpy(expected, parity, BLOCK_BYTES);
    stripe_set_logged_parity(heads[0], parity);
    watch_from_now();
    ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), 0);
    ck_assert_uint_eq(watch.reads, 0);
    ck_assert_uint_eq(watch.writes, 2);
    volume_kit_on_member(&kit, parity_slot_of(0), member_block(0), on_member);
    ck_assert_mem_eq(on_member, expected, BLOCK_BYTES);
    volume_kit_on_member(&kit, 1, member_block(0), on_member);
    ck_assert_mem_eq(on_member, heads[0]->slots[1].target->data, BLOCK_BYTES);
    drop_heads();
    close_cache();
}
END_TEST

START_TEST(a_member_lost_between_encode_and_write_out_is_left_out)
{
    volume_kit_seed("a_member_lost_between_encode_and_write_out_is_left_out");
    for (uint32_t lost = 0; lost < 4; lost++) {
        open_cache(4, 128, true);
        add_targets(0, 0x3);
        ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 1), 0);
        stripes_encode(&cache, heads, 1);
        volume_kit_lose(&kit, lost);
        ck_assert_int_eq(stripes_write_out(&cache, kit.queue, heads, 1), 0);
        note_targets();
        drop_heads();
        volume_kit_expect_readable(&kit);
        close_cache();
    }
}
END_TEST

START_TEST(abandoned_rows_give_everything_back)
{
    open_cache(4, 128, true);
    add_targets(0, 0x1);
    add_targets(1, 0x3);
    ck_assert_int_eq(stripes_fill(&cache, kit.queue, heads, 2), 0);
    stripes_encode(&cache, heads, 1);
    stripes_abandon(&cache, heads, 2);
    ck_assert_int_eq(heads[0]->state, STRIPE_IDLE);
    ck_assert_int_eq(heads[1]->state, STRIPE_IDLE);
    ck_assert_uint_eq(pool_free_count(&cache.encode), cache.encode.stats.size);
    drop_heads();
    volume_kit_expect_on_members(&kit); /* nothing was written */
    close_cache();
}
END_TEST

/* ---- readers beside a writer ---- */

static atomic_bool stop_reading;
static atomic_int wrong;
static atomic_int reads_done;

/* Reads lost blocks that never change, out of rows that do. */
static void read_lost_blocks(void *context)
{
    const uint32_t *lost = context;
    struct arena own;
    struct io_queue *queue = NULL;
    arena_init_growing(&own);
    int errors = io_queue_open(&queue, &own, 32) != 0;
    uint8_t *buffer = arena_take(&own, BLOCK_BYTES, BLOCK_BYTES);
    for (uint64_t row = 0; !atomic_load(&stop_reading) && errors == 0; row = (row + 1) % 16) {
        struct fs_block block = geometry_block_at(&kit.geometry, member_block(row), *lost);
        errors += array_read(kit.array, queue, block, 1, buffer) != 0;
        errors += memcmp(buffer, volume_kit_block(&kit, block), BLOCK_BYTES) != 0;
        atomic_fetch_add(&reads_done, 1);
    }
    io_queue_close(queue);
    arena_fini(&own);
    atomic_fetch_add(&wrong, errors);
}

START_TEST(a_lost_block_reads_right_while_its_row_is_written)
{
    struct env_thread *threads[3];
    uint32_t lost = 1;
    volume_kit_seed("a_lost_block_reads_right_while_its_row_is_written");
    open_cache(4, 128, false);
    volume_kit_lose(&kit, lost);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "reader", read_lost_blocks, &lost), 0);
    }
    for (uint32_t step = 0; step < 300 || atomic_load(&reads_done) < 300; step++) {
        for (uint64_t row = 0; row < 16; row++) {
            add_targets(row, 0x5);
        }
        write_out_all();
    }
    atomic_store(&stop_reading, true);
    for (uint32_t i = 0; i < 3; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_int_eq(atomic_load(&wrong), 0);
    close_cache();
}
END_TEST

/* ---- the cache ---- */

START_TEST(an_image_leaves_its_chain_from_any_place)
{
    struct stripe_image *images[3];
    open_cache(3, 128, true);
    for (uint32_t gone = 0; gone < 3; gone++) {
        for (uint32_t i = 0; i < 3; i++) {
            images[i] = add_target(5, 0);
        }
        struct stripe_head *head = stripe_find(&cache, member_block(5));
        ck_assert_ptr_eq(head->slots[0].newest, images[2]);
        stripe_drop_image(&cache, images[gone]);
        stripe_cache_verify(&cache);
        ck_assert_uint_eq(head->image_count, 2);
        ck_assert_ptr_eq(head->slots[0].newest, images[gone == 2 ? 1 : 2]);
        ck_assert_ptr_eq(head->slots[0].target, gone == 2 ? NULL : images[2]);
        drop_heads();
    }
    close_cache();
}
END_TEST

START_TEST(images_keep_their_own_data_for_ever)
{
    static struct stripe_image *taken[IMAGES];
    static uint8_t *data[IMAGES];
    open_cache(3, 128, true);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < IMAGES; i++) {
            taken[i] = pool_try_get(&cache.images);
            ck_assert_ptr_nonnull(taken[i]);
            ck_assert_uint_eq((uintptr_t)taken[i]->data % BLOCK_BYTES, 0);
            memset(taken[i]->data, (int)i, BLOCK_BYTES);
            data[i] = taken[i]->data;
        }
        ck_assert_ptr_null(pool_try_get(&cache.images));
        for (uint32_t i = 0; i < IMAGES; i++) {
            ck_assert_ptr_eq(taken[i]->data, data[i]);
            ck_assert_uint_eq(taken[i]->data[BLOCK_BYTES - 1], i);
            pool_put(&cache.images, taken[i]);
        }
    }
    close_cache();
}
END_TEST

START_TEST(a_head_goes_only_when_nothing_holds_it)
{
    open_cache(3, 128, true);
    struct stripe_head *head = stripe_get(&cache, member_block(9));
    ck_assert_ptr_eq(stripe_get(&cache, member_block(9)), head);
    head->frozen = true;
    stripe_release_if_empty(&cache, head);
    ck_assert_ptr_eq(stripe_find(&cache, member_block(9)), head);
    head->frozen = false;
    head->open.first_seq = 4;
    stripe_release_if_empty(&cache, head);
    ck_assert_ptr_eq(stripe_find(&cache, member_block(9)), head);
    head->open.first_seq = 0;
    head->closing.first_seq = 3;
    stripe_release_if_empty(&cache, head);
    ck_assert_ptr_eq(stripe_find(&cache, member_block(9)), head);
    head->closing.first_seq = 0;
    stripe_release_if_empty(&cache, head);
    ck_assert_ptr_null(stripe_find(&cache, member_block(9)));
    close_cache();
}
END_TEST

START_TEST(the_memory_needed_is_enough)
{
    struct arena exact;
    struct stripe_cache own;
    open_cache(4, 128, true);
    ck_assert_int_eq(arena_init(&exact, stripe_cache_need(4, 100, 40) + BLOCK_BYTES, false), 0);
    stripe_cache_init(&own, kit.array, &exact, 100, 40);
    stripe_cache_fini(&own);
    arena_fini(&exact);
    close_cache();
}
END_TEST

START_TEST(a_row_moves_only_along_the_table)
{
    static const char allowed[STRIPE_STATE_COUNT][STRIPE_STATE_COUNT + 1] = {
        [STRIPE_IDLE] = ".yyy",
        [STRIPE_FILLED] = "y.y.",
        [STRIPE_ENCODED] = "y..y",
        [STRIPE_FAILED] = "y...",
    };
    for (uint32_t from = 0; from < STRIPE_STATE_COUNT; from++) {
        for (uint32_t to = 0; to < STRIPE_STATE_COUNT; to++) {
            ck_assert_int_eq(stripe_state_may_move((enum stripe_state)from, (enum stripe_state)to),
                             allowed[from][to] == 'y');
        }
    }
}
END_TEST

START_TEST(writing_out_an_unencoded_row_is_our_own_mistake)
{
    open_cache(3, 128, true);
    add_targets(0, 0x1);
    int error = stripes_write_out(&cache, kit.queue, heads, 1);
    ck_abort_msg("came back with %d", error);
}
END_TEST

static Suite *stripe_suite(void)
{
    Suite *suite = suite_create("stripe");
    TCase *random = tcase_create("random");
    TCase *cases = tcase_create("cases");
    TCase *writing = tcase_create("writing");
    TCase *memory = tcase_create("memory");

    tcase_set_timeout(random, 250);
    tcase_add_loop_test(random, random_write_outs_keep_data_and_parity, 0, SHAPES);
    tcase_add_loop_test(random, random_write_outs_without_any_one_member_keep_the_data, 0, SHAPES);
    tcase_add_test(random, a_lost_block_reads_right_while_its_row_is_written);
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(
        cases, each_case_reads_what_the_table_says_and_loses_nothing, 0, FILL_CASES);
    tcase_add_test(cases, with_two_members_lost_a_row_fails_and_keeps_its_images);
    tcase_add_loop_test(cases, a_read_error_is_avoided_where_the_row_allows, 0, READ_CASES);
    tcase_add_test(cases, one_bad_block_costs_only_its_row);
    tcase_add_test(cases, a_failed_row_can_be_filled_when_the_read_works_again);
    tcase_set_timeout(writing, 60);
    tcase_add_test(writing, a_failed_write_faults_the_member_and_the_row_is_whole_without_it);
    tcase_add_test(writing, a_second_failed_member_fails_the_rows_that_keep_their_images);
    tcase_add_test(writing, a_full_device_is_no_fault_and_the_row_is_written_when_there_is_room);
    tcase_add_test(writing, a_full_device_spoils_only_the_rows_it_refused);
    tcase_add_test(writing, a_torn_row_that_was_abandoned_is_never_read_modified);
    tcase_add_test(writing, a_torn_row_with_another_member_lost_fails_rather_than_guess);
    tcase_add_test(writing, adjacent_rows_of_a_member_are_written_in_one_request);
    tcase_add_test(writing, logged_parity_is_written_as_it_stands);
    tcase_add_test(writing, a_member_lost_between_encode_and_write_out_is_left_out);
    tcase_add_test(writing, abandoned_rows_give_everything_back);
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, an_image_leaves_its_chain_from_any_place);
    tcase_add_test(memory, images_keep_their_own_data_for_ever);
    tcase_add_test(memory, a_head_goes_only_when_nothing_holds_it);
    tcase_add_test(memory, the_memory_needed_is_enough);
    tcase_add_test(memory, a_row_moves_only_along_the_table);
    tcase_add_test_raise_signal(memory, writing_out_an_unencoded_row_is_our_own_mistake, SIGABRT);
    suite_add_tcase(suite, random);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, writing);
    suite_add_tcase(suite, memory);
    return suite;
}

int main(void)
{
    return array_kit_run(stripe_suite());
}
