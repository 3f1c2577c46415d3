/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a handful of files to an array. Writes nothing.
 *
 *   open, lock -> read superblocks -> which array -> freshest -> place by role -> judge what lacks
 *
 * Two kinds of trouble. A file that is of no use (gone, no superblock, damaged, stale, truncated,
 * still rebuilding) is a *problem*: its slot counts as missing, the line is kept, and the rules for
 * missing members decide. What a person has to sort out first (in use, no permission, another
 * array, one member given twice, an array that r5fs cannot handle) is refused at once.
 *
 * Invariants: AA1 the role of a device is what the freshest superblock says of its device number,
 * never its own claim, never its place in the list. AA2 a device more than one event behind the
 * freshest is not used. AA3 a slot is filled by one file at most.
 * Failure modes: every refusal leaves all files closed and one line in `out_why`.
 * Thread: the caller's, with its queue; nobody else knows the array yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "array_files.h"
#include "array_internal.h"
#include "member_state.h"
#include "r5fs/base/msg.h"

#define RING_BLOCKS_MIN 2u /* less is no ring; what a log needs to run is the journal's to say */

static int settle_array(struct assembly *assembly)
{
    struct array *array = assembly->array;
    int error = assembly_identify(assembly);
    if (error != 0) {
        return error;
    }
    const struct md_superblock *super = &assembly->freshest->device.super;
    array->uuid = super->set_uuid;
    md_super_print_name(super, array->name);
    array->events = super->events;
    array->resync_offset = super->resync_offset;
    array->features = super->features & ~MD_FEATURE_RECOVERY_OFFSET;
    array->max_dev = super->max_dev;
    memcpy(array->roles, super->roles, sizeof(array->roles));
    error = geometry_init(&array->geometry,
                          super->raid_disks,
                          super->chunk_sectors,
                          (enum layout)super->layout,
                          super->size_sectors);
    if (error != 0) {
        return assembly_refuse(assembly,
                               error,
                               "%s: the array has an impossible shape (hint: mdadm --examine it)",
                               assembly->freshest->device.path);
    }
    return 0;
}

/* ---- place --------------------------------------------------------------------------------- */

static bool matches_array(const struct md_superblock *a, const struct md_superblock *b)
{
    return a->level == b->level && a->layout == b->layout && a->size_sectors == b->size_sectors &&
           a->chunk_sectors == b->chunk_sectors && a->raid_disks == b->raid_disks &&
           a->ctime == b->ctime;
}

/* The reason why a device of this array cannot be used, in candidate->why. */
static bool is_unusable(struct assembly *assembly, struct candidate *candidate)
{
    const struct md_superblock *super = &candidate->device.super;
    const struct md_superblock *fresh = &assembly->freshest->device.super;
    if (candidate_is_stale(assembly, candidate)) {
        candidate_set_problem(candidate,
                              "stale: events %" PRIu64 ", the array is at %" PRIu64
                              ", so it was not in use when the array changed",
                              super->events,
                              fresh->events);
        return true;
    }
    uint32_t role = md_super_role_of(fresh, super->dev_number);
    if (role == MD_ROLE_FAULTY || role == MD_ROLE_SPARE) {
        candidate_set_problem(
            candidate, role == MD_ROLE_FAULTY ? "recorded as faulty" : "a spare, not a member");
        return true;
    }
    if (!matches_array(super, fresh)) {
        candidate_set_problem(
            candidate, "its superblock does not match that of %s", assembly->freshest->device.path);
        return true;
    }
    if (role != MD_ROLE_JOURNAL && role >= fresh->raid_disks) {
        candidate_set_problem(candidate, "md superblock damaged: role %" PRIu32, role);
        return true;
    }
    if (md_super_fits(super, candidate->device.file.size_bytes, candidate->why) != 0) {
        return true;
    }
    if (md_super_is_rebuilding(super)) {
        candidate_set_problem(candidate,
                              "its rebuild is not finished: %" PRIu64 " of %" PRIu64 " sectors",
                              super->recovery_offset,
                              super->size_sectors);
        return true;
    }
    return false;
}

/* A tail that names no block of the ring stays one: where the log begins is not for us to guess. */
static struct log_block tail_of(const struct md_device *device, uint64_t ring_blocks)
{
    uint64_t sector = device->super.recovery_offset;
    if (sector % BLOCK_SECTORS != 0 || sector / BLOCK_SECTORS >= ring_blocks) {
        msg_warn(
            "array", "journal tail damaged path=%s tail_sector=%" PRIu64, device->path, sector);
        return log_block(UINT64_MAX);
    }
    return log_block(sector / BLOCK_SECTORS);
}

