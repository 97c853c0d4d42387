/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fxp window: how many bytes of file data one direction of a connection keeps in flight.
 * Grown while all of it comes back in each round trip, then held at a quarter more than the
 * delivery rate times the least round trip. Once the rate is known it is filled at that pace: asked
 * for at once, it would all wait in the server, and OpenSSH copies its buffer each time that it grows
 * (measured: 5 MB/s with 14 MB of answers waiting). Against a stream in the other direction it goes
 * evenly.
 *
 * Thread: the loop; no timers.
 */
#ifndef SFTP_WINDOW_H
#define SFTP_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FXP_WINDOW_RATE_SLOTS 4u

struct fxp_window {
	const struct fxp_window *facing; /* the other direction, or NULL */

	size_t window_len;
	size_t in_flight_len;
	unsigned in_flight_count;
	uint64_t delivered_len;    /* since the connection came up */
	int64_t delivered_ms;      /* of the last delivery */
	int64_t delivered_sent_ms; /* when what it answered was sent */
	int64_t rtt_min_ms;        /* -1: not measured */
	int64_t rtt_min_at_ms;
	unsigned drain_rounds; /* left with half the window, to see the round trip without queue */
	int64_t rtt_drain_ms;  /* the least seen meanwhile; -1: none */
	uint64_t rate;         /* bytes per second: the best of the last seconds */
	uint64_t rate_max;     /* and of this connection */
	uint64_t rates[FXP_WINDOW_RATE_SLOTS]; /* the best of each slot of time */
	unsigned slot;
	int64_t slot_ms;          /* when it began */
	uint64_t round_end_len;   /* delivered_len that ends the round */
	bool full;                /* growth is over: follow rate times round trip */
	bool limited;             /* this round wanted to send more than the window let */
	bool flying;              /* the first flight after a pause is under way: */
	size_t flight_len;        /* what was sent before anything of it came back */
	uint64_t flight_base_len; /* delivered_len when it began */
	uint64_t flight_from_len; /* and what it will be when the first of it comes back */
	int64_t flight_ms;        /* when it began */
	int64_t flight_sent_ms;   /* the last of it */
	uint64_t flight_rate;     /* bytes per second, what it has shown; 0: nothing */
	bool measured;            /* that was long enough to go by it */
	uint64_t waits_len;       /* what waits for the line, if it is as fast as it seems */
	int64_t waits_ms;         /* when it was that much */
};

/* What a request notes when it is sent, for the rate when it is answered. */
struct fxp_window_sample {
	struct fxp_window *window; /* NULL: not counted */
	size_t len;
	uint64_t delivered_len;
	int64_t delivered_ms;
	int64_t delivered_sent_ms;
	int64_t sent_ms;
};

/* `len`: where a stream starts on a connection about which nothing is known. */
void fxp_window_init(struct fxp_window *w, size_t len);

/* They are the two directions of one connection, for as long as both exist. */
void fxp_window_face(struct fxp_window *a, struct fxp_window *b);

/* A new connection: what is known stays, nothing is in flight. */
void fxp_window_reset(struct fxp_window *w);

/*
 * There are `lanes` where there was one: look for the new limit. Twice of what the first flight has
 * shown is tried at once, as far as their channel windows go, for it may have been held up by the
 * opening of the lanes; or, if it was the channel window that limited the one, so much more.
 */
void fxp_window_grow(struct fxp_window *w, unsigned lanes);

/* A large sequential read begins: start from at least `len`. */
void fxp_window_raise(struct fxp_window *w, size_t len);

/* Return: true when one more request may go. Two always may. */
bool fxp_window_room(struct fxp_window *w);

/* Return: true while the other direction has a stream of its own. */
bool fxp_window_faced(const struct fxp_window *w);

/*
 * How many bytes one request of a stream should carry, of at most `len_max`: where the line is known to be
 * slow no more than it carries in a moment, for behind it everything else waits. Whole 32 KiB.
 */
size_t fxp_window_unit_len(const struct fxp_window *w, size_t len_max);

/*
 * When a request may go for which there is room, if no more than a step, or against a stream
 * in the other direction a part of the window, shall wait in the server.
 * Return: `now_ms` when it may go now.
 */
int64_t fxp_window_due_ms(const struct fxp_window *w, int64_t now_ms);

void fxp_window_sent(struct fxp_window *w, struct fxp_window_sample *s, size_t len, int64_t now_ms);

/* `delivered_len`: the payload that arrived; less than sent for a short read or an error. */
void fxp_window_done(struct fxp_window_sample *s, size_t delivered_len, int64_t now_ms);

#endif
