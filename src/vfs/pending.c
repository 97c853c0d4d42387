/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes by name and their order. Contract: include/vfs/pending.h. */
#include "vfs/pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many files are sent at a time, unless the owner knows better. */
#define PLACE_COUNT 64

/* `later` waits for `before`. */
struct edge {
	struct list in_before; /* before->later */
	struct list in_later;  /* later->earlier */
	struct change *before, *later;
	bool builds; /* later fails when before does */
};

static uint64_t path_hash(const char *path)
{
	return hash_bytes(path, strlen(path), hash_seed());
}

static bool path_matches(const struct hash_node *hn, const void *key)
{
	return strcmp(list_entry(hn, struct pname, by_path)->path, key) == 0;
}

struct pname *pending_find(const struct pending *p, const char *path)
{
	struct hash_node *hn = hash_find(&p->names, path_hash(path), path_matches, path);

	return hn ? list_entry(hn, struct pname, by_path) : NULL;
}

static bool nodeid_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct pfile, by_nodeid)->nodeid == *(const uint64_t *)key;
}

const struct pfile *pending_file(const struct pending *p, uint64_t nodeid)
{
	struct hash_node *hn = hash_find(&p->files, hash_u64(nodeid), nodeid_matches, &nodeid);

	return hn ? list_entry(hn, struct pfile, by_nodeid) : NULL;
}

void pname_unref(struct pending *p, struct pname *n)
{
	while (n && --n->ref_count == 0) {
		struct pname *up = n->up;

		hash_del(&p->names, &n->by_path);
		list_del(&n->in_up);
		budget_release(p->budget, sizeof(*n) + strlen(n->path) + 1);
		free(n->target);
		free(n);
		n = up;
	}
}

static struct pname *pname_create(struct pending *p, const char *path, struct pname *up)
{
	size_t len = strlen(path) + 1;
	struct pname *n = calloc(1, sizeof(*n) + len);

	if (!n)
		return NULL;
	memcpy(n->path, path, len);
	n->ref_count = 1;
	n->up = up;
	list_init(&n->in_up);
	list_init(&n->below);
	list_init(&n->changes);
	list_init(&n->in_failed);
	list_init(&n->in_broken);
	if (up) {
		up->ref_count++;
		list_push_back(&up->below, &n->in_up);
	}
	hash_add(&p->names, &n->by_path, path_hash(path));
	budget_charge(p->budget, sizeof(*n) + len);
	return n;
}

struct pname *pname_get(struct pending *p, const char *path)
{
	struct pname *n = pending_find(p, path), *up;
	const char *slash = strrchr(path, '/');
	char *parent;

	if (n) {
		n->ref_count++;
		return n;
	}
	if (!slash || slash == path) {
		p->root->ref_count++;
		up = p->root;
	} else {
		parent = strndup(path, (size_t)(slash - path));
		up = parent ? pname_get(p, parent) : NULL;
		free(parent);
	}
	if (!up)
		return NULL;
	n = pname_create(p, path, up);
	pname_unref(p, up);
	return n;
}

int pending_init(struct pending *p, const char *root, struct budget *budget,
                 void (*settled)(void *arg), void *arg)
{
	*p = (struct pending){
	    .budget = budget, .place_max = PLACE_COUNT, .settled = settled, .arg = arg};
	list_init(&p->changes);
	list_init(&p->ready);
	list_init(&p->ready_large);
	list_init(&p->failed);
	list_init(&p->broken);
	if (hash_init(&p->names) < 0)
		return -ENOMEM;
	if (hash_init(&p->files) < 0)
		goto finish_names;
	p->root = pname_create(p, root, NULL);
	if (p->root)
		return 0;
	hash_finish(&p->files);
finish_names:
	hash_finish(&p->names);
	return -ENOMEM;
}

void pending_finish(struct pending *p)
{
	while (!list_empty(&p->failed)) {
		struct pname *n = list_entry(p->failed.next, struct pname, in_failed);

		list_del(&n->in_failed);
		pname_unref(p, n);
	}
	while (!list_empty(&p->broken))
		pending_mend(p, list_entry(p->broken.next, struct pname, in_broken)->path);
	pname_unref(p, p->root);
	hash_finish(&p->files);
	hash_finish(&p->names);
}

