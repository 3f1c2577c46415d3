/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens an array for commands that do not mount it: check, dump, status of files. Read-only opening
 * changes nothing, not even a superblock; the log is laid over the members in memory.
 */
#include "cli_offline.h"

#include <errno.h>
#include <string.h>

#define CLI_QUEUE_DEPTH          64u
#define CLI_LOCK_WAIT_MS         5000u
#define CLI_JOURNAL_MEMORY_BYTES (64ull << 20)

int cli_thread_open(struct arena *arena, struct fs_thread *out)
{
    *out = (struct fs_thread){0};
    int rc = io_backend_choose(IO_BACKEND_AUTO);
    if (rc == 0) {
        rc = io_queue_open(&out->queue, arena, CLI_QUEUE_DEPTH);
    }
    if (rc != 0) {
        cli_error("input/output: cannot be set up: %s", strerror(-rc));
        return cli_exit_for(rc);
    }
    out->scratch = arena_take(arena, FS_SCRATCH_BYTES, BLOCK_BYTES);
    return EXIT_OK;
}

int cli_array_open(const char *const *words,
                   unsigned count,
                   const struct cli_open *how,
                   struct cli_array *out)
{
    *out = (struct cli_array){0};
    int code = cli_sources_resolve(words, count, &out->sources);
    if (code != EXIT_OK) {
        return code;
    }
    arena_init_growing(&out->arena);
    code = cli_thread_open(&out->arena, &out->thread);
    if (code != EXIT_OK) {
        goto out_arena;
    }
    struct array_assemble assemble = {
        .paths = (const char *const *)out->sources.paths,
        .path_count = out->sources.count,
        .read_only = !how->write,
        .allow_degraded = !how->write || how->degraded,
        .allow_no_journal = !how->write,
        .allow_dirty = true,
        .lock_wait_ms = how->wait_for_lock ? CLI_LOCK_WAIT_MS : 0,
        .held_fds = how->held_fds,
        .arena = &out->arena,
    };
    char why[ARRAY_WHY_BYTES];
    int rc = array_assemble(&assemble, out->thread.queue, &out->array, why);
    if (rc != 0) {
        cli_error("%s", why);
        code = cli_exit_for(rc);
        goto out_queue;
    }
    for (unsigned i = 0; i < array_problem_count(out->array); i++) {
        cli_error("%s", array_problem(out->array, i));
    }
    return EXIT_OK;

out_queue:
    io_queue_close(out->thread.queue);
out_arena:
    arena_fini(&out->arena);
    cli_sources_free(&out->sources);
    return code;
}

int cli_array_open_journal(struct cli_array *opened, const struct cli_open *how)
{
    struct journal_options options = {
        .arena = &opened->arena,
        .memory_bytes = CLI_JOURNAL_MEMORY_BYTES,
        .read_only = !how->write,
        .accept_damaged_log = how->accept_damaged_log,
        .judge_log = fs_judge_log,
    };
    char why[JOURNAL_WHY_BYTES];
    int rc = journal_open(&opened->journal, opened->array, &options, opened->thread.queue, why);
    if (rc != 0) {
        cli_error("%s", why);
        return cli_exit_for(rc);
    }
    return EXIT_OK;
}

int cli_array_close(struct cli_array *opened)
{
    int rc = 0;
    if (opened->journal != NULL) {
        rc = journal_close(opened->journal, opened->thread.queue);
    }
    if (rc == 0 && array_is_writing(opened->array)) {
        rc = array_stop_writing(opened->array, opened->thread.queue);
    }
    array_close(opened->array);
    io_queue_close(opened->thread.queue);
    arena_fini(&opened->arena);
    cli_sources_free(&opened->sources);
    if (rc != 0) {
        cli_error("closing the array: %s", strerror(-rc));
    }
    return cli_exit_for(rc);
}
