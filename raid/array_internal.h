/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An array as its own files see it. Filled by array_assemble.c; superblocks are changed by
 * array_super.c alone; array_read.c and stripe.c read states through the predicates below.
 *
 * Locks: `super_lock` is held across the I/O that makes a change of superblocks durable, so changes
 * come one after another; inside it `lock`, short and never across I/O, guards states and
 * everything that status shows. Nobody who holds `lock` takes `super_lock`. Row cells may be held
 * by who takes either: neither holder ever waits for a cell.
 *
 * A failed member is FAULTY for readers at once; for writers it is lost only when that is durable
 * everywhere (W11): array_slot_takes_writes() waits for it.
 */
#ifndef R5FS_RAID_ARRAY_INTERNAL_H
#define R5FS_RAID_ARRAY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "member.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/geometry.h"
#include "r5fs/raid/row_cell.h"

#define ARRAY_PROBLEMS_MAX (ARRAY_FILES_MAX + MEMBERS_MAX)

struct array_journal {
    struct md_device device;
    enum journal_state state; /* [lock] */
    bool super_failed;        /* a superblock write failed: no tail any more [super lock] */
    uint64_t events;          /* of its superblock, durably [super lock] */
    struct log_block tail;    /* as durable, or about to be [lock] */
    uint64_t ring_blocks;     /* [fixed] */
    uint64_t since_ns;        /* [lock] */
    char cause[96];           /* [lock] */
};

struct array {
    struct geometry geometry;    /* [fixed] */
    struct uuid uuid;            /* [fixed] */
    char name[ARRAY_NAME_BYTES]; /* [fixed] */
    bool read_only;              /* [fixed] nothing is ever written */
    bool writing;                /* array_start_writing succeeded [super lock] */
    bool loss_due;               /* `roles` know of a loss that is not recorded [super lock] */
    struct arena *arena;         /* [fixed] used by assemble only */

    uint32_t features; /* [fixed] md's feature map, the same on all devices */

    struct env_mutex super_lock;
    struct env_mutex lock;
    struct member members[MEMBERS_MAX]; /* by slot */
    struct array_journal journal;
    uint64_t events;        /* [lock] of the last superblocks written or read */
    uint64_t events_tried;  /* [super lock] of the last round, torn or not */
    uint64_t resync_offset; /* [lock] */
    uint32_t max_dev;       /* [fixed] */
    _Atomic uint32_t full;  /* 1 + the slot of array_full_path, 0 = none */
    uint16_t
        roles[MD_ROLES_MAX]; /* by device number, as the next superblock will say [super lock] */

    struct row_cells cells;      /* row_cell.c; reads, write-out */
    struct read_sets *read_sets; /* [fixed] array_read.c */

    const char *problems[ARRAY_PROBLEMS_MAX]; /* [fixed] */
    unsigned problem_count;                   /* [fixed] */
};

/* Whether reads of this slot go to its file: state IN_SYNC. Takes `lock`. */
bool array_slot_is_readable(struct array *array, uint32_t slot);
/* Whether write-out must write to this slot. False only when its loss is durable on all that remain
 * (or the array has failed): waits for a recording under way. True also for a faulty one whose loss
 * is still due. Never call it in an io callback. */
bool array_slot_takes_writes(struct array *array, uint32_t slot);
/* Records what array_member_fault() or array_journal_fault() could not, for want of room on a
 * member's host. 0: nothing is due any more. Before writers ask array_slot_takes_writes(). */
R5_MUST_CHECK int array_record_losses(struct array *array, struct io_queue *queue);
/* `full`: 1 + the slot whose host has no room, 0 = all have. Said when it begins or moves to
 * another member, not at each try. */
void array_note_full(struct array *array, uint32_t full);
/* Counts an I/O error of a member; the state stays. Any thread. */
void array_count_error(struct array *array, uint32_t slot, bool write);
/* As array_state / array_missing_slot, with `lock` held. */
enum array_state array_state_locked(const struct array *array);
uint32_t array_missing_slot_locked(const struct array *array);

/* array_read.c may use: file and offset of a slot, fixed while the array is open. */
static inline struct io_file *array_slot_file(struct array *array, uint32_t slot)
{
    return &array->members[slot].device.file;
}

static inline uint64_t
array_slot_offset_bytes(const struct array *array, uint32_t slot, struct member_block row)
{
    return array->members[slot].device.data_offset_bytes + row.nr * BLOCK_BYTES;
}

/* Assemble's, once geometry and arena are set: memory for reads and flushes. array_close gives the
 * locks back. */
void array_read_init(struct array *array);
void array_read_fini(struct array *array);

/* Assemble's: remembers a line for array_problem(). Copies into the arena. */
void array_add_problem(struct array *array, const char *line);

#endif
