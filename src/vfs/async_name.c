/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes of names and attributes by path. Each takes its place in the order; what passes the local
 * check is acknowledged at once, the rest is answered by the server in its turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "async_parts.h"
#include "vfs/attr.h"
#include "vfs/errno.h"
#include "vfs/listing.h"

struct task {
	struct change change;
	struct async *a;
	char *path;
	char *path2; /* rename and link: the new name; symlink: the target */
	uint32_t mode;
	enum be_target target; /* of setattr */
	enum be_rename_flags flags;
	struct be_attr want;
	struct be_attr attr; /* the server's last word */
	bool attr_ok;
	struct be_status st;
	be_attr_fn *attr_fn;
	be_status_fn *status_fn;
	void *arg;
};

static const struct {
	const char *words;
	enum op_kind op;
} kinds[] = {
    [CHANGE_MKDIR] = {"mkdir", OP_MKDIR},    [CHANGE_SYMLINK] = {"symlink", OP_SYMLINK},
    [CHANGE_LINK] = {"link", OP_LINK},       [CHANGE_SETATTR] = {"setattr", OP_SETATTR},
    [CHANGE_REMOVE] = {"unlink", OP_UNLINK}, [CHANGE_RMDIR] = {"rmdir", OP_RMDIR},
    [CHANGE_RENAME] = {"rename", OP_RENAME},
};

static bool makes(const struct task *t)
{
	return t->change.kind == CHANGE_MKDIR || t->change.kind == CHANGE_SYMLINK;
}

static void task_resolved(void *arg, int err)
{
	struct task *t = arg;

	change_end(&t->change, err);
}

/* The server has answered. A caller that waits gets its words as they are. */
static void task_answered(struct task *t, const struct be_status *st)
{
	const struct errno_query q = {
	    .kind = kinds[t->change.kind].op,
	    .path = t->path,
	    .path2 = t->change.kind == CHANGE_SYMLINK ? NULL : t->path2,
	};

	t->st = *st;
	if (st->code == BE_OK && t->change.kind == CHANGE_RENAME)
		async_file_moved(t->a, t->path, t->path2);
	if (!t->change.postponed) {
		/* While the status' words are valid. */
		if (t->attr_fn)
			t->attr_fn(t->arg, st, t->attr_ok ? &t->attr : NULL);
		else
			t->status_fn(t->arg, st);
		t->attr_fn = NULL;
		t->status_fn = NULL;
		if (t->change.kind == CHANGE_MKDIR && st->code == BE_OK)
			async_new_dir(t->a, t->path);
		change_end(&t->change, st->code == BE_OK ? 0 : -EIO);
	} else {
		async_errno(t->a, &q, st, task_resolved, t);
	}
}

static void task_attr_done(void *arg, const struct be_status *st, const struct be_attr *attr)
{
	struct task *t = arg;

	t->attr_ok = st->code == BE_OK && attr;
	if (t->attr_ok)
		t->attr = *attr;
	if (t->attr_ok && makes(t)) {
		struct seen s = async_see(t->a, t->path);

		async_learn(t->a, s.dir, t->mode, attr);
	}
	task_answered(t, st);
}

static void task_status_done(void *arg, const struct be_status *st)
{
	task_answered(arg, st);
}

static int task_start(struct task *t)
{
	struct async *a = t->a;
	const struct be_ops *ops = a->ops;

	switch (t->change.kind) {
	case CHANGE_MKDIR:
		return ops->mkdir(a->below, t->path, t->mode, task_attr_done, t);
	case CHANGE_SYMLINK:
		return ops->symlink(a->below, t->path2, t->path, task_attr_done, t);
	case CHANGE_LINK:
		return ops->link(a->below, t->path, t->path2, task_attr_done, t);
	case CHANGE_SETATTR:
		return ops->setattr(a->below, t->path, t->target, &t->want, task_attr_done, t);
	case CHANGE_REMOVE:
		return ops->remove(a->below, t->path, task_status_done, t);
	case CHANGE_RMDIR:
		return ops->rmdir(a->below, t->path, task_status_done, t);
	default:
		return ops->rename(a->below, t->path, t->path2, t->flags, task_status_done, t);
	}
}

