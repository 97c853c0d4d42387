/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reference-counted, immutable-once-shared byte blocks, charged to a memory budget.
 *
 * File data moves through the process in these blocks without being copied: a WRITE's payload is
 * referenced by write-behind until acknowledged and by the transport until written; a READ's reply
 * is referenced by read-ahead and by the FUSE reply. Reference counts and budgets are atomic: the
 * loop and the connection threads share blocks.
 */
#ifndef UTIL_DATA_H
#define UTIL_DATA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of file data and listings in the process against a limit (the `cache_size` option). */
struct budget {
	atomic_size_t used_len;
	size_t max_len; /* 0: no limit */
};

struct data {
	atomic_uint refs;
	struct budget *budget; /* NULL: not charged */
	size_t size;           /* allocated and charged, bytes */
	uint8_t bytes[];
};

void budget_init(struct budget *b, size_t max_len);

/* Bytes that may still be charged before the limit; 0 when it is passed. SIZE_MAX without limit. */
size_t budget_left(const struct budget *b);

/* Charging never fails: who must wait for room asks budget_left() first. */
void budget_charge(struct budget *b, size_t len);
void budget_release(struct budget *b, size_t len);

/* A block of `size` bytes with one reference. Return: NULL when out of memory. */
struct data *data_create(struct budget *b, size_t size);

struct data *data_ref(struct data *d);

/* Drops one reference; the last one frees and releases the charge. NULL is fine. */
void data_unref(struct data *d);

#endif
