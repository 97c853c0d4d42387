/* SPDX-License-Identifier: BSD-2-Clause */
/* NAME as the reply to READDIR: only names that can be used in a directory come out. */
#include "fuzz.h"

#include <string.h>

#include "sftp/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct data *packet = data_create(NULL, len ? len : 1);
	struct fxr_args args = {0};
	struct fxr_answer answer;
	struct fxp_in in;

	if (!packet)
		return 0;
	memcpy(packet->bytes, bytes, len);
	fxp_in_init(&in, "fuzz", packet->bytes, len);
	if (fxr_decode(FXR_READDIR, &args, FXP_NAME, &in, packet, &answer) == 0) {
		FUZZ_ASSERT(!fxp_in_failed(&in));
		for (size_t i = 0; i < answer.names.count; i++) {
			const struct be_entry *e = &answer.names.entries[i];

			FUZZ_ASSERT(e->name_len > 0 && strlen(e->name) == e->name_len);
			FUZZ_ASSERT(!strchr(e->name, '/'));
			FUZZ_ASSERT(strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0);
		}
		fxr_answer_finish(&answer);
	}
	data_unref(packet);
	return 0;
}
