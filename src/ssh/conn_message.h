/* SPDX-License-Identifier: BSD-2-Clause */
/* The messages between the two sides of a connection. Internal to conn.c and conn_front.c. */
#ifndef SSH_CONN_MESSAGE_H
#define SSH_CONN_MESSAGE_H

#include "ssh/conn.h"

enum conn_command_type {
	CONN_COMMAND_CONNECT,
	CONN_COMMAND_OPEN_LANE,
	CONN_COMMAND_END_LANE,
	CONN_COMMAND_CLOSE_LANE,
	CONN_COMMAND_PROBE,
	CONN_COMMAND_RESET,
	CONN_COMMAND_STOP,
};

struct conn_command {
	struct list entry;
	enum conn_command_type type;
	uint32_t lane;
	enum lane_class lane_class; /* OPEN_LANE, as are the next two */
	char *command;
	struct budget *budget;
	size_t packet_len_max;
};

enum conn_event_type {
	CONN_EVENT_UP,
	CONN_EVENT_DOWN,
	CONN_EVENT_LANE_OPEN,
	CONN_EVENT_PACKET,
	CONN_EVENT_STDERR,
	CONN_EVENT_LANE_DRAINED,
	CONN_EVENT_LANE_CLOSED,
};

struct conn_event {
	struct list entry;
	enum conn_event_type type;
	uint32_t lane;
	struct link_error *error; /* DOWN, LANE_OPEN (NULL: it is open) */
	struct data *data;        /* PACKET, STDERR */
	size_t len;
	int exit_status; /* LANE_CLOSED */
};

void conn_command_free(struct conn_command *cmd);
void conn_packet_free(struct link_packet *p);

/* Back: frees a packet of which `sent_len` bytes have been sent. */
void lane_packet_drop(struct conn *c, struct link_packet *p, size_t sent_len);

/* Back: drops everything queued. */
void lane_discard(struct lane *l);

/* Back: carries out what has been asked, then moves bytes, waiting at most timeout_ms. */
void conn_turn(struct conn *c, int timeout_ms);

/* Back: the last thing it does. */
void conn_back_end(struct conn *c);

#endif
