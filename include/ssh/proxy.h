/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proxies for a TCP connection: SOCKS 4, 4a, 5 and HTTP CONNECT. What is said to them, and the
 * meaning of their answers; no I/O but proxy_pass().
 *
 * Internal to ssh/. Thread: the back.
 * Spec: SOCKS4.protocol, SOCKS4A.protocol, RFC 1928, RFC 1929, RFC 9110 section 9.3.6, RFC 7617.
 */
#ifndef SSH_PROXY_H
#define SSH_PROXY_H

#include <stddef.h>
#include <stdint.h>

#include "sftp/link.h"

struct conn;
struct secret;

enum proxy_type {
	PROXY_NONE,
	PROXY_SOCKS4,  /* gets an IPv4 address */
	PROXY_SOCKS4A, /* gets the name, as do the next two */
	PROXY_SOCKS5,
	PROXY_HTTP,
};

/* Strings are owned. */
struct proxy {
	enum proxy_type type;
	char *host;
	unsigned port;
	char *user;              /* NULL: none */
	struct secret *password; /* NULL: none, or not known yet */
};

/*
 * Parses SCHEME://[user[:password]@]host[:port], where the scheme is socks4, socks4a, socks5,
 * socks5h, socks or http. Return: 0; -EINVAL; -ENOMEM.
 */
int proxy_parse(const char *url, struct proxy *p);
void proxy_finish(struct proxy *p);

#define PROXY_NAME_MAX   255 /* length of host, user and password; SOCKS 5 has a byte for it */
#define PROXY_HEADER_MAX 16384

/* A conversation. Wipe it when it is over: it holds what is sent. */
struct proxy_talk {
	const struct proxy *proxy;
	const char *host;
	unsigned port;
	int step;
	uint8_t out[2048]; /* to be sent next */
	size_t out_len;
	uint8_t in[512]; /* what the step has got; of HTTP the beginning of a line */
	size_t in_len;
	size_t want_len;  /* bytes that the step needs in all */
	size_t total_len; /* HTTP: of the header so far */
	int status;       /* HTTP: of the answer; 0: not known yet */
	char error[256];  /* why it failed */
};

/*
 * `host` (for SOCKS 4 an address) and `port` are where to; strings and `p` stay until the end.
 * Return: 0 with something in `out`, or -EINVAL with `error` set.
 */
int proxy_talk_begin(struct proxy_talk *t, const struct proxy *p, const char *host, unsigned port);

/* How many bytes may be read at most: what follows the proxy's words is the server's. */
size_t proxy_talk_want(const struct proxy_talk *t);

/*
 * Takes bytes of the answer, at most as many as wanted.
 * Return: 1: connected; 0: go on, with what may be in `out`; negative errno with `error` set.
 */
int proxy_talk_feed(struct proxy_talk *t, const uint8_t *bytes, size_t len);

/*
 * Has the proxy at the other end of `fd` connect to `host`. Blocks: in conn_wait().
 * Return: 0 or a negative errno with `err` filled.
 */
int proxy_pass(struct conn *c, int fd, const struct proxy *p, const char *host, unsigned port,
               int64_t deadline_ms, struct link_error *err);

#endif
