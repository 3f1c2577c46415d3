/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ways to damage an image of the sample, each with what the check has to say about it. One half
 * hits blocks as such (supers, tree nodes, groups' blocks), the other single items.
 */
#ifndef R5FS_TESTS_FSCK_DAMAGE_H
#define R5FS_TESTS_FSCK_DAMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "fsck_kit.h"

#define DAMAGE_WANT_BYTES 128

/* Changes the image and writes down what the check has to name. */
typedef void (*damage)(struct journal *journal, char want[DAMAGE_WANT_BYTES]);

struct damage_case {
    const char *name;
    damage apply;
    bool loses; /* inodes may be gone afterwards */
};

/* The sample whose images are damaged; the test makes it. */
extern struct sample sample;

extern const struct damage_case damage_blocks[];
extern const size_t damage_block_count;
extern const struct damage_case damage_items[];
extern const size_t damage_item_count;

/* By the name of its function; fails the test when there is none. */
const struct damage_case *damage_named(const char *name);

/* For tables of cases, and for what a case wants. */
#define DAMAGE(function, loses)        \
    {                                  \
#function, (function), (loses) \
    }
#define WANT(...) ((void)snprintf(want, DAMAGE_WANT_BYTES, __VA_ARGS__))
#define LL(x)     ((unsigned long long)(x))

struct fs_key inode_key(uint64_t ino);
struct fs_inode get_inode(struct journal *journal, uint64_t ino);
void put_inode(struct journal *journal, const struct fs_inode *inode);
struct fs_extent_disk get_extent(struct journal *journal, const struct fs_key *key);

#endif
