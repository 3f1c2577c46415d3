/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Meta blocks: bytes against the format sheet, a round trip, and every way to be malformed. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "meta_block.h"
#include "r5fs/base/crc32c.h"
#include "recovery_kit.h"

#define SEED 0x12345678u

static uint8_t meta[BLOCK_BYTES];

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get64(const uint8_t *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value);
    put16(at + 2, value >> 16);
}

/* The checksum anew, without the codec. */
static void reseal(void)
{
    put32(meta + 4, 0);
    put32(meta + 4, crc32c(SEED, meta, BLOCK_BYTES));
}

static void make_unit(void)
{
    meta_block_start(meta, 0x1122334455667788, log_block(7));
    meta_block_add_data(meta, fs_block(1620), 0xaabbccdd);
    meta_block_add_parity(meta, member_block(532), 0x01020304);
    meta_block_finish(meta, SEED, 3);
}

START_TEST(the_seed_is_the_checksum_of_the_uuid)
{
    struct uuid uuid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

    ck_assert_uint_eq(meta_block_seed(&uuid), crc32c(UINT32_MAX, uuid.bytes, 16));
}
END_TEST

START_TEST(every_byte_stands_where_the_format_says)
{
    make_unit();
    ck_assert_uint_eq(get32(meta), 0x6433c509);
    ck_assert_uint_eq(meta[8], 1);
    ck_assert_uint_eq(get32(meta + 8), 1); /* and three zeros */
    ck_assert_uint_eq(get32(meta + 12), 32 + 2 * 20);
    ck_assert_uint_eq(get64(meta + 16), 0x1122334455667788);
    ck_assert_uint_eq(get64(meta + 24), 7 * 8);
    ck_assert_uint_eq(get32(meta + 32), 0);     /* data, flags 0 */
    ck_assert_uint_eq(get32(meta + 36), 8);     /* sectors */
    ck_assert_uint_eq(get64(meta + 40), 12960); /* of the volume */
    ck_assert_uint_eq(get32(meta + 48), 0xaabbccdd);
    ck_assert_uint_eq(get32(meta + 52), 1); /* parity */
    ck_assert_uint_eq(get32(meta + 56), 8);
    ck_assert_uint_eq(get64(meta + 60), 4256); /* of the members */
    ck_assert_uint_eq(get32(meta + 68), 0x01020304);
    for (uint32_t i = 72; i < 4092; i++) {
        ck_assert_uint_eq(meta[i], 0);
    }
    ck_assert_uint_eq(get32(meta + 4092), 3);
    uint32_t sum = get32(meta + 4);
    put32(meta + 4, 0);
    ck_assert_uint_eq(sum, crc32c(SEED, meta, BLOCK_BYTES));
}
END_TEST

START_TEST(what_was_added_comes_back_in_order)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t pages = 0;

    make_unit();
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_VALID);
    ck_assert_uint_eq(meta_block_seq(meta), 0x1122334455667788);
    ck_assert_uint_eq(meta_block_undurable(meta), 3);
    ck_assert_int_eq(meta_block_count_pages(meta, &pages), 0);
    ck_assert_uint_eq(pages, 2);
    meta_cursor_init(&cursor, meta);
    ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 1);
    ck_assert_int_eq(payload.type, LOG_PAYLOAD_DATA);
    ck_assert_uint_eq(payload.location_sectors, 12960);
    ck_assert_uint_eq(payload.checksum, 0xaabbccdd);
    ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 1);
    ck_assert_int_eq(payload.type, LOG_PAYLOAD_PARITY);
    ck_assert_uint_eq(payload.location_sectors, 4256);
    ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 0);
}
END_TEST

START_TEST(a_full_unit_leaves_the_trailer_free)
{
    uint32_t pages = 0;

    meta_block_start(meta, 1, log_block(0));
    for (uint32_t i = 0; i < LOG_UNIT_PAYLOADS_MAX; i++) {
        ck_assert_uint_eq(meta_block_payload_count(meta), i);
        meta_block_add_data(meta, fs_block(i), UINT32_MAX);
    }
    meta_block_finish(meta, SEED, 63);
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(0)), META_VALID);
    ck_assert_uint_eq(meta_block_undurable(meta), 63);
    ck_assert_int_eq(meta_block_count_pages(meta, &pages), 0);
    ck_assert_uint_eq(pages, 203);
}
END_TEST

START_TEST(a_payload_too_many_is_our_mistake)
{
    meta_block_start(meta, 1, log_block(0));
    for (uint32_t i = 0; i <= LOG_UNIT_PAYLOADS_MAX; i++) {
        meta_block_add_data(meta, fs_block(i), 0);
    }
}
END_TEST

START_TEST(no_flipped_bit_goes_unseen)
{
    make_unit();
    for (uint32_t bit = 0; bit < BLOCK_BYTES * 8; bit += (bit < 800 ? 1 : 61)) {
        meta[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_ne(meta_block_verify(meta, SEED, log_block(7)), META_VALID);
        meta[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_VALID);
    ck_assert_int_eq(meta_block_verify(meta, SEED + 1, log_block(7)), META_BAD_CHECKSUM);
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(8)), META_BAD_POSITION);
}
END_TEST

START_TEST(each_wrong_field_has_its_verdict)
{
    make_unit();
    put32(meta, 0x6433c508);
    reseal();
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_NO_MAGIC);
    make_unit();
    meta[8] = 2;
    reseal();
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_BAD_VERSION);
    static const uint32_t bad_sizes[] = {0, 31, 4097, 8192, UINT32_MAX};
    for (size_t i = 0; i < sizeof(bad_sizes) / sizeof(bad_sizes[0]); i++) {
        make_unit();
        put32(meta + 12, bad_sizes[i]);
        reseal();
        ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_BAD_SIZE);
    }
}
END_TEST

