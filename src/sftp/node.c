/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files as the server knows them: order of I/O, identity over reconnects. Owner: the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sftp/engine.h"

static bool id_match(const struct hash_node *n, const void *key)
{
	return list_entry(n, const struct fxp_node, by_id)->id == *(const uint64_t *)key;
}

struct fxp_node *fxp_node_get(struct fxp_backend *fb, uint64_t id)
{
	struct hash_node *found = id ? hash_find(&fb->nodes, hash_u64(id), id_match, &id) : NULL;
	struct fxp_node *n = found ? list_entry(found, struct fxp_node, by_id) : NULL;

	if (n) {
		n->refs++;
		return n;
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->refs = 1;
	n->id = id;
	fxp_order_init(&n->order);
	if (id)
		hash_add(&fb->nodes, &n->by_id, hash_u64(id));
	return n;
}

void fxp_node_unref(struct fxp_backend *fb, struct fxp_node *n)
{
	if (!n || --n->refs)
		return;
	if (n->id)
		hash_del(&fb->nodes, &n->by_id);
	free(n);
}

struct fxp_node *fxp_node_at(struct fxp_backend *fb, const char *path)
{
	char where[8192];

	list_for_each(e, &fb->files) {
		struct be_file *f = list_entry(e, struct be_file, entry);

		if (!f->closed && f->handle.len && fxp_file_where(f, where, sizeof(where)) == 0 &&
		    strcmp(where, path) == 0)
			return f->node;
	}
	return NULL;
}

void fxp_node_seen(struct fxp_node *n, const struct be_attr *attr)
{
	struct be_attr was = n->known;

	n->known = *attr;
	if (n->write_count) {
		/* Which of the WRITEs under way are in this size cannot be told. */
		n->known.size = was.size;
		n->known.valid &= was.valid | ~(uint32_t)BE_ATTR_SIZE;
		return;
	}
	n->dirty = false;
	n->acked_end = n->sent_end = attr->size;
}

void fxp_node_resized(struct fxp_node *n, uint64_t size)
{
	n->known.size = size;
	if (n->acked_end > size)
		n->acked_end = size;
	if (n->sent_end < size)
		n->sent_end = size;
}

void fxp_node_write_sent(struct fxp_node *n, uint64_t off, uint64_t len)
{
	n->dirty = true;
	n->write_count++;
	n->change_seq++;
	if (off + len > n->sent_end)
		n->sent_end = off + len;
}

void fxp_node_write_done(struct fxp_node *n, bool ok, uint64_t off, uint64_t len)
{
	n->write_count--;
	if (ok && off + len > n->acked_end)
		n->acked_end = off + len;
	if (ok && off + len > n->written_end)
		n->written_end = off + len;
}

bool fxp_node_same(const struct fxp_node *n, const struct be_attr *now)
{
	const struct be_attr *was = &n->known;
	uint32_t both = was->valid & now->valid;
	uint64_t least = was->size > n->acked_end ? was->size : n->acked_end;
	uint64_t most = was->size > n->sent_end ? was->size : n->sent_end;

	if ((both & BE_ATTR_MODE) && ((was->mode ^ now->mode) & S_IFMT))
		return false;
	/* Changes of ours whose fate is unknown explain any difference. */
	if (n->change_count)
		return true;
	if (!n->dirty)
		return (!(both & BE_ATTR_SIZE) || was->size == now->size) &&
		       (!(both & BE_ATTR_TIMES) || was->mtime == now->mtime);
	if ((both & BE_ATTR_OWNER) && (was->uid != now->uid || was->gid != now->gid))
		return false;
	/* A write takes setuid and setgid away. */
	if ((both & BE_ATTR_MODE) && ((was->mode ^ now->mode) & 01777))
		return false;
	if ((both & BE_ATTR_TIMES) && now->mtime < was->mtime)
		return false;
	return !(both & BE_ATTR_SIZE) || (now->size >= least && now->size <= most);
}
