/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Growable byte string with a sticky error: after a failed growth every further append is a no-op
 * and buf_failed() is true, so that callers check once. Always NUL-terminated when not empty.
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *bytes;
	size_t len;
	size_t size;    /* allocated */
	size_t max_len; /* appends beyond this fail; 0: SIZE_MAX */
	bool failed;
};

#define BUF_INIT ((struct buf){0})

void buf_finish(struct buf *b);

/* Forgets the contents and the error, keeps the memory. */
void buf_clear(struct buf *b);

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_failed(const struct buf *b);

/* The contents as a string that the caller frees; the buffer is empty afterwards. NULL on error. */
char *buf_take(struct buf *b);

/* Overwrites then frees: for secrets. */
void buf_wipe(struct buf *b);

#endif
