/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * POSIX access control lists in the form in which they travel and are stored: version 2 of the
 * system.posix_acl_* attribute value. All functions work on those bytes; none allocates or waits.
 */
#ifndef R5FS_FS_ACL_H
#define R5FS_FS_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r5fs/base/check.h"

#define ACL_HEADER_BYTES 4u
#define ACL_ENTRY_BYTES  8u

/* 0 when `value` is a list that can be stored: -EINVAL for one that breaks the rules of acl(5),
 * -EOPNOTSUPP for another version. A list without entries is valid: it stands for "no list". */
R5_MUST_CHECK int acl_check(const uint8_t *value, size_t size);
bool acl_is_empty(size_t size);

/* The permission bits that a checked list stands for, laid over `mode` (the other bits stay).
 * *out_plain: the list says no more than those bits, so that it need not be kept. */
uint32_t acl_to_mode(const uint8_t *value, size_t size, uint32_t mode, bool *out_plain);
/* chmod: owner, other and the mask (or the owning group, where there is no mask) follow `mode`. */
void acl_apply_mode(uint8_t *value, size_t size, uint32_t mode);
/* Create: `value` is a copy of the parent's default list and becomes the new inode's access list.
 * Both are cut down to what the other grants. Returns the mode; *out_plain as above. */
uint32_t acl_inherit(uint8_t *value, size_t size, uint32_t mode, bool *out_plain);

#endif
