/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both ends of the SCP protocol: what the server sends as a file, and what it answers to one. The
 * first byte says how the input is cut into pieces, which must make no difference.
 */
#include "fuzz.h"

#include <string.h>

#include "scp/codec.h"

static void run_sink(struct scp_sink *s, const uint8_t *bytes, size_t len, size_t piece)
{
	uint64_t data_total = 0;

	scp_sink_init(s, "name");
	for (size_t off = 0; off < len;) {
		size_t part = len - off < piece ? len - off : piece, data_len;
		const uint8_t *data;
		size_t used = scp_sink_feed(s, bytes + off, part, &data, &data_len);

		FUZZ_ASSERT(used <= part && data_len <= used);
		FUZZ_ASSERT(data >= bytes && data + data_len <= bytes + len);
		data_total += data_len;
		FUZZ_ASSERT(data_total <= s->size);
		if (used == 0)
			break;
		off += used;
	}
	FUZZ_ASSERT(s->phase != SCP_ENDED || data_total == s->size);
	FUZZ_ASSERT(s->phase != SCP_FAILED || strlen(s->error) < sizeof(s->error));
	FUZZ_ASSERT((s->mode & ~07777u) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct scp_sink whole, cut;
	static struct scp_source source, cut_source;
	size_t piece;

	if (len == 0)
		return 0;
	piece = bytes[0] ? bytes[0] : 1;
	bytes++;
	len--;
	run_sink(&whole, bytes, len, len ? len : 1);
	run_sink(&cut, bytes, len, piece);
	FUZZ_ASSERT(whole.phase == cut.phase && whole.size == cut.size);

	scp_source_init(&source);
	scp_source_feed(&source, bytes, len);
	scp_source_init(&cut_source);
	for (size_t off = 0; off < len; off += piece)
		scp_source_feed(&cut_source, bytes + off, len - off < piece ? len - off : piece);
	FUZZ_ASSERT(source.acks == cut_source.acks && source.failed == cut_source.failed);
	return 0;
}
