/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * setattr: modes, owners, sizes and times. Contract: include/vfs/vfs.h.
 *
 * A file that is open because it was just made: a change that gives permissions, or the owner that it
 * has, is sent behind what was written so far and told done at once; times are kept until the flush
 * sends them behind the last WRITE. Closing the file reports what failed of it. A change that takes
 * permissions away is told done when the server has done it, so that no data comes before it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/listing.h"
#include "vfs/verify.h"

/* v3 carries unsigned whole seconds: times outside are clamped, as Linux does for every filesystem. */
static uint32_t wire_time(int64_t seconds)
{
	return seconds < 0 ? 0 : seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

/* v3 carries uid with gid, and atime with mtime: the half that is not to change must be known. */
static bool needs_other_half(const struct op *op)
{
	unsigned owner = op->set & (VFS_SET_UID | VFS_SET_GID);
	unsigned times = op->set & (VFS_SET_ATIME | VFS_SET_MTIME);

	return (owner && owner != (VFS_SET_UID | VFS_SET_GID)) ||
	       (times && times != (VFS_SET_ATIME | VFS_SET_MTIME));
}

/* Completes op->want with the halves that stay as they are. */
static void add_other_half(struct op *op)
{
	const struct be_attr *now = &op->node->attr;

	if (op->want.valid & BE_ATTR_OWNER) {
		if (!(op->set & VFS_SET_UID))
			op->want.uid = now->uid;
		if (!(op->set & VFS_SET_GID))
			op->want.gid = now->gid;
	}
	if (op->want.valid & BE_ATTR_TIMES) {
		if (!(op->set & VFS_SET_ATIME))
			op->want.atime = now->atime;
		if (!(op->set & VFS_SET_MTIME))
			op->want.mtime = now->mtime;
	}
}

/* Return: 0, or what the program gets instead. */
static int set_want(struct op *op, const struct stat *st, unsigned set)
{
	struct vfs *v = op->v;
	struct be_attr *want = &op->want;
	uint32_t now = wire_time(attr_server_now(v));
	int err = 0;

	if (set & VFS_SET_ATIME_NOW)
		set |= VFS_SET_ATIME;
	if (set & VFS_SET_MTIME_NOW)
		set |= VFS_SET_MTIME;
	op->set = set;
	if (set & VFS_SET_MODE) {
		want->valid |= BE_ATTR_MODE;
		want->mode = st->st_mode & 07777;
	}
	if (set & (VFS_SET_UID | VFS_SET_GID)) {
		want->valid |= BE_ATTR_OWNER;
		if (set & VFS_SET_UID)
			err = attr_uid_to_server(v, st->st_uid, &want->uid);
		if (err == 0 && (set & VFS_SET_GID))
			err = attr_gid_to_server(v, st->st_gid, &want->gid);
	}
	if (set & VFS_SET_SIZE) {
		want->valid |= BE_ATTR_SIZE;
		want->size = (uint64_t)st->st_size;
	}
	if (set & (VFS_SET_ATIME | VFS_SET_MTIME)) {
		want->valid |= BE_ATTR_TIMES;
		want->atime = set & VFS_SET_ATIME_NOW ? now : wire_time(st->st_atim.tv_sec);
		want->mtime = set & VFS_SET_MTIME_NOW ? now : wire_time(st->st_mtim.tv_sec);
	}
	return err;
}

/* What the change means for a node whose data the server has not all acknowledged. */
static void apply_to_dirty(struct node *n, const struct be_attr *want, int64_t now_s)
{
	if (want->valid & BE_ATTR_SIZE) {
		n->attr.size = want->size;
		n->attr.mtime = wire_time(now_s);
	}
	if (want->valid & BE_ATTR_TIMES) {
		n->attr.mtime = want->mtime;
		n->mtime_shown = false; /* chosen by the program: the server has it already */
		n->times_set = false;
	}
}

static void changed(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct node *n = op->node;
	bool resized = op->want.valid & BE_ATTR_SIZE;

	node_changed(v, n);
	if (resized) {
		chunks_drop(n, 0, UINT64_MAX);
		whole_overwritten(v, n);
		verify_resized(n, op->want.size);
	}
	if (st->code != BE_OK) {
		attr_expire(n);
		listing_show(v, n, NULL);
		op_fail_status(op, st);
		return;
	}
	apply_to_dirty(n, &op->want, attr_server_now(v));
	if (a)
		attr_update(v, n, a, n->change_count, op->since_ms);
	else
		attr_expire(n);
	if (!n->dirty && a) {
		bool pages_stay = n->pages.known && !resized;

		/* The content is what it was: a new mtime of our own does not make it another. */
		n->pages.mtime = a->mtime;
		n->pages.known = pages_stay;
		whole_attr_changed(n, a, op->want.valid & BE_ATTR_TIMES);
	}
	listing_show(v, n, a);
	op_answer_attr(op, n);
}

/* Any open file carries a change of the node, but a size needs one that may write. */
static struct file *file_for_change(struct vfs *v, struct node *n, uint64_t fh, unsigned set)
{
	struct file *f = fh ? file_find(v, fh) : NULL;

	if (!f || !f->be)
		f = file_of_node(n);
	if (f && (set & VFS_SET_SIZE) && (f->flags & O_ACCMODE) == O_RDONLY)
		return NULL;
	return f;
}

static enum be_target node_target(const struct vfs *v, const struct node *n)
{
	if (attr_is_link(&n->attr))
		return BE_THE_LINK;
	return v->cfg.follow_symlinks ? BE_FOLLOWED : BE_THE_FILE;
}

/* May the program be told now that the change is done? */
static bool goes_ahead(const struct op *op)
{
	const struct be_attr *now = &op->node->attr, *want = &op->want;

	if (want->valid & BE_ATTR_SIZE)
		return false;
	if ((want->valid & BE_ATTR_OWNER) && (want->uid != now->uid || want->gid != now->gid))
		return false;
	return !(want->valid & BE_ATTR_MODE) || !(now->mode & 07777 & ~want->mode);
}

/* Return: false when the server must answer first. */
static bool change_ahead(struct op *op)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct file *f = file_creator(n);
	struct be_attr want = op->want;

	if (!f || !goes_ahead(op))
		return false;
	want.valid &= ~(uint32_t)BE_ATTR_TIMES;
	if (want.valid && file_send_attr(f, &want) != 0)
		return false;
	node_changed(v, n);
	if (want.valid & BE_ATTR_MODE)
		n->attr.mode = (n->attr.mode & S_IFMT) | want.mode;
	if (op->want.valid & BE_ATTR_TIMES) {
		n->attr.atime = op->want.atime;
		n->attr.mtime = op->want.mtime;
		n->times_set = n->dirty = true;
		f->wrote = true; /* close waits for them */
	}
	n->attr_expires_ms = attr_expiry(v, &n->attr, v->clock->now_ms);
	listing_show(v, n, n->dirty ? NULL : &n->attr);
	op_answer_attr(op, n);
	return true;
}

