/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes, names and paths. Contract: include/vfs/node.h. */
#include "vfs/node.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "vfs/attr.h"
#include "vfs/whole.h"
#include "vfs/file.h"
#include "vfs/internal.h"
#include "vfs/listing.h"

/* Paths are hashed for st_ino with a fixed seed: the next mount must show the same numbers. */
#define INO_SEED 0x7366747066730001ULL

/* Names known not to exist that are remembered; a program may probe any number of them. */
#define NEGATIVE_COUNT_MAX 16384

struct name_key {
	const struct node *parent;
	const char *bytes;
};

static uint64_t name_hash(const struct node *parent, const char *bytes)
{
	return hash_bytes(bytes, strlen(bytes), hash_seed() ^ parent->nodeid);
}

static bool name_matches(const struct hash_node *hn, const void *key)
{
	const struct name_key *k = key;
	const struct name *d = list_entry(hn, struct name, by_name);

	return d->parent == k->parent && strcmp(d->bytes, k->bytes) == 0;
}

static bool id_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct node, by_id)->nodeid == *(const uint64_t *)key;
}

static bool ino_matches(const struct hash_node *hn, const void *key)
{
	return list_entry(hn, struct node, by_ino)->ino == *(const uint64_t *)key;
}

int node_table_init(struct vfs *v)
{
	if (hash_init(&v->nodes) < 0)
		return -ENOMEM;
	if (hash_init(&v->inos) < 0)
		goto free_nodes;
	if (hash_init(&v->names) < 0)
		goto free_inos;
	return 0;

free_inos:
	hash_finish(&v->inos);
free_nodes:
	hash_finish(&v->nodes);
	return -ENOMEM;
}

struct node *node_find(struct vfs *v, uint64_t nodeid)
{
	struct hash_node *hn = hash_find(&v->nodes, hash_u64(nodeid), id_matches, &nodeid);

	return hn ? list_entry(hn, struct node, by_id) : NULL;
}

struct node *node_create(struct vfs *v)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->nodeid = ++v->last_nodeid;
	n->ref_count = 1;
	list_init(&n->names);
	list_init(&n->children);
	list_init(&n->files);
	list_init(&n->pinned);
	list_init(&n->chunks);
	list_init(&n->in_kept);
	list_init(&n->drain_waiters);
	hash_add(&v->nodes, &n->by_id, hash_u64(n->nodeid));
	return n;
}

struct node *node_ref(struct node *n)
{
	n->ref_count++;
	return n;
}

void node_changed(struct vfs *v, struct node *n)
{
	n->change_count++;
	n->changed_ms = v->clock->now_ms;
	n->told_ms = 0;
}

uint64_t node_asked_count(const struct node *n)
{
	return n->change_count - (n->attr_unacked_count > 0);
}

static void ino_clear(struct vfs *v, struct node *n)
{
	if (n->ino)
		hash_del(&v->inos, &n->by_ino);
	n->ino = 0;
}

static void name_free(struct vfs *v, struct name *d)
{
	struct node *parent = d->node ? d->parent : NULL;

	hash_del(&v->names, &d->by_name);
	list_del(&d->in_parent);
	if (!d->node)
		v->negative_count--;
	list_del(&d->in_node);
	free(d);
	node_unref(v, parent);
}

/* Frees `n` if nothing holds it any more, and then perhaps the directories that its names held. */
static void node_reap(struct vfs *v, struct node *n)
{
	if (n->lookup_count || n->ref_count)
		return;
	n->ref_count++; /* dropping the names below must not reap us again */
	if (n->name_changes)
		listing_doubt(v, n); /* only we knew that its times are others by now */
	/* Only negative names can be left here: one with a node holds a reference on us. */
	while (!list_empty(&n->children))
		name_free(v, list_entry(n->children.next, struct name, in_parent));
	chunks_drop(n, 0, UINT64_MAX);
	whole_drop(v, n);
	listing_drop(v, n);
	while (!list_empty(&n->names))
		name_free(v, list_entry(n->names.next, struct name, in_node));
	hash_del(&v->nodes, &n->by_id);
	ino_clear(v, n);
	free(n->target);
	free(n);
}

void node_unref(struct vfs *v, struct node *n)
{
	if (!n)
		return;
	n->ref_count--;
	node_reap(v, n);
}

void node_looked_up(struct node *n)
{
	n->lookup_count++;
}

void node_forget(struct vfs *v, struct node *n, uint64_t count)
{
	n->lookup_count = count < n->lookup_count ? n->lookup_count - count : 0;
	node_reap(v, n);
}

struct name *name_find(struct vfs *v, struct node *parent, const char *bytes)
{
	const struct name_key key = {parent, bytes};
	struct hash_node *hn = hash_find(&v->names, name_hash(parent, bytes), name_matches, &key);

	return hn ? list_entry(hn, struct name, by_name) : NULL;
}

void name_drop(struct vfs *v, struct name *d)
{
	struct node *n = d->node ? node_ref(d->node) : NULL;

	name_free(v, d);
	node_unref(v, n);
}

