/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ProxyJump: the session with a jump host carries the next one in a direct-tcpip channel, whose
 * bytes go through a socket pair, because libssh wants a descriptor.
 *
 * All of it is moved by the thread of the connection: what is in a socket pair has been put there,
 * and will be taken out, by this thread. So only the socket that leaves the machine is waited for.
 *
 * Every lane shares the window of that channel. Towards us it is kept as large as that of a lane
 * (see ssh_lane.c); towards the server it is the jump host's, 2 MiB with OpenSSH.
 * Room: ssh. Thread: the back. Spec: RFC 4254 section 7.2.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/ssh_conn.h"
#include "util/log.h"

/* What the channel may bring without our saying so: 1 Gbit/s times 200 ms is 25 MB. */
#define WINDOW_LEN      (32u << 20)
#define WINDOW_STEP_LEN (1u << 20)

/* Taken out of the channel at a time. */
#define DOWN_LEN (256u << 10)

/* Given to libssh at a time, and only when the last of it has left: requests must not wait long. */
#define UP_LEN (64u << 10)

/* How much of the socket pair's buffer may hold what is to be sent. */
#define UP_BUFFER_LEN   (128 << 10)
#define DOWN_BUFFER_LEN (1 << 20)

/* "Administratively prohibited", RFC 4254 section 5.1. */
#define PROHIBITED 1

/* Rounds before everything else gets its turn. */
#define ROUNDS 64

/* --- moving bytes -------------------------------------------------------------------------- */

/* Takes what is in the channel. Return: true when something came from the network at least. */
static bool fetch(struct ssh_conn *hop)
{
	struct jump *j = &hop->jump;
	uint64_t before = hop->socket_counter.in_bytes;
	bool grow = j->used_len >= WINDOW_STEP_LEN && j->drained;
	int n = ssh_channel_read_timeout(j->channel, j->down, grow ? WINDOW_LEN : DOWN_LEN, 0, 0);

	if (grow)
		j->used_len = 0;
	j->drained = n < (int)DOWN_LEN;
	if (n > 0) {
		j->down_off = 0;
		j->down_len = (size_t)n;
		j->used_len += (uint32_t)n;
	}
	return n > 0 || hop->socket_counter.in_bytes != before;
}

static void tell_end(struct ssh_conn *hop)
{
	struct jump *j = &hop->jump;

	if (j->ended || j->down_off < j->down_len)
		return;
	if (!ssh_conn_is_dead(hop) && !ssh_channel_is_eof(j->channel) &&
	    !ssh_channel_is_closed(j->channel))
		return;
	j->ended = true;
	shutdown(j->fd, SHUT_RDWR);
}

static bool carry_down(struct ssh_conn *hop)
{
	struct jump *j = &hop->jump;
	bool moved = false;

	for (int i = 0; i < ROUNDS; i++) {
		ssize_t n;

		if (j->down_off == j->down_len && !fetch(hop))
			break;
		if (j->down_off == j->down_len)
			continue;
		n = send(j->fd, j->down + j->down_off, j->down_len - j->down_off,
		         MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			/* The next session is busy; windows and keys are still looked after. */
			ssh_event_dopoll(hop->event, 0);
			break;
		}
		j->down_off += (size_t)n;
		moved = true;
	}
	tell_end(hop);
	return moved;
}

static bool carry_up(struct ssh_conn *hop)
{
	struct jump *j = &hop->jump;
	bool moved = false;

	for (int i = 0; i < ROUNDS && !j->ended; i++) {
		uint32_t window_len = ssh_channel_window_size(j->channel);
		size_t len;
		int n;

		if (window_len == 0 || (ssh_get_status(hop->session) & SSH_WRITE_PENDING))
			break;
		if (j->up_off == j->up_len) {
			ssize_t got = recv(j->fd, j->up, UP_LEN, MSG_DONTWAIT);

			if (got <= 0)
				break;
			j->up_off = 0;
			j->up_len = (size_t)got;
		}
		len = j->up_len - j->up_off;
		n = ssh_channel_write(j->channel, j->up + j->up_off,
		                      len < window_len ? (uint32_t)len : window_len);
		if (n <= 0) /* key exchange, or the end */
			break;
		j->up_off += (size_t)n;
		moved = true;
	}
	return moved;
}

bool jump_pump(struct ssh_conn *sc)
{
	struct ssh_conn *hop = sc->via;
	bool moved;

	if (!hop || !hop->jump.channel)
		return false;
	moved = carry_up(hop);
	moved |= jump_pump(hop);
	moved |= carry_down(hop);
	return moved;
}

