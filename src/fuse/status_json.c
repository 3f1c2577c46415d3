/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The status as JSON: integers in bytes and epoch seconds, the same keys in every state, null where
 * nothing is known. Schema r5fs.status 1.4; a new key raises the minor, a changed one the major.
 */
#include <inttypes.h>
#include <string.h>

#include "status_out.h"

#define NS_PER_SECOND 1000000000u

static void put_optional(struct text_out *out, const char *key, bool known, uint64_t value)
{
    if (known) {
        text_out_put(out, "\"%s\":%" PRIu64, key, value);
    } else {
        text_out_put(out, "\"%s\":null", key);
    }
}

static void put_string(struct text_out *out, const char *key, const char *value)
{
    text_out_put(out, "\"%s\":", key);
    text_out_json(out, value);
}

static const char *bool_word(bool value)
{
    return value ? "true" : "false";
}

static void put_pool(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out, "\"pool\":{");
    put_string(out, "label", facts->label);
    text_out_put(out, ",\"uuid\":\"%s\",", facts->uuid);
    put_string(out, "state", status_word_state(status_state(facts)));
    text_out_put(out, ",");
    put_string(out, "mounted", facts->mounted);
    text_out_put(out, ",\"ro\":%s,", facts->mounted == NULL ? "null" : bool_word(facts->read_only));
    text_out_put(out, "\"damaged\":%s}", facts->have_fs ? bool_word(facts->fs.damaged) : "null");
}

/* null: it was granted (or nothing is mounted). Names of errors are the same everywhere. */
static void put_care(struct text_out *out, bool known, const char *key, int error)
{
    text_out_put(out, ",");
    put_string(out, key, known && error != 0 ? strerrorname_np(error) : NULL);
}

static void put_daemon(struct text_out *out, const struct status_facts *facts)
{
    bool known = facts->mounted != NULL;

    text_out_put(out, "\"daemon\":{");
    put_optional(out, "threads", known, facts->threads);
    text_out_put(out, ",");
    put_optional(out, "requests", known, facts->requests);
    text_out_put(out, ",");
    put_optional(out, "fuse_flags", known, facts->fuse_flags);
    text_out_put(
        out, ",\"memory_locked\":%s", known ? bool_word(facts->care.lock_error == 0) : "null");
    put_care(out, known, "memory_lock_error", facts->care.lock_error);
    put_care(out, known, "io_flusher_error", facts->care.flusher_error);
    put_care(out, known, "oom_score_error", facts->care.oom_error);
    text_out_put(out, ",");
    put_optional(out, "registered", known, facts->registered.bytes);
    text_out_put(out, ",");
    put_optional(out, "registered_refused", known, facts->registered.refused);
    text_out_put(out, ",");
    put_optional(out, "registered_transfers", known, facts->registered.transfers);
    text_out_put(out, "}");
}

static void put_array(struct text_out *out, const struct status_facts *facts)
{
    const struct geometry *geometry = &facts->geometry;
    unsigned missing = 0;

    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        missing += facts->members[slot].state != MEMBER_IN_SYNC ? 1 : 0;
    }
    text_out_put(out,
                 "\"array\":{\"level\":5,\"chunk\":%" PRIu64 ",",
                 (uint64_t)geometry->chunk_blocks * BLOCK_BYTES);
    put_string(out, "layout", layout_name(geometry->layout));
    text_out_put(out, ",\"slots\":%" PRIu32 ",\"missing\":%u,", geometry->slots, missing);
    put_optional(out,
                 "usable",
                 true,
                 facts->have_fs ? facts->space.blocks * BLOCK_BYTES : facts->volume_bytes);
    text_out_put(out, ",");
    put_optional(out,
                 "used",
                 facts->have_fs,
                 (facts->space.blocks - facts->space.free_blocks) * BLOCK_BYTES);
    text_out_put(out, ",\"events\":%" PRIu64 "}", facts->events);
}

