/* SPDX-License-Identifier: BSD-2-Clause */
/* Strict parsing of numbers and escapes: the whole string or an error. `12abc`, ``, ` 1`, `+1` are refused. */
#ifndef UTIL_NUM_H
#define UTIL_NUM_H

#include <stdint.h>

/*
 * Return: 0; -EINVAL when `s` is not a number in `base` (2 to 36, no prefix); -ERANGE when it is one
 * outside [min, max]. `*out` is written on success only.
 */
int num_parse_u64(const char *s, unsigned base, uint64_t min, uint64_t max, uint64_t *out);

/* A byte count with an optional suffix K, M, G or T (powers of 1024, either case). As above. */
int num_parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *out);

/*
 * Seconds with an optional fraction ("1", "0.25"), in milliseconds, rounded up so that only zero
 * becomes 0. Return: as above.
 */
int num_parse_seconds(const char *s, int64_t max_ms, int64_t *out_ms);

/* ssh_config's time format: "90", "15m", "1h30m", in seconds. Return: as above. */
int num_parse_time(const char *s, uint64_t max, uint64_t *out_s);

/* What a digit stands for, 10 to 35 for a letter of either case; more: it is none. */
unsigned num_digit(char c);

/*
 * Decodes %XX in place.
 * Return: the length, or -EINVAL on a broken escape or a %00.
 * Spec: RFC 3986 section 2.1
 */
int num_percent_decode(char *s);

#endif
