/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows of a scanned log and their two layers.
 *
 *   DATA d     open: d over what the slot had
 *   PARITY p   closed: closed overlaid with open, and p;  open: empty
 *   FLUSH      both empty
 *
 * Invariants:
 *   RL1  a layer holds at most one page per slot, the newest.
 *   RL2  the open layer holds data only; a closed layer that holds anything holds parity.
 *   RL3  closed data agrees with closed parity: it is all the data that came before it (W8).
 *
 * Happy path: one add per payload, in log order; then collect.
 * Failure modes: no memory is -ENOMEM.
 * Thread: the scanning one.
 */
#include "recovery_layers.h"

#include <errno.h>

#include "recovery_cases.h"

/* Buckets for rings large and small; beyond, chains grow. */
#define ROWS_EXPECTED_MAX UINT64_C(1048576)

int recovery_layers_init(struct recovery_scan *scan)
{
    /* A live row takes two blocks at the least: a page and its share of meta blocks. */
    size_t rows = (size_t)min_u64(scan->source.ring.blocks / 2 + 1, ROWS_EXPECTED_MAX);

    index_init(&scan->rows, scan->arena, rows);
    return 0;
}

void recovery_layers_drop(struct recovery_scan *scan)
{
    for (size_t i = 0; i < index_bucket_count(&scan->rows); i++) {
        while (index_bucket(&scan->rows, i) != NULL) {
            index_remove(&scan->rows, index_bucket(&scan->rows, i));
        }
    }
    scan->closed_count = 0;
    scan->open_count = 0;
}

static struct recovered_row *row_get(struct recovery_scan *scan, struct member_block row)
{
    struct index_node *node = index_find(&scan->rows, row.nr);

    if (node != NULL) {
        return container_of(node, struct recovered_row, node);
    }
    struct recovered_row *made =
        arena_try_take(scan->arena, sizeof(*made), _Alignof(struct recovered_row));
    if (made != NULL) {
        index_insert(&scan->rows, &made->node, row.nr);
    }
    return made;
}

const struct recovered_row *recovery_scan_find(const struct recovery_scan *scan,
                                               struct member_block row)
{
    struct index_node *node = index_find(&scan->rows, row.nr);

    return node == NULL ? NULL : container_of(node, struct recovered_row, node);
}

const struct recovered_page *recovered_page_find(const struct recovered_page *layer, uint32_t slot)
{
    while (layer != NULL && layer->slot != slot) {
        layer = layer->next;
    }
    return layer;
}

static struct recovered_page *page_new(struct recovery_scan *scan)
{
    struct recovered_page *page = scan->free_pages;

    if (page == NULL) {
        return arena_try_take(scan->arena, sizeof(*page), _Alignof(struct recovered_page));
    }
    scan->free_pages = page->next;
    return page;
}

static void layer_free(struct recovery_scan *scan, struct recovered_page **layer)
{
    while (*layer != NULL) {
        struct recovered_page *page = *layer;
        *layer = page->next;
        page->next = scan->free_pages;
        scan->free_pages = page;
    }
}

/* RL1 */
static int layer_set(struct recovery_scan *scan,
                     struct recovered_page **layer,
                     const struct recovered_page *page)
{
    struct recovered_page *at = *layer;

    while (at != NULL && at->slot != page->slot) {
        at = at->next;
    }
    if (at == NULL) {
        at = page_new(scan);
        if (at == NULL) {
            return -ENOMEM;
        }
        at->next = *layer;
        *layer = at;
    }
    struct recovered_page *next = at->next;
    *at = *page;
    at->next = next;
    return 0;
}

int recovery_layers_add_data(struct recovery_scan *scan,
                             struct member_block row,
                             const struct recovered_page *page)
{
    struct recovered_row *entry = row_get(scan, row);

    return entry == NULL ? -ENOMEM : layer_set(scan, &entry->open, page);
}

int recovery_layers_add_parity(struct recovery_scan *scan,
                               struct member_block row,
                               const struct recovered_page *page)
{
    struct recovered_row *entry = row_get(scan, row);

    if (entry == NULL) {
        return -ENOMEM;
    }
    for (const struct recovered_page *open = entry->open; open != NULL; open = open->next) {
        int error = layer_set(scan, &entry->closed, open);
        if (error != 0) {
            return error;
        }
    }
    layer_free(scan, &entry->open);
    return layer_set(scan, &entry->closed, page); /* RL2, RL3 */
}

