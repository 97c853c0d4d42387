/* SPDX-License-Identifier: BSD-2-Clause */
/* Listings: filled from the server, cached, changed in place. Contract: include/vfs/listing.h. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "listing_parts.h"
#include "vfs/attr.h"
#include "vfs/dir.h"
#include "vfs/errno.h"
#include "vfs/renew.h"
#include "vfs/walk.h"

/* Tombstones and additions that a cached listing may collect before it is not worth keeping. */
#define CHURN_COUNT_MAX 1000

/* A listing that is missed so soon after its end is in use. */
#define IN_USE_MS 1000

/* More entries do not come in one flight: the next change would overtake them. */
#define RENEW_COUNT_MAX 300

/* One that has no longer to live will hardly outlive the question what its directory is now. */
#define RENEW_MS 500

struct entry_key {
	const char *name;
	size_t len;
};

static bool entry_matches(const struct hash_node *hn, const void *key)
{
	const struct entry *e = list_entry(hn, struct entry, by_name);
	const struct entry_key *k = key;

	return e->name_len == k->len && memcmp(e->name, k->name, k->len) == 0;
}

struct entry *listing_entry(const struct listing *l, const char *name)
{
	const struct entry_key key = {name, strlen(name)};
	struct hash_node *hn =
	    hash_find(&l->names, hash_bytes(name, key.len, hash_seed()), entry_matches, &key);

	return hn ? list_entry(hn, struct entry, by_name) : NULL;
}

static struct listing *listing_create(struct vfs *v)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (hash_init(&l->names) < 0) {
		free(l);
		return NULL;
	}
	l->v = v;
	l->ref_count = 1;
	list_init(&l->waiters);
	list_init(&l->link_waiters);
	return l;
}

static size_t entry_size(const struct entry *e)
{
	return sizeof(*e) + e->name_len + 1 + sizeof(struct entry *) +
	       (e->target ? strlen(e->target) + 1 : 0);
}

void listing_set_target(struct listing *l, struct entry *e, char *target)
{
	size_t old_size = entry_size(e);

	free(e->target);
	e->target = target;
	e->ask = NULL;
	l->charged_len += entry_size(e) - old_size;
	budget_charge(l->v->budget, entry_size(e));
	budget_release(l->v->budget, old_size);
}

void listing_forget_first(struct listing *l, size_t count)
{
	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct entry *e = l->entries[i];

		hash_del(&l->names, &e->by_name);
		l->charged_len -= entry_size(e);
		budget_release(l->v->budget, entry_size(e));
		free(e->target);
		free(e);
	}
	memmove(l->entries, l->entries + count, (l->count - count) * sizeof(*l->entries));
	l->count -= count;
	l->first += count;
}

static void fill_stop(struct listing *l)
{
	struct node *n = l->node;

	if (n && n->filling == l)
		n->filling = NULL;
	if (l->list)
		l->v->ops->list_cancel(l->v->be, l->list);
	l->list = NULL;
	l->node = NULL;
	if (n)
		node_unref(l->v, n);
}

void listing_unref(struct listing *l)
{
	if (!l || --l->ref_count)
		return;
	l->ref_count = 1; /* stopping may drop a node that drops its listing */
	/* Who waits here still was answered early, and has closed its directory since. */
	while (!list_empty(&l->waiters))
		op_fail(list_entry(l->waiters.next, struct op, wait), -EBADF);
	fill_stop(l);
	listing_forget_first(l, l->count);
	hash_finish(&l->names);
	free(l->entries);
	free(l);
}

static bool listing_append(struct listing *l, const char *name, size_t len, const struct be_attr *a)
{
	struct entry *e;

	if (l->count == l->size) {
		size_t size = l->size ? l->size * 2 : 64;
		struct entry **grown = realloc(l->entries, size * sizeof(*grown));

		if (!grown)
			return false;
		l->entries = grown;
		l->size = size;
	}
	e = calloc(1, sizeof(*e) + len + 1);
	if (!e)
		return false;
	memcpy(e->name, name, len);
	e->name_len = len;
	e->attr_known = a != NULL;
	if (a)
		e->attr = *a;
	hash_add(&l->names, &e->by_name, hash_bytes(name, len, hash_seed()));
	l->entries[l->count++] = e;
	l->charged_len += entry_size(e);
	budget_charge(l->v->budget, entry_size(e));
	return true;
}

struct listing *listing_fresh(struct vfs *v, struct node *n)
{
	struct listing *l = n->listing;

	if (l && l->expires_ms <= v->clock->now_ms) {
		if (v->clock->now_ms - l->expires_ms < IN_USE_MS)
			walk_missed_listing(v, n);
		listing_drop(v, n);
		return NULL;
	}
	return l;
}

void listing_drop(struct vfs *v, struct node *parent)
{
	struct listing *l = parent->listing;

	(void)v;
	parent->listing = NULL;
	listing_unref(l);
}

int listing_lookup(struct vfs *v, struct node *parent, const char *name, pid_t program,
                   struct be_attr *a, int64_t *asked_ms, int64_t *expires_ms)
{
	struct listing *l = listing_fresh(v, parent);
	struct entry *e;

