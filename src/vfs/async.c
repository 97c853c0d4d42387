/* SPDX-License-Identifier: BSD-2-Clause */
/* The journal as a whole: answers, failures, barriers. Contract: include/vfs/async.h. */
#include "vfs/async.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async_parts.h"
#include "vfs/attr.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/listing.h"
#include "vfs/room.h"

/* More unanswered changes than this, and programs wait for the server. */
#define CHANGE_COUNT_MAX 20000u

/* An acknowledgement on its way up: never from inside the call that asked for it. */
struct answer {
	struct list entry;
	struct async *a;
	enum { ANSWER_ATTR, ANSWER_STATUS, ANSWER_OPEN, ANSWER_READ, ANSWER_PATH } kind;
	be_attr_fn *attr_fn;
	be_status_fn *status_fn;
	be_open_fn *open_fn;
	be_read_fn *read_fn;
	be_path_fn *path_fn;
	void *arg;
	int err;
	bool attr_ok;
	struct be_attr attr;
	struct be_file *file;
	struct data *block;
	size_t len;
	bool mkdir; /* `text` is a new directory */
	char text[];
};

/* The journal speaks, not the server. */
static void answer_set_attr(struct answer *n, const struct be_attr *attr)
{
	n->attr_ok = attr != NULL;
	if (!attr)
		return;
	n->attr = *attr;
	n->attr.valid |= BE_ATTR_ASSUMED;
}

struct be_status async_status(int err)
{
	if (err == 0)
		return (struct be_status){.code = BE_OK, .text = ""};
	if (err == -ENOENT)
		return (struct be_status){.code = BE_NO_SUCH_FILE, .text = ""};
	return (struct be_status){
	    .code = BE_ERRNO, .err = -err, .text = "an earlier change failed"};
}

void async_new_dir(struct async *a, const char *path)
{
	struct node *dir = async_node(a->v, path);

	if (dir)
		listing_install_empty(a->v, dir);
}

static void answer_give(struct answer *n)
{
	struct async *a = n->a;
	struct be_status st = async_status(n->err);

	switch (n->kind) {
	case ANSWER_ATTR:
		n->attr_fn(n->arg, &st, n->attr_ok ? &n->attr : NULL);
		if (n->mkdir)
			async_new_dir(a, n->text);
		break;
	case ANSWER_STATUS:
		n->status_fn(n->arg, &st);
		break;
	case ANSWER_OPEN:
		n->open_fn(n->arg, &st, n->file, n->attr_ok ? &n->attr : NULL);
		break;
	case ANSWER_READ:
		if (!n->err && !n->len)
			st.code = BE_EOF;
		n->read_fn(n->arg, &st, n->block, 0, n->len);
		break;
	case ANSWER_PATH:
		n->path_fn(n->arg, &st, n->text, strlen(n->text));
		break;
	}
	free(n);
}

static bool too_much(const struct async *a)
{
	return a->pending.count > CHANGE_COUNT_MAX;
}

static void give_answers(void *arg)
{
	struct async *a = arg;
	struct list now;

	list_init(&now);
	list_splice(&now, &a->answers);
	while (!list_empty(&now)) {
		struct answer *n = list_entry(now.next, struct answer, entry);

		list_del(&n->entry);
		answer_give(n);
	}
	vfs_look_drained(a->v);
}

static struct answer *answer_create(struct async *a, void *arg, const char *text)
{
	size_t len = text ? strlen(text) + 1 : 1;
	struct answer *n = calloc(1, sizeof(*n) + len);

	if (!n)
		return NULL;
	if (text)
		memcpy(n->text, text, len);
	n->a = a;
	n->arg = arg;
	list_push_back(&a->answers, &n->entry);
	if (!timer_armed(&a->answer_timer) && !too_much(a))
		timer_set(a->v->clock, &a->answer_timer, a->v->clock->now_ms);
	return n;
}

int answer_attr(struct async *a, be_attr_fn *done, void *arg, int err, const struct be_attr *attr)
{
	struct answer *n = answer_create(a, arg, NULL);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_ATTR;
	n->attr_fn = done;
	n->err = err;
	answer_set_attr(n, attr);
	return 0;
}

int answer_mkdir(struct async *a, be_attr_fn *done, void *arg, const struct be_attr *attr,
                 const char *path)
{
	struct answer *n = answer_create(a, arg, path);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_ATTR;
	n->attr_fn = done;
	answer_set_attr(n, attr);
	n->mkdir = true;
	return 0;
}

int answer_status(struct async *a, be_status_fn *done, void *arg, int err)
{
	struct answer *n = answer_create(a, arg, NULL);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_STATUS;
	n->status_fn = done;
	n->err = err;
	return 0;
}

