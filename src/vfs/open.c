/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * open and create, and what an open says about the pages that the kernel still holds.
 *
 * Close-to-open: the kernel may keep its pages over an open only if the server's (mtime, size) are
 * those that the pages were read under, and the pages are proven: mtimes are whole seconds, so an
 * equal pair vouches only for bytes read when the server's clock was past mtime + 1 s, or for bytes
 * that this mount wrote and saw acknowledged. Contract: include/vfs/vfs.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/listing.h"
#include "vfs/renew.h"
#include "vfs/same.h"
#include "vfs/verify.h"
#include "vfs/walk.h"
#include "vfs/made.h"

#define PEEK_LEN 4096 /* bytes asked of a file that says it is empty */

/* The kernel opens again at once; what comes later has nothing to do with it. */
#define SENT_BACK_MS 1000

#define AHEAD_WHOLE_LEN (256 * 1024) /* bytes: a file that is asked for whole with its OPEN */
#define AHEAD_LEN       (128 * 1024) /* bytes of a larger one: the kernel's first read */

static uint32_t backend_flags(int flags)
{
	uint32_t out = 0;

	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		out = BE_READ;
		break;
	case O_WRONLY:
		out = BE_WRITE;
		break;
	default:
		out = BE_READ | BE_WRITE;
		break;
	}
	if (flags & O_APPEND)
		out |= BE_APPEND;
	if (flags & O_CREAT)
		out |= BE_CREAT;
	if (flags & O_TRUNC)
		out |= BE_TRUNC;
	if (flags & O_EXCL)
		out |= BE_EXCL;
	return out;
}

/* May the kernel keep its pages? Whatever the answer, remembers what they stand for from now on. */
static bool pages_are_good(struct vfs *v, struct node *n, const struct be_attr *a, int flags)
{
	bool good;

	if (!n->torn && (n->dirty || v->cfg.kernel_cache))
		return true; /* all of it went through this kernel */
	good = a && !n->torn && n->pages.known && n->pages.proven && n->pages.mtime == a->mtime &&
	       n->pages.size == a->size && !(flags & O_TRUNC);
	if (good)
		return true;
	n->torn = n->torn && n->dirty; /* the flush judges what it has torn itself */
	chunks_drop(n, 0, UINT64_MAX);
	n->pages.known = a != NULL;
	n->pages.read = false;
	if (a) {
		n->pages.mtime = a->mtime;
		n->pages.size = a->size;
		n->pages.proven = attr_server_now(v) > (int64_t)a->mtime + 1;
	}
	return false;
}

/*
 * An appender's bytes do not pass through the kernel's pages, where they can be: the kernel would cut a
 * write(2) at the end of a page, and when another machine has made the file longer, a reader's getattr
 * that learns of it clears the rest of the last page, with what is being appended there (seen on 6.18:
 * zeros went to the server). A mapping needs a descriptor that reads, and the pages.
 */
static bool appends_directly(const struct vfs *v, int flags)
{
	return v->appends_directly && (flags & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND);
}

static void describe_open(struct vfs *v, struct node *n, const struct file *f,
                          const struct be_attr *a, struct vfs_opened *out)
{
	out->fh = f->fh;
	out->keep_cache = pages_are_good(v, n, a, f->flags);
	/* What the pages will be filled from, also where some that are kept stand for more. */
	if (f->content && (!out->keep_cache || !f->content->proven))
		n->pages.proven = f->content->proven;
	out->direct_io = v->cfg.direct_io || appends_directly(v, f->flags);
}

static void answer_opened(struct op *op, struct file *f, const struct vfs_opened *o)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);

	op_free(op);
	if (!req || !v->replies->open(req, o))
		file_release(f);
}

/* The first bytes of a file that says it is empty. */
static void peeked(void *arg, const struct be_status *st, struct data *block, size_t off,
                   size_t len)
{
	struct op *op = arg;
	struct file *f = op->file;
	struct vfs_opened o = {0};

	describe_open(op->v, op->node, f, NULL, &o);
	o.direct_io = o.direct_io || st->code == BE_OK;
	data_unref(block);
	answer_opened(op, f, &o);
}

/* The kernel looks the name up and opens again by itself, once. */
static void send_back(struct op *op)
{
	struct vfs *v = op->v;

	if (op->req)
		v->sent_back[v->sent_back_turn++ % SENT_BACK_COUNT] =
		    (struct sent_back){op->req->program, v->clock->now_ms};
	op_fail(op, -ESTALE);
}

/* Is this the second try of a program that was sent back? Asked once; first tries that had no second one go. */
static bool take_sent_back(struct vfs *v, const struct vfs_req *req)
{
	bool again = false;

	for (unsigned i = 0; req && i < SENT_BACK_COUNT; i++) {
		struct sent_back *b = &v->sent_back[i];

		if (b->program != req->program || !b->ms)
			continue;
		again |= v->clock->now_ms - b->ms < SENT_BACK_MS;
		b->ms = 0;
	}
	return again;
}

