/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One relayed connection: two sockets and a queue each way.
 *
 * What one side does arrives at the other in order and in its time: data, then end of file or a reset behind it. While
 * stalled nothing is read, forwarded or noticed on either side, as with a black hole; the sockets stay open. While a
 * direction is held, only that one is not forwarded (it is read until the queue is full).
 */
#ifndef RELAY_CONN_H
#define RELAY_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "frame.h"
#include "queue.h"
#include "stats.h"

struct conn;

/* What an epoll event points to: which side of which connection. */
struct conn_side {
	struct conn *conn;
	int fd;
	uint32_t mask;   /* registered with epoll, 0: not registered */
	bool eof;        /* its last byte was read */
	bool reset_seen; /* a write failed; what follows its data is a reset */
	bool connecting;
};

#define DEPTH_RING 4096 /* request ids remembered; ids count upwards in every client */

struct conn {
	struct conn *next;
	struct conn_side
	    side[2]; /* [UP] is the client, where upward data comes from; [DOWN] the server */
	struct queue queue[2];
	struct frame frame[2];
	uint32_t pending[2]; /* triggers that fire at the end of the frame, one bit each */
	bool finished[2];    /* end of file was passed on */
	bool stalled, held[2];
	bool dead;
	bool answered;         /* something came down since the last thing went up */
	uint32_t server_depth; /* greatest depth handed to the server */
	uint32_t server_epoch;
	struct {
		uint32_t id, depth, epoch;
	} asked[DEPTH_RING];
	uint32_t serial;
	struct stats_conn *stats; /* may be NULL */
};

/* Settings of the whole relay; changes apply to what arrives from now on. */
struct relay_config {
	struct link_shape shape;
	bool shared; /* all connections go over one link, constant */
	bool sftp;   /* parse frames */
	bool refuse; /* reset new connections */
	bool stall;  /* new connections are stalled */
	struct sockaddr_storage target;
	socklen_t target_len;
};

extern struct relay_config config;

int conn_setup(int epoll_fd);
void conn_accept(int fd);
void conn_event(struct conn_side *side, uint32_t events, int64_t now_us);
/* Forward what is due everywhere and free what is dead. Return: when to call again, INT64_MAX: not before an event. */
int64_t conn_pump_all(int64_t now_us);
/* Reset both sides of every connection. Return: how many there were. */
int conn_cut_all(void);
void conn_stall_all(bool on);
void conn_hold_all(enum dir dir, bool on);

#endif
