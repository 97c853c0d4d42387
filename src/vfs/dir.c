/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open directories: opendir, readdir, releasedir. Offsets are positions in a listing, so they stay
 * valid however it changes. Contract: include/vfs/vfs.h, include/vfs/dir.h.
 */
#include "vfs/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfs/async.h"
#include "vfs/attr.h"
#include "vfs/ids.h"
#include "vfs/internal.h"
#include "vfs/listing.h"
#include "vfs/walk.h"

/* Offsets 0 and 1 are "." and "..": entry i of the listing is at offset i + 2. */
#define DOT_COUNT 2

struct dir {
	struct hash_node by_fh;
	uint64_t fh;
	struct node *node; /* referenced */
	struct listing *listing;
	bool read; /* something was handed out: offset 0 is a rewinddir */
};

static bool fh_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct dir, by_fh)->fh == *(const uint64_t *)key;
}

static struct dir *dir_find(struct vfs *v, uint64_t fh)
{
	struct hash_node *hn = hash_find(&v->dirs, hash_u64(fh), fh_matches, &fh);

	return hn ? list_entry(hn, struct dir, by_fh) : NULL;
}

static void dir_free(struct vfs *v, struct dir *d)
{
	struct node *n = d->node;

	hash_del(&v->dirs, &d->by_fh);
	listing_unref(d->listing);
	free(d);
	node_unref(v, n);
}

void dir_close_all(struct vfs *v)
{
	struct hash_node *hn;

	while ((hn = hash_next(&v->dirs, NULL)) != NULL)
		dir_free(v, list_entry(hn, struct dir, by_fh));
}

/* The server has said whether the directory can be listed. */
static void opendir_continue(struct op *op)
{
	struct vfs *v = op->v;
	struct dir *d = dir_find(v, op->fh);
	struct vfs_opened o = {.fh = op->fh};
	struct vfs_req *req;

	if (d->listing->err) {
		int err = d->listing->err;

		dir_free(v, d);
		op_fail(op, err);
		return;
	}
	req = op_take_req(op);
	op_free(op);
	if (!req || !v->replies->open(req, &o))
		dir_free(v, d);
}

void vfs_opendir(struct vfs *v, struct vfs_req *req, uint64_t nodeid)
{
	struct op *op = op_create(v, req, OP_OPENDIR);
	struct dir *d;
	int err;

	if (!op || !op_on_node(op, node_find(v, nodeid)))
		return;
	d = calloc(1, sizeof(*d));
	if (!d) {
		op_fail(op, -ENOMEM);
		return;
	}
	d->listing = listing_get(v, op->node, &err);
	if (!d->listing) {
		free(d);
		op_fail(op, err);
		return;
	}
	d->fh = op->fh = ++v->last_fh;
	d->node = node_ref(op->node);
	hash_add(&v->dirs, &d->by_fh, hash_u64(d->fh));
	walk_opendir(v, req->program, d->node, d->listing);
	if (d->listing->complete || d->listing->started) {
		opendir_continue(op);
		return;
	}
	list_push_back(&d->listing->waiters, &op->wait);
	if (op->node == v->root)
		op_be_impatient(op); /* df opens what it is given */
}

static bool add_dot(struct op *op, struct dir *d, size_t pos)
{
	struct vfs *v = op->v;
	const struct name *up = node_name(d->node);
	const struct node *n = pos == 0 || !up ? d->node : up->parent;
	struct vfs_entry e = {0};

	e.st.st_ino = n->ino;
	e.st.st_mode = S_IFDIR;
	return v->replies->dirent(op->req, pos == 0 ? "." : "..", &e, (off_t)pos + 1);
}

/* The node for an entry of a listing, or NULL where its attributes cannot be vouched for. */
static struct node *node_of_entry(struct vfs *v, struct node *parent, const struct listing *l,
                                  const struct entry *e, int64_t *expires_ms)
{
	struct name *d = name_find(v, parent, e->name);
	struct node *n = d ? d->node : NULL;

	if (n && (n->dirty || n->attr_expires_ms > v->clock->now_ms)) {
		*expires_ms = d->expires_ms;
		return node_ref(n); /* what we know is at least as new */
	}
	if (!e->attr_known || !(e->attr.valid & BE_ATTR_MODE) || ids_check(v, &e->attr) != 0 ||
	    (v->cfg.follow_symlinks && attr_is_link(&e->attr)))
		return NULL;
	*expires_ms = attr_expiry(v, &e->attr, l->asked_ms);
	if (*expires_ms <= v->clock->now_ms)
		return NULL;
	return entry_known(v, parent, e->name, &e->attr, n, n ? n->change_count : 0, l->asked_ms);
}

static bool add_entry(struct op *op, struct dir *d, const struct entry *e, off_t next_off)
{
	struct vfs *v = op->v;
	struct vfs_entry out = {0};
	struct node *n = NULL;
	int64_t expires_ms;
	bool fits;

	if (op->plus)
		n = node_of_entry(v, d->node, d->listing, e, &expires_ms);
	if (n) {
		out.nodeid = n->nodeid;
		attr_node_stat(v, n, &out.st);
		out.attr_timeout_ms = attr_kernel_attr_timeout(v, n);
		out.entry_timeout_ms = attr_kernel_entry_timeout(v, expires_ms);
		n->looked_up_until_ms = v->clock->now_ms + out.entry_timeout_ms;
	} else {
		int err;
		char *path = node_path(v, d->node, e->name, &err);
		struct name *known = name_find(v, d->node, e->name);

		out.st.st_ino = known && known->node ? known->node->ino
		                : path               ? node_path_ino(path)
		                                     : 2;
		out.st.st_mode =
		    v->cfg.follow_symlinks && attr_is_link(&e->attr) ? 0 : e->attr.mode & S_IFMT;
		free(path);
	}
	fits = v->replies->dirent(op->req, e->name, &out, next_off);
	if (n) {
		if (fits) {
			attr_shown(n);
			node_looked_up(n);
		}
		node_unref(v, n);
	}
	return fits;
}

