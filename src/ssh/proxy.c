/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is said to proxies. See include/ssh/proxy.h.
 * Room: ssh. Thread: the back. Everything a proxy says has a length that is known before it is read.
 */
#include "ssh/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ssh/secret.h"

enum step {
	STEP_SOCKS4,
	STEP_SOCKS5_METHOD,
	STEP_SOCKS5_LOGIN,
	STEP_SOCKS5_REPLY, /* up to the type of the address and its first byte */
	STEP_SOCKS5_ADDRESS,
	STEP_HTTP,
};

static int __attribute__((format(printf, 3, 4)))
fail(struct proxy_talk *t, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->error, sizeof(t->error), fmt, ap);
	va_end(ap);
	return -error;
}

/* Everything put here is capped beforehand: host, user and password have at most 255 bytes. */
static void put(struct proxy_talk *t, const void *bytes, size_t len)
{
	memcpy(t->out + t->out_len, bytes, len);
	t->out_len += len;
}

static void put_u8(struct proxy_talk *t, unsigned byte)
{
	t->out[t->out_len++] = (uint8_t)byte;
}

static void put_port(struct proxy_talk *t)
{
	put_u8(t, t->port >> 8);
	put_u8(t, t->port & 0xff);
}

static void expect(struct proxy_talk *t, enum step step, size_t len)
{
	t->step = step;
	t->in_len = 0;
	t->want_len = len;
}

/* --- SOCKS 4 and 4a ------------------------------------------------------------------------ */

static int socks4_begin(struct proxy_talk *t)
{
	const char *user = t->proxy->user ? t->proxy->user : "";
	struct in_addr in = {.s_addr = htonl(1)}; /* 0.0.0.1: a name follows */
	bool numeric = inet_pton(AF_INET, t->host, &in) == 1;

	if (!numeric && t->proxy->type == PROXY_SOCKS4)
		return fail(t, EINVAL, "SOCKS 4 can only reach IPv4 addresses");
	put_u8(t, 4);
	put_u8(t, 1); /* CONNECT */
	put_port(t);
	put(t, &in.s_addr, 4);
	put(t, user, strlen(user) + 1);
	if (!numeric)
		put(t, t->host, strlen(t->host) + 1);
	expect(t, STEP_SOCKS4, 8);
	return 0;
}

static int socks4_reply(struct proxy_talk *t)
{
	switch (t->in[1]) {
	case 90:
		return t->in[0] == 0 ? 1 : fail(t, EPROTO, "it does not speak SOCKS 4");
	case 91:
		return fail(t, ECONNREFUSED, "request rejected or failed");
	case 92:
	case 93:
		return fail(t, EACCES, "proxy authentication failed");
	default:
		return fail(t, EPROTO, "it does not speak SOCKS 4");
	}
}

/* --- SOCKS 5 ------------------------------------------------------------------------------- */

static int socks5_begin(struct proxy_talk *t)
{
	put_u8(t, 5);
	put_u8(t, t->proxy->user ? 2 : 1);
	put_u8(t, 0); /* no login */
	if (t->proxy->user)
		put_u8(t, 2); /* user and password */
	expect(t, STEP_SOCKS5_METHOD, 2);
	return 0;
}

static int socks5_ask(struct proxy_talk *t)
{
	uint8_t address[16];

	put(t, "\5\1", 3); /* CONNECT, and a reserved byte */
	if (inet_pton(AF_INET, t->host, address) == 1) {
		put_u8(t, 1);
		put(t, address, 4);
	} else if (inet_pton(AF_INET6, t->host, address) == 1) {
		put_u8(t, 4);
		put(t, address, 16);
	} else {
		put_u8(t, 3);
		put_u8(t, (unsigned)strlen(t->host));
		put(t, t->host, strlen(t->host));
	}
	put_port(t);
	expect(t, STEP_SOCKS5_REPLY, 5);
	return 0;
}

static int socks5_method(struct proxy_talk *t)
{
	const struct proxy *p = t->proxy;

	if (t->in[0] != 5)
		return fail(t, EPROTO, "it does not speak SOCKS 5");
	if (t->in[1] == 0)
		return socks5_ask(t);
	if (t->in[1] != 2 || !p->user)
		return fail(t, EACCES,
		            p->user ? "proxy authentication failed: it takes no password"
		                    : "proxy authentication failed: it wants a user");
	put_u8(t, 1);
	put_u8(t, (unsigned)strlen(p->user));
	put(t, p->user, strlen(p->user));
	put_u8(t, p->password ? (unsigned)p->password->len : 0);
	if (p->password)
		put(t, p->password->bytes, p->password->len);
	expect(t, STEP_SOCKS5_LOGIN, 2);
	return 0;
}

static int socks5_reply(struct proxy_talk *t)
{
	static const char *const reasons[] = {
	    NULL,
	    "general failure",
	    "not allowed by its rules",
	    "network unreachable",
	    "host unreachable",
	    "connection refused",
	    "time to live expired",
	    "command not supported",
	    "address type not supported",
	};
	unsigned code = t->in[1], type = t->in[3];

	if (t->in[0] != 5)
		return fail(t, EPROTO, "it does not speak SOCKS 5");
	if (code)
		return fail(t, ECONNREFUSED, "%s",
		            code < sizeof(reasons) / sizeof(reasons[0]) ? reasons[code]
		                                                        : "unknown failure");
	/* One byte of the address has been read: of a name its length. */
	if (type != 1 && type != 3 && type != 4)
		return fail(t, EPROTO, "it does not speak SOCKS 5");
	expect(t, STEP_SOCKS5_ADDRESS, (type == 1 ? 3u : type == 4 ? 15u : t->in[4]) + 2);
	return 0;
}

