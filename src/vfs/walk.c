/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks: which program has one, when it begins, whether it pays. Contract: include/vfs/walk.h. */
#include "vfs/walk.h"

#include <stdlib.h>

#include "vfs/attr.h"
#include "vfs/file.h"
#include "vfs/listing.h"

/* Programs that read trees at the same time. */
#define WALK_COUNT_MAX 16

/* A program that has neither listed nor opened anything for this long has stopped walking. */
#define WALK_LIFE_MS 5000
#define SWEEP_MS     250

/* Guesses that are judged together; older ones count for half. */
#define SCORE_COUNT 1024

/* Lookups that the server had to answer in one directory within this time: its listing is cheaper. */
#define LOOKUP_COUNT 4
#define LOOKUP_MS    1000

/*
 * So many more opens closed unread than read, and an open brings no READ along. The first one of a program
 * that has read nothing yet is enough; as many that are read make good for all before.
 */
#define UNREAD_COUNT       4
#define UNREAD_COUNT_FIRST 3
#define UNREAD_COUNT_MAX   8

void walk_hit(struct walk_score *s)
{
	s->hit_count++;
	if (s->hit_count + s->miss_count >= SCORE_COUNT) {
		s->hit_count /= 2;
		s->miss_count /= 2;
	}
}

void walk_miss(struct walk_score *s)
{
	s->miss_count++;
}

bool walk_pays(const struct walk_score *s, unsigned min_count)
{
	return s->hit_count + s->miss_count < min_count || s->hit_count >= s->miss_count;
}

static void walk_free(struct walk *w)
{
	list_del(&w->entry);
	w->v->walk_count--;
	walk_file_end(w);
	walk_list_end(w);
	listing_unref(w->looked_up);
	free(w);
}

static void sweep(void *arg)
{
	struct vfs *v = arg;

	list_for_each_safe(e, tmp, &v->walks) {
		struct walk *w = list_entry(e, struct walk, entry);

		if (v->clock->now_ms - w->used_ms > WALK_LIFE_MS) {
			walk_free(w);
			continue;
		}
		walk_list_sweep(w);
		walk_file_sweep(w);
	}
	if (v->walk_count)
		timer_set(v->clock, &v->walk_timer, v->clock->now_ms + SWEEP_MS);
}

static struct walk *walk_create(struct vfs *v, pid_t program)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	if (v->walk_count >= WALK_COUNT_MAX)
		walk_free(list_entry(v->walks.prev, struct walk, entry));
	w->v = v;
	w->program = program;
	w->serial = ++v->walk_serial;
	w->unread_count = UNREAD_COUNT_FIRST;
	list_init(&w->entry);
	list_init(&w->flight);
	list_init(&w->ready);
	list_init(&w->queue);
	list_init(&w->files);
	v->walk_count++;
	if (!timer_armed(&v->walk_timer))
		timer_set(v->clock, &v->walk_timer, v->clock->now_ms + SWEEP_MS);
	return w;
}

static struct walk *find(const struct vfs *v, pid_t program)
{
	list_for_each(e, &v->walks) {
		struct walk *w = list_entry(e, struct walk, entry);

		if (w->program == program)
			return w;
	}
	return NULL;
}

struct walk *walk_get(struct vfs *v, pid_t program)
{
	struct walk *w;

	if (!program || !v->cfg.dir_cache)
		return NULL;
	w = find(v, program);
	if (!w)
		w = walk_create(v, program);
	if (!w)
		return NULL;
	w->used_ms = v->clock->now_ms;
	list_del(&w->entry);
	list_push_front(&v->walks, &w->entry);
	return w;
}

static bool has_listed(const struct walk *w, const struct node *n)
{
	for (size_t i = 0; i < WALK_LISTED_COUNT; i++)
		if (w->listed[i] == n->nodeid)
			return true;
	return false;
}

struct node *walk_parent(const struct node *n)
{
	const struct name *d = node_name(n);

	return d ? d->parent : NULL;
}

