/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files: what opening, reading, writing and copying put on the wire, and what is made of the replies. */
#include <string.h>
#include <sys/stat.h>

#include "check_main.h"
#include "peer.h"
#include "sftp/engine.h"

static struct peer p;
static struct got g, h;
static struct be_attr file;

static void begin(void)
{
	memset(&g, 0, sizeof(g));
	memset(&h, 0, sizeof(h));
	peer_init(&p);
	file = peer_file_attr(100, 50);
}

static void close_file(struct be_file *f)
{
	OPS(&p)->close(BE(&p), f);
	peer_run(&p);
	peer_status(&p, peer_find(&p, FXP_CLOSE), FX_OK);
	peer_run(&p);
}

START_TEST(open_link)
{
	/* where the path shows a link the opened file itself is asked for its attributes */
	struct be_attr link = {.valid = BE_ATTR_MODE, .mode = S_IFLNK | 0777};

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(
	    OPS(&p)->open(BE(&p), "/root/l", BE_READ, 0, 0, 0, got_where, NULL, got_open, &g), 0);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &link);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	peer_attr(&p, peer_take(&p, FXP_FSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_uint_eq(g.attr.size, 100);
	close_file(g.file);
	peer_finish(&p);
}
END_TEST

START_TEST(open_flags)
{
	/* flags map one to one, the mode travels only with CREAT, and a failed open has no file */
	struct peer_request *r;

	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->open(BE(&p), "/root/a",
	                               BE_READ | BE_APPEND | BE_CREAT | BE_EXCL | BE_TRUNC, 0100640,
	                               0, 0, got_where, NULL, got_open, &g),
	                 0);
	r = peer_take(&p, FXP_OPEN);
	ck_assert_uint_eq(r->pflags,
	                  FXF_READ | FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_EXCL | FXF_TRUNC);
	ck_assert_uint_eq(r->attr.valid, BE_ATTR_MODE);
	ck_assert_uint_eq(r->attr.mode, 0640);
	peer_status(&p, r, FX_FAILURE);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_FAILURE);
	ck_assert_ptr_null(g.file);
	ck_assert_int_eq(
	    OPS(&p)->open(BE(&p), "/root/a", BE_READ, 0640, 0, 0, got_where, NULL, got_open, &g),
	    0);
	ck_assert_uint_eq(peer_take(&p, FXP_OPEN)->attr.valid, 0);
	peer_finish(&p);
}
END_TEST

START_TEST(read_short)
{
	/* a short reply is not the end: the rest is asked for until it is there or EOF comes */
	struct be_file *f;
	struct peer_request *r;
	uint8_t bytes[100];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 10, 100, got_read, &g), 0);
	r = peer_take(&p, FXP_READ);
	ck_assert_uint_eq(r->off, 10);
	ck_assert_uint_eq(r->len, 100);
	peer_data(&p, r, bytes, 30);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 0);
	r = peer_take(&p, FXP_READ);
	ck_assert_uint_eq(r->off, 40);
	ck_assert_uint_eq(r->len, 70);
	peer_data(&p, r, bytes + 30, 20);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_READ), FX_EOF);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	ck_assert_uint_eq(g.len, 50);
	ck_assert_mem_eq(g.bytes, bytes, 50);
	/* nothing at all is EOF, whichever way the server says so */
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 200, 10, got_read, &g), 0);
	peer_status(&p, peer_take(&p, FXP_READ), FX_EOF);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_EOF);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 200, 10, got_read, &g), 0);
	peer_data(&p, peer_take(&p, FXP_READ), "", 0);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_EOF);
	/* an error behind some bytes is an error, not the end of the file */
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 100, got_read, &g), 0);
	peer_data(&p, peer_take(&p, FXP_READ), bytes, 10);
	peer_run(&p);
	peer_status(&p, peer_take(&p, FXP_READ), FX_FAILURE);
	peer_run(&p);
	ck_assert_int_eq(g.code, BE_FAILURE);
	close_file(f);
	peer_finish(&p);
}
END_TEST

