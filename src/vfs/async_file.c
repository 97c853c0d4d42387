/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files over the journal, as vfs sees them from open to close. The bytes of a new file are kept
 * until it is sent (async_send.c). A file that is sent before its end, or existed before, passes its
 * writes on as they come and acknowledges them at once. While anything of a file is unanswered, a change
 * stands for it in the order of names, so a rename waits for its bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "async_file.h"
#include "vfs/attr.h"
#include "vfs/errno.h"
#include "vfs/file.h"

/* After the close: what sets attributes by name comes now, and rides along. */
#define HOLD_MS 20

/* A quarter of what the server allows, within these. */
#define PLACE_COUNT_MIN 32u
#define PLACE_COUNT_MAX 256u

static void afile_end(struct change *c);

static void afile_wanted(struct change *c)
{
	struct afile *f = list_entry(c, struct afile, change);

	list_del(&f->in_held);
	change_release(c);
}

static struct afile *afile_create(struct async *a, const char *path, uint32_t flags, uint32_t mode)
{
	struct afile *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->path = strdup(path);
	if (!f->path) {
		free(f);
		return NULL;
	}
	f->a = a;
	f->flags = flags;
	f->mode = mode;
	list_init(&f->entry);
	list_init(&f->in_held);
	list_init(&f->sets);
	list_init(&f->pieces);
	change_init(&f->change, CHANGE_FILE, afile_sent, afile_end);
	f->change.wanted = afile_wanted;
	return f;
}

/* Nobody needs it any more? */
void afile_reap(struct afile *f)
{
	if (!f->closed || f->change.active || f->below || f->unacked_count || f->hold_count)
		return;
	if (f->state == AFILE_OPENING)
		return;
	list_del(&f->entry);
	list_del(&f->in_held);
	free(f->path);
	free(f);
}

/* The path as programs believe it to be. Return: NULL when it has none. */
static const char *believed(struct afile *f, char *buf, size_t size)
{
	if (!f->where || !f->owner || f->closed)
		return f->path;
	return f->where(f->owner, buf, size) == 0 ? buf : NULL;
}

int afile_where(void *owner, char *path, size_t size)
{
	struct afile *f = owner;
	const char *now = believed(f, path, size);
	const struct pname *n = now ? pending_find(&f->a->pending, now) : NULL;

	if (!now)
		return -ESTALE;
	if (n && !list_empty(&n->changes))
		now = f->path;
	if (now != path && strlen(now) >= size)
		return -ESTALE;
	if (now != path)
		strcpy(path, now);
	return 0;
}

/* The name that programs know it by may be another than the one it has on the server still. */
void afile_show(struct afile *f)
{
	char buf[8192];
	const char *path = believed(f, buf, sizeof(buf));
	struct pname *n = path ? pending_find(&f->a->pending, path) : NULL;
	const struct change *last = n ? pname_last(n) : NULL;

	if (!last || n->state == PNAME_ABSENT || n->state == PNAME_UNSURE)
		return;
	if (!f->ours) {
		pname_set(n, PNAME_UNSURE, NULL);
	} else if (last->kind == CHANGE_FILE) {
		pname_set(n, n->state == PNAME_MADE ? PNAME_MADE : PNAME_CHANGED, &f->attr);
	} else {
		n->attr.size = f->attr.size;
		n->attr.mtime = f->attr.mtime;
	}
}

bool afile_is_sent(const struct afile *f)
{
	return f->state == AFILE_OPEN || f->opened;
}

void afile_share(struct afile *f)
{
	f->shared = true;
	/* What is still here is what we make of it; then the server takes over. */
	if (!afile_is_sent(f))
		return;
	f->ours = false;
	f->want &= ~(uint32_t)BE_ATTR_TIMES;
	afile_show(f);
}

void async_share(struct async *a, uint64_t nodeid)
{
	list_for_each(e, &a->open_files) {
		struct afile *f = list_entry(e, struct afile, entry);

		if (nodeid && f->nodeid == nodeid)
			afile_share(f);
	}
}

void async_tell(struct async *a, uint64_t nodeid)
{
	list_for_each(e, &a->open_files) {
		struct afile *f = list_entry(e, struct afile, entry);

		if (nodeid && f->nodeid == nodeid)
			afile_tell(f);
	}
}

