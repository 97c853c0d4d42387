/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several connections as one link. See include/ssh/pool_link.h.
 * Room: ssh. Thread: the loop; each member has a thread of its own below the interface. Members log
 * in one at a time, and the first one only while no other lives: that is why they can share what
 * the first login was given without a lock (ssh_link_create_more()).
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "pool_parts.h"
#include "util/log.h"

static struct pool *pool_of(struct link *l)
{
	return (struct pool *)l;
}

/* --- further connections ------------------------------------------------------------------- */

static const struct link_events member_events;

static int member_watch(struct pool *p, struct member *m)
{
	struct epoll_event event = {.events = EPOLLIN};

	m->link->events = &member_events;
	m->link->events_ctx = m;
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, link_dispatch_fd(m->link), &event) ? -errno
	                                                                                : 0;
}

static int member_make(struct pool *p, struct member *m)
{
	int rc;

	m->link = p->source.more(p->source.arg, p->members[0].link);
	if (!m->link)
		return -ENOMEM;
	rc = member_watch(p, m);
	if (!rc)
		rc = link_start(m->link);
	if (rc) {
		link_destroy(m->link);
		m->link = NULL;
	}
	return rc;
}

static int member_connect(struct pool *p, struct member *m)
{
	int rc = m->link ? 0 : member_make(p, m);

	if (!rc)
		rc = link_connect(m->link);
	if (!rc) {
		m->state = MEMBER_CONNECTING;
		m->heard = false;
	}
	return rc;
}

static void lane_refused(struct pool *p, struct pool_lane *l)
{
	const struct link_error error = {
	    .fail = LINK_FAIL_SFTP,
	    .text = "no further connection can be opened",
	};
	uint32_t id = l->id;

	pool_lane_free(l);
	p->link.events->lane_open(p->link.events_ctx, id, &error);
}

/* Its lanes are opened elsewhere. */
static void member_refuse(struct pool *p, struct member *m)
{
	struct pool_lane *l;

	m->refused = true;
	while ((l = pool_lane_on(p, m, true)))
		if (!pool_lane_move(p, l))
			lane_refused(p, l);
}

/* The next one that is wanted, unless one is being connected. */
static void connect_next(struct pool *p)
{
	if (p->state != POOL_UP || !p->started || !p->members[0].heard)
		return;
	for (unsigned i = 1; i < p->member_max; i++)
		if (p->members[i].state == MEMBER_CONNECTING)
			return;
	for (unsigned i = 1; i < p->member_max; i++) {
		struct member *m = &p->members[i];

		if (m->state != MEMBER_DOWN || m->refused || m->lane_count == 0)
			continue;
		if (member_connect(p, m) == 0)
			return;
		member_refuse(p, m);
	}
}

/* --- the end of all ------------------------------------------------------------------------ */

static void tell_down(struct pool *p)
{
	for (unsigned i = 0; i < p->member_max; i++)
		if (p->members[i].state != MEMBER_DOWN)
			return;
	for (unsigned i = 0; i < p->member_max; i++) {
		p->members[i].refused = p->members[i].retiring = false;
		p->members[i].grants_max = UINT_MAX;
	}
	p->state = POOL_DOWN;
	p->link.events->down(p->link.events_ctx, &p->error);
}

static void fall(struct pool *p, const struct link_error *error)
{
	p->error = *error;
	p->state = POOL_FALLING;
	pool_lanes_forget(p);
	for (unsigned i = 0; i < p->member_max; i++)
		if (p->members[i].state != MEMBER_DOWN)
			link_reset(p->members[i].link);
}

/* --- events of a member -------------------------------------------------------------------- */

static void on_up(void *ctx)
{
	struct member *m = ctx;
	struct pool *p = m->pool;

	struct pool_lane *l;

	m->state = MEMBER_UP;
	if (p->state == POOL_FALLING)
		return;
	if (m == &p->members[0]) {
		p->state = POOL_UP;
		p->link.events->up(p->link.events_ctx);
		return;
	}
	while ((l = pool_lane_on(p, m, true))) {
		l->wanted = false;
		if (link_open_lane(m->link, l->id, &l->spec))
			lane_refused(p, l);
	}
	connect_next(p);
}

