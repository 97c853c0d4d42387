/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back of a connection: commands, lanes and their queues, the thread.
 * Room: ssh. Thread: see the notes in include/ssh/conn.h; everything here runs on the back, except
 * conn_init(). The front is conn_front.c.
 */
#include "ssh/conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conn_message.h"
#include "util/log.h"

/* Received and not dispatched: beyond this the back stops reading. The windows of all lanes. */
#define UNDELIVERED_MAX_LEN ((size_t)256 << 20)

/* How soon a congested or busy back looks again. */
#define CONGESTED_WAIT_MS 5

#define WAIT_FD_MAX 4

int64_t conn_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void __attribute__((format(printf, 3, 0)))
error_vset(struct link_error *err, enum link_fail fail, const char *fmt, va_list ap)
{
	err->fail = fail;
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	/* A server's words are in it: one line, no control characters. */
	for (unsigned char *p = (unsigned char *)err->text; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
}

void conn_error(struct link_error *err, enum link_fail fail, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fail, fmt, ap);
	va_end(ap);
}

void conn_fail(struct conn *c, enum link_fail fail, const char *fmt, ...)
{
	va_list ap;

	if (c->failed)
		return;
	c->failed = true;
	va_start(ap, fmt);
	error_vset(&c->failure, fail, fmt, ap);
	va_end(ap);
}

int conn_init(struct conn *c, const struct conn_ops *ops, unsigned lane_max, bool probes)
{
	int rc;

	c->link.ops = &conn_link_ops;
	c->ops = ops;
	c->lane_max = lane_max;
	c->probes = probes;
	c->facts.probes = probes;
	c->facts.lane_max = lane_max;
	list_init(&c->front_lanes);
	list_init(&c->taken_commands);
	list_init(&c->lanes);
	rc = mailbox_init(&c->commands);
	if (rc)
		return rc;
	rc = mailbox_init(&c->packets);
	if (rc)
		goto finish_commands;
	rc = mailbox_init(&c->events);
	if (rc)
		goto finish_packets;
	rc = -pthread_mutex_init(&c->facts_lock, NULL);
	if (rc)
		goto finish_events;
	return 0;

finish_events:
	mailbox_finish(&c->events);
finish_packets:
	mailbox_finish(&c->packets);
finish_commands:
	mailbox_finish(&c->commands);
	return rc;
}

/* --- events towards the front -------------------------------------------------------------- */

static struct conn_event *event_create(enum conn_event_type type, uint32_t lane)
{
	struct conn_event *e = calloc(1, sizeof(*e));

	if (e) {
		e->type = type;
		e->lane = lane;
	}
	return e;
}

static bool event_try_post(struct conn *c, enum conn_event_type type, uint32_t lane,
                           const struct link_error *err)
{
	struct conn_event *e = event_create(type, lane);

	if (e && err) {
		e->error = malloc(sizeof(*e->error));
		if (e->error)
			*e->error = *err;
	}
	if (!e || (err && !e->error)) {
		free(e);
		return false;
	}
	mailbox_post(&c->events, &e->entry);
	return true;
}

static void event_post(struct conn *c, enum conn_event_type type, uint32_t lane,
                       const struct link_error *err)
{
	if (!event_try_post(c, type, lane, err))
		conn_fail(c, LINK_FAIL_NETWORK, "out of memory");
}

