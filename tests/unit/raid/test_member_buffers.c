/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Announced memory: registering it changes what a transfer costs, never its bytes. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "array_kit.h"
#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"
#include "r5fs/raid/member_io.h"

#define DEPTH        8u
#define PIECE_BLOCKS 4u
#define PIECE_BYTES  ((size_t)PIECE_BLOCKS * BLOCK_BYTES)
#define PIECES       4u
#define TWO_BLOCKS   ((size_t)2 * BLOCK_BYTES)
#define RANGE_BYTES  (PIECES * PIECE_BYTES)
#define FILE_BYTES   (1u << 20)
#define OWN_ACCOUNT  100000 /* user ids from here on are nobody's */

static struct arena arena;
static struct io_queue *queue;
static char path[256];
static struct io_file file;
static uint8_t *memory; /* twice RANGE_BYTES; the first half is announced */
static uint8_t *found;

/* Loop tests run once for each. */
static const struct world {
    enum io_backend backend;
    bool direct;
} worlds[] = {
    {IO_BACKEND_URING, true},
    {IO_BACKEND_URING, false},
    {IO_BACKEND_THREADS, true},
};
#define WORLDS      ((int)(sizeof(worlds) / sizeof(worlds[0])))
#define ONLY_DIRECT 0 /* index of the usual one */

static struct io_registered registered(void)
{
    struct io_registered now;

    io_registered_get(&now);
    return now;
}

static bool registers(int world)
{
    return worlds[world].backend == IO_BACKEND_URING;
}

static void open_file(int world)
{
    struct io_open_options options = {.lock = true, .probe_direct = worlds[world].direct};
    int holder = 0;

    ck_assert_int_lt(snprintf(path, sizeof(path), "%s/r5fs-buf.XXXXXX", R5_TEST_TMP),
                     (int)sizeof(path));
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, FILE_BYTES), 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
}

static void open_memory(int world)
{
    arena_init_growing(&arena);
    ck_assert_int_eq(io_backend_choose(worlds[world].backend), 0);
    ck_assert_int_eq(io_queue_open(&queue, &arena, DEPTH), 0);
    memory = arena_take(&arena, 2 * RANGE_BYTES, BLOCK_BYTES);
    found = arena_take(&arena, 2 * RANGE_BYTES, BLOCK_BYTES);
    env_random_bytes(memory, 2 * RANGE_BYTES);
    io_buffers_announce(memory, PIECE_BYTES, PIECES);
}

static void open_world(int world)
{
    open_file(world);
    open_memory(world);
}

static void close_world(void)
{
    io_buffers_withdraw(memory);
    io_queue_close(queue);
    ck_assert_uint_eq(registered().bytes, 0);
    io_file_close(&file);
    ck_assert_int_eq(unlink(path), 0);
    arena_fini(&arena);
}

static void expect_in_file(uint64_t offset_bytes, const uint8_t *expected, size_t bytes)
{
    array_kit_read(path, offset_bytes, found, bytes); /* through another descriptor */
    ck_assert_mem_eq(found, expected, bytes);
}

START_TEST(registered_and_unregistered_memory_carry_the_same_bytes)
{
    struct io_request requests[2 * PIECES];
    open_world(_i);
    for (uint32_t i = 0; i < 2 * PIECES; i++) {
        io_prepare(
            &requests[i], &file, IO_WRITE, i * PIECE_BYTES, memory + i * PIECE_BYTES, PIECE_BYTES);
        io_submit(queue, &requests[i]);
    }
    io_drain(queue);
    for (uint32_t i = 0; i < 2 * PIECES; i++) {
        ck_assert_int_eq(requests[i].result, 0);
    }
    expect_in_file(0, memory, 2 * RANGE_BYTES);
    ck_assert_uint_eq(registered().transfers, registers(_i) ? PIECES : 0);
    ck_assert_uint_eq(registered().bytes, registers(_i) ? RANGE_BYTES : 0);
    /* And back, from where the other half went. */
    for (uint32_t i = 0; i < 2 * PIECES; i++) {
        uint64_t from = (i + PIECES) % (2 * PIECES) * PIECE_BYTES;
        memset(memory + i * PIECE_BYTES, 0, PIECE_BYTES);
        ck_assert_int_eq(io_read(queue, &file, from, memory + i * PIECE_BYTES, PIECE_BYTES), 0);
    }
    ck_assert_mem_eq(memory, found + RANGE_BYTES, RANGE_BYTES);
    ck_assert_mem_eq(memory + RANGE_BYTES, found, RANGE_BYTES);
    ck_assert_uint_eq(registered().transfers, registers(_i) ? 2 * PIECES : 0);
    close_world();
}
END_TEST

