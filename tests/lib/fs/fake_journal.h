/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal's door over memory: what journal.h promises, without array, ring or threads of its
 * own.
 *
 * It keeps three things: the volume as reads see it, the volume as it is durable, and a trace of
 * all io units in order. fake_journal_at() makes the journal that a crash after the first n units
 * would leave: data units before the transaction they belong to, a transaction's blocks all in one
 * unit.
 *
 * Strict where the real one is: a reservation that is overdrawn, a write outside the client's lock
 * order or a block twice in one unit fail a CHECK. Links in front of the real journal and array.
 */
#ifndef R5FS_TESTS_FAKE_JOURNAL_H
#define R5FS_TESTS_FAKE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/units.h"
#include "r5fs/journal/journal.h"

struct fake_options {
    uint32_t slots;         /* default 4 */
    uint32_t chunk_sectors; /* default 128 */
    uint64_t volume_blocks; /* about; default 16384 (64 MiB). Untouched blocks cost no memory */
    uint32_t data_step;     /* default 64 */
    uint32_t meta_step;     /* default 32; also the most of a transaction */
    bool trace;             /* keep the units for fake_journal_at */
};

struct journal *fake_journal_make(const struct fake_options *options);
void fake_journal_free(struct journal *journal);
/* The array that stands under it, for fs_format and fs_mount. */
struct array *fake_array(struct journal *journal);
uint64_t fake_volume_blocks(const struct journal *journal);

/* Units so far. `trace` was set. */
uint64_t fake_units(const struct journal *journal);
/* Whether that unit closes a transaction (else it is data only). */
bool fake_unit_has_txn(const struct journal *journal, uint64_t unit);
/* A new journal with what is durable when the first `units` are. `trace`: they stay in its
 * trace. */
struct journal *fake_journal_at(struct journal *journal, uint64_t units, bool trace);
/* As a crash now would leave it, trace included. */
struct journal *fake_journal_crash(struct journal *journal);

/* Called for each unit, under no lock of the fake's: where the test remembers its model. */
void fake_on_unit(struct journal *journal,
                  void (*hook)(void *context, uint64_t unit),
                  void *context);

/* Called by everybody who is about to ask for a reservation or to wait for a commit. */
void fake_on_wait(struct journal *journal, void (*hook)(void *context), void *context);

/* The durable bytes of a block, for looking and for damaging; what reads see changes with
 * fake_block_changed. */
uint8_t *fake_block_bytes(struct journal *journal, struct fs_block block);
void fake_block_changed(struct journal *journal, struct fs_block block);
/* Reads of this block answer -EIO from now on (0: none). */
void fake_fail_reads_of(struct journal *journal, struct fs_block block);
/* From now on a block may be in a unit as a file's and as the tree's, as a damaged map can make
 * it. */
void fake_allow_overlaps(struct journal *journal);
/* Every commit from now on fails, as when the journal device is gone. */
void fake_fail_commits(struct journal *journal);

uint64_t fake_commit_count(const struct journal *journal);
uint64_t fake_read_count(const struct journal *journal);

#endif