/* --- HTTP ---------------------------------------------------------------------------------- */

static int http_begin(struct proxy_talk *t)
{
	const struct proxy *p = t->proxy;
	bool v6 = strchr(t->host, ':');
	uint8_t plain[2 * PROXY_NAME_MAX + 2], coded[(2 * PROXY_NAME_MAX + 2) / 3 * 4 + 5];
	char place[PROXY_NAME_MAX + 16], head[2 * sizeof(place) + 64];
	int len;

	snprintf(place, sizeof(place), "%s%s%s:%u", v6 ? "[" : "", t->host, v6 ? "]" : "", t->port);
	len = snprintf(head, sizeof(head), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", place, place);
	put(t, head, (size_t)len);
	if (p->user) {
		size_t user_len = strlen(p->user),
		       password_len = p->password ? p->password->len : 0;

		memcpy(plain, p->user, user_len);
		plain[user_len] = ':';
		if (p->password)
			memcpy(plain + user_len + 1, p->password->bytes, password_len);
		len = EVP_EncodeBlock(coded, plain, (int)(user_len + 1 + password_len));
		put(t, "Proxy-Authorization: Basic ", 27);
		put(t, coded, (size_t)len);
		put(t, "\r\n", 2);
		explicit_bzero(plain, sizeof(plain));
		explicit_bzero(coded, sizeof(coded));
	}
	put(t, "\r\n", 2);
	expect(t, STEP_HTTP, 1);
	return 0;
}

static int http_status_line(struct proxy_talk *t)
{
	const char *line = (const char *)t->in;

	if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12 || line[8] != ' ' ||
	    sscanf(line + 9, "%3d", &t->status) != 1 || t->status < 100)
		return fail(t, EPROTO, "it does not speak HTTP");
	if (t->status == 407)
		return fail(t, EACCES,
		            t->proxy->user ? "proxy authentication failed: %.200s"
		                           : "proxy authentication required: %.200s",
		            line + 9);
	if (t->status >= 300)
		return fail(t, ECONNREFUSED, "it answers: %.200s", line + 9);
	return 0;
}

/* Byte by byte, for what is behind the empty line is not ours. */
static int http_byte(struct proxy_talk *t)
{
	char byte = (char)t->in[t->in_len - 1];

	if (++t->total_len > PROXY_HEADER_MAX)
		return fail(t, EPROTO, "its answer is too long");
	if (byte != '\n') {
		/* The rest of a long line does not matter. */
		if (t->in_len == sizeof(t->in) - 1)
			t->in_len--;
		t->want_len = t->in_len + 1;
		return 0;
	}
	t->in[--t->in_len] = '\0';
	if (t->in_len > 0 && t->in[t->in_len - 1] == '\r')
		t->in[--t->in_len] = '\0';
	if (t->in_len == 0 && t->status >= 200)
		return 1;
	if (t->in_len == 0)
		t->status = 0; /* 100 Continue and the like: another one follows */
	else if (!t->status && http_status_line(t))
		return t->status == 407 ? -EACCES : t->status >= 300 ? -ECONNREFUSED : -EPROTO;
	expect(t, STEP_HTTP, 1);
	return 0;
}

/* --- the conversation ---------------------------------------------------------------------- */

int proxy_talk_begin(struct proxy_talk *t, const struct proxy *p, const char *host, unsigned port)
{
	memset(t, 0, sizeof(*t));
	t->proxy = p;
	t->host = host;
	t->port = port;
	if (!host[0] || strlen(host) > PROXY_NAME_MAX || strpbrk(host, "\r\n "))
		return fail(t, EINVAL, "'%.100s' is not a host name", host);
	if (p->password && p->password->len > PROXY_NAME_MAX)
		return fail(t, EINVAL, "the password is too long");
	switch (p->type) {
	case PROXY_SOCKS4:
	case PROXY_SOCKS4A:
		return socks4_begin(t);
	case PROXY_SOCKS5:
		return socks5_begin(t);
	default:
		return http_begin(t);
	}
}

size_t proxy_talk_want(const struct proxy_talk *t)
{
	return t->want_len - t->in_len;
}

int proxy_talk_feed(struct proxy_talk *t, const uint8_t *bytes, size_t len)
{
	memcpy(t->in + t->in_len, bytes, len);
	t->in_len += len;
	if (t->in_len < t->want_len)
		return 0;
	switch ((enum step)t->step) {
	case STEP_SOCKS4:
		return socks4_reply(t);
	case STEP_SOCKS5_METHOD:
		return socks5_method(t);
	case STEP_SOCKS5_LOGIN:
		return t->in[1] == 0 ? socks5_ask(t)
		                     : fail(t, EACCES, "proxy authentication failed");
	case STEP_SOCKS5_REPLY:
		return socks5_reply(t);
	case STEP_SOCKS5_ADDRESS:
		return 1;
	case STEP_HTTP:
		return http_byte(t);
	}
	return -EPROTO;
}
