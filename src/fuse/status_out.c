/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of a status, and what to do about it. Pure functions; any thread. */
#include "status_out.h"

#include <stdio.h>

const char *status_word_state(enum status_state state)
{
    switch (state) {
    case STATUS_FAILED: return "failed";
    case STATUS_JOURNAL_FAILED: return "journal-failed";
    case STATUS_JOURNAL_MISSING: return "journal-missing";
    case STATUS_READ_ONLY: return "read-only";
    case STATUS_DEGRADED: return "degraded";
    case STATUS_ERRORS: return "errors";
    case STATUS_HEALTHY: return "healthy";
    }
    return "failed";
}

const char *status_word_member(enum member_state state)
{
    switch (state) {
    case MEMBER_MISSING: return "missing";
    case MEMBER_IN_SYNC: return "active";
    case MEMBER_FAULTY: return "faulty";
    case MEMBER_STALE: return "stale";
    }
    return "missing";
}

const char *status_word_journal(enum journal_state state)
{
    switch (state) {
    case JOURNAL_DEVICE_NONE: return "none";
    case JOURNAL_DEVICE_OK: return "ok";
    case JOURNAL_DEVICE_MISSING: return "missing";
    case JOURNAL_DEVICE_FAULTY: return "faulty";
    }
    return "missing";
}

const char *status_word_mode(enum journal_mode mode)
{
    switch (mode) {
    case JOURNAL_WRITE_BACK: return "write-back";
    case JOURNAL_WRITE_THROUGH: return "write-through";
    case JOURNAL_READ_ONLY: return "read-only";
    case JOURNAL_FAILED: return "failed";
    }
    return "failed";
}

bool status_action(const struct status_facts *facts, unsigned index, char *text, size_t size)
{
    const char *where = facts->mounted != NULL ? facts->mounted : "MNT";
    enum status_state state = status_state(facts);
    unsigned at = 0;

    if (facts->array_state == ARRAY_DEGRADED && at++ == index) {
        const char *path = facts->members[facts->missing_slot].path;
        (void)snprintf(text,
                       size,
                       "r5fs replace %s %s NEWFILE",
                       where,
                       path[0] != '\0' ? path : "OLD"); /* cut when longer */
        return true;
    }
    if (state == STATUS_FAILED && at++ == index) {
        (void)snprintf(text,
                       size,
                       "more members are lost than parity covers: bring one back, then "
                       "r5fs mount");
        return true;
    }
    if (state == STATUS_JOURNAL_MISSING && at++ == index) {
        (void)snprintf(text, size, "give the journal's file too, or r5fs journal reset %s", where);
        return true;
    }
    if (state == STATUS_JOURNAL_FAILED && at++ == index) {
        (void)snprintf(text, size, "r5fs unmount %s, then r5fs journal reset", where);
        return true;
    }
    if (facts->have_fs && facts->fs.damaged && at++ == index) {
        (void)snprintf(text, size, "r5fs unmount %s, then r5fs check -y", where);
        return true;
    }
    return false;
}
