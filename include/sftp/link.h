/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the SFTP engine (and the SCP backend) needs from below: one connection to one server, with
 * channels ("lanes") that carry whole packets. Implemented by ssh/ over libssh and over a byte
 * pipe (child process or socket), and by the unit tests in memory.
 *
 * Thread: every function and every event belongs to the loop thread. The implementation moves
 * packets to and from its own thread; before link_start() it works inside link_step() instead, so
 * that connecting, prompting and negotiating happen in the foreground before any thread exists.
 *
 * Fence: when `down` is delivered the old connection is already reset (SO_LINGER 0) or its child
 * killed and waited for; no byte of it can reach the server any more.
 */
#ifndef SFTP_LINK_H
#define SFTP_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/data.h"
#include "util/list.h"

/* The order in which a connection with bytes of several lanes to send serves them. */
enum lane_class {
	LANE_META,  /* lookups, attributes, namespace */
	LANE_BURST, /* whole small files in one write */
	LANE_BULK,  /* file data */
	LANE_COPY,  /* copy-data, which blocks its server process */
	LANE_CLASS_COUNT,
};

/* Why a connection or a lane ended; the numbers are the exit codes of a failed mount. */
enum link_fail {
	LINK_FAIL_NONE = 0,
	LINK_FAIL_NETWORK = 2, /* name, network, handshake, lost probe: worth trying again */
	LINK_FAIL_HOSTKEY = 3, /* never tried again by itself */
	LINK_FAIL_AUTH = 4,    /* never tried again by itself */
	LINK_FAIL_SFTP = 5,    /* subsystem refused, or the server ended it */
	LINK_FAIL_PROXY = 6,   /* worth trying again */
};

struct link_error {
	enum link_fail fail;
	char text[1024]; /* one line for people: "cause; remedy", no secrets */
};

/* An outgoing packet: head, then body. Owned by the link from link_send() on. */
struct link_packet {
	struct list entry; /* for the current owner's queue */
	uint32_t lane;
	struct data *head; /* the packet from its length field on, up to the payload */
	size_t head_len;
	struct data *body; /* NULL, or the payload: shared with its owner, read-only */
	size_t body_off;
	size_t body_len;
};

struct lane_spec {
	enum lane_class lane_class;
	const char *command;   /* to run on the server; NULL: its SFTP subsystem */
	struct budget *budget; /* charged for packets that arrive, until freed; NULL: none */
	size_t packet_len_max; /* a longer packet is a protocol error and ends the link; 0: a raw
				* lane, bytes pass through as they come */
};

struct link;

/* Delivered from link_dispatch(), never from inside a call that goes down. */
struct link_events {
	/* Connected and logged in: lanes may be opened. */
	void (*up)(void *ctx);

	/* Lost, or the attempt to connect failed. Every lane is gone; no event of them follows. */
	void (*down)(void *ctx, const struct link_error *error);

	/* The answer to link_open_lane(); `error` is NULL when the lane can be used. */
	void (*lane_open)(void *ctx, uint32_t lane, const struct link_error *error);

	/*
	 * One whole packet after its length field, or (raw lanes) some bytes: bytes[0..len) of
	 * `packet`, whose reference the receiver now owns.
	 */
	void (*lane_packet)(void *ctx, uint32_t lane, struct data *packet, size_t len);

	/* What the server's program wrote to its standard error. Valid during the call. */
	void (*lane_stderr)(void *ctx, uint32_t lane, const uint8_t *bytes, size_t len);

	/* Raw lanes: everything handed over has been given to the transport, more may follow. */
	void (*lane_drained)(void *ctx, uint32_t lane);

	/* The server ended this lane; exit_status is -1 when it did not say. */
	void (*lane_closed)(void *ctx, uint32_t lane, int exit_status);
};

