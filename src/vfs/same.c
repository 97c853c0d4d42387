/* SPDX-License-Identifier: BSD-2-Clause */
/* Replaced or changed in place? Contract: include/vfs/same.h. */
#include "vfs/same.h"

#include <errno.h>
#include <stdlib.h>

#include "vfs/attr.h"
#include "vfs/file.h"
#include "vfs/internal.h"

#define MTIME_SLACK_S   2
#define ROUND_COUNT_MAX 8u /* for a file that others write to without a pause */

struct same {
	struct vfs *v;
	struct node *node;
	struct be_file *other; /* NULL: `path` */
	const char *path;
	same_done_fn *done;
	void *arg;
	unsigned round_count;
	unsigned pending;
	bool failed;
	bool again;                        /* `*_was` are valid */
	struct be_attr mine, mine_was;     /* by the descriptors */
	struct be_attr theirs, theirs_was; /* by the name */
};

static void same_over(struct same *s, bool same)
{
	s->done(s->arg, same, same ? &s->theirs : NULL);
	free(s);
}

/*
 * A file that is changed in place is never older by one way than what the other had shown before, but for
 * the whole seconds and the times that mounts set when they close. Of two answers to one flight nobody
 * knows which is older, however far they lie apart on a busy server.
 */
static bool may_be_same(const struct same *s)
{
	const struct be_attr *mine = &s->mine, *theirs = &s->theirs;

	if (mine->mode != theirs->mode || mine->uid != theirs->uid || mine->gid != theirs->gid)
		return false;
	if (!s->again)
		return (int64_t)mine->mtime + MTIME_SLACK_S >= (int64_t)theirs->mtime;
	return (int64_t)mine->mtime + MTIME_SLACK_S >= (int64_t)s->theirs_was.mtime &&
	       (int64_t)theirs->mtime + MTIME_SLACK_S >= (int64_t)s->mine_was.mtime;
}

/* Two files, neither of which is being written to, as far as the server says. */
static bool both_rest(const struct same *s)
{
	return s->again && !((s->mine.valid | s->theirs.valid) & BE_ATTR_ASSUMED) &&
	       attr_same_file(&s->mine, &s->mine_was) && attr_same_file(&s->theirs, &s->theirs_was);
}

static bool same_round(struct same *s);

static void same_answered(struct same *s)
{
	if (--s->pending)
		return;
	if (s->failed)
		same_over(s, false);
	else if (attr_same_file(&s->mine, &s->theirs))
		same_over(s, true);
	else if (!may_be_same(s) || both_rest(s))
		same_over(s, false);
	else if (!same_round(s))
		/* Nobody has it open any more, or it is never at rest: one file that grows, most likely. */
		same_over(s, true);
}

static void take(struct same *s, const struct be_status *st, const struct be_attr *a,
                 struct be_attr *out)
{
	s->failed = s->failed || st->code != BE_OK || !a;
	if (!s->failed)
		*out = *a;
	same_answered(s);
}

static void mine_came(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct same *s = arg;

	take(s, st, a, &s->mine);
}

static void theirs_came(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct same *s = arg;

	take(s, st, a, &s->theirs);
}

static bool ask_mine(struct same *s)
{
	struct file *live = file_of_node(s->node);

	if (!live || s->v->ops->fstat(s->v->be, live->be, mine_came, s) < 0)
		return false;
	s->pending++;
	return true;
}

static bool ask_theirs(struct same *s)
{
	const struct be_ops *ops = s->v->ops;
	int err = s->other
	              ? ops->fstat(s->v->be, s->other, theirs_came, s)
	              : ops->stat(s->v->be, s->path, s->v->cfg.follow_symlinks, theirs_came, s);

	s->pending += err == 0;
	return err == 0;
}

/* Both in one flight, so that little time lies between. Return: false when none was started. */
static bool same_round(struct same *s)
{
	if (++s->round_count > ROUND_COUNT_MAX)
		return false;
	s->again = true;
	s->mine_was = s->mine;
	s->theirs_was = s->theirs;
	if (!ask_mine(s))
		return false;
	s->failed = !ask_theirs(s);
	return true;
}

int same_ask(struct vfs *v, struct node *n, struct be_file *other, const char *path,
             const struct be_attr *seen, same_done_fn *done, void *arg)
{
	struct same *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct same){
	    .v = v,
	    .node = n,
	    .other = other,
	    .path = path,
	    .theirs = *seen,
	    .done = done,
	    .arg = arg,
	};
	if (ask_mine(s))
		return 0;
	free(s);
	return -EIO;
}
