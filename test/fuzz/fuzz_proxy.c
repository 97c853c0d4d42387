/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line with the name of a proxy, then what it answers: both end, what is asked for fits, and no
 * more is asked for than the answer needs.
 */
#include <string.h>

#include "fuzz.h"
#include "ssh/proxy.h"

static void converse(const struct proxy *p, const uint8_t *bytes, size_t len)
{
	static struct proxy_talk t;
	size_t used = 0;
	int rc = proxy_talk_begin(&t, p, p->type == PROXY_SOCKS4 ? "10.0.0.1" : "host.example", 22);

	FUZZ_ASSERT(rc == 0);
	while (rc == 0 && used < len) {
		size_t want = proxy_talk_want(&t);

		FUZZ_ASSERT(want > 0 && t.out_len <= sizeof(t.out));
		FUZZ_ASSERT(p->type != PROXY_HTTP || want == 1);
		t.out_len = 0;
		/* In pieces, as a network may. */
		want = want > 3 ? want / 2 : want;
		if (want > len - used)
			want = len - used;
		rc = proxy_talk_feed(&t, bytes + used, want);
		used += want;
	}
	FUZZ_ASSERT(rc >= 0 || t.error[0]);
	FUZZ_ASSERT(used <= PROXY_HEADER_MAX + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const uint8_t *end = memchr(bytes, '\n', len);
	struct proxy p;
	char url[1024];

	if (!end || (size_t)(end - bytes) >= sizeof(url))
		return 0;
	memcpy(url, bytes, (size_t)(end - bytes));
	url[end - bytes] = '\0';
	if (proxy_parse(url, &p) == 0) {
		FUZZ_ASSERT(p.host && p.host[0] && p.port > 0 && p.port < 65536);
		converse(&p, end + 1, len - (size_t)(end + 1 - bytes));
		proxy_finish(&p);
	}
	return 0;
}