struct ssh_conn *jump_broken(struct ssh_conn *sc)
{
	struct ssh_conn *broken = NULL;

	/* The outermost one took the others with it. */
	for (struct ssh_conn *hop = sc->via; hop; hop = hop->via)
		if (hop->session && ssh_conn_is_dead(hop))
			broken = hop;
	return broken;
}

/* --- the way on ---------------------------------------------------------------------------- */

/* libssh has "Channel opening failure: channel 43 error (2) Connection refused". */
static void explain_refusal(struct ssh_conn *hop, const struct ssh_config *to,
                            struct link_error *err)
{
	const char *text = ssh_get_error(hop->session), *code = strstr(text, "error (");
	const char *words = code ? strchr(code, ')') : NULL;
	bool prohibited = code && atoi(code + strlen("error (")) == PROHIBITED;

	conn_error(err, LINK_FAIL_PROXY, "it cannot reach '%s' port %u: %.300s; %s", to->hostname,
	           to->port, words && words[1] ? words + 2 : text,
	           prohibited ? "it must allow that (AllowTcpForwarding, PermitOpen)"
	                      : "check name and port as this jump host sees them");
}

static int open_channel(struct ssh_conn *hop, const struct ssh_config *to, struct link_error *err)
{
	int64_t deadline_ms = conn_now_ms() + (int64_t)to->connect_timeout_s * 1000;
	ssh_channel channel = ssh_channel_new(hop->session);
	int rc;

	if (!channel)
		return -ENOMEM;
	hop->jump.channel = channel;
	while ((rc = ssh_channel_open_forward(channel, to->hostname, (int)to->port, "127.0.0.1",
	                                      65535)) == SSH_AGAIN) {
		int n = ssh_conn_is_dead(hop) ? 1 : ssh_conn_wait(hop, deadline_ms);

		if (n > 0 && !ssh_conn_is_dead(hop))
			continue;
		if (n == 0)
			conn_error(err, LINK_FAIL_PROXY,
			           "it did not reach '%s' port %u within %u s; check the host and "
			           "the way there, or raise ConnectTimeout",
			           to->hostname, to->port, to->connect_timeout_s);
		else if (n > 0)
			conn_error(err, LINK_FAIL_PROXY,
			           "connection lost: %s; try again, its log may tell more",
			           ssh_conn_reason(hop));
		return n == 0 ? -ETIMEDOUT : n > 0 ? -EPIPE : n;
	}
	if (rc == SSH_OK)
		return 0;
	explain_refusal(hop, to, err);
	return -ECONNREFUSED;
}

/* Return: the end for the next session, or a negative errno. */
static int open_pair(struct jump *j)
{
	int up_len = UP_BUFFER_LEN, down_len = DOWN_BUFFER_LEN;
	int pair[2];

	j->up = malloc(UP_LEN);
	j->down = mmap(NULL, WINDOW_LEN, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->down == MAP_FAILED)
		j->down = NULL;
	if (!j->up || !j->down)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -errno;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &down_len, sizeof(down_len));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &up_len, sizeof(up_len));
	j->fd = pair[0];
	return pair[1];
}

static void name_hop(const struct ssh_conn *hop, struct link_error *err)
{
	struct link_error why = *err;

	/* One further out has named itself. */
	if (why.text[0] && strncmp(why.text, "jump host ", 10) != 0)
		conn_error(err, why.fail, "jump host '%s': %.900s", hop->cfg.host, why.text);
	/* What concerns the way there is not the server's network. */
	if (err->fail == LINK_FAIL_NETWORK)
		err->fail = LINK_FAIL_PROXY;
}

int jump_connect(struct ssh_conn *sc, struct link_error *err)
{
	struct ssh_conn *hop = sc->via;
	int rc;

	hop->conn.first_done = sc->conn.first_done;
	rc = ssh_conn_establish(hop, err);
	if (!rc)
		rc = ssh_conn_event_start(hop);
	if (!rc)
		rc = open_channel(hop, &sc->cfg, err);
	if (!rc)
		rc = open_pair(&hop->jump);
	if (rc < 0)
		name_hop(hop, err);
	if (rc >= 0)
		log_info(LOG_SSH, "connected to '%s' port %u through jump host '%s'",
		         sc->cfg.hostname, sc->cfg.port, hop->cfg.host);
	return rc;
}

void jump_end(struct ssh_conn *hop)
{
	struct jump *j = &hop->jump;

	if (j->fd >= 0)
		close(j->fd);
	if (j->down)
		munmap(j->down, WINDOW_LEN);
	free(j->up);
	*j = (struct jump){.fd = -1};
}
