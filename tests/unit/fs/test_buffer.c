/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool of metadata blocks: found, loaded once, verified, evicted oldest first, never while
 * needed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs_kit.h"
#include "r5fs/base/msg.h"

#define POOL_BUFFERS 8u
#define FIRST_BLOCK  100u

struct pool_kit {
    struct journal *journal;
    struct arena arena;
    struct buffer_pool pool;
    struct fs_thread thread;
};

/* A valid summary block with the number in its first entry. */
static void put_block(struct pool_kit *kit, uint64_t nr)
{
    struct fs_summary_disk *disk = (void *)fake_block_bytes(kit->journal, fs_block(nr));
    fs_header_fill(&disk->header, FS_MAGIC_SUMMARY, fs_block(nr), &kit->pool.fs_uuid, 1);
    disk->groups[0].free_blocks = le32_make((uint32_t)nr);
    fs_header_seal((uint8_t *)disk);
    fake_block_changed(kit->journal, fs_block(nr));
}

static void pool_kit_init(struct pool_kit *kit, uint32_t buffers, uint64_t blocks)
{
    memset(kit, 0, sizeof(*kit));
    msg_set_level(MSG_ERR);
    kit_thread_init(&kit->thread);
    kit->journal = fake_journal_make(&(struct fake_options){0});
    arena_init_growing(&kit->arena);
    buffer_pool_init(&kit->pool, &kit->arena, buffers, kit->journal);
    memset(kit->pool.fs_uuid.bytes, 0x77, sizeof(kit->pool.fs_uuid.bytes));
    for (uint64_t i = 0; i < blocks; i++) {
        put_block(kit, FIRST_BLOCK + i);
    }
}

static void pool_kit_fini(struct pool_kit *kit)
{
    buffer_pool_verify(&kit->pool);
    buffer_pool_fini(&kit->pool);
    arena_fini(&kit->arena);
    fake_journal_free(kit->journal);
    kit_thread_fini(&kit->thread);
}

static int get(struct pool_kit *kit, uint64_t nr, enum buffer_how how, struct buffer **out)
{
    return buffer_get(&kit->pool, kit->thread.queue, fs_block(nr), BUFFER_SUMMARY, how, out);
}

static struct buffer *must_get(struct pool_kit *kit, uint64_t nr)
{
    struct buffer *buffer = NULL;
    ck_assert_int_eq(get(kit, nr, BUFFER_LOAD, &buffer), 0);
    const struct fs_summary_disk *disk = (const void *)buffer->data;
    ck_assert_uint_eq(le32_get(disk->groups[0].free_blocks), nr);
    return buffer;
}

static bool is_cached(struct pool_kit *kit, uint64_t nr)
{
    struct buffer *buffer = NULL;
    int error = get(kit, nr, BUFFER_CACHED, &buffer);
    ck_assert(error == 0 || error == -EAGAIN);
    if (error == 0) {
        buffer_put(&kit->pool, buffer);
    }
    return error == 0;
}

