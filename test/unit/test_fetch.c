/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole small files. */
#include <check.h>
#include <string.h>

#include "check_main.h"
#include "peer.h"
#include "sftp/engine.h"

static struct peer p;
static struct got g;
static uint8_t bytes[300000];

static void begin(void)
{
	peer_init(&p);
	memset(&g, 0, sizeof(g));
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 >> 3);
}

static void fetch(size_t len_max)
{
	ck_assert_int_eq(OPS(&p)->fetch(BE(&p), "/root/a", len_max, got_fetch, &g), 0);
	peer_run(&p);
}

static void expect(size_t len, uint64_t size)
{
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert(g.attr_ok);
	ck_assert_uint_eq(g.attr.size, size);
	ck_assert_uint_eq(g.len, len);
	ck_assert_mem_eq(g.bytes, bytes, len);
}

static void answer_read(size_t len)
{
	struct peer_request *r = peer_take(&p, FXP_READ);

	peer_data(&p, r, bytes + r->off, len < r->len ? len : r->len);
}

START_TEST(plain)
{
	/* without proof the attributes and all READs follow the HANDLE at once, and it is closed */
	struct be_attr attr = peer_file_attr(261220, 9);

	begin();
	peer_start(&p, "");
	fetch(262144);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_run(&p);
	ck_assert_uint_eq(peer_waiting(&p), 3);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	answer_read(261120);
	answer_read(100);
	expect(261220, 261220);
	ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "H");
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

START_TEST(empty)
{
	/* an empty file has attributes and no block */
	struct be_attr attr = peer_file_attr(0, 9);

	begin();
	peer_start(&p, "");
	fetch(4096);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	peer_status(&p, peer_take(&p, FXP_READ), FX_EOF);
	expect(0, 0);
	peer_take(&p, FXP_CLOSE);
	peer_finish(&p);
}
END_TEST

START_TEST(short_replies)
{
	/* a short reply is not the end: the rest is asked for */
	struct be_attr attr = peer_file_attr(1000, 9);

	begin();
	peer_start(&p, "");
	fetch(4096);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	answer_read(300);
	peer_run(&p);
	answer_read(600);
	peer_run(&p);
	answer_read(100);
	expect(1000, 1000);
	peer_take(&p, FXP_CLOSE);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_finish(&p);
}
END_TEST

START_TEST(larger)
{
	/* of a file larger than asked for the beginning comes, and its size tells */
	struct be_attr attr = peer_file_attr(5000, 9);

	begin();
	peer_start(&p, "");
	fetch(4096);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
	answer_read(4096);
	expect(4096, 5000);
	peer_finish(&p);
}
END_TEST

START_TEST(refused)
{
	/* a failure at any step is the answer, and what was opened is closed */
	begin();
	peer_start(&p, "");
	fetch(4096);
	peer_status(&p, peer_take(&p, FXP_OPEN), FX_PERMISSION_DENIED);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_PERMISSION_DENIED);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	fetch(4096);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &p.root_attr);
	peer_status(&p, peer_take(&p, FXP_READ), FX_FAILURE);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 2);
	ck_assert_int_eq(g.code, BE_FAILURE);
	ck_assert_uint_eq(g.len, 0);
	peer_take(&p, FXP_CLOSE);
	peer_finish(&p);
}
END_TEST

START_TEST(cut)
{
	/* a connection that breaks at any step costs nothing but time */
	struct be_attr attr = peer_file_attr(4, 9);

	for (unsigned step = 0; step < 3; step++) {
		begin();
		check_allow_errors();
		peer_start(&p, "");
		fetch(4096);
		if (step > 0)
			peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
		peer_run(&p);
		if (step > 1)
			peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
		peer_run(&p);
		peer_cut(&p, LINK_FAIL_NETWORK);
		peer_wait(&p, 1000);
		peer_answer_setup(&p);
		peer_handle(&p, peer_take(&p, FXP_OPEN), "J");
		peer_run(&p);
		peer_attr(&p, peer_take(&p, FXP_FSTAT), &attr);
		answer_read(4);
		expect(4, 4);
		ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "J");
		peer_finish(&p);
	}
}
END_TEST

CHECK_MAIN("fetch", plain, empty, short_replies, larger, refused, cut)
