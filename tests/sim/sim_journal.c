/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One life of an array with a journal; see sim_journal.h.
 *
 *   open -> recovered? compare, adopt -> seal -> workers -> compare -> close or stop
 *
 * Invariants:
 *   SJ1  every block read at any time is its own, not torn, and not older than when the read began.
 *   SJ2  after a cut the volume is what some transaction not before the last durable one left.
 *   SJ3  after a clean end all rows' parity is right.
 *
 * Failure modes: what the faults of the life do not allow fails the seed.
 * Thread: fibers; the model is touched between points only, or with the client's lock.
 */
#include "sim_journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "r5fs/base/env.h"
#include "r5fs/base/msg.h"
#include "sim_dry.h"

#define MEMBER_BYTES     (4u << 20)
#define CHUNK_SECTORS    16u
#define JOURNAL_OFFSET   (1u << 20)
#define ARENA_BYTES      ((size_t)24 << 20)
#define MEMORY_BYTES     (10u << 20)
#define QUEUE_DEPTH      16u
#define COMMIT_SELDOM_MS 3600000u
#define IMAGES_MANY      1200u
#define DATA_RUN_MAX     12u
#define META_RUN_MAX     5u
#define FULL_TRIES_MAX   100u
#define RETRY_NS         UINT64_C(500000000)
#define STALL_NS         UINT64_C(300000000)
#define NUMBERS          (BLOCK_BYTES / sizeof(uint64_t))

struct worker {
    struct life *life;
    struct sim_random random;
    struct env_thread *thread;
    struct io_queue *queue;
    struct journal_reservation reservation;
    uint8_t *buffer; /* DATA_RUN_MAX blocks and what lies between them */
};

static unsigned member_count;
static struct array_plan plan;
static uint64_t member_rows;
static struct worker workers[LIFE_WORKERS];
static uint8_t pages[MODEL_META][BLOCK_BYTES];
static uint32_t fetch[MODEL_META];

/* ---- disks ---------------------------------------------------------------------------------- */

static void prepare_main(void *context)
{
    const char *paths[LIFE_DISKS_MAX];
    char why[ARRAY_WHY_BYTES];
    struct arena arena;
    struct io_queue *queue = NULL;
    struct array *array = NULL;
    uint64_t sizes[LIFE_DISKS_MAX];
    const uint64_t *ring_blocks = context;

    for (unsigned i = 0; i < member_count + 1; i++) {
        sizes[i] = i < member_count ? MEMBER_BYTES : JOURNAL_OFFSET + *ring_blocks * BLOCK_BYTES;
        paths[i] = sim_disk_make(i, sizes[i]);
    }
    struct array_create create = {
        .member_paths = paths,
        .member_count = member_count,
        .journal_path = paths[member_count],
        .chunk_sectors = CHUNK_SECTORS,
        .layout = LAYOUT_LEFT_SYMMETRIC,
        .name = "simulated",
        .uuid = uuid_make_random(),
    };
    SIM_EXPECT(array_plan(&create, sizes, sizes[member_count], &plan, why) == 0, "plan: %s", why);
    SIM_EXPECT(array_create(&create, why) == 0, "create: %s", why);
    member_rows = plan.member_data_bytes / BLOCK_BYTES;
    arena_init_growing(&arena);
    SIM_EXPECT(io_queue_open(&queue, &arena, QUEUE_DEPTH) == 0, "queue");
    struct array_assemble how = {.paths = paths, .path_count = member_count + 1, .arena = &arena};
    SIM_EXPECT(array_assemble(&how, queue, &array, why) == 0, "assemble: %s", why);
    SIM_EXPECT(array_start_writing(array, queue) == 0, "start");
    SIM_EXPECT(journal_format(array, queue) == 0, "format");
    SIM_EXPECT(array_stop_writing(array, queue) == 0, "stop");
    SIM_EXPECT(fs_block(array_geometry(array)->volume_blocks).nr >=
                   sim_model_data_at(MODEL_DATA - 1).nr,
               "the volume is too small for the model");
    array_close(array);
    io_queue_close(queue);
    arena_fini(&arena);
}

void life_prepare(unsigned members, uint64_t ring_blocks)
{
    member_count = members;
    if (ring_blocks == 0) {
        ring_blocks = journal_least_blocks(NULL);
    }
    (void)sim_world(prepare_main, &ring_blocks); /* nobody cuts it */
}

unsigned life_members(void)
{
    return member_count;
}

