/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Number parsing: the first byte chooses the parser, the rest is the string.
 * A result is within its limits, is what the C library reads from the same string, and stays the
 * same when it is printed and read again; an error leaves the result alone.
 */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/num.h"

#define UNTOUCHED 4711

static void check_error(int err, uint64_t out)
{
	FUZZ_ASSERT(err == -EINVAL || err == -ERANGE);
	FUZZ_ASSERT(out == UNTOUCHED);
}

static void fuzz_u64(const char *s, unsigned base)
{
	const uint64_t min = 10, max = UINT64_MAX - 10;
	uint64_t out = UNTOUCHED, want;
	int err = num_parse_u64(s, base, min, max, &out);
	char *end;

	errno = 0;
	want = strtoull(s, &end, (int)base);
	if (err == 0) {
		FUZZ_ASSERT(out >= min && out <= max);
		FUZZ_ASSERT(out == want && errno == 0 && *end == '\0');
		return;
	}
	check_error(err, out);
	if (err == -ERANGE)
		FUZZ_ASSERT(*end == '\0' && (errno == ERANGE || want < min || want > max));
	else
		FUZZ_ASSERT(strspn(s, "0123456789") != strlen(s) || base < 10 || *s == '\0');
}

static void fuzz_size(const char *s)
{
	const uint64_t max = (uint64_t)1 << 50;
	uint64_t out = UNTOUCHED, again;
	char text[32];
	int err = num_parse_size(s, 0, max, &out);

	if (err < 0) {
		check_error(err, out);
		return;
	}
	FUZZ_ASSERT(out <= max);
	snprintf(text, sizeof(text), "%" PRIu64, out);
	FUZZ_ASSERT(num_parse_size(text, 0, max, &again) == 0 && again == out);
}

static void fuzz_seconds(const char *s)
{
	const int64_t max_ms = INT64_MAX / 2;
	int64_t out = UNTOUCHED, again;
	char text[64];
	int err = num_parse_seconds(s, max_ms, &out);

	if (err < 0) {
		check_error(err, (uint64_t)out);
		return;
	}
	FUZZ_ASSERT(out >= 0 && out <= max_ms);
	/* Zero exactly when no digit is anything else. */
	FUZZ_ASSERT((out == 0) == (strspn(s, "0.") == strlen(s)));
	snprintf(text, sizeof(text), "%" PRId64 ".%03d", out / 1000, (int)(out % 1000));
	FUZZ_ASSERT(num_parse_seconds(text, max_ms, &again) == 0 && again == out);
}

static void fuzz_time(const char *s)
{
	const uint64_t max = UINT32_MAX;
	uint64_t out = UNTOUCHED, again;
	char text[32];
	int err = num_parse_time(s, max, &out);

	if (err < 0) {
		check_error(err, out);
		return;
	}
	FUZZ_ASSERT(out <= max);
	snprintf(text, sizeof(text), "%" PRIu64 "m%" PRIu64, out / 60, out % 60);
	FUZZ_ASSERT(num_parse_time(text, max, &again) == 0 && again == out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *s;

	if (len == 0)
		return 0;
	/* A block of its own: reading past the NUL is a finding. */
	s = strndup((const char *)bytes + 1, len - 1);
	if (!s)
		return 0;
	switch (bytes[0] % 6) {
	case 0:
		fuzz_u64(s, 10);
		break;
	case 1:
		fuzz_u64(s, 8);
		break;
	case 2:
		fuzz_u64(s, 16);
		break;
	case 3:
		fuzz_size(s);
		break;
	case 4:
		fuzz_seconds(s);
		break;
	case 5:
		fuzz_time(s);
		break;
	}
	free(s);
	return 0;
}
