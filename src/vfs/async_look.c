/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Questions: what is pending shows, the rest is asked below; a listing waits until everything pending
 * in the directory has been answered. Programs that make many names look each up first: after two
 * that were not there the directory is listed, and its listing answers for the rest.
 *
 * Nothing here tells a failure that nobody has been told: the kernel keeps some errors of lookups to
 * itself, and the answer is the truth anyway.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async_parts.h"
#include "vfs/attr.h"
#include "vfs/listing.h"

/* Looking in vain counts as the beginning of making names for this long after the last one made. */
#define MAKING_MS 5000

/* Lookups in vain in one directory before it is listed. */
#define MISS_COUNT_MAX 2u

/* A question that waits, for what is pending or for a listing. */
struct ask {
	struct change change;
	struct list wait; /* async_miss.waiters */
	struct async *a;
	bool follow;
	size_t len_max;        /* of a fetch */
	be_attr_fn *attr_fn;   /* one of the three is set: stat, */
	be_path_fn *path_fn;   /* readlink, */
	be_fetch_fn *fetch_fn; /* fetch */
	void *arg;
	char path[];
};

static void ask_failed(struct ask *q, int err)
{
	struct be_status st = async_status(err);

	/* Later, as every answer, unless there is no memory left for that. */
	if (q->path_fn)
		q->path_fn(q->arg, &st, "", 0);
	else if (q->fetch_fn)
		q->fetch_fn(q->arg, &st, NULL, NULL, 0, 0);
	else if (answer_attr(q->a, q->attr_fn, q->arg, err, NULL) < 0)
		q->attr_fn(q->arg, &st, NULL);
	free(q);
}

static void ask_send(struct change *c)
{
	change_end(c, 0);
}

/* Nothing is pending on the name any more. */
static void ask_end(struct change *c)
{
	struct ask *q = list_entry(c, struct ask, change);
	struct async *a = q->a;
	int err = c->err;

	if (!err && q->fetch_fn)
		err = a->ops->fetch(a->below, q->path, q->len_max, q->fetch_fn, q->arg);
	else if (!err && q->path_fn)
		err = a->ops->readlink(a->below, q->path, q->path_fn, q->arg);
	else if (!err && q->attr_fn)
		err = a->ops->stat(a->below, q->path, q->follow, q->attr_fn, q->arg);
	if (err)
		ask_failed(q, err);
	else
		free(q);
}

static struct ask *ask_create(struct async *a, const char *path, void *arg)
{
	struct ask *q = calloc(1, sizeof(*q) + strlen(path) + 1);

	if (!q)
		return NULL;
	change_init(&q->change, CHANGE_ASK, ask_send, ask_end);
	list_init(&q->wait);
	q->a = a;
	q->arg = arg;
	strcpy(q->path, path);
	return q;
}

static int ask_wait(struct ask *q)
{
	struct pending *p = &q->a->pending;
	const struct node *n = async_node(q->a->v, q->path);
	int r;

	q->change.nodeid = n ? n->nodeid : 0;
	r = pending_add(p, &q->change, q->path, NULL);
	if (r < 0)
		free(q);
	else
		pending_run(p);
	return r;
}

/* Where the misses of a directory are counted; NULL: they are not (yet). */
static struct async_miss *miss_find(struct async *a, uint64_t nodeid)
{
	for (unsigned i = 0; i < ASYNC_MISS_COUNT; i++)
		if (a->misses[i].nodeid == nodeid)
			return &a->misses[i];
	return NULL;
}

static void missed(struct async *a, const char *path)
{
	struct seen s = async_see(a, path);
	struct async_miss *m = s.dir ? miss_find(a, s.dir->nodeid) : NULL;

	if (m) {
		m->count++;
		return;
	}
	m = &a->misses[a->miss_turn++ % ASYNC_MISS_COUNT];
	if (!s.dir || m->listing)
		return;
	m->nodeid = s.dir->nodeid;
	m->count = 1;
	m->useless = false;
}

static void counted_stat(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct ask *q = arg;

	if (st->code == BE_NO_SUCH_FILE)
		missed(q->a, q->path);
	q->attr_fn(q->arg, st, attr);
	free(q);
}

static void ask_below(struct ask *q)
{
	int r = q->a->ops->stat(q->a->below, q->path, q->follow, counted_stat, q);

	if (r < 0)
		ask_failed(q, r);
}

