/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_COUNT 50
#define TEXT_LEN    120 /* bytes of one line */

struct record {
	uint32_t op;
	char text[TEXT_LEN];
};

static struct record records[TRACE_COUNT];
static uint64_t added;
static const char *trace_context = "";

void trace_begin(const char *context)
{
	trace_context = context;
}

void trace_add(uint32_t op, const char *format, ...)
{
	struct record *r = &records[added++ % TRACE_COUNT];
	va_list args;

	r->op = op;
	va_start(args, format);
	vsnprintf(r->text, sizeof(r->text), format, args);
	va_end(args);
}

static void finish(void)
{
	uint64_t from = added > TRACE_COUNT ? added - TRACE_COUNT : 0;

	fprintf(stderr, "the last %ju operations:\n", (uintmax_t)(added - from));
	for (uint64_t i = from; i < added; i++)
		fprintf(stderr, "  %7ju %s\n", (uintmax_t)records[i % TRACE_COUNT].op,
		        records[i % TRACE_COUNT].text);
	fprintf(stderr, "FAILED: again with %s\n", trace_context);
	exit(1);
}

void trace_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	finish();
	abort();
}

void trace_fail_errno(const char *format, ...)
{
	const char *why = strerror(errno);
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", why);
	finish();
	abort();
}
