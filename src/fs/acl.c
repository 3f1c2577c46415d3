/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * POSIX access control lists: the rules of acl(5), and how lists and permission bits follow each
 * other.
 *
 *     0        4        12       20
 *     +--------+--------+--------+--- ...      one entry:  tag 2 | permissions 2 | id 4
 *     | ver. 2 | entry  | entry  |             order: owner, users, group, groups, mask, other
 *     +--------+--------+--------+--- ...
 *
 *   A1  A stored list was accepted by acl_check: entries in order, exactly one owner, owning group
 *       and other, one mask at most, and one where a named user or group stands.
 *   A2  The permission bits of an inode always equal what its access list stands for; a list that
 *       says no more than the bits is not stored.
 *
 * Happy path: setxattr checks, takes the mode, stores; chmod rewrites the list's base entries;
 * create copies the parent's default list through acl_inherit. Failure: a list that breaks A1 is
 * refused with -EINVAL; one read from disk is checked again before it is used. Pure functions, any
 * thread.
 */
#include "acl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "r5fs/base/endian.h"

#define ACL_VERSION 2u

enum acl_tag {
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
};

#define ACL_ID_UNDEFINED UINT32_MAX
#define ACL_PERM_MASK    7u

struct acl_entry {
    le16 tag;
    le16 perm;
    le32 id;
};

_Static_assert(sizeof(struct acl_entry) == ACL_ENTRY_BYTES, "as in the attribute value");

static struct acl_entry entry_get(const uint8_t *value, size_t index)
{
    struct acl_entry entry;
    memcpy(&entry, value + ACL_HEADER_BYTES + index * ACL_ENTRY_BYTES, sizeof(entry));
    return entry;
}

static void entry_set_perm(uint8_t *value, size_t index, uint32_t perm)
{
    struct acl_entry entry = entry_get(value, index);
    entry.perm = le16_make((uint16_t)(perm & ACL_PERM_MASK));
    memcpy(value + ACL_HEADER_BYTES + index * ACL_ENTRY_BYTES, &entry, sizeof(entry));
}

static size_t entry_count(size_t size)
{
    return (size - ACL_HEADER_BYTES) / ACL_ENTRY_BYTES;
}

bool acl_is_empty(size_t size)
{
    return size <= ACL_HEADER_BYTES;
}

/* Where an entry may stand: tags only rise, and only users and groups may repeat. */
static bool tag_may_follow(uint32_t tag, uint32_t previous)
{
    switch ((enum acl_tag)tag) {
    case ACL_USER:
    case ACL_GROUP: return tag >= previous;
    case ACL_USER_OBJ:
    case ACL_GROUP_OBJ:
    case ACL_MASK:
    case ACL_OTHER: return tag > previous;
    default: return false;
    }
}

static bool id_fits_tag(uint32_t tag, uint32_t id)
{
    if (tag == ACL_USER || tag == ACL_GROUP) {
        return id != ACL_ID_UNDEFINED;
    }
    return true;
}

int acl_check(const uint8_t *value, size_t size)
{
    le32 version;
    if (size < ACL_HEADER_BYTES || (size - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES != 0) {
        return -EINVAL;
    }
    memcpy(&version, value, sizeof(version));
    if (le32_get(version) != ACL_VERSION) {
        return -EOPNOTSUPP;
    }
    if (acl_is_empty(size)) {
        return 0;
    }
    uint32_t seen = 0;
    uint32_t previous = 0;
    for (size_t i = 0; i < entry_count(size); i++) {
        struct acl_entry entry = entry_get(value, i);
        uint32_t tag = le16_get(entry.tag);
        if (!tag_may_follow(tag, previous) || !id_fits_tag(tag, le32_get(entry.id)) ||
            (le16_get(entry.perm) & ~ACL_PERM_MASK) != 0) {
            return -EINVAL;
        }
        seen |= tag;
        previous = tag;
    }
    const uint32_t base = ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER;
    bool named = (seen & (ACL_USER | ACL_GROUP)) != 0;
    if ((seen & base) != base || (named && (seen & ACL_MASK) == 0)) {
        return -EINVAL;
    }
    return 0;
}

/* The three entries that the permission bits stand for. `group` is the mask where there is one. */
struct base_entries {
    size_t owner;
    size_t group;
    size_t other;
    bool plain; /* no mask and nobody named */
};

static struct base_entries find_base(const uint8_t *value, size_t size)
{
    struct base_entries base = {.plain = true};
    for (size_t i = 0; i < entry_count(size); i++) {
        switch ((enum acl_tag)le16_get(entry_get(value, i).tag)) {
        case ACL_USER_OBJ: base.owner = i; break;
        case ACL_GROUP_OBJ: base.group = i; break;
        case ACL_MASK:
            base.group = i;
            base.plain = false;
            break;
        case ACL_OTHER: base.other = i; break;
        case ACL_USER:
        case ACL_GROUP:
        default: base.plain = false; break;
        }
    }
    return base;
}

static uint32_t entry_perm(const uint8_t *value, size_t index)
{
    return le16_get(entry_get(value, index).perm) & ACL_PERM_MASK;
}

uint32_t acl_to_mode(const uint8_t *value, size_t size, uint32_t mode, bool *out_plain)
{
    struct base_entries base = find_base(value, size);
    *out_plain = base.plain;
    return (mode & ~(uint32_t)ACCESSPERMS) | entry_perm(value, base.owner) << 6 |
           entry_perm(value, base.group) << 3 | entry_perm(value, base.other);
}

void acl_apply_mode(uint8_t *value, size_t size, uint32_t mode)
{
    struct base_entries base = find_base(value, size);
    entry_set_perm(value, base.owner, mode >> 6);
    entry_set_perm(value, base.group, mode >> 3);
    entry_set_perm(value, base.other, mode);
}

uint32_t acl_inherit(uint8_t *value, size_t size, uint32_t mode, bool *out_plain)
{
    bool plain;
    uint32_t granted = mode & acl_to_mode(value, size, mode, &plain);
    acl_apply_mode(value, size, granted);
    *out_plain = plain;
    return granted;
}
