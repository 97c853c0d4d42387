/* SPDX-License-Identifier: BSD-2-Clause */
/* Files whose bytes are all here. Contract: include/vfs/whole.h. */
#include "vfs/whole.h"

#include <errno.h>
#include <stdlib.h>

#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/verify.h"

/* A descriptor that is open for longer may live to see the file grow: it gets a handle. */
#define HANDLE_AFTER_MS 1000

/* Written files that are kept for the next open: as many as programs write side by side. */
#define WRITTEN_COUNT_MAX 16

/* The budget's part that they may fill: an eighth. */
#define WRITTEN_PART 8

/* What nobody has opened for so long is not waited for. */
#define WRITTEN_MS 30000

struct whole *whole_create(struct vfs *v, struct data *block, size_t off, size_t len,
                           const struct be_attr *a, int64_t asked_ms)
{
	struct whole *c = malloc(sizeof(*c));

	if (!c) {
		data_unref(block);
		return NULL;
	}
	*c = (struct whole){
	    .ref_count = 1,
	    .block = block,
	    .off = off,
	    .len = len,
	    .attr = *a,
	    .asked_ms = asked_ms,
	    .proven = attr_is_old(v, a, asked_ms),
	};
	list_init(&c->in_written);
	return c;
}

struct whole *whole_ref(struct whole *c)
{
	c->ref_count++;
	return c;
}

void whole_unref(struct whole *c)
{
	if (!c || --c->ref_count)
		return;
	data_unref(c->block);
	free(c);
}

static bool in_window(const struct vfs *v, int64_t asked_ms)
{
	return asked_ms && v->clock->now_ms - asked_ms <= v->cfg.open_window_ms;
}

struct whole *whole_for_open(struct vfs *v, struct node *n)
{
	struct whole *c = n->content;

	if (!c || n->dirty || v->cfg.open_window_ms == 0)
		return NULL;
	if (v->async && !async_is_settled(v->async, n))
		return NULL;
	if (!attr_same_file(&c->attr, &n->attr))
		return NULL;
	if (in_window(v, c->asked_ms) || (c->proven && in_window(v, n->told_ms)))
		return c;
	return NULL;
}

bool whole_is_written(const struct node *n)
{
	return n->content && !list_empty(&n->content->in_written);
}

bool whole_written_answers(struct vfs *v, struct node *n)
{
	return whole_is_written(n) && whole_for_open(v, n);
}

/* Kept no longer for the next open; who reads it has a reference. */
static void written_leave(struct vfs *v, struct whole *c)
{
	struct node *n = c->node;

	list_del(&c->in_written);
	if (list_empty(&n->files) && !whole_is_pinned(n))
		whole_drop(v, n);
}

static struct whole *oldest_written(struct vfs *v)
{
	return list_entry(v->written.next, struct whole, in_written);
}

static void written_is_old(void *arg)
{
	struct vfs *v = arg;

	while (!list_empty(&v->written)) {
		int64_t until_ms = oldest_written(v)->used_ms + WRITTEN_MS;

		if (until_ms > v->clock->now_ms) {
			timer_set(v->clock, &v->written_timer, until_ms);
			return;
		}
		written_leave(v, oldest_written(v));
	}
}

static void written_used(struct vfs *v, struct whole *c)
{
	c->used_ms = v->clock->now_ms;
	list_del(&c->in_written);
	list_push_back(&v->written, &c->in_written);
	if (!timer_armed(&v->written_timer))
		timer_set(v->clock, &v->written_timer, c->used_ms + WRITTEN_MS);
}

/* Room for one more. */
static void written_make_room(struct vfs *v, size_t size)
{
	size_t most = v->budget->max_len / WRITTEN_PART, count = 1, len = size;

	list_for_each(e, &v->written) {
		count++;
		len += list_entry(e, struct whole, in_written)->block->size;
	}
	while (count > 1 && (count > WRITTEN_COUNT_MAX || (most && len > most))) {
		count--;
		len -= oldest_written(v)->block->size;
		written_leave(v, oldest_written(v));
	}
}

void whole_written(struct vfs *v, struct node *n, struct data *block, size_t len)
{
	const struct be_attr unknown = {0};
	struct whole *c;

	/* Where a WRITE is acknowledged before it is delivered nothing is known of the server's file. */
	if (len > WHOLE_LEN_MAX || v->async || v->ops->flush || !v->cfg.dir_cache ||
	    v->cfg.open_window_ms == 0)
		return;
	c = whole_create(v, data_ref(block), 0, len, &unknown, 0);
	if (!c)
		return;
	whole_drop(v, n);
	written_make_room(v, block->size);
	c->proven = false;
	c->node = n;
	n->content = c;
	written_used(v, c);
}

/* An open that is answered from here must still be refused where the server would: we are its owner. */
static bool may_be_opened(const struct be_attr *a)
{
	return a->mode & S_IRUSR;
}

void whole_settled(struct node *n, const struct be_attr *a, int64_t asked_ms, bool proven)
{
	struct whole *c = n->content;

	if (!c || c->asked_ms || a->size != c->len || !may_be_opened(a))
		return;
	c->attr = *a;
	c->asked_ms = asked_ms;
	c->proven = proven;
}