static void packet_post(void *arg, struct data *packet, size_t len)
{
	struct lane *l = arg;
	struct conn_event *e = event_create(CONN_EVENT_PACKET, l->id);

	if (!e) {
		data_unref(packet);
		conn_fail(l->conn, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	e->data = packet;
	e->len = len;
	atomic_fetch_add_explicit(&l->conn->undelivered_len, len, memory_order_relaxed);
	mailbox_post(&l->conn->events, &e->entry);
}

bool conn_congested(struct conn *c)
{
	return atomic_load_explicit(&c->undelivered_len, memory_order_relaxed) >
	       UNDELIVERED_MAX_LEN;
}

static void bytes_post(struct lane *l, enum conn_event_type type, const uint8_t *bytes, size_t len)
{
	struct data *d = data_create(NULL, len);
	struct conn_event *e = event_create(type, l->id);

	if (!d || !e) {
		data_unref(d);
		free(e);
		conn_fail(l->conn, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	memcpy(d->bytes, bytes, len);
	e->data = d;
	e->len = len;
	atomic_fetch_add_explicit(&l->conn->undelivered_len, len, memory_order_relaxed);
	mailbox_post(&l->conn->events, &e->entry);
}

void conn_lane_received(struct lane *l, const uint8_t *bytes, size_t len)
{
	int rc;

	if (l->state != LANE_OPEN || len == 0)
		return;
	if (l->raw) {
		bytes_post(l, CONN_EVENT_PACKET, bytes, len);
		return;
	}
	rc = framer_push(&l->framer, bytes, len, packet_post, l);
	if (rc == -EMSGSIZE)
		conn_fail(l->conn, LINK_FAIL_SFTP,
		          "the server sent a packet of %zu bytes where at most %zu are allowed: "
		          "it does not speak SFTP, or a login script prints text; check what "
		          "'ssh HOST true' prints",
		          l->framer.packet_len, l->framer.packet_len_max);
	else if (rc)
		conn_fail(l->conn, LINK_FAIL_NETWORK, "out of memory");
}

void conn_lane_stderr(struct lane *l, const uint8_t *bytes, size_t len)
{
	if (l->state == LANE_OPEN && len > 0)
		bytes_post(l, CONN_EVENT_STDERR, bytes, len);
}

void conn_lane_opened(struct lane *l)
{
	l->state = LANE_OPEN;
	event_post(l->conn, CONN_EVENT_LANE_OPEN, l->id, NULL);
}

void conn_lane_refused(struct lane *l, const struct link_error *err)
{
	l->state = LANE_CLOSED;
	event_post(l->conn, CONN_EVENT_LANE_OPEN, l->id, err);
}

void conn_lane_drained(struct lane *l)
{
	if (l->raw && l->state == LANE_OPEN)
		event_post(l->conn, CONN_EVENT_LANE_DRAINED, l->id, NULL);
}

void conn_lane_ended(struct lane *l)
{
	struct conn_event *e;

	if (l->state == LANE_CLOSED)
		return;
	l->state = LANE_CLOSED;
	e = event_create(CONN_EVENT_LANE_CLOSED, l->id);
	if (!e) {
		conn_fail(l->conn, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	e->exit_status = l->exit_status;
	mailbox_post(&l->conn->events, &e->entry);
}

/* --- lanes and their queues ---------------------------------------------------------------- */

static struct lane *lane_find(struct conn *c, uint32_t id)
{
	list_for_each(pos, &c->lanes) {
		struct lane *l = list_entry(pos, struct lane, entry);

		if (l->id == id)
			return l;
	}
	return NULL;
}

/* Lanes are kept in class order, and in order of opening within a class. */
static void lane_insert(struct conn *c, struct lane *lane)
{
	struct list *at = &c->lanes;

	list_for_each(pos, &c->lanes) {
		if (list_entry(pos, struct lane, entry)->lane_class > lane->lane_class) {
			at = pos;
			break;
		}
	}
	list_insert(at, &lane->entry);
}

static void lane_end(struct lane *l)
{
	lane_discard(l);
	framer_finish(&l->framer);
	list_del(&l->entry);
	free(l->command);
	l->conn->ops->lane_destroy(l);
}

static void lane_begin(struct conn *c, struct conn_command *cmd)
{
	struct lane *l = c->ops->lane_create(c);

	if (!l) {
		conn_fail(c, LINK_FAIL_NETWORK, "out of memory");
		return;
	}
	l->conn = c;
	l->id = cmd->lane;
	l->lane_class = cmd->lane_class;
	l->command = cmd->command;
	cmd->command = NULL;
	l->raw = cmd->packet_len_max == 0;
	l->state = LANE_OPENING;
	l->exit_status = -1;
	list_init(&l->out);
	framer_init(&l->framer, cmd->budget, cmd->packet_len_max);
	lane_insert(c, l);
	c->ops->lane_open(l);
}

/* --- turns --------------------------------------------------------------------------------- */

static void conn_lanes_end(struct conn *c)
{
	while (!list_empty(&c->lanes))
		lane_end(list_entry(c->lanes.next, struct lane, entry));
}

static void conn_go_down(struct conn *c, const struct link_error *err, bool polite)
{
	/* An impolite end fences first: freeing channels would still send their CLOSE. */
	if (!polite)
		c->ops->fence(c, false);
	conn_lanes_end(c);
	if (polite)
		c->ops->fence(c, true);
	atomic_store_explicit(&c->buffered_len, 0, memory_order_relaxed);
	c->state = CONN_DOWN;
	c->failed = false;
	if (err) {
		/* Whoever hears of it says so to the user, once. */
		log_debug(LOG_SSH, "connection down: %s", err->text);
		/* The loop waits for this one above all: memory must come back. */
		while (!event_try_post(c, CONN_EVENT_DOWN, 0, err))
			poll(NULL, 0, CONGESTED_WAIT_MS);
	}
}

static void conn_connect(struct conn *c)
{
	struct link_error err = {.fail = LINK_FAIL_NETWORK};
	int rc;

	if (c->state != CONN_DOWN)
		return;
	c->state = CONN_CONNECTING;
	c->cancelled = false;
	c->failed = false;
	rc = c->ops->connect(c, &err);
	if (rc == 0) {
		c->state = CONN_UP;
		c->first_done = true;
		event_post(c, CONN_EVENT_UP, 0, NULL);
		return;
	}
	if (rc == -ECANCELED)
		conn_error(&err, LINK_FAIL_NETWORK, "the attempt to connect was given up");
	else if (!err.text[0])
		conn_error(&err, err.fail, "%s", strerror(-rc));
	conn_go_down(c, &err, false);
}

static void command_run(struct conn *c, struct conn_command *cmd)
{
	struct lane *l;

	switch (cmd->type) {
	case CONN_COMMAND_CONNECT:
		conn_connect(c);
		break;
	case CONN_COMMAND_OPEN_LANE:
		if (c->state == CONN_UP)
			lane_begin(c, cmd);
		break;
	case CONN_COMMAND_END_LANE:
		l = lane_find(c, cmd->lane);
		if (l)
			l->ending = c->sweep_due = true;
		break;
	case CONN_COMMAND_CLOSE_LANE:
		l = lane_find(c, cmd->lane);
		if (l)
			l->closing = c->sweep_due = true;
		break;
	case CONN_COMMAND_PROBE:
		if (c->state == CONN_UP && c->ops->probe)
			c->ops->probe(c);
		break;
	case CONN_COMMAND_RESET:
		if (c->state == CONN_UP)
			conn_fail(c, LINK_FAIL_NETWORK, "the connection was given up");
		break;
	case CONN_COMMAND_STOP:
		c->stopping = true;
		break;
	}
}

/*
 * Commands first: a lane is opened before its packets come. A close that overtakes packets does no
 * harm because it waits for an empty queue, which is looked at after the packets.
 */
static void conn_take(struct conn *c)
{
	struct list packets;

	mailbox_take(&c->commands, &c->taken_commands);
	while (!list_empty(&c->taken_commands)) {
		struct conn_command *cmd =
		    list_entry(c->taken_commands.next, struct conn_command, entry);

		list_del(&cmd->entry);
		command_run(c, cmd);
		conn_command_free(cmd);
	}

	list_init(&packets);
	mailbox_take(&c->packets, &packets);
	list_for_each_safe(pos, tmp, &packets) {
		struct link_packet *p = list_entry(pos, struct link_packet, entry);
		struct lane *l = lane_find(c, p->lane);

		list_del(pos);
		if (l && l->state != LANE_CLOSED)
			list_push_back(&l->out, &p->entry);
		else
			lane_packet_drop(c, p, 0);
	}
}

static void conn_sweep(struct conn *c)
{
	c->sweep_due = false;
	list_for_each_safe(pos, tmp, &c->lanes) {
		struct lane *l = list_entry(pos, struct lane, entry);

		if (l->state == LANE_OPEN && l->ending && list_empty(&l->out)) {
			l->ending = false;
			if (c->ops->lane_send_end)
				c->ops->lane_send_end(l);
		}
		/* One that is being opened can only be closed when it is open. */
		if (l->state == LANE_CLOSED ||
		    (l->state == LANE_OPEN && l->closing && list_empty(&l->out)))
			lane_end(l);
	}
}

void conn_turn(struct conn *c, int timeout_ms)
{
	struct link_error err = {0};

	conn_take(c);
	if (c->state == CONN_UP) {
		if (!c->stopping && !c->failed) {
			int rc = c->ops->pump(c, timeout_ms, &err);

			if (rc)
				conn_fail(c, err.fail, "%s", err.text);
		}
		conn_sweep(c);
		if (c->failed) {
			err = c->failure;
			conn_go_down(c, &err, false);
		}
	} else if (!c->stopping) {
		conn_idle(c, NULL, 0, timeout_ms);
	}
}

void conn_back_end(struct conn *c)
{
	if (c->state == CONN_UP)
		conn_go_down(c, NULL, true);
}

bool conn_idle(struct conn *c, struct pollfd *fds, unsigned count, int timeout_ms)
{
	struct pollfd all[WAIT_FD_MAX + 2];
	bool ready = false;

	if (c->sweep_due)
		return false;
	for (unsigned i = 0; i < count; i++) {
		all[i] = fds[i];
		all[i].revents = 0;
	}
	all[count] = (struct pollfd){.fd = c->commands.fd, .events = POLLIN};
	all[count + 1] = (struct pollfd){.fd = c->packets.fd, .events = POLLIN};
	if (conn_congested(c) && (timeout_ms < 0 || timeout_ms > CONGESTED_WAIT_MS))
		timeout_ms = CONGESTED_WAIT_MS;
	if (poll(all, count + 2, timeout_ms) < 0)
		return false;
	for (unsigned i = 0; i < count; i++) {
		fds[i].revents = all[i].revents;
		ready |= all[i].revents != 0;
	}
	return ready;
}

/* Commands that arrive while connecting wait, but those that end the attempt are noticed. */
static bool conn_asked_to_stop(struct conn *c)
{
	mailbox_take(&c->commands, &c->taken_commands);
	list_for_each(pos, &c->taken_commands) {
		enum conn_command_type type = list_entry(pos, struct conn_command, entry)->type;

		if (type == CONN_COMMAND_RESET || type == CONN_COMMAND_STOP)
			c->cancelled = true;
	}
	return c->cancelled;
}

int conn_wait(struct conn *c, struct pollfd *fds, unsigned count, int64_t deadline_ms)
{
	struct pollfd all[WAIT_FD_MAX + 1];

	if (conn_asked_to_stop(c))
		return -ECANCELED;
	for (unsigned i = 0; i < count; i++)
		all[i] = fds[i];
	all[count] = (struct pollfd){.fd = c->commands.fd, .events = POLLIN};
	for (;;) {
		int64_t left = deadline_ms ? deadline_ms - conn_now_ms() : -1;
		int n;

		if (deadline_ms && left < 0)
			left = 0;
		n = poll(all, count + 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0) {
			if (n == 0)
				return 0;
			continue;
		}
		if (all[count].revents && conn_asked_to_stop(c))
			return -ECANCELED;
		for (unsigned i = 0; i < count; i++)
			fds[i].revents = all[i].revents;
		n -= all[count].revents != 0;
		if (n > 0)
			return n;
	}
}
