/* SPDX-License-Identifier: GPL-2.0-or-later */
/* member_io.c and both backends over real files: direct, buffered, on memory; locks; errors. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "array_kit.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/member_io.h"

#define FILE_BYTES  (1u << 20)
#define FILE_BLOCKS (FILE_BYTES / BLOCK_BYTES)
#define DEPTH       8u
#define MANY        100u
#define MEMORY_DIR  "/dev/shm"

static struct arena arena;
static struct io_queue *queue;
static char path[256];
static struct io_file file;
static int holder;

/* Loop tests run once for each: backend, place, direct or not. */
static const struct world {
    enum io_backend backend;
    bool in_memory;
    bool probe_direct;
} worlds[] = {
    {IO_BACKEND_URING, false, true},
    {IO_BACKEND_URING, false, false},
    {IO_BACKEND_URING, true, true},
    {IO_BACKEND_THREADS, false, true},
    {IO_BACKEND_THREADS, false, false},
    {IO_BACKEND_THREADS, true, true},
};
#define WORLDS ((int)(sizeof(worlds) / sizeof(worlds[0])))

static uint8_t *block_take(size_t count)
{
    return arena_take(&arena, count * BLOCK_BYTES, BLOCK_BYTES);
}

static void make_file(const char *dir, uint64_t bytes)
{
    ck_assert_int_lt(snprintf(path, sizeof(path), "%s/r5fs-io.XXXXXX", dir), (int)sizeof(path));
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void open_file(bool probe_direct)
{
    struct io_open_options options = {.lock = true, .probe_direct = probe_direct};
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
}

/* Skips are not needed: both backends must work where the tests run. */
static void open_world(int index)
{
    arena_init_growing(&arena);
    ck_assert_int_eq(io_backend_choose(worlds[index].backend), 0);
    ck_assert_int_eq(io_queue_open(&queue, &arena, DEPTH), 0);
    make_file(worlds[index].in_memory ? MEMORY_DIR : R5_TEST_TMP, FILE_BYTES);
    open_file(worlds[index].probe_direct);
    ck_assert(worlds[index].probe_direct || !file.direct);
}

static void close_world(void)
{
    io_file_close(&file);
    io_queue_close(queue);
    ck_assert_int_eq(unlink(path), 0);
    arena_fini(&arena);
}

START_TEST(what_was_written_is_read_back)
{
    open_world(_i);
    uint8_t *out = block_take(FILE_BLOCKS);
    uint8_t *in = block_take(FILE_BLOCKS);
    env_random_bytes(out, FILE_BYTES);
    ck_assert_int_eq(io_write(queue, &file, 0, out, FILE_BYTES), 0);
    ck_assert_int_eq(io_flush(queue, &file), 0);
    ck_assert_int_eq(io_read(queue, &file, 0, in, FILE_BYTES), 0);
    ck_assert_mem_eq(in, out, FILE_BYTES);
    memset(in, 0, FILE_BYTES);
    array_kit_read(path, 0, in, FILE_BYTES); /* through another descriptor */
    ck_assert_mem_eq(in, out, FILE_BYTES);
    close_world();
}
END_TEST

START_TEST(pieces_go_to_and_come_from_their_own_buffers)
{
    struct io_request request;
    struct iovec pieces[IO_IOVECS_MAX];
    open_world(_i);
    uint8_t *out = block_take(IO_IOVECS_MAX * 2);
    uint8_t *in = block_take(IO_IOVECS_MAX);
    env_random_bytes(out, 2 * IO_IOVECS_MAX * BLOCK_BYTES);
    for (uint32_t i = 0; i < IO_IOVECS_MAX; i++) {
        pieces[i].iov_base = out + (size_t)2 * i * BLOCK_BYTES;
        pieces[i].iov_len = BLOCK_BYTES;
    }
    io_prepare(&request, &file, IO_WRITE, 8 * BLOCK_BYTES, NULL, 0);
    request.iovecs = pieces;
    request.iovec_count = IO_IOVECS_MAX;
    ck_assert_int_eq(io_run(queue, &request), 0);
    ck_assert_int_eq(
        io_read(queue, &file, 8 * BLOCK_BYTES, in, (size_t)IO_IOVECS_MAX * BLOCK_BYTES), 0);
    for (uint32_t i = 0; i < IO_IOVECS_MAX; i++) {
        ck_assert_mem_eq(in + i * BLOCK_BYTES, out + (size_t)2 * i * BLOCK_BYTES, BLOCK_BYTES);
    }
    for (uint32_t i = 0; i < IO_IOVECS_MAX; i++) {
        pieces[i].iov_base = out + (size_t)(2 * i + 1) * BLOCK_BYTES;
    }
    request.op = IO_READ;
    ck_assert_int_eq(io_run(queue, &request), 0);
    for (uint32_t i = 0; i < 2 * IO_IOVECS_MAX; i += 2) {
        ck_assert_mem_eq(out + i * BLOCK_BYTES, out + (i + 1) * BLOCK_BYTES, BLOCK_BYTES);
    }
    close_world();
}
END_TEST

static uint32_t done_count;
static bool inside_submit;
static bool done_inside_submit;

static void count_done(struct io_request *request)
{
    (void)request; /* its result is looked at later */
    done_count++;
    done_inside_submit = done_inside_submit || inside_submit;
}

START_TEST(more_requests_than_the_ring_holds_are_all_done_once_and_only_in_wait)
{
    open_world(_i);
    struct io_request *requests = arena_take_array(&arena, struct io_request, MANY);
    uint8_t *out = block_take(MANY);
    env_random_bytes(out, MANY * BLOCK_BYTES);
    for (uint32_t i = 0; i < MANY; i++) {
        io_prepare(
            &requests[i], &file, IO_WRITE, i * BLOCK_BYTES, out + i * BLOCK_BYTES, BLOCK_BYTES);
        requests[i].done = count_done;
        inside_submit = true;
        io_submit(queue, &requests[i]);
        inside_submit = false;
    }
    ck_assert_uint_eq(done_count, 0);
    ck_assert_uint_eq(queue->in_flight, MANY);
    ck_assert_uint_gt(io_wait(queue), 0);
    io_drain(queue);
    ck_assert_uint_eq(done_count, MANY);
    ck_assert(!done_inside_submit);
    ck_assert_uint_eq(io_wait(queue), 0);
    uint8_t *in = block_take(MANY);
    array_kit_read(path, 0, in, MANY * BLOCK_BYTES);
    ck_assert_mem_eq(in, out, MANY * BLOCK_BYTES);
    close_world();
}
END_TEST

static uint32_t chain_left;

static void submit_next(struct io_request *request)
{
    ck_assert_int_eq(request->result, 0);
    if (chain_left > 0) {
        chain_left--;
        request->offset_bytes += BLOCK_BYTES;
        io_submit(queue, request);
    }
}

START_TEST(done_may_submit_again)
{
    struct io_request request;
    open_world(_i);
    uint8_t *out = block_take(1);
    memset(out, 0x5a, BLOCK_BYTES);
    chain_left = 20;
    io_prepare(&request, &file, IO_WRITE, 0, out, BLOCK_BYTES);
    request.done = submit_next;
    io_submit(queue, &request);
    io_drain(queue);
    ck_assert_uint_eq(chain_left, 0);
    uint8_t *in = block_take(1);
    array_kit_read(path, 20 * BLOCK_BYTES, in, BLOCK_BYTES);
    ck_assert_mem_eq(in, out, BLOCK_BYTES);
    close_world();
}
END_TEST

START_TEST(a_read_across_the_end_of_the_file_is_an_error)
{
    open_world(_i);
    uint8_t *in = block_take(4);
    ck_assert_int_eq(io_read(queue, &file, FILE_BYTES, in, BLOCK_BYTES), -EIO);
    ck_assert_int_eq(io_read(queue, &file, FILE_BYTES - BLOCK_BYTES, in, 2 * BLOCK_BYTES), -EIO);
    ck_assert_int_eq(truncate(path, 3 * BLOCK_BYTES + 700), 0);
    ck_assert_int_eq(io_read(queue, &file, 0, in, 4 * BLOCK_BYTES), -EIO);
    ck_assert_int_eq(io_read(queue, &file, 0, in, 3 * BLOCK_BYTES), 0);
    close_world();
}
END_TEST

START_TEST(a_write_beyond_the_file_size_limit_is_an_error)
{
    open_world(_i);
    uint8_t *out = block_take(4);
    struct rlimit limit = {.rlim_cur = FILE_BYTES + BLOCK_BYTES, .rlim_max = RLIM_INFINITY};
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    /* The first block fits: the transfer is short, going on fails. */
    ck_assert_int_eq(io_write(queue, &file, FILE_BYTES, out, 4 * BLOCK_BYTES), -EFBIG);
    close_world();
}
END_TEST

START_TEST(errors_do_not_disturb_the_requests_beside_them)
{
    struct io_request requests[6];
    open_world(_i);
    uint8_t *out = block_take(6);
    for (uint32_t i = 0; i < 6; i++) {
        bool bad = i % 2 == 1;
        io_prepare(&requests[i],
                   &file,
                   bad ? IO_READ : IO_WRITE,
                   bad ? FILE_BYTES : i * BLOCK_BYTES,
                   out + i * BLOCK_BYTES,
                   BLOCK_BYTES);
        io_submit(queue, &requests[i]);
    }
    io_drain(queue);
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_int_eq(requests[i].result, i % 2 == 1 ? -EIO : 0);
    }
    close_world();
}
END_TEST

