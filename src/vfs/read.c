/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and read-ahead. What is asked of the server or has come from it lives in chunks of the
 * node; a read is answered when chunks cover it. Each descriptor follows a few sequential readers
 * and fetches ahead of those that have proven to be sequential, up to the bandwidth-delay product.
 * Random access asks for exactly what it reads. Contract: include/vfs/vfs.h, include/vfs/file.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/append.h"
#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/walk.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/kept.h"
#include "vfs/verify.h"

/*
 * A stream's first window; a large file that is read from its start in large pieces has at once what
 * the line is known to hold.
 */
#define WINDOW_LEN_MIN (128 * 1024)
#define LARGE_READ_LEN (64 * 1024)
#define LARGE_FILE_LEN (4 * 1024 * 1024)

/* The kernel's own read-ahead runs several requests at once and may swap or skip some. */
#define STREAM_SLACK_LEN (256 * 1024)

/* What lies so far behind every reader is dropped. */
#define BEHIND_LEN (4 * (uint64_t)STREAM_SLACK_LEN)

/* A reader counts for the others' share as long as this after it last read ahead. */
#define READER_LIFE_MS 1000

#define REPLY_IOV_COUNT 260 /* 1 MiB in single pages, and the ends */
#define PAGE_LEN        4096

static const uint8_t zeros[128 * 1024];

void chunk_free(struct chunk *c)
{
	if (c->kept)
		kept_gone(c->v, c->node, c);
	list_del(&c->in_node);
	data_unref(c->block);
	free(c);
}

static bool overlaps(const struct chunk *c, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(off, len, &end))
		end = UINT64_MAX;
	return c->off < end && off < c->off + c->len;
}

void chunks_drop(struct node *n, uint64_t off, uint64_t len)
{
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);

		if (!overlaps(c, off, len))
			continue;
		if (c->in_flight)
			c->dead = true;
		else
			chunk_free(c);
	}
}

void chunks_leave(struct node *n)
{
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);

		if (c->in_flight)
			c->dead = true;
		else if (!c->kept)
			chunk_free(c);
	}
}

void chunk_insert(struct chunk *c)
{
	struct list *at = &c->node->chunks;

	list_for_each(e, &c->node->chunks) {
		if (list_entry(e, struct chunk, in_node)->off > c->off) {
			at = e;
			break;
		}
	}
	list_insert(at, &c->in_node);
}

/* The file is what we have written, whatever the server has of it yet. */
static bool is_ours(struct vfs *v, const struct node *n)
{
	return n->dirty || (v->async && async_is_writing(v->async, n));
}

/* The live chunk that holds byte `off`, or else *next_off is where the next one begins. */
static struct chunk *chunk_at(struct node *n, uint64_t off, uint64_t *next_off)
{
	*next_off = UINT64_MAX;
	list_for_each(e, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);

		if (c->dead)
			continue;
		if (c->off > off) {
			*next_off = c->off;
			return NULL;
		}
		if (off < c->off + c->len)
			return c;
	}
	return NULL;
}

static void chunk_read(void *arg, const struct be_status *st, struct data *block, size_t off,
                       size_t len)
{
	struct chunk *c = arg;
	struct vfs *v = c->v;
	struct node *n = c->node;
	struct list readers;

	c->in_flight = false;
	if (st->code == BE_CANCELLED) {
		c->dead = true;
	} else if (st->code == BE_OK) {
		c->block = block;
		c->block_off = off;
		c->got_len = len;
	} else if (st->code != BE_EOF) {
		c->err = errno_first(&(struct errno_query){.kind = OP_READ}, st);
		if (c->err > 0)
			c->err = -EIO;
	}
	list_init(&readers);
	list_splice(&readers, &c->readers);
	if (c->dead) {
		/* Overtaken: who waits asks again, behind what overtook it. */
		chunk_free(c);
		c = NULL;
	}
	while (!list_empty(&readers)) {
		struct op *op = list_entry(readers.next, struct op, wait);

		list_del(&op->wait);
		read_continue(op);
	}
	/* An error is for those who waited; the next reader asks again. */
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *failed = list_entry(e, struct chunk, in_node);

		if (failed->err && !failed->in_flight)
			chunk_free(failed);
	}
	node_unref(v, n);
}