struct link_facts {
	char server_banner[256]; /* "SSH-2.0-OpenSSH_9.2p1"; empty over a byte pipe */
	char client_banner[64];  /* ours */
	char cipher[64];
	char mac[64];
	char kex[64];
	char user[64];
	bool strict_kex;   /* of SSH, against prefix truncation ("Terrapin") */
	bool probes;       /* the link judges liveness itself (SSH level) */
	unsigned lane_max; /* lanes this connection can carry; 1 for a byte pipe */
};

struct link_ops {
	int (*connect)(struct link *l);
	int (*open_lane)(struct link *l, uint32_t lane, const struct lane_spec *spec);
	void (*send)(struct link *l, struct link_packet *p);
	void (*end_lane)(struct link *l, uint32_t lane);
	void (*close_lane)(struct link *l, uint32_t lane);
	size_t (*unsent_len)(const struct link *l);
	void (*probe)(struct link *l);
	void (*reset)(struct link *l);
	void (*facts)(const struct link *l, struct link_facts *out);
	int (*start)(struct link *l);
	int (*step)(struct link *l, int timeout_ms);
	int (*dispatch_fd)(const struct link *l);
	void (*dispatch)(struct link *l);
	void (*destroy)(struct link *l);
};

struct link {
	const struct link_ops *ops;
	const struct link_events *events; /* set by the user of the link before connecting */
	void *events_ctx;
};

/*
 * Starts connecting (again). `up` or `down` follows. The first attempt may prompt; later ones use
 * what the first was given and never read configuration again.
 * Return: 0, or -EALREADY while connected or connecting.
 */
static inline int link_connect(struct link *l)
{
	return l->ops->connect(l);
}

/*
 * Opens a lane under a number that the caller has not used before on this link.
 * `spec` is copied. `lane_open` follows unless `down` comes first.
 * Return: 0 or a negative errno (-ENOTCONN, -ENOMEM).
 */
static inline int link_open_lane(struct link *l, uint32_t lane, const struct lane_spec *spec)
{
	return l->ops->open_lane(l, lane, spec);
}

/* Hands over one packet, sent after all earlier ones of its lane. Dropped if the lane is gone. */
static inline void link_send(struct link *l, struct link_packet *p)
{
	l->ops->send(l, p);
}

/* Raw lanes: the command sees the end of its input behind what was handed over. It may go on. */
static inline void link_end_lane(struct link *l, uint32_t lane)
{
	l->ops->end_lane(l, lane);
}

/*
 * Closes a lane once everything handed over has been sent; no event of it follows. The caller has
 * received its last reply: sftp-server drops what it has read but not processed at EOF.
 */
static inline void link_close_lane(struct link *l, uint32_t lane)
{
	l->ops->close_lane(l, lane);
}

/* Bytes handed over and not yet given to the kernel. */
static inline size_t link_unsent_len(const struct link *l)
{
	return l->ops->unsent_len(l);
}

/* Ask the server for a sign of life now (resume after suspend); `down` follows if none comes. */
static inline void link_probe(struct link *l)
{
	l->ops->probe(l);
}

/* Give the connection up and fence it; `down` follows. For a peer that broke the protocol. */
static inline void link_reset(struct link *l)
{
	l->ops->reset(l);
}

static inline void link_facts(const struct link *l, struct link_facts *out)
{
	l->ops->facts(l, out);
}

/* Moves the connection to its own thread. Before this only link_step() makes progress. */
static inline int link_start(struct link *l)
{
	return l->ops->start(l);
}

/* Foreground only: waits at most timeout_ms for the network and works on what came. */
static inline int link_step(struct link *l, int timeout_ms)
{
	return l->ops->step(l, timeout_ms);
}

/* Readable when link_dispatch() has events to deliver. */
static inline int link_dispatch_fd(const struct link *l)
{
	return l->ops->dispatch_fd(l);
}

static inline void link_dispatch(struct link *l)
{
	l->ops->dispatch(l);
}

/* Closes politely if it can without waiting, joins the thread, frees. NULL is fine. No event. */
static inline void link_destroy(struct link *l)
{
	if (l)
		l->ops->destroy(l);
}

#endif
