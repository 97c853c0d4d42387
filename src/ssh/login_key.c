/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging in with keys: from files, from the agent, with certificates.
 * Room: ssh. Thread: the back. Spec: RFC 4252 section 7.
 *
 * Order: the user's own identities, then the agent's keys, then the default files. A key whose
 * public half the agent holds is signed for by the agent, without a passphrase. Every key is
 * offered first; only one that the server would take is decrypted. Where that needs a question, it
 * waits until all others are tried: ssh, which begins with the agent, might not ask it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "login_parts.h"
#include "util/log.h"

/* --- passphrases --------------------------------------------------------------------------- */

/* The first to try is the password: many people have one for both. */
static ssh_key import_with_password(struct login *lg, struct login_key *k)
{
	struct secret *password = login_given_password(lg);
	ssh_key key;

	if (!password)
		return NULL;
	k->passphrase = secret_copy(password->bytes, password->len);
	key = k->passphrase ? login_format_import(k->text, k->passphrase) : NULL;
	if (!key) {
		secret_destroy(k->passphrase);
		k->passphrase = NULL;
	}
	return key;
}

static ssh_key import_asking(struct login *lg, struct login_key *k)
{
	ssh_key key = NULL;
	char text[4200];

	snprintf(text, sizeof(text), "Enter passphrase for key '%s': ", k->path);
	for (unsigned i = 0; !key && i < lg->sc->cfg.password_prompts; i++) {
		int rc = prompt_ask(&lg->prompt, PROMPT_SECRET, text, &k->passphrase);

		if (rc == -EPIPE || rc == -ETIMEDOUT)
			lg->error = rc;
		if (rc)
			break;
		if (k->passphrase->len > 0)
			key = login_format_import(k->text, k->passphrase);
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
		         "the passphrase of the key '%.120s' is not known; check it, or give "
		         "the key to the agent (ssh-add)",
		         k->path);
	}
	return key;
}

/* A FIDO key, of which the file is only a handle. */
static bool is_security_key(const struct login_key *k)
{
	return k->blob.bytes && k->blob.len > 7 && memcmp(k->blob.bytes + 4, "sk-", 3) == 0;
}

/* The private key. NULL: it cannot be had, or `*wait`: not without a question, which is not yet due. */
static ssh_key private_key(struct login *lg, struct login_key *k, bool *wait)
{
	ssh_key key;

	*wait = false;
	if (!k->text || k->refused)
		return NULL;
	if (login_format_has_other_cipher(k->text)) {
		snprintf(
		    lg->remark, sizeof(lg->remark),
		    "libssh cannot decrypt the key '%.120s': give it to the agent (ssh-add), or "
		    "change its cipher: ssh-keygen -p -Z aes256-ctr -f KEY",
		    k->path);
		return NULL;
	}
	if (k->encrypted && !k->passphrase) {
		key = import_with_password(lg, k);
		*wait = !key && !lg->may_ask;
		if (!key && lg->may_ask)
			key = import_asking(lg, k);
	} else {
		key = login_format_import(k->text, k->passphrase);
		if (!key && is_security_key(k))
			snprintf(lg->remark, sizeof(lg->remark),
			         "the key '%.120s' is in a security key: give it to the agent "
			         "(ssh-add), or use -o ssh_command=ssh",
			         k->path);
		else if (!key)
			snprintf(lg->remark, sizeof(lg->remark),
			         "the key '%.120s' has a format that neither libssh nor OpenSSL "
			         "can read",
			         k->path);
	}
	return key;
}

static void drop_passphrase(const struct login *lg, struct login_key *k)
{
	if (lg->sc->cfg.keep_password)
		return;
	secret_destroy(k->passphrase);
	k->passphrase = NULL;
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
	struct postponed *later = &lg->postponed[k - lg->sc->store.keys];
	ssh_key key = private_key(lg, k, &later->waits);
	int rc;

	later->certificate = certificate;
	if (!key)
		return lg->error ? LOGIN_STOPPED : LOGIN_DENIED;
	rc = SSH_AUTH_DENIED;
	if (!certificate || ssh_pki_copy_cert_to_privkey(certificate, key) == SSH_OK) {
		lg->tried |= SSH_AUTH_METHOD_PUBLICKEY;
		LOGIN_CALL(lg, rc, ssh_userauth_publickey(lg->session, NULL, key));
	}
	if (rc == SSH_AUTH_SUCCESS || rc == SSH_AUTH_PARTIAL)
		login_add_to_agent(lg, k->path, k->passphrase);
	drop_passphrase(lg, k);
	ssh_key_free(key);
	return login_outcome(lg, rc);
}

/* With each certificate that fits, then without. */
static enum outcome try_file(struct login *lg, struct login_key *k)
{
	const struct login_store *st = &lg->sc->store;
	const struct postponed *later = &lg->postponed[k - st->keys];
	enum outcome out = LOGIN_DENIED;

