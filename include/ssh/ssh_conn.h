/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One SSH connection over libssh, as its parts see it.
 *
 * Internal to ssh/. Thread: the back of the connection (include/ssh/conn.h): a libssh session is
 * used by one thread only.
 */
#ifndef SSH_SSH_CONN_H
#define SSH_SSH_CONN_H

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include "ssh/child.h"
#include "ssh/config.h"
#include "ssh/conn.h"
#include "ssh/login.h"
#include "ssh/prompt.h"

/* Signs of life. See ssh_life.c. */
struct ssh_life {
	int timer_fd;         /* CLOCK_BOOTTIME: a suspended machine notices at once */
	uint64_t seen_in_len; /* bytes received when last looked */
	int64_t heard_ms;     /* when the last byte came, CLOCK_BOOTTIME */
	int64_t armed_ms;     /* when the timer fires; 0: not armed */
	unsigned unanswered;  /* intervals since a probe went out, 0: none is out */
	int64_t urgent_ms;    /* link_probe(): lost unless heard of by then; 0: none */
};

/* The way on from a jump host: a channel of its session, and the socket pair that is its end. */
struct jump {
	ssh_channel channel; /* NULL: none */
	int fd;              /* our end of the pair; the next session has the other; -1: none */
	uint8_t *down;       /* received and not yet passed on; address space for a whole window */
	size_t down_off, down_len;
	uint8_t *up; /* to be sent */
	size_t up_off, up_len;
	uint32_t used_len; /* received since the channel's window was last set */
	bool drained;      /* nothing was left in the channel */
	bool ended;        /* the next session has been told */
};

/* Channels that stand by for lanes: those that one large file's writes will ask for. */
#define SSH_SPARES 5

/*
 * Also each jump host on the way is one, which belongs to the connection through it. Of its `conn`
 * only first_done counts: `top` has the mailboxes, the thread and the lanes.
 */
struct ssh_conn {
	struct conn conn; /* first */
	struct ssh_config cfg;

	/* The way there. */
	struct ssh_conn *top; /* the connection that drives this one; itself unless a jump host */
	struct ssh_conn *via; /* the jump host that carries it, owned; NULL: none */
	struct ssh_conn *lender; /* owns cfg and what outlives one connection; NULL: we do */
	struct jump jump;        /* of a jump host */
	struct child proxy;
	int fd;           /* ours, so that only we decide how the socket is closed; -1: none */
	int session_fd;   /* the duplicate that libssh uses; -1: none */
	char address[64]; /* of the server, "" behind a proxy */

	/* The session. */
	ssh_session session; /* NULL: none */
	ssh_event event;
	struct ssh_counter_struct socket_counter;
	struct ssh_counter_struct packet_counter;
	int64_t login_deadline_ms; /* 0: none */
	bool strict_kex;           /* sequence numbers are reset with the keys, on both sides */
	struct ssh_life life;
	ssh_channel spares[SSH_SPARES]; /* opened or being opened, and nobody's; NULL: none */
	bool spares_done;               /* they have been asked for */
	bool refused;                   /* the server has not granted a lane */

	/* Sending. */
	size_t fed_len;      /* given to libssh since its buffer was last empty */
	size_t feed_max_len; /* as much may be: less on slow lines */
	int64_t fed_ms;      /* when that began */
	bool dirty;          /* a lane has something to look after */

	/* What outlives one connection. */
	struct login_store store;
	uint8_t *pinned_key; /* the host key of the first login */
	size_t pinned_key_len;
	struct ssh_strings refused_types; /* of the server's keys that host_key= does not name */
	struct ssh_strings refused_keys;  /* the same for people: "ED25519 SHA256:..." */
};

static inline struct ssh_conn *ssh_conn_of(struct conn *c)
{
	return (struct ssh_conn *)c;
}

/*
 * ssh_link.c: everything from the first packet to the end of the login, jump hosts included.
 * Return: 0 or a negative errno with `err` filled.
 */
int ssh_conn_establish(struct ssh_conn *sc, struct link_error *err);

/* Starts to move the session's packets by ssh_event_dopoll(). Return: 0 or -ENOMEM. */
int ssh_conn_event_start(struct ssh_conn *sc);

/* The one whose socket leaves this machine: the first jump host, or `sc` itself. */
static inline struct ssh_conn *ssh_conn_root(struct ssh_conn *sc)
{
	while (sc->via)
		sc = sc->via;
	return sc;
}

