/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging in with keys: from files, from the agent, with certificates.
 * Room: ssh. Thread: the back. Spec: RFC 4252 section 7.
 *
 * Order: the user's own identities, then the agent's keys, then the default files. A key whose
 * public half the agent holds is signed for by the agent, without a passphrase. Every key is
 * offered first; only one that the server would take is decrypted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "known_hosts_parts.h"
#include "login_parts.h"
#include "util/log.h"

#define KEY_FILE_MAX_LEN (1 << 20)

/* --- reading files ------------------------------------------------------------------------- */

/* Return: the whole file as a string, NULL with errno set. */
static struct secret *read_secret_file(const char *path, struct stat *st)
{
	struct secret *s = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return NULL;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size <= KEY_FILE_MAX_LEN)
		s = secret_create((size_t)st->st_size);
	else
		errno = EINVAL;
	while (s && s->len < s->size) {
		ssize_t n = read(fd, s->bytes + s->len, s->size - s->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		s->len += (size_t)n;
	}
	close(fd);
	return s;
}

/* The OpenSSH format names its cipher near the beginning; older ones have a header line. */
static bool is_encrypted(const struct secret *text)
{
	static const char begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
	char base64[48];
	uint8_t head[48];
	size_t len = 0;
	const char *p = text->bytes;

	if (strncmp(p, begin, sizeof(begin) - 1) != 0)
		return strstr(p, "ENCRYPTED") != NULL;
	for (p += sizeof(begin) - 1; *p && len < sizeof(base64); p++)
		if (*p > ' ')
			base64[len++] = *p;
	if (known_hosts_base64_decode(base64, len, head) < 23)
		return false;
	/* "openssh-key-v1\0", the length of the cipher's name, the name */
	return memcmp(head + 15, "\0\0\0\4none", 8) != 0;
}

static ssh_key import_private(const struct login_key *k)
{
	ssh_key key = NULL;

	if (ssh_pki_import_privkey_base64(k->text->bytes,
					  k->passphrase ? k->passphrase->bytes : NULL, NULL, NULL,
					  &key) != SSH_OK)
		return NULL;
	return key;
}

/* From FILE.pub, else from the private key itself where that is readable. */
static void find_public(struct login_key *k)
{
	char path[4096];
	ssh_key private_key;

	snprintf(path, sizeof(path), "%s.pub", k->path);
	if (access(path, R_OK) == 0 && ssh_pki_import_pubkey_file(path, &k->public_key) == SSH_OK)
		return;
	k->public_key = NULL;
	if (ssh_pki_import_pubkey_file(k->path, &k->public_key) == SSH_OK)
		return;
	k->public_key = NULL;
	if (!k->text || k->encrypted)
		return;
	private_key = import_private(k);
	if (private_key && ssh_pki_export_privkey_to_pubkey(private_key, &k->public_key) != SSH_OK)
		k->public_key = NULL;
	ssh_key_free(private_key);
}

static void find_certificate(const struct ssh_conn *sc, struct login_key *k)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s-cert.pub", k->path);
	if (access(path, R_OK) == 0 &&
	    ssh_pki_import_cert_file(path, &k->certificate) == SSH_OK)
		return;
	k->certificate = NULL;
	/* CertificateFile belongs to the only identity, if there is only one. */
	if (sc->cfg.certificates.count == 1 && sc->cfg.identities.count == 1 &&
	    ssh_pki_import_cert_file(sc->cfg.certificates.at[0], &k->certificate) != SSH_OK)
		k->certificate = NULL;
}

/* ssh refuses a key that others can read, and so do we: it is no secret any more. */
static bool permissions_ok(const char *path, const struct stat *st)
{
	if (st->st_uid != getuid() || (st->st_mode & 077) == 0)
		return true;
	log_error(LOG_SSH, "the key '%s' is not used: others can read it (mode %04o); chmod 600 it",
		  path, (unsigned)(st->st_mode & 07777));
	return false;
}

static int load_key(struct ssh_conn *sc, const char *path, bool is_default)
{
	struct login_store *st = &sc->store;
	struct login_key *k = &st->keys[st->key_count];
	struct stat info;

	*k = (struct login_key){.path = strdup(path)};
	if (!k->path)
		return -ENOMEM;
	k->text = read_secret_file(path, &info);
	if (!k->text && !is_default)
		log_info(LOG_SSH, "cannot read the identity '%s': %s", path, strerror(errno));
	if (k->text && !permissions_ok(path, &info)) {
		secret_destroy(k->text);
		k->text = NULL;
	}
	if (k->text) {
		k->text->bytes[k->text->len] = '\0';
		k->encrypted = is_encrypted(k->text);
	}
	find_public(k);
	find_certificate(sc, k);
	if (!k->text && !k->public_key)
		login_key_finish(k);
	else
		st->key_count++;
	return 0;
}

