/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What follows the keywords: defaults that depend on them, variables and tokens, checks.
 * Room: ssh. Thread: the caller's, before any other. Spec: ssh_config(5).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_parts.h"
#include "ssh/conn.h"

/* Tried when the user names none, best first. Those of security keys only the agent can use. */
static const char *const default_identities[] = {
    "~/.ssh/id_ed25519",  "~/.ssh/id_ecdsa",      "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519_sk",
};
#define DEFAULT_COUNT (sizeof(default_identities) / sizeof(default_identities[0]))

static int expand_string(const struct ssh_config *c, char **at, const char *what,
                         struct link_error *err)
{
	char *text;

	if (!*at)
		return 0;
	text = config_expand(c, *at);
	if (!text) {
		conn_error(
		    err, LINK_FAIL_NONE,
		    "ssh configuration: %s '%s' has an unknown token or variable; see TOKENS in "
		    "ssh_config(5)",
		    what, *at);
		return -EINVAL;
	}
	free(*at);
	*at = text;
	return 0;
}

static int expand_strings(const struct ssh_config *c, struct ssh_strings *s, const char *what,
                          struct link_error *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < s->count; i++)
		rc = expand_string(c, &s->at[i], what, err);
	return rc;
}

static void drop_none(struct ssh_strings *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->count; i++) {
		if (strcasecmp(s->at[i], "none") == 0)
			free(s->at[i]);
		else
			s->at[kept++] = s->at[i];
	}
	s->count = kept;
	if (s->at)
		s->at[kept] = NULL;
}

/* "SSH_AUTH_SOCK" and "$NAME" are variables, anything else a path. */
static int resolve_agent(struct ssh_config *c, bool none)
{
	const char *path = c->identity_agent;
	char *copy;

	if (none)
		path = NULL;
	else if (!path || strcmp(path, "SSH_AUTH_SOCK") == 0)
		path = getenv("SSH_AUTH_SOCK");
	else if (path[0] == '$' && path[1] != '{')
		path = getenv(path + 1);
	if (path && !path[0])
		path = NULL;
	copy = path ? strdup(path) : NULL;
	free(c->identity_agent);
	c->identity_agent = copy;
	return path && !copy ? -ENOMEM : 0;
}

int config_complete(struct ssh_config *c, bool no_agent, struct link_error *err)
{
	bool none_named = c->identities.count == 0;
	int rc = 0;

	/* "IdentityFile none" means no file at all. */
	drop_none(&c->identities);
	drop_none(&c->user_known_hosts);
	drop_none(&c->global_known_hosts);
	for (size_t i = 0; !rc && none_named && i < DEFAULT_COUNT; i++)
		rc = strings_add(&c->default_identities, default_identities[i]);
	if (!rc)
		rc = resolve_agent(c, no_agent);
	if (!rc)
		rc = expand_strings(c, &c->identities, "IdentityFile", err);
	if (!rc)
		rc = expand_strings(c, &c->default_identities, "IdentityFile", err);
	if (!rc)
		rc = expand_strings(c, &c->certificates, "CertificateFile", err);
	if (!rc)
		rc = expand_strings(c, &c->user_known_hosts, "UserKnownHostsFile", err);
	if (!rc)
		rc = expand_strings(c, &c->global_known_hosts, "GlobalKnownHostsFile", err);
	if (!rc)
		rc = expand_string(c, &c->identity_agent, "IdentityAgent", err);
	if (!rc)
		rc = expand_string(c, &c->revoked_host_keys, "RevokedHostKeys", err);
	if (!rc)
		rc = expand_string(c, &c->proxy_command, "ProxyCommand", err);
	if (!rc && (c->port == 0 || c->port > 65535)) {
		conn_error(err, LINK_FAIL_NONE, "'%u' is not a port", c->port);
		rc = -EINVAL;
	}
	return rc;
}
