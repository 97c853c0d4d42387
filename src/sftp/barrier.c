/* SPDX-License-Identifier: BSD-2-Clause */
/* FSTAT and fsync: they wait for everything on the node, on every lane. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>

#include "sftp/engine.h"

struct barrier_op {
	struct fxp_order_op order;
	struct be_file *file;
	enum fxr_kind kind;
	be_attr_fn *done_attr; /* one of the two is set */
	be_status_fn *done_status;
	void *arg;
};

static void barrier_finish(struct barrier_op *op, const struct fxr_answer *answer)
{
	struct be_file *f = op->file;
	const struct be_status *st = &answer->status.st;
	bool ok = st->code == BE_OK;

	if (ok && op->kind == FXR_FSTAT)
		fxp_node_seen(f->node, &answer->attr);
	fxp_order_done(&op->order);
	if (op->done_attr)
		op->done_attr(op->arg, st, ok ? &answer->attr : NULL);
	else
		op->done_status(op->arg, st);
	f->io_count--;
	fxp_file_unref(f);
	free(op);
}

static void barrier_done(void *arg, const struct fxr_answer *answer)
{
	barrier_finish(arg, answer);
}

static bool barrier_send(struct barrier_op *op)
{
	struct fxr_args args = {.handle = &op->file->handle};

	if (!fxp_client_submit(&op->file->fb->client, op->kind, 0, &args, barrier_done, op))
		return false;
	fxp_order_sent(&op->order);
	return true;
}

static void barrier_ready(struct fxp_order_op *order)
{
	struct barrier_op *op = list_entry(order, struct barrier_op, order);
	struct fxr_answer answer = {0};

	if (barrier_send(op))
		return;
	fxp_status_set(&answer.status, BE_ERRNO, ENOMEM, "");
	barrier_finish(op, &answer);
}

static int barrier_start(struct be_file *f, enum fxr_kind kind, be_attr_fn *done_attr,
                         be_status_fn *done_status, void *arg)
{
	struct barrier_op *op = calloc(1, sizeof(*op));

	if (!op)
		return -ENOMEM;
	fxp_file_use(f);
	op->file = f;
	op->kind = kind;
	op->done_attr = done_attr;
	op->done_status = done_status;
	op->arg = arg;
	op->order.change = kind == FXR_FSYNC;
	op->order.end = UINT64_MAX;
	op->order.stream = &f->handle;
	op->order.ready = barrier_ready;
	fxp_file_ref(f);
	f->io_count++;
	if (!fxp_order_add(&f->node->order, &op->order) || barrier_send(op))
		return 0;
	fxp_order_done(&op->order);
	f->io_count--;
	fxp_file_unref(f);
	free(op);
	return -ENOMEM;
}

int fxp_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg)
{
	(void)b;
	return barrier_start(f, FXR_FSTAT, done, NULL, arg);
}

int fxp_fsync(struct backend *b, struct be_file *f, be_status_fn *done, void *arg)
{
	(void)b;
	return barrier_start(f, FXR_FSYNC, NULL, done, arg);
}