void async_break(struct async *a, uint64_t nodeid, int err)
{
	struct node *n = nodeid ? node_find(a->v, nodeid) : NULL;
	int r;

	if (!n)
		return;
	list_for_each(e, &n->names) {
		const struct name *d = list_entry(e, const struct name, in_node);
		char *path = node_path(a->v, d->parent, d->bytes, &r);

		if (path && err)
			pending_break(&a->pending, path, err);
		else if (path)
			pending_mend(&a->pending, path);
		free(path);
	}
}

bool async_is_writing(const struct async *a, const struct node *n)
{
	const struct pfile *pf = pending_file(&a->pending, n->nodeid);

	if (!pf)
		return false;
	list_for_each(e, &pf->changes)
		if (list_entry(e, const struct change, in_file)->kind == CHANGE_FILE)
			return true;
	return false;
}

/* Something is on its way: until it is answered the name waits. */
void afile_stand_for(struct afile *f)
{
	char buf[8192];

	if (f->change.active)
		return;
	change_init(&f->change, CHANGE_FILE, afile_sent, afile_end);
	f->change.postponed = true;
	f->change.marker = true;
	f->change.nodeid = f->nodeid;
	f->bad = 0;
	f->told = false;
	if (pending_add(&f->a->pending, &f->change, believed(f, buf, sizeof(buf)), NULL) < 0)
		return; /* its failure is still reported by close and fsync */
	afile_show(f);
}

int async_take_error(struct async *a, struct be_file *file)
{
	struct afile *f = afile_of(file);
	int err = f->err;

	if (!err)
		return 0;
	f->err = 0;
	f->told = true;
	if (!f->change.active)
		pending_take_error(&a->pending, f->path);
	return err;
}

static void afile_end(struct change *c)
{
	struct afile *f = list_entry(c, struct afile, change);
	struct async *a = f->a;

	if (c->err && f->opened) {
		struct be_status st = async_status(c->err);
		be_open_fn *opened = f->opened;
		void *arg = f->opened_arg;

		f->opened = NULL;
		f->closed = true;
		f->state = AFILE_FAILED;
		list_del(&f->entry);
		opened(arg, &st, NULL, NULL);
	}
	if (c->err && c->postponed) {
		if (!c->sent || !c->there)
			f->state = f->below ? f->state : AFILE_FAILED;
		afile_fail(f, c->err);
		afile_drop_pieces(f, c->err);
		if (c->there)
			async_break(a, f->nodeid, c->err);
		async_failed(a, c, c->there ? "write" : "creation", c->there);
		if (f->told && c->at.name)
			pending_take_error(&a->pending, c->at.name->path);
	} else if (c->postponed && c->at.name && f->final) {
		async_correct(a, c, c->at.name->path, &f->shown);
	}
	afile_reap(f);
}

/* An open that the server answers, in its turn. */
static int open_below(struct afile *f, be_open_fn *done, void *arg)
{
	struct pending *p = &f->a->pending;
	bool changes = f->flags & (BE_CREAT | BE_TRUNC);
	int r;

	f->opened = done;
	f->opened_arg = arg;
	f->change.kind = changes ? CHANGE_FILE : CHANGE_ASK;
	f->change.nodeid = f->nodeid;
	r = pending_add(p, &f->change, f->path, NULL);
	if (r < 0) {
		free(f->path);
		free(f);
		return r;
	}
	list_push_back(&f->a->open_files, &f->entry);
	if (changes) {
		pname_set(f->change.at.name, PNAME_UNSURE, NULL);
		f->a->made_ms = f->a->v->clock->now_ms;
	}
	pending_run(p);
	return 0;
}

/* Files that are sent at a time: each holds a handle of the server. */
static unsigned place_max(const struct async *a)
{
	uint64_t max = a->ops->info(a->below)->open_max / 4;

	return max < PLACE_COUNT_MIN   ? PLACE_COUNT_MIN
	       : max < PLACE_COUNT_MAX ? (unsigned)max
	                               : PLACE_COUNT_MAX;
}

/*
 * A file that was closed and is still held back is opened again: rsync does, to set its mode.
 * Return: the file, or NULL.
 */
static struct afile *open_held(struct async *a, const char *path, uint32_t flags)
{
	struct pname *n = pending_find(&a->pending, path);
	struct change *last = n ? pname_last(n) : NULL;
	struct afile *f = last && last->kind == CHANGE_FILE && last->held
	                      ? list_entry(last, struct afile, change)
	                      : NULL;

	if (!f || !f->closed || f->state != AFILE_KEPT || f->err ||
	    ((f->flags | flags) & BE_APPEND) || (flags & (BE_TRUNC | BE_EXCL)))
		return NULL;
	f->closed = false;
	list_del(&f->in_held);
	list_push_back(&a->open_files, &f->entry);
	return f;
}

