/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ProxyCommand: a program as the way to the server, or one that hands over a connected socket.
 * Room: ssh. Thread: the back. Spec: ssh_config(5) ProxyCommand, ProxyUseFdpass.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/dial.h"
#include "ssh/ssh_conn.h"
#include "util/log.h"

/* Return: the descriptor in a message, -EPROTO when it has none, or another negative errno. */
static int receive_descriptor(int sock)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.bytes,
	    .msg_controllen = sizeof(control.bytes),
	};
	const struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* The program ends when it has done its work. Return: the socket, or a negative errno and `err`. */
static int take_descriptor(struct ssh_conn *sc, struct link_error *err)
{
	struct pollfd pfd = {.fd = sc->proxy.fd, .events = POLLIN};
	int rc = conn_wait(&sc->top->conn, &pfd, 1,
	                   conn_now_ms() + (int64_t)sc->cfg.connect_timeout_s * 1000);
	int fd = rc > 0 ? receive_descriptor(sc->proxy.fd) : rc < 0 ? rc : -ETIMEDOUT;

	if (fd == -ETIMEDOUT)
		conn_error(
		    err, LINK_FAIL_PROXY,
		    "the proxy for '%s' passed no descriptor within %u s; check ProxyCommand and "
		    "ProxyUseFdpass",
		    sc->cfg.host, sc->cfg.connect_timeout_s);
	else if (fd < 0 && fd != -ECANCELED)
		ssh_conn_proxy_error(sc, err);
	child_end(&sc->proxy, true);
	if (fd < 0)
		return fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	dial_set_abort(fd, true);
	return fd;
}

int proxy_command_connect(struct ssh_conn *sc, struct link_error *err)
{
	unsigned flags = CHILD_STDERR;
	int rc;

	/* Only the first one may ask questions on the terminal. */
	if (sc->top->conn.first_done)
		flags |= CHILD_GROUP;
	rc = child_spawn_shell(&sc->proxy, sc->cfg.proxy_command, flags);
	if (rc) {
		conn_error(err, LINK_FAIL_PROXY,
		           "cannot run the proxy command: %s; check ProxyCommand", strerror(-rc));
		return rc;
	}
	sc->address[0] = '\0';
	log_info(LOG_SSH, "connecting to '%s' through a proxy command, pid=%d", sc->cfg.host,
	         (int)sc->proxy.pid);
	return sc->cfg.proxy_fdpass ? take_descriptor(sc, err) : sc->proxy.fd;
}
