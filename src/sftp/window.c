/* SPDX-License-Identifier: BSD-2-Clause */
/* The fxp window. Owner: the loop. */
#include "sftp/window.h"

#include <string.h>

#define WINDOW_LEN_MIN  65536u /* bytes: two requests of the size every server takes */
#define WINDOW_LEN_MAX  (256u * 1024u * 1024u) /* bytes */
#define RTT_LIFE_MS     10000 /* a least round trip older than this is measured anew */
#define GROWTH_PERCENT  125u  /* a round that delivers this much more than the last best grows */
#define FLAT_ROUNDS_MAX 3u    /* rounds without growth that end it */
#define DRAIN_ROUNDS    3u    /* one until the half window holds, two to measure */
/*
 * Bytes per round trip from which one lane counts as limited by its channel window: 2 MiB in OpenSSH,
 * less what a rate misses that is measured while the stream has only just begun.
 */
#define CHANNEL_LEN_FLOWING (1280u * 1024u)
#define SLACK_MS        4 /* what the clock's grain and the server's own time add to a round trip */

static size_t clamp(uint64_t len)
{
	if (len < WINDOW_LEN_MIN)
		return WINDOW_LEN_MIN;
	return len > WINDOW_LEN_MAX ? WINDOW_LEN_MAX : (size_t)len;
}

/* A quarter more than rate times round trip, so that a rate that rises is noticed. */
static size_t product_len(const struct fxp_window *w)
{
	uint64_t ms = (uint64_t)w->rtt_min_ms * 5 / 4 + SLACK_MS;

	return clamp(w->rate * ms / 1000);
}

void fxp_window_init(struct fxp_window *w, size_t len)
{
	*w = (struct fxp_window){.window_len = len, .rtt_min_ms = -1};
}

void fxp_window_reset(struct fxp_window *w)
{
	w->in_flight_len = 0;
	w->in_flight_count = 0;
	w->delivered_ms = 0;
	w->round_end_len = w->delivered_len;
	w->rtt_min_ms = -1;
	w->drain_rounds = 0;
	w->full = false;
	w->flat_count = 0;
	w->full_rate = 0;
	w->rtt_round_ms = 0;
}

void fxp_window_grow(struct fxp_window *w, unsigned lanes)
{
	w->full = false;
	w->flat_count = 0;
	w->full_rate = w->rate;
	if (w->rtt_min_ms < 0 || w->rate * (uint64_t)w->rtt_min_ms / 1000 < CHANNEL_LEN_FLOWING)
		return;
	/* From what flowed, not from what was tried; the channel windows open before the replies come. */
	if (w->window_len > product_len(w))
		w->window_len = product_len(w);
	w->window_len = clamp((uint64_t)w->window_len * lanes * 5 / 4);
	/* One whole window shows whether that was right; if not it is not tried again. */
	w->round_end_len = w->delivered_len + w->window_len;
	w->flat_count = FLAT_ROUNDS_MAX - 1;
}

void fxp_window_raise(struct fxp_window *w, size_t len)
{
	if (!w->full && w->window_len < len)
		w->window_len = len;
}

bool fxp_window_room(struct fxp_window *w, size_t len)
{
	if (w->in_flight_count < 2 || w->in_flight_len + len <= w->window_len)
		return true;
	w->limited = true;
	return false;
}

void fxp_window_sent(struct fxp_window *w, struct fxp_window_sample *s, size_t len, int64_t now_ms)
{
	/* After a pause the time without work must not count as slowness. */
	if (w->in_flight_count == 0)
		w->delivered_ms = now_ms;
	*s = (struct fxp_window_sample){.window = w,
	                                .len = len,
	                                .delivered_len = w->delivered_len,
	                                .delivered_ms = w->delivered_ms,
	                                .sent_ms = now_ms};
	w->in_flight_len += len;
	w->in_flight_count++;
}