START_TEST(buffered_writes_leave_few_pages_behind)
{
    unsigned char resident[FILE_BLOCKS];
    uint32_t left = 0;
    open_world(_i);
    uint8_t *out = block_take(FILE_BLOCKS);
    env_random_bytes(out, FILE_BYTES);
    ck_assert_int_eq(io_write(queue, &file, 0, out, FILE_BYTES), 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    void *map = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    ck_assert_int_eq(mincore(map, FILE_BYTES, resident), 0);
    for (uint32_t i = 0; i < FILE_BLOCKS; i++) {
        left += resident[i] & 1;
    }
    if (!worlds[_i].in_memory) {
        ck_assert_uint_le(left, FILE_BLOCKS / 4);
    }
    ck_assert_int_eq(munmap(map, FILE_BYTES), 0);
    ck_assert_int_eq(close(fd), 0);
    close_world();
}
END_TEST

struct lane {
    struct io_file *file;
    uint32_t index;
    atomic_int errors;
};

#define LANES       4u
#define LANE_BLOCKS 32u
#define LANE_ROUNDS 40u

/* A thread with its own queue on its own part of the shared file. */
static void run_lane(void *context)
{
    struct lane *lane = context;
    struct arena own;
    struct io_queue *mine = NULL;
    uint64_t offset_bytes = (uint64_t)lane->index * LANE_BLOCKS * BLOCK_BYTES;
    size_t bytes = (size_t)LANE_BLOCKS * BLOCK_BYTES;
    int errors = 0;

    arena_init_growing(&own);
    errors += io_queue_open(&mine, &own, DEPTH) != 0;
    uint8_t *out = arena_take(&own, bytes, BLOCK_BYTES);
    uint8_t *in = arena_take(&own, bytes, BLOCK_BYTES);
    struct io_request *requests = arena_take_array(&own, struct io_request, LANE_BLOCKS);
    for (uint32_t round = 0; round < LANE_ROUNDS; round++) {
        env_random_bytes(out, bytes);
        for (uint32_t i = 0; i < LANE_BLOCKS; i++) {
            io_prepare(&requests[i],
                       lane->file,
                       IO_WRITE,
                       offset_bytes + i * BLOCK_BYTES,
                       out + i * BLOCK_BYTES,
                       BLOCK_BYTES);
            io_submit(mine, &requests[i]);
        }
        io_drain(mine);
        errors += io_flush(mine, lane->file) != 0;
        errors += io_read(mine, lane->file, offset_bytes, in, bytes) != 0;
        errors += memcmp(in, out, bytes) != 0;
    }
    io_queue_close(mine);
    arena_fini(&own);
    atomic_store(&lane->errors, errors);
}

START_TEST(queues_of_several_threads_share_a_file)
{
    struct lane lanes[LANES];
    struct env_thread *threads[LANES];
    open_world(_i);
    for (uint32_t i = 0; i < LANES; i++) {
        lanes[i].file = &file;
        lanes[i].index = i;
        atomic_init(&lanes[i].errors, -1);
        ck_assert_int_eq(env_thread_start(&threads[i], "lane", run_lane, &lanes[i]), 0);
    }
    for (uint32_t i = 0; i < LANES; i++) {
        env_thread_join(threads[i]);
        ck_assert_int_eq(atomic_load(&lanes[i].errors), 0);
    }
    close_world();
}
END_TEST

/* A queue is opened by one thread and used by another, which then is its owner. */
static void use_queue(void *context)
{
    atomic_int *result = context;
    atomic_store(result, io_flush(queue, &file));
}

START_TEST(the_thread_that_waits_first_owns_the_queue)
{
    struct env_thread *thread = NULL;
    atomic_int result = -1;
    open_world(_i);
    ck_assert_int_eq(env_thread_start(&thread, "owner", use_queue, &result), 0);
    env_thread_join(thread);
    ck_assert_int_eq(atomic_load(&result), 0);
    close_world();
}
END_TEST

START_TEST(the_lock_is_free_as_soon_as_the_file_is_closed)
{
    open_world(_i);
    uint8_t *out = block_take(64);
    for (uint32_t round = 0; round < 100; round++) {
        ck_assert_int_eq(io_write(queue, &file, 0, out, 64 * BLOCK_BYTES), 0);
        ck_assert_int_eq(io_flush(queue, &file), 0);
        io_file_close(&file);
        open_file(worlds[_i].probe_direct);
    }
    close_world();
}
END_TEST

/* ---- files ---- */

static void set_up_file(void)
{
    make_file(R5_TEST_TMP, FILE_BYTES);
}

static void tear_down_file(void)
{
    (void)unlink(path); /* a test may have removed it */
}

/* A child that holds the lock until its pipe is closed; 0 = for `ms`. */
static pid_t hold_in_child(uint64_t ms)
{
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct io_open_options options = {.lock = true};
        int failed = io_file_open(&file, path, &options, &holder);
        ssize_t told = write(ready[1], "x", failed == 0 ? 1 : 0);
        env_sleep_ns(ms * 1000000);
        _exit(told == 1 ? 0 : 1);
    }
    ck_assert_int_eq(close(ready[1]), 0);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(close(ready[0]), 0);
    return child;
}

