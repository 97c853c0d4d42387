/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that only ask: lookup, getattr, readlink, access, statfs. Contract: include/vfs/vfs.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/dir.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/links.h"
#include "vfs/listing.h"
#include "vfs/walk.h"

/* df in a loop, or a tool that asks before every file: the same answer for this long. */
#define STATVFS_LIFE_MS 1000

/* Between the two requests of one stat(2) there is nothing but the kernel. */
#define ENDS_LOOKUP_MS 10

/* What df shows where the server cannot tell: large, so that nobody believes the disk is full. */
#define SYNTHETIC_BLOCKS (1ULL << 40)

static void answer_absent(struct op *op, int64_t expires_ms)
{
	struct vfs *v = op->v;
	struct vfs_entry e = {.nodeid = 0};
	struct vfs_req *req;

	e.entry_timeout_ms = expires_ms > v->clock->now_ms ? expires_ms - v->clock->now_ms : 0;
	if (e.entry_timeout_ms == 0) {
		op_fail(op, -ENOENT);
		return;
	}
	req = op_take_req(op);
	op_free(op);
	if (req)
		v->replies->entry(req, &e);
}

/* The server says that there is no such name. */
static void absent(struct op *op)
{
	struct vfs *v = op->v;
	int64_t expires_ms = v->clock->now_ms + attr_negative_lifetime(v, op->node);
	struct name *d = name_find(v, op->node, op_name(op));

	if (op->node->change_count != op->change_count) {
		/* We changed the directory meanwhile: perhaps we made this very name. */
		op_fail(op, -ENOENT);
		return;
	}
	if (d)
		name_drop(v, d);
	listing_remove(v, op->node, op_name(op));
	if (expires_ms > v->clock->now_ms)
		name_set(v, op->node, op_name(op), NULL, expires_ms);
	answer_absent(op, expires_ms);
}

static void looked_up(void *arg, const struct be_status *st, const struct be_attr *a);

/* follow_symlinks: what a link leads to is not there, but the link is: shown as the link it is. */
static bool look_at_link(struct op *op)
{
	struct vfs *v = op->v;

	if (!v->cfg.follow_symlinks || op->looked_at_link)
		return false;
	op->looked_at_link = true;
	return v->ops->stat(v->be, op->path, false, looked_up, op) == 0;
}

static void looked_up(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;

	if (st->code == BE_OK && a)
		op_enter(op, a);
	else if (st->code == BE_NO_SUCH_FILE && look_at_link(op))
		return;
	else if (st->code == BE_NO_SUCH_FILE)
		absent(op);
	else
		op_fail_status(op, st);
}

/* Answers from what is cached. Return: false when the server must be asked. */
static bool lookup_cached(struct op *op, struct node *parent, const char *name)
{
	struct vfs *v = op->v;
	struct name *d = name_find(v, parent, name);
	int64_t now = v->clock->now_ms, expires_ms, asked_ms;
	struct be_attr a;
	struct node *n;

	if (d && d->expires_ms > now) {
		if (!d->node) {
			answer_absent(op, d->expires_ms);
			return true;
		}
		if (d->node->attr_expires_ms > now || d->node->dirty) {
			op_answer_entry(op, d->node, d->expires_ms);
			return true;
		}
	}
	switch (listing_lookup(v, parent, name, op->req->program, &a, &asked_ms, &expires_ms)) {
	case 0:
		answer_absent(op, expires_ms);
		return true;
	case 1:
		n = entry_known(v, parent, name, &a, d ? d->node : NULL,
		                d && d->node ? d->node->change_count : 0, asked_ms);
		if (!n)
			return false;
		op_answer_entry(op, n, expires_ms);
		node_unref(v, n);
		return true;
	default:
		return false;
	}
}

void vfs_lookup(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name)
{
	struct op *op = op_create(v, req, OP_LOOKUP);
	struct node *dir = node_find(v, parent);
	struct name *d;

	if (!op || (dir && lookup_cached(op, dir, name)) || !op_on_name(op, dir, name))
		return;
	d = name_find(v, dir, name);
	if (d && d->node) {
		op->known = node_ref(d->node);
		op->known_count = node_asked_count(d->node);
		listing_renew(v, d->node);
	}
	walk_lookup(v, req->program, dir);
	op_failed_start(op, v->ops->stat(v->be, op->path, v->cfg.follow_symlinks, looked_up, op));
}