START_TEST(block_is_read_once_and_then_found)
{
    struct pool_kit kit;
    pool_kit_init(&kit, POOL_BUFFERS, 1);
    ck_assert(!is_cached(&kit, FIRST_BLOCK));
    struct buffer *first = must_get(&kit, FIRST_BLOCK);
    struct buffer *second = must_get(&kit, FIRST_BLOCK);
    ck_assert_ptr_eq(first, second);
    ck_assert_uint_eq(fake_read_count(kit.journal), 1);
    buffer_put(&kit.pool, first);
    buffer_put(&kit.pool, second);
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(oldest_unused_block_goes_first_and_pinned_ones_stay)
{
    struct pool_kit kit;
    pool_kit_init(&kit, POOL_BUFFERS, 20);
    struct buffer *pinned = must_get(&kit, FIRST_BLOCK);
    for (uint64_t i = 1; i < POOL_BUFFERS; i++) {
        buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + i));
    }
    buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + 1)); /* used again: now the youngest */
    buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + 10));
    ck_assert(is_cached(&kit, FIRST_BLOCK));
    ck_assert(is_cached(&kit, FIRST_BLOCK + 1));
    ck_assert(!is_cached(&kit, FIRST_BLOCK + 2));
    ck_assert(is_cached(&kit, FIRST_BLOCK + 3));
    buffer_put(&kit.pool, pinned);
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(pool_full_of_pins_answers_enomem_and_works_on_after_one_is_put)
{
    struct pool_kit kit;
    pool_kit_init(&kit, POOL_BUFFERS, 20);
    struct buffer *pinned[POOL_BUFFERS];
    struct buffer *other = NULL;
    for (uint64_t i = 0; i < POOL_BUFFERS; i++) {
        pinned[i] = must_get(&kit, FIRST_BLOCK + i);
    }
    ck_assert_int_eq(get(&kit, FIRST_BLOCK + 10, BUFFER_LOAD, &other), -ENOMEM);
    ck_assert_int_eq(buffer_make(&kit.pool, fs_block(5), BUFFER_NODE, 1, &other), -ENOMEM);
    buffer_put(&kit.pool, pinned[3]);
    buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + 10));
    for (uint64_t i = 0; i < POOL_BUFFERS; i++) {
        buffer_put(&kit.pool, i == 3 ? NULL : pinned[i]);
    }
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(dirty_block_stays_without_a_pin_until_it_is_clean)
{
    struct pool_kit kit;
    pool_kit_init(&kit, POOL_BUFFERS, 20);
    struct buffer *dirty = must_get(&kit, FIRST_BLOCK);
    buffer_set_dirty(&kit.pool, dirty, true);
    buffer_put(&kit.pool, dirty);
    for (uint64_t i = 1; i < 20; i++) {
        buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + i));
    }
    ck_assert(is_cached(&kit, FIRST_BLOCK));
    buffer_pool_verify(&kit.pool);
    buffer_set_dirty(&kit.pool, dirty, false);
    for (uint64_t i = 1; i < 20; i++) {
        buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK + i));
    }
    ck_assert(!is_cached(&kit, FIRST_BLOCK));
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(forgotten_block_lives_for_its_pins_only)
{
    struct pool_kit kit;
    pool_kit_init(&kit, POOL_BUFFERS, 2);
    struct buffer *old = must_get(&kit, FIRST_BLOCK);
    struct buffer *made = NULL;
    ck_assert_int_eq(buffer_make(&kit.pool, fs_block(FIRST_BLOCK), BUFFER_SUMMARY, 9, &made),
                     -EEXIST);
    buffer_forget(&kit.pool, old);
    ck_assert(!is_cached(&kit, FIRST_BLOCK));
    ck_assert_int_eq(buffer_make(&kit.pool, fs_block(FIRST_BLOCK), BUFFER_SUMMARY, 9, &made), 0);
    ck_assert_ptr_ne(old, made);
    const struct fs_summary_disk *disk = (const void *)old->data;
    ck_assert_uint_eq(le32_get(disk->groups[0].free_blocks), FIRST_BLOCK);
    disk = (const void *)made->data;
    ck_assert_uint_eq(le32_get(disk->groups[0].free_blocks), 0);
    ck_assert_uint_eq(le64_get(disk->header.generation), 9);
    buffer_put(&kit.pool, old);
    buffer_put(&kit.pool, made);
    pool_kit_fini(&kit);
}
END_TEST

static void spoil(struct pool_kit *kit, int how)
{
    struct fs_summary_disk *disk = (void *)fake_block_bytes(kit->journal, fs_block(FIRST_BLOCK));
    switch (how) {
    case 0: disk->header.magic = le32_make(FS_MAGIC_BITMAP); break;
    case 1: disk->header.address = le64_make(FIRST_BLOCK + 1); break;
    case 2: disk->header.fs_uuid[7] ^= 1; break;
    case 3: memset(disk, 0, BLOCK_BYTES); break;
    default: disk->groups[507].longest_run = le32_make(1); break; /* under the old crc */
    }
    if (how < 3) {
        fs_header_seal((uint8_t *)disk);
    }
    fake_block_changed(kit->journal, fs_block(FIRST_BLOCK));
}

