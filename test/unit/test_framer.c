/* SPDX-License-Identifier: BSD-2-Clause */
/* Cutting a byte stream into packets. */
#include <errno.h>
#include <string.h>

#include "check_main.h"
#include "sftp/framer.h"

static unsigned packet_count;
static size_t packet_total;
static uint8_t last[64];
static size_t last_len;

static void on_packet(void *arg, struct data *packet, size_t len)
{
	packet_count++;
	packet_total += len;
	last_len = len;
	memcpy(last, packet->bytes, len < sizeof(last) ? len : sizeof(last));
	data_unref(packet);
}

static void begin(struct framer *f, size_t max)
{
	packet_count = 0;
	packet_total = last_len = 0;
	framer_init(f, NULL, max);
}

static const uint8_t two[] = {0, 0, 0, 1, 'a', 0, 0, 0, 3, 'b', 'c', 'd'};

START_TEST(any_cut)
{
	// a stream means the same wherever it is cut
	for (size_t cut = 0; cut <= sizeof(two); cut++) {
		struct framer f;

		begin(&f, 3);
		ck_assert_int_eq(framer_push(&f, two, cut, on_packet, NULL), 0);
		ck_assert_uint_eq(packet_count, cut < 5 ? 0 : cut < sizeof(two) ? 1 : 2);
		ck_assert_int_eq(framer_push(&f, two + cut, sizeof(two) - cut, on_packet, NULL), 0);
		ck_assert_uint_eq(packet_count, 2);
		ck_assert_uint_eq(last_len, 3);
		ck_assert_int_eq(memcmp(last, "bcd", 3), 0);
		framer_finish(&f);
	}
}
END_TEST

START_TEST(single_bytes)
{
	// byte by byte is no different
	struct framer f;

	begin(&f, 3);
	for (size_t i = 0; i < sizeof(two); i++)
		ck_assert_int_eq(framer_push(&f, two + i, 1, on_packet, NULL), 0);
	ck_assert_uint_eq(packet_count, 2);
	framer_finish(&f);
}
END_TEST

START_TEST(length_caps)
{
	// the cap is inclusive; 0, cap + 1 and the largest length are errors that stay
	static const struct {
		uint8_t head[4];
		int rc;
	} cases[] = {
	    {{0, 0, 0, 0}, -EMSGSIZE},    {{0, 0, 1, 0}, 0},
	    {{0, 0, 1, 1}, -EMSGSIZE},    {{0xff, 0xff, 0xff, 0xff}, -EMSGSIZE},
	    {{0x80, 0, 0, 0}, -EMSGSIZE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct framer f;

		begin(&f, 256);
		ck_assert_int_eq(framer_push(&f, cases[i].head, 4, on_packet, NULL), cases[i].rc);
		if (cases[i].rc)
			ck_assert_int_eq(framer_push(&f, two, sizeof(two), on_packet, NULL),
			                 cases[i].rc);
		ck_assert_uint_eq(packet_count, 0);
		framer_finish(&f);
	}
}
END_TEST

START_TEST(budget_is_returned)
{
	// a partial packet is charged, and released with the framer
	struct budget b;
	struct framer f;
	static const uint8_t part[] = {0, 0, 0, 100, 'x'};

	budget_init(&b, 0);
	framer_init(&f, &b, 256);
	ck_assert_int_eq(framer_push(&f, part, sizeof(part), on_packet, NULL), 0);
	ck_assert_uint_eq(atomic_load(&b.used_len), 100);
	framer_finish(&f);
	ck_assert_uint_eq(atomic_load(&b.used_len), 0);
}
END_TEST

START_TEST(errors_after_packets)
{
	// packets before a bad length are delivered
	static const uint8_t bytes[] = {0, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 1, 'b'};
	struct framer f;

	begin(&f, 256);
	ck_assert_int_eq(framer_push(&f, bytes, sizeof(bytes), on_packet, NULL), -EMSGSIZE);
	ck_assert_uint_eq(packet_count, 1);
	framer_finish(&f);
}
END_TEST

CHECK_MAIN("framer", any_cut, single_bytes, length_caps, budget_is_returned, errors_after_packets)