/* What any descriptor of the file has gathered in the range must be on its way before the READ. */
static void send_overlapping(struct node *n, uint64_t off, uint64_t end)
{
	list_for_each(e, &n->files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (!f->gather || off >= f->gather_off + f->gather_len || f->gather_off >= end)
			continue;
		if (append_goes_on(f, 0) && end <= f->gather_off + f->append_at &&
		    append_send_before(f) == 0)
			continue;
		file_send(f);
	}
}

/* Asks for [off, off + len). Return: the chunk, or NULL with a negative errno in *err. */
static struct chunk *chunk_start(struct file *f, uint64_t off, size_t len, int *err)
{
	struct vfs *v = f->v;
	struct node *n = f->node;
	struct chunk *c = calloc(1, sizeof(*c));

	*err = -ENOMEM;
	if (!c)
		return NULL;
	c->v = v;
	c->node = n;
	c->off = off;
	c->len = len;
	c->in_flight = true;
	c->early = is_ours(v, n);
	list_init(&c->readers);
	chunk_insert(c);
	*err = v->ops->read(v->be, f->be, off, len, chunk_read, c);
	if (*err < 0) {
		chunk_free(c);
		return NULL;
	}
	node_ref(n);
	return c;
}

static size_t read_unit(const struct vfs *v)
{
	size_t max = v->ops->info(v->be)->read_unit_len;

	/* Whole pages, so that the kernel's requests do not straddle two chunks more than needed. */
	return max > PAGE_LEN ? max - max % PAGE_LEN : max;
}

/* Asks for what of [off, end) is neither here nor on its way. Return: 0 or a negative errno. */
static int fetch(struct file *f, uint64_t off, uint64_t end)
{
	size_t unit = read_unit(f->v);
	uint64_t next_off;
	int err;

	send_overlapping(f->node, off, end); /* which may keep it, too */
	while (off < end) {
		struct chunk *c = chunk_at(f->node, off, &next_off);
		uint64_t stop = end < next_off ? end : next_off;

		/* It may have overtaken a WRITE behind it, which makes a hole of what was the end. */
		if (c && c->early && !c->in_flight && c->got_len < c->len && !c->err &&
		    !is_ours(f->v, f->node)) {
			chunk_free(c);
			continue;
		}
		if (!c) {
			size_t len = stop - off < unit ? (size_t)(stop - off) : unit;

			c = chunk_start(f, off, len, &err);
			if (!c)
				return err;
		}
		off = c->off + c->len;
	}
	return 0;
}

/* The stream that a read at `off` continues, or a new one in the oldest one's place. */
static struct stream *stream_at(struct file *f, uint64_t off, bool *continues)
{
	struct stream *oldest = &f->streams[0];

	f->stream_clock++;
	for (size_t i = 0; i < FILE_STREAM_COUNT; i++) {
		struct stream *s = &f->streams[i];
		uint64_t low = s->next_off > STREAM_SLACK_LEN ? s->next_off - STREAM_SLACK_LEN : 0;

		if (s->used && off >= (s->window_len ? low : s->next_off) &&
		    off <= s->next_off + (s->window_len ? STREAM_SLACK_LEN : 0)) {
			s->used = f->stream_clock;
			*continues = true;
			return s;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	*oldest = (struct stream){.used = f->stream_clock};
	*continues = false;
	return oldest;
}

/* What nobody has taken behind the reader will hardly be asked for: the kernel has its own cache. */
/* A reader of the file, through whichever descriptor, still comes to it. */
static bool is_ahead(const struct node *n, const struct chunk *c)
{
	list_for_each(e, &n->files) {
		const struct file *f = list_entry(e, const struct file, in_node);

		for (size_t i = 0; i < FILE_STREAM_COUNT; i++) {
			const struct stream *s = &f->streams[i];

			if (s->window_len && c->off + c->len + BEHIND_LEN > s->next_off &&
			    c->off <= s->next_off + s->window_len)
				return true;
		}
	}
	return false;
}

static void drop_behind(struct node *n, uint64_t off)
{
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);

		if (c->off + c->len > off)
			return;
		if (!c->in_flight && !c->kept && !is_ahead(n, c))
			chunk_free(c);
	}
}

