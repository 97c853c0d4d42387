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

/* "user[:password]". Wipes the password. */
static int parse_login(char *login, struct proxy *p)
{
	char *password = strchr(login, ':');
	int len;

	if (password) {
		*password++ = '\0';
		len = num_percent_decode(password);
		if (len < 0 || len > PROXY_NAME_MAX)
			return -EINVAL;
		p->password = secret_copy(password, (size_t)len);
		explicit_bzero(password, strlen(password));
		if (!p->password)
			return -ENOMEM;
	}
	len = num_percent_decode(login);
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
