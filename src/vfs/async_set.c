/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes of open files over the journal: they ride with a file that is not sent yet. */
#include <errno.h>
#include <stdlib.h>

#include "async_file.h"

/* To be told at the end; an owner that it will have anyway need not be. */
static void note_want(struct afile *f, const struct be_attr *want)
{
	bool owner = want->valid & BE_ATTR_OWNER;

	if (owner && (want->uid != f->attr.uid || want->gid != f->attr.gid))
		f->own = false;
	f->want |= f->own ? want->valid & ~(uint32_t)BE_ATTR_OWNER : want->valid;
}

bool async_file_fold(struct async *a, const char *path, const struct be_attr *want,
                     struct be_attr *now)
{
	struct pname *n = pending_find(&a->pending, path);
	struct change *last = n ? pname_last(n) : NULL;
	struct afile *f;

	if (!last || last->kind != CHANGE_FILE || !last->held)
		return false;
	f = list_entry(last, struct afile, change);
	if (!async_may_change(a, &f->attr, want))
		return false;
	note_want(f, want);
	async_merge(&f->attr, want);
	afile_show(f);
	*now = f->attr;
	return true;
}

/* A change of attributes that waits until the file is there; or, behind one, the question what they are. */
struct set_later {
	struct change change; /* of the first one in afile.sets: it waits for all */
	struct list entry;    /* afile.sets, in program order */
	struct afile *f;
	struct be_attr want; /* nothing: the question */
	be_attr_fn *done;
	void *arg;
};

static void set_answered(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct set_later *s = arg;
	struct afile *f = s->f;

	if (st->code != BE_OK)
		afile_share(f); /* only the server knows what it is */
	s->done(s->arg, st, f->ours && st->code == BE_OK ? &f->attr : attr);
	f->hold_count--;
	free(s);
	afile_reap(f);
}

/* The file is what it will be at once, as what is asked of it next comes behind this. */
static int set_now(struct set_later *s)
{
	struct afile *f = s->f;
	const struct be_ops *ops = f->a->ops;
	int err = s->want.valid ? ops->fsetattr(f->a->below, f->below, &s->want, set_answered, s)
	                        : ops->fstat(f->a->below, f->below, set_answered, s);

	if (err)
		return err;
	async_merge(&f->attr, &s->want);
	if (s->want.valid & BE_ATTR_SIZE)
		f->attr.size = s->want.size;
	if (s->want.valid & BE_ATTR_TIMES)
		f->want &= ~(uint32_t)BE_ATTR_TIMES;
	afile_show(f);
	return 0;
}

static void set_passed(struct change *c)
{
	change_end(c, 0);
}

static void set_end(struct change *c)
{
	struct afile *f = list_entry(c, struct set_later, change)->f;
	int failed = c->err ? c->err : f->below ? 0 : -EIO;

	f->hold_count++;
	while (!list_empty(&f->sets)) {
		struct set_later *s = list_entry(f->sets.next, struct set_later, entry);
		struct be_status st;
		int err;

		list_del(&s->entry);
		err = failed ? failed : set_now(s);
		st = async_status(err);
		if (err)
			set_answered(s, &st, NULL);
	}
	f->hold_count--;
	if (f->closed && !f->finished && f->state == AFILE_OPEN)
		afile_finish(f); /* no program has waited for the answers */
	else
		afile_reap(f);
}

static void set_begin(void *arg, const struct be_status *st)
{
	struct set_later *s = arg;
	struct afile *f = s->f;
	const char *name = f->change.active && f->change.at.name ? f->change.at.name->path : NULL;

	(void)st;
	if (!name || f->state == AFILE_OPEN) {
		set_end(&s->change);
		return;
	}
	if (pending_add(&f->a->pending, &s->change, name, NULL) < 0)
		set_end(&s->change);
	else
		pending_run(&f->a->pending);
}

/* The server answers, after what is before it on the file. */
static int set_later(struct afile *f, const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct set_later *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	change_init(&s->change, CHANGE_ASK, set_passed, set_end);
	s->f = f;
	s->want = *want;
	s->done = done;
	s->arg = arg;
	/* At once where it can be: nothing that is asked of the file later may come before it. */
	if (!list_empty(&f->sets))
		err = 0;
	else if (f->state == AFILE_OPEN)
		err = set_now(s);
	else
		err = answer_status(f->a, set_begin, s, 0);
	if (err) {
		free(s);
		return err;
	}
	if (!list_empty(&f->sets) || f->state != AFILE_OPEN)
		list_push_back(&f->sets, &s->entry);
	f->hold_count++;
	return 0;
}

int async_fstat(struct backend *b, struct be_file *file, be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);

	if (f->state == AFILE_FAILED)
		return answer_attr(a, done, arg, -EIO, NULL);
	if (!list_empty(&f->sets))
		return set_later(f, &(struct be_attr){.valid = 0}, done, arg);
	if (f->state != AFILE_OPEN || (f->ours && f->unacked_count && afile_alone(f)))
		return answer_attr(a, done, arg, 0, &f->attr);
	/* All of it is there, so the server's word counts: what its name shows is compared with this. */
	afile_tell(f);
	return a->ops->fstat(a->below, f->below, done, arg);
}

/* Takes permissions away: not acknowledged before it is so, when the file is there already. */
static bool restricts(const struct afile *f, const struct be_attr *want)
{
	return (want->valid & BE_ATTR_MODE) && (f->attr.mode & 07777 & ~want->mode);
}

int async_fsetattr(struct backend *b, struct be_file *file, const struct be_attr *want,
                   be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);
	int err = async_take_error(a, file);

	if (err || f->state == AFILE_FAILED)
		return answer_attr(a, done, arg, err ? err : -EIO, NULL);
	if (f->state == AFILE_OPEN && !afile_alone(f))
		async_share(a, f->nodeid); /* what they know of it is about to be old */
	if (!f->ours && f->state == AFILE_OPEN && !(f->flags & BE_WRITE))
		return a->ops->fsetattr(a->below, f->below, want, done, arg);
	if (f->shared || !list_empty(&f->sets) || !async_may_change(a, &f->attr, want) ||
	    (f->state != AFILE_KEPT && restricts(f, want)) || !async_may_postpone(a, 0))
		return set_later(f, want, done, arg);
	if (f->state != AFILE_OPEN)
		note_want(f, want);
	async_merge(&f->attr, want);
	if (f->state == AFILE_OPEN) {
		afile_stand_for(f);
		afile_set_below(f, want);
		f->want &= ~want->valid;
	}
	afile_show(f);
	return answer_attr(a, done, arg, 0, &f->attr);
}
