/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a command line to a resolved configuration. See include/ssh/config.h.
 * Room: ssh. Thread: the caller's, before any other. Spec: ssh_config(5).
 */
#include "ssh/config.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config_parts.h"
#include "host_key_parts.h"
#include "ssh/conn.h"
#include "ssh/login.h"
#include "util/log.h"
#include "util/num.h"

#define DEFAULT_PORT              22
#define DEFAULT_CONNECT_TIMEOUT_S 30
#define DEFAULT_BANNER_TIMEOUT_S  15
#define DEFAULT_LOGIN_TIMEOUT_S   120
#define DEFAULT_ALIVE_INTERVAL_S  15
#define DEFAULT_ALIVE_COUNT_MAX   3
#define DEFAULT_PASSWORD_PROMPTS  3

#define KNOWN_HOSTS_USER   "~/.ssh/known_hosts ~/.ssh/known_hosts2"
#define KNOWN_HOSTS_SYSTEM "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"

static bool lines_have(const struct config_lines *lines, const char *key, const char *value)
{
	for (size_t i = 0; i < lines->keys.count; i++)
		if (strcmp(lines->keys.at[i], key) == 0 && strcmp(lines->values.at[i], value) == 0)
			return true;
	return false;
}

static const char *next_value(const struct config_lines *lines, const char *key, size_t *at)
{
	while (*at < lines->keys.count) {
		size_t i = (*at)++;

		if (strcmp(lines->keys.at[i], key) == 0)
			return lines->values.at[i];
	}
	return NULL;
}

/* What equals ssh's default was not set, as far as one can tell from outside. */
static bool is_default(const struct config_lines *lines, const struct config_lines *defaults,
                       const char *key)
{
	size_t at = 0, default_at = 0;
	const char *value, *default_value;

	do {
		value = next_value(lines, key, &at);
		default_value = next_value(defaults, key, &default_at);
		if (!value || !default_value)
			return value == default_value;
	} while (strcmp(value, default_value) == 0);
	return false;
}

/* What changes a login or a check with ssh, and what we cannot do. */
static void name_without_effect(const struct config_lines *lines,
                                const struct config_lines *defaults)
{
	static const char *const names[] = {
	    "checkhostip",    "gssapikeyexchange", "gssapitrustdns", "hostbasedauthentication",
	    "pkcs11provider", "verifyhostkeydns",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!is_default(lines, defaults, names[i]))
			log_info(LOG_SSH,
			         "ssh configuration: '%s' has no effect here; "
			         "ssh_command=ssh has all of ssh",
			         names[i]);
}

static int apply_lines(struct ssh_config *c, const struct config_lines *lines,
                       const struct config_lines *defaults, struct link_error *err)
{
	for (size_t i = 0; i < lines->keys.count; i++) {
		const struct config_keyword *k = config_keyword_find(lines->keys.at[i]);
		int rc;

		if (!k)
			continue;
		if ((k->flags & KEYWORD_NOT_DEFAULT) && is_default(lines, defaults, k->name))
			continue;
		rc = config_keyword_apply(c, k, lines->values.at[i], err);
		if (rc)
			return rc;
	}
	return 0;
}

/* The name of "Name=value" or "Name value", and where the value begins. */
static const char *split_keyword(const char *text, char *name, size_t size)
{
	size_t len = strcspn(text, "= \t");

	snprintf(name, size, "%.*s", (int)len, text);
	text += len;
	text += strspn(text, " \t");
	if (*text == '=')
		text++;
	return text + strspn(text, " \t");
}

/* Without an ssh program: the command line alone. The first value of a keyword wins. */
static int apply_command_line(struct ssh_config *c, const struct ssh_request *req,
                              struct link_error *err)
{
	struct ssh_strings seen = {0};
	char name[64];
	int rc = 0;

	for (size_t i = 0; !rc && req->keywords && req->keywords[i]; i++) {
		const char *value = split_keyword(req->keywords[i], name, sizeof(name));
		const struct config_keyword *k = config_keyword_find(name);
		bool again = false;

		for (size_t j = 0; j < seen.count; j++)
			again |= strcasecmp(seen.at[j], name) == 0;
		if (!k || (again && !(k->flags & KEYWORD_ADDS)))
			continue;
		rc = strings_add(&seen, name);
		if (!rc)
			rc = config_keyword_apply(c, k, value, err);
	}
	strings_finish(&seen);
	return rc;
}

