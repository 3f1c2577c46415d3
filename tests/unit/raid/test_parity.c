/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parity.c against XOR byte by byte. */
#include <check.h>
#include <signal.h>
#include <string.h>

#include "array_kit.h"
#include "r5fs/base/env.h"
#include "r5fs/raid/parity.h"

#define SOURCES 63

static _Alignas(BLOCK_BYTES) uint8_t blocks[SOURCES + 1][BLOCK_BYTES];
static const uint8_t *sources[SOURCES + 1];

static void make_blocks(void)
{
    env_random_bytes(blocks, sizeof(blocks));
    for (uint32_t i = 0; i <= SOURCES; i++) {
        sources[i] = blocks[i];
    }
}

static void xor_plainly(uint8_t *out, uint32_t count)
{
    memset(out, 0, BLOCK_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t byte = 0; byte < BLOCK_BYTES; byte++) {
            out[byte] ^= blocks[i][byte];
        }
    }
}

START_TEST(any_number_of_sources_gives_the_plain_xor)
{
    uint8_t expected[BLOCK_BYTES];
    make_blocks();
    for (uint32_t count = 1; count <= SOURCES; count++) {
        xor_plainly(expected, count);
        parity_xor(blocks[SOURCES], sources, count);
        ck_assert_mem_eq(blocks[SOURCES], expected, BLOCK_BYTES);
    }
}
END_TEST

START_TEST(the_result_may_replace_a_source)
{
    uint8_t expected[BLOCK_BYTES];
    for (uint32_t count = 1; count <= SOURCES; count++) {
        for (uint32_t place = 0; place < count; place += 1 + count / 4) {
            make_blocks();
            xor_plainly(expected, count);
            parity_xor(blocks[place], sources, count);
            ck_assert_mem_eq(blocks[place], expected, BLOCK_BYTES);
        }
    }
}
END_TEST

START_TEST(adding_a_block_twice_takes_it_out_again)
{
    uint8_t before[BLOCK_BYTES];
    make_blocks();
    memcpy(before, blocks[0], BLOCK_BYTES);
    parity_add(blocks[0], blocks[1]);
    ck_assert_mem_ne(blocks[0], before, BLOCK_BYTES);
    parity_add(blocks[0], blocks[1]);
    ck_assert_mem_eq(blocks[0], before, BLOCK_BYTES);
}
END_TEST

START_TEST(a_lost_block_comes_back_from_the_others)
{
    make_blocks();
    parity_xor(blocks[7], sources, 7);
    for (uint32_t lost = 0; lost < 8; lost++) {
        const uint8_t *others[7];
        uint32_t count = 0;
        for (uint32_t i = 0; i < 8; i++) {
            if (i != lost) {
                others[count++] = blocks[i];
            }
        }
        parity_xor(blocks[SOURCES], others, count);
        ck_assert_mem_eq(blocks[SOURCES], blocks[lost], BLOCK_BYTES);
    }
}
END_TEST

START_TEST(one_bit_anywhere_makes_a_block_not_zero)
{
    memset(blocks[0], 0, BLOCK_BYTES);
    ck_assert(block_is_zero(blocks[0]));
    for (uint32_t bit = 0; bit < BLOCK_BYTES * 8; bit += 61) {
        blocks[0][bit / 8] = (uint8_t)(1u << bit % 8);
        ck_assert(!block_is_zero(blocks[0]));
        blocks[0][bit / 8] = 0;
    }
}
END_TEST

START_TEST(no_source_is_our_own_mistake)
{
    parity_xor(blocks[0], sources, 0);
}
END_TEST

static Suite *parity_suite(void)
{
    Suite *suite = suite_create("parity");
    TCase * xor = tcase_create("xor");

    tcase_add_test(xor, any_number_of_sources_gives_the_plain_xor);
    tcase_add_test(xor, the_result_may_replace_a_source);
    tcase_add_test(xor, adding_a_block_twice_takes_it_out_again);
    tcase_add_test(xor, a_lost_block_comes_back_from_the_others);
    tcase_add_test(xor, one_bit_anywhere_makes_a_block_not_zero);
    tcase_add_test_raise_signal(xor, no_source_is_our_own_mistake, SIGABRT);
    suite_add_tcase(suite, xor);
    return suite;
}

int main(void)
{
    return array_kit_run(parity_suite());
}
