/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing files. The attributes travel with the OPEN: where the handle can be predicted an
 * FSTAT, and READs of what will be read; else an LSTAT of the path, and where that shows anything but a
 * regular file, an FSTAT of what was opened decides.
 * Owner: the loop. Spec: filexfer-02 section 6.3.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/burst.h"
#include "sftp/engine.h"
#include "sftp/stripe.h"

struct open_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	struct be_file *file;
	uint32_t flags; /* all that were asked for */
	uint32_t mode;
	uint32_t lane;
	int64_t sent_ms;
	be_open_fn *done;
	void *arg;
	unsigned pending;
	bool opened;
	size_t ahead_len;
	bool guessed;     /* what is in flight names `guess` */
	bool missed;      /* and another handle came */
	bool asked_again; /* FSTAT by the handle that came */
	struct fxp_handle guess;
	bool again; /* OPEN sent a second time, other files were parked for it */
	struct fxp_status status;
	struct be_attr attr;
	bool attr_ok;
	char path[];
};

void fxp_file_ref(struct be_file *f)
{
	f->refs++;
}

void fxp_file_unref(struct be_file *f)
{
	if (--f->refs)
		return;
	list_del(&f->entry);
	fxp_ahead_drop(f);
	fxp_stripes_destroy(f);
	fxp_node_unref(f->fb, f->node);
	free(f->path);
	free(f);
}

void fxp_handle_set(struct fxp_backend *fb, struct fxp_handle *h, const struct fxr_answer *answer)
{
	memcpy(h->bytes, answer->handle.bytes, answer->handle.len);
	h->len = answer->handle.len;
	h->lane = answer->lane;
	h->epoch = fb->client.epoch;
}

void fxp_handle_close(struct fxp_backend *fb, struct fxp_handle *h)
{
	struct fxr_args args = {.handle = h};

	if (h->len && h->epoch == fb->client.epoch)
		fxp_client_submit_setup(&fb->client, FXR_CLOSE, &args, NULL, NULL);
	h->len = 0;
}

static uint32_t pflags_of(uint32_t flags)
{
	uint32_t pflags = 0;

	pflags |= flags & BE_READ ? FXF_READ : 0;
	pflags |= flags & BE_WRITE ? FXF_WRITE : 0;
	pflags |= flags & BE_APPEND ? FXF_APPEND | FXF_WRITE : 0;
	pflags |= flags & BE_CREAT ? FXF_CREAT : 0;
	pflags |= flags & BE_TRUNC ? FXF_TRUNC : 0;
	pflags |= flags & BE_EXCL ? FXF_EXCL : 0;
	return pflags;
}

uint32_t fxp_file_pflags(const struct be_file *f)
{
	return pflags_of(f->flags);
}

int fxp_file_where(const struct be_file *f, char *path, size_t size)
{
	if (f->where && f->owner && !f->closed)
		return f->where(f->owner, path, size);
	if (strlen(f->path) >= size)
		return -ESTALE;
	memcpy(path, f->path, strlen(f->path) + 1);
	return 0;
}

static void open_finish(struct open_op *op)
{
	struct be_file *f = op->file;
	bool ok = op->status.st.code == BE_OK;

	fxp_order_done(&op->order);
	/* As when it was sent: what others have read ahead since then may be of either length. */
	f->node->change_seq += (op->flags & BE_TRUNC) != 0;
	if (ok && (op->flags & BE_CREAT))
		fxp_made_add(op->fb, op->path);
	if (ok && op->attr_ok) {
		fxp_node_seen(f->node, &op->attr);
		if (op->flags & BE_EXCL)
			fxp_made_learn(op->fb, &op->attr, op->sent_ms);
	}
	op->done(op->arg, &op->status.st, ok ? f : NULL, ok && op->attr_ok ? &op->attr : NULL);
	if (!ok)
		fxp_file_unref(f);
	free(op);
}

static void open_looked(void *arg, const struct fxr_answer *answer);

