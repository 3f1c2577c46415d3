/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of the process after one of our own mistakes.
 *
 * Happy path: never entered.
 * Failure: one line that says where, the ring of the last messages, abort(). A second failure while
 * the first is being reported (in the reporting itself, or on another thread) ends at once, so that
 * the report cannot recurse.
 * Thread: any.
 */
#include "r5fs/base/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "r5fs/base/msg.h"

static atomic_flag check_reporting = ATOMIC_FLAG_INIT;

noreturn void check_failed(const char *file, int line, const char *condition)
{
    if (!atomic_flag_test_and_set(&check_reporting)) {
        /* Base names are unique in the tree; the build's directory only makes the line longer. */
        const char *slash = strrchr(file, '/');
        const char *name = slash != NULL ? slash + 1 : file;

        msg_err("check", "failed at=%s:%d condition=%s", name, line, condition);
        msg_dump_ring();
    }
    abort();
}
