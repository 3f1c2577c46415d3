/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of the check: a filesystem with something of everything, images of it that a test may
 * damage, and the check with its lines kept.
 */
#ifndef R5FS_TESTS_FSCK_KIT_H
#define R5FS_TESTS_FSCK_KIT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs_kit.h"

/* Numbers of the inodes that tests damage. */
struct sample {
    struct journal *journal; /* with its trace; unmounted cleanly */
    uint64_t dir;            /* /dir */
    uint64_t sub;            /* /dir/sub */
    uint64_t deep;           /* /dir/sub/deep, which holds a file */
    uint64_t file;           /* /dir/file, several extents */
    uint64_t other;          /* /dir/other */
    uint64_t twice;          /* /dir/twice, /dir/sub/twice */
    uint64_t symlink;        /* /dir/symlink, long */
    uint64_t attributes;     /* /dir/attributes: small and large ones, a list */
    uint64_t many;           /* /many: a directory of many_files */
    uint64_t kept;           /* /kept: half the volume, most of it behind its end */
    uint32_t many_files;
};

/* Beside the many: root, dir, sub, deep, bottom, file, other, twice, symlink, pipe, attributes,
 * listed and two that inherit from it, many, kept. */
#define SAMPLE_OTHERS 16u
#define SAMPLE_TEXT   "contents of a small file"

void sample_make(struct sample *sample, uint64_t volume_blocks, uint32_t many_files);
/* Leaves unmounted, as after a crash, what a test made itself. */
struct journal *sample_image(const struct sample *sample);

#define CHECK_TEXT_BYTES 65536u

struct check_run {
    struct fs_check_result result;
    char text[CHECK_TEXT_BYTES]; /* its lines, as many as fit */
    size_t used;
};

/* What fs_check answers. */
int check_run(struct journal *journal, bool repair, struct check_run *out_run);
/* Repairs, then checks again: that must be clean. Fails the test with the lines otherwise. */
void check_repairs(struct journal *journal, struct check_run *out_run);
/* Mounts, reads every directory, attribute list, link and file. Fails the test on any error.
 * Returns how many inodes there were. */
uint64_t check_walk(struct journal *journal);

/* ---- looking at and changing an image -------------------------------------------------------- */

struct fs_super image_super(struct journal *journal);
void image_set_super(struct journal *journal, const struct fs_super *super, bool copy_too);
/* The leaf that holds the item; fails the test when there is none. */
struct fs_block image_leaf(struct journal *journal, const struct fs_key *key);
/* The item's bytes; call image_seal(leaf) after changing them. */
uint8_t *image_item(struct journal *journal, const struct fs_key *key, uint32_t *out_bytes);
void image_remove_item(struct journal *journal, const struct fs_key *key);
/* Another key for an item, which keeps its place among its neighbours. */
void image_rekey(struct journal *journal, const struct fs_key *key, const struct fs_key *to);
/* First item of this inode and kind; offset of it. */
struct fs_key image_first(struct journal *journal, uint64_t ino, enum fs_item_type type);
bool image_next(struct journal *journal, struct fs_key *key);
/* Makes the checksum right again and the change visible. */
void image_seal(struct journal *journal, struct fs_block block);
void image_zero(struct journal *journal, struct fs_block block);
/* Every block of metadata: supers, groups' blocks, nodes. */
uint32_t image_metadata(struct journal *journal, struct fs_block *out_blocks, uint32_t max);

#endif
