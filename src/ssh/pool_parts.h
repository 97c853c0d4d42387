/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parts of a pool: its members, and which of them carries which lane. Internal to pool_*.c.
 * Thread: the loop.
 */
#ifndef SSH_POOL_PARTS_H
#define SSH_POOL_PARTS_H

#include "ssh/pool_link.h"
#include "util/list.h"

enum member_state {
	MEMBER_DOWN,
	MEMBER_CONNECTING,
	MEMBER_UP,
};

struct pool;

struct member {
	struct pool *pool;
	struct link *link; /* NULL: not made yet */
	enum member_state state;
	bool heard;    /* a packet has come over it since it was connected */
	bool retiring; /* we ended it, and nobody misses it */
	bool refused;  /* could not be opened: not tried again before the next `up` of the pool */
	unsigned lane_count; /* wanted ones included */
	unsigned grants_max; /* lanes, as far as the server has refused one; UINT_MAX: it has not */
};

struct pool_lane {
	struct list entry;
	uint32_t id;
	struct lane_spec spec;
	char *command; /* what spec.command points to */
	struct member *member;
	bool wanted; /* its member is not connected yet */
};

enum pool_state {
	POOL_DOWN,
	POOL_CONNECTING, /* the first one is */
	POOL_UP,
	POOL_FALLING, /* waiting until all are fenced */
};

struct pool {
	struct link link; /* first: struct link * and struct pool * are the same address */
	struct pool_source source;
	enum pool_state state;
	bool started;
	int epoll_fd; /* readable when a member has events */
	struct link_error error;
	struct list lanes; /* struct pool_lane */
	unsigned member_max;
	struct member members[]; /* [0] is the first connection */
};

/* Return: NULL when there is none. */
struct pool_lane *pool_lane_find(struct pool *p, uint32_t id);

/* One on `m`. Callbacks may change the list, so this is how one goes through it. */
struct pool_lane *pool_lane_on(struct pool *p, const struct member *m, bool wanted_only);

/*
 * Adds one to the member that suits it best, which may not be connected yet, and opens it nowhere.
 * Return: 0; -EMFILE: no room; -ENOMEM.
 */
int pool_lane_add(struct pool *p, uint32_t id, const struct lane_spec *spec,
                  struct pool_lane **lane);

/*
 * To another member that has room. Return: false: there is none, or it cannot be opened there; then it
 * stays where it is.
 */
bool pool_lane_move(struct pool *p, struct pool_lane *l);

void pool_lane_free(struct pool_lane *l);
void pool_lanes_forget(struct pool *p);

/* Lanes that one member can carry. */
unsigned pool_lane_max(const struct pool *p);

#endif
