/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens that are answered from bytes which this mount has just written. */
#include "check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fake_backend.h"

#define NOW_S 1000000 /* the fake clock's */

static const char text[] = "hello";
#define TEXT_LEN 5

static struct be_attr now_reg(uint64_t size)
{
	return fake_reg(size, NOW_S);
}

/* Makes `name` with `text` in it and closes it; the server's word behind the WRITE is `a`. Return: its node. */
static uint64_t make_named(const char *name, struct be_attr a)
{
	struct kreq *c = kreq_create(), *w = kreq_create(), *f = kreq_create(), *r = kreq_create();
	struct be_attr empty = now_reg(0);

	vfs_create_file(vfs, &c->req, VFS_ROOT, name, 0644, O_RDWR | O_EXCL);
	fake_opened(fake_call("open"), BE_OK, &empty);
	vfs_write(vfs, &w->req, c->opened.fh, text, TEXT_LEN, 0, false);
	vfs_flush(vfs, &f->req, c->opened.fh);
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fstat"), BE_OK, &a);
	ck_assert(f->done && f->err == 0);
	vfs_release(vfs, &r->req, c->opened.fh);
	fake_none();
	return c->entry.nodeid;
}

static uint64_t make_file(struct be_attr a)
{
	return make_named("f", a);
}

static struct kreq *open_node(uint64_t nodeid, int flags)
{
	struct kreq *o = kreq_create();

	vfs_open(vfs, &o->req, nodeid, flags);
	return o;
}

static void release(const struct kreq *o)
{
	struct kreq *r = kreq_create();

	vfs_release(vfs, &r->req, o->opened.fh);
}

/* The open goes to the server. */
static void asks(uint64_t nodeid, struct be_attr a)
{
	struct kreq *o = open_node(nodeid, O_RDONLY);

	ck_assert(!o->done);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert(o->done && o->err == 0);
	release(o);
}

static void asks_nobody(uint64_t nodeid)
{
	struct kreq *o = open_node(nodeid, O_RDONLY), *k = kreq_create();

	ck_assert(o->done && o->err == 0);
	vfs_read(vfs, &k->req, o->opened.fh, 4096, 0);
	ck_assert_uint_eq(k->len, TEXT_LEN);
	ck_assert_mem_eq(k->bytes, text, TEXT_LEN);
	release(o);
	fake_none();
}

static void set_attr(uint64_t nodeid, unsigned set, struct stat st, struct be_attr a)
{
	struct kreq *k = kreq_create();

	vfs_setattr(vfs, &k->req, nodeid, 0, &st, set);
	fake_attr(fake_call("setattr"), BE_OK, &a);
	ck_assert(k->done && k->err == 0);
}

START_TEST(what_was_just_written_is_read_back_without_asking)
{
	// a new file, closed: opened again inside the window it asks nobody, also when its mode was changed
	struct be_attr a = now_reg(TEXT_LEN);
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	asks_nobody(n);
	a.mode = S_IFREG | 0755;
	set_attr(n, VFS_SET_MODE, (struct stat){.st_mode = 0755}, a);
	asks_nobody(n);
	fake_pass(1001);
	asks(n, a);
	fake_teardown();
}
END_TEST

START_TEST(what_an_open_has_shown_unchanged_serves_the_next_ones)
{
	// git reads its configuration three times in a row, a while after it has written it: that is one question
	struct be_attr a = now_reg(TEXT_LEN), later = a;
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	for (unsigned i = 0; i < 3; i++) {
		fake_pass(20000);
		asks(n, a);
		asks_nobody(n);
		fake_pass(900);
		asks_nobody(n);
	}
	fake_pass(1000);
	later.mtime++;
	asks(n, later); /* another has written to it */
	asks(n, later);
	fake_teardown();
}
END_TEST

START_TEST(written_files_end_with_the_window_also_when_their_times_are_ours)
{
	// times that we set vouch for nothing: what the server says of them later makes the window no longer
	struct be_attr a = now_reg(TEXT_LEN);
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	fake_pass(600);
	a.atime = a.mtime = 1000;
	set_attr(n, VFS_SET_ATIME | VFS_SET_MTIME,
	         (struct stat){.st_atim.tv_sec = 1000, .st_mtim.tv_sec = 1000}, a);
	asks_nobody(n);
	fake_pass(600);
	asks(n, a);
	fake_teardown();
}
END_TEST