static void task_send(struct change *c)
{
	struct task *t = list_entry(c, struct task, change);
	int err = 0;

	/* Whoever waits here has believed what turned out wrong meanwhile. */
	if (!c->postponed) {
		err = pending_take_error(c->p, t->path);
		if (!err && c->at2.name)
			err = pending_take_error(c->p, t->path2);
	}
	/* What is known by now of the source, though a change of its attributes came after it. */
	if (!err && (c->kind == CHANGE_RENAME || c->kind == CHANGE_LINK))
		err = pending_broken(c->p, t->path);
	if (!err)
		err = task_start(t);
	if (err)
		change_end(c, err);
}

static void task_free(struct task *t)
{
	free(t->path);
	free(t->path2);
	free(t);
}

static void task_end(struct change *c)
{
	struct task *t = list_entry(c, struct task, change);
	struct be_status st = async_status(c->err);

	if (t->attr_fn)
		t->attr_fn(t->arg, &st, NULL);
	else if (t->status_fn)
		t->status_fn(t->arg, &st);
	if (c->postponed && c->err)
		async_failed(t->a, c, kinds[c->kind].words, c->kind == CHANGE_SETATTR);
	else if (c->postponed && t->attr_ok &&
	         c->kind != CHANGE_LINK) /* it changes no attributes */
		async_correct(t->a, c, t->path, &t->attr);
	task_free(t);
}

/* For a caller whose callback is one of the two. */
static struct task *task_create(struct async *a, enum change_kind kind, const char *path,
                                const char *path2, be_attr_fn *attr_fn, be_status_fn *status_fn,
                                void *arg)
{
	struct task *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	change_init(&t->change, kind, task_send, task_end);
	t->a = a;
	t->attr_fn = attr_fn;
	t->status_fn = status_fn;
	t->arg = arg;
	t->path = strdup(path);
	t->path2 = path2 ? strdup(path2) : NULL;
	if (t->path && (!path2 || t->path2))
		return t;
	task_free(t);
	return NULL;
}

/* Into the order. `node`: of the first name, if the change concerns what it has under others too, or NULL. */
static int task_add(struct task *t, const struct node *node)
{
	struct pending *p = &t->a->pending;
	int r;

	t->change.nodeid = node ? node->nodeid : 0;
	r = pending_add(p, &t->change, t->path, t->change.kind == CHANGE_SYMLINK ? NULL : t->path2);
	if (r < 0) {
		task_free(t);
		return r;
	}
	if (makes(t) || t->change.kind == CHANGE_LINK || t->change.kind == CHANGE_RENAME)
		t->a->made_ms = t->a->v->clock->now_ms;
	if (t->change.kind != CHANGE_SETATTR) {
		async_touch_parent(t->a, t->change.at.name);
		async_touch_parent(t->a, t->change.at2.name);
	}
	return 0;
}

static void set_names(struct task *t, enum pname_state state, enum pname_state state2,
                      const struct be_attr *attr)
{
	pname_set(t->change.at.name, state, attr);
	if (t->change.at2.name)
		pname_set(t->change.at2.name, state2, attr);
}

/* The server answers in its turn; the names are not known until it has. */
static int forward(struct task *t, const struct node *node)
{
	struct async *a = t->a;
	int r = task_add(t, node);

	if (r < 0)
		return r;
	set_names(t, PNAME_UNSURE, PNAME_UNSURE, NULL);
	pending_run(&a->pending);
	return 0;
}

/* Acknowledged at once: `state` and `state2` are what the names show, `attr` what is there then. */
static int postpone(struct task *t, const struct node *node, enum pname_state state,
                    enum pname_state state2, const struct be_attr *attr)
{
	struct async *a = t->a;
	be_attr_fn *attr_fn = t->attr_fn;
	be_status_fn *status_fn = t->status_fn;
	int r;