/* Whose value in ssh's words may be its default and still have been set: ours is another. */
static const char *const alive_names[] = {"serveraliveinterval", "serveralivecountmax"};

/* The values that `ssh -G` cannot tell from its defaults count when a file sets them. */
static int apply_set_defaults(struct ssh_config *c, const struct ssh_request *req,
                              struct link_error *err)
{
	struct config_lines lines = {0};
	int rc = config_run_set(req, &lines);

	for (size_t i = 0; !rc && i < lines.keys.count; i++)
		for (size_t j = 0; !rc && j < 2; j++)
			if (strcmp(lines.keys.at[i], alive_names[j]) == 0)
				rc = config_keyword_apply(c, config_keyword_find(alive_names[j]),
				                          lines.values.at[i], err);
	config_lines_finish(&lines);
	return rc;
}

/* ... and when they were typed. */
static int apply_typed_defaults(struct ssh_config *c, const struct ssh_request *req,
                                struct link_error *err)
{
	char name[64];

	for (size_t i = 0; req->keywords && req->keywords[i]; i++) {
		const char *value = split_keyword(req->keywords[i], name, sizeof(name));

		for (size_t j = 0; j < 2; j++)
			if (strcasecmp(name, alive_names[j]) == 0)
				return config_keyword_apply(c, config_keyword_find(name), value,
				                            err);
	}
	return 0;
}

/*
 * A key in a descriptor is for us alone: no child may inherit it. And it must be there now: later
 * its number could be that of something of ours.
 */
static int keep_descriptors(char *const *identities, const char *keyword, struct link_error *err)
{
	char name[64];

	for (size_t i = 0; identities && identities[i]; i++) {
		const char *value = identities[i];
		int fd;

		if (keyword) {
			value = split_keyword(value, name, sizeof(name));
			if (strcasecmp(name, keyword) != 0)
				continue;
		}
		fd = login_descriptor_of(value);
		if (fd < 0)
			continue;
		if (fcntl(fd, F_SETFD, FD_CLOEXEC)) {
			conn_error(err, LINK_FAIL_NONE,
			           "identity '%s': %s; open that descriptor for us", value,
			           strerror(errno));
			return -EINVAL;
		}
	}
	return 0;
}

static void set_defaults(struct ssh_config *c)
{
	*c = (struct ssh_config){
	    .port = DEFAULT_PORT,
	    .address_family = AF_UNSPEC,
	    .connection_attempts = 1,
	    .connect_timeout_s = DEFAULT_CONNECT_TIMEOUT_S,
	    .banner_timeout_s = DEFAULT_BANNER_TIMEOUT_S,
	    .login_timeout_s = DEFAULT_LOGIN_TIMEOUT_S,
	    .tcp_keepalive = true,
	    .ip_qos = -1,
	    .alive_interval_s = DEFAULT_ALIVE_INTERVAL_S,
	    .alive_count_max = DEFAULT_ALIVE_COUNT_MAX,
	    .pubkey_auth = true,
	    .password_auth = true,
	    .kbdint_auth = true,
	    .password_prompts = DEFAULT_PASSWORD_PROMPTS,
	    .keep_password = true,
	};
}

/* A mistake in host_key= is one of usage: found before anybody connects. */
static int apply_host_keys(struct ssh_config *c, const struct ssh_request *req,
                           struct link_error *err)
{
	uint8_t blob = 0;
	const struct server_key none = {.type = "none", .blob = &blob};
	int rc = 0;

	for (size_t i = 0; !rc && req->host_keys && req->host_keys[i]; i++) {
		rc = host_key_named(req->host_keys[i], &none);
		if (rc < 0) {
			conn_error(
			    err, LINK_FAIL_NONE,
			    "host_key '%.200s' is neither a fingerprint nor a public key nor a "
			    "file of them: %s; see what 'ssh-keygen -l' prints",
			    req->host_keys[i], strerror(-rc));
			return -EINVAL;
		}
		rc = strings_add(&c->host_keys, req->host_keys[i]);
	}
	return rc;
}

