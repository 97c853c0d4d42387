/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front of a connection: the link_*() calls of the loop, and delivery of events.
 * Room: ssh. Thread: the loop, except thread_main(). See the notes in include/ssh/conn.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "conn_message.h"
#include "ssh/conn.h"
#include "util/log.h"

/* A lane whose events the user still wants. At most lane_max of them: a list will do. */
struct front_lane {
	struct list entry;
	uint32_t id;
};

static struct conn *conn_of(struct link *l)
{
	return (struct conn *)l;
}

void conn_command_free(struct conn_command *cmd)
{
	free(cmd->command);
	free(cmd);
}

void conn_packet_free(struct link_packet *p)
{
	data_unref(p->head);
	data_unref(p->body);
	free(p);
}

static void event_free(struct conn *c, struct conn_event *e)
{
	if (e->data)
		atomic_fetch_sub_explicit(&c->undelivered_len, e->len, memory_order_relaxed);
	data_unref(e->data);
	free(e->error);
	free(e);
}

static struct front_lane *front_lane_find(struct conn *c, uint32_t id)
{
	list_for_each(pos, &c->front_lanes) {
		struct front_lane *fl = list_entry(pos, struct front_lane, entry);

		if (fl->id == id)
			return fl;
	}
	return NULL;
}

static void front_lane_free(struct front_lane *fl)
{
	list_del(&fl->entry);
	free(fl);
}

static void front_lanes_forget(struct conn *c)
{
	while (!list_empty(&c->front_lanes))
		front_lane_free(list_entry(c->front_lanes.next, struct front_lane, entry));
}

static int command_post(struct conn *c, enum conn_command_type type, uint32_t lane)
{
	struct conn_command *cmd = calloc(1, sizeof(*cmd));

	if (!cmd)
		return -ENOMEM;
	cmd->type = type;
	cmd->lane = lane;
	mailbox_post(&c->commands, &cmd->entry);
	return 0;
}

static int front_connect(struct link *l)
{
	struct conn *c = conn_of(l);
	int rc;

	if (c->front_state != CONN_DOWN)
		return -EALREADY;
	rc = command_post(c, CONN_COMMAND_CONNECT, 0);
	if (rc == 0)
		c->front_state = CONN_CONNECTING;
	return rc;
}

static int front_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	struct conn *c = conn_of(l);
	struct conn_command *cmd;
	struct front_lane *fl;

	if (c->front_state != CONN_UP)
		return -ENOTCONN;
	cmd = calloc(1, sizeof(*cmd));
	fl = calloc(1, sizeof(*fl));
	if (!cmd || !fl)
		goto free_both;
	cmd->type = CONN_COMMAND_OPEN_LANE;
	cmd->lane = lane;
	cmd->lane_class = spec->lane_class;
	cmd->budget = spec->budget;
	cmd->packet_len_max = spec->packet_len_max;
	if (spec->command) {
		cmd->command = strdup(spec->command);
		if (!cmd->command)
			goto free_both;
	}
	fl->id = lane;
	list_push_back(&c->front_lanes, &fl->entry);
	mailbox_post(&c->commands, &cmd->entry);
	return 0;

free_both:
	free(cmd);
	free(fl);
	return -ENOMEM;
}

static void front_send(struct link *l, struct link_packet *p)
{
	struct conn *c = conn_of(l);

	if (c->front_state != CONN_UP || !front_lane_find(c, p->lane)) {
		conn_packet_free(p);
		return;
	}
	atomic_fetch_add_explicit(&c->unsent_len, p->head_len + p->body_len, memory_order_relaxed);
	mailbox_post(&c->packets, &p->entry);
}

static void front_end_lane(struct link *l, uint32_t lane)
{
	struct conn *c = conn_of(l);

	/* Without memory the command waits until the connection ends. */
	if (front_lane_find(c, lane) && command_post(c, CONN_COMMAND_END_LANE, lane))
		log_error(LOG_SSH, "lane=%u is not ended: out of memory", lane);
}

static void front_close_lane(struct link *l, uint32_t lane)
{
	struct conn *c = conn_of(l);
	struct front_lane *fl = front_lane_find(c, lane);

	if (!fl)
		return;
	front_lane_free(fl);
	/* Without memory the lane stays open and silent until the connection ends. */
	if (command_post(c, CONN_COMMAND_CLOSE_LANE, lane))
		log_error(LOG_SSH, "lane=%u is left open: out of memory", lane);
}

static size_t front_unsent_len(const struct link *l)
{
	const struct conn *c = (const struct conn *)l;

	return atomic_load_explicit(&c->unsent_len, memory_order_relaxed) +
	       atomic_load_explicit(&c->buffered_len, memory_order_relaxed);
}

static void front_probe(struct link *l)
{
	command_post(conn_of(l), CONN_COMMAND_PROBE, 0);
}

static void front_reset(struct link *l)
{
	struct conn *c = conn_of(l);

	if (c->front_state == CONN_DOWN)
		return;
	if (command_post(c, CONN_COMMAND_RESET, 0))
		log_error(LOG_SSH, "cannot reset the connection: out of memory");
}

