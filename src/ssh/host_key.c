/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is this the right server? The policy over known_hosts files and the pinned key.
 * Room: ssh. Thread: the back. Spec: ssh_config(5) StrictHostKeyChecking, HostKeyAlias.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host_key_parts.h"
#include "known_hosts_parts.h"
#include "ssh/known_hosts.h"
#include "ssh/ssh_conn.h"
#include "ssh_strings.h"
#include "util/buf.h"
#include "util/log.h"

/* --- the key on the wire ------------------------------------------------------------------- */

static int server_key_get(struct ssh_conn *sc, struct server_key *k)
{
	ssh_key key = NULL;
	char *text = NULL;
	ssize_t n = -1;

	if (ssh_get_server_publickey(sc->session, &key) != SSH_OK)
		return -EPROTO;
	k->type = ssh_key_type_to_char(ssh_key_type(key));
	if (k->type && strcmp(k->type, "ssh-ecdsa") == 0)
		k->type = ssh_pki_key_ecdsa_name(key);
	if (ssh_pki_export_pubkey_base64(key, &text) == SSH_OK) {
		k->blob = malloc(strlen(text));
		if (k->blob)
			n = known_hosts_base64_decode(text, strlen(text), k->blob);
	}
	ssh_string_free_char(text);
	ssh_key_free(key);
	if (n < 0 || !k->type) {
		free(k->blob);
		k->blob = NULL;
		return -EPROTO;
	}
	k->blob_len = (size_t)n;
	known_hosts_fingerprint(k->blob, k->blob_len, sc->cfg.fingerprint_hash, k->fingerprint,
	                        sizeof(k->fingerprint));
	return 0;
}

/* "ssh-ed25519" -> "ED25519", as people know it. */
static const char *short_type(const char *type)
{
	if (strstr(type, "ed25519"))
		return "ED25519";
	if (strstr(type, "ecdsa"))
		return "ECDSA";
	return strstr(type, "rsa") ? "RSA" : type;
}

/* --- decisions ----------------------------------------------------------------------------- */

static int remember(struct ssh_conn *sc, const struct known_query *q, const struct server_key *k)
{
	struct known_query exact = {.host = q->host, .port = q->port};
	const char *path;
	int rc;

	if (sc->cfg.user_known_hosts.count == 0)
		return 0;
	path = sc->cfg.user_known_hosts.at[0];
	rc = known_hosts_append(path, &exact, k->type, k->blob, k->blob_len,
	                        sc->cfg.hash_known_hosts);
	if (rc)
		log_error(LOG_SSH, "the host key of '%s' was not saved in '%s': %s", sc->cfg.host,
		          path, strerror(-rc));
	else
		log_info(LOG_SSH, "permanently added the %s host key of '%s' to '%s'",
		         short_type(k->type), sc->cfg.host, path);
	return 0;
}

/* Longer than an error may be: for the log. */
static void log_line_to_add(const struct ssh_conn *sc, const struct server_key *k)
{
	struct known_query q = host_key_query(sc);
	struct buf line = BUF_INIT;

	if (!known_hosts_line(&line, &q, k->type, k->blob, k->blob_len, false))
		log_info(LOG_SSH, "its line of known_hosts would be: %.*s", (int)line.len - 1,
		         (const char *)line.bytes);
	buf_finish(&line);
}

static int refuse_unknown(struct ssh_conn *sc, const struct server_key *k, const char *why,
                          struct link_error *err)
{
	const char *lack = sc->cfg.dns_asked          ? ", VerifyHostKeyDNS has no effect here"
	                   : sc->cfg.gssapi_kex_asked ? ", GSSAPIKeyExchange has no effect here"
	                                              : "";

	log_line_to_add(sc, k);
	conn_error(
	    err, LINK_FAIL_HOSTKEY,
	    "the %s host key of '%s' is not known%s%s: %s; connect once with ssh to check and "
	    "save it, or give that fingerprint with -o host_key=, or use "
	    "-o StrictHostKeyChecking=accept-new%s",
	    short_type(k->type), sc->cfg.host, lack, why, k->fingerprint,
	    lack[0] ? ", or -o ssh_command=ssh" : "");
	return -EACCES;
}

static bool is_yes(const struct secret *answer, const char *fingerprint)
{
	return strcasecmp(answer->bytes, "yes") == 0 || strcmp(answer->bytes, fingerprint) == 0;
}

/* Return: 0 for yes, -EACCES for no. */
static int ask_user(struct ssh_conn *sc, const struct server_key *k, const char *remark,
                    struct link_error *err)
{
	struct prompt p = ssh_conn_prompt(sc);
	struct secret *answer;
	char text[1024];
	int rc;

