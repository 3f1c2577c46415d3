/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring of an array that was just created: written full, so that no later log write has to wait
 * for blocks to be allocated by the host, and holding the one empty unit that starts a log.
 * Failure modes: the first error of the journal device. Thread: the creating one.
 */
#include <errno.h>

#include "log_begin.h"
#include "r5fs/journal/journal.h"

int journal_format(struct array *array, struct io_queue *queue)
{
    struct log_source source;
    struct arena arena;
    uint64_t seq = 0;

    if (array_journal_state(array) != JOURNAL_DEVICE_OK) {
        return -ENXIO;
    }
    log_source_init(&source, array);
    arena_init_growing(&arena);
    int error = log_begin_empty(&source, array, queue, &arena, &seq);
    arena_fini(&arena);
    return error;
}