START_TEST(a_file_held_by_another_process_is_busy_and_names_it)
{
    struct io_open_options options = {.lock = true, .lock_wait_ms = 50};
    pid_t child = hold_in_child(60000);
    uint64_t before_ns = env_now_ns();
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), -EBUSY);
    ck_assert_uint_ge(env_now_ns() - before_ns, 50 * 1000000u);
    ck_assert_int_eq(holder, child);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert_int_eq(holder, 0);
    io_file_close(&file);
}
END_TEST

START_TEST(a_second_opener_gets_the_file_when_the_first_lets_go_in_time)
{
    struct io_open_options options = {.lock = true, .lock_wait_ms = 20000};
    pid_t child = hold_in_child(200);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    io_file_close(&file);
}
END_TEST

START_TEST(closing_releases_the_lock)
{
    struct io_open_options options = {.lock = true};
    struct io_file second;
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert_int_eq(io_file_open(&second, path, &options, &holder), -EBUSY);
    ck_assert_int_eq(holder, getpid());
    io_file_close(&file);
    ck_assert_int_eq(io_file_open(&second, path, &options, &holder), 0);
    io_file_close(&second);
}
END_TEST

START_TEST(the_probe_changes_nothing)
{
    static uint8_t before[FILE_BYTES];
    static uint8_t after[FILE_BYTES];
    struct io_open_options options = {.lock = true, .probe_direct = true};
    env_random_bytes(before, sizeof(before));
    array_kit_write(path, 0, before, sizeof(before));
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert(file.direct);
    ck_assert_uint_eq(file.size_bytes, FILE_BYTES);
    io_file_close(&file);
    array_kit_read(path, 0, after, sizeof(after));
    ck_assert_mem_eq(after, before, sizeof(before));
}
END_TEST

