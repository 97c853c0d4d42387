/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on lanes of their own. Contract: include/scp/channel.h. */
#include "scp/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define REFUSED_COUNT_MAX 4u /* in a row, with no other channel open */

static struct scp_channel *channel_find(struct scp_channels *pool, uint32_t lane)
{
	list_for_each(e, &pool->running) {
		struct scp_channel *ch = list_entry(e, struct scp_channel, entry);

		if (ch->lane == lane)
			return ch;
	}
	return NULL;
}

static void become_idle(struct scp_channel *ch)
{
	if (ch->lane)
		ch->pool->count--;
	list_del(&ch->entry);
	ch->lane = 0;
	ch->open = false;
	free(ch->command);
	ch->command = NULL;
}

static void end(struct scp_channel *ch, enum scp_end how, int exit_status)
{
	become_idle(ch);
	ch->ops->ended(ch, how, exit_status);
}

static void pump(struct scp_channels *pool)
{
	while (pool->up && pool->count < pool->max && !list_empty(&pool->queue)) {
		struct scp_channel *ch = list_entry(pool->queue.next, struct scp_channel, entry);
		const struct lane_spec spec = {.lane_class = LANE_BULK, .command = ch->command};

		ch->lane = ++pool->lane_next_id;
		if (link_open_lane(pool->link, ch->lane, &spec) != 0) {
			ch->lane = 0;
			return;
		}
		log_verbose(LOG_SFTP, "channel=%u: %s", ch->lane, ch->command);
		list_del(&ch->entry);
		list_push_back(&pool->running, &ch->entry);
		ch->heard_ms = pool->clock->now_ms;
		ch->said[0] = '\0';
		pool->count++;
		pool->started_count++;
	}
}

static void on_up(void *ctx)
{
	struct scp_channels *pool = ctx;

	pool->up = true;
	pool->max = pool->max_count;
	pump(pool);
}

static void on_down(void *ctx, const struct link_error *error)
{
	struct scp_channels *pool = ctx;

	pool->up = false;
	while (!list_empty(&pool->running))
		end(list_entry(pool->running.next, struct scp_channel, entry), SCP_END_LOST, -1);
}

static void on_lane_open(void *ctx, uint32_t lane, const struct link_error *error)
{
	struct scp_channels *pool = ctx;
	struct scp_channel *ch = channel_find(pool, lane);

	if (!ch)
		return;
	if (!error) {
		ch->open = true;
		ch->refused_count = 0;
		if (pool->max < pool->max_count)
			pool->max++;
		ch->heard_ms = pool->clock->now_ms;
		ch->ops->opened(ch);
		return;
	}
	/* Fewer at a time, then, and if it is the only one a few more times. */
	if (pool->count > 1 || ++ch->refused_count < REFUSED_COUNT_MAX) {
		pool->max = pool->count > 1 ? pool->count - 1 : 1;
		log_verbose(LOG_SFTP, "the server refuses a channel, %u at a time", pool->max);
		pool->count--;
		ch->lane = 0;
		list_del(&ch->entry);
		list_push_front(&pool->queue, &ch->entry);
		pump(pool);
		return;
	}
	snprintf(ch->said, sizeof(ch->said), "%.500s", error->text);
	end(ch, SCP_END_REFUSED, -1);
	pump(pool);
}

static void on_lane_packet(void *ctx, uint32_t lane, struct data *packet, size_t len)
{
	struct scp_channels *pool = ctx;
	struct scp_channel *ch = channel_find(pool, lane);

	if (ch) {
		ch->heard_ms = pool->clock->now_ms;
		ch->ops->received(ch, packet->bytes, len);
	}
	data_unref(packet);
}

