/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lanes as libssh channels, and the moving of their bytes.
 * Room: ssh. Thread: the back.
 *
 * Receiving: libssh 0.10 keeps a channel window of 1.25 MB, which caps a download at that much per
 * round trip. It grows the window when ssh_channel_read_timeout() is asked for more than the window
 * holds, so it is asked for `window_len` each time a part of that has been used up. The bytes
 * themselves arrive through the data callback, which always takes everything.
 *
 * Sending: libssh buffers without bound what the socket does not take, in the order given. So it is
 * fed little at a time, and only once it is empty again: what matters more can then still go first.
 *
 * Opening costs two round trips with OpenSSH, one for the channel and one for the SFTP server, as the
 * channel's window is 0 until that runs. Channels alone cost the server next to nothing, so some are
 * opened once it has shown that it grants several, and stand by.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ssh/ssh_conn.h"
#include "util/log.h"

/* The window of a lane, and that of one for data: 1 Gbit/s times 200 ms is 25 MB. */
#define WINDOW_LEN      (2u << 20)
#define WINDOW_BULK_LEN (32u << 20)

/* Each WINDOW_ADJUST is worth at least this much, and comes before a quarter is used. */
#define WINDOW_STEP_LEN (1u << 20)

/* Bytes given to libssh at a time, on fast lines and on slow ones. */
#define FEED_MAX_LEN (256u << 10)
#define FEED_MIN_LEN (64u << 10)

/* When FEED_MAX_LEN takes longer than this to leave, the line is slow; when less, it is fast. */
#define FEED_SLOW_MS 20
#define FEED_FAST_MS 5

/* What fits in one SSH packet of 32 KiB; smaller pieces are put together up to this. */
#define GATHER_LEN 32700

/* Rounds of receiving before the mailboxes are looked at again: 4 KiB each. */
#define RECEIVE_ROUNDS 64

enum lane_phase {
	PHASE_CHANNEL, /* the channel is being opened */
	PHASE_ENV,     /* the variables of SetEnv and SendEnv are being set, one by one */
	PHASE_REQUEST, /* the subsystem or command is being asked for */
	PHASE_RUNNING,
};

struct ssh_lane {
	struct lane lane;    /* first */
	ssh_channel channel; /* NULL: libssh has freed it */
	struct ssh_channel_callbacks_struct callbacks;
	enum lane_phase phase;
	size_t env_index; /* of the variable that is being set */
	bool remote_closed;
	uint32_t window_len; /* what the window is set to each time */
	uint32_t used_len;   /* received since it was set */
	uint64_t received_len;
};

static struct ssh_lane *ssh_lane_of(struct lane *l)
{
	return (struct ssh_lane *)l;
}

static struct ssh_conn *conn_of_lane(struct ssh_lane *sl)
{
	return ssh_conn_of(sl->lane.conn);
}

/* --- what libssh tells us ------------------------------------------------------------------ */

static int on_data(ssh_session session, ssh_channel channel, void *data, uint32_t len,
                   int is_stderr, void *userdata)
{
	struct ssh_lane *sl = userdata;

	/* A command may speak before we have looked at the answer to its request. */
	if (sl->lane.state == LANE_OPENING && sl->phase == PHASE_REQUEST)
		conn_lane_opened(&sl->lane);
	if (is_stderr)
		conn_lane_stderr(&sl->lane, data, len);
	else
		conn_lane_received(&sl->lane, data, len);
	sl->used_len += len;
	sl->received_len += len;
	return (int)len;
}

static void on_close(ssh_session session, ssh_channel channel, void *userdata)
{
	struct ssh_lane *sl = userdata;

	sl->remote_closed = true;
	conn_of_lane(sl)->dirty = true;
}

static void on_exit_status(ssh_session session, ssh_channel channel, int status, void *userdata)
{
	struct ssh_lane *sl = userdata;

	sl->lane.exit_status = status;
}

/* --- opening and closing ------------------------------------------------------------------- */

struct lane *ssh_lane_create(struct conn *c)
{
	struct ssh_lane *sl = calloc(1, sizeof(*sl));

	return sl ? &sl->lane : NULL;
}

static void refuse(struct ssh_lane *sl, const char *what)
{
	struct ssh_conn *sc = conn_of_lane(sl);
	struct link_error err;

	sc->refused = true;
	/* A connection that broke meanwhile says so by itself. */
	if (ssh_conn_is_dead(sc))
		return;
	conn_error(&err, LINK_FAIL_SFTP, "'%s' %s: %s", sc->cfg.host, what,
	           ssh_get_error(sc->session));
	log_info(LOG_SSH, "lane=%u: %s", sl->lane.id, err.text);
	conn_lane_refused(&sl->lane, &err);
}

