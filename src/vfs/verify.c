/* SPDX-License-Identifier: BSD-2-Clause */
/* The server's hash of a file. Contract: include/vfs/verify.h, include/vfs/vfs.h. */
#include "vfs/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "util/sha256.h"
#include "vfs/attr.h"

/* Reads may be answered in another order than asked: so many bytes wait for those before them. */
#define EARLY_LEN_MAX ((size_t)4 << 20)

struct early {
	struct list entry;
	uint64_t off;
	size_t len;
	uint8_t bytes[];
};

struct passed {
	struct sha256 *sum;
	uint64_t end;         /* bytes [0, end) have passed */
	uint64_t size;        /* written: the file is at least so long, whatever passes */
	uint64_t checked_end; /* of which so many were found to be the server's; 0: none */
	struct list early;    /* struct early, by offset */
	size_t early_len;
	struct list waiters; /* struct op.wait: while `asking` */
	uint64_t asked_end;
	bool asking;
	bool written; /* by the program, not read */
	bool broken;  /* not a whole file */
	bool bad;     /* the server has something else */
};

static void drop_early(struct passed *p)
{
	while (!list_empty(&p->early)) {
		struct early *e = list_entry(p->early.next, struct early, entry);

		list_del(&e->entry);
		free(e);
	}
	p->early_len = 0;
}

static void passed_break(struct passed *p)
{
	drop_early(p);
	p->broken = true;
}

/* From the first byte. Without memory the file is not verified. */
static struct passed *begin(struct file *f, bool written)
{
	struct passed *p = f->passed;

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		list_init(&p->early);
		list_init(&p->waiters);
		f->passed = p;
	}
	drop_early(p);
	sha256_destroy(p->sum);
	p->sum = sha256_create();
	p->end = p->size = p->checked_end = 0;
	p->written = written;
	p->bad = false;
	p->broken = !p->sum;
	return p;
}

void verify_destroy(struct passed *p)
{
	if (!p)
		return;
	drop_early(p);
	sha256_destroy(p->sum);
	free(p);
}

static void add(struct passed *p, const void *bytes, size_t len)
{
	sha256_add(p->sum, bytes, len);
	p->end += len;
}

/* --- what passes ------------------------------------------------------------------------------ */

void verify_wrote(struct file *f, const void *bytes, size_t len, uint64_t off)
{
	struct passed *p = f->passed;

	if (!f->v->cfg.verify || (f->flags & O_APPEND))
		return;
	verify_overwritten(f->node, f);
	if (off == 0) {
		p = begin(f, true);
		if (p)
			p->size = f->node->attr.size;
	}
	if (!p || p->broken)
		return;
	if (p->written && off == p->end)
		add(p, bytes, len);
	else
		passed_break(p);
}

static void overwritten(const struct list *files, const struct file *by)
{
	list_for_each(e, files) {
		struct file *f = list_entry(e, struct file, in_node);

		if (f != by && f->passed)
			passed_break(f->passed);
	}
}

void verify_overwritten(struct node *n, const struct file *by)
{
	overwritten(&n->files, by);
	overwritten(&n->pinned, by);
}

void verify_resized(struct node *n, uint64_t size)
{
	overwritten(&n->pinned, NULL);
	list_for_each(e, &n->files) {
		struct passed *p = list_entry(e, struct file, in_node)->passed;

		if (p && (!p->written || size < p->end))
			passed_break(p);
		else if (p)
			p->size = size;
	}
}

/* Bytes that have come too early and are no longer. */
static void add_early(struct passed *p)
{
	while (!list_empty(&p->early)) {
		struct early *e = list_entry(p->early.next, struct early, entry);

		if (e->off > p->end)
			return;
		if (e->off + e->len > p->end)
			add(p, e->bytes + (p->end - e->off), (size_t)(e->off + e->len - p->end));
		list_del(&e->entry);
		p->early_len -= e->len;
		free(e);
	}
}

static void keep_early(struct passed *p, const uint8_t *bytes, size_t len, uint64_t off)
{
	struct early *e = p->early_len + len <= EARLY_LEN_MAX ? malloc(sizeof(*e) + len) : NULL;
	struct list *at = &p->early;

	if (!e) {
		passed_break(p); /* read here and there */
		return;
	}
	e->off = off;
	e->len = len;
	memcpy(e->bytes, bytes, len);
	list_for_each(i, &p->early) {
		if (list_entry(i, struct early, entry)->off > off) {
			at = i;
			break;
		}
	}
	list_insert(at, &e->entry);
	p->early_len += len;
}

