/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An array opened by a command that does not mount it. */
#ifndef R5FS_CLI_CLI_OFFLINE_H
#define R5FS_CLI_CLI_OFFLINE_H

#include "cli.h"
#include "r5fs/base/arena.h"
#include "r5fs/fs/fs.h"
#include "r5fs/journal/journal.h"
#include "r5fs/raid/array.h"

struct cli_array {
    struct cli_sources sources;
    struct arena arena; /* growing: everything below */
    struct fs_thread thread;
    struct array *array;
    struct journal *journal; /* NULL until cli_array_open_journal */
};

struct cli_open {
    bool write; /* files opened for writing; recovery really happens */
    bool accept_damaged_log;
    bool degraded;       /* writing may leave a missing member behind for good */
    bool wait_for_lock;  /* a just unmounted daemon may still hold the files */
    const int *held_fds; /* of the words, each one file, that the caller holds; or NULL */
};

/* Resolves and assembles; says what is wrong; returns an exit code. */
R5_MUST_CHECK int cli_array_open(const char *const *words,
                                 unsigned count,
                                 const struct cli_open *how,
                                 struct cli_array *out);
/* Opens the journal: recovery when `write`, else its view laid over the members. */
R5_MUST_CHECK int cli_array_open_journal(struct cli_array *opened, const struct cli_open *how);
/* Closes all; an exit code: what was written but could not be made durable is an error. */
R5_MUST_CHECK int cli_array_close(struct cli_array *opened);
/* A queue and scratch memory from `arena`. Exit code. */
R5_MUST_CHECK int cli_thread_open(struct arena *arena, struct fs_thread *out);

#endif