START_TEST(read_too_much)
{
	/* more data than asked for costs the connection, and is an error of the read */
	struct be_file *f;

	begin();
	check_allow_errors();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 4, got_read, &g), 0);
	peer_data(&p, peer_take(&p, FXP_READ), "12345", 5);
	peer_run(&p);
	ck_assert_uint_eq(p.reset_count, 1);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_MALFORMED);
	OPS(&p)->close(BE(&p), f);
	peer_finish(&p);
	ck_assert_uint_eq(g.count, 1);
}
END_TEST

START_TEST(read_cap)
{
	/* a server that always answers with less is asked for less from then on */
	static uint8_t bytes[32768];
	struct be_attr large;
	struct be_file *f;

	begin();
	large = file;
	large.size = 1 << 20;
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &large);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 32768, got_read, &g), 0);
	for (unsigned i = 0; i < 4; i++) {
		peer_data(&p, peer_take(&p, FXP_READ), bytes, 8192);
		peer_run(&p);
	}
	ck_assert_uint_eq(g.len, 32768);
	ck_assert_uint_eq(OPS(&p)->info(BE(&p))->read_len_max, 8192);
	close_file(f);
	peer_finish(&p);
}
END_TEST

START_TEST(read_growing)
{
	/* replies that end where the file ended say nothing about the server, however often */
	static uint8_t bytes[32768];
	size_t read_len_max;
	struct be_file *f;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_READ, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), f, 0, 32768, got_read, &g), 0);
	read_len_max = OPS(&p)->info(BE(&p))->read_len_max;
	for (unsigned i = 0; i < 4; i++) {
		peer_data(&p, peer_take(&p, FXP_READ), bytes, 8192);
		peer_run(&p);
	}
	ck_assert_uint_eq(g.len, 32768);
	ck_assert_uint_eq(OPS(&p)->info(BE(&p))->read_len_max, read_len_max);
	close_file(f);
	peer_finish(&p);
}
END_TEST

START_TEST(read_turns)
{
	/* when the window has room again, the file that has the least under way is next */
	struct be_file *a, *b;
	struct be_attr large;
	struct peer_request *r;

	begin();
	large = file;
	large.size = 3 << 20;
	peer_start(&p, "");
	a = peer_open(&p, "/root/a", BE_READ, 1, "A", &large);
	b = peer_open(&p, "/root/b", BE_READ, 2, "B", &large);
	for (unsigned i = 0; i < 16; i++)
		ck_assert_int_eq(OPS(&p)->read(BE(&p), a, i * 32768, 32768, got_read, &g), 0);
	ck_assert_uint_lt(peer_waiting(&p), 16);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), b, 0, 32768, got_read, &g), 0);
	r = peer_take(&p, FXP_READ);
	ck_assert_str_eq(r->handle, "A");
	peer_status(&p, r, FX_FAILURE);
	peer_run(&p);
	r = list_entry(p.requests.prev, struct peer_request, entry);
	ck_assert_str_eq(r->handle, "B");
	while (peer_waiting(&p)) {
		peer_status(&p, peer_take(&p, FXP_READ), FX_FAILURE);
		peer_run(&p);
	}
	close_file(a);
	close_file(b);
	peer_finish(&p);
}
END_TEST

START_TEST(read_large)
{
	/* of a new connection a large file that is read from its start gets 4 MiB at once, others 128 KiB */
	for (unsigned i = 0; i < 2; i++) {
		struct be_attr large;
		struct be_file *f;

		begin();
		large = file;
		large.size = (4 << 20) - i;
		peer_start(&p, "");
		f = peer_open(&p, "/root/a", BE_READ, 1, "H", &large);
		for (unsigned n = 0; n < 66; n++)
			ck_assert_int_eq(OPS(&p)->read(BE(&p), f, n * 65536, 65536, got_read, &g),
			                 0);
		ck_assert_uint_eq(peer_waiting(&p), i ? 2 : 64);
		while (peer_waiting(&p)) {
			peer_status(&p, peer_take(&p, FXP_READ), FX_FAILURE);
			peer_run(&p);
		}
		close_file(f);
		peer_finish(&p);
	}
}
END_TEST