	if (!k->text)
		return LOGIN_DENIED;
	log_debug(LOG_SSH, "trying the key '%s'", k->path);
	for (size_t i = 0; i < st->certificate_count && out == LOGIN_DENIED && !later->waits; i++) {
		ssh_key certificate = st->certificates[i].key;

		if (!login_certifies(&st->certificates[i].blob, &k->blob))
			continue;
		out = offer(lg, certificate);
		if (out == LOGIN_SUCCESS)
			out = sign(lg, k, certificate);
	}
	if (out != LOGIN_DENIED || later->waits)
		return out;
	out = k->public_key ? offer(lg, k->public_key) : LOGIN_SUCCESS;
	return out == LOGIN_SUCCESS ? sign(lg, k, NULL) : out;
}

/* --- the agent ----------------------------------------------------------------------------- */

/* Shows libssh `shown` as the agent's only key; `signer` is the agent's key that signs for it. */
static enum outcome try_view(struct login *lg, const struct agent_key *shown,
                             const struct agent_key *signer)
{
	struct agent_view view;
	enum outcome out;
	int rc = agent_view_open(&view, lg->sc->cfg.identity_agent, shown, signer);

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

static struct login_blob blob_of(const struct agent_key *ak)
{
	return (struct login_blob){.bytes = ak->blob, .len = ak->blob_len};
}

static bool agent_has(const struct login *lg, const struct login_blob *blob)
{
	for (size_t i = 0; i < lg->agent.count; i++) {
		struct login_blob theirs = blob_of(&lg->agent.at[i]);

		if (login_blob_equal(&theirs, blob))
			return true;
	}
	return false;
}

/* With each certificate in a file that fits, then as the agent has it. */
static enum outcome try_agent(struct login *lg, size_t index)
{
	const struct login_store *st = &lg->sc->store;
	const struct agent_key *ak = &lg->agent.at[index];
	struct login_blob blob = blob_of(ak);
	enum outcome out = LOGIN_DENIED;

	log_debug(LOG_SSH, "trying the agent's key '%s'", ak->comment);
	lg->agent_used[index] = true;
	for (size_t i = 0; i < st->certificate_count && out == LOGIN_DENIED; i++) {
		const struct login_blob *c = &st->certificates[i].blob;
		struct agent_key shown = {
		    .blob = c->bytes, .blob_len = c->len, .comment = ak->comment};

		if (login_certifies(c, &blob) && !agent_has(lg, c))
			out = try_view(lg, &shown, ak);
	}
	return out == LOGIN_DENIED ? try_view(lg, ak, ak) : out;
}

/* --- all keys ------------------------------------------------------------------------------ */

/* The agent's copies of a key: its certificates, then the bare key. */
static enum outcome try_in_agent(struct login *lg, const struct login_key *k, bool *found)
{
	enum outcome out = LOGIN_DENIED;

	for (int bare = 0; bare <= 1; bare++) {
		for (size_t i = 0; i < lg->agent.count && out == LOGIN_DENIED; i++) {
			struct login_blob blob = blob_of(&lg->agent.at[i]);

			if (!(bare ? login_blob_equal(&blob, &k->blob)
			           : login_certifies(&blob, &k->blob)))
				continue;
			*found = true;
			if (!lg->agent_used[i])
				out = try_agent(lg, i);
		}
	}
	return out;
}

static enum outcome try_key(struct login *lg, size_t index)
{
	struct login_key *k = &lg->sc->store.keys[index];
	bool in_agent = false;
	enum outcome out;

	if (lg->key_used[index])
		return LOGIN_DENIED;
	out = try_in_agent(lg, k, &in_agent);
	if (out == LOGIN_DENIED && (!in_agent || lg->agent_error))
		out = try_file(lg, k);
	if (out == LOGIN_PARTIAL)
		lg->key_used[index] = true;
	return out;
}

static enum outcome try_postponed(struct login *lg, size_t index)
{
	enum outcome out = sign(lg, &lg->sc->store.keys[index], lg->postponed[index].certificate);

	if (out == LOGIN_PARTIAL)
		lg->key_used[index] = true;
	return out;
}

enum outcome login_public_keys(struct login *lg)
{
	struct login_store *st = &lg->sc->store;
	enum outcome out = LOGIN_DENIED;

	memset(lg->postponed, 0, st->key_count * sizeof(*lg->postponed));
	lg->may_ask = st->ask_at_once;
	for (size_t i = 0; i < st->explicit_count && out == LOGIN_DENIED; i++)
		out = try_key(lg, i);
	if (!lg->sc->cfg.identities_only)
		for (size_t i = 0; i < lg->agent.count && out == LOGIN_DENIED; i++)
			if (!lg->agent_used[i])
				out = try_agent(lg, i);
	for (size_t i = st->explicit_count; i < st->key_count && out == LOGIN_DENIED; i++)
		out = try_key(lg, i);
	lg->may_ask = true;
	for (size_t i = 0; i < st->key_count && out == LOGIN_DENIED; i++)
		if (lg->postponed[i].waits)
			out = try_postponed(lg, i);
	return out;
}
