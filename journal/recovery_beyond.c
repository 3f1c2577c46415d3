/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Was the log torn by the crash, or has durable log gone bad? Units beyond the stop tell.
 *
 *   tail                     stop                                    min(bound, tail)
 *    | unit | ... | unit n-1 | ?? n ?? | n+1 | n+2 | old | ... |
 *                                        ^ submitted with `undurable` units before it not yet
 *                                        durable:
 *                                          n+1 - undurable > n says that n was durable by then
 *
 * Whose log? Our units flush nothing and never mix data with parity, the kernel's do: each such
 * unit within the log or beyond shows a foreign writer, whose trailers say nothing, so that only a
 * unit 64 seqs ahead proves damage. A log with no such sign is taken for ours. Should it be the
 * kernel's after all (nothing but whole-block writes since it was started), the stricter rule at
 * worst refuses a torn log that could go on, and names the way out; it never passes over damage.
 *
 * Invariants:
 *   RB1  nothing at or beyond the tail is looked at.
 *   RB2  a unit counts only when it is as far ahead in seq as its place allows: one block a unit.
 *
 * Failure modes: blocks that cannot be read are no units (log_source.h).
 * Thread: the scanning one.
 */
#include "recovery_beyond.h"

#include <errno.h>

#include "meta_block.h"
#include "recovery_cases.h"
#include "recovery_layers.h"

/* A difference of seqs from here on is a negative one. */
#define OLDER_FROM (UINT64_C(1) << 63)

struct recovered_leftover {
    struct recovered_leftover *next;
    struct log_block position;
    uint64_t offset;
    uint64_t seq;
    uint32_t facts;
    bool foreign;
};

bool recovery_unit_is_foreign(const uint8_t *meta)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    bool seen[LOG_PAYLOAD_FLUSH + 1] = {false};

    meta_cursor_init(&cursor, meta);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        seen[payload.type] = true;
    }
    return seen[LOG_PAYLOAD_FLUSH] || (seen[LOG_PAYLOAD_DATA] && seen[LOG_PAYLOAD_PARITY]);
}

/* Facts of the block `distance` blocks beyond the stop; BEYOND_FOREIGN is added when all are
 * known. */
static uint32_t beyond_facts(const struct recovery_scan *scan,
                             const uint8_t *block,
                             struct log_block position,
                             uint64_t distance)
{
    uint32_t facts = 0;

    if (meta_block_verify(block, scan->source.seed, position) != META_VALID) {
        return facts;
    }
    facts |= BEYOND_VALID;
    uint64_t ahead = meta_block_seq(block) - scan->stop_seq;
    uint64_t undurable = min_u64(meta_block_undurable(block), LOG_UNITS_IN_FLIGHT_MAX - 1);
    facts |= ahead < OLDER_FROM ? BEYOND_NEW : 0;
    if (ahead == 0 || ahead > distance) { /* RB2 */
        return facts;
    }
    facts |= BEYOND_AHEAD;
    facts |= ahead > undurable ? BEYOND_ANSWERED : 0;
    facts |= ahead >= LOG_UNITS_IN_FLIGHT_MAX ? BEYOND_TOO_FAR : 0;
    return facts;
}

static int add_leftover(struct recovery_scan *scan,
                        struct recovered_leftover ***tail,
                        const struct recovered_leftover *found)
{
    struct recovered_leftover *leftover =
        arena_try_take(scan->arena, sizeof(*leftover), _Alignof(struct recovered_leftover));

    if (leftover == NULL) {
        return -ENOMEM;
    }
    *leftover = *found;
    **tail = leftover;
    *tail = &leftover->next;
    scan->leftover_count++;
    return 0;
}

/* Data blocks and rows that a unit names, as far as its payloads make sense. */
static int count_loss(struct recovery_scan *scan, const uint8_t *meta)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    int error = 0;

    meta_cursor_init(&cursor, meta);
    while (error == 0 && meta_cursor_next(&cursor, &payload) == 1) {
        struct fs_block block = fs_block(payload.location_sectors / BLOCK_SECTORS);
        if (payload.type == LOG_PAYLOAD_DATA && block.nr < scan->geometry->volume_blocks) {
            scan->loss.blocks++;
            error = recovery_layers_mark_lost(scan, geometry_locate(scan->geometry, block).row);
        }
    }
    return error;
}

static int count_losses(struct recovery_scan *scan)
{
    const uint8_t *block = log_window_get(scan->window, scan->used_blocks, 1);
    int error = 0;

    /* The damaged unit itself, where its meta block survived. */
    if (meta_block_verify(block, scan->source.seed, scan->stop) == META_VALID &&
        meta_block_seq(block) == scan->stop_seq) {
        error = count_loss(scan, block);
    }
    for (struct recovered_leftover *at = scan->leftovers; at != NULL && error == 0; at = at->next) {
        if ((at->facts & BEYOND_AHEAD) == 0) {
            continue;
        }
        scan->loss.seq_first = scan->loss.units == 0 ? at->seq : scan->loss.seq_first;
        scan->loss.seq_last = at->seq;
        scan->loss.units++;
        error = count_loss(scan, log_window_get(scan->window, at->offset, 1));
    }
    return error;
}

int recovery_beyond_look(struct recovery_scan *scan)
{
    uint64_t room = scan->source.ring.blocks - scan->used_blocks; /* RB1 */
    uint64_t bound = min_u64(room, LOG_LOOK_ON_BLOCKS);
    struct recovered_leftover **tail = &scan->leftovers;

    for (uint64_t distance = 0; distance < bound; distance++) {
        uint64_t offset = scan->used_blocks + distance;
        const uint8_t *block = log_window_get(scan->window, offset, 1);
        if (!meta_block_has_magic(block)) {
            continue;
        }
        struct recovered_leftover found = {
            .position = log_window_position(scan->window, offset),
            .offset = offset,
            .seq = meta_block_seq(block),
        };
        found.facts = beyond_facts(scan, block, found.position, distance);
        if ((found.facts & BEYOND_NEW) == 0) {
            continue; /* an older lap's, or no valid one */
        }
        found.foreign = (found.facts & BEYOND_AHEAD) != 0 && recovery_unit_is_foreign(block);
        scan->foreign = scan->foreign || found.foreign;
        int error = add_leftover(scan, &tail, &found);
        if (error != 0) {
            return error;
        }
    }
    for (struct recovered_leftover *at = scan->leftovers; at != NULL; at = at->next) {
        uint32_t facts = at->facts | (scan->foreign ? BEYOND_FOREIGN : 0);
        if (recovery_table_find(&recovery_beyond_table, facts)->decision == BEYOND_DAMAGE) {
            scan->damaged = true;
        }
    }
    return scan->damaged ? count_losses(scan) : 0;
}

struct recovered_leftover *recovery_leftover_next(const struct recovery_scan *scan,
                                                  struct recovered_leftover *leftover)
{
    return leftover == NULL ? scan->leftovers : leftover->next;
}

struct log_block recovery_leftover_position(const struct recovered_leftover *leftover)
{
    return leftover->position;
}

bool recovery_leftover_is_foreign(const struct recovered_leftover *leftover)
{
    return leftover->foreign;
}
