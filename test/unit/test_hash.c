/* SPDX-License-Identifier: BSD-2-Clause */
/* The hash table and the hash functions. */
#include <errno.h>
#include <string.h>

#include "check_main.h"
#include "oom.h"
#include "util/hash.h"

#define ENTRIES 1000

struct entry {
	struct hash_node node;
	unsigned key;
	unsigned seen_count;
};

static bool entry_match(const struct hash_node *n, const void *key)
{
	return ((const struct entry *)n)->key == *(const unsigned *)key;
}

static struct entry *find(const struct hash *h, uint64_t hash, unsigned key)
{
	return (struct entry *)hash_find(h, hash, entry_match, &key);
}

START_TEST(add_find_del)
{
	/* every entry is found through growth and removals, and nothing else is */
	static struct entry entries[ENTRIES];
	struct hash h;

	ck_assert_int_eq(hash_init(&h), 0);
	ck_assert_ptr_null(find(&h, hash_u64(0), 0));
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].key = i;
		hash_add(&h, &entries[i].node, hash_u64(i));
	}
	ck_assert_uint_eq(h.count, ENTRIES);
	ck_assert_uint_ge(h.bucket_count, ENTRIES / 2);
	for (unsigned i = 0; i < ENTRIES; i++)
		ck_assert_ptr_eq(find(&h, hash_u64(i), i), &entries[i]);
	ck_assert_ptr_null(find(&h, hash_u64(ENTRIES), ENTRIES));
	for (unsigned i = 0; i < ENTRIES; i += 2)
		hash_del(&h, &entries[i].node);
	ck_assert_uint_eq(h.count, ENTRIES / 2);
	for (unsigned i = 0; i < ENTRIES; i++)
		ck_assert_ptr_eq(find(&h, hash_u64(i), i), i % 2 ? &entries[i] : NULL);
	hash_finish(&h);
}
END_TEST

START_TEST(equal_hashes)
{
	/* keys of equal hash are told apart by the match function, and leave a chain in any order
	 */
	static struct entry entries[3];
	const unsigned order[3] = {1, 2, 0};
	struct hash h;

	ck_assert_int_eq(hash_init(&h), 0);
	for (unsigned i = 0; i < 3; i++) {
		entries[i].key = i;
		hash_add(&h, &entries[i].node, 7);
	}
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 3; k++)
			ck_assert_ptr_eq(find(&h, 7, order[k]), k >= i ? &entries[order[k]] : NULL);
		hash_del(&h, &entries[order[i]].node);
	}
	hash_finish(&h);
}
END_TEST

static unsigned match_calls;

static bool match_counted(const struct hash_node *n, const void *key)
{
	match_calls++;
	return entry_match(n, key);
}

START_TEST(match_on_equal_hash_only)
{
	/* the match function is not asked about an entry whose hash differs */
	struct entry a = {.key = 1};
	unsigned key = 1;
	struct hash h;

	ck_assert_int_eq(hash_init(&h), 0);
	hash_add(&h, &a.node, 5);
	match_calls = 0;
	/* In the same bucket: they differ in a high bit. */
	ck_assert_ptr_null(hash_find(&h, 5 | (uint64_t)1 << 63, match_counted, &key));
	ck_assert_uint_eq(match_calls, 0);
	ck_assert_ptr_eq(hash_find(&h, 5, match_counted, &key), &a);
	ck_assert_uint_eq(match_calls, 1);
	hash_finish(&h);
}
END_TEST

START_TEST(iteration)
{
	/* iteration meets every entry once */
	static struct entry entries[ENTRIES];
	struct hash h;
	unsigned count = 0;

	ck_assert_int_eq(hash_init(&h), 0);
	ck_assert_ptr_null(hash_next(&h, NULL));
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].key = i;
		hash_add(&h, &entries[i].node, hash_u64(i / 3));
	}
	for (struct hash_node *n = hash_next(&h, NULL); n; n = hash_next(&h, n)) {
		((struct entry *)n)->seen_count++;
		count++;
		ck_assert_uint_le(count, ENTRIES);
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		ck_assert_uint_eq(entries[i].seen_count, 1);
	hash_finish(&h);
	ck_assert_ptr_null(hash_next(&h, NULL));
}
END_TEST

START_TEST(out_of_memory)
{
	/* no memory at first is an error; later it costs speed only */
	static struct entry entries[ENTRIES];
	struct hash h;
	size_t bucket_count;
	int err;

	oom_arm(1);
	err = hash_init(&h);
	ck_assert(oom_disarm());
	ck_assert_int_eq(err, -ENOMEM);
	hash_finish(&h);

	ck_assert_int_eq(hash_init(&h), 0);
	bucket_count = h.bucket_count;
	oom_arm_from(1);
	for (unsigned i = 0; i < ENTRIES; i++) {
		entries[i].key = i;
		hash_add(&h, &entries[i].node, hash_u64(i));
	}
	ck_assert(oom_disarm());
	ck_assert_uint_eq(h.bucket_count, bucket_count);
	for (unsigned i = 0; i < ENTRIES; i++)
		ck_assert_ptr_eq(find(&h, hash_u64(i), i), &entries[i]);
	hash_finish(&h);
}
END_TEST

START_TEST(bytes_vectors)
{
	/* hash_bytes is SipHash-2-4: the vectors of the paper and its reference code */
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
	    {0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},  {2, 0x0d6c8009d9a94f5a},
	    {7, 0xab0200f58b01d137},  {8, 0x93f5f5799a932462},  {9, 0x9e0082df0ba9e4b0},
	    {15, 0xa129ca6149be45e5}, {63, 0x958a324ceb064572},
	};
	const uint64_t seed = 0x0706050403020100;
	uint8_t bytes[64 + 1];

	for (size_t i = 0; i < 64; i++)
		bytes[i + 1] = (uint8_t)i;
	/* From an odd address: no load may assume alignment. */
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		ck_assert_uint_eq(hash_bytes(bytes + 1, vectors[i].len, seed), vectors[i].hash);
	ck_assert_uint_eq(hash_bytes(NULL, 0, seed), vectors[0].hash);
}
END_TEST

START_TEST(bytes_depend)
{
	/* the hash depends on the seed, on every bit and on the length */
	uint8_t bytes[40] = {0};
	uint64_t zero = hash_bytes(bytes, sizeof(bytes), 1);

	ck_assert_uint_ne(hash_bytes(bytes, sizeof(bytes), 2), zero);
	ck_assert_uint_ne(hash_bytes(bytes, sizeof(bytes) - 1, 1), zero);
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] = (uint8_t)(1u << bit % 8);
		ck_assert_uint_ne(hash_bytes(bytes, sizeof(bytes), 1), zero);
		bytes[bit / 8] = 0;
	}
}
END_TEST

START_TEST(u64_vectors)
{
	/* hash_u64 is SplitMix64: the first outputs of the generator seeded with 1234567 */
	const uint64_t gamma = 0x9e3779b97f4a7c15;

	ck_assert_uint_eq(hash_u64(1234567), 6457827717110365317u);
	ck_assert_uint_eq(hash_u64(1234567 + gamma), 3203168211198807973u);
	ck_assert_uint_eq(hash_u64(1234567 + 2 * gamma), 9817491932198370423u);
}
END_TEST

CHECK_MAIN("hash", add_find_del, equal_hashes, match_on_equal_hash_only, iteration, out_of_memory,
           bytes_vectors, bytes_depend, u64_vectors)
