/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Removing and replacing names: a server that holds nothing open for us forgets the bytes, so what
 * is still open here is fetched first. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

struct end_op {
	struct scp_backend *sb;
	struct content *c;    /* referenced; whose name goes; or NULL */
	struct content *from; /* referenced; that is renamed; or NULL */
	be_status_fn *done;
	void *arg;
	enum be_rename_flags flags;
	const char *to; /* NULL: remove */
	char path[];
};

static void end_free(struct end_op *op)
{
	if (op->c)
		content_unref(op->c);
	if (op->from)
		content_unref(op->from);
	free(op);
}

static void ended(void *arg, const struct be_status *st)
{
	struct end_op *op = arg;

	if (st->code == BE_OK && op->c) {
		bool last = !(op->c->base.valid & BE_ATTR_NLINK) || op->c->base.nlink <= 1;

		op->c->unlinked = op->c->unlinked || last;
		if (!last)
			op->c->base.nlink--;
	}
	if (st->code == BE_OK && op->from && op->from->path) {
		free(op->from->path);
		op->from->path = strdup(op->to);
	}
	op->done(op->arg, st);
	end_free(op);
}

static int end_send(struct end_op *op)
{
	struct backend *in = op->sb->inner;

	if (op->to)
		return in->ops->rename(in, op->path, op->to, op->flags, ended, op);
	return in->ops->remove(in, op->path, ended, op);
}

static void end_ready(void *arg)
{
	struct end_op *op = arg;
	const struct be_status oom = {.code = BE_ERRNO, .err = ENOMEM, .text = ""};

	if (end_send(op) == 0)
		return;
	op->done(op->arg, &oom);
	end_free(op);
}

static int end_start(struct scp_backend *sb, const char *path, const char *to,
                     enum be_rename_flags flags, be_status_fn *done, void *arg)
{
	size_t len = strlen(path) + 1, to_len = to ? strlen(to) + 1 : 0;
	struct end_op *op = calloc(1, sizeof(*op) + len + to_len);
	bool needs_bytes;
	int err;

	if (!op)
		return -ENOMEM;
	op->sb = sb;
	op->done = done;
	op->arg = arg;
	op->flags = flags;
	memcpy(op->path, path, len);
	if (to)
		op->to = memcpy(op->path + len, to, to_len);
	op->c = content_at(sb, to ? to : path);
	op->from = to ? content_at(sb, path) : NULL;
	if (op->c)
		content_ref(op->c);
	if (op->from)
		content_ref(op->from);
	needs_bytes = op->c && flags == BE_RENAME_REPLACE && !list_empty(&op->c->files) &&
	              scp_ranges_gap(&op->c->have, 0) < op->c->remote_len;
	err = needs_bytes ? content_fill(op->c, end_ready, op) : end_send(op);
	if (err)
		end_free(op);
	return err;
}

int scp_remove(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	return end_start(scp_of(b), path, NULL, BE_RENAME_REPLACE, done, arg);
}

int scp_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
               be_status_fn *done, void *arg)
{
	return end_start(scp_of(b), from, to, flags, done, arg);
}
