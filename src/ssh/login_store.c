/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys and certificates in files, read once before the first login and kept for later ones.
 * Room: ssh. Thread: the back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "known_hosts_parts.h"
#include "login_parts.h"
#include "util/log.h"
#include "util/num.h"

#define KEY_FILE_MAX_LEN (1 << 20)

/* --- blobs --------------------------------------------------------------------------------- */

/* Leaves it empty when the key cannot be exported. */
static void blob_init(struct login_blob *b, ssh_key key)
{
	char *text = NULL;
	ssize_t len = -1;

	*b = (struct login_blob){0};
	if (key && ssh_pki_export_pubkey_base64(key, &text) == SSH_OK) {
		b->bytes = malloc(strlen(text) + 1);
		if (b->bytes)
			len = known_hosts_base64_decode(text, strlen(text), b->bytes);
	}
	ssh_string_free_char(text);
	if (len >= 0) {
		b->len = (size_t)len;
	} else {
		free(b->bytes);
		b->bytes = NULL;
	}
}

bool login_blob_equal(const struct login_blob *a, const struct login_blob *b)
{
	return a->bytes && b->bytes && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* The length of the string field at `off`, with its length; 0 when it does not fit. */
static size_t field_len(const struct login_blob *b, size_t off)
{
	const uint8_t *p = b->bytes + off;
	size_t len;

	if (b->len - off < 4)
		return 0;
	len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	return len <= b->len - off - 4 ? len + 4 : 0;
}

/* A certificate is its type, a nonce, then the fields of the key as they follow the key's type. */
bool login_certifies(const struct login_blob *certificate, const struct login_blob *key)
{
	static const char suffix[] = "-cert-v01@openssh.com";
	size_t type_len, nonce_len, key_type_len, rest_len;

	if (!certificate->bytes || !key->bytes)
		return false;
	type_len = field_len(certificate, 0);
	key_type_len = field_len(key, 0);
	if (type_len <= sizeof(suffix) + 4 || !key_type_len ||
	    memcmp(certificate->bytes + type_len - sizeof(suffix) + 1, suffix, sizeof(suffix) - 1))
		return false;
	nonce_len = field_len(certificate, type_len);
	rest_len = key->len - key_type_len;
	return nonce_len && rest_len && certificate->len - type_len - nonce_len >= rest_len &&
	       memcmp(certificate->bytes + type_len + nonce_len, key->bytes + key_type_len,
	              rest_len) == 0;
}

/* --- reading ------------------------------------------------------------------------------- */

static void remark(struct login_store *st, bool loud, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The first one is kept, but what the user must know goes first. */
static void remark(struct login_store *st, bool loud, const char *fmt, ...)
{
	va_list ap;
	char text[sizeof(st->remark)];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_verbose(LOG_SSH, "%s", text);
	if (st->remark[0] && (st->loud || !loud))
		return;
	memcpy(st->remark, text, sizeof(text));
	st->loud = loud;
}

int login_descriptor_of(const char *path)
{
	uint64_t fd;

	if (strncmp(path, "fd:", 3) != 0 || num_parse_u64(path + 3, 10, 0, 1 << 20, &fd))
		return -1;
	return (int)fd;
}

/* All there is to read, with a NUL behind it. Return: NULL with errno set. */
static struct secret *read_all(int fd, size_t size)
{
	struct secret *s = secret_create(size);
	ssize_t n = -1;

	if (!s)
		return NULL;
	while (s->len < s->size) {
		n = read(fd, s->bytes + s->len, s->size - s->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		s->len += (size_t)n;
	}
	if (n < 0 && s->len == 0) {
		secret_destroy(s);
		return NULL;
	}
	s->bytes[s->len] = '\0';
	return s;
}

static struct secret *read_file(const char *path, struct stat *st)
{
	struct secret *s = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return NULL;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size <= KEY_FILE_MAX_LEN)
		s = read_all(fd, (size_t)st->st_size);
	else
		errno = EINVAL;
	close(fd);
	return s;
}

/* ssh refuses a key that others can read, and so do we: it is no secret any more. */
static bool permissions_ok(struct login_store *store, const char *path, const struct stat *st)
{
	if (st->st_uid != getuid() || (st->st_mode & 077) == 0)
		return true;
	remark(store, true,
	       "the key '%.120s' is not used: others can read it (mode %04o); chmod 600 it", path,
	       (unsigned)(st->st_mode & 07777));
	return false;
}

static struct secret *read_key(struct login_store *st, const char *path, bool is_default)
{
	struct secret *text, *whole;
	struct stat info;
	int fd = login_descriptor_of(path);

	if (fd >= 0) {
		/* A pipe does not say how much comes; what is kept should not be larger than that. */
		whole = read_all(fd, KEY_FILE_MAX_LEN);
		text = whole ? secret_copy(whole->bytes, whole->len) : NULL;
		secret_destroy(whole);
		close(fd);
	} else {
		text = read_file(path, &info);
	}
	if (!text && (!is_default || errno != ENOENT))
		remark(st, false, "cannot read the identity '%.120s': %s; check IdentityFile", path,
		       strerror(errno));
	if (text && fd < 0 && !permissions_ok(st, path, &info)) {
		secret_destroy(text);
		return NULL;
	}
	return text;
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
	if (access(k->path, R_OK) == 0 &&
	    ssh_pki_import_pubkey_file(k->path, &k->public_key) == SSH_OK)
		return;
	k->public_key = NULL;
	if (!k->text || k->encrypted)
		return;
	private_key = login_format_import(k->text, NULL);
	if (private_key && ssh_pki_export_privkey_to_pubkey(private_key, &k->public_key) != SSH_OK)
		k->public_key = NULL;
	ssh_key_free(private_key);
}

static void key_finish(struct login_key *k)
{
	free(k->path);
	secret_destroy(k->text);
	secret_destroy(k->passphrase);
	ssh_key_free(k->public_key);
	free(k->blob.bytes);
	*k = (struct login_key){0};
}

/* Each one once, however often it is named: every offer counts. */
static void load_certificate(struct login_store *st, const char *path, bool named)
{
	struct login_certificate *c = &st->certificates[st->certificate_count];
	bool again = false;

	*c = (struct login_certificate){0};
	if (!named && access(path, R_OK))
		return;
	if (ssh_pki_import_cert_file(path, &c->key) != SSH_OK) {
		c->key = NULL;
		remark(st, false, "cannot read the certificate '%.120s'; check CertificateFile",
		       path);
		return;
	}
	blob_init(&c->blob, c->key);
	for (size_t i = 0; i < st->certificate_count; i++)
		again |= login_blob_equal(&st->certificates[i].blob, &c->blob);
	if (!again && c->blob.bytes) {
		st->certificate_count++;
		return;
	}
	ssh_key_free(c->key);
	free(c->blob.bytes);
}

static int load_key(struct login_store *st, const char *path, bool is_default)
{
	struct login_key *k = &st->keys[st->key_count];
	char certificate[4096];
	const char *remedy;

	if (strncmp(path, "pkcs11:", 7) == 0) {
		remark(st, true,
		       "'%.120s' is not used, libssh has no PKCS#11: give the card to the agent "
		       "(ssh-add -s MODULE), or use -o ssh_command=ssh",
		       path);
		return 0;
	}
	*k = (struct login_key){.path = strdup(path)};
	if (!k->path)
		return -ENOMEM;
	k->text = read_key(st, path, is_default);
	remedy = k->text ? login_format_remedy(k->text) : NULL;
	if (remedy) {
		remark(st, true, "'%.120s' %s", path, remedy);
		key_finish(k);
		return 0;
	}
	if (k->text)
		k->encrypted = login_format_encrypted(k->text);
	find_public(k);
	blob_init(&k->blob, k->public_key);
	snprintf(certificate, sizeof(certificate), "%s-cert.pub", path);
	load_certificate(st, certificate, false);
	if (!k->text && !k->public_key)
		key_finish(k);
	else
		st->key_count++;
	return 0;
}

int login_store_load(struct ssh_conn *sc)
{
	const struct ssh_config *cfg = &sc->cfg;
	struct login_store *st = &sc->store;
	size_t key_max = cfg->identities.count + cfg->default_identities.count;
	int rc = 0;

	if (st->loaded)
		return 0;
	st->keys = calloc(key_max + 1, sizeof(*st->keys));
	st->certificates = calloc(key_max + cfg->certificates.count + 1, sizeof(*st->certificates));
	if (!st->keys || !st->certificates)
		return -ENOMEM;
	for (size_t i = 0; i < cfg->certificates.count; i++)
		load_certificate(st, cfg->certificates.at[i], true);
	for (size_t i = 0; i < cfg->identities.count && !rc; i++)
		rc = load_key(st, cfg->identities.at[i], false);
	st->explicit_count = st->key_count;
	for (size_t i = 0; i < cfg->default_identities.count && !rc; i++)
		rc = load_key(st, cfg->default_identities.at[i], true);
	st->loaded = true;
	return rc;
}

/* --- keeping ------------------------------------------------------------------------------- */

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
		key_finish(&st->keys[i]);
	for (size_t i = 0; i < st->certificate_count; i++) {
		ssh_key_free(st->certificates[i].key);
		free(st->certificates[i].blob.bytes);
	}
	free(st->keys);
	free(st->certificates);
	secret_destroy(st->password);
	*st = (struct login_store){0};
}
