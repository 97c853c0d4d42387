/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Order between requests that travel on different lanes, which have none of their own.
 *
 * An order is a queue of operations, oldest first; one may go when it conflicts with none that
 * came before it and is not answered yet. Operations of the same stream (a handle, or a lane for
 * names) are kept in order by the server once they are sent. One kind of order compares byte
 * ranges (a node), the other names (the whole tree).
 *
 * Thread: the loop.
 */
#ifndef SFTP_ORDER_H
#define SFTP_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

struct fxp_order_op;

/* The operation may be sent now. Runs from fxp_order_sent() or fxp_order_done() of another. */
typedef void fxp_order_ready_fn(struct fxp_order_op *op);

enum fxp_order_state {
	FXP_ORDER_IDLE, /* in no order */
	FXP_ORDER_WAITING,
	FXP_ORDER_READY, /* may be sent, has not been */
	FXP_ORDER_SENT,
};

struct fxp_order {
	struct list ops;
	unsigned change_count; /* of ops */
	unsigned waiting_count;
	bool scanning;
	bool scan_again;
};

struct fxp_order_op {
	struct list entry;
	struct fxp_order *order;
	enum fxp_order_state state;
	bool change;        /* false: only looks, does not conflict with other looks */
	const void *stream; /* NULL: takes several steps, in order with nothing */
	const char *path;   /* names: NULL for ranges */
	const char *path2;  /* names: NULL when there is one only */
	uint64_t start;     /* ranges: first byte */
	uint64_t end;       /* ranges: behind the last byte */
	fxp_order_ready_fn *ready;
};

void fxp_order_init(struct fxp_order *o);

/* Return: true when `op` may be sent now; else `ready` runs later. Not called from inside. */
bool fxp_order_add(struct fxp_order *o, struct fxp_order_op *op);

/*
 * Gives an op that is ready, and not sent, another stream.
 * Return: false where something before it that is not answered yet forbids that.
 */
bool fxp_order_move(struct fxp_order_op *op, const void *stream);

/* `op` has been handed to its lane: the next of its stream may follow. */
void fxp_order_sent(struct fxp_order_op *op);

/* `op` is answered or given up. Fine for an op that is in no order. */
void fxp_order_done(struct fxp_order_op *op);

#endif
