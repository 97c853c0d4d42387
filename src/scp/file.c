/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations on open files, and those of them that wait in a content. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

/* --- reading --------------------------------------------------------------------------------- */

struct read_op {
	struct list entry;
	struct content *c; /* referenced */
	uint64_t off;
	size_t len;
	bool asked; /* past the end: the server was asked whether the file has grown */
	be_read_fn *done;
	void *arg;
};

static void read_finish(struct read_op *op, enum be_code code, int err, const char *text,
                        struct data *block, size_t len)
{
	const struct be_status st = {.code = code, .err = err, .text = text};

	list_del(&op->entry);
	op->done(op->arg, &st, block, 0, len);
	content_unref(op->c);
	free(op);
}

int scp_read(struct backend *b, struct be_file *f, uint64_t off, size_t len, be_read_fn *done,
             void *arg)
{
	struct content *c = f->c;
	struct read_op *op = calloc(1, sizeof(*op));

	if (!op)
		return -ENOMEM;
	content_ref(c);
	*op = (struct read_op){.c = c, .off = off, .len = len, .done = done, .arg = arg};
	c->read_end = off + len;
	list_push_back(&c->readers, &op->entry);
	content_touch(c);
	return 0;
}

static void read_answer(struct content *c, struct read_op *op, uint64_t end)
{
	size_t len = (size_t)(end - op->off);
	struct data *block = data_create(NULL, len);
	int err = block ? scp_spool_read(&c->spool, op->off, block->bytes, len) : -ENOMEM;

	if (err) {
		data_unref(block);
		read_finish(op, BE_ERRNO, -err, "", NULL, 0);
		return;
	}
	read_finish(op, BE_OK, 0, "", block, len);
}

bool readers_answer(struct content *c)
{
	list_for_each_safe(e, tmp, &c->readers) {
		struct read_op *op = list_entry(e, struct read_op, entry);
		uint64_t end = op->off + op->len, gap = scp_ranges_gap(&c->have, op->off);

		if (c->size_known && end > c->size)
			end = c->size;
		if (op->off < end && gap >= end) {
			read_answer(c, op, end);
		} else if (c->size_known && op->off >= c->size) {
			if (op->asked || c->dirty || c->unlinked || c->size == 0) {
				read_finish(op, BE_EOF, 0, "", NULL, 0);
				continue;
			}
			op->asked = true;
			content_look(c);
		}
	}
	return !list_empty(&c->readers);
}

bool readers_want(struct content *c, uint64_t *from, uint64_t *to, size_t i)
{
	list_for_each(e, &c->readers) {
		struct read_op *op = list_entry(e, struct read_op, entry);
		uint64_t end = op->off + op->len;

		if (i--)
			continue;
		if (c->size_known && end > c->remote_len)
			end = c->remote_len;
		*from = scp_ranges_gap(&c->have, op->off);
		*to = end;
		return true;
	}
	return false;
}

void readers_fail(struct content *c, enum be_code code, int err, const char *text)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &c->readers);
	while (!list_empty(&now))
		read_finish(list_entry(now.next, struct read_op, entry), code, err, text, NULL, 0);
}

/* --- filling --------------------------------------------------------------------------------- */

struct fill_op {
	struct list entry;
	struct content *c; /* referenced */
	fill_fn *done;
	void *arg;
};

int content_fill(struct content *c, fill_fn *done, void *arg)
{
	struct fill_op *op = calloc(1, sizeof(*op));

	if (!op)
		return -ENOMEM;
	content_ref(c);
	op->c = c;
	op->done = done;
	op->arg = arg;
	list_push_back(&c->fillers, &op->entry);
	content_touch(c);
	return 0;
}

void fillers_answer(struct content *c)
{
	struct list now;

	/* As long as something is on its way there is hope. */
	if (list_empty(&c->fillers) || downloads_running(c) || c->looking)
		return;
	list_init(&now);
	list_splice(&now, &c->fillers);
	while (!list_empty(&now)) {
		struct fill_op *op = list_entry(now.next, struct fill_op, entry);

		list_del(&op->entry);
		op->done(op->arg);
		content_unref(op->c);
		free(op);
	}
}

/* --- writing --------------------------------------------------------------------------------- */

int scp_write(struct backend *b, struct be_file *f, uint64_t off, struct data *block,
              size_t block_off, size_t len, be_status_fn *done, void *arg)
{
	struct content *c = f->c;
	bool append = f->flags & BE_APPEND;
	int err = content_write(c, append ? c->size : off, block->bytes + block_off, len, append);

	content_touch(c);
	return answer_status_later(c->sb, done, arg, err ? BE_ERRNO : BE_OK, -err);
}

struct flush_op {
	struct list entry;
	struct content *c;     /* referenced */
	uint64_t change_count; /* what is to be delivered */
	be_status_fn *done;
	void *arg;
};

int scp_flush(struct backend *b, struct be_file *f, be_status_fn *done, void *arg)
{
	struct content *c = f->c;
	struct flush_op *op = calloc(1, sizeof(*op));

	if (!op)
		return -ENOMEM;
	content_ref(c);
	*op = (struct flush_op){.c = c, .change_count = c->change_count, .done = done, .arg = arg};
	list_push_back(&c->flushers, &op->entry);
	content_touch(c);
	return 0;
}