static void send_change(struct op *op)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct file *f = file_for_change(v, n, op->fh, op->set);
	int err;

	add_other_half(op);
	if (change_ahead(op))
		return;
	if (!f && !op->path) {
		op_fail(op, -ESTALE);
		return;
	}
	if (f) {
		/* Behind everything written so far: times must stick, sizes must come in order. */
		file_send_node(n);
		err = v->ops->fsetattr(v->be, f->be, &op->want, changed, op);
	} else {
		err = v->ops->setattr(v->be, op->path, node_target(v, n), &op->want, changed, op);
	}
	op_failed_start(op, err);
}

static void got_other_half(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct op *op = arg;

	if (st->code != BE_OK || !a) {
		op_fail_status(op, st);
		return;
	}
	attr_update(op->v, op->node, a, op->change_count, op->since_ms);
	send_change(op);
}

void vfs_setattr(struct vfs *v, struct vfs_req *req, uint64_t nodeid, uint64_t fh,
                 const struct stat *st, unsigned set)
{
	struct op *op = op_create(v, req, OP_SETATTR);
	struct node *n = node_find(v, nodeid);
	int err;

	if (!op)
		return;
	if (!n) {
		op_fail(op, -ESTALE);
		return;
	}
	op->node = node_ref(n);
	op->change_count = n->change_count;
	op->fh = fh;
	op->path = node_path(v, n, NULL, &err); /* NULL where only a descriptor is left */
	if (op_failed_start(op, set_want(op, st, set)))
		return;
	if (!op->want.valid) {
		op_answer_attr(op, n);
		return;
	}
	if (needs_other_half(op) && n->attr_expires_ms <= v->clock->now_ms && !n->dirty) {
		struct file *f = file_for_change(v, n, fh, set);

		if (f)
			err = v->ops->fstat(v->be, f->be, got_other_half, op);
		else if (op->path)
			err = v->ops->stat(v->be, op->path,
			                   v->cfg.follow_symlinks && !attr_is_link(&n->attr),
			                   got_other_half, op);
		op_failed_start(op, err);
		return;
	}
	send_change(op);
}
