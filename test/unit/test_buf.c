/* SPDX-License-Identifier: BSD-2-Clause */
/* The growable byte string. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "oom.h"
#include "util/buf.h"

START_TEST(append)
{
	/* appends follow each other and a NUL follows them at every length */
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < 1000; i++) {
		uint8_t c = (uint8_t)i;

		buf_add(&b, &c, 1);
		ck_assert_uint_eq(b.len, i + 1);
		ck_assert_uint_lt(b.len, b.size);
		ck_assert_uint_eq(b.bytes[b.len], 0);
	}
	for (size_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(b.bytes[i], (uint8_t)i);
	ck_assert(!buf_failed(&b));
	buf_finish(&b);
	ck_assert_ptr_null(b.bytes);
	ck_assert_uint_eq(b.len + b.size, 0);
}
END_TEST

START_TEST(append_formats)
{
	/* strings and formats append, across growth, and empty ones change nothing */
	struct buf b = BUF_INIT;
	char want[3 * 300 + 1] = "";

	buf_add(&b, NULL, 0);
	buf_add_str(&b, "");
	buf_addf(&b, "%s", "");
	ck_assert_uint_eq(b.len, 0);
	for (int i = 0; i < 300; i++) {
		buf_addf(&b, "%d", i % 10);
		buf_add_str(&b, "ab");
		sprintf(want + 3 * i, "%dab", i % 10);
	}
	ck_assert_str_eq((char *)b.bytes, want);
	ck_assert_uint_eq(b.len, 900);
	buf_finish(&b);
}
END_TEST

START_TEST(max_len)
{
	/* an append up to the cap passes, one byte more fails, changes nothing, and sticks */
	struct buf b = {.max_len = 8};

	buf_add_str(&b, "1234567");
	buf_addf(&b, "%d", 8);
	ck_assert(!buf_failed(&b));
	buf_add_str(&b, "9");
	ck_assert(buf_failed(&b));
	ck_assert_str_eq((char *)b.bytes, "12345678");
	buf_clear(&b);
	ck_assert(!buf_failed(&b));
	buf_addf(&b, "%s", "123456789");
	ck_assert(buf_failed(&b));
	buf_add_str(&b, "1");
	buf_addf(&b, "%d", 1);
	ck_assert_uint_eq(b.len, 0);
	buf_finish(&b);
	ck_assert(!buf_failed(&b));
	ck_assert_uint_eq(b.max_len, 8);
}
END_TEST

START_TEST(absurd_length)
{
	/* a length whose sum overflows is an error, not a short allocation */
	struct buf b = BUF_INIT;

	buf_add_str(&b, "x");
	buf_add(&b, "y", SIZE_MAX);
	ck_assert(buf_failed(&b));
	ck_assert_str_eq((char *)b.bytes, "x");
	buf_clear(&b);
	b.max_len = SIZE_MAX;
	buf_add(&b, "y", SIZE_MAX);
	ck_assert(buf_failed(&b));
	buf_finish(&b);
}
END_TEST

START_TEST(clear)
{
	/* clear forgets the contents and keeps the memory */
	struct buf b = BUF_INIT;
	uint8_t *bytes;
	size_t size;

	buf_clear(&b);
	buf_add_str(&b, "something");
	bytes = b.bytes;
	size = b.size;
	buf_clear(&b);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq((char *)b.bytes, "");
	buf_add_str(&b, "else");
	ck_assert_ptr_eq(b.bytes, bytes);
	ck_assert_uint_eq(b.size, size);
	ck_assert_str_eq((char *)b.bytes, "else");
	buf_finish(&b);
}
END_TEST

START_TEST(take)
{
	/* take hands the string over and leaves an empty buffer; nothing added is "" */
	struct buf b = BUF_INIT;
	char *s;

	s = buf_take(&b);
	ck_assert_str_eq(s, "");
	free(s);
	buf_add(&b, "a\0b", 3);
	s = buf_take(&b);
	ck_assert_mem_eq(s, "a\0b", 4);
	ck_assert_ptr_null(b.bytes);
	ck_assert_uint_eq(b.len, 0);
	free(s);
	buf_add_str(&b, "again");
	buf_clear(&b);
	s = buf_take(&b);
	ck_assert_str_eq(s, "");
	free(s);
}
END_TEST

START_TEST(take_after_error)
{
	/* take of a failed buffer gives NULL, frees, and the buffer is good again */
	struct buf b = {.max_len = 2};

	buf_add_str(&b, "12");
	buf_add_str(&b, "3");
	ck_assert_ptr_null(buf_take(&b));
	ck_assert_ptr_null(b.bytes);
	ck_assert(!buf_failed(&b));
	buf_add_str(&b, "ok");
	ck_assert_str_eq((char *)b.bytes, "ok");
	buf_finish(&b);
}
END_TEST

START_TEST(out_of_memory)
{
	/* a failed growth leaves what was there and sets the sticky error, at every allocation */
	unsigned n;

	for (n = 1;; n++) {
		struct buf b = BUF_INIT;
		char *s;
		bool hit;

		oom_arm(n);
		for (int i = 0; i < 100; i++)
			buf_addf(&b, "%d,", i);
		buf_add_str(&b, "end");
		hit = oom_disarm();
		ck_assert(buf_failed(&b) == hit);
		if (b.len)
			ck_assert_uint_eq(strlen((char *)b.bytes), b.len);
		s = buf_take(&b);
		ck_assert((s == NULL) == hit);
		free(s);
		if (!hit)
			break;
	}
	ck_assert_uint_gt(n, 3);
}
END_TEST

static void *freed_block;
static size_t freed_len;
static bool freed_dirty;

/* Stands between buf.c and free() to look at what is given back. */
void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	const uint8_t *bytes = p;

	if (p && p == freed_block) {
		for (size_t i = 0; i < freed_len; i++)
			freed_dirty = freed_dirty || bytes[i] != 0;
		freed_block = NULL;
	}
	__real_free(p);
}

START_TEST(wipe)
{
	/* neither growth nor wipe gives memory back with a secret still in it */
	struct buf b = BUF_INIT;

	buf_add_str(&b, "secret");
	freed_block = b.bytes;
	freed_len = 6;
	freed_dirty = false;
	for (int i = 0; i < 200; i++)
		buf_add_str(&b, "secret");
	ck_assert_ptr_null(freed_block);
	ck_assert(!freed_dirty);
	freed_block = b.bytes;
	freed_len = b.size;
	buf_clear(&b);
	buf_wipe(&b);
	ck_assert_ptr_null(freed_block);
	ck_assert(!freed_dirty);
	ck_assert_ptr_null(b.bytes);
	buf_wipe(&b);
}
END_TEST

CHECK_MAIN("buf", append, append_formats, max_len, absurd_length, clear, take, take_after_error,
           out_of_memory, wipe)
