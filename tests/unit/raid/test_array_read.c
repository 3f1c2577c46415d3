/* SPDX-License-Identifier: GPL-2.0-or-later */
/* array_read.c and array_reconstruct.c: what can be known is returned right, the rest is -EIO. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "r5fs/base/env.h"
#include "r5fs/base/wait_check.h"
#include "volume_kit.h"

#define SCATTERED 300u
#define READERS   12u

static struct volume_kit kit;

static const struct {
    uint32_t members;
    uint32_t chunk_sectors;
} shapes[] = {{3, 8}, {3, 128}, {4, 8}, {4, 1024}, {5, 128}, {8, 8}, {8, 1024}};
#define SHAPES ((int)(sizeof(shapes) / sizeof(shapes[0])))

/* Makes reads of one member fail, within a range of rows. */
struct bad_range {
    uint32_t slot;
    uint64_t first_row;
    uint64_t end_row;
    enum io_op op;
    int error;
    uint32_t seen; /* requests of any kind that came by */
    uint32_t hits;
};

static bool fail_range(void *context, const struct io_request *request, int *out_result)
{
    struct bad_range *bad = context;
    bad->seen++;
    if (request->file != array_slot_file(kit.array, bad->slot) || request->op != bad->op) {
        return false;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        bytes += request->iovecs[i].iov_len;
    }
    uint64_t first = array_slot_offset_bytes(kit.array, bad->slot, member_block(bad->first_row));
    uint64_t end = array_slot_offset_bytes(kit.array, bad->slot, member_block(bad->end_row));
    bool hit = bad->op == IO_FLUSH ||
               (request->offset_bytes < end && request->offset_bytes + bytes > first);
    bad->hits += hit;
    *out_result = bad->error;
    return hit;
}

static struct member_info info_of(uint32_t slot)
{
    struct member_info info;
    array_member_info(kit.array, slot, &info);
    return info;
}

START_TEST(a_healthy_volume_reads_back)
{
    volume_kit_seed("a_healthy_volume_reads_back");
    volume_kit_open(&kit, shapes[_i].members, shapes[_i].chunk_sectors, false);
    volume_kit_expect_readable(&kit);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(a_volume_without_any_one_member_reads_back)
{
    volume_kit_seed("a_volume_without_any_one_member_reads_back");
    for (uint32_t lost = 0; lost < shapes[_i].members; lost++) {
        volume_kit_open(&kit, shapes[_i].members, shapes[_i].chunk_sectors, false);
        volume_kit_lose(&kit, lost);
        volume_kit_expect_readable(&kit);
        volume_kit_close(&kit);
    }
}
END_TEST

START_TEST(a_member_that_was_not_given_is_reconstructed)
{
    volume_kit_seed("a_member_that_was_not_given_is_reconstructed");
    volume_kit_open(&kit, 4, 128, false);
    ck_assert_int_eq(array_stop_writing(kit.array, kit.queue), 0);
    array_close(kit.array);
    kit.files.paths[2][0] = '\0';
    int error =
        array_kit_assemble(&kit.files, (struct array_assemble){.allow_degraded = true}, &kit.array);
    ck_assert_msg(error == 0, "%s", kit.files.why);
    volume_kit_expect_readable(&kit);
    array_close(kit.array);
    array_kit_close(&kit.files);
}
END_TEST

START_TEST(scattered_blocks_arrive_in_their_own_buffers)
{
    static struct fs_block blocks[SCATTERED];
    static uint8_t *buffers[SCATTERED];
    volume_kit_seed("scattered_blocks_arrive_in_their_own_buffers");
    volume_kit_open(&kit, 5, 64, false);
    uint8_t *memory = volume_kit_take(&kit, SCATTERED);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < SCATTERED; i++) {
            /* Also neighbours, and the same block again. */
            bool near = i > 0 && volume_kit_below(2) == 0;
            uint64_t nr = near ? blocks[i - 1].nr + volume_kit_below(3) : volume_kit_random();
            blocks[i] = fs_block(nr % kit.geometry.volume_blocks);
            buffers[i] = memory + (size_t)(SCATTERED - 1 - i) * BLOCK_BYTES;
        }
        ck_assert_int_eq(array_read_scattered(kit.array, kit.queue, blocks, buffers, SCATTERED), 0);
        for (uint32_t i = 0; i < SCATTERED; i++) {
            ck_assert_mem_eq(buffers[i], volume_kit_block(&kit, blocks[i]), BLOCK_BYTES);
        }
        if (round == 0) {
            volume_kit_lose(&kit, 3);
        }
    }
    volume_kit_close(&kit);
}
END_TEST

