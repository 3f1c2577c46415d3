/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See fake_journal.h. One lock for everything; a commit holds `leading` across the client's calls,
 * as the real one does. Where the real log thread would commit for a parked reservation, the parked
 * caller does it itself.
 */
#include "fake_journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "r5fs/base/bitmap.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/geometry.h"

struct unit {
    uint32_t count;
    bool has_txn;
    struct fs_block *blocks;
    uint8_t *bytes;
};

struct array {
    struct geometry geometry;
    struct uuid uuid;
};

struct journal {
    struct array array;
    uint32_t data_step;
    uint32_t meta_step;
    bool trace;

    struct env_mutex lock;
    struct env_cond changed;
    struct journal_client client;
    uint8_t *current;    /* [lock] newest images */
    uint8_t *durable;    /* [lock] */
    uint8_t *dirty_bits; /* [lock] data blocks in no unit */
    uint64_t *dirty;     /* [lock] their numbers, in order; may hold discarded ones */
    size_t dirty_count;
    size_t dirty_room;
    uint64_t dirty_images;
    uint64_t txn; /* [lock] running */
    uint32_t txn_used;
    uint32_t txn_outstanding;
    bool leading;
    bool failed;
    bool overlaps; /* a block may be in a unit twice */
    uint64_t durable_txn;

    struct unit *units;
    size_t unit_count;
    size_t unit_room;
    void (*hook)(void *context, uint64_t unit);
    void *hook_context;
    void (*wait_hook)(void *context);
    void *wait_hook_context;
    uint64_t bad_block;
    uint64_t seq; /* [lock] of the newest durable unit; goes on in what fake_journal_at makes */
    uint64_t commits;
    uint64_t reads;
};

