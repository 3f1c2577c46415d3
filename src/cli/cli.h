/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the commands share: one table of commands and options (help, man page and parsing come from
 * it), exit codes, error lines, sizes, the resolving of SRC.
 */
#ifndef R5FS_CLI_CLI_H
#define R5FS_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "r5fs/base/check.h"
#include "r5fs/base/uuid.h"

#define CLI_OPTIONS_MAX 16u
#define CLI_WORDS_MAX   64u
#define CLI_WHY_BYTES   512
#define CLI_LINE_BYTES  12288 /* two paths in full */
#define CLI_LIST_BYTES  4096

enum cli_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_BUSY = 4,
    EXIT_REFUSED = 5,
    EXIT_IO = 6,
    EXIT_NOTHING_TO_RESUME = 7,
    EXIT_FSCK_USAGE = 16, /* of `check`, whose codes are fsck(8)'s */
};

/* The argument of an option that may be given several times: values are joined by commas. Of any
 * other option the last one counts. */
#define CLI_LIST "OPTS"

struct cli_option {
    const char *name;     /* long name, without dashes; NULL ends the table */
    char letter;          /* short form or 0 */
    const char *argument; /* what it takes, for the help; NULL for a flag; see CLI_LIST */
    const char *help;
};

/* What was given: values[i] belongs to options[i] of the command ("" for a flag, NULL: not
 * given). */
struct cli_args {
    const char *values[CLI_OPTIONS_MAX];
    const char *words[CLI_WORDS_MAX];
    unsigned word_count;
};

struct cli_command {
    const char *name;
    const char *synopsis; /* after "r5fs NAME" */
    const char *summary;
    const struct cli_option *options;
    int (*run)(const struct cli_args *args);
};

extern const struct cli_command cli_commands[];

/* "r5fs: WHAT: WHY (hint: ...)" on stderr. */
void cli_error(const char *format, ...) R5_PRINTF(1, 2);
/* The exit code that stands for an errno (positive or negative). */
int cli_exit_for(int error);
/* IEC sizes: 512, 64K, 1.5G, 10GiB. -EINVAL, -ERANGE. */
R5_MUST_CHECK int cli_parse_size(const char *text, uint64_t *out_bytes);
R5_MUST_CHECK int cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* "29.9 GiB" into `out`; returns out. */
#define CLI_SIZE_TEXT_BYTES 24
const char *cli_size_text(uint64_t bytes, char out[CLI_SIZE_TEXT_BYTES]);
/* Text as a JSON string, quotes included; bytes that are not UTF-8 as \u00XX. */
void cli_json_string(FILE *out, const char *text);
void cli_print_help(FILE *out, const struct cli_command *command);
/* Returns the command's exit code for wrong usage. */
int cli_usage_error(const struct cli_command *command, const char *format, ...) R5_PRINTF(2, 3);
const struct cli_command *cli_find_command(const char *name);

/* ---- SRC (cli_source.c) --------------------------------------------------------------------- */

/* The files that SRC... names; owned by the structure. */
struct cli_sources {
    char **paths;
    unsigned count;
};

/* Files, one directory, UUID= or LABEL= (searched in R5FS_PATH), colon-joined. Says what is wrong
 * and returns an exit code, 0 when good. */
R5_MUST_CHECK int
cli_sources_resolve(const char *const *words, unsigned count, struct cli_sources *out);
void cli_sources_free(struct cli_sources *sources);
/* The array that a file says to belong to; false when it has no good superblock. */
bool cli_source_array(const char *path, struct uuid *out_uuid);

/* ---- commands ------------------------------------------------------------------------------- */

int cli_run_create(const struct cli_args *args);
int cli_run_mount(const struct cli_args *args);
int cli_run_unmount(const struct cli_args *args);
int cli_run_status(const struct cli_args *args);
int cli_run_check(const struct cli_args *args);
int cli_run_examine(const struct cli_args *args);
int cli_run_dump(const struct cli_args *args);
int cli_run_md_command(const struct cli_args *args);
int cli_run_later(const struct cli_args *args);

extern const struct cli_option cli_create_options[];
extern const struct cli_option cli_mount_options[];
extern const struct cli_option cli_unmount_options[];
extern const struct cli_option cli_status_options[];
extern const struct cli_option cli_check_options[];
extern const struct cli_option cli_examine_options[];
extern const struct cli_option cli_dump_options[];

#endif
