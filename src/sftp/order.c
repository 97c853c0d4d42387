/* SPDX-License-Identifier: BSD-2-Clause */
/* Order between lanes. Owner: the loop. */
#include "sftp/order.h"

#include <string.h>

void fxp_order_init(struct fxp_order *o)
{
	*o = (struct fxp_order){0};
	list_init(&o->ops);
}

/* Equal, or one is an ancestor of the other. */
static bool related(const char *a, const char *b)
{
	if (!*a || !*b)
		return true;
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (!*a && !*b)
		return true;
	if (!*a)
		return *b == '/' || a[-1] == '/';
	if (!*b)
		return *a == '/' || b[-1] == '/';
	return false;
}

static bool names_conflict(const struct fxp_order_op *a, const struct fxp_order_op *b)
{
	if (related(a->path, b->path))
		return true;
	if (a->path2 && related(a->path2, b->path))
		return true;
	if (b->path2 && related(a->path, b->path2))
		return true;
	return a->path2 && b->path2 && related(a->path2, b->path2);
}

/* The two may not change places. */
static bool dependent(const struct fxp_order_op *a, const struct fxp_order_op *b)
{
	if (!a->change && !b->change)
		return false;
	if (a->path)
		return names_conflict(a, b);
	return a->start < b->end && b->start < a->end;
}

static bool conflict(const struct fxp_order_op *earlier, const struct fxp_order_op *later)
{
	if (earlier->state == FXP_ORDER_SENT && earlier->stream && earlier->stream == later->stream)
		return false;
	return dependent(earlier, later);
}

static bool must_wait(const struct fxp_order *o, const struct fxp_order_op *op)
{
	if (!o->change_count)
		return false;
	for (const struct list *e = o->ops.next; e != &op->entry && e != &o->ops; e = e->next)
		if (conflict(list_entry(e, const struct fxp_order_op, entry), op))
			return true;
	return false;
}

bool fxp_order_add(struct fxp_order *o, struct fxp_order_op *op)
{
	op->order = o;
	list_push_back(&o->ops, &op->entry);
	o->change_count += op->change;
	if (!must_wait(o, op)) {
		op->state = FXP_ORDER_READY;
		return true;
	}
	op->state = FXP_ORDER_WAITING;
	o->waiting_count++;
	return false;
}

static struct fxp_order_op *next_ready(struct fxp_order *o)
{
	list_for_each(e, &o->ops) {
		struct fxp_order_op *op = list_entry(e, struct fxp_order_op, entry);

		if (op->state == FXP_ORDER_WAITING && !must_wait(o, op))
			return op;
	}
	return NULL;
}

static void scan(struct fxp_order *o)
{
	struct fxp_order_op *op;

	if (!o->waiting_count)
		return;
	if (o->scanning) {
		o->scan_again = true;
		return;
	}
	o->scanning = true;
	do {
		o->scan_again = false;
		while (o->waiting_count && (op = next_ready(o)) != NULL) {
			op->state = FXP_ORDER_READY;
			o->waiting_count--;
			op->ready(op);
		}
	} while (o->scan_again && o->waiting_count);
	o->scanning = false;
}

bool fxp_order_move(struct fxp_order_op *op, const void *stream)
{
	const struct fxp_order *o = op->order;

	for (const struct list *e = o->ops.next; e != &op->entry; e = e->next)
		if (dependent(list_entry(e, const struct fxp_order_op, entry), op))
			return false;
	op->stream = stream;
	return true;
}

void fxp_order_sent(struct fxp_order_op *op)
{
	if (op->state != FXP_ORDER_READY)
		return;
	op->state = FXP_ORDER_SENT;
	if (op->stream)
		scan(op->order);
}

void fxp_order_done(struct fxp_order_op *op)
{
	struct fxp_order *o = op->order;

	if (op->state == FXP_ORDER_IDLE)
		return;
	list_del(&op->entry);
	o->change_count -= op->change;
	if (op->state == FXP_ORDER_WAITING)
		o->waiting_count--;
	op->state = FXP_ORDER_IDLE;
	scan(o);
}
