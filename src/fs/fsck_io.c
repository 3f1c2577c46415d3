/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the check reads and writes past the tree: blocks through a small read-ahead window, raw
 * blocks in transactions of their own, and the map of what is in use.
 *
 *     fsck_raw_add, fsck_raw_add, ...          fill in blocks in memory
 *     (as many as one transaction takes)  ->   commit  ->  next ones
 *     fsck_raw_commit                          commit the rest; returns when all is durable
 *
 *   R1  the journal's client is ours only from a reservation to the end of its commit
 *   R2  the blocks of one commit go into one transaction: they join under the lock that a commit
 *       takes first, and a transaction number is read under it, so it is the one that they belong
 *       to
 *
 * Failure: a block that cannot be read is told once and marks the check as unreadable, since what
 * is missing then proves nothing. Runs on the thread of fs_check; the client's calls on any.
 */
#include <errno.h>
#include <string.h>

#include "fsck.h"
#include "r5fs/base/bitmap.h"

/* ---- reading --------------------------------------------------------------------------------- */

void fsck_forget_window(struct fsck *ck)
{
    ck->window_count = 0;
}

/* Fills the window from `block` on; falls back to the one block, which then is all there is. */
static int window_fill(struct fsck *ck, struct fs_block block)
{
    uint64_t end = array_geometry(ck->array)->volume_blocks;
    uint32_t count = (uint32_t)min_u64(FSCK_WINDOW_BLOCKS, end - block.nr);
    ck->window_count = 0;
    int error = journal_read(ck->journal, ck->thread->queue, block, count, ck->window);
    if (error != 0 && count > 1) {
        count = 1;
        error = journal_read(ck->journal, ck->thread->queue, block, count, ck->window);
    }
    if (error == 0) {
        ck->window_first = block;
        ck->window_count = count;
    }
    return error;
}

int fsck_peek(struct fsck *ck, struct fs_block block, const uint8_t **out)
{
    if (block.nr >= array_geometry(ck->array)->volume_blocks) {
        return -EUCLEAN;
    }
    if (block.nr - ck->window_first.nr >= ck->window_count) {
        int error = window_fill(ck, block);
        if (error != 0) {
            fsck_say(ck,
                     FSCK_NODE,
                     false,
                     "block %llu: cannot be read: %s",
                     (unsigned long long)block.nr,
                     strerror(-error));
            ck->unreadable = true;
            return error;
        }
    }
    *out = ck->window + (block.nr - ck->window_first.nr) * BLOCK_BYTES;
    return 0;
}

int fsck_read(struct fsck *ck, struct fs_block block, uint8_t *out)
{
    const uint8_t *data = NULL;
    int error = fsck_peek(ck, block, &data);
    if (error == 0) {
        memcpy(out, data, BLOCK_BYTES);
    }
    return error;
}

/* ---- raw blocks ------------------------------------------------------------------------------ */

static void raw_lock(void *context)
{
    struct fsck *ck = context;
    env_mutex_lock(&ck->raw.lock);
}

static void raw_unlock(void *context)
{
    struct fsck *ck = context;
    env_mutex_unlock(&ck->raw.lock);
}

static uint32_t raw_seal(void *context)
{
    const struct fsck *ck = context;
    return ck->raw.joined ? ck->raw.count : 0;
}

static void
raw_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    const struct fsck *ck = context;
    R5_CHECK(index < ck->raw.count);
    *out_address = ck->raw.addresses[index];
    *out_data = ck->raw.blocks + (size_t)index * BLOCK_BYTES;
}

static void raw_closed(void *context, uint64_t txn)
{
    struct fsck *ck = context;
    (void)txn; /* the one that fsck_raw_commit waits for */
    if (ck->raw.joined) {
        ck->raw.joined = false;
        ck->raw.count = 0;
    }
}

static void raw_durable(void *context, uint64_t txn, int result)
{
    (void)context; /* journal_commit returns the result */
    (void)txn;
    (void)result;
}

