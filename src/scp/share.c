/* SPDX-License-Identifier: BSD-2-Clause */
/* One link for two users. Contract: include/scp/share.h. */
#include "scp/share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define USER_COUNT 2

/* A lane that is open or opening. */
struct share_lane {
	struct list entry;
	uint32_t id;      /* the user's */
	uint32_t real_id; /* never used before: the users that come after count from 1 again */
};

struct share_user {
	struct link link;
	struct scp_share *share;
	uint32_t index;
	struct list lanes;
	bool sees_up; /* `up` was delivered, `down` was not */
	bool up_owed; /* held: to be delivered by the next dispatch */
	bool down_owed;
};

struct scp_share {
	struct link *real;
	struct share_user users[USER_COUNT]; /* main, side */
	uint32_t real_next_id;
	bool held;
	bool up;
	bool was_up;
};

static struct share_user *user_of(const struct link *l)
{
	return list_entry(l, struct share_user, link);
}

static struct share_lane *lane_find(const struct share_user *u, uint32_t id)
{
	list_for_each(e, &u->lanes) {
		struct share_lane *l = list_entry(e, struct share_lane, entry);

		if (l->id == id)
			return l;
	}
	return NULL;
}

/* The user and its number of a lane of the real link. Return: NULL when nobody wants it any more. */
static struct share_user *user_of_lane(struct scp_share *s, uint32_t *lane)
{
	for (unsigned i = 0; i < USER_COUNT; i++) {
		list_for_each(e, &s->users[i].lanes) {
			struct share_lane *l = list_entry(e, struct share_lane, entry);

			if (l->real_id == *lane) {
				*lane = l->id;
				return s->users[i].link.events ? &s->users[i] : NULL;
			}
		}
	}
	return NULL;
}

static void lane_free(struct share_lane *l)
{
	list_del(&l->entry);
	free(l);
}

/*
 * `end`: their programs are told to end, and what comes of them is dropped. Closing the lanes instead
 * makes dropbear 2022.83 drop the connection when a program has something to say at that moment.
 */
static void lanes_forget(struct share_user *u, bool end)
{
	while (!list_empty(&u->lanes)) {
		struct share_lane *l = list_entry(u->lanes.next, struct share_lane, entry);

		if (end)
			link_end_lane(u->share->real, l->real_id);
		lane_free(l);
	}
}

/* --- events ------------------------------------------------------------------------------- */

static void tell_up(struct share_user *u)
{
	u->up_owed = false;
	u->sees_up = true;
	if (u->link.events && u->link.events->up)
		u->link.events->up(u->link.events_ctx);
}

static void tell_down(struct share_user *u, const struct link_error *error)
{
	u->down_owed = false;
	u->sees_up = false;
	lanes_forget(u, false);
	if (u->link.events && u->link.events->down)
		u->link.events->down(u->link.events_ctx, error);
}

static void on_up(void *ctx)
{
	struct scp_share *s = ctx;

	s->up = s->was_up = true;
	for (unsigned i = 0; i < USER_COUNT; i++)
		tell_up(&s->users[i]);
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct scp_share *s = ctx;

	s->up = false;
	/* The side first: the main user may connect again at once. */
	for (unsigned i = USER_COUNT; i-- > 0;)
		tell_down(&s->users[i], error);
}

static void on_lane_open(void *ctx, uint32_t lane, const struct link_error *error)
{
	struct share_user *u = user_of_lane(ctx, &lane);

	if (!u)
		return;
	if (error)
		lane_free(lane_find(u, lane));
	if (u->link.events->lane_open)
		u->link.events->lane_open(u->link.events_ctx, lane, error);
}

static void on_lane_packet(void *ctx, uint32_t lane, struct data *packet, size_t len)
{
	struct share_user *u = user_of_lane(ctx, &lane);

	if (u && u->link.events->lane_packet)
		u->link.events->lane_packet(u->link.events_ctx, lane, packet, len);
	else
		data_unref(packet);
}

static void on_lane_stderr(void *ctx, uint32_t lane, const uint8_t *bytes, size_t len)
{
	struct share_user *u = user_of_lane(ctx, &lane);

	if (u && u->link.events->lane_stderr)
		u->link.events->lane_stderr(u->link.events_ctx, lane, bytes, len);
}

static void on_lane_drained(void *ctx, uint32_t lane)
{
	struct share_user *u = user_of_lane(ctx, &lane);

	if (u && u->link.events->lane_drained)
		u->link.events->lane_drained(u->link.events_ctx, lane);
}

static void on_lane_closed(void *ctx, uint32_t lane, int exit_status)
{
	struct share_user *u = user_of_lane(ctx, &lane);

	if (!u)
		return;
	lane_free(lane_find(u, lane));
	if (u->link.events->lane_closed)
		u->link.events->lane_closed(u->link.events_ctx, lane, exit_status);
}

static const struct link_events share_events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_drained = on_lane_drained,
    .lane_closed = on_lane_closed,
};

