/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Write-behind. Contiguous writes are gathered into full-size WRITEs; a write is answered when its
 * bytes are ours and room.c says so; flush.c waits for the server's answers. Contract:
 * include/vfs/vfs.h, include/vfs/file.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/append.h"
#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/kept.h"
#include "vfs/listing.h"
#include "vfs/room.h"
#include "vfs/verify.h"

/* The first block of a small writer; grown to a full-size WRITE when more follows. */
#define GATHER_LEN_MIN (64 * 1024)

/* One WRITE on its way, or a change of attributes that its program was told is done. */
struct sent {
	struct file *file;
	size_t len;
	uint32_t attr_valid; /* enum be_attr_valid; 0: a WRITE */
	bool judged;         /* what its failure means is being found out */
};

/* Every descriptor that wrote learns of the failure, each once. */
static void set_write_error(struct node *n, struct file *f, int err)
{
	f->write_err = f->write_err ? f->write_err : err;
	list_for_each(e, &n->files) {
		struct file *other = list_entry(e, struct file, in_node);

		if (other->wrote && !other->write_err)
			other->write_err = err;
	}
}

int file_take_error(struct file *f)
{
	int err = f->told_err ? f->told_err : f->write_err;

	f->write_err = f->told_err = 0;
	return err;
}

/*
 * For write(2), which may swallow it: of a write in two requests the kernel tells how far it came.
 * So fsync or close tell it again.
 */
static int tell_write_error(struct file *f)
{
	int err = f->write_err;

	f->write_err = 0;
	f->told_err = f->told_err ? f->told_err : err;
	return err;
}

/* The server has answered every WRITE of the node. */
static void node_drained(struct node *n)
{
	struct list waiters;

	list_init(&waiters);
	list_splice(&waiters, &n->drain_waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		if (op->kind == OP_OPEN)
			open_send(op);
		else if (op->kind == OP_RENAME)
			rename_send(op);
		else
			file_op_answered(op);
	}
}

static void acknowledged(void *arg, int err)
{
	struct sent *s = arg;
	struct file *f = s->file;
	struct vfs *v = f->v;
	struct node *n = f->node;
	size_t len = s->len;
	bool is_attr = s->attr_valid != 0, judged = s->judged;

	free(s);
	if (err) {
		v->write_error_count++;
		n->torn = n->torn || !is_attr;
		if (n->torn)
			kept_drop(n);
		/* Those that fail behind one that is being judged wait for its word: it was the first. */
		if (is_attr || judged || !n->judged_count)
			set_write_error(n, f, err);
	}
	n->judged_count -= judged;
	n->attr_unacked_count -= is_attr;
	n->unacked_count--;
	v->unacked_count--;
	v->unacked_len -= len;
	if (n->unacked_count == 0)
		node_drained(n);
	file_unref(f);
	room_more(v);
	vfs_look_drained(v);
}

static void write_answered(void *arg, const struct be_status *st)
{
	struct sent *s = arg;
	struct file *f = s->file;
	struct vfs *v = f->v;
	char *path;
	int err;

	if (st->code == BE_OK) {
		acknowledged(s, 0);
		return;
	}
	path = node_path(v, f->node, NULL, &err);
	log_error(LOG_VFS, "write of '%s' failed: the server says \"%s\"", path ? path : "",
	          st->text);
	if (f->node->judged_count) {
		acknowledged(s, -EIO);
		free(path);
		return;
	}
	s->judged = true;
	f->node->judged_count++;
	errno_resolve(v, &(struct errno_query){.kind = OP_WRITE, .path = path, .len = s->len}, st,
	              acknowledged, s);
	free(path);
}

