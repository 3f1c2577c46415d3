/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes, numbers, JSON strings and exit codes: the small texts of all commands. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

int cli_exit_for(int error)
{
    switch (error < 0 ? -error : error) {
    case 0: return EXIT_OK;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ENOTCONN:
    case EMEDIUMTYPE: return EXIT_NOT_FOUND;
    case ETIMEDOUT:
    case EBUSY: return EXIT_BUSY;
    case EPERM:
    case EEXIST: return EXIT_REFUSED;
    case EIO:
    case EBADMSG:
    case EUCLEAN:
    case ESTALE: return EXIT_IO;
    default: return EXIT_FAILED;
    }
}

/* Shift for a unit letter, -1 for none of ours. */
static int unit_shift(char letter)
{
    static const char letters[] = "KMGTPE";
    const char *at = strchr(letters, toupper((unsigned char)letter));
    return letter != '\0' && at != NULL ? (int)(at - letters + 1) * 10 : -1;
}

int cli_parse_size(const char *text, uint64_t *out_bytes)
{
    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    char *end = NULL;
    long double number = strtold(text, &end);
    if (errno != 0 || !isfinite(number)) {
        return -ERANGE;
    }
    int shift = 0;
    if (*end != '\0') {
        shift = unit_shift(*end++);
        if (shift < 0) {
            return -EINVAL;
        }
        if (strcmp(end, "iB") != 0 && strcmp(end, "B") != 0 && *end != '\0') {
            return -EINVAL;
        }
    }
    number = ldexpl(number, shift);
    if (number >= 0x1p63L) {
        return -ERANGE;
    }
    *out_bytes = (uint64_t)number;
    return 0;
}

int cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return -EINVAL;
    }
    if (number < min || number > max) {
        return -ERANGE;
    }
    *out = number;
    return 0;
}

const char *cli_size_text(uint64_t bytes, char out[CLI_SIZE_TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    double value = (double)bytes;
    while (value >= 1024.0 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024.0;
        unit++;
    }
    (void)snprintf(out, CLI_SIZE_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

/* Length of the valid UTF-8 sequence at `text`, 0 when there is none. */
static unsigned utf8_length(const unsigned char *text)
{
    unsigned length = text[0] < 0x80 ? 1 : (text[0] >> 5) == 6 ? 2 : (text[0] >> 4) == 14 ? 3 : 4;
    if (text[0] >= 0xf8 || (text[0] >= 0x80 && text[0] < 0xc2)) {
        return 0;
    }
    for (unsigned i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

void cli_json_string(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    (void)fputc('"', out);
    while (*at != '\0') {
        unsigned length = utf8_length(at);
        if (*at == '"' || *at == '\\') {
            (void)fprintf(out, "\\%c", *at);
        } else if (*at < 0x20 || *at == 0x7f || length == 0) {
            (void)fprintf(out, "\\u%04x", *at);
            length = 1;
        } else {
            (void)fwrite(at, 1, length, out);
        }
        at += length;
    }
    (void)fputc('"', out);
}
