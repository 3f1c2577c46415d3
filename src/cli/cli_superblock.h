/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints what one file says of itself: md superblock, log head. Shared by examine and dump sb. */
#ifndef R5FS_CLI_CLI_SUPERBLOCK_H
#define R5FS_CLI_CLI_SUPERBLOCK_H

#include "cli.h"

/* Exit code: 0 shown; 3 no such file or nothing there; 6 damaged (shown as far as it goes). */
int superblock_print(const char *path);
int superblock_print_json(const char *path);

#endif
