/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open files over the journal, from open to close. The bytes of a new file are kept until it is
 * sent: one OPEN, its WRITEs, its attributes, CLOSE. A file that is sent before its end, or existed
 * before, passes its writes on as they come and acknowledges them at once. While anything of a file
 * is unanswered, a change stands for it in the order of names, so a rename waits for its bytes.
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

static void afile_sent(struct change *c);
static void afile_end(struct change *c);

static void piece_free(struct piece *p)
{
	list_del(&p->entry);
	data_unref(p->block);
	free(p);
}

static void pieces_drop(struct afile *f, int err)
{
	struct be_status st = async_status(err);

	while (!list_empty(&f->pieces)) {
		struct piece *p = list_entry(f->pieces.next, struct piece, entry);
		be_status_fn *done = p->done;
		void *arg = p->arg;

		piece_free(p);
		if (done)
			done(arg, &st);
	}
	async_unsent(f->a, -(int64_t)f->pieces_len);
	f->pieces_len = 0;
	f->piece_count = 0;
}

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

/* For opening it again: the path as the server has it, while a rename is on its way. */
static int afile_where(void *owner, char *path, size_t size)
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

/* What a stat of its name shows. */
void afile_show(struct afile *f)
{
	struct pname *n = f->change.active ? f->change.at.name : NULL;

	if (n && f->ours && pname_last(n) == &f->change)
		pname_set(n, n->state == PNAME_MADE ? PNAME_MADE : PNAME_CHANGED, &f->attr);
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
	f->bad = 0;
	f->told = false;
	if (pending_add(&f->a->pending, &f->change, believed(f, buf, sizeof(buf)), NULL) < 0)
		return; /* its failure is still reported by close and fsync */
	afile_show(f);
}

static void fail(struct afile *f, int err)
{
	if (!f->bad)
		f->bad = err;
	if (!f->err)
		f->err = err;
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
		opened(arg, &st, NULL, NULL);
	}
	if (c->err && c->postponed) {
		if (!c->sent || !c->there)
			f->state = f->below ? f->state : AFILE_FAILED;
		fail(f, c->err);
		pieces_drop(f, c->err);
		async_failed(a, c, c->there ? "write" : "creation", c->there);
		if (f->told && c->at.name)
			pending_take_error(&a->pending, c->at.name->path);
	} else if (c->postponed && c->at.name && f->final) {
		async_correct(a, c, c->at.name->path, &f->shown);
	}
	afile_reap(f);
}

/* An answer has come: was it the last one? */
static void afile_settle(struct afile *f)
{
	if (f->unacked_count || f->state == AFILE_KEPT || f->state == AFILE_OPENING)
		return;
	if (f->closed && !f->finished && f->state == AFILE_OPEN)
		return;
	if (f->change.active) {
		f->change.there = f->state == AFILE_OPEN;
		change_end(&f->change, f->bad);
	} else {
		afile_reap(f);
	}
}

struct sent {
	struct afile *f;
	size_t len;
	be_status_fn *done; /* NULL: acknowledged long ago */
	void *arg;
};

static void sent_settled(void *arg, int err)
{
	struct sent *s = arg;
	struct afile *f = s->f;

	if (err && !s->done)
		fail(f, err);
	else if (err && !f->bad)
		f->bad = err; /* who waited for it has been told */
	f->unacked_count--;
	async_unsent(f->a, -(int64_t)s->len);
	free(s);
	afile_settle(f);
}

static void written(void *arg, const struct be_status *st)
{
	struct sent *s = arg;
	const struct errno_query q = {.kind = OP_WRITE, .path = s->f->path, .len = s->len};

	if (s->done) {
		s->done(s->arg, st); /* who waits is told, and nobody else need be */
		if (st->code != BE_OK)
			s->f->told = true;
	}
	async_errno(s->f->a, &q, st, sent_settled, s);
}

void afile_write_below(struct afile *f, uint64_t off, struct data *block, size_t block_off,
			size_t len, be_status_fn *done, void *arg)
{
	struct async *a = f->a;
	struct sent *s = malloc(sizeof(*s));
	int err = -ENOMEM;

	f->unacked_count++;
	async_unsent(a, (int64_t)len);
	if (s) {
		*s = (struct sent){f, len, done, arg};
		err = a->ops->write(a->below, f->below, off, block, block_off, len, written, s);
	}
	if (err == 0)
		return;
	free(s);
	f->unacked_count--;
	async_unsent(a, -(int64_t)len);
	fail(f, err);
	if (done)
		answer_status(a, done, arg, err);
}

static void attr_set(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct sent *s = arg;
	const struct errno_query q = {.kind = OP_SETATTR, .path = s->f->path};

	if (st->code == BE_OK && attr) {
		s->f->shown = *attr;
		s->f->final = s->f->finished;
	}
	async_errno(s->f->a, &q, st, sent_settled, s);
}

/* Attributes that were acknowledged. */
void afile_set_below(struct afile *f, const struct be_attr *want)
{
	struct async *a = f->a;
	struct sent *s = malloc(sizeof(*s));
	int err = -ENOMEM;

	f->unacked_count++;
	if (s) {
		*s = (struct sent){f, 0, NULL, NULL};
		err = a->ops->fsetattr(a->below, f->below, want, attr_set, s);
	}
	if (err == 0)
		return;
	free(s);
	f->unacked_count--;
	fail(f, err);
}

