/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several connections to one server that look like one with more lanes: `max_conns=`, and ssh
 * processes that share a master.
 *
 * Contract: sftp/link.h. The first connection is connected and answers for the whole. Others are
 * opened, one after the other, when a lane is wanted for which it is not the best place, not before
 * a packet has come over the first one (its login is over) and link_start() was called. One that
 * cannot be opened costs nothing: its lanes go to the others, or are closed if they seemed open.
 * A lane that the server refuses on one connection is tried on the next, until none has room.
 *
 * One that is lost after it has carried packets is a loss of the whole: the others are given up,
 * and `down` comes when each of them is fenced. So an unanswered WRITE of any of them can be sent
 * again afterwards.
 */
#ifndef SSH_POOL_LINK_H
#define SSH_POOL_LINK_H

#include "sftp/link.h"

struct pool_source {
	/* Return: a further link to the same server, which never prompts; NULL: out of memory. */
	struct link *(*more)(void *arg, struct link *first);
	void (*finish)(void *arg); /* the pool and its links are gone; NULL: nothing to do */
	void *arg;
};

/*
 * Takes over `first` and, by src->finish, what src->arg is; also on failure.
 * `link_max` counts the first one. Return: NULL when out of memory or descriptors.
 */
struct link *pool_link_create(struct link *first, unsigned link_max, const struct pool_source *src);

#endif
