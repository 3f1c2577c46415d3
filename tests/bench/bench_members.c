/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a transfer costs from memory that is registered with io_uring, and from memory that is not:
 * processor time for each, of this process and the kernel on its behalf. One JSON object;
 * scripts/bench --members runs it, on a file that it makes in the directory named.
 *
 * Both go through the interface of the members' I/O, in turn, over the same place of the same file;
 * each figure is the median of many rounds, since others use the machine.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "r5fs/base/units.h"
#include "r5fs/raid/member_io.h"

#define DEPTH     64u
#define ROUNDS    41u
#define BYTES_MAX ((size_t)800 << 10)
#define SPAN      (8 * BYTES_MAX)
#define US_PER_S  1000000.0

static struct arena arena;
static struct io_queue *queue;
static struct io_file file;
static struct io_request requests[DEPTH];
static uint8_t *memory[2]; /* the second is registered */

static const struct measured {
    const char *name;
    enum io_op op;
    size_t bytes;
    uint32_t batch;
    uint32_t repeats;
} all[] = {
    {"write_4k", IO_WRITE, BLOCK_BYTES, 1, 200},
    {"write_4k_of_64", IO_WRITE, BLOCK_BYTES, 64, 30},
    {"write_64k_of_16", IO_WRITE, 16 * BLOCK_BYTES, 16, 10},
    {"write_800k_of_8", IO_WRITE, BYTES_MAX, 8, 5},
    {"read_4k_of_64", IO_READ, BLOCK_BYTES, 64, 30},
    {"read_64k_of_16", IO_READ, 16 * BLOCK_BYTES, 16, 10},
};

static double processor_us(void)
{
    struct rusage usage;

    R5_CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * US_PER_S +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* us for each transfer. */
static double measure_once(const struct measured *measured, uint8_t *from)
{
    double begin = processor_us();

    for (uint32_t i = 0; i < measured->repeats; i++) {
        for (uint32_t k = 0; k < measured->batch; k++) {
            size_t at = k * measured->bytes;
            io_prepare(&requests[k], &file, measured->op, at, from + at, measured->bytes);
            io_submit(queue, &requests[k]);
        }
        io_drain(queue);
        for (uint32_t k = 0; k < measured->batch; k++) {
            R5_CHECK(requests[k].result == 0);
        }
    }
    return (processor_us() - begin) / measured->repeats / measured->batch;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static void measure(const struct measured *measured, double *out_medians)
{
    static double rounds[2][ROUNDS];

    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t which = (round + k) % 2;
            rounds[which][round] = measure_once(measured, memory[which]);
        }
    }
    for (uint32_t which = 0; which < 2; which++) {
        qsort(rounds[which], ROUNDS, sizeof(double), compare);
        out_medians[which] = rounds[which][ROUNDS / 2];
    }
}

/* The name is gone at once, the file with the process. */
static void open_file(const char *dir)
{
    char path[4096];
    struct io_open_options options = {.lock = true, .probe_direct = true};
    int holder = 0;

    R5_CHECK(snprintf(path, sizeof(path), "%s/bench-members.XXXXXX", dir) < (int)sizeof(path));
    int fd = mkstemp(path);
    R5_CHECK(fd >= 0 && posix_fallocate(fd, 0, SPAN) == 0);
    options.held_fd = &fd;
    R5_CHECK(io_file_open(&file, path, &options, &holder) == 0);
    R5_CHECK(unlink(path) == 0);
    R5_CHECK(io_write(queue, &file, 0, memory[0], SPAN) == 0);
    R5_CHECK(io_flush(queue, &file) == 0);
}

int main(int argc, char **argv)
{
    struct io_registered registered;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: bench_members DIRECTORY\n");
        return 2;
    }
    R5_CHECK(io_backend_choose(IO_BACKEND_URING) == 0);
    R5_CHECK(arena_init(&arena, 3 * SPAN, true) == 0);
    R5_CHECK(io_queue_open(&queue, &arena, DEPTH) == 0);
    memory[0] = arena_take(&arena, SPAN, BLOCK_BYTES);
    memory[1] = arena_take(&arena, SPAN, BLOCK_BYTES);
    io_buffers_announce(memory[1], SPAN, 1);
    open_file(argv[1]);
    printf("{\"direct\": %s", file.direct ? "true" : "false");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        double medians[2];
        measure(&all[i], medians);
        printf(", \"%s_us\": %.2f, \"%s_us_registered\": %.2f",
               all[i].name,
               medians[0],
               all[i].name,
               medians[1]);
    }
    io_registered_get(&registered);
    printf(", \"registered_bytes\": %llu}\n", (unsigned long long)registered.bytes);
    io_buffers_withdraw(memory[1]);
    io_file_close(&file);
    io_queue_close(queue);
    arena_fini(&arena);
    return 0;
}
