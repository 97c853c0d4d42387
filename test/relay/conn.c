/* SPDX-License-Identifier: BSD-2-Clause */
#include "conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ingress.h"
#include "trigger.h"

#define READ_LEN  (256 * 1024) /* bytes per read(2) */
#define IOV_COUNT 16

struct relay_config config;

static int epoll_fd = -1;
static struct conn *conns;
static uint32_t next_serial = 1;
static int64_t shared_free_us[2];

int conn_setup(int fd)
{
	epoll_fd = fd;
	return 0;
}

static void reset_and_close(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

static void conn_finish(struct conn *c, bool reset)
{
	if (c->dead)
		return;
	c->dead = true;
	for (int s = 0; s < 2; s++) {
		if (reset)
			reset_and_close(c->side[s].fd);
		else
			close(c->side[s].fd);
		queue_clear(&c->queue[s]);
	}
	stats.active--;
	if (c->stats != NULL)
		c->stats->open = false;
}

static void side_watch(struct conn_side *side, uint32_t mask)
{
	struct epoll_event ev = {.events = mask, .data.ptr = side};

	if (side->mask == mask)
		return;
	epoll_ctl(epoll_fd,
	          mask == 0         ? EPOLL_CTL_DEL
	          : side->mask == 0 ? EPOLL_CTL_ADD
	                            : EPOLL_CTL_MOD,
	          side->fd, &ev);
	side->mask = mask;
}

static bool may_forward(const struct conn *c, enum dir dir)
{
	return !c->stalled && !c->held[dir] && !c->side[!dir].connecting;
}

/* Interest follows from state, so it is computed anew after everything that may have changed it. */
static void conn_watch(struct conn *c, int64_t now_us)
{
	for (int s = 0; s < 2; s++) {
		struct conn_side *side = &c->side[s];
		const struct block *out = c->queue[!s].head;
		uint32_t mask = 0;

		if (side->connecting)
			mask |= EPOLLOUT;
		else if (out != NULL && out->due_us <= now_us && may_forward(c, !s))
			mask |= EPOLLOUT;
		if (!side->connecting && !side->eof && c->queue[s].bytes < queue_max(&config.shape))
			mask |= EPOLLIN;
		side_watch(side, c->stalled ? 0 : mask);
	}
}

static void fire(struct conn *c, int which)
{
	struct trigger *t = &triggers[which];

	if (!t->armed || !t->matched)
		return; /* disarmed while it was on its way */
	printf("event %s\n", t->text);
	fflush(stdout);
	t->armed = false;
	for (struct conn *other = conns; other != NULL; other = other->next) {
		if (other->dead || (t->scope == TRIGGER_ONE && other != c))
			continue;
		if (t->action == TRIGGER_CUT)
			conn_finish(other, true);
		else if (t->action == TRIGGER_STALL)
			other->stalled = true;
		else
			other->held[t->dir] = true;
	}
	if (t->action == TRIGGER_STALL && t->scope == TRIGGER_ALL)
		config.stall = true;
}

/* Return: false when the destination takes no more now. */
static bool forward_data(struct conn *c, enum dir dir, int64_t now_us)
{
	struct queue *q = &c->queue[dir];
	struct conn_side *to = &c->side[!dir];
	struct iovec iov[IOV_COUNT];
	int count = 0;
	ssize_t sent;

	for (struct block *b = q->head; b != NULL && count < IOV_COUNT; b = b->next) {
		if (b->kind != BLOCK_DATA || b->due_us > now_us)
			break;
		iov[count].iov_base = b->data + b->done;
		iov[count++].iov_len = b->len - b->done;
	}
	if (to->reset_seen) {
		sent = 0; /* nobody is there: swallow, the reset is on its way back */
		for (int i = 0; i < count; i++)
			sent += (ssize_t)iov[i].iov_len;
	} else {
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};

		sent = sendmsg(to->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0) {
			if (errno == EAGAIN || errno == EINTR)
				return false;
			to->reset_seen = true;
			return true;
		}
	}
	while (sent > 0) {
		struct block *b = q->head;
		size_t n = (size_t)sent < b->len - b->done ? (size_t)sent : b->len - b->done;

		b->done += n;
		q->bytes -= n;
		sent -= (ssize_t)n;
		if (b->done < b->len)
			return false;
		ingress_delivered(c, dir, b);
		queue_pop(q);
	}
	return true;
}

