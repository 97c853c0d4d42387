/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which node a name stands for. A node is one file of the server: when a name shows attributes that
 * our own changes do not explain, the file was either changed in place (same node) or replaced (a
 * new node; the old one lives on for its open descriptors). v3 has no inode number, so a live handle
 * of the old file is asked. Contract: include/vfs/internal.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/file.h"
#include "vfs/ids.h"
#include "vfs/internal.h"
#include "vfs/renew.h"
#include "vfs/same.h"

void entry_parent_changed(struct vfs *v, struct node *parent)
{
	node_changed(v, parent);
	parent->name_changes++;
	attr_expire(parent);
}

void entry_content_changed(struct vfs *v, struct node *n)
{
	chunks_drop(n, 0, UINT64_MAX);
	whole_drop(v, n);
	n->pages.known = false;
}

static bool same_type(const struct be_attr *a, const struct be_attr *b)
{
	return (a->mode & S_IFMT) == (b->mode & S_IFMT);
}

static bool changed_since(const struct node *n, const struct be_attr *a, uint64_t known_count)
{
	if (!n->attr.valid || n->change_count != known_count)
		return false;
	if (n->dirty)
		return n->attr.mode != a->mode || n->attr.uid != a->uid || n->attr.gid != a->gid;
	return !attr_same_file(&n->attr, a);
}

bool entry_knows_better(const struct node *n, int64_t asked_ms)
{
	return asked_ms <= n->changed_ms || asked_ms < n->told_ms;
}

static struct node *new_node(struct vfs *v, struct node *parent, const char *name,
                             const struct be_attr *a, int64_t asked_ms)
{
	struct node *n = node_create(v);

	if (!n)
		return NULL;
	if (name_set(v, parent, name, n, attr_expiry(v, a, asked_ms)) < 0) {
		node_unref(v, n);
		return NULL;
	}
	node_number(v, n);
	attr_update(v, n, a, n->change_count, asked_ms);
	return n;
}

struct node *entry_known(struct vfs *v, struct node *parent, const char *name,
                         const struct be_attr *a, struct node *known, uint64_t known_count,
                         int64_t asked_ms)
{
	struct name *d = name_find(v, parent, name);
	struct node *n = d ? d->node : NULL;

	if (n && n != known)
		known_count = n->change_count - 1; /* came in meanwhile: newer than the answer */
	if (n && entry_knows_better(n, asked_ms))
		return node_ref(n);
	if (n && changed_since(n, a, known_count)) {
		bool replaced = !same_type(&n->attr, a) || attr_is_link(a);

		if (!replaced && !list_empty(&n->files))
			return NULL;
		/* Nobody can tell: who reads what was there must not get to see what is there now. */
		replaced = replaced || whole_is_pinned(n);
		if (replaced) {
			name_drop(v, d);
			n = NULL;
		}
	}
	if (!n)
		return new_node(v, parent, name, a, asked_ms);
	node_ref(n);
	d->expires_ms = attr_expiry(v, a, asked_ms);
	if (attr_update(v, n, a, known_count, asked_ms))
		entry_content_changed(v, n);
	return n;
}

/*
 * Can the owner of `n` be shown? Return: false after having failed the operation, or having put it
 * to wait until it can.
 */
static bool owner_is_known(struct op *op, struct node *n, ids_resume_fn *resume)
{
	int err = op->req && n != op->v->root ? ids_check(op->v, &n->attr) : 0;

	if (err == 0)
		return true;
	if (err == -EAGAIN) {
		op->shown = node_ref(n);
		ids_want(op->v, &n->attr);
		ids_wait(op, resume);
	} else {
		op_fail(op, err);
	}
	return false;
}

static void resume_entry(struct op *op)
{
	struct node *n = op->shown;
	struct vfs *v = op->v;

	op->shown = NULL;
	op_answer_entry(op, n, op->shown_expires_ms);
	node_unref(v, n);
}

void op_answer_entry(struct op *op, struct node *n, int64_t expires_ms)
{
	struct vfs *v = op->v;
	struct vfs_req *req;
	struct vfs_entry e = {.nodeid = n->nodeid};

	op->shown_expires_ms = expires_ms;
	if (!owner_is_known(op, n, resume_entry))
		return;
	req = op_take_req(op);
	if (!req) {
		op_free(op);
		return;
	}
	attr_node_stat(v, n, &e.st);
	e.attr_timeout_ms = attr_kernel_attr_timeout(v, n);
	e.entry_timeout_ms = attr_kernel_entry_timeout(v, expires_ms);
	n->looked_up_until_ms = v->clock->now_ms + e.entry_timeout_ms;
	attr_shown(n);
	/* What the server said to this very lookup, not what was known and has expired. */
	n->shown_to = op->kind == OP_LOOKUP && e.attr_timeout_ms == 0 &&
	                      n->told_ms >= op->since_ms && n->told_ms > n->changed_ms
	                  ? req->pid
	                  : 0;
	n->shown_ms = v->clock->now_ms;
	n->shown_count = n->change_count;
	node_looked_up(n);
	op_free(op);
	if (!v->replies->entry(req, &e))
		node_forget(v, n, 1);
}

static void resume_attr(struct op *op)
{
	struct node *n = op->shown;
	struct vfs *v = op->v;

	op->shown = NULL;
	op_answer_attr(op, n);
	node_unref(v, n);
}

void op_answer_attr(struct op *op, struct node *n)
{
	struct vfs *v = op->v;
	int64_t timeout_ms = attr_kernel_attr_timeout(v, n);
	struct vfs_req *req;
	struct stat st;

	if (!owner_is_known(op, n, resume_attr))
		return;
	req = op_take_req(op);
	attr_node_stat(v, n, &st);
	attr_shown(n);
	if (attr_is_dir(&n->attr))
		renew_used(n);
	op_free(op);
	if (req)
		v->replies->attr(req, &st, timeout_ms);
}

/* Answers with `n`, whose reference it takes; NULL: there was no memory for it. */
static void finish(struct op *op, struct node *n, int64_t expires_ms)
{
	struct vfs *v = op->v;

	if (!n) {
		op_fail(op, -ENOMEM);
		return;
	}
	op_answer_entry(op, n, expires_ms);
	node_unref(v, n);
}

static void compared(void *arg, bool same, const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct name *d = name_find(v, op->node, op_name(op));
	struct node *n = d ? d->node : NULL;
	int64_t expires_ms = attr_expiry(v, &op->got, op->since_ms);

	if (n && n == op->known) {
		if (same) {
			op->got = *a;
			if (attr_update(v, n, a, n->change_count, op->since_ms))
				entry_content_changed(v, n);
		} else {
			name_drop(v, d);
		}
	}
	/* Nothing is left to compare: what is there now is the node, or there is none. */
	n = entry_known(v, op->node, op_name(op), &op->got, NULL, 0, op->since_ms);
	finish(op, n, expires_ms);
}

void op_enter(struct op *op, const struct be_attr *a)
{
	struct vfs *v = op->v;
	int64_t expires_ms = attr_expiry(v, a, op->since_ms);
	struct node *n =
	    entry_known(v, op->node, op_name(op), a, op->known, op->known_count, op->since_ms);

	if (n) {
		finish(op, n, expires_ms);
		return;
	}
	if (!op->known || list_empty(&op->known->files)) {
		op_fail(op, -ENOMEM);
		return;
	}
	op->got = *a;
	if (same_ask(v, op->known, NULL, op->path, a, compared, op) < 0)
		op_fail(op, -EIO);
}
