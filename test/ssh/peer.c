/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the transport share. See peer.h. */
#include "peer.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FXP_INIT     1
#define FXP_VERSION  2
#define FXP_REALPATH 16
#define FXP_NAME     104

int64_t peer_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_up(void *ctx)
{
	struct peer *p = ctx;

	p->up = true;
	p->down = false;
	p->up_count++;
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct peer *p = ctx;

	p->up = false;
	p->down = true;
	p->down_count++;
	p->error = *error;
}

static struct peer_lane *lane_of(struct peer *p, uint32_t lane)
{
	ck_assert_uint_lt(lane, PEER_LANE_MAX);
	if (p->down)
		p->late_count++;
	return &p->lanes[lane];
}

static void on_lane_open(void *ctx, uint32_t lane, const struct link_error *error)
{
	struct peer *p = ctx;

	lane_of(p, lane)->open = !error;
	lane_of(p, lane)->refused = error != NULL;
	if (error)
		p->error = *error;
}

static void on_lane_packet(void *ctx, uint32_t lane, struct data *packet, size_t len)
{
	struct peer *p = ctx;
	struct peer_lane *l = lane_of(p, lane);

	l->packet_count++;
	l->packet_len += len;
	l->last_len = len < sizeof(l->last) ? len : sizeof(l->last);
	memcpy(l->last, packet->bytes, l->last_len);
	if (!p->on_packet || !p->on_packet(p, lane, packet, len))
		data_unref(packet);
}

static void on_lane_stderr(void *ctx, uint32_t lane, const uint8_t *bytes, size_t len)
{
	lane_of(ctx, lane)->stderr_len += len;
}

static void on_lane_drained(void *ctx, uint32_t lane)
{
	lane_of(ctx, lane)->drained_count++;
}

static void on_lane_closed(void *ctx, uint32_t lane, int exit_status)
{
	struct peer_lane *l = lane_of(ctx, lane);

	l->closed = true;
	l->exit_status = exit_status;
}

static const struct link_events events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_drained = on_lane_drained,
    .lane_closed = on_lane_closed,
};

void peer_init(struct peer *p, struct link *link)
{
	memset(p, 0, sizeof(*p));
	ck_assert_ptr_nonnull(link);
	p->link = link;
	link->events = &events;
	link->events_ctx = p;
}

void peer_finish(struct peer *p)
{
	link_destroy(p->link);
	p->link = NULL;
	ck_assert_uint_eq(p->late_count, 0);
}

void peer_turn(struct peer *p, int timeout_ms)
{
	struct pollfd pfd = {.fd = link_dispatch_fd(p->link), .events = POLLIN};

	if (p->started)
		poll(&pfd, 1, timeout_ms);
	else
		ck_assert_int_eq(link_step(p->link, timeout_ms), 0);
	link_dispatch(p->link);
}

void peer_send(struct peer *p, uint32_t lane, const void *head, size_t head_len, struct data *body,
               size_t body_len)
{
	struct link_packet *packet = calloc(1, sizeof(*packet));

	ck_assert_ptr_nonnull(packet);
	list_init(&packet->entry);
	packet->lane = lane;
	packet->head = data_create(NULL, head_len);
	ck_assert_ptr_nonnull(packet->head);
	memcpy(packet->head->bytes, head, head_len);
	packet->head_len = head_len;
	packet->body = body;
	packet->body_len = body_len;
	link_send(p->link, packet);
}

void peer_open_sftp(struct peer *p, uint32_t lane, enum lane_class lane_class)
{
	static const uint8_t init[] = {0, 0, 0, 5, FXP_INIT, 0, 0, 0, 3};
	struct lane_spec spec = {.lane_class = lane_class, .packet_len_max = 300 * 1024};
	struct peer_lane *l = &p->lanes[lane];

	ck_assert_int_eq(link_open_lane(p->link, lane, &spec), 0);
	peer_until(p, l->open);
	peer_send(p, lane, init, sizeof(init), NULL, 0);
	peer_until(p, l->packet_count == 1);
	ck_assert_uint_eq(l->last[0], FXP_VERSION);
}

void peer_echo(struct peer *p, uint32_t lane)
{
	static const uint8_t realpath[] = {0, 0, 0, 10, FXP_REALPATH, 0, 0, 0, 7, 0, 0, 0, 1, '.'};
	struct peer_lane *l = &p->lanes[lane];
	uint64_t before = l->packet_count;

	peer_send(p, lane, realpath, sizeof(realpath), NULL, 0);
	peer_until(p, l->packet_count == before + 1);
	ck_assert_uint_eq(l->last[0], FXP_NAME);
	ck_assert_uint_eq(l->last[4], 7);
}