static void put_recovered(struct text_out *out, const struct status_facts *facts)
{
    const struct journal_recovered *recovered = &facts->journal.recovered;
    bool known = facts->have_journal && recovered->at_s != 0;

    text_out_put(out, "\"recovered\":{");
    put_optional(out, "units", known, recovered->units);
    text_out_put(out, ",");
    put_optional(out, "stripes", known, recovered->closed_rows + recovered->open_rows);
    text_out_put(out, ",");
    put_optional(out, "at", known, recovered->at_s);
    text_out_put(out, "}");
}

static void put_log(struct text_out *out, bool known, const struct journal_status *journal)
{
    static const char *const lacks[JOURNAL_LACKS] = {
        [JOURNAL_LACKS_TXN_ROOM] = "transaction_room",
        [JOURNAL_LACKS_IMAGE] = "image",
        [JOURNAL_LACKS_LOG] = "log_space",
        [JOURNAL_LACKS_UNIT] = "io_unit",
        [JOURNAL_LACKS_BUFFER] = "encode_buffer",
    };

    put_optional(out,
                 "oldest_unit_s",
                 known && journal->oldest_unit_ns != 0,
                 journal->oldest_unit_ns / NS_PER_SECOND);
    text_out_put(out, ",\"units\":{");
    put_optional(out, "free", known, journal->units.free);
    text_out_put(out, ",");
    put_optional(out, "filling", known, journal->units.filling);
    text_out_put(out, ",");
    put_optional(out, "submitted", known, journal->units.submitted);
    text_out_put(out, ",");
    put_optional(out, "written", known, journal->units.written);
    text_out_put(out, "},\"no_space\":{");
    for (unsigned i = 0; i < JOURNAL_LACKS; i++) {
        text_out_put(out, "%s\"%s\":{", i > 0 ? "," : "", lacks[i]);
        put_optional(out, "data", known, journal->parked_by[i][JOURNAL_CLASS_DATA]);
        text_out_put(out, ",");
        put_optional(out, "transaction", known, journal->parked_by[i][JOURNAL_CLASS_TXN]);
        text_out_put(out, ",");
        put_optional(out, "write_out", known, journal->parked_by[i][JOURNAL_CLASS_WRITE_OUT]);
        text_out_put(out, "}");
    }
    text_out_put(out, "},");
}

static void put_journal(struct text_out *out, const struct status_facts *facts)
{
    const struct journal_status *journal = &facts->journal;
    bool known = facts->have_journal;
    const char *kept = facts->write_through ? "write-through" : "write-back";

    text_out_put(out, "\"journal\":{");
    put_string(out,
               "state",
               known && journal->mode == JOURNAL_FAILED
                   ? "faulty"
                   : status_word_journal(facts->journal_device));
    text_out_put(out, ",");
    put_string(out, "path", facts->journal_path);
    text_out_put(out, ",");
    put_string(out, "mode", facts->have_fs ? kept : NULL);
    text_out_put(out, ",");
    put_string(out, "effective_mode", known ? status_word_mode(journal->mode) : NULL);
    text_out_put(out, ",");
    put_optional(out, "size", known, journal->ring_blocks * BLOCK_BYTES);
    text_out_put(out, ",");
    put_optional(out, "used", known, journal->used_blocks * BLOCK_BYTES);
    text_out_put(out, ",");
    put_optional(out, "dirty", known, journal->dirty_blocks * BLOCK_BYTES);
    text_out_put(out, ",");
    put_optional(out, "oldest_dirty_s", known, journal->oldest_dirty_ns / NS_PER_SECOND);
    text_out_put(out, ",");
    put_optional(out, "unwritten_rows", known, journal->unwritten_rows);
    text_out_put(out, ",");
    put_optional(out, "unfillable_rows", known, journal->unfillable_rows);
    text_out_put(out, ",");
    put_optional(out, "seq", known, journal->seq);
    text_out_put(out, ",");
    put_optional(out, "commits", known, journal->commits);
    text_out_put(out, ",");
    put_optional(out, "log_bytes", known, journal->log_bytes);
    text_out_put(out, ",");
    put_optional(out, "parked", known, journal->parked);
    text_out_put(
        out, ",\"waiting_for_space\":%s,", known ? bool_word(journal->waiting_for_space) : "null");
    text_out_put(out, "\"kernel_safe\":%s,", known ? bool_word(journal->kernel_safe) : "null");
    put_optional(out, "bucket_rows", known && journal->kernel_safe, journal->bucket_rows);
    text_out_put(out, ",");
    put_log(out, known, journal);
    put_recovered(out, facts);
    text_out_put(out, "}");
}

