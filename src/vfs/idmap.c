/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of users and groups, there and here. Contract: include/vfs/idmap.h. */
#include "vfs/idmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/hash.h"
#include "util/list.h"

struct pair {
	struct hash_node by_remote;
	struct hash_node by_local;
	uint32_t remote;
	uint32_t local;
	bool mapped; /* false: the server knows no name for it, or we do not know that name */
};

struct local_name {
	struct hash_node by_name;
	uint32_t local;
	char name[];
};

struct side {
	struct hash by_remote; /* struct pair, all of them */
	struct hash by_local;  /* struct pair, the mapped ones */
	struct hash names;     /* struct local_name */
	uint32_t squash_local;
};

struct idmap {
	enum idmap_kind kind;
	bool strict;
	struct side sides[IDMAP_SIDE_COUNT];
};

struct idmap *idmap_create(enum idmap_kind kind, bool strict)
{
	struct idmap *m = calloc(1, sizeof(*m));
	int err = 0;

	if (!m)
		return NULL;
	m->kind = kind;
	m->strict = strict;
	for (int i = 0; i < IDMAP_SIDE_COUNT; i++) {
		err |= hash_init(&m->sides[i].by_remote);
		err |= hash_init(&m->sides[i].by_local);
		err |= hash_init(&m->sides[i].names);
	}
	if (err) {
		idmap_destroy(m);
		return NULL;
	}
	return m;
}

static void side_finish(struct side *s)
{
	struct hash_node *n;

	while (s->by_remote.count && (n = hash_next(&s->by_remote, NULL)) != NULL) {
		struct pair *p = list_entry(n, struct pair, by_remote);

		hash_del(&s->by_remote, n);
		free(p);
	}
	while (s->names.count && (n = hash_next(&s->names, NULL)) != NULL) {
		hash_del(&s->names, n);
		free(list_entry(n, struct local_name, by_name));
	}
	hash_finish(&s->by_remote);
	hash_finish(&s->by_local);
	hash_finish(&s->names);
}

void idmap_destroy(struct idmap *m)
{
	if (!m)
		return;
	for (int i = 0; i < IDMAP_SIDE_COUNT; i++)
		side_finish(&m->sides[i]);
	free(m);
}

static bool remote_matches(const struct hash_node *n, const void *key)
{
	return list_entry(n, const struct pair, by_remote)->remote == *(const uint32_t *)key;
}

static bool local_matches(const struct hash_node *n, const void *key)
{
	return list_entry(n, const struct pair, by_local)->local == *(const uint32_t *)key;
}

static bool name_matches(const struct hash_node *n, const void *key)
{
	return strcmp(list_entry(n, const struct local_name, by_name)->name, key) == 0;
}

static struct pair *find_remote(const struct side *s, uint32_t remote)
{
	struct hash_node *n = hash_find(&s->by_remote, hash_u64(remote), remote_matches, &remote);

	return n ? list_entry(n, struct pair, by_remote) : NULL;
}

static struct pair *find_local(const struct side *s, uint32_t local)
{
	struct hash_node *n = hash_find(&s->by_local, hash_u64(local), local_matches, &local);

	return n ? list_entry(n, struct pair, by_local) : NULL;
}

static int add_pair(struct side *s, uint32_t remote, uint32_t local, bool mapped)
{
	struct pair *p;

	if (find_remote(s, remote))
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->remote = remote;
	p->local = local;
	p->mapped = mapped;
	hash_add(&s->by_remote, &p->by_remote, hash_u64(remote));
	if (mapped && !find_local(s, local))
		hash_add(&s->by_local, &p->by_local, hash_u64(local));
	return 0;
}

int idmap_pair(struct idmap *m, enum idmap_side side, uint32_t remote, uint32_t local)
{
	return add_pair(&m->sides[side], remote, local, true);
}

void idmap_squash(struct idmap *m, enum idmap_side side, uint32_t local)
{
	m->sides[side].squash_local = local;
}

static struct local_name *find_name(const struct side *s, const char *name)
{
	struct hash_node *n =
	    hash_find(&s->names, hash_bytes(name, strlen(name), hash_seed()), name_matches, name);

	return n ? list_entry(n, struct local_name, by_name) : NULL;
}

int idmap_local_name(struct idmap *m, enum idmap_side side, const char *name, uint32_t local)
{
	struct side *s = &m->sides[side];
	size_t len = strlen(name);
	struct local_name *l;

	if (find_name(s, name))
		return 0;
	l = calloc(1, sizeof(*l) + len + 1);
	if (!l)
		return -ENOMEM;
	l->local = local;
	memcpy(l->name, name, len);
	hash_add(&s->names, &l->by_name, hash_bytes(name, len, hash_seed()));
	return 0;
}

int idmap_remote_name(struct idmap *m, enum idmap_side side, uint32_t remote, const char *name)
{
	struct side *s = &m->sides[side];
	const struct local_name *l = name[0] ? find_name(s, name) : NULL;

	return add_pair(s, remote, l ? l->local : remote, l != NULL);
}

int idmap_to_local(const struct idmap *m, enum idmap_side side, uint32_t remote, uint32_t *local)
{
	const struct side *s = &m->sides[side];
	const struct pair *p;

	if (m->kind == IDMAP_ALL) {
		*local = s->squash_local;
		return 0;
	}
	p = find_remote(s, remote);
	*local = p ? p->local : remote;
	if (!p && m->kind == IDMAP_NAME)
		return -EAGAIN;
	return m->strict && !(p && p->mapped) ? -EPERM : 0;
}

int idmap_to_server(const struct idmap *m, enum idmap_side side, uint32_t local, uint32_t *remote)
{
	const struct pair *p = find_local(&m->sides[side], local);

	*remote = p ? p->remote : local;
	if (p)
		return 0;
	return m->strict ? -EPERM : m->kind == IDMAP_NAME ? -EINVAL : 0;
}
