/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration of jump hosts. As with ssh, what was typed for the server is not theirs: they
 * have what the configuration files say about them.
 * Room: ssh. Thread: the caller's, before any other. Spec: ssh_config(5) ProxyJump.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_parts.h"
#include "ssh/conn.h"
#include "util/num.h"

/* Configurations that name each other go round in circles. */
#define JUMP_MAX 16

/* One host of the list, cut out of a copy of it. */
struct hop {
	char *user; /* NULL: not named */
	char *host;
	unsigned port; /* 0: not named */
};

/* "[user@]host[:port]", "ssh://..." with an address in brackets. Cuts `text`. */
static int parse_hop(char *text, struct hop *hop)
{
	char *at, *port;
	uint64_t number;

	if (strncmp(text, "ssh://", 6) == 0)
		text += 6;
	at = strrchr(text, '@');
	if (at) {
		*at = '\0';
		hop->user = text;
		text = at + 1;
	}
	port = strrchr(text, ':');
	if (text[0] == '[') {
		char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		port = end[1] ? end + 1 : NULL;
		*end = '\0';
		text++;
	}
	if (port) {
		*port = '\0';
		if (num_parse_u64(port + 1, 10, 1, 65535, &number))
			return -EINVAL;
		hop->port = (unsigned)number;
	}
	hop->host = text;
	return text[0] && text[0] != '-' && (!hop->user || hop->user[0]) ? 0 : -EINVAL;
}

/* `before`: the jump hosts of this one, if it was not the first of the list. */
static int resolve_hop(const struct ssh_request *req, const struct hop *hop, const char *before,
                       struct ssh_config *c, struct link_error *err)
{
	char *keyword = NULL;
	char *keywords[] = {NULL, NULL};
	struct ssh_request hop_req = {
	    .host = hop->host,
	    .user = hop->user,
	    .port = hop->port,
	    .config_file = req->config_file,
	    .keywords = keywords,
	    .drop_password = req->drop_password,
	    .no_prompt = req->no_prompt,
	    .proxy = req->proxy,
	    .proxy_password_file = req->proxy_password_file,
	    .bind_port = req->bind_port,
	    .banner_timeout_ms = req->banner_timeout_ms,
	    .login_timeout_ms = req->login_timeout_ms,
	    .jump_depth = req->jump_depth + 1,
	};
	int rc;

	if (before && asprintf(&keyword, "ProxyJump=%s", before) < 0)
		return -ENOMEM;
	keywords[0] = keyword;
	c->jump = calloc(1, sizeof(*c->jump));
	rc = c->jump ? ssh_config_resolve(&hop_req, c->jump, err) : -ENOMEM;
	free(keyword);
	return rc;
}

int config_jump(const struct ssh_request *req, struct ssh_config *c, struct link_error *err)
{
	struct hop hop = {0};
	char *list, *last;
	int rc;

	if (!c->proxy_jump)
		return 0;
	if (req->jump_depth == JUMP_MAX) {
		conn_error(err, LINK_FAIL_NONE,
		           "ssh configuration: more than %d jump hosts, the last "
		           "one is '%s'; check that they do not name each other",
		           JUMP_MAX, c->host);
		return -EINVAL;
	}
	list = strdup(c->proxy_jump);
	if (!list)
		return -ENOMEM;
	last = strrchr(list, ',');
	if (last)
		*last = '\0';
	if (parse_hop(last ? last + 1 : list, &hop)) {
		conn_error(err, LINK_FAIL_NONE,
		           "ssh configuration: ProxyJump '%s' has another form; give a list of "
		           "[user@]host[:port]",
		           c->proxy_jump);
		rc = -EINVAL;
	} else {
		rc = resolve_hop(req, &hop, last ? list : NULL, c, err);
	}
	free(list);
	return rc;
}
