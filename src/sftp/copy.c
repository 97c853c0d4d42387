/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies within the server. Both handles must belong to one server process: where the two files
 * are open on different lanes the source is opened once more next to the target and compared with
 * the first handle. Owner: the loop. Spec: OpenSSH PROTOCOL 4.10.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/burst.h"
#include "sftp/engine.h"

#define SLICE_LEN_MAX (64ull * 1024 * 1024) /* bytes copied by one request */
#define TRY_COUNT_MAX 5u                    /* connections that may break under one slice */

struct copy_op {
	struct fxp_order_op from_order;
	struct fxp_order_op to_order;
	struct fxp_backend *fb;
	struct be_file *from, *to;
	uint64_t from_off, to_off;
	uint64_t left_len;
	uint64_t slice_len;
	unsigned waiting; /* orders that have not said ready */
	unsigned pending;
	unsigned try_count;
	struct fxp_status status, second_status;
	enum be_code refused;         /* why the source is not open near the target; BE_OK */
	struct fxp_handle near;       /* its second handle, until proven */
	struct fxp_handle guess;      /* what that will be */
	bool missed;                  /* there was no guess, or another one came */
	struct be_attr first, second; /* of the source, by its two handles */
	bool starting;                /* inside fxp_copy(): `done` must wait */
	struct timer later;
	be_status_fn *done;
	void *arg;
	char path[8192];
};

static void copy_slice(struct copy_op *op);

static void copy_finish(struct copy_op *op)
{
	struct be_file *from = op->from, *to = op->to;

	fxp_node_write_done(to->node, op->status.st.code == BE_OK, op->to_off, op->left_len);
	fxp_order_done(&op->from_order);
	fxp_order_done(&op->to_order);
	op->done(op->arg, &op->status.st);
	from->io_count--;
	to->io_count--;
	fxp_file_unref(from);
	fxp_file_unref(to);
	free(op);
}

static void copy_later(void *arg)
{
	copy_finish(arg);
}

static void copy_fail(struct copy_op *op, enum be_code code, int err)
{
	fxp_status_set(&op->status, code, err, "");
	if (op->starting)
		timer_set(op->fb->clock, &op->later, op->fb->clock->now_ms);
	else
		copy_finish(op);
}

/* A handle died with its connection, the files live on. Return: false when it is not that. */
static bool copy_again(struct copy_op *op)
{
	if (op->status.st.code != BE_STALE || op->from->stale || op->to->stale ||
	    ++op->try_count >= TRY_COUNT_MAX)
		return false;
	copy_slice(op);
	return true;
}

static void copy_copied(void *arg, const struct fxr_answer *answer)
{
	struct copy_op *op = arg;

	fxp_status_copy(&op->status, &answer->status.st);
	if (copy_again(op))
		return;
	if (op->status.st.code == BE_OK) {
		op->from_off += op->slice_len;
		op->to_off += op->slice_len;
		op->left_len -= op->slice_len;
		if (op->left_len) {
			copy_slice(op);
			return;
		}
	}
	copy_finish(op);
}

static void copy_send(struct copy_op *op, struct fxp_handle *from)
{
	struct fxr_args args = {.handle = from, .handle2 = &op->to->handle};

	op->slice_len = op->left_len < SLICE_LEN_MAX ? op->left_len : SLICE_LEN_MAX;
	args.off = op->from_off;
	args.off2 = op->to_off;
	args.len = op->slice_len;
	if (!fxp_client_submit(&op->fb->client, FXR_COPY_DATA, 0, &args, copy_copied, op))
		copy_fail(op, BE_ERRNO, ENOMEM);
}