void change_init(struct change *c, enum change_kind kind, void (*send)(struct change *c),
                 void (*end)(struct change *c))
{
	*c = (struct change){.kind = kind, .send = send, .end = end};
	list_init(&c->entry);
	list_init(&c->in_ready);
	list_init(&c->earlier);
	list_init(&c->later);
	list_init(&c->at.in_name);
	list_init(&c->at2.in_name);
	list_init(&c->in_file);
}

static bool counts(const struct change *c)
{
	return c->kind != CHANGE_ASK && c->kind != CHANGE_BARRIER;
}

struct change *pname_last(const struct pname *n)
{
	if (list_empty(&n->changes))
		return NULL;
	return list_entry(n->changes.prev, struct change_at, in_name)->change;
}

bool pname_busy(const struct pname *n)
{
	if (!list_empty(&n->changes))
		return true;
	list_for_each(e, &n->below)
		if (pname_busy(list_entry(e, struct pname, in_up)))
			return true;
	return false;
}

static void edge_free(struct edge *e)
{
	list_del(&e->in_before);
	list_del(&e->in_later);
	free(e);
}

static int wait_for(struct change *later, struct change *before, bool builds)
{
	struct edge *e;

	if (!before || before == later)
		return 0;
	e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	*e = (struct edge){.before = before, .later = later, .builds = builds};
	list_push_back(&before->later, &e->in_before);
	list_push_back(&later->earlier, &e->in_later);
	later->wait_count++;
	return 0;
}

/* Where the changes are that a change waits for. */
enum builds {
	BUILDS,           /* on a name of its own */
	BUILDS_AS_SOURCE, /* on the name that it takes from */
	BUILDS_BELOW,     /* above its name */
	BUILDS_NOT,       /* elsewhere: it waits, and does not fail with them */
};

/* Does `c` fail when `before` did? */
static bool builds_on(const struct change *c, const struct change *before, enum builds where)
{
	if (where == BUILDS_NOT)
		return false;
	if (where == BUILDS_AS_SOURCE && (c->kind == CHANGE_RENAME || c->kind == CHANGE_LINK))
		return true;
	return c->postponed && before->kind != CHANGE_SETATTR &&
	       (where != BUILDS_BELOW || before->kind != CHANGE_FILE);
}

/*
 * Everything on the name waits for what is before it there, so the last one stands for all; but a marker,
 * which waits for nothing, does not.
 */
static int wait_on_name(struct change *c, const struct pname *n, enum builds where)
{
	int r = 0;

	for (const struct list *e = n->changes.prev; r == 0 && e != &n->changes; e = e->prev) {
		struct change *before = list_entry(e, const struct change_at, in_name)->change;

		r = wait_for(c, before, builds_on(c, before, where));
		if (!before->marker)
			break;
	}
	return r;
}

static int wait_on_file(struct change *c, const struct pfile *f)
{
	bool source = c->kind == CHANGE_RENAME || c->kind == CHANGE_LINK;
	int r = 0;

	for (const struct list *e = f->changes.prev; r == 0 && e != &f->changes; e = e->prev) {
		struct change *before = list_entry(e, struct change, in_file);

		r = wait_for(c, before, source);
		if (!before->marker)
			break;
	}
	return r;
}

static int wait_below(struct change *c, struct pname *n)
{
	int r = 0;

	list_for_each(e, &n->below) {
		struct pname *child = list_entry(e, struct pname, in_up);

		if (r == 0)
			r = wait_on_name(c, child, BUILDS_NOT);
		if (r == 0)
			r = wait_below(c, child);
	}
	return r;
}

static int wait_around(struct change *c, struct pname *n, bool source)
{
	int r = wait_on_name(c, n, source ? BUILDS_AS_SOURCE : BUILDS);

	if (r == 0)
		r = wait_below(c, n);
	for (n = n->up; n && r == 0; n = n->up)
		r = wait_on_name(c, n, BUILDS_BELOW);
	return r;
}

static int wait_for_all(struct pending *p, struct change *c)
{
	int r = 0;

	list_for_each(e, &p->changes) {
		struct change *before = list_entry(e, struct change, entry);

		if (r == 0 && counts(before))
			r = wait_for(c, before, false);
	}
	return r;
}

