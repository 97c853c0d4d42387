/* SPDX-License-Identifier: BSD-2-Clause */
/* Strict number parsing. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "check_main.h"
#include "util/num.h"

#define UNTOUCHED 4711

static void expect_u64(const char *s, unsigned base, uint64_t min, uint64_t max, int err,
                       uint64_t want)
{
	uint64_t got = UNTOUCHED;
	int r = num_parse_u64(s, base, min, max, &got);

	ck_assert_msg(r == err, "\"%s\": %d, not %d", s, r, err);
	ck_assert_msg(got == (err ? UNTOUCHED : want), "\"%s\": %ju", s, (uintmax_t)got);
}

START_TEST(u64)
{
	/* a number in its base, within its limits, is read exactly */
	expect_u64("0", 10, 0, UINT64_MAX, 0, 0);
	expect_u64("0012", 10, 0, UINT64_MAX, 0, 12);
	expect_u64("18446744073709551615", 10, 0, UINT64_MAX, 0, UINT64_MAX);
	expect_u64("644", 8, 0, 0777, 0, 0644);
	expect_u64("fF", 16, 0, 255, 0, 255);
	expect_u64("5", 10, 5, 5, 0, 5);
}
END_TEST

START_TEST(u64_syntax)
{
	/* anything around the digits is refused */
	static const char *const bad[] = {
	    "",
	    " ",
	    " 1",
	    "1 ",
	    "+1",
	    "-1",
	    "-0",
	    "12abc",
	    "0x10",
	    "1.0",
	    "1e3",
	    "\t1",
	    "1\n",
	    "1_000",
	    "1,0",
	    "\xd9\xa1",
	    "a",
	    "1-",
	    "99999999999999999999x",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_u64(bad[i], 10, 0, UINT64_MAX, -EINVAL, 0);
	expect_u64("8", 8, 0, 100, -EINVAL, 0);
	expect_u64("g", 16, 0, 100, -EINVAL, 0);
	expect_u64("0x1", 16, 0, 100, -EINVAL, 0);
}
END_TEST

START_TEST(u64_range)
{
	/* a number outside its limits is a range error, also when it fits no integer */
	expect_u64("4", 10, 5, 9, -ERANGE, 0);
	expect_u64("10", 10, 5, 9, -ERANGE, 0);
	expect_u64("18446744073709551616", 10, 0, UINT64_MAX, -ERANGE, 0);
	expect_u64("36893488147419103233", 10, 0, UINT64_MAX, -ERANGE, 0);
	expect_u64("99999999999999999999999999999999", 10, 0, UINT64_MAX, -ERANGE, 0);
	expect_u64("10000000000000000", 16, 0, UINT64_MAX, -ERANGE, 0);
}
END_TEST

static void expect_size(const char *s, uint64_t min, uint64_t max, int err, uint64_t want)
{
	uint64_t got = UNTOUCHED;
	int r = num_parse_size(s, min, max, &got);

	ck_assert_msg(r == err, "\"%s\": %d, not %d", s, r, err);
	ck_assert_msg(got == (err ? UNTOUCHED : want), "\"%s\": %ju", s, (uintmax_t)got);
}

START_TEST(size)
{
	/* a size takes one suffix, in either case, and nothing after it */
	expect_size("512", 0, UINT64_MAX, 0, 512);
	expect_size("1k", 0, UINT64_MAX, 0, 1024);
	expect_size("1K", 0, UINT64_MAX, 0, 1024);
	expect_size("3m", 0, UINT64_MAX, 0, 3145728);
	expect_size("3M", 0, UINT64_MAX, 0, 3145728);
	expect_size("2g", 0, UINT64_MAX, 0, 2147483648);
	expect_size("2G", 0, UINT64_MAX, 0, 2147483648);
	expect_size("1t", 0, UINT64_MAX, 0, (uint64_t)1 << 40);
	expect_size("1T", 0, UINT64_MAX, 0, (uint64_t)1 << 40);
	expect_size("0K", 0, UINT64_MAX, 0, 0);
	expect_size("16777215T", 0, UINT64_MAX, 0, (uint64_t)16777215 << 40);
	expect_size("", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("K", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("1KB", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("1KK", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("1 K", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("1P", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("-1K", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("1.5M", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("99999999999999999999q", 0, UINT64_MAX, -EINVAL, 0);
	expect_size("16777216T", 0, UINT64_MAX, -ERANGE, 0);
	expect_size("2K", 0, 2047, -ERANGE, 0);
	expect_size("1K", 1025, 2047, -ERANGE, 0);
}
END_TEST

static void expect_seconds(const char *s, int64_t max_ms, int err, int64_t want)
{
	int64_t got = UNTOUCHED;
	int r = num_parse_seconds(s, max_ms, &got);

	ck_assert_msg(r == err, "\"%s\": %d, not %d", s, r, err);
	ck_assert_msg(got == (err ? UNTOUCHED : want), "\"%s\": %jd", s, (intmax_t)got);
}

START_TEST(seconds)
{
	/* seconds take a fraction, and only zero becomes 0 */
	expect_seconds("0", 1000, 0, 0);
	expect_seconds("0.0", 1000, 0, 0);
	expect_seconds("0.0000", 1000, 0, 0);
	expect_seconds("1", INT64_MAX, 0, 1000);
	expect_seconds("1.0", INT64_MAX, 0, 1000);
	expect_seconds("0.25", INT64_MAX, 0, 250);
	expect_seconds("12.345", INT64_MAX, 0, 12345);
	expect_seconds("0.001", INT64_MAX, 0, 1);
	expect_seconds("0.0001", INT64_MAX, 0, 1);
	expect_seconds("0.00000000000000000000000000001", INT64_MAX, 0, 1);
	expect_seconds("0.9991", INT64_MAX, 0, 1000);
	expect_seconds("1.5000", INT64_MAX, 0, 1500);
	expect_seconds("9223372036854775.807", INT64_MAX, 0, INT64_MAX);
}
END_TEST

START_TEST(seconds_errors)
{
	/* half a number of seconds, and too many of them, are refused */
	static const char *const bad[] = {"",      ".",   ".5",   "1.",   "1..2",
	                                  "1.2.3", "1,5", "-1",   "+1",   " 1",
	                                  "1 ",    "1s",  "1e3",  "inf",  "nan",
	                                  "0x1",   "1.a", "1.-5", "1.+5", "999999999999999999999s"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_seconds(bad[i], INT64_MAX, -EINVAL, 0);
	expect_seconds("1", 999, -ERANGE, 0);
	expect_seconds("0.9991", 999, -ERANGE, 0);
	expect_seconds("9223372036854775.808", INT64_MAX, -ERANGE, 0);
	expect_seconds("18446744073709551.616", INT64_MAX, -ERANGE, 0);
	expect_seconds("999999999999999999999", INT64_MAX, -ERANGE, 0);
	expect_seconds("0", -1, -ERANGE, 0);
}
END_TEST

static void expect_time(const char *s, uint64_t max, int err, uint64_t want)
{
	uint64_t got = UNTOUCHED;
	int r = num_parse_time(s, max, &got);

	ck_assert_msg(r == err, "\"%s\": %d, not %d", s, r, err);
	ck_assert_msg(got == (err ? UNTOUCHED : want), "\"%s\": %ju", s, (uintmax_t)got);
}

START_TEST(time_format)
{
	/* ssh's time format: the examples of sshd_config(5), each unit, sums */
	expect_time("600", UINT64_MAX, 0, 600);
	expect_time("10m", UINT64_MAX, 0, 600);
	expect_time("1h30m", UINT64_MAX, 0, 5400);
	expect_time("0", UINT64_MAX, 0, 0);
	expect_time("1s", UINT64_MAX, 0, 1);
	expect_time("1M", UINT64_MAX, 0, 60);
	expect_time("1H", UINT64_MAX, 0, 3600);
	expect_time("1d", UINT64_MAX, 0, 86400);
	expect_time("1D", UINT64_MAX, 0, 86400);
	expect_time("1w", UINT64_MAX, 0, 604800);
	expect_time("1W2D3H4M5S", UINT64_MAX, 0, 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5);
	expect_time("1m30", UINT64_MAX, 0, 90);
}
END_TEST

START_TEST(time_errors)
{
	/* a unit without a number, an unknown unit and an overflow of any part are refused */
	static const char *const bad[] = {"",     "m",   "1mm",    "1x",
	                                  "1m x", " 1m", "1 m",    "-1",
	                                  "1.5",  "h1",  "1m-30s", "99999999999999999999y"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_time(bad[i], UINT64_MAX, -EINVAL, 0);
	expect_time("61", 60, -ERANGE, 0);
	expect_time("1m1s", 60, -ERANGE, 0);
	expect_time("1m1", 60, -ERANGE, 0);
	expect_time("18446744073709551616", UINT64_MAX, -ERANGE, 0);
	expect_time("18446744073709551615s1s", UINT64_MAX, -ERANGE, 0);
	expect_time("30500568904944w", UINT64_MAX, -ERANGE, 0);
	expect_time("18446744073709551616s1s", UINT64_MAX, -ERANGE, 0);
}
END_TEST

START_TEST(percent)
{
	/* escapes are bytes of their own; a broken one and a zero are refused */
	static const char *const bad[] = {"%", "a%4", "%4g", "%g4", "%00", "x%%41"};
	char text[16];

	strcpy(text, "a%2Fb%c3%Bc");
	ck_assert_int_eq(num_percent_decode(text), 5);
	ck_assert_str_eq(text, "a/b\xc3\xbc");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		strcpy(text, bad[i]);
		ck_assert_int_eq(num_percent_decode(text), -EINVAL);
	}
}
END_TEST

CHECK_MAIN("num", u64, u64_syntax, u64_range, size, seconds, seconds_errors, time_format,
           time_errors, percent)
