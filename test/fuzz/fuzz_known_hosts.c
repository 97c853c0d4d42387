/* SPDX-License-Identifier: BSD-2-Clause */
/* Any file: parsing ends, and asking about a key in it finds that key. */
#include <string.h>

#include "fuzz.h"
#include "ssh/known_hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const uint8_t key[] = "\0\0\0\013ssh-ed25519\0\0\0\1A";
	struct known_hosts kh = KNOWN_HOSTS_INIT;
	struct known_query q = {.host = "host.example", .address = "10.0.0.1", .port = 2022};
	const struct known_entry *entry;
	struct ssh_strings types = {0};

	FUZZ_ASSERT(known_hosts_parse(&kh, "file", (const char *)bytes, len) == 0);
	for (size_t i = 0; i < kh.count; i++) {
		const struct known_entry *e = &kh.entries[i];
		enum known_result r =
		    known_hosts_check(&kh, &q, e->type, e->key, e->key_len, &entry);

		FUZZ_ASSERT(entry || r == KNOWN_UNKNOWN);
	}
	known_hosts_check(&kh, &q, "ssh-ed25519", key, sizeof(key) - 1, &entry);
	FUZZ_ASSERT(known_hosts_types(&kh, &q, &types) == 0);
	for (size_t i = 0; i < types.count; i++)
		free(types.at[i]);
	free(types.at);
	known_hosts_finish(&kh);
	return 0;
}
