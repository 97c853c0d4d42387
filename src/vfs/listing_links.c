/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The targets of the links that a listing shows: what lists attributes often shows where links lead, so
 * they are asked for behind it. Contract: include/vfs/listing.h.
 */
#include <stdlib.h>
#include <string.h>

#include "listing_parts.h"
#include "vfs/attr.h"

/* Links of one listing whose targets are asked for ahead. */
#define LINK_ASK_COUNT_MAX 1000

/* A READLINK that nobody has asked for yet. */
struct link_ask {
	struct listing *listing; /* referenced */
	char name[];
};

static void link_told(void *arg, const struct be_status *st, const char *target, size_t len)
{
	struct link_ask *ask = arg;
	struct listing *l = ask->listing;
	struct entry *e = listing_entry(l, ask->name);
	struct list waiters;

	if (e && e->ask == ask)
		listing_set_target(l, e, st->code == BE_OK ? strndup(target, len) : NULL);
	list_init(&waiters);
	list_splice(&waiters, &l->link_waiters);
	while (!list_empty(&waiters)) {
		struct op *op = list_entry(waiters.next, struct op, wait);

		list_del(&op->wait);
		link_continue(op);
	}
	free(ask);
	listing_unref(l);
}

void listing_ask_links(struct listing *l, const struct be_entry *entries, size_t count)
{
	struct vfs *v = l->v;
	char *path;
	int err;

	if (v->cfg.follow_symlinks || !v->cfg.dir_cache)
		return;
	for (size_t i = 0; i < count && l->ask_count < LINK_ASK_COUNT_MAX; i++) {
		struct entry *e =
		    attr_is_link(&entries[i].attr) ? listing_entry(l, entries[i].name) : NULL;
		struct link_ask *ask = e ? malloc(sizeof(*ask) + e->name_len + 1) : NULL;

		if (!ask)
			continue;
		ask->listing = l;
		memcpy(ask->name, e->name, e->name_len + 1);
		path = node_path(v, l->node, e->name, &err);
		if (!path || v->ops->readlink(v->be, path, link_told, ask) != 0) {
			free(ask);
		} else {
			e->ask = ask;
			l->ref_count++;
			l->ask_count++;
		}
		free(path);
	}
}

const char *listing_target(struct vfs *v, struct op *op, struct node *n, bool *waits)
{
	struct name *d = node_name(n);
	struct listing *l = d ? listing_fresh(v, d->parent) : NULL;
	struct entry *e = l ? listing_entry(l, d->bytes) : NULL;

	*waits = false;
	if (!e || e->removed || !attr_same_file(&e->attr, &n->attr))
		return NULL;
	if (attr_expiry(v, &e->attr, l->asked_ms) <= v->clock->now_ms)
		return NULL; /* links may be given less time than listings */
	if (e->ask) {
		list_push_back(&l->link_waiters, &op->wait);
		*waits = true;
	}
	return e->target;
}
