/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line out of a format: WHAT: WHY (hint: COMMAND).
 *
 *   format -> text, values in full -> pieces: a byte, or \xNN for a control character
 *   all pieces fit:   head ............ tail
 *   they do not:      head ... tail              a quarter, and the rest of the room
 *
 * Invariants: the result fits and is ended; no piece and no UTF-8 character is cut in two. A second
 * pass changes nothing, as texts go through several hands.
 * Failure modes: a text beyond TEXT_BYTES loses its end.
 * Pure; any thread that has TEXT_BYTES of stack.
 */
#include "r5fs/base/line.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES   16384u /* two paths and what is said of them */
#define ESCAPE_BYTES 4u
#define GAP          "..."
#define GAP_BYTES    (sizeof(GAP) - 1)
#define HEAD_SHARE   4u

static bool is_control(char byte)
{
    return (unsigned char)byte < 0x20 || byte == 0x7f;
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

static size_t piece_bytes(char byte)
{
    return is_control(byte) ? ESCAPE_BYTES : 1;
}

/* Appends text[from..to) and ends it; returns the end. */
static char *put_pieces(char *out, const char *text, size_t from, size_t to)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = from; i < to; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (is_control(text[i])) {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[byte / 16];
            *out++ = digits[byte % 16];
        } else {
            *out++ = text[i];
        }
    }
    *out = '\0';
    return out;
}

/* How much of the start fits into `room`, in whole characters. */
static size_t head_end(const char *text, size_t length, size_t room)
{
    size_t end = 0;

    while (end < length && piece_bytes(text[end]) <= room) {
        room -= piece_bytes(text[end++]);
    }
    while (end > 0 && end < length && continues_character(text[end])) {
        end--;
    }
    return end;
}

static size_t tail_start(const char *text, size_t length, size_t room)
{
    size_t start = length;

    while (start > 0 && piece_bytes(text[start - 1]) <= room) {
        room -= piece_bytes(text[--start]);
    }
    while (start > 0 && start < length && continues_character(text[start])) {
        start++;
    }
    return start;
}

void line_format_list(char *out, size_t size, const char *format, va_list args)
{
    char text[TEXT_BYTES];
    size_t room = size - 1;

    R5_CHECK(size >= LINE_BYTES_MIN);
    int wrote = vsnprintf(text, sizeof(text), format, args);
    R5_CHECK(wrote >= 0);
    size_t length = strlen(text);
    if (head_end(text, length, room) == length) {
        (void)put_pieces(out, text, 0, length); /* its end is known */
        return;
    }
    size_t head = head_end(text, length, room / HEAD_SHARE);
    char *at = put_pieces(out, text, 0, head);
    memcpy(at, GAP, GAP_BYTES);
    at += GAP_BYTES;
    room -= (size_t)(at - out);
    (void)put_pieces(at, text, tail_start(text, length, room), length); /* as above */
}

void line_format(char *out, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_format_list(out, size, format, args);
    va_end(args);
}