START_TEST(wrong_contents_are_refused_and_not_kept)
{
    struct pool_kit kit;
    struct buffer *buffer = NULL;
    pool_kit_init(&kit, POOL_BUFFERS, 1);
    spoil(&kit, _i);
    ck_assert_int_eq(get(&kit, FIRST_BLOCK, BUFFER_LOAD, &buffer), -EUCLEAN);
    ck_assert_int_eq(get(&kit, FIRST_BLOCK, BUFFER_LOAD_QUIET, &buffer), -EUCLEAN);
    ck_assert(!is_cached(&kit, FIRST_BLOCK));
    memset(fake_block_bytes(kit.journal, fs_block(FIRST_BLOCK)), 0, BLOCK_BYTES);
    put_block(&kit, FIRST_BLOCK);
    buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK));
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(block_of_one_kind_is_not_given_out_as_another)
{
    struct pool_kit kit;
    struct buffer *buffer = NULL;
    pool_kit_init(&kit, POOL_BUFFERS, 1);
    struct buffer *summary = must_get(&kit, FIRST_BLOCK);
    ck_assert_int_eq(
        buffer_get(
            &kit.pool, kit.thread.queue, fs_block(FIRST_BLOCK), BUFFER_NODE, BUFFER_LOAD, &buffer),
        -EUCLEAN);
    buffer_put(&kit.pool, summary);
    pool_kit_fini(&kit);
}
END_TEST

START_TEST(read_error_reaches_the_caller_and_is_not_kept)
{
    struct pool_kit kit;
    struct buffer *buffer = NULL;
    pool_kit_init(&kit, POOL_BUFFERS, 1);
    fake_fail_reads_of(kit.journal, fs_block(FIRST_BLOCK));
    ck_assert_int_eq(get(&kit, FIRST_BLOCK, BUFFER_LOAD, &buffer), -EIO);
    fake_fail_reads_of(kit.journal, fs_block(0));
    buffer_put(&kit.pool, must_get(&kit, FIRST_BLOCK));
    pool_kit_fini(&kit);
}
END_TEST

#define HAMMER_THREADS 6u
#define HAMMER_BLOCKS  40u

struct hammer {
    struct pool_kit *kit;
    uint64_t random;
    uint64_t wrong;
};

static void hammer_run(void *context)
{
    struct hammer *hammer = context;
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t nr = FIRST_BLOCK + kit_below(&hammer->random, HAMMER_BLOCKS);
        struct buffer *buffer = NULL;
        if (get(hammer->kit, nr, BUFFER_LOAD, &buffer) != 0) {
            hammer->wrong++;
            continue;
        }
        const struct fs_summary_disk *disk = (const void *)buffer->data;
        hammer->wrong += le32_get(disk->groups[0].free_blocks) != nr ? 1 : 0;
        buffer_put(&hammer->kit->pool, buffer);
    }
}

START_TEST(threads_that_want_the_same_blocks_all_get_the_right_ones)
{
    struct pool_kit kit;
    struct hammer hammers[HAMMER_THREADS];
    struct env_thread *threads[HAMMER_THREADS];
    pool_kit_init(&kit, 16, HAMMER_BLOCKS);
    uint64_t seed = kit_seed("hammer");
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        hammers[i] = (struct hammer){.kit = &kit, .random = seed + i};
        ck_assert_int_eq(env_thread_start(&threads[i], "hammer", hammer_run, &hammers[i]), 0);
    }
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        env_thread_join(threads[i]);
        ck_assert_uint_eq(hammers[i].wrong, 0);
    }
    struct buffer_stats stats;
    buffer_pool_stats(&kit.pool, &stats);
    ck_assert_uint_eq(stats.misses, fake_read_count(kit.journal));
    ck_assert_uint_eq(stats.pinned, 0);
    pool_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buffer");
    TCase *pool = tcase_create("pool");
    tcase_add_test(pool, block_is_read_once_and_then_found);
    tcase_add_test(pool, oldest_unused_block_goes_first_and_pinned_ones_stay);
    tcase_add_test(pool, pool_full_of_pins_answers_enomem_and_works_on_after_one_is_put);
    tcase_add_test(pool, dirty_block_stays_without_a_pin_until_it_is_clean);
    tcase_add_test(pool, forgotten_block_lives_for_its_pins_only);
    suite_add_tcase(suite, pool);
    TCase *bad = tcase_create("bad contents");
    tcase_add_loop_test(bad, wrong_contents_are_refused_and_not_kept, 0, 5);
    tcase_add_test(bad, block_of_one_kind_is_not_given_out_as_another);
    tcase_add_test(bad, read_error_reaches_the_caller_and_is_not_kept);
    suite_add_tcase(suite, bad);
    TCase *threads = tcase_create("threads");
    tcase_set_timeout(threads, 120);
    tcase_add_test(threads, threads_that_want_the_same_blocks_all_get_the_right_ones);
    suite_add_tcase(suite, threads);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
