/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that change names: mknod, mkdir, symlink, link, unlink, rmdir, rename. The caches are
 * changed in place when the server has agreed. Contract: include/vfs/vfs.h.
 */
#include <errno.h>
#include <stdio.h> /* RENAME_NOREPLACE */
#include <stdlib.h>
#include <string.h>

#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/listing.h"
#include "vfs/made.h"
#include "vfs/renew.h"

/* A name is about to be removed, moved or replaced. */
static void name_goes(struct vfs *v, struct node *parent, const char *bytes)
{
	const struct name *d = name_find(v, parent, bytes);

	if (d && d->node)
		whole_before_removal(v, d->node);
}

/* What was known of a name ends: a file that was there has lost it. */
static void name_gone(struct vfs *v, struct node *parent, const char *bytes)
{
	struct name *d = name_find(v, parent, bytes);
	struct node *n = d ? d->node : NULL;

	if (n) {
		node_changed(v, n);
		if (n->nlink > 1)
			n->nlink--;
	}
	if (d)
		name_drop(v, d);
}

/* Something new stands under op's name; the server showed it as `a`, or would not (NULL). */
static void made(struct op *op, const struct be_attr *a)
{
	struct vfs *v = op->v;

	name_gone(v, op->node, op_name(op));
	entry_parent_changed(v, op->node);
	listing_add(v, op->node, op_name(op), a);
}

static void made_shown(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;

	if (st->code != BE_OK || !a)
		op_fail_status(op, st);
	else
		op_enter(op, a);
}

static void made_right(struct op *op, const struct be_attr *a)
{
	struct vfs *v = op->v;
	struct node *parent = node_ref(op->node);
	char *dir = op->kind == OP_MKDIR ? strdup(op_name(op)) : NULL;
	pid_t program = op->req ? op->req->program : 0;
	struct name *d;

	made(op, a);
	op_enter(op, a);
	d = dir ? name_find(v, parent, dir) : NULL;
	if (d && d->node && program)
		listing_empty(v, d->node, program);
	if (d && d->node)
		renew_made(d->node);
	free(dir);
	node_unref(v, parent);
}

/* A change of names has been asked for, or could not be. */
static void change_started(struct op *op, int err)
{
	if (op_failed_start(op, err))
		return;
	renew_behind(op->v, op->node);
	if (op->kind == OP_RENAME && op->node2 != op->node)
		renew_behind(op->v, op->node2);
}

static void made_entry(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	if (a) {
		if (!made_adjust(op, NULL, a, made_right))
			made_right(op, a);
		return;
	}
	made(op, NULL);
	op_failed_start(op, v->ops->stat(v->be, op->path, false, made_shown, op));
}

void vfs_mkdir(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name, mode_t mode)
{
	struct op *op = op_create(v, req, OP_MKDIR);

	if (op && op_on_name(op, node_find(v, parent), name))
		change_started(op,
		               v->ops->mkdir(v->be, op->path, made_mode(op, mode), made_entry, op));
}

void vfs_symlink(struct vfs *v, struct vfs_req *req, const char *target, uint64_t parent,
                 const char *name)
{
	struct op *op = op_create(v, req, OP_SYMLINK);

	if (op && op_on_name(op, node_find(v, parent), name))
		change_started(op, v->ops->symlink(v->be, target, op->path, made_entry, op));
}

static void made_file(void *arg, const struct be_status *st, struct be_file *file,
                      const struct be_attr *a)
{
	struct op *op = arg;

	if (st->code == BE_OK)
		op->v->ops->close(op->v->be, file);
	made_entry(op, st, a);
}

void vfs_mknod(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name, mode_t mode)
{
	struct op *op;

	if (!S_ISREG(mode)) {
		v->replies->err(req, EPERM); /* SFTP has no way to make it */
		return;
	}
	op = op_create(v, req, OP_MKNOD);
	if (op && op_on_name(op, node_find(v, parent), name))
		change_started(op,
		               v->ops->open(v->be, op->path, BE_WRITE | BE_CREAT | BE_EXCL,
		                            made_mode(op, mode), 0, 0, NULL, NULL, made_file, op));
}

static void linked(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct node *n = op->node2;
	const char *name = op_name2(op);
	int64_t expires_ms = attr_expiry(v, &n->attr, op->since_ms);

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	name_gone(v, op->node, name);
	entry_parent_changed(v, op->node);
	/* v3 shows no count: two names are certain, more were known or are not. */
	n->nlink = (n->nlink ? n->nlink : 1) + 1;
	/* What was changed since is not in the answer: it asks by name. */
	if (a)
		attr_update(v, n, a, op->known_count, op->since_ms);
	node_changed(v, n);
	listing_add(v, op->node, name, a);
	if (name_set(v, op->node, name, n, expires_ms) < 0)
		op_fail(op, -ENOMEM);
	else
		op_answer_entry(op, n, expires_ms);
}