START_TEST(malformed_payloads_end_the_walk)
{
    static const struct {
        uint32_t offset;
        uint32_t value; /* 32 bits */
        const char *what;
    } cases[] = {
        {52, 3, "unknown type"},
        {52, 0xffff, "unknown type"},
        {52, 1 | 1u << 16, "flags"},
        {56, 16, "two pages"},
        {56, 0, "no page"},
        {56, UINT32_MAX, "size"},
        {12, 71, "cut off"},
        {12, 52 + 7, "a payload header cut off"},
        {12, 73, "one byte too many"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t pages = 12345;
        make_unit();
        put32(meta + cases[i].offset, cases[i].value);
        reseal();
        ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_VALID);
        ck_assert_msg(meta_block_count_pages(meta, &pages) == -EBADMSG, "%s", cases[i].what);
        ck_assert_uint_eq(pages, 12345);
    }
}
END_TEST

/* A block of flush payloads as the kernel writes them: up to the last byte. */
static void make_flush_block(uint32_t list_bytes, uint32_t used)
{
    meta_block_start(meta, 5, log_block(7));
    for (uint32_t offset = 32; offset + 8 + list_bytes <= used; offset += 8 + list_bytes) {
        put16(meta + offset, LOG_PAYLOAD_FLUSH);
        put32(meta + offset + 4, list_bytes);
        for (uint32_t i = 0; i < list_bytes; i += 8) {
            put32(meta + offset + 8 + i, 8 * (offset + i));
        }
    }
    put32(meta + 12, used);
    reseal();
}

START_TEST(flush_lists_of_the_kernel_are_read)
{
    struct meta_cursor cursor;
    struct meta_payload payload;
    uint32_t count = 0;
    uint32_t pages = 1;

    make_flush_block(8, BLOCK_BYTES);
    ck_assert_int_eq(meta_block_verify(meta, SEED, log_block(7)), META_VALID);
    ck_assert_int_eq(meta_block_count_pages(meta, &pages), 0);
    ck_assert_uint_eq(pages, 0);
    meta_cursor_init(&cursor, meta);
    while (meta_cursor_next(&cursor, &payload) == 1) {
        ck_assert_uint_eq(payload.flush_count, 1);
        ck_assert_uint_eq(meta_flush_row_sectors(&payload, 0), 8ull * (32 + count * 16));
        count++;
    }
    ck_assert_uint_eq(count, 254);
    /* What stands at 4092 is a list's, no trailer. */
    ck_assert_uint_eq(meta_block_undurable(meta), 0);
    make_flush_block(40, 32 + 48);
    meta_cursor_init(&cursor, meta);
    ck_assert_int_eq(meta_cursor_next(&cursor, &payload), 1);
    ck_assert_uint_eq(payload.flush_count, 5);
    ck_assert_uint_eq(meta_flush_row_sectors(&payload, 4), 8ull * (32 + 32));
}
END_TEST

START_TEST(flush_lists_with_impossible_sizes_are_refused)
{
    static const uint32_t sizes[] = {4, 9, 24, 4096, 0x80000000u, UINT32_MAX - 7, UINT32_MAX};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t pages = 0;
        make_flush_block(16, 32 + 24);
        put32(meta + 36, sizes[i]);
        reseal();
        ck_assert_int_eq(meta_block_count_pages(meta, &pages), -EBADMSG);
    }
}
END_TEST

START_TEST(random_blocks_are_walked_within_their_bounds)
{
    /* On a page of its own before one that must not be touched: a read beyond it would be seen by
     * the address sanitizer, and the walk must end in any case. */
    uint8_t *block = malloc(BLOCK_BYTES);

    ck_assert_ptr_nonnull(block);
    kit_seed("random_blocks_are_walked_within_their_bounds");
    for (uint32_t round = 0; round < 20000; round++) {
        struct meta_cursor cursor;
        struct meta_payload payload;
        uint32_t steps = 0;
        for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
            block[i] = (uint8_t)kit_below(round % 2 == 0 ? 256 : 3);
        }
        put32(block + 12, 32 + kit_below(BLOCK_BYTES - 32 + 1));
        meta_cursor_init(&cursor, block);
        while (meta_cursor_next(&cursor, &payload) == 1) {
            for (uint32_t i = 0; i < payload.flush_count; i++) {
                (void)meta_flush_row_sectors(&payload, i);
            }
            steps++;
        }
        ck_assert_uint_le(steps, (BLOCK_BYTES - 32) / 8);
        ck_assert_uint_le(cursor.offset, BLOCK_BYTES);
    }
    free(block);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("meta_block");
    TCase *writing = tcase_create("writing");
    TCase *reading = tcase_create("reading");

    tcase_add_test(writing, the_seed_is_the_checksum_of_the_uuid);
    tcase_add_test(writing, every_byte_stands_where_the_format_says);
    tcase_add_test(writing, what_was_added_comes_back_in_order);
    tcase_add_test(writing, a_full_unit_leaves_the_trailer_free);
    tcase_add_test_raise_signal(writing, a_payload_too_many_is_our_mistake, SIGABRT);
    tcase_add_test(reading, no_flipped_bit_goes_unseen);
    tcase_add_test(reading, each_wrong_field_has_its_verdict);
    tcase_add_test(reading, malformed_payloads_end_the_walk);
    tcase_add_test(reading, flush_lists_of_the_kernel_are_read);
    tcase_add_test(reading, flush_lists_with_impossible_sizes_are_refused);
    tcase_add_test(reading, random_blocks_are_walked_within_their_bounds);
    suite_add_tcase(suite, writing);
    suite_add_tcase(suite, reading);
    return kit_run(suite);
}
