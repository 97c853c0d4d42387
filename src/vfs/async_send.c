/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an open file of the journal to the server: OPEN, the WRITEs of what was kept, attributes,
 * CLOSE, and what the answers say. Thread: the loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "async_file.h"
#include "vfs/attr.h"
#include "vfs/errno.h"

static void piece_free(struct piece *p)
{
	list_del(&p->entry);
	data_unref(p->block);
	free(p);
}

void afile_drop_pieces(struct afile *f, int err)
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

void afile_fail(struct afile *f, int err)
{
	if (!f->bad)
		f->bad = err;
	if (!f->err)
		f->err = err;
}

/* An answer has come: was it the last one? */
static void afile_settle(struct afile *f)
{
	if (f->unacked_count || f->state == AFILE_KEPT || f->state == AFILE_OPENING)
		return;
	if (f->closed && !f->finished && f->state == AFILE_OPEN && list_empty(&f->sets))
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
		afile_fail(f, err);
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
	afile_fail(f, err);
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
	afile_fail(f, err);
}

static void tell(struct afile *f, uint32_t which)
{
	struct be_attr want = f->attr;

	want.valid = f->want & which;
	f->want &= ~which;
	if ((f->shown.valid & BE_ATTR_OWNER) && f->shown.uid == f->attr.uid &&
	    f->shown.gid == f->attr.gid)
		want.valid &= ~(uint32_t)BE_ATTR_OWNER;
	if (!(want.valid & BE_ATTR_OWNER) && (f->shown.valid & BE_ATTR_MODE) &&
	    f->shown.mode == f->attr.mode)
		want.valid &= ~(uint32_t)BE_ATTR_MODE;
	if (!want.valid)
		return;
	afile_stand_for(f);
	afile_set_below(f, &want);
}

void afile_tell(struct afile *f)
{
	/* A WRITE that follows would clear the bits for set-id: they come with the close. */
	if (f->state == AFILE_OPEN)
		tell(f, f->attr.mode & 06000 ? ~(uint32_t)BE_ATTR_MODE : UINT32_MAX);
}

void afile_finish(struct afile *f)
{
	tell(f, UINT32_MAX);
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
	afile_fail(f, err);
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
	if (f->shared)
		afile_share(f);
	if (f->closed && list_empty(&f->sets)) {
		afile_finish(f);
		return;
	}
	/* Whoever waits for it is to find it as the program knows it. */
	if (!list_empty(&f->change.later))
		afile_tell(f);
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
	if (ok && (f->flags & BE_TRUNC)) {
		pending_mend(&a->pending, f->path);
		async_break(a, f->nodeid, 0);
	}
	if (ok && attr) {
		f->attr = f->shown = *attr;
		if (f->learn) {
			struct seen s = async_see(a, f->path);

			async_learn(a, s.dir, f->mode, attr);
		}
	}
	if (!ok)
		list_del(&f->entry);
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

void afile_sent(struct change *c)
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
