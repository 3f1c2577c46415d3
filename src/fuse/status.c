/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gathering the facts, and what they amount to.
 *
 *   array ---\
 *   journal ---> struct status_facts --> status_json.c, status_text.c
 *   fs ------/
 *
 * Nothing here is remembered: state is derived from what the floors below say at this moment.
 * Thread: a worker (mounted), the command's own (not mounted).
 */
#include "status.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "fuse_server.h"
#include "status_out.h"

#define STATUS_TEXT_BYTES ((size_t)512 * 1024)

static void gather_array(struct array *array, struct status_facts *facts)
{
    struct uuid uuid = array_uuid(array);

    facts->time_s = env_realtime_ns() / 1000000000u;
    facts->geometry = *array_geometry(array);
    uuid_print(&uuid, facts->uuid);
    facts->label = array_name(array);
    facts->array_state = array_state(array);
    facts->missing_slot = ARRAY_NO_SLOT;
    if (facts->array_state != ARRAY_CLEAN) {
        facts->missing_slot = array_missing_slot(array);
    }
    facts->events = array_events(array);
    facts->volume_bytes = facts->geometry.volume_blocks * BLOCK_BYTES;
    facts->journal_device = array_journal_state(array);
    facts->journal_path = array_journal_path(array);
    facts->full_path = array_full_path(array);
    for (uint32_t slot = 0; slot < facts->geometry.slots; slot++) {
        array_member_info(array, slot, &facts->members[slot]);
    }
    facts->pool_count = pool_collect_stats(facts->pools, STATUS_POOLS_MAX);
}

int32_t status_utc_offset_s(void)
{
    struct tm local;
    time_t now = (time_t)(env_realtime_ns() / 1000000000u);

    return localtime_r(&now, &local) == NULL ? 0 : (int32_t)local.tm_gmtoff;
}

int status_gather_mounted(struct fuse_worker *worker, struct status_facts *facts)
{
    struct fuse_server *server = worker->server;

    *facts = (struct status_facts){.mounted = server->mountpoint, .pid = (uint64_t)getpid()};
    gather_array(server->array, facts);
    facts->have_journal = true;
    journal_get_status(server->journal, &facts->journal);
    facts->have_fs = true;
    fs_get_info(server->fs, &facts->fs);
    facts->write_through = facts->fs.write_through;
    facts->read_only = facts->fs.read_only;
    facts->label = facts->fs.label[0] != '\0' ? facts->fs.label : facts->label;
    facts->care = server->care;
    io_registered_get(&facts->registered);
    facts->fuse_flags = server->agreed;
    facts->threads = server->worker_count;
    for (uint32_t i = 0; i < server->worker_count; i++) {
        facts->requests += atomic_load_explicit(&server->workers[i].handled, memory_order_relaxed);
    }
    return fs_statfs(server->fs, &worker->thread, &facts->space);
}

int status_offline(struct array *array,
                   struct journal *journal,
                   enum status_format format,
                   struct arena *arena,
                   struct status_reply *out_reply)
{
    struct status_facts *facts = arena_take(arena, sizeof(*facts), _Alignof(struct status_facts));
    char *text = arena_take(arena, STATUS_TEXT_BYTES, 1);

    gather_array(array, facts);
    facts->utc_offset_s = status_utc_offset_s();
    facts->pool_count = 0; /* a command's own pools say nothing about the array */
    if (journal != NULL) {
        facts->have_journal = true;
        journal_get_status(journal, &facts->journal);
    }
    out_reply->text_bytes = status_write(facts, format, text, STATUS_TEXT_BYTES);
    out_reply->text = text;
    out_reply->check_code = status_check_code(facts);
    return 0;
}

static bool any_error(const struct status_facts *facts)
{
    for (uint32_t slot = 0; slot < facts->geometry.slots; slot++) {
        if (facts->members[slot].read_errors > 0 || facts->members[slot].write_errors > 0) {
            return true;
        }
    }
    return facts->have_fs && facts->fs.damaged;
}

enum status_state status_state(const struct status_facts *facts)
{
    if (facts->array_state == ARRAY_FAILED) {
        return STATUS_FAILED;
    }
    if (facts->journal_device == JOURNAL_DEVICE_FAULTY ||
        (facts->have_journal && facts->journal.mode == JOURNAL_FAILED)) {
        return STATUS_JOURNAL_FAILED;
    }
    if (facts->journal_device != JOURNAL_DEVICE_OK) {
        return STATUS_JOURNAL_MISSING;
    }
    if (facts->mounted != NULL && facts->read_only) {
        return STATUS_READ_ONLY;
    }
    if (facts->array_state == ARRAY_DEGRADED) {
        return STATUS_DEGRADED;
    }
    return any_error(facts) ? STATUS_ERRORS : STATUS_HEALTHY;
}

int status_check_code(const struct status_facts *facts)
{
    switch (status_state(facts)) {
    case STATUS_FAILED:
    case STATUS_READ_ONLY: return 12;
    case STATUS_JOURNAL_FAILED:
    case STATUS_JOURNAL_MISSING: return 13;
    case STATUS_DEGRADED: return 10;
    case STATUS_ERRORS: return 14;
    case STATUS_HEALTHY: return 0;
    }
    return 12;
}

size_t
status_write(const struct status_facts *facts, enum status_format format, char *text, size_t size)
{
    struct text_out out;

    text_out_init(&out, text, size);
    if (format == STATUS_FORMAT_JSON) {
        status_out_json(&out, facts);
    } else {
        status_out_text(&out, facts, format == STATUS_FORMAT_VERBOSE);
    }
    return out.used;
}
