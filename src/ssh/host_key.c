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

#define DEFAULT_HOST_KEYS                                                                          \
	"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"                 \
	"rsa-sha2-512,rsa-sha2-256"

static struct known_query query_of(const struct ssh_conn *sc)
{
	const struct ssh_config *cfg = &sc->cfg;

	/* An alias stands for the host alone: no port, no address. */
	if (cfg->host_key_alias)
		return (struct known_query){.host = cfg->host_key_alias};
	return (struct known_query){
	    .host = cfg->hostname,
	    .address = sc->address[0] ? sc->address : NULL,
	    .port = cfg->port,
	};
}

static void read_files(struct known_hosts *kh, const struct ssh_strings *files)
{
	for (size_t i = 0; i < files->count; i++) {
		int rc = known_hosts_read(kh, files->at[i]);

		if (rc && rc != -ENOENT)
			log_info(LOG_SSH, "cannot read '%s': %s", files->at[i], strerror(-rc));
	}
}

static void read_all(const struct ssh_conn *sc, struct known_hosts *kh)
{
	read_files(kh, &sc->cfg.user_known_hosts);
	read_files(kh, &sc->cfg.global_known_hosts);
}

/* The name at the beginning of a key blob. */
static int add_type_of(struct ssh_strings *types, const uint8_t *blob, size_t blob_len)
{
	size_t len = blob_len > 4 ? blob[3] : 0;
	char name[64];

	if (len == 0 || len >= sizeof(name) || len > blob_len - 4)
		return -EINVAL;
	memcpy(name, blob + 4, len);
	name[len] = '\0';
	return strings_add(types, name);
}

static bool list_has(const char *list, const char *name, size_t len)
{
	while (list && *list) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, name, len) == 0)
			return true;
		list += n;
		list += *list == ',';
	}
	return false;
}

static void list_add(struct buf *list, const char *names)
{
	while (*names) {
		size_t len = strcspn(names, ",");

		if (!list_has((char *)list->bytes, names, len))
			buf_addf(list, "%s%.*s", list->len > 0 ? "," : "", (int)len, names);
		names += len;
		names += *names == ',';
	}
}

char *host_key_preference(struct ssh_conn *sc)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query q = query_of(sc);
	struct ssh_strings types = {0};
	struct buf list = BUF_INIT;
	int rc;

	if (sc->cfg.host_key_algorithms)
		return strdup(sc->cfg.host_key_algorithms);
	if (sc->pinned_key) {
		rc = add_type_of(&types, sc->pinned_key, sc->pinned_key_len);
	} else {
		rc = 0;
		for (size_t i = 0; !rc && i < sc->cfg.host_keys.count; i++)
			rc = host_key_named_types(sc->cfg.host_keys.at[i], &types);
		read_all(sc, &kh);
		if (!rc)
			rc = known_hosts_types(&kh, &q, &types);
	}
	for (size_t i = 0; !rc && i < types.count; i++)
		list_add(&list, strcmp(types.at[i], "ssh-rsa") == 0 ? "rsa-sha2-512,rsa-sha2-256"
								     : types.at[i]);
	list_add(&list, DEFAULT_HOST_KEYS);
	strings_finish(&types);
	known_hosts_finish(&kh);
	return buf_take(&list);
}

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
	known_hosts_fingerprint(k->blob, k->blob_len, k->fingerprint, sizeof(k->fingerprint));
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

static int refuse_unknown(struct ssh_conn *sc, const struct server_key *k, const char *why,
			  struct link_error *err)
{
	conn_error(err, LINK_FAIL_HOSTKEY,
		   "the %s host key of '%s' is not known%s: %s; connect once with ssh to check and "
		   "save it, or give that fingerprint with -o host_key=, or use "
		   "-o StrictHostKeyChecking=accept-new",
		   short_type(k->type), sc->cfg.host, why, k->fingerprint);
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
	conn_error(err, LINK_FAIL_HOSTKEY, "the host key of '%s' was not accepted (%s)",
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
		   "was reinstalled; it is now %s, the known one is in '%s' line %u",
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
	conn_error(err, LINK_FAIL_HOSTKEY,
		   "the %s host key of '%s' (%s) is revoked by '%s'%s: the server must get a new one",
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
	conn_error(err, LINK_FAIL_HOSTKEY, "cannot read RevokedHostKeys '%s': %s", path,
		   rc == -ENOEXEC   ? "it is a binary list, and there is no ssh-keygen to read it"
		   : rc == -EBADMSG ? "it is a damaged binary list"
				    : strerror(-rc));
	return -EACCES;
}

/* host_key= stands above the files: what it does not name is refused, whatever they say. */
static int check_named(struct ssh_conn *sc, const struct server_key *k, struct link_error *err)
{
	for (size_t i = 0; i < sc->cfg.host_keys.count; i++)
		if (host_key_named(sc->cfg.host_keys.at[i], k) > 0)
			return 0;
	conn_error(err, LINK_FAIL_HOSTKEY,
		   "the %s host key of '%s' is not one that host_key names: it is %s; if another type "
		   "is named, set HostKeyAlgorithms",
		   short_type(k->type), sc->cfg.host, k->fingerprint);
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
	struct known_query q = query_of(sc);
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
		conn_error(err, LINK_FAIL_HOSTKEY,
			   "'%s' is known only by a certificate authority ('%s' line %u), and host "
			   "certificates are not supported with libssh 0.10; add the plain key (%s)",
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
	if (k->blob_len == sc->pinned_key_len &&
	    memcmp(k->blob, sc->pinned_key, k->blob_len) == 0)
		return 0;
	conn_error(err, LINK_FAIL_HOSTKEY,
		   "the host key of '%s' is not the one it had when it was mounted: it is now %s %s",
		   sc->cfg.host, short_type(k->type), k->fingerprint);
	return -EACCES;
}

int host_key_check(struct ssh_conn *sc, struct link_error *err)
{
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct server_key k = {0};
	int rc = server_key_get(sc, &k);

	if (rc) {
		conn_error(err, LINK_FAIL_HOSTKEY, "cannot read the host key of '%s'", sc->cfg.host);
		return rc;
	}
	log_info(LOG_SSH, "host key of '%s': %s %s", sc->cfg.host, k.type, k.fingerprint);
	if (!sc->pinned_key) {
		read_all(sc, &kh);
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
