/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Intrusive doubly linked lists. A head and a detached node both point to themselves. */
#ifndef R5FS_BASE_LIST_H
#define R5FS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

/* The structure that embeds `member` at `pointer`. */
#define container_of(pointer, type, member) \
    ((type *)(void *)(((char *)(pointer)) - offsetof(type, member)))

static inline void list_init(struct list_node *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool list_is_empty(const struct list_node *head)
{
    return head->next == head;
}

/* Whether a node that was list_init()ed is on some list. */
static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != node;
}

static inline void
list_insert_between(struct list_node *node, struct list_node *before, struct list_node *after)
{
    node->prev = before;
    node->next = after;
    before->next = node;
    after->prev = node;
}

static inline void list_add_head(struct list_node *head, struct list_node *node)
{
    list_insert_between(node, head, head->next);
}

static inline void list_add_tail(struct list_node *head, struct list_node *node)
{
    list_insert_between(node, head->prev, head);
}

/* Takes the node off its list; harmless on a detached node. */
static inline void list_remove(struct list_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

static inline struct list_node *list_first(const struct list_node *head)
{
    return list_is_empty(head) ? NULL : head->next;
}

static inline struct list_node *list_pop(struct list_node *head)
{
    struct list_node *node = list_first(head);
    if (node != NULL) {
        list_remove(node);
    }
    return node;
}

/* Moves all nodes of `from` to the tail of `to`; `from` is empty afterwards. */
static inline void list_splice_tail(struct list_node *to, struct list_node *from)
{
    if (!list_is_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

#define list_for_each(node, head) \
    for (struct list_node * (node) = (head)->next; (node) != (head); (node) = (node)->next)

/* The body may take `node` off the list. */
#define list_for_each_safe(node, after, head)                                                 \
    for (struct list_node * (node) = (head)->next, *(after) = (node)->next; (node) != (head); \
         (node) = (after), (after) = (node)->next)

#endif
