/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mount options: what -o says, in one table per kind.
 *
 *   "rw,degraded,memory=512M,x-systemd.automount,nosuid"
 *        |      |           |            |          |
 *        |    ours      ours, value   swallowed   a mount flag of the kernel's
 *        a mount flag
 *
 * The last word wins, as mount(8) promises: "suid,...,nosuid" is nosuid. Options that only
 * mount(8), systemd or fstab care about are swallowed, so that a line of fstab can be passed on as
 * it is; a word that nobody knows is an error that names it, never ignored: it may have been meant
 * to protect.
 *
 * Thread: the command's own, before the daemon is made.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "r5fs/base/line.h"
#include "r5fs/fuse/fuse.h"

#define WATCHDOG_DEFAULT_S   30u
#define WATCHDOG_SECONDS_MAX 86400u
#define COMMIT_DEFAULT_MS    5000u
#define COMMIT_SECONDS_MAX   300u
#define IO_UNITS_DEFAULT     8u
#define IO_UNITS_MIN         1u
#define IO_UNITS_MAX         64u
#define THREADS_MIN          2u
#define THREADS_MAX          64u
#define WORD_BYTES           512u

R5_PRINTF(2, 3) static int refuse(char *out_why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line_format_list(out_why, FUSE_SERVE_WHY_BYTES, format, args);
    va_end(args);
    return -EINVAL;
}

/* ---- swallowed ------------------------------------------------------------------------------- */

static const char *const swallowed[] = {
    "defaults",
    "auto",
    "noauto",
    "nofail",
    "_netdev",
    "_rnetdev",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "nosymfollow",
    "symfollow",
    "default_permissions",
};

static const char *const swallowed_prefixes[] = {
    "x-",
    "X-",
    "user=",
    "comment=",
    "uhelper=",
    "helper=",
    "subtype=",
    "x_netdev",
};