/* Streaming: what lies behind the reader is forgotten, and the server goes on when it catches up. */
static void stream_on(struct listing *l, size_t pos)
{
	bool streams = l->first || (!l->complete && l->count > LISTING_COUNT_MAX);

	if (streams && pos > l->first)
		listing_forget_first(l, pos - l->first);
	if (l->paused && l->list && l->count < LISTING_COUNT_MAX / 2) {
		l->paused = false;
		l->v->ops->list_pause(l->v->be, l->list, false);
	}
}

static void answer_readdir(struct op *op)
{
	struct vfs *v = op->v;
	struct vfs_req *req = op_take_req(op);

	op_free(op);
	v->replies->dir_end(req);
}

/* Can the owner of the entry be shown? If not, asks for the owners of all that are there. */
static bool owner_is_known(struct op *op, const struct listing *l, const struct entry *e)
{
	if (!op->plus || !e->attr_known || ids_check(op->v, &e->attr) != -EAGAIN)
		return true;
	for (size_t i = 0; i < l->count; i++)
		ids_want(op->v, &l->entries[i]->attr);
	return false;
}

/*
 * Hands out entries from op->off on. Return: how many; *owner_unknown when it ended at one whose
 * owner has to be asked for first.
 */
static size_t add_entries(struct op *op, struct dir *d, bool *owner_unknown)
{
	struct listing *l = d->listing;
	size_t added = 0;

	while (op->off < DOT_COUNT) {
		if (!add_dot(op, d, op->off))
			return added;
		op->off++;
		added++;
	}
	while (op->off - DOT_COUNT < l->first + l->count) {
		const struct entry *e = l->entries[op->off - DOT_COUNT - l->first];

		if (!e->removed) {
			*owner_unknown = !owner_is_known(op, l, e);
			if (*owner_unknown || !add_entry(op, d, e, (off_t)op->off + 1))
				break;
			added++;
		}
		op->off++;
	}
	return added;
}

static void readdir_continue(struct op *op)
{
	struct vfs *v = op->v;
	struct dir *d = dir_find(v, op->fh);
	struct listing *l;
	size_t added, pos;
	bool owner_unknown = false;

	if (!op->req || !d) {
		op_fail(op, -EBADF);
		return;
	}
	l = d->listing;
	added = add_entries(op, d, &owner_unknown);
	pos = op->off > DOT_COUNT ? op->off - DOT_COUNT : 0;
	stream_on(l, pos < l->first + l->count ? pos : l->first + l->count);
	d->read = d->read || added;
	if (!added && owner_unknown)
		ids_wait(op, readdir_continue);
	else if (added || (l->complete && !l->err))
		answer_readdir(op);
	else if (l->err)
		op_fail(op, l->err);
	else
		list_push_back(&l->waiters, &op->wait);
}

void dir_continue(struct op *op)
{
	if (op->kind == OP_OPENDIR)
		opendir_continue(op);
	else
		readdir_continue(op);
}

/* rewinddir, or a seek to what a streaming listing has forgotten: a new snapshot. */
static int restart(struct vfs *v, struct dir *d)
{
	int err;
	struct listing *l = listing_get(v, d->node, &err);

	if (!l)
		return err;
	listing_unref(d->listing);
	d->listing = l;
	d->read = false;
	return 0;
}

void vfs_readdir(struct vfs *v, struct vfs_req *req, uint64_t fh, off_t off, bool plus)
{
	struct op *op = op_create(v, req, OP_READDIR);
	struct dir *d = dir_find(v, fh);
	int err = 0;

	if (!op)
		return;
	if (!d) {
		op_fail(op, -EBADF);
		return;
	}
	op->fh = fh;
	op->off = (uint64_t)off;
	op->plus = plus;
	if ((off == 0 && d->read) ||
	    (op->off >= DOT_COUNT && op->off - DOT_COUNT < d->listing->first))
		err = restart(v, d);
	if (!op_failed_start(op, err))
		readdir_continue(op);
}

void vfs_releasedir(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct dir *d = dir_find(v, fh);

	if (d)
		dir_free(v, d);
	v->replies->err(req, 0);
}

static void synced(void *arg, int err)
{
	op_fail(arg, err);
}

/*
 * SFTP has nothing to make names durable with. Without a journal changes are acknowledged only when
 * carried out; with one any directory stands for the whole mount.
 */
void vfs_fsyncdir(struct vfs *v, struct vfs_req *req, uint64_t fh)
{
	struct op *op;

	if (fh && !dir_find(v, fh)) {
		v->replies->err(req, EBADF);
		return;
	}
	if (!v->async) {
		v->replies->err(req, 0);
		return;
	}
	op = op_create(v, req, OP_FSYNC);
	if (op)
		op_failed_start(op, async_barrier(v->async, synced, op));
}
