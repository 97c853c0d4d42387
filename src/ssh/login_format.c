/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The formats of private keys: libssh reads OpenSSH's own and PEM, OpenSSL the binary ones (DER of
 * PKCS#1, PKCS#8 and SEC1, PKCS#12), and the rest is recognised to say how it can be converted.
 * Room: ssh. Thread: the back.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <string.h>

#include "known_hosts_parts.h"
#include "login_parts.h"

static const char openssh_begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----";

#define CIPHER_OFF 19
#define HEAD_LEN   36

/* All of them are one ASN.1 SEQUENCE, which a text that begins with a zero is not. */
static bool is_binary(const struct secret *text)
{
	const unsigned char *p = (const unsigned char *)text->bytes;

	return text->len > 2 && p[0] == 0x30 && (p[1] > 0x80 || p[1] + 2u == text->len);
}

/* --- by OpenSSL ---------------------------------------------------------------------------- */

struct question {
	const struct secret *passphrase; /* NULL: none */
	bool asked;
};

static int answer(char *buf, int size, int rwflag, void *arg)
{
	struct question *q = arg;

	q->asked = true;
	if (!q->passphrase || q->passphrase->len > (size_t)size)
		return -1;
	memcpy(buf, q->passphrase->bytes, q->passphrase->len);
	return (int)q->passphrase->len;
}

/* The first private key of a file. PKCS#12 has certificates besides it. */
static EVP_PKEY *load(const struct secret *text, struct question *q)
{
	UI_METHOD *method = UI_UTIL_wrap_read_pem_callback(answer, 0);
	BIO *bio = BIO_new_mem_buf(text->bytes, (int)text->len);
	OSSL_STORE_CTX *store = NULL;
	EVP_PKEY *key = NULL;

	if (method && bio)
		store = OSSL_STORE_attach(bio, "file", NULL, NULL, method, q, NULL, NULL, NULL);
	while (store && !key && !OSSL_STORE_eof(store)) {
		OSSL_STORE_INFO *info = OSSL_STORE_load(store);

		if (!info)
			break;
		key = OSSL_STORE_INFO_get1_PKEY(info);
		OSSL_STORE_INFO_free(info);
	}
	OSSL_STORE_close(store);
	BIO_free(bio);
	UI_destroy_method(method);
	return key;
}

/* As PEM, which libssh reads; in memory that OpenSSL wipes. */
static ssh_key import_binary(const struct secret *text, const struct secret *passphrase)
{
	struct question q = {.passphrase = passphrase};
	EVP_PKEY *key = load(text, &q);
	BIO *bio = key ? BIO_new(BIO_s_secmem()) : NULL;
	ssh_key out = NULL;
	char *pem;

	if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    BIO_write(bio, "", 1) == 1 && BIO_get_mem_data(bio, &pem) > 0 &&
	    ssh_pki_import_privkey_base64(pem, NULL, NULL, NULL, &out) != SSH_OK)
		out = NULL;
	BIO_free(bio);
	EVP_PKEY_free(key);
	return out;
}

static bool binary_is_encrypted(const struct secret *text)
{
	struct question q = {0};
	EVP_PKEY *key = load(text, &q);
	bool encrypted = !key && q.asked;

	EVP_PKEY_free(key);
	return encrypted;
}

/* --- any ----------------------------------------------------------------------------------- */

/*
 * The beginning of a key in the OpenSSH format: "openssh-key-v1\0", the length of its cipher's name,
 * the name. Return: false when it is none.
 */
static bool read_head(const struct secret *text, uint8_t head[static HEAD_LEN])
{
	const char *p = strstr(text->bytes, openssh_begin);
	char base64[HEAD_LEN / 3 * 4];
	size_t len = 0;

	if (is_binary(text) || !p)
		return false;
	for (p += sizeof(openssh_begin) - 1; *p && len < sizeof(base64); p++)
		if (*p > ' ')
			base64[len++] = *p;
	memset(head, 0, HEAD_LEN);
	return known_hosts_base64_decode(base64, len, head) > CIPHER_OFF;
}

/* Older formats than OpenSSH's have a header line. */
bool login_format_encrypted(const struct secret *text)
{
	uint8_t head[HEAD_LEN];

	if (read_head(text, head))
		return memcmp(head + CIPHER_OFF - 4, "\0\0\0\4none", 8) != 0;
	return is_binary(text) ? binary_is_encrypted(text)
	                       : strstr(text->bytes, "ENCRYPTED") != NULL;
}

/* libssh has these for connections, but does not open keys with them. */
bool login_format_has_other_cipher(const struct secret *text)
{
	uint8_t head[HEAD_LEN];

	return read_head(text, head) && (memcmp(head + CIPHER_OFF, "chacha20", 8) == 0 ||
	                                 memcmp(head + CIPHER_OFF + 6, "-gcm", 4) == 0);
}

ssh_key login_format_import(const struct secret *text, const struct secret *passphrase)
{
	ssh_key key = NULL;

	if (is_binary(text))
		return import_binary(text, passphrase);
	if (ssh_pki_import_privkey_base64(text->bytes, passphrase ? passphrase->bytes : NULL, NULL,
	                                  NULL, &key) != SSH_OK)
		return NULL;
	return key;
}

const char *login_format_remedy(const struct secret *text)
{
	static const struct {
		const char *mark, *remedy;
	} formats[] = {
	    {"PuTTY-User-Key-File-",
	     "is a PuTTY key; convert it: puttygen KEY -O private-openssh -o NEWKEY"},
	    {"---- BEGIN SSH2 ", "is a key of ssh.com; convert it: ssh-keygen -i -f KEY > NEWKEY"},
	    {"<RSAKeyValue", "is an XML key; convert it to PEM: xmlsec1 or openssl can"},
	    {"\"kty\"", "is a JSON web key; convert it: step crypto key format --pem KEY"},
	};

	if (is_binary(text))
		return NULL;
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strstr(text->bytes, formats[i].mark))
			return formats[i].remedy;
	return NULL;
}