START_TEST(what_begins_or_ends_inside_a_piece_carries_its_own_bytes)
{
    open_world(_i);
    uint8_t *middle = memory + PIECE_BYTES + BLOCK_BYTES;
    ck_assert_int_eq(io_write(queue, &file, 0, middle, TWO_BLOCKS), 0);
    expect_in_file(0, middle, TWO_BLOCKS);
    ck_assert_uint_eq(registered().transfers, registers(_i) ? 1 : 0);
    ck_assert_uint_eq(registered().bytes, registers(_i) ? PIECE_BYTES : 0);
    close_world();
}
END_TEST

START_TEST(what_leaves_its_piece_goes_unregistered)
{
    struct iovec pieces[2];
    struct io_request request;
    open_world(_i);
    uint8_t *across = memory + PIECE_BYTES - BLOCK_BYTES;
    ck_assert_int_eq(io_write(queue, &file, 0, across, TWO_BLOCKS), 0);
    expect_in_file(0, across, TWO_BLOCKS);
    uint8_t *beyond = memory + RANGE_BYTES - BLOCK_BYTES;
    ck_assert_int_eq(io_write(queue, &file, 0, beyond, TWO_BLOCKS), 0);
    expect_in_file(0, beyond, TWO_BLOCKS);
    pieces[0] = (struct iovec){.iov_base = memory, .iov_len = BLOCK_BYTES};
    pieces[1] = (struct iovec){.iov_base = memory + TWO_BLOCKS, .iov_len = BLOCK_BYTES};
    io_prepare(&request, &file, IO_WRITE, 0, NULL, 0);
    request.iovecs = pieces;
    request.iovec_count = 2;
    ck_assert_int_eq(io_run(queue, &request), 0);
    expect_in_file(0, memory, BLOCK_BYTES);
    expect_in_file(BLOCK_BYTES, memory + TWO_BLOCKS, BLOCK_BYTES);
    ck_assert_uint_eq(registered().transfers, 0);
    close_world();
}
END_TEST

START_TEST(a_short_transfer_of_registered_memory_goes_on_where_it_ended)
{
    struct rlimit limit = {.rlim_cur = FILE_BYTES + BLOCK_BYTES, .rlim_max = RLIM_INFINITY};
    open_world(_i);
    ck_assert_int_eq(io_read(queue, &file, FILE_BYTES - BLOCK_BYTES, memory, PIECE_BYTES), -EIO);
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(io_write(queue, &file, FILE_BYTES, memory, PIECE_BYTES), -EFBIG);
    expect_in_file(FILE_BYTES, memory, BLOCK_BYTES);
    /* Each took a second turn. */
    ck_assert_uint_eq(registered().transfers, registers(_i) ? 4 : 0);
    close_world();
}
END_TEST

static uint8_t *map_at(void *address)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (address != NULL ? MAP_FIXED_NOREPLACE : 0);
    void *mapping = mmap(address, RANGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);

    ck_assert_ptr_ne(mapping, MAP_FAILED);
    return mapping;
}

START_TEST(memory_that_is_announced_anew_at_an_address_is_not_taken_for_the_old)
{
    open_world(_i);
    uint8_t *mapping = map_at(NULL);
    for (int round = 0; round < 3; round++) {
        env_random_bytes(mapping, RANGE_BYTES);
        io_buffers_announce(mapping, PIECE_BYTES, PIECES);
        for (uint32_t i = 0; i < PIECES; i++) {
            size_t at = i * PIECE_BYTES;
            ck_assert_int_eq(io_write(queue, &file, at, mapping + at, PIECE_BYTES), 0);
        }
        expect_in_file(0, mapping, RANGE_BYTES);
        ck_assert_uint_eq(registered().bytes, registers(_i) ? RANGE_BYTES : 0);
        io_buffers_withdraw(mapping);
        ck_assert_int_eq(munmap(mapping, RANGE_BYTES), 0);
        ck_assert_ptr_eq(map_at(mapping), mapping);
    }
    /* Withdrawn: what is there now is as any other memory. */
    env_random_bytes(mapping, RANGE_BYTES);
    uint64_t before = registered().transfers;
    ck_assert_uint_eq(before, registers(_i) ? 3 * PIECES : 0);
    ck_assert_int_eq(io_write(queue, &file, 0, mapping, PIECE_BYTES), 0);
    expect_in_file(0, mapping, PIECE_BYTES);
    ck_assert_uint_eq(registered().transfers, before);
    ck_assert_int_eq(munmap(mapping, RANGE_BYTES), 0);
    close_world();
}
END_TEST

