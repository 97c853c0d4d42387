/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listings ahead of a program that goes through a tree. When the listings of a level come in, all
 * directories that they name are asked for together. Only so many may be ahead of the program, so
 * those go first that a program will reach first which goes into each directory when it comes to it:
 * the children of what it has just listed, then down from there, in the order that its first steps
 * have shown. Contract: include/vfs/walk.h.
 */
#include <stdlib.h>
#include <string.h>

#include "vfs/attr.h"
#include "vfs/listing.h"
#include "vfs/walk.h"

#define LIMIT_FIRST     128 /* directories ahead at first: a level of a usual tree */
#define LIMIT_ARGS      64 /* where the program was given some of a directory that it has not listed */
#define LIMIT_MIN       16
#define LIMIT_MAX       256
#define QUEUE_COUNT_MAX 8192
#define SCORE_MIN       64 /* guesses before they are judged */
#define STEP_COUNT_MAX  4  /* steps of the program from which its order is guessed */

static void dir_free(struct walk_dir *d)
{
	struct vfs *v = d->v;
	struct node *n = d->node;

	free(d);
	node_unref(v, n);
}

/* Takes `d` out of the walk. */
static void dir_end(struct walk_dir *d)
{
	struct walk *w = d->walk;

	list_del(&d->entry);
	if (!list_empty(&d->in_queue))
		w->queue_count--;
	list_del(&d->in_queue);
	w->ahead_count -= d->ahead;
	free(d->dirs);
	d->dirs = NULL;
	listing_unref(d->listing);
	d->walk = NULL;
	if (!d->asked_fs)
		dir_free(d);
}

/* Nothing more is to be done with `d` when the program has used it and its children are asked for. */
static void dir_end_if_done(struct walk_dir *d)
{
	if (list_empty(&d->entry) && list_empty(&d->in_queue))
		dir_end(d);
}

/* Does the program reach `a` before `b`? */
static bool is_nearer(const struct walk_dir *a, const struct walk_dir *b)
{
	for (unsigned i = 0; i < a->depth && i < b->depth; i++)
		if (a->key[i] != b->key[i])
			return a->key[i] < b->key[i];
	return a->depth < b->depth;
}

static void enqueue(struct walk *w, struct walk_dir *d)
{
	struct list *at = &w->queue;

	w->queue_count++;
	if (!d->ahead) {
		list_push_front(&w->queue, &d->in_queue);
		return;
	}
	while (at->prev != &w->queue) {
		const struct walk_dir *before = list_entry(at->prev, struct walk_dir, in_queue);

		if (!before->ahead || is_nearer(before, d))
			break;
		at = at->prev;
	}
	list_insert(at, &d->in_queue);
}

/* Goes on when it is listed and its filesystem is known; that of the top is right by definition. */
static void dir_settle(struct walk_dir *d)
{
	struct walk *w = d->walk;
	bool foreign;

	if (d->settled || !d->listing->complete || (d->asked_fs && d->node != w->top))
		return;
	d->settled = true;
	foreign = d->node->fsid_known != w->top->fsid_known || d->node->fsid != w->top->fsid;
	if (d->listing->err || foreign) {
		/* Not ours to look into; what came of it is not used. */
		if (d->ahead && foreign)
			listing_drop(w->v, d->node);
		dir_end(d);
		return;
	}
	list_del(&d->entry);
	if (d->ahead)
		list_push_back(&w->ready, &d->entry);
	if (w->queue_count < QUEUE_COUNT_MAX && d->depth < WALK_DEPTH_MAX)
		enqueue(w, d);
	dir_end_if_done(d);
}

static void got_fs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct walk_dir *d = arg;
	struct walk *w = d->walk;

	d->asked_fs = false;
	if (st->code == BE_OK) {
		d->node->fsid = sv->fsid;
		d->node->fsid_known = true;
	}
	if (!w) {
		dir_free(d);
		return;
	}
	dir_settle(d);
	walk_list_pump(w);
	walk_file_pump(w);
}

/* One per directory travels with its listing. */
static void ask_fs(struct walk_dir *d)
{
	struct vfs *v = d->walk->v;
	char *path;
	int err;

	if (d->node->fsid_known || !v->ops->info(v->be)->caps.statvfs)
		return;
	path = node_path(v, d->node, NULL, &err);
	d->asked_fs = path && v->ops->statvfs(v->be, path, got_fs, d) == 0;
	free(path);
}

/* Takes over the references to `n` and `l`. */
static struct walk_dir *dir_add(struct walk *w, struct node *n, struct listing *l, bool ahead)
{
	struct walk_dir *d = calloc(1, sizeof(*d));

	if (!d) {
		listing_unref(l);
		node_unref(w->v, n);
		return NULL;
	}
	d->v = w->v;
	d->walk = w;
	d->node = n;
	d->listing = l;
	d->ahead = ahead;
	list_push_back(&w->flight, &d->entry);
	list_init(&d->in_queue);
	w->ahead_count += ahead;
	ask_fs(d);
	return d;
}

static struct walk_dir *find_dir(struct list *in, const struct node *n)
{
	list_for_each(e, in)
		if (list_entry(e, struct walk_dir, entry)->node == n)
			return list_entry(e, struct walk_dir, entry);
	return NULL;
}

