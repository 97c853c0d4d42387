/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole of a small file. As one burst where the handle can be predicted: OPEN FSTAT READ.. CLOSE.
 * Else, and on the handle that came when it is not the predicted one: OPEN; FSTAT and READs; CLOSE,
 * which nobody waits for. The FSTAT goes before the READs: attributes older than the bytes never vouch
 * for them, newer ones would. Owner: the loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sftp/burst.h"
#include "sftp/engine.h"

#define TRY_COUNT_MAX 5u /* connections that may break under one fetch */

/* One READ. */
struct fetch_part {
	struct fetch_op *op;
	size_t asked_len;
	enum be_code code; /* BE_OK or BE_EOF */
	struct data *block;
	size_t block_off, len;
};

struct fetch_op {
	struct fxp_order_op order;
	struct fxp_backend *fb;
	struct fxp_handle handle; /* len 0: not open */
	bool burst; /* what was asked names a predicted handle, and its CLOSE is sent */
	bool plain; /* no burst the next time */
	bool ask;   /* by the handle that came: nothing was asked yet, or by a wrong one */
	size_t len_max;
	be_fetch_fn *done;
	void *arg;
	unsigned pending;
	unsigned try_count;
	struct fxp_status open_status;
	struct fxp_status status; /* the first failure of what was asked by the handle */
	struct be_attr attr;
	struct data *block; /* what came in earlier rounds, or all of it */
	size_t block_off, got_len;
	char *path;
	size_t part_len;
	unsigned part_count;
	struct fetch_part parts[];
};

static bool fetch_open(struct fetch_op *op);

static void parts_drop(struct fetch_op *op)
{
	for (unsigned i = 0; i < op->part_count; i++) {
		data_unref(op->parts[i].block);
		op->parts[i].block = NULL;
		op->parts[i].len = 0;
	}
}

static void fetch_free(struct fetch_op *op)
{
	parts_drop(op);
	data_unref(op->block);
	free(op);
}

/* A burst closes its handle itself. */
static void fetch_close(struct fetch_op *op)
{
	if (!op->burst)
		fxp_handle_close(op->fb, &op->handle);
	op->handle.len = 0;
	op->burst = false;
}

static void fetch_finish(struct fetch_op *op)
{
	bool ok = op->status.st.code == BE_OK;
	struct data *block = ok ? op->block : NULL;

	fetch_close(op);
	fxp_order_done(&op->order);
	if (ok)
		op->block = NULL;
	op->done(op->arg, &op->status.st, ok ? &op->attr : NULL, block, op->block_off,
	         ok ? op->got_len : 0);
	fetch_free(op);
}

static void fetch_fail(struct fetch_op *op, enum be_code code, int err)
{
	if (op->status.st.code == BE_OK)
		fxp_status_set(&op->status, code, err, "");
}

/* Nothing has come yet. */
static void fetch_forget(struct fetch_op *op)
{
	fxp_status_set(&op->status, BE_OK, 0, "");
	op->ask = false;
	parts_drop(op);
	data_unref(op->block);
	op->block = NULL;
	op->got_len = 0;
}

/* Starts anew. Return: false when that was done often enough. */
static bool fetch_restart(struct fetch_op *op)
{
	if (++op->try_count >= TRY_COUNT_MAX)
		return false;
	fetch_close(op);
	fetch_forget(op);
	return fetch_open(op);
}

static size_t wanted_len(const struct fetch_op *op)
{
	return op->attr.size < op->len_max ? (size_t)op->attr.size : op->len_max;
}

/* Adds the bytes of a part. One part that is all there is to be had is not copied. */
static bool take_part(struct fetch_op *op, struct fetch_part *part)
{
	size_t need = op->got_len + part->len, size = wanted_len(op);
	struct data *block;

	if (!op->got_len) {
		data_unref(op->block);
		op->block = part->block;
		op->block_off = part->block_off;
		op->got_len = part->len;
		part->block = NULL;
		return true;
	}
	block = data_create(op->fb->budget, size > need ? size : need);
	if (!block)
		return false;
	memcpy(block->bytes, op->block->bytes + op->block_off, op->got_len);
	memcpy(block->bytes + op->got_len, part->block->bytes + part->block_off, part->len);
	data_unref(op->block);
	op->block = block;
	op->block_off = 0;
	op->got_len = need;
	return true;
}

/* Puts together what came. Return: true when the server may have more of it. */
static bool take_parts(struct fetch_op *op)
{
	for (unsigned i = 0; i < op->part_count; i++) {
		struct fetch_part *part = &op->parts[i];

		if (part->code != BE_OK || !part->len)
			return false;
		if (!take_part(op, part)) {
			fetch_fail(op, BE_ERRNO, ENOMEM);
			return false;
		}
		if (part->len < part->asked_len)
			break;
	}
	return op->got_len < wanted_len(op);
}

static bool fetch_ask(struct fetch_op *op);

/* Return: false when the operation is over. */
static bool fetch_go_on(struct fetch_op *op)
{
	if (op->open_status.st.code != BE_OK) {
		fxp_status_copy(&op->status, &op->open_status.st);
		return false;
	}
	if (op->ask) {
		fetch_forget(op);
		return fetch_ask(op);
	}
	if (op->status.st.code == BE_STALE)
		return fetch_restart(op);
	if (op->status.st.code != BE_OK || !take_parts(op))
		return false;
	if (op->burst) {
		/* There is more, and its handle is closed. */
		op->plain = true;
		return fetch_restart(op);
	}
	parts_drop(op);
	return fetch_ask(op);
}

