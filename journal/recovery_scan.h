/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading what a crash left in the log: from the tail to its end, two layers per row, and the look
 * beyond the end that tells a torn unit from a rotten one. Writes nothing.
 *
 * Pages stay in the log; the scan keeps their places and checksums. All its memory is the arena's,
 * so it grows with the live log and goes with the arena.
 */
#ifndef R5FS_JOURNAL_RECOVERY_SCAN_H
#define R5FS_JOURNAL_RECOVERY_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "log_source.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/index.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/geometry.h"

/* One logged block of one layer of a row. */
struct recovered_page {
    struct recovered_page *next; /* of the same layer */
    uint64_t seq;                /* of its unit */
    struct log_block meta;       /* of its unit: where the meta block stands */
    uint32_t checksum;
    uint8_t index; /* the page is the index'th block behind the meta block, from 0 */
    uint8_t slot;
};

struct recovered_row {
    struct index_node node;        /* its key is the row */
    struct recovered_page *closed; /* newest data of all closed generations, and the last parity */
    struct recovered_page *open;   /* data logged after that parity */
    bool lost;                     /* named by a unit beyond a damaged one */
};

/* What a damaged log loses. */
struct recovered_loss {
    uint64_t units; /* intact units beyond the damage */
    uint64_t seq_first;
    uint64_t seq_last;
    uint64_t blocks; /* data payloads in them, and in the damaged unit as far as it can be read */
    uint64_t rows;
};

struct recovered_leftover;

struct recovery_scan {
    struct log_source source;
    const struct geometry *geometry;
    struct io_queue *queue; /* while scanning */
    struct arena *arena;
    struct log_window *window;

    struct log_block tail; /* as in the superblock */
    struct log_block stop; /* where the log goes on */
    uint64_t stop_seq;     /* the seq it goes on with */
    struct log_block last; /* the newest unit's meta block */
    uint64_t last_seq;
    uint64_t units;
    uint64_t used_blocks; /* from the tail to the stop */

    bool foreign;           /* another writer's log: it has what r5fs never writes */
    bool damaged;           /* and accepted: everything from the stop to the tail goes */
    bool head_damaged;      /* and accepted: there is no log at all, a new one is begun */
    const char *stop_label; /* why it ended, for messages */
    struct recovered_loss loss;

    struct index rows;
    struct recovered_page *free_pages;
    struct recovered_leftover *leftovers; /* blocks beyond the stop to be overwritten */
    uint64_t leftover_count;

    struct recovered_row **closed; /* rows whose closed layer goes to the members, by row */
    uint64_t closed_count;
    struct recovered_row **open; /* rows with an open layer, by their oldest page's seq */
    uint64_t open_count;
};

/* The array's journal device is JOURNAL_DEVICE_OK; `arena` is a growing one. What is read counts as
 * durable only if the caller had the journal flushed before. -EBADMSG: durable log is damaged and
 * `accept_damaged` is not set; `out_why` (JOURNAL_WHY_BYTES) names the loss and the way out.
 * -ENOMEM. */
R5_MUST_CHECK int recovery_scan_run(struct recovery_scan *scan,
                                    struct array *array,
                                    struct io_queue *queue,
                                    struct arena *arena,
                                    bool accept_damaged,
                                    char *out_why);

/* NULL when nothing of the row is in the log. Any thread, after the scan. */
const struct recovered_row *recovery_scan_find(const struct recovery_scan *scan,
                                               struct member_block row);
const struct recovered_page *recovered_page_find(const struct recovered_page *layer, uint32_t slot);
/* Facts for recovery_row_table. */
uint32_t recovery_row_facts(const struct recovery_scan *scan, const struct recovered_row *row);
/* Whether the row's closed layer is to be brought to the members. */
bool recovery_row_writes_closed(const struct recovery_scan *scan, const struct recovered_row *row);
struct log_block recovered_page_position(const struct recovery_scan *scan,
                                         const struct recovered_page *page);

/* Walk over the leftovers: NULL first; false at the end. */
struct recovered_leftover *recovery_leftover_next(const struct recovery_scan *scan,
                                                  struct recovered_leftover *leftover);
struct log_block recovery_leftover_position(const struct recovered_leftover *leftover);
/* Whether it is a unit that shows a foreign writer. */
bool recovery_leftover_is_foreign(const struct recovered_leftover *leftover);

#endif
