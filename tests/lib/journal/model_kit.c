/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See model_kit.h. */
#include "model_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define DATA_STRIDE     3u
#define META_STRIDE     21u
#define NUMBERS         (BLOCK_BYTES / sizeof(uint64_t))
#define QUEUE_DEPTH     64u
#define MODEL_MEMORY    (64u << 20)
#define MODEL_RUN_BATCH 6u

_Static_assert(META_STRIDE % DATA_STRIDE == 0, "data and metadata do not meet");

uint32_t model_random(uint64_t *state, uint32_t limit)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((mixed >> 32) % limit);
}

static struct fs_block data_at(uint32_t index)
{
    return fs_block((uint64_t)index * DATA_STRIDE);
}

static struct fs_block meta_at(uint32_t index)
{
    return fs_block((uint64_t)index * META_STRIDE + 1);
}

static void fill_page(uint8_t *page, struct fs_block block, uint32_t version)
{
    uint64_t number = version == 0 ? 0 : block.nr << 32 | version;

    for (size_t i = 0; i < NUMBERS; i++) {
        memcpy(page + i * sizeof(number), &number, sizeof(number));
    }
}

/* The version on a page; fails the test when the page is not one of this block's. */
static uint32_t page_version(const uint8_t *page, struct fs_block block)
{
    uint64_t number = 0;

    memcpy(&number, page, sizeof(number));
    ck_assert_msg(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)) == 0,
                  "block %llu is mixed",
                  (unsigned long long)block.nr);
    ck_assert_msg(number == 0 || number >> 32 == block.nr,
                  "block %llu holds block %llu",
                  (unsigned long long)block.nr,
                  (unsigned long long)(number >> 32));
    return (uint32_t)number;
}

/* ---- a power cut under several threads --------------------------------------------------- */

static const struct io_backend_ops *crash_ops;
static struct env_mutex crash_lock;
static uint64_t crash_random; /* [crash_lock] */
static bool crash_loses_all;
static bool crash_settling; /* [crash_lock] */

void (*model_submit_hook)(const struct io_request *request);

/* crash_io_settle draws the fate of each write; 0 is that it never happened. */
static uint32_t crash_draw(uint32_t limit)
{
    return crash_loses_all && crash_settling ? 0 : model_random(&crash_random, limit);
}

static int locked_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    return crash_ops->queue_open(out_queue, arena, depth);
}

static void locked_close(struct io_queue *queue)
{
    crash_ops->queue_close(queue);
}

static void locked_submit(struct io_queue *queue, struct io_request *request)
{
    if (model_submit_hook != NULL) {
        model_submit_hook(request);
    }
    env_mutex_lock(&crash_lock);
    crash_ops->submit(queue, request);
    env_mutex_unlock(&crash_lock);
}

static unsigned locked_wait(struct io_queue *queue)
{
    env_mutex_lock(&crash_lock);
    unsigned done = crash_ops->wait(queue);
    env_mutex_unlock(&crash_lock);
    return done;
}

static const struct io_backend_ops locked_ops = {
    .name = "crash",
    .queue_open = locked_open,
    .queue_close = locked_close,
    .submit = locked_submit,
    .wait = locked_wait,
};

void model_crash_io_use(void)
{
    struct arena arena;
    struct io_queue *queue = NULL;

    crash_random = kit_random();
    crash_loses_all = false;
    model_submit_hook = NULL;
    crash_io_use(crash_draw);
    arena_init_growing(&arena);
    ck_assert_int_eq(io_queue_open(&queue, &arena, QUEUE_DEPTH), 0);
    crash_ops = queue->ops;
    io_queue_close(queue);
    arena_fini(&arena);
    env_mutex_init(&crash_lock);
    io_backend_use(&locked_ops);
}

bool model_is_cut(void)
{
    if (crash_ops == NULL) {
        return false;
    }
    env_mutex_lock(&crash_lock);
    bool cut = crash_io_is_cut();
    env_mutex_unlock(&crash_lock);
    return cut;
}

void model_cut_after(uint64_t writes)
{
    env_mutex_lock(&crash_lock);
    crash_io_cut_after(writes);
    env_mutex_unlock(&crash_lock);
}

void model_lose_all_unflushed(void)
{
    crash_loses_all = true;
}

static void settle(void)
{
    env_mutex_lock(&crash_lock);
    crash_settling = true;
    crash_io_settle();
    crash_settling = false;
    env_mutex_unlock(&crash_lock);
}

/* ---- the client ----------------------------------------------------------------------------- */

static void client_lock(void *context)
{
    struct model *m = context;

    env_mutex_lock(&m->op);
}

static void client_unlock(void *context)
{
    struct model *m = context;

    env_mutex_unlock(&m->op);
}