void vfs_forget(struct vfs *v, uint64_t nodeid, uint64_t count)
{
	struct node *n = node_find(v, nodeid);

	if (n && n != v->root)
		node_forget(v, n, count);
}

/*
 * A path shows another file than the node's, or none: the kernel must look the name up again.
 * ESTALE makes it do so by itself.
 */
static void name_is_stale(struct op *op)
{
	struct vfs *v = op->v;

	if (op->node == v->root) {
		op_fail(op, -ENOENT);
		return;
	}
	node_detach(v, op->node);
	op_fail(op, -ESTALE);
}

static void got_attr(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;
	struct node *n = op->node;

	if (op->path && whole_is_pinned(n) && n->change_count == op->change_count &&
	    (st->code == BE_NO_SUCH_FILE || (a && !attr_same_file(a, &n->attr)))) {
		/* The name is another file's now; this one is what its readers hold of it. */
		node_detach(op->v, n);
		op_answer_attr(op, n);
		return;
	}
	if (st->code == BE_NO_SUCH_FILE && op->path) {
		name_is_stale(op);
		return;
	}
	if (st->code != BE_OK || !a) {
		op_fail_status(op, st);
		return;
	}
	if (n->attr.valid && (n->attr.mode & S_IFMT) != (a->mode & S_IFMT)) {
		name_is_stale(op);
		return;
	}
	if (attr_update(op->v, n, a, op->change_count, op->since_ms))
		entry_content_changed(op->v, n);
	op_answer_attr(op, n);
}

/*
 * Where attributes live for no time at all the kernel asks for them again as soon as it has looked the name
 * up, for one and the same stat(2).
 */
static bool ends_a_lookup(struct vfs *v, const struct vfs_req *req, struct node *n, uint64_t fh)
{
	bool same = n->shown_to && n->shown_to == req->pid && !fh &&
	            n->shown_count == n->change_count &&
	            v->clock->now_ms - n->shown_ms <= ENDS_LOOKUP_MS;

	n->shown_to = 0;
	return same;
}

void vfs_getattr(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t fh)
{
	struct op *op = op_create(v, req, OP_GETATTR);
	struct node *n = node_find(v, nodeid);
	struct file *f;
	int err;

	if (!op)
		return;
	if (!n) {
		op_fail(op, -ESTALE);
		return;
	}
	if (n->dirty || n->attr_expires_ms > v->clock->now_ms ||
	    (list_empty(&n->names) && whole_is_pinned(n)) || ends_a_lookup(v, req, n, fh)) {
		op_answer_attr(op, n);
		return;
	}
	f = fh ? file_find(v, fh) : NULL;
	if (!f || !f->be)
		f = file_of_node(n);
	if (f) {
		op->node = node_ref(n);
		op->change_count = n->change_count;
		op_failed_start(op, v->ops->fstat(v->be, f->be, got_attr, op));
		return;
	}
	if (!op_on_node(op, n))
		return;
	err = v->ops->stat(v->be, op->path,
	                   n == v->root || (v->cfg.follow_symlinks && !attr_is_link(&n->attr)),
	                   got_attr, op);
	if (!op_failed_start(op, err) && n == v->root)
		op_be_impatient(op); /* "ls -l .." looks at every mount point there */
}

/* How many directories `path` is below the root: 0 for what stands in it. */
static size_t depth_of(const struct vfs *v, const char *path)
{
	size_t root_len = strlen(v->root_path), depth = 0;

	for (const char *c = path + (root_len > 1 ? root_len : 0); *c; c++)
		depth += *c == '/';
	return depth ? depth - 1 : 0;
}

static void answer_target(struct op *op, const char *target)
{
	struct vfs *v = op->v;
	enum vfs_links links = v->cfg.links;
	size_t depth = depth_of(v, op->path);
	char *relative = NULL;
	int err = 0;
	struct vfs_req *req;

	if (links == VFS_LINKS_TRANSFORM || links == VFS_LINKS_TRANSFORM_CONTAIN)
		relative = links_relative(v->root_path, depth, target, &err);
	if (relative)
		target = relative;
	if ((links == VFS_LINKS_CONTAIN || links == VFS_LINKS_TRANSFORM_CONTAIN) &&
	    !links_contained(depth, target))
		err = -EPERM;
	if (err) {
		op_fail(op, err);
	} else {
		req = op_take_req(op);
		if (req)
			v->replies->readlink(req, target);
		op_free(op);
	}
	free(relative);
}

