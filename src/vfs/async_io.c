/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading, writing, syncing and copying open files over the journal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async_file.h"
#include "vfs/attr.h"

/* A file is sent in one go up to this; a larger one, or one written in more pieces, as it comes. */
#define KEEP_LEN_MAX   (1024 * 1024)
#define KEEP_COUNT_MAX 64u

/* From the bytes that are kept. */
static int read_kept(struct afile *f, uint64_t off, size_t len, be_read_fn *done, void *arg)
{
	struct async *a = f->a;
	struct data *block;

	if (off >= f->attr.size)
		return answer_read(a, done, arg, NULL, 0, 0);
	len = len < f->attr.size - off ? len : (size_t)(f->attr.size - off);
	block = data_create(a->v->budget, len);
	if (!block)
		return -ENOMEM;
	memset(block->bytes, 0, len);
	list_for_each(e, &f->pieces) {
		struct piece *p = list_entry(e, struct piece, entry);
		uint64_t from = p->off > off ? p->off : off;
		uint64_t to = p->off + p->len < off + len ? p->off + p->len : off + len;

		if (from < to)
			memcpy(block->bytes + (from - off),
			       p->block->bytes + p->block_off + (from - p->off), to - from);
	}
	return answer_read(a, done, arg, block, len, 0);
}

int async_read(struct backend *b, struct be_file *file, uint64_t off, size_t len, be_read_fn *done,
               void *arg)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);

	if (f->state == AFILE_FAILED)
		return answer_read(a, done, arg, NULL, 0, -EIO);
	if (f->state == AFILE_OPEN)
		return a->ops->read(a->below, f->below, off, len, done, arg);
	return read_kept(f, off, len, done, arg);
}

/* The file is what the program has written. */
static void wrote(struct afile *f, uint64_t off, size_t len)
{
	/* Others may append, too: only the server knows. */
	if (f->state == AFILE_OPEN && (!afile_alone(f) || (f->flags & BE_APPEND)))
		async_share(f->a, f->nodeid);
	f->ours = f->attr.valid && !(f->shared && afile_is_sent(f));
	if (!f->ours)
		return;
	if (off + len > f->attr.size)
		f->attr.size = off + len;
	f->attr.mtime = (uint32_t)attr_server_now(f->a->v);
	f->want |= BE_ATTR_TIMES;
	afile_show(f);
}

static int keep(struct afile *f, uint64_t off, struct data *block, size_t block_off, size_t len,
                be_status_fn *done, void *arg)
{
	struct piece *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	/* Write-behind hands over blocks that are mostly empty for small files. */
	if (len < block->size / 2)
		p->block = data_create(f->a->v->budget, len);
	if (p->block) {
		memcpy(p->block->bytes, block->bytes + block_off, len);
	} else {
		p->block = data_ref(block);
		p->block_off = block_off;
	}
	p->off = off;
	p->len = len;
	p->done = done;
	p->arg = arg;
	list_push_back(&f->pieces, &p->entry);
	f->pieces_len += len;
	f->piece_count++;
	async_unsent(f->a, (int64_t)len);
	return 0;
}

int async_write(struct backend *b, struct be_file *file, uint64_t off, struct data *block,
                size_t block_off, size_t len, be_status_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct afile *f = afile_of(file);
	int err = async_take_error(a, file);
	bool wait = !async_may_postpone(a, len);
	int r = 0;

	if (err || f->state == AFILE_FAILED)
		return answer_status(a, done, arg, err ? err : -EIO);
	if (f->flags & BE_APPEND)
		off = f->attr.size;
	if (f->state == AFILE_OPEN) {
		afile_stand_for(f);
		afile_write_below(f, off, block, block_off, len, wait ? done : NULL, arg);
	} else {
		r = keep(f, off, block, block_off, len, wait ? done : NULL, arg);
	}
	if (r < 0)
		return r;
	wrote(f, off, len);
	if (f->state == AFILE_KEPT &&
	    (wait || f->pieces_len > KEEP_LEN_MAX || f->piece_count > KEEP_COUNT_MAX)) {
		change_release(&f->change);
		pending_run(&a->pending);
	}
	return wait ? 0 : answer_status(a, done, arg, 0);
}

struct sync_call {
	struct afile *f, *to; /* `to`: of a copy */
	uint64_t from_off, to_off, len;
	be_status_fn *done;
	void *arg;
};

static void sync_end(struct sync_call *s, const struct be_status *st)
{
	struct afile *f = s->f, *to = s->to;

	s->done(s->arg, st);
	free(s);
	f->hold_count--;
	afile_reap(f);
	if (to) {
		to->hold_count--;
		afile_reap(to);
	}
}

static void synced(void *arg, const struct be_status *st)
{
	sync_end(arg, st);
}

static void sync_passed(void *arg, int err)
{
	struct sync_call *s = arg;
	struct afile *f = s->f;
	struct async *a = f->a;
	struct be_status st;

	if (!err)
		err = async_take_error(a, (struct be_file *)f);
	if (!err && f->state == AFILE_FAILED)
		err = -EIO;
	if (!err && f->below && a->ops->info(a->below)->caps.fsync) {
		err = a->ops->fsync(a->below, f->below, synced, s);
		if (!err)
			return;
	}
	st = async_status(err);
	if (!err && f->below)
		st.code = BE_UNSUPPORTED;
	sync_end(s, &st);
}

int async_fsync(struct backend *b, struct be_file *file, be_status_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct sync_call *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct sync_call){.f = afile_of(file), .done = done, .arg = arg};
	if (async_wait_all(a, false, sync_passed, s) < 0) {
		free(s);
		return -ENOMEM;
	}
	s->f->hold_count++;
	return 0;
}

static void copied(void *arg, const struct be_status *st)
{
	struct sync_call *s = arg;

	if (st->code == BE_OK)
		wrote(s->to, s->to_off, (size_t)s->len);
	sync_end(s, st);
}

static void copy_passed(void *arg, int err)
{
	struct sync_call *s = arg;
	struct async *a = s->f->a;
	struct be_status st;

	if (!err)
		err = async_take_error(a, (struct be_file *)s->to);
	if (!err && s->f->below && s->to->below)
		err = a->ops->copy(a->below, s->f->below, s->from_off, s->to->below, s->to_off,
		                   s->len, copied, s);
	else if (!err)
		err = -EIO;
	if (!err)
		return;
	st = async_status(err);
	sync_end(s, &st);
}

int async_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
               uint64_t to_off, uint64_t len, be_status_fn *done, void *arg)
{
	struct async *a = async_of(b);
	struct sync_call *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct sync_call){afile_of(from), afile_of(to), from_off, to_off, len, done, arg};
	if (async_wait_all(a, false, copy_passed, s) < 0) {
		free(s);
		return -ENOMEM;
	}
	s->f->hold_count++;
	s->to->hold_count++;
	return 0;
}
