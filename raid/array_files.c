/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that somebody says are an array: opened, locked, their superblocks read, and which
 * array they are. array_assemble.c goes on from there.
 *
 *   path -> same file twice? -> open and lock -> superblock -> the array of most -> freshest
 *
 * Invariants: AF1 a candidate that is not `decoded` says why. AF2 after assembly_identify() all
 * that are decoded belong to one array, and no two are copies of each other. AF3 of superblocks
 * with the same events that one is fresher which lists fewer devices in use, then the one that says
 * dirty: array_super.c (A4) may have to write a loss without a new number.
 * Failure modes: trouble with one file alone is kept in its `why`; what a person has to sort out is
 * refused with one line.
 * Thread: the assembling one.
 */
#include "array_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "r5fs/base/line.h"

#define EVENTS_BEHIND_MAX 1u /* a torn round of superblock writes leaves no more */

int assembly_refuse(struct assembly *assembly, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line_format_list(assembly->out_why, ARRAY_WHY_BYTES, format, args);
    va_end(args);
    return error;
}

void candidate_set_problem(struct candidate *candidate, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line_format_list(candidate->why, sizeof(candidate->why), format, args);
    va_end(args);
}

/* ---- open and read ------------------------------------------------------------------------- */

static bool same_file(const struct candidate *a, const struct candidate *b)
{
    if (strcmp(a->device.path, b->device.path) == 0) {
        return true;
    }
    if (!a->has_identity || !b->has_identity) {
        return false;
    }
    if (S_ISBLK(a->identity.st_mode) && S_ISBLK(b->identity.st_mode)) {
        return a->identity.st_rdev == b->identity.st_rdev;
    }
    return a->identity.st_dev == b->identity.st_dev && a->identity.st_ino == b->identity.st_ino;
}

/* Before opening: the second one would only meet the lock of the first. */
static int refuse_same_file(struct assembly *assembly, const struct candidate *candidate)
{
    for (const struct candidate *earlier = assembly->candidates; earlier < candidate; earlier++) {
        if (same_file(earlier, candidate)) {
            return assembly_refuse(assembly,
                                   -EINVAL,
                                   "%s and %s: the same file twice (hint: name each file once)",
                                   earlier->device.path,
                                   candidate->device.path);
        }
    }
    return 0;
}

static int
judge_open_error(struct assembly *assembly, struct candidate *candidate, int error, int holder_pid)
{
    const char *path = candidate->device.path;
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
    case EIO: candidate_set_problem(candidate, "%s", strerror(-error)); return 0;
    case EBUSY:
        if (holder_pid > 0) {
            return assembly_refuse(assembly,
                                   error,
                                   "%s: in use by process %d (hint: unmount it there first)",
                                   path,
                                   holder_pid);
        }
        return assembly_refuse(
            assembly, error, "%s: in use by another process (hint: fuser %s)", path, path);
    case ENOTBLK:
        return assembly_refuse(
            assembly,
            error,
            "%s: neither a regular file nor a block device (hint: name the members)",
            path);
    case EACCES:
    case EPERM:
    case EROFS:
        return assembly_refuse(assembly,
                               error,
                               "%s: %s (hint: check owner and mode, or mount with -o ro)",
                               path,
                               strerror(-error));
    default:
        return assembly_refuse(
            assembly, error, "%s: %s (hint: see the system log)", path, strerror(-error));
    }
}

static int open_candidate(struct assembly *assembly, struct candidate *candidate)
{
    struct io_open_options options = {
        .read_only = assembly->how->read_only,
        .lock = true,
        .probe_direct = true,
        .lock_wait_ms = assembly->how->lock_wait_ms,
        .held_fd = assembly->how->held_fds,
    };
    struct md_device *device = &candidate->device;
    int holder_pid = 0;
    if (options.held_fd != NULL) {
        options.held_fd += candidate - assembly->candidates;
    }
    int error = io_file_open(&device->file, device->path, &options, &holder_pid);
    if (error != 0) {
        return judge_open_error(assembly, candidate, error, holder_pid);
    }
    device->open = true;
    device->block = arena_take(assembly->how->arena, BLOCK_BYTES, BLOCK_BYTES);
    error = md_device_read_super(device, assembly->queue, candidate->why);
    candidate->decoded = error == 0;
    device->data_offset_bytes = device->super.data_offset_sectors * SECTOR_BYTES;
    return 0;
}

int assembly_open_files(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->how->path_count; i++) {
        struct candidate *candidate = &assembly->candidates[i];
        const char *path = assembly->how->paths[i];
        size_t bytes = strlen(path) + 1;
        char *copy = arena_take(assembly->how->arena, bytes, 1);
        memcpy(copy, path, bytes);
        candidate->device.path = copy;
        candidate->has_identity = stat(path, &candidate->identity) == 0;
        assembly->count = i + 1;
        int error = refuse_same_file(assembly, candidate);
        if (error == 0) {
            error = open_candidate(assembly, candidate);
        }
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ---- which array --------------------------------------------------------------------------- */

static unsigned count_votes(const struct assembly *assembly, const struct uuid *uuid)
{
    unsigned votes = 0;
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        votes += candidate->decoded && uuid_equal(&candidate->device.super.set_uuid, uuid);
    }
    return votes;
}