void life_check_parity(void)
{
    for (uint64_t row = 0; row < member_rows; row++) {
        uint64_t sum[NUMBERS] = {0};
        uint64_t any = 0;

        for (unsigned slot = 0; slot < member_count; slot++) {
            uint64_t numbers[NUMBERS];
            sim_disk_peek(
                slot, plan.data_offset_bytes + row * BLOCK_BYTES, numbers, sizeof(numbers));
            for (size_t i = 0; i < NUMBERS; i++) {
                sum[i] ^= numbers[i];
            }
        }
        for (size_t i = 0; i < NUMBERS; i++) {
            any |= sum[i];
        }
        SIM_EXPECT(any == 0, "the parity of row %llu is wrong", (unsigned long long)row);
    }
}

/* Writers may be told so. */
static bool may_fail(const struct life *life)
{
    return life->faults == FAULTS_JOURNAL || life->faults == FAULTS_BEYOND;
}

/* ---- the client ----------------------------------------------------------------------------- */

static void client_lock(void *context)
{
    env_mutex_lock(((struct life *)context)->op);
}

static void client_unlock(void *context)
{
    env_mutex_unlock(((struct life *)context)->op);
}

static uint32_t client_seal(void *context)
{
    const struct sim_model *model = ((struct life *)context)->model;
    uint32_t count = 0;

    for (uint32_t i = 0; i < MODEL_META; i++) {
        if (model->joined[i]) {
            sim_model_fill(pages[count], sim_model_meta_at(i), model->meta_now[i]);
            fetch[count++] = i;
        }
    }
    return count;
}

static void
client_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    (void)context;
    *out_address = sim_model_meta_at(fetch[index]);
    *out_data = pages[index];
}

static void client_closed(void *context, uint64_t txn)
{
    struct sim_model *model = ((struct life *)context)->model;

    SIM_EXPECT(txn == model->closed_count,
               "transaction %llu closes, not %llu",
               (unsigned long long)txn,
               (unsigned long long)model->closed_count);
    sim_model_close_txn(model);
    memset(pages, 0xee, sizeof(pages)); /* the journal has copies */
}

static void client_durable(void *context, uint64_t txn, int result)
{
    struct life *life = context;

    SIM_EXPECT(txn < life->model->closed_count, "a transaction is durable that never closed");
    SIM_EXPECT(result == 0 || may_fail(life), "durable: error %d", result);
    life->failed = life->failed || result != 0;
    if (result == 0) {
        sim_model_told(life->model, txn);
    }
}

/* ---- operations ----------------------------------------------------------------------------- */

/* Whether the worker goes on after this answer. */
static bool judge(struct life *life, const char *what, int error)
{
    if (error == 0 || error == -EINTR) {
        return error == 0;
    }
    if (may_fail(life) && (error == -EROFS || error == -EIO)) {
        life->failed = true;
        return false;
    }
    SIM_EXPECT(life->faults == FAULTS_ROOM && error == -ENOSPC, "%s: error %d", what, error);
    env_sleep_ns(RETRY_NS);
    return false;
}

static void write_data(struct worker *worker)
{
    struct life *life = worker->life;
    struct sim_random *random = &worker->random;
    uint32_t most = journal_limits(life->journal).data_step;
    uint32_t asked = 1 + sim_below(random, most < life->run_max ? most : life->run_max);
    uint32_t used = sim_one_in(random, 8) ? sim_below(random, asked + 1) : asked;
    uint32_t first = sim_below(random, life->model->data_count);

    if (!judge(
            life, "reserve data", journal_reserve(life->journal, &worker->reservation, asked, 0))) {
        return;
    }
    env_mutex_lock(life->op);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t index = (first + i) % life->model->data_count;
        sim_model_write(life->model, index, worker->buffer);
        journal_write(
            life->journal, &worker->reservation, sim_model_data_at(index), worker->buffer);
        sim_model_written(life->model, index);
    }
    env_mutex_unlock(life->op);
    journal_release(life->journal, &worker->reservation);
}

static void change_meta(struct worker *worker)
{
    struct life *life = worker->life;
    struct sim_model *model = life->model;
    uint32_t most = journal_limits(life->journal).meta_step;
    uint32_t count = 1 + sim_below(&worker->random, most < META_RUN_MAX ? most : META_RUN_MAX);
    uint32_t first = sim_below(&worker->random, MODEL_META);
    uint32_t data = sim_below(&worker->random, life->model->data_count);

    if (!judge(
            life, "reserve meta", journal_reserve(life->journal, &worker->reservation, 1, count))) {
        return;
    }
    env_mutex_lock(life->op);
    sim_model_write(model, data, worker->buffer);
    journal_write(life->journal, &worker->reservation, sim_model_data_at(data), worker->buffer);
    sim_model_written(model, data);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = (first + i) % MODEL_META;
        if (!model->joined[index]) {
            model->joined[index] = true;
            journal_txn_join(life->journal, &worker->reservation);
        }
        model->meta_now[index] = ++model->meta_top[index];
    }
    env_mutex_unlock(life->op);
    journal_release(life->journal, &worker->reservation);
}

