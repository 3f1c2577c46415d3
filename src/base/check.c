/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of the process after one of our own mistakes.
 *
 * Happy path: never entered.
 * Failure: one line that says where, the ring of the last messages, abort(). A failure within the
 * reporting ends at once, so that the report cannot recurse; one on another thread lets the first
 * finish its report, but not for ever.
 * Thread: any.
 */
#include "r5fs/base/check.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"

#define REPORT_NS_MAX UINT64_C(5000000000)

static atomic_flag check_reporting = ATOMIC_FLAG_INIT;
static _Thread_local bool check_reporter;

noreturn void check_failed(const char *file, int line, const char *condition)
{
    if (check_reporter) {
        abort();
    }
    check_reporter = true;
    if (!atomic_flag_test_and_set(&check_reporting)) {
        /* Base names are unique in the tree; the build's directory only makes the line longer. */
        const char *slash = strrchr(file, '/');
        const char *name = slash != NULL ? slash + 1 : file;

        msg_err("check", "failed at=%s:%d condition=%s", name, line, condition);
        msg_dump_ring();
    } else {
        env_sleep_ns(REPORT_NS_MAX);
    }
    abort();
}
