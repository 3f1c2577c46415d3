/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists, against an array of the expected order. */
#include <string.h>

#include "kit.h"
#include "r5fs/base/list.h"

struct item {
    int number;
    struct list_node node;
};

static struct list_node head;
static struct item items[8];

static void make_items(void)
{
    list_init(&head);
    for (int i = 0; i < 8; i++) {
        items[i].number = i;
        list_init(&items[i].node);
    }
}

/* The numbers on the list, both ways round, as text. */
static void assert_order(struct list_node *list, const char *expected)
{
    char forth[16] = "";
    char back[16] = "";
    size_t length = 0;

    list_for_each (node, list) {
        ck_assert_uint_lt(length, 9);
        forth[length++] = (char)('0' + container_of(node, struct item, node)->number);
    }
    ck_assert_str_eq(forth, expected);
    for (struct list_node *node = list->prev; node != list; node = node->prev) {
        ck_assert_uint_gt(length, 0);
        back[--length] = (char)('0' + container_of(node, struct item, node)->number);
    }
    ck_assert_uint_eq(length, 0);
    ck_assert_str_eq(back, expected);
}

START_TEST(head_and_tail_are_the_ends)
{
    ck_assert(list_is_empty(&head));
    ck_assert_ptr_null(list_first(&head));
    ck_assert_ptr_null(list_pop(&head));
    list_add_tail(&head, &items[1].node);
    list_add_tail(&head, &items[2].node);
    list_add_head(&head, &items[0].node);
    assert_order(&head, "012");
    ck_assert_ptr_eq(list_first(&head), &items[0].node);
    ck_assert_ptr_eq(list_pop(&head), &items[0].node);
    ck_assert(!list_is_linked(&items[0].node));
    ck_assert(list_is_linked(&items[1].node));
    assert_order(&head, "12");
}
END_TEST

START_TEST(removing_detaches_and_is_harmless_twice)
{
    for (int i = 0; i < 4; i++) {
        list_add_tail(&head, &items[i].node);
    }
    list_remove(&items[2].node);
    list_remove(&items[2].node);
    ck_assert(!list_is_linked(&items[2].node));
    assert_order(&head, "013");
    list_remove(&items[0].node);
    list_remove(&items[3].node);
    assert_order(&head, "1");
    list_remove(&items[1].node);
    ck_assert(list_is_empty(&head));
}
END_TEST

START_TEST(splice_moves_all_in_order)
{
    struct list_node other;

    list_init(&other);
    list_splice_tail(&head, &other);
    ck_assert(list_is_empty(&head));
    list_add_tail(&other, &items[0].node);
    list_splice_tail(&head, &other);
    assert_order(&head, "0");
    ck_assert(list_is_empty(&other));
    list_add_tail(&other, &items[1].node);
    list_add_tail(&other, &items[2].node);
    list_splice_tail(&head, &other);
    assert_order(&head, "012");
    assert_order(&other, "");
    list_splice_tail(&head, &other);
    assert_order(&head, "012");
}
END_TEST

START_TEST(safe_walk_survives_removal)
{
    for (int i = 0; i < 8; i++) {
        list_add_tail(&head, &items[i].node);
    }
    list_for_each_safe (node, after, &head) {
        if (container_of(node, struct item, node)->number % 2 == 0) {
            list_remove(node);
        }
    }
    assert_order(&head, "1357");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("list");
    TCase *order = tcase_create("order");

    tcase_add_checked_fixture(order, make_items, NULL);
    tcase_add_test(order, head_and_tail_are_the_ends);
    tcase_add_test(order, removing_detaches_and_is_harmless_twice);
    tcase_add_test(order, splice_moves_all_in_order);
    tcase_add_test(order, safe_walk_survives_removal);
    suite_add_tcase(suite, order);
    return kit_run(suite);
}