	t->change.postponed = true;
	t->attr_fn = NULL;
	t->status_fn = NULL;
	r = task_add(t, node);
	if (r < 0)
		return r;
	a->postponed_count++;
	set_names(t, state, state2, attr);
	if (t->change.kind == CHANGE_SYMLINK) {
		free(t->change.at.name->target);
		t->change.at.name->target =
		    strdup(t->path2); /* NULL: readlink waits for the server */
	}
	if (t->change.kind == CHANGE_MKDIR)
		r = answer_mkdir(a, attr_fn, t->arg, attr, t->path);
	else if (attr_fn)
		r = answer_attr(a, attr_fn, t->arg, 0, attr);
	else
		r = answer_status(a, status_fn, t->arg, 0);
	pending_run(&a->pending);
	return r;
}

/* A failure that nobody was told of the names is told now. 0: none. */
static int told(struct async *a, const char *path, const char *path2)
{
	int err = pending_take_error(&a->pending, path);

	if (!err && path2)
		err = pending_broken(&a->pending, path); /* never under another name */
	return err || !path2 ? err : pending_take_error(&a->pending, path2);
}

int async_mkdir(struct backend *b, const char *path, uint32_t mode, be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int r = told(a, path, NULL);
	struct seen s;
	struct be_attr attr;
	struct task *t;

	if (r)
		return answer_attr(a, done, arg, r, NULL);
	s = async_see(a, path);
	t = task_create(a, CHANGE_MKDIR, path, NULL, done, NULL, arg);
	if (!t)
		return -ENOMEM;
	t->mode = mode;
	if (!async_may_postpone(a, 0) || !async_may_make(a, &s, path))
		return forward(t, NULL);
	attr = async_made_attr(a, s.dir, S_IFDIR | (mode & 07777), 4096);
	return postpone(t, NULL, PNAME_MADE, PNAME_AS_IS, &attr);
}

int async_symlink(struct backend *b, const char *target, const char *path, be_attr_fn *done,
                  void *arg)
{
	struct async *a = async_of(b);
	int r = told(a, path, NULL);
	struct seen s;
	struct be_attr attr;
	struct task *t;

	if (r)
		return answer_attr(a, done, arg, r, NULL);
	s = async_see(a, path);
	t = task_create(a, CHANGE_SYMLINK, path, target, done, NULL, arg);
	if (!t)
		return -ENOMEM;
	if (a->v->cfg.follow_symlinks || !async_may_postpone(a, strlen(target)) ||
	    !async_may_make(a, &s, path))
		return forward(t, NULL);
	attr = async_made_attr(a, s.dir, S_IFLNK | 0777, strlen(target));
	return postpone(t, NULL, PNAME_MADE, PNAME_AS_IS, &attr);
}

int async_link(struct backend *b, const char *from, const char *to, be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int r = told(a, from, to);
	struct seen s, s2;
	struct task *t;

	a->linked = true;
	if (r)
		return answer_attr(a, done, arg, r, NULL);
	s = async_see(a, from);
	s2 = async_see(a, to);
	t = task_create(a, CHANGE_LINK, from, to, done, NULL, arg);
	if (!t)
		return -ENOMEM;
	if (!async_may_postpone(a, 0) || s.what != SEEN_PRESENT || !attr_is_reg(&s.attr) ||
	    (a->own_uid != 0 && s.attr.uid != a->own_uid) ||
	    !a->ops->info(a->below)->caps.hardlink || !async_may_make(a, &s2, to))
		return forward(t, s.node);
	return postpone(t, s.node, PNAME_CHANGED, PNAME_CHANGED, &s.attr);
}

/*
 * One that still waits on the same name takes the new one along, unless something was done after it:
 * what is made in a directory changes its times.
 */
static bool merge_waiting(struct async *a, const char *path, enum be_target target,
                          const struct be_attr *want, struct be_attr *now)
{
	struct pname *n = pending_find(&a->pending, path);
	struct change *last = n ? pname_last(n) : NULL;
	struct task *t;

	if (!last || last->kind != CHANGE_SETATTR || !last->postponed || last->sent || last->err ||
	    !list_empty(&last->later))
		return false;
	t = list_entry(last, struct task, change);
	if (t->target != target || !async_may_change(a, &n->attr, want))
		return false;
	async_merge(&n->attr, want);
	*now = n->attr;
	t->want.valid |= want->valid;
	t->want.mode = now->mode & 07777; /* the owner goes first, and may clear bits of it */
	t->want.uid = now->uid;
	t->want.gid = now->gid;
	t->want.atime = now->atime;
	t->want.mtime = now->mtime;
	return true;
}

