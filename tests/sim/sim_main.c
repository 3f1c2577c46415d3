/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs seeds, one process each, and prints for a failed one the line that replays it.
 *
 *   prepare (once per scenario) -> fork -> the seed -> what it printed, if it failed
 *
 * Invariants: a seed's process begins with the same memory whatever ran before it, so the same
 * seed gives the same run alone and in a row.
 * Failure modes: the exit code is 1 when a seed failed, 2 for a wrong command line.
 * Thread: the one there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "r5fs/base/msg.h"
#include "sim_internal.h"

#define PREPARE_SEED    0u
#define OUTPUT_BYTES    65536
#define HEAP_KEEP_BYTES (1 << 28)
#define MMAP_FROM_BYTES (1 << 20) /* chunks of growing arenas come zeroed from the system */
#define NS_PER_SECOND   1000000000.0

struct sim_figures *sim_figures;

static struct {
    const char *program;
    const char *scenario; /* NULL: all */
    uint64_t first;
    uint64_t last;
    uint64_t random_count; /* besides, from a start nobody chose */
    double seconds_max;    /* 0: no limit */
    uint64_t keep_going;   /* failures to go on after */
    bool verbose;
    bool twice;
    bool here; /* in this process, for a debugger */
} options;

struct total {
    uint64_t seeds;
    uint64_t failed;
    uint64_t steps;
    uint64_t transfers;
    uint64_t lives;
};

bool sim_is_verbose(void)
{
    return options.verbose;
}

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / NS_PER_SECOND;
}

/* ---- one seed ------------------------------------------------------------------------------- */

static void run_here(const struct sim_scenario *scenario, uint64_t seed)
{
    sim_report_install();
    msg_set_level(options.verbose ? MSG_DEBUG : MSG_WARN);
    sim_begin(seed);
    scenario->run(seed);
}

static void show_output(int fd)
{
    static char text[OUTPUT_BYTES];
    ssize_t got = 0;
    off_t at = 0;

    while ((got = pread(fd, text, sizeof(text), at)) > 0) {
        (void)fwrite(text, 1, (size_t)got, stdout);
        at += got;
    }
}