/* The path's attributes are the file's unless the path is a link or something special. */
static bool attr_is_of_file(const struct open_op *op)
{
	if (op->guessed)
		return op->attr_ok && !op->missed;
	return op->attr_ok && (op->attr.valid & BE_ATTR_MODE) && S_ISREG(op->attr.mode);
}

static void open_answered(struct open_op *op)
{
	struct fxr_args args = {.handle = &op->file->handle};

	if (--op->pending)
		return;
	if (op->status.st.code == BE_OK && !attr_is_of_file(op) && !op->asked_again) {
		op->asked_again = true;
		op->attr_ok = false;
		op->pending = 1;
		if (fxp_client_submit(&op->fb->client, FXR_FSTAT, 0, &args, open_looked, op))
			return;
	}
	open_finish(op);
}

static bool open_ask(struct open_op *op);

static void open_opened(void *arg, const struct fxr_answer *answer)
{
	struct open_op *op = arg;

	if (answer->status.st.code == BE_FAILURE && !op->again &&
	    fxp_park_some(op->fb, answer->lane)) {
		op->again = true;
		op->guessed = false;
		if (open_ask(op))
			return;
	}
	fxp_status_copy(&op->status, &answer->status.st);
	if (answer->status.st.code == BE_OK) {
		fxp_handle_set(op->fb, &op->file->handle, answer);
		op->missed = op->guessed && !fxp_burst_hit(&op->fb->client, &op->guess, answer);
		fxp_ahead_opened(op->file, op->guessed && !op->missed);
	}
	open_answered(op);
}

static void open_looked(void *arg, const struct fxr_answer *answer)
{
	struct open_op *op = arg;

	op->attr_ok = answer->status.st.code == BE_OK;
	op->attr = answer->attr;
	open_answered(op);
}

static bool open_ask(struct open_op *op)
{
	struct fxr_args args = {.path = op->path, .pflags = pflags_of(op->flags)};

	if (op->flags & BE_CREAT) {
		args.attr.valid = BE_ATTR_MODE;
		args.attr.mode = op->mode & 07777;
	}
	return fxp_client_submit(&op->fb->client, FXR_OPEN, op->lane, &args, open_opened, op) !=
	       NULL;
}

static bool open_send(struct open_op *op)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.path = op->path};

	op->sent_ms = c->clock->now_ms;
	op->guessed = fxp_burst_predict(c, op->lane, LANE_BULK, &op->guess);
	if (!open_ask(op))
		return false;
	op->pending = 1;
	args.handle = op->guessed ? &op->guess : NULL;
	if (fxp_client_submit(c, op->guessed ? FXR_FSTAT : FXR_LSTAT, op->lane, &args, open_looked,
	                      op))
		op->pending++;
	if (op->guessed)
		fxp_ahead_ask(op->file, &op->guess, op->ahead_len);
	fxp_order_sent(&op->order);
	return true;
}

static void open_ready(struct fxp_order_op *order)
{
	struct open_op *op = list_entry(order, struct open_op, order);

	if (open_send(op))
		return;
	fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
	open_finish(op);
}

static struct be_file *file_create(struct fxp_backend *fb, const char *path, uint32_t flags,
                                   uint64_t node)
{
	struct be_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->path = strdup(path);
	f->node = fxp_node_get(fb, node);
	if (!f->path || !f->node) {
		fxp_node_unref(fb, f->node);
		free(f->path);
		free(f);
		return NULL;
	}
	f->fb = fb;
	f->refs = 1;
	f->node->change_seq += (flags & BE_TRUNC) != 0;
	f->flags = flags & (BE_READ | BE_WRITE | BE_APPEND);
	list_init(&f->ahead);
	list_push_back(&fb->files, &f->entry);
	return f;
}

