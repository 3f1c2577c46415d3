/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command table, option parsing and help. Every command is a row of cli_commands; --help, the
 * man page (scripts/make_man.py reads `r5fs help --all`) and the parser come from it.
 *
 * Called as mkfs.r5fs, fsck.r5fs, mount.fuse.r5fs or umount.fuse.r5fs the matching command runs.
 * The form `r5fs SRC MNT -o OPTS`, by which mount(8) runs the helper of type fuse.r5fs, is a mount.
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "r5fs/base/line.h"

static const struct cli_option no_options[] = {{NULL, 0, NULL, NULL}};

const struct cli_command cli_commands[] = {
    {"create",
     "[OPTIONS] MEMBER MEMBER MEMBER...",
     "make an array and an empty filesystem on it",
     cli_create_options,
     cli_run_create},
    {"mount",
     "SRC... MNT [OPTIONS]",
     "mount an array; replays its journal where needed",
     cli_mount_options,
     cli_run_mount},
    {"unmount",
     "MNT [OPTIONS]",
     "unmount; returns when all is on the members and the daemon ended",
     cli_unmount_options,
     cli_run_unmount},
    {"status",
     "[MNT|SRC...] [OPTIONS]",
     "show an array: members, journal, space",
     cli_status_options,
     cli_run_status},
    {"check",
     "SRC... [OPTIONS]",
     "verify an unmounted filesystem; fsck(8) exit codes",
     cli_check_options,
     cli_run_check},
    {"examine",
     "FILE... [OPTIONS]",
     "show the superblocks of single files; never writes",
     cli_examine_options,
     cli_run_examine},
    {"dump",
     "sb|journal|inode|dir|tree|layout|volume SRC... [OPTIONS]",
     "print structures, or copy the volume out; changes nothing",
     cli_dump_options,
     cli_run_dump},
    {"md-command",
     "SRC...",
     "print how to assemble the same files with kernel md",
     no_options,
     cli_run_md_command},
    {"member",
     "fail|remove|re-add MNT MEMBER",
     "change a member's state (not yet)",
     no_options,
     cli_run_later},
    {"replace", "MNT OLD NEW", "rebuild onto another file (not yet)", no_options, cli_run_later},
    {"spare", "add|remove MNT FILE", "keep spares (not yet)", no_options, cli_run_later},
    {"scrub",
     "start|pause|resume|cancel|status MNT",
     "compare parity with data (not yet)",
     no_options,
     cli_run_later},
    {"journal",
     "status|add|remove|drain|set-mode|reset MNT|SRC...",
     "manage the journal (not yet)",
     no_options,
     cli_run_later},
    {"events", "MNT", "show what happened (not yet)", no_options, cli_run_later},
    {"monitor", "", "watch arrays and report (not yet)", no_options, cli_run_later},
    {"get", "MNT KEY", "read a setting (not yet)", no_options, cli_run_later},
    {"set", "MNT KEY=VALUE", "change a setting (not yet)", no_options, cli_run_later},
    {NULL, NULL, NULL, NULL, NULL},
};

/* For the commands of the table that have no code of their own yet. */
static const struct cli_command *running;

int cli_run_later(const struct cli_args *args)
{
    (void)args; /* nothing is done with them yet */
    cli_error("%s: not yet (hint: r5fs help lists what there is)", running->name);
    return EXIT_FAILED;
}