void vfs_link(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t new_parent,
              const char *new_name)
{
	struct op *op = op_create(v, req, OP_LINK);
	struct node *n = node_find(v, nodeid);
	int err;

	if (!op)
		return;
	if (!v->cfg.hardlink) {
		op_fail(op, -EPERM);
		return;
	}
	if (!n || !op_on_name(op, node_find(v, new_parent), new_name))
		return;
	op->node2 = node_ref(n);
	op->known_count = node_asked_count(n);
	op->path2 = op->path;
	op->path = node_path(v, n, NULL, &err);
	if (!op->path) {
		op_fail(op, err == -ESTALE ? -ENOENT : err);
		return;
	}
	change_started(op, v->ops->link(v->be, op->path, op->path2, linked, op));
}

/* We have taken the name away. */
static void name_is_absent(struct vfs *v, struct node *dir, const char *name)
{
	int64_t life_ms = attr_negative_lifetime(v, dir);

	if (life_ms > 0)
		name_set(v, dir, name, NULL, v->clock->now_ms + life_ms);
}

static void removed(void *arg, const struct be_status *st)
{
	struct op *op = arg;
	struct vfs *v = op->v;

	if (st->code != BE_OK && st->code != BE_NO_SUCH_FILE) {
		op_fail_status(op, st);
		return;
	}
	/* Gone either way: what we knew of the name is over. */
	name_gone(v, op->node, op_name(op));
	entry_parent_changed(v, op->node);
	listing_remove(v, op->node, op_name(op));
	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	name_is_absent(v, op->node, op_name(op));
	op_fail(op, 0);
}

void vfs_unlink(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name)
{
	struct op *op = op_create(v, req, OP_UNLINK);

	if (!op || !op_on_name(op, node_find(v, parent), name))
		return;
	name_goes(v, op->node, name);
	change_started(op, v->ops->remove(v->be, op->path, removed, op));
}

void vfs_rmdir(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name)
{
	struct op *op = op_create(v, req, OP_RMDIR);

	if (op && op_on_name(op, node_find(v, parent), name))
		change_started(op, v->ops->rmdir(v->be, op->path, removed, op));
}

/* The server has renamed: so do the caches. */
static void move_names(struct op *op)
{
	struct vfs *v = op->v;
	const char *from = op_name(op), *to = op_name2(op);
	struct name *d = name_find(v, op->node, from);
	struct name *target = name_find(v, op->node2, to);
	struct node *n = d ? d->node : NULL;

	entry_parent_changed(v, op->node);
	entry_parent_changed(v, op->node2);
	if (n && target && target->node == n)
		return; /* two names of one file: rename(2) leaves both */
	node_ref(op->node2);
	name_gone(v, op->node2, to);
	listing_remove(v, op->node, from);
	listing_add(v, op->node2, to, n && n->attr_expires_ms > v->clock->now_ms ? &n->attr : NULL);
	d = name_find(v, op->node, from);
	if (n && d) {
		node_changed(v, n);
		name_move(v, d, op->node2, to, d->expires_ms);
	} else if (d) {
		name_drop(v, d);
	}
	name_is_absent(v, op->node, from);
	node_unref(v, op->node2);
}

/* mv falls back by itself on EINVAL, which is what a filesystem without the flag says. */
static void noreplace_failed(void *arg, int err)
{
	op_fail(arg, err == -EIO || err == -EXDEV || err == -EOPNOTSUPP ? -EINVAL : err);
}

static void renamed(void *arg, const struct be_status *st)
{
	struct op *op = arg;

	if (st->code == BE_OK) {
		move_names(op);
		op_fail(op, 0);
	} else if ((op->flags & RENAME_NOREPLACE) && st->code != BE_LOST) {
		const struct errno_query q = {
		    .kind = OP_RENAME,
		    .flags = op->flags,
		    .uid = op->uid,
		    .path = op->path,
		    .path2 = op->path2,
		};

		errno_resolve(op->v, &q, st, noreplace_failed, op);
	} else {
		op_fail_status(op, st);
	}
}

void rename_send(struct op *op)
{
	struct vfs *v = op->v;

	change_started(op, v->ops->rename(v->be, op->path, op->path2,
	                                  op->flags ? BE_RENAME_NOREPLACE : BE_RENAME_REPLACE,
	                                  renamed, op));
}

void vfs_rename(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name,
                uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct op *op = op_create(v, req, OP_RENAME);
	struct node *to = node_find(v, new_parent);
	struct name *d;
	int err;

	if (!op || !op_on_name(op, node_find(v, parent), name))
		return;
	op->flags = (int)flags;
	d = name_find(v, op->node, name);
	/* Only link+unlink of a regular file is atomic on the server. */
	if ((flags & ~(unsigned)RENAME_NOREPLACE) ||
	    (flags && !(d && d->node && attr_is_reg(&d->node->attr)))) {
		op_fail(op, -EINVAL);
		return;
	}
	if (!to) {
		op_fail(op, -ESTALE);
		return;
	}
	op->node2 = node_ref(to);
	op->path2 = node_path(v, to, new_name, &err);
	if (!op->path2) {
		op_fail(op, err);
		return;
	}
	name_goes(v, op->node, name);
	name_goes(v, op->node2, new_name);
	/* Attributes that were told done are the file's before it gets its name. */
	if (d && d->node)
		file_send_times(d->node);
	if (d && d->node && d->node->attr_unacked_count)
		list_push_back(&d->node->drain_waiters, &op->wait);
	else
		rename_send(op);
}
