/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kit.h. Plain libc: the tests of floor 0 must not lean on what they test. */
#include "kit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define CAPTURE_BYTES (1u << 20)

static uint64_t random_state;
static int capture_fd = -1;
static char capture_text[CAPTURE_BYTES];

int kit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

void kit_seed(const char *test)
{
    const char *given = getenv("R5_SEED");

    if (given != NULL) {
        random_state = strtoull(given, NULL, 0);
    } else {
        ck_assert_int_eq(getrandom(&random_state, sizeof(random_state), 0), 8);
    }
    printf(
        "%s: seed=%" PRIu64 " (replay: R5_SEED=%" PRIu64 ")\n", test, random_state, random_state);
    ck_assert_int_eq(fflush(stdout), 0);
}

uint64_t kit_random(void)
{
    /* A counter through a mixer: every seed is good. */
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random_state;
    mixed = (mixed ^ (mixed >> 31)) * UINT64_C(0xd6e8feb86659fd93);
    mixed = (mixed ^ (mixed >> 31)) * UINT64_C(0xd6e8feb86659fd93);
    return mixed ^ (mixed >> 32);
}

uint32_t kit_below(uint32_t limit)
{
    return (uint32_t)(kit_random() % limit);
}

void kit_capture_stderr(void)
{
    capture_fd = memfd_create("stderr", MFD_CLOEXEC);
    ck_assert_int_ge(capture_fd, 0);
    /* Without it, two threads that write at once may write to the same place. */
    ck_assert_int_eq(fcntl(capture_fd, F_SETFL, O_APPEND), 0);
    ck_assert_int_eq(dup2(capture_fd, STDERR_FILENO), STDERR_FILENO);
}

const char *kit_captured(void)
{
    ssize_t bytes = pread(capture_fd, capture_text, sizeof(capture_text) - 1, 0);

    ck_assert_int_ge(bytes, 0);
    capture_text[bytes] = '\0';
    return capture_text;
}

size_t kit_count(const char *text, const char *part)
{
    size_t count = 0;

    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}