START_TEST(ranges_used_in_turn_are_not_taken_for_each_other)
{
    open_world(_i);
    uint8_t *second = memory + RANGE_BYTES;
    io_buffers_announce(second, PIECE_BYTES, PIECES);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < PIECES; i++) {
            size_t at = i * PIECE_BYTES;
            ck_assert_int_eq(io_write(queue, &file, at, memory + at, PIECE_BYTES), 0);
            ck_assert_int_eq(io_write(queue, &file, RANGE_BYTES + at, second + at, PIECE_BYTES), 0);
        }
        expect_in_file(0, memory, 2 * RANGE_BYTES);
        env_random_bytes(memory, 2 * RANGE_BYTES);
    }
    ck_assert_uint_eq(registered().transfers, registers(_i) ? 4 * PIECES : 0);
    ck_assert_uint_eq(registered().bytes, registers(_i) ? 2 * RANGE_BYTES : 0);
    io_buffers_withdraw(second);
    close_world();
}
END_TEST

START_TEST(more_pieces_than_there_are_slots_are_registered_several_together)
{
    enum { COUNT = 150 }; /* three to a slot */
    open_world(_i);
    uint8_t *many = arena_take(&arena, COUNT * (size_t)BLOCK_BYTES, BLOCK_BYTES);
    env_random_bytes(many, COUNT * (size_t)BLOCK_BYTES);
    io_buffers_announce(many, BLOCK_BYTES, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_int_eq(
            io_write(queue, &file, i * (uint64_t)BLOCK_BYTES, many + i * BLOCK_BYTES, BLOCK_BYTES),
            0);
    }
    array_kit_read(path, 0, memory, RANGE_BYTES);
    ck_assert_mem_eq(memory, many, RANGE_BYTES);
    ck_assert_uint_eq(registered().transfers, registers(_i) ? COUNT : 0);
    ck_assert_uint_eq(registered().bytes, registers(_i) ? COUNT * (size_t)BLOCK_BYTES : 0);
    io_buffers_withdraw(many);
    close_world();
}
END_TEST

START_TEST(ranges_beyond_the_table_are_used_unregistered)
{
    enum { COUNT = 12 };
    open_world(_i);
    uint8_t *blocks = arena_take(&arena, COUNT * (size_t)BLOCK_BYTES, BLOCK_BYTES);
    env_random_bytes(blocks, COUNT * (size_t)BLOCK_BYTES);
    for (uint32_t i = 0; i < COUNT; i++) {
        io_buffers_announce(blocks + i * BLOCK_BYTES, BLOCK_BYTES, 1);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t *block = blocks + i * BLOCK_BYTES;
        ck_assert_int_eq(io_write(queue, &file, i * (uint64_t)BLOCK_BYTES, block, BLOCK_BYTES), 0);
        expect_in_file(i * (uint64_t)BLOCK_BYTES, block, BLOCK_BYTES);
    }
    ck_assert_uint_lt(registered().transfers, COUNT);
    ck_assert(registered().transfers > 0 || !registers(_i));
    for (uint32_t i = 0; i < COUNT; i++) {
        io_buffers_withdraw(blocks + i * BLOCK_BYTES);
    }
    close_world();
}
END_TEST

/* ---- RLIMIT_MEMLOCK ---- */

static unsigned said;

static void count_said(void *context, enum msg_level level, const char *line)
{
    (void)context;
    if (strstr(line, "unregistered") != NULL) {
        ck_assert_int_eq(level, MSG_DEBUG);
        said++;
    }
}

/* As a user of his own, whom the limit binds and whose account nobody else uses. */
static void become_limited(size_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};

    msg_set_level(MSG_DEBUG);
    msg_set_observer(count_said, NULL);
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (getuid() == 0) {
        uid_t uid = (uid_t)(OWN_ACCOUNT + getpid());
        ck_assert_int_eq(setresuid(uid, uid, uid), 0);
    }
}

