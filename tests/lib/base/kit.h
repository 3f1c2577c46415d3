/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of floor 0 share: running a suite, a printed seed, captured stderr. */
#ifndef R5FS_TESTS_KIT_H
#define R5FS_TESTS_KIT_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>

/* The number of failed tests, as an exit status. */
int kit_run(Suite *suite);

/* Seeds from R5_SEED or anew, and prints the line that replays the test. */
void kit_seed(const char *test);
uint64_t kit_random(void);
/* In [0, limit). */
uint32_t kit_below(uint32_t limit);

/* From here on stderr goes to memory; kit_captured returns all of it so far. */
void kit_capture_stderr(void);
const char *kit_captured(void);
size_t kit_count(const char *text, const char *part);

#endif
