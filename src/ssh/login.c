/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging in: which methods, in which order, and what to say when none worked.
 * Room: ssh. Thread: the back. Spec: RFC 4252; ssh_config(5) PreferredAuthentications.
 */
#include "ssh/login.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "login_parts.h"
#include "util/buf.h"
#include "util/log.h"

/* Factors that one login may take; a server that goes on for ever is not worth it. */
#define FACTOR_MAX 8

static const struct method {
	const char *name;
	int bit;
	enum outcome (*run)(struct login *lg);
} methods[] = {
    {"gssapi-with-mic", SSH_AUTH_METHOD_GSSAPI_MIC, NULL},
    {"publickey", SSH_AUTH_METHOD_PUBLICKEY, login_public_keys},
    {"keyboard-interactive", SSH_AUTH_METHOD_INTERACTIVE, login_interactive},
    {"password", SSH_AUTH_METHOD_PASSWORD, login_password},
};
#define METHOD_COUNT (sizeof(methods) / sizeof(methods[0]))

bool login_wait(struct login *lg)
{
	int n;

	/* A call on a dead session says "again" for ever. */
	if (ssh_conn_is_dead(lg->sc)) {
		lg->error = -EPIPE;
		return false;
	}
	n = ssh_conn_wait(lg->sc, lg->sc->login_deadline_ms);
	if (n > 0)
		return true;
	lg->error = n == 0 ? -ETIMEDOUT : n;
	return false;
}

enum outcome login_outcome(struct login *lg, int rc)
{
	switch (rc) {
	case SSH_AUTH_SUCCESS:
		return LOGIN_SUCCESS;
	case SSH_AUTH_PARTIAL:
		return LOGIN_PARTIAL;
	case SSH_AUTH_DENIED:
		return LOGIN_DENIED;
	case SSH_AUTH_AGAIN:
		return LOGIN_STOPPED;
	default:
		/* libssh calls a key it cannot use an error too; only a dead session ends it. */
		if (!ssh_conn_is_dead(lg->sc))
			return LOGIN_DENIED;
		lg->error = -EPIPE;
		return LOGIN_STOPPED;
	}
}

/* --- GSSAPI -------------------------------------------------------------------------------- */

/* Without a ticket the libraries say so before anything is sent, and nothing was tried. */
static enum outcome login_gssapi(struct login *lg)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	int delegate = cfg->gssapi_delegate;
	uint64_t sent_before = lg->sc->packet_counter.out_packets;
	int rc;

	ssh_options_set(lg->session, SSH_OPTIONS_GSSAPI_DELEGATE_CREDENTIALS, &delegate);
	if (cfg->gssapi_server)
		ssh_options_set(lg->session, SSH_OPTIONS_GSSAPI_SERVER_IDENTITY,
		                cfg->gssapi_server);
	if (cfg->gssapi_client)
		ssh_options_set(lg->session, SSH_OPTIONS_GSSAPI_CLIENT_IDENTITY,
		                cfg->gssapi_client);
	LOGIN_CALL(lg, rc, ssh_userauth_gssapi(lg->session));
	if (lg->sc->packet_counter.out_packets != sent_before)
		lg->tried |= SSH_AUTH_METHOD_GSSAPI_MIC;
	return login_outcome(lg, rc);
}

/* --- order --------------------------------------------------------------------------------- */

static bool method_enabled(const struct ssh_config *cfg, int bit)
{
	switch (bit) {
	case SSH_AUTH_METHOD_GSSAPI_MIC:
		return cfg->gssapi_auth;
	case SSH_AUTH_METHOD_PUBLICKEY:
		return cfg->pubkey_auth;
	case SSH_AUTH_METHOD_INTERACTIVE:
		return cfg->kbdint_auth;
	case SSH_AUTH_METHOD_PASSWORD:
		return cfg->password_auth;
	default:
		return false;
	}
}

