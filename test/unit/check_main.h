/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every unit test shares: its main(), and a log that fails the test on unexpected errors.
 *
 *	START_TEST(short_name)
 *	{
 *		// the property that this test keeps
 *		...
 *	}
 *	END_TEST
 *
 *	CHECK_MAIN("module", short_name, ...)
 *
 * A test that is left out of CHECK_MAIN is an unused variable, which the compiler reports.
 */
#ifndef TEST_UNIT_CHECK_MAIN_H
#define TEST_UNIT_CHECK_MAIN_H

#include <check.h>
#include <stddef.h>

int check_main(const char *name, const TTest *const *tests, size_t count);

#define CHECK_MAIN(name, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
                                                                                                   \
		return check_main(name, tests, sizeof(tests) / sizeof(tests[0]));                  \
	}

/*
 * Everything logged since the test began, one line each, at every level. An error line fails the
 * test at its end unless check_allow_errors() was called in it.
 */
const char *check_log(void);
void check_allow_errors(void);

#endif
