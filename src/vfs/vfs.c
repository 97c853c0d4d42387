/* SPDX-License-Identifier: BSD-2-Clause */
/* The filesystem as a whole: creation, interrupts, drain, end. Contract: include/vfs/vfs.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/async.h"
#include "vfs/whole.h"
#include "vfs/dir.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/kept.h"
#include "vfs/room.h"
#include "vfs/walk.h"

/* A signal that does not kill is answered only when the server has been silent for this long. */
#define SILENT_MS 1000

/* How often waiting requests are looked at: against the soft limit, for those that will not wait. */
#define LOOK_MS 250

static void look_for_silence(void *arg);
static void look_for_overdue(void *arg);

struct vfs *vfs_create(const struct vfs_config *cfg, struct backend *backend, struct clock *clock,
                       const struct vfs_replies *replies, struct budget *budget)
{
	struct vfs *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->cfg = *cfg;
	v->be = backend;
	v->ops = backend->ops;
	v->clock = clock;
	v->replies = replies;
	v->budget = budget;
	list_init(&v->ops_list);
	list_init(&v->readers);
	room_init(v);
	list_init(&v->ids.waiters);
	list_init(&v->negatives);
	walk_init(v);
	timer_init(&v->silence_timer, look_for_silence, v);
	whole_init(v);
	kept_init(v);
	timer_init(&v->soft_timer, look_for_overdue, v);
	if (cfg->soft_ms > 0)
		timer_set(clock, &v->soft_timer, clock->now_ms + LOOK_MS);
	v->root_path = strdup(cfg->root);
	if (!v->root_path)
		goto free_vfs;
	v->cfg.root = v->root_path;
	if (node_table_init(v) < 0)
		goto free_path;
	if (hash_init(&v->files) < 0)
		goto free_nodes;
	if (hash_init(&v->dirs) < 0)
		goto free_files;
	v->root = node_create(v); /* the first node: nodeid 1 */
	if (!v->root)
		goto free_dirs;
	v->root->attr.mode = S_IFDIR | 0755;
	node_number(v, v->root);
	if (cfg->async && async_create(v) < 0)
		goto free_root;
	return v;

free_root:
	node_unref(v, v->root);
free_dirs:
	hash_finish(&v->dirs);
free_files:
	hash_finish(&v->files);
free_nodes:
	node_table_finish(v);
free_path:
	free(v->root_path);
free_vfs:
	free(v);
	return NULL;
}

void vfs_create_as_caller(struct vfs *v, bool on)
{
	v->cfg.create_as_caller = on;
}

void vfs_append_directly(struct vfs *v, bool on)
{
	v->appends_directly = on;
}

void vfs_look_drained(struct vfs *v)
{
	void (*done)(void *) = v->drained;

	if (!done || v->unacked_count || (v->async && async_busy(v->async)))
		return;
	v->drained = NULL;
	done(v->drained_arg);
}

void vfs_drain(struct vfs *v, void (*done)(void *arg), void *arg)
{
	struct hash_node *hn;

	while ((hn = hash_next(&v->files, NULL)) != NULL)
		file_release(list_entry(hn, struct file, by_fh));
	v->drained = done;
	v->drained_arg = arg;
	vfs_look_drained(v);
}

size_t vfs_log_undelivered(struct vfs *v)
{
	return v->async ? async_log_undelivered(v->async) : 0;
}

void vfs_destroy(struct vfs *v)
{
	if (!v)
		return;
	timer_cancel(&v->room.timer);
	timer_cancel(&v->silence_timer);
	timer_cancel(&v->soft_timer);
	async_destroy(v->async);
	while (!list_empty(&v->ops_list)) {
		struct op *op = list_entry(v->ops_list.next, struct op, entry);

		op_take_req(op);
		op_free(op);
	}
	walk_finish(v);
	whole_finish(v);
	kept_finish(v);
	dir_close_all(v);
	node_table_finish(v);
	hash_finish(&v->files);
	hash_finish(&v->dirs);
	free(v->root_path);
	free(v);
}

/* The request is answered; the operation goes on to its end. */
static void answer_early(struct op *op, int err)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);

	if (req)
		v->replies->err(req, err);
}

/*
 * The soft limit: a server that has said nothing for that long is given up, request by request. What
 * was acknowledged stays and is sent when the server is back.
 */
static void look_for_overdue(void *arg)
{
	struct vfs *v = arg;
	const struct be_info *info = v->ops->info(v->be);
	int64_t since_ms = info->silent_since_ms;
	int64_t now_ms = v->clock->now_ms;

	timer_set(v->clock, &v->soft_timer, now_ms + LOOK_MS);
	if (since_ms < 0 || now_ms - since_ms < v->cfg.soft_ms)
		return;
	list_for_each_safe(e, tmp, &v->ops_list) {
		struct op *op = list_entry(e, struct op, entry);

		/* A lost server is known to be gone; a silent one may still answer the newer requests. */
		if (!info->connected || now_ms - op->since_ms >= v->cfg.soft_ms)
			answer_early(op, EIO);
	}
}

static bool without_effect(const struct op *op)
{
	switch (op->kind) {
	case OP_LOOKUP:
	case OP_GETATTR:
	case OP_READLINK:
	case OP_READ:
	case OP_OPENDIR:
	case OP_READDIR:
	case OP_STATFS:
	case OP_HASH:
		return true;
	default:
		return false;
	}
}

/* Those that do not wait for a server that has said nothing for a second, neither to them nor at all. */
static void look_for_silence(void *arg)
{
	struct vfs *v = arg;
	int64_t since_ms = v->ops->info(v->be)->silent_since_ms;
	int64_t now_ms = v->clock->now_ms;
	bool silent = since_ms >= 0 && now_ms - since_ms > SILENT_MS;
	bool more = false;

	list_for_each_safe(e, tmp, &v->ops_list) {
		struct op *op = list_entry(e, struct op, entry);

		if (!op->req || !(op->impatient || (op->interrupted && without_effect(op))))
			continue;
		if (silent && op->impatient)
			op_answer_known(op);
		else if (silent && now_ms - op->since_ms > SILENT_MS)
			answer_early(op, EINTR);
		else
			more = true;
	}
	if (more && !timer_armed(&v->silence_timer))
		timer_set(v->clock, &v->silence_timer, now_ms + LOOK_MS);
}

void op_be_impatient(struct op *op)
{
	op->impatient = true;
	look_for_silence(op->v);
}

void vfs_interrupt(struct vfs *v, struct vfs_req *req, bool dying)
{
	struct op *op = req->op;

	if (!op)
		return;
	if (dying) {
		answer_early(op, EINTR);
		return;
	}
	op->interrupted = true;
	look_for_silence(v);
}

void vfs_quiesce(struct vfs *v)
{
	list_for_each_safe(e, tmp, &v->ops_list) {
		struct op *op = list_entry(e, struct op, entry);

		answer_early(op, EIO); /* EINTR would make many programs ask again */
	}
}

void vfs_get_stats(const struct vfs *v, struct vfs_stats *out)
{
	*out = (struct vfs_stats){
	    .node_count = v->nodes.count,
	    .open_count = v->files.count,
	    .dirty_len = v->unacked_len,
	    .cached_len = v->budget->used_len,
	    .write_error_count = v->write_error_count,
	};
	list_for_each(e, &v->ops_list)
		out->request_count++;
	if (v->async) {
		struct async_stats s;

		async_get_stats(v->async, &s);
		out->pending_count = s.pending_count;
		out->pending_len = s.pending_len;
		out->postponed_count = s.postponed_count;
		out->postponed_error_count = s.failed_count;
	}
}