static uint32_t client_seal(void *context)
{
    struct model *m = context;
    uint32_t count = 0;

    for (uint32_t i = 0; i < MODEL_META_BLOCKS; i++) {
        if (m->joined[i]) {
            fill_page(m->pages + (size_t)count * BLOCK_BYTES, meta_at(i), m->now.meta[i]);
            m->fetch[count] = i;
            count++;
        }
    }
    return count;
}

static void
client_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    struct model *m = context;

    *out_address = meta_at(m->fetch[index]);
    *out_data = m->pages + (size_t)index * BLOCK_BYTES;
}

static void client_closed(void *context, uint64_t txn)
{
    struct model *m = context;

    ck_assert_uint_eq(txn, m->state_count);
    ck_assert_uint_lt(m->state_count, MODEL_TXNS_MAX);
    m->states[m->state_count] = m->now;
    m->state_count++;
    memset(m->joined, 0, sizeof(m->joined));
    /* The journal has its own copies by now. */
    memset(m->pages, 0xee, (size_t)MODEL_META_BLOCKS * BLOCK_BYTES);
}

static void client_durable(void *context, uint64_t txn, int result)
{
    struct model *m = context;

    env_mutex_lock(&m->op);
    ck_assert_uint_gt(txn, m->told_durable);
    m->told_durable = txn;
    m->told_result = result;
    env_mutex_unlock(&m->op);
}

static void set_client(struct model *m)
{
    const struct journal_client client = {
        .lock = client_lock,
        .seal = client_seal,
        .block = client_block,
        .closed = client_closed,
        .unlock = client_unlock,
        .durable = client_durable,
        .context = m,
    };

    journal_set_client(m->j, &client);
}

/* ---- open and close ---------------------------------------------------------------------- */

void model_create(struct model *m, const struct kit_shape *shape)
{
    memset(m, 0, sizeof(*m));
    m->shape = *shape;
    kit_create(&m->files, shape);
    env_mutex_init(&m->op);
    m->pages = calloc(MODEL_META_BLOCKS, BLOCK_BYTES);
    m->states = calloc(MODEL_TXNS_MAX, sizeof(*m->states));
    m->lost = calloc(MODEL_TXNS_MAX, sizeof(*m->lost));
    ck_assert_ptr_nonnull(m->pages);
    ck_assert_ptr_nonnull(m->lost);
    ck_assert_ptr_nonnull(m->states);
}

void model_remove(struct model *m)
{
    kit_remove(&m->files);
    env_mutex_fini(&m->op);
    free(m->pages);
    free(m->states);
    free(m->lost);
}

int model_open(struct model *m, const struct journal_options *options, uint32_t missing)
{
    struct journal_options usual = *options;

    kit_assemble(&m->files, options->read_only, missing);
    arena_init_growing(&m->arena);
    usual.arena = &m->arena;
    if (usual.memory_bytes == 0) {
        usual.memory_bytes = MODEL_MEMORY;
    }
    int error = journal_open(&m->j, m->files.array, &usual, m->files.queue, m->files.why);
    if (error != 0) {
        arena_fini(&m->arena);
        if (crash_ops != NULL) {
            settle();
        }
        kit_close(&m->files);
        m->j = NULL;
        return error;
    }
    set_client(m);
    m->states[0] = m->now;
    m->state_count = 1;
    m->durable_txn = 0;
    m->told_durable = 0;
    memset(m->joined, 0, sizeof(m->joined));
    return 0;
}

static void keep_lost(struct model *m)
{
    struct model_state *spare = m->lost;

    m->lost = m->states;
    m->lost_count = m->state_count;
    m->lost_durable = m->durable_txn;
    m->states = spare;
}

static void forget(struct model *m)
{
    m->j = NULL;
    arena_fini(&m->arena);
    if (crash_ops != NULL) {
        settle();
    }
    kit_close(&m->files);
}

void model_abandon(struct model *m)
{
    journal_abandon(m->j);
    keep_lost(m);
    forget(m);
}

void model_forget(struct model *m)
{
    journal_abandon(m->j);
    forget(m);
}

void model_after_failed_close(struct model *m)
{
    keep_lost(m);
    forget(m);
}

void model_open_cut(struct model *m, const struct journal_options *options, uint64_t writes)
{
    model_cut_after(writes);
    int error = model_open(m, options, KIT_NO_SLOT);
    ck_assert(error == 0 || model_is_cut());
    if (error == 0) {
        model_forget(m);
    }
}

void model_close(struct model *m)
{
    ck_assert_int_eq(journal_close(m->j, m->files.queue), 0);
    m->j = NULL;
    arena_fini(&m->arena);
    ck_assert_int_eq(array_stop_writing(m->files.array, m->files.queue), 0);
    kit_close(&m->files);
}