int fxp_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode, uint64_t node,
             size_t ahead_len, be_where_fn *where, void *owner, be_open_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct fxp_client *c = &fb->client;
	size_t size = strlen(path) + 1;
	struct open_op *op = calloc(1, sizeof(*op) + size);

	if (!op)
		return -ENOMEM;
	op->file = file_create(fb, path, flags, node);
	if (!op->file) {
		free(op);
		return -ENOMEM;
	}
	op->file->where = where;
	op->file->owner = owner;
	op->fb = fb;
	op->flags = flags;
	op->mode = mode;
	op->ahead_len = ahead_len;
	op->lane = fxp_client_file_lane(c, (flags & BE_WRITE) != 0);
	op->done = done;
	op->arg = arg;
	memcpy(op->path, path, size);
	op->order.path = op->path;
	op->order.change = (flags & (BE_CREAT | BE_TRUNC)) != 0;
	op->order.stream = op->lane ? fxp_lane_for(c, op->lane, LANE_BULK) : NULL;
	op->order.ready = open_ready;
	if (!fxp_order_add(&fb->names, &op->order) || open_send(op))
		return 0;
	fxp_order_done(&op->order);
	fxp_file_unref(op->file);
	free(op);
	return -ENOMEM;
}

void fxp_file_node(struct backend *b, struct be_file *f, uint64_t node, void *owner)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct fxp_node *n;

	f->owner = owner;
	/* What is under way keeps the order it was given. */
	if (f->node->id == node || f->io_count)
		return;
	n = fxp_node_get(fb, node);
	if (!n)
		return;
	if (!n->known.valid)
		n->known = f->node->known;
	fxp_node_unref(fb, f->node);
	f->node = n;
}

struct close_op {
	struct fxp_order_op order;
	struct be_file *file;
};

static void close_done(void *arg, const struct fxr_answer *answer)
{
	struct close_op *op = arg;

	if (answer->status.st.code != BE_OK && !answer->lost && answer->status.st.code != BE_STALE)
		log_info(LOG_SFTP, "close \"%s\": %s", op->file->path, answer->status.text);
	fxp_order_done(&op->order);
	fxp_file_unref(op->file);
	free(op);
}

static void close_ready(struct fxp_order_op *order)
{
	struct close_op *op = list_entry(order, struct close_op, order);
	struct fxr_args args = {.handle = &op->file->handle};
	struct fxr_answer answer = {.lost = true};

	fxp_stripes_close(op->file);
	fxp_handle_close(op->file->fb, &op->file->near);
	if (fxp_client_submit(&op->file->fb->client, FXR_CLOSE, 0, &args, close_done, op)) {
		fxp_order_sent(&op->order);
		return;
	}
	log_error(LOG_SFTP, "a handle stays open: out of memory");
	fxp_status_set(&answer.status, BE_LOST, 0, "");
	close_done(op, &answer);
}

static void set_path(struct be_file *f, char *path)
{
	if (!path)
		return;
	free(f->path);
	f->path = path;
}

void fxp_files_moved(struct fxp_backend *fb, const char *from, const char *to)
{
	size_t len = strlen(from);

	list_for_each(e, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);
		char *path;

		if (!f->closed || strncmp(f->path, from, len) != 0 ||
		    (f->path[len] && f->path[len] != '/'))
			continue;
		path = malloc(strlen(to) + strlen(f->path + len) + 1);
		if (path)
			strcpy(stpcpy(path, to), f->path + len);
		set_path(f, path);
	}
}

/* From now on `where` may not be asked: its owner goes. */
static void remember_path(struct be_file *f)
{
	char path[8192];

	if (f->io_count && f->where && f->owner && f->where(f->owner, path, sizeof(path)) == 0)
		set_path(f, strdup(path));
	f->closed = true;
	f->where = NULL;
	f->owner = NULL;
}

void fxp_close(struct backend *b, struct be_file *f)
{
	struct close_op *op = calloc(1, sizeof(*op));

	(void)b;
	fxp_ahead_drop(f);
	remember_path(f);
	if (!op) {
		log_error(LOG_SFTP, "a handle stays open: out of memory");
		fxp_file_unref(f);
		return;
	}
	op->file = f;
	op->order.change = true;
	op->order.end = UINT64_MAX;
	op->order.stream = &f->handle;
	op->order.ready = close_ready;
	if (fxp_order_add(&f->node->order, &op->order))
		close_ready(&op->order);
}
