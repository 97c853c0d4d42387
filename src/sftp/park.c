/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A server process holds so many handles and no more. Where it refuses another one, files that are
 * only read and rest are parked: their handles are closed, and opened again when they are needed.
 * Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/engine.h"

#define PARK_COUNT   16u /* handles given back at a time */
#define PLENTY_COUNT 8u  /* no server has so few that fewer than this are too many */

struct unpark_op {
	struct fxp_order_op name; /* the file must not lose its name meanwhile */
	struct fxp_order_op node; /* what is asked of the file waits */
	struct be_file *file;
	unsigned waiting; /* orders that have not said ready */
	bool again;       /* others were parked for it */
	char path[];
};

static bool can_park(const struct fxp_backend *fb, const struct be_file *f)
{
	const struct fxp_node *n = f->node;
	char path[8192];

	return f->handle.len && f->handle.epoch == fb->client.epoch && f->flags == BE_READ &&
	       !f->closed && !f->stale && !f->io_count && !f->near.len && !n->dirty &&
	       !n->write_count && !n->change_count && n->known.valid &&
	       fxp_file_where(f, path, sizeof(path)) == 0;
}

static bool is_short_of_handles(const struct fxp_backend *fb, uint32_t lane)
{
	uint64_t most = fb->client.limits.handle_count, count = 0;

	list_for_each(e, &fb->files) {
		const struct fxp_handle *h = &list_entry(e, const struct be_file, entry)->handle;

		count += h->len && h->epoch == fb->client.epoch && h->lane == lane;
	}
	return most ? count + PARK_COUNT >= most : count >= PLENTY_COUNT;
}

unsigned fxp_park_some(struct fxp_backend *fb, uint32_t lane)
{
	unsigned count = 0;

	if (!is_short_of_handles(fb, lane))
		return 0;
	/* Those used least recently come first. */
	list_for_each(e, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);

		if (f->handle.lane != lane || !can_park(fb, f))
			continue;
		fxp_handle_close(fb, &f->handle);
		f->parked = true;
		if (++count == PARK_COUNT)
			break;
	}
	log_verbose(LOG_SFTP, "lane=%u short of handles, %u given back", lane, count);
	return count;
}

static void unpark_over(struct unpark_op *op)
{
	struct be_file *f = op->file;

	f->io_count--;
	fxp_order_done(&op->name);
	fxp_order_done(&op->node);
	fxp_file_unref(f);
	free(op);
}

static void unpark_stale(struct unpark_op *op, const char *cause)
{
	struct be_file *f = op->file;

	log_error(LOG_SFTP, "\"%s\" cannot be opened again: %s", op->path, cause);
	f->stale = true;
	f->handle.epoch = 0;
	unpark_over(op);
}

static void unpark_seen(void *arg, const struct fxr_answer *answer)
{
	struct unpark_op *op = arg;
	struct be_file *f = op->file;

	if (answer->status.st.code == BE_OK && fxp_node_same(f->node, &answer->attr)) {
		unpark_over(op);
		return;
	}
	fxp_handle_close(f->fb, &f->handle);
	unpark_stale(op, answer->status.st.code == BE_OK ? "it is another file now"
	                                                 : answer->status.text);
}

static bool unpark_send(struct unpark_op *op);

static void unpark_opened(void *arg, const struct fxr_answer *answer)
{
	struct unpark_op *op = arg;
	struct be_file *f = op->file;
	struct fxr_args args = {.handle = &f->handle};
	enum be_code code = answer->status.st.code;

	if (answer->lost) {
		f->parked = true; /* given up for now; it can be asked for again */
		unpark_over(op);
		return;
	}
	if (code == BE_FAILURE && !op->again && fxp_park_some(f->fb, answer->lane)) {
		op->again = true;
		if (unpark_send(op))
			return;
	}
	if (code != BE_OK) {
		unpark_stale(op, answer->status.text);
		return;
	}
	fxp_handle_set(f->fb, &f->handle, answer);
	if (!fxp_client_submit(&f->fb->client, FXR_FSTAT, 0, &args, unpark_seen, op))
		unpark_stale(op, "out of memory");
}

static bool unpark_send(struct unpark_op *op)
{
	struct fxp_client *c = &op->file->fb->client;
	struct fxr_args args = {.path = op->path, .pflags = FXF_READ};
	char path[8192];

	/* It may have been renamed while this waited. */
	if (fxp_file_where(op->file, path, sizeof(path)) == 0)
		args.path = path;
	return fxp_client_submit(c, FXR_OPEN, fxp_client_file_lane(c, false), &args, unpark_opened,
	                         op) != NULL;
}

static void unpark_one_ready(struct unpark_op *op)
{
	if (--op->waiting)
		return;
	if (!unpark_send(op))
		unpark_stale(op, "out of memory");
}

static void name_ready(struct fxp_order_op *order)
{
	unpark_one_ready(list_entry(order, struct unpark_op, name));
}

static void node_ready(struct fxp_order_op *order)
{
	unpark_one_ready(list_entry(order, struct unpark_op, node));
}

static void unpark(struct be_file *f)
{
	struct fxp_backend *fb = f->fb;
	char path[8192];
	struct unpark_op *op = NULL;

	f->parked = false;
	if (fxp_file_where(f, path, sizeof(path)) == 0)
		op = calloc(1, sizeof(*op) + strlen(path) + 1);
	if (!op) {
		f->stale = true;
		return;
	}
	memcpy(op->path, path, strlen(path) + 1);
	op->file = f;
	fxp_file_ref(f);
	f->io_count++;
	op->name.path = op->path;
	op->name.ready = name_ready;
	op->node.change = true;
	op->node.end = UINT64_MAX;
	op->node.ready = node_ready;
	op->waiting = 3;
	if (fxp_order_add(&fb->names, &op->name))
		op->waiting--;
	if (fxp_order_add(&f->node->order, &op->node))
		op->waiting--;
	unpark_one_ready(op);
}

void fxp_file_use(struct be_file *f)
{
	list_del(&f->entry);
	list_push_back(&f->fb->files, &f->entry);
	if (f->parked)
		unpark(f);
}

void fxp_unpark_at(struct fxp_backend *fb, const char *path)
{
	char where[8192];

	list_for_each_safe(e, next, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);

		if (f->parked && fxp_file_where(f, where, sizeof(where)) == 0 &&
		    strcmp(where, path) == 0)
			unpark(f);
	}
}
