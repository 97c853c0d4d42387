/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose files the server's are here: its numbers of users and groups to ours and back. A table that
 * is filled before the mount and, for IDMAP_NAME, by what the server says later. Thread: the loop.
 */
#ifndef VFS_IDMAP_H
#define VFS_IDMAP_H

#include <stdbool.h>
#include <stdint.h>

enum idmap_kind {
	IDMAP_TABLE, /* by idmap_pair(); others stay as they are */
	IDMAP_ALL,   /* every number of the server is idmap_squash()'s */
	IDMAP_NAME,  /* equal names on both sides; the server is asked for those of its numbers */
};

enum idmap_side {
	IDMAP_USERS,
	IDMAP_GROUPS,
	IDMAP_SIDE_COUNT,
};

struct idmap;

/* `strict`: numbers without a counterpart are an error instead of staying as they are. */
struct idmap *idmap_create(enum idmap_kind kind, bool strict);
void idmap_destroy(struct idmap *m);

/* `remote` there is `local` here. The first pair of a number counts. Return: 0 or -ENOMEM. */
int idmap_pair(struct idmap *m, enum idmap_side side, uint32_t remote, uint32_t local);

/* IDMAP_ALL: everything belongs to `local`. */
void idmap_squash(struct idmap *m, enum idmap_side side, uint32_t local);

/* IDMAP_NAME: a name of this host. The first number of a name counts. Return: 0 or -ENOMEM. */
int idmap_local_name(struct idmap *m, enum idmap_side side, const char *name, uint32_t local);

/* IDMAP_NAME: the server has named one of its numbers; "": it has no name. Return: 0 or -ENOMEM. */
int idmap_remote_name(struct idmap *m, enum idmap_side side, uint32_t remote, const char *name);

/*
 * The number to show. Return: 0; -EPERM where a strict table has none; -EAGAIN where the server has
 * not been asked for its name. *local is `remote` in both cases.
 */
int idmap_to_local(const struct idmap *m, enum idmap_side side, uint32_t remote, uint32_t *local);

/*
 * The number to send. Return: 0; -EPERM where a strict table has none; -EINVAL where no user of this
 * name has been seen on the server (IDMAP_NAME): a number of this host would mean another user there.
 */
int idmap_to_server(const struct idmap *m, enum idmap_side side, uint32_t local, uint32_t *remote);

#endif
