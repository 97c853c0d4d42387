/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Strict parsing of numbers.
 * Room: util. Any thread.
 * Spec: sshd_config(5) "TIME FORMATS" for num_parse_time().
 */
#include "util/num.h"

#include <errno.h>
#include <stdbool.h>

/* A number that saturates: syntax is judged to the end of the string before range is. */
struct num {
	uint64_t value;
	bool overflow;
};

/* Not isdigit() or strtoull(): both ask the locale. */
unsigned num_digit(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'z')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A') + 10;
	return UINT32_MAX;
}

static void num_add(struct num *n, uint64_t x)
{
	if (__builtin_add_overflow(n->value, x, &n->value))
		n->overflow = true;
}

static void num_mul(struct num *n, uint64_t x)
{
	if (__builtin_mul_overflow(n->value, x, &n->value))
		n->overflow = true;
}

/* Reads digits from `*s` and moves it past them. Return: 0, or -EINVAL when there are none. */
static int num_digits(const char **s, unsigned base, struct num *n)
{
	const char *start = *s;

	*n = (struct num){0};
	for (; num_digit(**s) < base; (*s)++) {
		num_mul(n, base);
		num_add(n, num_digit(**s));
	}
	return *s == start ? -EINVAL : 0;
}

static int num_check(const struct num *n, uint64_t min, uint64_t max, uint64_t *out)
{
	if (n->overflow || n->value < min || n->value > max)
		return -ERANGE;
	*out = n->value;
	return 0;
}

int num_parse_u64(const char *s, unsigned base, uint64_t min, uint64_t max, uint64_t *out)
{
	struct num n;

	if (num_digits(&s, base, &n) < 0 || *s)
		return -EINVAL;
	return num_check(&n, min, max, out);
}

int num_parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	struct num n;
	unsigned shift = 0;

	if (num_digits(&s, 10, &n) < 0)
		return -EINVAL;
	switch (*s) {
	case 'K':
	case 'k':
		shift = 10;
		break;
	case 'M':
	case 'm':
		shift = 20;
		break;
	case 'G':
	case 'g':
		shift = 30;
		break;
	case 'T':
	case 't':
		shift = 40;
		break;
	}
	if (shift)
		s++;
	if (*s)
		return -EINVAL;
	num_mul(&n, (uint64_t)1 << shift);
	return num_check(&n, min, max, out);
}

int num_parse_seconds(const char *s, int64_t max_ms, int64_t *out_ms)
{
	struct num n;
	uint64_t ms = 0, unit = 100, out;
	bool more = false;

	if (num_digits(&s, 10, &n) < 0)
		return -EINVAL;
	num_mul(&n, 1000);
	if (*s == '.') {
		s++;
		if (num_digit(*s) >= 10)
			return -EINVAL;
		for (; num_digit(*s) < 10; s++, unit /= 10) {
			ms += num_digit(*s) * unit;
			more = more || (unit == 0 && *s != '0');
		}
	}
	if (*s)
		return -EINVAL;
	/* Up, so that no positive time becomes 0, which often means "off". */
	num_add(&n, ms + more);
	if (max_ms < 0 || num_check(&n, 0, (uint64_t)max_ms, &out) < 0)
		return -ERANGE;
	*out_ms = (int64_t)out;
	return 0;
}

static uint64_t num_time_unit_s(char c)
{
	switch (c) {
	case 's':
	case 'S':
		return 1;
	case 'm':
	case 'M':
		return 60;
	case 'h':
	case 'H':
		return 60 * 60;
	case 'd':
	case 'D':
		return 24 * 60 * 60;
	case 'w':
	case 'W':
		return 7 * 24 * 60 * 60;
	}
	return 0;
}

int num_parse_time(const char *s, uint64_t max, uint64_t *out_s)
{
	struct num sum = {0}, n;

	do {
		uint64_t unit_s;

		if (num_digits(&s, 10, &n) < 0)
			return -EINVAL;
		unit_s = num_time_unit_s(*s);
		if (unit_s) {
			num_mul(&n, unit_s);
			s++;
		} else if (*s) {
			return -EINVAL;
		}
		num_add(&sum, n.value);
		sum.overflow = sum.overflow || n.overflow;
	} while (*s);
	return num_check(&sum, 0, max, out_s);
}

int num_percent_decode(char *s)
{
	char *to = s;

	for (const char *from = s; *from; from++) {
		unsigned high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = num_digit(from[1]);
		low = high < 16 ? num_digit(from[2]) : 16;
		if (low >= 16 || (high == 0 && low == 0))
			return -EINVAL;
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	*to = '\0';
	return (int)(to - s);
}
