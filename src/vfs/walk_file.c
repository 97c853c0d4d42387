/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small files ahead of a program that reads a tree. What comes next follows from the order in which
 * it opens files (walk_order.c); how many are fetched grows with every one that was opened and
 * shrinks with every one that was not. Contract: include/vfs/walk.h.
 */
#include <stdlib.h>

#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/listing.h"
#include "vfs/walk.h"

/* Files ahead: at first, at least, and where they are more than a bandwidth-delay product. */
#define LIMIT_FIRST 8
#define LIMIT_MIN   4
#define LIMIT_MAX   64

/* Guesses before they are judged. */
#define SCORE_MIN 16

/* A file that was fetched and not opened for this long was a wrong guess. */
#define LIFE_MS 5000

/* It takes no room of those ahead any more. */
static void file_uncount(struct walk_file *f)
{
	f->walk->file_count--;
	f->walk->file_len -= f->len;
}

/* Out of the walk's accounts. */
static void file_leave(struct walk_file *f)
{
	if (!f->walk)
		return;
	list_del(&f->entry);
	if (!f->mistaken)
		file_uncount(f);
	f->walk = NULL;
}

/* Frees what is in no walk and waits for no answer. */
static void file_reap(struct walk_file *f)
{
	struct node *n = f->node;
	struct vfs *v = f->v;

	if (f->walk || f->in_flight || f->asking)
		return;
	n->walk_file = NULL;
	free(f);
	node_unref(v, n);
}

/* Not opened: the bytes go, unless they are others that we have written meanwhile. */
static void file_drop(struct walk_file *f)
{
	struct whole *c = f->node->content;

	if (!whole_is_written(f->node)) {
		f->node->content = NULL;
		whole_unref(c);
	}
	file_leave(f);
	file_reap(f);
}

static bool is_whole(const struct be_attr *a, size_t len)
{
	return attr_is_reg(a) && len && len == a->size && len <= WHOLE_LEN_MAX;
}

/* Neither changed by us since it was asked for, nor open, nor gone. */
static bool is_untouched(const struct walk_file *f)
{
	const struct node *n = f->node;

	return n->change_count == f->change_count && !n->dirty && list_empty(&n->files) &&
	       !whole_is_pinned(n) && !list_empty(&n->names);
}

static void fetched(void *arg, const struct be_status *st, const struct be_attr *a,
                    struct data *block, size_t off, size_t len)
{
	struct walk_file *f = arg;
	struct vfs *v = f->v;
	struct node *n = f->node;
	struct list waiters;

	f->in_flight = false;
	flight_land(&v->flight, &f->flight, v->clock->now_ms);
	list_init(&waiters);
	list_splice(&waiters, &f->waiters);
	if (st->code == BE_OK && is_whole(a, len) && is_untouched(f) && f->asked_ms >= n->told_ms &&
	    (f->walk || !list_empty(&waiters))) {
		if (attr_update(v, n, a, f->change_count, f->asked_ms))
			entry_content_changed(v, n);
		whole_drop(v, n);
		n->content = whole_create(v, block, off, len, a, f->asked_ms);
	} else {
		data_unref(block);
		file_leave(f); /* not to be had: no wrong guess, but nothing to wait for either */
	}
	node_ref(n);
	file_reap(f);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		open_continue(op);
	}
	node_unref(v, n);
	list_for_each(e, &v->walks)
		walk_file_pump(list_entry(e, struct walk, entry));
}

static void fetch_start(struct walk *w, struct node *n, size_t len)
{
	struct vfs *v = w->v;
	struct walk_file *f = calloc(1, sizeof(*f));
	int err;
	char *path = f ? node_path(v, n, NULL, &err) : NULL;

	if (!path)
		goto fail;
	f->v = v;
	f->walk = w;
	f->node = n;
	f->len = len;
	f->asked_ms = v->clock->now_ms;
	f->change_count = n->change_count;
	f->in_flight = true;
	list_init(&f->waiters);
	if (v->ops->fetch(v->be, path, WHOLE_LEN_MAX, fetched, f) < 0)
		goto fail;
	free(path);
	flight_ask(&v->flight, &f->flight, len, f->asked_ms);
	node_ref(n);
	n->walk_file = f;
	list_push_back(&w->files, &f->entry);
	w->file_count++;
	w->file_len += len;
	return;

fail:
	free(path);
	free(f);
}

/* What the line holds, shared among the programs that read. */
static size_t share_len(const struct vfs *v)
{
	size_t count = 0;

	list_for_each(e, &v->walks)
		count += list_entry(e, struct walk, entry)->reading;
	return v->ops->info(v->be)->stream_len / (count ? count : 1);
}

static bool has_room(const struct walk *w)
{
	const struct vfs *v = w->v;

	if (budget_left(v->budget) <= v->budget->max_len / 2)
		return false;
	if (!flight_has_room(&v->flight, v->clock->now_ms))
		return false;
	/* Which directory comes next is a guess of its own: few files until one was right. */
	if (!w->crossed && w->file_count >= LIMIT_FIRST && walk_order_leaves(w))
		return false;
	return w->file_count < w->file_limit ||
	       (w->file_limit >= LIMIT_MAX && w->file_len < share_len(v));
}

