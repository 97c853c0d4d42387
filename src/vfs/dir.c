/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Directories: opendir, readdir, releasedir, and the listings behind them.
 *
 * A listing is filled while it is read. Offsets are positions in it, so they stay valid however it
 * changes: our own changes mark entries removed or append new ones. A listing larger than
 * LISTING_COUNT_MAX streams: what has been handed out is forgotten, the server is asked for more as
 * it is needed, and it is never cached. Contract: include/vfs/vfs.h, include/vfs/dir.h.
 */
#include "vfs/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/attr.h"
#include "vfs/errno.h"
#include "vfs/internal.h"

/* Offsets 0 and 1 are "." and "..": entry i of the listing is at offset i + 2. */
#define DOT_COUNT 2

/* Tombstones and additions that a cached listing may collect before it is not worth keeping. */
#define CHURN_COUNT_MAX 1000

struct entry {
	struct hash_node by_name;
	struct be_attr attr;
	bool attr_known;
	bool removed;
	size_t name_len;
	char name[];
};

struct listing {
	unsigned ref_count;
	struct vfs *v;
	struct hash names; /* of entries that are kept */
	struct entry **entries;
	size_t first;	   /* position of entries[0]: larger than 0 only when streaming */
	size_t count;	   /* kept */
	size_t size;	   /* allocated */
	size_t charged_len;
	size_t churn_count;
	int64_t asked_ms;  /* when the server was asked */
	int64_t expires_ms; /* of the set of names */
	bool complete;
	bool paused;
	bool started;	   /* the server has said something */
	int err;	   /* negative errno */
	struct be_list *list; /* while it is being filled */
	uint64_t change_count; /* of the directory when the server was asked */
	struct node *node; /* referenced while it is being filled */
	struct list waiters; /* struct op.wait */
};

struct dir {
	struct hash_node by_fh;
	uint64_t fh;
	struct node *node; /* referenced */
	struct listing *listing;
	bool read; /* something was handed out: offset 0 is a rewinddir */
};

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

static struct entry *entry_find(const struct listing *l, const char *name)
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
	return l;
}

static size_t entry_size(const struct entry *e)
{
	return sizeof(*e) + e->name_len + 1 + sizeof(struct entry *);
}

static void forget_first(struct listing *l, size_t count)
{
	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct entry *e = l->entries[i];

		hash_del(&l->names, &e->by_name);
		l->charged_len -= entry_size(e);
		budget_release(l->v->budget, entry_size(e));
		free(e);
	}
	memmove(l->entries, l->entries + count, (l->count - count) * sizeof(*l->entries));
	l->count -= count;
	l->first += count;
}

static void fill_stop(struct listing *l)
{
	struct node *n = l->node;

	if (l->list)
		l->v->ops->list_cancel(l->v->be, l->list);
	l->list = NULL;
	l->node = NULL;
	if (n)
		node_unref(l->v, n);
}

static void listing_unref(struct listing *l)
{
	if (!l || --l->ref_count)
		return;
	l->ref_count = 1; /* stopping may drop a node that drops its listing */
	fill_stop(l);
	forget_first(l, l->count);
	hash_finish(&l->names);
	free(l->entries);
	free(l);
}

static bool listing_append(struct listing *l, const char *name, size_t len,
			   const struct be_attr *a)
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

/* The cached listing of `n` if it may still answer, else NULL. */
static struct listing *fresh(struct vfs *v, struct node *n)
{
	struct listing *l = n->listing;