/* The listing has come, or failed: it answers, or the server is asked for each. */
static void answer_waiters(struct async *a, struct async_miss *m)
{
	struct listing *l = m->listing;
	struct node *dir = node_find(a->v, m->nodeid);
	struct list waiters;
	struct be_status st = {.text = ""};

	list_init(&waiters);
	list_splice(&waiters, &m->waiters);
	m->listing = NULL;
	m->useless = l->err || l->paused;
	m->count = 0; /* if a change overtook the listing, another one may be worth it */
	while (!list_empty(&waiters)) {
		struct ask *q = list_entry(waiters.next, struct ask, wait);
		struct be_attr attr;
		int64_t asked_ms, expires_ms;
		int found = dir ? listing_lookup(a->v, dir, strrchr(q->path, '/') + 1, 0, &attr,
		                                 &asked_ms, &expires_ms)
		                : -1;

		list_del(&q->wait);
		if (found < 0) {
			ask_below(q);
			continue;
		}
		st.code = found ? BE_OK : BE_NO_SUCH_FILE;
		q->attr_fn(q->arg, &st, found ? &attr : NULL);
		free(q);
	}
	listing_unref(l);
}

static bool wait_for_listing(struct async *a, struct ask *q, struct node *dir)
{
	struct async_miss *m = dir ? miss_find(a, dir->nodeid) : NULL;
	int err;

	if (!m || m->count < MISS_COUNT_MAX || m->useless || q->follow)
		return false;
	if (!m->listing) {
		listing_drop(a->v, dir); /* too old to say what is not there */
		m->listing = listing_get(a->v, dir, &err);
		if (!m->listing || m->listing->complete) {
			listing_unref(m->listing);
			m->listing = NULL;
			return false;
		}
	}
	list_push_back(&m->waiters, &q->wait);
	return true;
}

/* A directory in which something is pending: the server would show times that it will not keep. */
static bool changes_below(struct async *a, const char *path, struct be_attr *attr)
{
	const struct pname *n = pending_find(&a->pending, path);
	struct seen s;

	if (!n || !pname_busy(n))
		return false;
	s = async_see(a, path);
	*attr = s.attr;
	attr->mtime = (uint32_t)attr_server_now(a->v);
	return s.what == SEEN_PRESENT && attr_is_dir(attr);
}

int async_stat(struct backend *b, const char *path, bool follow, be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int64_t now_ms = a->v->clock->now_ms;
	struct node *n =
	    a->pending.count || !list_empty(&a->open_files) ? async_node(a->v, path) : NULL;
	struct be_attr attr;
	bool waits = false;
	struct seen s;
	struct ask *q;

	if (n)
		async_tell(a, n->nodeid);
	switch (pending_state(&a->pending, path, &attr)) {
	case PNAME_MADE:
	case PNAME_CHANGED:
		if (n)
			async_node_attr(n, &attr);
		return answer_attr(a, done, arg, 0, &attr);
	case PNAME_ABSENT:
		return answer_attr(a, done, arg, -ENOENT, NULL);
	case PNAME_AS_IS:
		if (changes_below(a, path, &attr))
			return answer_attr(a, done, arg, 0, &attr);
		waits = n && pending_file(&a->pending, n->nodeid); /* by other names */
		if (waits)
			break;
		if (path[0] != '/' || !a->made_ms || now_ms - a->made_ms > MAKING_MS)
			return a->ops->stat(a->below, path, follow, done, arg);
		break;
	case PNAME_UNSURE:
		waits = true;
		break;
	}
	q = ask_create(a, path, arg);
	if (!q)
		return -ENOMEM;
	q->follow = follow;
	q->attr_fn = done;
	if (waits)
		return ask_wait(q);
	s = async_see(a, path);
	if (!wait_for_listing(a, q, s.dir))
		ask_below(q);
	return 0;
}

int async_readlink(struct backend *b, const char *path, be_path_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct pname *n = pending_find(&a->pending, path);
	struct be_attr attr;
	struct ask *q;

	if (n && n->target)
		return answer_path(a, done, arg, n->target);
	if (pending_state(&a->pending, path, &attr) == PNAME_AS_IS)
		return a->ops->readlink(a->below, path, done, arg);
	q = ask_create(a, path, arg);
	if (!q)
		return -ENOMEM;
	q->path_fn = done;
	return ask_wait(q);
}

int async_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct ask *q;

	if (!a->pending.count)
		return a->ops->fetch(a->below, path, len_max, done, arg);
	q = ask_create(a, path, arg);
	if (!q)
		return -ENOMEM;
	q->len_max = len_max;
	q->fetch_fn = done;
	return ask_wait(q);
}