static void refuse_sftp(struct ssh_lane *sl)
{
	struct ssh_conn *sc = conn_of_lane(sl);
	struct link_error err;

	if (ssh_conn_is_dead(sc))
		return;
	if (sc->cfg.sftp_server)
		conn_error(&err, LINK_FAIL_SFTP,
		           "'%s' refuses to run its SFTP server '%s'; check -o sftp_server",
		           sc->cfg.host, sc->cfg.sftp_server);
	else
		conn_error(&err, LINK_FAIL_SFTP,
		           "'%s' has no sftp subsystem; name its program with -o "
		           "sftp_server=/usr/lib/openssh/sftp-server",
		           sc->cfg.host);
	conn_lane_refused(&sl->lane, &err);
}

static int request(struct ssh_lane *sl)
{
	const char *server = conn_of_lane(sl)->cfg.sftp_server;

	if (sl->lane.command)
		return ssh_channel_request_exec(sl->channel, sl->lane.command);
	if (server && strpbrk(server, "/ "))
		return ssh_channel_request_exec(sl->channel, server);
	return ssh_channel_request_subsystem(sl->channel, server ? server : "sftp");
}

/* Servers take what AcceptEnv names and refuse the rest, which is no error. Return: false: to wait. */
static bool send_env(struct ssh_lane *sl)
{
	const struct ssh_strings *env = &conn_of_lane(sl)->cfg.env;

	for (; sl->env_index < env->count; sl->env_index++) {
		const char *value = strchr(env->at[sl->env_index], '=') + 1;
		char name[128];

		snprintf(name, sizeof(name), "%.*s", (int)(value - 1 - env->at[sl->env_index]),
		         env->at[sl->env_index]);
		if (ssh_channel_request_env(sl->channel, name, value) == SSH_AGAIN)
			return false;
	}
	return true;
}

static void set_window(struct ssh_lane *sl);

/* A further connection has none: it was made for lanes that were wanted then, and got them. */
static void spares_open(struct ssh_conn *sc)
{
	unsigned lane_count = 0;

	if (sc->refused || sc->spares_done || sc->lender || !ssh_get_serverbanner(sc->session) ||
	    !strstr(ssh_get_serverbanner(sc->session), "OpenSSH"))
		return;
	sc->spares_done = true;
	list_for_each(pos, &sc->conn.lanes)
		lane_count++;
	for (unsigned i = 0; i < SSH_SPARES && lane_count + i < sc->conn.lane_max; i++) {
		sc->spares[i] = ssh_channel_new(sc->session);
		if (sc->spares[i])
			ssh_channel_open_session(sc->spares[i]);
	}
}

/* Return: a channel that is open or being opened, or NULL. */
static ssh_channel spare_take(struct ssh_conn *sc)
{
	for (unsigned i = 0; i < SSH_SPARES; i++) {
		ssh_channel channel = sc->spares[i];

		sc->spares[i] = NULL;
		if (channel && !ssh_channel_is_eof(channel))
			return channel;
		if (channel) /* the server has closed it */
			ssh_channel_free(channel);
	}
	return NULL;
}

/* Goes on as far as it can without waiting. */
static void lane_proceed(struct ssh_lane *sl)
{
	int rc;

	if (sl->phase == PHASE_CHANNEL) {
		rc = ssh_channel_open_session(sl->channel);
		if (rc == SSH_AGAIN)
			return;
		if (rc != SSH_OK) {
			refuse(sl, "refuses a further channel");
			return;
		}
		sl->phase = PHASE_ENV;
	}
	if (sl->phase == PHASE_ENV && send_env(sl))
		sl->phase = PHASE_REQUEST;
	if (sl->phase == PHASE_REQUEST) {
		rc = request(sl);
		if (rc == SSH_AGAIN)
			return;
		sl->phase = PHASE_RUNNING;
		if (rc == SSH_OK) {
			if (sl->lane.state == LANE_OPENING)
				conn_lane_opened(&sl->lane);
			set_window(sl);
			spares_open(conn_of_lane(sl));
		} else if (sl->lane.command) {
			refuse(sl, "refuses to run a command");
		} else {
			refuse_sftp(sl);
		}
	}
}

void ssh_lane_open(struct lane *l)
{
	struct ssh_lane *sl = ssh_lane_of(l);
	struct ssh_conn *sc = conn_of_lane(sl);

	/* Of a lane for data from the start: the first flight of READs is answered without a pause. */
	sl->window_len = l->lane_class >= LANE_BULK ? WINDOW_BULK_LEN : WINDOW_LEN;
	sl->channel = spare_take(sc);
	if (!sl->channel)
		sl->channel = ssh_channel_new(sc->session);
	if (!sl->channel) {
		refuse(sl, "has no channel");
		return;
	}
	sl->callbacks = (struct ssh_channel_callbacks_struct){
	    .userdata = sl,
	    .channel_data_function = on_data,
	    .channel_close_function = on_close,
	    .channel_exit_status_function = on_exit_status,
	};
	ssh_callbacks_init(&sl->callbacks);
	ssh_set_channel_callbacks(sl->channel, &sl->callbacks);
	lane_proceed(sl);
}

