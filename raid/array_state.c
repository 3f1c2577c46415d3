/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of an array, derived from its members each time it is asked for; stored nowhere.
 *
 *   slots not IN_SYNC    0      1          2 and more
 *   array                CLEAN  DEGRADED   FAILED
 *
 * Thread: any; takes the array lock, never waits for I/O but in array_slot_takes_writes().
 */
#include "array_internal.h"

static uint32_t count_lost(const struct array *array, uint32_t *out_first)
{
    uint32_t lost = 0;
    for (uint32_t slot = array->geometry.slots; slot-- > 0;) {
        if (array->members[slot].state != MEMBER_IN_SYNC) {
            lost++;
            *out_first = slot;
        }
    }
    return lost;
}

enum array_state array_state_locked(const struct array *array)
{
    uint32_t first = ARRAY_NO_SLOT;
    uint32_t lost = count_lost(array, &first);
    if (lost == 0) {
        return ARRAY_CLEAN;
    }
    return lost == 1 ? ARRAY_DEGRADED : ARRAY_FAILED;
}

uint32_t array_missing_slot_locked(const struct array *array)
{
    uint32_t first = ARRAY_NO_SLOT;
    (void)count_lost(array, &first); /* only which, not how many */
    return first;
}

enum array_state array_state(struct array *array)
{
    env_mutex_lock(&array->lock);
    enum array_state state = array_state_locked(array);
    env_mutex_unlock(&array->lock);
    return state;
}

uint32_t array_missing_slot(struct array *array)
{
    env_mutex_lock(&array->lock);
    uint32_t slot = array_missing_slot_locked(array);
    env_mutex_unlock(&array->lock);
    return slot;
}

bool array_slot_is_readable(struct array *array, uint32_t slot)
{
    R5_CHECK(slot < array->geometry.slots);
    env_mutex_lock(&array->lock);
    bool readable = array->members[slot].state == MEMBER_IN_SYNC;
    env_mutex_unlock(&array->lock);
    return readable;
}

bool array_slot_takes_writes(struct array *array, uint32_t slot)
{
    R5_CHECK(slot < array->geometry.slots);
    R5_CHECK(!array->read_only);
    const struct member *member = &array->members[slot];
    env_mutex_lock(&array->lock);
    bool takes = member->state == MEMBER_IN_SYNC;
    bool settled = takes || member->loss_recorded;
    env_mutex_unlock(&array->lock);
    if (settled) {
        return takes;
    }
    /* Whoever records the loss holds this lock until it is durable everywhere. */
    env_mutex_lock(&array->super_lock);
    env_mutex_lock(&array->lock);
    bool recorded = member->loss_recorded || array_state_locked(array) == ARRAY_FAILED;
    env_mutex_unlock(&array->lock);
    R5_CHECK(recorded || array->loss_due); /* W11: writing began without array_start_writing() */
    env_mutex_unlock(&array->super_lock);
    return !recorded;
}
