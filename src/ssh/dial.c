/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Name lookup and TCP connections. See include/ssh/dial.h.
 * Room: ssh. Thread: the back; lookup_main() is a helper that lives as long as one lookup and
 * shares only its struct lookup.
 */
#include "ssh/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/conn.h"
#include "util/buf.h"
#include "util/log.h"

/* Unsent bytes in the kernel beyond which it asks for no more: metadata must not wait behind. */
#define NOTSENT_LOWAT_LEN (128 * 1024)

/* Between two attempts, as with ssh. */
#define ATTEMPT_PAUSE_MS 1000

/* One address gets at least this much of the time that is left. */
#define ADDRESS_MIN_MS 2000

struct lookup {
	atomic_int refs; /* the caller and the helper */
	char *host;
	char port[8];
	struct addrinfo hints;
	int done_fd;
	atomic_bool done; /* set before done_fd becomes readable */
	int rc;           /* of getaddrinfo(), valid when done, as are the next two */
	int sys_errno;
	struct addrinfo *result;
};

static void lookup_unref(struct lookup *lk)
{
	if (atomic_fetch_sub(&lk->refs, 1) > 1)
		return;
	if (lk->result)
		freeaddrinfo(lk->result);
	close(lk->done_fd);
	free(lk->host);
	free(lk);
}

static void *lookup_main(void *arg)
{
	struct lookup *lk = arg;

	lk->rc = getaddrinfo(lk->host, lk->port, &lk->hints, &lk->result);
	lk->sys_errno = errno;
	atomic_store(&lk->done, true);
	if (write(lk->done_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		log_debug(LOG_SSH, "eventfd: %s", strerror(errno));
	lookup_unref(lk);
	return NULL;
}

static struct lookup *lookup_create(const struct dial *d)
{
	struct lookup *lk = calloc(1, sizeof(*lk));

	if (!lk)
		return NULL;
	atomic_init(&lk->refs, 1);
	lk->hints.ai_family = d->family;
	lk->hints.ai_socktype = SOCK_STREAM;
	lk->hints.ai_flags = AI_NUMERICSERV;
	snprintf(lk->port, sizeof(lk->port), "%u", d->port);
	lk->done_fd = eventfd(0, EFD_CLOEXEC);
	lk->host = strdup(d->host);
	if (lk->done_fd >= 0 && lk->host)
		return lk;
	if (lk->done_fd >= 0)
		close(lk->done_fd);
	free(lk->host);
	free(lk);
	return NULL;
}

static int lookup_start(struct lookup *lk)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int rc;

	atomic_fetch_add(&lk->refs, 1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, &attr, lookup_main, lk);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc)
		lookup_unref(lk);
	return -rc;
}

static const char *lookup_remedy(const struct dial *d, int rc)
{
	if (rc == EAI_AGAIN)
		return "check the name server, or try again";
	if (d->family != AF_UNSPEC)
		return "check the name, or leave AddressFamily (-4, -6) to us";
	return "check the name, or name the address with HostName";
}

/* Return: 0 with `*out` to be unreferenced, or a negative errno with `err` filled. */
static int lookup(struct conn *c, const struct dial *d, int64_t deadline_ms, struct lookup **out,
                  struct link_error *err)
{
	struct lookup *lk = lookup_create(d);
	struct pollfd pfd;
	int rc;

	if (!lk)
		return -ENOMEM;
	pfd = (struct pollfd){.fd = lk->done_fd, .events = POLLIN};
	rc = lookup_start(lk);
	if (rc == 0)
		rc = conn_wait(c, &pfd, 1, deadline_ms);
	if (rc == 0) {
		conn_error(err, LINK_FAIL_NETWORK,
		           "looking up '%s' timed out after %u s; check the name server, or raise "
		           "ConnectTimeout",
		           d->host, d->timeout_s);
		rc = -ETIMEDOUT;
	}
	if (rc < 0)
		goto unref;
	if (atomic_load(&lk->done) && lk->rc) {
		conn_error(err, LINK_FAIL_NETWORK, "cannot find host '%s': %s; %s", d->host,
		           lk->rc == EAI_SYSTEM ? strerror(lk->sys_errno) : gai_strerror(lk->rc),
		           lookup_remedy(d, lk->rc));
		rc = -ENOENT;
		goto unref;
	}
	*out = lk;
	return 0;

unref:
	lookup_unref(lk);
	return rc;
}