static void attr_answered(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct sent *s = arg;
	const struct errno_query q = {.kind = OP_SETATTR};
	struct node *n = s->file->node;
	int err = 0;

	if (st->code != BE_OK) {
		log_error(LOG_VFS, "a change of attributes failed: the server says \"%s\"",
		          st->text);
		attr_expire(n);
		err = errno_first(&q, st);
		err = err < 0 ? err : -EIO;
	}
	/* The owner was right before: a server that refuses to set it again has done no harm. */
	acknowledged(s, s->attr_valid == BE_ATTR_OWNER ? 0 : err);
}

int file_send_attr(struct file *f, const struct be_attr *want)
{
	struct vfs *v = f->v;
	struct node *n = f->node;
	struct sent *s = malloc(sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	file_send_node(n);
	*s = (struct sent){file_ref(f), 0, want->valid, false};
	f->wrote = true; /* close waits for it, and reports it */
	n->attr_unacked_count++;
	n->unacked_count++;
	v->unacked_count++;
	err = v->ops->fsetattr(v->be, f->be, want, attr_answered, s);
	if (err) {
		n->attr_unacked_count--;
		n->unacked_count--;
		v->unacked_count--;
		file_unref(f);
		free(s);
	}
	return err;
}

struct be_attr file_times(const struct node *n)
{
	return (struct be_attr){
	    .valid = BE_ATTR_TIMES, .atime = n->attr.atime, .mtime = n->attr.mtime};
}

void file_send_times(struct node *n)
{
	struct file *f = file_creator(n);
	const struct be_attr times = file_times(n);

	if (n->times_set && f && file_send_attr(f, &times) == 0) {
		n->times_set = false;
		n->mtime_shown = false;
	}
}

void file_send(struct file *f)
{
	struct vfs *v = f->v;
	struct data *block = f->gather;
	struct sent *s;
	int err;

	if (!block)
		return;
	f->gather = NULL;
	append_over(f);
	timer_cancel(&f->flush_timer);
	s = malloc(sizeof(*s));
	err = s ? 0 : -ENOMEM;
	if (s) {
		*s = (struct sent){file_ref(f), f->gather_len, 0, false};
		f->node->unacked_count++;
		v->unacked_count++;
		v->unacked_len += f->gather_len;
		err = v->ops->write(v->be, f->be, f->gather_off, block, 0, f->gather_len,
		                    write_answered, s);
		if (err)
			acknowledged(s, -EIO);
		else if (f->created && !(f->flags & O_APPEND) && f->gather_off == 0 &&
		         f->gather_len == f->node->attr.size)
			whole_written(v, f->node, block, f->gather_len);
		else
			kept_sent(f, block, f->gather_off, f->gather_len);
	} else {
		set_write_error(f->node, f, err);
	}
	data_unref(block);
}

void file_deliver(struct file *f)
{
	struct vfs *v = f->v;
	struct sent *s;

	if (!v->ops->flush || !f->wrote || f->given_up)
		return;
	s = malloc(sizeof(*s));
	if (!s)
		return; /* the backend delivers what is left of a closed file, but nobody hears of it */
	*s = (struct sent){.file = file_ref(f)};
	f->node->unacked_count++;
	v->unacked_count++;
	if (v->ops->flush(v->be, f->be, write_answered, s) != 0)
		acknowledged(s, -EIO);
}

void file_send_node(struct node *n)
{
	list_for_each(e, &n->files)
		file_send(list_entry(e, struct file, in_node));
}

/* Order: what another descriptor of the file has gathered goes first. */
static void send_others(struct file *f)
{
	list_for_each(e, &f->node->files) {
		struct file *other = list_entry(e, struct file, in_node);

		if (other != f)
			file_send(other);
	}
}

/* What one WRITE carries. Of an appender all that the server takes: nobody's bytes shall come between. */
static size_t write_unit(const struct file *f)
{
	const struct be_info *info = f->v->ops->info(f->v->be);

	return f->flags & O_APPEND ? info->write_len_max : info->write_unit_len;
}

/* Makes room for more bytes behind those gathered, or a first block. Return: -ENOMEM or 0. */
static int gather_grow(struct file *f, size_t more_len)
{
	struct vfs *v = f->v;
	size_t max = write_unit(f);
	size_t want = f->gather ? f->gather_len + more_len : more_len;
	size_t size = want > GATHER_LEN_MIN || f->gather ? max : GATHER_LEN_MIN;
	struct data *block;

	if (f->gather && f->gather->size >= max)
		return 0;
	block = data_create(v->budget, size < max ? size : max);
	if (!block)
		return -ENOMEM;
	if (f->gather) {
		memcpy(block->bytes, f->gather->bytes, f->gather_len);
		data_unref(f->gather);
	} else {
		f->gather_len = 0;
	}
	f->gather = block;
	return 0;
}

/*
 * One write(2) of an appender is one WRITE, also where it comes in several requests: makes room for one
 * of them behind what is gathered. Return: where in that the write(2) begins, or -ENOMEM.
 */
static ssize_t gather_append(struct file *f, pid_t pid, size_t len, uint64_t off, size_t max)
{
	bool continues = append_continues(f, pid, off);

	if (!f->gather)
		return 0;
	if (f->gather_len + len < max) /* a full one would be sent */
		return (ssize_t)(continues ? f->append_at : f->gather_len);
	if (!continues)
		file_send(f);
	else if (append_send_before(f))
		return -ENOMEM;
	return 0;
}

/* Takes the bytes over. Return: 0 or -ENOMEM. */
static int gather(struct file *f, const uint8_t *bytes, size_t len, uint64_t off)
{
	size_t max = write_unit(f);

	while (len) {
		size_t part;

		if (!f->gather)
			f->gather_off = off;
		if ((!f->gather || f->gather_len + len > f->gather->size) && gather_grow(f, len))
			return -ENOMEM;
		part = f->gather->size - f->gather_len;
		part = part < len ? part : len;
		memcpy(f->gather->bytes + f->gather_len, bytes, part);
		f->gather_len += part;
		bytes += part;
		off += part;
		len -= part;
		if (f->gather_len >= max)
			file_send(f);
	}
	return 0;
}

/* What was read of the range is over, before the new bytes are sent and perhaps kept. */
static void overwrite(struct node *n, size_t len, uint64_t off)
{
	uint64_t old_size = n->attr.size;

	/* Short chunks end at the old size: what lies between it and us is a hole now. */
	if (off > old_size)
		chunks_drop(n, old_size, off + len - old_size);
	else
		chunks_drop(n, off, len);
}

/* The node now is what the program has written, whatever the server has of it. */
static void wrote(struct file *f, size_t len, uint64_t off)
{
	struct vfs *v = f->v;
	struct node *n = f->node;

	f->wrote = true;
	f->given_up = false;
	node_changed(v, n);
	whole_overwritten(v, n);
	if (off + len > n->attr.size)
		n->attr.size = off + len;
	n->shown_size = n->attr.size;
	n->attr.mtime = (uint32_t)attr_server_now(v);
	n->mtime_shown = false;
	n->attr_expires_ms = v->clock->now_ms + attr_lifetime(v, &n->attr);
	if (n->dirty)
		return;
	n->dirty = true;
	listing_show(v, n, NULL);
}

/* Direct and synchronous descriptors are answered when the server has the bytes. */
static void answer_when_acknowledged(struct file *f, struct vfs_req *req, size_t len)
{
	struct op *op = op_on_file(f->v, req, OP_WRITE, f->fh);

	file_send(f);
	if (!op)
		return;
	op->len = len;
	/* A journal acknowledges by itself: only its barrier says that the server has the bytes. */
	if (f->v->async && f->v->ops->fsync(f->v->be, f->be, file_op_synced, op) == 0)
		op->pending++;
	file_op_wait(op);
}

/* Takes the bytes over and answers when that may be. */
static void write_on(struct file *f, struct vfs_req *req, const void *bytes, size_t len,
                     uint64_t off)
{
	struct vfs *v = f->v;
	ssize_t at = 0;
	int err;

	send_others(f);
	if (f->gather && f->gather_off + f->gather_len != off)
		file_send(f);
	if (f->flags & O_APPEND)
		at = gather_append(f, req->pid, len, off, write_unit(f));
	overwrite(f->node, len, off);
	err = at < 0 ? (int)at : gather(f, bytes, len, off);
	if (f->flags & O_APPEND)
		append_gathered(f, req->pid, (size_t)at);
	wrote(f, len, off);
	verify_wrote(f, bytes, len, off);
	if (err) {
		v->replies->err(req, -err);
		return;
	}
	if (f->gather && !timer_armed(&f->flush_timer))
		timer_set(v->clock, &f->flush_timer, v->clock->now_ms + v->cfg.flush_age_ms);
	if (v->cfg.sync_write || (f->flags & (O_DIRECT | O_DSYNC)))
		answer_when_acknowledged(f, req, len);
	else
		room_answer(v, req, len);
}

/* A page that waits for a descriptor that does not append. */
struct page_write {
	struct op *op;
	struct data *block;
};

static void plain_opened(void *arg, const struct be_status *st, struct be_file *be,
                         const struct be_attr *a)
{
	struct page_write *p = arg;
	struct op *op = p->op;
	struct file *f = op->file;
	struct vfs *v = op->v;
	struct vfs_req *req;

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		goto free_page;
	}
	if (!f->be || f->plain) {
		v->ops->close(v->be, be); /* released, or another page was quicker */
	} else {
		f->plain = file_create(v, op->node, be, O_RDWR);
	}
	if (!f->plain) {
		op_fail(op, -EIO);
		goto free_page;
	}
	f->wrote = true; /* close waits for it, and reports it */
	req = op_take_req(op);
	if (req)
		write_on(f->plain, req, p->block->bytes, op->len, op->off);
	op_free(op);

free_page:
	data_unref(p->block);
	free(p);
}