/* A listing that is asked for once nothing is pending in the directory. */
struct be_list {
	struct change change;
	struct async *a;
	struct be_list *below;
	bool paused;
	struct timer fail_timer;
	int err; /* it could not be started */
	be_entries_fn *entries;
	be_status_fn *done;
	void *arg;
	char path[];
};

/* A listing that lookups wait for has ended, or is too long to be kept. */
static void look_listed(struct async *a)
{
	for (unsigned i = 0; i < ASYNC_MISS_COUNT; i++) {
		struct async_miss *m = &a->misses[i];

		if (m->listing && (!m->listing->list || m->listing->paused))
			answer_waiters(a, m);
	}
}

static void list_done(void *arg, const struct be_status *st)
{
	struct be_list *l = arg;
	struct async *a = l->a;
	be_status_fn *done = l->done;
	void *done_arg = l->arg;

	free(l);
	done(done_arg, st);
	look_listed(a);
}

static void list_entries(void *arg, const struct be_entry *entries, size_t count)
{
	struct be_list *l = arg;
	struct async *a = l->a;

	l->entries(l->arg, entries, count);
	look_listed(a);
}

static void list_failed(void *arg)
{
	struct be_list *l = arg;
	struct be_status st = async_status(l->err);

	list_done(l, &st);
}

static void list_end(struct change *c)
{
	struct be_list *l = list_entry(c, struct be_list, change);
	struct async *a = l->a;

	l->err = c->err;
	if (!l->err)
		l->err = a->ops->list(a->below, l->path, list_entries, list_done, l, &l->below);
	if (l->err && a->pending.stopped)
		list_failed(l);
	else if (l->err)
		timer_set(a->v->clock, &l->fail_timer, a->v->clock->now_ms);
	else if (l->paused)
		a->ops->list_pause(a->below, l->below, true);
}

/* The directory may have a name of a file on which something is pending by a name elsewhere. */
static int wait_for_linked(struct async *a, struct change *c)
{
	int r = 0;

	for (const struct hash_node *hn = NULL;
	     a->linked && r == 0 && (hn = hash_next(&a->pending.files, hn)) != NULL;) {
		const struct pfile *f = list_entry(hn, const struct pfile, by_nodeid);
		const struct node *n = node_find(a->v, f->nodeid);

		if (n && n->names.next != n->names.prev)
			r = change_wait_file(c, f);
	}
	return r;
}

int async_list(struct backend *b, const char *path, be_entries_fn *entries, be_status_fn *done,
               void *arg, struct be_list **out)
{
	struct async *a = async_of(b);
	struct be_list *l = calloc(1, sizeof(*l) + strlen(path) + 1);
	int r;

	if (!l)
		return -ENOMEM;
	change_init(&l->change, CHANGE_ASK, ask_send, list_end);
	timer_init(&l->fail_timer, list_failed, l);
	l->a = a;
	l->entries = entries;
	l->done = done;
	l->arg = arg;
	strcpy(l->path, path);
	*out = l;
	r = pending_add(&a->pending, &l->change, path, NULL);
	if (r == 0 && wait_for_linked(a, &l->change) < 0) {
		change_cancel(&l->change);
		r = -ENOMEM;
	}
	if (r < 0)
		free(l);
	else
		pending_run(&a->pending);
	return r;
}

void async_list_cancel(struct backend *b, struct be_list *l)
{
	struct async *a = async_of(b);

	if (l->change.active)
		change_cancel(&l->change);
	else if (!l->err)
		a->ops->list_cancel(a->below, l->below);
	timer_cancel(&l->fail_timer);
	free(l);
}

void async_list_pause(struct backend *b, struct be_list *l, bool paused)
{
	struct async *a = async_of(b);

	l->paused = paused;
	if (!l->change.active && !l->err)
		a->ops->list_pause(a->below, l->below, paused);
}

void async_look_finish(struct async *a)
{
	for (unsigned i = 0; i < ASYNC_MISS_COUNT; i++) {
		struct async_miss *m = &a->misses[i];

		while (!list_empty(&m->waiters)) {
			struct ask *q = list_entry(m->waiters.next, struct ask, wait);

			list_del(&q->wait);
			ask_failed(q, -EIO);
		}
		listing_unref(m->listing);
		m->listing = NULL;
	}
}
