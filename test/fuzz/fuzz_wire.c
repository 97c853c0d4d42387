/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The compound fields of SFTP packets; the first byte chooses which. The cursor never passes the
 * end, a reject sticks, and extensions are counted only when the packet is sound.
 */
#include "fuzz.h"

#include <string.h>

#include "sftp/extension.h"
#include "sftp/wire.h"

static void fuzz_version(struct fxp_in *in)
{
	fxp_ext_set set;

	fxp_ext_get_version(in, &set);
	FUZZ_ASSERT((set & ~((1u << EXT_COUNT) - 1)) == 0);
	FUZZ_ASSERT(fxp_in_failed(in) || fxp_in_left(in) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct be_statvfs sv;
	struct fxp_limits limits;
	struct fxp_in in;
	uint8_t *copy;

	if (len == 0)
		return 0;
	copy = malloc(len);
	if (!copy)
		return 0;
	memcpy(copy, bytes + 1, len - 1);
	fxp_in_init(&in, "fuzz", copy, len - 1);
	switch (bytes[0] % 4) {
	case 0:
		fuzz_version(&in);
		break;
	case 1:
		fxp_get_statvfs(&in, &sv);
		FUZZ_ASSERT(fxp_in_failed(&in) == (len - 1 < 88));
		break;
	case 2:
		fxp_get_limits(&in, &limits);
		FUZZ_ASSERT(fxp_in_failed(&in) == (len - 1 < 32));
		break;
	case 3:
		fxp_longname_nlink((const char *)copy, len - 1);
		break;
	}
	FUZZ_ASSERT(in.off <= in.len);
	free(copy);
	return 0;
}