START_TEST(a_read_only_file_is_never_written)
{
    struct io_open_options options = {.read_only = true, .lock = true, .probe_direct = true};
    struct stat before;
    struct stat after;
    ck_assert_int_eq(stat(path, &before), 0);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert(file.read_only);
    ck_assert_int_eq(pwrite(file.fd, "x", 1, 0), -1);
    io_file_close(&file);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    ck_assert_int_eq(after.st_blocks, before.st_blocks);
}
END_TEST

START_TEST(what_is_no_backing_file_is_refused_by_kind)
{
    struct io_open_options options = {.lock = true};
    ck_assert_int_eq(io_file_open(&file, "/nonexistent/x", &options, &holder), -ENOENT);
    ck_assert_int_eq(io_file_open(&file, R5_TEST_TMP, &options, &holder), -ENOTBLK);
    ck_assert_int_eq(io_file_open(&file, "/dev/null", &options, &holder), -ENOTBLK);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), -ENOTBLK);
}
END_TEST

START_TEST(a_file_smaller_than_a_block_is_opened_buffered)
{
    struct io_open_options options = {.lock = true, .probe_direct = true};
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert(!file.direct);
    ck_assert_uint_eq(file.size_bytes, 100);
    io_file_close(&file);
}
END_TEST

START_TEST(the_chosen_backend_has_its_name)
{
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_THREADS), 0);
    ck_assert_str_eq(io_backend_name(), "threads");
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_URING), 0);
    ck_assert_str_eq(io_backend_name(), "io_uring");
}
END_TEST