static int place_journal(struct assembly *assembly, struct candidate *candidate)
{
    struct array_journal *journal = &assembly->array->journal;
    if (journal->device.open) {
        return assembly_refuse(assembly,
                               -EINVAL,
                               "%s and %s: both are the array's journal (hint: leave one out)",
                               journal->device.path,
                               candidate->device.path);
    }
    uint64_t blocks = candidate->device.super.data_size_sectors / BLOCK_SECTORS;
    if ((assembly->array->features & MD_FEATURE_JOURNAL) == 0) {
        candidate_set_problem(candidate, "a journal, but the array says that it has none");
        return 0;
    }
    if (blocks < RING_BLOCKS_MIN) {
        candidate_set_problem(candidate, "its log ring has only %" PRIu64 " blocks", blocks);
        return 0;
    }
    journal->device = candidate->device;
    journal->ring_blocks = blocks;
    journal->tail = tail_of(&journal->device, blocks);
    journal->events = journal->device.super.events;
    journal->state = JOURNAL_DEVICE_OK;
    candidate->placed = true;
    return 0;
}

static int place_member(struct assembly *assembly, struct candidate *candidate, uint32_t slot)
{
    struct member *member = &assembly->array->members[slot];
    if (member->device.open) {
        return assembly_refuse(assembly,
                               -EINVAL,
                               "%s and %s: both are the member of slot %" PRIu32
                               " (hint: leave one out)",
                               member->device.path,
                               candidate->device.path,
                               slot);
    }
    member->device = candidate->device;
    candidate->placed = true;
    member_move(member, slot, MEMBER_IN_SYNC, "");
    return 0;
}

static int place_all(struct assembly *assembly)
{
    const struct md_superblock *fresh = &assembly->freshest->device.super;
    for (uint32_t i = 0; i < assembly->count; i++) {
        struct candidate *candidate = &assembly->candidates[i];
        if (!candidate->decoded || is_unusable(assembly, candidate)) {
            continue;
        }
        uint32_t role = md_super_role_of(fresh, candidate->device.super.dev_number);
        int error = role == MD_ROLE_JOURNAL ? place_journal(assembly, candidate)
                                            : place_member(assembly, candidate, role);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* What the files that were not used once were, for status and for the messages. */
static void place_leftovers(struct assembly *assembly)
{
    struct array *array = assembly->array;
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        if (!candidate->decoded || candidate->placed) {
            continue;
        }
        uint32_t role = md_super_role(&candidate->device.super);
        if (role == MD_ROLE_JOURNAL && array->journal.state != JOURNAL_DEVICE_OK) {
            array->journal.device.path = candidate->device.path;
            assembly->journal_stale = candidate_is_stale(assembly, candidate);
        } else if (role < array->geometry.slots && array->members[role].state == MEMBER_MISSING) {
            struct member *member = &array->members[role];
            member->device.path = candidate->device.path;
            if (candidate_is_stale(assembly, candidate)) {
                member_move(member, role, MEMBER_STALE, candidate->why);
            }
        }
    }
}

static void settle_journal_state(struct assembly *assembly)
{
    struct array *array = assembly->array;
    if (array->journal.state == JOURNAL_DEVICE_OK) {
        return;
    }
    if ((array->features & MD_FEATURE_JOURNAL) == 0) {
        array->journal.state = JOURNAL_DEVICE_NONE;
    } else if (md_super_find_role(&assembly->freshest->device.super, MD_ROLE_JOURNAL) ==
               UINT32_MAX) {
        array->journal.state = JOURNAL_DEVICE_FAULTY;
    } else {
        array->journal.state = JOURNAL_DEVICE_MISSING;
    }
    array->read_only = array->read_only || array->journal.state != JOURNAL_DEVICE_NONE;
}

/* ---- judge --------------------------------------------------------------------------------- */

/* "array NAME: WHAT; PATH: WHY; PATH: WHY (hint: HINT)", problems as far as there is room. */
static int
refuse_incomplete(struct assembly *assembly, int error, const char *what, const char *hint)
{
    char *why = assembly->out_why;
    size_t room = ARRAY_WHY_BYTES - strlen(hint) - sizeof(" (hint: )");
    int written = snprintf(why, room, "array %s: %s", assembly->array->name, what);
    R5_CHECK(written > 0);
    size_t used = strlen(why);
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        size_t need = strlen(candidate->device.path) + strlen(candidate->why) + sizeof("; : ");
        if (candidate->why[0] == '\0' || used + need > room) {
            continue;
        }
        written =
            snprintf(why + used, room - used, "; %s: %s", candidate->device.path, candidate->why);
        R5_CHECK(written > 0);
        used = strlen(why);
    }
    written = snprintf(why + used, ARRAY_WHY_BYTES - used, " (hint: %s)", hint);
    R5_CHECK(written > 0);
    return error;
}

static int judge_members(struct assembly *assembly)
{
    const struct array *array = assembly->array;
    char what[ARRAY_WHY_BYTES / 2];
    enum array_state state = array_state_locked(array);
    if (state == ARRAY_CLEAN) {
        return 0;
    }
    uint32_t first = array_missing_slot_locked(array);
    if (state == ARRAY_FAILED) {
        int used = snprintf(what, sizeof(what), "slots missing, and parity covers only one:");
        for (uint32_t slot = first; slot < array->geometry.slots; slot++) {
            if (array->members[slot].state != MEMBER_IN_SYNC) {
                used += snprintf(what + used, sizeof(what) - (size_t)used, " %" PRIu32, slot);
            }
        }
        return refuse_incomplete(assembly, -ENODEV, what, "name all the array's files");
    }
    bool recorded = md_super_find_role(&assembly->freshest->device.super, first) == UINT32_MAX;
    if (!recorded && !assembly->how->allow_degraded) {
        int written = snprintf(what, sizeof(what), "slot %" PRIu32 " is missing", first);
        R5_CHECK(written > 0);
        return refuse_incomplete(
            assembly,
            -EPERM,
            what,
            "name its file too, or go on without it: mount -o degraded, check --degraded");
    }
    return 0;
}

