/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files: the table of descriptors and their end. Contract: include/vfs/file.h. */
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/append.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/internal.h"
#include "vfs/listing.h"
#include "vfs/verify.h"
#include "vfs/walk.h"

static bool fh_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct file, by_fh)->fh == *(const uint64_t *)key;
}

struct file *file_find(struct vfs *v, uint64_t fh)
{
	struct hash_node *hn = hash_find(&v->files, hash_u64(fh), fh_matches, &fh);

	return hn ? list_entry(hn, struct file, by_fh) : NULL;
}

static void flush_age_passed(void *arg)
{
	struct file *f = arg;

	if (append_goes_on(f, 0))
		timer_set(f->v->clock, &f->flush_timer, f->v->clock->now_ms + APPEND_GOES_ON_MS);
	else
		file_send(f);
}

struct file *file_create(struct vfs *v, struct node *n, struct be_file *be, int flags)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f) {
		if (be)
			v->ops->close(v->be, be);
		return NULL;
	}
	f->v = v;
	f->node = node_ref(n);
	f->fh = ++v->last_fh;
	f->be = be;
	f->flags = flags;
	f->ref_count = 1;
	list_init(&f->in_readers);
	timer_init(&f->flush_timer, flush_age_passed, f);
	append_init(f);
	list_init(&f->in_pinned);
	list_init(&f->handle_waiters);
	list_push_back(be ? &n->files : &n->pinned, &f->in_node);
	hash_add(&v->files, &f->by_fh, hash_u64(f->fh));
	if (be)
		v->ops->file_node(v->be, be, n->nodeid, f);
	return f;
}

void file_take_handle(struct file *f, struct be_file *be)
{
	f->be = be;
	list_del(&f->in_node);
	list_push_back(&f->node->files, &f->in_node);
	f->v->ops->file_node(f->v->be, be, f->node->nodeid, f);
}

int file_where(void *owner, char *path, size_t size)
{
	struct file *f = owner;
	int err;
	char *p = node_path(f->v, f->node, NULL, &err);

	if (!p)
		return -ESTALE;
	err = strlen(p) < size ? 0 : -ESTALE;
	if (err == 0)
		strcpy(path, p);
	free(p);
	return err;
}

struct file *file_of_node(const struct node *n)
{
	struct file *any = NULL;

	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if ((f->flags & O_ACCMODE) != O_RDONLY)
			return f;
		any = f;
	}
	return any;
}

struct file *file_creator(const struct node *n)
{
	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (f->created && (f->flags & O_ACCMODE) != O_RDONLY)
			return f;
	}
	return NULL;
}

struct file *file_ref(struct file *f)
{
	f->ref_count++;
	return f;
}

void file_unref(struct file *f)
{
	struct vfs *v = f->v;
	struct node *n = f->node;

	if (--f->ref_count)
		return;
	verify_destroy(f->passed);
	free(f);
	node_unref(v, n);
}

struct op *op_on_file(struct vfs *v, struct vfs_req *req, enum op_kind kind, uint64_t fh)
{
	struct op *op = op_create(v, req, kind);
	struct file *f = file_find(v, fh);

	if (!op)
		return NULL;
	if (!f) {
		op_fail(op, -EBADF);
		return NULL;
	}
	op->file = file_ref(f);
	op->node = node_ref(f->node);
	op->pending = 1;
	return op;
}

void file_settle_unused(struct vfs *v, struct node *n)
{
	if (!list_empty(&n->files) || n->settling_count || !n->dirty)
		return;
	n->dirty = false;
	n->times_set = false;
	n->pages.known = false;
	node_changed(v, n);
	attr_expire(n);
	listing_show(v, n, NULL);
}

/* Another descriptor that has the same handle: it is its own then. Return: false when there is none. */
static bool hand_on(struct file *f)
{
	list_for_each(e, &f->node->files) {
		struct file *other = list_entry(e, struct file, in_node);

		if (other == f || other->be != f->be)
			continue;
		f->v->ops->file_node(f->v->be, f->be, f->node->nodeid, other);
		return true;
	}
	return false;
}

void file_release(struct file *f)
{
	struct vfs *v = f->v;
	struct node *n = f->node;

	if (f->plain)
		file_release(f->plain);
	file_send(f);
	append_finish(f);
	file_deliver(f);
	timer_cancel(&f->flush_timer);
	hash_del(&v->files, &f->by_fh);
	list_del(&f->in_node);
	list_del(&f->in_readers);
	list_del(&f->in_pinned);
	if (f->be && !hand_on(f))
		v->ops->close(v->be, f->be);
	f->be = NULL;
	walk_file_used(v, f, false);
	whole_unref(f->content);
	f->content = NULL;
	if (list_empty(&n->files))
		chunks_leave(n);
	if (list_empty(&n->files) && !whole_is_pinned(n) && !n->walk_file && !whole_is_written(n))
		whole_drop(v, n);
	file_settle_unused(v, n);
	file_unref(f);
}