int login_keys_load(struct ssh_conn *sc)
{
	const struct ssh_config *cfg = &sc->cfg;
	struct login_store *st = &sc->store;
	int rc = 0;

	if (st->loaded)
		return 0;
	st->keys = calloc(cfg->identities.count + cfg->default_identities.count + 1,
			  sizeof(*st->keys));
	if (!st->keys)
		return -ENOMEM;
	for (size_t i = 0; i < cfg->identities.count && !rc; i++)
		rc = load_key(sc, cfg->identities.at[i], false);
	st->explicit_count = st->key_count;
	for (size_t i = 0; i < cfg->default_identities.count && !rc; i++)
		rc = load_key(sc, cfg->default_identities.at[i], true);
	st->loaded = true;
	return rc;
}

void login_key_finish(struct login_key *k)
{
	free(k->path);
	secret_destroy(k->text);
	secret_destroy(k->passphrase);
	ssh_key_free(k->public_key);
	ssh_key_free(k->certificate);
	*k = (struct login_key){0};
}

void login_store_lock(struct login_store *st)
{
	for (size_t i = 0; i < st->key_count; i++) {
		secret_lock(st->keys[i].text);
		secret_lock(st->keys[i].passphrase);
	}
	secret_lock(st->password);
}

void login_store_finish(struct login_store *st)
{
	for (size_t i = 0; i < st->key_count; i++)
		login_key_finish(&st->keys[i]);
	free(st->keys);
	secret_destroy(st->password);
	*st = (struct login_store){0};
}

/* --- passphrases --------------------------------------------------------------------------- */

/* The first to try is the password: many people have one for both. */
static ssh_key import_with_password(struct login *lg, struct login_key *k)
{
	struct secret *password = lg->sc->store.password;
	ssh_key key;

	if (!password)
		return NULL;
	k->passphrase = secret_copy(password->bytes, password->len);
	key = k->passphrase ? import_private(k) : NULL;
	if (!key) {
		secret_destroy(k->passphrase);
		k->passphrase = NULL;
	}
	return key;
}

static ssh_key import_asking(struct login *lg, struct login_key *k)
{
	ssh_key key = import_with_password(lg, k);
	char text[4200];

	snprintf(text, sizeof(text), "Enter passphrase for key '%s': ", k->path);
	for (unsigned i = 0; !key && i < lg->sc->cfg.password_prompts; i++) {
		int rc = prompt_ask(&lg->prompt, PROMPT_SECRET, text, &k->passphrase);

		if (rc == -EPIPE || rc == -ETIMEDOUT)
			lg->error = rc;
		if (rc)
			break;
		if (k->passphrase->len > 0)
			key = import_private(k);
		if (!key) {
			bool empty = k->passphrase->len == 0;

			secret_destroy(k->passphrase);
			k->passphrase = NULL;
			if (empty)
				break;
		}
	}
	if (!key) {
		k->refused = true;
		snprintf(lg->remark, sizeof(lg->remark),
			 "the passphrase of the key '%.90s' is not known", k->path);
	}
	return key;
}

/* The private key, asking for its passphrase if need be. NULL: it cannot be had. */
static ssh_key private_key(struct login *lg, struct login_key *k)
{
	ssh_key key;

	if (!k->text || k->refused)
		return NULL;
	if (k->encrypted && !k->passphrase) {
		key = import_asking(lg, k);
	} else {
		key = import_private(k);
		if (!key)
			snprintf(lg->remark, sizeof(lg->remark),
				 "the key '%.90s' has a format that libssh cannot read", k->path);
	}
	if (k->passphrase && !lg->sc->cfg.keep_password) {
		secret_destroy(k->passphrase);
		k->passphrase = NULL;
	}
	return key;
}

/* --- one key ------------------------------------------------------------------------------- */

/* Would the server take it? Costs one of its attempts only if not. */
static enum outcome offer(struct login *lg, ssh_key public_key)
{
	int rc;

	lg->tried |= SSH_AUTH_METHOD_PUBLICKEY;
	lg->key_count++;
	LOGIN_CALL(lg, rc, ssh_userauth_try_publickey(lg->session, NULL, public_key));
	return login_outcome(lg, rc);
}

static enum outcome sign(struct login *lg, struct login_key *k, ssh_key certificate)
{
	ssh_key key = private_key(lg, k);
	int rc;

