/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests by path that change nothing: stat, readlink, statvfs, check-file. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

struct look_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	enum fxr_kind kind;
	union {
		be_attr_fn *attr;
		be_path_fn *path;
		be_statvfs_fn *statvfs;
		be_hash_fn *hash;
	} done;
	void *arg;
	char path[];
};

static void look_finish(struct look_op *op, const struct fxr_answer *answer)
{
	const struct be_status *st = &answer->status.st;
	bool ok = st->code == BE_OK;

	fxp_order_done(&op->order);
	if (op->kind == FXR_READLINK)
		op->done.path(op->arg, st, ok ? answer->path.bytes : NULL, answer->path.len);
	else if (op->kind == FXR_STATVFS)
		op->done.statvfs(op->arg, st, ok ? &answer->statvfs : NULL);
	else if (op->kind == FXR_CHECK_FILE)
		op->done.hash(op->arg, st, ok ? answer->hash : NULL);
	else
		op->done.attr(op->arg, st, ok ? &answer->attr : NULL);
	free(op);
}

static void look_done(void *arg, const struct fxr_answer *answer)
{
	look_finish(arg, answer);
}

static bool look_send(struct look_op *op)
{
	struct fxr_args args = {.path = op->path};

	if (!fxp_client_submit(&op->fb->client, op->kind, 0, &args, look_done, op))
		return false;
	fxp_order_sent(&op->order);
	return true;
}

static void look_ready(struct fxp_order_op *order)
{
	struct look_op *op = list_entry(order, struct look_op, order);
	struct fxr_answer answer = {0};

	if (look_send(op))
		return;
	fxp_status_set(&answer.status, BE_ERRNO, ENOMEM, "");
	look_finish(op, &answer);
}

static int look_start(struct look_op *op)
{
	struct fxp_backend *fb = op->fb;

	op->order.path = op->path;
	op->order.stream = op->kind == FXR_CHECK_FILE ? NULL : fb->client.meta;
	op->order.ready = look_ready;
	if (!fxp_order_add(&fb->names, &op->order) || look_send(op))
		return 0;
	fxp_order_done(&op->order);
	free(op);
	return -ENOMEM;
}

static struct look_op *look_create(struct backend *b, enum fxr_kind kind, const char *path,
                                   void *arg)
{
	size_t size = strlen(path) + 1;
	struct look_op *op = calloc(1, sizeof(*op) + size);

	if (!op)
		return NULL;
	op->fb = fxp_backend_of(b);
	op->kind = kind;
	op->arg = arg;
	memcpy(op->path, path, size);
	return op;
}

int fxp_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg)
{
	struct look_op *op = look_create(b, follow ? FXR_STAT : FXR_LSTAT, path, arg);

	if (!op)
		return -ENOMEM;
	op->done.attr = done;
	return look_start(op);
}

int fxp_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg)
{
	struct look_op *op = look_create(b, FXR_READLINK, path, arg);

	if (!op)
		return -ENOMEM;
	op->done.path = done;
	return look_start(op);
}

int fxp_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg)
{
	struct look_op *op = look_create(b, FXR_STATVFS, path, arg);

	if (!op)
		return -ENOMEM;
	op->done.statvfs = done;
	return look_start(op);
}

int fxp_hash(struct backend *b, const char *path, be_hash_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct look_op *op;

	if (!fxp_ext_has(fb->client.exts, EXT_CHECK_FILE) && fb->hasher)
		return fb->hasher->hash(fb->hasher->ctx, path, done, arg);
	op = look_create(b, FXR_CHECK_FILE, path, arg);
	if (!op)
		return -ENOMEM;
	op->done.hash = done;
	return look_start(op);
}