/* True when it held. */
static bool run_seed(const struct sim_scenario *scenario, uint64_t seed)
{
    int status = 0;
    int fd = memfd_create("output", MFD_CLOEXEC);

    R5_CHECK(fd >= 0);
    *sim_figures = (struct sim_figures){0};
    (void)fflush(stdout);
    pid_t child = fork();
    R5_CHECK(child >= 0);
    if (child == 0) {
        R5_CHECK(dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0);
        run_here(scenario, seed);
        (void)fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    while (waitpid(child, &status, 0) < 0) {
        R5_CHECK(errno == EINTR);
    }
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    if (!good || options.verbose) {
        show_output(fd);
    }
    if (!good) {
        (void)printf("%s: seed %llu FAILED; replay: %s --scenario %s --seed %llu\n",
                     scenario->name,
                     (unsigned long long)seed,
                     options.program,
                     scenario->name,
                     (unsigned long long)seed);
    }
    (void)close(fd); /* of memory */
    return good;
}

/* The same choices, step by step. */
static bool run_again(const struct sim_scenario *scenario, uint64_t seed)
{
    uint64_t hash = sim_figures->hash;
    bool good = run_seed(scenario, seed) && sim_figures->hash == hash;

    if (!good) {
        (void)printf(
            "%s: seed %llu is not the same run twice\n", scenario->name, (unsigned long long)seed);
    }
    return good;
}

/* ---- many ----------------------------------------------------------------------------------- */

static void
run_range(const struct sim_scenario *scenario, uint64_t first, uint64_t last, struct total *total)
{
    double began = seconds_now();

    for (uint64_t seed = first; seed <= last && total->failed <= options.keep_going; seed++) {
        bool good = run_seed(scenario, seed);
        total->steps += sim_figures->steps;
        total->transfers += sim_figures->transfers;
        total->lives += sim_figures->lives;
        if (good && options.twice) {
            good = run_again(scenario, seed);
        }
        total->seeds++;
        total->failed += good ? 0 : 1;
        if (options.seconds_max > 0 && seconds_now() - began > options.seconds_max) {
            break;
        }
    }
}

static uint64_t run_scenario(const struct sim_scenario *scenario)
{
    struct total total = {0};
    double began = seconds_now();

    sim_begin(PREPARE_SEED);
    scenario->prepare();
    if (options.here) {
        run_here(scenario, options.first);
        return 0;
    }
    run_range(scenario, options.first, options.last, &total);
    if (options.random_count > 0) {
        uint64_t first = (uint64_t)time(NULL) * UINT64_C(1000000);
        (void)printf("%s: and %llu seeds from %llu\n",
                     scenario->name,
                     (unsigned long long)options.random_count,
                     (unsigned long long)first);
        run_range(scenario, first, first + options.random_count - 1, &total);
    }
    double seconds = seconds_now() - began;
    (void)printf("%s: %llu seeds, %llu failed, %llu steps, %llu transfers, %llu lives, %.1f s, "
                 "%.0f seeds/s\n",
                 scenario->name,
                 (unsigned long long)total.seeds,
                 (unsigned long long)total.failed,
                 (unsigned long long)total.steps,
                 (unsigned long long)total.transfers,
                 (unsigned long long)total.lives,
                 seconds,
                 (double)total.seeds / seconds);
    return total.failed;
}

/* Each in a process of its own, as the disks belong to one scenario. */
static bool run_scenario_apart(const struct sim_scenario *scenario)
{
    int status = 0;

    if (options.here) {
        return run_scenario(scenario) == 0;
    }
    (void)fflush(stdout);
    pid_t child = fork();
    R5_CHECK(child >= 0);
    if (child == 0) {
        bool failed = run_scenario(scenario) > 0;
        (void)fflush(stdout);
        _exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    while (waitpid(child, &status, 0) < 0) {
        R5_CHECK(errno == EINTR);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

/* ---- command line --------------------------------------------------------------------------- */

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: %s [--scenario NAME] [--seed N | --seeds FROM..TO] [--random COUNT]\n"
                  "           [--seconds MAX] [--keep-going FAILURES] [--twice] [--here] [-v]\n"
                  "  --random   so many seeds besides, from a start that is printed\n"
                  "  --seconds  no new seed of a scenario after that\n"
                  "  --twice    each seed twice: both runs must be the same\n"
                  "  --here     no process of its own for the seed (for a debugger)\n"
                  "scenarios:\n",
                  options.program);
    for (unsigned i = 0; i < sim_scenario_count; i++) {
        (void)fprintf(stderr, "  %-18s %s\n", sim_scenarios[i].name, sim_scenarios[i].what);
    }
    return 2;
}

static bool parse_range(const char *text)
{
    char *end = NULL;

    options.first = strtoull(text, &end, 0);
    options.last = options.first;
    if (strncmp(end, "..", 2) == 0) {
        options.last = strtoull(end + 2, &end, 0);
    }
    return *end == '\0' && end != text && options.last >= options.first;
}

static bool parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"scenario", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 's'},
        {"random", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 'm'},
        {"keep-going", required_argument, NULL, 'k'},
        {"twice", no_argument, NULL, 't'},
        {"here", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;
    int option = 0;

    while (good && (option = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
        switch (option) {
        case 'c': options.scenario = optarg; break;
        case 's': good = parse_range(optarg); break;
        case 'r': options.random_count = strtoull(optarg, NULL, 0); break;
        case 'm': options.seconds_max = strtod(optarg, NULL); break;
        case 'k': options.keep_going = strtoull(optarg, NULL, 0); break;
        case 't': options.twice = true; break;
        case 'h': options.here = true; break;
        case 'v': options.verbose = true; break;
        default: good = false;
        }
    }
    return good && optind == argc;
}

int main(int argc, char **argv)
{
    unsigned ran = 0;
    bool good = true;

    /* Copies of large writes come and go: not by a system call each. */
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_KEEP_BYTES);
    options.program = argv[0];
    options.last = 99;
    if (!parse(argc, argv)) {
        return usage();
    }
    sim_figures =
        mmap(NULL, sizeof(*sim_figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    R5_CHECK(sim_figures != MAP_FAILED);
    for (unsigned i = 0; i < sim_scenario_count; i++) {
        if (options.scenario == NULL || strcmp(options.scenario, sim_scenarios[i].name) == 0) {
            good = run_scenario_apart(&sim_scenarios[i]) && good;
            ran++;
        }
    }
    return ran == 0 ? usage() : good ? EXIT_SUCCESS : EXIT_FAILURE;
}
