/* SPDX-License-Identifier: BSD-2-Clause */
/* Writers that wait for room. Contract: include/vfs/room.h. */
#include "vfs/room.h"

#include "vfs/internal.h"

/* The budget's part that writers do not use: a quarter. */
#define READERS_PART 4

/*
 * How far a writer may be ahead, in bytes, or two of the connection's windows. Without this limit a copy to a fast server
 * goes through the whole budget, all of it memory that the kernel must clear first (measured: 256 MiB to loopback took
 * 0.96 s, and 0.60 s with it).
 */
#define AHEAD_LEN_MIN (8u * 1024 * 1024)

/* Who is ahead waits no longer for one write: a fast server has taken some by then. */
#define HOLD_MS 20

static bool budget_has_room(const struct vfs *v)
{
	return budget_left(v->budget) > v->budget->max_len / READERS_PART;
}

static bool is_ahead(const struct vfs *v)
{
	return v->unacked_len >= AHEAD_LEN_MIN &&
	       v->unacked_len >= 2 * v->ops->info(v->be)->write_stream_len;
}

/* The one that has waited longest; NULL: none waits. */
static struct op *first(const struct vfs *v)
{
	return list_empty(&v->room.waiters) ? NULL
	                                    : list_entry(v->room.waiters.next, struct op, wait);
}

void room_more(struct vfs *v)
{
	struct op *op;

	while ((op = first(v)) != NULL && budget_has_room(v) &&
	       (!is_ahead(v) || v->clock->now_ms - op->since_ms >= HOLD_MS)) {
		struct vfs_req *req = op_take_req(op);
		size_t len = op->len;

		op_free(op);
		if (req)
			v->replies->written(req, len);
	}
	if (op && budget_has_room(v) && !timer_armed(&v->room.timer))
		timer_set(v->clock, &v->room.timer, op->since_ms + HOLD_MS);
}

void room_answer(struct vfs *v, struct vfs_req *req, size_t len)
{
	struct op *op;

	if (!first(v) && budget_has_room(v) && !is_ahead(v)) {
		v->replies->written(req, len);
		return;
	}
	op = op_create(v, req, OP_WRITE);
	if (!op)
		return;
	op->len = len;
	list_push_back(&v->room.waiters, &op->wait);
	room_more(v);
}

static void held_for_long(void *arg)
{
	room_more(arg);
}

void room_init(struct vfs *v)
{
	list_init(&v->room.waiters);
	timer_init(&v->room.timer, held_for_long, v);
}