/* Of several lines the last one says what is wrong. */
static void on_lane_stderr(void *ctx, uint32_t lane, const uint8_t *bytes, size_t len)
{
	struct scp_channel *ch = channel_find(ctx, lane);
	const uint8_t *line;

	while (len && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r'))
		len--;
	if (!ch || len == 0)
		return;
	line = memrchr(bytes, '\n', len);
	line = line ? line + 1 : bytes;
	/* Its end says what is wrong, whatever names come before. */
	if ((size_t)(bytes + len - line) >= sizeof(ch->said))
		line = bytes + len - (sizeof(ch->said) - 1);
	snprintf(ch->said, sizeof(ch->said), "%.*s", (int)(bytes + len - line), (const char *)line);
	for (unsigned char *p = (unsigned char *)ch->said; *p; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = '?';
}

static void on_lane_drained(void *ctx, uint32_t lane)
{
	struct scp_channels *pool = ctx;
	struct scp_channel *ch = channel_find(pool, lane);

	if (!ch)
		return;
	ch->heard_ms = pool->clock->now_ms;
	ch->ops->drained(ch);
}

static void on_lane_closed(void *ctx, uint32_t lane, int exit_status)
{
	struct scp_channels *pool = ctx;
	struct scp_channel *ch = channel_find(pool, lane);

	if (!ch)
		return;
	log_verbose(LOG_SFTP, "channel=%u ended with %d", lane, exit_status);
	end(ch, SCP_END_EXIT, exit_status);
	pump(pool);
}

static const struct link_events channel_events = {
    .up = on_up,
    .down = on_down,
    .lane_open = on_lane_open,
    .lane_packet = on_lane_packet,
    .lane_stderr = on_lane_stderr,
    .lane_drained = on_lane_drained,
    .lane_closed = on_lane_closed,
};

void scp_channels_init(struct scp_channels *pool, struct link *link, struct clock *clock, bool up,
                       unsigned max_count)
{
	*pool = (struct scp_channels){
	    .link = link, .clock = clock, .up = up, .max_count = max_count, .max = max_count};
	list_init(&pool->queue);
	list_init(&pool->running);
	link->events = &channel_events;
	link->events_ctx = pool;
}

void scp_channels_finish(struct scp_channels *pool)
{
	pool->link->events = NULL;
}

static int64_t oldest(const struct list *channels, bool running, int64_t since_ms)
{
	list_for_each(e, channels) {
		const struct scp_channel *ch = list_entry(e, const struct scp_channel, entry);

		if (running && ch->works_in_silence)
			continue;
		if (since_ms < 0 || ch->heard_ms < since_ms)
			since_ms = ch->heard_ms;
	}
	return since_ms;
}

int64_t scp_channels_silent_since(const struct scp_channels *pool, int64_t since_ms)
{
	return oldest(&pool->queue, false, oldest(&pool->running, true, since_ms));
}

void scp_channel_init(struct scp_channel *ch, struct scp_channels *pool,
                      const struct scp_channel_ops *ops)
{
	*ch = (struct scp_channel){.pool = pool, .ops = ops};
	list_init(&ch->entry);
}

int scp_channel_start(struct scp_channel *ch, char *command)
{
	if (!command)
		return -ENOMEM;
	ch->command = command;
	ch->refused_count = 0;
	ch->said[0] = '\0';
	ch->heard_ms = ch->pool->clock->now_ms;
	list_push_back(&ch->pool->queue, &ch->entry);
	pump(ch->pool);
	return 0;
}

bool scp_channel_idle(const struct scp_channel *ch)
{
	return list_empty(&ch->entry);
}

void scp_channel_send(struct scp_channel *ch, struct data *d, size_t len)
{
	struct link_packet *p = calloc(1, sizeof(*p));

	if (!p || !d || !ch->lane) {
		/* Without memory the connection is of no use; who sends learns of its end. */
		if (ch->lane)
			link_reset(ch->pool->link);
		data_unref(d);
		free(p);
		return;
	}
	list_init(&p->entry);
	p->lane = ch->lane;
	p->head = d;
	p->head_len = len;
	link_send(ch->pool->link, p);
}

void scp_channel_send_bytes(struct scp_channel *ch, const void *bytes, size_t len)
{
	struct data *d = data_create(NULL, len);

	if (d)
		memcpy(d->bytes, bytes, len);
	scp_channel_send(ch, d, len);
}

void scp_channel_end_input(struct scp_channel *ch)
{
	if (ch->lane)
		link_end_lane(ch->pool->link, ch->lane);
}

void scp_channel_cancel(struct scp_channel *ch)
{
	if (list_empty(&ch->entry))
		return;
	if (ch->lane)
		link_close_lane(ch->pool->link, ch->lane);
	become_idle(ch);
	pump(ch->pool);
}