void whole_attr_changed(struct node *n, const struct be_attr *a, bool times_set)
{
	struct whole *c = n->content;

	if (!c || !c->asked_ms || a->size != c->attr.size || !may_be_opened(a))
		return;
	if (!times_set && a->mtime != c->attr.mtime)
		return;
	/* An mtime of our own making vouches for nothing: the bytes serve the rest of their own window. */
	c->proven = c->proven && !times_set;
	c->attr = *a;
}

struct whole *whole_vouched(struct vfs *v, struct node *n, const struct be_attr *a)
{
	struct whole *c = n->content;

	if (!c || !a || n->dirty || !c->proven || !attr_same_file(&c->attr, a))
		return NULL;
	if (whole_is_written(n))
		written_used(v, c);
	return c;
}

static void unpin(struct file *f)
{
	struct whole *c = f->content;

	f->content = NULL;
	whole_unref(c);
}

void whole_drop(struct vfs *v, struct node *n)
{
	struct whole *c = n->content;

	(void)v;
	n->content = NULL;
	if (c)
		list_del(&c->in_written);
	whole_unref(c);
	list_for_each(e, &n->files)
		unpin(list_entry(e, struct file, in_node));
}

void whole_overwritten(struct vfs *v, struct node *n)
{
	whole_drop(v, n);
	list_for_each(e, &n->pinned)
		unpin(list_entry(e, struct file, in_node));
}

bool whole_is_pinned(const struct node *n)
{
	return !list_empty(&n->pinned);
}

/* Return: is the descriptor still open? */
static bool is_open(const struct file *f)
{
	return !list_empty(&f->in_node);
}

static void late_opened(void *arg, const struct be_status *st, struct be_file *be,
                        const struct be_attr *a)
{
	struct file *f = arg;
	struct vfs *v = f->v;
	bool same = a && (!f->content || attr_same_file(a, &f->content->attr));
	struct list waiters;

	f->opening = false;
	if (st->code == BE_OK && same && is_open(f) && !f->be) {
		file_take_handle(f, be);
	} else if (st->code == BE_OK) {
		v->ops->close(v->be, be); /* another file by now: the bytes are all we have of it */
	}
	list_init(&waiters);
	list_splice(&waiters, &f->handle_waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		read_continue(op);
	}
	file_unref(f);
}

/* Return: false when no handle can be had. */
static bool open_late(struct file *f)
{
	struct vfs *v = f->v;
	char *path;
	int err;

	list_del(&f->in_pinned);
	if (f->be || f->opening)
		return true;
	path = node_path(v, f->node, NULL, &err);
	if (!path)
		return false;
	f->opening = true;
	file_ref(f);
	err = v->ops->open(v->be, path, BE_READ, 0, f->node->nodeid, 0, file_where, NULL,
	                   late_opened, f);
	free(path);
	if (err < 0) {
		f->opening = false;
		file_unref(f);
	}
	return err == 0;
}

void whole_wait_handle(struct op *op)
{
	struct file *f = op->file;

	if (!open_late(f))
		op_fail(op, -ESTALE);
	else
		list_push_back(&f->handle_waiters, &op->wait);
}

void whole_before_removal(struct vfs *v, struct node *n)
{
	(void)v;
	list_for_each_safe(e, tmp, &n->pinned)
		open_late(list_entry(e, struct file, in_node));
}

static void handles_due(void *arg)
{
	struct vfs *v = arg;

	while (!list_empty(&v->pinned)) {
		struct file *f = list_entry(v->pinned.next, struct file, in_pinned);

		if (f->opened_ms + HANDLE_AFTER_MS > v->clock->now_ms) {
			timer_set(v->clock, &v->pinned_timer, f->opened_ms + HANDLE_AFTER_MS);
			return;
		}
		open_late(f);
	}
}

struct file *whole_open(struct vfs *v, struct node *n, struct whole *c, int flags)
{
	struct file *f = file_create(v, n, NULL, flags);

	if (!f)
		return NULL;
	f->content = whole_ref(c);
	f->opened_ms = v->clock->now_ms;
	list_push_back(&v->pinned, &f->in_pinned);
	if (!timer_armed(&v->pinned_timer))
		timer_set(v->clock, &v->pinned_timer, f->opened_ms + HANDLE_AFTER_MS);
	return f;
}

bool whole_read(struct op *op)
{
	struct vfs *v = op->v;
	struct file *f = op->file;
	struct whole *c = f->content;
	struct vfs_req *req;
	struct iovec iov;

	/* Behind the end only a handle can tell whether there is more by now. */
	if (!c || (f->be && op->off + op->len > c->len && op->node->attr.size != c->len))
		return false;
	iov.iov_len = op->off >= c->len ? 0 : c->len - (size_t)op->off;
	iov.iov_len = iov.iov_len < op->len ? iov.iov_len : op->len;
	iov.iov_base = iov.iov_len ? c->block->bytes + c->off + op->off : NULL;
	if (verify_read(op, &iov, iov.iov_len ? 1 : 0))
		return true;
	req = op_take_req(op);
	whole_ref(c);
	if (op->off == 0)
		op->node->pages.read = true;
	op_free(op);
	if (req)
		v->replies->data(req, &iov, iov.iov_len ? 1 : 0);
	whole_unref(c);
	return true;
}

void whole_init(struct vfs *v)
{
	list_init(&v->pinned);
	timer_init(&v->pinned_timer, handles_due, v);
	list_init(&v->written);
	timer_init(&v->written_timer, written_is_old, v);
}

void whole_finish(struct vfs *v)
{
	timer_cancel(&v->pinned_timer);
	timer_cancel(&v->written_timer);
}