/*
 * The kernel reads no further than the size it was told, however long ago. Sent back with ESTALE it
 * learns a new one; a file that grows while it does so is read without its cache.
 */
static bool size_is_news(const struct node *n, int flags)
{
	/* Who only writes does not care. */
	return attr_is_reg(&n->attr) && !n->dirty && !(flags & O_TRUNC) &&
	       (flags & O_ACCMODE) != O_WRONLY && n->attr.size != n->shown_size;
}

static void answer_open(struct op *op, struct be_file *be, const struct be_attr *a)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct vfs_opened o = {0};
	bool again = take_sent_back(v, op->req), news = size_is_news(n, op->flags);
	struct file *f;

	if (news && !again) {
		v->ops->close(v->be, be);
		send_back(op);
		return;
	}
	f = file_create(v, n, be, op->flags);
	if (!f) {
		op_fail(op, -ENOMEM);
		return;
	}
	f->opened_ms = op->since_ms;
	/*
	 * A file of /proc says 0 and has content: only asking for it tells, and the kernel asks only
	 * on a descriptor without page cache. For files that are empty that would forbid mmap.
	 */
	if (a && a->size == 0 && !n->dirty && (op->flags & O_ACCMODE) == O_RDONLY &&
	    v->ops->read(v->be, be, 0, PEEK_LEN, peeked, op) == 0) {
		op->file = file_ref(f);
		return;
	}
	if ((op->flags & O_ACCMODE) == O_RDONLY && whole_vouched(v, n, a))
		f->content = whole_ref(n->content);
	describe_open(v, n, f, a, &o);
	o.direct_io = o.direct_io || news;
	/* Of an empty file nobody asks us for bytes. */
	if (op->req && (op->flags & O_ACCMODE) == O_RDONLY && !o.keep_cache && n->attr.size)
		f->unread_by = op->req->program;
	answer_opened(op, f, &o);
}

/* What an open has brought, while an older handle is asked whether it is the same file. */
struct opening {
	struct op *op;
	struct be_file *be;
	struct be_attr attr;
};

static void stale(struct op *op, struct be_file *be)
{
	struct vfs *v = op->v;

	v->ops->close(v->be, be);
	node_detach(v, op->node);
	send_back(op); /* to find the new file's node */
}

static void compared(void *arg, bool same, const struct be_attr *a)
{
	struct opening *o = arg;
	struct op *op = o->op;

	if (same) {
		o->attr = *a;
		if (attr_update(op->v, op->node, a, op->node->change_count, op->since_ms))
			op->node->pages.known = false;
		answer_open(op, o->be, &o->attr);
	} else {
		stale(op, o->be);
	}
	free(o);
}

static void compare(struct op *op, struct be_file *be, const struct be_attr *a)
{
	struct vfs *v = op->v;
	struct opening *o = malloc(sizeof(*o));

	if (o)
		*o = (struct opening){op, be, *a};
	if (!o || same_ask(v, op->node, be, NULL, a, compared, o) < 0) {
		free(o);
		v->ops->close(v->be, be);
		op_fail(op, -EIO);
	}
}

static void opened(void *arg, const struct be_status *st, struct be_file *be,
                   const struct be_attr *a);

static void told_again(void *arg, const struct be_status *st, const struct be_attr *a)
{
	const struct be_status ok = {.code = BE_OK, .text = ""};
	struct opening *o = arg;

	opened(o->op, &ok, o->be, st->code == BE_OK ? a : NULL);
	free(o);
}

/* All that was written is acknowledged, and the question what the file is now is on its way. */
static bool is_settling(const struct node *n)
{
	if (!n->dirty || !n->settling_count || n->unacked_count)
		return false;
	list_for_each(e, &n->files)
		if (list_entry(e, const struct file, in_node)->gather)
			return false;
	return true;
}

/*
 * Something was learned of the file while it was opened, or is about to be, so nobody knows which is
 * newer. Close to open wants the newest: the handle is asked. Return: false when it cannot be.
 */
static bool ask_again(struct op *op, struct be_file *be)
{
	struct vfs *v = op->v;
	struct opening *o = malloc(sizeof(*o));

	if (!o)
		return false;
	*o = (struct opening){.op = op, .be = be};
	op->change_count = op->node->change_count;
	op->since_ms = v->clock->now_ms;
	if (v->ops->fstat(v->be, be, told_again, o) == 0)
		return true;
	free(o);
	return false;
}