int async_open(struct backend *b, const char *path, uint32_t flags, uint32_t mode, uint64_t node,
               size_t ahead_len, be_where_fn *where, void *owner, be_open_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int r = pending_take_error(&a->pending, path);
	struct afile *f;
	struct seen s;

	if (r)
		return answer_open(a, done, arg, NULL, NULL, r);
	f = open_held(a, path, flags);
	if (f)
		return answer_open(a, done, arg, (struct be_file *)f, &f->attr, 0);
	f = afile_create(a, path, flags, mode);
	if (!f)
		return -ENOMEM;
	f->where = where;
	f->owner = owner;
	f->nodeid = node;
	f->ahead_len = ahead_len;
	async_tell(a, node);
	if (flags & BE_TRUNC)
		async_share(a, node);
	s = async_see(a, path);
	f->learn = s.what == SEEN_ABSENT && (flags & BE_EXCL);
	if (!(flags & BE_CREAT) || !async_may_postpone(a, 0) || !async_may_make(a, &s, path))
		return open_below(f, done, arg);
	f->attr = async_made_attr(a, s.dir, S_IFREG | (mode & 07777), 0);
	a->pending.place_max = place_max(a);
	f->flags |= BE_READ; /* it may be opened again before it is sent */
	f->ours = true;
	f->own = true;
	f->want = mode & 07000 ? BE_ATTR_TIMES | BE_ATTR_MODE : BE_ATTR_TIMES;
	f->change.postponed = true;
	f->change.held = true;
	f->change.large = true;
	r = pending_add(&a->pending, &f->change, path, NULL);
	if (r < 0) {
		free(f->path);
		free(f);
		return r;
	}
	pname_set(f->change.at.name, PNAME_MADE, &f->attr);
	async_touch_parent(a, f->change.at.name);
	list_push_back(&a->open_files, &f->entry);
	a->made_ms = a->v->clock->now_ms;
	a->postponed_count++;
	return answer_open(a, done, arg, (struct be_file *)f, &f->attr, 0);
}

bool async_keeps(const struct be_file *file)
{
	const struct afile *f = (const struct afile *)file;

	return f->state == AFILE_KEPT;
}

void async_file_node(struct backend *b, struct be_file *file, uint64_t node, void *owner)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);

	f->nodeid = node;
	f->owner = owner;
	if (f->change.active)
		change_set_node(&f->change, node); /* without memory its names must do */
	if (f->below)
		a->ops->file_node(a->below, f->below, node, f);
}

void async_file_moved(struct async *a, const char *from, const char *to)
{
	size_t len = strlen(from);

	list_for_each(e, &a->open_files) {
		struct afile *f = list_entry(e, struct afile, entry);
		char *path;

		/* One that the server does not have yet has been given the name after the rename. */
		if (f->state == AFILE_KEPT || strncmp(f->path, from, len) != 0 ||
		    (f->path[len] && f->path[len] != '/'))
			continue;
		path = malloc(strlen(to) + strlen(f->path + len) + 1);
		if (!path)
			continue;
		strcpy(stpcpy(path, to), f->path + len);
		free(f->path);
		f->path = path;
	}
}

bool afile_alone(const struct afile *f)
{
	list_for_each(e, &f->a->open_files) {
		const struct afile *other = list_entry(e, const struct afile, entry);

		if (other != f && f->nodeid && other->nodeid == f->nodeid)
			return false;
	}
	return true;
}

void async_release_all(struct async *a)
{
	timer_cancel(&a->hold_timer);
	while (!list_empty(&a->held)) {
		struct afile *f = list_entry(a->held.next, struct afile, in_held);

		afile_wanted(&f->change);
	}
	pending_run(&a->pending);
}

void async_close(struct backend *b, struct be_file *file)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);

	if (f->state == AFILE_OPEN) {
		/* While `where` may still be asked for the name that it is known by. */
		if (f->want)
			afile_stand_for(f);
		f->closed = true;
		if (list_empty(&f->sets)) /* else behind the last of them */
			afile_finish(f);
		return;
	}
	f->closed = true;
	f->owner = NULL;
	list_del(&f->entry);
	if (f->state == AFILE_KEPT && f->change.held) {
		list_push_back(&a->held, &f->in_held);
		if (!timer_armed(&a->hold_timer))
			timer_set(a->v->clock, &a->hold_timer, a->v->clock->now_ms + HOLD_MS);
	} else {
		afile_reap(f);
	}
}