void fsck_io_init(struct fsck *ck)
{
    struct arena *arena = ck->options->arena;
    uint32_t step = journal_limits(ck->journal).meta_step;
    ck->raw.limit = step < JOURNAL_TXN_BLOCKS_MAX ? step : JOURNAL_TXN_BLOCKS_MAX;
    env_mutex_init(&ck->raw.lock);
    ck->window = arena_take(arena, (size_t)FSCK_WINDOW_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
    ck->levels = arena_take(arena, (size_t)FS_TREE_LEVELS_MAX * BLOCK_BYTES, BLOCK_BYTES);
    ck->block = arena_take(arena, BLOCK_BYTES, BLOCK_BYTES);
    ck->bits = arena_take(arena, BLOCK_BYTES, BLOCK_BYTES);
    if (ck->repair) {
        ck->raw.addresses = arena_take_array(arena, struct fs_block, ck->raw.limit);
        ck->raw.blocks = arena_take(arena, (size_t)ck->raw.limit * BLOCK_BYTES, BLOCK_BYTES);
    }
}

void fsck_io_fini(struct fsck *ck)
{
    env_mutex_fini(&ck->raw.lock);
}

/* Joins what is filled in to the running transaction. Returns its number. */
static uint64_t raw_join(struct fsck *ck)
{
    struct fsck_raw *raw = &ck->raw;
    env_mutex_lock(&raw->lock);
    uint64_t txn = journal_running_txn(ck->journal);
    for (uint32_t i = 0; i < raw->count; i++) {
        uint8_t *block = raw->blocks + (size_t)i * BLOCK_BYTES;
        le64 generation = le64_make(txn);
        memcpy(
            block + offsetof(struct fs_block_header, generation), &generation, sizeof(generation));
        fs_header_seal(block);
        journal_txn_join(ck->journal, &ck->thread->reservation);
    }
    raw->joined = true;
    env_mutex_unlock(&raw->lock);
    return txn;
}

int fsck_raw_commit(struct fsck *ck)
{
    const struct journal_client idle = txn_idle_client();
    const struct journal_client client = {
        .lock = raw_lock,
        .seal = raw_seal,
        .block = raw_block,
        .closed = raw_closed,
        .unlock = raw_unlock,
        .durable = raw_durable,
        .context = ck,
    };
    if (ck->raw.count == 0) {
        return 0;
    }
    int error = journal_reserve(ck->journal, &ck->thread->reservation, 0, ck->raw.count);
    if (error != 0) {
        return error;
    }
    journal_set_client(ck->journal, &client);
    uint64_t txn = raw_join(ck);
    journal_release(ck->journal, &ck->thread->reservation);
    error = journal_commit(ck->journal, ck->thread->queue, txn);
    journal_set_client(ck->journal, &idle);
    fsck_forget_window(ck);
    ck->wrote = true;
    return error;
}

int fsck_raw_add(struct fsck *ck, uint32_t magic, struct fs_block block, uint8_t **out_data)
{
    struct fsck_raw *raw = &ck->raw;
    int error = raw->count == raw->limit ? fsck_raw_commit(ck) : 0;
    if (error != 0) {
        return error;
    }
    struct fs_block_header header;
    uint8_t *data = raw->blocks + (size_t)raw->count * BLOCK_BYTES;
    fs_header_fill(&header, magic, block, &ck->super.fs_uuid, 0);
    memset(data, 0, BLOCK_BYTES);
    memcpy(data, &header, sizeof(header));
    raw->addresses[raw->count] = block;
    raw->count++;
    *out_data = data;
    return 0;
}

int fsck_raw_super(struct fsck *ck)
{
    const struct fs_block places[2] = {fs_block(0), fs_super_copy_address(&ck->super)};
    int error = 0;
    if (ck->raw.count + 2 > ck->raw.limit) {
        error = fsck_raw_commit(ck); /* both in one transaction */
    }
    ck->super.txn++; /* never back: fs_judge.c compares it */
    journal_get_mark(ck->journal, &ck->super.log);
    for (uint32_t i = 0; error == 0 && i < 2; i++) {
        uint8_t *data = NULL;
        error = fsck_raw_add(ck, FS_MAGIC_SUPER, places[i], &data);
        if (error == 0) {
            fs_super_encode(&ck->super, places[i], data);
        }
    }
    return error;
}

/* ---- blocks in use --------------------------------------------------------------------------- */

int fsck_clear_use(struct fsck *ck)
{
    uint32_t count = ck->super.groups_used;
    for (uint32_t i = 0; i < ck->groups_size; i++) {
        if (ck->groups[i].used != NULL) {
            memset(ck->groups[i].used, 0, FS_BITMAP_BITS / 8);
        }
        if (ck->groups[i].nodes != NULL) {
            memset(ck->groups[i].nodes, 0, FS_BITMAP_BITS / 8);
        }
    }
    if (count > ck->groups_size) {
        struct fsck_group *groups = arena_try_take(
            ck->options->arena, count * sizeof(*groups), _Alignof(struct fsck_group));
        if (groups == NULL) {
            return -ENOMEM;
        }
        if (ck->groups_size > 0) {
            memcpy(groups, ck->groups, ck->groups_size * sizeof(*groups));
        }
        ck->groups = groups;
        ck->groups_size = count;
    }
    return 0;
}

/* A run's place in its group. */
struct run {
    struct fsck_group *group;
    uint32_t first;
    uint32_t count;
};

static struct run run_of(struct fsck *ck, struct fs_block start, uint32_t count)
{
    uint32_t number = fs_group_of(&ck->super, start);
    R5_CHECK(number < ck->groups_size && fs_run_is_plausible(&ck->super, start, count));
    uint32_t first = (uint32_t)(start.nr - fs_group_start(&ck->super, number).nr);
    return (struct run){&ck->groups[number], first, count};
}

static bool map_has_any(const uint8_t *map, struct run run)
{
    return map != NULL && !bitmap_run_is_clear(map, run.first, run.count);
}

bool fsck_is_used(struct fsck *ck, struct fs_block start, uint32_t count)
{
    struct run run = run_of(ck, start, count);
    return map_has_any(run.group->used, run);
}

bool fsck_is_node(struct fsck *ck, struct fs_block start, uint32_t count)
{
    struct run run = run_of(ck, start, count);
    return map_has_any(run.group->nodes, run);
}

static uint8_t *map_take(struct fsck *ck, uint8_t **map)
{
    if (*map == NULL) {
        *map = arena_try_take(ck->options->arena, FS_BITMAP_BITS / 8, sizeof(uint64_t));
        ck->out_of_memory = ck->out_of_memory || *map == NULL;
    }
    return *map;
}

bool fsck_use(struct fsck *ck, struct fs_block start, uint32_t count)
{
    struct run run = run_of(ck, start, count);
    bool was_free = !map_has_any(run.group->used, run);
    if (map_take(ck, &run.group->used) != NULL) {
        bitmap_set_run(run.group->used, run.first, run.count);
    }
    return was_free;
}

bool fsck_use_node(struct fsck *ck, struct fs_block block)
{
    struct run run = run_of(ck, block, 1);
    if (map_take(ck, &run.group->nodes) != NULL) {
        bitmap_set_run(run.group->nodes, run.first, 1);
    }
    return fsck_use(ck, block, 1);
}

void fsck_unuse_node(struct fsck *ck, struct fs_block block)
{
    struct run run = run_of(ck, block, 1);
    if (run.group->nodes != NULL && run.group->used != NULL) {
        bitmap_clear_run(run.group->nodes, run.first, 1);
        bitmap_clear_run(run.group->used, run.first, 1);
    }
}
