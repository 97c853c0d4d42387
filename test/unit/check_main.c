/* SPDX-License-Identifier: BSD-2-Clause */
/* The main() of the unit tests, and the log that they see. */
#include "check_main.h"

#include <stdbool.h>
#include <stdlib.h>

#include "util/buf.h"
#include "util/log.h"

#define TEST_TIMEOUT_S 60 /* seconds; generous, sanitizers are slow */

static struct buf log_lines;
static bool errors_allowed;
static bool error_seen;

/* Runs under the log's lock: no assertions here, without fork they would leave it locked. */
static void log_collect(void *arg, enum log_level level, const char *line)
{
	buf_addf(&log_lines, "%s\n", line);
	if (level == LOG_LEVEL_ERROR)
		error_seen = true;
}

static void log_setup(void)
{
	buf_finish(&log_lines);
	errors_allowed = false;
	error_seen = false;
	log_set_level(LOG_LEVEL_DEBUG);
	log_set_sink(log_collect, NULL);
}

static void log_teardown(void)
{
	bool bad = error_seen && !errors_allowed;

	log_to_stderr();
	ck_assert_msg(!bad, "unexpected error in the log:\n%s", check_log());
	buf_finish(&log_lines);
}

const char *check_log(void)
{
	return log_lines.len ? (const char *)log_lines.bytes : "";
}

void check_allow_errors(void)
{
	errors_allowed = true;
}

int check_main(const char *name, const TTest *const *tests, size_t count)
{
	/* With a TAP log on stdout (under meson) Check's own text would only be in the way. */
	enum print_output mode = getenv("CK_TAP_LOG_FILE_NAME") ? CK_SILENT : CK_ENV;
	Suite *suite = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, TEST_TIMEOUT_S);
	tcase_add_checked_fixture(tc, log_setup, log_teardown);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, mode);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