	if (!key)
		return lg->error ? LOGIN_STOPPED : LOGIN_DENIED;
	if (certificate && ssh_pki_copy_cert_to_privkey(certificate, key) != SSH_OK) {
		ssh_key_free(key);
		return LOGIN_DENIED;
	}
	lg->tried |= SSH_AUTH_METHOD_PUBLICKEY;
	LOGIN_CALL(lg, rc, ssh_userauth_publickey(lg->session, NULL, key));
	ssh_key_free(key);
	return login_outcome(lg, rc);
}

static enum outcome try_file(struct login *lg, struct login_key *k)
{
	enum outcome out = LOGIN_DENIED;

	if (!k->text)
		return LOGIN_DENIED;
	log_debug(LOG_SSH, "trying the key '%s'", k->path);
	if (k->certificate) {
		out = offer(lg, k->certificate);
		if (out == LOGIN_SUCCESS)
			out = sign(lg, k, k->certificate);
		if (out != LOGIN_DENIED)
			return out;
	}
	out = LOGIN_SUCCESS;
	if (k->public_key)
		out = offer(lg, k->public_key);
	return out == LOGIN_SUCCESS ? sign(lg, k, NULL) : out;
}

static enum outcome try_agent(struct login *lg, size_t index)
{
	struct agent_view view;
	enum outcome out;
	int rc;

	log_debug(LOG_SSH, "trying the agent's key '%s'", lg->agent.at[index].comment);
	lg->agent_used[index] = true;
	rc = agent_view_open(&view, lg->sc->cfg.identity_agent, &lg->agent.at[index]);
	if (rc) {
		lg->agent_error = rc;
		return LOGIN_DENIED;
	}
	/*
	 * libssh closes the last one it was given, and only that. (It also forgets some 150 bytes
	 * for each view after the first: the list of the view before.)
	 */
	ssh_set_agent_socket(lg->session, view.fd);
	if (lg->old_agent_fd >= 0)
		close(lg->old_agent_fd);
	lg->old_agent_fd = view.fd;
	lg->tried |= SSH_AUTH_METHOD_PUBLICKEY;
	lg->key_count++;
	LOGIN_CALL(lg, rc, ssh_userauth_agent(lg->session, NULL));
	out = login_outcome(lg, rc);
	agent_view_close(&view);
	return out;
}

/* --- all keys ------------------------------------------------------------------------------ */

static bool same_key(ssh_key key, const struct agent_key *ak)
{
	char *text = NULL;
	uint8_t *blob = NULL;
	ssize_t len = -1;

	if (key && ssh_pki_export_pubkey_base64(key, &text) == SSH_OK) {
		blob = malloc(strlen(text) + 1);
		if (blob)
			len = known_hosts_base64_decode(text, strlen(text), blob);
	}
	ssh_string_free_char(text);
	if (len >= 0 && ((size_t)len != ak->blob_len || memcmp(blob, ak->blob, ak->blob_len) != 0))
		len = -1;
	free(blob);
	return len >= 0;
}

static enum outcome try_key(struct login *lg, size_t index)
{
	struct login_key *k = &lg->sc->store.keys[index];
	enum outcome out = LOGIN_DENIED;
	bool in_agent = false;

	if (lg->key_used[index])
		return LOGIN_DENIED;
	for (size_t i = 0; i < lg->agent.count && out == LOGIN_DENIED; i++) {
		if (!same_key(k->public_key, &lg->agent.at[i]) &&
		    !same_key(k->certificate, &lg->agent.at[i]))
			continue;
		in_agent = true;
		if (!lg->agent_used[i])
			out = try_agent(lg, i);
	}
	/* With a certificate in a file the agent's bare key is not the last word. */
	if (out == LOGIN_DENIED && (!in_agent || k->certificate || lg->agent_error))
		out = try_file(lg, k);
	if (out == LOGIN_PARTIAL)
		lg->key_used[index] = true;
	return out;
}

enum outcome login_public_keys(struct login *lg)
{
	const struct login_store *st = &lg->sc->store;
	enum outcome out = LOGIN_DENIED;

	for (size_t i = 0; i < st->explicit_count && out == LOGIN_DENIED; i++)
		out = try_key(lg, i);
	if (!lg->sc->cfg.identities_only)
		for (size_t i = 0; i < lg->agent.count && out == LOGIN_DENIED; i++)
			if (!lg->agent_used[i])
				out = try_agent(lg, i);
	for (size_t i = st->explicit_count; i < st->key_count && out == LOGIN_DENIED; i++)
		out = try_key(lg, i);
	return out;
}