/* Closed by vfs, and everything is sent: the attributes, then CLOSE. */
static void finish(struct afile *f)
{
	struct be_attr want = f->attr;

	want.valid = f->want;
	if ((f->shown.valid & BE_ATTR_OWNER) && f->shown.uid == f->attr.uid &&
	    f->shown.gid == f->attr.gid)
		want.valid &= ~(uint32_t)BE_ATTR_OWNER;
	if (!(want.valid & BE_ATTR_OWNER) && (f->shown.valid & BE_ATTR_MODE) &&
	    f->shown.mode == f->attr.mode)
		want.valid &= ~(uint32_t)BE_ATTR_MODE;
	f->want = 0;
	if (want.valid) {
		afile_stand_for(f);
		afile_set_below(f, &want);
	}
	f->a->ops->close(f->a->below, f->below);
	f->below = NULL;
	f->finished = true;
	list_del(&f->entry);
	afile_settle(f);
}

static void pieces_send(struct afile *f)
{
	while (!list_empty(&f->pieces)) {
		struct piece *p = list_entry(f->pieces.next, struct piece, entry);

		f->pieces_len -= p->len;
		async_unsent(f->a, -(int64_t)p->len); /* counted again as on its way */
		afile_write_below(f, p->off, p->block, p->block_off, p->len, p->done, p->arg);
		piece_free(p);
	}
	f->piece_count = 0;
}

static void create_failed(void *arg, int err)
{
	struct afile *f = arg;

	f->state = AFILE_FAILED;
	fail(f, err);
	afile_settle(f);
}

/* The server has opened what was acknowledged before. */
static void kept_opened(struct afile *f, const struct be_status *st, const struct be_attr *attr)
{
	const struct errno_query q = {
	    .kind = OP_CREATE,
	    .path = f->path,
	    .flags = f->flags & BE_EXCL ? O_WRONLY | O_EXCL : O_WRONLY,
	};

	if (st->code != BE_OK) {
		async_errno(f->a, &q, st, create_failed, f);
		return;
	}
	f->state = AFILE_OPEN;
	if (attr)
		f->shown = *attr;
	pieces_send(f);
	if (f->closed) {
		finish(f);
		return;
	}
	change_give_place(&f->change);
	afile_settle(f);
}

static void opened(void *arg, const struct be_status *st, struct be_file *below,
		   const struct be_attr *attr)
{
	struct afile *f = arg;
	struct async *a = f->a;
	be_open_fn *done = f->opened;
	void *done_arg = f->opened_arg;
	bool ok = st->code == BE_OK;

	f->below = ok ? below : NULL;
	if (!done) {
		kept_opened(f, st, attr);
		return;
	}
	f->opened = NULL;
	f->state = ok ? AFILE_OPEN : AFILE_FAILED;
	f->closed = !ok;
	if (ok && attr) {
		f->attr = f->shown = *attr;
		if (f->learn) {
			struct seen s = async_see(a, f->path);

			async_learn(a, s.dir, f->mode, attr);
		}
	}
	if (ok)
		list_push_back(&a->open_files, &f->entry);
	f->hold_count++; /* until the caller has it */
	if (f->change.active)
		change_end(&f->change, ok ? 0 : -EIO);
	done(done_arg, st, ok ? (struct be_file *)f : NULL, ok ? attr : NULL);
	f->hold_count--;
	afile_reap(f);
}

/* Never more than the program has granted, nor to a group that the file does not have yet. */
static uint32_t kept_mode(const struct afile *f)
{
	uint32_t mode = f->attr.mode & 0777;

	return f->closed && !(f->want & BE_ATTR_OWNER) ? mode : mode & f->mode;
}

static void afile_sent(struct change *c)
{
	struct afile *f = list_entry(c, struct afile, change);
	struct async *a = f->a;
	uint32_t mode = f->opened ? f->mode : kept_mode(f);
	int err = f->opened ? pending_take_error(&a->pending, f->path) : 0;

	f->state = AFILE_OPENING;
	if (!err)
		err = a->ops->open(a->below, f->path, f->flags, mode, f->nodeid, f->ahead_len,
				   afile_where, f, opened, f);
	if (!err)
		return;
	f->state = AFILE_FAILED;
	change_end(c, err);
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
	r = pending_add(p, &f->change, f->path, NULL);
	if (r < 0) {
		free(f->path);
		free(f);
		return r;
	}
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

	return max < PLACE_COUNT_MIN ? PLACE_COUNT_MIN : max < PLACE_COUNT_MAX ? (unsigned)max :
										 PLACE_COUNT_MAX;
}

/*
 * A file that was closed and is still held back is opened again: rsync does, to set its mode.
 * Return: the file, or NULL.
 */
static struct afile *open_held(struct async *a, const char *path, uint32_t flags)
{
	struct pname *n = pending_find(&a->pending, path);
	struct change *last = n ? pname_last(n) : NULL;
	struct afile *f = last && last->kind == CHANGE_FILE && last->held ?
			      list_entry(last, struct afile, change) : NULL;

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
	if (flags & BE_TRUNC)
		pending_mend(&a->pending, path);
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

void async_file_node(struct backend *b, struct be_file *file, uint64_t node, void *owner)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);

	f->nodeid = node;
	f->owner = owner;
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

/* Nobody else writes it: then we know what it is. */
bool afile_alone(struct afile *f)
{
	struct node *n = node_find(f->a->v, f->nodeid);

	return !n || n->files.next == n->files.prev;
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
		finish(f);
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
