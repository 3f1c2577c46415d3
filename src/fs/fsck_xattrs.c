/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes of one inode: their items, then the pieces of large values.
 *
 *     XATTR items               -> ck->values: (id, bytes) of those kept in pieces, sorted by id
 *     XATTR_CHUNK items, by id  -> each must be the next piece of one of them, or of the value
 *                                  that the inode's orphan record names
 *
 * An attribute with a piece missing is dropped; its other pieces then belong to none, and go in the
 * round after.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "acl.h"
#include "fsck.h"
#include "name.h"
#include "xattr.h"

#define INDEX_MASK ((uint64_t)FS_HASH_INDEX_MAX)

static struct fsck_value *value_at(struct fsck *ck, size_t index)
{
    return (struct fsck_value *)(void *)ck->values.data + index;
}

void fsck_xattr_begin(struct fsck *ck)
{
    ck->values.count = 0;
    fsck_forget_names(ck);
}

/* The permission bits follow the access list (A2 in acl.c). */
static void compare_mode(struct fsck *ck, const struct xattr_item *attribute)
{
    const struct fs_inode *inode = &ck->now->inode;
    bool plain = false;
    uint32_t mode = acl_to_mode(attribute->value, attribute->value_bytes, inode->mode, &plain);
    if (mode != inode->mode) {
        fsck_say(ck,
                 FSCK_XATTR,
                 true,
                 "inode %llu: mode is %o, but its access list says %o",
                 (unsigned long long)inode->ino,
                 inode->mode,
                 mode);
        fsck_set_field(ck, inode->ino, FSCK_FIELD_MODE, mode);
    }
}

/* What the special attributes must be, and the inode's bits for them. */
static const char *special_problem(struct fsck *ck, const struct xattr_item *attribute)
{
    struct fsck_now *now = ck->now;
    enum xattr_kind kind;
    if (name_check(attribute->name) != 0 || xattr_kind_of(attribute->name, &kind) != 0) {
        return "has an impossible name";
    }
    bool access = kind == XATTR_ACL;
    bool inherited = kind == XATTR_DEFAULT_ACL;
    if ((access || inherited || kind == XATTR_CAPS) && attribute->value == NULL) {
        return "may not be kept in pieces";
    }
    if ((access || inherited) && (acl_check(attribute->value, attribute->value_bytes) != 0 ||
                                  acl_is_empty(attribute->value_bytes))) {
        return "is no valid access list";
    }
    if (inherited && !S_ISDIR(now->inode.mode)) {
        return "only directories have a default access list";
    }
    if (access) {
        compare_mode(ck, attribute);
    }
    now->presence |= access ? FS_INODE_HAS_ACL : 0;
    now->presence |= inherited ? FS_INODE_HAS_DEFAULT_ACL : 0;
    now->presence |= kind == XATTR_CAPS ? FS_INODE_HAS_CAPS : 0;
    return NULL;
}

static const char *place_problem(struct fsck *ck, const struct fsck_item *item, struct fs_name name)
{
    uint64_t base = item->key.offset & ~INDEX_MASK;
    if (base != name_offset(ck->shell, name)) {
        return "is not where its name's hash says";
    }
    if (base != ck->now->name_base) {
        ck->now->name_base = base;
        fsck_forget_names(ck);
    }
    return fsck_name_is_known(ck, name) ? "the inode has it twice" : NULL;
}

void fsck_xattr_item(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    struct xattr_item attribute;
    const char *problem = xattr_decode(item->data, item->bytes, &attribute);
    if (problem == NULL) {
        problem = place_problem(ck, item, attribute.name);
    }
    if (problem == NULL) {
        problem = special_problem(ck, &attribute);
    }
    if (problem != NULL) {
        fsck_drop_item(ck, item, FSCK_XATTR, problem);
        return;
    }
    now->presence |= FS_INODE_HAS_XATTR;
    if (attribute.chunked) {
        struct fsck_value *value = fsck_push(ck, &ck->values, sizeof(*value));
        value->offset = item->key.offset;
        value->id = attribute.value_id;
        value->bytes = attribute.value_bytes;
    }
}

static int compare_values(const void *a, const void *b)
{
    const struct fsck_value *left = a;
    const struct fsck_value *right = b;
    if (left->id != right->id) {
        return left->id < right->id ? -1 : 1;
    }
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* The value that a chunk could be of; chunks come in ascending order of id. */
static struct fsck_value *find_value(struct fsck *ck, uint64_t id)
{
    struct fsck_now *now = ck->now;
    if (!now->values_sorted) {
        now->values_sorted = true;
        if (ck->values.count > 0) {
            qsort(ck->values.data, ck->values.count, sizeof(struct fsck_value), compare_values);
        }
    }
    while (now->value_next < ck->values.count && value_at(ck, now->value_next)->id < id) {
        now->value_next++;
    }
    if (now->value_next < ck->values.count && value_at(ck, now->value_next)->id == id) {
        return value_at(ck, now->value_next);
    }
    return NULL;
}

void fsck_xattr_chunk(struct fsck *ck, const struct fsck_item *item)
{
    struct fsck_now *now = ck->now;
    uint64_t id = item->key.offset >> 8;
    uint64_t number = item->key.offset & INDEX_MASK;
    struct fsck_value *value = find_value(ck, id);
    if (id <= UINT32_MAX) {
        now->value_id_max = (uint32_t)max_u64(now->value_id_max, id);
    }
    if (value == NULL) {
        bool freed_later = now->orphan != NULL && (now->orphan->what & FS_ORPHAN_XATTR) != 0 &&
                           now->orphan->value_id == id;
        if (!freed_later && !fsck_is_deleting(ck)) {
            fsck_drop_item(ck, item, FSCK_XATTR, "belongs to no attribute");
        }
        return;
    }
    uint64_t want = min_u64(FS_CHUNK_BYTES, value->bytes - value->found);
    if (number != value->chunks || item->bytes != want || want == 0) {
        fsck_drop_item(ck, item, FSCK_XATTR, "does not fit its attribute");
        return;
    }
    value->chunks++;
    value->found += item->bytes;
}

void fsck_xattr_finish(struct fsck *ck)
{
    for (size_t i = 0; i < ck->values.count; i++) {
        const struct fsck_value *value = value_at(ck, i);
        if ((value->found == value->bytes && value->bytes > 0) || fsck_is_deleting(ck)) {
            continue;
        }
        fsck_say(ck,
                 FSCK_XATTR,
                 true,
                 "inode %llu: attribute at %llu: %u of its %u bytes are there: it is removed",
                 (unsigned long long)ck->now->inode.ino,
                 (unsigned long long)value->offset,
                 value->found,
                 value->bytes);
        fsck_add_fix(
            ck, FSCK_FIX_REMOVE, fs_key(ck->now->inode.ino, FS_ITEM_XATTR, value->offset), 0);
    }
}