int answer_open(struct async *a, be_open_fn *done, void *arg, struct be_file *f,
                const struct be_attr *attr, int err)
{
	struct answer *n = answer_create(a, arg, NULL);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_OPEN;
	n->open_fn = done;
	n->file = f;
	n->err = err;
	answer_set_attr(n, attr);
	return 0;
}

int answer_read(struct async *a, be_read_fn *done, void *arg, struct data *block, size_t len,
                int err)
{
	struct answer *n = answer_create(a, arg, NULL);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_READ;
	n->read_fn = done;
	n->block = block;
	n->len = len;
	n->err = err;
	return 0;
}

int answer_path(struct async *a, be_path_fn *done, void *arg, const char *target)
{
	struct answer *n = answer_create(a, arg, target);

	if (!n)
		return -ENOMEM;
	n->kind = ANSWER_PATH;
	n->path_fn = done;
	return 0;
}

/* What vfs was told of a name is not so: the next who asks must ask the server. */
static void forget_name(struct vfs *v, const char *path, bool exists)
{
	const char *slash = strrchr(path, '/');
	char *parent = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	struct node *dir = parent ? async_node(v, *parent ? parent : "/") : NULL;
	struct name *d = dir ? name_find(v, dir, slash + 1) : NULL;

	free(parent);
	if (!dir)
		return;
	node_changed(v, dir);
	attr_expire(dir);
	listing_drop(v, dir);
	if (!d)
		return;
	if (d->node) {
		d->node->change_count++;
		attr_expire(d->node);
		d->node->pages.known = false;
		listing_drop(v, d->node);
	}
	if (!exists)
		name_drop(v, d);
	else
		d->expires_ms = 0;
}

static const char *name_of(const struct change *c)
{
	return c->at.name ? c->at.name->path : "(a file without a name)";
}

void async_failed(struct async *a, const struct change *c, const char *what, bool exists)
{
	const char *path = name_of(c);

	a->failed_count++;
	if (!a->barrier_err)
		a->barrier_err = c->err;
	if (c->sent)
		log_error(LOG_VFS, "postponed %s of '%s' failed: %s", what, path,
		          strerror(-c->err));
	else
		log_error(LOG_VFS,
		          "postponed %s of '%s' was not sent: what it builds on failed: %s", what,
		          path, strerror(-c->err));
	if (c->at.name)
		forget_name(a->v, path, exists);
	if (c->at2.name)
		forget_name(a->v, c->at2.name->path, false);
}

void async_errno(struct async *a, const struct errno_query *q, const struct be_status *st,
                 void (*done)(void *arg, int err), void *arg)
{
	struct errno_query query = *q;

	query.be = a->below;
	errno_resolve(a->v, &query, st, done, arg);
}

void async_unsent(struct async *a, int64_t len)
{
	a->unsent_len = (uint64_t)((int64_t)a->unsent_len + len);
	if (len < 0)
		room_more(a->v);
}

struct barrier {
	struct change change;
	struct async *a;
	bool report; /* the first failure since the last barrier */
	async_done_fn *done;
	void *arg;
};

static void barrier_passed(struct change *c)
{
	change_end(c, 0);
}

static void barrier_end(struct change *c)
{
	struct barrier *b = list_entry(c, struct barrier, change);
	int err = c->err;

	if (b->report && !err) {
		err = b->a->barrier_err;
		b->a->barrier_err = 0;
	}
	b->done(b->arg, err);
	free(b);
}

/* Deferred, because it may be passed already: the answer never comes from inside the call. */
static void barrier_begin(void *arg, const struct be_status *st)
{
	struct barrier *b = arg;

	(void)st;
	if (pending_add(&b->a->pending, &b->change, NULL, NULL) < 0) {
		b->done(b->arg, -ENOMEM);
		free(b);
		return;
	}
	pending_run(&b->a->pending);
}

int async_wait_all(struct async *a, bool report, async_done_fn *done, void *arg)
{
	struct barrier *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	change_init(&b->change, CHANGE_BARRIER, barrier_passed, barrier_end);
	b->a = a;
	b->report = report;
	b->done = done;
	b->arg = arg;
	async_release_all(a);
	if (answer_status(a, barrier_begin, b, 0) < 0) {
		free(b);
		return -ENOMEM;
	}
	return 0;
}

int async_barrier(struct async *a, async_done_fn *done, void *arg)
{
	return async_wait_all(a, true, done, arg);
}

bool async_busy(struct async *a)
{
	async_release_all(a);
	return !list_empty(&a->pending.changes) || !list_empty(&a->answers);
}

/* A change has been answered: there is room for more, and perhaps nothing left. */
static void async_settled(void *arg)
{
	struct async *a = arg;

	if (!list_empty(&a->answers) && !timer_armed(&a->answer_timer) && !too_much(a))
		timer_set(a->v->clock, &a->answer_timer, a->v->clock->now_ms);
	vfs_look_drained(a->v);
}