START_TEST(a_range_beyond_the_volume_is_refused)
{
    volume_kit_open(&kit, 3, 128, true);
    uint64_t end = kit.geometry.volume_blocks;
    uint8_t *buffer = volume_kit_take(&kit, 2);
    uint8_t *const buffers[] = {buffer};
    struct fs_block block = fs_block(end);
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(end), 1, buffer), -EINVAL);
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(end - 1), 2, buffer), -EINVAL);
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(UINT64_MAX), 2, buffer), -EINVAL);
    ck_assert_int_eq(array_read_scattered(kit.array, kit.queue, &block, buffers, 1), -EINVAL);
    struct member_block row = member_block(kit.geometry.rows);
    ck_assert_int_eq(array_read_raw(kit.array, kit.queue, 0, row, 1, buffer), -EINVAL);
    ck_assert_int_eq(array_read_raw(kit.array, kit.queue, 3, member_block(0), 1, buffer), -EINVAL);
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(end - 1), 1, buffer), 0);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(an_unreadable_block_is_reconstructed_and_counted)
{
    volume_kit_seed("an_unreadable_block_is_reconstructed_and_counted");
    volume_kit_open(&kit, 4, 64, true);
    struct bad_range bad = {.slot = 1, .first_row = 3, .end_row = 29, .op = IO_READ, .error = -EIO};
    hook_io_set(fail_range, &bad);
    volume_kit_expect_readable(&kit);
    ck_assert_uint_gt(bad.hits, 0);
    ck_assert_uint_ge(info_of(1).read_errors, bad.hits);
    ck_assert_int_eq(info_of(1).state, MEMBER_IN_SYNC);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(one_bad_block_costs_a_degraded_array_only_that_row)
{
    volume_kit_seed("one_bad_block_costs_a_degraded_array_only_that_row");
    volume_kit_open(&kit, 4, 64, true);
    volume_kit_lose(&kit, 2);
    struct bad_range bad = {.slot = 1, .first_row = 5, .end_row = 6, .op = IO_READ, .error = -EIO};
    uint8_t *buffer = volume_kit_take(&kit, 1);
    hook_io_set(fail_range, &bad);
    for (uint64_t nr = 0; nr < 3 * geometry_stripe_blocks(&kit.geometry); nr++) {
        struct placement place = geometry_locate(&kit.geometry, fs_block(nr));
        bool lost = place.row.nr == 5 && (place.slot == 1 || place.slot == 2);
        int error = array_read(kit.array, kit.queue, fs_block(nr), 1, buffer);
        ck_assert_int_eq(error, lost ? -EIO : 0);
        if (!lost) {
            ck_assert_mem_eq(buffer, volume_kit_block(&kit, fs_block(nr)), BLOCK_BYTES);
        }
    }
    /* As part of a long read: the rows around the bad one are still derived. */
    struct fs_block around[7];
    uint8_t *buffers[7];
    uint8_t *memory = volume_kit_take(&kit, 7);
    uint32_t count = 0;
    for (uint64_t row = 0; row < 8; row++) {
        if (row != 5) {
            around[count] = geometry_block_at(&kit.geometry, member_block(row), 2);
            buffers[count] = memory + (size_t)count * BLOCK_BYTES;
            count++;
        }
    }
    ck_assert_int_eq(array_read_scattered(kit.array, kit.queue, around, buffers, count), 0);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_mem_eq(buffers[i], volume_kit_block(&kit, around[i]), BLOCK_BYTES);
    }
    volume_kit_close(&kit);
}
END_TEST

/* The member is lost while its first read is under way, which brings what it held long ago. */
static bool lose_while_reading(void *context, const struct io_request *request, int *out_result)
{
    bool *lost = context;
    if (request->file != array_slot_file(kit.array, 0) || request->op != IO_READ || *lost) {
        return false;
    }
    *lost = true;
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        memset(request->iovecs[i].iov_base, 0xee, request->iovecs[i].iov_len);
    }
    env_mutex_lock(&kit.array->lock);
    member_move(&kit.array->members[0], 0, MEMBER_FAULTY, "test");
    kit.array->members[0].loss_recorded = true;
    env_mutex_unlock(&kit.array->lock);
    *out_result = 0;
    return true;
}

