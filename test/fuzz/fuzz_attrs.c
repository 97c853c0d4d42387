/* SPDX-License-Identifier: BSD-2-Clause */
/* ATTRS: what is accepted is the same after it has been encoded and decoded again. */
#include "fuzz.h"

#include <string.h>

#include "sftp/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1), again_bytes[FXP_ATTR_WIRE_MAX];
	struct fxp_out out = {.bytes = again_bytes, .size = sizeof(again_bytes)};
	struct be_attr attr, again;
	struct fxp_in in;

	if (!copy)
		return 0;
	memcpy(copy, bytes, len);
	fxp_in_init(&in, "fuzz", copy, len);
	fxp_get_attr(&in, &attr);
	FUZZ_ASSERT(in.off <= in.len);
	FUZZ_ASSERT(!fxp_in_failed(&in) || attr.valid == 0);
	fxp_put_attr(&out, &attr);
	FUZZ_ASSERT(!out.failed);
	fxp_in_init(&in, "again", again_bytes, out.len);
	fxp_get_attr(&in, &again);
	fxp_get_end(&in);
	FUZZ_ASSERT(!fxp_in_failed(&in));
	FUZZ_ASSERT(memcmp(&attr, &again, sizeof(attr)) == 0);
	free(copy);
	return 0;
}