/* As close_world, for one who may not unlink any more: fixtures of the parent do. */
static void let_go(void)
{
    io_buffers_withdraw(memory);
    io_queue_close(queue);
    ck_assert_uint_eq(registered().bytes, 0);
    io_file_close(&file);
    arena_fini(&arena);
}

static void set_up_file(void)
{
    open_file(ONLY_DIRECT);
    io_file_close(&file);
}

static void tear_down_file(void)
{
    ck_assert_int_eq(unlink(path), 0);
}

/* Blocks. Rings take of it, too, on some kernels. */
static const size_t limits[] = {8, 16, 24, 64};

START_TEST(where_little_memory_may_be_locked_the_rest_goes_unregistered)
{
    struct io_open_options options = {.lock = true, .probe_direct = true};
    int holder = 0;
    uint64_t most = limits[_i] / 2 / PIECE_BLOCKS;
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    int other = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(other, 0);
    become_limited(limits[_i] * BLOCK_BYTES);
    open_memory(ONLY_DIRECT);
    for (uint32_t round = 0; round < 3; round++) {
        env_random_bytes(memory, RANGE_BYTES);
        for (uint32_t i = 0; i < PIECES; i++) {
            size_t at = i * PIECE_BYTES;
            ck_assert_int_eq(io_write(queue, &file, at, memory + at, PIECE_BYTES), 0);
        }
        ck_assert_int_eq(pread(other, found, RANGE_BYTES, 0), (ssize_t)RANGE_BYTES);
        ck_assert_mem_eq(found, memory, RANGE_BYTES);
        ck_assert_uint_le(registered().bytes, most * PIECE_BYTES);
        /* Each piece is tried once. */
        ck_assert_uint_eq(registered().bytes / PIECE_BYTES + registered().refused, PIECES);
    }
    /* A user who was not given an account of his own may have used it up. */
    if (getuid() >= OWN_ACCOUNT) {
        ck_assert(registered().bytes >= PIECE_BYTES || most < 2);
        ck_assert(registered().bytes == RANGE_BYTES || most < 2 * PIECES);
    }
    ck_assert_uint_eq(registered().transfers, 3 * (PIECES - registered().refused));
    ck_assert_uint_eq(said, registered().refused > 0 ? 1 : 0);
    ck_assert_int_eq(close(other), 0);
    let_go();
}
END_TEST

START_TEST(registered_memory_leaves_half_of_the_limit_to_rings)
{
    enum { LIMIT = 128, LATER = 8 }; /* blocks; rings of two or three */
    struct io_open_options options = {.lock = true, .probe_direct = true};
    struct rlimit limit;
    struct io_queue *later[LATER];
    int holder = 0;
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    become_limited(LIMIT * BLOCK_BYTES);
    open_memory(ONLY_DIRECT);
    uint8_t *many = arena_take(&arena, 2 * LIMIT * (size_t)BLOCK_BYTES, BLOCK_BYTES);
    io_buffers_announce(many, BLOCK_BYTES, 2 * LIMIT);
    for (uint32_t i = 0; i < 2 * LIMIT; i++) {
        ck_assert_int_eq(io_write(queue, &file, 0, many + i * BLOCK_BYTES, BLOCK_BYTES), 0);
    }
    ck_assert_uint_gt(registered().refused, 0);
    ck_assert_uint_le(registered().bytes, (LIMIT / 2) * (uint64_t)BLOCK_BYTES);
    ck_assert_int_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, LIMIT * BLOCK_BYTES);
    for (uint32_t i = 0; i < LATER; i++) {
        ck_assert_int_eq(io_queue_open(&later[i], &arena, DEPTH), 0);
    }
    for (uint32_t i = 0; i < LATER; i++) {
        io_queue_close(later[i]);
    }
    io_buffers_withdraw(many);
    let_go();
}
END_TEST

/* ---- threads ---- */

#define LANES       4u
#define LANE_ROUNDS 60u

struct lane {
    uint32_t index;
    atomic_int errors;
};

