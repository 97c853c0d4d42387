/* SPDX-License-Identifier: BSD-2-Clause */
/* Order between lanes. */
#include <string.h>

#include "check_main.h"
#include "sftp/order.h"

static struct fxp_order order;
static char went[64]; /* the names of the operations that were made ready later */

struct op {
	struct fxp_order_op order;
	char name;
};

static void ready(struct fxp_order_op *o)
{
	struct op *op = list_entry(o, struct op, order);
	size_t len = strlen(went);

	went[len] = op->name;
	went[len + 1] = '\0';
	fxp_order_sent(o);
}

static void begin(void)
{
	fxp_order_init(&order);
	went[0] = '\0';
}

/* Adds and, when it may go, sends. */
static bool add_range(struct op *op, char name, bool change, const void *stream, uint64_t start,
                      uint64_t end)
{
	*op = (struct op){.name = name};
	op->order.change = change;
	op->order.stream = stream;
	op->order.start = start;
	op->order.end = end;
	op->order.ready = ready;
	if (!fxp_order_add(&order, &op->order))
		return false;
	fxp_order_sent(&op->order);
	return true;
}

static bool add_path(struct op *op, char name, bool change, const void *stream, const char *path,
                     const char *path2)
{
	*op = (struct op){.name = name};
	op->order.change = change;
	op->order.stream = stream;
	op->order.path = path;
	op->order.path2 = path2;
	op->order.ready = ready;
	if (!fxp_order_add(&order, &op->order))
		return false;
	fxp_order_sent(&op->order);
	return true;
}

static const int lane1, lane2;

START_TEST(overlap)
{
	/* overlapping ranges on different lanes wait for each other, others do not */
	struct op a, b, c, d;

	begin();
	ck_assert(add_range(&a, 'a', true, &lane1, 0, 10));
	ck_assert(add_range(&b, 'b', true, &lane2, 10, 20));
	ck_assert(!add_range(&c, 'c', true, &lane2, 9, 11));
	ck_assert(!add_range(&d, 'd', false, &lane1, 5, 10));
	fxp_order_done(&a.order);
	ck_assert_str_eq(went, "c");
	fxp_order_done(&c.order);
	ck_assert_str_eq(went, "cd");
	fxp_order_done(&b.order);
	fxp_order_done(&d.order);
}
END_TEST

START_TEST(same_stream)
{
	/* on one lane and handle nothing waits: the server keeps the order */
	struct op a, b, c;

	begin();
	ck_assert(add_range(&a, 'a', true, &lane1, 0, 10));
	ck_assert(add_range(&b, 'b', true, &lane1, 0, 10));
	ck_assert(add_range(&c, 'c', false, &lane1, 0, UINT64_MAX));
	fxp_order_done(&b.order);
	fxp_order_done(&a.order);
	fxp_order_done(&c.order);
}
END_TEST

START_TEST(unsent)
{
	/* the next of a stream waits until the one before it has been sent, not answered */
	struct op a, b;

	begin();
	a = (struct op){.name = 'a'};
	a.order = (struct fxp_order_op){
	    .change = true, .stream = &lane1, .start = 0, .end = 10, .ready = ready};
	ck_assert(fxp_order_add(&order, &a.order));
	ck_assert(!add_range(&b, 'b', true, &lane1, 0, UINT64_MAX));
	ck_assert_str_eq(went, "");
	fxp_order_sent(&a.order);
	ck_assert_str_eq(went, "b");
	fxp_order_done(&a.order);
	fxp_order_done(&b.order);
}
END_TEST

START_TEST(barrier)
{
	/* a barrier waits for all lanes, and what comes behind it waits for the barrier */
	struct op a, b, all, c;

	begin();
	ck_assert(add_range(&a, 'a', true, &lane1, 0, 10));
	ck_assert(add_range(&b, 'b', true, &lane2, 10, 20));
	ck_assert(!add_range(&all, '|', true, &lane1, 0, UINT64_MAX));
	ck_assert(!add_range(&c, 'c', false, &lane2, 100, 110));
	fxp_order_done(&a.order);
	ck_assert_str_eq(went, "");
	fxp_order_done(&b.order);
	ck_assert_str_eq(went, "|");
	fxp_order_done(&all.order);
	ck_assert_str_eq(went, "|c");
	fxp_order_done(&c.order);
}
END_TEST

START_TEST(looks)
{
	/* reads of the same bytes never wait for each other */
	struct op a, b;

	begin();
	ck_assert(add_range(&a, 'a', false, &lane1, 0, 10));
	ck_assert(add_range(&b, 'b', false, &lane2, 0, 10));
	fxp_order_done(&a.order);
	fxp_order_done(&b.order);
}
END_TEST

START_TEST(names)
{
	/* names conflict when equal or when one lies below the other */
	static const struct {
		const char *a, *a2, *b;
		bool conflict;
	} cases[] = {
	    {"/a", NULL, "/a", true},   {"/a", NULL, "/ab", false},    {"/ab", NULL, "/a", false},
	    {"/a", NULL, "/a/b", true}, {"/a/b", NULL, "/a", true},    {"/", NULL, "/x", true},
	    {"/x", NULL, "/", true},    {"/a/b", NULL, "/a/c", false}, {"/a", "/b", "/b/c", true},
	    {"/a", "/b", "/c", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct op a, b;

		begin();
		ck_assert(add_path(&a, 'a', true, &lane1, cases[i].a, cases[i].a2));
		ck_assert_msg(add_path(&b, 'b', false, &lane2, cases[i].b, NULL) !=
		                  cases[i].conflict,
		              "case %zu", i);
		fxp_order_done(&a.order);
		fxp_order_done(&b.order);
	}
}
END_TEST

START_TEST(several_steps)
{
	/* an operation of several steps lets nothing pass, not even on its own lane */
	struct op a, b;

	begin();
	ck_assert(add_path(&a, 'a', true, NULL, "/a", "/b"));
	ck_assert(!add_path(&b, 'b', true, &lane1, "/a", NULL));
	fxp_order_done(&a.order);
	ck_assert_str_eq(went, "b");
	fxp_order_done(&b.order);
	/* a second time is harmless */
	fxp_order_done(&b.order);
}
END_TEST

START_TEST(move)
{
	/* an operation may change lanes only where nothing it depends on is still under way */
	struct op a, b, c;

	begin();
	ck_assert(add_range(&a, 'a', true, &lane1, 0, 10));
	b = (struct op){.name = 'b'};
	b.order = (struct fxp_order_op){
	    .change = true, .stream = &lane1, .start = 5, .end = 15, .ready = ready};
	ck_assert(fxp_order_add(&order, &b.order));
	ck_assert(!fxp_order_move(&b.order, &lane2));
	c = (struct op){.name = 'c'};
	c.order = (struct fxp_order_op){
	    .change = true, .stream = &lane1, .start = 20, .end = 30, .ready = ready};
	ck_assert(fxp_order_add(&order, &c.order));
	ck_assert(fxp_order_move(&c.order, &lane2));
	fxp_order_done(&a.order);
	ck_assert(fxp_order_move(&b.order, &lane2));
	fxp_order_done(&b.order);
	fxp_order_done(&c.order);
}
END_TEST

CHECK_MAIN("order", overlap, same_stream, unsent, barrier, looks, names, several_steps, move)
