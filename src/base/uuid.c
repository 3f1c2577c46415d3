/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16-byte identifiers and their two text forms.
 *
 *   8-4-4-4-12   00112233-4455-6677-8899-aabbccddeeff
 *   8:8:8:8      00112233:44556677:8899aabb:ccddeeff     md; the bytes in the same order
 *
 * A form is a list of group lengths and a separator. Text comes from a user: anything but exactly
 * one of the forms, in either letter case, is -EINVAL.
 * Pure functions but for uuid_make_random; any thread.
 */
#include "r5fs/base/uuid.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "r5fs/base/env.h"

#define VERSION_BYTE   6
#define VERSION_RANDOM 0x40
#define VARIANT_BYTE   8
#define VARIANT_RFC    0x80
#define GROUPS_MAX     5

struct uuid_form {
    char separator;
    uint8_t group_count;
    uint8_t group_bytes[GROUPS_MAX];
};

static const struct uuid_form form_plain = {'-', 5, {4, 2, 2, 2, 6}};
static const struct uuid_form form_md = {':', 4, {4, 4, 4, 4}};

struct uuid uuid_make_random(void)
{
    struct uuid uuid;

    env_random_bytes(uuid.bytes, sizeof(uuid.bytes));
    uuid.bytes[VERSION_BYTE] = (uint8_t)((uuid.bytes[VERSION_BYTE] & 0x0f) | VERSION_RANDOM);
    uuid.bytes[VARIANT_BYTE] = (uint8_t)((uuid.bytes[VARIANT_BYTE] & 0x3f) | VARIANT_RFC);
    return uuid;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* 0 to 15, or -1; not the locale's business. */
static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

/* The value of two digits, or -1; never looks past a NUL. */
static int byte_value(const char *text)
{
    int high = digit_value(text[0]);
    int low = high < 0 ? -1 : digit_value(text[1]);

    return low < 0 ? -1 : high * 16 + low;
}

static bool parse_form(const char *text, const struct uuid_form *form, struct uuid *out_uuid)
{
    const char *at = text;
    size_t filled = 0;

    for (unsigned group = 0; group < form->group_count; group++) {
        if (group > 0 && *at++ != form->separator) {
            return false;
        }
        for (unsigned i = 0; i < form->group_bytes[group]; i++) {
            int value = byte_value(at);
            if (value < 0) {
                return false;
            }
            out_uuid->bytes[filled++] = (uint8_t)value;
            at += 2;
        }
    }
    return *at == '\0';
}

int uuid_parse(const char *text, struct uuid *out_uuid)
{
    struct uuid parsed;

    if (!parse_form(text, &form_plain, &parsed) && !parse_form(text, &form_md, &parsed)) {
        return -EINVAL;
    }
    *out_uuid = parsed;
    return 0;
}

static void print_form(const struct uuid *uuid, const struct uuid_form *form, char *out_text)
{
    static const char digits[] = "0123456789abcdef";
    size_t printed = 0;

    for (unsigned group = 0; group < form->group_count; group++) {
        if (group > 0) {
            *out_text++ = form->separator;
        }
        for (unsigned i = 0; i < form->group_bytes[group]; i++) {
            uint8_t value = uuid->bytes[printed++];
            *out_text++ = digits[value / 16];
            *out_text++ = digits[value % 16];
        }
    }
    *out_text = '\0';
}

void uuid_print(const struct uuid *uuid, char out_text[UUID_TEXT_BYTES])
{
    print_form(uuid, &form_plain, out_text);
}

void uuid_print_md(const struct uuid *uuid, char out_text[UUID_TEXT_BYTES])
{
    print_form(uuid, &form_md, out_text);
}