static void take_read(struct passed *p, const uint8_t *bytes, size_t len, uint64_t off)
{
	if (p->broken || off + len <= p->end)
		return;
	if (off > p->end) {
		keep_early(p, bytes, len, off);
		return;
	}
	add(p, bytes + (p->end - off), (size_t)(off + len - p->end));
	add_early(p);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* `at_end`: the program has been told that there is no more. A file without a size tells nothing. */
static bool is_whole(const struct passed *p, const struct node *n, bool at_end)
{
	uint64_t size = p->written ? p->size : n->attr.size;

	if (p->broken || !p->end || p->checked_end == p->end)
		return false;
	return p->end >= size ? size != 0 : at_end && !p->written && size;
}

static void go_on(struct file *f)
{
	struct passed *p = f->passed;
	struct list waiters;

	list_init(&waiters);
	list_splice(&waiters, &p->waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		if (op->kind == OP_READ)
			read_continue(op);
		else
			op_fail(op, p->bad ? -EIO : 0);
	}
}

static void no_hash(struct vfs *v, const struct node *n, const struct be_status *st)
{
	char *path;
	int err;

	if (st->code == BE_UNSUPPORTED) {
		if (!v->cannot_verify)
			log_error(LOG_VFS, "verify: the server has no means to hash its files");
		v->cannot_verify = true;
		return;
	}
	path = node_path(v, n, NULL, &err);
	log_error(LOG_VFS, "verify: '%s' was not compared: %s", path ? path : "",
	          st->text[0] ? st->text : "the server does not tell its hash");
	free(path);
}

static void compared(struct file *f, const uint8_t *theirs)
{
	struct passed *p = f->passed;
	uint8_t ours[SHA256_LEN];
	char text[2][SHA256_TEXT_LEN + 1], *path;
	int err;

	if (p->broken || p->end != p->asked_end || !sha256_get(p->sum, ours))
		return; /* more has passed meanwhile */
	p->checked_end = p->end;
	if (memcmp(ours, theirs, SHA256_LEN) == 0)
		return;
	p->bad = true;
	sha256_text(ours, text[0]);
	sha256_text(theirs, text[1]);
	path = node_path(f->v, f->node, NULL, &err);
	log_error(LOG_VFS, "verify: '%s' differs: %s here has SHA-256 %s, the server's file %s",
	          path ? path : "", p->written ? "what was written" : "what was read", text[0],
	          text[1]);
	free(path);
}

static void hashed(void *arg, const struct be_status *st, const uint8_t *hash)
{
	struct file *f = arg;
	struct passed *p = f->passed;

	p->asking = false;
	if (st->code == BE_OK) {
		compared(f, hash);
	} else {
		no_hash(f->v, f->node, st);
		p->checked_end = p->asked_end;
	}
	go_on(f);
	file_unref(f);
}

/* Return: false when it cannot be asked: a file without a name, or no memory. */
static bool ask(struct file *f)
{
	struct vfs *v = f->v;
	int err;
	char *path = node_path(v, f->node, NULL, &err);

	if (!path)
		return false;
	err = v->ops->hash(v->be, path, hashed, file_ref(f));
	free(path);
	if (err < 0) {
		file_unref(f);
		return false;
	}
	f->passed->asking = true;
	f->passed->asked_end = f->passed->end;
	return true;
}

/* `op` waits where the server must be asked, or is being asked. */
static bool waits(struct op *op, bool at_end)
{
	struct file *f = op->file;
	struct passed *p = f->passed;

	if (!p->asking && (f->v->cannot_verify || !is_whole(p, f->node, at_end) || !ask(f)))
		return false;
	list_push_back(&p->waiters, &op->wait);
	return true;
}

bool verify_read(struct op *op, const struct iovec *iov, int iov_count)
{
	struct file *f = op->file;
	struct passed *p = f->passed;
	uint64_t off = op->off;

	if (!f->v->cfg.verify)
		return false;
	if (!p)
		p = begin(f, false);
	if (p && p->bad) {
		op_fail(op, -EIO);
		return true;
	}
	if (!p || p->written)
		return false;
	for (int i = 0; i < iov_count; i++) {
		take_read(p, iov[i].iov_base, iov[i].iov_len, off);
		off += iov[i].iov_len;
	}
	return !op->node->dirty && waits(op, off == p->end && off < op->off + op->len);
}

bool verify_flush(struct op *op)
{
	struct passed *p = op->file->passed;

	if (!p || !p->written)
		return false;
	if (p->bad) {
		op_fail(op, -EIO);
		return true;
	}
	return waits(op, true);
}

/* --- for who asks ----------------------------------------------------------------------------- */

static void told(void *arg, const struct be_status *st, const uint8_t *hash)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct vfs_req *req;

	if (st->code != BE_OK) {
		op_fail_status(op, st);
		return;
	}
	req = op_take_req(op);
	op_free(op);
	if (req)
		v->replies->hash(req, hash);
}

void verify_hash(struct op *op)
{
	op_failed_start(op, op->v->ops->hash(op->v->be, op->path, told, op));
}

void vfs_hash(struct vfs *v, struct vfs_req *req, uint64_t nodeid)
{
	struct op *op = op_create(v, req, OP_HASH);
	struct node *n = node_find(v, nodeid);

	if (!op || !op_on_node(op, n))
		return;
	if (!attr_is_reg(&n->attr)) {
		op_fail(op, attr_is_dir(&n->attr) ? -EISDIR : -EINVAL);
		return;
	}
	file_deliver_node(op);
}
