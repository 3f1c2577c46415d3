/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text into memory of fixed size. Pure functions; any thread. */
#include "text_out.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void text_out_init(struct text_out *out, char *text, size_t size)
{
    R5_CHECK(size > 0);
    *out = (struct text_out){.text = text, .size = size};
    text[0] = '\0';
}

void text_out_put(struct text_out *out, const char *format, ...)
{
    va_list args;
    size_t left = out->size - out->used;

    va_start(args, format);
    int wrote = vsnprintf(out->text + out->used, left, format, args);
    va_end(args);
    if (wrote < 0 || (size_t)wrote >= left || out->cut) {
        out->text[out->used] = '\0';
        out->cut = true;
        return;
    }
    out->used += (size_t)wrote;
}

/* Bytes of the well-formed UTF-8 sequence at `at`, 0 when it is none. */
static size_t utf8_length(const unsigned char *at)
{
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (at[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf4 && at[1] >= 0x90);
    return overlong || beyond ? 0 : length;
}

void text_out_json(struct text_out *out, const char *string)
{
    if (string == NULL) {
        text_out_put(out, "null");
        return;
    }
    text_out_put(out, "\"");
    for (const unsigned char *at = (const unsigned char *)string; *at != '\0';) {
        size_t length = utf8_length(at);
        if (*at == '"' || *at == '\\') {
            text_out_put(out, "\\%c", *at);
        } else if (*at < 0x20 || length == 0) {
            text_out_put(out, "\\u%04x", *at);
        } else {
            text_out_put(out, "%.*s", (int)length, (const char *)at);
        }
        at += length == 0 ? 1 : length;
    }
    text_out_put(out, "\"");
}

const char *text_size(uint64_t bytes, char text[TEXT_SIZE_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024.0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024.0;
        unit++;
    }
    (void)snprintf(
        text, TEXT_SIZE_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]); /* fits */
    return text;
}
