/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_safe: the log on the disk, scanned before every write and flush, names at most 32 rows of
 * each bucket (K1, K2, K3); and commits end all the same.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_rows.h"
#include "model_kit.h"
#include "r5fs/base/endian.h"

#define RING_SMALLEST UINT64_C(654)
#define RING_USUAL    UINT64_C(4096)
#define MEMBER_BYTES  (6u << 20)
#define NO_TIMER      3600000u
#define BUCKETS       8u /* a kernel's, not ours: see docs/adr/0017 */
#define BUCKET_ROWS   32u
#define ROWS_SEEN_MAX 65536u
#define TAIL_OFFSET   (4096u + 152u) /* of journal_tail in the journal's file */
#define SUPER_BYTES   8192u          /* superblocks end before that */

static const struct journal_options untimed = {.kernel_safe = true, .commit_interval_ms = NO_TIMER};

/* ---- what a kernel would find --------------------------------------------------------------- */

static struct checker {
    struct model *model;
    const struct recovery_kit *kit;
    struct geometry geometry;
    int fd;                   /* of the journal */
    uint64_t tail;            /* block, as in the superblock flushed last */
    uint64_t scans;           /* with something in the log */
    _Atomic uint32_t now;     /* rows of one bucket, in the scan */
    uint32_t most;            /* rows of one bucket, ever */
    uint32_t limit;           /* more than these fail the test */
    bool seen[ROWS_SEEN_MAX]; /* rows of the scan */
    uint32_t rows[BUCKETS];   /* of the scan */
    uint32_t enospc;          /* writes to m0's data area that meet a full host now */
    _Atomic bool full;        /* that host is full */
} checker;

static uint8_t page[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));

static uint64_t tail_on_disk(void)
{
    le64 sectors;

    ck_assert_int_eq(pread(checker.fd, &sectors, sizeof(sectors), TAIL_OFFSET), sizeof(sectors));
    return le64_get(sectors) / BLOCK_SECTORS;
}

static void see(uint64_t row)
{
    ck_assert_uint_lt(row, ROWS_SEEN_MAX);
    if (!checker.seen[row]) {
        checker.seen[row] = true;
        checker.rows[row % BUCKETS]++;
    }
}

static uint32_t see_payloads(void)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t pages = 0;

    meta_cursor_init(&cursor, page);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        uint64_t block = payload.location_sectors / BLOCK_SECTORS;

        ck_assert(payload.type == LOG_PAYLOAD_DATA || payload.type == LOG_PAYLOAD_PARITY);
        see(payload.type == LOG_PAYLOAD_PARITY
                ? block
                : geometry_locate(&checker.geometry, fs_block(block)).row.nr);
        pages++;
    }
    return pages;
}

/* From the durable tail on, as long as one unit follows the other. */
static void scan(void)
{
    const struct recovery_kit *kit = checker.kit;
    struct log_ring ring = {.blocks = kit->ring_blocks,
                            .offset_bytes = kit->data_offset[kit->members]};
    struct log_block at = log_block(checker.tail);
    uint64_t seq = 0;
    uint64_t blocks = 0;

    memset(checker.seen, 0, sizeof(checker.seen));
    memset(checker.rows, 0, sizeof(checker.rows));
    while (blocks < ring.blocks) {
        off_t offset = (off_t)log_ring_offset_bytes(&ring, at);

        ck_assert_int_eq(pread(checker.fd, page, sizeof(page), offset), sizeof(page));
        if (meta_block_verify(page, kit->seed, at) != META_VALID ||
            (blocks > 0 && meta_block_seq(page) != seq)) {
            break;
        }
        seq = meta_block_seq(page) + 1;
        uint32_t pages = see_payloads();
        at = log_ring_advance(&ring, at, 1 + pages);
        blocks += 1 + pages;
    }
    ck_assert_uint_gt(blocks, 0); /* W3b: the tail names a unit */
    checker.scans += blocks > 1;
    uint32_t now = 0;
    for (uint32_t bucket = 0; bucket < BUCKETS; bucket++) {
        ck_assert_msg(checker.rows[bucket] <= checker.limit,
                      "bucket %u: %u rows",
                      bucket,
                      checker.rows[bucket]);
        now = checker.rows[bucket] > now ? checker.rows[bucket] : now;
    }
    checker.now = now;
    checker.most = now > checker.most ? now : checker.most;
}

static bool is_file(const struct io_request *request, const char *name)
{
    const char *slash = strrchr(request->file->path, '/');

    return strcmp(slash == NULL ? request->file->path : slash + 1, name) == 0;
}