static void forget_edges(struct list *edges, bool later)
{
	while (!list_empty(edges))
		edge_free(later ? list_entry(edges->next, struct edge, in_before)
		                : list_entry(edges->next, struct edge, in_later));
}

static void name_enter(struct change *c, struct change_at *at)
{
	at->change = c;
	if (at->name && counts(c))
		list_push_back(&at->name->changes, &at->in_name);
}

int change_set_node(struct change *c, uint64_t nodeid)
{
	struct pending *p = c->p;
	struct pfile *f;

	c->nodeid = nodeid;
	if (!c->active || !nodeid || c->file || !counts(c))
		return 0;
	f = (struct pfile *)pending_file(p, nodeid);
	if (!f) {
		f = malloc(sizeof(*f));
		if (!f)
			return -ENOMEM;
		f->nodeid = nodeid;
		list_init(&f->changes);
		hash_add(&p->files, &f->by_nodeid, hash_u64(nodeid));
	}
	list_push_back(&f->changes, &c->in_file);
	c->file = f;
	return 0;
}

static void file_leave(struct change *c)
{
	struct pfile *f = c->file;

	c->file = NULL;
	list_del(&c->in_file);
	if (!f || !list_empty(&f->changes))
		return;
	hash_del(&c->p->files, &f->by_nodeid);
	free(f);
}

static void take_names(struct pending *p, struct change *c, const char *path, const char *path2,
                       int *err)
{
	c->at.name = path ? pname_get(p, path) : NULL;
	c->at2.name = path2 ? pname_get(p, path2) : NULL;
	*err = (path && !c->at.name) || (path2 && !c->at2.name) ? -ENOMEM : 0;
}

static void want_earlier(struct change *c)
{
	list_for_each_safe(e, tmp, &c->earlier) {
		struct change *before = list_entry(e, struct edge, in_later)->before;

		if (before->held && before->wanted)
			before->wanted(before);
	}
}

int pending_add(struct pending *p, struct change *c, const char *path, const char *path2)
{
	const struct pfile *f = c->nodeid ? pending_file(p, c->nodeid) : NULL;
	int r;

	c->p = p;
	c->wait_count = 0;
	c->err = 0;
	c->placed = c->there = false;
	take_names(p, c, path, path2, &r);
	if (r == 0 && path && !c->marker)
		r = wait_around(c, c->at.name, true);
	else if (r == 0 && c->kind == CHANGE_BARRIER)
		r = wait_for_all(p, c);
	if (r == 0 && path2)
		r = wait_around(c, c->at2.name, false);
	if (r == 0 && f && !c->marker)
		r = wait_on_file(c, f);
	c->active = r == 0;
	if (r == 0)
		r = change_set_node(c, c->nodeid);
	if (r < 0) {
		c->active = false;
		forget_edges(&c->earlier, false);
		pname_unref(p, c->at.name);
		pname_unref(p, c->at2.name);
		return r;
	}
	name_enter(c, &c->at);
	name_enter(c, &c->at2);
	list_push_back(&p->changes, &c->entry);
	p->count += counts(c);
	/* Ready is decided here and looked at in pending_run(). */
	c->sent = c->marker;
	if (c->wait_count == 0 && !c->held && !c->marker)
		list_push_back(&p->ready, &c->in_ready);
	want_earlier(c);
	return 0;
}

int change_wait_file(struct change *c, const struct pfile *f)
{
	int r = wait_on_file(c, f);

	if (c->wait_count)
		list_del(&c->in_ready);
	want_earlier(c);
	return r;
}

void change_release(struct change *c)
{
	if (!c->held)
		return;
	c->held = false;
	if (c->wait_count == 0)
		list_push_back(&c->p->ready, &c->in_ready);
}

void change_give_place(struct change *c)
{
	struct pending *p = c->p;

	if (!c->placed)
		return;
	c->placed = false;
	p->placed_count--;
	if (!list_empty(&p->ready_large)) {
		struct list *next = p->ready_large.next;

		list_del(next);
		list_push_front(&p->ready, next);
	}
}

