/* SPDX-License-Identifier: BSD-2-Clause */
/* The conversation with a proxy over its socket. Room: ssh. Thread: the back. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "ssh/conn.h"
#include "ssh/proxy.h"

/* Return: 1; 0 at the deadline; negative errno. */
static int send_all(struct conn *c, int fd, struct proxy_talk *t, int64_t deadline_ms)
{
	size_t done = 0;

	while (done < t->out_len) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};
		ssize_t n = send(fd, t->out + done, t->out_len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			int rc = conn_wait(c, &pfd, 1, deadline_ms);

			if (rc <= 0)
				return rc;
		} else if (n < 0 && errno != EINTR) {
			return -errno;
		} else if (n > 0) {
			done += (size_t)n;
		}
	}
	t->out_len = 0;
	return 1;
}

/* Return: bytes received; 0 at the deadline; negative errno. */
static ssize_t receive(struct conn *c, int fd, uint8_t *bytes, size_t len, int64_t deadline_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	for (;;) {
		ssize_t n = recv(fd, bytes, len, 0);
		int rc;

		if (n > 0)
			return n;
		if (n == 0)
			return -ECONNRESET;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		rc = conn_wait(c, &pfd, 1, deadline_ms);
		if (rc <= 0)
			return rc;
	}
}

static int explain(const struct proxy_talk *t, ssize_t rc, struct link_error *err)
{
	const struct proxy *p = t->proxy;

	if (rc == -ECANCELED)
		return -ECANCELED;
	conn_error(err, LINK_FAIL_PROXY, "proxy '%s' port %u: cannot reach '%s' port %u: %s; %s",
	           p->host, p->port, t->host, t->port,
	           t->error[0]         ? t->error
	           : rc == 0           ? "it does not answer"
	           : rc == -ECONNRESET ? "it closed the connection"
	                               : strerror((int)-rc),
	           rc == -EACCES         ? "check the user in -o proxy and proxy_password_file"
	           : rc == -ECONNREFUSED ? "check the host, and that the proxy allows it"
	                                 : "check kind, host and port in -o proxy");
	return rc ? (int)rc : -ETIMEDOUT;
}

int proxy_pass(struct conn *c, int fd, const struct proxy *p, const char *host, unsigned port,
               int64_t deadline_ms, struct link_error *err)
{
	struct proxy_talk t;
	uint8_t bytes[512];
	int done = 0;
	ssize_t rc = proxy_talk_begin(&t, p, host, port);

	while (rc >= 0 && !done) {
		rc = send_all(c, fd, &t, deadline_ms);
		if (rc <= 0)
			break;
		rc = receive(c, fd, bytes, proxy_talk_want(&t), deadline_ms);
		if (rc <= 0)
			break;
		rc = proxy_talk_feed(&t, bytes, (size_t)rc);
		done = rc == 1;
	}
	rc = done ? 0 : explain(&t, rc, err);
	explicit_bzero(&t, sizeof(t));
	return (int)rc;
}
