/* SPDX-License-Identifier: BSD-2-Clause */
/* What a server's stat, ls, df, sha256sum and error messages say: only names that a directory may hold come out. */
#include "fuzz.h"

#include <string.h>

#include "scp/attr_parse.h"
#include "scp/quote.h"
#include "util/sha256.h"

static void each(void *arg, const struct be_entry *e)
{
	FUZZ_ASSERT(e->name_len > 0 && strlen(e->name) == e->name_len);
	FUZZ_ASSERT(!strchr(e->name, '/'));
	FUZZ_ASSERT(strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const char *text = (const char *)bytes;
	struct scp_identity id;
	struct be_statvfs sv;
	struct be_attr a;
	uint8_t hash[SHA256_LEN];

	FUZZ_ASSERT(scp_attr_parse(text, len, 1700000000, &a, &id) <= len);
	scp_list_parse(text, len, 1700000000, each, NULL);
	scp_statvfs_parse(text, len, &sv);
	FUZZ_ASSERT(scp_errno_of_text(text, len) >= 0);
	FUZZ_ASSERT(!sha256_find(text, len, hash) || len >= SHA256_TEXT_LEN);
	return 0;
}