static int judge_journal(struct assembly *assembly)
{
    enum journal_state state = assembly->array->journal.state;
    if (state == JOURNAL_DEVICE_NONE || state == JOURNAL_DEVICE_OK ||
        assembly->how->allow_no_journal) {
        return 0;
    }
    if (state == JOURNAL_DEVICE_FAULTY) {
        return refuse_incomplete(assembly,
                                 -ENXIO,
                                 "its journal has failed, there is only a way to read",
                                 "mount with -o ro");
    }
    if (assembly->journal_stale) {
        return refuse_incomplete(assembly,
                                 -ESTALE,
                                 "the journal given is an old copy",
                                 "name the journal that was in use last");
    }
    return refuse_incomplete(assembly,
                             -ENXIO,
                             "its journal is missing; what only the journal holds would be lost",
                             "name the journal's file too, or mount with -o ro,norecovery");
}

static int judge_dirt(struct assembly *assembly)
{
    const struct array *array = assembly->array;
    if (array->resync_offset == MD_CLEAN || assembly->how->allow_dirty) {
        return 0;
    }
    if (array_state_locked(array) == ARRAY_DEGRADED) {
        return refuse_incomplete(assembly,
                                 -EUCLEAN,
                                 "degraded, and its parity is not in sync: blocks of the missing "
                                 "member cannot be trusted",
                                 "give the missing member back");
    }
    if (!array->read_only) {
        return refuse_incomplete(assembly,
                                 -EUCLEAN,
                                 "its parity is not in sync",
                                 "let mdadm assemble and resync it, or mount with -o ro");
    }
    return 0;
}

static int judge(struct assembly *assembly)
{
    int error = judge_members(assembly);
    if (error == 0) {
        error = judge_journal(assembly);
    }
    if (error == 0) {
        error = judge_dirt(assembly);
    }
    return error;
}

/* ---- the door ------------------------------------------------------------------------------ */

static void array_init(struct array *array, const struct array_assemble *how)
{
    array->arena = how->arena;
    array->read_only = how->read_only;
    array->journal.device.path = "";
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        array->members[slot].device.path = "";
        array->members[slot].state = MEMBER_MISSING;
        atomic_init(&array->members[slot].read_errors, 0);
        atomic_init(&array->members[slot].write_errors, 0);
    }
    env_mutex_init(&array->super_lock);
    env_mutex_init(&array->lock);
    row_cells_init(&array->cells);
}

static void keep_problems(struct assembly *assembly)
{
    for (uint32_t i = 0; i < assembly->count; i++) {
        const struct candidate *candidate = &assembly->candidates[i];
        if (candidate->why[0] != '\0') {
            char line[ARRAY_WHY_BYTES];
            int written =
                snprintf(line, sizeof(line), "%s: %s", candidate->device.path, candidate->why);
            R5_CHECK(written > 0);
            array_add_problem(assembly->array, line);
            msg_warn("array", "not used: %s", line);
        }
    }
}

static int assemble(struct assembly *assembly)
{
    int error = assembly_open_files(assembly);
    if (error == 0) {
        error = settle_array(assembly);
    }
    if (error == 0) {
        error = place_all(assembly);
    }
    if (error == 0) {
        place_leftovers(assembly);
        settle_journal_state(assembly);
        error = judge(assembly);
    }
    return error;
}

int array_assemble(const struct array_assemble *how,
                   struct io_queue *queue,
                   struct array **out_array,
                   char *out_why)
{
    struct assembly assembly = {.how = how, .queue = queue};
    assembly.out_why = out_why;
    if (how->path_count == 0 || how->path_count > ARRAY_FILES_MAX) {
        return assembly_refuse(&assembly,
                               -EINVAL,
                               "%" PRIu32
                               " files: an array has %u to %u (hint: name members and journal)",
                               how->path_count,
                               MEMBERS_MIN,
                               MEMBERS_MAX + 1);
    }
    struct arena scratch;
    arena_init_growing(&scratch);
    assembly.candidates = arena_take_array(&scratch, struct candidate, how->path_count);
    assembly.array = arena_take(how->arena, sizeof(struct array), _Alignof(struct array));
    array_init(assembly.array, how);

    int error = assemble(&assembly);
    if (error == 0) {
        keep_problems(&assembly);
        array_read_init(assembly.array);
    }
    assembly_close_unplaced(&assembly);
    if (error == 0) {
        *out_array = assembly.array;
    } else {
        array_close(assembly.array);
    }
    arena_fini(&scratch);
    return error;
}