void pending_run(struct pending *p)
{
	if (p->running)
		return;
	p->running = true;
	while (!list_empty(&p->ready)) {
		struct change *c = list_entry(p->ready.next, struct change, in_ready);

		list_del(&c->in_ready);
		if (c->err || p->stopped) {
			change_end(c, -EIO);
		} else if (c->large && p->placed_count >= p->place_max) {
			list_push_back(&p->ready_large, &c->in_ready);
		} else {
			c->placed = c->large;
			p->placed_count += c->placed;
			c->sent = true;
			c->send(c);
		}
	}
	p->running = false;
}

/* The change leaves its name; who was told something else than the truth must ask from now on. */
static void name_leave(struct change *c, struct change_at *at)
{
	struct pname *n = at->name;

	if (!n || !counts(c))
		return;
	list_del(&at->in_name);
	if (c->err && c->postponed) {
		pname_fail(c->p, n, c->err);
		n->state = PNAME_UNSURE;
	}
	if (c->err && c->kind == CHANGE_FILE && c->there)
		pname_break(c->p, n, c->err);
	/* What it may have been called broken for before that is gone. */
	if (!c->err && (c->kind == CHANGE_REMOVE || c->kind == CHANGE_RENAME))
		pending_mend(c->p, n->path);
	if (!list_empty(&n->changes)) {
		/* What is made below a directory that is there need not be pending any more. */
		if (n->state == PNAME_MADE)
			n->state = PNAME_CHANGED;
		return;
	}
	n->state = PNAME_AS_IS;
	free(n->target);
	n->target = NULL;
}

static void wake_later(struct change *c)
{
	struct pending *p = c->p;

	while (!list_empty(&c->later)) {
		struct edge *e = list_entry(c->later.next, struct edge, in_before);
		struct change *later = e->later;
		bool spared =
		    c->there && (later->kind == CHANGE_REMOVE || later->kind == CHANGE_SETATTR);

		if (c->err && e->builds && !spared && !later->err)
			later->err = c->err;
		edge_free(e);
		if (--later->wait_count == 0 && !later->held)
			list_push_back(&p->ready, &later->in_ready);
	}
}

void change_end(struct change *c, int err)
{
	struct pending *p = c->p;
	struct pname *n = c->at.name, *n2 = c->at2.name;

	if (!c->err)
		c->err = err;
	c->active = false;
	change_give_place(c);
	name_leave(c, &c->at);
	name_leave(c, &c->at2);
	file_leave(c);
	wake_later(c);
	forget_edges(&c->earlier, false);
	list_del(&c->entry);
	list_del(&c->in_ready);
	p->count -= counts(c);
	c->end(c);
	pname_unref(p, n);
	pname_unref(p, n2);
	p->settled(p->arg);
	pending_run(p);
}

void change_cancel(struct change *c)
{
	struct pending *p = c->p;

	c->active = false;
	change_give_place(c);
	forget_edges(&c->earlier, false);
	forget_edges(&c->later, true);
	list_del(&c->entry);
	list_del(&c->in_ready);
	list_del(&c->at.in_name);
	list_del(&c->at2.in_name);
	file_leave(c);
	p->count -= counts(c);
	pname_unref(p, c->at.name);
	pname_unref(p, c->at2.name);
}

void pname_set(struct pname *n, enum pname_state state, const struct be_attr *attr)
{
	n->state = state;
	if (attr)
		n->attr = *attr;
}

/* What an unanswered change above a name says of all that is below. */
static enum pname_state state_above(const struct pending *p, const char *path)
{
	char *up = strdup(path), *slash;
	enum pname_state state = PNAME_AS_IS;

	if (!up)
		return PNAME_UNSURE;
	while (state == PNAME_AS_IS && (slash = strrchr(up, '/')) != NULL && slash != up) {
		const struct pname *n;

		*slash = '\0';
		n = pending_find(p, up);
		if (!n)
			continue;
		if (n->state == PNAME_MADE || n->state == PNAME_ABSENT)
			state = PNAME_ABSENT;
		else if (n->state == PNAME_UNSURE)
			state = PNAME_UNSURE;
	}
	free(up);
	return state;
}

enum pname_state pending_state(const struct pending *p, const char *path, struct be_attr *attr)
{
	const struct pname *n;

	if (!p->count)
		return PNAME_AS_IS;
	n = pending_find(p, path);
	if (!n || n->state == PNAME_AS_IS)
		return state_above(p, path);
	*attr = n->attr;
	return n->state;
}
