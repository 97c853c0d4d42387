/* SPDX-License-Identifier: BSD-2-Clause */
/* SHA-256 of a stream of bytes, by OpenSSL. Thread: any, one at a time. Spec: FIPS 180-4. */
#ifndef UTIL_SHA256_H
#define UTIL_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN      32u
#define SHA256_TEXT_LEN (2 * SHA256_LEN) /* in hexadecimal digits */

struct sha256;

/* Return: NULL when out of memory. */
struct sha256 *sha256_create(void);
void sha256_destroy(struct sha256 *s); /* NULL is fine */

void sha256_add(struct sha256 *s, const void *bytes, size_t len);

/* What has been added so far; more may follow. Return: false when something has failed. */
bool sha256_get(const struct sha256 *s, uint8_t hash[SHA256_LEN]);

/* Lower case, NUL-terminated. */
void sha256_text(const uint8_t hash[SHA256_LEN], char text[SHA256_TEXT_LEN + 1]);

/*
 * The first run of exactly 64 hexadecimal digits, which is what all programs print, whatever stands
 * around it. Return: false when there is none.
 */
bool sha256_find(const char *text, size_t len, uint8_t hash[SHA256_LEN]);

#endif
