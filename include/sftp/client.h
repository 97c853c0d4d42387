/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client engine: lanes, request ids, requests in flight, and the matching of replies.
 *
 * A request belongs to the client from fxp_client_submit() until its callback has run, which
 * happens exactly once: with the server's answer, with one of our own (`unsupported`, out of
 * memory), or with `lost`. While there is no connection requests wait; what was in flight when it
 * broke lies in `lost`, in the order sent, until the recovery has sent it again or settled it.
 * A packet that makes no sense costs the connection, never the process; the request that it answers
 * fails with BE_MALFORMED, for it would break the next connection too.
 *
 * Thread: the loop. Spec: filexfer-02 sections 3 and 4.
 */
#ifndef SFTP_CLIENT_H
#define SFTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "sftp/link.h"
#include "sftp/request.h"
#include "sftp/sftp.h"
#include "sftp/window.h"
#include "util/hash.h"
#include "util/list.h"
#include "util/log.h"
#include "util/timer.h"

#define FXP_HANDLES_FREE_MAX 1024u /* freed handles of a lane that are kept in mind */

#define FXP_LANES_MAX 8u /* lanes on one connection; OpenSSH allows 10 sessions */

enum fxp_client_state {
	FXP_CLIENT_DOWN,       /* no connection */
	FXP_CLIENT_CONNECTING, /* until the first lane has said VERSION and limits are known */
	FXP_CLIENT_SETUP,      /* only requests with `setup` go out */
	FXP_CLIENT_UP,
	FXP_CLIENT_STOPPED, /* for good */
};

enum fxp_lane_state {
	FXP_LANE_OPENING,
	FXP_LANE_GREETING, /* INIT sent; requests may follow it, its first packet is VERSION */
	FXP_LANE_UP,
};

/* What is known of a server process's table of handles: see sftp/burst.h. */
struct fxp_handles {
	bool unknown;        /* it is not what it seemed: nothing is predicted any more */
	uint32_t made_count; /* handles ever made: the index of the next new one */
	uint32_t free[FXP_HANDLES_FREE_MAX]; /* freed, the last one last */
	unsigned free_count;
	unsigned opening_count; /* OPENs and OPENDIRs in flight whose handle stays open */
	unsigned closing_count; /* CLOSEs in flight that were sent behind one of these */
};

enum fxp_proof {
	FXP_PROOF_NONE,
	FXP_PROOF_FIRST, /* a new handle was foretold rightly */
	FXP_PROOF_DONE,  /* and one that was used before */
	FXP_PROOF_REFUTED,
};

struct fxp_lane {
	struct list entry; /* client->lanes */
	uint32_t id;
	enum lane_class lane_class;
	enum fxp_lane_state state;
	struct list in_flight; /* struct fxr, in the order sent */
	unsigned in_flight_count;
	unsigned read_count; /* READs among them */
	struct fxp_handles handles;
	char said[160]; /* the last line of its standard error */
};

typedef void fxr_done_fn(void *arg, const struct fxr_answer *answer);

/* A request. */
struct fxr {
	struct list entry;      /* lane->in_flight, or waiting, lost or deferred of the client */
	struct hash_node by_id; /* while in flight */
	uint32_t id;
	enum fxr_kind kind;
	bool setup;            /* part of connecting: not kept when the connection breaks */
	uint64_t seq;          /* order of submission */
	uint32_t lane_wanted;  /* 0: any of its class */
	struct fxp_lane *lane; /* while in flight */
	struct fxr_args args;
	int64_t since_ms; /* submitted */
	int64_t sent_ms;
	int64_t sent_wall_ms;   /* of the first time */
	int64_t lost_wall_ms;   /* of the last time: no server got it later */
	unsigned lost_count;    /* connections that broke under it */
	unsigned suspect_count; /* of these: without another request to blame */
	struct fxp_window_sample sample;
	fxr_done_fn *done; /* NULL: nobody waits any more */
	void *arg;
	uint32_t index; /* of the handle it names, where `indexed` */
	bool indexed;
	bool freed;             /* CLOSE: its handle counts as freed already */
	struct fxp_status *own; /* an answer of ours, in `deferred` */
	char names[];
};

struct fxp_client_events {
	/* The first lane of a new connection speaks: state is SETUP. */
	void (*greeted)(void *ctx);

	/* A request has come and there is no connection. Must not connect from inside the call. */
	void (*needed)(void *ctx);

	/* The connection broke, or could not be made. Requests that died with it were told. */
	void (*down)(void *ctx, const struct link_error *error);

	/*
	 * Another lane can be used: by requests that name it (GREETING), by all (UP). NULL: one was
	 * refused.
	 */
	void (*lane_up)(void *ctx, struct fxp_lane *lane);
};

struct fxp_client {
	struct link *link;
	struct clock *clock;
	struct budget *budget; /* for what arrives; NULL: none */
	struct fxp_config cfg;
	const struct fxp_client_events *events;
	void *events_ctx;