static void opened(void *arg, const struct be_status *st, struct be_file *be,
                   const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct node *n = op->node;

	if (st->code == BE_NO_SUCH_FILE && n != v->root) {
		node_detach(v, n);
		/* Gone again behind the kernel's lookup, which it does not repeat: the program gets this answer. */
		if (take_sent_back(v, op->req))
			op_fail(op, -ENOENT);
		else
			send_back(op);
		return;
	}
	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	if (op->flags & O_TRUNC) {
		node_changed(v, n);
		n->dirty = false;
		chunks_drop(n, 0, UINT64_MAX);
		whole_overwritten(v, n);
		verify_overwritten(n, NULL);
		if (a)
			attr_update(v, n, a, n->change_count, op->since_ms);
		else
			attr_expire(n);
		n->shown_size = 0;
	} else if (a && n->attr.valid &&
	           (n->dirty ? is_settling(n) : n->change_count != op->change_count) &&
	           ask_again(op, be)) {
		return;
	} else if (a && n->attr.valid && n->change_count == op->change_count) {
		if ((n->attr.mode & S_IFMT) != (a->mode & S_IFMT)) {
			stale(op, be);
			return;
		}
		if (!n->dirty && !attr_same_file(&n->attr, a) && !list_empty(&n->files)) {
			compare(op, be, a);
			return;
		}
		if (!n->dirty && !attr_same_file(&n->attr, a) && whole_is_pinned(n)) {
			stale(op, be);
			return;
		}
		attr_update(v, n, a, op->change_count, op->since_ms);
	}
	answer_open(op, be, a);
}

/*
 * What the program will hardly not read of a file that it opens for reading: all of a small one, the
 * beginning of others. Not where the kernel's pages will do, nor for one that opens without reading.
 */
static size_t ahead_len(const struct op *op)
{
	const struct vfs *v = op->v;
	const struct node *n = op->node;
	const struct be_attr *a = &n->attr;
	int flags = op->flags;

	if (op->req && !walk_reads(v, op->req->program))
		return 0;
	if ((flags & O_ACCMODE) != O_RDONLY || n->dirty || n->kept_len ||
	    !(a->valid & BE_ATTR_SIZE))
		return 0;
	if (n->pages.read &&
	    (v->cfg.kernel_cache || (n->pages.known && n->pages.proven &&
	                             n->pages.mtime == a->mtime && n->pages.size == a->size)))
		return 0;
	return a->size <= AHEAD_WHOLE_LEN ? (size_t)a->size : AHEAD_LEN;
}

void open_send(struct op *op)
{
	struct vfs *v = op->v;
	uint32_t flags = backend_flags(op->flags & ~(O_CREAT | O_EXCL));

	op_failed_start(op, v->ops->open(v->be, op->path, flags, 0, op->node->nodeid, ahead_len(op),
	                                 file_where, NULL, opened, op));
}

void vfs_open(struct vfs *v, struct vfs_req *req, uint64_t nodeid, int flags)
{
	struct op *op = op_create(v, req, OP_OPEN);

	if (!op || !op_on_node(op, node_find(v, nodeid)))
		return;
	op->flags = flags;
	if ((flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY && attr_is_reg(&op->node->attr) &&
	    !whole_written_answers(v, op->node) && walk_opened(op, req->program))
		return; /* goes on in open_continue() */
	open_continue(op);
}

/* Answers from what was fetched ahead. Return: false when the server must be asked. */
static bool open_fetched(struct op *op)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct whole *c = whole_for_open(v, n);
	struct vfs_opened o = {0};
	struct file *f;

	if (!c || n->attr.size != n->shown_size)
		return false;
	f = whole_open(v, n, c, op->flags);
	if (!f)
		return false;
	describe_open(v, n, f, &c->attr, &o);
	/*
	 * Pages that the kernel keeps are read without asking us. Without any this is an open more of a
	 * file nobody has read: the kernel opens once again for each FS_IOC_GETFLAGS. What we wrote
	 * ourselves was no guess.
	 */
	if (op->req && !whole_is_written(n) && (!o.keep_cache || n->pages.read))
		f->unread_by = op->req->program;
	if (o.keep_cache)
		walk_file_used(v, f, true);
	answer_opened(op, f, &o);
	return true;
}

/*
 * A descriptor that the same program has just opened and not read from: the kernel opens once more for each
 * FS_IOC_GETFLAGS, which borg and lsattr ask of what they open. NULL: there is none.
 */
static struct file *just_opened(const struct op *op)
{
	struct vfs *v = op->v;
	struct node *n = op->node;

