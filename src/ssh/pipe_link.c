/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection over a plain byte pipe. See include/ssh/pipe_link.h.
 * Room: ssh. Thread: the back, except the create functions.
 */
#include "ssh/pipe_link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ssh/child.h"
#include "ssh/conn.h"
#include "ssh/dial.h"
#include "util/log.h"

#define CONNECT_TIMEOUT_S 30

/*
 * A server process that is busy with a request cannot be told from a dead network by asking it. The
 * kernel of its machine can: as ServerAliveInterval and ServerAliveCountMax are by default.
 */
#define SILENCE_S     15
#define SILENCE_COUNT 3
#define READ_LEN      (256 * 1024)
#define IOV_COUNT     64

/* One turn reads or writes at most this much before it looks at the mailboxes again. */
#define TURN_LEN (4 * READ_LEN)

/* After the end of its output a child gets this long to exit and explain itself. */
#define LAST_WORDS_MS 1000

enum pipe_kind {
	PIPE_COMMAND,
	PIPE_TCP,
	PIPE_VSOCK,
	PIPE_FDS,
};

struct pipe_link {
	struct conn conn; /* first */
	enum pipe_kind kind;
	char **argv; /* PIPE_COMMAND */
	char *host;  /* PIPE_TCP */
	uint16_t port;
	uint32_t vsock_cid, vsock_port;
	int given_in, given_out; /* PIPE_FDS, -1 once used up */

	struct child child;
	int in, out;  /* -1: not connected; equal for sockets */
	bool is_pipe; /* `out` is not a socket: sendmsg() does not apply */
	bool heard;   /* a byte has come over this connection */
	uint8_t *read_buf;
};

static struct pipe_link *pipe_of(struct conn *c)
{
	return (struct pipe_link *)c;
}

/* --- connecting ---------------------------------------------------------------------------- */

static int connect_command(struct pipe_link *p, struct link_error *err)
{
	unsigned flags = CHILD_STDERR;
	int rc;

	/* Only the first one may ask questions on the terminal. */
	if (p->conn.first_done)
		flags |= CHILD_GROUP;
	rc = child_spawn(&p->child, p->argv, flags);
	if (rc) {
		conn_error(err, LINK_FAIL_NETWORK, "cannot run '%s': %s; check ssh_command",
		           p->argv[0], strerror(-rc));
		return rc;
	}
	p->in = p->out = p->child.fd;
	log_info(LOG_SSH, "running '%s', pid=%d", p->argv[0], (int)p->child.pid);
	return 0;
}

static int connect_tcp(struct pipe_link *p, struct link_error *err)
{
	struct dial dial = {
	    .host = p->host,
	    .port = p->port,
	    .family = AF_UNSPEC,
	    .timeout_s = CONNECT_TIMEOUT_S,
	    .silence_s = SILENCE_S,
	    .silence_count = SILENCE_COUNT,
	    .ip_qos = -1,
	};
	int fd = dial_tcp(&p->conn, &dial, err);

	if (fd < 0)
		return fd;
	dial_set_abort(fd, true);
	p->in = p->out = fd;
	log_info(LOG_SSH, "connected to '%s' port %u", p->host, p->port);
	return 0;
}

static int connect_vsock(struct pipe_link *p, struct link_error *err)
{
	struct sockaddr_vm sa = {
	    .svm_family = AF_VSOCK,
	    .svm_cid = p->vsock_cid,
	    .svm_port = p->vsock_port,
	};
	struct pollfd pfd = {.events = POLLOUT};
	socklen_t len = sizeof(int);
	int rc, error = 0;
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		rc = -errno;
		goto fail;
	}
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) && errno != EINPROGRESS) {
		rc = -errno;
		goto fail;
	}
	pfd.fd = fd;
	rc = conn_wait(&p->conn, &pfd, 1, conn_now_ms() + CONNECT_TIMEOUT_S * 1000);
	if (rc == -ECANCELED)
		goto fail;
	if (rc == 0)
		error = ETIMEDOUT;
	else if (rc < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	rc = -error;
	if (rc)
		goto fail;
	p->in = p->out = fd;
	log_info(LOG_SSH, "connected to vsock %u:%u", p->vsock_cid, p->vsock_port);
	return 0;

fail:
	if (fd >= 0)
		close(fd);
	if (rc != -ECANCELED)
		conn_error(err, LINK_FAIL_NETWORK,
		           "cannot connect to vsock %u:%u: %s; check that the machine runs and "
		           "that its SFTP server listens there",
		           p->vsock_cid, p->vsock_port, strerror(-rc));
	return rc;
}