/* ---- operations -------------------------------------------------------------------------- */

static void write_block(struct model *m, struct journal_reservation *reservation, uint32_t index)
{
    uint8_t page[BLOCK_BYTES];

    m->now.data[index]++;
    fill_page(page, data_at(index), m->now.data[index]);
    journal_write(m->j, reservation, data_at(index), page);
}

int model_write_data(struct model *m, uint32_t first, uint32_t count)
{
    struct journal_reservation reservation = {0};
    int error = journal_reserve(m->j, &reservation, count, 0);

    if (error != 0) {
        return error;
    }
    env_mutex_lock(&m->op);
    for (uint32_t i = 0; i < count; i++) {
        write_block(m, &reservation, (first + i) % MODEL_DATA_BLOCKS);
    }
    env_mutex_unlock(&m->op);
    journal_release(m->j, &reservation);
    return 0;
}

int model_change_meta(struct model *m, uint32_t first, uint32_t count, uint32_t data_block)
{
    struct journal_reservation reservation = {0};
    int error = journal_reserve(m->j, &reservation, 1, count);

    if (error != 0) {
        return error;
    }
    env_mutex_lock(&m->op);
    write_block(m, &reservation, data_block % MODEL_DATA_BLOCKS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (first + i) % MODEL_META_BLOCKS;

        if (!m->joined[index]) {
            journal_txn_join(m->j, &reservation);
            m->joined[index] = true;
        }
        m->now.meta[index]++;
    }
    env_mutex_unlock(&m->op);
    journal_release(m->j, &reservation);
    return 0;
}

int model_commit(struct model *m, struct io_queue *queue)
{
    uint64_t txn = journal_running_txn(m->j);
    int error = journal_commit(m->j, queue, txn);

    env_mutex_lock(&m->op);
    txn = txn < m->state_count ? txn : m->state_count - 1u; /* nothing was volatile: none closed */
    if (error == 0 && !model_is_cut() && txn > m->durable_txn) {
        m->durable_txn = txn;
    }
    env_mutex_unlock(&m->op);
    return error;
}

void model_run(struct model *m, struct io_queue *queue, uint32_t steps, uint64_t *random)
{
    uint32_t data_max = journal_limits(m->j).data_step;
    uint32_t meta_max = journal_limits(m->j).meta_step;

    data_max = data_max < 32 ? data_max : 32;
    meta_max = meta_max < MODEL_RUN_BATCH ? meta_max : MODEL_RUN_BATCH;
    for (uint32_t step = 0; step < steps && !model_is_cut(); step++) {
        uint32_t kind = model_random(random, 10);
        uint32_t at = model_random(random, MODEL_DATA_BLOCKS);
        int error = 0;

        if (kind < 4) {
            error = model_write_data(m, at, 1 + model_random(random, data_max));
        } else if (kind < 9) {
            error = model_change_meta(m, at, 1 + model_random(random, meta_max), at / 2);
        } else {
            error = model_commit(m, queue);
        }
        ck_assert_int_eq(error, 0);
    }
}

struct worker {
    struct model *model;
    uint64_t random;
    uint32_t steps;
    struct env_thread *thread;
};

static void worker_main(void *context)
{
    struct worker *worker = context;
    struct arena arena;
    struct io_queue *queue = NULL;

    arena_init_growing(&arena);
    ck_assert_int_eq(io_queue_open(&queue, &arena, 16), 0);
    model_run(worker->model, queue, worker->steps, &worker->random);
    io_queue_close(queue);
    arena_fini(&arena);
}

void model_race(struct model *m, uint32_t steps)
{
    struct worker workers[MODEL_THREADS];

    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        workers[i] = (struct worker){.model = m, .random = kit_random(), .steps = steps};
        ck_assert_int_eq(env_thread_start(&workers[i].thread, "worker", worker_main, &workers[i]),
                         0);
    }
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        env_thread_join(workers[i].thread);
    }
}

struct journal_status model_status(struct model *m)
{
    struct journal_status status;

    journal_get_status(m->j, &status);
    return status;
}

/* ---- checks ------------------------------------------------------------------------------ */

static uint32_t read_version(struct model *m, struct fs_block block, uint8_t *page)
{
    int error = m->j != NULL ? journal_read(m->j, m->files.queue, block, 1, page)
                             : array_read(m->files.array, m->files.queue, block, 1, page);

    ck_assert_int_eq(error, 0);
    return page_version(page, block);
}