static void commit(struct worker *worker)
{
    struct life *life = worker->life;
    uint64_t closed = life->model->closed_count - 1;
    uint64_t txn = journal_running_txn(life->journal);

    if (judge(life, "commit", journal_commit(life->journal, worker->queue, txn))) {
        sim_model_commit(life->model, closed, txn);
    }
}

static void drain(struct worker *worker)
{
    struct life *life = worker->life;
    uint64_t closed = life->model->closed_count - 1;
    uint64_t txn = journal_running_txn(life->journal);

    if (judge(life, "drain", journal_drain(life->journal, worker->queue))) {
        sim_model_commit(life->model, closed, txn);
    }
}

static void discard(struct worker *worker)
{
    struct life *life = worker->life;
    uint32_t first = sim_below(&worker->random, life->model->data_count);
    uint32_t count = 1 + sim_below(&worker->random, worker->life->run_max);

    env_mutex_lock(life->op);
    for (uint32_t i = 0; i < count && first + i < life->model->data_count; i++) {
        life->discards++;
        sim_model_discard(life->model, first + i);
        journal_discard(life->journal, sim_model_data_at(first + i), 1);
    }
    life->discards++;
    env_mutex_unlock(life->op);
}

/* SJ1 */
static void check_read(const struct life *life,
                       uint32_t first,
                       uint32_t count,
                       const uint32_t *least,
                       const uint8_t *buffer)
{
    uint64_t from = sim_model_data_at(first).nr;

    for (uint32_t i = 0; i < count; i++) {
        struct fs_block block = sim_model_data_at(first + i);
        const uint8_t *page = buffer + (block.nr - from) * BLOCK_BYTES;
        sim_model_check_data(life->model, first + i, least[i], sim_model_version(page, block));
    }
}

static void read_data(struct worker *worker)
{
    struct life *life = worker->life;
    uint32_t first = sim_below(&worker->random, life->model->data_count);
    uint32_t count = 1 + sim_below(&worker->random, worker->life->run_max);
    uint32_t least[DATA_RUN_MAX];
    uint32_t discards = life->discards;

    uint32_t left = life->model->data_count - first;
    count = count < left ? count : left;
    struct fs_block from = sim_model_data_at(first);
    uint32_t blocks = (uint32_t)(sim_model_data_at(first + count - 1).nr - from.nr) + 1;
    memcpy(least, life->model->least + first, count * sizeof(least[0]));
    int error = journal_read(life->journal, worker->queue, from, blocks, worker->buffer);
    if (error == -EIO && life->faults == FAULTS_BEYOND) {
        return;
    }
    SIM_EXPECT(error == 0, "read: error %d", error);
    if (life->discards != discards || discards % 2 != 0) { /* odd: one was under way */
        memset(least, 0, sizeof(least));
    }
    check_read(life, first, count, least, worker->buffer);
}

static void change_mode(struct worker *worker)
{
    struct life *life = worker->life;
    enum journal_mode mode =
        sim_one_in(&worker->random, 2) ? JOURNAL_WRITE_BACK : JOURNAL_WRITE_THROUGH;
    int error = journal_set_mode(life->journal, worker->queue, mode);

    (void)judge(life, "mode", error); /* the next operation is none the wiser */
}

static void operate(struct worker *worker)
{
    struct sim_random *random = &worker->random;
    uint32_t kind = sim_below(random, 100);

    if (sim_below(random, 100) < worker->life->commit_share) {
        commit(worker);
    } else if (kind < 40) {
        write_data(worker);
    } else if (kind < 63) {
        change_meta(worker);
    } else if (kind < 88) {
        read_data(worker);
    } else if (kind < 93) {
        discard(worker);
    } else if (kind < 96) {
        env_sleep_ns(dry_nap_ns(sim_random(random) % UINT64_C(3000000000)));
    } else if (kind < 97 && sim_below(random, 12) < worker->life->commit_share) {
        drain(worker);
    } else if (kind < 98) {
        change_mode(worker);
    } else {
        journal_interrupt(worker->life->journal,
                          &workers[sim_below(random, LIFE_WORKERS)].reservation);
    }
}