/* Writes its own piece through its own queue while others come and go. */
static void run_lane(void *context)
{
    struct lane *lane = context;
    struct arena own;
    struct io_queue *mine = NULL;
    uint64_t offset_bytes = lane->index * PIECE_BYTES;
    uint8_t *piece = memory + lane->index * PIECE_BYTES;
    int errors = 0;

    arena_init_growing(&own);
    errors += io_queue_open(&mine, &own, DEPTH) != 0;
    uint8_t *in = arena_take(&own, PIECE_BYTES, BLOCK_BYTES);
    for (uint32_t round = 0; round < LANE_ROUNDS; round++) {
        env_random_bytes(piece, PIECE_BYTES);
        errors += io_write(mine, &file, offset_bytes, piece, PIECE_BYTES) != 0;
        errors += io_read(mine, &file, offset_bytes, in, PIECE_BYTES) != 0;
        errors += memcmp(in, piece, PIECE_BYTES) != 0;
    }
    io_queue_close(mine);
    arena_fini(&own);
    atomic_store(&lane->errors, errors);
}

START_TEST(queues_of_several_threads_register_while_ranges_come_and_go)
{
    struct lane lanes[LANES];
    struct env_thread *threads[LANES];
    open_world(_i);
    uint8_t *other = arena_take(&arena, RANGE_BYTES, BLOCK_BYTES);
    for (uint32_t i = 0; i < LANES; i++) {
        lanes[i].index = i;
        atomic_init(&lanes[i].errors, -1);
        ck_assert_int_eq(env_thread_start(&threads[i], "lane", run_lane, &lanes[i]), 0);
    }
    for (uint32_t round = 0; round < LANE_ROUNDS; round++) {
        uint64_t at = RANGE_BYTES;
        io_buffers_announce(other, PIECE_BYTES, PIECES);
        env_random_bytes(other, PIECE_BYTES);
        ck_assert_int_eq(io_write(queue, &file, at, other, PIECE_BYTES), 0);
        expect_in_file(at, other, PIECE_BYTES);
        io_buffers_withdraw(other);
    }
    for (uint32_t i = 0; i < LANES; i++) {
        env_thread_join(threads[i]);
        ck_assert_int_eq(atomic_load(&lanes[i].errors), 0);
    }
    ck_assert_uint_eq(registered().transfers,
                      registers(_i) ? LANES * LANE_ROUNDS + LANE_ROUNDS : 0);
    close_world();
}
END_TEST

static Suite *member_buffers_suite(void)
{
    Suite *suite = suite_create("member_buffers");
    TCase *transfers = tcase_create("transfers");
    TCase *limited = tcase_create("limited");

    tcase_set_timeout(transfers, 120);
    tcase_add_loop_test(
        transfers, registered_and_unregistered_memory_carry_the_same_bytes, 0, WORLDS);
    tcase_add_loop_test(
        transfers, what_begins_or_ends_inside_a_piece_carries_its_own_bytes, 0, WORLDS);
    tcase_add_loop_test(transfers, what_leaves_its_piece_goes_unregistered, 0, WORLDS);
    tcase_add_loop_test(
        transfers, a_short_transfer_of_registered_memory_goes_on_where_it_ended, 0, WORLDS);
    tcase_add_loop_test(
        transfers, memory_that_is_announced_anew_at_an_address_is_not_taken_for_the_old, 0, WORLDS);
    tcase_add_loop_test(transfers, ranges_used_in_turn_are_not_taken_for_each_other, 0, WORLDS);
    tcase_add_loop_test(
        transfers, more_pieces_than_there_are_slots_are_registered_several_together, 0, WORLDS);
    tcase_add_loop_test(transfers, ranges_beyond_the_table_are_used_unregistered, 0, WORLDS);
    tcase_add_loop_test(
        transfers, queues_of_several_threads_register_while_ranges_come_and_go, 0, WORLDS);
    tcase_add_unchecked_fixture(limited, set_up_file, tear_down_file);
    tcase_set_timeout(limited, 60);
    tcase_add_loop_test(limited,
                        where_little_memory_may_be_locked_the_rest_goes_unregistered,
                        0,
                        (int)(sizeof(limits) / sizeof(limits[0])));
    tcase_add_test(limited, registered_memory_leaves_half_of_the_limit_to_rings);
    suite_add_tcase(suite, transfers);
    suite_add_tcase(suite, limited);
    return suite;
}

int main(void)
{
    return array_kit_run(member_buffers_suite());
}