	enum fxp_client_state state;
	uint64_t epoch; /* of the present connection, counts from 1 */
	bool broken;    /* reset was asked for; `down` is to follow */
	bool failing;   /* inside fxp_client_fail_all() */
	bool blamed;    /* a malformed reply broke it: the other requests are innocent */
	bool greeted;   /* a server has ever said VERSION */
	bool answered;  /* a request has been, since it was UP */
	struct link_error own_error; /* why we broke it; fail is NONE otherwise */

	struct list lanes;
	struct fxp_lane *meta; /* NULL while not up */
	unsigned lane_count;
	uint32_t lane_next_id;
	uint32_t lane_turn;             /* for taking turns among lanes of a class */
	bool refused[LANE_CLASS_COUNT]; /* on this connection */

	enum fxp_proof proof; /* of this connection's handles */

	struct hash by_id;
	uint32_t next_id;
	uint64_t next_seq;
	struct list waiting;
	struct list lost; /* by seq */
	struct list deferred;
	struct timer deferred_timer;

	struct link_facts facts;
	fxp_ext_set exts;
	bool symlink_swapped;
	struct fxp_limits limits;
	size_t packet_len_max, read_len_max, write_len_max;
	int64_t last_packet_ms;
	struct fxp_window down_window, up_window;
	struct fxp_stats stats;
	struct log_limit said_limit; /* of what the server's programs say */
};

/* Return: 0 or -ENOMEM. Sets the link's events. */
int fxp_client_init(struct fxp_client *c, struct link *link, const struct fxp_config *cfg,
                    struct clock *clock, const struct fxp_client_events *events, void *ctx);

/* Fails everything, forgets lanes. The link is the caller's. */
void fxp_client_finish(struct fxp_client *c);

/* Connects (again). */
int fxp_client_connect(struct fxp_client *c);

/* SETUP is over: what waits is sent. `lost` must have been settled. */
void fxp_client_go(struct fxp_client *c);

/* Nothing is sent any more; what is submitted fails. Call fxp_client_fail_all() next. */
void fxp_client_stop(struct fxp_client *c);

/*
 * Breaks the connection, with the reason for the log and the user.
 */
void fxp_client_break(struct fxp_client *c, enum link_fail fail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Submits a request. Paths are copied; a body is referenced; a handle must stay until `done`.
 * `lane`: the lane to use if it is still there, 0 for one of the kind's class. `done` may be NULL.
 * Return: the request, NULL when out of memory (`done` never runs).
 */
struct fxr *fxp_client_submit(struct fxp_client *c, enum fxr_kind kind, uint32_t lane,
                              const struct fxr_args *args, fxr_done_fn *done, void *arg);

/* The same for a request that is part of setting up the connection. */
struct fxr *fxp_client_submit_setup(struct fxp_client *c, enum fxr_kind kind,
                                    const struct fxr_args *args, fxr_done_fn *done, void *arg);

/* `done` will not run. What the server still answers is swallowed, a late handle closed. */
void fxp_client_abandon(struct fxp_client *c, struct fxr *r);

/* Everything is answered `lost` now; so is what the callbacks submit meanwhile. */
void fxp_client_fail_all(struct fxp_client *c);

/* Sends one of `lost` again (state SETUP or UP). */
void fxp_client_resend(struct fxp_client *c, struct fxr *r);

/* Answers one of `lost` without sending it. */
void fxp_client_settle(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer);

/*
 * The lane for a file that is being opened: readers and writers are kept apart while there are two
 * bulk lanes. The first lane when there is none. 0: no connection.
 */
uint32_t fxp_client_file_lane(struct fxp_client *c, bool writes);

/* Opens lanes of a class in the background until there are `count`, as far as granted. */
void fxp_client_want_lanes(struct fxp_client *c, enum lane_class lane_class, unsigned count);

unsigned fxp_client_lane_count(const struct fxp_client *c, enum lane_class lane_class);

/*
 * Requests that name the lane may be sent on it. Once the first lane has said VERSION the others,
 * which run the same program, are believed to; one that says otherwise costs the connection.
 */
bool fxp_lane_speaks(const struct fxp_client *c, const struct fxp_lane *lane);

/* Since when the oldest request waits; -1: none does. */
int64_t fxp_client_waits_since_ms(const struct fxp_client *c);

/* For lane.c. */
extern const struct link_events fxp_lane_link_events;
void fxp_client_packet(struct fxp_client *c, struct fxp_lane *lane, struct data *packet,
                       size_t len);
void fxp_client_lose(struct fxp_client *c);

/* What was sent on a lane that never spoke goes elsewhere; the lane may not be chosen any more. */
void fxp_client_move(struct fxp_client *c, struct fxp_lane *lane);

/* For client.c: the lane a request goes to now, NULL when there is none. */
struct fxp_lane *fxp_lane_for(struct fxp_client *c, uint32_t wanted, enum lane_class lane_class);
void fxp_lane_forget_all(struct fxp_client *c);

/* For client.c: a request goes out, `len` bytes on the wire; it has been answered. They feed stats, windows and the log. */
void fxp_measure_sent(struct fxp_client *c, struct fxr *r, size_t len);
void fxp_measure_answered(struct fxp_client *c, struct fxr *r, const struct fxr_answer *answer);

#endif
