/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where each block comes from is recovery_block_table's decision:
 *
 *   open layer > closed layer > member, where the row is closed > derived > the array's own read
 *
 *   derived:  lost = XOR of the row's others, each its closed page, or else its member's block
 *
 * A row that has a closed layer may be half written on the members: raid must not reconstruct from
 * them there, so such rows never go to array_read.
 *
 * Invariant RV1: an open page is never part of a derived block; parity does not cover it (RC4).
 * Happy path: runs of blocks without log go to the array in one read, pages of the log in batches.
 * Failure modes: a member that cannot be read is derived; a page of the log that changed is -EIO.
 * Thread: any, on its own queue; the scan's result does not change any more.
 */
#include "recovery_view.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "r5fs/base/msg.h"
#include "r5fs/raid/parity.h"
#include "recovery_cases.h"

#define MODULE           "journal"
#define VIEW_BATCH_PAGES 8u

/* Pages of the log waiting to be read together. */
struct view_read {
    const struct recovery_view *view;
    struct io_queue *queue;
    uint32_t page_count;
    struct log_page pages[VIEW_BATCH_PAGES];
    struct io_request requests[VIEW_BATCH_PAGES];
};

int recovery_view_init(struct recovery_view *view,
                       struct array *array,
                       struct io_queue *queue,
                       bool accept_damaged,
                       char *out_why)
{
    view->array = array;
    arena_init_growing(&view->arena);
    int error = recovery_scan_run(&view->scan, array, queue, &view->arena, accept_damaged, out_why);
    if (error != 0) {
        arena_fini(&view->arena);
    }
    return error;
}

void recovery_view_fini(struct recovery_view *view)
{
    arena_fini(&view->arena);
}

static int read_pages(struct view_read *read)
{
    uint32_t count = read->page_count;

    read->page_count = 0;
    return log_source_read_pages(&read->view->scan.source,
                                 read->queue,
                                 read->pages,
                                 count,
                                 read->requests,
                                 VIEW_BATCH_PAGES);
}

static int add_page(struct view_read *read, const struct recovered_page *page, uint8_t *buffer)
{
    struct log_page *waiting = &read->pages[read->page_count++];

    waiting->position = recovered_page_position(&read->view->scan, page);
    waiting->checksum = page->checksum;
    waiting->buffer = buffer;
    return read->page_count == VIEW_BATCH_PAGES ? read_pages(read) : 0;
}

/* One block of the row as the closed layer leaves it. */
static int
read_closed(struct view_read *read, const struct recovered_row *row, uint32_t slot, uint8_t *buffer)
{
    const struct recovered_page *page = recovered_page_find(row->closed, slot);

    if (page == NULL) {
        return array_read_raw(
            read->view->array, read->queue, slot, member_block(row->node.key), 1, buffer);
    }
    int error = add_page(read, page, buffer);
    return error != 0 ? error : read_pages(read);
}

/* RV1 */
static int derive_block(struct view_read *read,
                        const struct recovered_row *row,
                        uint32_t lost,
                        uint8_t *buffer)
{
    _Alignas(BLOCK_BYTES) uint8_t other[BLOCK_BYTES];
    /* What is waiting has its own buffers; this reads in between. */
    int error = read_pages(read);

    memset(buffer, 0, BLOCK_BYTES);
    for (uint32_t slot = 0; slot < read->view->scan.geometry->slots && error == 0; slot++) {
        if (slot == lost) {
            continue;
        }
        error = read_closed(read, row, slot, other);
        parity_add(buffer, other);
    }
    if (error != 0) {
        msg_warn(MODULE,
                 "block cannot be derived row=%" PRIu64 " slot=%" PRIu32 " error=%s",
                 row->node.key,
                 lost,
                 strerror(-error));
        return -EIO;
    }
    return 0;
}

static uint32_t
block_facts(const struct recovery_view *view, const struct recovered_row *row, uint32_t slot)
{
    uint32_t facts = slot != array_missing_slot(view->array) ? BLOCK_READABLE : 0;

    if (row == NULL) {
        return facts;
    }
    facts |= recovered_page_find(row->open, slot) != NULL ? BLOCK_OPEN : 0;
    if (recovery_row_writes_closed(&view->scan, row)) {
        facts |= BLOCK_ROW_CLOSED;
        facts |= recovered_page_find(row->closed, slot) != NULL ? BLOCK_CLOSED : 0;
    }
    return facts;
}

static enum block_source block_source(const struct recovery_view *view, struct fs_block block)
{
    struct placement at = geometry_locate(view->scan.geometry, block);
    const struct recovered_row *row = recovery_scan_find(&view->scan, at.row);

    return recovery_table_find(&recovery_block_table, block_facts(view, row, at.slot))->decision;
}

/* A block that the log has a say in. */
static int read_logged(struct view_read *read,
                       struct fs_block block,
                       enum block_source source,
                       uint8_t *buffer)
{
    struct placement at = geometry_locate(read->view->scan.geometry, block);
    const struct recovered_row *row = recovery_scan_find(&read->view->scan, at.row);

    R5_CHECK(row != NULL);
    switch (source) {
    case BLOCK_FROM_OPEN: return add_page(read, recovered_page_find(row->open, at.slot), buffer);
    case BLOCK_FROM_CLOSED:
        return add_page(read, recovered_page_find(row->closed, at.slot), buffer);
    case BLOCK_FROM_MEMBER:
        if (array_read_raw(read->view->array, read->queue, at.slot, at.row, 1, buffer) == 0) {
            return 0;
        }
        break; /* counted by raid */
    case BLOCK_DERIVED:
    case BLOCK_FROM_ARRAY: break;
    }
    return derive_block(read, row, at.slot, buffer);
}

int recovery_view_read_blocks(const struct recovery_view *view,
                              struct io_queue *queue,
                              struct fs_block first,
                              uint32_t count,
                              uint8_t *buffer)
{
    uint64_t volume_blocks = view->scan.geometry->volume_blocks;
    struct view_read read = {.view = view, .queue = queue};
    uint32_t plain = 0; /* blocks before `i` that go to the array together */
    int error = 0;

    if (first.nr > volume_blocks || count > volume_blocks - first.nr) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i <= count && error == 0; i++) {
        enum block_source source =
            i == count ? BLOCK_FROM_OPEN : block_source(view, fs_block_add(first, i));
        if (source == BLOCK_FROM_ARRAY) {
            plain++;
            continue;
        }
        uint8_t *at = buffer + (size_t)i * BLOCK_BYTES;
        if (plain > 0) {
            error = array_read(view->array,
                               queue,
                               fs_block_add(first, i - plain),
                               plain,
                               at - (size_t)plain * BLOCK_BYTES);
            plain = 0;
        }
        if (i < count && error == 0) {
            error = read_logged(&read, fs_block_add(first, i), source, at);
        }
    }
    return error != 0 ? error : read_pages(&read);
}
