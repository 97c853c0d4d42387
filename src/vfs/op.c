/* SPDX-License-Identifier: BSD-2-Clause */
/* One operation from request to answer. Contract: include/vfs/internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"

/* Failed operations that may be logged in ten seconds: a server can make every call fail. */
#define ERROR_LOG_COUNT 20

static const char *const op_kind_names[OP_KIND_COUNT] = {
    [OP_LOOKUP] = "lookup",     [OP_GETATTR] = "getattr", [OP_SETATTR] = "setattr",
    [OP_READLINK] = "readlink", [OP_MKNOD] = "mknod",     [OP_MKDIR] = "mkdir",
    [OP_UNLINK] = "unlink",     [OP_RMDIR] = "rmdir",     [OP_SYMLINK] = "symlink",
    [OP_RENAME] = "rename",     [OP_LINK] = "link",       [OP_CREATE] = "create",
    [OP_OPEN] = "open",         [OP_READ] = "read",       [OP_WRITE] = "write",
    [OP_FLUSH] = "flush",       [OP_FSYNC] = "fsync",     [OP_COPY] = "copy",
    [OP_OPENDIR] = "opendir",   [OP_READDIR] = "readdir", [OP_STATFS] = "statfs",
    [OP_HASH] = "hash",
};

struct op *op_create(struct vfs *v, struct vfs_req *req, enum op_kind kind)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		v->replies->err(req, ENOMEM);
		return NULL;
	}
	op->v = v;
	op->req = req;
	op->kind = kind;
	op->uid = req->uid;
	op->gid = req->gid;
	op->since_ms = v->clock->now_ms;
	list_init(&op->wait);
	list_push_back(&v->ops_list, &op->entry);
	req->op = op;
	return op;
}

void op_free(struct op *op)
{
	struct vfs *v = op->v;

	list_del(&op->entry);
	list_del(&op->wait);
	node_unref(v, op->node);
	node_unref(v, op->node2);
	node_unref(v, op->known);
	node_unref(v, op->shown);
	if (op->file)
		file_unref(op->file);
	free(op->path);
	free(op->path2);
	free(op->said);
	free(op);
}

struct vfs_req *op_take_req(struct op *op)
{
	struct vfs_req *req = op->req;

	if (req)
		req->op = NULL;
	op->req = NULL;
	return req;
}

void op_fail(struct op *op, int err)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);

	/* Nodes first: the answer may be the kernel's last word on them. */
	op_free(op);
	if (req)
		v->replies->err(req, -err);
}

bool op_failed_start(struct op *op, int err)
{
	if (err == 0)
		return false;
	op_fail(op, err);
	return true;
}

bool op_on_node(struct op *op, struct node *n)
{
	int err;

	if (!n) {
		op_fail(op, -ESTALE);
		return false;
	}
	op->node = node_ref(n);
	op->change_count = node_asked_count(n);
	op->path = node_path(op->v, n, NULL, &err);
	if (!op->path) {
		op_fail(op, err);
		return false;
	}
	return true;
}

bool op_on_name(struct op *op, struct node *parent, const char *name)
{
	int err;

	if (!parent) {
		op_fail(op, -ESTALE);
		return false;
	}
	op->node = node_ref(parent);
	op->change_count = parent->change_count;
	op->path = node_path(op->v, parent, name, &err);
	if (!op->path) {
		op_fail(op, err == -ESTALE ? -ENOENT : err);
		return false;
	}
	return true;
}

const char *op_name(const struct op *op)
{
	return strrchr(op->path, '/') + 1;
}

const char *op_name2(const struct op *op)
{
	return strrchr(op->path2, '/') + 1;
}

/* The server's words are kept until it is known what the program is told. */
static void note_failure(struct op *op, const struct be_status *st)
{
	struct vfs *v = op->v;

	/* An absent name is an answer, not a failure. */
	if (op->kind == OP_LOOKUP || st->code == BE_NO_SUCH_FILE || op->said)
		return;
	if (log_limit_ok(&v->error_log, v->clock->now_ms, ERROR_LOG_COUNT))
		op->said = strdup(st->text[0] ? st->text : "(nothing)");
}

static void failed_with(void *arg, int err)
{
	struct op *op = arg;

	if (op->said)
		log_info(LOG_VFS, "%s '%s' failed: %s; the server says \"%s\"",
		         op_kind_names[op->kind], op->path ? op->path : "", strerror(-err),
		         op->said);
	op_fail(op, err);
}

void op_fail_status(struct op *op, const struct be_status *st)
{
	const struct errno_query q = {
	    .kind = op->kind,
	    .uid = op->uid,
	    .flags = op->flags,
	    .path = op->path,
	    .path2 = op->path2,
	    .len = op->len,
	};

	note_failure(op, st);
	errno_resolve(op->v, &q, st, failed_with, op);
}