	if (l && l->expires_ms <= v->clock->now_ms) {
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

int listing_lookup(struct vfs *v, struct node *parent, const char *name, struct be_attr *a,
		   int64_t *expires_ms)
{
	struct listing *l = fresh(v, parent);
	struct entry *e;

	if (!l)
		return -1;
	e = entry_find(l, name);
	if (!e || e->removed) {
		int64_t until = l->asked_ms + attr_negative_lifetime(v);

		*expires_ms = until < l->expires_ms ? until : l->expires_ms;
		return *expires_ms > v->clock->now_ms ? 0 : -1;
	}
	if (!e->attr_known || (v->cfg.follow_symlinks && attr_is_link(&e->attr)))
		return -1;
	*a = e->attr;
	*expires_ms = l->asked_ms + attr_lifetime(v, a);
	return *expires_ms > v->clock->now_ms ? 1 : -1;
}

void listing_add(struct vfs *v, struct node *parent, const char *name, const struct be_attr *a)
{
	struct listing *l = fresh(v, parent);
	struct entry *e;

	if (!l)
		return;
	e = entry_find(l, name);
	if (!e) {
		if (++l->churn_count > CHURN_COUNT_MAX + l->count ||
		    !listing_append(l, name, strlen(name), a))
			listing_drop(v, parent);
		return;
	}
	e->removed = false;
	e->attr_known = a != NULL;
	if (a)
		e->attr = *a;
}

void listing_show(struct vfs *v, struct node *n, const struct be_attr *a)
{
	list_for_each(e, &n->names) {
		struct name *d = list_entry(e, struct name, in_node);

		listing_add(v, d->parent, d->bytes, a);
	}
}

void listing_remove(struct vfs *v, struct node *parent, const char *name)
{
	struct listing *l = fresh(v, parent);
	struct entry *e = l ? entry_find(l, name) : NULL;

	if (!e)
		return;
	e->removed = true;
	if (++l->churn_count > CHURN_COUNT_MAX + l->count)
		listing_drop(v, parent);
}

static void readdir_continue(struct op *op);
static void opendir_continue(struct op *op);

static void wake(struct listing *l)
{
	struct list waiters;

	l->ref_count++; /* an answer may close the directory */
	list_init(&waiters);
	list_splice(&waiters, &l->waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		if (op->kind == OP_OPENDIR)
			opendir_continue(op);
		else
			readdir_continue(op);
	}
	listing_unref(l);
}

static void filled(void *arg, const struct be_entry *entries, size_t count)
{
	struct listing *l = arg;

	l->started = true;
	for (size_t i = 0; i < count; i++)
		if (!listing_append(l, entries[i].name, entries[i].name_len, &entries[i].attr))
			l->err = -ENOMEM;
	if (l->count > LISTING_COUNT_MAX && !l->paused && l->list) {
		l->paused = true;
		l->v->ops->list_pause(l->v->be, l->list, true);
	}
	wake(l);
}

/* A complete listing answers lookups, unless a change of ours overtook it or it streamed. */
static void install(struct listing *l)
{
	struct node *n = l->node;
	struct vfs *v = l->v;

	if (l->err || l->first || l->count > LISTING_COUNT_MAX ||
	    n->change_count != l->change_count || !v->cfg.dir_cache)
		return;
	l->expires_ms = l->asked_ms + attr_lifetime(v, &n->attr);
	if (l->expires_ms <= v->clock->now_ms)
		return;
	l->ref_count++;
	listing_drop(v, n);
	n->listing = l;
}

static void fill_failed(void *arg, int err)
{
	struct listing *l = arg;
	struct node *n = l->node;

	l->err = err;
	l->complete = true;
	l->node = NULL;
	wake(l);
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
	if (st->code != BE_OK) {
		path = node_path(v, n, NULL, &err);
		l->ref_count++; /* for the second look */
		errno_resolve(v, &(struct errno_query){.kind = OP_OPENDIR, .path = path}, st,
			      fill_failed, l);
		free(path);
		return;
	}
	l->complete = true;
	install(l);
	l->node = NULL;
	wake(l);
	node_unref(v, n);
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

/* A snapshot for a new reader: the cached one, or a new one. */
static struct listing *listing_get(struct vfs *v, struct node *n, int *err)
{
	struct listing *l = fresh(v, n);

	if (!l)
		return fill_start(v, n, err);
	l->ref_count++;
	return l;
}

static bool fh_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct dir, by_fh)->fh == *(const uint64_t *)key;
}

static struct dir *dir_find(struct vfs *v, uint64_t fh)
{
	struct hash_node *hn = hash_find(&v->dirs, hash_u64(fh), fh_matches, &fh);