void ssh_lane_send_end(struct lane *l)
{
	struct ssh_lane *sl = ssh_lane_of(l);

	if (sl->channel && !sl->remote_closed)
		ssh_channel_send_eof(sl->channel);
}

void ssh_lane_destroy(struct lane *l)
{
	struct ssh_lane *sl = ssh_lane_of(l);

	if (sl->channel) {
		/* libssh keeps the channel until the server has closed it too. */
		ssh_remove_channel_callbacks(sl->channel, &sl->callbacks);
		ssh_channel_free(sl->channel);
	}
	free(sl);
}

void ssh_lanes_forget(struct ssh_conn *sc)
{
	list_for_each(pos, &sc->conn.lanes)
		ssh_lane_of(list_entry(pos, struct lane, entry))->channel = NULL;
}

/* --- receiving ----------------------------------------------------------------------------- */

/*
 * Somewhere for the bytes that ssh_channel_read_timeout() might hand out: none ever, for the
 * callback has taken them, but it must be allowed to. Address space only, never touched.
 */
static void *read_area(void)
{
	static void *_Atomic area;
	void *have = atomic_load(&area);
	void *none = NULL;

	if (have)
		return have;
	have = mmap(NULL, WINDOW_BULK_LEN, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (have == MAP_FAILED)
		return NULL;
	if (!atomic_compare_exchange_strong(&area, &none, have)) {
		munmap(have, WINDOW_BULK_LEN);
		have = none;
	}
	return have;
}

static void set_window(struct ssh_lane *sl)
{
	void *area = read_area();

	if (!area)
		return;
	sl->used_len = 0;
	/* Its result tells nothing: errors show in the session, the end in the callbacks. */
	ssh_channel_read_timeout(sl->channel, area, sl->window_len, 0, 0);
}

static void grow_window(struct ssh_lane *sl)
{
	uint32_t step = sl->window_len / 4 < WINDOW_STEP_LEN ? sl->window_len / 4 : WINDOW_STEP_LEN;

	if (sl->window_len < WINDOW_BULK_LEN && sl->received_len >= 4 * (uint64_t)sl->window_len) {
		sl->window_len = WINDOW_BULK_LEN;
		step = 0;
	}
	if (sl->used_len > step || step == 0)
		set_window(sl);
}

/* Return: true when something came. */
static bool receive(struct ssh_conn *sc)
{
	uint64_t before = sc->socket_counter.in_bytes;

	for (int i = 0; i < RECEIVE_ROUNDS && !conn_congested(&sc->conn); i++)
		if (ssh_event_dopoll(sc->event, 0) < 0) /* nothing there, or the end */
			break;
	return sc->socket_counter.in_bytes != before;
}

static void tend_lanes(struct ssh_conn *sc)
{
	sc->dirty = false;
	list_for_each(pos, &sc->conn.lanes) {
		struct ssh_lane *sl = ssh_lane_of(list_entry(pos, struct lane, entry));

		if (sl->lane.state == LANE_CLOSED || !sl->channel)
			continue;
		if (sl->phase != PHASE_RUNNING)
			lane_proceed(sl);
		if (sl->remote_closed && sl->lane.state == LANE_OPEN)
			conn_lane_ended(&sl->lane);
		else if (sl->remote_closed && sl->lane.state == LANE_OPENING)
			refuse(sl, "closed the channel");
		else if (sl->lane.state == LANE_OPEN && sl->phase == PHASE_RUNNING)
			grow_window(sl);
	}
}

/* --- sending ------------------------------------------------------------------------------- */

/* How much libssh may be given now. */
static size_t feed_room(struct ssh_conn *sc)
{
	if (!(ssh_get_status(sc->session) & SSH_WRITE_PENDING)) {
		int64_t took_ms = sc->fed_len ? conn_now_ms() - sc->fed_ms : 0;

		if (took_ms > FEED_SLOW_MS && sc->feed_max_len > FEED_MIN_LEN)
			sc->feed_max_len /= 2;
		else if (sc->fed_len && took_ms < FEED_FAST_MS && sc->feed_max_len < FEED_MAX_LEN)
			sc->feed_max_len *= 2;
		sc->fed_len = 0;
	}
	return sc->fed_len < sc->feed_max_len ? sc->feed_max_len - sc->fed_len : 0;
}

/* The first lane, in class order, that has bytes to send and may. */
static struct ssh_lane *next_sender(struct ssh_conn *sc)
{
	list_for_each(pos, &sc->conn.lanes) {
		struct ssh_lane *sl = ssh_lane_of(list_entry(pos, struct lane, entry));

		if (sl->lane.state == LANE_OPEN && sl->phase == PHASE_RUNNING && sl->channel &&
		    !sl->remote_closed && !list_empty(&sl->lane.out) &&
		    ssh_channel_window_size(sl->channel) > 0)
			return sl;
	}
	return NULL;
}

/* Behind the others of its class: they take turns. */
static void rotate(struct ssh_conn *sc, struct lane *l)
{
	struct list *at = l->entry.next;

	while (at != &sc->conn.lanes &&
	       list_entry(at, struct lane, entry)->lane_class == l->lane_class)
		at = at->next;
	list_del(&l->entry);
	list_insert(at, &l->entry);
}

/*
 * Gives libssh the next bytes of a lane. Large pieces go as they are; small ones, such as a head
 * and the first part of its body, or many small requests, share one SSH packet.
 * Return: how many were taken; 0: not now (key exchange); negative: the channel is no more.
 */
static ssize_t feed(struct ssh_lane *sl, size_t max)
{
	uint8_t gathered[GATHER_LEN];
	const uint8_t *bytes;
	size_t len = lane_peek(&sl->lane, &bytes);
	uint32_t window_len = ssh_channel_window_size(sl->channel);
	int n;

	if (len < GATHER_LEN) {
		len = lane_gather(&sl->lane, gathered, sizeof(gathered));
		bytes = gathered;
	}
	if (len > max)
		len = max;
	if (len > window_len)
		len = window_len;
	n = ssh_channel_write(sl->channel, bytes, (uint32_t)len);
	if (n > 0)
		lane_consume(&sl->lane, (size_t)n);
	return n;
}

static void transmit(struct ssh_conn *sc)
{
	size_t room = feed_room(sc);
	struct ssh_lane *sl;

	while (room > 0 && (sl = next_sender(sc))) {
		ssize_t n = feed(sl, room);

		if (n <= 0) {
			if (n < 0)
				sl->remote_closed = sc->dirty = true;
			break;
		}
		if (sc->fed_len == 0)
			sc->fed_ms = conn_now_ms();
		sc->fed_len += (size_t)n;
		rotate(sc, &sl->lane);
		room = feed_room(sc);
	}
	atomic_store_explicit(&sc->conn.buffered_len, sc->fed_len, memory_order_relaxed);
}

/* --- a turn -------------------------------------------------------------------------------- */

static int session_lost(struct ssh_conn *sc, struct link_error *err)
{
	struct ssh_conn *root = ssh_conn_root(sc);
	struct ssh_conn *hop = jump_broken(sc);

	if (root->proxy.pid && child_wait(&root->proxy, 0) != -ETIMEDOUT)
		ssh_conn_proxy_error(root, err);
	else if (hop)
		conn_error(err, LINK_FAIL_NETWORK, "connection to jump host '%s' lost: %s",
		           hop->cfg.host, ssh_conn_reason(hop));
	else
		conn_error(err, LINK_FAIL_NETWORK, "connection to '%s' lost: %s", sc->cfg.host,
		           ssh_conn_reason(sc));
	return -EPIPE;
}

static void idle(struct ssh_conn *sc, int timeout_ms)
{
	struct ssh_conn *root = ssh_conn_root(sc);
	struct pollfd fds[4] = {
	    ssh_conn_pollfd(sc),
	    sc->via ? ssh_conn_pollfd(root) : (struct pollfd){.fd = -1},
	    {.fd = sc->life.timer_fd, .events = POLLIN},
	    {.fd = root->proxy.err_fd, .events = POLLIN},
	};

	if (conn_congested(&sc->conn))
		fds[0].events = fds[1].events = 0;
	if (!conn_idle(&sc->conn, fds, 4, timeout_ms))
		return;
	if (fds[2].revents)
		ssh_life_tick(sc);
	if (fds[3].revents)
		child_read_stderr(&root->proxy, false);
}

int ssh_conn_pump(struct conn *c, int timeout_ms, struct link_error *err)
{
	struct ssh_conn *sc = ssh_conn_of(c);
	bool moved;

	jump_pump(sc);
	moved = receive(sc);
	tend_lanes(sc);
	transmit(sc);
	moved |= jump_pump(sc);
	ssh_life_look(sc);
	if (ssh_conn_is_dead(sc))
		return session_lost(sc, err);
	if (!moved && !sc->dirty && !c->failed)
		idle(sc, timeout_ms);
	return 0;
}
