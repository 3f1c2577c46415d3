/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An I/O backend for tests: requests are carried out one after another inside io_wait(), in the
 * order of submission, and a hook sees each of them first. It can let it pass, make it fail, or
 * swallow it.
 */
#ifndef R5FS_TESTS_HOOK_IO_H
#define R5FS_TESTS_HOOK_IO_H

#include <stdbool.h>

#include "r5fs/raid/member_io.h"

/* True: the request is over, with *out_result; false: carry it out. */
typedef bool (*hook_io_fn)(void *context, const struct io_request *request, int *out_result);

/* Makes all queues opened from now on ours. */
void hook_io_use(void);
/* NULL takes the hook away. */
void hook_io_set(hook_io_fn hook, void *context);

#endif
