/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request from arrival to reply, and its interrupts. Thread: the loop.
 *
 * The kernel reports the first signal of a request only: one that goes on waiting is looked at
 * again, because its program may be killed later.
 *
 * libfuse calls an interrupt function while it holds the request's lock, at once if the interrupt
 * came before the function was registered; a reply from inside would free that lock. So the
 * function only puts the call on a list, which is passed on when libfuse has returned.
 */
#include <errno.h>
#include <stdlib.h>

#include "private.h"

/* How often interrupted calls that wait are looked at. */
#define RECHECK_MS 250

static void note_interrupt(fuse_req_t req, void *arg)
{
	struct fusefs_call *call = arg;

	if (!list_empty(&call->interrupted_entry))
		return;
	call->interrupt_new = true;
	call->fs->interrupt_new = true;
	list_push_back(&call->fs->interrupted, &call->interrupted_entry);
}

struct fusefs_call *fusefs_call_create(fuse_req_t req)
{
	struct fusefs *fs = fuse_req_userdata(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fusefs_call *call = calloc(1, sizeof(*call));

	if (!call) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	call->fuse = req;
	call->fs = fs;
	call->req.uid = ctx->uid;
	call->req.gid = ctx->gid;
	call->req.pid = ctx->pid;
	call->req.umask = ctx->umask;
	list_init(&call->interrupted_entry);
	fs->call_count++;
	fs->newest = call;
	/* A reply unregisters the function together with the request. */
	fuse_req_interrupt_func(req, note_interrupt, call);
	return call;
}

void fusefs_call_destroy(struct fusefs_call *call)
{
	list_del(&call->interrupted_entry);
	call->fs->call_count--;
	if (call->fs->newest == call)
		call->fs->newest = NULL;
	free(call->dir_bytes);
	free(call);
}

/* Interrupting one call may answer others too, so the walk never looks back at an old neighbour. */
static void interrupt_all(struct fusefs *fs, bool only_new)
{
	struct list todo;

	list_init(&todo);
	list_splice(&todo, &fs->interrupted);
	while (!list_empty(&todo)) {
		struct fusefs_call *call =
		    list_entry(todo.next, struct fusefs_call, interrupted_entry);

		list_del(&call->interrupted_entry);
		list_push_back(&fs->interrupted, &call->interrupted_entry);
		if (only_new && !call->interrupt_new)
			continue;
		call->interrupt_new = false;
		vfs_interrupt(fs->vfs, &call->req, fusefs_caller_dying(call->req.pid));
	}
	if (!list_empty(&fs->interrupted) && !timer_armed(&fs->recheck))
		timer_set(fs->clock, &fs->recheck, fs->clock->now_ms + RECHECK_MS);
}

void fusefs_call_pass_interrupts(struct fusefs *fs)
{
	if (!fs->interrupt_new)
		return;
	fs->interrupt_new = false;
	interrupt_all(fs, true);
}

void fusefs_call_recheck(void *arg)
{
	interrupt_all(arg, false);
}
