/* SPDX-License-Identifier: BSD-2-Clause */
#include "ingress.h"

#include <errno.h>
#include <stdio.h>

#include "trigger.h"

struct slice {
	struct conn *conn;
	enum dir dir;
	int64_t now_us;
	uint32_t depth; /* deepest frame since the last flush */
};

static int flush(struct slice *s, const unsigned char *data, size_t len)
{
	size_t quantum = queue_quantum(&config.shape);

	while (len > 0) {
		size_t n = len < quantum ? len : quantum;
		struct block *b = queue_push(&s->conn->queue[s->dir], &config.shape, s->now_us,
		                             BLOCK_DATA, data, n);

		if (b == NULL)
			return -ENOMEM;
		data += n;
		len -= n;
		b->depth =
		    s->depth; /* of the whole slice: a block earlier than its frame at most */
		b->epoch = stats.epoch;
	}
	return 0;
}

static int push_trigger(struct slice *s, int which)
{
	struct block *b =
	    queue_push(&s->conn->queue[s->dir], &config.shape, s->now_us, BLOCK_TRIGGER, NULL, 0);

	if (b == NULL)
		return -ENOMEM;
	b->trigger = which;
	return 0;
}

/* See stats.h for what a depth is. */
static uint32_t request_depth(struct conn *c)
{
	uint32_t depth = stats.client_depth + 1;

	if (depth > stats.depth)
		stats.depth = depth;
	if (c->answered) {
		c->answered = false;
		stats.flips++;
	}
	return depth;
}

static uint32_t reply_depth(struct conn *c, const struct frame *f)
{
	c->answered = true;
	if (f != NULL && c->asked[f->id % DEPTH_RING].id == f->id &&
	    c->asked[f->id % DEPTH_RING].epoch == stats.epoch)
		return c->asked[f->id % DEPTH_RING].depth;
	if (f != NULL && f->type != 2) /* only VERSION has no id of its own */
		return 0;
	return c->server_epoch == stats.epoch ? c->server_depth : 0;
}

static void frame_seen(struct slice *s, const struct frame *f)
{
	struct conn *c = s->conn;
	uint32_t depth;

	stats.frames[s->dir]++;
	if (c->stats != NULL)
		c->stats->frames[s->dir]++;
	stats_frame(s->dir, f);
	if (s->dir == UP) {
		depth = request_depth(c);
		c->asked[f->id % DEPTH_RING].id = f->id;
		c->asked[f->id % DEPTH_RING].depth = depth;
		c->asked[f->id % DEPTH_RING].epoch = stats.epoch;
	} else {
		depth = reply_depth(c, f);
	}
	if (depth > s->depth)
		s->depth = depth;
}

/* Frames of one piece; a trigger becomes a block of its own between the data before and after it. */
static int take_frames(struct slice *s, const unsigned char *data, size_t len)
{
	struct frame *f = &s->conn->frame[s->dir];
	uint32_t *pending = &s->conn->pending[s->dir];
	size_t from = 0, pos = 0, frame_begin = 0, taken;
	int rc = 0;

	/* A frame may be no longer than its head: its end then comes without further bytes. */
	while ((pos < len || (f->known && f->left == 0)) && rc == 0) {
		if (frame_at_boundary(f))
			frame_begin = pos;
		switch (frame_take(f, data + pos, len - pos, &taken)) {
		case FRAME_NONE:
			break;
		case FRAME_BAD:
			printf("event badframe %s\n", s->dir == UP ? "up" : "down");
			fflush(stdout);
			break;
		case FRAME_KNOWN:
			for (int i = -1; (i = trigger_frame(s->dir, f, i)) >= 0;) {
				if (!triggers[i].before) {
					*pending |= 1u << i;
					continue;
				}
				rc = flush(s, data + from, frame_begin - from);
				from = frame_begin;
				if (rc == 0)
					rc = push_trigger(s, i);
			}
			frame_seen(s, f);
			break;
		case FRAME_END:
			if (*pending == 0)
				break;
			rc = flush(s, data + from, pos + taken - from);
			from = pos + taken;
			for (int i = 0; i < TRIGGER_MAX && rc == 0; i++)
				if ((*pending >> i & 1) != 0)
					rc = push_trigger(s, i);
			*pending = 0;
			break;
		}
		pos += taken;
	}
	return rc < 0 ? rc : flush(s, data + from, len - from);
}

int ingress_data(struct conn *c, enum dir dir, const unsigned char *data, size_t len,
                 int64_t now_us)
{
	struct slice s = {.conn = c, .dir = dir, .now_us = now_us};
	int rc = 0;

	stats.bytes[dir] += len;
	if (c->stats != NULL)
		c->stats->bytes[dir] += len;
	while (len > 0 && rc == 0) {
		int which;
		size_t n = (size_t)trigger_bytes(dir, len, &which);

		if (config.sftp) {
			rc = take_frames(&s, data, n);
		} else {
			s.depth = dir == UP ? request_depth(c) : reply_depth(c, NULL);
			rc = flush(&s, data, n);
		}
		if (rc == 0 && which >= 0)
			rc = push_trigger(&s, which);
		data += n;
		len -= n;
	}
	return rc;
}

void ingress_delivered(struct conn *c, enum dir dir, const struct block *b)
{
	uint32_t *depth = dir == UP ? &c->server_depth : &stats.client_depth;

	if (b->epoch != stats.epoch)
		return;
	if (dir == UP && c->server_epoch != stats.epoch) {
		c->server_epoch = stats.epoch;
		c->server_depth = 0;
	}
	if (b->depth > *depth)
		*depth = b->depth;
}
