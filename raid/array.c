/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What others may know about an array, and its end. How it begins: array_assemble.c; how it
 * changes: array_super.c; what its state is: array_state.c.
 *
 * Invariant: nothing here changes a state or waits for I/O. Thread: any.
 */
#include "r5fs/raid/array.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_internal.h"
#include "r5fs/base/msg.h"

const struct geometry *array_geometry(const struct array *array)
{
    return &array->geometry;
}

struct uuid array_uuid(const struct array *array)
{
    return array->uuid;
}

const char *array_name(const struct array *array)
{
    return array->name;
}

uint64_t array_events(struct array *array)
{
    env_mutex_lock(&array->lock);
    uint64_t events = array->events;
    env_mutex_unlock(&array->lock);
    return events;
}

bool array_is_read_only(const struct array *array)
{
    return array->read_only;
}

uint64_t array_resync_offset(struct array *array)
{
    env_mutex_lock(&array->lock);
    uint64_t resync_offset = array->resync_offset;
    env_mutex_unlock(&array->lock);
    return resync_offset;
}

void array_count_error(struct array *array, uint32_t slot, bool write)
{
    R5_CHECK(slot < array->geometry.slots);
    struct member *member = &array->members[slot];
    atomic_fetch_add(write ? &member->write_errors : &member->read_errors, 1);
}

void array_member_info(struct array *array, uint32_t slot, struct member_info *out_info)
{
    R5_CHECK(slot < array->geometry.slots);
    struct member *member = &array->members[slot];
    memset(out_info, 0, sizeof(*out_info));
    out_info->path = member->device.path;
    if (member->device.open) {
        out_info->size_bytes = member->device.file.size_bytes;
        out_info->direct = member->device.file.direct;
    }
    out_info->read_errors = atomic_load(&member->read_errors);
    out_info->write_errors = atomic_load(&member->write_errors);
    env_mutex_lock(&array->lock);
    out_info->state = member->state;
    out_info->since_ns = member->since_ns;
    memcpy(out_info->cause, member->cause, sizeof(out_info->cause));
    env_mutex_unlock(&array->lock);
}

const char *array_full_path(struct array *array)
{
    uint32_t full = atomic_load(&array->full);

    return full != 0 ? array->members[full - 1].device.path : NULL;
}

void array_note_full(struct array *array, uint32_t full)
{
    if (atomic_exchange(&array->full, full) != full && full != 0) {
        msg_warn("array",
                 "no space on the host of member slot=%" PRIu32 " %s: write-out waits "
                 "(hint: make room there, it goes on by itself)",
                 full - 1,
                 array->members[full - 1].device.path);
    }
}

unsigned array_problem_count(const struct array *array)
{
    return array->problem_count;
}

const char *array_problem(const struct array *array, unsigned index)
{
    R5_CHECK(index < array->problem_count);
    return array->problems[index];
}

void array_add_problem(struct array *array, const char *line)
{
    R5_CHECK(array->problem_count < ARRAY_PROBLEMS_MAX);
    size_t bytes = strlen(line) + 1;
    char *copy = arena_take(array->arena, bytes, 1);
    memcpy(copy, line, bytes);
    array->problems[array->problem_count++] = copy;
}

enum journal_state array_journal_state(struct array *array)
{
    env_mutex_lock(&array->lock);
    enum journal_state state = array->journal.state;
    env_mutex_unlock(&array->lock);
    return state;
}

struct io_file *array_journal_file(struct array *array)
{
    bool usable = array_journal_state(array) == JOURNAL_DEVICE_OK;
    return usable ? &array->journal.device.file : NULL;
}

uint64_t array_journal_offset_bytes(struct array *array)
{
    return array->journal.device.data_offset_bytes;
}

uint64_t array_journal_blocks(struct array *array)
{
    return array->journal.ring_blocks;
}

const char *array_journal_path(struct array *array)
{
    return array->journal.device.path;
}

struct uuid array_journal_device(const struct array *array)
{
    return array->journal.device.super.device_uuid;
}

struct log_block array_log_tail(struct array *array)
{
    env_mutex_lock(&array->lock);
    struct log_block tail = array->journal.tail;
    env_mutex_unlock(&array->lock);
    return tail;
}

void array_close(struct array *array)
{
    for (uint32_t slot = 0; slot < array->geometry.slots; slot++) {
        if (array->members[slot].device.open) {
            io_file_close(&array->members[slot].device.file);
            array->members[slot].device.open = false;
        }
    }
    if (array->journal.device.open) {
        io_file_close(&array->journal.device.file);
        array->journal.device.open = false;
    }
    array_read_fini(array);
    row_cells_fini(&array->cells);
    env_mutex_fini(&array->lock);
    env_mutex_fini(&array->super_lock);
}
