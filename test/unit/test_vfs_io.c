/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading, writing, and what programs see of it. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fake_backend.h"

static uint8_t pattern[1 << 20];

static void setup(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	fake_setup(NULL);
}

static uint64_t open_file(int flags, uint64_t size)
{
	struct be_attr a = fake_reg(size, 1000);

	return fake_open(fake_lookup("f", a), flags, a);
}

/* The server answers every READ that waits, from the pattern. Return: bytes. */
static size_t serve_reads(void)
{
	size_t total = 0;

	while (!list_empty(&fake.calls)) {
		struct call *c = fake_call("read");

		total += c->len;
		fake_data(c, BE_OK, pattern + c->off, c->len);
	}
	return total;
}

START_TEST(random_reads_fetch_only_what_is_read)
{
	// reads at random places ask for their own bytes and nothing else, also behind some in sequence
	size_t held_len;
	uint64_t fh;

	setup();
	fh = open_file(O_RDONLY, sizeof(pattern));
	for (unsigned i = 0; i < 2; i++) {
		fake_read(fh, 4096, i * 4096);
		ck_assert_uint_gt(serve_reads(), 4096);
	}
	held_len = budget.used_len;
	for (unsigned i = 0; i < 50; i++) {
		uint64_t off = 4096 * (75 + (i * 97) % 175);
		struct kreq *k = fake_read(fh, 4096, off);

		ck_assert_uint_eq(serve_reads(), 4096);
		ck_assert_uint_eq(k->len, 4096);
		ck_assert_mem_eq(k->bytes, pattern + off, 4096);
		ck_assert_uint_eq(budget.used_len, held_len);
	}
	fake_teardown();
}
END_TEST

START_TEST(what_a_skipping_reader_leaves_out_is_dropped)
{
	// what was fetched ahead and not read is given up behind the reader
	const uint64_t size = 20 << 20;
	struct be_attr a = fake_reg(size, 1000);
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDONLY, a);
	for (uint64_t off = 0; off < size; off += 96 * 1024) {
		fake_read(fh, 32 * 1024, off);
		while (!list_empty(&fake.calls)) {
			struct call *c = fake_call("read");

			fake_data(c, BE_OK, pattern, c->len);
		}
		ck_assert_uint_lt(budget.used_len, 4 << 20);
	}
	fake_teardown();
}
END_TEST

START_TEST(short_read_of_a_file_asks_for_its_size)
{
	// a file that ended before the size it had is asked what it is now
	struct be_attr a = fake_reg(8192, 1000);
	struct kreq *k, *g = kreq_create();
	uint64_t id, fh;

	setup();
	id = fake_lookup("f", a);
	fh = fake_open(id, O_RDONLY, a);
	k = fake_read(fh, 4096, 4096);
	fake_data(fake_call("read"), BE_EOF, NULL, 0);
	ck_assert_uint_eq(k->len, 0);
	vfs_getattr(vfs, &g->req, id, 0);
	a.size = 4096;
	fake_attr(fake_call("fstat"), BE_OK, &a);
	ck_assert_int_eq(g->st.st_size, 4096);
	fake_teardown();
}
END_TEST