static void pump(struct conn *c, enum dir dir, int64_t now_us)
{
	struct queue *q = &c->queue[dir];

	while (!c->dead && q->head != NULL && q->head->due_us <= now_us && may_forward(c, dir)) {
		int trigger = q->head->trigger;

		switch (q->head->kind) {
		case BLOCK_DATA:
			if (!forward_data(c, dir, now_us))
				return;
			break;
		case BLOCK_EOF:
			queue_pop(q);
			shutdown(c->side[!dir].fd, SHUT_WR);
			c->finished[dir] = true;
			break;
		case BLOCK_RST:
			conn_finish(c, true);
			return;
		case BLOCK_TRIGGER:
			queue_pop(q);
			fire(c, trigger);
			break;
		}
	}
	if (c->finished[UP] && c->finished[DOWN])
		conn_finish(c, false);
}

int64_t conn_pump_all(int64_t now_us)
{
	int64_t next_us = INT64_MAX;
	struct conn **link = &conns;

	for (struct conn *c = conns; c != NULL; c = c->next)
		for (int dir = 0; dir < 2; dir++)
			if (!c->dead)
				pump(c, dir, now_us);
	while (*link != NULL) {
		struct conn *c = *link;

		if (c->dead) {
			*link = c->next;
			free(c);
			continue;
		}
		conn_watch(c, now_us);
		for (int dir = 0; dir < 2; dir++) {
			const struct block *b = c->queue[dir].head;

			if (b != NULL && b->due_us > now_us && b->due_us < next_us &&
			    may_forward(c, dir))
				next_us = b->due_us;
		}
		link = &c->next;
	}
	return next_us;
}

void conn_accept(int fd)
{
	struct conn *c;
	int one = 1, server;

	if (config.refuse) {
		reset_and_close(fd);
		return;
	}
	server = socket(config.target.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c = calloc(1, sizeof(*c));
	if (server < 0 || c == NULL ||
	    (connect(server, (struct sockaddr *)&config.target, config.target_len) != 0 &&
	     errno != EINPROGRESS)) {
		if (server >= 0)
			close(server);
		free(c);
		reset_and_close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->side[UP].fd = fd;
	c->side[DOWN].fd = server;
	c->side[DOWN].connecting = true;
	for (int s = 0; s < 2; s++) {
		c->side[s].conn = c;
		queue_init(&c->queue[s], config.shared ? &shared_free_us[s] : NULL);
		frame_init(&c->frame[s]);
	}
	c->answered = true;
	c->stalled = config.stall;
	c->serial = next_serial++;
	c->stats = stats_conn_add(c->serial);
	stats.accepted++;
	stats.active++;
	c->next = conns;
	conns = c;
}

static void side_read(struct conn_side *side, int64_t now_us)
{
	static unsigned char buf[READ_LEN];
	struct conn *c = side->conn;
	enum dir dir = side == &c->side[UP] ? UP : DOWN;
	ssize_t n = recv(side->fd, buf, sizeof(buf), MSG_DONTWAIT);
	int rc;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		rc = ingress_data(c, dir, buf, (size_t)n, now_us);
	} else {
		enum block_kind kind = n < 0 || side->reset_seen ? BLOCK_RST : BLOCK_EOF;

		side->eof = true;
		rc = queue_push(&c->queue[dir], &config.shape, now_us, kind, NULL, 0) != NULL
		         ? 0
		         : -ENOMEM;
	}
	if (rc < 0)
		conn_finish(c, true);
}

void conn_event(struct conn_side *side, uint32_t events, int64_t now_us)
{
	struct conn *c = side->conn;

	/* An earlier event of the same batch may have stalled or killed it. */
	if (c->dead || c->stalled)
		return;
	if (side->connecting) {
		int err = 0;
		socklen_t len = sizeof(err);

		getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err != 0)
			conn_finish(c, true);
		side->connecting = false;
		return;
	}
	if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && !side->eof)
		side_read(side, now_us);
	else if ((events & EPOLLERR) != 0)
		conn_finish(c, true);
}

int conn_cut_all(void)
{
	int count = 0;

	for (struct conn *c = conns; c != NULL; c = c->next) {
		count += !c->dead;
		conn_finish(c, true);
	}
	return count;
}

void conn_stall_all(bool on)
{
	config.stall = on;
	for (struct conn *c = conns; c != NULL; c = c->next)
		c->stalled = on;
}

void conn_hold_all(enum dir dir, bool on)
{
	for (struct conn *c = conns; c != NULL; c = c->next)
		c->held[dir] = on;
}