/* Lists the directory that `e` of `parent` is, unless that has been done. */
static void look_into(struct walk *w, struct walk_dir *parent, const struct entry *e)
{
	struct vfs *v = w->v;
	struct name *name = name_find(v, parent->node, e->name);
	struct node *n = name ? name->node : NULL;
	struct walk_dir *d;
	struct listing *l;
	bool ahead;

	n = entry_known(v, parent->node, e->name, &e->attr, n, n ? n->change_count : 0,
	                parent->listing->asked_ms);
	if (!n)
		return;
	if (n->huge || find_dir(&w->flight, n) || find_dir(&w->ready, n)) {
		node_unref(v, n);
		return;
	}
	ahead = !listing_cached(v, n);
	l = listing_ahead(v, n);
	if (!l) {
		node_unref(v, n);
		return;
	}
	d = dir_add(w, n, l, ahead);
	if (!d)
		return;
	memcpy(d->key, parent->key, parent->depth * sizeof(*d->key));
	d->key[parent->depth] = (uint32_t)parent->next;
	d->depth = parent->depth + 1;
	dir_settle(d);
}

/* Return: the next directory in the listing of `d` that is to be looked into, or NULL. */
static const struct entry *next_child(struct walk_dir *d)
{
	struct walk *w = d->walk;

	if (!d->dirs)
		d->dirs = walk_order_dirs(w, d->node, d->listing, w->dir_order, &d->dir_count);
	while (d->next < d->dir_count) {
		const struct entry *e = d->dirs[d->next++];

		if (!e->removed)
			return e;
	}
	return NULL;
}

void walk_list_pump(struct walk *w)
{
	struct vfs *v = w->v;

	while (!list_empty(&w->queue) && walk_pays(&w->dirs, SCORE_MIN) &&
	       budget_left(v->budget) > v->budget->max_len / 2) {
		struct walk_dir *d = list_entry(w->queue.next, struct walk_dir, in_queue);
		const struct entry *e;

		/* The children of what the program has listed itself are the best guess of all. */
		if (w->ahead_count >= (d->ahead ? w->dir_limit : WALK_DIR_COUNT_MAX))
			return;
		e = next_child(d);
		if (e) {
			look_into(w, d, e);
			continue;
		}
		list_del(&d->in_queue);
		w->queue_count--;
		dir_end_if_done(d);
	}
}

static void end_all(struct list *in, bool queue)
{
	while (!list_empty(in))
		dir_end(queue ? list_entry(in->next, struct walk_dir, in_queue)
		              : list_entry(in->next, struct walk_dir, entry));
}

void walk_list_end(struct walk *w)
{
	struct node *top = w->top;

	end_all(&w->flight, false);
	end_all(&w->ready, false);
	end_all(&w->queue, true);
	w->top = NULL;
	node_unref(w->v, top);
}

void walk_list_begin(struct walk *w, struct node *top, bool listed)
{
	struct listing *l;
	struct walk_dir *d;

	if (!walk_pays(&w->dirs, SCORE_MIN) || top->huge)
		return;
	node_ref(top);
	walk_list_end(w);
	w->top = top;
	w->dir_limit = listed ? LIMIT_FIRST : LIMIT_ARGS;
	l = listing_ahead(w->v, top);
	d = l ? dir_add(w, node_ref(top), l, !listed) : NULL;
	if (d)
		dir_settle(d);
}

/* Learns from a step of the program. What was asked for in another order is no loss: it is cached. */
static void learn_order(struct walk *w, struct node *n)
{
	struct node *last = w->last_listed ? node_find(w->v, w->last_listed) : NULL;
	enum walk_order order = w->dir_order;

	if (w->step_count >= STEP_COUNT_MAX || !walk_order_stepped(w, last, n, &order))
		return;
	w->step_count++;
	if (order == w->dir_order)
		return;
	w->dir_order = order;
	walk_list_begin(w, w->top, true);
}

void walk_list_used(struct walk *w, struct node *n, struct listing *l)
{
	struct walk_dir *d;

	learn_order(w, n);
	d = find_dir(&w->flight, n);
	if (!d)
		d = find_dir(&w->ready, n);
	if (d && d->listing != l) {
		dir_end(d);
		d = NULL;
	}
	if (d && d->ahead) {
		walk_hit(&w->dirs);
		w->dir_limit += w->dir_limit < LIMIT_MAX;
		w->ahead_count--;
		d->ahead = false;
		if (d->settled)
			list_del(&d->entry);
		if (!list_empty(&d->in_queue)) {
			list_del(&d->in_queue);
			list_push_front(&w->queue, &d->in_queue);
		}
		if (d->settled)
			dir_end_if_done(d);
	} else if (!d) {
		l->ref_count++;
		d = dir_add(w, node_ref(n), l, false);
		if (d)
			dir_settle(d);
	}
	walk_list_pump(w);
}

void walk_list_filled(struct walk *w, struct listing *l)
{
	list_for_each(e, &w->flight) {
		struct walk_dir *d = list_entry(e, struct walk_dir, entry);

		if (d->listing == l) {
			dir_settle(d);
			walk_list_pump(w);
			return;
		}
	}
}

/* What lies ready and has expired was fetched for nothing. */
void walk_list_sweep(struct walk *w)
{
	bool late = false;

	list_for_each_safe(e, tmp, &w->ready) {
		struct walk_dir *d = list_entry(e, struct walk_dir, entry);

		if (d->listing->expires_ms > w->v->clock->now_ms)
			continue;
		walk_miss(&w->dirs);
		dir_end(d);
		late = true;
	}
	if (late && w->dir_limit > LIMIT_MIN)
		w->dir_limit /= 2;
}