static void worker_main(void *context)
{
    struct worker *worker = context;

    for (uint32_t i = 0; i < worker->life->operations && !worker->life->failed; i++) {
        operate(worker);
        dry_step();
    }
}

/* ---- the whole volume ----------------------------------------------------------------------- */

static void read_all(struct life *life, struct sim_closed *out_found, uint8_t *page)
{
    uint32_t data_count = life->model->data_count;

    for (uint32_t i = 0; i < data_count + MODEL_META; i++) {
        struct fs_block block =
            i < data_count ? sim_model_data_at(i) : sim_model_meta_at(i - data_count);
        int error = life->journal != NULL ? journal_read(life->journal, life->queue, block, 1, page)
                                          : array_read(life->array, life->queue, block, 1, page);
        SIM_EXPECT(error == 0, "read of block %llu: error %d", (unsigned long long)block.nr, error);
        uint32_t version = sim_model_version(page, block);
        if (i < data_count) {
            out_found->data[i] = version;
        } else {
            out_found->meta[i - data_count] = version;
        }
    }
}

/* Nobody writes: everything is the newest. The log thread may close a transaction meanwhile. */
static void expect_newest(struct life *life, struct sim_closed *found, uint8_t *page)
{
    const struct sim_model *model = life->model;
    uint32_t before[MODEL_META];

    memcpy(before, model->meta_closed, sizeof(before));
    read_all(life, found, page);
    env_mutex_lock(life->op); /* one that is being closed may have been read: now it is told */
    env_mutex_unlock(life->op);
    for (uint32_t i = 0; i < model->data_count; i++) {
        sim_model_check_data(model, i, model->least[i], found->data[i]);
    }
    for (uint32_t i = 0; i < MODEL_META; i++) {
        SIM_EXPECT(found->meta[i] == before[i] || found->meta[i] == model->meta_closed[i] ||
                       found->meta[i] == model->meta_now[i],
                   "meta %u has version %u, not %u",
                   i,
                   found->meta[i],
                   model->meta_closed[i]);
    }
}

/* ---- open, close ---------------------------------------------------------------------------- */

static void assemble(struct life *life, bool with_journal, bool read_only)
{
    const char *paths[LIFE_DISKS_MAX];
    char why[ARRAY_WHY_BYTES];
    struct array_assemble how = {
        .paths = paths,
        .path_count = member_count + (with_journal ? 1 : 0),
        .read_only = read_only,
        .allow_degraded = true,
        .allow_no_journal = !with_journal,
        .arena = &life->arena,
    };

    for (unsigned i = 0; i < how.path_count; i++) {
        paths[i] = sim_disk_path(i);
    }
    int error = array_assemble(&how, life->queue, &life->array, why);
    SIM_EXPECT(error == 0, "assemble: %s", why);
}

static void open_arena(struct life *life)
{
    SIM_EXPECT(arena_init(&life->arena, ARENA_BYTES, false) == 0, "no memory");
    SIM_EXPECT(io_queue_open(&life->queue, &life->arena, QUEUE_DEPTH) == 0, "queue");
}

static void open_journal(struct life *life)
{
    char why[JOURNAL_WHY_BYTES];
    const struct journal_client client = {
        .lock = client_lock,
        .seal = client_seal,
        .block = client_block,
        .closed = client_closed,
        .unlock = client_unlock,
        .durable = client_durable,
        .context = life,
    };
    const struct journal_options options = {
        .arena = &life->arena,
        .memory_bytes = MEMORY_BYTES,
        .io_units = life->io_units,
        .images_max = life->images_max,
        .commit_interval_ms = life->commit_interval_ms,
        .write_through = life->write_through,
        .kernel_safe = life->kernel_safe,
    };

    assemble(life, true, false);
    int error = journal_open(&life->journal, life->array, &options, life->queue, why);
    SIM_EXPECT(error == 0, "journal_open: %d %s", error, why);
    journal_set_client(life->journal, &client);
    life->op = arena_take_array(&life->arena, struct env_mutex, 1);
    env_mutex_init(life->op);
}