const struct cli_command *cli_find_command(const char *name)
{
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

void cli_error(const char *format, ...)
{
    char line[CLI_LINE_BYTES];
    va_list args;
    va_start(args, format);
    line_format_list(line, sizeof(line), format, args);
    va_end(args);
    (void)fprintf(stderr, "r5fs: %s\n", line); /* nowhere left to report a broken stderr */
}

int cli_usage_error(const struct cli_command *command, const char *format, ...)
{
    char why[CLI_WHY_BYTES];
    va_list args;
    va_start(args, format);
    line_format_list(why, sizeof(why), format, args);
    va_end(args);
    if (strstr(why, "(hint: ") != NULL) {
        cli_error("%s: %s", command->name, why);
    } else {
        cli_error("%s: %s (hint: r5fs %s --help)", command->name, why, command->name);
    }
    return command->run == cli_run_check ? EXIT_FSCK_USAGE : EXIT_USAGE;
}

void cli_print_help(FILE *out, const struct cli_command *command)
{
    (void)fprintf(
        out, "usage: r5fs %s %s\n  %s\n", command->name, command->synopsis, command->summary);
    for (const struct cli_option *option = command->options; option->name != NULL; option++) {
        char left[64];
        int n = snprintf(left,
                         sizeof(left),
                         "%c%c%s--%s%s%s",
                         option->letter ? '-' : ' ',
                         option->letter ? option->letter : ' ',
                         option->letter ? ", " : "  ",
                         option->name,
                         option->argument ? " " : "",
                         option->argument ? option->argument : "");
        (void)fprintf(out, "  %-*s  %s\n", n > 30 ? n : 30, left, option->help);
    }
}

static void print_overview(FILE *out, bool all)
{
    (void)fprintf(out,
                  "r5fs " R5FS_VERSION ": a journaled RAID5 filesystem over files, without root\n"
                  "usage: r5fs COMMAND ...   (r5fs COMMAND --help)\n\n");
    for (const struct cli_command *command = cli_commands; command->name != NULL; command++) {
        if (all) {
            cli_print_help(out, command);
            (void)fputc('\n', out);
        } else {
            (void)fprintf(out, "  %-11s %s\n", command->name, command->summary);
        }
    }
}

static const char *const basename_commands[][2] = {
    {"mkfs.r5fs", "create"},
    {"fsck.r5fs", "check"},
    {"mount.fuse.r5fs", "mount"},
    {"umount.fuse.r5fs", "unmount"},
};

static const struct cli_command *command_by_basename(const char *argv0)
{
    const char *base = strrchr(argv0, '/');
    base = base != NULL ? base + 1 : argv0;
    for (size_t i = 0; i < sizeof(basename_commands) / sizeof(basename_commands[0]); i++) {
        if (strcmp(base, basename_commands[i][0]) == 0) {
            return cli_find_command(basename_commands[i][1]);
        }
    }
    return NULL;
}

#define OPTION_CODE 1000
#define OPTION_HELP 999

/* Turns our table into getopt's two. */
static void fill_getopt(const struct cli_option *options, struct option *longs, char *shorts)
{
    unsigned n = 0;
    for (; options[n].name != NULL; n++) {
        R5_CHECK(n < CLI_OPTIONS_MAX);
        longs[n] = (struct option){options[n].name,
                                   options[n].argument != NULL ? required_argument : no_argument,
                                   NULL,
                                   OPTION_CODE + (int)n};
        if (strcmp(options[n].name, "watch") == 0) {
            longs[n].has_arg = optional_argument;
        }
        if (options[n].letter != 0) {
            *shorts++ = options[n].letter;
            if (options[n].argument != NULL) {
                *shorts++ = ':';
            }
        }
    }
    longs[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    longs[n] = (struct option){NULL, 0, NULL, 0};
    *shorts++ = 'h';
    *shorts = '\0';
}

static int option_index(const struct cli_option *options, int code)
{
    if (code >= OPTION_CODE) {
        return code - OPTION_CODE;
    }
    for (int i = 0; options[i].name != NULL; i++) {
        if (options[i].letter == (char)code) {
            return i;
        }
    }
    return -1;
}

/* Appends to what was given before. False when that is too long. */
static bool list_append(const char **value, const char *more)
{
    static char list[CLI_LIST_BYTES]; /* a command has one such option at most */
    size_t used = strlen(list);
    int n = snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? "," : "", more);
    *value = list;
    return n >= 0 && (size_t)n < sizeof(list) - used;
}

/* -1: go on, else the exit code. */
static int take_option(const struct cli_command *command, int index, struct cli_args *args)
{
    const char *argument = command->options[index].argument;
    if (argument == NULL || strcmp(argument, CLI_LIST) != 0) {
        args->values[index] = optarg != NULL ? optarg : "";
    } else if (!list_append(&args->values[index], optarg)) {
        return cli_usage_error(
            command, "--%s: longer than %u bytes", command->options[index].name, CLI_LIST_BYTES);
    }
    return -1;
}

/* -1: go on and run the command, else the exit code. */
static int
parse_args(const struct cli_command *command, int argc, char **argv, struct cli_args *args)
{
    struct option longs[CLI_OPTIONS_MAX + 2];
    char shorts[2 * CLI_OPTIONS_MAX + 3];
    fill_getopt(command->options, longs, shorts);
    opterr = 0;
    optind = 1;
    int code;
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == 'h' || code == OPTION_HELP) {
            cli_print_help(stdout, command);
            return EXIT_OK;
        }
        int index = code == '?' ? -1 : option_index(command->options, code);
        if (index < 0) {
            return cli_usage_error(
                command, "option '%s' is unknown or lacks its argument", argv[optind - 1]);
        }
        code = take_option(command, index, args);
        if (code >= 0) {
            return code;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (args->word_count == CLI_WORDS_MAX) {
            return cli_usage_error(command, "more than %u arguments", CLI_WORDS_MAX);
        }
        args->words[args->word_count++] = argv[i];
    }
    return -1;
}

static int run_command(const struct cli_command *command, int argc, char **argv)
{
    struct cli_args args = {0};
    int code = parse_args(command, argc, argv, &args);
    if (code < 0) {
        running = command;
        code = command->run(&args);
    }
    if (fflush(stdout) != 0 && code == EXIT_OK) {
        cli_error("standard output: %s", strerror(errno));
        code = EXIT_IO;
    }
    return code;
}

int main(int argc, char **argv)
{
    const struct cli_command *command = argc > 0 ? command_by_basename(argv[0]) : NULL;
    if (command != NULL) {
        return run_command(command, argc, argv);
    }
    if (argc < 2) {
        print_overview(stderr, false);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_overview(stdout, argc > 2 && strcmp(argv[2], "--all") == 0);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_IO;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("r5fs " R5FS_VERSION);
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_IO;
    }
    command = cli_find_command(argv[1]);
    if (command != NULL) {
        return run_command(command, argc - 1, argv + 1);
    }
    /* mount(8) runs "r5fs SRC MNT -o OPTS": a source is a path or UUID=/LABEL=; a bare word only
     * when it is there. */
    if (argc >= 3 && argv[1][0] != '-' &&
        (strpbrk(argv[1], "/=:.") != NULL || access(argv[1], F_OK) == 0)) {
        return run_command(cli_find_command("mount"), argc, argv);
    }
    cli_error("%s: no such command (hint: r5fs help)", argv[1]);
    return EXIT_USAGE;
}
