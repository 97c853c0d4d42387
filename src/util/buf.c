/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Growable byte string with a sticky error.
 * Room: util. Owner: whoever holds the struct; no locking.
 */
#include "util/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MIN_SIZE                                                                               \
	64 /* bytes, our choice: most names and log lines fit without a second growth */

static size_t buf_limit(const struct buf *b)
{
	/* One byte below SIZE_MAX leaves room for the NUL. */
	return b->max_len && b->max_len < SIZE_MAX ? b->max_len : SIZE_MAX - 1;
}

/* Makes room for `len` more bytes and a NUL. */
static bool buf_reserve(struct buf *b, size_t len)
{
	uint8_t *bytes;
	size_t need, size;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, len, &need) || need > buf_limit(b)) {
		b->failed = true;
		return false;
	}
	if (need < b->size)
		return true;
	if (__builtin_mul_overflow(b->size, (size_t)2, &size))
		size = need + 1;
	if (size < BUF_MIN_SIZE)
		size = BUF_MIN_SIZE;
	if (size < need + 1)
		size = need + 1;
	/* Not realloc(): it would leave a copy of a secret in the memory that it gives back. */
	bytes = malloc(size);
	if (!bytes) {
		b->failed = true;
		return false;
	}
	if (b->len)
		memcpy(bytes, b->bytes, b->len);
	bytes[b->len] = '\0';
	buf_wipe(&(struct buf){.bytes = b->bytes, .size = b->size});
	b->bytes = bytes;
	b->size = size;
	return true;
}

static void buf_reset(struct buf *b)
{
	b->bytes = NULL;
	b->len = 0;
	b->size = 0;
	b->failed = false;
}

void buf_finish(struct buf *b)
{
	free(b->bytes);
	buf_reset(b);
}

void buf_wipe(struct buf *b)
{
	if (b->bytes)
		explicit_bzero(b->bytes, b->size);
	buf_finish(b);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->bytes)
		b->bytes[0] = '\0';
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
	if (len == 0 || !buf_reserve(b, len))
		return;
	memcpy(b->bytes + b->len, bytes, len);
	b->len += len;
	b->bytes[b->len] = '\0';
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int len;

	if (b->failed)
		return;
	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0) {
		b->failed = true;
		return;
	}
	if (len == 0 || !buf_reserve(b, (size_t)len))
		return;
	va_start(ap, fmt);
	vsnprintf((char *)b->bytes + b->len, (size_t)len + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)len;
}

bool buf_failed(const struct buf *b)
{
	return b->failed;
}

char *buf_take(struct buf *b)
{
	char *s = NULL;

	/* An empty buffer may have no memory yet, but its string is "", not an error. */
	if (buf_reserve(b, 0)) {
		s = (char *)b->bytes;
		s[b->len] = '\0';
		buf_reset(b);
	} else {
		buf_finish(b);
	}
	return s;
}