static enum outcome run_method(struct login *lg, const struct method *m)
{
	enum outcome out;

	if (!(lg->methods & m->bit & ~lg->done_methods) || !method_enabled(&lg->sc->cfg, m->bit))
		return LOGIN_DENIED;
	if (m->bit == SSH_AUTH_METHOD_PASSWORD && lg->sc->store.password_expired)
		return LOGIN_DENIED;
	log_debug(LOG_SSH, "trying login method '%s'", m->name);
	out = m->run ? m->run(lg) : login_gssapi(lg);
	if (out == LOGIN_PARTIAL)
		lg->accepted |= m->bit;
	if (out == LOGIN_PARTIAL && m->bit != SSH_AUTH_METHOD_PUBLICKEY)
		lg->done_methods |= m->bit;
	if (out == LOGIN_SUCCESS || out == LOGIN_PARTIAL)
		log_debug(LOG_SSH, "login method '%s' was accepted", m->name);
	return out;
}

/* Goes through the methods once, in the user's order if there is one. */
static enum outcome run_methods(struct login *lg)
{
	const char *order = lg->sc->cfg.auth_order;
	enum outcome out = LOGIN_DENIED;

	if (!order) {
		for (size_t i = 0; i < METHOD_COUNT && out == LOGIN_DENIED; i++)
			out = run_method(lg, &methods[i]);
		return out;
	}
	while (*order && out == LOGIN_DENIED) {
		size_t len = strcspn(order, ",");

		for (size_t i = 0; i < METHOD_COUNT && out == LOGIN_DENIED; i++)
			if (strlen(methods[i].name) == len &&
			    strncmp(methods[i].name, order, len) == 0)
				out = run_method(lg, &methods[i]);
		order += len;
		order += *order == ',';
	}
	return out;
}

static void show_banner(struct login *lg)
{
	char *banner = ssh_get_issue_banner(lg->session);

	if (banner && !lg->sc->conn.first_done)
		prompt_show(&lg->prompt, banner);
	ssh_string_free_char(banner);
}

static enum outcome run(struct login *lg)
{
	enum outcome out;
	int rc;

	LOGIN_CALL(lg, rc, ssh_userauth_none(lg->session, NULL));
	show_banner(lg);
	out = login_outcome(lg, rc);
	if (out == LOGIN_SUCCESS || out == LOGIN_STOPPED)
		return out;
	for (unsigned factor = 0; factor < FACTOR_MAX; factor++) {
		lg->methods = ssh_userauth_list(lg->session, NULL);
		out = run_methods(lg);
		if (out != LOGIN_PARTIAL)
			return out;
	}
	return LOGIN_DENIED;
}

/* --- errors -------------------------------------------------------------------------------- */

static void add_methods(struct buf *b, int bits)
{
	bool first = true;

	for (size_t i = 0; i < METHOD_COUNT; i++) {
		if (!(bits & methods[i].bit))
			continue;
		buf_addf(b, "%s%s", first ? "" : ", ", methods[i].name);
		first = false;
	}
	if (bits & SSH_AUTH_METHOD_HOSTBASED)
		buf_addf(b, "%shostbased", first ? "" : ", ");
	else if (first)
		buf_add_str(b, "nothing we know");
}

/* What the configuration asks for and only ssh itself can do. */
static void add_lacks(struct buf *b, const struct ssh_config *cfg)
{
	const struct {
		bool asked;
		const char *name;
	} lacks[] = {{cfg->hostbased_asked, "HostbasedAuthentication"},
	             {cfg->pkcs11_asked, "PKCS11Provider"},
	             {cfg->gssapi_kex_asked, "GSSAPIKeyExchange"}};
	const char *before = "; for ";

	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
		if (!lacks[i].asked)
			continue;
		buf_addf(b, "%s%s", before, lacks[i].name);
		before = " and ";
	}
	if (before[0] == ' ')
		buf_add_str(b, " use -o ssh_command=ssh");
}