/* Is `n` where the walk goes already? A filesystem that the program has entered by itself is not. */
static bool is_inside(const struct walk *w, const struct node *n)
{
	if (!w->top || (n->fsid_known && n->fsid != w->top->fsid))
		return false;
	while (n && n != w->top)
		n = walk_parent(n);
	return n != NULL;
}

bool walk_knows(const struct walk *w, const struct node *dir)
{
	return has_listed(w, dir) || is_inside(w, dir);
}

/* Has it listed another directory of `parent`? Then it was given them one by one, as arguments. */
static bool has_listed_in(const struct walk *w, const struct node *parent, const struct node *n)
{
	if (w->top && w->top != n && walk_parent(w->top) == parent)
		return true;
	for (size_t i = 0; i < WALK_LISTED_COUNT; i++) {
		struct node *other = w->listed[i] ? node_find(w->v, w->listed[i]) : NULL;

		if (other && other != n && walk_parent(other) == parent)
			return true;
	}
	return false;
}

/* The program has listed `n`, or looked at so many names of it that this amounts to the same. */
static void listed(struct walk *w, struct node *n, struct listing *l)
{
	struct node *parent = walk_parent(n);

	if (parent && !is_inside(w, parent) &&
	    (has_listed(w, parent) || has_listed_in(w, parent, n)))
		walk_list_begin(w, parent, has_listed(w, parent));
	if (!has_listed(w, n)) {
		w->listed[w->listed_next] = n->nodeid;
		w->listed_next = (w->listed_next + 1) % WALK_LISTED_COUNT;
	}
	if (w->top)
		walk_list_used(w, n, l);
	w->last_listed = n->nodeid;
}

void walk_opendir(struct vfs *v, pid_t program, struct node *n, struct listing *l)
{
	struct walk *w = walk_get(v, program);

	if (w)
		listed(w, n, l);
}

void walk_missed_listing(struct vfs *v, struct node *n)
{
	n->lookup_ms = v->clock->now_ms;
	n->lookups = LOOKUP_COUNT - 1;
}

void walk_lookup(struct vfs *v, pid_t program, struct node *n)
{
	struct walk *w;
	struct listing *l;

	if (!program || n->huge)
		return;
	if (v->clock->now_ms - n->lookup_ms > LOOKUP_MS) {
		n->lookup_ms = v->clock->now_ms;
		n->lookups = 0;
	}
	w = find(v, program);
	/* After a whole tree in it the next name is another argument. */
	if (++n->lookups < LOOKUP_COUNT && !(w && w->top && walk_parent(w->top) == n))
		return;
	n->lookups = 0;
	w = walk_get(v, program);
	l = w ? listing_ahead(v, n) : NULL;
	if (!l)
		return;
	listed(w, n, l);
	listing_unref(w->looked_up);
	w->looked_up = l;
}

void walk_file_used(struct vfs *v, struct file *f, bool read)
{
	struct walk *w = f->unread_by ? walk_get(v, f->unread_by) : NULL;

	f->unread_by = 0;
	if (!w)
		return;
	if (read)
		w->unread_count -= w->unread_count > 0;
	else
		w->unread_count += w->unread_count < UNREAD_COUNT_MAX;
	if (!f->content)
		return; /* nobody had guessed that it would be opened */
	if (read)
		walk_file_hit(w);
	else
		walk_miss(&w->file_score);
}

bool walk_reads(const struct vfs *v, pid_t program)
{
	const struct walk *w = find(v, program);

	return !w || w->unread_count < UNREAD_COUNT;
}

bool walk_has_read(const struct walk *w)
{
	return w->unread_count < UNREAD_COUNT_FIRST;
}

void walk_filled(struct vfs *v, struct listing *l)
{
	list_for_each_safe(e, tmp, &v->walks) {
		struct walk *w = list_entry(e, struct walk, entry);

		walk_list_filled(w, l);
		walk_file_pump(w);
	}
}

void walk_init(struct vfs *v)
{
	list_init(&v->walks);
	flight_init(&v->flight);
	timer_init(&v->walk_timer, sweep, v);
}

void walk_finish(struct vfs *v)
{
	while (!list_empty(&v->walks))
		walk_free(list_entry(v->walks.next, struct walk, entry));
	timer_cancel(&v->walk_timer);
}