START_TEST(what_a_member_gave_while_it_was_lost_is_not_used)
{
    static const uint32_t counts[] = {1, 64};
    bool lost = false;
    volume_kit_seed("what_a_member_gave_while_it_was_lost_is_not_used");
    volume_kit_open(&kit, 4, 64, true);
    uint8_t *buffer = volume_kit_take(&kit, counts[_i]);
    hook_io_set(lose_while_reading, &lost);
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(0), counts[_i], buffer), 0);
    ck_assert(lost);
    ck_assert_mem_eq(buffer, kit.model, (size_t)counts[_i] * BLOCK_BYTES);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(two_unreadable_members_are_an_error_and_never_wrong_bytes)
{
    volume_kit_seed("two_unreadable_members_are_an_error_and_never_wrong_bytes");
    volume_kit_open(&kit, 4, 64, true);
    volume_kit_lose(&kit, 2);
    struct bad_range bad = {
        .slot = 0, .first_row = 0, .end_row = UINT32_MAX, .op = IO_READ, .error = -EIO};
    uint8_t *buffer = volume_kit_take(&kit, 1);
    hook_io_set(fail_range, &bad);
    for (uint64_t nr = 0; nr < kit.geometry.volume_blocks; nr++) {
        struct placement place = geometry_locate(&kit.geometry, fs_block(nr));
        int error = array_read(kit.array, kit.queue, fs_block(nr), 1, buffer);
        bool lost = place.slot == 0 || place.slot == 2;
        ck_assert_int_eq(error, lost ? -EIO : 0);
        if (!lost) {
            ck_assert_mem_eq(buffer, volume_kit_block(&kit, fs_block(nr)), BLOCK_BYTES);
        }
    }
    volume_kit_close(&kit);
}
END_TEST

START_TEST(adjacent_blocks_of_a_member_travel_in_one_request)
{
    volume_kit_seed("adjacent_blocks_of_a_member_travel_in_one_request");
    volume_kit_open(&kit, 3, 64, true);
    struct bad_range watch = {.slot = 0, .op = IO_FLUSH};
    uint8_t *buffer = volume_kit_take(&kit, 256);
    hook_io_set(fail_range, &watch);
    /* 8-block chunks, 3 members: two stripes of a member adjoin, then its parity chunk
     * intervenes. */
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(0), 8, buffer), 0);
    ck_assert_uint_eq(watch.seen, 1);
    watch.seen = 0;
    ck_assert_int_eq(array_read(kit.array, kit.queue, fs_block(0), 48, buffer), 0);
    ck_assert_uint_eq(watch.seen, 4);
    watch.seen = 0;
    volume_kit_lose(&kit, 0);
    watch.seen = 0;
    /* The lost chunk of the first stripe: one request to each of the two others. */
    ck_assert_int_eq(
        array_read(
            kit.array, kit.queue, geometry_block_at(&kit.geometry, member_block(0), 0), 8, buffer),
        0);
    ck_assert_uint_eq(watch.seen, 2);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(a_raw_read_is_the_member_itself_parity_included)
{
    uint8_t expected[BLOCK_BYTES];
    volume_kit_seed("a_raw_read_is_the_member_itself_parity_included");
    volume_kit_open(&kit, 4, 64, true);
    uint8_t *buffer = volume_kit_take(&kit, 16);
    for (uint32_t slot = 0; slot < 4; slot++) {
        ck_assert_int_eq(array_read_raw(kit.array, kit.queue, slot, member_block(4), 16, buffer),
                         0);
        for (uint32_t i = 0; i < 16; i++) {
            volume_kit_on_member(&kit, slot, member_block(4 + i), expected);
            ck_assert_mem_eq(buffer + (size_t)i * BLOCK_BYTES, expected, BLOCK_BYTES);
        }
    }
    volume_kit_lose(&kit, 1);
    ck_assert_int_eq(array_read_raw(kit.array, kit.queue, 1, member_block(4), 1, buffer), -EIO);
    volume_kit_close(&kit);
}
END_TEST

START_TEST(a_flush_reaches_every_member_and_faults_the_one_that_fails)
{
    volume_kit_open(&kit, 4, 64, true);
    struct bad_range bad = {.slot = 3, .op = IO_FLUSH, .error = -EIO};
    ck_assert_int_eq(array_flush_members(kit.array, kit.queue), 0);
    hook_io_set(fail_range, &bad);
    ck_assert_int_eq(array_flush_members(kit.array, kit.queue), 0);
    ck_assert_uint_eq(bad.hits, 1);
    ck_assert_int_eq(info_of(3).state, MEMBER_FAULTY);
    ck_assert_str_eq(info_of(3).cause, "flush error EIO");
    ck_assert_int_eq(array_flush_members(kit.array, kit.queue), 0);
    bad.slot = 1;
    ck_assert_int_eq(array_flush_members(kit.array, kit.queue), -EIO);
    ck_assert_int_eq(array_state(kit.array), ARRAY_FAILED);
    volume_kit_close(&kit);
}
END_TEST

static atomic_int wrong;