static void put_members(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out, "\"members\":[");
    for (uint32_t slot = 0; slot < facts->geometry.slots; slot++) {
        const struct member_info *member = &facts->members[slot];
        text_out_put(out, "%s{\"slot\":%" PRIu32 ",", slot > 0 ? "," : "", slot);
        put_string(out, "state", status_word_member(member->state));
        text_out_put(out, ",");
        put_string(out, "path", member->path[0] != '\0' ? member->path : NULL);
        text_out_put(out, ",");
        put_optional(out, "size", member->size_bytes != 0, member->size_bytes);
        text_out_put(out,
                     ",\"errors\":{\"read\":%" PRIu64 ",\"write\":%" PRIu64 ",\"checksum\":0},",
                     member->read_errors,
                     member->write_errors);
        put_optional(out, "since", member->since_ns != 0, member->since_ns / NS_PER_SECOND);
        text_out_put(out,
                     ",\"direct\":%s,",
                     member->state == MEMBER_IN_SYNC ? bool_word(member->direct) : "null");
        put_string(out, "cause", member->cause[0] != '\0' ? member->cause : NULL);
        text_out_put(out, "}");
    }
    text_out_put(out, "]");
}

static void put_pools(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out, "\"pools\":[");
    for (unsigned i = 0; i < facts->pool_count; i++) {
        const struct pool_stats *pool = &facts->pools[i];
        text_out_put(out, "%s{", i > 0 ? "," : "");
        put_string(out, "name", pool->name);
        text_out_put(out,
                     ",\"size\":%" PRIu64 ",\"in_use\":%" PRIu64 ",\"high_water\":%" PRIu64
                     ",\"failures\":%" PRIu64 ",\"parked\":%" PRIu64 ",\"parked_ever\":%" PRIu64
                     ",\"longest_wait_us\":%" PRIu64 "}",
                     pool->size,
                     pool->in_use,
                     pool->high_water,
                     pool->failures,
                     pool->parked,
                     pool->parked_ever,
                     pool->longest_wait_us);
    }
    text_out_put(out, "]");
}

static void put_actions(struct text_out *out, const struct status_facts *facts)
{
    char action[512];

    text_out_put(out, "\"actions\":[");
    for (unsigned i = 0; status_action(facts, i, action, sizeof(action)); i++) {
        text_out_put(out, "%s", i > 0 ? "," : "");
        text_out_json(out, action);
    }
    text_out_put(out, "]");
}

void status_out_json(struct text_out *out, const struct status_facts *facts)
{
    text_out_put(out,
                 "{\"schema\":{\"name\":\"r5fs.status\",\"major\":1,\"minor\":4},\"time\":%" PRIu64
                 ",",
                 facts->time_s);
    put_optional(out, "pid", facts->mounted != NULL, facts->pid);
    text_out_put(out, ",");
    put_pool(out, facts);
    text_out_put(out, ",");
    put_array(out, facts);
    text_out_put(out, ",");
    put_journal(out, facts);
    text_out_put(out, ",");
    put_members(out, facts);
    /* No long work exists yet; the keys do. */
    text_out_put(out,
                 ",\"job\":{\"type\":null,\"done\":null,\"total\":null,\"rate\":null,"
                 "\"eta_s\":null,\"checkpoint\":null}"
                 ",\"scrub\":{\"state\":null,\"end\":null,\"errors\":null,"
                 "\"repaired\":null},");
    put_daemon(out, facts);
    text_out_put(out, ",");
    put_pools(out, facts);
    text_out_put(out, ",");
    put_actions(out, facts);
    text_out_put(out, "}\n");
}