	return hn ? list_entry(hn, struct dir, by_fh) : NULL;
}

static void dir_free(struct vfs *v, struct dir *d)
{
	struct node *n = d->node;

	hash_del(&v->dirs, &d->by_fh);
	listing_unref(d->listing);
	free(d);
	node_unref(v, n);
}

void dir_close_all(struct vfs *v)
{
	struct hash_node *hn;

	while ((hn = hash_next(&v->dirs, NULL)) != NULL)
		dir_free(v, list_entry(hn, struct dir, by_fh));
}

/* The server has said whether the directory can be listed. */
static void opendir_continue(struct op *op)
{
	struct vfs *v = op->v;
	struct dir *d = dir_find(v, op->fh);
	struct vfs_opened o = {.fh = op->fh};
	struct vfs_req *req;

	if (d->listing->err) {
		int err = d->listing->err;

		dir_free(v, d);
		op_fail(op, err);
		return;
	}
	req = op_take_req(op);
	op_free(op);
	if (!req || !v->replies->open(req, &o))
		dir_free(v, d);
}

void vfs_opendir(struct vfs *v, struct vfs_req *req, uint64_t nodeid)
{
	struct op *op = op_create(v, req, OP_OPENDIR);
	struct dir *d;
	int err;

	if (!op || !op_on_node(op, node_find(v, nodeid)))
		return;
	d = calloc(1, sizeof(*d));
	if (!d) {
		op_fail(op, -ENOMEM);
		return;
	}
	d->listing = listing_get(v, op->node, &err);
	if (!d->listing) {
		free(d);
		op_fail(op, err);
		return;
	}
	d->fh = op->fh = ++v->last_fh;
	d->node = node_ref(op->node);
	hash_add(&v->dirs, &d->by_fh, hash_u64(d->fh));
	if (d->listing->complete || d->listing->started)
		opendir_continue(op);
	else
		list_push_back(&d->listing->waiters, &op->wait);
}

static bool add_dot(struct op *op, struct dir *d, size_t pos)
{
	struct vfs *v = op->v;
	struct name *up = list_empty(&d->node->names) ?
			      NULL : list_entry(d->node->names.next, struct name, in_node);
	const struct node *n = pos == 0 || !up ? d->node : up->parent;
	struct vfs_entry e = {0};

	e.st.st_ino = n->ino;
	e.st.st_mode = S_IFDIR;
	return v->replies->dirent(op->req, pos == 0 ? "." : "..", &e, (off_t)pos + 1);
}

/* The node for an entry of a listing, or NULL where its attributes cannot be vouched for. */
static struct node *node_of_entry(struct vfs *v, struct node *parent, const struct listing *l,
				  const struct entry *e, int64_t *expires_ms)
{
	struct name *d = name_find(v, parent, e->name);
	struct node *n = d ? d->node : NULL;

	if (n && (n->dirty || n->attr_expires_ms > v->clock->now_ms)) {
		*expires_ms = d->expires_ms;
		return node_ref(n); /* what we know is at least as new */
	}
	if (!e->attr_known || !(e->attr.valid & BE_ATTR_MODE) ||
	    (v->cfg.follow_symlinks && attr_is_link(&e->attr)))
		return NULL;
	*expires_ms = l->asked_ms + attr_lifetime(v, &e->attr);
	if (*expires_ms <= v->clock->now_ms)
		return NULL;
	return entry_known(v, parent, e->name, &e->attr, n, n ? n->change_count : 0, *expires_ms);
}

static bool add_entry(struct op *op, struct dir *d, const struct entry *e, off_t next_off)
{
	struct vfs *v = op->v;
	struct vfs_entry out = {0};
	struct node *n = NULL;
	int64_t expires_ms;
	bool fits;

	if (op->plus)
		n = node_of_entry(v, d->node, d->listing, e, &expires_ms);
	if (n) {
		out.nodeid = n->nodeid;
		attr_node_stat(v, n, &out.st);
		out.attr_timeout_ms = attr_kernel_attr_timeout(v, n);
		out.entry_timeout_ms = attr_kernel_entry_timeout(v, expires_ms);
	} else {
		int err;
		char *path = node_path(v, d->node, e->name, &err);
		struct name *known = name_find(v, d->node, e->name);

		out.st.st_ino = known && known->node ? known->node->ino :
				path ? node_path_ino(path) : 2;
		out.st.st_mode = v->cfg.follow_symlinks && attr_is_link(&e->attr) ?
				     0 : e->attr.mode & S_IFMT;
		free(path);
	}
	fits = v->replies->dirent(op->req, e->name, &out, next_off);
	if (n) {
		if (fits) {
			if (n->dirty)
				n->mtime_shown = true;
			node_looked_up(n);
		}
		node_unref(v, n);
	}
	return fits;
}

/* Streaming: what lies behind the reader is forgotten, and the server goes on when it catches up. */
static void stream_on(struct listing *l, size_t pos)
{
	if (!l->complete && l->count > LISTING_COUNT_MAX && pos > l->first)
		forget_first(l, pos - l->first);
	else if (l->first && pos > l->first)
		forget_first(l, pos - l->first);
	if (l->paused && l->list && l->count < LISTING_COUNT_MAX / 2) {
		l->paused = false;
		l->v->ops->list_pause(l->v->be, l->list, false);
	}
}

static void answer_readdir(struct op *op)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);

	op_free(op);
	v->replies->dir_end(req);
}