/* From here on this process is refused io_uring, as in a container. */
static void forbid_io_uring(uint32_t error)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static const struct {
    int error;
    const char *words;
} refusals[] = {
    {EPERM, "seccomp"},
    {ENOSYS, "does not know it"},
    {ENOMEM, "RLIMIT_MEMLOCK"},
};

START_TEST(where_io_uring_is_refused_threads_take_over_and_the_message_says_why)
{
    char said[1024] = "";
    int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
    forbid_io_uring((uint32_t)refusals[_i].error);
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_URING), -refusals[_i].error);
    off_t before = lseek(fd, 0, SEEK_CUR);
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_AUTO), 0);
    ck_assert_str_eq(io_backend_name(), "threads");
    ck_assert_int_gt(pread(fd, said, sizeof(said) - 1, before), 0);
    ck_assert_msg(strstr(said, "using threads") != NULL, "%s", said);
    ck_assert_msg(strstr(said, refusals[_i].words) != NULL, "%s", said);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

/* The probe's ring fits into RLIMIT_MEMLOCK, those of the queues do not. */
START_TEST(where_only_larger_rings_are_refused_threads_take_over_too)
{
    struct arena own;
    struct io_queue *lane = NULL;
    uint8_t *block = NULL;

    arena_init_growing(&own);
    block = arena_take(&own, BLOCK_BYTES, BLOCK_BYTES);
    struct io_open_options options = {.lock = true, .probe_direct = true};
    ck_assert_int_eq(truncate(path, 2 * BLOCK_BYTES), 0);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_AUTO), 0);
    ck_assert_str_eq(io_backend_name(), "io_uring");
    forbid_io_uring(ENOMEM);
    ck_assert_int_eq(io_queue_open(&lane, &own, 8), 0);
    ck_assert_str_eq(io_backend_name(), "threads");
    memset(block, 7, BLOCK_BYTES);
    ck_assert_int_eq(io_write(lane, &file, BLOCK_BYTES, block, BLOCK_BYTES), 0);
    io_queue_close(lane);
    io_file_close(&file);
    arena_fini(&own);
}
END_TEST

