/* SPDX-License-Identifier: BSD-2-Clause */
#include "check_main.h"

#include <string.h>

#include "util/sha256.h"

/* Of "abc", FIPS 180-2 appendix B.1. */
static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

START_TEST(known_sum_in_parts)
{
	// the sum of what was added so far, however it was cut; asking does not end it
	struct sha256 *s = sha256_create();
	char text[SHA256_TEXT_LEN + 1];
	uint8_t hash[SHA256_LEN];

	sha256_add(s, "a", 1);
	ck_assert(sha256_get(s, hash));
	sha256_add(s, "", 0);
	sha256_add(s, "bc", 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(sha256_get(s, hash));
		sha256_text(hash, text);
		ck_assert_str_eq(text, abc);
	}
	sha256_destroy(s);
}
END_TEST

START_TEST(sums_are_found_in_what_programs_print)
{
	// the first run of exactly 64 digits; nothing shorter or longer, nothing cut off
	static const char *const good[] = {"%s  -\n", "%s\n", "SHA256(stdin)= %s\n",
	                                   "\\%s  a\\nb\n", "abc 12 %s"};
	char text[200], found[SHA256_TEXT_LEN + 1];
	uint8_t hash[SHA256_LEN];

	for (size_t i = 0; i < 5; i++) {
		char *to = text;

		for (const char *from = good[i]; *from; from++) {
			if (*from == '%') {
				to = stpcpy(to, abc);
				from++;
			} else {
				*to++ = *from;
			}
		}
		ck_assert(sha256_find(text, (size_t)(to - text), hash));
		sha256_text(hash, found);
		ck_assert_str_eq(found, abc);
	}
	memcpy(text, abc, 64);
	memcpy(text + 64, abc, 64);
	ck_assert(!sha256_find(text, 128, hash));
	ck_assert(!sha256_find(text, 65, hash));
	ck_assert(!sha256_find(text, 63, hash));
	ck_assert(!sha256_find(text, 0, hash));
}
END_TEST

CHECK_MAIN("sha256", known_sum_in_parts, sums_are_found_in_what_programs_print)