/* Return: 0 or a negative errno; -EAFNOSUPPORT: an address of another family was asked for. */
static int bind_to(int fd, const struct dial *d, int family)
{
	struct addrinfo hints = {
	    .ai_family = family,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_NUMERICSERV | AI_PASSIVE, /* without address: any of them */
	};
	struct addrinfo *ai;
	char port[8];
	int one = 1, rc = 0;

	if (d->bind_interface && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, d->bind_interface,
	                                    (socklen_t)strlen(d->bind_interface) + 1))
		return -errno;
	if (!d->bind_address && !d->bind_port)
		return 0;
	/* A connection of ours that has just ended may still occupy the port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	snprintf(port, sizeof(port), "%u", d->bind_port);
	if (getaddrinfo(d->bind_address, port, &hints, &ai))
		return -EAFNOSUPPORT;
	if (bind(fd, ai->ai_addr, ai->ai_addrlen))
		rc = -errno;
	freeaddrinfo(ai);
	return rc;
}

static void set_options(int fd, const struct dial *d, int family)
{
	int one = 1, lowat = NOTSENT_LOWAT_LEN;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	if (d->keepalive || d->silence_s)
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (d->silence_s) {
		unsigned lost_ms = d->silence_s * (d->silence_count + 1) * 1000;

		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &d->silence_s, sizeof(d->silence_s));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &d->silence_s, sizeof(d->silence_s));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &d->silence_count,
		           sizeof(d->silence_count));
		/* What was sent and not acknowledged keeps those from being asked at all. */
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof(lost_ms));
	}
	if (d->ip_qos >= 0 && family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_TOS, &d->ip_qos, sizeof(d->ip_qos));
	else if (d->ip_qos >= 0 && family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &d->ip_qos, sizeof(d->ip_qos));
}

/*
 * One address. Return: the descriptor or a negative errno; `*bound` tells whether the local end was
 * not the reason.
 */
static int connect_address(struct conn *c, const struct dial *d, const struct addrinfo *ai,
                           int64_t deadline_ms, bool *bound)
{
	struct pollfd pfd = {.events = POLLOUT};
	socklen_t len = sizeof(int);
	int fd, rc, error = 0;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = bind_to(fd, d, ai->ai_family);
	*bound = rc == 0;
	if (rc)
		goto close_fd;
	set_options(fd, d, ai->ai_family);
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return fd;
	rc = -errno;
	if (rc != -EINPROGRESS)
		goto close_fd;
	pfd.fd = fd;
	rc = conn_wait(c, &pfd, 1, deadline_ms);
	if (rc == 0)
		rc = -ETIMEDOUT;
	if (rc < 0)
		goto close_fd;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error == 0)
		return fd;
	rc = -error;

close_fd:
	close(fd);
	return rc;
}

/* "cannot connect from 'a' port 1", as far as that was asked for. */
static void add_local_end(struct buf *why, const struct dial *d)
{
	buf_add_str(why, "cannot use the local");
	if (d->bind_interface)
		buf_addf(why, " interface '%s'", d->bind_interface);
	if (d->bind_address)
		buf_addf(why, " address '%s'", d->bind_address);
	if (d->bind_port)
		buf_addf(why, " port %u", d->bind_port);
	buf_add_str(why, ": ");
}

/* Adds what became of an address; of several, the address too. */
static void add_failure(struct buf *why, const struct dial *d, const struct addrinfo *ai,
                        bool bound, bool several, int error)
{
	char address[NI_MAXHOST] = "?";

	if (why->len > 0)
		buf_add_str(why, ", ");
	if (several) {
		getnameinfo(ai->ai_addr, ai->ai_addrlen, address, sizeof(address), NULL, 0,
		            NI_NUMERICHOST);
		buf_addf(why, "%s: ", address);
	}
	if (!bound)
		add_local_end(why, d);
	buf_add_str(why, error == ETIMEDOUT ? "timed out" : strerror(error));
}

