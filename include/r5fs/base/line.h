/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said to a user in one line, whatever the names and values in it are. */
#ifndef R5FS_BASE_LINE_H
#define R5FS_BASE_LINE_H

#include <stdarg.h>
#include <stddef.h>

#include "r5fs/base/check.h"

/* The least `size`. */
#define LINE_BYTES_MIN 64u

/* As vsnprintf, into one line: control characters become \x0a and the like, and what is too long
 * loses its middle, where values stand, not its end, which says why and what to do. */
R5_PRINTF(3, 0) void line_format_list(char *out, size_t size, const char *format, va_list args);
R5_PRINTF(3, 4) void line_format(char *out, size_t size, const char *format, ...);

#endif
