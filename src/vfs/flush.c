/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flush and fsync: the end of write-behind. They wait for every answer of the server, ask what the
 * file is now, and report the first failure. Contract: include/vfs/vfs.h, include/vfs/file.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "vfs/append.h"
#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/kept.h"
#include "vfs/listing.h"
#include "vfs/verify.h"
#include "vfs/whole.h"

void file_op_answered(struct op *op)
{
	struct vfs *v = op->v;
	struct vfs_req *req;
	size_t len = op->len;
	int err;

	if (--op->pending)
		return;
	if (!op->err && op->kind == OP_HASH) {
		verify_hash(op);
		return;
	}
	err = op->err ? op->err : file_take_error(op->file);
	if (!err && op->kind == OP_FLUSH && verify_flush(op))
		return;
	if (err || op->kind != OP_WRITE) {
		op_fail(op, err);
		return;
	}
	req = op_take_req(op);
	op_free(op);
	if (req)
		v->replies->written(req, len);
}

void file_op_wait(struct op *op)
{
	if (op->node->unacked_count) {
		op->pending++;
		list_push_back(&op->node->drain_waiters, &op->wait);
	}
	file_op_answered(op); /* the pending count that op_on_file() began with */
}

void file_op_synced(void *arg, const struct be_status *st)
{
	struct op *op = arg;
	bool lenient = st->code == BE_UNSUPPORTED && !op->v->cfg.fsync_strict;

	if (st->code != BE_OK && !lenient && !op->err) {
		const struct errno_query q = {.kind = OP_FSYNC};
		int err = errno_first(&q, st);

		op->err = err < 0 ? err : -EIO;
	}
	file_op_answered(op);
}

/* A flush has ended with the server's own word on what the file is now. */
static void settle(struct vfs *v, struct node *n, const struct be_attr *a, int64_t asked_ms,
                   bool times_sent)
{
	bool whole = a->size == n->attr.size && !n->torn;

	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (f->gather)
			return; /* written to meanwhile: the next flush ends it */
	}
	if (!whole)
		kept_drop(n);
	n->dirty = false;
	n->mtime_shown = false;
	n->times_set = false;
	n->torn = false;
	node_changed(v, n);
	attr_update(v, n, a, n->change_count, asked_ms);
	n->pages =
	    (struct version){.size = a->size, .mtime = a->mtime, .known = true, .proven = whole};
	if (whole)
		whole_settled(n, a, asked_ms, !times_sent);
	listing_show(v, n, a);
}

/* The question, behind the last WRITE of a flush, what the file is now. */
struct settling {
	struct vfs *v;
	struct node *node; /* referenced */
	struct op *op;     /* that waits for the answer, or NULL */
	bool times_set;    /* by a program, who is told when that fails */
	uint64_t change_count;
	int64_t asked_ms;
};

static void settled(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct settling *s = arg;
	struct node *n = s->node;

	n->settling_count--;
	/* The count tells whether a write came in after the question: then ours is newer. */
	if (st->code == BE_OK && a && n->change_count == s->change_count)
		settle(s->v, n, a, s->asked_ms, s->op != NULL);
	else
		file_settle_unused(s->v, n);
	if (s->times_set && st->code != BE_OK && !s->op->err) {
		const struct errno_query q = {.kind = OP_SETATTR};
		int err = errno_first(&q, st);

		s->op->err = err < 0 ? err : -EIO;
	}
	if (s->op)
		file_op_answered(s->op);
	node_unref(s->v, n);
	free(s);
}

/* All of the node, but what others may be in the middle of writing: their own close sends that. */
static void send_for_flush(struct op *op)
{
	list_for_each(e, &op->node->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (f == op->file || !append_goes_on(f, op->req ? op->req->pid : 0))
			file_send(f);
	}
}

/*
 * Sends what is gathered and asks, behind it, what the file is now; close does not wait for that.
 * Times that a program has set, and a made-up mtime that one has seen, become the file's, and for
 * this close waits: what git noted between write and close must stay true.
 */
