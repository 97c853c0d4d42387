/* SPDX-License-Identifier: BSD-2-Clause */
/* Any value of host_key=: it ends with a verdict, and only a value that holds a key has its type. */
#include <stdlib.h>
#include <string.h>

#include "../../src/ssh/host_key_parts.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static uint8_t blob[] = "\0\0\0\013ssh-ed25519\0\0\0\1A";
	const struct server_key k = {
	    .type = "ssh-ed25519", .blob = blob, .blob_len = sizeof(blob) - 1};
	struct ssh_strings types = {0};
	char *text = strndup((const char *)bytes, len);
	int rc;

	/* With a separator it is a file's name, or a key: reading files is not what is looked at. */
	if (text && (!strchr(text, '/') || strncmp(text, "ssh-", 4) == 0)) {
		rc = host_key_named(text, &k);
		FUZZ_ASSERT(rc <= 1);
		FUZZ_ASSERT(host_key_named_types(text, &types) >= 0);
		FUZZ_ASSERT(rc == 1 || rc == 0 || types.count == 0);
	}
	for (size_t i = 0; i < types.count; i++)
		free(types.at[i]);
	free(types.at);
	free(text);
	return 0;
}