	if (l && l->presumed && program != l->maker) {
		walk_missed_listing(v,
		                    parent); /* rsync: one process makes it, another one fills it */
		return -1;
	}
	if (!l)
		return -1;
	*asked_ms = l->asked_ms;
	e = listing_entry(l, name);
	if (!e || e->removed) {
		int64_t until = l->expires_ms, fixed = v->cfg.negative_timeout_ms;

		if (fixed >= 0 && l->asked_ms + fixed < until)
			until = l->asked_ms + fixed;
		if (until <= v->clock->now_ms || strlen(name) > NAME_MAX)
			return -1;
		/* What one program presumes is not for the kernel to tell others. */
		*expires_ms = l->presumed ? v->clock->now_ms : until;
		return 0;
	}
	if (!e->attr_known || (v->cfg.follow_symlinks && attr_is_link(&e->attr)))
		return -1;
	*a = e->attr;
	*expires_ms = attr_expiry(v, a, l->asked_ms);
	return *expires_ms > v->clock->now_ms ? 1 : -1;
}

void listing_add(struct vfs *v, struct node *parent, const char *name, const struct be_attr *a)
{
	struct listing *l = listing_fresh(v, parent);
	struct entry *e;

	if (!l)
		return;
	e = listing_entry(l, name);
	if (!e) {
		if (++l->churn_count > CHURN_COUNT_MAX + l->count ||
		    !listing_append(l, name, strlen(name), a))
			listing_drop(v, parent);
		return;
	}
	e->removed = false;
	listing_set_target(l, e, NULL);
	e->attr_known = a != NULL;
	if (a)
		e->attr = *a;
}

void listing_show(struct vfs *v, struct node *n, const struct be_attr *a)
{
	list_for_each(e, &n->names) {
		struct name *d = list_entry(e, struct name, in_node);

		d->parent->inside_count++;
		listing_add(v, d->parent, d->bytes, a);
	}
}

void listing_doubt(struct vfs *v, struct node *n)
{
	list_for_each(e, &n->names) {
		struct name *d = list_entry(e, struct name, in_node);
		struct listing *l = listing_fresh(v, d->parent);
		struct entry *entry = l ? listing_entry(l, d->bytes) : NULL;

		d->parent->inside_count++; /* nor what is on its way */
		if (entry) {
			entry->attr_known = false;
			listing_set_target(l, entry, NULL);
		}
	}
}

void listing_remove(struct vfs *v, struct node *parent, const char *name)
{
	struct listing *l = listing_fresh(v, parent);
	struct entry *e = l ? listing_entry(l, name) : NULL;

	if (!e)
		return;
	e->removed = true;
	if (++l->churn_count > CHURN_COUNT_MAX + l->count)
		listing_drop(v, parent);
}

static void wake(struct listing *l)
{
	struct list waiters;

	l->ref_count++; /* an answer may close the directory */
	list_init(&waiters);
	list_splice(&waiters, &l->waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		dir_continue(op);
	}
	listing_unref(l);
}

/* A listing that nobody has asked for fails, or becomes too long. */
static void give_up(struct listing *l)
{
	fill_stop(l); /* the node's reference is ours now */
	l->err = -EIO;
	l->complete = true;
	walk_filled(l->v, l);
	listing_unref(l);
}

static void filled(void *arg, const struct be_entry *entries, size_t count)
{
	struct listing *l = arg;

	l->started = true;
	if (l->node->filling == l && l->count + count > LISTING_COUNT_MAX) {
		l->node->huge = true;
		give_up(l);
		return;
	}
	for (size_t i = 0; i < count; i++)
		if (!listing_append(l, entries[i].name, entries[i].name_len, &entries[i].attr))
			l->err = -ENOMEM;
	listing_ask_links(l, entries, count);
	if (l->count > LISTING_COUNT_MAX && !l->paused && l->list) {
		l->paused = true;
		l->v->ops->list_pause(l->v->be, l->list, true);
	}
	wake(l);
}

/* No change of ours has overtaken it. */
static bool is_current(const struct listing *l)
{
	const struct node *n = l->node;
	bool holds =
	    l->behind ? renew_holds(l->v, n, &l->asked) : n->change_count == l->change_count;

	return holds && n->inside_count == l->inside_count;
}

/* A complete listing answers lookups, unless a change of ours overtook it or it streamed. */
static void install(struct listing *l)
{
	struct node *n = l->node;
	struct vfs *v = l->v;

	if (l->err || l->first || l->count > LISTING_COUNT_MAX || !is_current(l) ||
	    !v->cfg.dir_cache)
		return;
	l->expires_ms = attr_expiry(v, &n->attr, l->asked_ms);
	if (l->expires_ms <= v->clock->now_ms)
		return;
	l->ref_count++;
	listing_drop(v, n);
	n->listing = l;
}

void listing_install_empty(struct vfs *v, struct node *n)
{
	struct listing *l = attr_is_dir(&n->attr) && v->cfg.dir_cache ? listing_create(v) : NULL;

	if (!l)
		return;
	l->asked_ms = v->clock->now_ms;
	l->expires_ms = l->asked_ms + attr_lifetime(v, &n->attr);
	l->complete = l->started = true;
	listing_drop(v, n);
	n->listing = l;
}

