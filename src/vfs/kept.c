/* SPDX-License-Identifier: BSD-2-Clause */
/* What new files were just given. Contract: include/vfs/kept.h. */
#include "vfs/kept.h"

#include <fcntl.h>
#include <stdlib.h>

/* What nobody has read or written for so long is not waited for. */
#define KEPT_MS 30000

/* The budget's part that this may fill: an eighth. */
#define KEPT_PART 8

static size_t kept_len_max(const struct vfs *v)
{
	size_t most = v->budget->max_len / KEPT_PART;

	return v->budget->max_len && most < KEPT_LEN_MAX ? most : KEPT_LEN_MAX;
}

void kept_drop(struct node *n)
{
	list_for_each_safe(e, tmp, &n->chunks) {
		struct chunk *c = list_entry(e, struct chunk, in_node);

		if (c->kept)
			chunk_free(c);
	}
}

static struct node *oldest(struct vfs *v)
{
	return list_entry(v->kept.list.next, struct node, in_kept);
}

static void drop_old(void *arg)
{
	struct vfs *v = arg;

	while (!list_empty(&v->kept.list)) {
		int64_t until_ms = oldest(v)->kept_ms + KEPT_MS;

		if (until_ms > v->clock->now_ms) {
			timer_set(v->clock, &v->kept.timer, until_ms);
			return;
		}
		kept_drop(oldest(v));
	}
}

void kept_used(struct vfs *v, struct node *n)
{
	n->kept_ms = v->clock->now_ms;
	list_del(&n->in_kept);
	list_push_back(&v->kept.list, &n->in_kept);
	if (!timer_armed(&v->kept.timer))
		timer_set(v->clock, &v->kept.timer, n->kept_ms + KEPT_MS);
}

void kept_gone(struct vfs *v, struct node *n, const struct chunk *c)
{
	n->kept_len -= c->block->size;
	v->kept.len -= c->block->size;
	if (n->kept_len == 0)
		list_del(&n->in_kept);
}

/*
 * Only what makes a new file longer: elsewhere a block of the size of a WRITE stands for a few bytes. Not
 * where the server need not have what it has acknowledged, nor where every read is to ask it.
 */
static bool is_worth_keeping(const struct file *f, uint64_t off, size_t len)
{
	const struct vfs *v = f->v;

	return f->created && !(f->flags & (O_APPEND | O_DIRECT)) && !v->async && !v->ops->flush &&
	       v->cfg.dir_cache && !v->cfg.direct_io && off + len >= f->node->attr.size;
}

void kept_sent(struct file *f, struct data *block, uint64_t off, size_t len)
{
	struct vfs *v = f->v;
	struct node *n = f->node;
	struct chunk *c;

	if (!is_worth_keeping(f, off, len))
		return;
	if (off + len > kept_len_max(v)) {
		kept_drop(n); /* nobody reads a part of it */
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	*c = (struct chunk){.v = v,
	                    .node = n,
	                    .off = off,
	                    .len = len,
	                    .got_len = len,
	                    .block = data_ref(block),
	                    .kept = true};
	list_init(&c->readers);
	chunk_insert(c);
	n->kept_len += block->size;
	v->kept.len += block->size;
	kept_used(v, n);
	while (v->kept.len > kept_len_max(v))
		kept_drop(oldest(v));
}

void kept_init(struct vfs *v)
{
	list_init(&v->kept.list);
	timer_init(&v->kept.timer, drop_old, v);
}

void kept_finish(struct vfs *v)
{
	timer_cancel(&v->kept.timer);
}
