/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests by path that make or remove a name. Where the caller wants attributes an LSTAT travels
 * in the same write, right behind the change. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

struct change_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	enum fxr_kind kind;
	uint32_t mode;
	int64_t sent_ms;
	be_attr_fn *done_attr; /* one of the two is set */
	be_status_fn *done_status;
	void *arg;
	unsigned pending;
	struct fxp_status status;
	struct be_attr attr;
	bool attr_ok;
	const char *made; /* the new name: one of the two below, or NULL */
	const char *path2;
	char path[];
};

static void change_finish(struct change_op *op)
{
	struct fxp_backend *fb = op->fb;
	bool ok = op->status.st.code == BE_OK;

	if (ok && op->attr_ok && op->kind != FXR_HARDLINK)
		fxp_made_learn(fb, &op->attr, op->sent_ms);
	if (ok && op->made)
		fxp_made_add(fb, op->made);
	else if (ok)
		fxp_made_del(fb, op->path);
	fxp_order_done(&op->order);
	if (op->done_attr)
		op->done_attr(op->arg, &op->status.st, ok && op->attr_ok ? &op->attr : NULL);
	else
		op->done_status(op->arg, &op->status.st);
	free(op);
}

static void change_done(void *arg, const struct fxr_answer *answer)
{
	struct change_op *op = arg;

	fxp_status_copy(&op->status, &answer->status.st);
	if (--op->pending == 0)
		change_finish(op);
}

static void change_attr_done(void *arg, const struct fxr_answer *answer)
{
	struct change_op *op = arg;

	op->attr_ok = answer->status.st.code == BE_OK;
	op->attr = answer->attr;
	if (--op->pending == 0)
		change_finish(op);
}

static bool change_send(struct change_op *op)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.path = op->path, .path2 = op->path2};

	op->sent_ms = c->clock->now_ms;
	args.attr.mode = op->mode;
	args.attr.valid = BE_ATTR_MODE;
	if (!fxp_client_submit(c, op->kind, 0, &args, change_done, op))
		return false;
	op->pending = 1;
	if (op->made) {
		args = (struct fxr_args){.path = op->made};
		if (fxp_client_submit(c, FXR_LSTAT, 0, &args, change_attr_done, op))
			op->pending++;
	}
	fxp_order_sent(&op->order);
	return true;
}

static void change_ready(struct fxp_order_op *order)
{
	struct change_op *op = list_entry(order, struct change_op, order);

	if (change_send(op))
		return;
	fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
	change_finish(op);
}

static struct change_op *change_create(struct backend *b, enum fxr_kind kind, const char *path,
                                       const char *path2, void *arg)
{
	size_t size = strlen(path) + 1, size2 = path2 ? strlen(path2) + 1 : 0;
	struct change_op *op = calloc(1, sizeof(*op) + size + size2);

	if (!op)
		return NULL;
	op->fb = fxp_backend_of(b);
	op->kind = kind;
	op->arg = arg;
	memcpy(op->path, path, size);
	if (path2)
		op->path2 = memcpy(op->path + size, path2, size2);
	op->order.path = op->path;
	op->order.path2 = op->path2;
	return op;
}

static int change_start(struct change_op *op)
{
	struct fxp_backend *fb = op->fb;

	op->order.change = true;
	op->order.stream = fb->client.meta;
	op->order.ready = change_ready;
	if (!fxp_order_add(&fb->names, &op->order) || change_send(op))
		return 0;
	fxp_order_done(&op->order);
	free(op);
	return -ENOMEM;
}

int fxp_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg)
{
	struct change_op *op = change_create(b, FXR_MKDIR, path, NULL, arg);

	if (!op)
		return -ENOMEM;
	op->mode = mode & 07777;
	op->done_attr = done;
	op->made = op->path;
	return change_start(op);
}

int fxp_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                void *arg)
{
	struct change_op *op = change_create(b, FXR_SYMLINK, target, path, arg);

	if (!op)
		return -ENOMEM;
	op->done_attr = done;
	op->made = op->path2;
	/* The target is text, not a name that takes part in the order. */
	op->order.path = op->path2;
	op->order.path2 = NULL;
	return change_start(op);
}

int fxp_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg)
{
	struct change_op *op = change_create(b, FXR_HARDLINK, from, to, arg);

	if (!op)
		return -ENOMEM;
	op->done_attr = done;
	op->made = op->path2;
	return change_start(op);
}

int fxp_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	struct change_op *op = change_create(b, FXR_RMDIR, path, NULL, arg);

	if (!op)
		return -ENOMEM;
	op->done_status = done;
	return change_start(op);
}

int fxp_remove(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	struct change_op *op = change_create(b, FXR_REMOVE, path, NULL, arg);

	if (!op)
		return -ENOMEM;
	op->done_status = done;
	fxp_unpark_at(op->fb, path);
	return change_start(op);
}