/*
 * How far ahead one of those who read now may fetch: what the line holds is shared among them. The
 * server answers in the order asked, so a larger window would be a larger share.
 */
static size_t reader_share(struct file *f)
{
	struct vfs *v = f->v;
	size_t count = 0, share;

	f->ahead_ms = v->clock->now_ms;
	list_del(&f->in_readers);
	list_push_front(&v->readers, &f->in_readers);
	list_for_each(e, &v->readers) {
		if (list_entry(e, struct file, in_readers)->ahead_ms + READER_LIFE_MS <
		    v->clock->now_ms)
			break;
		count++;
	}
	share = v->ops->info(v->be)->stream_len / count;
	return share > WINDOW_LEN_MIN ? share : WINDOW_LEN_MIN;
}

static void read_ahead(struct file *f, uint64_t off, size_t len)
{
	struct vfs *v = f->v;
	struct node *n = f->node;
	size_t most, room = budget_left(v->budget) / 2;
	uint64_t end = off + len, size = n->attr.size, to;
	size_t unit = read_unit(v);
	bool continues;
	struct stream *s = stream_at(f, off, &continues);

	if (!continues && off == 0)
		s->window_len =
		    len >= LARGE_READ_LEN && size >= LARGE_FILE_LEN ? SIZE_MAX : WINDOW_LEN_MIN;
	else if (continues && end > s->next_off)
		s->window_len = s->window_len ? s->window_len * 2 : WINDOW_LEN_MIN;
	s->next_off = end > s->next_off ? end : s->next_off;
	if (!s->window_len)
		return;
	most = reader_share(f);
	most = most < room ? most : room;
	if (s->window_len > most)
		s->window_len = most;
	if (s->next_off > BEHIND_LEN)
		drop_behind(n, s->next_off - BEHIND_LEN);
	if (__builtin_add_overflow(s->next_off, s->window_len, &to) || to > size)
		to = size;
	/* Whole units only, but for the end of the file: no crumbs at the head of the window. */
	if (to < size)
		to -= to % unit;
	if (to > end && !append_within(n, end, to, 0))
		fetch(f, end, to);
}

/* What of [off, end) this chunk gives. Return: bytes, 0 at the end of the file. */
static size_t piece_of(const struct node *n, const struct chunk *c, uint64_t off, uint64_t end,
                       struct iovec *iov)
{
	uint64_t got_end = c->off + c->got_len, chunk_end = c->off + c->len;

	if (off < got_end) {
		iov->iov_base = c->block->bytes + c->block_off + (size_t)(off - c->off);
		end = end < got_end ? end : got_end;
	} else {
		/*
		 * The server's file ended here. Inside ours it is a hole, which our unacknowledged writes
		 * beyond it make; behind the chunk there may be bytes again.
		 */
		iov->iov_base = (void *)(uintptr_t)zeros;
		end = end < chunk_end ? end : chunk_end;
		end = end < n->attr.size ? end : n->attr.size;
		end = end < off + sizeof(zeros) ? end : off + sizeof(zeros);
		if (end <= off || !is_ours(c->v, n))
			return 0;
	}
	iov->iov_len = (size_t)(end - off);
	return iov->iov_len;
}

/* Collects what has come of [off, off + len). Return: bytes; *wait is a chunk still on its way. */
static size_t collect(struct op *op, struct iovec *iov, int *iov_count, struct chunk **wait,
                      int *err)
{
	struct node *n = op->node;
	uint64_t off = op->off, end = op->off + op->len, next_off;

	*wait = NULL;
	*iov_count = 0;
	while (off < end && *iov_count < REPLY_IOV_COUNT) {
		struct chunk *c = chunk_at(n, off, &next_off);
		size_t len;

		if (!c)
			break;
		if (c->in_flight) {
			*wait = c;
			break;
		}
		if (c->err) {
			*err = c->err;
			break;
		}
		len = piece_of(n, c, off, end, &iov[*iov_count]);
		if (!len)
			break;
		(*iov_count)++;
		off += len;
	}
	return (size_t)(off - op->off);
}