int async_setattr(struct backend *b, const char *path, enum be_target target,
                  const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int r = told(a, path, NULL);
	const struct pname *n;
	struct be_attr attr;
	struct seen s;
	struct task *t;

	if (r)
		return answer_attr(a, done, arg, r, NULL);
	if (async_file_fold(a, path, want, &attr) || merge_waiting(a, path, target, want, &attr))
		return answer_attr(a, done, arg, 0, &attr);
	s = async_see(a, path);
	if (s.node && (want->valid & BE_ATTR_SIZE))
		async_share(a, s.node->nodeid);
	t = task_create(a, CHANGE_SETATTR, path, NULL, done, NULL, arg);
	if (!t)
		return -ENOMEM;
	t->want = *want;
	t->target = target;
	if (!async_may_postpone(a, 0) || s.what != SEEN_PRESENT || target == BE_FOLLOWED ||
	    (target == BE_THE_LINK && !a->ops->info(a->below)->caps.lsetstat) ||
	    !async_may_change(a, &s.attr, want))
		return forward(t, s.node);
	attr = s.attr;
	async_merge(&attr, want);
	n = pending_find(&a->pending, path);
	return postpone(t, s.node, n && n->state == PNAME_MADE ? PNAME_MADE : PNAME_CHANGED,
	                PNAME_AS_IS, &attr);
}

static int unmake(struct async *a, enum change_kind kind, const char *path, be_status_fn *done,
                  void *arg)
{
	bool dir = kind == CHANGE_RMDIR;
	int r = told(a, path, NULL);
	struct seen s;
	struct task *t;

	if (r)
		return answer_status(a, done, arg, r);
	s = async_see(a, path);
	t = task_create(a, kind, path, NULL, NULL, done, arg);
	if (!t)
		return -ENOMEM;
	pending_mend(&a->pending, path);
	if (!async_may_postpone(a, 0) || !async_may_remove(a, &s) || attr_is_dir(&s.attr) != dir ||
	    (dir && (!s.node || !listing_is_empty(a->v, s.node))))
		return forward(t, NULL);
	return postpone(t, NULL, PNAME_ABSENT, PNAME_AS_IS, NULL);
}

int async_remove(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	return unmake(async_of(b), CHANGE_REMOVE, path, done, arg);
}

int async_rmdir(struct backend *b, const char *path, be_status_fn *done, void *arg)
{
	return unmake(async_of(b), CHANGE_RMDIR, path, done, arg);
}

static bool may_rename(struct async *a, const struct seen *from, const struct seen *to,
                       const char *new_name, enum be_rename_flags flags)
{
	if (!a->ops->info(a->below)->caps.posix_rename || !async_may_remove(a, from) ||
	    attr_is_dir(&from->attr))
		return false;
	if (async_may_make(a, to, new_name))
		return true;
	return flags == BE_RENAME_REPLACE && async_may_remove(a, to) && !attr_is_dir(&to->attr) &&
	       (!from->node || from->node != to->node);
}

int async_rename(struct backend *b, const char *from, const char *to, enum be_rename_flags flags,
                 be_status_fn *done, void *arg)
{
	struct async *a = async_of(b);
	int r = told(a, from, to);
	struct seen s, s2;
	struct task *t;

	if (r)
		return answer_status(a, done, arg, r);
	s = async_see(a, from);
	s2 = async_see(a, to);
	t = task_create(a, CHANGE_RENAME, from, to, NULL, done, arg);
	if (!t)
		return -ENOMEM;
	t->flags = flags;
	pending_mend(&a->pending, to);
	if (!async_may_postpone(a, 0) || !may_rename(a, &s, &s2, to, flags))
		return forward(t, s.node);
	return postpone(t, s.node, PNAME_ABSENT, PNAME_CHANGED, &s.attr);
}