static int connect_fds(struct pipe_link *p, struct link_error *err)
{
	if (p->given_in < 0) {
		conn_error(
		    err, LINK_FAIL_NETWORK,
		    "the given connection has ended and cannot be opened again; mount again");
		return -ENOTCONN;
	}
	p->in = p->given_in;
	p->out = p->given_out;
	p->given_in = p->given_out = -1;
	if (fcntl(p->in, F_SETFL, fcntl(p->in, F_GETFL) | O_NONBLOCK) ||
	    fcntl(p->out, F_SETFL, fcntl(p->out, F_GETFL) | O_NONBLOCK)) {
		int rc = -errno;

		conn_error(err, LINK_FAIL_NETWORK, "cannot use the given descriptors: %s",
		           strerror(-rc));
		return rc;
	}
	return 0;
}

static bool is_socket(int fd)
{
	int type;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

static int pipe_connect(struct conn *c, struct link_error *err)
{
	struct pipe_link *p = pipe_of(c);
	int rc = -EINVAL;

	p->heard = false;
	switch (p->kind) {
	case PIPE_COMMAND:
		rc = connect_command(p, err);
		break;
	case PIPE_TCP:
		rc = connect_tcp(p, err);
		break;
	case PIPE_VSOCK:
		rc = connect_vsock(p, err);
		break;
	case PIPE_FDS:
		rc = connect_fds(p, err);
		break;
	}
	if (rc == 0)
		p->is_pipe = !is_socket(p->out);
	return rc;
}

/* --- the one lane -------------------------------------------------------------------------- */

static struct lane *pipe_lane_create(struct conn *c)
{
	return calloc(1, sizeof(struct lane));
}

static void pipe_lane_open(struct lane *l)
{
	struct link_error err;

	if (l->command)
		conn_error(&err, LINK_FAIL_SFTP, "commands cannot be run over this connection");
	else if (l->conn->lanes.next != l->conn->lanes.prev)
		conn_error(&err, LINK_FAIL_SFTP, "this connection has only one channel");
	else {
		conn_lane_opened(l);
		return;
	}
	conn_lane_refused(l, &err);
}

static void pipe_lane_destroy(struct lane *l)
{
	free(l);
}

static struct lane *the_lane(struct pipe_link *p)
{
	list_for_each(pos, &p->conn.lanes) {
		struct lane *l = list_entry(pos, struct lane, entry);

		if (l->state == LANE_OPEN)
			return l;
	}
	return NULL;
}

/* --- moving bytes -------------------------------------------------------------------------- */

/* ssh explains itself on standard error only; these are its own words. */
static enum link_fail classify(const struct child *ch)
{
	static const struct {
		const char *words;
		enum link_fail fail;
	} known[] = {
	    {"Permission denied", LINK_FAIL_AUTH},
	    {"Too many authentication failures", LINK_FAIL_AUTH},
	    {"Host key verification failed", LINK_FAIL_HOSTKEY},
	    {"subsystem request failed", LINK_FAIL_SFTP},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (memmem(ch->tail, ch->tail_len, known[i].words, strlen(known[i].words)))
			return known[i].fail;
	return LINK_FAIL_NETWORK;
}

static int command_ended(struct pipe_link *p, struct link_error *err)
{
	struct pollfd pfd = {.fd = p->child.err_fd, .events = POLLIN};
	char line[256], how[64] = "ended";
	int64_t deadline_ms = conn_now_ms() + LAST_WORDS_MS;
	int status;

	while (child_read_stderr(&p->child, false) && conn_now_ms() < deadline_ms)
		poll(&pfd, 1, 50);
	status = child_wait(&p->child, LAST_WORDS_MS);
	if (status >= 0 && WIFEXITED(status))
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	else if (status >= 0 && WIFSIGNALED(status))
		snprintf(how, sizeof(how), "was killed by signal %d", WTERMSIG(status));
	child_last_line(&p->child, line, sizeof(line));
	conn_error(err, p->heard ? LINK_FAIL_NETWORK : classify(&p->child),
	           "'%s' %s%s%s; make it work by hand first", p->argv[0], how, line[0] ? ": " : "",
	           line);
	return -EPIPE;
}

static int pipe_ended(struct pipe_link *p, int error, struct link_error *err)
{
	if (p->kind == PIPE_COMMAND)
		return command_ended(p, err);
	if (error)
		conn_error(err, LINK_FAIL_NETWORK, "connection lost: %s", strerror(error));
	else if (p->heard)
		conn_error(err, LINK_FAIL_NETWORK, "the server closed the connection");
	else
		conn_error(err, LINK_FAIL_SFTP,
		           "the server closed the connection without a word; check that it is an "
		           "SFTP server");
	return error ? -error : -EPIPE;
}

/* What comes before the lane is open is kept for it: a login script's text must not be mistaken for silence. */
static bool may_receive(struct pipe_link *p)
{
	return !conn_congested(&p->conn) && (p->heard || the_lane(p));
}

/* Return: bytes read, 0 when there is nothing now, negative when the connection is lost. */
static ssize_t pipe_receive(struct pipe_link *p, struct link_error *err)
{
	size_t total = 0;

	while (total < TURN_LEN && may_receive(p) && !p->conn.failed) {
		ssize_t n = read(p->in, p->read_buf, READ_LEN);
		struct lane *l;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return pipe_ended(p, n < 0 ? errno : 0, err);
		p->heard = true;
		l = the_lane(p);
		if (l)
			conn_lane_received(l, p->read_buf, (size_t)n);
		total += (size_t)n;
		if (n < READ_LEN)
			break;
	}
	return (ssize_t)total;
}

static ssize_t pipe_write(struct pipe_link *p, struct iovec *iov, unsigned count)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	struct timespec no_time = {0};
	sigset_t pipe_only, old;
	ssize_t n;
	int error;

	if (!p->is_pipe)
		return sendmsg(p->out, &msg, MSG_NOSIGNAL);
	/* A reader that is gone is an error, not a signal. */
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
	n = writev(p->out, iov, (int)count);
	error = errno;
	if (n < 0 && error == EPIPE && !sigismember(&old, SIGPIPE))
		sigtimedwait(&pipe_only, NULL, &no_time);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return n;
}

/* Return: 1 when more waits for room, 0 when all is sent, negative when the connection is lost. */
static int pipe_transmit(struct pipe_link *p, struct link_error *err)
{
	struct lane *l = the_lane(p);
	struct iovec iov[IOV_COUNT];
	size_t total = 0;
	unsigned count;

	while (l && (count = lane_pieces(l, iov, IOV_COUNT)) > 0) {
		ssize_t n = pipe_write(p, iov, count);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 1;
		if (n < 0) {
			/* What the other side said before it went is in `in`. */
			if (errno == EPIPE && pipe_receive(p, err) > 0)
				return 0;
			return pipe_ended(p, errno, err);
		}
		lane_consume(l, (size_t)n);
		total += (size_t)n;
		if (total >= TURN_LEN)
			return 1;
	}
	return 0;
}

static int pipe_pump(struct conn *c, int timeout_ms, struct link_error *err)
{
	struct pipe_link *p = pipe_of(c);
	struct pollfd fds[3];
	ssize_t received;
	int unsent;

	unsent = pipe_transmit(p, err);
	if (unsent < 0)
		return unsent;
	received = pipe_receive(p, err);
	if (received < 0)
		return (int)received;
	if (received > 0)
		return 0;
	fds[0] = (struct pollfd){.fd = p->in, .events = may_receive(p) ? POLLIN : 0};
	fds[1] = (struct pollfd){.fd = unsent ? p->out : -1, .events = POLLOUT};
	fds[2] = (struct pollfd){.fd = p->child.err_fd, .events = POLLIN};
	if (conn_idle(c, fds, 3, timeout_ms) && fds[2].revents)
		child_read_stderr(&p->child, !c->first_done || !c->started);
	return 0;
}

/* --- the end ------------------------------------------------------------------------------- */

static void pipe_fence(struct conn *c, bool polite)
{
	struct pipe_link *p = pipe_of(c);

	if (p->kind == PIPE_COMMAND) {
		child_end(&p->child, polite);
	} else {
		if (p->in >= 0 && p->kind == PIPE_TCP)
			dial_set_abort(p->in, !polite);
		if (p->out >= 0 && p->out != p->in)
			close(p->out);
		if (p->in >= 0)
			close(p->in);
	}
	p->in = p->out = -1;
}

static void pipe_finish(struct conn *c)
{
	struct pipe_link *p = pipe_of(c);

	if (p->given_in >= 0)
		close(p->given_in);
	if (p->given_out >= 0 && p->given_out != p->given_in)
		close(p->given_out);
	for (size_t i = 0; p->argv && p->argv[i]; i++)
		free(p->argv[i]);
	free(p->argv);
	free(p->host);
	free(p->read_buf);
}

static const struct conn_ops pipe_ops = {
    .connect = pipe_connect,
    .lane_create = pipe_lane_create,
    .lane_open = pipe_lane_open,
    .lane_destroy = pipe_lane_destroy,
    .pump = pipe_pump,
    .fence = pipe_fence,
    .finish = pipe_finish,
};

static struct pipe_link *pipe_create(enum pipe_kind kind)
{
	struct pipe_link *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->kind = kind;
	p->given_in = p->given_out = p->in = p->out = -1;
	p->child = CHILD_INIT;
	p->read_buf = malloc(READ_LEN);
	if (p->read_buf && conn_init(&p->conn, &pipe_ops, 1, false) == 0)
		return p;
	free(p->read_buf);
	free(p);
	return NULL;
}

struct link *pipe_link_create_command(char *const argv[])
{
	struct pipe_link *p = pipe_create(PIPE_COMMAND);
	size_t count = 0;

	if (!p)
		return NULL;
	while (argv[count])
		count++;
	p->argv = calloc(count + 1, sizeof(*p->argv));
	for (size_t i = 0; p->argv && i < count; i++) {
		p->argv[i] = strdup(argv[i]);
		if (!p->argv[i])
			break;
	}
	if (p->argv && (count == 0 || p->argv[count - 1]))
		return &p->conn.link;
	link_destroy(&p->conn.link);
	return NULL;
}

struct link *pipe_link_create_tcp(const char *host, uint16_t port)
{
	struct pipe_link *p = pipe_create(PIPE_TCP);

	if (!p)
		return NULL;
	p->port = port;
	p->host = strdup(host);
	if (p->host)
		return &p->conn.link;
	link_destroy(&p->conn.link);
	return NULL;
}

struct link *pipe_link_create_vsock(uint32_t cid, uint32_t port)
{
	struct pipe_link *p = pipe_create(PIPE_VSOCK);

	if (!p)
		return NULL;
	p->vsock_cid = cid;
	p->vsock_port = port;
	return &p->conn.link;
}

struct link *pipe_link_create_fds(int in, int out)
{
	struct pipe_link *p = pipe_create(PIPE_FDS);

	if (!p)
		return NULL;
	p->given_in = in;
	p->given_out = out;
	return &p->conn.link;
}