	snprintf(text, sizeof(text),
	         "The authenticity of host '%s%s%s%s' can't be established.\n"
	         "%s key fingerprint is %s.\n%s"
	         "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
	         sc->cfg.host, sc->address[0] ? " (" : "", sc->address, sc->address[0] ? ")" : "",
	         short_type(k->type), k->fingerprint, remark);
	for (;;) {
		rc = prompt_ask(&p, PROMPT_CONFIRM, text, &answer);
		if (rc == -ENOTTY)
			return refuse_unknown(sc, k, " and there is no terminal to ask on", err);
		if (rc)
			break;
		if (is_yes(answer, k->fingerprint)) {
			secret_destroy(answer);
			return 0;
		}
		rc = strcasecmp(answer->bytes, "no") == 0 ? -EACCES : 0;
		secret_destroy(answer);
		if (rc)
			break;
		snprintf(text, sizeof(text), "Please type 'yes', 'no' or the fingerprint: ");
	}
	conn_error(err, LINK_FAIL_HOSTKEY,
	           "the host key of '%s' was not accepted (%s); check it with the server's owner",
	           sc->cfg.host, k->fingerprint);
	return -EACCES;
}

static int decide_unknown(struct ssh_conn *sc, const struct known_query *q,
                          const struct server_key *k, const char *remark, struct link_error *err)
{
	int rc;

	switch (sc->cfg.host_key_policy) {
	case SSH_HOST_KEY_YES:
		return refuse_unknown(sc, k, " and StrictHostKeyChecking is yes", err);
	case SSH_HOST_KEY_ASK:
		rc = ask_user(sc, k, remark, err);
		if (rc)
			return rc;
		break;
	case SSH_HOST_KEY_ACCEPT_NEW:
	case SSH_HOST_KEY_NO:
		break;
	}
	return remember(sc, q, k);
}

static int refuse_changed(struct ssh_conn *sc, const struct known_hosts *kh,
                          const struct known_entry *e, const struct server_key *k,
                          struct link_error *err)
{
	conn_error(err, LINK_FAIL_HOSTKEY,
	           "the %s host key of '%s' HAS CHANGED: somebody may be in between, or the host "
	           "was reinstalled; it is now %s, the known one is in '%s' line %u; if the "
	           "server's owner confirms the new one, remove that line",
	           short_type(k->type), sc->cfg.host, k->fingerprint, kh->files.at[e->file],
	           e->line);
	return -EACCES;
}

static int refuse_revoked(struct ssh_conn *sc, const char *path, unsigned line,
                          const struct server_key *k, struct link_error *err)
{
	char where[32] = "";

	if (line)
		snprintf(where, sizeof(where), " line %u", line);
	conn_error(
	    err, LINK_FAIL_HOSTKEY,
	    "the %s host key of '%s' (%s) is revoked by '%s'%s; the server must get a new one",
	    short_type(k->type), sc->cfg.host, k->fingerprint, path, where);
	return -EACCES;
}

static int check_revoked_file(struct ssh_conn *sc, const struct server_key *k,
                              struct link_error *err)
{
	const char *path = sc->cfg.revoked_host_keys;
	unsigned line;
	int rc = path ? host_key_revoked(path, k, &line) : 0;

	if (rc == 0)
		return 0;
	if (rc > 0)
		return refuse_revoked(sc, path, line, k, err);
	conn_error(err, LINK_FAIL_HOSTKEY,
	           "cannot read RevokedHostKeys '%s': %s; check it, or set it to none", path,
	           rc == -ENOEXEC   ? "it is a binary list, and there is no ssh-keygen to read it"
	           : rc == -EBADMSG ? "it is a damaged binary list"
	                            : strerror(-rc));
	return -EACCES;
}

/* host_key= stands above the files: what it does not name is refused, whatever they say. */
static int check_named(struct ssh_conn *sc, const struct server_key *k, struct link_error *err)
{
	char said[96];

	for (size_t i = 0; i < sc->cfg.host_keys.count; i++)
		if (host_key_named(sc->cfg.host_keys.at[i], k) > 0)
			return 0;
	snprintf(said, sizeof(said), "%s %s", short_type(k->type), k->fingerprint);
	if (strings_add(&sc->refused_types, k->type) || strings_add(&sc->refused_keys, said))
		return -ENOMEM;
	host_key_none_named(sc, err);
	return host_key_may_have_another(sc) ? -EKEYREJECTED : -EACCES;
}

