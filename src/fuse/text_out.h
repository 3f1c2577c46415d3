/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text into memory of fixed size: what does not fit is left out whole and remembered. */
#ifndef R5FS_FUSE_TEXT_OUT_H
#define R5FS_FUSE_TEXT_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

struct text_out {
    char *text; /* NUL-terminated after each call */
    size_t size;
    size_t used;
    bool cut;
};

void text_out_init(struct text_out *out, char *text, size_t size);
void text_out_put(struct text_out *out, const char *format, ...) R5_PRINTF(2, 3);
/* A JSON string, quotes included. NULL and "" as they are: null, "". */
void text_out_json(struct text_out *out, const char *string);
/* 29.9 GiB, into `text` of TEXT_SIZE_BYTES; returns it. */
#define TEXT_SIZE_BYTES 24
const char *text_size(uint64_t bytes, char text[TEXT_SIZE_BYTES]);

#endif