static void start_workers(struct life *life)
{
    for (unsigned i = 0; i < LIFE_WORKERS; i++) {
        struct worker *worker = &workers[i];
        *worker = (struct worker){.life = life, .random = {sim_random(&life->random)}};
        SIM_EXPECT(io_queue_open(&worker->queue, &life->arena, QUEUE_DEPTH) == 0, "queue");
        worker->buffer =
            arena_take(&life->arena, (size_t)DATA_RUN_MAX * 2 * BLOCK_BYTES, BLOCK_BYTES);
    }
    arena_seal(&life->arena);
    sim_seal_memory(true);
    if (life->faults == FAULTS_NONE) {
        sim_expect_no_stall(STALL_NS, "worker");
    }
    dry_begin(life->journal);
    for (unsigned i = 0; i < LIFE_WORKERS; i++) {
        SIM_EXPECT(env_thread_start(&workers[i].thread, "worker", worker_main, &workers[i]) == 0,
                   "thread");
    }
}

static void join_workers(void)
{
    for (unsigned i = 0; i < LIFE_WORKERS; i++) {
        env_thread_join(workers[i].thread);
        io_queue_close(workers[i].queue);
    }
    dry_end();
    sim_allow_stall();
    sim_seal_memory(false);
}

/* Whether an end may say so. */
static bool is_expected(const struct life *life, int error)
{
    return error == 0 || may_fail(life) || (life->faults == FAULTS_ROOM && error == -ENOSPC);
}

static void close_all(struct life *life)
{
    int error = journal_close(life->journal, life->queue);

    life->journal = NULL;
    life->closed_badly = error != 0;
    SIM_EXPECT(is_expected(life, error), "journal_close: error %d", error);
    if (array_is_writing(life->array)) {
        error = array_stop_writing(life->array, life->queue);
        SIM_EXPECT(is_expected(life, error), "stop: error %d", error);
    }
    array_close(life->array);
    env_mutex_fini(life->op);
    io_queue_close(life->queue);
    arena_fini(&life->arena);
}

void life_main(void *context)
{
    struct life *life = context;
    struct sim_closed found;

    open_arena(life);
    open_journal(life);
    uint8_t *page = arena_take(&life->arena, BLOCK_BYTES, BLOCK_BYTES);
    if (life->recovers) {
        read_all(life, &found, page);
        sim_model_recover(life->model, &found); /* SJ2 */
    } else {
        expect_newest(life, &found, page);
        sim_model_continue(life->model, &found);
    }
    start_workers(life);
    join_workers();
    for (unsigned i = 0; life->faults == FAULTS_ROOM && i < member_count; i++) {
        sim_disk_set_full(i, false); /* a close would be refused */
    }
    if (!life->failed && life->faults != FAULTS_BEYOND) {
        expect_newest(life, &found, page);
    }
    if (life->end == LIFE_STOPS) {
        sim_cut_now();
    }
    close_all(life);
    if (!life->failed && !life->closed_badly) {
        uint64_t last = life->model->closed_count - 1;
        sim_model_commit(life->model, last, last);
    }
}

void life_check_members(void *context)
{
    struct life *life = context;
    struct sim_closed found;

    life->journal = NULL;
    open_arena(life);
    assemble(life, false, true);
    SIM_EXPECT(array_journal_state(life->array) == JOURNAL_DEVICE_FAULTY, "the journal's role");
    SIM_EXPECT(array_resync_offset(life->array) == UINT64_MAX, "a resync is asked for");
    read_all(life, &found, arena_take(&life->arena, BLOCK_BYTES, BLOCK_BYTES));
    sim_model_recover(life->model, &found);
    array_close(life->array);
    io_queue_close(life->queue);
    arena_fini(&life->arena);
}

void life_draw(struct life *life, struct sim_model *model, uint64_t seed)
{
    static const uint32_t images[] = {16, 24, 64, 300};

    *life = (struct life){.model = model, .random = {seed}, .io_units = 2};
    life->operations = 8 + sim_below(&life->random, 40);
    life->images_max = images[sim_below(&life->random, sizeof(images) / sizeof(images[0]))];
    life->io_units += sim_one_in(&life->random, 4) ? sim_below(&life->random, 7) : 0;
    life->run_max = sim_one_in(&life->random, 3) ? DATA_RUN_MAX : 8;
    life->commit_share = sim_one_in(&life->random, 3) ? 40 : 12;
    if (model->data_count > MODEL_DATA_FEW) { /* commits of more than one unit */
        life->images_max = IMAGES_MANY;
        life->run_max = DATA_RUN_MAX;
        life->commit_share = 1;
        life->operations *= 3;
        life->commit_interval_ms = COMMIT_SELDOM_MS;
    }
    life->write_through = sim_one_in(&life->random, 8);
    life->end = sim_one_in(&life->random, 2) ? LIFE_STOPS : LIFE_CLOSES;
    life->kernel_safe = sim_one_in(&life->random, 4);
}