int host_key_none_named(struct ssh_conn *sc, struct link_error *err)
{
	struct buf keys = BUF_INIT;

	for (size_t i = 0; i < sc->refused_keys.count; i++)
		buf_addf(&keys, "%s%s", i > 0 ? ", " : "", sc->refused_keys.at[i]);
	conn_error(
	    err, LINK_FAIL_HOSTKEY,
	    "no host key of '%s' is one that host_key names: it has %s; if the server's owner "
	    "confirms one of these, name that",
	    sc->cfg.host, buf_failed(&keys) ? "others" : (const char *)keys.bytes);
	buf_finish(&keys);
	return -EACCES;
}

/* NoHostAuthenticationForLocalhost */
static bool trusted_by_address(const struct ssh_conn *sc)
{
	return sc->cfg.trust_localhost &&
	       (strncmp(sc->address, "127.", 4) == 0 || strcmp(sc->address, "::1") == 0);
}

static int decide(struct ssh_conn *sc, const struct known_hosts *kh, const struct server_key *k,
                  struct link_error *err)
{
	struct known_query q = host_key_query(sc);
	const struct known_entry *e;
	enum known_result known = known_hosts_check(kh, &q, k->type, k->blob, k->blob_len, &e);
	char remark[512];

	if (known != KNOWN_IS_REVOKED && sc->cfg.host_keys.count)
		return check_named(sc, k, err);
	if (known != KNOWN_IS_REVOKED && trusted_by_address(sc))
		return 0;
	switch (known) {
	case KNOWN_MATCH:
		return 0;
	case KNOWN_CHANGED:
		return refuse_changed(sc, kh, e, k, err);
	case KNOWN_IS_REVOKED:
		return refuse_revoked(sc, kh->files.at[e->file], e->line, k, err);
	case KNOWN_OTHER_TYPE:
		/* Only somebody in between, or a reinstalled host, lacks the types it had. */
		if (sc->cfg.host_key_policy != SSH_HOST_KEY_ASK)
			return refuse_changed(sc, kh, e, k, err);
		snprintf(remark, sizeof(remark),
		         "This host is known by a key of another type: '%s' line %u.\n",
		         kh->files.at[e->file], e->line);
		return decide_unknown(sc, &q, k, remark, err);
	case KNOWN_ONLY_CA:
		if (sc->cfg.host_key_policy == SSH_HOST_KEY_ACCEPT_NEW ||
		    sc->cfg.host_key_policy == SSH_HOST_KEY_NO)
			break;
		conn_error(
		    err, LINK_FAIL_HOSTKEY,
		    "'%s' is known only by a certificate authority ('%s' line %u), and host "
		    "certificates are not supported with libssh 0.10; add the plain key (%s), or "
		    "use -o ssh_command=ssh",
		    sc->cfg.host, kh->files.at[e->file], e->line, k->fingerprint);
		return -EACCES;
	case KNOWN_UNKNOWN:
		break;
	}
	return decide_unknown(sc, &q, k, "This key is not known by any other names.\n", err);
}

static int pin(struct ssh_conn *sc, struct server_key *k, struct link_error *err)
{
	if (!sc->pinned_key) {
		sc->pinned_key = k->blob;
		sc->pinned_key_len = k->blob_len;
		k->blob = NULL;
		return 0;
	}
	if (k->blob_len == sc->pinned_key_len && memcmp(k->blob, sc->pinned_key, k->blob_len) == 0)
		return 0;
	conn_error(
	    err, LINK_FAIL_HOSTKEY,
	    "the host key of '%s' is not the one it had when it was mounted: it is now %s %s; if "
	    "the server's owner confirms it, unmount and mount again",
	    sc->cfg.host, short_type(k->type), k->fingerprint);
	return -EACCES;
}

int host_key_check(struct ssh_conn *sc, struct link_error *err)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct server_key k = {0};
	int rc = server_key_get(sc, &k);

	if (rc) {
		conn_error(err, LINK_FAIL_HOSTKEY, "cannot read the host key of '%s'",
		           sc->cfg.host);
		return rc;
	}
	log_info(LOG_SSH, "host key of '%s': %s %s", sc->cfg.host, k.type, k.fingerprint);
	if (!sc->pinned_key) {
		rc = host_key_read(sc, &k, &kh, err);
		if (!rc)
			rc = check_revoked_file(sc, &k, err);
		if (!rc)
			rc = decide(sc, &kh, &k, err);
	}
	if (!rc)
		rc = pin(sc, &k, err);
	known_hosts_finish(&kh);
	free(k.blob);
	return rc;
}
