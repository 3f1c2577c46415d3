/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One block several times in the log: as data and again as metadata of the same unit, and again in
 * later units. What comes later in the log is what counts, in memory and after a crash anywhere. */
#include <check.h>
#include <string.h>

#include "model_kit.h"

#define RING_USUAL     UINT64_C(900)
#define MEMBER_BYTES   (6u << 20)
#define CHUNK_SECTORS  8u
#define TWICE          5u /* the block */
#define CUTS           24
#define NUMBERS_A_PAGE (BLOCK_BYTES / sizeof(uint64_t))

static const struct journal_options by_hand = {.images_max = 256, .commit_interval_ms = 3600000};

static uint64_t txn_page[NUMBERS_A_PAGE]; /* what the transaction that closes next says */
static bool txn_open;

static void fill(uint64_t *page, uint64_t number)
{
    for (size_t i = 0; i < NUMBERS_A_PAGE; i++) {
        page[i] = number;
    }
}

static uint32_t seal(void *context)
{
    (void)context; /* one block, or nothing */
    uint32_t count = txn_open;
    txn_open = false;
    return count;
}

static void
block_of(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    (void)context;
    ck_assert_uint_eq(index, 0);
    *out_address = fs_block(TWICE);
    *out_data = (const uint8_t *)txn_page;
}

static void reopen(struct model *m)
{
    static const struct journal_client client = {.seal = seal, .block = block_of};

    ck_assert_int_eq(model_open(m, &by_hand, KIT_NO_SLOT), 0);
    journal_set_client(m->j, &client);
}

/* One unit: the block as data, a neighbour, the block as metadata. */
static int write_twice(struct model *m, uint64_t as_data, uint64_t as_meta)
{
    struct journal_reservation reservation = {0};
    uint64_t page[NUMBERS_A_PAGE];
    uint64_t seq = m->j->log.next_seq;

    ck_assert_int_eq(journal_reserve(m->j, &reservation, 2, 1), 0);
    fill(page, as_data);
    journal_write(m->j, &reservation, fs_block(TWICE), (const uint8_t *)page);
    fill(page, as_meta);
    journal_write(m->j, &reservation, fs_block(TWICE + 1), (const uint8_t *)page);
    fill(txn_page, as_meta);
    txn_open = true;
    journal_txn_join(m->j, &reservation);
    journal_release(m->j, &reservation);
    int error = journal_commit(m->j, m->files.queue, journal_running_txn(m->j));
    ck_assert(m->j->failing != 0 || m->j->log.next_seq == seq + 1);
    journal_verify(m->j);
    return error;
}

static uint64_t get(struct model *m, uint64_t block)
{
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
    uint64_t number = 0;

    ck_assert_int_eq(journal_read(m->j, m->files.queue, fs_block(block), 1, page), 0);
    ck_assert_int_eq(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)), 0);
    memcpy(&number, page, sizeof(number));
    return number;
}

/* Even: both units in one generation. Odd: the first is on the members, the second follows it. */
START_TEST(of_a_block_twice_in_one_unit_the_later_counts_wherever_the_power_goes)
{
    const struct kit_shape shape = {4, CHUNK_SECTORS, MEMBER_BYTES, RING_USUAL};
    struct model m;

    kit_seed("block_twice");
    model_crash_io_use();
    model_create(&m, &shape);
    reopen(&m);
    ck_assert_int_eq(write_twice(&m, 1, 2), 0);
    ck_assert_uint_eq(get(&m, TWICE), 2);
    if (_i % 2 == 1) {
        ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    }
    model_cut_after((uint64_t)_i / 2);
    int error = write_twice(&m, 3, 4);
    bool answered = error == 0 && !model_is_cut();
    error = journal_drain(m.j, m.files.queue);
    ck_assert(error == 0 || model_is_cut());
    model_abandon(&m);
    reopen(&m);
    uint64_t now = get(&m, TWICE);
    ck_assert(now == 4 || (now == 2 && !answered));
    ck_assert_uint_eq(get(&m, TWICE + 1), now);
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    ck_assert_uint_eq(get(&m, TWICE), now);
    model_close(&m);
    ck_assert_uint_eq(kit_bad_rows(&m.files), 0);
    model_remove(&m);
}
END_TEST

START_TEST(of_a_block_twice_in_one_unit_one_image_stays)
{
    const struct kit_shape shape = {4, CHUNK_SECTORS, MEMBER_BYTES, RING_USUAL};
    struct model m;

    model_create(&m, &shape);
    reopen(&m);
    for (uint64_t round = 0; round < 20; round++) {
        ck_assert_int_eq(write_twice(&m, 100 + round, 200 + round), 0);
        ck_assert_uint_eq(get(&m, TWICE), 200 + round);
        ck_assert_uint_le(m.j->space.images_used, 4); /* and what is being written out */
    }
    model_close(&m);
    model_remove(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block_twice");
    TCase *tcase = tcase_create("block twice");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(
        tcase, of_a_block_twice_in_one_unit_the_later_counts_wherever_the_power_goes, 0, 2 * CUTS);
    tcase_add_test(tcase, of_a_block_twice_in_one_unit_one_image_stays);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
