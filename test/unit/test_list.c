/* SPDX-License-Identifier: BSD-2-Clause */
/* The intrusive list. */
#include <stdlib.h>

#include "check_main.h"
#include "util/list.h"

struct item {
	int value;
	struct list link;
};

static struct item items[5];

static void setup_items(void)
{
	for (int i = 0; i < 5; i++) {
		items[i].value = i;
		list_init(&items[i].link);
	}
}

/* The list as a decimal number, forward; checks on the way that `prev` mirrors `next`. */
static int list_value(struct list *head)
{
	struct list *before = head;
	int value = 0;

	list_for_each(pos, head) {
		ck_assert_ptr_eq(pos->prev, before);
		value = value * 10 + list_entry(pos, struct item, link)->value;
		before = pos;
	}
	ck_assert_ptr_eq(head->prev, before);
	return value;
}

START_TEST(push_order)
{
	/* push_back keeps arrival order and push_front reverses it */
	struct list head;

	setup_items();
	list_init(&head);
	ck_assert(list_empty(&head));
	list_push_back(&head, &items[1].link);
	list_push_back(&head, &items[2].link);
	list_push_front(&head, &items[3].link);
	list_push_front(&head, &items[4].link);
	ck_assert(!list_empty(&head));
	ck_assert_int_eq(list_value(&head), 4312);
}
END_TEST

START_TEST(insert_before)
{
	/* list_insert puts the entry before the given one */
	struct list head;

	setup_items();
	list_init(&head);
	list_push_back(&head, &items[1].link);
	list_push_back(&head, &items[3].link);
	list_insert(&items[3].link, &items[2].link);
	list_insert(&head, &items[4].link);
	ck_assert_int_eq(list_value(&head), 1234);
}
END_TEST

START_TEST(del_twice)
{
	/* deleting an entry that is on no list is harmless */
	struct list head;

	setup_items();
	list_init(&head);
	for (int i = 1; i < 4; i++)
		list_push_back(&head, &items[i].link);
	list_del(&items[2].link);
	list_del(&items[2].link);
	ck_assert(list_empty(&items[2].link));
	ck_assert_int_eq(list_value(&head), 13);
	list_del(&items[1].link);
	list_del(&items[3].link);
	ck_assert(list_empty(&head));
}
END_TEST

START_TEST(safe_iteration)
{
	/* the body of list_for_each_safe may free the entry it stands on */
	struct list head;
	int sum = 0;

	list_init(&head);
	for (int i = 1; i <= 3; i++) {
		struct item *item = malloc(sizeof(*item));

		ck_assert_ptr_nonnull(item);
		item->value = i;
		list_push_back(&head, &item->link);
	}
	list_for_each_safe(pos, tmp, &head) {
		struct item *item = list_entry(pos, struct item, link);

		sum = sum * 10 + item->value;
		list_del(pos);
		free(item);
	}
	ck_assert_int_eq(sum, 123);
	ck_assert(list_empty(&head));
}
END_TEST

START_TEST(splicing)
{
	/* splice appends in order, empties its source, and takes empty lists on either side */
	struct list a, b;

	setup_items();
	list_init(&a);
	list_init(&b);
	list_splice(&a, &b);
	ck_assert(list_empty(&a) && list_empty(&b));
	list_push_back(&b, &items[1].link);
	list_push_back(&b, &items[2].link);
	list_splice(&a, &b);
	ck_assert_int_eq(list_value(&a), 12);
	ck_assert(list_empty(&b));
	list_push_back(&b, &items[3].link);
	list_push_back(&b, &items[4].link);
	list_splice(&a, &b);
	ck_assert_int_eq(list_value(&a), 1234);
	ck_assert(list_empty(&b));
	list_splice(&a, &b);
	ck_assert_int_eq(list_value(&a), 1234);
}
END_TEST

CHECK_MAIN("list", push_order, insert_before, del_twice, safe_iteration, splicing)