START_TEST(write_and_barriers)
{
	/* on one handle writes, fsync and close follow each other without waiting for replies */
	struct data *d;
	struct be_file *f;
	struct peer_request *a, *b, *sync, *end;

	begin();
	peer_start(&p, "");
	d = peer_block(&p, 1000);
	f = peer_open(&p, "/root/a", BE_WRITE, 1, "H", &file);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 5, d, 100, 300, got_status, &g), 0);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 5, d, 0, 300, got_status, &g), 0);
	ck_assert_int_eq(OPS(&p)->fsync(BE(&p), f, got_status, &h), 0);
	OPS(&p)->close(BE(&p), f);
	a = peer_take(&p, FXP_WRITE);
	ck_assert_uint_eq(a->off, 5);
	ck_assert_uint_eq(a->len, 300);
	ck_assert_mem_eq(a->data, d->bytes + 100, 300);
	b = peer_take(&p, FXP_WRITE);
	sync = peer_take(&p, FXP_EXTENDED);
	end = peer_take(&p, FXP_CLOSE);
	ck_assert_str_eq(sync->handle, "H");
	ck_assert_uint_eq(a->lane, end->lane);
	data_unref(d);
	ck_assert_uint_gt(p.budget.used_len, 0);
	peer_status(&p, a, FX_FAILURE);
	peer_status(&p, b, FX_OK);
	peer_status(&p, sync, FX_OK);
	peer_status(&p, end, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 2);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_uint_eq(p.budget.used_len, 0);
	peer_finish(&p);
}
END_TEST

START_TEST(open_that_creates)
{
	/* on whichever lane it is, what it makes is there for who asks afterwards */
	begin();
	peer_start(&p, "");
	ck_assert_int_eq(OPS(&p)->open(BE(&p), "/root/a", BE_WRITE | BE_CREAT | BE_TRUNC, 0644, 1,
	                               0, got_where, NULL, got_open, &g),
	                 0);
	ck_assert_int_eq(OPS(&p)->stat(BE(&p), "/root/a", false, got_attr, &h), 0);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "H");
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file); /* the open's own, on its lane */
	ck_assert_uint_eq(peer_waiting(&p), 0);
	peer_run(&p);
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	ck_assert_uint_eq(h.count, 1);
	OPS(&p)->close(BE(&p), g.file);
	peer_finish(&p);
}
END_TEST

