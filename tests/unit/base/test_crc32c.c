/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C: published check values (RFC 3720 B.4), a bit by bit model, and the seed convention. */
#include <string.h>

#include "kit.h"
#include "r5fs/base/crc32c.h"

static uint32_t model_crc(uint32_t crc, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
        }
    }
    return crc;
}

START_TEST(check_value_without_inversion)
{
    ck_assert_uint_eq(crc32c(UINT32_MAX, "123456789", 9), 0x1cf96d7cu);
    ck_assert_uint_eq(crc32c(UINT32_MAX, "123456789", 9), ~0xe3069283u);
}
END_TEST

START_TEST(published_vectors)
{
    uint8_t data[32];

    memset(data, 0, sizeof(data));
    ck_assert_uint_eq(~crc32c(UINT32_MAX, data, sizeof(data)), 0x8a9136aau);
    memset(data, 0xff, sizeof(data));
    ck_assert_uint_eq(~crc32c(UINT32_MAX, data, sizeof(data)), 0x62a8ab43u);
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    ck_assert_uint_eq(~crc32c(UINT32_MAX, data, sizeof(data)), 0x46dd794eu);
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(31 - i);
    }
    ck_assert_uint_eq(~crc32c(UINT32_MAX, data, sizeof(data)), 0x113fdb5cu);
}
END_TEST

START_TEST(nothing_leaves_the_seed_as_it_is)
{
    ck_assert_uint_eq(crc32c(0x12345678u, "", 0), 0x12345678u);
    ck_assert_uint_eq(crc32c(0, NULL, 0), 0);
}
END_TEST

START_TEST(any_length_alignment_and_seed_equals_the_bitwise_model)
{
    static uint8_t data[5000];

    kit_seed("crc32c");
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)kit_random();
    }
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t first = kit_below(64);
        uint32_t bytes = round < 300 ? round : kit_below((uint32_t)sizeof(data) - first);
        uint32_t seed = (uint32_t)kit_random();
        ck_assert_uint_eq(crc32c(seed, data + first, bytes), model_crc(seed, data + first, bytes));
    }
}
END_TEST

START_TEST(parts_chain_through_the_seed)
{
    static uint8_t data[4096];

    kit_seed("parts_chain_through_the_seed");
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)kit_random();
    }
    uint32_t whole = crc32c(UINT32_MAX, data, sizeof(data));
    for (unsigned round = 0; round < 200; round++) {
        uint32_t cut = kit_below((uint32_t)sizeof(data) + 1);
        uint32_t crc = crc32c(UINT32_MAX, data, cut);
        ck_assert_uint_eq(crc32c(crc, data + cut, sizeof(data) - cut), whole);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *values = tcase_create("values");

    tcase_add_test(values, check_value_without_inversion);
    tcase_add_test(values, published_vectors);
    tcase_add_test(values, nothing_leaves_the_seed_as_it_is);
    tcase_add_test(values, any_length_alignment_and_seed_equals_the_bitwise_model);
    tcase_add_test(values, parts_chain_through_the_seed);
    suite_add_tcase(suite, values);
    return kit_run(suite);
}