static void fetch_answered(struct fetch_op *op)
{
	if (--op->pending == 0 && !fetch_go_on(op))
		fetch_finish(op);
}

static void fetch_looked(void *arg, const struct fxr_answer *answer)
{
	struct fetch_op *op = arg;

	op->attr = answer->attr;
	if (answer->status.st.code != BE_OK && op->status.st.code == BE_OK)
		fxp_status_copy(&op->status, &answer->status.st);
	fetch_answered(op);
}

static void fetch_read(void *arg, const struct fxr_answer *answer)
{
	struct fetch_part *part = arg;
	struct fetch_op *op = part->op;
	struct fxp_backend *fb = op->fb;

	part->code = answer->status.st.code;
	if (part->code == BE_OK) {
		part->block = data_ref(answer->data.block);
		part->block_off = answer->data.off;
		part->len = answer->data.len;
	} else if (part->code != BE_EOF && op->status.st.code == BE_OK) {
		fxp_status_copy(&op->status, &answer->status.st);
	}
	fetch_answered(op);
	fxp_io_pump(fb); /* it had its place in the window */
}

/* The READs of [got_len, len_max), and before the first of them the attributes. */
static bool fetch_ask(struct fetch_op *op)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.handle = &op->handle};
	size_t off = op->got_len, end = off ? wanted_len(op) : op->len_max;

	if (!off && fxp_client_submit(c, FXR_FSTAT, 0, &args, fetch_looked, op))
		op->pending++;
	else if (!off)
		fetch_fail(op, BE_ERRNO, ENOMEM);
	for (unsigned i = 0; i < op->part_count; i++) {
		struct fetch_part *part = &op->parts[i];

		part->code = BE_EOF;
		part->asked_len = end - off < op->part_len ? end - off : op->part_len;
		if (!part->asked_len)
			continue;
		args.off = off;
		args.len = part->asked_len;
		off += part->asked_len;
		if (fxp_client_submit(c, FXR_READ, 0, &args, fetch_read, part))
			op->pending++;
		else
			fetch_fail(op, BE_ERRNO, ENOMEM);
	}
	return op->pending > 0;
}

static void fetch_opened(void *arg, const struct fxr_answer *answer)
{
	struct fetch_op *op = arg;

	fxp_order_done(&op->order);
	fxp_status_copy(&op->open_status, &answer->status.st);
	if (answer->status.st.code == BE_OK &&
	    !(op->burst && fxp_burst_hit(&op->fb->client, &op->handle, answer))) {
		fxp_handle_set(op->fb, &op->handle, answer);
		op->burst = false;
		op->ask = true;
	}
	fetch_answered(op);
}

static bool fetch_open(struct fetch_op *op)
{
	struct fxp_client *c = &op->fb->client;
	struct fxr_args args = {.path = op->path, .pflags = FXF_READ};
	struct fxr *r;

	op->burst = !op->plain && fxp_burst_predict(c, 0, LANE_BURST, &op->handle);
	if (op->burst)
		r = fxp_burst_open(c, FXR_OPEN, &args, &op->handle, fetch_opened, op);
	else
		r = fxp_client_submit(c, FXR_OPEN, fxp_client_file_lane(c, false), &args,
		                      fetch_opened, op);
	if (!r)
		return false;
	op->pending = 1;
	if (op->burst) {
		fetch_ask(op);
		fxp_burst_close(c, &op->handle);
	}
	fxp_order_sent(&op->order);
	return true;
}

static void fetch_ready(struct fxp_order_op *order)
{
	struct fetch_op *op = list_entry(order, struct fetch_op, order);

	if (fetch_open(op))
		return;
	fetch_fail(op, BE_ERRNO, ENOMEM);
	fetch_finish(op);
}

int fxp_fetch(struct backend *b, const char *path, size_t len_max, be_fetch_fn *done, void *arg)
{
	struct fxp_backend *fb = fxp_backend_of(b);
	size_t part_len = fb->client.read_len_max, size = strlen(path) + 1, parts_size;
	unsigned count = (unsigned)((len_max + part_len - 1) / part_len);
	struct fetch_op *op;

	if (!len_max)
		return -EINVAL;
	parts_size = count * sizeof(op->parts[0]);
	op = calloc(1, sizeof(*op) + parts_size + size);
	if (!op)
		return -ENOMEM;
	op->fb = fb;
	op->len_max = len_max;
	op->part_len = part_len;
	op->part_count = count;
	op->done = done;
	op->arg = arg;
	fxp_status_set(&op->status, BE_OK, 0, "");
	for (unsigned i = 0; i < count; i++)
		op->parts[i].op = op;
	op->path = memcpy((char *)op->parts + parts_size, path, size);
	op->order.path = op->path;
	op->order.ready = fetch_ready;
	if (!fxp_order_add(&fb->names, &op->order) || fetch_open(op))
		return 0;
	fxp_order_done(&op->order);
	fetch_free(op);
	return -ENOMEM;
}