/* The array that most files belong to; of equals the first. */
static const struct candidate *choose_array(const struct assembly *assembly)
{
    const struct candidate *chosen = NULL;
    unsigned most = 0;
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        unsigned votes =
            candidate->decoded ? count_votes(assembly, &candidate->device.super.set_uuid) : 0;
        if (votes > most) {
            most = votes;
            chosen = candidate;
        }
    }
    return chosen;
}

static int refuse_foreign(struct assembly *assembly, const struct candidate *chosen)
{
    const struct md_superblock *wanted = &chosen->device.super;
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        const struct md_superblock *super = &candidate->device.super;
        if (!candidate->decoded || uuid_equal(&super->set_uuid, &wanted->set_uuid)) {
            continue;
        }
        char theirs[UUID_TEXT_BYTES];
        char ours[UUID_TEXT_BYTES];
        char their_name[MD_NAME_BYTES + 1];
        char our_name[MD_NAME_BYTES + 1];
        md_super_print_name(super, their_name);
        md_super_print_name(wanted, our_name);
        uuid_print(&super->set_uuid, theirs);
        uuid_print(&wanted->set_uuid, ours);
        return assembly_refuse(assembly,
                               -EINVAL,
                               "%s: %s of another array: %s (%s), not %s (%s) (hint: leave it out)",
                               candidate->device.path,
                               md_super_role(super) == MD_ROLE_JOURNAL ? "journal" : "member",
                               theirs,
                               their_name,
                               ours,
                               our_name);
    }
    return 0;
}

static int refuse_copies(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->count; i++) {
        for (uint32_t k = i + 1; k < assembly->count; k++) {
            const struct candidate *a = &assembly->candidates[i];
            const struct candidate *b = &assembly->candidates[k];
            if (a->decoded && b->decoded &&
                uuid_equal(&a->device.super.device_uuid, &b->device.super.device_uuid)) {
                return assembly_refuse(assembly,
                                       -EINVAL,
                                       "%s and %s: copies of one member, events %" PRIu64
                                       " and %" PRIu64
                                       " (hint: leave out the one that was not in use last)",
                                       a->device.path,
                                       b->device.path,
                                       a->device.super.events,
                                       b->device.super.events);
            }
        }
    }
    return 0;
}

static uint32_t count_in_use(const struct md_superblock *super)
{
    uint32_t count = 0;
    for (uint32_t dev = 0; dev < super->max_dev; dev++) {
        uint32_t role = md_super_role_of(super, dev);
        count += role != MD_ROLE_FAULTY && role != MD_ROLE_SPARE;
    }
    return count;
}

/* AF3 */
static bool is_fresher(const struct md_superblock *a, const struct md_superblock *b)
{
    if (a->events != b->events) {
        return a->events > b->events;
    }
    uint32_t in_use = count_in_use(a);
    uint32_t than = count_in_use(b);
    return in_use != than ? in_use < than : !md_super_is_clean(a) && md_super_is_clean(b);
}

static void pick_freshest(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->count; i++) {
        struct candidate *candidate = &assembly->candidates[i];
        if (candidate->decoded &&
            (assembly->freshest == NULL ||
             is_fresher(&candidate->device.super, &assembly->freshest->device.super))) {
            assembly->freshest = candidate;
        }
    }
}

bool candidate_is_stale(const struct assembly *assembly, const struct candidate *candidate)
{
    return assembly->freshest->device.super.events - candidate->device.super.events >
           EVENTS_BEHIND_MAX;
}

static int refuse_unsupported(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        if (!candidate->decoded || candidate_is_stale(assembly, candidate)) {
            continue;
        }
        char why[MD_WHY_BYTES];
        int error = md_super_supported(&candidate->device.super, assembly->how->read_only, why);
        if (error != 0) {
            return assembly_refuse(assembly,
                                   error == -ENOTSUP ? -EINVAL : error,
                                   "%s: %s (hint: use mdadm for it)",
                                   candidate->device.path,
                                   why);
        }
    }
    return 0;
}

int assembly_identify(struct assembly *assembly)
{
    const struct candidate *chosen = choose_array(assembly);
    if (chosen == NULL) {
        return assembly_refuse(assembly,
                               -ENODEV,
                               "%s: %s (hint: r5fs examine FILE shows what is on a file)",
                               assembly->candidates[0].device.path,
                               assembly->candidates[0].why);
    }
    int error = refuse_foreign(assembly, chosen);
    if (error == 0) {
        error = refuse_copies(assembly);
    }
    if (error == 0) {
        pick_freshest(assembly);
        error = refuse_unsupported(assembly);
    }
    return error;
}

void assembly_close_unplaced(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->count; i++) {
        struct candidate *candidate = &assembly->candidates[i];
        if (candidate->device.open && !candidate->placed) {
            io_file_close(&candidate->device.file);
            candidate->device.open = false;
        }
    }
}
