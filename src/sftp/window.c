/* SPDX-License-Identifier: BSD-2-Clause */
/* The fxp window. Owner: the loop. */
#include "sftp/window.h"

#include <string.h>

#define WINDOW_LEN_MIN 65536u /* bytes: two requests of the size every server takes */
#define WINDOW_LEN_MAX (256u * 1024u * 1024u) /* bytes */
#define RTT_LIFE_MS    10000 /* a least round trip older than this is measured anew */
#define PAYS_PERCENT   90u   /* of a window that comes back in each round trip: it is no queue */
#define STEP_LEN_MAX   (4u * 1024 * 1024) /* bytes: what is tried at once without evidence */
#define FLIGHT_LEN_MIN (768u * 1024)      /* bytes: a shorter flight measures the server's disk */
#define FLIGHT_SPAN_MS 5                  /* a flight that took less measures the clock */
#define SLOT_MS                                                                                    \
	500 /* a rate is believed for three to four slots: less is a stall, not the line \
	                    */
#define DRAIN_ROUNDS 3u /* one until the half window holds, two to measure */
/*
 * Bytes per round trip from which one lane counts as limited by its channel window: 2 MiB in
 * OpenSSH, less what a rate misses that is measured while the stream has only just begun.
 */
#define CHANNEL_LEN_FLOWING (1280u * 1024u)
#define CHANNEL_LEN_MAX     (2u * 1024 * 1024)
#define PACE_LEN            (512u * 1024) /* bytes that are worth waking up for */
#define BURST_LEN_MIN       (256u * 1024) /* bytes: what goes at once against a stream the other way */
#define BURST_LEN_MAX       (1024u * 1024)
#define BURST_PART          8u     /* of the window */
#define UNIT_LEN            32768u /* bytes: what requests of a stream are whole multiples of */
#define UNIT_MS             20     /* the line's time with one of them */
#define SLACK_MS            4 /* what the clock's grain and the server's own time add to a round trip */
/*
 * Without distance all of the window waits in the server, and more than a few requests only cost its
 * memory (measured: 256 MiB to loopback take 0.7 instead of 0.8 s, and 1.0 instead of 1.3 s of CPU).
 */
#define SLACK_LEN_MAX (512u * 1024) /* bytes */

static size_t clamp(uint64_t len)
{
	if (len < WINDOW_LEN_MIN)
		return WINDOW_LEN_MIN;
	return len > WINDOW_LEN_MAX ? WINDOW_LEN_MAX : (size_t)len;
}

bool fxp_window_faced(const struct fxp_window *w)
{
	const struct fxp_window *f = w->facing;

	return f && f->in_flight_len >= BURST_LEN_MIN && f->in_flight_len > f->window_len / 2;
}

/* One that began behind the other direction's data has not seen how short the way is. */
static int64_t distance_ms(const struct fxp_window *w)
{
	const struct fxp_window *f = w->facing;

	if (fxp_window_faced(w) && f->rtt_min_ms >= 0 && f->rtt_min_ms < w->rtt_min_ms)
		return f->rtt_min_ms;
	return w->rtt_min_ms;
}

/*
 * What the line holds at `rate`, and a quarter more, so that a rate that rises is noticed; but no
 * more than a step, for that part waits in the server.
 */
static size_t product_len(const struct fxp_window *w, uint64_t rate)
{
	uint64_t len = rate * (uint64_t)distance_ms(w) / 1000;
	uint64_t more_len = len / 4 < STEP_LEN_MAX ? len / 4 : STEP_LEN_MAX;
	uint64_t slack_len = rate * SLACK_MS / 1000;

	return clamp(len + more_len + (slack_len < SLACK_LEN_MAX ? slack_len : SLACK_LEN_MAX));
}

/* A round trip; while a window is tried, until all that is sent under it has come back. */
static void begin_round(struct fxp_window *w)
{
	w->round_end_len = w->delivered_len + w->in_flight_len + (w->full ? 0 : w->window_len);
	w->limited = false;
}

void fxp_window_init(struct fxp_window *w, size_t len)
{
	*w = (struct fxp_window){.window_len = len, .rtt_min_ms = -1};
}

void fxp_window_face(struct fxp_window *a, struct fxp_window *b)
{
	a->facing = b;
	b->facing = a;
}

void fxp_window_reset(struct fxp_window *w)
{
	w->in_flight_len = 0;
	w->in_flight_count = 0;
	w->delivered_ms = 0;
	w->round_end_len = w->delivered_len;
	w->rtt_min_ms = -1;
	w->rate_max = 0;
	w->drain_rounds = 0;
	w->full = false;
	w->flying = false;
	w->flight_rate = 0;
	w->measured = false;
	w->waits_len = 0;
}

/* For `lanes`, from what the first flight on one has shown. */
static size_t flight_len(const struct fxp_window *w, unsigned lanes)
{
	size_t len = product_len(w, w->flight_rate), most = lanes * CHANNEL_LEN_MAX;

	if (w->measured && len >= most)
		return len;
	return 2 * len < most ? 2 * len : most;
}