START_TEST(a_file_of_another_size_is_not_what_was_written)
{
	// somebody else has written to it before the server was asked: the open asks, and finds the new size
	struct be_attr a = now_reg(TEXT_LEN + 1);
	struct kreq *o;

	fake_setup(NULL);
	o = open_node(make_file(a), O_RDONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	ck_assert_int_eq(o->err, ESTALE);
	fake_teardown();
}
END_TEST

START_TEST(a_file_that_its_owner_may_not_read_is_asked_for)
{
	// the server refuses such an open, so it has to be asked
	struct be_attr a = now_reg(TEXT_LEN);
	struct kreq *o;
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	a.mode = S_IFREG | 0200;
	set_attr(n, VFS_SET_MODE, (struct stat){.st_mode = 0200}, a);
	o = open_node(n, O_RDONLY);
	fake_opened(fake_call("open"), BE_PERMISSION_DENIED, NULL);
	ck_assert_int_eq(o->err, EACCES);
	fake_teardown();
}
END_TEST

START_TEST(a_second_write_takes_the_first_ones_bytes_away)
{
	// written again by another descriptor, or cut: the old bytes answer nobody
	struct be_attr a = now_reg(TEXT_LEN), shorter = now_reg(2);
	struct kreq *w, *k = kreq_create(), *f = kreq_create();
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	w = open_node(n, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	vfs_write(vfs, &k->req, w->opened.fh, "J", 1, 0, false);
	vfs_flush(vfs, &f->req, w->opened.fh);
	fake_status(fake_call("write"), BE_OK, "");
	fake_attr(fake_call("fstat"), BE_OK, &a);
	release(w);
	asks(n, a);
	fake_teardown();

	fake_setup(NULL);
	n = make_file(a);
	set_attr(n, VFS_SET_SIZE, (struct stat){.st_size = 2}, shorter);
	asks(n, shorter);
	fake_teardown();
}
END_TEST

START_TEST(our_own_writes_do_not_make_it_another_file)
{
	// read without a handle by one, written by another, opened by a third: the server shows what was written
	struct be_attr a = now_reg(TEXT_LEN), longer = fake_reg(TEXT_LEN + 3, NOW_S + 5);
	struct kreq *reader, *w, *third, *k = kreq_create();
	uint64_t n;

	fake_setup(NULL);
	n = make_file(a);
	reader = open_node(n, O_RDONLY);
	ck_assert(reader->done);
	w = open_node(n, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &a);
	vfs_write(vfs, &k->req, w->opened.fh, "more", 4, TEXT_LEN, false);
	third = open_node(n, O_WRONLY);
	fake_opened(fake_call("open"), BE_OK, &longer);
	ck_assert(third->done);
	ck_assert_int_eq(third->err, 0);
	release(third);
	release(reader);
	release(w);
	fake_status(fake_call("write"), BE_OK, "");
	fake_teardown();
}
END_TEST

START_TEST(only_the_last_few_are_kept)
{
	// 40 written files at once: memory for the last ones only, for half a minute, of a small cache less
	struct be_attr a = now_reg(TEXT_LEN);
	uint64_t n[40];
	char name[8];

	fake_setup(NULL);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		n[i] = make_named(name, a);
	}
	ck_assert_uint_le(budget.used_len, 20 * 65536);
	asks_nobody(n[39]);
	asks(n[0], a);
	fake_pass(30001);
	ck_assert_uint_eq(budget.used_len, 0);
	budget.max_len = 16 * 65536;
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		make_named(name, a);
	}
	ck_assert_uint_eq(budget.used_len, 2 * 65536);
	fake_teardown();
}
END_TEST

CHECK_MAIN("vfs_whole", what_was_just_written_is_read_back_without_asking,
           what_an_open_has_shown_unchanged_serves_the_next_ones,
           written_files_end_with_the_window_also_when_their_times_are_ours,
           a_file_of_another_size_is_not_what_was_written,
           a_file_that_its_owner_may_not_read_is_asked_for,
           a_second_write_takes_the_first_ones_bytes_away,
           our_own_writes_do_not_make_it_another_file, only_the_last_few_are_kept)