/* The log is scanned in the state before the request: which is what a crash now would leave. */
static bool check_hook(const struct io_request *request, int *out_result)
{
    if (request->op == IO_READ) {
        return false;
    }
    scan();
    if (request->op == IO_FLUSH && is_file(request, "journal.img")) {
        checker.tail = tail_on_disk();
    }
    if (checker.full && request->op == IO_WRITE && is_file(request, "m0.img") &&
        request->offset_bytes >= SUPER_BYTES) {
        checker.enospc++;
        *out_result = -ENOSPC;
        return true;
    }
    return false;
}

static void watch(struct model *m, uint32_t limit)
{
    memset(&checker, 0, sizeof(checker));
    checker.model = m;
    checker.kit = &m->files;
    checker.geometry = *array_geometry(m->files.array);
    checker.limit = limit;
    checker.fd = open(m->files.paths[m->files.members], O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(checker.fd, 0);
    checker.tail = tail_on_disk();
    crash_io_hook = check_hook;
}

/* The journal is closed or abandoned: no thread of it is in the hook. */
static void unwatch(void)
{
    crash_io_hook = NULL;
    ck_assert_int_eq(close(checker.fd), 0);
}

static void close_watched(struct model *m)
{
    model_close(m);
    unwatch();
    model_remove(m);
}

/* ---- helpers ------------------------------------------------------------------------------- */

static void create(struct model *m, uint32_t members, uint64_t ring_blocks)
{
    struct kit_shape shape = {members, 64, MEMBER_BYTES, ring_blocks};

    kit_seed("log_rows");
    model_crash_io_use();
    model_create(m, &shape);
}

static void open_usual(struct model *m)
{
    create(m, 3, RING_USUAL);
    ck_assert_int_eq(model_open(m, &untimed, KIT_NO_SLOT), 0);
}

static struct fs_block block_of_row(const struct model *m, uint64_t row)
{
    const struct geometry *geometry = array_geometry(m->files.array);
    uint32_t parity = geometry_parity_slot(geometry, member_block(row));

    return geometry_block_at(geometry, member_block(row), parity == 0 ? 1 : 0);
}

/* Past the model. */
static void put(struct model *m, uint64_t row, uint8_t value)
{
    struct journal_reservation reservation = {0};
    uint8_t bytes[BLOCK_BYTES];

    memset(bytes, value, sizeof(bytes));
    ck_assert_int_eq(journal_reserve(m->j, &reservation, 1, 0), 0);
    journal_write(m->j, &reservation, block_of_row(m, row), bytes);
    journal_release(m->j, &reservation);
}

/* More rows of one bucket than a kernel can hold. */
static void put_bucket(struct model *m, uint64_t bucket)
{
    for (uint64_t i = 0; i < 80; i++) {
        put(m, i * BUCKETS + bucket, (uint8_t)(i + 1));
    }
}

static void expect_put(struct model *m, uint64_t row, uint8_t value)
{
    _Alignas(BLOCK_BYTES) uint8_t bytes[BLOCK_BYTES];

    ck_assert_int_eq(journal_read(m->j, m->files.queue, block_of_row(m, row), 1, bytes), 0);
    ck_assert_uint_eq(bytes[0], value);
    ck_assert_int_eq(memcmp(bytes, bytes + 1, BLOCK_BYTES - 1), 0);
}

static int sync_all(struct model *m)
{
    return journal_commit(m->j, m->files.queue, journal_running_txn(m->j));
}

/* ---- the limit ----------------------------------------------------------------------------- */

static const struct load {
    uint32_t members;
    uint64_t ring_blocks;
    struct journal_options options;
} loads[] = {
    {3, RING_USUAL, {.kernel_safe = true}},
    {4, RING_USUAL, {.kernel_safe = true, .commit_interval_ms = 5}},
    {3, RING_SMALLEST, {.kernel_safe = true, .images_max = 200, .io_units = 2}},
    {5, RING_USUAL, {.kernel_safe = true, .write_through = true, .io_units = 3}},
};

START_TEST(at_no_write_and_no_flush_does_the_log_name_more_than_32_rows_of_a_bucket)
{
    const struct load *load = &loads[_i];
    struct model m;

    create(&m, load->members, load->ring_blocks);
    ck_assert_int_eq(model_open(&m, &load->options, KIT_NO_SLOT), 0);
    watch(&m, BUCKET_ROWS);
    for (unsigned round = 0; round < 2; round++) {
        model_race(&m, 80);
        journal_verify(m.j);
        model_expect_newest(&m);
    }
    model_close(&m);
    ck_assert_uint_gt(checker.scans, 100);
    ck_assert_uint_gt(checker.most, BUCKET_ROWS / 2);
    unwatch();
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* What the other tests rest on: such a load goes beyond, and the checker sees it. */
START_TEST(without_the_option_the_log_names_more)
{
    const struct journal_options options = {.commit_interval_ms = NO_TIMER};
    struct model m;

    create(&m, 3, RING_USUAL);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    watch(&m, UINT32_MAX);
    model_race(&m, 80);
    ck_assert_uint_gt(checker.most, BUCKET_ROWS);
    ck_assert(!model_status(&m).kernel_safe);
    close_watched(&m);
}
END_TEST

START_TEST(one_commit_of_rows_that_all_fall_into_one_bucket_ends)
{
    struct model m;

    open_usual(&m);
    ck_assert_uint_gt(array_geometry(m.files.array)->rows, 90 * BUCKETS);
    watch(&m, BUCKET_ROWS);
    for (uint64_t i = 0; i < 90; i++) {
        put(&m, i * BUCKETS + 5, (uint8_t)(i + 1));
    }
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_eq(checker.most, BUCKET_ROWS);
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 0);
    model_abandon(&m);
    unwatch();
    ck_assert_int_eq(model_open(&m, &untimed, KIT_NO_SLOT), 0);
    for (uint64_t i = 0; i < 90; i++) {
        expect_put(&m, i * BUCKETS + 5, (uint8_t)(i + 1));
    }
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* What status says is what commits go by. Between write and flush of the superblock. */
static uint32_t kept_until_durable;

static bool tail_hook(const struct io_request *request, int *out_result)
{
    if (request->op == IO_FLUSH && is_file(request, "journal.img") &&
        tail_on_disk() != checker.tail) {
        kept_until_durable = model_status(checker.model).bucket_rows;
    }
    return check_hook(request, out_result);
}

/* K1 */
START_TEST(a_row_counts_until_the_tail_behind_it_is_durable)
{
    struct model m;

    open_usual(&m);
    for (uint64_t i = 0; i < 20; i++) {
        put(&m, i * BUCKETS + 6, 1);
    }
    ck_assert_int_eq(sync_all(&m), 0);
    watch(&m, BUCKET_ROWS);
    crash_io_hook = tail_hook;
    ck_assert_uint_eq(model_status(&m).bucket_rows, 20);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(kept_until_durable, 20);
    ck_assert_uint_eq(model_status(&m).bucket_rows, 0);
    close_watched(&m);
}
END_TEST

/* K2 */
START_TEST(a_transaction_has_no_more_blocks_than_a_bucket_rows)
{
    const struct journal_options options = {.kernel_safe = true};
    struct journal_reservation reservation = {0};
    struct model m;

    create(&m, 3, RING_USUAL);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_uint_eq(journal_limits(m.j).meta_step, BUCKET_ROWS);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 0, BUCKET_ROWS + 1), -EINVAL);
    ck_assert(model_status(&m).kernel_safe);
    ck_assert_uint_eq(model_status(&m).bucket_max, BUCKET_ROWS);
    model_close(&m);
    model_remove(&m);
}
END_TEST