void fxp_window_grow(struct fxp_window *w, unsigned lanes)
{
	if (!w->full && w->flight_rate) {
		if (w->window_len < flight_len(w, lanes))
			w->window_len = flight_len(w, lanes);
	} else if (w->rtt_min_ms >= 0 &&
	           w->rate * (uint64_t)w->rtt_min_ms / 1000 >= CHANNEL_LEN_FLOWING) {
		/* From what flowed, not from what was tried; the channel windows open before the
		 * replies come. */
		if (w->window_len > product_len(w, w->rate))
			w->window_len = product_len(w, w->rate);
		w->window_len = clamp((uint64_t)w->window_len * lanes * 5 / 4);
	}
	w->full = false;
	begin_round(w);
}

void fxp_window_raise(struct fxp_window *w, size_t len)
{
	if (w->full || w->window_len >= len)
		return;
	w->window_len = len;
	begin_round(w);
}

bool fxp_window_room(struct fxp_window *w)
{
	/* The last one may stick out, or rounding would keep a small window small for ever. */
	if (w->in_flight_count < 2 || w->in_flight_len < w->window_len)
		return true;
	w->limited = true;
	return false;
}

/* After a pause the time without work must not count as slowness, nor its rate as the line's. */
static void begin_flight(struct fxp_window *w, int64_t now_ms)
{
	w->delivered_ms = w->delivered_sent_ms = now_ms;
	w->flight_ms = w->flight_sent_ms = now_ms;
	w->flight_base_len = w->flight_from_len = w->delivered_len;
	w->flight_len = 0;
	w->flying = true;
	if (w->full)
		return;
	/* What is sent at once is no steady stream: only the window behind it shows whether it
	 * pays. */
	begin_round(w);
	w->round_end_len += w->window_len;
}

/*
 * What left long before, as a READ that went with its OPEN, is not of this flight; nor what comes late,
 * as from a program that was not quick enough.
 */
static void join_flight(struct fxp_window *w, size_t len, int64_t now_ms)
{
	if (now_ms - w->flight_sent_ms > FLIGHT_SPAN_MS) {
		if (w->flight_len >= FLIGHT_LEN_MIN)
			return;
		w->flight_ms = now_ms;
		w->flight_from_len = w->delivered_len + w->in_flight_len;
		w->flight_len = 0;
	}
	w->flight_sent_ms = now_ms;
	w->flight_len += len;
}

static uint64_t best_rate(const struct fxp_window *w)
{
	uint64_t best = 0;

	for (unsigned i = 0; i < FXP_WINDOW_RATE_SLOTS; i++)
		if (w->rates[i] > best)
			best = w->rates[i];
	return best;
}

/* As much faster than the line as the window is longer. Return: bytes per second, 0: not known. */
static uint64_t pace(const struct fxp_window *w)
{
	uint64_t rate = best_rate(w);

	if (!w->full && !w->measured)
		return 0;
	if (!w->full && rate < w->flight_rate)
		rate = w->flight_rate;
	return rate + rate / 4;
}

static uint64_t waiting_len(const struct fxp_window *w, int64_t now_ms)
{
	uint64_t gone_len = pace(w) * (uint64_t)(now_ms - w->waits_ms) / 1000;
	uint64_t len = w->waits_len > gone_len ? w->waits_len - gone_len : 0;

	return len < w->in_flight_len ? len : w->in_flight_len;
}

/*
 * What may go at once. Of two streams in opposite directions a burst of the one makes a burst of the other's
 * answers, and so of what these let go, until each line is idle half of the time.
 */
static size_t most_burst_len(const struct fxp_window *w)
{
	size_t len = w->window_len / BURST_PART;

	if (!fxp_window_faced(w))
		return STEP_LEN_MAX;
	if (len < BURST_LEN_MIN)
		return BURST_LEN_MIN;
	return len < BURST_LEN_MAX ? len : BURST_LEN_MAX;
}

size_t fxp_window_unit_len(const struct fxp_window *w, size_t len_max)
{
	uint64_t rate = w->full ? w->rate : w->measured ? w->flight_rate : 0;
	uint64_t unit_count = rate * UNIT_MS / 1000 / UNIT_LEN + 1;

	return !rate || unit_count * UNIT_LEN > len_max ? len_max : (size_t)unit_count * UNIT_LEN;
}

int64_t fxp_window_due_ms(const struct fxp_window *w, int64_t now_ms)
{
	uint64_t rate = pace(w), len = waiting_len(w, now_ms);
	size_t burst_len = most_burst_len(w);
	size_t again_len = burst_len / 2 < PACE_LEN ? burst_len / 2 : PACE_LEN;

	if (!rate || len < burst_len)
		return now_ms;
	return now_ms + (int64_t)((len - burst_len + again_len) * 1000 / rate) + 1;
}