	if (!op->req || !op->req->program || n->dirty || n->attr.size != n->shown_size ||
	    (v->async && !async_is_settled(v->async, n)))
		return NULL;
	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		/* The handle is of what stood under this name inside the window, and is of it still. */
		if (f->unread_by == op->req->program && f->opened_ms > n->changed_ms &&
		    n->told_ms >= f->opened_ms &&
		    v->clock->now_ms - f->opened_ms < v->cfg.open_window_ms &&
		    attr_is_old(v, &n->attr, f->opened_ms))
			return f;
	}
	return NULL;
}

/* Answers with the handle of another descriptor. Return: false when the server must be asked. */
static bool open_shared(struct op *op)
{
	struct vfs *v = op->v;
	struct node *n = op->node;
	struct file *other = just_opened(op), *f;
	struct vfs_opened o = {0};

	f = other ? file_create(v, n, NULL, op->flags) : NULL;
	if (!f)
		return false;
	file_take_handle(f, other->be);
	f->opened_ms = other->opened_ms;
	describe_open(v, n, f, &n->attr, &o);
	answer_opened(op, f, &o);
	return true;
}

void open_continue(struct op *op)
{
	int flags = op->flags;

	if ((flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY && (open_fetched(op) || open_shared(op)))
		return;
	if (flags & O_TRUNC)
		file_send_node(op->node);
	/* A WRITE that the server gets after the truncation would come back to life. */
	if ((flags & O_TRUNC) && op->node->unacked_count)
		list_push_back(&op->node->drain_waiters, &op->wait);
	else
		open_send(op);
}

static void answer_create(struct op *op, struct node *n, struct be_file *be,
                          const struct be_attr *a, int64_t expires_ms)
{
	struct vfs *v = op->v;
	struct file *f = file_create(v, n, be, op->flags);
	struct vfs_req *req = op_take_req(op);
	struct vfs_opened o = {0};
	struct vfs_entry e = {.nodeid = n->nodeid};

	if (f) {
		f->created =
		    a->size == 0; /* an O_CREAT may have found what somebody made meanwhile */
		describe_open(v, n, f, a, &o);
		attr_node_stat(v, n, &e.st);
		attr_shown(n);
		e.attr_timeout_ms = attr_kernel_attr_timeout(v, n);
		e.entry_timeout_ms = attr_kernel_entry_timeout(v, expires_ms);
		node_looked_up(n);
	}
	op_free(op);
	if (!f) {
		if (req)
			v->replies->err(req, ENOMEM);
	} else if (!req || !v->replies->create(req, &e, &o)) {
		file_release(f);
		node_forget(v, n, 1);
	}
}

static void created_right(struct op *op, const struct be_attr *a)
{
	struct vfs *v = op->v;
	struct be_file *be = op->made_file;
	struct node *parent = op->node, *n;
	const char *name = op_name(op);
	int64_t expires_ms;
	struct name *d;

	entry_parent_changed(v, parent);
	expires_ms = attr_expiry(v, a, op->since_ms);
	d = name_find(v, parent, name);
	n = entry_known(v, parent, name, a, d ? d->node : NULL,
	                d && d->node ? d->node->change_count : 0, op->since_ms);
	if (!n && d) {
		/* The name was ours to know and is another file now, or changed under us. */
		name_drop(v, d);
		n = entry_known(v, parent, name, a, NULL, 0, op->since_ms);
	}
	if (!n) {
		v->ops->close(v->be, be);
		op_fail(op, -ENOMEM);
		return;
	}
	if (op->flags & O_TRUNC) {
		n->dirty = false;
		chunks_drop(n, 0, UINT64_MAX);
	}
	listing_add(v, parent, name, a);
	answer_create(op, n, be, a, expires_ms);
	node_unref(v, n);
}

static void created(void *arg, const struct be_status *st, struct be_file *be,
                    const struct be_attr *a)
{
	struct op *op = arg;
	struct vfs *v = op->v;

	if (st->code != BE_OK || !a) {
		if (st->code == BE_OK)
			v->ops->close(v->be, be);
		op_fail_status(op, st->code != BE_OK
		                       ? st
		                       : &(struct be_status){.code = BE_FAILURE, .text = ""});
		return;
	}
	op->made_file = be;
	if (!made_adjust(op, be, a, created_right))
		created_right(op, a);
}

void vfs_create_file(struct vfs *v, struct vfs_req *req, uint64_t parent, const char *name,
                     mode_t mode, int flags)
{
	struct op *op = op_create(v, req, OP_CREATE);
	int err;

	if (!op || !op_on_name(op, node_find(v, parent), name))
		return;
	op->flags = flags | O_CREAT;
	err = v->ops->open(v->be, op->path, backend_flags(op->flags), made_mode(op, mode), 0, 0,
	                   file_where, NULL, created, op);
	if (!op_failed_start(op, err))
		renew_behind(v, op->node);
}

void vfs_release(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct file *f = file_find(v, fh);

	if (f)
		file_release(f);
	v->replies->err(req, 0);
}