/* Hands out entries from op->off on. Return: how many. */
static size_t add_entries(struct op *op, struct dir *d)
{
	struct listing *l = d->listing;
	size_t added = 0;

	while (op->off < DOT_COUNT) {
		if (!add_dot(op, d, op->off))
			return added;
		op->off++;
		added++;
	}
	while (op->off - DOT_COUNT < l->first + l->count) {
		const struct entry *e = l->entries[op->off - DOT_COUNT - l->first];

		if (!e->removed) {
			if (!add_entry(op, d, e, (off_t)op->off + 1))
				break;
			added++;
		}
		op->off++;
	}
	return added;
}

static void readdir_continue(struct op *op)
{
	struct vfs *v = op->v;
	struct dir *d = dir_find(v, op->fh);
	struct listing *l;
	size_t added, pos;

	if (!op->req || !d) {
		op_fail(op, -EBADF);
		return;
	}
	l = d->listing;
	added = add_entries(op, d);
	pos = op->off > DOT_COUNT ? op->off - DOT_COUNT : 0;
	stream_on(l, pos < l->first + l->count ? pos : l->first + l->count);
	d->read = d->read || added;
	if (added || (l->complete && !l->err))
		answer_readdir(op);
	else if (l->err)
		op_fail(op, l->err);
	else
		list_push_back(&l->waiters, &op->wait);
}

/* rewinddir, or a seek to what a streaming listing has forgotten: a new snapshot. */
static int restart(struct vfs *v, struct dir *d)
{
	int err;
	struct listing *l = listing_get(v, d->node, &err);

	if (!l)
		return err;
	listing_unref(d->listing);
	d->listing = l;
	d->read = false;
	return 0;
}

void vfs_readdir(struct vfs *v, struct vfs_req *req, uint64_t fh, off_t off, bool plus)
{
	struct op *op = op_create(v, req, OP_READDIR);
	struct dir *d = dir_find(v, fh);
	int err = 0;

	if (!op)
		return;
	if (!d) {
		op_fail(op, -EBADF);
		return;
	}
	op->fh = fh;
	op->off = (uint64_t)off;
	op->plus = plus;
	if ((off == 0 && d->read) ||
	    (op->off >= DOT_COUNT && op->off - DOT_COUNT < d->listing->first))
		err = restart(v, d);
	if (!op_failed_start(op, err))
		readdir_continue(op);
}

void vfs_releasedir(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct dir *d = dir_find(v, fh);

	if (d)
		dir_free(v, d);
	v->replies->err(req, 0);
}

/* SFTP has nothing to make names durable with; changes are acknowledged only when carried out. */
void vfs_fsyncdir(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	v->replies->err(req, dir_find(v, fh) ? 0 : EBADF);
}