static bool same_file(const struct be_attr *a, const struct be_attr *b)
{
	const uint32_t all = BE_ATTR_SIZE | BE_ATTR_TIMES | BE_ATTR_MODE | BE_ATTR_OWNER;

	return (a->valid & b->valid & all) == all && a->size == b->size && a->mtime == b->mtime &&
	       a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

static void near_ask(struct copy_op *op, struct fxp_handle *h, fxr_done_fn *done)
{
	struct fxr_args args = {.handle = h};

	if (fxp_client_submit(&op->fb->client, FXR_FSTAT, 0, &args, done, op))
		op->pending++;
	else
		fxp_status_set(&op->status, BE_ERRNO, ENOMEM, "");
}

static void second_seen(void *arg, const struct fxr_answer *answer);

static void near_answered(struct copy_op *op)
{
	if (--op->pending)
		return;
	if (op->refused == BE_OK && op->status.st.code == BE_OK && op->missed) {
		/* The look was by another handle, or by none. */
		op->missed = false;
		near_ask(op, &op->near, second_seen);
		if (op->pending)
			return;
	}
	if (op->status.st.code == BE_OK)
		fxp_status_copy(&op->status, &op->second_status.st);
	if (op->refused == BE_OK && op->status.st.code == BE_OK &&
	    same_file(&op->first, &op->second)) {
		fxp_handle_close(op->fb, &op->from->near);
		op->from->near = op->near;
		copy_send(op, &op->from->near);
		return;
	}
	fxp_handle_close(op->fb, &op->near);
	if (op->refused != BE_OK)
		copy_fail(op, op->refused, 0);
	else if (op->status.st.code == BE_OK)
		copy_fail(op, BE_UNSUPPORTED, 0);
	else if (!copy_again(op))
		copy_finish(op);
}

static void first_seen(void *arg, const struct fxr_answer *answer)
{
	struct copy_op *op = arg;

	op->first = answer->attr;
	if (answer->status.st.code != BE_OK)
		fxp_status_copy(&op->status, &answer->status.st);
	near_answered(op);
}

static void second_seen(void *arg, const struct fxr_answer *answer)
{
	struct copy_op *op = arg;

	op->second = answer->attr;
	fxp_status_copy(&op->second_status, &answer->status.st);
	near_answered(op);
}

static void near_opened(void *arg, const struct fxr_answer *answer)
{
	struct copy_op *op = arg;

	if (answer->status.st.code != BE_OK) {
		/* Not an error of the copy: the caller reads and writes instead. */
		op->refused = answer->lost ? BE_LOST : BE_UNSUPPORTED;
	} else {
		fxp_handle_set(op->fb, &op->near, answer);
		op->missed = !op->guess.len || !fxp_burst_hit(&op->fb->client, &op->guess, answer);
	}
	near_answered(op);
}

/* Opens the source next to the target, and asks both handles what they have open. */
static void near_open(struct copy_op *op)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.path = op->path, .pflags = FXF_READ};
	uint32_t lane = op->to->handle.lane;

	if (!fxp_burst_predict(c, lane, LANE_BULK, &op->guess))
		op->guess.len = 0;
	if (!fxp_client_submit(c, FXR_OPEN, lane, &args, near_opened, op)) {
		copy_fail(op, BE_ERRNO, ENOMEM);
		return;
	}
	op->pending = 1;
	op->near.len = 0;
	op->refused = BE_OK;
	op->missed = false;
	fxp_status_set(&op->status, BE_OK, 0, "");
	if (op->guess.len)
		near_ask(op, &op->guess, second_seen);
	near_ask(op, &op->from->handle, first_seen);
}

static void copy_slice(struct copy_op *op)
{
	struct fxp_handle *from = &op->from->handle, *to = &op->to->handle, *near = &op->from->near;

	if (from->lane == to->lane) {
		copy_send(op, from);
		return;
	}
	if (near->len && near->lane == to->lane && near->epoch == op->fb->client.epoch) {
		copy_send(op, near);
		return;
	}
	if (fxp_file_where(op->from, op->path, sizeof(op->path)) != 0)
		copy_fail(op, BE_UNSUPPORTED, 0);
	else
		near_open(op);
}

static void copy_one_ready(struct copy_op *op)
{
	if (--op->waiting == 0)
		copy_slice(op);
}

static void from_ready(struct fxp_order_op *order)
{
	copy_one_ready(list_entry(order, struct copy_op, from_order));
}

static void to_ready(struct fxp_order_op *order)
{
	copy_one_ready(list_entry(order, struct copy_op, to_order));
}

int fxp_copy(struct backend *b, struct be_file *from, uint64_t from_off, struct be_file *to,
             uint64_t to_off, uint64_t len, be_status_fn *done, void *arg)
{
	struct copy_op *op;

	if (len == 0 || from_off + len < len || to_off + len < len)
		return -EINVAL;
	op = calloc(1, sizeof(*op));
	if (!op)
		return -ENOMEM;
	fxp_file_use(from);
	fxp_file_use(to);
	op->fb = fxp_backend_of(b);
	op->from = from;
	op->to = to;
	op->from_off = from_off;
	op->to_off = to_off;
	op->left_len = len;
	op->done = done;
	op->arg = arg;
	fxp_file_ref(from);
	fxp_file_ref(to);
	from->io_count++;
	to->io_count++;
	fxp_node_write_sent(to->node, to_off, len);
	op->from_order.end = op->to_order.end = UINT64_MAX;
	op->from_order.ready = from_ready;
	op->to_order.ready = to_ready;
	op->to_order.change = true;
	/* Both places in line are taken at once, so two copies cannot wait for each other. */
	op->waiting = 3;
	timer_init(&op->later, copy_later, op);
	if (from->node == to->node || fxp_order_add(&from->node->order, &op->from_order))
		op->waiting--;
	if (fxp_order_add(&to->node->order, &op->to_order))
		op->waiting--;
	op->starting = true;
	copy_one_ready(op);
	op->starting = false;
	return 0;
}
