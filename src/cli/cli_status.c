/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * r5fs status: of a mount (asked of its daemon), of files (read from them, nothing is locked for
 * long or written), or of every mount of ours. The texts come from the FUSE floor, which both ways
 * share.
 */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "cli_offline.h"
#include "r5fs/base/env.h"
#include "r5fs/fuse/fuse.h"

#define WATCH_DEFAULT_S 2u

enum { OPTION_JSON, OPTION_WATCH, OPTION_CHECK, OPTION_VERBOSE };

const struct cli_option cli_status_options[] = {
    {"json", 0, NULL, "the same facts as JSON"},
    {"watch", 0, "SECONDS", "again every so many seconds (default 2)"},
    {"check",
     0,
     NULL,
     "exit code says the state: 0 healthy, 10 degraded, 11 rebuilding, 12 failed or read-only, "
     "13 journal missing or failed, 14 errors since the last scrub"},
    {"verbose", 'v', NULL, "with pools and counters"},
    {NULL, 0, NULL, NULL},
};

struct status_request {
    enum status_format format;
    bool check;
    const char *before; /* to be printed before the next answer */
};

static int print_reply(const struct status_request *request, const struct status_reply *reply)
{
    if (!request->check || request->format != STATUS_FORMAT_TEXT) {
        (void)fputs(request->before, stdout);
        (void)fputs(reply->text, stdout);
    }
    return request->check ? reply->check_code : EXIT_OK;
}

/* *out_answered (if wanted): something was printed, or would be without --check. */
static int
status_of_mount(const struct status_request *request, const char *mountpoint, bool *out_answered)
{
    struct arena arena;
    arena_init_growing(&arena);
    struct status_reply reply;
    static char why[FUSE_SERVE_WHY_BYTES];
    int rc = fuse_serve_status(mountpoint, request->format, &arena, &reply, why);
    int code = EXIT_OK;
    if (out_answered != NULL) {
        *out_answered = rc == 0;
    }
    if (rc != 0) {
        cli_error("%s: %s", mountpoint, why);
        code = cli_exit_for(rc);
    } else {
        code = print_reply(request, &reply);
    }
    arena_fini(&arena);
    return code;
}

/* Whether that mount is of the array with this uuid. */
static bool mount_is_of(const char *mountpoint, const char *uuid_field)
{
    struct arena arena;
    arena_init_growing(&arena);
    struct status_reply reply;
    static char why[FUSE_SERVE_WHY_BYTES];
    int rc = fuse_serve_status(mountpoint, STATUS_FORMAT_JSON, &arena, &reply, why);
    bool is = rc == 0 && strstr(reply.text, uuid_field) != NULL;
    arena_fini(&arena);
    return is;
}

/* Files that are mounted are locked by their daemon, which knows more than they say. */
static bool find_mount_of_files(const struct cli_sources *sources, struct mount_entry *out_entry)
{
    struct uuid uuid;
    char text[UUID_TEXT_BYTES];
    char field[UUID_TEXT_BYTES + 16];
    if (mount_table_get(0, out_entry) != 0 || !cli_source_array(sources->paths[0], &uuid)) {
        return false;
    }
    uuid_print(&uuid, text);
    (void)snprintf(field, sizeof(field), "\"uuid\":\"%s\"", text); /* fits */
    bool found = false;
    for (unsigned index = 0; !found && mount_table_get(index, out_entry) == 0; index++) {
        found = mount_is_of(out_entry->mountpoint, field);
    }
    return found;
}

static int status_of_files(const struct status_request *request, const struct cli_args *args)
{
    static struct mount_entry entry;
    struct cli_sources sources;
    int code = cli_sources_resolve(args->words, args->word_count, &sources);
    if (code != EXIT_OK) {
        return code;
    }
    bool mounted = find_mount_of_files(&sources, &entry);
    cli_sources_free(&sources);
    if (mounted) {
        return status_of_mount(request, entry.mountpoint, NULL);
    }
    struct cli_open how = {0};
    struct cli_array opened;
    code = cli_array_open(args->words, args->word_count, &how, &opened);
    if (code != EXIT_OK) {
        return code;
    }
    struct status_reply reply;
    int rc = status_offline(opened.array, NULL, request->format, &opened.arena, &reply);
    if (rc != 0) {
        cli_error("status: %s", strerror(-rc));
        code = cli_exit_for(rc);
    } else {
        code = print_reply(request, &reply);
    }
    int closed = cli_array_close(&opened);
    return code != EXIT_OK ? code : closed;
}

/* All mounts of ours; the worst code. One that does not answer is named on stderr only. */
static int status_of_all(const struct status_request *request)
{
    static struct mount_entry entry;
    struct status_request each = *request;
    int code = EXIT_OK;
    unsigned index = 0;
    bool json = request->format == STATUS_FORMAT_JSON;
    if (json) {
        (void)putchar('[');
    }
    for (; mount_table_get(index, &entry) == 0; index++) {
        bool answered = false;
        int one = status_of_mount(&each, entry.mountpoint, &answered);
        if (answered) {
            each.before = json ? "," : "\n";
        }
        code = one > code ? one : code;
    }
    if (json) {
        (void)puts("]");
    } else if (index == 0) {
        cli_error("nothing of type fuse.r5fs is mounted (hint: r5fs mount SRC... MNT)");
    }
    return index == 0 ? EXIT_NOT_FOUND : code;
}

static int status_once(const struct status_request *request, const struct cli_args *args)
{
    if (args->word_count == 0) {
        return status_of_all(request);
    }
    static struct mount_entry entry;
    int found = args->word_count == 1 ? mount_table_find(args->words[0], &entry) : -ENOENT;
    if (found == 0 || found == -EBUSY) {
        return status_of_mount(request, args->words[0], NULL);
    }
    return status_of_files(request, args);
}

int cli_run_status(const struct cli_args *args)
{
    struct status_request request = {.check = args->values[OPTION_CHECK] != NULL, .before = ""};
    request.format = args->values[OPTION_JSON] != NULL      ? STATUS_FORMAT_JSON
                     : args->values[OPTION_VERBOSE] != NULL ? STATUS_FORMAT_VERBOSE
                                                            : STATUS_FORMAT_TEXT;
    const char *watch = args->values[OPTION_WATCH];
    if (watch == NULL) {
        return status_once(&request, args);
    }
    uint64_t seconds = WATCH_DEFAULT_S;
    if (*watch != '\0' && cli_parse_number(watch, 1, 86400, &seconds) != 0) {
        return cli_usage_error(
            cli_find_command("status"), "--watch takes seconds, not '%s'", watch);
    }
    int code = EXIT_OK;
    while (code == EXIT_OK || (code >= 10 && code <= 14)) {
        code = status_once(&request, args);
        if (fflush(stdout) != 0) {
            return EXIT_IO;
        }
        env_sleep_ns(seconds * 1000000000ull);
    }
    return code;
}