static uint64_t best_rate(const struct fxp_window *w)
{
	uint64_t best = 0;

	for (unsigned i = 0; i < FXP_WINDOW_RATE_SLOTS; i++)
		if (w->rates[i] > best)
			best = w->rates[i];
	return best;
}

/*
 * Doubled while requests come back as fast as ever. When they take half as long again they wait in a
 * queue of ours: more would only lengthen it, and OpenSSH is slow when megabytes of a channel wait
 * in it. A rate that still rises then is waited for, one that does not ends the growth.
 */
static void grow(struct fxp_window *w)
{
	bool queued = w->rtt_round_ms > w->rtt_min_ms * 3 / 2 + SLACK_MS;
	bool faster = w->rate * 100 >= w->full_rate * GROWTH_PERCENT;

	if (!queued)
		w->window_len = clamp((uint64_t)w->window_len * 2);
	if (faster) {
		w->full_rate = w->rate;
		w->flat_count = 0;
	} else if (queued || ++w->flat_count >= FLAT_ROUNDS_MAX) {
		w->full = true;
	}
}

static void end_round(struct fxp_window *w)
{
	w->rate = best_rate(w);
	if (!w->full && w->limited)
		grow(w);
	w->rtt_round_ms = 0;
	if (w->drain_rounds && --w->drain_rounds == 0 && w->rtt_drain_ms >= 0) {
		w->rtt_min_ms = w->rtt_drain_ms;
		w->rtt_min_at_ms = w->delivered_ms;
	}
	if (w->full)
		w->window_len = w->drain_rounds ? clamp(product_len(w) / 2) : product_len(w);
	w->limited = false;
	w->round = (w->round + 1) % FXP_WINDOW_RATE_SLOTS;
	w->rates[w->round] = 0;
	w->round_end_len = w->delivered_len + w->in_flight_len;
}

/*
 * The least round trip holds for a while. To measure it anew the window is halved for some rounds:
 * taken from a full line it would contain our own queue, and the window would grow for ever.
 */
static void see_rtt(struct fxp_window *w, int64_t rtt_ms, int64_t now_ms)
{
	if (w->rtt_min_ms < 0 || rtt_ms <= w->rtt_min_ms) {
		w->rtt_min_ms = rtt_ms;
		w->rtt_min_at_ms = now_ms;
		w->drain_rounds = 0;
		return;
	}
	if (w->drain_rounds) {
		if (w->rtt_drain_ms < 0 || rtt_ms < w->rtt_drain_ms)
			w->rtt_drain_ms = rtt_ms;
	} else if (w->full && now_ms - w->rtt_min_at_ms > RTT_LIFE_MS) {
		w->drain_rounds = DRAIN_ROUNDS;
		w->rtt_drain_ms = -1;
	}
}

void fxp_window_done(struct fxp_window_sample *s, size_t delivered_len, int64_t now_ms)
{
	struct fxp_window *w = s->window;
	int64_t rtt_ms = now_ms - s->sent_ms, span_ms;
	uint64_t rate;

	if (!w)
		return;
	s->window = NULL;
	w->in_flight_len -= s->len;
	w->in_flight_count--;
	w->delivered_len += delivered_len;
	w->delivered_ms = now_ms;
	if (!delivered_len)
		return;
	see_rtt(w, rtt_ms, now_ms);
	if (w->rtt_round_ms == 0 || rtt_ms < w->rtt_round_ms)
		w->rtt_round_ms = rtt_ms;
	span_ms = now_ms - s->delivered_ms;
	rate = (w->delivered_len - s->delivered_len) * 1000 / (uint64_t)(span_ms > 0 ? span_ms : 1);
	if (rate > w->rates[w->round])
		w->rates[w->round] = rate;
	/* Rounds shorter than the clock's grain would measure nothing but the grain. */
	if (w->delivered_len >= w->round_end_len && span_ms > 0)
		end_round(w);
}
