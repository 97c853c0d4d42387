/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changing attributes, one kind at a time: owner, mode, size, times. Never owner and mode in one
 * request, because servers apply the owner last and that clears setuid. Behind a change by path
 * only a look travels in the same write: a second change could hit what was there before.
 *
 * By path lsetstat is used where offered, so that a symbolic link that was put in the way is not
 * followed. It carries no size: that goes by SETSTAT, which follows links as an OPEN does, and where the
 * look behind it does not show the size, through a handle. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/engine.h"

#define TRY_COUNT_MAX 5u /* connections that may break under one step */

struct setattr_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	struct be_file *file; /* NULL: by path */
	enum be_target target;
	struct fxp_node *node; /* of the file, also when it is changed by its path; may be NULL */
	uint32_t step;         /* the bit being changed; 0: none */
	unsigned try_count;
	uint32_t todo;  /* bits still to do, without `step` */
	bool plain;     /* this step by SETSTAT */
	bool by_handle; /* the size, by a handle of its own */
	struct be_attr want;
	be_attr_fn *done;
	void *arg;
	unsigned pending;
	struct fxp_status status; /* of the step */
	struct be_attr attr;
	bool attr_ok;
	struct fxp_handle handle; /* for a size by path */
	char path[];
};

static bool setattr_step(struct setattr_op *op);

/*
 * While a change is under way its file may look different on a new connection; afterwards it does.
 */
static void setattr_enter_node(struct setattr_op *op)
{
	struct fxp_node *n = op->file ? op->file->node : fxp_node_at(op->fb, op->path);

	if (!n)
		return;
	n->refs++;
	n->change_count++;
	n->change_seq++;
	op->node = n;
}

static void setattr_leave_node(struct setattr_op *op)
{
	if (!op->node)
		return;
	op->node->change_count--;
	if (op->status.st.code == BE_OK && (op->want.valid & BE_ATTR_SIZE))
		fxp_node_resized(op->node, op->want.size);
	if (op->attr_ok)
		fxp_node_seen(op->node, &op->attr);
	fxp_node_unref(op->fb, op->node);
	op->node = NULL;
}

static void setattr_finish(struct setattr_op *op)
{
	struct be_file *f = op->file;
	bool ok = op->status.st.code == BE_OK;

	setattr_leave_node(op);
	fxp_order_done(&op->order);
	op->done(op->arg, &op->status.st, ok && op->attr_ok ? &op->attr : NULL);
	if (f) {
		f->io_count--;
		fxp_file_unref(f);
	}
	free(op);
}

static bool is_link(const struct setattr_op *op)
{
	return (op->attr.valid & BE_ATTR_MODE) && S_ISLNK(op->attr.mode);
}

/* Some servers cannot change a mode without following, though the file is no link. */
static bool try_plain(const struct setattr_op *op)
{
	return !op->file && op->target == BE_THE_FILE && !op->plain && op->attr_ok &&
	       !is_link(op) && op->step != BE_ATTR_SIZE &&
	       fxp_ext_has(op->fb->client.exts, EXT_LSETSTAT) &&
	       (op->status.st.code == BE_FAILURE || op->status.st.code == BE_UNSUPPORTED);
}

/* A server may refuse the size in a SETSTAT, or leave it out without a word. */
static bool try_handle(const struct setattr_op *op)
{
	enum be_code code = op->status.st.code;

	if (op->file || op->by_handle || op->step != BE_ATTR_SIZE)
		return false;
	if (code == BE_OK)
		return op->attr_ok && op->attr.size != op->want.size;
	return code == BE_FAILURE || code == BE_UNSUPPORTED || code == BE_BAD_MESSAGE;
}

static void setattr_answered(struct setattr_op *op)
{
	if (--op->pending)
		return;
	if (op->status.st.code == BE_STALE && !op->file && op->step == BE_ATTR_SIZE &&
	    ++op->try_count < TRY_COUNT_MAX) {
		/* The handle of this step died with its connection. */
		op->todo |= op->step;
	} else if (try_handle(op)) {
		op->by_handle = true;
		op->todo |= op->step;
	} else if (try_plain(op)) {
		op->plain = true;
		op->todo |= op->step;
	} else if (op->status.st.code != BE_OK) {
		op->todo = 0;
	} else {
		if (op->plain && op->step == BE_ATTR_MODE)
			op->fb->chmod_plain = true;
		op->plain = false;
	}
	if (op->todo) {
		if (setattr_step(op))
			return;
		fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
	}
	setattr_finish(op);
}

static void setattr_changed(void *arg, const struct fxr_answer *answer)
{
	struct setattr_op *op = arg;

	fxp_status_copy(&op->status, &answer->status.st);
	setattr_answered(op);
}

static void setattr_looked(void *arg, const struct fxr_answer *answer)
{
	struct setattr_op *op = arg;

	op->attr_ok = answer->status.st.code == BE_OK;
	op->attr = answer->attr;
	setattr_answered(op);
}

/* A change and the look behind it. */
static bool send_pair(struct setattr_op *op, enum fxr_kind change, enum fxr_kind look,
                      struct fxp_handle *handle)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.handle = handle, .attr = op->want};

	op->attr_ok = false;
	args.path = handle ? NULL : op->path;
	args.attr.valid = op->step;
	if (!fxp_client_submit(c, change, 0, &args, setattr_changed, op))
		return false;
	op->pending = 1;
	if (fxp_client_submit(c, look, 0, &args, setattr_looked, op))
		op->pending++;
	return true;
}

