/* SPDX-License-Identifier: BSD-2-Clause */
/* Failing allocations, put between the core and the C library by the linker (--wrap). */
#include "oom.h"

#include <errno.h>
#include <stddef.h>

static _Thread_local unsigned left_count; /* allocations until the failure; 0: none to come */
static _Thread_local bool stay;
static _Thread_local bool hit;

void oom_arm(unsigned n)
{
	left_count = n;
	stay = false;
	hit = false;
}

void oom_arm_from(unsigned n)
{
	oom_arm(n);
	stay = true;
}

bool oom_disarm(void)
{
	left_count = 0;
	return hit;
}

static bool oom_now(void)
{
	if (left_count == 0)
		return false;
	if (left_count > 1) {
		left_count--;
		return false;
	}
	if (!stay)
		left_count = 0;
	hit = true;
	errno = ENOMEM;
	return true;
}

/* clang-format off */
#define OOM_WRAP(fn, params, args)                                                                 \
	void *__real_##fn params;                                                                  \
	void *__wrap_##fn params;                                                                  \
	void *__wrap_##fn params                                                                   \
	{                                                                                          \
		return oom_now() ? NULL : __real_##fn args;                                        \
	}

OOM_WRAP(malloc, (size_t size), (size))
OOM_WRAP(calloc, (size_t count, size_t size), (count, size))
OOM_WRAP(realloc, (void *p, size_t size), (p, size))
OOM_WRAP(reallocarray, (void *p, size_t count, size_t size), (p, count, size))
OOM_WRAP(strdup, (const char *s), (s))
OOM_WRAP(strndup, (const char *s, size_t len), (s, len))
/* clang-format on */
