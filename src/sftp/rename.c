/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Renaming. With posix-rename it is one request. Without it, RENAME refuses an existing target:
 * then the target, unless it is a directory, is moved aside, and back if the rename fails. The
 * target is never removed first. Owner: the loop. Spec: filexfer-02 section 6.5, PROTOCOL 4.3.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/engine.h"

enum rename_step {
	RENAME_ONLY,    /* one request, its outcome is ours */
	RENAME_TRY,     /* plain RENAME, the target may be in the way */
	RENAME_LOOK,    /* what is the target */
	RENAME_ASIDE,   /* target to the name aside */
	RENAME_MOVE,    /* the rename itself */
	RENAME_RESTORE, /* aside back to the target */
	RENAME_CLEAN,   /* remove what was moved aside */
};

struct rename_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	enum be_rename_flags flags;
	enum rename_step step;
	be_status_fn *done;
	void *arg;
	struct fxp_status status; /* of the first try, then of the rename */
	const char *to;
	char *aside; /* allocated with the first step that needs it */
	char from[];
};

static void rename_done(void *arg, const struct fxr_answer *answer);

static void rename_finish(struct rename_op *op)
{
	if (op->status.st.code == BE_OK) {
		fxp_made_del(op->fb, op->from);
		fxp_made_add(op->fb, op->to);
		fxp_files_moved(op->fb, op->from, op->to);
	}
	fxp_order_done(&op->order);
	op->done(op->arg, &op->status.st);
	free(op->aside);
	free(op);
}

static bool rename_send(struct rename_op *op, enum rename_step step, enum fxr_kind kind,
                        const char *path, const char *path2)
{
	struct fxr_args args = {.path = path, .path2 = path2};

	op->step = step;
	return fxp_client_submit(&op->fb->client, kind, 0, &args, rename_done, op) != NULL;
}

/* A name next to the target that nobody else uses. */
static bool make_aside(struct rename_op *op)
{
	const char *slash = strrchr(op->to, '/');
	int dir_len = slash ? (int)(slash - op->to) + 1 : 0;
	uint64_t tag =
	    hash_u64((uint64_t)op->fb->clock->wall_ms ^ (op->fb->client.next_seq << 44)) ^
	    hash_bytes(op->to, strlen(op->to), 0);

	if (asprintf(&op->aside, "%.*s.sftpfs-%016llx", dir_len, op->to, (unsigned long long)tag) <
	    0)
		op->aside = NULL;
	return op->aside != NULL;
}

static bool may_be_in_the_way(const struct be_status *st)
{
	return st->code == BE_FAILURE || st->code == BE_PERMISSION_DENIED ||
	       (st->code == BE_ERRNO && st->err == EEXIST);
}

/* Return: false when the operation is over. */
static bool rename_next(struct rename_op *op, const struct fxr_answer *answer)
{
	const struct be_status *st = &answer->status.st;
	bool ok = st->code == BE_OK;

	switch (op->step) {
	case RENAME_ONLY:
		fxp_status_copy(&op->status, st);
		return false;
	case RENAME_TRY:
		fxp_status_copy(&op->status, st);
		return may_be_in_the_way(st) &&
		       rename_send(op, RENAME_LOOK, FXR_LSTAT, op->to, NULL);
	case RENAME_LOOK:
		if (!ok || !(answer->attr.valid & BE_ATTR_MODE) || S_ISDIR(answer->attr.mode))
			return false;
		return make_aside(op) &&
		       rename_send(op, RENAME_ASIDE, FXR_RENAME, op->to, op->aside);
	case RENAME_ASIDE:
		return ok && rename_send(op, RENAME_MOVE, FXR_RENAME, op->from, op->to);
	case RENAME_MOVE:
		fxp_status_copy(&op->status, st);
		if (ok)
			return rename_send(op, RENAME_CLEAN, FXR_REMOVE, op->aside, NULL);
		return rename_send(op, RENAME_RESTORE, FXR_RENAME, op->aside, op->to);
	case RENAME_RESTORE:
	case RENAME_CLEAN:
		if (!ok)
			log_error(LOG_SFTP, "rename left \"%s\" behind: %s", op->aside, st->text);
		return false;
	}
	return false;
}

static void rename_done(void *arg, const struct fxr_answer *answer)
{
	struct rename_op *op = arg;

	if (!rename_next(op, answer))
		rename_finish(op);
}

static bool rename_begin(struct rename_op *op)
{
	bool sent;

	if (op->flags == BE_RENAME_NOREPLACE)
		sent = rename_send(op, RENAME_ONLY, FXR_RENAME, op->from, op->to);
	else if (fxp_ext_has(op->fb->client.exts, EXT_POSIX_RENAME))
		sent = rename_send(op, RENAME_ONLY, FXR_POSIX_RENAME, op->from, op->to);
	else
		sent = rename_send(op, RENAME_TRY, FXR_RENAME, op->from, op->to);
	if (sent)
		fxp_order_sent(&op->order);
	return sent;
}

static void rename_ready(struct fxp_order_op *order)
{
	struct rename_op *op = list_entry(order, struct rename_op, order);

	if (rename_begin(op))
		return;
	fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
	rename_finish(op);
}

int fxp_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
               be_status_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	size_t from_size = strlen(from) + 1, to_size = strlen(to) + 1;
	struct rename_op *op = calloc(1, sizeof(*op) + from_size + to_size);
	bool one_step =
	    flags == BE_RENAME_NOREPLACE || fxp_ext_has(fb->client.exts, EXT_POSIX_RENAME);

	if (!op)
		return -ENOMEM;
	op->fb = fb;
	op->flags = flags;
	op->done = done;
	op->arg = arg;
	memcpy(op->from, from, from_size);
	op->to = memcpy(op->from + from_size, to, to_size);
	op->order.path = op->from;
	op->order.path2 = op->to;
	op->order.change = true;
	op->order.stream = one_step ? fb->client.meta : NULL;
	op->order.ready = rename_ready;
	fxp_unpark_at(fb, to);
	if (!fxp_order_add(&fb->names, &op->order) || rename_begin(op))
		return 0;
	fxp_order_done(&op->order);
	free(op);
	return -ENOMEM;
}
