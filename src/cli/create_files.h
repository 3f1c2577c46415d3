/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backing files of a new array: looked at, made, emptied; taken away again when create
 * fails. */
#ifndef R5FS_CLI_CREATE_FILES_H
#define R5FS_CLI_CREATE_FILES_H

#include "cli.h"

struct create_file {
    const char *path;
    uint64_t size_bytes;   /* as it will be */
    uint64_t wanted_bytes; /* asked for on the command line; 0: as the file is */
    bool exists;
    bool block_device;
    bool made_here;  /* removed again on failure */
    uint64_t device; /* identity, to find one file given twice */
    uint64_t inode;
    int fd; /* -1: not opened yet; else locked, a block device also against everybody else */
};

/* Who the file is, by its path: nothing is opened yet. */
void create_file_identify(struct create_file *file);
/* Opens and locks what is there; changes nothing. Refuses what is not a file or block device, what
 * somebody uses and, without `force`, what holds anything recognisable. Exit code, said. */
R5_MUST_CHECK int create_file_look(struct create_file *file, bool force);
/* Makes the file, or empties an existing one, so that it reads as zeros. It stays open, locked. */
R5_MUST_CHECK int create_file_make(struct create_file *file, bool sparse);
void create_file_undo(struct create_file *file);
/* Lets go of it. */
void create_file_close(struct create_file *file);

#endif