START_TEST(descriptors_of_one_file_write_in_order)
{
	// what one has gathered goes before what another writes
	struct be_attr a = fake_reg(0, 1000);
	uint64_t id, one, two;
	struct call *c;

	setup();
	id = fake_lookup("f", a);
	one = fake_open(id, O_WRONLY, a);
	two = fake_open(id, O_WRONLY, a);
	fake_write(one, pattern, 20, 0);
	fake_write(two, pattern, 10, 5);
	c = fake_call("write");
	ck_assert_uint_eq(c->off, 0);
	ck_assert_uint_eq(c->len, 20);
	fake_status(c, BE_OK, "");
	fake_pass(1000);
	c = fake_call("write");
	ck_assert_uint_eq(c->off, 5);
	fake_status(c, BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(sequential_reads_are_fetched_ahead)
{
	// a sequential reader finds its bytes fetched, each byte once, the end costs nothing
	uint64_t fh;
	size_t total = 0;

	setup();
	fh = open_file(O_RDONLY, sizeof(pattern) - 100);
	for (uint64_t off = 0; off < sizeof(pattern); off += 32768) {
		struct kreq *k = fake_read(fh, 32768, off);

		total += serve_reads();
		ck_assert(k->done);
		ck_assert_mem_eq(k->bytes, pattern + off, k->len);
		if (off == 32768 * 4) {
			struct kreq *next = fake_read(fh, 32768, off + 32768);

			ck_assert_msg(next->done, "the next piece was not fetched ahead");
			off += 32768;
			total += serve_reads();
		}
	}
	ck_assert_uint_eq(total, sizeof(pattern) - 100);
	fake_teardown();
}
END_TEST

/* Fails every READ that waits. Return: the bytes that they asked for. */
static size_t refuse_reads(void)
{
	size_t total = 0;

	while (!list_empty(&fake.calls)) {
		struct call *c = fake_call("read");

		total += c->len;
		fake_data(c, BE_FAILURE, NULL, 0);
	}
	return total;
}

START_TEST(readers_share_what_the_line_holds)
{
	// each of two that read at the same time fetches ahead half of what one alone does
	const size_t len = 128 * 1024, size = 64 << 20;
	struct be_attr a = fake_reg(size, 1000);
	uint64_t f, g;

	setup();
	f = fake_open(fake_lookup("f", a), O_RDONLY, a);
	g = fake_open(fake_lookup("g", a), O_RDONLY, a);
	fake_read(f, len, 0);
	ck_assert_uint_gt(refuse_reads(), len + (1 << 20) * 7 / 8);
	fake_read(g, len, 0);
	ck_assert_uint_le(refuse_reads(), len + (1 << 20) / 2);
	fake_pass(1001); /* the other has gone */
	fake_read(f, len, 0);
	ck_assert_uint_gt(refuse_reads(), len + (1 << 20) * 7 / 8);
	fake_teardown();
}
END_TEST

START_TEST(read_ahead_takes_half_of_the_budget)
{
	// a reader fetches ahead half of what is left of the budget, however much the line holds
	struct be_attr a = fake_reg(64 << 20, 1000);
	uint64_t fh;

	setup();
	budget.max_len = 512 * 1024;
	fh = fake_open(fake_lookup("f", a), O_RDONLY, a);
	fake_read(fh, 128 * 1024, 0);
	ck_assert_uint_le(refuse_reads(), (128 + 256) * 1024);
	fake_teardown();
}
END_TEST

START_TEST(read_error_reaches_the_reader)
{
	// an error is never shown as the end of the file, and the next read asks again
	struct kreq *k, *again;
	uint64_t fh;

	setup();
	fh = open_file(O_RDONLY, 8192);
	k = fake_read(fh, 4096, 4096);
	fake_data(fake_call("read"), BE_FAILURE, NULL, 0);
	ck_assert_int_eq(k->err, EIO);
	again = fake_read(fh, 4096, 4096);
	ck_assert_uint_eq(serve_reads(), 4096);
	ck_assert_uint_eq(again->len, 4096);
	fake_teardown();
}
END_TEST

START_TEST(file_without_size_is_read_to_its_end)
{
	// a file that says 0 and has content (as /proc has) is opened direct and read until EOF
	struct be_attr a = fake_reg(0, 1000);
	struct kreq *o = kreq_create(), *k;

	setup();
	vfs_open(vfs, &o->req, fake_lookup("f", a), O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	fake_data(fake_call("read"), BE_OK, "hello", 5);
	ck_assert(o->opened.direct_io);
	k = fake_read(o->opened.fh, 4096, 0);
	fake_data(fake_call("read"), BE_OK, "hello", 5);
	ck_assert_uint_eq(k->len, 5);
	k = fake_read(o->opened.fh, 4096, 5);
	fake_data(fake_call("read"), BE_EOF, NULL, 0);
	ck_assert_uint_eq(k->len, 0);
	ck_assert_int_eq(k->err, 0);
	fake_teardown();
}
END_TEST

START_TEST(empty_file_keeps_its_page_cache)
{
	// a file that is really empty is opened like any other: mmap must work
	struct be_attr a = fake_reg(0, 1000);
	struct kreq *o = kreq_create();

	setup();
	vfs_open(vfs, &o->req, fake_lookup("f", a), O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	fake_data(fake_call("read"), BE_EOF, NULL, 0);
	ck_assert(o->done);
	ck_assert(!o->opened.direct_io);
	fake_teardown();
}
END_TEST

START_TEST(truncating_open_waits_for_writes)
{
	// O_TRUNC goes to the server only when every WRITE before it is answered
	struct kreq *o = kreq_create();
	struct be_attr a = fake_reg(0, 1000000);
	uint64_t id, fh;

	setup();
	id = fake_lookup("f", a);
	fh = fake_open(id, O_WRONLY, a);
	fake_write(fh, pattern, 500, 0);
	vfs_open(vfs, &o->req, id, O_WRONLY | O_TRUNC);
	fake_status(fake_call("write"), BE_OK, "");
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(o->done);
	fake_teardown();
}
END_TEST

START_TEST(read_ahead_is_behind_gathered_writes)
{
	// bytes that are gathered are on their way before read-ahead asks for their range
	struct be_attr a = fake_reg(65536, 1000);
	struct kreq *k;
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR, a);
	fake_write(fh, pattern, 256, 6205);
	k = fake_read(fh, 4096, 0);
	fake_data(fake_call("read"), BE_OK, pattern, 4096);
	fake_status(fake_call("write"), BE_OK, "");
	serve_reads();
	ck_assert(k->done);
	fake_teardown();
}
END_TEST

/* Bytes [off, off + len) of the pattern from thread `pid`. */
static void append_as(pid_t pid, uint64_t fh, size_t len, uint64_t off)
{
	struct kreq *k = kreq_create();

	k->req.pid = pid;
	vfs_write(vfs, &k->req, fh, pattern + off, len, off, false);
	ck_assert_uint_eq(k->written, len);
}

static struct kreq *flush_as(pid_t pid, uint64_t fh)
{
	struct kreq *k = kreq_create();

	k->req.pid = pid;
	vfs_flush(vfs, &k->req, fh);
	return k;
}

/* The next request is a WRITE of that, and succeeds. */
static void expect_write(uint64_t off, size_t len)
{
	struct call *c = fake_call("write");

	ck_assert_uint_eq(c->off, off);
	ck_assert_uint_eq(c->len, len);
	ck_assert_mem_eq(c->block->bytes, pattern + off, len);
	fake_status(c, BE_OK, "");
}

START_TEST(append_that_the_kernel_cuts_is_one_write)
{
	// a write(2) of an appender that comes in two requests, cut at a page, is sent as one, whatever is closed or read
	struct be_attr a = fake_reg(4000, 1000);
	struct kreq *closed, *again, *read;
	uint64_t node, fh, other;

	setup();
	node = fake_lookup("f", a);
	fh = fake_open(node, O_RDWR | O_APPEND, a);
	other = fake_open(node, O_RDWR | O_APPEND, a);
	append_as(10, fh, 96, 4000);
	closed = flush_as(11, other);
	again = flush_as(11, fh); /* a duplicate of the descriptor */
	read = kreq_create();
	read->req.pid = 12;
	vfs_read(vfs, &read->req, other, 4096, 0);
	fake_attr(fake_call("fstat"), BE_OK, &a); /* the first flush asks what the file is */
	ck_assert(list_empty(&fake.calls));
	ck_assert(closed->done && !again->done);
	append_as(10, fh, 50, 4096);
	fake_pass(1);
	expect_write(4000, 146);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	ck_assert(again->done && !read->done);
	serve_reads();
	ck_assert(read->done);
	fake_teardown();
}
END_TEST

START_TEST(append_that_ended_at_a_page_is_not_held_back)
{
	// who wrote it closes: at once; somebody else: soon
	struct be_attr a = fake_reg(4000, 1000);
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR | O_APPEND, a);
	append_as(10, fh, 96, 4000);
	flush_as(10, fh);
	expect_write(4000, 96);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	append_as(10, fh, 4096, 4096);
	flush_as(11, fh);
	ck_assert(list_empty(&fake.calls));
	fake_pass(100);
	expect_write(4096, 4096);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(append_that_does_not_fit_is_not_cut)
{
	// what was gathered before leaves room for all of a write(2)
	struct be_attr a = fake_reg(0, 1000);
	uint64_t fh;

	setup();
	fake.info.write_unit_len = 32768; /* which is for others */
	fh = fake_open(fake_lookup("f", a), O_RDWR | O_APPEND, a);
	append_as(10, fh, 30000, 0);
	append_as(10, fh, 32768 - 30000, 30000);
	append_as(10, fh, 40000, 32768); /* more than the 65,536 of a WRITE */
	expect_write(0, 30000);
	flush_as(10, fh);
	expect_write(30000, 32768 - 30000 + 40000);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(appenders_bypass_the_pages_where_they_can)
{
	// only where the kernel drops its pages, and not where the file may be mapped
	struct be_attr a = fake_reg(10, 1000);

	setup();
	for (int on = 0; on < 2; on++) {
		static const int flags[] = {O_WRONLY | O_APPEND, O_RDWR | O_APPEND, O_WRONLY};
		uint64_t node = fake_lookup(on ? "f" : "g", a);

		vfs_append_directly(vfs, on);
		for (int i = 0; i < 3; i++) {
			struct kreq *k = kreq_create();

			vfs_open(vfs, &k->req, node, flags[i]);
			fake_opened(fake_call("open"), BE_OK, &a);
			ck_assert_int_eq(k->opened.direct_io, on && i == 0);
		}
	}
	fake_teardown();
}
END_TEST

START_TEST(page_of_a_mapping_is_never_appended)
{
	// a dirty page that the kernel writes through an O_APPEND descriptor keeps its place
	struct be_attr a = fake_reg(8192, 1000);
	struct kreq *k = kreq_create();
	struct call *c;
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR | O_APPEND, a);
	vfs_write(vfs, &k->req, fh, pattern, 4096, 0, true);
	ck_assert(!k->done);
	c = fake_call("open");
	ck_assert(!(c->flags & BE_APPEND));
	fake_opened(c, BE_OK, &a);
	ck_assert_uint_eq(k->written, 4096);
	fake_pass(1000);
	c = fake_call("write");
	ck_assert_uint_eq(c->off, 0);
	ck_assert_mem_eq(c->block->bytes, pattern, 4096);
	fake_status(c, BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(small_writes_become_full_writes)
{
	// contiguous writes merge into WRITEs of the server's size, the rest goes at close
	struct kreq *f = kreq_create();
	struct be_attr a = fake_reg(100000, 1000000);
	struct call *c;
	uint64_t fh;

	setup();
	fh = open_file(O_WRONLY, 0);
	for (uint64_t off = 0; off < 100000; off += 1000)
		ck_assert_uint_eq(fake_write(fh, pattern, 1000, off)->written, 1000);
	c = fake_call("write");
	ck_assert_uint_eq(c->len, 65536);
	ck_assert_mem_eq(c->block->bytes, pattern, 65536);
	fake_status(c, BE_OK, "");
	fake_none();
	vfs_flush(vfs, &f->req, fh);
	c = fake_call("write");
	ck_assert_uint_eq(c->off, 65536);
	ck_assert_uint_eq(c->len, 100000 - 65536);
	ck_assert(!f->done);
	fake_status(c, BE_OK, "");
	ck_assert(f->done); /* the bytes are there; what the file is now is for the caches */
	ck_assert_int_eq(f->err, 0);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_teardown();
}
END_TEST

START_TEST(a_slow_line_gets_short_requests)
{
	// from the next one on: writes and reads go in units, also what was gathered as more
	struct be_attr a = fake_reg(150000, 1000000);
	struct kreq *f = kreq_create();
	static const size_t lens[] = {40000, 32768, 27232};
	uint64_t fh, off = 0;

	setup();
	fh = open_file(O_RDWR, 0);
	fake_write(fh, pattern, 30000, 0);
	fake_none();
	fake.info.read_unit_len = fake.info.write_unit_len = 32768;
	fake_write(fh, pattern, 10000, 30000);
	fake_write(fh, pattern, 60000, 40000);
	vfs_flush(vfs, &f->req, fh);
	for (unsigned i = 0; i < 3; i++) {
		struct call *c = fake_call("write");

		ck_assert_uint_eq(c->off, off);
		ck_assert_uint_eq(c->len, lens[i]);
		ck_assert_mem_eq(c->block->bytes + c->block_off, pattern + off, c->len);
		off += c->len;
		fake_status(c, BE_OK, "");
	}
	fake_attr(fake_call("fstat"), BE_OK, &a);
	fake_read(fh, 50000, 100000);
	for (unsigned i = 0; i < 2; i++) {
		struct call *c = fake_call("read");

		ck_assert_uint_le(c->len, 32768);
		fake_data(c, BE_OK, pattern, c->len);
	}
	fake_teardown();
}
END_TEST

START_TEST(written_data_is_sent_within_flush_age)
{
	// what was written does not sit unsent for more than flush_age, also when more follows
	uint64_t fh;

	setup();
	fh = open_file(O_WRONLY, 0);
	fake_write(fh, pattern, 10, 0);
	fake_pass(500);
	fake_write(fh, pattern, 10, 10);
	fake_pass(499);
	fake_none();
	fake_pass(1);
	fake_status(fake_call("write"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(synchronous_writes_wait_for_the_server)
{
	// O_DIRECT, O_DSYNC and O_SYNC: write(2) ends when the server has the bytes
	static const int flags[] = {O_DIRECT, O_DSYNC, O_SYNC};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct kreq *k;

		setup();
		k = fake_write(open_file(O_WRONLY | flags[i], 0), pattern, 10, 0);
		ck_assert(!k->done);
		fake_status(fake_call("write"), BE_OK, "");
		ck_assert_uint_eq(k->written, 10);
		fake_teardown();
	}
}
END_TEST

START_TEST(size_and_mtime_are_ours_while_dirty)
{
	// a stat after own writes needs no request and shows them; older answers do not undo it
	struct kreq *g = kreq_create(), *slow = kreq_create(), *f = kreq_create(),
	            *g2 = kreq_create();
	struct be_attr old = fake_reg(0, 1000), shown = fake_reg(5000, 1000000);
	uint64_t id, fh;
	struct call *c;

	setup();
	id = fake_lookup("f", old);
	fh = fake_open(id, O_WRONLY, old);
	fake_pass(60001);
	vfs_getattr(vfs, &slow->req, id, 0);
	fake_write(fh, pattern, 5000, 0);
	fake_attr(fake_call("fstat"), BE_OK, &old);
	ck_assert_int_eq(slow->st.st_size, 5000);
	vfs_getattr(vfs, &g->req, id, 0);
	ck_assert_int_eq(g->st.st_size, 5000);
	ck_assert_int_eq(g->st.st_mtim.tv_sec, 1000060);
	/* the mtime that was shown becomes the file's */
	vfs_flush(vfs, &f->req, fh);
	fake_status(fake_call("write"), BE_OK, "");
	c = fake_call("fsetattr");
	ck_assert_uint_eq(c->want.mtime, 1000060);
	shown.mtime = 1000060;
	fake_attr(c, BE_OK, &shown);
	ck_assert(f->done);
	vfs_getattr(vfs, &g2->req, id, 0);
	ck_assert_int_eq(g2->st.st_mtim.tv_sec, 1000060);
	fake_none();
	fake_teardown();
}
END_TEST

START_TEST(write_error_is_reported_once_by_close)
{
	// a failed WRITE is close's error on the descriptor that wrote, and the next close is clean
	struct kreq *f = kreq_create(), *f2 = kreq_create();
	struct be_attr a = fake_reg(0, 1000000);
	uint64_t fh;

	setup();
	check_allow_errors();
	fh = open_file(O_WRONLY, 0);
	fake_write(fh, pattern, 10, 0);
	vfs_flush(vfs, &f->req, fh);
	fake_status(fake_call("write"), BE_FAILURE, "No space left on device");
	ck_assert_int_eq(f->err, ENOSPC);
	fake_attr(fake_call("fstat"), BE_OK, &a);
	vfs_flush(vfs, &f2->req, fh);
	ck_assert_int_eq(f2->err, 0);
	fake_teardown();
}
END_TEST

START_TEST(read_after_write_is_sent_behind_it)
{
	// a read of bytes that are gathered sends them first
	struct be_attr a = fake_reg(0, 1000);
	struct kreq *k;
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR, a);
	fake_write(fh, pattern, 4096, 0);
	k = fake_read(fh, 4096, 0);
	fake_status(fake_call("write"), BE_OK, "");
	ck_assert_uint_eq(serve_reads(), 4096);
	ck_assert_mem_eq(k->bytes, pattern, 4096);
	fake_teardown();
}
END_TEST

START_TEST(read_before_an_unsent_end_is_a_hole)
{
	// a read between the server's end of file and our write beyond it gives zeros
	static const uint8_t zero[4096];
	struct be_attr a = fake_reg(0, 1000);
	struct kreq *k;
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR, a);
	fake_write(fh, pattern, 4096, 65536);
	k = fake_read(fh, 4096, 0);
	while (!list_empty(&fake.calls)) {
		struct call *c = list_entry(fake.calls.next, struct call, entry);

		if (strcmp(c->name, "write") == 0)
			fake_status(c, BE_OK, "");
		else
			fake_data(c, BE_EOF, NULL, 0);
	}
	ck_assert_uint_eq(k->len, 4096);
	ck_assert_mem_eq(k->bytes, zero, 4096);
	fake_teardown();
}
END_TEST

START_TEST(what_lies_behind_a_hole_is_not_a_hole)
{
	// a part of a read that ends at the server's end of file hides nothing of what was written behind it
	static uint8_t content[sizeof(pattern)];
	struct be_attr a = fake_reg(0, 1000);
	struct kreq *first, *k;
	uint64_t fh;

	setup();
	memcpy(content + 21399, pattern + 21399, sizeof(content) - 21399);
	fh = fake_open(fake_lookup("f", a), O_RDWR, a);
	fake_write(fh, pattern, 250000, 21399);
	first = fake_read(fh, 20480, 0); /* before the WRITE */
	k = fake_read(fh, 49152, 0);
	while (!list_empty(&fake.calls)) {
		struct call *c = list_entry(fake.calls.next, struct call, entry);

		if (strcmp(c->name, "write") == 0)
			fake_status(c, BE_OK, "");
		else if (c->off + c->len <= 20480)
			fake_data(c, BE_EOF, NULL, 0);
		else
			fake_data(c, BE_OK, content + c->off, c->len);
	}
	ck_assert_uint_eq(first->len, 20480);
	ck_assert_mem_eq(first->bytes, content, 20480);
	ck_assert_uint_eq(k->len, 49152);
	ck_assert_mem_eq(k->bytes, content, 49152);
	fake_teardown();
}
END_TEST

START_TEST(write_overtakes_a_read_on_its_way)
{
	// bytes asked for before a write are not served to a reader that came after it
	struct be_attr a = fake_reg(8192, 1000);
	struct kreq *before, *after;
	struct call *c;
	uint64_t fh;

	setup();
	fh = fake_open(fake_lookup("f", a), O_RDWR, a);
	before = fake_read(fh, 4096, 4096);
	fake_write(fh, pattern, 4096, 4096);
	after = fake_read(fh, 4096, 4096);
	c = fake_call("read");
	memset(pattern + 4096, 1, 4096);
	fake_data(c, BE_OK, pattern + 4096, 4096);
	fake_status(fake_call("write"), BE_OK, "");
	memset(pattern + 4096, 2, 4096);
	serve_reads();
	ck_assert(before->done);
	ck_assert(after->done);
	ck_assert_uint_eq(after->bytes[0], 2);
	fake_teardown();
}
END_TEST

/* The server has taken one WRITE: the program that was held back goes on. Then it takes all others. */
static void held_goes_on(const struct kreq *held, size_t len)
{
	fake_status(fake_call("write"), BE_OK, "");
	ck_assert_uint_eq(held->written, len);
	while (!list_empty(&fake.calls))
		fake_status(fake_call("write"), BE_OK, "");
}

START_TEST(writer_waits_for_room_in_the_budget)
{
	// a writer faster than the server is held back when three quarters of the budget are full, and goes on after
	struct kreq *last = NULL;
	uint64_t fh, off = 0;

	setup();
	budget.max_len = 256 * 1024;
	fh = open_file(O_WRONLY, 0);
	while (off < 512 * 1024 && (!last || last->done)) {
		last = fake_write(fh, pattern, 65536, off);
		off += 65536;
	}
	ck_assert_uint_eq(off, 192 * 1024);
	held_goes_on(last, 65536);
	fake_teardown();
}
END_TEST

/* The `at`-th MiB of a file, all of which are alike. */
static struct kreq *write_mib(uint64_t fh, unsigned at)
{
	struct kreq *k = kreq_create();

	vfs_write(vfs, &k->req, fh, pattern, sizeof(pattern), (uint64_t)at * sizeof(pattern),
	          false);
	return k;
}

/* Writes until one is not answered. Return: MiB. */
static unsigned write_until_held(uint64_t fh, struct kreq **last)
{
	unsigned count = 0;

	do
		*last = write_mib(fh, count++);
	while ((*last)->done && count < 100);
	return count;
}

START_TEST(writer_goes_with_a_fast_server)
{
	// a writer is held back when it is 8 MiB or two windows ahead, until the server has taken some
	struct kreq *last;

	for (size_t window_len = 1 << 20; window_len <= 16 << 20; window_len <<= 4) {
		const size_t most_len = 2 * window_len > 8 << 20 ? 2 * window_len : 8 << 20;
		uint64_t fh;

		setup();
		budget.max_len = 1 << 30;
		fake.info.write_stream_len = window_len;
		fh = open_file(O_WRONLY, 0);
		ck_assert_uint_eq(write_until_held(fh, &last), most_len / sizeof(pattern));
		held_goes_on(last, sizeof(pattern));
		fake_teardown();
	}
}
END_TEST

START_TEST(slow_server_is_not_waited_for)
{
	// where no answer comes each write is held for 20 ms, and taken as long as the budget has room
	struct kreq *last;
	unsigned more = 0;
	uint64_t fh;

	setup();
	fh = open_file(O_WRONLY, 0);
	for (unsigned count = write_until_held(fh, &last); more < 100; more++) {
		fake_pass(19);
		ck_assert(!last->done);
		fake_pass(1);
		if (!last->done)
			break;
		last = write_mib(fh, count + more);
	}
	ck_assert_uint_eq(more, 48 - 8); /* three quarters of 64 MiB */
	held_goes_on(last, sizeof(pattern));
	fake_teardown();
}
END_TEST

START_TEST(pages_are_kept_only_when_proven)
{
	// pages stay over an open only if read a second after the mtime they were read under
	struct be_attr old = fake_reg(10, 1000), young = fake_reg(10, 1000000);
	struct kreq *a = kreq_create(), *b = kreq_create(), *c = kreq_create();
	uint64_t id;

	setup();
	id = fake_lookup("f", old);
	fake_open(id, O_RDONLY, old);
	vfs_open(vfs, &a->req, id, O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &old);
	ck_assert(a->opened.keep_cache);
	id = fake_lookup("g", young);
	fake_open(id, O_RDONLY, young);
	vfs_open(vfs, &b->req, id, O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &young);
	ck_assert(!b->opened.keep_cache);
	fake_pass(2001); /* b's second open proves nothing about a's bytes, its own would */
	vfs_open(vfs, &c->req, id, O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &young);
	ck_assert(!c->opened.keep_cache);
	fake_teardown();
}
END_TEST

/* Opens what the server shows as `a`, and closes it. Return: may the kernel keep its pages? */
static bool kept(uint64_t id, struct be_attr a)
{
	struct kreq *k = kreq_create();

	vfs_open(vfs, &k->req, id, O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert_int_eq(k->err, 0);
	vfs_release(vfs, &kreq_create()->req, k->opened.fh);
	return k->opened.keep_cache;
}

START_TEST(pages_go_when_the_size_is_another)
{
	// an equal mtime with another size is another content, also where the kernel knows that size already
	struct be_attr a = fake_reg(10, 1000);
	uint64_t id;

	setup();
	id = fake_lookup("f", a);
	vfs_release(vfs, &kreq_create()->req, fake_open(id, O_RDONLY, a));
	fake_pass(60001); /* nothing is believed any more */
	ck_assert(kept(id, a));
	a.size = 11;
	fake_pass(60001);
	ck_assert_uint_eq(fake_lookup("f", a), id);
	ck_assert(!kept(id, a));
	fake_teardown();
}
END_TEST

START_TEST(own_pages_are_kept_when_the_server_has_them)
{
	// pages that went through this kernel stay while they are on their way, and afterwards if all arrived
	const uint64_t arrived[] = {10, 9};

	for (size_t i = 0; i < 2; i++) {
		struct be_attr old = fake_reg(0, 1000000), now = fake_reg(arrived[i], 1000001);
		struct kreq *f = kreq_create();
		uint64_t id, fh;
		struct call *w;

		setup();
		id = fake_lookup("f", old);
		fh = fake_open(id, O_RDWR, old);
		fake_write(fh, pattern, 10, 0);
		ck_assert(kept(id, old));
		vfs_flush(vfs, &f->req, fh);
		w = fake_call("write");
		ck_assert_str_eq(list_entry(w->entry.next, struct call, entry)->name, "fstat");
		fake_status(w, BE_OK, "");
		fake_attr(fake_call("fstat"), BE_OK, &now);
		fake_pass(60001);
		ck_assert_uint_eq(fake_lookup("f", now), id);
		ck_assert_int_eq(kept(id, now), i == 0);
		fake_teardown();
	}
}
END_TEST

START_TEST(fsync_waits_for_every_write)
{
	// fsync sends, syncs and answers after the statuses; its failure is its error
	struct kreq *f = kreq_create();
	uint64_t fh;
	struct call *w;

	setup();
	fh = open_file(O_WRONLY, 0);
	fake_write(fh, pattern, 10, 0);
	vfs_fsync(vfs, &f->req, fh);
	w = fake_call("write");
	fake_status(list_entry(w->entry.next, struct call, entry), BE_OK, "");
	ck_assert(!f->done);
	fake_status(w, BE_OK, "");
	ck_assert(f->done);
	ck_assert_int_eq(f->err, 0);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_io", random_reads_fetch_only_what_is_read, sequential_reads_are_fetched_ahead,
           what_a_skipping_reader_leaves_out_is_dropped, short_read_of_a_file_asks_for_its_size,
           descriptors_of_one_file_write_in_order, readers_share_what_the_line_holds,
           read_ahead_takes_half_of_the_budget, read_error_reaches_the_reader,
           file_without_size_is_read_to_its_end, empty_file_keeps_its_page_cache,
           truncating_open_waits_for_writes, read_ahead_is_behind_gathered_writes,
           page_of_a_mapping_is_never_appended, append_that_the_kernel_cuts_is_one_write,
           append_that_ended_at_a_page_is_not_held_back, append_that_does_not_fit_is_not_cut,
           appenders_bypass_the_pages_where_they_can, small_writes_become_full_writes,
           a_slow_line_gets_short_requests, written_data_is_sent_within_flush_age,
           synchronous_writes_wait_for_the_server, size_and_mtime_are_ours_while_dirty,
           write_error_is_reported_once_by_close, read_after_write_is_sent_behind_it,
           read_before_an_unsent_end_is_a_hole, what_lies_behind_a_hole_is_not_a_hole,
           write_overtakes_a_read_on_its_way, writer_waits_for_room_in_the_budget,
           writer_goes_with_a_fast_server, slow_server_is_not_waited_for,
           pages_are_kept_only_when_proven, pages_go_when_the_size_is_another,
           own_pages_are_kept_when_the_server_has_them, fsync_waits_for_every_write)
