/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host argument: `[user@]host:[dir]`, `[v6]:dir`, `sftp://[user@]host[:port]/dir`, and
 * commands that are split into words. Depends on util/ only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "util/num.h"

static int copy(char **to, const char *from, size_t len)
{
	free(*to);
	*to = strndup(from, len);
	return *to ? 0 : -ENOMEM;
}

/* `user@host` in `len` bytes; the last at sign counts, brackets around the host are taken off. */
static int split_login(struct options *o, const char *s, size_t len)
{
	const char *at = memrchr(s, '@', len);
	int r = 0;

	if (at) {
		if (at > s)
			r = copy(&o->user, s, (size_t)(at - s));
		len -= (size_t)(at + 1 - s);
		s = at + 1;
	}
	if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
		s++;
		len -= 2;
	}
	return r ? r : copy(&o->host, s, len);
}

/* The colon that ends the host, skipping those inside brackets. NULL: none. */
static const char *host_end(const char *s)
{
	bool inside = false;

	for (; *s; s++) {
		if (*s == '[')
			inside = true;
		else if (*s == ']')
			inside = false;
		else if (*s == ':' && !inside)
			return s;
	}
	return NULL;
}

static int parse_address(struct options *o, const char *rest)
{
	size_t login_len = strcspn(rest, "/");
	const char *path = rest + login_len;
	char *login = strndup(rest, login_len);
	uint64_t port = 0;
	int r = -ENOMEM;

	if (!login)
		return r;
	char *host = strrchr(login, '@');
	char *colon = (char *)host_end(host ? host + 1 : login);
	r = 0;
	if (colon) {
		*colon = '\0';
		r = num_parse_u64(colon + 1, 10, 1, 65535, &port);
	}
	if (r == 0)
		r = split_login(o, login, strlen(login));
	free(login);
	o->port = (int64_t)port;

	/* /~/dir starts in the login directory. */
	if (strncmp(path, "/~/", 3) == 0)
		path += 3;
	else if (strcmp(path, "/~") == 0)
		path += 2;
	if (r == 0)
		r = copy(&o->dir, path, strlen(path));
	if (r == 0)
		r = num_percent_decode(o->host);
	if (r >= 0 && o->user)
		r = num_percent_decode(o->user);
	if (r >= 0)
		r = num_percent_decode(o->dir);
	return r < 0 ? r : 0;
}

int options_parse_source(struct options *o, const char *source, char *err, size_t err_size)
{
	static const char scheme[] = "sftp://";
	int r;

	if (strncmp(source, scheme, strlen(scheme)) == 0) {
		r = parse_address(o, source + strlen(scheme));
	} else {
		const char *end = host_end(source);

		if (!end)
			r = -EINVAL;
		else if ((r = split_login(o, source, (size_t)(end - source))) == 0)
			r = copy(&o->dir, end + 1, strlen(end + 1));
	}
	if (r == -ENOMEM)
		return r;
	if (r) {
		snprintf(err, err_size,
		         "not of the form [user@]host:[dir] or "
		         "sftp://[user@]host[:port]/dir: '%s'",
		         source);
		return -EINVAL;
	}
	/* ssh would take either for an option. */
	if (o->host[0] == '-' || (o->user && o->user[0] == '-')) {
		snprintf(err, err_size, "a host or user must not begin with '-': '%s'", source);
		return -EINVAL;
	}
	return 0;
}

int options_split_command(const char *command, struct options_list *out)
{
	char *word = malloc(strlen(command) + 1);
	int r = 0;

	if (!word)
		return -ENOMEM;
	while (r == 0) {
		char *to = word;

		command += strspn(command, " ");
		if (!*command)
			break;
		for (; *command && *command != ' '; command++) {
			if (*command == '\\' && command[1])
				command++;
			*to++ = *command;
		}
		*to = '\0';
		r = options_list_add(out, word);
	}
	free(word);
	return r;
}
