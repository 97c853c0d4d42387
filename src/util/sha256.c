/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract: include/util/sha256.h. */
#include "util/sha256.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "util/num.h"

struct sha256 {
	EVP_MD_CTX *ctx;
	bool failed;
};

struct sha256 *sha256_create(void)
{
	struct sha256 *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ctx = EVP_MD_CTX_new();
	if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1) {
		sha256_destroy(s);
		return NULL;
	}
	return s;
}

void sha256_destroy(struct sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	free(s);
}

void sha256_add(struct sha256 *s, const void *bytes, size_t len)
{
	s->failed = EVP_DigestUpdate(s->ctx, bytes, len) != 1 || s->failed;
}

bool sha256_get(const struct sha256 *s, uint8_t hash[SHA256_LEN])
{
	EVP_MD_CTX *copy = s->failed ? NULL : EVP_MD_CTX_new();
	bool ok = copy && EVP_MD_CTX_copy_ex(copy, s->ctx) == 1 &&
	          EVP_DigestFinal_ex(copy, hash, NULL) == 1;

	EVP_MD_CTX_free(copy);
	return ok;
}

void sha256_text(const uint8_t hash[SHA256_LEN], char text[SHA256_TEXT_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < SHA256_LEN; i++) {
		text[2 * i] = digits[hash[i] >> 4];
		text[2 * i + 1] = digits[hash[i] & 15];
	}
	text[SHA256_TEXT_LEN] = '\0';
}

bool sha256_find(const char *text, size_t len, uint8_t hash[SHA256_LEN])
{
	for (size_t at = 0, end; at < len; at = end + 1) {
		for (end = at; end < len && num_digit(text[end]) < 16; end++)
			;
		if (end - at != SHA256_TEXT_LEN)
			continue;
		for (unsigned i = 0; i < SHA256_LEN; i++)
			hash[i] = (uint8_t)(num_digit(text[at + 2 * i]) << 4 |
			                    num_digit(text[at + 2 * i + 1]));
		return true;
	}
	return false;
}