static enum fxr_kind look_kind(const struct setattr_op *op)
{
	return op->target == BE_FOLLOWED ? FXR_STAT : FXR_LSTAT;
}

static void size_closed(void *arg, const struct fxr_answer *answer)
{
	(void)answer;
	setattr_answered(arg);
}

static void size_opened(void *arg, const struct fxr_answer *answer)
{
	struct setattr_op *op = arg;
	struct fxr_args args = {.handle = &op->handle};

	fxp_status_copy(&op->status, &answer->status.st);
	op->pending = 0;
	if (answer->status.st.code == BE_OK) {
		fxp_handle_set(op->fb, &op->handle, answer);
		if (!send_pair(op, FXR_FSETSTAT, FXR_FSTAT, &op->handle))
			fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
		if (fxp_client_submit(&op->fb->client, FXR_CLOSE, 0, &args, size_closed, op))
			op->pending++;
	}
	if (op->pending == 0) {
		op->pending = 1;
		setattr_answered(op);
	}
}

static bool setattr_step(struct setattr_op *op)
{
	struct fxr_args args = {.path = op->path, .pflags = FXF_WRITE};
	bool plain = op->plain;

	op->step = op->todo & -op->todo;
	if (op->todo & BE_ATTR_OWNER)
		op->step = BE_ATTR_OWNER;
	else if (op->todo & BE_ATTR_MODE)
		op->step = BE_ATTR_MODE;
	op->todo &= ~op->step;
	if (op->file)
		return send_pair(op, FXR_FSETSTAT, FXR_FSTAT, &op->file->handle);
	if (op->step == BE_ATTR_SIZE && op->by_handle) {
		op->pending = 1;
		return fxp_client_submit(&op->fb->client, FXR_OPEN, 0, &args, size_opened, op) !=
		       NULL;
	}
	if (op->target == BE_FOLLOWED || op->step == BE_ATTR_SIZE)
		plain = true;
	else if (op->target == BE_THE_FILE)
		plain = plain || !fxp_ext_has(op->fb->client.exts, EXT_LSETSTAT) ||
		        (op->step == BE_ATTR_MODE && op->fb->chmod_plain);
	return send_pair(op, plain ? FXR_SETSTAT : FXR_LSETSTAT, look_kind(op), NULL);
}

static bool setattr_begin(struct setattr_op *op)
{
	setattr_enter_node(op);
	if (!setattr_step(op)) {
		setattr_leave_node(op);
		return false;
	}
	fxp_order_sent(&op->order);
	return true;
}

static void setattr_ready(struct fxp_order_op *order)
{
	struct setattr_op *op = list_entry(order, struct setattr_op, order);

	if (setattr_begin(op))
		return;
	fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
	setattr_finish(op);
}

static struct setattr_op *setattr_create(struct fxp_backend *fb, const char *path,
                                         const struct be_attr *want, be_attr_fn *done, void *arg)
{
	size_t size = strlen(path) + 1;
	struct setattr_op *op = calloc(1, sizeof(*op) + size);

	if (!op)
		return NULL;
	op->fb = fb;
	op->want = *want;
	op->want.mode &= 07777;
	op->todo = want->valid & (BE_ATTR_OWNER | BE_ATTR_MODE | BE_ATTR_SIZE | BE_ATTR_TIMES);
	op->done = done;
	op->arg = arg;
	memcpy(op->path, path, size);
	op->order.change = true;
	op->order.ready = setattr_ready;
	return op;
}

static bool one_step(uint32_t valid)
{
	return (valid & (valid - 1)) == 0;
}

int fxp_setattr(struct backend *b, const char *path, enum be_target target,
                const struct be_attr *want, be_attr_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct setattr_op *op = setattr_create(fb, path, want, done, arg);
	bool alone;

	if (!op)
		return -ENOMEM;
	op->target = target;
	alone = one_step(op->todo) && op->todo != BE_ATTR_SIZE &&
	        (target != BE_THE_FILE || !fxp_ext_has(fb->client.exts, EXT_LSETSTAT) ||
	         op->todo != BE_ATTR_MODE);
	if (!op->todo) {
		free(op);
		return fxp_stat(b, path, target == BE_FOLLOWED, done, arg);
	}
	op->order.path = op->path;
	op->order.stream = alone ? fb->client.meta : NULL;
	if (!fxp_order_add(&fb->names, &op->order) || setattr_begin(op))
		return 0;
	fxp_order_done(&op->order);
	free(op);
	return -ENOMEM;
}

int fxp_fsetattr(struct backend *b, struct be_file *f, const struct be_attr *want, be_attr_fn *done,
                 void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	struct setattr_op *op = setattr_create(fb, "", want, done, arg);

	if (!op)
		return -ENOMEM;
	if (!op->todo) {
		free(op);
		return fxp_fstat(b, f, done, arg);
	}
	fxp_file_use(f);
	op->file = f;
	op->order.end = UINT64_MAX;
	op->order.stream = one_step(op->todo) ? &f->handle : NULL;
	fxp_file_ref(f);
	f->io_count++;
	if (!fxp_order_add(&f->node->order, &op->order) || setattr_begin(op))
		return 0;
	fxp_order_done(&op->order);
	f->io_count--;
	fxp_file_unref(f);
	free(op);
	return -ENOMEM;
}
