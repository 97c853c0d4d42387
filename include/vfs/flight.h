/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many bytes that nobody has asked for may be on their way at once: about what the line holds. What
 * comes later than the distance explains has stood in a queue, and so does every stat of others; as long
 * as nothing does there may be more.
 *
 * Thread: the loop; no timers. Knows nothing of what is fetched, or how.
 */
#ifndef VFS_FLIGHT_H
#define VFS_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flight {
	size_t len, len_max; /* bytes on their way, of a long one a part, and how many may be */
	uint64_t landed_len; /* since the beginning */
	/* While any are on their way: */
	int64_t took_min_ms; /* the least time that one took; 0: unknown */
	size_t took_min_len; /* its length */
	int64_t began_ms;    /* when the first was asked for */
	/* Of the last time that one was so late that len_max was lowered: */
	uint64_t rate;       /* bytes per second that came; 0: none was */
	int64_t too_slow_ms; /* when */
};

/* Something on its way. */
struct flight_part {
	size_t len;
	size_t share_len; /* of len_max, half at most: the line is not idle behind a long one */
	int64_t asked_ms;
	uint64_t landed_len; /* of the flight at that time */
};

/* Nothing is known of the line. */
void flight_init(struct flight *fl);

/* May one more be asked for? One always may. */
bool flight_has_room(const struct flight *fl, int64_t now_ms);

/* `len` bytes are asked for. */
void flight_ask(struct flight *fl, struct flight_part *p, size_t len, int64_t now_ms);

/* They have come, or will not. */
void flight_land(struct flight *fl, const struct flight_part *p, int64_t now_ms);

#endif