static bool word_is_swallowed(const char *word)
{
    for (size_t i = 0; i < sizeof(swallowed) / sizeof(swallowed[0]); i++) {
        if (strcmp(word, swallowed[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(swallowed_prefixes) / sizeof(swallowed_prefixes[0]); i++) {
        if (strncmp(word, swallowed_prefixes[i], strlen(swallowed_prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the kernel's ---------------------------------------------------------------------------- */

static const struct {
    const char *word;
    unsigned long flag;
    bool on;
} flag_words[] = {
    {"suid", MS_NOSUID, false},
    {"nosuid", MS_NOSUID, true},
    {"dev", MS_NODEV, false},
    {"nodev", MS_NODEV, true},
    {"exec", MS_NOEXEC, false},
    {"noexec", MS_NOEXEC, true},
    {"async", MS_SYNCHRONOUS, false},
    {"sync", MS_SYNCHRONOUS, true},
    {"dirsync", MS_DIRSYNC, true},
    {"atime", MS_NOATIME, false},
    {"noatime", MS_NOATIME, true},
};

static bool parse_flag(struct mount_options *options, const char *word)
{
    for (size_t i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++) {
        if (strcmp(word, flag_words[i].word) == 0) {
            if (flag_words[i].on) {
                options->kernel_flags |= flag_words[i].flag;
            } else {
                options->kernel_flags &= ~flag_words[i].flag;
            }
            return true;
        }
    }
    return false;
}

static const char *const context_prefixes[] = {
    "context=",
    "fscontext=",
    "defcontext=",
    "rootcontext=",
};

static bool word_is_context(const char *word)
{
    for (size_t i = 0; i < sizeof(context_prefixes) / sizeof(context_prefixes[0]); i++) {
        if (strncmp(word, context_prefixes[i], strlen(context_prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static int keep_context(struct mount_options *options, const char *word, char *out_why)
{
    size_t used = strlen(options->kernel_options);
    size_t left = sizeof(options->kernel_options) - used;
    int wrote = snprintf(options->kernel_options + used, left, "%s%s", used > 0 ? "," : "", word);

    if (wrote < 0 || (size_t)wrote >= left) {
        options->kernel_options[used] = '\0';
        return refuse(out_why, "option '%s': too long", word);
    }
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int parse_number(const char *name,
                        const char *value,
                        uint64_t min,
                        uint64_t max,
                        uint64_t *out_number,
                        char *out_why)
{
    char *end = NULL;

    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || number < min ||
        number > max) {
        return refuse(out_why,
                      "option '%s=%s': a number from %llu to %llu is wanted",
                      name,
                      value,
                      (unsigned long long)min,
                      (unsigned long long)max);
    }
    *out_number = number;
    return 0;
}

/* It is locked where that is allowed, so no more than the machine has. */
static uint64_t memory_bytes_max(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);

    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
}

/* 256M, 1G, 1.5GiB are as everywhere in the command line; no fractions here. */
static int parse_memory(const char *value, uint64_t *out_bytes, char *out_why)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    unsigned shift = 0;

    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || errno != 0) {
        return refuse(out_why, "option 'memory=%s': a size like 256M is wanted", value);
    }
    if (*end != '\0') {
        const char *unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
        if (unit == NULL) {
            return refuse(out_why, "option 'memory=%s': a size like 256M is wanted", value);
        }
        shift = 10u * (unsigned)(unit - units + 1);
        end++;
        if (strcmp(end, "iB") != 0 && strcmp(end, "B") != 0 && *end != '\0') {
            return refuse(out_why, "option 'memory=%s': a size like 256M is wanted", value);
        }
    }
    uint64_t most = memory_bytes_max();
    if (number > most >> shift) {
        return refuse(out_why,
                      "option 'memory=%s': too large, this machine has %lluM",
                      value,
                      (unsigned long long)most >> 20);
    }
    if (number << shift < MOUNT_MEMORY_BYTES_MIN) {
        return refuse(out_why,
                      "option 'memory=%s': at least %lluM is needed",
                      value,
                      MOUNT_MEMORY_BYTES_MIN >> 20);
    }
    *out_bytes = number << shift;
    return 0;
}

static int parse_backend(struct mount_options *options, const char *value, char *out_why)
{
    if (strcmp(value, "uring") == 0) {
        options->backend = IO_BACKEND_URING;
    } else if (strcmp(value, "threads") == 0) {
        options->backend = IO_BACKEND_THREADS;
    } else if (strcmp(value, "auto") == 0) {
        options->backend = IO_BACKEND_AUTO;
    } else {
        return refuse(out_why, "option 'backend=%s': uring, threads or auto is wanted", value);
    }
    return 0;
}

static int parse_journal_mode(struct mount_options *options, const char *value, char *out_why)
{
    if (strcmp(value, "write-back") == 0) {
        options->journal_mode = MOUNT_JOURNAL_WRITE_BACK;
    } else if (strcmp(value, "write-through") == 0) {
        options->journal_mode = MOUNT_JOURNAL_WRITE_THROUGH;
    } else {
        return refuse(
            out_why, "option 'journal_mode=%s': write-back or write-through is wanted", value);
    }
    return 0;
}

static int parse_fsname(struct mount_options *options, const char *value, char *out_why)
{
    if (value[0] == '\0') {
        return refuse(out_why, "option 'fsname=': a name is wanted (hint: r5fs mount --help)");
    }
    if (strlen(value) >= sizeof(options->fsname)) {
        return refuse(
            out_why, "option 'fsname=...': longer than %zu bytes", sizeof(options->fsname) - 1);
    }
    (void)memcpy(options->fsname, value, strlen(value) + 1);
    return 0;
}

/* A number within limits, into the field that has this name. -ENOENT: no such option. */
static int
parse_count(struct mount_options *options, const char *name, const char *value, char *out_why)
{
    const struct {
        const char *name;
        uint64_t min;
        uint64_t max;
        uint32_t *field;
        uint32_t scale;
    } counts[] = {
        {"io_units", IO_UNITS_MIN, IO_UNITS_MAX, &options->io_units, 1},
        {"stripes", MOUNT_STRIPES_MIN, UINT32_MAX / 2, &options->stripes, 1},
        {"threads", THREADS_MIN, THREADS_MAX, &options->threads, 1},
        {"commit", 1, COMMIT_SECONDS_MAX, &options->commit_interval_ms, 1000},
        {"watchdog", 0, WATCHDOG_SECONDS_MAX, &options->watchdog_s, 1},
    };

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (strcmp(name, counts[i].name) == 0) {
            uint64_t number = 0;
            int err = parse_number(name, value, counts[i].min, counts[i].max, &number, out_why);
            if (err == 0) {
                *counts[i].field = (uint32_t)number * counts[i].scale;
            }
            return err;
        }
    }
    return -ENOENT;
}

/* name=value. */
static int
parse_valued(struct mount_options *options, const char *name, const char *value, char *out_why)
{
    if (strcmp(name, "memory") == 0) {
        return parse_memory(value, &options->memory_bytes, out_why);
    }
    if (strcmp(name, "backend") == 0) {
        return parse_backend(options, value, out_why);
    }
    if (strcmp(name, "journal_mode") == 0) {
        return parse_journal_mode(options, value, out_why);
    }
    if (strcmp(name, "fsname") == 0) {
        return parse_fsname(options, value, out_why);
    }
    int err = parse_count(options, name, value, out_why);
    if (err == -ENOENT) {
        return refuse(out_why, "unknown option '%s' (hint: r5fs mount --help)", name);
    }
    return err;
}

static bool parse_switch(struct mount_options *options, const char *word)
{
    const struct {
        const char *word;
        bool *field;
        bool value;
    } switches[] = {
        {"ro", &options->read_only, true},
        {"rw", &options->read_only, false},
        {"degraded", &options->degraded, true},
        {"norecovery", &options->norecovery, true},
        {"noload", &options->norecovery, true},
        {"accept_damaged_log", &options->accept_damaged_log, true},
        {"kernel_safe", &options->kernel_safe, true},
        {"allow_other", &options->allow_other, true},
    };

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strcmp(word, switches[i].word) == 0) {
            *switches[i].field = switches[i].value;
            return true;
        }
    }
    return false;
}

static int parse_word(struct mount_options *options, char *word, char *out_why)
{
    if (word[0] == '\0' || parse_switch(options, word) || parse_flag(options, word) ||
        word_is_swallowed(word)) {
        return 0;
    }
    if (strcmp(word, "remount") == 0) {
        return refuse(out_why, "option 'remount': not possible (hint: unmount and mount again)");
    }
    if (word_is_context(word)) {
        return keep_context(options, word, out_why);
    }
    char *value = strchr(word, '=');
    if (value == NULL) {
        return parse_valued(options, word, "", out_why); /* says what value is wanted */
    }
    *value = '\0';
    struct mount_options unused = *options;
    if (parse_switch(&unused, word)) {
        return refuse(out_why, "option '%s': takes no value (hint: r5fs mount --help)", word);
    }
    return parse_valued(options, word, value + 1, out_why);
}

/* Copies up to the next comma that is neither escaped nor within quotes; returns what follows
 * it, or NULL at the end. `fits` is false when the word is longer than `word`. */
static const char *next_word(const char *text, char word[WORD_BYTES], bool *fits)
{
    size_t length = 0;
    bool quoted = false;

    *fits = true;
    for (; *text != '\0' && (quoted || *text != ','); text++) {
        if (*text == '"') {
            quoted = !quoted;
        }
        if (*text == '\\' && text[1] != '\0') {
            text++;
        }
        if (length + 1 < WORD_BYTES) {
            word[length++] = *text;
        } else {
            *fits = false;
        }
    }
    word[length] = '\0';
    return *text == ',' ? text + 1 : NULL;
}

void mount_options_init(struct mount_options *options, bool is_root)
{
    *options = (struct mount_options){
        .allow_other = is_root,
        .memory_bytes = MOUNT_MEMORY_BYTES_DEFAULT,
        .io_units = IO_UNITS_DEFAULT,
        .commit_interval_ms = COMMIT_DEFAULT_MS,
        .watchdog_s = WATCHDOG_DEFAULT_S,
        .backend = IO_BACKEND_AUTO,
        .journal_mode = MOUNT_JOURNAL_AS_KEPT,
        .kernel_flags = is_root ? 0 : MS_NOSUID | MS_NODEV,
        .forced_flags = is_root ? 0 : MS_NOSUID | MS_NODEV,
    };
}

int mount_options_parse(struct mount_options *options, const char *text, char *out_why)
{
    char word[WORD_BYTES];

    for (const char *rest = text; rest != NULL;) {
        bool fits = true;
        rest = next_word(rest, word, &fits);
        if (!fits) {
            return refuse(out_why, "option '%.40s...': too long", word);
        }
        int err = parse_word(options, word, out_why);
        if (err != 0) {
            return err;
        }
    }
    options->kernel_flags |= options->forced_flags;
    options->dirsync = (options->kernel_flags & (MS_SYNCHRONOUS | MS_DIRSYNC)) != 0;
    return 0;
}

int mount_options_finish(const struct mount_options *options, char *out_why)
{
    if (options->norecovery && !options->read_only) {
        return refuse(out_why,
                      "option 'norecovery' needs 'ro': without its log the array must not "
                      "be written (hint: -o ro,norecovery)");
    }
    return 0;
}
