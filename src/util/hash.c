/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intrusive hash table and the hash functions.
 * Room: util. Owner: whoever holds the struct; no locking.
 * Spec: SipHash-2-4 (Aumasson and Bernstein, 2012); SplitMix64 (Steele, Lea and Flood, 2014).
 */
#include "util/hash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define HASH_MIN_BUCKETS 16 /* entries, our choice: two cache lines, a small directory */

static struct hash_node **hash_bucket(const struct hash *h, uint64_t hash)
{
	return &h->buckets[hash & (h->bucket_count - 1)];
}

int hash_init(struct hash *h)
{
	h->count = 0;
	h->bucket_count = HASH_MIN_BUCKETS;
	h->buckets = calloc(h->bucket_count, sizeof(struct hash_node *));
	if (!h->buckets) {
		h->bucket_count = 0;
		return -ENOMEM;
	}
	return 0;
}

void hash_finish(struct hash *h)
{
	free(h->buckets);
	h->buckets = NULL;
	h->bucket_count = 0;
	h->count = 0;
}

static void hash_grow(struct hash *h)
{
	struct hash old = *h;

	/* calloc() checks the product; the doubling cannot wrap while the table fits in memory. */
	h->buckets = calloc(old.bucket_count * 2, sizeof(struct hash_node *));
	if (!h->buckets) {
		h->buckets = old.buckets;
		return;
	}
	h->bucket_count = old.bucket_count * 2;
	for (size_t i = 0; i < old.bucket_count; i++) {
		struct hash_node *n = old.buckets[i], *next;

		for (; n; n = next) {
			struct hash_node **bucket = hash_bucket(h, n->hash);

			next = n->next;
			n->next = *bucket;
			*bucket = n;
		}
	}
	free(old.buckets);
}

void hash_add(struct hash *h, struct hash_node *n, uint64_t hash)
{
	struct hash_node **bucket;

	if (h->count >= h->bucket_count)
		hash_grow(h);
	bucket = hash_bucket(h, hash);
	n->hash = hash;
	n->next = *bucket;
	*bucket = n;
	h->count++;
}

void hash_del(struct hash *h, struct hash_node *n)
{
	struct hash_node **link = hash_bucket(h, n->hash);

	while (*link && *link != n)
		link = &(*link)->next;
	assert(*link == n);
	if (!*link)
		return;
	*link = n->next;
	n->next = NULL;
	h->count--;
}

struct hash_node *hash_find(const struct hash *h, uint64_t hash, hash_match_fn *match,
                            const void *key)
{
	struct hash_node *n = *hash_bucket(h, hash);

	while (n && (n->hash != hash || !match(n, key)))
		n = n->next;
	return n;
}

struct hash_node *hash_next(const struct hash *h, const struct hash_node *n)
{
	size_t i = 0;

	if (n) {
		if (n->next)
			return n->next;
		i = (n->hash & (h->bucket_count - 1)) + 1;
	}
	for (; i < h->bucket_count; i++) {
		if (h->buckets[i])
			return h->buckets[i];
	}
	return NULL;
}

struct sip {
	uint64_t v[4];
};

static uint64_t rotl64(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_rounds(struct sip *s, unsigned count)
{
	uint64_t *v = s->v;

	while (count--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotl64(v[1], 13) ^ v[0];
		v[3] = rotl64(v[3], 16) ^ v[2];
		v[0] = rotl64(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotl64(v[1], 17) ^ v[2];
		v[3] = rotl64(v[3], 21) ^ v[0];
		v[2] = rotl64(v[2], 32);
	}
}

static void sip_word(struct sip *s, uint64_t word)
{
	s->v[3] ^= word;
	sip_rounds(s, 2);
	s->v[0] ^= word;
}

/* Little-endian on every machine: the result is stored in inode numbers. */
static uint64_t sip_load(const uint8_t *p, size_t len)
{
	uint64_t word = 0;

	for (size_t i = 0; i < len; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

uint64_t hash_bytes(const void *bytes, size_t len, uint64_t seed)
{
	/* The second key word of the paper's test vectors, so that those test us. */
	const uint64_t k0 = seed, k1 = 0x0f0e0d0c0b0a0908;
	struct sip s = {{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261,
	                 k1 ^ 0x7465646279746573}};
	const uint8_t *p = bytes;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8)
		sip_word(&s, sip_load(p, 8));
	sip_word(&s, (uint64_t)len << 56 | sip_load(p, left));
	s.v[2] ^= 0xff;
	sip_rounds(&s, 4);
	return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}

uint64_t hash_u64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t process_seed;
static pthread_once_t process_seed_once = PTHREAD_ONCE_INIT;

static void process_seed_init(void)
{
	/* Blocks only before the kernel's pool is ready, once per boot; a failure leaves 0. */
	if (getrandom(&process_seed, sizeof(process_seed), 0) < 0)
		process_seed = 0;
}

uint64_t hash_seed(void)
{
	pthread_once(&process_seed_once, process_seed_init);
	return process_seed;
}