/* Chunks of which every byte was handed out go: the kernel keeps its own copy. */
static void taken(struct node *n, uint64_t off, size_t len)
{
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);
		uint64_t from, to;

		if (c->in_flight || !overlaps(c, off, len))
			continue;
		if (c->kept) {
			kept_used(c->v, n);
			continue;
		}
		from = off > c->off ? off : c->off;
		to = off + len < c->off + c->got_len ? off + len : c->off + c->got_len;
		if (to > from)
			c->taken_len += to - from;
		if (c->taken_len >= c->got_len)
			chunk_free(c);
	}
}

static void answer_read(struct op *op, const struct iovec *iov, int iov_count, size_t total)
{
	struct vfs *v = op->v;
	struct vfs_req *req;
	struct node *n = node_ref(op->node);
	uint64_t off = op->off;

	if (verify_read(op, iov, iov_count)) {
		node_unref(v, n);
		return;
	}
	req = op_take_req(op);
	if (total < op->len && !n->dirty && off + total < n->attr.size)
		attr_expire(n); /* the file has become shorter than we were told */
	op_free(op);
	if (off == 0)
		n->pages.read = true;
	if (req)
		v->replies->data(req, iov, iov_count);
	taken(n, off, total ? total : 1);
	node_unref(v, n);
}

/* The end of the file costs no request when the size is known; past it only the server knows. */
static uint64_t read_end(const struct op *op)
{
	uint64_t end = op->off + op->len, size = op->node->attr.size;

	return op->off < size && size < end ? size : end;
}

/* A READ would cut in two what an appender is in the middle of writing. Return: true when it waits. */
static bool wait_for_appender(struct op *op)
{
	struct file *writer = append_within(op->node, op->off, read_end(op), op->req->pid);

	/* Another write(2) may follow at once: not for ever. */
	if (!writer || op->v->clock->now_ms - op->since_ms > 2 * APPEND_GOES_ON_MS)
		return false;
	append_wait(op, writer, read_continue);
	return true;
}

void read_continue(struct op *op)
{
	struct iovec iov[REPLY_IOV_COUNT];
	struct chunk *wait;
	int iov_count, err = 0;
	size_t total;

	if (!op->req) {
		op_free(op); /* the program is gone */
		return;
	}
	if (whole_read(op) || wait_for_appender(op))
		return;
	err = op->file->be ? fetch(op->file, op->off, read_end(op)) : -ESTALE;
	if (err) {
		op_fail(op, err);
		return;
	}
	total = collect(op, iov, &iov_count, &wait, &err);
	if (err) {
		op_fail(op, err);
	} else if (wait) {
		list_push_back(&wait->readers, &op->wait);
	} else {
		answer_read(op, iov, iov_count, total);
	}
}

void vfs_read(struct vfs *v, struct vfs_req *req, uint64_t fh, size_t len, uint64_t off)
{
	struct op *op = op_on_file(v, req, OP_READ, fh);
	uint64_t end;
	int err;

	if (!op)
		return;
	if (len == 0 || __builtin_add_overflow(off, (uint64_t)len, &end)) {
		op_fail(op, len ? -EINVAL : 0);
		return;
	}
	op->off = off;
	op->len = len;
	if (op->file->flags & O_DIRECT)
		kept_drop(op->node);
	walk_file_used(v, op->file, true);
	if (whole_read(op))
		return;
	if (!op->file->be) {
		whole_wait_handle(op);
		return;
	}
	if (wait_for_appender(op))
		return;
	/* First what is asked for, then what may be asked for next. */
	err = fetch(op->file, off, read_end(op));
	if (err) {
		op_fail(op, err);
		return;
	}
	read_ahead(op->file, off, len);
	read_continue(op);
}
