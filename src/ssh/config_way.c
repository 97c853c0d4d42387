/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part of the way to a server that is not ssh_config's: proxies for TCP, the local port, time
 * limits of the phases.
 * Room: ssh. Thread: the caller's, before any other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "config_parts.h"
#include "ssh/conn.h"
#include "ssh/secret.h"

#define DAY_S (24 * 3600)

/* Reads the first line of a file. Return: 0 or a negative errno. */
static int read_password(const char *path, struct secret **out)
{
	struct secret *s = secret_create(PROXY_NAME_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int rc = 0;

	if (!s || fd < 0) {
		rc = s ? -errno : -ENOMEM;
		goto finish;
	}
	n = read(fd, s->bytes, s->size);
	if (n < 0) {
		rc = -errno;
		goto finish;
	}
	s->bytes[n] = '\0';
	s->len = strcspn(s->bytes, "\r\n");
	memset(s->bytes + s->len, 0, s->size - s->len);
	if (s->len > PROXY_NAME_MAX)
		rc = -EINVAL;

finish:
	if (fd >= 0)
		close(fd);
	if (rc)
		secret_destroy(s);
	else
		*out = s;
	return rc;
}

/* Is the host one of "a.example,.b.example,*"? A name also stands for what is below it. */
static bool is_exempt(const char *host, const char *list)
{
	size_t host_len = strlen(host);

	while (list && *list) {
		size_t len = strcspn(list, ", ");
		const char *name = list;

		list += len;
		list += strspn(list, ", ");
		if (len == 1 && name[0] == '*')
			return true;
		if (len > 0 && name[0] == '.') {
			name++;
			len--;
		}
		if (len > 0 && len <= host_len &&
		    strncasecmp(host + host_len - len, name, len) == 0 &&
		    (len == host_len || host[host_len - len - 1] == '.'))
			return true;
	}
	return false;
}

static const char *environment(const char *lower, const char *upper)
{
	const char *value = getenv(lower);

	return value && value[0] ? value : getenv(upper);
}

static int set_proxy(const struct ssh_request *req, struct ssh_config *c, struct link_error *err)
{
	bool automatic = strcmp(req->proxy, "auto") == 0;
	const char *url = req->proxy;
	int rc;

	if (automatic) {
		url = environment("all_proxy", "ALL_PROXY");
		if (!url || !url[0] || c->proxy_command ||
		    is_exempt(c->hostname, environment("no_proxy", "NO_PROXY")))
			return 0;
	} else if (c->proxy_command) {
		conn_error(err, LINK_FAIL_NONE,
		           "proxy and ProxyCommand are both set; leave one out");
		return -EINVAL;
	}
	rc = proxy_parse(url, &c->proxy);
	if (rc == -EINVAL)
		conn_error(err, LINK_FAIL_NONE,
		           "%s has another form; give socks4://, socks4a://, socks5:// or "
		           "http:// and [user@]host[:port]",
		           automatic ? "ALL_PROXY" : "the value of proxy");
	/* Everybody can read command lines. */
	if (!rc && !automatic && c->proxy.password) {
		conn_error(err, LINK_FAIL_NONE,
		           "a password does not belong into proxy=; use "
		           "proxy_password_file");
		rc = -EINVAL;
	}
	return rc;
}

/* Rounds up. */
static void set_limit(unsigned *limit_s, int64_t asked_ms)
{
	if (asked_ms)
		*limit_s = asked_ms < 0 ? 0 : (unsigned)((asked_ms + 999) / 1000);
}

int config_way(const struct ssh_request *req, struct ssh_config *c, struct link_error *err)
{
	int rc = req->proxy ? set_proxy(req, c, err) : 0;

	if (!rc && c->proxy.type && req->proxy_password_file) {
		secret_destroy(c->proxy.password);
		c->proxy.password = NULL;
		rc = read_password(req->proxy_password_file, &c->proxy.password);
		if (rc) {
			conn_error(err, LINK_FAIL_NONE,
			           "cannot read proxy_password_file '%s': %s; check it",
			           req->proxy_password_file, strerror(-rc));
			rc = -EINVAL;
		}
	}
	c->bind_port = req->bind_port;
	/* 0 leaves it to the kernel, which gives up sooner than that. */
	if (c->connect_timeout_s == 0)
		c->connect_timeout_s = DAY_S;
	/* A limit for connecting is one for the first words too, as with ssh. */
	if (c->connect_timeout_s < c->banner_timeout_s)
		c->banner_timeout_s = c->connect_timeout_s;
	set_limit(&c->banner_timeout_s, req->banner_timeout_ms);
	set_limit(&c->login_timeout_s, req->login_timeout_ms);
	return rc;
}
