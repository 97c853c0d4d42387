/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replies to every kind of request: the first byte is the kind, the second the packet type. What is
 * accepted lies within the packet and within what was asked for.
 */
#include "fuzz.h"

#include <string.h>

#include "sftp/request.h"

static void check(enum fxr_kind kind, const struct fxr_args *args, const struct data *packet,
                  size_t len, const struct fxr_answer *answer)
{
	FUZZ_ASSERT(answer->status.st.text == answer->status.text);
	FUZZ_ASSERT(strlen(answer->status.text) <= FXP_STATUS_TEXT_MAX);
	for (const char *s = answer->status.text; *s; s++)
		FUZZ_ASSERT((unsigned char)*s >= 0x20 && *s != 0x7f);
	if (answer->status.st.code != BE_OK)
		return;
	switch (fxr_table[kind].reply) {
	case FXR_GET_HANDLE:
		FUZZ_ASSERT(answer->handle.len <= FXP_HANDLE_LEN_MAX);
		FUZZ_ASSERT(answer->handle.bytes + answer->handle.len <= packet->bytes + len);
		break;
	case FXR_GET_DATA:
		FUZZ_ASSERT(answer->data.len > 0 && answer->data.len <= args->len);
		FUZZ_ASSERT(answer->data.off + answer->data.len <= len);
		break;
	case FXR_GET_PATH:
		FUZZ_ASSERT(answer->path.len <= len);
		FUZZ_ASSERT(!answer->path.len ||
		            !memchr(answer->path.bytes, '\0', answer->path.len));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct fxr_args args = {.len = 100};
	struct fxr_answer answer;
	struct data *packet;
	enum fxr_kind kind;
	struct fxp_in in;

	if (len < 2)
		return 0;
	kind = bytes[0] % FXR_KIND_COUNT;
	packet = data_create(NULL, len - 1);
	if (!packet)
		return 0;
	memcpy(packet->bytes, bytes + 2, len - 2);
	fxp_in_init(&in, "fuzz", packet->bytes, len - 2);
	if (fxr_decode(kind, &args, bytes[1], &in, packet, &answer) == 0) {
		check(kind, &args, packet, len - 2, &answer);
		fxr_answer_finish(&answer);
	} else {
		FUZZ_ASSERT(fxp_in_failed(&in));
	}
	data_unref(packet);
	return 0;
}