bool listing_is_empty(struct vfs *v, struct node *n)
{
	const struct listing *l = listing_fresh(v, n);

	for (size_t i = 0; l && i < l->count; i++)
		if (!l->entries[i]->removed)
			return false;
	return l != NULL;
}

static void fill_failed(void *arg, int err)
{
	struct listing *l = arg;
	struct node *n = l->node;

	l->err = err;
	l->complete = true;
	l->node = NULL;
	wake(l);
	walk_filled(l->v, l);
	node_unref(l->v, n);
	listing_unref(l);
}

static void fill_done(void *arg, const struct be_status *st)
{
	struct listing *l = arg;
	struct vfs *v = l->v;
	struct node *n = l->node;
	int err;
	char *path;

	l->started = true;
	l->list = NULL;
	if (st->code != BE_OK && n->filling == l) {
		give_up(l);
		return;
	}
	l->ref_count++;
	if (n->filling == l) {
		n->filling = NULL;
		listing_unref(l);
	}
	if (st->code != BE_OK) {
		path = node_path(v, n, NULL, &err);
		errno_resolve(v, &(struct errno_query){.kind = OP_OPENDIR, .path = path}, st,
		              fill_failed, l);
		free(path);
		return;
	}
	l->complete = true;
	install(l);
	l->node = NULL;
	wake(l);
	walk_filled(v, l);
	node_unref(v, n);
	listing_unref(l);
}

/* A listing of `n` asked for now. Return: NULL with a negative errno in *err. */
static struct listing *fill_start(struct vfs *v, struct node *n, int *err)
{
	struct listing *l = listing_create(v);
	char *path;

	*err = -ENOMEM;
	if (!l)
		return NULL;
	path = node_path(v, n, NULL, err);
	if (!path) {
		*err = *err == -ESTALE ? -ENOENT : *err;
		listing_unref(l);
		return NULL;
	}
	l->asked_ms = v->clock->now_ms;
	l->change_count = n->change_count;
	l->inside_count = n->inside_count;
	l->node = node_ref(n);
	*err = v->ops->list(v->be, path, filled, fill_done, l, &l->list);
	free(path);
	if (*err < 0) {
		l->list = NULL;
		listing_unref(l);
		return NULL;
	}
	return l;
}

void listing_empty(struct vfs *v, struct node *n, pid_t program)
{
	struct listing *l = v->cfg.dir_cache && !n->listing ? listing_create(v) : NULL;

	if (!l)
		return;
	l->started = l->complete = l->presumed = true;
	l->maker = program;
	l->asked_ms = v->clock->now_ms;
	l->expires_ms = attr_expiry(v, &n->attr, l->asked_ms);
	n->listing = l;
}

/* A snapshot for a new reader: the cached one, or a new one. */
struct listing *listing_get(struct vfs *v, struct node *n, int *err)
{
	struct listing *l = listing_fresh(v, n);

	if (l && !l->presumed) {
		l->ref_count++;
		return l;
	}
	l = n->filling;
	if (!l || !is_current(l))
		return fill_start(v, n, err);
	n->filling = NULL; /* its own now, to stream from if it becomes long */
	return l;
}

/* For whoever needs it when it has come. Return: NULL on failure. */
static struct listing *fill_for_nobody(struct vfs *v, struct node *n)
{
	int err;

	n->filling = fill_start(v, n, &err);
	return n->filling;
}

struct listing *listing_ahead(struct vfs *v, struct node *n)
{
	struct listing *l = listing_fresh(v, n);

	l = l && l->presumed ? NULL : l;
	if (!l && n->filling && is_current(n->filling))
		l = n->filling;
	if (l) {
		l->ref_count++;
		return l;
	}
	l = n->filling; /* overtaken */
	n->filling = NULL;
	listing_unref(l);
	l = fill_for_nobody(v, n);
	if (l)
		l->ref_count++;
	return l;
}

void listing_renew_behind(struct vfs *v, struct node *n, int64_t soon_ms)
{
	struct listing *l = n->listing;
	int64_t now = v->clock->now_ms;

	if (!l || l->renewed || n->filling || l->count > RENEW_COUNT_MAX || l->expires_ms <= now ||
	    l->expires_ms > now + soon_ms)
		return;
	l->renewed = true;
	l = fill_for_nobody(v, n);
	if (!l)
		return;
	l->behind = true;
	l->asked = renew_asked(v, n);
}

void listing_renew(struct vfs *v, struct node *n)
{
	struct listing *l = n->listing;

	if (!l || n->huge || n->filling || l->expires_ms > v->clock->now_ms + RENEW_MS ||
	    v->clock->now_ms - l->expires_ms >= IN_USE_MS)
		return;
	listing_drop(v, n);
	walk_missed_listing(v, n); /* should this one be overtaken */
	listing_unref(listing_ahead(v, n));
}

bool listing_cached(struct vfs *v, struct node *n)
{
	const struct listing *l = listing_fresh(v, n);

	return l && !l->presumed;
}
