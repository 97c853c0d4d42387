/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions that travel behind changes of names. Contract: include/vfs/renew.h. */
#include "vfs/renew.h"

#include <stdlib.h>

#include "vfs/attr.h"
#include "vfs/listing.h"

/*
 * What ends so soon, and in the last third of its life, is asked for again: a program that writes small
 * files makes one in two round trips.
 */
#define RENEW_MS   1000
#define RENEW_PART 3

/* So many changes renew the attributes of their directory after somebody has looked at it. */
#define USED_COUNT 8

/* git looks at a directory once, when it has made it and the first file in it. */
#define MADE_COUNT 2

/* What is `node` now? */
struct renewal {
	struct vfs *v;
	struct node *node; /* referenced */
	struct asked asked;
	int64_t asked_ms;
};

struct asked renew_asked(struct vfs *v, const struct node *dir)
{
	return (struct asked){
	    .name_calls = dir->name_calls,
	    .other_changes = dir->change_count - dir->name_changes,
	    .epoch = v->ops->info(v->be)->epoch,
	};
}

bool renew_holds(struct vfs *v, const struct node *dir, const struct asked *then)
{
	struct asked now = renew_asked(v, dir);

	return then->name_calls == now.name_calls && then->other_changes == now.other_changes &&
	       then->epoch == now.epoch;
}

static void renewed(void *arg, const struct be_status *st, const struct be_attr *a)
{
	struct renewal *r = arg;
	struct vfs *v = r->v;
	struct node *n = r->node;
	struct name *d = node_name(n);

	n->renewing = false;
	if (st->code == BE_OK && a && attr_is_dir(a) && renew_holds(v, n, &r->asked)) {
		attr_update(v, n, a, n->change_count, r->asked_ms);
		if (d)
			d->expires_ms = attr_expiry(v, a, r->asked_ms);
	}
	node_unref(v, n);
	free(r);
}

static void ask(struct vfs *v, struct node *n)
{
	struct renewal *r = malloc(sizeof(*r));
	char *path;
	int err;

	if (!r)
		return;
	path = node_path(v, n, NULL, &err);
	*r = (struct renewal){v, node_ref(n), renew_asked(v, n), v->clock->now_ms};
	n->renewing = true;
	if (!path ||
	    v->ops->stat(v->be, path, n == v->root || v->cfg.follow_symlinks, renewed, r) < 0) {
		n->renewing = false;
		node_unref(v, n);
		free(r);
	}
	free(path);
}

/* How long before its end what is known of `n` is renewed. */
static int64_t soon_ms(const struct vfs *v, const struct node *n)
{
	int64_t ms = attr_lifetime(v, &n->attr) / RENEW_PART;

	return ms < RENEW_MS ? ms : RENEW_MS;
}

/*
 * Will the kernel look up the name of `n` soon, and may it not be answered from what is known by then? It
 * does so for every component of a path whose time is over. `changes`: its attributes are about to end.
 */
static bool is_missed_soon(const struct vfs *v, const struct node *n, bool changes)
{
	int64_t left_ms = n->looked_up_until_ms - v->clock->now_ms;
	int64_t until_ms = n->looked_up_until_ms + RENEW_MS;

	return left_ms > 0 && left_ms <= soon_ms(v, n) &&
	       (changes || n->attr_expires_ms < until_ms || node_name(n)->expires_ms < until_ms);
}

void renew_behind(struct vfs *v, struct node *dir)
{
	bool used = dir->renew_count && (dir->attr_expires_ms > v->clock->now_ms || dir->renewing);

	dir->name_calls++;
	/* Where a change is acknowledged before it is carried out there is nothing to ask yet. */
	if (!v->cfg.dir_cache || v->async || v->ops->flush)
		return;
	dir->renew_count -= used;
	if (used || (node_name(dir) && is_missed_soon(v, dir, true)))
		ask(v, dir);
	/* What goes through a tree in its order comes back to each directory above, for names that are not there yet. */
	for (struct node *n = dir; n; n = node_name(n) ? node_name(n)->parent : NULL) {
		if (node_name(n) && !n->renewing && is_missed_soon(v, n, false))
			ask(v, n);
		listing_renew_behind(v, n, soon_ms(v, n));
	}
}

void renew_used(struct node *dir)
{
	dir->renew_count = USED_COUNT;
}

void renew_made(struct node *dir)
{
	dir->renew_count = MADE_COUNT;
}