static void read_all(struct model *m, struct model_state *out_state)
{
    struct arena arena;

    arena_init_growing(&arena);
    uint8_t *page = arena_take(&arena, BLOCK_BYTES, BLOCK_BYTES);
    for (uint32_t i = 0; i < MODEL_DATA_BLOCKS; i++) {
        out_state->data[i] = read_version(m, data_at(i), page);
    }
    for (uint32_t i = 0; i < MODEL_META_BLOCKS; i++) {
        uint32_t version = read_version(m, meta_at(i), page);

        /* Changed and not fetched yet: only the client knows, and nobody once the journal is
         * gone. */
        out_state->meta[i] = m->j != NULL && m->joined[i] ? m->now.meta[i] : version;
    }
    arena_fini(&arena);
}

void model_expect_newest(struct model *m)
{
    struct model_state found;

    read_all(m, &found);
    for (uint32_t i = 0; i < MODEL_DATA_BLOCKS; i++) {
        ck_assert_msg(found.data[i] == m->now.data[i],
                      "data %u: version %u, not %u",
                      i,
                      found.data[i],
                      m->now.data[i]);
    }
    for (uint32_t i = 0; i < MODEL_META_BLOCKS; i++) {
        ck_assert_msg(found.meta[i] == m->now.meta[i],
                      "meta %u: version %u, not %u",
                      i,
                      found.meta[i],
                      m->now.meta[i]);
    }
}

/* Metadata of exactly this transaction, data not older than it and not newer than was ever
 * written. */
static bool
state_fits(const struct model *m, const struct model_state *found, const struct model_state *state)
{
    for (uint32_t i = 0; i < MODEL_DATA_BLOCKS; i++) {
        if (found->data[i] < state->data[i] || found->data[i] > m->now.data[i]) {
            return false;
        }
    }
    return memcmp(found->meta, state->meta, sizeof(found->meta)) == 0;
}

static void describe_misfit(const struct model *m, const struct model_state *found)
{
    const struct model_state *state = &m->lost[m->lost_durable];

    (void)printf(
        "durable txn=%llu of %u\n", (unsigned long long)m->lost_durable, m->lost_count - 1);
    for (uint32_t i = 0; i < MODEL_DATA_BLOCKS; i++) {
        if (found->data[i] < state->data[i] || found->data[i] > m->now.data[i]) {
            (void)printf("data %u (block %llu): %u, durable %u, newest %u\n",
                         i,
                         (unsigned long long)data_at(i).nr,
                         found->data[i],
                         state->data[i],
                         m->now.data[i]);
        }
    }
    for (uint32_t i = 0; i < MODEL_META_BLOCKS; i++) {
        if (found->meta[i] != state->meta[i]) {
            (void)printf("meta %u (block %llu): %u, durable %u, newest %u\n",
                         i,
                         (unsigned long long)meta_at(i).nr,
                         found->meta[i],
                         state->meta[i],
                         m->now.meta[i]);
        }
    }
}

void model_expect_recovered(struct model *m, bool adopt)
{
    struct model_state found;
    bool fits = false;

    read_all(m, &found);
    for (uint64_t txn = m->lost_durable; txn < m->lost_count && !fits; txn++) {
        fits = state_fits(m, &found, &m->lost[txn]);
    }
    if (!fits) {
        describe_misfit(m, &found);
    }
    ck_assert_msg(fits, "no transaction from the last durable one on left this state");
    if (adopt) {
        m->now = found;
        m->states[0] = found;
    }
}

/* The members alone, read-only. */
static void assemble_without_journal(struct recovery_kit *kit)
{
    const char *paths[KIT_FILES_MAX];
    struct array_assemble how = {
        .paths = paths,
        .path_count = kit->members,
        .read_only = true,
        .allow_no_journal = true,
        .arena = &kit->array_arena,
    };

    for (uint32_t i = 0; i < kit->members; i++) {
        paths[i] = kit->paths[i];
    }
    arena_init_growing(&kit->array_arena);
    int error = array_assemble(&how, kit->queue, &kit->array, kit->why);
    ck_assert_msg(error == 0, "%d: %s", error, kit->why);
}

void model_expect_members_recovered(struct model *m)
{
    assemble_without_journal(&m->files);
    ck_assert_int_eq(array_journal_state(m->files.array), JOURNAL_DEVICE_FAULTY);
    ck_assert_uint_eq(array_resync_offset(m->files.array), UINT64_MAX);
    model_expect_recovered(m, true);
    ck_assert_uint_eq(kit_bad_rows(&m->files), 0);
    kit_close(&m->files);
}

void model_expect_on_members(struct model *m)
{
    ck_assert_ptr_null(m->j);
    kit_assemble(&m->files, true, KIT_NO_SLOT);
    model_expect_newest(m);
    ck_assert_uint_eq(kit_bad_rows(&m->files), 0);
    kit_close(&m->files);
}