void walk_file_pump(struct walk *w)
{
	struct vfs *v = w->v;
	const struct entry *e;
	struct node *parent;
	int64_t asked_ms;

	while (w->reading && walk_has_read(w) && walk_pays(&w->file_score, SCORE_MIN) &&
	       has_room(w) && (e = walk_order_next(w, &parent, &asked_ms)) != NULL) {
		struct name *d = name_find(v, parent, e->name);
		struct node *n = d ? d->node : NULL;

		n = entry_known(v, parent, e->name, &e->attr, n, n ? n->change_count : 0, asked_ms);
		if (!n)
			continue;
		if (n->read_serial != w->serial && !n->walk_file && !n->dirty &&
		    (!n->content || (whole_is_written(n) && !whole_written_answers(v, n))) &&
		    list_empty(&n->files) && !whole_is_pinned(n) &&
		    (!v->async || async_is_settled(v->async, n)))
			fetch_start(w, n, (size_t)e->attr.size);
		node_unref(v, n);
	}
}

void walk_file_hit(struct walk *w)
{
	walk_hit(&w->file_score);
	w->file_limit += w->file_limit < LIMIT_MAX;
	walk_file_pump(w);
}

static void limit_halve(struct walk *w)
{
	if (w->file_limit > LIMIT_MIN)
		w->file_limit /= 2;
}

/*
 * They stay for their life, as the program may still come to them, but leave their room to those that are
 * guessed now. It was one error, however many followed from it.
 */
void walk_file_mistaken(struct walk *w)
{
	unsigned misses = 0;

	list_for_each(e, &w->files) {
		struct walk_file *f = list_entry(e, struct walk_file, entry);

		if (f->mistaken)
			continue;
		f->mistaken = true;
		file_uncount(f);
		if (misses++ < LIMIT_MIN)
			walk_miss(&w->file_score);
	}
	if (misses)
		limit_halve(w);
}

static bool may_be_fetched(const struct node *n)
{
	return n->attr.size > 0 && n->attr.size <= WHOLE_LEN_MAX;
}

/* A file that is opened once more, later: the program begins anew. */
static void note_opened(struct walk *w, struct node *n)
{
	if (n->read_serial == w->serial && n != w->last_opened)
		w->serial = ++w->v->walk_serial;
	n->read_serial = w->serial;
}

bool walk_opened(struct op *op, pid_t program)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct walk_file *f = n->walk_file;
	struct walk *w = v->cfg.open_window_ms > 0 ? walk_get(v, program) : NULL;
	bool hit = f && f->walk, waits = f && f->in_flight;

	if (hit) {
		file_leave(f);
		file_reap(f);
	}
	if (waits)
		list_push_back(&f->waiters, &op->wait);
	if (w && may_be_fetched(n)) {
		note_opened(w, n);
		if (walk_order_opened(w, n, hit) && !w->reading) {
			w->reading = true;
			w->file_limit = LIMIT_FIRST;
		}
		walk_file_pump(w);
	}
	return waits;
}

static void refreshed(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct walk_file *f = arg;
	struct vfs *v = f->v;
	struct node *n = f->node;

	f->asking = false;
	if (st->code == BE_OK && a && is_untouched(f)) {
		if (attr_update(v, n, a, f->change_count, f->ask_ms))
			entry_content_changed(v, n);
	}
	file_reap(f);
}

/* Asks again what the file is, so that an open of it still finds it inside the window. */
static void refresh(struct walk_file *f)
{
	struct vfs *v = f->v;
	int err;
	char *path = node_path(v, f->node, NULL, &err);

	f->ask_ms = v->clock->now_ms;
	f->asking = path && v->ops->stat(v->be, path, false, refreshed, f) == 0;
	free(path);
}

void walk_file_sweep(struct walk *w)
{
	struct vfs *v = w->v;
	int64_t now_ms = v->clock->now_ms;
	bool late = false;

	list_for_each_safe(e, tmp, &w->files) {
		struct walk_file *f = list_entry(e, struct walk_file, entry);
		const struct whole *c = f->node->content;
		int64_t told_ms = f->node->told_ms > f->asked_ms ? f->node->told_ms : f->asked_ms;
		int64_t age_ms = now_ms - f->asked_ms;

		if (f->in_flight)
			continue;
		if (!c || age_ms > LIFE_MS || (!c->proven && age_ms > v->cfg.open_window_ms)) {
			if (!f->mistaken) {
				walk_miss(&w->file_score);
				late = true;
			}
			file_drop(f);
		} else if (c->proven && !f->asking &&
		           now_ms - told_ms > v->cfg.open_window_ms / 2) {
			refresh(f);
		}
	}
	if (late)
		limit_halve(w);
}

void walk_file_end(struct walk *w)
{
	while (!list_empty(&w->files)) {
		struct walk_file *f = list_entry(w->files.next, struct walk_file, entry);

		if (f->in_flight) {
			file_leave(f);
			file_reap(f);
		} else {
			file_drop(f);
		}
	}
	w->reading = false;
	walk_order_end(w);
}