/* Is `name` one of the comma-separated words of `list`? */
static bool names(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (; *list; list += *list == ',') {
		if (strcspn(list, ",") == len && memcmp(list, name, len) == 0)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

/* What the server would take and the configuration lets us try. */
static int usable_methods(const struct login *lg)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	int usable = 0;

	for (size_t i = 0; i < METHOD_COUNT; i++)
		if (method_enabled(cfg, methods[i].bit) &&
		    (!cfg->auth_order || names(cfg->auth_order, methods[i].name)))
			usable |= methods[i].bit;
	return usable & lg->methods;
}

static const char *remedy(const struct login *lg)
{
	if (lg->tried & (SSH_AUTH_METHOD_PASSWORD | SSH_AUTH_METHOD_INTERACTIVE))
		return "check the user and the password";
	if (lg->methods & SSH_AUTH_METHOD_PUBLICKEY)
		return "check the user, and name the right key with IdentityFile";
	return usable_methods(lg) ? "check the user and what he has to log in with"
	                          : "log in another way, or use -o ssh_command=ssh";
}

static void explain_denied(struct login *lg, struct link_error *err)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	struct buf b = BUF_INIT;
	int usable = usable_methods(lg);

	if (lg->accepted) {
		buf_addf(&b, "'%s' accepted ", cfg->host);
		add_methods(&b, lg->accepted);
		buf_addf(&b, " for user '%s' and wants one more factor", cfg->user);
	} else if (lg->tried) {
		buf_addf(&b, "'%s' refused every login method tried (", cfg->host);
		add_methods(&b, (int)lg->tried);
		buf_addf(&b, ") for user '%s'", cfg->user);
	} else {
		buf_addf(&b, "there is nothing to log in to '%s' with as user '%s'", cfg->host,
		         cfg->user);
	}
	buf_add_str(&b, "; the server offers: ");
	add_methods(&b, lg->methods);
	add_lacks(&b, cfg);
	if (lg->remark[0])
		buf_addf(&b, "; %s", lg->remark);
	else if (lg->agent_error)
		buf_addf(&b,
		         "; the agent does not answer: %s; check SSH_AUTH_SOCK and IdentityAgent",
		         strerror(-lg->agent_error));
	else if (!prompt_possible(&lg->prompt) && !lg->sc->conn.first_done &&
	         !cfg->password_stdin &&
	         usable & (SSH_AUTH_METHOD_PASSWORD | SSH_AUTH_METHOD_INTERACTIVE))
		buf_add_str(&b, "; there is no terminal to ask for a password on (see "
		                "password_stdin)");
	else if (!lg->tried && usable & SSH_AUTH_METHOD_GSSAPI_MIC)
		buf_add_str(&b, "; there is no Kerberos ticket (see kinit)");
	else
		buf_addf(&b, "; %s", remedy(lg));
	conn_error(err, LINK_FAIL_AUTH, "%s",
	           buf_failed(&b) ? "login refused" : (const char *)b.bytes);
	buf_finish(&b);
}

static int explain_expired(struct login *lg, struct link_error *err)
{
	const struct ssh_config *cfg = &lg->sc->cfg;

	conn_error(err, LINK_FAIL_AUTH,
	           "the password of '%s' on '%s' has expired; change it with ssh, then mount "
	           "again",
	           cfg->user, cfg->host);
	/* Whoever wants passwords first may have more to log in with. */
	if (!cfg->auth_order || !strstr(cfg->auth_order, "password,"))
		return -EACCES;
	log_error(LOG_SSH, "%s", err->text);
	lg->sc->store.password_expired = true;
	return -ERESTART;
}