/* It never worked: whatever seemed to be open on it has not been heard of. */
static void member_failed(struct pool *p, struct member *m, const struct link_error *error)
{
	struct pool_lane *l;

	log_info(LOG_SSH, "a further connection cannot be used: %s", error->text);
	member_refuse(p, m);
	while ((l = pool_lane_on(p, m, false))) {
		uint32_t id = l->id;

		pool_lane_free(l);
		p->link.events->lane_closed(p->link.events_ctx, id, -1);
	}
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct member *m = ctx;
	struct pool *p = m->pool;
	bool retired = m->retiring;

	m->state = MEMBER_DOWN;
	m->retiring = false;
	if (p->state == POOL_FALLING) {
		tell_down(p);
	} else if (m == &p->members[0] || (m->heard && !retired)) {
		fall(p, error);
		tell_down(p);
	} else if (retired) {
		connect_next(p);
	} else {
		member_failed(p, m, error);
		connect_next(p);
	}
}

/* The first one must say why there is none, and a command that is refused is refused everywhere. */
static bool may_be_elsewhere(const struct pool_lane *l)
{
	return l->spec.lane_class != LANE_META && !l->command;
}

static void on_lane_open(void *ctx, uint32_t id, const struct link_error *error)
{
	struct member *m = ctx;
	struct pool *p = m->pool;
	struct pool_lane *l = pool_lane_find(p, id);

	if (!l)
		return;
	if (error && may_be_elsewhere(l)) {
		/* A server that grants few on each connection grants them on the next one, too. */
		m->grants_max = m->lane_count - 1;
		if (pool_lane_move(p, l)) {
			connect_next(p);
			return;
		}
	}
	if (error)
		pool_lane_free(l);
	p->link.events->lane_open(p->link.events_ctx, id, error);
}

static void on_lane_packet(void *ctx, uint32_t id, struct data *packet, size_t len)
{
	struct member *m = ctx;
	bool first = !m->heard;

	m->heard = true;
	if (pool_lane_find(m->pool, id))
		m->pool->link.events->lane_packet(m->pool->link.events_ctx, id, packet, len);
	else
		data_unref(packet);
	if (first)
		connect_next(m->pool);
}

static void on_lane_stderr(void *ctx, uint32_t id, const uint8_t *bytes, size_t len)
{
	struct member *m = ctx;

	if (pool_lane_find(m->pool, id) && m->pool->link.events->lane_stderr)
		m->pool->link.events->lane_stderr(m->pool->link.events_ctx, id, bytes, len);
}

static void on_lane_drained(void *ctx, uint32_t id)
{
	struct member *m = ctx;

	if (pool_lane_find(m->pool, id) && m->pool->link.events->lane_drained)
		m->pool->link.events->lane_drained(m->pool->link.events_ctx, id);
}

static void on_lane_closed(void *ctx, uint32_t id, int exit_status)
{
	struct member *m = ctx;
	struct pool_lane *l = pool_lane_find(m->pool, id);

	if (!l)
		return;
	pool_lane_free(l);
	m->pool->link.events->lane_closed(m->pool->link.events_ctx, id, exit_status);
}

static const struct link_events member_events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_drained = on_lane_drained,
    .lane_closed = on_lane_closed,
};

/* --- the link ------------------------------------------------------------------------------ */

static int pool_connect(struct link *l)
{
	struct pool *p = pool_of(l);
	int rc;

	if (p->state != POOL_DOWN)
		return -EALREADY;
	rc = member_connect(p, &p->members[0]);
	if (!rc)
		p->state = POOL_CONNECTING;
	return rc;
}

static int pool_open_lane(struct link *link, uint32_t id, const struct lane_spec *spec)
{
	struct pool *p = pool_of(link);
	struct pool_lane *l;
	int rc;

	if (p->state != POOL_UP)
		return -ENOTCONN;
	rc = pool_lane_add(p, id, spec, &l);
	if (rc)
		return rc;
	if (!l->wanted)
		rc = link_open_lane(l->member->link, id, &l->spec);
	if (rc)
		pool_lane_free(l);
	else
		connect_next(p);
	return rc;
}

static void pool_send(struct link *link, struct link_packet *packet)
{
	struct pool *p = pool_of(link);
	struct pool_lane *l = pool_lane_find(p, packet->lane);

	/* A link drops what is for a lane that it does not have. */
	link_send(l ? l->member->link : p->members[0].link, packet);
}

