/* SPDX-License-Identifier: BSD-2-Clause */
/* The name of a proxy. See include/ssh/proxy.h. Room: ssh. Any thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ssh/proxy.h"
#include "ssh/secret.h"
#include "util/num.h"

static const struct scheme {
	const char *name;
	enum proxy_type type;
	unsigned port;
} schemes[] = {
    {"socks4://", PROXY_SOCKS4, 1080}, {"socks4a://", PROXY_SOCKS4A, 1080},
    {"socks5://", PROXY_SOCKS5, 1080}, {"socks5h://", PROXY_SOCKS5, 1080},
    {"socks://", PROXY_SOCKS5, 1080},  {"http://", PROXY_HTTP, 80},
};

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) % 16 : -1;
}

/* Decodes %XX in place. Return: the length, -1 when it is wrong or has a zero byte. */
static int decode(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		int high, low;

		if (*p != '%') {
			*to++ = *p;
			continue;
		}
		high = hex_digit(p[1]);
		low = high < 0 ? -1 : hex_digit(p[2]);
		if (low < 0 || (high == 0 && low == 0))
			return -1;
		*to++ = (char)(high * 16 + low);
		p += 2;
	}
	*to = '\0';
	return (int)(to - text);
}

/* "user[:password]". Wipes the password. */
static int parse_login(char *login, struct proxy *p)
{
	char *password = strchr(login, ':');
	int len;

	if (password) {
		*password++ = '\0';
		len = decode(password);
		if (len < 0 || len > PROXY_NAME_MAX)
			return -EINVAL;
		p->password = secret_copy(password, (size_t)len);
		explicit_bzero(password, strlen(password));
		if (!p->password)
			return -ENOMEM;
	}
	len = decode(login);
	if (len <= 0 || len > PROXY_NAME_MAX)
		return -EINVAL;
	p->user = strdup(login);
	return p->user ? 0 : -ENOMEM;
}

/* "host[:port]", "[v6]:port". */
static int parse_place(char *place, struct proxy *p)
{
	char *port = strrchr(place, ':'), *end;
	uint64_t number;

	if (place[0] == '[') {
		end = strchr(place, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		port = end[1] ? end + 1 : NULL;
		*end = '\0';
		place++;
	}
	if (port) {
		*port = '\0';
		if (num_parse_u64(port + 1, 10, 1, 65535, &number))
			return -EINVAL;
		p->port = (unsigned)number;
	}
	if (!place[0] || strlen(place) > PROXY_NAME_MAX)
		return -EINVAL;
	p->host = strdup(place);
	return p->host ? 0 : -ENOMEM;
}

int proxy_parse(const char *url, struct proxy *p)
{
	char *text, *at;
	size_t len;
	int rc = 0;

	*p = (struct proxy){0};
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t n = strlen(schemes[i].name);

		if (strncasecmp(url, schemes[i].name, n) == 0) {
			p->type = schemes[i].type;
			p->port = schemes[i].port;
			url += n;
			break;
		}
	}
	if (!p->type)
		return -EINVAL;
	len = strlen(url);
	text = strdup(url);
	if (!text)
		return -ENOMEM;
	text[strcspn(text, "/")] = '\0';
	at = strrchr(text, '@');
	if (at) {
		*at = '\0';
		rc = parse_login(text, p);
	}
	if (!rc)
		rc = parse_place(at ? at + 1 : text, p);
	explicit_bzero(text, len);
	free(text);
	if (rc)
		proxy_finish(p);
	return rc;
}

void proxy_finish(struct proxy *p)
{
	free(p->host);
	free(p->user);
	secret_destroy(p->password);
	*p = (struct proxy){0};
}