/* --- calls --------------------------------------------------------------------------------- */

static int op_connect(struct link *l)
{
	struct share_user *u = user_of(l);

	if (u->sees_up || u->index != 0)
		return -EALREADY;
	if (!u->share->up)
		return link_connect(u->share->real);
	u->up_owed = true;
	return 0;
}

static int op_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	struct share_user *u = user_of(l);
	struct share_lane *sl;
	int err;

	if (!u->sees_up)
		return -ENOTCONN;
	sl = malloc(sizeof(*sl));
	if (!sl)
		return -ENOMEM;
	sl->id = lane;
	sl->real_id = ++u->share->real_next_id;
	err = link_open_lane(u->share->real, sl->real_id, spec);
	if (err) {
		free(sl);
		return err;
	}
	list_push_back(&u->lanes, &sl->entry);
	return 0;
}

static void op_send(struct link *l, struct link_packet *p)
{
	struct share_user *u = user_of(l);
	struct share_lane *sl = lane_find(u, p->lane);

	/* One that is gone: the real link knows no lane 0 and drops the packet. */
	p->lane = sl ? sl->real_id : 0;
	link_send(u->share->real, p);
}

static void op_end_lane(struct link *l, uint32_t lane)
{
	struct share_user *u = user_of(l);
	struct share_lane *sl = lane_find(u, lane);

	if (sl)
		link_end_lane(u->share->real, sl->real_id);
}

static void op_close_lane(struct link *l, uint32_t lane)
{
	struct share_user *u = user_of(l);
	struct share_lane *sl = lane_find(u, lane);

	if (!sl)
		return;
	link_close_lane(u->share->real, sl->real_id);
	lane_free(sl);
}

static size_t op_unsent_len(const struct link *l)
{
	return link_unsent_len(user_of(l)->share->real);
}

static void op_probe(struct link *l)
{
	link_probe(user_of(l)->share->real);
}

static void op_reset(struct link *l)
{
	struct share_user *u = user_of(l);

	if (!u->share->held || u->index != 0) {
		link_reset(u->share->real);
		return;
	}
	lanes_forget(u, true);
	u->down_owed = u->sees_up;
	u->sees_up = false;
}

static void op_facts(const struct link *l, struct link_facts *out)
{
	link_facts(user_of(l)->share->real, out);
}

static int op_start(struct link *l)
{
	return link_start(user_of(l)->share->real);
}

static int op_step(struct link *l, int timeout_ms)
{
	struct share_user *u = user_of(l);

	return link_step(u->share->real, u->up_owed || u->down_owed ? 0 : timeout_ms);
}

static int op_dispatch_fd(const struct link *l)
{
	return link_dispatch_fd(user_of(l)->share->real);
}

static void op_dispatch(struct link *l)
{
	static const struct link_error given_up = {.fail = LINK_FAIL_SFTP};
	struct share_user *u = user_of(l);

	if (u->down_owed)
		tell_down(u, &given_up);
	if (u->up_owed)
		tell_up(u);
	link_dispatch(u->share->real);
}

static void op_destroy(struct link *l)
{
	struct share_user *u = user_of(l);
	struct scp_share *s = u->share;

	lanes_forget(u, s->held);
	u->link.events = NULL;
	u->sees_up = u->up_owed = u->down_owed = false;
	if (s->held || u->index != 0)
		return;
	/* Everything ends with the main user. */
	link_destroy(s->real);
	s->real = NULL;
}

static const struct link_ops share_ops = {
    .connect = op_connect,
    .open_lane = op_open_lane,
    .send = op_send,
    .end_lane = op_end_lane,
    .close_lane = op_close_lane,
    .unsent_len = op_unsent_len,
    .probe = op_probe,
    .reset = op_reset,
    .facts = op_facts,
    .start = op_start,
    .step = op_step,
    .dispatch_fd = op_dispatch_fd,
    .dispatch = op_dispatch,
    .destroy = op_destroy,
};

struct scp_share *scp_share_create(struct link *link)
{
	struct scp_share *s = calloc(1, sizeof(*s));

	if (!s) {
		link_destroy(link);
		return NULL;
	}
	s->real = link;
	link->events = &share_events;
	link->events_ctx = s;
	for (uint32_t i = 0; i < USER_COUNT; i++) {
		s->users[i].link.ops = &share_ops;
		s->users[i].share = s;
		s->users[i].index = i;
		list_init(&s->users[i].lanes);
	}
	return s;
}

struct link *scp_share_main(struct scp_share *s)
{
	return &s->users[0].link;
}

struct link *scp_share_side(struct scp_share *s)
{
	return &s->users[1].link;
}

bool scp_share_hold(struct scp_share *s, bool hold)
{
	s->held = hold;
	return s->was_up;
}

void scp_share_destroy(struct scp_share *s)
{
	if (!s)
		return;
	link_destroy(s->real);
	for (unsigned i = 0; i < USER_COUNT; i++)
		lanes_forget(&s->users[i], false);
	free(s);
}