void flushers_answer(struct content *c, uint64_t change_count, enum be_code code, int err,
                     const char *text)
{
	const struct be_status st = {.code = code, .err = err, .text = text};
	struct list now;

	list_init(&now);
	list_splice(&now, &c->flushers);
	while (!list_empty(&now)) {
		struct flush_op *op = list_entry(now.next, struct flush_op, entry);

		list_del(&op->entry);
		if (op->change_count > change_count) {
			list_push_back(&c->flushers, &op->entry);
			continue;
		}
		op->done(op->arg, &st);
		content_unref(op->c);
		free(op);
	}
}

/* --- attributes ------------------------------------------------------------------------------ */

/* Waits until no flush is under way, then is told what the file is. */
struct attr_op {
	struct list entry;
	struct content *c; /* referenced */
	be_attr_fn *done;
	void *arg;
	struct be_attr want; /* not yet done */
};

static void attr_finish(struct attr_op *op, const struct be_status *st)
{
	struct content *c = op->c;
	struct be_attr a;

	content_attr(c, &a);
	op->done(op->arg, st, st->code == BE_OK ? &a : NULL);
	free(op);
	content_unref(c);
}

static void changed(void *arg, const struct be_status *st, const struct be_attr *a);

/* The part of a change that had to wait goes to the file that is there now. */
static void attr_go_on(struct attr_op *op)
{
	const struct be_status ok = {.code = BE_OK, .text = ""};
	struct content *c = op->c;
	struct backend *in = c->sb->inner;

	if (!op->want.valid || !c->inner || c->unlinked ||
	    in->ops->fsetattr(in, c->inner, &op->want, changed, op) < 0)
		attr_finish(op, &ok);
	else
		c->changing++;
}

void attr_ops_answer(struct content *c)
{
	struct list now;

	if (c->up.phase != UPLOAD_IDLE || (!list_empty(&c->flushers) && c->dirty && !c->sb->over))
		return;
	list_init(&now);
	list_splice(&now, &c->attr_ops);
	while (!list_empty(&now)) {
		struct attr_op *op = list_entry(now.next, struct attr_op, entry);

		list_del(&op->entry);
		attr_go_on(op);
	}
}

static void attr_wait(struct attr_op *op)
{
	list_push_back(&op->c->attr_ops, &op->entry);
	content_touch(op->c);
}

static struct attr_op *attr_op_create(struct content *c, be_attr_fn *done, void *arg)
{
	struct attr_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	list_init(&op->entry);
	op->c = c;
	op->done = done;
	op->arg = arg;
	content_ref(c);
	return op;
}

static bool local(const struct content *c)
{
	return c->dirty || c->unlinked || c->up.phase != UPLOAD_IDLE || !c->inner;
}

static void told(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct attr_op *op = arg;
	struct content *c = op->c;

	if (st->code == BE_OK && a)
		content_seen(c, a);
	if (st->code == BE_OK && local(c))
		attr_wait(op);
	else
		attr_finish(op, st);
}

int scp_fstat(struct backend *b, struct be_file *f, be_attr_fn *done, void *arg)
{
	struct content *c = f->c;
	struct backend *in = c->sb->inner;
	struct attr_op *op = attr_op_create(c, done, arg);
	int err = 0;

	if (!op)
		return -ENOMEM;
	if (local(c))
		attr_wait(op);
	else
		err = in->ops->fstat(in, c->inner, told, op);
	if (err < 0) {
		free(op);
		content_unref(c);
	}
	return err;
}

/* The part of a change that concerns what is not on the server yet. Return: 0 or a negative errno. */
static int change_here(struct content *c, struct be_attr *want)
{
	int err = 0;

	if (want->valid & BE_ATTR_SIZE)
		err = content_truncate(c, want->size);
	if (want->valid & BE_ATTR_TIMES) {
		c->times_set = true;
		c->atime = want->atime;
		c->mtime = want->mtime;
		c->change_count += c->dirty; /* an upload under way may be past its times */
	}
	if (c->unlinked && (want->valid & BE_ATTR_MODE))
		c->base.mode = (c->base.mode & ~07777u) | (want->mode & 07777);
	want->valid &= ~(unsigned)(BE_ATTR_SIZE | BE_ATTR_TIMES);
	if (c->unlinked)
		want->valid = 0;
	return err;
}

static void changed(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct attr_op *op = arg;
	struct content *c = op->c;

	if (st->code == BE_OK && a) {
		/* Our own change of times does not make what was read another version. */
		if (!local(c) && !(op->want.valid & BE_ATTR_SIZE))
			c->base.mtime = a->mtime;
		content_seen(c, a);
	}
	op->want.valid = 0;
	c->changing--;
	upload_go_on(c);
	if (st->code == BE_OK && local(c))
		attr_wait(op);
	else
		attr_finish(op, st);
}

int content_setattr(struct content *c, const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct backend *in = c->sb->inner;
	struct attr_op *op = attr_op_create(c, done, arg);
	int err = 0;

	if (!op)
		return -ENOMEM;
	op->want = *want;
	if (local(c))
		err = change_here(c, &op->want);
	if (err == 0 && op->want.valid && c->inner && !c->unlinked && c->up.phase == UPLOAD_IDLE)
		err = in->ops->fsetattr(in, c->inner, &op->want, changed, op);
	else if (err == 0)
		attr_wait(op);
	c->changing += err == 0 && list_empty(&op->entry);
	if (err < 0) {
		free(op);
		content_unref(c);
	}
	return err;
}

int scp_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want, be_attr_fn *done,
                 void *arg)
{
	return content_setattr(f->c, want, done, arg);
}