static void flush_send(struct op *op)
{
	struct vfs *v = op->v;
	struct file *f = op->file;
	struct node *n = f->node;
	const struct be_attr times = file_times(n);
	bool set = n->mtime_shown || n->times_set;
	struct settling *s = malloc(sizeof(*s));
	int err;

	send_for_flush(op);
	if (!s)
		return;
	*s = (struct settling){
	    v, node_ref(n), set ? op : NULL, n->times_set, n->change_count, v->clock->now_ms};
	err = s->op ? v->ops->fsetattr(v->be, f->be, &times, settled, s)
	            : v->ops->fstat(v->be, f->be, settled, s);
	if (err < 0) {
		node_unref(v, n);
		free(s);
		return;
	}
	n->settling_count++;
	n->times_set = false;
	if (s->op)
		op->pending++;
}

static void delivered(void *arg, const struct be_status *st);

/* One more answer to wait for, where WRITEs are not answered by the server. */
static void deliver(struct op *op)
{
	struct vfs *v = op->v;
	int err;

	if (!v->ops->flush || (op->file->flags & O_ACCMODE) == O_RDONLY)
		return;
	err = v->ops->flush(v->be, op->file->be, delivered, op);
	if (err == 0)
		op->pending++;
	else if (!op->err)
		op->err = err;
}

static void delivery_failed(void *arg, int err)
{
	struct op *op = arg;

	op->err = op->err ? op->err : err;
	file_op_answered(op);
}

static void delivered(void *arg, const struct be_status *st)
{
	struct op *op = arg;
	struct node *n = op->node;
	char *path;
	int err;

	if (st->code == BE_OK) {
		file_op_answered(op);
		return;
	}
	op->v->write_error_count++;
	n->torn = true;
	op->file->given_up = op->req != NULL;
	path = node_path(op->v, n, NULL, &err);
	errno_resolve(op->v,
	              &(struct errno_query){.kind = OP_FLUSH, .path = path, .len = n->attr.size},
	              st, delivery_failed, op);
	free(path);
}

void file_deliver_node(struct op *op)
{
	struct file *f = file_of_node(op->node);

	op->pending = 1;
	file_send_node(op->node);
	if (f) {
		op->file = file_ref(f);
		deliver(op);
	}
	file_op_wait(op);
}

static void flush(struct op *op)
{
	struct vfs *v = op->v;

	if ((op->file->flags & O_ACCMODE) != O_RDONLY && op->node->dirty)
		flush_send(op);
	deliver(op);
	if (v->async && op->file->be && !op->err)
		op->err = async_take_error(v->async, op->file->be);
	if (op->file->wrote || op->pending > 1 || op->err)
		file_op_wait(op);
	else
		file_op_answered(op);
}

void vfs_flush(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct op *op = op_on_file(v, req, OP_FLUSH, fh);

	if (op && append_goes_on(op->file, req->pid))
		append_wait(op, op->file, flush);
	else if (op)
		flush(op);
}

void vfs_fsync(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct op *op = op_on_file(v, req, OP_FSYNC, fh);
	struct file *f;
	bool can;

	if (!op)
		return;
	can = v->ops->info(v->be)->caps.fsync;
	file_send_node(op->node);
	file_send_times(op->node);
	f = op->file->be ? op->file : file_of_node(op->node);
	if (!f) {
		op_fail(op, 0); /* read ahead, and nobody writes to it */
		return;
	}
	deliver(op);
	/* A journal waits for all that it has acknowledged, whatever the server can do. */
	if ((can || v->async) && v->ops->fsync(v->be, f->be, file_op_synced, op) == 0)
		op->pending++;
	else if (can || v->cfg.fsync_strict)
		op->err = can ? -EIO : -EOPNOTSUPP;
	file_op_wait(op);
}
