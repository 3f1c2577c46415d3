/* SPDX-License-Identifier: GPL-2.0-or-later */
/* r5fs md-command: how to assemble the same files with kernel md. Prints, runs nothing. */
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "cli_offline.h"

/* Single quotes around, those within escaped, so that the line can be pasted into a shell. */
static void print_quoted(const char *text)
{
    (void)putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            (void)fputs("'\\''", stdout);
        } else {
            (void)putchar(*text);
        }
    }
    (void)putchar('\'');
}

static bool is_block_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

int cli_run_md_command(const struct cli_args *args)
{
    struct cli_open how = {0};
    struct cli_array opened;
    int code = cli_array_open(args->words, args->word_count, &how, &opened);
    if (code != EXIT_OK) {
        return code;
    }
    const char *name = array_name(opened.array);
    const char *colon = strchr(name, ':');
    (void)printf("mdadm --assemble ");
    print_quoted(colon != NULL ? colon + 1 : name);
    for (unsigned i = 0; i < opened.sources.count; i++) {
        (void)putchar(' ');
        if (is_block_device(opened.sources.paths[i])) {
            print_quoted(opened.sources.paths[i]);
        } else {
            (void)printf("\"$(losetup --find --show ");
            print_quoted(opened.sources.paths[i]);
            (void)printf(")\"");
        }
    }
    (void)putchar('\n');
    return cli_array_close(&opened);
}
