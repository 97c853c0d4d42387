/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every connection has in common, whatever carries its bytes: the two mailboxes, the thread,
 * the table of lanes with their queues, and the order in which events reach the loop.
 *
 * Internal to ssh/. ssh_link.c and pipe_link.c supply a struct conn_ops.
 *
 * Notes on the thread model. There are two sides:
 *   front  the loop thread: link_*() calls. Touches only what is marked so below, and posts
 *          commands and packets.
 *   back   the connection's own thread after link_start(), before that the caller's thread inside
 *          link_step(). Owns lanes, session and descriptors, and posts events.
 * They share the mailboxes, two atomic counters and `facts` under its lock; nothing else.
 * pthread_create() in link_start() is the hand-over of everything the back owns.
 */
#ifndef SSH_CONN_H
#define SSH_CONN_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "sftp/framer.h"
#include "sftp/link.h"
#include "util/list.h"
#include "util/mailbox.h"

struct conn;

enum lane_state {
	LANE_OPENING,
	LANE_OPEN,
	LANE_CLOSED, /* the server ended it, or it could not be opened: to be freed */
};

/* Back only. */
struct lane {
	struct list entry; /* in conn.lanes, ordered by class */
	struct conn *conn;
	uint32_t id;
	enum lane_class lane_class;
	char *command; /* NULL: the SFTP server */
	bool raw;      /* bytes pass as they come */
	enum lane_state state;
	struct framer framer; /* unused by raw lanes */
	struct list out;      /* struct link_packet, unsent */
	size_t out_off;       /* bytes of the first packet already sent */
	bool closing;         /* close when `out` is empty */
	bool ending;          /* send the end of input when `out` is empty */
	int exit_status;      /* -1: not said */
};

enum conn_state {
	CONN_DOWN,
	CONN_CONNECTING,
	CONN_UP,
};

/* All of these run on the back. */
struct conn_ops {
	/*
	 * Connects and logs in. May block, but only in conn_wait(). Fills `err` on failure.
	 * Return: 0 or a negative errno (-ECANCELED when conn_wait() said so).
	 */
	int (*connect)(struct conn *c, struct link_error *err);

	/* Return: a lane with its own fields set, to which conn.c adds the rest; NULL: no memory. */
	struct lane *(*lane_create)(struct conn *c);

	/* Begins opening. conn_lane_opened() or conn_lane_refused() follows, now or in pump. */
	void (*lane_open)(struct lane *l);

	/* Sends the end of input. NULL: the transport has none. */
	void (*lane_send_end)(struct lane *l);

	/* Ends it towards the server if it still lives, and frees it. */
	void (*lane_destroy)(struct lane *l);

	/*
	 * Sends what is queued, receives what came, then waits for descriptors or mailboxes for at
	 * most timeout_ms (-1: for ever) if there was nothing to do.
	 * Return: 0, or a negative errno with `err` filled: the connection is lost.
	 */
	int (*pump)(struct conn *c, int timeout_ms, struct link_error *err);

	/* Ask for a sign of life. May be NULL. */
	void (*probe)(struct conn *c);

	/*
	 * No byte may reach the server after this. `polite`: only then, say goodbye if that can be
	 * done without waiting. Also called when connect failed. All lanes are gone already.
	 */
	void (*fence)(struct conn *c, bool polite);

	/* Frees what is not struct conn; then conn.c frees the block that conn_init() was given. */
	void (*finish)(struct conn *c);
};

struct conn {
	struct link link; /* first: struct link * and struct conn * are the same address */
	const struct conn_ops *ops;
	unsigned lane_max; /* constant */
	bool probes;       /* constant */

	/* Front only. */
	enum conn_state front_state;
	struct list front_lanes; /* struct front_lane: whose events are still wanted */
	bool started;
	pthread_t thread;

	/* Shared. */
	struct mailbox commands;       /* struct conn_command, front to back */
	struct mailbox packets;        /* struct link_packet, front to back */
	struct mailbox events;         /* struct conn_event, back to front */
	atomic_size_t unsent_len;      /* handed over and not yet given to the transport */
	atomic_size_t buffered_len;    /* given to the transport, not yet to the kernel */
	atomic_size_t undelivered_len; /* received and not yet dispatched */
	pthread_mutex_t facts_lock;
	struct link_facts facts; /* guarded by facts_lock */

	/* Back only. */
	enum conn_state state;
	bool stopping;
	bool cancelled;             /* reset or stop was asked for while connecting */
	struct list taken_commands; /* taken from the mailbox, not yet carried out */
	struct list lanes;          /* struct lane */
	bool sweep_due;            /* a lane may be done with: not to wait before that is seen to */
	bool first_done;           /* a connection has been up once: never prompt again */
	struct link_error failure; /* set by conn_fail() */
	bool failed;
};

/* Return: 0 or a negative errno. `c` must be zeroed memory from calloc(). */
int conn_init(struct conn *c, const struct conn_ops *ops, unsigned lane_max, bool probes);

/* The monotonic clock. */
int64_t conn_now_ms(void);

/* Fills `err`; the text is cut to fit and made one printable line. */
void conn_error(struct link_error *err, enum link_fail fail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Back, while connecting: waits until one of `fds` is ready, the deadline passes (0: none) or the
 * user gives up. `fds` may have room for nothing else (count is at most 4).
 * Return: the number of ready descriptors, 0 at the deadline, -ECANCELED, or a negative errno.
 */
int conn_wait(struct conn *c, struct pollfd *fds, unsigned count, int64_t deadline_ms);

/*
 * Back, in pump: waits like poll(). The mailboxes are watched as well.
 * Return: true when one of `fds` is ready; the caller looks at revents.
 */
bool conn_idle(struct conn *c, struct pollfd *fds, unsigned count, int timeout_ms);

/* Back: the connection is lost; pump returns soon with this error. The first one wins. */
void conn_fail(struct conn *c, enum link_fail fail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Back: the loop is so far behind that nothing more should be read now. */
bool conn_congested(struct conn *c);

/* Back: what came in on a lane, cut as it pleases. Consumes everything, whatever happens. */
void conn_lane_received(struct lane *l, const uint8_t *bytes, size_t len);
void conn_lane_stderr(struct lane *l, const uint8_t *bytes, size_t len);

/* Back: the outcome of lane_open. After `refused` the lane is freed by the next turn. */
void conn_lane_opened(struct lane *l);
void conn_lane_refused(struct lane *l, const struct link_error *err);

/* Back: the queue of a raw lane has become empty. */
void conn_lane_drained(struct lane *l);

/* Back: the server ended the lane; freed by the next turn. */
void conn_lane_ended(struct lane *l);

/*
 * Back: the next unsent bytes of a lane, contiguous in memory.
 * Return: their length, 0 when nothing is queued.
 */
size_t lane_peek(const struct lane *l, const uint8_t **bytes);

/* Back: the same for several pieces at once. Return: how many of `iov` are filled. */
unsigned lane_pieces(const struct lane *l, struct iovec *iov, unsigned max);

/* Back: copies up to `max` of the next unsent bytes without consuming them. Return: how many. */
size_t lane_gather(const struct lane *l, uint8_t *to, size_t max);

/* Back: `len` of them have been given to the transport. */
void lane_consume(struct lane *l, size_t len);

/* Front: the number of lanes is bounded by lane_max; see struct link_ops for the rest. */
extern const struct link_ops conn_link_ops;

#endif
