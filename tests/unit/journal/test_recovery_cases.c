/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The decision tables: every combination of facts, against the rules said another way. */
#include <string.h>

#include "recovery_cases.h"
#include "recovery_kit.h"

static const struct recovery_table *const tables[] = {
    &recovery_unit_table,
    &recovery_beyond_table,
    &recovery_row_table,
    &recovery_block_table,
};

START_TEST(every_combination_fits_exactly_one_case)
{
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        const struct recovery_table *table = tables[t];
        for (uint32_t facts = 0; facts < 1u << table->fact_count; facts++) {
            uint32_t fits = 0;
            for (uint32_t i = 0; i < table->case_count; i++) {
                const struct recovery_case *one = &table->cases[i];
                fits += (facts & one->set) == one->set && (facts & one->clear) == 0;
            }
            ck_assert_msg(fits == 1, "table %s facts %#x fit %u", table->name, facts, fits);
        }
    }
}
END_TEST

START_TEST(every_case_is_reached_and_has_a_label_of_its_own)
{
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        const struct recovery_table *table = tables[t];
        for (uint32_t i = 0; i < table->case_count; i++) {
            ck_assert_uint_eq(table->cases[i].set & table->cases[i].clear, 0);
            ck_assert_uint_lt(table->cases[i].set | table->cases[i].clear, 1u << table->fact_count);
            ck_assert_ptr_eq(recovery_table_find(table, table->cases[i].set), &table->cases[i]);
            for (uint32_t k = 0; k < i; k++) {
                ck_assert_str_ne(table->cases[i].label, table->cases[k].label);
            }
        }
    }
}
END_TEST

START_TEST(only_a_whole_unit_is_taken)
{
    uint32_t whole = UNIT_META | UNIT_FORMED | UNIT_PAGES;

    for (uint32_t facts = 0; facts < 1u << recovery_unit_table.fact_count; facts++) {
        bool first = (facts & UNIT_FIRST) != 0;
        bool right = (facts & whole) == whole && (first || (facts & UNIT_SEQ) != 0);
        unsigned expected = right ? UNIT_TAKE : first ? UNIT_HEAD_DAMAGED : UNIT_STOP;
        ck_assert_uint_eq(recovery_table_find(&recovery_unit_table, facts)->decision, expected);
    }
}
END_TEST

START_TEST(only_a_valid_unit_ahead_proves_damage)
{
    for (uint32_t facts = 0; facts < 1u << recovery_beyond_table.fact_count; facts++) {
        uint32_t left = BEYOND_VALID | BEYOND_NEW;
        uint32_t proof = (facts & BEYOND_FOREIGN) != 0 ? BEYOND_TOO_FAR : BEYOND_ANSWERED;
        unsigned expected = BEYOND_IGNORE;
        if ((facts & left) == left) {
            bool damage = (facts & BEYOND_AHEAD) != 0 && (facts & proof) != 0;
            expected = damage ? BEYOND_DAMAGE : BEYOND_LEFTOVER;
        }
        ck_assert_uint_eq(recovery_table_find(&recovery_beyond_table, facts)->decision, expected);
    }
}
END_TEST

START_TEST(closed_data_goes_to_the_members_and_open_data_stays)
{
    for (uint32_t facts = 0; facts < 1u << recovery_row_table.fact_count; facts++) {
        bool data = (facts & ROW_CLOSED_DATA) != 0;
        bool parity = (facts & ROW_CLOSED_PARITY) != 0;
        bool open = (facts & ROW_OPEN_DATA) != 0;
        unsigned expected = (data && parity ? ROW_WRITE_CLOSED : 0u) | (open ? ROW_KEEP_OPEN : 0u);
        if (data && !parity) {
            expected = ROW_IMPOSSIBLE;
        }
        ck_assert_uint_eq(recovery_table_find(&recovery_row_table, facts)->decision, expected);
    }
}
END_TEST

START_TEST(a_block_comes_from_its_newest_layer)
{
    for (uint32_t facts = 0; facts < 1u << recovery_block_table.fact_count; facts++) {
        unsigned expected = BLOCK_FROM_ARRAY;
        if ((facts & BLOCK_OPEN) != 0) {
            expected = BLOCK_FROM_OPEN;
        } else if ((facts & BLOCK_CLOSED) != 0) {
            expected = BLOCK_FROM_CLOSED;
        } else if ((facts & BLOCK_ROW_CLOSED) != 0) {
            expected = (facts & BLOCK_READABLE) != 0 ? BLOCK_FROM_MEMBER : BLOCK_DERIVED;
        }
        ck_assert_uint_eq(recovery_table_find(&recovery_block_table, facts)->decision, expected);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recovery_cases");
    TCase *all = tcase_create("all tables");
    TCase *each = tcase_create("each table");

    tcase_add_test(all, every_combination_fits_exactly_one_case);
    tcase_add_test(all, every_case_is_reached_and_has_a_label_of_its_own);
    tcase_add_test(each, only_a_whole_unit_is_taken);
    tcase_add_test(each, only_a_valid_unit_ahead_proves_damage);
    tcase_add_test(each, closed_data_goes_to_the_members_and_open_data_stays);
    tcase_add_test(each, a_block_comes_from_its_newest_layer);
    suite_add_tcase(suite, all);
    suite_add_tcase(suite, each);
    return kit_run(suite);
}