void recovery_layers_forget(struct recovery_scan *scan, struct member_block row)
{
    struct index_node *node = index_find(&scan->rows, row.nr);

    if (node != NULL) {
        struct recovered_row *entry = container_of(node, struct recovered_row, node);
        layer_free(scan, &entry->open);
        layer_free(scan, &entry->closed);
    }
}

int recovery_layers_mark_lost(struct recovery_scan *scan, struct member_block row)
{
    struct recovered_row *entry = row_get(scan, row);

    if (entry == NULL) {
        return -ENOMEM;
    }
    scan->loss.rows += !entry->lost;
    entry->lost = true;
    return 0;
}

uint32_t recovery_row_facts(const struct recovery_scan *scan, const struct recovered_row *row)
{
    uint32_t parity_slot = geometry_parity_slot(scan->geometry, member_block(row->node.key));
    uint32_t facts = row->open != NULL ? ROW_OPEN_DATA : 0;

    for (const struct recovered_page *page = row->closed; page != NULL; page = page->next) {
        facts |= page->slot == parity_slot ? ROW_CLOSED_PARITY : ROW_CLOSED_DATA;
    }
    return facts;
}

static unsigned row_decision(const struct recovery_scan *scan, const struct recovered_row *row)
{
    unsigned decision =
        recovery_table_find(&recovery_row_table, recovery_row_facts(scan, row))->decision;

    R5_CHECK(decision != ROW_IMPOSSIBLE); /* RL2 */
    return decision;
}

bool recovery_row_writes_closed(const struct recovery_scan *scan, const struct recovered_row *row)
{
    return (row_decision(scan, row) & ROW_WRITE_CLOSED) != 0;
}

/* ---- order ----------------------------------------------------------------------------------- */

static uint64_t key_by_row(const struct recovery_scan *scan, const struct recovered_row *row)
{
    (void)scan;
    return row->node.key;
}

/* The oldest page that still counts, relative to the newest unit so that a seq may wrap. */
static uint64_t key_by_seq(const struct recovery_scan *scan, const struct recovered_row *row)
{
    uint64_t oldest = 0;

    for (const struct recovered_page *page = row->open; page != NULL; page = page->next) {
        oldest = max_u64(oldest, scan->last_seq - page->seq);
    }
    return UINT64_MAX - oldest;
}

typedef uint64_t (*row_key)(const struct recovery_scan *scan, const struct recovered_row *row);

static void sift_down(const struct recovery_scan *scan,
                      struct recovered_row **rows,
                      uint64_t root,
                      uint64_t count,
                      row_key key)
{
    for (uint64_t child = 2 * root + 1; child < count; child = 2 * root + 1) {
        if (child + 1 < count && key(scan, rows[child]) < key(scan, rows[child + 1])) {
            child++;
        }
        if (key(scan, rows[root]) >= key(scan, rows[child])) {
            return;
        }
        struct recovered_row *swap = rows[root];
        rows[root] = rows[child];
        rows[child] = swap;
        root = child;
    }
}

/* A heap sort: in place, no recursion, no memory. Ascending. */
static void sort_rows(const struct recovery_scan *scan,
                      struct recovered_row **rows,
                      uint64_t count,
                      row_key key)
{
    for (uint64_t root = count / 2; root > 0; root--) {
        sift_down(scan, rows, root - 1, count, key);
    }
    for (uint64_t left = count; left > 1; left--) {
        struct recovered_row *largest = rows[0];
        rows[0] = rows[left - 1];
        rows[left - 1] = largest;
        sift_down(scan, rows, 0, left - 1, key);
    }
}

int recovery_layers_collect(struct recovery_scan *scan)
{
    size_t bytes = sizeof(struct recovered_row *) * (size_t)(scan->rows.count + 1);

    scan->closed = arena_try_take(scan->arena, bytes, _Alignof(struct recovered_row *));
    scan->open = arena_try_take(scan->arena, bytes, _Alignof(struct recovered_row *));
    if (scan->closed == NULL || scan->open == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < index_bucket_count(&scan->rows); i++) {
        for (struct index_node *node = index_bucket(&scan->rows, i); node != NULL;
             node = node->next) {
            struct recovered_row *row = container_of(node, struct recovered_row, node);
            unsigned decision = row_decision(scan, row);
            if ((decision & ROW_WRITE_CLOSED) != 0) {
                scan->closed[scan->closed_count++] = row;
            }
            if ((decision & ROW_KEEP_OPEN) != 0) {
                scan->open[scan->open_count++] = row;
            }
        }
    }
    sort_rows(scan, scan->closed, scan->closed_count, key_by_row);
    sort_rows(scan, scan->open, scan->open_count, key_by_seq);
    return 0;
}
