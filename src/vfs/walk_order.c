/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In which order a program opens the files of a tree: as listed (tar, find, grep), by inode number
 * (cp, borg) or by name (rsync, git, restic); into each directory when it comes to it, or files first.
 * Guessed from two files opened one after the other: the order in which the fewest lie between them.
 * Directories that the program was given one by one, as arguments, may come in another order than
 * what is in them: guessed likewise, from the step from one to the other.
 * Contract: include/vfs/walk.h.
 */
#include <stdlib.h>
#include <string.h>

#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/listing.h"
#include "vfs/walk.h"

struct walk_item {
	const struct entry *entry;
	uint64_t key;
	bool last; /* a directory, where files go first */
};

static bool is_file(const struct entry *e)
{
	return !e->removed && e->attr_known && attr_is_reg(&e->attr) && e->attr.size > 0 &&
	       e->attr.size <= WHOLE_LEN_MAX;
}

static bool is_dir(const struct entry *e)
{
	return !e->removed && e->attr_known && attr_is_dir(&e->attr);
}

static const char *name_of(const struct node *n)
{
	const struct name *d = node_name(n);

	return d ? d->bytes : "";
}

static uint64_t ino_of(struct vfs *v, struct node *dir, const struct entry *e)
{
	struct name *d = name_find(v, dir, e->name);
	uint64_t ino = 0;
	char *path;
	int err;

	if (d && d->node)
		return d->node->ino;
	path = node_path(v, dir, e->name, &err);
	if (path)
		ino = node_path_ino(path);
	free(path);
	return ino;
}

static enum walk_order order_in(const struct walk *w, const struct node *dir)
{
	return dir->nodeid == w->fork ? w->fork_order : w->order;
}

static uint64_t key_of(struct walk *w, enum walk_order order, struct node *dir,
                       const struct entry *e, size_t index)
{
	return order == WALK_BY_INO ? ino_of(w->v, dir, e) : index;
}

