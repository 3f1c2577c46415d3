/* SPDX-License-Identifier: GPL-2.0-or-later */
/* r5fs examine: superblock, log head of single files, mounted or not; never opened for writing. */
#include "cli.h"
#include "cli_superblock.h"

enum { OPTION_JSON };

const struct cli_option cli_examine_options[] = {
    {"json", 0, NULL, "the same facts as JSON"},
    {NULL, 0, NULL, NULL},
};

int cli_run_examine(const struct cli_args *args)
{
    bool json = args->values[OPTION_JSON] != NULL;
    if (args->word_count == 0) {
        return cli_usage_error(cli_find_command("examine"), "no files were given");
    }
    if (json) {
        (void)printf("{\"schema\":{\"name\":\"r5fs-examine\",\"major\":1,\"minor\":0},\"files\":[");
    }
    int code = EXIT_OK;
    for (unsigned i = 0; i < args->word_count; i++) {
        if (json && i > 0) {
            (void)putchar(',');
        }
        int one = json ? superblock_print_json(args->words[i]) : superblock_print(args->words[i]);
        code = code == EXIT_OK ? one : code;
    }
    if (json) {
        (void)printf("]}\n");
    }
    return code;
}
