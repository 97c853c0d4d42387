/* SPDX-License-Identifier: BSD-2-Clause */
/* copy_file_range: the server copies, no byte on the wire. Contract: include/vfs/vfs.h. */
#include <errno.h>
#include <fcntl.h>

#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/errno.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/verify.h"

/* One copy-data blocks its server process: a slice this long stays interruptible. */
#define COPY_LEN_MAX (64ULL * 1024 * 1024)

/* Where the server fails for no reason that can be named, the kernel is to read and write instead. */
static void failed_with(void *arg, int err)
{
	op_fail(arg, err == -EIO ? -EOPNOTSUPP : err);
}

static void failed(struct op *op, const struct be_status *st)
{
	const struct errno_query q = {.kind = OP_COPY, .len = op->len};

	/* The source has become shorter: what is left of it can be read. */
	if (st->code == BE_FAILURE || st->code == BE_EOF)
		errno_resolve(op->v, &q, st, failed_with, op);
	else
		op_fail_status(op, st);
}

static void copied(void *arg, const struct be_status *st)
{
	struct op *op = arg;
	struct vfs *v = op->v;
	struct node *n = op->node2;
	uint64_t end = op->off + op->len;
	struct vfs_req *req;
	size_t len = op->len;

	node_changed(v, n);
	chunks_drop(n, 0, UINT64_MAX);
	whole_overwritten(v, n);
	verify_overwritten(n, NULL);
	if (st->code != BE_OK) {
		attr_expire(n);
		failed(op, st);
		return;
	}
	if (end > n->attr.size)
		n->attr.size = end;
	n->shown_size = n->attr.size;
	n->attr.mtime = (uint32_t)attr_server_now(v);
	n->dirty = true; /* until the next flush has asked what it is now */
	file_settle_unused(v, n);
	req = op_take_req(op);
	op_free(op);
	if (req)
		v->replies->written(req, len);
}

/*
 * With -o async a small file that is new is not on the server yet. To make it, and open the other one,
 * and copy would be several round trips; what is read comes ahead, and goes with the new file in one.
 */
static bool goes_with_its_file(const struct file *in, const struct file *out)
{
	return out->v->async && out->be && async_keeps(out->be) &&
	       in->node->attr.size <= WHOLE_LEN_MAX;
}

void vfs_copy_range(struct vfs *v, struct vfs_req *req, uint64_t fh_in, uint64_t off_in,
                    uint64_t fh_out, uint64_t off_out, uint64_t len)
{
	struct op *op;
	struct file *in = file_find(v, fh_in), *out = file_find(v, fh_out);
	uint64_t size;

	/*
	 * Otherwise the kernel reads and writes: OpenSSH refuses to copy within one file, and what was
	 * fetched whole is here.
	 */
	if (!v->ops->info(v->be)->caps.copy || (out && (out->flags & O_APPEND)) ||
	    (in && out && (in->node == out->node || goes_with_its_file(in, out))) ||
	    (in && !in->be)) {
		v->replies->err(req, EOPNOTSUPP);
		return;
	}
	op = op_on_file(v, req, OP_COPY, fh_in);
	if (!op)
		return;
	if (!out) {
		op_fail(op, -EBADF);
		return;
	}
	size = in->node->attr.size;
	len = off_in >= size ? 0 : len < size - off_in ? len : size - off_in;
	op->len = len < COPY_LEN_MAX ? len : COPY_LEN_MAX;
	op->off = off_out;
	op->node2 = node_ref(out->node);
	file_send_node(in->node);
	file_send_node(out->node);
	if (op->len == 0) {
		op_free(op);
		req->op = NULL;
		v->replies->written(req, 0);
		return;
	}
	out->wrote = true;
	/* The kernel drops its pages when it hears of success: not of a copy whose caller was killed. */
	out->node->torn = true;
	in->unread_by = 0; /* neither read nor of no interest */
	op_failed_start(op,
	                v->ops->copy(v->be, in->be, off_in, out->be, off_out, op->len, copied, op));
}
