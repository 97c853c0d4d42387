/* SPDX-License-Identifier: BSD-2-Clause */
/* What of look-ahead is on its way. Contract: include/vfs/flight.h. */
#include "vfs/flight.h"

/*
 * At first, and at least and at most. A line of which nothing is known gets a quarter of a second of
 * 10 Mbit/s; on a fast one that doubles with each round trip.
 */
#define LEN_FIRST (256 * 1024)
#define LEN_MIN   (16 * 1024)
#define LEN_MAX   (64 * 1024 * 1024)

/* Later than the least time by no more than this is no queue, and by more than this is one, */
#define EARLY_PERCENT 120
#define LATE_PERCENT  130
/* beside what the clock's grain and a busy machine add. */
#define EARLY_MS 4
#define LATE_MS  8

/* The least time is believed for so long. */
#define LIFE_MS 10000

void flight_init(struct flight *fl)
{
	*fl = (struct flight){.len_max = LEN_FIRST};
}

bool flight_has_room(const struct flight *fl, int64_t now_ms)
{
	/* Once all are here the next one shows the distance anew. */
	return !fl->len || (fl->len < fl->len_max && now_ms - fl->began_ms < LIFE_MS);
}

void flight_ask(struct flight *fl, struct flight_part *p, size_t len, int64_t now_ms)
{
	*p = (struct flight_part){.len = len,
	                          .share_len = len < fl->len_max / 2 ? len : fl->len_max / 2,
	                          .asked_ms = now_ms,
	                          .landed_len = fl->landed_len};
	if (!fl->len) {
		fl->took_min_ms = 0;
		fl->began_ms = now_ms;
	}
	fl->len += p->share_len;
}

/* What one of `len` bytes takes that has stood in no queue. A long one is longer on the line itself. */
static int64_t distance_ms(const struct flight *fl, size_t len)
{
	if (!fl->rate || len <= fl->took_min_len)
		return fl->took_min_ms;
	return fl->took_min_ms + (int64_t)((len - fl->took_min_len) * 1000 / fl->rate);
}

static void grow(struct flight *fl, size_t len)
{
	/* Twice as much with each round trip, and half as much again where that was once too much. */
	fl->len_max += fl->rate ? len / 2 : len;
	if (fl->len_max > LEN_MAX)
		fl->len_max = LEN_MAX;
}

/* `came_len` in `took_ms` is what the line carries: so much fits into `most_ms`. By steps: it may have been a moment. */
static void shrink(struct flight *fl, uint64_t came_len, int64_t took_ms, int64_t most_ms)
{
	size_t len = (size_t)(came_len * (uint64_t)most_ms / (uint64_t)took_ms);

	if (len < fl->len_max / 2)
		len = fl->len_max / 2;
	if (len < LEN_MIN)
		len = LEN_MIN;
	if (len < fl->len_max)
		fl->len_max = len;
	fl->rate = came_len * 1000 / (uint64_t)took_ms;
}

void flight_land(struct flight *fl, const struct flight_part *p, int64_t now_ms)
{
	int64_t took_ms = now_ms - p->asked_ms + 1, least_ms, most_ms;
	uint64_t came_len;

	fl->len -= p->share_len;
	fl->landed_len += p->len;
	came_len = fl->landed_len - p->landed_len;
	if (!fl->took_min_ms || took_ms < fl->took_min_ms) {
		fl->took_min_ms = took_ms;
		fl->took_min_len = p->len;
	}
	least_ms = distance_ms(fl, p->len);
	most_ms = least_ms * LATE_PERCENT / 100 + LATE_MS;
	if (took_ms <= least_ms * EARLY_PERCENT / 100 + EARLY_MS) {
		/* Fewer than half of what may be say nothing of more than that. */
		if (came_len + fl->len >= fl->len_max / 2)
			grow(fl, p->share_len);
	} else if (took_ms > most_ms && p->asked_ms >= fl->too_slow_ms &&
	           came_len + fl->len >= LEN_MIN) {
		/* Once for all that were asked for before. */
		fl->too_slow_ms = now_ms;
		shrink(fl, came_len, took_ms, most_ms);
	}
}
