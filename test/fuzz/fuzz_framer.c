/* SPDX-License-Identifier: BSD-2-Clause */
/* Any stream, cut in any way: the packets are the same, and nothing is kept. */
#include "fuzz.h"
#include "sftp/framer.h"

#define PACKET_MAX_LEN 4096

static void count(void *arg, struct data *packet, size_t len)
{
	size_t *sum = arg;

	FUZZ_ASSERT(len > 0 && len <= PACKET_MAX_LEN && len <= packet->size);
	for (size_t i = 0; i < len; i++)
		*sum = *sum * 31 + packet->bytes[i];
	*sum += len;
	data_unref(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct budget budget;
	struct framer whole, cut;
	size_t whole_sum = 0, cut_sum = 0;
	size_t step = len > 0 ? bytes[0] % 7 + 1 : 1;
	int whole_rc, cut_rc = 0;

	budget_init(&budget, 0);
	framer_init(&whole, &budget, PACKET_MAX_LEN);
	framer_init(&cut, &budget, PACKET_MAX_LEN);
	whole_rc = framer_push(&whole, bytes, len, count, &whole_sum);
	for (size_t off = 0; off < len; off += step)
		cut_rc = framer_push(&cut, bytes + off, step < len - off ? step : len - off, count,
		                     &cut_sum);
	FUZZ_ASSERT(whole_sum == cut_sum);
	FUZZ_ASSERT(whole_rc == cut_rc);
	framer_finish(&whole);
	framer_finish(&cut);
	FUZZ_ASSERT(atomic_load(&budget.used_len) == 0);
	return 0;
}