/* For the last address that was tried. */
static const char *remedy(bool bound, int error)
{
	if (!bound)
		return "choose a local end with BindAddress, BindInterface and bind_port";
	switch (error) {
	case ECONNREFUSED:
		return "check that the server runs and listens on this port";
	case ETIMEDOUT:
		return "check that the host is up and no firewall is in between, or raise "
		       "ConnectTimeout";
	default:
		return "check the address and the network";
	}
}

/* Every address once; `err` is filled on failure. Return: as dial_tcp(). */
static int dial_addresses(struct conn *c, const struct dial *d, const struct addrinfo *addresses,
                          int64_t deadline_ms, struct link_error *err)
{
	int64_t now_ms, left_ms, share_ms;
	struct buf why = {.max_len = 400};
	int left_count = 0, rc = -ETIMEDOUT;
	bool several, bound = true;

	for (const struct addrinfo *ai = addresses; ai; ai = ai->ai_next)
		left_count++;
	several = left_count > 1;
	for (const struct addrinfo *ai = addresses; ai; ai = ai->ai_next, left_count--) {
		bound = true;
		/* A dead address must not use up the time of the ones behind it. */
		now_ms = conn_now_ms();
		left_ms = deadline_ms - now_ms;
		if (left_ms <= 0)
			break;
		share_ms = left_ms / left_count;
		if (share_ms < ADDRESS_MIN_MS)
			share_ms = left_ms < ADDRESS_MIN_MS ? left_ms : ADDRESS_MIN_MS;
		rc = connect_address(c, d, ai, now_ms + share_ms, &bound);
		if (rc >= 0 || rc == -ECANCELED)
			break;
		add_failure(&why, d, ai, bound, several, -rc);
	}
	if (rc < 0 && rc != -ECANCELED)
		conn_error(err, LINK_FAIL_NETWORK, "cannot connect to '%s' port %u: %.*s; %s",
		           d->host, d->port, (int)why.len, why.len ? (const char *)why.bytes : "",
		           remedy(bound, -rc));
	buf_finish(&why);
	return rc;
}

int dial_tcp(struct conn *c, const struct dial *d, struct link_error *err)
{
	int64_t deadline_ms = conn_now_ms() + (int64_t)d->timeout_s * 1000;
	struct lookup *lk;
	int rc = lookup(c, d, deadline_ms, &lk, err);

	if (rc)
		return rc;
	for (unsigned attempt = 1;; attempt++) {
		rc = dial_addresses(c, d, lk->result, deadline_ms, err);
		if (rc >= 0 || rc == -ECANCELED || attempt >= d->attempts)
			break;
		log_info(LOG_SSH, "%s; attempt %u of %u", err->text, attempt, d->attempts);
		if (conn_wait(c, NULL, 0, conn_now_ms() + ATTEMPT_PAUSE_MS) < 0) {
			rc = -ECANCELED;
			break;
		}
		deadline_ms = conn_now_ms() + (int64_t)d->timeout_s * 1000;
	}
	lookup_unref(lk);
	return rc;
}

int dial_lookup_ipv4(struct conn *c, const struct dial *d, char *address, size_t size,
                     struct link_error *err)
{
	struct dial v4 = *d;
	struct lookup *lk;
	int rc;

	v4.family = AF_INET;
	rc = lookup(c, &v4, conn_now_ms() + (int64_t)d->timeout_s * 1000, &lk, err);
	if (rc)
		return rc;
	if (getnameinfo(lk->result->ai_addr, lk->result->ai_addrlen, address, (socklen_t)size, NULL,
	                0, NI_NUMERICHOST))
		rc = -EINVAL;
	lookup_unref(lk);
	return rc;
}

void dial_peer_name(int fd, char *name, size_t size)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	name[0] = '\0';
	if (getpeername(fd, (struct sockaddr *)&ss, &len))
		return;
	if (ss.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

		in6->sin6_scope_id = 0;
	} else if (ss.ss_family != AF_INET) {
		return;
	}
	if (getnameinfo((struct sockaddr *)&ss, len, name, (socklen_t)size, NULL, 0,
	                NI_NUMERICHOST))
		name[0] = '\0';
}

void dial_set_abort(int fd, bool abort_on_close)
{
	struct linger linger = {.l_onoff = abort_on_close};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}