static int by_key(const void *a, const void *b)
{
	const struct walk_item *x = a, *y = b;

	if (x->last != y->last)
		return x->last ? 1 : -1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static int by_name(const void *a, const void *b)
{
	const struct walk_item *x = a, *y = b;

	if (x->last != y->last)
		return x->last ? 1 : -1;
	return strcmp(x->entry->name, y->entry->name);
}

static void frame_pop(struct walk *w)
{
	struct walk_frame *f = &w->frames[--w->frame_count];

	free(f->items);
	listing_unref(f->listing);
	node_unref(w->v, f->dir);
}

static void sort(struct walk_item *items, size_t count, enum walk_order order)
{
	qsort(items, count, sizeof(*items), order == WALK_BY_NAME ? by_name : by_key);
}

const struct entry **walk_order_dirs(struct walk *w, struct node *dir, const struct listing *l,
                                     enum walk_order order, size_t *count)
{
	struct walk_item *items = calloc(l->count ? l->count : 1, sizeof(*items));
	const struct entry **dirs = NULL;

	*count = 0;
	for (size_t i = 0; items && i < l->count; i++)
		if (is_dir(l->entries[i]))
			items[(*count)++] = (struct walk_item){
			    l->entries[i], key_of(w, order, dir, l->entries[i], i), false};
	if (*count)
		dirs = malloc(*count * sizeof(const struct entry *));
	if (dirs)
		sort(items, *count, order);
	else
		*count = 0;
	for (size_t i = 0; i < *count; i++)
		dirs[i] = items[i].entry;
	free(items);
	return dirs;
}

/* Goes into `dir`, behind its entry `after` (NULL: from the start). Return: false where it cannot. */
static bool frame_push(struct walk *w, struct node *dir, const char *after)
{
	struct listing *l = listing_cached(w->v, dir) ? dir->listing : NULL;
	struct walk_frame *f = &w->frames[w->frame_count];
	enum walk_order order = order_in(w, dir);

	if (!l || w->frame_count == WALK_DEPTH_MAX)
		return false;
	f->items = calloc(l->count ? l->count : 1, sizeof(*f->items));
	if (!f->items)
		return false;
	f->count = f->pos = 0;
	for (size_t i = 0; i < l->count; i++) {
		const struct entry *e = l->entries[i];

		if (is_file(e) || is_dir(e))
			f->items[f->count++] = (struct walk_item){e, key_of(w, order, dir, e, i),
			                                          w->files_first && is_dir(e)};
	}
	sort(f->items, f->count, order);
	for (size_t i = 0; after && i < f->count; i++)
		if (strcmp(f->items[i].entry->name, after) == 0)
			f->pos = i + 1;
	l->ref_count++;
	f->listing = l;
	f->dir = node_ref(dir);
	w->frame_count++;
	return true;
}

/* Behind `n`, in its directory and in those above it down from the top of the walk. */
static void seat(struct walk *w, struct node *n)
{
	struct node *chain[WALK_DEPTH_MAX] = {n};
	size_t count = 1;

	while (w->frame_count)
		frame_pop(w);
	for (struct node *d = walk_parent(n); d && d != w->top && count < WALK_DEPTH_MAX;
	     d = walk_parent(d))
		chain[count++] = d;
	/* Elsewhere than the walk goes there is only the directory itself. */
	if (!w->top || walk_parent(chain[count - 1]) != w->top)
		count = 1;
	while (count) {
		struct node *child = chain[--count], *parent = walk_parent(child);

		/* Levels above one that is not known any more are not come back to. */
		if (parent && !frame_push(w, parent, name_of(child)))
			while (w->frame_count)
				frame_pop(w);
	}
}

/* The node of a directory that may be entered now, referenced; *wait: it is not listed yet. */
static struct node *enter(struct walk *w, const struct walk_frame *f, const struct entry *e,
                          bool *wait)
{
	struct vfs *v = w->v;
	struct name *d = name_find(v, f->dir, e->name);
	struct node *n = d ? d->node : NULL;

	*wait = false;
	n = entry_known(v, f->dir, e->name, &e->attr, n, n ? n->change_count : 0,
	                f->listing->asked_ms);
	if (!n || n->huge || !w->top ||
	    (n->fsid_known && w->top->fsid_known && n->fsid != w->top->fsid)) {
		if (n)
			node_unref(v, n);
		return NULL;
	}
	*wait = !listing_cached(v, n) || n->fsid_known != w->top->fsid_known;
	return n;
}

const struct entry *walk_order_next(struct walk *w, struct node **parent, int64_t *asked_ms)
{
	while (w->frame_count) {
		struct walk_frame *f = &w->frames[w->frame_count - 1];
		const struct entry *e;
		struct node *n;
		bool wait;

		if (f->pos == f->count) {
			frame_pop(w);
			continue;
		}
		e = f->items[f->pos].entry;
		if (is_file(e)) {
			f->pos++;
			*parent = f->dir;
			*asked_ms = f->listing->asked_ms;
			return e;
		}
		n = is_dir(e) ? enter(w, f, e, &wait) : NULL;
		if (n && wait) {
			node_unref(w->v, n);
			return NULL;
		}
		f->pos++;
		if (n) {
			frame_push(w, n, NULL);
			node_unref(w->v, n);
		}
	}
	return NULL;
}

static bool find_items(struct walk *w, enum walk_order order, struct node *dir, struct node *a,
                       struct node *b, struct walk_item *from, struct walk_item *to)
{
	const struct listing *l = dir->listing;

	for (size_t i = 0; i < l->count; i++) {
		const struct entry *e = l->entries[i];
		bool is_a = a && strcmp(e->name, name_of(a)) == 0;

		if (is_a || strcmp(e->name, name_of(b)) == 0)
			*(is_a ? from : to) =
			    (struct walk_item){e, key_of(w, order, dir, e, i), false};
	}
	return (!a || from->entry) && to->entry;
}

/*
 * How many of a kind lie between `a` (NULL: the start) and `b` in an order; SIZE_MAX when `b` does not
 * come after `a`.
 */
static size_t gap(struct walk *w, enum walk_order order, struct node *dir, struct node *a,
                  struct node *b, bool (*is_kind)(const struct entry *))
{
	const struct listing *l = dir->listing;
	struct walk_item from = {0}, to = {0};
	int (*compare)(const void *, const void *) = order == WALK_BY_NAME ? by_name : by_key;
	size_t count = 0;

	if (!find_items(w, order, dir, a, b, &from, &to) || (a && compare(&from, &to) >= 0))
		return SIZE_MAX;
	for (size_t i = 0; i < l->count; i++) {
		struct walk_item item = {l->entries[i], 0, false};

		if (!is_kind(item.entry))
			continue;
		item.key = key_of(w, order, dir, item.entry, i);
		count += (!a || compare(&from, &item) < 0) && compare(&item, &to) < 0;
	}
	return count;
}

/* How many lie between the two, with `start` also before the first of them. */
static size_t gaps(struct walk *w, enum walk_order order, struct node *dir, struct node *a,
                   struct node *b, bool start, bool (*is_kind)(const struct entry *))
{
	size_t count = gap(w, order, dir, a, b, is_kind);

	if (start && a && count != SIZE_MAX)
		count += gap(w, order, dir, NULL, a, is_kind);
	return count;
}

/*
 * The best of all orders in *order; `start`: the program began with `a`, which only what comes first in
 * its order should be. Return: false when `b` comes after `a` in none.
 */
static bool guess(struct walk *w, enum walk_order *order, struct node *dir, struct node *a,
                  struct node *b, bool start, bool (*is_kind)(const struct entry *))
{
	size_t best = gaps(w, *order, dir, a, b, start, is_kind);

	for (unsigned i = 0; i < WALK_ORDER_COUNT; i++) {
		size_t count = gaps(w, (enum walk_order)i, dir, a, b, start, is_kind);

		if (count < best) {
			best = count;
			*order = (enum walk_order)i;
		}
	}
	return best != SIZE_MAX;
}

/* From `last` to `n` the program has stepped from one directory to another: which of their order? */
static void guess_fork(struct walk *w, struct node *last, struct node *n)
{
	for (struct node *a = walk_parent(last); a; a = walk_parent(a)) {
		for (struct node *b = walk_parent(n); b; b = walk_parent(b)) {
			struct node *dir = walk_parent(a);
			enum walk_order order;

			if (!dir || dir != walk_parent(b))
				continue;
			if (a == b || !listing_cached(w->v, dir))
				return;
			order = order_in(w, dir);
			if (guess(w, &order, dir, a, b, false, is_dir) &&
			    order != order_in(w, dir)) {
				w->fork = dir->nodeid;
				w->fork_order = order;
			}
			return;
		}
	}
}

bool walk_order_stepped(struct walk *w, struct node *last, struct node *n, enum walk_order *order)
{
	struct node *dir = walk_parent(n);

	while (last && last != dir && walk_parent(last) != dir)
		last = walk_parent(last);
	if (!dir || !last || last == n || !listing_cached(w->v, dir))
		return false;
	return guess(w, order, dir, last == dir ? NULL : last, n, false, is_dir);
}

static bool holds_files(struct vfs *v, struct node *dir, const struct entry *e)
{
	struct name *d = name_find(v, dir, e->name);
	const struct listing *l = d && d->node ? d->node->listing : NULL;

	for (size_t i = 0; l && i < l->count; i++)
		if (is_file(l->entries[i]))
			return true;
	return false;
}

/* Has the program passed by a directory with files between the two? */
static bool passed_by(struct walk *w, struct node *dir, struct node *a, struct node *b)
{
	const struct listing *l = dir->listing;
	int (*compare)(const void *, const void *) = w->order == WALK_BY_NAME ? by_name : by_key;
	struct walk_item from = {0}, to = {0};

	if (!find_items(w, w->order, dir, a, b, &from, &to))
		return false;
	for (size_t i = 0; i < l->count; i++) {
		struct walk_item item = {l->entries[i], 0, false};

		if (!is_dir(item.entry) || !holds_files(w->v, dir, item.entry))
			continue;
		item.key = key_of(w, w->order, dir, item.entry, i);
		if (compare(&from, &item) < 0 && compare(&item, &to) < 0)
			return true;
	}
	return false;
}

/* Does it go into each directory when it comes to it? */
static void guess_files_first(struct walk *w, struct node *dir, struct node *before, struct node *n)
{
	struct node *parent = walk_parent(before);

	if (parent == dir) {
		w->files_first = w->files_first || passed_by(w, dir, before, n);
		return;
	}
	/* It came back from a directory below: that is what goes into each when it comes to it. */
	for (struct node *d = parent; d; d = walk_parent(d))
		if (d == dir)
			w->files_first = false;
}

/* All guesses from a step that was not foreseen. Return: both files are in one directory, one after the other. */
static bool guess_all(struct walk *w, struct node *dir, struct node *last, struct node *n)
{
	enum walk_order order = w->order, fork_order = w->fork_order;
	uint64_t fork = w->fork;
	bool files_first = w->files_first;
	bool second = last != n && walk_parent(last) == dir &&
	              guess(w, &w->order, dir, last, n, w->last_is_first, is_file);

	guess_files_first(w, dir, last, n);
	if (walk_parent(last) != dir)
		guess_fork(w, last, n);
	if (w->order != order || w->files_first != files_first || w->fork != fork ||
	    w->fork_order != fork_order)
		walk_file_mistaken(w);
	return second;
}

bool walk_order_opened(struct walk *w, struct node *n, bool hit)
{
	struct vfs *v = w->v;
	struct node *dir = walk_parent(n), *last = w->last_opened;
	bool start = false;

	if (dir && !hit && listing_cached(v, dir) && walk_knows(w, dir)) {
		start = last && guess_all(w, dir, last, n);
		if (start && !w->top) {
			walk_list_begin(w, dir, true);
			walk_list_pump(w);
		}
		if (start || w->reading)
			seat(w, n);
	}
	if (last && dir != walk_parent(last))
		w->crossed = hit;
	w->last_is_first = !last || dir != walk_parent(last);
	w->last_opened = node_ref(n);
	if (last)
		node_unref(v, last);
	return start;
}

bool walk_order_leaves(const struct walk *w)
{
	const struct walk_frame *f = w->frame_count ? &w->frames[w->frame_count - 1] : NULL;

	return !f || f->pos == f->count || !is_file(f->items[f->pos].entry) || !w->last_opened ||
	       f->dir != walk_parent(w->last_opened);
}

void walk_order_end(struct walk *w)
{
	struct node *last = w->last_opened;

	while (w->frame_count)
		frame_pop(w);
	w->last_opened = NULL;
	if (last)
		node_unref(w->v, last);
}