static void front_facts(const struct link *l, struct link_facts *out)
{
	struct conn *c = conn_of((struct link *)l);

	pthread_mutex_lock(&c->facts_lock);
	*out = c->facts;
	pthread_mutex_unlock(&c->facts_lock);
}

static void *thread_main(void *arg)
{
	struct conn *c = arg;

	while (!c->stopping)
		conn_turn(c, -1);
	conn_back_end(c);
	return NULL;
}

static int front_start(struct link *l)
{
	struct conn *c = conn_of(l);
	sigset_t all, old;
	int rc;

	if (c->started)
		return -EALREADY;
	/* Signals belong to the loop thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&c->thread, NULL, thread_main, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	c->started = rc == 0;
	return rc;
}

/* Events that wait are a reason not to wait for the network. */
static bool events_waiting(struct conn *c)
{
	struct pollfd pfd = {.fd = c->events.fd, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

static int front_step(struct link *l, int timeout_ms)
{
	struct conn *c = conn_of(l);

	if (c->started)
		return -EALREADY;
	conn_turn(c, events_waiting(c) ? 0 : timeout_ms);
	return 0;
}

static int front_dispatch_fd(const struct link *l)
{
	return ((const struct conn *)l)->events.fd;
}

static void deliver_lane(struct conn *c, struct conn_event *e)
{
	const struct link_events *ev = c->link.events;
	struct front_lane *fl = front_lane_find(c, e->lane);
	struct data *data = e->data;

	if (!fl)
		return;
	switch (e->type) {
	case CONN_EVENT_LANE_OPEN:
		if (e->error)
			front_lane_free(fl);
		if (ev->lane_open)
			ev->lane_open(c->link.events_ctx, e->lane, e->error);
		break;
	case CONN_EVENT_PACKET:
		atomic_fetch_sub_explicit(&c->undelivered_len, e->len, memory_order_relaxed);
		e->data = NULL;
		if (ev->lane_packet)
			ev->lane_packet(c->link.events_ctx, e->lane, data, e->len);
		else
			data_unref(data);
		break;
	case CONN_EVENT_STDERR:
		if (ev->lane_stderr)
			ev->lane_stderr(c->link.events_ctx, e->lane, e->data->bytes, e->len);
		break;
	case CONN_EVENT_LANE_DRAINED:
		if (ev->lane_drained)
			ev->lane_drained(c->link.events_ctx, e->lane);
		break;
	case CONN_EVENT_LANE_CLOSED:
		front_lane_free(fl);
		if (ev->lane_closed)
			ev->lane_closed(c->link.events_ctx, e->lane, e->exit_status);
		break;
	default:
		break;
	}
}

static void deliver(struct conn *c, struct conn_event *e)
{
	const struct link_events *ev = c->link.events;

	if (e->type == CONN_EVENT_UP) {
		c->front_state = CONN_UP;
		if (ev->up)
			ev->up(c->link.events_ctx);
	} else if (e->type == CONN_EVENT_DOWN) {
		c->front_state = CONN_DOWN;
		front_lanes_forget(c);
		if (ev->down)
			ev->down(c->link.events_ctx, e->error);
	} else {
		deliver_lane(c, e);
	}
}

static void front_dispatch(struct link *l)
{
	struct conn *c = conn_of(l);
	struct list events;

	list_init(&events);
	mailbox_take(&c->events, &events);
	while (!list_empty(&events)) {
		struct conn_event *e = list_entry(events.next, struct conn_event, entry);

		list_del(&e->entry);
		deliver(c, e);
		event_free(c, e);
	}
}

static void drop_messages(struct conn *c)
{
	struct list left;

	list_init(&left);
	list_splice(&left, &c->taken_commands);
	mailbox_take(&c->commands, &left);
	list_for_each_safe(pos, tmp, &left)
		conn_command_free(list_entry(pos, struct conn_command, entry));

	list_init(&left);
	mailbox_take(&c->packets, &left);
	list_for_each_safe(pos, tmp, &left)
		conn_packet_free(list_entry(pos, struct link_packet, entry));

	list_init(&left);
	mailbox_take(&c->events, &left);
	list_for_each_safe(pos, tmp, &left)
		event_free(c, list_entry(pos, struct conn_event, entry));
}

static void front_destroy(struct link *l)
{
	struct conn *c = conn_of(l);

	if (c->started) {
		while (command_post(c, CONN_COMMAND_STOP, 0))
			; /* the thread cannot be left behind: memory must come back */
		pthread_join(c->thread, NULL);
	} else {
		conn_back_end(c);
	}
	drop_messages(c);
	front_lanes_forget(c);
	c->ops->finish(c);
	mailbox_finish(&c->commands);
	mailbox_finish(&c->packets);
	mailbox_finish(&c->events);
	pthread_mutex_destroy(&c->facts_lock);
	free(c);
}

const struct link_ops conn_link_ops = {
    .connect = front_connect,
    .open_lane = front_open_lane,
    .send = front_send,
    .end_lane = front_end_lane,
    .close_lane = front_close_lane,
    .unsent_len = front_unsent_len,
    .probe = front_probe,
    .reset = front_reset,
    .facts = front_facts,
    .start = front_start,
    .step = front_step,
    .dispatch_fd = front_dispatch_fd,
    .dispatch = front_dispatch,
    .destroy = front_destroy,
};