static int apply_request(struct ssh_config *c, const struct ssh_request *req)
{
	struct passwd *pw;

	if (req->user) {
		free(c->user);
		c->user = strdup(req->user);
	} else if (!c->user) {
		pw = getpwuid(getuid());
		c->user = strdup(pw ? pw->pw_name : "nobody");
	}
	if (!c->hostname)
		c->hostname = strdup(req->host);
	c->host = strdup(req->host);
	if (req->sftp_server)
		c->sftp_server = strdup(req->sftp_server);
	if (req->config_file)
		c->config_file = strdup(req->config_file);
	if (!c->user || !c->hostname || !c->host || (req->sftp_server && !c->sftp_server) ||
	    (req->config_file && !c->config_file))
		return -ENOMEM;
	if (req->port)
		c->port = req->port;
	c->compression |= req->compression;
	c->password_stdin = req->password_stdin;
	c->keep_password = !req->drop_password;
	c->batch_mode |= req->no_prompt;
	return 0;
}

int ssh_config_resolve(const struct ssh_request *req, struct ssh_config *out,
                       struct link_error *err)
{
	struct config_lines lines = {0}, defaults = {0};
	bool no_agent = false;
	int rc;

	*err = (struct link_error){.fail = LINK_FAIL_NONE};
	set_defaults(out);
	if (!req->host[0] || req->host[0] == '-') {
		conn_error(err, LINK_FAIL_NONE, "'%s' is not a host name", req->host);
		return -EINVAL;
	}
	rc = keep_descriptors(req->keywords, "IdentityFile", err);
	if (rc == 0)
		rc = config_run(req, false, &lines, err);
	if (rc == 0)
		rc = config_run(req, true, &defaults, err);
	if (rc == 0) {
		no_agent = lines_have(&lines, "identityagent", "none");
		name_without_effect(&lines, &defaults);
		rc = apply_lines(out, &lines, &defaults, err);
		if (rc == 0)
			rc = apply_set_defaults(out, req, err);
		if (rc == 0)
			rc = apply_typed_defaults(out, req, err);
	} else if (rc == -ENOENT) {
		log_info(LOG_SSH, "no ssh program is installed: ssh configuration files are not "
		                  "read");
		rc = apply_command_line(out, req, err);
		if (!rc && out->user_known_hosts.count == 0)
			rc = strings_add_words(&out->user_known_hosts, KNOWN_HOSTS_USER);
		if (!rc && out->global_known_hosts.count == 0)
			rc = strings_add_words(&out->global_known_hosts, KNOWN_HOSTS_SYSTEM);
	}
	if (rc == 0)
		rc = apply_request(out, req);
	if (rc == 0)
		rc = apply_host_keys(out, req, err);
	if (rc == 0)
		rc = config_complete(out, no_agent, err);
	if (rc == 0)
		rc = keep_descriptors(out->identities.at, NULL, err);
	if (rc == 0)
		rc = config_way(req, out, err);
	if (rc == 0)
		rc = config_jump(req, out, err);
	config_lines_finish(&lines);
	config_lines_finish(&defaults);
	if (rc) {
		if (!err->text[0])
			conn_error(err, LINK_FAIL_NONE, "ssh configuration: %s", strerror(-rc));
		ssh_config_finish(out);
	}
	return rc;
}

void ssh_config_finish(struct ssh_config *c)
{
	if (c->jump)
		ssh_config_finish(c->jump);
	free(c->jump);
	proxy_finish(&c->proxy);
	char *strings[] = {c->host,
	                   c->hostname,
	                   c->user,
	                   c->sftp_server,
	                   c->bind_address,
	                   c->bind_interface,
	                   c->proxy_command,
	                   c->proxy_jump,
	                   c->ciphers,
	                   c->macs,
	                   c->kex,
	                   c->host_key_algorithms,
	                   c->pubkey_algorithms,
	                   c->host_key_alias,
	                   c->revoked_host_keys,
	                   c->known_hosts_command,
	                   c->fingerprint_hash,
	                   c->auth_order,
	                   c->identity_agent,
	                   c->add_keys,
	                   c->config_file,
	                   c->gssapi_server,
	                   c->gssapi_client};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	strings_finish(&c->host_keys);
	strings_finish(&c->user_known_hosts);
	strings_finish(&c->global_known_hosts);
	strings_finish(&c->identities);
	strings_finish(&c->default_identities);
	strings_finish(&c->certificates);
	strings_finish(&c->env);
	*c = (struct ssh_config){0};
}
