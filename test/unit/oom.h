/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the n-th allocation of the calling thread fail.
 *
 *	for (unsigned n = 1;; n++) {
 *		oom_arm(n);
 *		err = thing_init(&t);
 *		if (!oom_disarm())
 *			break;
 *		ck_assert_int_eq(err, -ENOMEM);
 *	}
 *
 * No ck_assert between arm and disarm: Check allocates too. Covers malloc, calloc, realloc,
 * reallocarray, strdup and strndup when called from the test or from the core, not from the C
 *library.
 */
#ifndef TEST_UNIT_OOM_H
#define TEST_UNIT_OOM_H

#include <stdbool.h>

/* The `n`-th allocation from now fails (1: the next), and only that one. */
void oom_arm(unsigned n);

/* As above, but every allocation from the `n`-th on fails. */
void oom_arm_from(unsigned n);

/* Back to normal. Return: true when an allocation was made to fail. */
bool oom_disarm(void);

#endif