/* ---- opening -------------------------------------------------------------------------------- */

START_TEST(a_log_that_names_more_is_empty_when_the_open_answers)
{
    const struct journal_options before = {.commit_interval_ms = NO_TIMER};
    struct model m;

    create(&m, 3, RING_USUAL);
    ck_assert_int_eq(model_open(&m, &before, KIT_NO_SLOT), 0);
    for (uint64_t i = 0; i < 60; i++) {
        put(&m, i * BUCKETS + 3, (uint8_t)(i + 1));
    }
    ck_assert_int_eq(sync_all(&m), 0);
    watch(&m, UINT32_MAX);
    scan();
    ck_assert_uint_eq(checker.most, 60);
    unwatch();
    model_abandon(&m);
    ck_assert_int_eq(model_open(&m, &untimed, KIT_NO_SLOT), 0);
    ck_assert_uint_eq(m.j->recovered.open_rows, 60);
    watch(&m, 0);
    scan();
    ck_assert_uint_eq(model_status(&m).used_blocks, 1);
    for (uint64_t i = 0; i < 60; i++) {
        expect_put(&m, i * BUCKETS + 3, (uint8_t)(i + 1));
    }
    close_watched(&m);
}
END_TEST

START_TEST(after_a_power_cut_synced_contents_and_whole_transactions_are_there)
{
    struct journal_options options = {.kernel_safe = true, .io_units = 3};
    struct model m;

    create(&m, 3 + (uint32_t)_i % 3, _i % 2 == 0 ? RING_SMALLEST : RING_USUAL);
    for (unsigned cycle = 0; cycle < 8; cycle++) {
        options.images_max = cycle % 2 == 0 ? 400 : 1500;
        ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
        if (cycle > 0) {
            model_expect_recovered(&m, true);
        }
        journal_verify(m.j);
        model_cut_after(kit_below(500));
        model_race(&m, 60);
        model_abandon(&m);
    }
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    model_expect_recovered(&m, true);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

/* ---- commits end ---------------------------------------------------------------------------- */

#define FLOOD_ROWS  40u  /* of one bucket, before each try of a commit */
#define FLOOD_TRIES 200u /* a commit that has not ended by then does not */

/* Dirties more than the log may name each time the committer is about to lock the client. */
static struct flood {
    struct model *m;
    struct env_thread *thread;
    struct env_mutex lock;
    struct env_cond moved;
    uint32_t asked; /* [lock] floods */
    uint32_t done;  /* [lock] */
    bool stop;      /* [lock] */
    uint64_t rows;  /* [fixed] 1: a drop, always in the same row */
} flood;

static void flood_main(void *context)
{
    (void)context; /* flood */
    env_mutex_lock(&flood.lock);
    while (!flood.stop) {
        if (flood.done == flood.asked) {
            env_cond_wait(&flood.moved, &flood.lock);
            continue;
        }
        uint64_t round = flood.done;
        env_mutex_unlock(&flood.lock);
        for (uint64_t i = 0; i < flood.rows; i++) {
            put(flood.m, (i + round * 7 % flood.rows) * BUCKETS, (uint8_t)round);
        }
        env_mutex_lock(&flood.lock);
        flood.done++;
        env_cond_broadcast(&flood.moved);
    }
    env_mutex_unlock(&flood.lock);
}

/* Waits until the flood is over, or one of its reservations waits for the commit. */
static void flood_lock(void *context)
{
    (void)context; /* flood */
    env_mutex_lock(&flood.lock);
    if (flood.asked == flood.done) {
        flood.asked++;
        ck_assert_msg(flood.asked < FLOOD_TRIES, "the commit does not end");
        env_cond_broadcast(&flood.moved);
    }
    while (flood.done < flood.asked && model_status(flood.m).parked == 0) {
        (void)env_cond_wait_until(&flood.moved, &flood.lock, env_now_ns() + 1000000);
    }
    env_mutex_unlock(&flood.lock);
}

static uint32_t flood_seal(void *context)
{
    (void)context; /* no metadata */
    return 0;
}

static void flood_begin(struct model *m, const struct journal_client *client, uint64_t rows)
{
    flood = (struct flood){.m = m, .rows = rows};
    env_mutex_init(&flood.lock);
    env_cond_init(&flood.moved);
    journal_set_client(m->j, client);
    watch(m, BUCKET_ROWS);
    ck_assert_int_eq(env_thread_start(&flood.thread, "flood", flood_main, NULL), 0);
}

static void flood_end(struct model *m)
{
    const struct journal_client idle = {0};

    crash_io_hook = check_hook;
    env_mutex_lock(&flood.lock);
    flood.stop = true;
    env_cond_broadcast(&flood.moved);
    env_mutex_unlock(&flood.lock);
    env_thread_join(flood.thread);
    journal_set_client(m->j, &idle);
    ck_assert_uint_eq(model_status(m).parked, 0);
    close_watched(m);
    env_cond_fini(&flood.moved);
    env_mutex_fini(&flood.lock);
}

START_TEST(a_commit_ends_although_more_is_written_all_the_time)
{
    const struct journal_client client = {.lock = flood_lock, .seal = flood_seal};
    struct model m;

    open_usual(&m);
    flood_begin(&m, &client, FLOOD_ROWS);
    put(&m, 1, 1);
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_gt(flood.asked, 1);
    flood_end(&m);
}
END_TEST

/* Before each flush of the log. */
static bool drop_hook(const struct io_request *request, int *out_result)
{
    if (request->op == IO_FLUSH && is_file(request, "journal.img")) {
        flood_lock(NULL);
    }
    return check_hook(request, out_result);
}

static _Alignas(BLOCK_BYTES) uint8_t drop_meta[BLOCK_BYTES];

static uint32_t drop_seal(void *context)
{
    (void)context; /* as many as were joined */
    return BUCKET_ROWS;
}

static void
drop_block(void *context, uint32_t index, struct fs_block *out_block, const uint8_t **out_data)
{
    (void)context; /* flood */
    *out_block = block_of_row(flood.m, (index + UINT64_C(1)) * BUCKETS);
    *out_data = drop_meta;
}

/* The transaction has no room beside one row, which is in the log already and fits for ever. */
START_TEST(a_commit_that_lacks_room_ends_although_one_row_is_written_all_the_time)
{
    const struct journal_client client = {.seal = drop_seal, .block = drop_block};
    struct journal_reservation reservation = {0};
    struct model m;

    open_usual(&m);
    flood_begin(&m, &client, 1);
    ck_assert_int_eq(journal_reserve(m.j, &reservation, 0, BUCKET_ROWS), 0);
    for (uint32_t i = 0; i < BUCKET_ROWS; i++) {
        journal_txn_join(m.j, &reservation);
    }
    journal_release(m.j, &reservation);
    put(&m, 0, 1);
    crash_io_hook = drop_hook;
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_gt(flood.asked, 1);
    flood_end(&m);
}
END_TEST

/* Durability goes before the limit while rows cannot be written out; and the limit comes back. */
START_TEST(a_full_host_keeps_no_commit_from_its_end_and_the_limit_holds_again_afterwards)
{
    struct model m;

    open_usual(&m);
    watch(&m, UINT32_MAX);
    checker.full = true;
    put_bucket(&m, 0);
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_gt(checker.enospc, 0);
    ck_assert_uint_gt(checker.most, BUCKET_ROWS);
    ck_assert_uint_eq(model_status(&m).dirty_blocks, 0);
    checker.full = false;
    put_bucket(&m, 1);
    int error = journal_drain(m.j, m.files.queue);
    while (error == -ENOSPC) {
        error = journal_drain(m.j, m.files.queue);
    }
    ck_assert_int_eq(error, 0);
    checker.limit = BUCKET_ROWS;
    put_bucket(&m, 2);
    ck_assert_int_eq(sync_all(&m), 0);
    for (uint64_t i = 0; i < 240; i++) {
        expect_put(&m, i / 3 * BUCKETS + i % 3, (uint8_t)(i / 3 + 1));
    }
    close_watched(&m);
}
END_TEST

/* Of what went beyond the limit not all is counted: so nothing more is logged before it is gone. */
START_TEST(after_the_limit_was_suspended_the_log_is_emptied_before_anything_is_logged)
{
    struct model m;

    open_usual(&m);
    watch(&m, UINT32_MAX);
    checker.full = true;
    put(&m, 7, 1);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), -ENOSPC);
    put_bucket(&m, 0);
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_gt(checker.now, BUCKET_ROWS);
    checker.full = false;
    while (model_status(&m).waiting_for_space) {
        expect_put(&m, 7, 1); /* and nobody is idle */
    }
    put(&m, 9, 9);
    ck_assert_int_eq(sync_all(&m), 0);
    ck_assert_uint_le(checker.now, BUCKET_ROWS);
    for (uint64_t i = 0; i < 80; i++) {
        expect_put(&m, i * BUCKETS, (uint8_t)(i + 1));
    }
    expect_put(&m, 9, 9);
    close_watched(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log_rows");
    TCase *limit = tcase_create("limit");
    TCase *end = tcase_create("end");

    tcase_set_timeout(limit, 240);
    tcase_add_loop_test(limit,
                        at_no_write_and_no_flush_does_the_log_name_more_than_32_rows_of_a_bucket,
                        0,
                        (int)(sizeof(loads) / sizeof(loads[0])));
    tcase_add_test(limit, without_the_option_the_log_names_more);
    tcase_add_test(limit, one_commit_of_rows_that_all_fall_into_one_bucket_ends);
    tcase_add_test(limit, a_row_counts_until_the_tail_behind_it_is_durable);
    tcase_add_test(limit, a_transaction_has_no_more_blocks_than_a_bucket_rows);
    tcase_add_test(limit, a_log_that_names_more_is_empty_when_the_open_answers);
    tcase_add_loop_test(
        limit, after_a_power_cut_synced_contents_and_whole_transactions_are_there, 0, 3);
    tcase_set_timeout(end, 120);
    tcase_add_test(end, a_commit_ends_although_more_is_written_all_the_time);
    tcase_add_test(end,
                   a_full_host_keeps_no_commit_from_its_end_and_the_limit_holds_again_afterwards);
    tcase_add_test(end, a_commit_that_lacks_room_ends_although_one_row_is_written_all_the_time);
    tcase_add_test(end, after_the_limit_was_suspended_the_log_is_emptied_before_anything_is_logged);
    suite_add_tcase(suite, limit);
    suite_add_tcase(suite, end);
    return kit_run(suite);
}