int name_set(struct vfs *v, struct node *parent, const char *bytes, struct node *node,
             int64_t expires_ms)
{
	struct name *d = name_find(v, parent, bytes);
	size_t len = strlen(bytes);

	if (d && d->node == node) {
		d->expires_ms = expires_ms;
		return 0;
	}
	if (node)
		node_ref(node);
	if (d)
		name_drop(v, d);
	d = malloc(sizeof(*d) + len + 1);
	if (!d) {
		node_unref(v, node);
		return -ENOMEM;
	}
	memcpy(d->bytes, bytes, len + 1);
	d->parent = parent;
	d->node = node;
	d->expires_ms = expires_ms;
	list_push_back(&parent->children, &d->in_parent);
	hash_add(&v->names, &d->by_name, name_hash(parent, bytes));
	if (node) {
		node_ref(parent);
		list_push_back(&node->names, &d->in_node);
		node->ref_count--; /* names do not keep their node; the kernel's lookups do */
	} else {
		list_push_back(&v->negatives, &d->in_node);
		if (++v->negative_count > NEGATIVE_COUNT_MAX)
			name_free(v, list_entry(v->negatives.next, struct name, in_node));
	}
	return 0;
}

/* After a directory moved, every number below it follows its new path. */
static void renumber_below(struct vfs *v, struct node *n)
{
	list_for_each(e, &n->children) {
		struct name *d = list_entry(e, struct name, in_parent);

		if (d->node) {
			node_number(v, d->node);
			renumber_below(v, d->node);
		}
	}
}

int name_move(struct vfs *v, struct name *d, struct node *parent, const char *bytes,
              int64_t expires_ms)
{
	struct node *n = node_ref(d->node);
	int err = name_set(v, parent, bytes, n, expires_ms);

	if (err == 0) {
		name_drop(v, d);
		if (list_empty(&n->files) && !whole_is_pinned(n)) {
			ino_clear(v, n);
			node_number(v, n);
		}
		renumber_below(v, n);
	}
	node_unref(v, n);
	return err;
}

void node_detach(struct vfs *v, struct node *n)
{
	node_ref(n);
	listing_doubt(v, n);
	while (!list_empty(&n->names))
		name_free(v, list_entry(n->names.next, struct name, in_node));
	node_unref(v, n);
}

struct name *node_name(const struct node *n)
{
	return list_empty(&n->names) ? NULL : list_entry(n->names.next, struct name, in_node);
}

/* Length of the path up to and including `n`, and its depth; 0 when a name is missing. */
static size_t path_measure(const struct vfs *v, const struct node *n)
{
	size_t len = 0;

	while (n != v->root) {
		const struct name *d = node_name(n);

		if (!d)
			return 0;
		len += 1 + strlen(d->bytes);
		n = d->parent;
	}
	/* "/" contributes nothing: the first component brings its own slash. */
	return len + (strcmp(v->root_path, "/") == 0 ? 0 : strlen(v->root_path)) + 1;
}

char *node_path(struct vfs *v, const struct node *n, const char *child, int *err)
{
	size_t root_len = strcmp(v->root_path, "/") == 0 ? 0 : strlen(v->root_path);
	size_t size = path_measure(v, n);
	size_t child_len = child ? 1 + strlen(child) : 0;
	char *path, *end;

	*err = -ESTALE;
	if (size == 0)
		return NULL;
	*err = -ENAMETOOLONG;
	if (size + child_len > PATH_MAX)
		return NULL;
	*err = -ENOMEM;
	path = malloc(size + child_len + 1);
	if (!path)
		return NULL;
	end = path + size + child_len - 1;
	*end = '\0';
	if (child) {
		end -= child_len;
		*end = '/';
		memcpy(end + 1, child, child_len - 1);
	}
	while (n != v->root) {
		const struct name *d = node_name(n);
		size_t len = strlen(d->bytes);

		end -= len + 1;
		*end = '/';
		memcpy(end + 1, d->bytes, len);
		n = d->parent;
	}
	memcpy(path, v->root_path, root_len);
	if (path[0] == '\0')
		memcpy(path, "/", 2); /* the root of the server itself */
	*err = 0;
	return path;
}

uint64_t node_path_ino(const char *path)
{
	uint64_t ino = hash_bytes(path, strlen(path), INO_SEED);

	return ino > 1 ? ino : ino + 2;
}

void node_number(struct vfs *v, struct node *n)
{
	int err;
	char *path;
	uint64_t ino;

	if ((!list_empty(&n->files) || whole_is_pinned(n)) && n->ino)
		return; /* whoever holds it open has seen its number */
	path = node_path(v, n, NULL, &err);
	if (!path && n->ino)
		return;
	ino = path ? node_path_ino(path) : hash_u64(n->nodeid);
	free(path);
	if (ino == n->ino)
		return;
	ino_clear(v, n);
	while (ino < 2 || hash_find(&v->inos, hash_u64(ino), ino_matches, &ino))
		ino++;
	n->ino = ino;
	hash_add(&v->inos, &n->by_ino, hash_u64(ino));
}

void node_table_finish(struct vfs *v)
{
	struct hash_node *hn;

	/* Names first, they hold references on their parents. */
	while ((hn = hash_next(&v->names, NULL)) != NULL) {
		struct name *d = list_entry(hn, struct name, by_name);

		if (d->node)
			d->parent->ref_count--;
		hash_del(&v->names, &d->by_name);
		list_del(&d->in_parent);
		list_del(&d->in_node);
		free(d);
	}
	while ((hn = hash_next(&v->nodes, NULL)) != NULL) {
		struct node *n = list_entry(hn, struct node, by_id);

		n->lookup_count = 0;
		n->ref_count = 0;
		node_reap(v, n);
	}
	hash_finish(&v->names);
	hash_finish(&v->inos);
	hash_finish(&v->nodes);
}