static void *map_zeroed(uint64_t bytes)
{
    void *mapped = mmap(
        NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    R5_CHECK(mapped != MAP_FAILED);
    return mapped;
}

static void *grown(void *old, size_t count, size_t *room, size_t item_bytes)
{
    if (count < *room) {
        return old;
    }
    *room = *room == 0 ? 64 : *room * 2;
    void *bigger = realloc(old, *room * item_bytes);
    R5_CHECK(bigger != NULL);
    return bigger;
}

static uint64_t volume_bytes(const struct journal *j)
{
    return j->array.geometry.volume_blocks * BLOCK_BYTES;
}

static uint8_t *block_in(uint8_t *volume, struct fs_block block)
{
    return volume + block.nr * BLOCK_BYTES;
}

static struct journal *
fake_make_like(const struct geometry *geometry, uint32_t data_step, uint32_t meta_step, bool trace)
{
    struct journal *j = calloc(1, sizeof(*j));
    R5_CHECK(j != NULL);
    j->array.geometry = *geometry;
    memset(j->array.uuid.bytes, 0xa7, sizeof(j->array.uuid.bytes));
    j->data_step = data_step;
    j->meta_step = meta_step;
    j->trace = trace;
    j->txn = 1;
    env_mutex_init(&j->lock);
    env_cond_init(&j->changed);
    j->current = map_zeroed(volume_bytes(j));
    j->durable = map_zeroed(volume_bytes(j));
    j->dirty_bits = map_zeroed(volume_bytes(j) / BLOCK_BYTES / 8 + 1);
    return j;
}

struct journal *fake_journal_make(const struct fake_options *options)
{
    struct geometry geometry;
    uint32_t slots = options->slots == 0 ? 4 : options->slots;
    uint32_t chunk_sectors = options->chunk_sectors == 0 ? 128 : options->chunk_sectors;
    uint64_t blocks = options->volume_blocks == 0 ? 16384 : options->volume_blocks;
    uint64_t member_sectors = div_round_up(blocks, slots - 1) * BLOCK_SECTORS;
    int error = geometry_init(&geometry,
                              slots,
                              chunk_sectors,
                              LAYOUT_LEFT_SYMMETRIC,
                              round_up(member_sectors, chunk_sectors));
    R5_CHECK(error == 0);
    return fake_make_like(&geometry,
                          options->data_step == 0 ? 64 : options->data_step,
                          options->meta_step == 0 ? 32 : options->meta_step,
                          options->trace);
}

void fake_journal_free(struct journal *j)
{
    for (size_t i = 0; i < j->unit_count; i++) {
        free(j->units[i].blocks);
        free(j->units[i].bytes);
    }
    free(j->units);
    free(j->dirty);
    R5_CHECK(munmap(j->current, volume_bytes(j)) == 0);
    R5_CHECK(munmap(j->durable, volume_bytes(j)) == 0);
    R5_CHECK(munmap(j->dirty_bits, volume_bytes(j) / BLOCK_BYTES / 8 + 1) == 0);
    env_cond_fini(&j->changed);
    env_mutex_fini(&j->lock);
    free(j);
}

struct array *fake_array(struct journal *j)
{
    return &j->array;
}

const struct geometry *array_geometry(const struct array *array)
{
    return &array->geometry;
}

struct uuid array_uuid(const struct array *array)
{
    return array->uuid;
}

uint64_t fake_volume_blocks(const struct journal *j)
{
    return j->array.geometry.volume_blocks;
}

uint64_t fake_units(const struct journal *j)
{
    return j->unit_count;
}

bool fake_unit_has_txn(const struct journal *j, uint64_t unit)
{
    return j->units[unit].has_txn;
}

void fake_block_changed(struct journal *j, struct fs_block block)
{
    memcpy(block_in(j->current, block), block_in(j->durable, block), BLOCK_BYTES);
}

/* One unit becomes durable. [lock] */
static void unit_apply(struct journal *j, const struct unit *unit)
{
    for (uint32_t i = 0; i < unit->count; i++) {
        for (uint32_t k = 0; k < i; k++) {
            R5_CHECK(j->overlaps || unit->blocks[i].nr != unit->blocks[k].nr);
        }
        memcpy(block_in(j->durable, unit->blocks[i]),
               unit->bytes + (size_t)i * BLOCK_BYTES,
               BLOCK_BYTES);
    }
}

static struct unit unit_copy(const struct unit *unit)
{
    struct unit copy = *unit;
    copy.blocks = calloc(unit->count, sizeof(struct fs_block));
    copy.bytes = calloc(unit->count, BLOCK_BYTES);
    R5_CHECK(copy.blocks != NULL && copy.bytes != NULL);
    memcpy(copy.blocks, unit->blocks, unit->count * sizeof(struct fs_block));
    memcpy(copy.bytes, unit->bytes, (size_t)unit->count * BLOCK_BYTES);
    return copy;
}

struct journal *fake_journal_at(struct journal *j, uint64_t units, bool trace)
{
    R5_CHECK(j->trace && units <= j->unit_count);
    struct journal *made = fake_make_like(&j->array.geometry, j->data_step, j->meta_step, trace);
    made->seq = j->seq;
    for (uint64_t i = 0; i < units; i++) {
        const struct unit *unit = &j->units[i];
        unit_apply(made, unit);
        for (uint32_t k = 0; k < unit->count; k++) {
            fake_block_changed(made, unit->blocks[k]);
        }
        if (trace) {
            made->units = grown(made->units, made->unit_count, &made->unit_room, sizeof(*unit));
            made->units[made->unit_count++] = unit_copy(unit);
        }
    }
    return made;
}

struct journal *fake_journal_crash(struct journal *j)
{
    return fake_journal_at(j, j->unit_count, true);
}

void fake_on_unit(struct journal *j, void (*hook)(void *context, uint64_t unit), void *context)
{
    j->hook = hook;
    j->hook_context = context;
}

void fake_on_wait(struct journal *j, void (*hook)(void *context), void *context)
{
    j->wait_hook = hook;
    j->wait_hook_context = context;
}

static void about_to_wait(struct journal *j)
{
    if (j->wait_hook != NULL) {
        j->wait_hook(j->wait_hook_context);
    }
}

uint8_t *fake_block_bytes(struct journal *j, struct fs_block block)
{
    R5_CHECK(block.nr < fake_volume_blocks(j));
    return block_in(j->durable, block);
}

void fake_fail_reads_of(struct journal *j, struct fs_block block)
{
    j->bad_block = block.nr;
}

void fake_allow_overlaps(struct journal *j)
{
    j->overlaps = true;
}

void fake_fail_commits(struct journal *j)
{
    j->failed = true;
}

uint64_t fake_commit_count(const struct journal *j)
{
    return j->commits;
}

uint64_t fake_read_count(const struct journal *j)
{
    return j->reads;
}

/* ---- journal.h ------------------------------------------------------------------------------- */

void journal_set_client(struct journal *j, const struct journal_client *client)
{
    env_mutex_lock(&j->lock);
    j->client = *client;
    env_mutex_unlock(&j->lock);
}

struct journal_limits journal_limits(const struct journal *j)
{
    return (struct journal_limits){.data_step = j->data_step, .meta_step = j->meta_step};
}

void journal_get_mark(struct journal *j, struct journal_mark *out_mark)
{
    env_mutex_lock(&j->lock);
    *out_mark = (struct journal_mark){.seq = j->seq};
    env_mutex_unlock(&j->lock);
    memset(out_mark->device.bytes, 0x5e, sizeof(out_mark->device.bytes));
}

uint64_t journal_running_txn(struct journal *j)
{
    env_mutex_lock(&j->lock);
    uint64_t txn = j->txn;
    env_mutex_unlock(&j->lock);
    return txn;
}

int journal_read(struct journal *j,
                 struct io_queue *queue,
                 struct fs_block first,
                 uint32_t count,
                 uint8_t *buffer)
{
    (void)queue; /* there is no device */
    R5_CHECK(first.nr + count <= fake_volume_blocks(j));
    env_mutex_lock(&j->lock);
    j->reads += count;
    bool bad = j->bad_block != 0 && j->bad_block >= first.nr && j->bad_block < first.nr + count;
    if (!bad) {
        memcpy(buffer, block_in(j->current, first), (size_t)count * BLOCK_BYTES);
    }
    env_mutex_unlock(&j->lock);
    return bad ? -EIO : 0;
}

/* [lock, dropped for the hook] */
static void unit_finish(struct journal *j, struct unit *unit)
{
    unit_apply(j, unit);
    j->seq++;
    size_t index = j->unit_count;
    if (j->trace) {
        j->units = grown(j->units, j->unit_count, &j->unit_room, sizeof(*j->units));
        j->units[j->unit_count++] = unit_copy(unit);
    }
    free(unit->blocks);
    free(unit->bytes);
    if (j->hook != NULL) {
        env_mutex_unlock(&j->lock);
        j->hook(j->hook_context, index);
        env_mutex_lock(&j->lock);
    }
}

static struct unit unit_make(void)
{
    struct unit unit = {
        .blocks = calloc(JOURNAL_TXN_BLOCKS_MAX, sizeof(struct fs_block)),
        .bytes = calloc(JOURNAL_TXN_BLOCKS_MAX, BLOCK_BYTES),
    };
    R5_CHECK(unit.blocks != NULL && unit.bytes != NULL);
    return unit;
}

static void unit_add(struct unit *unit, struct fs_block block, const uint8_t *bytes)
{
    R5_CHECK(unit->count < JOURNAL_TXN_BLOCKS_MAX);
    unit->blocks[unit->count] = block;
    memcpy(unit->bytes + (size_t)unit->count * BLOCK_BYTES, bytes, BLOCK_BYTES);
    unit->count++;
}

/* [lock] Dirty data into units; the last, not full one is left in *last. */
static void place_data(struct journal *j, struct unit *last, uint32_t room_for_txn)
{
    for (size_t i = 0; i < j->dirty_count; i++) {
        struct fs_block block = fs_block(j->dirty[i]);
        if (!bitmap_get(j->dirty_bits + block.nr / 8, (uint32_t)(block.nr % 8))) {
            continue; /* discarded */
        }
        bitmap_clear_run(j->dirty_bits + block.nr / 8, (uint32_t)(block.nr % 8), 1);
        if (last->count == JOURNAL_TXN_BLOCKS_MAX) {
            unit_finish(j, last);
            *last = unit_make();
        }
        unit_add(last, block, block_in(j->current, block));
    }
    j->dirty_count = 0;
    j->dirty_images = 0;
    if (last->count + room_for_txn > JOURNAL_TXN_BLOCKS_MAX) {
        unit_finish(j, last);
        *last = unit_make();
    }
}

/* The client is locked and j->lock held. */
static void place_txn(struct journal *j, struct unit *unit, uint32_t count)
{
    R5_CHECK(count <= j->txn_used || count == 0);
    for (uint32_t i = 0; i < count; i++) {
        struct fs_block address;
        const uint8_t *bytes = NULL;
        j->client.block(j->client.context, i, &address, &bytes);
        R5_CHECK(address.nr < fake_volume_blocks(j));
        memcpy(block_in(j->current, address), bytes, BLOCK_BYTES);
        unit_add(unit, address, bytes);
    }
    unit->has_txn = count > 0;
}

/* `leading` is set by the caller. Returns the result. */
static int commit_lead(struct journal *j)
{
    struct journal_client client = j->client;
    struct unit unit = unit_make();
    client.lock(client.context);
    uint32_t count = client.seal(client.context);
    env_mutex_lock(&j->lock);
    place_data(j, &unit, count);
    place_txn(j, &unit, count);
    uint64_t txn = j->txn;
    j->txn++;
    j->txn_used = 0;
    int result = j->failed ? -EIO : 0;
    env_mutex_unlock(&j->lock);
    client.closed(client.context, txn);
    client.unlock(client.context);
    env_mutex_lock(&j->lock);
    if (result == 0 && unit.count > 0) {
        unit_finish(j, &unit);
    } else {
        free(unit.blocks);
        free(unit.bytes);
    }
    j->commits++;
    env_mutex_unlock(&j->lock);
    client.durable(client.context, txn, result);
    env_mutex_lock(&j->lock);
    j->durable_txn = txn;
    j->leading = false;
    env_cond_broadcast(&j->changed);
    env_mutex_unlock(&j->lock);
    return result;
}

int journal_commit(struct journal *j, struct io_queue *queue, uint64_t txn)
{
    (void)queue; /* there is no device */
    about_to_wait(j);
    env_mutex_lock(&j->lock);
    while (j->leading && j->durable_txn < txn) {
        env_cond_wait(&j->changed, &j->lock);
    }
    bool needed = j->durable_txn < txn && (j->dirty_images > 0 || j->txn_used > 0);
    int result = j->failed ? -EIO : 0;
    j->leading = j->leading || needed;
    env_mutex_unlock(&j->lock);
    return needed ? commit_lead(j) : result;
}

/* [lock, dropped for a commit] The room is not there: make some, or wait for those who hold it. */
static void wait_for_room(struct journal *j)
{
    if (j->leading || j->txn_used == 0) {
        env_cond_wait(&j->changed, &j->lock);
        return;
    }
    j->leading = true;
    env_mutex_unlock(&j->lock);
    (void)commit_lead(j); /* a failed journal is seen by the caller's next look */
    env_mutex_lock(&j->lock);
}

int journal_reserve(struct journal *j,
                    struct journal_reservation *reservation,
                    uint32_t data_blocks,
                    uint32_t meta_blocks)
{
    int error = 0;
    about_to_wait(j);
    env_mutex_lock(&j->lock);
    R5_CHECK(reservation->data_blocks == 0 && reservation->meta_blocks == 0);
    if (data_blocks > j->data_step || meta_blocks > j->meta_step) {
        error = -EINVAL;
    }
    while (error == 0 && !j->failed &&
           j->txn_used + j->txn_outstanding + meta_blocks > j->meta_step) {
        wait_for_room(j);
    }
    if (error == 0 && j->failed) {
        error = -EROFS;
    }
    if (error == 0) {
        j->txn_outstanding += meta_blocks;
        reservation->data_blocks = data_blocks;
        reservation->meta_blocks = meta_blocks;
    }
    env_mutex_unlock(&j->lock);
    return error;
}

void journal_interrupt(struct journal *j, struct journal_reservation *reservation)
{
    (void)j; /* nobody is parked for long here */
    (void)reservation;
}

void journal_release(struct journal *j, struct journal_reservation *reservation)
{
    env_mutex_lock(&j->lock);
    j->txn_outstanding -= reservation->meta_blocks;
    reservation->data_blocks = 0;
    reservation->meta_blocks = 0;
    env_cond_broadcast(&j->changed);
    env_mutex_unlock(&j->lock);
}

void journal_write(struct journal *j,
                   struct journal_reservation *reservation,
                   struct fs_block block,
                   const uint8_t *data)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(block.nr < fake_volume_blocks(j));
    uint8_t *bits = j->dirty_bits + block.nr / 8;
    uint32_t bit = (uint32_t)(block.nr % 8);
    if (!bitmap_get(bits, bit)) {
        R5_CHECK(reservation->data_blocks > 0);
        reservation->data_blocks--;
        bitmap_set_run(bits, bit, 1);
        j->dirty = grown(j->dirty, j->dirty_count, &j->dirty_room, sizeof(*j->dirty));
        j->dirty[j->dirty_count++] = block.nr;
        j->dirty_images++;
    }
    memcpy(block_in(j->current, block), data, BLOCK_BYTES);
    env_mutex_unlock(&j->lock);
}

