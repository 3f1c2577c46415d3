/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The status for people: a few lines, the members as a table, what to do about it. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "status_out.h"

#define NS_PER_SECOND   1000000000u
#define SECONDS_PER_DAY 86400
#define MIB             (1024.0 * 1024.0)

static void put_pool(struct text_out *out, const struct status_facts *facts)
{
    char state[32] = "";
    const char *word = status_word_state(status_state(facts));

    for (size_t i = 0; word[i] != '\0' && i + 1 < sizeof(state); i++) {
        state[i] = (char)toupper((unsigned char)word[i]);
        state[i + 1] = '\0';
    }
    text_out_put(
        out, "pool      %s  %s  ", facts->label[0] != '\0' ? facts->label : "-", facts->uuid);
    if (facts->mounted != NULL) {
        text_out_put(out, "mounted %s (%s)", facts->mounted, facts->read_only ? "ro" : "rw");
    } else {
        text_out_put(out, "not mounted");
    }
    text_out_put(out, "        state     %s\n", state);
}

static void put_array(struct text_out *out, const struct status_facts *facts)
{
    char usable[TEXT_SIZE_BYTES];
    char used[TEXT_SIZE_BYTES];
    uint64_t usable_bytes =
        facts->have_fs ? facts->space.blocks * BLOCK_BYTES : facts->volume_bytes;

    text_out_put(out,
                 "array     raid5 %" PRIu32 " members, %" PRIu32 " KiB chunk, %s",
                 facts->geometry.slots,
                 facts->geometry.chunk_blocks * (BLOCK_BYTES / 1024),
                 layout_name(facts->geometry.layout));
    text_out_put(out, "        usable    %s", text_size(usable_bytes, usable));
    if (facts->have_fs) {
        uint64_t blocks = facts->space.blocks - facts->space.free_blocks;
        text_out_put(out, ", %s used", text_size(blocks * BLOCK_BYTES, used));
    }
    text_out_put(out, "\n");
}

static void put_journal(struct text_out *out, const struct status_facts *facts)
{
    const struct journal_status *journal = &facts->journal;

    if (!facts->have_journal || facts->journal_device != JOURNAL_DEVICE_OK) {
        text_out_put(out, "journal   %s\n", status_word_journal(facts->journal_device));
        return;
    }
    text_out_put(out,
                 "journal   %s, %.1f of %.0f MiB in use, dirty %.1f MiB",
                 status_word_mode(journal->mode),
                 (double)journal->used_blocks * BLOCK_BYTES / MIB,
                 (double)journal->ring_blocks * BLOCK_BYTES / MIB,
                 (double)journal->dirty_blocks * BLOCK_BYTES / MIB);
    if (journal->dirty_blocks > 0) {
        text_out_put(out, " (oldest %" PRIu64 " s)", journal->oldest_dirty_ns / NS_PER_SECOND);
    }
    text_out_put(out, "\n");
    if (journal->waiting_for_space) {
        text_out_put(out,
                     "waits     for space on %s\n",
                     facts->full_path != NULL ? facts->full_path : "a member's host");
    }
    if (journal->unfillable_rows > 0) {
        text_out_put(out,
                     "waits     %" PRIu64
                     " stripes stay in the journal: a member is missing, and a block of theirs "
                     "cannot be read\n",
                     journal->unfillable_rows);
    }
    if (journal->recovered.at_s != 0) {
        text_out_put(out,
                     "recovered %" PRIu64 " units, %" PRIu64 " stripes\n",
                     journal->recovered.units,
                     journal->recovered.closed_rows + journal->recovered.open_rows);
    }
}

/* By hand: libc allocates for what it knows of time zones, and the daemon must not. */
static void
put_cause(struct text_out *out, const struct status_facts *facts, const struct member_info *member)
{
    int64_t since = (int64_t)(member->since_ns / NS_PER_SECOND) + facts->utc_offset_s;
    unsigned second = since > 0 ? (unsigned)(since % SECONDS_PER_DAY) : 0;

    if (member->cause[0] == '\0') {
        return;
    }
    if (member->since_ns != 0) {
        text_out_put(out,
                     "   failed %02u:%02u:%02u: %s",
                     second / 3600,
                     second / 60 % 60,
                     second % 60,
                     member->cause);
    } else {
        text_out_put(out, "   %s", member->cause);
    }
}

static void put_members(struct text_out *out, const struct status_facts *facts)
{
    char size[TEXT_SIZE_BYTES];

    text_out_put(out, "slot  state    %-10s read  write  csum  path\n", "size");
    for (uint32_t slot = 0; slot < facts->geometry.slots; slot++) {
        const struct member_info *member = &facts->members[slot];
        text_out_put(out,
                     "%-5" PRIu32 " %-8s %-10s %-5" PRIu64 " %-6" PRIu64 " %-5d %s",
                     slot,
                     status_word_member(member->state),
                     member->state == MEMBER_IN_SYNC ? text_size(member->size_bytes, size) : "-",
                     member->read_errors,
                     member->write_errors,
                     0,
                     member->path[0] != '\0' ? member->path : "-");
        put_cause(out, facts, member);
        text_out_put(out, "\n");
    }
}