static void pool_close_lane(struct link *link, uint32_t id)
{
	struct pool *p = pool_of(link);
	struct pool_lane *l = pool_lane_find(p, id);
	struct member *m;

	if (!l)
		return;
	m = l->member;
	if (!l->wanted)
		link_close_lane(m->link, id);
	pool_lane_free(l);
	/* A process that carries nothing else is of no further use. */
	if (m != &p->members[0] && m->lane_count == 0 && m->state == MEMBER_UP &&
	    pool_lane_max(p) == 1) {
		m->retiring = true;
		link_reset(m->link);
	}
}

/* One whose connection is not there yet has had no input: nobody will miss it. */
static void pool_end_lane(struct link *link, uint32_t id)
{
	struct pool_lane *l = pool_lane_find(pool_of(link), id);

	if (l && l->wanted)
		pool_close_lane(link, id);
	else if (l)
		link_end_lane(l->member->link, id);
}

static size_t pool_unsent_len(const struct link *l)
{
	const struct pool *p = (const struct pool *)l;
	size_t len = 0;

	for (unsigned i = 0; i < p->member_max; i++)
		if (p->members[i].link)
			len += link_unsent_len(p->members[i].link);
	return len;
}

static void pool_probe(struct link *l)
{
	struct pool *p = pool_of(l);

	for (unsigned i = 0; i < p->member_max; i++)
		if (p->members[i].state == MEMBER_UP)
			link_probe(p->members[i].link);
}

static void pool_reset(struct link *l)
{
	struct pool *p = pool_of(l);

	/* Its loss is that of all. */
	if (p->state != POOL_DOWN)
		link_reset(p->members[0].link);
}

static void pool_facts(const struct link *l, struct link_facts *out)
{
	const struct pool *p = (const struct pool *)l;

	link_facts(p->members[0].link, out);
	out->lane_max *= p->member_max;
}

static int pool_start(struct link *l)
{
	struct pool *p = pool_of(l);
	int rc = link_start(p->members[0].link);

	if (!rc) {
		p->started = true;
		connect_next(p);
	}
	return rc;
}

static int pool_step(struct link *l, int timeout_ms)
{
	return link_step(pool_of(l)->members[0].link, timeout_ms);
}

static int pool_dispatch_fd(const struct link *l)
{
	return ((const struct pool *)l)->epoll_fd;
}

static void pool_dispatch(struct link *l)
{
	struct pool *p = pool_of(l);

	for (unsigned i = 0; i < p->member_max; i++)
		if (p->members[i].link)
			link_dispatch(p->members[i].link);
}

static void pool_destroy(struct link *l)
{
	struct pool *p = pool_of(l);

	/* The first one lends the others what they need. */
	for (unsigned i = p->member_max; i-- > 0;)
		link_destroy(p->members[i].link);
	pool_lanes_forget(p);
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	if (p->source.finish)
		p->source.finish(p->source.arg);
	free(p);
}

static const struct link_ops pool_ops = {
    .connect = pool_connect,
    .open_lane = pool_open_lane,
    .send = pool_send,
    .end_lane = pool_end_lane,
    .close_lane = pool_close_lane,
    .unsent_len = pool_unsent_len,
    .probe = pool_probe,
    .reset = pool_reset,
    .facts = pool_facts,
    .start = pool_start,
    .step = pool_step,
    .dispatch_fd = pool_dispatch_fd,
    .dispatch = pool_dispatch,
    .destroy = pool_destroy,
};

struct link *pool_link_create(struct link *first, unsigned link_max,
                              const struct pool_source *source)
{
	struct pool *p = calloc(1, sizeof(*p) + link_max * sizeof(p->members[0]));

	if (!p)
		goto finish_source;
	p->link.ops = &pool_ops;
	p->source = *source;
	p->member_max = link_max;
	list_init(&p->lanes);
	for (unsigned i = 0; i < link_max; i++)
		p->members[i] = (struct member){.pool = p, .grants_max = UINT_MAX};
	p->members[0].link = first;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd >= 0 && member_watch(p, &p->members[0]) == 0)
		return &p->link;
	pool_destroy(&p->link);
	return NULL;

finish_source:
	link_destroy(first);
	if (source->finish)
		source->finish(source->arg);
	return NULL;
}