void journal_txn_join(struct journal *j, struct journal_reservation *reservation)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(reservation->meta_blocks > 0);
    reservation->meta_blocks--;
    j->txn_outstanding--;
    j->txn_used++;
    env_mutex_unlock(&j->lock);
}

void journal_txn_leave(struct journal *j, struct journal_reservation *reservation)
{
    env_mutex_lock(&j->lock);
    R5_CHECK(j->txn_used > 0);
    reservation->meta_blocks++;
    j->txn_outstanding++;
    j->txn_used--;
    env_mutex_unlock(&j->lock);
}

void journal_discard(struct journal *j, struct fs_block first, uint64_t count)
{
    env_mutex_lock(&j->lock);
    for (uint64_t i = 0; i < count; i++) {
        struct fs_block block = fs_block_add(first, i);
        uint8_t *bits = j->dirty_bits + block.nr / 8;
        uint32_t bit = (uint32_t)(block.nr % 8);
        if (bitmap_get(bits, bit)) {
            bitmap_clear_run(bits, bit, 1);
            j->dirty_images--;
            memcpy(block_in(j->current, block), block_in(j->durable, block), BLOCK_BYTES);
        }
    }
    env_mutex_unlock(&j->lock);
}

int journal_drain(struct journal *j, struct io_queue *queue)
{
    return journal_commit(j, queue, journal_running_txn(j));
}
