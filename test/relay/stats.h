/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What passed through the relay since the last reset. Everything is counted when the relay receives it.
 *
 * round_trips: the length of the longest chain  request -> its reply -> later request -> ...  Every request that the
 * relay receives gets the depth 1 + the greatest depth of any reply that was already handed to the client; a reply has
 * the depth of its request. The counter is the greatest depth given to a request. So ten requests sent one after
 * another are 10 round trips, ten sent together are 1, and eighty sent with eight in flight are 10: it is the number of
 * times a program had to wait for the wire. It spans all connections. With --sftp a request is an SFTP frame and its
 * reply is found by id, so the number is exact for one client program (two independent ones look dependent).
 * Without --sftp each piece of bytes takes the place of a frame, and a reply has the depth of the deepest bytes handed
 * to that server before it: right for traffic that waits for its answers, an upper bound for anything else (SSH window
 * adjustments and key exchange count too).
 *
 * flips: number of times a client-to-server frame (bytes without --sftp) follows at least one server-to-client frame
 * (byte) on the same connection; the first counts.
 */
#ifndef RELAY_STATS_H
#define RELAY_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "frame.h"

enum dir { UP, DOWN }; /* client to server, server to client */

#define STATS_EXT_MAX  24
#define STATS_CONN_MAX 64 /* connections remembered one by one; later ones are only summed */

struct stats_conn {
	uint64_t bytes[2], frames[2];
	uint32_t serial;
	bool open;
};

struct stats {
	uint64_t bytes[2], frames[2];
	uint64_t types[2][256];
	struct {
		char name[FRAME_NAME_MAX + 1];
		uint64_t count;
	} ext[STATS_EXT_MAX];
	uint64_t flips;
	uint32_t depth;        /* = round_trips */
	uint32_t client_depth; /* greatest depth of a reply handed to the client */
	uint32_t epoch;        /* depths of another epoch are void */
	uint32_t accepted, active;
	uint32_t conn_count;
	struct stats_conn conns[STATS_CONN_MAX];
};

extern struct stats stats;

void stats_reset(void);
struct stats_conn *stats_conn_add(uint32_t serial); /* NULL: only summed */
void stats_frame(enum dir dir, const struct frame *f);
void stats_print(FILE *out); /* one line of JSON */

#endif