/* More readers than read sets, each with its own queue. */
static void read_for_a_while(void *context)
{
    struct arena own;
    struct io_queue *queue = NULL;
    uint64_t at = (uint64_t)(uintptr_t)context * 977;
    arena_init_growing(&own);
    int errors = io_queue_open(&queue, &own, 32) != 0;
    uint8_t *buffer = arena_take(&own, (size_t)64 * BLOCK_BYTES, BLOCK_BYTES);
    for (uint32_t round = 0; round < 40 && errors == 0; round++) {
        at = (at * 31 + 7) % (kit.geometry.volume_blocks - 64);
        errors += array_read(kit.array, queue, fs_block(at), 64, buffer) != 0;
        errors +=
            memcmp(buffer, volume_kit_block(&kit, fs_block(at)), (size_t)64 * BLOCK_BYTES) != 0;
    }
    io_queue_close(queue);
    arena_fini(&own);
    atomic_fetch_add(&wrong, errors);
}

START_TEST(more_readers_than_sets_are_all_served)
{
    struct env_thread *threads[READERS];
    volume_kit_seed("more_readers_than_sets_are_all_served");
    volume_kit_open(&kit, 4, 64, false);
    volume_kit_lose(&kit, 1);
    for (uintptr_t i = 0; i < READERS; i++) {
        ck_assert_int_eq(env_thread_start(&threads[i], "reader", read_for_a_while, (void *)i), 0);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        env_thread_join(threads[i]);
    }
    ck_assert_int_eq(atomic_load(&wrong), 0);
    volume_kit_close(&kit);
}
END_TEST

#ifdef R5FS_DEBUG_CHECKS

/* A fan-out that takes for each device in turn: the first requests are under way, and the next one
 * waits for what they hold (dm's alloc_multiple_bios). Nothing may be taken once it has begun. */
static bool take_memory(void *context, const struct io_request *request, int *out_result)
{
    const enum io_op *op = context;

    (void)out_result;
    if (request->op == *op) {
        wait_check_submit(false); /* as between two submissions */
        wait_check_queued(-1);
        wait_check_memory(POOL_RANK_ROW_CELL - 1, "a request of its own");
        wait_check_queued(1);
        wait_check_submit(true);
    }
    return false;
}

START_TEST(a_flush_of_all_members_takes_nothing_once_it_has_begun)
{
    enum io_op op = IO_FLUSH;
    volume_kit_open(&kit, 4, 64, true);
    hook_io_set(take_memory, &op);
    ck_assert_int_ne(array_flush_members(kit.array, kit.queue), 1);
}
END_TEST

START_TEST(a_round_of_superblocks_takes_nothing_once_it_has_begun)
{
    enum io_op op = IO_WRITE;
    volume_kit_open(&kit, 4, 64, true);
    hook_io_set(take_memory, &op);
    ck_assert_int_ne(array_set_resync_offset(kit.array, kit.queue, 0), 1);
}
END_TEST

#endif

static Suite *array_read_suite(void)
{
    Suite *suite = suite_create("array_read");
    TCase *whole = tcase_create("whole volume");
    TCase *faults = tcase_create("faults");

    tcase_set_timeout(whole, 200);
    tcase_add_loop_test(whole, a_healthy_volume_reads_back, 0, SHAPES);
    tcase_add_loop_test(whole, a_volume_without_any_one_member_reads_back, 0, SHAPES);
    tcase_add_test(whole, a_member_that_was_not_given_is_reconstructed);
    tcase_add_test(whole, scattered_blocks_arrive_in_their_own_buffers);
    tcase_add_test(whole, a_range_beyond_the_volume_is_refused);
    tcase_add_test(whole, adjacent_blocks_of_a_member_travel_in_one_request);
    tcase_add_test(whole, a_raw_read_is_the_member_itself_parity_included);
    tcase_add_test(whole, more_readers_than_sets_are_all_served);
    tcase_set_timeout(faults, 200);
    tcase_add_test(faults, an_unreadable_block_is_reconstructed_and_counted);
    tcase_add_test(faults, one_bad_block_costs_a_degraded_array_only_that_row);
    tcase_add_loop_test(faults, what_a_member_gave_while_it_was_lost_is_not_used, 0, 2);
    tcase_add_test(faults, two_unreadable_members_are_an_error_and_never_wrong_bytes);
    tcase_add_test(faults, a_flush_reaches_every_member_and_faults_the_one_that_fails);
#ifdef R5FS_DEBUG_CHECKS
    tcase_add_test_raise_signal(
        faults, a_flush_of_all_members_takes_nothing_once_it_has_begun, SIGABRT);
    tcase_add_test_raise_signal(
        faults, a_round_of_superblocks_takes_nothing_once_it_has_begun, SIGABRT);
#endif
    suite_add_tcase(suite, whole);
    suite_add_tcase(suite, faults);
    return suite;
}

int main(void)
{
    return array_kit_run(array_read_suite());
}
