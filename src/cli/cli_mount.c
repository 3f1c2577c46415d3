/* SPDX-License-Identifier: GPL-2.0-or-later */
/* r5fs mount and unmount: from words to the FUSE floor's calls. Also what mount(8) and umount(8)
 * run. */
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "r5fs/fuse/fuse.h"

enum { OPTION_FOREGROUND, OPTION_O, OPTION_VERBOSE, OPTION_SLOPPY, OPTION_NO_MTAB, OPTION_TYPE };

const struct cli_option cli_mount_options[] = {
    {"foreground", 'f', NULL, "stay in the foreground"},
    {"options",
     'o',
     CLI_LIST,
     "ro, degraded, norecovery, memory=256M, io_units=1..64, stripes=N, commit=5, watchdog=30, "
     "allow_other, "
     "threads=N, backend=uring|threads, kernel_safe, ... comma-joined"},
    {"verbose", 'v', NULL, "accepted for mount(8)"},
    {"sloppy", 's', NULL, "accepted for mount(8)"},
    {"no-mtab", 'n', NULL, "accepted for mount(8)"},
    {"types", 't', "TYPE", "accepted for mount(8)"},
    {NULL, 0, NULL, NULL},
};

/* An fstab source keeps its text for df and mount; several words are joined by the floor below. */
static const char *source_text(const struct cli_args *args)
{
    return args->word_count == 2 ? args->words[0] : NULL;
}

int cli_run_mount(const struct cli_args *args)
{
    const struct cli_command *command = cli_find_command("mount");
    if (args->word_count < 2) {
        return cli_usage_error(command, "it takes the array's files and a mount point");
    }
    static struct fuse_serve_options serve;
    static char why[FUSE_SERVE_WHY_BYTES];
    mount_options_init(&serve.mount, geteuid() == 0);
    const char *text = args->values[OPTION_O];
    if (text != NULL && mount_options_parse(&serve.mount, text, why) != 0) {
        return cli_usage_error(command, "%s", why);
    }
    if (mount_options_finish(&serve.mount, why) != 0) {
        return cli_usage_error(command, "%s", why);
    }
    struct cli_sources sources;
    int code = cli_sources_resolve(args->words, args->word_count - 1, &sources);
    if (code != EXIT_OK) {
        return code;
    }
    serve.paths = (const char *const *)sources.paths;
    serve.path_count = sources.count;
    serve.source = source_text(args);
    serve.mountpoint = args->words[args->word_count - 1];
    serve.foreground = args->values[OPTION_FOREGROUND] != NULL;
    code = fuse_serve(&serve, why);
    if (code != EXIT_OK) {
        cli_error("mount: %s", why);
    }
    cli_sources_free(&sources);
    return code;
}

enum { OPTION_TIMEOUT };

const struct cli_option cli_unmount_options[] = {
    {"timeout", 0, "SECONDS", "give up waiting after so long (default: wait)"},
    {"verbose", 'v', NULL, "accepted for umount(8)"},
    {"no-mtab", 'n', NULL, "accepted for umount(8)"},
    {"force", 'f', NULL, "accepted for umount(8)"},
    {"lazy", 'l', NULL, "accepted for umount(8)"},
    {"read-only", 'r', NULL, "accepted for umount(8)"},
    {NULL, 0, NULL, NULL},
};

int cli_run_unmount(const struct cli_args *args)
{
    const struct cli_command *command = cli_find_command("unmount");
    if (args->word_count != 1) {
        return cli_usage_error(command, "it takes one mount point");
    }
    uint64_t timeout = UNMOUNT_WAIT_FOREVER;
    const char *text = args->values[OPTION_TIMEOUT];
    if (text != NULL && cli_parse_number(text, 0, UNMOUNT_WAIT_FOREVER - 1, &timeout) != 0) {
        return cli_usage_error(command, "--timeout takes seconds, not '%s'", text);
    }
    static char why[FUSE_SERVE_WHY_BYTES];
    int code = fuse_serve_unmount(args->words[0], (uint32_t)timeout, why);
    if (code != EXIT_OK) {
        cli_error("%s: %s", args->words[0], why);
    }
    return code;
}
