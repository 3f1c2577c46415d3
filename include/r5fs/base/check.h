/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Assertions that stay on in every build. R5_CHECK is for our own mistakes only; what comes from a
 * disk, a user or the kernel is input and is answered with an error.
 */
#ifndef R5FS_BASE_CHECK_H
#define R5FS_BASE_CHECK_H

#include <stdnoreturn.h>

#define R5_MUST_CHECK        __attribute__((warn_unused_result))
#define R5_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Says where, dumps the message ring, aborts. */
noreturn void check_failed(const char *file, int line, const char *condition);

/* An expression, so that a check deep inside does not count as two more levels of nesting. */
#define R5_CHECK(condition) \
    (__builtin_expect(!(condition), 0) ? check_failed(__FILE__, __LINE__, #condition) : (void)0)

#endif
