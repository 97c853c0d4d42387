/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * READs that left together with the OPEN, by the handle that it was predicted to bring. A read() of
 * bytes that are coming waits for them; where another handle came, or the READ failed, it is sent as
 * any other. What came is kept until it was read to its end, and forgotten when the file is closed or
 * changed by us. Owner: the loop.
 */
#include <stdlib.h>

#include "sftp/engine.h"

struct fxp_ahead {
	struct list entry; /* file->ahead */
	struct be_file *file;
	struct fxp_handle handle;
	struct fxr *request; /* NULL: answered */
	uint64_t off;
	size_t len;
	struct data *block;
	size_t block_off, got_len;
	struct list waits; /* struct fxp_ahead_wait */
};

static void ahead_free(struct fxp_ahead *a)
{
	list_del(&a->entry);
	data_unref(a->block);
	free(a);
}

/* Return: true when the bytes are there. */
static bool serve(const struct fxp_ahead *a, struct fxp_ahead_wait *w)
{
	if (!a->block || w->off + w->len > a->off + a->got_len)
		return false;
	w->block = data_ref(a->block);
	w->block_off = a->block_off + (size_t)(w->off - a->off);
	return true;
}

static void ahead_read(void *arg, const struct fxr_answer *answer)
{
	struct fxp_ahead *a = arg;
	struct fxp_backend *fb = a->file->fb;
	bool to_the_end = false;
	struct list waits;

	a->request = NULL;
	if (answer->status.st.code == BE_OK && a->file->ahead_good) {
		a->block = data_ref(answer->data.block);
		a->block_off = answer->data.off;
		a->got_len = answer->data.len;
	}
	list_init(&waits);
	list_splice(&waits, &a->waits);
	list_for_each(e, &waits) {
		struct fxp_ahead_wait *w = list_entry(e, struct fxp_ahead_wait, entry);

		to_the_end |= serve(a, w) && w->off + w->len == a->off + a->got_len;
	}
	if (!a->block || to_the_end)
		ahead_free(a);
	while (!list_empty(&waits)) {
		struct fxp_ahead_wait *w = list_entry(waits.next, struct fxp_ahead_wait, entry);

		list_del(&w->entry);
		w->done(w);
	}
	fxp_io_pump(fb); /* it had its place in the window */
}

void fxp_ahead_ask(struct be_file *f, const struct fxp_handle *handle, size_t len)
{
	struct fxp_client *c = &f->fb->client;
	struct fxr_args args = {0};

	f->ahead_good = false;
	f->ahead_change = f->node->change_seq;
	/* What is being written may not be there yet. */
	if (f->node->write_count || f->node->change_count)
		return;
	for (uint64_t off = 0; off < len; off += c->read_len_max) {
		struct fxp_ahead *a = calloc(1, sizeof(*a));

		if (!a)
			return;
		a->file = f;
		a->handle = *handle;
		a->off = off;
		a->len = len - off < c->read_len_max ? (size_t)(len - off) : c->read_len_max;
		list_init(&a->waits);
		args.handle = &a->handle;
		args.off = off;
		args.len = a->len;
		a->request = fxp_client_submit(c, FXR_READ, 0, &args, ahead_read, a);
		if (!a->request) {
			free(a);
			return;
		}
		list_push_back(&f->ahead, &a->entry);
	}
}

void fxp_ahead_opened(struct be_file *f, bool hit)
{
	f->ahead_good = hit;
}

void fxp_ahead_drop(struct be_file *f)
{
	list_for_each_safe(e, next, &f->ahead) {
		struct fxp_ahead *a = list_entry(e, struct fxp_ahead, entry);

		if (!list_empty(&a->waits))
			continue;
		if (a->request)
			fxp_client_abandon(&f->fb->client, a->request);
		ahead_free(a);
	}
}

void fxp_ahead_deliver(void *arg)
{
	struct fxp_backend *fb = arg;

	while (!list_empty(&fb->ahead_ready)) {
		struct fxp_ahead_wait *w =
		    list_entry(fb->ahead_ready.next, struct fxp_ahead_wait, entry);

		list_del(&w->entry);
		w->done(w);
	}
}

bool fxp_ahead_take(struct be_file *f, struct fxp_ahead_wait *w)
{
	struct fxp_backend *fb = f->fb;

	if (list_empty(&f->ahead))
		return false;
	if (f->ahead_change != f->node->change_seq) {
		fxp_ahead_drop(f);
		return false;
	}
	list_for_each(e, &f->ahead) {
		struct fxp_ahead *a = list_entry(e, struct fxp_ahead, entry);

		if (w->off < a->off || w->off + w->len > a->off + a->len)
			continue;
		if (a->request) {
			list_push_back(&a->waits, &w->entry);
			return true;
		}
		if (!serve(a, w))
			return false;
		if (w->off + w->len == a->off + a->got_len)
			ahead_free(a);
		list_push_back(&fb->ahead_ready, &w->entry);
		timer_set(fb->clock, &fb->ahead_timer, fb->clock->now_ms);
		return true;
	}
	return false;
}
