/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 16-byte identifiers. Text form: 8-4-4-4-12 hex; parse also takes md's 8:8:8:8. */
#ifndef R5FS_BASE_UUID_H
#define R5FS_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/check.h"

#define UUID_TEXT_BYTES 37 /* with the ending NUL */

struct uuid {
    uint8_t bytes[16];
};

struct uuid uuid_make_random(void);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
/* -EINVAL leaves *out_uuid alone. */
R5_MUST_CHECK int uuid_parse(const char *text, struct uuid *out_uuid);
void uuid_print(const struct uuid *uuid, char out_text[UUID_TEXT_BYTES]);
/* md's form 8:8:8:8, as mdadm prints it; fits UUID_TEXT_BYTES. */
void uuid_print_md(const struct uuid *uuid, char out_text[UUID_TEXT_BYTES]);

#endif
