/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See sim_tree.h. Invariants: ST1 pages are never changed, so that states share them. ST2 bytes
 * beyond the size are zeros.
 * Happy path: begin, change, the operation, done. Failure modes: a state that fits none fails the
 * seed.
 * Thread: between two points of any fiber.
 */
#include "sim_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const uint8_t zeros[BLOCK_BYTES];

void tree_init(struct tree *tree)
{
    memset(tree, 0, sizeof(*tree));
    tree->count = 1;
}

bool tree_has_room(const struct tree *tree)
{
    return tree->count < TREE_STATES_MAX;
}

struct tree_state *tree_begin(struct tree *tree)
{
    SIM_EXPECT(tree_has_room(tree), "more states than the model has room for");
    tree->states[tree->count] = tree->states[tree->count - 1];
    return &tree->states[tree->count++];
}

void tree_done(struct tree *tree)
{
    tree->done = tree->count - 1;
}

void tree_undo(struct tree *tree)
{
    tree->count--;
}

struct tree_state *tree_now(struct tree *tree)
{
    return &tree->states[tree->count - 1];
}

/* ---- changes -------------------------------------------------------------------------------- */

const uint8_t *tree_page(const uint8_t *data)
{
    if (memcmp(data, zeros, BLOCK_BYTES) == 0) {
        return NULL;
    }
    uint8_t *page = malloc(BLOCK_BYTES);
    R5_CHECK(page != NULL);
    memcpy(page, data, BLOCK_BYTES);
    return page;
}

static const uint8_t *bytes_of(const uint8_t *page)
{
    return page != NULL ? page : zeros;
}

static void change(struct tree_file *file, uint32_t offset, const uint8_t *data, uint32_t bytes)
{
    while (bytes > 0) {
        uint8_t page[BLOCK_BYTES];
        uint32_t block = offset / BLOCK_BYTES;
        uint32_t skip = offset % BLOCK_BYTES;
        uint32_t piece = BLOCK_BYTES - skip < bytes ? BLOCK_BYTES - skip : bytes;

        memcpy(page, bytes_of(file->pages[block]), BLOCK_BYTES);
        memcpy(page + skip, data != NULL ? data : zeros, piece);
        file->pages[block] = tree_page(page); /* ST1 */
        data = data != NULL ? data + piece : NULL;
        offset += piece;
        bytes -= piece;
    }
}

void tree_write(struct tree_file *file, uint32_t offset, const uint8_t *data, uint32_t bytes)
{
    change(file, offset, data, bytes);
    file->size = file->size > offset + bytes ? file->size : offset + bytes;
}

void tree_zero(struct tree_file *file, uint32_t offset, uint32_t bytes)
{
    if (offset < file->size) {
        change(file, offset, NULL, bytes < file->size - offset ? bytes : file->size - offset);
    }
}

void tree_truncate(struct tree_file *file, uint32_t size)
{
    if (size < file->size) {
        tree_zero(file, size, file->size - size); /* ST2 */
    }
    file->size = size;
}

/* ---- comparing ------------------------------------------------------------------------------ */

static uint32_t visible(uint32_t size, uint32_t block)
{
    uint32_t from = block * BLOCK_BYTES;

    return size <= from ? 0 : size - from < BLOCK_BYTES ? size - from : BLOCK_BYTES;
}

static bool page_equals(const struct tree_file *found, uint32_t block, const uint8_t *page)
{
    return memcmp(bytes_of(found->pages[block]), bytes_of(page), visible(found->size, block)) == 0;
}

bool tree_file_equals(const struct tree_file *file, const struct tree_file *found)
{
    if (file->ino != found->ino || file->size != found->size) {
        (void)printf("  inode %llu of %u bytes, not %llu of %u\n",
                     (unsigned long long)found->ino,
                     found->size,
                     (unsigned long long)file->ino,
                     file->size);
        return false;
    }
    for (uint32_t block = 0; file->ino != 0 && block < TREE_BLOCKS; block++) {
        if (!page_equals(found, block, file->pages[block])) {
            (void)printf("  inode %llu of %u bytes: block %u differs\n",
                         (unsigned long long)file->ino,
                         file->size,
                         block);
            return false;
        }
    }
    return true;
}

/* Some state from `from` on had this page at this place of this file. */
static bool
page_was(const struct tree *tree, uint32_t from, const struct tree_file *found, uint32_t block)
{
    for (uint32_t at = from; at < tree->count; at++) {
        for (uint32_t name = 0; name < TREE_FILES; name++) {
            const struct tree_file *file = &tree->states[at].files[name];
            if ((file->ino == found->ino || file->ino == TREE_ANY_INO) &&
                page_equals(found, block, file->pages[block])) {
                return true;
            }
        }
    }
    return false;
}

/* A write may be done in steps, each a transaction with whole blocks. */
static bool grows_to(const struct tree *tree, uint32_t at, uint32_t name, uint32_t size)
{
    const struct tree_file *file = &tree->states[at].files[name];
    const struct tree_file *next = &tree->states[at + 1].files[name];

    return at + 1 < tree->count && file->ino == next->ino && file->size < size &&
           size < next->size && size % BLOCK_BYTES == 0;
}

static bool file_fits(
    const struct tree *tree, uint32_t at, uint32_t name, const struct tree_file *found, bool say)
{
    const struct tree_file *file = &tree->states[at].files[name];
    bool same = file->ino == found->ino || (file->ino == TREE_ANY_INO && found->ino != 0);
    uint32_t block = 0;

    same = same && (file->size == found->size || grows_to(tree, at, name, found->size));
    while (same && found->ino != 0 && block < TREE_BLOCKS && page_was(tree, at, found, block)) {
        block++;
    }
    bool good = same && (found->ino == 0 || block == TREE_BLOCKS);
    if (say && !good) {
        (void)printf("  state %u: file %u: inode %llu of %u bytes, found %llu of %u, block %u\n",
                     at,
                     name,
                     (unsigned long long)file->ino,
                     file->size,
                     (unsigned long long)found->ino,
                     found->size,
                     block);
    }
    return good;
}

static bool fits(const struct tree *tree, uint32_t at, const struct tree_state *found, bool say)
{
    for (uint32_t name = 0; name < TREE_FILES; name++) {
        if (!file_fits(tree, at, name, &found->files[name], say)) {
            return false;
        }
    }
    return true;
}

void tree_recover(struct tree *tree, const struct tree_state *found, const char *who)
{
    bool good = false;

    for (uint32_t at = tree->synced; at < tree->count && !good; at++) {
        good = fits(tree, at, found, false);
    }
    if (!good) {
        for (uint32_t at = tree->synced; at < tree->count; at++) {
            (void)fits(tree, at, found, true);
        }
        sim_fail("%s: no state from the last synced one on (%u to %u) is what was found",
                 who,
                 tree->synced,
                 tree->count - 1);
    }
    tree->states[0] = *found;
    tree->count = 1;
    tree->done = 0;
    tree->synced = 0;
}