void fxp_window_sent(struct fxp_window *w, struct fxp_window_sample *s, size_t len, int64_t now_ms)
{
	if (w->in_flight_count == 0)
		begin_flight(w, now_ms);
	if (w->flying && w->delivered_len == w->flight_base_len)
		join_flight(w, len, now_ms);
	*s = (struct fxp_window_sample){.window = w,
	                                .len = len,
	                                .delivered_len = w->delivered_len,
	                                .delivered_ms = w->delivered_ms,
	                                .delivered_sent_ms = w->delivered_sent_ms,
	                                .sent_ms = now_ms};
	w->waits_len = waiting_len(w, now_ms) + len;
	w->waits_ms = now_ms;
	w->in_flight_len += len;
	w->in_flight_count++;
}

/*
 * A window pays when it comes back in each round trip. It is enlarged only then, and by no more
 * than a step at once: what the line cannot hold waits in the server, and OpenSSH is slow when many
 * megabytes of one channel do.
 */
static void grow(struct fxp_window *w)
{
	uint64_t came_len = w->rate * (uint64_t)(w->rtt_min_ms + SLACK_MS) / 1000;

	if (came_len * 100 < (uint64_t)w->window_len * PAYS_PERCENT)
		w->full = true;
	else if (w->window_len < STEP_LEN_MAX)
		w->window_len = clamp((uint64_t)w->window_len * 2);
	else
		w->window_len = clamp((uint64_t)w->window_len + STEP_LEN_MAX);
}

/*
 * All of the first flight has come back. It was sent at once, so its answers were as close to each
 * other as the line carries them, and the line's rate is known before a window of that size was
 * tried.
 */
static void end_flight(struct fxp_window *w, int64_t now_ms)
{
	int64_t span_ms = now_ms - w->flight_ms - w->rtt_min_ms;

	w->flying = false;
	if (w->full || w->flight_len < FLIGHT_LEN_MIN)
		return;
	w->measured = span_ms >= FLIGHT_SPAN_MS;
	w->flight_rate =
	    (uint64_t)w->flight_len * 1000 / (uint64_t)(w->measured ? span_ms : FLIGHT_SPAN_MS);
	if (!w->measured || w->window_len >= product_len(w, w->flight_rate))
		return;
	w->window_len = product_len(w, w->flight_rate);
	begin_round(w);
}

static void end_drain(struct fxp_window *w)
{
	if (w->rtt_drain_ms < 0)
		return;
	w->rtt_min_ms = w->rtt_drain_ms;
	w->rtt_min_at_ms = w->delivered_ms;
}

static void follow(struct fxp_window *w)
{
	size_t len = product_len(w, w->rate), most = w->window_len + STEP_LEN_MAX;

	if (w->drain_rounds)
		len = clamp(len / 2);
	w->window_len = len < most ? len : most;
}

static void next_slot(struct fxp_window *w)
{
	w->slot = (w->slot + 1) % FXP_WINDOW_RATE_SLOTS;
	w->rates[w->slot] = 0;
	w->slot_ms = w->delivered_ms;
}

/* A round in which nothing had to wait for the window says nothing about the line. */
static void end_round(struct fxp_window *w)
{
	w->rate = best_rate(w);
	if (w->rate > w->rate_max)
		w->rate_max = w->rate;
	if (w->drain_rounds && --w->drain_rounds == 0)
		end_drain(w);
	if (w->limited || w->drain_rounds) {
		if (!w->full)
			grow(w);
		if (w->full)
			follow(w);
		if (w->delivered_ms - w->slot_ms >= SLOT_MS)
			next_slot(w);
	}
	begin_round(w);
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

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void fxp_window_done(struct fxp_window_sample *s, size_t delivered_len, int64_t now_ms)
{
	struct fxp_window *w = s->window;
	int64_t rtt_ms = now_ms - s->sent_ms, span_ms, sending_ms;
	uint64_t rate;

	if (!w)
		return;
	s->window = NULL;
	w->in_flight_len -= s->len;
	w->in_flight_count--;
	w->delivered_len += delivered_len;
	w->delivered_ms = now_ms;
	w->delivered_sent_ms = s->sent_ms;
	if (!delivered_len)
		return;
	/*
	 * The line's own time with it is no distance. By the rate of a window that has shrunk it would be
	 * half of the round trip, and the window small for ever.
	 */
	if (w->full && w->rate_max)
		rtt_ms -= least(rtt_ms / 2, (int64_t)(s->len * 1000 / w->rate_max));
	see_rtt(w, rtt_ms, now_ms);
	/* Answers that lay here until somebody looked have not come faster than they were asked for. */
	span_ms = now_ms - s->delivered_ms;
	sending_ms = s->sent_ms - s->delivered_sent_ms;
	if (span_ms < sending_ms)
		span_ms = sending_ms;
	rate = (w->delivered_len - s->delivered_len) * 1000 / (uint64_t)(span_ms > 0 ? span_ms : 1);
	if (rate > w->rates[w->slot])
		w->rates[w->slot] = rate;
	if (w->flying && w->delivered_len >= w->flight_from_len + w->flight_len)
		end_flight(w, now_ms);
	/* Rounds shorter than the clock's grain would measure nothing but the grain. */
	if (w->delivered_len >= w->round_end_len && span_ms > 0)
		end_round(w);
}
