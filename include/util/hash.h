/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intrusive hash table: chains of nodes that live inside the caller's structs.
 * The caller computes the 64-bit hash (hash_bytes(), hash_u64()) and compares keys itself.
 * Grows by doubling; a failed growth only makes chains longer. Not thread-safe.
 */
#ifndef UTIL_HASH_H
#define UTIL_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash {
	struct hash_node **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
};

/* True when the entry `n` holds `key`; called only for entries of equal hash. */
typedef bool hash_match_fn(const struct hash_node *n, const void *key);

/* Return: 0 or -ENOMEM. */
int hash_init(struct hash *h);

/* Frees the table, not the entries. */
void hash_finish(struct hash *h);

/* Adds `n` under `hash`; the caller has made sure that the key is not there already. */
void hash_add(struct hash *h, struct hash_node *n, uint64_t hash);

/* Removes `n`, which must be in the table. */
void hash_del(struct hash *h, struct hash_node *n);

/* Return: the entry or NULL. */
struct hash_node *hash_find(const struct hash *h, uint64_t hash, hash_match_fn *match,
                            const void *key);

/* Iteration in no order: start with NULL, ends with NULL. The table must not change meanwhile. */
struct hash_node *hash_next(const struct hash *h, const struct hash_node *n);

/*
 * A 64-bit hash of `len` bytes, stable for ever and across machines (st_ino depends on it).
 * The seed is half of the key, the other half is fixed: a random seed for tables, a constant for
 * what is shown to programs.
 * Spec: SipHash-2-4.
 */
uint64_t hash_bytes(const void *bytes, size_t len, uint64_t seed);

/*
 * A seed of this process that nobody can guess, for tables whose keys a server chooses: it cannot
 * make every name fall into one chain.
 */
uint64_t hash_seed(void);

/* A mixing of one number, for tables keyed by counters. Spec: SplitMix64. */
uint64_t hash_u64(uint64_t x);

#endif