static int explain_too_many(struct login *lg, const char *reason, struct link_error *err)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < lg->sc->store.key_count; i++) {
		if (!lg->postponed[i].waits || !prompt_possible(&lg->prompt))
			continue;
		lg->sc->store.ask_at_once = true;
		return -ERESTART;
	}
	if (lg->tried & (SSH_AUTH_METHOD_PASSWORD | SSH_AUTH_METHOD_INTERACTIVE))
		buf_addf(&b, "'%s' took none of the answers for user '%s': %s; check them",
		         cfg->host, cfg->user, reason);
	else
		buf_addf(&b,
		         "'%s' ended the login of '%s' after %u keys: %s; name the right one with "
		         "IdentityFile and IdentitiesOnly=yes",
		         cfg->host, cfg->user, lg->key_count, reason);
	add_lacks(&b, cfg);
	conn_error(err, LINK_FAIL_AUTH, "%s", buf_failed(&b) ? reason : (const char *)b.bytes);
	buf_finish(&b);
	return -EACCES;
}

static int explain_stopped(struct login *lg, struct link_error *err)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	const char *reason = ssh_conn_reason(lg->sc);

	if (lg->error == -ECANCELED)
		return -ECANCELED;
	if (lg->error == -ETIMEDOUT) {
		conn_error(err, LINK_FAIL_NETWORK,
		           "the login to '%s' did not end within %u s; try again, or raise "
		           "-o login_timeout",
		           cfg->host, cfg->login_timeout_s);
		return -ETIMEDOUT;
	}
	/* "Choose a new one" (60, RFC 4252 section 8) is a message that libssh ends the session for. */
	if ((lg->tried & SSH_AUTH_METHOD_PASSWORD) && strstr(reason, "rejected packet (type 60)"))
		return explain_expired(lg, err);
	if (strcasestr(reason, "too many authentication failures"))
		return explain_too_many(lg, reason, err);
	conn_error(err, LINK_FAIL_NETWORK,
	           "connection to '%s' lost during login: %s; try again, its log may tell more",
	           cfg->host, reason);
	return -EPIPE;
}

/* --- all of it ----------------------------------------------------------------------------- */

static int login_begin(struct login *lg)
{
	const struct ssh_config *cfg = &lg->sc->cfg;
	int rc = login_store_load(lg->sc);

	if (rc)
		return rc;
	if (cfg->identity_agent && cfg->pubkey_auth) {
		lg->agent_error = agent_list(cfg->identity_agent, &lg->agent);
		if (lg->agent_error)
			log_info(LOG_SSH, "the agent at '%s' does not answer: %s",
			         cfg->identity_agent, strerror(-lg->agent_error));
	}
	memcpy(lg->remark, lg->sc->store.remark, sizeof(lg->remark));
	lg->key_used = calloc(lg->sc->store.key_count + 1, sizeof(bool));
	lg->postponed = calloc(lg->sc->store.key_count + 1, sizeof(*lg->postponed));
	lg->agent_used = calloc(lg->agent.count + 1, sizeof(bool));
	return lg->key_used && lg->postponed && lg->agent_used ? 0 : -ENOMEM;
}

int login_run(struct ssh_conn *sc, struct link_error *err)
{
	struct login lg = {
	    .sc = sc,
	    .session = sc->session,
	    .prompt = ssh_conn_prompt(sc),
	    .old_agent_fd = -1,
	};
	int rc = login_begin(&lg);

	if (rc)
		goto finish;
	switch (run(&lg)) {
	case LOGIN_SUCCESS:
		if (sc->store.loud && !sc->conn.first_done)
			log_error(LOG_SSH, "%s", sc->store.remark);
		if (!sc->cfg.keep_password) {
			secret_destroy(sc->store.password);
			sc->store.password = NULL;
		}
		rc = 0;
		break;
	case LOGIN_STOPPED:
		rc = explain_stopped(&lg, err);
		break;
	default:
		explain_denied(&lg, err);
		rc = -EACCES;
		break;
	}

finish:
	agent_keys_finish(&lg.agent);
	free(lg.key_used);
	free(lg.postponed);
	free(lg.agent_used);
	return rc;
}