static void put_buffered(struct text_out *out, const struct status_facts *facts)
{
    for (uint32_t slot = 0; slot < facts->geometry.slots; slot++) {
        const struct member_info *member = &facts->members[slot];
        if (member->state == MEMBER_IN_SYNC && !member->direct) {
            text_out_put(
                out, "note      slot %" PRIu32 ": no O_DIRECT on this file, slower\n", slot);
        }
    }
}

static void put_pools(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out,
                 "\n%-24s %10s %10s %10s %8s %7s %8s %12s\n",
                 "memory",
                 "size",
                 "in use",
                 "highest",
                 "lacked",
                 "parked",
                 "ever",
                 "longest us");
    for (unsigned i = 0; i < facts->pool_count; i++) {
        const struct pool_stats *pool = &facts->pools[i];
        text_out_put(out,
                     "%-24s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %8" PRIu64 " %7" PRIu64
                     " %8" PRIu64 " %12" PRIu64 "\n",
                     pool->name,
                     pool->size,
                     pool->in_use,
                     pool->high_water,
                     pool->failures,
                     pool->parked,
                     pool->parked_ever,
                     pool->longest_wait_us);
    }
}

static void put_log(struct text_out *out, const struct journal_status *journal)
{
    static const char *const lacks[JOURNAL_LACKS] = {
        [JOURNAL_LACKS_TXN_ROOM] = "room in the transaction",
        [JOURNAL_LACKS_IMAGE] = "a stripe image",
        [JOURNAL_LACKS_LOG] = "log space",
        [JOURNAL_LACKS_UNIT] = "an io unit",
        [JOURNAL_LACKS_BUFFER] = "encode buffers",
    };

    text_out_put(out,
                 "io units  %" PRIu64 " free, %" PRIu64 " filling, %" PRIu64 " submitted, %" PRIu64
                 " written",
                 journal->units.free,
                 journal->units.filling,
                 journal->units.submitted,
                 journal->units.written);
    if (journal->oldest_unit_ns != 0) {
        text_out_put(out,
                     "; oldest not on the members %" PRIu64 " s",
                     journal->oldest_unit_ns / NS_PER_SECOND);
    }
    text_out_put(out, "\n");
    for (unsigned i = 0; i < JOURNAL_LACKS; i++) {
        text_out_put(out,
                     "no space  %s: %" PRIu64 " writers, %" PRIu64 " operations, %" PRIu64
                     " write-outs wait\n",
                     lacks[i],
                     journal->parked_by[i][JOURNAL_CLASS_DATA],
                     journal->parked_by[i][JOURNAL_CLASS_TXN],
                     journal->parked_by[i][JOURNAL_CLASS_WRITE_OUT]);
    }
}

static void put_care(struct text_out *out, const char *what, int error)
{
    if (error == 0) {
        text_out_put(out, "memory    %s\n", what);
    } else {
        text_out_put(out, "memory    not %s: refused, %s\n", what, strerrordesc_np(error));
    }
}

static void put_daemon(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out,
                 "requests  %" PRIu64 ", commits %" PRIu64 ", log seq %" PRIu64 "\n",
                 facts->requests,
                 facts->journal.commits,
                 facts->journal.seq);
    put_care(out, "locked", facts->care.lock_error);
    put_care(out, "given as to an I/O flusher", facts->care.flusher_error);
    put_care(out, "kept from the out-of-memory killer", facts->care.oom_error);
    text_out_put(out,
                 "memory    registered with io_uring %.1f MiB, %" PRIu64
                 " transfers; refused %" PRIu64 "\n",
                 (double)facts->registered.bytes / MIB,
                 facts->registered.transfers,
                 facts->registered.refused);
    if (facts->journal.kernel_safe) {
        text_out_put(out,
                     "kernel    safe, fullest bucket of a replay %" PRIu32 " of %" PRIu32 " rows\n",
                     facts->journal.bucket_rows,
                     facts->journal.bucket_max);
    }
}

void status_out_text(struct text_out *out, const struct status_facts *facts, bool verbose)
{
    char action[512];

    put_pool(out, facts);
    put_array(out, facts);
    put_journal(out, facts);
    put_members(out, facts);
    put_buffered(out, facts);
    for (unsigned i = 0; status_action(facts, i, action, sizeof(action)); i++) {
        text_out_put(out, "action    %s\n", action);
    }
    if (verbose && facts->mounted != NULL) {
        put_pools(out, facts);
        put_log(out, &facts->journal);
        put_daemon(out, facts);
    }
}