START_TEST(who_demands_io_uring_is_told_that_its_rings_are_refused)
{
    struct arena own;
    struct io_queue *lane = NULL;

    arena_init_growing(&own);
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_URING), 0);
    forbid_io_uring(ENOMEM);
    ck_assert_int_eq(io_queue_open(&lane, &own, 8), -ENOMEM);
    arena_fini(&own);
}
END_TEST

static Suite *member_io_suite(void)
{
    Suite *suite = suite_create("member_io");
    TCase *transfers = tcase_create("transfers");
    TCase *files = tcase_create("files");

    tcase_set_timeout(transfers, 120);
    tcase_add_loop_test(transfers, what_was_written_is_read_back, 0, WORLDS);
    tcase_add_loop_test(transfers, pieces_go_to_and_come_from_their_own_buffers, 0, WORLDS);
    tcase_add_loop_test(
        transfers, more_requests_than_the_ring_holds_are_all_done_once_and_only_in_wait, 0, WORLDS);
    tcase_add_loop_test(transfers, done_may_submit_again, 0, WORLDS);
    tcase_add_loop_test(transfers, a_read_across_the_end_of_the_file_is_an_error, 0, WORLDS);
    tcase_add_loop_test(transfers, a_write_beyond_the_file_size_limit_is_an_error, 0, WORLDS);
    tcase_add_loop_test(transfers, errors_do_not_disturb_the_requests_beside_them, 0, WORLDS);
    tcase_add_loop_test(transfers, buffered_writes_leave_few_pages_behind, 0, WORLDS);
    tcase_add_loop_test(transfers, queues_of_several_threads_share_a_file, 0, WORLDS);
    tcase_add_loop_test(transfers, the_thread_that_waits_first_owns_the_queue, 0, WORLDS);
    tcase_add_loop_test(transfers, the_lock_is_free_as_soon_as_the_file_is_closed, 0, WORLDS);
    tcase_add_checked_fixture(files, set_up_file, tear_down_file);
    tcase_set_timeout(files, 60);
    tcase_add_test(files, a_file_held_by_another_process_is_busy_and_names_it);
    tcase_add_test(files, a_second_opener_gets_the_file_when_the_first_lets_go_in_time);
    tcase_add_test(files, closing_releases_the_lock);
    tcase_add_test(files, the_probe_changes_nothing);
    tcase_add_test(files, a_read_only_file_is_never_written);
    tcase_add_test(files, what_is_no_backing_file_is_refused_by_kind);
    tcase_add_test(files, a_file_smaller_than_a_block_is_opened_buffered);
    tcase_add_test(files, the_chosen_backend_has_its_name);
    tcase_add_loop_test(
        files, where_io_uring_is_refused_threads_take_over_and_the_message_says_why, 0, 3);
    tcase_add_test(files, where_only_larger_rings_are_refused_threads_take_over_too);
    tcase_add_test(files, who_demands_io_uring_is_told_that_its_rings_are_refused);
    suite_add_tcase(suite, transfers);
    suite_add_tcase(suite, files);
    return suite;
}

int main(void)
{
    return array_kit_run(member_io_suite());
}