/* --- jump.c: ProxyJump ----------------------------------------------------------------------- */

/*
 * Logs in to the jump hosts and opens the way on from the last one.
 * Return: a descriptor for the session of `sc`, or a negative errno with `err` filled.
 */
int jump_connect(struct ssh_conn *sc, struct link_error *err);

/*
 * Moves bytes between the sessions on the way of `sc`, as far as they go without waiting. When one
 * of them is dead or its channel closed, the session behind it reads the end of its stream.
 * Return: true when there was anything to move. False and cheap without jump hosts.
 */
bool jump_pump(struct ssh_conn *sc);

/* The jump host whose connection is lost, or NULL. */
struct ssh_conn *jump_broken(struct ssh_conn *sc);

/* Forgets the channel and closes the pair. The session of `hop` is gone or going. */
void jump_end(struct ssh_conn *hop);

/* --- proxy_command.c ------------------------------------------------------------------------- */

/*
 * Starts ProxyCommand as sc->proxy. Return: the descriptor to speak over, which the child owns unless
 * it has handed over one of its own (ProxyUseFdpass); or a negative errno with `err` filled.
 */
int proxy_command_connect(struct ssh_conn *sc, struct link_error *err);

/* --- ssh_session.c: the session up to the end of the key exchange ---------------------------- */

/* Creates the session over sc->fd with all options set. Return: 0 or a negative errno. */
int ssh_conn_session_create(struct ssh_conn *sc, struct link_error *err);

/* Banner and key exchange. Return: 0 or a negative errno. */
int ssh_conn_handshake(struct ssh_conn *sc, struct link_error *err);

/*
 * Waits until the session can go on, and moves what the jump hosts carry meanwhile. Return: 1; 0 at the deadline; -ECANCELED; or a negative errno.
 */
int ssh_conn_wait(struct ssh_conn *sc, int64_t deadline_ms);

/* What the session waits for. */
struct pollfd ssh_conn_pollfd(const struct ssh_conn *sc);

/* libssh's words about the last failure, made one line. */
const char *ssh_conn_reason(struct ssh_conn *sc);

/* True once libssh has given the session up. */
bool ssh_conn_is_dead(struct ssh_conn *sc);

/* libssh's log goes into ours. Once per process. */
void ssh_conn_log_init(void);

/* Lines for the proxy's last words. */
void ssh_conn_proxy_error(struct ssh_conn *sc, struct link_error *err);

/* How to ask the user, if at all. */
struct prompt ssh_conn_prompt(const struct ssh_conn *sc);

/* --- host_key.c ----------------------------------------------------------------------------- */

/*
 * The HostKeyAlgorithms to offer, known types first. Return: 0 and a string to free, or a negative
 * errno with `err` filled where there is more to say.
 */
int host_key_preference(struct ssh_conn *sc, char **out, struct link_error *err);

/*
 * Decides about the server's key, asking and remembering as configured. Return: 0; -EKEYREJECTED: it
 * is none that host_key= names, but the server may have one of another type, for which a new
 * connection will ask; or another negative errno. `err` is filled.
 */
int host_key_check(struct ssh_conn *sc, struct link_error *err);

/* The key exchange found no type that was not refused. Return: -EACCES with `err` filled. */
int host_key_none_named(struct ssh_conn *sc, struct link_error *err);

/* --- ssh_lane.c ----------------------------------------------------------------------------- */

struct lane *ssh_lane_create(struct conn *c);
void ssh_lane_open(struct lane *l);
void ssh_lane_send_end(struct lane *l);
void ssh_lane_destroy(struct lane *l);
void ssh_lanes_forget(struct ssh_conn *sc); /* libssh has freed every channel */
int ssh_conn_pump(struct conn *c, int timeout_ms, struct link_error *err);

/* --- ssh_life.c ----------------------------------------------------------------------------- */

int ssh_life_start(struct ssh_conn *sc);
void ssh_life_stop(struct ssh_conn *sc);

/* Something may have come: note it. Cheap. */
void ssh_life_look(struct ssh_conn *sc);

/* The timer fired. Fails the connection when it is dead. */
void ssh_life_tick(struct ssh_conn *sc);

/* link_probe() */
void ssh_life_probe(struct conn *c);

#endif