START_TEST(two_handles)
{
	/* two handles of one file have no order: overlapping I/O waits, the rest does not */
	struct data *d;
	struct be_file *f, *r;
	struct peer_request *w;

	begin();
	peer_start(&p, "");
	f = peer_open(&p, "/root/a", BE_WRITE, 7, "W", &file);
	ck_assert_int_eq(
	    OPS(&p)->open(BE(&p), "/root/a", BE_READ, 0, 7, 0, got_where, NULL, got_open, &h), 0);
	peer_handle(&p, peer_take(&p, FXP_OPEN), "R");
	peer_attr(&p, peer_take(&p, FXP_LSTAT), &file);
	peer_run(&p);
	r = h.file;
	d = peer_block(&p, 100);
	ck_assert_int_eq(OPS(&p)->write(BE(&p), f, 0, d, 0, 100, got_status, &g), 0);
	w = peer_take(&p, FXP_WRITE);
	memset(&h, 0, sizeof(h));
	ck_assert_int_eq(OPS(&p)->read(BE(&p), r, 50, 100, got_read, &h), 0);
	ck_assert_uint_eq(peer_waiting(&p), 0);
	ck_assert_int_eq(OPS(&p)->read(BE(&p), r, 100, 10, got_read, &h), 0);
	ck_assert_uint_eq(peer_take(&p, FXP_READ)->off, 100);
	peer_status(&p, w, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(peer_take(&p, FXP_READ)->off, 50);
	data_unref(d);
	OPS(&p)->close(BE(&p), f);
	OPS(&p)->close(BE(&p), r);
	peer_finish(&p);
}
END_TEST

START_TEST(copy_same_lane)
{
	/* copy-data between two files of one lane is one request */
	struct be_file *from, *to;
	struct peer_request *r;

	begin();
	p.lane_max = 1;
	peer_start(&p, "");
	from = peer_open(&p, "/root/a", BE_READ, 1, "A", &file);
	to = peer_open(&p, "/root/b", BE_WRITE, 2, "B", &file);
	ck_assert_int_eq(OPS(&p)->copy(BE(&p), from, 6, to, 14, 5, got_status, &g), 0);
	r = peer_take(&p, FXP_EXTENDED);
	ck_assert_str_eq(r->ext, "copy-data");
	ck_assert_str_eq(r->handle, "A");
	ck_assert_str_eq(r->handle2, "B");
	ck_assert_uint_eq(r->off, 6);
	ck_assert_uint_eq(r->len, 5);
	ck_assert_uint_eq(r->off2, 14);
	peer_status(&p, r, FX_OK);
	peer_run(&p);
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, BE_OK);
	close_file(from);
	close_file(to);
	peer_finish(&p);
}
END_TEST

/* A copy between two lanes, where the source's second handle shows `second`. */
static void copy_near(const struct be_attr *second, bool proven)
{
	struct be_file *from, *to;
	struct peer_request *r;
	uint32_t lane;

	begin();
	peer_start(&p, "");
	fxp_client_want_lanes(&p.fb->client, LANE_BULK, 2);
	peer_answer_setup(&p);
	from = peer_open(&p, "/root/a", BE_READ, 1, "A", &file);
	to = peer_open(&p, "/root/b", BE_WRITE, 2, "B", &file);
	ck_assert_int_eq(OPS(&p)->copy(BE(&p), from, 0, to, 0, 50, got_status, &g), 0);
	r = peer_take(&p, FXP_OPEN);
	lane = r->lane;
	ck_assert_uint_eq(r->pflags, FXF_READ);
	peer_handle(&p, r, "A2");
	peer_run(&p);
	for (unsigned i = 0; i < 2; i++) {
		r = peer_take(&p, FXP_FSTAT);
		peer_attr(&p, r, strcmp(r->handle, "A2") == 0 ? second : &file);
		peer_run(&p);
	}
	if (proven) {
		r = peer_take(&p, FXP_EXTENDED);
		ck_assert_str_eq(r->handle, "A2");
		ck_assert_str_eq(r->handle2, "B");
		ck_assert_uint_eq(r->lane, lane);
		peer_status(&p, r, FX_OK);
		peer_run(&p);
	} else {
		ck_assert_str_eq(peer_take(&p, FXP_CLOSE)->handle, "A2");
	}
	ck_assert_uint_eq(g.count, 1);
	ck_assert_int_eq(g.code, proven ? BE_OK : BE_UNSUPPORTED);
	OPS(&p)->close(BE(&p), from);
	OPS(&p)->close(BE(&p), to);
	peer_finish(&p);
}

START_TEST(copy_two_lanes)
{
	/* between lanes the source is opened next to the target, and used once proven the same */
	struct be_attr other;

	file = peer_file_attr(100, 50);
	copy_near(&file, true);
	other = file;
	other.mtime++;
	copy_near(&other, false);
}
END_TEST

CHECK_MAIN("sftp_files", open_link, open_flags, read_short, read_too_much, read_cap, read_growing,
           read_turns, read_large, write_and_barriers, open_that_creates, two_handles,
           copy_same_lane, copy_two_lanes)