size_t async_log_undelivered(struct async *a)
{
	size_t count = 0;

	list_for_each(e, &a->pending.changes) {
		struct change *c = list_entry(e, struct change, entry);

		if (!c->postponed)
			continue;
		log_error(LOG_VFS, "not delivered: '%s'", name_of(c));
		count++;
	}
	list_for_each(e, &a->pending.failed) {
		struct pname *n = list_entry(e, struct pname, in_failed);

		log_error(LOG_VFS, "not delivered: '%s': %s", n->path, strerror(-n->err));
		count++;
	}
	return count;
}

void async_get_stats(const struct async *a, struct async_stats *out)
{
	*out = (struct async_stats){
	    .pending_count = a->pending.count,
	    .pending_len = a->unsent_len,
	    .postponed_count = a->postponed_count,
	    .failed_count = a->failed_count,
	};
}

static const struct be_info *async_info(struct backend *b)
{
	struct async *a = async_of(b);

	return a->ops->info(a->below);
}

static int async_statvfs(struct backend *b, const char *path, be_statvfs_fn *done, void *arg)
{
	struct async *a = async_of(b);

	return a->ops->statvfs(a->below, path, done, arg);
}

static int async_id_names(struct backend *b, const struct be_ids *users,
                          const struct be_ids *groups, be_id_names_fn *done, void *arg)
{
	struct async *a = async_of(b);

	return a->ops->id_names(a->below, users, groups, done, arg);
}

/* The hash of what is on the server: behind everything acknowledged so far. */
struct hash_call {
	struct async *a;
	be_hash_fn *done;
	void *arg;
	char path[];
};

static void hash_passed(void *arg, int err)
{
	struct hash_call *h = arg;
	struct be_status st;

	if (!err)
		err = h->a->ops->hash(h->a->below, h->path, h->done, h->arg);
	if (err) {
		st = async_status(err);
		h->done(h->arg, &st, NULL);
	}
	free(h);
}

static int async_hash(struct backend *b, const char *path, be_hash_fn *done, void *arg)
{
	size_t size = strlen(path) + 1;
	struct hash_call *h = calloc(1, sizeof(*h) + size);

	if (!h)
		return -ENOMEM;
	*h = (struct hash_call){async_of(b), done, arg};
	memcpy(h->path, path, size);
	if (async_wait_all(h->a, false, hash_passed, h) == 0)
		return 0;
	free(h);
	return -ENOMEM;
}

static void async_quiesce(struct backend *b)
{
	struct async *a = async_of(b);

	a->ops->quiesce(a->below);
}

static const struct be_ops async_ops = {
    .info = async_info,
    .stat = async_stat,
    .setattr = async_setattr,
    .readlink = async_readlink,
    .symlink = async_symlink,
    .link = async_link,
    .mkdir = async_mkdir,
    .rmdir = async_rmdir,
    .remove = async_remove,
    .rename = async_rename,
    .statvfs = async_statvfs,
    .id_names = async_id_names,
    .list = async_list,
    .list_cancel = async_list_cancel,
    .list_pause = async_list_pause,
    .open = async_open,
    .file_node = async_file_node,
    .fstat = async_fstat,
    .fsetattr = async_fsetattr,
    .read = async_read,
    .write = async_write,
    .fsync = async_fsync,
    .copy = async_copy,
    .fetch = async_fetch,
    .hash = async_hash,
    .close = async_close,
    .quiesce = async_quiesce,
};

static void hold_passed(void *arg)
{
	async_release_all(arg);
}

int async_create(struct vfs *v)
{
	struct async *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	if (pending_init(&a->pending, v->root_path, v->budget, async_settled, a) < 0) {
		free(a);
		return -ENOMEM;
	}
	a->base.ops = &async_ops;
	a->v = v;
	a->below = v->be;
	a->ops = v->ops;
	list_init(&a->answers);
	list_init(&a->held);
	list_init(&a->open_files);
	for (unsigned i = 0; i < ASYNC_MISS_COUNT; i++)
		list_init(&a->misses[i].waiters);
	timer_init(&a->answer_timer, give_answers, a);
	timer_init(&a->hold_timer, hold_passed, a);
	v->async = a;
	v->be = &a->base;
	v->ops = &async_ops;
	return 0;
}

void async_destroy(struct async *a)
{
	if (!a)
		return;
	a->pending.stopped = true;
	async_look_finish(a);
	while (async_busy(a)) {
		give_answers(a);
		if (!list_empty(&a->pending.changes))
			change_end(list_entry(a->pending.changes.next, struct change, entry), -EIO);
	}
	timer_cancel(&a->answer_timer);
	timer_cancel(&a->hold_timer);
	pending_finish(&a->pending);
	a->v->be = a->below;
	a->v->ops = a->ops;
	free(a);
}
