/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Passwords and keys in memory that is locked, left out of core dumps, and wiped.
 * Internal to ssh/. Thread: the owner's.
 */
#ifndef SSH_SECRET_H
#define SSH_SECRET_H

#include <stddef.h>

struct secret {
	size_t map_len; /* of the whole mapping */
	size_t size;    /* of bytes[] */
	size_t len;     /* in use; bytes[len] is 0 */
	char bytes[];
};

/* Room for `size` bytes and a NUL. Return: NULL when out of memory. */
struct secret *secret_create(size_t size);

/* A copy of `len` bytes; the original is the caller's to wipe. */
struct secret *secret_copy(const void *bytes, size_t len);

/* After fork() a child has to lock again. */
void secret_lock(struct secret *s);

/* Wipes, then frees. NULL is fine. */
void secret_destroy(struct secret *s);

#endif