static void got_target(void *arg, const struct be_status *st, const char *target, size_t len)
{
	struct op *op = arg;
	struct node *n = op->node;

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	free(n->target);
	n->target = strndup(target, len);
	if (!n->target)
		op_fail(op, -ENOMEM);
	else
		answer_target(op, n->target);
}

void link_continue(struct op *op)
{
	struct vfs *v = op->v;
	bool waits;
	const char *target = listing_target(v, op, op->node, &waits);

	if (target)
		answer_target(op, target);
	else if (!waits)
		op_failed_start(op, v->ops->readlink(v->be, op->path, got_target, op));
}

void vfs_readlink(struct vfs *v, struct vfs_req *req, uint64_t nodeid)
{
	struct op *op = op_create(v, req, OP_READLINK);
	struct node *n = node_find(v, nodeid);

	if (!op || !op_on_node(op, n))
		return;
	if (n->target && n->attr_expires_ms > v->clock->now_ms)
		answer_target(op, n->target);
	else
		link_continue(op);
}

/*
 * Reading and writing are for the server to refuse: its rules are not ours to guess. Executing
 * happens here, and a file without any x bit is not executable for anybody.
 */
void vfs_access(struct vfs *v, struct vfs_req *req, uint64_t nodeid, int mask)
{
	struct node *n = node_find(v, nodeid);
	bool refused = n && (mask & X_OK) && attr_is_reg(&n->attr) && !(n->attr.mode & 0111);

	v->replies->err(req, !n ? ESTALE : refused ? EACCES : 0);
}

static void statvfs_to_host(const struct be_statvfs *sv, struct statvfs *out)
{
	*out = (struct statvfs){
	    .f_bsize = sv->bsize,
	    .f_frsize = sv->frsize,
	    .f_blocks = sv->blocks,
	    .f_bfree = sv->bfree,
	    .f_bavail = sv->bavail,
	    .f_files = sv->files,
	    .f_ffree = sv->ffree,
	    .f_favail = sv->ffree,
	    .f_namemax = sv->namemax,
	};
}

static void answer_statfs(struct op *op, const struct be_statvfs *sv)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);
	struct statvfs out;

	statvfs_to_host(sv, &out);
	op_free(op);
	if (req)
		v->replies->statfs(req, &out);
}

static void got_statvfs(void *arg, const struct be_status *st, const struct be_statvfs *sv)
{
	struct op *op = arg;
	struct vfs *v = op->v;

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	if (op->node == v->root) {
		v->statvfs = *sv;
		v->statvfs_ms = v->clock->now_ms;
	}
	answer_statfs(op, sv);
}

void vfs_statfs(struct vfs *v, struct vfs_req *req, uint64_t nodeid)
{
	static const struct be_statvfs synthetic = {
	    .bsize = 4096,
	    .frsize = 4096,
	    .blocks = SYNTHETIC_BLOCKS,
	    .bfree = SYNTHETIC_BLOCKS,
	    .bavail = SYNTHETIC_BLOCKS,
	    .files = SYNTHETIC_BLOCKS,
	    .ffree = SYNTHETIC_BLOCKS,
	    .namemax = 255,
	};
	struct op *op = op_create(v, req, OP_STATFS);
	struct node *n = node_find(v, nodeid);

	if (!op)
		return;
	if (!v->ops->info(v->be)->caps.statvfs) {
		answer_statfs(op, &synthetic);
	} else if (n == v->root && v->statvfs_ms &&
	           v->clock->now_ms - v->statvfs_ms < STATVFS_LIFE_MS) {
		answer_statfs(op, &v->statvfs);
	} else if (op_on_node(op, n)) {
		int err = v->ops->statvfs(v->be, op->path, got_statvfs, op);

		if (!op_failed_start(op, err))
			op_be_impatient(op); /* df looks at every mount */
	}
}

void op_answer_known(struct op *op)
{
	struct vfs *v = op->v;
	struct vfs_req *req;
	struct statvfs sv;
	struct stat st;

	if (op->kind == OP_OPENDIR) {
		list_del(&op->wait);
		dir_continue(op); /* it can be listed, most likely: reading it waits */
		return;
	}
	req = op_take_req(op);
	if (op->kind == OP_GETATTR) {
		attr_node_stat(v, op->node, &st);
		v->replies->attr(req, &st, 0);
	} else if (v->statvfs_ms) {
		statvfs_to_host(&v->statvfs, &sv);
		v->replies->statfs(req, &sv);
	} else {
		v->replies->err(req, EIO);
	}
}