static void write_page_plainly(struct file *f, struct vfs_req *req, const void *bytes, size_t len,
                               uint64_t off)
{
	struct vfs *v = f->v;
	struct op *op = op_on_file(v, req, OP_WRITE, f->fh);
	struct page_write *p;
	int err;

	if (!op)
		return;
	op->off = off;
	op->len = len;
	op->path = node_path(v, op->node, NULL, &err);
	p = calloc(1, sizeof(*p));
	if (p)
		p->block = data_create(v->budget, len);
	if (!op->path || !p || !p->block)
		goto fail;
	p->op = op;
	memcpy(p->block->bytes, bytes, len);
	err = v->ops->open(v->be, op->path, BE_READ | BE_WRITE, 0, op->node->nodeid, 0, file_where,
	                   NULL, plain_opened, p);
	if (err == 0)
		return;

fail:
	if (p)
		data_unref(p->block);
	free(p);
	op_fail(op, -EIO);
}

/* Any open file of the node that writes where it is told. */
static struct file *plain_file(struct node *n)
{
	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if ((f->flags & O_ACCMODE) != O_RDONLY && !(f->flags & O_APPEND))
			return f;
	}
	return NULL;
}

void vfs_write(struct vfs *v, struct vfs_req *req, uint64_t fh, const void *bytes, size_t len,
               uint64_t off, bool page)
{
	struct file *f = file_find(v, fh);
	int err = f ? tell_write_error(f) : -EBADF;

	if (err) {
		v->replies->err(req, -err);
		return;
	}
	if (page && (f->flags & O_APPEND)) {
		struct file *plain = plain_file(f->node);

		if (!plain) {
			write_page_plainly(f, req, bytes, len, off);
			return;
		}
		f->wrote = true; /* close waits for it, and reports it */
		f = plain;
	}
	write_on(f, req, bytes, len, off);
}
